"""The networks of 2013 to 2016: their parameters, names, shapes, gradients, and what they refuse."""

import sys

import numpy as np
import pytest

import minialex as mx
from minialex.layers.sequential import all_layers
from minialex.models import inception
from minialex.models.densenet import DenseLayer
from minialex.models.inception_resnet import V1, V2, InceptionResidual
from minialex.models.inception_v4 import (
    BlockMaker,
    InceptionC,
    inception_a,
    inception_b,
    reduction_a,
    reduction_b,
)
from minialex.models.network import NetworkWithExits, backward_through
from minialex.models.resnet import BasicBlock, Bottleneck, PadShortcut

models = mx.models


def draw_nothing(monkeypatch):
    """Large networks would take seconds to draw."""
    for name in "densenet googlenet inception inception_v2 inception_v4 resnet vgg zfnet".split():
        module = sys.modules[f"minialex.models.{name}"]
        for init in ("he_normal", "xavier_uniform"):
            monkeypatch.setattr(module, init, blank, raising=False)
        monkeypatch.setattr(module, "normal", lambda std: blank, raising=False)


def blank(shape, fan_in, fan_out, rng):
    return np.zeros(shape, np.float32)


PUBLISHED = {
    "zfnet": (lambda: models.zfnet(), 62_357_608),
    "vgg11": (lambda: models.vgg(11), 132_863_336),
    "vgg13": (lambda: models.vgg(13), 133_047_848),
    "vgg16": (lambda: models.vgg(16), 138_357_544),
    "vgg16 as in the paper": (lambda: models.vgg(16, preset="paper"), 138_357_544),
    "vgg19": (lambda: models.vgg(19), 143_667_240),
    "vgg11 bn": (lambda: models.vgg(11, batch_norm=True), 132_868_840),
    "vgg16 bn": (lambda: models.vgg(16, batch_norm=True), 138_365_992),
    "vgg19 bn": (lambda: models.vgg(19, batch_norm=True), 143_678_248),
    "googlenet": (lambda: models.googlenet(preset="paper", auxiliaries=False), 6_998_552),
    "googlenet aux": (lambda: models.googlenet(preset="paper"), 13_378_280),
    "torchvision's": (lambda: models.googlenet(auxiliaries=False), 6_624_904),
    "torchvision's aux": (lambda: models.googlenet(), 13_004_888),
    "inception v2": (lambda: models.inception_v2(), 11_285_224),
    "inception v3": (lambda: models.inception_v3(auxiliaries=False), 23_834_568),
    "inception v3 aux": (lambda: models.inception_v3(), 27_161_264),
    "inception v4": (lambda: models.inception_v4(), 42_679_816),
    "inception-resnet v2": (lambda: models.inception_resnet(2), 55_843_464),
    "resnet18": (lambda: models.resnet(18), 11_689_512),
    "resnet34": (lambda: models.resnet(34), 21_797_672),
    "resnet50": (lambda: models.resnet(50), 25_557_032),
    "resnet50 as in the paper": (lambda: models.resnet(50, preset="paper"), 25_557_032),
    "resnet101": (lambda: models.resnet(101), 44_549_160),
    "resnet152": (lambda: models.resnet(152), 60_192_808),
    "resnet20": (lambda: models.resnet(20, 10, preset="cifar"), 269_722),
    "densenet121": (lambda: models.densenet(121), 7_978_856),
    "densenet161": (lambda: models.densenet(161), 28_681_000),
    "densenet169": (lambda: models.densenet(169), 14_149_480),
    "densenet201": (lambda: models.densenet(201), 20_013_928),
    "densenet100": (lambda: models.densenet(100, 10, preset="small"), 769_162),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameters_are_as_many_as_published(name, monkeypatch):
    draw_nothing(monkeypatch)
    make, count = PUBLISHED[name]
    assert sum(p.value.size for p in make().parameters()) == count


SMALL = {
    "zfnet": lambda: models.zfnet(5, "small", width=0.05),
    "vgg": lambda: models.vgg(11, 5, preset="small", width=0.05),
    "vgg bn": lambda: models.vgg(11, 5, True, "small", width=0.05),
    "googlenet": lambda: models.googlenet(5, "small", width=0.06, image_size=12),
    "inception v2": lambda: models.inception_v2(5, "small", width=0.06, image_size=12),
    "inception v3": lambda: models.inception_v3(5, "small", width=0.06, image_size=12),
    "inception v4": lambda: models.inception_v4(5, "small", width=0.04, image_size=12),
    "inception-resnet v1": lambda: models.inception_resnet(1, 5, "small", width=0.06, image_size=12),
    "inception-resnet v2": lambda: models.inception_resnet(2, 5, "small", width=0.06, image_size=12),
    "resnet20": lambda: models.resnet(20, 5, "cifar", width=0.25),
    "resnet20 plain": lambda: models.resnet(20, 5, "cifar", width=0.25, plain=True),
    "resnet20 projected": lambda: models.resnet(20, 5, "cifar", width=0.25, shortcut="B"),
    "densenet22": lambda: models.densenet(22, 5, "small", width=0.5),
}


def drawn(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_one_learns_eight_pictures(name):
    model = SMALL[name]()
    for layer in all_layers(model):
        if isinstance(layer, mx.Dropout):
            layer.p = 0.0
    x, labels = drawn((8, *model.picture_shape)), np.arange(8) % 5
    optimizer = mx.SGD(model.parameters(), 0.02)
    losses = []
    steps = 20 if name == "inception v4" else 12  # its first dozen steps hang on how sums are rounded
    for _ in range(steps):
        losses.append(float(model.loss.forward(model.forward(x), labels)))
        model.backward(model.loss.backward())
        optimizer.step()
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < 0.8 * losses[0]


@pytest.mark.parametrize("name", SMALL)
def test_names_are_different_and_weights_go_out_and_in(name):
    model, other = SMALL[name](), SMALL[name]()
    arrays = mx.weights.export_grouped(model)
    assert len(arrays) == len(model.parameters()) + len(model.named_buffers())
    for array in arrays.values():
        array += 1
    mx.weights.import_grouped(other, arrays)
    for key, array in mx.weights.export_grouped(other).items():
        np.testing.assert_array_equal(array, arrays[key])


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_network_and_the_same_step(name):
    first, second = SMALL[name](), SMALL[name]()
    x = drawn((2, *first.picture_shape))
    for model in (first, second):
        model.backward(model.forward(x))
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert p.name == q.name
        assert p.grad.tobytes() == q.grad.tobytes()


make = BlockMaker(0.03, np.random.default_rng(0))
BLOCKS = {
    "basic": (lambda rng: BasicBlock(2, 2, 1, rng), 2, 4),
    "bottleneck": (lambda rng: Bottleneck(8, 2, 1, rng), 8, 4),
    "bottleneck, projected": (lambda rng: models.resnet(50, 3, width=0.03).layers["layer2"][0], 8, 5),
    "plain": (lambda rng: models.resnet(8, 3, "cifar", width=0.2, plain=True).layers["layer2"][0], 3, 5),
    "shortcut A": (lambda rng: PadShortcut(5, 2), 3, 5),
    "dense layer": (lambda rng: DenseLayer(3, 2, rng), 3, 4),
    "inception A": (lambda rng: inception.InceptionA(make, 3, 32), 3, 4),
    "inception B": (lambda rng: inception.InceptionB(make, 3), 3, 5),
    "inception C": (lambda rng: inception.InceptionC(make, 3, 128), 3, 4),
    "inception D": (lambda rng: inception.InceptionD(make, 3), 3, 5),
    "inception E": (lambda rng: inception.InceptionE(make, 3), 3, 4),
    "v4 A": (lambda rng: inception_a(make, 3)[0], 3, 4),
    "v4 reduction A": (lambda rng: reduction_a(make, 3, 192, 224, 256, 384)[0], 3, 5),
    "v4 B": (lambda rng: inception_b(make, 3)[0], 3, 4),
    "v4 reduction B": (lambda rng: reduction_b(make, 3)[0], 3, 5),
    "v4 C": (lambda rng: InceptionC(make, 3), 3, 4),
    "residual": (lambda rng: InceptionResidual(make, 3, V1["A"], 0.3), 3, 4),
    "residual without ReLU": (
        lambda rng: InceptionResidual(make, 3, V2["C"], 1.0, relu=False), 3, 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_the_gradients_of_each_block(name):
    build, channels, size = BLOCKS[name]
    layer = build(np.random.default_rng(1))
    for seed, p in enumerate(layer.parameters()):
        p.value = p.value + drawn(p.value.shape, seed) / 3  # biases and gains too
    report = mx.gradcheck(
        layer, np.random.default_rng(2).standard_normal((3, channels, size, size)), max_entries=4
    )
    assert report, report


def test_a_shortcut_that_is_forgotten_in_backward_is_found():
    class Forgets(BasicBlock):
        def backward(self, grad_y):
            return backward_through(self.body(), self.relu.backward(grad_y))

    assert not mx.gradcheck(Forgets(2, 2, 1, 0), np.random.default_rng(2).standard_normal((3, 2, 4, 4)))


# ---- exits ----


def with_exits():
    return models.googlenet(5, width=0.05, image_size=64)


def test_exits_answer_in_training_and_the_end_alone_in_evaluation():
    model, x = with_exits(), drawn((2, 3, 64, 64))
    assert isinstance(model, NetworkWithExits)
    assert model.forward(x).shape == (2, 3, 5)
    assert model.eval().forward(x).shape == (2, 5)
    assert [name for name in model.children() if name.startswith("aux")] == ["aux1", "aux2"]


def test_each_exits_gradient_comes_home_where_it_left():
    """What the trunk gets is the sum of what each exit alone would give it."""
    x, grads = drawn((2, 3, 64, 64)), []
    for only in (0, 1, 2, None):
        model = with_exits()
        for layer in all_layers(model):
            if isinstance(layer, mx.Dropout):
                layer.p = 0.0
        y = model.astype("float64").forward(x.astype(np.float64))
        grad_y = np.zeros_like(y)
        chosen = slice(None) if only is None else only
        grad_y[:, chosen] = drawn(y.shape)[:, chosen]
        model.backward(grad_y)
        grads.append(mx.weights.export_grouped(model, grads=True))
    for name in grads[-1]:
        np.testing.assert_allclose(sum(g[name] for g in grads[:3]), grads[3][name], rtol=1e-9, atol=1e-12)
    assert not grads[1]["aux1.fc2.weight"].any()
    assert grads[1]["inception4a.branch1.conv.weight"].any()
    assert not grads[0]["inception5b.branch1.conv.weight"].any()


def test_gradients_of_exits_in_both_modes():
    body = {"a": mx.Linear(3, 4), "relu": mx.ReLU(), "b": mx.Linear(4, 4), "c": mx.Linear(4, 2)}
    heads = {"one": ("relu", mx.Linear(4, 2)), "two": ("b", mx.Linear(4, 2)), "three": ("b", mx.Linear(4, 2))}
    report = mx.gradcheck(mx.Exits(body, heads), np.random.default_rng(1).standard_normal((3, 3)))
    assert report, report
    report = mx.gradcheck(mx.Exits(body, heads).eval(), np.random.default_rng(1).standard_normal((3, 3)))
    assert report, report


def test_the_losses_of_exits_are_weighed():
    model, x, labels = with_exits(), drawn((2, 3, 64, 64)), np.array([1, 4])
    y = model.forward(x)
    alone = [float(mx.SoftmaxCrossEntropy().forward(y[:, i].copy(), labels)) for i in range(3)]
    assert float(model.loss.forward(y, labels)) == pytest.approx(
        0.3 * alone[0] + 0.3 * alone[1] + alone[2], rel=1e-6
    )
    assert mx.gradcheck(mx.ExitLoss((0.3, 0.3, 1.0)), y.astype(np.float64), labels)
    assert mx.gradcheck(mx.ExitLoss((0.3, 1.0)), y[:, -1].astype(np.float64), labels)


def test_exits_that_fit_nowhere_are_refused():
    trunk = {"a": mx.Flatten(), "b": mx.Linear(4, 2)}
    with pytest.raises(ValueError, match="early reads 'c', the trunk has a, b"):
        mx.Exits(trunk, {"early": ("c", mx.Linear(4, 2))})
    with pytest.raises(ValueError, match="both called 'b'"):
        mx.Exits(trunk, {"b": ("a", mx.Linear(4, 2))})
    with pytest.raises(ValueError, match="not in the order in which they leave"):
        mx.Exits(trunk, {"late": ("b", mx.Linear(2, 2)), "early": ("a", mx.Linear(4, 2))})
    with pytest.raises(ValueError, match=r"early gives shape \(1, 3\), the trunk's end \(1, 2\)"):
        mx.Exits(trunk, {"early": ("a", mx.Linear(4, 3))}).forward(drawn((1, 1, 2, 2)))
    with pytest.raises(
        ValueError, match=r"takes \(N, 2, classes\) or \(N, classes\); the input has shape \(1, 3, 4\)"
    ):
        mx.ExitLoss((0.3, 1.0)).forward(drawn((1, 3, 4)), np.array([0]))


# ---- what they refuse ----


@pytest.mark.parametrize(("make", "message"), [
    (lambda: models.resnet(19), "there is no ResNet-19: use 18, 34, 50, 101, 152"),
    (lambda: models.resnet(21, preset="cifar"), "has 6n \\+ 2 layers: 8, 14, 20, 32, 44, 56, 110, ..., not 21"),
    (lambda: models.resnet(shortcut="C"), 'shortcut must be "A" or "B", not \'C\''),
    (lambda: models.vgg(12), "there is no VGG-12: use 11, 13, 16, 19"),
    (lambda: models.densenet(120), "there is no DenseNet-120: use 121, 161, 169, 201"),
    (lambda: models.densenet(41, preset="small"), "has 6n \\+ 4 layers: 10, 16, 22, 40, 100, ..., not 41"),
    (lambda: models.inception_resnet(3), "there are Inception-ResNet-v1 and v2, not 3"),
    (lambda: models.inception_resnet(1, preset="slim"), "preset of Inception-ResNet-v1 'slim': use paper, small"),
    (lambda: models.googlenet(preset="caffe"), "unknown preset 'caffe': use paper, torchvision, small"),
    (lambda: models.zfnet(image_size=62), "pictures of 62 pixels are too small for this network: 63 is the least"),
    (lambda: models.zfnet(preset="small", image_size=11), "11 pixels .*: 12 is the least"),
    (lambda: models.vgg(image_size=31), "pictures of 31 pixels are too small for this network: 32 is the least"),
    (lambda: models.googlenet(preset="paper", image_size=223), "223 pixels are not for this network: 224 is"),
    (lambda: models.googlenet(image_size=32), "33 is the least"),
    (lambda: models.inception_v3(image_size=298), "298 pixels are too small for this network: 299 is the least"),
    (lambda: models.inception_v3(auxiliaries=False, image_size=74), "74 pixels .*: 75 is the least"),
    (lambda: models.inception_v4(image_size=74), "74 pixels .*: 75 is the least"),
    (lambda: models.inception_v2(image_size=16), "16 pixels .*: 17 is the least"),
    (lambda: models.densenet(image_size=28), "28 pixels .*: 29 is the least"),
    (lambda: models.resnet(width=0), "width must be above 0, not 0"),
    (lambda: models.resnet(width="a"), "width must be above 0, not 'a'"),
    (lambda: models.vgg(11, width=float("inf")), "width must be above 0, not inf"),
    (lambda: models.resnet(20), r'there is no ResNet-20: use 18, 34, .*, or preset="cifar", for pictures of 32x32'),
    (lambda: models.resnet(num_classes=0), "^num_classes must be a whole number >= 1, not 0$"),
    (lambda: models.googlenet("ten"), "^num_classes must be a whole number >= 1, not 'ten'$"),
    (lambda: models.vgg(image_size="224"), "^image_size must be a whole number, the pixels of a side, not '224'$"),
    (lambda: models.zfnet(image_size=224.0), "^image_size must be a whole number, .* not 224.0$"),
])  # fmt: skip
def test_what_there_is_not_is_refused_with_what_there_is(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_argument_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(
        TypeError, match=r"^vgg\(\) got .* argument 'batchnorm'; it takes depth, .*, batch_norm, "
    ):
        models.vgg(11, batchnorm=True)


def test_a_picture_of_another_size_is_refused_by_the_networks_name():
    model = models.resnet(8, 3, "cifar", width=0.1)
    with pytest.raises(
        ValueError, match=r"^resnet\(8\) takes pictures of 32x32, the input has shape \(1, 3, 8, 8\)"
    ):
        model.forward(drawn((1, 3, 8, 8)))


@pytest.mark.parametrize(("make", "least"), [
    (lambda size: models.zfnet(3, width=0.02, image_size=size), 63),
    (lambda size: models.zfnet(3, "small", width=0.02, image_size=size), 12),
    (lambda size: models.vgg(11, 3, width=0.02, image_size=size), 32),
    (lambda size: models.googlenet(3, width=0.03, image_size=size), 33),
    (lambda size: models.googlenet(3, "small", width=0.03, image_size=size), 8),
    (lambda size: models.inception_v2(3, width=0.03, image_size=size), 17),
    (lambda size: models.inception_v2(3, "small", width=0.03, image_size=size), 2),
    (lambda size: models.inception_v3(3, auxiliaries=False, width=0.03, image_size=size), 75),
    (lambda size: models.inception_v3(3, "small", width=0.03, image_size=size), 7),
    (lambda size: models.inception_v4(3, width=0.03, image_size=size), 75),
    (lambda size: models.inception_resnet(2, 3, width=0.03, image_size=size), 75),
    (lambda size: models.resnet(50, 3, width=0.03, image_size=size), 1),
    (lambda size: models.densenet(121, 3, width=0.1, image_size=size), 29),
    (lambda size: models.densenet(16, 3, "small", width=0.1, image_size=size), 4),
])  # fmt: skip
def test_the_least_size_is_enough(make, least):
    model = make(least).eval()
    assert model.forward(drawn((1, *model.picture_shape))).shape == (1, 3)


# ---- other numbers of blocks ----


@pytest.mark.parametrize(
    ("make", "prefix", "counts"),
    [
        (lambda layers: models.resnet(20, 3, "cifar", width=0.2, layers=layers), "layer", (1, 3, 2)),
        (lambda layers: models.resnet(18, 3, width=0.05, layers=layers), "layer", (1, 2, 3, 1)),
        (lambda layers: models.resnet(50, 3, width=0.05, layers=layers), "layer", (2, 1, 1, 2)),
    ],
)
def test_layers_says_how_many_blocks_each_stage_of_a_resnet_has(make, prefix, counts):
    model = make(counts)
    assert tuple(len(model[f"layer{i + 1}"]) for i in range(len(counts))) == counts
    assert model.architecture["layers"] == list(counts)
    assert model.in_a_word().endswith(f", layers={counts})")
    assert type(model["layer1"][0]) is type(make(None)["layer1"][0])  # depth says which kind of block


@pytest.mark.parametrize(("preset", "counts"), [("small", (1, 3, 2)), ("torchvision", (1, 2, 3, 1))])
def test_layers_says_how_many_each_block_of_a_densenet_has(preset, counts):
    depth = 40 if preset == "small" else 121
    model = models.densenet(depth, 3, preset, width=0.1, image_size=32, layers=counts)
    blocks = [block for block in model["features"] if isinstance(block, mx.Dense)]
    assert tuple(len(block.nodes) for block in blocks) == counts
    assert model.eval().forward(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 3)


@pytest.mark.parametrize(
    "layers", [3, "333", (3, 3), (3, 3, 3, 3), (0, 4, 4), (True, 4, 4), (3.0, 3, 3), [2] * 9999]
)
@pytest.mark.parametrize("make", [models.resnet, models.densenet])
def test_layers_that_do_not_fit_are_shown_with_those_of_the_table(make, layers):
    depth, preset, table = (20, "cifar", (3, 3, 3)) if make is models.resnet else (40, "small", (6, 6, 6))
    with pytest.raises(ValueError, match="layers must be 3 whole numbers >= 1, the blocks of each") as caught:
        make(depth, 3, preset, width=0.1, layers=layers)
    assert f"as {table}, not {str(layers)[:80]}" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_tables_own_layers_are_no_other_network():
    given, left_out = (
        models.resnet(20, 3, "cifar", width=0.2, layers=x) for x in (np.array([3, 3, 3]), None)
    )
    assert given.architecture == left_out.architecture
    assert given.in_a_word() == "resnet(20)"
