"""Batch normalisation in training: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong

CHANNEL = (0, 2, 3)  # N, H and W: the numbers of one channel


def each(channel):
    """(C,) beside (N, C, H, W)."""
    return channel[:, None, None]


def kept(old, momentum, new):
    return (1 - momentum) * old + momentum * new


def numbers(x):
    """m: how many numbers a channel has."""
    return x.size // x.shape[1]


@right
def batchnorm_forward(x, weight, bias, running_mean, running_var, eps, momentum):
    mean, variance, m = x.mean(axis=CHANNEL), x.var(axis=CHANNEL), numbers(x)
    y = each(weight) * (x - each(mean)) / np.sqrt(each(variance) + eps) + each(bias)
    return y, kept(running_mean, momentum, mean), kept(running_var, momentum, variance * m / (m - 1))


def with_y(y, x, weight, bias, running_mean, running_var, eps, momentum):
    """Another y, and the right running statistics."""
    return y, *batchnorm_forward(x, weight, bias, running_mean, running_var, eps, momentum)[1:]


@wrong("batchnorm_forward", "variance by m - 1")
def batchnorm_unbiased(x, weight, bias, running_mean, running_var, eps, momentum):
    """The variance that normalises is divided by m - 1: that belongs to the running one alone."""
    variance = x.var(axis=CHANNEL, ddof=1)
    y = each(weight) * (x - each(x.mean(axis=CHANNEL))) / np.sqrt(each(variance) + eps) + each(bias)
    return with_y(y, x, weight, bias, running_mean, running_var, eps, momentum)


@wrong("batchnorm_forward", "running variance by m")
def batchnorm_running_by_m(x, weight, bias, running_mean, running_var, eps, momentum):
    """The variance that is kept is the one that normalises, divided by m and not by m - 1."""
    y, mean, _ = batchnorm_forward(x, weight, bias, running_mean, running_var, eps, momentum)
    return y, mean, kept(running_var, momentum, x.var(axis=CHANNEL))


@wrong("batchnorm_forward", "eps outside the root")
def batchnorm_eps_outside(x, weight, bias, running_mean, running_var, eps, momentum):
    """sqrt(variance) + eps, where sqrt(variance + eps) belongs."""
    root = np.sqrt(x.var(axis=CHANNEL)) + eps
    y = each(weight) * (x - each(x.mean(axis=CHANNEL))) / each(root) + each(bias)
    return with_y(y, x, weight, bias, running_mean, running_var, eps, momentum)


@wrong("batchnorm_forward", "each picture on its own")
def batchnorm_of_pictures(x, weight, bias, running_mean, running_var, eps, momentum):
    """Mean and variance are those of one picture's channel, not of the channel in the whole batch."""
    mean, variance = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    y = each(weight) * (x - mean) / np.sqrt(variance + eps) + each(bias)
    return with_y(y, x, weight, bias, running_mean, running_var, eps, momentum)


@wrong("batchnorm_forward", "all channels together")
def batchnorm_of_all(x, weight, bias, running_mean, running_var, eps, momentum):
    """One mean and one variance for all channels."""
    y = each(weight) * (x - x.mean()) / np.sqrt(x.var() + eps) + each(bias)
    return with_y(y, x, weight, bias, running_mean, running_var, eps, momentum)


@wrong("batchnorm_forward", "not centred")
def batchnorm_not_centred(x, weight, bias, running_mean, running_var, eps, momentum):
    """The mean of the squares of x is taken for the variance: the mean is not subtracted first."""
    squares = (x * x).mean(axis=CHANNEL)
    y = each(weight) * (x - each(x.mean(axis=CHANNEL))) / np.sqrt(each(squares) + eps) + each(bias)
    return with_y(y, x, weight, bias, running_mean, running_var, eps, momentum)


@wrong("batchnorm_forward", "digits lost")
def batchnorm_digits_lost(x, weight, bias, running_mean, running_var, eps, momentum):
    """The variance as mean of x**2 minus mean**2: far from 0 these are nearly equal, and their digits cancel."""
    mean = x.mean(axis=CHANNEL)
    variance = np.maximum((x * x).mean(axis=CHANNEL) - mean**2, 0)
    y = each(weight) * (x - each(mean)) / np.sqrt(each(variance) + eps) + each(bias)
    return with_y(y, x, weight, bias, running_mean, running_var, eps, momentum)


@wrong("batchnorm_forward", "weight and bias swapped")
def batchnorm_swapped(x, weight, bias, running_mean, running_var, eps, momentum):
    """The bias multiplies and the weight is added."""
    return batchnorm_forward(x, bias, weight, running_mean, running_var, eps, momentum)


@wrong("batchnorm_forward", "momentum turned round")
def batchnorm_papers_momentum(x, weight, bias, running_mean, running_var, eps, momentum):
    """momentum is taken for the share of the old, as in the papers; here it is the share of the new."""
    return batchnorm_forward(x, weight, bias, running_mean, running_var, eps, 1 - momentum)


# -- backward ----------------------------------------------------------------------------------------------


def normalised(x, eps):
    """x normalised, and the scale 1 / sqrt(variance + eps), (C, 1, 1)."""
    scale = 1 / np.sqrt(each(x.var(axis=CHANNEL)) + eps)
    return (x - each(x.mean(axis=CHANNEL))) * scale, scale


def through_mean(grad):
    return grad.mean(axis=CHANNEL, keepdims=True)


def through_variance(grad, hat):
    return hat * (grad * hat).mean(axis=CHANNEL, keepdims=True)


@right
def batchnorm_backward(x, weight, bias, eps, grad_y):
    hat, scale = normalised(x, eps)
    grad = each(weight) * grad_y
    grad_x = scale * (grad - through_mean(grad) - through_variance(grad, hat))
    return grad_x, (grad_y * hat).sum(axis=CHANNEL), grad_y.sum(axis=CHANNEL)


def with_grad_x(grad_x, x, weight, bias, eps, grad_y):
    """Another grad_x, and the right gradients of weight and bias."""
    return grad_x, *batchnorm_backward(x, weight, bias, eps, grad_y)[1:]


@wrong("batchnorm_backward", "mean forgotten")
def batchnorm_backward_no_mean(x, weight, bias, eps, grad_y):
    """grad_x: the mean is taken for a constant, though every x has a part in it."""
    (hat, scale), grad = normalised(x, eps), each(weight) * grad_y
    return with_grad_x(scale * (grad - through_variance(grad, hat)), x, weight, bias, eps, grad_y)


@wrong("batchnorm_backward", "variance forgotten")
def batchnorm_backward_no_variance(x, weight, bias, eps, grad_y):
    """grad_x: the variance is taken for a constant, though every x has a part in it."""
    (_, scale), grad = normalised(x, eps), each(weight) * grad_y
    return with_grad_x(scale * (grad - through_mean(grad)), x, weight, bias, eps, grad_y)


@wrong("batchnorm_backward", "as in evaluation")
def batchnorm_backward_evaluation(x, weight, bias, eps, grad_y):
    """grad_x: mean and variance are both taken for constants, which they are in evaluation alone."""
    (_, scale), grad = normalised(x, eps), each(weight) * grad_y
    return with_grad_x(scale * grad, x, weight, bias, eps, grad_y)


@wrong("batchnorm_backward", "eps outside the root")
def batchnorm_backward_eps_outside(x, weight, bias, eps, grad_y):
    """sqrt(variance) + eps, where sqrt(variance + eps) belongs."""
    centred, root = x - each(x.mean(axis=CHANNEL)), np.sqrt(each(x.var(axis=CHANNEL)))
    hat, grad = centred / (root + eps), each(weight) * grad_y
    over_root = np.divide(centred, root, out=np.zeros(x.shape), where=root > 0)
    variance = over_root * (grad * hat).mean(axis=CHANNEL, keepdims=True)
    grad_x = (grad - through_mean(grad) - variance) / (root + eps)
    return grad_x, (grad_y * hat).sum(axis=CHANNEL), grad_y.sum(axis=CHANNEL)


@wrong("batchnorm_backward", "variance by m - 1")
def batchnorm_backward_unbiased(x, weight, bias, eps, grad_y):
    """The variance that normalises is divided by m - 1: that belongs to the running one alone."""
    m = numbers(x)
    scale = 1 / np.sqrt(each(x.var(axis=CHANNEL, ddof=1)) + eps)
    hat, grad = (x - each(x.mean(axis=CHANNEL))) * scale, each(weight) * grad_y
    grad_x = scale * (grad - through_mean(grad) - through_variance(grad, hat) * m / (m - 1))
    return grad_x, (grad_y * hat).sum(axis=CHANNEL), grad_y.sum(axis=CHANNEL)


@wrong("batchnorm_backward", "each picture on its own")
def batchnorm_backward_pictures(x, weight, bias, eps, grad_y):
    """grad_x: the means run over H and W of one picture, not over the batch."""
    (hat, scale), grad = normalised(x, eps), each(weight) * grad_y
    mean, variance = (part.mean(axis=(2, 3), keepdims=True) for part in (grad, grad * hat))
    return with_grad_x(scale * (grad - mean - hat * variance), x, weight, bias, eps, grad_y)


@wrong("batchnorm_backward", "weight forgotten")
def batchnorm_backward_no_weight(x, weight, bias, eps, grad_y):
    """grad_x: the gradient is not multiplied with the weight."""
    return batchnorm_backward(x, np.ones(len(weight)), bias, eps, grad_y)


@wrong("batchnorm_backward", "x in place of its normalised")
def batchnorm_backward_of_x(x, weight, bias, eps, grad_y):
    """grad_weight: grad_y times x, where x normalised belongs."""
    grad_x, _, grad_bias = batchnorm_backward(x, weight, bias, eps, grad_y)
    return grad_x, (grad_y * x).sum(axis=CHANNEL), grad_bias


@wrong("batchnorm_backward", "gradients swapped")
def batchnorm_backward_swapped(x, weight, bias, eps, grad_y):
    """grad_bias stands in grad_weight's place, and the other way round."""
    grad_x, grad_weight, grad_bias = batchnorm_backward(x, weight, bias, eps, grad_y)
    return grad_x, grad_bias, grad_weight


@wrong("batchnorm_backward", "mean instead of sum")
def batchnorm_backward_mean(x, weight, bias, eps, grad_y):
    """grad_weight and grad_bias: the mean over N, H and W, where the sum belongs."""
    grad_x, grad_weight, grad_bias = batchnorm_backward(x, weight, bias, eps, grad_y)
    return grad_x, grad_weight / numbers(x), grad_bias / numbers(x)


@wrong("batchnorm_backward", "summed along the wrong axes")
def batchnorm_backward_axes(x, weight, bias, eps, grad_y):
    """grad_weight and grad_bias: a sum over C, H and W, one for each picture."""
    hat, _ = normalised(x, eps)
    sums = (grad_y * hat).sum(axis=(1, 2, 3)), grad_y.sum(axis=(1, 2, 3))
    return batchnorm_backward(x, weight, bias, eps, grad_y)[0], *sums
