"""examples/small_networks.py: small runs of each of its experiments, kept and taken up again."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from running import EXAMPLES, load_program, run_here

from minialex import plot, weights
from minialex.training.command_line import friendly
from minialex.training.lock import locked


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes that differ in brightness, 32x32."""
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 5)):
        for name, level in (("dark", 60), ("light", 190)):
            (place / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(level, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / split / name / f"{number}.png")
    return place


PROGRAM = EXAMPLES / "small_networks.py"
module = load_program(PROGRAM)


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_here(lambda: friendly(module.main), PROGRAM, arguments, monkeypatch, capsys)


def test_depth_keeps_its_numbers_and_draws_them(program, folder, tmp_path):
    result = program(folder, "depth", "--epochs", 1, "-b", 12, "--output-dir", "out")
    assert result.status == 0, result
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["gradients_end.png", "gradients_start.png", "plain-20.json", "plain-56.json", "residual-56.json",
                     "training_error.png"]  # fmt: skip
    kept = {name: json.loads((tmp_path / f"out/{name}.json").read_text()) for name in module.DEPTHS}
    assert [len(one["gradient_norms"][0]) for one in kept.values()] == [19, 55, 55]  # convolutions
    assert kept["plain-56"]["parameters"] == kept["residual-56"]["parameters"]  # shortcuts without parameters
    assert (
        result.out.count(" parameters, about ") == result.out.count(" an epoch\n") == 3
    )  # said before training
    losses = [one["epochs"][0]["train_loss"] for one in kept.values()]
    assert all(np.isfinite(losses))
    assert len(set(losses)) == 3
    assert all(f"{one['epochs'][0]['test_error']:.1%}" in result.out for one in kept.values())


def test_what_is_there_is_not_trained_again_and_other_settings_are_not_mixed_in(program, folder, tmp_path):
    asked = folder, "minutes", "--networks", "ResNet-20", "-b", 8, "--output-dir", "out"
    first = program(*asked, "--minutes", 0.005)
    assert first.status == 0, first
    assert "ResNet-20: 67,786 parameters, about " in first.out
    before = (tmp_path / "out/resnet-20.json").read_bytes()
    assert json.loads(before)["epochs"][-1]["seconds"] >= 0.3
    assert "training loss" not in program(*asked, "--minutes", 0.005).out
    other = program(*asked, "--minutes", 1)
    assert other.status == 1
    assert "resnet-20.json is of other settings" in other.err
    assert (tmp_path / "out/resnet-20.json").read_bytes() == before


QUICK = "--epochs 1 --width 0.125 -b 12 --limit 10 --output-dir out".split()


def test_allocations_cost_the_same_and_are_drawn_together(program, folder, tmp_path):
    names = ["ResNet-20-even", "ResNet-20-early", "ResNet-20-late"]
    result = program(folder, "allocations", "--networks", *names, *QUICK)
    assert result.status == 0, result
    for name, layers in zip(names, [(3, 3, 3), (7, 1, 1), (1, 1, 7)], strict=True):
        assert f"{name}: {layers}, one of 28 that cost as much as (3, 3, 3)" in result.out
    kept = [json.loads((tmp_path / f"out/{name.lower()}.json").read_text()) for name in names]
    assert len({one["multiply_adds"] for one in kept}) == 1
    assert kept[1]["parameters"] < kept[0]["parameters"] < kept[2]["parameters"]
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["resnet-20_training_error.png"]


@pytest.mark.parametrize("place", module.PLACES)
@pytest.mark.parametrize("family", module.TWO)
def test_the_places_of_blocks_are_what_they_are_called(family, place):
    layers = module.TWO[family][1]
    found = [(1, 1, 9), (1, 7, 1), (2, 5, 2), (5, 1, 1), layers]
    chosen = module.PLACES[place](found, layers)
    assert chosen == {"even": layers, "early": max(found), "middle": (1, 7, 1), "late": (1, 1, 9)}[place]


def test_drop_shows_blocks_and_reading_of_networks_that_it_keeps(program, folder, tmp_path, monkeypatch):
    drawn = []  # of DenseNet: drawing is slow, and tested elsewhere
    monkeypatch.setattr(
        plot, "reading", lambda tables, title, path, by_layer=False: drawn.append((path.name, by_layer))
    )
    result = program(folder, "drop", *QUICK)
    assert result.status == 0, result
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["blocks.png", "densenet-40.json", "densenet-40.safetensors", "resnet-20.json",
                     "resnet-20.safetensors"]  # fmt: skip
    assert drawn == [("reading.png", False), ("reading_by_layer.png", True), ("reading_start.png", True)]
    rows = [line.split() for line in result.out.splitlines() if line.startswith("layer")]
    assert [row[0] for row in rows] == [
        f"layer{stage}.{number}" for stage in (1, 2, 3) for number in range(3)
    ]
    assert weights.read_record(tmp_path / "out/resnet-20.safetensors")["width"] == 0.125
    whole = 100 * json.loads((tmp_path / "out/resnet-20.json").read_text())["epochs"][-1]["test_error"]
    assert all(float(row[1]) - float(row[3]) == pytest.approx(whole, abs=0.2) for row in rows)
    again = program(folder, "drop", "--networks", "ResNet-20", *QUICK)  # from what was kept
    assert "training loss" in result.out
    assert "training loss" not in again.out
    assert [line.split() for line in again.out.splitlines() if line.startswith("layer")] == rows


@pytest.mark.parametrize("name", module.SMALL)
def test_each_network_for_the_same_minutes_can_be_made(name):
    model = module.SMALL[name](10, 0)
    x = np.zeros((2, *model.picture_shape), np.float32)
    assert model.eval().forward(x).shape == (2, 10)


def test_an_unknown_network_is_named(program, folder):
    result = program(folder, "depth", "--networks", "plain-8")
    assert result.status == 2
    assert "--networks 'plain-8' is not one of plain-20, plain-56, residual-56" in result.err


def draw(root, brighter=0):
    for split, name, i in np.ndindex(2, 2, 5):
        path = root / ("train", "val")[split] / "ab"[name] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng((split, name, i)).integers(0, 200, (32, 32, 3)) + brighter
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


ONE = "depth --networks plain-20 --epochs 1 --width 0.125 --limit 10 -b 5 --output-dir out".split()


def test_a_result_is_kept_and_is_not_taken_for_that_of_other_pictures(program, tmp_path):
    first = program(draw(tmp_path / "dark"), *ONE)
    assert first.status == 0, first
    assert "epoch 1: training loss" in first.out
    kept = json.loads((tmp_path / "out" / "plain-20.json").read_text())
    assert kept["settings"]["limit"] == 10
    again = program(draw(tmp_path / "moved"), *ONE)  # the same pictures, elsewhere
    assert again.status == 0, again
    assert "epoch 1" not in again.out
    assert first.out.splitlines()[-4:] == again.out.splitlines()[-4:]
    other = program(draw(tmp_path / "bright", brighter=50), *ONE)
    assert other.status == 1
    assert "plain-20.json is of other settings" in other.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "(it has no settings)"),
        ("5", "(it should be a dict of values by name, not 5)"),
        ('{"settings"', "(Expecting"),
        ('{"settings": {}, "parameters": 1, "multiply_adds": 2, "epochs": [{}]}', "(epochs[0] has no epoch)"),
    ],
)
def test_a_damaged_result_is_named_and_left(program, folder, tmp_path, content, message):
    path = tmp_path / "out" / "plain-20.json"
    path.parent.mkdir()
    path.write_text(content)
    result = program(folder, *ONE)
    assert result.status == 1
    assert "plain-20.json is damaged " + message in result.err
    assert "delete it, and its network is trained anew" in result.err
    assert path.read_text() == content


def test_one_program_at_a_time_keeps_its_results_in_a_folder(program, folder, tmp_path):
    with locked(tmp_path / "out"):
        thread = ThreadPoolExecutor().submit(program, folder, *ONE)  # which does not hold the lock
        result = thread.result()
    assert result.status == 1
    assert "out is in use by process" in result.err


def test_a_loss_that_explodes_ends_the_program_and_is_not_kept(program, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(module.RECIPE, "lr", 1e9)
    result = program(folder, *ONE[:4], 3, *ONE[5:])
    assert result.status == 1
    assert "try a smaller learning rate" in result.err.replace("train it with", "try")
    assert not list((tmp_path / "out").iterdir())


def words(text):
    return " ".join(text.split())


def test_help_names_the_networks(capsys):
    with pytest.raises(SystemExit) as stopped:
        module.parse_arguments(["--help"])
    assert stopped.value.code == 0
    said = words(capsys.readouterr().out)
    assert "of depth: plain-20, plain-56, residual-56; of minutes: AlexNet, ZFNet, VGG-11, " in said
    assert "of allocations: ResNet-20-even, ResNet-20-early, " in said
    assert "of drop: ResNet-20, DenseNet-40" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures"], "the following arguments are required: {depth,minutes,allocations,drop}"),
        (["pictures", "dept"], "minutes,allocations,drop}: invalid choice: 'dept' (did you mean depth?)"),
        (["pictures", "drop", "--networks", "resnet20"], "DenseNet-40 (did you mean ResNet-20?)"),
        (["pictures", "drop", "--networks", "AlexNet"], "'AlexNet' is not one of ResNet-20, DenseNet-40"),
        (["pictures", "depth", "--networks", "AlexNet"], "'AlexNet' is not one of plain-20, plain-56, residual-56"),
    ],
)  # fmt: skip
def test_what_it_does_not_know_it_says_with_what_it_knows(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        module.parse_arguments(arguments)
    assert stopped.value.code == 2
    assert message in words(capsys.readouterr().err)


def test_no_minutes_at_all_are_refused_and_hardly_any_are_a_step(program, folder, tmp_path):
    asked = folder, "minutes", "--networks", "ResNet-20", "-b", 8, "--output-dir", "out"
    assert "--minutes 0 is no training at all" in program(*asked, "--minutes", 0).err
    assert not (tmp_path / "out").exists()
    result = program(*asked, "--minutes", 1e-9)
    assert result.status == 0, result
    (row,) = json.loads((tmp_path / "out/resnet-20.json").read_text())["epochs"]
    assert 0 < row["train_loss"] < 20
    assert program(*asked, "--minutes", 1e-9).status == 0  # kept, and of the same settings
