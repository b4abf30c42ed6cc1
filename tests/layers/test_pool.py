"""MaxPool2D, AvgPool2D and Subsampling hold to their definitions in naive.py; ties have tests of their own."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy

POOLINGS = {
    mx.MaxPool2D: (naive.max_pool2d, naive.max_pool2d_backward),
    mx.AvgPool2D: (naive.avg_pool2d, naive.avg_pool2d_backward),
}
each_pooling = pytest.mark.parametrize("pooling", POOLINGS, ids=lambda pooling: pooling.__name__)


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def picture(rows, dtype=np.float32):
    return np.array(rows, dtype)[None, None]


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def pixels(data, size, **options):
    return data.draw(
        strategies.arrays((data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)), *size), **options)
    )


@each_pooling
@given(data=st.data(), geometry=strategies.poolings())
def test_pooling_is_its_definition(device, pooling, data, geometry):
    arguments, size = geometry
    x = pixels(data, size)
    close(pooling(**arguments).to(device).forward(device.asarray(x)), POOLINGS[pooling][0](x, **arguments))


@each_pooling
@given(data=st.data(), geometry=strategies.poolings())
def test_pooling_backward_is_its_definition(device, pooling, data, geometry):
    arguments, size = geometry
    x, layer = pixels(data, size), pooling(**arguments).to(device)
    y = layer.forward(device.asarray(x))
    grad_y = data.draw(strategies.arrays(y.shape))
    close(layer.backward(device.asarray(grad_y)), POOLINGS[pooling][1](x, grad_y, **arguments))


@each_pooling
@settings(max_examples=10)
@given(data=st.data(), geometry=strategies.poolings())
def test_pooling_gradients(device, pooling, data, geometry):
    arguments, size = geometry
    x = data.draw(strategies.arrays((1, 2, *size), distinct=True))
    assert mx.gradcheck(pooling(**arguments).to(device), x)


@given(data=st.data(), geometry=strategies.poolings())
def test_max_pool_backward_gives_ties_to_the_first_maximum(device, data, geometry):
    arguments, size = geometry
    x = np.round(pixels(data, size))  # five different numbers: nearly every window has a tie
    layer = mx.MaxPool2D(**arguments).to(device)
    y = layer.forward(device.asarray(x))
    grad_y = normal(y.shape)
    close(layer.backward(device.asarray(grad_y)), naive.max_pool2d_backward(x, grad_y, **arguments))


def test_max_pool_gives_a_tie_to_the_first_maximum_in_row_order(device):
    layer = mx.MaxPool2D(2).to(device)
    layer.forward(device.asarray(picture([[1, 5], [5, 5]])))
    close(layer.backward(device.asarray(picture([[3]]))), picture([[0, 3], [0, 0]]))


def test_max_pool_gives_each_overlapping_window_its_own_first_maximum(device):
    layer = mx.MaxPool2D(2, stride=1).to(device)
    layer.forward(device.asarray(picture([[0, 7, 0], [7, 7, 7]])))
    # left window: 7 at (0, 1) comes first; right window: the same pixel
    close(layer.backward(device.asarray(picture([[1, 10]]))), picture([[0, 11, 0], [0, 0, 0]]))


def test_max_pool_padding_never_wins_over_negative_pixels(device):
    layer = mx.MaxPool2D(2, padding=1).to(device)
    y = layer.forward(device.asarray(picture([[-1, -2], [-3, -4]])))
    close(y, picture([[-1, -2], [-3, -4]]))
    close(layer.backward(device.asarray(picture([[1, 2], [3, 4]]))), picture([[1, 2], [3, 4]]))


@given(data=st.data(), geometry=strategies.poolings())
def test_max_pool_of_negative_pixels_is_its_definition(device, data, geometry):
    arguments, size = geometry
    x = pixels(data, size) - 3  # all below -1
    close(mx.MaxPool2D(**arguments).to(device).forward(device.asarray(x)), naive.max_pool2d(x, **arguments))


def test_max_pool_remembers_winners_in_windows_of_more_than_256_cells(device):
    x = np.zeros((1, 1, 17, 17), np.float32)
    x[0, 0, 16, 3] = 1  # cell 275
    layer = mx.MaxPool2D(17).to(device)
    layer.forward(device.asarray(x))
    close(layer.backward(device.asarray(picture([[5]]))), 5 * x)


def test_avg_pool_counts_the_zeros_of_its_padding(device):
    layer = mx.AvgPool2D(2, padding=1).to(device)
    close(layer.forward(device.asarray(picture([[4, 8], [12, 16]]))), picture([[1, 2], [3, 4]]))
    close(layer.backward(device.asarray(picture([[4, 8], [12, 16]]))), picture([[1, 2], [3, 4]]))


def test_avg_pool_backward_gives_overlapping_shares_to_a_pixel(device):
    layer = mx.AvgPool2D((1, 2), stride=1).to(device)
    layer.forward(device.asarray(picture([[0, 0, 0]])))
    close(layer.backward(device.asarray(picture([[2, 20]]))), picture([[1, 11, 10]]))


@each_pooling
def test_pooling_strides_by_its_kernel_when_nothing_is_said(pooling):
    assert pooling((3, 2)).stride == (3, 2)
    assert pooling(3, stride=1).stride == (1, 1)


@each_pooling
@pytest.mark.parametrize(("kernel", "padding"), [(2, 2), ((4, 1), 1), ((1, 4), 1), (3, (0, 2))])
def test_pooling_refuses_padding_of_more_than_half_a_window(pooling, kernel, padding):
    with pytest.raises(
        ValueError, match=rf"{pooling.__name__}: padding \(.*\) is more than half of the window"
    ):
        pooling(kernel, padding=padding)


@each_pooling
def test_pooling_refuses_a_window_larger_than_the_padded_input(device, pooling):
    layer = pooling(6, padding=1).to(device)
    with pytest.raises(
        ValueError, match=r"2D: a window of 6 does not fit into 3 \+ 2\*1 padding = 5 pixels; .*3\)"
    ):
        layer.forward(device.asarray(np.zeros((1, 1, 8, 3), np.float32)))


@each_pooling
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be a whole number >= 1"),
        ({"stride": 0}, "stride must be a whole number >= 1"),
        ({"padding": -1}, "padding must be a whole number >= 0"),
    ],
)
def test_pooling_refuses_arguments_that_make_no_sense(pooling, arguments, message):
    with pytest.raises(ValueError, match=message):
        pooling(**{"kernel_size": 2, **arguments})


# Subsampling


def subsampling(channels, device):
    layer = mx.Subsampling(channels).astype("float64")
    layer.weight.value, layer.bias.value = normal(channels, 1), normal(channels, 2)
    return layer.to(device)


@given(x=strategies.images(min_side=2))
def test_subsampling_is_its_definition(device, x):
    layer = subsampling(x.shape[1], device)
    weight, bias = to_numpy(layer.weight.value), to_numpy(layer.bias.value)
    close(layer.forward(device.asarray(x)), naive.subsampling(x, weight, bias))


@given(x=strategies.images(min_side=2), data=st.data())
def test_subsampling_backward_is_its_definition(device, x, data):
    layer = subsampling(x.shape[1], device)
    y = layer.forward(device.asarray(x))
    grad_y = data.draw(strategies.arrays(y.shape))
    grad_x = layer.backward(device.asarray(grad_y))
    expected = naive.subsampling_backward(x, to_numpy(layer.weight.value), grad_y)
    for actual, wanted in zip((grad_x, layer.weight.grad, layer.bias.grad), expected, strict=True):
        close(actual, wanted)


def test_subsampling_gradients(device):
    assert mx.gradcheck(subsampling(3, device), normal((2, 3, 5, 4)))


def test_subsampling_starts_as_a_mean(device):
    y = mx.Subsampling(1).to(device).forward(device.asarray(picture([[1, 2, 9], [3, 6, 9]])))
    close(y, picture([[3]]))


def test_subsampling_has_two_numbers_a_channel():
    parameters = mx.Subsampling(6).parameters()
    assert [(p.name, p.value.shape, p.decay) for p in parameters] == [
        ("weight", (6,), True),
        ("bias", (6,), False),
    ]


def test_subsampling_names_the_channels_it_got(device):
    with pytest.raises(ValueError, match="Subsampling has 3 channels, the input 4"):
        mx.Subsampling(3).to(device).forward(device.asarray(np.zeros((1, 4, 5, 5), np.float32)))


def test_subsampling_refuses_less_than_two_by_two_pixels(device):
    with pytest.raises(ValueError, match=r"Subsampling sums 2x2 pixels; the input has shape \(1, 3, 5, 1\)"):
        mx.Subsampling(3).to(device).forward(device.asarray(np.zeros((1, 3, 5, 1), np.float32)))


def test_subsampling_needs_a_channel():
    with pytest.raises(ValueError, match="channels must be a whole number >= 1, not 0"):
        mx.Subsampling(0)


# ---- sizes rounded up, padding that does not count ----


@st.composite
def rounded_up(draw):
    arguments, size = draw(strategies.poolings())
    return {**arguments, "ceil_mode": draw(st.booleans())}, size


@each_pooling
@given(data=st.data(), geometry=rounded_up(), counted=st.booleans())
def test_pooling_rounded_up_is_its_definition(device, pooling, data, geometry, counted):
    arguments, size = geometry
    if pooling is mx.AvgPool2D:
        arguments = {**arguments, "count_include_pad": counted}
    forward, backward = POOLINGS[pooling]
    x, layer = pixels(data, size), pooling(**arguments).to(device)
    y = layer.forward(device.asarray(x))
    close(y, forward(x, **arguments))
    grad_y = normal(y.shape)
    close(layer.backward(device.asarray(grad_y)), backward(x, grad_y, **arguments))


@pytest.mark.parametrize(
    ("size", "floor", "ceil"), [(112, 55, 56), (55, 27, 27), (6, 2, 3), (5, 2, 2), (3, 1, 1)]
)
def test_a_size_is_rounded_up_where_pixels_would_be_left_out(size, floor, ceil):
    x = normal((1, 1, size, size))
    assert mx.MaxPool2D(3, 2).forward(x).shape[2:] == (floor, floor)
    assert mx.MaxPool2D(3, 2, ceil_mode=True).forward(x).shape[2:] == (ceil, ceil)


def test_no_window_begins_in_the_padding_after_the_picture():
    """One row of 3 pixels, padding 1, stride 2: a third window would begin at the right padding."""
    assert mx.MaxPool2D((1, 2), 2, padding=(0, 1), ceil_mode=True).forward(normal((1, 1, 1, 3))).shape[3] == 2


def test_a_window_that_hangs_over_is_divided_by_what_it_holds(device):
    x = np.arange(1.0, 4.0).reshape(1, 1, 1, 3)
    layer = mx.AvgPool2D((1, 2), (1, 2), ceil_mode=True).to(device)
    close(layer.forward(device.asarray(x)), np.array([[[[1.5, 3.0]]]]))
    close(layer.backward(device.asarray(np.array([[[[2.0, 5.0]]]]))), np.array([[[[1.0, 1.0, 5.0]]]]))


def test_padding_that_does_not_count_is_not_in_the_divisor(device):
    x = np.array([[[[2.0, 4.0]]]])
    for counts, y in ((True, [1.0, 2.0]), (False, [2.0, 4.0])):
        layer = mx.AvgPool2D((1, 2), (1, 2), padding=(0, 1), count_include_pad=counts).to(device)
        close(layer.forward(device.asarray(x)), np.array([[[y]]]))


# ---- means of whole maps, and of so many parts ----


SIZES, PARTS = (
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
)


@given(data=st.data(), size=SIZES, parts=PARTS)
def test_adaptive_pooling_is_its_definition(device, data, size, parts):
    x, layer = pixels(data, size), mx.AdaptiveAvgPool2D(parts).to(device)
    y = layer.forward(device.asarray(x))
    close(y, naive.adaptive_avg_pool2d(x, parts))
    grad_y = normal(y.shape)
    close(layer.backward(device.asarray(grad_y)), naive.adaptive_avg_pool2d_backward(x, grad_y))


@given(data=st.data(), size=SIZES)
def test_the_mean_of_a_map_is_its_definition(device, data, size):
    x, layer = pixels(data, size), mx.GlobalAvgPool2D().to(device)
    y = layer.forward(device.asarray(x))
    close(y, naive.global_avg_pool2d(x))
    grad_y = normal(y.shape)
    close(layer.backward(device.asarray(grad_y)), naive.global_avg_pool2d_backward(x, grad_y))


@pytest.mark.parametrize("size", [None, (3, 2), 7])
def test_gradients_of_means_of_maps(device, size):
    layer = mx.GlobalAvgPool2D() if size is None else mx.AdaptiveAvgPool2D(size)
    assert mx.gradcheck(layer.to(device), normal((2, 3, 5, 4)))


def test_an_infinite_pixel_stays_in_its_own_windows(device):
    x = np.zeros((1, 1, 1, 6))
    x[..., 0] = np.inf
    y = mx.AdaptiveAvgPool2D((1, 3)).to(device).forward(device.asarray(x))
    np.testing.assert_array_equal(to_numpy(y).ravel(), [np.inf, 0, 0])


@pytest.mark.parametrize(
    "make",
    [mx.GlobalAvgPool2D, lambda: mx.AvgPool2D(256), lambda: mx.AdaptiveAvgPool2D(1)],
    ids=["global", "avg", "adaptive"],
)
@pytest.mark.parametrize("fast", [True, False])
def test_half_precision_has_room_for_65536_cells(device, make, fast):
    layer, x = make().to(device), np.ones((1, 1, 256, 256), np.float16)
    with nullcontext() if fast else mx.textbook():
        y = layer.forward(device.asarray(x))
        grad_x = layer.backward(device.asarray(np.ones(y.shape, np.float16)))
    np.testing.assert_array_equal(to_numpy(grad_x), np.full_like(x, 2.0**-16), strict=True)
