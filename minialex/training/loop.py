"""The training loop: forward, loss, backward, step; and what makes it safe to stop anywhere and go on."""

import csv
import io
import json
import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from minialex.devices.device import to_numpy
from minialex.devices.uploads import uploads
from minialex.errors import CheckpointError, NotFinite
from minialex.layers.layer import Array
from minialex.layers.sequential import Model
from minialex.layers.settings import number
from minialex.records import CELL, like, partly
from minialex.training.checkpoint import Checkpoint, save_checkpoint
from minialex.training.optim import SGD, Constant, Plateau
from minialex.training.reports import ErrorReport, Pace, Scores
from minialex.training.runs import BEST, CHECKPOINT, HISTORY, MODEL, SETTINGS
from minialex.weights import export_grouped, save, write_whole

# Numbers that grow beyond bounds need no warnings from NumPy: the loop looks for them itself, and stops.
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


def train_step(model: Model, optimizer: SGD, x: Array, labels) -> Array:
    """One step of SGD. Returns [mean loss, right answers, right among the first five], still on the device.

    x: on the model's first device. labels: there too, or on the host; then they are checked, and uploaded.
    """
    logits = model.forward(x)
    labels = model.loss.take_labels(logits, labels)
    loss = model.loss.forward(logits, labels)
    model.backward(model.loss.backward())
    optimizer.step()
    return scores_of(model, logits, labels, loss)


def scores_of(model: Model, logits: Array, labels: Array, loss: Array) -> Array:
    """[mean loss, right answers, right among the first five] on the logits' device; nobody waits for it.

    A right class is among the first five when at most five logits are as large as its own, itself included: where
    all are equal, as in a dead network, it is not.
    """
    with model.device:
        xp = model.device.xp
        own = xp.take_along_axis(logits, labels[:, None], axis=1)  # (N, 1), the logit of the right class
        right1 = (logits.argmax(axis=1) == labels).sum()
        right5 = ((logits >= own).sum(axis=1) <= 5).sum()
        return xp.stack([loss, right1.astype(loss.dtype), right5.astype(loss.dtype)])


@dataclass
class Progress:
    """Where a run stands; checkpoints keep all of it. epoch and step count what is finished."""

    epoch: int = 0
    step: int = 0  # in this epoch
    seconds: float = 0.0  # spent on this epoch so far
    scores: Scores = field(default_factory=Scores)  # of this epoch so far
    recount: bool = False  # steps may be fewer than batches: some may have had no readable picture
    history: list[dict] = field(default_factory=list)  # a row for each finished epoch

    @classmethod
    def of(cls, state: dict) -> "Progress":
        """From what a checkpoint keeps."""
        return cls(**{**state, "scores": Scores(**state["scores"])})


def fit(
    model: Model,
    optimizer: SGD,
    schedule: Constant,
    train,
    test=None,
    holdout=None,
    *,
    epochs: int,
    folder: str | Path | None = None,
    checkpoint_every: int = 0,
    resume: Checkpoint | None = None,
    settings: dict | None = None,
    report: ErrorReport | None = None,
) -> list[dict]:
    """Train a model; returns the history, a dict for each epoch.

    train, test, holdout: batches, as data.ArrayBatches gives them. Nothing is selected on `test`; `holdout`, which
    is not trained on, feeds a plateau schedule and picks best.safetensors.
    folder: gets checkpoint.safetensors (at each epoch's end, and every `checkpoint_every` steps), history.csv, and
    at the end model.safetensors. resume: a checkpoint to go on from, with exactly the numbers of a run that never
    stopped. settings: kept in the checkpoint, for whoever resumes. report: what is said and recorded.
    Raises NotFinite when the loss becomes NaN or infinite; the last checkpoint, written before that, stays.
    """
    if isinstance(schedule, Plateau) and holdout is None:
        raise ValueError("a plateau schedule needs pictures that are held out of the training set")
    report = report or ErrorReport()
    folder = Path(folder) if folder is not None else None
    progress = Progress()
    if resume is not None:
        known = partly(like(asdict(progress)))  # what is added in later versions may be missing, or be more
        rows = [dict.fromkeys(report.columns, CELL)]
        resume.check().check({"progress": {**known, "history": rows}})
        state = resume.state["progress"]
        progress = Progress.of({name: state[name] for name in known if name in state})
        try:
            if resume.state["schedule"]:  # empty where the schedule so far had nothing to remember
                schedule.set_state(resume.state["schedule"])
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{resume.path} is no whole checkpoint: {error}") from error
        resume.restore(model, optimizer)

    def checkpoint():
        if folder:
            state = {"progress": asdict(progress), "schedule": schedule.state(), "settings": settings or {}}
            try:
                save_checkpoint(folder / CHECKPOINT, model, optimizer, state)
            except NotFinite as error:
                steps = f"{progress.step} steps of epoch {progress.epoch + 1}"
                when = steps if progress.step else f"epoch {progress.epoch}"
                raise NotFinite(f"after {when}, {error}") from error

    def results():
        """What is made from finished epochs; after a resume again, since the run may have been killed before it."""
        if folder:
            write_history(folder / HISTORY, progress.history, report)
            errors = [report.held_out_error(row) for row in progress.history]
            errors = [error for error in errors if error is not None]
            if progress.step == 0 and errors and errors[-1] < min(errors[:-1], default=math.inf):
                save(folder / BEST, export_grouped(model))

    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.unfinished"):  # of a run that was killed while it wrote
            leftover.unlink(missing_ok=True)
        write_whole(folder / SETTINGS, json.dumps(settings or {}, indent=2, default=number).encode())
        results()
    for epoch in range(progress.epoch, epochs):
        train_epoch(model, optimizer, schedule, train, progress, report, epochs, checkpoint, checkpoint_every)
        started = time.perf_counter()
        sets = {"test": test, "holdout": holdout}
        tested = {name: evaluate(model, batches) for name, batches in sets.items() if batches is not None}
        seconds = progress.seconds + time.perf_counter() - started
        row = report.row(epoch + 1, schedule(epoch), progress.scores, tested, seconds, progress.seconds)
        schedule.end_of_epoch(report.held_out_error(row))
        progress = Progress(epoch=epoch + 1, history=[*progress.history, row])
        checkpoint()
        results()
        report.say(report.line(row, epochs))
    if folder:
        save(folder / MODEL, export_grouped(model))
    return progress.history


def train_epoch(
    model, optimizer, schedule, train, progress, report, epochs, checkpoint=lambda: None, checkpoint_every=0
):
    """The rest of an epoch, from `progress.step` on."""
    model.train()
    steps = len(train)
    waiting = []  # (scores, count) of the steps whose scores are still on the device
    looked_at, data_seconds, seconds_before = time.perf_counter(), 0.0, progress.seconds
    started = looked_at

    def look():
        """Bring the waiting scores to the host, which waits for them here; check them; report."""
        nonlocal looked_at, data_seconds
        before, count = Scores(**asdict(progress.scores)), len(waiting)
        _read(waiting, progress, steps, optimizer.lr, model.device)
        now = time.perf_counter()
        progress.seconds = seconds_before + now - started
        pace = (data_seconds / count, (now - looked_at) / count)
        recent = progress.scores.since(before)
        report.look(Pace(progress.epoch, progress.step, steps, optimizer.lr, *pace, recent, progress.scores))
        looked_at, data_seconds = now, 0.0

    report.begin(progress.epoch, epochs, progress.step, steps)
    try:
        with (
            np.errstate(**QUIET),
            closing(_rest_of_epoch(train, progress)) as on_host,
            closing(uploads(model.device, on_host)) as batches,
        ):
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                data_seconds += time.perf_counter() - asked
                if batch is None:
                    break
                x, labels = batch
                optimizer.lr = schedule(progress.epoch + progress.step / steps)
                scores = train_step(model, optimizer, x, labels)
                waiting.append((scores, len(x)))
                progress.step += 1
                report.step()
                save_now = (
                    checkpoint_every and progress.step % checkpoint_every == 0 and progress.step < steps
                )
                if progress.step % report.read_every == 0 or save_now:
                    look()
                if save_now:
                    bad = len(getattr(train, "bad_files", ()))
                    progress.recount = bad > 0 and bad >= train.batch_size
                    checkpoint()
            if waiting:
                look()
    finally:
        report.end()


def _rest_of_epoch(train, progress):
    """The batches of an epoch after those of which `progress` has made its steps."""
    if not progress.recount:
        return train.shuffled(progress.epoch, start=progress.step)
    batches = train.shuffled(progress.epoch)
    for _ in range(progress.step):
        next(batches)
    return batches


def _read(waiting, progress, steps, lr, device):
    """Add the scores that wait on the device to the sums; one transfer for all of them."""
    with device:
        numbers = device.xp.stack([scores for scores, _ in waiting])  # (steps, 3)
    first = progress.step - len(waiting) + 1
    for step, scores, (_, count) in zip(
        range(first, progress.step + 1), to_numpy(numbers).tolist(), waiting, strict=True
    ):
        if not math.isfinite(scores[0]):
            raise NotFinite(
                f"the loss became {scores[0]} in epoch {progress.epoch + 1} at step {step} of {steps} "
                f"(learning rate {lr:.3g}): try a smaller learning rate"
            )
        progress.scores.add(*scores, count)
    waiting.clear()


def evaluate(model: Model, batches) -> Scores:
    """Loss and right answers over all batches, in evaluation mode."""
    total = Scores()
    with np.errstate(**QUIET):
        for logits, labels in _logits(model, batches):
            labels = model.loss.take_labels(logits, labels)
            loss = model.loss.forward(logits, labels)
            total.add(*to_numpy(scores_of(model, logits, labels, loss)).tolist(), len(labels))
    return total


def evaluate_ten_crop(model: Model, batches) -> Scores:
    """As `evaluate`, with the mean softmax over ten crops of each picture (Krizhevsky et al. 2012, section 4.1)."""
    total = Scores()
    with np.errstate(**QUIET):  # a share of 0 is an infinite loss
        for logits, labels in _logits(model, batches, ten_crop=True):  # (N * 10, classes)
            logits = to_numpy(logits).astype(np.float64)
            share = np.exp(logits - logits.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            share = share.reshape(len(labels), -1, share.shape[1]).mean(axis=1)  # (N, classes)
            own = share[np.arange(len(labels)), labels]
            right5 = (share >= own[:, None]).sum(axis=1) <= 5
            total.add(-np.log(own).mean(), (share.argmax(axis=1) == labels).sum(), right5.sum(), len(labels))
    return total


def predict(model: Model, batches) -> tuple[np.ndarray, np.ndarray]:
    """The logits of all pictures, and their labels, on the host."""
    pairs = [(to_numpy(logits), labels) for logits, labels in _logits(model, batches)]
    logits, labels = zip(*pairs, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def _logits(model, batches, **crops):
    """(logits, labels) of each batch in order, in evaluation mode; the model's mode is put back."""
    mode = model.training
    model.eval()
    try:
        for x, labels in uploads(model.device, batches.in_order(**crops)):
            x = x.reshape(-1, *model.picture_shape) if crops else x  # (N, 10, C, H, W): ten pictures of each
            yield model.forward(x), labels
    finally:
        model.train(mode)


def write_history(path: Path, history: list[dict], report: ErrorReport) -> None:
    """history.csv, whole: a header, and a row for each finished epoch."""
    more = [name for name in report.columns_if_held_out if any(name in row for row in history)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*report.columns[:-1], *more, report.columns[-1]], lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_whole(path, text.getvalue().encode())
