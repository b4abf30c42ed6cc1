"""LocalResponseNorm holds to its definition in naive.py, at constants at which every term counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy
from minialex.layers.norm import SameMapNorm


@st.composite
def normalisations(draw):
    """Arguments for a LocalResponseNorm, and the channels of an input that it can take."""
    groups = draw(st.integers(1, 3))
    arguments = {
        "size": draw(st.sampled_from([1, 3, 5, 7])),
        "alpha": draw(st.sampled_from([0.6, 1.0, 1.4])),
        "beta": draw(st.sampled_from([0.5, 0.75, 1.0])),
        "k": draw(st.sampled_from([0.7, 1.0, 2.0])),
        "groups": groups,
    }
    return arguments, groups * draw(st.integers(1, 6))


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def pixel(*channels):
    return np.array(channels, float).reshape(1, -1, 1, 1)


@given(data=st.data(), drawn=normalisations())
def test_lrn_is_its_definition(device, data, drawn):
    arguments, channels = drawn
    x = data.draw(strategies.images(channels=channels, max_side=4))
    layer = mx.LocalResponseNorm(**arguments).to(device)
    close(layer.forward(device.asarray(x)), naive.local_response_norm(x, **arguments))


@given(data=st.data(), drawn=normalisations())
def test_lrn_backward_is_its_definition(device, data, drawn):
    arguments, channels = drawn
    x = data.draw(strategies.images(channels=channels, max_side=4))
    grad_y = data.draw(strategies.arrays(x.shape))
    layer = mx.LocalResponseNorm(**arguments).to(device)
    layer.forward(device.asarray(x))
    close(layer.backward(device.asarray(grad_y)), naive.local_response_norm_backward(x, grad_y, **arguments))


@settings(max_examples=12)
@given(data=st.data(), drawn=normalisations())
def test_lrn_gradients(device, data, drawn):
    arguments, channels = drawn
    x = data.draw(strategies.images(channels=channels, max_batch=2, max_side=2))
    assert mx.gradcheck(mx.LocalResponseNorm(**arguments).to(device), x)


def test_lrn_sums_the_squares_of_its_neighbours_and_does_not_divide_alpha(device):
    layer = mx.LocalResponseNorm(size=3, alpha=1.0, beta=1.0, k=1.0).to(device)
    # 1 + 1 + 4,  1 + 1 + 4 + 9,  1 + 4 + 9 + 16,  1 + 9 + 16
    close(layer.forward(device.asarray(pixel(1, 2, 3, 4))), pixel(1 / 6, 2 / 15, 3 / 30, 4 / 26))


def test_lrn_windows_end_at_their_group(device):
    layer = mx.LocalResponseNorm(size=3, alpha=1.0, beta=1.0, k=1.0, groups=2).to(device)
    close(layer.forward(device.asarray(pixel(1, 2, 3, 4))), pixel(1 / 6, 2 / 6, 3 / 26, 4 / 26))


def test_lrn_takes_a_window_of_one_channel(device):
    layer = mx.LocalResponseNorm(size=1, alpha=1.0, beta=1.0, k=1.0).to(device)
    close(layer.forward(device.asarray(pixel(1, 2))), pixel(1 / 2, 2 / 5))


def test_lrn_without_arguments_is_the_paper_s(device):
    x = 100 * np.random.default_rng(0).normal(size=(1, 8, 2, 2))  # so large that alpha counts
    expected = naive.local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0)
    close(mx.LocalResponseNorm().to(device).forward(device.asarray(x)), expected)


@pytest.mark.parametrize("layer", [mx.LocalResponseNorm, SameMapNorm])
@pytest.mark.parametrize("size", [2, 4])
def test_normalisations_refuse_an_even_size(layer, size):
    with pytest.raises(
        ValueError, match=f"{layer.__name__}: size {size} is even, .* use {size - 1} or {size + 1}"
    ):
        layer(size)


@pytest.mark.parametrize("name", ["size", "groups"])
def test_lrn_refuses_sizes_that_make_no_sense(name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number >= 1, not -1"):
        mx.LocalResponseNorm(**{name: -1})


def test_lrn_refuses_channels_that_its_groups_do_not_divide(device):
    layer = mx.LocalResponseNorm(groups=2).to(device)
    with pytest.raises(
        ValueError, match=r"LocalResponseNorm: 2 groups must divide the 5 channels of \(1, 5, 1, 1\)"
    ):
        layer.forward(device.asarray(pixel(1, 2, 3, 4, 5)))


# The other normalisation of the code of 2012, within each map


def same_map_norm(x, size, alpha, beta, k):
    """The definition, pixel by pixel."""
    y, reach = np.empty(x.shape), size // 2
    for n, c, i, j in np.ndindex(x.shape):
        near = x[n, c, max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1]
        y[n, c, i, j] = x[n, c, i, j] / (k + alpha * (near**2).sum()) ** beta
    return y


@given(x=strategies.images(), size=st.sampled_from([1, 3, 5]))
def test_same_map_norm_is_its_definition(device, x, size):
    constants = {"size": size, "alpha": 0.8, "beta": 0.75, "k": 1.2}
    close(SameMapNorm(**constants).to(device).forward(device.asarray(x)), same_map_norm(x, **constants))


@settings(max_examples=12)
@given(x=strategies.images(max_batch=2, max_side=4), size=st.sampled_from([1, 3, 5]))
def test_same_map_norm_gradients(device, x, size):
    assert mx.gradcheck(SameMapNorm(size, alpha=0.8, beta=0.75, k=1.2).to(device), x)


def test_same_map_norm_without_arguments_is_the_released_code_s(device):
    x = 100 * np.random.default_rng(0).normal(size=(1, 2, 7, 6))  # so large that alpha counts
    close(SameMapNorm().to(device).forward(device.asarray(x)), same_map_norm(x, 5, 0.001 / 25, 0.75, 1.0))
