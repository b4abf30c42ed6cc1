"""Watches the calls of layers, and keeps what their lines make.

Around one call of a layer's forward or backward, in the thread of that call, `sys.setprofile` tells when a function
returns. If it is the one that is watched, its local arrays are copied; then what was there before is put back.
"""

import contextvars
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minialex.devices.device import is_array, to_numpy
from minialex.layers import Layer, Loss, Model, Parameter, Sequential, Towers
from minialex.layers.parameter import Buffer, Constant
from minialex.tracing.source import Line

MOST_IN_A_LIST = 64  # arrays: what has more is no join

_calls = contextvars.ContextVar("calls")  # the list to which the next call is added


@dataclass
class Slot:
    """One array, as it was caught.

    Attributes
        name    "columns": what its layer calls it
        value   the array itself, to know it by when it comes again
        kept    its copy, or whatever `keep` made of it
        kind    as in Entry
        maker   the function among whose locals it was
        part    0 or 1 in a tuple of arrays, one for each tower
        caller  the line of the layer's own forward or backward that called the maker; 0: it is the maker
        given   did the maker get it as an argument?
        of      "ys" of "ys[branch1]", which lies in a list or a dict; else the name itself
    """

    name: str
    value: Any
    kept: Any
    kind: str
    maker: Callable | None = None
    part: int | None = None
    caller: int = 0
    given: bool = False
    of: str = ""
    # What book.py adds: the name that it gets, its lines, those of `return`, words instead of lines, where it stands.
    shown: str = ""
    lines: list[Line] = field(default_factory=list)
    returns: list[Line] = field(default_factory=list)
    formula: str = ""
    head: Line | None = None

    def __post_init__(self):
        self.shown = self.name
        self.of = self.of or self.name

    @property
    def key(self):
        return self.kind, self.name, self.maker, self.part


@dataclass
class Call:
    """One call of a layer's forward or backward: what went in, its locals, what came out, and the calls in it."""

    layer: Layer
    path: str | None
    direction: str
    function: Callable
    given: list[Slot] = field(default_factory=list)
    parameters: list[Slot] = field(default_factory=list)
    locals: list[Slot] = field(default_factory=list)
    grads: list[Slot] = field(default_factory=list)
    results: list[Slot] = field(default_factory=list)
    calls: list["Call"] = field(default_factory=list)
    returned: int = 0  # the line of the `return` that it took

    @property
    def slots(self) -> list[Slot]:
        return [*self.given, *self.parameters, *self.locals, *self.grads, *self.results]

    @property
    def result_name(self) -> str:
        loss = isinstance(self.layer, Loss)
        return {"forward": ("y", "loss"), "backward": ("grad_x", "grad_logits")}[self.direction][loss]

    def all(self):
        """This call and all that are in it."""
        yield self
        for call in self.calls:
            yield from call.all()


class Watcher:
    """What the layers' wrapper asks, see `watcher` in layers/calls.py.

    paths: id of a layer -> its name; others are not watched. keep: makes of an array what is kept of it.
    """

    def __init__(self, paths: dict[int, str | None], keep: Callable):
        self.paths, self.keep = paths, keep
        self.calls: list[Call] = []

    def start(self, function, *args, **kwargs):
        """Call a function in which layers are called; the calls are added to `calls`."""
        before = _calls.set(self.calls)
        try:
            return function(*args, **kwargs)
        finally:
            _calls.reset(before)

    def watch(self, layer: Layer, function, args, kwargs):
        if (
            id(layer) not in self.paths
        ):  # not one of the children: made inside of a forward, say; it runs its own lines
            return function(layer, *args, **kwargs)
        direction = "forward" if layer._output is None else "backward"
        call = Call(layer, self.paths[id(layer)], direction, function)
        for name, value in zip(self.names_of(call), [*args, *kwargs.values()], strict=False):
            call.given += self.several(name, value, direction)
        _calls.get().append(call)
        held = {name: holder.value for name, holder in own_arrays(layer).items() if type(holder) is Buffer}
        before = _calls.set(call.calls)  # threads that it starts begin with a copy
        profile = sys.getprofile()
        sys.setprofile(self.hook(call))
        try:
            result = function(layer, *args, **kwargs)
        finally:
            sys.setprofile(profile)
            _calls.reset(before)
        call.results = self.several(call.result_name, result, direction)
        own = own_arrays(layer)
        if direction == "forward":
            for name, holder in own.items():
                moved = holder.value is not held.get(name, holder.value)  # a running mean, say
                call.parameters.append(self.slot(name, holder.value, "forward" if moved else "parameter"))
        else:
            grads = {name: getattr(holder, "grad", None) for name, holder in own.items()}
            call.grads = [self.slot(f"grad_{n}", g, direction) for n, g in grads.items() if is_array(g)]
        return result

    def names_of(self, call):
        """What the arguments are called that are kept before the call; a loss's backward has none of interest."""
        loss = isinstance(call.layer, Loss)
        if call.direction == "forward":
            return ("logits", "labels") if loss else ("x",)
        return () if loss else ("grad_y",)

    def slot(self, name, value, kind, **more) -> Slot:
        return Slot(name, value, self.keep(value), kind, **more)

    def several(self, name, value, kind) -> list[Slot]:
        """One array, or one for each tower. Labels may be a list of numbers."""
        if isinstance(value, (tuple, list)) and any(map(is_array, value)):
            return [self.slot(name, one, kind, part=t) for t, one in enumerate(value) if is_array(one)]
        if name == "labels" and not is_array(value):
            return [Slot(name, value, self.keep(np.asarray(value)), kind)]
        if isinstance(value, (int, float, np.generic)):
            value = np.asarray(value)
        return [self.slot(name, value, kind)] if is_array(value) else []

    def hook(self, call):
        """What `sys.setprofile` calls: at the end of the watched functions it takes their local arrays."""
        layer, makers = call.layer, makers_of(call.layer, call.direction, call.function)
        body = code_of(call.function)

        def on_return(frame, event, result):
            maker = makers.get(frame.f_code) if event == "return" else None
            if maker is None:
                return
            code, found = frame.f_code, frame.f_locals
            own = maker not in layer.traced  # forward or backward, its own or inherited
            if own and found.get(code.co_varnames[0] if code.co_argcount else "") is not layer:
                return
            caller = frame
            while caller and caller.f_code is not body:
                caller = caller.f_back
            line = caller.f_lineno if caller and frame.f_code is not body else 0
            if frame.f_code is body:
                call.returned = frame.f_lineno
            arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            for name in (*code.co_varnames, *code.co_cellvars):
                more = {"maker": maker, "caller": line, "given": name in arguments, "of": name}
                for one, value in arrays_of(name, found.get(name), name in arguments):
                    call.locals.append(self.slot(one, value, call.direction, **more))

        return on_return


def host(array) -> np.ndarray:
    """A copy in host memory, row by row."""
    return np.array(to_numpy(array), order="C")


def is_numbers(value) -> bool:
    """An array of numbers, or a fraction that NumPy made of one, such as a mean. (Whole numbers of NumPy are sizes.)"""
    return isinstance(value, np.inexact) or (is_array(value) and np.dtype(value.dtype).kind in "biufc")


def arrays_of(name, value, given=False):
    """The array that a variable holds, by its name; of a list or a dict of arrays each, "ys[branch1]"."""
    if name == "_":
        return
    if is_numbers(value):
        yield name, value
    elif isinstance(value, (list, dict)) and not given and len(value) <= MOST_IN_A_LIST:
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        if all(isinstance(key, (str, int)) and is_numbers(one) for key, one in items):
            yield from ((f"{name}[{key}]", one) for key, one in items)


def code_of(function):
    return getattr(inspect.unwrap(function), "__code__", None)


def bodies_of(layer, direction, function) -> list:
    """The forward or the backward that was called, then those that it inherits from."""
    inherited = [
        inspect.unwrap(vars(cls)[direction]) for cls in type(layer).__mro__ if direction in vars(cls)
    ]
    return [function, *(one for one in inherited if code_of(one) is not code_of(function))]


def makers_of(layer, direction, function) -> dict:
    """The functions whose locals are kept, by their code: the body, those that it inherits from, those it names."""
    functions = [*layer.traced, *bodies_of(layer, direction, function)]
    return {code_of(one): one for one in functions if code_of(one) is not None}


def own_arrays(layer) -> dict:
    """The layer's Parameters, and its Constants of fractions, by name; not those of its children."""
    return {
        name: holder
        for name, holder in vars(layer).items()
        if isinstance(holder, Parameter)
        or (isinstance(holder, Constant) and np.dtype(holder.value.dtype).kind == "f")
    }


def paths_of(layer: Layer, path: str | None = None) -> dict[int, str | None]:
    """id -> name for the layer and all that are inside it; None is the name of the one that was given."""
    found = {id(layer): path}
    for name, child in layer.children().items():
        inside = (
            f"{path or ''}[{name}]"
            if isinstance(layer, Towers)
            else name
            if path is None
            else f"{path}.{name}"
        )
        found = paths_of(child, inside) | found  # a layer with two names keeps the first
    return found


def wrapped(*functions):
    return {function.__wrapped__ for function in functions}


SEQUENTIAL = wrapped(Sequential.forward, Sequential.backward, Model.backward)  # they only call their layers
TOWERS = wrapped(Towers.forward, Towers.backward)
