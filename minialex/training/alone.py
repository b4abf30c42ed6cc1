"""What a training run asks of the processes that train together. Here it is one, and has nobody to ask."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minialex.devices.device import to_numpy
from minialex.layers.layer import Layer
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

    def check_alike(self, what: Callable[[], dict[str, Any]]) -> None:
        """Raise ClusterError, naming it, where processes differ in what this gives by name."""


def checksum(*arrays: Any) -> str:
    """Of the bits of arrays, wherever they are: equal ones are equal to the bit.

    >>> checksum(np.arange(3)) == checksum(np.arange(3)), checksum(np.zeros(3)) == checksum(-np.zeros(3))
    (True, False)
    """
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(to_numpy(array)), total)
    return f"{total:08x}"


def what_it_learns(model, optimizer, schedule, epochs, train, test, holdout) -> dict[str, Any]:
    """What must be alike in all processes of a run, by name."""
    numbers = optimizer.lr, optimizer.momentum, optimizer.weight_decay, optimizer.penalty
    found = {"NumPy": np.__version__, "a network with the checksum": weights_of(model), "epochs": epochs}
    found |= {"the schedule": repr(schedule), "the optimizer's numbers": numbers}
    for name, batches in {"training": train, "test": test, "held-out": holdout}.items():
        if batches is not None:
            labels = np.asarray(batches.labels)
            found[f"{name} labels"] = f"{len(labels)} with the checksum {checksum(labels)}"
            found[f"{name} batches"] = batches.batch_size, getattr(batches, "seed", None)
            files = getattr(getattr(batches, "pictures", None), "files", None)
            if files is not None:  # folders may have other names elsewhere
                names = "\n".join("/".join(path.parts[-2:]) for path in files)
                found[f"{name} pictures with names of the checksum"] = f"{zlib.crc32(names.encode()):08x}"
    return found


def weights_of(model: Layer) -> str:
    """The checksum of all that a model has learned."""
    named = model.named_parameters() + model.named_buffers()
    return checksum(*(holder.value for _, holder in named))
