"""minialex lessons, minialex examples: files that came with the package go to a folder, and nothing there is lost."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

import minialex as mx
from minialex import __main__ as program
from minialex.claims import texts
from minialex.commands import lessons, share
from minialex.weights import files
from minialex.words import typed

ROOT = Path(mx.__file__).parents[1]


@pytest.fixture
def run(capsys):
    """Call the program; returns its exit status and what it wrote."""

    def call(*arguments):
        status = program.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def contents(folder):
    """Every file in a folder, by its name in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def results_of_runs():
    """The clone's, those in folders of their own among them."""
    return [path for path in ROOT.glob("examples/results/**/*") if path.is_file()]


# ---- what is handed out -------------------------------------------------------------------------------


def test_the_lessons_are_those_of_the_clone_with_solutions_and_examples(run, tmp_path):
    status, out, err = run("lessons", tmp_path / "course")
    assert (status, err) == (0, "")
    assert out.startswith(f"17 lessons are in {tmp_path / 'course'}, with their solutions and the examples")
    found = contents(tmp_path / "course")
    for path in [*ROOT.glob("lessons/*.ipynb"), *ROOT.glob("lessons/solutions/*.py")]:
        assert found.pop(path.relative_to(ROOT / "lessons").as_posix()) == path.read_bytes()
    for path in [*ROOT.glob("examples/*.py"), *results_of_runs()]:
        assert found.pop(path.relative_to(ROOT).as_posix()) == path.read_bytes()
    assert found == {}


def test_the_examples_are_those_of_the_clone(run, tmp_path):
    status, out, err = run("examples", tmp_path / "programs")
    assert (status, err) == (0, "")
    assert f"python {tmp_path / 'programs' / 'lenet_mnist.py'}" in out
    wanted = [*ROOT.glob("examples/*.py"), *results_of_runs()]
    assert contents(tmp_path / "programs") == {
        path.relative_to(ROOT / "examples").as_posix(): path.read_bytes() for path in wanted
    }


def test_what_the_lessons_name_is_there(run, tmp_path):
    run("lessons", tmp_path)
    texts = [path.read_text(encoding="utf8") for path in tmp_path.glob("solutions/*.py")]
    for path in tmp_path.glob("*.ipynb"):
        texts += ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf8"))["cells"]]
    named = {name for text in texts for name in re.findall(r"\b(?:examples|solutions)/[\w./-]*\w", text)}
    named |= {f"examples/results/{name}" for text in texts for name in re.findall(r"[\w-]+\.json", text)}
    assert len(named) >= 4
    assert [name for name in sorted(named) if not (tmp_path / name).exists()] == []


# ---- where to -----------------------------------------------------------------------------------------


def test_a_folder_is_made_with_those_above_it_and_an_empty_one_will_do(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "a" / "b", tmp_path / "empty"):
        assert run("lessons", folder)[0] == 0
        assert (folder / "solutions" / "01_convolution.py").is_file()


@pytest.mark.parametrize(
    "name", ["my.png", ".bashrc", "mine", "solutions", "examples", "01_convolution.ipynb"]
)
@pytest.mark.parametrize("kind", ["file", "folder", "broken link"])
def test_a_folder_with_something_else_is_refused_and_stays_as_it_is(run, tmp_path, name, kind):
    place = tmp_path / name
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder":
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    elif os.name == "posix":
        place.symlink_to(tmp_path / "nowhere")
    else:
        pytest.skip("links")
    before = contents(tmp_path)
    status, out, err = run("lessons", tmp_path)
    assert (status, out) == (1, "")
    inside = f"{name}/notes.txt" if kind == "folder" and name in ("solutions", "examples") else name
    assert err == (
        f"minialex lessons: {tmp_path} holds {inside}, which is not of the lessons, or was changed since. "
        "Nothing was written: name a folder that is new or empty\n"
    )
    assert contents(tmp_path) == before


def test_a_notebook_that_a_learner_has_changed_is_never_written_over(run, tmp_path):
    run("lessons", tmp_path)
    notebook = tmp_path / "03_pooling.ipynb"
    notebook.write_text("answers")
    (tmp_path / "04_activations.ipynb").unlink()
    status, out, err = run("lessons", tmp_path)
    assert (status, out) == (1, "")
    assert "holds 03_pooling.ipynb, which is not of the lessons, or was changed since" in err
    assert notebook.read_text() == "answers"
    assert not (tmp_path / "04_activations.ipynb").exists()


def test_many_things_in_the_way_are_counted(run, tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    _, _, err = run("examples", tmp_path)
    assert "holds 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more, which are not of the examples" in err


def test_a_copy_that_was_cut_short_is_completed(run, tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full_later(file):
        calls.append(file)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full_later)
        status, out, err = run("lessons", tmp_path)
    assert (status, out) == (1, "")
    assert "could not be written: No space left" in err
    assert len(contents(tmp_path)) == 20
    assert run("lessons", tmp_path)[1].startswith("17 lessons are in")
    assert len(contents(tmp_path)) == len(share.files_of("lessons")) + len(share.files_of("examples"))
    (tmp_path / ".DS_Store").touch()
    assert run("lessons", tmp_path)[1].startswith("17 lessons were in")


def test_a_file_in_place_of_the_folder_is_named(run, tmp_path):
    (tmp_path / "file").touch()
    status, out, err = run("examples", tmp_path / "file")
    assert (status, out) == (1, "")
    assert err == f"minialex examples: {tmp_path / 'file'} is no folder: name one that is new or empty\n"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_leave_to_write_is_named(run, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    status, _, err = run("lessons", tmp_path / "closed" / "course")
    assert status == 1
    assert "closed" in err


# ---- what to type next --------------------------------------------------------------------------------


@pytest.mark.parametrize("installed", [True, False])
def test_the_next_lines_install_what_is_missing_and_open_the_folder(run, tmp_path, monkeypatch, installed):
    monkeypatch.setattr(lessons.importlib.util, "find_spec", lambda name: installed or None)
    lines = run("lessons", tmp_path / "my course")[1].splitlines()
    install = [] if installed else ['  pip install "minialex[lessons]"']
    assert lines[1:] == ["", *install, f"  {typed('jupyter', 'lab', tmp_path / 'my course')}"]


def test_what_the_lessons_need_is_what_the_extra_installs():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    extra = re.search(r"^lessons = \[(.*)\]$", text, re.MULTILINE)[1]
    assert tuple(re.findall(r'"([a-z]+)', extra)) == lessons.NEEDED


# ---- where from ---------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package without a clone around it."""
    package = tmp_path / "site" / "minialex"
    package.mkdir(parents=True)
    monkeypatch.setattr(texts, "PACKAGE", package)
    return package


def test_an_installed_package_has_them_inside(run, tmp_path, installed):
    for room in ("lessons", "examples"):  # others' folders beside it, which are none of ours
        (installed.parent / room).mkdir()
    (installed / "share" / "examples").mkdir(parents=True)
    (installed / "share" / "examples" / "one.py").write_text("print(1)")
    (installed / "share" / "examples" / "__pycache__").mkdir()
    (installed / "share" / "examples" / "__pycache__" / "one.pyc").touch()
    status, out, _ = run("examples", tmp_path / "out")
    assert (status, out.partition(" ")[0]) == (0, "1")
    assert contents(tmp_path / "out") == {"one.py": b"print(1)"}


def test_a_package_without_them_says_so(run, tmp_path, installed):
    (installed.parent / "lessons").mkdir()
    status, out, err = run("lessons", tmp_path / "out")
    assert (status, out) == (1, "")
    assert "install minialex again, from its wheel or from a clone" in err
    assert not (tmp_path / "out").exists()


def test_a_wheel_takes_along_what_is_handed_out_and_no_more():
    text = (ROOT / "setup.py").read_text(encoding="utf8")
    shared = re.search(r"^SHARED = \[(.*)\]$", text, re.MULTILINE)[1]
    assert re.findall(r'"(.*?)"', shared) == [
        f"{room}/{pattern}" for room, patterns in share.PATTERNS.items() for pattern in patterns
    ]
