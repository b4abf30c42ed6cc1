"""The SGD rule of 2012, and learning-rate schedules."""

import inspect
import math

import numpy as np

from minialex.devices import twins
from minialex.devices.device import array_module, device_of, transfer
from minialex.errors import DtypeMismatch
from minialex.layers.layer import Array, Layer, Parameter
from minialex.layers.settings import is_setting, number
from minialex.words import counted


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

    def __init__(
        self, parameters, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, penalty: float = 0.0
    ):
        if isinstance(parameters, Layer):
            raise TypeError(f"SGD takes parameters, not {parameters}: SGD(model.parameters(), lr=...)")
        self.parameters: list[Parameter] = list(parameters)
        if not self.parameters:
            raise ValueError("SGD: there are no parameters to train")
        first = {}
        for at, p in enumerate(self.parameters):
            if not isinstance(p, Parameter):
                raise TypeError(
                    f"SGD: number {at} is a {type(p).__name__}, not a Parameter: SGD(model.parameters(), lr=...)"
                )
            if first.setdefault(id(p), at) != at:
                raise ValueError(
                    f"SGD: {p.name or 'a parameter'} is given twice; it would move twice in each step"
                )
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "penalty": penalty}
        for name, value in numbers.items():
            if isinstance(value, str) or not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"SGD: {name} must be a number >= 0, not {value!r}")
        if penalty and not any(p.proximal for p in self.parameters):
            raise ValueError(f"SGD: penalty={penalty} is for gates, and none of these parameters is one")
        self.lr, self.momentum, self.weight_decay, self.penalty = lr, momentum, weight_decay, penalty
        self._velocities: list[Array] = []
        for p in self.parameters:
            with device_of(p.value):
                self._velocities.append(array_module(p.value).zeros_like(p.value))

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
                "cut or unloaded since, make the optimizer anew"
            )
        if p.grad.shape != p.value.shape:
            raise ValueError(f"SGD: {name} has shape {p.value.shape}, its gradient {p.grad.shape}")
        if p.grad.dtype != p.value.dtype:
            raise DtypeMismatch(
                f"SGD: {name} is {p.value.dtype}, its gradient {p.grad.dtype}: use grad.astype"
            )

    def set_velocities(self, velocities) -> None:
        """Put saved velocities back, each on its parameter's device."""
        velocities = list(velocities)
        if len(velocities) != len(self.velocities):
            raise ValueError(
                f"SGD: {counted(len(self.velocities), 'parameter')}, but "
                f"{counted(len(velocities), 'saved velocity', 'saved velocities')}"
            )
        for p, v, saved in zip(self.parameters, self.velocities, velocities, strict=True):
            if saved.shape != v.shape:
                raise ValueError(f"SGD: {p.name} has shape {v.shape}, its saved velocity {saved.shape}")
        for v, saved in zip(self.velocities, velocities, strict=True):
            with device_of(v):
                v[...] = transfer(saved, device_of(v))


# ---- schedules: each is called with the progress in epochs (2.5: in the middle of the third) and gives lr ----------


class Constant:
    """Always lr."""

    remembers: tuple[
        str, ...
    ] = ()  # what changes in a schedule while a run goes on; all else are its settings

    def __init__(self, lr: float):
        self.lr = lr

    def __setattr__(self, name, value):
        super().__setattr__(name, number(value))  # NumPy's would round otherwise, and is not fit for JSON

    def __call__(self, epoch: float) -> float:
        return self.lr

    def end_of_epoch(self, error: float | None) -> None:
        """Hear the held-out error of the epoch that ended; only Plateau listens."""

    def state(self) -> dict:
        """What a checkpoint must keep."""
        return {}

    def set_state(self, state: dict) -> None:
        """Put back what `state` gave, as far as it belongs to a schedule like this one."""

    def __repr__(self) -> str:
        settings = settings_of(self)
        return f"{settings.pop('kind')}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


class Step(Constant):
    """lr times `factor` at each of the epochs `at`: AlexNet's by hand, and the released code's 25, 51, 79.

    >>> schedule = Step(0.01, at=(2, 4))
    >>> [round(schedule(epoch), 6) for epoch in range(6)]
    [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    """

    def __init__(self, lr: float, at, factor: float = 0.1):
        super().__init__(lr)
        self.at, self.factor = tuple(map(number, at)), factor

    def __call__(self, epoch: float) -> float:
        return self.lr * self.factor ** sum(epoch >= start for start in self.at)


class Cosine(Constant):
    """From lr down to 0 along half a cosine over `epochs`, after a linear warm-up of `warmup` epochs.

        lr * (1 + cos(pi * progress)) / 2       (Loshchilov and Hutter 2017, equation 5)

    >>> schedule = Cosine(0.1, epochs=10, warmup=2)
    >>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 6, 10)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """

    def __init__(self, lr: float, epochs: float, warmup: float = 0.0):
        super().__init__(lr)
        self.epochs, self.warmup = epochs, warmup

    def __call__(self, epoch: float) -> float:
        if epoch < self.warmup:
            return self.lr * epoch / self.warmup
        progress = (epoch - self.warmup) / max(self.epochs - self.warmup, 1e-9)
        return self.lr * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


class Cosines(Constant):
    """A cosine again and again, `times` in all, each over as many whole epochs as can be dealt out: warm restarts

    (Loshchilov and Hutter 2017, section 3.) For networks that are trained part by part.

    >>> schedule = Cosines(0.1, epochs=4, times=2)
    >>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 3, 4)]
    [0.1, 0.05, 0.1, 0.05, 0.0]
    """

    def __init__(self, lr: float, epochs: int, times: int, warmup: float = 0.0):
        super().__init__(lr)
        self.epochs, self.times, self.warmup = epochs, times, warmup

    def __call__(self, epoch: float) -> float:
        number = min(int(epoch) * self.times // self.epochs, self.times - 1)
        first, end = (-(-at * self.epochs // self.times) for at in (number, number + 1))
        return Cosine(self.lr, end - first, self.warmup)(epoch - first)


class Plateau(Constant):
    """lr times `factor` when the held-out error has not improved for `patience` epochs: 2012's rule, automated.

    (Krizhevsky et al. 2012, section 5: "divide the learning rate by 10 when the validation error rate stopped
    improving".) It must be fed with a held-out error; the test set is not to be used for this.
    Its state says which lr it belongs to. Put into a Plateau of another lr, it leaves the best error there alone: the
    new lr holds from then on, and what was dropped from the old one, or waited for, is forgotten.

    >>> schedule = Plateau(0.01, patience=2)
    >>> for error in (50, 40, 41, 42):
    ...     schedule.end_of_epoch(error)
    >>> round(schedule(4), 6)
    0.001
    """

    remembers = ("drops", "waited", "best")

    def __init__(self, lr: float, factor: float = 0.1, patience: int = 3):
        super().__init__(lr)
        self.factor, self.patience = factor, patience
        self.drops, self.waited, self.best = 0, 0, math.inf

    def __call__(self, epoch: float) -> float:
        return self.lr * self.factor**self.drops

    def end_of_epoch(self, error: float | None) -> None:
        if error is None:
            raise ValueError(
                "Plateau needs a held-out error after each epoch: hold out a part of the training set"
            )
        if error < self.best:
            self.best, self.waited = error, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.drops, self.waited = self.drops + 1, 0

    def state(self) -> dict:
        best = self.best if self.best < math.inf else None
        return {"kind": "Plateau", "lr": self.lr, "drops": self.drops, "waited": self.waited, "best": best}

    def set_state(self, state: dict) -> None:
        if state.get("kind", "Plateau") != "Plateau" or not state.keys() & {"drops", "waited", "best"}:
            return  # another schedule's
        drops, waited, best = state["drops"], state["waited"], state["best"]
        self.best = math.inf if best is None else best
        same = state.get("lr", self.lr) == self.lr  # older states do not say
        self.drops, self.waited = (drops, waited) if same else (0, 0)


def make_schedule(name: str, lr: float, epochs: int, warmup: float = 0.0, times: int = 1) -> Constant:
    """The schedule for a command line's `--lr-scheduler`: constant, step, plateau or cosine.

    step drops after 1/2 and 3/4 of the epochs; warmup, in epochs, is cosine's; so is times: how often it begins anew.
    """
    if name == "constant":
        return Constant(lr)
    if name == "step":
        return Step(lr, at=(math.ceil(epochs / 2), math.ceil(epochs * 3 / 4)))
    if name == "plateau":
        return Plateau(lr)
    if name == "cosine":
        return Cosine(lr, epochs, warmup) if times == 1 else Cosines(lr, epochs, times, warmup)
    raise ValueError(f"unknown schedule {name!r}: use constant, step, plateau or cosine")


def settings_of(schedule: Constant) -> dict:
    """What a schedule was made with: its kind, and its numbers, as JSON has them.

    >>> settings_of(Step(0.01, at=(2, 4)))
    {'kind': 'Step', 'lr': 0.01, 'at': [2, 4], 'factor': 0.1}
    """
    remembers = getattr(schedule, "remembers", ())
    settings = {k: v for k, v in vars(schedule).items() if is_setting(v) and k not in remembers}
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    return {"kind": type(schedule).__name__, **settings}


def take_up(schedule: Constant, saved: dict, was: dict | None, epoch: float, epochs: int) -> str:
    """Put the state that a checkpoint has saved into a schedule; returns what is to be said of the rate from here on.

    was: the settings of the schedule that saved it, or None where nobody knows. epoch: where the run goes on (2.5: in
    the middle of the third) of so many epochs. What the schedule itself was made with holds, whatever it was before.
    """
    settings = settings_of(schedule)
    if saved and (was is None or was["kind"] == settings["kind"]):
        schedule.set_state(saved)
    here, rate = f"Going on in epoch {int(epoch) + 1}", f"{schedule(epoch):.4g}"
    drops = getattr(schedule, "drops", 0)
    if was is None or was == settings:
        dropped = f", after {drops} drop{'s' * (drops > 1)}" if drops else ""
        return f"{here} at a learning rate of {rate}{dropped}."
    before = _made_with(was)
    if before is None:
        return f"{here}. The schedule was {was['kind']} and is now {schedule!r}: the rate is {rate} here."
    before.set_state(saved)
    text = f"{here}. The schedule was {before!r} and is now {schedule!r}: the rate "
    text += (
        f"is {rate} here"
        if before(epoch) == schedule(epoch)
        else f"goes from {before(epoch):.4g} to {rate} here"
    )
    if isinstance(schedule, (Step, Cosine, Cosines)):  # whose curves hang on the epochs
        text += f", and is {schedule(epochs - 1):.4g} in epoch {epochs}, as in a run that had this curve from the start"
    if getattr(before, "drops", 0) > drops:
        text += ", and no drop is counted any more"
    return text + "."


def _made_with(settings):
    """The schedule that has these settings; None for a kind that is not ours."""
    numbers = {name: value for name, value in settings.items() if name != "kind"}
    for kind in (Constant, Step, Cosine, Cosines, Plateau):
        if kind.__name__ == settings["kind"] and set(inspect.signature(kind).parameters) == set(numbers):
            return kind(**numbers)
    return None
