"""The result of an experiment, as JSON and in one line; and all of them together, in a table."""

import math
import statistics
from datetime import date
from pathlib import Path

from minialex.claims import verdicts
from minialex.claims.arm import Experiment
from minialex.claims.compare import decided, equal_seconds, in_seconds, judged, values_of
from minialex.claims.measures import ran_away
from minialex.claims.protocol import PROTOCOL, Protocol
from minialex.claims.rates import at_the_edge
from minialex.claims.store import RESULT, Store
from minialex.errors import DataError
from minialex.study.benchmarks import hardware, table, versions, write_record
from minialex.weights.reading import read_at_most
from minialex.weights.records import (
    COUNTS,
    FLAG,
    MOST_CHARACTERS,
    TEXT,
    Kind,
    Maybe,
    check,
    number,
    parse,
    whole,
)
from minialex.words import counted

NOT_YET = "not told before all runs are there"
PERHAPS = Maybe(number())
SUMS = Kind(
    "texts by name", lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
)
PACES = Kind(
    "seconds by name",
    lambda value: isinstance(value, dict) and all(type(s) in (int, float) and s > 0 for s in value.values()),
)
# What of a result is read again.
AS_RESULT = {
    "name": TEXT, "protocol": TEXT, "verdict": TEXT, "finished": FLAG, "runs": whole(), "of": whole(),
    "minutes": number(), "would_take": PERHAPS,
    **dict.fromkeys(
        ("n", "mean", "low", "high", "delta", "p", "p_raised", "level", "margin", "claimed", "within"), PERHAPS
    ),
    **dict.fromkeys(("at_the_edge", "primary"), Maybe([TEXT])), "ran_away": Maybe(COUNTS),
    "values": Maybe([PERHAPS]), "censored": Maybe(COUNTS), "size": Maybe(TEXT), "compared": Maybe(TEXT),
    "unit": Maybe(TEXT), "pictures": Maybe(SUMS), "seconds_an_epoch": Maybe(PACES),
}  # fmt: skip


def result_of(
    p: Protocol,
    experiment: Experiment,
    store: Store,
    seeds: int,
    command: str,
    quick: bool,
    beside: int = 1,
    paces: dict[str, float] | None = None,
) -> dict:
    """What there is. The verdict, and any mean, only once every seed of every arm has run: nobody looks before.

    beside: how many experiments are tested, this one among them. paces: of `pace.py`, for the view at equal seconds.
    """
    rows = {name: {} for name in experiment.arms}
    curves = {name: {} for name in experiment.arms}
    for row in store.runs:
        if row["seed"] < seeds:
            rows[row["arm"]][row["seed"]] = row
            curves[row["arm"]][row["seed"]] = store.curve(row)
    done, of = sum(map(len, rows.values())), seeds * len(rows)
    record = {
        "name": p.name, "claim": p.claim, "source": p.source, "outcome": p.outcome, "little": p.little,
        "finished": done == of and seeds == p.seeds and not quick, "runs": done, "of": p.seeds * len(rows),
        "quick": quick, "protocol": p.digest, "seeds": seeds, "n": None, "mean": None, "low": None, "high": None,
        "delta": p.delta or None, "verdict": NOT_YET,
    }  # fmt: skip
    if p.level or p.margin:
        record |= {"level": p.level, "margin": p.margin}
    if record["finished"] or (quick and done == of):
        primary = judged(experiment.primary, rows, experiment.arms, p, beside)
        record |= {name: primary[name] for name in primary if name != "verdict"}
        record["verdict"] = primary["verdict"] if not quick else f"no verdict from {counted(seeds, 'seed')}"
        values = values_of(experiment.primary, rows, experiment.arms)
        record["values"] = [value if math.isfinite(value) else None for value in values]
        record["also"] = [judged(one, rows, experiment.arms, p) for one in experiment.also]
        record["equal_seconds"] = equal_seconds(experiment.primary, curves, paces)
        record["in_seconds"] = in_seconds(experiment.primary, primary, paces)
        record["ran_away"] = {name: sum(map(ran_away, of_arm.values())) for name, of_arm in rows.items()}
        record["primary"] = list(experiment.primary.arms)
        record["seconds_an_epoch"] = paces
        record["means"] = {name: means_of(of_arm) for name, of_arm in rows.items()}
    rates = {name: next((row["rate"] for row in of_arm.values()), None) for name, of_arm in rows.items()}
    spent = [row["seconds"] for row in (*store.runs, *store.rates)]
    return record | {
        "rates": rates, "at_the_edge": [name for name, rate in rates.items() if at_the_edge(rate, p.rates)],
        "arms": {name: arm.settings for name, arm in experiment.arms.items()},
        "settings": {"rates": p.rates, "rate_seeds": p.rate_seeds, "chosen_by": experiment.chosen_by},
        "minutes": sum(spent) / 60, "command": command, "date": str(date.today()),
        "versions": versions(), "hardware": hardware(),
    }  # fmt: skip


def means_of(rows: dict[int, dict]) -> dict[str, float]:
    """Of each outcome that all of an arm's runs have; of a p, in how many of them it is below 0.05, too."""
    columns = dict.fromkeys(
        name for row in rows.values() for name in row if name not in ("arm", "settings", "seed")
    )
    found = {name: [row.get(name, math.nan) for row in rows.values()] for name in columns}
    means = {name: statistics.fmean(values) for name, values in found.items() if all(v == v for v in values)}
    small = {f"{name}_small": sum(p < 0.05 for p in found[name]) for name in means if name.endswith("_p")}
    return means | small


def write_result(folder: Path, record: dict) -> None:
    write_record(folder / RESULT, record)


def read_result(folder: Path) -> dict | None:
    """A folder's result; None where there is none. Raises DataError for one that is damaged."""
    path = Path(folder) / RESULT
    if not path.is_file():
        return None
    try:
        record = parse(read_at_most(path, MOST_CHARACTERS))
        check(record, AS_RESULT, "it")
        return record
    except ValueError as error:
        raise DataError(
            f"{path} is damaged ({error}): make it anew from the tables beside it, or delete it"
        ) from error


def check_protocol(p: Protocol, folder: Path) -> None:
    """Raise ValueError where results are there that another protocol was written for, or that protocol alone."""
    record, there = read_result(folder), Path(folder) / PROTOCOL
    if not record and there.is_file() and Protocol.read(there).digest != p.digest:
        raise ValueError(f"{there} is another protocol than that of {p.name}: use another --output-dir")
    if record and record["protocol"] != p.digest:
        raise ValueError(
            f"{folder / PROTOCOL} was changed after results were there: they belong to {record['protocol']}, it is "
            f"{p.digest} now. A protocol comes before its results: put it back, or begin anew in another --output-dir"
        )


def check_pictures(sums: dict[str, str], folder: Path) -> None:
    """Raise ValueError where results are there that rest on other pictures."""
    record = read_result(folder)
    if record and (name := other_pictures(sums, record)):
        raise ValueError(
            f"{folder} has runs with other pictures of {name}, whose sum is {record['pictures'][name]}; the sum of "
            f"those that are here is {sums[name]}: they are not mixed; use those of then, or another --output-dir"
        )


def other_pictures(sums: dict[str, str], record: dict) -> str | None:
    """The first set of which a result had other pictures."""
    had = record.get("pictures") or {}
    return next((name for name in sums if had.get(name, sums[name]) != sums[name]), None)


# ---- all together ----


def all_results(root: Path) -> dict[str, dict | None]:
    """The result of each experiment that has a protocol below a folder; None where nothing has run."""
    return {path.parent.name: read_result(path.parent) for path in sorted(Path(root).glob(f"*/{PROTOCOL}"))}


def raise_for_all(root: Path) -> list[str]:
    """Judge each primary anew beside all others, by Holm's rule; the names whose verdict, or p, that changed.

    What has not run counts as a p of 1, which makes the others' no smaller than they will be.
    """
    found = all_results(root)
    told = {name: r for name, r in found.items() if r and r["finished"] and r.get("p") is not None}
    raised = verdicts.holm([r["p"] for r in told.values()] + [1.0] * (len(found) - len(told)))
    changed = []
    for (name, record), p_raised in zip(told.items(), raised, strict=False):
        if record.get("margin"):
            continue  # of a level, which no p decides
        new = decided(record, record["values"], p_raised, len(found))
        if new["verdict"] != record["verdict"] or not math.isclose(
            p_raised, record["p_raised"], rel_tol=1e-4
        ):
            changed.append(name)
            write_result(Path(root) / name, {**record, **new, "p_raised": p_raised})
    return changed


def verdict_of(record: dict) -> str:
    """With the size of a ratio, six times and not three; where it cannot be told, with how many seeds it could; and
    with the arms whose best rate is an end of the grid.

    >>> verdict_of({"verdict": "cannot be told from this", "n": 10, "would_take": 31})
    'cannot be told from this, perhaps from 31 seeds'
    """
    said, more, n = [record["verdict"]], record.get("would_take"), record["n"]
    if "size" in record:
        said.append(f"the size {record['size']}")
    untold = [at for at, part in enumerate(said) if verdicts.UNTOLD in part]
    if untold and more and more > n:
        said[untold[0]] += f", perhaps from {more:,} seeds"  # it is the direction's, where neither is told
    edge = [f'"{name}"' for name in record.get("primary", []) if name in (record.get("at_the_edge") or [])]
    if edge and not record.get("quick"):  # a quick look tries three
        said.append(f"the grid of rates ends at the best one of {' and '.join(edge)}")
    return "; ".join(said)


def minutes_of_all(root: Path) -> float:
    """Of a core, for all that has run; what several experiments share is counted once."""
    spent = {}
    for name in all_results(root):
        store = Store(Path(root) / name)
        for kept, rows in (("runs", store.runs), ("rates", store.rates)):
            spent |= {(kept, row["settings"], row["seed"], row["rate"]): row["seconds"] for row in rows}
    return math.fsum(spent.values()) / 60


def table_of(root: Path) -> str:
    """Claimed, found and judged, for each experiment that has a protocol.

    minutes: of all runs that it rests on. The last line counts those that are shared once.
    """
    rows = []
    for name, record in all_results(root).items():
        if record is None or record["mean"] is None:
            done = f"{record['runs']} of {record['of']} runs" if record else "not run"
            if record and record["finished"]:
                done = record["verdict"]
            rows.append([name, "", "", done, f"{record['minutes']:.0f}" if record else ""])
            continue
        found = f"{with_unit(record)} ({record['low']:.3g} to {record['high']:.3g})"
        rows.append([name, found, str(record["n"]), verdict_of(record), f"{record['minutes']:.0f}"])
    rows += [None, ["all, shared runs once", "", "", "", f"{minutes_of_all(root):.0f}"]]
    return table(["experiment", "found", "n", "verdict", "minutes"], rows)


def with_unit(record: dict) -> str:
    """The mean.

    >>> with_unit({"mean": 0.5123, "unit": "points"}), with_unit({"mean": 0.5123, "unit": ""})
    ('0.512 points', '0.512')
    """
    return f"{record['mean']:.3g} {record.get('unit') or ''}".rstrip()


def in_a_line(record: dict) -> str:
    """name: verdict, with what was found."""
    if record["mean"] is None:
        return f"{record['name']}: {record['runs']} of {record['of']} runs; {record['verdict']}"
    found = f"{with_unit(record)} ({record['low']:.3g} to {record['high']:.3g}, n = {record['n']})"
    return f"{record['name']}: {verdict_of(record)}. {record['compared']} {found}{never_arrived(record)}"


def never_arrived(record: dict) -> str:
    """How many runs behind a ratio never arrived, and so what its number is; "" where all did.

    >>> never_arrived({"censored": {"ReLU": 0, "tanh": 5}, "n": 12})
    '; 5 of 12 runs of "tanh" never arrived: at least so many times'
    """
    counts = record.get("censored") or {}
    told = [f'{count} of {record["n"]} runs of "{name}"' for name, count in counts.items() if count]
    if not told:
        return ""
    quick, slow = (count > 0 for count in counts.values())
    bound = "a guess" if quick and slow else "at most so many times" if quick else "at least so many times"
    if all(count == record["n"] for count in counts.values()):
        bound = "the number says nothing"
    return f"; {' and '.join(told)} never arrived: {bound}"
