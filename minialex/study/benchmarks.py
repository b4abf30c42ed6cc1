"""Measuring: programs in turn, what a matrix product reaches here, a layer's share of a step; and the record of it.

Two programs that are timed one after the other are timed on two different machines: clocks, caches and neighbours
change within seconds. So they take turns, round by round, and what counts is the ratio within each round.
"""

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from minialex import __version__
from minialex.devices.device import Device, cuda_names
from minialex.errors import DataError
from minialex.layers.model import Model
from minialex.study.describe import summary
from minialex.study.timeline import Span
from minialex.weights import write_whole
from minialex.weights.reading import read_at_most
from minialex.weights.records import MOST_CHARACTERS, RECORD, check, parse
from minialex.words import typed

GEMM_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product is timed


# ---- in turn ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of those that are compared. step() does the work once; wait() returns when its device has done it."""

    name: str
    step: Callable[[], object]
    wait: Callable[[], object] = lambda: None


def in_turn(
    sides: list[Side], rounds: int, steps: int, warm_up: int = 2, label: str = ""
) -> dict[str, list[float]]:
    """Seconds of a step of each side, one number for each round.

    Each side makes `warm_up` steps that are not timed. In a round each makes `steps` of them; the next round has
    them in the opposite order, A B, B A, so that none always comes after another. label: of the progress bar.

    >>> times = in_turn([Side("a", lambda: None), Side("b", lambda: None)], rounds=3, steps=2)
    >>> {name: len(of_rounds) for name, of_rounds in times.items()}
    {'a': 3, 'b': 3}
    """
    from tqdm import tqdm

    for side in sides:
        for _ in range(warm_up):
            side.step()
    gc.collect()
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in tqdm(range(rounds), desc=label, unit="round", leave=False, disable=None if label else True):
        for side in sides if number % 2 == 0 else sides[::-1]:
            times[side.name].append(seconds_of_a_step(side, steps))
    return times


def seconds_of_a_step(side: Side, steps: int) -> float:
    """The mean over so many, timed as one; nobody collects garbage meanwhile."""
    with no_garbage_collection():
        side.wait()
        start = time.perf_counter()
        for _ in range(steps):
            side.step()
        side.wait()
        return (time.perf_counter() - start) / steps


@contextmanager
def no_garbage_collection():
    """Python's search for circles of objects would come at any moment, in either side's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def spread(values) -> dict[str, float]:
    """The median, and the least and the largest of them.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(numerators, denominators) -> dict[str, float]:
    """The spread of the ratio within each round.

    >>> ratios([2.0, 8.0, 3.0], [1.0, 2.0, 1.0])
    {'median': 3.0, 'min': 2.0, 'max': 4.0}
    """
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


# ---- work ------------------------------------------------------------------------------------------


def wait_for(devices) -> None:
    """Return when GPUs have done all that they were asked for. The CPU is never behind."""
    for device in dict.fromkeys(devices):
        if device.name.startswith("cuda"):
            with device:
                device.xp.cuda.get_current_stream().synchronize()


def gemm_limit(device: Device, side: int | None = None, tries: int = 10) -> float:
    """GFLOP/s of a float32 product of two square matrices, the best of some: no network here will be faster.

    side: of the matrices; left out, 2048 on a CPU, 8192 on a GPU.

    >>> gemm_limit(Device("cpu"), side=64, tries=2) > 0
    True
    """
    side = side or GEMM_SIDE[device.name.partition(":")[0]]
    draws = np.random.default_rng(0).standard_normal((2, side, side), dtype=np.float32)
    with device:
        a, b = (device.asarray(matrix) for matrix in draws)
        product = Side("matmul", lambda: device.xp.matmul(a, b), lambda: wait_for([device]))
        product.step()
        best = min(seconds_of_a_step(product, 1) for _ in range(tries))
    return 2 * side**3 / best / 1e9


def flops_of(model: Model) -> dict[str, tuple[int, int]]:
    """Operations in matrix products for one picture, by layer, forward and backward; those of the others are few.

    A multiply-add is two. Backward takes as many for the weights as forward, and as many again for the layer's
    input; the first layer's input is the picture, whose gradient nobody needs.

    >>> from minialex.models import lenet5
    >>> flops_of(lenet5())["output"]                      # 84 x 10 weights
    (1680, 3360)
    """
    counts = {row.name: 2 * row.multiply_adds for row in summary(model).rows if row.multiply_adds}
    first = next(iter(counts))
    return {name: (count, count if name == first else 2 * count) for name, count in counts.items()}


def layer_seconds(spans: list[Span]) -> dict[str, tuple[float, float]]:
    """How long each layer's forward and backward took, from `measure_step`; towers that run side by side count once.

    Copies from tower to tower are together in "crossings", those of the way back as backward; the optimizer's step,
    "update", is backward.
    """
    times: dict[str, tuple[list, list]] = {}
    for span in spans:
        name = "crossings" if span.kind == "crossing" else span.name
        back = span.back or span.kind == "update"
        times.setdefault(name, ([], []))[back].append((span.start_s, span.end_s))
    return {name: (_covered(forward), _covered(back)) for name, (forward, back) in times.items()}


def _covered(intervals) -> float:
    """The length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


# ---- memory ----------------------------------------------------------------------------------------


def peak_memory() -> int:
    """The most bytes of main memory that this process has had, so far.

    Linux counts for each program anew (VmHWM). ru_maxrss, elsewhere, includes that of whoever started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        raise OSError("peak memory is measured on Linux and macOS, not on this system") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def pool_bytes(devices) -> int:
    """The bytes that CuPy's pools have taken from the GPUs, and keep: the peak, as long as nobody empties them."""
    total = 0
    for device in dict.fromkeys(devices):
        if device.name.startswith("cuda"):
            with device:
                total += device.xp.get_default_memory_pool().total_bytes()
    return total


# ---- the record ------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Of Python and of what computes; a package that is not here is not in it."""
    found = {"python": platform.python_version(), "minialex": __version__}
    for package in ("numpy", "torch", "cupy-cuda12x", "cupy-cuda13x", "pillow", "threadpoolctl"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(devices=()) -> dict:
    """The processor, its cores, the BLAS behind NumPy, and the GPUs that are used; not whose machine it is."""
    from threadpoolctl import threadpool_info

    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    used = {device.index for device in devices if device.name.startswith("cuda")}
    gpus = cuda_names() if used else []
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "blas": [f"{info['internal_api']} {info.get('version') or ''}".strip() for info in blas],
        "blas_threads": [info["num_threads"] for info in blas],
        "gpus": [gpus[index] for index in sorted(used)],
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def free_name(folder: Path, name: str, today: date | None = None) -> Path:
    """folder/name-2012-12-03.json, or that with -2, -3, ... where there is one: no record is written over."""
    stem = f"{name}-{today or date.today()}"
    names = (folder / f"{stem}{'' if n == 1 else f'-{n}'}.json" for n in range(1, 10_000))
    return next(path for path in names if not path.exists())


EXACT = ("settings", "leave_at")  # of a record


def write_record(path: Path, record: dict) -> None:
    """As JSON, floats to five digits: a few kilobytes that differ little from one to the next.

    What is compared or set again later, "settings" and "leave_at", is kept to the last digit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(_rounded(record), indent=1) + "\n").encode())


def kept_record(path: Path, settings: dict | None, wanted: dict) -> dict | None:
    """What `write_record` has kept in a file, of a training with these settings; None where there is no file.

    settings: None where any will do. wanted: what else is in it, as `records.check` has it.
    Raises DataError, naming the file, where it is damaged, ValueError where it is of other settings.
    """
    if not path.is_file():
        return None
    try:
        record = parse(read_at_most(path, MOST_CHARACTERS))
        check(record, {"settings": RECORD, **wanted}, "it")
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): delete it, and its network is trained anew") from error
    if settings is not None and record["settings"] != settings:
        raise ValueError(f"{path} is of other settings, {record['settings']}: use another --output-dir")
    return record


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: item if key in EXACT else _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns, the first to the left and the others to the right; a row of None is a rule.

    >>> print(table(["layer", "ms"], [["conv1", "1.25"], None, ["all", "10.50"]]))
    layer     ms
    ------------
    conv1   1.25
    ------------
    all    10.50
    """
    cells = [header, *(row for row in rows if row)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row):
        first, *others = row
        right = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        return "  ".join([first.ljust(widths[0]), *right]).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(header), rule, *(line(row) if row else rule for row in rows)])


def as_spread(values: dict[str, float]) -> str:
    """A spread in words.

    >>> as_spread(spread([1.5, 1.0, 1.25]))
    '1.25 (1.00 to 1.50)'
    """
    return f"{values['median']:.2f} ({values['min']:.2f} to {values['max']:.2f})"


def command_line(program: str) -> str:
    """As it was typed; of files and folders, the last name only."""
    words = []
    for word in sys.argv[1:]:
        option, sign, value = word.partition("=") if word.startswith("-") else ("", "", word)
        words.append(option + sign + (Path(value).name if os.sep in value else value))
    return typed("python", program, *words)
