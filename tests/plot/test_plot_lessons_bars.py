"""Bars: what they say, and what they refuse."""

import matplotlib.image
import pytest

from minialex import plot


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_bars_have_their_number_and_their_share_of_the_panel():
    figure = plot.bars({"parameters": {"conv1": 5, "fc6": 995}, "bytes": {"conv1": 0, "fc6": 0}})
    left, right = figure.axes
    assert texts(left) == ["5 (0.5 %)", "995 (100 %)"]
    assert texts(right) == ["0 (0 %)", "0 (0 %)"]
    assert [bar.get_width() for bar in left.patches] == [5, 995]


def test_the_names_stand_once_from_the_top_down():
    figure = plot.bars({"a": {"first": 1, "second": 2}, "b": {"first": 3, "second": 4}})
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["first", "second"]
    low, high = left.get_ylim()
    assert low > high
    assert right.get_ylim() == (low, high)


def test_the_text_of_the_longest_bar_stays_inside_its_panel():
    figure = plot.bars({name: {"conv2": 223_948_800, "fc8": 1} for name in ("a", "b", "c")})
    figure.canvas.draw()
    for axes in figure.axes:
        edge = axes.get_window_extent().x1
        assert all(text.get_window_extent().x1 <= edge for text in axes.texts)


def test_bars_are_saved(tmp_path):
    plot.bars({"a": {"x": 1}}, title="counts", path=tmp_path / "bars.png")
    assert matplotlib.image.imread(tmp_path / "bars.png").size > 0


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "0 panels of bars: between 1 and 4"),
        ({name: {"x": 1} for name in "abcde"}, "5 panels of bars: between 1 and 4"),
        ({"a": {"x": 1}, "b": {"y": 1}}, r"'b' has \['y'\], the first \['x'\]"),
        ({"a": {}}, "same names"),
        ({"a": {"x": -2}}, "'a' has -2: a bar's number must be 0 or more"),
    ],
)
def test_bars_say_what_they_cannot_draw(counts, message):
    with pytest.raises(ValueError, match=message):
        plot.bars(counts)
