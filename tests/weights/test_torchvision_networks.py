"""Files as torchvision keeps them, for the networks after AlexNet: its names are theirs here, but for a few habits."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex import weights

NETWORKS = {
    "resnet": lambda classes=3: mx.models.resnet(18, classes, width=0.05),
    "vgg": lambda classes=3: mx.models.vgg(11, classes, True, width=0.02, image_size=32),
    "densenet": lambda classes=3: mx.models.densenet(121, classes, width=0.1),
    "googlenet": lambda classes=3: mx.models.googlenet(classes, width=0.05),
}
HABITS = {
    "its own": lambda name: name,
    "DataParallel's": lambda name: f"module.{name}",
    "the old DenseNet's": lambda name: re.sub(r"(norm|conv)([12])\.", r"\1.\2.", name),
}


def drawn(model, seed=7):
    rng = np.random.default_rng(seed)
    arrays = weights.export_grouped(model)
    return {name: rng.uniform(0.5, 1.5, array.shape).astype(np.float32) for name, array in arrays.items()}


def written(path, arrays, habit):
    kept = {HABITS[habit](name): array for name, array in arrays.items()}
    for name in arrays:
        if name.endswith("running_mean"):
            kept[HABITS[habit](name.replace("running_mean", "num_batches_tracked"))] = np.array(3)
    weights.save(path, kept)
    return path


@pytest.mark.parametrize("load", [weights.load_torchvision, weights.load_pretrained])
@pytest.mark.parametrize(("name", "habit"), [*((name, "its own") for name in NETWORKS), ("resnet", "DataParallel's"),
                                             ("densenet", "the old DenseNet's")])  # fmt: skip
def test_weights_with_buffers_come_in_under_torchvisions_names(tmp_path, name, habit, load):
    model = NETWORKS[name]()
    arrays = drawn(model)
    assert load(model, written(tmp_path / "w.safetensors", arrays, habit)) == []
    for key, array in weights.export_grouped(model).items():
        np.testing.assert_array_equal(array, arrays[key], err_msg=key)


@pytest.mark.parametrize("name", NETWORKS)
def test_other_classes_start_the_last_layers_anew(tmp_path, name):
    path = written(tmp_path / "w.safetensors", arrays := drawn(NETWORKS[name]()), "its own")
    model = NETWORKS[name](5)
    before = weights.export_grouped(model)
    left = weights.load_pretrained(model, path)
    assert len(left) == (6 if name == "googlenet" else 2)
    for key, array in weights.export_grouped(model).items():
        np.testing.assert_array_equal(array, before[key] if key in left else arrays[key], err_msg=key)
    with pytest.raises(
        ValueError, match=r"w\.safetensors does not fit this model: .*; new_last_layer=True starts"
    ):
        weights.load_torchvision(NETWORKS[name](5), path, new_last_layer=False)


def test_auxiliary_classifiers_that_a_model_does_without_are_left_out(tmp_path):
    path = written(tmp_path / "w.safetensors", drawn(NETWORKS["googlenet"]()), "its own")
    assert weights.load_torchvision(mx.models.googlenet(3, width=0.05, auxiliaries=False), path) == []


@pytest.mark.parametrize(("file", "model"), [("resnet", "vgg"), ("vgg", "resnet"), ("densenet", "googlenet")])
def test_weights_of_another_network_change_nothing_and_are_named(tmp_path, file, model):
    path = written(tmp_path / "w.safetensors", drawn(NETWORKS[file]()), "its own")
    model = NETWORKS[model]()
    before = weights.export_grouped(model)
    with pytest.raises(ValueError, match=r"w\.safetensors does not fit this model: .* is (missing|unknown)"):
        weights.load_pretrained(model, path)
    for key, array in weights.export_grouped(model).items():
        np.testing.assert_array_equal(array, before[key])


def test_our_own_file_of_another_dialect_is_refused_by_its_record(tmp_path):
    model = mx.models.resnet(50, 3, width=0.05)
    weights.save(
        tmp_path / "w.safetensors",
        weights.export_grouped(model),
        weights.as_metadata(weights.record_of(model)),
    )
    with pytest.raises(ValueError, match="it is for preset 'torchvision', this model is preset 'paper'"):
        weights.load_pretrained(mx.models.resnet(50, 3, "paper", width=0.05), tmp_path / "w.safetensors")
