"""plot.show: the arrays of a trace as pictures. Their content is read back from the figures' artists."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import minialex as mx
from minialex import plot
from minialex.plot import traces as plot_trace


@pytest.fixture(scope="module")
def trace():
    model = mx.Sequential(
        conv1=mx.Conv2D(2, 4, 3, padding=1, groups=2, rng=1),
        relu1=mx.ReLU(),
        pool1=mx.MaxPool2D(2),
        flatten=mx.Flatten(),
        fc=mx.Linear(16, 3, rng=2),
    )
    x = np.random.default_rng(0).integers(-3, 4, (2, 2, 4, 4)).astype(np.float32)
    return mx.trace(model, x, [1, 2], loss=mx.SoftmaxCrossEntropy())


def panels(figure):
    """Title -> (numbers shown as colours, lit places (row, column, height, width))."""
    result = {}
    for axes in figure.axes:
        if axes.images and axes.get_label() != "<colorbar>":
            frames = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_linewidth() == 2]
            lit = [(p.get_y() + 0.5, p.get_x() + 0.5, p.get_height(), p.get_width()) for p in frames]
            result[axes.get_title()] = (np.ma.getdata(axes.images[0].get_array()), lit)
    return result


def test_a_position_lights_the_window_the_column_and_the_cell(trace):
    found = panels(plot.show(trace, "conv1.columns", position=6, map=1, filter=2, picture=1))
    assert list(found) == ["padded, map 1", "weight, filter 2", "columns", "y, map 2"]
    padded, lit = found["padded, map 1"]
    np.testing.assert_array_equal(padded, trace["conv1.padded"].array[1, 1])
    assert lit == [(1, 2, 3, 3)]
    columns, lit = found["columns"]
    np.testing.assert_array_equal(columns, trace["conv1.columns"].array[1].reshape(18, 16))
    assert lit == [(9, 6, 9, 1)]  # filter 2 reads the second group
    y, lit = found["y, map 2"]
    np.testing.assert_array_equal(y, trace["conv1.y"].array[1, 2])
    assert lit == [(1, 2, 1, 1)]
    np.testing.assert_array_equal(found["weight, filter 2"][0], trace["conv1.weight"].array[2, 0])
    same = panels(plot.show(trace, "conv1.y", position=(1, 2), map=1, filter=2, picture=1))
    assert [lit for _, lit in same.values()] == [lit for _, lit in found.values()]


def test_backward_the_cell_its_column_and_the_window_without_the_padding_are_lit(trace):
    found = panels(plot.show(trace, "conv1.grad_columns", position=(0, 1)))
    assert [(title, lit) for title, (_, lit) in found.items()] == [
        ("grad_y, map 0", [(0, 1, 1, 1)]), ("grad_columns", [(0, 1, 9, 1)]), ("grad_x, map 0", [(0, 0, 2, 3)]),
    ]  # fmt: skip


def test_pooling_lights_its_winner(trace):
    found = panels(plot.show(trace, "pool1.y", position=3))
    winner = trace["pool1.winner"].array[0, 0, 1, 1]
    assert found["padded, map 0"][1] == [(2, 2, 2, 2), (2 + winner // 2, 2 + winner % 2, 1, 1)]


def test_many_columns_are_shown_one_row_of_y_at_a_time():
    layer = mx.Conv2D(3, 2, 5)
    x = np.random.default_rng(0).standard_normal((1, 3, 12, 12), dtype=np.float32)
    found = panels(plot.show(mx.trace(layer, x), "columns", position=(3, 5), map=2))
    columns, lit = found["columns: map 2, row 3 of y"]
    expected = mx.trace(layer, x)["columns"].array[0].reshape(3, 25, 8, 8)[2, :, 3]
    np.testing.assert_array_equal(columns, expected)
    assert lit == [(0, 5, 25, 1)]


def test_an_array_alone_has_its_numbers_written_into_its_cells(trace):
    figure = plot.show(trace, "fc.bias")
    assert figure.get_suptitle() == "fc.bias (3,)\nbias is learned"
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "0", "0"]
    texts = [t.get_text() for t in plot.show(trace, "fc.x").axes[0].texts]
    assert texts == [plot_trace._short(v) for v in trace["fc.x"].array[0]]


@pytest.mark.parametrize(
    "name", ["x", "conv1.weight", "conv1.columns", "conv1.y", "loss.loss", "loss.labels", "fc.weight"]
)
def test_every_number_of_an_array_is_in_its_picture(trace, name):
    entry = trace[name]
    shown = np.ma.getdata(
        plot.show(trace, name, picture=1 if entry.batched else 0).axes[0].images[0].get_array()
    )
    expected = entry.array[1] if entry.batched else entry.array
    assert sorted(shown[~np.isnan(shown)]) == sorted(np.ravel(expected).astype(float))


def test_maps_stand_side_by_side_with_a_gap(trace):
    matrix, _ = plot_trace._as_matrix(trace["conv1.y"].array[0])
    assert matrix.shape == (4, 4 * 5 - 1)
    np.testing.assert_array_equal(matrix[:, 5:9], trace["conv1.y"].array[0, 1])
    assert np.isnan(matrix[:, 4]).all()


def test_numbers_are_written_short_and_with_a_true_minus():
    numbers = {-0.0: "0", 5.0: "5", -1.23456: "−1.23", -np.inf: "−∞", 0.00012: "1e−4"}
    assert {v: plot_trace._short(v) for v in numbers} == numbers


def test_show_saves_where_it_is_told_and_gives_the_first_array_outside_of_a_notebook(trace, tmp_path):
    figure = plot.show(trace, path=tmp_path / "a.png")
    assert isinstance(figure, Figure)
    assert figure.get_suptitle().startswith("x (2, 2, 4, 4)")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 300
    assert isinstance(plot.show(trace), Figure)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("relu1.y", {"position": 0}, "position=0 lights a window; relu1 has none"),
        ("x", {"position": 0}, "position=0 lights a window; the network has none"),
        ("conv1.y", {"position": 16}, "there is no position with number 16: 16 are there, from 0 to 15"),
        ("conv1.y", {"position": (4, 0)}, "there is no row of y with number 4: 4 are there"),
        ("conv1.y", {"position": 0, "map": 2}, "there is no map with number 2: 2 are there"),
        ("conv1.y", {"position": 0, "filter": 4}, "there is no filter with number 4: 4 are there"),
        (
            "conv1.y",
            {"position": 0, "filter": 3},
            "filter 3 reads maps 1 to 1, not map 0: there are 2 groups",
        ),
        ("conv1.y", {"picture": 2}, "there is no picture of conv1.y with number 2: 2 are there, from 0 to 1"),
    ],
)
def test_what_is_not_there_is_named(trace, name, options, message):
    with pytest.raises(ValueError, match=message):
        plot.show(trace, name, **options)


def test_an_unknown_name_raises_as_the_trace_does(trace):
    with pytest.raises(KeyError, match=r"near it: conv1\.columns"):
        plot.show(trace, "conv1.colums")


# ---- in a notebook ----


class ZMQInteractiveShell:
    """What a notebook's shell is called."""


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.setattr(pytest.importorskip("IPython"), "get_ipython", ZMQInteractiveShell)


def test_in_a_notebook_one_pages_through_all_arrays(trace, notebook):
    pytest.importorskip("ipywidgets")
    pager = plot.show(trace)
    (back, array, on, position), image = pager.children[0].children, pager.children[1]
    assert array.options == tuple(trace)
    assert position.layout.display == "none"  # x has no windows
    first = image.value
    on.click()
    assert array.value == "conv1.x"
    assert (position.layout.display, position.max) == ("", 15)
    before = image.value
    position.value = 9
    assert image.value not in (first, before)
    back.click()
    back.click()
    assert array.value == "grad_x"  # round the corner
    for name in list(trace)[::5]:
        array.value = name
    assert isinstance(plot.show(trace, "conv1.y"), Figure)  # an array that is named is a figure there as well


def test_a_notebook_without_ipywidgets_gets_a_figure(trace, notebook, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert isinstance(plot.show(trace), Figure)


def test_the_lines_of_an_array_stand_above_it_one_below_the_other(trace):
    figure = plot.show(trace, "conv1.y")
    title = figure.get_suptitle().splitlines()
    assert title[0] == "conv1.y (2, 4, 4, 4)"
    assert " ".join(line.strip() for line in title[1:]) == " ".join(
        text for _, text in trace["conv1.y"].lines
    )
    figure.canvas.draw()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_a_window_is_lit_only_where_our_lines_slide_it():
    class Mine(mx.Conv2D):
        def forward(self, x):
            return super().forward(x) + 1

    class Called(mx.Conv2D):
        """Overrides neither forward nor backward."""

    x = np.ones((1, 1, 3, 3), np.float32)
    with pytest.raises(ValueError, match="lights a window; the network has none"):
        plot.show(mx.trace(Mine(1, 1, 2), x), "y", position=1)
    assert "columns" in panels(plot.show(mx.trace(Called(1, 1, 2), x), "y", position=1))


def test_an_array_with_its_batch_last_is_shown_picture_by_picture():
    class Last(mx.Layer):
        def forward(self, x):
            last = x.transpose(1, 2, 3, 0).copy()
            return last.transpose(3, 0, 1, 2).copy()

    x = np.arange(24, dtype=np.float32).reshape(2, 1, 3, 4)
    figure = plot.show(mx.trace(Last(), x), "last", picture=1)
    np.testing.assert_array_equal(panels(figure)[""][0], x[1, 0])
    with pytest.raises(ValueError, match="there is no picture of last with number 2: 2 are there"):
        plot.show(mx.trace(Last(), x), "last", picture=2)
