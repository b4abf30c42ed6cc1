"""What a training run asks of the processes that train together. Here it is one, and has nobody to ask."""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from minialex.devices.device import to_numpy
from minialex.layers.layer import Layer
from minialex.layers.sequential import all_layers
from minialex.training.optim import SGD
from minialex.training.reports import Scores

PARALLEL = ("data", "weird-trick")  # what processes can share, as --parallel has it
SCHEMES = ("a", "b", "c")  # of the weird trick, as its paper names them


class Alone:
    """One process. `mx.cluster.Cluster` says the same of several."""

    alone = True
    size = 1  # how many processes
    first = True  # is it the process that prints and writes?
    stop = False  # has anything asked all of them to stop after this step?

    def share(self, batches: Any) -> Any:
        """These batches, of each of which this process has its part."""
        return batches

    @contextmanager
    def at_work(self, model: Any, batches: Any, optimizer: SGD) -> Iterator[None]:
        """Around the steps of a run."""
        yield

    @contextmanager
    def whole(self, optimizer: SGD) -> Iterator[None]:
        """Inside of this the weights and velocities here are whole, to be tested and saved: between two steps."""
        yield

    def from_first(self, value: Any) -> Any:
        """What the first process has."""
        return value

    def of_first(self, function: Callable[[], Any]) -> Any:
        """What the function gives in the first process, the only one that calls it. Its error is an error of all."""
        return function()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """One process of each machine does what is inside, then its others: they find done what is done once."""
        yield

    def devices(self, asked: str) -> str:
        """Which devices a process takes where so many are asked for."""
        return asked

    def of_all(self, rows: list[list[float]], counts: list[int]) -> tuple[list[list[float]], list[int]]:
        """[mean loss, right answers, right among five] of some steps, and their pictures: over all processes."""
        return rows, counts

    def total(self, scores: Scores) -> Scores:
        """Scores over all processes."""
        return scores

    def bad_files(self, batches: Any) -> int:
        """How many unreadable files all processes have met."""
        return len(getattr(batches, "bad_files", ()))

    def check_bad(self, batches: Any) -> None:
        """Raise DataError if all processes have met too many unreadable files. (One says so by itself.)"""

    def any_picture(self, labels: Any) -> bool:
        """Has one of the processes a picture of this batch?"""
        return True

    def check_alike(self, what: Callable[[], dict[str, Any]], why: str = "") -> None:
        """Raise ClusterError, naming it, where processes differ in what this gives by name; why: said at its end."""


def checksum(*arrays: Any) -> str:
    """Of the bits of arrays, wherever they are: equal ones are equal to the bit.

    >>> checksum(np.arange(3)) == checksum(np.arange(3)), checksum(np.zeros(3)) == checksum(-np.zeros(3))
    (True, False)
    """
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(to_numpy(array)), total)
    return f"{total:08x}"


def what_it_learns(model, optimizer, schedule, train, test, holdout, **rest) -> dict[str, Any]:
    """What must be alike in all processes of a run, by name; rest: more of it."""
    numbers = optimizer.lr, optimizer.momentum, optimizer.weight_decay, optimizer.penalty
    version = sys.modules["minialex"].__version__  # which is set when all rooms are there
    found = {"minialex": version, "NumPy": np.__version__}
    found |= {"a network with the checksum": weights_of(model), "steps counted in it": model.counters()}
    for number, layer in enumerate([*all_layers(model), getattr(model, "loss", None)]):
        if layer is not None and not layer.children():  # a rate of dropout, say, which no weight tells of
            found[f"layer number {number}"] = f"{layer.name} {layer!r}".strip()
    found |= {"the schedule": repr(schedule), "the optimizer's numbers": numbers}
    moved = [p.name for p in optimizer.parameters if p.lr_scale]
    names = zlib.crc32("\n".join(moved).encode())
    found |= {"what is trained": f"{len(moved)} parameters with names of the checksum {names:08x}", **rest}
    for name, batches in {"training": train, "test": test, "held-out": holdout}.items():
        if batches is not None:
            labels = np.asarray(batches.labels)
            found[f"{name} labels"] = f"{len(labels)} with the checksum {checksum(labels)}"
            found[f"{name} batches"] = tuple(
                getattr(batches, one, None) for one in ("batch_size", "seed", "max_bad", "side")
            )
            pictures, prepare = getattr(batches, "pictures", None), getattr(batches, "prepare", None)
            if isinstance(pictures, np.ndarray):
                found[f"{name} pictures"] = f"{pictures.dtype} {pictures.shape}, {_sample_of(pictures)}"
            if is_dataclass(prepare):
                found[f"{name} pictures' preparation"] = _checksum_of(prepare)
            files = getattr(getattr(batches, "pictures", None), "files", None)
            if files is not None:  # folders may have other names elsewhere
                names = "\n".join("/".join(path.parts[-2:]) for path in files)
                found[f"{name} pictures with names of the checksum"] = f"{zlib.crc32(names.encode()):08x}"
    return found


def _sample_of(pictures, most=64):
    """The checksum of some of them, from the first to the last: all may be more than one wants to read."""
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), most)).astype(int)
    return f"{len(chosen)} of which have the checksum {checksum(pictures[chosen])}"


def _checksum_of(settings):
    """Of a dataclass, with its arrays and the dataclasses in it."""
    texts = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            texts.append(_checksum_of(value))
        else:
            texts.append(checksum(value) if isinstance(value, np.ndarray) else repr(value))
    return f"with the checksum {zlib.crc32(' '.join(texts).encode()):08x}"


def weights_of(model: Layer) -> str:
    """The checksum of all that a model has learned."""
    named = model.named_parameters() + model.named_buffers()
    return checksum(*(holder.value for _, holder in named))
