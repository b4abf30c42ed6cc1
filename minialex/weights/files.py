"""Arrays as safetensors files, and files that are written whole or not at all."""

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minialex.errors import CheckpointError
from minialex.weights.reading import MEBI
from minialex.weights.records import parse
from minialex.weights.seal import VELOCITY, is_sealed, unsealed
from minialex.words import counted

MOST_HEADER = 16 * MEBI
# safetensors' kinds of numbers as NumPy has them; of bfloat16 the bits.
NUMBERS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def save(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write arrays as a safetensors file: whole or not at all."""
    from safetensors.numpy import save as to_bytes

    # A non-contiguous array would be saved scrambled, without a word. (np.ascontiguousarray gives a 0-d array an axis.)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = to_bytes(contiguous, metadata=metadata)
    if (length := int.from_bytes(content[:8], "little")) > MOST_HEADER:  # it could not be read again
        raise ValueError(f"{path}: its header would have {length:,} bytes; the most is {MOST_HEADER:,}")
    write_whole(path, content)


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name. Raises CheckpointError, naming the file, if it is damaged.

    bfloat16, which NumPy does not know, becomes float32. Other kinds that NumPy does not know, and complex numbers,
    are refused by name, as is a header of more than 16 MiB: AlexNet's has 2,000 bytes. A checkpoint's checksum is
    verified.
    """
    arrays, texts = load_with_metadata(path)
    if is_sealed(texts) or any(name.startswith(VELOCITY) for name in arrays):  # which checkpoints alone have
        unsealed(path, arrays, texts)
    return arrays


def load_with_metadata(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and the texts in its header."""
    from safetensors import safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with open(path, "rb") as file:
            header, start = _header(file)
            _check_kinds(header)
            with safe_open(path, framework="numpy"):
                pass  # the library has looked whether all lengths and places fit together, and fill the file
            metadata = header.pop("__metadata__", None) or {}
            return {name: _array(file, start, header[name]) for name in sorted(header)}, metadata
    except (CheckpointError, OSError):
        raise
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({str(error)[:300]})") from error


def _header(file) -> tuple[dict, int]:
    """What is said of the arrays, in JSON, and where their numbers begin."""
    length, there = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
    if length > there - 8:
        header = (
            f"should have a header of {length:,}" if length <= MOST_HEADER else "does not begin with a header"
        )
        raise ValueError(f"it has {counted(there, 'byte')}, and {header}")
    if length > MOST_HEADER:
        raise ValueError(f"its header has {length:,} bytes; the most is {MOST_HEADER:,}")
    header = parse(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no dict")
    return header, 8 + length


def _check_kinds(header: dict) -> None:
    """All kinds of numbers are known. The library would refuse those that are newer than itself without a name."""
    for name, said in header.items():
        kind = said.get("dtype") if name != "__metadata__" and isinstance(said, dict) else None
        if isinstance(kind, str) and kind not in NUMBERS:
            raise ValueError(f"{name} has numbers of the kind {kind}; known are {', '.join(NUMBERS)}")


def _array(file, start: int, said: dict) -> np.ndarray:
    """An array, read from where it is said to lie. The library would map all of the file into memory, besides."""
    begin, end = said["data_offsets"]
    dtype = np.dtype(NUMBERS[said["dtype"]])
    file.seek(start + begin)
    array = np.fromfile(file, dtype, (end - begin) // dtype.itemsize).reshape(said["shape"])
    return (
        from_bfloat16(array) if said["dtype"] == "BF16" else array.astype(dtype.newbyteorder("="), copy=False)
    )


def from_bfloat16(upper_halves: np.ndarray) -> np.ndarray:
    """float32 from its upper halves, uint16."""
    whole = upper_halves.astype(np.uint32)
    whole <<= 16
    return whole.view(np.float32)


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that at any moment either the old one or the new one is there: never a half one.

    Raises OSError, naming the file, when that fails: the old one stays, and nothing else is left behind.
    """
    with writing_whole(path) as file:
        file.write(content)


@contextmanager
def writing_whole(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """As `write_whole`, for what is written in pieces: a file that gets its name when the block ends well.

    A link stays a link: what it points to is written. A device or a pipe (/dev/stdout) is written to as it is.
    """
    path = Path(path)
    with _named(path):
        target = path.resolve() if path.is_symlink() else path
        if target.exists() and not target.is_file() and not target.is_dir():
            with open(target, "wb") as file:
                yield file
            return
        unfinished = unfinished_name(target)
        try:
            with open(unfinished, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, target)
        finally:
            with suppress(OSError):  # where it could not be made, the reason is under way already
                unfinished.unlink(missing_ok=True)


@contextmanager
def _named(path):
    """Whatever could not be written is named: not every error of the system does it."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        if isinstance(error, FileNotFoundError) and not Path(path).parent.is_dir():
            why = f"there is no folder {Path(path).parent}; make it first"
        raise OSError(error.errno, f"{path} could not be written: {why}") from error


def copy_whole(source: str | os.PathLike, path: str | os.PathLike) -> None:
    """Let a file have the content that `source` has now, whole or not at all.

    It costs no room where the disk can link: `write_whole` gives `source` new content without changing the old.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    unfinished = unfinished_name(path)
    try:
        os.link(os.path.realpath(source), unfinished)
        os.replace(unfinished, path)
    except (OSError, NotImplementedError):  # there are disks that can't
        write_whole(path, Path(source).read_bytes())
    finally:
        unfinished.unlink(missing_ok=True)


# ---- what is left of a write that was cut short --------------------------------------------------------

_UNFINISHED = ".unfinished"
_STARTED = time.time()


def unfinished_name(path: Path) -> Path:
    """What a file or folder is called while this process writes it: beside its place, hidden, with the process's id.

    And with the thread's, where it is not the main one: two may write one file.
    """
    thread = threading.current_thread()
    of_thread = "" if thread is threading.main_thread() else f".{thread.ident}"
    return path.with_name(f".{path.name}{of_thread}.{os.getpid()}{_UNFINISHED}")


def remove_unfinished(folder: str | os.PathLike, name: str = "*", older_than: float = 0) -> None:
    """Remove what processes that are gone, killed say, left half-written in a folder.

    name: of what they were writing, a pattern. older_than: seconds that nothing has changed there, for a folder in
    which processes of other machines write too: of those nobody here knows whether they are gone.
    """
    for leftover in Path(folder).glob(f".{name}{_UNFINISHED}"):
        with suppress(OSError):  # another program may be cleaning up as well
            written = leftover.stat().st_mtime
            if time.time() - written < older_than or _is_being_written(leftover, written):
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


def _is_being_written(leftover: Path, written: float) -> bool:
    writer = leftover.name.removesuffix(_UNFINISHED).rpartition(".")[2]
    if not writer.isdecimal():
        return False
    pid = int(writer)
    if pid == os.getpid():
        return written >= _STARTED  # an earlier process had this number too
    if pid == 1 and leftover.is_file():
        return False  # the system's first process writes none; a container's did, and that is gone or has the lock
    return _is_there(pid)


def _is_there(pid: int) -> bool:
    """Is there a process with this id on this machine?"""
    if os.name == "nt":  # os.kill would end it there
        import ctypes

        kernel = ctypes.windll.kernel32
        process = kernel.OpenProcess(0x100000, False, pid)  # SYNCHRONIZE
        there = (
            bool(process) and kernel.WaitForSingleObject(process, 0) == 0x102
        )  # WAIT_TIMEOUT: it has not ended
        kernel.CloseHandle(process)
        return there
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
