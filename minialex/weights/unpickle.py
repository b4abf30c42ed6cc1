"""The two kinds of file that hold pickles: np.save's `.npy`, and what torch.save writes.

PyTorch's pickle says which tensors there are; their numbers lie beside it, and are read when a tensor asks for them.
Limits: the pickle of a zip file has 32 MiB at most, its parts unpack to 32 MiB more than the file has at most
(PyTorch does not pack them), and its list of parts has 4 MiB. For those of a pickle see opcodes.py.
"""

import io
import math
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minialex.errors import CheckpointError
from minialex.weights.arrays import TORCH_STORAGE, ArrayUnpickler, described, exactly, text, unfolded
from minialex.weights.files import from_bfloat16
from minialex.weights.reading import MEBI, PIECE, Capped, shown
from minialex.words import counted

# How PyTorch's files begin: since 1.6, and before.
TORCH_ZIP, TORCH_STREAM = b"PK\x03\x04", pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)

MOST_PICKLE = 32 * MEBI
MOST_UNPACKED = 32 * MEBI  # beyond the size of the file
MOST_LIST = 4 * MEBI  # some 40,000 parts

# Where people put a state dict, when they save more than that.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")


def read_npy(path: str | os.PathLike) -> Any:
    """What np.save made of one object that holds arrays, a dict say, under any Python and NumPy.

    Raises CheckpointError, naming the file, when it is damaged, tries to run code, or holds anything but lists, tuples
    and dicts of arrays; FileNotFoundError when there is none.
    """
    with opened(path) as file:
        shape, _, dtype = _npy_header(file)
        if dtype.kind != "O" or shape != ():
            raise ValueError(f"it holds an array of {dtype} with shape {shape}, not named arrays")
        match described(ArrayUnpickler(file, path).load()):
            case (), _, code, _, [content] if code.startswith("O"):
                return unfolded(content, {})
        raise ValueError("it holds more than one object")


def read_array(path: str | os.PathLike) -> np.ndarray:
    """What np.save made of one array of numbers. Raises as read_npy does.

    np.load would take memory for as many numbers as the file says that it has.
    """
    with opened(path) as file:
        shape, column_major, dtype = _npy_header(file)
        if dtype.kind not in "fiub":
            pickles = ", and pickles are not read here, as with allow_pickle=False" if dtype.hasobject else ""
            raise ValueError(f"it holds an array of {dtype}, not of numbers{pickles}")
        rest = os.fstat(file.fileno()).st_size - file.tell()
        if math.prod(shape) * dtype.itemsize != rest:
            raise ValueError(f"numbers of shape {shape} and {dtype} do not take {rest:,} bytes")
        return np.fromfile(file, dtype).reshape(shape, order="F" if column_major else "C")


def read_torch(path: str | os.PathLike) -> Any:
    """What torch.save made of tensors, as arrays; in its zip format, or in the one before PyTorch 1.6.

    Raises CheckpointError and FileNotFoundError as read_npy does.
    """
    with _content(path) as (content, storages):
        return unfolded(content, storages)


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a state dict, which torch.save wrote alone, or as "state_dict", "model" or the like of a dict.

    What stands beside it, epochs and an optimizer's numbers, is not looked at. Raises as read_torch does.
    """
    with _content(path) as (content, storages):
        inside = [
            name for name in WRAPPERS if isinstance(content, dict) and isinstance(content.get(name), dict)
        ]
        if len(inside) > 1:
            raise CheckpointError(f"{path} should hold one state dict, and holds {' and '.join(inside)}")
        arrays = unfolded(content[inside[0]] if inside else content, storages)
    if not isinstance(arrays, dict) or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise CheckpointError(f"{path} should hold a state dict: one array for each name")
    return arrays


def _npy_header(file):
    """An array's shape, whether its first axis runs fastest, and its kind of numbers."""
    first = np.lib.format.read_magic(file) == (1, 0)
    header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    return header(file)


@contextmanager
def opened(path):
    """The open file. What goes wrong inside is put down to the file: damaged bytes can raise nearly anything."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as file:
        try:
            yield file
        except CheckpointError:
            raise
        except Exception as error:
            what = (str(error) or type(error).__name__)[:300]
            raise CheckpointError(f"{path} is damaged or no file of weights ({what})") from error


# ---- PyTorch's two kinds of file -------------------------------------------------------------------


@contextmanager
def _content(path) -> Iterator[tuple[Any, Mapping[str | bytes, np.ndarray]]]:
    """What the pickle says, and the numbers, while the file is open."""
    with opened(path) as file:
        if file.peek().startswith(TORCH_ZIP):
            with zipfile.ZipFile(Capped(file, MOST_LIST)) as archive:
                yield _from_zip(archive, path, os.fstat(file.fileno()).st_size)
        else:
            yield _from_stream(file, path)


def _from_zip(archive: zipfile.ZipFile, path, size: int):
    """<folder>/data.pkl, and the numbers in <folder>/data/0, <folder>/data/1, ..."""
    names = archive.namelist()
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("it is a zip file, but not one of PyTorch's: there is no data.pkl in it")
    folder = pickles[0].removesuffix("data.pkl")
    left = size + MOST_UNPACKED

    def part(name: str, wanted: int | None = None) -> bytes:
        nonlocal left
        info = archive.getinfo(folder + name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is packed in a way that PyTorch does not use")
        if wanted is not None and info.file_size != wanted:
            raise ValueError(f"{name} should have {counted(wanted, 'byte')}, and has {info.file_size:,}")
        if info.file_size > left:
            raise ValueError(f"its parts unpack to far more than the {size:,} bytes of the file")
        left -= info.file_size
        content = io.BytesIO()
        with archive.open(info) as packed:
            while piece := packed.read(PIECE):
                content.write(piece)
        return content.getbuffer()

    big = f"{folder}byteorder" in names and bytes(part("byteorder")) == b"big"
    if archive.getinfo(pickles[0]).file_size > MOST_PICKLE:
        raise ValueError(f"its pickle has more than {MOST_PICKLE:,} bytes")
    reader = ArrayUnpickler(io.BytesIO(part("data.pkl")), path)
    content = reader.load()

    def numbers(key):
        storage = Storage.of(reader.references[key], big)
        return storage.numbers(part(f"data/{text(key)}", storage.size))

    return content, _Numbers(numbers)


def _from_stream(file, path):
    """Five pickles, of a magic number, the version, the machine's habits, the tensors, and the storages' keys; then
    the numbers of each storage, always little-endian."""
    if file.read(len(TORCH_STREAM)) != TORCH_STREAM:
        raise ValueError("torch.save writes no such files; if PyTorch can read it, let it save it anew")
    for _ in ("version", "habits"):
        ArrayUnpickler(file, path).load()
    reader = ArrayUnpickler(file, path)
    content = reader.load()
    places = {}
    end = os.fstat(file.fileno()).st_size
    for key in map(text, ArrayUnpickler(file, path).load()):
        storage = Storage.of(reader.references[key])
        count, start = int.from_bytes(file.read(8), "little"), file.tell()
        if count != storage.count or storage.size > end - start:
            raise ValueError(
                f"it has {end - start:,} bytes for {counted(storage.count, 'number')} of {storage.dtype}"
            )
        places[key] = start
        file.seek(storage.size, os.SEEK_CUR)

    def numbers(key):
        storage = Storage.of(reader.references[key])
        file.seek(places[key])
        return storage.numbers(file.read(storage.size))

    return content, _Numbers(numbers)


class _Numbers(dict):
    """Storages by their key, each read when it is asked for."""

    def __init__(self, read):
        self.read = read

    def __missing__(self, key):
        self[key] = self.read(key)
        return self[key]


@dataclass(frozen=True)
class Storage:
    """What a pickle says of numbers that lie outside of it."""

    count: int
    dtype: np.dtype
    bfloat16: bool  # the upper half of a float32, which NumPy does not know

    @classmethod
    def of(cls, reference: tuple, big: bool = False) -> "Storage":
        match reference:
            case (_, kind, _, _, int() as count) | (_, kind, _, _, int() as count, None) if (
                kind in TORCH_STORAGE and count >= 0
            ):
                bfloat16 = kind == "torch.BFloat16Storage"
                code = "u2" if bfloat16 else TORCH_STORAGE[kind]
                return cls(count, np.dtype((">" if big else "<") + code), bfloat16)
        raise ValueError(f"it keeps its numbers in an unknown way, {shown(reference)}")

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize

    def numbers(self, content: bytes) -> np.ndarray:
        numbers = np.frombuffer(exactly(content, self.count, self.dtype), self.dtype)
        return from_bfloat16(numbers) if self.bfloat16 else numbers
