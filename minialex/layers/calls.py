"""The calls of a layer: what is checked before and after forward and backward, and which text of them runs."""

import contextvars
import functools
import inspect
from types import SimpleNamespace

import numpy as np

from minialex.devices import twins
from minialex.devices.device import is_array
from minialex.errors import BackwardBeforeForward, DtypeMismatch
from minialex.layers.parameter import Parameter
from minialex.layers.settings import as_array, number
from minialex.words import a_or_an

# Who watches the calls of layers: None, or what has watch(layer, function, args, kwargs), which calls it; see tracing/.
watcher = contextvars.ContextVar("watcher", default=None)


class Saved(SimpleNamespace):
    """What forward kept for backward, by name."""

    def __getattr__(self, name):  # only for what is not there
        kept = f"; it kept {', '.join(vars(self))}" if vars(self) else ""
        raise AttributeError(f"forward kept no {name!r}: write self.save({name}=...) in it{kept}")


def checked_forward(forward):
    """`forward` with the checks before it, or its twin. A subclass that calls super().forward is checked once."""
    input_name = list(inspect.signature(forward).parameters)[1]  # "x"; a loss says "logits"

    @functools.wraps(forward)
    def checked(self, *args, **kwargs):
        if self._running:
            return forward(self, *args, **kwargs)
        x, *args = args or [kwargs.pop(input_name, None)]
        if type(x) is not np.ndarray:
            x = as_array(x)
        self.check_input(x)
        watching = watcher.get()
        twin = None if watching else twins.chosen(self, x)
        state = vars(self)  # set in here: quicker than as attributes, which are searched for Parameters
        state["saved"] = state["_output"] = None
        state["_input_shape"] = x.shape if is_array(x) else None
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
        if self.hangs_on_parts:
            state["_outputs"] = {part: part._output for part in self.children().values()}
        if type(y) is np.ndarray and y.dtype is getattr(x, "dtype", None):  # nearly always; quickly done
            state["_output"] = y.shape, y.dtype
            return y
        y = _array_of(self, y, dtype_of(x), "forward gave")
        if y is None:
            raise TypeError(f"{self}: forward returned None; is its last line `return y`?")
        state["_output"] = (y.shape, y.dtype) if is_array(y) else ("?", dtype_of(y))
        return y

    return checked


def checked_backward(backward):
    """`backward` with the checks before it; it may be called once after each forward.

    `input_grad=False` says that nobody needs the gradient of the input; a layer for which that saves work takes it
    as an argument of its backward.
    """
    parameters = inspect.signature(backward).parameters
    takes_input_grad = "input_grad" in parameters
    wants_input_grad = parameters["input_grad"].default if takes_input_grad else True
    ours = (backward.__module__ or "").startswith("minialex.")  # tested for what would cost time in each call

    @functools.wraps(backward)
    def checked(self, *grad, **kwargs):
        if self._running:
            return backward(self, *grad, **kwargs)
        if self._output is None:
            raise BackwardBeforeForward(f"{self}: backward needs a forward before it, one for each backward")
        if not (grad or kwargs or self.takes_number):
            raise TypeError(f"{self}: backward takes the gradient of what forward gave: backward(grad_y)")
        if self.hangs_on_parts:
            for part, output in self._outputs.items():
                if part._output is not output:
                    raise was_used_since(self, part)
        if len(grad) == 2:  # by position
            *grad, kwargs["input_grad"] = grad
        options = {"input_grad": kwargs.pop("input_grad")} if "input_grad" in kwargs else {}
        if not (grad and type(grad[0]) is np.ndarray and grad[0].ndim):  # else it is what it should be
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
                if watching and not twin_backward:  # else forward ran where nobody watched
                    grad_x = watching.watch(self, backward, grad, kwargs)
                else:
                    grad_x = (twin_backward or backward)(self, *grad, **kwargs)
        finally:
            state["_running"] = False
        as_usual = type(grad_x) is np.ndarray and grad_x.dtype is self._output[1]
        if not (as_usual and grad_x.shape == self._input_shape):  # else there is nothing to say, quickly done
            grad_x = _array_of(self, grad_x, self._output[1], "backward gave")
            if kwargs.get("input_grad", wants_input_grad):
                _check_grad_x(self, grad_x)
        if not ours:
            _check_parameter_grads(self)
        state["saved"] = state["_output"] = state["_twin_backward"] = None
        if self.when_final is not None:
            self.when_final(self)
        return grad_x if options.get("input_grad", True) else None

    return checked


def was_used_since(layer, part):
    return BackwardBeforeForward(
        f"{layer}: {part} was used, moved or cast since this forward: go forward again"
    )


def _check_grad_x(layer, grad_x):
    """Has backward given a gradient of the input, of its shape?"""
    shape = layer._input_shape
    if grad_x is None:
        raise ValueError(f"{layer} gives None as gradient of x, which has shape {shape}")
    if shape is not None and is_array(grad_x) and grad_x.shape != shape:
        raise ValueError(f"{layer} gives shape {grad_x.shape} as gradient of x, which has shape {shape}")


def dtype_of(value):
    """Of an array; of a tuple of arrays, one for each tower, that of the first; else None."""
    first = value[0] if isinstance(value, tuple) and value else value
    return first.dtype if is_array(first) else None


def _array_of(layer, result, dtype, what):
    """What a layer made, if it has the dtype that it should; NumPy's numbers as 0-d arrays."""
    if isinstance(result, tuple):
        return tuple(_array_of(layer, one, dtype, what) for one in result)
    result = as_array(result)
    if dtype is not None and dtype.kind == "f" and is_array(result) and result.dtype != dtype:
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
                found = f"shape {p.grad.shape}" if is_array(p.grad) else a_or_an(type(p.grad).__name__)
                raise ValueError(
                    f"{layer} gives {found} as gradient of {name}, which has shape {p.value.shape}"
                )
            if p.grad.dtype != p.value.dtype:
                raise DtypeMismatch(
                    f"{layer} gives {p.grad.dtype} as gradient of {name}, which is {p.value.dtype}: use float(number) "
                    f"for a number of NumPy, or array.astype({str(p.value.dtype)!r})"
                )
