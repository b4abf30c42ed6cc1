"""When a network's small version is named: few pictures for its weights, or small ones for its crops."""

import pytest
from PIL import Image

from minialex.training.picture_settings import DEFAULTS
from minialex.training.small_data import advice, median_side


@pytest.fixture
def files(tmp_path):
    """Makes picture files of these sizes."""

    def make(*sizes):
        paths = [tmp_path / f"{number:03}.png" for number in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            Image.new("RGB", size).save(path)
        return paths

    return make


def told(parameters, files, **settings):
    return advice(parameters, {**DEFAULTS, **settings}, files)


@pytest.mark.parametrize(("parameters", "few"), [(2000, False), (2001, True)])
def test_more_than_a_thousand_weights_a_picture_are_many(files, parameters, few):
    said = told(parameters, files((200, 200), (200, 200)))
    assert bool(said) == few
    assert not few or "Small data: 1,000 weights for each of 2 training pictures." in said


@pytest.mark.parametrize(("side", "small"), [(75, True), (76, False)])
def test_pictures_of_less_than_a_third_of_the_crop_are_small(files, side, small):
    said = told(1, files((side, 300), (300, side), (side, side)))
    assert bool(said) == small
    assert not small or f"pictures of {side} pixels (the median) are enlarged to 256" in said


def test_both_are_said_at_once_and_the_network_is_named(files):
    said = told(60_000_000, files((32, 32)))
    assert said == (
        "Small data: 60,000,000 weights for each of 1 training picture; pictures of 32 pixels (the median) are "
        "enlarged to 256. There is a smaller network for such: --small"
    )
    assert told(60_000_000, files((32, 32)), arch="resnet50").endswith("for such: -a resnet50 --small")


def test_the_crop_that_was_asked_for_counts(files):
    assert not told(1, files((32, 32)), image_size=96)
    assert told(1, files((31, 31)), image_size=96)


def test_a_small_network_and_one_that_others_trained_are_not_told_of_few(files):
    pictures = files((200, 200))
    assert not told(60_000_000, pictures, small=True)
    assert not told(60_000_000, pictures, pretrained="theirs.npy")
    assert told(60_000_000, files((32, 32)), pretrained="theirs.npy")


def test_the_median_is_of_the_pictures_that_can_be_read(files, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert median_side([tmp_path / "bad.png"]) is None
    assert median_side([tmp_path / "bad.png", *files((40, 90), (50, 50), (60, 70))]) == 50
    assert told(1, [tmp_path / "bad.png"]) == ""
