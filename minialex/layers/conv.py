"""Convolution by im2col, and LeNet-5's C3, a convolution with a connection table.

Both are a product of two matrices, weight and columns (see windows.py), so that nearly all the work is done by BLAS.
"""

import copy
import math
from itertools import product

import numpy as np

from minialex import kernels
from minialex.init import generator, xavier_uniform
from minialex.layers.layer import Array, Constant, Layer, Parameter
from minialex.shapes import output_sizes, pair, positive
from minialex.windows import (
    batch_first,
    batch_last,
    blocks,
    by_row,
    col2im,
    crop,
    im2col,
    pad,
    picture_blocks,
    row_blocks,
    stacked,
)

SHARE = 2**26  # multiplications that are worth a thread: to wake one takes a third of a millisecond


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
        return self._convolve(x, self.weight.value)

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array | None:
        grad_x, self.weight.grad = self._convolve_backward(grad_y, self.weight.value, input_grad)
        return grad_x

    def _convolve(self, x, weight):
        if kernels.wanted(self.device):
            self.save(x=batch_last(x))
            bias = None if self.bias is None else self.bias.value
            y = kernels.convolve(self.saved.x, weight, bias, self.stride, self.padding, self.groups)
            return batch_first(y)
        x = pad(batch_last(x), self.padding)  # (C, H + 2p, W + 2p, N)
        self.save(x=x)
        F, (OH, OW), N = self.out_channels, self._output_size(x), x.shape[-1]
        y = self.device.empty((F, OH, OW, N), x.dtype)
        self.device.map(lambda share: self._fill_in(y, x, weight, share), self._shares(x))
        return batch_first(y)

    def _convolve_backward(self, grad_y, weight, input_grad):
        x = self.saved.x
        grad_y = batch_last(grad_y)  # (F, OH, OW, N)
        if self.bias is not None:
            self.bias.grad = grad_y.sum(axis=(1, 2, 3))
        if kernels.wanted(self.device):
            window = self.stride, self.padding, self.groups
            grad_x, grad_weight = kernels.convolve_backward(x, weight, grad_y, *window, input_grad)
            return batch_first(grad_x) if input_grad else None, grad_weight
        grad_x = self.device.zeros(x.shape, x.dtype) if input_grad else None

        def convolve_backward(share):
            if input_grad:
                self._add_grad_x(grad_x, weight, grad_y, share)
            return self._grad_weight(x, grad_y, share)

        grad_weight = sum(self.device.map(convolve_backward, self._shares(x)))
        return batch_first(crop(grad_x, self.padding)) if input_grad else None, grad_weight

    def _fill_in(self, y, x, weight, share):
        """y of some pictures: weight @ columns + bias, block by block."""
        for rows, rows_read, pictures in self._blocks(x, share):
            for f, c in self._groups():
                columns = self._columns(x[c, rows_read, :, pictures])  # (rows, kh*kw*C/G, OW*pictures)
                matrix = weight[f].transpose(0, 2, 3, 1).reshape(len(weight[f]), -1)  # (F/G, kh*kw*C/G)
                part = y[f, rows, :, pictures].transpose(1, 0, 2, 3)  # (rows, F/G, OW, pictures)
                bias = 0 if self.bias is None else self.bias.value[f, None, None]  # (F/G, 1, 1)
                self.device.matmul_plus(matrix, columns, bias, out=part)

    def _grad_weight(self, x, grad_y, share):
        """The gradient of weight from some pictures: columns @ grad_y^T, summed over rows and blocks."""
        grads = [0] * self.groups
        for rows, rows_read, pictures in self._blocks(x, share):
            for g, (f, c) in enumerate(self._groups()):
                columns = self._columns(x[c, rows_read, :, pictures])  # made again: cheaper than kept
                grad_rows = by_row(grad_y[f, rows, :, pictures])  # (rows, F/G, OW*pictures)
                grads[g] = grads[g] + self.device.matmul(columns, grad_rows.transpose(0, 2, 1)).sum(axis=0)
        grad = self.xp.concatenate(grads, axis=1)  # (kh*kw*C/G, F)
        return grad.reshape(*self.kernel_size, -1, self.out_channels).transpose(3, 2, 0, 1)

    def _add_grad_x(self, grad_x, weight, grad_y, share):
        """Each row of x, in some pictures, collects from the rows of grad_y whose windows lay upon it.

        Upon rows r, r + stride, ... lay rows r, r + stride, ... of the kernel: the first of these in the window that
        begins there, the others in windows above it. So the kernel goes upside down over the rows of grad_y.
        """
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        budget = min(self.device.column_budget, self.device.piece_bytes or self.device.column_budget)
        for (f, c), r in product(self._groups(), range(min(sh, kh))):
            kernel_rows = weight[f, :, r::sh][:, :, ::-1]  # (F/G, C/G, so many, kw)
            above = kernel_rows.shape[2] - 1
            matrix = kernel_rows.transpose(3, 1, 2, 0).reshape(kw * kernel_rows.shape[1], -1)
            for pictures in self._picture_blocks(grad_x, share):
                grad_rows = by_row(grad_y[f, :, :, pictures], margin=above)  # zeros above, and below
                grad_rows = stacked(grad_rows, above + 1, 1)  # (OH + above, (above+1)*F/G, OW*pictures)
                into = grad_x[c, r::sh, :, pictures]
                for rows in row_blocks(grad_rows, len(matrix), budget):
                    grad_columns = self.device.matmul(matrix, grad_rows[rows])  # (rows, kw*C/G, OW*pictures)
                    col2im(grad_columns, into[:, rows], kw, sw)

    def _columns(self, x):
        return stacked(im2col(x, self.kernel_size[1], self.stride[1]), self.kernel_size[0], self.stride[0])

    def _groups(self):
        """The filters and the channels of each group."""
        F, C = self.out_channels // self.groups, self.in_channels // self.groups
        return [(slice(g * F, (g + 1) * F), slice(g * C, (g + 1) * C)) for g in range(self.groups)]

    def _output_size(self, x_padded):
        return output_sizes(x_padded.shape[1:3], self.kernel_size, self.stride, (0, 0))

    def _blocks(self, x, share):
        OH, _ = self._output_size(x)
        kh, sh = self.kernel_size[0], self.stride[0]
        return blocks(OH, share, kh, sh, self._row_bytes(x), self.device.column_budget)

    def _picture_blocks(self, x, share):
        return picture_blocks(share, self.kernel_size[0] * self._row_bytes(x), self.device.column_budget)

    def _row_bytes(self, x):
        """What im2col writes for one row of one picture."""
        return self._output_size(x)[1] * self.kernel_size[1] * self.in_channels // self.groups * x.itemsize

    def _shares(self, x):
        """The pictures, dealt out to as many threads as have enough to do."""
        multiplications = math.prod(self._output_size(x)) * self.weight.value.size  # of one picture
        return self.device.shares(x.shape[-1], least=max(16, SHARE // multiplications))

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
        return self._convolve(x, self._full_weight())

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array | None:
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
