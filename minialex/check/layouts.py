"""How an array may lie in memory: the same numbers, in other places.

A layer gets such arrays from slices, transposes and flips. One that reads the memory, where it should read the array,
is right until then.
"""

import numpy as np

LAYOUTS = ("contiguous", "batch last", "every other", "reversed", "fortran")


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """A copy of x, the same numbers, in another memory layout.

    >>> laid_out(np.array([[1.0, 2.0], [3.0, 4.0]]), "every other").strides
    (32, 16)
    """
    if layout == "batch last":
        return np.moveaxis(np.array(np.moveaxis(x, 0, -1), order="C"), -1, 0) if x.ndim else x.copy()
    if layout == "every other" and x.ndim:
        twice = np.full(
            (*x.shape[:-1], 2 * x.shape[-1]), 7, x.dtype
        )  # in the gaps: whoever reads them gets it wrong
        twice[..., ::2] = x
        return twice[..., ::2]
    if layout == "reversed" and x.ndim:
        return np.array(x[..., ::-1], order="C")[..., ::-1]
    return np.array(x, order="F" if layout == "fortran" else "C")


def laid_out_like(x: np.ndarray, model: np.ndarray) -> np.ndarray:
    """A copy of x that lies in memory as model does: the order of its axes, their directions, and gaps.

    `astype` and `copy(order="K")` keep the order alone. Where the two have other numbers of axes, x gets the layout of
    LAYOUTS that comes nearest.
    """
    if not x.ndim or model.flags.c_contiguous or 0 in model.strides:
        return np.array(x, order="C")
    steps = [abs(stride) for stride, length in zip(model.strides, model.shape, strict=True) if length > 1]
    gaps = min(steps, default=0) > model.itemsize
    order = sorted(
        range(model.ndim), key=lambda axis: -abs(model.strides[axis])
    )  # from the slowest to the fastest
    if x.ndim != model.ndim:
        if gaps or min(model.strides) < 0:
            return laid_out(x, "every other" if gaps else "reversed")
        return laid_out(x, "fortran" if model.flags.f_contiguous else "batch last")
    turned = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in model.strides)
    copy = laid_out(x[turned].transpose(order), "every other" if gaps else "contiguous")
    return copy.transpose(np.argsort(order))[turned]
