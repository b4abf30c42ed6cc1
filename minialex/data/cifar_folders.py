"""CIFAR-10 as a file for each picture, in folders of classes, or in a zip file of such: read as records, too."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np

from minialex.data import cifar_published as published
from minialex.data.cifar_published import CLASSES, RECORD, SIDE, TITLE, Form, named
from minialex.data.classes import a_few
from minialex.data.decode import read_picture
from minialex.data.folder import find_pictures
from minialex.data.idx import Flaw
from minialex.data.walk import SUFFIXES
from minialex.errors import DataError
from minialex.weights.reading import MEBI, Capped

JPEGS = "cifar10_jpeg.zip"
MOST_LIST = 8 * MEBI  # of a zip file's list of its parts; that of 60,000 has 4 million
MOST_PICTURE = MEBI // 16  # of a picture in a zip file; uncompressed it would have 3,072
MEANT = 6  # class folders of CIFAR-10's names, of ten: then they are meant to be its

T = TypeVar("T")


class ClassFolders(Form):
    """A file for each picture, in folders that are called as the classes."""

    published = False

    def find(self, folder):
        named = sum((folder / "train" / name).is_dir() for name in CLASSES)
        return folder if named >= MEANT else None

    def check(self, path):
        self.listed(path)

    def read(self, path):
        train, test = self.listed(path)
        return _recorded(map(_picture, train), len(train)), _recorded(map(_picture, test), len(test))

    def listed(self, root: Path) -> list[list[Path]]:
        """The files to train with, and those to test with, in order."""
        lists = [find_pictures(root, split, trained=list(CLASSES)) for split in ("train", "val")]
        with named(root):
            pairs = [[(CLASSES[i], file) for i, file in zip(a.labels, a.files, strict=True)] for a in lists]
            return [_in_turn(*each) for each in zip(pairs, published.COUNTS, ("train", "test"), strict=True)]


class ZippedFolders(Form):
    """Such folders in a zip file."""

    published = False

    def find(self, folder):
        return path if (path := folder / JPEGS).is_file() else None

    def check(self, path):
        with self.opened(path) as archive:
            self.listed(archive)

    def read(self, path):
        with self.opened(path) as archive:
            lists = self.listed(archive)
            train, test = (_recorded(_unzipped(archive, parts, path), len(parts)) for parts in lists)
            return train, test

    @contextmanager
    def opened(self, path: Path) -> Iterator[zipfile.ZipFile]:
        with open(path, "rb") as file, named(path):
            try:
                with zipfile.ZipFile(Capped(file, MOST_LIST)) as archive:
                    yield archive
            except (Flaw, DataError):  # which say more
                raise
            except Exception as error:  # damaged bytes can raise nearly anything
                raise Flaw(f"is damaged, or no zip file ({str(error)[:200]})") from error

    def listed(self, archive: zipfile.ZipFile) -> list[list[zipfile.ZipInfo]]:
        """The parts to train with, and those to test with, in order."""
        pairs = {"train": [], "test": []}
        for part in sorted(archive.infolist(), key=lambda part: part.filename):
            match part.filename.split("/"):
                case [("train" | "test" | "val") as split, name, file] if file.lower().endswith(SUFFIXES):
                    pairs["train" if split == "train" else "test"].append((name, part))
        return [
            _in_turn(found, n, split)
            for (split, found), n in zip(pairs.items(), published.COUNTS, strict=True)
        ]


def _in_turn(pairs: list[tuple[str, T]], count: int, split: str) -> list[T]:
    """The first of each class, then the second of each, and so on; pairs: (class, what), in order within a class.

    Raises Flaw unless a tenth of so many is of each.

    >>> _in_turn([(name, f"{name}/{i}") for name in CLASSES for i in (1, 2)], 20, "train")[8:12]
    ['ship/1', 'truck/1', 'airplane/2', 'automobile/2']
    """
    each, found = count // len(CLASSES), Counter(name for name, _ in pairs)
    wanted = dict.fromkeys(CLASSES, each)
    if wrong := [name for name in {**wanted, **found} if found[name] != wanted.get(name, 0)]:
        there = a_few([f"{found[name]:,} of {name}" for name in wrong])
        raise Flaw(
            f"should have {each:,} pictures of each of {TITLE}'s ten classes to {split} with, and has {there}",
            "Bring back what is missing, or take away what is too many.",
        )
    things = [what for _, what in sorted(pairs, key=itemgetter(0))]  # names in order are CLASSES
    return [things[i] for first in range(each) for i in range(first, count, each)]


def _recorded(pictures: Iterable[np.ndarray], count: int) -> np.ndarray:
    """Records of so many pictures (32, 32, 3), whose classes take turns."""
    records = np.empty((count, RECORD), np.uint8)
    records[:, 0] = np.arange(count) % len(CLASSES)
    for record, picture in zip(records, pictures, strict=True):
        record[1:] = picture.transpose(2, 0, 1).reshape(-1)
    return records


def _picture(path, name: str | None = None) -> np.ndarray:
    return np.asarray(read_picture(path, size=(SIDE, SIDE), name=name))


def _unzipped(archive: zipfile.ZipFile, parts: Iterable[zipfile.ZipInfo], path: Path) -> Iterator[np.ndarray]:
    for part in parts:
        if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Flaw(f"has {part.filename} packed in a way that is not read here")
        if part.file_size > MOST_PICTURE:
            raise Flaw(f"has {part.filename} with {part.file_size:,} bytes; the most is {MOST_PICTURE:,}")
        with archive.open(part) as packed:  # by its length: what is packed may go on
            content = packed.read(MOST_PICTURE)
        yield _picture(io.BytesIO(content), f"{path}, {part.filename},")
