"""What is set in a layer that is there already is checked as what it was made with."""

import numpy as np
import pytest

import minialex as mx

MADE = {
    "Dropout": mx.Dropout,
    "LocalResponseNorm": mx.LocalResponseNorm,
    "BatchNorm2D": lambda **how: mx.BatchNorm2D(4, **how),
    "Conv2D": lambda **how: mx.Conv2D(4, 2, **{"kernel_size": 3, **how}),
    "MaxPool2D": lambda **how: mx.MaxPool2D(**{"kernel_size": 2, "stride": 2, **how}),
    "AvgPool2D": lambda **how: mx.AvgPool2D(**{"kernel_size": 2, **how}),
    "AdaptiveAvgPool2D": lambda **how: mx.AdaptiveAvgPool2D(**{"size": 2, **how}),
}
WRONG = [
    ("Dropout", "p", (-0.1, 1, 1.5, float("nan"), "0.5")),
    ("Dropout", "scaling", ("invertd", None, 1)),
    ("LocalResponseNorm", "size", (0, -1, 4, 2.5, True)),
    ("BatchNorm2D", "eps", (-1e-5, float("nan"), "0")),
    ("BatchNorm2D", "momentum", (-0.1, 1.1, float("nan"), "0")),
    ("Conv2D", "stride", (0, -1, 1.5, (1, 2, 3), "2", None)),
    ("MaxPool2D", "stride", (0, -1, 1.5, (1, 2, 3), "2", None)),
    ("AvgPool2D", "kernel_size", (0, -1, 1.5, (2,), None)),
    ("AvgPool2D", "padding", (-1, 0.5, (0, -1), None)),
    ("AdaptiveAvgPool2D", "size", (0, (2, 0), 1.5, None)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "what", "value"), [(n, what, v) for n, what, vs in WRONG for v in vs])
def test_what_makes_no_sense_is_refused_and_the_layer_stays_as_it_was(name, what, value):
    layer = MADE[name]()
    before = getattr(layer, what)
    with pytest.raises(ValueError, match=f"^{name}: {what} .*{str(value)[:3]}".replace("(", r"\(")):
        setattr(layer, what, value)
    assert getattr(layer, what) == before


@pytest.mark.parametrize(
    ("name", "what", "value"),
    [("Conv2D", "stride", 2), ("Conv2D", "padding", 1), ("MaxPool2D", "stride", 1), ("MaxPool2D", "kernel_size", 3),
     ("AvgPool2D", "padding", (1, 0)), ("AdaptiveAvgPool2D", "size", 3), ("LocalResponseNorm", "size", 3),
     ("LocalResponseNorm", "alpha", np.float64(0.5)), ("BatchNorm2D", "eps", np.float64(0.1))],
)  # fmt: skip
def test_what_is_set_later_does_what_it_does_from_the_start(name, what, value):
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 7)).astype(np.float32)
    grad = None
    found = []
    for layer in (MADE[name](), MADE[name](**{what: value})):
        setattr(layer, what, value)
        y = layer.forward(x)
        grad = np.ones_like(y) if grad is None else grad
        found.append((y, layer.backward(grad), getattr(layer, what)))
    (y, grad_x, kept), (wanted_y, wanted_grad, wanted) = found
    np.testing.assert_array_equal(y, wanted_y)
    np.testing.assert_array_equal(grad_x, wanted_grad)
    assert (kept, type(kept), y.dtype) == (wanted, type(wanted), np.float32)


@pytest.mark.parametrize("pool", [mx.MaxPool2D, mx.AvgPool2D])
def test_padding_of_more_than_half_of_the_window_is_refused_in_forward(pool):
    layer = pool(4, padding=2)
    layer.kernel_size = 3
    with pytest.raises(ValueError, match=r"padding \(2, 2\) is more than half of the window \(3, 3\)"):
        layer.forward(np.zeros((1, 1, 8, 8), np.float32))
