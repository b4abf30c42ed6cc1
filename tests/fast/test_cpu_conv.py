"""The CPU's convolution keeps its columns within a budget, and gives the same whatever it is."""

import tracemalloc
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

import minialex as mx
from minialex.devices.device import to_numpy
from minialex.fast.cpu.conv import Work

MiB = 2**20


@pytest.fixture(params=["as it is", "in pieces"])
def device(request, monkeypatch):
    monkeypatch.setattr(mx.Device("cpu"), "fast", True)
    if request.param == "in pieces":
        request.getfixturevalue("in_pieces")
    return mx.Device("cpu")


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


def close(actual, expected, rtol=1e-11):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("budget", [1, 3_000, 20_000])  # one row of 1 picture, of 2 of 7; two rows of 5
def test_conv2d_gives_the_same_whatever_the_column_budget(device, budget):
    layer = in_float64(mx.Conv2D(2, 3, (3, 2), stride=(2, 1), padding=1), device)
    x, results = normal((7, 2, 9, 11)), []
    for size in (budget, 1024 * MiB):
        with column_budget(device, size):
            y = layer.forward(device.asarray(x))
            grad_x = layer.backward(device.asarray(normal(y.shape)))
        results.append([to_numpy(array) for array in (y, grad_x, layer.weight.grad, layer.bias.grad)])
    for small, large in zip(*results, strict=True):
        close(small, large, rtol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_conv2d_columns_of_a_large_batch_stay_within_the_budget(device, direction, monkeypatch):
    layer = mx.Conv2D(3, 4, 5).to(device)
    x = device.asarray(normal((96, 3, 28, 28)).astype(np.float32))
    grad_y = device.asarray(np.ones((96, 4, 24, 24), np.float32))
    columns = layer.column_bytes(x.shape, grad_y.shape) // 5  # 3.4 MB, were they made at once
    with_margins = grad_y.nbytes * (24 + 2 * 4) // 24  # the largest array that is no column: 1.2 MB
    threads, empty = len(device.shares(96, least=96)), device.empty

    def largest(budget):
        """The largest array that is asked for, in bytes."""
        asked = []
        monkeypatch.setattr(device, "empty", lambda *what: asked.append(empty(*what).nbytes) or empty(*what))
        with column_budget(device, budget):
            layer.forward(x)
            if direction == "backward":
                asked.clear()
                layer.backward(grad_y)
        return max(asked)

    assert largest(1024 * MiB) >= columns // threads
    assert largest(MiB // 2) <= with_margins


def test_conv2d_cuts_one_picture_that_exceeds_the_budget(device):
    layer = mx.Conv2D(4, 4, 5).to(device)
    x = device.asarray(normal((1, 4, 100, 100)).astype(np.float32))
    with column_budget(device, MiB // 4):  # its columns would take 3.5 MB
        assert peak_memory(lambda: layer.forward(x)) < 2 * x.nbytes + MiB


def test_conv2d_without_input_grad_makes_no_room_for_it(device):
    layer = mx.Conv2D(3, 2, 1, stride=50).to(device)
    x = device.asarray(normal((4, 3, 200, 200)).astype(np.float32))
    y = layer.forward(x)  # of 4x4 pixels
    assert peak_memory(lambda: layer.backward(y, input_grad=False)) < x.nbytes // 4


@pytest.mark.parametrize(("kernel", "padding"), [(1, 1), (2, 2), ((1, 3), (2, 1)), ((3, 1), (1, 1))])
def test_conv2d_takes_padding_as_wide_as_its_kernel(device, kernel, padding):
    layer = in_float64(mx.Conv2D(2, 3, kernel, padding=padding), device)
    x, results = normal((2, 2, 4, 5)), []
    for text in (mx.textbook, nullcontext):
        with text():
            y = layer.forward(device.asarray(x))
            results.append((to_numpy(y), to_numpy(layer.backward(device.asarray(normal(y.shape))))))
    for own, twin in zip(*results, strict=True):
        close(twin, own)


def test_few_pictures_are_shared_by_rows_and_many_by_pictures(monkeypatch):
    """A thread is given 16 pictures at least, which keeps the runs of memory long."""
    device, layer = mx.Device("cpu"), mx.Conv2D(64, 64, 3, padding=1)
    monkeypatch.setattr(device, "threads", 2)
    first, second = Work(layer, np.zeros((64, 56, 56, 8), np.float32)).shares()
    assert first == (slice(0, 28), slice(0, 28), slice(0, 8))
    assert second == (slice(28, 56), slice(28, 56), slice(0, 8))
    first, second = Work(layer, np.zeros((64, 56, 56, 32), np.float32)).shares()
    assert (first.rows, first.pictures, second.pictures) == (slice(0, 56), slice(0, 16), slice(16, 32))
