"""Where a training run stands: what checkpoints keep of it, and by which a loss that exploded is told from others."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from minialex.errors import Diverged, NotFinite
from minialex.training.reports import Scores
from minialex.words import counted

FEW = 8  # pictures: the loss of so few says little about the network's


@dataclass
class Progress:
    """Where a run stands; checkpoints keep all of it. epoch and step count what is finished."""

    epoch: int = 0
    step: int = 0  # in this epoch
    steps: int | None = None  # that this epoch was to have
    seconds: float = 0.0  # spent on this epoch so far
    scores: Scores = field(default_factory=Scores)  # of this epoch so far
    recount: bool = False  # steps may be fewer than batches: some may have had no readable picture
    history: list[dict] = field(default_factory=list)  # a row for each finished epoch
    recent_loss: float | None = None  # of this epoch's steps since the look before the last one
    start_loss: float | None = None  # of the first batch, before the first step
    limit: float | None = None  # an epoch whose mean loss is above this has exploded
    broke: tuple[int, float] | None = (
        None  # this epoch's first step with a loss above it, and its learning rate
    )
    good: bool = False  # has an epoch just ended, and ended well?

    @classmethod
    def of(cls, state: dict) -> "Progress":
        """From what a checkpoint keeps. Older ones know nothing of the start: there the first epoch stands for it."""
        progress = cls(**{**state, "scores": Scores(**state["scores"])})
        if progress.start_loss is None and progress.history:
            losses = [row.get("train_loss") for row in progress.history]
            if None not in losses:
                progress.start_loss = losses[0]
                progress.good = progress.step == 0 and losses[-1] < losses[0]
        return progress

    def begin(self, loss: float, count: int, classes: int) -> None:
        """Hear the loss of the first batch, of `count` pictures, before the first step; sets the limit, once.

        The limit is twice that loss. A network that was trained before may begin near 0, where twice is nothing, and
        a few pictures may be easy ones by chance: so it is (1 + 8 / count) * ln(classes) at least. That is what it
        costs to give all classes the same share, with an allowance where the first batch was small.
        """
        if self.start_loss is None:
            self.start_loss = loss
        if self.limit is None:
            self.limit = max(2 * self.start_loss, (1 + FEW / count) * math.log(classes))

    def add(self, step: int, lr: float, scores: list[float], count: int) -> None:
        """Hear a step's scores."""
        if self.broke is None and self.limit is not None and scores[0] > self.limit:
            self.broke = step, lr
        self.scores.add(*scores, count)

    def check(self, pictures: int | None = None) -> None:
        """Raise Diverged if this epoch's mean loss is above the limit.

        pictures: of the whole epoch, where it has not ended: then, if the sum so far is too much for all of them.
        """
        if self.limit is None or self.scores.loss_sum / (pictures or self.scores.seen) <= self.limit:
            return
        if self.limit == 2 * self.start_loss:
            much = f"more than twice the {self.start_loss:.4g} before the first step"
        else:
            much = f"more than {self.limit:.4g}; before the first step it was {self.start_loss:.4g}"
        if pictures:
            when = f"after {counted(self.step, 'step')} of epoch {self.epoch + 1} the mean is {self.scores.loss:.4g}, "
            when += "which makes the epoch's, whatever follows,"
        else:
            when = f"the mean of epoch {self.epoch + 1} is {self.scores.loss:.4g},"
        if self.broke:
            much += f"; it broke at step {self.broke[0]} (learning rate {self.broke[1]:.4g})"
        raise Diverged(f"the loss became too large: {when} {much}: try a smaller learning rate")

    def next_epoch(self, row: dict, tested: dict[str, Scores]) -> "Progress":
        """This epoch has ended. It ended well if its mean loss is below the first one, and its last steps are sound.

        (Below half the limit: where the first loss says little, that is more.) What the last steps did to the weights
        shows in the losses since the last look, and of pictures that are not trained on: overfitting costs there too,
        but not ten times the limit.
        """
        good = self.limit is not None and self.scores.loss < self.limit / 2 and not self.spoiled
        good = good and all(scores.loss <= 10 * self.limit for scores in tested.values())
        return Progress(
            epoch=self.epoch + 1,
            history=[*self.history, row],
            start_loss=self.start_loss,
            limit=self.limit,
            good=good,
        )

    @contextmanager
    def said_when(self, ended: bool = False) -> Iterator[None]:
        """Let a NotFinite begin with when it was: this counts the epoch that has `ended`, or is about to."""
        steps = f"{counted(self.step, 'step')} of epoch {self.epoch + 1}"
        when = f"epoch {self.epoch + ended}" if ended or not self.step else steps
        try:
            yield
        except NotFinite as error:
            raise NotFinite(f"after {when}, {error}") from error

    @property
    def spoiled(self) -> str:
        """What tells that this epoch is exploding; empty where nothing does."""
        so_far = self.scores.loss if self.scores.seen else 0.0
        loss = max(so_far, self.recent_loss or 0.0)
        if self.limit is None or loss <= self.limit:
            return ""
        return f"a loss of {loss:.4g}, before the first step it was {self.start_loss:.4g}"
