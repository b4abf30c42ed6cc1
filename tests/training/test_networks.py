"""The network of a run: which one it is, what pictures it wants, what stays as it is."""

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.models.names import sketch
from minialex.training import networks, runs
from minialex.training.networks import (
    DEFAULTS,
    check_batches,
    freeze,
    make_network,
    outputs_in,
    pictures_wanted,
    side_for,
    which_network,
    with_weights,
)


def settings_for(arch, small=False, **others):
    return {**DEFAULTS, "arch": arch, "small": small, "preset": "paper", "width": 1 / 64, **others}


def arrays_of(arch, small=False):
    return weights.export_grouped(sketch(arch, small))


# ---- which one ----------------------------------------------------------------------------------------


def test_settings_go_before_names_and_kernels():
    arrays = arrays_of("resnet18")
    assert which_network("w", arrays, {"arch": "vgg11"}) == {"arch": "vgg11", "small": False}
    assert which_network("w", arrays, {"preset": "paper"}) == {
        "arch": "alexnet",
        "small": False,
    }  # one of before
    assert which_network("w", arrays, {}) == {"arch": "resnet18", "small": False}
    assert which_network("w", arrays_of("resnet18", True), {}, "resnet18") == {
        "arch": "resnet18",
        "small": True,
    }
    assert which_network("w", arrays_of("vgg11", True), {}, None, True) == {"arch": "vgg11", "small": True}


def test_of_two_that_are_alike_it_is_the_one_that_is_asked_for():
    arrays = arrays_of("inception_resnet_v2", True)
    assert which_network("w", arrays, {}, "inception_resnet_v2")["arch"] == "inception_resnet_v2"


@pytest.mark.parametrize(
    ("arch", "small", "known", "message"),
    [
        ("resnet34", None, {}, r"w is for resnet18, not for resnet34: layer1\.2\.conv1\.weight is missing"),
        (
            "resnet18",
            True,
            {},
            "w is for resnet18, not for resnet18, small: conv1.weight has a kernel of 7x7, that of",
        ),
        (None, True, {}, "w is for resnet18, not for resnet18, small: conv1"),
        (
            "vgg11",
            None,
            {"arch": "resnet18"},
            r"w is for resnet18, not for vgg11: features\.0\.weight is missing",
        ),
        ("resnet5", None, {}, "there is no network 'resnet5'; the nearest are resnet50"),
        ("alexnet", True, {}, "w is for resnet18, not for alexnet, small: conv1.weight has a kernel of 7x7"),
        (
            "inception_resnet_v2",
            True,
            {"arch": "inception_resnet_v1", "small": True},
            "v2, small: .* is missing",
        ),
    ],
)
def test_another_network_is_refused_by_name_and_by_what_differs_first(arch, small, known, message):
    with pytest.raises(ValueError, match=message):
        which_network("w", arrays_of("resnet18"), known, arch, small)


def test_arrays_of_no_network_are_refused():
    strange = {"a.weight": np.zeros((2, 2)), "b": np.zeros(1)}
    with pytest.raises(ValueError, match="no network that is known here: its first arrays are"):
        which_network("w", strange, {})
    almost = arrays_of("resnet18")
    del almost["layer2.0.bn1.running_var"]
    with pytest.raises(
        ValueError, match=r"and for resnet18, the nearest, layer2.0.bn1.running_var is missing"
    ):
        which_network("w", almost, {})
    with pytest.raises(ValueError, match=r"w is not for vgg11: features\.0\.weight is missing"):
        which_network("w", strange, {}, "vgg11")


# ---- what it wants ------------------------------------------------------------------------------------


def test_each_network_gets_crops_of_its_size_from_squares_that_are_a_seventh_wider():
    wanted = {"alexnet": 227, "inception_v3": 299, "inception_resnet_v1": 299}
    for arch in ("alexnet", "vgg16", "googlenet", "inception_v2", *wanted):
        found = pictures_wanted(settings_for(arch))
        assert found.crop == wanted.get(arch, 224), arch
        assert side_for(settings_for(arch), found) == (342 if found.crop == 299 else 256), arch
    for arch in ("zfnet", "inception_v4", "resnet152"):
        found = pictures_wanted(settings_for(arch, True))
        assert (found.crop, side_for(settings_for(arch, True), found)) == (32, 37), arch


@pytest.mark.parametrize(
    ("arch", "size", "least"), [("vgg16", 31, 32), ("inception_v4", 74, 75), ("googlenet", 32, 33)]
)
def test_pictures_that_are_too_small_are_refused_with_the_least_size(arch, size, least):
    with pytest.raises(ValueError, match=rf"pictures of {size} pixels .*: {least} is the least"):
        pictures_wanted(settings_for(arch, image_size=size))


def test_a_network_without_towers_takes_one_device():
    with pytest.raises(
        ValueError, match="sim:0,sim:1 is for AlexNet's towers; resnet18 has none: name one device"
    ):
        make_network(settings_for("resnet18"), 2, "sim:0,sim:1")
    model = make_network(settings_for("alexnet", width=1 / 16, image_size=67), 2, "sim:0,sim:1")
    assert [device.name for device in model.devices] == ["sim:0", "sim:1"]


def test_one_picture_alone_is_too_few_where_maps_of_one_pixel_are_normalised():
    settings = settings_for("inception_v3", batch_size=4)
    for count in (8, 10):
        check_batches(settings, count)
    with pytest.raises(
        ValueError, match=r"9 pictures in batches of 4 leave one alone, .* inception_v3: .*AuxLogits"
    ):
        check_batches(settings, 9)
    check_batches(settings_for("inception_v3", True, batch_size=4), 9)
    check_batches({**settings, "freeze": "AuxLogits"}, 9)


# ---- weights of others --------------------------------------------------------------------------------


def test_others_googlenet_sees_pixels_from_minus_1_to_1_and_needs_no_classifiers_on_the_way(tmp_path):
    arrays = arrays_of("googlenet")
    weights.save(tmp_path / "theirs.safetensors", arrays)
    which = which_network("w", arrays, {})
    pixels = networks.pixels_of_others({}, **which)
    model = with_weights(
        tmp_path / "theirs.safetensors", arrays, settings_for(**which, pixels=pixels), 2, "cpu"
    )
    assert (model.input.mean, model.input.std) == ((0.5,) * 3, (0.5,) * 3)
    assert not hasattr(model, "heads")
    weights.save(tmp_path / "ours.safetensors", arrays, weights.as_metadata(weights.record_of(model)))
    known = runs.read_weights(tmp_path / "ours.safetensors")[1]  # what is trained further remembers it
    assert networks.pixels_of_others(known, **which) == "-1 to 1"
    assert networks.pixels_of_others({"arch": "googlenet"}, **which) is None  # ours
    assert networks.pixels_of_others({}, "resnet18", False) is None


def test_weights_of_ours_are_put_into_the_dialect_that_they_record(tmp_path):
    model = mx.models.resnet(50, 3, "paper", width=1 / 64, image_size=64)
    arrays, file = weights.export_grouped(model), tmp_path / "ours.safetensors"
    weights.save(file, arrays, weights.as_metadata(weights.record_of(model)))
    found = with_weights(
        file, arrays, settings_for("resnet50"), outputs_in(file, arrays, "resnet50", False), "cpu"
    )
    assert found.architecture == model.architecture
    assert found.architecture["preset"] == "paper"
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    np.testing.assert_array_equal(found.eval().forward(x), model.eval().forward(x))


def test_weights_of_another_dialect_of_these_shapes_are_refused(tmp_path):
    model = mx.models.alexnet(2, "cpu", "bvlc", width=1 / 16, image_size=67)
    arrays, file = weights.export_grouped(model), tmp_path / "bvlc.safetensors"
    weights.save(file, arrays, weights.as_metadata(weights.record_of(model)))
    with pytest.raises(ValueError, match="it is for preset 'bvlc', this model is preset 'paper'"):
        with_weights(file, arrays, settings_for("alexnet", width=1 / 16, image_size=67), 2, "cpu")


def test_a_file_without_its_last_layer_is_named():
    arrays = arrays_of("densenet121")
    del arrays["classifier.bias"]
    with pytest.raises(ValueError, match="w has no layer classifier, in which densenet121 ends"):
        outputs_in("w", arrays, "densenet121", False)
    assert outputs_in("w", arrays_of("inception_v3"), "inception_v3", False) == 2


# ---- freezing -----------------------------------------------------------------------------------------


def test_what_is_frozen_keeps_its_running_numbers_and_the_rest_does_not():
    model = sketch("inception_v2", small=True).train()  # whose blocks hold layers that others have named
    frozen = freeze(model, "conv1, inception3a")
    before = weights.export_grouped(model)
    assert frozen == {
        name for name, _ in model.named_parameters() if name.startswith(("conv1.", "inception3a."))
    }
    model.forward(np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32))
    after = weights.export_grouped(model)
    stayed = {name for name in after if "running" in name and np.array_equal(before[name], after[name])}
    assert stayed == {
        name for name in after if "running" in name and name.startswith(("conv1.", "inception3a."))
    }
    assert stayed


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "conv9",
            r"no layer is called conv9.*; there are features, classifier, and what is inside of them, as features",
        ),
        (
            "features.conv",
            r"no layer is called features\.conv .*; there are features",
        ),  # a name's beginning is no name
        ("features,classifier", "with all layers frozen there is nothing to train"),
    ],
)
def test_what_cannot_be_frozen_is_told(names, message):
    with pytest.raises(ValueError, match=message):
        freeze(sketch("densenet121"), names)
