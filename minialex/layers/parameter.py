"""Arrays that belong to a layer: those that training changes, and those that it leaves alone."""

from typing import Any

from minialex.devices.device import is_array
from minialex.layers.settings import as_array

Array = Any


class Parameter:
    """An array that training changes.

    Attributes
        value       the array
        grad        its gradient, set by the layer's `backward`; None before
        name        "weight", "bias"; "conv1.weight" once a model has named it, as which it stays
        decay       does weight decay apply? (By default not to biases.)
        lr_scale    multiplies the learning rate
        part        (first, last + 1, all) along axis 0, where a tower holds only these rows of the whole; else None
    """

    def __init__(self, value: Array, decay: bool = True, lr_scale: float = 1.0):
        self.value = value
        if not is_array(self.value):
            raise TypeError(f"Parameter takes an array, or np.float32(0.25), not a {type(value).__name__}")
        self.grad: Array | None = None
        self.name = ""
        self.decay = decay
        self.lr_scale = lr_scale
        self.part: tuple[int, int, int] | None = None

    def __setattr__(self, name, value):
        # NumPy makes a number of a 0-d array, which an update in place would not reach.
        super().__setattr__(name, as_array(value) if name in ("value", "grad") else value)

    def split(self, parts: int) -> list["Parameter"]:
        """The rows of axis 0, dealt out to so many parameters of the same name."""
        rows = len(self.value) // parts
        pieces = []
        for first in range(0, rows * parts, rows):
            piece = Parameter(self.value[first : first + rows].copy(), self.decay, self.lr_scale)
            piece.name, piece.part = self.name, (first, first + rows, len(self.value))
            pieces.append(piece)
        return pieces

    def __repr__(self):
        return f"Parameter({self.name!r}, shape {self.value.shape}, {self.value.dtype})"


class Constant:
    """An array that a layer reads and training leaves alone. It moves to other devices with its layer."""

    def __init__(self, value: Array):
        self.value = as_array(value)
