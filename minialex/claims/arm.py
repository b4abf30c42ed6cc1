"""An arm of an experiment: a network, its pictures, and how it is trained; and what is compared between arms."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

from minialex.words import check_choice

AUGMENTED = ("crops", "flips", "colour", "distortions", "colour-of-code")
SCHEDULES = ("constant", "steps", "plateau", "cosine")


@dataclass(frozen=True)
class Arm:
    """What one side of a comparison does, but for its learning rate, which is chosen, and its seed.

    data: "mnist" or "cifar10"; pictures: so many to train with. net, options: of `nets.py`.
    augment: of AUGMENTED. until: the run ends when its training error, in percent, has come down to this. measures: of
    `measures.py`, what else is asked of the trained network. warmup: epochs in which the rate rises to what the
    schedule says; a cosine has a warm-up of its own.

    >>> arm = Arm("cifar10", "four-layers", {"window": 2}, pictures=10_000, epochs=15, batch_size=64)
    >>> arm.digest == arm.but(window=2).digest != arm.but(window=3).digest
    True
    """

    data: str
    net: str
    options: dict = field(default_factory=dict)
    pictures: int = 10_000
    epochs: int = 15
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    augment: tuple[str, ...] = ()
    until: float | None = None
    measures: tuple[str, ...] = ()
    warmup: float = 0.0

    def __post_init__(self):
        check_choice(self.schedule, SCHEDULES, "schedule")
        for name in self.augment:
            check_choice(name, AUGMENTED, "augment")

    def but(self, **changes) -> "Arm":
        """The same arm with other settings; what the arm itself has not goes to its network."""
        own = {name: value for name, value in changes.items() if name in self.__dataclass_fields__}
        options = {name: value for name, value in changes.items() if name not in own}
        return replace(self, **own, options={**self.options, **options})

    @property
    def settings(self) -> dict:
        """All of it, as JSON has it."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def digest(self) -> str:
        """Twelve letters that tell these settings from all others. What is as usual is left out of it."""
        usual = Arm(self.data, self.net).settings
        told = {
            name: value
            for name, value in self.settings.items()
            if value != usual.get(name) or name in ("data", "net")
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


# ---- what is compared ----


@dataclass(frozen=True)
class Difference:
    """The claim that arm `better` has less of an outcome than arm `than`, seed by seed; or more, where more=True."""

    better: str
    than: str
    outcome: str = "test_error"
    more: bool = False

    kind = "difference"

    @property
    def arms(self) -> tuple[str, ...]:
        return self.better, self.than


@dataclass(frozen=True)
class Ratio(Difference):
    """The claim that arm `than` needs so many times as much of an outcome as arm `better`."""

    outcome: str = "epochs_to"

    kind = "ratio"


@dataclass(frozen=True)
class Same(Difference):
    """The claim that two arms have the same of an outcome, within a margin."""

    kind = "same"


@dataclass(frozen=True)
class Within:
    """The claim that one arm has more of one outcome than of another, seed by seed."""

    arm: str
    outcome: str
    than: str

    kind = "difference"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)


@dataclass(frozen=True)
class Level:
    """The claim that an outcome of one arm lies at a level, within a margin."""

    arm: str
    outcome: str = "test_error"

    kind = "level"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm,)


@dataclass(frozen=True)
class Experiment:
    """Arms by name, the one comparison that decides, and what else is reported.

    second: of what else is reported, the part of the claim that the verdict leaves out.
    choose: the outcome by which each arm's learning rate is chosen, on pictures that are held out; the primary's if
    left out.
    """

    arms: dict[str, Arm]
    primary: Difference | Within | Level
    also: tuple[Difference | Within | Level, ...] = ()
    choose: str | None = None
    second: Difference | Within | Level | None = None

    def __post_init__(self):
        for compared in (self.primary, *self.also):
            for name in compared.arms:
                check_choice(name, self.arms, "arm")
        if self.second not in (None, *self.also):
            raise ValueError(f"second is one of what is reported besides, not {self.second}")

    @property
    def chosen_by(self) -> str:
        return self.choose or self.primary.outcome
