"""A whole experiment: choose each arm's rate, then run each seed, side by side; from where it was left."""

import math
from collections.abc import Callable
from pathlib import Path

from minialex.claims.arm import Experiment
from minialex.claims.compare import at_most
from minialex.claims.measures import ran_away
from minialex.claims.protocol import Protocol
from minialex.claims.rates import at_the_edge, chosen, wanted
from minialex.claims.results import other_pictures, read_result
from minialex.claims.side_by_side import workers
from minialex.claims.store import RATES, Store

NOTHING = 85.0  # percent wrong: who has more has not learned anything yet, or ran away


def run(
    p: Protocol,
    experiment: Experiment,
    store: Store,
    others: list[Store],
    seeds: int,
    count: int | None = None,
    bar: Callable | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Until the store has a row for each arm and each of so many seeds.

    others: stores of other experiments; a run that one of them has is taken over. bar: what `tqdm` is.
    """
    arms = experiment.arms
    store.check_settings({name: arm.digest for name, arm in arms.items()})
    with workers({arm.data for arm in arms.values()}, count) as do:
        rates = choose_rates(p, experiment, store, others, do, bar)
        for name, rate in rates.items():
            edge = at_the_edge(rate, p.rates)
            say(
                f"{name}: rate {rate:g}"
                + (", which is an end of the grid: no neighbour beyond" if edge else "")
            )
        store.check_rates(rates)
        jobs = [
            (name, arm, seed, rates[name], False)
            for seed in range(seeds)
            for name, arm in arms.items()
            if not store.row("runs", arm.digest, seed)
            and not store.take_from(others, "runs", name, arm.digest, seed, rates[name])
        ]
        do_all(do, jobs, store, "runs", bar, f"{p.name}, {len(arms)} arms of {seeds} seeds")


def choose_rates(p: Protocol, experiment: Experiment, store: Store, others, do, bar) -> dict[str, float]:
    """The rate of each arm: the best mean outcome of its rate seeds, on held-out pictures."""
    while True:
        tried = {name: tried_of(p, experiment, store, name) for name in experiment.arms}
        jobs = []
        for name, arm in experiment.arms.items():
            for rate in wanted(tried[name], p.rates, p.begin):
                for seed in p.rate_seeds:
                    if not store.row("rates", arm.digest, seed, rate) and not store.take_from(
                        others, "rates", name, arm.digest, seed, rate
                    ):
                        jobs.append((name, arm, seed, rate, True))
        if jobs:
            do_all(do, jobs, store, "rates", bar, f"{p.name}, rates of {len(experiment.arms)} arms")
        elif all(
            not wanted(tried_of(p, experiment, store, name), p.rates, p.begin) for name in experiment.arms
        ):
            return {name: rate_of(p, experiment, store, name) for name in experiment.arms}


def tried_of(p: Protocol, experiment: Experiment, store: Store, name: str) -> dict[float, float]:
    """The mean outcome of each rate of which all seeds are there. Arms share a row if they share settings.

    nan where no seed learned anything. Of a run that learned and did not arrive the end of its time counts, and a
    little more by its training error, so that the search knows which way is better.
    """
    arm, outcome = experiment.arms[name], experiment.chosen_by
    found = {}
    for rate in p.rates:
        rows = [store.row("rates", arm.digest, seed, rate) for seed in p.rate_seeds]
        if all(rows):
            learned = [row["train_error"] < NOTHING for row in rows]
            values = [at_most(arm, row, outcome) + further(row, outcome) for row in rows]
            found[rate] = math.fsum(values) / len(values) if any(learned) else math.nan
    return found


def further(row: dict, outcome: str) -> float:
    """Of a run that has not arrived, how far it was: less than an epoch."""
    return row["train_error"] / 100 if math.isnan(row[outcome]) else 0.0


def rate_of(p: Protocol, experiment: Experiment, store: Store, name: str) -> float:
    """The best rate that was tried; where nothing was learned at any, that of the smallest loss that is a number."""
    tried = tried_of(p, experiment, store, name)
    if all(map(math.isnan, tried.values())):
        digest = experiment.arms[name].digest
        for rate in tried:
            rows = [store.row("rates", digest, seed, rate) for seed in p.rate_seeds]
            tried[rate] = (
                math.inf if any(map(ran_away, rows)) else math.fsum(row["train_loss"] for row in rows)
            )
    return chosen(tried)


def do_all(do, jobs, store: Store, table: str, bar, label: str) -> None:
    """Do the jobs; each leaves its row as soon as it has ended."""
    if not jobs:
        return
    done = do(jobs)
    if bar is not None:
        done = bar(done, total=len(jobs), desc=label, unit="run")
    for (name, arm, seed, rate, _), outcomes, curve in done:
        row = {"arm": name, "settings": arm.digest, "seed": seed, "rate": rate, **outcomes}
        store.add(table, row, curve if table == "runs" else [])


def stores_beside(folder: Path, root: Path, sums: dict[str, str]) -> list[Store]:
    """Of the other experiments below a folder, but for those that rest on other pictures."""
    own = Path(folder).resolve()
    folders = [one.parent for one in sorted(Path(root).glob(f"*/{RATES}")) if one.parent.resolve() != own]
    return [Store(one) for one in folders if not other_pictures(sums, read_result(one) or {})]
