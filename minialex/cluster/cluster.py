"""What a training run asks of its processes: shares of the pictures, steps over all of them, and decisions together."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from typing import Any

import numpy as np

from minialex.cluster.batch_norm import over_processes
from minialex.cluster.buckets import BUCKET, GradientSums
from minialex.cluster.group import Group
from minialex.devices.device import cuda_count
from minialex.errors import ClusterError
from minialex.layers.dropout import Dropout
from minialex.layers.layer import Array, Layer
from minialex.layers.sequential import all_layers
from minialex.shapes import parts_of
from minialex.training.alone import Alone
from minialex.training.data_parallel import DataParallel
from minialex.training.evaluation import scores_of
from minialex.training.optim import SGD
from minialex.training.reports import Scores
from minialex.words import a_or_an


class Cluster(Alone):
    """The processes of a group, which train one network together: `fit(..., cluster=cluster)` does the rest.

    bucket, overlap: how gradients are summed; see `GradientSums`.
    """

    alone = False

    def __init__(self, group: Group, bucket: int = BUCKET, overlap: bool = True):
        self.group, self.bucket, self.overlap = group, bucket, overlap
        self._asked_to_stop = False

    @property
    def first(self) -> bool:
        return self.group.number == 0

    def __repr__(self):
        return f"Cluster(process {self.group.number} of {self.group.size}, on {self.group.host})"

    @property
    def size(self) -> int:
        return self.group.size

    def share(self, batches: Any) -> Any:
        """These batches, of each of which this process has its part; None stays None.

        Batches of your own need a method share(number, of), as mx.data.ArrayBatches has it.
        """
        if batches is None:
            return None
        if not hasattr(batches, "share"):
            raise TypeError(
                f"{a_or_an(type(batches).__name__)} cannot be shared by processes: it needs a method share(number, "
                "of), which gives batches with the number-th of so many parts of each; see mx.data.ArrayBatches"
            )
        return batches.share(self.group.number, self.group.size)

    # ---- steps ----

    @contextmanager
    def at_work(self, model: Layer, batches: Any, optimizer: SGD) -> Iterator[None]:
        """Inside of this, `step` can be called with what `batches`, this process's share, gives."""
        if isinstance(model, DataParallel):
            raise TypeError(
                "mx.DataParallel shares a batch on this machine alone, and gives its processes nothing of a cluster: "
                "fit(model, ..., cluster=cluster) with the model that is in it"
            )
        self._batches = batches
        self._dropouts = [one for one in all_layers(model) if isinstance(one, Dropout)]
        with ExitStack() as stack:
            self._norms = stack.enter_context(over_processes(model, self.group))
            self._sums = stack.enter_context(GradientSums(self.group, model, self.bucket, self.overlap))
            stack.enter_context(self._hearing_signals())
            try:
                yield
            finally:
                for layer in self._dropouts:
                    layer.first = 0
            self.check_bad(batches)

    def step(self, model: Layer, optimizer: SGD, x: Array, labels, planned: int) -> Array | None:
        """One step of SGD with the pictures of all processes: the gradients are those that one process would have.

        x, labels: this process's part of a batch of `planned` pictures; without labels, x stands for nothing, and is
        there so that this process makes the calls that the others make. Returns the scores of its part, as
        `train_step`; None where no process has a picture, for then there is no step.
        """
        counts, own = self._ready(len(labels), planned), len(labels)
        if not sum(counts):
            return None
        logits = model.forward(x)
        labels = model.loss.take_labels(logits, labels if own else np.zeros(len(x), np.int64))
        value = model.loss.forward(logits, labels)
        self._sums.begin(self._news(), adds=bool(own))
        model.backward(model.loss.backward(own / sum(counts)), input_grad=False)
        self._decide()
        optimizer.step()
        return scores_of(model, logits, labels, value)

    def _ready(self, own, planned):
        """How many pictures of this batch each process has; layers hear which of them are this one's."""
        counts = self._counts(own, planned)
        for layer in self._dropouts:
            layer.first = sum(counts[: self.group.number])
        for layer in self._norms:
            layer.adds = bool(own)
        if not sum(counts):  # there will be no sums, with which it would be heard
            self.check_bad(self._batches)
        return counts

    def _counts(self, own, planned):
        """How many pictures of this batch each process has: as planned, where none may be left out."""
        if getattr(self._batches, "max_bad", 0):
            return self.group.gather(own)
        return [part.stop - part.start for part in parts_of(planned, self.group.size)]

    def _news(self):
        """What this process has to say, with its gradients: was it asked to stop, how many pictures were unreadable?"""
        return [self._asked_to_stop, len(getattr(self._batches, "bad_files", ()))]

    def _decide(self):
        """Wait for the sums of the gradients, and hear with them what ends the run: in all processes, or in none."""
        stop, bad = self._sums.finish()
        self.stop = stop > 0
        if bad > getattr(self._batches, "max_bad", 0):
            if not hasattr(self._batches, "check_bad"):  # there can be none: what came was no count of them
                raise ClusterError("the processes do not make the same calls: all must run the same program")
            self.check_bad(self._batches)

    # ---- sums, words and decisions ----

    def from_first(self, value: Any) -> Any:
        return self.group.from_first(value)

    def of_first(self, function: Callable[[], Any]) -> Any:
        found = error = None
        if self.first:
            try:
                found = function()
            except (Exception, KeyboardInterrupt) as raised:
                error = raised
        found, said = self.group.from_first(
            (found, None if error is None else f"{type(error).__name__}: {error}")
        )
        if error is not None:
            raise error
        if said is not None:
            raise ClusterError(f"process 0: {said}")
        return found

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        with self.group.first_before_others():
            yield

    def devices(self, asked: str) -> str:
        """A GPU for each process of a machine, as far as they go, where "auto" is asked for."""
        gpus = cuda_count() if asked == "auto" else 0
        return f"cuda:{self.group.place % gpus}" if gpus else asked

    def of_all(self, rows: list[list[float]], counts: list[int]) -> tuple[list[list[float]], list[int]]:
        if not counts:
            return rows, counts
        own = np.array(counts, np.float64)[:, None]  # of a process without pictures rows say nothing
        loss, *right = np.where(own > 0, np.array(rows, np.float64), 0).T
        sums = self.group.sum(np.stack([loss * own[:, 0], *right, own[:, 0]]))
        return np.stack([sums[0] / sums[3], *sums[1:3]], axis=1).tolist(), sums[3].astype(int).tolist()

    def total(self, scores: Scores) -> Scores:
        loss_sum, *counts = self.group.sum(np.array(astuple(scores), np.float64)).tolist()
        return Scores(loss_sum, *map(int, counts))

    def bad_files(self, batches: Any) -> int:
        return int(self.group.sum(np.float64(super().bad_files(batches))))

    def check_bad(self, batches: Any) -> None:
        """Together: raise DataError if what all have met is too much; whose batches these are hears of it."""
        if not hasattr(batches, "check_bad"):
            return
        found = {path: flaw for files in self.group.gather(batches.bad_files) for path, flaw in files.items()}
        if shared := getattr(batches, "shared", None):
            shared.bad_files |= found
        if found:
            batches.check_bad(found)

    def any_picture(self, labels: Any) -> bool:
        """Together: has one of the processes a picture of this batch?"""
        return bool(self.group.sum(np.int64(len(labels))))

    def check_alike(self, what: Callable[[], dict[str, Any]], why: str = "") -> None:
        """Together: raise ClusterError, naming the first thing that another process has otherwise than process 0."""
        said = self.group.gather((self.group.host, {**self._way(), **what()}))
        first_host, wanted = said[0]
        for number, (host, found) in enumerate(said):
            for name in {**wanted, **found}:
                value, first_value = found.get(name, "none"), wanted.get(name, "none")
                if value != first_value:
                    raise ClusterError(
                        f"process {number} on {host} has {name} {value}, process 0 on {first_host} has "
                        f"{first_value}: all must have the same{why}"
                    )

    def _way(self):
        """How batches are shared and gradients summed, by name."""
        return {"the cluster": f"{type(self).__name__}(bucket={self.bucket}, overlap={self.overlap})"}

    @contextmanager
    def _hearing_signals(self):
        """SIGTERM, a scheduler's, and the first Ctrl-C let all processes stop after the same step."""
        self.stop = self._asked_to_stop = False

        def ask(number, frame):
            if self._asked_to_stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._asked_to_stop = True

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
