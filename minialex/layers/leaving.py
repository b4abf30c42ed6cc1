"""A batch that becomes smaller on its way: each picture leaves at the first head that is sure enough of it."""

from collections.abc import Iterable

import numpy as np

from minialex.devices.device import array_module, to_numpy
from minialex.layers.layer import Array, Layer


def surest(logits: Array) -> Array:
    """(N,): the largest of each row's softmax, 1 / sum of exp(logits - the largest)

    >>> surest(np.array([[0.0, 0.0], [5.0, 5.0 + np.log(9.0)]]))
    array([0.5, 0.9])
    """
    xp = array_module(logits)
    return 1 / xp.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)


def forward_leaving(exits, x: Array) -> Array:
    """Of an Exits: y (N, classes), each picture's from where it left. `here`: those that are still on their way."""
    here, y, steps, outputs = np.arange(len(x)), None, [], []
    exits.left = np.full(len(x), len(exits.heads) + 1)
    numbers = {head: number for number, head in enumerate(exits.heads, start=1)}
    for name, layer in exits.layers.items():
        x = layer.forward(x)
        outputs.append(layer._output)
        for head in exits.heads_at(name):
            logits = exits.heads[head].forward(x)
            if y is None:
                y = exits.xp.empty(logits.shape, logits.dtype)
            sure = to_numpy(surest(logits)) >= exits.leave_at
            leave, stay = places(exits, sure), places(exits, ~sure)
            steps.append((head, here, leave, stay))
            y[exits.device.asarray(here[sure])] = logits[leave]
            exits.left[here[sure]] = numbers[head]
            if sure.any():
                x, here = x[stay], here[~sure]
            if not len(here):
                exits.save(outputs=outputs, kind="left", steps=steps, at_end=here)
                return y
    if y is None:  # no heads
        y = x
    elif y.shape[1:] == x.shape[1:]:
        y[exits.device.asarray(here)] = x
    else:
        raise ValueError(f"{exits}: a head gives shape {y.shape}, the trunk's end {x.shape}")
    exits.save(outputs=outputs, kind="left", steps=steps, at_end=here)
    return y


def backward_leaving(exits, grad_y: Array, input_grad: bool) -> Array | None:
    """The same way back: where pictures left, the batch grows."""
    exits._check_untouched()
    steps, reached = list(exits.saved.steps), len(exits.saved.outputs)
    asked = {head for head, *_ in steps}
    nothing_hangs_on(head for name, head in exits.heads.items() if name not in asked)
    nothing_hangs_on(list(exits)[reached:])
    at_end = exits.saved.at_end
    grad = grad_y[exits.device.asarray(at_end)] if len(at_end) else None  # None: nobody came so far
    first = next(iter(exits.layers))
    for name, layer in reversed(list(exits.layers.items())[:reached]):
        while steps and exits.reads[steps[-1][0]] == name:
            head, here, leave, stay = steps.pop()
            grad_here = grad_y[exits.device.asarray(here)]
            grad_logits = exits.xp.zeros(grad_here.shape, grad_here.dtype)
            grad_logits[leave] = grad_here[leave]
            behind, grad = grad, exits.heads[head].backward(grad_logits).copy()
            if behind is not None:
                grad[stay] += behind
        grad = layer.backward(grad, input_grad=input_grad or name != first)
    return grad


def places(exits, chosen):
    """Where a host array is true, as an array on the layer's device."""
    return exits.device.asarray(np.flatnonzero(chosen))


def nothing_hangs_on(layers: Iterable[Layer]) -> None:
    """The gradients of their parameters are 0."""
    for p in (p for layer in layers for p in layer.parameters()):
        p.grad = array_module(p.value).zeros_like(p.value)
