"""An answer in a process of its own: a function here that runs there, with NumPy alone, limited in time and memory.

The verdict stays on this side: cases are made here, results come back as numbers, and are judged here. Nothing that
comes back is unpickled or run. It is no sandbox: the answer may read and write files as the user may. What it started
ends with it, except for a process that made a group of its own (or, on Windows, any that it started).
"""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from minialex.check.kept import wire

SECONDS = 60.0  # of waiting for an answer, all its calls together
LOOK = 0.05  # so often the clock is looked at
# Bytes of addresses; half a GiB of them go to NumPy's libraries before anything is computed.
MEMORY = 4 * 2**30
GARBLED = "what it sent is no result: it wrote into files of the system that it had not opened"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Raised(Exception):
    """The answer raised; `in_words` says what and where, for a verdict."""

    def __init__(self, text: str):
        super().__init__(text)
        self.in_words = text


class Refused(Exception):
    """The file could not be run, or has no such function."""


class Stopped(BaseException):
    """The answer took too long, or its process has ended. No Exception: it goes through whoever catches these."""


class TimedOut(Stopped):
    """It took longer than it may."""


class Apart:
    """A function of a file, called in a process of its own: `with Apart(path, "relu") as f: f(x)`

    What it prints is printed here; what it writes into its arrays is written into those that were given. A function
    that it is given (or an object's methods, of a SimpleNamespace) it may call: they run here.
    Raises Refused where the file doesn't run or has no such function, Raised for what the answer raises (an
    AssertionError or a NotImplementedError as themselves), TimedOut and Stopped.
    """

    def __init__(self, path: str | Path, name: str, seconds: float = SECONDS, memory: int = MEMORY):
        self.path, self.__name__ = Path(path).resolve(), name
        self.seconds, self.left, self.memory = seconds, seconds, memory
        self.wanted: set[str] = set()  # what it wanted to import and does not get

    def __enter__(self):
        here, packages = Path(__file__).parent, Path(np.__file__).parents[1]
        command = [sys.executable, "-I", "-S", here / "worker.py", packages, self.path, self.__name__]
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
        try:
            self._process = subprocess.Popen(
                [*map(str, command), str(self.memory)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
                cwd=self.path.parent, start_new_session=True,  # a Ctrl-C is for this side; see _kill
            )  # fmt: skip
        except OSError as error:
            raise Stopped(f"no process for it could be started: {error}") from None
        self._until, self._late, self._over = math.inf, False, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            self._started()
            first = self._waited()
        except BaseException:
            self.__exit__()
            raise
        if "refused" in first:
            self.__exit__()
            raise Refused(first["refused"])
        if not first.get("ready"):
            self.__exit__()
            raise Refused(f"{self.__name__} is no function")
        return self

    def __exit__(self, *error):
        self._over.set()
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()
        self._process.wait()

    def _started(self):
        try:
            self._waited()
        except TimedOut:
            raise
        except Stopped as error:
            raise Stopped(
                f"Python could not be started with NumPy alone, for this or for any other answer: {error}"
            ) from None

    def _kill(self):
        """The process, and those that it started."""
        if not hasattr(os, "killpg"):
            self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def __call__(self, *args, **kwargs):
        answer = self._answered({"args": args, "kwargs": kwargs}, args)
        return answer["result"]

    def seconds_for(self, args: tuple, times: int) -> float:
        """The least processor time, of so many calls with the same arguments."""
        answer = self._answered(
            {"args": args, "kwargs": {}, "times": times, "results": False}, args, aloud=False
        )
        return min(answer["seconds"])

    def several(self, args: tuple, times: int) -> list:
        """What so many calls with the same arguments give, one after the other: in one message, which is quicker."""
        return self._answered({"args": args, "kwargs": {}, "times": times, "results": True}, args)["result"]

    def _answered(self, message, args, aloud=True):
        calls = wire.Calls()
        self._send({name: wire.Encoded(value, calls) for name, value in message.items()})
        while "callback" in (answer := self._waited()):
            try:
                there = answer["args"]
                theirs = wire.held(there)
                before = [one.copy() if isinstance(one, np.ndarray) else None for one in theirs]
                value = calls[answer["callback"]](*there, **answer["kwargs"])
                pairs = zip(theirs, before, strict=True)
                written = [
                    one if was is None or one.tobytes() != was.tobytes() else None for one, was in pairs
                ]
                reply = {"value": wire.Encoded(value, calls), "written": written}
                number = next((k for k, arg in enumerate(there) if _is_that(value, arg)), None)
                if number is not None:  # there it is no copy either
                    reply |= {"given": number, "value": list(value.shape)}
            except Exception as error:
                reply = {"raised": f"{type(error).__name__}: {error}"}
            self._send(reply)
        if answer.get("printed") and aloud:
            print(answer["printed"], end="")
        if "raised" in answer:
            for kind in (AssertionError, NotImplementedError):
                if answer.get("kind") == kind.__name__:
                    error = kind(answer["raised"])
                    error.in_words = answer["raised"]
                    raise error
            raise Raised(answer["raised"])
        mine = wire.held(args)
        if not ("result" in answer and "seconds" in answer and len(answer.get("given", ())) == len(mine)):
            raise Stopped(GARBLED)
        for given, after in zip(mine, answer["given"], strict=True):
            _take_over(given, after)
        return answer

    def _send(self, message):
        with self._limited():
            wire.send(self._process.stdin, message)

    def _waited(self):
        """The next message of the answer's process."""
        with self._limited():
            message = wire.receive(self._process.stdout)
            self.wanted |= {str(one) for one in message.get("wanted", ())}
        return message

    @contextmanager
    def _limited(self):
        """What is done here takes from the time that is left to the answer, and says why it came to no end."""
        started = time.perf_counter()
        self._until = started + max(self.left, 0)
        try:
            yield
        except (EOFError, OSError):
            if self._late:
                raise TimedOut(f"it took more than {self.seconds:g} s, and was stopped") from None
            raise Stopped(self._how_it_ended()) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
            raise Stopped(GARBLED) from None  # it wrote there itself
        finally:
            self._until = math.inf
            self.left -= time.perf_counter() - started

    def _how_it_ended(self):
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=1)
            if code < 0:
                return f"Python itself crashed or was ended (signal {-code})"
            return f"Python was ended (exit code {code}): a function must return"
        return "your function closed its connection to this side: it must leave the system's files alone"

    def _watch(self):
        """In a thread of its own: stop the process when it is late."""
        while not self._over.wait(LOOK):
            if time.perf_counter() > self._until:
                self._late = True
                self._kill()
                return


def _is_that(value, arg) -> bool:
    """Is this the array, perhaps in another shape?"""
    if not (isinstance(value, np.ndarray) and isinstance(arg, np.ndarray)):
        return False
    whole = value.base is arg and value.size == arg.size and value.dtype == arg.dtype
    return value is arg or (whole and value.flags.c_contiguous)


def _take_over(given, after) -> None:
    """Let an argument here be what the answer made of it there."""
    if isinstance(given, np.ndarray) and isinstance(after, np.ndarray):
        if after.shape != given.shape or after.dtype != given.dtype:
            raise Raised(
                f"your function made its input of shape {given.shape} one of {after.shape}, {after.dtype}: "
                "it must make a new array"
            )
        given[...] = after
    elif isinstance(given, np.random.Generator) and isinstance(after, np.random.Generator):
        given.bit_generator.state = after.bit_generator.state
