"""Output sizes at their edges, and what is said about sizes that make no sense."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minialex.shapes import is_whole, output_size, output_sizes, pair, positive


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        (1, 1, 1, 0, 1),
        (5, 5, 1, 0, 1),  # the window fits exactly once
        (5, 5, 7, 0, 1),  # and then the stride does not matter
        (6, 3, 3, 0, 2),  # windows tile the picture
        (8, 3, 3, 0, 2),  # two pixels are left over
        (9, 3, 3, 0, 3),
        (5, 1, 4, 0, 2),  # a stride larger than the kernel skips pixels
        (2, 4, 1, 1, 1),  # the padding alone makes room
        (1, 3, 2, 3, 3),  # windows that lie in the padding alone count too
        (227, 11, 4, 0, 55),  # AlexNet's conv1
        (224, 11, 4, 0, 54),  # not 55: cuda-convnet rounded up
        (55, 3, 2, 0, 27),
    ],
)
def test_an_output_size_is_1_plus_the_whole_steps(size, kernel, stride, padding, expected):
    assert output_size(size, kernel, stride, padding) == expected


@given(*(st.integers(1, 12) for _ in range(3)), st.integers(0, 4))
def test_an_output_size_counts_the_windows_that_fit(size, kernel, stride, padding):
    starts = [at for at in range(0, size + 2 * padding, stride) if at + kernel <= size + 2 * padding]
    if starts:
        assert output_size(size, kernel, stride, padding) == len(starts)
    else:
        with pytest.raises(ValueError, match="does not fit"):
            output_size(size, kernel, stride, padding)


def test_a_window_that_does_not_fit_is_quoted_with_its_numbers():
    with pytest.raises(ValueError, match=r"^a window of 8 does not fit into 3 \+ 2\*2 padding = 7 pixels$"):
        output_size(3, kernel=8, stride=1, padding=2)


def test_output_sizes_treats_height_and_width_apart():
    assert output_sizes((10, 7), kernel=(3, 2), stride=(2, 1), padding=(1, 0)) == (5, 6)


def test_output_sizes_checks_the_width_too():
    with pytest.raises(ValueError, match="a window of 4 does not fit into 3"):
        output_sizes((9, 3), kernel=(4, 4), stride=(1, 1), padding=(0, 0))


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), (2, 2), [2, 2], (np.int32(2), 2)])
def test_a_pair_is_two_ints_of_python(value):
    assert pair(value, "stride") == (2, 2)
    assert [type(v) for v in pair(value, "stride")] == [int, int]


def test_a_pair_is_height_then_width():
    assert pair((1, 2), "stride") == (1, 2)


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        2.0,
        np.float32(2),
        True,
        np.array(2.5),
        np.array([2, 2]),
        "2",
        None,
        (1, 2, 3),
        (1,),
        (),
        (1, 0),
        (1, 2.0),
    ],
)
def test_a_pair_of_anything_else_is_refused(value):
    with pytest.raises(
        ValueError, match=r"^stride must be a whole number >= 1 or a pair \(height, width\) of them"
    ):
        pair(value, "stride")


def test_a_pair_quotes_what_it_got_and_what_is_the_least():
    with pytest.raises(ValueError, match=r"^padding must be a whole number >= 0 or a pair .* not \(1, -1\)$"):
        pair((1, -1), "padding", least=0)


def test_a_padding_may_be_0():
    assert pair(0, "padding", least=0) == (0, 0)


def test_positive_gives_an_int_of_python():
    assert (positive(np.uint8(3), "groups"), type(positive(np.uint8(3), "groups"))) == (3, int)


@pytest.mark.parametrize("value", [0, -2, 1.0, "1", True, None])
def test_positive_quotes_what_it_got(value):
    with pytest.raises(ValueError, match=f"^groups must be a whole number >= 1, not {value!r}$"):
        positive(value, "groups")


def test_whole_numbers_are_ints_of_python_or_numpy():
    assert all(is_whole(value) for value in (0, -3, np.int8(1), np.array(3)))
    assert not any(
        is_whole(value) for value in (True, np.True_, 1.0, np.float64(1), np.array(1.5), "1", [1], None)
    )
