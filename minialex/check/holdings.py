"""What gradcheck sees in a layer without measuring: what it holds and does not list, and who writes where."""

import numpy as np

from minialex.devices.device import is_array, to_numpy
from minialex.layers.calls import watcher
from minialex.layers.layer import Layer
from minialex.layers.parameter import Parameter
from minialex.words import a_or_an


def tree(layer) -> list[Layer]:
    """The layer, and all that are inside."""
    return [layer, *(inside for child in layer.children().values() for inside in tree(child))]


def restore(modes):
    """Give each layer back the mode that it had."""
    for layer, training in modes:
        if layer.training != training:
            layer.train(training)  # the outer ones come first


def unlisted(layer) -> list[str]:
    """Parameters, and layers with parameters or with a mode, that a layer holds and does not list."""
    listed, inside = {id(p) for p in layer.parameters()}, tree(layer)
    known, faults = {id(one) for one in inside}, {}
    for holder in inside:
        for name, value in list(vars(holder).items()):
            for place, thing in _held(f"self.{name}", value):
                if isinstance(thing, Parameter) and id(thing) not in listed:
                    faults[id(thing)] = (
                        f"{holder} holds a Parameter in {place}, which parameters() does not list: it is never trained"
                    )
                elif isinstance(thing, Layer) and id(thing) not in known:
                    lost = [name for name, p in thing.named_parameters() if id(p) not in listed]
                    if lost or (thing.counters() and not _follows(thing, layer)):
                        faults[id(thing)] = (
                            f"{holder} holds {a_or_an(type(thing).__name__)} in {place}, which children() does not "
                            "list: "
                            + (f"its {', '.join(lost)} are never trained, and " if lost else "")
                            + "to(), astype(), train() and eval() do not reach it"
                        )
    return list(faults.values())


def _follows(thing, layer):
    """Does a layer's train() and eval() reach a layer that it holds, by ways of its own?"""
    modes, reached = [(one, one.training) for one in (*tree(layer), *tree(thing))], []
    for mode in (True, False):
        layer.train(mode)
        reached.append(thing.training == mode)
    restore(modes)
    return all(reached)


def _held(place, value):
    if isinstance(value, (list, tuple)):
        return [pair for number, one in enumerate(value) for pair in _held(f"{place}[{number}]", one)]
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in _held(f"{place}[{key!r}]", one)]
    return [(place, value)]


def writers(function, x) -> list[str]:
    """Layers inside a model that write into what they are given: somebody else's array."""
    if not function.layer.children():
        return []
    watching = _Writers()
    token = watcher.set(watching)
    try:
        function.backward(x)
    finally:
        watcher.reset(token)
    return watching.faults


class _Writers:
    """Watches the calls of layers, and compares what they are given before and after."""

    def __init__(self):
        self.faults, self.known = [], set()

    def watch(self, layer, function, args, kwargs):
        given = [array for value in (*args, *kwargs.values()) for array in _arrays(value)]
        before = [to_numpy(array).copy() for array in given]
        method = "forward" if layer._output is None else "backward"
        result = function(layer, *args, **kwargs)
        for array, kept in zip(given, before, strict=True):
            after = to_numpy(array)
            if id(array) not in self.known and not np.array_equal(after, kept, equal_nan=True):
                self.known.add(id(array))  # those around it are given the same array
                at = first_place(after != kept)
                self.faults.append(
                    f"{layer} writes into {'its input' if method == 'forward' else 'grad_y'} in {method}: "
                    f"{kept[tuple(at)]:.6g} at {at} became {after[tuple(at)]:.6g}; it must make a new array"
                )
        return result


def _arrays(value):
    return (
        [array for one in value for array in _arrays(one)]
        if isinstance(value, tuple)
        else [value] * is_array(value)
    )


def first_place(mask):
    """The first place where a mask is true."""
    return [int(i) for i in np.argwhere(mask)[0]]
