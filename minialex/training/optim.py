"""The SGD rule of 2012; and `mx.optim`, which has the schedules, too."""

import math

import numpy as np

from minialex.devices import twins
from minialex.devices.device import array_module, device_of, transfer
from minialex.errors import DtypeMismatch
from minialex.layers.elsewhere import NOTHING_TO_ZERO, Elsewhere, Never, told_arguments
from minialex.layers.layer import Array, Layer
from minialex.layers.parameter import Parameter
from minialex.layers.settings import number_or_nan
from minialex.training.schedules import (
    Constant,
    Cosine,
    Cosines,
    Plateau,
    Step,
    make_schedule,
    settings_of,
    take_up,
)
from minialex.words import a_or_an, counted, did_you_mean

__all__ = [
    "SGD", "Constant", "Cosine", "Cosines", "Plateau", "Step", "make_schedule", "settings_of", "take_up", "update",
]  # fmt: skip

NUMBERS = ("lr", "momentum", "weight_decay", "penalty")  # of SGD; they may be set anew between two steps


def update(w, v, grad, lr: float, momentum: float, decay: float) -> None:
    """v <- momentum * v - decay * w - lr * grad;  w <- w + v, in place: a weight may lie in shared memory

    decay: lr times the weight decay.
    """
    v *= momentum
    if decay:  # 0 * infinity would not be a number
        v -= decay * w
    v -= lr * grad
    w += v


class SGD:
    """v <- momentum * v - lr * weight_decay * w - lr * grad;    w <- w + v

    (Krizhevsky et al. 2012, section 5.) Here lr is `lr * parameter.lr_scale`, and the decay is left out where
    `parameter.decay` is False: at biases, unless asked. Where lr_scale is 0, nothing is done.
    Weights and velocities change in place, on the parameter's own device.
    penalty, of a network's gates (layers/gate.py): what is made smaller is loss + penalty * (the sum of all gates, each
    times its cost), each of them from 0 to 1. So penalty * cost is added to a gate's gradient, and after the update
    follows the parameter's `proximal` step, which puts it back into that range: w <- proximal(w + v). With a penalty of
    0, too.
    Raises ValueError for numbers that make no sense, or when a parameter has no gradient yet.

    >>> w = Parameter(np.array([1.0]))
    >>> w.grad = np.array([10.0])
    >>> optimizer = SGD([w], lr=0.01, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.step()
    >>> w.value                                           # 1 - 0.1 - (0.9 * 0.1 + 0.1)
    array([0.71])
    """

    @told_arguments
    def __init__(
        self, parameters, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, *, penalty: float = 0.0
    ):
        if isinstance(parameters, Layer):
            raise TypeError(f"SGD takes parameters, not {parameters}: SGD(model.parameters(), lr=...)")
        if callable(parameters):
            raise TypeError(
                "SGD takes parameters, not what makes them: SGD(model.parameters(), lr=...), with ()"
            )
        self.parameters: list[Parameter] = list(parameters)
        if not self.parameters:
            raise ValueError("SGD: there are no parameters to train")
        first = {}
        for at, p in enumerate(self.parameters):
            if not isinstance(p, Parameter):
                raise TypeError(
                    f"SGD: number {at} is {a_or_an(type(p).__name__)}, not a Parameter: SGD(model.parameters(), lr=...)"
                )
            if first.setdefault(id(p), at) != at:
                raise ValueError(
                    f"SGD: {p.name or 'a parameter'} is given twice; it would move twice in each step"
                )
        self.lr, self.momentum, self.weight_decay, self.penalty = lr, momentum, weight_decay, penalty
        self._velocities: list[Array] = []
        for p in self.parameters:
            with device_of(p.value):
                self._velocities.append(array_module(p.value).zeros_like(p.value))

    def __setattr__(self, name, value):
        if name in NUMBERS:
            if not 0 <= number_or_nan(value) < math.inf:
                raise ValueError(f"SGD: {name} must be a number >= 0, not {value!r}")
            if name == "penalty" and value and not any(p.proximal for p in self.parameters):
                raise ValueError(f"SGD: penalty={value} is for gates, and none of these parameters is one")
        elif type(self) is SGD and name not in ("parameters", "_velocities", *vars(SGD)):
            raise no_such_number(name)
        super().__setattr__(name, value)

    zero_grad = Elsewhere("zero_grad", NOTHING_TO_ZERO)
    learning_rate, param_groups = (Never(name, "use lr") for name in ("learning_rate", "param_groups"))

    def __repr__(self) -> str:
        many = counted(len(self.parameters), "parameter")
        numbers = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay}
        return f"SGD({many}, {', '.join(f'{name}={value:g}' for name, value in numbers.items())})"

    @property
    def velocities(self) -> list[Array]:
        """One for each parameter, in its dtype and on its device: they follow when the model is moved or cast."""
        for at, (p, v) in enumerate(zip(self.parameters, self._velocities, strict=True)):
            if type(v) is type(p.value) is np.ndarray and v.dtype is p.value.dtype:
                continue  # nearly always
            if v.dtype != p.value.dtype or device_of(v) is not device_of(p.value):
                with device_of(v):
                    v = v.astype(p.value.dtype)
                self._velocities[at] = transfer(v, device_of(p.value))
        return self._velocities

    def step(self) -> None:
        """Move every parameter once, by its `grad`."""
        if not any(p.lr_scale for p in self.parameters):
            raise ValueError(
                "SGD: every parameter has lr_scale 0 and would stay as it is; where a network was extended since, make "
                "the optimizer anew: SGD(model.parameters(), lr=...)"
            )
        for p in self.parameters:
            if not p.lr_scale:
                continue
            grad, w = p.grad, p.value
            if grad is None or grad.shape != w.shape or grad.dtype is not w.dtype:
                self._check_grad(p)
        base, momentum, weight_decay = float(self.lr), float(self.momentum), float(self.weight_decay)
        for p, v in zip(self.parameters, self.velocities, strict=True):
            if not p.lr_scale:
                continue
            lr = base * float(p.lr_scale)
            device = device_of(p.value)
            with device:
                move = twins.update_on(device) or update
                grad = p.grad if p.proximal is None else p.grad + self._slope(p)
                move(p.value, v, grad, lr, momentum, lr * weight_decay if p.decay else 0.0)
                if p.proximal:
                    p.proximal(p.value)

    def _slope(self, p):
        """Of the penalty, at a gate."""
        return float(self.penalty) * (1.0 if p.costs is None else p.costs.value)

    def _check_grad(self, p):
        name = p.name or "a parameter"
        if p.grad is None:
            raise ValueError(
                f"SGD: {name} has no gradient: call backward before step, which sets its .grad; where a network was "
                "cut, unloaded or given another layer since, make the optimizer anew"
            )
        if p.grad.shape != p.value.shape:
            raise ValueError(f"SGD: {name} has shape {p.value.shape}, its gradient {p.grad.shape}")
        if p.grad.dtype != p.value.dtype:
            raise DtypeMismatch(
                f"SGD: {name} is {p.value.dtype}, its gradient {p.grad.dtype}: use grad.astype"
            )

    def set_velocities(self, velocities) -> None:
        """Put saved velocities back, each on its parameter's device and in its dtype.

        Raises, before anything is changed: ValueError for another number of them or another shape, and for what is no
        real number, or too large for the dtype; TypeError for what is no array.
        """
        # Here, since an import of minialex goes without.
        from minialex.weights.grouped import check_range, real_numbers

        velocities = list(velocities)
        if len(velocities) != len(self.velocities):
            raise ValueError(
                f"SGD: {counted(len(self.velocities), 'parameter')}, but "
                f"{counted(len(velocities), 'saved velocity', 'saved velocities')}"
            )
        names = [f"SGD: the saved velocity of {p.name or 'a parameter'}" for p in self.parameters]
        velocities = [real_numbers(name, saved) for name, saved in zip(names, velocities, strict=True)]
        for p, name, v, saved in zip(self.parameters, names, self.velocities, velocities, strict=True):
            if saved.shape != v.shape:
                raise ValueError(f"SGD: {p.name} has shape {v.shape}, its saved velocity {saved.shape}")
            check_range(name, saved, v.dtype)
        for v, saved in zip(self.velocities, velocities, strict=True):
            with device_of(v):
                v[...] = transfer(saved, device_of(v))


def no_such_number(name: str) -> AttributeError:
    """What to raise where somebody sets what SGD has not: nobody would read it."""
    return AttributeError(f"SGD has no {name}{did_you_mean(name, NUMBERS)}: it has {', '.join(NUMBERS)}")


def check_optimizer(optimizer, function: str, has: tuple[str, ...] = ("step",)) -> None:
    """Raise TypeError for what is no optimizer, as a class or a name. has: what the function uses of it."""
    if isinstance(optimizer, type):
        raise TypeError(
            f"{function}: optimizer is the class {optimizer.__name__}: write {optimizer.__name__}(...)"
        )
    if lacks := [name for name in has if not hasattr(optimizer, name)]:
        given = repr(optimizer) if isinstance(optimizer, str) else a_or_an(type(optimizer).__name__)
        raise TypeError(
            f"{function}: optimizer is {given}, which has no `{lacks[0]}`: give mx.SGD(model.parameters(), lr=0.01)"
        )


def __getattr__(name):
    if name in ("Adam", "AdamW", "RMSprop", "Adagrad", "Optimizer"):
        raise AttributeError(f"mx.optim has no {name!r}: the optimizer here is mx.SGD")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
