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
    if isinstance(compared, Level | Within):
        than = compared.than if isinstance(compared, Within) else None
        found = [[outcome_of(sides[0][seed], name) for name in (compared.outcome, than)] for seed in seeds]
        return [value - (other if than else 0.0) for value, other in found]
    pairs = [
        [at_most(arms[name], rows[name][seed], compared.outcome) for name in compared.arms] for seed in seeds
    ]
    if isinstance(compared, Ratio):
        return [math.log(slow / fast) for fast, slow in pairs]
    return [(better - than) * (1 if compared.more else -1) for better, than in pairs]


def at_most(arm: Arm, row: dict, outcome: str) -> float:
    """An outcome; of a run that never arrived, the end of its time. See verdicts.of_ratio for what is made of that."""
    value = outcome_of(row, outcome)
    return float(arm.epochs) if outcome.startswith("epochs_to") and math.isnan(value) else value


def outcome_of(row: dict, outcome: str) -> float:
    """nan where a run that ran away has nothing to measure."""
    return row.get(outcome, math.nan)


def censored(compared, rows: Rows) -> dict[str, int]:
    """How many runs of each arm never arrived."""
    if not compared.outcome.startswith("epochs_to"):
        return {}
    return {
        name: sum(math.isnan(outcome_of(row, compared.outcome)) for row in rows[name].values())
        for name in compared.arms
    }


def check_fits(p: Protocol, compared) -> None:
    """Raise ValueError where a protocol does not say the numbers by which the primary comparison is judged, or others.

    It is asked before anything runs: a verdict that fails after hours is too late.
    """
    needed = {"ratio": ("delta", "claimed", "within"), "difference": ("delta",)}.get(
        compared.kind, ("margin",)
    )
    least = 1 if compared.kind == "ratio" else 0  # a ratio of 1 is no difference
    for name in ("delta", "margin", "claimed", "within"):
        value = getattr(p, name)
        if name in needed and value <= least:
            raise ValueError(
                f"the protocol of {p.name} needs a {name} above {least}: it is about a {compared.kind}"
            )
        if name not in needed and value:
            raise ValueError(
                f"the protocol of {p.name} is about a {compared.kind}, and has no {name}, not {value}"
            )


def judged(compared, rows: Rows, arms: dict[str, Arm], p: Protocol, beside: int | None = None) -> dict:
    """mean, low, high, n, p and, where `beside` is given, the verdict: of the primary comparison alone.

    would_take: so many seeds, if mean and spread stayed as they are.

    beside: how many are tested, this one among them. Its p is raised as if those were not known yet, which is by Holm's
    rule the most that it will be.
    Where a run ran away and its outcome is no number, none of them is told: to leave it out would be to choose.
    """
    values = values_of(compared, rows, arms)
    named = {"compared": name_of(compared), "unit": unit_of(compared)}
    if not all(map(math.isfinite, values)):
        unknown = dict.fromkeys(("mean", "low", "high", "sd", "p"))
        said = {**named, **unknown, "n": len(values)}
        return said if beside is None else said | {"verdict": verdicts.UNTOLD, "p_raised": 1.0}
    found = verdicts.t_interval(values)
    said = {**named, **asdict(found)}
    if isinstance(compared, Ratio):
        said |= {name: math.exp(said[name]) for name in ("mean", "low", "high")}
        said["censored"] = censored(compared, rows)
    if not isinstance(compared, Level):
        said["p"] = verdicts.sign_flip(values)
    if beside is None:
        return said
    p_raised = verdicts.holm([said.get("p", 1.0)] + [1.0] * (beside - 1))[0]
    if isinstance(compared, Level | Same):
        level, margin = (p.level, p.margin) if isinstance(compared, Level) else (0.0, p.margin)
        _, said["verdict"] = verdicts.of_level(values, level, margin)
        reach = verdicts.to_edge(found.mean, level, margin)
    elif isinstance(compared, Ratio):
        never = tuple(number / len(values) for number in said["censored"].values())
        _, said["verdict"] = verdicts.of_ratio(values, p.delta, p_raised, never)
        said["size"] = verdicts.of_size(values, p.claimed, p.within, max(never))
        reach = verdicts.to_go(found.mean, math.log(p.delta))
        if said["verdict"] != verdicts.UNTOLD:
            reach = verdicts.to_edge(
                found.mean, math.log(p.claimed), math.log(p.within)
            )  # the size may be untold
    else:
        _, said["verdict"] = verdicts.of_difference(values, p.delta, p_raised)
        reach = verdicts.to_go(found.mean, p.delta)
    more = verdicts.seeds_needed(found.sd, reach)
    least = math.log(p.delta) if isinstance(compared, Ratio) else p.delta
    if (
        said["verdict"] == verdicts.UNTOLD and more is not None and more <= found.n
    ):  # no interval is what it lacks
        by_p = found.low > 0 and found.mean >= least and p_raised > verdicts.SMALL_P
        # Each seed more of that sign halves a p; where runs never arrived, no seed helps.
        more = found.n + math.ceil(math.log2(beside * said["p"] / verdicts.SMALL_P)) if by_p else None
    return said | {"p_raised": p_raised, "would_take": more}


def name_of(compared) -> str:
    """The outcome, and what is taken from what, or divided by it.

    >>> print(name_of(Difference("dropout", than="none")), name_of(Ratio("ReLU", than="tanh")), sep="; ")
    test_error: "none" - "dropout"; epochs_to: "tanh" / "ReLU"
    """
    if isinstance(compared, Level):
        return f'{compared.outcome}: "{compared.arm}"'
    if isinstance(compared, Within):
        return f'"{compared.arm}": {compared.outcome} - {compared.than}'
    sign = "/" if isinstance(compared, Ratio) else "-"
    first, second = (compared.better, compared.than) if compared.more else (compared.than, compared.better)
    return f'{compared.outcome}: "{first}" {sign} "{second}"'


def unit_of(compared) -> str:
    """Of what name_of names; a loss has none.

    >>> unit_of(Difference("dropout", than="none")), unit_of(Ratio("ReLU", than="tanh")), unit_of(Level("LeNet-5"))
    ('points', 'times', '%')
    """
    if isinstance(compared, Ratio):
        return "times"
    if compared.outcome.startswith("seconds"):
        return "s"
    if isinstance(compared, Level) and compared.outcome.endswith("error"):
        return "%"
    percents = ("test_error", "train_error", "gap", "late_gain", "precision")
    return "points" if compared.outcome.startswith(percents) else ""


def is_of_test_errors(compared) -> bool:
    """Of two arms: then it can be asked at equal seconds, too."""
    is_difference = isinstance(compared, Difference) and not isinstance(compared, Ratio)
    return is_difference and compared.outcome == "test_error"


def equal_seconds(
    compared, curves: dict[str, dict[int, list[dict]]], paces: dict[str, float] | None = None
) -> dict | None:
    """The same comparison of test errors when the slower arm's time is cut to the quicker one's, run by run.

    paces: seconds of an epoch of each arm; left out, the curves' own seconds hold, which can be compared only where all
    runs were made on one machine. Between two epochs lies a straight line. None where the comparison is of something
    else.
    """
    if not is_of_test_errors(compared):
        return None
    better, than = (
        {seed: paced(curve, paces[name]) if paces else curve for seed, curve in curves[name].items()}
        for name in compared.arms
    )
    values = []
    for seed in sorted(set(better) & set(than)):
        time = min(curve[-1]["seconds"] for curve in (better[seed], than[seed]))
        first, second = (error_at(curve, time) for curve in (better[seed], than[seed]))
        values.append(second - first)
    found = verdicts.t_interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def paced(curve: list[dict], pace: float) -> list[dict]:
    """As if each epoch had taken so many seconds."""
    return [{**row, "seconds": row["epoch"] * pace} for row in curve]


def error_at(curve: list[dict], seconds: float) -> float:
    times, errors = ([row[name] for row in curve] for name in ("seconds", "test_error"))
    return float(np.interp(seconds, times, errors))
