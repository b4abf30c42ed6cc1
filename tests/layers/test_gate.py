"""Gates hold to their definition in naive.py; what closes them, `shut`, too."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy
from minialex.devices.simdevice import recording
from minialex.layers.gate import shut

VALUES = st.sampled_from([0.0, 1.0, 0.25, 0.7, -0.5, 3.0])


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


@st.composite
def gates(draw):
    """Arguments for a Gate, the gates of the sources that are read, and an input: 2 to 4 axes, in any layout."""
    sizes = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)))
    sources = range(len(sizes))
    reads = draw(st.one_of(st.none(), st.sets(st.sampled_from(sources), min_size=1).map(sorted)))
    sides = draw(st.lists(st.integers(1, 4), max_size=2))
    count = len(sizes if reads is None else reads)
    weight = np.array(draw(st.lists(VALUES, min_size=count, max_size=count)))
    x = draw(strategies.arrays((draw(st.integers(1, 3)), sum(sizes), *sides)))
    return sizes, reads, weight, x


def made(sizes, reads, weight, device):
    layer = mx.Gate(sizes, reads).to(device).astype("float64")
    layer.weight.value = device.asarray(weight)
    return layer


@given(case=gates())
def test_a_gate_is_its_definition(device, case):
    sizes, reads, weight, x = case
    layer = made(sizes, reads, weight, device)
    close(layer.forward(device.asarray(x)), naive.gate(x, weight, sizes, reads))


@given(case=gates(), data=st.data())
def test_a_gates_backward_is_its_definition(device, case, data):
    sizes, reads, weight, x = case
    layer = made(sizes, reads, weight, device)
    y = layer.forward(device.asarray(x))
    grad_y = data.draw(strategies.arrays(y.shape))
    grad_x, grad_weight = naive.gate_backward(x, weight, sizes, grad_y, reads)
    close(layer.backward(device.asarray(grad_y)), grad_x)
    close(layer.weight.grad, grad_weight)


@settings(max_examples=10)
@given(case=gates())
def test_gradients_of_a_gate(device, case):
    *arguments, x = case
    assert mx.gradcheck(made(*arguments, device), x)


def test_a_closed_gate_has_a_gradient_and_hands_none_on(device):
    layer = made((2, 1), None, np.array([0.0, 2.0]), device)
    x = np.array([[[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]]])
    close(layer.forward(device.asarray(x)), [[[[0.0, 0.0]], [[0.0, 0.0]], [[10.0, 12.0]]]])
    close(layer.backward(device.asarray(np.ones(x.shape))), [[[[0.0, 0.0]], [[0.0, 0.0]], [[2.0, 2.0]]]])
    close(layer.weight.grad, [1.0 + 2 + 3 + 4, 5.0 + 6])  # so that it may open again


def test_gates_are_open_at_first_and_do_not_decay():
    layer = mx.Sequential(gate=mx.Gate((3, 1, 2), reads=(0, 2)))
    (weight,) = layer.parameters()
    assert (weight.name, weight.value.tolist(), weight.value.dtype) == ("gate.weight", [1, 1], np.float32)
    assert not weight.decay


@pytest.mark.parametrize(
    "change", [lambda layer: layer.to("sim:0"), lambda layer: layer.astype("float64"), copy.deepcopy]
)
def test_what_closes_gates_goes_with_them(change):
    assert change(mx.Gate((1,))).weight.proximal is shut


def test_a_source_with_a_closed_gate_can_be_cut_out_with_its_part_of_the_kernel(device):
    sizes, x = (2, 1, 3), np.random.default_rng(0).normal(size=(2, 6, 4, 5))
    whole, part = mx.Conv2D(6, 4, 3, rng=1), mx.Conv2D(5, 4, 3, rng=2)
    part.weight.value = whole.weight.value[:, [0, 1, 3, 4, 5]].copy()
    ys = []
    for gates, conv in ((made(sizes, None, np.array([0.5, 0.0, 1.0]), device), whole),
                        (made(sizes, (0, 2), np.array([0.5, 1.0]), device), part)):  # fmt: skip
        conv.to(device).astype("float64")
        ys.append(to_numpy(conv.forward(gates.forward(device.asarray(x)))))
    np.testing.assert_allclose(ys[0], ys[1], rtol=1e-12)


def test_what_is_not_read_has_no_say(device):
    """Not even where it is no number: what is closed is still computed, what is left out is not."""
    x = np.array([[1.0, np.nan, 2.0], [3.0, np.inf, 4.0]])
    layer = made((1, 1, 1), (0, 2), np.array([2.0, 0.0]), device)
    close(layer.forward(device.asarray(x)), [[2.0, 0.0], [6.0, 0.0]])
    close(layer.backward(device.asarray(np.ones((2, 2)))), [[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    close(layer.weight.grad, [4.0, 6.0])
    closed = made((1, 1, 1), None, np.array([2.0, 0.0, 0.0]), device)
    with np.errstate(invalid="ignore"):  # 0 * infinity
        close(closed.forward(device.asarray(x)), [[2.0, np.nan, 0.0], [6.0, np.nan, 0.0]])
        closed.backward(device.asarray(np.ones((2, 3))))
    close(closed.weight.grad, [4.0, np.nan, 6.0])


def test_an_infinite_gate_reaches_its_own_channels_alone(device):
    layer = made((1, 1), None, np.array([np.inf, 1.0]), device)
    close(layer.forward(device.asarray(np.array([[-1.0, 2.0]]))), [[-np.inf, 2.0]])
    close(layer.backward(device.asarray(np.array([[1.0, 1.0]]))), [[np.inf, 1.0]])


@pytest.mark.parametrize("reads", [None, (0, 2)])
def test_where_the_batch_is_the_innermost_axis_it_stays_so(reads):
    """As the twins around it lay out their arrays."""
    layer, x = mx.Gate((2, 1, 3), reads).astype("float64"), np.ones((6, 4, 5, 3)).transpose(3, 0, 1, 2)
    y = layer.forward(x)
    assert y.strides[0] == y.itemsize
    assert layer.backward(y).strides[0] == y.itemsize


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (((2, 0),), ValueError, r"^sizes must be a whole number >= 1, not 0$"),
    (((2, 1.5),), ValueError, r"^sizes must be a whole number >= 1, not 1.5$"),
    (((True,),), ValueError, r"^sizes must be a whole number >= 1, not True$"),
    ((3,), TypeError, r"^Gate: sizes says how many channels each source has, \(16, 8\), not 3$"),
    (((),), TypeError, r"^Gate: sizes says how many channels each source has, \(16, 8\), not \(\)$"),
    (((1, 2), 1), TypeError, r"^Gate: reads says which of the 2 sources are read, \(0, 2\), not 1$"),
    (((1, 2), (0.0,)), TypeError, r"^Gate: reads says which of the 2 sources are read, .* not \(0.0,\)$"),
    (((1, 2), ()), ValueError, r"^Gate: it reads \(\): some of the sources 0 to 1 are needed, in rising order$"),
    (((1, 2), (0, 2)), ValueError, r"^Gate: it reads \(0, 2\): some of the sources 0 to 1 are needed"),
    (((1, 2), (-1,)), ValueError, r"^Gate: it reads \(-1,\): some of the sources 0 to 1 are needed"),
    (((1, 2), (1, 0)), ValueError, r"^Gate: it reads \(1, 0\): .* in rising order$"),
    (((1, 2), (1, 1)), ValueError, r"^Gate: it reads \(1, 1\): .* in rising order$"),
])  # fmt: skip
def test_what_makes_no_gate_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mx.Gate(*arguments)


@pytest.mark.parametrize("shape", [(2, 4), (2, 2, 3, 3), (3,)])
def test_another_number_of_channels_is_refused(shape):
    layer = mx.Gate((1, 2))
    with pytest.raises(
        ValueError, match=rf"^Gate has gates for 1 \+ 2 = 3 channels; the input has shape \({shape[0]},"
    ):
        layer.forward(np.ones(shape, np.float32))


def test_a_number_alone_is_refused():
    with pytest.raises(ValueError, match="Gate takes a batch; the input is one number"):
        mx.Gate((1,)).forward(np.array(1.0, np.float32))


def test_gates_do_not_go_into_towers():
    with pytest.raises(ValueError, match="Gate does not know how to split itself over towers"):
        mx.Towers.split(mx.Gate((2, 2)))


def test_whole_numbers_of_numpy_will_do():
    layer = mx.Gate([np.int64(1), np.int32(2)], reads=[np.int64(1)])
    assert (layer.sizes, layer.reads, repr(layer)) == ((1, 2), (1,), "Gate(sizes=(1, 2), reads=(1,))")


# ---- what closes them ----


@given(values=st.lists(st.floats(-1, 3), min_size=1, max_size=5))
def test_shut_is_its_definition(device, values):
    gates = np.array(values)
    there = device.asarray(gates.copy())
    assert shut(there) is None
    close(there, naive.shut(gates))


@pytest.mark.parametrize(("gates", "after"), [
    ([0.0, 0.0], [0, 0]),  # all closed: none is held
    ([-0.5, -0.25], [0, 0]),
    ([1e-6, 0.0], [1, 0]),  # the only one that is open is held, however narrow
    ([0.75, 0.75, 0.5], [1, 0.75, 0.5]),  # of equal ones the first
    ([0.25, 2.0, 1.5], [0.25, 1, 1]),
    ([0.5, np.nan, 0.75], [0.5, np.nan, 0.75]),  # what is no number stays so, for those who look
])  # fmt: skip
def test_gates_after_their_proximal_step(device, gates, after):
    there = device.asarray(np.array(gates, np.float32))
    shut(there)
    np.testing.assert_array_equal(to_numpy(there), np.array(after, np.float32))


def test_shut_makes_nobody_wait_and_moves_nothing():
    gates = mx.Device("sim:0").asarray(np.array([0.5, 1.0], np.float32))
    with recording() as ledger:
        shut(gates)
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


def test_a_gate_that_has_gates_for_other_sources_than_it_reads_refuses():
    layer = mx.Gate((2, 1))
    layer.weight = mx.Parameter(np.ones(1, np.float32))
    with pytest.raises(
        ValueError, match=r"^Gate.*: its weight has shape \(1,\); its settings go with \(2,\)"
    ):
        layer.forward(np.ones((1, 3), np.float32))
