"""Every operation of the library as plain loops, straight from its definition.

The fast layers are tested against these functions and the lessons show them; speed is no concern here.
The axes, in the whole project:

    N pictures, C channels in, F filters (channels out), G groups,
    H x W input, kh x kw kernel, OH x OW output; `weight` is never `W`: W is the width.

Each backward walks through the loops of its forward again: what forward read, backward adds to. Both name it
`read`, so that the two can be laid side by side. No function writes into its arguments. Nor does it check
them: that is the layers' business.

"1998" is LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition";
"2012" is Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks".
"""

import functools
import inspect
import math

import numpy as np

from minialex.shapes import output_sizes, pair


def in_float64(operation):
    """Compute `operation` in float64: its first array, and the others that hold floats, come in as copies.

    Results get the first array's dtype, or stay float64 where that holds integers: fractions must survive.
    """
    signature = inspect.signature(operation)

    @functools.wraps(operation)
    def computed(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        first = next(iter(arguments))
        dtype = arguments[first].dtype if arguments[first].dtype.kind == "f" else np.float64
        for name, value in arguments.items():
            if name == first or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
                arguments[name] = np.array(value, np.float64)
        result = operation(**arguments)
        if isinstance(result, tuple):
            return tuple(np.asarray(array, dtype) for array in result)
        return np.asarray(result, dtype)

    return computed


# Padding and windows


def pad(x, padding, value=0) -> np.ndarray:
    """padded[n, c, ph + i, pw + j] = x[n, c, i, j], and `value` all around

    x (N, C, H, W), padded (N, C, H + 2 ph, W + 2 pw).
    """
    ph, pw = pair(padding, "padding", least=0)
    N, C, H, W = x.shape
    padded = np.full((N, C, H + 2 * ph, W + 2 * pw), value, x.dtype)
    padded[:, :, ph : ph + H, pw : pw + W] = x
    return padded


def unpad(padded, padding) -> np.ndarray:
    """x[n, c, i, j] = padded[n, c, ph + i, pw + j]: the border is cut off, which is also `pad`'s backward."""
    ph, pw = pair(padding, "padding", least=0)
    H, W = padded.shape[2] - 2 * ph, padded.shape[3] - 2 * pw
    return padded[:, :, ph : ph + H, pw : pw + W].copy()


def window(i, j, kernel, stride) -> tuple[slice, slice]:
    """The rows i*sh, ..., i*sh + kh - 1 and columns j*sw, ..., j*sw + kw - 1 that output (i, j) reads: slices."""
    top, left = i * stride[0], j * stride[1]
    return slice(top, top + kernel[0]), slice(left, left + kernel[1])


def pairs(kernel_size, stride, padding) -> tuple[tuple[int, int], ...]:
    """The three as pairs (height, width). A stride of None is the kernel's size: windows side by side."""
    stride = kernel_size if stride is None else stride
    return pair(kernel_size, "kernel_size"), pair(stride, "stride"), pair(padding, "padding", least=0)


# Convolution


@in_float64
def conv2d(x, weight, bias=None, stride=1, padding=0, groups=1):
    """y[n, f, i, j] = bias[f] + sum over c, a, b of weight[f, c, a, b] * padded[n, g + c, i*sh + a, j*sw + b]

    g is the first channel of f's group, 0 with one group. 1998, section II.A; groups: 2012, section 3.2.
    x (N, C, H, W), weight (F, C/G, kh, kw), bias (F,), y (N, F, OH, OW).
    """
    kernel, stride, padding = pairs(weight.shape[2:], stride, padding)
    padded = pad(x, padding)
    y = np.zeros((len(x), len(weight), *output_sizes(x.shape[2:], kernel, stride, padding)))
    for n, f, i, j in np.ndindex(y.shape):
        read = (n, channels_of(f, weight, groups), *window(i, j, kernel, stride))
        y[n, f, i, j] = (weight[f] * padded[read]).sum() + (0 if bias is None else bias[f])
    return y


@in_float64
def conv2d_backward(x, weight, grad_y, stride=1, padding=0, groups=1):
    """y[n, f, i, j] = bias[f] + sum of weight[f] * padded[read], so its gradient goes to those three.

    grad_y (N, F, OH, OW); returns (grad_x, grad_weight, grad_bias), shaped as x, weight and bias.
    """
    kernel, stride, padding = pairs(weight.shape[2:], stride, padding)
    padded = pad(x, padding)
    grad_padded = np.zeros(padded.shape)
    grad_weight, grad_bias = np.zeros(weight.shape), np.zeros(len(weight))
    for n, f, i, j in np.ndindex(grad_y.shape):
        read = (n, channels_of(f, weight, groups), *window(i, j, kernel, stride))
        grad_padded[read] += grad_y[n, f, i, j] * weight[f]
        grad_weight[f] += grad_y[n, f, i, j] * padded[read]
        grad_bias[f] += grad_y[n, f, i, j]
    return unpad(grad_padded, padding), grad_weight, grad_bias


def channels_of(f, weight, groups) -> slice:
    """The C/G channels that filter f reads, as a slice. The first F/G filters read the first C/G channels."""
    filters, depth = weight.shape[:2]  # F, C/G
    group = f // (filters // groups)
    return slice(group * depth, (group + 1) * depth)


# Windows as columns


def im2col(x, kernel_size, stride=1, padding=0) -> np.ndarray:
    """columns[c, a, b, i, j, n] = padded[n, c, i*sh + a, j*sw + b]

    Every window copied out, so that a convolution becomes one product of matrices: as a matrix, columns has
    C*kh*kw rows and OH*OW*N columns, one column for each window. x (N, C, H, W).
    """
    kernel, stride, padding = pairs(kernel_size, stride, padding)
    padded = pad(x, padding)
    OH, OW = output_sizes(x.shape[2:], kernel, stride, padding)
    columns = np.zeros((x.shape[1], *kernel, OH, OW, len(x)), x.dtype)
    for i, j, n in np.ndindex(OH, OW, len(x)):
        read = (n, slice(None), *window(i, j, kernel, stride))
        columns[:, :, :, i, j, n] = padded[read]
    return columns


@in_float64
def col2im(columns, x_shape, stride=1, padding=0):
    """padded[n, c, i*sh + a, j*sw + b] += columns[c, a, b, i, j, n]

    The adjoint of im2col: a pixel that several windows read gets the sum of what comes back from them.
    columns (C, kh, kw, OH, OW, N); the result has x_shape, (N, C, H, W).
    """
    kernel, stride, padding = pairs(columns.shape[1:3], stride, padding)
    padded = pad(np.zeros(x_shape), padding)
    for i, j, n in np.ndindex(columns.shape[3:]):
        read = (n, slice(None), *window(i, j, kernel, stride))
        padded[read] += columns[:, :, :, i, j, n]
    return unpad(padded, padding)


# LeNet-5's C3: a convolution whose outputs each read the inputs that their row of a table names


@in_float64
def table_conv2d(x, table, weight, bias):
    """y[n, f, i, j] = bias[f] + sum over c in table[f], a, b of weight[k, a, b] * x[n, c, i + a, j + b]

    k counts the connections (f, c) through the table, row by row. 1998, section II.B and table I.
    x (N, C, H, W), table F tuples of channels, weight (connections, kh, kw), bias (F,), y (N, F, OH, OW).
    """
    kernel, stride = weight.shape[1:], (1, 1)
    y = np.zeros((len(x), len(table), *output_sizes(x.shape[2:], kernel, stride, (0, 0))))
    for n, f, i, j in np.ndindex(y.shape):
        y[n, f, i, j] = bias[f]
    for k, (f, c) in enumerate(connections(table)):
        for n, i, j in np.ndindex(len(x), *y.shape[2:]):
            read = (n, c, *window(i, j, kernel, stride))
            y[n, f, i, j] += (weight[k] * x[read]).sum()
    return y


@in_float64
def table_conv2d_backward(x, table, weight, grad_y):
    """grad_y (N, F, OH, OW); returns (grad_x, grad_weight, grad_bias), shaped as x, weight and bias."""
    kernel, stride = weight.shape[1:], (1, 1)
    grad_x, grad_weight, grad_bias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(len(table))
    for n, f, i, j in np.ndindex(grad_y.shape):
        grad_bias[f] += grad_y[n, f, i, j]
    for k, (f, c) in enumerate(connections(table)):
        for n, i, j in np.ndindex(len(x), *grad_y.shape[2:]):
            read = (n, c, *window(i, j, kernel, stride))
            grad_x[read] += grad_y[n, f, i, j] * weight[k]
            grad_weight[k] += grad_y[n, f, i, j] * x[read]
    return grad_x, grad_weight, grad_bias


def connections(table) -> list[tuple[int, int]]:
    """The pairs (output, input) that a table connects, row by row."""
    return [(f, c) for f, row in enumerate(table) for c in row]


# Fully connected


@in_float64
def linear(x, weight, bias):
    """y[n, o] = bias[o] + sum over d of weight[o, d] * x[n, d];  x (N, in), weight (out, in), bias (out,)"""
    y = np.zeros((len(x), len(weight)))
    for n, o in np.ndindex(y.shape):
        y[n, o] = (weight[o] * x[n]).sum() + bias[o]
    return y


@in_float64
def linear_backward(x, weight, grad_y):
    """grad_y (N, out); returns (grad_x, grad_weight, grad_bias), shaped as x, weight and bias."""
    grad_x, grad_weight, grad_bias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(len(weight))
    for n, o in np.ndindex(grad_y.shape):
        grad_x[n] += grad_y[n, o] * weight[o]
        grad_weight[o] += grad_y[n, o] * x[n]
        grad_bias[o] += grad_y[n, o]
    return grad_x, grad_weight, grad_bias


# Activations: element by element, whatever the shape


@in_float64
def relu(x):
    """y = max(x, 0). 2012, section 3.1."""
    y = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        y[at] = max(x[at], 0)
    return y


@in_float64
def relu_backward(x, grad_y):
    """dy/dx = 1 where x > 0, and 0 elsewhere: at the kink, x = 0, too."""
    return np.where(x > 0, grad_y, 0)


@in_float64
def sigmoid(x):
    """y = 1 / (1 + exp(-x)) = exp(x) / (1 + exp(x)): the first for x >= 0, the second below; none overflows."""
    y = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        small = math.exp(-abs(x[at]))  # at most 1
        y[at] = (1 if x[at] >= 0 else small) / (1 + small)
    return y


@in_float64
def sigmoid_backward(x, grad_y):
    """dy/dx = y * (1 - y)"""
    y = sigmoid(x)
    return grad_y * y * (1 - y)


@in_float64
def tanh(x, scale=1.0, slope=1.0):
    """y = scale * tanh(slope * x). LeNet-5's are 1.7159 and 2/3: 1998, section II.B, equation (6)."""
    y = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        y[at] = scale * math.tanh(slope * x[at])
    return y


@in_float64
def tanh_backward(x, grad_y, scale=1.0, slope=1.0):
    """dy/dx = scale * slope * (1 - tanh(slope * x)**2)"""
    return grad_y * scale * slope * (1 - tanh(slope * x) ** 2)


# Pooling: x (N, C, H, W), y (N, C, OH, OW)


@in_float64
def max_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False):
    """y[n, c, i, j] = max over a, b of padded[n, c, i*sh + a, j*sw + b]

    The border is minus infinity, so that it never wins over a negative pixel. ceil_mode: sizes are rounded up, and
    the last windows are cut off where the border ends.
    2012, section 3.4: windows of 3 at a stride of 2 overlap.
    """
    kernel, stride, padding = pairs(kernel_size, stride, padding)
    padded = pad(x, padding, value=-np.inf)
    y = np.zeros((*x.shape[:2], *output_sizes(x.shape[2:], kernel, stride, padding, ceil_mode)))
    for n, c, i, j in np.ndindex(y.shape):
        read = (n, c, *window(i, j, kernel, stride))
        y[n, c, i, j] = padded[read].max()
    return y


@in_float64
def max_pool2d_backward(x, grad_y, kernel_size, stride=None, padding=0, ceil_mode=False):
    """grad_y[n, c, i, j] goes whole to the window's largest pixel; in a tie, to the first, row by row.

    The border never wins, not even where all pixels are minus infinity; NaN counts as larger than any number.
    """
    kernel, stride, padding = pairs(kernel_size, stride, padding)
    padded = pad(x, padding, value=-np.inf)
    inside = pad(np.ones(x.shape, bool), padding)
    grad_padded = np.zeros(padded.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        read = (n, c, *window(i, j, kernel, stride))
        nobody = (
            padded[read].max() == -np.inf
        )  # no pixel is larger than the border: then the first pixel wins
        first = inside[read].argmax() if nobody else padded[read].argmax()  # argmax gives the first of equals
        a, b = np.unravel_index(first, padded[read].shape)
        grad_padded[read][a, b] += grad_y[n, c, i, j]
    return unpad(grad_padded, padding)


@in_float64
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """y[n, c, i, j] = the sum over a, b of padded[n, c, i*sh + a, j*sw + b], by the number of those that count

    The border's zeros count, unless count_include_pad says that they do not.
    """
    kernel, stride, padding = pairs(kernel_size, stride, padding)
    padded = pad(x, padding)
    counts = pad(np.ones(x.shape), padding, value=float(count_include_pad))
    y = np.zeros((*x.shape[:2], *output_sizes(x.shape[2:], kernel, stride, padding, ceil_mode)))
    for n, c, i, j in np.ndindex(y.shape):
        read = (n, c, *window(i, j, kernel, stride))
        y[n, c, i, j] = padded[read].sum() / counts[read].sum()
    return y


@in_float64
def avg_pool2d_backward(
    x, grad_y, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
):
    """grad_y[n, c, i, j] goes in equal shares to the window's pixels."""
    kernel, stride, padding = pairs(kernel_size, stride, padding)
    grad_padded = pad(np.zeros(x.shape), padding)
    counts = pad(np.ones(x.shape), padding, value=float(count_include_pad))
    for n, c, i, j in np.ndindex(grad_y.shape):
        read = (n, c, *window(i, j, kernel, stride))
        grad_padded[read] += grad_y[n, c, i, j] / counts[read].sum()
    return unpad(grad_padded, padding)


@in_float64
def adaptive_avg_pool2d(x, size):
    """y[n, c, i, j] = the mean of the rows floor(i H/OH) to ceil((i + 1) H/OH) of x[n, c], likewise the columns"""
    size = pair(size, "size")
    y = np.zeros((*x.shape[:2], *size))
    for n, c, i, j in np.ndindex(y.shape):
        read = (n, c, part(i, x.shape[2], size[0]), part(j, x.shape[3], size[1]))
        y[n, c, i, j] = x[read].mean()
    return y


@in_float64
def adaptive_avg_pool2d_backward(x, grad_y):
    """grad_y[n, c, i, j] goes in equal shares to the pixels that it is the mean of."""
    grad_x = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        read = (n, c, part(i, x.shape[2], grad_y.shape[2]), part(j, x.shape[3], grad_y.shape[3]))
        grad_x[read] += grad_y[n, c, i, j] / grad_x[read].size
    return grad_x


def part(i, pixels, parts) -> slice:
    """The pixels from floor(i pixels/parts) to ceil((i + 1) pixels/parts), as a slice."""
    return slice(math.floor(i * pixels / parts), math.ceil((i + 1) * pixels / parts))


@in_float64
def global_avg_pool2d(x):
    """y[n, c] = the mean of x[n, c]; y (N, C)"""
    y = np.zeros(x.shape[:2])
    for n, c in np.ndindex(y.shape):
        y[n, c] = x[n, c].mean()
    return y


@in_float64
def global_avg_pool2d_backward(x, grad_y):
    """Each of a map's H*W pixels gets the same share of grad_y[n, c]."""
    grad_x = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(x.shape):
        grad_x[n, c, i, j] = grad_y[n, c] / x[n, c].size
    return grad_x


@in_float64
def subsampling(x, weight, bias):
    """y[n, c, i, j] = weight[c] * (x[2i, 2j] + x[2i, 2j + 1] + x[2i + 1, 2j] + x[2i + 1, 2j + 1]) + bias[c]

    with x[n, c] for x. 1998, section II.B: pooling with one weight and one bias a channel, learned.
    x (N, C, H, W), weight and bias (C,), y (N, C, H//2, W//2): a last odd row or column is dropped.
    """
    N, C, H, W = x.shape
    y = np.zeros((N, C, H // 2, W // 2))
    for n, c, i, j in np.ndindex(y.shape):
        read = (n, c, *window(i, j, kernel=(2, 2), stride=(2, 2)))
        y[n, c, i, j] = weight[c] * x[read].sum() + bias[c]
    return y


@in_float64
def subsampling_backward(x, weight, grad_y):
    """grad_y (N, C, H//2, W//2); returns (grad_x, grad_weight, grad_bias), shaped as x, weight and bias."""
    grad_x, grad_weight, grad_bias = np.zeros(x.shape), np.zeros(len(weight)), np.zeros(len(weight))
    for n, c, i, j in np.ndindex(grad_y.shape):
        read = (n, c, *window(i, j, kernel=(2, 2), stride=(2, 2)))
        grad_x[read] += grad_y[n, c, i, j] * weight[c]
        grad_weight[c] += grad_y[n, c, i, j] * x[read].sum()
        grad_bias[c] += grad_y[n, c, i, j]
    return grad_x, grad_weight, grad_bias


# Local response normalisation


@in_float64
def local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0, groups=1):
    """y[n, c, i, j] = x[n, c, i, j] / s**beta  with  s = k + alpha * sum over m near c of x[n, m, i, j]**2

    2012, section 3.3; alpha is not divided by `size`. Near c are the `size` channels around it (odd), those
    that exist in c's own group. x and y (N, C, H, W).
    """
    y = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(x.shape):
        read = (n, near(c, size, x.shape[1] // groups), i, j)
        s = k + alpha * (x[read] ** 2).sum()
        y[n, c, i, j] = x[n, c, i, j] / s**beta
    return y


@in_float64
def local_response_norm_backward(x, grad_y, size=5, alpha=1e-4, beta=0.75, k=2.0, groups=1):
    """dy[c]/dx[m] = [m is c] * s**-beta - 2 * alpha * beta * x[c] * s**(-beta - 1) * x[m], for m near c"""
    # At one pixel y[c] = x[c] * s**-beta, where s depends on every x[m] near c, x[c] among them.
    # Product rule:  dy[c]/dx[m] = dx[c]/dx[m] * s**-beta + x[c] * d(s**-beta)/dx[m]
    # Chain rule:    d(s**-beta)/dx[m] = -beta * s**(-beta - 1) * ds/dx[m],  ds/dx[m] = 2 * alpha * x[m]
    # The first term is there for m = c alone; the second, the cross term, for every m that s has read.
    grad_x = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(x.shape):
        read = (n, near(c, size, x.shape[1] // groups), i, j)
        s = k + alpha * (x[read] ** 2).sum()
        grad_x[n, c, i, j] += grad_y[n, c, i, j] * s**-beta
        grad_x[read] -= grad_y[n, c, i, j] * 2 * alpha * beta * x[n, c, i, j] * s ** (-beta - 1) * x[read]
    return grad_x


def near(c, size, depth) -> slice:
    """The channels c - size//2 ... c + size//2 that lie in c's group of `depth` channels, as a slice."""
    first = c // depth * depth
    return slice(max(first, c - size // 2), min(first + depth, c + size // 2 + 1))


# Batch normalisation


@in_float64
def batch_norm2d(x, weight, bias, eps=1e-5, mean=None, variance=None):
    """y[n, c, i, j] = weight[c] * (x[n, c, i, j] - mean[c]) / sqrt(variance[c] + eps) + bias[c]

    mean and variance: those of the channel's numbers in the batch; or those that are given, as in evaluation.
    Ioffe and Szegedy 2015, algorithm 1. x (N, C, H, W); the others (C,).
    """
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        m, v = (x[:, c].mean(), x[:, c].var()) if mean is None else (mean[c], variance[c])
        for n, i, j in np.ndindex(x[:, c].shape):
            y[n, c, i, j] = weight[c] * (x[n, c, i, j] - m) / math.sqrt(v + eps) + bias[c]
    return y


@in_float64
def batch_norm2d_backward(x, weight, grad_y, eps=1e-5, mean=None, variance=None):
    """y = weight * centred / sqrt(variance + eps) + bias, so its gradient goes to each of these, and from the mean and
    the variance of a batch on to every x of the channel. Section 3 of the paper, line by line.

    Returns (grad_x, grad_weight, grad_bias).
    """
    grad_x, grad_weight, grad_bias = np.zeros(x.shape), np.zeros(len(weight)), np.zeros(len(weight))
    for c in range(x.shape[1]):
        m, v = (x[:, c].mean(), x[:, c].var()) if mean is None else (mean[c], variance[c])
        places, scale = list(np.ndindex(x[:, c].shape)), 1 / math.sqrt(v + eps)
        grad_mean = grad_variance = 0.0
        for n, i, j in places:
            centred = x[n, c, i, j] - m
            grad_weight[c] += grad_y[n, c, i, j] * centred * scale
            grad_bias[c] += grad_y[n, c, i, j]
            grad_centred = grad_y[n, c, i, j] * weight[c] * scale
            grad_x[n, c, i, j] += grad_centred
            grad_mean -= grad_centred
            grad_variance -= grad_y[n, c, i, j] * weight[c] * centred * scale**3 / 2
        if mean is None:  # the batch's: every x is part of both
            for n, i, j in places:
                grad_x[n, c, i, j] += grad_mean / len(places)
                grad_x[n, c, i, j] += grad_variance * 2 * (x[n, c, i, j] - m) / len(places)
    return grad_x, grad_weight, grad_bias


# Gates, and exits on the way


@in_float64
def gate(x, weight, sizes, reads=None):
    """y[n, k] = weight[g] * x[n, c]  for the channels c of the g-th source that is read, k counts through them all

    sizes: how many channels each source has; reads: the sources that are read, in rising order; None: all.
    x (N, sum of sizes, ...), weight (sources read,), y (N, channels of the sources read, ...).
    """
    read = channels_read(sizes, reads)
    y = np.zeros((len(x), len(read), *x.shape[2:]))
    for n in range(len(x)):
        for k, (g, c) in enumerate(read):
            y[n, k] = weight[g] * x[n, c]
    return y


@in_float64
def gate_backward(x, weight, sizes, grad_y, reads=None):
    """grad_y as y; returns (grad_x, grad_weight), shaped as x and weight. What is not read gets 0."""
    grad_x, grad_weight = np.zeros(x.shape), np.zeros(len(weight))
    for n in range(len(x)):
        for k, (g, c) in enumerate(channels_read(sizes, reads)):
            grad_x[n, c] += grad_y[n, k] * weight[g]
            grad_weight[g] += (grad_y[n, k] * x[n, c]).sum()
    return grad_x, grad_weight


def channels_read(sizes, reads=None) -> list[tuple[int, int]]:
    """(gate, channel) for each channel of the sources that are read."""
    channels = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])  # of each source
    reads = range(len(sizes)) if reads is None else reads
    return [(g, c) for g, source in enumerate(reads) for c in channels[source]]


@in_float64
def shut(gates):
    """gates[s] <- max(gates[s], 0), at most 1; the first of the widest is 1, unless it is closed

    The proximal step of a penalty on the sum of gates that may be from 0 to 1, one of them held open: where each step's
    slope has the penalty in it already. Returns the new ones.
    """
    new = np.zeros(gates.shape)
    for s, gate in enumerate(gates):
        new[s] = min(max(gate, 0), 1)
    if gates.max() > 0:
        new[gates.argmax()] = 1
    return new


@in_float64
def early_exit(logits, leave_at):
    """(y, left): y[n] = logits[n, i]  of the first exit i with  max over k of p[n, i, k] >= leave_at; else the last one

    p = exp(logits) / sum over k of exp(logits), the softmax of each exit; left[n] = i + 1 counts the exits from 1.
    Teerapittayanon, McDanel and Kung 2016 (BranchyNet), where p's entropy is compared instead.
    logits (N, exits, K), y (N, K), left (N,).
    """
    N, exits, K = logits.shape
    y, left = np.zeros((N, K)), np.zeros(N)
    for n in range(N):
        for i in range(exits):
            top = max(logits[n, i])
            largest = 1 / sum(math.exp(logit - top) for logit in logits[n, i])
            if largest >= leave_at or i == exits - 1:
                y[n], left[n] = logits[n, i], i + 1
                break
    return y, left


# Dropout


@in_float64
def dropout(x, mask, p, scaling="inverted", training=True):
    """y = x * mask / (1 - p) in training, then x ("inverted"); x * mask, then x * (1 - p) ("test-time")

    Either way y keeps its mean when training ends. "test-time" is 2012, section 4.2.
    x, mask and y of one shape; mask is 0 where x is dropped, which has probability p, and 1 elsewhere.
    """
    if scaling == "inverted":
        return x * mask / (1 - p) if training else x
    if scaling == "test-time":
        return x * mask if training else x * (1 - p)
    raise ValueError(f'scaling must be "inverted" or "test-time", not {scaling!r}')


def dropout_backward(grad_y, mask, p, scaling="inverted", training=True) -> np.ndarray:
    """dy/dx is what x was multiplied by, so grad_y goes through the same gate."""
    return dropout(grad_y, mask, p, scaling, training)


# LeNet-5's output and its loss


@in_float64
def rbf(x, codes):
    """y[n, k] = -sum over d of (x[n, d] - codes[k, d])**2;  x (N, D), codes (K, D), y (N, K)

    1998, section II.B, equation (7), with a minus: the class whose code is nearest has the largest y.
    """
    y = np.zeros((len(x), len(codes)))
    for n, k in np.ndindex(y.shape):
        y[n, k] = -((x[n] - codes[k]) ** 2).sum()
    return y


@in_float64
def rbf_backward(x, codes, grad_y):
    """dy[n, k]/dx[n, d] = -2 * (x[n, d] - codes[k, d]);  grad_y (N, K). The codes are fixed: no gradient."""
    grad_x = np.zeros(x.shape)
    for n, k in np.ndindex(grad_y.shape):
        grad_x[n] += grad_y[n, k] * -2 * (x[n] - codes[k])
    return grad_x


@in_float64
def map_loss(y, labels, j=1.0):
    """loss = mean over n of  d[n, right] + log(exp(-j) + sum over k of exp(-d[n, k])),  right = labels[n]

    1998, section II.C, equation (9), on the distances d = -y that `rbf` gives with a minus. j is the distance
    of an imagined class of rubbish: wrong classes much farther than j are left alone. y (N, K), labels (N,).
    """
    loss = 0.0
    for n, right in enumerate(labels):
        loss += -y[n, right] + log_sum_exp([-j, *y[n]])
    return loss / len(y)


@in_float64
def map_loss_backward(y, labels, j=1.0, grad_loss=1.0):
    """dloss/dy[n, k] = (p - [k is right]) / N  with  p = exp(y[n, k]) / (exp(-j) + sum of exp(y[n]))"""
    grad_y = np.zeros(y.shape)
    for n, k in np.ndindex(y.shape):
        p = math.exp(y[n, k] - log_sum_exp([-j, *y[n]]))
        grad_y[n, k] = grad_loss * (p - (k == labels[n])) / len(y)
    return grad_y


# Softmax and cross-entropy


@in_float64
def softmax_cross_entropy(logits, labels):
    """loss = mean over n of  -log p[n, right]  with  p[n, k] = exp(logits[n, k]) / sum of exp(logits[n])

    logits (N, K), labels (N,) whole numbers from 0 to K - 1, right = labels[n]; loss a 0-d array.
    """
    loss = 0.0
    for n, right in enumerate(labels):
        loss += -logits[n, right] + log_sum_exp(logits[n])
    return loss / len(logits)


@in_float64
def softmax_cross_entropy_backward(logits, labels, grad_loss=1.0):
    """dloss/dlogits[n, k] = (p[n, k] - [k is right]) / N"""
    grad_logits = np.zeros(logits.shape)
    for n, k in np.ndindex(logits.shape):
        p = math.exp(logits[n, k] - log_sum_exp(logits[n]))
        grad_logits[n, k] = grad_loss * (p - (k == labels[n])) / len(logits)
    return grad_logits


def log_sum_exp(values) -> float:
    """log(sum of exp(v)) = top + log(sum of exp(v - top)), top the largest v, so that nothing overflows."""
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


# One step of gradient descent


@in_float64
def sgd_step(weight, velocity, grad, lr, momentum=0.9, weight_decay=0.0):
    """v <- momentum * v - weight_decay * lr * w - lr * grad;  w <- w + v

    2012, section 5. The rate is inside the velocity; in PyTorch it is outside (v <- momentum * v + grad, then
    w <- w - lr * v), the same only while lr stays. Arrays of one shape; returns (new_weight, new_velocity).
    """
    new_velocity = momentum * velocity - weight_decay * lr * weight - lr * grad
    return weight + new_velocity, new_velocity
