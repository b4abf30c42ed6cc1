"""The one pool of threads. NumPy works on one core at a time, but lets other threads run while it does.

Whoever has independent pieces of work hands them to `spread`: towers, the pictures of a convolution, pieces of a large
array. BLAS has one thread meanwhile; its own threads and these would only wait for each other.

Measured on two cores, AlexNet's convolutions at batch 64: 1.4 to 1.7 times as fast as on one thread. Predicted was 1.4,
over BLAS with two threads and the copies on one core.
"""

import contextvars
import functools
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Each thread has its `share` of the threads, and the `depth` of spreads that it is in.
_here = threading.local()
_lock = threading.Lock()
_pools: dict[tuple[int, int], "ThreadPoolExecutor"] = {}
if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pools.clear)


def cores() -> int:
    """How many threads to use: OMP_NUM_THREADS if it is set, else the cores that this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available(threads: int) -> int:
    """Of so many threads, those that work started here may use: inside of a `spread`, its share of them."""
    return getattr(_here, "share", threads)


@contextmanager
def limited(threads: int):
    """Meanwhile, what is started here has so many threads at most."""
    with _set_here(share=min(threads, available(threads))):
        yield


@contextmanager
def _set_here(**values):
    outside = dict(vars(_here))
    vars(_here).update(values)
    try:
        yield
    finally:
        vars(_here).clear()
        vars(_here).update(outside)


def spread(function, items, threads: int) -> list:
    """[function(item) for item in items], up to `threads` at a time; results are in the order of the items.

    Each piece of work may spread further: the threads are shared out evenly. The first error is raised, after all
    pieces have come to an end.

    >>> spread(abs, [-1, 2, -3], threads=2)
    [1, 2, 3]
    """
    items = list(items)
    if len(items) == 1:
        with one_blas_thread:
            return [function(items[0])]
    share, depth = available(threads), getattr(_here, "depth", 0)
    workers = min(len(items), share)
    if workers <= 1:
        with one_blas_thread:
            return [function(item) for item in items]

    def work(number):  # every so-manieth item: the same number of threads gives the same partition
        with _set_here(share=share // workers, depth=depth + 1):
            return [function(item) for item in items[number::workers]]

    from concurrent.futures import wait  # costs time to import

    with one_blas_thread:
        pool = _pool(depth, workers - 1)
        others = [pool.submit(contextvars.copy_context().run, work, number) for number in range(1, workers)]
        try:
            done = [work(0)]  # this thread works as well: one less to wake
        finally:
            wait(others)
        done += [other.result() for other in others]
    results = [None] * len(items)
    for number, part in enumerate(done):
        results[number::workers] = part
    return results


def _pool(depth, workers):
    """Threads for spreads of this depth. A piece waits only for deeper ones, so nobody waits in a circle."""
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        if (depth, workers) not in _pools:
            _pools[depth, workers] = ThreadPoolExecutor(workers, thread_name_prefix=f"minialex-{depth}")
        return _pools[depth, workers]


class _OneBlasThread:
    """`with one_blas_thread:` BLAS runs on the thread that calls it, as long as anyone is in there."""

    def __init__(self):
        self.users, self.lock = 0, threading.Lock()
        self.threads_before = []

    def __enter__(self):
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.threads_before = [library.get_num_threads() for library in self.libraries]
                for library in self.libraries:
                    library.set_num_threads(1)

    def __exit__(self, *error):
        with self.lock:
            self.users -= 1
            if not self.users:
                for library, threads in zip(self.libraries, self.threads_before, strict=True):
                    library.set_num_threads(threads)

    @functools.cached_property
    def libraries(self):
        """What sets BLAS's threads. To look for its libraries takes milliseconds, so this is done once."""
        from threadpoolctl import ThreadpoolController  # costs time to import

        return ThreadpoolController().select(user_api="blas").lib_controllers


one_blas_thread = _OneBlasThread()
