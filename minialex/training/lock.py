"""One program at a time in a run's folder: a lock that says whose it is, and ends with that process, however it ends.

It is the system's own lock on the file `.lock`, not the file: what a killed process leaves of it hinders nobody.
"""

import errno
import functools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minialex.errors import FolderInUse

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

LOCK = ".lock"
_FAR = (
    1 << 30
)  # Windows lets nobody read the bytes that are locked: so those that are, lie beyond what is written
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # some disks in a network have none

_held: dict[str, "_Lock"] = {}  # by the folder's true path


@contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """The folder, made where it is not there, is this thread's until the block ends. It may be locked again inside.

    Raises FolderInUse when it is somebody else's, OSError when it cannot be written to or is a file, ValueError for an
    empty name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with locked(place), locked(place):
    ...         os.listdir(place)
    ...     os.listdir(place)
    ['.lock']
    []
    """
    if not os.fspath(folder):
        raise ValueError("the name of the folder is empty: name one, or '.' for this one")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{folder} is a file: name a folder") from None
    key = os.path.realpath(folder)
    lock = _held.get(key)
    if lock and lock.thread == threading.get_ident():  # a program that has it calls `fit`
        yield
        return
    if lock:
        lock.refuse(folder)
    lock = _held[key] = _Lock(folder)
    try:
        yield
    finally:
        _held.pop(key, None)
        lock.end()


def alone_in_folder(function):
    """For functions that write to what is given as `folder=`: it is locked meanwhile, by the process that writes."""

    @functools.wraps(function)
    def alone(*args, folder=None, **options):
        if folder is None or not getattr(options.get("cluster"), "first", True):
            return function(*args, folder=folder, **options)
        with locked(folder):
            return function(*args, folder=folder, **options)

    return alone


class _Lock:
    def __init__(self, folder):
        self.path, self.thread = Path(folder, LOCK), threading.get_ident()
        while True:
            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)  # not inherited by what is started
            try:
                if not _lock(self.file):
                    self.refuse(folder)
                if self._is_in_place():  # else the one who had it has removed it meanwhile
                    return self._sign()
            except BaseException:
                os.close(self.file)
                raise
            os.close(self.file)

    def refuse(self, folder):
        raise FolderInUse(
            f"{folder} is in use by {_holder(self.path)}: wait until it ends, or name another folder (--output-dir)"
        )

    def end(self):
        if self.file is None:
            return
        with suppress(OSError):
            if os.name != "nt" and self._is_in_place():
                self.path.unlink()
        os.close(self.file)
        with suppress(OSError):  # Windows removes no file that is open
            if os.name == "nt":
                self.path.unlink()

    def _is_in_place(self):
        try:
            return os.path.samestat(os.fstat(self.file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _sign(self):
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        who["program"] = Path(sys.argv[0]).name if sys.argv else ""
        with suppress(OSError):  # on a full disk the lock is good without a name
            os.ftruncate(self.file, 0)
            os.write(self.file, json.dumps(who).encode())


def _lock(file) -> bool:
    """Take the system's lock; False where another has it."""
    try:
        if os.name == "nt":
            os.lseek(file, _FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno not in _NO_LOCKS:
            raise
        print(
            "This disk has no locks: see to it that no other run writes to the same folder.", file=sys.stderr
        )
    return True


def _holder(path) -> str:
    """In words, who has signed there."""
    try:
        who = json.loads(path.read_bytes())
        program = f" ({who['program']})" if who["program"] else ""
        return f"process {who['pid']} on {who['host']}{program}, since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is about to sign
        return "another process"


def _forget():
    """In a child that was forked: the lock is its parent's alone, and ends with it."""
    for lock in _held.values():
        os.close(lock.file)  # its own copy; the lock stays
        lock.file = None
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
