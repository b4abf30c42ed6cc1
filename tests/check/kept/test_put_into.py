"""Of a learner's layers one kind alone can be put into a model."""

import inspect

import numpy as np
import pytest

import minialex as mx
from minialex.check.kept.crossing import OnDevice
from minialex.check.kept.keeping import put_in_place
from minialex.check.kept.layers import layer_of
from minialex.check.planted import RIGHT


def test_one_kind_alone_is_exchanged_and_computes_the_same(tmp_path, rng):
    names = [f"{part}_{way}" for part in ("relu", "linear") for way in ("forward", "backward")]
    for name in names:
        lines = inspect.getsource(RIGHT[name]).splitlines()
        text = "\n".join(["import numpy as np", "", *(line for line in lines if not line.startswith("@"))])
        assert put_in_place(name, text, tmp_path)
    mine = mx.check.mine(tmp_path)
    ours, one, both = (mx.Sequential(fc=mx.Linear(3, 2, rng=0), relu=mx.ReLU()) for _ in range(3))
    assert mine.put_into(one, only="ReLU") == ["relu"]
    assert mine.put_into(both) == ["fc", "relu"]
    x = rng.standard_normal((4, 3), np.float32)
    np.testing.assert_allclose(one.forward(x), ours.forward(x), atol=1e-6)
    assert type(one["fc"]) is mx.Linear


def test_a_kind_that_there_is_not_is_named(tmp_path):
    with pytest.raises(ValueError, match="not 'Relu'"):
        mx.check.mine(tmp_path).put_into(mx.Sequential(relu=mx.ReLU()), only="Relu")
    with pytest.raises(ValueError, match=r"not \['ReLU'\]"):
        mx.check.mine(tmp_path).put_into(mx.Sequential(relu=mx.ReLU()), only=["ReLU"])


@pytest.mark.parametrize("model", ["lenet5", mx.ReLU, None, [mx.ReLU()]])
def test_what_is_no_model_is_refused(tmp_path, model):
    with pytest.raises(TypeError, match="put_into takes a model, whose layers it exchanges, not a"):
        mx.check.mine(tmp_path).put_into(model)


def test_a_function_that_reads_memory_row_by_row_gets_it_so_in_a_network(rng):
    def conv2d_forward(x, weight, bias, stride, padding):
        pad = (padding, padding)
        x = np.pad(x, ((0, 0), (0, 0), pad, pad)) if padding else x
        N, C, H, W = x.shape
        kh, kw = weight.shape[2:]
        shape = N, C, kh, kw, 1 + (H - kh) // stride, 1 + (W - kw) // stride
        steps = np.array([C * H * W, H * W, W, 1, stride * W, stride]) * x.itemsize
        windows = np.lib.stride_tricks.as_strided(x, shape, tuple(steps))
        return (
            np.tensordot(weight, windows, axes=([1, 2, 3], [1, 2, 3])).transpose(1, 0, 2, 3)
            + bias[:, None, None]
        )

    Yours = layer_of(mx.Conv2D, conv2d_forward, RIGHT["conv2d_backward"])
    ours, theirs = (
        mx.Sequential(conv(1, 3, 3, rng=0), mx.MaxPool2D(2), conv(3, 2, 3, rng=1))
        for conv in (mx.Conv2D, Yours)
    )
    x = rng.standard_normal((4, 1, 12, 12), np.float32)
    np.testing.assert_allclose(theirs.forward(x), ours.forward(x), atol=1e-5)


def exchange_written_into_zeros(x0, x1, send):
    N, C0, H, W = x0.shape
    y0, y1 = (np.zeros((N, C0 + x1.shape[1], H, W)) for _ in range(2))
    y0[:, :C0], y0[:, C0:], y1[:, :C0], y1[:, C0:] = x0, send(x1, 0), send(x0, 1), x1
    return y0, y1


def exchange_of_the_same_dtype(x0, x1, send):
    y0, y1 = np.concatenate([x0, send(x1, 0)], axis=1), np.concatenate([send(x0, 1), x1], axis=1)
    y0[:, :1] = 2 * y0[:, :1] / 2
    return y0.astype(x0.dtype).reshape(y0.shape), y1.astype(x1.dtype)


@pytest.mark.parametrize(
    ("function", "devices"),
    [
        (exchange_written_into_zeros, "cpu,cpu"),
        (exchange_of_the_same_dtype, "cpu,cpu"),
        (exchange_of_the_same_dtype, "sim:0,sim:1"),
    ],
)
def test_an_exchange_may_use_what_arrays_can(function, devices, rng):
    xs = tuple(rng.standard_normal((2, channels, 3, 4), np.float32) for channels in (2, 3))
    places = mx.place(devices)
    here = tuple(device.asarray(x) for device, x in zip(places, xs, strict=True))
    layer = layer_of(mx.Exchange, function, RIGHT["device_exchange_backward"])()
    layer.devices = places
    ours = mx.Exchange()
    for y, wanted in zip(layer.forward(here), ours.forward(xs), strict=True):
        assert np.array_equal(mx.to_numpy(y), wanted)


def test_an_array_of_a_device_takes_a_mask_of_its_own():
    with mx.Device("sim:0") as device:
        y = OnDevice(device.asarray(np.array([1.0, np.nan, 3.0])))
        y[np.isnan(y)] = 0
        assert mx.to_numpy(y.array).tolist() == [1, 0, 3]
        assert mx.to_numpy(y[y > 0].array).tolist() == [1, 3]
        assert y[0].shape == ()
