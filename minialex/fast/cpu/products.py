"""Products of matrices, in strips where that makes them faster."""

import numpy as np

# OpenBLAS multiplies matrices as they are up to this many multiplications; for larger products it packs them first.
SMALL = 10**6
NARROW = 64  # strips of fewer columns gain nothing


def multiply(a, b, out):
    """np.matmul, without its warning of an invalid value.

    BLAS may compute on what its registers hold beyond the array, and drop it: NumPy warns then, of numbers that are all
    finite and of a right result (seen with one column of a wider `out`, about once in 2,000 calls).
    """
    with np.errstate(invalid="ignore"):
        return np.matmul(a, b, out=out)


def matmul(device, a, b):
    """a @ b

    >>> from minialex.devices.device import Device
    >>> matmul(Device("cpu"), np.ones((1, 2)), np.ones((5, 2, 1))).shape
    (5, 1, 1)
    """
    several = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return _matmul_into(device.empty((*several, a.shape[-2], b.shape[-1]), a.dtype), a, b)


def matmul_plus(device, a, b, c, out) -> None:
    """out[...] = a @ b + c. The columns of the product may be two axes in `out`: (..., rows, 28, 64)."""
    if out.strides[-2] == out.shape[-1] * out.strides[-1]:  # the two axes are one in memory
        _matmul_into(out.reshape(*out.shape[:-2], -1), a, b)
    else:
        out[...] = matmul(device, a, b).reshape(out.shape)
    out += c


def _matmul_into(product, a, b):
    """In strips of columns, or of rows, where that makes small products.

    Measured on C3 at batch 64, one thread: 84 -> 100 GFLOP/s forward, 95 -> 141 and 74 -> 128 backward.
    """
    rows, columns = product.shape[-2:]
    width = SMALL // (a.shape[-1] * min(rows, columns))
    longer = max(rows, columns)
    parts = -(-longer // width) if width >= NARROW else 1
    for number in range(parts):
        strip = slice(longer * number // parts, longer * (number + 1) // parts)
        if columns == longer:
            multiply(a, b[..., strip], out=product[..., strip])
        else:
            multiply(a[..., strip, :], b, out=product[..., strip, :])
    return product
