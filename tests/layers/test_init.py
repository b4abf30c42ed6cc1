"""Initialisers: the right width, float32, and the same numbers for the same seed."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex.layers.init import generator, he_normal, lecun_uniform_1998, normal, xavier_uniform

SHAPE, FAN_IN, FAN_OUT = (300, 400), 400, 300

# The standard deviation of each; of a uniform distribution in +-limit it is limit / sqrt(3).
NORMAL = {
    "he": (he_normal, np.sqrt(2 / 400)),
    "normal(0.01)": (normal(0.01), 0.01),
    "normal(0.5)": (normal(0.5), 0.5),
}
UNIFORM = {"xavier": (xavier_uniform, np.sqrt(6 / 700)), "lecun 1998": (lecun_uniform_1998, 2.4 / 400)}
ALL = {name: init for name, (init, _) in {**NORMAL, **UNIFORM}.items()}


def draw(init, seed=0):
    return init(SHAPE, FAN_IN, FAN_OUT, generator(seed))


@pytest.mark.parametrize(("init", "std"), NORMAL.values(), ids=NORMAL)
def test_a_normal_initialiser_has_its_standard_deviation(init, std):
    weights = draw(init)
    # 120,000 numbers: their standard deviation is uncertain by 0.2 %, their mean by 0.3 % of it
    assert weights.std() == pytest.approx(std, rel=0.01)
    assert abs(weights.mean()) < 0.015 * std


@pytest.mark.parametrize("init", [init for init, _ in NORMAL.values()], ids=NORMAL)
def test_a_normal_initialiser_has_the_tails_of_a_normal_distribution(init):
    weights = draw(init)
    for sigmas, share in [(1, 0.6827), (2, 0.9545), (3, 0.9973)]:
        assert (abs(weights) < sigmas * weights.std()).mean() == pytest.approx(share, abs=0.006)
    assert abs(weights).max() > 3.5 * weights.std()  # nothing is cut off


@pytest.mark.parametrize(("init", "limit"), UNIFORM.values(), ids=UNIFORM)
def test_a_uniform_initialiser_fills_its_limits_evenly(init, limit):
    weights = draw(init)
    assert abs(weights).max() <= limit * (1 + 1e-6)
    counts, _ = np.histogram(weights, bins=10, range=(-limit, limit))
    np.testing.assert_allclose(counts, weights.size / 10, rtol=0.05)


@pytest.mark.parametrize("init", ALL.values(), ids=ALL)
def test_weights_are_float32_of_the_shape_on_the_host(init):
    weights = draw(init)
    assert type(weights) is np.ndarray
    assert (weights.shape, weights.dtype) == (SHAPE, np.float32)


@pytest.mark.parametrize("init", ALL.values(), ids=ALL)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(init):
    assert draw(init, 7).tobytes() == draw(init, 7).tobytes()
    assert draw(init, 7).tobytes() != draw(init, 8).tobytes()


@pytest.mark.parametrize("init", [xavier_uniform, lecun_uniform_1998])
def test_a_fan_in_for_each_weight_gives_each_its_own_limit(init):
    """As TableConv2D needs it: its outputs read different numbers of inputs."""
    fan_in = np.array([1.0, 100.0])[:, None]
    few, many = init((2, 5000), fan_in, fan_in, generator(0))
    assert abs(few).max() / abs(many).max() == pytest.approx(
        np.sqrt(100) if init is xavier_uniform else 100, rel=0.01
    )


def test_fan_out_matters_to_xavier_alone():
    for init in ALL.values():
        same = (init((5,), 10, 1, generator(0)) == init((5,), 10, 1000, generator(0))).all()
        assert same == (init is not xavier_uniform)


# ---- generators ------------------------------------------------------------------------------------


def test_a_generator_stays_itself_and_goes_on_drawing():
    rng = np.random.default_rng(3)
    assert generator(rng) is rng
    assert not np.array_equal(draw(he_normal, rng), draw(he_normal, rng))


def test_a_seed_makes_a_new_generator_each_time():
    assert generator(3).random(4).tolist() == generator(3).random(4).tolist()
    assert generator(np.int64(3)).random() == generator(3).random() != generator(4).random()


def test_nothing_at_all_is_seed_0():
    assert (
        generator().random(4).tolist()
        == generator(None).random(4).tolist()
        == generator(0).random(4).tolist()
    )


@pytest.mark.parametrize(
    "rng",
    [-1, "seed", 1.5, float("nan"), np.float64(3), {}, b"x", np.array(3), [1, -1], True, 1j, [None]],
    ids=repr,
)
def test_what_is_neither_seed_nor_generator_is_refused(rng):
    message = rf"^rng is {re.escape(repr(rng))}: give a seed, rng=0, or a generator, .*\(0\); a seed is a whole number"
    for make in (generator, lambda rng: mx.Linear(2, 3, rng=rng), lambda rng: mx.models.lenet5(rng=rng)):
        with pytest.raises((TypeError, ValueError), match=message):
            make(rng)


@pytest.mark.parametrize(
    "rng", [[1, 2], np.array([1, 2]), np.random.SeedSequence(3), np.random.PCG64(3), 2**100], ids=repr
)
def test_what_numpy_makes_a_generator_of_will_do(rng):
    assert isinstance(generator(rng), np.random.Generator)
