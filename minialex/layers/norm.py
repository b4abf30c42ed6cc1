"""Response normalisation: across neighbouring channels, and across the neighbourhood within a channel.

Both divide each response by a power of the sum of squares around it, and share forward and backward: for the
derivation see `ResponseNorm`.
"""

import numpy as np

from minialex.layers.layer import Array, Layer
from minialex.layers.settings import finite
from minialex.shapes import positive
from minialex.words import counted

WIDER = {"float16": np.float32, "float32": np.float64}  # for squares that the type itself could not hold


def odd(size: int, name: str) -> int:
    if positive(size, name) % 2 == 0:
        raise ValueError(
            f"{name} {size} is even, the window would have no middle; use {size - 1} or {size + 1}"
        )
    return int(size)


class ResponseNorm(Layer):
    """y[i] = x[i] / scale[i]^beta,  scale[i] = k + alpha * (sum of x[j]^2 over the neighbours j of i, and i itself)

    What a neighbour is, a subclass says in `sum_of_neighbours`; j is i's neighbour if and only if i is j's.
    The gradient: y[i] depends on x[i] directly, and on x through each scale in whose neighbourhood x lies:
        grad_x[i] = grad_y[i] scale[i]^-beta
                    - 2 alpha beta x[i] * sum over the neighbours j of i of grad_y[j] x[j] scale[j]^(-beta - 1)

    It computes in the next wider type, so that the square of 1e38 in float32, or of 300 in float16, is a number still.
    (float64 has none: there, squares of more than 1e154 become infinite, with NumPy's warning.)
    """

    input_rank = 4
    takes = {"size": odd, "alpha": finite, "beta": finite, "k": finite, "groups": positive}

    def __init__(self, size: int, alpha: float, beta: float, k: float):
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Array) -> Array:
        wide = x.astype(WIDER.get(x.dtype.name, x.dtype))
        squares = wide * wide
        scale = self.k + self.alpha * self.sum_of_neighbours(squares)
        self.save(wide=wide, scale=scale, dtype=x.dtype)
        return (wide * scale**-self.beta).astype(x.dtype)

    def backward(self, grad_y: Array) -> Array:
        wide, scale = self.saved.wide, self.saved.scale
        power = scale**-self.beta
        through_scale = self.sum_of_neighbours(grad_y * wide * power / scale)  # scale^(-beta - 1)
        grad_x = grad_y * power - 2 * self.alpha * self.beta * wide * through_scale
        return grad_x.astype(self.saved.dtype)

    def sum_of_neighbours(self, x: Array) -> Array:
        """Each number replaced by the sum of those around it, itself among them."""
        raise TypeError(f"{type(self).__name__} does not say who is whose neighbour")


class LocalResponseNorm(ResponseNorm):
    """y[c] = x[c] / scale[c]^beta, scale[c] = k + alpha * sum of x[d]^2 over the `size` channels d around c

    (Krizhevsky et al. 2012, section 3.3.) The window of c runs from c - size//2 to c + size//2, cut off at the first
    and the last channel; with groups, at the ends of c's group, as when each GPU normalises its own maps. alpha is
    the paper's: it is not divided by size (PyTorch, Caffe and the released code of 2012 divide it).

    Shapes: x and y (N, C, H, W).
    Raises ValueError for an even size, or when groups do not divide the channels.

    >>> layer = LocalResponseNorm(size=3, alpha=1.0, beta=0.5, k=0.0)
    >>> layer.forward(np.array([3.0, 4.0, 0.0]).reshape(1, 3, 1, 1)).ravel()
    array([0.6, 0.8, 0. ])
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, groups: int = 1
    ):
        super().__init__(size, alpha, beta, k)
        self.groups = groups

    def sum_of_neighbours(self, x):
        """Each channel replaced by the sum of the channels around it."""
        N, C, H, W = x.shape
        return sum_around(x.reshape(N, self.groups, C // self.groups, H, W), 2, self.size).reshape(N, C, H, W)

    def split(self, parts: int) -> list[Layer]:
        """Towers: each normalises the channels of its own groups."""
        if self.groups % parts:
            raise ValueError(
                f"{self} reads across all channels: {counted(self.groups, 'group is', 'groups are')} no {parts} towers"
            )
        pieces = super().split(parts)
        for piece in pieces:
            piece.groups = self.groups // parts
        return pieces

    def check_input(self, x) -> None:
        super().check_input(x)
        if x.shape[1] % self.groups:
            raise ValueError(
                f"{self}: {counted(self.groups, 'group')} must divide the {counted(x.shape[1], 'channel')} of {x.shape}"
            )


class SameMapNorm(ResponseNorm):
    """y[p, q] = x[p, q] / scale[p, q]^beta, scale = k + alpha * sum of x^2 over the size x size pixels around (p, q)

    Within each map, cut off at its border. In the released code of 2012 it follows the other one after conv2 (its
    layer type "rnorm", with alpha = 0.001 / 25); the paper does not mention it.
    Shapes: x and y (N, C, H, W). Raises ValueError for an even size.

    >>> SameMapNorm(size=3, alpha=1.0, beta=1.0, k=0.0).forward(np.array([[[[1.0, 2.0, 0.0]]]])).round(3)
    array([[[[0.2, 0.4, 0. ]]]])
    """

    def __init__(self, size: int = 5, alpha: float = 0.001 / 25, beta: float = 0.75, k: float = 1.0):
        super().__init__(size, alpha, beta, k)

    def sum_of_neighbours(self, x):
        """Each pixel replaced by the sum of the pixels around it: first down the columns, then along the rows."""
        return sum_around(sum_around(x, 2, self.size), 3, self.size)


def sum_around(x: Array, axis: int, size: int) -> Array:
    """Each entry replaced by the sum of the `size` entries around it along an axis, cut off at its ends.

    >>> sum_around(np.array([1, 10, 100, 1000]), axis=0, size=3)
    array([  11,  111, 1110, 1100])
    """
    before = (slice(None),) * axis
    total = x.copy(order="K")
    for distance in range(1, size // 2 + 1):
        later, earlier = (*before, slice(distance, None)), (*before, slice(None, -distance))
        total[later] += x[earlier]
        total[earlier] += x[later]
    return total
