"""State dicts as people save them: inside of other dicts, and with the names that wrappers make."""

from collections import Counter, OrderedDict

import numpy as np
import pytest

import minialex as mx
from minialex import models, weights
from minialex.errors import CheckpointError
from minialex.weights.foreign import TORCHVISION


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def small(rng=0):
    return models.alexnet(7, "cpu", "torchvision", rng=rng, width=1 / 16, image_size=99, init="he")


def state_dict(torch, model):
    """The model's weights under torchvision's names."""
    theirs = {ours: name for name, ours in TORCHVISION.items()}
    return OrderedDict(
        (f"{theirs[layer]}.{kind}", torch.tensor(array))
        for name, array in weights.export_grouped(model).items()
        for layer, _, kind in [name.rpartition(".")]
    )


def renamed(change):
    return lambda names: OrderedDict((change(name), tensor) for name, tensor in names.items())


NAMES = {
    "DataParallel": lambda name: f"module.{name}",
    "DataParallel inside": lambda name: name.replace("features.", "features.module."),
    "both": lambda name: f"module.{name.replace('features.', 'features.module.')}",
    "twice": lambda name: f"module.module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled and parallel": lambda name: f"module._orig_mod.{name}",
    "Lightning": lambda name: f"model.{name}",
    "a network of one's own": lambda name: f"net.backbone.module.{name}",
}


def training(torch, key, state):
    """What people save: the example of PyTorch for ImageNet, say."""
    momentum = {
        "state": {0: {"momentum_buffer": torch.ones(3), "step": 5}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    milestones = {"milestones": Counter([30, 60]), "gamma": 0.1}
    return {"epoch": 90, "arch": "alexnet", key: state, "best_acc1": torch.tensor(56.5), "optimizer": momentum,
            "scheduler": milestones, "size": torch.Size([1, 2]), "name": None}  # fmt: skip


def check(path, model):
    fresh = small(rng=5)
    assert weights.load_pretrained(fresh, path) == []
    for found, wanted in zip(
        weights.export_grouped(fresh).values(), weights.export_grouped(model).values(), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("stream", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("kind", NAMES)
def test_names_with_what_wrappers_put_before_them_are_read(tmp_path, torch, kind, stream):
    model = small(rng=1)
    state = renamed(NAMES[kind])(state_dict(torch, model))
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=not stream)
    check(tmp_path / "net.pth", model)


@pytest.mark.parametrize("kind", NAMES)
def test_so_they_are_in_safetensors(tmp_path, torch, kind):
    from safetensors.torch import save_file

    model = small(rng=1)
    save_file(dict(renamed(NAMES[kind])(state_dict(torch, model))), tmp_path / "net.safetensors")
    check(tmp_path / "net.safetensors", model)


@pytest.mark.parametrize("stream", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "weights"])
def test_a_state_dict_inside_of_another_dict_is_read(tmp_path, torch, key, stream):
    model = small(rng=1)
    state = renamed(NAMES["DataParallel inside"])(state_dict(torch, model))
    torch.save(
        training(torch, key, state),
        tmp_path / "model_best.pth.tar",
        _use_new_zipfile_serialization=not stream,
    )
    check(tmp_path / "model_best.pth.tar", model)


def test_a_parameter_is_an_array_there_too(tmp_path, torch):
    model = small(rng=1)
    state = {name: torch.nn.Parameter(tensor) for name, tensor in state_dict(torch, model).items()}
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    check(tmp_path / "net.pth", model)


def test_two_state_dicts_are_not_chosen_from(tmp_path, torch):
    state = state_dict(torch, small())
    torch.save({"state_dict": state, "model": state}, tmp_path / "net.pth")
    with pytest.raises(
        CheckpointError, match=r"net\.pth should hold one state dict, and holds state_dict and model"
    ):
        weights.read_torchvision(tmp_path / "net.pth")


def test_two_networks_in_one_file_are_not_mixed(tmp_path, torch):
    state = state_dict(torch, small())
    both = {**renamed(NAMES["DataParallel"])(state), **state}
    torch.save(both, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"net\.pth has the weights of several networks"):
        weights.read_torchvision(tmp_path / "net.pth")


def test_what_stands_beside_a_state_dict_is_refused_all_the_same_if_it_is_code(tmp_path, torch):
    torch.save({"state_dict": state_dict(torch, small()), "loss": torch.nn.MSELoss()}, tmp_path / "net.pth")
    with pytest.raises(
        CheckpointError, match=r"net\.pth asks for torch\.nn\.modules\.loss\.MSELoss, and is refused"
    ):
        weights.read_torchvision(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "names",
    [
        ("backbone", "features"),
        ("module", "conv"),
        ("module", "_orig_mod"),
        ("classifier", "features"),
        ("conv", "1"),
    ],
)
def test_a_file_of_ours_is_taken_whatever_its_layers_are_called(tmp_path, names):
    def network(rng):
        inner = mx.Sequential(**{names[1]: mx.Linear(4, 3, rng=rng)})
        return mx.Sequential(body=mx.Sequential(**{names[0]: inner}), head=mx.Linear(3, 2, rng=rng))

    model, again = network(1), network(2)
    mx.save(model, tmp_path / "m.safetensors")
    assert mx.weights.load_pretrained(again, tmp_path / "m.safetensors", new_last_layer=False) == []
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert np.array_equal(one.value, other.value)
