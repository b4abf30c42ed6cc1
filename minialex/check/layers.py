"""The checks of layers: convolution, im2col, pooling, activations, linear, normalisation.

Arrays are float64; kernel is a pair (kh, kw); stride and padding are whole numbers, for height and width alike.
The right answers are the loops of `minialex.naive`.
"""

import numpy as np

from minialex import naive
from minialex.check import cases
from minialex.check.planted.units import sum_near
from minialex.check.search import by_entries, by_magnitudes, compared, search
from minialex.check.verdict import Verdict


def conv2d_forward(f) -> Verdict:
    """f(x, weight, bias, stride, padding) -> y

    y[n, f, i, j] = bias[f] + sum over c, a, b of weight[f, c, a, b] * padded[n, c, i*stride + a, j*stride + b]

    x (N, C, H, W), weight (F, C, kh, kw), bias (F,), y (N, F, OH, OW), OH = 1 + (H + 2*padding - kh) // stride.
    """

    def size(x, weight, bias, stride, padding):  # whether or not a window reads the largest pixel
        return np.abs(x).max() * np.abs(weight).sum(axis=(1, 2, 3)).max() + np.abs(bias).max()

    return search("conv2d_forward", f, cases.convolution, compared("y", naive.conv2d, size), "y")


def conv2d_backward(f) -> Verdict:
    """f(x, weight, bias, stride, padding, grad_y) -> (grad_x, grad_weight, grad_bias)

    grad_x[n, c, i*stride + a - padding, ...] += weight[f, c, a, b] * grad_y[n, f, i, j]
    grad_weight[f, c, a, b] = sum over n, i, j of padded[n, c, i*stride + a, j*stride + b] * grad_y[n, f, i, j]
    grad_bias[f] = sum over n, i, j of grad_y[n, f, i, j]

    x (N, C, H, W), weight (F, C, kh, kw), bias (F,), grad_y (N, F, OH, OW); the gradients are shaped as x, weight
    and bias.
    """

    def expected(x, weight, bias, stride, padding, grad_y):
        return naive.conv2d_backward(x, weight, grad_y, stride, padding)

    names = "grad_x grad_weight grad_bias"
    return search("conv2d_backward", f, cases.convolution_backward, by_magnitudes(names, expected), names)


def im2col(f) -> Verdict:
    """f(x, kernel, stride) -> columns

    columns[n, (c, a, b), (i, j)] = x[n, c, i*stride + a, j*stride + b]

    x (N, C, H, W), padded already; columns (N, C*kh*kw, OH*OW): rows in the order c, a, b, columns in the order
    i, j, as PyTorch's unfold.
    """

    def expected(x, kernel, stride):
        columns = np.moveaxis(naive.im2col(x, kernel, stride), -1, 0)  # (N, C, kh, kw, OH, OW)
        return columns.reshape(len(x), x.shape[1] * kernel[0] * kernel[1], -1)

    return search("im2col", f, cases.im2col, by_entries("columns", expected), "columns")


def col2im(f) -> Verdict:
    """f(columns, x_shape, kernel, stride) -> grad_x

    grad_x[n, c, i*stride + a, j*stride + b] += columns[n, (c, a, b), (i, j)]

    im2col turned round: a pixel that several windows read gets the sum of what comes back.
    columns (N, C*kh*kw, OH*OW), x_shape (N, C, H, W), grad_x of x_shape.
    """

    def expected(columns, x_shape, kernel, stride):
        N, C = x_shape[:2]
        size = cases.out(np.empty(x_shape), kernel, stride)
        columns = np.moveaxis(columns.reshape(N, C, *kernel, *size), 0, -1)
        return naive.col2im(columns, x_shape, stride)

    return search("col2im", f, cases.col2im, by_entries("grad_x", expected, "columns"), "grad_x")


# -- pooling -----------------------------------------------------------------------------------------------


def maxpool_forward(f) -> Verdict:
    """f(x, kernel, stride, padding) -> y

    y[n, c, i, j] = max over a, b of padded[n, c, i*stride + a, j*stride + b]; the padding is minus infinity

    x (N, C, H, W), y (N, C, OH, OW).
    """
    judge = by_entries("y", _renamed(naive.max_pool2d))
    return search("maxpool_forward", f, cases.max_pooling, judge, "y")


def maxpool_backward(f) -> Verdict:
    """f(x, kernel, stride, padding, grad_y) -> grad_x

    grad_y[n, c, i, j] is added, whole, to the largest pixel of its window; in a tie to the first in row order

    x and grad_x (N, C, H, W), grad_y (N, C, OH, OW). No gradient may end in the padding.
    """
    judge = by_entries("grad_x", _renamed(naive.max_pool2d_backward), "grad_y")
    return search("maxpool_backward", f, cases.max_pooling_backward, judge, "grad_x")


def avgpool_forward(f) -> Verdict:
    """f(x, kernel, stride, padding) -> y

    y[n, c, i, j] = mean over a, b of padded[n, c, i*stride + a, j*stride + b]; the padding's zeros count

    x (N, C, H, W), y (N, C, OH, OW).
    """
    return search("avgpool_forward", f, cases.pooling, by_magnitudes("y", _renamed(naive.avg_pool2d)), "y")


def avgpool_backward(f) -> Verdict:
    """f(x, kernel, stride, padding, grad_y) -> grad_x

    grad_y[n, c, i, j] / (kh*kw) is added to each pixel of its window

    x and grad_x (N, C, H, W), grad_y (N, C, OH, OW).
    """
    judge = by_entries("grad_x", _renamed(naive.avg_pool2d_backward), "grad_y")
    return search("avgpool_backward", f, cases.pooling_backward, judge, "grad_x")


def _renamed(operation):
    """naive's poolings call `kernel` kernel_size."""
    return lambda kernel, **others: operation(kernel_size=kernel, **others)


def subsampling_forward(f) -> Verdict:
    """f(x, weight, bias) -> y

    y[n, c, i, j] = weight[c] * (x[2i, 2j] + x[2i, 2j+1] + x[2i+1, 2j] + x[2i+1, 2j+1]) + bias[c]

    with x[n, c] for x; 1998's. x (N, C, H, W), weight and bias (C,), y (N, C, H//2, W//2): a last odd row or
    column is not read.
    """
    return search("subsampling_forward", f, cases.subsampling, by_magnitudes("y", naive.subsampling), "y")


def subsampling_backward(f) -> Verdict:
    """f(x, weight, bias, grad_y) -> (grad_x, grad_weight, grad_bias)

    each of the four pixels gets weight[c] * grad_y[n, c, i, j]
    grad_weight[c] = sum over n, i, j of grad_y[n, c, i, j] * the sum of the four
    grad_bias[c] = sum over n, i, j of grad_y[n, c, i, j]

    x (N, C, H, W), weight and bias (C,), grad_y (N, C, H//2, W//2); the gradients are shaped as x, weight and bias.
    """
    names = "grad_x grad_weight grad_bias"
    judge = by_entries(names, _without_bias(naive.subsampling_backward), "x grad_y")
    return search("subsampling_backward", f, cases.subsampling_backward, judge, names)


def _without_bias(backward):
    """A bias has no part in any gradient: naive's backwards do not take it."""
    return lambda x, weight, bias, grad_y: backward(x, weight, grad_y)


# -- activations -------------------------------------------------------------------------------------------


def relu_forward(f) -> Verdict:
    """f(x) -> y

    y = max(x, 0), entry by entry
    """
    return search("relu_forward", f, cases.elementwise_huge, by_entries("y", naive.relu), "y")


def relu_backward(f) -> Verdict:
    """f(x, grad_y) -> grad_x

    grad_x = grad_y where x > 0, else 0: at x = 0 too

    x, grad_y and grad_x of one shape.
    """
    judge = by_entries("grad_x", naive.relu_backward)
    return search("relu_backward", f, cases.elementwise_huge_backward, judge, "grad_x")


def sigmoid_forward(f) -> Verdict:
    """f(x) -> y

    y = 1 / (1 + exp(-x)), entry by entry; -1000 is no problem: it gives 0
    """
    return search(
        "sigmoid_forward", f, cases.large_or_small, compared("y", naive.sigmoid, lambda x: 1.0), "y"
    )


def sigmoid_backward(f) -> Verdict:
    """f(x, grad_y) -> grad_x

    grad_x = grad_y * y * (1 - y)  with  y = 1 / (1 + exp(-x))

    x (not y) is given, as large as 1000 too; x, grad_y and grad_x of one shape.
    """
    judge = compared("grad_x", naive.sigmoid_backward, lambda x, grad_y: np.abs(grad_y).max())
    return search("sigmoid_backward", f, cases.elementwise_backward, judge, "grad_x")


def tanh_forward(f) -> Verdict:
    """f(x) -> y

    y = tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), entry by entry; 1000 is no problem: it gives 1
    """
    return search("tanh_forward", f, cases.large_or_small, compared("y", naive.tanh, lambda x: 1.0), "y")


def tanh_backward(f) -> Verdict:
    """f(x, grad_y) -> grad_x

    grad_x = grad_y * (1 - tanh(x)**2)

    x (not y) is given, as large as 1000 too; x, grad_y and grad_x of one shape.
    """
    judge = compared("grad_x", naive.tanh_backward, lambda x, grad_y: np.abs(grad_y).max())
    return search("tanh_backward", f, cases.elementwise_backward, judge, "grad_x")


# -- linear, normalisation ---------------------------------------------------------------------------------


def linear_forward(f) -> Verdict:
    """f(x, weight, bias) -> y

    y[n, o] = bias[o] + sum over d of weight[o, d] * x[n, d]

    x (N, in), weight (out, in), bias (out,), y (N, out).
    """
    return search("linear_forward", f, cases.linear, by_magnitudes("y", naive.linear), "y")


def linear_backward(f) -> Verdict:
    """f(x, weight, bias, grad_y) -> (grad_x, grad_weight, grad_bias)

    grad_x[n, d] = sum over o of grad_y[n, o] * weight[o, d]
    grad_weight[o, d] = sum over n of grad_y[n, o] * x[n, d];  grad_bias[o] = sum over n of grad_y[n, o]

    x (N, in), weight (out, in), bias (out,), grad_y (N, out); the gradients are shaped as x, weight and bias.
    """
    names = "grad_x grad_weight grad_bias"
    judge = by_magnitudes(names, _without_bias(naive.linear_backward))
    return search("linear_backward", f, cases.linear_backward, judge, names)


def lrn_forward(f) -> Verdict:
    """f(x, size, alpha, beta, k) -> y

    y[n, c, i, j] = x[n, c, i, j] / s[n, c, i, j]**beta,  s = k + alpha * sum over m of x[n, m, i, j]**2

    m: the `size` channels (an odd number) around c that exist. alpha is not divided by size: 2012, section 3.3.
    x and y (N, C, H, W).
    """

    def size(**case):
        return np.abs(naive.local_response_norm(**case)).max()  # nothing is taken off anything

    return search("lrn_forward", f, cases.normalisation, compared("y", naive.local_response_norm, size), "y")


def lrn_backward(f) -> Verdict:
    """f(x, size, alpha, beta, k, grad_y) -> grad_x

    grad_x[c] = grad_y[c] * s[c]**-beta - 2*alpha*beta * x[c] * sum over m near c of grad_y[m] * x[m] * s[m]**(-beta-1)

    at each n, i, j; s as in lrn_forward. x, grad_y and grad_x (N, C, H, W).
    """

    def size(x, size, alpha, beta, k, grad_y):
        s = k + alpha * sum_near(x**2, size)
        cross = 2 * alpha * beta * np.abs(x) * sum_near(np.abs(grad_y * x) * s ** (-beta - 1), size)
        return np.max(np.abs(grad_y) * s**-beta + cross)

    judge = compared("grad_x", naive.local_response_norm_backward, size)
    return search("lrn_backward", f, cases.normalisation_backward, judge, "grad_x")
