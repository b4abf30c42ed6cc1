"""What `check.catches` hands to a learner's test, and what a test that failed had compared."""

import ast
import copy
import functools
import inspect
import linecache
import textwrap
import traceback
from contextlib import suppress
from pathlib import Path

import numpy as np

from minialex.check.call import quietly
from minialex.check.show import lines, side_by_side

KEPT_WHOLE = {"labels"}  # they are places, not numbers
COMPARE = "allclose isclose array_equal array_equiv assert_allclose assert_array_equal assert_equal".split()
COMPARE += ["assert_array_almost_equal", "assert_almost_equal"]
SMALL = 40  # numbers of an array that is shown


def with_floats(function, seen: list | None = None):
    """The function, which takes arrays of whole numbers as well: worked on paper, x is [[1, 2]] and no [[1., 2.]].

    They become float64; what it writes into them is written into the caller's. seen: results are appended to it.
    """
    names = [*inspect.signature(function).parameters]

    @functools.wraps(function)
    def call(*args, **kwargs):
        taken = [as_float(name, x) for name, x in zip([*names, *[""] * len(args)], args, strict=False)]
        named = {name: as_float(name, x) for name, x in kwargs.items()}
        result = function(*taken, **named)
        for given, used in [
            *zip(args, taken, strict=True),
            *zip(kwargs.values(), named.values(), strict=True),
        ]:
            if used is not given and not np.array_equal(used, given):
                given[...] = used
        if seen is not None:
            seen.append((function.__name__, copy.deepcopy(result)))
        return result

    return call


def as_float(name: str, x):
    """An array of whole numbers in float64, but for what is named in KEPT_WHOLE; all else as it is."""
    whole = isinstance(x, np.ndarray) and x.dtype.kind in "iu" and name not in KEPT_WHOLE
    return x.astype(np.float64) if whole else x


def where_it_failed(error: AssertionError) -> tuple[str, list[str]]:
    """Of a failed assert: its line, and what it compared, side by side: as far as they can be had."""
    text = str(error)
    if hasattr(error, "in_words"):  # it was raised in another process, and put into words there
        message, _, place = error.in_words.removeprefix("AssertionError").strip(":; \n").rpartition("; ")
        if "\n" in message:  # as np.testing has it
            return place, _written(message)
        return f"{message}; {place}" if message else place, []
    frames = [*traceback.walk_tb(error.__traceback__)]
    while frames and Path(frames[0][0].f_code.co_filename).parent == Path(__file__).parent:
        del frames[0]  # ours
    if not frames:
        return text, []
    code = frames[0][0].f_code
    frame, number = [pair for pair in frames if pair[0].f_code.co_filename == code.co_filename][-1]
    source = _statement(frame, number)
    said = f"{frame.f_code.co_name}, line {number}" + (f": {' '.join(source.split())}" if source else "")
    compared = _compared(source, frame)
    return said, compared or _written(text)


def _written(message: str) -> list[str]:
    """The first lines of what an assert says."""
    return [line for line in message.splitlines() if line.strip()][:12]


def _statement(frame, number: int) -> str:
    """The lines of the statement at this line of a frame's file; "" where they are not known."""
    found = linecache.getlines(frame.f_code.co_filename, frame.f_globals)[number - 1 :]
    for count in range(1, min(len(found), 12) + 1):
        text = textwrap.dedent("".join(found[:count])).strip()
        with suppress(SyntaxError):
            ast.parse(text)
            return text
    return found[0].strip() if found else ""


def _compared(source: str, frame) -> list[str]:
    """Both sides of the first comparison in the statement that does not hold, computed again; of small arrays."""
    with suppress(SyntaxError):
        for left, right in _pairs(ast.parse(source)):
            with quietly(), suppress(Exception):
                sides = {ast.unparse(side): _value(side, frame) for side in (left, right)}
                first, second = sides.values()
                if first.shape == second.shape and np.allclose(first, second):
                    continue
                if max(first.size, second.size) <= SMALL:
                    return side_by_side({_titled(*side): lines(side[1]) for side in sides.items()})
    return []


def _pairs(tree):
    """The two sides of each comparison: of a == b, and of np.allclose(a, b) and its like."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
            yield node.left, node.comparators[0]
        elif isinstance(node, ast.Call) and len(node.args) >= 2:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in COMPARE:
                yield node.args[0], node.args[1]


def _value(side, frame):
    code = compile(ast.fix_missing_locations(ast.Expression(side)), "<compared>", "eval")
    return np.asarray(eval(code, frame.f_globals, frame.f_locals), float)


def _titled(name, array) -> str:
    name = name if len(name) <= 40 else name[:37] + "..."
    return f"{name} {array.shape}" if array.ndim else name


def what_it_gave(seen) -> list[str]:
    """What each of the right answers returned to a test, at its first call; of small arrays."""
    found, names = [], set()
    for name, result in seen:
        arrays = [np.asarray(array) for array in (result if isinstance(result, tuple) else (result,))]
        if name in names or sum(array.size for array in arrays) > SMALL:
            continue
        names.add(name)
        found.append(f"{name}, the right one, gave your test at first:")
        for array in arrays:
            found += [f"  {line}" for line in [f"shape {array.shape}", *lines(array)][not array.ndim :]]
    return found
