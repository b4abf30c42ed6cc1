"""A wrong answer that does the same as a planted one: then its mistake has a name. Looked for array by array."""

import inspect

import numpy as np

from minialex.check.call import Call, call
from minialex.check.planted.registry import RIGHT, WRONG, adapted

SAME, APART = 1e-4, 1e-3  # of an array's largest number: what float32 rounds, and ten times as much


def outcome(done: Call, names) -> dict | None:
    """What a call gave, by name, and under "input x" what it left of its inputs: copies, in float64.

    None where it raised; None for an array that is not there, or is none.
    """
    if done.error is not None:
        return None
    result = (done.result,) if len(names) == 1 else done.result
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        result = (None,) * len(names)
    left = {f"input {name}": x for name, x in done.given.items() if isinstance(x, np.ndarray)}
    return {name: _numbers(x) for name, x in {**dict(zip(names, result, strict=True)), **left}.items()}


def _numbers(x):
    if isinstance(x, (np.ndarray, np.generic, float, int)) and np.asarray(x).dtype.kind in "biuf":
        return np.array(x, np.float64)
    return None


def known_mistakes(check: str, names, seen, wrong) -> dict[str, str]:
    """For each place that is wrong: `"its name": what it is`, of the planted answer that gives the same there.

    names: the arrays. seen: (case, outcome) of some calls; wrong: arrays, "input x" or "the call". A planted answer
    must do the same in all these cases, and differ from the right answer in at least one. What equals none is left
    out; of several, each place gets the one that explains most places.
    """
    right, found = {}, {}
    for bug, f in WRONG.get(check, {}).items():
        for where in _explained(adapted(check, f), adapted(check, RIGHT[check]), names, seen, wrong, right):
            found.setdefault(where, []).append(bug)
    explains = {bug: sum(bug in bugs for bugs in found.values()) for bug in WRONG.get(check, {})}
    said = {bug: f'"{bug}": {inspect.getdoc(f).splitlines()[0]}' for bug, f in WRONG.get(check, {}).items()}
    return {where: said[max(bugs, key=explains.get)] for where, bugs in found.items()}


def _explained(f, right_answer, names, seen, wrong, right) -> set[str]:
    """The places where f does in all cases what the learner's function did; right: what is right, as far as known."""
    left, apart, skipped = set(wrong), set(), 0
    for number, (case, yours) in enumerate(seen):
        if not left:
            break
        theirs = outcome(call(f, case), names)
        if number not in right:
            right[number] = outcome(call(right_answer, case), names)
        if yours is None or theirs is None:
            if yours is not theirs:
                left -= {"the call"} if theirs is not None else set(wrong)
                skipped += (
                    theirs is not None
                )  # a call that raised for a reason of its own says nothing of the arrays
            apart |= {"the call"} & left
            continue
        for where in [*left]:
            places = names if where == "the call" else [where]
            if not all(_alike(yours[place], theirs[place], SAME) for place in places):
                left.discard(where)
            elif not all(_alike(theirs[place], right[number][place], APART) for place in places):
                apart.add(where)
    return left & apart if 2 * skipped <= len(seen) else set()


def _alike(some, others, share):
    """The same numbers, but for a share of the largest."""
    if some is None or others is None or some.shape != others.shape:
        return False
    largest = np.abs(others[np.isfinite(others)]).max(initial=1e-12)
    return np.allclose(some, others, rtol=0, atol=share * largest, equal_nan=True)
