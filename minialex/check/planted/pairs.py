"""Forward and backward that agree, and are both wrong: a measured slope is content with them.

Backward is the derivative of its own forward, which is not the layer that was asked for. Only numbers from elsewhere
show it: worked out by hand, by a loop, or by another library. Each function here gives such a forward and backward.
"""

import numpy as np

from minialex.check.planted import batch_norm, crossing, joins, outputs, pooling, steps, units, windows
from minialex.check.planted.gates import gate_backward, gate_forward_order
from minialex.check.planted.registry import pair


@pair("conv2d", "kernel flipped in both")
def conv2d_flipped():
    """The kernel is turned round, as in a mathematician's convolution, and so is its gradient."""

    def forward(x, weight, bias, stride, padding):
        return windows.conv2d_forward(x, weight[:, :, ::-1, ::-1], bias, stride, padding)

    def backward(x, weight, bias, stride, padding, grad_y):
        turned = weight[:, :, ::-1, ::-1]
        grads = windows.conv2d_backward(x, turned, bias, stride, padding, grad_y)
        return grads[0], grads[1][:, :, ::-1, ::-1], grads[2]

    return forward, backward


@pair("im2col", "channels last in both")
def im2col_channels_last():
    """Rows in the order a, b, c, there and back: no longer the order of the weight, c, a, b."""

    def forward(x, kernel, stride):
        return windows.im2col_channels_last(x, kernel, stride)

    def backward(columns, x_shape, kernel, stride):
        N, C = x_shape[:2]
        columns = columns.reshape(N, kernel[0] * kernel[1], C, -1).swapaxes(1, 2)
        return windows.col2im(columns.reshape(N, -1, columns.shape[3]), x_shape, kernel, stride)

    return forward, backward


@pair("im2col", "down before across in both")
def im2col_down_first():
    """Windows are numbered down the columns of y instead of along its rows, there and back."""
    return windows.im2col_down_first, windows.col2im_swapped


@pair("maxpool", "zero-padded in both")
def maxpool_zero_padded():
    """The padding is 0: where it wins over negative pixels, it takes the gradient as well."""
    return pooling.maxpool_zero_padded, pooling.maxpool_backward_zero_padded


@pair("maxpool", "starts at zero in both")
def maxpool_starts_at_zero():
    """The search begins with 0: a window of negative pixels gives 0, and sends nothing back."""

    def backward(x, kernel, stride, padding, grad_y):
        passes = pooling.maxpool_forward(x, kernel, stride, padding) > 0
        return pooling.maxpool_backward(x, kernel, stride, padding, grad_y * passes)

    return pooling.maxpool_starts_at_zero, backward


@pair("avgpool", "sum instead of mean in both")
def avgpool_sum():
    """The sum of the window, and its gradient."""
    return pooling.avgpool_sum, pooling.avgpool_backward_sum


@pair("subsampling", "mean instead of sum in both")
def subsampling_mean():
    """The weight is multiplied with the mean of the four, there and back."""

    def backward(x, weight, bias, grad_y):
        grad_x, grad_weight, grad_bias = pooling.subsampling_backward(x, weight / 4, bias, grad_y)
        return grad_x, grad_weight / 4, grad_bias

    return pooling.subsampling_mean, backward


# -- activations, linear, normalisation ----------------------------------------------------------------


@pair("relu", "leaky in both")
def relu_leaky():
    """Below 0 a hundredth of x remains, and a hundredth of the gradient."""

    def backward(x, grad_y):
        return np.where(x > 0, grad_y, 0.01 * grad_y)

    return units.relu_leaky, backward


@pair("relu", "absolute value in both")
def relu_abs():
    """Negative numbers lose their sign, and turn their gradient round."""

    def backward(x, grad_y):
        return np.sign(x) * grad_y

    return units.relu_abs, backward


@pair("sigmoid", "sign lost in both")
def sigmoid_mirrored():
    """It falls where it should rise, and its slope is negative."""

    def backward(x, grad_y):
        return -units.sigmoid_backward(x, grad_y)

    return units.sigmoid_mirrored, backward


@pair("tanh", "half as steep in both")
def tanh_half():
    """2 * sigmoid(x) - 1, which is tanh(x / 2), and its slope."""

    def backward(x, grad_y):
        return units.tanh_backward(x / 2, grad_y) / 2

    return units.tanh_half, backward


@pair("tanh", "arctangent in both")
def tanh_arctan():
    """The arctangent, and its slope 1 / (1 + x**2)."""

    def backward(x, grad_y):
        return grad_y / (1 + x**2)

    return units.tanh_arctan, backward


@pair("linear", "bias left out in both")
def linear_without_bias():
    """The bias is not added, and its gradient is 0."""

    def backward(x, weight, bias, grad_y):
        grad_x, grad_weight, grad_bias = units.linear_backward(x, weight, bias, grad_y)
        return grad_x, grad_weight, 0 * grad_bias

    return units.linear_without_bias, backward


@pair("linear", "mean over the inputs in both")
def linear_mean():
    """The products are averaged over the inputs, where their sum belongs, there and back."""

    def forward(x, weight, bias):
        return units.linear_forward(x, weight / x.shape[1], bias)

    def backward(x, weight, bias, grad_y):
        grad_x, grad_weight, grad_bias = units.linear_backward(x, weight, bias, grad_y)
        return grad_x / x.shape[1], grad_weight / x.shape[1], grad_bias

    return forward, backward


@pair("lrn", "alpha divided by size in both")
def lrn_divided():
    """alpha / size, there and back, as in PyTorch and Caffe: the paper does not divide."""

    def backward(x, size, alpha, beta, k, grad_y):
        return units.lrn_backward(x, size, alpha / size, beta, k, grad_y)

    return units.lrn_divided, backward


@pair("batchnorm", "variance by m - 1 in both")
def batchnorm_unbiased():
    """The variance that normalises is divided by m - 1, there and back."""
    return batch_norm.batchnorm_unbiased, batch_norm.batchnorm_backward_unbiased


# -- loss, dropout, towers, blocks ---------------------------------------------------------------------


@pair("softmax_cross_entropy", "summed in both")
def loss_summed():
    """The sum over the batch, and its gradient, where the mean belongs."""
    return steps.loss_summed, steps.loss_backward_summed


@pair("rbf", "mean instead of sum in both")
def rbf_mean():
    """The mean over the D numbers of a code, there and back."""

    def backward(x, codes, grad_y):
        return outputs.rbf_backward(x, codes, grad_y) / x.shape[1]

    return outputs.rbf_mean, backward


@pair("map_loss", "rubbish forgotten in both")
def map_loss_no_rubbish():
    """Without exp(-j), there and back: this is the cross-entropy."""
    return outputs.map_loss_no_rubbish, outputs.map_loss_backward_no_rubbish


@pair("dropout", "not scaled in both")
def dropout_not_scaled():
    """The 1 / (1 - p) of inverted dropout is missing, there and back."""
    return steps.dropout_not_scaled, steps.dropout_backward_not_scaled


@pair("exchange", "each its own first in both")
def exchange_own_first():
    """The second tower puts its own channels first, and cuts its gradient in that order."""

    def backward(grad_y0, grad_y1, channels0):
        channels1 = grad_y1.shape[1] - channels0
        turned = np.concatenate([grad_y1[:, channels1:], grad_y1[:, :channels1]], axis=1)
        return steps.exchange_backward(grad_y0, turned, channels0)

    return steps.exchange_own_first, backward


@pair("device_exchange", "each its own first in both")
def device_exchange_own_first():
    """Device 1 puts its own channels first, and cuts its gradient in that order."""

    def backward(grad_y0, grad_y1, channels0, send):
        channels1 = grad_y1.shape[1] - channels0
        turned = np.concatenate([grad_y1[:, channels1:], grad_y1[:, :channels1]], axis=1)
        return crossing.device_exchange_backward(grad_y0, turned, channels0, send)

    return crossing.device_exchange_own_first, backward


@pair("bottleneck", "ReLU before the addition in both")
def bottleneck_relu_before():
    """The last ReLU acts on the body alone, before the shortcut is added, there and back."""

    def backward(x, weight1, weight2, weight3, projection, stride, grad_y):
        z = joins.passes(x, weight1, weight2, weight3, projection, stride)
        last = joins.conv(joins.relu(z[1]), weight3)
        body = joins.body_back(x, weight1, weight2, weight3, stride, z, joins.masked(grad_y, last))
        return joins.joined(body, joins.conv_back(x, projection, grad_y, stride))

    return joins.bottleneck_relu_before, backward


@pair("gate", "order turned round in both")
def gate_order():
    """The last gate is given to the first source, and gets its gradient."""

    def backward(x, gates, sizes, grad_y):
        grad_x, grad_gates = gate_backward(x, gates[::-1], sizes, grad_y)
        return grad_x, grad_gates[::-1]

    return gate_forward_order, backward
