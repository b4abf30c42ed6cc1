"""Sliding windows, as lessons 01 to 03 derive them: im2col, and col2im, which brings back what it copied.

Axis letters, the same in the whole project: N pictures, C channels, F filters, G groups, H x W input,
kh x kw kernel, OH x OW output. `weight` is never `W`: W is the width.
"""

import numpy as np

from minialex.devices.device import array_module, device_of

Pair = tuple[int, int]


def pad(x, padding: Pair, value: float = 0.0):
    """(N, C, H, W) -> (N, C, H + 2 ph, W + 2 pw), a copy with `value` around it"""
    ph, pw = padding
    N, C, H, W = x.shape
    with device_of(x):
        padded = array_module(x).full((N, C, H + 2 * ph, W + 2 * pw), value, dtype=x.dtype)
    padded[:, :, ph : ph + H, pw : pw + W] = x
    return padded


def unpad(padded, padding: Pair):
    """The adjoint of `pad`: (N, C, H + 2 ph, W + 2 pw) -> (N, C, H, W), what lies inside of the border, a view"""
    ph, pw = padding
    return padded[:, :, ph : padded.shape[2] - ph, pw : padded.shape[3] - pw]


def windows(padded, kernel: Pair, stride: Pair):
    """All windows, as a view (N, C, kh, kw, OH, OW): no number is copied

    `windows(x, ...)[:, :, i, j]` are the pixels that lie under cell (i, j) of the kernel, one for each position of it.
    No pixel lies there twice, so one may add into such a slice: that is what `col2im` does.

    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)                      # 0 1 2 / 3 4 5 / 6 7 8
    >>> windows(x, kernel=(2, 2), stride=(1, 1))[0, 0, 0, 1]        # the upper right cell of a 2x2 kernel
    array([[1., 2.],
           [4., 5.]])
    """
    (kh, kw), (sh, sw) = kernel, stride
    N, C, H, W = padded.shape
    of_n, of_c, of_h, of_w = padded.strides
    shape = (N, C, kh, kw, 1 + (H - kh) // sh, 1 + (W - kw) // sw)
    strides = (of_n, of_c, of_h, of_w, of_h * sh, of_w * sw)
    return array_module(padded).lib.stride_tricks.as_strided(padded, shape, strides)


def im2col(padded, kernel: Pair, stride: Pair):
    """columns[n, (c, i, j), (p, q)] = padded[n, c, p*sh + i, q*sw + j]: each window becomes a column

    (N, C, H, W) -> (N, C*kh*kw, OH*OW)

    >>> x = np.arange(6).reshape(1, 1, 2, 3)                        # 0 1 2 / 3 4 5
    >>> im2col(x, kernel=(2, 2), stride=(1, 1))[0]                  # the windows 0 1 / 3 4 and 1 2 / 4 5
    array([[0, 1],
           [1, 2],
           [3, 4],
           [4, 5]])
    """
    view = windows(padded, kernel, stride)
    N, C, kh, kw, OH, OW = view.shape
    return view.reshape(N, C * kh * kw, OH * OW)


def col2im(columns, shape: tuple[int, int, int, int], kernel: Pair, stride: Pair):
    """The adjoint of im2col: padded[n, c, p*sh + i, q*sw + j] += columns[n, (c, i, j), (p, q)]

    (N, C*kh*kw, OH*OW) -> (N, C, H, W), the `shape` of what im2col read. A pixel that lies in several windows collects
    from all of them: hence += and not =.
    """
    with device_of(columns):
        padded = array_module(columns).zeros(shape, dtype=columns.dtype)
    view = windows(padded, kernel, stride)
    columns = columns.reshape(view.shape)  # (N, C, kh, kw, OH, OW)
    for i, j in np.ndindex(kernel):
        view[:, :, i, j] += columns[:, :, i, j]
    return padded
