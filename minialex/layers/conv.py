"""Convolution by im2col, and LeNet-5's C3, a convolution with a connection table.

Both are a product of two matrices, weight and columns (see windows.py). Backward is forward, turned round: lessons 01
and 02 derive it.
"""

import copy

import numpy as np

from minialex.layers.init import Initializer, drawn, xavier_uniform
from minialex.layers.layer import Array, Layer
from minialex.layers.parameter import Constant, Parameter
from minialex.layers.windows import col2im, im2col, pad, unpad
from minialex.shapes import SLIDING, is_whole, output_sizes, positive
from minialex.words import counted, yes_or_no


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
    takes = SLIDING | {"in_channels": positive, "out_channels": positive, "groups": positive}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        *,
        groups: int = 1,
        bias: bool = True,
        rng=None,
        init: Initializer = xavier_uniform,
    ):
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        F, C, kh, kw = shape = Conv2D._shapes(self)["weight"]
        self.weight = Parameter(drawn(init, shape, C * kh * kw, F // self.groups * kh * kw, rng))
        zeros = np.zeros(out_channels, np.float32)
        self.bias = Parameter(zeros, decay=False) if yes_or_no(bias, "Conv2D: bias") else None

    def forward(self, x: Array) -> Array:
        self.save(x=x)
        padded = pad(x, self.padding)  # (N, C, H + 2 ph, W + 2 pw)
        columns = self.by_group(im2col(padded, self.kernel_size, self.stride))  # (N, C*kh*kw, OH*OW)
        matrix = self.matrix()  # (F, C*kh*kw)
        y = self.device.matmul(matrix, columns)  # (N, F, OH*OW)
        y = y.reshape(len(x), self.out_channels, *self.output_size(x))
        if self.bias is not None:
            y = y + self.bias.value[:, None, None]
        return y

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        if self.bias is not None:
            self.bias.grad = grad_y.sum(axis=(0, 2, 3))
        padded = pad(self.saved.x, self.padding)
        columns = self.by_group(im2col(padded, self.kernel_size, self.stride))  # made again: saves memory
        matrix = self.matrix()
        grad_rows = self.by_group(grad_y.reshape(*grad_y.shape[:2], -1))  # (N, F, OH*OW)
        grad_matrix = self.device.matmul_sum(grad_rows, columns.swapaxes(-1, -2))  # summed over the pictures
        self.weight.grad = grad_matrix.reshape(self.weight.value.shape)
        if not input_grad:
            return None
        grad_columns = self.device.matmul(matrix.swapaxes(-1, -2), grad_rows)  # (N, C*kh*kw, OH*OW)
        grad_padded = col2im(grad_columns, padded.shape, self.kernel_size, self.stride)
        return unpad(grad_padded, self.padding)

    def matrix(self) -> Array:
        """The weight, a row for each filter: (F, C*kh*kw); with groups (G, F/G, C/G*kh*kw), which `@` takes in turn."""
        F, G = self.out_channels, self.groups
        return self.weight.value.reshape((G, F // G, -1) if G > 1 else (F, -1))

    def by_group(self, rows: Array) -> Array:
        """Rows of a matrix for each picture, (N, K, M); with groups those of each apart, (N, G, K/G, M)."""
        N, K, M = rows.shape
        return rows.reshape(N, self.groups, K // self.groups, M) if self.groups > 1 else rows

    def output_size(self, x: Array) -> tuple[int, int]:
        """(OH, OW)"""
        return output_sizes(x.shape[2:], self.kernel_size, self.stride, self.padding)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        F, C, G = self.out_channels, self.in_channels, self.groups
        if C % G or F % G:
            raise ValueError(f"Conv2D: {G} groups must divide both {C} input and {F} output channels")
        return {"weight": (F, C // G, *self.kernel_size), "bias": (F,)}

    def check_input(self, x) -> None:
        super().check_input(x)
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self} has {counted(self.in_channels, 'input channel')}, the input {x.shape[1]}: shape {x.shape}"
            )
        try:
            self.output_size(x)
        except ValueError as error:
            raise ValueError(f"{self}: {error}; the input has shape {x.shape}") from None

    def split(self, parts: int) -> list[Layer]:
        """Towers of filters: each reads all channels if there is one group, else the channels of its own groups."""
        if self.out_channels % parts or (self.groups > 1 and self.groups % parts):
            raise ValueError(
                f"{self}: {counted(self.out_channels, 'filter')} in {counted(self.groups, 'group')} "
                f"cannot be dealt out to {parts} towers"
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


def inputs_in(row) -> tuple[int, ...]:
    """The inputs that a row of a table names; none, where it does not name different whole numbers."""
    try:
        inputs = tuple(row)
    except TypeError:
        return ()
    good = all(is_whole(c) and c >= 0 for c in inputs) and len(set(inputs)) == len(inputs)
    return tuple(map(int, inputs)) if good else ()


class TableConv2D(Conv2D):
    """LeNet-5's C3: each output map reads only the inputs that its row of the table names, with stride 1.

    y[n, f] = bias[f] + sum over the c in table[f] of weight[k(f, c)] * x[n, c], where k counts the table's entries
    row by row (LeCun et al. 1998, section II.B and table I). Weights are compact, (entries, kh, kw): with the table
    of 1998, 60 kernels of 5x5, 1,516 numbers with the biases.

    Inside it is a Conv2D whose absent connections are zeros: an infinite or NaN pixel reaches all maps, as 0 * inf.
    Raises ValueError for a table with a row that is empty or does not name different whole numbers, or an input with
    too few channels.

    >>> layer = TableConv2D([(0,), (0, 1)], kernel_size=1)
    >>> layer.weight.value[:, 0, 0] = [1, 10, 100]
    >>> layer.forward(np.array([1, 2], dtype=np.float32).reshape(1, 2, 1, 1)).ravel()
    array([  1., 210.], dtype=float32)
    """

    fixed = ("table",)  # the inputs that each output reads

    def __init__(
        self, table, kernel_size: int | tuple[int, int], rng=None, init: Initializer = xavier_uniform
    ):
        rows = list(table) if np.iterable(table) else []
        if not rows:
            raise ValueError(
                f"TableConv2D: the table needs at least one row, [(0,), (0, 1)] has two; this is {table!r}"
            )
        self.table = tuple(map(inputs_in, rows))
        for f, inputs in enumerate(self.table):
            if not inputs:
                raise ValueError(
                    f"TableConv2D: row {f} of the table must name different inputs >= 0, not {rows[f]!r}"
                )
        channels = 1 + max(c for row in self.table for c in row)
        super().__init__(channels, len(self.table), kernel_size)
        kh, kw = self.kernel_size
        fan_in = np.array([len(row) for row in self.table for _ in row]) * kh * kw
        readers = np.bincount([c for row in self.table for c in row], minlength=channels)
        fan_out = np.array([readers[c] for row in self.table for c in row]) * kh * kw
        shape = (len(fan_in), kh, kw)
        weight = drawn(init, shape, fan_in[:, None, None], fan_out[:, None, None], rng)
        self.weight = Parameter(weight)
        self.filter_of = Constant(np.array([f for f, row in enumerate(self.table) for _ in row]))
        self.channel_of = Constant(np.array([c for row in self.table for c in row]))

    def forward(self, x: Array) -> Array:
        self.save(x=x)
        padded = pad(x, self.padding)  # of nothing
        columns = im2col(padded, self.kernel_size, self.stride)  # (N, C*kh*kw, OH*OW)
        full_weight = self.full_weight()  # (F, C, kh, kw)
        y = self.device.matmul(full_weight.reshape(len(full_weight), -1), columns)  # (N, F, OH*OW)
        y = y.reshape(len(x), self.out_channels, *self.output_size(x))
        return y + self.bias.value[:, None, None]

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        self.bias.grad = grad_y.sum(axis=(0, 2, 3))
        padded = pad(self.saved.x, self.padding)
        columns = im2col(padded, self.kernel_size, self.stride)
        full_weight = self.full_weight()
        grad_rows = grad_y.reshape(*grad_y.shape[:2], -1)  # (N, F, OH*OW)
        grad_matrix = self.device.matmul_sum(grad_rows, columns.swapaxes(1, 2))  # (F, C*kh*kw)
        grad_full_weight = grad_matrix.reshape(full_weight.shape)
        self.weight.grad = grad_full_weight[self.filter_of.value, self.channel_of.value]
        if not input_grad:
            return None
        grad_columns = self.device.matmul(full_weight.reshape(len(full_weight), -1).T, grad_rows)
        grad_padded = col2im(grad_columns, padded.shape, self.kernel_size, self.stride)
        return unpad(grad_padded, self.padding)

    def full_weight(self) -> Array:
        """(F, C, kh, kw), zero where the table has no entry"""
        full = self.xp.zeros((self.out_channels, self.in_channels, *self.kernel_size), dtype=self.dtype)
        full[self.filter_of.value, self.channel_of.value] = self.weight.value
        return full

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        entries = sum(map(len, self.table))
        return {"weight": (entries, *self.kernel_size), "bias": (self.out_channels,)}

    def split(self, parts: int) -> list[Layer]:
        return Layer.split(self, parts)  # the rows of its weights are no filters: it cannot

    def multiply_adds(self, x_shape, y_shape):
        return y_shape[0] * y_shape[2] * y_shape[3] * self.weight.value.size
