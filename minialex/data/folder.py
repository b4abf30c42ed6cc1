"""Folders of pictures: which files there are, and which class each belongs to.

Two layouts are known. One folder a class, as nearly everyone keeps pictures:

    root/train/<class>/*.JPEG    root/val/<class>/*.JPEG    (test/ serves where there is no val/)

And ImageNet's own validation set, which comes flat, its classes in a text file beside it (see `find_pictures`):

    root/val/*.JPEG              root/ILSVRC2012_validation_ground_truth.txt
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex.data.decode import UnreadablePicture, read_picture
from minialex.errors import DataError
from minialex.reading import read_lines, shown

__all__ = ["PictureList", "UnreadablePicture", "find_pictures", "read_picture"]

SUFFIXES = (".jpeg", ".jpg", ".png")  # in any letter case
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


@dataclass(frozen=True, eq=False)
class PictureList:
    """Pictures by file name, nothing read yet: picture i is files[i], of the class classes[labels[i]]."""

    files: list[Path]
    labels: np.ndarray  # int64 (N,)
    classes: list[str]

    def __len__(self) -> int:
        return len(self.files)

    def part(self, chosen) -> "PictureList":
        """Those with these numbers, with all the classes: to hold some out, or to try with a few."""
        return PictureList([self.files[i] for i in chosen], self.labels[chosen], self.classes)


# -- Finding -----------------------------------------------------------------------------------------------


def find_pictures(root, split: str = "train", ground_truth=None, class_ids=None) -> PictureList:
    """The pictures of root/train, or those to test with (`split="val"`): of root/val, else of root/test.

    Classes are the names of the class folders in sorted order: train/'s, or val/'s own where there is no train/.
    Pictures end in .jpeg, .jpg or .png in any letter case, and may lie deeper inside their class's folder.

    A flat val/ needs a text file, `ground_truth`; ILSVRC2012_validation_ground_truth.txt in `root` or in val/
    is found without being named. It has either a line `NAME CLASS` for each picture, or one class a line for the
    pictures in sorted order. A class is a class folder's name or its number. Numbers count from 1, or from 0
    where a 0 occurs (as in Caffe's val.txt), and mean the classes in sorted order.

    ImageNet's own file numbers its classes in another order, ILSVRC2012_ID, so it needs `class_ids` too: a text
    file with a line `ID CLASS` for each class (`1 n02119789`), made from meta.mat of the development kit.

    Raises FileNotFoundError when a folder or file is missing, DataError when what is there doesn't fit together.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    folder = _split_folder(root, split)
    known = _class_folders(root / "train")
    own = _class_folders(folder)
    if own:
        pictures = _from_class_folders(folder, own, known or own)
    elif split == "train":
        raise DataError(f"{folder} has no class folders: pictures belong in {folder / '<class>'}")
    else:
        pictures = _from_ground_truth(root, folder, known, ground_truth, class_ids)
    if len(pictures.classes) == 1:
        raise DataError(
            f"{folder} has one class only, {pictures.classes[0]}: there must be 2 or more to tell apart"
        )
    return pictures


def _split_folder(root: Path, split: str) -> Path:
    if split not in ("train", "val"):
        raise ValueError(f'split is "train" or "val", not {split!r}')
    names = ["train"] if split == "train" else ["val", "test"]
    for name in names:
        if (root / name).is_dir():
            return root / name
    there = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
    raise FileNotFoundError(f"{root} has no folder {' or '.join(names)}; it has {there}")


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures_in(folder: Path) -> list[Path]:
    """All pictures in a folder and its subfolders, sorted. Names that begin with a dot are no pictures."""
    found = [
        os.path.join(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    return [Path(path) for path in sorted(found)]


def _from_class_folders(folder: Path, own: list[str], classes: list[str]) -> PictureList:
    number = {name: i for i, name in enumerate(classes)}
    if strangers := [name for name in own if name not in number]:
        raise DataError(
            f"{folder} has {len(strangers)} classes that train/ has not: {_a_few(strangers)}. "
            f"train/ has {len(classes)}, {folder.name}/ {len(own)}"
        )
    found = {name: _pictures_in(folder / name) for name in own}
    if empty := [name for name in own if not found[name]]:
        raise DataError(
            f"{folder} has {len(empty)} class folders without a picture ({', '.join(SUFFIXES)}): {_a_few(empty)}"
        )
    files = [file for name in own for file in found[name]]
    labels = [number[name] for name in own for _ in found[name]]
    return PictureList(files, np.array(labels, dtype=np.int64), classes)


def _a_few(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# -- ImageNet's flat validation folder ---------------------------------------------------------------------


def _from_ground_truth(root, folder, classes, ground_truth, class_ids) -> PictureList:
    files = _pictures_in(folder)
    if not files:
        raise DataError(f"{folder} has neither class folders nor pictures ({', '.join(SUFFIXES)})")
    truth = Path(ground_truth) if ground_truth else _find_ground_truth(root, folder, len(files))
    names = _class_of_each(truth, files)
    if class_ids:
        by_id = dict(_rows(Path(class_ids), 2))
        if unknown := sorted({name for name in names if name not in by_id}):
            raise DataError(f"{truth} has classes that {class_ids} does not list: {_a_few(unknown)}")
        names = [by_id[name] for name in names]
        classes = classes or sorted(set(by_id.values()))
    return PictureList(files, *_numbered(truth, names, classes))


def _find_ground_truth(root: Path, folder: Path, count: int) -> Path:
    for place in (root, folder):
        if (place / GROUND_TRUTH).is_file():
            return place / GROUND_TRUTH
    raise FileNotFoundError(
        f"{folder} holds {count} pictures and no class folders, so their classes must be in {GROUND_TRUTH}, "
        f"in {root} or in {folder}: there is none"
    )


def _class_of_each(truth: Path, files: list[Path]) -> list[str]:
    """What the ground-truth file says of each picture: its class, or the class's number."""
    rows = _rows(truth)
    if rows and len(rows[0]) == 1:
        if len(rows) != len(files):
            raise DataError(
                f"{truth} has {len(rows)} lines for {len(files)} pictures in {files[0].parent}: "
                "there must be one for each, in sorted order"
            )
        return [name for (name,) in rows]
    by_name = {Path(name).stem: label for name, label in rows}
    if missing := [file.name for file in files if file.stem not in by_name]:
        raise DataError(f"{truth} says nothing of {len(missing)} of {len(files)} pictures: {_a_few(missing)}")
    return [by_name[file.stem] for file in files]


def _numbered(truth: Path, names: list[str], classes: list[str]) -> tuple[np.ndarray, list[str]]:
    """Labels from 0 on, and all classes, which are made up from the names where there are none yet."""
    if set(names) <= set(classes) or not all(name.isdecimal() for name in names):
        classes = classes or sorted(set(names))
        number = {name: i for i, name in enumerate(classes)}
        if unknown := sorted(set(names) - set(classes)):
            raise DataError(
                f"{truth} has classes that are not among the {len(classes)} known ones: {_a_few(unknown)}"
            )
        return np.array([number[name] for name in names], dtype=np.int64), classes
    if large := [name for name in names if len(name) > 6]:
        raise DataError(f"{truth} has class {shown(large[0])}, there can be 999,999 at most")
    labels = np.array(names, dtype=np.int64)
    labels -= labels.min() > 0  # numbers count from 1, unless a 0 occurs
    classes = classes or [str(i) for i in range(1, labels.max() + 2)]
    if labels.max() >= len(classes):
        raise DataError(f"{truth} has class {max(names, key=int)}, but there are {len(classes)} classes")
    return labels, classes


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
