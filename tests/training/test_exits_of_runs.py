"""Exit by exit: whose turn it is, what a run's settings say of it, and weights with more or fewer exits."""

import argparse

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.training import exit_runs, exits, runs
from minialex.training.command_line import amount, share
from minialex.training.networks import check_batches, make_network, outputs_in, with_weights
from minialex.training.optim import Cosine, Cosines

NARROW = 1 / 64
SETTINGS = {"arch": "smartnet", "small": True, "width": NARROW, "image_size": None, "seed": 0, "freeze": ""}
SETTINGS |= {
    "lr": 0.1,
    "lr_scheduler": "cosine",
    "warmup": 5.0,
    "epochs": 12,
    "pretrained": None,
    "dummy": None,
}


def smartnet(count=2, **others):
    return mx.models.smartnet(count, 3, preset="small", **{"width": NARROW, **others})


def settled(asked=(), there=None, **settings):
    asked = dict(asked)
    return exit_runs.settle_exits({**SETTINGS, **settings, **asked}, asked, there)


# ---- turns ---------------------------------------------------------------------------------------------


def test_an_exit_begins_as_a_copy_in_its_first_epoch_alone_and_not_when_a_run_goes_on():
    model = smartnet()
    bias = model.path(2)[-1]["fc"].bias.value
    before_epoch = exits.exit_by_exit(model, 4)
    for epoch, begun, is_copied in ((1, False, False), (2, True, False), (2, False, True), (3, False, False)):
        bias[...] = 7
        before_epoch(epoch, begun)
        assert (bias == 7).all() != is_copied, (epoch, begun)


def test_only_some_exits_have_turns_where_others_stay():
    model = smartnet(3)
    assert exits.turns_of(model, kept=1) == [2, 3]
    assert exits.turns_of(model, frozen="stem, block1, exit1, exit3") == [
        2,
        3,
    ]  # the third one's block learns
    assert exits.turns_of(model, frozen="block2, exit2") == [1, 3]
    before_epoch = exits.exit_by_exit(model, 4, [1, 3])
    before_epoch(1, False)
    assert model.learning == 1
    before_epoch(2, False)
    assert model.learning == 3
    with pytest.raises(ValueError, match="nothing to train: of exit 3 to 3 all that could learn is frozen"):
        exits.turns_of(model, kept=2, frozen="block3,exit3")


def test_a_plan_has_a_curve_for_each_exit_and_a_loss_like_that_of_one():
    settings = settled({"exits": 3})
    plan = exit_runs.plan_of(smartnet(3), settings)
    assert repr(plan.schedule) == repr(Cosines(0.1, 12, 3, 0.4))
    assert (plan.warmup, plan.best_from, plan.losses) == (0.4, 8, 1.0)
    assert exit_runs.best_from(settings) == 8
    assert exit_runs.best_from({**settings, "exits_kept": 1}) == 6
    assert exit_runs.best_from({**settings, "exits_kept": 2}) == 0
    other = exit_runs.plan_of(mx.models.googlenet(3, width=NARROW), {**SETTINGS, "arch": "googlenet"})
    assert repr(other.schedule) == repr(Cosine(0.1, 12, 1.2))
    assert (other.best_from, other.losses, other.each_epoch) == (0, 1.6, None)
    assert exit_runs.best_from({"arch": "googlenet"}) == 0


def test_a_warm_up_that_is_shorter_than_a_step_is_none():
    googlenet = mx.models.googlenet(3, width=NARROW), {**SETTINGS, "arch": "googlenet"}
    for model, own in ((smartnet(2), settled({"exits": 2})), googlenet):
        short = {**own, "epochs": 2}
        assert exit_runs.plan_of(model, short, steps=100).warmup == exit_runs.plan_of(model, short).warmup > 0
        plan = exit_runs.plan_of(model, short, steps=1)
        assert (plan.warmup, plan.schedule(0)) == (0, 0.1)


# ---- settings ------------------------------------------------------------------------------------------


def test_settings_say_how_many_exits_there_are_and_how_many_of_them_stay():
    assert settled()["exits"] == 3
    assert settled(small=False)["exits"] == 4
    for there, kept in ((2, 2), (3, None), (4, None), (None, None)):
        assert settled({"exits": 3}, there)["exits_kept"] == kept, there


def test_a_probability_and_a_budget_take_each_others_place():
    found = settled({"budget": 2e6}, leave_at=0.5)
    assert (found["leave_at"], found["budget"]) == (None, 2e6)
    found = settled({"leave_at": 0.0}, budget=2e6)
    assert (found["leave_at"], found["budget"]) == (0.0, None)


@pytest.mark.parametrize("schedule", ["step", "plateau"])
def test_schedules_that_do_not_begin_anew_are_refused(schedule):
    with pytest.raises(ValueError, match=f"--lr-scheduler {schedule} does not go with smartnet"):
        settled(lr_scheduler=schedule)


def test_epochs_are_counted_for_those_that_are_trained():
    assert settled({"exits": 3}, there=2, epochs=1)["exits"] == 3
    with pytest.raises(ValueError, match="2 exits, trained one after the other, need 2 epochs, not 1"):
        settled({"exits": 3}, there=1, epochs=1)


def test_numbers_may_be_long_and_shares_are_up_to_1():
    assert [amount(text) for text in ("20M", "1.5g", "20,000", "2e3", "7k")] == [2e7, 1.5e9, 2e4, 2e3, 7e3]
    for text in ("0", "-1", "M", "", "1e999", "nan", "2 X"):
        with pytest.raises(argparse.ArgumentTypeError, match="a number above 0 is needed"):
            amount(text)
    assert (share("0"), share("1")) == (0, 1)
    with pytest.raises(argparse.ArgumentTypeError, match=r"a probability from 0 to 1 is needed, not '1\.01'"):
        share("1.01")
    with pytest.raises(argparse.ArgumentTypeError, match=r"a probability from 0 to 1 is needed, not '-0\.1'"):
        share("-0.1")


def test_a_new_penalty_is_told_of_and_the_same_is_not():
    assert exit_runs.new_penalty({"penalty": 0.0}, {"penalty": 0.01}) != ""
    assert (
        exit_runs.new_penalty({"penalty": 0.01}, {"penalty": 0.01})
        == exit_runs.new_penalty({}, {"penalty": 1})
        == ""
    )


# ---- weights -------------------------------------------------------------------------------------------


def test_a_part_of_a_network_is_known_and_made_by_its_record(tmp_path):
    model = smartnet(2, rng=5)
    mx.save(model, tmp_path / "two.safetensors")
    arrays, known = runs.read_weights(tmp_path / "two.safetensors")
    assert (known["arch"], known["small"], known["exits"]) == ("smartnet", True, 2)
    assert outputs_in("w", arrays, "smartnet", True) == 3
    found = with_weights(tmp_path / "two.safetensors", arrays, {**SETTINGS, "exits": None}, 3, "cpu")
    assert found.architecture == model.architecture
    assert make_network({**SETTINGS, "exits": 2}, 3, "cpu").exits == ["exit1", "exit2"]


def test_a_closed_gate_is_seen_and_another_zero_is_not():
    model = smartnet(2)
    arrays = {name: p.value for name, p in model.named_parameters()}
    assert (arrays["exit1.fc.bias"] == 0).all()
    assert not exit_runs.any_closed(arrays)
    arrays["exit1.gate.weight"][0] = 0
    assert exit_runs.any_closed(arrays)


def test_weights_with_other_numbers_of_exits_go_where_both_have_them(tmp_path):
    path = tmp_path / "two.safetensors"
    theirs = smartnet(2, rng=5)
    mx.save(theirs, path)
    arrays = weights.load(path)
    assert exit_runs.exits_in(arrays) == 2
    for count in (1, 3):
        model = smartnet(count, rng=6)
        before = weights.export_grouped(model)
        assert exit_runs.begin_with_exits(model, path, arrays) == []
        after = weights.export_grouped(model)
        for name in after:
            wanted = arrays[name] if name in arrays else before[name]
            np.testing.assert_array_equal(after[name], wanted, err_msg=name)
        assert model.learning is None
    wide = smartnet(2, width=0.25)
    with pytest.raises(ValueError, match=r"two\.safetensors does not fit this model: .*has shape"):
        exit_runs.begin_with_exits(wide, path, arrays)


def test_one_picture_alone_is_enough_for_maps_of_many_pixels():
    check_batches({**SETTINGS, "batch_size": 4}, 9)
    with pytest.raises(
        ValueError, match="9 pictures in batches of 4 leave one alone, which is too few for smart"
    ):
        check_batches({**SETTINGS, "batch_size": 4, "image_size": 1}, 9)
