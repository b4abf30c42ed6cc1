"""Is an answer quick enough to train with? Its time on one batch of LeNet-5, 64 pictures, against a stated limit.

Loops are the definition, and too slow: a convolution in loops takes seconds a batch, one of columns some hundredths.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BATCH = 64
LAYERS = {  # x, weight, padding of "modern" LeNet-5's convolutions
    "c1": ((1, 28, 28), (6, 1, 5, 5), 2),
    "c3": ((6, 14, 14), (16, 6, 5, 5), 0),
}
POOLED = ((6, 28, 28), (16, 10, 10))  # what S2 and S4 read
LINEAR = ((400, 120), (120, 84), (84, 10))  # C5, F6, output
FEATURES = (*POOLED, (120,), (84,))  # what the functions between the layers read
TIMES = 3  # at most; the best one counts


@dataclass
class Timed:
    """The calls of a check's function that one batch takes, and how many seconds of one core they may take."""

    calls: Callable[[np.random.Generator], list[tuple]]
    limit: float


def seconds_of(f, timed: Timed) -> float:
    """What a batch takes, each call on its own; the least of a few times where once is near the limit. f: an Apart."""
    calls = timed.calls(_rng())
    seconds = sum(f.seconds_for(args, times=1) for args in calls)
    if timed.limit / 2 < seconds < 2 * timed.limit:
        seconds = min(seconds, sum(f.seconds_for(args, times=TIMES) for args in calls))
    return seconds


def _rng():
    return np.random.default_rng(0)


def _convolutions(rng, backward=False):
    calls = []
    for shape, kernel, padding in LAYERS.values():
        x, weight = rng.standard_normal((BATCH, *shape)), rng.standard_normal(kernel)
        side = shape[1] + 2 * padding - kernel[2] + 1
        grad_y = (rng.standard_normal((BATCH, kernel[0], side, side)),) if backward else ()
        calls.append((x, weight, np.zeros(len(weight)), 1, padding, *grad_y))
    return calls


def _columns(rng, backward=False):
    calls = []
    for shape, kernel, padding in LAYERS.values():
        C, H, W = shape[0], shape[1] + 2 * padding, shape[2] + 2 * padding
        if not backward:
            calls.append((rng.standard_normal((BATCH, C, H, W)), kernel[2:], 1))
        else:
            places = (H - kernel[2] + 1) * (W - kernel[3] + 1)
            columns = rng.standard_normal((BATCH, C * kernel[2] * kernel[3], places))
            calls.append((columns, (BATCH, C, H, W), kernel[2:], 1))
    return calls


def _poolings(rng, backward=False):
    calls = []
    for C, H, W in POOLED:
        grad_y = (rng.standard_normal((BATCH, C, H // 2, W // 2)),) if backward else ()
        calls.append((rng.standard_normal((BATCH, C, H, W)), (2, 2), 2, 0, *grad_y))
    return calls


def _subsamplings(rng, backward=False):
    calls = []
    for C, H, W in POOLED:
        grad_y = (rng.standard_normal((BATCH, C, H // 2, W // 2)),) if backward else ()
        calls.append((rng.standard_normal((BATCH, C, H, W)), np.ones(C), np.zeros(C), *grad_y))
    return calls


def _elementwise(rng, backward=False):
    count = 2 if backward else 1
    return [tuple(rng.standard_normal((BATCH, *shape)) for _ in range(count)) for shape in FEATURES]


def _linears(rng, backward=False):
    calls = []
    for inputs, outputs in LINEAR:
        grad_y = (rng.standard_normal((BATCH, outputs)),) if backward else ()
        x, weight = rng.standard_normal((BATCH, inputs)), rng.standard_normal((outputs, inputs))
        calls.append((x, weight, np.zeros(outputs), *grad_y))
    return calls


def _losses(rng):
    return [(rng.standard_normal((BATCH, 10)), rng.integers(0, 10, BATCH))]


def _map_losses(rng):
    return [(-rng.random((BATCH, 10)), rng.integers(0, 10, BATCH), 1.0)]


def _codes(rng, backward=False):
    grad_y = (rng.standard_normal((BATCH, 10)),) if backward else ()
    return [(rng.standard_normal((BATCH, 84)), rng.choice([-1.0, 1.0], (10, 84)), *grad_y)]


def _normalisations(rng, backward=False):
    grad_y = (rng.standard_normal((BATCH, 16, 10, 10)),) if backward else ()
    return [(rng.standard_normal((BATCH, 16, 10, 10)), 5, 1e-4, 0.75, 2.0, *grad_y)]


def _steps(rng):
    shapes = [(6, 1, 5, 5), (16, 6, 5, 5), *((outputs, inputs) for inputs, outputs in LINEAR)]
    return [(*(rng.standard_normal(shape) for _ in "wvg"), 0.01, 0.9, 5e-4) for shape in shapes]


def _backward(calls):
    return lambda rng: calls(rng, backward=True)


TIMED = {
    "conv2d_forward": Timed(_convolutions, 0.2),
    "conv2d_backward": Timed(_backward(_convolutions), 0.4),
    "im2col": Timed(_columns, 0.2),
    "col2im": Timed(_backward(_columns), 0.2),
    "maxpool_forward": Timed(_poolings, 0.1),
    "maxpool_backward": Timed(_backward(_poolings), 0.1),
    "subsampling_forward": Timed(_subsamplings, 0.1),
    "subsampling_backward": Timed(_backward(_subsamplings), 0.1),
    "relu_forward": Timed(_elementwise, 0.1),
    "relu_backward": Timed(_backward(_elementwise), 0.1),
    "sigmoid_forward": Timed(_elementwise, 0.1),
    "sigmoid_backward": Timed(_backward(_elementwise), 0.1),
    "tanh_forward": Timed(_elementwise, 0.1),
    "tanh_backward": Timed(_backward(_elementwise), 0.1),
    "linear_forward": Timed(_linears, 0.05),
    "linear_backward": Timed(_backward(_linears), 0.1),
    "softmax_cross_entropy_forward": Timed(_losses, 0.05),
    "softmax_cross_entropy_backward": Timed(_losses, 0.05),
    "rbf_forward": Timed(_codes, 0.05),
    "rbf_backward": Timed(_backward(_codes), 0.05),
    "map_loss_forward": Timed(_map_losses, 0.05),
    "map_loss_backward": Timed(_map_losses, 0.05),
    "lrn_forward": Timed(_normalisations, 0.1),
    "lrn_backward": Timed(_backward(_normalisations), 0.1),
    "sgd_step": Timed(_steps, 0.05),
}
