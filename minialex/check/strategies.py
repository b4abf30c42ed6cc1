"""Hypothesis strategies: odd inputs for layers, so that three lines test a layer of your own.

    @given(x=strategies.images(away_from=0.0))
    def test_my_layer(x):
        assert gradcheck(MyLayer(), x)

What is drawn are sizes, a memory layout and a seed; the numbers come from the seed. So a failing case shrinks to the
smallest picture that fails.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minialex.check.layouts import LAYOUTS, laid_out

__all__ = [
    "LAYOUTS", "arrays", "convolutions", "images", "labels", "laid_out", "poolings", "vectors", "window_geometry",
]  # fmt: skip


@st.composite
def images(
    draw,
    channels=None,
    max_batch: int = 3,
    min_side: int = 1,
    max_side: int = 9,
    dtype: Any = "float64",
    away_from: float | None = None,
    distinct: bool = False,
) -> np.ndarray:
    """Batches (N, C, H, W) of random numbers, H and W apart, in any memory layout.

    channels: a number; left out, 1 to 5. away_from: no number comes closer to it than 0.1 (for kinks).
    distinct: no two numbers are closer than 0.01 (for maxima).
    """
    side = st.integers(min_side, max_side)
    N = draw(st.integers(1, max_batch))
    C = channels if channels is not None else draw(st.integers(1, 5))
    return draw(arrays((N, C, draw(side), draw(side)), dtype=dtype, away_from=away_from, distinct=distinct))


@st.composite
def vectors(
    draw, features=None, max_batch: int = 4, dtype: Any = "float64", away_from: float | None = None
) -> np.ndarray:
    """Batches (N, features) of random numbers, in any memory layout; features left out: 1 to 8."""
    N = draw(st.integers(1, max_batch))
    D = features if features is not None else draw(st.integers(1, 8))
    return draw(arrays((N, D), dtype=dtype, away_from=away_from))


@st.composite
def arrays(
    draw, shape, dtype: Any = "float64", away_from: float | None = None, distinct: bool = False
) -> np.ndarray:
    """An array of this shape, in any memory layout; read-only, so that a layer that writes into it is found out."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if distinct:
        size = int(np.prod(shape))
        values = (rng.permutation(size) - size / 2).reshape(shape) * 0.02 + 0.005
    else:
        values = rng.uniform(-2.0, 2.0, shape)
    if away_from is not None:
        distance = values - away_from
        values = away_from + np.where(distance < 0, -1, 1) * (abs(distance) + 0.1)
    values = laid_out(values.astype(dtype), draw(st.sampled_from(LAYOUTS)))
    values.flags.writeable = False
    return values


def labels(count: int, classes: int):
    """Labels (count,) of `classes` classes, of any integer type that can hold them."""
    names = ["uint8", "int8", "int32", "int64", "uint64"]
    types = st.sampled_from([name for name in names if np.iinfo(name).max >= classes - 1])
    return st.builds(
        lambda seed, dtype: np.random.default_rng(seed).integers(0, classes, count).astype(dtype),
        st.integers(0, 2**32 - 1),
        types,
    )


@st.composite
def convolutions(draw, max_channels: int = 3, groups: Sequence[int] = (1, 2, 3)):
    """Arguments for a Conv2D, and the height and width of an input that it can take: (arguments, (H, W))."""
    G = draw(st.sampled_from(groups))
    kernel, stride, padding, size = draw(window_geometry())
    arguments = {
        "in_channels": G * draw(st.integers(1, max_channels)),
        "out_channels": G * draw(st.integers(1, max_channels)),
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "groups": G,
        "bias": draw(st.booleans()),
    }
    return arguments, size


@st.composite
def poolings(draw):
    """Arguments for a MaxPool2D or AvgPool2D, and an input size that it can take: (arguments, (H, W))."""
    kernel, stride, padding, size = draw(window_geometry(half_padding=True))
    return {"kernel_size": kernel, "stride": stride, "padding": padding}, size


@st.composite
def window_geometry(draw, half_padding: bool = False):
    """(kernel, stride, padding, size), each (height, width): overlap, gaps, windows that do not tile the input."""

    def axis():
        kernel = draw(st.integers(1, 4))
        padding = draw(st.integers(0, kernel // 2 if half_padding else 2))
        size = draw(st.integers(max(1, kernel - 2 * padding), 8))
        return kernel, draw(st.integers(1, 4)), padding, size

    return tuple(zip(axis(), axis(), strict=True))
