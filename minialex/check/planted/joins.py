"""Where paths meet: concatenation, addition, and the bottleneck that ends in one: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong
from minialex.check.planted.windows import pad, unpad


@right
def concat_backward(grad_y, channels):
    a, b, _ = channels
    return grad_y[:, :a], grad_y[:, a : a + b], grad_y[:, a + b :]


@wrong("concat_backward", "wrong order")
def concat_backward_order(grad_y, channels):
    """The slices are taken from the last path to the first."""
    return concat_backward(grad_y, channels[::-1])[::-1]


@wrong("concat_backward", "parts of one size")
def concat_backward_thirds(grad_y, channels):
    """Cut into three equal parts, whatever the paths made: right for paths of equal width."""
    third = grad_y.shape[1] // 3
    return grad_y[:, :third], grad_y[:, third : 2 * third], grad_y[:, 2 * third :]


@wrong("concat_backward", "sizes taken for places")
def concat_backward_split(grad_y, channels):
    """np.split(grad_y, channels): it wants the places to cut at, a and a + b, not how wide the parts are."""
    a, b, _ = channels
    return grad_y[:, :a], grad_y[:, a:b], grad_y[:, b:]


@wrong("concat_backward", "every slice from the start")
def concat_backward_start(grad_y, channels):
    """The place does not move on: every path gets the first path's channels."""
    return tuple(grad_y[:, :count] for count in channels)


@wrong("concat_backward", "views of one array")
def concat_backward_one_array(grad_y, channels):
    """All three are views of one array, into which each part is written over the part before."""
    shared, first, parts = np.empty_like(grad_y), 0, []
    for count in channels:
        part = shared[:, :count]
        part[...] = grad_y[:, first : first + count]
        parts.append(part)
        first += count
    return tuple(parts)


@right
def add_backward(body, factor, grad_y):
    return grad_y + body(factor * grad_y)


@wrong("add_backward", "shortcut forgotten")
def add_backward_no_shortcut(body, factor, grad_y):
    """The gradient of the body alone: x also reaches y as it is."""
    return body(factor * grad_y)


@wrong("add_backward", "body forgotten")
def add_backward_no_body(body, factor, grad_y):
    """The gradient of the shortcut alone."""
    return grad_y.copy()


@wrong("add_backward", "halved")
def add_backward_halved(body, factor, grad_y):
    """The gradient is shared out, half to each path: an addition hands it to both, whole."""
    return add_backward(body, factor, grad_y / 2)


@wrong("add_backward", "factor forgotten")
def add_backward_no_factor(body, factor, grad_y):
    """The body's gradient is not multiplied with the factor."""
    return grad_y + body(grad_y)


@wrong("add_backward", "factor on both")
def add_backward_factor_on_both(body, factor, grad_y):
    """The factor reaches the shortcut too: both paths hold one array, and it is written into."""
    of_shortcut = of_body = grad_y.copy()
    of_body *= factor
    return of_shortcut + body(of_body)


@wrong("add_backward", "written into")
def add_backward_written(body, factor, grad_y):
    """The sum is written into grad_y itself: right numbers, but whoever else holds that array has others now."""
    grad_x = grad_y
    grad_x += body(factor * grad_y)
    return grad_x


# -- the bottleneck ----------------------------------------------------------------------------------------


def relu(x):
    return np.maximum(x, 0)


def taps(x, weight, stride):
    """Each place of the kernel, the pixels that lie under it, and x padded, so that a stride of 1 keeps the size."""
    side = weight.shape[2]
    padded = pad(x, side // 2)
    OH, OW = (1 + (length - 1) // stride for length in x.shape[2:])
    for a, b in np.ndindex(side, side):
        rows, columns = slice(a, a + stride * OH, stride), slice(b, b + stride * OW, stride)
        yield (..., a, b), (..., rows, columns), padded


def conv(x, weight, stride=1):
    """Without a bias."""
    return sum(
        np.einsum("fc,nchw->nfhw", weight[tap], padded[under])
        for tap, under, padded in taps(x, weight, stride)
    )


def conv_back(x, weight, grad_y, stride=1):
    """grad_x, grad_weight"""
    side = weight.shape[2] // 2
    grad_padded, grad_weight = np.zeros(pad(x, side).shape), np.zeros(weight.shape)
    for tap, under, padded in taps(x, weight, stride):
        grad_padded[under] += np.einsum("fc,nfhw->nchw", weight[tap], grad_y)
        grad_weight[tap] = np.einsum("nfhw,nchw->fc", grad_y, padded[under])
    return unpad(grad_padded, side), grad_weight


def body_of(x, weight1, weight2, weight3, stride):
    return conv(relu(conv(relu(conv(x, weight1)), weight2, stride)), weight3)


@right
def bottleneck_forward(x, weight1, weight2, weight3, projection, stride):
    return relu(body_of(x, weight1, weight2, weight3, stride) + conv(x, projection, stride))


@wrong("bottleneck_forward", "ReLU before the addition")
def bottleneck_relu_before(x, weight1, weight2, weight3, projection, stride):
    """The last ReLU acts on the body alone, before the shortcut is added."""
    return relu(body_of(x, weight1, weight2, weight3, stride)) + conv(x, projection, stride)


@wrong("bottleneck_forward", "last ReLU missing")
def bottleneck_no_last_relu(x, weight1, weight2, weight3, projection, stride):
    """The ReLU after the addition is missing."""
    return body_of(x, weight1, weight2, weight3, stride) + conv(x, projection, stride)


@wrong("bottleneck_forward", "second ReLU missing")
def bottleneck_no_second_relu(x, weight1, weight2, weight3, projection, stride):
    """The ReLU between the 3x3 and the last 1x1 is missing."""
    body = conv(conv(relu(conv(x, weight1)), weight2, stride), weight3)
    return relu(body + conv(x, projection, stride))


@wrong("bottleneck_forward", "stride in the first 1x1")
def bottleneck_stride_first(x, weight1, weight2, weight3, projection, stride):
    """The first 1x1 has the stride, as in the paper; here, as in torchvision, the 3x3 has it."""
    body = conv(relu(conv(relu(conv(x, weight1, stride)), weight2)), weight3)
    return relu(body + conv(x, projection, stride))


@wrong("bottleneck_forward", "shortcut without projection")
def bottleneck_no_projection(x, weight1, weight2, weight3, projection, stride):
    """The shortcut is x itself, cut and filled up with zeros until it fits: the projection is not used."""
    body, shortcut = body_of(x, weight1, weight2, weight3, stride), x[:, :, ::stride, ::stride]
    padded, maps = np.zeros(body.shape), min(x.shape[1], body.shape[1])
    padded[:, :maps] = shortcut[:, :maps]
    return relu(body + padded)


@wrong("bottleneck_forward", "shortcut forgotten")
def bottleneck_no_shortcut(x, weight1, weight2, weight3, projection, stride):
    """Nothing is added: a plain network."""
    return relu(body_of(x, weight1, weight2, weight3, stride))


def passes(x, weight1, weight2, weight3, projection, stride):
    """What the ReLUs get: from the first 1x1, from the 3x3, from the addition."""
    first = conv(x, weight1)
    second = conv(relu(first), weight2, stride)
    return first, second, conv(relu(second), weight3) + conv(x, projection, stride)


def masked(grad, z):
    """Backward of a ReLU of z."""
    return np.where(z > 0, grad, 0)


def body_back(x, weight1, weight2, weight3, stride, z, grad):
    """grad_x by way of the body, and the gradients of its weights; z: what the ReLUs get."""
    first, second, _ = z
    grad, grad_weight3 = conv_back(relu(second), weight3, grad)
    grad, grad_weight2 = conv_back(relu(first), weight2, masked(grad, second), stride)
    grad, grad_weight1 = conv_back(x, weight1, masked(grad, first))
    return grad, grad_weight1, grad_weight2, grad_weight3


def joined(body, shortcut):
    (grad_x, *grad_weights), (grad_shortcut, grad_projection) = body, shortcut
    return grad_x + grad_shortcut, *grad_weights, grad_projection


@right
def bottleneck_backward(x, weight1, weight2, weight3, projection, stride, grad_y):
    z = passes(x, weight1, weight2, weight3, projection, stride)
    grad = masked(grad_y, z[2])
    body = body_back(x, weight1, weight2, weight3, stride, z, grad)
    return joined(body, conv_back(x, projection, grad, stride))


@wrong("bottleneck_backward", "shortcut forgotten")
def bottleneck_backward_no_shortcut(x, weight1, weight2, weight3, projection, stride, grad_y):
    """grad_x is the body's alone: what the shortcut gives back is not added."""
    z = passes(x, weight1, weight2, weight3, projection, stride)
    grad = masked(grad_y, z[2])
    body = body_back(x, weight1, weight2, weight3, stride, z, grad)
    return *body, conv_back(x, projection, grad, stride)[1]


@wrong("bottleneck_backward", "shortcut not projected")
def bottleneck_backward_no_projection(x, weight1, weight2, weight3, projection, stride, grad_y):
    """grad_x gets the sum's gradient as it is, where it fits: it does not go back through the projection."""
    z = passes(x, weight1, weight2, weight3, projection, stride)
    grad = masked(grad_y, z[2])
    (grad_x, *grads), spread = body_back(x, weight1, weight2, weight3, stride, z, grad), np.zeros(x.shape)
    maps = min(x.shape[1], grad.shape[1])
    spread[:, :maps, ::stride, ::stride] = grad[:, :maps]
    return grad_x + spread, *grads, conv_back(x, projection, grad, stride)[1]


@wrong("bottleneck_backward", "last mask forgotten")
def bottleneck_backward_no_last_mask(x, weight1, weight2, weight3, projection, stride, grad_y):
    """The gradient passes the ReLU after the addition as if it were not there."""
    z = passes(x, weight1, weight2, weight3, projection, stride)
    body = body_back(x, weight1, weight2, weight3, stride, z, grad_y)
    return joined(body, conv_back(x, projection, grad_y, stride))


@wrong("bottleneck_backward", "shortcut round the ReLU")
def bottleneck_backward_round_the_relu(x, weight1, weight2, weight3, projection, stride, grad_y):
    """The shortcut gets grad_y itself: the ReLU after the addition stands in its way too."""
    z = passes(x, weight1, weight2, weight3, projection, stride)
    body = body_back(x, weight1, weight2, weight3, stride, z, masked(grad_y, z[2]))
    return joined(body, conv_back(x, projection, grad_y, stride))


@wrong("bottleneck_backward", "ReLU before the addition")
def bottleneck_backward_relu_before(x, weight1, weight2, weight3, projection, stride, grad_y):
    """The last ReLU is taken for one of the body alone, before the shortcut is added."""
    z = passes(x, weight1, weight2, weight3, projection, stride)
    last = conv(relu(z[1]), weight3)
    body = body_back(x, weight1, weight2, weight3, stride, z, masked(grad_y, last))
    return joined(body, conv_back(x, projection, grad_y, stride))


@wrong("bottleneck_backward", "second mask forgotten")
def bottleneck_backward_no_second_mask(x, weight1, weight2, weight3, projection, stride, grad_y):
    """The gradient passes the ReLU between the 3x3 and the last 1x1 as if it were not there."""
    first, second, total = passes(x, weight1, weight2, weight3, projection, stride)
    grad = masked(grad_y, total)
    of_second, grad_weight3 = conv_back(relu(second), weight3, grad)
    of_first, grad_weight2 = conv_back(relu(first), weight2, of_second, stride)
    body = *conv_back(x, weight1, masked(of_first, first)), grad_weight2, grad_weight3
    return joined(body, conv_back(x, projection, grad, stride))


@wrong("bottleneck_backward", "stride in the first 1x1")
def bottleneck_backward_stride_first(x, weight1, weight2, weight3, projection, stride, grad_y):
    """Backward of the paper's block, whose first 1x1 has the stride; here, as in torchvision, the 3x3 has it."""
    first = conv(x, weight1, stride)
    second = conv(relu(first), weight2)
    grad = masked(grad_y, conv(relu(second), weight3) + conv(x, projection, stride))
    of_second, grad_weight3 = conv_back(relu(second), weight3, grad)
    of_first, grad_weight2 = conv_back(relu(first), weight2, masked(of_second, second))
    body = *conv_back(x, weight1, masked(of_first, first), stride), grad_weight2, grad_weight3
    return joined(body, conv_back(x, projection, grad, stride))


@wrong("bottleneck_backward", "halved")
def bottleneck_backward_halved(x, weight1, weight2, weight3, projection, stride, grad_y):
    """The gradient is shared out at the addition, half to each path: it goes to both, whole."""
    return bottleneck_backward(x, weight1, weight2, weight3, projection, stride, grad_y / 2)


@wrong("bottleneck_backward", "written into")
def bottleneck_backward_written(x, weight1, weight2, weight3, projection, stride, grad_y):
    """The mask is written into grad_y itself: right numbers, but whoever else holds that array has others now."""
    grads = bottleneck_backward(x, weight1, weight2, weight3, projection, stride, grad_y)
    grad_y *= bottleneck_forward(x, weight1, weight2, weight3, projection, stride) > 0
    return grads
