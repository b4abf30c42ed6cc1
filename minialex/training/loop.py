"""The training loop: forward, loss, backward, step; and what makes it safe to stop anywhere and go on."""

import inspect
import math
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minialex.data.classes import check_classes
from minialex.devices.device import to_numpy
from minialex.devices.uploads import uploads
from minialex.errors import CheckpointError, NotFinite
from minialex.layers.layer import Array, Layer
from minialex.shapes import positive
from minialex.training.arrays import (
    BATCH_SIZE,
    WAYS,
    batches_of,
    cast_of,
    check_batches,
    check_labels,
    is_like_array,
    lends_loss,
    lent,
    pair_of,
    schedule_of,
)
from minialex.training.checkpoint import Checkpoint, check_finite, save_checkpoint
from minialex.training.doubt import learn_doubt as learn_doubt
from minialex.training.doubt import load_doubt as load_doubt
from minialex.training.doubt import read_digit as read_digit
from minialex.training.evaluation import QUIET, classes_of, evaluate, scores_of
from minialex.training.evaluation import evaluate_ten_crop as evaluate_ten_crop
from minialex.training.evaluation import predict as predict
from minialex.training.history import best_is_given_up, history_csv
from minialex.training.lock import alone_in_folder
from minialex.training.optim import SGD, Constant, Plateau, settings_of, take_up
from minialex.training.progress import Progress
from minialex.training.reports import ErrorReport, Pace, Scores
from minialex.training.runs import (
    BEST,
    CHECKPOINT,
    GOOD,
    HISTORY,
    MODEL,
    SETTINGS,  # noqa: F401 (it belongs to the names of a run's files, with the others)
    advice_when_spoiled,
    write_settings,
)
from minialex.weights import (
    as_metadata,
    copy_whole,
    export_grouped,
    record_of,
    save,
    write_whole,
)
from minialex.weights.files import remove_unfinished
from minialex.weights.records import CELL, like, partly
from minialex.words import counted


@lends_loss
def train_step(model: Layer, optimizer: SGD, x: Array, labels, *, loss: Layer | None = None) -> Array:
    """One step of SGD. Returns [mean loss, right answers, right among the first five], still on the device.

    x: on the model's first device. labels: there too, or on the host; then they are checked, and uploaded.
    loss: a loss layer, moved to the model's device; left out, the model's own.
    """
    logits = model.forward(x)
    labels = model.loss.take_labels(logits, labels)
    value = model.loss.forward(logits, labels)
    model.backward(model.loss.backward(), input_grad=False)
    optimizer.step()
    return scores_of(model, logits, labels, value)


def fit(model: Layer, *given, **options) -> list[dict]:
    """Train a model; returns the history, a dict for each epoch.

    Two ways, told apart by the second argument: an array, or an optimizer.
    - fit(model, x, y, lr=0.02, epochs=3, ...) is `fit_arrays`, which says what else it takes.
    - fit(model, optimizer, schedule, batches, epochs=3, ...) is `fit_batches`, the loop, and says so of itself.
    Raises TypeError for a mixture of both, saying which way takes what.
    """
    second = given[0] if given else options.get("x", options.get("optimizer"))
    if "x" in options or is_like_array(second):
        way = fit_arrays
    elif isinstance(second, type) or not hasattr(second, "step"):
        kind = f"the class {second.__name__}" if isinstance(second, type) else f"a {type(second).__name__}"
        raise TypeError(f"fit: after the model comes {kind if second is not None else 'nothing'}. {WAYS}")
    else:
        way = fit_batches
    try:
        inspect.signature(way).bind(model, *given, **options)
    except TypeError as error:
        names = ", ".join(inspect.signature(way).parameters)
        raise TypeError(f"fit: {error}. {WAYS}; this way takes {names}") from None
    return way(model, *given, **options)


def fit_arrays(
    model: Layer,
    x,
    y,
    *,
    loss: Layer | None = None,
    lr: float | None = None,
    epochs: int,
    batch_size: int = BATCH_SIZE,
    test: tuple | None = None,
    holdout: tuple | None = None,
    seed: int = 0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str | Constant | None = None,
    folder: str | Path | None = None,
    checkpoint_every: int = 0,
    resume: Checkpoint | None = None,
    report: ErrorReport | None = None,
) -> list[dict]:
    """for each epoch, for each batch of it: v <- momentum * v - lr * weight_decay * w - lr * grad of loss;  w <- w + v

    Trains any network that ends in logits (N, classes), in place: a Sequential, a Model, a layer of your own. Returns a
    dict for each epoch: epoch, lr, train_loss, train_error (in percent, in training mode, while it learns), test_loss,
    test_error, seconds. Neither x nor y is written to.

    x: (N, ...), floats; cast batch by batch to what the model computes in, and a line says so. uint8 pictures go
    through `model.prepare` where the model has one, as LeNet-5 for MNIST's bytes; else they are refused, for nobody
    knows the scale. y: (N,), whole numbers of any kind, or a list; from 0 to classes - 1.
    loss: a loss layer (moved to the model's device); left out, the model's own.
    lr: the learning rate. schedule: none, so it stays; "cosine" or "step", which begin with it; or one with a rate of
    its own, mx.optim.Cosine(0.1, epochs). momentum 0.9, weight_decay 0, and none at biases: SGD's.
    batch_size: of the last batch of an epoch, what is left. seed: pictures are shuffled by (seed, epoch) alone; first
    weights and dropout's masks are the model's own. The same of all gives the same bits.
    test, holdout: (x, y) that are not trained on; `fit_batches` says what they and folder, checkpoint_every, resume and
    report are for. report=ErrorReport(say=lambda line: None, bar=False) says nothing.

    Raises, before anything is trained: ValueError where x and y are not equally many, a number of x is not finite, a
    label is out of range (naming the classes), the output is no row of logits, or there is no loss or no rate;
    DtypeMismatch for labels or pictures of a wrong kind; TypeError for arguments of the other way. While it trains:
    NotFinite and Diverged, as `fit_batches`.

    >>> from minialex.layers import Linear, ReLU, Sequential, SoftmaxCrossEntropy
    >>> x = np.random.default_rng(0).standard_normal((60, 2), dtype=np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> model = Sequential(Linear(2, 8), ReLU(), Linear(8, 2))
    >>> history = fit(model, x, y, loss=SoftmaxCrossEntropy(), lr=0.1, epochs=2, batch_size=10)
    epoch  1/2  lr 0.1  train loss ... error ... %  0 s
    epoch  2/2  lr 0.1  train loss ... error ... %  0 s
    >>> evaluate(model, x, y, loss=SoftmaxCrossEntropy()).error < history[0]["train_error"]
    True
    """
    if not isinstance(model, Layer):
        made = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise TypeError(f"fit: the model is {made}, not a network: mx.models.lenet5(), mx.Sequential(...)")
    report = report or ErrorReport()
    schedule = schedule_of(schedule, lr, positive(epochs, "epochs"))
    train = batches_of(model, x, y, batch_size, seed)
    sets = {
        name: None if pair is None else batches_of(model, *pair_of(pair, name), batch_size, what=f"{name} ")
        for name, pair in {"test": test, "holdout": holdout}.items()
    }
    optimizer = SGD(model.parameters(), schedule(0), momentum, weight_decay)
    with lent(model, loss):
        classes = classes_of(model, train)
        for name, batches in {"": train, "test ": sets["test"], "holdout ": sets["holdout"]}.items():
            if batches is not None:
                check_labels(batches.labels, classes, model, f"{name}y")
        if said := cast_of(model, train.pictures):
            report.say(said)
        return fit_batches(
            model,
            optimizer,
            schedule,
            train,
            **sets,
            epochs=epochs,
            folder=folder,
            checkpoint_every=checkpoint_every,
            resume=resume,
            report=report,
        )


@lends_loss
@alone_in_folder
def fit_batches(
    model: Layer,
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
    each_epoch: Callable[[int, bool], None] | None = None,
    best_from: int = 0,
    loss: Layer | None = None,
) -> list[dict]:
    """The loop over batches: train a model; returns the history, a dict for each epoch.

    train, test, holdout: batches, as data.ArrayBatches gives them. Nothing is selected on `test`; `holdout`, which
    is not trained on, feeds a plateau schedule and picks best.safetensors.
    folder: gets checkpoint.safetensors (at each epoch's end, and every `checkpoint_every` steps), history.csv, and
    at the end model.safetensors. resume: a checkpoint to go on from, with exactly the numbers of a run that never
    stopped; what the schedule and the optimizer were made with holds from there on, and where that is another schedule
    than before, `report` says what it does to the rate. settings: kept in the checkpoint, for whoever resumes.
    each_epoch: called before each epoch with its number, from 0, and whether a resumed run goes on in the middle of it;
    it may change what of the model learns. best_from: epochs before this one are not looked at for best.safetensors.
    loss: a loss layer, moved to the model's device; left out, the model's own.
    Raises NotFinite when a loss becomes NaN or infinite, in training or on `test` or `holdout`; and Diverged, which is
    one of them, when an epoch's mean loss is more than twice what the first batch had before the first step (at least
    (1 + 8 / N) * ln(classes) for N pictures in it: a trained network begins near 0). As soon as an epoch can't come
    below that any more, it ends. good.safetensors, a checkpoint, stays then: of the newest epoch whose mean loss was
    below that of the first batch (half that limit). A run that ends well does without: its checkpoint is that.
    Raises FolderInUse when another program writes to the folder.
    """
    check_batches(schedule, train=train, test=test, holdout=holdout)
    if isinstance(schedule, Plateau) and holdout is None:
        raise ValueError("a plateau schedule needs pictures that are held out of the training set: holdout=")
    for batches in (train, test, holdout):
        check_classes(model, batches)
    report = report or ErrorReport()
    folder = Path(folder) if folder is not None else None
    record = as_metadata(record_of(model, settings))
    progress = Progress()
    if resume is not None:
        known = partly(like(asdict(progress)))  # what is added in later versions may be missing, or be more
        rows = [dict.fromkeys(report.columns, CELL)]
        resume.check().check({"progress": {**known, "history": rows}})
        state = resume.state["progress"]
        progress = Progress.of({name: state[name] for name in known if name in state})
        saved, was = resume.state["schedule"], resume.state.get("schedule_settings")
        if saved and "lr" not in saved:  # an older one; its run's settings may say it
            saved = {**saved, "lr": resume.state["settings"].get("lr", schedule.lr)}
        try:
            said = take_up(schedule, saved, was, progress.epoch + progress.step / max(1, len(train)), epochs)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{resume.path} is no whole checkpoint: its schedule ({error})") from error
        resume.restore(model, optimizer)
        if progress.epoch < epochs:
            report.say(said)

    def checkpoint(good=True):
        if folder:
            state = {"progress": asdict(progress), "settings": settings or {}}
            state |= {"schedule": schedule.state(), "schedule_settings": settings_of(schedule)}
            with _said_when(progress):
                save_checkpoint(folder / CHECKPOINT, model, optimizer, state)
            if good and progress.good:
                copy_whole(folder / CHECKPOINT, folder / GOOD)

    def results():
        """What is made from finished epochs; after a resume again, since the run may have been killed before it."""
        if folder:
            write_history(folder / HISTORY, progress.history, report)
            errors = [report.held_out_error(row) for row in progress.history[best_from:]]
            errors = [error for error in errors if error is not None]
            if progress.step == 0 and errors and errors[-1] < min(errors[:-1], default=math.inf):
                save(folder / BEST, export_grouped(model), record)

    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)  # of a run that was killed while it wrote
        write_settings(folder, settings or {})
        _keep_good(folder, resume, progress)
        if resume and best_is_given_up(folder, progress, report, best_from):
            (folder / BEST).unlink()
            report.say(f"{folder / BEST} was of a later epoch, which is given up: it is removed.")
        if resume and Path(resume.path).resolve() != (folder / CHECKPOINT).resolve():
            checkpoint(good=False)  # from here on this folder can be resumed, whatever happens
        results()
    try:
        for epoch in range(progress.epoch, epochs):
            if each_epoch:
                each_epoch(epoch, progress.step > 0)
            train_epoch(
                model, optimizer, schedule, train, progress, report, epochs, checkpoint, checkpoint_every
            )
            started = time.perf_counter()
            sets = {"test": test, "holdout": holdout}
            tested = {name: evaluate(model, batches) for name, batches in sets.items() if batches is not None}
            with _said_when(progress, ended=True):
                _check_tested(model, optimizer, tested)
            seconds = progress.seconds + time.perf_counter() - started
            row = report.row(epoch + 1, schedule(epoch), progress.scores, tested, seconds, progress.seconds)
            schedule.end_of_epoch(report.held_out_error(row))
            progress = progress.next_epoch(row, tested)
            checkpoint()
            results()
            report.say(report.line(row, epochs))
    except NotFinite as error:
        if not folder:
            raise
        raise type(error)(f"{error}. {advice_when_spoiled(folder)}") from error
    if folder:
        save(folder / MODEL, export_grouped(model), record)
        if progress.good:
            (folder / GOOD).unlink(missing_ok=True)
        elif (folder / GOOD).is_file():
            report.say(f"The last epoch did not end well. {advice_when_spoiled(folder)}")
    return progress.history


def _keep_good(folder, resume, progress):
    """good.safetensors as the run begins: none, or what the resumed one has."""
    if resume is None or Path(resume.path).parent.resolve() != folder.resolve():
        (folder / GOOD).unlink(missing_ok=True)  # another run's
    if resume is None:
        return
    source = Path(resume.path) if progress.good else Path(resume.path).with_name(GOOD)
    if source.is_file() and source.resolve() != (folder / GOOD).resolve():
        copy_whole(source, folder / GOOD)


def _check_tested(model, optimizer, tested):
    """Raise NotFinite if a loss of pictures that are not trained on is not a finite number, naming its cause."""
    sets = {"test": "the test set", "holdout": "the pictures that are held out"}
    for name, scores in tested.items():
        if not math.isfinite(scores.loss):
            check_finite(model, optimizer)
            scores.check_finite(f"on {sets[name]}")


@contextmanager
def _said_when(progress, ended=False):
    """Let a NotFinite begin with when it was: progress counts the epoch that has `ended`, or is about to."""
    steps = f"{counted(progress.step, 'step')} of epoch {progress.epoch + 1}"
    when = f"epoch {progress.epoch + ended}" if ended or not progress.step else steps
    try:
        yield
    except NotFinite as error:
        raise NotFinite(f"after {when}, {error}") from error


def train_epoch(
    model, optimizer, schedule, train, progress, report, epochs, checkpoint=lambda: None, checkpoint_every=0
):
    """The rest of an epoch, from `progress.step` on."""
    model.train()
    progress.good = False
    steps = len(train)
    waiting = []  # (scores, count, step, rate) of the steps whose scores are still on the device
    most = 1  # pictures in a batch
    looked_at, data_seconds, seconds_before = time.perf_counter(), 0.0, progress.seconds
    started = looked_at

    def look():
        """Bring the waiting scores to the host, which waits for them here; check them; report."""
        nonlocal looked_at, data_seconds
        before, count, lr = Scores(**asdict(progress.scores)), len(waiting), waiting[-1][-1]
        _read(waiting, progress, steps, model)
        now = time.perf_counter()
        progress.seconds = seconds_before + now - started
        pace = (data_seconds / count, (now - looked_at) / count)
        recent = progress.scores.since(before)
        progress.recent_loss = recent.loss
        report.look(Pace(progress.epoch, progress.step, steps, lr, *pace, recent, progress.scores))
        looked_at, data_seconds = now, 0.0
        if progress.step < steps:
            progress.check(progress.scores.seen + (steps - progress.step) * most)

    if progress.step and progress.steps not in (None, steps):
        report.say(
            f"Epoch {progress.epoch + 1} was to have {counted(progress.steps, 'step')} and has {steps} now, "
            f"since the pictures are others: going on after step {progress.step} of these."
        )
    progress.steps = steps
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
                progress.step += 1
                waiting.append((scores, len(x), progress.step, optimizer.lr))
                most = max(most, len(x))
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
    progress.check()


def _rest_of_epoch(train, progress):
    """The batches of an epoch after those of which `progress` has made its steps."""
    if not progress.recount:
        return train.shuffled(progress.epoch, start=progress.step)
    batches = train.shuffled(progress.epoch)
    for _ in range(progress.step):
        next(batches)
    return batches


def _read(waiting, progress, steps, model):
    """Add the scores that wait on the device to the sums; one transfer for all of them."""
    with model.device:
        numbers = model.device.xp.stack([scores for scores, *_ in waiting])  # (steps, 3)
    for scores, (_, count, step, lr) in zip(to_numpy(numbers).tolist(), waiting, strict=True):
        if not math.isfinite(scores[0]):
            raise NotFinite(
                f"the loss became {scores[0]} in epoch {progress.epoch + 1} at step {step} of {steps} "
                f"(learning rate {lr:.4g}): try a smaller learning rate"
            )
        if progress.limit is None:
            shape = getattr(model.loss, "_input_shape", None) or (1, 1)  # of the logits
            progress.begin(scores[0], count, classes=shape[1])
        progress.add(step, lr, scores, count)
    waiting.clear()


def write_history(path: Path, history: list[dict], report: ErrorReport) -> None:
    """history.csv, whole."""
    write_whole(path, history_csv(history, report))
