"""BatchNorm's twin where numbers are too large or too small for its short cuts, or are none."""

import numpy as np
import pytest

import minialex as mx
from minialex.fast.cpu import batch_norm


@pytest.fixture(autouse=True)
def _on(monkeypatch):
    monkeypatch.setattr(mx.Device("cpu"), "fast", True)


def step(x, grad_y, weight, textbook=False, dtype=None):
    """y, grad_x and the gradient of the weight."""
    dtype = dtype or x.dtype
    layer = mx.BatchNorm2D(x.shape[1]).astype(dtype)
    layer.weight.value = np.full(x.shape[1], weight, dtype)
    with np.errstate(all="ignore"):
        if textbook:
            with mx.textbook():
                return step_of(layer, x.astype(dtype), grad_y.astype(dtype))
        return step_of(layer, x.astype(dtype), grad_y.astype(dtype))


def step_of(layer, x, grad_y):
    y = layer.forward(x)
    return y, layer.backward(grad_y), layer.weight.grad


def drawn(seed, shape=(3, 2, 2, 4)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_one_odd_gradient_makes_its_channel_odd_as_in_the_textbook(seed, odd):
    """Minus infinity here, and no number there: both ways through the batch are in it."""
    grad_y = drawn(seed + 10)
    grad_y[1, 0, 1, 2] = odd
    grad_x = step(drawn(seed), grad_y, 1.5)[1]
    expected = step(drawn(seed), grad_y, 1.5, textbook=True)[1]
    np.testing.assert_array_equal(np.isfinite(grad_x), np.isfinite(expected))
    assert np.isfinite(grad_x[:, 1]).all()
    np.testing.assert_array_equal(grad_x[:, 0], expected[:, 0])


@pytest.mark.parametrize(
    ("spread", "weight"),
    # scale * weight is above the largest float32, or loses its digits near the smallest.
    [(1e-2, 2e37), (1e10, 1e-35), (1e3, 1e-38), (1.0, 0.0), (1.0, -3.0)],
)
def test_a_weight_of_any_size_is_right(spread, weight):
    x, grad_y = np.float32(spread) * drawn(1), np.float32(1e-3) * drawn(2)
    exactly = step(x, grad_y, weight, textbook=True, dtype="float64")
    for one, other in zip(
        step(x, grad_y, weight)[::2], exactly[::2], strict=True
    ):  # y, and the weight's gradient
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * abs(other).max())


@pytest.mark.parametrize(
    "up_and_down", [2e38, 0.0]
)  # 0: the sum through the variance has room, and this has none
def test_a_sum_of_gradients_that_has_no_room_leaves_grad_x_alone(up_and_down):
    """The textbook multiplies by the small weight first."""
    x, grad_y = drawn(3), np.float32(up_and_down) * np.sign(drawn(4)) + np.float32(1e38)
    (_, grad_x, _), (_, expected, _) = (
        step(x, grad_y, 1e-30, **how) for how in ({}, {"textbook": True, "dtype": "float64"})
    )
    assert (grad_y.sum(axis=(0, 2, 3), dtype="float64") > np.finfo("float32").max).any()
    np.testing.assert_allclose(grad_x, expected, rtol=1e-4, atol=1e-5 * 1e38 * 1e-30)


def test_half_precision_has_room_for_the_sums_of_a_channel():
    x = (100 + drawn(5, (4, 2, 16, 16))).astype(np.float16)  # a channel's sum is above 65,504
    y = step(x, x, 1.0)[0]
    exactly = step(x, x, 1.0, textbook=True, dtype="float64")[0]
    assert abs(y - exactly).max() < 0.2


def test_a_long_sum_of_equal_squares_keeps_its_digits():
    """Two colours: BLAS alone adds up half a million equal squares, and rounds most of the steps in one direction."""
    x = np.where(np.arange(2**19) % 2, 0.3, 0.7).astype(np.float32).reshape(8, 1, 256, 256)
    layer = mx.BatchNorm2D(1)
    y = layer.forward(x)
    layer.backward(np.sign(y))
    exactly = 1 / np.sqrt(1 + layer.eps / 0.2**2)
    np.testing.assert_allclose(abs(y), exactly, rtol=2e-6)
    np.testing.assert_allclose(layer.weight.grad, exactly * y.size, rtol=1e-5)


def test_sums_of_products_have_whole_runs_and_a_rest(monkeypatch):
    monkeypatch.setattr(batch_norm, "RUN", 3)
    for m in (1, 2, 3, 7, 9):
        a, b = np.random.default_rng(m).standard_normal((2, 4, m))
        np.testing.assert_allclose(
            batch_norm.sum_of_products(a, b), (a * b).sum(axis=1), rtol=1e-12, atol=1e-12
        )
