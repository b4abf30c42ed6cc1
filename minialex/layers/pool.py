"""Pooling: the largest (max), the mean, or 1998's trainable sum of each window.

All three read the cells of their windows one after the other, `windows[:, i, j]` (see windows.py): a window of 3x3
is nine arrays. Backward adds to the same slices that forward read.
"""

import numpy as np

from minialex import kernels
from minialex.layers.layer import Array, Layer, Parameter
from minialex.pieces import for_pieces
from minialex.shapes import output_sizes, pair, positive
from minialex.windows import batch_first, batch_last, crop, pad, windows


class Pool2D(Layer):
    """What the poolings share: a window, its stride, and the padding. The stride left out is the kernel size."""

    input_rank = 4

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ):
        self.kernel_size = kh, kw = pair(kernel_size, "kernel_size")
        self.stride = pair(kernel_size if stride is None else stride, "stride")
        self.padding = ph, pw = pair(padding, "padding", least=0)
        if 2 * ph > kh or 2 * pw > kw:
            raise ValueError(
                f"{type(self).__name__}: padding {self.padding} is more than half of the window {self.kernel_size}: "
                "a window could lie in the padding alone"
            )

    @property
    def cells(self):
        """The window's cells (i, j) in row order."""
        return list(np.ndindex(self.kernel_size))

    def check_input(self, x):
        super().check_input(x)
        try:
            output_sizes(x.shape[2:], self.kernel_size, self.stride, self.padding)
        except ValueError as error:
            raise ValueError(f"{self}: {error}; the input has shape {x.shape}") from None


class MaxPool2D(Pool2D):
    """y[n, c, p, q] = the largest x under the window at (p, q); windows overlap where stride < kernel_size

    Overlapping: Krizhevsky et al. 2012, section 3.4 (kernel 3, stride 2).
    Shapes: x (N, C, H, W); y (N, C, OH, OW), OH = 1 + floor((H + 2*padding - kh) / stride). The padding counts as
    minus infinity: it never wins. In a tie the first maximum in row order gets the gradient, and it alone.
    Raises ValueError for a window larger than the padded input, or padding of more than half a window.

    >>> layer = MaxPool2D(3, stride=2)
    >>> x = np.array([[[[1, 2, 0, 0, 7], [5, 3, 0, 0, 7], [0, 4, 6, 0, 0]]]], dtype=np.float32)
    >>> layer.forward(x)
    array([[[[6., 7.]]]], dtype=float32)
    >>> layer.backward(np.array([[[[10, 20]]]], dtype=np.float32))
    array([[[[ 0.,  0.,  0.,  0., 20.],
             [ 0.,  0.,  0.,  0.,  0.],
             [ 0.,  0., 10.,  0.,  0.]]]], dtype=float32)
    """

    def forward(self, x: Array) -> Array:
        if kernels.wanted(self.device):
            x = batch_last(x)
            y, winner = kernels.max_pool(x, self.kernel_size, self.stride, self.padding)
            self.save(winner=winner, shape=x.shape)
            return batch_first(y)
        x = pad(batch_last(x), self.padding, value=-np.inf)  # (C, H + 2p, W + 2p, N)
        C, N = x.shape[0], x.shape[-1]
        OH, OW = output_sizes(x.shape[1:3], self.kernel_size, self.stride, (0, 0))
        y = self.device.empty((C, OH, OW, N), x.dtype)
        winner = self.device.zeros(y.shape, np.uint8 if len(self.cells) <= 256 else np.int32)
        for_pieces(
            lambda channels: self._pool(x[channels], y[channels], winner[channels]), self.device, C, x.nbytes
        )
        self.save(winner=winner, padded_shape=x.shape)
        return batch_first(y)

    def _pool(self, x, y, winner):
        """Fill in y, and the number of the cell that won each window."""
        view = windows(x, self.kernel_size, self.stride)
        y[...] = view[:, 0, 0]  # (C, OH, OW, N)
        for number, (i, j) in enumerate(self.cells[1:], start=1):
            larger = view[:, i, j] > y  # and not equal: the first one keeps a tie
            won = larger * winner.dtype.type(number)
            self.xp.maximum(winner, won, out=winner)  # no number before was as large
            self.xp.maximum(y, view[:, i, j], out=y)

    def backward(self, grad_y: Array) -> Array:
        grad_y, winner = batch_last(grad_y), self.saved.winner  # (C, OH, OW, N)
        if kernels.wanted(self.device):
            window = self.kernel_size, self.stride, self.padding
            return batch_first(kernels.max_pool_backward(grad_y, winner, self.saved.shape, *window))
        (kh, kw), (sh, sw), shape = self.kernel_size, self.stride, self.saved.padded_shape
        apart = sh >= kh and sw >= kw  # no pixel lies in two windows
        each_in_one = apart and (kh * grad_y.shape[1], kw * grad_y.shape[2]) == shape[1:3]
        grad_x = (self.device.empty if each_in_one else self.device.zeros)(shape, grad_y.dtype)

        def spread(channels):
            view = windows(grad_x[channels], self.kernel_size, self.stride)
            for number, (i, j) in enumerate(self.cells):
                won = winner[channels] == number
                if apart:
                    self.xp.multiply(grad_y[channels], won, out=view[:, i, j])
                else:
                    view[:, i, j] += grad_y[channels] * won  # faster than where() by far

        for_pieces(spread, self.device, len(grad_x), grad_x.nbytes)
        return batch_first(crop(grad_x, self.padding))


class AvgPool2D(Pool2D):
    """y[n, c, p, q] = the mean of x under the window at (p, q); the padding's zeros count, as PyTorch's do

    Shapes: x (N, C, H, W); y (N, C, OH, OW), OH = 1 + floor((H + 2*padding - kh) / stride).
    Raises ValueError for a window larger than the padded input, or padding of more than half a window.

    >>> AvgPool2D(2).forward(np.array([[[[1, 2], [3, 6]]]], dtype=np.float32))
    array([[[[3.]]]], dtype=float32)
    """

    def forward(self, x: Array) -> Array:
        x = pad(batch_last(x), self.padding)  # (C, H + 2p, W + 2p, N)
        self.save(padded_shape=x.shape)
        view = windows(x, self.kernel_size, self.stride)
        return batch_first(sum(view[:, i, j] for i, j in self.cells) / len(self.cells))

    def backward(self, grad_y: Array) -> Array:
        share = batch_last(grad_y) / len(self.cells)  # (C, OH, OW, N)
        grad_x = self.device.zeros(self.saved.padded_shape, share.dtype)
        view = windows(grad_x, self.kernel_size, self.stride)
        for i, j in self.cells:
            view[:, i, j] += share
        return batch_first(crop(grad_x, self.padding))


class Subsampling(Layer):
    """y[n, c, p, q] = weight[c] * (the sum of the 2x2 pixels at (2p, 2q)) + bias[c]; both are learned

    LeNet-5's S2 and S4 (LeCun et al. 1998, section II.B); the squashing function after it is a Tanh layer.
    Shapes: x (N, C, H, W); weight and bias (C,); y (N, C, H // 2, W // 2): an odd last row or column is not read.
    The weight starts at 1/4, which makes it a mean, the bias at 0.
    Raises ValueError when the input has another number of channels, or less than 2x2 pixels.

    >>> Subsampling(1).forward(np.array([[[[1, 2], [3, 6]]]], dtype=np.float32))
    array([[[[3.]]]], dtype=float32)
    """

    input_rank = 4

    def __init__(self, channels: int):
        self.channels = positive(channels, "channels")
        self.weight = Parameter(np.full(channels, 0.25, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32), decay=False)

    def forward(self, x: Array) -> Array:
        x = batch_last(x)  # (C, H, W, N)
        view = windows(x, (2, 2), (2, 2))
        total = batch_first(view[:, 0, 0] + view[:, 0, 1] + view[:, 1, 0] + view[:, 1, 1])
        self.save(total=total, shape=x.shape)
        return self.weight.value[:, None, None] * total + self.bias.value[:, None, None]  # (C, 1, 1)

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array | None:
        self.bias.grad = grad_y.sum(axis=(0, 2, 3))
        self.weight.grad = (grad_y * self.saved.total).sum(axis=(0, 2, 3))
        if not input_grad:
            return None
        grad_total = batch_last(grad_y * self.weight.value[:, None, None])  # (C, OH, OW, N)
        grad_x = self.xp.zeros(self.saved.shape, dtype=grad_y.dtype)
        view = windows(grad_x, (2, 2), (2, 2))
        for i, j in np.ndindex(2, 2):
            view[:, i, j] += grad_total
        return batch_first(grad_x)

    def check_input(self, x):
        super().check_input(x)
        if x.shape[1] != self.channels:
            raise ValueError(f"{self} has {self.channels} channels, the input {x.shape[1]}: shape {x.shape}")
        if min(x.shape[2:]) < 2:
            raise ValueError(f"{self} sums 2x2 pixels; the input has shape {x.shape}")
