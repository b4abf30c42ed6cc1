"""Lesson 01: a convolution in loops, windows as columns, and the convolution as one product.

The function's name and its arguments stay as they are; all else may be written in other ways.
"""

import numpy as np


# exercise: conv2d
def conv2d(x, weight, bias, stride, padding):
    p, (F, C, kh, kw) = padding, weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
    OH = 1 + (padded.shape[2] - kh) // stride
    OW = 1 + (padded.shape[3] - kw) // stride
    y = np.zeros((len(x), F, OH, OW))
    for n, f, i, j in np.ndindex(y.shape):
        top, left = i * stride, j * stride
        window = padded[n, :, top : top + kh, left : left + kw]
        y[n, f, i, j] = (weight[f] * window).sum() + bias[f]
    return y


# exercise: im2col
def im2col(x, kernel, stride):
    N, C, H, W = x.shape
    kh, kw = kernel
    OH, OW = 1 + (H - kh) // stride, 1 + (W - kw) // stride
    columns = np.zeros((N, C * kh * kw, OH * OW))
    for i, j in np.ndindex(OH, OW):
        top, left = i * stride, j * stride
        window = x[:, :, top : top + kh, left : left + kw]
        columns[:, :, i * OW + j] = window.reshape(N, -1)
    return columns


# exercise: conv2d_columns
def conv2d_columns(x, weight, bias, stride, padding):
    p, (F, C, kh, kw) = padding, weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
    view = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(2, 3))
    view = view[:, :, ::stride, ::stride]  # (N, C, OH, OW, kh, kw)
    N, C, OH, OW = view.shape[:4]
    columns = view.transpose(0, 1, 4, 5, 2, 3).reshape(N, C * kh * kw, OH * OW)
    y = weight.reshape(F, -1) @ columns  # (F, C*kh*kw) @ (N, C*kh*kw, OH*OW)
    return y.reshape(N, F, OH, OW) + bias[:, None, None]


# open questions
# 1. Along a side, a window of 11 at stride 4 begins at every fourth pixel, so that 2 or 3 windows read a pixel
#    (nearer the edge 1); in both directions together 4, 6 or 9 columns, 7.56 = (11/4)**2 on average. Counted
#    over 227x227 pixels: 7.10, since pixels near the edge are read by fewer. With stride 11 every pixel stands
#    in one column, or in none.
# 2. It mixes the channels of each pixel, in the same way everywhere: a linear layer that is used at each pixel.
#    `im2col` is then a reshape to (N, C, H*W), and copies nothing.
# 3. For each pixel of the output, two of 3x3 take 2 * 9 * C**2 = 18 C**2 multiplications, one of 5x5 takes 25
#    C**2: 28 % less, and there is place for a ReLU between the two.
