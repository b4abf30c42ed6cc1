"""Running the programs in examples/: inside this process, or as processes of their own."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import minialex as mx

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LONG = 60.0  # seconds: on the slowest machine, what has not come by then never comes
PACKAGE = {"PYTHONPATH": str(Path(mx.__file__).parents[1])}  # this minialex, wherever a process is started


class Result:
    """What a program left: its exit status, and what it printed."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"exit status {self.status}\n{self.out}\n{self.err}"


def load_program(path, name=None):
    """The program as a module of its own."""
    spec = importlib.util.spec_from_file_location(name or path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_here(main, program, arguments, monkeypatch, capsys):
    """Call main() in this process, as if it was the program with these arguments."""
    monkeypatch.setattr(sys, "argv", [str(program), *map(str, arguments)])
    capsys.readouterr()
    status, message = 0, ""
    try:
        main()
    except SystemExit as stopped:  # a text becomes stderr and status 1, as Python does it
        text = isinstance(stopped.code, str)
        status, message = (1, stopped.code) if text else (stopped.code or 0, "")
    out, err = capsys.readouterr()
    return Result(status, out, err + message)


def start(folder, *arguments, env=None):
    """Start Python with these arguments as a process of its own, in `folder`."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **PACKAGE, **ONE_THREAD} if env is None else env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def wait_until(look, every=0.01):
    """What look() gives, as soon as that is true. How long it takes depends on the machine, so it may take LONG."""
    deadline = time.monotonic() + LONG
    while not (found := look()):
        assert time.monotonic() < deadline, "it has not come, and never will"
        time.sleep(every)
    return found


def gone():
    """The number of a process that is no longer there, as text."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


def finish(process):
    out, err = process.communicate(timeout=180)
    return Result(process.returncode, out, err)
