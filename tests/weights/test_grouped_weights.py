"""Whole arrays in, whole arrays out: towers take their parts, and no file knows on which devices it was written."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex import checkpoint, weights
from minialex.devices.device import place, to_numpy
from minialex.errors import CheckpointError
from minialex.layers import Conv2D, Linear, Towers
from minialex.models import alexnet
from minialex.weights import export_grouped, import_grouped

PAIRS = ["cpu,cpu", "sim:0,sim:1", "sim:0,sim:0"]
PLACES = [(devices, towers) for devices in PAIRS for towers in (2, 1)]
TINY = {"num_classes": 5, "width": 0.0625, "image_size": 67}
each_place = pytest.mark.parametrize(("devices", "towers"), PLACES)


def tiny(devices="cpu", towers=2, rng=0, **options):
    return alexnet(devices=devices, towers=towers, rng=rng, init="he", **{**TINY, **options})


def noise(model, seed=1, dtype="float32"):
    """Random whole arrays for a model: no two numbers alike, so that a part in the wrong place is seen."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=array.shape).astype(dtype) for name, array in export_grouped(model).items()}


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


def assert_close(found, wanted, rtol):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert np.linalg.norm(found[name] - array) <= rtol * np.linalg.norm(array), name


# ---- export ------------------------------------------------------------------------------------------


def test_the_whole_arrays_have_the_papers_names_and_shapes():
    class Zeros(np.random.Generator):
        def standard_normal(self, size=None):
            return np.zeros(size, np.float32)

    arrays = export_grouped(alexnet(devices="sim:0,sim:1", rng=Zeros(np.random.PCG64())))
    assert {name: array.shape for name, array in arrays.items()} == {
        "conv1.weight": (96, 3, 11, 11), "conv1.bias": (96,),
        "conv2.weight": (256, 48, 5, 5), "conv2.bias": (256,),
        "conv3.weight": (384, 256, 3, 3), "conv3.bias": (384,),
        "conv4.weight": (384, 192, 3, 3), "conv4.bias": (384,),
        "conv5.weight": (256, 192, 3, 3), "conv5.bias": (256,),
        "fc6.weight": (4096, 9216), "fc6.bias": (4096,),
        "fc7.weight": (4096, 4096), "fc7.bias": (4096,),
        "fc8.weight": (1000, 4096), "fc8.bias": (1000,),
    }  # fmt: skip


@each_place
def test_the_same_names_in_the_same_order_whatever_the_towers(devices, towers):
    exported = export_grouped(tiny(devices, towers))
    assert_same(exported, export_grouped(tiny()))
    assert all(type(array) is np.ndarray for array in exported.values())


@pytest.mark.parametrize("devices", PAIRS)
def test_what_is_exported_is_tower_0s_rows_above_tower_1s(devices):
    model = tiny(devices)
    import_grouped(model, noise(model))
    exported = export_grouped(model)
    for name, layer in model.layers.items():
        if isinstance(layer, Towers) and layer.parameters():
            first, second = (to_numpy(stage.weight.value) for stage in layer.stages)
            np.testing.assert_array_equal(exported[f"{name}.weight"], np.concatenate([first, second]))
            first, second = (to_numpy(stage.bias.value) for stage in layer.stages)
            np.testing.assert_array_equal(exported[f"{name}.bias"], np.concatenate([first, second]))


def test_exported_arrays_are_copies():
    model = tiny()
    before = export_grouped(model)
    for array in export_grouped(model).values():
        array[...] = 7
    assert_same(export_grouped(model), before)


def test_gradients_are_exported_whole_and_asked_for_before_backward_they_name_what_is_missing():
    model = tiny("sim:0,sim:1")
    with pytest.raises(
        ValueError, match=r"^export_grouped: conv1\.weight has no gradient yet: call backward first$"
    ):
        export_grouped(model, grads=True)
    steps(model, None, 1)
    grads = export_grouped(model, grads=True)
    assert {n: a.shape for n, a in grads.items()} == {n: a.shape for n, a in export_grouped(model).items()}


# ---- import ------------------------------------------------------------------------------------------


@each_place
@pytest.mark.parametrize("source", PLACES)
def test_what_one_model_exports_any_other_imports(devices, towers, source):
    giver, taker = tiny(*source), tiny(devices, towers)
    import_grouped(giver, noise(giver))
    import_grouped(taker, export_grouped(giver))
    assert_same(export_grouped(taker), noise(giver))


@pytest.mark.parametrize("devices", PAIRS)
def test_an_import_leaves_each_part_on_its_device_and_in_its_array(devices):
    model = tiny(devices)
    before = [p.value for p in model.parameters()]
    import_grouped(model, noise(model))
    for p, array in zip(model.parameters(), before, strict=True):
        assert p.value is array
        assert mx.device_of(p.value) is place(devices)[bool(p.part and p.part[0])]


def test_an_import_keeps_the_dtype_and_does_not_keep_the_arrays():
    model = tiny("sim:0,sim:1")
    arrays = noise(model, dtype="float64")
    import_grouped(model, arrays)
    expected = {name: array.astype("float32") for name, array in arrays.items()}
    for array in arrays.values():
        array[...] = 7
    assert_same(export_grouped(model), expected)


def test_an_import_takes_arrays_in_any_memory_order():
    model = tiny("sim:0,sim:1")
    import_grouped(model, {name: np.asfortranarray(array) for name, array in noise(model).items()})
    assert_same(export_grouped(model), noise(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("conv2.bias"), "conv2.bias is missing"),
        (lambda a: a.update({"fc9.bias": np.zeros(4)}), "fc9.bias is unknown here"),
        (
            lambda a: a.update({"conv4.weight": a["conv4.weight"][:12]}),  # tower 0's part alone
            "conv4.weight has shape (12, 12, 3, 3), the model (24, 12, 3, 3)",
        ),
        (
            lambda a: a.update({"fc8.bias": np.zeros((1, 5))}),
            "fc8.bias has shape (1, 5), the model (5,)",
        ),
        (lambda a: [a.pop(name) for name in list(a)[:6]], "conv2.bias is missing; and 2 more"),
    ],
)
@each_place
def test_arrays_of_another_model_change_nothing_and_say_why(devices, towers, change, message):
    model = tiny(devices, towers)
    before, arrays = export_grouped(model), noise(model)
    change(arrays)
    with pytest.raises(ValueError, match=f"^these arrays belong to another model: .*{re.escape(message)}$"):
        import_grouped(model, arrays)
    assert_same(export_grouped(model), before)


NO_NUMBERS = [
    (lambda b: np.array(["1"] * b.size), ValueError, "is an array of <U1, not of real numbers"),
    (
        lambda b: np.zeros(b.shape, "M8[D]"),
        ValueError,
        r"is an array of datetime64\[D\], not of real numbers",
    ),
    (lambda b: b + 1j, ValueError, "is an array of complex64, not of real numbers"),
    (lambda b: b.astype(object), ValueError, "is an array of object, not of real numbers"),
    (lambda b: np.ma.masked_less(b, b[0] + 1e-9), ValueError, "has a mask that hides "),
    (lambda b: np.full(b.shape, -1e300), ValueError, r"has -1e\+300 in it, which is too large for float32"),
    (lambda b: b.tolist(), TypeError, "is a list, not an array"),
    (lambda b: None, TypeError, "is a NoneType, not an array"),
    (lambda b: mx.Device("sim:1").asarray(b), mx.errors.DeviceMismatch, "is on sim:1: use mx.to_numpy"),
]


@each_place
@pytest.mark.parametrize(("change", "error", "message"), NO_NUMBERS)
def test_what_is_no_array_of_real_numbers_changes_nothing(devices, towers, change, error, message):
    model = tiny(devices, towers)
    before, arrays = export_grouped(model), noise(model)
    arrays["fc8.bias"] = change(arrays["fc8.bias"])
    with pytest.raises(error, match=rf"^fc8\.bias {message}"):
        import_grouped(model, arrays)
    assert_same(export_grouped(model), before)


def test_a_number_may_be_too_large_for_the_models_dtype_alone():
    layer = Linear(2, 1).astype("float16")
    arrays = {"weight": np.array([[65519, 1]]), "bias": np.array([np.inf])}  # 65519 is rounded to the largest
    import_grouped(layer, arrays)
    assert layer.weight.value.tolist() == [[65504, 1]]
    assert layer.bias.value.tolist() == [np.inf]
    arrays["weight"][0, 0] = 65520
    with pytest.raises(
        ValueError, match=r"^weight has 65520 in it, which is too large for float16 .* is 65504$"
    ):
        import_grouped(layer, arrays)
    import_grouped(layer.astype("float64"), {**arrays, "bias": np.array([True])})
    assert (layer.weight.value.tolist(), layer.bias.value.tolist()) == ([[65520, 1]], [1])


def test_a_name_that_is_no_text_is_an_unknown_one():
    with pytest.raises(ValueError, match=r"belong to another model: 5 is unknown here$"):
        import_grouped(layer := Linear(2, 1), {**export_grouped(layer), 5: np.zeros(1)})


def test_a_file_with_numbers_too_large_for_the_model_is_named(tmp_path):
    arrays = export_grouped(Linear(2, 1))
    arrays["weight"] = np.array([[1e300, 0]])
    weights.save(path := tmp_path / "w.safetensors", arrays)
    for load in (mx.load, weights.load_pretrained):
        with pytest.raises(ValueError, match=r"w\.safetensors does not fit .*weight has 1e\+300 in it"):
            load(Linear(2, 1), path)
        load(Linear(2, 1).astype("float64"), path)


def test_a_network_without_groups_is_another_one():
    with pytest.raises(
        ValueError, match=r"conv2\.weight has shape \(16, 6, 5, 5\), the model \(16, 3, 5, 5\); conv4"
    ):
        import_grouped(tiny(), noise(tiny(preset="ungrouped", towers=1)))


@pytest.mark.parametrize(
    "layer", [lambda: Conv2D(4, 6, 3, groups=2), lambda: Conv2D(4, 6, 3), lambda: Linear(5, 4)]
)
def test_towers_outside_a_model_export_what_the_layer_was(layer):
    one = layer()
    import_grouped(one, noise(one))
    towers = Towers.split(one).to("sim:0,sim:1")
    assert_same(export_grouped(towers), export_grouped(one))
    import_grouped(towers, noise(one, seed=2))
    assert_same(export_grouped(towers), noise(one, seed=2))


# ---- training steps ----------------------------------------------------------------------------------


def optimizer_of(model):
    return mx.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)


def steps(model, optimizer, count, first=0):
    """So many training steps; the batch of each is drawn by its number. Returns the losses."""
    losses = []
    for step in range(first, first + count):
        rng = np.random.default_rng(100 + step)
        x = rng.normal(size=(3, *model.picture_shape)).astype(model.dtype)
        logits = model.forward(model.device.asarray(x))
        losses.append(float(model.loss.forward(logits, rng.integers(0, 5, 3))))
        model.backward(model.loss.backward())
        if optimizer:
            optimizer.step()
    return losses


@pytest.mark.parametrize("devices", PAIRS[1:])
@pytest.mark.parametrize("preset", ["paper", "cuda-convnet"])
@pytest.mark.usefixtures("textbook")
def test_training_on_two_devices_gives_the_bits_of_training_on_the_cpu(devices, preset):
    here, there = tiny(preset=preset), tiny(devices, preset=preset)
    assert steps(there, optimizer_of(there), 3) == steps(here, optimizer_of(here), 3)
    assert_same(export_grouped(there), export_grouped(here))
    assert (export_grouped(here)["fc6.weight"] != export_grouped(tiny(preset=preset))["fc6.weight"]).any()


@pytest.mark.parametrize("devices", PAIRS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_in_two_towers_is_training_in_one_but_for_rounding(devices, dtype):
    two, one = tiny(devices).astype(dtype), tiny(towers=1).astype(dtype)
    rtol = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(steps(two, optimizer_of(two), 3), steps(one, optimizer_of(one), 3), rtol=rtol)
    assert_close(export_grouped(two), export_grouped(one), rtol)


def test_learning_rates_by_layer_reach_both_towers():
    model = tiny("sim:0,sim:1")
    before = export_grouped(model)
    for p in model.parameters():
        p.lr_scale = 0.0 if p.name.startswith("conv1") else 1.0
    steps(model, mx.SGD(model.parameters(), lr=0.01), 1)
    changed = {name for name, array in export_grouped(model).items() if (array != before[name]).any()}
    assert "conv1.weight" not in changed
    assert "conv2.weight" in changed


# ---- checkpoints -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint after two steps on sim:0,sim:1, and that model and optimizer."""
    model = tiny("sim:0,sim:1", rng=3)
    optimizer = optimizer_of(model)
    steps(model, optimizer, 2)
    path = tmp_path_factory.mktemp("towers") / "two.safetensors"
    checkpoint.save_checkpoint(path, model, optimizer, {"epoch": 1})
    return path, model, optimizer


def velocities(optimizer):
    return weights.gather([(p.name, p) for p in optimizer.parameters], optimizer.velocities)


def test_a_checkpoint_of_two_towers_holds_whole_arrays(saved):
    path, model, optimizer = saved
    found = checkpoint.load_checkpoint(path)
    assert_same({name: found.parameters[name] for name in export_grouped(model)}, export_grouped(model))
    assert_same({name: found.velocities[name] for name in velocities(optimizer)}, velocities(optimizer))
    assert len(found.parameters) == len(found.velocities) == 16
    assert found.state["counters"] == {"drop6.step": 2, "drop7.step": 2}


@each_place
def test_a_checkpoint_from_two_devices_loads_anywhere(saved, devices, towers):
    path, model, optimizer = saved
    other = tiny(devices, towers, rng=4)
    others = optimizer_of(other)
    checkpoint.load_checkpoint(path).restore(other, others)
    assert_same(export_grouped(other), export_grouped(model))
    assert_same(velocities(others), velocities(optimizer))
    assert other.counters() == model.counters()
    for p, velocity in zip(others.parameters, others.velocities, strict=True):
        assert mx.device_of(velocity) is mx.device_of(p.value)


@each_place
@pytest.mark.usefixtures("textbook")
def test_training_goes_on_elsewhere_as_if_it_had_never_stopped(saved, devices, towers):
    path, _, _ = saved
    unbroken = tiny("cpu", rng=3)
    unbroken_optimizer = optimizer_of(unbroken)
    steps(unbroken, unbroken_optimizer, 2)
    expected = steps(unbroken, unbroken_optimizer, 2, first=2)

    resumed = tiny(devices, towers, rng=3)  # the seed of the masks, which is no part of a checkpoint
    optimizer = optimizer_of(resumed)
    checkpoint.load_checkpoint(path).restore(resumed, optimizer)
    losses = steps(resumed, optimizer, 2, first=2)
    if towers == 2:
        assert losses == expected
        assert_same(export_grouped(resumed), export_grouped(unbroken))
        assert_same(velocities(optimizer), velocities(unbroken_optimizer))
    else:
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
        assert_close(export_grouped(resumed), export_grouped(unbroken), 1e-4)


def test_a_checkpoint_of_one_tower_loads_into_two(tmp_path):
    one, two = tiny(towers=1, rng=3), tiny("sim:0,sim:1", rng=4)
    first, second = optimizer_of(one), optimizer_of(two)
    steps(one, first, 1)
    checkpoint.save_checkpoint(tmp_path / "one.safetensors", one, first, {})
    checkpoint.load_checkpoint(tmp_path / "one.safetensors").restore(two, second)
    assert_same(export_grouped(two), export_grouped(one))
    assert_same(velocities(second), velocities(first))


@pytest.mark.parametrize("devices", PAIRS[1:])
@pytest.mark.usefixtures("textbook")
def test_the_same_training_writes_the_same_bytes_on_any_devices(tmp_path, devices):
    for name in ("cpu,cpu", devices):
        model = tiny(name)
        optimizer = optimizer_of(model)
        steps(model, optimizer, 1)
        checkpoint.save_checkpoint(tmp_path / name.replace(":", ""), model, optimizer, {"epoch": 1})
    assert (tmp_path / "cpu,cpu").read_bytes() == (tmp_path / devices.replace(":", "")).read_bytes()


def test_a_checkpoint_of_another_width_changes_nothing_and_names_the_file(saved):
    path, _, _ = saved
    wider = tiny("sim:0,sim:1", width=0.125)
    optimizer = optimizer_of(wider)
    before = export_grouped(wider)
    with pytest.raises(
        CheckpointError, match=r"two\.safetensors does not fit this model: .*conv1\.weight has shape"
    ):
        checkpoint.load_checkpoint(path).restore(wider, optimizer)
    assert_same(export_grouped(wider), before)
    assert not any(array.any() for array in velocities(optimizer).values())


def test_a_nan_in_the_second_tower_is_not_saved(tmp_path):
    model = tiny("sim:0,sim:1")
    optimizer = optimizer_of(model)
    with mx.Device("sim:1"):
        model["conv5"].stages[1].bias.value[0] = np.nan
    with pytest.raises(mx.NotFinite, match=r"^conv5\.bias has become NaN or infinite"):
        checkpoint.save_checkpoint(tmp_path / "bad.safetensors", model, optimizer, {})
    assert list(tmp_path.iterdir()) == []


def test_arrays_without_names_are_refused():
    with pytest.raises(TypeError, match="arrays with names are needed, a dict; this is a list"):
        import_grouped(mx.Linear(2, 2), [np.ones((2, 2))])
