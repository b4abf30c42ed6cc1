"""What `lessons` and `examples` share: files that came with the package go to a folder of the user's."""

import os
from collections.abc import Iterator
from pathlib import Path

from minialex.claims.texts import folder_of
from minialex.data.classes import a_few
from minialex.weights import write_whole

PATTERNS = {"lessons": ("[0-9][0-9]_*.ipynb", "solutions/*.py"), "examples": ("*.py", "results/**/*")}


def files_of(room: str) -> dict[str, Path]:
    """The files to hand out: their names in the new folder, and where they are."""
    folder = folder_of(room)
    found = [path for pattern in PATTERNS[room] for path in sorted(folder.glob(pattern)) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path for path in found}


def hand_out(files: dict[str, Path], folder: str | os.PathLike, what: str) -> int:
    """Write copies of these files to a folder. Returns how many were written.

    Nothing is ever written over: a folder that holds anything else, or a file that was changed since, is refused, and
    stays as it is. Files that are there already, unchanged, are fine: a copy that was cut short can be completed.
    what: they are, for the message. Raises FileExistsError with what stands in the way, NotADirectoryError for a file.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: name one that is new or empty")
    contents = {name: path.read_bytes() for name, path in files.items()}
    if folder.is_dir() and (there := sorted(_in_the_way(folder, contents))):
        one = len(there) == 1
        raise FileExistsError(
            f"{folder} holds {a_few(there)}, which {'is' if one else 'are'} not of the {what}, or "
            f"{'was' if one else 'were'} changed since. Nothing was written: name a folder that is new or empty"
        )
    missing = [name for name in contents if not (folder / name).exists()]
    for name in missing:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, contents[name])
    return len(missing)


def _in_the_way(folder: Path, contents: dict[str, bytes], above: str = "") -> Iterator[str]:
    """The names of what is in a folder and not among the contents. What it has no folder for is not looked into."""
    ours = {name.removeprefix(above).partition("/")[0] for name in contents if name.startswith(above)}
    for path in folder.iterdir():
        name = above + path.name
        if path.name not in ours:
            if path.name != ".DS_Store":  # which macOS leaves wherever somebody looked
                yield name
        elif name in contents:
            if not path.is_file() or path.read_bytes() != contents[name]:
                yield name
        elif not path.is_dir():
            yield name
        else:
            yield from _in_the_way(path, contents, f"{name}/")
