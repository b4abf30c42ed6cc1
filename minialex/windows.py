"""Sliding windows: im2col and its adjoint col2im, for convolution and pooling alike.

Layers speak (N, C, H, W). In here the pictures of a batch lie side by side, (C, H, W, N), "batch last", as in
cuda-convnet (2012): a window that slides by one pixel then moves through long runs of memory, and the columns of
a whole batch form one matrix. `batch_last` and `batch_first` lead in and out; the way out costs nothing, it is a
transposed view, and elementwise operations keep its layout, so that the next layer's way in costs nothing either.

Axis letters, the same in the whole project: N pictures, C channels, F filters, G groups, H x W input,
kh x kw kernel, OH x OW output. `weight` is never `W`: W is the width.
"""

from typing import NamedTuple

from minialex.device import array_module


def batch_last(x):
    """(N, C, H, W) -> (C, H, W, N), contiguous; a copy only if the memory is not laid out so already."""
    return array_module(x).ascontiguousarray(x.transpose(1, 2, 3, 0))


def batch_first(x):
    """(C, H, W, N) -> (N, C, H, W), a view."""
    return x.transpose(3, 0, 1, 2)


def pad(x, padding: tuple[int, int], value=0.0):
    """(C, H, W, N) -> (C, H + 2 ph, W + 2 pw, N) with `value` around; x itself where there is nothing to pad."""
    ph, pw = padding
    if ph == pw == 0:
        return x
    C, H, W, N = x.shape
    padded = array_module(x).full((C, H + 2 * ph, W + 2 * pw, N), value, dtype=x.dtype)
    padded[:, ph : ph + H, pw : pw + W] = x
    return padded


def crop(x, padding: tuple[int, int]):
    """The adjoint of `pad`: what lies inside the padding, a view."""
    ph, pw = padding
    return x[:, ph : x.shape[1] - ph, pw : x.shape[2] - pw]


def windows(x, kernel: tuple[int, int], stride: tuple[int, int]):
    """All windows of x (C, H, W, N) as a view (C, kh, kw, OH, OW, N): no number is copied.

    `windows(x, ...)[:, i, j]` are the pixels that lie under cell (i, j) of the kernel, one for each position of it.
    No pixel lies there twice, so one may add into such a slice; that is what `col2im` does.

    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)                   # 0 1 2 / 3 4 5 / 6 7 8
    >>> windows(x, kernel=(2, 2), stride=(1, 1))[0, 0, 1, :, :, 0]   # the upper right cell of a 2x2 kernel
    array([[1., 2.],
           [4., 5.]])
    """
    (kh, kw), (sh, sw) = kernel, stride
    C, H, W, N = x.shape
    of_c, of_h, of_w, of_n = x.strides
    shape = (C, kh, kw, 1 + (H - kh) // sh, 1 + (W - kw) // sw, N)
    strides = (of_c, of_h, of_w, of_h * sh, of_w * sw, of_n)
    return array_module(x).lib.stride_tricks.as_strided(x, shape, strides)


def im2col(x, kernel: tuple[int, int], stride: tuple[int, int]):
    """Every window of x (C, H, W, N) written out as a column: (C, kh, kw, OH, OW, N), contiguous.

    Read as a matrix with C*kh*kw rows and OH*OW*N columns, a convolution is the product of weight and columns.
    """
    return array_module(x).ascontiguousarray(windows(x, kernel, stride))


def col2im(columns, into, stride: tuple[int, int]):
    """The adjoint of im2col: add each column (C, kh, kw, OH, OW, N) to the pixels `into` (C, H, W, N) it came from.

    A pixel that lies in many windows collects from all of them: hence += and not =.
    """
    kh, kw = columns.shape[1:3]
    target = windows(into, (kh, kw), stride)
    for i in range(kh):
        for j in range(kw):
            target[:, i, j] += columns[:, i, j]


class Block(NamedTuple):
    """A part of the work: output rows `rows` of pictures `pictures`, which read input rows `rows_read`."""

    rows: slice
    rows_read: slice
    pictures: slice


def blocks(output: tuple[int, int], count: int, kernel, stride, bytes_per_window: int, budget: int):
    """Cut a convolution into blocks whose columns fit into `budget` bytes: rows of all pictures, or of some.

    output: (OH, OW); count: pictures; bytes_per_window: the column of one window of one picture. Rows are cut first,
    which keeps the runs of memory long. A block has at least one row of one picture, even over the budget.

    >>> for block in blocks((5, 4), count=3, kernel=(3, 3), stride=(1, 1), bytes_per_window=36, budget=900):
    ...     print(block.rows, block.rows_read, block.pictures)
    slice(0, 2, None) slice(0, 4, None) slice(0, 3, None)
    slice(2, 4, None) slice(2, 6, None) slice(0, 3, None)
    slice(4, 5, None) slice(4, 7, None) slice(0, 3, None)
    """
    OH, OW = output
    row_bytes = OW * bytes_per_window  # of one picture
    pictures = min(count, max(1, budget // row_bytes))
    rows = min(OH, max(1, budget // (row_bytes * pictures)))
    for row in range(0, OH, rows):
        end = min(row + rows, OH)
        rows_read = slice(row * stride[0], (end - 1) * stride[0] + kernel[0])
        for n in range(0, count, pictures):
            yield Block(slice(row, end), rows_read, slice(n, min(n + pictures, count)))
