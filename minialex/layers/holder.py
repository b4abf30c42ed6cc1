"""What a layer holds, by name: its parameters, its buffers and the layers inside it; and what may be set in it.

Nobody lists them: what a layer has as an attribute is found. So an attribute that would not be found, trained, saved or
read is refused where it is set.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minialex.devices.device import is_array
from minialex.layers.elsewhere import LEFT_ALONE, NOT_LEFT_ALONE, check_spelling
from minialex.layers.parameter import Buffer, Constant, Parameter
from minialex.layers.settings import number, plain
from minialex.words import a_or_an

if TYPE_CHECKING:
    from minialex.layers.layer import Layer

KEPT = (Parameter, Buffer)
NUMBERS = (np.generic, list, tuple, int, float)


class Holder:
    """The part of every Layer that finds what is inside it."""

    # Settings that are checked whenever they are set, and by what: f(value, "Dropout: p") -> the value.
    # A subclass's come beside its parents'.
    takes: dict[str, Callable[[Any, str], Any]] = {}
    fixed: tuple[str, ...] = ()  # what is said where it is made, and never again
    names_children = True  # does a child's key stand in the names of what is inside? (Not a tower's number.)
    _parents: tuple[str, ...] = ()  # attributes that are layers around this one

    def children(self) -> dict[str, "Layer"]:
        """The layers inside this one, by name: those that it has as attributes, or in lists, tuples and dicts.

        `self.fc` is "fc", `self.blocks[0]` "blocks.0". A layer that is kept otherwise overrides this; what is not
        listed here is neither trained nor saved.
        """
        own = {name: value for name, value in vars(self).items() if name not in self._parents}
        return {key: layer for name, value in own.items() for key, layer in _layers_in(name, value)}

    def parameters(self) -> list[Parameter]:
        """All parameters, in a fixed order."""
        own = [value for value in vars(self).values() if isinstance(value, Parameter)]
        return own + [p for child in self.children().values() for p in child.parameters()]

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """All parameters with their names in here, in the order of `parameters`: as weight files have them.

        The names are those of `children`, whatever other models call the same parameters. Both towers' parts of one
        parameter have the same name.
        """
        names = {id(value): name for name, value in vars(self).items() if isinstance(value, Parameter)}
        for child, layer in self.children().items():
            for name, p in layer.named_parameters():
                names.setdefault(id(p), f"{child}.{name}" if self.names_children else name)
        # Some layers list parameters in a way of their own: these have no other name than that.
        return [(names.get(id(p), p.name), p) for p in self.parameters()]

    def named_buffers(self) -> list[tuple[str, Buffer]]:
        """What layers keep without training it (running means), with its names in here, as weight files have them."""
        own = [(name, value) for name, value in vars(self).items() if isinstance(value, Buffer)]
        inside = [
            (f"{child}.{name}" if self.names_children else name, buffer)
            for child, layer in self.children().items()
            for name, buffer in layer.named_buffers()
        ]
        return own + inside

    def counters(self) -> dict[str, int]:
        """What counts steps in here, by name (dropout's masks hang on it). Checkpoints keep it."""
        return {
            f"{name}.{key}": count
            for name, child in self.children().items()
            for key, count in child.counters().items()
        }

    def set_counters(self, counters: dict[str, int]) -> None:
        """Put back what `counters` gave."""
        for name, child in self.children().items():
            start = f"{name}."
            child.set_counters({k[len(start) :]: v for k, v in counters.items() if k.startswith(start)})

    # ---- what may be set ----

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        above = [base for base in reversed(cls.__mro__) if issubclass(base, Holder)]
        cls.takes = {name: check for base in above for name, check in vars(base).get("takes", {}).items()}

    def __setattr__(self, name, value):
        own = isinstance(value, (Holder, Parameter, Constant))  # no setting: what a layer is made of
        if not own:
            value = self._as_setting(name, value)
        self._check_replaces(name, value)
        self._check_is_found(name, value)
        if isinstance(value, KEPT) and not value.name:
            value.name = name
        if isinstance(value, Holder) and _is_in(self, value):
            vars(self)["_parents"] = (*self._parents, name)
        super().__setattr__(name, value)

    def _as_setting(self, name, value):
        """The value, checked where it is known what it may be; NumPy's numbers as Python's."""
        if name in self.takes:
            value = self.takes[name](value, f"{type(self).__name__}: {name}")
        elif self.takes and name not in vars(self):
            check_spelling(self, name)
        value = plain(value)
        if isinstance(value, np.ndarray) and not value.ndim:
            is_argument = name in inspect.signature(type(self)).parameters  # then it is a setting
            value = number(value) if is_argument else value
        return value

    def _check_replaces(self, name, value):
        """Raise where a value would stand in the place of what is trained, kept, or what all else hangs on."""
        if name in self.fixed and name in vars(self):
            raise AttributeError(f"{self}: {name} is said where it is made, and stays: make another one")
        before = vars(self).get(name)
        if isinstance(before, KEPT) and (is_array(value) or isinstance(value, NUMBERS)):
            kind, done = type(before).__name__, "trained" if isinstance(before, Parameter) else "kept"
            raise TypeError(
                f"{self}: {name} is a {kind}, and {a_or_an(type(value).__name__)} in its place would not be {done}: "
                f"write .{name}.value[...] = array"
            )
        if isinstance(value, Holder) and name not in vars(self) and _keeps_another(self, name, value):
            raise AttributeError(
                f"{self}: {name} is a layer inside it, which an attribute would not replace: make it anew with another"
            )

    def _check_is_found(self, name, value):
        """Raise for a value that nobody would look for."""
        if isinstance(value, type) and issubclass(value, Holder):
            raise TypeError(f"{self}: {name} is the class {value.__name__}: write {value.__name__}(...)")
        if value is False and name in NOT_LEFT_ALONE and name not in inspect.signature(type(self)).parameters:
            raise AttributeError(f"{self} has no {name}: {LEFT_ALONE}")
        if isinstance(value, (list, tuple, dict)) and type(self).parameters is Holder.parameters:
            inside = value.values() if isinstance(value, dict) else value
            if any(isinstance(one, Parameter) for one in inside):
                raise TypeError(
                    f"{self}: {name} is {a_or_an(type(value).__name__)} of Parameters, which nobody would train: "
                    "keep each as an attribute of its own, or write `parameters`"
                )


def _keeps_another(layer, name, value):
    """Has it another child of that name, which is no attribute of it?"""
    if type(layer).children is Holder.children:
        return False
    try:
        return layer.children().get(name, value) is not value
    except (AttributeError, LookupError):  # it is being made
        return False


def _is_in(layer, other):
    """Is a layer another one, or somewhere inside of it?"""
    return layer is other or any(_is_in(layer, child) for child in other.children().values())


def _layers_in(name, value):
    """(key, layer) for an attribute that is a layer, or holds some."""
    if isinstance(value, Holder):
        return [(name, value)]
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return []
    return [(f"{name}.{key}", layer) for key, layer in value.items() if isinstance(layer, Holder)]
