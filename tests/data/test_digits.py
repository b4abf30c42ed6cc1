"""Drawn digits: the same seed gives the same bits, they look like MNIST's, and they can be told apart."""

import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minialex.data import digits
from minialex.data.digits import draw_digits, load_drawn_digits
from minialex.data.loader import ArrayBatches

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def drawn():
    return draw_digits(600, seed=1)


@pytest.fixture
def forget_fonts():
    """The list of fonts is looked up once; these tests look it up anew, and again after them."""
    digits._fonts.cache_clear()
    yield
    digits._fonts.cache_clear()


# -- Shapes, seeds and labels ------------------------------------------------------------------------------


def test_shapes_and_dtypes_are_mnists(drawn):
    images, labels = drawn
    assert (images.shape, images.dtype) == ((600, 1, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((600,), np.uint8)
    assert images.flags.c_contiguous
    assert images.flags.writeable


def test_the_same_seed_gives_the_same_bits():
    for first, second in zip(draw_digits(30, seed=4), draw_digits(30, seed=4), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_other_pictures_and_labels():
    (images, labels), (other_images, other_labels) = draw_digits(30, seed=4), draw_digits(30, seed=5)
    assert (images != other_images).any(axis=(1, 2, 3)).all()
    assert (labels != other_labels).any()


@pytest.mark.parametrize("count", [0, 1, 7, 10, 256, 257])
def test_a_digit_does_not_depend_on_how_many_are_drawn(drawn, count):
    images, labels = draw_digits(count, seed=1)
    np.testing.assert_array_equal(images, drawn[0][:count])
    np.testing.assert_array_equal(labels, drawn[1][:count])


def test_each_ten_holds_every_label_once_in_an_order_of_its_own(drawn):
    tens = drawn[1].reshape(60, 10)
    np.testing.assert_array_equal(np.sort(tens, axis=1), np.tile(np.arange(10), (60, 1)))
    assert len(np.unique(tens, axis=0)) > 55


def test_training_and_test_digits_are_structured_like_mnist_and_share_no_picture():
    (train_x, train_y), (test_x, test_y) = load_drawn_digits(train=300, test=200, seed=2)
    assert (train_x.shape, train_y.shape) == ((300, 1, 28, 28), (300,))
    assert (test_x.shape, test_y.shape) == ((200, 1, 28, 28), (200,))
    everything = np.concatenate([train_x, test_x, draw_digits(200, seed=2)[0]])
    assert len(np.unique(everything, axis=0)) == 700
    assert (train_y[:200] != test_y).any()


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="the number of digits must be a whole number >= 0, not -1"):
        draw_digits(-1)


def test_numpys_global_random_state_is_neither_used_nor_changed():
    np.random.seed(0)  # noqa: NPY002
    first = draw_digits(10)[0]
    np.testing.assert_array_equal(draw_digits(10)[0], first)
    after = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    assert after == np.random.random()  # noqa: NPY002


# -- Looks -------------------------------------------------------------------------------------------------


def test_the_ground_is_black_and_the_ink_white(drawn):
    images = drawn[0]
    assert np.median(images) == 0
    assert (images.max(axis=(1, 2, 3)) > 200).all()
    assert np.mean(images[:, :, [0, -1], :] > 0) < 0.03  # hardly anything at the border
    assert 25 < images.mean() < 50  # MNIST: 33


def test_ink_covers_about_mnists_box_of_20_pixels(drawn):
    ink = drawn[0][:, 0] > 100
    heights = np.array([np.ptp(np.flatnonzero(picture.any(axis=1))) + 1 for picture in ink])
    widths = np.array([np.ptp(np.flatnonzero(picture.any(axis=0))) + 1 for picture in ink])
    assert 18 < heights.mean() < 21
    assert 9 < widths.mean() < 17
    assert heights.min() >= 10


def test_the_centre_of_mass_is_in_the_middle_give_or_take_the_jitter(drawn):
    mass = drawn[0][:, 0].astype(np.float64)
    for axis in (1, 2):
        centres = mass.sum(axis=3 - axis) @ np.arange(28) / mass.sum(axis=(1, 2))
        assert np.abs(centres - 14).max() <= digits.JITTER + 0.6
        assert np.abs(centres - 14).mean() > 0.3


def test_digits_of_one_label_are_all_different(drawn):
    images, labels = drawn
    for label in range(10):
        assert len(np.unique(images[labels == label], axis=0)) == 60


def test_labels_say_what_is_drawn():
    """Each digit is nearest to the mean picture of its own label: far more often than by chance, not always."""
    (train_x, train_y), (test_x, test_y) = load_drawn_digits(train=1000, test=300)
    means = np.stack([train_x[train_y == label].mean(axis=0).ravel() for label in range(10)])
    distances = ((test_x.reshape(300, 1, -1) - means) ** 2).sum(axis=2)
    right = np.mean(distances.argmin(axis=1) == test_y)
    assert 0.6 < right < 0.97  # MNIST: 0.82


def test_every_font_draws_every_digit_differently():
    for font in digits._fonts():
        shapes = np.stack([digits._character(font, digit, digits.PENS[0]) for digit in range(10)])
        assert len(np.unique(shapes, axis=0)) == 10
        assert (shapes.max(axis=(1, 2)) > 200).all()
        assert shapes[:, [0, -1]].max() == shapes[:, :, [0, -1]].max() == 0  # an empty margin


def test_a_wider_pen_draws_more_ink():
    font = digits._fonts()[0]
    ink = [digits._character(font, 5, pen).sum() for pen in digits.PENS]
    assert ink == sorted(set(ink))


# -- The parts of the distortion ---------------------------------------------------------------------------


def test_reading_at_the_pixels_themselves_changes_nothing():
    pictures = np.random.default_rng(0).random((3, 56, 56), dtype=np.float32)
    unmoved = digits._linear_sources(np.tile(np.eye(2), (3, 1, 1)))
    np.testing.assert_allclose(digits._read_between_pixels(pictures, unmoved), pictures, atol=1e-5)


def test_reading_between_pixels_is_bilinear():
    y, x = np.mgrid[0:56, 0:56].astype(np.float32)
    plane = (2 * y + 3 * x)[None]
    sources = digits._linear_sources(np.eye(2)[None]) * 0.5 + 0.25  # a quarter pixel off, within the picture
    wanted = 2 * (y / 2 + 14) + 3 * (x / 2 + 14)
    np.testing.assert_allclose(digits._read_between_pixels(plane, sources)[0], wanted, rtol=1e-5)


def test_outside_its_edges_a_picture_goes_on_as_at_the_edge():
    picture = np.random.default_rng(0).random((1, 56, 56), dtype=np.float32)
    far = np.full((1, 2, 56, 56), 1000, dtype=np.float32)
    np.testing.assert_allclose(digits._read_between_pixels(picture, far), picture[0, -1, -1], rtol=1e-6)


def test_elastic_shifts_are_smooth_and_of_the_stated_size():
    points = digits._smoothing().shape[1]
    noise = np.random.default_rng(0).standard_normal((300, 2, points, points), dtype=np.float32)
    shifts = digits._elastic_shifts(noise)
    assert shifts.shape == (300, 2, 56, 56)
    np.testing.assert_allclose(shifts.std(axis=(0, 1)), digits.ELASTIC_SHIFT, rtol=0.25)  # at the edges, too
    assert np.abs(np.diff(shifts, axis=3)).mean() < 0.15 * np.abs(shifts).mean()


def test_centring_moves_by_whole_pixels_and_adds_the_jitter():
    pictures = np.zeros((2, 28, 28), dtype=np.uint8)
    pictures[:, 3, 20] = 200
    centred = digits._centred(pictures, np.array([[0, 0], [1, -1]]))
    assert np.argwhere(centred).tolist() == [[0, 14, 14], [1, 15, 13]]


# -- Fonts -------------------------------------------------------------------------------------------------


def test_all_fonts_come_with_matplotlib():
    version = tuple(int(part) for part in metadata.version("matplotlib").split(".")[:2])
    later = {"cmti10.ttf"} if version < (3, 11) else set()
    assert [font.name for font in digits._fonts()] == [name for name in digits.FONTS if name not in later]


def test_a_missing_font_is_left_out(forget_fonts, monkeypatch):
    monkeypatch.setattr(digits, "FONTS", ("no-such-font.ttf", "cmr10.ttf"))
    assert [font.name for font in digits._fonts()] == ["cmr10.ttf"]
    assert draw_digits(10)[0].max() > 200


def test_without_any_font_the_error_says_where_they_should_be(forget_fonts, monkeypatch, tmp_path):
    nowhere = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: nowhere)
    with pytest.raises(FileNotFoundError, match="none of them is there") as caught:
        draw_digits(1)
    assert str(tmp_path / "mpl-data" / "fonts" / "ttf" / "cmr10.ttf") in str(caught.value)
    assert "pip install --force-reinstall matplotlib" in str(caught.value)


def test_without_matplotlib_the_error_says_so(forget_fonts, monkeypatch):
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="matplotlib is not installed"):
        draw_digits(1)


def test_drawing_does_not_import_matplotlib():
    script = (
        "import sys; from minialex.data.digits import draw_digits; assert 'PIL' not in sys.modules; "
        "draw_digits(3); print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


# -- Speed -------------------------------------------------------------------------------------------------


def processor_seconds(function):
    """The least of five."""

    def once():
        started = time.process_time()
        function()
        return time.process_time() - started

    return min(once() for _ in range(5))


def test_drawing_a_digit_costs_less_than_rendering_two_characters():
    """Measured: half of one. With the shortest of loops over the pixels of a digit: three."""
    draw_digits(400)  # its characters are rendered once
    rendered = digits._character.cache_info().misses
    digit = processor_seconds(lambda: draw_digits(400)) / 400
    assert digits._character.cache_info().misses == rendered
    character = processor_seconds(
        lambda: [digits._character.__wrapped__(font, 8, 4) for font in digits._fonts()]
    )
    assert digit < 2 * character / len(digits._fonts())


@pytest.mark.parametrize("seed", [None, -1, 1.5, "0"])
def test_a_seed_is_a_whole_number(seed):
    for draw in (lambda: draw_digits(3, seed), lambda: load_drawn_digits(3, 3, seed)):
        with pytest.raises(ValueError, match="seed must be a whole number >= 0, not "):
            draw()
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, not "):
        ArrayBatches(np.zeros((2, 1)), [0, 1], 1, seed=seed)


def test_a_count_is_a_whole_number():
    with pytest.raises(ValueError, match=r"the number of digits must be a whole number >= 0, not 5\.0"):
        draw_digits(5.0)
