"""What every layer is: parameters with gradients, a device, and checks that are written once.

A layer is a class with `forward(x)` and `backward(grad_y)`. Both are wrapped here when the class is defined, so that
they can read like their equations: the wrapper checks device, rank, dtype and state, makes the layer's device the
current one, and takes the class's twin where there is one (see devices/twins.py).
"""

import contextvars
import copy
import functools
import inspect
import textwrap
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from minialex.devices import twins
from minialex.devices.device import Device, device_of, is_array, transfer
from minialex.errors import BackwardBeforeForward, DeviceMismatch, DtypeMismatch

Array = Any  # a NumPy or a CuPy array; (N, C, H, W) where a docstring does not say otherwise
# Who watches the calls of layers: None, or what has watch(layer, function, args, kwargs), which calls it; see tracing/.
watcher = contextvars.ContextVar("watcher", default=None)


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
        if name in (
            "value",
            "grad",
        ):  # NumPy makes a number of a 0-d array, which an update in place would not reach
            value = as_array(value)
        super().__setattr__(name, value)

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


class Saved(SimpleNamespace):
    """What forward kept for backward, by name."""

    def __getattr__(self, name):  # only for what is not there
        kept = f"; it kept {', '.join(vars(self))}" if vars(self) else ""
        raise AttributeError(f"forward kept no {name!r}: write self.save({name}=...) in it{kept}")


class Layer:
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
    names_children = True  # does a child's key stand in the names of what is inside? (Not a tower's number.)
    is_whole = False  # a whole network: in another one, the names inside it stay
    saved: Saved | None = None  # what forward kept by `save`
    _output = None  # (shape, dtype) of what forward returned, until backward has used it
    _twin_backward = None  # what goes with the forward that was taken; None: the layer's own backward
    _running = False
    _owned = False  # has a container named it?
    _named: tuple[str, ...] = ()  # keys of the children that were named for standing in this one

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls):
            cls.forward = _checked_forward(cls.forward)
        if "backward" in vars(cls):
            cls.backward = _checked_backward(cls.backward)

    def __setattr__(self, name, value):
        if isinstance(value, Parameter) and not value.name:
            value.name = name
        value = plain(value)
        if isinstance(value, np.ndarray) and not value.ndim:
            is_argument = name in inspect.signature(type(self)).parameters  # then it is a setting
            value = number(value) if is_argument else value
        super().__setattr__(name, value)

    # ---- for those who write layers ----

    @property
    def xp(self):
        """The array module of this layer's device."""
        return self.device.xp

    def save(self, **arrays) -> None:
        """Keep arrays for backward, as `self.saved.<name>`. Each forward starts afresh."""
        self.saved = Saved(**arrays)

    def children(self) -> dict[str, "Layer"]:
        """The layers inside this one, by name."""
        return {}

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

    @property
    def dtype(self) -> np.dtype | None:
        """What the layer computes in: its parameters' dtype; None where it has none and follows its input."""
        for value in vars(self).values():
            if isinstance(value, Parameter):
                return value.value.dtype
        return next((p.value.dtype for p in self.parameters()), None)

    def to(self, device: str | Device) -> "Layer":
        """Move parameters, gradients and constants to another device; returns the layer."""
        device = Device(device)
        self._change(lambda array: transfer(array, device))
        self.device = device
        for child in self.children().values():
            child.to(device)
        return self

    def astype(self, dtype) -> "Layer":
        """Let the layer compute in another floating-point type; returns the layer."""
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise DtypeMismatch(f"{self}: layers compute in floating-point types, not in {dtype}")
        with self.device:
            self._change(lambda array: array.astype(dtype) if array.dtype.kind == "f" else array)
        for child in self.children().values():
            child.astype(dtype)
        return self

    def __call__(self, *args, **kwargs):
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

    def train(self, mode: bool = True) -> "Layer":
        """Training mode (dropout drops), or evaluation mode (it lets everything through); returns the layer."""
        self.training = mode
        for child in self.children().values():
            child.train(mode)
        return self

    def eval(self) -> "Layer":
        """Evaluation mode; returns the layer."""
        return self.train(False)

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

    def __str__(self):
        return f"{self.name} ({type(self).__name__})" if self.name else type(self).__name__

    def __repr__(self):
        """How it was made, as far as it has kept that, and what is inside."""
        names = inspect.signature(type(self)).parameters
        plain = [f"{name}={value!r}" for name in names if is_setting(value := vars(self).get(name))]
        inside = [
            f"  {name}: {textwrap.indent(repr(layer), '  ').strip()}"
            for name, layer in self.children().items()
        ]
        arguments = ", ".join(plain) if not inside else "\n".join(["", *inside, ""])
        return f"{type(self).__name__}({arguments})"

    # ---- the checks ----

    def check_input(self, x: Array) -> None:
        """Raise if `forward` cannot take this array."""
        self._check_array(x, "input")
        if self.input_rank is not None and x.ndim != self.input_rank:
            letters = {2: "(N, features)", 4: "(N, C, H, W)"}[self.input_rank]
            raise ValueError(f"{self} takes {letters}, {self.input_rank} axes; the input has shape {x.shape}")
        if x.size == 0:
            raise ValueError(f"{self}: the input is empty, shape {x.shape}; at least one picture is needed")
        if self.needs_batch and x.ndim == 0:
            raise ValueError(f"{self} takes a batch; the input is one number, of shape ()")
        wanted = self.dtype
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

    def _check_array(self, array, what):
        if not is_array(array):
            raise TypeError(f"{self} takes a NumPy or CuPy array, the {what} is a {type(array).__name__}")
        if device_of(array) is not self.device:
            raise DeviceMismatch(
                f"{self} is on {self.device.name}, the {what} on {device_of(array).name}: "
                f'use transfer(array, "{self.device.name}"), or layer.to("{device_of(array).name}")'
            )


def plain(value):
    """One of NumPy's numbers as Python's: as a setting it would make float32 arrays float64. The rest as it is."""
    if type(value) is tuple:
        parts = tuple(map(plain, value))
        return parts if any(one is not part for one, part in zip(value, parts, strict=True)) else value
    return value.item() if isinstance(value, np.generic) else value


def number(value):
    """A number of NumPy, or an array of one on the host, as Python's number; the rest as it is."""
    return value.item() if isinstance(value, np.ndarray) and not value.ndim else plain(value)


def as_array(value):
    """One of NumPy's numbers, which operations make of 0-d arrays, as such an array. The rest as it is."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def is_setting(value) -> bool:
    """Is this a number (True is one), a text, or a tuple of such?"""
    return all(map(is_setting, value)) if isinstance(value, tuple) else isinstance(value, (int, float, str))


def give_name(layer: Layer, key: str, owner: Layer) -> None:
    """A container names a child that has no name yet: its "weight" becomes "conv1.weight", and so all that is inside.

    What another container has named keeps its name, and so does all that is inside of a whole network.
    """
    if not layer._owned:
        layer._owned = True
        owner._named = (*owner._named, key)
        _prefix(layer, ".".join([owner.name] * bool(owner.name) + [key] * owner.names_children))


def _prefix(layer, prefix):
    """Before the layer's name, and those that it has given. A block that is no container gives its children's keys."""
    before = layer.name
    layer.name = f"{prefix}.{before}" if before else prefix
    if layer.is_whole:
        return
    for value in vars(layer).values():
        if isinstance(value, Parameter) and (
            value.name.startswith(f"{before}.") if before else "." not in value.name
        ):
            value.name = f"{prefix}.{value.name}"  # one that another layer has as well keeps that one's name
    for key, child in layer.children().items():
        if not child._owned:
            give_name(child, key, owner=layer)
        elif key in layer._named:
            _prefix(child, prefix)


def check_different(named: list[tuple[str, Parameter]], what: str) -> None:
    """Raise if two parameters have one name, unless they are different parts of one whole."""
    counts = Counter((name, p.part) for name, p in named)
    for (name, _), count in counts.items():
        if count > 1:
            raise ValueError(f"{what}: {count} parameters are called {name!r}; they need names of their own")


def _checked_forward(forward):
    """`forward` with the checks before it, or its twin. A subclass that calls super().forward is checked once."""
    input_name = list(inspect.signature(forward).parameters)[1]  # "x"; a loss says "logits"

    @functools.wraps(forward)
    def checked(self, *args, **kwargs):
        if self._running:
            return forward(self, *args, **kwargs)
        x, *args = args or [kwargs.pop(input_name, None)]
        x = as_array(x)
        self.check_input(x)
        twin, watching = twins.chosen(self, x), watcher.get()
        state = vars(self)  # set in here: quicker than as attributes, which are searched for Parameters
        state["saved"] = state["_output"] = None
        state["_twin_backward"] = twin and twin.backward
        state["_running"] = True
        try:
            with self.device:
                if watching:
                    y = watching.watch(self, forward, (x, *args), kwargs)
                else:
                    y = (twin.forward if twin else forward)(self, x, *args, **kwargs)
        finally:
            state["_running"] = False
        y = _array_of(self, y, dtype_of(x), "forward gave")
        if y is None:
            raise TypeError(f"{self}: forward returned None; is its last line `return y`?")
        state["_output"] = (y.shape, y.dtype) if is_array(y) else ("?", dtype_of(y))
        return y

    return checked


def _checked_backward(backward):
    """`backward` with the checks before it; it may be called once after each forward.

    `input_grad=False` says that nobody needs the gradient of the input; a layer for which that saves work takes it
    as an argument of its backward.
    """
    takes_input_grad = "input_grad" in inspect.signature(backward).parameters

    @functools.wraps(backward)
    def checked(self, *grad, **kwargs):
        if self._running:
            return backward(self, *grad, **kwargs)
        if self._output is None:
            raise BackwardBeforeForward(f"{self}: backward needs a forward before it, one for each backward")
        if len(grad) == 2:  # by position
            *grad, kwargs["input_grad"] = grad
        options = {"input_grad": kwargs.pop("input_grad")} if "input_grad" in kwargs else {}
        given = number if self.takes_number else as_array
        grad, kwargs = [given(one) for one in grad], {name: given(one) for name, one in kwargs.items()}
        self.check_grad(*grad, *kwargs.values())  # given by position or by its name
        kwargs.update(options if takes_input_grad else {})
        watching, twin_backward = watcher.get(), self._twin_backward
        state = vars(self)
        state["saved"] = self.saved or Saved()  # whose error says what forward has forgotten
        state["_running"] = True
        try:
            with self.device:
                if watching:
                    grad_x = watching.watch(self, backward, grad, kwargs)
                else:
                    grad_x = (twin_backward or backward)(self, *grad, **kwargs)
        finally:
            state["_running"] = False
        grad_x = _array_of(self, grad_x, self._output[1], "backward gave")
        _check_parameter_grads(self)
        state["saved"] = state["_output"] = state["_twin_backward"] = None
        return grad_x if options.get("input_grad", True) else None

    return checked


def dtype_of(value):
    """Of an array; of a tuple of arrays, one for each tower, that of the first; else None."""
    first = value[0] if isinstance(value, tuple) and value else value
    return first.dtype if is_array(first) else None


def _array_of(layer, result, dtype, what):
    """What a layer made, if it has the dtype that it should; NumPy's numbers as 0-d arrays."""
    if isinstance(result, tuple):
        return tuple(_array_of(layer, one, dtype, what) for one in result)
    result = as_array(result)
    if is_array(result) and dtype is not None and dtype.kind == "f" and result.dtype != dtype:
        raise DtypeMismatch(
            f"{layer}: {what} {result.dtype} where {dtype} went in: float32 in, float32 out. Numbers of NumPy and "
            f"arrays of another type widen it: use float(number), or array.astype({str(dtype)!r})"
        )
    return result


def _check_parameter_grads(layer):
    """Has backward given each of the layer's own parameters a gradient like it?"""
    for name, p in vars(layer).items():
        if isinstance(p, Parameter) and p.grad is not None:
            if not is_array(p.grad) or p.grad.shape != p.value.shape:
                found = f"shape {p.grad.shape}" if is_array(p.grad) else f"a {type(p.grad).__name__}"
                raise ValueError(
                    f"{layer} gives {found} as gradient of {name}, which has shape {p.value.shape}"
                )
            if p.grad.dtype != p.value.dtype:
                raise DtypeMismatch(
                    f"{layer} gives {p.grad.dtype} as gradient of {name}, which is {p.value.dtype}: use float(number) "
                    f"for a number of NumPy, or array.astype({str(p.value.dtype)!r})"
                )
