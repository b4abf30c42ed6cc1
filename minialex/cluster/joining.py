"""How a process comes to its cluster, and how all end together, well or badly."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from minialex.cluster.cluster import Cluster
from minialex.cluster.group import PATIENCE_S, Group
from minialex.cluster.weird_trick import WeirdTrick
from minialex.devices.device import Device
from minialex.training.alone import PARALLEL
from minialex.words import check_choice

KINDS = dict(zip(PARALLEL, (Cluster, WeirdTrick), strict=True))
GRACE_S = 3.0  # one that fails waits so long for the others to fail as well, before it ends them


@contextmanager
def joined(parallel: str = "data", patience: float = PATIENCE_S, **options: Any) -> Iterator[Cluster]:
    """`with joined() as cluster:` the processes that mpiexec has started. Only the first one's prints are shown.

    On a CPU each takes its part of this machine's cores, unless OMP_NUM_THREADS says how many threads it has. When one
    fails inside of this it says so, with its number and machine, and ends all. What all of them come upon together, as
    a loss that is no number, is raised in the first one alone; the others end with exit status 1.
    parallel: "data" shares pictures, "weird-trick" also the units of fully connected layers (scheme=, `WeirdTrick`).
    patience: after so many seconds without an answer the others are taken for dead, and this one ends as well; also
    where they have not all come here. options: `Cluster`'s.
    Raises ClusterError where there is no mpi4py, or no MPI below it.
    """
    check_choice(parallel, KINDS, "parallel")
    group = Group(patience=patience)
    if not os.environ.get("OMP_NUM_THREADS"):
        cpu = Device("cpu")
        cpu.threads = threads_of_each(group.gather((group.host, cores())), group.number)
    cluster = KINDS[parallel](group, **options)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(sys.stdout if cluster.first else nowhere):
            yield cluster
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        if not group.all_come(GRACE_S):
            said = f"process {group.number} on {group.host}: {type(error).__name__}: {error}"
            print(
                "".join(traceback.format_exception(error)) if _wants_all() else said,
                file=sys.stderr,
                flush=True,
            )
            group.abort()
        if cluster.first:
            raise
        sys.exit(1)


def _wants_all():
    return bool(os.environ.get("MINIALEX_TRACEBACK"))


def cores() -> frozenset[int]:
    """The cores that this process may run on: an MPI may have bound it to some."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def threads_of_each(places: list[tuple[str, frozenset[int]]], number: int) -> int:
    """How many threads a process takes, by the machines and cores of all: those of a machine share its cores.

    >>> both = frozenset({0, 1, 2, 3})
    >>> threads_of_each([("a", both), ("a", both), ("b", both)], 0), threads_of_each([("a", both), ("b", both)], 1)
    (2, 4)
    >>> threads_of_each([("a", frozenset({0, 1})), ("a", frozenset({2, 3}))], 0)          # each is bound to its own
    2
    """
    host, own = places[number]
    here = [its for its_host, its in places if its_host == host]
    return max(1, min(len(own), len(frozenset().union(*here)) // len(here)))
