"""For tests: what it takes to refuse files, measured in a process of their own, which they may end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import minialex as mx

MOST_MEMORY = 200 * 2**20  # above the size of the file
MOST_SECONDS = 15  # of processor time; what is right takes less than one, what is wrong minutes
OURS = ("CheckpointError", "DataError", "UnreadablePicture")

CHILD = """
import importlib, json, resource, sys, time
from pathlib import Path

def memory(what):  # what getrusage says begins with the memory of the process that started this one
    return 1024 * int(Path("/proc/self/status").read_text().split(what)[1].split()[0])

def start():
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        return memory("VmRSS:")
    except OSError:
        return end()

def end():
    try:
        return memory("VmHWM:")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

import PIL.BmpImagePlugin, PIL.GifImagePlugin, PIL.JpegImagePlugin, PIL.PngImagePlugin, safetensors.numpy
where, name, *paths = sys.argv[1:]
read = getattr(importlib.import_module(where), name)
for path in paths:
    before, started = start(), time.process_time()
    try:
        told = f"returned {type(read(Path(path))).__name__}"
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
    error = None
    print(json.dumps([told, time.process_time() - started, end() - before]), flush=True)
"""


def problems(where: str, name: str, files: dict[Path, str]) -> dict[str, object]:
    """Which files a function of a module does not refuse as it should; files: the message that is wanted of each.

    It should raise an error of ours that names the file, soon, and without taking much memory.
    """
    found, left = {}, dict(files)
    while left:
        readings, ended = _read_apart(where, name, left)
        for path, reading in zip(list(left), readings, strict=False):
            if not _is_right(path, left.pop(path), *reading):
                found[path.name] = reading
        if ended:
            path = next(iter(left))
            found[path.name] = ended
            del left[path]
    return found


def _read_apart(where, name, paths):
    environment = {**os.environ, "PYTHONPATH": str(Path(mx.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, where, name, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    ended = f"ended the process with {done.returncode}: {done.stderr[-300:]}" if done.returncode else ""
    return [json.loads(line) for line in done.stdout.splitlines()], ended


def _is_right(path, message, told, seconds, memory) -> bool:
    error, _, text = told.partition(": ")
    small = seconds < MOST_SECONDS and memory < MOST_MEMORY + path.stat().st_size
    return (
        error in OURS and path.name in text and bool(re.search(message, text)) and len(text) < 1200 and small
    )


def written(folder: Path, files: dict, suffix: str = "") -> dict[Path, str]:
    """Files under the names of their kinds: {kind: (content, or a function that makes it, and a message)}."""
    paths = {}
    for kind, (content, message) in files.items():
        path = folder / (re.sub(r"\W+", "-", kind) + suffix)
        path.write_bytes(content() if callable(content) else content)
        paths[path] = message
    return paths
