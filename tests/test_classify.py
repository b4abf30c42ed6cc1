"""python -m minialex classify: a photograph in, five names out."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minialex as mx
from minialex import __main__ as program
from minialex import weights
from minialex.commands.classify import preset_by_shape
from minialex.data.augment import centre_crop, square
from minialex.data.mean_file import _varint, read_mean
from minialex.errors import CheckpointError
from minialex.models.alexnet import PRESETS, alexnet
from minialex.training import networks
from minialex.weights import foreign

SIZE, CLASSES, WIDTH = 99, 7, 1 / 16
NAMES = [
    "tabby cat",
    "goldfish",
    "great white shark",
    "crème brûlée",
    "school bus",
    "volcano",
    "Zwerg, garden",
]


@pytest.fixture
def run(capsys):
    """Call `classify`; returns its exit status and what it wrote."""

    def call(*arguments):
        status = program.main(["classify", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def photo(tmp_path):
    """A picture that is not square, of other colours in each corner."""
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(corners).resize((400, 300), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return tmp_path / "names.txt"


def network(preset, classes=CLASSES):
    model = alexnet(classes, "cpu", preset, rng=4, width=WIDTH, image_size=SIZE, init="he").eval()
    model["fc8"].weight.value *= 0.02 if preset != "torchvision" else 1  # so that it is not too sure
    return model


def save_run(folder, preset, **settings):
    """A finished run's folder: model.safetensors and settings.json."""
    folder.mkdir(exist_ok=True)
    model = network(preset)
    record = weights.as_metadata(weights.record_of(model))
    weights.save(folder / "model.safetensors", weights.export_grouped(model), record)
    settings = {"preset": preset, "width": WIDTH, "image_size": SIZE, **settings}
    (folder / "settings.json").write_text(json.dumps(settings))
    return model


def crop_of(photo, preset):
    """uint8 (3, SIZE, SIZE): the shorter side scaled to what 256 is for the whole network, and the middle of that."""
    side = round(256 * SIZE / PRESETS[preset].input.crop)
    return centre_crop(square(Image.open(photo), side), SIZE).astype(np.float32)


def answer(model, x):
    """The lines that are to be printed for a network's input (3, H, W)."""
    logits = model.forward(np.ascontiguousarray(x[None], dtype=np.float32))[0].astype(float)
    share = np.exp(logits - logits.max())
    share /= share.sum()
    return [f"{100 * share[i]:.1f} %  {NAMES[i]}" for i in share.argsort()[::-1][:5]]


def as_mean(values):
    return np.array(values, dtype=np.float32)[:, None, None]


PREPARED = {
    "paper": lambda crop: crop - as_mean((123, 117, 104)),
    "bvlc": lambda crop: crop[::-1] - as_mean((104, 117, 123)),
    "torchvision": lambda crop: (
        (crop / 255 - as_mean((0.485, 0.456, 0.406))) / as_mean((0.229, 0.224, 0.225))
    ),
}


@pytest.mark.parametrize("preset", PREPARED)
def test_the_five_likeliest_names_are_printed(run, photo, names, tmp_path, preset):
    model = save_run(tmp_path / "run", preset)
    status, out, err = run(photo, "--weights", tmp_path / "run", "--classes", names)
    assert status == 0
    wanted = answer(model, PREPARED[preset](crop_of(photo, preset)))
    assert [line.strip() for line in out.splitlines()] == wanted
    assert all(re.fullmatch(r" [ \d]{3}\.\d %  \S.*", line) for line in out.splitlines())
    assert ("ImageNet's mean colour" in err) == (preset == "paper")


def test_the_presets_give_different_answers():
    """Else the test above could not tell a wrong order of channels or a wrong mean."""
    crop = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE)).astype(np.float32)
    model = network("bvlc")
    assert answer(model, PREPARED["bvlc"](crop)) != answer(model, PREPARED["paper"](crop))
    assert answer(model, PREPARED["bvlc"](crop)) != answer(model, crop[::-1] - as_mean((123, 117, 104)))


def test_a_mean_picture_is_subtracted_where_it_belongs(run, photo, names, tmp_path):
    model = save_run(tmp_path / "run", "paper")
    mean = np.random.default_rng(1).uniform(80, 160, (3, 120, 120)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    status, out, err = run(
        *(photo, "--weights", tmp_path / "run", "--classes", names, "--mean", tmp_path / "mean.npy")
    )
    assert (status, err) == (0, "")
    picture = square(Image.open(photo), 120).astype(np.float32)
    wanted = answer(model, centre_crop(picture - mean, SIZE))
    assert [line.strip() for line in out.splitlines()] == wanted


def test_without_names_classes_have_numbers(run, photo, tmp_path):
    save_run(tmp_path / "run", "bvlc")
    status, out, _ = run(photo, "--weights", tmp_path / "run")
    assert status == 0
    assert all(re.fullmatch(r" +[\d.]+ %  class [0-6]", line) for line in out.splitlines())


def test_a_weight_file_and_its_run_give_the_same_on_any_devices(run, photo, tmp_path):
    save_run(tmp_path / "run", "paper")
    first = run(photo, "--weights", tmp_path / "run")
    assert first[0] == 0
    assert run(photo, "--weights", tmp_path / "run" / "model.safetensors") == first
    assert run(photo, "--weights", tmp_path / "run", "--devices", "sim:0,sim:1") == first


def test_fewer_than_five_classes_are_all_there(run, photo, tmp_path):
    save_run(tmp_path / "run", "bvlc")
    weights.save(tmp_path / "run" / "model.safetensors", weights.export_grouped(network("bvlc", classes=3)))
    status, out, _ = run(photo, "--weights", tmp_path / "run")
    assert (status, len(out.splitlines())) == (0, 3)
    assert sum(float(line.split()[0]) for line in out.splitlines()) == pytest.approx(100, abs=0.2)


@pytest.mark.parametrize(("preset", "name"), [("bvlc", "bvlc.npy"), ("torchvision", "net.safetensors")])
def test_others_weights_say_which_network_they_are_for(
    run, photo, names, tmp_path, monkeypatch, preset, name
):
    model = network(preset)
    arrays = weights.export_grouped(model)
    if preset == "bvlc":
        save_bvlc(tmp_path / name, arrays)
    else:
        theirs = {ours: theirs for theirs, ours in foreign.TORCHVISION.items()}
        renamed = {f"{theirs[key.split('.')[0]]}.{key.split('.')[1]}": a for key, a in arrays.items()}
        weights.save(tmp_path / name, renamed)
    small = {
        "width": WIDTH,
        "image_size": SIZE,
    }  # others' files are of the whole network: no settings say this
    monkeypatch.setattr(
        networks, "alexnet", lambda n, devices, preset, **_: alexnet(n, devices, preset, **small)
    )
    status, out, err = run(photo, "--weights", tmp_path / name, "--classes", names)
    assert (status, err) == (0, "")
    wanted = answer(model, PREPARED[preset](crop_of(photo, preset)))
    assert [line.strip() for line in out.splitlines()] == wanted


def save_bvlc(path, arrays):
    layers = {}
    for name in dict.fromkeys(key.split(".")[0] for key in arrays):
        weight = arrays[f"{name}.weight"]
        if name == "fc6":
            weight = weight.reshape(len(weight), -1, 2, 2).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        weight = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        layers[name] = [weight, arrays[f"{name}.bias"]]
    np.save(path, layers, allow_pickle=True)


def shapes_of(maps, groups):
    """Arrays with a network's shapes, of no numbers."""
    biases = {f"conv{i}.bias": np.zeros(count) for i, count in enumerate(maps, start=1)}
    return {**biases, "conv2.weight": np.zeros((maps[1], maps[0] // groups, 1, 1))}


def test_what_only_one_preset_has_is_recognised():
    assert preset_by_shape("w", shapes_of((64, 192, 384, 256, 256), 1)) == "torchvision"
    assert preset_by_shape("w", shapes_of((96, 256, 384, 384, 256), 1)) == "ungrouped"


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ((96, 256, 384, 384, 256), "name --preset paper or cuda-convnet or bvlc$"),
        ((6, 16, 24, 24, 16), "name --preset paper or .* or ungrouped$"),
    ],
)
def test_what_several_presets_have_must_be_named(maps, message):
    with pytest.raises(ValueError, match="some.file does not say which AlexNet it is: " + message):
        preset_by_shape("some.file", shapes_of(maps, 2))


def forget_the_record(file):
    """As files were before they had one."""
    weights.save(file, weights.load(file))


def test_weights_that_record_their_preset_are_for_no_other(run, photo, tmp_path):
    save_run(tmp_path / "run", "bvlc")
    for path in (tmp_path / "run", shutil.copy(tmp_path / "run" / "model.safetensors", tmp_path)):
        status, out, err = run(photo, "--weights", path, "--preset", "paper")
        assert (status, out) == (1, "")
        assert 'is for preset="bvlc", and --preset asks for "paper"' in err
        assert run(photo, "--weights", path, "--preset", "bvlc")[0] == 0


def test_a_preset_can_be_named_for_weights_without_a_record(run, photo, tmp_path):
    save_run(tmp_path / "run", "bvlc")
    forget_the_record(tmp_path / "run" / "model.safetensors")
    asked = run(photo, "--weights", tmp_path / "run", "--preset", "paper")
    assert asked[0] == 0
    assert "mean colour" in asked[2]
    assert "model.safetensors has no record of its network: it is taken for preset paper" in asked[2]
    assert asked[1] != run(photo, "--weights", tmp_path / "run")[1]


def test_a_weight_file_says_what_it_is_wherever_it_lies(run, photo, tmp_path):
    """And not what the settings.json of another run says."""
    save_run(tmp_path / "run", "bvlc", classes=NAMES)
    model = tmp_path / "run" / "model.safetensors"
    record = weights.record_of(network("bvlc"), {"classes": NAMES})
    weights.save(model, weights.load(model), weights.as_metadata(record))
    wanted = run(photo, "--weights", tmp_path / "run")
    assert wanted[0] == 0
    assert "tabby cat" in wanted[1]
    save_run(tmp_path / "other", "paper", classes=NAMES[::-1])
    shutil.copy(model, tmp_path / "other")
    assert run(photo, "--weights", tmp_path / "other") == wanted


# ---- names of classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines", [NAMES, NAMES[::-1], [f"{name.split()[0]} {i}" for i, name in enumerate(NAMES)][::-1]]
)
def test_a_list_of_classes_follows_the_names_that_were_trained(run, photo, tmp_path, lines):
    trained = [line.split()[0] for line in lines] if lines[0] not in NAMES else NAMES
    save_run(tmp_path / "run", "bvlc", classes=sorted(trained))
    status, out, _ = run(photo, "--weights", tmp_path / "run")
    assert status == 0
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    listed = run(photo, "--weights", tmp_path / "run", "--classes", tmp_path / "list.txt")
    assert listed[0] == 0
    shown = [line.split(" %  ") for line in out.splitlines()]
    for (share, name), line in zip(shown, listed[1].splitlines(), strict=True):
        assert line.startswith(f"{share} %  {name}")


def test_a_list_of_other_classes_is_refused(run, photo, names, tmp_path):
    save_run(tmp_path / "run", "bvlc", classes=["apple", *NAMES[1:]])
    status, out, err = run(photo, "--weights", tmp_path / "run", "--classes", names)
    assert (status, out) == (1, "")
    assert re.search(
        r"names\.txt names other classes \(tabby cat, .*than the network was trained on \(apple, ", err
    )


def test_names_of_another_number_of_classes_are_not_believed(run, photo, tmp_path):
    save_run(tmp_path / "run", "bvlc", classes=NAMES[:4])
    status, out, err = run(photo, "--weights", tmp_path / "run")
    assert (status, out) == (1, "")
    assert "has 7 classes, and is said to know 4, tabby cat, " in err


# ---- what can be wrong --------------------------------------------------------------------------------


def too_few_names(folder):
    (folder / "names.txt").write_text("cat\ndog\n")
    return ["--classes", folder / "names.txt"], r"names\.txt has 2 names, the network 7 classes"


def no_names(folder):
    return ["--classes", folder / "none.txt"], r"none\.txt"


def no_weights(folder):
    return ["--weights", folder / "none.safetensors"], r"there is no file .*none\.safetensors"


def an_empty_folder(folder):
    (folder / "empty").mkdir()
    return ["--weights", folder / "empty"], "holds neither model.safetensors nor"


def weights_of_lenet(folder):
    weights.save(folder / "lenet.safetensors", weights.export_grouped(mx.models.lenet5()))
    return [
        "--weights",
        folder / "lenet.safetensors",
    ], r"lenet\.safetensors is a run of LeNet-5 .*predict reads digits"


def weights_that_run_code(folder):
    class Evil:
        def __reduce__(self):
            return os.system, (f"echo > {folder / 'ran'}",)

    np.save(folder / "evil.npy", np.array(Evil(), dtype=object), allow_pickle=True)
    assert b"system" in (folder / "evil.npy").read_bytes()
    return ["--weights", folder / "evil.npy"], r"evil\.npy asks for posix\.system, and is refused"


def a_mean_of_pickles(folder):
    np.save(folder / "mean.npy", np.array({}), allow_pickle=True)
    return ["--mean", folder / "mean.npy"], "allow_pickle=False"


def a_mean_of_caffe(folder):
    (folder / "mean.binaryproto").write_bytes(as_blob(np.zeros((3, 256, 256))))
    return [
        "--mean",
        folder / "mean.binaryproto",
    ], "a .npy is wanted.* in the order RGB, .* Caffe's, in BGR: np.save"


def a_mean_with_channels_last(folder):
    np.save(folder / "mean.npy", np.zeros((120, 120, 3)))
    return [
        "--mean",
        folder / "mean.npy",
    ], r"shape is \(120, 120, 3\); \.transpose\(2, 0, 1\) puts its channels"


def a_mean_that_is_a_picture(folder):
    Image.new("RGB", (120, 120)).save(folder / "mean.png")
    return ["--mean", folder / "mean.png"], "mean.png is no mean picture .*: a .npy is wanted, by np.save"


def a_mean_that_is_not_there(folder):
    return ["--mean", folder / "mean.npy"], "there is no file .*mean.npy"


def as_blob(mean):
    """As Caffe's compute_image_mean writes it: num, channels, height, width, then the numbers."""
    numbers = b"".join(bytes([8 * field]) + _varint(n) for field, n in enumerate((1, *mean.shape), start=1))
    content = mean.astype("<f4").tobytes()
    return numbers + b"\x2a" + _varint(len(content)) + content


def a_mean_that_is_too_small(folder):
    np.save(folder / "mean.npy", np.zeros((3, 50, 50)))
    return ["--mean", folder / "mean.npy"], "a crop of 99x99 does not fit into a picture of 50x50"


def another_preset(folder):
    return [
        "--preset",
        "torchvision",
    ], 'is for preset="paper", and --preset asks for "torchvision"'


@pytest.mark.parametrize(
    "wrong",
    [
        too_few_names,
        no_names,
        no_weights,
        an_empty_folder,
        weights_of_lenet,
        weights_that_run_code,
        a_mean_of_pickles,
        a_mean_of_caffe,
        a_mean_with_channels_last,
        a_mean_that_is_a_picture,
        a_mean_that_is_not_there,
        a_mean_that_is_too_small,
        another_preset,
    ],
)
def test_a_mistake_is_told_in_one_line(run, photo, tmp_path, wrong):
    save_run(tmp_path / "run", "paper")
    arguments, message = wrong(tmp_path)
    status, out, err = run(photo, "--weights", tmp_path / "run", *arguments)
    assert (status, out) == (1, "")
    lines = [line for line in err.splitlines() if "mean colour" not in line]
    assert len(lines) == 1
    assert re.search("minialex classify: .*" + message, lines[0])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("order", "scale"), [("BGR", 1.0), ("RGB", 1 / 255)])
def test_what_is_said_of_caffes_mean_makes_one_that_is_read(tmp_path, monkeypatch, order, scale):
    monkeypatch.chdir(tmp_path)
    mean = np.random.default_rng(0).uniform(90, 130, (3, 16, 16)).astype(np.float32)
    Path("mean.binaryproto").write_bytes(as_blob(mean))
    with pytest.raises(CheckpointError) as caught:
        read_mean("mean.binaryproto", scale, order)
    exec(re.search(r"np\.save\(.*\)", str(caught.value))[0], {"np": np})
    found = read_mean("mean.npy", scale, order)
    np.testing.assert_allclose(found, scale * (mean if order == "BGR" else mean[::-1]), rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "why"),
    [
        (np.ones((3, 4, 5)), r"its shape is \(3, 4, 5\)"),
        (np.ones((4, 4, 3)), r"its shape is \(4, 4, 3\); .transpose\(2, 0, 1\) puts"),
        (np.ones(3, bool), "it holds True and False, not numbers"),
    ],
)
def test_a_mean_is_of_numbers_and_square(tmp_path, mean, why):
    np.save(tmp_path / "mean.npy", mean)
    with pytest.raises(CheckpointError, match=rf"mean\.npy is no mean picture \({why}"):
        read_mean(tmp_path / "mean.npy")
    for good in (np.ones(3), np.ones((3, 4, 4), np.uint8)):
        np.save(tmp_path / "mean.npy", good)
        np.testing.assert_array_equal(read_mean(tmp_path / "mean.npy"), good)


def test_caffes_mean_of_another_form_is_left_to_caffe(tmp_path):
    (tmp_path / "mean.binaryproto").write_bytes(as_blob(np.zeros((3, 8, 9))))
    with pytest.raises(CheckpointError, match="blobproto_to_array"):
        read_mean(tmp_path / "mean.binaryproto")


def test_a_network_that_has_no_room_is_told_in_one_line(run, photo, tmp_path, monkeypatch):
    """As of settings that say another width than the weights have."""
    save_run(tmp_path / "run", "paper")

    def too_large(*arguments, **others):
        raise MemoryError("Unable to allocate 256. GiB")

    monkeypatch.setattr(networks, "with_weights", too_large)
    status, out, err = run(photo, "--weights", tmp_path / "run")
    assert (status, out, err) == (1, "", "minialex classify: out of memory: Unable to allocate 256. GiB\n")


@pytest.mark.parametrize("content", [None, b"", b"hello", pickle.dumps("photo")])
def test_what_is_no_photograph_is_named(run, tmp_path, content):
    save_run(tmp_path / "run", "bvlc")
    if content is not None:
        (tmp_path / "photo.jpg").write_bytes(content)
    status, out, err = run(tmp_path / "photo.jpg", "--weights", tmp_path / "run")
    assert (status, out) == (1, "")
    assert re.search(r"^minialex classify: .*photo\.jpg cannot be read as a picture", err)
