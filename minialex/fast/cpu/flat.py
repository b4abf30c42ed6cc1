"""Convolution of stride 1 by few large products: for a kernel of one pixel, and for small maps.

The columns of all rows lie side by side, (kw*C, rows*OW*N), made along the width only, as in windows.py; of a kernel
of one pixel they are x itself, and nothing is copied. Under row i of the kernel lies a slice of them that begins i rows
further on, so that

    y = sum over i of weight[:, :, i] @ columns[:, i rows further on]

Any part of the places (p, q, n) is worked out by itself, so threads share them evenly, however few rows there are. And
a weight's gradient is one product for each i, over all places at once, where one for each row of the map would write
the whole gradient as often as the map has rows. grad_x is the same convolution of grad_y, the kernel turned round.

Measured, one thread, 512 maps of 7x7 to 512, batch 16, against row by row (conv.py): forward 39.8 -> 36.0 ms, the
weight's gradient 46.6 -> 36.5. On large maps, 64 of 56x56, the sums over i cost more than is gained: 43.3 -> 45.5 ms.
"""

import math
from itertools import product

from minialex.fast.cpu.products import multiply
from minialex.fast.cpu.windows import framed_rows, windows

SHARE = 2**26  # multiplications that are worth a thread: to wake one takes a third of a millisecond
SMALL_ROW = 256  # places in a row of y, of all pictures; from there on its product is large enough by itself
STRIP_BYTES = (
    2**19
)  # of y, which stays in the cache while the products for the other rows of the kernel are added


def takes(layer, x) -> bool:
    """Is this the way for x (C, H, W, N)?"""
    (kh, kw), (ph, pw) = layer.kernel_size, layer.padding
    if layer.stride != (1, 1) or ph >= kh or pw >= kw:
        return False
    return (kh, kw) == (1, 1) or (x.shape[2] + 2 * pw - kw + 1) * x.shape[3] < SMALL_ROW


def convolve(layer, x, weight):
    """y (F, OH, OW, N) of x (C, H, W, N), both contiguous."""
    bias = None if layer.bias is None else layer.bias.value
    return correlate(layer, x, kernel_rows(weight, layer.groups), layer.padding, bias)


def grad_x_of(layer, grad_y, weight):
    """grad_x (C, H, W, N): each x collects from the windows that it lay in; its place in them is turned round."""
    (kh, kw), (ph, pw), G = layer.kernel_size, layer.padding, layer.groups
    F, C = weight.shape[:2]
    turned = weight.reshape(G, F // G, C, kh, kw)[..., ::-1, ::-1].swapaxes(1, 2).reshape(-1, F // G, kh, kw)
    return correlate(layer, grad_y, kernel_rows(turned, G), (kh - 1 - ph, kw - 1 - pw))


def grad_weight_of(layer, x, grad_y):
    """(F, C/G, kh, kw), from x (C, H, W, N) and grad_y (F, OH, OW, N)."""
    (kh, kw), G, device = layer.kernel_size, layer.groups, layer.device
    F, OH, OW, N = grad_y.shape
    total, row = 0, OW * N
    for rows, columns in blocks_of_columns(layer, x, layer.padding, OH, row):
        grad_rows = grad_y[:, rows].reshape(G, F // G, -1)

        def of_some(places, columns=columns, grad_rows=grad_rows):
            grad = device.empty((kh, G, columns.shape[1], F // G), x.dtype)
            for i in range(kh):
                below = slice(places.start + i * row, places.stop + i * row)
                multiply(columns[..., below], grad_rows[..., places].swapaxes(1, 2), out=grad[i])
            return grad

        total = sum(device.map(of_some, shares(layer, grad_rows.shape[-1])), total)  # (kh, G, kw*C/G, F/G)
    return total.reshape(kh, G, kw, -1, F // G).transpose(1, 4, 3, 0, 2).reshape(F, -1, kh, kw)


def correlate(layer, x, matrices, padding, bias=None):
    """y from x and the kernel's rows, matrices (kh, G, F/G, kw*C/G)."""
    device, (kh, G, F, _) = layer.device, matrices.shape
    _, H, W, N = x.shape
    OH, OW = H + 2 * padding[0] - kh + 1, W + 2 * padding[1] - layer.kernel_size[1] + 1
    row, y = OW * N, device.empty((G, F, OH * OW * N), x.dtype)
    strip = max(1, STRIP_BYTES // (F * x.itemsize)) if kh > 1 else y.shape[-1]
    for rows, columns in blocks_of_columns(layer, x, padding, OH, row):
        y_rows = y[..., rows.start * row : rows.stop * row]

        def fill_in(places, columns=columns, y_rows=y_rows):
            for g, start in product(range(G), range(places.start, places.stop, strip)):
                stop = min(start + strip, places.stop)
                part = multiply(matrices[0, g], columns[g, :, start:stop], out=y_rows[g, :, start:stop])
                for i in range(1, kh):
                    below = columns[g, :, start + i * row : stop + i * row]
                    part += multiply(matrices[i, g], below, out=device.empty(part.shape, x.dtype))
                if bias is not None:
                    part += bias.reshape(G, F, 1)[g]

        device.map(fill_in, shares(layer, y_rows.shape[-1]))
    return y.reshape(G * F, OH, OW, N)


def kernel_rows(weight, groups):
    """(F, C/G, kh, kw) -> (kh, G, F/G, kw*C/G)"""
    F, C, kh, kw = weight.shape
    return (
        weight.reshape(groups, F // groups, C, kh, kw)
        .transpose(3, 0, 1, 4, 2)
        .reshape(kh, groups, -1, kw * C)
    )


def blocks_of_columns(layer, x, padding, count, row):
    """(rows of y, their columns): so many of the `count` rows at a time as fit the budget. A row has `row` places.

    The columns are windows one pixel high of the rows that are read, of the padded x (C, H, W, N): (G, kw*C/G, places).
    """
    G, (kh, kw) = layer.groups, layer.kernel_size
    if kw == 1 and padding == (0, 0):
        yield slice(0, count), x.reshape(G, len(x) // G, -1)
        return
    together = max(1, layer.device.column_budget // (kw * len(x) * row * x.itemsize) - (kh - 1))
    for start in range(0, count, together):
        stop = min(start + together, count)
        rows = framed_rows(x, slice(start, stop + kh - 1), padding)
        along_rows = windows(rows, (1, kw), (1, 1))[:, 0]  # (C, kw, rows, OW, N), a view
        along_rows = along_rows.reshape(G, -1, *along_rows.shape[1:]).swapaxes(1, 2)
        columns = layer.device.empty(along_rows.shape, x.dtype)
        columns[...] = along_rows
        yield slice(start, stop), columns.reshape(G, -1, math.prod(along_rows.shape[3:]))


def shares(layer, places):
    """Of the places (p, q, n), for each thread as many as are worth it."""
    return layer.device.shares(places, least=-(-SHARE // layer.weight.value.size))
