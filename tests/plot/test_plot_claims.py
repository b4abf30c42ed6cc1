"""The figure of an experiment: a curve for each arm, and each kind of comparison beside what it claims."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.text import Text

from minialex import plot
from minialex.plot.lessons import LOOKS
from minialex.plot.look import BLUE, LINE


def record(**changes):
    usual = {
        "name": "tiny", "claim": "A is better.", "verdict": "holds", "outcome": "test_error after 3 epochs",
        "compared": "test_error: b - a", "unit": "points",
        "arms": {"a": {"data": "mnist"}, "b": {"data": "mnist"}}, "values": [0.8, 1.0, 1.2], "mean": 1.0,
        "low": 0.5, "high": 1.5, "delta": 0.7,
    }  # fmt: skip
    return {**usual, **changes}


def curves(arms=("a", "b"), lengths=(3, 3), errors=(5.0, 9.0)):
    return [
        {
            "arm": arm,
            "seed": seed,
            "epoch": n,
            "test_error": error / n + seed,
            "train_error": error,
            "train_loss": 0.1,
        }
        for arm, length, error in zip(arms, lengths, errors, strict=True)
        for seed in (0, 1)
        for n in range(1, length + 1)
    ]


def drawn(**changes):
    given = {name: changes.pop(name) for name in ("curves",) if name in changes}
    figure = plot.claim(record(**changes), given.get("curves", curves()))
    figure.draw_without_rendering()
    return figure


RATIO = {
    "outcome": "epochs_to 40 %", "compared": "epochs_to: b / a", "size": "does not hold", "delta": 1.25,
    "values": [math.log(v) for v in (1.8, 2.0, 2.2)], "mean": 2.0, "low": 1.7, "high": 2.4,
}  # fmt: skip
KINDS = {
    "difference": {},
    "difference below": {"values": [-0.8, -1.0, -1.2], "mean": -1.0, "low": -1.5, "high": -0.5},
    "ratio": RATIO,
    "ratio below": {
        **RATIO,
        "values": [math.log(v) for v in (0.4, 0.5)],
        "mean": 0.45,
        "low": 0.3,
        "high": 0.6,
    },
    "same": {
        "margin": 1.5,
        "level": 0.0,
        "delta": None,
        "values": [0.1, -0.1],
        "mean": 0.0,
        "low": -0.2,
        "high": 0.2,
    },
    "level": {
        "margin": 0.1,
        "level": 0.95,
        "delta": None,
        "values": [2.0, 2.1],
        "mean": 2.05,
        "low": 1.9,
        "high": 2.2,
    },
    "all equal": {"values": [0.0, 0.0], "mean": 0.0, "low": 0.0, "high": 0.0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_comparison_shows_each_seed_and_all_of_its_interval(kind):
    changes = KINDS[kind]
    axes = drawn(**changes).axes[1]
    found = record(**changes)
    values = np.exp(found["values"]) if "size" in found else found["values"]
    points = next(line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_ydata(), values)
    bottom, top = axes.get_ylim()
    assert bottom < min(*values, found["low"])
    assert top > max(*values, found["high"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_claim_asks_for_is_shaded_and_seen(kind):
    axes = drawn(**KINDS[kind]).axes[1]
    (shade,) = [patch for patch in axes.patches if same_color(patch.get_facecolor(), LINE)]
    found = record(**KINDS[kind])
    bottom, top = axes.get_ylim()
    corners = (
        shade.get_path().transformed(shade.get_patch_transform()).vertices
    )  # before matplotlib 3.9 no rectangle
    low, high = corners[:, 1].min(), corners[:, 1].max()
    if "margin" in found:
        assert (low, high) == pytest.approx(
            (found["level"] - found["margin"], found["level"] + found["margin"])
        )
        assert bottom < low < high < top
    else:
        assert low == pytest.approx(found["delta"])
        assert bottom < low < high == pytest.approx(top)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_clipped_at_the_figures_edge(kind):
    figure = drawn(**KINDS[kind], name="a-long-name", curves=curves())
    box = figure.bbox
    texts = [
        text for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label)
    ]
    for text in (*texts, *figure.texts):
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0
        assert extent.x1 <= box.x1
        assert box.y0 <= extent.y0
        assert extent.y1 <= box.y1


@pytest.mark.parametrize(
    ("compared", "lines"),
    [
        ("four layers: precision_features - precision_pixels", 2),
        ('test_error: "512, four times as long" - "32"', 1),
    ],
)
def test_what_is_compared_has_lines_that_the_picture_holds(compared, lines):
    figure = drawn(compared=compared)
    axes = figure.axes[1]
    (title,) = (text for text in axes.findobj(Text) if text.get_text().startswith(compared[:4]))
    assert title.get_text().count("\n") == lines - 1
    assert title.get_window_extent().x1 <= figure.bbox.x1


def test_a_ratios_axis_has_plain_numbers():
    axes = drawn(**RATIO).axes[1]
    assert axes.get_yscale() == "log"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "1.25", "1.5", "2"]


def test_a_ratio_shows_the_size_that_was_claimed_and_says_which_runs_never_arrived():
    more = {"claimed": 6.0, "within": 1.5, "n": 3, "censored": {"a": 0, "b": 1}}
    _, right = drawn(**RATIO, **more).axes
    assert "6 times, as claimed" in [text.get_text() for text in right.texts]
    low, high = right.get_ylim()
    assert low < 1 < 9 < high
    assert "never arrived: at" in right.get_title("right")
    assert "arrived" not in drawn(**RATIO).axes[1].get_title("right")


def test_the_title_says_the_claim_the_verdict_and_of_a_ratio_the_size():
    assert drawn().get_suptitle() == "A is better.\ntiny: holds"
    assert drawn(**RATIO).get_suptitle() == "A is better.\ntiny: holds; the size does not hold"
    assert drawn(claim="word " * 24).get_suptitle().count("\n") == 2
    assert plot.claim(record(), curves(), title="Mine").get_suptitle() == "Mine"


@pytest.mark.parametrize("kind", KINDS)
def test_the_shade_is_named_inside_of_it(kind):
    figure = drawn(**KINDS[kind])
    axes = figure.axes[1]
    (shade,) = [patch for patch in axes.patches if same_color(patch.get_facecolor(), LINE)]
    (name,) = axes.texts
    assert name.get_text() == "claimed"
    assert name.get_window_extent().y1 <= shade.get_window_extent().y1


def test_the_comparison_has_its_unit():
    assert drawn().axes[1].get_ylabel() == "points"
    assert drawn(unit="").axes[1].get_ylabel() == ""


# ---- the curves --------------------------------------------------------------------------------------


def bold(axes):
    return [line for line in axes.lines if line.get_linewidth() > 1]


def test_each_arm_has_a_thin_line_for_each_seed_and_a_bold_one_of_their_mean():
    axes = drawn().axes[0]
    first, second = bold(axes)
    assert len(axes.lines) == 2 * (2 + 1)
    np.testing.assert_allclose(first.get_ydata(), [5.5, 3.0, 5 / 3 + 0.5])
    np.testing.assert_allclose(second.get_ydata(), [9.5, 5.0, 3.5])
    assert first.get_color() == BLUE


def test_lines_are_named_where_they_end():
    assert {text.get_text() for text in drawn().axes[0].texts} == {"a", "b"}


def test_a_run_that_ended_early_stays_where_it_was_in_the_mean():
    rows = [{"arm": "a", "seed": seed, "epoch": n, "test_error": 10.0 - n, "train_error": 10.0 - n}
            for seed, length in ((0, 2), (1, 4), (2, 4)) for n in range(1, length + 1)]  # fmt: skip
    axes = drawn(**{**RATIO, "arms": {"a": {"data": "mnist"}}}, curves=rows).axes[0]
    np.testing.assert_allclose(bold(axes)[0].get_ydata(), [9.0, 8.0, 22 / 3, 20 / 3])


@pytest.mark.parametrize(
    ("outcome", "label"),
    [("test_error after", "test error, %"), ("train_loss after", "training loss"), ("late_gain: of", "test error, %"),
     ("train_error after", "training error, %"), ("epochs_to 40 %", "training error, %")],
)  # fmt: skip
def test_the_curves_are_of_what_is_compared(outcome, label):
    assert drawn(outcome=outcome).axes[0].get_ylabel() == label


def test_arms_on_other_pictures_than_the_first_are_left_out():
    arms = {"a": {"data": "cifar10"}, "LeNet-5": {"data": "mnist"}, "b": {"data": "cifar10"}}
    axes = drawn(arms=arms, curves=curves(("a", "LeNet-5", "b"), (3, 3, 3), (5.0, 0.1, 9.0))).axes[0]
    assert {text.get_text() for text in axes.texts} == {"a", "b"}


def test_no_arm_is_left_out_however_many_there_are():
    names = [f"arm {n}" for n in range(len(LOOKS) + 2)]
    rows = curves(names, [3] * len(names), range(5, 5 + len(names)))
    axes = drawn(arms={name: {"data": "mnist"} for name in names}, curves=rows).axes[0]
    assert {text.get_text() for text in axes.texts} == set(names)
    looks = [(line.get_color(), line.get_linestyle()) for line in bold(axes)]
    assert all(one != other for one, other in itertools.pairwise(looks))


def test_epochs_are_whole_numbers():
    ticks = drawn(curves=curves(lengths=(20, 20))).axes[0].get_xticks()
    assert all(tick == int(tick) for tick in ticks)


def test_a_test_errors_axis_leaves_out_how_the_curves_begin():
    axes = drawn(curves=curves(lengths=(20, 20), errors=(90.0, 90.0))).axes[0]
    bottom, top = axes.get_ylim()
    assert top < 90
    assert bottom < min(line.get_ydata()[-1] for line in axes.lines)  # of the thin ones, too


def test_it_is_kept_where_a_path_says(tmp_path):
    plot.claim(record(), curves(), path=tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


# ---- all together ------------------------------------------------------------------------------------


def result(mean, low, high, verdict="holds", **more):
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "verdict": verdict,
        "delta": 0.5,
        "unit": "points",
        **more,
    }


ALL = {
    "holds": result(1.0, 0.5, 1.5),
    "not": result(-0.1, -0.3, 0.1, "does not hold"),
    "untold": result(0.4, -0.1, 0.9, "cannot be told from this"),
    "far": result(9.0, 8.0, 10.0),
    "far below": result(-9.0, -20.0, -8.0, "does not hold"),
    "wide": result(0.5, -9.0, 9.0, "cannot be told from this"),
    "ratio": result(4.0, 2.0, 8.0, delta=2.0, size="does not hold", unit="times"),
    "level": result(0.96, 0.90, 1.02, delta=None, level=0.95, margin=0.1, unit="%"),
    "waits": None,
    "has begun": {"mean": None, "verdict": "not told"},
}


def rows(figure):
    """Name -> (axes, the ends of its line, its marks)."""
    found = {}
    for axes in figure.axes:
        for y, name in enumerate(label.get_text() for label in axes.get_yticklabels()):
            lines = [line for line in axes.lines if set(line.get_ydata()) == {y}]
            whole, marks = [line for line in lines if len(line.get_xdata()) == 2], lines
            marks = {line.get_marker(): line.get_xdata()[0] for line in lines if len(line.get_xdata()) == 1}
            found[name] = axes, list(whole[0].get_xdata()), marks
    return found


def test_each_result_lies_in_units_of_what_was_asked_for():
    found = rows(plot.verdicts(ALL))
    assert set(found) == set(ALL) - {"waits", "has begun"}
    wanted = {"holds": ([1, 3], {"o": 2}), "not": ([-0.6, 0.2], {"D": -0.2}), "untold": ([-0.2, 1.8], {"s": 0.8}),
              "ratio": ([1, 3], {"o": 2}), "level": ([-0.5, 0.7], {"o": 0.1})}  # fmt: skip
    for name, (ends, marks) in wanted.items():
        assert found[name][1] == pytest.approx(ends)
        assert found[name][2] == pytest.approx(marks)
    assert found["level"][0] is not found["holds"][0]


def test_what_goes_too_far_ends_in_an_arrow_on_that_side():
    found = rows(plot.verdicts(ALL))
    assert found["far"][1:] == ([10, 10], {">": 10})
    assert found["far below"][1:] == ([-3, -3], {"<": -3})
    assert found["wide"][1:] == ([-3, 10], {"<": -3, ">": 10, "s": 1})


def test_the_numbers_stand_beside_it_and_nothing_is_clipped():
    figure = plot.verdicts(ALL)
    figure.draw_without_rendering()
    texts = {text.get_text(): text for axes in figure.axes for text in axes.texts}
    assert "4 times (2 to 8): holds; the size does not hold" in texts
    assert "0.4 points (-0.1 to 0.9): cannot be told from this" in texts
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in texts.values())


def test_what_was_asked_for_is_shaded_to_its_end():
    figure = plot.verdicts(ALL)
    ends = [sorted({x for x, _ in patch.get_path().transformed(patch.get_patch_transform()).vertices})
            for axes in figure.axes for patch in axes.patches if same_color(patch.get_facecolor(), LINE)]  # fmt: skip
    assert [(one[0], one[-1]) for one in ends] == [(1, 10), (-1, 1)]


def test_without_a_result_it_says_what_makes_one():
    with pytest.raises(ValueError, match="no experiment has a result yet"):
        plot.verdicts({"waits": None})
