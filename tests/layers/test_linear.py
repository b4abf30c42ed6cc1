"""Linear, Flatten and RBF hold to their definitions in naive.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def linear(in_features, out_features, device):
    layer = mx.Linear(in_features, out_features).astype("float64")
    layer.weight.value, layer.bias.value = normal((out_features, in_features), 1), normal(out_features, 2)
    return layer.to(device)


@given(x=strategies.vectors(), out_features=st.integers(1, 5))
def test_linear_is_its_definition(device, x, out_features):
    layer = linear(x.shape[1], out_features, device)
    expected = naive.linear(x, to_numpy(layer.weight.value), to_numpy(layer.bias.value))
    close(layer.forward(device.asarray(x)), expected)


@given(x=strategies.vectors(), out_features=st.integers(1, 5), data=st.data())
def test_linear_backward_is_its_definition(device, x, out_features, data):
    layer = linear(x.shape[1], out_features, device)
    y = layer.forward(device.asarray(x))
    grad_y = data.draw(strategies.arrays(y.shape))
    grad_x = layer.backward(device.asarray(grad_y))
    expected = naive.linear_backward(x, to_numpy(layer.weight.value), grad_y)
    for actual, wanted in zip((grad_x, layer.weight.grad, layer.bias.grad), expected, strict=True):
        close(actual, wanted)


@settings(max_examples=10)
@given(x=strategies.vectors(), out_features=st.integers(1, 5))
def test_linear_gradients(device, x, out_features):
    assert mx.gradcheck(linear(x.shape[1], out_features, device), x)


def test_linear_bias_gradient_sums_over_the_batch(device):
    layer = mx.Linear(1, 2).to(device)
    layer.forward(device.asarray(np.zeros((3, 1), np.float32)))
    layer.backward(device.asarray(np.array([[1, 2], [10, 20], [100, 200]], np.float32)))
    close(layer.bias.grad, np.array([111, 222], np.float32))


def test_linear_draws_xavier_weights_and_zero_biases():
    layer, limit = mx.Linear(30, 20), np.sqrt(6 / 50)
    assert 0.95 * limit < abs(layer.weight.value).max() <= np.float32(limit)
    assert layer.weight.value.shape == (20, 30)
    assert not layer.bias.value.any()


def test_linear_draws_the_same_weights_from_the_same_seed():
    first, second, other = (mx.Linear(3, 4, rng=seed).weight.value for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_linear_decays_its_weight_and_not_its_bias():
    assert [(p.name, p.decay) for p in mx.Linear(2, 3).parameters()] == [("weight", True), ("bias", False)]


def test_linear_counts_the_multiplications_of_alexnet_s_last_layer():
    assert mx.Linear(4096, 1000).multiply_adds((2, 4096), (2, 1000)) == 2 * 4_096_000


def test_linear_names_the_features_it_got(device):
    with pytest.raises(ValueError, match=r"Linear has 3 input features, the input 4: shape \(2, 4\)"):
        mx.Linear(3, 2).to(device).forward(device.asarray(np.zeros((2, 4), np.float32)))


@pytest.mark.parametrize(("sizes", "name"), [((0, 1), "in_features"), ((1, 1.5), "out_features")])
def test_linear_refuses_sizes_that_make_no_sense(sizes, name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number >= 1"):
        mx.Linear(*sizes)


# Flatten


@given(x=strategies.images())
def test_flatten_goes_channel_by_channel_and_row_by_row(device, x):
    close(mx.Flatten().to(device).forward(device.asarray(x)), x.reshape(len(x), -1))


@given(x=strategies.images())
def test_flatten_backward_puts_everything_back(device, x):
    layer = mx.Flatten().to(device)
    close(layer.backward(layer.forward(device.asarray(x))), x)


# RBF


@given(x=strategies.vectors(), classes=st.integers(1, 5))
def test_rbf_is_its_definition(device, x, classes):
    codes = normal((classes, x.shape[1])).astype(np.float32)
    layer = mx.RBF(codes).astype("float64").to(device)
    close(layer.forward(device.asarray(x)), naive.rbf(x, codes))


@given(x=strategies.vectors(), classes=st.integers(1, 5), data=st.data())
def test_rbf_backward_is_its_definition(device, x, classes, data):
    codes = normal((classes, x.shape[1])).astype(np.float32)
    layer = mx.RBF(codes).astype("float64").to(device)
    y = layer.forward(device.asarray(x))
    grad_y = data.draw(strategies.arrays(y.shape))
    close(layer.backward(device.asarray(grad_y)), naive.rbf_backward(x, codes, grad_y))


@settings(max_examples=10)
@given(x=strategies.vectors(), classes=st.integers(1, 5))
def test_rbf_gradients(device, x, classes):
    assert mx.gradcheck(mx.RBF(normal((classes, x.shape[1]))).to(device), x)


def test_rbf_is_largest_where_the_code_is_nearest(device):
    codes = np.sign(normal((5, 20)))
    y = mx.RBF(codes).to(device).forward(device.asarray((codes * 0.9).astype(np.float32)))
    assert to_numpy(y).argmax(axis=1).tolist() == [0, 1, 2, 3, 4]


def test_rbf_codes_are_no_parameters_but_move_with_the_layer(device):
    layer = mx.RBF([[1, -1]]).to(device)
    assert layer.parameters() == []
    assert mx.device_of(layer.codes.value) is device


def test_rbf_computes_in_the_dtype_of_its_codes(device):
    layer = mx.RBF([[1, -1]]).to(device)
    with pytest.raises(mx.DtypeMismatch, match="RBF computes in float32, the input is float64"):
        layer.forward(device.asarray(np.zeros((1, 2))))
    assert layer.astype("float64").forward(device.asarray(np.zeros((1, 2)))).dtype == np.float64


def test_rbf_counts_its_multiplications():
    assert mx.RBF(np.ones((10, 84))).multiply_adds((3, 84), (3, 10)) == 3 * 840


def test_rbf_names_the_features_it_got(device):
    with pytest.raises(ValueError, match="RBF has codes of 2 features, the input 3"):
        mx.RBF([[1, -1]]).to(device).forward(device.asarray(np.zeros((1, 3), np.float32)))


@pytest.mark.parametrize("codes", [[1, -1], [], [[[1]]]])
def test_rbf_refuses_codes_of_another_rank(codes):
    with pytest.raises(ValueError, match=r"RBF: codes must be \(classes, features\), not of shape"):
        mx.RBF(codes)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[1, np.nan]], "must be finite numbers, also in float32, not nan"),
        ([[1, 1], [-np.inf, 1]], "must be finite numbers, also in float32, not -inf"),
        ([[1e300, 1.0]], r"must be finite numbers, also in float32, not 1e\+300"),
        ([[1, 1j]], "are numbers, .*these are complex128"),
        ([["a", "b"]], "are numbers, .*these are <U1"),
        ([[None, 1]], "are numbers, .*these are object"),
        (["ab"], r"must be \(classes, features\), not of shape \(1,\)"),
        ([[1, 2], [3]], r"must be \(classes, features\): a row for each class, all of one length"),
    ],
)
def test_rbf_refuses_codes_that_are_no_rows_of_finite_numbers(codes, message):
    with pytest.raises((TypeError, ValueError), match=f"^RBF: codes {message}"):
        mx.RBF(codes)


def test_rbf_refuses_codes_of_which_a_mask_hides_some():
    codes = np.ma.array([[1, 2], [3, 4]], mask=[[0, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"^RBF: the array of codes has a mask that hides 1 number"):
        mx.RBF(codes)


def test_rbf_keeps_its_codes_whoever_writes_into_the_array():
    codes = np.ones((2, 3), np.float32)
    layer = mx.RBF(codes)
    codes[:] = 7
    assert layer.codes.value.max() == 1
