"""Conv2D and TableConv2D hold to their definitions in naive.py, whatever the column budget."""

import re
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy
from minialex.layers.init import lecun_uniform_1998
from minialex.models.lenet import C3_TABLE

MiB = 2**20
budgets = st.sampled_from([1, 300, 2000, MiB])  # one row of one picture at a time ... all at once
tables = st.lists(st.permutations(range(4)).flatmap(lambda p: st.integers(1, 4).map(lambda n: p[:n])), min_size=1,
                  max_size=4)  # fmt: skip


@contextmanager
def column_budget(device, size):
    before, device.column_budget = device.column_budget, size
    try:
        yield
    finally:
        device.column_budget = before


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def in_float64(layer, device):
    """The layer in float64 on its device, with random weights and random biases."""
    layer.astype("float64")
    for seed, p in enumerate(layer.parameters()):
        p.value = normal(p.value.shape, seed)
    return layer.to(device)


def value_of(parameter):
    return None if parameter is None else to_numpy(parameter.value)


def close(actual, expected, rtol=1e-11):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


# Conv2D


@given(data=st.data(), geometry=strategies.convolutions(), budget=budgets)
def test_conv2d_is_its_definition(device, data, geometry, budget):
    arguments, size = geometry
    x = data.draw(strategies.arrays((data.draw(st.integers(1, 3)), arguments["in_channels"], *size)))
    layer = in_float64(mx.Conv2D(**arguments), device)
    with column_budget(device, budget):
        y = layer.forward(device.asarray(x))
    expected = naive.conv2d(
        x, value_of(layer.weight), value_of(layer.bias), layer.stride, layer.padding, layer.groups
    )
    close(y, expected)


@given(data=st.data(), geometry=strategies.convolutions(), budget=budgets)
def test_conv2d_backward_is_its_definition(device, data, geometry, budget):
    arguments, size = geometry
    x = data.draw(strategies.arrays((data.draw(st.integers(1, 3)), arguments["in_channels"], *size)))
    layer = in_float64(mx.Conv2D(**arguments), device)
    with column_budget(device, budget):
        y = layer.forward(device.asarray(x))
        grad_y = data.draw(strategies.arrays(y.shape))
        grad_x = layer.backward(device.asarray(grad_y))
    expected = naive.conv2d_backward(
        x, value_of(layer.weight), grad_y, layer.stride, layer.padding, layer.groups
    )
    close(grad_x, expected[0])
    close(layer.weight.grad, expected[1])
    if layer.bias is not None:
        close(layer.bias.grad, expected[2])


@settings(max_examples=8)
@given(data=st.data(), geometry=strategies.convolutions(max_channels=2, groups=(1, 2)))
def test_conv2d_gradients(device, data, geometry):
    arguments, size = geometry
    x = data.draw(strategies.arrays((2, arguments["in_channels"], *size)))
    assert mx.gradcheck(in_float64(mx.Conv2D(**arguments), device), x, max_entries=60)


def test_conv2d_does_not_flip_its_kernel(device):
    layer = mx.Conv2D(1, 1, 2, bias=False).to(device)
    layer.weight.value = device.asarray(np.array([[[[1, 2], [3, 4]]]], np.float32))
    x = np.array([[[[5, 6, 0], [7, 0, 0]]]], np.float32)
    close(layer.forward(device.asarray(x)), np.array([[[[5 + 12 + 21, 6]]]], np.float32))


def test_conv2d_bias_gradient_sums_over_pictures_rows_and_columns(device):
    layer = mx.Conv2D(1, 2, 1).to(device)
    layer.forward(device.asarray(np.zeros((2, 1, 2, 2), np.float32)))
    powers = 10.0 ** np.arange(8).reshape(2, 1, 2, 2)  # each digit of the sum is one place
    layer.backward(device.asarray(np.concatenate([powers, 2 * powers], axis=1).astype(np.float32)))
    close(layer.bias.grad, np.array([11111111, 22222222], np.float32))


def test_conv2d_weight_gradient_of_two_equal_pictures_is_twice_that_of_one(device):
    layer, x = in_float64(mx.Conv2D(2, 3, 2), device), normal((1, 2, 3, 4))
    grad_y = normal((1, 3, 2, 3))
    layer.forward(device.asarray(x))
    layer.backward(device.asarray(grad_y))
    once = to_numpy(layer.weight.grad)
    layer.forward(device.asarray(np.concatenate([x, x])))
    layer.backward(device.asarray(np.concatenate([grad_y, grad_y])))
    close(layer.weight.grad, 2 * once)


def test_conv2d_filters_read_only_their_own_group(device):
    layer, x = in_float64(mx.Conv2D(4, 6, 3, groups=2), device), normal((1, 4, 5, 5))
    before = to_numpy(layer.forward(device.asarray(x)))
    x[:, 2:] += 1
    after = to_numpy(layer.forward(device.asarray(x)))
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert (after[:, 3:] != before[:, 3:]).all()


def test_conv2d_without_bias_has_one_parameter():
    assert [p.name for p in mx.Conv2D(2, 3, 1, bias=False).parameters()] == ["weight"]


def test_conv2d_decays_its_weight_and_not_its_bias():
    assert [(p.name, p.decay) for p in mx.Conv2D(2, 3, 1).parameters()] == [("weight", True), ("bias", False)]


def test_conv2d_draws_xavier_weights_from_the_fans_of_one_group():
    layer = mx.Conv2D(8, 12, (3, 5), groups=2)
    limit = np.sqrt(6 / (4 * 15 + 6 * 15))
    assert 0.95 * limit < abs(layer.weight.value).max() <= np.float32(limit)
    assert layer.weight.value.shape == (12, 4, 3, 5)
    assert not layer.bias.value.any()


def test_conv2d_draws_the_same_weights_from_the_same_seed():
    first, second, other = (mx.Conv2D(3, 4, 5, rng=seed).weight.value for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    np.testing.assert_array_equal(mx.Conv2D(3, 4, 5).weight.value, mx.Conv2D(3, 4, 5, rng=0).weight.value)


def test_conv2d_counts_the_multiplications_and_columns_of_alexnet():
    conv1, conv2 = mx.Conv2D(3, 96, 11, stride=4), mx.Conv2D(96, 256, 5, padding=2, groups=2)
    assert conv1.multiply_adds((1, 3, 227, 227), (1, 96, 55, 55)) == 105_415_200
    assert conv2.multiply_adds((1, 96, 27, 27), (1, 256, 27, 27)) == 223_948_800
    assert conv1.column_bytes((2, 3, 227, 227), (2, 96, 55, 55)) == 2 * 3 * 11 * 11 * 55 * 55 * 4


def test_conv2d_names_the_channels_it_got(device):
    layer = mx.Conv2D(3, 4, 2).to(device)
    with pytest.raises(ValueError, match=r"Conv2D has 3 input channels, the input 4: shape \(1, 4, 5, 5\)"):
        layer.forward(device.asarray(np.zeros((1, 4, 5, 5), np.float32)))


def test_conv2d_refuses_a_kernel_larger_than_the_padded_input(device):
    layer = mx.Conv2D(1, 1, 6, padding=1).to(device)
    with pytest.raises(
        ValueError, match=r"Conv2D: a window of 6 does not fit into 3 \+ 2\*1 padding = 5 pixels"
    ):
        layer.forward(device.asarray(np.zeros((1, 1, 9, 3), np.float32)))


@pytest.mark.parametrize("channels", [(4, 6), (6, 4)])
def test_conv2d_refuses_groups_that_do_not_divide(channels):
    with pytest.raises(
        ValueError, match=f"3 groups must divide both {channels[0]} input and {channels[1]} output"
    ):
        mx.Conv2D(*channels, 3, groups=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels must be a whole number >= 1, not 0"),
        ({"out_channels": 2.0}, "out_channels must be a whole number >= 1, not 2.0"),
        ({"groups": 0}, "groups must be a whole number >= 1, not 0"),
        ({"kernel_size": (3, 0)}, r"kernel_size must be a whole number >= 1 or a pair .*, not \(3, 0\)"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size must be .* a pair \(height, width\) of them"),
        ({"stride": 0}, "stride must be a whole number >= 1"),
        ({"stride": True}, "stride must be a whole number >= 1"),
        ({"padding": -1}, "padding must be a whole number >= 0"),
    ],
)
def test_conv2d_refuses_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        mx.Conv2D(**{"in_channels": 2, "out_channels": 2, "kernel_size": 3, **arguments})


# TableConv2D


@given(data=st.data(), table=tables, kernel=st.tuples(*[st.integers(1, 3)] * 2), budget=budgets)
def test_table_conv2d_is_its_definition(device, data, table, kernel, budget):
    layer = in_float64(mx.TableConv2D(table, kernel), device)
    shape = (2, layer.in_channels, data.draw(st.integers(3, 6)), data.draw(st.integers(3, 6)))
    x = data.draw(strategies.arrays(shape))
    with column_budget(device, budget):
        y = layer.forward(device.asarray(x))
    close(y, naive.table_conv2d(x, table, value_of(layer.weight), value_of(layer.bias)))


@given(data=st.data(), table=tables, kernel=st.tuples(*[st.integers(1, 3)] * 2), budget=budgets)
def test_table_conv2d_backward_is_its_definition(device, data, table, kernel, budget):
    layer = in_float64(mx.TableConv2D(table, kernel), device)
    shape = (2, layer.in_channels, data.draw(st.integers(3, 6)), data.draw(st.integers(3, 6)))
    x = data.draw(strategies.arrays(shape))
    with column_budget(device, budget):
        y = layer.forward(device.asarray(x))
        grad_y = data.draw(strategies.arrays(y.shape))
        grad_x = layer.backward(device.asarray(grad_y))
    expected = naive.table_conv2d_backward(x, table, value_of(layer.weight), grad_y)
    for actual, wanted in zip((grad_x, layer.weight.grad, layer.bias.grad), expected, strict=True):
        close(actual, wanted)


@pytest.mark.parametrize("table", [[(1, 0)], [(0,), (2, 0), (1, 2)]])
def test_table_conv2d_gradients(device, table):
    layer = in_float64(mx.TableConv2D(table, (2, 3)), device)
    assert mx.gradcheck(layer, normal((2, layer.in_channels, 3, 4)))


def test_table_conv2d_of_1998_has_1516_numbers():
    layer = mx.TableConv2D(C3_TABLE, 5)
    assert [p.value.shape for p in layer.parameters()] == [(60, 5, 5), (16,)]
    assert [p.name for p in layer.parameters()] == ["weight", "bias"]
    assert sum(p.value.size for p in layer.parameters()) == 1516


def test_table_conv2d_draws_each_kernel_for_the_inputs_of_its_row():
    layer = mx.TableConv2D([(0,), tuple(range(10))], 5, init=lecun_uniform_1998)
    weight = abs(layer.weight.value).reshape(11, -1).max(axis=1)
    assert 0.5 * 2.4 / 25 < weight[0] <= 2.4 / 25
    assert 0.9 * 2.4 / 250 < weight[1:].max() <= np.float32(2.4 / 250)


def test_table_conv2d_counts_an_input_s_readers_as_its_fan_out():
    seen = {}

    def init(shape, fan_in, fan_out, rng):
        seen["in"], seen["out"] = fan_in.ravel().tolist(), fan_out.ravel().tolist()
        return np.zeros(shape, np.float32)

    mx.TableConv2D([(0,), (0, 1)], 2, init=init)
    assert seen == {"in": [4, 8, 8], "out": [8, 8, 4]}


def test_table_conv2d_multiplies_only_where_the_table_connects():
    assert mx.TableConv2D(C3_TABLE, 5).multiply_adds((1, 6, 14, 14), (1, 16, 10, 10)) == 60 * 25 * 100


@pytest.mark.parametrize("row", [(), (1, 1), (0, -1), 1, "ab", (True,), (0.5,), None, np.array(3), (0, [1])])
def test_table_conv2d_refuses_a_row_that_names_no_different_inputs(row):
    message = f"^TableConv2D: row 1 of the table must name different inputs >= 0, not {re.escape(repr(row))}$"
    with pytest.raises(ValueError, match=message):
        mx.TableConv2D([(0,), row], 3)


@pytest.mark.parametrize("table", [[], None, 5, np.array(3)], ids=repr)
def test_table_conv2d_refuses_what_is_no_table(table):
    message = f"^TableConv2D: the table needs at least one row, .* this is {re.escape(repr(table))}$"
    with pytest.raises(ValueError, match=message):
        mx.TableConv2D(table, 3)


def test_table_conv2d_takes_rows_of_any_kind():
    for table in (np.array([[0, 1], [1, 2]]), ([0, 1], range(1, 3)), (row for row in ((0, 1), (1, 2)))):
        assert repr(mx.TableConv2D(table, 3).table) == "((0, 1), (1, 2))"


def test_table_conv2d_names_the_channels_it_got(device):
    layer = mx.TableConv2D([(0, 2)], 1).to(device)
    with pytest.raises(ValueError, match="TableConv2D has 3 input channels, the input 2"):
        layer.forward(device.asarray(np.zeros((1, 2, 5, 5), np.float32)))
