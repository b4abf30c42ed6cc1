"""How long a step would take on many machines, and what would be sent: by a model that fits on this page.

    seconds = work + sums + exchanges            (nothing hidden), of which backward may hide some of the sums

    work       2 * 3 * multiply-adds * batch / processes / flops         (backward costs twice what forward does)
    a sum      of n bytes: 2 (p - 1) / p * n / bandwidth + 2 log2(p) latency       (reduce-scatter, then all-gather)
    an exchange of n bytes, n / p of them in each process: (p - 1) / p * n / bandwidth + log2(p) latency

    data           sums of all gradients; with batch normalisation three small sums a layer
    weird trick    sums of the convolutions' gradients alone; exchanges of the maps before the first fully connected
                   layer, of the units of each of them, and of their gradients on the way back (Krizhevsky 2014)

What it leaves out: stragglers, pictures that come too late, processes that share one link, and what a batch so large
does to learning. examples/results/cluster.md is about these.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from minialex.cluster.buckets import BUCKET
from minialex.cluster.weird_trick import in_two
from minialex.layers import BatchNorm2D, Layer, Linear
from minialex.layers.model import Model
from minialex.layers.sequential import all_layers
from minialex.layers.settings import number
from minialex.shapes import is_whole, positive
from minialex.study.describe import summary
from minialex.training.alone import SCHEMES
from minialex.words import a_or_an, counted

WORKERS = tuple(2**k for k in range(11))  # 1 to 1,024
NUMBER = 4  # bytes, float32


@dataclass(frozen=True)
class Step:
    """A step of a whole batch. Seconds and bytes are those of one process, all of which do the same."""

    workers: int
    parallel: str  # "data", "weird-trick a", ...
    work: float  # seconds
    sums: float
    exchanges: float
    bytes_sent: int

    @property
    def seconds(self) -> float:
        """Nothing hidden: one after the other."""
        return self.work + self.sums + self.exchanges

    @property
    def seconds_hidden(self) -> float:
        """The sums travel while backward, two thirds of the work, is still busy."""
        return self.work + self.exchanges + max(0.0, self.sums - self.work * 2 / 3)


class Plan:
    """`steps`, for each number of processes and each way; print it, or mx.plot.cluster_plan(plan, path)."""

    def __init__(self, title: str, batch: int, steps: list[Step], alone: float):
        self.title, self.batch, self.steps = title, batch, steps
        self.alone = alone  # seconds that one process would take

    def of(self, parallel: str) -> list[Step]:
        """The steps of one way, by number of processes."""
        return [step for step in self.steps if step.parallel == parallel]

    def __str__(self):
        head = [
            "processes",
            "parallel",
            "seconds",
            "work",
            "sums",
            "exchanges",
            "MB sent",
            "pictures/s",
            "speed-up",
        ]
        rows = [
            [
                f"{s.workers:,}", s.parallel, *(f"{x:.3g}" for x in (s.seconds, s.work, s.sums, s.exchanges)),
                f"{s.bytes_sent / 1e6:,.1f}", f"{self.batch / s.seconds:,.0f}",
                f"{self.alone / s.seconds:.1f}",
            ]
            for s in self.steps
        ]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in [head, *rows]
        ]
        return "\n".join([self.title, *lines, "Seconds of a step with nothing hidden; bytes of one process."])

    __repr__ = __str__


def plan(
    model: Model,
    batch: int = 128,
    workers: Iterable[int] | int = WORKERS,
    bandwidth: float = 12.5e9,
    latency: float = 5e-6,
    flops: float = 1e12,
) -> Plan:
    """A step of `batch` pictures for each number of processes: by pictures, and where it can be by the weird trick.

    bandwidth: bytes a second that a process can send while it receives as many (12.5e9: a link of 100 Gbit/s).
    latency: seconds until a message arrives. flops: multiplications and additions a second that a process really does,
    as measured: 2 * 3 * multiply-adds * pictures a second. The batch stays; where it has fewer pictures than there are
    processes, some have nothing to do.
    Raises ValueError for numbers that are not above 0, TypeError for what is no model.

    >>> from minialex.models import alexnet
    >>> found = plan(alexnet(devices="cpu", towers=1, width=0.25), workers=[1, 2, 64], flops=5e10)
    >>> [step.parallel for step in found.steps if step.workers == 64]
    ['data', 'weird-trick a', 'weird-trick b', 'weird-trick c']
    >>> data, trick, *_ = (step for step in found.steps if step.workers == 64)
    >>> data.bytes_sent > 2 * trick.bytes_sent
    True
    """
    batch = positive(batch, "plan: batch")
    bandwidth, latency, flops = (
        _above_0(name, value)
        for name, value in {"bandwidth": bandwidth, "latency": latency, "flops": flops}.items()
    )
    several = [workers] if is_whole(workers) else list(workers) if isinstance(workers, Iterable) else []
    if not several or not all(is_whole(p) and p >= 1 for p in several):
        raise ValueError(f"plan: workers are whole numbers >= 1, as [1, 2, 4], not {workers!r}")
    if not isinstance(model, Layer):
        raise TypeError(
            f"plan: a model comes first, as mx.models.lenet5(), not {a_or_an(type(model).__name__)}"
        )
    if not model.parameters():
        raise ValueError(f"plan: {model} has no parameters, so there is nothing to share")
    link = _Link(bandwidth, latency)
    rows = {row.name: row for row in summary(model).rows}
    size = NUMBER * sum(row.parameters for row in rows.values())
    try:
        trick = _Trick(model, rows)
    except ValueError:
        trick = None
    norms = [layer for layer in all_layers(model) if isinstance(layer, BatchNorm2D) and not layer.frozen]
    steps = []
    for p in sorted({int(p) for p in several}):
        at_most = math.ceil(batch / p)  # pictures in one process
        work = 6 * at_most * sum(row.multiply_adds for row in rows.values()) / flops
        statistics = [2 * NUMBER * layer.channels for layer in norms for _ in range(3)]
        sums = link.sum(size, p) + sum(link.sum(small, p, pieces=1) for small in statistics)
        sent = link.sum_bytes(size + sum(statistics), p)
        steps.append(Step(p, "data", work, sums, 0.0, sent))
        if trick and p > 1 and p <= trick.units:
            steps += [trick.step(scheme, p, batch, link, flops, statistics) for scheme in SCHEMES]
    title = f"{summary(model).title}: {counted(batch, 'picture')} a step, {bandwidth / 1e9:g} GB/s, "
    alone = 6 * batch * sum(row.multiply_adds for row in rows.values()) / flops
    return Plan(
        title + f"{latency * 1e6:g} microseconds, {flops / 1e9:g} GFLOP/s a process", batch, steps, alone
    )


def _above_0(name, value):
    value = number(value)
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"plan: {name} must be a number above 0, not {value!r}")
    return float(value)


@dataclass(frozen=True)
class _Link:
    bandwidth: float
    latency: float

    def sum_bytes(self, n, p):
        return 2 * (p - 1) * n // p

    def sum(self, n, p, pieces=None):
        """Of n bytes, in buckets unless `pieces` says in how many."""
        pieces = max(1, round(n / BUCKET)) if pieces is None else pieces
        return self.sum_bytes(n, p) / self.bandwidth + pieces * 2 * math.log2(p) * self.latency

    def exchange_bytes(self, n, p):
        return (p - 1) * n // p

    def exchange(self, n, p, times):
        """Of n bytes in all, sent in so many turns."""
        return self.exchange_bytes(n, p) / self.bandwidth + times * math.log2(p) * self.latency


class _Trick:
    """What the weird trick needs to know of a network."""

    def __init__(self, model, rows):
        by_pictures, by_units = in_two(model)
        self.maps = math.prod(rows[next(reversed(by_pictures))].output)
        linear = [layer for layer in by_units.values() if isinstance(layer, Linear)]
        self.widths = [layer.out_features for layer in linear]
        self.units = min(self.widths)  # no process can have less than one
        self.convolutions = NUMBER * sum(rows[name].parameters for name in by_pictures)
        of_pictures = sum(rows[name].multiply_adds for name in by_pictures)
        self.adds = of_pictures, sum(row.multiply_adds for row in rows.values()) - of_pictures

    def step(self, scheme, p, batch, link, flops, statistics):
        turns = 1 if scheme == "a" else p
        by_pictures, by_units = self.adds
        most_units = sum(math.ceil(width / p) for width in self.widths) / sum(self.widths)
        work = 6 * (math.ceil(batch / p) * by_pictures + batch * most_units * by_units) / flops
        there = [self.maps, *self.widths]  # numbers of each picture that all processes come to have
        back = [self.maps, *self.widths[:-1]]  # and whose gradients are sent back
        exchanged = [NUMBER * batch * n for n in there + back]
        sums = link.sum(self.convolutions, p) + sum(link.sum(small, p, pieces=1) for small in statistics)
        exchanges = sum(link.exchange(n, p, turns) for n in exchanged)
        sent = link.sum_bytes(self.convolutions + sum(statistics), p) + sum(
            link.exchange_bytes(n, p) for n in exchanged
        )
        return Step(p, f"weird-trick {scheme}", work, sums, exchanges, sent)
