"""Arrays as safetensors files, and files that are written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minialex.errors import CheckpointError


def save(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write arrays as a safetensors file: whole or not at all."""
    from safetensors.numpy import save as to_bytes

    # A non-contiguous array would be saved scrambled, without a word. (np.ascontiguousarray gives a 0-d array an axis.)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_whole(path, to_bytes(contiguous, metadata=metadata))


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name. Raises CheckpointError, naming the file, if it is damaged."""
    return load_with_metadata(path)[0]


def load_with_metadata(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and the texts in its header."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error})") from error
    except TypeError as error:
        raise CheckpointError(f"{path} has numbers of a kind that NumPy does not know ({error})") from error


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that at any moment either the old one or the new one is there: never a half one.

    Raises OSError, naming the file, when that fails: the old one stays, and nothing else is left behind.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def copy_whole(source: str | os.PathLike, path: str | os.PathLike) -> None:
    """Let a file have the content that `source` has now, whole or not at all.

    It costs no room where the disk can link: `write_whole` gives `source` new content without changing the old.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        os.link(os.path.realpath(source), unfinished)
        os.replace(unfinished, path)
    except (OSError, NotImplementedError):  # there are disks that can't
        write_whole(path, Path(source).read_bytes())
    finally:
        unfinished.unlink(missing_ok=True)
