"""The networks: arms that differ in one layer begin with the same weights in all others, and do what they say."""

import numpy as np
import pytest

from minialex.claims.nets import four_layers, lenet
from minialex.layers import LocalResponseNorm, MaxPool2D

ONE_LAYER = [
    ({"window": 2}, set()),
    ({"norm": "lrn"}, set()),
    ({"norm": "lrn-after-pool"}, set()),
    ({"norm": "batch"}, {"bn1", "bn2"}),
    ({"pool": "average"}, set()),
    ({"pool": "trainable"}, {"pool1", "pool2", "pool3"}),
    ({"middle": 16}, {"middle"}),
    ({"maps": (16, 17, 34)}, {"conv2", "conv3", "output"}),
    ({"groups": (1, 2, 1)}, {"conv2"}),
    ({"activation": "tanh"}, {"conv1", "conv2", "conv3"}),
    ({"init": "0.01"}, {"conv1", "conv2", "conv3", "output"}),
]


def weights(model):
    return {name: [p.value for p in layer.parameters()] for name, layer in model.children().items()}


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("options", "others"), ONE_LAYER)
def test_layers_that_are_not_meant_begin_with_the_same_weights(options, others):
    usual, changed = weights(four_layers(seed=3)), weights(four_layers(seed=3, **options))
    learned = {name for name in {**usual, **changed} if usual.get(name) or changed.get(name)}
    assert {name for name in learned if not same(usual.get(name, []), changed.get(name, []))} == others


def test_tanh_and_sigmoid_begin_alike():
    tanh, sigmoid = (weights(four_layers(3, activation=name)) for name in ("tanh", "sigmoid"))
    assert all(same(tanh[name], sigmoid[name]) for name in ("conv1", "conv2", "conv3", "output"))


def test_two_towers_begin_alike_but_for_the_layer_where_they_meet():
    meeting, never = (weights(four_layers(3, groups=groups)) for groups in ((1, 2, 1), (1, 2, 2)))
    assert [name for name in meeting if not same(meeting[name], never[name])] == ["conv3"]


def test_lenets_with_and_without_dropout_begin_with_the_same_weights():
    with_it, without = (list(lenet(5, dropout=d).parameters()) for d in (0.5, 0.0))
    assert same([p.value for p in with_it], [p.value for p in without])


@pytest.mark.parametrize("make", [four_layers, lenet])
def test_another_seed_begins_with_other_weights(make):
    one, other = (next(iter(make(seed=s).parameters())).value for s in (0, 1))
    assert not np.array_equal(one, other)


def test_layers_of_one_shape_do_not_begin_alike():
    model = four_layers(0, maps=(16, 16, 16))
    assert not np.array_equal(model["conv2"].weight.value, model["conv3"].weight.value)


# ---- what they are -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "_"), ONE_LAYER)
def test_maps_are_halved_three_times_whatever_the_windows(options, _):
    x, sizes = np.zeros((2, 3, 32, 32), np.float32), []
    model = four_layers(seed=0, **options).eval()
    for name, layer in model.children().items():
        x = layer.forward(x)
        if name.startswith("pool"):
            sizes.append(x.shape[2:])
    assert sizes == [(16, 16), (8, 8), (4, 4)]
    assert x.shape == (2, 10)


def test_windows_of_3_overlap_and_windows_of_2_do_not():
    for window, overlap in ((3, 1), (2, 0)):
        pool = four_layers(0, window=window)["pool1"]
        assert isinstance(pool, MaxPool2D)
        x = np.zeros((1, 16, 32, 32), np.float32)
        x[0, 0, 15, 15] = 1.0  # odd: with overlap it is in two windows of each direction
        assert (pool.forward(x) == 1).sum() == (1 + overlap) ** 2


@pytest.mark.parametrize(("norm", "order"), [
    ("none", "conv1 act1 pool1"), ("lrn", "conv1 act1 norm1 pool1"), ("lrn-after-pool", "conv1 act1 pool1 norm1"),
    ("batch", "conv1 bn1 act1 pool1"),
])  # fmt: skip
def test_a_normalisation_stands_where_its_paper_has_it(norm, order):
    names = list(four_layers(0, norm=norm).children())
    assert " ".join(name for name in names if name.endswith("1")) == order
    assert not {"norm3", "bn3"} & set(names)


def test_alpha_is_2012s_for_pixels_that_are_divided_by_64():
    """On x / 64 with our alpha the normalisation divides by what it does on x with 1e-4."""
    x = np.random.default_rng(0).uniform(0, 255, (1, 16, 4, 4)).astype(np.float32)
    ours, paper = four_layers(0, norm="lrn")["norm1"], LocalResponseNorm(alpha=1e-4)
    np.testing.assert_allclose(ours.forward(x / 64), paper.forward(x) / 64, rtol=1e-4)


def test_towers_that_never_meet_do_not_read_each_other():
    model = four_layers(0, groups=(1, 2, 2)).eval()
    x, seen = np.random.default_rng(0).standard_normal((2, 16, 16, 16)).astype(np.float32), []
    for half in (slice(8, 16), slice(0, 0)):
        y = x.copy()
        y[:, half] = 0
        for name in ("conv2", "act2", "pool2", "conv3"):
            y = model[name].forward(y)
        seen.append(y)
    first, second = ((seen[0] != seen[1])[:, half].any() for half in (slice(0, 16), slice(16, 32)))
    assert (first, second) == (False, True)


def test_2012s_beginnings_have_a_deviation_of_a_hundredth():
    model = four_layers(0, init="0.01")
    for name in ("conv1", "conv2", "conv3", "output"):
        assert model[name].weight.value.std() == pytest.approx(0.01, rel=0.1)


def test_scaled_beginnings_are_hes_for_relu():
    model = four_layers(0)
    assert model["conv3"].weight.value.std() == pytest.approx((2 / (16 * 25)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "lnr"}, "unknown norm 'lnr'"),
        ({"init": "0.1"}, "unknown init '0.1'"),
        ({"activation": "rellu"}, r"unknown activation 'rellu' \(did you mean relu\?\)"),
        ({"pool": "mean"}, "unknown pool 'mean'"),
    ],
)
def test_what_no_network_has_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        four_layers(0, **options)
