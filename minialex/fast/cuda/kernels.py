"""CUDA kernels for what takes many small steps in NumPy's words: windows, pooling, normalisation, the SGD rule.

They are compared with the layers on a GPU, and compiled for the CPU without one (tests/fast/test_cuda_kernels.py).
AlexNet's step, batch 128, took 19.7 ms with them on an H200, and 54 without. `Device("cuda:0").fast = False` turns them
off. CuPy compiles so that what is smaller than a type's normal numbers becomes 0.

Arrays lie batch last, (C, H, W, N), as in fast/cpu/windows.py. Each number of a result is worked out by one thread,
which gathers what it needs: no two threads write to one place, so the same input gives the same bits.
"""

import functools
import math

import numpy as np

from minialex.devices.device import array_module, device_of
from minialex.errors import DtypeMismatch
from minialex.fast.cuda.source import SOURCE
from minialex.shapes import output_sizes

REALS = {"float32": "float", "float64": "double"}
INDICES = {"int32": "int", "int64": "long long"}  # 32 bits where they suffice: a GPU divides long ones slowly
CELLS = {"uint8": "unsigned char", "int32": "int"}  # which cell of its window won
THREADS = 256  # in a block
SHORT = 2**30  # numbers in an array that 32 bits can count, with room for the step of the last thread
MOST_BLOCKS = 2**16  # with more to do than that, each thread does several


# ---- convolution: one im2col and one product of large matrices for each group --------------------------------------


def convolve(x, weight, bias, stride, padding, groups: int):
    """y[f] = bias[f] + weight[f] @ im2col(x[c]),  f and c the filters and the channels of a group

    Shapes: x (C, H, W, N); weight (F, C/G, kh, kw); bias (F,) or None; y (F, OH, OW, N). The columns of a group take
    C/G * kh*kw * OH*OW*N numbers, whatever the device's column_budget.
    """
    OH, OW = output_sizes(x.shape[1:3], weight.shape[2:], stride, padding)
    xp, F = array_module(x), len(weight)
    y = device_of(x).empty((F, OH * OW * x.shape[-1]), x.dtype)
    for f, c in _groups(F, len(x), groups):
        columns = im2col(x[c], weight.shape[2:], stride, padding)
        xp.matmul(weight[f].reshape(F // groups, -1), columns, out=y[f])
    if bias is not None:
        y += bias[:, None]
    return y.reshape(F, OH, OW, -1)


def convolve_backward(x, weight, grad_y, stride, padding, groups: int, input_grad: bool = True):
    """grad_weight[f] = grad_y[f] @ im2col(x[c])^T,  grad_x[c] = col2im(weight[f]^T @ grad_y[f])

    Shapes: as in `convolve`; grad_y (F, OH, OW, N). Returns grad_x, or None without input_grad, and grad_weight.
    """
    xp, device, F = array_module(x), device_of(x), len(weight)
    grad_y = grad_y.reshape(F, -1)
    grad_weight = device.empty((F, weight[0].size), x.dtype)
    grad_x = device.empty(x.shape, x.dtype) if input_grad else None
    for f, c in _groups(F, len(x), groups):
        columns = im2col(
            x[c], weight.shape[2:], stride, padding
        )  # made again: kept, all layers' would fill the GPU
        xp.matmul(grad_y[f], columns.T, out=grad_weight[f])
        if input_grad:
            xp.matmul(
                weight[f].reshape(F // groups, -1).T, grad_y[f], out=columns
            )  # nobody reads them any more
            col2im(columns, grad_x[c], weight.shape[2:], stride, padding)
    return grad_x, grad_weight.reshape(weight.shape)


def im2col(x, kernel, stride, padding):
    """columns[(c, i, j), (p, q, n)] = x[c, p*sh + i - ph, q*sw + j - pw, n], and 0 where that is outside of x

    Shapes: x (C, H, W, N); columns (C*kh*kw, OH*OW*N). Not windows.im2col, whose windows are one pixel high.
    """
    C, *_, N = x.shape
    (kh, kw), (OH, OW) = kernel, output_sizes(x.shape[1:3], kernel, stride, padding)
    columns = device_of(x).empty((C * kh * kw, OH * OW * N), x.dtype)
    _launch("im2col", [x, columns], C * OH * OW * N, _geometry(x.shape, kernel, stride, padding))
    return columns


def col2im(columns, into, kernel, stride, padding):
    """into[c, h, w, n] = the sum of columns[(c, i, j), (p, q, n)] where p*sh + i - ph = h and q*sw + j - pw = w

    The adjoint of im2col. Shapes: columns (C*kh*kw, OH*OW*N); into (C, H, W, N): it is filled in, and returned.
    """
    _launch("col2im", [columns, into], into.size, _geometry(into.shape, kernel, stride, padding))
    return into


# ---- pooling -------------------------------------------------------------------------------------------------------


def max_pool(x, kernel, stride, padding):
    """y[c, p, q, n] = the largest x under the window at (p, q); winner: the number of its cell, in row order

    Shapes: x (C, H, W, N); y and winner (C, OH, OW, N). In a tie the first cell wins; a NaN wins over
    all numbers; the padding never wins.
    """
    C, *_, N = x.shape
    device, (OH, OW) = device_of(x), output_sizes(x.shape[1:3], kernel, stride, padding)
    y = device.empty((C, OH, OW, N), x.dtype)
    winner = device.empty(y.shape, np.uint8 if kernel[0] * kernel[1] <= 256 else np.int32)
    _launch("max_pool", [x, y, winner], y.size, _geometry(x.shape, kernel, stride, padding))
    return y, winner


def max_pool_backward(grad_y, winner, x_shape, kernel, stride, padding):
    """grad_x[c, h, w, n] = the sum of grad_y over the windows that x[c, h, w, n] won

    Shapes: grad_y and winner (C, OH, OW, N); x_shape: (C, H, W, N), that of grad_x.
    """
    grad_x = device_of(grad_y).empty(x_shape, grad_y.dtype)
    geometry = _geometry(x_shape, kernel, stride, padding)
    _launch("max_pool_backward", [grad_y, winner, grad_x], grad_x.size, geometry)
    return grad_x


# ---- normalisation -------------------------------------------------------------------------------------------------


def lrn(x, size: int, alpha: float, beta: float, k: float, groups: int):
    """y[c] = x[c] / scale[c]^beta,  scale[c] = k + alpha * sum of x[d]^2 over the `size` channels d around c

    The windows of channels are cut off at the ends of their group. Shapes: x, y, and the fourth root of scale, which
    is returned as well, (C, H, W, N).
    """
    y, fourth_root = (device_of(x).empty(x.shape, x.dtype) for _ in range(2))
    _launch("lrn", [x, y, fourth_root], x.size, _channels(x, size, groups), [alpha, beta, k])
    return y, fourth_root


def lrn_backward(grad_y, x, fourth_root, size: int, alpha: float, beta: float, groups: int):
    """grad_x[c] = grad_y[c] scale[c]^-beta - 2 alpha beta x[c] * sum over d of grad_y[d] x[d] scale[d]^(-beta - 1)

    Shapes: all (C, H, W, N).
    """
    grad_x, sent, inverse = (device_of(x).empty(x.shape, x.dtype) for _ in range(3))
    root_alpha, sign = math.sqrt(abs(alpha)), math.copysign(1, alpha)
    _launch("lrn_send", [grad_y, x, fourth_root, grad_x, sent, inverse], x.size, (), [root_alpha, beta])
    channels = _channels(x, size, groups)
    _launch("lrn_gather", [x, sent, inverse, grad_x], x.size, channels, [root_alpha, sign * 2 * beta])
    return grad_x


# ---- batch normalisation -------------------------------------------------------------------------------------------


def channel_mean(x):
    """mean[c] = the mean of x[c].  Shapes: x (C, H, W, N); mean (C,)"""
    M, T, sums = _shares(x)
    _launch("channel_sums", [x, sums], sums.size, [M, T])
    return sums.sum(axis=1) / M


def channel_variance(x, mean):
    """variance[c] = the mean of (x[c] - mean[c])^2"""
    M, T, sums = _shares(x)
    _launch("channel_squares", [x, mean, sums], sums.size, [M, T])
    return sums.sum(axis=1) / M


def channel_normalise(x, mean, scale, weight, bias):
    """y[c] = weight[c] * normalised + bias[c],  normalised = (x[c] - mean[c]) * scale[c]"""
    y = device_of(x).empty(x.shape, x.dtype)
    _launch("channel_normalise", [x, mean, scale, weight, bias, y], x.size, [x[0].size])
    return y


def channel_products(grad_y, x, mean, scale, weight):
    """The sums over each channel of grad_y and of grad_y * normalised, and both with weight * grad_y: (4, C)"""
    M, T, sums = _shares(x, of_each=4)
    _launch("channel_products", [grad_y, x, mean, scale, weight, sums], sums[0].size, [M, T])
    return sums.sum(axis=2)


def channel_gradient(grad_y, x, mean, scale, weight, through_mean=None, through_variance=None):
    """grad_x[c] = scale[c] * (weight[c] * grad_y[c] - through_mean[c] - normalised * through_variance[c])

    Without through_mean the statistics were constants, and only the first term is there.
    """
    of_batch = through_mean is not None
    through = [through_mean, through_variance] if of_batch else [mean, mean]  # not read
    grad_x = device_of(x).empty(x.shape, x.dtype)
    arrays = [grad_y, x, mean, scale, weight, *through, grad_x]
    _launch("channel_gradient", arrays, x.size, [x[0].size, of_batch])
    return grad_x


def _shares(x, of_each=None):
    """M and T in the source above, and room for the parts of the sums: (C, T), or of_each of them."""
    C, M = len(x), x[0].size
    T = max(1, min(M, MOST_BLOCKS * 2 // C))
    return M, T, device_of(x).empty((C, T) if of_each is None else (of_each, C, T), x.dtype)


# ---- elementwise ---------------------------------------------------------------------------------------------------


def relu(x):
    """y = max(x, 0), in x's layout: CuPy's own operations put (C, H, W, N) memory back into another order."""
    x = dense(x)
    y = device_of(x).empty_like(x)
    _launch("relu", [in_memory_order(x), in_memory_order(y)], x.size)
    return y


def relu_backward(grad_y, y):
    """grad_x = grad_y where y > 0, else 0, in y's layout."""
    device = device_of(y)
    if grad_y.strides != y.strides:
        grad_y, given = device.empty_like(y), grad_y
        grad_y[...] = given
    grad_x = device.empty_like(y)
    _launch("relu_backward", [in_memory_order(array) for array in (grad_y, y, grad_x)], y.size)
    return grad_x


def dense(array):
    """The array, or a copy, whose memory has no gaps, and no number twice."""
    return (
        array if in_memory_order(array).flags.c_contiguous else array_module(array).ascontiguousarray(array)
    )


def in_memory_order(array):
    """A view with the axes in the order of their memory: contiguous, if there are no gaps."""
    if array.flags.c_contiguous:
        return array
    return array.transpose(
        sorted(range(array.ndim), key=lambda axis: (-array.strides[axis], -array.shape[axis]))
    )


# ---- the SGD rule --------------------------------------------------------------------------------------------------


def sgd(w, v, grad, lr: float, momentum: float, decay: float = 0.0) -> None:
    """v <- momentum * v - decay * w - lr * grad;    w <- w + v

    Shapes: all the same, any. w and v change in place, in one pass.
    """
    _launch("sgd", [w, v, array_module(grad).ascontiguousarray(grad)], w.size, (), [lr, momentum, decay])


# ---- how they are started ------------------------------------------------------------------------------------------


def source(real: str, index: str, cell: str) -> str:
    r"""The CUDA source of all kernels for these types, by NumPy's names.

    >>> print(*source("float32", "int64", "uint8").splitlines()[:3], sep="\n")
    typedef float Real;
    typedef long long Index;
    typedef unsigned char Cell;
    """
    types = f"typedef {REALS[real]} Real;\ntypedef {INDICES[index]} Index;\ntypedef {CELLS[cell]} Cell;\n"
    return types + SOURCE


@functools.cache
def _kernel(name, real, index, cell):
    """A function of (grid, block, arguments). CuPy compiles it when it is first called on a device."""
    import cupy

    return cupy.RawKernel(source(real, index, cell), name)


def _launch(name, arrays, count, integers=(), numbers=()):
    """Run a kernel, which takes the arrays, `count`, the integers and the numbers, with a thread for each of `count`.

    C takes the bytes as they come. So each value gets the type that the source says, and each array is looked at.
    """
    types = tuple([array.dtype for array in arrays])
    names, Real, Index = _types(name, types, max([array.size for array in arrays]) <= SHORT)
    for array in arrays:
        if not array.flags.c_contiguous:
            raise ValueError(
                f"the {name} kernel takes arrays whose memory is in the order of their axes; one of shape "
                f"{array.shape} has strides {array.strides}: use ascontiguousarray, or device.fast = False"
            )
    arguments = (*arrays, *map(Index, (count, *integers)), *map(Real, numbers))
    blocks = min(-(-count // THREADS), MOST_BLOCKS)
    with device_of(arrays[0]):
        _kernel(name, *names)((blocks,), (THREADS,), arguments)


@functools.cache
def _types(name, dtypes, short):
    """The names of Real, Index and Cell in the source above, and the first two, for arrays of these dtypes.

    Worked out once: a dtype's name takes longer than the rest of a launch.
    """
    real, cell = dtypes[0], "uint8"
    if real.name not in REALS:
        raise DtypeMismatch(
            f"the {name} kernel computes in float32 or float64, not in {real}: use those, or device.fast = False"
        )
    for dtype in dtypes:
        if dtype.kind != "f":
            cell = dtype.name
        elif dtype != real:
            raise DtypeMismatch(f"the {name} kernel got {real} and {dtype}: use astype on one of them")
    index = np.dtype(np.int32 if short else np.int64)
    return (real.name, index.name, cell), real.type, index.type


@functools.cache
def _geometry(x_shape, kernel, stride, padding):
    """GEOMETRY in the source above."""
    _, H, W, N = x_shape
    return H, W, N, *kernel, *stride, *padding, *output_sizes((H, W), kernel, stride, padding)


def _channels(x, size, groups):
    """M, C and reach in the source above."""
    return x[0].size, len(x) // groups, size // 2


def _groups(F, C, groups):
    """The filters and the channels of each group."""
    F, C = F // groups, C // groups
    return [(slice(g * F, (g + 1) * F), slice(g * C, (g + 1) * C)) for g in range(groups)]
