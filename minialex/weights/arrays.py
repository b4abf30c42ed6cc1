"""Arrays out of pickles, and nothing else.

A pickle is a little program: it names functions, `os.system` if it likes, and has them called. Here every name on a
short list becomes a stand-in that only writes its call down; any other name ends the reading. Nothing of NumPy or
PyTorch is called while a pickle is read. When it has come to its end, what was written down is checked, number by
number, and the arrays are made from it.
"""

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minialex.errors import CheckpointError
from minialex.weights.opcodes import look_through
from minialex.weights.reading import shown
from minialex.words import a_or_an, counted

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
ORDERED_DICT, ENCODE = (
    "collections.OrderedDict",
    "_codecs.encode",
)  # Python 3 writes bytes for Python 2 with encode
ALLOWED = {
    ORDERED_DICT,
    ENCODE,
    "numpy.ndarray",
    "numpy.dtype",
    # What stands beside the weights in people's checkpoints; nobody looks at it.
    "torch.Size",
    "collections.Counter",
    *NUMPY_ARRAY,
    *TORCH_TENSOR,
    *TORCH_PARAMETER,
    *TORCH_STORAGE,
}

MOST_DEPTH = 8  # lists and dicts in each other, around the arrays
MOST_AXES = 32
SHORT = 200  # letters: such bytes are made at once; an array's, when it is made
MOST_NUMBERS = 2**28  # of a tensor that repeats the numbers of its storage; else it has no more than that


# ---- while the pickle is read ----------------------------------------------------------------------


class Name(str):
    """A function or a class that a pickle names. To call it is to write the call down. A text cannot be changed."""

    __slots__ = ()

    def __call__(self, *arguments):
        if self == ORDERED_DICT:
            return _ordered(*arguments)
        match arguments:
            case (str() as letters, "latin1") if self == ENCODE and len(letters) <= SHORT:
                return letters.encode("latin1")
        return Call(self, arguments)


def _ordered(pairs=()):
    """The one thing that is made at once, since a pickle puts its names and values in afterwards."""
    if not all(isinstance(pair, (list, tuple)) and isinstance(pair[0], (str, bytes)) for pair in pairs):
        raise ValueError("its pickle has something else than texts as names")
    return OrderedDict(pairs)


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A call that a pickle asked for, and the state that it gave the result afterwards."""

    name: str
    arguments: tuple
    state: Any = None

    def __setstate__(self, state):
        self.state = state


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds lists, tuples, dicts, numbers, texts, and Calls; from a file that can be wound back."""

    def __init__(self, file, path):
        look_through(file)
        super().__init__(file, encoding="bytes")  # for the texts of Python 2, which may be an array's content
        self.path = path
        self.references: dict[str, tuple] = {}

    def find_class(self, module, name):
        full = f"{module}.{name}"
        if full not in ALLOWED:
            raise CheckpointError(
                f"{self.path} asks for {full[:80]}, and is refused: weights are arrays, they have no code to run"
            )
        return Name(full)

    def persistent_load(self, reference):
        """PyTorch keeps its numbers outside of the pickle: ("storage", kind, key, device, count) refers to them."""
        match reference:
            case (_, Name() as kind, str() | bytes() as key, *rest):
                reference = self.references[text(key)] = ("storage", kind, text(key), *rest)
                return Call("storage", reference)
        raise ValueError("it keeps its numbers in an unknown way")


# ---- when it has been read -------------------------------------------------------------------------


def unfolded(content: Any, storages: Mapping[str, np.ndarray]) -> Any:
    """Lists and dicts, with arrays in place of Calls, and nothing else. storages: PyTorch's numbers, by their key."""
    return _unfolded(content, storages, {}, 0)


def _unfolded(content, storages, known, depth):
    """What the content holds in many places is unfolded once: 30 dicts that hold each other twice are a billion."""
    if id(content) not in known:
        if depth > MOST_DEPTH:
            raise ValueError(f"it has more than {MOST_DEPTH} lists and dicts in each other")

        def inside(inner):
            return _unfolded(inner, storages, known, depth + 1)

        match content:
            case dict():
                found = {text(key): inside(value) for key, value in content.items()}
            case list() | tuple():
                found = [inside(value) for value in content]
            case Call(name) if name in NUMPY_ARRAY:
                found = numpy_array(content, known)
            case Call(name) if name in TORCH_TENSOR:
                found = torch_tensor(content, storages)
            case Call(name, (tensor, *_)) if name in TORCH_PARAMETER:
                found = inside(tensor)
            case _:
                what = content.name if isinstance(content, Call) else type(content).__name__
                raise ValueError(f"it holds something that is no array: {what}")
        known[id(content)] = found
    return known[id(content)]


def described(call: Any) -> tuple:
    """An array's shape, byte order, kind of numbers, order of axes, and content, as NumPy writes them down."""
    match call:
        case Call(
            name, _, (_, tuple(shape), Call("numpy.dtype", (code, *_), (_, order, *_)), column_major, content)
        ) if name in NUMPY_ARRAY:
            return shape, text(order), text(code), column_major, content
    raise ValueError("it does not describe its arrays as NumPy does")


def numpy_array(call: Call, encoded: dict) -> np.ndarray:
    """The array that NumPy wrote down. encoded: texts that stand for bytes, which are made once."""
    shape, order, code, column_major, content = described(call)
    if code not in NUMBERS or order not in tuple("<>|="):
        raise ValueError(f"it holds an array of {(order + code)[:20]}; only numbers are admitted")
    match content:
        case Call(name, (str() as letters, "latin1")) if name == ENCODE:
            content = encoded.setdefault(id(letters), None) or letters.encode("latin1")
            encoded[id(letters)] = content
        case bytes() | bytearray():
            pass
        case _:
            raise ValueError("it does not describe its arrays as NumPy does")
    dtype = np.dtype(order + code)
    content = exactly(content, math.prod(sizes(shape)), dtype)
    return np.ndarray(shape, dtype, content, order="F" if column_major else "C")


def torch_tensor(call: Call, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    """A view of a storage: it starts at an offset, and takes steps, which are counted in numbers."""
    match call.arguments:
        case (Call("storage", reference), int() as offset, tuple(shape), tuple(steps), *_):
            numbers, length = storages[reference[2]], math.prod(sizes(shape))
            last = offset + sum((length - 1) * step for length, step in zip(shape, sizes(steps), strict=True))
            if offset < 0 or (length and last >= len(numbers)):
                raise ValueError(
                    f"a tensor of shape {shape} reads beyond its {counted(len(numbers), 'number')}"
                )
            if length > max(len(numbers), MOST_NUMBERS):
                raise ValueError(f"a tensor repeats its {counted(len(numbers), 'number')} to {length:,}")
            width = numbers.itemsize
            return np.ndarray(shape, numbers.dtype, numbers, width * offset, [width * step for step in steps])
    raise ValueError("it does not describe its tensors as PyTorch does")


def sizes(numbers: tuple) -> tuple[int, ...]:
    """A shape, or steps: before anything is done with it, it is looked at."""
    if len(numbers) > MOST_AXES or not all(type(n) is int and 0 <= n < 2**60 for n in numbers):
        raise ValueError(f"it has a shape or steps that cannot be: {shown(numbers)}")
    return numbers


def exactly(content: bytes, count: int, dtype: np.dtype) -> bytes:
    """The content, if it is as long as so many numbers."""
    if len(content) != count * dtype.itemsize:
        raise ValueError(
            f"{counted(count, 'number')} of {dtype} should take {count * dtype.itemsize} bytes, not {len(content)}"
        )
    return content


def text(name: Any) -> str:
    """A text as Python 2 or 3 wrote it."""
    match name:
        case bytes():
            return name.decode("latin1")
        case str():
            return str(name)
    raise ValueError(f"it has {a_or_an(type(name).__name__)} where a name should be")
