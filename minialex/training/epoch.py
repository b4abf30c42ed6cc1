"""Around an epoch: which batches are left of it, the scores that come from the device, what is tested at its end."""

import math
import time

import numpy as np

from minialex.devices.device import to_numpy
from minialex.errors import NotFinite
from minialex.training.alone import weights_of
from minialex.training.checkpoint import check_finite
from minialex.training.evaluation import evaluate
from minialex.training.progress import Progress


def _check_tested(model, optimizer, tested):
    """Raise NotFinite if a loss of pictures that are not trained on is not a finite number, naming its cause."""
    sets = {"test": "the test set", "holdout": "the pictures that are held out"}
    for name, scores in tested.items():
        if not math.isfinite(scores.loss):
            check_finite(model, optimizer)
            scores.check_finite(f"on {sets[name]}")


def end_epoch(model, optimizer, schedule, sets, progress, report, cluster) -> Progress:
    """Test on the sets that are not trained on; tell the schedule; where the run stands now."""
    started = time.perf_counter()
    tested = {}
    for name, batches in sets.items():
        if batches is not None:
            scores = evaluate(model, batches)
            cluster.check_bad(batches)
            tested[name] = cluster.total(scores)
    with progress.said_when(ended=True):
        _check_tested(model, optimizer, tested)
    seconds = progress.seconds + time.perf_counter() - started
    lr = schedule(progress.epoch)
    row = report.row(progress.epoch + 1, lr, progress.scores, tested, seconds, progress.seconds)
    schedule.end_of_epoch(report.held_out_error(row))
    cluster.check_alike(
        lambda: {"weights with the checksum": weights_of(model)},
        why=", so a layer draws random numbers or measures its pictures in a way that hangs on the process",
    )
    return progress.next_epoch(row, tested)


def rest_of_epoch(train, progress, cluster):
    """The batches of an epoch after those of which `progress` has made its steps."""
    if not progress.recount:
        return train.shuffled(progress.epoch, start=progress.step)
    batches = train.shuffled(progress.epoch)
    steps = progress.step
    while steps:
        _, labels = next(batches)
        steps -= cluster.any_picture(labels)  # a batch of unreadable ones was no step
    return batches


def read_scores(waiting, progress, train, model, cluster):
    """Add the scores that wait on the device to the sums, with one transfer; the most pictures that a step had."""
    with model.device:
        numbers = model.device.xp.stack([scores for scores, *_ in waiting])  # (steps, 3)
    rows, counts = cluster.of_all(to_numpy(numbers).tolist(), [count for _, count, *_ in waiting])
    for scores, count, (_, _, step, lr) in zip(rows, counts, waiting, strict=True):
        if not math.isfinite(scores[0]):
            raise NotFinite(
                f"the loss became {scores[0]} in epoch {progress.epoch + 1} at step {step} of {len(train)} "
                f"(learning rate {lr:.4g}): {_remedy(train, progress.epoch, step)}"
            )
        if progress.limit is None:
            shape = getattr(model.loss, "_input_shape", None) or (1, 1)  # of the logits
            progress.begin(scores[0], count, classes=shape[1])
        progress.add(step, lr, scores, count)
    waiting.clear()
    return max(counts)


def _remedy(train, epoch, step):
    """What to do about a loss that is no number any more: it is the rate, unless that step's pictures are to blame."""
    x, _ = next(iter(train.shuffled(epoch, start=step - 1)), (None, None))
    if x is None or np.isfinite(x).all():
        return "try a smaller learning rate"
    pictures = getattr(train, "pictures", None)
    if not isinstance(pictures, np.ndarray) or pictures.dtype.kind != "f":
        return "a picture, as it is prepared, has a number that is NaN or infinite"
    number = next(n for n, one in enumerate(pictures) if not np.isfinite(one).all())
    return f"picture {number} has a number that is NaN or infinite"
