"""ReLU, Sigmoid and Tanh hold to their definitions in naive.py, in any shape; the kink has tests of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy

anything = st.one_of(strategies.images(max_side=5), strategies.vectors())
scales = st.sampled_from([0.5, 1.7159, -2.0])
slopes = st.sampled_from([2 / 3, 1.5, -0.5])


def close(actual, expected, rtol=1e-13):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


@given(x=anything)
def test_relu_is_its_definition(device, x):
    close(mx.ReLU().to(device).forward(device.asarray(x)), naive.relu(x))


@given(x=anything, data=st.data())
def test_relu_backward_is_its_definition(device, x, data):
    layer, grad_y = mx.ReLU().to(device), data.draw(strategies.arrays(x.shape))
    layer.forward(device.asarray(x))
    close(layer.backward(device.asarray(grad_y)), naive.relu_backward(x, grad_y))


@settings(max_examples=10)
@given(x=strategies.images(max_side=4, away_from=0.0))
def test_relu_gradients(device, x):
    assert mx.gradcheck(mx.ReLU().to(device), x)


def test_relu_has_no_gradient_at_zero_and_below(device):
    layer = mx.ReLU().to(device)
    layer.forward(device.asarray(np.array([-1.0, -0.0, 0.0, 1.0])))
    close(layer.backward(device.asarray(np.array([1.0, 2.0, 3.0, 4.0]))), np.array([0.0, 0.0, 0.0, 4.0]))


@given(x=anything)
def test_sigmoid_is_its_definition(device, x):
    close(mx.Sigmoid().to(device).forward(device.asarray(x)), naive.sigmoid(x))


@given(x=anything, data=st.data())
def test_sigmoid_backward_is_its_definition(device, x, data):
    layer, grad_y = mx.Sigmoid().to(device), data.draw(strategies.arrays(x.shape))
    layer.forward(device.asarray(x))
    close(layer.backward(device.asarray(grad_y)), naive.sigmoid_backward(x, grad_y))


@settings(max_examples=10)
@given(x=strategies.images(max_side=4))
def test_sigmoid_gradients(device, x):
    assert mx.gradcheck(mx.Sigmoid().to(device), x)


def test_sigmoid_does_not_overflow(device):
    layer = mx.Sigmoid().to(device)
    y = layer.forward(device.asarray(np.array([-1e4, -100.0, 100.0, 1e4], np.float32)))
    close(y, np.array([0, np.exp(-100.0), 1, 1], np.float32))
    close(layer.backward(y), np.zeros(4, np.float32))


@given(x=anything, scale=scales, slope=slopes)
def test_tanh_is_its_definition(device, x, scale, slope):
    close(mx.Tanh(scale, slope).to(device).forward(device.asarray(x)), naive.tanh(x, scale, slope))


@given(x=anything, scale=scales, slope=slopes, data=st.data())
def test_tanh_backward_is_its_definition(device, x, scale, slope, data):
    layer, grad_y = mx.Tanh(scale, slope).to(device), data.draw(strategies.arrays(x.shape))
    layer.forward(device.asarray(x))
    close(layer.backward(device.asarray(grad_y)), naive.tanh_backward(x, grad_y, scale, slope))


@settings(max_examples=10)
@given(x=strategies.images(max_side=4), scale=scales, slope=slopes)
def test_tanh_gradients(device, x, scale, slope):
    assert mx.gradcheck(mx.Tanh(scale, slope).to(device), x)


def test_tanh_without_arguments_is_the_hyperbolic_tangent(device):
    x = np.array([-2.0, 0.3, 5.0])
    close(mx.Tanh().to(device).forward(device.asarray(x)), np.tanh(x))


def test_tanh_of_1998_takes_one_to_one(device):
    layer = mx.Tanh(scale=1.7159, slope=2 / 3).to(device)
    close(layer.forward(device.asarray(np.array([-1.0, 1.0]))), np.array([-1.0, 1.0]), rtol=1e-4)


def test_tanh_refuses_a_scale_of_zero():
    with pytest.raises(ValueError, match="Tanh: scale must not be 0"):
        mx.Tanh(scale=0)
