"""Batch normalisation over processes computes what BatchNorm2D does: here with a group of one, without MPI."""

import numpy as np
import pytest

import minialex as mx
from minialex.cluster.batch_norm import over_processes


class Alone:
    """A group of one process."""

    def sum(self, array):
        return array


def step(layer, x, grad_y):
    """y, and all that changes or is returned."""
    y = layer.forward(x)
    grad_x = layer.backward(grad_y)
    kept = [p.grad for p in layer.parameters()] + [buffer.value for _, buffer in layer.named_buffers()]
    return [y, grad_x, *kept]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2e-3), ("float32", 1e-6), ("float64", 1e-12)])
def test_one_process_alone_has_batch_norms_numbers(training, dtype, rounding):
    """In float16 the square of 300 has no room, nor has the sum of many thousand numbers."""
    x = np.tile(np.array([300, -300, 200, 100], dtype), 10_000).reshape(100, 1, 20, 20)
    grad_y = np.random.default_rng(0).uniform(-1, 1, x.shape).astype(dtype)
    alone, over = (mx.Sequential(mx.BatchNorm2D(1)).astype(dtype).train(training) for _ in range(2))
    expected = step(alone, x, grad_y)
    with over_processes(over, Alone()):
        found = step(over, x, grad_y)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(
            ours, theirs, rtol=rounding, atol=rounding * abs(theirs).max(), strict=True
        )
