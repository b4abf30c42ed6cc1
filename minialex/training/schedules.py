"""Learning-rate schedules: called with the progress in epochs (2.5: in the middle of the third), each gives lr."""

import inspect
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from minialex.layers.settings import above_0, is_setting, not_negative, number, number_or_nan, within
from minialex.shapes import positive
from minialex.words import check_choice, did_you_mean


def epochs_of(at, name: str) -> None:
    if not isinstance(at, tuple) or not all(0 <= number_or_nan(one) < math.inf for one in at):
        raise ValueError(f"{name} says in which epochs the rate drops, (25, 51), not {at!r}")


class Constant:
    """Always lr."""

    remembers: tuple[
        str, ...
    ] = ()  # what changes in a schedule while a run goes on; all else are its settings

    takes: dict[str, Callable] = {"lr": not_negative}  # numbers that are checked whenever they are set

    def __init__(self, lr: float):
        self.lr = lr

    def __setattr__(self, name, value):
        value = number(value)  # NumPy's would round otherwise, and is not fit for JSON
        kind = type(self)
        if name in self.takes:
            self.takes[name](value, f"{kind.__name__}: {name}")
        elif kind.__module__ == __name__ and name not in self.remembers:
            has = ", ".join(self.takes)
            raise AttributeError(
                f"{kind.__name__} has no {name}{did_you_mean(name, self.takes)}: it has {has}"
            )
        super().__setattr__(name, value)

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

    takes = {"lr": not_negative, "at": epochs_of, "factor": above_0}

    def __init__(self, lr: float, at, factor: float = 0.1):
        super().__init__(lr)
        self.at, self.factor = tuple(map(number, at)) if isinstance(at, Iterable) else at, factor

    def __call__(self, epoch: float) -> float:
        return self.lr * self.factor ** sum(epoch >= start for start in self.at)


class Cosine(Constant):
    """From lr down to 0 along half a cosine over `epochs`, after a linear warm-up of `warmup` epochs.

        lr * (1 + cos(pi * progress)) / 2       (Loshchilov and Hutter 2017, equation 5)

    >>> schedule = Cosine(0.1, epochs=10, warmup=2)
    >>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 6, 10)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """

    takes = {"lr": not_negative, "epochs": above_0, "warmup": not_negative}

    def __init__(self, lr: float, epochs: float, warmup: float = 0.0):
        super().__init__(lr)
        self.epochs, self.warmup = epochs, warmup

    def __call__(self, epoch: float) -> float:
        return along(self.lr, epoch, self.epochs, self.warmup)


def along(lr: float, epoch: float, epochs: float, warmup: float) -> float:
    """The rate there, of a cosine over so many epochs."""
    if epoch < warmup:
        return lr * epoch / warmup
    progress = (epoch - warmup) / max(epochs - warmup, 1e-9)
    return lr * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


class Cosines(Constant):
    """A cosine again and again, `times` in all, each over as many whole epochs as can be dealt out: warm restarts

    (Loshchilov and Hutter 2017, section 3.) For networks that are trained part by part.

    >>> schedule = Cosines(0.1, epochs=4, times=2)
    >>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 3, 4)]
    [0.1, 0.05, 0.1, 0.05, 0.0]
    """

    takes = {"lr": not_negative, "epochs": positive, "times": positive, "warmup": not_negative}

    def __init__(self, lr: float, epochs: int, times: int, warmup: float = 0.0):
        super().__init__(lr)
        self.epochs, self.times, self.warmup = epochs, times, warmup

    def __call__(self, epoch: float) -> float:
        number = min(int(epoch) * self.times // self.epochs, self.times - 1)
        first, end = (-(-at * self.epochs // self.times) for at in (number, number + 1))
        return along(self.lr, epoch - first, end - first, self.warmup)


SPENT = 0.999e-3  # of a Plateau's first rate; 2012's run had three drops to a tenth before it ended


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
    takes = {"lr": not_negative, "factor": partial(within, 0, 1), "patience": positive}

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


def schedule_is_spent(schedule: Constant, drops: int) -> str | None:
    """What is to be said when a Plateau, which had so many drops before, comes down below a thousandth; else None.

    >>> schedule = Plateau(0.01)
    >>> schedule.drops = 4
    >>> schedule_is_spent(schedule, drops=3)[:60]
    'The learning rate is 1e-06 now, less than a thousandth of 0.'
    """
    if not isinstance(schedule, Plateau):
        return None
    share, before = (schedule.factor**number for number in (schedule.drops, drops))
    if not share < SPENT <= before:
        return None
    return (
        f"The learning rate is {schedule.lr * share:.3g} now, less than a thousandth of {schedule.lr:g}: little will "
        "change from here on. In 2012 it was divided by ten three times, and that was the end."
    )


SCHEDULES = ("constant", "step", "plateau", "cosine")


def make_schedule(name: str, lr: float, epochs: int, warmup: float = 0.0, times: int = 1) -> Constant:
    """The schedule for a command line's `--lr-scheduler`: constant, step, plateau or cosine.

    step drops after 1/2 and 3/4 of the epochs; warmup, in epochs, is cosine's; so is times: how often it begins anew.
    Raises ValueError for a schedule that there is not, and numbers that make no sense.
    """
    check_choice(name, SCHEDULES, "schedule")
    if name == "constant":
        return Constant(lr)
    if name == "step":
        epochs = not_negative(epochs, "epochs")
        return Step(lr, at=(math.ceil(epochs / 2), math.ceil(epochs * 3 / 4)))
    if name == "plateau":
        return Plateau(lr)
    return Cosine(lr, epochs, warmup) if positive(times, "times") == 1 else Cosines(lr, epochs, times, warmup)


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
            with suppress(ValueError):  # numbers that none has
                return kind(**numbers)
    return None
