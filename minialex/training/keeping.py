"""What a run keeps in its folder while it trains, and how it goes on from that: the loop's memory."""

import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minialex.errors import CheckpointError
from minialex.layers.layer import Layer
from minialex.training.checkpoint import Checkpoint, check_finite, load_checkpoint, save_checkpoint
from minialex.training.history import best_is_given_up, write_history
from minialex.training.optim import SGD
from minialex.training.progress import Progress
from minialex.training.reports import ErrorReport
from minialex.training.runs import (
    BEST,
    CHECKPOINT,
    GOOD,
    HISTORY,
    MODEL,
    advice_when_spoiled,
    not_of_a_run,
    weights_kept,
    write_settings,
)
from minialex.training.schedules import Constant, settings_of, take_up
from minialex.weights import as_metadata, copy_whole, export_grouped, record_of, save
from minialex.weights.files import remove_unfinished
from minialex.weights.records import CELL, like, partly
from minialex.words import counted


def checkpoint_of(resume: Checkpoint | str | os.PathLike | None) -> Checkpoint | None:
    """The checkpoint that is meant by one, by its file, or by the folder of a run."""
    if resume is None or isinstance(resume, Checkpoint):
        return resume
    if not isinstance(resume, (str, os.PathLike)):
        raise TypeError(
            f"resume is a checkpoint, or the path of one or of a run's folder, not {resume!r}: resume='runs/mine'"
        )
    path = Path(resume)
    file = path / CHECKPOINT if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"resume: there is no checkpoint {file}; fit(..., folder=...) writes one each epoch"
        )
    return load_checkpoint(file)


def resumed(
    resume: Checkpoint,
    model: Layer,
    optimizer: SGD,
    schedule: Constant,
    train,
    epochs: int,
    report: ErrorReport,
) -> Progress:
    """Where the checkpoint's run stands; model, optimizer and schedule are put there. train: its batches.

    `report` is told what another schedule does to the rate, and which numbers are others. Raises CheckpointError for
    what is no whole checkpoint, or another model's; ValueError for another seed in the middle of an epoch.
    """
    steps = len(train)
    known = partly(like(asdict(Progress())))  # what is added in later versions may be missing, or be more
    rows = [dict.fromkeys(report.columns, CELL)]
    resume.check().check({"progress": {**known, "history": rows}})
    state = resume.state["progress"]
    progress = Progress.of({name: state[name] for name in known if name in state})
    others = _others(resume.state.get("made_with") or {}, made_with(optimizer, train), progress)
    if progress.step and progress.steps not in (None, steps):  # the same share of other pictures or batches
        step = min(steps - 1, round(progress.step * steps / progress.steps))
        report.say(
            f"Epoch {progress.epoch + 1} was to have {counted(progress.steps, 'step')} and has {steps} now, since the "
            f"pictures or the batches are others: going on after step {step} of these."
        )
        progress.step, progress.steps = step, steps
    saved, was = resume.state["schedule"], resume.state.get("schedule_settings")
    if saved and "lr" not in saved:  # an older one; its run's settings may say it
        saved = {**saved, "lr": resume.state["settings"].get("lr", schedule.lr)}
    try:
        said = take_up(schedule, saved, was, progress.epoch + progress.step / max(1, steps), epochs)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{resume.path} is no whole checkpoint: its schedule ({error})") from error
    resume.restore(model, optimizer)
    if progress.epoch < epochs:
        report.say(said)
    else:
        been = counted(progress.epoch, "epoch has been", "epochs have been")
        report.say(f"Nothing is left to train: {been}, and epochs is {epochs}.")
    for name, (before, now) in others.items():
        report.say(f"{name} was {before}, and is {now} from here on.")
    return progress


def made_with(optimizer: SGD, train) -> dict:
    """The numbers that a run should go on with as it began, by the names that fit knows, as far as they are told."""
    told = {name: getattr(train, name, None) for name in ("seed", "batch_size")}
    told |= {name: getattr(optimizer, name, None) for name in ("momentum", "weight_decay")}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in told.items()}
    return {name: value for name, value in plain.items() if isinstance(value, (int, float))}


def _others(was: dict, now: dict, progress: Progress) -> dict[str, tuple]:
    """Which of the numbers are others than before, with both.

    Raises ValueError for another seed in the middle of an epoch, of which other pictures would be left.
    """
    others = {name: (was[name], here) for name, here in now.items() if was.get(name, here) != here}
    if progress.step and "seed" in others:
        raise ValueError(
            f"resume: {counted(progress.step, 'step')} of epoch {progress.epoch + 1} have been made, in the order of "
            f"seed {was['seed']}; with seed {now['seed']} other pictures would be left: go on with seed={was['seed']}"
        )
    return others


def check_free(folder: str | Path | None, resume: Checkpoint | None) -> None:
    """Raise ValueError where a run would write over the weights of another than the one that it goes on with."""
    if folder is None or (resume and Path(resume.path).parent.resolve() == Path(folder).resolve()):
        return
    if there := weights_kept(Path(folder)):
        on = f"go on with it by resume={str(folder)!r}, or " if CHECKPOINT in there else ""
        raise ValueError(f"{folder} holds a run already ({', '.join(there)}): {on}name another folder")
    if others := not_of_a_run(Path(folder)):
        raise ValueError(f"{folder} has a file that is no run's, {others[0]}: name another folder")


class Kept:
    """A run's files: checkpoint, history, the best and the last weights. folder: None keeps nothing.

    writes: False where another process of a cluster does; then nothing happens here, but for what it may raise as well.
    """

    def __init__(
        self,
        folder: str | Path | None,
        model: Layer,
        optimizer: SGD,
        schedule: Constant,
        settings: dict | None,
        report: ErrorReport,
        best_from: int = 0,
        writes: bool = True,
        made_with: dict | None = None,
    ):
        self.folder = Path(folder) if folder is not None and writes else None
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.settings, self.report, self.best_from = settings or {}, report, best_from
        self.made_with = made_with
        self.record = as_metadata(record_of(model, settings))

    def begin(self, progress: Progress, resume: Checkpoint | None) -> None:
        """Make the folder, and clear away what is another run's, or of epochs that are given up."""
        folder = self.folder
        if not folder:
            return
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)  # of a run that was killed while it wrote
        write_settings(folder, self.settings)
        self._keep_good(progress, resume)
        if resume and best_is_given_up(folder, progress, self.report, self.best_from):
            (folder / BEST).unlink()
            self.report.say(f"{folder / BEST} was of a later epoch, which is given up: it is removed.")
        if resume and Path(resume.path).resolve() != (folder / CHECKPOINT).resolve():
            self.checkpoint(progress, good=False)  # from here on this folder can be resumed, whatever happens
            self._take_best_along(Path(resume.path).parent, progress)
        self.results(progress)

    def checkpoint(self, progress: Progress, good: bool = True) -> None:
        """All that it takes to go on from here. good: a second one stays, of the newest epoch that ended well."""
        if not self.folder:
            with progress.said_when():  # as where it is written
                check_finite(self.model, self.optimizer)
            return
        state = {"progress": asdict(progress), "settings": self.settings, "made_with": self.made_with}
        state |= {"schedule": self.schedule.state(), "schedule_settings": settings_of(self.schedule)}
        with progress.said_when():
            save_checkpoint(self.folder / CHECKPOINT, self.model, self.optimizer, state)
        if good and progress.good:
            copy_whole(self.folder / CHECKPOINT, self.folder / GOOD)

    def results(self, progress: Progress) -> None:
        """What is made from finished epochs; after a resume again, since the run may have been killed before it."""
        if not self.folder:
            return
        write_history(self.folder / HISTORY, progress.history, self.report)
        errors = [self.report.held_out_error(row) for row in progress.history[self.best_from :]]
        errors = [error for error in errors if error is not None]
        if progress.step == 0 and errors and errors[-1] < min(errors[:-1], default=math.inf):
            save(self.folder / BEST, export_grouped(self.model), self.record)

    def end(self, progress: Progress) -> None:
        """The last epoch's weights. A run that ended well needs no second checkpoint."""
        if not self.folder:
            return
        save(self.folder / MODEL, export_grouped(self.model), self.record)
        if progress.good:
            (self.folder / GOOD).unlink(missing_ok=True)
        elif (self.folder / GOOD).is_file():
            self.report.say(f"The last epoch did not end well. {advice_when_spoiled(self.folder)}")

    def _take_best_along(self, before, progress):
        """The best epoch's weights, where the run that goes on here had them in another folder."""
        there, here = before / BEST, self.folder / BEST
        if before.resolve() == self.folder.resolve() or not there.is_file() or here.exists():
            return
        if not best_is_given_up(before, progress, self.report, self.best_from):
            copy_whole(there, here)

    def _keep_good(self, progress, resume):
        """good.safetensors as the run begins: none, or what the resumed one has."""
        good = self.folder / GOOD
        if resume is None or Path(resume.path).parent.resolve() != self.folder.resolve():
            good.unlink(missing_ok=True)  # another run's
        if resume is None:
            return
        source = Path(resume.path) if progress.good else Path(resume.path).with_name(GOOD)
        if source.is_file() and source.resolve() != good.resolve():
            copy_whole(source, good)
