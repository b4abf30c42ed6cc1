"""Devices: `cpu` (NumPy), `cuda:N` (CuPy), `sim:N` (a GPU that is only pretended, see simdevice.py).

A Device owns its array module, `device.xp`, so that one body of code serves NumPy and CuPy. Arrays move between
devices through `transfer` and in no other way. CuPy is imported when a `cuda` device is first asked for.
"""

import os
import sys
import threading
import warnings
from contextlib import ExitStack, nullcontext
from itertools import pairwise

import numpy as np

from minialex import memory, simdevice, threads
from minialex.errors import DeviceMismatch, DeviceUnavailable

MiB = 2**20
# OpenBLAS multiplies matrices as they are up to this many multiplications; for larger products it packs them first.
SMALL = 10**6
NARROW = 64  # strips of fewer columns gain nothing


class Device:
    """`Device("cpu")`, `Device("cuda:1")`, `Device("sim:0")`; the same name is always the same object.

    Attributes
        name            "cpu", "cuda:0", "sim:1", ...
        xp              its array module: numpy, cupy, or sim_numpy
        column_budget   bytes that each thread of a convolution may spend on im2col columns; yours to set
        threads         how many pieces of work run at a time; on a CPU yours to set, at first OMP_NUM_THREADS or
                        all cores, elsewhere 1. The same number gives the same bits
        kernels         True: layers on a GPU use the CUDA kernels of kernels.py. Not verified on a GPU yet, so off;
                        the environment variable MINIALEX_KERNELS=1 turns it on
        upload_ahead    True: training and testing on a GPU copy the next batch meanwhile, see uploads.py. Off for
                        the same reason; MINIALEX_UPLOAD_AHEAD=1 turns it on

    `with device:` makes it the current device, where new arrays are made and kernels run.
    Raises ValueError for an unknown name, DeviceUnavailable for a GPU that is not there.

    >>> Device("sim:1").asarray([1.0, 2.0])
    array([1., 2.]) on sim:1
    """

    _known: dict[str, "Device"] = {}

    name: str
    index: int = 0
    threads: int = 1
    column_budget: int = 16 * MiB  # smaller: more rows are read twice; larger: little gain, more memory
    kernels: bool = os.environ.get("MINIALEX_KERNELS") == "1"
    upload_ahead: bool = False
    piece_bytes: int | None = None  # large arrays are worked through in pieces of this size; None: in one go

    def __new__(cls, name="cpu"):
        if isinstance(name, Device):
            return name
        if name in Device._known:
            return Device._known[name]
        kind, index = _parse(name)
        full_name = kind if kind == "cpu" else f"{kind}:{index}"
        if full_name not in Device._known:
            device = object.__new__({"cpu": _Cpu, "cuda": _Cuda, "sim": _Sim}[kind])
            device.name, device.index = full_name, index
            device._entered = threading.local()
            device._open()
            Device._known.setdefault(full_name, device)  # the first one, should two threads ask at once
        return Device._known[full_name]

    def asarray(self, array, dtype=None):
        """Host data (an array, a list, a number) on this device; an array that is there already stays as it is."""
        if not isinstance(array, np.ndarray) and is_array(array) and device_of(array) is not self:
            raise DeviceMismatch(
                f"asarray takes host data to {self.name}; this array lives on {device_of(array).name}: "
                "use transfer(array, device), or to_numpy(array)"
            )
        with self:
            return self.xp.asarray(array, dtype=dtype)

    def __enter__(self):
        stack = ExitStack()
        stack.enter_context(self._current())
        self._entered.__dict__.setdefault("stacks", []).append(stack)
        return self

    def __exit__(self, *error):
        return self._entered.stacks.pop().__exit__(*error)

    def __repr__(self):
        return f"Device({self.name!r})"

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
        ends = [count * number // parts for number in range(parts + 1)]
        return [slice(*ends) for ends in pairwise(ends)]

    def empty(self, shape: tuple[int, ...], dtype):
        """A new array, full of anything. Its memory may be that of an earlier array that nobody holds any more."""
        return self.xp.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype):
        """A new array of zeros."""
        return self.xp.zeros(shape, dtype)

    def matmul(self, a, b):
        """a @ b"""
        return self.xp.matmul(a, b)

    def matmul_plus(self, a, b, c, out) -> None:
        """out[...] = a @ b + c. The columns of the product may be two axes in `out`: (..., rows, 28, 64)."""
        self.xp.add(self.matmul(a, b).reshape(out.shape), c, out=out)

    def free_memory(self) -> None:
        """Give the memory of arrays that are gone back to the system; else it waits for new arrays."""

    def empty_like(self, array):
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

    def _receive(self, array, source: "Device"):
        """A copy, on this device, of an array of its own kind or of the host."""
        raise DeviceMismatch(f"no way from {source.name} to {self.name}: go through the host")


class _Cpu(Device):
    xp = np
    piece_bytes = MiB

    def _open(self):
        self.threads = threads.cores()
        self._pool = memory.Pool()

    def map(self, function, items):
        return threads.spread(function, items, self.threads)

    def empty(self, shape, dtype):
        return self._pool.empty(shape, dtype)

    def zeros(self, shape, dtype):
        zeros = self.empty(shape, dtype)
        zeros.fill(0)
        return zeros

    def free_memory(self):
        self._pool.free()

    def matmul(self, a, b):
        several = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return self._matmul_into(self.empty((*several, a.shape[-2], b.shape[-1]), a.dtype), a, b)

    def matmul_plus(self, a, b, c, out):
        if out.strides[-2] == out.shape[-1] * out.strides[-1]:  # the two axes are one in memory
            self._matmul_into(out.reshape(*out.shape[:-2], -1), a, b)
        else:
            out[...] = self.matmul(a, b).reshape(out.shape)
        out += c

    def _matmul_into(self, product, a, b):
        """In strips of columns, or of rows, where that makes small products.

        Measured on C3 at batch 64, one thread: 84 -> 100 GFLOP/s forward, 95 -> 141 and 74 -> 128 backward.
        """
        rows, columns = product.shape[-2:]
        width = SMALL // (a.shape[-1] * min(rows, columns))
        longer = max(rows, columns)
        parts = -(-longer // width) if width >= NARROW else 1
        for number in range(parts):
            strip = slice(longer * number // parts, longer * (number + 1) // parts)
            if columns == longer:
                np.matmul(a, b[..., strip], out=product[..., strip])
            else:
                np.matmul(a[..., strip, :], b, out=product[..., strip, :])
        return product

    def __enter__(self):  # nothing to switch: keep the most frequent case cheap
        return self

    def __exit__(self, *error):
        return None


class _Sim(Device):
    xp = simdevice.sim_numpy

    def _current(self):
        return simdevice.on(self.index)

    def _receive(self, array, source):
        if isinstance(array, np.ndarray):
            return simdevice.upload(array, self.index)
        return (
            simdevice.copy_between(array, self.index)
            if source.xp is self.xp
            else super()._receive(array, source)
        )


class _Cuda(Device):
    column_budget = 1024 * MiB
    upload_ahead = os.environ.get("MINIALEX_UPLOAD_AHEAD") == "1"

    def _open(self):
        self.not_straight_from: set[str] = set()  # GPUs from which copies arrive wrong, see check_link
        try:
            import cupy
        except ImportError as error:
            raise DeviceUnavailable(
                f'{self.name} needs CuPy: pip install "minialex[cuda12]" or "minialex[cuda13]", to match your driver; '
                "pick one"
            ) from error
        if not cupy.is_available():
            raise DeviceUnavailable(
                f"{self.name}: CuPy {cupy.__version__} is installed, but finds no usable NVIDIA GPU: "
                "`nvidia-smi` should list one, with a driver as new as CuPy's CUDA. Use cpu meanwhile"
            )
        count = cupy.cuda.runtime.getDeviceCount()
        if self.index >= count:
            raise DeviceUnavailable(
                f"{self.name} is not there: this machine has {count} CUDA GPU(s), from cuda:0 on"
            )
        self.xp = cupy

    def free_memory(self):
        with self:
            self.xp.get_default_memory_pool().free_all_blocks()

    def _current(self):
        return self.xp.cuda.Device(self.index)

    def _receive(self, array, source):
        if isinstance(array, np.ndarray):
            return self.asarray(array)
        if source.xp is not self.xp:
            return super()._receive(array, source)
        if source.name in self.not_straight_from:
            return self.asarray(to_numpy(array))
        return self._receive_from_gpu(array, source)

    def _receive_from_gpu(self, array, source):
        """A copy between GPUs, put in order by events on both sides.

        The copy must not start before the source's kernels have written the array, and the source must not
        reuse the memory before the copy has read it. Both streams wait for events; the host waits for nothing.
        """
        cupy = self.xp
        with source:
            array = cupy.ascontiguousarray(array)
            source_stream = cupy.cuda.get_current_stream()
            written = source_stream.record(cupy.cuda.Event(disable_timing=True))
        with self:
            stream = cupy.cuda.get_current_stream()
            stream.wait_event(written)
            copy = cupy.empty_like(array)
            copy.data.copy_from_device_async(array.data, array.nbytes, stream)
            read = stream.record(cupy.cuda.Event(disable_timing=True))
        with source:
            source_stream.wait_event(read)
        return copy


def _parse(name) -> tuple[str, int]:
    kind, colon, index = str(name).strip().partition(":")
    good = (kind in ("cuda", "sim") and (index.isdecimal() or not colon)) or str(name).strip() == "cpu"
    if not good:
        raise ValueError(f'unknown device {name!r}: use "cpu", "cuda:0" (or another number), or "sim:0"')
    return kind, int(index or 0)


def check_link(first: Device, second: Device) -> None:
    """Copy 4 MiB between two GPUs, both ways, and compare every byte; models ask for it when they are placed.

    On some machines copies from GPU to GPU arrive wrong, without an error. Then all later ones go through the host,
    and a RuntimeWarning says so. Other devices need no check.
    """
    if not (isinstance(first, _Cuda) and isinstance(second, _Cuda)) or first is second:
        return
    sent = np.random.default_rng(0).integers(0, 256, 4 * MiB, dtype=np.uint8)
    for source, target in ((first, second), (second, first)):
        received = to_numpy(target._receive_from_gpu(source.asarray(sent), source))
        wrong = int((received != sent).sum())
        if wrong:
            target.not_straight_from.add(source.name)
            warnings.warn(
                f"{wrong:,} of {sent.size:,} bytes copied from {source.name} to {target.name} arrived wrong: such "
                "copies go through the host from now on, which is slower",
                RuntimeWarning,
                stacklevel=3,
            )


def place(devices="auto") -> tuple[Device, Device]:
    """The two devices of a model: "auto", one name (that device twice), or two with a comma between them.

    `auto` takes the first two GPUs; where there is one, that one twice; where there is none, the CPU twice.

    >>> place("sim:0,sim:1")
    (Device('sim:0'), Device('sim:1'))
    >>> place("cpu")
    (Device('cpu'), Device('cpu'))
    """
    if isinstance(devices, str) and devices.strip() == "auto":
        count = cuda_count()
        devices = [f"cuda:{i}" for i in range(min(count, 2))] or ["cpu"]
    elif isinstance(devices, str):
        devices = devices.split(",")
    elif isinstance(devices, Device):
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


def device_of(array) -> Device:
    """The device on which an array lives.

    >>> device_of(np.zeros(3))
    Device('cpu')
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return Device("cpu")
    if isinstance(array, simdevice.SimArray):
        return Device(f"sim:{array.index}")
    if _is_cupy(array):
        return Device(f"cuda:{array.device.id}")
    raise TypeError(f"a NumPy or CuPy array is needed here, not {type(array).__name__}")


def array_module(array):
    """The module that computes with this array: numpy, cupy, or sim_numpy."""
    return device_of(array).xp


def to_numpy(array) -> np.ndarray:
    """The array on the host: itself if it is there already, else a copy, for which the host waits."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np.asarray(array)
    with device_of(array):  # CuPy's get() uses the current device's stream
        return array.get()


def transfer(array, device):
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
