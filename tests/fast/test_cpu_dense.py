"""Dense on a CPU keeps its maps once."""

import numpy as np
import pytest

import minialex as mx
from minialex.fast.cpu.dense import runs


class Watched(mx.layers.Layer):
    """One more map, the sum of what it reads, and a note of the array that it got."""

    def __init__(self, maps=1):
        self.maps, self.got = maps, []

    def forward(self, x):
        self.got.append(x)
        self.save(channels=x.shape[1])
        return np.repeat(x.sum(axis=1, keepdims=True), self.maps, axis=1)

    def backward(self, grad_y):
        return np.repeat(grad_y.sum(axis=1, keepdims=True), self.saved.channels, axis=1)


@pytest.fixture
def x(monkeypatch):
    monkeypatch.setattr(mx.Device("cpu"), "fast", True)
    return np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)


def test_what_the_nodes_read_is_one_array_and_y_is_it_as_well(x):
    nodes = [Watched() for _ in range(4)]
    y = mx.Dense(*nodes).forward(x)
    whole = nodes[1].got[0]
    for number, node in enumerate(nodes[1:], start=1):
        assert node.got[0].shape[1] == 3 + number
        assert node.got[0].ctypes.data == whole.ctypes.data == y.ctypes.data


@pytest.mark.parametrize("maps", [(1, 3, 1), (3, 1, 1), (1, 1, 4)])
def test_nodes_may_make_more_maps_than_the_first(x, maps):
    layer = mx.Dense(*map(Watched, maps))
    y = layer.forward(x)
    grad_x = layer.backward(y)
    with mx.textbook():
        np.testing.assert_array_equal(y, layer.forward(x))
        np.testing.assert_array_equal(grad_x, layer.backward(y))


def test_each_map_that_is_read_across_a_gap_gets_its_own_share_of_the_gradient(x):
    layer = mx.Dense(mx.Conv2D(3, 1, 1), mx.Conv2D(4, 2, 1), mx.Conv2D(5, 1, 1), reads=[(0,), (0, 1), (0, 2)])
    y = layer.forward(x)
    grad_x = layer.backward(y)
    with mx.textbook():
        np.testing.assert_allclose(y, layer.forward(x), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(grad_x, layer.backward(y), rtol=1e-5, atol=1e-5)


def test_a_node_that_makes_maps_of_another_size_is_named(x):
    layer = mx.Dense(first=mx.Identity(), second=mx.MaxPool2D(2))
    with pytest.raises(ValueError, match=r"second makes shape \(2, 6, 2, 2\) of \(2, 6, 4, 4\)"):
        layer.forward(x)


def test_the_gradient_that_backward_gets_is_not_written_into(x):
    layer = mx.Dense(Watched(), Watched())
    grad_y = np.ones_like(layer.forward(x)).transpose(1, 2, 3, 0).copy().transpose(3, 0, 1, 2)
    layer.backward(grad_y)
    assert (grad_y == 1).all()


def test_maps_that_lie_one_behind_the_other_are_one_run():
    assert runs([2, 1, 4, 1], (0, 1, 2)) == [(0, 7)]
    assert runs([2, 1, 4, 1], (1, 3)) == [(2, 3), (7, 8)]
