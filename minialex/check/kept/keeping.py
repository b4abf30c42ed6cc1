"""`keep`: a right answer becomes a file of the learner's own, checked anew in a fresh process with NumPy alone."""

import difflib
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from minialex.check.catch import Caught
from minialex.check.html import kept_html
from minialex.check.kept import quickness
from minialex.check.kept.apart import MEMORY, SECONDS, Apart, Raised, Refused, Stopped, TimedOut
from minialex.check.kept.exercises import check_of, names
from minialex.check.kept.folder import Answer, as_file, file_of, folder, read, shown
from minialex.check.kept.source import CannotBeKept, names_bound, standing_alone
from minialex.check.verdict import NOT_WRITTEN
from minialex.weights import write_whole
from minialex.words import counted, nearest

OURS = "minialex"  # what no answer may import
MOST_LINES = 40  # of what changed


@dataclass
class Kept:
    """What became of an answer. Truthy when it is kept; printed, it says where, or why not.

    state: "right", "slow" (right, but too slow to train with: the learner's oracle), "wrong", "not written yet",
    "timed out", "stopped" (its process ended), "refused" (it does not run by itself, or can't be written), "uses the
    library" or "missing" (there is no such file). seconds: on one LeNet-5 batch. changed: the lines that differ from
    before.
    """

    name: str
    state: str
    said: str
    path: Path | None = None
    seconds: float | None = None
    changed: list[str] = field(default_factory=list)
    verdict: object = None

    def __bool__(self):
        return self.state in ("right", "slow")

    def __str__(self):
        if not self:
            return f"{self.name}: nothing kept" + (f": {self.said}" if self.said else " yet")
        lines = [f"{self.name}: kept in {shown(self.path)}; {self.said}"]
        if self.changed:
            more = len(self.changed) - MOST_LINES
            lines += ["What changed:", *(f"  {line}" for line in self.changed[:MOST_LINES])]
            lines += [f"  ... {counted(more, 'line')} more"] if more > 0 else []
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self):
        first, *changed = str(self).splitlines()
        state = "right" if self else self.state if self.state == "wrong" else NOT_WRITTEN
        return kept_html(first, [line.removeprefix("  ") for line in changed], state)


def keep(name: str, function=None) -> Kept:
    """Keep a right answer to the check of this name, as a file in the learner's folder (see `keep_in`).

    The function's source goes there with all that it reads: the imports, constants and functions of its notebook. What
    is written is checked anew, in a fresh process that has NumPy and Python's own library alone. Only right answers are
    kept; the file before stays until then. Keeping again shows what changed.
    A function that is part of a LeNet-5 is timed on one batch of 64 pictures. One that is right, but slower than the
    limit which is stated, goes to the folder `oracles`: training with it would take hours, and it stays of use as what
    a quick one is compared with.
    function: left out, the file that is there is checked again, after it was edited, say.
    Returns what became of it; print it. Raises ValueError for a name that no check has.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"keep takes the name of a check first, then your function: keep('relu_forward', relu), not {name!r} first"
        )
    if name not in names():
        near = nearest(name, names(), most=3, cutoff=0.4)
        raise ValueError(
            f"no check is called {name!r}"
            + (f"; near it: {', '.join(near)}" if near else "; see mx.check.names()")
        )
    where = folder()
    if function is None:
        path = next((p for p in (file_of(name, where), file_of(name, where, slow=True)) if p.is_file()), None)
        if path is None:
            return Kept(name, "missing", f"there is no {name}.py in {shown(where)}")
        try:
            text = read(path).text
            found = tried(name, text)
            place = file_of(name, where, slow=found.state == "slow")
            if found and place != path and place.exists():
                return Kept(
                    name,
                    "refused",
                    f"{shown(path)}: {found.said}; its place is taken by {shown(place)}: move one away",
                )
            found = placed(found, text, where) if found else found
        except (ValueError, OSError) as error:
            return Kept(name, "refused", str(error))
        if found and found.path != path:  # it was slow and is quick now, or the other way
            path.unlink()
        return found
    try:
        text = with_name(name, function)
    except CannotBeKept as error:
        said = str(error)
        for missing in re.findall(r"reads (\w+), which nothing defines", said):
            if file_of(missing, where).is_file():
                said += (
                    f"; yours is in {shown(file_of(missing, where))}: copy it into a cell of this notebook"
                )
        return Kept(name, "refused", said)
    return put_in_place(name, text, where)


def with_name(name: str, function) -> str:
    """The text of a function that stands alone and is called as the check is: `relu_forward = my_relu` at its end."""
    text = standing_alone(function)
    if function.__name__ == name:
        return text
    if name in names_bound(text):
        raise CannotBeKept(
            f"{function.__name__} is to be kept as {name}, and reads something else that is called so: rename that"
        )
    return f"{text}\n\n{name} = {function.__name__}\n"


def put_in_place(name: str, text: str, where: Path) -> Kept:
    """Check a text; if it is right, it becomes the file of that name, whole or not at all."""
    found = tried(name, text)
    return placed(found, text, where) if found else found


def placed(found: Kept, text: str, where: Path) -> Kept:
    """Write a text that was found right. Where that can't be done, nothing is kept, and it says why."""
    name, path = found.name, file_of(found.name, where, slow=found.state == "slow")
    try:
        before = read(path).text if path.is_file() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, as_file(name, text, found.state, found.seconds, found.said))
    except (ValueError, OSError) as error:
        said = f"it is right, but can't be written: {error}. Mend that, or choose another folder: mx.check.keep_in(...)"
        return Kept(name, "refused", said, verdict=found.verdict)
    found.path = path
    if before is not None and before != text:
        lines = difflib.unified_diff(before.splitlines(), text.splitlines(), lineterm="", n=1)
        found.changed = ["..." if line.startswith("@@") else line for line in lines][2:]  # not the two names
    elif before == text:
        found.said += "; as it was"
    return found


def tried(name: str, text: str, seconds: float = SECONDS, memory: int = MEMORY) -> Kept:
    """Check a text in a process of its own, limited in time and memory, and time it; nothing is written."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        path = Path(scratch) / f"{name}.py"
        # Two lines stand above it in the kept file. What is no character says so there.
        path.write_text(f"#\n#\n{text}", encoding="utf8", errors="backslashreplace")
        answer = Apart(path, name, seconds, memory)
        try:
            found = _tried(name, answer)
        except Refused as error:
            found = Kept(name, "refused", f"on its own, with NumPy alone, it does not run: {error}")
        except TimedOut as error:
            found = Kept(name, "timed out", str(error))
        except Stopped as error:
            found = Kept(name, "stopped", str(error))
    if OURS in answer.wanted:
        return Kept(
            name, "uses the library", f"it imports {OURS}: an answer stands on NumPy and Python alone"
        )
    return found


def _tried(name, answer):
    with answer as f:
        verdict = check_of(name)(f)
        if verdict.state == NOT_WRITTEN:
            return Kept(name, NOT_WRITTEN, "", verdict=verdict)
        if not verdict:
            return Kept(name, "wrong", _why(verdict), verdict=verdict)
        timed = quickness.TIMED.get(name)
        if timed is None:
            return Kept(name, "right", "right", verdict=verdict)
        try:
            seconds = quickness.seconds_of(f, timed)
        except (Raised, AssertionError, NotImplementedError) as error:
            said = f"right in small cases, but with a LeNet-5 batch of {quickness.BATCH} it raised {error}"
            return Kept(name, "wrong", said, verdict=verdict)
    said = f"{seconds:.2g} s for a LeNet-5 batch of {quickness.BATCH}, limit {timed.limit:g} s"
    if seconds > timed.limit:
        return Kept(name, "slow", f"right, but slow: your oracle ({said})", seconds=seconds, verdict=verdict)
    return Kept(name, "right", f"right, and quick enough ({said})", seconds=seconds, verdict=verdict)


def _why(verdict) -> str:
    """What is wrong, shortly: the first finding whole, the names of the others; of a test, what escapes it."""
    if isinstance(verdict, Caught):
        if verdict.right != "passes":
            return f"the right answer {verdict.right}"
        escaped = "; ".join(f"{check}, {bug}" for check, bug in verdict.escaped)
        return f"{len(verdict.escaped)} of {len(verdict.bugs)} planted mistakes escape it: {escaped}"
    first, *others = [*verdict.findings.values()] or [None]
    if first is None:
        return f"no case showed {', '.join(set(verdict.arrays) - verdict.judged)}"
    said = f"{first.where} {first.state}" + (f": {first.text}" if first.text else "")
    names = " and ".join(other.where for other in others)
    return said + (f"; {names} as well" if others else "")


def all_kept(where: Path, slow: bool = False) -> dict[str, Answer]:
    """The answers in a folder, by name; files of other names are left alone. One that can't be read is "unreadable"."""
    found = {}
    for name in names():
        path = file_of(name, where, slow)
        if not path.is_file():
            continue
        try:
            found[name] = read(path)
        except (ValueError, OSError) as error:
            found[name] = Answer(name, path, str(error), "unreadable")
    return found
