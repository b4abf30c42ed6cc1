"""Convolution in blocks: the columns of some rows of some pictures at a time, as many as fit a budget.

Three things differ from the textbook's lines. Pictures lie last, so that the columns of a batch form one matrix.
im2col writes windows of one pixel's height, kh times fewer numbers, and windows of full height are views of them. And
grad_x comes from stacked rows of grad_y, the kernel upside down over them, not from added columns. See windows.py.
"""

import math
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from minialex.fast.cpu import flat
from minialex.fast.cpu.products import matmul, matmul_plus
from minialex.fast.cpu.windows import (
    batch_first,
    batch_last,
    blocks,
    by_row,
    col2im,
    framed_rows,
    im2col,
    picture_blocks,
    row_blocks,
    rows_between,
    stacked,
)
from minialex.layers import windows as textbook
from minialex.shapes import output_sizes


def forward(layer, x):
    return convolve(layer, x, layer.weight.value)


def backward(layer, grad_y, input_grad=True):
    grad_x, layer.weight.grad = convolve_backward(layer, grad_y, layer.weight.value, input_grad)
    return grad_x


def table_forward(layer, x):
    return convolve(layer, x, layer.full_weight())


def table_backward(layer, grad_y, input_grad=True):
    grad_x, grad_full = convolve_backward(layer, grad_y, layer.full_weight(), input_grad)
    layer.weight.grad = grad_full[layer.filter_of.value, layer.channel_of.value]
    return grad_x


def convolve(layer, x, weight):
    x = batch_last(x)  # (C, H, W, N)
    layer.save(x=x)
    if flat.takes(layer, x):
        return batch_first(flat.convolve(layer, x, weight))
    work = Work(layer, x)
    y = layer.device.empty((layer.out_channels, *work.output_size, work.pictures), x.dtype)
    layer.device.map(lambda share: work.fill_in(y, weight, share), work.shares())
    return batch_first(y)


def convolve_backward(layer, grad_y, weight, input_grad):
    x, grad_y = layer.saved.x, batch_last(grad_y)  # (C, H, W, N), (F, OH, OW, N)
    # Stacked rows reach into margins of zeros, where an infinite weight would make what is not a number.
    stacking = input_grad and np.isfinite(weight).all()
    grad_x = None
    if flat.takes(layer, x):
        if layer.bias is not None:
            layer.bias.grad = grad_y.sum(axis=(1, 2, 3))
        grad_weight = flat.grad_weight_of(layer, x, grad_y)
        grad_x = flat.grad_x_of(layer, grad_y, weight) if stacking else None
    else:
        work = Work(layer, x)
        grad_x = layer.device.empty(x.shape, x.dtype) if stacking else None

        def of_a_share(share):
            if stacking:
                work.fill_in_grad_x(grad_x, weight, grad_y, share)
            grad_bias = (
                0 if layer.bias is None else grad_y[:, share.rows, :, share.pictures].sum(axis=(1, 2, 3))
            )
            return work.grad_weight(grad_y, share), grad_bias

        grad_weight, grad_bias = map(sum, zip(*layer.device.map(of_a_share, work.shares()), strict=True))
        if layer.bias is not None:
            layer.bias.grad = grad_bias
    if stacking:
        return batch_first(grad_x), grad_weight
    return grad_x_by_columns(layer, weight, grad_y) if input_grad else None, grad_weight


def grad_x_by_columns(layer, weight, grad_y):
    """The textbook's lines for grad_x, from grad_y (F, OH, OW, N)."""
    G, N = layer.groups, grad_y.shape[-1]
    grad_rows = batch_first(grad_y).reshape(N, G, layer.out_channels // G, -1)
    grad_columns = weight.reshape(G, layer.out_channels // G, -1).swapaxes(1, 2) @ grad_rows
    (ph, pw), (N, C, H, W) = layer.padding, batch_first(layer.saved.x).shape
    padded_shape = (N, C, H + 2 * ph, W + 2 * pw)
    grad_padded = textbook.col2im(grad_columns, padded_shape, layer.kernel_size, layer.stride)
    return textbook.unpad(grad_padded, layer.padding)


class Share(NamedTuple):
    """One thread's part of the work: these rows of y, and of x, in these pictures."""

    rows: slice
    rows_of_x: slice
    pictures: slice


class Work:
    """One convolution of x (C, H, W, N), and how it is cut up."""

    def __init__(self, layer, x):
        self.layer, self.device, self.x = layer, layer.device, x
        self.kernel_size, self.stride, self.pictures = layer.kernel_size, layer.stride, x.shape[-1]
        self.output_size = output_sizes(x.shape[1:3], layer.kernel_size, layer.stride, layer.padding)
        F, C = layer.out_channels // layer.groups, layer.in_channels // layer.groups
        self.groups = [(slice(g * F, (g + 1) * F), slice(g * C, (g + 1) * C)) for g in range(layer.groups)]
        self.row_bytes = (
            self.output_size[1] * self.kernel_size[1] * C * x.itemsize
        )  # im2col's, of one picture

    def fill_in(self, y, weight, share):
        """A part of y: weight @ columns + bias, block by block."""
        layer = self.layer
        for rows, rows_read, pictures in self.blocks(share):
            for f, c in self.groups:
                columns = self.columns(c, rows_read, pictures)  # (rows, kh*kw*C/G, OW*pictures)
                matrix = weight[f].transpose(0, 2, 3, 1).reshape(len(weight[f]), -1)  # (F/G, kh*kw*C/G)
                part = y[f, rows, :, pictures].transpose(1, 0, 2, 3)  # (rows, F/G, OW, pictures)
                bias = 0 if layer.bias is None else layer.bias.value[f, None, None]  # (F/G, 1, 1)
                matmul_plus(self.device, matrix, columns, bias, out=part)

    def grad_weight(self, grad_y, share):
        """The gradient of weight from a part of grad_y: columns @ grad_y^T, summed over rows and blocks."""
        grads = [0] * len(self.groups)
        for rows, rows_read, pictures in self.blocks(share):
            for g, (f, c) in enumerate(self.groups):
                columns = self.columns(c, rows_read, pictures)  # made again: cheaper than kept
                grad_rows = by_row(grad_y[f, rows, :, pictures]).transpose(
                    0, 2, 1
                )  # (rows, OW*pictures, F/G)
                for some in row_blocks(grad_rows, columns.shape[1], self.device.column_budget):
                    grads[g] = grads[g] + matmul(self.device, columns[some], grad_rows[some]).sum(axis=0)
        grad = np.concatenate(grads, axis=1)  # (kh*kw*C/G, F)
        return grad.reshape(*self.kernel_size, -1, self.layer.out_channels).transpose(3, 2, 0, 1)

    def fill_in_grad_x(self, grad_x, weight, grad_y, share):
        """Each row of x collects from the rows of grad_y whose windows lay upon it.

        Upon rows r, r + stride, ... of the padded x lay rows r, r + stride, ... of the kernel: the first of these in
        the window that begins there, the others in windows above it. So the kernel goes upside down over the rows of
        grad_y.
        """
        (kh, kw), (sh, sw), (ph, pw) = self.kernel_size, self.stride, self.layer.padding
        _, rows_of_x, share_of_pictures = share
        grad_x[:, rows_of_x, :, share_of_pictures] = 0
        budget = min(self.device.column_budget, self.device.piece_bytes or self.device.column_budget)
        for (f, c), r in product(self.groups, range(min(sh, kh))):
            kernel_rows = weight[f, :, r::sh][:, :, ::-1]  # (F/G, C/G, so many, kw)
            above = kernel_rows.shape[2] - 1
            matrix = kernel_rows.transpose(3, 1, 2, 0).reshape(kw * kernel_rows.shape[1], -1)
            # Row number t of this kind is row r + t * stride of the padded x. In this share, from `first` to `last`:
            first = max(0, -((r - ph - rows_of_x.start) // sh))
            last = min(self.output_size[0] + above, -((r - ph - rows_of_x.stop) // sh))
            if first >= last:
                continue
            into = grad_x[c, r + first * sh - ph : rows_of_x.stop : sh][:, : last - first]
            for pictures in picture_blocks(share_of_pictures, kh * self.row_bytes, self.device.column_budget):
                grad_rows = rows_between(grad_y[f, :, :, pictures], first - above, last)
                grad_rows = stacked(grad_rows, above + 1, 1)  # (rows, (above+1)*F/G, OW*pictures)
                for rows in row_blocks(grad_rows, len(matrix), budget):
                    grad_columns = matmul(self.device, matrix, grad_rows[rows])  # (rows, kw*C/G, OW*pictures)
                    col2im(grad_columns, into[:, rows, :, pictures], kw, sw, pw)

    def columns(self, channels, rows, pictures):
        """Those of some rows of the padded x."""
        x = framed_rows(self.x[channels, :, :, pictures], rows, self.layer.padding)
        return stacked(im2col(x, self.kernel_size[1], self.stride[1]), self.kernel_size[0], self.stride[0])

    def blocks(self, share):
        kh, sh = self.kernel_size[0], self.stride[0]
        return blocks(share.rows, share.pictures, kh, sh, self.row_bytes, self.device.column_budget)

    def shares(self):
        """Dealt out to as many threads as have enough to do: by pictures, which lie side by side; if few, by rows."""
        rows, multiplications = (
            self.output_size[0],
            math.prod(self.output_size) * self.layer.weight.value.size,
        )
        whole = slice(0, rows), slice(0, self.x.shape[1])
        by_picture = self.device.shares(self.pictures, least=max(16, flat.SHARE // multiplications))
        if len(by_picture) > 1:
            return [Share(*whole, pictures) for pictures in by_picture]
        by_row = self.device.shares(rows, least=-(-flat.SHARE * rows // (multiplications * self.pictures)))
        ends = [self.x.shape[1] * number // len(by_row) for number in range(len(by_row) + 1)]
        rows_of_x = [slice(*two) for two in pairwise(ends)]
        return [Share(*both, slice(0, self.pictures)) for both in zip(by_row, rows_of_x, strict=True)]
