"""python -m minialex marks: six learners, each in their own way."""

import csv

import answers
import pytest

from minialex import __main__ as program
from minialex.check.kept import marks

LESSONS = ["00", "02"]  # relu forward and backward, conv2d_backward, col2im
SLOW = """
def relu_forward(x):
    y = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        for _ in range(5):
            y[at] = max(x[at], 0)
    return y
"""
ANSWERS = {
    "ada": {"relu_forward": "relu_forward = lambda x: np.maximum(x, 0)"},
    "bo": {"relu_forward": SLOW},
    "cy": {"conv2d_backward": "WRONG"},
    "di": {"relu_forward": "import minialex as mx\n\ndef relu_forward(x):\n    return mx.naive.relu(x)"},
    "eva": {"relu_forward": "def relu_forward(x):\n    while True: pass"},
    "flo": {},
}


@pytest.fixture
def class_folder(mine_folder, kept):
    text = kept("conv2d_backward", answers.conv2d_backward).read_text(encoding="utf8")
    for learner, files in ANSWERS.items():
        folder = mine_folder.parent / "class" / learner
        folder.mkdir(parents=True)
        for name, code in files.items():
            wrong = text.replace(".sum(axis=0).reshape(weight.shape)", ".mean(axis=0).reshape(weight.shape)")
            (folder / f"{name}.py").write_text(wrong if code == "WRONG" else f"import numpy as np\n{code}\n")
    return mine_folder.parent / "class"


def rows_of(path="marks.csv"):
    with open(path, encoding="utf8", newline="") as file:
        return {row["learner"]: row for row in csv.DictReader(file)}


def test_each_learner_gets_a_row_that_says_what_is_right_and_what_not(class_folder, capsys):
    ending = [name for name in ANSWERS if name != "eva"]
    folders = [str(class_folder / name) for name in ending]
    assert program.main(["marks", *folders, "--lessons", *LESSONS, "--seconds", "120", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    rows = rows_of()
    assert list(rows) == ending
    assert rows["ada"]["relu_forward"] == "right"
    assert rows["ada"]["right"] == "1"
    assert rows["bo"]["relu_forward"] == "slow"
    assert rows["cy"]["conv2d_backward"] == "wrong: grad_weight"
    assert rows["di"]["relu_forward"] == "uses the library"
    assert set(rows["flo"].values()) == {"flo", "missing", "0"}
    assert rows["ada"]["relu_backward"] == "missing"
    assert "cy: conv2d_backward wrong: grad_weight" in out
    assert "flo: no answer in 4 exercises" in out
    assert "cases of seed 5" in out
    assert "no sandbox" in out


def test_what_does_not_end_is_stopped(class_folder):
    assert program.main(["marks", str(class_folder / "eva"), "--lessons", "00", "--seconds", "2"]) == 0
    assert rows_of()["eva"]["relu_forward"] == "timed out"


def test_a_table_of_somebody_else_is_not_written_over(class_folder, capsys, tmp_path):
    (tmp_path / "marks.csv").write_text("mine\n")
    assert program.main(["marks", str(class_folder / "flo")]) == 1
    assert "no table of marks: name another --output" in capsys.readouterr().err
    assert (tmp_path / "marks.csv").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["{flo}", "--lessons", "99"], "no lesson 99 has exercises"),
        (["{flo}", "--seconds", "0"], "both must be finite, and more than 0"),
        (["{flo}", "--memory", "inf"], "--memory inf: both must be finite, and more than 0"),
        (["{flo}", "--seconds", "inf"], "--seconds inf --memory 4: both must be finite"),
        (["{flo}", "--memory", "1e300"], "--memory 1e+300: at most"),
        (["{flo}", "--output", "{flo}"], "flo is a folder: name a file in it for --output, "),
        (
            ["{flo}", "--output", "{flo}/none/marks.csv"],
            "none is no folder: make it, or name another --output",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_an_answer_is_tried(
    class_folder, capsys, monkeypatch, arguments, says
):
    monkeypatch.delattr(marks, "marks_of")
    arguments = [argument.format(flo=class_folder / "flo") for argument in arguments]
    assert program.main(["marks", *arguments]) == 1
    assert says in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_found_out_first(class_folder, capsys, monkeypatch, tmp_path):
    monkeypatch.delattr(marks, "marks_of")
    (tmp_path / "closed").mkdir(mode=0o555)
    monkeypatch.setattr(
        marks.os, "access", lambda path, mode: path != tmp_path.resolve() / "closed"
    )  # a superuser may
    output = tmp_path / "closed" / "marks.csv"
    assert program.main(["marks", str(class_folder / "flo"), "--output", str(output)]) == 1
    assert "closed can't be written to: name another --output" in capsys.readouterr().err
