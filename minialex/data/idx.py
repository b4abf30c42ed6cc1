"""IDX files: MNIST's format, so plain that it is read by hand here (see `read_idx`)."""

import gzip
import hashlib
import math
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minialex.errors import DataError
from minialex.weights.reading import PIECE

GZIP_MAGIC = b"\x1f\x8b"
MOST_BYTES = 2**30  # in a file of any set: EMNIST's largest has 547 million
ONE_GO = 100_000_000  # a packed file that should hold more is read once to count, and then once more
ELEMENTS = {0x08: np.uint8, 0x0C: np.int32}  # IDX's codes; the second is that of QMNIST's labels


class Flaw(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with the file's name or address."""

    def __init__(self, what: str, remedy: str = "Delete it and fetch it again."):
        super().__init__(what)
        self.remedy = remedy


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file of bytes or of 32-bit integers, gzipped or not (its first bytes tell, not its name).

    An IDX file is a short header and then the elements, in C order. All its numbers are big-endian:

        bytes 0-1   zero
        byte 2      the type of the elements: 0x08 means unsigned bytes, 0x0c signed integers of 4 bytes
        byte 3      how many dimensions there are: 3 for MNIST's pictures, 1 for its labels
        then        4 bytes for each dimension: its size

    So MNIST's pictures begin 00 00 08 03 (the "magic number" 2051), 0000ea60 (60,000 pictures),
    0000001c (28 rows), 0000001c (28 columns). QMNIST's labels are integers of shape (60000, 8), the class first.

    Returns a new, writable array, uint8 or int32. Raises FileNotFoundError, or DataError when the file is cut short,
    damaged, of another kind, or should hold more than 2^30 bytes. No more is unpacked than the header speaks of.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "six-pixels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes([7, 8, 9, 10, 11, 12]))
    ...     read_idx(path)
    array([[ 7,  8,  9],
           [10, 11, 12]], dtype=uint8)
    """
    try:
        return read_checked(Path(path))
    except Flaw as flaw:
        raise DataError(f"{path} {flaw}. {flaw.remedy}") from flaw


def read_checked(
    path: Path, most: int = MOST_BYTES, check: Callable[[str], None] | None = None
) -> np.ndarray:
    """The array in a local IDX file of at most so many bytes.

    check: gets the MD5 of the uncompressed bytes, and raises a Flaw if it should be another. Raises Flaw,
    FileNotFoundError.
    """
    if not path.is_file():  # a pipe or a device may never end
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        try:
            if packed:
                return _parsed(gzip.GzipFile(fileobj=file), None, most, check)
            return _parsed(file, os.fstat(file.fileno()).st_size, most, check)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Flaw(f"is a damaged gzip file ({error})") from error


def _parsed(content, size: int | None, most: int, check) -> np.ndarray:
    """The array that an IDX file describes, from its uncompressed bytes; of them no more is read than it can have.

    size: how many they are, if that is known.
    """
    start = content.read(4)
    zeros, kind, dimensions = struct.unpack(">HBB", start.ljust(4, b"\0"))
    if zeros != 0 or kind not in ELEMENTS or dimensions == 0:
        raise Flaw(
            "is not an IDX file of unsigned bytes, nor of 32-bit integers: that begins with 00 00 08 or 00 00 0c and "
            f"the number of dimensions, this with {start.hex(' ') or 'nothing'}"
        )
    sizes = content.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise Flaw(f"ends after {4 + len(sizes)} bytes, inside its header of {4 + 4 * dimensions}")
    shape, each = struct.unpack(f">{dimensions}I", sizes), np.dtype(ELEMENTS[kind]).itemsize
    wanted = math.prod(shape) * each
    sides = " x ".join(map(str, shape)) if dimensions <= 8 else f"{dimensions} sides"
    of_each = f" x {each} bytes" if each > 1 else ""
    total = f"{wanted} byte{'s' * (wanted != 1)}" if wanted < 2**64 else "too many bytes"
    said = f"should hold {sides}{of_each} = {total} after its header"
    if wanted > most:
        raise Flaw(f"{said}; the most is {most}")
    if size is not None:
        _compare(size - content.tell(), wanted, said)
    elif wanted > ONE_GO:  # before memory is taken for them
        _count(content, wanted, said)
        content.seek(4 + 4 * dimensions)
    elements = np.empty(wanted, np.uint8)
    found = 0
    while found < wanted and (count := content.readinto(elements[found : found + PIECE])):
        found += count
    _compare(found + len(content.read(1)), wanted, said, " or more")
    if check is not None:  # "cut short" says more than "another sum", so this is last
        check(sum_of(start, sizes, elements))
    elements = elements.view(ELEMENTS[kind])
    if each > 1 and sys.byteorder == "little":
        elements.byteswap(inplace=True)
    try:
        return elements.reshape(shape)
    except ValueError as error:  # more than 64 dimensions, say
        raise Flaw(f"has a shape that NumPy cannot hold ({error})") from error


def _count(content, wanted: int, said: str) -> None:
    """Look whether there are so many bytes, and one more at most, without keeping them."""
    piece, found = bytearray(PIECE), 0
    while found <= wanted and (count := content.readinto(piece)):
        found += count
    _compare(min(found, wanted + 1), wanted, said, " or more")


def _compare(found: int, wanted: int, said: str, or_more: str = "") -> None:
    if found != wanted:
        raise Flaw(f"{said}, but holds {found}{or_more if found > wanted else ''}")


def sum_of(*parts) -> str:
    """The MD5 of these bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def sum_of_file(path: Path) -> str:
    """The MD5 of a file as it lies there, packed or not."""
    with open(path, "rb") as file:
        return sum_of(*iter(lambda: file.read(PIECE), b""))
