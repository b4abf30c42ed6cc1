"""Checkpoints: all that a training run needs to go on as if it had never stopped, in one safetensors file.

The arrays are the parameters under their names and the velocities under "velocity:<name>", whole, so that they load
on any devices. The rest (epoch, step, schedule, counters, history, settings) is JSON in the file's header, together
with a checksum over everything. A file appears under its name only when it is complete.
"""

import hashlib
import json
import os
from dataclasses import dataclass

import numpy as np

from minialex.data.classes import a_few, are_same
from minialex.errors import CheckpointError, NotFinite
from minialex.layers.layer import Layer
from minialex.layers.settings import number
from minialex.training.optim import SGD
from minialex.weights import gather, import_grouped, load_with_metadata, put, save, scatter
from minialex.weights.record import STATE_KEY, checked_record, record_of, why_other

_KEY = "minialex"
_VELOCITY = "velocity:"


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

    def restore(self, model: Layer, optimizer: SGD | None = None) -> None:
        """Put everything back; raises CheckpointError, naming the file, if it is another model's."""
        try:
            velocities = scatter(_named(optimizer, model), self.velocities) if optimizer else []
            counters = self.state["counters"]
            if set(counters) != set(model.counters()):
                raise ValueError(f"it counts {sorted(counters)}, the model {sorted(model.counters())}")
            scatter(model.named_parameters(), self.parameters)  # shapes say more
            if why := why_other(self.record, model) or _why_other_classes(self.record, model):
                raise ValueError(why)
            import_grouped(model, self.parameters)
        except ValueError as error:
            raise CheckpointError(f"{self.path} does not fit this model: {error}") from error
        model.set_counters(counters)
        for velocity, saved in zip(optimizer.velocities if optimizer else [], velocities, strict=True):
            put(velocity, saved)


def save_checkpoint(path: str | os.PathLike, model: Layer, optimizer: SGD, state: dict) -> None:
    """Write a checkpoint. `state` must be fit for JSON; the model's counters are added to it.

    Raises NotFinite, and writes nothing, when a parameter is NaN or infinite: the last good checkpoint stays.
    """
    arrays = check_finite(model, optimizer)
    state = {**state, "counters": model.counters()}
    if record := record_of(model, state.get("settings")):
        state[STATE_KEY] = record
    header = {"state": state, "checksum": _checksum(arrays, state)}
    save(path, arrays, metadata={_KEY: _text(header)})


def check_finite(model: Layer, optimizer: SGD) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint. Raises NotFinite, naming the first that holds NaN or infinity."""
    named = model.named_parameters()
    arrays = gather(named, [p.value for _, p in named])
    velocities = gather(_named(optimizer, model), optimizer.velocities)
    arrays.update({_VELOCITY + name: velocity for name, velocity in velocities.items()})
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise NotFinite(f"{name} has become NaN or infinite; this checkpoint is not written")
    return arrays


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read and verify a checkpoint. Raises CheckpointError, naming the file, if it is damaged or something else."""
    arrays, metadata = load_with_metadata(path)
    if _KEY not in metadata:
        raise CheckpointError(
            f"{path} holds no training state: it is not a checkpoint (model.safetensors has parameters alone)"
        )
    try:
        header = json.loads(metadata[_KEY])
        state, checksum = header["state"], header["checksum"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error}") from error
    found = _checksum(arrays, state)
    if found != checksum:
        raise CheckpointError(
            f"{path} is damaged: its checksum should be {checksum[:12]}..., it is {found[:12]}..."
        )
    velocities = {name: arrays.pop(name) for name in list(arrays) if name.startswith(_VELOCITY)}
    return Checkpoint(
        str(path), arrays, {name.removeprefix(_VELOCITY): v for name, v in velocities.items()}, state
    )


def look_into(path: str | os.PathLike) -> dict | None:
    """The training state in a checkpoint's header, unverified, without its arrays; None where it can't be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(file.metadata()[_KEY])["state"]
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        return None


def _why_other_classes(record, model) -> str:
    """Do the model's classes have other names, or another order, than those of the record?"""
    there, here = record.get("classes"), getattr(model, "classes", None)
    if there is None or here is None or are_same(there, list(here)):
        return ""
    return f"it knows other classes ({a_few(there)}) than the model ({a_few(list(here))})"


def _named(optimizer, model):
    """The optimizer's parameters under the names that this model has for them."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [(names.get(id(p), p.name), p) for p in optimizer.parameters]


def _text(state) -> str:
    return json.dumps(state, sort_keys=True, default=_of_python)


def _of_python(value):
    """What JSON does not know, as it asks: numbers of NumPy."""
    if (found := number(value)) is value:
        raise TypeError(f"a checkpoint's state must be fit for JSON, which knows no {type(value).__name__}")
    return found


def _checksum(arrays, state) -> str:
    digest = hashlib.sha256(_text(state).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
