"""The training loop: forward, loss, backward, step; and what makes it safe to stop anywhere and go on."""

import inspect
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from minialex.data.classes import check_classes
from minialex.devices.uploads import uploads
from minialex.errors import NotFinite
from minialex.layers.layer import Array, Layer
from minialex.layers.settings import whole
from minialex.shapes import positive
from minialex.training.alone import Alone, what_it_learns
from minialex.training.arrays import (
    BATCH_SIZE,
    WAYS,
    cast_of,
    check_batches,
    check_labels,
    check_model,
    is_like_array,
    keywords_meant,
    labelled_batches,
    lends_loss,
    lent,
    pair_of,
    schedule_of,
)
from minialex.training.checkpoint import Checkpoint
from minialex.training.doubt import learn_doubt, load_doubt
from minialex.training.epoch import end_epoch, read_scores, rest_of_epoch
from minialex.training.evaluation import (
    QUIET,
    classes_of,
    evaluate,
    evaluate_ten_crop,
    predict,
    scores_of,
)
from minialex.training.keeping import Kept, check_free, checkpoint_of, made_with, resumed
from minialex.training.lock import alone_in_folder
from minialex.training.optim import SGD
from minialex.training.pixels import pixels_said, remember_scale
from minialex.training.progress import Progress
from minialex.training.reader import load_reader, read_digit
from minialex.training.reports import AccuracyReport, ErrorReport, Pace, Scores, SilentReport, report_of
from minialex.training.runs import (
    BEST,
    CHECKPOINT,
    GOOD,
    HISTORY,
    MODEL,
    SETTINGS,
    advice_when_spoiled,
)
from minialex.training.schedules import Constant, Plateau, schedule_is_spent
from minialex.words import a_or_an, counted

__all__ = [
    "BEST", "CHECKPOINT", "GOOD", "HISTORY", "MODEL", "SETTINGS", "evaluate", "evaluate_ten_crop", "fit", "fit_arrays",
    "fit_batches", "learn_doubt", "load_doubt", "load_reader", "predict", "read_digit", "scores_of",
    "train_epoch", "train_step",
]  # fmt: skip


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
        kind = f"the class {second.__name__}" if isinstance(second, type) else a_or_an(type(second).__name__)
        raise TypeError(f"fit: after the model comes {kind if second is not None else 'nothing'}. {WAYS}")
    else:
        way = fit_batches
    try:
        inspect.signature(way).bind(model, *given, **options)
    except TypeError as error:
        known = list(inspect.signature(way).parameters)
        if meant := keywords_meant([name for name in options if name not in known], known):
            raise TypeError(f"fit: {error}: {meant}") from None
        names = ", ".join(known)
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
    resume: Checkpoint | str | Path | None = None,
    report: ErrorReport | bool | None = None,
    cluster: Alone | None = None,
) -> list[dict]:
    """for each epoch, for each batch of it: v <- momentum * v - lr * weight_decay * w - lr * grad of loss;  w <- w + v

    Trains any network that ends in logits (N, classes), in place: a Sequential, a Model, a layer of your own. Returns a
    dict for each epoch: epoch, lr, train_loss, train_error (in percent, in training mode, while it learns), test_loss,
    test_error, seconds. Neither x nor y is written to.

    x: (N, ...), floats; cast batch by batch to what the model computes in, and a line says so, as of floats that
    run from 0 to 255, which networks seldom want. uint8 pictures go
    through `model.prepare` where the model has one, as LeNet-5 for MNIST's bytes; else they are refused, for nobody
    knows the scale. y: (N,), whole numbers of any kind, or a list; from 0 to classes - 1.
    loss: a loss layer (moved to the model's device); left out, the model's own.
    lr: the learning rate. schedule: none, so it stays; "cosine" or "step", which begin with it; or one with a rate of
    its own, mx.optim.Cosine(0.1, epochs). momentum 0.9, weight_decay 0, and none at biases: SGD's.
    batch_size: of the last batch of an epoch, what is left. seed: pictures are shuffled by (seed, epoch) alone; first
    weights and dropout's masks are the model's own. The same of all gives the same bits.
    test, holdout: (x, y) that are not trained on; `fit_batches` says what they and folder, checkpoint_every, resume,
    report and cluster are for. report=False says nothing.

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
    check_model(model, "fit")
    report = report_of(report)
    schedule = schedule_of(schedule, lr, positive(epochs, "epochs"))
    train = labelled_batches(model, x, y, batch_size, seed)
    sets = {"test": test, "holdout": holdout}
    for name, pair in sets.items():
        if pair is not None:
            sets[name] = labelled_batches(model, *pair_of(pair, name), batch_size, what=f"{name} ")
    optimizer = SGD(model.parameters(), schedule(0), momentum, weight_decay)
    with lent(model, loss):
        classes, pictures = classes_of(model, train), {}
        for name, batches in {"": train, **sets}.items():
            if batches is not None:
                what = f"{name} ".lstrip()
                check_labels(batches.labels, classes, model, f"{what}y")
                classes_of(model, batches, f"{what}x")  # else the first epoch would end in an error
                pictures[f"{what}x"] = batches.pictures
        if said := cast_of(model, train.pictures):
            report.say(said)
        with pixels_said(model, pictures, report.say):
            history = fit_batches(
                model, optimizer, schedule, train, **sets, epochs=epochs, folder=folder,
                checkpoint_every=checkpoint_every, resume=resume, report=report, cluster=cluster,
            )  # fmt: skip
        remember_scale(model, train)
        return history


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
    resume: Checkpoint | str | Path | None = None,
    settings: dict | None = None,
    report: ErrorReport | bool | None = None,
    each_epoch: Callable[[int, bool], None] | None = None,
    best_from: int = 0,
    loss: Layer | None = None,
    cluster: Alone | None = None,
) -> list[dict]:
    """The loop over batches: train a model; returns the history, a dict for each epoch.

    train, test, holdout: batches, as data.ArrayBatches gives them. Nothing is selected on `test`; `holdout`, which
    is not trained on, feeds a plateau schedule and picks best.safetensors.
    folder: gets checkpoint.safetensors (at each epoch's end, and every `checkpoint_every` steps), history.csv, and
    at the end model.safetensors. resume: a checkpoint to go on from, its file, or the folder that it is in, with the
    very numbers of a run that never stopped; what the schedule and the optimizer were made with holds from there on,
    and where that is another schedule than before, `report` says what it does to the rate. settings: kept in the
    checkpoint, for whoever resumes.
    each_epoch: called before each epoch with its number, from 0, and whether a resumed run goes on in the middle of it;
    it may change what of the model learns. best_from: epochs before this one are not looked at for best.safetensors.
    loss: a loss layer, moved to the model's device; left out, the model's own.
    cluster: the processes that share each batch, each of which calls this with the same arguments; `mx.cluster` has
    them. The history and the weights are those of one process, to rounding; the first one writes, and speaks.
    Raises NotFinite when a loss becomes NaN or infinite, in training or on `test` or `holdout`; and Diverged, which is
    one of them, when an epoch's mean loss is more than twice what the first batch had before the first step (at least
    (1 + 8 / N) * ln(classes) for N pictures in it: a trained network begins near 0). As soon as an epoch can't come
    below that any more, it ends. good.safetensors, a checkpoint, stays then: of the newest epoch whose mean loss was
    below that of the first batch (half that limit). A run that ends well does without: its checkpoint is that.
    Raises FolderInUse when another program writes to the folder, ValueError when it has another run's weights
    or somebody else's files, or where the optimizer has parameters that neither the model nor its loss has.
    """
    check_batches(schedule, train=train, test=test, holdout=holdout)
    if not isinstance(cluster, Alone | None):
        given = a_or_an(type(cluster).__name__)
        raise TypeError(f"cluster is {given}: give mx.cluster.Cluster(), or leave it out")
    positive(epochs, "epochs")
    for name, count in (("checkpoint_every", checkpoint_every), ("best_from", best_from)):
        whole(count, name)
    learned = getattr(optimizer, "parameters", ())  # one of somebody's own may keep them elsewhere
    there = {id(p) for layer in (model, model.loss) for p in layer.parameters()}
    if strangers := [p.name or "a parameter" for p in learned if id(p) not in there]:
        raise ValueError(
            f"fit: the optimizer has {counted(len(strangers), 'parameter')} that the model has not, {strangers[0]} "
            "first: make it anew, mx.SGD(model.parameters(), lr=...)"
        )
    if isinstance(schedule, Plateau) and holdout is None:
        raise ValueError("a plateau schedule needs pictures that are held out of the training set: holdout=")
    for batches in (train, test, holdout):
        check_classes(model, batches)
    cluster = cluster or Alone()
    resume = cluster.of_first(lambda: checkpoint_of(resume))
    cluster.of_first(lambda: check_free(folder, resume))
    if getattr(type(report), "row", None) is AccuracyReport.row and holdout is None:
        raise ValueError(
            f"{type(report).__name__} tells the accuracy on pictures that are held out: holdout="
        )
    report = report_of(report) if cluster.first else SilentReport(report_of(report))
    cluster.check_alike(
        lambda: what_it_learns(
            model, optimizer, schedule, train, test, holdout, epochs=epochs, checkpoint_every=checkpoint_every,
            read_every=report.read_every,
        )
    )  # fmt: skip
    now = made_with(optimizer, train)
    kept = Kept(folder, model, optimizer, schedule, settings, report, best_from, cluster.first, now)
    train, test, holdout = (cluster.share(batches) for batches in (train, test, holdout))
    progress = Progress()
    if resume is not None:
        progress = resumed(resume, model, optimizer, schedule, train, epochs, report)
    kept.begin(progress, resume)
    try:
        with cluster.at_work(model, train, optimizer):
            for epoch in range(progress.epoch, epochs):
                if each_epoch:
                    each_epoch(epoch, progress.scores.seen > 0)
                save_now, every = partial(kept.checkpoint, progress), checkpoint_every
                train_epoch(
                    model, optimizer, schedule, train, progress, report, epochs, save_now, every, cluster
                )
                drops = getattr(schedule, "drops", 0)
                with cluster.whole(optimizer):
                    progress = end_epoch(
                        model,
                        optimizer,
                        schedule,
                        {"test": test, "holdout": holdout},
                        progress,
                        report,
                        cluster,
                    )
                    kept.checkpoint(progress)
                    kept.results(progress)
                report.say(report.line(progress.history[-1], epochs))
                if (told := schedule_is_spent(schedule, drops)) and progress.epoch < epochs:
                    report.say(told)
    except NotFinite as error:
        if not kept.folder:
            raise
        raise type(error)(f"{error}. {advice_when_spoiled(kept.folder)}") from error
    kept.end(progress)
    return progress.history


def train_epoch(
    model, optimizer, schedule, train, progress, report, epochs, checkpoint=lambda: None, checkpoint_every=0,
    cluster=None,
) -> None:  # fmt: skip
    """The rest of an epoch, from `progress.step` on."""
    cluster = cluster or Alone()
    model.train()
    progress.good = False
    steps = len(train)
    waiting = []  # (scores, count, step, rate) of the steps whose scores are still on the device
    most = 1  # pictures in a batch
    looked_at, data_seconds, seconds_before = time.perf_counter(), 0.0, progress.seconds
    started = looked_at

    def look():
        """Bring the waiting scores to the host, which waits for them here; check them; report."""
        nonlocal looked_at, data_seconds, most
        before, count, lr = Scores(**asdict(progress.scores)), len(waiting), waiting[-1][-1]
        most = max(most, read_scores(waiting, progress, train, model, cluster))
        now = time.perf_counter()
        progress.seconds = seconds_before + now - started
        pace = (data_seconds / count, (now - looked_at) / count)
        recent = progress.scores.since(before)
        progress.recent_loss = recent.loss
        report.look(Pace(progress.epoch, progress.step, steps, lr, *pace, recent, progress.scores))
        looked_at, data_seconds = now, 0.0
        if progress.step < steps:
            progress.check(progress.scores.seen + (steps - progress.step) * most)

    progress.steps = steps
    report.begin(progress.epoch, epochs, progress.step, steps)
    try:
        with (
            np.errstate(**QUIET),
            closing(rest_of_epoch(train, progress, cluster)) as on_host,
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
                if cluster.alone:
                    scores = train_step(model, optimizer, x, labels)
                else:
                    planned = min(train.batch_size, len(train.labels) - progress.step * train.batch_size)
                    scores = cluster.step(model, optimizer, x, labels, planned)
                if scores is None:  # nobody had a readable picture
                    continue
                progress.step += 1
                waiting.append((scores, len(labels), progress.step, optimizer.lr))
                report.step()
                save_now = (
                    checkpoint_every and progress.step % checkpoint_every == 0 and progress.step < steps
                ) or cluster.stop
                if progress.step % report.read_every == 0 or save_now:
                    look()
                if save_now:
                    bad = cluster.bad_files(train)
                    progress.recount = bad > 0 and bad >= train.batch_size
                    with cluster.whole(optimizer):
                        checkpoint()
                if cluster.stop:
                    raise KeyboardInterrupt
            if waiting:
                look()
    finally:
        report.end()
    progress.check()
