"""A wrong answer that does the same as a planted one: then its mistake has a name."""

import numpy as np

from minialex.check.planted.registry import RIGHT, WRONG, adapted


def known_mistake(check: str, f, cases, copies_of) -> str:
    """`"its name": what is wrong`, of the planted answer that gives what f gives in all these cases; "" if none does.

    copies_of(case) -> its inputs by name, copied. One of the cases at least shows f to be wrong.
    """
    right, yours = adapted(check, RIGHT[check]), [_outcome(copies_of, f, case) for case in cases]
    for bug, wrong in WRONG[check].items():
        told_apart = False
        for case, mine in zip(cases, yours, strict=True):
            theirs = _outcome(copies_of, adapted(check, wrong), case)
            if not _alike(mine, theirs):
                break
            told_apart |= not _alike(theirs, _outcome(copies_of, right, case))
        else:
            if told_apart:
                return f'"{bug}": {wrong.__doc__.splitlines()[0]}'
    return ""


def _outcome(copies_of, f, case):
    """All arrays that a call returns, and its inputs as it leaves them, in float64; None where it raises."""
    given = copies_of(case)
    try:
        result = f(*given.values())
        result = result if isinstance(result, (tuple, list)) else (result,)
        left = [array for array in given.values() if isinstance(array, np.ndarray)]
        return [np.asarray(array, np.float64) for array in (*result, *left)]
    except Exception:
        return None


def _alike(some, others):
    """The same numbers, but for what float32 rounds."""
    if some is None or others is None:
        return some is others
    if [array.shape for array in some] != [array.shape for array in others]:
        return False
    largest = [np.abs(array).max(initial=1e-12) for array in others]
    return all(
        np.allclose(a, b, rtol=0, atol=1e-4 * size, equal_nan=True)
        for a, b, size in zip(some, others, largest, strict=True)
    )
