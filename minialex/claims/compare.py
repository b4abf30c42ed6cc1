"""From the rows of runs to a verdict: what is compared, seed by seed, and what the protocol makes of it."""

import math
from dataclasses import asdict

import numpy as np

from minialex.claims import verdicts
from minialex.claims.arm import Arm, Difference, Level, Ratio, Same, Within
from minialex.claims.protocol import Protocol

Rows = dict[str, dict[int, dict]]  # by arm, by seed


def values_of(compared, rows: Rows, arms: dict[str, Arm]) -> list[float]:
    """A number for each seed that all its arms have: how much better, a ratio's logarithm, or the level."""
    sides = [rows[name] for name in compared.arms]
    seeds = sorted(set.intersection(*map(set, sides)))
    if isinstance(compared, Level):
        return [sides[0][seed][compared.outcome] for seed in seeds]
    if isinstance(compared, Within):
        return [sides[0][seed][compared.outcome] - sides[0][seed][compared.than] for seed in seeds]
    pairs = [
        [at_most(arms[name], rows[name][seed], compared.outcome) for name in compared.arms] for seed in seeds
    ]
    if isinstance(compared, Ratio):
        return [math.log(slow / fast) for fast, slow in pairs]
    return [(better - than) * (1 if compared.more else -1) for better, than in pairs]


def at_most(arm: Arm, row: dict, outcome: str) -> float:
    """An outcome; of a run that never arrived, the end of its time: the ratio becomes smaller by it, not larger."""
    value = row[outcome]
    return float(arm.epochs) if outcome.startswith("epochs_to") and math.isnan(value) else value


def censored(compared, rows: Rows) -> dict[str, int]:
    """How many runs of each arm never arrived."""
    if not compared.outcome.startswith("epochs_to"):
        return {}
    return {
        name: sum(math.isnan(row[compared.outcome]) for row in rows[name].values()) for name in compared.arms
    }


def judged(compared, rows: Rows, arms: dict[str, Arm], p: Protocol, p_raised: float | None = None) -> dict:
    """mean, low, high, n, p and, where p_raised is given, the verdict: of the primary comparison alone."""
    values = values_of(compared, rows, arms)
    found = verdicts.t_interval(values)
    said = {"compared": name_of(compared), **asdict(found)}
    if isinstance(compared, Ratio):
        said |= {name: math.exp(said[name]) for name in ("mean", "low", "high")}
        said["censored"] = censored(compared, rows)
    if not isinstance(compared, Level):
        said["p"] = verdicts.sign_flip(values)
    if p_raised is None:
        return said
    if isinstance(compared, Level | Same):
        level, margin = (p.level, p.margin) if isinstance(compared, Level) else (0.0, p.margin)
        _, said["verdict"] = verdicts.of_level(values, level, margin)
        said["would_take"] = verdicts.seeds_needed(found.sd, margin)
    elif isinstance(compared, Ratio):
        least = math.log(p.delta)
        _, said["verdict"] = verdicts.of_difference(values, least, p_raised)
        share = max(said["censored"].values()) / len(values)
        said["size"] = verdicts.of_size(values, p.claimed, p.within, share)
        said["would_take"] = verdicts.seeds_needed(found.sd, least)
    else:
        _, said["verdict"] = verdicts.of_difference(values, p.delta, p_raised)
        said["would_take"] = verdicts.seeds_needed(found.sd, p.delta)
    return said | {"p_raised": p_raised}


def name_of(compared) -> str:
    """In words: "test_error of none less dropout".

    >>> name_of(Difference("dropout", than="none")), name_of(Ratio("ReLU", than="tanh"))
    ('test_error: none - dropout', 'epochs_to: tanh / ReLU')
    """
    if isinstance(compared, Level):
        return f"{compared.outcome}: {compared.arm}"
    if isinstance(compared, Within):
        return f"{compared.arm}: {compared.outcome} - {compared.than}"
    sign = "/" if isinstance(compared, Ratio) else "-"
    first, second = (compared.better, compared.than) if compared.more else (compared.than, compared.better)
    return f"{compared.outcome}: {first} {sign} {second}"


def equal_seconds(compared, curves: dict[str, dict[int, list[dict]]]) -> dict | None:
    """The same comparison of test errors when the slower arm's time is cut to the quicker one's, run by run.

    Between two epochs lies a straight line. None where the comparison is of something else.
    """
    if (
        not isinstance(compared, Difference)
        or isinstance(compared, Ratio)
        or compared.outcome != "test_error"
    ):
        return None
    better, than = (curves[name] for name in compared.arms)
    values = []
    for seed in sorted(set(better) & set(than)):
        time = min(curve[-1]["seconds"] for curve in (better[seed], than[seed]))
        first, second = (error_at(curve, time) for curve in (better[seed], than[seed]))
        values.append(second - first)
    found = verdicts.t_interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def error_at(curve: list[dict], seconds: float) -> float:
    times, errors = ([row[name] for row in curve] for name in ("seconds", "test_error"))
    return float(np.interp(seconds, times, errors))
