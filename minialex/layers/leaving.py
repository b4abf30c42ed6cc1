"""A batch that becomes smaller on its way: each picture leaves at the first head that is sure enough of it."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from minialex.devices.device import array_module, to_numpy
from minialex.layers.layer import Array, Layer
from minialex.words import counted


def surest(logits: Array) -> Array:
    """(N,): the largest of each row's softmax, 1 / sum of exp(logits - the largest)

    >>> surest(np.array([[0.0, 0.0], [5.0, 5.0 + np.log(9.0)]]))
    array([0.5, 0.9])
    """
    xp = array_module(logits)
    return 1 / xp.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)


class Rest(NamedTuple):
    """What is left of a batch: the pictures' numbers in it, on the host, and what the last layer has made of them."""

    numbers: np.ndarray
    x: Array

    def without(self, leave: np.ndarray, exits) -> "Rest":
        """Those that do not leave."""
        return Rest(self.numbers[~leave], some_of(self.x, places(exits, ~leave))) if leave.any() else self


def forward_leaving(exits, x: Array) -> Array:
    """Of an Exits: y (N, classes), each picture's from where it left.

    For each exit that somebody came to: came, the numbers of those pictures; ys, what it says of them; sure, how sure
    it is; leave, which of them leave.
    """
    if not len(x):
        raise ValueError(f"{exits}: the input is empty, shape {x.shape}; at least one picture is needed")
    rest, outputs = Rest(np.arange(len(x)), x), {}
    came = {}  # a line for each: a trace shows them
    ys = {}
    sure = {}
    leave = {}
    for name, layer in exits.layers.items():
        if not len(rest.numbers):
            break
        rest = Rest(rest.numbers, layer.forward(rest.x))
        outputs[name] = layer._output
        for head in exits.heads_at(name):
            if not len(rest.numbers):
                break
            came[head] = rest.numbers
            ys[head] = exits.heads[head].forward(rest.x)
            outputs[head] = exits.heads[head]._output
            check_row_of_logits(exits, head, ys)
            sure[head] = surest(ys[head])
            leave[head] = to_numpy(sure[head]) >= exits.leave_at
            rest = rest.without(leave[head], exits)
    if len(rest.numbers):
        came["end"] = rest.numbers
        ys["end"] = rest.x
        check_row_of_logits(exits, "end", ys)
        leave["end"] = np.full(len(rest.numbers), True)
    y = exits.xp.empty((len(x), *next(iter(ys.values())).shape[1:]), x.dtype)
    left = np.empty(len(x), int)
    for name in ys:
        y[exits.device.asarray(came[name][leave[name]])] = ys[name][places(exits, leave[name])]
        left[came[name][leave[name]]] = exits.numbers[name]
    exits.left = left
    exits.save(outputs=outputs, kind="left", came=came, leave=leave)
    return y


def backward_leaving(exits, grad_y: Array, input_grad: bool) -> Array | None:
    """The same way back: where pictures left, the batch grows again."""
    came, leave = exits.saved.came, exits.saved.leave
    grad_ys = {}  # 0 for those that went on
    for name in came:
        grad_ys[name] = exits.xp.zeros((len(came[name]), *grad_y.shape[1:]), grad_y.dtype)
        grad_ys[name][places(exits, leave[name])] = grad_y[exits.device.asarray(came[name][leave[name]])]
    grad = grad_ys.get("end")  # None: nobody came so far
    first = next(iter(exits.layers))
    for name, layer in reversed(exits.layers.items()):
        for head in reversed([head for head in exits.heads_at(name) if head in came]):
            grad = added(
                exits.heads[head].backward(grad_ys[head], input_grad=True), grad, places(exits, ~leave[head])
            )
        if grad is not None:
            grad = layer.backward(grad, input_grad=input_grad or name != first)
    return grad


def places(exits, chosen: np.ndarray) -> Array:
    """Where a host array is true, as an array on the layer's device."""
    return exits.device.asarray(np.flatnonzero(chosen))


def some_of(x: Array, rows: Array) -> Array:
    """These pictures of a batch, the axes in memory as they were: x[rows] copies across them, five times as long.

    >>> x = np.arange(12).reshape(2, 2, 3).transpose(2, 0, 1)                # three pictures, which lie last
    >>> y = some_of(x, np.array([0, 2]))
    >>> bool((y == x[[0, 2]]).all()), y.strides[0] < y.strides[2]
    (True, True)
    """
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    taken = array_module(x).take(x.transpose(order), rows, axis=order.index(0))
    return taken.transpose([order.index(axis) for axis in range(x.ndim)])


def added(whole: Array, part: Array | None, rows: Array) -> Array:
    """The whole, and in these rows the part as well: a new array, unless there is no part."""
    if part is None:
        return whole
    whole = whole.copy()
    whole[rows] += part
    return whole


def check_row_of_logits(exits, name, ys):
    first, y = next(iter(ys)), ys[name]
    if y.ndim != 2:
        raise ValueError(
            f"{exits}: who leaves takes a row of logits, (N, classes); {name} gives shape {y.shape}"
        )
    if y.shape[1] != ys[first].shape[1]:
        raise ValueError(
            f"{exits}: {first} has {counted(ys[first].shape[1], 'class', 'classes')}, {name} {y.shape[1]}"
        )


def nothing_hangs_on(layers: Iterable[Layer]) -> None:
    """The gradients of their parameters are 0."""
    for p in (p for layer in layers for p in layer.parameters()):
        p.grad = array_module(p.value).zeros_like(p.value)
