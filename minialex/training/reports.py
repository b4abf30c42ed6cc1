"""What a training run says: a bar or log lines while an epoch runs, a line when it ends, and the rows of history.csv.

LeNet's history is in errors, AlexNet's in accuracies, as their papers and programs have it; both in percent.
"""

import math
from dataclasses import asdict, dataclass, field

from minialex.errors import NotFinite
from minialex.shapes import positive
from minialex.words import a_or_an, counted


@dataclass
class Scores:
    """Sums over pictures: of their losses, of right answers, and of right classes among the first five."""

    loss_sum: float = 0.0
    right1: int = 0
    right5: int = 0
    seen: int = 0

    def __repr__(self) -> str:
        numbers = f"error={self.error:.2f}, loss={self.loss:.4f}, " if self.seen else ""
        return f"Scores({numbers}seen={self.seen})"

    def add(self, loss: float, right1: float, right5: float, count: int) -> None:
        """A batch: its mean loss, its right answers, its size."""
        self.loss_sum += loss * count
        self.right1 += int(right1)
        self.right5 += int(right5)
        self.seen += count

    def since(self, before: "Scores") -> "Scores":
        """What has come since then."""
        then = asdict(before)
        return Scores(**{name: value - then[name] for name, value in asdict(self).items()})

    def check_finite(self, where: str) -> None:
        """Raise NotFinite if the loss is NaN or infinite."""
        if not math.isfinite(self.loss):
            raise NotFinite(
                f"the loss {where} is {self.loss}: what the network gives for a picture there is too large for "
                "numbers, or none; train it with a smaller learning rate"
            )

    @property
    def loss(self) -> float:
        return self.loss_sum / self.seen

    @property
    def error(self) -> float:
        return 100 * (self.seen - self.right1) / self.seen

    @property
    def acc1(self) -> float:
        return 100 * self.right1 / self.seen

    @property
    def acc5(self) -> float:
        return 100 * self.right5 / self.seen


@dataclass
class Pace:
    """Where an epoch stands, for those who watch: how long steps take, and how much of it is waiting for pictures."""

    epoch: int
    step: int
    steps: int
    lr: float
    data_seconds: float  # of a step, on the average since the last look
    step_seconds: float
    recent: Scores = field(default_factory=Scores)  # since the last look
    so_far: Scores = field(default_factory=Scores)  # in this epoch


class ErrorReport:
    """A progress bar; rows of losses and errors, for LeNet."""

    columns = ("epoch", "lr", "train_loss", "train_error", "test_loss", "test_error", "seconds")
    columns_if_held_out = ("holdout_loss", "holdout_error")  # before the seconds
    read_every = 20  # steps between two looks at the losses, which wait on the device until then

    def __init__(self, say=print, bar: bool = True):
        self.say, self.with_bar = say, bar

    def begin(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(
            total=steps,
            initial=step,
            desc=f"epoch {epoch + 1}/{epochs}",
            unit="step",
            leave=False,
            disable=None if self.with_bar else True,  # None: only on a terminal
        )

    def step(self) -> None:
        self.bar.update()

    def look(self, pace: Pace) -> None:
        self.bar.set_postfix_str(f"loss {pace.so_far.loss:.3f}", refresh=False)

    def end(self) -> None:
        self.bar.close()

    def row(self, epoch, lr, train, tested, seconds, train_seconds) -> dict:
        """A row of the history; `tested` has scores by name, "test" and "holdout"."""
        row = {"epoch": epoch, "lr": lr, "train_loss": train.loss, "train_error": train.error}
        row |= {"test_loss": None, "test_error": None}
        for name, scores in tested.items():
            row |= {f"{name}_loss": scores.loss, f"{name}_error": scores.error}
        return {**row, "seconds": seconds}

    def held_out_error(self, row: dict) -> float | None:
        """What plateau schedules and the choice of the best epoch go by."""
        return row.get("holdout_error")

    def line(self, row: dict, epochs: int) -> str:
        """An epoch in one line."""
        parts = [f"epoch {row['epoch']:>2}/{epochs}  lr {row['lr']:<8.4g}"]
        for name in ("train", "holdout", "test"):
            if row.get(f"{name}_error") is not None:
                parts.append(f"{name} loss {row[f'{name}_loss']:.4f} error {row[f'{name}_error']:5.2f} %")
        return "  ".join([*parts, f"{row['seconds']:.0f} s"])


class AccuracyReport(ErrorReport):
    """Log lines every `print_freq` steps; rows of losses and accuracies, for AlexNet."""

    columns = (
        "epoch",
        "lr",
        "train_loss",
        "train_acc1",
        "val_loss",
        "val_acc1",
        "val_acc5",
        "images_per_second",
        "seconds",
    )
    columns_if_held_out = ()

    def __init__(self, print_freq: int = 20, say=print, classes: int | None = None, losses: float = 1.0):
        """classes: how many there are; with them, a loss that does not leave ln(classes) is noticed.

        losses: what those of all exits weigh together, in a network that has some: it begins at so many ln(classes).
        """
        self.say, self.classes, self.losses = say, classes, losses
        self.read_every = positive(print_freq, "AccuracyReport: print_freq")
        self.stalled = 0  # epochs in a row

    def begin(self, epoch, epochs, step, steps):
        pass

    def step(self):
        pass

    def look(self, pace):
        self.say(
            f"Epoch [{pace.epoch + 1}][{pace.step}/{pace.steps}] data {pace.data_seconds:.2f}s "
            f"step {pace.step_seconds:.2f}s loss {pace.recent.loss:.3f} Acc@1 {pace.recent.acc1:.1f} "
            f"Acc@5 {pace.recent.acc5:.1f} lr {pace.lr:.4g}"
        )

    def end(self):
        pass

    def row(self, epoch, lr, train, tested, seconds, train_seconds):
        val = tested["holdout"]
        return {
            "epoch": epoch,
            "lr": lr,
            "train_loss": train.loss,
            "train_acc1": train.acc1,
            "val_loss": val.loss,
            "val_acc1": val.acc1,
            "val_acc5": val.acc5,
            "images_per_second": train.seen / train_seconds,
            "seconds": seconds,
        }

    def held_out_error(self, row):
        return 100 - row["val_acc1"]

    def line(self, row, epochs):
        line = (
            f"Epoch [{row['epoch']}/{epochs}] train loss {row['train_loss']:.3f} Acc@1 {row['train_acc1']:.1f}  "
            f"val loss {row['val_loss']:.3f} Acc@1 {row['val_acc1']:.1f} Acc@5 {row['val_acc5']:.1f}  "
            f"{row['images_per_second']:.0f} images/s  {row['seconds']:.0f} s"
        )
        return "\n".join([line, *self.advice(row)])

    def advice(self, row) -> list[str]:
        """What to try when the network has learned nothing for three epochs: it gives all classes the same share."""
        chance = self.losses * math.log(self.classes) if self.classes else 0.0
        at_chance = chance and abs(row["train_loss"] / chance - 1) < 0.01
        self.stalled = self.stalled + 1 if at_chance else 0
        if self.stalled % 3 or not self.stalled:
            return []
        start = f"{self.losses:g} " * (self.losses != 1) + f"ln({self.classes}) = {chance:.3f}"
        return [
            f"  The loss has stayed at {start} for {counted(self.stalled, 'epoch')}: it learns nothing.",
            "  Try half or twice the --lr; another --seed; pictures in the right class folders. The weights of 2012,",
            "  N(0, 0.01) on pixels from 0 to 255, need the full network and many pictures; a narrow one needs",
            "  --init he --scale 1/64 (in Python init='he', scale=1/64). --small has both, and is for few pictures.",
        ]


def report_of(report: "ErrorReport | bool | None") -> "ErrorReport":
    """A report as it is; left out, one that prints; False, one that says nothing. Raises TypeError for what is none."""
    if report is None:
        return ErrorReport()
    if isinstance(report, (bool, int)) and not report:
        return ErrorReport(say=lambda line: None, bar=False)
    if isinstance(report, type) or not hasattr(report, "say"):
        kind = f"class {report.__name__}" if isinstance(report, type) else type(report).__name__
        raise TypeError(
            f"report is {a_or_an(kind)}: report=False says nothing, and an ErrorReport(say=function) of "
            "minialex.training.reports gives each line to a function"
        )
    return report


class SilentReport(ErrorReport):
    """Another report's rows and pace, and not a word: for the processes that do not print."""

    def __init__(self, like: ErrorReport | None = None):
        super().__init__(say=lambda line: None, bar=False)
        self.like = like or ErrorReport()
        self.columns, self.columns_if_held_out = self.like.columns, self.like.columns_if_held_out
        self.read_every = self.like.read_every
        self.row, self.held_out_error = self.like.row, self.like.held_out_error
