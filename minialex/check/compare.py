"""What a function returned against what is right: a finding for each array."""

import numpy as np

from minialex.check.verdict import NOT_WRITTEN, RIGHT, WRONG, Finding
from minialex.words import counted

TOLERANCE = {
    "float64": 1e-9,
    "float32": 1e-5,
}  # relative to the magnitudes that are added up for an array, at most


def by_magnitudes(arrays, expected):
    """A judge for what multiplies and adds up: the same sums with each number as large as the largest of its array."""

    def largest(x):
        return np.full_like(x, np.abs(x).max(initial=0)) if isinstance(x, np.ndarray) else x

    def size(**case):
        right = expected(**{name: largest(x) for name, x in case.items()})
        return tuple(
            np.abs(array).max(initial=0.0) for array in (right if isinstance(right, tuple) else (right,))
        )

    return compared(arrays, expected, size)


def by_entries(arrays, expected, added=""):
    """A judge for what only chooses numbers, copies them, or adds up few: each of them is judged by itself.

    A number may differ by a small share of what was added up for it: 0 must be 0 where nothing was. added: the names
    of the inputs whose numbers are added up; with none, each is one of the inputs, perhaps times a factor.
    """

    def size(**case):
        right = expected(**{name: np.abs(x) if name in added.split() else x for name, x in case.items()})
        return tuple(np.abs(array) for array in (right if isinstance(right, tuple) else (right,)))

    return compared(arrays, expected, size)


def compared(arrays, expected, size=None):
    """A judge: the arrays that a function returned against what `expected(**case)` returns.

    size(**case): the largest magnitude that is added up for an array (or an array: that of each number), or a tuple
    with one for each; numbers may differ by a small share of it. Left out: the largest that is expected, 1 at least.
    """
    names = arrays.split()

    def judge(result, case):
        known = getattr(case, "known", {})  # see search.Case
        if arrays not in known:
            right = expected(**case)
            known[arrays] = right if isinstance(right, tuple) else (right,)
        right = known[arrays]
        if result is None or result is Ellipsis:
            result = (None,) * len(names)
        elif len(names) == 1:
            result = (result,)
        elif not isinstance(result, (tuple, list)):
            text = f"one {type(result).__name__}, where a tuple of {len(names)} is wanted: {', '.join(names)}"
            return [Finding("the call", "wrong type", text)]
        if len(result) != len(names):
            text = f"{len(result)}, where {len(names)} are wanted: {', '.join(names)}"
            return [Finding("the call", "wrong number of arrays", text)]

        def sizes():
            if (arrays, "sizes") not in known:
                largest = (max(1.0, np.abs(array).max(initial=0.0)) for array in right)
                found = size(**case) if size else tuple(largest)
                known[arrays, "sizes"] = found if isinstance(found, tuple) else (found,)
            return known[arrays, "sizes"]

        found = enumerate(zip(names, result, right, strict=True))
        return [compare(*three, lambda number=number: sizes()[number]) for number, three in found]

    return judge


def compare(name, yours, expected, size) -> Finding:
    """One array against the right one: type, shape, nan, then the numbers; size(): as for `compared`."""
    expected = np.array(expected)
    if yours is None or yours is Ellipsis:
        return Finding(name, NOT_WRITTEN)
    numbers = (float, np.floating) if expected.ndim == 0 else ()
    if not isinstance(yours, (np.ndarray, *numbers)):
        kind = f"type {type(yours).__name__}"
        wanted = "a number with a fraction (float)" if expected.ndim == 0 else "a NumPy array"
        if expected.ndim and isinstance(yours, (int, float, np.number, np.bool_)):
            kind, wanted = "one number", f"shape {expected.shape}"
        return Finding(name, "wrong type", f"{kind}, where {wanted} is wanted")
    yours = np.asarray(yours).copy()
    if yours.dtype.name not in TOLERANCE:
        return Finding(
            name, "wrong type", f"{yours.dtype}, where float64 is wanted (float32 will do)", yours, expected
        )
    if yours.shape != expected.shape:
        text = f"{yours.shape}, not {expected.shape}"
        if () in (yours.shape, expected.shape):
            shapes = [f"shape {array.shape}" if array.ndim else "one number" for array in (yours, expected)]
            text = f"{shapes[0]}, where {shapes[1]} is wanted"
        return Finding(name, "wrong shape", text, yours, expected)
    finite = np.isfinite(yours)
    if not finite.all():
        at = first_of(~finite)
        among = counted(yours.size, "number is", "numbers are")
        text = f"{(~finite).sum()} of {among} nan or inf, the first{place(at)}: {yours[at]}"
        text = text if yours.ndim else f"{yours[()]}, not {expected[()]:.6g}"
        return Finding(name, "nan", text, yours, expected, cells=~finite)
    tolerance, difference = TOLERANCE[yours.dtype.name], np.abs(yours - expected)
    if (difference <= tolerance * 1e-3 * np.abs(expected)).all():  # nearly always; quickly done
        return Finding(name, RIGHT)
    tolerance = tolerance * size()
    if (difference <= tolerance).all():
        return Finding(name, RIGHT)
    at = np.unravel_index(difference.argmax(), difference.shape)
    text = told_apart(yours[at], expected[at])
    if yours.ndim:
        text = f"{(difference > tolerance).sum()} of {counted(yours.size, 'number')}, the worst{place(at)}: {text}"
    return Finding(name, WRONG, text, yours, expected, cells=difference > tolerance)


def told_apart(yours, expected) -> str:
    """Both numbers, with so many digits that they differ: at least six."""
    texts = (f"{yours:.{digits}g}, not {expected:.{digits}g}" for digits in (6, 9, 12, 17))
    return next(
        (text for text in texts if len(set(text.split(", not "))) > 1), f"{yours!r}, not {expected!r}"
    )


def first_of(mask):
    return tuple(np.argwhere(mask)[0]) if mask.ndim else ()


def place(index) -> str:
    return f" at {[int(i) for i in index]}" if index else ""
