"""Which of the sets that are loaded by name are on this machine: whole, in part, damaged. Nothing is downloaded."""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from minialex.data import cifar
from minialex.data.known_sets import others_in_words
from minialex.data.named import NAMES, find_good, folders_to_search, known_set
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
    """Read and check a set's files where `load` looks for them. A few seconds for all sets, where all are here.

    Raises ValueError for an unknown name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     here = look_for("kmnist", folder)
    >>> here.whole, len(here.missing), here.folders
    (False, 4, [])
    """
    if name == cifar.NAME:
        return _look_for_cifar10(root)
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


def _look_for_cifar10(root: str | os.PathLike | None) -> Here:
    """Of pictures the list alone: to decode them all takes as long as to load them."""
    folders, _ = cifar.places(root)
    found = cifar.find(folders)
    if found is None:
        folder, missing = cifar.in_part(folders) or (None, [cifar.BINARY.archive])
        return Here(cifar.NAME, [folder] if folder else [], missing)
    form, path = found
    damaged = ""
    try:
        form.check(path)
    except DataError as error:
        damaged = str(error)
    except OSError as error:
        damaged = f"{path} cannot be read: {error.strerror or error}"
    return Here(
        cifar.NAME, [path if path.is_dir() else path.parent], [], damaged, unchecked=int(not form.published)
    )


def look_for_all(root: str | os.PathLike | None = None) -> list[Here]:
    """Of each set that is known."""
    return [look_for(name, root) for name in NAMES]
