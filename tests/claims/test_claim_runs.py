"""Whole experiments with pretended runs: all of them, from where they were left, shared, and side by side."""

import dataclasses
import os

import made_claims
import pytest
from made_claims import experiment, lenet, pretend, protocol

from minialex import claims
from minialex.claims import side_by_side
from minialex.claims.results import result_of, write_result
from minialex.claims.run import run, stores_beside
from minialex.claims.side_by_side import workers
from minialex.claims.store import Store
from minialex.devices.device import Device


def silent(line):
    pass


def everything(folder, others=(), seeds=2, say=silent, one=None, **numbers):
    store = Store(folder)
    run(protocol(**numbers), one or experiment(), store, list(others), seeds, count=1, say=say)
    return store


def rows(store):
    return {(row["arm"], row["seed"]): row for row in store.runs}


def test_each_arm_has_each_seed_at_its_own_rate(monkeypatch, tmp_path):
    pretend(monkeypatch, best=0.03)
    found = rows(everything(tmp_path))
    assert set(found) == {(arm, seed) for arm in "ab" for seed in (0, 1)}
    assert {row["rate"] for row in found.values()} == {0.03}


def test_seeds_come_before_arms_so_that_pairs_are_there_early(monkeypatch, tmp_path):
    pretend(monkeypatch)
    store = everything(tmp_path)
    assert [(row["arm"], row["seed"]) for row in store.runs] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_a_finished_experiment_runs_nothing_again(monkeypatch, tmp_path):
    pretend(monkeypatch)
    everything(tmp_path)
    again = pretend(monkeypatch)
    everything(tmp_path)
    assert again.asked == []


def test_more_seeds_are_added_to_those_that_are_there(monkeypatch, tmp_path):
    pretend(monkeypatch)
    everything(tmp_path, seeds=2)
    more = pretend(monkeypatch)
    everything(tmp_path, seeds=3)
    assert [seed for _, seed, *_ in more.asked] == [2, 2]


@pytest.mark.parametrize("after", range(0, 10, 3))
def test_who_was_stopped_goes_on_and_has_the_rows_of_who_was_not(monkeypatch, tmp_path, after):
    whole = pretend(monkeypatch)
    wanted = everything(tmp_path / "whole")
    first = pretend(monkeypatch, stop_after=after)
    with pytest.raises(KeyboardInterrupt):
        everything(tmp_path / "stopped")
    second = pretend(monkeypatch)
    found = everything(tmp_path / "stopped")
    assert first.asked + second.asked == whole.asked
    assert (repr(found.runs), repr(found.rates), repr(found.curves)) == (
        repr(wanted.runs), repr(wanted.rates), repr(wanted.curves),
    )  # fmt: skip
    for name in ("runs.csv", "rates.csv", "curves.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_runs_of_other_settings_are_refused_before_anything_runs(monkeypatch, tmp_path):
    pretend(monkeypatch)
    everything(tmp_path)
    again = pretend(monkeypatch)
    with pytest.raises(ValueError, match="other settings"):
        everything(tmp_path, one=experiment(a=lenet(dropout=0.5), b=lenet(momentum=0.0)))
    assert again.asked == []


def test_rates_that_were_deleted_and_come_out_another_way_are_told(monkeypatch, tmp_path):
    pretend(monkeypatch, best=0.01)
    everything(tmp_path)
    (tmp_path / "rates.csv").unlink()
    pretend(monkeypatch, best=0.03)
    with pytest.raises(ValueError, match=r"at rate 0.01, but rates.csv says 0.03: they are not mixed"):
        everything(tmp_path, seeds=3)


def test_a_rate_at_an_end_of_the_grid_is_said(monkeypatch, tmp_path):
    lines = []
    pretend(monkeypatch, best=0.1)
    everything(tmp_path, say=lines.append)
    assert lines == [f"{arm}: rate 0.1, which is an end of the grid: no neighbour beyond" for arm in "ab"]


def test_a_rate_in_the_middle_is_said(monkeypatch, tmp_path):
    lines = []
    pretend(monkeypatch)
    everything(tmp_path, say=lines.append)
    assert lines == ["a: rate 0.01", "b: rate 0.01"]


def test_a_bar_is_told_how_many_runs_there_are(monkeypatch, tmp_path):
    pretend(monkeypatch)
    told = []

    def bar(jobs, total, desc, unit):
        told.append((total, desc, unit))
        return jobs

    run(protocol(), experiment(), Store(tmp_path), [], 2, count=1, bar=bar, say=silent)
    assert told == [(6, "tiny, rates of 2 arms", "run"), (4, "tiny, 2 arms of 2 seeds", "run")]


# ---- shared ------------------------------------------------------------------------------------------


def test_runs_that_another_experiment_has_are_taken_over(monkeypatch, tmp_path):
    pretend(monkeypatch)
    first = everything(tmp_path / "first")
    second = pretend(monkeypatch)
    one = experiment(a=lenet(window=2), b=lenet())  # `b` is the first one's b
    found = everything(tmp_path / "second", others=[Store(first.folder)], one=one)
    assert {digest for digest, *_ in second.asked} == {lenet(window=2).digest}
    shared = [row for row in found.runs if row["settings"] == lenet().digest]
    assert repr(shared) == repr([row for row in first.runs if row["settings"] == lenet().digest])


def test_stores_beside_are_those_of_all_other_experiments(monkeypatch, tmp_path):
    pretend(monkeypatch)
    for name in ("one", "two"):
        everything(tmp_path / name)
    (tmp_path / "three").mkdir()  # has a protocol, and nothing has run
    assert [store.folder.name for store in stores_beside(tmp_path / "one", tmp_path, {})] == ["two"]
    assert len(stores_beside(tmp_path / "elsewhere", tmp_path, {})) == 2


@pytest.mark.parametrize(
    ("had", "beside"), [({"mnist": "a"}, 1), ({"cifar10": "b"}, 1), (None, 1), ({"mnist": "b"}, 0)]
)
def test_runs_with_other_pictures_are_not_taken_over(monkeypatch, tmp_path, had, beside):
    pretend(monkeypatch)
    store = everything(tmp_path / "one")
    found = result_of(protocol(), experiment(), store, 2, "command", quick=False)
    write_result(tmp_path / "one", {**found, "pictures": had})
    assert len(stores_beside(tmp_path / "two", tmp_path, {"mnist": "a"})) == beside


# ---- side by side ------------------------------------------------------------------------------------


def test_with_one_process_none_is_started_and_there_is_one_thread(monkeypatch):
    monkeypatch.setattr(side_by_side, "train_once", lambda *job: (os.getpid(), Device("cpu").threads))
    before = Device("cpu").threads
    monkeypatch.setattr(Device("cpu"), "threads", 3)
    with workers(["mnist"], 1) as do:
        ((_, pid, threads),) = do([("a", lenet(), 0, 0.01, False)])
    assert (pid, threads, Device("cpu").threads) == (os.getpid(), 1, 3)
    monkeypatch.undo()
    assert Device("cpu").threads == before


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with side_by_side.one_thread_each():
        assert os.environ["MKL_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_an_error_of_a_run_is_raised_here(monkeypatch):
    def fails(*job):
        raise OSError("no memory for pictures")

    monkeypatch.setattr(side_by_side, "train_once", fails)
    with pytest.raises(OSError, match="no memory"), workers(["mnist"], 1) as do:
        list(do([("a", lenet(), 0, 0.01, False)]))


# ---- with networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_each_experiment_runs_from_its_protocol_to_its_result(monkeypatch, tmp_path, name):
    """Twenty pictures, one epoch, two seeds: whether all of its arms can be run, and compared."""
    made_claims.made_pictures(monkeypatch)
    results = claims.texts.folder_of("examples") / "results"
    p = claims.quick_version(claims.Protocol.read(results / name / claims.PROTOCOL))
    p = dataclasses.replace(p, pictures=20, epochs=1)
    one, store = claims.EXPERIMENTS[name](p), Store(tmp_path)
    for arm_name, arm in one.arms.items():  # rates that were tried before: the middle one is the best
        for rate in p.rates:
            outcomes = dict.fromkeys(
                ("test_error", "train_error", "train_loss", "epochs_to"), 50 + (rate != p.begin)
            )
            keys = {"arm": arm_name, "settings": arm.digest, "seed": p.rate_seeds[0], "rate": rate}
            store.rates.append({**keys, **outcomes, "seconds": 1.0})
    run(p, one, store, [], 2, count=1, say=silent)
    record = claims.result_of(p, one, store, 2, "command", quick=True, beside=17)
    assert record["runs"] == 2 * len(one.arms)
    assert record["mean"] is not None
    assert len(record["also"]) == len(one.also)
