"""Sliding windows: im2col and its adjoint col2im, for convolution and pooling alike.

Layers speak (N, C, H, W). In here the pictures of a batch lie side by side, (C, H, W, N), "batch last", as in
cuda-convnet (2012): a window that slides by one pixel then moves through long runs of memory, and the columns of
a whole batch form one matrix. `batch_last` and `batch_first` lead in and out; the way out costs nothing, it is a
transposed view, and elementwise operations keep its layout, so that the next layer's way in costs nothing either.

Axis letters, the same in the whole project: N pictures, C channels, F filters, G groups, H x W input,
kh x kw kernel, OH x OW output. `weight` is never `W`: W is the width.
"""

from typing import NamedTuple

from minialex.devices.device import array_module, device_of


def batch_last(x):
    """(N, C, H, W) -> (C, H, W, N), contiguous; a copy only if the memory is not laid out so already."""
    return contiguous(x.transpose(1, 2, 3, 0))


def batch_first(x):
    """(C, H, W, N) -> (N, C, H, W), a view."""
    return x.transpose(3, 0, 1, 2)


def pad(x, padding: tuple[int, int], value=0.0, beyond: tuple[int, int] = (0, 0)):
    """(C, H, W, N) -> (C, H + 2 ph, W + 2 pw, N) with `value` around; x itself where there is nothing to pad.

    beyond: so many rows below, and columns to the right, more than the padding.
    """
    (ph, pw), (down, right) = padding, beyond
    if ph == pw == down == right == 0:
        return x
    C, H, W, N = x.shape
    padded = device_of(x).empty((C, H + 2 * ph + down, W + 2 * pw + right, N), x.dtype)
    padded.fill(value)
    padded[:, ph : ph + H, pw : pw + W] = x
    return padded


def framed_rows(x, rows: slice, padding: tuple[int, int]):
    """`pad(x, padding)[:, rows]`, without the rest of it: a copy, or a view where there is nothing to pad.

    >>> x = np.arange(1, 5).reshape(1, 2, 2, 1)                      # 1 2 / 3 4
    >>> framed_rows(x, slice(0, 2), padding=(1, 1))[0, :, :, 0]
    array([[0, 0, 0, 0],
           [0, 1, 2, 0]])
    """
    ph, pw = padding
    if ph == pw == 0:
        return x[:, rows]
    C, H, W, N = x.shape
    framed = device_of(x).empty((C, rows.stop - rows.start, W + 2 * pw, N), x.dtype)
    inside = slice(max(rows.start - ph, 0), max(0, min(rows.stop - ph, H)))  # rows of x
    first = inside.start + ph - rows.start
    last = max(first, inside.stop + ph - rows.start)
    framed[:, :first] = framed[:, last:] = 0
    framed[:, first:last, :pw] = framed[:, first:last, pw + W :] = 0
    framed[:, first:last, pw : pw + W] = x[:, inside]
    return framed


def crop(x, padding: tuple[int, int], beyond: tuple[int, int] = (0, 0)):
    """The adjoint of `pad`: what lies inside the padding, a view."""
    (ph, pw), (down, right) = padding, beyond
    return x[:, ph : x.shape[1] - ph - down, pw : x.shape[2] - pw - right]


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


def im2col(x, width: int, stride: int):
    """The windows of each row of x (C, H, W, N), one pixel high, as columns: (H, width*C, OW*N), contiguous.

    >>> x = np.arange(6).reshape(1, 2, 3, 1)                        # 0 1 2 / 3 4 5
    >>> im2col(x, width=2, stride=1)[1]                             # the windows of the second row: 3 4 and 4 5
    array([[3, 4],
           [4, 5]])
    """
    along_rows = windows(x, (1, width), (1, stride))[:, 0].transpose(2, 1, 0, 3, 4)  # a view
    H, _, C, OW, N = along_rows.shape
    columns = device_of(x).empty(along_rows.shape, x.dtype)
    columns[...] = along_rows
    return columns.reshape(H, width * C, OW * N)


def col2im(columns, into, width: int, stride: int, padding: int = 0):
    """The adjoint of im2col: add each column (H, width*C, OW*N) to the pixels `into` (C, H, W, N) it came from.

    A pixel that lies in several windows collects from all of them: hence += and not =. padding: so many columns of
    zeros lay to the left and to the right of `into`; what would come to them is dropped.
    """
    C, H, W, N = into.shape
    columns = columns.reshape(H, width, C, -1, N)
    OW, into = columns.shape[3], into.transpose(1, 0, 2, 3)  # a view
    for j in range(width):
        first = max(0, -((j - padding) // stride))  # the windows whose column j is a pixel
        last = min(OW, (W - 1 + padding - j) // stride + 1)
        if first < last:
            start = first * stride + j - padding
            pixels = slice(start, start + (last - first - 1) * stride + 1, stride)
            into[:, :, pixels] += columns[:, j, :, first:last]


def stacked(columns, height: int, stride: int):
    """Windows of full height, from those one pixel high: (H, K, M) -> (OH, height*K, M), a view.

    The rows of a window lie one behind the other in memory. So nothing need be copied: the windows of output row p
    are columns[p * stride : p * stride + height], read as one matrix. Such matrices overlap.

    >>> x = np.arange(6).reshape(1, 2, 3, 1)                        # 0 1 2 / 3 4 5
    >>> stacked(im2col(x, 2, 1), height=2, stride=1)[0]             # the windows 0 1 / 3 4 and 1 2 / 4 5
    array([[0, 1],
           [1, 2],
           [3, 4],
           [4, 5]])
    """
    H, K, M = columns.shape
    of_row, of_k, of_m = columns.strides
    shape, strides = (1 + (H - height) // stride, height * K, M), (of_row * stride, of_k, of_m)
    return array_module(columns).lib.stride_tricks.as_strided(columns, shape, strides)


def by_row(y):
    """(F, OH, OW, N) -> (OH, F, OW*N): for each row of the output a matrix, with a row for each filter."""
    F, OH, OW, N = y.shape
    return y.transpose(1, 0, 2, 3).reshape(OH, F, OW * N)


def rows_between(y, first: int, last: int):
    """Rows from `first` up to `last` as `by_row` has them, copied, so that they can be stacked.

    first may lie above y, and last below it: zeros are there.
    """
    F, OH, OW, N = y.shape
    rows = device_of(y).empty((last - first, F, OW, N), y.dtype)
    here = slice(max(first, 0), min(last, OH))
    rows[: here.start - first] = rows[here.stop - first :] = 0
    rows[here.start - first : here.stop - first] = y[:, here].transpose(1, 0, 2, 3)
    return rows.reshape(len(rows), F, OW * N)


def contiguous(x):
    """x itself if its memory is laid out in the order of its axes, else a copy that is."""
    if x.flags.c_contiguous:
        return x
    copy = device_of(x).empty(x.shape, x.dtype)
    copy[...] = x
    return copy


class Block(NamedTuple):
    """A part of the work: output rows `rows` of pictures `pictures`, which read input rows `rows_read`."""

    rows: slice
    rows_read: slice
    pictures: slice


def picture_blocks(share: slice, picture_bytes: int, budget: int) -> list[slice]:
    """Pictures, as many at a time as fit into `budget` bytes; one at least."""
    count = max(1, budget // picture_bytes)
    return [slice(n, min(n + count, share.stop)) for n in range(share.start, share.stop, count)]


def row_blocks(matrices, height: int, budget: int) -> list[slice]:
    """So many of the matrices (rows, K, M) at a time that products (rows, height, M) fit into `budget` bytes."""
    rows, _, M = matrices.shape
    count = max(1, budget // (height * M * matrices.itemsize))
    return [slice(row, min(row + count, rows)) for row in range(0, rows, count)]


def blocks(rows: slice, share: slice, height: int, stride: int, row_bytes: int, budget: int):
    """Cut a convolution into blocks whose columns fit into `budget` bytes: rows of all pictures, or of some.

    rows: of the output; share: the pictures; height, stride: the kernel's; row_bytes: what im2col writes for one row of
    one picture. Rows are cut first, which keeps the runs of memory long. A block has at least one row of one picture,
    even over the budget.

    >>> for block in blocks(slice(0, 5), slice(0, 3), height=3, stride=1, row_bytes=48, budget=600):
    ...     print(block.rows, block.rows_read, block.pictures)
    slice(0, 2, None) slice(0, 4, None) slice(0, 3, None)
    slice(2, 4, None) slice(2, 6, None) slice(0, 3, None)
    slice(4, 5, None) slice(4, 7, None) slice(0, 3, None)
    """
    several = picture_blocks(share, height * row_bytes, budget)
    together = several[0].stop - several[0].start
    count = max(1, 1 + (budget // (row_bytes * together) - height) // stride)
    for row in range(rows.start, rows.stop, count):
        end = min(row + count, rows.stop)
        for pictures in several:
            yield Block(slice(row, end), slice(row * stride, (end - 1) * stride + height), pictures)
