"""The pictures of gates and exits."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex import plot
from minialex.plot import look
from minialex.study.leaving import Answers, Leaving, curve


def answers(count=30, exits=2):
    rng = np.random.default_rng(0)
    return Answers(rng.integers(0, 3, (count, exits)), rng.random((count, exits)), rng.integers(0, 3, count))


def test_a_curve_runs_from_the_first_exits_cost_to_the_lasts(tmp_path):
    steps = curve(answers(), [1_000_000, 4_000_000], points=5)
    path = tmp_path / "curve.png"
    axes = mx.plot.exit_curve(
        {"SmartNet": [steps, steps]}, {"ResNet": [(2e6, 30.0), (2e6, 32.0)]}, path=path
    ).axes[0]
    line = axes.lines[0]
    assert line.get_xdata()[0] == 1.0
    assert line.get_xdata()[-1] == pytest.approx(steps[-1].cost / 1e6)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "SmartNet, leaving when sure",
        "ResNet",
    ]
    assert axes.lines[-1].get_ydata()[0] == 31.0
    assert path.is_file()
    with pytest.raises(ValueError, match="there are no curves"):
        mx.plot.exit_curve({})


def test_gates_show_what_each_reads_and_what_was_cut():
    model = mx.models.smartnet(2, num_classes=3, preset="mnist")
    model["block1"].nodes["layer2"].gate.weight.value[:] = [0.25, 0.0]
    table = mx.plot.gates(model).axes[0].images[0].get_array()
    assert table[:, 1].tolist() == [0.25, 0.0, None, None, None]  # what comes later is grey
    axes = mx.plot.gates(model.compact()).axes[0]
    assert axes.images[0].get_array()[:, 1].tolist() == [0.25, None, None, None, None]
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((1, 1), "×")
    ]  # layer1, of layer2
    with pytest.raises(ValueError, match=r"not of lenet5|not of LeNet5"):
        mx.plot.gates(mx.models.lenet5())
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [f"block1.layer{i}" for i in (1, 2)] + ["exit1"] + [
        f"block2.layer{i}" for i in (1, 2)
    ] + ["exit2"]


def test_leavers_are_the_surest_of_each_class_and_at_the_last_exit_the_least_sure():
    found = answers()
    pictures = np.random.default_rng(1).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
    left = found.left(0.5)
    axes = mx.plot.leavers(pictures, found.labels, found, left, ["a", "b", "c"], count=3).axes[0]
    words = [text.get_text() for text in axes.texts]
    first, last = np.flatnonzero(left == 1), np.flatnonzero(left == 2)
    assert words[0] == f"exit 1: {len(first)} of 30 pictures; the surest of each class"
    for number, name in enumerate("abc"):
        sure = found.sure[first, 0][found.best[first, 0] == number].max()
        assert words[1 + number] == f"{name}\n{100 * sure:.0f} %"
    least = last[found.sure[last, 1].argmin()]
    assert words[5] == f"{'abc'[found.best[least, 1]]}\n{100 * found.sure[least, 1]:.0f} %"
    with pytest.raises(ValueError, match="do not belong together"):
        mx.plot.leavers(pictures[:5], found.labels, found, left, ["a", "b", "c"])


def test_an_exit_that_says_nan_has_read_no_number():
    labels = np.array([0, 1, 2])
    found = Answers(
        np.array([[0, 0], [0, -1], [2, 2]]), np.array([[0.9, 0.9], [0.1, np.nan], [0.1, 0.9]]), labels
    )
    pictures = np.zeros((3, 8, 8), np.uint8)
    axes = plot.leavers(pictures, labels, found, found.left(0.5), ["cat", "dog", "fish"]).axes[0]
    looks = {text.get_text(): text.get_color() for text in axes.texts}
    assert looks["no number"] == look.ORANGE
    assert not any("nan" in text for text in looks)


@pytest.mark.parametrize(
    ("labels", "best", "count", "message"),
    [
        (
            [0, 1, -1],
            [0, 1, 1],
            10,
            "labels has the class -1, for which there is no name: there are 2, from 0 to 1",
        ),
        ([0, 1, 0], [0, 1, 2], 10, "answers.best has the class 2, for which there is no name"),
        ([0, 1, 0], [0, 1, 1], -1, "count must be a whole number >= 1, not -1"),
    ],
)
def test_leavers_have_classes_with_names(labels, best, count, message):
    found = Answers(np.array(best)[:, None], np.ones((3, 1)), np.array(labels))
    with pytest.raises(ValueError, match=re.escape(message)):
        plot.leavers(np.zeros((3, 8, 8)), labels, found, found.left(0.5), ["cat", "dog"], count)


def test_a_list_in_place_of_curves_says_what_is_wanted():
    with pytest.raises(TypeError, match=r"exit_curve takes a dict, others=.*, not a list"):
        plot.exit_curve({"one": [curve(answers(), [1, 2])]}, [(2e6, 30.0)])
    with pytest.raises(ValueError, match="there are no curves to show"):
        mx.plot.exit_curve(curve(answers(), [1, 2]))


def test_any_number_of_curves_and_points_is_drawn():
    one = [
        Leaving(0.0, [9, 0], [0.2, 0.0], [10, 30], 0.2, 10.0),
        Leaving(1.0, [0, 9], [0.0, 0.1], [10, 30], 0.1, 30.0),
    ]
    names = [f"network {i}" for i in range(4)]
    others = {f"other {i}": [(20 + i, 12.0)] for i in range(7)}
    figure = plot.exit_curve({name: [one] for name in names}, others)
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == [*(f"{name}, leaving when sure" for name in names), *others]
    means = [line for line in figure.axes[0].lines if line.get_label() in others]
    assert len({(line.get_marker(), line.get_color()) for line in means}) == len(others)
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().x1 < legend.get_window_extent().x0
