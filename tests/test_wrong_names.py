"""A name that is no choice is answered with the one that was meant, wherever Python code may give one."""

import copy
import inspect
import pickle
import re
from functools import partial

import numpy as np
import pytest

import minialex as mx
from minialex.data.augment import Prepare
from minialex.data.folder import find_pictures
from minialex.data.pictures import draw_arrays
from minialex.models.names import NETWORKS, network, rebuilt
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


def fit(**options):
    return mx.train.fit(
        small(), X, [0], **{"lr": 1, "epochs": 1, "loss": mx.SoftmaxCrossEntropy(), **options}
    )


def fit_flat(**options):
    model = mx.Sequential(flat=mx.Flatten(), fc=mx.Linear(784, 2))
    return mx.train.fit(model, X, [0], lr=1, epochs=1, loss=mx.SoftmaxCrossEntropy(), **options)


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


ELSEWHERE = {  # names of other libraries, or of the command line
    "a network with its depth": (lambda: mx.models.resnet18(), AttributeError, "use resnet(18)"),
    "a network with its depth, in capitals": (lambda: mx.models.ResNet50, AttributeError, "use resnet(50)"),
    "one with batch normalisation": (lambda: mx.models.vgg16_bn, AttributeError, "use vgg(16, batch_norm=True)"),
    "one with a version": (lambda: mx.models.inception_resnet_v2, AttributeError, "use inception_resnet(2)"),
    "a network without its number": (lambda: mx.models.lenet(), TypeError, "the networks in it: lenet5()"),
    "another one": (lambda: mx.models.inception(3), TypeError, "the networks in it: inception_v3()"),
    "a network in capitals": (lambda: mx.models.LeNet5, AttributeError, "(did you mean lenet5?)"),
    "save, the path first": (lambda: mx.save("a", small()), TypeError, "save: the model comes first, then the path: "
                             "mx.save(model, 'a')"),
    "load, the path first": (lambda: mx.load("a", small()), TypeError, "mx.load(model, 'a')"),
    "save of a function": (lambda: mx.save(mx.models.lenet5, "a"), TypeError, "the model is a function, not a network"),
    "save of a class": (lambda: mx.save(mx.ReLU, "a"), TypeError, "the model is the class ReLU, not a network"),
    "fit of a model": (lambda: small().fit(X, [0]), AttributeError, "'Sequential' object has no attribute 'fit': use "
                       "mx.train.fit(model, x, ...)"),
    "predict of a layer": (lambda: mx.ReLU().predict, AttributeError, "use mx.train.predict(model, x, ...)"),
    "zeros for gradients": (lambda: mx.SGD(small().parameters(), lr=1).zero_grad(), AttributeError, "'SGD' object has "
                            "no attribute 'zero_grad': nothing adds up here"),
    "zeros for a model's": (lambda: small().zero_grad(), AttributeError, "each backward makes every gradient anew"),
    "a fully connected layer": (lambda: mx.Dense(100, 10), TypeError, "is Linear(in_features, out_features)"),
    "such a layer with an activation": (lambda: mx.Dense(10, activation=mx.ReLU()), TypeError, "not (10,): the fully"),
    "load, without a model": (lambda: mx.load("a"), TypeError, "comes first: mx.load(model, 'a')"),
    "shuffle of fit": (lambda: fit(shuffle=True), TypeError, "shuffle=: pictures are shuffled, in an order"),
    "verbose of fit": (lambda: fit(verbose=0, learning_rate=1), TypeError,
                       "verbose=: report=False says nothing, learning_rate= is lr= here"),
    "an optimizer beside arrays": (lambda: fit(optimizer="adam"), TypeError, "with arrays it is SGD, by lr="),
    "a function as report": (lambda: fit(report=print), TypeError, "report=False says nothing, and an ErrorReport"),
    "a class as report": (lambda: fit(report=mx.train.ErrorReport), TypeError, "report is a class ErrorReport: "),
    "parameters without ()": (lambda: mx.SGD(small().parameters, lr=1), TypeError, "lr=...), with ()"),
    "a dtype as device": (lambda: small().to(np.float64), ValueError, "unknown device <class 'numpy.float64'>"),
    "backward without a gradient": (lambda: (model := small()).forward(X) is None or model.backward(), TypeError,
                                    "Sequential: backward takes the gradient of what forward gave: backward(grad_y)"),
    "a size for summary": (lambda: mx.summary(small(), 28), TypeError, "(C, H, W), as (1, 28, 28); not 28"),
    "a shape for summary": (lambda: mx.summary(small(), (28, 28)), ValueError, "picture of shape (28, 28): "),
    "another optimizer's room": (lambda: mx.optim.Adam, AttributeError, "the optimizer here is mx.SGD"),
    "a network in the wrong room": (lambda: mx.resnet, AttributeError, "networks are in mx.models"),
    "a bias by place": (lambda: mx.Linear(2, 3, False), TypeError, "rng is False: give a seed, rng=0, or a generator"),
    "a seed as a text": (lambda: mx.Conv2D(1, 2, 3, rng="0"), TypeError, "rng is '0': give a seed"),
    "save of a network itself": (lambda: small().save("a.pth"), TypeError, "mx.save(model, 'a.pth')"),
    "load of a network itself": (lambda: small().load("a.pth"), AttributeError, "use mx.load(model, path)"),
    "a file of others": (lambda: mx.save(small(), "a.pth"), ValueError, "a file of PyTorch, and what is written is "
                         "safetensors: call it a.safetensors"),
    "a folder as a file": (lambda: mx.save(small(), "."), IsADirectoryError, "'.' is a folder: name a file in it"),
    "freezing": (lambda: small().freeze("conv1"), AttributeError, "where a parameter's lr_scale is 0"),
    "freezing a parameter": (lambda: setattr(small().conv1.weight, "requires_grad", False), AttributeError,
                             "a Parameter has no requires_grad: where its lr_scale is 0"),
    "a parameter's setting": (lambda: setattr(small().conv1.weight, "lr_scael", 0), AttributeError,
                              "a Parameter has no lr_scael (did you mean lr_scale?)"),
    "a parameter's array": (lambda: setattr(small().conv1.weight, "data", X), AttributeError,
                            "a Parameter has no data: its array is its value, p.value[...] = array"),
    "an optimizer's setting": (lambda: setattr(mx.SGD(small().parameters(), 0.1), "weight_deacy", 1), AttributeError,
                               "SGD has no weight_deacy (did you mean weight_decay?): it has lr, momentum, weight_"),
    "a rate set anew": (lambda: setattr(mx.SGD(small().parameters(), 0.1), "lr", -1), ValueError,
                        "SGD: lr must be a number >= 0, not -1"),
    "freezing a layer": (lambda: setattr(small(), "trainable", False), AttributeError, "has no trainable: where"),
    "a rate by another name": (lambda: setattr(mx.SGD(small().parameters(), 1), "learning_rate", 2), AttributeError,
                               "'SGD' object has no attribute 'learning_rate': use lr"),
    "an array as a weight": (lambda: setattr(small().conv1, "weight", np.zeros((2, 1, 3, 3))), TypeError,
                             "conv1 (Conv2D): weight is a Parameter, and an ndarray in its place would not be trained: "
                             "write .weight.value[...] = array"),
    "a weight of another shape": (lambda: setattr(small().conv1.weight, "value", np.zeros((3, 1, 3, 3))), ValueError,
                                  "conv1.weight has shape (2, 1, 3, 3); the array has shape (3, 1, 3, 3)"),
    "a number as a weight": (lambda: setattr(small().conv1, "weight", 1.0), TypeError, "and a float in its place"),
    "a list as a weight": (lambda: setattr(small().conv1, "bias", [1, 2]), TypeError, "and a list in its place"),
    "load without a file": (lambda: mx.load(small()), TypeError, "load: which file? mx.load(model, path)"),
    "a layer inside a known network": (
        lambda: setattr(mx.models.resnet(8, 3, "cifar", width=0.1)["layer1"], "0", mx.ReLU()), ValueError,
        "layer1 (Sequential) is, or belongs to, a network that is known by how it was made"),
    "an array as a running mean": (lambda: setattr(mx.BatchNorm2D(2), "running_mean", np.zeros(2)), TypeError,
                                   "running_mean is a Buffer, and an ndarray in its place would not be kept"),
    "a layer of a known network": (lambda: setattr(mx.models.resnet(8, 3, "cifar", width=0.1), "fc", mx.Linear(6, 2)),
                                   ValueError, "its layers stay. Another number of classes is num_classes="),
    "a layer that is none": (lambda: setattr(small(), "conv1", 3), TypeError, "conv1 is an int, not a layer"),
    "a path that a branch keeps": (lambda: setattr(mx.Branches({"a": mx.ReLU()}), "a", mx.Tanh()), AttributeError,
                                   "Branches: a is a layer inside it, which an attribute would not replace"),
    "a layer further inside": (lambda: mx.models.resnet(8, 3, "cifar", width=0.1)["layer1.0.covn1"], KeyError,
                               "has no layer 'covn1' (did you mean conv1?)"),
    "a place that there is not": (lambda: small()[2], IndexError, "Sequential has 2 layers, and none at 2"),
    "batches in no order": (lambda: list(mx.data.ArrayBatches(X, [0], 1)), TypeError, "batches.shuffled(epoch), or"),
    "the state of a model": (lambda: small().state_dict(), AttributeError, "use mx.save(model, path)"),
    "another optimizer": (lambda: mx.Adam, AttributeError, "minialex has no 'Adam': the optimizer here is mx.SGD"),
    "a room of layers": (lambda: mx.nn.Linear, AttributeError, "layers are in mx itself"),
    "fit of the package": (lambda: mx.fit, AttributeError, "minialex has no 'fit': mx.train.fit(model, x, ...)"),
    "--small": (lambda: mx.models.resnet(18, preset="small"), ValueError, 'is resnet(20, preset="cifar")'),
    "--small of another": (lambda: mx.models.resnet(152, preset="small"), ValueError, 'is resnet(110, preset="cifar")'),
    "--small of its own depth": (lambda: mx.models.resnet(8, preset="small"), ValueError, 'is resnet(8, preset="'),
}  # fmt: skip


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_other_programs_call_it_is_answered_with_what_it_is_here(what):
    call, error, said = ELSEWHERE[what]
    with pytest.raises(error, match=re.escape(said)):
        call()


def test_the_hint_of_a_network_makes_one():
    for name, make in NETWORKS.items():
        if not hasattr(mx.models, name):
            with pytest.raises(AttributeError) as caught:
                getattr(mx.models, name)
            call = str(caught.value).split(": use ")[1]
            made = eval(call.replace(")", ", num_classes=2, width=1 / 64)"), vars(mx.models))
            assert repr(made.architecture) == repr(make(num_classes=2, width=1 / 64).architecture)


def test_a_hint_is_no_attribute():
    model = small()
    for name in ("fit", "predict", "state_dict", "zero_grad"):
        assert not hasattr(model, name)
        assert not hasattr(mx.Layer, name)
        assert getattr(model, name, None) is None
    assert not hasattr(mx, "Adam")
    assert not hasattr(mx.models, "resnet18")
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [name for name, _ in copied.named_parameters()] == [
            name for name, _ in model.named_parameters()
        ]
    assert pickle.loads(pickle.dumps(mx.models.lenet.LeNet5)) is mx.models.lenet.LeNet5


def test_a_layer_of_ones_own_may_have_such_a_name():
    class Mine(mx.Layer):
        def __init__(self):
            self.summary = mx.Linear(2, 3)

        def forward(self, x):
            return self.summary.forward(x)

        def fit(self):
            return 3

    assert Mine().fit() == 3
    assert [name for name, _ in Mine().named_parameters()] == ["summary.weight", "summary.bias"]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda said: mx.models.vgg(11, 3, batch_norm=said, preset="small", width=0.1), "batch_norm"),
        (lambda said: mx.models.resnet(8, 3, preset="cifar", plain=said), "plain"),
        (lambda said: mx.models.googlenet(3, auxiliaries=said), "auxiliaries"),
        (lambda said: mx.models.inception_v3(3, auxiliaries=said), "auxiliaries"),
        (lambda said: mx.weights.export_grouped(small(), grads=said), "grads"),
    ],
)
@pytest.mark.parametrize("said", ["False", "no", None, 2])
def test_a_text_is_not_taken_for_a_yes(call, named, said):
    with pytest.raises(ValueError, match=f"^{named} must be True or False, not {said!r}"):
        call(said)


@pytest.mark.parametrize(
    "load", [mx.data.load_mnist, partial(mx.data.load, "cifar10"), partial(mx.data.load, "kmnist")]
)
def test_nothing_is_downloaded_for_a_text(load, tmp_path, monkeypatch):
    monkeypatch.delenv("MINIALEX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"^download must be True or False, not 'no'"):
        load(root=tmp_path / "none", download="no")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: mx.models.alexnet(3, towers=True, width=0.05), 'preset "paper" has 1 or 2 towers, not True'),
        (lambda: mx.models.inception_resnet(True), "there are Inception-ResNet-v1 and v2, not True"),
        (lambda: mx.gradcheck(mx.ReLU(), X, max_entries=0), "max_entries must be a whole number >= 1, not 0"),
        (
            lambda: mx.gradcheck(mx.ReLU(), X, max_entries="3"),
            "max_entries must be a whole number >= 1, not '3'",
        ),
        (
            lambda: mx.gradcheck(mx.ReLU(), X + np.nan),
            "gradcheck: of x 784 of 784 numbers are NaN or infinite",
        ),
        (lambda: fit_flat(checkpoint_every=2.5), "checkpoint_every must be a whole number >= 0, not 2.5"),
        (lambda: fit_flat(checkpoint_every=-2), "checkpoint_every must be a whole number >= 0, not -2"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_anything_is_done(make, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: mx.Conv2D(1, 2, 3, strides=2),
            r"Conv2D takes no strides \(did you mean stride\?\): it takes in_ch",
        ),
        (
            lambda: mx.Conv2D(filters=8, kernel_size=3),
            r"Conv2D takes no filters \(did you mean out_channels\?\)",
        ),
        (lambda: mx.MaxPool2D(pool_size=2), r"MaxPool2D takes no pool_size \(did you mean kernel_size\?\)"),
        (
            lambda: mx.MaxPool2D(),
            "MaxPool2D: missing a required argument: 'kernel_size'; it takes kernel_size, stride",
        ),
        (lambda: mx.Conv2D(3, 16), "Conv2D: missing a required argument: 'kernel_size'"),
        (
            lambda: mx.Linear(1, 2, 3, 4, 5),
            "Linear: too many positional arguments; it takes in_features, out_",
        ),
        (lambda: mx.Dropout(rate=0.5), r"Dropout takes no rate \(did you mean p\?\)"),
        (lambda: mx.Dropout(inplace=True), "Dropout takes no inplace: no layer writes into its input"),
        (lambda: mx.ReLU(inplace=True), "ReLU takes no inplace: no layer writes into its input"),
        (lambda: mx.Flatten(1), "Flatten: too many positional arguments; it takes nothing$"),
        (
            lambda: mx.SoftmaxCrossEntropy(reduction="sum"),
            "SoftmaxCrossEntropy takes no reduction: a loss is the",
        ),
        (
            lambda: mx.Linear(2, 3, bias=False),
            "Linear takes no bias: it is always there; it begins at 0, and stays",
        ),
        (lambda: mx.MaxPool2D(2, bias=False), "MaxPool2D takes no bias: it takes kernel_size"),
        (
            lambda: mx.BatchNorm2D(2, affine=False),
            "BatchNorm2D takes no affine: weight and bias are always there",
        ),
        (lambda: mx.LocalResponseNorm(alhpa=1), r"LocalResponseNorm takes no alhpa \(did you mean alpha\?\)"),
        (
            lambda: mx.SGD(mx.Linear(2, 2).parameters(), learning_rate=1),
            r"SGD takes no learning_rate \(did you",
        ),
        (
            lambda: mx.SGD(mx.Linear(2, 2).parameters(), lr=1, nesterov=True),
            "SGD takes no nesterov: its momentum",
        ),
        (lambda: mx.SGD(mx.Linear(2, 2).parameters()), "SGD: missing a required argument: 'lr'"),
        (  # what stands at these places elsewhere: affine, dilation, requires_grad, dampening and weight_decay
            lambda: mx.BatchNorm2D(1, 1e-5, 0.1, True),
            "BatchNorm2D: too many positional arguments; it takes channels, eps, momentum, and by name frozen, decay$",
        ),
        (
            lambda: mx.Conv2D(4, 8, 3, 1, 2, 2),
            "Conv2D: too many positional arguments; .* padding, and by name groups",
        ),
        (lambda: mx.MaxPool2D(3, 2, 1, 1), "MaxPool2D: too many .* padding, and by name ceil_mode$"),
        (
            lambda: mx.Parameter(np.zeros(2), False),
            "Parameter: too many .* takes value, and by name decay, lr_scale$",
        ),
        (
            lambda: mx.Parameter(np.zeros(2), requires_grad=False),
            "Parameter takes no requires_grad: where a parameter",
        ),
        (
            lambda: mx.SGD(mx.Linear(2, 2).parameters(), 0.1, 0.9, 0, 5e-4),
            "SGD: too many .* by name penalty$",
        ),
    ],
)
def test_an_argument_that_a_layer_does_not_take_is_answered_with_what_it_is_called_here(make, said):
    with pytest.raises(TypeError, match=f"^{said}"):
        make()


def test_so_are_the_arguments_of_a_layer_of_somebodys_own():
    class Mine(mx.Layer):
        def __init__(self, factor):
            self.factor = factor

    class Wider(mx.Conv2D):
        def __init__(self, **how):
            super().__init__(1, 2, 3, **how)

    def made_so(self, factor):
        self.factor = factor

    class Plain(mx.Layer):
        __init__ = made_so

    class Wrapping(Plain):
        def __init__(self, **how):
            super().__init__(**how)

    class Failing(mx.Layer):
        def __init__(self, factor):
            self.factor = factor + "1"

    class Bare(mx.Layer):
        pass

    with pytest.raises(TypeError, match=r"^Bare takes no inplace: no layer writes"):
        Bare(inplace=True)
    with pytest.raises(TypeError, match=r"^Mine takes no facto \(did you mean factor\?\): it takes factor$"):
        Mine(facto=2)
    with pytest.raises(TypeError, match=r"^Conv2D takes no strides \(did you mean stride\?\)"):
        Wider(strides=2)
    with pytest.raises(TypeError, match="unsupported operand"):
        Failing(1)
    with pytest.raises(TypeError, match=r"^Plain takes no facto \(did you mean factor"):
        Wrapping(facto=1)
    assert Mine(3).factor == 3
    assert Wider(stride=2).stride == (2, 2)


def test_what_a_class_takes_can_still_be_asked_for():
    assert list(inspect.signature(mx.Conv2D).parameters)[:3] == ["in_channels", "out_channels", "kernel_size"]
    assert list(inspect.signature(mx.SGD).parameters) == [
        "parameters",
        "lr",
        "momentum",
        "weight_decay",
        "penalty",
    ]
    assert pickle.loads(pickle.dumps(mx.Conv2D(1, 2, 3))).kernel_size == (3, 3)
