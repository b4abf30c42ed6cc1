"""The cache of a PictureBatches: squares of pictures on disk, decoded, each with a checksum."""

import errno
import hashlib
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from minialex.errors import DataError
from minialex.weights import write_whole
from minialex.weights.files import remove_unfinished
from minialex.words import counted

AT_ONCE = 64  # of its records in memory while they are verified
AN_HOUR = 3600


class DamagedShard(DataError):
    """A file of the cache is not what was written."""


class Shards:
    """Squares on disk, `size` of them in a file, one record each: a checksum, was it readable, and its pixels.

    A shard is named by what it was made of: name, size and time of each picture file, in order, and how the first one
    begins. So what changed has another name, and several lists of pictures can share a folder. A file is there only
    when it is whole. A checksum, CRC-32, is of the shard's name and the place in it, too: no record passes for another
    one.
    """

    def __init__(self, folder: str | Path, files: list[Path], side: int, size: int):
        self.size = size
        self.folder = Path(folder).expanduser()
        self.record = np.dtype([("checksum", "<u4"), ("good", "?"), ("pixels", np.uint8, (3, side, side))])
        firsts = range(0, len(files), size)
        self.blocks = [np.arange(first, min(first + size, len(files))) for first in firsts]
        self.paths = [self.folder / f"{_digest(files[i : i + size], side)}.squares" for i in firsts]

    def missing(self, threads: int = 1) -> list[np.ndarray]:
        """The blocks of pictures that have no shard, or a damaged one; there is room on the disk to make them."""
        with ThreadPoolExecutor(threads) as pool:
            whole = pool.map(self._is_whole, range(len(self.paths)))
            missing = [
                block
                for block, good in zip(self.blocks, _shown(whole, len(self.blocks)), strict=True)
                if not good
            ]
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            if shutil.disk_usage(self.folder).free < sum(map(len, missing)) * self.record.itemsize:
                raise OSError(errno.ENOSPC, "too little space on the disk")
        return missing

    def empty(self, count: int) -> np.ndarray:
        return np.zeros(count, self.record)

    def write(self, block: np.ndarray, records: np.ndarray) -> None:
        shard = block[0] // self.size
        for place, record in enumerate(records):
            record["checksum"] = self._checksum(shard, place, record)
        with self._explained():
            write_whole(self.paths[shard], records.view(np.uint8).data)

    def read(self, index: int) -> np.ndarray | None:
        """The square of a picture, uint8 (3, side, side); None where its file was unreadable: it may have healed.

        Raises DamagedShard, naming it, when it is not what was written.
        """
        shard, place = divmod(index, self.size)
        try:
            records = np.fromfile(self.paths[shard], self.record, 1, offset=place * self.record.itemsize)
            if len(records) and self._fits(shard, place, records[0]):
                return records[0]["pixels"] if records[0]["good"] else None
            found = "its checksum is another one" if len(records) else "it ends"
        except OSError as error:
            found = error.strerror or str(error)
        raise DamagedShard(
            f"{self.paths[shard]}, a file of the cache, changed while it was in use (at picture {place}: {found}): "
            "start again, and it will be made anew; if that happens again, the disk or the memory may be failing"
        )

    def _is_whole(self, shard: int) -> bool:
        """Is a shard there, of the right size, and all its checksums right?"""
        path, count = self.paths[shard], len(self.blocks[shard])
        if not path.is_file() or path.stat().st_size != count * self.record.itemsize:
            return False
        with open(path, "rb") as file:
            for first in range(0, count, AT_ONCE):
                records = np.fromfile(file, self.record, min(AT_ONCE, count - first))
                if not all(self._fits(shard, first + i, record) for i, record in enumerate(records)):
                    return False
        return True

    def _fits(self, shard: int, place: int, record) -> bool:
        return record["checksum"] == self._checksum(shard, place, record)

    def _checksum(self, shard: int, place: int, record) -> int:
        owner = f"{self.paths[shard].name} {place} {bool(record['good'])}".encode()
        return zlib.crc32(record["pixels"].data, zlib.crc32(owner))

    def _sweep(self) -> None:
        """Remove what runs that were killed left of shards that they were writing; a shard takes seconds."""
        remove_unfinished(self.folder, "*.squares.*", older_than=AN_HOUR)

    @contextmanager
    def _explained(self):
        try:
            yield
        except OSError as error:
            pictures = sum(map(len, self.blocks))
            raise OSError(
                error.errno,
                f"the cache in {self.folder} cannot be written: {error.strerror or error}. "
                f"For {counted(pictures, 'picture')} it takes {pictures * self.record.itemsize / 1e6:,.1f} MB; "
                "what is finished is kept, and the next run goes on from there",
            ) from error


def _digest(files: list[Path], side: int) -> str:
    """A name for the squares of these files as they are now."""
    lines = [f"minialex squares, version 3, {side}"]
    for number, file in enumerate(files):
        try:
            found = file.stat()
            lines.append(f"{file.parent.name}/{file.name} {found.st_size} {found.st_mtime_ns}")
            if not number:  # one of each shard: other sets may have the same names, sizes and times
                with open(file, "rb") as content:
                    lines.append(f"{zlib.crc32(content.read(4096))}")
        except OSError:
            lines.append(f"{file.parent.name}/{file.name} missing")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def _shown(results: Iterator, total: int) -> Iterator:
    """With a progress bar: to verify the cache of ImageNet takes minutes."""
    from tqdm import tqdm

    return tqdm(
        results, total=total, desc="verifying the cache", unit="shard", leave=False, disable=None, delay=1
    )
