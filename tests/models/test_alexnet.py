"""AlexNet: its presets are what they say, its two towers are one network, and PyTorch finds the same gradients."""

import copy
import math
import re
import zlib

import numpy as np
import pytest

import minialex as mx
from minialex.devices import simdevice
from minialex.devices.device import place, to_numpy
from minialex.devices.simdevice import Transfer
from minialex.layers import Dropout, LocalResponseNorm, ResponseNorm, SameMapNorm, Towers
from minialex.models import alexnet
from minialex.models.alexnet import PRESETS
from minialex.weights import export_grouped, import_grouped

PAIRS = ["cpu,cpu", "sim:0,sim:1", "sim:0,sim:0"]
TWO_TOWERS = ["paper", "cuda-convnet"]
TINY = {"num_classes": 5, "width": 0.0625, "image_size": 67, "devices": "cpu"}
SMALL = {
    "num_classes": 5,
    "width": 0.125,
    "image_size": 99,
    "devices": "cpu",
}  # fc6 reads 2x2 pixels of each map


class Zeros(np.random.Generator):
    """Draws zeros, in no time: for what hangs on shapes alone."""

    def standard_normal(self, size=None):
        return np.zeros(size, np.float32)


def zeros():
    return Zeros(np.random.PCG64())


def whole_size(preset, **options):
    return alexnet(preset=preset, devices=options.pop("devices", "cpu"), rng=zeros(), **options)


def lively(preset="paper", dtype="float64", alpha=None, p=None, **options):
    """A small network in which every term matters: He-normal weights, random biases, perhaps a larger alpha."""
    model = alexnet(preset=preset, init="he", **{**SMALL, **options}).astype(dtype)
    rng = np.random.default_rng(7)
    arrays = export_grouped(model)
    arrays |= {n: rng.uniform(-0.5, 0.5, a.shape) for n, a in arrays.items() if n.endswith("bias")}
    import_grouped(model, arrays)
    for layer in insides(model):
        if isinstance(layer, ResponseNorm) and alpha is not None:
            layer.alpha = alpha
        if isinstance(layer, Dropout) and p is not None:
            layer.p = p
    return model


def insides(layer):
    """Every layer that holds no other: the stages of the towers, and what is outside them."""
    children = layer.children().values()
    return [inner for child in children for inner in insides(child)] if children else [layer]


def batch(model, N=2, seed=0, dtype="float64"):
    """Pictures and labels, on the host."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, *model.picture_shape)).astype(dtype), rng.integers(0, model.num_classes, N)


def passed(model, x, labels, input_grad=True):
    """A forward and a backward pass: everything that comes of it, on the host, by name."""
    logits = model.forward(model.device.asarray(x))
    loss = model.loss.forward(logits, labels)
    grad_x = model.backward(model.loss.backward(), input_grad=input_grad)
    results = {"logits": to_numpy(logits), "loss": to_numpy(loss), **export_grouped(model, grads=True)}
    return results | ({"x": to_numpy(grad_x)} if input_grad else {})


def relative_errors(ours, theirs):
    """By name: how far two arrays are apart, measured by the second one's norm."""
    assert set(ours) == set(theirs)
    assert all(ours[name].shape == theirs[name].shape for name in ours)
    return {n: np.linalg.norm(ours[n] - theirs[n]) / np.linalg.norm(theirs[n]) for n in ours}


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


# ---- what the presets are ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("paper", 60_965_224),
        ("cuda-convnet", 60_965_224),
        ("bvlc", 60_965_224),
        ("torchvision", 61_100_840),
        ("ungrouped", 62_378_344),
    ],
)
def test_a_preset_has_the_published_number_of_parameters(preset, count):
    model = whole_size(preset)
    assert sum(p.value.size for p in model.parameters()) == count
    assert model.num_classes == 1000


def test_the_famous_58_million_are_those_of_one_tower_with_ten_classes():
    assert sum(p.value.size for p in whole_size("ungrouped", num_classes=10).parameters()) == 58_322_314


START = "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 flatten"
START_2012 = (
    START.replace("relu1 norm1 pool1", "norm1 pool1 relu1")
    .replace("norm2", "norm2 samemap2")
    .replace("relu5 pool5", "pool5 relu5")
)
START_2014 = START.replace("norm1 ", "").replace("norm2 ", "")
END = " fc6 relu6 drop6 fc7 relu7 drop7 fc8"
END_2014 = " drop5 fc6 relu6 drop6 fc7 relu7 fc8"
ORDER = {
    "paper": START + END,
    "cuda-convnet": START_2012 + END,
    "bvlc": START + END,
    "torchvision": START_2014 + END_2014,
    "ungrouped": START + END,
}


@pytest.mark.parametrize("preset", ORDER)
def test_the_layers_come_in_their_order(preset):
    assert list(alexnet(preset=preset, towers=1, **TINY).layers) == ORDER[preset].split()


@pytest.mark.parametrize("preset", TWO_TOWERS)
def test_two_towers_meet_before_conv3_fc6_fc7_and_fc8_and_nowhere_else(preset):
    expected = ORDER[preset].split()
    for crossing in ("broadcast_conv1", "exchange_conv3", "exchange_fc6", "exchange_fc7", "gather_fc8"):
        expected.insert(expected.index(crossing.partition("_")[2]), crossing)
    model = alexnet(preset=preset, **TINY)
    assert list(model.layers) == expected
    towers = [name for name, layer in model.layers.items() if isinstance(layer, Towers)]
    assert towers == [name for name in expected if "_" not in name and name != "fc8"]


@pytest.mark.parametrize(
    ("preset", "norm"),
    [
        ("paper", (5, 1e-4, 0.75, 2.0, 2)),
        ("cuda-convnet", (5, 2e-5, 0.75, 2.0, 2)),  # alpha divided by the window's size
        ("bvlc", (5, 2e-5, 0.75, 1.0, 1)),
        ("ungrouped", (5, 1e-4, 0.75, 2.0, 1)),
    ],
)
def test_the_normalisation_has_the_numbers_of_its_preset(preset, norm):
    model = alexnet(preset=preset, towers=1, **TINY)
    for name in ("norm1", "norm2"):
        layer = model[name]
        assert (layer.size, layer.alpha, layer.beta, layer.k, layer.groups) == pytest.approx(norm)


def test_the_released_code_normalises_within_each_map_after_conv2():
    layer = alexnet(preset="cuda-convnet", towers=1, **TINY)["samemap2"]
    assert isinstance(layer, SameMapNorm)
    assert (layer.size, layer.alpha, layer.beta, layer.k) == pytest.approx((5, 0.001 / 25, 0.75, 1.0))


@pytest.mark.parametrize("preset", ORDER)
def test_convolutions_and_poolings_have_the_papers_windows(preset):
    model = alexnet(preset=preset, towers=1, **TINY)
    groups = 1 if preset in ("torchvision", "ungrouped") else 2
    windows = {
        "conv1": (11, 4, 2 if preset == "torchvision" else 0, 1),
        "conv2": (5, 1, 2, groups),
        "conv3": (3, 1, 1, 1),
        "conv4": (3, 1, 1, groups),
        "conv5": (3, 1, 1, groups),
    }
    for name, (kernel, stride, padding, G) in windows.items():
        layer = model[name]
        found = (layer.kernel_size, layer.stride, layer.padding, layer.groups)
        assert found == ((kernel, kernel), (stride, stride), (padding, padding), G), name
    for name in ("pool1", "pool2", "pool5"):
        assert (model[name].kernel_size, model[name].stride, model[name].padding) == ((3, 3), (2, 2), (0, 0))


@pytest.mark.parametrize(
    ("preset", "scaling"),
    [
        ("paper", "test-time"),
        ("cuda-convnet", "test-time"),
        ("bvlc", "inverted"),
        ("torchvision", "inverted"),
    ],
)
def test_dropout_halves_and_scales_as_its_preset_does(preset, scaling):
    found = [layer for layer in insides(alexnet(preset=preset, **TINY)) if isinstance(layer, Dropout)]
    assert {(layer.p, layer.scaling) for layer in found} == {(0.5, scaling)}


def test_a_model_knows_its_preset_its_pictures_and_its_classes():
    model = alexnet(preset="torchvision", **TINY)
    assert (model.preset_name, model.num_classes, model.picture_shape) == ("torchvision", 5, (3, 67, 67))
    assert model.input.crop == 67
    assert PRESETS["torchvision"].input.crop == 224
    assert {
        preset: PRESETS[preset].input.crop for preset in PRESETS if preset != "torchvision"
    } == dict.fromkeys(["paper", "cuda-convnet", "bvlc", "ungrouped"], 227)


# ---- initial weights ---------------------------------------------------------------------------------

NAMES = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
STD = {
    "paper": [0.01] * 8,
    "cuda-convnet": [0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01],
    "bvlc": [0.01] * 5 + [0.005, 0.005, 0.01],
    "ungrouped": [0.01] * 8,
}
BIAS = {"paper": 1.0, "cuda-convnet": 1.0, "bvlc": 0.1, "torchvision": 0.0, "ungrouped": 1.0}


@pytest.mark.parametrize("preset", STD)
def test_weights_are_normal_with_the_recipes_standard_deviation(preset):
    arrays = export_grouped(alexnet(preset=preset, **{**TINY, "width": 0.25}))
    for name, std in zip(NAMES, STD[preset], strict=True):
        weight = arrays[f"{name}.weight"]
        assert weight.std() == pytest.approx(std, rel=0.05), name
        assert abs(weight.mean()) < 4 * std / math.sqrt(weight.size), name
        assert abs(weight).max() > 2.5 * std, name  # not uniform


@pytest.mark.parametrize("preset", BIAS)
def test_the_biases_of_conv2_conv4_conv5_fc6_and_fc7_start_at_the_recipes_number(preset):
    arrays = export_grouped(alexnet(preset=preset, **TINY))
    for name in NAMES:
        expected = BIAS[preset] if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0
        assert set(arrays[f"{name}.bias"].tolist()) == {np.float32(expected)}, name


def test_he_draws_by_fan_in_and_sets_all_biases_to_0():
    arrays = export_grouped(alexnet(init="he", **{**TINY, "width": 0.25}))
    for name in NAMES:
        weight = arrays[f"{name}.weight"]
        assert weight.std() == pytest.approx(math.sqrt(2 / weight[0].size), rel=0.05), name
        assert not arrays[f"{name}.bias"].any(), name


def test_no_layer_has_the_weights_of_another():
    arrays = export_grouped(alexnet(**TINY))
    firsts = [arrays[f"{name}.weight"].ravel()[:2].tolist() for name in NAMES]
    assert len(set(map(tuple, firsts))) == 8


@pytest.mark.parametrize("preset", TWO_TOWERS)
def test_the_same_seed_gives_the_same_network_in_one_tower_and_on_any_devices(preset):
    one = export_grouped(alexnet(preset=preset, towers=1, rng=3, **TINY))
    for devices in (*PAIRS, "sim:1"):
        assert_same(export_grouped(alexnet(preset=preset, rng=3, **{**TINY, "devices": devices})), one)


def test_the_seed_left_out_is_0_and_a_generator_may_be_given():
    weights = [export_grouped(alexnet(rng=rng, **TINY)) for rng in (None, 0, np.random.default_rng(0), 1)]
    assert_same(weights[1], weights[0])
    assert_same(weights[2], weights[0])
    assert (weights[3]["fc6.weight"] != weights[0]["fc6.weight"]).any()


@pytest.mark.parametrize(
    ("width", "maps"), [(1.0, 96), (0.5, 48), (0.0625, 6), (0.03, 2), (0.001, 2), (0.01, 2)]
)
def test_width_scales_maps_and_keeps_them_even(width, maps):
    model = alexnet(**{**TINY, "width": width}, rng=zeros())
    arrays = export_grouped(model)
    assert len(arrays["conv1.bias"]) == maps
    assert all(len(arrays[f"{name}.bias"]) % 2 == 0 for name in NAMES[:-1])
    assert len(arrays["fc8.bias"]) == 5


# ---- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"preset": "alex"},
            "unknown preset 'alex': use paper, cuda-convnet, bvlc, torchvision, ungrouped",
        ),
        ({"init": "xavier"}, "unknown init 'xavier': use preset, he"),
        ({"preset": "bvlc", "towers": 2}, 'preset "bvlc" has 1 tower, not 2'),
        ({"preset": "torchvision", "towers": 2}, 'preset "torchvision" has 1 tower, not 2'),
        ({"preset": "ungrouped", "towers": 0}, 'preset "ungrouped" has 1 tower, not 0'),
        ({"towers": 3}, 'preset "paper" has 1 or 2 towers, not 3'),
        ({"width": 0}, "width must be above 0, not 0"),
        ({"width": -1.0}, "width must be above 0, not -1.0"),
        ({"width": float("nan")}, "width must be above 0, not nan"),
        ({"num_classes": 0}, "num_classes must be a whole number >= 1, not 0"),
        (
            {"image_size": (67, 67)},
            "image_size must be a whole number, the pixels of a side, not (67, 67)",
        ),
        (
            {"image_size": 66},
            "pictures of 66 pixels are too small for this network: 67 is the least "
            "(a window of 3 does not fit into 2 + 2*0 padding = 2 pixels)",
        ),
        (
            {"image_size": 10},
            "pictures of 10 pixels are too small for this network: 67 is the least "
            "(a window of 11 does not fit into 10 + 2*0 padding = 10 pixels)",
        ),
        (
            {"image_size": 0},
            "pictures of 0 pixels are too small for this network: 67 is the least "
            "(a window of 11 does not fit into 0 + 2*0 padding = 0 pixels)",
        ),
        (
            {"preset": "torchvision", "image_size": 62},
            "pictures of 62 pixels are too small for this network: 63 is the least "
            "(a window of 3 does not fit into 2 + 2*0 padding = 2 pixels)",
        ),
        ({"scale": 0}, "scale must be above 0, what each pixel is multiplied by, not 0"),
        ({"scale": float("nan")}, "scale must be above 0, what each pixel is multiplied by, not nan"),
        (
            {"devices": "gpu"},
            "unknown device 'gpu' (did you mean \"cuda:0\"?): "
            'use "cpu", "cuda:0" (or another number), or "sim:0"',
        ),
        ({"devices": "cpu,cpu,cpu"}, "a model takes one device or two, not 3: ['cpu', 'cpu', 'cpu']"),
    ],
)
def test_what_cannot_be_built_says_why(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        alexnet(**{**TINY, **options})


@pytest.mark.parametrize(("preset", "size"), [("paper", 67), ("torchvision", 63)])
def test_the_smallest_picture_leaves_one_pixel_for_fc6(preset, size):
    model = alexnet(preset=preset, **{**TINY, "image_size": size})
    x, _ = batch(model, N=1, dtype="float32")
    assert model.forward(x).shape == (1, 5)
    assert export_grouped(model)["fc6.weight"].shape[1] == len(export_grouped(model)["conv5.bias"])


def test_a_batch_elsewhere_is_refused_with_both_names():
    model = alexnet(**{**TINY, "devices": "sim:1,sim:0"})
    x, _ = batch(model, N=1, dtype="float32")
    with pytest.raises(
        mx.DeviceMismatch, match=r"broadcast_conv1 \(Broadcast\) is on sim:1, the input on cpu"
    ):
        model.forward(x)
    with pytest.raises(mx.DeviceMismatch, match="is on sim:1, the input on sim:0"):
        model.forward(mx.Device("sim:0").asarray(x))


@pytest.mark.parametrize("towers", [1, 2])
def test_pictures_of_another_size_or_depth_are_refused_where_they_do_not_fit(towers):
    model = alexnet(towers=towers, **TINY)
    with pytest.raises(
        ValueError, match=r"AlexNet takes pictures of 67x67, the input has shape \(1, 3, 99, 99\)"
    ):
        model.forward(np.zeros((1, 3, 99, 99), np.float32))
    with pytest.raises(ValueError, match=r"conv1 \(Conv2D\) has 3 input channels, the input 1"):
        model.forward(np.zeros((1, 1, 67, 67), np.float32))


@pytest.mark.parametrize("towers", [1, 2])
def test_backward_needs_a_forward(towers):
    model = alexnet(towers=towers, **TINY)
    with pytest.raises(mx.BackwardBeforeForward, match="AlexNet: backward needs a forward before it"):
        model.backward(np.zeros((1, 5), np.float32))


# ---- devices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "expected"), [(0, ["cpu", "cpu"]), (1, ["cuda:0", "cuda:0"]), (2, ["cuda:0", "cuda:1"])]
)
def test_auto_takes_the_gpus_that_are_there(monkeypatch, count, expected):
    monkeypatch.setattr("minialex.devices.device.cuda_count", lambda: count)
    wanted = []
    monkeypatch.setattr("minialex.devices.device.Device", lambda name: wanted.append(name))
    place("auto")
    assert wanted == expected


def test_without_a_gpu_a_model_is_built_on_the_cpu(monkeypatch):
    monkeypatch.setattr("minialex.devices.device.cuda_count", lambda: 0)
    options = {name: value for name, value in TINY.items() if name != "devices"}
    model = alexnet(**options)
    assert model.device is model.loss.device is mx.Device("cpu")
    assert model["conv1"].devices == place("cpu,cpu")


def homes(model):
    return {p.name: mx.device_of(p.value).name for p in model.parameters() if p.part and p.part[0]}


def test_each_tower_lives_on_its_device_and_fc8_on_the_first():
    model = alexnet(**{**TINY, "devices": "sim:0,sim:1"})
    assert set(homes(model).values()) == {"sim:1"}
    assert len(homes(model)) == 14
    firsts = {mx.device_of(p.value).name for p in model.parameters() if not (p.part and p.part[0])}
    assert firsts == {"sim:0"}
    assert {p.name for p in model.parameters() if p.part is None} == {"fc8.weight", "fc8.bias"}
    assert mx.device_of(model["fc8"].weight.value) is model.device is model.loss.device is mx.Device("sim:0")


@pytest.mark.parametrize("preset", ["bvlc", "torchvision", "ungrouped"])
def test_a_preset_of_one_tower_takes_the_first_device(preset):
    model = alexnet(preset=preset, **{**TINY, "devices": "sim:1,sim:0"})
    assert {mx.device_of(p.value).name for p in model.parameters()} == {"sim:1"}
    assert model.device is mx.Device("sim:1")
    x, _ = batch(model, N=1, dtype="float32")
    with simdevice.recording() as ledger:
        model.eval().forward(model.device.asarray(x))
    assert [t.target for t in ledger.transfers] == ["sim:1"]  # the picture itself


@pytest.mark.parametrize("devices", ["sim:0,sim:1", "sim:1,sim:0", "sim:2"])
@pytest.mark.usefixtures("textbook")
def test_a_model_that_moves_computes_as_if_it_had_been_made_there(devices):
    model = lively(dtype="float32")
    x, labels = batch(model, dtype="float32")
    expected = passed(model, x, labels)
    model.set_counters(dict.fromkeys(model.counters(), 0))
    assert model.to(devices) is model
    assert model.device is model.loss.device is place(devices)[0]
    assert set(homes(model).values()) == {place(devices)[1].name}
    assert_same(passed(model, x, labels), expected)


def test_a_model_that_moved_forgets_its_forward():
    model = alexnet(**TINY)
    x, _ = batch(model, N=1, dtype="float32")
    logits = model.forward(x)
    model.to("sim:0,sim:1")
    with pytest.raises(mx.BackwardBeforeForward):
        model.backward(model.device.asarray(logits))


def test_the_gradients_move_with_the_model():
    model = lively(dtype="float32")
    passed(model, *batch(model, dtype="float32"))
    before = export_grouped(model, grads=True)
    model.to("sim:0,sim:1")
    assert all(mx.device_of(p.grad) is mx.device_of(p.value) for p in model.parameters())
    assert_same(export_grouped(model, grads=True), before)


@pytest.mark.parametrize("devices", PAIRS)
def test_a_copy_stands_on_its_own(devices):
    model = lively(dtype="float32", devices=devices)
    x, labels = batch(model, dtype="float32")
    twin = copy.deepcopy(model)
    assert_same(passed(twin, x, labels), passed(model, x, labels))
    mx.SGD(twin.parameters(), lr=0.1).step()
    assert (export_grouped(twin)["fc7.weight"] != export_grouped(model)["fc7.weight"]).any()
    assert twin.device is model.device


# ---- modes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("towers", [1, 2])
def test_eval_lets_everything_through_and_counts_no_step(towers):
    model = lively(dtype="float32", towers=towers)
    x, _ = batch(model, dtype="float32")
    assert model.eval() is model
    assert (model.forward(x) == model.forward(x)).all()
    assert model.counters() == {"drop6.step": 0, "drop7.step": 0}
    assert model.train() is model
    assert (model.forward(x) != model.forward(x)).any()
    assert model.counters() == {"drop6.step": 2, "drop7.step": 2}


@pytest.mark.parametrize("preset", PRESETS)
def test_dropouts_masks_hang_on_the_models_seed_as_its_weights_do(preset):
    def seeds(rng, towers=None):
        model = alexnet(preset=preset, rng=rng, towers=towers, **TINY)
        return {layer.name: layer.seed for layer in insides(model) if isinstance(layer, Dropout)}

    assert len(set(seeds(1).values())) == len(seeds(1)) == 2
    assert seeds(1) == seeds(1, towers=1) == seeds(np.random.default_rng(1))
    assert not set(seeds(1).values()) & set(seeds(2).values())


def test_counters_put_back_bring_the_masks_back():
    model = lively(dtype="float32")
    x, labels = batch(model, dtype="float32")
    first, counters = passed(model, x, labels), model.counters()
    second = passed(model, x, labels)
    model.set_counters(counters)
    assert_same(passed(model, x, labels), second)
    assert (second["logits"] != first["logits"]).any()


# ---- one tower, two towers, any devices --------------------------------------------------------------


@pytest.mark.parametrize("preset", TWO_TOWERS)
@pytest.mark.parametrize("devices", PAIRS)
@pytest.mark.parametrize("alpha", [None, 0.1])
def test_two_towers_are_the_one_network_with_dropout_on(preset, devices, alpha):
    one = lively(preset, towers=1, alpha=alpha)
    two = lively(preset, devices=devices, alpha=alpha)
    x, labels = batch(one)
    for _ in range(2):  # the second with other masks
        errors = relative_errors(passed(two, x, labels), passed(one, x, labels))
        assert all(error < 1e-10 for error in errors.values()), errors


@pytest.mark.parametrize("preset", TWO_TOWERS)
@pytest.mark.parametrize("devices", [*PAIRS[1:], "cpu", "sim:1,sim:0"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("textbook")
def test_every_pair_of_devices_gives_the_same_bits(preset, devices, dtype):
    x, labels = batch(alexnet(**SMALL), N=3, dtype=dtype)
    expected = passed(lively(preset, dtype), x, labels)
    assert_same(passed(lively(preset, dtype, devices=devices), x, labels), expected)


@pytest.mark.usefixtures("textbook")
def test_one_picture_alone_gives_the_same_bits_on_every_pair():
    x, labels = batch(alexnet(**SMALL), N=1, dtype="float32")
    expected = passed(lively(dtype="float32"), x, labels)
    for devices in PAIRS[1:]:
        assert_same(passed(lively(dtype="float32", devices=devices), x, labels), expected)


@pytest.mark.parametrize("devices", PAIRS)
def test_a_model_skips_the_gradient_of_its_picture_unless_asked(devices):
    model = lively(devices=devices, p=0.0)
    x, labels = batch(model)
    full = passed(model, x, labels)
    assert full.pop("x").shape == x.shape
    logits = model.forward(model.device.asarray(x))
    model.loss.forward(logits, labels)
    assert model.backward(model.loss.backward()) is None
    assert_same(export_grouped(model, grads=True), {n: full[n] for n in export_grouped(model)})


@pytest.mark.parametrize("devices", PAIRS)
def test_a_model_of_two_towers_passes_gradcheck(devices):
    model = lively(
        width=1 / 32, image_size=67, num_classes=3, devices=devices, alpha=0.5, preset="cuda-convnet"
    )
    x, _ = batch(model, N=1)
    report = mx.gradcheck(model, x, max_entries=5)
    assert report, report
    assert list(report.shapes) == ["x", *export_grouped(model)]
    assert len(report.entries) >= 17 * 3
    assert sum(entry.backward != 0 for entry in report.entries) > len(report.entries) / 2


# ---- what crosses, at the real size ------------------------------------------------------------------

# Floats for each picture, one way, in the order of the forward pass (section 3.5, figure 2).
IMAGE, POOL2, POOL5, FC6, FC7 = 154_587, 21_632, 4_608, 2_048, 2_048


def floats(transfers):
    """Between the two devices: (from, to, float32 numbers)."""
    assert all(t.bytes % 4 == 0 for t in transfers if "cpu" not in (t.source, t.target))
    return [(t.source, t.target, t.bytes // 4) for t in transfers if "cpu" not in (t.source, t.target)]


def training_step(model, N, optimizer):
    """Forward, loss, backward, and a step; what each part moved. Pictures and labels are on the device before."""
    x = model.device.asarray(np.zeros((N, *model.picture_shape), np.float32))
    labels = model.device.asarray(np.arange(N))
    ledgers = []
    for part in (
        lambda: model.loss.forward(model.forward(x), labels),
        lambda: model.backward(model.loss.backward()),
        optimizer.step,
    ):
        with simdevice.recording() as ledger:
            part()
        ledgers.append(ledger)
    return ledgers


def test_a_training_step_moves_the_papers_floats_and_no_others_and_waits_for_nothing():
    model = whole_size("paper", devices="sim:0,sim:1")
    forward, backward, step = training_step(model, 1, mx.SGD(model.parameters(), lr=0.01, weight_decay=5e-4))
    there, back = ("sim:0", "sim:1"), ("sim:1", "sim:0")
    assert floats(forward.transfers) == [
        (*there, IMAGE),
        (*back, POOL2), (*there, POOL2),
        (*back, POOL5), (*there, POOL5),
        (*back, FC6), (*there, FC6),
        (*back, FC7),
    ]  # fmt: skip
    assert floats(backward.transfers) == [
        (*there, FC7),
        (*back, FC6), (*there, FC6),
        (*back, POOL5), (*there, POOL5),
        (*back, POOL2), (*there, POOL2),
    ]  # fmt: skip
    masks = [t for t in forward.transfers if "cpu" in t]  # dropout's, drawn on the host: a byte for each unit
    assert masks == [Transfer("cpu", "sim:0", 2048), Transfer("cpu", "sim:1", 2048)] * 2
    assert len(forward.transfers) + len(backward.transfers) == 8 + 7 + 4
    assert step.transfers == []
    assert [ledger.host_syncs for ledger in (forward, backward, step)] == [0, 0, 0]


@pytest.mark.parametrize("preset", TWO_TOWERS)
@pytest.mark.parametrize("N", [1, 3])
def test_what_crosses_is_what_the_summary_says_times_the_batch(preset, N):
    model = alexnet(preset=preset, **{**SMALL, "devices": "sim:0,sim:1"})
    forward, backward, step = training_step(model, N, mx.SGD(model.parameters(), lr=0.01))
    crossing = mx.summary(model).crossing_bytes
    picture = 3 * 99 * 99 * 4
    assert 4 * sum(n for _, _, n in floats(forward.transfers)) == N * crossing
    assert 4 * sum(n for _, _, n in floats(backward.transfers)) == N * (crossing - picture)
    assert step.transfers == []
    assert forward.host_syncs == backward.host_syncs == step.host_syncs == 0


def test_the_gradient_of_the_picture_costs_a_picture_when_it_is_asked_for():
    model = alexnet(**{**TINY, "devices": "sim:0,sim:1"})
    logits = model.forward(model.device.asarray(batch(model, N=2, dtype="float32")[0]))
    with simdevice.recording() as ledger:
        model.backward(logits, input_grad=True)
    assert floats(ledger.transfers)[-1] == ("sim:1", "sim:0", 2 * 3 * 67 * 67)


def test_on_one_device_twice_nothing_crosses():
    model = alexnet(**{**TINY, "devices": "sim:0,sim:0"})
    ledgers = training_step(model, 2, mx.SGD(model.parameters(), lr=0.01))
    assert [floats(ledger.transfers) for ledger in ledgers] == [[], [], []]
    assert [ledger.host_syncs for ledger in ledgers] == [0, 0, 0]
    for ledger in training_step(model.eval(), 2, mx.SGD(model.parameters(), lr=0.01)):  # no masks either
        assert ledger.transfers == []


# ---- PyTorch -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    """On one thread: for arrays this small more of them only wait for each other."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


def drawn_masks(model, N, step=0):
    """Dropout's masks by layer, whole, from their definition: keyed by (seed, name, step)."""
    masks, arrays = {}, export_grouped(model)
    reader = {"drop5": "fc6", "drop6": "fc7", "drop7": "fc8"}
    for layer in insides(model):
        if isinstance(layer, Dropout):
            units = arrays[f"{reader[layer.name]}.weight"].shape[1]
            rng = np.random.default_rng((layer.seed, zlib.crc32(layer.name.encode()), step))
            masks[layer.name] = rng.random((N, units), dtype=np.float32) >= layer.p
    return masks


def their_alexnet(torch, preset, w, x, masks, alpha, same_map_alpha):
    """The network in PyTorch's functions, in one piece, with groups; masks: factors of the layers that drop."""
    F = torch.nn.functional
    groups = 1 if preset in ("torchvision", "ungrouped") else 2
    norm_groups = 2 if preset in ("paper", "cuda-convnet") else 1
    k = 1.0 if preset == "bvlc" else 2.0

    def conv(h, name, G=1, **geometry):
        return F.conv2d(h, w[f"{name}.weight"], w[f"{name}.bias"], groups=G, **geometry)

    def linear(h, name):
        return F.linear(h, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(h):
        if preset == "torchvision":
            return h
        parts = [F.local_response_norm(part, 5, 5 * alpha, 0.75, k) for part in h.chunk(norm_groups, dim=1)]
        return torch.cat(parts, dim=1)  # torch divides alpha by size

    def same_map_norm(h):
        around = 25 * F.avg_pool2d(h * h, 5, stride=1, padding=2)  # the padding's zeros count
        return h / (1.0 + same_map_alpha * around) ** 0.75

    def pool(h):
        return F.max_pool2d(h, 3, stride=2)

    def drop(h, name):
        return h * masks[name] if name in masks else h

    h = conv(x, "conv1", stride=4, padding=2 if preset == "torchvision" else 0)
    h = F.relu(pool(norm(h))) if preset == "cuda-convnet" else pool(norm(F.relu(h)))
    h = norm(F.relu(conv(h, "conv2", groups, padding=2)))
    h = pool(same_map_norm(h) if preset == "cuda-convnet" else h)
    h = F.relu(conv(h, "conv3", padding=1))
    h = F.relu(conv(h, "conv4", groups, padding=1))
    h = pool(F.relu(conv(h, "conv5", groups, padding=1))).flatten(1)
    h = drop(F.relu(linear(drop(h, "drop5"), "fc6")), "drop6")
    h = drop(F.relu(linear(h, "fc7")), "drop7")
    return linear(h, "fc8")


def theirs(torch, model, x, labels, step=0):
    """What `passed` gives, from PyTorch."""
    inner = insides(model)
    alpha = next((layer.alpha for layer in inner if isinstance(layer, LocalResponseNorm)), None)
    same_map_alpha = next((layer.alpha for layer in inner if isinstance(layer, SameMapNorm)), None)
    inverted = any(isinstance(layer, Dropout) and layer.scaling == "inverted" for layer in inner)
    p = next(layer.p for layer in inner if isinstance(layer, Dropout))
    masks = {
        name: torch.tensor(mask / (1 - p) if inverted else mask * 1.0)
        for name, mask in drawn_masks(model, len(x), step).items()
    }
    w = {name: torch.tensor(array, requires_grad=True) for name, array in export_grouped(model).items()}
    their_x = torch.tensor(x, requires_grad=True)
    logits = their_alexnet(torch, model.preset_name, w, their_x, masks, alpha, same_map_alpha)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    leaves = {name: leaf.grad.numpy() for name, leaf in (*w.items(), ("x", their_x))}
    return {"logits": logits.detach().numpy(), "loss": loss.detach().numpy(), **leaves}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("devices", PAIRS)
@pytest.mark.parametrize("alpha", [None, 0.1])
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_pytorch_finds_the_same_logits_loss_and_gradients(torch, preset, devices, alpha, p):
    model = lively(preset, alpha=alpha, p=p, devices=devices)
    x, labels = batch(model, N=3)
    errors = relative_errors(passed(model, x, labels), theirs(torch, model, x, labels))
    assert len(errors) == 2 + 16 + 1
    assert all(error < 1e-8 for error in errors.values()), errors


@pytest.mark.parametrize("preset", TWO_TOWERS)
def test_pytorch_agrees_at_the_second_step_with_its_masks(torch, preset):
    model = lively(preset, devices="sim:0,sim:1")
    x, labels = batch(model)
    passed(model, x, labels)
    errors = relative_errors(passed(model, x, labels), theirs(torch, model, x, labels, step=1))
    assert all(error < 1e-8 for error in errors.values()), errors


def test_the_recipes_own_weights_give_pytorchs_gradients_too(torch):
    model = alexnet(rng=1, **{**SMALL, "devices": "sim:0,sim:1"}).astype("float64")
    x, labels = batch(model)
    x *= 60.0  # as pixels from 0 to 255 without their mean: the scale that N(0, 0.01) is made for
    errors = relative_errors(passed(model, x, labels), theirs(torch, model, x, labels))
    assert all(error < 1e-8 for error in errors.values()), errors


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "bvlc"])
def test_pytorch_agrees_at_the_real_size(torch, preset):
    torch.set_num_threads(2)
    model = alexnet(preset=preset, devices="sim:0,sim:1", rng=2).astype("float64")
    x, labels = batch(model)
    x *= 60.0
    errors = relative_errors(passed(model, x, labels), theirs(torch, model, x, labels))
    assert all(error < 1e-8 for error in errors.values()), errors
