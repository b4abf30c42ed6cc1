"""Small sets that pass for MNIST and its relatives, since their sums replace the published ones."""

import dataclasses
import gzip
import hashlib
import struct

import numpy as np

from minialex.data import mnist
from minialex.data.known_sets import SETS, Sums

COUNTS = (6, 4)  # pictures to train with, and to test with


def packed(content):
    return gzip.compress(content, mtime=0)


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx(array, kind=0x08):
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def small(name):
    """Name -> uncompressed bytes of a set's four files, in its own format; labels are different classes."""
    known, rng = SETS[name], np.random.default_rng(list(SETS).index(name))
    files = []
    for count in COUNTS:
        pictures = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = known.first_label + rng.permutation(len(known.classes))[:count]
        if name == "qmnist":
            rest = rng.integers(-9, 2**30, (count, 7))
            files += [idx(pictures), idx(np.column_stack([labels, rest]).astype(">i4"), 0x0C)]
        else:
            files += [idx(pictures), idx(labels.astype(np.uint8))]
    return dict(zip(known.files, files, strict=True))


def in_place_of_the_real_ones(monkeypatch, tmp_path):
    """Set -> file -> uncompressed bytes. No mirrors, an empty cache in tmp_path, and no data folder in a variable."""
    content = {name: small(name) for name in SETS}
    for name, files in content.items():
        sums = {
            file: Sums(md5(packed(data)), md5(data) if SETS[name].files[file].plain else None)
            for file, data in files.items()
        }
        known = dataclasses.replace(SETS[name], files=sums, counts=COUNTS, mirrors=())
        monkeypatch.setitem(SETS, name, known)
    monkeypatch.setattr(mnist, "MD5", {file: sums.plain for file, sums in SETS["mnist"].files.items()})
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache" / "mnist")
    monkeypatch.delenv("MINIALEX_DATA", raising=False)
    return content


def write(files, folder, pack=packed, end=".gz"):
    """These files, packed as their authors did."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (name + end)).write_bytes(pack(content))
    return folder
