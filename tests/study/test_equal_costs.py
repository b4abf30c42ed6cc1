"""Allocations of blocks: none is left out, and each costs what it should."""

import itertools
from functools import partial

import pytest

import minialex as mx
from minialex.study.equal_costs import allocations, costs_of

RESNET = partial(mx.models.resnet, 14, 3, "cifar", width=0.2)
DENSENET = partial(mx.models.densenet, 16, 3, "small", width=0.5)


def cost_of(make, layers):
    return mx.summary(make(layers=layers)).multiply_adds


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_resnets_of_equal_blocks_cost_exactly_the_same(shortcut):
    make = partial(RESNET, shortcut=shortcut)
    found = allocations(make, (2, 2, 2), tolerance=0)
    assert [one.layers for one in found] == [
        n for n in itertools.product(range(1, 5), repeat=3) if sum(n) == 6
    ]
    costs = {cost_of(make, one.layers) for one in found[::3]}
    assert costs == {one.multiply_adds for one in found} == {cost_of(make, (2, 2, 2))}


def test_all_allocations_within_the_tolerance_are_found_and_no_others():
    wanted, tolerance = cost_of(DENSENET, (2, 2, 2)), 0.1
    found = {one.layers: one.multiply_adds for one in allocations(DENSENET, (2, 2, 2), tolerance)}
    few = [*itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 5))]
    exact = {layers: cost_of(DENSENET, layers) for layers in few}
    for layers, cost in exact.items():
        if abs(cost / wanted - 1) < tolerance - 0.01:
            assert layers in found
        if abs(cost / wanted - 1) > tolerance + 0.01:
            assert layers not in found
        if layers in found:
            assert found[layers] == pytest.approx(cost, rel=0.01)
    assert sum(layers in found for layers in few) > 2
    assert (2, 2, 2) in found


def test_costs_are_exact_where_no_half_is_rounded():
    cost = costs_of(DENSENET, 3)
    for layers in ((1, 1, 1), (5, 1, 9), (1, 9, 3), (9, 5, 2)):
        assert cost(layers) == cost_of(DENSENET, layers)


def test_four_stages_are_counted_too():
    make = partial(mx.models.resnet, 18, 3, width=1 / 64, image_size=32)
    cost = costs_of(make, 4)
    for layers in ((3, 4, 6, 3), (1, 2, 1, 4)):
        assert cost(layers) == cost_of(make, layers)


def test_what_cannot_be_is_told():
    with pytest.raises(ValueError, match=r"tolerance must be a share from 0 to 1, as 0\.02, not 2"):
        allocations(RESNET, (2, 2, 2), 2)
    with pytest.raises(ValueError, match=r"layers must be 3 whole numbers >= 1.*not \(2, 2\)"):
        allocations(RESNET, (2, 2))
    with pytest.raises(ValueError, match="do not cost more with more blocks: does it take `layers`"):
        allocations(lambda layers: RESNET(), (2, 2, 2))


def test_the_name_is_public():
    assert mx.allocations is allocations
