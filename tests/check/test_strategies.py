"""The strategies keep what they promise, and really draw the odd cases."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from minialex import gradcheck, shapes, strategies
from minialex.check.strategies import LAYOUTS, laid_out
from minialex.layers import AvgPool2D, Conv2D, Layer, MaxPool2D

many = settings(max_examples=100)
without_shrinking = settings(max_examples=500, derandomize=True, database=None, phases=[Phase.generate])


def drawn(strategy, condition):
    """Does the strategy ever draw such an example? find raises if not."""
    find(strategy, condition, settings=without_shrinking)
    return True


# ---- images and vectors ----------------------------------------------------------------------------


@given(x=strategies.images())
def test_images_have_the_sizes_that_were_promised(x):
    N, C, H, W = x.shape
    assert 1 <= N <= 3
    assert 1 <= C <= 5
    assert 1 <= H <= 9
    assert 1 <= W <= 9
    assert x.dtype == np.float64


@given(x=strategies.images(channels=6, max_batch=2, min_side=4, max_side=5, dtype="float32"))
def test_images_have_the_sizes_that_were_asked_for(x):
    N, C, H, W = x.shape
    assert N <= 2
    assert C == 6
    assert {H, W} <= {4, 5}
    assert x.dtype == np.float32


@given(x=strategies.vectors(features=3, max_batch=2, dtype="float32"))
def test_vectors_have_the_sizes_that_were_asked_for(x):
    assert len(x) <= 2
    assert x.shape[1:] == (3,)
    assert x.dtype == np.float32


@pytest.mark.parametrize(
    "odd",
    [
        lambda x: x.shape[2] < x.shape[3],
        lambda x: x.shape[2] > x.shape[3],
        lambda x: x.shape[2] % 2 == 1 and x.shape[2] > 1,
        lambda x: x.shape[0] == 1,
        lambda x: x.shape[0] == 3,
        lambda x: x.shape[2:] == (1, 1),
        lambda x: x.size > 1 and (x < 0).all(),
    ],
)
def test_images_come_in_odd_sizes_and_signs(odd):
    assert drawn(strategies.images(), odd)


@given(x=st.one_of(strategies.images(), strategies.vectors(), strategies.arrays((2, 3, 4))))
def test_what_is_drawn_is_random_finite_and_read_only(x):
    assert np.isfinite(x).all()
    assert abs(x).max() <= 2
    assert not x.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        x[...] = 0


@many
@given(x=strategies.images(away_from=0.0))
def test_away_from_keeps_its_distance(x):
    assert abs(x).min() >= 0.1 - 1e-12


@many
@given(x=strategies.vectors(away_from=1.5, dtype="float32"))
def test_away_from_may_be_any_number_and_dtype(x):
    assert abs(x - 1.5).min() >= 0.1 - 1e-6


def test_away_from_keeps_both_sides():
    assert drawn(strategies.images(away_from=0.0), lambda x: (x > 0).any() and (x < 0).any())


@many
@given(x=st.one_of(strategies.images(distinct=True), strategies.images(distinct=True, away_from=0.0)))
def test_distinct_keeps_all_numbers_apart_though_they_stay_away_from_another(x):
    assert x.size == 1 or np.diff(np.sort(x, axis=None)).min() >= 0.01


@many
@given(x=strategies.images(distinct=True, away_from=0.0))
def test_distinct_numbers_stay_away_too(x):
    assert abs(x).min() >= 0.1 - 1e-12


def test_a_failing_picture_shrinks_to_the_smallest():
    x = find(
        strategies.images(), lambda x: x.shape[3] >= 2, settings=settings(database=None, derandomize=True)
    )
    assert x.shape == (1, 1, 1, 2)


# ---- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 3), (6,)])
def test_another_layout_holds_the_same_numbers(layout, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = laid_out(x, layout)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    np.testing.assert_array_equal(y, x)


LAID_OUT = {
    "contiguous": lambda x: x.flags.c_contiguous,
    "batch last": lambda x: x.transpose(1, 2, 3, 0).flags.c_contiguous and not x.flags.c_contiguous,
    "every other": lambda x: x.strides[-1] == 2 * x.itemsize,
    "reversed": lambda x: x.strides[-1] == -x.itemsize,
    "fortran": lambda x: x.flags.f_contiguous and not x.flags.c_contiguous,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_what_its_name_says_and_no_other(layout):
    x = laid_out(np.zeros((3, 2, 4, 5)), layout)
    assert {name for name, holds in LAID_OUT.items() if holds(x)} == {layout}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_really_occurs(layout):
    assert drawn(
        strategies.images(),
        lambda x: min(x.shape) > 1 and {n for n, holds in LAID_OUT.items() if holds(x)} == {layout},
    )


# ---- labels ----------------------------------------------------------------------------------------


@many
@given(
    data=st.data(), count=st.integers(1, 20), classes=st.sampled_from([1, 2, 10, 128, 129, 256, 257, 1000])
)
def test_labels_are_classes_whatever_their_type(data, count, classes):
    labels = data.draw(strategies.labels(count, classes))
    assert labels.shape == (count,)
    assert labels.dtype.kind in "iu"
    assert 0 <= labels.min() <= labels.max() < classes


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64"])
def test_labels_come_in_every_type_that_can_hold_them(dtype):
    assert drawn(strategies.labels(4, 10), lambda labels: labels.dtype == dtype)


# ---- geometry --------------------------------------------------------------------------------------


@many
@given(case=strategies.window_geometry())
def test_a_window_fits_into_its_picture(case):
    kernel, stride, padding, size = case
    assert min(shapes.output_sizes(size, kernel, stride, padding)) >= 1


@many
@given(case=strategies.poolings())
def test_a_pooling_takes_its_arguments_and_its_input(case):
    arguments, (H, W) = case
    for layer in (MaxPool2D(**arguments), AvgPool2D(**arguments)):
        assert layer.forward(np.zeros((1, 1, H, W))).size >= 1


@many
@given(case=strategies.convolutions())
def test_a_convolution_takes_its_arguments_and_its_input(case):
    arguments, (H, W) = case
    layer = Conv2D(**arguments)
    assert layer.forward(np.zeros((1, arguments["in_channels"], H, W), np.float32)).size >= 1


@pytest.mark.parametrize(
    "odd",
    [
        lambda k, s, p, size: s < k,  # windows overlap
        lambda k, s, p, size: s > k,  # gaps between them
        lambda k, s, p, size: (size + 2 * p - k) % s != 0,  # they do not tile the picture
        lambda k, s, p, size: p > 0,
        lambda k, s, p, size: k > size,  # the window is larger than the picture without its padding
        lambda k, s, p, size: k == size + 2 * p,  # it fits once
    ],
)
def test_odd_geometry_really_occurs(odd):
    assert drawn(strategies.window_geometry(), lambda case: odd(*(pair[0] for pair in case)))
    assert drawn(strategies.window_geometry(), lambda case: odd(*(pair[1] for pair in case)))


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_every_number_of_groups_and_either_bias_really_occur(groups, bias):
    assert drawn(
        strategies.convolutions(), lambda case: case[0]["groups"] == groups and case[0]["bias"] == bias
    )


# ---- three lines for a layer of one's own ----------------------------------------------------------


class Leaky(Layer):
    """y = x above 0, slope * x below"""

    def __init__(self, slope=0.1):
        self.slope = slope

    def forward(self, x):
        self.save(x=x)
        return self.xp.where(x > 0, x, self.slope * x)

    def backward(self, grad_y):
        return self.xp.where(self.saved.x > 0, grad_y, self.slope * grad_y)


class LeakyThatForgetsItsSlope(Leaky):
    def backward(self, grad_y):
        return grad_y * (self.saved.x > 0)


@given(x=strategies.images(away_from=0.0))
def test_three_lines_test_a_layer_of_ones_own(x):
    assert gradcheck(Leaky(), x)


def test_three_lines_find_the_bug_in_a_layer_of_ones_own():
    @without_shrinking
    @given(x=strategies.images(away_from=0.0))
    def test_my_layer(x):
        assert gradcheck(LeakyThatForgetsItsSlope(), x)

    with pytest.raises(AssertionError, match="bug"):
        test_my_layer()
