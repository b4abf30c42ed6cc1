"""Run the lessons from top to bottom and keep what they print: python lessons/run.py [01 02 ...]

A cell tagged "stub" is the learner's to write. Its first line is `# exercise: NAME`; `solutions/` has, in a file of the
lesson's name, a section with the same first line. A cell tagged "check" ends in a verdict on it, or several.
"""

import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from minialex.training.command_line import Parser
from minialex.weights import write_whole

LESSONS = Path(__file__).parent
EXERCISE = re.compile(r"^# exercise: (\w+)$", re.MULTILINE)


def lesson_files() -> list[Path]:
    return sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))


def read(path: Path):
    return nbformat.read(path, as_version=4)


def executed(notebook, mine: Path):
    """The notebook after a run in a fresh kernel; an error in a cell is raised. Its own outputs are replaced.

    mine: the learner's folder in this run.
    """
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": LESSONS}}
    ).execute(env={**os.environ, "MINIALEX_MINE": str(mine)})
    return notebook


def solutions(path: Path) -> dict[str, str]:
    """Of one lesson: exercise name -> the cell's text."""
    text = (LESSONS / "solutions" / path.with_suffix(".py").name).read_text(encoding="utf8")
    starts = [*EXERCISE.finditer(text)]
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return {start[1]: text[start.start() : end].strip() for start, end in zip(starts, ends, strict=True)}


def solved(notebook, answers: dict[str, str]):
    """The notebook with its stubs replaced by the answers."""
    for cell in tagged(notebook, "stub"):
        cell.source = answers[EXERCISE.match(cell.source)[1]]
    return notebook


def tagged(notebook, tag: str) -> list:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def printed(cell) -> str:
    """What a cell printed or returned, as text."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


def tidy(notebook, mine: Path):
    """Without what differs from run to run and machine to machine; the learner's folder is beside the notebooks."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
         "language_info": {"name": "python"}}
    )  # fmt: skip
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
            for output in cell.outputs:
                output.update(as_beside(output, str(mine)))
    return notebook


def as_beside(value, folder: str):
    """All texts in an output, with the plain name `mine` for the folder that was used."""
    if isinstance(value, dict):
        return {name: as_beside(inner, folder) for name, inner in value.items()}
    return value.replace(folder, "mine") if isinstance(value, str) else value


def joined(outputs: list) -> list:
    """What is printed over some time arrives in several parts: as one."""
    kept: list = []
    for output in outputs:
        if kept and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


if __name__ == "__main__":
    parser = Parser(description="Run the lessons and keep what they print.")
    parser.add_argument("numbers", nargs="*", help="which ones, as 01 02; all of them when left out")
    wanted = parser.parse_args().numbers
    known = [path.name[:2] for path in lesson_files()]
    for number in wanted:
        if number not in known:
            meant = number.zfill(2)
            hint = f" (did you mean {meant}?)" if meant in known else ""
            parser.error(f"there is no lesson {number}{hint}; there are {known[0]} to {known[-1]}")
    for path in lesson_files():
        if not wanted or path.name[:2] in wanted:
            with tempfile.TemporaryDirectory() as scratch:
                mine = Path(scratch) / "mine"
                notebook = tidy(executed(read(path), mine), mine)
            write_whole(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())
            print(path.name)
