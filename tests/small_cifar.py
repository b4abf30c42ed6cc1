"""A small CIFAR-10 that passes for the real one, in each form in which it is kept."""

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image

from minialex.data import cifar, cifar_published, mnist

COUNTS = (
    50,
    20,
)  # pictures: 10 in each file to train with, 5 of each class; 20 in the last one, 2 of each class
NAMES = list(cifar.CLASSES)


def md5(content):
    return hashlib.md5(content).hexdigest()


def records(seed=0):
    """Records of the files of a release: five times 10, and 20. The classes are mixed, five times and twice each."""
    rng = np.random.default_rng(seed)
    train, test = (rng.permutation(np.arange(count) % 10).astype(np.uint8) for count in COUNTS)
    planes = rng.integers(0, 256, (sum(COUNTS), 3072), dtype=np.uint8)
    whole = np.column_stack([np.concatenate([train, test]), planes])
    return np.split(whole, [10, 20, 30, 40, 50])


def whole(found):
    """((train_x, train_y), (test_x, test_y)) of records, pixel by pixel, as the page of CIFAR-10 describes them."""
    sets = []
    for part in (np.concatenate(found[:-1]), found[-1]):
        x = np.empty((len(part), 3, 32, 32), np.uint8)
        for n, record in enumerate(part):
            for c in range(3):
                for row in range(32):
                    begin = 1 + 1024 * c + 32 * row
                    x[n, c, row] = record[begin : begin + 32]
        sets.append((x, part[:, 0].copy()))
    return sets


def pickled(found):
    """A batch as Python 2.7's cPickle and NumPy 1 wrote it: texts are bytes there, in operations of their own."""

    def text(content):
        short = len(content) < 256
        return (b"U" + bytes([len(content)]) if short else b"T" + struct.pack("<i", len(content))) + content

    def number(value):
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    kind = (
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
        + b"K\x00tb"
    )  # fmt: skip
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R(K\x01"
        + number(len(found)) + number(3072) + b"\x86" + kind + b"\x89" + text(found[:, 1:].tobytes()) + b"tb"
    )  # fmt: skip
    items = [
        text(b"batch_label") + text(b"training batch 1 of 5"),
        text(b"labels") + b"](" + b"".join(map(number, found[:, 0])) + b"e",
        text(b"data") + array,
        text(b"filenames")
        + b"]("
        + b"".join(text(b"leptodactylus_%d.png" % i) for i in range(len(found)))
        + b"e",
    ]
    return b"\x80\x02}(" + b"".join(items) + b"u."


RELEASES = {"binary": cifar.BINARY, "python": cifar.PYTHON}


def files(release, found):
    """Name -> content of the six files of a release."""
    content = {"binary": lambda part: part.tobytes(), "python": pickled}[release]
    return {name: content(part) for name, part in zip(RELEASES[release].files, found, strict=True)}


def packed(parts):
    """A tar.gz of parts: {name: content}, or a list of (TarInfo, content)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in parts.items() if isinstance(parts, dict) else parts:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(file.getvalue(), 1, mtime=0)


def archive(release, found):
    folder = RELEASES[release].folder
    more = {f"{folder}/batches.meta.txt": b"airplane\n", f"{folder}/readme.html": b"<html>"}
    return packed({**more, **{f"{folder}/{name}": part for name, part in files(release, found).items()}})


def encoded(planes, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(planes.reshape(3, 32, 32).transpose(1, 2, 0)).save(file, kind)
    return file.getvalue()


def pictures(found, test="test", kind="PNG", end="png"):
    """{"train/cat/0003.png": content, ...}: the 4th cat among the records to train with."""
    parts = {}
    for split, part in (("train", np.concatenate(found[:-1])), (test, found[-1])):
        for label, name in enumerate(NAMES):
            for number, record in enumerate(part[part[:, 0] == label]):
                parts[f"{split}/{name}/{number:04}.{end}"] = encoded(record[1:], kind)
    return parts


def in_turn(found):
    """The same records as they are read from class folders: the first of each class, then the second of each."""
    sets = []
    for part in (np.concatenate(found[:-1]), found[-1]):
        of_class = [part[part[:, 0] == label] for label in range(10)]
        sets.append(np.stack([each[i] for i in range(len(part) // 10) for each in of_class]))
    return [*np.split(sets[0], 5), sets[1]]


def zipped(parts, way=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", way) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def write(parts, folder):
    for name, content in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pretend(monkeypatch, release, found):
    """These records pass for the real ones of a release: the content of its archive."""
    monkeypatch.setattr(cifar_published, "COUNTS", COUNTS)
    known, content = RELEASES[release], archive(release, found)
    monkeypatch.setattr(known, "files", {name: md5(part) for name, part in files(release, found).items()})
    monkeypatch.setattr(known, "size", len(content))
    monkeypatch.setattr(known, "md5", md5(content))
    return content


def in_place_of_the_real_one(monkeypatch, tmp_path):
    """Its records. No mirrors, an empty cache in tmp_path, and no data folder in a variable."""
    found = records()
    for release in RELEASES:
        pretend(monkeypatch, release, found)
    monkeypatch.setattr(cifar, "MIRRORS", ())
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache" / "mnist")
    monkeypatch.delenv("MINIALEX_DATA", raising=False)
    return found
