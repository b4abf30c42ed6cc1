"""Checkpoints: all that a training run needs to go on as if it had never stopped, in one safetensors file.

The arrays are the parameters under their names and the velocities under "velocity:<name>", whole, so that they load
on any devices. The rest (epoch, step, schedule, counters, history, settings) is JSON in the file's header, together
with a checksum over everything. A file appears under its name only when it is complete.
"""

import os
from dataclasses import asdict, dataclass

import numpy as np

from minialex.data.classes import a_few
from minialex.devices.device import device_of, to_numpy
from minialex.errors import CheckpointError, NotFinite
from minialex.layers.layer import Layer
from minialex.training.optim import SGD
from minialex.training.reports import Scores
from minialex.training.schedules import Plateau
from minialex.weights import gather, import_grouped, load_with_metadata, put, save, scatter
from minialex.weights.record import STATE_KEY, checked_record, class_names, record_of, why_other
from minialex.weights.records import (
    COUNTS,
    FLAG,
    RECORD,
    TEXT,
    Maybe,
    check,
    like,
    number,
    parse,
    partly,
    whole,
)
from minialex.weights.seal import KEY, VELOCITY, sealed, unsealed
from minialex.words import are_same, counted

# What a run must find in a checkpoint's state to go on; there may be more.
RUN = {
    "progress": {
        "epoch": whole(),
        "step": whole(),
        "seconds": number(0),
        "scores": like(asdict(Scores())),
        "recount": FLAG,
        "history": [RECORD],
    },
    "schedule": partly(like(Plateau(1.0).state())),  # the others keep less
    "schedule_settings": Maybe({"kind": TEXT}),
    "settings": RECORD,
    "made_with": Maybe(RECORD),
    "counters": COUNTS,
}


@dataclass
class Checkpoint:
    """What a checkpoint file holds: whole arrays by name, and the training state."""

    path: str
    parameters: dict[str, np.ndarray]
    velocities: dict[str, np.ndarray]
    state: dict

    @property
    def record(self) -> dict:
        """Which network it is of, and which classes; empty where that was not said. See weights/record.py."""
        return checked_record(self.state.get(STATE_KEY, {}), self.path)

    def check(self, wanted: dict = RUN) -> "Checkpoint":
        """Raise CheckpointError, naming the file and the part, unless the state has all that is wanted; self.

        Left out: what `fit` and the training programs need to go on.
        """
        try:
            check(self.state, wanted, "its state")
            progress = self.state.get("progress")
            if wanted is RUN and len(progress["history"]) != progress["epoch"]:
                raise ValueError(
                    f"a history of {counted(len(progress['history']), 'row')} for {counted(progress['epoch'], 'epoch')}"
                )
        except ValueError as error:
            raise CheckpointError(f"{self.path} is no whole checkpoint: {error}") from error
        return self

    def restore(self, model: Layer, optimizer: SGD | None = None) -> None:
        """Put everything back; raises CheckpointError, naming the file, if it is another model's."""
        try:
            velocities = scatter(_named(optimizer, model), self.velocities) if optimizer else []
            counters = self.state["counters"]
            if set(counters) != set(model.counters()):
                raise ValueError(f"it counts {sorted(counters)}, the model {sorted(model.counters())}")
            scatter(model.named_parameters() + model.named_buffers(), self.parameters)  # shapes say more
            if why := why_other(self.record, model) or _why_other_classes(self.record, model):
                raise ValueError(why)
            import_grouped(model, self.parameters)
        except ValueError as error:
            why = why_other(self.record, model)
            said = str(error) if why in str(error) else f"{why}: {error}"
            raise CheckpointError(f"{self.path} does not fit this model: {said}") from error
        model.set_counters(counters)
        for velocity, saved in zip(optimizer.velocities if optimizer else [], velocities, strict=True):
            put(velocity, saved)


def save_checkpoint(path: str | os.PathLike, model: Layer, optimizer: SGD, state: dict) -> None:
    """Write a checkpoint. `state` must be fit for JSON; the model's counters are added to it.

    Raises NotFinite, and writes nothing, when a parameter or buffer is NaN or infinite: the last good checkpoint stays.
    """
    named = model.named_parameters() + model.named_buffers()
    arrays = gather(named, [p.value for _, p in named])
    velocities = gather(_named(optimizer, model), optimizer.velocities)
    arrays.update({VELOCITY + name: velocity for name, velocity in velocities.items()})
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise NotFinite(f"{name} has become NaN or infinite; this checkpoint is not written")
    state = {**state, "counters": model.counters()}
    if record := record_of(model, state.get("settings")):
        state[STATE_KEY] = record
    save(path, arrays, metadata=sealed(arrays, state))


def check_finite(model: Layer, optimizer: SGD) -> None:
    """Raise NotFinite, naming the first array that a checkpoint would have with NaN or infinity in it."""
    arrays = [(name, p.value) for name, p in model.named_parameters() + model.named_buffers()]
    velocities = zip(_named(optimizer, model), optimizer.velocities, strict=True)
    arrays += [(VELOCITY + name, velocity) for (name, _), velocity in velocities]
    for device in dict.fromkeys(device_of(array) for _, array in arrays):
        here = [(name, array) for name, array in arrays if device_of(array) is device]
        with device:  # all of them are looked at before anybody waits for the answers
            finite = device.xp.stack([device.xp.isfinite(array).all() for _, array in here])
        for (name, _), is_finite in zip(here, to_numpy(finite), strict=True):
            if not is_finite:
                raise NotFinite(f"{name} has become NaN or infinite")


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read and verify a checkpoint. Raises CheckpointError, naming the file, if it is damaged or something else.

    What a run must find in its state is looked at by `Checkpoint.check`.
    """
    arrays, texts = load_with_metadata(path)
    if KEY not in texts:
        raise CheckpointError(
            f"{path} holds no training state: it is not a checkpoint (model.safetensors has parameters alone)"
        )
    state = unsealed(path, arrays, texts)
    velocities = {name: arrays.pop(name) for name in list(arrays) if name.startswith(VELOCITY)}
    velocities = {name.removeprefix(VELOCITY): v for name, v in velocities.items()}
    for name, array in (*arrays.items(), *velocities.items()):
        if array.dtype.kind != "f" or not np.isfinite(array).all():  # save_checkpoint writes none
            raise CheckpointError(f"{path} is no whole checkpoint: {name} should hold finite numbers")
    if strange := sorted(set(velocities) - set(arrays)):
        raise CheckpointError(
            f"{path} is no whole checkpoint: it has a velocity of {strange[0][:80]}, which is not there"
        )
    return Checkpoint(str(path), arrays, velocities, state).check({"counters": COUNTS})


def look_into(path: str | os.PathLike) -> dict | None:
    """The training state in a checkpoint's header, unverified, without its arrays; None where it can't be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            state = parse(file.metadata()[KEY])["state"]
        check(
            state,
            {"progress": {**RUN["progress"], "history": [partly({"train_loss": number()})]}},
            "its state",
        )
        return state
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        return None


def _why_other_classes(record, model) -> str:
    """Do the model's classes have other names, or another order, than those of the record?"""
    there, here = record.get("classes"), class_names(model)
    if there is None or here is None or are_same(there, here):
        return ""
    return f"it knows other classes ({a_few(there)}) than the model ({a_few(here)})"


def _named(optimizer, model):
    """The optimizer's parameters under the names that this model has for them."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [(names.get(id(p), p.name), p) for p in optimizer.parameters]
