"""Verdicts: is a claim seen here, by rules that were written down before anything was run?

Differences are taken seed by seed, so that what both arms share (weights, the order of the pictures) cancels.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
SMALL_P = 0.05 + 1e-12  # so much is small; rounding must not decide
EXACT = 20  # seeds up to which each of the 2^n ways to flip signs is counted
DRAWN = 99_999  # ways otherwise
MOST_CENSORED = 0.2  # of the runs of an arm, before the size of a ratio is not told any more
HOLDS, NOT, UNTOLD = "holds", "does not hold", "cannot be told from this"


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval by Student's t, over n values."""

    mean: float
    low: float
    high: float
    n: int
    sd: float


def student_t(n: Any) -> Any:
    """How many standard errors the 95 % interval of n values reaches to each side; n may be an array.

    >>> round(float(student_t(10)), 3)
    2.262
    """
    try:
        from scipy import stats
    except ImportError:
        raise RuntimeError("Student's t is SciPy's: pip install scipy") from None
    return stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)


def t_interval(values) -> Interval:
    """mean +- t(0.975, n - 1) * sd / sqrt(n)

    Raises ValueError for fewer than 2 values, or one that is not finite.

    >>> found = t_interval([1.0, 2.0, 3.0])
    >>> round(found.mean, 2), round(found.low, 2), round(found.high, 2)
    (2.0, -0.48, 4.48)
    """
    values = np.asarray(values, float)
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"an interval needs at least 2 finite values, not {values.tolist()}")
    n, mean, sd = len(values), values.mean(), values.std(ddof=1)
    half = float(student_t(n) * sd / math.sqrt(n))
    return Interval(float(mean), float(mean) - half, float(mean) + half, n, float(sd))


def sign_flip(values) -> float:
    """p: in how large a share of the ways to flip the values' signs their mean is as far from 0, either way.

    All 2^n ways up to 20 values, so that 10 of one sign give 2 / 1024; 99,999 drawn ones (seed 0) beyond.
    Raises ValueError for a value that is not finite: no sum would be as far as it, and p would be 0.

    >>> sign_flip([1.0, 2.0, 3.0]), sign_flip([1.0] * 10)
    (0.25, 0.001953125)
    """
    values = np.asarray(values, float)
    n = len(values)
    if not np.isfinite(values).all():
        raise ValueError(f"signs are flipped of finite values, not of {values.tolist()}")
    if n <= EXACT:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
    else:
        sums = np.random.default_rng(0).choice([-1.0, 1.0], (DRAWN, n)) @ values
    least = abs(values.sum()) - 1e-9 * np.abs(values).sum()  # equal sums may be rounded in another way
    as_far = int((np.abs(sums) >= least).sum())
    return as_far / 2**n if n <= EXACT else (1 + as_far) / (1 + DRAWN)


def holm(p_values) -> list[float]:
    """Each p, raised for all that are tested beside it (Holm 1979): the smallest of m times m, the next m - 1, ...

    A p that is not known yet is given as 1, which makes no other one larger than it will be.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    raised, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        raised[place] = largest
    return raised


def of_difference(values, delta: float, p_raised: float) -> tuple[Interval, str]:
    """Of how much better an arm was, seed by seed; delta: the least that is of interest.

    holds: the interval lies above 0, its mean is at least delta, and the raised p of the sign flips is at most 0.05.
    does not hold: the interval lies below delta. Else it cannot be told.
    """
    found = t_interval(values)
    if found.low > 0 and found.mean >= delta and p_raised <= SMALL_P:
        return found, HOLDS
    return found, NOT if found.high < delta else UNTOLD


def of_ratio(logs, delta: float, p_raised: float, never: tuple[float, float]) -> tuple[Interval, str]:
    """Is a ratio, whose logs these are, above 1, and at least delta? As of_difference, on the log scale.

    never: the shares of runs that never arrived, of the quick arm and of the slow one; they stand at the end of their
    time. The true ratio of a slow one is larger than what is counted, of a quick one smaller. So with more than a fifth
    of the slow ones it is not told that the claim does not hold, and with so many of the quick ones not that it holds.
    """
    found, verdict = of_difference(logs, math.log(delta), p_raised)
    quick, slow = (share > MOST_CENSORED for share in never)
    return found, UNTOLD if (verdict == HOLDS and quick) or (verdict == NOT and slow) else verdict


def of_level(values, level: float, margin: float) -> tuple[Interval, str]:
    """Does an outcome lie at a level, give or take a margin?

    holds: the interval lies inside. does not hold: it lies outside. Else it cannot be told.
    """
    found = t_interval(values)
    if level - margin <= found.low and found.high <= level + margin:
        return found, HOLDS
    outside = found.high < level - margin or found.low > level + margin
    return found, NOT if outside else UNTOLD


def of_size(logs, claimed: float, within: float, censored: float) -> str:
    """Is a ratio, whose logs these are, the one that was claimed, give or take a factor?

    censored: the share of runs, of the arm that has most, that never arrived, and stand at the end of their time.
    """
    if censored > MOST_CENSORED:
        return UNTOLD
    return of_level(logs, math.log(claimed), math.log(within))[1]


def to_go(mean: float, delta: float) -> float:
    """How far an interval around a difference's mean may reach before it is not told any more.

    >>> to_go(mean=0.5, delta=0.4), round(to_go(mean=0.3, delta=0.4), 3)      # down to 0; up to delta
    (0.5, 0.1)
    """
    return mean if mean >= delta else delta - mean


def to_edge(mean: float, level: float, margin: float) -> float:
    """The same of a level: from the mean to where the margin ends.

    >>> round(to_edge(mean=0.09, level=0.0, margin=0.1), 3)
    0.01
    """
    return abs(margin - abs(mean - level))


def seeds_needed(sd: float, reach: float, most: int = 10_000) -> int | None:
    """How many seeds until the interval reaches no further than so far, to each side, if the spread stays.

    None: more than `most`.

    >>> seeds_needed(sd=1.0, reach=0.5)
    18
    """
    n = np.arange(2, most + 1)
    half = student_t(n) * sd / np.sqrt(n)
    enough = half <= reach
    return int(n[enough.argmax()]) if enough.any() else None
