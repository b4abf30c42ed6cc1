"""Networks that cost the same, and have their blocks elsewhere: many early, where pictures are large, or many late.

What a block costs in multiply-adds depends on its stage alone in a ResNet. In a DenseNet a layer reads all before it in
its block, so that costs grow with the square of their number; and half of a block's maps go on into the next one. So
the cost of any numbers of blocks n, as t[i] = (n[i] - 1) / step, is a quadratic,

    cost = cost at 1 + sum of a[i] t[i] + sum over i < j of b[i, j] t[i] t[j] + sum of b[i, i] t[i] (t[i] - 1) / 2

whose numbers are differences (Newton's) between the costs of a few networks: a dozen are made, not the thousands that
are compared.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minialex.layers.model import Model
from minialex.layers.settings import number_or_nan
from minialex.study.describe import summary


@dataclass(frozen=True)
class Allocation:
    """layers: blocks of each stage. multiply_adds: of one picture."""

    layers: tuple[int, ...]
    multiply_adds: int


def allocations(
    make: Callable[..., Model], layers: Sequence[int], tolerance: float = 0.02
) -> list[Allocation]:
    """All numbers of blocks, at least one in each stage, that cost as much as `layers`, up to a share of `tolerance`.

    make: a function that is asked for networks as make(layers=(3, 3, 3)): partial(resnet, 20, 10, "cifar"), say.
    multiply_adds are those of `summary`, exactly, for ResNets. From a DenseNet's block half of the maps go on, rounded
    down, which the quadratic does not know: it was off by up to 0.4 % at a growth of 5, by 1 % at one of 3.
    Raises ValueError for a tolerance that is not from 0 to 1, for networks that do not cost more with more blocks, and
    what `make` raises for layers.

    >>> from functools import partial
    >>> from minialex.models import resnet
    >>> found = allocations(partial(resnet, 20, 10, "cifar", width=0.25), (2, 1, 1))
    >>> [one.layers for one in found], found[0].multiply_adds
    ([(1, 1, 2), (1, 2, 1), (2, 1, 1)], 1142944)
    """
    if not 0 <= number_or_nan(tolerance) < 1:
        raise ValueError(f"tolerance must be a share from 0 to 1, as 0.02, not {tolerance!r}")
    wanted = summary(make(layers=layers)).multiply_adds
    stages = len(layers)
    cost = costs_of(make, stages)
    found = []

    def lengthen(begun):
        left = stages - len(begun) - 1
        for count in itertools.count(1):
            multiply_adds = cost((*begun, count, *(1,) * left))
            if multiply_adds > (1 + tolerance) * wanted:
                return
            if left:
                lengthen((*begun, count))
            elif multiply_adds >= (1 - tolerance) * wanted:
                found.append(Allocation((*begun, count), multiply_adds))

    lengthen(())
    return found


def costs_of(make: Callable[..., Model], stages: int) -> Callable[[Sequence[int]], int]:
    """A function that says what a network of `make` costs, of the numbers of blocks in its stages."""
    step = 2 ** (stages - 1)  # so many blocks more, and no half is rounded anywhere
    one, each = np.ones(stages, int), step * np.eye(stages, dtype=int)

    def measured(counts):
        return summary(make(layers=tuple(counts.tolist()))).multiply_adds

    base = measured(one)
    a = np.array([measured(one + each[i]) for i in range(stages)]) - base
    b = np.zeros((stages, stages), int)
    for i, j in itertools.combinations_with_replacement(range(stages), 2):
        b[i, j] = measured(one + each[i] + each[j]) - a[i] - a[j] - base
    if a.min() <= 0 or b.min() < 0:
        raise ValueError(f"the networks of {make} do not cost more with more blocks: does it take `layers`?")

    def cost(counts):
        t = (np.asarray(counts) - 1) / step
        return round(base + a @ t + t @ b @ t - b.diagonal() @ (t * t + t) / 2)

    return cost
