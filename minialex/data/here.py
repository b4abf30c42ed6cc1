"""Which of the sets that are loaded by name are on this machine: whole, in part, damaged. Nothing is downloaded."""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from minialex.data.known_sets import SETS, others_in_words
from minialex.data.named import find_good, folders_to_search, known_set
from minialex.errors import DataError


@dataclass(frozen=True)
class Here:
    """What there is of a set.

    folders: those of its files, each once. missing: files that are not here. damaged: what is wrong with one of them;
    "" where nothing is. unchecked: files that fit, of which no sum is published as they are.
    others: a sentence on the files of another set, which have its names.
    """

    name: str
    folders: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: str = ""
    unchecked: int = 0
    others: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.missing and not self.damaged


def look_for(name: str, root: str | os.PathLike | None = None) -> Here:
    """Read and check a set's files where `load` looks for them. A second for all sets, where all are here.

    Raises ValueError for an unknown name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     here = look_for("kmnist", folder)
    >>> here.whole, len(here.missing), here.folders
    (False, 4, [])
    """
    found, missing, others, damaged = [], [], [], ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for file in known_set(name).files:
            try:
                path, _ = find_good(name, file, folders_to_search(name, root)[0], others)
            except DataError as error:
                damaged = damaged or str(error)
            except OSError as error:
                damaged = damaged or f"{file} cannot be read: {error.strerror or error}"
            else:
                (missing if path is None else found).append(file if path is None else path.parent)
    return Here(name, list(dict.fromkeys(found)), missing, damaged, len(warned), others_in_words(others))


def look_for_all(root: str | os.PathLike | None = None) -> list[Here]:
    """Of each set that is known."""
    return [look_for(name, root) for name in SETS]
