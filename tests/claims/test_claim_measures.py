"""What else is asked of trained networks, on networks and curves that are made so that the answer is known."""

import math
from types import SimpleNamespace

import made_claims
import numpy as np
import pytest

from minialex.claims import measures
from minialex.claims.measures import reached
from minialex.claims.nets import four_layers
from minialex.claims.pictures import Pictures, scale_of
from minialex.layers import Flatten, Linear, Model, SoftmaxCrossEntropy


def curve(*errors, column="test_error"):
    return [{"epoch": n, column: float(error)} for n, error in enumerate(errors, 1)]


def some_pictures(count=200):
    train, test = made_claims.made("cifar10", count, 1), made_claims.made("cifar10", count, 2)
    return Pictures(train, test, test)


# ---- arrival -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "level", "wanted"),
    [
        ([50, 30, 10], 20, 2.0),  # between the middles of epochs 2 and 3, 1.5 and 2.5
        ([50, 30, 10], 30, 1.5),  # just there
        ([50, 30, 10], 10, 2.5),
        ([50, 30, 10], 15, 2.25),
        ([50, 30, 10], 70, 0.25),  # from 90, by chance, at the beginning: half of the way to 0.5
        ([50, 60, 40], 50, 0.5),  # the first time counts
        ([50, 30, 10], 9.9, math.nan),
        ([], 20, math.nan),
        ([50, 30, 10], None, math.nan),
    ],
)
def test_between_two_epochs_lies_a_straight_line(errors, level, wanted):
    assert reached(curve(*errors, column="train_error"), level) == pytest.approx(wanted, nan_ok=True)


def test_a_faster_run_never_arrives_later():
    rng = np.random.default_rng(0)
    for _ in range(50):
        errors = np.sort(rng.uniform(0, 90, 8))[::-1]
        slow, fast = (reached(curve(*e, column="train_error"), 20.0) for e in (errors, errors * 0.9))
        assert math.isnan(slow) or fast <= slow


def test_a_test_error_stands_at_the_end_of_its_epoch():
    found = measures.arrival(None, None, None, curve(3.0, 2.0, 1.5, 1.0), 0)
    assert found == {"epochs_to_error": pytest.approx(3.0)}


def test_a_test_error_that_never_comes_down_never_arrives():
    assert math.isnan(measures.arrival(None, None, None, curve(3.0, 2.0), 0)["epochs_to_error"])


# ---- late gain ---------------------------------------------------------------------------------------


def test_the_late_gain_is_of_epochs_8_to_10_over_18_to_20():
    errors = [9.0] * 7 + [2.0, 3.0, 4.0] + [5.0] * 7 + [1.0, 1.5, 2.0]
    assert measures.late_gain(None, None, None, curve(*errors), 0) == {"late_gain": pytest.approx(1.5)}


def test_a_flat_curve_has_no_late_gain():
    assert measures.late_gain(None, None, None, curve(*[1.0] * 20), 0) == {"late_gain": 0.0}


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_short_curve_has_a_late_gain_too(epochs):
    assert math.isfinite(
        measures.late_gain(None, None, None, curve(*range(9, 9 - epochs, -1)), 0)["late_gain"]
    )


# ---- colour ------------------------------------------------------------------------------------------


def with_kernels(kernels):
    """All of a network that is asked for."""
    return {"conv1": SimpleNamespace(weight=SimpleNamespace(value=kernels))}


def grey(rng, count):
    return np.repeat(rng.standard_normal((count, 1, 5, 5)), 3, axis=1).astype(np.float32)


def coloured(rng, count):
    kernels = rng.standard_normal((count, 3, 5, 5))
    return (kernels - kernels.mean(axis=1, keepdims=True)).astype(np.float32)


def colour_of(kernels, seed=0):
    return measures.colour(with_kernels(kernels), None, None, None, seed)


def test_a_grey_half_and_a_coloured_half_are_as_far_apart_as_can_be(rng):
    found = colour_of(np.concatenate([grey(rng, 8), coloured(rng, 8)]))
    assert found["colour_apart"] == pytest.approx(1.0, abs=1e-5)
    assert found["colour_p"] <= 0.005


def test_grey_and_coloured_kernels_dealt_out_evenly_are_not_apart(rng):
    kernels = np.stack([grey(rng, 8), coloured(rng, 8)], axis=1).reshape(16, 3, 5, 5)
    found = colour_of(kernels)
    assert found["colour_apart"] == pytest.approx(0.0, abs=1e-5)
    assert found["colour_p"] == 1.0


def test_kernels_that_are_all_grey_are_not_apart_but_for_rounding(rng):
    assert colour_of(grey(rng, 16))["colour_p"] == 1.0


def test_kernels_of_equal_colour_are_not_apart(rng):
    one = rng.standard_normal((1, 3, 5, 5))
    scales = rng.uniform(0.1, 3.0, (16, 1, 1, 1))  # the share does not hang on the size
    found = colour_of(one * scales)
    assert found["colour_p"] == 1.0


def test_by_chance_p_is_small_in_few_of_many_networks():
    found = [
        colour_of(np.random.default_rng(s).standard_normal((16, 3, 5, 5)), s)["colour_p"] for s in range(120)
    ]
    assert sum(p <= 0.05 for p in found) <= 14  # 6 are expected
    assert 0.4 < np.mean(found) < 0.6


def test_the_same_seed_gives_the_same_p(rng):
    kernels = rng.standard_normal((16, 3, 5, 5))
    assert colour_of(kernels, 1) == colour_of(kernels, 1)


# ---- the normalisation -------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["lrn", "lrn-after-pool"])
def test_the_spread_is_of_what_the_normalisation_divides_by(norm):
    model, found = four_layers(0, norm=norm), some_pictures()
    prepare = scale_of(found.train[0])
    spread = measures.normaliser_spread(model, found, prepare, None, 0)
    layer, x = model["norm1"], prepare(found.curve[0])
    for name, before in model.eval().children().items():
        if name == "norm1":
            break
        x = before.forward(x)
    squares = np.pad(x**2, [(0, 0), (2, 2), (0, 0), (0, 0)])
    sums = sum(squares[:, i : i + 16] for i in range(5))
    divisors = ((2 + layer.alpha * sums) ** 0.75)[x != 0]
    wanted = np.percentile(divisors, [1, 50, 99])
    assert list(spread) == ["divides_low", "divides_median", "divides_high"]
    assert list(spread.values()) == pytest.approx(list(wanted), rel=1e-3)


def test_a_network_without_a_normalisation_has_no_spread():
    found = some_pictures(20)
    assert measures.normaliser_spread(four_layers(0), found, scale_of(found.train[0]), None, 0) == {}


def test_a_dead_network_has_no_spread():
    model, found = four_layers(0, norm="lrn"), some_pictures(20)
    model["conv1"].bias.value[:] = -1e6
    assert measures.normaliser_spread(model, found, scale_of(found.train[0]), None, 0) == {}


# ---- retrieval ---------------------------------------------------------------------------------------


class Knows(Flatten):
    """In place of a network's layers: what it gives out says the class of the bright patch, and nothing else."""

    def forward(self, x):
        rows = np.array([[x[:, :, 2 + 8 * (k // 4) : 9 + 8 * (k // 4), 1 + 7 * (k % 4) : 7 + 7 * (k % 4)].mean(
            axis=(1, 2, 3))] for k in range(10)])[:, 0].T  # fmt: skip
        return (10 * (rows > 150)).astype(np.float32)


def knowing():
    return Model(
        flat=Knows(), output=Linear(10, 10, rng=0), loss=SoftmaxCrossEntropy(), picture_shape=(3, 32, 32)
    )


def test_features_that_tell_the_classes_apart_find_nothing_but_their_class():
    found = measures.retrieval(knowing(), some_pictures(), lambda x: x.astype(np.float32), None, 0)
    assert found["precision_features"] == 100.0
    assert found["precision_codes"] > 90.0


def test_features_that_say_nothing_find_a_class_as_often_as_chance_does():
    x, labels = made_claims.made("cifar10", 400, 3)
    pictures = Pictures((x, labels), (x, np.random.default_rng(0).permutation(labels)), (x, labels))
    found = measures.retrieval(knowing(), pictures, lambda x: x.astype(np.float32), None, 0)
    assert 5 < found["precision_features"] < 15


def test_retrieval_says_precision_and_seconds_of_features_codes_and_pixels():
    found = measures.retrieval(knowing(), some_pictures(60), lambda x: x.astype(np.float32), None, 0)
    assert set(found) == {
        f"{what}_{of}" for what in ("precision", "seconds") for of in ("features", "codes", "pixels")
    }
    assert all(0 <= value <= 100 for value in found.values())
