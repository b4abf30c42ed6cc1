"""Whose arrays are these? Names and kernels tell, and what differs first is said."""

import pytest

from minialex import weights
from minialex.models.names import NETWORKS, SMALL_NETWORKS, sketch
from minialex.weights.recognise import first_difference, kernels_of, nearest, recognised

EACH = [(name, False) for name in ("alexnet", "zfnet", "vgg16_bn", "googlenet", "resnet101", "densenet169")]
EACH += [
    (name, True) for name in ("zfnet", "vgg11", "inception_v2", "inception_resnet_v2", "resnet18", "smartnet")
]
ALIKE = {  # but for how many maps there are
    ("inception_resnet_v2", True): ("inception_resnet_v1", True),
    ("alexnet", True): ("alexnet", False),
}


@pytest.mark.parametrize(("name", "small"), EACH)
def test_each_network_is_recognised(name, small):
    arrays = weights.export_grouped(sketch(name, small))
    assert recognised(arrays) == ALIKE.get((name, small), (name, small))
    assert first_difference(arrays, name, small) == ""


def test_classifiers_on_the_way_may_be_away():
    arrays = weights.export_grouped(sketch("googlenet"))
    kept = {name: array for name, array in arrays.items() if not name.startswith("aux")}
    assert len(kept) < len(arrays)
    assert recognised(kept) == ("googlenet", False)


def test_what_differs_first_is_said():
    arrays = weights.export_grouped(sketch("resnet18"))
    assert first_difference(arrays, "resnet34") == "layer1.2.conv1.weight is missing"
    assert first_difference(arrays, "alexnet") == "conv1.weight has a kernel of 7x7, that of alexnet 11x11"
    more = {**arrays, "layer9.weight": arrays["fc.weight"]}
    assert first_difference(more, "resnet18") == "layer9.weight is unknown to resnet18"
    assert recognised(more) is None
    assert recognised({}) is None


@pytest.mark.parametrize(("name", "small"), [("resnet18", False), ("densenet121", True), ("vgg16_bn", False)])
def test_the_nearest_network_is_that_of_which_an_array_is_missing(name, small):
    arrays = weights.export_grouped(sketch(name, small))
    del arrays[list(arrays)[5]]
    assert recognised(arrays) is None
    assert nearest(arrays) == (name, small)
    assert nearest({"what": next(iter(arrays.values()))}) == nearest({}) == ("alexnet", False)


def test_no_other_two_networks_are_alike():
    every = [*((name, False) for name in NETWORKS), *((name, True) for name in SMALL_NETWORKS)]
    kernels = {tuple(kernels_of(*which).items()) for which in every}
    assert len(kernels) == len(every) - len(ALIKE)
