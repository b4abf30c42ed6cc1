"""Twins: a faster text of what a layer does, and the choice between it and the layer's own, the textbook's.

A twin is a pair of functions, forward and backward, for exactly one class on one kind of device: a subclass has its
own lines, and if wanted a twin of its own. They live in the room fast/: `minialex.fast.cpu` and `minialex.fast.cuda`
each hold a table TWINS. It is loaded by name, when a layer first asks; without that folder all works by the textbook.

Which text is used: the textbook's inside `with textbook():` and where `Device(...).fast` is False. On CPUs and GPUs
twins are on; MINIALEX_FAST=0 turns all of them off.
"""

import contextvars
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

_textbook = contextvars.ContextVar("textbook", default=False)


def _always(layer, x) -> bool:
    return True


class Twin(NamedTuple):
    """forward(layer, x, ...) and backward(layer, grad_y, ...), as the layer's own; accepts(layer, x): is x for it?"""

    forward: Callable
    backward: Callable
    accepts: Callable[[Any, Any], bool] = _always


def fast_by_default(kind: str) -> bool:
    """On, but for pretended GPUs, which have no twins; MINIALEX_FAST=0 says off, MINIALEX_FAST=1 on."""
    asked = asked_by("MINIALEX_FAST")
    return asked == "1" if asked else kind != "sim"


def asked_by(variable: str) -> str:
    """What a variable of the environment says, "0" or "1"; "" where it is not set."""
    asked = os.environ.get(variable, "")
    if asked not in ("", "0", "1"):
        raise ValueError(f"{variable} must be 0, 1, or not set, not {asked!r}")
    return asked


@functools.cache
def twins_of(kind: str) -> dict[type | str, Any]:
    """The twins for "cpu", "cuda" or "sim" (it has none): by class, and "SGD", a function."""
    name = f"minialex.fast.{kind}"
    try:
        return importlib.import_module(name).TWINS
    except ModuleNotFoundError as error:
        if error.name not in (name, "minialex.fast"):
            raise
        return {}


def chosen(layer, x) -> Twin | None:
    """The twin that takes this call; None: the layer's own lines do."""
    device = layer.device
    if not device.fast or _textbook.get():
        return None
    twin = twins_of(device.kind).get(type(layer))
    return twin if twin is not None and twin.accepts(layer, x) else None


def update_on(device) -> Callable | None:
    """The twin of the SGD rule on this device; None: the textbook's lines."""
    return None if not device.fast or _textbook.get() else twins_of(device.kind).get("SGD")


def names_on(device) -> list[str]:
    """The twins that are on, by name.

    >>> from minialex.devices.device import Device
    >>> names_on(Device("sim:0"))
    []
    """
    found = twins_of(device.kind) if device.fast and not _textbook.get() else {}
    return sorted(key if isinstance(key, str) else key.__name__ for key in found)


@contextmanager
def textbook() -> Iterator[None]:
    """Inside of this, every layer runs its own lines, on every device: no twins.

    It holds for this thread and for the work that layers hand to others. A backward is of the kind of its forward.

    >>> with textbook():
    ...     _textbook.get()
    True
    """
    before = _textbook.set(True)
    try:
        yield
    finally:
        _textbook.reset(before)


def choice(device) -> tuple[bool, bool]:
    """Which text is used here, for another process to do the same."""
    return device.fast, _textbook.get()


@contextmanager
def chosen_as(device, choice: tuple[bool, bool]) -> Iterator[None]:
    """The choice of another process, inside of this."""
    device.fast = choice[0]
    before = _textbook.set(choice[1])
    try:
        yield
    finally:
        _textbook.reset(before)
