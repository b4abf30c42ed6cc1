"""What a learner's test is given, in whole numbers too, and what is said where it fails the right answer."""

import numpy as np
import pytest

from minialex import check
from minialex.check import planted
from minialex.check.catch import PAIRS
from minialex.check.handed import SMALL, as_float, where_it_failed, with_floats

PICTURE = np.array([[[[-3, -3], [-1, -4], [-2, -5]]]])


def whole(of, dtype):
    """One case of a pair's forward, in whole numbers."""
    x, two = np.arange(1, 10, dtype=dtype).reshape(1, 1, 3, 3), np.array([1, 2], dtype)
    kernel = np.arange(1, 5, dtype=dtype).reshape(1, 1, 2, 2)
    return {
        "conv2d": (x, kernel, two[:1], 1, 1), "im2col": (x, (2, 2), 1), "maxpool": (x, (2, 2), 1, 1),
        "avgpool": (x, (2, 2), 1, 1), "subsampling": (x, two[:1], two[:1]), "relu": (x,), "sigmoid": (x,),
        "tanh": (x,), "linear": (x[0, 0], x[0, 0, :2], two), "lrn": (x, 3, 1.0, 0.75, 2.0),
        "dropout": (x, x > 4, 0.5), "softmax_cross_entropy": (x[0, 0], np.array([0, 2, 1])),
        "map_loss": (x[0, 0], np.array([0, 2, 1]), 1.0), "rbf": (x[0, 0], x[0, 0, :2]), "exchange": (x, x),
        "device_exchange": (x, x, lambda array, device: array.copy()), "gate": (x, two[:1], (1,)),
        "batchnorm": (x, two[:1], two[1:], two[:1], two[1:], 1.0, 0.25),
        "bottleneck": (x, kernel[:, :, :1, :1], x, kernel[:, :, :1, :1], kernel[:, :, :1, :1], 1),
    }[of]  # fmt: skip


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("of", planted.PAIRS)
def test_right_answers_and_pairs_take_whole_numbers(of):
    name = PAIRS.get(of, (f"{of}_forward",))[0]
    labelled = name.endswith(("entropy_forward", "map_loss_forward"))
    for dtype in (np.int64, np.int32):
        args = whole(of, dtype)
        floats = [x if labelled and number == 1 else as_float("", x) for number, x in enumerate(args)]
        for function in [planted.RIGHT[name], *(make()[0] for make in planted.PAIRS[of].values())]:
            found, wanted = with_floats(function)(*args), function(*floats)
            for one, other in zip(as_tuple(found), as_tuple(wanted), strict=True):
                np.testing.assert_array_equal(one, other)


def test_maxima_of_a_padded_picture_of_whole_numbers_can_be_tested():
    def test(forward, backward):
        y = forward(PICTURE, kernel=(3, 2), stride=1, padding=1)
        return y[0, 0].tolist() == [[-1, -1, -3], [-1, -1, -3], [-1, -1, -4]]

    caught = check.catches(test, of="maxpool")
    assert caught.right == "passes"
    assert caught.bugs["maxpool_forward", "zero-padded"] == "caught"


def test_labels_and_masks_stay_what_they_are_and_fractions_are_not_copied():
    for name, x in [("labels", np.array([1])), ("mask", np.array([True])), ("x", np.array([0.5]))]:
        assert as_float(name, x) is x
    assert as_float("x", np.array([1], np.uint8)).dtype == np.float64
    assert as_float("stride", 2) == 2


def test_what_is_written_into_whole_numbers_is_written_into_the_callers():
    x = np.array([[[[1, 2]]]])
    with_floats(planted.WRONG["gate_forward"]["written into"])(x, np.array([3]), (1,))
    assert x.tolist() == [[[[3, 6]]]]


# -- where the right answer fails ----------------------------------------------------------------------------


def on_paper(forward, backward):
    y = forward(PICTURE, (2, 2), 1, 0)
    assert y.shape == (1, 1, 2, 1)
    assert (y[0, 0] == np.array([[-1], [-2]])).all(), "y"
    return True


def test_the_headline_says_first_that_the_right_answer_fails_and_the_line_and_both_sides_follow():
    caught = check.catches(on_paper, of="maxpool")
    line = on_paper.__code__.co_firstlineno + 3
    first, second, *others = str(caught).splitlines()
    assert first == "catches, maxpool: wrong: the right answer fails, 10 of 10 planted bugs caught"
    assert second == (
        f"  the right answer fails: on_paper, line {line}: "
        'assert (y[0, 0] == np.array([[-1], [-2]])).all(), "y"'
    )
    assert others[:3] == [
        "    y[0, 0] (2, 1)    np.array([[-1], [-2]]) (2, 1)",
        "    -1                -1",
        "    -1                -2",
    ]
    html = caught._repr_html_()
    assert "wrong: the right answer fails, 10 of 10" in html
    assert "y[0, 0] (2, 1)    np.array([[-1], [-2]]) (2, 1)\n" in html
    assert html.index("<pre") < html.index("zero-padded")


def test_of_several_comparisons_the_one_that_does_not_hold_is_shown():
    def test(forward, backward):
        y = forward(PICTURE, (2, 2), 1, 0)
        np.testing.assert_allclose(y[0, 0, 0], [-1])
        assert np.allclose(y.sum(), -3)

    shown = check.catches(test, of="maxpool").shown
    assert shown == ["y.sum()    -3", "-2         -3"]


def test_without_an_assert_the_right_arrays_are_shown():
    def test(forward, backward):
        return forward(PICTURE, (2, 2), 1, 0)[0, 0, 0, 0] == 5

    caught = check.catches(test, of="maxpool")
    assert caught.of_right() == "fails: it must pass"
    assert caught.shown[:2] == [
        "maxpool_forward, the right one, gave your test at first:",
        "  shape (1, 1, 2, 1)",
    ]
    assert [line.strip() for line in caught.shown[-2:]] == ["-1", "-1"]


def test_large_arrays_are_not_shown_and_a_right_test_shows_nothing():
    x = np.ones((1, SMALL + 1))
    for test in (lambda forward, backward: (forward(x) == 0).all(), lambda forward, backward: True):
        assert check.catches(test, of="relu").shown == []

    def with_an_assert(forward, backward):
        assert (forward(x) == 0).all()

    assert not any("forward(x) (1, " in line for line in check.catches(with_an_assert, of="relu").shown)


def test_words_from_another_process_are_taken_as_they_are():
    def words(text):
        error = AssertionError(text)
        error.in_words = text
        return where_it_failed(error)

    assert words("AssertionError; in test: assert y == 1") == ("in test: assert y == 1", [])
    assert words("AssertionError: y; in test: assert y == 1, 'y'") == ("y; in test: assert y == 1, 'y'", [])
    lines = "\nNot equal to tolerance\n\n ACTUAL: 1.0; in test: assert_allclose(y, 2)"
    said, shown = words(f"AssertionError: {lines}")
    assert said == "in test: assert_allclose(y, 2)"
    assert shown == ["Not equal to tolerance", " ACTUAL: 1.0"]
