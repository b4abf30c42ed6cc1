"""BatchNorm2D holds to its definition in naive.py, in training, in evaluation and frozen; so do the running numbers."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy
from minialex.training.checkpoint import load_checkpoint, save_checkpoint


def close(actual, expected, rtol=1e-10):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def drawn(channels, device="cpu", **options):
    """A layer in float64 whose numbers are all random: each counts."""
    layer = mx.BatchNorm2D(channels, **options).astype("float64")
    for seed, array in enumerate((layer.weight, layer.bias, layer.running_mean, layer.running_var)):
        array.value = normal(channels, seed)
    layer.running_var.value = np.abs(layer.running_var.value) + 0.1
    return layer.to(device)


batches = st.integers(1, 4).flatmap(
    lambda C: (
        strategies.arrays((3, C, 2, 3)) | strategies.arrays((2, C, 1, 4)) | strategies.arrays((5, C, 1, 1))
    )
)
eps = st.sampled_from([1e-3, 0.5])


@given(x=batches, eps=eps)
def test_in_training_it_is_its_definition(device, x, eps):
    layer = drawn(x.shape[1], device, eps=eps)
    weight, bias = to_numpy(layer.weight.value), to_numpy(layer.bias.value)
    y = layer.forward(device.asarray(x))
    close(y, naive.batch_norm2d(x, weight, bias, eps))
    grad_y = normal(y.shape)
    grad_x = layer.backward(device.asarray(grad_y))
    expected = naive.batch_norm2d_backward(x, weight, grad_y, eps)
    for ours, theirs in zip((grad_x, layer.weight.grad, layer.bias.grad), expected, strict=True):
        close(ours, theirs, 1e-8)


@pytest.mark.parametrize("frozen", [False, True])
@given(x=batches, eps=eps)
def test_in_evaluation_and_frozen_the_running_numbers_are_constants(device, frozen, x, eps):
    layer = drawn(x.shape[1], device, eps=eps, frozen=frozen).train(frozen)
    weight, bias, mean, variance = (
        to_numpy(a.value) for a in (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    )
    y = layer.forward(device.asarray(x))
    close(y, naive.batch_norm2d(x, weight, bias, eps, mean, variance))
    grad_y = normal(y.shape)
    grad_x = layer.backward(device.asarray(grad_y))
    expected = naive.batch_norm2d_backward(x, weight, grad_y, eps, mean, variance)
    for ours, theirs in zip((grad_x, layer.weight.grad, layer.bias.grad), expected, strict=True):
        close(ours, theirs)
    close(layer.running_mean.value, mean, 0)
    close(layer.running_var.value, variance, 0)


@pytest.mark.parametrize("mode", ["training", "evaluation", "frozen"])
def test_gradients(device, mode):
    layer = drawn(3, device, frozen=mode == "frozen")
    assert mx.gradcheck(layer.train(mode != "evaluation"), normal((4, 3, 2, 3)))


def test_the_running_numbers_move_a_share_towards_the_batchs_whose_variance_is_divided_by_one_less(device):
    layer, x = drawn(2, device, momentum=0.25), normal((3, 2, 2, 2))
    mean, variance = to_numpy(layer.running_mean.value), to_numpy(layer.running_var.value)
    layer.forward(device.asarray(x))
    close(layer.running_mean.value, 0.75 * mean + 0.25 * x.mean(axis=(0, 2, 3)))
    close(layer.running_var.value, 0.75 * variance + 0.25 * x.var(axis=(0, 2, 3), ddof=1))


def test_what_was_read_of_the_running_numbers_stays_as_it_was():
    layer = mx.BatchNorm2D(1)
    before = layer.running_mean.value
    layer.forward(np.ones((2, 1, 2, 2), np.float32))
    assert before == 0
    assert layer.running_mean.value != 0


def test_a_large_mean_takes_nothing_from_the_variance(device):
    """E[x^2] - E[x]^2 would have no digit left."""
    x = (1e4 + normal((8, 1, 8, 8))).astype(np.float32)
    y = to_numpy(mx.BatchNorm2D(1, eps=0.0).to(device).forward(device.asarray(x)))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y, (wide - wide.mean()) / wide.std(), atol=2e-3)


def test_a_channel_of_equal_numbers_gives_its_bias(device):
    layer = drawn(1, device)
    y = layer.forward(device.asarray(np.full((2, 1, 2, 2), 3.0)))
    close(y, np.full((2, 1, 2, 2), float(to_numpy(layer.bias.value)[0])))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_channel(device, bad):
    x = normal((2, 2, 2, 2))
    x[0, 0, 0, 0] = bad
    with np.errstate(invalid="ignore"):
        y = to_numpy(drawn(2, device).forward(device.asarray(x)))
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1]).all()


def test_one_number_a_channel_has_no_variance(device):
    x = device.asarray(np.ones((1, 2, 1, 1), np.float32))
    layer = mx.BatchNorm2D(2).to(device)
    with pytest.raises(
        ValueError, match=r"shape \(1, 2, 1, 1\) has one number a channel, and one number has no vari"
    ):
        layer.forward(x)
    assert layer.eval().forward(x).shape == x.shape
    assert mx.BatchNorm2D(2, frozen=True).to(device).forward(x).shape == x.shape


@pytest.mark.parametrize(("options", "message"), [
    ({"channels": 0}, "channels must be a whole number >= 1, not 0"),
    ({"eps": -1e-5}, "eps must be a number >= 0, not -1e-05"),
    ({"eps": float("nan")}, "eps must be a number >= 0, not nan"),
    ({"momentum": 1.5}, "momentum must be between 0 and 1, not 1.5"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mx.BatchNorm2D(**{"channels": 2, **options})


def test_another_number_of_channels_is_refused(device):
    with pytest.raises(ValueError, match="BatchNorm2D has 3 channels, the input 2"):
        mx.BatchNorm2D(3).to(device).forward(device.asarray(np.ones((2, 2, 2, 2), np.float32)))


@pytest.mark.parametrize("decay", [True, False])
def test_weight_decay_applies_to_both_or_to_none(decay):
    assert [p.decay for p in mx.BatchNorm2D(2, decay=decay).parameters()] == [decay, decay]


# ---- what it keeps ----


def network():
    return mx.Sequential(conv=mx.Conv2D(1, 4, 3, bias=False), bn=mx.BatchNorm2D(4), relu=mx.ReLU())


NAMES = ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]


def test_running_numbers_are_no_parameters_but_weights():
    model = network()
    assert [name for name, _ in model.named_parameters()] == NAMES[:3]
    assert (
        [name for name, _ in model.named_buffers()] == NAMES[3:] == [b.name for _, b in model.named_buffers()]
    )
    assert list(mx.weights.export_grouped(model)) == NAMES


def test_weights_go_out_and_in_with_what_is_kept():
    model, other = network(), network()
    model.forward(normal((2, 1, 6, 6)).astype(np.float32))
    arrays = mx.weights.export_grouped(model)
    mx.weights.import_grouped(other, arrays)
    for name, array in mx.weights.export_grouped(other).items():
        assert array.tobytes() == arrays[name].tobytes()
    arrays.pop("bn.running_var")
    with pytest.raises(ValueError, match=r"bn\.running_var is missing"):
        mx.weights.import_grouped(other, arrays)


def test_gradients_are_exported_of_parameters_alone():
    model = network()
    model.backward(model.forward(normal((2, 1, 6, 6)).astype(np.float32)))
    assert list(mx.weights.export_grouped(model, grads=True)) == NAMES[:3]


def test_a_checkpoint_keeps_them_and_is_not_written_with_nan(tmp_path):
    model, other = network(), network()
    model.forward(normal((2, 1, 6, 6)).astype(np.float32))
    save_checkpoint(tmp_path / "c.safetensors", model, mx.SGD(model.parameters(), 0.1), {})
    load_checkpoint(tmp_path / "c.safetensors").restore(other, mx.SGD(other.parameters(), 0.1))
    np.testing.assert_array_equal(other["bn"].running_var.value, model["bn"].running_var.value)
    model["bn"].running_mean.value[1] = np.nan
    with pytest.raises(mx.NotFinite, match=r"bn\.running_mean has become NaN"):
        save_checkpoint(tmp_path / "d.safetensors", model, mx.SGD(model.parameters(), 0.1), {})


def test_they_are_cast_and_moved_with_the_layer():
    layer = mx.BatchNorm2D(2).astype("float64").to("sim:0")
    assert layer.running_mean.value.dtype == np.float64
    assert mx.device_of(layer.running_var.value) is mx.Device("sim:0")


@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_two_towers_are_the_whole(seed):
    whole, x = drawn(4), normal((3, 4, 2, 2), seed)
    towers = mx.Towers.split(drawn(4))
    ys = towers.forward((x[:, :2], x[:, 2:]))
    close(np.concatenate(ys, axis=1), whole.forward(x))
    arrays = mx.weights.export_grouped(towers)
    assert list(arrays) == ["weight", "bias", "running_mean", "running_var"]
    for name, array in mx.weights.export_grouped(whole).items():
        close(arrays[name], array)
    grad_y = normal(x.shape, seed + 1)
    close(np.concatenate(towers.backward((grad_y[:, :2], grad_y[:, 2:])), axis=1), whole.backward(grad_y))


@pytest.mark.parametrize("mode", ["training", "evaluation", "frozen"])
@pytest.mark.parametrize("fast", [True, False])
def test_half_precision_has_room_for_squares_and_sums(device, mode, fast):
    """PyTorch's numbers: 0.988, -1.646, 0.549, 0.110, and 6916 for the running variance."""
    x = np.array([300, -300, 200, 100], np.float16).reshape(1, 1, 2, 2)
    grad_y = np.array([1, 2, -3, 4], np.float16).reshape(x.shape)
    found = []
    for dtype in ("float16", "float64"):
        layer = (
            mx.BatchNorm2D(1, frozen=mode == "frozen").astype(dtype).to(device).train(mode != "evaluation")
        )
        with nullcontext() if fast else mx.textbook():
            y = layer.forward(device.asarray(x.astype(dtype)))
            grad_x = layer.backward(device.asarray(grad_y.astype(dtype)))
        arrays = (
            y,
            grad_x,
            *(p.grad for p in layer.parameters()),
            *(b.value for _, b in layer.named_buffers()),
        )
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}
        found.append([to_numpy(array) for array in arrays])
    for half, exactly in zip(*found, strict=True):
        np.testing.assert_allclose(half, exactly, rtol=2e-3)


def test_half_precision_adds_up_many_gradients(device):
    """In float16 a sum of ones stays at 2,048."""
    layer = mx.BatchNorm2D(2).astype("float16").to(device)
    x = normal((5000, 2, 1, 2)).astype(np.float16)
    layer.backward(device.asarray(np.ones_like(to_numpy(layer.forward(device.asarray(x))))))
    assert to_numpy(layer.bias.grad).tolist() == [10_000, 10_000]
