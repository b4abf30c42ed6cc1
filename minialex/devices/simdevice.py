"""`sim:N`: arrays that behave as if they lived on separate GPUs, on a machine that has none.

A `SimArray` is a wrapper around a NumPy array (a subclass would not do: `np.asarray` silently unwraps one).
It is as strict as a GPU is treacherous:

- there is a *current device*, as in CuPy, and computing on an array of another one raises. CuPy's matrix
  product would run on, and fail later with an illegal address;
- two arrays of different devices, or one of a device and one of the host, never meet: DeviceMismatch;
- `sim_numpy`, its array module, offers only the names that CuPy has;
- copies between devices, their bytes, and each moment when the host has to wait for a device (a *host sync*:
  `float(x)`, `x.get()`, `if x.any():`, a boolean mask) are counted by `recording()`.

>>> with on(0), recording() as ledger:
...     x = sim_numpy.asarray(np.arange(3.0))
...     total = float((x * x).sum())
>>> total, ledger.host_syncs, ledger.transfers
(5.0, 1, [Transfer(source='cpu', target='sim:0', bytes=24), Transfer(source='sim:0', target='cpu', bytes=8)])
"""

import operator
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minialex.errors import DeviceMismatch

# ---- what is counted -------------------------------------------------------------------------------


class Transfer(NamedTuple):
    source: str
    target: str
    bytes: int


@dataclass
class Ledger:
    """What `recording()` saw: the copies between devices in their order, and how often the host waited."""

    transfers: list[Transfer] = field(default_factory=list)
    host_syncs: int = 0

    def bytes_between(self, source: str, target: str) -> int:
        return sum(t.bytes for t in self.transfers if (t.source, t.target) == (source, target))


_open_ledgers: list[Ledger] = []


@contextmanager
def recording():
    """Count transfers and host syncs of the simulated devices inside a `with` block."""
    ledger = Ledger()
    _open_ledgers.append(ledger)
    try:
        yield ledger
    finally:
        _open_ledgers[:] = [other for other in _open_ledgers if other is not ledger]


def _note_transfer(source, target, nbytes):
    for ledger in _open_ledgers:
        ledger.transfers.append(Transfer(source, target, int(nbytes)))


def _note_sync():
    for ledger in _open_ledgers:
        ledger.host_syncs += 1


# ---- the current device ----------------------------------------------------------------------------

_current = threading.local()


def current_index() -> int:
    """The device on which this thread computes now; 0 until `on` says otherwise."""
    return getattr(_current, "index", 0)


@contextmanager
def on(index: int):
    """Make `sim:index` the current device of this thread inside a `with` block."""
    before = current_index()
    _current.index = index
    try:
        yield
    finally:
        _current.index = before


# ---- the arrays ------------------------------------------------------------------------------------

# Attributes that read a header and start no computation: they work whatever the current device is.
_HEADER = {"shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags"}
# NumPy's methods that CuPy's arrays do not have.
_NOT_IN_CUPY_NDARRAY = set(
    "ctypes getfield itemset newbyteorder resize setfield setflags to_device tostring".split()
)
# What CuPy's arrays have and a SimArray has not: ways round the wrapper.
_NOT_OFFERED = {"base", "byteswap", "data", "device", "dump", "dumps", "flat", "tobytes", "tofile"}


class SimArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on `sim:index`. It has CuPy's manners: reductions give 0-d arrays, `.get()` copies to the host."""

    __slots__ = ("_values", "index")

    def __init__(self, values: np.ndarray, index: int):
        self._values = values
        self.index = index

    def get(self) -> np.ndarray:
        """A copy on the host. The host waits for it."""
        _note_sync()
        _note_transfer(f"sim:{self.index}", "cpu", self._values.nbytes)
        return self._values.copy()

    def item(self, *index):
        return self.get().item(*index)

    def tolist(self):
        return self.get().tolist()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            f"an array on sim:{self.index} does not turn into a NumPy array by itself: use to_numpy"
        )

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"{self._values!r} on sim:{self.index}"

    def __reduce__(self):
        return SimArray, (self._values, self.index)  # for copy.deepcopy

    def __getitem__(self, key):
        if _is_view(key):  # a new header on the same memory, of one number too: nothing runs
            key = key if isinstance(key, tuple) else (key,)
            return SimArray(self._values[key if Ellipsis in key else (*key, ...)], self.index)
        if _has_mask(key):
            _note_sync()  # the result's size must be known
        return _run(lambda values, key: values[key], self, key)

    def __setitem__(self, key, value):
        def assign(values, key, value):
            values[key] = value

        _run(assign, self, key, value)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **kwargs):
        if out:
            kwargs["out"] = out[0] if len(out) == 1 else out
        return _run_ufunc(ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs)

    def __pow__(self, other):  # NumPy before 2.3 has x**2, x**0.5 and x**-1 in other bits than np.power
        return super().__pow__(other) if isinstance(other, (list, tuple)) else _run(operator.pow, self, other)

    def __ipow__(self, other):
        if isinstance(other, (list, tuple)):
            return super().__ipow__(other)
        _run(operator.ipow, self, other)
        return self

    def __array_function__(self, function, types, args, kwargs):
        name = function.__name__
        if getattr(np, name, function) is not function:  # np.linalg.trace is not np.trace
            raise AttributeError(f"sim does not offer {function.__module__}.{name}: layers must do without")
        return getattr(sim_numpy, name)(*args, **kwargs)

    @property
    def T(self):
        return SimArray(self._values.T, self.index)

    def transpose(self, *axes):
        return SimArray(self._values.transpose(*axes), self.index)

    def __getattr__(self, name):
        if name in _HEADER:
            return getattr(self._values, name)
        lacking = name.startswith("_") or name in _NOT_IN_CUPY_NDARRAY | _NOT_OFFERED
        found = None if lacking else getattr(np.ndarray, name, None)
        if found is None:
            raise AttributeError(
                f"CuPy's arrays have no {name!r}, or those on sim:{self.index} do not offer it"
            )
        if not callable(found):  # real, imag, mT
            return _run(getattr, self, name)

        def method(*args, **kwargs):
            if name in _SYNCING:
                _note_sync()
            return _run(found, self, *args, **kwargs)

        return method


def _is_view(key) -> bool:
    """Whole numbers, slices, None and ... give a view; arrays and lists gather."""
    keys = key if isinstance(key, tuple) else (key,)
    plain = (int, np.integer, slice, type(None), type(Ellipsis))
    return all(isinstance(k, plain) and not isinstance(k, bool) for k in keys)


def _has_mask(key) -> bool:
    keys = key if isinstance(key, tuple) else (key,)
    return any(getattr(k, "dtype", None) == np.bool_ for k in keys)


# ---- from and to the wrapper -----------------------------------------------------------------------


def _unwrap(value):
    """The NumPy array inside, if `value` may take part in a computation on the current device."""
    if isinstance(value, SimArray):
        if value.index != current_index():
            raise DeviceMismatch(
                f"an array on sim:{value.index} is used while the current device is sim:{current_index()}: "
                "`transfer` it, or compute inside `with Device(...)`"
            )
        return value._values
    if isinstance(value, np.ndarray):
        raise DeviceMismatch(
            f"an array on cpu, shape {value.shape}, is used in a computation on sim:{current_index()}: "
            "`transfer` it first"
        )
    if isinstance(value, (tuple, list)):
        return type(value)(_unwrap(v) for v in value)
    if isinstance(value, dict):
        return {k: _unwrap(v) for k, v in value.items()}
    return value


def _wrap(result):
    """A NumPy result as the device would give it: scalars become 0-d arrays, which stay there."""
    if isinstance(result, (np.ndarray, np.generic)):
        return SimArray(np.asarray(result), current_index())
    if isinstance(result, (tuple, list)):
        parts = [_wrap(r) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _run(function, *args, **kwargs):
    result = function(*_unwrap(args), **_unwrap(kwargs))
    out = kwargs.get("out")
    return out if isinstance(out, SimArray) else _wrap(result)  # `x += y` keeps its x


def _run_ufunc(ufunc, inputs, kwargs):
    if isinstance(ufunc, np.ufunc) and any(isinstance(value, (list, tuple)) for value in inputs):
        raise TypeError(f"{ufunc.__name__} takes arrays and numbers, no lists: CuPy's takes none")
    return _run(ufunc, *inputs, **kwargs)


def upload(values, index: int, dtype=None) -> SimArray:
    """A copy of host data on `sim:index`."""
    values = np.array(values, dtype=dtype)
    _note_transfer("cpu", f"sim:{index}", values.nbytes)
    return SimArray(values, index)


def copy_between(array: SimArray, index: int) -> SimArray:
    """A copy of a device's array on `sim:index`."""
    _note_transfer(f"sim:{array.index}", f"sim:{index}", array._values.nbytes)
    return SimArray(array._values.copy(order="K"), index)


# ---- the array module ------------------------------------------------------------------------------

# NumPy's names that CuPy 14 lacks; tests compare this list with CuPy where it is installed.
_NOT_IN_CUPY = set(
    """
    False_ ScalarType True_ asmatrix block bmat busday_count busday_offset busdaycalendar bytes_ character
    clongdouble complex256 datetime64 datetime_as_string datetime_data einsum_path errstate flexible
    float128 frompyfunc fromregex geomspace get_include getbufsize geterr geterrcall histogram_bin_edges
    info insert is_busday isnat little_endian longdouble matrix matvec memmap nanpercentile nanquantile
    ndenumerate nditer nested_iters object_ polyder polydiv polyint recarray record sctypeDict setbufsize
    seterr seterrcall show_runtime spacing str_ test timedelta64 typecodes unstack vecdot vecmat void
    """.split()
)
# The size of what these return depends on the values, so the host has to wait for them.
_SYNCING = set(
    """
    argwhere asarray_chkfinite bincount compress delete extract flatnonzero histogram2d histogramdd intersect1d
    nonzero ravel_multi_index setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts
    unique_inverse unique_values
    """.split()
)
# NumPy gives Python's numbers here, CuPy 0-d arrays, for which nobody has to wait yet.
_SCALAR_IN_NUMPY = {"allclose", "array_equal", "array_equiv", "count_nonzero"}


class _SimNumpy:
    """NumPy's functions for SimArrays, as far as CuPy has them. `cupy` and this can stand for one another."""

    ndarray = SimArray

    class lib:
        class stride_tricks:
            @staticmethod
            def as_strided(x, shape, strides):
                return SimArray(np.lib.stride_tricks.as_strided(x._values, shape, strides), x.index)

    def __getattr__(self, name):
        found = np if name in _NOT_IN_CUPY or name.startswith("_") else getattr(np, name, np)
        if isinstance(found, ModuleType):
            raise AttributeError(f"CuPy has no {name!r}, or sim does not offer it: layers must do without")
        if isinstance(found, type) or not callable(found):
            return found  # float32, newaxis, pi, ...

        def function(*args, **kwargs):
            if isinstance(found, np.ufunc):
                return _run_ufunc(found, args, kwargs)
            if name in _SYNCING or (name == "where" and len(args) == 1):
                _note_sync()
            result = _run(found, *args, **kwargs)
            if name in _SCALAR_IN_NUMPY and not isinstance(result, SimArray):
                return _wrap(np.asarray(result))
            return result

        function.__name__ = name
        return function

    def asarray(self, values, dtype=None):
        if isinstance(values, SimArray):
            return values if dtype is None else values.astype(dtype, copy=False)
        return upload(values, current_index(), dtype)

    def array(self, values, dtype=None):
        return (
            self.asarray(values, dtype).copy()
            if isinstance(values, SimArray)
            else self.asarray(values, dtype)
        )

    def __repr__(self):
        return "<module 'sim_numpy'>"


sim_numpy = _SimNumpy()
