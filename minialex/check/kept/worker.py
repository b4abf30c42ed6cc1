"""The process in which an answer runs: with NumPy and Python's own library, and nothing else.

    python -I -S worker.py FOLDER_OF_NUMPY ANSWER.py FUNCTION BYTES

It reads what to call from its standard input, and writes what came of it to its standard output (see wire.py). This is
no sandbox: it keeps an answer that is wrong, slow or copied from being taken for a right one, and a mistake from doing
harm. Who means harm is not stopped.
"""

import contextlib
import importlib.abc
import importlib.machinery
import io
import linecache
import os
import signal
import sys
import threading
import time
import traceback
import warnings

OURS = "minialex"
SHOWN = 2000  # characters of what an answer prints, or of what it raises
WRITTEN = 2**26  # bytes of a file that it may write
wanted: set[str] = set()  # what the answer wanted to import and does not get


class NumPyAlone(importlib.abc.MetaPathFinder):
    """Finds nothing but NumPy and Python's own library, which has modules without a name of their own as well.

    own: the folders of that library.
    """

    def __init__(self, own: list[str]):
        self.own = own

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top == "numpy" or top in sys.stdlib_module_names or top in sys.builtin_module_names:
            return None
        if importlib.machinery.PathFinder.find_spec(top, self.own):
            return None  # _sysconfigdata of this system, say: NumPy's tests read it
        wanted.add(top)
        raise ModuleNotFoundError(f"an answer runs with NumPy alone, and imports {top}", name=name)


def limited(size: int) -> None:
    """No more memory than so many bytes, where the system can say so (not on Windows).

    A process that an answer starts could outlive it: none may be started (a superuser's may all the same).
    There is no limit of processor time: where there is one, some systems measure that time in hundredths of a second.
    """
    try:
        import resource
    except ImportError:
        return
    limits = {"AS": size, "NPROC": 0, "FSIZE": WRITTEN, "CORE": 0}
    for name, most in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError, OverflowError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def end_with(parent: int) -> None:
    """In a thread of its own: where the side that waits is gone, nobody else would stop an endless loop."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def loaded(path: str) -> dict:
    """The names that a file defines, run as a module of its own."""
    with open(path, encoding="utf8") as file:
        source = file.read()
    names = {"__name__": "answer", "__file__": path}
    exec(compile(source, path, "exec"), names)
    return names


def in_words(error: BaseException, path: str) -> str:
    """An exception with the answer's line that raised it."""
    try:
        text = sent(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    except Exception:  # its own class, and wrong as well
        text = type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if not frames:
        return text
    last = frames[-1]
    line = last.line or linecache.getline(path, last.lineno or 0).strip()
    return f"{text}; in {last.name}: {line}"  # no number: the notebook counts its lines in another way


def sent(text: str) -> str:
    """So much of a text as is shown, of characters that can be written."""
    return text[:SHOWN].encode("utf8", "backslashreplace").decode("utf8")


class Printed(io.StringIO):
    """So much of what is printed as is shown; whoever closes it closes nothing."""

    def write(self, text):
        if self.tell() < SHOWN:
            super().write(text[:SHOWN])
        return len(text)

    def close(self): ...


class Raised(Exception):
    """A function that the answer called raised this, on the other side."""


def serve(function, path: str, wire, calls_in, results_out) -> None:
    """Answer calls until the other side has no more."""

    def function_of(number):
        def call(*args, **kwargs):
            wire.send(results_out, {"callback": number, "args": args, "kwargs": kwargs})
            answer = wire.receive(calls_in, function_of)
            if "raised" in answer:
                raise Raised(answer["raised"])
            for mine, new in zip(wire.held(args), answer["written"], strict=True):
                if hasattr(mine, "bit_generator"):
                    mine.bit_generator.state = new.bit_generator.state
                elif new is not None:
                    mine[...] = new
            if "given" in answer:  # the very array that it was given, perhaps in another shape
                return args[answer["given"]].reshape(answer["value"])
            return answer["value"]

        return call

    while True:
        try:
            message = wire.receive(calls_in, function_of)
        except EOFError:
            return
        args = message["args"]
        theirs = wire.held(args)  # before the call, which may put others into a list
        given = [_copied(one) for one in theirs]
        printed, answer, seconds, results = Printed(), {}, [], []
        try:
            with contextlib.redirect_stdout(printed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(message.get("times", 1)):
                    started = time.process_time()
                    result = function(*args, **message.get("kwargs", {}))
                    seconds.append(time.process_time() - started)
                    if message.get("results"):
                        results.append(result.copy() if hasattr(result, "dtype") else result)
            answer = {"result": results if "times" in message else result, "seconds": seconds}
        except BaseException as error:
            answer = {"raised": in_words(error, path), "kind": type(error).__name__}
        # What the answer wrote into its inputs, and how far it drew from generators.
        kept = [_changed(one, before) for one, before in zip(theirs, given, strict=True)]
        about = {"printed": sent(printed.getvalue()), "given": kept, "wanted": seen()}
        try:
            wire.send(results_out, {**answer, **about})
        except (ValueError, MemoryError, RecursionError) as error:
            text = f"what it returned can't be taken: {type(error).__name__}: {error}"
            wire.send(results_out, {"raised": sent(text), "kind": "", **about, "given": []})


def seen() -> list[str]:
    """What it wanted to import, or did by ways of its own."""
    return sorted(wanted | {OURS} & set(sys.modules))


def _copied(value):
    return value.copy() if hasattr(value, "dtype") else None


def _changed(value, before):
    """An array or a generator as it is now, where it may have changed; else None."""
    same = before is not None and value.shape == before.shape and value.tobytes() == before.tobytes()
    return None if same else value


def main() -> None:
    packages, path, name, size = sys.argv[1:5]
    here = os.path.dirname(os.path.abspath(__file__))
    own = [folder for folder in sys.path if os.path.abspath(folder) not in (here, packages)]
    sys.path[:] = [*own, packages]
    results_out = os.fdopen(os.dup(1), "wb")
    calls_in = os.fdopen(os.dup(0), "rb")
    if sys.platform == "win32":  # no line ends are changed
        import msvcrt

        for stream in (results_out, calls_in):
            msvcrt.setmode(stream.fileno(), os.O_BINARY)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    import numpy

    if hasattr(os, "killpg"):
        threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    limited(int(size))  # NumPy's own threads are there

    names: dict = {}
    with open(os.path.join(here, "wire.py"), encoding="utf8") as file:
        exec(compile(file.read(), "wire.py", "exec"), names)
    wire = __import__("types").SimpleNamespace(**{key: names[key] for key in ("send", "receive", "held")})
    sys.meta_path.insert(0, NumPyAlone(own))
    numpy.seterr(all="ignore")
    wire.send(results_out, {"started": True})
    try:
        with contextlib.redirect_stdout(Printed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            defined = loaded(path)
        if name not in defined:
            wire.send(results_out, {"refused": f"the file defines no {name}", "wanted": seen()})
            return
        function = defined[name]
    except BaseException as error:
        wire.send(results_out, {"refused": in_words(error, path), "wanted": seen()})
        return
    wire.send(results_out, {"ready": callable(function), "wanted": seen()})
    serve(function, path, wire, calls_in, results_out)


if __name__ == "__main__":
    main()
