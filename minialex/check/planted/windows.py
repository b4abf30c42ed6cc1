"""Convolution, im2col and col2im: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


def window(i, j, kernel, stride):
    """The rows and columns that output (i, j) reads."""
    (kh, kw), top, left = kernel, i * stride, j * stride
    return slice(top, top + kh), slice(left, left + kw)


def positions(x, kernel, stride):
    """OH, OW: how many windows fit, down and across."""
    (H, W), (kh, kw) = x.shape[-2:], kernel
    return 1 + (H - kh) // stride, 1 + (W - kw) // stride


def pad(x, padding, value=0.0):
    return np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)], constant_values=value)


def unpad(x, padding):
    return x[:, :, padding : x.shape[2] - padding, padding : x.shape[3] - padding]


@right
def conv2d_forward(x, weight, bias, stride, padding):
    x, kernel = pad(x, padding), weight.shape[2:]
    y = np.zeros((len(x), len(weight), *positions(x, kernel, stride)))
    for n, f, i, j in np.ndindex(y.shape):
        rows, columns = window(i, j, kernel, stride)
        y[n, f, i, j] = (weight[f] * x[n, :, rows, columns]).sum() + bias[f]
    return y


@wrong("conv2d_forward", "flipped kernel")
def conv2d_flipped(x, weight, bias, stride, padding):
    """The kernel is turned round, as in a mathematician's convolution."""
    return conv2d_forward(x, weight[:, :, ::-1, ::-1], bias, stride, padding)


@wrong("conv2d_forward", "bias forgotten")
def conv2d_without_bias(x, weight, bias, stride, padding):
    """The bias is not added."""
    return conv2d_forward(x, weight, 0 * bias, stride, padding)


@wrong("conv2d_forward", "bias along the windows")
def conv2d_bias_windows(x, weight, bias, stride, padding):
    """The biases lie along the windows, one a window, where each map has one: bias[:, None]."""
    y = conv2d_forward(x, weight, 0 * bias, stride, padding)
    return (y.reshape(*y.shape[:2], -1) + bias).reshape(y.shape)


@wrong("conv2d_forward", "bias along the columns")
def conv2d_bias_columns(x, weight, bias, stride, padding):
    """The biases lie along y's columns, one a column, where each map has one: bias[:, None, None]."""
    return conv2d_forward(x, weight, 0 * bias, stride, padding) + bias


@wrong("conv2d_forward", "wrong stride")
def conv2d_wrong_stride(x, weight, bias, stride, padding):
    """Windows move by one pixel: only the size of y follows the stride."""
    OH, OW = positions(pad(x, padding), weight.shape[2:], stride)
    return conv2d_forward(x, weight, bias, 1, padding)[:, :, :OH, :OW]


@wrong("conv2d_forward", "first channel alone")
def conv2d_first_channel(x, weight, bias, stride, padding):
    """The sum runs over the window, but not over the channels."""
    return conv2d_forward(x[:, :1], weight[:, :1], bias, stride, padding)


@right
def conv2d_backward(x, weight, bias, stride, padding, grad_y):
    x, kernel = pad(x, padding), weight.shape[2:]
    grad_x, grad_weight = np.zeros(x.shape), np.zeros(weight.shape)
    for n, f, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        grad_x[n, :, rows, columns] += weight[f] * grad_y[n, f, i, j]
        grad_weight[f] += x[n, :, rows, columns] * grad_y[n, f, i, j]
    return unpad(grad_x, padding), grad_weight, grad_y.sum(axis=(0, 2, 3))


@wrong("conv2d_backward", "overlap overwritten")
def conv2d_backward_overwrites(x, weight, bias, stride, padding, grad_y):
    """grad_x: = instead of += where windows overlap and filters meet."""
    grad_x, (kernel, padded) = np.zeros(pad(x, padding).shape), (weight.shape[2:], pad(x, padding))
    for n, f, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        grad_x[n, :, rows, columns] = weight[f] * grad_y[n, f, i, j]
    return unpad(grad_x, padding), *conv2d_backward(padded, weight, bias, stride, 0, grad_y)[1:]


@wrong("conv2d_backward", "mean instead of sum")
def conv2d_backward_mean(x, weight, bias, stride, padding, grad_y):
    """grad_weight and grad_bias: the mean over the batch, where its sum belongs."""
    grad_x, grad_weight, grad_bias = conv2d_backward(x, weight, bias, stride, padding, grad_y)
    return grad_x, grad_weight / len(x), grad_bias / len(x)


@wrong("conv2d_backward", "flipped kernel")
def conv2d_backward_flipped(x, weight, bias, stride, padding, grad_y):
    """grad_x: the kernel is turned round once too often."""
    grad_x = conv2d_backward(x, weight[:, :, ::-1, ::-1], bias, stride, padding, grad_y)[0]
    return grad_x, *conv2d_backward(x, weight, bias, stride, padding, grad_y)[1:]


@wrong("conv2d_backward", "first picture alone")
def conv2d_backward_first_picture(x, weight, bias, stride, padding, grad_y):
    """grad_bias: the sum over the batch is forgotten."""
    grad_x, grad_weight, _ = conv2d_backward(x, weight, bias, stride, padding, grad_y)
    return grad_x, grad_weight, grad_y[0].sum(axis=(1, 2))


@right
def im2col(x, kernel, stride):
    N, (OH, OW) = len(x), positions(x, kernel, stride)
    columns = np.zeros((N, x.shape[1] * kernel[0] * kernel[1], OH * OW))
    for i, j in np.ndindex(OH, OW):
        rows, cols = window(i, j, kernel, stride)
        columns[:, :, i * OW + j] = x[:, :, rows, cols].reshape(N, -1)
    return columns


@wrong("im2col", "wrong stride")
def im2col_wrong_stride(x, kernel, stride):
    """Windows move by one pixel, whatever the stride."""
    return im2col(x, kernel, 1)


@wrong("im2col", "transposed")
def im2col_transposed(x, kernel, stride):
    """One window in a row, where it should be a column."""
    return im2col(x, kernel, stride).transpose(0, 2, 1)


@wrong("im2col", "channels last")
def im2col_channels_last(x, kernel, stride):
    """Rows in the order a, b, c: no longer the order of the weight, c, a, b."""
    N, C = x.shape[:2]
    columns = im2col(x, kernel, stride).reshape(N, C, kernel[0] * kernel[1], -1)
    return columns.swapaxes(1, 2).reshape(N, C * kernel[0] * kernel[1], -1)


@wrong("im2col", "down before across")
def im2col_down_first(x, kernel, stride):
    """Windows are numbered down the columns of y instead of along its rows."""
    OH, OW = positions(x, kernel, stride)
    columns = im2col(x, kernel, stride)
    return columns.reshape(*columns.shape[:2], OH, OW).swapaxes(2, 3).reshape(columns.shape)


@wrong("im2col", "rows as long as columns")
def im2col_row_length(x, kernel, stride):
    """Window (i, j) gets the place i*OH + j, where a row has OW windows: i*OW + j. Right where OH = OW."""
    N, (OH, OW) = len(x), positions(x, kernel, stride)
    columns = np.zeros((N, x.shape[1] * kernel[0] * kernel[1], OH * OW))
    for i, j in np.ndindex(OH, OW):
        rows, cols = window(i, j, kernel, stride)
        columns[:, :, i * OH + j] = x[:, :, rows, cols].reshape(N, -1)
    return columns


@right
def col2im(columns, x_shape, kernel, stride):
    grad_x = np.zeros(x_shape)
    OH, OW = positions(grad_x, kernel, stride)
    for i, j in np.ndindex(OH, OW):
        rows, cols = window(i, j, kernel, stride)
        grad_x[:, :, rows, cols] += columns[:, :, i * OW + j].reshape(*x_shape[:2], *kernel)
    return grad_x


@wrong("col2im", "overwrites")
def col2im_overwrites(columns, x_shape, kernel, stride):
    """= instead of +=: where windows overlap, the last one wins."""
    grad_x = np.zeros(x_shape)
    OH, OW = positions(grad_x, kernel, stride)
    for i, j in np.ndindex(OH, OW):
        rows, cols = window(i, j, kernel, stride)
        grad_x[:, :, rows, cols] = columns[:, :, i * OW + j].reshape(*x_shape[:2], *kernel)
    return grad_x


@wrong("col2im", "adds with a list of indices")
def col2im_fancy(columns, x_shape, kernel, stride):
    """`grad_x[..., list] += ...` adds once to a pixel that the list names twice; np.add.at adds twice."""
    grad_x = np.zeros(x_shape)
    pixels = im2col(np.arange(grad_x[0, 0].size).reshape(1, 1, *x_shape[2:]), kernel, stride).astype(int)
    flat = grad_x.reshape(*x_shape[:2], -1)
    flat[:, :, pixels.ravel()] += columns.reshape(*x_shape[:2], -1)
    return grad_x


@wrong("col2im", "mean instead of sum")
def col2im_mean(columns, x_shape, kernel, stride):
    """Each pixel gets the mean of what its windows send back: im2col's inverse, not its backward."""
    count = col2im(np.ones(columns.shape), x_shape, kernel, stride)
    return col2im(columns, x_shape, kernel, stride) / np.maximum(count, 1)


@wrong("col2im", "across before down")
def col2im_swapped(columns, x_shape, kernel, stride):
    """The windows' numbers are read down the columns of y instead of along its rows."""
    OH, OW = positions(np.empty(x_shape), kernel, stride)
    swapped = columns.reshape(*columns.shape[:2], OW, OH).swapaxes(2, 3).reshape(columns.shape)
    return col2im(swapped, x_shape, kernel, stride)


@wrong("col2im", "rows as long as columns")
def col2im_row_length(columns, x_shape, kernel, stride):
    """Window (i, j) is looked for at i*OH + j, where a row has OW windows: i*OW + j. Right where OH = OW."""
    grad_x = np.zeros(x_shape)
    OH, OW = positions(grad_x, kernel, stride)
    for i, j in np.ndindex(OH, OW):
        rows, cols = window(i, j, kernel, stride)
        grad_x[:, :, rows, cols] += columns[:, :, i * OH + j].reshape(*x_shape[:2], *kernel)
    return grad_x
