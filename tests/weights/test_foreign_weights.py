"""Networks that others trained: BVLC's .npy, torchvision's .pth and safetensors; and files that try to run code."""

import base64
import io
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.errors import CheckpointError
from minialex.training.checkpoint import save_checkpoint
from minialex.weights.unpickle import TORCH_STREAM, read_npy, read_torch

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")
SIZE, CLASSES = 99, 7  # pool5 has 2x2 pixels: more than one, so that fc6's order counts


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def small(preset, classes=CLASSES, rng=0):
    return mx.models.alexnet(classes, "cpu", preset, rng=rng, width=1 / 16, image_size=SIZE, init="he")


def pictures(scale=1.0):
    return scale * np.random.default_rng(5).standard_normal((2, 3, SIZE, SIZE))


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


def assert_close(ours, theirs, rtol):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= rtol * np.abs(theirs).max()


# ---- BVLC ---------------------------------------------------------------------------------------------


def bvlc_layers(classes=CLASSES):
    """Random weights as BVLC's file has them: (kh, kw, in/groups, out), (in, out) with in = (h, w, c)."""
    rng = np.random.default_rng(1)
    c1, c2, c3, c4, c5, units = 6, 16, 24, 24, 16, 256
    shapes = {
        "conv1": (11, 11, 3, c1),
        "conv2": (5, 5, c1 // 2, c2),
        "conv3": (3, 3, c2, c3),
        "conv4": (3, 3, c3 // 2, c4),
        "conv5": (3, 3, c4 // 2, c5),
        "fc6": (2 * 2 * c5, units),
        "fc7": (units, units),
        "fc8": (units, classes),
    }

    def draw(shape, spread):
        return (spread * rng.standard_normal(shape)).astype(np.float32)

    return {
        name: [draw(shape, (2 / np.prod(shape[:-1])) ** 0.5), draw(shape[-1], 0.1)]
        for name, shape in shapes.items()
    }


def bvlc_logits(torch, layers, x):
    """The network as Caffe computes it, straight from its own layout, with PyTorch's operations."""
    F = torch.nn.functional
    x = torch.tensor(x)
    for name, (weight, bias) in layers.items():
        weight, bias = torch.tensor(weight).double(), torch.tensor(bias).double()
        if name == "fc6":
            x = x.permute(0, 2, 3, 1).flatten(1)  # (N, h*w*c)
        if name in CONVS:
            stride, padding = (4, 0) if name == "conv1" else (1, weight.shape[0] // 2)
            groups = x.shape[1] // weight.shape[2]
            x = F.conv2d(x, weight.permute(3, 2, 0, 1), bias, stride, padding, groups=groups)
        else:
            x = x @ weight + bias
        if name != "fc8":
            x = torch.relu(x)
        if name in ("conv1", "conv2"):
            x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)
        if name in ("conv1", "conv2", "conv5"):
            x = F.max_pool2d(x, 3, 2)
    return x.numpy()


def save_npy(path, content, protocol=2):
    """A .npy file of one pickled object, as np.save writes it."""
    array = np.empty((), dtype=object)
    array[()] = content
    path.write_bytes(npy_around(pickle.dumps(array, protocol)))
    return path


def npy_around(pickled):
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + pickled


# np.save("real.npy", {"conv1": [weights, biases]}) under Python 2.7.18 and NumPy 1.16.6; biases are column-major.
PYTHON_2_NPY = base64.b64decode(
    "k05VTVBZAQB2AHsnZGVzY3InOiAnfE8nLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoKSwgfSAgICAgICAgICAgICAg"
    "ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAqAAmNudW1weS5jb3JlLm11bHRpYXJyYXkKX3Jl"
    "Y29uc3RydWN0CnEBY251bXB5Cm5kYXJyYXkKcQJLAIVVAWKHUnEDKEsBKWNudW1weQpkdHlwZQpxBFUCTzhLAEsBh1JxBShLA1UBfE5O"
    "Tkr/////Sv////9LP3RiiV1xBn1xB1UFY29udjFxCF1xCShoAWgCSwCFVQFih1JxCihLAShLAUsBSwJLA3RoBFUCZjRLAEsBh1JxCyhL"
    "A1UBPE5OTkr/////Sv////9LAHRiiVUYAAAWwwAAyMIAAEjCAAAAAAAASEIAAMhCdGJoAWgCSwCFVQFih1JxDChLAUsCSwKGaARVAmY4"
    "SwBLAYdScQ0oSwNVATxOTk5K/////0r/////SwB0YohVIAAAAAAAAOA/AAAAAAAACEAAAAAAAABpQAAAAAAAAPC/dGJlc2F0Yi4="
)


def test_a_file_that_python_2_wrote_is_read(tmp_path):
    path = tmp_path / "real.npy"
    path.write_bytes(PYTHON_2_NPY)
    content = read_npy(path)
    assert list(content) == ["conv1"]
    weight, bias = content["conv1"]
    wanted = np.arange(-150, 150, 50, dtype=np.float32).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(weight, wanted, strict=True)
    np.testing.assert_array_equal(bias, np.array([[0.5, 200], [3, -1]]), strict=True)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_every_way_to_pickle_arrays_is_read(tmp_path, protocol, rng):
    arrays = [
        rng.standard_normal((2, 3), dtype=np.float32),
        np.asfortranarray(rng.standard_normal((3, 4))),
        rng.standard_normal((6, 6))[::2, ::-3],
        np.arange(3).astype(">f4"),
        rng.standard_normal((2, 1, 2)).astype(np.float16),
        np.array(7),
    ]
    content = {"list": arrays, "dict": {str(i): array for i, array in enumerate(arrays)}, b"bytes": arrays[0]}
    read = read_npy(save_npy(tmp_path / "w.npy", content, protocol))
    assert list(read) == ["list", "dict", "bytes"]
    for found, other, wanted in zip(read["list"], read["dict"].values(), arrays, strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)
        np.testing.assert_array_equal(other, wanted, strict=True)


def test_what_np_save_writes_today_is_read(tmp_path):
    np.save(tmp_path / "w.npy", {"fc8": [np.eye(2), np.ones(2)]}, allow_pickle=True)
    weight, bias = read_npy(tmp_path / "w.npy")["fc8"]
    np.testing.assert_array_equal(weight, np.eye(2))
    np.testing.assert_array_equal(bias, np.ones(2))


def test_bvlc_gives_the_logits_that_its_own_layout_gives(tmp_path, torch):
    layers = bvlc_layers()
    model = small("bvlc")
    assert weights.load_bvlc(model, save_npy(tmp_path / "bvlc.npy", layers)) == []
    x = pictures(scale=100.0)
    assert_close(model.astype("float64").eval().forward(x), bvlc_logits(torch, layers, x), rtol=1e-10)


def test_bvlc_loads_onto_every_device(tmp_path, device):
    path = save_npy(tmp_path / "bvlc.npy", bvlc_layers())
    there, here = small("bvlc").to(device.name), small("bvlc")
    weights.load_bvlc(there, path)
    weights.load_bvlc(here, path)
    assert all(mx.device_of(p.value) is device for p in there.parameters())
    assert_same(weights.export_grouped(there), weights.export_grouped(here))


def test_dicts_of_weights_and_biases_are_the_same_as_lists(tmp_path):
    layers = bvlc_layers()
    named = {name.encode(): {"weights": pair[0], b"biases": pair[1]} for name, pair in layers.items()}
    assert_same(
        weights.read_bvlc(save_npy(tmp_path / "dicts.npy", named)),
        weights.read_bvlc(save_npy(tmp_path / "lists.npy", layers)),
    )


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_dtypes_become_the_models(tmp_path, dtype):
    layers = {name: [array.astype(dtype) for array in pair] for name, pair in bvlc_layers().items()}
    model = small("bvlc")
    weights.load_bvlc(model, save_npy(tmp_path / "w.npy", layers))
    assert {p.value.dtype for p in model.parameters()} == {np.dtype("float32")}
    wanted = layers["fc7"][0].astype(np.float32).T
    np.testing.assert_array_equal(model["fc7"].weight.value, wanted)


# ---- another number of classes, another model ---------------------------------------------------------


def test_a_new_last_layer_keeps_its_fresh_weights_and_says_so(tmp_path):
    path = save_npy(tmp_path / "bvlc.npy", bvlc_layers())
    model, fresh = small("bvlc", classes=3), small("bvlc", classes=3)
    assert weights.load_bvlc(model, path, new_last_layer=True) == ["fc8.weight", "fc8.bias"]
    wanted = weights.read_bvlc(path) | {
        name: p for name, p in weights.export_grouped(fresh).items() if "fc8" in name
    }
    assert_same(weights.export_grouped(model), wanted)


def test_a_new_last_layer_can_have_the_same_classes(tmp_path):
    model = small("bvlc")
    before = weights.export_grouped(model)["fc8.weight"]
    weights.load_bvlc(model, save_npy(tmp_path / "bvlc.npy", bvlc_layers()), new_last_layer=True)
    np.testing.assert_array_equal(model["fc8"].weight.value, before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: small("bvlc", classes=3),
            r"bvlc\.npy does not fit .*fc8\.weight has shape \(7, 256\), the model \(3, 256\).*new_last_layer=True",
        ),
        (
            lambda: small("torchvision"),
            r"bvlc\.npy does not fit .*conv1\.weight has shape \(6, 3, 11, 11\), the model \(4, 3, 11, 11\)",
        ),
        (lambda: small("paper"), 'bvlc.npy does not fit .*preset="bvlc", not preset="paper"'),
        (lambda: mx.models.lenet5(), r"c1\.weight is missing"),
    ],
    ids=["other classes", "torchvision", "paper", "LeNet"],
)
def test_another_model_is_left_as_it_was_and_told_why(tmp_path, model, message):
    model = model()
    before = weights.export_grouped(model)
    with pytest.raises(ValueError, match=message):
        weights.load_bvlc(model, save_npy(tmp_path / "bvlc.npy", bvlc_layers()))
    assert_same(weights.export_grouped(model), before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([np.zeros(2)], "should hold a dict of layers, not a list"),
        ({"conv1": [np.zeros((1, 1, 1, 1))]}, "should hold two arrays for conv1"),
        ({"conv1": np.zeros(3)}, "should hold two arrays for conv1"),
        ({"conv1": [np.zeros((3, 3, 3)), np.zeros(3)]}, r"weights of shape \(3, 3, 3\) for conv1"),
        (
            {"conv5": [np.zeros((3, 3, 2, 4)), np.zeros(4)], "fc6": [np.zeros((30, 2)), np.zeros(2)]},
            "fc6 reads 30 numbers; they are not 4 square maps",
        ),
        ({"conv1": "weights"}, "something that is no array: "),
        ({"conv1": 3}, "something that is no array: int"),
        ({3: np.zeros(3)}, "an int where a name should be"),
        ({"conv1": [np.array(["a"])]}, "an array of .*; only numbers are admitted"),
        ({"conv1": [np.zeros(2, dtype="f4,f8")]}, "an array of .*; only numbers are admitted"),
        ({"conv1": [np.array([None, 1], dtype=object)]}, "an array of .O8?; only numbers are admitted"),
        ({"conv1": [np.float32(3)]}, r"asks for numpy\._core\.multiarray\.scalar, and is refused"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=r"odd\.npy.*" + message):
        weights.read_bvlc(save_npy(tmp_path / "odd.npy", content))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"an array of float64 with shape \(3,\)"),
        (np.array([{}, {}]), r"object with shape \(2,\)"),
    ],
)
def test_a_npy_file_of_another_kind_is_named(tmp_path, array, message):
    np.save(tmp_path / "odd.npy", array, allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"odd\.npy.*" + message):
        weights.read_bvlc(tmp_path / "odd.npy")


# ---- torchvision --------------------------------------------------------------------------------------


def torchvision_alexnet(torch, maps=(4, 12, 24, 16, 16), units=256, classes=CLASSES, side=2):
    """torchvision's AlexNet, put together from its parts."""
    nn = torch.nn
    c1, c2, c3, c4, c5 = maps
    return nn.ModuleDict(
        {
            "features": nn.Sequential(
                *(nn.Conv2d(3, c1, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(c1, c2, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
            ),
            "avgpool": nn.AdaptiveAvgPool2d((side, side)),
            "classifier": nn.Sequential(
                *(nn.Dropout(), nn.Linear(c5 * side * side, units), nn.ReLU()),
                *(nn.Dropout(), nn.Linear(units, units), nn.ReLU()),
                nn.Linear(units, classes),
            ),
        }
    )


def torchvision_logits(torch, net, x):
    net = net.eval()
    with torch.no_grad():
        pooled = net["avgpool"](net["features"](torch.tensor(x)))
        return net["classifier"](pooled.flatten(1)).numpy()


def save_zip(torch, tensors, path):
    torch.save(tensors, path)


def save_stream(torch, tensors, path):
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def save_safetensors(torch, tensors, path):
    weights.save(path, {name: tensor.numpy() for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("save", "name"),
    [(save_zip, "net.pth"), (save_stream, "old.pth"), (save_safetensors, "net.safetensors")],
)
def test_torchvision_gives_pytorchs_logits(tmp_path, torch, save, name):
    torch.manual_seed(0)
    net = torchvision_alexnet(torch)
    save(torch, net.state_dict(), tmp_path / name)
    model = small("torchvision")
    assert weights.load_torchvision(model, tmp_path / name) == []
    x = pictures()
    ours = model.astype("float64").eval().forward(x)
    assert_close(ours, torchvision_logits(torch, net.double(), x), rtol=1e-10)


# torch.save of an OrderedDict under Python 2.7.18 and PyTorch 1.4, when there were no zip files yet:
# weight is a Parameter, torch.arange(6.).reshape(2, 3).t(), and bias a view of the same numbers, [1, 1:].
PYTHON_2_PTH = base64.b64decode(
    "gAKKCmz8nEb5IGqoUBkugAJN6QMugAJ9cQEoVRBwcm90b2NvbF92ZXJzaW9ucQJN6QNVCnR5cGVfc2l6ZXNxA31xBChVA2ludHEFSwRV"
    "BXNob3J0cQZLAlUEbG9uZ3EHSwR1VQ1saXR0bGVfZW5kaWFucQiIdS6AAmNjb2xsZWN0aW9ucwpPcmRlcmVkRGljdApxAV1xAihdcQMo"
    "VQRiaWFzcQRjdG9yY2guX3V0aWxzCl9yZWJ1aWxkX3RlbnNvcl92MgpxBSgoVQdzdG9yYWdlcQZjdG9yY2gKRmxvYXRTdG9yYWdlCnEH"
    "VQ45NDA4OTA3OTk5NTUyMHEIVQNjcHVxCYoBBk50UUsESwKFSwGFiWgBXXEKhVJxC3RScQxlXXENKFUGd2VpZ2h0cQ5jdG9yY2guX3V0"
    "aWxzCl9yZWJ1aWxkX3BhcmFtZXRlcgpxD2gFKChoBmgHVQ45NDA4OTA3OTk5NTUyMHEQaAmKAQZOdFFLAEsDSwKGSwFLA4aJaAFdcRGF"
    "UnESdFJxE4hoAV1xFIVScRWHUnEWZWWFUnEXLoACXXEBVQ45NDA4OTA3OTk5NTUyMHECYS4GAAAAAAAAAAAAAAAAAIA/AAAAQAAAQEAA"
    "AIBAAACgQA=="
)


def test_a_pth_that_python_2_wrote_is_read(tmp_path):
    path = tmp_path / "real.pth"
    path.write_bytes(PYTHON_2_PTH)
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert_same(read_torch(path), {"weight": whole.T, "bias": whole[1, 1:]})


@pytest.mark.parametrize("save", [save_zip, save_stream])
def test_tensors_of_every_kind_and_layout_are_read(tmp_path, torch, save):
    whole = torch.arange(120.0).reshape(2, 3, 4, 5)
    tensors = {
        "whole": whole,
        "part": whole[1:, ::2, 1:3],
        "transposed": whole[0, 0].t(),
        "channels last": whole.clone().contiguous(memory_format=torch.channels_last),
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3),
        "parameter": torch.nn.Parameter(whole[0, 0]),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        **{
            name: torch.tensor([0, 1, 2]).to(getattr(torch, name))
            for name in "half double int16 int64 bool".split()
        },
    }
    save(torch, tensors, tmp_path / "w.pth")
    assert_same(read_torch(tmp_path / "w.pth"), {name: t.detach().numpy() for name, t in tensors.items()})


@pytest.mark.parametrize("save", [save_zip, save_stream])
def test_bfloat16_becomes_float32(tmp_path, torch, save):
    tensor = torch.tensor([1.0, -2.5, 3e38, 1e-40, float("inf")], dtype=torch.bfloat16)
    save(torch, {"w": tensor}, tmp_path / "w.pth")
    assert_same(read_torch(tmp_path / "w.pth"), {"w": tensor.float().numpy()})


def test_bfloat16_in_safetensors_becomes_float32(tmp_path, torch):
    from safetensors.torch import save_file

    tensor = torch.tensor([[1.0, -2.5, 3e38], [1e-40, float("inf"), 0]], dtype=torch.bfloat16)
    save_file({"features.0.weight": tensor, "features.0.bias": torch.ones(2)}, tmp_path / "w.safetensors")
    found = weights.read_torchvision(tmp_path / "w.safetensors")
    assert_same(found, {"conv1.weight": tensor.float().numpy(), "conv1.bias": np.ones(2, np.float32)})


def test_a_big_endian_machines_file_is_read(tmp_path, torch):
    torch.save({"w": torch.arange(4.0)}, tmp_path / "little.pth")
    with (
        zipfile.ZipFile(tmp_path / "little.pth") as little,
        zipfile.ZipFile(tmp_path / "big.pth", "w") as big,
    ):
        for name in little.namelist():
            content = little.read(name)
            if name.endswith("/byteorder"):
                assert content == b"little"
                content = b"big"
            if name.endswith("/data/0"):
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            big.writestr(name, content)
    np.testing.assert_array_equal(read_torch(tmp_path / "big.pth")["w"], np.arange(4.0))


def test_tensors_of_a_kind_without_arrays_are_refused_by_name(tmp_path, torch):
    torch.save({"w": torch.ones(2, dtype=torch.complex64)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth asks for torch\.ComplexFloatStorage, and is refused"):
        read_torch(tmp_path / "w.pth")


def test_a_whole_module_is_refused_by_name(tmp_path, torch):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=r"w\.pth asks for torch\.nn\.modules\.linear\.Linear, and is refused"
    ):
        read_torch(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[1.0], {"state_dict": {"w": [1.0]}}])
def test_what_is_no_state_dict_is_named(tmp_path, torch, content):
    def tensors(value):
        return {k: tensors(v) for k, v in value.items()} if isinstance(value, dict) else [torch.tensor(value)]

    torch.save(tensors(content), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth should hold a state dict"):
        weights.read_torchvision(tmp_path / "w.pth")


def test_a_torchvision_model_of_another_size_is_left_as_it_was(tmp_path, torch):
    torch.save(torchvision_alexnet(torch, units=128).state_dict(), tmp_path / "w.pth")
    model = small("torchvision")
    before = weights.export_grouped(model)
    with pytest.raises(
        ValueError, match=r"w\.pth does not fit .*fc6\.weight has shape \(128, 64\), the model \(256, 64\)"
    ):
        weights.load_torchvision(model, tmp_path / "w.pth")
    assert_same(weights.export_grouped(model), before)


# ---- any file -----------------------------------------------------------------------------------------


def save_ours(folder, model):
    weights.save(folder / "model.safetensors", weights.export_grouped(model))
    return folder / "model.safetensors"


def save_our_checkpoint(folder, model):
    optimizer = mx.SGD(model.parameters(), lr=0.1, momentum=0.9)
    save_checkpoint(folder / "checkpoint.safetensors", model, optimizer, {"epoch": 1})
    return folder / "checkpoint.safetensors"


@pytest.mark.parametrize("save", [save_ours, save_our_checkpoint])
@pytest.mark.parametrize("preset", ["paper", "ungrouped"])
def test_pretrained_takes_our_own_files(tmp_path, save, preset):
    trained = small(preset, rng=1)
    model = small(preset, rng=2)
    assert weights.load_pretrained(model, save(tmp_path, trained)) == []
    assert_same(weights.export_grouped(model), weights.export_grouped(trained))


def test_pretrained_starts_a_new_last_layer_for_other_classes(tmp_path):
    trained, model, fresh = small("paper", rng=1), small("paper", 3, rng=2), small("paper", 3, rng=2)
    assert weights.load_pretrained(model, save_ours(tmp_path, trained)) == ["fc8.weight", "fc8.bias"]
    found, old, new = (weights.export_grouped(net) for net in (model, trained, fresh))
    assert_same(found, {name: new[name] if name.startswith("fc8") else old[name] for name in new})


def test_pretrained_takes_a_bvlc_file(tmp_path):
    path = save_npy(tmp_path / "bvlc.npy", bvlc_layers())
    model = small("bvlc", classes=2)
    assert weights.load_pretrained(model, path) == ["fc8.weight", "fc8.bias"]
    np.testing.assert_array_equal(model["conv5"].weight.value, weights.read_bvlc(path)["conv5.weight"])


@pytest.mark.parametrize(("save", "name"), [(save_zip, "net.pth"), (save_safetensors, "net.safetensors")])
def test_pretrained_takes_torchvisions_files(tmp_path, torch, save, name):
    net = torchvision_alexnet(torch)
    save(torch, net.state_dict(), tmp_path / name)
    model = small("torchvision")
    assert weights.load_pretrained(model, tmp_path / name) == []
    np.testing.assert_array_equal(model["fc7"].bias.value, net["classifier"][4].bias.detach().numpy())


def test_pretrained_works_for_lenet_too(tmp_path):
    model = mx.models.lenet5(rng=2)
    assert weights.load_pretrained(model, save_ours(tmp_path, mx.models.lenet5(rng=1))) == []
    assert_same(weights.export_grouped(model), weights.export_grouped(mx.models.lenet5(rng=1)))


def test_pretrained_does_not_take_another_width_for_other_classes(tmp_path):
    wide = mx.models.alexnet(3, "cpu", "paper", width=1 / 8, image_size=SIZE)
    with pytest.raises(
        ValueError, match=r"model\.safetensors does not fit this model: .*conv1\.weight has shape"
    ):
        weights.load_pretrained(small("paper"), save_ours(tmp_path, wide))


@pytest.mark.parametrize("load", [weights.load_bvlc, weights.load_torchvision, weights.load_pretrained])
@pytest.mark.parametrize("name", ["none.npy", "none.pth", "none.safetensors"])
def test_a_missing_file_is_named(tmp_path, load, name):
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{name}"):
        load(mx.models.lenet5(), tmp_path / name)


# ---- damaged files ------------------------------------------------------------------------------------


def body(value):
    """The opcodes that put a value onto the stack."""
    return pickle.dumps(value, 2)[2:-1]


def tensor_pickle(count, offset, shape, steps, kind="FloatStorage"):
    """{"w": tensor} as PyTorch writes it, its numbers in storage 0."""
    storage = (
        b"(" + body("storage") + f"ctorch\n{kind}\n".encode() + body("0") + body("cpu") + body(count) + b"tQ"
    )
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + body(offset)
        + body(shape)
        + body(steps)
        + b"\x89NtR"
    )
    return b"\x80\x02}" + body("w") + tensor + b"s."


def zip_around(pickled, numbers=None):
    """A file in PyTorch's format: a pickle, and storage 0."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        if numbers is not None:
            archive.writestr("net/data/0", numbers.tobytes())
    return file.getvalue()


def stream_around(pickled, numbers=None):
    """The same in PyTorch's older format."""
    keys, content = (
        ([], b"") if numbers is None else (["0"], numbers.size.to_bytes(8, "little") + numbers.tobytes())
    )
    parts = [
        pickle.dumps(1001, 2),
        pickle.dumps({"little_endian": True}, 2),
        pickled,
        pickle.dumps(keys, 2),
        content,
    ]
    return TORCH_STREAM + b"".join(parts)


SIX = np.arange(6, dtype=np.float32)
READERS = {"net.npy": read_npy, "net.pth": read_torch}


@pytest.mark.parametrize("around", [zip_around, stream_around])
def test_a_hand_made_file_is_like_pytorchs(tmp_path, around):
    path = tmp_path / "net.pth"
    path.write_bytes(around(tensor_pickle(6, 1, (2, 2), (3, 1)), SIX))
    assert_same(read_torch(path), {"w": SIX.reshape(2, 3)[:, 1:]})


@pytest.mark.parametrize("around", [zip_around, stream_around])
@pytest.mark.parametrize(
    ("count", "offset", "shape", "steps"),
    [
        (6, 0, (7,), (1,)),
        (6, 1, (6,), (1,)),
        (6, 6, (), ()),
        (6, -1, (2,), (1,)),
        (6, 5, (3,), (-1,)),
        (6, 0, (2, 2), (5, 1)),
        (6, 0, (5,), (2**60,)),  # in bytes and 64 bits, four such steps come back to the start
        (6, 0, (2, 2), (1,)),
        (6, 0, (-2, -2), (1, 1)),
        (6, 0, ("a",), (1,)),
        (6, 0.5, (2,), (1,)),
        (6, 0, None, None),
        (7, 0, (2,), (1,)),
        (-1, 0, (2,), (1,)),
        ("6", 0, (2,), (1,)),
    ],
)
def test_a_tensor_reads_no_further_than_its_numbers(tmp_path, around, count, offset, shape, steps):
    path = tmp_path / "net.pth"
    path.write_bytes(around(tensor_pickle(count, offset, shape, steps), SIX))
    with pytest.raises(CheckpointError, match=r"net\.pth is damaged"):
        read_torch(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x93NUMPY",
        b"\x80\x02.",
        b"PK\x03\x04 and no more",
        zip_around(b"N."),
        zip_around(b"\x80\x02]" + body("storage") + b"Qa."),
        stream_around(tensor_pickle(6, 0, (6,), (1,))),
        npy_around(b"\x80\x02]" + body(("storage", "kind", "0")) + b"Qa."),
        npy_around(b"N."),
        b"data.pkl" + b" " * 249 + b"ustar\0" + bytes(300),
    ],
)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_of_weights_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is damaged or no file of weights"):
        READERS[name](tmp_path / name)


def test_another_zip_file_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(
        CheckpointError, match=r"net\.pth .*not one of PyTorch's: there is no data\.pkl in it"
    ):
        read_torch(tmp_path / "net.pth")


FILES = {
    "bvlc": ("net.npy", PYTHON_2_NPY),
    "zip": ("net.pth", zip_around(tensor_pickle(6, 1, (2, 2), (3, 1)), SIX)),
    "stream": ("net.pth", PYTHON_2_PTH),
}


@pytest.mark.parametrize(("name", "whole"), FILES.values(), ids=FILES)
def test_a_file_cut_anywhere_is_called_damaged(tmp_path, name, whole):
    path = tmp_path / name
    for length in [*range(0, len(whole), 3), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=rf"{name} is damaged"):
            READERS[name](path)


@pytest.mark.parametrize(("name", "whole"), FILES.values(), ids=FILES)
def test_a_file_with_a_wrong_byte_gives_arrays_or_is_named(tmp_path, name, whole):
    path = tmp_path / name
    messages = []
    for place in range(0, len(whole), 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        try:
            READERS[name](path)
        except CheckpointError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(f"{name} is damaged" in text or f"{name} asks for" in text for text in messages)


# ---- files that try to run code -----------------------------------------------------------------------


class Runs:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments

    def __call__(self):
        """A pickle calls only what can be called."""


def attacks(marker):
    """Pickles that make a file: (the name that gives them away, opcodes)."""
    shell, python = f"echo hello > {marker}", f"open({str(marker)!r}, 'w').close()"
    system, reconstruct = os.system, np.zeros(1).__reduce__()[0]
    in_python_2 = f"S{shell!r}\n".encode()
    return {
        "os.system": (r"posix\.system", pickle.dumps({"conv1": Runs(system, shell)}, 2)),
        "exec": (r"builtins\.exec", pickle.dumps([np.zeros(2), Runs(exec, python)], 4)),
        "subprocess": (r"subprocess\.call", pickle.dumps(Runs(subprocess.call, ["touch", str(marker)]))),
        "getattr chain": (
            r"builtins\.getattr",
            pickle.dumps(Runs(Runs(getattr, Runs(__import__, "os"), "system"), shell), 4),
        ),
        "in an array's description": (
            r"posix\.system",
            pickle.dumps(Runs(reconstruct, np.ndarray, (Runs(system, shell),), b"b"), 4),
        ),
        "in a set of tensors": (
            r"posix\.system",
            pickle.dumps(OrderedDict(w=OrderedDict(v=[(Runs(system, shell),)])), 2),
        ),
        "Python 2": (r"__builtin__\.eval", f"c__builtin__\neval\n(S{python!r}\ntR.".encode()),
        "one opcode": (r"posix\.system", b"(" + in_python_2 + b"iposix\nsystem\n."),
        "another opcode": (r"posix\.system", b"(cposix\nsystem\n" + in_python_2 + b"o."),
        "a name with dots": (
            r"shutil\.os\.system",
            b"\x80\x04\x8c\x06shutil\x8c\x09os.system\x93" + in_python_2 + b"\x85R.",
        ),
        "below an allowed name": (
            r"collections\.OrderedDict\.__init__",
            b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x930cposix\nsystem\n"
            + in_python_2
            + b"\x85R.",
        ),
    }


AROUND = {
    "npy": ("net.npy", npy_around),
    "zip": ("net.pth", zip_around),
    "stream": ("net.pth", stream_around),
}


@pytest.mark.parametrize("attack", attacks("nothing"))
@pytest.mark.parametrize(("name", "around"), AROUND.values(), ids=AROUND)
def test_a_file_that_tries_to_run_code_is_refused(tmp_path, name, around, attack):
    marker = tmp_path / "ran"
    culprit, pickled = attacks(marker)[attack]
    (tmp_path / name).write_bytes(around(pickled))
    with pytest.raises(CheckpointError, match=rf"{name} asks for {culprit}, and is refused"):
        READERS[name](tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("attack", attacks("nothing"))
def test_an_ordinary_unpickler_would_have_run_it(tmp_path, attack):
    marker = tmp_path / "ran"
    pickle.loads(attacks(marker)[attack][1])
    assert marker.exists()


def test_malicious_tensors_that_pytorch_saved_are_refused(tmp_path, torch):
    torch.save({"w": torch.ones(2), "x": Runs(os.system, f"echo > {tmp_path / 'ran'}")}, tmp_path / "net.pth")
    for load in (weights.load_torchvision, weights.load_pretrained):
        with pytest.raises(CheckpointError, match=r"net\.pth asks for posix\.system, and is refused"):
            load(small("torchvision"), tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["numpy ndarray", "torch._utils _rebuild_tensor_v2", "collections OrderedDict", "_codecs encode"]
)
@pytest.mark.parametrize("state", [b"}U\x01aK\x01s", b"N}U\x01aK\x01s\x86"], ids=["attributes", "slots"])
def test_a_pickle_cannot_change_what_it_names(tmp_path, name, state):
    module, function = name.encode().split()
    path = tmp_path / "net.npy"
    path.write_bytes(npy_around(b"\x80\x02c" + module + b"\n" + function + b"\n" + state + b"b."))
    with pytest.raises(CheckpointError, match=r"net\.npy is damaged"):
        read_npy(path)
    assert not hasattr(OrderedDict, "a")
