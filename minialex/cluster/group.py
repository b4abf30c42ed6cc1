"""The processes that work together, and what they say to each other: the only file that knows MPI."""

import math
import os
import pickle
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from minialex.cluster.arrival import limited
from minialex.devices.device import device_of, to_numpy
from minialex.errors import ClusterError
from minialex.layers.settings import above_0

PATIENCE_S = 600.0  # that long one process waits for the others, before it takes them for dead
NAP_S = 1e-4  # between two looks at whether the others come to the end
HOW_TO = (
    "mpi4py is needed, and an MPI below it: where your site has one (module load openmpi), "
    'pip install "minialex[cluster]"; on one machine alone, pip install "minialex[cluster-local]", which brings MPICH'
)


def _started() -> int:
    """How many processes an mpiexec, of whatever MPI, or Slurm says that it has started; 0 where nobody says so."""
    told = [
        os.environ.get(name, "")
        for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")
    ]
    return max((int(one) for one in told if one.isdigit()), default=0)


class Group:
    """The processes of an MPI communicator (left out: all that mpiexec started).

    number: of this process, from 0. size: how many there are. host: this machine's name. here: how many of them are on
    this machine, place: which of those this one is. waited: seconds spent in waiting for others so far. bytes_crossed:
    what this process had to be sent by others so far, at least: of n bytes 2 n (size - 1) / size for a sum, all but
    its own of what is put together, and what the others have of its part of a sum.
    Every method that says "together" is called by all processes, in the same order.
    Raises ClusterError, in any of these, when the others do not answer for `patience` seconds; ValueError for such that
    are no number above 0.
    """

    def __init__(self, comm: Any = None, patience: float = PATIENCE_S):
        patience = above_0(patience, "patience")
        waits = _started() > 1 and "mpi4py.MPI" not in sys.modules
        try:
            with limited(os.getpid(), _started(), patience) if waits else nullcontext():
                from mpi4py import MPI
        except (ImportError, RuntimeError) as error:  # there is mpi4py, but no MPI below it
            raise ClusterError(f"{HOW_TO} ({error})") from error
        self._mpi = MPI
        if MPI.COMM_WORLD.size == 1 and (count := _started()) > 1:
            raise ClusterError(
                f"{count} processes were started, and each sees itself alone: mpi4py's MPI "
                f"({' '.join(MPI.Get_library_version().split()[:3])}) is not the one of that mpiexec. Use the mpiexec "
                "that belongs to it, or install mpi4py for yours"
            )
        comm = MPI.COMM_WORLD if comm is None else comm
        self._comm, self._last = comm.Dup(), comm.Dup()  # whose messages meet nobody else's
        self.number, self.size, self.patience = self._comm.rank, self._comm.size, patience
        self.host = socket.gethostname()
        same_machine = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.place, self.here = same_machine.rank, same_machine.size
        same_machine.Free()
        self.waited, self.bytes_crossed = 0.0, 0

    # ---- sums, together ----

    def begin_sum(self, array: np.ndarray) -> Any:
        """Begin to replace an array, in place, by its sum over all processes; `finish` it, or `poll` it, later."""
        self.bytes_crossed += 2 * (self.size - 1) * array.nbytes // self.size
        return self._comm.Iallreduce(self._mpi.IN_PLACE, array)

    def poll(self, request: Any) -> bool:
        """Is a sum there? MPI moves its messages only while somebody asks."""
        return request.Test()

    def finish(self, request: Any) -> None:
        """Wait for a sum that was begun."""
        began, looks = time.perf_counter(), 0
        while not request.Test():
            looks += 1
            if looks % 64 == 0 and time.perf_counter() - began > self.patience:
                self._give_up()
            self._let_others()
        self.waited += time.perf_counter() - began

    def _let_others(self):
        """Another process may need this core, if only to send what is waited for here."""
        os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)

    def sum(self, array: Any) -> Any:
        """The sum of an array, or of a number, over all processes, in its dtype, where the array is."""
        if device_of(array).kind == "cpu":
            total = np.array(array)  # a copy, contiguous
            self.finish(self.begin_sum(total))
            return total
        return device_of(array).asarray(self.sum(to_numpy(array)))  # through the host

    # ---- parts of arrays, together ----

    def all_of(self, own: Any, sizes: list[int], axis: int = 0) -> Any:
        """The parts that the processes have, one after the other along an axis; sizes: of each part, along it."""
        device = device_of(own)
        own = np.ascontiguousarray(np.moveaxis(to_numpy(own), axis, 0))
        whole = self._put_together(own, sizes)
        self.bytes_crossed += whole.nbytes - own.nbytes
        return device.asarray(np.moveaxis(whole, 0, axis))

    def _put_together(self, own, sizes):
        whole = np.empty((sum(sizes), *own.shape[1:]), own.dtype)
        row = math.prod(own.shape[1:])
        self.finish(self._comm.Iallgatherv(own, [whole, [size * row for size in sizes]]))
        return whole

    def part_of_sum(self, array: Any, sizes: list[int], axis: int = 0) -> Any:
        """This process's part of the sum of an array over all processes; sizes: of each one's part, along the axis."""
        device = device_of(array)
        array = np.ascontiguousarray(np.moveaxis(to_numpy(array), axis, 0))
        own = np.empty((sizes[self.number], *array.shape[1:]), array.dtype)
        row = math.prod(array.shape[1:])
        self.bytes_crossed += (self.size - 1) * own.nbytes
        self.finish(self._comm.Ireduce_scatter(array, own, [size * row for size in sizes]))
        return device.asarray(np.moveaxis(own, 0, axis))

    # ---- other words, together: pickled, and waited for with a limit, which MPI's own way has not ----

    def gather(self, value: Any) -> list:
        """What each process says, by number."""
        own = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = self._put_together(np.array([len(own)]), [1] * self.size).tolist()
        parts = np.split(self._put_together(own, sizes), np.cumsum(sizes)[:-1])
        return [pickle.loads(part) for part in parts]

    def from_first(self, value: Any) -> Any:
        """What process 0 says."""
        first = self.number == 0
        own = np.frombuffer(bytearray(pickle.dumps(value if first else None)), np.uint8)
        size, *_ = self._put_together(np.array([len(own)]), [1] * self.size).tolist()
        words = own if first else np.empty(size, np.uint8)
        self.finish(self._comm.Ibcast(words))
        return value if first else pickle.loads(words)

    @contextmanager
    def together(self, what: str = "") -> Iterator[None]:
        """What is done inside, each process does alone; at its end all meet. An error in one of them is raised in all.

        The others' is a ClusterError that names the process and its machine, or the same error where all have it.
        """
        own = None
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            own = error
        said = self.gather(None if own is None else f"{type(own).__name__}: {own}")
        failed = [number for number, one in enumerate(said) if one is not None]
        if own is not None:
            raise own
        if failed:
            raise ClusterError(f"process {failed[0]} has failed{what and ' to '}{what}: {said[failed[0]]}")

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """One process of each machine does what is inside, then the others of it: who comes later finds it done."""
        if self.place == 0:
            with self.together():
                yield
            with self.together():
                pass
        else:
            with self.together():
                pass
            with self.together():
                yield

    # ---- the end ----

    def all_come(self, seconds: float) -> bool:
        """Do all processes call this, within so many seconds?"""
        request, began = self._last.Ibarrier(), time.perf_counter()
        while not request.Test():
            if time.perf_counter() - began > seconds:
                return False
            time.sleep(NAP_S)
        return True

    def abort(self) -> None:
        """End all processes, this one too, at once."""
        self._comm.Abort(1)

    def _give_up(self):
        others = (
            "the other process" if self.size == 2 else f"one or more of the other {self.size - 1} processes"
        )
        raise ClusterError(
            f"no answer came from {others} for {self.patience:g} s: it has ended, hangs, or cannot be reached. Start "
            "again with --resume: the last checkpoint is whole"
        )
