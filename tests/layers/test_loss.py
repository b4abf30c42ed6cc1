"""SoftmaxCrossEntropy and MAPLoss hold to their definitions in naive.py, with labels from anywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices import simdevice
from minialex.devices.device import to_numpy

# name: (the layer, its loop twin, that one's backward)
LOSSES = {
    "SoftmaxCrossEntropy": (
        mx.SoftmaxCrossEntropy,
        naive.softmax_cross_entropy,
        naive.softmax_cross_entropy_backward,
    ),
    "MAPLoss": (mx.MAPLoss, naive.map_loss, naive.map_loss_backward),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def labels_for(data, logits):
    return data.draw(strategies.labels(*logits.shape))


@each_loss
@given(logits=strategies.vectors(), data=st.data())
def test_loss_is_its_definition(device, name, logits, data):
    layer, twin, _ = LOSSES[name]
    labels = labels_for(data, logits)
    close(layer().to(device).forward(device.asarray(logits), labels), twin(logits, labels))


@each_loss
@given(logits=strategies.vectors(), grad_loss=st.sampled_from([1.0, -2.5, 0.25]), data=st.data())
def test_loss_backward_is_its_definition(device, name, logits, grad_loss, data):
    layer, _, twin = LOSSES[name]
    labels, layer = labels_for(data, logits), layer().to(device)
    layer.forward(device.asarray(logits), labels)
    close(layer.backward(grad_loss), twin(logits, labels, grad_loss=grad_loss))


@each_loss
@settings(max_examples=15)
@given(logits=strategies.vectors(), data=st.data())
def test_loss_gradients(device, name, logits, data):
    assert mx.gradcheck(LOSSES[name][0]().to(device), logits, labels=labels_for(data, logits))


@given(logits=strategies.vectors(), j=st.sampled_from([-3.0, 0.0, 2.0]), data=st.data())
def test_map_loss_is_its_definition_for_other_j(device, logits, j, data):
    labels = labels_for(data, logits)
    close(mx.MAPLoss(j).to(device).forward(device.asarray(logits), labels), naive.map_loss(logits, labels, j))


@given(logits=strategies.vectors(), j=st.sampled_from([-3.0, 0.0, 2.0]), data=st.data())
def test_map_loss_backward_is_its_definition_for_other_j(device, logits, j, data):
    labels, layer = labels_for(data, logits), mx.MAPLoss(j).to(device)
    layer.forward(device.asarray(logits), labels)
    close(layer.backward(), naive.map_loss_backward(logits, labels, j))


def test_softmax_cross_entropy_of_two_equal_logits_is_log_2(device):
    layer = mx.SoftmaxCrossEntropy().to(device)
    close(layer.forward(device.asarray(np.zeros((1, 2))), [1]), np.array(np.log(2)))
    close(layer.backward(), np.array([[0.5, -0.5]]))


@each_loss
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_is_stable_at_huge_logits(device, name, dtype):
    layer = LOSSES[name][0]().to(device)
    logits = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], dtype)
    close(
        layer.forward(device.asarray(logits), [0, 0, 1]),
        np.array((0 + 2e4 + np.log(2)) / 3, dtype),
        rtol=1e-6,
    )
    close(layer.backward(3.0), np.array([[0, 0], [-1, 1], [0.5, -0.5]], dtype), rtol=1e-6)


@each_loss
def test_loss_is_stable_where_the_rows_lie_far_apart(device, name):
    layer, logits, labels = (
        LOSSES[name][0]().to(device),
        np.array([[-1e4, -1e4], [0, 1], [1e4, 1e4]]),
        [0, 1, 1],
    )
    close(layer.forward(device.asarray(logits), labels), LOSSES[name][1](logits, labels))
    close(layer.backward(), LOSSES[name][2](logits, labels))


@each_loss
def test_loss_takes_as_many_classes_as_there_are(device, name):
    layer, logits, labels = (
        LOSSES[name][0]().to(device),
        normal((2, 70_000)),
        np.array([200, 69_999], np.uint32),
    )
    layer.forward(device.asarray(logits), labels)
    grad_logits = to_numpy(layer.backward())
    assert grad_logits.argmin(axis=1).tolist() == [200, 69_999]


def test_map_loss_leaves_alone_what_is_farther_than_j(device):
    layer = mx.MAPLoss(j=1.0).to(device)
    layer.forward(device.asarray(np.array([[-1.0, -1e4]])), [0])
    close(layer.backward(), np.array([[0.5 - 1, 0.0]]))  # the rubbish class takes the other half


@each_loss
@pytest.mark.parametrize("how", ["a number", "a keyword", "a NumPy number", "0-d on the device"])
def test_loss_honours_the_upstream_gradient(device, name, how):
    logits, labels, layer = normal((3, 4)), np.array([0, 3, 3]), LOSSES[name][0]().to(device)
    layer.forward(device.asarray(logits), labels)
    grad_logits = {
        "a number": lambda: layer.backward(-2.5),
        "a keyword": lambda: layer.backward(grad_loss=-2.5),
        "a NumPy number": lambda: layer.backward(np.float64(-2.5)),
        "0-d on the device": lambda: layer.backward(device.asarray(np.array(-2.5))),
    }[how]()
    close(grad_logits, LOSSES[name][2](logits, labels, grad_loss=-2.5))


@each_loss
def test_loss_is_a_0_d_array_on_the_device(device, name):
    loss = LOSSES[name][0]().to(device).forward(device.asarray(normal((3, 4))), [0, 1, 2])
    assert loss.shape == ()
    assert mx.device_of(loss) is device


@each_loss
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_loss_keeps_the_dtype_of_the_logits(device, name, dtype):
    layer = LOSSES[name][0]().to(device)
    assert layer.forward(device.asarray(normal((3, 4)).astype(dtype)), [0, 1, 2]).dtype == dtype
    assert layer.backward(0.5).dtype == dtype


@each_loss
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
def test_loss_takes_labels_of_any_integer_type(device, name, dtype):
    layer, logits, labels = LOSSES[name][0]().to(device), normal((3, 4)), np.array([2, 0, 3], dtype)
    for given_labels in (labels, device.asarray(labels)):
        close(layer.forward(device.asarray(logits), given_labels), LOSSES[name][1](logits, labels))
        close(layer.backward(), LOSSES[name][2](logits, labels))


def test_loss_uploads_labels_from_the_host_without_waiting():
    device = mx.Device("sim:0")
    layer, logits = mx.SoftmaxCrossEntropy().to(device), device.asarray(normal((3, 4)))
    with simdevice.recording() as ledger:
        layer.forward(logits, np.array([0, 1, 2], np.uint8))
    assert [(t.source, t.target) for t in ledger.transfers] == [("cpu", "sim:0")]
    assert ledger.host_syncs == 0


@each_loss
def test_loss_trusts_labels_on_the_device(name):
    device = mx.Device("sim:0")
    layer = LOSSES[name][0]().to(device)
    logits, labels = device.asarray(normal((3, 4))), device.asarray(np.array([0, 1, 2]))
    with simdevice.recording() as ledger:
        layer.forward(logits, labels)
        layer.backward()
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


@each_loss
@pytest.mark.parametrize(("label", "dtype"), [(4, "uint8"), (-1, "int64"), (2**63, "uint64")])
def test_loss_refuses_a_label_out_of_range(device, name, label, dtype):
    logits = device.asarray(normal((3, 4)))
    with pytest.raises(ValueError, match=f"{name}: label {label} is out of range: 4 classes go from 0 to 3"):
        LOSSES[name][0]().to(device).forward(logits, np.array([0, label, 1], dtype))


@each_loss
@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_loss_refuses_labels_that_are_no_whole_numbers(device, name, dtype):
    labels = np.ones(3, dtype)
    for given_labels in (labels, device.asarray(labels)):
        with pytest.raises(
            mx.DtypeMismatch, match=f"{name}: labels are whole numbers, the classes; these are {dtype}"
        ):
            LOSSES[name][0]().to(device).forward(device.asarray(normal((3, 4))), given_labels)


@each_loss
@pytest.mark.parametrize("shape", [(2,), (3, 1), (3, 4)])
def test_loss_refuses_labels_of_another_length(device, name, shape):
    labels = np.zeros(shape, int)
    for given_labels in (labels, device.asarray(labels)):
        with pytest.raises(
            ValueError, match=rf"3 rows of logits need labels of shape \(3,\), not \({shape[0]}"
        ):
            LOSSES[name][0]().to(device).forward(device.asarray(normal((3, 4))), given_labels)


@each_loss
@pytest.mark.parametrize("home", ["cpu", "sim:1"])
def test_loss_refuses_labels_on_another_device(name, home):
    layer, labels = LOSSES[name][0]().to(home), mx.Device("sim:2").asarray(np.array([0, 1, 2]))
    with pytest.raises(mx.DeviceMismatch, match=f"{name} is on {home}, the labels on sim:2"):
        layer.forward(layer.device.asarray(normal((3, 4))), labels)


@each_loss
def test_loss_refuses_logits_that_are_no_matrix(device, name):
    with pytest.raises(
        ValueError, match=rf"{name} takes \(N, features\), 2 axes; the input has shape \(3,\)"
    ):
        LOSSES[name][0]().to(device).forward(device.asarray(normal(3)), [0, 1, 2])


@each_loss
@pytest.mark.parametrize("make", [list, np.array], ids=["list", "array"])
def test_loss_refuses_an_upstream_gradient_that_is_not_one_number(device, name, make):
    layer = LOSSES[name][0]().to(device)
    layer.forward(device.asarray(normal((3, 4))), [0, 1, 2])
    grad_loss = make([1.0, 1.0])
    with pytest.raises(ValueError, match=f"{name}: the loss is one number, so its gradient is one number"):
        layer.backward(device.asarray(grad_loss) if make is np.array else grad_loss)


@each_loss
@pytest.mark.parametrize("grad_loss", ["x", None, 1j, np.array(1j)], ids=repr)
def test_loss_refuses_an_upstream_gradient_that_is_no_number(device, name, grad_loss):
    layer = LOSSES[name][0]().to(device)
    layer.forward(device.asarray(normal((3, 4))), [0, 1, 2])
    grad_loss = device.asarray(grad_loss) if isinstance(grad_loss, np.ndarray) else grad_loss
    with pytest.raises(
        ValueError, match=f"{name}: the loss is one number, so its gradient is one number, not"
    ):
        layer.backward(grad_loss)


@each_loss
def test_loss_refuses_an_upstream_gradient_on_another_device(name):
    layer = LOSSES[name][0]().to("sim:1")
    layer.forward(layer.device.asarray(normal((3, 4))), [0, 1, 2])
    with pytest.raises(mx.DeviceMismatch, match=f"{name} is on sim:1, the gradient on sim:2"):
        layer.backward(mx.Device("sim:2").asarray(np.array(1.0)))


@each_loss
def test_loss_backward_needs_a_forward_each_time(device, name):
    layer = LOSSES[name][0]().to(device)
    with pytest.raises(mx.BackwardBeforeForward, match=f"{name}: backward needs a forward before it"):
        layer.backward()
    layer.forward(device.asarray(normal((3, 4))), [0, 1, 2])
    layer.backward()
    with pytest.raises(mx.BackwardBeforeForward, match=f"{name}: backward needs a forward before it"):
        layer.backward()


@each_loss
def test_loss_runs_on_its_own_device(name):
    layer, logits = LOSSES[name][0]().to("sim:1"), normal((3, 4))
    on_device = layer.device.asarray(logits)
    with mx.Device("sim:3"):
        loss, grad_logits = layer.forward(on_device, [0, 1, 2]), layer.backward()
    close(loss, LOSSES[name][1](logits, [0, 1, 2]))
    close(grad_logits, LOSSES[name][2](logits, [0, 1, 2]))


@each_loss
def test_loss_writes_into_none_of_its_arrays(device, name):
    logits, labels = normal((3, 4)), np.array([0, 1, 2])
    on_device = device.asarray(logits.copy()), device.asarray(labels.copy())
    layer = LOSSES[name][0]().to(device)
    loss = layer.forward(*on_device)
    before = to_numpy(loss).copy()
    layer.backward(2.0)
    for actual, expected in zip((*on_device, loss), (logits, labels, before), strict=True):
        np.testing.assert_array_equal(to_numpy(actual), expected)


@each_loss
def test_loss_takes_its_arrays_by_name(device, name):
    logits = normal((3, 4))
    loss = LOSSES[name][0]().to(device).forward(labels=[0, 1, 2], logits=device.asarray(logits))
    close(loss, LOSSES[name][1](logits, [0, 1, 2]))
