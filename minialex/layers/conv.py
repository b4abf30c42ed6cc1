"""Convolution by im2col, and LeNet-5's C3, a convolution with a connection table.

Both are a product of two matrices, weight and columns (see windows.py), so that nearly all the work is done by BLAS.
"""

import copy

import numpy as np

from minialex.init import generator, xavier_uniform
from minialex.layers.layer import Array, Constant, Layer, Parameter
from minialex.shapes import output_sizes, pair, positive
from minialex.windows import batch_first, batch_last, blocks, col2im, crop, im2col, pad


class Conv2D(Layer):
    """y[n, f, p, q] = bias[f] + sum over c, i, j of weight[f, c, i, j] * x[n, c, p*stride + i - padding, ...]

    A cross-correlation, as everywhere in this field: the kernel is not flipped. With G groups, the first F/G filters
    read the first C/G channels, and so on (Krizhevsky et al. 2012, section 3.5: conv2, conv4 and conv5 on two GPUs).

    Shapes: x (N, C, H, W); weight (F, C/G, kh, kw); bias (F,); y (N, F, OH, OW) with
    OH = 1 + floor((H + 2*padding - kh) / stride). kernel_size, stride and padding: a number, or (height, width).
    rng: a generator or a seed (left out: 0); weights are Xavier-uniform, biases 0.
    Raises ValueError when channels do not match, groups do not divide them, or the kernel is larger than the input.

    >>> layer = Conv2D(1, 1, kernel_size=2)
    >>> layer.weight.value[:] = [[[[1, 2], [3, 4]]]]
    >>> layer.forward(np.array([[[[1, 0, 0], [0, 1, 0]]]], dtype=np.float32))
    array([[[[5., 3.]]]], dtype=float32)
    """

    input_rank = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        rng=None,
        init=xavier_uniform,
    ):
        self.in_channels = positive(in_channels, "in_channels")
        self.out_channels = positive(out_channels, "out_channels")
        self.kernel_size = kh, kw = pair(kernel_size, "kernel_size")
        self.stride = pair(stride, "stride")
        self.padding = pair(padding, "padding", least=0)
        self.groups = positive(groups, "groups")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2D: {groups} groups must divide both {in_channels} input and {out_channels} output channels"
            )
        shape = (out_channels, in_channels // groups, kh, kw)
        fan_in, fan_out = shape[1] * kh * kw, out_channels // groups * kh * kw
        self.weight = Parameter(init(shape, fan_in, fan_out, generator(rng)))
        self.bias = Parameter(np.zeros(out_channels, np.float32), decay=False) if bias else None

    def forward(self, x: Array) -> Array:
        y = self._convolve(x, self.weight.value)
        if self.bias is not None:
            y += self.bias.value[:, None, None]  # (F, 1, 1)
        return y

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array | None:
        if self.bias is not None:
            self.bias.grad = grad_y.sum(axis=(0, 2, 3))
        grad_x, self.weight.grad = self._convolve_backward(grad_y, self.weight.value, input_grad)
        return grad_x

    def _convolve(self, x, weight):
        x = pad(batch_last(x), self.padding)  # (C, H + 2p, W + 2p, N)
        self.save(x=x)
        OH, OW = self._output_size(x)
        F, G, N = self.out_channels, self.groups, x.shape[-1]
        y = self.xp.empty((F, OH, OW, N), dtype=x.dtype)
        weight = weight.reshape(G, F // G, -1)  # (G, F/G, C/G*kh*kw)
        for rows, rows_read, pictures in self._blocks(x, (OH, OW)):
            columns = im2col(x[:, rows_read, :, pictures], self.kernel_size, self.stride)
            columns = columns.reshape(G, weight.shape[2], -1)  # (G, C/G*kh*kw, rows*OW*pictures)
            part = y[:, rows, :, pictures]
            part[...] = (weight @ columns).reshape(part.shape)
        return batch_first(y)

    def _convolve_backward(self, grad_y, weight, input_grad):
        x = self.saved.x
        grad_y = batch_last(grad_y)  # (F, OH, OW, N)
        F, OH, OW, _ = grad_y.shape
        G = self.groups
        grad_x = self.xp.zeros_like(x) if input_grad else None
        grad_weight = self.xp.zeros((G, F // G, weight[0].size), dtype=x.dtype)
        weight_t = weight.reshape(grad_weight.shape).transpose(0, 2, 1)  # (G, C/G*kh*kw, F/G)
        for rows, rows_read, pictures in self._blocks(x, (OH, OW)):
            part = grad_y[:, rows, :, pictures]
            grad_part = part.reshape(G, F // G, -1)  # (G, F/G, rows*OW*pictures)
            columns = im2col(x[:, rows_read, :, pictures], self.kernel_size, self.stride)
            shape = columns.shape
            columns = columns.reshape(G, weight_t.shape[1], -1)  # made again: cheaper than kept
            grad_weight += grad_part @ columns.transpose(0, 2, 1)
            if input_grad:
                grad_columns = (weight_t @ grad_part).reshape(shape)  # (C, kh, kw, rows, OW, pictures)
                col2im(grad_columns, grad_x[:, rows_read, :, pictures], self.stride)
        grad_x = batch_first(crop(grad_x, self.padding)) if input_grad else None
        return grad_x, grad_weight.reshape(weight.shape)

    def _output_size(self, x_padded):
        return output_sizes(x_padded.shape[1:3], self.kernel_size, self.stride, (0, 0))

    def _blocks(self, x, output):
        C, _, _, N = x.shape
        kh, kw = self.kernel_size
        return blocks(output, N, (kh, kw), self.stride, C * kh * kw * x.itemsize, self.device.column_budget)

    def check_input(self, x):
        super().check_input(x)
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self} has {self.in_channels} input channels, the input {x.shape[1]}: shape {x.shape}"
            )
        try:
            output_sizes(x.shape[2:], self.kernel_size, self.stride, self.padding)
        except ValueError as error:
            raise ValueError(f"{self}: {error}; the input has shape {x.shape}") from None

    def split(self, parts):
        """Towers of filters: each reads all channels if there is one group, else the channels of its own groups."""
        if self.out_channels % parts or (self.groups > 1 and self.groups % parts):
            raise ValueError(
                f"{self}: {self.out_channels} filters in {self.groups} groups cannot be dealt out to {parts} towers"
            )
        pieces = [copy.copy(self) for _ in range(parts)]
        weights = self.weight.split(parts)
        biases = self.bias.split(parts) if self.bias else [None] * parts
        for piece, weight, bias in zip(pieces, weights, biases, strict=True):
            piece.weight, piece.bias = weight, bias
            piece.out_channels = self.out_channels // parts
            if self.groups > 1:
                piece.groups, piece.in_channels = self.groups // parts, self.in_channels // parts
        return pieces

    def multiply_adds(self, x_shape, y_shape):
        return int(np.prod(y_shape)) * self.weight.value[0].size

    def column_bytes(self, x_shape, y_shape):
        (N, _, OH, OW), (kh, kw) = y_shape, self.kernel_size
        return N * self.in_channels * kh * kw * OH * OW * self.dtype.itemsize


class TableConv2D(Conv2D):
    """LeNet-5's C3: each output map reads only the inputs that its row of the table names, with stride 1.

    y[n, f] = bias[f] + sum over the c in table[f] of weight[k(f, c)] * x[n, c], where k counts the table's entries
    row by row (LeCun et al. 1998, section II.B and table I). Weights are compact, (entries, kh, kw): with the table
    of 1998, 60 kernels of 5x5, 1,516 numbers with the biases.

    Inside it is a Conv2D whose absent connections are zeros.
    Raises ValueError for a table with an empty or doubled row entry, or an input with too few channels.

    >>> layer = TableConv2D([(0,), (0, 1)], kernel_size=1)
    >>> layer.weight.value[:, 0, 0] = [1, 10, 100]
    >>> layer.forward(np.array([1, 2], dtype=np.float32).reshape(1, 2, 1, 1)).ravel()
    array([  1., 210.], dtype=float32)
    """

    def __init__(self, table, kernel_size: int | tuple[int, int], rng=None, init=xavier_uniform):
        self.table = [tuple(row) for row in table]
        if not self.table:
            raise ValueError("TableConv2D: the table needs at least one row")
        for f, row in enumerate(self.table):
            if not row or len(set(row)) != len(row) or min(row) < 0:
                raise ValueError(
                    f"TableConv2D: row {f} of the table must name different inputs >= 0, not {row}"
                )
        channels = 1 + max(c for row in self.table for c in row)
        super().__init__(channels, len(self.table), kernel_size)
        kh, kw = self.kernel_size
        fan_in = np.array([len(row) for row in self.table for _ in row]) * kh * kw
        readers = np.bincount([c for row in self.table for c in row], minlength=channels)
        fan_out = np.array([readers[c] for row in self.table for c in row]) * kh * kw
        shape = (len(fan_in), kh, kw)
        weight = init(shape, fan_in[:, None, None], fan_out[:, None, None], generator(rng))
        self.weight = Parameter(weight)
        self.filter_of = Constant(np.array([f for f, row in enumerate(self.table) for _ in row]))
        self.channel_of = Constant(np.array([c for row in self.table for c in row]))

    def forward(self, x: Array) -> Array:
        return self._convolve(x, self._full_weight()) + self.bias.value[:, None, None]

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array | None:
        self.bias.grad = grad_y.sum(axis=(0, 2, 3))
        grad_x, grad_full = self._convolve_backward(grad_y, self._full_weight(), input_grad)
        self.weight.grad = grad_full[self.filter_of.value, self.channel_of.value]
        return grad_x

    def _full_weight(self):
        """(F, C, kh, kw), zero where the table has no entry."""
        full = self.xp.zeros((self.out_channels, self.in_channels, *self.kernel_size), dtype=self.dtype)
        full[self.filter_of.value, self.channel_of.value] = self.weight.value
        return full

    def split(self, parts):
        return Layer.split(self, parts)  # the rows of its weights are no filters: it cannot

    def multiply_adds(self, x_shape, y_shape):
        return y_shape[0] * y_shape[2] * y_shape[3] * self.weight.value.size
