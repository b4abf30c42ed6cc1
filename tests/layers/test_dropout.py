"""Dropout holds to its definition in naive.py; its masks depend on seed, name and step, and on nothing else."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy

scalings = st.sampled_from(["inverted", "test-time"])
each_scaling = pytest.mark.parametrize("scaling", ["inverted", "test-time"])


def close(actual, expected, rtol=1e-13):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def masks_like(x):
    return st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).random(x.shape) < 0.5)


@given(x=strategies.images(max_side=5), p=st.sampled_from([0.0, 0.2, 0.75]), scaling=scalings, training=st.booleans(),
       data=st.data())  # fmt: skip
def test_dropout_is_its_definition(device, x, p, scaling, training, data):
    layer, mask = mx.Dropout(p, scaling).to(device).train(training), data.draw(masks_like(x))
    close(
        layer.forward(device.asarray(x), device.asarray(mask)), naive.dropout(x, mask, p, scaling, training)
    )


@given(x=strategies.images(max_side=5), p=st.sampled_from([0.0, 0.2, 0.75]), scaling=scalings, training=st.booleans(),
       data=st.data())  # fmt: skip
def test_dropout_backward_is_its_definition(device, x, p, scaling, training, data):
    layer, mask = mx.Dropout(p, scaling).to(device).train(training), data.draw(masks_like(x))
    grad_y = data.draw(strategies.arrays(x.shape))
    layer.forward(device.asarray(x), device.asarray(mask))
    grad_x = layer.backward(device.asarray(grad_y))
    close(grad_x, naive.dropout_backward(grad_y, mask, p, scaling, training))


@each_scaling
@pytest.mark.parametrize("training", [True, False])
def test_dropout_gradients(device, scaling, training):
    layer = mx.Dropout(0.4, scaling).to(device).train(training)
    assert mx.gradcheck(layer, np.random.default_rng(0).normal(size=(3, 20)))


@each_scaling
def test_dropout_backward_holds_the_mask_of_its_forward(device, scaling):
    layer = mx.Dropout(0.5, scaling).to(device)
    ones = device.asarray(np.ones((4, 50)))
    for _ in range(2):  # the second mask is another one
        y = layer.forward(ones)
        np.testing.assert_array_equal(to_numpy(layer.backward(ones)), to_numpy(y))


@each_scaling
def test_dropout_keeps_the_mean(device, scaling):
    layer, x = mx.Dropout(0.3, scaling).to(device), device.asarray(np.ones((1, 100_000)))
    trained, evaluated = (to_numpy(layer.train(mode).forward(x)).mean() for mode in (True, False))
    assert trained == pytest.approx(evaluated, rel=0.01)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_with_probability_p(p):
    assert (~mx.Dropout(p).draw_mask((100_000,))).mean() == pytest.approx(p, abs=0.01)


def test_dropout_with_p_of_zero_changes_nothing(device):
    x = np.random.default_rng(0).normal(size=(2, 9))
    close(mx.Dropout(0).to(device).forward(device.asarray(x)), x)


def test_dropout_draws_the_same_masks_on_every_device(device):
    y = mx.Dropout(seed=3).to(device).forward(device.asarray(np.ones((4, 30))))
    close(y, mx.Dropout(seed=3).forward(np.ones((4, 30))))


def test_dropout_masks_do_not_depend_on_the_dtype(device):
    ones = np.ones((4, 30))
    single = mx.Dropout().to(device).forward(device.asarray(ones.astype(np.float32)))
    np.testing.assert_array_equal(to_numpy(single), mx.Dropout().forward(ones).astype(np.float32))


def test_dropout_draws_another_mask_for_each_step_seed_and_layer():
    def layer(seed, name):
        made = mx.Dropout(seed=seed)
        made.name = name
        return made

    first = layer(0, "a")
    masks = [first.draw_mask((50,)), first.draw_mask((50,)), layer(1, "a").draw_mask((50,)),
             layer(0, "b").draw_mask((50,))]  # fmt: skip
    assert len({mask.tobytes() for mask in masks}) == 4


def test_dropout_counts_its_steps_in_training_only(device):
    layer, x = mx.Dropout().to(device), device.asarray(np.ones((1, 2)))
    for mode in (True, True, False):
        layer.train(mode).forward(x)
    assert layer.counters() == {"step": 2}


def test_dropout_set_back_draws_the_same_mask_again(device):
    layer, x = mx.Dropout().to(device), device.asarray(np.ones((1, 50)))
    layer.forward(x)
    counters = layer.counters()
    second = to_numpy(layer.forward(x))
    layer.set_counters(counters)
    close(layer.forward(x), second)


def test_dropout_with_a_mask_given_draws_none(device):
    layer, x = mx.Dropout().to(device), device.asarray(np.ones((1, 2)))
    layer.forward(x, x)
    assert layer.counters() == {"step": 0}


def test_dropout_copied_goes_on_by_itself():
    layer = mx.Dropout()
    twin = copy.deepcopy(layer)
    twin.draw_mask((1,))
    assert (layer.step, twin.step) == (0, 1)


def test_dropout_does_not_touch_the_mask_given(device):
    mask = np.array([[0.0, 1.0]])
    on_device = device.asarray(mask.copy())
    mx.Dropout(0.5).to(device).forward(device.asarray(np.ones((1, 2))), on_device)
    close(on_device, mask)


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, float("nan")])
def test_dropout_refuses_a_p_that_is_no_probability_below_one(p):
    with pytest.raises(ValueError, match="p must be at least 0 and less than 1, not"):
        mx.Dropout(p)


def test_dropout_refuses_an_unknown_scaling():
    with pytest.raises(ValueError, match='scaling must be "inverted" or "test-time", not \'none\''):
        mx.Dropout(scaling="none")


def test_dropout_refuses_a_mask_of_another_shape(device):
    layer, ones = mx.Dropout().to(device), np.ones((2, 3))
    with pytest.raises(ValueError, match=r"Dropout: the mask has shape \(1, 3\), the input \(2, 3\)"):
        layer.forward(device.asarray(ones), device.asarray(ones[:1]))


def test_dropout_refuses_a_mask_that_is_no_array(device):
    with pytest.raises(TypeError, match="Dropout takes a NumPy or CuPy array, the mask is a list"):
        mx.Dropout().to(device).forward(device.asarray(np.ones((1, 2))), [[1, 0]])


def test_dropout_refuses_a_mask_on_another_device():
    x = mx.Device("sim:1").asarray(np.ones((1, 2)))
    with pytest.raises(mx.DeviceMismatch, match="Dropout is on sim:1, the mask on cpu"):
        mx.Dropout().to("sim:1").forward(x, np.ones((1, 2)))


@pytest.mark.parametrize("wrong", [2, -1, 0.5, float("nan")])
@pytest.mark.parametrize("fast", [True, False])
def test_dropout_refuses_a_mask_with_other_numbers_than_0_and_1(wrong, fast):
    mask = np.array([[1, 0, wrong]])
    message = f"^Dropout: a mask is 1, or 0 for what is left out; in this one stands {wrong}"
    with nullcontext() if fast else mx.textbook(), pytest.raises(ValueError, match=message):
        mx.Dropout().forward(np.ones((1, 3), np.float32), mask)


def test_dropout_refuses_a_mask_of_no_such_numbers():
    layer, x = mx.Dropout(), np.ones((1, 2), np.float32)
    for mask in (np.array([[1j, 0]]), np.array([["1", "0"]])):
        with pytest.raises(
            mx.DtypeMismatch, match=f"^Dropout: a mask is 1, or 0 .* this one is {mask.dtype}"
        ):
            layer.forward(x, mask)
    with pytest.raises(ValueError, match=r"^Dropout: the array mask= has a mask that hides 1 number"):
        layer.forward(x, np.ma.array([[1, 0]], mask=[[0, 1]]))
