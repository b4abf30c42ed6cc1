"""Networks by their names, their small versions, and back from what a network says of itself to its name."""

import json

import numpy as np
import pytest

import minialex as mx
from minialex.models.names import NETWORKS, SMALL_NETWORKS, name_of, network, rebuilt, sketch

FEW = ["zfnet", "vgg11_bn", "googlenet", "inception_resnet_v1", "resnet50", "densenet121", "smartnet"]
EACH = [*((name, False) for name in [*FEW, "alexnet", "vgg19"]), *((name, True) for name in FEW)]


@pytest.mark.parametrize(("name", "small"), EACH)
def test_a_network_is_named_and_made_again_by_what_it_says_of_itself(name, small):
    model = sketch(name, small)
    assert name_of(model.architecture) == (name, small)
    assert model.input.crop == (32 if small else model.input.crop)
    again = rebuilt(model.architecture, num_classes=3, devices="cpu")
    assert again.architecture == {**model.architecture, "num_classes": 3}
    names, others = ([n for n, _ in m.named_parameters()] for m in (model, again))
    assert names == others


@pytest.mark.parametrize("name", ["zfnet", "vgg16", "vgg13_bn", "resnet34", "densenet121"])
def test_a_small_version_takes_pictures_of_32_pixels(name):
    model = sketch(name, small=True).eval()
    assert model.forward(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 2)


def test_each_small_resnet_and_densenet_is_another_one():
    depths = {
        name: make.args[0] for name, make in SMALL_NETWORKS.items() if name.startswith(("resnet", "dens"))
    }
    assert len(set(depths.values())) == 9
    assert depths["resnet18"] == 20
    assert depths["densenet161"] == 250


def test_each_network_has_a_small_version():
    assert set(SMALL_NETWORKS) == set(NETWORKS)
    model = network("alexnet", small=True)(10, "cpu")
    assert (sum(p.value.size for p in model.parameters()), model.input.crop) == (1_279_082, 96)


def test_a_network_that_there_is_not_is_told_its_neighbours():
    with pytest.raises(ValueError, match="there is no network 'vgg61'; the nearest are vgg1"):
        network("vgg61", small=True)


def test_a_network_without_a_name_has_one_like_theirs():
    assert name_of(mx.models.densenet(10, preset="small").architecture) == ("densenet10", True)
    assert name_of(mx.models.lenet5().architecture)[0] == "lenet5"


def test_a_family_that_there_is_not_is_named():
    with pytest.raises(ValueError, match=r"there is no network 'resnext' .*; there are alexnet, zfnet, vgg"):
        rebuilt({"network": "resnext"})


@pytest.mark.parametrize(
    "model",
    [
        mx.models.resnet(20, 3, preset="cifar", width=0.1, layers=(2, 4, 3)),
        mx.models.densenet(40, 3, preset="small", width=0.1, layers=[4, 6, 8]),
    ],
    ids=str,
)
def test_other_numbers_of_blocks_have_another_name_and_are_made_again(model):
    numbers = "_".join(map(str, model.architecture["layers"]))
    name, small = name_of(model.architecture)
    assert name == f"{model.architecture['network']}{model.architecture['depth']}_{numbers}"
    assert small
    again = rebuilt(json.loads(json.dumps(model.architecture)))
    assert again.architecture == model.architecture
    assert [p.value.shape for p in again.parameters()] == [p.value.shape for p in model.parameters()]
