"""Max-pooling, average pooling and 1998's subsampling: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong
from minialex.check.planted.windows import pad, positions, unpad, window


def pooled(x, kernel, stride, of_window):
    """of_window of every window: what poolings have in common."""
    y = np.zeros((*x.shape[:2], *positions(x, kernel, stride)))
    for n, c, i, j in np.ndindex(y.shape):
        rows, columns = window(i, j, kernel, stride)
        y[n, c, i, j] = of_window(x[n, c, rows, columns])
    return y


@right
def maxpool_forward(x, kernel, stride, padding):
    return pooled(pad(x, padding, -np.inf), kernel, stride, np.max)


@wrong("maxpool_forward", "zero-padded")
def maxpool_zero_padded(x, kernel, stride, padding):
    """The padding is 0, which wins over negative pixels."""
    return pooled(pad(x, padding, 0), kernel, stride, np.max)


@wrong("maxpool_forward", "wrong stride")
def maxpool_wrong_stride(x, kernel, stride, padding):
    """Windows lie side by side, whatever the stride."""
    return pooled(pad(x, padding, -np.inf), kernel, kernel[0], np.max)


@wrong("maxpool_forward", "starts at zero")
def maxpool_starts_at_zero(x, kernel, stride, padding):
    """The search for the largest begins with 0, so that a negative maximum is lost."""
    return np.maximum(maxpool_forward(x, kernel, stride, padding), 0)


@wrong("maxpool_forward", "square windows")
def maxpool_square(x, kernel, stride, padding):
    """kw is taken for kh: right for square windows alone."""
    kh, kw = kernel
    return maxpool_forward(x, (min(kh, kw), kw), stride, padding)


@right
def maxpool_backward(x, kernel, stride, padding, grad_y):
    x = pad(x, padding, -np.inf)
    grad_x = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        a, b = np.unravel_index(x[n, c, rows, columns].argmax(), kernel)  # the first of equals
        grad_x[n, c, i * stride + a, j * stride + b] += grad_y[n, c, i, j]
    return unpad(grad_x, padding)


@wrong("maxpool_backward", "ties counted twice")
def maxpool_backward_ties(x, kernel, stride, padding, grad_y):
    """Each of several equal maxima gets the whole gradient."""
    x = pad(x, padding, -np.inf)
    grad_x = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        pixels = x[n, c, rows, columns]
        grad_x[n, c, rows, columns] += (pixels == pixels.max()) * grad_y[n, c, i, j]
    return unpad(grad_x, padding)


@wrong("maxpool_backward", "padded argmax read from the unpadded array")
def maxpool_backward_unpadded(x, kernel, stride, padding, grad_y):
    """The maximum's place in the padded array is used in the unpadded one."""
    grad_x, padded = np.zeros(x.shape), pad(x, padding, -np.inf)
    for n, c, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        a, b = np.unravel_index(padded[n, c, rows, columns].argmax(), kernel)
        row, column = i * stride + a, j * stride + b
        if row < x.shape[2] and column < x.shape[3]:
            grad_x[n, c, row, column] += grad_y[n, c, i, j]
    return grad_x


@wrong("maxpool_backward", "overlap overwritten")
def maxpool_backward_overwrites(x, kernel, stride, padding, grad_y):
    """= instead of +=: a pixel that wins in two windows keeps the last gradient."""
    x = pad(x, padding, -np.inf)
    grad_x = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        a, b = np.unravel_index(x[n, c, rows, columns].argmax(), kernel)
        grad_x[n, c, i * stride + a, j * stride + b] = grad_y[n, c, i, j]
    return unpad(grad_x, padding)


@wrong("maxpool_backward", "zero-padded")
def maxpool_backward_zero_padded(x, kernel, stride, padding, grad_y):
    """The padding is 0, wins over negative pixels, and takes their gradient with it."""
    return unpad(maxpool_backward(pad(x, padding, 0), kernel, stride, 0, grad_y), padding)


@right
def avgpool_forward(x, kernel, stride, padding):
    return pooled(pad(x, padding), kernel, stride, np.mean)


@wrong("avgpool_forward", "sum instead of mean")
def avgpool_sum(x, kernel, stride, padding):
    """The sum of the window, not its mean."""
    return pooled(pad(x, padding), kernel, stride, np.sum)


@wrong("avgpool_forward", "padding not counted")
def avgpool_pixels_alone(x, kernel, stride, padding):
    """Divided by the pixels of the window, without its zeros of padding."""
    share = avgpool_forward(np.ones(x.shape), kernel, stride, padding)
    return avgpool_forward(x, kernel, stride, padding) / np.maximum(share, 1e-9)


@wrong("avgpool_forward", "wrong stride")
def avgpool_wrong_stride(x, kernel, stride, padding):
    """Windows lie side by side, whatever the stride."""
    return pooled(pad(x, padding), kernel, kernel[0], np.mean)


@right
def avgpool_backward(x, kernel, stride, padding, grad_y):
    grad_x = np.zeros(pad(x, padding).shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        grad_x[n, c, rows, columns] += grad_y[n, c, i, j] / (kernel[0] * kernel[1])
    return unpad(grad_x, padding)


@wrong("avgpool_backward", "sum instead of mean")
def avgpool_backward_sum(x, kernel, stride, padding, grad_y):
    """Each pixel gets the whole gradient, not its share."""
    return avgpool_backward(x, kernel, stride, padding, grad_y) * kernel[0] * kernel[1]


@wrong("avgpool_backward", "overlap overwritten")
def avgpool_backward_overwrites(x, kernel, stride, padding, grad_y):
    """= instead of +=: where windows overlap, the last one wins."""
    grad_x = np.zeros(pad(x, padding).shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, kernel, stride)
        grad_x[n, c, rows, columns] = grad_y[n, c, i, j] / (kernel[0] * kernel[1])
    return unpad(grad_x, padding)


@wrong("avgpool_backward", "padding not cut off")
def avgpool_backward_shifted(x, kernel, stride, padding, grad_y):
    """The corner of the padded gradient is returned: shifted by the padding."""
    H, W = x.shape[2:]
    return avgpool_backward(pad(x, padding), kernel, stride, 0, grad_y)[:, :, :H, :W]


# -- subsampling: each output reads 2x2 pixels -------------------------------------------------------------


def fours(x):
    """The sum of each 2x2 pixels; a last odd row or column is not read."""
    return pooled(x, (2, 2), 2, np.sum)


@right
def subsampling_forward(x, weight, bias):
    return weight[:, None, None] * fours(x) + bias[:, None, None]


@wrong("subsampling_forward", "mean instead of sum")
def subsampling_mean(x, weight, bias):
    """The weight is multiplied with the mean of the four, where their sum belongs."""
    return subsampling_forward(x, weight / 4, bias)


@wrong("subsampling_forward", "bias forgotten")
def subsampling_without_bias(x, weight, bias):
    """The bias is not added."""
    return subsampling_forward(x, weight, 0 * bias)


@wrong("subsampling_forward", "weight along the columns")
def subsampling_columns(x, weight, bias):
    """The weights and biases lie along the columns, one a column, where each channel has one: [:, None, None]."""
    return weight * fours(x) + bias


@wrong("subsampling_forward", "largest of the four")
def subsampling_max(x, weight, bias):
    """A max-pooling, as popular articles draw it."""
    return weight[:, None, None] * pooled(x, (2, 2), 2, np.max) + bias[:, None, None]


@right
def subsampling_backward(x, weight, bias, grad_y):
    grad_x = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        rows, columns = window(i, j, (2, 2), 2)
        grad_x[n, c, rows, columns] = weight[c] * grad_y[n, c, i, j]
    return grad_x, (grad_y * fours(x)).sum(axis=(0, 2, 3)), grad_y.sum(axis=(0, 2, 3))


@wrong("subsampling_backward", "weight forgotten")
def subsampling_backward_without_weight(x, weight, bias, grad_y):
    """grad_x: the gradient is not multiplied with the weight."""
    return subsampling_backward(x, np.ones(len(weight)), bias, grad_y)


@wrong("subsampling_backward", "a quarter for each")
def subsampling_backward_quarter(x, weight, bias, grad_y):
    """grad_x: each of the four pixels gets a quarter, as of a mean; of a sum each gets all."""
    grad_x, grad_weight, grad_bias = subsampling_backward(x, weight, bias, grad_y)
    return grad_x / 4, grad_weight, grad_bias


@wrong("subsampling_backward", "mean instead of sum")
def subsampling_backward_mean(x, weight, bias, grad_y):
    """grad_weight: the mean of the four, where their sum belongs."""
    grad_x, grad_weight, grad_bias = subsampling_backward(x, weight, bias, grad_y)
    return grad_x, grad_weight / 4, grad_bias


@wrong("subsampling_backward", "channels added up")
def subsampling_backward_channels(x, weight, bias, grad_y):
    """grad_bias: one number for all channels."""
    grad_x, grad_weight, grad_bias = subsampling_backward(x, weight, bias, grad_y)
    return grad_x, grad_weight, np.full(len(bias), grad_bias.sum())
