"""Activations, linear layers and local response normalisation: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


@right
def relu_forward(x):
    return np.maximum(x, 0)


@wrong("relu_forward", "absolute value")
def relu_abs(x):
    """Negative numbers lose their sign instead of becoming 0."""
    return np.abs(x)


@wrong("relu_forward", "leaky")
def relu_leaky(x):
    """Below 0 a hundredth of x remains."""
    return np.where(x > 0, x, 0.01 * x)


@wrong("relu_forward", "mask instead of value")
def relu_mask(x):
    """1 where x is positive: the derivative, not the function."""
    return (x > 0) * 1.0


@right
def relu_backward(x, grad_y):
    return np.where(x > 0, grad_y, 0)


@wrong("relu_backward", "forward's sign")
def relu_backward_sign(x, grad_y):
    """The gradient passes where grad_y is positive, not where x is."""
    return np.maximum(grad_y, 0)


@wrong("relu_backward", "1 at zero")
def relu_backward_at_zero(x, grad_y):
    """It lets the gradient pass at x = 0, where nothing passes."""
    return np.where(x >= 0, grad_y, 0)


@wrong("relu_backward", "mask forgotten")
def relu_backward_without_mask(x, grad_y):
    """The gradient passes everywhere."""
    return grad_y.copy()


@right
def sigmoid_forward(x):
    small = np.exp(-np.abs(x))  # at most 1: nothing overflows
    return np.where(x >= 0, 1, small) / (1 + small)


@wrong("sigmoid_forward", "overflow")
def sigmoid_overflows(x):
    """exp(x) / (1 + exp(x)) is inf / inf = nan for large x."""
    return np.exp(x) / (1 + np.exp(x))


@wrong("sigmoid_forward", "sign lost")
def sigmoid_mirrored(x):
    """exp(x) where exp(-x) belongs: it falls where it should rise."""
    return sigmoid_forward(-x)


@wrong("sigmoid_forward", "cut off")
def sigmoid_clipped(x):
    """A straight line between -2 and 2, flat outside."""
    return np.clip(0.5 + x / 4, 0, 1)


@right
def sigmoid_backward(x, grad_y):
    y = sigmoid_forward(x)
    return grad_y * y * (1 - y)


@wrong("sigmoid_backward", "x for y")
def sigmoid_backward_x(x, grad_y):
    """x * (1 - x), where y * (1 - y) belongs."""
    return grad_y * x * (1 - x)


@wrong("sigmoid_backward", "grad_y forgotten")
def sigmoid_backward_alone(x, grad_y):
    """The layer's own derivative, without the gradient from above."""
    return sigmoid_backward(x, np.ones(x.shape))


@wrong("sigmoid_backward", "tanh's")
def sigmoid_backward_tanh(x, grad_y):
    """1 - y**2: the derivative of tanh."""
    return grad_y * (1 - sigmoid_forward(x) ** 2)


@right
def tanh_forward(x):
    return np.tanh(x)


@wrong("tanh_forward", "arctangent")
def tanh_arctan(x):
    """The arctangent, as some articles read the name."""
    return np.arctan(x)


@wrong("tanh_forward", "overflow")
def tanh_overflows(x):
    """Straight from the definition: inf / inf = nan for large x."""
    return (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))


@wrong("tanh_forward", "half as steep")
def tanh_half(x):
    """2 * sigmoid(x) - 1, which is tanh(x / 2)."""
    return np.tanh(x / 2)


@right
def tanh_backward(x, grad_y):
    return grad_y * (1 - np.tanh(x) ** 2)


@wrong("tanh_backward", "x for y")
def tanh_backward_x(x, grad_y):
    """1 - x**2, where 1 - y**2 belongs."""
    return grad_y * (1 - x**2)


@wrong("tanh_backward", "sigmoid's")
def tanh_backward_sigmoid(x, grad_y):
    """y * (1 - y): the derivative of the sigmoid."""
    y = np.tanh(x)
    return grad_y * y * (1 - y)


@wrong("tanh_backward", "square forgotten")
def tanh_backward_linear(x, grad_y):
    """1 - y, where 1 - y**2 belongs."""
    return grad_y * (1 - np.tanh(x))


@wrong("tanh_backward", "grad_y forgotten")
def tanh_backward_alone(x, grad_y):
    """The layer's own derivative, without the gradient from above."""
    return 1 - np.tanh(x) ** 2


# -- linear ------------------------------------------------------------------------------------------------


@right
def linear_forward(x, weight, bias):
    return x @ weight.T + bias


@wrong("linear_forward", "bias forgotten")
def linear_without_bias(x, weight, bias):
    """The bias is not added."""
    return x @ weight.T


@wrong("linear_forward", "wrong way round")
def linear_transposed(x, weight, bias):
    """x @ weight: it fits only where a layer has as many inputs as outputs, and is wrong there too."""
    return x @ weight + bias


@wrong("linear_forward", "bias for each picture")
def linear_bias_rows(x, weight, bias):
    """The first bias is added to all outputs."""
    return x @ weight.T + bias[0]


@right
def linear_backward(x, weight, bias, grad_y):
    return grad_y @ weight, grad_y.T @ x, grad_y.sum(axis=0)


@wrong("linear_backward", "mean instead of sum")
def linear_backward_mean(x, weight, bias, grad_y):
    """grad_weight and grad_bias: the mean over the batch, where its sum belongs."""
    return grad_y @ weight, grad_y.T @ x / len(x), grad_y.mean(axis=0)


@wrong("linear_backward", "transposed weight gradient")
def linear_backward_transposed(x, weight, bias, grad_y):
    """grad_weight comes out as (in, out)."""
    return grad_y @ weight, x.T @ grad_y, grad_y.sum(axis=0)


@wrong("linear_backward", "bias summed along the wrong axis")
def linear_backward_axis(x, weight, bias, grad_y):
    """grad_bias: a sum for each picture, not for each output."""
    return grad_y @ weight, grad_y.T @ x, grad_y.sum(axis=1)


# -- local response normalisation --------------------------------------------------------------------------


def near(c, size):
    """The channels c - size//2 ... c + size//2; a slice ends by itself at the last channel."""
    return slice(max(0, c - size // 2), c + size // 2 + 1)


def sum_near(x, size):
    """Each channel replaced by the sum of those around it."""
    return np.stack([x[:, near(c, size)].sum(axis=1) for c in range(x.shape[1])], axis=1)


@right
def lrn_forward(x, size, alpha, beta, k):
    s = k + alpha * sum_near(x**2, size)
    return x / s**beta


@wrong("lrn_forward", "alpha divided by size")
def lrn_divided(x, size, alpha, beta, k):
    """alpha / size, as in PyTorch and Caffe: the paper does not divide."""
    return lrn_forward(x, size, alpha / size, beta, k)


@wrong("lrn_forward", "power forgotten")
def lrn_without_power(x, size, alpha, beta, k):
    """x / s: beta is not used."""
    return lrn_forward(x, size, alpha, 1.0, k)


@wrong("lrn_forward", "own channel alone")
def lrn_own_channel(x, size, alpha, beta, k):
    """The sum does not run over the neighbours."""
    return lrn_forward(x, 1, alpha, beta, k)


@wrong("lrn_forward", "round the corner")
def lrn_wraps(x, size, alpha, beta, k):
    """The first channel takes the last for its neighbour."""
    near = range(-(size // 2), size // 2 + 1)
    return x / (k + alpha * sum(np.roll(x**2, shift, axis=1) for shift in near)) ** beta


@right
def lrn_backward(x, size, alpha, beta, k, grad_y):
    s = k + alpha * sum_near(x**2, size)
    cross = sum_near(grad_y * x * s ** (-beta - 1), size)
    return grad_y * s**-beta - 2 * alpha * beta * x * cross


@wrong("lrn_backward", "without its cross term")
def lrn_backward_no_cross(x, size, alpha, beta, k, grad_y):
    """s is taken for a constant."""
    return grad_y * (k + alpha * sum_near(x**2, size)) ** -beta


@wrong("lrn_backward", "cross term of its own channel alone")
def lrn_backward_own_cross(x, size, alpha, beta, k, grad_y):
    """The gradients of the neighbours are forgotten, in whose s x[c] stands too."""
    s = k + alpha * sum_near(x**2, size)
    return grad_y * s**-beta - 2 * alpha * beta * x * grad_y * x * s ** (-beta - 1)


@wrong("lrn_backward", "2 forgotten")
def lrn_backward_half(x, size, alpha, beta, k, grad_y):
    """The derivative of x**2 is taken for x."""
    whole = lrn_backward(x, size, alpha, beta, k, grad_y)
    return (whole + lrn_backward_no_cross(x, size, alpha, beta, k, grad_y)) / 2
