"""Distortions of 1998: what each does alone, that nothing comes in from outside, and what is left as it was."""

import numpy as np
import pytest

from minialex.data import distort
from minialex.data.distort import distorted

AMOUNTS = ("SHIFT", "SCALE", "SQUEEZE", "SHEAR")


class Given:
    """In place of a generator: the five draws are given, the same for all pictures."""

    def __init__(self, dy=0.0, dx=0.0, scale=0.0, squeeze=0.0, shear=0.0):
        self.draws = [dy, dx, scale, squeeze, shear]

    def uniform(self, low, high, shape):
        assert (low, high, shape[0], shape[2:]) == (-1, 1, 5, (1, 1))
        return np.broadcast_to(np.array(self.draws).reshape(5, 1, 1, 1), shape)


@pytest.fixture
def pictures(rng):
    """Noise with a border of three zeros, one of the sides longer than the other."""
    inside = rng.integers(1, 256, (4, 2, 14, 9), dtype=np.uint8)
    return np.pad(inside, [(0, 0), (0, 0), (3, 3), (3, 3)])


def test_amounts_of_0_leave_pictures_as_they_are(monkeypatch, pictures, rng):
    for name in AMOUNTS:
        monkeypatch.setattr(distort, name, 0.0)
    np.testing.assert_array_equal(distorted(pictures, rng), pictures)


def test_draws_of_0_leave_pictures_as_they_are(pictures):
    np.testing.assert_array_equal(distorted(pictures, Given()), pictures)


@pytest.mark.parametrize(("dy", "dx"), [(1, 0), (0, 1), (-1, 0), (0, -1), (1, -1), (0.5, 0.5)])
def test_a_shift_by_whole_pixels_moves_pixels_exactly(pictures, dy, dx):
    new = distorted(pictures, Given(dy=dy, dx=dx))  # times SHIFT, two pixels
    moved = np.roll(pictures, (-int(2 * dy), -int(2 * dx)), axis=(2, 3))  # the border is wide enough
    np.testing.assert_array_equal(new, moved)


def test_a_shift_by_half_a_pixel_is_the_mean_of_two(monkeypatch, pictures):
    monkeypatch.setattr(distort, "SHIFT", 0.5)
    new = distorted(pictures, Given(dx=1.0)).astype(float)
    wanted = (pictures[..., :-1].astype(float) + pictures[..., 1:]) / 2
    np.testing.assert_allclose(new[..., :-1], wanted, atol=0.5)


def test_between_four_pixels_each_counts_by_how_near_it_is(monkeypatch):
    monkeypatch.setattr(distort, "SHIFT", 1.0)
    picture = np.zeros((1, 1, 6, 6), np.uint8)
    picture[0, 0, 2:4, 2:4] = [[40, 80], [120, 200]]
    new = distorted(picture, Given(dy=0.25, dx=0.5))
    assert new[0, 0, 2, 2] == 0.75 * (40 + 80) / 2 + 0.25 * (120 + 200) / 2


def test_what_comes_in_from_outside_is_0():
    white = np.full((1, 1, 9, 9), 255, np.uint8)
    new = distorted(white, Given(dy=1.0))[0, 0]  # up by two: two lines come in below
    assert (new[:-2] == 255).all()
    assert (new[-2:] == 0).all()


@pytest.mark.parametrize(
    "draw", [{"scale": 1.0}, {"squeeze": 1.0}, {"squeeze": -1.0}, {"shear": 1.0}, {"scale": -1.0}]
)
def test_the_middle_stays_where_it_is_whatever_turns_around_it(draw):
    picture = np.zeros((1, 1, 27, 27), np.uint8)
    picture[0, 0, 13, 13] = 255
    assert distorted(picture, Given(**draw))[0, 0, 13, 13] == 255


def extent(draw, shape=(27, 27)):
    """How high and wide a square of 11 x 11 is afterwards: the sums along its middle lines."""
    picture = np.zeros((1, 1, *shape), np.uint8)
    picture[0, 0, 8:19, 8:19] = 200
    new = distorted(picture, Given(**draw))[0, 0].astype(float) / 200
    return new[:, 13].sum(), new[13].sum()


def test_scaling_is_the_same_in_both_directions():
    smaller, larger = extent({"scale": 1.0}), extent({"scale": -1.0})
    assert smaller == pytest.approx((11 * np.exp(-0.15),) * 2, rel=0.03)
    assert larger == pytest.approx((11 * np.exp(0.15),) * 2, rel=0.03)


def test_squeezing_is_compressed_one_way_and_stretched_the_other():
    high, wide = extent({"squeeze": 1.0})
    assert (high, wide) == pytest.approx((11 * np.exp(-0.15), 11 * np.exp(0.15)), rel=0.03)


def test_shearing_is_horizontal_and_grows_with_the_distance_from_the_middle():
    picture = np.zeros((1, 1, 27, 27), np.uint8)
    picture[0, 0, :, 13] = 200  # an upright line
    new = distorted(picture, Given(shear=1.0))[0, 0].astype(float)
    place = (new * np.arange(27)).sum(axis=1) / new.sum(axis=1)
    np.testing.assert_allclose(place, 13 - 0.3 * (np.arange(27) - 13), atol=0.1)


# ---- at random ---------------------------------------------------------------------------------------


def test_background_stays_0(rng):
    black = np.zeros((8, 1, 28, 28), np.uint8)
    assert not distorted(black, rng).any()


def test_a_picture_is_never_brighter_than_it_was(rng):
    new = distorted(np.full((50, 1, 28, 28), 200, np.uint8), rng)
    assert new.max() == 200


def test_what_is_given_is_not_written_to(pictures, rng):
    before = pictures.copy()
    pictures.flags.writeable = False
    distorted(pictures, rng)
    np.testing.assert_array_equal(pictures, before)


def test_the_same_generator_gives_the_same_pictures(pictures):
    one, again, other = (distorted(pictures, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_each_picture_has_amounts_of_its_own_and_all_its_channels_the_same(rng):
    one = np.pad(np.full((1, 1, 10, 10), 200, np.uint8), [(0, 0), (0, 0), (5, 5), (5, 5)])
    new = distorted(np.repeat(np.repeat(one, 3, axis=1), 6, axis=0), rng)
    assert len({picture.tobytes() for picture in new}) == 6
    assert (new == new[:, :1]).all()


def test_shapes_and_bytes_stay(pictures, rng):
    new = distorted(pictures, rng)
    assert (new.shape, new.dtype) == (pictures.shape, np.uint8)


def test_no_picture_is_no_picture(rng):
    assert distorted(np.zeros((0, 1, 28, 28), np.uint8), rng).shape == (0, 1, 28, 28)


@pytest.mark.parametrize(
    "wrong",
    [np.full((1, 1, 8, 8), 0.4, np.float32), np.zeros((2, 8, 8), np.uint8), [[1, 2]]],
    ids=["floats", "3 axes", "list"],
)
def test_what_is_no_batch_of_bytes_is_refused(wrong):
    with pytest.raises(ValueError, match=r"distorted takes bytes, uint8 \(N, C, H, W\) from 0 to 255, not "):
        distorted(wrong, np.random.default_rng(0))


def test_a_seed_is_no_generator():
    with pytest.raises(TypeError, match=r"rng is 0: give a generator, np\.random\.default_rng\(0\)"):
        distorted(np.zeros((1, 1, 8, 8), np.uint8), 0)
