"""The search for a rate: to the best of a grid whose neighbours are worse, on held-out pictures."""

import math

import made_claims
import pytest

from minialex.claims import rates
from minialex.claims.arm import Difference, Experiment, Ratio
from minialex.claims.rates import at_the_edge, chosen, wanted
from minialex.claims.run import choose_rates, rate_of, tried_of
from minialex.claims.side_by_side import one_by_one
from minialex.claims.store import Store

GRID = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]


def search(error, begin=0.01, grid=GRID):
    """The rate that is chosen where error(rate) is what a rate gives, and all that were tried."""
    tried = {}
    while more := wanted(tried, grid, begin):
        assert not set(more) & set(tried)
        tried |= {rate: error(rate) for rate in more}
    return chosen(tried), sorted(tried)


def test_an_optimum_in_the_middle_needs_three_tries():
    assert search(lambda rate: abs(math.log(rate / 0.01))) == (0.01, [0.003, 0.01, 0.03])


@pytest.mark.parametrize("best", GRID)
def test_an_optimum_is_found_wherever_it_is(best):
    found, tried = search(lambda rate: abs(math.log(rate / best)))
    assert found == best
    at = GRID.index(best)
    assert set(GRID[max(0, at - 1) : at + 2]) <= set(tried)  # its neighbours were tried, and are worse


@pytest.mark.parametrize(("best", "edge"), [(0.001, True), (0.003, False), (0.3, False), (1.0, True)])
def test_a_choice_at_an_end_of_the_grid_is_told(best, edge):
    assert at_the_edge(search(lambda rate: abs(math.log(rate / best)))[0], GRID) == edge


@pytest.mark.parametrize(
    ("there", "missing"),
    [({0.003: 50.0}, [0.01, 0.03]), ({0.003: 50.0, 0.01: 60.0}, [0.03]), ({0.01: math.nan}, [0.003, 0.03])],
)
def test_a_search_that_was_interrupted_goes_on_with_the_first_three(there, missing):
    assert wanted(there, GRID, 0.01) == missing


def test_of_equals_the_smallest_is_chosen():
    assert chosen({0.1: 4.0, 0.01: 4.0, 0.03: 5.0}) == 0.01


def test_equals_go_on_to_smaller_rates_until_they_are_worse():
    assert search(lambda rate: 5.0 if rate < 0.003 else 4.0)[0] == 0.003


def test_what_never_arrived_is_worse_than_all():
    assert chosen({0.01: math.nan, 0.03: 1e9}) == 0.03


def test_where_no_rate_arrives_both_sides_are_tried_until_one_does():
    """All nan: the smallest would be the best, and the search would never come to the large rates of a sigmoid."""
    found, tried = search(lambda rate: 5.0 / rate if rate >= 0.3 else math.nan)
    assert found == 1.0
    assert tried == GRID


def test_where_none_arrives_at_all_the_whole_grid_is_tried():
    assert search(lambda rate: math.nan)[1] == GRID


def test_one_edge_of_rates_that_ran_away_is_left():
    assert search(lambda rate: math.nan if rate >= 0.01 else abs(math.log(rate / 0.003)))[0] == 0.003


# ---- with runs ---------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def do(jobs):
    return one_by_one(jobs)


def row_of(arm, seed, rate, **outcomes):
    usual = {"test_error": 5.0, "train_error": 5.0, "epochs_to": math.nan}
    return {"arm": "a", "settings": arm.digest, "seed": seed, "rate": rate, **usual, **outcomes}


def one_arm(store, *rows, kind=Difference):
    experiment = Experiment({"a": made_claims.lenet(), "b": made_claims.four()}, primary=kind("a", than="b"))
    p = made_claims.protocol(rate_seeds=[100, 101])
    for seed, rate, outcomes in rows:
        store.add("rates", row_of(experiment.arms["a"], seed, rate, **outcomes))
    return tried_of(p, experiment, store, "a")


def test_a_rate_counts_when_all_of_its_seeds_are_there(store):
    rows = [
        (100, 0.01, {"test_error": 4.0}),
        (101, 0.01, {"test_error": 6.0}),
        (100, 0.03, {"test_error": 1.0}),
    ]
    assert one_arm(store, *rows) == {0.01: 5.0}


def test_a_rate_at_which_no_seed_learned_anything_counts_as_none(store):
    """Its loss may be the least of those that learned nothing, by chance."""
    rows = [(seed, 0.01, {"test_error": 89.9, "train_error": 89.9}) for seed in (100, 101)]
    assert math.isnan(one_arm(store, *rows)[0.01])


def test_a_rate_at_which_one_seed_ran_away_counts_with_its_chance(store):
    rows = [(100, 0.01, {}), (101, 0.01, {"test_error": 90.0, "train_error": 90.0})]
    assert one_arm(store, *rows) == {0.01: 47.5}


def test_of_a_race_a_seed_that_never_arrived_stands_at_the_end_of_its_time_and_a_little_further(store):
    """The further its training error was, so that the search finds the way where none has arrived yet."""
    none = {"train_error": 90.0}
    rows = [(100, 0.01, {"epochs_to": 1.0}), (101, 0.01, {}), (100, 0.03, {}), (101, 0.03, {"train_error": 60.0}),
            (100, 0.1, none), (101, 0.1, none)]  # fmt: skip
    found = one_arm(store, *rows, kind=Ratio)
    assert found[0.01] == pytest.approx((1 + 2.05) / 2)  # of two epochs
    assert found[0.03] == pytest.approx((2.05 + 2.6) / 2)
    assert math.isnan(found[0.1])  # nobody learned anything


def test_where_nothing_is_learned_at_any_rate_it_is_the_one_of_the_smallest_loss(store):
    experiment = Experiment({"a": made_claims.lenet(), "b": made_claims.four()}, primary=Ratio("a", than="b"))
    p = made_claims.protocol(rate_seeds=[100, 101])
    for rate, loss in ((0.01, 2.31), (0.03, 2.29), (0.1, 2.30)):
        for seed in p.rate_seeds:
            row = row_of(experiment.arms["a"], seed, rate, train_error=90.0, train_loss=loss)
            store.add("rates", row)
    assert rate_of(p, experiment, store, "a") == 0.03
    for seed in p.rate_seeds:  # as a run that ran away has it: a little less than those that learn nothing
        store.add("rates", row_of(experiment.arms["a"], seed, 0.003, train_error=90.0, train_loss=2.302585))
    p_alone = made_claims.protocol(rate_seeds=[100, 101], rates=[0.003, 0.1])
    assert rate_of(p_alone, experiment, store, "a") == 0.1
    store.add("rates", row_of(experiment.arms["a"], 100, 0.001, epochs_to=1.5, train_loss=9.0))
    store.add("rates", row_of(experiment.arms["a"], 101, 0.001, train_loss=9.0))
    assert rate_of(p, experiment, store, "a") == 0.001  # one has arrived


def test_each_arm_gets_a_rate_of_its_own(monkeypatch, store):
    runs = made_claims.pretend(monkeypatch)
    plain = made_claims.PretendedRuns.__call__
    best = {made_claims.lenet().digest: 0.003, made_claims.four().digest: 0.03}
    monkeypatch.setattr(
        made_claims.PretendedRuns, "__call__",
        lambda self, arm, *rest: setattr(self, "best", best[arm.digest]) or plain(self, arm, *rest),
    )  # fmt: skip
    experiment = made_claims.experiment(a=made_claims.lenet(), b=made_claims.four())
    assert choose_rates(made_claims.protocol(), experiment, store, [], do, None) == {"a": 0.003, "b": 0.03}
    assert {choosing for *_, choosing in runs.asked} == {True}
    assert {seed for _, seed, *_ in runs.asked} == {100}


def test_a_search_that_was_stopped_asks_for_nothing_twice(monkeypatch, store):
    p, experiment = made_claims.protocol(rate_seeds=[100, 101]), made_claims.experiment()
    first = made_claims.pretend(monkeypatch, stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        choose_rates(p, experiment, store, [], do, None)
    second = made_claims.pretend(monkeypatch)
    again = Store(store.folder)
    assert choose_rates(p, experiment, again, [], do, None) == {"a": 0.01, "b": 0.01}
    assert not set(first.asked) & set(second.asked)
    assert len(first.asked) + len(second.asked) == 2 * 2 * 3


def test_a_chosen_rate_is_one_of_the_grid(monkeypatch, store):
    made_claims.pretend(monkeypatch)
    p = made_claims.protocol()
    assert set(choose_rates(p, made_claims.experiment(), store, [], do, None).values()) <= set(p.rates)
    assert rates.chosen({p.rates[0]: 1.0}) == p.rates[0]
