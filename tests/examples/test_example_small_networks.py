"""examples/small_networks.py: what it keeps, it takes for nothing else."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image
from running import EXAMPLES, run_here

from minialex import plot
from minialex.training.command_line import friendly

PROGRAM = EXAMPLES / "small_networks.py"


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("small_networks", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)
    monkeypatch.setattr(plot, "lines", lambda *args, path, **others: path.touch())
    monkeypatch.setitem(module.DEPTHS, "plain-20", (8, module.PLAIN))
    small = "depth --networks plain-20 --epochs 1 --width 0.125 --limit 10 -b 5 --output-dir out".split()
    return lambda data: run_here(lambda: friendly(module.main), PROGRAM, [data, *small], monkeypatch, capsys)


def draw(root, brighter=0):
    for split, name, i in np.ndindex(2, 2, 5):
        path = root / ("train", "val")[split] / "ab"[name] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng((split, name, i)).integers(0, 200, (32, 32, 3)) + brighter
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


def test_a_result_is_kept_and_is_not_taken_for_that_of_other_pictures(program, tmp_path):
    first = program(draw(tmp_path / "dark"))
    assert first.status == 0, first
    assert "epoch 1: training loss" in first.out
    kept = json.loads((tmp_path / "out" / "plain-20.json").read_text())
    assert kept["settings"]["limit"] == 10
    again = program(draw(tmp_path / "moved"))  # the same pictures, elsewhere
    assert again.status == 0, again
    assert "epoch 1" not in again.out
    assert first.out.splitlines()[-4:] == again.out.splitlines()[-4:]
    other = program(draw(tmp_path / "bright", brighter=50))
    assert other.status == 1
    assert "plain-20.json is of other settings" in other.err
