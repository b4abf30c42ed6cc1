"""One run: the same seed gives the same numbers; it ends where it should, and when it runs away it says so."""

import math

import made_claims
import numpy as np
import pytest
from made_claims import four, lenet
from threadpoolctl import threadpool_limits

from minialex.claims import training
from minialex.claims.arm import SCHEDULES
from minialex.claims.measures import MEASURES
from minialex.claims.training import schedule_of, train_once
from minialex.errors import NotFinite


@pytest.fixture(autouse=True)
def sets(monkeypatch):
    with threadpool_limits(1):
        yield made_claims.made_pictures(monkeypatch)


def without_seconds(run):
    outcomes, curve = run
    rest = {name: value for name, value in outcomes.items() if name != "seconds"}
    return str(rest), str([{k: v for k, v in row.items() if k != "seconds"} for row in curve])


@pytest.mark.parametrize(
    "arm", [lenet(dropout=0.5), four(augment=("crops", "flips", "colour", "distortions"))]
)
def test_the_same_seed_gives_the_same_numbers(arm):
    assert without_seconds(train_once(arm, 1, 0.01)) == without_seconds(train_once(arm, 1, 0.01))


def test_another_seed_gives_other_numbers():
    assert without_seconds(train_once(lenet(), 1, 0.01)) != without_seconds(train_once(lenet(), 2, 0.01))


@pytest.mark.parametrize("arm", [lenet(variant="1998"), four(norm="batch")])
def test_a_run_has_all_outcomes_and_a_row_for_each_epoch(arm):
    outcomes, curve = train_once(arm, 0, 0.003)
    assert list(outcomes) == made_claims.OUTCOMES
    assert [row["epoch"] for row in curve] == [1, 2]
    assert all(math.isfinite(value) for row in curve for value in row.values())


def test_what_is_made_to_be_learned_is_learned():
    outcomes, curve = train_once(four(pictures=120, epochs=4, schedule="constant"), 0, 0.003)
    assert outcomes["test_error"] < 20
    assert curve[-1]["train_loss"] < curve[0]["train_loss"]


def test_the_gap_is_the_test_error_less_the_training_error():
    outcomes, _ = train_once(four(), 0, 0.01)
    assert outcomes["gap"] == outcomes["test_error"] - outcomes["train_error"]


def test_the_training_error_is_of_the_trained_network_without_its_dropout(monkeypatch):
    """While it trains half of its units are dropped; what is asked is asked in evaluation mode, and then it goes on."""
    modes = {"asked": [], "trained": []}

    def spied(name, plain):
        return lambda model, *args: (modes[name].append(model["c5_dropout"].training), plain(model, *args))[1]

    monkeypatch.setattr(training, "evaluate", spied("asked", training.evaluate))
    monkeypatch.setattr(training, "train_step", spied("trained", training.train_step))
    train_once(lenet(dropout=0.5), 0, 0.03)
    assert (set(modes["asked"]), set(modes["trained"])) == ({False}, {True})


def test_seconds_grow_from_epoch_to_epoch():
    _, curve = train_once(lenet(epochs=3), 0, 0.01)
    seconds = [row["seconds"] for row in curve]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_inputs_are_not_written_to(sets):
    before = [part.copy() for pair in sets["cifar10"] for part in pair]
    train_once(four(augment=("crops", "flips", "colour", "distortions")), 0, 0.01)
    for part, old in zip((part for pair in sets["cifar10"] for part in pair), before, strict=True):
        np.testing.assert_array_equal(part, old)


# ---- the end -----------------------------------------------------------------------------------------


def test_a_run_ends_in_the_epoch_in_which_its_error_has_come_down():
    arm = lenet(pictures=120, epochs=4, schedule="constant")
    errors = [row["train_error"] for row in train_once(arm, 0, 0.01)[1]]
    level = (errors[1] + errors[2]) / 2  # between the second and the third
    assert min(errors[:2]) > level > errors[2]
    outcomes, curve = train_once(arm.but(until=level), 0, 0.01)
    assert [row["train_error"] for row in curve] == errors[:3]
    assert 1.5 < outcomes["epochs_to"] < 2.5


def test_a_run_that_never_arrives_goes_on_to_its_end():
    outcomes, curve = train_once(four(until=-1.0), 0, 0.01)
    assert len(curve) == 2
    assert math.isnan(outcomes["epochs_to"])


def test_a_run_without_a_level_never_arrives():
    assert math.isnan(train_once(four(), 0, 0.01)[0]["epochs_to"])


# ---- running away ------------------------------------------------------------------------------------


def test_a_run_that_runs_away_has_the_numbers_of_chance():
    outcomes, curve = train_once(four(measures=("colour",)), 0, 1e6)
    assert list(outcomes) == made_claims.OUTCOMES
    assert (outcomes["test_error"], outcomes["train_error"], outcomes["gap"]) == (90.0, 90.0, 0.0)
    assert outcomes["train_loss"] == pytest.approx(math.log(10))
    assert math.isnan(outcomes["epochs_to"])
    assert (curve[-1]["test_error"], curve[-1]["train_error"]) == (90.0, 90.0)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_curve_of_a_run_that_runs_away_ends_with_chance_in_that_epoch(monkeypatch, at):
    plain, calls = training.checked, []

    def fails(model, batches):
        calls.append(1)
        if len(calls) == at:
            raise NotFinite("the loss is nan")
        return plain(model, batches)

    monkeypatch.setattr(training, "checked", fails)
    _, curve = train_once(four(), 0, 0.01)  # of two epochs: the third is the test at the end
    assert [row["epoch"] for row in curve] == [1, 2][:at]
    assert curve[-1]["test_error"] == 90.0


def test_a_warning_of_numbers_beyond_bounds_disturbs_nobody():
    """Warnings are errors here."""
    train_once(lenet(), 0, 1e8)


# ---- schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("steps", [1.0, 1.0, 0.1, 0.01, 0.01]),
        ("plateau", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("cosine", [0.0, 0.871, 0.541, 0.173, 0.0]),
    ],
)
def test_a_rate_goes_as_its_schedule_says(schedule, wanted):
    found = schedule_of(lenet(schedule=schedule, epochs=20), 1.0)
    assert [found(epoch) for epoch in (0, 5.5, 10, 15, 20)] == pytest.approx(wanted, abs=0.02)


def test_each_schedule_that_an_arm_may_have_is_one():
    kinds = {type(schedule_of(lenet(schedule=name), 1.0)) for name in SCHEDULES}
    assert len(kinds) == len(SCHEDULES)


@pytest.mark.parametrize("schedule", ["constant", "steps", "plateau"])
def test_a_warm_up_lets_the_rate_rise_from_nothing_to_what_the_schedule_says(monkeypatch, schedule):
    rates = []
    step = training.train_step

    def watched(model, optimizer, x, labels):
        rates.append(optimizer.lr)
        return step(model, optimizer, x, labels)

    monkeypatch.setattr(training, "train_step", watched)
    train_once(four(schedule=schedule, epochs=4, warmup=1.5), 0, 0.01)  # three steps an epoch
    assert rates[:6] == pytest.approx([0.01 * n / 3 / 1.5 for n in range(5)] + [0.01])
    without, _ = train_once(four(schedule=schedule, epochs=4), 0, 0.01)
    assert rates[12:15] == [0.01] * 3
    assert (
        without["train_loss"]
        != train_once(four(schedule=schedule, epochs=4, warmup=1.5), 0, 0.01)[0]["train_loss"]
    )


def test_a_plateau_falls_when_the_held_out_error_stays(monkeypatch):
    class Scores:
        error, loss = 50.0, 1.0

        def check_finite(self, what):
            pass

    monkeypatch.setattr(training, "evaluate", lambda model, batches: Scores())
    _, curve = train_once(four(schedule="plateau", epochs=5), 0, 0.01)
    assert [row["lr"] for row in curve] == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001])


# ---- what else is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("arrival", lenet()),
        ("late_gain", lenet()),
        ("colour", four()),
        ("normaliser_spread", four(norm="lrn")),
        ("retrieval", four()),
    ],
)
def test_a_measure_adds_its_outcomes_to_those_that_each_run_has(name, arm):
    plain, measured = (set(train_once(one, 0, 0.01)[0]) for one in (arm, arm.but(measures=(name,))))
    assert plain == set(made_claims.OUTCOMES)
    assert plain < measured


def test_each_measure_is_tried_above():
    assert set(MEASURES) == {"arrival", "late_gain", "colour", "normaliser_spread", "retrieval"}


def test_a_measure_does_not_change_what_is_trained():
    one, other = (train_once(arm, 0, 0.01)[0] for arm in (four(), four(measures=("colour", "retrieval"))))
    assert one["test_error"] == other["test_error"]
    assert one["train_loss"] == other["train_loss"]
