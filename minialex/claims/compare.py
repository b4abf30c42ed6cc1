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
    """mean, low, high, n, p and, where `beside` is given, what `decided` gives: of the primary comparison alone.

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
    said = {**named, **asdict(verdicts.t_interval(values))}
    if isinstance(compared, Ratio):
        said |= {name: math.exp(said[name]) for name in ("mean", "low", "high")}
        said["censored"] = censored(compared, rows)
    if not isinstance(compared, Level):
        said["p"] = verdicts.sign_flip(values)
    if beside is None:
        return said
    said |= asked_for(compared, p)
    said["p_raised"] = verdicts.holm([said.get("p", 1.0)] + [1.0] * (beside - 1))[0]
    return said | decided(said, values, said["p_raised"], beside)


def asked_for(compared, p: Protocol) -> dict:
    """The numbers of a protocol that decide about such a comparison."""
    if isinstance(compared, Level | Same):
        return {"level": p.level if isinstance(compared, Level) else 0.0, "margin": p.margin}
    size = {"claimed": p.claimed, "within": p.within} if isinstance(compared, Ratio) else {}
    return {"delta": p.delta, **size}


def decided(said: dict, values: list[float], p_raised: float, beside: int) -> dict:
    """verdict; of a ratio its size as well; would_take: seeds for what is not told, if mean and spread stay as now.

    said: what `judged` says of these values, or a result that was read. would_take is None where no seed helps: where
    too many runs never arrived.
    """
    found = verdicts.t_interval(values)
    if said.get("margin"):
        level, margin = said["level"], said["margin"]
        verdict = verdicts.of_level(values, level, margin)[1]
        more = verdicts.seeds_needed(found.sd, verdicts.to_edge(found.mean, level, margin))
        at_the_end = verdict == verdicts.UNTOLD and more is not None and more <= found.n  # of the margin
        return {"verdict": verdict, "would_take": None if at_the_end else more}
    if "claimed" not in said:
        verdict = verdicts.of_difference(values, said["delta"], p_raised)[1]
        return {
            "verdict": verdict,
            "would_take": seeds_for(verdict, said, found, said["delta"], p_raised, beside),
        }
    quick, slow = (count / found.n for count in said["censored"].values())
    verdict = verdicts.of_ratio(values, said["delta"], p_raised, (quick, slow))[1]
    size = verdicts.of_size(values, said["claimed"], said["within"], max(quick, slow))
    delta, stands = math.log(said["delta"]), max(quick, slow)  # in the way of its size
    if verdict == verdicts.UNTOLD:
        stands = quick if found.mean >= delta else slow
        more = seeds_for(verdict, said, found, delta, p_raised, beside)
    else:
        edge = verdicts.to_edge(found.mean, math.log(said["claimed"]), math.log(said["within"]))
        more = verdicts.seeds_needed(found.sd, edge)
    return {"verdict": verdict, "size": size, "would_take": None if stands > verdicts.MOST_CENSORED else more}


def seeds_for(verdict: str, said: dict, found, delta: float, p_raised: float, beside: int) -> int | None:
    """Until a difference is told: its interval is too wide, or its p is too large."""
    more = verdicts.seeds_needed(found.sd, verdicts.to_go(found.mean, delta))
    if verdict != verdicts.UNTOLD or more is None or more > found.n:
        return more
    by_p = found.low > 0 and found.mean >= delta and p_raised > verdicts.SMALL_P
    # Each seed more of that sign halves a p.
    return found.n + math.ceil(math.log2(beside * said["p"] / verdicts.SMALL_P)) if by_p else None


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


def asks_for_seconds(compared) -> bool:
    """Of two arms' test errors, or of how soon they arrive: then it can be asked by the clock, too."""
    return isinstance(compared, Difference) and compared.outcome in ("test_error", "epochs_to")


def equal_seconds(
    compared, curves: dict[str, dict[int, list[dict]]], paces: dict[str, float] | None = None
) -> dict | None:
    """The same comparison of test errors when the slower arm's time is cut to the quicker one's, run by run.

    paces: seconds of an epoch of each arm; left out, the curves' own seconds hold, which can be compared only where all
    runs were made on one machine. Between two epochs lies a straight line; a run that ran away stays as it was then.
    None where the comparison is of something else.
    """
    if isinstance(compared, Ratio) or not asks_for_seconds(compared):
        return None
    better, than = (
        {seed: paced(curve, paces[name]) if paces else curve for seed, curve in curves[name].items()}
        for name in compared.arms
    )
    ends = [max(curve[-1]["seconds"] for curve in of_arm.values()) for of_arm in (better, than)]
    values = []
    for seed in sorted(set(better) & set(than)):
        time = min(ends) if paces else min(curve[-1]["seconds"] for curve in (better[seed], than[seed]))
        first, second = (error_at(curve, time) for curve in (better[seed], than[seed]))
        values.append(second - first)
    found = verdicts.t_interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def in_seconds(compared, said: dict, paces: dict[str, float] | None) -> dict | None:
    """A ratio of epochs as one of seconds: times the ratio of the arms' paces. None of something else."""
    if not paces or not isinstance(compared, Ratio) or said["mean"] is None:
        return None
    quick, slow = (paces[name] for name in compared.arms)
    return {name: said[name] * slow / quick for name in ("mean", "low", "high")} | {"n": said["n"]}


def paced(curve: list[dict], pace: float) -> list[dict]:
    """As if each epoch had taken so many seconds."""
    return [{**row, "seconds": row["epoch"] * pace} for row in curve]


def error_at(curve: list[dict], seconds: float) -> float:
    times, errors = ([row[name] for row in curve] for name in ("seconds", "test_error"))
    return float(np.interp(seconds, times, errors))
