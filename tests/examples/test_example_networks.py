"""examples/alexnet_imagenet.py --arch: the networks after AlexNet through the same program, tiny ones."""

import csv
import itertools
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from running import EXAMPLES, load_program, run_here
from threadpoolctl import threadpool_limits

import minialex as mx
from minialex import __main__ as program_of_commands
from minialex import plot, train, weights
from minialex.data.augment import Prepare
from minialex.data.folder import find_pictures
from minialex.data.loader import PictureBatches
from minialex.layers.sequential import all_layers
from minialex.training import networks, picture_settings, run_pictures, runs, small_data
from minialex.training.command_line import friendly

PROGRAM = EXAMPLES / "alexnet_imagenet.py"
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}
RUN = "--epochs 2 -b 4 -j 0 -p 9 --lr 0.02 --lr-scheduler cosine --seed 3 --devices cpu --output-dir out".split()
RESNET = ["-a", "resnet18", "--small"]
WIDTH = 0.125


module = load_program(PROGRAM, "networks_imagenet")


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(picture_settings.DEFAULTS, "width", WIDTH)
        patch.setitem(picture_settings.DEFAULTS_DRAWN, "width", WIDTH)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)
    for name in ("accuracy_curves", "filters"):
        monkeypatch.setattr(plot, name, lambda *args: args[1].touch())
    return lambda *arguments: run_here(lambda: friendly(module.main), PROGRAM, arguments, monkeypatch, capsys)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """12 pictures to train on, 6 to validate, of three classes."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for split, count in (("train", 12), ("val", 6)):
        for i in range(count):
            name = list(COLOURS)[i % 3]
            noise = rng.integers(-40, 40, (6, 6, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            path = root / split / name / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((40, 36)).save(path)
    return root


@pytest.fixture
def two_classes(pictures, tmp_path):
    for split in ("train", "val"):
        for name in ("blue", "red"):
            shutil.copytree(pictures / split / name, tmp_path / "two" / split / name)
    return tmp_path / "two"


@pytest.fixture(scope="module")
def whole_run(pictures, tmp_path_factory):
    """A run that was not interrupted: its folder, and what it said. Nothing is to be changed there."""
    place, said = tmp_path_factory.mktemp("whole"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("builtins.print", lambda *texts, **_: said.append(" ".join(map(str, texts))))
        module.main([str(pictures), *RESNET, *RUN])
    return place / "out", "\n".join(said)


def stopped_at(monkeypatch, step):
    """End the run at a step; what undoes it."""
    real, steps = train.train_step, itertools.count(1)

    def train_step(*args):
        if next(steps) == step:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr("minialex.training.loop.train_step", train_step)
    return lambda: monkeypatch.setattr("minialex.training.loop.train_step", real)


def history_of(folder):
    with open(folder / runs.HISTORY, newline="") as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


def accuracy_of(result):
    return re.search(r"^Acc@1 ([\d.]+) %, Acc@5 [\d.]+ %, loss ([\d.]+) \((.*)\)$", result.out, re.M).groups()


# ---- a whole run --------------------------------------------------------------------------------------


def test_a_run_says_and_keeps_which_network_it_is(whole_run):
    folder, said = whole_run
    assert said.count("resnet(20), input 3x32x32") == 1
    settings = json.loads((folder / runs.SETTINGS).read_text())
    assert {name: settings[name] for name in ("arch", "small", "width", "side", "image_size")} == {
        "arch": "resnet18", "small": True, "width": WIDTH, "side": 37, "image_size": None,
    }  # fmt: skip
    assert not {"preset", "init", "scale"} & set(settings)
    record = weights.read_record(folder / runs.MODEL)
    assert (record["network"], record["depth"], record["preset"]) == ("resnet", 20, "cifar")
    assert record["classes"] == list(COLOURS)
    with Image.open(folder / "conv1.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_a_run_that_was_stopped_ends_with_the_same_bits_and_needs_no_arch(
    program, whole_run, pictures, tmp_path, monkeypatch
):
    go_on = stopped_at(monkeypatch, 5)
    result = program(pictures, *RESNET, *RUN, "--checkpoint-every", 1)
    assert result.status == 130, result
    go_on()
    result = program("--resume", "out")
    assert result.status == 0, result
    assert (tmp_path / "out" / runs.MODEL).read_bytes() == (whole_run[0] / runs.MODEL).read_bytes()
    assert history_of(tmp_path / "out") == history_of(whole_run[0])
    running = {n: a for n, a in weights.load(tmp_path / "out" / runs.MODEL).items() if "running_var" in n}
    assert len(running) == 19
    assert all((array != 1).any() for array in running.values())


def test_a_finished_run_is_complete(program, whole_run):
    for arch in ([], RESNET):
        result = program("--resume", whole_run[0], *arch)
        assert "This run is finished: 2 epochs" in result.out
        assert f"Its results are in {whole_run[0]}" in result.out


def test_evaluation_gives_the_last_accuracy_wherever_the_file_lies(program, whole_run, pictures, tmp_path):
    folder, last = whole_run[0], history_of(whole_run[0])[-1]
    shutil.copy(folder / runs.MODEL, tmp_path / "moved.safetensors")
    shutil.copy(folder / runs.INPUT, tmp_path)
    calls = [
        ["--resume", folder],
        ["--pretrained", folder / runs.CHECKPOINT],
        [pictures, *RESNET, "--pretrained", "moved.safetensors"],
    ]
    for call in calls:
        result = program("-e", "-b", "4", *call)
        assert result.status == 0, result
        acc1, loss, what = accuracy_of(result)
        assert float(acc1) == pytest.approx(float(last["val_acc1"]), abs=0.01)
        assert float(loss) == pytest.approx(float(last["val_loss"]), abs=1e-4)
        assert what == "centre crop, 6 pictures"
    assert accuracy_of(program("-e", "--ten-crop", "--resume", folder))[2] == "mean of ten crops, 6 pictures"


def test_fine_tuning_starts_the_last_layer_anew_and_frozen_layers_stay_with_their_means(
    program, whole_run, two_classes, tmp_path
):
    result = program(two_classes, "--pretrained", whole_run[0], *RUN, "--freeze", "conv1,bn1,layer1,layer2.0")
    assert result.status == 0, result
    assert "but for fc.weight, fc.bias: they have 3 classes, the pictures 2" in result.out
    before, after = (weights.load(folder / runs.MODEL) for folder in (whole_run[0], tmp_path / "out"))
    assert after["fc.bias"].shape == (2,)
    for name in before:
        if not name.startswith("fc."):
            frozen = name.startswith(("conv1.", "bn1.", "layer1.", "layer2.0."))
            assert np.array_equal(before[name], after[name]) == frozen, name
    settings = json.loads((tmp_path / "out" / runs.SETTINGS).read_text())
    assert (settings["arch"], settings["small"]) == (
        "resnet18",
        True,
    )  # nobody asked for it: the weights say so


def test_classifiers_on_the_way_are_trained_start_anew_and_are_not_asked(
    program, pictures, two_classes, tmp_path, monkeypatch
):
    monkeypatch.setitem(picture_settings.DEFAULTS, "width", 1 / 64)
    once, reports = [*RUN[2:-1], "first", "--epochs", 1, "--limit", 6], []

    class Report(module.AccuracyReport):
        def __init__(self, *args, **more):
            reports.append(more)
            super().__init__(*args, **more)

    monkeypatch.setattr(module, "AccuracyReport", Report)
    result = program(pictures, "-a", "googlenet", *once)
    assert result.status == 0, result
    assert [report["losses"] for report in reports] == [1.6]
    last = history_of(tmp_path / "first")[-1]
    assert float(last["val_loss"]) < 1.3 < float(last["train_loss"])  # ln 3 of one exit; 1.6 of it of all
    result = program("-e", "--resume", "first", "-j", 0, "-b", 4)
    assert float(accuracy_of(result)[1]) == pytest.approx(float(last["val_loss"]), abs=1e-4)
    model = mx.models.googlenet(3, width=1 / 64)
    weights.load_pretrained(model, tmp_path / "first" / runs.MODEL)
    batches = PictureBatches(
        find_pictures(pictures, "val"), Prepare.for_input(model.input), 4, workers=0, side=256
    )
    assert train.evaluate(model, batches).loss == pytest.approx(float(last["val_loss"]), abs=1e-5)
    fresh = "aux1.fc2.weight, aux1.fc2.bias, aux2.fc2.weight, aux2.fc2.bias"
    result = program(two_classes, "--pretrained", "first", *RUN[2:], "--epochs", 1, "--limit", 4)
    assert result.status == 0, result
    assert f"but for fc.weight, fc.bias, {fresh}: they have 3 classes" in result.out
    assert weights.load(tmp_path / "out" / runs.MODEL)["aux2.fc2.bias"].shape == (2,)


def test_a_look_at_another_network(program, pictures, tmp_path):
    result = program(pictures, "-a", "vgg11", "--small", *RUN[2:], "--epochs", 1, "--look", "--limit", 6)
    assert result.status == 0, result
    for name in ("codes.png", "feature_maps.png", "nearest.png", "timeline.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1000


def test_a_look_leaves_the_network_as_it_was(pictures, tmp_path, monkeypatch):
    for name in ("feature_maps", "neighbours", "timeline"):
        monkeypatch.setattr(plot, name, lambda *args: None)
    args = module.parse_arguments([str(pictures), "--devices", "cpu", "-j", "0"])
    settings = {**module.DEFAULTS, "data": pictures, "side": 72, "batch_size": 4, "limit": 6}
    shown = module.Pictures(args, settings)
    resnet = mx.models.resnet(8, 3, preset="cifar", width=WIDTH)
    alexnet = mx.models.alexnet(3, "sim:0,sim:1", width=WIDTH, image_size=67)

    def state(model):
        drops = [np.array(layer.step) for layer in all_layers(model) if isinstance(layer, mx.Dropout)]
        return [*weights.export_grouped(model).values(), *drops]

    for model in (resnet, alexnet):
        before = [array.copy() for array in state(model)]
        module.look(model, shown, Prepare.for_input(model.input), tmp_path)
        assert all(map(np.array_equal, before, state(model))), model


def test_small_pictures_in_a_large_network_are_told_of(pictures):
    args = module.parse_arguments([str(pictures)])

    def hint(arch, small, parameters=12_000):
        settings = {**module.DEFAULTS, "data": pictures, "arch": arch, "small": small}
        return small_data.advice(parameters, settings, module.Pictures(args, settings).train_list.files)

    enlarged = "Small data: pictures of 36 pixels (the median) are enlarged to 256. There is a smaller network for such"
    assert hint("resnet18", False) == f"{enlarged}: -a resnet18 --small"
    assert hint("alexnet", False) == f"{enlarged}: --small"
    assert hint("resnet18", True) == ""


def test_random_numbers_will_do_for_timing_and_drawn_pictures_are_for_small_versions(
    program, tmp_path, monkeypatch
):
    result = program("-a", "densenet121", "--small", "--dummy", *RUN[2:-2], "--epochs", 1, "--limit", 4)
    assert result.status == 0, result
    assert (tmp_path / "runs" / "densenet121" / runs.MODEL).is_file()
    drawn = []

    def draw_pictures(folder, size):
        drawn.append((folder.name, size))
        raise ValueError("enough")

    monkeypatch.setattr(run_pictures, "draw_pictures", draw_pictures)
    program("-a", "resnet18")
    program()
    assert drawn == [("drawn-pictures-37", 37), ("drawn-pictures", 104)]


def test_a_run_that_was_stopped_before_its_first_checkpoint_stays_with_its_network(
    program, whole_run, pictures, tmp_path
):
    (tmp_path / "out").mkdir()
    shutil.copy(whole_run[0] / runs.SETTINGS, tmp_path / "out")
    result = program(pictures, "--resume", "out", "-a", "inception_v3")
    assert result.status == 1
    assert "made with arch resnet18; this run asks for arch inception_v3" in result.err
    result = program(pictures, "--resume", "out", "--lr", 0.001, "--epochs", 1)
    assert result.status == 0, result
    assert "resnet(20), input 3x32x32" in result.out


@pytest.mark.parametrize("more", [[], ["-a", "resnet18", "--small"]])
def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_with_the_same_weights_again(
    program, whole_run, pictures, tmp_path, monkeypatch, more
):
    """Without a word it would train from random numbers, behind layers that are frozen."""
    shutil.copy(whole_run[0] / runs.MODEL, tmp_path / "mine.safetensors")
    still = [*RUN[2:], "--epochs", 1, "--lr", 0, "--limit", 3]

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "fit", stopped)
        begun = program(pictures, "--pretrained", "mine.safetensors", "--freeze", "conv1", *still)
    assert begun.status == 130
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = program("--resume", "../out", "-j", 0, *more)
    assert result.status == 0, result
    assert f"Beginning with the weights of {tmp_path / 'mine.safetensors'}" in result.out
    before, after = (weights.load(tmp_path / name) for name in ("mine.safetensors", f"out/{runs.MODEL}"))
    assert all(np.array_equal(after[name], before[name]) for name in before if "running" not in name)
    (tmp_path / "mine.safetensors").unlink()
    (tmp_path / "out" / runs.CHECKPOINT).unlink()
    lost = program("--resume", "../out", "-j", 0, *more)
    assert lost.status == 1
    assert f"there is no file {tmp_path / 'mine.safetensors'}" in lost.err


# ---- weights of others --------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path):
    """A ResNet-18's file as torchvision writes it, wrapped and counted, but narrow."""
    arrays = weights.export_grouped(mx.models.resnet(18, 3, width=WIDTH, rng=7))
    kept = {f"module.{name}": array for name, array in arrays.items()}
    kept["module.bn1.num_batches_tracked"] = np.array(3)
    weights.save(tmp_path / "theirs.safetensors", kept)
    (tmp_path / "names.txt").write_text("\n".join(COLOURS))
    return tmp_path / "theirs.safetensors"


def test_others_weights_are_evaluated_and_trained_further(program, theirs, pictures, tmp_path):
    names = ["--classes", tmp_path / "names.txt"]
    result = program(pictures, "-e", "-b", 4, "-j", 0, "--pretrained", theirs, *names)
    assert result.status == 0, result
    assert accuracy_of(result)[2] == "centre crop, 6 pictures"
    model = mx.models.resnet(18, 3, width=WIDTH, rng=7)
    batches = PictureBatches(
        find_pictures(pictures, "val"), Prepare.for_input(model.input), 4, workers=0, side=256
    )
    assert float(accuracy_of(result)[1]) == pytest.approx(train.evaluate(model, batches).loss, abs=1e-4)
    still = [*RUN[2:], "--epochs", 1, "--lr", 0, "--limit", 3]
    result = program(pictures, "--pretrained", theirs, *names, *still)
    assert result.status == 0, result
    after = weights.load(tmp_path / "out" / runs.MODEL)
    assert all(np.array_equal(after[name], p.value) for name, p in model.named_parameters())


@pytest.fixture
def classify(capsys, monkeypatch):
    monkeypatch.setitem(networks.DEFAULTS, "width", WIDTH)

    def call(*arguments):
        capsys.readouterr()
        return program_of_commands.main(["classify", *map(str, arguments)]), *capsys.readouterr()

    return call


def shares_of(model, path, side, mean, std):
    """What a network makes of a picture: the middle of its squares of `side` pixels."""
    from minialex.data.augment import centre_crop, square

    x = centre_crop(square(Image.open(path), side), model.input.crop).astype(np.float32) / 255
    x = (x - np.float32(mean).reshape(3, 1, 1)) / np.float32(std).reshape(3, 1, 1)
    logits = model.eval().forward(x[None])[0].astype(float)
    return np.exp(logits) / np.exp(logits).sum()


def test_classify_reads_others_weights_of_any_network(classify, theirs, pictures, tmp_path):
    photos = sorted((pictures / "val").rglob("*.png"))[:2]
    status, out, err = classify(
        *photos, "--arch", "resnet18", "--weights", theirs, "--classes", tmp_path / "names.txt"
    )
    assert status == 0, err
    model = mx.models.resnet(18, 3, width=WIDTH, rng=7)
    for number, photo in enumerate(photos):
        head, *lines = out.splitlines()[4 * number : 4 * number + 4]
        assert head == f"{photo}:"
        shares = shares_of(model, photo, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        wanted = {name: f"{100 * share:.1f}" for name, share in zip(COLOURS, shares, strict=True)}
        assert {line.split()[2]: line.split()[0] for line in lines} == wanted


def test_classify_reads_a_file_of_pytorchs(classify, theirs, pictures, tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array.copy()) for name, array in weights.load(theirs).items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "theirs.pth")
    photo = next((pictures / "val").rglob("*.png"))
    wanted = classify(photo, "--weights", theirs)[:2]
    assert wanted[0] == 0
    for arch in ([], ["--arch", "resnet18"]):
        assert classify(photo, "--weights", tmp_path / "theirs.pth", *arch) == (*wanted, "")


def test_classify_gives_torchvisions_googlenet_pixels_from_minus_1_to_1(
    classify, pictures, tmp_path, monkeypatch
):
    monkeypatch.setitem(networks.DEFAULTS, "width", 1 / 64)
    model = mx.models.googlenet(2, width=1 / 64, rng=5)
    weights.save(tmp_path / "theirs.safetensors", weights.export_grouped(model))
    photo = next((pictures / "val").rglob("*.png"))
    status, out, err = classify(photo, "--weights", tmp_path / "theirs.safetensors")
    assert status == 0, err
    shares = sorted(shares_of(model, photo, 256, (0.5,) * 3, (0.5,) * 3), reverse=True)
    assert [line.split()[0] for line in out.splitlines()] == [f"{100 * share:.1f}" for share in shares]


def test_classify_reads_a_run_as_it_was_trained(classify, whole_run, pictures):
    photo = next((pictures / "val").rglob("*.png"))
    status, out, err = classify(photo, "--weights", whole_run[0])
    assert (status, err) == (0, "")
    assert {line.split()[2] for line in out.splitlines()} == set(COLOURS)
    model = mx.models.resnet(20, 3, "cifar", width=WIDTH)
    weights.load_pretrained(model, whole_run[0] / runs.MODEL)
    mean = runs.read_input(whole_run[0] / runs.INPUT, ["mean"])["mean"]
    batches = PictureBatches(
        find_pictures(pictures, "val"), Prepare.for_input(model.input, mean), 6, workers=0, side=37
    )
    place = list(batches.pictures.files).index(photo)
    logits = train.predict(model, batches)[0][place].astype(float)
    best = 100 * np.exp(logits.max()) / np.exp(logits).sum()
    assert float(out.split()[0]) == pytest.approx(best, abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--arch resnet34",
            r"theirs\.safetensors is for resnet18, not for resnet34: layer1\.2\.conv1\.weight is missing",
        ),
        ("--small", "is for resnet18, not for resnet18, small: conv1.weight has a kernel of 7x7"),
        ("--preset bvlc", "--preset bvlc says which AlexNet; .* is for resnet18: leave it out"),
        ("--devices cpu,cpu", "--devices cpu,cpu is for AlexNet's towers; resnet18 has none"),
    ],
)
def test_classify_says_what_does_not_fit(classify, theirs, pictures, arguments, message):
    photo = next((pictures / "val").rglob("*.png"))
    status, out, err = classify(photo, "--weights", theirs, *arguments.split())
    assert (status, out) == (1, "")
    assert re.search(message, err)


# ---- what cannot be -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("-a resnt18", 2, "there is no network 'resnt18'; the nearest are resnet18"),
        ("-a inception_v3 -b 11", 1, "12 pictures in batches of 11 leave one alone"),
        ("-a vgg11 --preset bvlc", 1, "--preset bvlc says which AlexNet; vgg11 has no presets"),
        ("-a vgg11 --devices cpu,cpu", 1, "--devices cpu,cpu is for AlexNet's towers; vgg11 has none"),
        (
            "-a resnet18 --small --freeze layer9",
            1,
            "no layer is called layer9 .*; there are conv1, bn1, layer1, layer2",
        ),
        (
            "-a resnet34 --pretrained RUN",
            1,
            "is for resnet18, small, not for resnet34: conv1.weight has a kernel of 3x3",
        ),
        (
            "-a alexnet --pretrained RUN",
            1,
            "is for resnet18, small, not for alexnet: conv1.weight has a kernel",
        ),
        (
            "-e -a vgg11 --resume RUN",
            1,
            r"is for resnet18, small, not for vgg11: features\.0\.weight is missing",
        ),
        ("-a vgg11 --resume RUN", 1, "made with arch resnet18; this run asks for arch vgg11: leave that out"),
        ("-e --preset paper --resume RUN", 1, "--preset paper says which AlexNet; resnet18 has no presets"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(
    program, whole_run, pictures, tmp_path, arguments, status, message
):
    before = {path: path.stat().st_mtime_ns for path in whole_run[0].iterdir()}
    asked = [whole_run[0] if word == "RUN" else word for word in arguments.split()]
    result = program(pictures, *asked)
    assert result.status == status, result
    assert re.search(message, result.err), result
    assert {path: path.stat().st_mtime_ns for path in whole_run[0].iterdir()} == before
    if "freeze" in arguments or "-b" in arguments:  # known when the run has its folder
        assert not list(tmp_path.glob("runs/*/*"))
    else:
        assert not list(tmp_path.iterdir())


def test_the_digits_program_names_whose_run_it_is(whole_run, capsys):
    assert program_of_commands.main(["predict", "digit.png", "--weights", str(whole_run[0])]) == 1
    assert "is a run of resnet18 (alexnet_imagenet.py), not of LeNet-5" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"is a run of resnet18 \(alexnet_imagenet\.py\), not of LeNet-5"):
        runs.find_checkpoint(str(whole_run[0]), "LeNet-5")


def test_a_shortened_option_is_not_taken_for_the_whole_one(program):
    result = program("--smal", "-a", "resnet18")
    assert result.status == 2
    assert "unrecognized arguments: --smal" in result.err
