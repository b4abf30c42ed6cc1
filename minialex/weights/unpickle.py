"""Arrays out of pickles, and nothing else.

A pickle is a little program: it names functions, `os.system` if it likes, and has them called. Here every name on a
short list becomes a stand-in that only writes its call down; any other name ends the reading. Nothing of NumPy or
PyTorch is called while a pickle is read. When it has come to its end, what was written down is checked, number by
number, and the arrays are made from it.
"""

import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minialex.errors import CheckpointError

# How a pickle spells an array: NumPy since 2.0, and before; PyTorch since 0.4, and before.
NUMPY_ARRAY = ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct")
TORCH_TENSOR = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
TORCH_PARAMETER = ("torch._utils._rebuild_parameter", "torch.nn.parameter.Parameter")
TORCH_STORAGE = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": "bfloat16",  # NumPy has none; it becomes float32
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
}
NUMBERS = "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split()
ALLOWED = {
    "numpy.ndarray",
    "numpy.dtype",
    *NUMPY_ARRAY,
    *TORCH_TENSOR,
    *TORCH_PARAMETER,
    *TORCH_STORAGE,
}

# These two are called: they run nothing, and cannot be changed. (Python 3 writes bytes for Python 2 with encode.)
HARMLESS = {"collections.OrderedDict": OrderedDict, "_codecs.encode": str.encode}

# How PyTorch's files begin: since 1.6, and before.
TORCH_ZIP, TORCH_STREAM = b"PK\x03\x04", pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


def read_npy(path: str | os.PathLike) -> Any:
    """What np.save made of one object that holds arrays, a dict say, under any Python and NumPy.

    Raises CheckpointError, naming the file, when it is damaged, tries to run code, or holds anything but lists, tuples
    and dicts of arrays; FileNotFoundError when there is none.
    """
    with opened(path) as file:
        first = np.lib.format.read_magic(file) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if dtype.kind != "O" or shape != ():
            raise ValueError(f"it holds an array of {dtype} with shape {shape}, not named arrays")
        match described(ArrayUnpickler(file, path).load()):
            case (), _, code, _, [content] if code.startswith("O"):
                return unfolded(content, {})
        raise ValueError("it holds more than one object")


def read_torch(path: str | os.PathLike) -> Any:
    """What torch.save made of tensors, as arrays; in its zip format, or in the one before PyTorch 1.6.

    Raises CheckpointError and FileNotFoundError as read_npy does.
    """
    with opened(path) as file:
        if not file.peek().startswith(TORCH_ZIP):
            return _from_stream(file, path)
        with zipfile.ZipFile(file) as archive:
            return _from_zip(archive, path)


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
            what = str(error) or type(error).__name__
            raise CheckpointError(f"{path} is damaged or no file of weights ({what})") from error


# ---- while the pickle is read ----------------------------------------------------------------------


class Name(str):
    """A function or a class that a pickle names. To call it is to write the call down. A text cannot be changed."""

    __slots__ = ()

    def __call__(self, *arguments):
        return Call(self, arguments)


@dataclass(slots=True, eq=False)
class Call:
    """A call that a pickle asked for, and the state that it gave the result afterwards."""

    name: str
    arguments: tuple
    state: Any = None

    def __setstate__(self, state):
        self.state = state


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds lists, tuples, dicts, numbers, texts, and Calls."""

    def __init__(self, file, path):
        super().__init__(file, encoding="bytes")  # for the texts of Python 2, which may be an array's content
        self.path = path
        self.references: dict[Hashable, tuple] = {}

    def find_class(self, module, name):
        full = f"{module}.{name}"
        if full in HARMLESS:
            return HARMLESS[full]
        if full not in ALLOWED:
            raise CheckpointError(
                f"{self.path} asks for {full}, and is refused: weights are arrays, they have no code to run"
            )
        return Name(full)

    def persistent_load(self, reference):
        """PyTorch keeps its numbers outside of the pickle: ("storage", kind, key, device, count) refers to them."""
        self.references[reference[2]] = reference
        return Call("storage", reference)


# ---- when it has been read -------------------------------------------------------------------------


def unfolded(content: Any, storages: Mapping[Hashable, np.ndarray]) -> Any:
    """Lists and dicts, with arrays in place of Calls, and nothing else. storages: PyTorch's numbers, by their key."""
    match content:
        case dict():
            return {text(key): unfolded(value, storages) for key, value in content.items()}
        case list() | tuple():
            return [unfolded(value, storages) for value in content]
        case Call(name) if name in NUMPY_ARRAY:
            return numpy_array(content)
        case Call(name) if name in TORCH_TENSOR:
            return torch_tensor(content, storages)
        case Call(name, (tensor, *_)) if name in TORCH_PARAMETER:
            return unfolded(tensor, storages)
    what = content.name if isinstance(content, Call) else type(content).__name__
    raise ValueError(f"it holds something that is no array: {what}")


def described(call: Any) -> tuple:
    """An array's shape, byte order, kind of numbers, order of axes, and content, as NumPy writes them down."""
    match call:
        case Call(
            name, _, (_, tuple(shape), Call("numpy.dtype", (code, *_), (_, order, *_)), column_major, content)
        ) if name in NUMPY_ARRAY:
            return shape, text(order), text(code), column_major, content
    raise ValueError("it does not describe its arrays as NumPy does")


def numpy_array(call: Call) -> np.ndarray:
    """The array that NumPy wrote down."""
    shape, order, code, column_major, content = described(call)
    if code not in NUMBERS or order not in tuple("<>|="):
        raise ValueError(f"it holds an array of {order}{code}; only numbers are admitted")
    dtype = np.dtype(order + code)
    content = exactly(content, math.prod(shape), dtype)
    return np.ndarray(shape, dtype, content, order="F" if column_major else "C")


def torch_tensor(call: Call, storages: Mapping[Hashable, np.ndarray]) -> np.ndarray:
    """A view of a storage: it starts at an offset, and takes steps, which are counted in numbers."""
    match call.arguments:
        case (Call("storage", reference), offset, shape, steps, *_):
            numbers = storages[reference[2]]
            last = offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
            if min((offset, *steps)) < 0 or (math.prod(shape) and last >= len(numbers)):
                raise ValueError(f"a tensor of shape {shape} reads beyond its {len(numbers)} numbers")
            width = numbers.itemsize
            return np.ndarray(shape, numbers.dtype, numbers, width * offset, [width * step for step in steps])
    raise ValueError("it does not describe its tensors as PyTorch does")


def exactly(content: bytes, count: int, dtype: np.dtype) -> bytes:
    """The content, if it is as long as so many numbers."""
    if len(content) != count * dtype.itemsize:
        raise ValueError(
            f"{count} numbers of {dtype} should take {count * dtype.itemsize} bytes, not {len(content)}"
        )
    return content


def text(name: Any) -> str:
    """A text as Python 2 or 3 wrote it."""
    match name:
        case bytes():
            return name.decode("latin1")
        case str():
            return str(name)
    raise ValueError(f"it has a {type(name).__name__} where a name should be")


# ---- PyTorch's two kinds of file -------------------------------------------------------------------


def _from_zip(archive: zipfile.ZipFile, path) -> Any:
    """<folder>/data.pkl, and the numbers in <folder>/data/0, <folder>/data/1, ..."""
    names = archive.namelist()
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("it is a zip file, but not one of PyTorch's: there is no data.pkl in it")
    folder = pickles[0].removesuffix("data.pkl")
    big = f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big"
    with archive.open(pickles[0]) as file:
        reader = ArrayUnpickler(file, path)
        content = reader.load()
    storages = {}
    for key, reference in reader.references.items():
        storages[key] = Storage.of(reference, big).numbers(archive.read(f"{folder}data/{text(key)}"))
    return unfolded(content, storages)


def _from_stream(file, path) -> Any:
    """Five pickles, of a magic number, the version, the machine's habits, the tensors, and the storages' keys; then
    the numbers of each storage, always little-endian."""
    if file.read(len(TORCH_STREAM)) != TORCH_STREAM:
        raise ValueError("torch.save writes no such files; if PyTorch can read it, let it save it anew")
    for _ in ("version", "habits"):
        ArrayUnpickler(file, path).load()
    reader = ArrayUnpickler(file, path)
    content = reader.load()
    storages = {}
    for key in ArrayUnpickler(file, path).load():
        storage = Storage.of(reader.references[key])
        file.read(8)  # how many they are, once more
        storages[key] = storage.numbers(file.read(storage.size))
    return unfolded(content, storages)


@dataclass(frozen=True)
class Storage:
    """What a pickle says of numbers that lie outside of it."""

    count: int
    dtype: np.dtype
    bfloat16: bool  # the upper half of a float32, which NumPy does not know

    @classmethod
    def of(cls, reference: tuple, big: bool = False) -> "Storage":
        match reference:
            case (_, kind, _, _, count) | (_, kind, _, _, count, None) if kind in TORCH_STORAGE:
                bfloat16 = kind == "torch.BFloat16Storage"
                code = "u2" if bfloat16 else TORCH_STORAGE[kind]
                return cls(count, np.dtype((">" if big else "<") + code), bfloat16)
        raise ValueError(f"it keeps its numbers in an unknown way, {reference}")

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize

    def numbers(self, content: bytes) -> np.ndarray:
        numbers = np.frombuffer(exactly(content, self.count, self.dtype), self.dtype)
        return (numbers.astype(np.uint32) << 16).view(np.float32) if self.bfloat16 else numbers
