"""Marks for a class: `python -m minialex marks FOLDER...` tries the answers of many learners, each on its own.

Each answer runs in a process of its own, with NumPy alone, limited in time and memory, and may start no process (on
Linux and macOS, unless a superuser runs it); cases are drawn from the teacher's seed, and results are judged outside.
It is no sandbox: an answer may read and write files as whoever runs it may, another learner's among them, and one that
is made to deceive can. For answers of people you do not know, use a machine that you can lose.
"""

import csv
import io
import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from minialex.check.kept.apart import MEMORY
from minialex.check.kept.exercises import LESSONS, names, of_lessons
from minialex.check.kept.folder import DEFAULT, file_of, printable, read
from minialex.check.kept.keeping import tried
from minialex.check.search import seed_of_cases
from minialex.check.verdict import NOT_WRITTEN
from minialex.weights import write_whole
from minialex.words import counted

SECONDS = 20.0
GIBI = 2**30
# GiB of addresses; of a limit that is much larger than the most, the system sets none.
LEAST, MOST = 0.5, 2.0**30
MISSING = "missing"
LETTERS = {
    "right": "R", "slow": "S", "wrong": "w", "timed out": "t", "stopped": "t", "uses the library": "u", "refused": "x",
    NOT_WRITTEN: "-", MISSING: ".",
}  # fmt: skip
LEGEND = (
    "R right  S right, but slow  w wrong  t timed out or ended\n"
    "u uses the library  x does not run  - not written yet  . missing"
)
SAID = 200  # characters, at most, of what is said of one answer


@dataclass
class Marks:
    """One learner's: for each exercise a state, and in words what is to be said of it."""

    learner: str
    states: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def cell(self, name: str) -> str:
        """For the table: "right", "wrong: grad_weight", "uses the library", ..."""
        state = MISSING if self.states[name] == NOT_WRITTEN else self.states[name]
        arrays = self.said.get(name, "") if state == "wrong" else ""
        return f"{state}: {arrays}" if arrays else state

    @property
    def right(self) -> int:
        return sum(state in ("right", "slow") for state in self.states.values())


def marks_of(
    folder: Path, learner: str, exercises, seed: int, seconds=SECONDS, memory=MEMORY, tell=None
) -> Marks:
    """Try all answers in one folder; a folder `mine` inside it is taken for it."""
    found = Marks(learner)
    inside = folder / DEFAULT
    if inside.is_dir() and not any(
        file_of(name, folder, slow).is_file() for name in names() for slow in (False, True)
    ):
        folder = inside
    for name in exercises:
        if tell:
            tell(learner, name)
        found.states[name], found.said[name] = _mark(folder, name, seed, seconds, memory)
    return found


def _mark(folder, name, seed, seconds, memory):
    paths = (file_of(name, folder), file_of(name, folder, slow=True))
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return MISSING, ""
    try:
        text = read(path).text
    except (ValueError, OSError) as error:
        return "refused", in_a_line(str(error))
    token = seed_of_cases.set(seed)
    try:
        found = tried(name, text, seconds, memory)
    except (
        Exception
    ) as error:  # in our own lines, on something that nobody thought of: the others get their marks
        return "refused", in_a_line(f"the check could not judge it: {type(error).__name__}: {error}")
    finally:
        seed_of_cases.reset(token)
    if found.state == "wrong":
        return "wrong", in_a_line(found.said if found.verdict else _where(found.verdict))
    return found.state, in_a_line(found.said)


def in_a_line(text: str) -> str:
    """So much of a text as a table shows, in one line; what a learner's function raised may say anything."""
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= SAID else text[: SAID - 3] + "..."


def _where(verdict) -> str:
    """The arrays that are wrong; of a test, the planted mistakes that escaped it."""
    if hasattr(verdict, "escaped"):
        escaped = [bug for _, bug in verdict.escaped]
        return ", ".join(escaped) if escaped else f"the right answer {verdict.right}"
    return ", ".join(
        f"{where} ({text})" if (text := verdict.findings[where].text) and where == "the call" else where
        for where in verdict.findings
    )


def as_text(rows: list[Marks], exercises: list[str]) -> str:
    """A row for each learner, a letter for each exercise, by lesson; below it, what is not right, in words."""
    groups = _groups(exercises)
    width = max(len("lesson"), *(len(row.learner) for row in rows))
    head = f"{'lesson':<{width}}  " + "  ".join(f"{number:<{len(inside)}}" for number, inside in groups)
    lines = [head + "  right"]
    for row in rows:
        cells = "  ".join(
            f"{''.join(LETTERS[row.states[name]] for name in inside):<{len(number)}}"
            for number, inside in groups
        )
        lines.append(f"{row.learner:<{width}}  {cells}  {row.right} of {len(exercises)}")
    lines += ["", LEGEND, ""]
    for row in rows:
        if all(state in (MISSING, NOT_WRITTEN) for state in row.states.values()):
            lines.append(f"{row.learner}: no answer in {counted(len(exercises), 'exercise')}")
            continue
        for name in exercises:
            if row.states[name] not in ("right", MISSING, NOT_WRITTEN):
                said = row.said[name]
                lines.append(f"{row.learner}: {name} {row.states[name]}" + (f": {said}" if said else ""))
    return "\n".join(lines).rstrip()


def _groups(exercises):
    """(lesson, its exercises among these); those of no lesson at the end."""
    groups = [
        (number, [name for name in text.split() if name in exercises]) for number, text in LESSONS.items()
    ]
    others = [name for name in exercises if not any(name in inside for _, inside in groups)]
    return [(number, inside) for number, inside in [*groups, ("--", others)] if inside]


def as_csv(rows: list[Marks], exercises: list[str]) -> str:
    """A row for each learner, a column for each exercise."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["learner", *exercises, "right"])
    for row in rows:
        table.writerow([row.learner, *(row.cell(name) for name in exercises), row.right])
    return file.getvalue()


def learners(folders: list[Path]) -> dict[str, Path]:
    """A name for each learner's folder: the last parts of its path that tell them apart.

    A folder without answers that has folders with answers in it is a class: they are the learners'.
    Raises NotADirectoryError for what is no folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise NotADirectoryError(
                f"{folder} is no folder: name the learners' folders, each with their answers"
            )
    whole = [folder.resolve() for given in folders for folder in (_learners_of(given) or [given])]
    whole = list(dict.fromkeys(whole))
    parts = [(path.parent if path.name == DEFAULT else path).parts for path in whole]
    for count in range(1, max(map(len, parts)) + 1):
        named = [printable("/".join(part[-count:])) for part in parts]
        if len(set(named)) == len(whole):
            return dict(zip(named, whole, strict=True))
    return {printable(path): path for path in whole}  # ada and ada/mine


def _learners_of(folder: Path) -> list[Path]:
    """The learners' folders in the folder of a class; none in a learner's own."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if _has_answers(folder) or not any(_has_answers(path) for path in inside if path.name != DEFAULT):
        return []
    return inside


def _has_answers(folder: Path) -> bool:
    """In it, or in a folder `mine` inside it."""
    return any(
        file_of(name, place, slow).is_file()
        for place in (folder, folder / DEFAULT)
        for name in names()
        for slow in (False, True)
    )


# ---- the command ----


def add_options(parser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="folder",
        help="the folder of one learner's answers, or of a class: with a folder for each learner",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the cases that are tried (default: 0)")
    parser.add_argument("--lessons", nargs="+", metavar="NN", help="only these, as 01 02 (default: all)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"for one answer, at most (default: {SECONDS:g})"
    )
    parser.add_argument("--memory", type=float, default=MEMORY / GIBI, metavar="GIB",
                        help=f"for one answer, at most, in GiB of addresses (default: {MEMORY / GIBI:g})")  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=Path("marks.csv"), help="the table (default: marks.csv)"
    )


def check_output(path: Path) -> None:
    """Raises OSError where no table can be written, before a whole class has been tried."""
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: name a file in it for --output, {path / 'marks.csv'} say"
        )
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path.parent} is no folder: make it, or name another --output")
    if path.is_file() and not path.read_text(encoding="utf8", errors="replace").startswith("learner,"):
        raise FileExistsError(f"{path} is there, and no table of marks: name another --output")
    # A file is replaced, whole; a pipe is written to.
    place = path if path.exists() and not path.is_file() else path.resolve().parent
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{place} can't be written to: name another --output")


def run(args) -> int:
    """Print the table, and write it."""
    if not (0 < args.seconds < math.inf and 0 < args.memory < math.inf):
        raise ValueError(
            f"--seconds {args.seconds:g} --memory {args.memory:g}: both must be finite, and more than 0"
        )
    if args.memory < LEAST:
        raise ValueError(
            f"--memory {args.memory:g}: NumPy alone takes {LEAST:g} GiB of addresses; give it more"
        )
    if args.memory > MOST:
        raise ValueError(f"--memory {args.memory:g}: at most {MOST:g} GiB: a system sets no larger limit")
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: a whole number from 0 on")
    exercises, output = of_lessons(args.lessons), args.output
    check_output(output)
    people = learners(args.folders)

    def tell(learner, name):
        if sys.stderr.isatty():
            print(f"\r\033[K{learner}: {name}", end="", file=sys.stderr, flush=True)

    memory = int(args.memory * GIBI)
    rows = []
    try:
        for who, path in people.items():
            rows.append(marks_of(path, who, exercises, args.seed, args.seconds, memory, tell))
    except KeyboardInterrupt:
        print(
            f"\nstopped at {who}: {len(rows)} of {counted(len(people), 'learner')} have marks, nothing is written",
            file=sys.stderr,
        )
        if rows:
            print(as_text(rows, exercises))
        return 130
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(as_text(rows, exercises))
    write_whole(output, as_csv(rows, exercises).encode())
    print(
        f"\ncases of seed {args.seed}; the table is in {output}. It is no sandbox: see `python -m minialex marks -h`"
    )
    return 0
