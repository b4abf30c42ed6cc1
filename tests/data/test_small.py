"""Small pictures in memory: some of each class, the same crops for the same seed, and a digest of all."""

import numpy as np
import pytest
from PIL import Image

from minialex.data import ArrayBatches
from minialex.data.small import Cropped, Prepared, digest_of, small_pictures


@pytest.fixture
def folder(tmp_path):
    """Two classes of six pictures each; picture i of class c has the grey 20 * i + c."""
    for split, (label, name), i in (
        (s, c, i) for s in ("train", "val") for c in enumerate("ab") for i in range(6)
    ):
        (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (20 * i + label,) * 3).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def test_so_many_pictures_come_evenly_from_all_classes(folder):
    pictures, labels, classes = small_pictures(folder, "train", 4)
    assert (pictures.shape, pictures.dtype) == ((4, 3, 32, 32), np.uint8)
    assert (labels.tolist(), classes) == ([0, 0, 1, 1], ["a", "b"])
    assert (pictures[:, 0, 0, 0] % 20 == labels).all()
    assert len(set(pictures[:, 0, 0, 0].tolist())) == 4
    assert len(small_pictures(folder, "val", 1000)[0]) == 12


def test_the_digest_tells_pictures_labels_and_classes_apart(folder):
    x, labels, classes = small_pictures(folder, "train", 6)
    digests = [digest_of([one]) for one in ((x, labels, classes), (x + 1, labels, classes), (x, 1 - labels, classes),
                                            (x, labels, classes[::-1]))]  # fmt: skip
    assert len(set(digests)) == 4
    assert digest_of([(x.copy(), labels, classes)]) == digests[0]


def test_crops_move_and_mirror_pictures_the_same_way_for_the_same_seed_and_epoch():
    x, labels = np.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32) % 251, np.array([0, 1])
    batches = Cropped(x.astype(np.uint8) + 1, labels, 2, seed=3)
    (one, _), (again, _), (next_epoch, _) = (next(batches.shuffled(epoch)) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != next_epoch).any()
    assert one.shape == x.shape


def test_crops_are_of_the_picture_with_four_zeros_around_it():
    x = np.arange(1, 1 + 6 * 6, dtype=np.uint8).reshape(1, 1, 6, 6)
    padded = np.pad(x[0, 0], 4)
    crops = [next(Cropped(x, np.zeros(1), 1, seed).shuffled(0))[0][0, 0] for seed in range(60)]
    places = [(i, j, m) for crop in crops for i in range(9) for j in range(9) for m in (1, -1)
              if (padded[i : i + 6, j : j + 6][:, ::m] == crop).all()]  # fmt: skip
    assert len(places) == 60
    assert {m for *_, m in places} == {1, -1}
    assert {i for i, *_ in places} == {j for _, j, _ in places} == set(range(9))


def test_a_function_over_the_pictures_comes_after_the_crops():
    x = np.full((4, 1, 8, 8), 3, np.uint8)
    batches = Prepared(Cropped(x, np.arange(4), 2), lambda pictures: pictures - 3.0)
    assert len(batches) == 2
    assert set(np.unique(np.concatenate([x for x, _ in batches.shuffled(0)]))) == {-3.0, 0.0}
    tests = Prepared(ArrayBatches(x, np.arange(4), 2), lambda pictures: pictures - 3.0)
    assert [(x.any(), labels.tolist()) for x, labels in tests.in_order()] == [
        (False, [0, 1]),
        (False, [2, 3]),
    ]


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_that_is_entered_later_has_the_same_crops(start):
    x, labels = np.random.default_rng(0).integers(0, 256, (11, 3, 8, 6)), np.arange(11)
    whole = [*Cropped(x, labels, 4, seed=1).shuffled(2)]
    later = [*Cropped(x, labels, 4, seed=1).shuffled(2, start)]
    assert [b[1].tolist() for b in later] == [b[1].tolist() for b in whole[start:]]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(later, whole[start:], strict=True))


@pytest.mark.parametrize("of", [2, 3])
def test_crops_hang_on_no_number_of_processes(of):
    x, labels = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 6)), np.arange(9)
    whole = [*Cropped(x, labels, 4, seed=1).shuffled(2)]
    parts = [[*Cropped(x, labels, 4, seed=1).share(number, of).shuffled(2)] for number in range(of)]
    for batch, *shares in zip(whole, *parts, strict=True):
        kept = [share for share in shares if len(share[1])]
        assert np.array_equal(np.concatenate([x for x, _ in kept]), batch[0])
        assert np.array_equal(np.concatenate([y for _, y in kept]), batch[1])
