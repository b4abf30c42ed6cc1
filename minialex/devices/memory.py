"""Memory that is used again: what CuPy's pool is to a GPU, for large arrays on a CPU.

The operating system hands out memory page by page, when it is first written to, and clears each page before: for an
array of 37 MB that took 18 ms where writing to memory in use took 2. A network needs arrays of the same sizes in
every step. So `Pool.empty` gives out memory that an earlier array had, once that array, and every view of it, is gone.
"""

import math
import time
from collections import deque

import numpy as np

SMALL = 2**17  # bytes; below, NumPy's own way is as fast
STALE_S = 60  # memory of a size that nobody has asked for so long goes back to the system


class Pool:
    """
    >>> pool = Pool()
    >>> first = pool.empty((2**20,), np.float32)
    >>> address = first.ctypes.data
    >>> pool.empty((2**20,), np.float32).ctypes.data == address       # first is in use
    False
    >>> del first
    >>> pool.empty((2**20,), np.float32).ctypes.data == address
    True
    """

    def __init__(self):
        self.unused: dict[int, _SameSize] = {}
        np.empty(
            31 * 2**20, np.uint8
        )  # gone at once: from now on the C library keeps freed arrays up to this size

    def empty(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        """An array that is full of anything."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < SMALL:
            return np.empty(shape, dtype)
        same_size = self.unused.setdefault(size, _SameSize())
        same_size.asked_at = time.monotonic()
        try:
            memory = same_size.pop()
        except IndexError:
            self.free(before=time.monotonic() - STALE_S)
            memory = np.empty(size, np.uint8)
        return np.asarray(_Lease(memory, same_size)).view(dtype).reshape(shape)

    def free(self, before=math.inf):
        """Give unused memory back, of the sizes that were last asked for before this time."""
        for same_size in list(self.unused.values()):
            if same_size.asked_at < before:
                same_size.clear()


class _SameSize(deque):
    """Unused memory of one size. A deque is safe to use from several threads without a lock."""

    asked_at = 0.0


class _Lease:
    """The owner of an array's memory, as NumPy sees it. When the last array goes, it goes, and memory comes back."""

    def __init__(self, memory, same_size):
        self.__array_interface__ = memory.__array_interface__
        self.memory, self.same_size = memory, same_size

    def __del__(self):
        self.same_size.append(self.memory)
