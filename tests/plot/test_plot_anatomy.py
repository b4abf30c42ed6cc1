"""What the pictures of blocks left out, of layers' reading, and of networks' costs show."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

import minialex as mx
from minialex import plot
from minialex.plot.look import BLUE, INK, ORANGE
from minialex.study.anatomy import Dropped, Reading

ROWS = [
    Dropped("layer1.0", 25.5, -4.5, False),
    Dropped("layer2.0", 55.25, 25.25, True),
    Dropped("layer2.1", 29.98, -0.02, False),
]
WEIGHTS = np.array([[0.4, 0.3, 0.1], [np.nan, 0.1, 0.2], [np.nan, np.nan, 0.3]])
BEHIND = Reading("features.denseblock2", ["x", "a", "b"], ["a", "b", "features.transition2.conv"], WEIGHTS)
ALONE = Reading("features.denseblock3", ["x", "a", "b"], ["a", "b"], WEIGHTS[:, :2])


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_each_block_has_a_bar_and_what_it_adds_to_the_error_of_the_whole():
    figure = plot.dropped(ROWS, "title")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [25.5, 55.25, 29.98]
    assert [to_hex(bar.get_facecolor()).upper() for bar in axes.patches] == [BLUE, ORANGE, BLUE]
    assert texts(axes) == ["−4.5", "+25.2", "+0.0", "whole: 30.0 %"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer1.0", "layer2.0", "layer2.1"]
    assert axes.yaxis_inverted()  # the first block is at the top
    assert list(axes.lines[0].get_xdata()) == [30.0, 30.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "the shortcut is the input",
        "the shortcut has another shape",
    ]


def test_no_text_lies_on_the_line_of_the_whole():
    figure = plot.dropped(ROWS)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    line = axes.transData.transform((30.0, 0))[0]
    assert all(text.get_window_extent().x0 > line for text in axes.texts[:3])


def test_without_another_shape_there_is_no_legend():
    assert plot.dropped(ROWS[:1]).legends == []


def test_a_dense_block_is_a_heat_map_from_0_with_a_frame_around_what_comes_behind():
    figure = plot.reading([BEHIND, ALONE])
    panels = [axes for axes in figure.axes if axes.images]
    for axes, one in zip(panels, (BEHIND, ALONE), strict=True):
        shown = axes.images[0]
        np.testing.assert_array_equal(np.ma.filled(shown.get_array(), np.nan), one.weights)
        assert shown.get_clim() == (0, np.nanmax(one.weights))
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "1", "2"]
    assert [axes.get_title() for axes in panels] == ["denseblock2", "denseblock3"]
    (frame,) = panels[0].patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((1.5, -0.5), 1, 3)
    assert to_hex(frame.get_edgecolor()) == INK
    assert panels[0].get_xlabel() == "layer that reads; framed: transition"
    assert (list(panels[1].patches), panels[1].get_xlabel()) == ([], "layer that reads")


def test_by_layer_each_column_is_a_share_of_its_mean_and_1_is_in_the_middle():
    shown = plot.reading([BEHIND], by_layer=True).axes[0].images[0]
    values = np.ma.filled(shown.get_array(), np.nan)
    np.testing.assert_allclose(values, [[1, 1.5, 0.5], [np.nan, 0.5, 1], [np.nan, np.nan, 1.5]])
    assert np.mean(shown.get_clim()) == 1
    assert shown.get_clim()[1] == 1.5


@pytest.mark.parametrize("by_layer", [False, True])
def test_a_block_whose_weights_are_all_0_can_be_shown(by_layer):
    nothing = Reading("block", ["x", "a"], ["a"], np.array([[0.0], [np.nan]]))
    assert plot.reading([nothing], by_layer=by_layer).axes[0].images


def test_the_blocks_of_a_whole_network_have_a_panel_each():
    tables = mx.anatomy.reading(mx.models.densenet(121, 3, width=1 / 16))
    figure = plot.reading(tables)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["denseblock1", "denseblock2", "denseblock3", "denseblock4"]
    ticks = [axes.get_xticklabels()[-1].get_text() for axes in figure.axes[:4]]
    assert ticks == ["6", "12", "23", "15"]  # fewer numbers than layers, where there are many


def test_networks_stand_at_their_costs_with_their_names_apart():
    networks = {"a": (1e6, 50.0, 40_000), "b": (1.01e6, 50.2, 40_000), "c": (3e7, 20.0, 360_000)}
    (axes,) = plot.costs(networks, "title").axes
    assert [tuple(points.get_offsets()[0]) for points in axes.collections] == [
        (1, 50),
        (1.01, 50.2),
        (30, 20),
    ]
    sizes = [points.get_sizes()[0] for points in axes.collections]
    assert sizes[2] == 3 * sizes[0]
    assert axes.get_xscale() == "log"
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not boxes[0].overlaps(boxes[1])


@pytest.mark.parametrize(
    ("draw", "message"),
    [(lambda: plot.dropped([]), "no blocks to show: anatomy.drop_blocks"),
     (lambda: plot.reading([]), "no dense blocks to show: anatomy.reading"),
     (lambda: plot.costs({}), "there are no networks")],
)  # fmt: skip
def test_nothing_to_show_is_told(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
