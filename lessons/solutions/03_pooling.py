"""Lesson 03: max-pooling, forward and backward, and the trainable sums of 1998."""

import numpy as np


# exercise: maxpool
def maxpool(x, kernel, stride, padding):
    p, (kh, kw) = padding, kernel
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], constant_values=-np.inf)
    OH = 1 + (padded.shape[2] - kh) // stride
    OW = 1 + (padded.shape[3] - kw) // stride
    y = np.zeros((*x.shape[:2], OH, OW))
    for i, j in np.ndindex(OH, OW):
        top, left = i * stride, j * stride
        window = padded[:, :, top : top + kh, left : left + kw]
        y[:, :, i, j] = window.max(axis=(2, 3))
    return y


# exercise: maxpool_backward
def maxpool_backward(x, kernel, stride, padding, grad_y):
    p, (kh, kw), (H, W) = padding, kernel, x.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], constant_values=-np.inf)
    grad_padded = np.zeros(padded.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        top, left = i * stride, j * stride
        window = padded[n, c, top : top + kh, left : left + kw]
        a, b = np.unravel_index(window.argmax(), kernel)  # the first of equals
        grad_padded[n, c, top + a, left + b] += grad_y[n, c, i, j]
    return grad_padded[:, :, p : p + H, p : p + W]


# exercise: maxpool_backward_cells
def maxpool_backward_cells(x, kernel, stride, padding, grad_y):
    p, s, (kh, kw), (OH, OW) = padding, stride, kernel, grad_y.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], constant_values=-np.inf)
    cells = [(..., slice(a, a + s * OH, s), slice(b, b + s * OW, s)) for a, b in np.ndindex(kh, kw)]
    winner = np.stack([padded[cell] for cell in cells]).argmax(axis=0)  # (N, C, OH, OW)
    grad_padded = np.zeros(padded.shape)
    for number, cell in enumerate(cells):
        grad_padded[cell] += np.where(winner == number, grad_y, 0)
    H, W = x.shape[2:]
    return grad_padded[:, :, p : p + H, p : p + W]


# exercise: subsample
def subsample(x, weight, bias):
    N, C, H, W = x.shape
    even = x[:, :, : H // 2 * 2, : W // 2 * 2]
    total = even.reshape(N, C, H // 2, 2, W // 2, 2).sum(axis=(3, 5))
    return weight[:, None, None] * total + bias[:, None, None]


# exercise: subsample_backward
def subsample_backward(x, weight, bias, grad_y):
    N, C, H, W = x.shape
    even = x[:, :, : H // 2 * 2, : W // 2 * 2]
    total = even.reshape(N, C, H // 2, 2, W // 2, 2).sum(axis=(3, 5))
    grad_bias = grad_y.sum(axis=(0, 2, 3))
    grad_weight = (grad_y * total).sum(axis=(0, 2, 3))
    grad_x = np.zeros(x.shape)
    grad_total = grad_y * weight[:, None, None]  # each of four pixels gets it whole
    spread = grad_total.repeat(2, axis=2).repeat(2, axis=3)
    grad_x[:, :, : H // 2 * 2, : W // 2 * 2] = spread
    return grad_x, grad_weight, grad_bias


# open questions
# 1. For it: nobody among equals is preferred, and the sum is right. Against it: the smallest step away from the
#    tie gives one pixel all again, so nothing has become smoother, and each window must be looked at twice, to
#    count and to share. What counts is that all machines do the same. (MaxPool2D's windows of AlexNet after a
#    ReLU are often all zeros; there ReLU stops the gradient anyway.)
# 2. Mean: every weight 1/(kh*kw), the same stride, as many groups as channels, no bias. Subsampling: a kernel
#    of 2x2 whose four weights are the one weight of the map, stride 2, groups = channels, and the bias. Tried
#    on (2, 3, 8, 8): the largest difference is 5e-7.
# 3. Neither y nor the gradient changes: ReLU never turns the order of two numbers round, and where the largest
#    is negative both give zero. But there is less work: ReLU looks at 6 * 6 * 256 = 9,216 numbers in place of
#    13 * 13 * 256 = 43,264, 21 %.
