"""Data by name: sets of small pictures, most of which come as MNIST does, found or fetched, checked and read."""

import os
import shutil
import warnings
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from minialex.data import cifar, mnist
from minialex.data.idx import Flaw, read_checked, sum_of_file
from minialex.data.known_sets import SETS, KnownSet, others_in_words, whose
from minialex.data.mnist import Pictures, all_called, load_mnist
from minialex.errors import DataError, DownloadFailed
from minialex.words import did_you_mean, is_one_of, yes_or_no

NAMES = [*SETS, cifar.NAME]
NOT_AS_MNIST = (
    "has pictures of 32x32 in colours, which do not go into a network for MNIST's of 28x28 in grey: "
    f'mx.data.load("{cifar.NAME}") reads them, for mx.models.resnet(20, 10, preset="cifar"), say'
)
ARCHIVE = "gzip.zip"  # EMNIST's, of six sets
MOST_OF_AN_ARCHIVE = 600_000_000  # bytes: it has 562 million


def load(
    name: str, root: str | os.PathLike | None = None, download: bool = True
) -> tuple[Pictures, Pictures]:
    """`(train_x, train_y), (test_x, test_y)` of the set of that name, as `load_mnist` gives MNIST's.

        "mnist"           10 digits, 60,000 pictures to train with, 10,000 to test with
        "fashion-mnist"   10 kinds of clothes, as many
        "kmnist"          10 characters of old Japanese books, as many
        "emnist-letters"  26 letters, small and capital in one class; 124,800 and 20,800
        "qmnist"          10 digits, 60,000 and 60,000
        "cifar10"         10 kinds of animals and vehicles, photographs in colours; 50,000 and 10,000

    Pictures are uint8 (N, 1, 28, 28), CIFAR-10's (N, 3, 32, 32), in RGB; labels are uint8 (N,) from 0, and
    `class_names(name)` says what they mean. EMNIST's files hold each picture with rows and columns swapped, and labels
    from 1: here both are as in the other sets.

    With `root`, the files, under their own names, gzipped or not, are looked for there, in `root/NAME`, and where
    torchvision puts them, as `root/KMNIST/raw`; what is missing is downloaded into `root/NAME`. Without, in the same
    way in the folder named by the environment variable MINIALEX_DATA, then in the user's cache, which takes the
    download. Several sets have the same file names; a file's MD5 tells whose it is, and another set's is passed over.
    Of KMNIST, EMNIST and QMNIST only the MD5 of the packed files is published: one that was unpacked, or packed anew,
    is read with a warning if its shape and labels can be right. A download is kept only with the published sum.

    CIFAR-10 is read from what its authors publish, packed or not, the binary version or the python version, and with a
    warning from pictures in class folders, or in cifar10_jpeg.zip: see `cifar.load_cifar10`, and there the order.

    Raises ValueError for an unknown name, FileNotFoundError when files are missing and `download` is False,
    DownloadFailed when no mirror delivers, and DataError when a file is damaged or is not the set's.
    """
    if is_one_of(name, (cifar.NAME,)):
        return cifar.load_cifar10(root, download)
    known = known_set(name)
    if name == "mnist":
        return load_mnist(root, download)
    folders, home = folders_to_search(name, root)
    passed: list[tuple[Path, str]] = []
    arrays = {}
    for file in known.files:
        _, arrays[file] = find_good(name, file, folders, passed)
    missing = [file for file, array in arrays.items() if array is None]
    if missing and not yes_or_no(download, "download"):
        raise FileNotFoundError(_what_is_missing(name, missing, folders, passed, root))
    if missing:
        _download(name, missing, home, passed, root)
        for file in missing:
            _, arrays[file] = find_good(name, file, [home], passed)
    train_x, train_y, test_x, test_y = arrays.values()
    return _as_mnist(known, train_x, train_y), _as_mnist(known, test_x, test_y)


def class_names(name: str) -> list[str]:
    """What the labels of a set mean, in their order.

    >>> class_names("kmnist")
    ['o', 'ki', 'su', 'tsu', 'na', 'ha', 'ma', 'ya', 're', 'wo']
    >>> len(class_names("emnist-letters"))
    26
    """
    return list(cifar.CLASSES if is_one_of(name, (cifar.NAME,)) else known_set(name).classes)


def known_set(name: str) -> KnownSet:
    """What is known of a set that comes as MNIST does. Raises ValueError, with the names there are, for another."""
    if is_one_of(name, (cifar.NAME,)):
        raise ValueError(f"{cifar.TITLE} {NOT_AS_MNIST}")
    if not is_one_of(name, SETS):
        meant = did_you_mean(name.replace("_", "-") if isinstance(name, str) else name, NAMES)
        raise ValueError(f"there is no set called {name!r}{meant}: the names are {', '.join(NAMES)}")
    return SETS[name]


# -- Finding and reading -----------------------------------------------------------------------------------


def folders_to_search(name: str, root: str | os.PathLike | None) -> tuple[list[Path], Path]:
    """Where the files may be, best place first, and where a download goes."""
    return mnist.places(name, SETS[name].folders, root)


def find_good(
    name: str, file: str, folders: Iterable[Path], passed: list[tuple[Path, str]]
) -> tuple[Path, np.ndarray] | tuple[None, None]:
    """The first of these files that is the set's, and the array in it; two times None where there is none.

    passed: gets each file that was another set's, and that set's name; `others_in_words` tells of them.
    """
    for path in all_called(file, folders, ends=(".gz", "")):  # only the sum of the packed one may be known
        found = []
        try:
            array = read_checked(path, _most(SETS[name]), found.append)
            other = whose(*found, sum_of_file(path))
            if other and other[0] != name:
                passed.append((path, other[0]))
                continue
            if other != (name, file):
                _check_as_far_as_possible(name, file, array, found[0], other)
                warnings.warn(
                    f"{path} fits {SETS[name].title}, but was unpacked or packed anew, and only the MD5 of the packed "
                    f"original is published: it is read unchecked",
                    stacklevel=3,  # where load was called
                )
        except Flaw as flaw:
            raise DataError(f"{path} {flaw}. {flaw.remedy}") from flaw
        return path, array
    return None, None


def _most(known: KnownSet) -> int:
    """Bytes in the largest of its files, unpacked."""
    return max(known.counts) * 28 * 28


def _check_as_far_as_possible(name: str, file: str, array: np.ndarray, found: str, other) -> None:
    """Raises Flaw for a file without a known sum that cannot be the set's."""
    known = SETS[name]
    if other:
        raise Flaw(f"is not what its name says: it is {known.title}'s {other[1]}, by its MD5")
    if plain := known.files[file].plain:
        raise Flaw(
            f"is not {known.title}'s: the MD5 of its uncompressed bytes is {found}, expected {plain} "
            "(to read another data set in this format, use read_idx)"
        )
    place = list(known.files).index(file)
    count = known.counts[place // 2]
    shape = (count, 28, 28) if place % 2 == 0 else (count, 8) if name == "qmnist" else (count,)
    if array.shape != shape:
        raise Flaw(f"is not {known.title}'s: it holds an array of shape {array.shape}, expected {shape}")
    if place % 2:
        _labels(known, array)


def _labels(known: KnownSet, array: np.ndarray) -> np.ndarray:
    """uint8 (N,), from 0. QMNIST's have the class in the first of eight columns. Raises Flaw for other labels."""
    labels = array[:, 0] if array.ndim == 2 else array
    first, last = known.first_label, known.first_label + len(known.classes) - 1
    if len(labels) and not first <= labels.min() <= labels.max() <= last:
        raise Flaw(
            f"is not {known.title}'s: it has labels from {labels.min()} to {labels.max()}, expected {first} to {last}"
        )
    return (labels - first).astype(np.uint8)


def _as_mnist(known: KnownSet, pictures: np.ndarray, labels: np.ndarray) -> Pictures:
    if known.turned:
        pictures = np.ascontiguousarray(pictures.transpose(0, 2, 1))
    return pictures[:, None], _labels(known, labels)  # (N, 28, 28) -> (N, 1, 28, 28)


def _what_is_missing(
    name: str, missing: list[str], folders: list[Path], passed: list[tuple[Path, str]], root
) -> str:
    return (f"{note} " if (note := mnist.not_there(root)) else "") + (
        f"{SETS[name].title} is incomplete. Missing: {', '.join(missing)} (with or without .gz). "
        f"Looked in: {', '.join(map(str, folders))}. "
        + "".join(f"{sentence} " for sentence in others_in_words(passed))
        + f'Allow the download with load("{name}", download=True), copy the files there, or set the environment '
        "variable MINIALEX_DATA to their folder."
    )


# -- Downloading -------------------------------------------------------------------------------------------


def _download(name: str, missing: list[str], home: Path, passed: list[tuple[Path, str]], root=None) -> None:
    """Bring these files into the folder `home`, each under its name only with the published sum."""
    known = SETS[name]
    instead = f'. mx.data.load("{name}", FOLDER) reads them from any folder.\n' + " ".join(
        others_in_words(passed)
    )
    instead = instead.rstrip()
    files = [f"{file}.gz" for file in missing]
    if known.archive is None:
        check = partial(_check_downloaded, name)
        mnist.download_files(files, home, known.title, known.mirrors, _most(known), check, instead, root)
        return
    print(f"{known.title} comes in one file with all of EMNIST, 562 MB, of which four files are kept.")
    check = partial(_check_archive, known)
    mnist.download_files(
        [ARCHIVE], home, known.title, known.mirrors, MOST_OF_AN_ARCHIVE, check, instead, root
    )
    try:
        with mnist._scratch(home) as scratch, zipfile.ZipFile(home / ARCHIVE) as archive:
            for file in files:
                with archive.open(f"gzip/{file}") as packed, open(Path(scratch, file), "wb") as copy:
                    shutil.copyfileobj(packed, copy)
                _check_downloaded(name, Path(scratch, file))
                os.replace(Path(scratch, file), home / file)
    except (Flaw, KeyError, zipfile.BadZipFile) as error:
        raise DownloadFailed(
            f"the {ARCHIVE} of EMNIST that was fetched has no good {file}: {error}"
        ) from error
    finally:
        (home / ARCHIVE).unlink(missing_ok=True)


def _check_downloaded(name: str, path: Path) -> None:
    """Raises Flaw for a file without the published sum, packed or unpacked."""
    sums, found = SETS[name].files[path.name.removesuffix(".gz")], []
    read_checked(path, _most(SETS[name]), found.append)
    if sums.plain and found == [sums.plain]:
        return
    _must_be(sums.packed, path, SETS[name].title)


def _check_archive(known: KnownSet, path: Path) -> None:
    _must_be(known.archive, path, known.title)


def _must_be(md5: str | None, path: Path, title: str) -> None:
    if (found := sum_of_file(path)) != md5:
        raise Flaw(f"is not {title}'s: its MD5 is {found}, expected {md5}")
