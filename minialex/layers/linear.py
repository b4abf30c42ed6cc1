"""Layers for vectors: Linear (fully connected), Flatten before it, and RBF, the output of 1998's LeNet-5."""

import copy

import numpy as np

from minialex.layers.init import Initializer, drawn, xavier_uniform
from minialex.layers.layer import Array, Layer
from minialex.layers.parameter import Constant, Parameter
from minialex.layers.settings import unmasked
from minialex.shapes import positive
from minialex.words import counted


class Linear(Layer):
    """y = x weight^T + bias

    Shapes: x (N, in); weight (out, in); bias (out,); y (N, out).
    rng: a generator or a seed (left out: 0); weights are Xavier-uniform, biases 0.
    Raises ValueError when x has another number of features.

    >>> layer = Linear(2, 1)
    >>> layer.weight.value[:] = [[3, 4]]
    >>> layer.forward(np.array([[1, 10]], dtype=np.float32))
    array([[43.]], dtype=float32)
    """

    input_rank = 2
    takes = {"in_features": positive, "out_features": positive}

    def __init__(self, in_features: int, out_features: int, rng=None, init: Initializer = xavier_uniform):
        self.in_features, self.out_features = in_features, out_features
        shape = Linear._shapes(self)["weight"]
        self.weight = Parameter(drawn(init, shape, self.in_features, self.out_features, rng))
        self.bias = Parameter(np.zeros(out_features, np.float32), decay=False)

    def forward(self, x: Array) -> Array:
        self.save(x=x)
        return x @ self.weight.value.T + self.bias.value

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        self.bias.grad = grad_y.sum(axis=0)
        self.weight.grad = grad_y.T @ self.saved.x
        return grad_y @ self.weight.value if input_grad else None

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}

    def check_input(self, x) -> None:
        super().check_input(x)
        if x.shape[1] != self.in_features:
            raise ValueError(
                f"{self} has {counted(self.in_features, 'input feature')}, the input {x.shape[1]}: shape {x.shape}"
            )

    def split(self, parts: int) -> list[Layer]:
        """Towers of outputs: each reads all inputs."""
        if self.out_features % parts:
            raise ValueError(
                f"{self}: {counted(self.out_features, 'output')} cannot be dealt out to {parts} towers"
            )
        pieces = [copy.copy(self) for _ in range(parts)]
        for piece, weight, bias in zip(pieces, self.weight.split(parts), self.bias.split(parts), strict=True):
            piece.weight, piece.bias = weight, bias
            piece.out_features = self.out_features // parts
        return pieces

    def multiply_adds(self, x_shape, y_shape):
        return y_shape[0] * self.weight.value.size


class Flatten(Layer):
    """(N, C, H, W) -> (N, C*H*W): channel by channel, row by row, as in PyTorch

    >>> Flatten().forward(np.zeros((2, 3, 4, 5))).shape
    (2, 60)
    """

    needs_batch = True

    def forward(self, x: Array) -> Array:
        self.save(shape=x.shape)
        return x.reshape(len(x), -1)

    def backward(self, grad_y: Array) -> Array:
        return grad_y.reshape(self.saved.shape)


def codes_of(codes) -> np.ndarray:
    """A row of numbers for each class, as float32."""
    try:
        codes = np.asanyarray(codes)  # which keeps a mask
    except ValueError:  # of rows that are not alike
        raise ValueError(
            "RBF: codes must be (classes, features): a row for each class, all of one length"
        ) from None
    codes = unmasked(codes, "RBF: the array of codes")
    if codes.ndim != 2 or codes.size == 0:
        raise ValueError(f"RBF: codes must be (classes, features), not of shape {codes.shape}")
    if codes.dtype.kind not in "fiub":
        raise TypeError(f"RBF: codes are numbers, +1 and -1 say; these are {codes.dtype}")
    if not (fits := abs(codes.astype(np.float64)) <= np.finfo(np.float32).max).all():
        raise ValueError(f"RBF: codes must be finite numbers, also in float32, not {codes[~fits][0]}")
    return codes.astype(np.float32)


class RBF(Layer):
    """y[n, k] = -sum over d of (x[n, d] - codes[k, d])^2: minus the squared distance to each class's code

    The output of LeNet-5 (LeCun et al. 1998, section II.B), with the sign turned so that the largest is the answer.
    Its loss is MAPLoss. The codes are fixed: they are no parameters.
    Shapes: x (N, D); codes (K, D); y (N, K).
    Raises ValueError when x has another number of features than the codes, and for codes that are not finite numbers.

    >>> layer = RBF(np.array([[1, 1], [-1, 1]]))
    >>> layer.forward(np.array([[1, 0]], dtype=np.float32))
    array([[-1., -5.]], dtype=float32)
    """

    input_rank = 2

    def __init__(self, codes: Array):
        self.codes = Constant(codes_of(codes))

    def forward(self, x: Array) -> Array:
        difference = x[:, None, :] - self.codes.value  # (N, K, D)
        self.save(difference=difference)
        return -(difference * difference).sum(axis=2)

    def backward(self, grad_y: Array) -> Array:
        return -2 * (grad_y[:, :, None] * self.saved.difference).sum(axis=1)

    @property
    def dtype(self) -> np.dtype:
        return self.codes.value.dtype

    def check_input(self, x) -> None:
        super().check_input(x)
        features = self.codes.value.shape[1]
        if x.shape[1] != features:
            raise ValueError(
                f"{self} has codes of {counted(features, 'feature')}, the input {x.shape[1]}: shape {x.shape}"
            )

    def multiply_adds(self, x_shape, y_shape):
        return x_shape[0] * self.codes.value.size
