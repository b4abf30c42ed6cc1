"""Neighbours by distance and by binary code: the right ones, in the right order, from a model that stays as it is."""

import numpy as np
import pytest

import minialex as mx
from minialex import neighbours
from minialex.data import ArrayBatches
from minialex.study.neighbours import BinaryCodes, SquaredError, features, hamming, hamming_distances, nearest


def small_alexnet(devices="cpu", **options):
    return mx.models.alexnet(4, devices=devices, width=0.0625, image_size=67, init="he", rng=3, **options)


def batches(rng, count=5, size=2):
    return ArrayBatches(rng.standard_normal((count, 3, 67, 67), np.float32), np.zeros(count), batch_size=size)


# ---- features ----


def through(model, x, last):
    """The output of a layer, step by step."""
    for name, layer in model.eval().layers.items():
        x = layer.forward(x)
        if name == last:
            return np.concatenate(x, axis=1) if isinstance(x, tuple) else x
    raise AssertionError(last)


@pytest.mark.parametrize("layer", ["pool2", "relu7", "fc8"])
def test_features_are_what_the_layer_makes_of_the_pictures_in_their_order(rng, layer):
    model, pictures = small_alexnet(), batches(rng)
    found = features(model, pictures, layer)
    assert found.dtype == np.float32
    for first in (0, 2, 4):  # the batches of the run
        whole = through(model, pictures.pictures[first : first + 2], layer)
        np.testing.assert_array_equal(found[first : first + 2], whole.reshape(len(whole), -1))


@pytest.mark.usefixtures("textbook")
def test_features_are_those_of_both_towers_whatever_the_devices(rng):
    pictures = batches(rng, count=2)
    expected = features(small_alexnet(), pictures)
    assert expected.shape == (2, 256)
    np.testing.assert_array_equal(features(small_alexnet("sim:0,sim:1"), pictures), expected)
    np.testing.assert_allclose(features(small_alexnet(towers=1), pictures), expected, rtol=1e-4, atol=1e-5)


def test_features_run_no_layer_after_the_one_that_is_asked_for(rng):
    def never(x):
        raise AssertionError("fc8 ran")

    model = small_alexnet()
    model["fc8"].forward = never
    features(model, batches(rng, count=2))


def test_features_leave_the_model_as_it_was(rng):
    model, pictures = small_alexnet(), batches(rng, count=2)
    x, labels = pictures.pictures, np.array([0, 1])
    model.loss.forward(model.forward(x), labels)
    counters, weight = model.counters(), model.parameters()[0].value.copy()
    features(model, pictures)
    assert all(layer.training for layer in model)
    assert model.counters() == counters
    np.testing.assert_array_equal(model.parameters()[0].value, weight)
    model.backward(model.loss.backward())  # what forward saved is still there
    expected = small_alexnet()
    expected.loss.forward(expected.forward(x), labels)
    expected.backward(expected.loss.backward())
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


def test_features_do_not_copy_the_parameters(rng, monkeypatch):
    seen = []
    model = mx.Sequential(fc=mx.Linear(3, 2), relu=mx.ReLU())
    forward = mx.Linear.forward
    monkeypatch.setattr(mx.Linear, "forward", lambda self, x: (seen.append(self), forward(self, x))[1])
    features(model, ArrayBatches(rng.standard_normal((2, 3), np.float32), np.zeros(2), 2), layer="relu")
    assert seen[0] is not model["fc"]
    assert seen[0].weight is model["fc"].weight


def test_features_name_a_layer_that_is_not_there(rng):
    model = mx.Sequential(fc=mx.Linear(3, 2), relu=mx.ReLU())
    with pytest.raises(ValueError, match=r"no layer 'fc7'.*; the model has fc, relu"):
        features(model, batches(rng), layer="fc7")


# ---- nearest ----


def test_nearest_by_hand():
    corners = np.array([[0, 0], [3, 4], [0, 1], [6, 8], [1, 0]], dtype=np.float32)
    assert nearest(corners, [0, 3], count=4).tolist() == [[2, 4, 1, 3], [1, 2, 4, 0]]


def test_nearest_leaves_the_query_out_but_not_its_doubles():
    same = np.zeros((4, 3))
    assert nearest(same, [2], count=3).tolist() == [[0, 1, 3]]  # equally near: by number


@pytest.mark.parametrize("block", [1, 7, 2**20])
def test_nearest_agrees_with_all_distances_however_many_at_a_time(rng, monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    x = rng.integers(-3, 4, (60, 5)).astype(np.float32)  # many are equally near
    distance = ((x[:, None].astype(int) - x[None].astype(int)) ** 2).sum(axis=2)
    queries = [0, 17, 59]
    for row, query in zip(nearest(x, queries, count=59), queries, strict=True):
        expected = sorted((int(d), n) for n, d in enumerate(distance[query]) if n != query)
        assert row.tolist() == [n for _, n in expected]


def test_nearest_sees_small_differences_far_from_the_origin():
    x = np.array([[1000.0], [1000.001], [1000.0005], [999.9999]], dtype=np.float64).astype(np.float32)
    assert nearest(x, [0], count=3).tolist() == [[3, 2, 1]]


@pytest.mark.parametrize(
    ("shape", "queries", "count", "message"),
    [
        ((5, 2), [0], 5, "5 rows have no 5 neighbours"),
        ((5, 2), [0], 0, "5 rows have no 0 neighbours"),
        ((5, 2), [0, 5], 1, r"not all among the 5 rows, from 0 to 4: \[0, 5\]"),
        ((5, 2), [-1], 1, r"not all among the 5 rows"),
        ((5,), [0], 1, r"\(N, D\), not in \(5,\)"),
    ],
)
def test_nearest_names_what_it_cannot_find(shape, queries, count, message):
    with pytest.raises(ValueError, match=message):
        nearest(np.zeros(shape), queries, count)


# ---- Hamming ----


def test_hamming_distance_counts_the_bits_that_differ(rng):
    codes = rng.integers(0, 256, (40, 4), dtype=np.uint8)
    bits = np.unpackbits(codes, axis=1)
    np.testing.assert_array_equal(hamming_distances(codes, codes[7]), (bits != bits[7]).sum(axis=1))


def test_hamming_agrees_with_distances_between_the_bits(rng):
    codes = rng.integers(0, 256, (50, 2), dtype=np.uint8)  # 16 bits: many are equally near
    bits = np.unpackbits(codes, axis=1).astype(np.float32)
    np.testing.assert_array_equal(hamming(codes, [0, 9, 49]), nearest(bits, [0, 9, 49]))


def test_hamming_takes_packed_codes():
    with pytest.raises(ValueError, match="uint8; these are int64"):
        hamming(np.zeros((9, 3), dtype=np.int64), [0])


# ---- the autoencoder ----


def test_squared_error_has_the_right_gradient(rng):
    assert mx.gradcheck(SquaredError(), rng.standard_normal((3, 4)), labels=rng.standard_normal((3, 4)))


def test_squared_error_is_a_sum_over_numbers_and_a_mean_over_rows():
    y, target = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 3.0]])
    loss = SquaredError()
    assert loss.forward(y, target) == (1 + 4 + 9) / 2
    np.testing.assert_array_equal(loss.backward(), [[1, 2], [0, -3]])


def test_squared_error_names_a_target_of_another_shape():
    with pytest.raises(ValueError, match=r"y has shape \(2, 3\), the target \(3,\)"):
        SquaredError().forward(np.zeros((2, 3)), np.zeros(3))


def clusters(rng, each=30, kinds=6, size=40):
    """Vectors around `kinds` centres, and which."""
    labels = np.repeat(np.arange(kinds), each)
    centres = 5 + 3 * rng.standard_normal((kinds, size))
    return centres[labels] + 0.5 * rng.standard_normal((len(labels), size)), labels


@pytest.mark.parametrize("bits", [8, 28, 64])
def test_binary_codes_of_like_vectors_are_near_and_of_unlike_ones_far(rng, bits):
    x, labels = clusters(rng)
    coder = BinaryCodes(bits=bits)
    losses = coder.fit(x, epochs=40)
    codes = coder.codes(x)
    assert codes.shape == (len(x), -(-bits // 8))
    distances = np.stack([hamming_distances(codes, code) for code in codes])
    same = labels[:, None] == labels
    assert distances[same].mean() < 0.3 * distances[~same].mean()
    assert (labels[hamming(codes, range(len(x)))] == labels[:, None]).mean() > 0.9
    assert losses[0] < 1.2  # of 1, when nothing has come through
    assert losses[-1] < min(0.15, 0.5 * losses[0])


def test_binary_codes_hang_on_the_seed_alone(rng):
    x, _ = clusters(rng, each=5)
    runs = []
    for seed in (1, 1, 2):
        coder = BinaryCodes(bits=28, seed=seed)
        coder.fit(x, epochs=3)
        runs.append(coder.codes(x))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


def test_binary_codes_do_not_hang_on_the_scale_of_the_features(rng):
    x, _ = clusters(rng, each=5)
    codes = []
    for scaled in (x, 1024 * x):
        coder = BinaryCodes(bits=16)
        coder.fit(scaled, epochs=3)
        codes.append(coder.codes(scaled))
    np.testing.assert_array_equal(*codes)


def test_binary_codes_of_new_vectors_are_those_of_their_kind(rng):
    x, labels = clusters(rng)
    coder = BinaryCodes(bits=32)
    coder.fit(x[::2], epochs=20)
    old, new = coder.codes(x[::2]), coder.codes(x[1::2])
    nearest_old = np.array([hamming_distances(old, code).argmin() for code in new])
    assert (labels[::2][nearest_old] == labels[1::2]).mean() > 0.95


def test_equal_vectors_are_no_trouble():
    coder = BinaryCodes(bits=8)
    assert coder.fit(np.full((6, 3), 7.0), epochs=2)[-1] < 0.01
    assert len(np.unique(coder.codes(np.full((6, 3), 7.0)), axis=0)) == 1


def test_codes_come_after_fit():
    with pytest.raises(ValueError, match="fit comes before codes"):
        BinaryCodes().codes(np.zeros((2, 3)))


@pytest.mark.parametrize("shape", [(4,), (0, 3)])
def test_fit_takes_a_table_of_features(shape):
    with pytest.raises(ValueError, match=rf"\(N, D\), not \({shape[0]},"):
        BinaryCodes().fit(np.zeros(shape))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
def test_codes_of_features_that_are_no_numbers_or_too_large_are_refused(number):
    x = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    x[3, 2] = number
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"the features go from .* have no codes"),
    ):
        BinaryCodes(bits=8).fit(x, epochs=2)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int64", "float16", "float32", "float64"])
def test_neighbours_are_the_same_in_any_numbers(kind):
    far = 120 if kind == "int8" else 250
    rows = np.array([[0], [far], [3], [10], [far - 5]])
    assert nearest(rows.astype(kind), [0, 1], 4).tolist() == [[2, 3, 4, 1], [4, 3, 2, 0]]
    assert nearest(rows.astype(kind) > 5, [0], 2).tolist() == [[2, 1]]  # bools: 0 or 1 apart


def test_squares_that_float16_does_not_hold_are_held():
    assert nearest(np.array([[0], [400], [300], [5]], np.float16), [0], 3).tolist() == [[3, 2, 1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_has_no_neighbours(bad):
    with pytest.raises(ValueError, match="nearest: distances are of finite numbers"):
        nearest(np.array([[0.0], [bad], [1.0]]), [0], 1)
    with pytest.raises(ValueError, match="nearest: distances are of numbers, not of <U1"):
        nearest(np.array([["a"], ["b"]]), [0], 1)


def test_rows_may_be_asked_for_by_a_mask():
    rows = np.array([[0.0], [5.0], [1.0], [7.0]])
    assert nearest(rows, [True, False, False, True], 2).tolist() == nearest(rows, [0, 3], 2).tolist()
    with pytest.raises(ValueError, match=r"queries takes whole numbers, \(n,\), or a mask of all 4"):
        nearest(rows, [0.5], 2)


def test_codes_are_of_as_many_features_as_were_learned_and_of_numbers():
    coder = BinaryCodes(bits=8)
    coder.fit(np.arange(12.0).reshape(4, 3), epochs=1)
    with pytest.raises(ValueError, match=r"features are \(N, 3\), as those of fit, not \(2, 1\)"):
        coder.codes(np.ones((2, 1)))
    with pytest.raises(ValueError, match="NaN has no code"):
        coder.codes(np.array([[0.0, np.nan, 1.0]]))
    for wrong in ({"epochs": 2.5}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a whole number >= 1"):
            coder.fit(np.eye(3), **wrong)


def test_rows_under_a_mask_are_no_neighbours_and_have_no_codes():
    rows = np.ma.array([[0.0], [1.0], [9.0]], mask=[[0], [1], [0]])
    coder = BinaryCodes(bits=8)
    coder.fit(rows.filled(2.0), epochs=1)
    for study in (
        lambda: nearest(rows, [0], 1),
        lambda: nearest(rows.filled(2.0), np.ma.array([0, 1], mask=[0, 1]), 1),
        lambda: hamming(rows.astype(np.uint8), [0], 1),
        lambda: BinaryCodes(bits=8).fit(rows, epochs=1),
        lambda: coder.codes(rows),
    ):
        with pytest.raises(ValueError, match="a mask that hides 1 number"):
            study()


@pytest.mark.parametrize("kind", ["complex64", "<U1", "object"])
def test_codes_are_of_real_numbers(kind):
    rows, coder = np.eye(4), BinaryCodes(bits=8)
    coder.fit(rows, epochs=1)
    for study in (BinaryCodes(bits=8).fit, coder.codes):
        with pytest.raises(ValueError, match=f"BinaryCodes: codes are of numbers, not of {kind}"):
            study(rows.astype(kind))


@pytest.mark.parametrize("count", ["2", 2.5, True, None])
def test_neighbours_are_counted_in_whole_numbers(count):
    for study in (nearest, hamming):
        with pytest.raises(ValueError, match=f"count must be a whole number >= 1, not {count!r}"):
            study(np.zeros((5, 2), np.uint8), [0], count)


@pytest.mark.parametrize("layer", [mx.Linear(3, 2), mx.Dense(a=mx.Conv2D(3, 1, 1))])
def test_features_are_of_a_network_with_layers_by_name(layer):
    x = np.zeros((2, 3, 4, 4), np.float32)
    with pytest.raises(TypeError, match=f"features takes a Sequential, not a {type(layer).__name__}"):
        features(layer, x, "a")
