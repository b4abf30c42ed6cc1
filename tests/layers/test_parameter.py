"""A Parameter: what is misspelt is refused, what a learner keeps there stays."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest

from minialex import BatchNorm2D, Buffer, DtypeMismatch, Parameter, textbook
from minialex.layers import Constant


def parameter():
    return Parameter(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gard", "grad"),
        ("lr_scael", "lr_scale"),
        ("Decay", "decay"),
        ("valeu", "value"),
        ("proximals", "proximal"),
    ],
)
def test_a_misspelt_name_is_refused(name, meant):
    p = parameter()
    with pytest.raises(AttributeError, match=rf"^a Parameter has no {name} \(did you mean {meant}\?\)$"):
        setattr(p, name, 0)
    assert not hasattr(p, name)


@pytest.mark.parametrize("name", ["velocity", "m", "old_grad", "old_value", "second_moment"])
def test_what_an_own_rule_keeps_there_stays(name):
    p = parameter()
    setattr(p, name, np.zeros(3))
    for other in (p, copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert getattr(other, name).shape == (3,)


@pytest.mark.parametrize(("wrong", "kind"), [([1, 2], "a list"), (1.0, "a float"), ("x", "a str")])
def test_a_gradient_is_an_array(wrong, kind):
    p = parameter()
    p.grad = before = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match=f"^this Parameter: its grad is an array, not {kind}$"):
        p.grad = wrong
    assert p.grad is before
    p.grad = None
    assert p.grad is None


def test_a_gradient_that_is_a_number_of_numpy_becomes_an_array():
    p = Parameter(np.float32(2))
    p.grad = np.float32(3)
    assert type(p.grad) is np.ndarray
    assert p.grad == 3


@pytest.mark.parametrize("kind", [Buffer, Constant])
@pytest.mark.parametrize(("wrong", "what"), [([1], "a list"), ("x", "a str"), (None, "a NoneType")])
def test_what_a_layer_keeps_is_an_array_from_the_start(kind, wrong, what):
    with pytest.raises(TypeError, match=f"^{kind.__name__} takes an array, or np.float32.*, not {what}$"):
        kind(wrong)


def test_a_buffer_is_of_numbers():
    for good in (np.float32(2), np.arange(3), np.ones(2, bool)):
        assert Buffer(good).value.shape == np.shape(good)
    with pytest.raises(TypeError, match=r"^Buffer takes an array of numbers, not one of <U1"):
        Buffer(np.array(["a"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([0, 0], "running_mean: its value is an array, not a list"),
        (0.0, "running_mean: its value is an array, not a float"),
        (np.zeros(3, np.float32), r"running_mean has shape \(2,\); the array has shape \(3,\)"),
        (
            np.zeros(2, int),
            r'running_mean is of float32; the array is of int64: use array.astype\("float32"\)',
        ),
        (np.ma.array(np.zeros(2, np.float32), mask=[0, 1]), "the array has a mask that hides 1 number"),
    ],
)
def test_what_takes_a_buffers_place_is_like_it(wrong, message):
    buffer = BatchNorm2D(2).running_mean
    before = buffer.value
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        buffer.value = wrong
    assert buffer.value is before


@pytest.mark.parametrize("name", ["running_mean", "running_var", "bias"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_an_array_of_another_type_than_its_layers_is_named(name, training, fast):
    layer = BatchNorm2D(2).train(training)
    getattr(layer, name).value = np.ones(2)
    message = f"^BatchNorm2D computes in float32, its {name} is float64: use layer.astype\\('float32'\\)"
    x = np.ones((2, 2, 2, 2), np.float32)
    with nullcontext() if fast else textbook(), pytest.raises(DtypeMismatch, match=message):
        layer.forward(x)
    assert layer.astype("float32").forward(x).dtype == np.float32
