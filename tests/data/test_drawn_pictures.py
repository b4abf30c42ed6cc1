"""The drawn picture set: ten classes in folders, the same for the same seed, whole or not there at all."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from minialex.data import pictures
from minialex.data.augment import square
from minialex.data.folder import find_pictures, read_picture
from minialex.data.pictures import CLASSES, draw_arrays, draw_picture, draw_pictures
from minialex.errors import DataError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp("place") / "drawn", train=40, val=20, size=48, seed=5)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_set_is_in_class_folders_with_every_class_equally_often(drawn):
    for split, count in (("train", 40), ("val", 20)):
        found = find_pictures(drawn, split)
        assert found.classes == CLASSES
        assert np.bincount(found.labels).tolist() == [count // 10] * 10
    assert CLASSES[:3] == ["circle-cool", "circle-warm", "cross-cool"]


def test_sizes_vary_and_are_not_square(drawn):
    sizes = [read_picture(file).size for file in find_pictures(drawn).files]
    assert len(set(sizes)) > 20
    assert sum(width != height for width, height in sizes) > 30
    assert min(map(min, sizes)) >= 48
    assert max(map(max, sizes)) <= 65


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(drawn, tmp_path):
    same = draw_pictures(tmp_path / "same", train=40, val=20, size=48, seed=5)
    other = draw_pictures(tmp_path / "other", train=40, val=20, size=48, seed=6)
    assert content(same) == content(drawn)
    assert not set(content(other).values()) & set(content(drawn).values())


def test_training_and_validation_share_no_picture(drawn):
    train, val = (set(content(drawn / split).values()) for split in ("train", "val"))
    assert len(train) == 40
    assert not train & val


def test_more_pictures_leave_the_first_as_they_are(drawn, tmp_path):
    more = content(draw_pictures(tmp_path / "more", train=50, val=20, size=48, seed=5) / "train")
    assert content(drawn / "train").items() <= more.items()


def test_warm_is_redder_than_cool(rng):
    """The shape's own colour, found as what is most colourful in the picture."""
    for label, name in enumerate(CLASSES):
        for _ in range(5):
            pixels = np.asarray(draw_picture(label, 64, rng), dtype=float).reshape(-1, 3)
            colourful = pixels[np.argsort(np.ptp(pixels, axis=1))[-200:]].mean(axis=0)
            assert (colourful[0] > colourful[2]) == name.endswith("warm")


@pytest.mark.parametrize("label", range(10))
def test_every_shape_can_be_seen_in_the_middle_square(label, rng):
    name = CLASSES[label].split("-")[0]
    for _ in range(20):
        width, height = rng.integers(48, 65, 2)
        mask = pictures._shape(name, width, height, rng)
        assert mask.shape == (height, width)
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        assert mask[top : top + side, left : left + side].sum() > 0.8 * mask.sum() > 0.8 * 0.025 * side**2


def test_a_set_that_is_there_is_not_drawn_again(drawn, monkeypatch):
    monkeypatch.setattr(pictures, "draw_picture", lambda *args: pytest.fail("drawn again"))
    assert draw_pictures(drawn, train=40, val=20, size=48, seed=5) == drawn


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(find_pictures(draw_pictures(tmp_path / "empty", train=10, val=10, size=16))) == 10


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(DataError, match="holds something else than drawn pictures: name a new folder"):
        draw_pictures(tmp_path, train=10, val=10, size=16)
    assert content(tmp_path).keys() == {(tmp_path / "thesis.txt").relative_to(tmp_path)}


def test_another_set_is_left_alone_and_both_are_told(drawn):
    with pytest.raises(DataError, match=r"holds other drawn pictures, .*'train': 40.*, not .*'train': 30"):
        draw_pictures(drawn, train=30, val=20, size=48, seed=5)


def test_a_set_with_pictures_missing_is_noticed(tmp_path):
    folder = draw_pictures(tmp_path / "drawn", train=10, val=10, size=16)
    next(folder.rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="holds 19 of its 20 drawn pictures: delete it"):
        draw_pictures(folder, train=10, val=10, size=16)


def test_a_set_is_known_by_its_names_not_by_their_number(tmp_path):
    folder = draw_pictures(tmp_path / "drawn", train=10, val=10, size=16)
    first = min(folder.rglob("*.jpg"))
    for hidden in (".ipynb_checkpoints", "@eaDir"):
        (first.parent / hidden).mkdir()
        shutil.copy(first, first.parent / hidden)
    assert draw_pictures(folder, train=10, val=10, size=16) == folder
    first.rename(first.with_name("99999.jpg"))
    with pytest.raises(DataError, match="holds 19 of its 20 drawn pictures, and 1 other: delete it"):
        draw_pictures(folder, train=10, val=10, size=16)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_run_that_is_stopped_leaves_nothing(tmp_path, monkeypatch, failure):
    saved = []
    save = Image.Image.save

    def stop(self, *args, **kwargs):
        saved.append(args)
        if len(saved) == 15:
            raise failure
        save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(failure if isinstance(failure, type) else OSError):
        draw_pictures(tmp_path / "drawn", train=10, val=10, size=16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_needs_every_class(tmp_path, split):
    with pytest.raises(ValueError, match=f"{split} needs one picture of each of the 10 classes, not 9"):
        draw_pictures(tmp_path / "drawn", **{"train": 10, "val": 10, split: 9}, size=16)


def test_what_was_asked_for_is_written_beside_the_pictures(drawn):
    record = json.loads((drawn / "drawn.json").read_text())
    assert record == {"train": 40, "val": 20, "size": 48, "seed": 5, "version": 1}


def test_arrays_hold_the_middle_square_of_each_drawn_picture():
    two = ["star-warm", "circle-cool"]
    images, labels = draw_arrays(4, size=24, classes=two, split="val", seed=5)
    assert labels.tolist() == [0, 1, 0, 1]
    for i, label in enumerate(labels):
        image = draw_picture(CLASSES.index(two[label]), 24, np.random.default_rng((5, 1, i)))
        np.testing.assert_array_equal(images[i], square(image, 24))


def test_arrays_of_another_seed_or_split_are_others_and_more_leave_the_first():
    first, _ = draw_arrays(10, size=16)
    np.testing.assert_array_equal(draw_arrays(12, size=16)[0][:10], first)
    for other in ({"split": "val"}, {"seed": 1}):
        assert (draw_arrays(10, size=16, **other)[0] != first).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": ["star", "circle-cool"]}, "not star, circle-cool"),
        ({"classes": []}, "not none"),
        ({"split": "test"}, "a split is train or val, not 'test'"),
        ({"count": 0}, "one picture at least, not 0"),
    ],
)
def test_arrays_of_what_is_not_there_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw_arrays(**{"count": 2, "size": 16, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"train": "a"}, "train must be a whole number >= 0, not 'a'"), ({"size": 0}, "size must be a whole number >= 1"),
     ({"val": 10.5}, "val must be a whole number >= 0, not 10.5"), ({"seed": -1}, "seed must be a whole number >= 0")],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_named_and_no_folder_is_made(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        draw_pictures(tmp_path / "drawn", **{"train": 10, "val": 10, "size": 16, **wrong})
    assert not (tmp_path / "drawn").exists()


def test_numbers_of_numpy_are_kept_as_numbers(tmp_path):
    numbers = {"train": 10, "val": 10, "size": 16, "seed": 2}
    folder = draw_pictures(tmp_path / "drawn", **{name: np.int64(number) for name, number in numbers.items()})
    assert draw_pictures(folder, **numbers) == folder
