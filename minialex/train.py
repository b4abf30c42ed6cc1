"""The training loop: forward, loss, backward, step; and what makes it safe to stop anywhere and go on."""

import csv
import io
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from minialex.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minialex.device import to_numpy
from minialex.errors import CheckpointError, NotFinite
from minialex.layers.sequential import Model
from minialex.optim import SGD, Constant, Plateau
from minialex.weights import export_grouped, load, save, write_whole

READ_EVERY = 20  # steps between two looks at the losses, which wait on the device until then

# Numbers that grow beyond bounds need no warnings from NumPy: the loop looks for them itself, and stops.
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}

# The files in a run's folder.
CHECKPOINT, MODEL, BEST = "checkpoint.safetensors", "model.safetensors", "best.safetensors"
HISTORY, SETTINGS = "history.csv", "settings.json"


def train_step(model: Model, optimizer: SGD, x, labels):
    """One step of SGD. Returns loss and number of wrong answers, 0-d arrays still on the device.

    x: on the model's device. labels: there too, or on the host; then they are checked before they are uploaded.
    """
    logits = model.forward(x)
    labels = model.loss.take_labels(logits, labels)
    loss = model.loss.forward(logits, labels)
    model.backward(model.loss.backward())
    optimizer.step()
    with model.device:
        return loss, (logits.argmax(axis=1) != labels).sum()


@dataclass
class Progress:
    """Where a run stands; checkpoints keep all of it. epoch and step count what is finished."""

    epoch: int = 0
    step: int = 0  # in this epoch
    loss_sum: float = 0.0  # over this epoch's pictures
    wrong: int = 0
    seen: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)  # a row for each finished epoch


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
    progress_bar: bool = True,
    say=print,
) -> list[dict]:
    """Train a model; returns the history, a dict for each epoch.

    train, test, holdout: batches, as data.ArrayBatches gives them. Nothing is selected on `test`; `holdout`, a part
    of the training set that is not trained on, feeds a plateau schedule and picks best.safetensors.
    folder: gets checkpoint.safetensors (at each epoch's end, and every `checkpoint_every` steps), history.csv, and
    at the end model.safetensors. resume: a checkpoint to go on from, with exactly the numbers of a run that never
    stopped. settings: kept in the checkpoint, for whoever resumes.
    Raises NotFinite when the loss becomes NaN or infinite; the last checkpoint, written before that, stays.
    """
    if isinstance(schedule, Plateau) and holdout is None:
        raise ValueError("a plateau schedule needs pictures that are held out of the training set")
    folder = Path(folder) if folder is not None else None
    progress = Progress()
    if resume is not None:
        progress = Progress(**resume.state["progress"])
        if resume.state["schedule"]:  # empty where the schedule so far had nothing to remember
            schedule.set_state(resume.state["schedule"])
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
            write_history(folder / HISTORY, progress.history)
            errors = [row["holdout_error"] for row in progress.history if "holdout_error" in row]
            if progress.step == 0 and errors and errors[-1] < min(errors[:-1], default=math.inf):
                save(folder / BEST, export_grouped(model))

    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.unfinished"):  # of a run that was killed while it wrote
            leftover.unlink(missing_ok=True)
        write_whole(folder / SETTINGS, json.dumps(settings or {}, indent=2).encode())
        results()
    for epoch in range(progress.epoch, epochs):
        train_epoch(
            model, optimizer, schedule, train, progress, checkpoint, checkpoint_every, epochs, progress_bar
        )
        started = time.perf_counter()
        row = {
            "epoch": epoch + 1,
            "lr": schedule(epoch),
            "train_loss": progress.loss_sum / progress.seen,
            "train_error": 100 * progress.wrong / progress.seen,
            "test_loss": None,
            "test_error": None,
        }
        for name, batches in (("test", test), ("holdout", holdout)):
            if batches is not None:
                row[f"{name}_loss"], row[f"{name}_error"] = evaluate(model, batches)
        row["seconds"] = progress.seconds + time.perf_counter() - started
        schedule.end_of_epoch(row.get("holdout_error"))
        progress = Progress(epoch=epoch + 1, history=[*progress.history, row])
        checkpoint()
        results()
        say(describe_row(row, epochs))
    if folder:
        save(folder / MODEL, export_grouped(model))
    return progress.history


def train_epoch(
    model, optimizer, schedule, train, progress, checkpoint, checkpoint_every, epochs, progress_bar
):
    """The rest of an epoch, from `progress.step` on."""
    from tqdm import tqdm

    model.train()
    steps = len(train)
    waiting = []  # (loss, wrong, count) of the steps whose losses are still on the device
    started, before = time.perf_counter(), progress.seconds
    bar = tqdm(
        total=steps,
        initial=progress.step,
        desc=f"epoch {progress.epoch + 1}/{epochs}",
        unit="step",
        leave=False,
        disable=None if progress_bar else True,  # None: only on a terminal
    )
    with bar, np.errstate(**QUIET):
        for x, labels in train.shuffled(progress.epoch, start=progress.step):
            optimizer.lr = schedule(progress.epoch + progress.step / steps)
            loss, wrong = train_step(model, optimizer, model.device.asarray(x), labels)
            waiting.append((loss, wrong, len(x)))
            progress.step += 1
            bar.update()
            save_now = checkpoint_every and progress.step % checkpoint_every == 0 and progress.step < steps
            if len(waiting) == READ_EVERY or progress.step == steps or save_now:
                _read(waiting, progress, steps, optimizer.lr, model.device)
                bar.set_postfix_str(f"loss {progress.loss_sum / progress.seen:.3f}", refresh=False)
            if save_now:
                progress.seconds = before + time.perf_counter() - started
                checkpoint()
    progress.seconds = before + time.perf_counter() - started


def _read(waiting, progress, steps, lr, device):
    """Bring the losses that wait on the device into the sums; here the host waits, once for all of them."""
    with device:
        numbers = device.xp.stack([number for loss, wrong, _ in waiting for number in (loss, wrong)])
    pairs = to_numpy(numbers).reshape(-1, 2).tolist()  # (loss, wrong) of each step
    counts = [count for _, _, count in waiting]
    first = progress.step - len(waiting) + 1
    for step, (loss, wrong), count in zip(range(first, progress.step + 1), pairs, counts, strict=True):
        if not math.isfinite(loss):
            raise NotFinite(
                f"the loss became {loss} in epoch {progress.epoch + 1} at step {step} of {steps} "
                f"(learning rate {lr:.3g}): try a smaller learning rate"
            )
        progress.loss_sum += loss * count
        progress.wrong += int(wrong)
        progress.seen += count
    waiting.clear()


def evaluate(model: Model, batches) -> tuple[float, float]:
    """Mean loss, and error in percent, in evaluation mode."""
    loss_sum, wrong, seen = 0.0, 0, 0
    with np.errstate(**QUIET):
        for logits, labels in _logits(model, batches):
            loss_sum += float(to_numpy(model.loss.forward(logits, labels))) * len(labels)
            wrong += int((to_numpy(logits).argmax(axis=1) != labels).sum())
            seen += len(labels)
    return loss_sum / seen, 100 * wrong / seen


def predict(model: Model, batches) -> tuple[np.ndarray, np.ndarray]:
    """The logits of all pictures, and their labels, on the host."""
    pairs = [(to_numpy(logits), labels) for logits, labels in _logits(model, batches)]
    logits, labels = zip(*pairs, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def _logits(model, batches):
    """(logits, labels) of each batch in order, in evaluation mode; the model's mode is put back."""
    mode = model.training
    model.eval()
    try:
        for x, labels in batches.in_order():
            yield model.forward(model.device.asarray(x)), labels
    finally:
        model.train(mode)


def write_history(path: Path, history: list[dict]) -> None:
    """history.csv, whole: epoch,lr,train_loss,train_error,test_loss,test_error,[holdout_...,]seconds; errors in %."""
    names = ["epoch", "lr", "train_loss", "train_error", "test_loss", "test_error"]
    if any("holdout_error" in row for row in history):
        names += ["holdout_loss", "holdout_error"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, "seconds"], lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_whole(path, text.getvalue().encode())


def describe_row(row: dict, epochs: int) -> str:
    """An epoch in one line, for the terminal."""
    parts = [f"epoch {row['epoch']:>2}/{epochs}  lr {row['lr']:<8.4g}"]
    for name in ("train", "holdout", "test"):
        if row.get(f"{name}_error") is not None:
            parts.append(f"{name} loss {row[f'{name}_loss']:.4f} error {row[f'{name}_error']:5.2f} %")
    return "  ".join([*parts, f"{row['seconds']:.0f} s"])


def load_run(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """The parameters of a run by name, and its settings.

    path: a run's folder (its model, or its checkpoint while there is no model yet), a checkpoint, or a weight file
    (its settings are those in settings.json beside it, if there is one).
    Raises FileNotFoundError when there is nothing, CheckpointError when a file is damaged.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in (MODEL, CHECKPOINT) if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(f"{path} holds neither {MODEL} nor {CHECKPOINT}: train first")
        path = found[0]
    arrays = load(path)
    if any(name.startswith("velocity:") for name in arrays):
        checkpoint = load_checkpoint(path)
        return checkpoint.parameters, checkpoint.state["settings"]
    beside = path.with_name(SETTINGS)
    try:
        return arrays, json.loads(beside.read_text()) if beside.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"{beside} is damaged ({error})") from error
