"""Numbers as they are set: NumPy's become Python's, so that they widen no array and fit into JSON."""

import math

import numpy as np

from minialex.shapes import is_whole
from minialex.words import counted


def finite(value: float, name: str) -> float:
    """`value` as a float, or a ValueError that says what it should have been.

    >>> finite(np.float32(0.5), "Scale: factor")
    0.5
    """
    found = number_or_nan(value)
    if not math.isfinite(found):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    return found


def number_or_nan(value) -> float:
    """A number as a float; nan for all else, also a text or an array's one entry, of which float() makes one."""
    try:
        return math.nan if isinstance(value, (str, bytes)) or getattr(value, "ndim", 0) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def within(low: float, high: float, value: float, name: str) -> float:
    """`value` as a float from low to high, both of which it may be.

    >>> within(0, 1, 1.5, "BatchNorm2D: momentum")
    Traceback (most recent call last):
    ValueError: BatchNorm2D: momentum must be between 0 and 1, not 1.5
    """
    found = number_or_nan(value)
    if not low <= found <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value!r}")
    return found


def not_negative(value: float, name: str) -> float:
    if not 0 <= number_or_nan(value) < math.inf:
        raise ValueError(f"{name} must be a number >= 0, not {value!r}")
    return float(value)


def above_0(value: float, name: str) -> float:
    if not 0 < number_or_nan(value) < math.inf:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
    return float(value)


def whole(value: int, name: str) -> int:
    if not is_whole(value) or value < 0:
        raise ValueError(f"{name} must be a whole number >= 0, not {value!r}")
    return int(value)


def plain(value):
    """One of NumPy's numbers as Python's: as a setting it would make float32 arrays float64. The rest as it is."""
    if type(value) is tuple:
        parts = tuple(map(plain, value))
        return parts if any(one is not part for one, part in zip(value, parts, strict=True)) else value
    return value.item() if isinstance(value, np.generic) else value


def number(value):
    """A number of NumPy, or an array of one on the host, as Python's number; the rest as it is."""
    return value.item() if isinstance(value, np.ndarray) and not value.ndim else plain(value)


def as_array(value):
    """One of NumPy's numbers, which operations make of 0-d arrays, as such an array. See `unmasked` for the rest."""
    return np.asarray(value) if isinstance(value, np.generic) else unmasked(value)


def unmasked(array, what: str = "the array"):
    """An array of a subclass as a plain one: a matrix has another *, and what a mask hides would be taken.

    What is no array of NumPy's stays as it is. Raises ValueError where a mask hides something.
    """
    if type(array) is np.ndarray or not isinstance(array, np.ndarray):
        return array
    if isinstance(array, np.ma.MaskedArray) and (hidden := np.count_nonzero(np.ma.getmaskarray(array))):
        raise ValueError(
            f"{what} has a mask that hides {counted(hidden, 'number')}, which would be taken as they are: "
            "take them out, or give array.filled(...)"
        )
    return np.asarray(array)


def is_setting(value) -> bool:
    """Is this a number (True is one), a text, or a tuple of such?"""
    return all(map(is_setting, value)) if isinstance(value, tuple) else isinstance(value, (int, float, str))
