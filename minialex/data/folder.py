"""Folders of pictures: which files there are, and which class each belongs to.

Two layouts are known. One folder a class, as nearly everyone keeps pictures:

    root/train/<class>/*.JPEG    root/val/<class>/*.JPEG    (test/ serves where there is no val/)

And ImageNet's own validation set, which comes flat, its classes in a text file beside it (see `find_pictures`):

    root/val/*.JPEG              root/ILSVRC2012_validation_ground_truth.txt

Tiny ImageNet's does so too: root/val/images/*.JPEG, and root/val/val_annotations.txt.
"""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minialex.data.classes import a_few, first_words, numbers_in
from minialex.data.decode import UnreadablePicture, read_picture
from minialex.data.truth import ANNOTATIONS, classes_of, find_ground_truth
from minialex.data.truth import GROUND_TRUTH as GROUND_TRUTH  # known by this name since before
from minialex.data.walk import SUFFIXES, Finder, Passed, class_folders
from minialex.errors import DataError
from minialex.layers.model import names_or_none
from minialex.shapes import numbers_of
from minialex.words import counted, did_you_mean, is_one_of

__all__ = ["PictureList", "UnreadablePicture", "find_pictures", "read_picture"]


@dataclass(frozen=True, eq=False)
class PictureList:
    """Pictures by file name, nothing read yet: picture i is files[i], of the class classes[labels[i]]."""

    files: list[Path]
    labels: np.ndarray  # int64 (N,)
    classes: list[str]
    passed: Passed = field(default_factory=Passed)  # what was there as well, and was not taken

    def __len__(self) -> int:
        return len(self.files)

    def part(self, chosen) -> "PictureList":
        """Those with these numbers, or where a mask is True, with all the classes: to hold some out, or to try few."""
        chosen = numbers_of(chosen, len(self), "part")
        return replace(self, files=[self.files[i] for i in chosen], labels=self.labels[chosen])

    def numbered_as(self, trained: list[str], where="the list") -> "PictureList":
        """The same pictures with the labels of a network that was trained on these names, in its order.

        A part of them will do. Raises DataError, naming it, for a class with pictures that was not trained.
        """
        used, trained = np.unique(self.labels), list(names_or_none(trained, "trained") or [])
        numbers = np.zeros(len(self.classes), dtype=np.int64)
        numbers[used] = numbers_in(trained, [self.classes[i] for i in used], where)
        return replace(self, labels=numbers[self.labels], classes=trained)


# -- Finding -----------------------------------------------------------------------------------------------


def find_pictures(
    root, split: str = "train", ground_truth=None, class_ids=None, trained: list[str] | None = None
) -> PictureList:
    """The pictures of root/train, or those to test with (`split="val"`): of root/val, else of root/test.

    Classes are the names of the class folders in sorted order, as texts ("10" comes before "2"): train/'s, or val/'s
    own where there is no train/. With `trained`, the names that a network was trained on in its order, they are those:
    folders may be a part of them, and labels are the network's.
    Pictures end in .jpeg, .jpg or .png in any letter case, and may lie deeper inside their class's folder. What ends
    otherwise (.webp, .gif), is hidden, a disk station's (@eaDir), a FIFO or the like is passed over, and so are links
    that lead back or into another class's folder; `passed` counts them.

    A flat val/ needs a text file, `ground_truth`; ILSVRC2012_validation_ground_truth.txt in `root` or in val/, or Tiny
    ImageNet's val_annotations.txt in val/, is found without being named. It has either a line `NAME CLASS` for each
    picture (and in Tiny ImageNet's a box behind it), or one class a line for the pictures in sorted order. A class is
    a class folder's name or its number. Numbers count from 1, or from 0 where a 0 occurs (as in Caffe's val.txt), and
    mean the classes in sorted order; where that is in doubt (see truth.numbered) they are refused.

    ImageNet's own file numbers its classes in another order, ILSVRC2012_ID, so it needs `class_ids` too: a text
    file with a line `ID CLASS` for each class (`1 n02119789`), made from meta.mat of the development kit.

    Raises FileNotFoundError when a folder or file is missing, OSError when a folder may not be read, DataError when
    what is there doesn't fit together, TypeError for `trained` that are no names, as one text.
    """
    root, trained = Path(root).expanduser(), names_or_none(trained, "trained")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    folder, passed = _split_folder(root, split), Passed()
    own = class_folders(folder, passed)
    known = own if split == "train" else class_folders(root / "train")
    if (
        split == "val"
        and own == ["images"]
        and own != known
        and (ground_truth or (folder / ANNOTATIONS).is_file())
    ):
        own = []  # no class of that name, but where Tiny ImageNet keeps its flat pictures
    finder = Finder({root / "train": known, folder: own}, passed, _other_splits(root))
    if own:
        pictures = _from_class_folders(folder, own, known or own, finder)
    elif split == "train":
        raise DataError(f"{folder} has no class folders: pictures belong in {folder / '<class>'}")
    else:
        finder.passed = passed = Passed()  # loose pictures are what is wanted
        files = finder.pictures(folder)
        if not files:
            raise DataError(
                f"{folder} has neither class folders nor pictures ({', '.join(SUFFIXES)}){_said_of(passed)}"
            )
        truth = Path(ground_truth) if ground_truth else find_ground_truth(root, folder, len(files))
        there = known or sorted(first_words(trained or []))
        pictures = PictureList(files, *classes_of(files, truth, class_ids, there, bool(known)), passed)
    if trained is not None:
        return pictures.numbered_as(trained, folder)
    if len(pictures.classes) == 1:
        raise DataError(
            f"{folder} has one class only, {pictures.classes[0]}: there must be 2 or more to tell apart"
        )
    return pictures


def _split_folder(root: Path, split: str) -> Path:
    if not is_one_of(split, ("train", "val")):
        raise ValueError(f'split is "train" or "val", not {split!r}{did_you_mean(split, ("train", "val"))}')
    names = ["train"] if split == "train" else ["val", "test"]
    for name in names:
        if (root / name).is_dir():
            return root / name
    there = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
    raise FileNotFoundError(
        f"{root} has no folder {' or '.join(names)}; it has {there}. Pictures to learn from belong in "
        f"{root / 'train' / '<class>'}, others to test with, a tenth say, in {root / 'val' / '<class>'}"
    )


def _other_splits(root: Path) -> dict[Path, list[str]]:
    """The class folders of any split, into which no link may lead. What is wrong in another split is of no matter."""
    splits = {}
    for name in ("train", "val", "test"):
        with suppress(OSError, DataError):
            splits[root / name] = class_folders(root / name)
    return splits


def _from_class_folders(folder: Path, own: list[str], classes: list[str], finder: Finder) -> PictureList:
    number = {name: i for i, name in enumerate(classes)}
    if strangers := [name for name in own if name not in number]:
        raise DataError(
            f"{folder} has {counted(len(strangers), 'class', 'classes')} that train/ has not: {a_few(strangers)}. "
            f"train/ has {len(classes)}, {folder.name}/ {len(own)}"
        )
    found = {name: finder.pictures(folder / name, name) for name in own}
    if empty := [name for name in own if not found[name]]:
        raise DataError(
            f"{folder} has {counted(len(empty), 'class folder')} without a picture ({', '.join(SUFFIXES)}): "
            f"{a_few(empty)}{_said_of(finder.passed)}"
        )
    files = [file for name in own for file in found[name]]
    labels = [number[name] for name in own for _ in found[name]]
    return PictureList(files, np.array(labels, dtype=np.int64), classes, finder.passed)


def _said_of(passed: Passed) -> str:
    return f"; passed over: {passed}" if passed else ""
