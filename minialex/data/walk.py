"""Which pictures lie in a folder: where one goes in, what is passed over, and where links may lead.

Pictures belong to the class in whose folder they lie, whichever way leads there. So a link is followed where it leads
to another place, as people build a part of ImageNet by links, and there once. It is passed over where it leads back
to a folder that holds it or the classes, into another class's folder, or to what is there already: else pictures
would be found again and again, or as another class.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from minialex.errors import DataError

SUFFIXES = (".jpeg", ".jpg", ".png")  # in any letter case
# What other pictures are called, which are passed over; those who put them there should hear of it.
OTHERS = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")

# Folders that disk stations and operating systems put among other people's pictures: thumbnails, what was deleted.
NOT_OURS = (
    "@eaDir",
    "#recycle",
    "@Recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "__MACOSX",
)

HIDDEN, THUMBNAILS, NO_FILE = "hidden", "of the system's own", "no file but a FIFO, socket or device"
BACK, TO_ANOTHER_CLASS = "linked to a folder above", "linked into another class's folder"
AGAIN, OF_ANOTHER_CLASS = "linked to what is there already", "linked to from another class as well"
BROKEN, LOOSE = "linked to nothing", "outside of the class folders"
OTHERWISE_CALLED = "not called .jpeg, .jpg or .png"


class Passed:
    """What was passed over, by its kind: how many, and the first of each.

    >>> passed = Passed()
    >>> passed.add("hidden", "train/cat/.ipynb_checkpoints")
    >>> passed.add("hidden", "train/dog/._1.jpg")
    >>> print(passed)
    2 hidden (train/cat/.ipynb_checkpoints, ...)
    """

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, path: str | os.PathLike) -> None:
        self.counts[kind] += 1
        self.first.setdefault(kind, str(path))

    def __bool__(self):
        return bool(self.counts)

    def __str__(self):
        return "; ".join(
            f"{count} {kind} ({self.first[kind]}{', ...' if count > 1 else ''})"
            for kind, count in self.counts.items()
        )


def class_folders(folder: Path, passed: Passed | None = None) -> list[str]:
    """The names of the folders in a folder, sorted; none where there is no such folder.

    Raises OSError when it may not be read, DataError for a link to a folder that is not there.
    """
    passed = Passed() if passed is None else passed
    if not folder.is_dir():
        return []
    names, real = [], os.path.realpath(folder)
    for entry, kind in _listed(os.fspath(folder), passed):
        if kind.endswith("picture"):
            passed.add(LOOSE, entry.path)
        elif kind == "link to a folder" and _holds(os.path.realpath(entry.path), real):
            passed.add(BACK, entry.path)
        else:
            names.append(entry.name)
    return names


class Finder:
    """Finds the pictures of each class in turn.

    splits: the folders of class folders, train/ and val/ say, with the names of their classes; others: those that are
    not looked into now. Raises DataError where one folder would be two classes.
    """

    def __init__(
        self, splits: dict[Path, list[str]], passed: Passed, others: dict[Path, list[str]] | None = None
    ):
        self.passed = passed
        self.roots = {os.path.realpath(folder) for folder in (*splits, *(others or {}))}
        # Where a class folder, or a picture behind a link, really is: its class, and its path.
        self.owners: dict[str, tuple[str, Path]] = {}
        self.linked: dict[str, tuple[str, str]] = {}
        self._known: dict[str, str | None] = {}  # what _owner has found out,
        self._real: dict[str, str] = {}  # and _real_file
        for folder, names in splits.items():
            for name in names:
                self._note(self.owners, os.path.realpath(folder / name), name, folder / name)
        for real, (name, path) in list(self.owners.items()):
            if above := self._owner(os.path.dirname(real)):
                self._note(self.owners, above, name, path)
        for folder, names in (others or {}).items():
            for name in names:
                self.owners.setdefault(os.path.realpath(folder / name), (name, folder / name))
        self._known.clear()

    def pictures(self, folder: Path, name: str | None = None) -> list[Path]:
        """All pictures in a folder and its subfolders, sorted. name: of its class, None where folders have none.

        Raises OSError when a folder may not be read, DataError for a link to a folder that is not there.
        """
        found: dict[str, str] = {}  # where a picture really is: the path that leads there
        folders, links, files = [(os.fspath(folder), os.path.realpath(folder))], [], []
        walked, elsewhere = set(), False
        while folders or links:  # what needs no link is found without
            if not folders:
                path, real = links.pop(0)
                if kind := self._why_not(path, real, name) or (real in walked and AGAIN):
                    self.passed.add(kind, path)
                    continue
                folders, elsewhere = [(path, real)], True
            path, real = folders.pop()
            if real in walked:
                continue
            walked.add(real)
            for entry, kind in _listed(path, self.passed):
                here = os.path.join(real, entry.name)
                if kind == "folder":
                    folders.append((entry.path, here))
                elif kind == "link to a folder":
                    links.append((entry.path, os.path.realpath(entry.path)))
                elif kind == "link to a picture":
                    files.append((entry.path, self._real_file(entry.path)))
                elif kind == "picture":
                    found[here] = entry.path
                    if elsewhere:
                        self._note(self.linked, here, name, entry.path)
        for path, real in sorted(files):
            if real in found:
                self.passed.add(AGAIN, path)
            elif self._is_anothers(os.path.dirname(real), name):
                self.passed.add(TO_ANOTHER_CLASS, path)
            elif self.linked.setdefault(real, (name, path))[0] != name:
                self.passed.add(OF_ANOTHER_CLASS, path)  # stores that keep equal files once link so
            else:
                found[real] = path
        return [Path(path) for path in sorted(found.values())]

    def _real_file(self, path: str) -> str:
        """os.path.realpath of a link to a file, which asks less often: a class may be many links into few folders."""
        folder, name = os.path.split(os.path.join(os.path.dirname(path), os.readlink(path)))
        if os.name != "posix" or name in ("", ".", ".."):
            return os.path.realpath(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        real = os.path.join(self._real[folder], name)
        return os.path.realpath(real) if os.path.islink(real) else real

    def _why_not(self, path: str, real: str, name: str | None) -> str | None:
        """Why a link to a folder, which is really at `real`, is not followed."""
        if any(_holds(real, place) for place in (os.path.realpath(os.path.dirname(path)), *self.roots)):
            return BACK
        others = (place for place, (other, _) in self.owners.items() if other != name)
        if name is not None and (self._is_anothers(real, name) or any(_holds(real, o) for o in others)):
            return TO_ANOTHER_CLASS
        return None

    def _is_anothers(self, folder: str, name: str | None) -> bool:
        """Is this another class's folder, or inside it?"""
        owner = None if name is None else self._owner(folder)
        return owner is not None and self.owners[owner][0] != name

    def _owner(self, folder: str) -> str | None:
        """The class folder that this is, or that holds it."""
        if folder not in self._known:
            places = (folder, *map(str, Path(folder).parents))
            self._known[folder] = next((place for place in places if place in self.owners), None)
        return self._known[folder]

    @staticmethod
    def _note(known: dict, real: str, name: str | None, path: str | Path) -> None:
        """Remember whose this is. Pictures belong to one class."""
        first, its_path = known.setdefault(real, (name, path))
        if first != name:
            raise DataError(
                f"{its_path} and {path} lead to the same pictures, so they would be of two classes, "
                f"{first} and {name}: delete one of the two"
            )


def _listed(folder: str, passed: Passed) -> Iterator[tuple[os.DirEntry, str]]:
    """What is in a folder and may matter, each with its kind; what does not is counted."""
    for entry in _entries(folder):
        is_picture = entry.name.lower().endswith(SUFFIXES)
        is_other = entry.name.lower().endswith(OTHERS)
        if _is_no_ones(entry, passed):
            continue
        if _is_link(entry):
            mode = _mode_behind(entry, passed)
            if mode is None and is_picture:
                yield entry, "picture"  # when it is read, it is named as unreadable
            elif mode is not None and stat.S_ISDIR(mode):
                yield entry, "link to a folder"
            elif mode is not None and not stat.S_ISREG(mode):
                passed.add(NO_FILE, entry.path)
            elif mode is not None and is_picture:
                yield entry, "link to a picture"
            elif mode is not None and is_other:
                passed.add(OTHERWISE_CALLED, entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield entry, "folder"
        elif not entry.is_file(follow_symlinks=False):
            passed.add(NO_FILE, entry.path)
        elif is_picture:
            yield entry, "picture"
        elif is_other:
            passed.add(OTHERWISE_CALLED, entry.path)


def _entries(folder) -> list[os.DirEntry]:
    """What is in a folder, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the folder {folder} cannot be read ({error.strerror}), and its pictures would be missing: "
            "let it be read, or take it away",
        ) from error


def _is_no_ones(entry: os.DirEntry, passed: Passed) -> bool:
    """Is it hidden, or the system's own? Then, if pictures might be meant, it is counted."""
    hidden = entry.name.startswith(".")
    if not hidden and entry.name not in NOT_OURS:
        return False
    plain = not _is_link(entry) and entry.is_file(follow_symlinks=False)
    if not plain or entry.name.lower().endswith(SUFFIXES):
        passed.add(HIDDEN if hidden else THUMBNAILS, entry.path)
    return True


def _is_link(entry: os.DirEntry) -> bool:
    """A symbolic link, or a junction of Windows (which Python knows since 3.12)."""
    return entry.is_symlink() or getattr(entry, "is_junction", bool)()


def _mode_behind(entry: os.DirEntry, passed: Passed) -> int | None:
    """What kind of thing a link leads to; None where it is nothing.

    Raises DataError where that seems to have been a folder, whose pictures would be missing.
    """
    try:
        return os.stat(entry.path).st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise OSError(error.errno, f"{entry.path} cannot be followed ({error.strerror})") from error
        if entry.name.lower().endswith(SUFFIXES):
            return None
        if error.errno != errno.ELOOP and not os.path.splitext(entry.name)[1]:
            raise DataError(
                f"{entry.path} is a link to {os.readlink(entry.path)}, which is not there, and its pictures would be "
                "missing: bring that back, or delete the link"
            ) from None
        passed.add(BACK if error.errno == errno.ELOOP else BROKEN, entry.path)
        return None


def _holds(folder: str, place: str) -> bool:
    """Is a place inside a folder, or the folder itself? Both real."""
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
