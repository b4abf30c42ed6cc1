"""One run: an arm, a seed, a learning rate. What comes out are numbers, and a curve."""

import math
import time
from collections.abc import Iterator

import numpy as np

from minialex.claims.arm import Arm
from minialex.claims.measures import BY_CHANCE, LOST, MEASURES, reached
from minialex.claims.nets import NETS
from minialex.claims.pictures import Augmented, Pictures, pictures_of, scale_of
from minialex.data.loader import ArrayBatches
from minialex.devices.device import to_numpy
from minialex.errors import NotFinite
from minialex.training.evaluation import QUIET, evaluate
from minialex.training.loop import train_step
from minialex.training.optim import SGD
from minialex.training.schedules import Constant, Cosine, Plateau, Step

LOOKED_AT = 10_000  # training pictures for the training error at the end; all are, but MNIST's


def train_once(arm: Arm, seed: int, rate: float, choosing: bool = False) -> tuple[dict, list[dict]]:
    """Outcomes by name, and a row for each epoch, of a network trained from scratch.

    choosing: on pictures that are held out, in place of the test set.

    Outcomes: test_error and train_error in percent, and train_loss, of the trained network in evaluation mode; gap, the
    first less the second; epochs_to, by which its error while it trained had come down to `arm.until`, nan if it had
    not; seconds of the processor, tests and all; what `arm.measures` asks for. A run whose loss is no number any more
    has the errors of chance and the loss of nobody who knows anything, ln(10), in its curve's last row too; no measure.
    """
    pictures = pictures_of(arm, choosing)
    model = NETS[arm.net](seed=seed, **arm.options)
    prepare = getattr(model, "prepare", None) or scale_of(pictures.train[0])
    curve = []
    began = time.process_time()
    try:
        with np.errstate(**QUIET):
            for row in epochs_of(model, arm, seed, rate, pictures, prepare):
                curve.append({**row, "seconds": time.process_time() - began})
            outcomes = tested(model, arm, pictures, prepare)
        outcomes |= {"epochs_to": reached(curve, arm.until), "seconds": curve[-1]["seconds"]}
        for name in arm.measures:
            outcomes |= MEASURES[name](model, pictures, prepare, curve, seed)
    except NotFinite:
        lost = {"test_error": BY_CHANCE, "train_error": BY_CHANCE, "train_loss": LOST}
        seconds = time.process_time() - began
        outcomes = {**lost, "gap": 0.0, "epochs_to": math.nan, "seconds": seconds}
        curve = curve[: arm.epochs - 1]
        curve.append({"epoch": len(curve) + 1, "lr": rate, **lost, "seconds": seconds})
    return outcomes, curve


def epochs_of(model, arm: Arm, seed: int, rate: float, pictures: Pictures, prepare) -> Iterator[dict]:
    """Train, and say after each epoch how it went; ends early where `arm.until` is reached."""
    batches = Augmented(*pictures.train, arm.batch_size, seed, arm.augment, prepare)
    tests = ArrayBatches(*pictures.curve, 250, prepare=prepare)
    held_out = held_out_batches(arm, prepare)
    schedule = schedule_of(arm, rate)
    optimizer = SGD(model.train().parameters(), rate, arm.momentum, arm.weight_decay)
    for epoch in range(arm.epochs):
        loss, right, seen = 0.0, 0.0, 0
        for step, (x, labels) in enumerate(batches.shuffled(epoch)):
            at = epoch + step / len(batches)
            optimizer.lr = schedule(at) * (min(1.0, at / arm.warmup) if arm.warmup else 1.0)
            mean_loss, right_here, _ = to_numpy(train_step(model, optimizer, x, labels)).tolist()
            loss, right, seen = loss + mean_loss * len(x), right + right_here, seen + len(x)
            if not math.isfinite(mean_loss):
                raise NotFinite(f"the loss is {mean_loss} in epoch {epoch + 1}")
        error = 100 * (1 - right / seen)
        row = {"epoch": epoch + 1, "lr": optimizer.lr, "train_loss": loss / seen, "train_error": error}
        yield row | {"test_error": checked(model, tests).error}
        if arm.until is not None and error <= arm.until:
            return
        if held_out is not None:
            schedule.end_of_epoch(checked(model, held_out).error)


def schedule_of(arm: Arm, rate: float) -> Constant:
    """steps: a tenth after half of the epochs, and again after three quarters. cosine: a twentieth of them warms up."""
    if arm.schedule == "steps":
        return Step(rate, at=(arm.epochs / 2, arm.epochs * 3 / 4))
    if arm.schedule == "cosine":
        return Cosine(rate, arm.epochs, warmup=arm.epochs / 20)
    return Plateau(rate, patience=2) if arm.schedule == "plateau" else Constant(rate)


def held_out_batches(arm: Arm, prepare) -> ArrayBatches | None:
    """What a plateau is told by: the pictures that rates are chosen by, which nobody trains with then."""
    if arm.schedule != "plateau":
        return None
    return ArrayBatches(*pictures_of(arm, choosing=True).curve, 250, prepare=prepare)


def checked(model, batches):
    """The scores in evaluation mode; training goes on afterwards. Raises NotFinite."""
    scores = evaluate(model.eval(), batches)
    model.train()
    scores.check_finite("of the test")
    return scores


def tested(model, arm: Arm, pictures: Pictures, prepare) -> dict[str, float]:
    """Errors of the trained network, on all test pictures, and on pictures it was trained with, as they are."""
    x, labels = pictures.train
    seen = checked(model, ArrayBatches(x[:LOOKED_AT], labels[:LOOKED_AT], 250, prepare=prepare))
    new = checked(model, ArrayBatches(*pictures.test, 250, prepare=prepare))
    return {
        "test_error": new.error, "train_error": seen.error, "train_loss": seen.loss, "gap": new.error - seen.error
    }  # fmt: skip
