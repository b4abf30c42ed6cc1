"""The cache's checksums: what is damaged is made anew, what changes during a run is named, no picture is another's."""

import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from minialex.data import loader
from minialex.data.augment import Prepare
from minialex.data.folder import find_pictures
from minialex.data.loader import PictureBatches
from minialex.errors import DataError

SIDE = 12


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Ten pictures of noise, in shards of four."""
    monkeypatch.setattr(loader, "SHARD", 4)
    rng = np.random.default_rng(0)
    for i in range(10):
        path = tmp_path / "data" / "train" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (14, 16, 3), dtype=np.uint8)).save(path)
    return find_pictures(tmp_path / "data")


def batches(pictures, cache, workers=2):
    return PictureBatches(pictures, Prepare(crop=8), 3, workers=workers, cache=cache, side=SIDE)


def numbers(made):
    return np.concatenate([x for x, _ in made.in_order()])


def shards_in(cache):
    return sorted(cache.glob("*.squares"))


def flip(path, place, bit=1):
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_found_when_it_is_opened_and_made_anew(pictures, tmp_path, workers):
    wanted = numbers(batches(pictures, tmp_path / "cache"))
    for shard in shards_in(tmp_path / "cache"):
        good = shard.read_bytes()
        for place in (0, 3, 4, 5, len(good) // 2, len(good) - 1):  # a checksum, a flag, pixels
            flip(shard, place)
            np.testing.assert_array_equal(numbers(batches(pictures, tmp_path / "cache", workers)), wanted)
            assert shard.read_bytes() == good


def test_a_shard_is_no_other_ones(pictures, tmp_path):
    wanted = numbers(batches(pictures, tmp_path / "cache"))
    first, second, *_ = [s for s in shards_in(tmp_path / "cache") if s.stat().st_size > 3 * 437]
    shutil.copy(first, second)
    np.testing.assert_array_equal(numbers(batches(pictures, tmp_path / "cache")), wanted)


def test_records_do_not_change_their_places(pictures, tmp_path):
    wanted = numbers(batches(pictures, tmp_path / "cache"))
    shard = shards_in(tmp_path / "cache")[0]
    size = 5 + 3 * SIDE**2
    content = shard.read_bytes()
    shard.write_bytes(content[size : 2 * size] + content[:size] + content[2 * size :])
    np.testing.assert_array_equal(numbers(batches(pictures, tmp_path / "cache")), wanted)


def cut(path):
    path.write_bytes(path.read_bytes()[:3])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: flip(path, 3 * SIDE), "its checksum is another one"),
        (lambda path: flip(path, 4), "its checksum is another one"),
        (cut, "it ends"),
        (lambda path: path.write_bytes(b""), "it ends"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "its checksum is another one"),
    ],
    ids=["a pixel", "a flag", "cut short", "emptied", "deleted", "all zero"],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_changes_during_a_run_is_named_not_the_picture(pictures, tmp_path, change, why, workers):
    made = batches(pictures, tmp_path / "cache", workers)
    numbers(made)
    for shard in shards_in(tmp_path / "cache"):
        change(shard)
    with pytest.raises(DataError) as caught:
        list(made.shuffled(epoch=0))
    assert re.search(
        rf"\.squares, a file of the cache, changed while it was in use \(at picture \d: {why}",
        str(caught.value),
    )
    assert ".png" not in str(caught.value)
    assert not made.bad_files
    assert len(numbers(batches(pictures, tmp_path / "cache"))) == 10  # as it says: start again


def test_the_cache_of_an_earlier_version_is_made_anew(pictures, tmp_path, monkeypatch):
    made = batches(pictures, tmp_path / "cache")
    names = {path.name for path in shards_in(tmp_path / "cache")}
    assert all(re.fullmatch(r"[0-9a-f]{32}\.squares", name) for name in names)
    assert made._shards.record.itemsize == 5 + 3 * SIDE**2


def test_a_cache_of_other_pictures_with_the_same_names_sizes_and_times_is_not_theirs(tmp_path):
    for grey, (data, split) in zip(
        (10, 50, 110, 150), (("a", "train"), ("a", "val"), ("b", "train"), ("b", "val")), strict=True
    ):
        for name in ("cat", "dog"):
            path = tmp_path / data / split / name / "1.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
            os.utime(path, (1, 1))
        pictures = find_pictures(tmp_path / data, split)
        batches = PictureBatches(pictures, Prepare(crop=8), 2, workers=0, cache=tmp_path / "cache", side=8)
        ((x, _),) = batches.in_order()
        assert x.mean() == grey
