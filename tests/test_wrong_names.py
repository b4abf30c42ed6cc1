"""A name that is no choice is answered with the one that was meant, wherever Python code may give one."""

import numpy as np
import pytest

import minialex as mx
from minialex.data.augment import Prepare
from minialex.data.folder import find_pictures
from minialex.data.pictures import draw_arrays
from minialex.models.names import network, rebuilt
from minialex.training.networks import freeze
from minialex.training.optim import make_schedule
from minialex.words import check_choice

X = np.zeros((1, 1, 28, 28), np.float32)
WITH_SMALL = (
    "zfnet vgg googlenet inception_v2 inception_v3 inception_v4 inception_resnet densenet smartnet".split()
)


READS = mx.models.smartnet(1, num_classes=3, preset="small", width=0.1).grid.reads()


def small():
    return mx.Sequential(conv1=mx.Conv2D(1, 2, 3), relu1=mx.ReLU())


def traced():
    return mx.trace(small(), X)


def with_reads(reads):
    return mx.models.smartnet(1, num_classes=3, preset="small", width=0.1, reads=reads)


WRONG = {
    "a variant": (lambda: mx.models.lenet5("modren"), "modern"),
    "a variant that is a number": (lambda: mx.models.lenet5(1998), '"1998"'),
    "an activation": (lambda: mx.models.lenet5(activation="sigmiod"), "sigmoid"),
    "a preset of AlexNet": (lambda: mx.models.alexnet(preset="bvcl"), "bvlc"),
    "an init of AlexNet": (lambda: mx.models.alexnet(init="perset"), "preset"),
    "a shortcut": (lambda: mx.models.resnet(shortcut="a"), "A"),
    "a network to rebuild": (lambda: rebuilt({"network": "resnett"}), "resnet"),
    "a source": (lambda: with_reads({**READS, "exit1": ["block1.layr1"]}), "block1.layer1"),
    "a reader": (lambda: with_reads({**READS, "exit": []}), "exit1"),
    "a merge": (lambda: mx.Branches({"a": mx.ReLU()}, merge="conact"), "concat"),
    "a scaling": (lambda: mx.Dropout(0.5, scaling="invreted"), "inverted"),
    "an initialiser": (lambda: mx.Conv2D(1, 1, 1, init="xavier"), "xavier_uniform"),
    "an initialiser of a table": (lambda: mx.TableConv2D([[0]], 1, init="he_norm"), "he_normal"),
    "an initialiser of Linear": (lambda: mx.Linear(1, 1, init="he_norm"), "he_normal"),
    "a type": (lambda: small().astype("flaot64"), "float64"),
    "a device": (lambda: small().to("cud:0"), '"cuda:0"'),
    "a device of Device": (lambda: mx.Device("gpu"), '"cuda:0"'),
    "devices": (lambda: mx.place("cpu,smi:1"), '"sim:1"'),
    "a schedule": (lambda: make_schedule("cosin", 0.1, 2), "cosine"),
    "a schedule of fit": (lambda: mx.train.fit(small(), X, [0], lr=1, epochs=1, schedule="setp"), "step"),
    "a layer to freeze": (lambda: freeze(mx.models.lenet5(), "output1"), "output"),
    "a layer inside another to freeze": (
        lambda: freeze(mx.models.resnet(8, 3, "cifar", width=0.1), "layer1.0.covn1"), "layer1.0.conv1"),
    "a data set": (lambda: mx.data.load("minst"), "mnist"),
    "a data set with another sign": (lambda: mx.data.class_names("Fashion_MNIST"), "fashion-mnist"),
    "a drawn class": (lambda: draw_arrays(2, classes=["circle-cold"]), "circle-cool"),
    "a drawn split": (lambda: draw_arrays(2, split="valid"), "val"),
    "a split": (lambda: find_pictures(".", "tarin"), "train"),
    "an order of colours": (lambda: Prepare(crop=2, order="rgb"), "RGB"),
    "a colour rule": (lambda: Prepare(crop=2, colour_rule="papper"), "paper"),
    "a layer": (lambda: small()["covn1"], "conv1"),
    "a layer of a network": (lambda: mx.models.lenet5()["ouput"], "output"),
    "a layer whose features are wanted": (lambda: mx.neighbours.features(small(), X, "relu"), "relu1"),
    "a layer to draw": (lambda: mx.plot.feature_maps(small(), X, layers=["relu"]), "relu1"),
    "an array to light": (lambda: mx.plot.numbers({"grad": np.ones(2)}, light={"gard": 0}), "grad"),
    "a traced layer": (lambda: traced().of("conv"), "conv1"),
    "a pair to catch": (lambda: mx.check.catches(lambda *pair: True, of="maxpol"), "maxpool"),
    "a check with planted bugs": (lambda: mx.check.planted.describe("relu_foward"), "relu_forward"),
    "a kind of layer": (lambda: mx.check.mine().put_into(small(), "Conv2d"), "Conv2D"),
    "a name of the package": (lambda: mx.SoftmaxCrossEntrpy, "SoftmaxCrossEntropy"),
    "a preset of resnet": (lambda: mx.models.resnet(preset="cifra"), "cifar"),
}  # fmt: skip
WRONG |= {
    f"a preset of {name}": (lambda name=name: getattr(mx.models, name)(preset="smal"), "small")
    for name in WITH_SMALL
}
NEAR = {  # these say several
    "an array of a trace": (lambda: traced()["conv1.colums"], "near it: conv1.columns"),
    "a check": (lambda: mx.check.keep("relu_foward", abs), "near it: relu_forward"),
    "a network's name": (lambda: network("resent50"), "the nearest are resnet50"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_name_that_was_meant_is_said(what):
    call, meant = WRONG[what]
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)) as caught:
        call()
    assert f"(did you mean {meant}?)" in str(caught.value)


@pytest.mark.parametrize("what", NEAR)
def test_where_several_are_near_they_are_said(what):
    call, said = NEAR[what]
    with pytest.raises((ValueError, KeyError), match=said):
        call()


@pytest.mark.parametrize("value", [None, 3, ["bread"], np.zeros(2), "", "zzz"])
def test_what_is_near_to_nothing_is_told_the_choices_alone(value):
    with pytest.raises(ValueError, match=r"^unknown preset .*: use paper, bvlc$") as caught:
        check_choice(value, ("paper", "bvlc"), "preset")
    assert "did you mean" not in str(caught.value)


def test_a_choice_that_there_is_passes():
    assert check_choice("paper", ("paper", "bvlc"), "preset") is None


def test_a_head_is_found_by_its_name_and_a_number_is_a_place():
    model = mx.Exits({"a": mx.Linear(4, 5), "b": mx.Linear(5, 3)}, heads={"h": ("a", mx.Linear(5, 3))})
    assert model["h"] is model.children()["h"]
    assert model[0] is model["a"]
    with pytest.raises(IndexError):
        model[9]
