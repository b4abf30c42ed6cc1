"""The checks of what networks after AlexNet are made of: batch normalisation, joins, the bottleneck, gates, exits.

Arrays are float64, (N, C, H, W), and belong to the caller: what several paths share must not be written into.
"""

import numpy as np

from minialex import naive
from minialex.check import cases
from minialex.check.search import by_entries, by_magnitudes, compared, search
from minialex.check.verdict import Verdict


def batchnorm_forward(f) -> Verdict:
    """f(x, weight, bias, running_mean, running_var, eps, momentum) -> (y, running_mean, running_var), the new ones

    y[n, c, i, j] = weight[c] * (x[n, c, i, j] - mean[c]) / sqrt(variance[c] + eps) + bias[c]
    new running_mean = (1 - momentum) * running_mean + momentum * mean;  running_var alike, but of a variance by m - 1

    In training: mean and variance are those of the m = N*H*W numbers that channel c has in the batch, and the variance
    that normalises is a sum of squares divided by m (PyTorch's way). x may lie far from 0, near 1e8: subtract the mean
    before you square. x and y (N, C, H, W), m at least 2; all others (C,). The old running statistics must stay as
    they are.
    """

    def expected(x, weight, bias, running_mean, running_var, eps, momentum):
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)
        new = [
            (1 - momentum) * old + momentum * of_batch
            for old, of_batch in ((running_mean, mean), (running_var, variance))
        ]
        return naive.batch_norm2d(x, weight, bias, eps), *new

    def size(x, weight, bias, running_mean, running_var, eps, momentum):
        largest, centred, scale = _sizes(x, eps)
        y = np.abs(weight).max() * (largest * scale).max() + np.abs(bias).max()
        mean = np.abs(running_mean).max() + momentum * largest.max()
        squares = (largest * (centred + 1e-6 * largest)).max()  # what rounding x changes
        return y, mean, np.abs(running_var).max() + 2 * momentum * squares

    names = "y running_mean running_var"
    judge = compared(names, expected, size)
    return search("batchnorm_forward", f, cases.batch_norm_forward, judge, names)


def batchnorm_backward(f) -> Verdict:
    """f(x, weight, bias, eps, grad_y) -> (grad_x, grad_weight, grad_bias)

    with  scale[c] = 1 / sqrt(variance[c] + eps),  hat = scale * (x - mean),  grad = weight * grad_y:
    grad_x = scale * (grad - mean of grad - hat * mean of (grad * hat))
    grad_weight[c] = sum of grad_y * hat;  grad_bias[c] = sum of grad_y

    means and sums over n, i, j, for each channel; mean and variance as in batchnorm_forward, in training: each x has a
    part in both. x, grad_y and grad_x (N, C, H, W), the others (C,).
    """

    def expected(x, weight, bias, eps, grad_y):
        return naive.batch_norm2d_backward(x, weight, grad_y, eps)

    def size(x, weight, bias, eps, grad_y):
        largest, centred, scale = _sizes(x, eps)
        m, most, hat = x.size // x.shape[1], np.abs(grad_y).max(), 1 + centred * scale
        rounded = 1 + largest * scale  # how much more than hat itself are the digits that it was made of
        grad_x = np.abs(weight).max() * most * (scale * hat**2 * rounded).max()
        return 2 * grad_x, m * most * (hat * rounded).max(), m * most

    names = "grad_x grad_weight grad_bias"
    judge = compared(names, expected, size)
    return search("batchnorm_backward", f, cases.batch_norm_backward, judge, names)


def _sizes(x, eps):
    """Of each channel: the largest |x|, the largest |x - mean|, and 1 / sqrt(variance + eps)."""
    rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=1) + eps)
    return np.abs(rows).max(axis=1), np.abs(centred).max(axis=1), scale


# -- joins -------------------------------------------------------------------------------------------------


def concat_backward(f) -> Verdict:
    """f(grad_y, channels) -> (grad_a, grad_b, grad_c)

    y = the channels of a, then those of b, then those of c:  grad_a = grad_y[:, :channels[0]], and so on

    Three paths of an Inception block. grad_y (N, C, H, W); channels: how many each path made, C in all. The parts may
    be views of grad_y; they must not be views of each other.
    """

    def expected(grad_y, channels):
        places = np.arange(sum(channels))
        path = np.repeat([0, 1, 2], channels)
        return tuple(grad_y[:, places[path == number]] for number in range(3))

    names = "grad_a grad_b grad_c"
    judge = by_entries(names, expected)
    return search("concat_backward", f, cases.concatenation, judge, names)


def add_backward(f) -> Verdict:
    """f(body, factor, grad_y) -> grad_x

    y = x + factor * F(x):  grad_x = grad_y + body(factor * grad_y)

    A residual block: the gradient of an addition goes to both paths, whole. body is F's backward, a function: it takes
    the gradient of F(x) and gives that of x, and may hand back the very array that it was given, or a view of it.
    factor: 1 in ResNet, 0.1 to 0.3 in Inception-ResNet. grad_y and grad_x (N, C, H, W).
    """

    def expected(body, factor, grad_y):
        return grad_y + factor * body(grad_y)

    def size(body, factor, grad_y):
        return np.abs(grad_y).max() + factor * np.abs(body(grad_y)).max()

    judge = compared("grad_x", expected, size)
    return search("add_backward", f, cases.addition, judge, "grad_x")


# -- the bottleneck ----------------------------------------------------------------------------------------


def bottleneck_forward(f) -> Verdict:
    """f(x, weight1, weight2, weight3, projection, stride) -> y

    y = relu(body + shortcut),  body = conv3(relu(conv2(relu(conv1(x))))),  shortcut = convolution of x by projection

    The first block of a stage of ResNet-50, without its batch normalisations (batchnorm_forward has them). conv1 and
    conv3 are 1x1; conv2 is 3x3 with padding 1 and has the stride, as in torchvision; the projection is 1x1 and has it
    too. No biases. x (N, C, H, W), weight1 (M, C, 1, 1), weight2 (M, M, 3, 3), weight3 (F, M, 1, 1),
    projection (F, C, 1, 1), y (N, F, OH, OW), OH = 1 + (H - 1) // stride.
    """

    def expected(**case):
        return naive.relu(_passes(**case)[2])

    judge = by_magnitudes("y", expected)
    return search("bottleneck_forward", f, cases.bottleneck, judge, "y")


def bottleneck_backward(f) -> Verdict:
    """f(x, weight1, weight2, weight3, projection, stride, grad_y) -> (grad_x, grad_weight1, grad_weight2, grad_weight3, grad_projection)

    grad_sum = grad_y where body + shortcut > 0, else 0: it goes to both paths, whole
    grad_x = what conv1 gives back at the end of the body + what the projection gives back

    The block of bottleneck_forward. The gradients are shaped as x, weight1, weight2, weight3 and projection, in this
    order; grad_y as y. A ReLU passes nothing at 0.
    """  # noqa: E501

    def expected(x, weight1, weight2, weight3, projection, stride, grad_y):
        first, second, total = _passes(x, weight1, weight2, weight3, projection, stride)
        grad_sum = naive.relu_backward(total, grad_y)
        grad, grad_weight3, _ = naive.conv2d_backward(naive.relu(second), weight3, grad_sum)
        grad = naive.relu_backward(second, grad)
        grad, grad_weight2, _ = naive.conv2d_backward(naive.relu(first), weight2, grad, stride, 1)
        of_body, grad_weight1, _ = naive.conv2d_backward(x, weight1, naive.relu_backward(first, grad))
        of_shortcut, grad_projection, _ = naive.conv2d_backward(x, projection, grad_sum, stride)
        return of_body + of_shortcut, grad_weight1, grad_weight2, grad_weight3, grad_projection

    names = "grad_x grad_weight1 grad_weight2 grad_weight3 grad_projection"
    judge = by_magnitudes(names, expected)
    return search("bottleneck_backward", f, cases.bottleneck_backward, judge, names)


def _passes(x, weight1, weight2, weight3, projection, stride):
    """What the three ReLUs get."""
    first = naive.conv2d(x, weight1)
    second = naive.conv2d(naive.relu(first), weight2, stride=stride, padding=1)
    body = naive.conv2d(naive.relu(second), weight3)
    return first, second, body + naive.conv2d(x, projection, stride=stride)


# -- gates, and the exit that a picture takes --------------------------------------------------------------


def gate_forward(f) -> Verdict:
    """f(x, gates, sizes) -> y

    y[n, c, i, j] = gates[s] * x[n, c, i, j]  for the channels c of source s

    How much is read of each source, 0 being nothing, 1 all. sizes: how many channels each source has, as they lie in
    x one behind the other, C in all: of (2, 1) channels 0 and 1 are source 0's. x and y (N, C, H, W), gates (sources,).
    """

    def expected(x, gates, sizes):
        return naive.gate(x, gates, sizes)

    return search("gate_forward", f, cases.gate, by_entries("y", expected), "y")


def gate_backward(f) -> Verdict:
    """f(x, gates, sizes, grad_y) -> (grad_x, grad_gates)

    grad_x[n, c, i, j] = gates[s] * grad_y[n, c, i, j]
    grad_gates[s] = sum of x * grad_y  over n, i, j and the channels c of source s

    A gate that is closed has a gradient too. x, grad_y and grad_x (N, C, H, W), gates and grad_gates (sources,).
    """

    def expected(x, gates, sizes, grad_y):
        return naive.gate_backward(x, gates, sizes, grad_y)

    names = "grad_x grad_gates"
    judge = by_entries(names, expected, "x grad_y")
    return search("gate_backward", f, cases.gate_backward, judge, names)


def early_exit(f) -> Verdict:
    """f(logits, leave_at) -> (y, left)

    left[n] = the first exit of which  max over k of p[n, exit, k] >= leave_at,  counted from 1; the last one else
    y[n] = the logits of that exit,  p = softmax(logits), over the classes of each exit

    What every exit would say of each picture is given; how far must each go? logits (N, exits, K), also as large as a
    million; leave_at a probability; y (N, K), in the order of the pictures; left (N,), whole numbers.
    """
    judge = by_entries("y left", naive.early_exit)

    def judge_whole(result, case):
        if isinstance(result, (tuple, list)) and len(result) == 2:
            y, left = result
            whole = isinstance(left, np.ndarray) and left.dtype.kind in "iu"
            result = y, left.astype(float) if whole else left
        return judge(result, case)

    return search("early_exit", f, cases.early_exit, judge_whole, "y left")
