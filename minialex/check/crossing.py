"""The checks of the exchange between two towers that lie on two devices: what is sent, and where to.

All arrays are plain NumPy, which lies nowhere. So that an array's place shows, all numbers are `times_on_1` times as
large on device 1 as they are on device 0, as prices are in cents; `send` converts them.
"""

import functools

import numpy as np

from minialex.check import cases
from minialex.check.planted.registry import adapter
from minialex.check.search import by_entries, compare, compared, search
from minialex.check.verdict import Verdict


def device_exchange_forward(f) -> Verdict:
    """f(x0, x1, send) -> (y0, y1)

    y0 = y1 = the channels of x0, then those of x1:  y0 on device 0, y1 on device 1

    x0 (N, C0, H, W) lies on device 0, x1 (N, C1, H, W) on device 1. send(array, device) gives a copy on device 0 or 1;
    arrays that are joined must lie on one device. y0 and y1 (N, C0 + C1, H, W).

    All are NumPy arrays here. A trick shows where one lies: on device 1 all numbers are times_on_1 times as large, and
    send converts them. What is not sent, or is sent where it lies already, is too small or too large by this factor.
    The verdict's third array, crossed, says how many numbers were sent to device 0, and to device 1: just those that
    the other one lacks.
    """

    def expected(x0, x1, times_on_1):
        y0 = np.concatenate([x0, x1 / times_on_1], axis=1)
        y1 = np.concatenate([x0 * times_on_1, x1], axis=1)
        return y0, y1, np.array([x1.size, x0.size], float)

    judge = judge_both("y0 y1", expected)
    return search("device_exchange_forward", f, on_two_devices(cases.exchange), judge, "y0 y1 crossed")


def device_exchange_backward(f) -> Verdict:
    """f(grad_y0, grad_y1, channels0, send) -> (grad_x0, grad_x1)

    grad_x0 = grad_y0[:, :channels0] + what device 1 sends home of grad_y1[:, :channels0], on device 0
    grad_x1 = what device 0 sends home of grad_y0[:, channels0:] + grad_y1[:, channels0:], on device 1

    Cut, send home, add, tower 0's gradient first. grad_y0 (N, C0 + C1, H, W) lies on device 0, grad_y1, of the same
    shape, on device 1; channels0 = C0. send(array, device), times_on_1 and crossed as in device_exchange_forward: what
    the other tower has no use for must not be sent.
    """

    def expected(grad_y0, grad_y1, channels0, times_on_1):
        grad_x0 = grad_y0[:, :channels0] + grad_y1[:, :channels0] / times_on_1
        grad_x1 = grad_y0[:, channels0:] * times_on_1 + grad_y1[:, channels0:]
        return grad_x0, grad_x1, np.array([grad_x0.size, grad_x1.size], float)

    names = "grad_x0 grad_x1"
    judge, make_case = judge_both(names, expected, "grad_y0 grad_y1"), on_two_devices(cases.exchange_backward)
    return search("device_exchange_backward", f, make_case, judge, f"{names} crossed")


@functools.cache
def on_two_devices(make_case):
    """The same cases, with the factor: a power of two, so that converting rounds nothing."""

    def make(draw):
        case = make_case(draw)
        return {**case, "times_on_1": draw.one_of(2.0, 4.0)}

    return make


def judge_both(names, expected, added=""):
    """A judge of what was returned, and of what crossed if it has the right form; added: as for by_entries."""
    ours = compared(names, lambda **case: expected(**case)[:2])
    all_three = by_entries(f"{names} crossed", expected, added)

    def judge(result, case):
        if not isinstance(result, _Sent):
            return ours(result, case)
        y0, y1, _ = all_three(result, case)
        return [y0, y1, compare("crossed", result[2], expected(**case)[2], lambda: 1.0)]

    return judge


class _Sent(tuple):
    """Two arrays that were returned, and what was sent meanwhile."""


def counting(f, times_on_1, *inputs):
    """Call f with inputs and a `send`; what it returns, with what crossed where it returned two things."""
    crossed = np.zeros(2)

    def send(array, device):
        if not isinstance(device, (int, np.integer)) or device not in (0, 1):
            raise ValueError(f"send(array, device): the device is 0 or 1, not {device!r}")
        crossed[device] += np.size(array)
        return np.array(array) * times_on_1 if device else np.array(array) / times_on_1

    result = f(*inputs, send)
    pair = isinstance(result, (tuple, list)) and len(result) == 2
    return _Sent((*result, crossed)) if pair and any(y is not None for y in result) else result


@adapter("device_exchange_forward", "f(x0, x1, send) -> y0, y1")
def with_send(f):
    return lambda x0, x1, times_on_1: counting(f, times_on_1, x0, x1)


@adapter("device_exchange_backward", "f(grad_y0, grad_y1, channels0, send) -> grad_x0, grad_x1")
def with_send_back(f):
    return lambda grad_y0, grad_y1, channels0, times_on_1: counting(
        f, times_on_1, grad_y0, grad_y1, channels0
    )
