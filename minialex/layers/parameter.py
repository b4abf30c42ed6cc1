"""Arrays that belong to a layer: those that training changes, those that it keeps, and those that it leaves alone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minialex.devices.device import is_array
from minialex.layers.elsewhere import told_arguments
from minialex.layers.settings import as_array, finite
from minialex.words import a_or_an, nearest, yes_or_no

Array = Any
OF_PARAMETERS = ("value", "grad", "name", "decay", "lr_scale", "proximal", "costs", "part")


class Parameter:
    """An array that training changes.

    Attributes
        value       the array itself, which SGD writes into; p.value[...] = array copies yours
        grad        its gradient, set by the layer's `backward`; None before
        name        "weight", "bias"; "conv1.weight" once a model has named it, as which it stays
        decay       does weight decay apply? (By default not to biases.)
        lr_scale    multiplies the learning rate; 0: SGD leaves the parameter as it is
        proximal    what SGD does to the value after each step, in place, if it has a penalty; None: nothing
        costs       by which SGD's penalty on the value is multiplied, a Constant of its shape; None: 1
        part        (first, last + 1, all) along axis 0, where a tower holds only these rows of the whole; else None
    """

    @told_arguments
    def __init__(self, value: Array, *, decay: bool = True, lr_scale: float = 1.0):
        _check_is_array("Parameter", value)
        self.value = value
        if self.value.dtype.kind != "f":
            raise TypeError(
                f"Parameter takes an array of floats, np.array([1, 2], np.float32), not one of {self.value.dtype}"
            )
        self.grad: Array = None
        self.name = ""
        self.decay = decay
        self.lr_scale = lr_scale
        self.proximal: Callable[[Array], None] | None = None
        self.costs: Constant | None = None
        self.part: tuple[int, int, int] | None = None

    def __setattr__(self, name, value):
        # As arrays: NumPy makes a number of a 0-d array, which an update in place would not reach.
        if name == "grad":  # in each step
            if type(value) is not np.ndarray and value is not None:
                value = as_array(value)
                if not is_array(value):
                    raise TypeError(
                        f"{self.name or 'this Parameter'}: its grad is an array, not {a_or_an(type(value).__name__)}"
                    )
            super().__setattr__(name, value)
            return
        if name == "decay":
            value = yes_or_no(value, "Parameter: decay")
        elif name == "lr_scale":
            value = finite(value, "Parameter: lr_scale")
        elif name not in OF_PARAMETERS and (meant := _meant(name)):
            raise AttributeError(f"a Parameter has no {name}{meant}")
        if name == "value" and name in vars(self):
            _check_follows(self, value)
        super().__setattr__(name, as_array(value) if name == "value" else value)

    def split(self, parts: int) -> list["Parameter"]:
        """The rows of axis 0, dealt out to so many parameters of the same name."""
        return dealt_out(self, parts, lambda rows: Parameter(rows, decay=self.decay, lr_scale=self.lr_scale))

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, shape {self.value.shape}, {self.value.dtype})"


def _check_follows(p, value):
    """Is this an array that may take the value's place?"""
    who, dtype = p.name or f"this {type(p).__name__}", p.value.dtype
    if not is_array(value) and not isinstance(value, np.generic):
        raise TypeError(f"{who}: its value is an array, not {a_or_an(type(value).__name__)}")
    if value.dtype.kind != dtype.kind:
        raise TypeError(f'{who} is of {dtype}; the array is of {value.dtype}: use array.astype("{dtype}")')
    if value.shape != p.value.shape:
        raise ValueError(f"{who} has shape {p.value.shape}; the array has shape {value.shape}")


def _check_is_array(kind, value):
    if not is_array(value) and not isinstance(value, np.generic):
        raise TypeError(f"{kind} takes an array, or np.float32(0.25), not {a_or_an(type(value).__name__)}")


def _meant(name):
    """What to write in place of an attribute that nobody would read; "" of one that a learner may keep there."""
    if name in ("requires_grad", "trainable", "frozen"):
        return ": where its lr_scale is 0, SGD leaves it as it is"
    if name in ("lr", "learning_rate"):
        return ": its lr_scale multiplies SGD's lr"
    if name == "weight_decay":
        return ": its decay says whether SGD's weight_decay goes for it, True or False"
    if name in ("data", "array"):
        return ": its array is its value, p.value[...] = array"
    near = nearest(name, OF_PARAMETERS, cutoff=0.72)  # "gard" is, "old_grad" is not
    return f" (did you mean {near[0]}?)" if near else ""


class Constant:
    """An array that a layer reads and training leaves alone. It moves to other devices with its layer."""

    def __init__(self, value: Array):
        self.value = value

    def __setattr__(self, name, value):
        if name == "value":
            _check_is_array(type(self).__name__, value)
            value = as_array(value)
        super().__setattr__(name, value)


class Buffer(Constant):
    """An array that a layer keeps and no gradient changes, as batch normalisation its running mean.

    It is saved with the weights and in checkpoints, under its name, and moves and is cast with its layer.
    part: as a Parameter's.
    Raises TypeError for a value that is no array, or holds numbers of another kind than before, and ValueError for
    another shape.
    """

    def __init__(self, value: Array):
        super().__init__(value)
        if self.value.dtype.kind not in "fiub":
            raise TypeError(f"Buffer takes an array of numbers, not one of {self.value.dtype}")
        self.name = ""
        self.part: tuple[int, int, int] | None = None

    def __setattr__(self, name, value):
        if name == "value" and name in vars(self):
            _check_follows(self, value)
        super().__setattr__(name, value)

    def move(self, towards: Array, share: float) -> None:
        """value <- (1 - share) * value + share * towards, a new array: who holds the old one keeps it."""
        moved, dtype = (1 - share) * self.value + share * towards, self.value.dtype
        self.value = moved.astype(dtype, copy=False) if dtype.kind == "f" else moved

    def split(self, parts: int) -> list["Buffer"]:
        """As a Parameter's."""
        return dealt_out(self, parts, Buffer)

    def __repr__(self) -> str:
        return f"Buffer({self.name!r}, shape {self.value.shape}, {self.value.dtype})"


def dealt_out(whole, parts, make):
    """The rows of axis 0 of a Parameter or a Buffer, as so many of the same name."""
    rows = len(whole.value) // parts
    pieces = []
    for first in range(0, rows * parts, rows):
        piece = make(whole.value[first : first + rows].copy())
        piece.name, piece.part = whole.name, (first, first + rows, len(whole.value))
        pieces.append(piece)
    return pieces
