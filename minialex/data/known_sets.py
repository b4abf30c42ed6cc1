"""What has been published of the sets that are loaded by name: their files, sums, places and classes.

All come as MNIST does: four IDX files of pictures of 28x28 and labels. Fashion-MNIST and KMNIST even have MNIST's file
names, so only their sums tell which set a file is of.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

from minialex.words import typed

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Sums:
    """The MD5 of a file: `packed` of its authors' .gz, `plain` of its uncompressed bytes, if that is published."""

    packed: str
    plain: str | None = None


@dataclass(frozen=True)
class KnownSet:
    """files: in the order training pictures, training labels, test pictures, test labels; counts: how many pictures.

    mirrors: each has all files, with .gz behind their names. Or gzip.zip, with them in its folder gzip/, and `archive`
    is the MD5 of that.
    first_label: that of class 0. turned: rows and columns of the pictures are swapped.
    """

    title: str
    files: dict[str, Sums]
    mirrors: tuple[str, ...]
    folders: tuple[str, ...]  # below a root, where other programs put them
    classes: tuple[str, ...] = DIGITS
    counts: tuple[int, int] = (60_000, 10_000)
    first_label: int = 0
    turned: bool = False
    archive: str | None = None


def _files(sums, names=("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                        "t10k-labels-idx1-ubyte")) -> dict[str, Sums]:  # fmt: skip
    return {name: Sums(*of_file.split()) for name, of_file in zip(names, sums, strict=True)}


SETS = {
    "mnist": KnownSet(
        "MNIST",
        _files([
            "f68b3c2dcbeaaa9fbdd348bbdeb94873 6bbc9ace898e44ae57da46a324031adb",
            "d53e105ee54ea40749a09fcbcd1e9432 a25bea736e30d166cdddb491f175f624",
            "9fb629c4189551a2d022fa330f9573f3 2646ac647ad5339dbf082846283269ea",
            "ec29112dd5afa0611ce80d1b7f02629c 27ae3e4e09519cfbb04c329615203637",
        ]),
        # The original host answers 403 nowadays; these two have kept copies for years.
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        ("mnist", "MNIST/raw"),
    ),
    # Xiao, Rasul, Vollgraf 2017: clothes. Sums of the .gz: its own page.
    "fashion-mnist": KnownSet(
        "Fashion-MNIST",
        _files([
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "25c81989df183df01b3e8a0aad5dffbe 9018921c3c673c538a1fc5bad174d6f9",
            "bef4ecab320f06d8554ea6380940ec79 8181f5470baa50b63fa0f6fddb340f0a",
            "bb300cfdad3c16e7a12a480ee83cd310 15d484375f8d13e6eb1aabb0c3f46965",
        ]),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        ("fashion-mnist", "FashionMNIST/raw"),
        tuple("T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")),
    ),
    # Clanuwat et al. 2018: ten characters of old Japanese books. Sums: torchvision's.
    "kmnist": KnownSet(
        "KMNIST",
        _files([
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ]),
        (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        ("kmnist", "KMNIST/raw"),
        tuple("o ki su tsu na ha ma ya re wo".split()),
    ),
    # Cohen et al. 2017: letters, small and capital in one class. Sums: Deeplearning4j's; of the zip: torchvision's.
    "emnist-letters": KnownSet(
        "EMNIST Letters",
        _files(
            [
                "8795078f199c478165fe18db82625747",
                "c16de4f1848ddcdddd39ab65d2a7be52",
                "382093a19703f68edac6d01b8dfdfcad",
                "d4108920cd86601ec7689a97f2de7f59",
            ],
            [f"emnist-letters-{part}-ubyte" for part in ("train-images-idx3", "train-labels-idx1", "test-images-idx3",
                                                          "test-labels-idx1")],
        ),
        (
            "https://biometrics.nist.gov/cs_links/EMNIST/",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
        ),
        ("emnist-letters", "emnist", "EMNIST/raw", "gzip", "emnist/gzip", "EMNIST/raw/gzip"),
        tuple(ascii_lowercase),
        counts=(124_800, 20_800),
        first_label=1,
        turned=True,
        archive="58c8d27c78d21e728a6bc7b3cc06412e",
    ),
    # Yadav, Bottou 2019: MNIST with its 50,000 lost test digits found. Sums: torchvision's.
    "qmnist": KnownSet(
        "QMNIST",
        _files(
            [
                "ed72d4157d28c017586c42bc6afe6370",
                "0058f8dd561b90ffdd0f734c6a30e5e4",
                "1394631089c404de565df7b7aeaf9412",
                "5b5b05890a5e13444e108efe57b788aa",
            ],
            ["qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int", "qmnist-test-images-idx3-ubyte",
             "qmnist-test-labels-idx2-int"],
        ),
        ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        ("qmnist", "QMNIST/raw"),
        counts=(60_000, 60_000),
    ),
}  # fmt: skip


def whose(*sums: str) -> tuple[str, str] | None:
    """The set and the file that one of these sums belongs to, as ("kmnist", "train-labels-idx1-ubyte"); None: nobody's.

    >>> whose("25c81989df183df01b3e8a0aad5dffbe")
    ('fashion-mnist', 'train-labels-idx1-ubyte')
    """
    for name, known in SETS.items():
        for file, of_file in known.files.items():
            if any(found in (of_file.packed, of_file.plain) for found in sums):
                return name, file
    return None


def how_to_load(name: str, folder: str | os.PathLike) -> str:
    """How to read a set whose files were found in another's place, in that folder.

    >>> how_to_load("kmnist", "data")
    'Load it with mx.data.load("kmnist", "data"), or train on it with lenet_mnist.py --dataset kmnist --data-dir data.'
    """
    return (
        f'Load it with mx.data.load("{name}", "{folder}"), or train on it with lenet_mnist.py --dataset {name} '
        f"--data-dir {typed(folder)}."
    )


def others_in_words(passed: Iterable[tuple[str | os.PathLike, str]]) -> list[str]:
    """A sentence for each folder and set, on all files (path, name of the set) that were passed over.

    >>> print(*others_in_words([("data/a.gz", "kmnist"), ("data/b.gz", "kmnist")]))  # doctest: +ELLIPSIS
    data/a.gz and b.gz are KMNIST's. Load it with mx.data.load("kmnist", "data"), or ...
    """
    together: dict[tuple[Path, str], list[str]] = {}
    for path, name in passed:
        files = together.setdefault((Path(path).parent, name), [])
        if Path(path).name not in files:
            files.append(Path(path).name)
    told = []
    for (folder, name), (first, *more) in together.items():
        files = " and ".join([", ".join([str(folder / first), *more[:-1]]), *more[-1:]])
        told.append(f"{files} {'are' if more else 'is'} {SETS[name].title}'s. {how_to_load(name, folder)}")
    return told
