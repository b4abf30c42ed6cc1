"""Devices: `cpu` (NumPy), `cuda:N` (CuPy), `sim:N` (a GPU that is only pretended, see simdevice.py).

A Device owns its array module, `device.xp`, so that one body of code serves NumPy and CuPy. Arrays move between
devices through `transfer` and in no other way. What a kind of device does in its own way stands in cpu.py, cuda.py
and sim.py.
"""

import importlib
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import numpy as np

from minialex.devices import simdevice, threads, twins
from minialex.errors import DeviceMismatch
from minialex.shapes import parts_of, positive
from minialex.words import did_you_mean, is_one_of, nearest, yes_or_no

MiB = 2**20
Array = Any  # a NumPy or a CuPy array


def positive_or_none(value: int | None, name: str) -> int | None:
    return None if value is None else positive(value, name)


class Device:
    """`Device("cpu")`, `Device("cuda:1")`, `Device("sim:0")`; the same name is always the same object.

    Attributes
        name            "cpu", "cuda:0", "sim:1", ...
        xp              its array module: numpy, cupy, or sim_numpy
        column_budget   bytes that each thread of a convolution may spend on im2col columns; yours to set
        threads         how many pieces of work run at a time; on a CPU yours to set, at first OMP_NUM_THREADS or
                        all cores, elsewhere 1. The same number gives the same bits
        kind            "cpu", "cuda", "sim"
        fast            False: layers here run their own lines, the textbook's; True: their twins (see twins.py) where
                        they have one. On for CPUs and CUDA; MINIALEX_FAST=0 turns both off
        upload_ahead    True: training and testing on a GPU copy the next batch meanwhile, see uploads.py. Off: it
                        gained nothing where it was measured; MINIALEX_UPLOAD_AHEAD=1 turns it on

    `with device:` makes it the current device, where new arrays are made and kernels run.
    Raises ValueError for an unknown name and for a setting that makes no sense, AttributeError for one that there is
    not, DeviceUnavailable for a GPU that is not there.

    >>> Device("sim:1").asarray([1.0, 2.0])
    array([1., 2.]) on sim:1
    """

    _known: dict[str, "Device"] = {}
    takes = {
        "threads": positive,
        "column_budget": positive,
        "piece_bytes": positive_or_none,
        "fast": yes_or_no,
        "upload_ahead": yes_or_no,
    }

    name: str = ""
    kind: str = ""
    xp: Any = None
    index: int = 0
    threads: int = 1
    column_budget: int = 16 * MiB  # smaller: more rows are read twice; larger: little gain, more memory
    fast: bool = False
    upload_ahead: bool = False
    piece_bytes: int | None = None  # large arrays are worked through in pieces of this size; None: in one go

    def __new__(cls, name: "str | Device" = "cpu") -> "Device":
        if isinstance(name, Device):
            return name
        if is_one_of(name, Device._known):
            return Device._known[name]
        kind, index = _parse(name)
        full_name = kind if kind == "cpu" else f"{kind}:{index}"
        if full_name not in Device._known:
            device = object.__new__(_class_of(kind))
            device.name, device.kind, device.index = full_name, kind, index
            device.fast = twins.fast_by_default(kind)
            device._entered = threading.local()
            device._open()
            Device._known.setdefault(full_name, device)  # the first one, should two threads ask at once
        return Device._known[full_name]

    def __setattr__(self, name, value):
        if name in self.takes:
            value = self.takes[name](value, f"Device({self.name!r}): {name}")
        elif not name.startswith("_") and not hasattr(type(self), name):
            meant = did_you_mean(name, self.takes)
            raise AttributeError(
                f"Device({self.name!r}) has no {name}{meant}: what may be set is {', '.join(self.takes)}"
            )
        super().__setattr__(name, value)

    def asarray(self, array, dtype=None) -> Array:
        """Host data (an array, a list, a number) on this device; an array that is there already stays as it is."""
        if not isinstance(array, np.ndarray) and is_array(array) and device_of(array) is not self:
            raise DeviceMismatch(
                f"asarray takes host data to {self.name}; this array lives on {device_of(array).name}: "
                "use transfer(array, device), or to_numpy(array)"
            )
        with self:
            return self.xp.asarray(array, dtype=dtype)

    def __enter__(self) -> "Device":
        stack = ExitStack()
        stack.enter_context(self._current())
        self._entered.__dict__.setdefault("stacks", []).append(stack)
        return self

    def __exit__(self, *error) -> bool | None:
        return self._entered.stacks.pop().__exit__(*error)

    def __repr__(self) -> str:
        on = twins.names_on(self)
        return f"Device({self.name!r}, fast={on})" if on else f"Device({self.name!r})"

    def __reduce__(self):
        return Device, (self.name,)  # a copy, or a pickle read back, is the same object

    def map(self, function, items) -> list:
        """[function(item) for item in items]; on a CPU up to `threads` at a time."""
        return [function(item) for item in items]

    def shares(self, count: int, least: int = 1) -> list[slice]:
        """`count` things in equal slices, one for each thread that is free for this, of at least `least` things.

        >>> Device("sim:0").shares(10)
        [slice(0, 10, None)]
        """
        parts = max(1, min(threads.available(self.threads), count // least))
        return parts_of(count, parts)

    def empty(self, shape: tuple[int, ...], dtype) -> Array:
        """A new array, full of anything. Its memory may be that of an earlier array that nobody holds any more."""
        return self.xp.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype) -> Array:
        """A new array of zeros."""
        return self.xp.zeros(shape, dtype)

    def matmul(self, a: Array, b: Array) -> Array:
        """a @ b"""
        return self.xp.matmul(a, b)

    def matmul_sum(self, a: Array, b: Array) -> Array:
        """The sum over n of a[n] @ b[n]: a weight's gradient over the pictures, without a copy of it for each.

        >>> Device("cpu").matmul_sum(np.ones((5, 1, 2)), np.ones((5, 2, 1)))
        array([[10.]])
        """
        total = self.matmul(a[0], b[0])
        for one, other in zip(a[1:], b[1:], strict=True):
            total += self.matmul(one, other)
        return total

    def free_memory(self) -> None:
        """Give the memory of arrays that are gone back to the system; else it waits for new arrays."""

    def empty_like(self, array: Array) -> Array:
        """A new array of the same shape, dtype and layout in memory."""
        slowest_first = sorted(range(array.ndim), key=array.strides.__getitem__, reverse=True)
        new = self.empty(tuple([array.shape[axis] for axis in slowest_first]), array.dtype)
        return new.transpose([slowest_first.index(axis) for axis in range(array.ndim)])

    # What a kind of device does in its own way:

    def _open(self):
        """Check that it is there."""

    def _current(self):
        """A context manager that makes it the current device."""
        return nullcontext()

    def check_link(self, other: "Device") -> None:
        """Do copies between this device and another arrive as they were sent? Only two GPUs need to be asked."""

    def _receive(self, array, source: "Device"):
        """A copy, on this device, of an array of its own kind or of the host."""
        raise DeviceMismatch(f"no way from {source.name} to {self.name}: go through the host")


def _class_of(kind) -> type[Device]:
    """A kind's own room is loaded when a device of it is first asked for."""
    return getattr(importlib.import_module(f"minialex.devices.{kind}"), kind.capitalize())


def _parse(name) -> tuple[str, int]:
    kind, colon, index = str(name).strip().partition(":")
    good = (kind in ("cuda", "sim") and (index.isdecimal() or not colon)) or str(name).strip() == "cpu"
    if not good:
        raise ValueError(
            f'unknown device {name!r}{_meant(kind, index)}: use "cpu", "cuda:0" (or another number), or "sim:0"'
        )
    return kind, int(index or 0)


def _meant(kind, index):
    """Did they mean another kind of device? Frameworks have several words for a GPU."""
    word = {"gpu": "cuda", "nvidia": "cuda", "cupy": "cuda", "numpy": "cpu"}.get(kind.casefold(), kind)
    near = nearest(word, ("cpu", "cuda", "sim"))
    if near and near != ["cpu"]:
        near = [f"{near[0]}:{index if index.isdecimal() else 0}"]
    return f' (did you mean "{near[0]}"?)' if near else ""


Devices = str | Device | Sequence[str | Device]  # what `place` takes


def place(devices: Devices = "auto") -> tuple[Device, Device]:
    """The two devices of a model: "auto", one name (that device twice), or two with a comma between them.

    `auto` takes the first two GPUs; where there is one, that one twice; where there is none, the CPU twice.

    >>> place("sim:0,sim:1")
    (Device('sim:0'), Device('sim:1'))
    >>> [device.name for device in place("cpu")]
    ['cpu', 'cpu']
    """
    if isinstance(devices, str) and devices.strip() == "auto":
        count = cuda_count()
        devices = [f"cuda:{i}" for i in range(min(count, 2))] or ["cpu"]
    elif isinstance(devices, str):
        devices = devices.split(",")
    elif not isinstance(devices, Sequence):
        devices = [devices]
    if len(devices) not in (1, 2):
        raise ValueError(f"a model takes one device or two, not {len(devices)}: {devices!r}")
    return Device(devices[0]), Device(devices[-1])


def cuda_count() -> int:
    """How many CUDA GPUs CuPy can use here; 0 without CuPy, without a driver, or without a GPU."""
    return len(cuda_names())


def cuda_names() -> list[str]:
    """The names of the CUDA GPUs that CuPy can use here, cuda:0 first."""
    try:
        import cupy
    except ImportError:
        return []
    if not cupy.is_available():
        return []
    runtime = cupy.cuda.runtime
    return [runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())]


def is_array(value) -> bool:
    """Is this an array of any device?"""
    return isinstance(value, (np.ndarray, simdevice.SimArray)) or _is_cupy(value)


def _is_cupy(value) -> bool:
    cupy = sys.modules.get("cupy")  # whoever holds a CuPy array has imported CuPy
    return cupy is not None and isinstance(value, cupy.ndarray)


def device_of(array: Array) -> Device:
    """The device on which an array lives.

    >>> device_of(np.zeros(3)) is Device("cpu")
    True
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return Device("cpu")
    if isinstance(array, simdevice.SimArray):
        return Device(f"sim:{array.index}")
    if _is_cupy(array):
        return Device(f"cuda:{array.device.id}")
    raise TypeError(f"a NumPy or CuPy array is needed here, not {type(array).__name__}")


def array_module(array: Array) -> Any:
    """The module that computes with this array: numpy, cupy, or sim_numpy."""
    return device_of(array).xp


def to_numpy(array: Array) -> np.ndarray:
    """The array on the host: itself if it is there already, else a copy, for which the host waits."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np.asarray(array)
    with device_of(array):  # CuPy's get() uses the current device's stream
        return array.get()


def transfer(array: Array, device: str | Device) -> Array:
    """The array on `device`: itself if it is there already, else a copy. The one way between devices.

    >>> transfer(transfer(np.ones(2), "sim:0"), "sim:1")
    array([1., 1.]) on sim:1
    """
    source, target = device_of(array), Device(device)
    if source is target:
        return array
    if target.name == "cpu":
        return to_numpy(array)
    return target._receive(array, source)
