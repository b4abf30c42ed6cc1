"""Every lesson runs twice in a fresh kernel: as it is given out, and with the solutions in place."""

import sys
from pathlib import Path

import pytest

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
def test_a_lesson_runs_as_it_is_given_out_and_says_what_is_not_written_yet(name):
    notebook = run.executed(run.read(LESSONS[name]))
    for cell in run.tagged(notebook, "check"):
        assert all(": not written yet" in line for line in verdicts(cell))
    for cell in run.tagged(notebook, "break"):
        assert any(": wrong" in line for line in verdicts(cell))


@pytest.mark.parametrize("name", LESSONS)
def test_with_the_solutions_every_check_of_a_lesson_passes(name):
    path = LESSONS[name]
    notebook = run.executed(run.solved(run.read(path), run.solutions(path)))
    for cell in run.tagged(notebook, "check"):
        assert all(": right" in line for line in verdicts(cell))
    for cell in run.tagged(notebook, "break"):
        assert any(": wrong" in line for line in verdicts(cell))


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_kept_as_its_last_run_left_it(name):
    notebook = run.read(LESSONS[name])
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)


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
