"""LeNet-5: the numbers of its table, the scale of its pictures, and a step that never waits."""

import itertools

import numpy as np
import pytest

import minialex as mx
from minialex import naive
from minialex.devices import simdevice
from minialex.devices.device import to_numpy
from minialex.models.lenet import C3_TABLE, digit_codes

COUNTS = {
    "modern": {"c1": 156, "c3": 2416, "c5": 48_120, "f6": 10_164, "output": 850},
    "1998": {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164},
    "keras": {"c1": 156, "c3": 2416, "c5": 30_840, "f6": 10_164, "output": 850},
}
TOTALS = {"modern": 61_706, "1998": 60_000, "keras": 44_426}
each_variant = pytest.mark.parametrize("variant", TOTALS)


def pictures(model, count=2, dtype="float32"):
    return np.random.default_rng(0).normal(size=(count, *model.picture_shape)).astype(dtype)


def weights(model):
    return [to_numpy(p.value) for p in model.parameters()]


@each_variant
def test_lenet_has_the_parameters_of_its_paper(variant):
    parameters = mx.models.lenet5(variant).parameters()
    counts = {
        layer: sum(p.value.size for p in parameters if p.name.startswith(f"{layer}."))
        for layer in COUNTS[variant]
    }
    assert counts == COUNTS[variant]
    assert sum(p.value.size for p in parameters) == TOTALS[variant]


@each_variant
def test_lenet_names_end_in_weight_or_bias(variant):
    names = [p.name for p in mx.models.lenet5(variant).parameters()]
    assert names == [f"{layer}.{kind}" for layer in COUNTS[variant] for kind in ("weight", "bias")]


@each_variant
def test_lenet_gives_ten_logits_a_picture(device, variant):
    model = mx.models.lenet5(variant, device=device)
    assert model.forward(device.asarray(pictures(model, 3))).shape == (3, 10)


def test_lenet_of_1998_is_its_paper_in_loops(device):
    model = mx.models.lenet5("1998", rng=5).astype("float64")
    for seed, p in enumerate(p for p in model.parameters() if p.name.endswith("bias")):
        p.value = np.random.default_rng(seed).normal(size=p.value.shape)  # 0 would hide a bias
    w = {p.name: p.value for p in model.parameters()}

    def of(layer):
        return w[f"{layer}.weight"], w[f"{layer}.bias"]

    def squash(a):
        return naive.tanh(a, scale=1.7159, slope=2 / 3)

    x = pictures(model, 1, "float64")
    h = squash(naive.conv2d(x, *of("c1")))
    h = squash(naive.subsampling(h, *of("s2")))
    h = squash(naive.table_conv2d(h, C3_TABLE, *of("c3")))
    h = squash(naive.subsampling(h, *of("s4")))
    h = squash(naive.conv2d(h, *of("c5"))).reshape(1, 120)
    h = squash(naive.linear(h, *of("f6")))
    y = model.to(device).forward(device.asarray(x))
    np.testing.assert_allclose(to_numpy(y), naive.rbf(h, digit_codes()), rtol=1e-11)


def test_lenet_maps_have_the_sizes_of_1998():
    model = mx.models.lenet5("1998")
    x, shapes = pictures(model, 1), {}
    for name, layer in model.children().items():
        x = layer.forward(x)
        shapes[name] = x.shape[1:]
    assert (shapes["c1"], shapes["s2"], shapes["c3"]) == ((6, 28, 28), (6, 14, 14), (16, 10, 10))
    assert (shapes["s4"], shapes["c5"], shapes["f6"]) == ((16, 5, 5), (120, 1, 1), (84,))


def test_lenet_s_table_of_1998_has_60_connections():
    assert [len(row) for row in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert all(sum(c in row for row in C3_TABLE) == 10 for c in range(6))


@each_variant
def test_lenet_with_the_same_seed_has_the_same_bits(variant):
    first, second, other = (weights(mx.models.lenet5(variant, rng=seed)) for seed in (3, 3, 4))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


@each_variant
def test_lenet_has_the_same_weights_on_every_device(device, variant):
    model = mx.models.lenet5(variant, rng=3, device=device)
    for p, expected in zip(model.parameters(), weights(mx.models.lenet5(variant, rng=3)), strict=True):
        assert mx.device_of(p.value) is device
        np.testing.assert_array_equal(to_numpy(p.value), expected)
    assert model.loss.device is device


@each_variant
def test_lenet_layers_do_not_share_their_draws(variant):
    drawn = [w.ravel() for w in weights(mx.models.lenet5(variant)) if w.std() > 0]
    for a, b in itertools.combinations(drawn, 2):
        n = min(len(a), len(b), 50)
        assert abs(np.corrcoef(a[:n], b[:n])[0, 1]) < 0.6


@each_variant
def test_lenet_gradients(device, variant):
    model = mx.models.lenet5(variant, device=device)
    assert mx.gradcheck(model, pictures(model, 1), max_entries=12)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_lenet_takes_other_activations(device, activation):
    model = mx.models.lenet5("modern", activation=activation, device=device)
    kinds = {"relu": mx.ReLU, "sigmoid": mx.Sigmoid, "tanh": mx.Tanh}
    assert sum(isinstance(layer, kinds[activation]) for layer in model) == 4
    assert model.forward(device.asarray(pictures(model, 1))).shape == (1, 10)


def test_lenet_with_relu_starts_from_he_s_weights():
    layer = mx.models.lenet5(activation="relu")["c5"]
    assert layer.weight.value.std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)


def test_lenet_of_1998_starts_from_its_uniform_weights():
    weight = mx.models.lenet5("1998")["f6"].weight.value
    assert 0.99 * 2.4 / 120 < abs(weight).max() <= np.float32(2.4 / 120)


def test_lenet_has_dropouts_where_asked():
    model = mx.models.lenet5("keras", dropout=0.4)
    assert [(name, layer.p) for name, layer in model.children().items() if isinstance(layer, mx.Dropout)] == [
        ("c5_dropout", 0.4),
        ("f6_dropout", 0.4),
    ]


@each_variant
def test_lenet_skips_the_gradient_of_its_picture(device, variant):
    model = mx.models.lenet5(variant, device=device)
    y = model.forward(device.asarray(pictures(model)))
    assert model.backward(y) is None
    assert all(p.grad.shape == p.value.shape for p in model.parameters())


@each_variant
def test_a_whole_step_of_lenet_neither_transfers_nor_waits(variant):
    device = mx.Device("sim:0")
    model = mx.models.lenet5(variant, device=device)
    optimizer = mx.SGD(model.parameters(), lr=0.01, weight_decay=1e-3)
    x, labels = device.asarray(pictures(model, 4)), device.asarray(np.array([0, 3, 9, 3]))
    with simdevice.recording() as ledger:
        model.loss.forward(model.forward(x), labels)
        model.backward(model.loss.backward())
        optimizer.step()
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


@each_variant
def test_lenet_s_loss_falls_with_every_small_step(device, variant):
    model = mx.models.lenet5(variant, device=device)
    optimizer = mx.SGD(model.parameters(), lr=1e-3, momentum=0.0)
    x, labels, losses = device.asarray(pictures(model, 8)), device.asarray(np.arange(8)), []
    for _ in range(5):
        losses.append(float(model.loss.forward(model.forward(x), labels)))
        model.backward(model.loss.backward())
        optimizer.step()
    assert losses == sorted(losses, reverse=True)


# prepare


def test_prepare_for_1998_puts_background_at_minus_a_tenth_and_ink_at_1_175():
    raw = np.zeros((1, 1, 28, 28), np.uint8)
    raw[0, 0, 0, 0] = 255
    x = mx.models.lenet5("1998").prepare(raw)
    assert (x.shape, x.dtype) == ((1, 1, 32, 32), np.float32)
    assert x[0, 0, 2, 2] == pytest.approx(1.175)
    x[0, 0, 2, 2] = -0.1  # the border is background like the rest
    np.testing.assert_allclose(x, np.float32(-0.1))


@pytest.mark.parametrize("variant", ["modern", "keras"])
def test_prepare_for_today_standardises_by_mnist_s_mean_and_deviation(variant):
    raw = np.arange(784).reshape(1, 1, 28, 28).astype(np.uint8)
    x = mx.models.lenet5(variant).prepare(raw)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, (raw - 33.32) / 78.57, rtol=1e-5, atol=1e-5)


@each_variant
def test_what_prepare_makes_the_model_takes(variant):
    model = mx.models.lenet5(variant)
    x = model.prepare(np.zeros((2, 1, 28, 28), np.uint8))
    assert x.shape[1:] == model.picture_shape
    assert model.forward(x).shape == (2, 10)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 1, 28, 28), "float32"), ((1, 28, 28), "uint8"), ((1, 1, 32, 32), "uint8")]
)
def test_prepare_refuses_other_pictures(shape, dtype):
    with pytest.raises(ValueError, match=rf"pictures must be uint8 \(N, 1, 28, 28\), not {dtype} \(1, "):
        mx.models.lenet5().prepare(np.zeros(shape, dtype))


# The codes of 1998


def test_codes_are_plus_and_minus_one():
    codes = digit_codes()
    assert (codes.shape, codes.dtype) == ((10, 84), np.float32)
    assert set(np.unique(codes)) == {-1.0, 1.0}


def test_codes_of_two_digits_differ_in_many_places():
    apart = [(a != b).sum() for a, b in itertools.combinations(digit_codes(), 2)]
    assert min(apart) >= 10


def test_code_of_a_digit_is_its_drawing():
    four = digit_codes()[4].reshape(12, 7)
    assert (four[6] == 1).all()  # the bar of the 4 goes all across
    assert (four[[0, 11]] == np.array([-1, -1, -1, -1, 1, 1, -1])).all()


def test_lenet_of_1998_ends_in_the_codes(device):
    model = mx.models.lenet5("1998", device=device)
    np.testing.assert_array_equal(to_numpy(model["output"].codes.value), digit_codes())
    assert isinstance(model.loss, mx.MAPLoss)


# What is refused


def test_lenet_refuses_an_unknown_variant():
    with pytest.raises(
        ValueError, match=r"unknown variant '1989' \(did you mean 1998\?\): use modern, 1998, keras"
    ):
        mx.models.lenet5("1989")


def test_lenet_refuses_an_unknown_activation():
    with pytest.raises(ValueError, match=r"unknown activation 'gelu' .*: use tanh, relu, sigmoid"):
        mx.models.lenet5(activation="gelu")


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"dropout": 0.5}])
def test_lenet_of_1998_has_no_options(options):
    with pytest.raises(ValueError, match='variant "1998" is as in the paper'):
        mx.models.lenet5("1998", **options)


def test_lenet_says_which_layer_refuses_a_picture(device):
    with pytest.raises(ValueError, match=r"c1 \(Conv2D\) has 1 input channel, the input 3"):
        mx.models.lenet5(device=device).forward(device.asarray(np.zeros((1, 3, 28, 28), np.float32)))


@pytest.mark.parametrize("variant", ["modern", "keras"])
def test_lenet_has_as_many_outputs_as_classes(variant):
    model = mx.models.lenet5(variant, num_classes=26)
    assert model.forward(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 26)
    assert model.architecture["num_classes"] == 26
    assert "num_classes" not in mx.models.lenet5(variant).architecture  # the records of ten stay as they were


def test_lenet_refuses_no_classes_and_of_1998_others_than_ten():
    with pytest.raises(ValueError, match="num_classes must be a whole number >= 1, not 0"):
        mx.models.lenet5(num_classes=0)
    with pytest.raises(ValueError, match=r'"1998" tells ten classes by their codes.*, not 26: use "modern"'):
        mx.models.lenet5("1998", num_classes=26)
