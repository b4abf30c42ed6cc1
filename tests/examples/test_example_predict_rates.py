"""examples/predict_rates.py on a small run: its tables, its picture, and what it says without a second network."""

import csv

import pytest
from running import EXAMPLES, load_program, run_here

import minialex as mx
from minialex.data import draw_digits
from minialex.training.command_line import friendly
from minialex.training.doubt import DOUBT, learn_doubt, save_doubt
from minialex.training.runs import MODEL
from minialex.weights import as_metadata, export_grouped, record_of, save

PROGRAM = EXAMPLES / "predict_rates.py"
module = load_program(PROGRAM)


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    model = mx.models.lenet5()
    (tmp_path / "run").mkdir()
    save(tmp_path / "run" / MODEL, export_grouped(model), as_metadata(record_of(model)))
    save_doubt(tmp_path / "run" / DOUBT, learn_doubt(model, *draw_digits(60)))
    return lambda *arguments: run_here(lambda: friendly(module.main), PROGRAM, arguments, monkeypatch, capsys)


def test_all_that_is_measured_is_kept(program, tmp_path, monkeypatch):
    for name in ("FONTS", "LETTERS", "HAND_LETTERS"):  # a few of each: reading one takes a tenth of a second
        monkeypatch.setattr(module, name, [*getattr(module, name)][::9])
    few = "run --drawn --digits 20 --copies 1 --snapshots 6 --output-dir out".split()
    result = program(*few)
    assert (result.status, result.err) == (0, "")
    assert "20 test digits as pictures: " in result.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "curve.csv", "curve.png", "snapshots.csv", "unsure.csv",
    ]  # fmt: skip
    with open(tmp_path / "out" / "snapshots.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["kind"] for row in rows] == [*module.KINDS, "all"]
    assert all(int(row["pictures"]) == sum(int(row[k]) for k in ("right", "unsure", "wrong")) for row in rows)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.csv")}
    program(*few)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.csv")} == first


def test_a_run_without_a_second_network_is_told(program, tmp_path):
    (tmp_path / "run" / DOUBT).unlink()
    result = program("run", "--drawn")
    assert result.status == 1
    assert "doubt.safetensors is not there, or belongs to other weights: train with" in result.err
