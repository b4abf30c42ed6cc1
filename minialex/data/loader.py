"""Batches: the data of a training run, in an order that hangs on nothing but (seed, epoch).

ArrayBatches has its pictures in memory. PictureBatches reads them from files while the device computes: threads
decode, cut and crop a few batches ahead, for Pillow lets go of Python's lock while it decodes and scales.
Optionally the squares are kept on disk, decoded.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minialex.data.augment import Prepare, square
from minialex.data.folder import PictureList, UnreadablePicture, read_picture
from minialex.data.shards import DamagedShard, Shards
from minialex.errors import DataError
from minialex.layers.settings import unmasked, whole
from minialex.shapes import is_whole, parts_of
from minialex.words import counted

if TYPE_CHECKING:
    from typing_extensions import Self

SHARD = 512  # pictures in a file of the cache: 100 MB at 256x256
AHEAD = 2  # how many batches, or shards of the cache, the threads may work ahead of what was taken

Batch = tuple[np.ndarray, np.ndarray]  # pictures (N, ...) and labels (N,)


class Batches:
    """What all batches are: so many of an epoch, `shuffled` or `in_order`, and `share`d by processes."""

    labels: np.ndarray
    batch_size: int
    _share = (0, 1)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self):
        raise TypeError(
            "batches come in one of two orders: for x, y in batches.shuffled(epoch), or .in_order()"
        )

    def share(self, number: int, of: int) -> "Self":
        """Batches of the same pictures in the same order, of which each has the number-th of so many parts.

        Where a part is empty, `shuffled` gives one blank picture without a label: who shares the batch takes part.
        """
        mine = copy.copy(self)
        mine._share = (number, of)
        return mine


class ArrayBatches(Batches):
    """Batches from arrays that fit into memory.

    pictures (N, ...) and labels (N,); `prepare` turns a batch of pictures into the network's input.
    len(batches) is the number of batches of an epoch; the last one may be smaller.
    Raises ValueError when there are no pictures, or not one label for each, or for a batch size below 1, TypeError for
    what has no pictures or labels in it, as None.

    >>> batches = ArrayBatches(np.arange(5), np.arange(5), batch_size=2)
    >>> [labels.tolist() for _, labels in batches.in_order()]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        pictures: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int = 0,
        prepare: Callable[[np.ndarray], np.ndarray] = lambda pictures: pictures,
    ):
        for name, given in (("pictures", pictures), ("labels", labels)):
            if not hasattr(given, "__len__") or not getattr(given, "ndim", 1):
                raise TypeError(f"ArrayBatches takes an array of {name}, not {given!r}")
        if len(pictures) == 0 or len(pictures) != len(labels):
            raise ValueError(
                f"{counted(len(pictures), 'picture')} and {counted(len(labels), 'label')}: one label each is needed"
            )
        if not is_whole(batch_size) or batch_size < 1:
            raise ValueError(f"a batch has at least 1 picture, not {batch_size!r}")
        self.pictures = np.asarray(unmasked(pictures, "the array of pictures"))
        self.labels = np.asarray(unmasked(labels, "the array of labels"))
        self.batch_size, self.seed, self.prepare = batch_size, whole(seed, "seed"), prepare

    def __repr__(self) -> str:
        pictures = counted(len(self.labels), "picture")
        return f"ArrayBatches({pictures} {self.pictures.shape[1:]}, batch_size={self.batch_size}, seed={self.seed})"

    def shuffled(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of an epoch from batch `start` on: always the same for the same seed and epoch."""
        epoch, start = whole(epoch, "epoch"), whole(start, "start")
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.labels))
        return self._batches(order, start)

    def in_order(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches as the pictures come, for evaluation."""
        return self._batches(np.arange(len(self.labels)), 0, in_order=True)

    def _batches(self, order, start, in_order=False):
        for first in range(start * self.batch_size, len(order), self.batch_size):
            chosen = own_part(order[first : first + self.batch_size], self._share)
            if len(chosen):
                yield self.prepare(self.pictures[chosen]), self.labels[chosen]
            elif not in_order:
                yield self.prepare(np.zeros_like(self.pictures[:1])), self.labels[:0]


class DummyBatches(Batches):
    """Random numbers in the shape of batches, the same ones again and again: to time a network without pictures.

    Raises ValueError for a number that is not whole, or below 1.
    """

    def __init__(self, count: int, batch_size: int, crop: int, classes: int, seed: int = 0):
        _at_least(1, count=count, batch_size=batch_size, crop=crop, classes=classes)
        rng = np.random.default_rng(whole(seed, "seed"))
        self.labels = rng.integers(0, classes, count)
        self.batch_size, self.bad_files = batch_size, {}
        self.pictures = rng.standard_normal((min(count, batch_size), 3, crop, crop), dtype=np.float32)

    def shuffled(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        whole(epoch, "epoch")
        for first in range(whole(start, "start") * self.batch_size, len(self.labels), self.batch_size):
            labels = self.labels[first : first + self.batch_size]
            mine = own_part(np.arange(len(labels)), self._share)
            yield self.pictures[mine] if len(mine) else self.pictures[:1], labels[mine]

    def in_order(self, ten_crop: bool = False) -> Iterator[Batch]:
        """With `ten_crop` x is (N, 10, 3, crop, crop), the same numbers ten times."""
        for x, labels in self.shuffled(0):
            if not len(labels):
                continue
            yield np.repeat(x[:, None], 10, axis=1) if ten_crop else x, labels


class PictureBatches(Batches):
    """Batches from picture files, read, cut and prepared by `workers` threads (0: by the caller itself).

    pictures: from folder.find_pictures. prepare: see augment.Prepare; it may be set anew between two epochs.
    side: of the square that each picture is cut to first. cache: a folder that keeps these squares, 3*side*side
    bytes each. It is filled when this is constructed, once; a shard one of whose files changed is made anew. So is
    one whose checksums are wrong: all are verified when this is constructed, which reads all of the cache, and again
    with each picture; DataError, naming the shard, when it changed meanwhile.
    len(batches) is the number of batches of an epoch.

    Crops and colours are keyed by (seed, epoch, number of the picture): the batches are the same for any number
    of workers, with a cache or without, and from whichever batch an epoch is entered.

    A picture that cannot be read is left out: its batch is smaller by one, and a batch of such pictures alone is
    passed over. `bad_files` says which and why, as far as they were met. With more than `max_bad` of them it is
    over: DataError. Raises ValueError for numbers that don't fit together, OSError when the cache has no room.
    """

    def __init__(
        self,
        pictures: PictureList,
        prepare: Prepare,
        batch_size: int,
        seed: int = 0,
        workers: int = 4,
        max_bad: int = 0,
        cache: str | Path | None = None,
        side: int = 256,
    ):
        if len(pictures) == 0:
            raise ValueError("there are no pictures")
        _at_least(1, batch_size=batch_size, side=side)
        _at_least(0, workers=workers, max_bad=max_bad)
        self.pictures, self.labels, self.prepare = pictures, pictures.labels, prepare
        self.batch_size, self.workers, self.max_bad = batch_size, workers, max_bad
        self.seed = whole(seed, "seed")
        self.side = side
        self.bad_files: dict[Path, str] = {}
        self._blank = np.zeros((3, side, side), dtype=np.uint8)
        prepare.evaluation(self._blank)  # what doesn't fit together is said now, not by a thread later
        self._shards = None
        if cache is not None:
            shards = Shards(cache, pictures.files, side, SHARD)
            self._complete(shards)
            self._shards = shards

    def shuffled(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The training batches of an epoch from batch `start` on: float32 (N, 3, crop, crop), int64 (N,)."""
        epoch, start = whole(epoch, "epoch"), whole(start, "start")

        def cut(picture, index):
            key = np.random.SeedSequence(self.seed, spawn_key=(epoch, index))
            return self.prepare.training(picture, np.random.default_rng(key))

        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.labels))
        return self._batches(order, start, self.batch_size, cut)

    def in_order(self, ten_crop: bool = False) -> Iterator[Batch]:
        """The batches as the pictures come, for evaluation: their middles, float32 (N, 3, crop, crop).

        With `ten_crop` x is (N, 10, 3, crop, crop), of ten times fewer pictures.
        """
        size = max(1, self.batch_size // 10) if ten_crop else self.batch_size
        prepare = self.prepare.ten if ten_crop else self.prepare.evaluation
        return self._batches(
            np.arange(len(self.labels)), 0, size, lambda picture, index: prepare(picture), True
        )

    def share(self, number: int, of: int) -> "Self":
        """No other pictures are read. Who shares them says when too many are unreadable, and tells the batches that are
        `shared` which ones."""
        mine = super().share(number, of)
        mine.bad_files, mine.shared = {}, self
        return mine

    def squares(self, count: int | None = None) -> Iterator[np.ndarray]:
        """The squares as they are before `prepare`, uint8 (3, side, side), for mean_image and Colour.of.

        All of them, or `count` spread evenly: a list of pictures is sorted by class.
        """
        total = len(self.labels)
        chosen = np.linspace(0, total - 1, min(count or total, total)).astype(int)
        for squares, _ in self._batches(chosen, 0, self.batch_size, lambda picture, index: picture, True):
            yield from squares

    # -- Reading --

    def _batches(self, order, start, size, cut, in_order=False) -> Iterator[Batch]:
        """Batches of `size` pictures in this order; of each picture, what cut(square, index) makes of it."""
        like = cut(self._blank, 0)

        def fill(slot, index):
            slot[...] = cut(self._square(index), index)

        def empty(count):
            return np.empty((count, *like.shape), like.dtype)

        blocks = [order[first : first + size] for first in range(start * size, len(order), size)]
        blocks = [own_part(block, self._share) for block in blocks]
        for block, x, flaws in self._filled(blocks, empty, fill):
            self._note(block, flaws)
            good = np.array([flaw is None for flaw in flaws], bool)
            if good.any():
                yield (x, self.labels[block]) if good.all() else (x[good], self.labels[block[good]])
            elif self._share != (0, 1) and not in_order:
                yield cut(self._blank, 0)[None], self.labels[:0]

    def _square(self, index: int) -> np.ndarray:
        cached = self._shards.read(index) if self._shards else None
        if cached is not None:
            return cached
        return square(read_picture(self.pictures.files[index], self.side), self.side)

    def _filled(self, blocks: Iterable[np.ndarray], empty: Callable, fill: Callable) -> Iterator[tuple]:
        """For each block of picture numbers, in order: the block, an array, and the flaws.

        The array is empty(len(block)), and fill(slot, index) has been called for each of its slots. The flaws say
        for each picture why it could not be read; None where it could.
        Threads work AHEAD blocks ahead. They are gone when this ends, however it ends.
        """
        pool = ThreadPoolExecutor(max(1, self.workers), thread_name_prefix="pictures")  # starts none yet
        ahead = AHEAD if self.workers else 0
        under_way = deque()

        def begin(*job):  # returns a function that returns the job's result
            return pool.submit(self._try, *job).result if self.workers else partial(self._try, *job)

        def first():
            block, array, results = under_way.popleft()
            return block, array, [result() for result in results]

        try:
            for block in blocks:
                array = empty(len(block))
                results = [begin(fill, array[k], int(index)) for k, index in enumerate(block)]
                under_way.append((block, array, results))
                if len(under_way) > ahead:
                    yield first()
            while under_way:
                yield first()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _try(self, fill, slot, index) -> str | None:
        """Fill a slot; the flaw if the picture cannot be read."""
        try:
            fill(slot, index)
        except UnreadablePicture as flaw:
            return str(flaw)
        except DamagedShard:
            raise
        except Exception as error:
            raise RuntimeError(
                f"{self.pictures.files[index]} could not be prepared: {type(error).__name__}: {error}"
            ) from error
        return None

    def _note(self, block, flaws) -> None:
        """Remember the pictures that could not be read, and stop when they are too many."""
        files = self.pictures.files
        self.bad_files |= {files[i]: flaw for i, flaw in zip(block, flaws, strict=True) if flaw}
        if self._share == (0, 1):
            self.check_bad(self.bad_files)

    def check_bad(self, bad_files: dict[Path, str]) -> None:
        """Raise DataError, naming them, if so many files cannot be read that it is over."""
        if len(bad_files) <= self.max_bad and len(bad_files) < len(self.pictures):
            return
        named = list(bad_files.values())
        more = [f"and {len(named) - 10} more"] if len(named) > 10 else []
        headline = (
            f"{len(named)} of {counted(len(self.pictures), 'picture')} cannot be read, and up to {self.max_bad} may be "
            "skipped (max_bad, --max-bad):"
        )
        raise DataError("\n  ".join([headline, *named[:10], *more]))

    def _complete(self, shards: "Shards") -> None:
        """Make the shards that are missing."""
        from tqdm import tqdm

        def fill(slot, index):
            slot["pixels"] = self._square(index)
            slot["good"] = True

        missing = shards.missing(max(1, self.workers))
        total = sum(map(len, missing))
        with tqdm(total=total, desc="cache", unit="picture", leave=False, disable=None) as bar:
            for block, records, flaws in self._filled(missing, shards.empty, fill):
                shards.write(block, records)
                self._note(block, flaws)
                bar.update(len(block))


def own_part(block, share):
    """The part of a batch that falls to this process: number, of how many."""
    number, of = share
    return block[parts_of(len(block), of)[number]]


def _at_least(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if not is_whole(number) or number < least:
            what = "" if is_whole(number) else "a whole number, "
            raise ValueError(f"{name} must be {what}{least} or more, not {number!r}")
