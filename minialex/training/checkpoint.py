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

from minialex.errors import CheckpointError, NotFinite
from minialex.layers.layer import Layer
from minialex.layers.settings import number
from minialex.training.optim import SGD
from minialex.weights import gather, import_grouped, load_with_metadata, put, save, scatter

_KEY = "minialex"
_VELOCITY = "velocity:"


@dataclass
class Checkpoint:
    """What a checkpoint file holds: whole arrays by name, and the training state."""

    path: str
    parameters: dict[str, np.ndarray]
    velocities: dict[str, np.ndarray]
    state: dict

    def restore(self, model: Layer, optimizer: SGD | None = None) -> None:
        """Put everything back; raises CheckpointError, naming the file, if it is another model's."""
        try:
            velocities = scatter(_named(optimizer, model), self.velocities) if optimizer else []
            counters = self.state["counters"]
            if set(counters) != set(model.counters()):
                raise ValueError(f"it counts {sorted(counters)}, the model {sorted(model.counters())}")
            import_grouped(model, self.parameters)
        except ValueError as error:
            raise CheckpointError(f"{self.path} does not fit this model: {error}") from error
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
    arrays.update({_VELOCITY + name: velocity for name, velocity in velocities.items()})
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise NotFinite(f"{name} has become NaN or infinite; this checkpoint is not written")
    state = {**state, "counters": model.counters()}
    header = {"state": state, "checksum": _checksum(arrays, state)}
    save(path, arrays, metadata={_KEY: _text(header)})


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
