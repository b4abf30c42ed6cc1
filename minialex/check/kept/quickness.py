"""Is an answer quick enough to train with? Its time on one batch of LeNet-5, 64 pictures, against a stated limit.

Loops are the definition, and too slow: a convolution in loops takes a second or two for a batch, one of columns some
thousandths or hundredths.
"""

from collections.abc import Callable, Iterable
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

    calls: Callable[[np.random.Generator], Iterable[tuple]]
    limit: float


def seconds_of(f, timed: Timed) -> float:
    """What a batch takes, each call on its own; the least of a few times where once is near the limit. f: an Apart."""
    calls = [*timed.calls(np.random.default_rng(0))]
    seconds = sum(f.seconds_for(args, times=1) for args in calls)
    if timed.limit / 2 < seconds < 2 * timed.limit:
        seconds = min(seconds, sum(f.seconds_for(args, times=TIMES) for args in calls))
    return seconds


# What backward takes, call by call; forward takes the same without grad_y, which stands last.


def _convolutions(rng):
    for shape, kernel, padding in LAYERS.values():
        side = shape[1] + 2 * padding - kernel[2] + 1
        grad_y = rng.standard_normal((BATCH, kernel[0], side, side))
        x, weight = rng.standard_normal((BATCH, *shape)), rng.standard_normal(kernel)
        yield x, weight, np.zeros(len(weight)), 1, padding, grad_y


def _poolings(rng):
    for C, H, W in POOLED:
        grad_y = rng.standard_normal((BATCH, C, H // 2, W // 2))
        yield rng.standard_normal((BATCH, C, H, W)), (2, 2), 2, 0, grad_y


def _subsamplings(rng):
    for C, H, W in POOLED:
        grad_y = rng.standard_normal((BATCH, C, H // 2, W // 2))
        yield rng.standard_normal((BATCH, C, H, W)), np.ones(C), np.zeros(C), grad_y


def _elementwise(rng):
    for shape in FEATURES:
        yield rng.standard_normal((BATCH, *shape)), rng.standard_normal((BATCH, *shape))


def _linears(rng):
    for inputs, outputs in LINEAR:
        x, weight = rng.standard_normal((BATCH, inputs)), rng.standard_normal((outputs, inputs))
        yield x, weight, np.zeros(outputs), rng.standard_normal((BATCH, outputs))


def _codes(rng):
    codes = rng.choice([-1.0, 1.0], (10, 84))
    yield rng.standard_normal((BATCH, 84)), codes, rng.standard_normal((BATCH, 10))


def _normalisations(rng):
    x, grad_y = rng.standard_normal((2, BATCH, 16, 10, 10))
    yield x, 5, 1e-4, 0.75, 2.0, grad_y


# What one function takes.


def _pictures_to_columns(rng):
    for (C, H, W), kernel, padding in LAYERS.values():
        yield rng.standard_normal((BATCH, C, H + 2 * padding, W + 2 * padding)), kernel[2:], 1


def _columns_to_pictures(rng):
    for (C, H, W), (_, _, kh, kw), padding in LAYERS.values():
        H, W = H + 2 * padding, W + 2 * padding
        columns = rng.standard_normal((BATCH, C * kh * kw, (H - kh + 1) * (W - kw + 1)))
        yield columns, (BATCH, C, H, W), (kh, kw), 1


def _losses(rng):
    yield rng.standard_normal((BATCH, 10)), rng.integers(0, 10, BATCH)


def _map_losses(rng):
    yield -rng.random((BATCH, 10)), rng.integers(0, 10, BATCH), 1.0


def _steps(rng):
    for shape in ((6, 1, 5, 5), (16, 6, 5, 5), *((outputs, inputs) for inputs, outputs in LINEAR)):
        yield *(rng.standard_normal(shape) for _ in "wvg"), 0.01, 0.9, 5e-4


def _forward(calls):
    return lambda rng: (args[:-1] for args in calls(rng))


TIMED = {
    "conv2d_forward": Timed(_forward(_convolutions), 0.2),
    "conv2d_backward": Timed(_convolutions, 0.4),
    "im2col": Timed(_pictures_to_columns, 0.2),
    "col2im": Timed(_columns_to_pictures, 0.2),
    "maxpool_forward": Timed(_forward(_poolings), 0.1),
    "maxpool_backward": Timed(_poolings, 0.1),
    "subsampling_forward": Timed(_forward(_subsamplings), 0.1),
    "subsampling_backward": Timed(_subsamplings, 0.1),
    "relu_forward": Timed(_forward(_elementwise), 0.1),
    "relu_backward": Timed(_elementwise, 0.1),
    "sigmoid_forward": Timed(_forward(_elementwise), 0.1),
    "sigmoid_backward": Timed(_elementwise, 0.1),
    "tanh_forward": Timed(_forward(_elementwise), 0.1),
    "tanh_backward": Timed(_elementwise, 0.1),
    "linear_forward": Timed(_forward(_linears), 0.05),
    "linear_backward": Timed(_linears, 0.1),
    "softmax_cross_entropy_forward": Timed(_losses, 0.05),
    "softmax_cross_entropy_backward": Timed(_losses, 0.05),
    "rbf_forward": Timed(_forward(_codes), 0.05),
    "rbf_backward": Timed(_codes, 0.05),
    "map_loss_forward": Timed(_map_losses, 0.05),
    "map_loss_backward": Timed(_map_losses, 0.05),
    "lrn_forward": Timed(_forward(_normalisations), 0.1),
    "lrn_backward": Timed(_normalisations, 0.1),
    "sgd_step": Timed(_steps, 0.05),
}
