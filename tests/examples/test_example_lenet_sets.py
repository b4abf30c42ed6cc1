"""examples/lenet_mnist.py on Fashion-MNIST and the others, in small: resumed, evaluated, and its weights used."""

import json
import runpy

import numpy as np
import pytest
from PIL import Image
from running import EXAMPLES, run_here
from small_sets import in_place_of_the_real_ones, write

import minialex as mx
from minialex import __main__, plot, train
from minialex.data import class_names
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.weights.record import read_record

PROGRAM = EXAMPLES / "lenet_mnist.py"
TINY = "--variant keras -b 3 --epochs 1 --processes 1 --output-dir out".split()


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder with all sets, in which we are."""
    monkeypatch.chdir(tmp_path)
    for name, files in in_place_of_the_real_ones(monkeypatch, tmp_path).items():
        write(files, tmp_path / "data" / name)
    return tmp_path


@pytest.fixture
def program(folder, monkeypatch, capsys):
    """Call the program in this process, with pictures that cost no time; `program.drawn` has their arguments."""
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)

    def call(*arguments, data=True):
        for name in ("curves", "filters", "feature_maps", "confusion", "mistakes"):
            monkeypatch.setattr(plot, name, pretend(name))
        of_data = ["--data-dir", folder / "data"] if data else []
        main = lambda: runpy.run_path(str(PROGRAM), run_name="__main__")  # noqa: E731
        return run_here(main, PROGRAM, [*arguments, *of_data], monkeypatch, capsys)

    def pretend(name):
        def draw(*args, **options):
            call.drawn[name] = (args, options)
            args[-1].touch()

        return draw

    call.drawn = {}
    return call


def settings_in(folder):
    return json.loads((folder / "out" / train.SETTINGS).read_text())


@pytest.mark.parametrize(
    ("name", "title", "outputs"),
    [
        ("fashion-mnist", "Fashion-MNIST", 10),
        ("kmnist", "KMNIST", 10),
        ("emnist-letters", "EMNIST Letters", 26),
        ("qmnist", "QMNIST", 10),
    ],
)
def test_the_network_and_its_reports_follow_the_set(program, folder, name, title, outputs):
    result = program(*TINY, "--dataset", name)
    assert result.status == 0, result
    assert f"{title}: 6 pictures to train on, 0 held out, 4 to test" in result.out
    assert f"dataset {name}, " in result.out
    assert f"Test error on {title}: " in result.out
    weights = mx.weights.load(folder / "out" / train.MODEL)
    assert weights["output.weight"].shape == (outputs, 84)
    assert read_record(folder / "out" / train.MODEL)["classes"] == class_names(name)
    (matrix, _), options = program.drawn["confusion"]
    assert matrix.shape == (outputs, outputs)
    assert matrix.sum() == 4
    assert options["classes"] == program.drawn["mistakes"][1]["classes"] == class_names(name)
    assert settings_in(folder)["dataset"] == name
    assert settings_in(folder)["data"] == title


def test_a_run_is_resumed_and_evaluated_on_its_own_set(program, folder):
    program(*TINY, "--dataset", "emnist-letters")
    result = program("--resume", "out", "--epochs", 2, data=False)  # the settings say where the data is
    assert result.status == 0, result
    assert "EMNIST Letters: 6 pictures" in result.out
    for weights in ("out", f"out/{train.MODEL}"):
        assert "Test error on EMNIST Letters: " in program("-e", "--resume", weights, data=False).out
    (folder / "moved").mkdir()
    (folder / "out" / train.MODEL).rename(folder / "moved" / "mine.safetensors")  # away from its settings
    assert "Test error on EMNIST Letters: " in program("-e", "--resume", "moved/mine.safetensors").out


@pytest.mark.parametrize("arguments", [["--resume", "out", "--epochs", 2], ["-e", "--resume", "out"]])
def test_a_run_is_not_resumed_or_tested_on_another_set(program, arguments):
    program(*TINY, "--dataset", "kmnist")
    result = program(*arguments, "--dataset", "fashion-mnist")
    assert result.status == 1
    assert "made with dataset kmnist; this run asks for dataset fashion-mnist" in result.err


def test_a_network_for_mnists_digits_is_tested_on_qmnists(program):
    program(*TINY)
    assert "Test error on QMNIST: " in program("-e", "--resume", "out", "--dataset", "qmnist").out


def test_runs_from_before_there_was_a_choice_are_of_mnist(program, folder):
    program(*TINY)
    forget_the_set(folder / "out")
    assert "Test error on MNIST: " in program("-e", "--resume", "out").out
    result = program("--resume", "out", "--epochs", 2, "--dataset", "kmnist")
    assert "made with dataset mnist; this run asks for dataset kmnist" in result.err
    result = program("--resume", "out", "--epochs", 2)
    assert (result.status, settings_in(folder)["dataset"]) == (0, "mnist")


def forget_the_set(run):
    checkpoint = load_checkpoint(run / train.CHECKPOINT)
    model = mx.models.lenet5("keras")
    model.classes = class_names("mnist")
    optimizer = mx.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoint.restore(model, optimizer)
    del checkpoint.state["settings"]["dataset"]
    save_checkpoint(run / train.CHECKPOINT, model, optimizer, checkpoint.state)
    settings = json.loads((run / train.SETTINGS).read_text())
    del settings["dataset"]
    (run / train.SETTINGS).write_text(json.dumps(settings))


def test_offline_it_says_how_and_trains_on_nothing_else(program):
    result = program(*TINY, "--dataset", "kmnist", data=False)
    assert result.status == 1
    for words in ("KMNIST is not here, and could not be fetched", "No mirror delivered", "--data-dir FOLDER"):
        assert words in result.err
    assert "drawn digits" not in result.out + result.err


def test_a_folder_without_the_set_is_named(program, folder):
    result = program(*TINY, "--dataset", "kmnist", "--data-dir", folder / "data" / "mnist", data=False)
    assert result.status == 1
    assert f"KMNIST is not in {folder / 'data' / 'mnist'}, and could not be fetched." in result.err
    assert "t10k-labels-idx1-ubyte.gz are MNIST's. Load it with" in result.err


def test_1998s_codes_are_for_ten_classes(program, folder):
    result = program("--variant", "1998", "--dataset", "emnist-letters")
    assert result.status == 1
    assert 'codes, drawings of the ten digits, not 26: use "modern" or "keras"' in result.err
    assert not (folder / "runs").exists()


def test_an_unknown_set_is_told_with_those_that_there_are(program):
    result = program("--dataset", "zebra")
    assert result.status == 2
    assert "fashion-mnist" in result.err


def test_a_set_of_pictures_in_colours_is_not_taken_for_one_like_mnist(program, folder):
    result = program("--dataset", "cifar10")
    assert result.status == 2
    assert (
        "cifar10 has pictures of 32x32 in colours, which do not go into a network for MNIST's" in result.err
    )
    assert 'mx.data.load("cifar10") reads them, for mx.models.resnet(20, 10, preset="cifar")' in result.err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("recorded", [True, False])
def test_predict_names_the_classes_of_the_set(folder, capsys, recorded):
    model = mx.models.lenet5("keras", num_classes=26)
    (folder / "out").mkdir()
    if recorded:
        model.classes = class_names("emnist-letters")
        mx.save(model, "out/model.safetensors")
    else:  # by the run's settings alone
        mx.weights.save("out/model.safetensors", {p.name: mx.to_numpy(p.value) for p in model.parameters()})
        (folder / "out" / train.SETTINGS).write_text('{"variant": "keras", "dataset": "emnist-letters"}')
    draw_a_one(folder / "l.png")
    assert __main__.main(["predict", "l.png", "--weights", "out"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith(" %")]
    assert len({row[0] for row in rows}) == 5
    assert all(row[0] in class_names("emnist-letters") for row in rows)


def draw_a_one(path):
    pixels = np.full((100, 100), 255, np.uint8)
    pixels[20:80, 45:55] = 0
    Image.fromarray(pixels).save(path)
