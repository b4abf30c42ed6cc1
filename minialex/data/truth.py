"""The classes of a flat validation folder, as ImageNet's own and Tiny ImageNet's come: in text files beside it.

Such files often number the classes, and a number is not a name. It is read only where there is no doubt about what
it counts: see `numbered`.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from minialex.data.classes import a_few
from minialex.data.walk import OTHERS, SUFFIXES
from minialex.errors import DataError
from minialex.weights.reading import read_lines, shown
from minialex.words import WNID, counted

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
ANNOTATIONS = "val_annotations.txt"  # Tiny ImageNet's: a picture, its class, and the four sides of a box

MAKE_IDS = (
    "python -c \"from scipy.io import loadmat; [print(s[0], s[1]) for s in loadmat('meta.mat', squeeze_me=True)"
    "['synsets'][:1000]]\" > class_ids.txt"
)

INSTEAD = (
    "Write names in their place, or say which is which: --class-ids FILE (class_ids=FILE), with a line 'NUMBER CLASS' "
    "for each"
)


def classes_of(
    files: list[Path], truth: Path, class_ids, known: list[str], are_folders: bool = True
) -> tuple[np.ndarray, list[str]]:
    """The label of each picture, and what the labels mean: the known classes, or those of the file.

    are_folders: the known classes are folders of these pictures' set; else a network's, which may be of another one.
    """
    names = class_of_each(truth, files)
    if class_ids:
        by_id = _pairs(Path(class_ids), _rows(Path(class_ids), 2), "the class")
        if unknown := sorted({name for name in names if name not in by_id}):
            raise DataError(f"{truth} has classes that {class_ids} does not list: {a_few(unknown)}")
        names = [by_id[name] for name in names]
        known = known or sorted(set(by_id.values()))
    elif not set(names) <= set(known) and all(name.isdecimal() for name in names):
        return numbered(truth, names, known, are_folders)
    known = known or sorted(set(names))
    number = {name: i for i, name in enumerate(known)}
    if unknown := sorted(set(names) - set(known)):
        raise DataError(
            f"{truth} has classes that are not among the {len(known)} known ones: {a_few(unknown)}"
        )
    return np.array([number[name] for name in names], dtype=np.int64), known


def find_ground_truth(root: Path, folder: Path, count: int) -> Path:
    """ImageNet's own file, where it is found without being named."""
    for place in (root / GROUND_TRUTH, folder / GROUND_TRUTH, folder / ANNOTATIONS):
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"{folder} holds {counted(count, 'picture')} and no class folders, so their classes must be in {GROUND_TRUTH}, "
        f"in {root} or in {folder}: there is none"
    )


def class_of_each(truth: Path, files: list[Path]) -> list[str]:
    """What the ground-truth file says of each picture: its class, or the class's number."""
    rows = [row[:2] for row in _rows(truth, 6)] if truth.name == ANNOTATIONS else _rows(truth)
    if rows and len(rows[0]) == 1:
        if len(rows) != len(files):
            raise DataError(
                f"{truth} has {counted(len(rows), 'line')} for {counted(len(files), 'picture')} in {files[0].parent}: "
                "there must be one for each, in sorted order"
            )
        return [name for (name,) in rows]
    there, alone = {file.name for file in files}, Counter(bare(file.name) for file in files)
    by_name = _pairs(truth, [[Path(name).name, label] for name, label in rows], "the picture")
    others = [[bare(name), label] for name, label in by_name.items() if name not in there]
    by_bare_name = _pairs(truth, others, "the picture")  # 1.JPEG may be kept as 1.png

    def said_of(file):
        return by_name.get(
            file.name, by_bare_name.get(bare(file.name)) if alone[bare(file.name)] == 1 else None
        )

    if missing := [file.name for file in files if said_of(file) is None]:
        raise DataError(
            f"{truth} says nothing of {len(missing)} of {counted(len(files), 'picture')}: {a_few(missing)}"
        )
    return [said_of(file) for file in files]


# Names of pictures in text files; such as nobody reads here were made others, and may have left theirs there.
PICTURES = (*SUFFIXES, *OTHERS)


def bare(name: str) -> str:
    """A picture's name without what says that it is one.

    >>> bare("val_1.JPEG"), bare("photo.1"), bare("photo.1.png")
    ('val_1', 'photo.1', 'photo.1')
    """
    stem, dot, kind = name.rpartition(".")
    return stem if dot + kind.lower() in PICTURES else name


def numbered(
    truth: Path, numbers: list[str], known: list[str], are_folders: bool = True
) -> tuple[np.ndarray, list[str]]:
    """Numbers of classes as labels from 0 on, and what they mean; the names are made up where there are none.

    They mean the known classes in sorted order, and count from 0 where a 0 occurs (as in Caffe's val.txt), else from
    1. Raises DataError where that may be wrong:
    - The known classes are wnids, and there is no 0: ImageNet's own numbers, ILSVRC2012_ID, are in another order.
    - The known classes are numbers themselves, and these are others.
    - The known classes are a network's: who says that it was trained on those that the numbers count?
    - There is neither a 0 nor the last number, so they may begin at either; ImageNet's own file begins at 1.
    """
    if large := [number for number in numbers if len(number) > 6]:
        raise DataError(f"{truth} has class {shown(large[0])}, there can be 999,999 at most")
    labels = np.array([int(number) for number in numbers], dtype=np.int64)
    first, last = labels.min(), labels.max()
    if wnids := [name for name in known if WNID.match(name.lower()) and first > 0]:
        raise DataError(
            f"{truth} has numbers, {a_few(sorted(set(numbers), key=int))}, but classes are named by WordNet's ids, "
            f"{a_few(wnids)}. ImageNet's own numbers count them in another order, so say which is which: --class-ids "
            "FILE (class_ids=FILE), with a line 'ID CLASS' for each class, as '1 n02119789'. It is made from meta.mat "
            f"in the development kit (ILSVRC2012_devkit_t12.tar.gz): {MAKE_IDS}"
        )
    if known and all(name.isdecimal() for name in known):
        by_value = {int(name): i for i, name in enumerate(known)}
        if len(by_value) < len(known) or not set(labels.tolist()) <= set(by_value):
            raise DataError(
                f"{truth} has the classes {a_few(sorted(set(numbers), key=int))}, the folders {a_few(known)}: are "
                f"these names, or do they count the folders? {INSTEAD}"
            )
        return np.array([by_value[label] for label in labels.tolist()], dtype=np.int64), known
    if known and not are_folders:
        raise DataError(
            f"{truth} has numbers, {a_few(sorted(set(numbers), key=int))}, and there are no class folders in train/ "
            f"that they could count; the network knows its classes by name, {a_few(known)}. {INSTEAD}"
        )
    known = known or [str(i) for i in range(1, last + 1 + (first == 0))]
    start = int(first > 0)
    if last - start >= len(known):
        raise DataError(f"{truth} has class {max(numbers, key=int)}, but of classes there are {len(known)}")
    if start and last < len(known) and truth.name != GROUND_TRUTH:
        raise DataError(
            f"{truth} has the classes {first} to {last} of {len(known)}: do they count from 0 or from 1? {INSTEAD}"
        )
    return labels - start, known


def _pairs(path: Path, rows: list[list[str]], what: str) -> dict[str, str]:
    """First word -> second; DataError where two lines contradict each other."""
    pairs: dict[str, str] = {}
    for name, value in rows:
        if pairs.setdefault(name, value) != value:
            raise DataError(f"{path} says two things of {what} {name}: {pairs[name]} and {value}")
    return pairs


def _rows(path: Path, width: int | None = None) -> list[list[str]]:
    """The words of each line that is not empty: `width` of them, or all as many as in the first line, 1 or 2."""
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        words = line.split()
        if not words:
            continue
        width = width or min(len(words), 2)
        if len(words) != width:
            raise DataError(f"{path}, line {number}, should be {width} words, but is {line.strip()[:60]!r}")
        rows.append(words)
    return rows
