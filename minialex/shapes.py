"""Pairs, paddings, output sizes, shares and choices. The formula for an output size exists once, here."""

import operator
from functools import partial
from itertools import pairwise

import numpy as np

from minialex.words import counted


def pair(value: int | tuple[int, int], name: str, least: int = 1) -> tuple[int, int]:
    """`3` becomes `(3, 3)`; a pair `(height, width)` stays. Both must be whole numbers, at least `least`.

    >>> pair(3, "stride"), pair((1, 2), "stride")
    ((3, 3), (1, 2))
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(is_whole(v) and v >= least for v in values):
        raise ValueError(
            f"{name} must be a whole number >= {least} or a pair (height, width) of them, not {value!r}"
        )
    return int(values[0]), int(values[1])


# What a sliding window's numbers become, whenever they are set.
SLIDING = {"kernel_size": pair, "stride": pair, "padding": partial(pair, least=0)}


def positive(value: int, name: str) -> int:
    """`value` as an int, or a ValueError that says what it should have been."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, not {value!r}")
    return int(value)


def is_whole(value) -> bool:
    """Is this an integer, Python's or NumPy's? (True and False are not.)"""
    if isinstance(value, (bool, np.bool_)):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def numbers_of(chosen, count: int, what: str) -> np.ndarray:
    """Which of `count` are chosen, as int64: by their numbers (below 0: from the end), or by a mask of all of them.

    >>> numbers_of([2, 0], 3, "part"), numbers_of([False, True, True], 3, "part")
    (array([2, 0]), array([1, 2]))
    """
    chosen = np.asarray(chosen if hasattr(chosen, "__len__") else list(chosen))
    if not chosen.size and chosen.dtype.kind != "b":
        return np.zeros(0, np.int64)
    mask = chosen.dtype.kind == "b"
    if chosen.ndim != 1 or chosen.dtype.kind not in "iub" or (mask and len(chosen) != count):
        raise ValueError(
            f"{what} takes whole numbers, (n,), or a mask of all {count}, not {chosen.dtype} {chosen.shape}"
        )
    if not mask and not (-count <= chosen.min() and chosen.max() < count):
        raise IndexError(
            f"{what}: there is no number {chosen[(chosen < -count) | (chosen >= count)][0]} among {count}"
        )
    return np.arange(count)[chosen]


def output_size(size: int, kernel: int, stride: int, padding: int, ceil: bool = False) -> int:
    """How many positions a window of `kernel` has on `size` pixels with `padding` on either side.

        1 + floor((size + 2 padding - kernel) / stride)

    ceil: rounded up instead: the last window may hang over, but it begins in the picture, not in the padding after it.
    Raises ValueError when the window does not fit even once.

    >>> output_size(227, kernel=11, stride=4, padding=0)
    55
    >>> output_size(112, kernel=3, stride=2, padding=0), output_size(112, 3, 2, 0, ceil=True)
    (55, 56)
    """
    padded = size + 2 * padding
    if kernel > padded:
        raise ValueError(
            f"a window of {kernel} does not fit into {size} + 2*{padding} padding = {counted(padded, 'pixel')}"
        )
    if not ceil:
        return 1 + (padded - kernel) // stride
    positions = 1 - (kernel - padded) // stride
    return positions - ((positions - 1) * stride >= size + padding)


def output_sizes(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    ceil: bool = False,
) -> tuple[int, int]:
    """`output_size` for height and width.

    >>> output_sizes((28, 28), kernel=(5, 5), stride=(1, 1), padding=(2, 2))
    (28, 28)
    """
    height, width = (output_size(*axis, ceil) for axis in zip(size, kernel, stride, padding, strict=True))
    return height, width


def overhang(size: int, kernel: int, stride: int, padding: int) -> int:
    """How far the last window hangs over the padded picture, where sizes are rounded up.

    >>> overhang(112, kernel=3, stride=2, padding=0)
    1
    """
    last = (output_size(size, kernel, stride, padding, ceil=True) - 1) * stride + kernel
    return max(0, last - size - 2 * padding)


def parts_of(count: int, parts: int) -> list[slice]:
    """So many things in so many parts, as even as can be; where one has less, it is an earlier one.

    >>> parts_of(5, parts=3)
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    return [slice(*ends) for ends in pairwise(count * number // parts for number in range(parts + 1))]
