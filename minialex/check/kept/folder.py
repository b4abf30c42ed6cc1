"""Where a learner's answers lie: one folder, a file for each answer, the right but slow ones in a folder inside it."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minialex.weights import write_whole

DEFAULT = "mine"
CHOSEN = ".minialex-mine"  # beside the notebooks: the folder that `keep_in` chose, if it is not the default
ORACLES = "oracles"
MARK = "# minialex: "  # of the line in a kept file that says what was found when it was kept
_chosen: list[Path] = []  # by keep_in, in this process


def keep_in(folder: str | os.PathLike | None = None) -> Path:
    """Keep answers in this folder from now on, and print its place; left out: `mine`, beside the notebooks.

    The choice holds for this notebook and, noted in the file .minialex-mine beside it, for the others of its folder.
    (On Colab each notebook has a machine of its own: mount the Drive, and say it in each one.) The environment variable
    MINIALEX_MINE names the folder where nothing was chosen.
    Raises NotADirectoryError where a file has that name. Returns the folder's path.
    """
    path = _whole(folder if folder is not None else os.environ.get("MINIALEX_MINE") or DEFAULT)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file: name a folder for your answers")
    _chosen[:] = [path]
    alone = ""
    try:
        if folder is not None and path != _whole(DEFAULT):
            write_whole(CHOSEN, f"{path}\n".encode())
        elif folder is not None or not os.environ.get("MINIALEX_MINE"):
            Path(CHOSEN).unlink(missing_ok=True)
    except OSError as error:
        alone = f", for this notebook alone: {CHOSEN} can't be written ({error.strerror})"
    except UnicodeEncodeError:
        alone = ", for this notebook alone: its name has bytes that are no text"
    print(f"your answers are kept in {shown(path)}{alone}")
    return path


def folder() -> Path:
    """The folder in use: chosen here, by another notebook beside this one, by MINIALEX_MINE, or the default."""
    if _chosen:
        return _chosen[0]
    if Path(CHOSEN).is_file():
        try:
            line = Path(CHOSEN).read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError:
            raise ValueError(
                f"{CHOSEN} beside this notebook is no text: choose the folder again with mx.check.keep_in(...)"
            ) from None
        if line:
            return Path(line)
    return _whole(os.environ.get("MINIALEX_MINE") or DEFAULT)


def _whole(path) -> Path:
    return Path(path).expanduser().absolute()


def shown(path: Path) -> str:
    """A path to print: from here, where it lies below this folder; else whole."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return printable(path)


def printable(path) -> str:
    """A path in letters that there are: on Linux its bytes may be none."""
    return str(path).encode(errors="backslashreplace").decode()


@dataclass
class Answer:
    """One kept answer, as its file says it.

    state: "right", "slow" (right, and too slow to train with), "unchecked": the text is not the one that was checked,
    or "unreadable": the text is why. seconds: on one LeNet-5 batch; None where that says nothing.
    """

    name: str
    path: Path
    text: str  # without what keep wrote above it
    state: str
    seconds: float | None = None


def file_of(name: str, where: Path, slow: bool = False) -> Path:
    return (where / ORACLES if slow else where) / f"{name}.py"


def as_file(name: str, text: str, state: str, seconds: float | None, said: str) -> bytes:
    """The file of an answer: one line for people, one for `read`, and the text."""
    known = {"state": state, "seconds": seconds, "text": fingerprint(text)}
    return f"# {name}, as you wrote it: {said}\n{MARK}{json.dumps(known)}\n{text}".encode()


def read(path: Path) -> Answer:
    """What a file holds; its state is "unchecked" where keep has not written it, or somebody edited it since.

    Raises ValueError, naming the file, where it is no text.
    """
    try:
        whole = path.read_bytes().decode("utf8").replace("\r\n", "\n").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from None
    first, _, rest = whole.partition("\n")
    mark, _, text = rest.partition("\n")
    if not (first.startswith("#") and mark.startswith(MARK)):
        return Answer(path.stem, path, whole, "unchecked")
    try:
        known = json.loads(mark.removeprefix(MARK))
        state, seconds, print_of = known["state"], known["seconds"], known["text"]
    except (ValueError, TypeError, KeyError):
        return Answer(path.stem, path, text, "unchecked")
    if state not in ("right", "slow") or print_of != fingerprint(text):
        state = "unchecked"
    return Answer(path.stem, path, text, state, seconds if isinstance(seconds, (int, float)) else None)


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
