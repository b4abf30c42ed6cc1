"""Every lesson runs three times in a fresh kernel: as it is given out, solved, and half solved."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from minialex.check.kept.exercises import LESSONS as EXERCISES

pytestmark = pytest.mark.lessons
nbformat = pytest.importorskip("nbformat")

sys.path.insert(0, str(Path(__file__).parents[1] / "lessons"))
import run  # noqa: E402

LESSONS = {path.stem: path for path in run.lesson_files()}


def verdicts(cell):
    """The first lines of the verdicts that a cell shows: "relu_forward: right, 60 cases tried" """
    lines = run.printed(cell).splitlines()
    found = [line for line in lines if ": right" in line or ": wrong" in line or ": not written yet" in line]
    assert found, f"no verdict in what this cell shows:\n{cell.source}\n{run.printed(cell)}"
    return found


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_as_it_is_given_out_and_says_what_is_not_written_yet(name, tmp_path):
    notebook = run.executed(run.read(LESSONS[name]), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    for cell in run.tagged(notebook, "check"):
        assert all(": not written yet" in line for line in verdicts(cell))
    for cell in run.tagged(notebook, "break"):
        assert any(": wrong" in line for line in verdicts(cell))


@pytest.fixture(scope="session")
def mine(tmp_path_factory):
    """The folder of a learner who solves one lesson after the other."""
    return tmp_path_factory.mktemp("learner") / "mine"


@pytest.mark.parametrize("name", LESSONS)
def test_with_the_solutions_every_check_of_a_lesson_passes_and_the_answers_are_kept(name, mine):
    path = LESSONS[name]
    notebook = run.executed(run.solved(run.read(path), run.solutions(path)), mine)
    for cell in run.tagged(notebook, "check"):
        assert all(": right" in line for line in verdicts(cell))
        assert "nothing kept" not in run.printed(cell), run.printed(cell)
    for cell in run.tagged(notebook, "break"):
        assert any(": wrong" in line for line in verdicts(cell))
    for answer in EXERCISES.get(name[:2], "").split():
        assert (mine / f"{answer}.py").is_file(), f"no quick {answer} is kept after lesson {name}"


SEED = 14


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_half_solved_with_half_of_the_answers_kept(name, mine, tmp_path):
    """Which half, a generator says: of this lesson's exercises, and of what the solved lessons kept before."""
    path, rng = LESSONS[name], np.random.default_rng((SEED, int(name[:2])))
    answers = run.solutions(path)
    chosen = {one for one in sorted(answers) if rng.random() < 0.5}
    for file in sorted(mine.rglob("*.py")) if mine.is_dir() else []:
        if rng.random() < 0.5:
            target = tmp_path / "mine" / file.relative_to(mine)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    notebook = run.read(path)
    for cell in run.tagged(notebook, "stub"):
        exercise = run.EXERCISE.match(cell.source)[1]
        cell.source = answers[exercise] if exercise in chosen else cell.source
    run.executed(notebook, tmp_path / "mine")
    shown = [line for cell in run.tagged(notebook, "check") for line in verdicts(cell)]
    assert not [line for line in shown if ": wrong" in line]
    if chosen:
        assert any(": right" in line for line in shown)
    if chosen != set(answers):
        assert any(": not written yet" in line for line in shown)


def test_what_the_lessons_keep_is_what_marks_have_columns_for():
    kept = re.compile(r'mx\.check\.keep\("(\w+)"')
    for name, path in LESSONS.items():
        texts = [cell.source for cell in run.tagged(run.read(path), "check")]
        names = list(dict.fromkeys(found for text in texts for found in kept.findall(text)))
        assert sorted(names) == sorted(EXERCISES.get(name[:2], "").split()), name


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_kept_as_its_last_run_left_it(name):
    notebook = run.read(LESSONS[name])
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_the_parts_and_the_headings_of_all(name):
    texts = [cell.source for cell in run.read(LESSONS[name]).cells if cell.cell_type == "markdown"]
    whole, number = "\n".join(texts), name[:2]
    assert texts[0].startswith(f"# {number} · ")
    assert re.search(r"^\*\*One question:\*\* ", texts[0], re.MULTILINE)
    assert re.search(r"^Time: \d+ minutes\. Needs: ", texts[0], re.MULTILINE)
    headings = re.findall(r"^## (.*)$", whole, re.MULTILINE)
    closing = ["What popular articles get wrong", "Read in the papers", "Open questions"]
    assert headings[-3:] == closing
    assert [re.match(r"(\d+) · ", heading)[1] for heading in headings[:-3]] == [
        str(count) for count in range(1, len(headings) - 2)
    ]
    assert re.search(r"^\*\*Next:\*\* ", texts[-1], re.MULTILINE)


@pytest.mark.parametrize("name", LESSONS)
def test_the_open_questions_of_a_lesson_are_answered(name):
    questions = re.findall(r"^(\d+)\. ", run.read(LESSONS[name]).cells[-1].source, re.MULTILINE)
    text = (run.LESSONS / "solutions" / f"{name}.py").read_text(encoding="utf8")
    _, _, answers = text.partition("# open questions")
    assert questions
    assert re.findall(r"^# (\d+)\. ", answers, re.MULTILINE) == questions


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_can_be_projected(name):
    for cell in run.read(LESSONS[name]).cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 25, cell.source
            assert max(map(len, cell.source.splitlines()), default=0) <= 88, cell.source


@pytest.mark.parametrize("name", LESSONS)
def test_each_stub_has_its_solution_and_each_solution_its_stub(name):
    stubs = [run.EXERCISE.match(cell.source) for cell in run.tagged(run.read(LESSONS[name]), "stub")]
    assert all(stubs)
    assert sorted(stub[1] for stub in stubs) == sorted(run.solutions(LESSONS[name]))
