"""examples/early_exits.py: a small run of everything, kept and taken up again."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from running import EXAMPLES, load_program, run_here

import minialex as mx
from minialex.training.command_line import friendly
from minialex.training.lock import locked

PROGRAM = EXAMPLES / "early_exits.py"
module = load_program(PROGRAM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes that differ in brightness, 32x32."""
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 30), ("val", 6)):
        for name, level in (("dark", 60), ("light", 190)):
            (place / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(level, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / split / name / f"{number}.png")
    return place


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_here(lambda: friendly(module.main), PROGRAM, arguments, monkeypatch, capsys)


def test_a_curve_is_trained_kept_and_drawn_beside_others_and_timed(program, folder, tmp_path):
    asked = [folder, "--minutes", 0.004, "--seeds", 1, "-b", 12, "--output-dir", "out"]
    asked += ["--networks", "SmartNet", "ResNet-8"]
    result = program(*asked)
    assert result.status == 0, result
    names = ["curve.png", "gates.png", "gates_over_training.png", "leavers.png", "resnet-8-0.json", "smartnet-0.json",
             "smartnet-0.safetensors"]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    kept = json.loads((tmp_path / "out/smartnet-0.json").read_text())
    exits = [row["exit"] for row in kept["epochs"]]
    assert exits == sorted(exits)
    assert set(exits) == {1, 2, 3}
    assert kept["errors"] == kept["errors_before"]
    assert kept["largest_change"] < 1e-5  # by cutting out what is closed
    assert kept["costs"][0] < kept["costs"][1] < kept["costs"][2] <= kept["costs_before"][2]
    assert kept["curve"][0]["cost"] == pytest.approx(kept["costs"][0], rel=1e-4)
    assert kept["at_half"]["cost"] <= kept["costs"][2]

    assert result.out.startswith("2 trainings, 0.004 min each: 1 s of processor time, then tests; in out\n")
    assert "training error " in result.out
    for how in module.HOW.values():
        assert f": {how}  " in result.out
    again = program(*asked).out
    assert "training loss" not in again
    assert "min each" not in again
    other = program(folder, "--minutes", 1, *asked[3:])
    assert other.status == 1
    assert "is of other settings" in other.err

    timed = program(folder, "speed", "-b", 6, "--output-dir", "out")
    assert timed.status == 0, timed
    assert f"leaving at {kept['at_half']['leave_at']:.3f}" in timed.out


def test_speed_wants_a_trained_network(program, folder):
    result = program(folder, "speed", "--output-dir", "nothing")
    assert result.status == 1
    assert "train it first, without `speed`" in result.err


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "(it has no settings)"), ("5", "(it should be a dict"), ('{"settings": {}}', "(it has no ")],
)
@pytest.mark.parametrize("name", ["SmartNet", "ResNet-8"])
def test_a_damaged_result_is_named(program, folder, tmp_path, name, content, message):
    path = tmp_path / "out" / f"{name.lower()}-0.json"
    path.parent.mkdir()
    path.write_text(content)
    result = program(folder, "--networks", name, "--seeds", 1, "-b", 12, "--output-dir", "out")
    assert result.status == 1
    assert f"{path.name} is damaged {message}" in result.err


def test_one_program_at_a_time_keeps_its_results_in_a_folder(program, folder, tmp_path):
    with locked(tmp_path / "out"):
        asked = folder, "--networks", "ResNet-8", "--seeds", 1, "-b", 12, "--output-dir", "out"
        result = (
            ThreadPoolExecutor().submit(program, *asked).result()
        )  # in a thread that does not hold the lock
    assert result.status == 1
    assert "out is in use by process" in result.err


@pytest.mark.parametrize("name", ["SmartNet", "ResNet-8"])
def test_a_loss_that_explodes_ends_the_program_and_is_not_kept(program, folder, tmp_path, monkeypatch, name):
    monkeypatch.setitem(module.RECIPE, "lr", 1e9)
    asked = folder, "--networks", name, "--seeds", 1, "-b", 12, "--minutes", 0.01, "--output-dir", "out"
    result = program(*asked)
    assert result.status == 1
    assert "try a smaller learning rate" in result.err
    assert not list((tmp_path / "out").iterdir())


def test_mnist_networks_fit_mnist(monkeypatch):
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (120, 1, 28, 28), dtype=np.uint8), np.arange(120, dtype=np.uint8) % 10
    monkeypatch.setattr(mx.data, "load_mnist", lambda: (one, one))
    args = module.parse_arguments(["mnist", "--limit", "100"])
    data = module.read_pictures(args)
    assert [len(x) for x, _, _ in data] == [100, 100]
    model = module.NETWORKS["mnist"]["SmartNet"](num_classes=10)
    batches = module.Batches(data, args, 0)
    x, _labels = next(iter(batches.train.shuffled(0)))
    assert model.answers(x).shape == (90, 3, 10)  # a tenth is held out
    assert sum(len(some) for _, some in batches.held_out.in_order()) == 10


def test_a_network_that_there_is_not_is_named(capsys):
    with pytest.raises(SystemExit):
        module.parse_arguments(["mnist", "--networks", "ResNet-8"])
    assert "--networks 'ResNet-8' is not one of SmartNet" in capsys.readouterr().err


def test_no_time_to_train_is_refused_and_the_help_names_the_networks(capsys):
    with pytest.raises(SystemExit):
        module.parse_arguments(["mnist", "--minutes", "0"])
    assert "--minutes 0 is no training at all" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        module.parse_arguments(["--help"])
    assert "SmartNet-together, ResNet-8" in " ".join(capsys.readouterr().out.split())
