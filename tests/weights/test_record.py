"""What weight files say of the network that they are for, and that loading listens."""

import json
import re

import numpy as np
import pytest

import minialex as mx
from minialex import train, weights
from minialex.data import ArrayBatches
from minialex.errors import CheckpointError
from minialex.models.alexnet import PRESETS
from minialex.models.lenet import ACTIVATIONS, VARIANTS
from minialex.training import runs
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.weights import record

SMALL = {"width": 1 / 16, "image_size": 67, "init": "he"}
CLASSES = ["cat", "dog", "fish"]


def alexnet(preset="paper", rng=1, classes=3, **settings):
    return mx.models.alexnet(classes, "cpu", preset, rng=rng, **{**SMALL, **settings})


def write(path, model, settings=None):
    metadata = weights.as_metadata(weights.record_of(model, settings))
    weights.save(path, weights.export_grouped(model), metadata)
    return path


def assert_same(model, other, but=()):
    ours, theirs = weights.export_grouped(model), weights.export_grouped(other)
    for name, array in ours.items():
        assert np.array_equal(array, theirs[name]) == (name not in but), name


# ---- what is written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_alexnet_records_all_that_makes_it_again(tmp_path, preset):
    model = alexnet(preset, scale=1 / 64)
    found = weights.read_record(write(tmp_path / "w.safetensors", model, {"classes": CLASSES, "side": 72}))
    assert found.pop("classes") == CLASSES
    assert found.pop("side") == 72
    again = getattr(mx.models, found.pop("network"))(devices="cpu", **found)
    assert weights.load_pretrained(again, tmp_path / "w.safetensors") == []
    assert_same(again, model)
    assert (again.input, again.num_classes) == (model.input, model.num_classes)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lenet_records_all_that_makes_it_again(tmp_path, variant, activation):
    if variant == "1998" and activation != "tanh":
        pytest.skip("1998 is as in the paper")
    model = mx.models.lenet5(variant, rng=3, activation=activation)
    found = weights.read_record(write(tmp_path / "w.safetensors", model))
    again = getattr(mx.models, found.pop("network"))(**found)
    assert weights.load_pretrained(again, tmp_path / "w.safetensors") == []
    assert_same(again, model)
    assert repr(again) == repr(model)


def fitted(folder, model, settings=None, **options):
    x = np.random.default_rng(0).integers(0, 255, (8, 1, 28, 28), dtype=np.uint8)
    batches = ArrayBatches(x, np.arange(8) % 10, 4, prepare=model.prepare)
    optimizer, schedule = mx.SGD(model.parameters(), 0.01), mx.optim.Constant(0.01)
    arguments = {"epochs": 1, "folder": folder, "settings": settings, "holdout": batches}
    train.fit(model, optimizer, schedule, batches, **{**arguments, **options})


@pytest.mark.parametrize("file", [runs.MODEL, runs.BEST, runs.CHECKPOINT])
@pytest.mark.parametrize("given", ["settings", "model"])
def test_what_fit_writes_has_the_record(tmp_path, file, given):
    model, digits = mx.models.lenet5("keras", activation="relu"), [*"0123456789"]
    if given == "model":
        model.classes = digits
    fitted(tmp_path, model, {"classes": digits} if given == "settings" else None)
    wanted = {**model.architecture, "classes": digits}
    assert weights.read_record(tmp_path / file) == wanted
    assert runs.load_run(tmp_path / file)[1]["activation"] == "relu"


def test_copies_in_processes_record_the_same(tmp_path):
    model = mx.models.lenet5("keras")
    with mx.DataParallel(model, processes=2) as parallel:
        assert weights.record_of(parallel) == weights.record_of(model) != {}


def test_as_many_names_as_classes_are_needed():
    with pytest.raises(ValueError, match="the model has 3 classes, not 2, as its names are"):
        weights.record_of(alexnet(), {"classes": ["cat", "dog"]})


def test_your_own_network_has_no_record_and_loads_as_ever(tmp_path):
    model = mx.Sequential(fc=mx.Linear(3, 2, rng=1))
    assert weights.record_of(model) == {}
    assert weights.as_metadata({}) is None
    path = write(tmp_path / "w.safetensors", model)
    assert weights.read_record(path) == {}
    other = mx.Sequential(fc=mx.Linear(3, 2, rng=2))
    weights.load_pretrained(other, path)
    assert_same(other, model)


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    model = alexnet(width=np.float64(1 / 16), image_size=np.int64(67), classes=np.int64(3))
    assert weights.read_record(write(tmp_path / "w.safetensors", model))["num_classes"] == 3


def test_equal_networks_give_equal_bytes(tmp_path):
    for name in "ab":
        write(tmp_path / name, alexnet(), {"classes": CLASSES})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- who reads it -------------------------------------------------------------------------------------

ALIKE = ["paper", "cuda-convnet", "bvlc"]  # in shapes
PAIRS = [(a, b) for a in ALIKE for b in ALIKE if a != b]


def refuses(model, path):
    """Does it raise, and leave the model as it was?"""
    before = weights.export_grouped(model)
    with pytest.raises(ValueError, match="does not fit this model: it is for ") as caught:
        weights.load_pretrained(model, path)
    assert all(np.array_equal(array, before[name]) for name, array in weights.export_grouped(model).items())
    return str(caught.value)


@pytest.mark.parametrize(("written", "read"), PAIRS)
@pytest.mark.parametrize("kind", ["weights", "checkpoint"])
def test_weights_of_another_preset_are_refused_with_both_named(tmp_path, written, read, kind):
    model, path = alexnet(written), tmp_path / "w.safetensors"
    if kind == "weights":
        write(path, model)
    else:
        save_checkpoint(path, model, mx.SGD(model.parameters(), 0.1), {})
    message = refuses(alexnet(read), path)
    assert f"for preset '{written}', this model is preset '{read}'" in message


@pytest.mark.parametrize(("written", "read"), [("tanh", "relu"), ("relu", "sigmoid"), ("sigmoid", "tanh")])
def test_weights_of_another_activation_are_refused(tmp_path, written, read):
    path = write(tmp_path / "w.safetensors", mx.models.lenet5(activation=written))
    message = refuses(mx.models.lenet5(activation=read), path)
    assert f"for activation '{written}', this model is activation '{read}'" in message


SHARED = {"num_classes": 3, "preset": "cifar", "width": 0.125, "shortcut": "A"}


@pytest.mark.parametrize(
    ("written", "read"), [((1, 2, 3), (3, 2, 1)), ((2, 2, 2), (1, 3, 2)), ((1, 3, 2), None)]
)
def test_weights_for_other_numbers_of_blocks_are_refused_and_their_own_load(tmp_path, written, read):
    model = mx.models.resnet(14, rng=1, layers=written, **SHARED)
    path = write(tmp_path / "w.safetensors", model)
    again = mx.models.resnet(14, rng=2, layers=written, **SHARED)
    assert weights.load_pretrained(again, path) == []
    assert_same(model, again)
    other = mx.models.resnet(14, rng=2, layers=read, **SHARED)
    message = refuses(other, path)
    wanted, found = (None if layers in (None, (2, 2, 2)) else [*layers] for layers in (written, read))
    assert f"it is for layers {wanted}, this model is layers {found}" in message
    save_checkpoint(path, model, mx.SGD(model.parameters(), 0.1), {})
    with pytest.raises(CheckpointError, match=re.escape(f"it is for layers {wanted}, this model is layers ")):
        load_checkpoint(path).restore(other)
    load_checkpoint(path).restore(again)


def test_weights_for_other_pixels_are_refused(tmp_path):
    path = write(tmp_path / "w.safetensors", alexnet(scale=1 / 64))
    assert "for scale 0.015625, this model is scale 1.0" in refuses(alexnet(), path)


def test_weights_of_another_network_of_these_shapes_are_refused(tmp_path):
    model = alexnet()
    model.architecture = {"network": "alexnet_b"}
    assert "for network 'alexnet_b', no preset" in refuses(
        alexnet(), write(tmp_path / "w.safetensors", model)
    )


@pytest.mark.parametrize("towers", [1, 2])
def test_what_changes_no_number_may_differ(tmp_path, towers):
    path = write(tmp_path / "w.safetensors", alexnet(towers=3 - towers, rng=7))
    model = alexnet(towers=towers)
    assert weights.load_pretrained(model, path) == []
    assert_same(model, alexnet(rng=7))
    path = write(tmp_path / "l.safetensors", mx.models.lenet5(rng=5))
    weights.load_pretrained(mx.models.lenet5(dropout=0.5), path)


def test_a_checkpoint_of_another_preset_changes_nothing(tmp_path):
    model = alexnet("paper")
    save_checkpoint(tmp_path / "c.safetensors", model, mx.SGD(model.parameters(), 0.1), {})
    other = alexnet("bvlc", rng=2)
    with pytest.raises(
        CheckpointError, match="does not fit this model: it is for preset 'paper', this model is pre"
    ):
        load_checkpoint(tmp_path / "c.safetensors").restore(other)
    assert_same(other, alexnet("bvlc", rng=2))


@pytest.mark.parametrize("here", [["ape", "dog", "fish"], ["dog", "cat", "fish"]])
def test_a_checkpoint_of_other_classes_changes_nothing(tmp_path, here):
    model = alexnet()
    state = {"settings": {"classes": CLASSES}}
    save_checkpoint(tmp_path / "c.safetensors", model, mx.SGD(model.parameters(), 0.1), state)
    other = alexnet(rng=2)
    other.classes = here
    with pytest.raises(CheckpointError, match=r"it knows other classes \(cat, dog, fish\) than the model"):
        load_checkpoint(tmp_path / "c.safetensors").restore(other)
    assert_same(other, alexnet(rng=2))
    other.classes = CLASSES
    load_checkpoint(tmp_path / "c.safetensors").restore(other)
    assert_same(other, model)


# ---- your own network, which says its classes alone ----------------------------------------------------


def own(classes=None, rng=1, kind=mx.layers.Model, outputs=3):
    model = kind(fc=mx.Linear(4, outputs, rng=rng))
    if classes is not None:
        model.classes = classes
    return model


@pytest.mark.parametrize("kind", [mx.layers.Model, mx.Sequential])
def test_your_own_networks_classes_go_with_it_and_others_do_not_fit(tmp_path, kind):
    mx.save(model := own(CLASSES), path := tmp_path / "w.safetensors")
    assert weights.read_record(path) == {"classes": CLASSES}
    assert runs.load_run(path)[1]["classes"] == CLASSES
    for load in (mx.load, weights.load_pretrained):
        load(other := own(rng=2, kind=kind), path)
        assert other.classes == CLASSES
        assert_same(model, other)
    other = own(CLASSES[::-1], rng=2, kind=kind)
    with pytest.raises(
        ValueError, match=r"its classes are \['cat', .*\], the model's \['fish', 'dog', 'cat'\]"
    ):
        mx.load(other, path)
    assert_same(own(rng=2), other)
    assert weights.load_pretrained(other, path) == ["fc.weight", "fc.bias"]


def test_a_run_of_your_own_network_does_not_go_on_with_other_classes(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(6, 4)).astype("float32"), np.arange(6) % 3

    def fit(model, epochs, **where):
        mx.train.fit(model, x, y, loss=mx.SoftmaxCrossEntropy(), lr=0.1, epochs=epochs, **where)

    fit(own(CLASSES), 1, folder=tmp_path)
    for file in (runs.MODEL, runs.CHECKPOINT):
        assert weights.read_record(tmp_path / file) == {"classes": CLASSES}
    with pytest.raises(
        CheckpointError, match=r"it knows other classes \(cat, dog, fish\) than the model \(fish, "
    ):
        fit(own(CLASSES[::-1]), 2, resume=tmp_path)
    fit(own(CLASSES), 2, resume=tmp_path)


@pytest.mark.parametrize(("outputs", "fits"), [(3, True), (2, False), (4, False), (1, True)])
def test_as_many_names_as_your_own_networks_outputs_are_needed(tmp_path, outputs, fits):
    model = mx.Sequential(
        body=mx.Sequential(mx.Flatten(), mx.Linear(4, outputs))
    )  # one number may tell classes apart
    model.classes = CLASSES
    if fits:
        mx.save(model, tmp_path / "w.safetensors")
        return
    with pytest.raises(ValueError, match=f"the model has {outputs} classes, not 3, as its names are"):
        mx.save(model, tmp_path / "w.safetensors")
    assert not [*tmp_path.iterdir()]


def test_what_else_your_own_layer_keeps_as_classes_is_no_names(tmp_path):
    class Scaled(mx.Layer):
        def __init__(self, classes):
            self.weight, self.classes = mx.layers.Parameter(np.ones(3, np.float32)), classes

        def forward(self, x):
            return x * self.weight.value

    for classes in (3, "three"):
        mx.save(model := Scaled(classes), path := tmp_path / "w.safetensors")
        assert weights.read_record(path) == {}
        mx.save(Scaled(CLASSES), path)
        mx.load(model, path)
        weights.load_pretrained(model, path)
        assert model.classes == classes


def test_classes_alone_say_nothing_of_a_network(tmp_path):
    weights.save(
        path := tmp_path / "w.safetensors", weights.export_grouped(alexnet()), {record.KEY: '{"classes": []}'}
    )
    mx.load(model := alexnet(rng=2), path)
    assert_same(alexnet(), model)


# ---- the same network in other words -----------------------------------------------------------------

RESNETS = {
    "A, usual there": (8, "cifar", {}, {"shortcut": "A"}),
    "B, usual there": (18, "torchvision", {}, {"shortcut": "B"}),
    "none": (8, "cifar", {"plain": True}, {"plain": True, "shortcut": "B"}),
}


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("is_old", [False, True])
def test_a_shortcut_that_is_named_is_the_one_that_is_taken(tmp_path, name, is_old):
    depth, preset, *both = RESNETS[name]
    for written, read in (both, both[::-1]):
        model, other = (mx.models.resnet(depth, 3, preset, width=1 / 16, **how) for how in (written, read))
        assert model.architecture == other.architecture
        if is_old:  # what was asked for, before it said what was taken
            model.architecture["shortcut"] = written.get("shortcut")
        mx.save(model, path := tmp_path / "w.safetensors")
        mx.load(other, path)
        save_checkpoint(path, model, mx.SGD(model.parameters(), 0.1), {})
        load_checkpoint(path).restore(other)


def test_another_shortcut_is_another_network(tmp_path):
    model = mx.models.resnet(8, 3, "cifar", width=0.125, layers=(1, 1, 1), plain=True)
    path = write(tmp_path / "w.safetensors", model)
    message = refuses(mx.models.resnet(8, 3, "cifar", width=0.125), path)
    assert "for plain True, shortcut None, this model is plain False, shortcut 'A'" in message


@pytest.mark.parametrize(
    ("written", "read", "fits"), [(8, 32, False), (32, 8, False), (8, 15, True), (None, 32, True)]
)
def test_a_size_of_pictures_at_which_a_smartnet_pools_otherwise_is_another_network(
    tmp_path, written, read, fits
):
    def smart(size):
        return mx.models.smartnet(3, preset="small", width=0.1, image_size=size)

    path, other = write(tmp_path / "w.safetensors", smart(written)), smart(read)
    if fits:
        mx.load(other, path)
        return
    pools = {8: "1 pooling", 32: "2 poolings"}
    there, here = (f"image_size {size}, with {pools[size]} between its blocks" for size in (written, read))
    assert f"it is for {there}, this model is {here}" in refuses(other, path)
    with pytest.raises(ValueError, match=f"w.safetensors does not fit this model: it is for {there}, this"):
        mx.load(other, path)


def test_metadata_of_others_is_no_record(tmp_path):
    weights.save(
        tmp_path / "w.safetensors", weights.export_grouped(alexnet()), {"record": "LP", "format": "pt"}
    )
    assert weights.read_record(tmp_path / "w.safetensors") == {}
    assert weights.load_pretrained(alexnet(rng=2), tmp_path / "w.safetensors") == []


def test_fit_does_not_go_on_with_another_activation(tmp_path):
    fitted(tmp_path, mx.models.lenet5(activation="tanh"))
    with pytest.raises(CheckpointError, match="it is for activation 'tanh', this model is activation 'relu'"):
        fitted(
            tmp_path,
            mx.models.lenet5(activation="relu"),
            resume=load_checkpoint(tmp_path / runs.CHECKPOINT),
            epochs=2,
        )


def test_a_file_without_a_record_is_judged_by_its_shapes(tmp_path):
    weights.save(tmp_path / "w.safetensors", weights.export_grouped(alexnet("paper")))
    model = alexnet("bvlc", rng=2)
    assert weights.read_record(tmp_path / "w.safetensors") == {}
    assert weights.load_pretrained(model, tmp_path / "w.safetensors") == []
    assert_same(model, alexnet("paper"))


@pytest.mark.parametrize("here", [["ape", "dog", "fish"], ["dog", "cat", "fish"]])
def test_other_names_of_classes_leave_the_last_layer(tmp_path, here):
    path = write(tmp_path / "w.safetensors", alexnet(), {"classes": CLASSES})
    last = ["fc8.weight", "fc8.bias"]
    for classes, left in ((CLASSES, []), (here, last)):
        model = alexnet(rng=2)
        model["fc8"].bias.value += 1
        model.classes = classes
        assert weights.load_pretrained(model, path) == left
        assert_same(model, alexnet(), but=left)
        assert weights.load_pretrained(model, path, new_last_layer=False) == []
        assert_same(model, alexnet())


# ---- what is no record --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "5",
        "null",
        "[]",
        '"alexnet"',
        "{}",
        '{"network": 5}',
        '{"preset": "paper"}',
        '{"network": "alexnet", "classes": "cat"}',
        '{"network": "alexnet", "classes": [1, 2, 3]}',
        '{"network": "alexnet", "width": [1]}',
        '{"network": "alexnet", "preset": {"a": 1}}',
        '{"network": "resnet", "layers": "333"}',
        '{"network": "resnet", "layers": [3, 3.0, 3]}',
        '{"network": "resnet", "layers": [3, true, 3]}',
        '{"network": "resnet", "layers": [[3], 3, 3]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_record_is_told_with_the_file(tmp_path, text):
    path = tmp_path / "w.safetensors"
    weights.save(path, weights.export_grouped(alexnet()), {record.KEY: text})
    for read in (weights.read_record, lambda path: weights.load_pretrained(alexnet(), path), runs.load_run):
        if text == "{}":  # says nothing
            read(path)
            continue
        with pytest.raises(CheckpointError, match=r"w\.safetensors has a damaged record of its network"):
            read(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [({"width": 1e9}, "width should be a number .*<= 16, not 1000000000"),
     ({"depth": 10**6 + 4}, "depth should be .*1202"), ({"batch_norm": "yes"}, "batch_norm should be true or false"),
     ({"layers": [6, 0, 6]}, r"layers\[1\] should be a whole number >= 1 and <= 600, not 0"),
     ({"layers": [6, 6, 10**7]}, r"layers\[2\] should be a whole number .*not 10000000"),
     ({"pixels": "0 to 1"}, "pixels should be '-1 to 1', not '0 to 1'")],
)  # fmt: skip
def test_a_record_of_what_no_network_can_be_is_refused_before_one_is_made(tmp_path, more, message):
    record = {"network": "densenet", "preset": "small", "num_classes": 2, **more}
    weights.save(tmp_path / "w.safetensors", {"a": np.zeros(2)}, weights.as_metadata(record))
    with pytest.raises(
        CheckpointError, match=rf"w\.safetensors has a damaged record .*its record\.{message}"
    ):
        runs.read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.npy", "w.pth", "w.bin"])
def test_files_of_others_have_none(tmp_path, name):
    assert weights.read_record(tmp_path / name) == {}


def test_the_record_is_json_that_others_can_read(tmp_path):
    path = write(tmp_path / "w.safetensors", alexnet(), {"classes": CLASSES})
    metadata = weights.load_with_metadata(path)[1]
    assert json.loads(metadata["minialex.record"])["preset"] == "paper"


def test_a_lenet_with_other_than_ten_names_is_not_written(tmp_path):
    model = mx.models.lenet5()
    model.classes = ["a", "b", "c"]
    with pytest.raises(ValueError, match="the model has 10 classes, not 3, as its names are"):
        mx.save(model, tmp_path / "lenet.safetensors")
    assert not [*tmp_path.iterdir()]
