"""The CUDA kernels, as far as they can be known without a GPU: they compile, and give what the layers give.

The same source is compiled for the CPU: a few lines stand in for CUDA, and its threads run one after the other. Where
there is a GPU, the same tests run there (pytest -m gpu).
"""

import copy
import functools
import os
import re
import subprocess
import sys
from contextlib import nullcontext, suppress
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex import strategies
from minialex.devices.device import cuda_count, device_of, to_numpy
from minialex.errors import DtypeMismatch
from minialex.fast.cpu.windows import crop, pad, windows
from minialex.fast.cuda import kernels
from minialex.layers.parameter import Parameter

CPU = mx.Device("cpu")
TYPES = list(product(kernels.REALS, kernels.INDICES, kernels.CELLS))
NAMES = re.findall(r"__global__ void (\w+)", kernels.SOURCE)
dtypes = st.sampled_from(["float32", "float64"])

on_a_gpu = pytest.param(
    "cuda:0",
    marks=[pytest.mark.gpu, pytest.mark.skipif(cuda_count() < 1, reason="no CUDA GPU that CuPy can use")],
)


@pytest.fixture(params=["host", on_a_gpu])
def device(request, monkeypatch):
    """A device whose layers use the kernels: the CPU with the source compiled for it, and a GPU."""
    if request.param == "host":
        request.getfixturevalue("host")
        return CPU
    monkeypatch.setattr(mx.Device(request.param), "fast", True)
    return mx.Device(request.param)


@pytest.fixture
def started(monkeypatch):
    """The names of the kernels that were started."""
    names, launch = [], kernels._launch
    monkeypatch.setattr(kernels, "_launch", lambda name, *args: (names.append(name), launch(name, *args))[1])
    return names


def normal(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def close(actual, expected, times=1):
    epsilon = times * 1e3 * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=epsilon, atol=epsilon, strict=True)


def equal(actual, expected):
    np.testing.assert_array_equal(to_numpy(actual), expected, strict=True)


def pictures(data, size, dtype="float64", channels=None):
    """(C, H, W, N), contiguous."""
    C, N = channels or data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    return normal((C, *size, N), dtype, seed=data.draw(st.integers(0, 99)))


def one_step(layer, device, x):
    """y, grad_x, and the gradients of the parameters."""
    layer.to(device)
    y = layer.forward(device.asarray(x))
    grad_x = layer.backward(device.asarray(normal(y.shape, y.dtype)))
    return [y, grad_x, *(p.grad for p in layer.parameters())]


def with_and_without(layer, device, x):
    """What `one_step` gives on the device with its kernels, and on the CPU without."""
    with mx.textbook():
        expected = one_step(copy.deepcopy(layer), CPU, x)
    return zip(one_step(layer, device, x), expected, strict=True)


# ---- equal to the layers ---------------------------------------------------------------------------


@given(data=st.data(), geometry=strategies.window_geometry(), dtype=dtypes)
def test_im2col_copies_what_the_windows_show(device, data, geometry, dtype):
    kernel, stride, padding, size = geometry
    x = pictures(data, size, dtype)
    expected = windows(pad(x, padding), kernel, stride)  # (C, kh, kw, OH, OW, N)
    expected = expected.reshape(np.prod(expected.shape[:3]), -1)
    equal(kernels.im2col(device.asarray(x), kernel, stride, padding), expected)


@given(data=st.data(), geometry=strategies.window_geometry(), dtype=dtypes)
def test_col2im_adds_each_column_to_the_pixels_it_came_from(device, data, geometry, dtype):
    kernel, stride, padding, size = geometry
    x = pictures(data, size, dtype)
    padded = pad(x, padding) * 0
    view = windows(padded, kernel, stride)
    columns = normal(view.shape, dtype)
    for i, j in np.ndindex(kernel):
        view[:, i, j] += columns[:, i, j]
    columns = columns.reshape(np.prod(view.shape[:3]), -1)
    into = device.asarray(np.full(x.shape, 9, dtype))  # what was there before is gone
    kernels.col2im(device.asarray(columns), into, kernel, stride, padding)
    equal(into, crop(padded, padding))


@given(data=st.data(), geometry=strategies.convolutions(), dtype=dtypes)
def test_a_convolution_by_kernels_is_the_layer(device, data, geometry, dtype):
    arguments, size = geometry
    layer = mx.Conv2D(**arguments).astype(dtype)
    if layer.bias is not None:
        layer.bias.value = normal(layer.bias.value.shape, dtype)
    x = data.draw(
        strategies.arrays((data.draw(st.integers(1, 3)), arguments["in_channels"], *size), dtype=dtype)
    )
    for actual, expected in with_and_without(layer, device, x):
        close(actual, expected)


def test_a_convolution_takes_one_im2col_a_group_and_each_way(device, started):
    layer = mx.Conv2D(4, 2, 3, groups=2).to(device)
    y = layer.forward(device.asarray(normal((2, 4, 5, 6), "float32")))
    assert started == ["im2col"] * 2
    assert layer.backward(y, input_grad=False) is None
    assert started == ["im2col"] * 4
    layer.forward(device.asarray(normal((2, 4, 5, 6), "float32")))
    layer.backward(y)
    assert started[6:] == ["im2col", "col2im"] * 2


def test_a_table_of_connections_by_kernels_is_the_layer(device, started):
    layer = mx.TableConv2D([(0, 1), (1, 2), (0,)], kernel_size=(3, 2)).astype("float64")
    for actual, expected in with_and_without(layer, device, normal((2, 3, 6, 5))):
        close(actual, expected)
    assert started == ["im2col", "im2col", "col2im"]


@given(data=st.data(), geometry=strategies.poolings(), dtype=dtypes, rounded=st.booleans())
def test_max_pooling_by_kernels_is_the_layer_bit_for_bit(device, data, geometry, dtype, rounded):
    arguments, size = geometry
    x = data.draw(strategies.arrays((data.draw(st.integers(1, 3)), 2, *size), dtype=dtype))
    x = np.round(x) if rounded else x  # five different numbers: nearly every window has a tie
    for actual, expected in with_and_without(mx.MaxPool2D(**arguments), device, x):
        equal(actual, expected)


@given(data=st.data(), geometry=strategies.poolings())
def test_max_pooling_by_kernels_treats_infinities_and_nan_as_the_layer_does(device, data, geometry):
    arguments, size = geometry
    x = np.random.default_rng(data.draw(st.integers(0, 99))).choice([-np.inf, -1, 2, np.nan], (2, 2, *size))
    for actual, expected in with_and_without(mx.MaxPool2D(**arguments), device, x):
        equal(actual, expected)


def test_max_pooling_by_kernels_gives_a_tie_to_the_first_maximum(device, started):
    layer = mx.MaxPool2D(3, stride=2).to(device)
    layer.forward(device.asarray(np.ones((1, 1, 5, 3), np.float32)))
    grad_x = layer.backward(device.asarray(np.array([[[[3], [5]]]], np.float32)))
    equal(grad_x, np.array([[3, 0, 0], [0, 0, 0], [5, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32)[None, None])
    assert started == ["max_pool", "max_pool_backward"]


def test_max_pooling_by_kernels_remembers_winners_in_windows_of_more_than_256_cells(device):
    x = np.zeros((1, 1, 17, 17), np.float32)
    x[0, 0, 16, 3] = 1  # cell 275
    for actual, expected in with_and_without(mx.MaxPool2D(17), device, x):
        equal(actual, expected)


@given(data=st.data(), dtype=dtypes, size=st.sampled_from([1, 3, 5, 7]), groups=st.integers(1, 3))
def test_response_normalisation_by_kernels_is_the_layer(device, data, dtype, size, groups):
    x = data.draw(strategies.images(channels=groups * data.draw(st.integers(1, 6)), max_side=4, dtype=dtype))
    beta, k = data.draw(st.sampled_from([0.5, 0.75, 1.0])), data.draw(st.sampled_from([0.7, 2.0]))
    layer = mx.LocalResponseNorm(size, alpha=0.9, beta=beta, k=k, groups=groups)
    for actual, expected in with_and_without(layer, device, x):
        close(actual, expected)


def test_response_normalisation_starts_one_kernel_forward_and_two_backward(device, started):
    one_step(mx.LocalResponseNorm(), device, normal((2, 8, 3, 4), "float32"))
    assert started == ["lrn", "lrn_send", "lrn_gather"]


@pytest.mark.parametrize("alpha", [-0.1, 0.0])
def test_response_normalisation_by_kernels_takes_an_alpha_of_any_sign(device, alpha):
    for actual, expected in with_and_without(mx.LocalResponseNorm(3, alpha), device, normal((2, 5, 3, 4))):
        close(actual, expected)


def test_batch_normalisation_in_evaluation_keeps_its_mean_whoever_writes_into_it(device):
    layer, x = mx.BatchNorm2D(3).astype("float64").to(device).eval(), device.asarray(normal((2, 3, 4, 5)))
    y = layer.forward(x)
    layer.running_mean.value[...] = 7
    layer.backward(y)
    close(layer.weight.grad, to_numpy((y * y).sum(axis=(0, 2, 3))))  # the weights are 1, and the biases 0


@pytest.mark.parametrize("layout", ["contiguous", "batch last", "every other", "reversed", "one number"])
def test_relu_by_kernels_keeps_the_layout_of_what_is_dense(device, layout):
    x = device.asarray(normal((2, 3, 4, 5)))
    views = {
        "batch last": lambda: x.transpose(3, 0, 1, 2),
        "every other": lambda: x[:, :, ::2],
        "reversed": lambda: x[:, ::-1],
        "one number": lambda: device.xp.broadcast_to(x[:1, :1, :1, :1], x.shape),
    }
    x = views[layout]() if layout in views else x
    layer = mx.ReLU().to(device)
    y = layer.forward(x)
    assert y.strides == x.strides or layout not in ("contiguous", "batch last")
    grad_x = layer.backward(device.asarray(np.ascontiguousarray(to_numpy(x))))
    assert grad_x.strides == y.strides
    equal(y, np.maximum(to_numpy(x), 0))
    equal(grad_x, np.maximum(to_numpy(x), 0))


@given(
    dtype=dtypes,
    shape=st.sampled_from([(7,), (3, 2), (4, 3, 5, 2)]),
    decay=st.sampled_from([0.0, 0.3]),
    layout=st.sampled_from(["contiguous", "every other"]),
)
def test_the_sgd_rule_by_kernels_is_the_optimizer(device, dtype, shape, decay, layout):
    ends = []
    for machine in (device, CPU):
        weights = [Parameter(machine.asarray(normal(shape, dtype, seed)), decay=not seed) for seed in (0, 1)]
        optimizer = mx.SGD(weights, lr=0.1, momentum=0.9, weight_decay=decay)
        with mx.textbook() if ends else nullcontext():
            for step in range(3):
                for w in weights:
                    w.grad = strategies.laid_out(normal(shape, dtype, seed=step + 2), layout)
                    w.grad = w.grad if machine is CPU else machine.asarray(w.grad)
                optimizer.step()
        ends.append([to_numpy(array) for array in (*(w.value for w in weights), *optimizer.velocities)])
    for actual, expected in zip(*ends, strict=True):
        close(actual, expected)


def test_the_optimizer_starts_one_kernel_for_each_parameter(device, started):
    layer = mx.Conv2D(2, 3, 2)
    one_step(layer, device, normal((2, 2, 3, 4), "float32"))
    del started[:]
    mx.SGD(layer.parameters(), lr=0.1).step()
    assert started == ["sgd", "sgd"]


def test_an_infinite_weight_without_decay_leaves_its_velocity_alone(device):
    w, v, grad = (device.asarray(np.array(values)) for values in ([1, np.inf], [0.5, 0.5], [10.0, 10.0]))
    kernels.sgd(w, v, grad, lr=0.125, momentum=0.5)
    equal(w, np.array([0, np.inf]))
    equal(v, np.array([-1.0, -1.0]))


@pytest.mark.parametrize("name", kernels.INDICES)
def test_a_network_learns_the_same_by_kernels(device, started, monkeypatch, name):
    monkeypatch.setattr(kernels, "SHORT", {"int32": 2**30, "int64": 0}[name])
    x, labels = normal((4, 3, 13, 11)), np.array([0, 2, 1, 2])
    weights = []
    for machine in (device, CPU):
        model = mx.Sequential(
            conv1=mx.Conv2D(3, 4, 3, stride=2, padding=1, rng=1),
            bn1=mx.BatchNorm2D(4),
            relu1=mx.ReLU(),
            norm1=mx.LocalResponseNorm(3, alpha=0.5, groups=2),
            pool1=mx.MaxPool2D(3, stride=2),
            conv2=mx.Conv2D(4, 6, (3, 2), padding=1, groups=2, rng=2),
            flatten=mx.Flatten(),
            fc=mx.Linear(6 * 3 * 3, 3, rng=3),
        )
        model.astype("float64").to(machine)
        loss, optimizer = mx.SoftmaxCrossEntropy(), mx.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
        loss.to(machine)
        with mx.textbook() if weights else nullcontext():
            for _ in range(2):
                loss.forward(model.forward(machine.asarray(x)), labels)
                model.backward(loss.backward())
                optimizer.step()
        weights.append([to_numpy(p.value) for p in model.parameters()])
    assert set(started) == set(NAMES)
    for actual, expected in zip(*weights, strict=True):
        close(actual, expected, times=10)


# ---- threads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks_and_threads", [(1, 1), (3, 5), (2, -3), (40, 7)])
def test_any_number_of_threads_in_any_order_gives_the_same_bits(host, monkeypatch, blocks_and_threads):
    layers = [mx.Conv2D(2, 3, 3, stride=2, padding=1), mx.MaxPool2D(3, stride=2), mx.LocalResponseNorm()]
    x = normal((3, 2, 7, 5), "float32")
    expected = [one_step(layer, CPU, x) for layer in layers]
    monkeypatch.setattr(host, "blocks_and_threads", blocks_and_threads)
    for layer, arrays in zip(layers, expected, strict=True):
        for actual, wanted in zip(one_step(layer, CPU, x), arrays, strict=True):
            equal(actual, wanted)


@pytest.mark.parametrize(("count", "blocks"), [(1, 1), (256, 1), (257, 2), (2**25, 2**16)])
def test_there_is_a_thread_for_each_number_up_to_a_limit(monkeypatch, count, blocks):
    grids = []
    monkeypatch.setattr(
        kernels, "_kernel", lambda *types: lambda grid, block, args: grids.append((grid, block))
    )
    kernels._launch("sgd", [np.zeros(1, np.float32)], count)
    assert grids == [((blocks,), (256,))]


@pytest.mark.parametrize(("size", "index"), [(2**30, np.int32), (2**30 + 1, np.int64)])
def test_arrays_too_large_for_32_bits_are_counted_in_64(monkeypatch, size, index):
    counts = []
    monkeypatch.setattr(
        kernels, "_kernel", lambda *types: lambda grid, block, args: counts.append((types, args[1]))
    )
    monkeypatch.setattr(kernels, "device_of", lambda array: device_of(np.zeros(1)))
    flags = SimpleNamespace(c_contiguous=True)
    kernels._launch("im2col", [SimpleNamespace(dtype=np.dtype(np.float32), size=size, flags=flags)], size)
    [(types, count)] = counts
    assert (types[2], type(count), count) == (np.dtype(index).name, index, size)


# ---- what they refuse ------------------------------------------------------------------------------


def test_half_precision_is_for_the_textbook(host, started):
    y = mx.MaxPool2D(2).forward(np.array([[[[1, 2], [4, 3]]]], np.float16))
    assert (y.dtype, y.item(), started) == (np.float16, 4, [])
    message = r"the max_pool kernel computes in float32 or float64, not in float16: use those, or device.fast = False"
    with pytest.raises(DtypeMismatch, match=message):
        kernels.max_pool(np.zeros((1, 4, 4, 1), np.float16), (2, 2), (2, 2), (0, 0))


def test_a_kernel_refuses_two_precisions_at_a_time(host):
    with pytest.raises(
        DtypeMismatch, match="the sgd kernel got float32 and float64: use astype on one of them"
    ):
        kernels.sgd(np.zeros(3, np.float32), np.zeros(3, np.float32), np.zeros(3), lr=1, momentum=0)


def test_a_kernel_refuses_memory_in_another_order(host):
    message = (
        r"the sgd kernel takes .*; one of shape \(3, 2\) has strides \(8, 24\): use ascontiguousarray, or"
    )
    with pytest.raises(ValueError, match=message):
        kernels.sgd(np.zeros((2, 3)).T, np.zeros((3, 2)), np.zeros((3, 2)), lr=1, momentum=0)


# ---- off, unless asked for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "answer"),
    [(None, "True True False"), ("", "True True False"), ("0", "False False False"), ("1", "True True True")],
)
def test_twins_are_on_unless_the_environment_says_otherwise(value, answer):
    environment = {name: text for name, text in os.environ.items() if name != "MINIALEX_FAST"}
    environment |= {} if value is None else {"MINIALEX_FAST": value}
    code = (
        "import sys; from minialex.devices.twins import fast_by_default, twins_of; twins_of('cuda');"
        "print(*map(fast_by_default, ('cpu', 'cuda', 'sim')), *sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[:3] == answer.split()
    assert "cupy" not in done.stdout.split()


# ---- compiled --------------------------------------------------------------------------------------


def test_cupy_gets_the_source_once_for_each_kernel_and_type(monkeypatch):
    made = []
    cupy = SimpleNamespace(RawKernel=lambda source, name: made.append((source, name)) or name)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(kernels, "_kernel", functools.cache(kernels._kernel.__wrapped__))
    for real in ("float32", "float32", "float64"):
        assert kernels._kernel("lrn", real, "int32", "uint8") == "lrn"
    assert made == [(kernels.source(real, "int32", "uint8"), "lrn") for real in ("float32", "float64")]


@pytest.mark.parametrize("types", TYPES, ids="-".join)
def test_the_source_compiles_for_a_cpu(compiled, types):
    if compiled.compiler is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    library = compiled.library(*types)
    assert all(getattr(library, name) for name in NAMES)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("types", TYPES, ids="-".join)
def test_the_source_compiles_for_a_gpu(types, architecture):
    nvrtc = cupys_nvrtc()
    program = nvrtc.createProgram(kernels.source(*types), "kernels.cu", (), ())
    with suppress(nvrtc.NVRTCError):  # the log says why
        nvrtc.compileProgram(program, [f"--gpu-architecture={architecture}"])
    assert nvrtc.getProgramLog(program).strip("\0\n") == ""  # no warnings either
    code = nvrtc.getCUBIN(program)
    assert all(f".text.{name}\0".encode() in code for name in NAMES)


def cupys_nvrtc():
    """CUDA's compiler, as CuPy calls it; it needs neither a GPU nor a driver."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:  # no CuPy; CuPy without [ctk]
        pytest.skip(f"no NVRTC to compile the kernels for a GPU: {str(error).splitlines()[0][:60]}")
    return nvrtc
