"""The learner's folder: files in the way, edited, unreadable, and two of one name."""

import answers
import pytest

import minialex as mx
from minialex.check.kept import folder, marks
from minialex.check.kept.folder import as_file, file_of, read

QUICK = "import numpy as np\n\n\ndef relu_forward(x):\n    return np.maximum(x, 0)\n"


def test_what_stands_in_the_way_of_a_right_answer_is_said(mine_folder):
    path = file_of("relu_forward", mine_folder)
    path.mkdir(parents=True)
    found = mx.check.keep("relu_forward", answers.relu)
    assert not found
    assert "it is right, but can't be written" in str(found)
    assert "mx.check.keep_in(...)" in str(found)
    path.rmdir()
    path.write_bytes("# größe".encode("latin1"))  # somebody's work, which is not written over
    found = mx.check.keep("relu_forward", answers.relu)
    assert "is no text in UTF-8 (invalid start byte at byte 4): save it as UTF-8" in str(found)
    assert path.read_bytes() == "# größe".encode("latin1")
    mine = mx.check.mine()
    assert not mine.has("relu_forward")
    assert "relu_forward.py is not used: " in str(mine)


def test_a_file_that_another_editor_saved_is_the_same_answer(kept):
    path = kept("relu_forward", answers.relu)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(path).state == "right"
    assert mx.check.mine().has("relu_forward")


def test_an_oracle_that_became_quick_moves_only_to_an_empty_place(mine_folder, kept):
    quick = kept("relu_forward", answers.relu)
    oracle = file_of("relu_forward", mine_folder, slow=True)
    oracle.parent.mkdir()
    oracle.write_text(QUICK)
    before = quick.read_bytes()
    mine = mx.check.mine()
    assert "its place is taken by mine/relu_forward.py" in str(mine).replace("\\", "/")
    assert (quick.read_bytes(), oracle.read_text()) == (before, QUICK)
    quick.unlink()
    mine = mx.check.mine()
    assert mine.has("relu_forward")
    assert quick.is_file()
    assert not oracle.exists()
    quick.rename(oracle)
    assert mx.check.keep("relu_forward").path == quick  # by its name: it moves as well
    assert not oracle.exists()


def test_a_note_of_the_chosen_folder_that_is_no_text_says_what_to_do(mine_folder):
    (mine_folder.parent / folder.CHOSEN).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"is no text: choose the folder again with mx\.check\.keep_in"):
        folder.folder()


def test_keep_with_its_arguments_exchanged_says_their_order():
    with pytest.raises(TypeError, match=r"keep\('relu_forward', relu\), not <function relu"):
        mx.check.keep(answers.relu, "relu_forward")


# ---- folders of a class ----


@pytest.fixture
def people(tmp_path):
    """Folders with one answer each."""
    for place in ("a/ada", "b/ada", "b/Jürgen Groß/mine", "b/oracle/oracles"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "relu_forward.py").write_text(QUICK)
    (tmp_path / "b" / "empty").mkdir()
    return tmp_path


def test_each_learner_has_one_row_and_a_name_that_tells_them_apart(people):
    a, b = people / "a" / "ada", people / "b" / "ada"
    assert list(marks.learners([a, people / "b" / ".." / "a" / "ada"])) == ["ada"]
    assert list(marks.learners([a, b, people / "b" / "Jürgen Groß" / "mine"])) == [
        "a/ada",
        "b/ada",
        "b/Jürgen Groß",
    ]
    assert list(marks.learners([people / "b"])) == ["Jürgen Groß", "ada", "empty", "oracle"]
    assert list(marks.learners([people / "b" / "empty"])) == ["empty"]


def test_an_oracle_alone_is_found(people):
    row = marks.marks_of(people / "b" / "oracle", "oracle", ["relu_forward"], seed=0)
    assert row.states == {"relu_forward": "right"}


def test_one_that_cannot_be_judged_does_not_cost_the_others_their_marks(people, monkeypatch):
    def breaks(*_):
        raise RuntimeError("a fault\n\033[2J of ours" + 900 * "!")

    monkeypatch.setattr(marks, "tried", breaks)
    row = marks.marks_of(people / "a" / "ada", "ada", ["relu_forward", "relu_backward"], seed=0)
    assert row.states == {"relu_forward": "refused", "relu_backward": "missing"}
    assert row.said["relu_forward"].startswith(
        "the check could not judge it: RuntimeError: a fault [2J of ours!!!"
    )
    assert len(row.said["relu_forward"]) == marks.SAID


def test_a_file_in_another_encoding_is_refused_with_what_to_do(people):
    (people / "a" / "ada" / "relu_forward.py").write_bytes(QUICK.encode("utf16"))
    row = marks.marks_of(people / "a" / "ada", "ada", ["relu_forward"], seed=0)
    assert row.states["relu_forward"] == "refused"
    assert "save it as UTF-8" in row.said["relu_forward"]


def test_forty_learners_fit_a_line_of_a_hundred_columns():
    exercises = marks.of_lessons()
    rows = [marks.Marks(f"learner {number:02d}", dict.fromkeys(exercises, "right")) for number in range(40)]
    lines = marks.as_text(rows, exercises).splitlines()
    assert len({len(line.rstrip()) for line in lines[1:41]}) == 1
    assert max(map(len, lines)) <= 100


def test_a_ctrl_c_ends_it_with_a_word(people, monkeypatch, capsys):
    from minialex import __main__ as program
    from minialex.check.kept.keeping import Kept

    tried = []

    def interrupted(name, *_):
        if tried:
            raise KeyboardInterrupt
        tried.append(name)
        return Kept(name, "right", "")

    monkeypatch.chdir(people)
    monkeypatch.setattr(marks, "tried", interrupted)
    assert program.main(["marks", str(people / "b")]) == 130
    seen = capsys.readouterr()
    assert "stopped at ada: 1 of 4 learners have marks, nothing is written" in seen.err
    assert "1 of 43" in seen.out
    assert not (people / "marks.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "-1"], "--seed -1: a whole number from 0 on"),
        (["--memory", "0.1"], "NumPy alone takes 0.5 GiB"),
        (["--output", "nowhere/marks.csv"], "nowhere is no folder: make it"),
        (["--seconds", "nan"], "both must be finite, and more than 0"),
    ],
)
def test_what_cannot_work_is_refused_before_an_answer_is_tried(people, monkeypatch, capsys, arguments, says):
    from minialex import __main__ as program

    monkeypatch.setattr(marks, "tried", None)
    monkeypatch.chdir(people)
    assert program.main(["marks", str(people / "b"), *arguments]) == 1
    assert says in capsys.readouterr().err


def test_a_kept_file_says_what_was_found(mine_folder):
    mine_folder.mkdir()
    path = mine_folder / "relu_forward.py"
    path.write_bytes(as_file("relu_forward", QUICK, "slow", 3.0, "slow"))
    assert not mx.check.mine().has("relu_forward")  # moved here by hand: it is no quicker for it
    assert mx.check.mine().oracle("relu_forward") is not None


def test_a_choice_that_cannot_be_noted_holds_for_this_notebook(mine_folder, capsys):
    (mine_folder.parent / folder.CHOSEN).mkdir()
    chosen = mx.check.keep_in("elsewhere")
    out = capsys.readouterr().out
    assert (
        "your answers are kept in elsewhere, for this notebook alone: .minialex-mine can't be written" in out
    )
    assert folder.folder() == chosen
