"""A seal: a record that goes with arrays into a file's header, and a checksum over both.

Whoever reads a sealed file, to train on, to test or to begin with its weights, learns when a bit of it has changed.
"""

import hashlib
import json
import os
from collections.abc import Mapping

import numpy as np

from minialex.errors import CheckpointError
from minialex.layers.settings import number
from minialex.weights.records import RECORD, TEXT, check, parse

KEY = "minialex"  # of the header's texts
VELOCITY = "velocity:"  # before a parameter's name: arrays of a checkpoint, which is always sealed


def sealed(arrays: Mapping[str, np.ndarray], state: dict) -> dict[str, str]:
    """The header's texts for arrays with a record, which must be fit for JSON."""
    return {KEY: _text({"state": state, "checksum": _checksum(arrays, state)})}


def unsealed(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> dict:
    """The record. Raises CheckpointError, naming the file, where the checksum is another one, or there is none."""
    try:
        header = parse(texts.get(KEY, "{}"))
        check(header, {"state": RECORD, "checksum": TEXT}, "it")
    except ValueError as error:
        raise CheckpointError(f"{path} has a damaged header: {error}") from error
    found, wanted = _checksum(arrays, header["state"]), header["checksum"]
    if found != wanted:
        raise CheckpointError(
            f"{path} is damaged: its checksum should be {wanted[:12]}..., it is {found[:12]}..."
        )
    return header["state"]


def is_sealed(texts: Mapping[str, str]) -> bool:
    """Is there a checksum?"""
    return '"checksum"' in texts.get(KEY, "")


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
