"""Every call that is made on the array module and on arrays of `sim`, written down: what a GPU's would be asked for.

`recorded()` puts a recorder around `sim_numpy` and SimArray. A call that one of them makes inside itself is not one of
ours, and is left out: `a + b` is an operator, not also `add`.
"""

import functools
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minialex.devices import simdevice
from minialex.devices.simdevice import SimArray


class Call(NamedTuple):
    """One way of calling: `function stack([float32, ...], axis=int)`. Calls that differ in numbers alone are the same.

    kind: "function" of the module, "method", "operator" or "attribute" of an array, "constant" of the module.
    """

    kind: str
    name: str
    args: tuple[str, ...] = ()
    kwargs: tuple[tuple[str, str], ...] = ()

    def __str__(self):
        if self.kind in ("attribute", "constant"):
            return f"{self.kind} {self.name}"
        given = [*self.args, *(f"{name}={value}" for name, value in self.kwargs)]
        return f"{self.kind} {self.name}({', '.join(given)})"


class Header(NamedTuple):
    """What is kept of an array: enough to make another one like it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]
    on_host: bool = False


class Example(NamedTuple):
    """The arguments of one such call, with a Header for each array."""

    args: tuple
    kwargs: dict


name_of = functools.cache(str)


def described(value: Any) -> str:
    """An argument, as far as CuPy's answer hangs on it.

    >>> described((1, slice(None), np.float32(2), np.dtype("float32"), [0.5, 0.5]))
    '(int, slice, np.float32, dtype float32, [float, ...])'
    """
    if isinstance(value, (SimArray, Header)):
        return name_of(value.dtype)
    if isinstance(value, np.ndarray):
        return f"host {value.dtype}"
    if isinstance(value, np.generic):
        return f"np.{value.dtype}"
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return f"dtype {np.dtype(value)}"
    if value is None or value is Ellipsis:
        return str(value)
    if isinstance(value, (str, type)):
        return repr(value) if isinstance(value, str) else value.__name__
    if isinstance(value, (list, tuple)):
        inside = [described(one) for one in value]
        alike = len(inside) > 1 and len(set(inside)) == 1
        text = f"{inside[0]}, ..." if alike else ", ".join(inside)
        return f"[{text}]" if isinstance(value, list) else f"({text})"
    return type(value).__name__


def header_of(value: Any) -> Any:
    """The value, with a Header in place of each array."""
    if isinstance(value, SimArray):
        return Header(value.shape, value.dtype, value.strides)
    if isinstance(value, np.ndarray):
        return Header(value.shape, value.dtype, value.strides, on_host=True)
    if isinstance(value, (list, tuple)):
        return type(value)(header_of(one) for one in value)
    return value


class Recorder:
    """`calls`: every distinct Call, with an Example for each combination of ranks that it came with."""

    def __init__(self):
        self.calls: dict[Call, dict[tuple, Example]] = {}
        self.depth = 0

    def note(self, kind: str, name: str, args=(), kwargs=None):
        if self.depth:
            return
        self.depth += 1  # to look at an array's header is a call, too
        kwargs = dict(sorted(kwargs.items())) if kwargs else {}
        call = Call(kind, name, tuple(map(described, args)), tuple((k, described(kwargs[k])) for k in kwargs))
        ranks = tuple([getattr(argument, "ndim", None) for argument in args])
        examples = self.calls.setdefault(call, {})
        if ranks not in examples:
            examples[ranks] = Example(header_of(args), {k: header_of(kwargs[k]) for k in kwargs})
        self.depth -= 1

    def around(self, kind: str, name: str, function: Callable) -> Callable:
        def noted(*args, **kwargs):
            self.note(kind, name, args, kwargs)
            self.depth += 1
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1

        return noted

    def names(self, kind: str) -> set[str]:
        return {call.name for call in self.calls if call.kind == kind}


# A SimArray's own doings, which CuPy does in C: making it, looking up names, what `copy` and NumPy ask of it.
_NOT_CALLS = set(
    """
    __init__ __new__ __class__ __getattr__ __getattribute__ __setattr__ __delattr__ __repr__ __reduce__ __reduce_ex__
    __init_subclass__ __subclasshook__ __dir__ __sizeof__ __getstate__ __array__ __array_ufunc__ __array_function__
    __hash__ __str__
    """.split()
)


@contextmanager
def recorded():
    """Write down what is asked of `sim` inside a `with` block; yields the Recorder."""
    recorder = Recorder()
    before = {}

    def replace(owner, name, value):
        before[owner, name] = vars(owner).get(name)
        setattr(owner, name, value)

    module, strides = simdevice._SimNumpy, simdevice._SimNumpy.lib.stride_tricks
    get = object.__getattribute__

    def of_module(self, name):
        found = get(self, name)
        return found if name.startswith("_") or name == "lib" else around_name(name, found)

    def around_name(name, found):
        if isinstance(found, type) or not callable(found):
            recorder.note("constant", name)
            return found
        return recorder.around("function", name, found)

    of_others = module.__getattr__
    replace(module, "__getattribute__", of_module)
    replace(module, "__getattr__", lambda self, name: around_name(name, of_others(self, name)))
    as_strided = recorder.around("function", "lib.stride_tricks.as_strided", strides.as_strided)
    replace(strides, "as_strided", staticmethod(as_strided))

    of_array, seen = SimArray.__getattr__, set()

    def attribute(self, name):
        found = of_array(self, name)
        if not callable(found):
            if name not in seen and not recorder.depth:  # they are asked for all the time
                seen.add(name)
                recorder.note("attribute", name)
            return found
        if recorder.depth:
            return found
        method = recorder.around("method", name, lambda _, *args, **kwargs: found(*args, **kwargs))
        return lambda *args, **kwargs: method(self, *args, **kwargs)

    replace(SimArray, "__getattr__", attribute)
    of_ufunc = SimArray.__array_ufunc__

    def array_ufunc(self, ufunc, method, *inputs, **kwargs):
        """NumPy's own function on a SimArray, or a NumPy number before an operator."""
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        return recorder.around(
            "function", name, lambda *_, **__: of_ufunc(self, ufunc, method, *inputs, **kwargs)
        )(*inputs, **kwargs)

    replace(SimArray, "__array_ufunc__", array_ufunc)
    turned = SimArray.T.fget

    def T(self):
        recorder.note("attribute", "T")
        return turned(self)

    replace(SimArray, "T", property(T))
    for name in dir(SimArray):
        found = getattr(SimArray, name)
        if name in _NOT_CALLS or not callable(found) or (name.startswith("_") and not name.endswith("__")):
            continue
        kind = "operator" if name.startswith("__") else "method"
        replace(SimArray, name, recorder.around(kind, name, found))
    try:
        yield recorder
    finally:
        for (owner, name), value in before.items():
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
