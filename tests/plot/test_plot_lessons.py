"""The lessons' pictures: numbers side by side, lines, sheets. Their content is read back from the figures' artists."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from minialex import plot
from minialex.devices.device import Device, transfer

X = np.array([[1, 2, 0], [0, -1, 3]])


def frames(axes):
    """The lit places (row, column, height, width)."""
    lit = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_linewidth() == 2]
    return [(p.get_y() + 0.5, p.get_x() + 0.5, p.get_height(), p.get_width()) for p in lit]


# ---- numbers ----


def test_numbers_stand_in_their_cells_under_their_titles_with_signs_between():
    figure = plot.numbers({"x": X, "v": [4.5, np.nan], "y": 7}, between=["*", "="])
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts == [["1", "2", "0", "0", "−1", "3", "x"], ["4.5", "v"], ["7", "y"]]
    assert [text.get_text() for text in figure.texts] == ["*", "="]
    places = [text.get_position() for text in figure.axes[0].texts[:6]]
    assert places == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


def test_cells_of_all_arrays_are_of_one_size():
    figure = plot.numbers({"x": X, "one with a long title": [[1]], "tall": np.zeros((5, 1))})
    figure.canvas.draw()
    sides = []
    for axes in figure.axes:
        (left, top), (right, bottom) = axes.transData.transform([(-0.5, -0.5), (0.5, 0.5)])
        sides += [right - left, top - bottom]
    np.testing.assert_allclose(sides, sides[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("place", "frame"),
    [
        ((0, 1), [(0, 1, 1, 1)]),
        ((-1, -1), [(1, 2, 1, 1)]),
        ((slice(0, 2), slice(1, 3)), [(0, 1, 2, 2)]),
        ((slice(None), -1), [(0, 2, 2, 1)]),
        ([(0, 0), (1, slice(1, None))], [(0, 0, 1, 1), (1, 1, 1, 2)]),
        ([], []),
    ],
)
def test_light_frames_the_cells_that_the_same_index_reads(place, frame):
    lit, dark = plot.numbers({"x": X, "y": X}, light={"x": place}).axes
    assert frames(lit) == frame
    assert frames(dark) == []


def test_a_large_array_is_a_heat_map_without_numbers():
    big = np.random.default_rng(0).normal(size=(28, 28))
    axes = plot.numbers({"big": big}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["big"]
    np.testing.assert_array_equal(axes.images[0].get_array(), big)


@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (60, 2), (300, 300)])
def test_numbers_fit_a_projected_page(shape):
    width, height = plot.numbers(
        {"x": np.zeros(shape), "y": np.zeros((3, 3))}, between=["*"]
    ).get_size_inches()
    assert width <= 13
    assert height <= 7.5


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ({}, {}, ValueError, "there are 0 arrays to show; give at least 1"),
        (
            {"x": np.zeros((1, 1, 2, 2))},
            {},
            ValueError,
            r"'x' has shape \(1, 1, 2, 2\); an array with one or two axes",
        ),
        ({"x": np.zeros((0, 2))}, {}, ValueError, r"'x' has shape \(0, 2\)"),
        (
            {"x": X, "y": X},
            {"between": ["*", "="]},
            ValueError,
            "2 arrays have 1 gap between them, not 2 signs",
        ),
        ({"x": X}, {"light": {"y": (0, 0)}}, KeyError, "light on 'y', which is not shown; shown are 'x'"),
        (
            {"x": X},
            {"light": {"x": (2, 0)}},
            IndexError,
            r"light on \(2, 0\) of 'x', which has shape \(2, 3\)",
        ),
        ({"x": X}, {"light": {"x": (0, slice(3, 5))}}, IndexError, r"of 'x', which has shape \(2, 3\)"),
    ],
)
def test_numbers_that_cannot_be_shown_are_named(arrays, options, error, message):
    with pytest.raises(error, match=message):
        plot.numbers(arrays, **options)


# ---- lines ----


def test_each_line_has_its_numbers_and_its_name_in_its_colour():
    axes = plot.lines({"up": ([0, 1, 2], [0, 1, 4]), "down": ([0, 1], [3, 1])}, "x", "y", "two").axes[0]
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[0, 0], [1, 1], [2, 4]], [[0, 3], [1, 1]]]
    assert [text.get_text() for text in axes.texts] == ["up", "down"]
    assert [to_hex(t.get_color()) for t in axes.texts] == [to_hex(line.get_color()) for line in axes.lines]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.figure.get_suptitle()) == ("x", "y", "two")


def test_names_of_lines_that_end_together_do_not_touch():
    figure = plot.lines({str(i): ([0, 1], [i, 5 + 0.01 * i]) for i in range(7)})
    figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    texts = sorted(figure.axes[0].texts, key=lambda text: text.get_position()[1])
    assert [text.get_text() for text in texts] == list("0123456")
    assert len({line.get_color() for line in figure.axes[0].lines}) == 7


def test_gaps_and_what_has_no_logarithm_are_left_out():
    axes = plot.lines({"loss": ([1, 2, 3, 4], [100, np.nan, 1, 0])}, logy=True).axes[0]
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [100, np.nan, 1, np.nan])


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        ({}, {}, "0 lines: between 1 and 7"),
        ({str(i): ([0], [0]) for i in range(8)}, {}, "8 lines: between 1 and 7"),
        ({"a": ([0, 1], [1, 2, 3])}, {}, r"'a': xs have shape \(2,\) and ys \(3,\)"),
        ({"a": ([0, 1], [np.nan, np.inf])}, {}, "'a': none of its 2 numbers can be drawn$"),
        ({"a": ([0], [0])}, {"logy": True}, "none of its 1 number can be drawn on a logarithmic axis"),
    ],
)
def test_lines_that_cannot_be_drawn_are_named(series, options, message):
    with pytest.raises(ValueError, match=message):
        plot.lines(series, **options)


# ---- images ----


def test_a_sheet_shows_each_picture_over_its_caption():
    pictures = np.arange(24, dtype=float).reshape(4, 2, 3)
    for given in (pictures, list(pictures), pictures[:, None]):
        axes = plot.images(given, ["a", "b", "c", 3], title="four", columns=2).axes[0]
        for image, picture in zip(axes.images, pictures, strict=True):
            np.testing.assert_array_equal(image.get_array(), picture)
        assert [text.get_text() for text in axes.texts] == ["a", "b", "c", "3"]
        assert axes.figure.get_suptitle() == "four"


def test_pictures_in_colour_come_channels_first():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    shown = plot.images([*pictures]).axes[0].images
    np.testing.assert_array_equal(shown[1].get_array(), pictures[1].transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("arrays", "captions", "message"),
    [
        ([np.zeros((2, 2)), np.zeros((2, 3))], None, r"pictures of one shape; these have \(2, 2\), \(2, 3\)"),
        (np.zeros((2, 2, 2)), ["a"], "2 pictures, but 1 caption"),
        (np.zeros((2, 2, 4, 4)), None, r"not \(2, 2, 4, 4\)"),
        ([], None, r"not \(0,\)"),
    ],
)
def test_sheets_that_cannot_be_made_are_named(arrays, captions, message):
    with pytest.raises(ValueError, match=message):
        plot.images(arrays, captions)


# ---- all ----


def test_all_save_where_they_are_told_and_take_arrays_of_any_device(tmp_path):
    x = transfer(X.astype(np.float32), Device("sim:0"))
    plot.numbers({"x": x}, path=tmp_path / "numbers.png")
    plot.lines({"x": (x[0], x[1])}, path=tmp_path / "lines.png")
    plot.images([x, x], path=tmp_path / "images.png")
    for name in ("numbers", "lines", "images"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size[0] > 200
