"""Pooling: the largest (max), the mean, or 1998's trainable sum of each window; and means of whole maps.

The first three lay the cells of each window side by side, as im2col does, and work along that axis. Backward says what
each cell gets, and col2im brings it home (see windows.py, and lesson 03).
"""

import numpy as np

from minialex.layers.layer import Array, Layer, at_least_float32
from minialex.layers.parameter import Parameter
from minialex.layers.windows import col2im, im2col, pad
from minialex.shapes import SLIDING, output_sizes, overhang, pair, positive
from minialex.words import counted, yes_or_no


def cells_of(padded: Array, kernel: tuple[int, int], stride: tuple[int, int]) -> Array:
    """The cells of each window, one behind the other: (N, C, H, W) -> (N, C, kh*kw, OH, OW)"""
    N, C, H, W = padded.shape
    columns = im2col(padded, kernel, stride)  # (N, C*kh*kw, OH*OW)
    return columns.reshape(N, C, -1, *output_sizes((H, W), kernel, stride, (0, 0)))


class Pool2D(Layer):
    """What the poolings share: a window, its stride, and the padding. The stride left out is the kernel size.

    ceil_mode: sizes are rounded up, OH = 1 + ceil((H + 2*padding - kh) / stride), so that no pixel is left out; the
    last window may hang over the padding, but none begins in the padding after the picture.
    """

    input_rank = 4
    takes = SLIDING | {"ceil_mode": yes_or_no, "count_include_pad": yes_or_no}

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        *,
        ceil_mode: bool = False,
    ):
        self.ceil_mode = ceil_mode
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride = pair(kernel_size if stride is None else stride, "stride")
        self.padding = pair(padding, "padding", least=0)
        self.check_padding()

    def check_padding(self) -> None:
        (ph, pw), (kh, kw) = self.padding, self.kernel_size
        if 2 * ph > kh or 2 * pw > kw:
            raise ValueError(
                f"{type(self).__name__}: padding {self.padding} is more than half of the window {self.kernel_size}: "
                "a window could lie in the padding alone"
            )

    def cells(self, padded: Array) -> Array:
        """(N, C, kh*kw, OH, OW)"""
        return cells_of(padded, self.kernel_size, self.stride)

    def frame(self, x: Array, value: float = 0.0, beyond: float | None = None) -> Array:
        """x with `value` in the padding, and `beyond` (left out: `value`) in what the last windows hang over."""
        padded = pad(x, self.padding, value)
        if not self.ceil_mode:
            return padded
        down, right = map(overhang, x.shape[2:], self.kernel_size, self.stride, self.padding)
        N, C, H, W = padded.shape
        shape = (N, C, H + down, W + right)
        wider = self.xp.full(shape, value if beyond is None else beyond, dtype=x.dtype)
        wider[:, :, :H, :W] = padded
        return wider

    def bring_home(self, grad_cells: Array) -> Array:
        """The gradient of x from that of its windows' cells (N, C, kh*kw, OH, OW); forward saves both shapes."""
        H, W = self.saved.shape[2:]
        grad_padded = col2im(grad_cells, self.saved.padded_shape, self.kernel_size, self.stride)
        ph, pw = self.padding
        return grad_padded[:, :, ph : ph + H, pw : pw + W]

    def check_input(self, x) -> None:
        super().check_input(x)
        self.check_padding()
        try:
            output_sizes(x.shape[2:], self.kernel_size, self.stride, self.padding, self.ceil_mode)
        except ValueError as error:
            raise ValueError(f"{self}: {error}; the input has shape {x.shape}") from None


class MaxPool2D(Pool2D):
    """y[n, c, p, q] = the largest x under the window at (p, q); windows overlap where stride < kernel_size

    Overlapping: Krizhevsky et al. 2012, section 3.4 (kernel 3, stride 2).
    Shapes: x (N, C, H, W); y (N, C, OH, OW), OH = 1 + floor((H + 2*padding - kh) / stride). The padding counts as
    minus infinity, and never wins, not even where all pixels are minus infinity. In a tie the first maximum in row
    order gets the gradient, and it alone. A NaN is larger than any number: y is NaN, and the window's first NaN gets
    the gradient.
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
        padded = self.frame(x, value=-np.inf)  # (N, C, H + 2 ph, W + 2 pw)
        cells = self.cells(padded)  # (N, C, kh*kw, OH, OW)
        y = cells.max(axis=2)
        # The padding never wins: where all is minus infinity, the first cell that lies inside of the picture does.
        inside = self.frame(self.xp.ones_like(x[:1, :1], dtype=bool), value=False)
        first_inside = self.cells(inside).argmax(axis=2)  # (1, 1, OH, OW)
        winner = self.xp.where(y == -np.inf, first_inside, cells.argmax(axis=2))
        self.save(winner=winner, shape=x.shape, padded_shape=padded.shape)
        return y

    def backward(self, grad_y: Array) -> Array:
        kh, kw = self.kernel_size
        won = self.saved.winner[:, :, None] == self.xp.arange(kh * kw)[:, None, None]  # (N, C, kh*kw, OH, OW)
        grad_cells = self.xp.where(won, grad_y[:, :, None], 0)
        return self.bring_home(grad_cells)


class AvgPool2D(Pool2D):
    """y[n, c, p, q] = the mean of x under the window at (p, q)

    The padding's zeros count, as PyTorch's do; with count_include_pad=False they do not, and each window is divided by
    the number of pixels in it. What hangs over in ceil_mode never counts.
    Shapes: x (N, C, H, W); y (N, C, OH, OW), OH = 1 + floor((H + 2*padding - kh) / stride).
    Raises ValueError for a window larger than the padded input, or padding of more than half a window.

    >>> AvgPool2D(2).forward(np.array([[[[1, 2], [3, 6]]]], dtype=np.float32))
    array([[[[3.]]]], dtype=float32)
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Array) -> Array:
        padded = self.frame(x)  # (N, C, H + 2 ph, W + 2 pw)
        self.save(shape=x.shape, padded_shape=padded.shape)
        return self.cells(padded).mean(axis=2) / self.counted(x.shape, x.dtype)

    def backward(self, grad_y: Array) -> Array:
        kh, kw = self.kernel_size
        N, C, OH, OW = grad_y.shape
        wide = at_least_float32(grad_y)
        pixels = kh * kw * self.counted(self.saved.shape, wide.dtype)  # of each window, those that count
        grad_cells = self.xp.broadcast_to((wide / pixels)[:, :, None], (N, C, kh * kw, OH, OW))
        return self.bring_home(grad_cells).astype(grad_y.dtype, copy=False)

    def counted(self, shape: tuple[int, ...], dtype) -> Array:
        """How much of each window counts, (1, 1, OH, OW): 1 where no padding is left out."""
        ones = self.xp.ones((1, 1, *shape[2:]), dtype=dtype)
        return self.cells(self.frame(ones, value=float(self.count_include_pad), beyond=0.0)).mean(axis=2)


class GlobalAvgPool2D(Layer):
    """y[n, c] = the mean of x[n, c] over all places: of each map one number (Lin et al. 2013, section 3.2)

    Shapes: x (N, C, H, W); y (N, C), as Linear takes it.

    >>> GlobalAvgPool2D().forward(np.array([[[[1, 2], [3, 6]]]], dtype=np.float32))
    array([[3.]], dtype=float32)
    """

    input_rank = 4

    def forward(self, x: Array) -> Array:
        self.save(x=x)
        return x.mean(axis=(2, 3))

    def backward(self, grad_y: Array) -> Array:
        x = self.saved.x
        H, W = x.shape[2:]
        grad_x = self.xp.empty_like(x)  # as x lies in memory
        grad_x[...] = (at_least_float32(grad_y) / (H * W))[:, :, None, None]
        return grad_x


class AdaptiveAvgPool2D(Layer):
    """y[n, c, p, q] = the mean of x over the rows floor(p H / OH) to ceil((p + 1) H / OH), likewise the columns

    As many windows as are asked for, whatever comes in, of sizes that may differ by one, and may overlap; PyTorch's.
    Shapes: x (N, C, H, W); y (N, C, OH, OW), the `size`.

    >>> AdaptiveAvgPool2D((1, 2)).forward(np.array([[[[1, 2, 6]]]], dtype=np.float32))        # 1 2 and 2 6
    array([[[[1.5, 4. ]]]], dtype=float32)
    """

    input_rank = 4
    takes = {"size": pair}

    def __init__(self, size: int | tuple[int, int]):
        self.size = pair(size, "size")

    def forward(self, x: Array) -> Array:
        self.save(x=x)
        y = self.xp.empty((*x.shape[:2], *self.size), dtype=x.dtype)
        for p, q, rows, columns in self.windows(x.shape):
            y[:, :, p, q] = x[:, :, rows, columns].mean(axis=(2, 3))
        return y

    def backward(self, grad_y: Array) -> Array:
        grad_x = self.xp.zeros_like(self.saved.x)  # as x lies in memory
        for p, q, rows, columns in self.windows(grad_x.shape):
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            grad_x[:, :, rows, columns] += at_least_float32(grad_y[:, :, p, q, None, None]) / area
        return grad_x

    def windows(self, shape):
        """(p, q, rows, columns) of each window, the last two as slices."""
        (OH, OW), (H, W) = self.size, shape[2:]
        for p, q in np.ndindex(OH, OW):
            rows = slice(p * H // OH, -(-(p + 1) * H // OH))
            columns = slice(q * W // OW, -(-(q + 1) * W // OW))
            yield p, q, rows, columns


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
    takes = {"channels": positive}

    def __init__(self, channels: int):
        self.channels = channels
        self.weight = Parameter(np.full(channels, 0.25, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32), decay=False)

    def forward(self, x: Array) -> Array:
        total = cells_of(x, (2, 2), (2, 2)).sum(axis=2)  # (N, C, OH, OW)
        self.save(total=total, shape=x.shape)
        return self.weight.value[:, None, None] * total + self.bias.value[:, None, None]  # (C, 1, 1)

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        N, C, OH, OW = grad_y.shape
        self.bias.grad = grad_y.sum(axis=(0, 2, 3))
        self.weight.grad = (grad_y * self.saved.total).sum(axis=(0, 2, 3))
        if not input_grad:
            return None
        grad_total = grad_y * self.weight.value[:, None, None]  # (N, C, OH, OW)
        grad_cells = self.xp.broadcast_to(grad_total[:, :, None], (N, C, 4, OH, OW))
        return col2im(grad_cells, self.saved.shape, (2, 2), (2, 2))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("weight", "bias"), (self.channels,))

    def check_input(self, x) -> None:
        super().check_input(x)
        if x.shape[1] != self.channels:
            raise ValueError(
                f"{self} has {counted(self.channels, 'channel')}, the input {x.shape[1]}: shape {x.shape}"
            )
        if min(x.shape[2:]) < 2:
            raise ValueError(f"{self} sums 2x2 pixels; the input has shape {x.shape}")
