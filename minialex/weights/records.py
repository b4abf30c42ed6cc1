"""Records: what a program wrote as JSON and reads again. Read with limits, and compared with what is wanted.

What is wanted is written down as data, and `check` names the first part that is another:

    a Kind             whole(), number(), TEXT, FLAG, ANYTHING
    {name: wanted}     a dict that has these names at least
    [wanted]           a list of such
    Maybe(wanted)      the same, or null; in a dict it may be missing, too
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minialex.weights.reading import MEBI, shown

MOST_CHARACTERS = 32 * MEBI  # of a record
MOST_VALUES = 1_000_000  # in a record: 100,000 epochs of a history
MOST_DEPTH = 32  # lists and dicts in each other


def parse(text: str | bytes) -> Any:
    """What JSON says. Raises ValueError where it is none, or has more than the limits above.

    >>> parse('{"lr": 0.1}')
    {'lr': 0.1}
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters; the most is {MOST_CHARACTERS:,}")
    signs = b",[{" if isinstance(text, bytes) else ",[{"
    values = sum(text.count(signs[i : i + 1]) for i in range(3))
    if values > MOST_VALUES:
        raise ValueError(f"it has up to {values:,} values; the most is {MOST_VALUES:,}")
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError:
        value = None
    else:
        level, depth = [value], 0
        while level and depth < MOST_DEPTH:
            level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _inside(outer)]
            depth += 1
        if not level:
            return value
    raise ValueError(f"it is nested too deep; the most is {MOST_DEPTH} lists and dicts in each other")


def _inside(value):
    return value.values() if isinstance(value, dict) else value


def _without_repeats(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a name twice")
    return found


# ---- what is wanted --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What a value should be: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Maybe:
    """It may be missing, or null."""

    wanted: Any


def whole(least: int = 0, most: int = 2**63) -> Kind:
    """A whole number from least to most."""
    words = f"a whole number >= {least}" + (f" and <= {most}" if most < 2**63 else "")
    return Kind(words, lambda value: type(value) is int and least <= value <= most)


def number(least: float = -1e300, most: float = 1e300) -> Kind:
    """A finite number from least to most."""
    words = (
        "a number"
        + (f" >= {least:g}" if least > -1e300 else "")
        + (f" and <= {most:g}" if most < 1e300 else "")
    )
    return Kind(words, lambda value: type(value) in (int, float) and least <= value <= most)


TEXT = Kind("a text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
RECORD = Kind("a dict of values by name", lambda value: isinstance(value, dict))
NUMBERS = Kind(
    "a number, or a list of numbers",
    lambda value: all(type(n) in (int, float) for n in (value if isinstance(value, list) else [value])),
)
CELL = Kind("a number or null", lambda value: value is None or type(value) in (int, float))  # NaN, too
COUNTS = Kind(
    "whole numbers >= 0 by name",
    lambda value: isinstance(value, dict) and all(type(n) is int and n >= 0 for n in value.values()),
)
ANYTHING = Kind("anything", lambda value: True)


def like(example: Any) -> Any:
    """What is wanted of values that are like these: of the same kind, numbers not negative where they are whole.

    None: perhaps missing, else a number or some. An empty list: a list of anything.

    >>> check({"epoch": -1}, like({"epoch": 3}), "progress")
    Traceback (most recent call last):
    ValueError: progress.epoch should be a whole number >= 0, not -1
    """
    match example:
        case None:
            return Maybe(NUMBERS)
        case bool():
            return FLAG
        case int():
            return whole()
        case float():
            return number()
        case str():
            return TEXT
        case dict():
            return {name: like(value) for name, value in example.items()}
        case list() | tuple():
            return [like(example[0]) if example else ANYTHING]
    raise TypeError(f"nothing in JSON is like {example!r}")


def partly(wanted: dict) -> dict:
    """The same, of which any part may be missing."""
    return {name: part if isinstance(part, Maybe) else _Missing(part) for name, part in wanted.items()}


@dataclass(frozen=True)
class _Missing:
    """It may be missing, but is never null."""

    wanted: Any


def check(value: Any, wanted: Any, name: str) -> None:
    """Raise ValueError, naming the part, where a value is not what is wanted. What a dict has besides is left alone."""
    match wanted:
        case Maybe(inner):
            if value is not None:
                check(value, inner, name)
        case _Missing(inner):
            check(value, inner, name)
        case Kind():
            if not wanted.fits(value):
                raise ValueError(f"{name} should be {wanted.words}, not {shown(value)}")
        case dict():
            check(value, RECORD, name)
            for key, part in wanted.items():
                if key in value:
                    check(value[key], part, key if name == "it" else f"{name}.{key}")
                elif not isinstance(part, (Maybe, _Missing)):
                    raise ValueError(f"{name} has no {key}")
        case [part]:
            check(value, Kind("a list", lambda value: isinstance(value, list)), name)
            for at, item in enumerate(value):
                check(item, part, f"{name}[{at}]")
