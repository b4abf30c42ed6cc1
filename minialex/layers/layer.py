"""What every layer is: parameters with gradients, a device, and checks that are written once.

A layer is a class with `forward(x)` and `backward(grad_y)`. Both are wrapped when the class is defined, so that they
can read like their equations: calls.py checks device, rank, dtype and state, makes the layer's device the current one,
and takes the class's twin where there is one.
"""

import copy
import inspect
import os
import reprlib
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minialex.devices.device import Device, device_of, is_array, transfer
from minialex.errors import DeviceMismatch, DtypeMismatch
from minialex.layers.calls import Saved, checked_backward, checked_forward
from minialex.layers.elsewhere import OF_LAYERS, Elsewhere, told_arguments, without_settings
from minialex.layers.holder import Holder
from minialex.layers.parameter import Constant, Parameter
from minialex.layers.settings import is_setting
from minialex.words import a_or_an, did_you_mean, yes_or_no

if TYPE_CHECKING:
    from typing_extensions import Self

Array = Any  # a NumPy or a CuPy array; (N, C, H, W) where a docstring does not say otherwise
SHORT = reprlib.Repr()  # of what is long, the ends
SHORT.maxtuple, SHORT.maxstring, SHORT.maxlong = 8, 60, 60


def at_least_float32(x: Array) -> Array:
    """x itself, but for float16, which ends at 65,504: squares, sums and counts of many numbers have no room there.

    >>> at_least_float32(np.ones(1, np.float16)).dtype, at_least_float32(np.ones(1)).dtype
    (dtype('float32'), dtype('float64'))
    """
    return x if x.dtype.itemsize >= 4 else x.astype("float32")


class Layer(Holder):
    """The base of all layers. A subclass sets Parameters in `__init__` and writes `forward` and `backward`.

    Inside: `self.xp` is the array module, `self.save(x=x)` keeps what backward needs, `self.saved.x` reads it.
    `backward` sets each `parameter.grad` and returns the gradient of the input.

    >>> class Double(Layer):
    ...     def forward(self, x):
    ...         return 2 * x
    ...     def backward(self, grad_y):
    ...         return 2 * grad_y
    >>> Double().backward(np.ones(3))
    Traceback (most recent call last):
    minialex.errors.BackwardBeforeForward: Double: backward needs a forward before it, one for each backward
    """

    name = ""  # what the first model that it came into calls it
    traced: tuple = ()  # functions of which forward and backward are made, whose insides a trace shows as well
    device = Device("cpu")
    training = True
    input_rank: int | None = None  # how many axes the input must have; None: any number
    needs_batch = False  # must the input have an axis for the pictures, whatever else it has?
    takes_number = False  # is the gradient that backward gets a number? (A loss's is.)
    is_whole = False  # a whole network: in another one, the names inside it stay
    saved: Any = None  # what forward kept by `save`: a Saved
    # Hears after a backward that the gradients in here are final.
    when_final: Callable[["Layer"], None] | None = None
    forward: Callable[..., Array]  # these two a subclass writes
    backward: Callable[..., Array]
    _output = None  # (shape, dtype) of what forward returned, until backward has used it
    _input_shape = None  # of the array that forward got
    _twin_backward = None  # what goes with the forward that was taken; None: the layer's own backward
    _running = False
    hangs_on_parts = False  # must the layers in it be as forward has left them, when backward comes?
    _is_known = False  # is it a part of a network whose files say what it is made of?
    _owned = False  # has a container named it?
    _named: tuple[str, ...] = ()  # keys of the children that were named for standing in this one

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        for method, takes in (("forward", "self, x"), ("backward", "self, grad_y")):
            if method == "backward" and cls.takes_number:
                continue  # a loss's may do without
            if method in vars(cls) and len(inspect.signature(getattr(cls, method)).parameters) < 2:
                raise TypeError(f"{cls.__name__}.{method} takes ({takes}): write `def {method}({takes}):`")
        if "__init__" in vars(cls):
            cls.__init__ = told_arguments(cls.__init__)
        if "forward" in vars(cls):
            cls.forward = checked_forward(cls.forward)
            if "_shapes" not in vars(cls):
                cls._shapes = Layer._shapes  # another forward may have weights of other shapes
        if "backward" in vars(cls):
            cls.backward = checked_backward(cls.backward)

    if not TYPE_CHECKING:  # who sees there that a layer without settings takes nothing
        __init__ = without_settings

    def __setattr__(self, name, value):
        if name == "training":
            value = yes_or_no(value, f"{type(self).__name__}: training")
        if callable(getattr(Layer, name, None)) and not callable(value):
            raise TypeError(
                f"{self}: {name} is what every layer can do: give this {type(value).__name__} another name"
            )
        super().__setattr__(name, value)

    # ---- for those who write layers ----

    @property
    def xp(self) -> Any:
        """The array module of this layer's device."""
        return self.device.xp

    def save(self, *unnamed, **arrays) -> None:
        """Keep arrays for backward, as `self.saved.<name>`. Each forward starts afresh."""
        if unnamed and isinstance(unnamed[0], (str, os.PathLike)):
            raise TypeError(f"{self}: a network is written to a file by mx.save(model, {str(unnamed[0])!r})")
        if unnamed:
            raise TypeError(
                f"{self}: self.save takes arrays with names, for backward to find: self.save(x=x)"
            )
        vars(self)["saved"] = Saved(**arrays)  # in each step: what __setattr__ looks for is not there

    def split(self, parts: int) -> list["Layer"]:
        """This layer as so many equal ones, side by side: one for each tower. Here: copies, each for its own maps."""
        if self.children() or any(isinstance(value, (Parameter, Constant)) for value in vars(self).values()):
            raise ValueError(f"{self} does not know how to split itself over towers")
        return [copy.deepcopy(self) for _ in range(parts)]

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Multiplications in matrix products of one forward pass, for `summary`."""
        return 0

    def column_bytes(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Bytes of im2col columns that this input would make, all at once, for `summary`."""
        return 0

    def numbers_crossing(self, x_shape: tuple[int, ...]) -> int:
        """How many numbers of a forward pass go from one tower's device to the other's, for `summary`."""
        return 0

    # ---- for those who use them ----

    @property
    def dtype(self) -> np.dtype | None:
        """What the layer computes in: its parameters' dtype; None where it has none and follows its input."""
        for value in vars(self).values():
            if isinstance(value, Parameter):
                return value.value.dtype
        inside = self.children().values()
        if type(self).parameters is not Layer.parameters:  # it lists them in a way of its own
            inside = [self]
        return next((p.value.dtype for layer in inside for p in layer.parameters()), None)

    def to(self, device: str | Device) -> "Self":
        """Move parameters, gradients and constants to another device; returns the layer."""
        device = Device(device)
        self._change(lambda array: transfer(array, device))
        self.device = device
        for child in self.children().values():
            child.to(device)
        return self

    def astype(self, dtype) -> "Self":
        """Let the layer compute in another floating-point type; returns the layer."""
        try:
            dtype = np.dtype(dtype)
        except TypeError as error:
            meant = did_you_mean(dtype, ("float32", "float64"))
            raise DtypeMismatch(
                f'{self}: there is no type {dtype!r}{meant}: use "float32" or "float64"'
            ) from error
        if dtype.kind != "f":
            raise DtypeMismatch(f"{self}: layers compute in floating-point types, not in {dtype}")
        with self.device:
            self._change(lambda array: array.astype(dtype) if array.dtype.kind == "f" else array)
        for child in self.children().values():
            child.astype(dtype)
        return self

    def __call__(self, *args, **kwargs) -> NoReturn:
        raise TypeError(f"{self}: a layer is not called, use layer.forward(x), and layer.backward(grad_y)")

    def _change(self, change):
        self.saved = self._output = None
        inside = {id(p) for child in self.children().values() for p in child.parameters()}
        listed = [p for p in self.parameters() if id(p) not in inside]  # in a way of its own, perhaps
        for holder in {id(holder): holder for holder in (*vars(self).values(), *listed)}.values():
            if isinstance(holder, (Parameter, Constant)):
                holder.value = change(holder.value)
            if isinstance(holder, Parameter) and holder.grad is not None:
                holder.grad = change(holder.grad)

    def train(self, mode: bool = True) -> "Self":
        """Training mode (dropout drops), or evaluation mode (it lets everything through); returns the layer."""
        self.training = mode
        for child in self.children().values():
            child.train(mode)
        return self

    def eval(self) -> "Self":
        """Evaluation mode; returns the layer."""
        return self.train(False)

    def in_a_word(self) -> str:
        """Its name, if it has one, and its class."""
        return f"{self.name} ({type(self).__name__})" if self.name else type(self).__name__

    def __format__(self, spec: str) -> str:
        """In a message, f"{layer}", it is a word; printed, all that is inside."""
        own = type(self).__str__ is not object.__str__
        return format(str(self) if own else self.in_a_word(), spec)

    def __repr__(self) -> str:
        """How it was made, as far as it has kept that, and what is inside."""
        known, own = inspect.signature(type(self)).parameters, vars(self)
        plain = [f"{name}={SHORT.repr(own[name])}" for name in known if is_setting(own.get(name))]
        if "bias" in known and "bias" in own and own["bias"] is None:
            plain.append("bias=False")
        arguments = ", ".join(plain)
        inside = [
            f"  {name}: {textwrap.indent(repr(layer), '  ').strip()}"
            for name, layer in self.children().items()
        ]
        if inside:
            arguments = "\n".join(["", *([f"  {arguments}"] if plain else []), *inside, ""])
        return f"{type(self).__name__}({arguments})"

    # ---- the checks ----

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """What shapes its settings ask of its arrays, by name."""
        return {}

    def check_input(self, x: Array) -> None:
        """Raise if `forward` cannot take this array."""
        wanted = self.dtype
        self._check_own(wanted)
        self._check_array(x, "input")
        if self.input_rank is not None and x.ndim != self.input_rank:
            letters = {2: "(N, features), ", 4: "(N, C, H, W), "}.get(self.input_rank, "")
            raise ValueError(f"{self} takes {letters}{self.input_rank} axes; the input has shape {x.shape}")
        if x.size == 0:
            raise ValueError(f"{self}: the input is empty, shape {x.shape}; at least one picture is needed")
        if self.needs_batch and x.ndim == 0:
            raise ValueError(f"{self} takes a batch; the input is one number, of shape ()")
        if wanted is None and x.dtype.kind != "f":
            raise DtypeMismatch(
                f'{self} takes floating-point numbers, the input is {x.dtype}: use x.astype("float32")'
            )
        if wanted is not None and x.dtype != wanted:
            raise DtypeMismatch(
                f'{self} computes in {wanted}, the input is {x.dtype}: use x.astype("{wanted}")'
                + (f', or layer.astype("{x.dtype}")' if x.dtype.kind == "f" else "")
            )

    def check_grad(self, grad_y: Array) -> None:
        """Raise if `backward` cannot take this gradient."""
        self._check_array(grad_y, "gradient")
        shape, dtype = self._output
        if grad_y.shape != shape:
            raise ValueError(f"{self}: forward gave shape {shape}, the gradient has shape {grad_y.shape}")
        if grad_y.dtype != dtype:
            raise DtypeMismatch(f"{self}: forward gave {dtype}, the gradient is {grad_y.dtype}")

    def _check_own(self, dtype):
        """Do its own arrays go with its settings, and with each other?"""
        try:
            shapes = self._shapes()
        except AttributeError:  # a subclass that was made in another way, without these settings
            return
        for name, shape in shapes.items():
            kept = getattr(self, name)
            if kept is None:
                continue
            if kept.value.shape != shape:
                raise ValueError(
                    f"{self}: its {name} has shape {kept.value.shape}; its settings go with {shape}: make another layer"
                )
            if kept.value.dtype != dtype:
                raise DtypeMismatch(
                    f"{self} computes in {dtype}, its {name} is {kept.value.dtype}: use layer.astype({str(dtype)!r})"
                )

    def _check_array(self, array, what):
        if not is_array(array):
            raise TypeError(
                f"{self} takes a NumPy or CuPy array, the {what} is {a_or_an(type(array).__name__)}"
            )
        if device_of(array) is not self.device:
            raise DeviceMismatch(
                f"{self} is on {self.device.name}, the {what} on {device_of(array).name}: "
                f'use transfer(array, "{self.device.name}"), or layer.to("{device_of(array).name}")'
            )


# Single names, and no __getattr__ for all of them: that would hide errors inside properties.
for _name, _hint in OF_LAYERS.items():
    setattr(Layer, _name, Elsewhere(_name, _hint))
