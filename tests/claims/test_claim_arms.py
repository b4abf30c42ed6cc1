"""Arms: what differs between those that are compared, and what tells one's runs from another's."""

import made_claims
import pytest

from minialex import claims
from minialex.claims import measures, nets, pictures
from minialex.claims.arm import AUGMENTED, Arm, Difference, Experiment, Level, Within
from minialex.claims.protocol import Protocol

NO, SETTINGS = (
    "not there",
    ("data", "net", "pictures", "epochs", "batch_size", "momentum", "weight_decay", "schedule"),
)

# In each primary comparison: the settings that differ, as (of the better, of the other).
MEANT = {
    "dropout": {"dropout": (0.5, NO)},
    "relu-vs-tanh": {"activation": (NO, "tanh")},
    "lrn": {"norm": ("lrn", NO), "measures": (["normaliser_spread"], [])},
    "lrn-order": {"norm": ("lrn", "lrn-after-pool")},
    "overlap": {"window": (NO, 2)},
    "pooling": {"pool": (NO, "average")},
    "depth": {"middle": (16, NO)},
    "towers": {"groups": ([1, 2, 1], [1, 2, 2]), "maps": (NO, [16, 16, 50])},
    "augment": {"augment": (["colour"], [])},
    "schedules": {"schedule": ("steps", "constant")},
    "momentum": {"momentum": (0.9, 0.0)},
    "init": {"init": (NO, "0.01")},
    "decay": {"weight_decay": (0.0005, 0.0)},
    "batch-size": {"batch_size": (32, 512), "epochs": (15, 60)},
}
OF_ONE_ARM = {"lenet-curve", "lenet-1998", "retrieval"}


def experiment(name):
    return claims.EXPERIMENTS[name](
        Protocol.read(claims.texts.folder_of("examples") / f"results/{name}/protocol.toml")
    )


def flat(arm):
    return {**arm.settings, **arm.settings["options"], "options": None}


@pytest.mark.parametrize("name", MEANT)
def test_primary_arms_differ_in_what_is_meant_and_in_nothing_else(name):
    found = experiment(name)
    better, than = (flat(found.arms[arm]) for arm in found.primary.arms)
    differs = {
        key: (better.get(key, NO), than.get(key, NO))
        for key in {**better, **than}
        if better.get(key, NO) != than.get(key, NO)
    }
    assert differs == MEANT[name]


def test_each_experiment_is_of_two_arms_or_of_one():
    assert {name for name in claims.EXPERIMENTS if len(experiment(name).primary.arms) == 1} == OF_ONE_ARM
    assert set(MEANT) | OF_ONE_ARM == set(claims.EXPERIMENTS)


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_no_two_arms_of_an_experiment_are_the_same(name):
    arms = experiment(name).arms
    assert len({arm.digest for arm in arms.values()}) == len(arms)


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_what_is_compared_and_measured_is_known(name):
    found = experiment(name)
    of_measures = {"late_gain", "epochs_to_error", *(f"{what}_{of}" for what in ("precision", "seconds")
                                                     for of in ("features", "codes", "pixels"))}  # fmt: skip
    for compared in (found.primary, *found.also):
        assert {compared.outcome, getattr(compared, "than", None) if isinstance(compared, Within) else "gap"} <= {
            *made_claims.OUTCOMES, *of_measures
        }  # fmt: skip
    for arm in found.arms.values():
        assert set(arm.measures) <= set(measures.MEASURES)
        assert arm.net in nets.NETS
    assert found.chosen_by in made_claims.OUTCOMES  # whatever chooses, less of it is better


def test_one_baseline_serves_many_experiments():
    baseline = Arm("cifar10", "four-layers", pictures=10_000, epochs=15).digest
    serves = {name for name in claims.EXPERIMENTS
              if baseline in {arm.digest for arm in experiment(name).arms.values()}}  # fmt: skip
    assert serves == {
        "lrn",
        "overlap",
        "depth",
        "augment",
        "schedules",
        "momentum",
        "init",
        "decay",
        "batch-size",
    }


def test_all_that_can_be_augmented_is_known_to_both():
    assert set(AUGMENTED) == set(pictures.AUGMENT)


# ---- digests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "digest"),
    [
        (Arm("cifar10", "four-layers", pictures=10_000, epochs=15), "366e574c11c6"),
        (Arm("mnist", "lenet", pictures=60_000, epochs=20, measures=("arrival",)), "aa2aef95fe6a"),
    ],
)
def test_digests_stay_what_they_are_since_runs_are_known_by_them(arm, digest):
    assert arm.digest == digest


def test_a_digest_leaves_out_what_is_as_usual():
    usual = Arm("mnist", "lenet")
    assert (
        usual.digest
        == Arm("mnist", "lenet", {}, 10_000, 15, 64, 0.9, 0.0, "cosine", (), None, (), 0.0).digest
    )


@pytest.mark.parametrize(
    "change",
    [{"data": "cifar10"}, {"net": "four-layers"}, {"variant": "1998"}, {"pictures": 9}, {"epochs": 9},
     {"batch_size": 9}, {"momentum": 0.0}, {"weight_decay": 0.1}, {"schedule": "steps"}, {"augment": ("crops",)},
     {"until": 1.0}, {"measures": ("arrival",)}, {"warmup": 0.5}],
)  # fmt: skip
def test_each_setting_is_in_the_digest(change):
    assert Arm("mnist", "lenet").but(**change).digest != Arm("mnist", "lenet").digest


def test_options_in_another_order_are_the_same():
    a, b = Arm("mnist", "lenet", {"x": 1, "y": 2}), Arm("mnist", "lenet", {"y": 2, "x": 1})
    assert a.digest == b.digest


def test_a_changed_arm_leaves_the_old_one_as_it_was():
    old = made_claims.lenet(variant="keras")
    old.but(variant="1998", epochs=7)
    assert (old.options, old.epochs) == ({"variant": "keras"}, 2)


# ---- bad ones ----------------------------------------------------------------------------------------


def test_an_unknown_schedule_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"unknown schedule 'step' \(did you mean steps\?\)"):
        Arm("mnist", "lenet", schedule="step")


def test_an_unknown_augmentation_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"unknown augment 'flip' \(did you mean flips\?\)"):
        Arm("mnist", "lenet", augment=("flip",))


@pytest.mark.parametrize("where", ["primary", "also"])
def test_a_comparison_of_an_arm_that_is_not_there_is_refused(where):
    wrong = {
        "primary": Level("a"),
        "also": (),
        where: Difference("a", "d") if where == "primary" else (Level("d"),),
    }
    with pytest.raises(ValueError, match="unknown arm 'd'"):
        Experiment({"a": made_claims.lenet(), "b": made_claims.lenet()}, **wrong)
