"""Batch normalisation: each channel is centred and scaled by what the batch shows of it (Ioffe, Szegedy 2015)."""

from functools import partial

import numpy as np

from minialex.layers.layer import Array, Layer, at_least_float32
from minialex.layers.parameter import Buffer, Parameter
from minialex.layers.settings import not_negative, within
from minialex.shapes import positive
from minialex.words import counted, yes_or_no


class BatchNorm2D(Layer):
    """y = weight[c] * normalised + bias[c],  normalised = scale[c] * (x - mean[c]),  scale = 1 / sqrt(variance + eps)

    In training mean and variance are those of the m = N*H*W numbers that a channel has in the batch. So each x acts on
    its own y, and through the mean and the variance on all y of its channel: d mean / dx = 1/m, and
    d variance / dx = 2 (x - mean) / m. With grad_normalised = weight * grad_y, and "mean of" over N, H and W:

        grad_x = scale * (grad_normalised                                                  directly
                          - mean of grad_normalised                                        through the mean
                          - normalised * mean of (grad_normalised * normalised))           through the variance
        grad_weight = sum of grad_y * normalised,  grad_bias = sum of grad_y

    (Ioffe, Szegedy 2015, algorithm 1 and section 3.) In evaluation mean and variance are the running ones, constants:
    grad_x = scale * grad_normalised. So it is with `frozen`, in training too: for fine-tuning with batches that are too
    small to say what a channel is like.

    Running: new = (1 - momentum) * old + momentum * the batch's. The variance that normalises is a sum of squares by m,
    the one that is kept by m - 1, as in PyTorch; momentum 0.1 here is 0.9 in the papers.
    float16 is worked out in float32: the square of 300 has no room in it.
    Weight decay applies to weight and bias, as in PyTorch, unless decay=False.
    Shapes: x and y (N, C, H, W); weight, bias, running_mean, running_var (C,).
    Raises ValueError for another number of channels, and in training for one number a channel: it has no variance.

    >>> layer = BatchNorm2D(1, eps=0.0)
    >>> layer.forward(np.array([[[[1, 3]]], [[[1, 3]]]], dtype=np.float32))
    array([[[[-1.,  1.]]],
    <BLANKLINE>
    <BLANKLINE>
           [[[-1.,  1.]]]], dtype=float32)
    >>> layer.running_mean.value.round(3)                        # 0.9 * 0 + 0.1 * 2
    array([0.2], dtype=float32)
    """

    input_rank = 4
    takes = {
        "channels": positive,
        "eps": not_negative,
        "momentum": partial(within, 0, 1),
        "frozen": yes_or_no,
    }

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        frozen: bool = False,
        decay: bool = True,
    ):
        self.channels = channels
        self.eps, self.momentum, self.frozen = eps, momentum, frozen
        self.weight = Parameter(np.ones(channels, np.float32), decay=decay)
        self.bias = Parameter(np.zeros(channels, np.float32), decay=decay)
        self.running_mean = Buffer(np.zeros(channels, np.float32))
        self.running_var = Buffer(np.ones(channels, np.float32))

    def forward(self, x: Array) -> Array:
        of_batch = self.training and not self.frozen
        wide = at_least_float32(x)
        mean = wide.mean(axis=(0, 2, 3)) if of_batch else self.running_mean.value  # (C,)
        centred = wide - mean[:, None, None]
        variance = (centred * centred).mean(axis=(0, 2, 3)) if of_batch else self.running_var.value
        scale = 1 / self.xp.sqrt(variance + self.eps)
        normalised = centred * scale[:, None, None]
        if of_batch:
            m = x.size // self.channels
            self.running_mean.move(mean, self.momentum)
            self.running_var.move(variance * (m / (m - 1)), self.momentum)
        self.save(normalised=normalised, scale=scale, of_batch=of_batch)
        y = self.weight.value[:, None, None] * normalised + self.bias.value[:, None, None]
        return y.astype(x.dtype, copy=False)

    def backward(self, grad_y: Array) -> Array:
        normalised, scale = self.saved.normalised, self.saved.scale[:, None, None]
        wide, dtype = at_least_float32(grad_y), grad_y.dtype
        self.bias.grad = wide.sum(axis=(0, 2, 3)).astype(dtype)
        self.weight.grad = (wide * normalised).sum(axis=(0, 2, 3)).astype(dtype)
        grad_normalised = wide * self.weight.value[:, None, None]
        if not self.saved.of_batch:
            return (grad_normalised * scale).astype(dtype, copy=False)
        through_mean = grad_normalised.mean(axis=(0, 2, 3), keepdims=True)  # (1, C, 1, 1)
        through_variance = (grad_normalised * normalised).mean(axis=(0, 2, 3), keepdims=True)
        grad_x = (grad_normalised - through_mean - normalised * through_variance) * scale
        return grad_x.astype(dtype, copy=False)

    def split(self, parts: int) -> list[Layer]:
        """Towers: each normalises its own channels."""
        if self.channels % parts:
            raise ValueError(
                f"{self}: {counted(self.channels, 'channel')} cannot be divided by {parts} towers"
            )
        pieces = []
        dealt = {
            name: value.split(parts)
            for name, value in vars(self).items()
            if isinstance(value, Parameter | Buffer)
        }
        for number in range(parts):
            piece = BatchNorm2D(self.channels // parts, self.eps, self.momentum, frozen=self.frozen)
            piece.training = self.training
            for name, values in dealt.items():
                setattr(piece, name, values[number])
            pieces.append(piece)
        return pieces

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (self.channels,))

    def check_input(self, x) -> None:
        super().check_input(x)
        if x.shape[1] != self.channels:
            raise ValueError(
                f"{self} has {counted(self.channels, 'channel')}, the input {x.shape[1]}: shape {x.shape}"
            )
        if self.training and not self.frozen and x.size == self.channels:
            raise ValueError(
                f"{self}: the input of shape {x.shape} has one number a channel, and one number has no variance: "
                "use a larger batch, or eval()"
            )
