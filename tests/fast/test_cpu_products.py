"""Products in strips are the product, and are cut where that makes small ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex.fast.cpu import products

CPU = mx.Device("cpu")


@given(rows=st.integers(1, 40), inner=st.integers(1, 12), columns=st.integers(1, 40), several=st.integers(1, 3),
       small=st.sampled_from([1, 50, 200, 10**6]), apart=st.booleans(), both=st.booleans(), data=st.data())  # fmt: skip
def test_a_product_in_strips_is_the_product(rows, inner, columns, several, small, apart, both, data):
    """Strips of rows or of columns; into an array whose last two axes are one in memory, or lie `apart`."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a = rng.standard_normal((several, rows, inner) if both else (rows, inner))
    b, c = rng.standard_normal((several, inner, 2 * columns)), rng.standard_normal((rows, 1, 1))
    wanted = a @ b
    room = rng.standard_normal((rows, several, 2, columns + 3 * apart))
    out = room[..., :columns].transpose(1, 0, 2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "SMALL", small)
        patch.setattr(products, "NARROW", 1)
        np.testing.assert_allclose(products.matmul(CPU, a, b), wanted, rtol=1e-12, atol=1e-12)
        products.matmul_plus(CPU, a, b, c, out=out)
    np.testing.assert_allclose(out.reshape(wanted.shape), wanted + c[..., 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "strips"),
    [(30, 80, 640, 2), (150, 640, 16, 2), (6, 25, 1792, 1), (128, 1200, 1728, 1), (150, 1280, 16, 1)],
)
def test_products_are_cut_where_that_makes_small_ones(monkeypatch, rows, inner, columns, strips):
    """LeNet's C3 at batch 64, backward; its C1; AlexNet's conv2; C3 at batch 128, of which strips would be narrow."""
    calls = []
    matmul = np.matmul

    def count(a, b, out):
        calls.append(out.shape)
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", count)
    products.matmul(CPU, np.ones((rows, inner)), np.ones((inner, columns)))
    cut = (rows // strips, columns) if rows > columns else (rows, columns // strips)
    assert calls == [cut] * strips


def test_an_invalid_value_in_a_product_is_in_the_result_and_no_warning():
    """BLAS reports them of numbers that it drops, too; so a warning says nothing."""
    product = np.empty((1, 2))
    products.multiply(np.array([[np.inf, 1.0]]), np.array([[0.0, 1.0], [1.0, 1.0]]), product)
    np.testing.assert_array_equal(product, [[np.nan, np.inf]])
