"""ReLU and tanh with their results straight in their place, and no number in between that need not be stored.

Both do to each number what the textbook does to it, so that the bits are the same, whether it is finite or not.
"""

import numpy as np

from minialex.fast.cpu.pieces import for_pieces

BITS = {2: np.int16, 4: np.int32, 8: np.int64}  # whole numbers as wide as a floating-point number


def accepts(layer, x) -> bool:
    return x.ndim > 0 and x.dtype.itemsize in BITS


def relu_forward(layer, x):
    y = layer.device.empty_like(x)
    on_threads(layer.device, lambda x, y: np.maximum(x, 0, out=y), x, y)
    layer.save(y=y)  # it tells where x was positive, and the next layer keeps it anyway
    return y


def relu_backward(layer, grad_y):
    grad_x = layer.device.empty_like(grad_y)
    on_threads(layer.device, lambda y, grad_y, out: kept(grad_y, y > 0, out), layer.saved.y, grad_y, grad_x)
    return grad_x


def on_threads(device, function, *arrays):
    """function(*arrays), which does the same to each number: some of them on each thread, if they lie alike in memory.

    Large arrays are read and written faster by two cores than by one.
    """
    first = arrays[0]
    slowest_first = sorted(range(first.ndim), key=first.strides.__getitem__, reverse=True)
    along = [array.transpose(slowest_first) for array in arrays]
    if not all(array.flags.c_contiguous for array in along):
        return function(*arrays)
    flat = [array.reshape(-1) for array in along]  # views
    return for_pieces(
        lambda some: function(*(array[some] for array in flat)), device, first.size, first.nbytes
    )


def kept(array, mask, out):
    """The numbers where the mask is True, 0 elsewhere. Not array * mask: infinity times 0 is not a number.

    ANDed with all ones, a number's bits stay; with all zeros they are those of 0.
    """
    bits = BITS[array.dtype.itemsize]
    ones = np.negative(mask.view(np.int8))  # 0 and -1, which becomes -1 of any width: all ones
    np.bitwise_and(array.view(bits), ones, out=out.view(bits))
    return out


def tanh_forward(layer, x):
    y = np.tanh(x if layer.slope == 1 else layer.slope * x, out=layer.device.empty_like(x))
    if layer.scale != 1:
        y *= layer.scale
    layer.save(y=y)
    return y


def tanh_backward(layer, grad_y):
    y = layer.saved.y
    grad_x = np.multiply(y, y, out=layer.device.empty_like(y))  # in place from here on
    if layer.scale != 1:
        grad_x /= layer.scale
    np.subtract(layer.scale, grad_x, out=grad_x)
    if layer.slope != 1:
        grad_x *= layer.slope  # the derivative
    grad_x *= grad_y
    return grad_x
