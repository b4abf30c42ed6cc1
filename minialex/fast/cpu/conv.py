"""Convolution in blocks: the columns of some rows of some pictures at a time, as many as fit a budget.

Three things differ from the textbook's lines. Pictures lie last, so that the columns of a batch form one matrix.
im2col writes windows of one pixel's height, kh times fewer numbers, and windows of full height are views of them. And
grad_x comes from stacked rows of grad_y, the kernel upside down over them, not from added columns. See windows.py.
"""

import math
from itertools import product

import numpy as np

from minialex.fast.cpu.products import matmul, matmul_plus
from minialex.fast.cpu.windows import (
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
from minialex.layers import windows as textbook
from minialex.shapes import output_sizes

SHARE = 2**26  # multiplications that are worth a thread: to wake one takes a third of a millisecond


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
    work = Work(layer, pad(batch_last(x), layer.padding))  # (C, H + 2p, W + 2p, N)
    layer.save(x=work.x)
    y = layer.device.empty((layer.out_channels, *work.output_size, work.pictures), x.dtype)
    layer.device.map(lambda share: work.fill_in(y, weight, share), work.shares())
    return batch_first(y)


def convolve_backward(layer, grad_y, weight, input_grad):
    work, grad_y = Work(layer, layer.saved.x), batch_last(grad_y)  # (F, OH, OW, N)
    if layer.bias is not None:
        layer.bias.grad = grad_y.sum(axis=(1, 2, 3))
    # Stacked rows reach into margins of zeros, where an infinite weight would make what is not a number.
    stacking = input_grad and np.isfinite(weight).all()
    grad_x = layer.device.zeros(work.x.shape, work.x.dtype) if stacking else None

    def of_a_share(share):
        if stacking:
            work.add_grad_x(grad_x, weight, grad_y, share)
        return work.grad_weight(grad_y, share)

    grad_weight = sum(layer.device.map(of_a_share, work.shares()))
    if stacking:
        return batch_first(crop(grad_x, layer.padding)), grad_weight
    return grad_x_by_columns(layer, weight, grad_y) if input_grad else None, grad_weight


def grad_x_by_columns(layer, weight, grad_y):
    """The textbook's lines for grad_x, from grad_y (F, OH, OW, N)."""
    G, N = layer.groups, grad_y.shape[-1]
    grad_rows = batch_first(grad_y).reshape(N, G, layer.out_channels // G, -1)
    grad_columns = weight.reshape(G, layer.out_channels // G, -1).swapaxes(1, 2) @ grad_rows
    shape = batch_first(layer.saved.x).shape  # padded
    grad_padded = textbook.col2im(grad_columns, shape, layer.kernel_size, layer.stride)
    return textbook.unpad(grad_padded, layer.padding)


class Work:
    """One convolution of a padded x (C, H, W, N), and how it is cut up."""

    def __init__(self, layer, x):
        self.layer, self.device, self.x = layer, layer.device, x
        self.kernel_size, self.stride, self.pictures = layer.kernel_size, layer.stride, x.shape[-1]
        self.output_size = output_sizes(x.shape[1:3], layer.kernel_size, layer.stride, (0, 0))
        F, C = layer.out_channels // layer.groups, layer.in_channels // layer.groups
        self.groups = [(slice(g * F, (g + 1) * F), slice(g * C, (g + 1) * C)) for g in range(layer.groups)]
        self.row_bytes = (
            self.output_size[1] * self.kernel_size[1] * C * x.itemsize
        )  # im2col's, of one picture

    def fill_in(self, y, weight, share):
        """y of some pictures: weight @ columns + bias, block by block."""
        layer = self.layer
        for rows, rows_read, pictures in self.blocks(share):
            for f, c in self.groups:
                columns = self.columns(self.x[c, rows_read, :, pictures])  # (rows, kh*kw*C/G, OW*pictures)
                matrix = weight[f].transpose(0, 2, 3, 1).reshape(len(weight[f]), -1)  # (F/G, kh*kw*C/G)
                part = y[f, rows, :, pictures].transpose(1, 0, 2, 3)  # (rows, F/G, OW, pictures)
                bias = 0 if layer.bias is None else layer.bias.value[f, None, None]  # (F/G, 1, 1)
                matmul_plus(self.device, matrix, columns, bias, out=part)

    def grad_weight(self, grad_y, share):
        """The gradient of weight from some pictures: columns @ grad_y^T, summed over rows and blocks."""
        grads = [0] * len(self.groups)
        for rows, rows_read, pictures in self.blocks(share):
            for g, (f, c) in enumerate(self.groups):
                columns = self.columns(self.x[c, rows_read, :, pictures])  # made again: cheaper than kept
                grad_rows = by_row(grad_y[f, rows, :, pictures])  # (rows, F/G, OW*pictures)
                grads[g] = grads[g] + matmul(self.device, columns, grad_rows.transpose(0, 2, 1)).sum(axis=0)
        grad = np.concatenate(grads, axis=1)  # (kh*kw*C/G, F)
        return grad.reshape(*self.kernel_size, -1, self.layer.out_channels).transpose(3, 2, 0, 1)

    def add_grad_x(self, grad_x, weight, grad_y, share):
        """Each row of x, in some pictures, collects from the rows of grad_y whose windows lay upon it.

        Upon rows r, r + stride, ... lay rows r, r + stride, ... of the kernel: the first of these in the window that
        begins there, the others in windows above it. So the kernel goes upside down over the rows of grad_y.
        """
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        budget = min(self.device.column_budget, self.device.piece_bytes or self.device.column_budget)
        for (f, c), r in product(self.groups, range(min(sh, kh))):
            kernel_rows = weight[f, :, r::sh][:, :, ::-1]  # (F/G, C/G, so many, kw)
            above = kernel_rows.shape[2] - 1
            matrix = kernel_rows.transpose(3, 1, 2, 0).reshape(kw * kernel_rows.shape[1], -1)
            for pictures in picture_blocks(share, kh * self.row_bytes, self.device.column_budget):
                grad_rows = by_row(grad_y[f, :, :, pictures], margin=above)  # zeros above, and below
                grad_rows = stacked(grad_rows, above + 1, 1)  # (OH + above, (above+1)*F/G, OW*pictures)
                into = grad_x[c, r::sh, :, pictures]
                for rows in row_blocks(grad_rows, len(matrix), budget):
                    grad_columns = matmul(self.device, matrix, grad_rows[rows])  # (rows, kw*C/G, OW*pictures)
                    col2im(grad_columns, into[:, rows], kw, sw)

    def columns(self, x):
        return stacked(im2col(x, self.kernel_size[1], self.stride[1]), self.kernel_size[0], self.stride[0])

    def blocks(self, share):
        OH, _ = self.output_size
        kh, sh = self.kernel_size[0], self.stride[0]
        return blocks(OH, share, kh, sh, self.row_bytes, self.device.column_budget)

    def shares(self):
        """The pictures, dealt out to as many threads as have enough to do."""
        multiplications = math.prod(self.output_size) * self.layer.weight.value.size  # of one picture
        return self.device.shares(self.pictures, least=max(16, SHARE // multiplications))
