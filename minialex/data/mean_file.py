"""A mean picture from a file, to be subtracted before a network; and how to make such a file of another one."""

import math
from pathlib import Path

import numpy as np

from minialex.errors import CheckpointError
from minialex.weights.unpickle import read_array


def read_mean(path: str | Path, scale: float = 1.0, order: str = "RGB") -> np.ndarray:
    """What np.save made of a mean, (3, S, S), or (3,) for a colour alone: of pixels times `scale`, channels in `order`.

    Raises FileNotFoundError, or CheckpointError that says what is wanted, and how Caffe's file becomes it.
    """
    try:
        mean = read_array(path)
        if mean.dtype.kind == "b":
            raise ValueError("it holds True and False, not numbers")
        is_square = mean.ndim == 3 and mean.size and mean.shape == (3, *mean.shape[2:] * 2)
        if mean.shape != (3,) and not is_square:
            turned = "; .transpose(2, 0, 1) puts its channels first" if mean.shape[2:] == (3,) else ""
            raise ValueError(f"its shape is {mean.shape}{turned}")
    except ValueError as error:
        channels = f"channels in the order {order}"
        pixels = "from 0 to 255" if scale == 1 else f"times {scale:.4g}"
        raise CheckpointError(
            f"{path} is no mean picture ({_said(error, path)}): a .npy is wanted, by np.save, of 3 numbers or of shape "
            f"(3, S, S), {channels}, pixels {pixels}{_from_caffe(Path(path), scale, order)}"
        ) from error
    return mean


def _said(error, path):
    """Without what a reader of weights says of them."""
    return str(error.__cause__ or error).removeprefix(f"{path} ")


def _from_caffe(path, scale, order):
    """Caffe's BlobProto holds four whole numbers, then the float32 ones, BGR: its own size says where they begin."""
    with open(path, "rb") as file:
        start = file.read(64)
    size = path.stat().st_size
    side = math.isqrt(size // 12)
    begin = size - 12 * side**2
    if not (path.suffix == ".binaryproto" or start.startswith(b"\x08\x01\x10\x03")):
        return ""
    turned = "[::-1]" if order == "RGB" else ""
    scaled = "" if scale == 1 else f" * {scale:.10g}"
    if side and start[:begin].endswith(b"\x2a" + _varint(12 * side**2)):
        read = f'np.fromfile("{path}", "<f4", offset={begin}).reshape(3, {side}, {side})'
    else:
        read = "caffe.io.blobproto_to_array(blob)[0]"
    return f'. This one is Caffe\'s, in BGR: np.save("mean.npy", {read}{turned}{scaled}) makes one of it'


def _varint(number):
    """As Protocol Buffers write a whole number: seven bits a byte, the lowest first."""
    found = []
    while number >= 128:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])
