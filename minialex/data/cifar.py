"""CIFAR-10: found in whichever form it is kept, checked, and read; or downloaded.

CIFAR-10 (Krizhevsky 2009) is 60,000 photographs of ten kinds of animals and vehicles, 32x32 pixels in colours: 50,000
to train with, 10,000 to test with.
"""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minialex.data import mnist
from minialex.data.cifar_folders import JPEGS, ClassFolders, ZippedFolders
from minialex.data.cifar_published import BINARY, CLASSES, MIRRORS, PYTHON, SIDE, TITLE, Archive, Files, Form
from minialex.data.mnist import Pictures
from minialex.words import yes_or_no

NAME = "cifar10"

# The published bytes go first.
FORMS = (
    *(kind(release) for release in (BINARY, PYTHON) for kind in (Files, Archive)),
    ZippedFolders(),
    ClassFolders(),
)
FORMS_IN_WORDS = (
    f"{BINARY.archive}, or {BINARY.folder}/ with its six files; {PYTHON.archive} or {PYTHON.folder}/; {JPEGS}; or "
    f"class folders, train/{CLASSES[0]}/ and so on, test/{CLASSES[0]}/ and so on"
)


def load_cifar10(root: str | os.PathLike | None = None, download: bool = True) -> tuple[Pictures, Pictures]:
    """`(train_x, train_y), (test_x, test_y)`: pictures uint8 (N, 3, 32, 32), RGB, labels uint8 (N,), as CLASSES.

    These are looked for, the published bytes first, wherever they lie:

        cifar-10-batches-bin/    the six files of the binary version; those files themselves will do
        cifar-10-binary.tar.gz   their archive, which is read as it is
        cifar-10-batches-py/     the six of the python version: pickles, in which nothing is run
        cifar-10-python.tar.gz   their archive
        cifar10_jpeg.zip         train/<class>/*.jpg and test/<class>/*.jpg, or val/, or .png; read as it is
        train/ and test/         the same in folders

    The order of the pictures is that of the published files, 1 to 5, in which classes are mixed. Those of class folders
    have none: here the first of each class comes first, then the second of each, in the order of their names. So the
    first thousand are of all classes, either way. JPEGs are not quite the published bytes, and no sum of them is
    published: a warning says so.

    Where it is looked for, and where a download goes, is as with the sets that `named.load` tells of.
    Raises FileNotFoundError when there is nothing and `download` is False, DownloadFailed when no mirror delivers, and
    DataError when what is there is damaged or not CIFAR-10.
    """
    folders, home = places(root)
    found = find(folders)
    if found is None:
        if not yes_or_no(download, "download"):
            raise FileNotFoundError(_what_is_missing(folders, root))
        _download(home, root)
        found = Archive(BINARY), home / BINARY.archive
    form, path = found
    if not form.published:
        warnings.warn(
            f"{path} has {TITLE} as pictures that were encoded anew: no sum of them is published, and JPEGs are not "
            f"quite the published bytes. {BINARY.archive} has those, and is read instead where it lies beside this",
            stacklevel=3,  # where load was called
        )
    train, test = form.read(path)
    return _arrays(train), _arrays(test)


def places(root: str | os.PathLike | None) -> tuple[list[Path], Path]:
    """Where it may be, best place first, and where a download goes."""
    return mnist.places(NAME, [NAME], root)


def find(folders: Iterable[Path]) -> "tuple[Form, Path] | None":
    """The best form in which it is in these folders, and where: a file, or the folder of its files."""
    there = ((form, path) for form in FORMS for folder in folders if (path := form.find(folder)))
    return next(there, None)


def in_part(folders: Iterable[Path]) -> tuple[Path, list[str]] | None:
    """A folder that has some of the six published files, and those that it has not."""
    for form in (Files(BINARY), Files(PYTHON)):
        for place in (place for folder in folders for place in form.places(folder)):
            if 0 < len(missing := form.missing(place)) < len(form.release.files):
                return place, missing
    return None


def _arrays(records: np.ndarray) -> Pictures:
    """Pictures and labels, both new."""
    return records[:, 1:].copy().reshape(-1, 3, SIDE, SIDE), records[:, 0].copy()


def _what_is_missing(folders: list[Path], root) -> str:
    part = in_part(folders)
    return (f"{note} " if (note := mnist.not_there(root)) else "") + (
        f"{TITLE} is not here: {FORMS_IN_WORDS}. Looked in: {', '.join(map(str, folders))}. "
        + (f"{part[0]} has a part of it, without {', '.join(part[1])}. " if part else "")
        + f'Allow the download with load("{NAME}", download=True), copy one of these there, or set the environment '
        "variable MINIALEX_DATA to their folder."
    )


def _download(home: Path, root) -> None:
    instead = f'. mx.data.load("{NAME}", FOLDER) reads it from any folder: {FORMS_IN_WORDS}.'
    files = [BINARY.archive]
    mnist.download_files(files, home, TITLE, MIRRORS, BINARY.size, BINARY.check_archive, instead, root)
