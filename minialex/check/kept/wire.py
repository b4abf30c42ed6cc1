"""What goes between a process and another that runs an answer: numbers, arrays, tuples, and functions to call back.

Nothing else: no objects are built from what comes, so that the side that judges runs nothing of the other's. This file
is read by both sides, and by one of them with NumPy alone. A message is two lengths, a description in JSON, and the
bytes of its arrays.
"""

import json
import struct
import types

import numpy as np

dumps, loads = json.dumps, json.loads  # as they are now: an answer may exchange them, by mistake
LENGTHS = struct.Struct("<QQ")
MOST = 2**28  # bytes of one message: a result that is larger by mistake fills no memory here
NUMBERS = "biufc"  # the kinds of arrays that go through: no objects


def send(pipe, message: dict) -> None:
    """Write one message; its values may be whatever `encoded` takes.

    Raises ValueError, and writes nothing, for more than MOST.
    """
    blocks: list[bytes] = []
    described = {name: encoded(value, blocks) for name, value in message.items()}
    text = dumps(described).encode()
    body = b"".join(blocks)
    if len(text) + len(body) > MOST:
        raise ValueError(f"a result of {len(text) + len(body):,} bytes; {MOST:,} are the most that is taken")
    pipe.write(LENGTHS.pack(len(text), len(body)) + text + body)
    pipe.flush()


def receive(pipe, function_of=None) -> dict:
    """Read one message; EOFError where the other side has gone, ValueError for what is none.

    function_of(number): a function to call there.
    """
    text_length, body_length = LENGTHS.unpack(_exactly(pipe, LENGTHS.size))
    if text_length + body_length > MOST:
        raise ValueError(f"a message of {text_length + body_length:,} bytes is none of ours")
    described = loads(_exactly(pipe, text_length))
    body = memoryview(_exactly(pipe, body_length))
    return {name: decoded(value, body, function_of) for name, value in described.items()}


def _exactly(pipe, count: int) -> bytes:
    parts = []
    while count:
        part = pipe.read(count)
        if not part:
            raise EOFError("the other process has ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class Calls(list):
    """The functions that were sent: the other side calls them by their number here."""

    def number(self, function) -> int:
        self.append(function)
        return len(self) - 1


def encoded(value, blocks: list[bytes], calls: Calls | None = None):
    """A value as JSON can say it; bytes of arrays go to `blocks`, functions and the methods of objects to `calls`."""
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
        return value if type(value) in (bool, int, float, str, type(None)) else {"plain": _plain(value)}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, Encoded):
        return encoded(value.value, blocks, value.calls)
    if isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in NUMBERS:
        array = np.asarray(value)
        if array.nbytes > MOST:
            raise ValueError(
                f"an array of shape {array.shape} has {array.nbytes:,} bytes; {MOST:,} are the most"
            )
        start = sum(map(len, blocks))
        blocks.append(array.tobytes())
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [array.dtype.str, list(array.shape), start]}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [encoded(one, blocks, calls) for one in value]}
    if isinstance(value, dict) and all(type(name) is str for name in value):
        return {"dict": {name: encoded(one, blocks, calls) for name, one in value.items()}}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if calls is not None and isinstance(value, types.SimpleNamespace):
        return {"object": {name: calls.number(method) for name, method in vars(value).items()}}
    if calls is not None and callable(value):
        return {"function": calls.number(value)}
    return {"other": type(value).__name__}


class Encoded:
    """A value whose functions the other side may call, by their numbers in `calls`."""

    def __init__(self, value, calls: Calls):
        self.value, self.calls = value, calls


def held(value) -> list:
    """The arrays, numbers of NumPy and generators that go through as such, those in lists and tuples too, in order."""
    if isinstance(value, (list, tuple)):
        return [one for inside in value for one in held(inside)]
    goes = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in NUMBERS
    return [value] if goes or isinstance(value, np.random.Generator) else []


def _plain(value):
    """A subclass of a plain type, as the plain one."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)


def decoded(value, body, function_of):
    """What `encoded` described. What could not be sent is an empty object of a class with its type's name."""
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "plain":
        return content
    if kind == "ellipsis":
        return Ellipsis
    if kind in ("array", "scalar"):
        dtype, shape, start = np.dtype(content[0]), tuple(content[1]), content[2]
        if dtype.kind not in NUMBERS:
            raise ValueError(f"an array of {dtype} can't be sent")
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(body, dtype, count, start).reshape(shape).copy()
        return array if kind == "array" else array[()]
    if kind in ("tuple", "list"):
        values = [decoded(one, body, function_of) for one in content]
        return tuple(values) if kind == "tuple" else values
    if kind == "dict":
        return {name: decoded(one, body, function_of) for name, one in content.items()}
    if kind == "generator":
        made = np.random.Generator(getattr(np.random, _generator_of(content))())
        made.bit_generator.state = content
        return made
    if kind == "function" and function_of:
        return function_of(content)
    if kind == "object" and function_of:
        return types.SimpleNamespace(**{name: function_of(number) for name, number in content.items()})
    return type(str(content), (), {})()


def _generator_of(state) -> str:
    name = state["bit_generator"]
    if name not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        raise ValueError(f"no generator is called {name!r}")
    return name
