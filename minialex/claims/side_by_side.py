"""Runs side by side, one on each core, in processes of their own; in which order they end does not matter."""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from minialex.claims.arm import Arm
from minialex.claims.pictures import lay_out, read_laid_out
from minialex.claims.training import train_once
from minialex.devices.device import Device
from minialex.devices.threads import cores, one_blas_thread

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
Job = tuple[str, Arm, int, float, bool]  # the arm's name, itself, seed, rate, is a rate being chosen?


@contextmanager
def workers(
    sets: Iterable[str], count: int | None = None
) -> Iterator[Callable[[list[Job]], Iterator[tuple[Job, dict, list[dict]]]]]:
    """A function that does jobs, and gives each job with its outcomes and curve as it ends.

    sets: of pictures, which they will need. count: of processes; left out, as many as there are cores. One: no process
    is started, and what runs here has one thread as well, so that its numbers are the same. When the block ends by an
    error or Ctrl-C, what runs is stopped: a run that did not end leaves nothing.
    """
    count = count or cores()
    if count == 1:
        with one_thread_here():
            yield one_by_one
        return
    with one_thread_each(), tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder), sets)
        fresh = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(count, fresh, initializer=begin, initargs=(Path(folder), sets))
        try:
            yield lambda jobs: as_they_end(pool, jobs)
            pool.shutdown()
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def one_by_one(jobs):
    for job in jobs:
        yield job, *work(job)


@contextmanager
def one_thread_here():
    cpu = Device("cpu")
    before, cpu.threads = cpu.threads, 1
    try:
        with one_blas_thread:
            yield
    finally:
        cpu.threads = before


def as_they_end(pool, jobs):
    open_jobs: dict[Future, Job] = {pool.submit(work, job): job for job in jobs}
    while open_jobs:
        done, _ = wait(open_jobs, return_when=FIRST_COMPLETED)
        for one in done:
            yield open_jobs.pop(one), *one.result()


@contextmanager
def one_thread_each():
    """Processes that are started meanwhile find these in their environment, before they import NumPy."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def begin(folder: Path, sets: Iterable[str]) -> None:
    """In a new process: one thread, and whoever else wants the core goes first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and stops all
    threading.Thread(target=end_with_parent, args=(folder,), daemon=True).start()
    read_laid_out(folder, sets)
    Device("cpu").threads = 1
    if hasattr(os, "nice"):
        os.nice(5)


def end_with_parent(folder: Path) -> None:
    """A parent that is killed can't stop what it started, which would work on and then wait for ever; nor can it
    remove what it has laid out."""
    multiprocessing.parent_process().join()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def work(job: Job) -> tuple[dict, list[dict]]:
    _, arm, seed, rate, choosing = job
    return train_once(arm, seed, rate, choosing)
