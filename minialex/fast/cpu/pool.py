"""Pooling cell by cell: `windows[:, i, j]` are the pixels under one cell of the window, an array for each cell.

NaN and infinity stay where they belong, since a gradient's bits are masked, not multiplied. A piece in which a window's
largest pixel is NaN or minus infinity gets its winners by the textbook's lines.
"""

import numpy as np

from minialex.fast.cpu.activation import BITS
from minialex.fast.cpu.pieces import for_pieces
from minialex.fast.cpu.windows import batch_first, batch_last, crop, pad, windows
from minialex.shapes import output_sizes, overhang


def beyond(layer, x):
    """How far the last windows hang over the padded x (N, C, H, W), down and to the right: sizes may be rounded up."""
    if not layer.ceil_mode:
        return 0, 0
    return tuple(map(overhang, x.shape[2:], layer.kernel_size, layer.stride, layer.padding))


def accepts_max(layer, x) -> bool:
    return x.dtype.itemsize in BITS  # backward masks bits


def max_forward(layer, x):
    over = beyond(layer, x)
    x = pad(batch_last(x), layer.padding, -np.inf, over)  # (C, H + 2p, W + 2p, N)
    (C, _, _, N), (kh, kw) = x.shape, layer.kernel_size
    OH, OW = output_sizes(x.shape[1:3], layer.kernel_size, layer.stride, (0, 0))
    y = layer.device.empty((C, OH, OW, N), x.dtype)
    winner = layer.device.zeros(y.shape, np.uint8 if kh * kw <= 256 else np.int32)
    for_pieces(
        lambda channels: _max_of(layer, over, x[channels], y[channels], winner[channels]),
        layer.device,
        C,
        x.nbytes,
    )
    layer.save(winner=winner, padded_shape=x.shape, over=over)
    return batch_first(y)


def _max_of(layer, over, x, y, winner):
    """Fill in y, and the number of the cell that won each window."""
    view = windows(x, layer.kernel_size, layer.stride)
    y[...] = view[:, 0, 0]  # (C, OH, OW, N)
    for number, (i, j) in enumerate(list(np.ndindex(layer.kernel_size))[1:], start=1):
        larger = view[:, i, j] > y  # and not equal: the first one keeps a tie
        won = larger * winner.dtype.type(number)
        np.maximum(winner, won, out=winner)  # no number before was as large
        np.maximum(y, view[:, i, j], out=y)
    smallest = y.min()  # a NaN, or minus infinity, shows here
    if not smallest > -np.inf:
        winner[...] = _winner_by_argmax(layer, over, x.shape, view, y)


def _winner_by_argmax(layer, over, shape, view, y):
    """The textbook's line: the first NaN wins, and the padding never does, not even over minus infinity."""
    C, H, W, _ = shape
    cells = view.reshape(C, -1, *y.shape[1:])
    inside = np.zeros((1, H, W, 1), bool)
    crop(inside, layer.padding, over)[...] = True
    first_inside = windows(inside, layer.kernel_size, layer.stride).reshape(
        1, cells.shape[1], *y.shape[1:3], 1
    )
    return np.where(y == -np.inf, first_inside.argmax(axis=1), cells.argmax(axis=1))


def max_backward(layer, grad_y):
    grad_y, winner = batch_last(grad_y), layer.saved.winner  # (C, OH, OW, N)
    (kh, kw), (sh, sw), shape = layer.kernel_size, layer.stride, layer.saved.padded_shape
    apart = sh >= kh and sw >= kw  # no pixel lies in two windows
    each_in_one = apart and (kh * grad_y.shape[1], kw * grad_y.shape[2]) == shape[1:3]
    grad_x = (layer.device.empty if each_in_one else layer.device.zeros)(shape, grad_y.dtype)

    bits = BITS[grad_y.dtype.itemsize]  # see activation.kept

    def spread(channels):
        view, grad = windows(grad_x[channels], layer.kernel_size, layer.stride), grad_y[channels].view(bits)
        part = None if apart else layer.device.empty(grad.shape, grad_y.dtype)
        for number, (i, j) in enumerate(np.ndindex(kh, kw)):
            ones = (winner[channels] == number).view(np.int8)  # 0 and 1, which become 0 and -1: all ones
            np.negative(ones, out=ones)
            if apart:
                np.bitwise_and(grad, ones, out=view[:, i, j].view(bits))
            else:
                np.bitwise_and(grad, ones, out=part.view(bits))
                view[:, i, j] += part

    for_pieces(spread, layer.device, len(grad_x), grad_x.nbytes)
    return batch_first(crop(grad_x, layer.padding, layer.saved.over))


def accepts_sums(layer, x) -> bool:
    """NumPy's mean of float16 adds up in float32: 4 * 30000 has no room in float16."""
    return x.dtype.itemsize >= 4


def avg_forward(layer, x):
    over, pixels = beyond(layer, x), pixels_of(layer, x)
    x = pad(batch_last(x), layer.padding, beyond=over)  # (C, H + 2p, W + 2p, N)
    layer.save(padded_shape=x.shape, over=over, pixels=pixels)
    OH, OW = output_sizes(x.shape[1:3], layer.kernel_size, layer.stride, (0, 0))
    y = layer.device.empty((len(x), OH, OW, x.shape[3]), x.dtype)

    def add_up(channels):
        view, total = windows(x[channels], layer.kernel_size, layer.stride), y[channels]
        total[...] = view[:, 0, 0]
        for i, j in list(np.ndindex(layer.kernel_size))[1:]:
            total += view[:, i, j]
        total /= pixels

    for_pieces(add_up, layer.device, len(x), x.nbytes)
    return batch_first(y)


def avg_backward(layer, grad_y):
    share = batch_last(grad_y) / layer.saved.pixels  # (C, OH, OW, N)
    grad_x = _added(layer, share, layer.saved.padded_shape, layer.kernel_size, layer.stride)
    return batch_first(crop(grad_x, layer.padding, layer.saved.over))


def pixels_of(layer, x):
    """By what the sum of a window is divided, (OH, OW, 1); a number where all windows count alike."""
    kh, kw = layer.kernel_size
    if beyond(layer, x) == (0, 0) and (layer.count_include_pad or layer.padding == (0, 0)):
        return kh * kw
    return kh * kw * layer.counted(x.shape, x.dtype)[0, 0, :, :, None]


def subsampling_forward(layer, x):
    x = batch_last(x)  # (C, H, W, N)
    view = windows(x, (2, 2), (2, 2))
    total = batch_first(view[:, 0, 0] + view[:, 0, 1] + view[:, 1, 0] + view[:, 1, 1])
    layer.save(total=total, shape=x.shape)
    return layer.weight.value[:, None, None] * total + layer.bias.value[:, None, None]  # (C, 1, 1)


def subsampling_backward(layer, grad_y, input_grad=True):
    layer.bias.grad = grad_y.sum(axis=(0, 2, 3))
    layer.weight.grad = (grad_y * layer.saved.total).sum(axis=(0, 2, 3))
    if not input_grad:
        return None
    grad_total = batch_last(grad_y * layer.weight.value[:, None, None])  # (C, OH, OW, N)
    return batch_first(_added(layer, grad_total, layer.saved.shape, (2, 2), (2, 2)))


def _added(layer, grad, shape, kernel, stride):
    """The same gradient to each cell of its window."""
    grad_x = layer.device.zeros(shape, grad.dtype)

    def spread(channels):
        view = windows(grad_x[channels], kernel, stride)
        for i, j in np.ndindex(kernel):
            view[:, i, j] += grad[channels]

    for_pieces(spread, layer.device, len(grad_x), grad_x.nbytes)
    return grad_x
