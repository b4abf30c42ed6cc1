"""Blocks left out and layers' reading: the right numbers, of a network that stays as it is."""

import copy
import itertools

import numpy as np
import pytest

import minialex as mx
from minialex.data import ArrayBatches
from minialex.errors import BackwardBeforeForward
from minialex.layers.sequential import all_layers
from minialex.study import anatomy
from minialex.study.anatomy import drop_blocks, reading, residual_blocks, without

models = mx.models


def small_resnet(**settings):
    """Its running numbers and shifts are not those that it began with."""
    model = models.resnet(14, 4, "cifar", width=0.15, rng=3, **settings)
    rng = np.random.default_rng(4)
    for layer in all_layers(model):
        if isinstance(layer, mx.BatchNorm2D):
            for array in (layer.bias.value, layer.running_mean.value):
                array[...] = rng.normal(0, 0.3, array.shape)
            layer.running_var.value[...] = rng.uniform(0.5, 2, layer.channels)
    return model


def batches(rng, count=40):
    return ArrayBatches(
        rng.standard_normal((count, 3, 32, 32), np.float32), np.arange(count) % 4, batch_size=16
    )


def state_of(model):
    """All that a model is: its arrays, what its layers have kept, its modes."""
    arrays = [p.value.tobytes() for p in [*model.parameters(), *(b for _, b in model.named_buffers())]]
    return arrays, [(layer.training, id(layer.saved), sorted(vars(layer))) for layer in all_layers(model)]


# ---- a block left out ----


@pytest.mark.parametrize("name", ["layer1.1", "layer2.0", "layer3.1"])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_without_its_body_a_block_is_its_shortcut_and_the_relu_behind_it(rng, name, shortcut):
    model = small_resnet(shortcut=shortcut).eval()
    block = residual_blocks(model)[name]
    x = rng.standard_normal((2, block.conv1.weight.value.shape[1], 8, 8), np.float32)
    whole = block.forward(x)
    with without(block):
        alone = block.forward(x)
    path = block.downsample.forward(x) if block.downsample else x
    np.testing.assert_array_equal(alone, np.maximum(path, 0))
    assert (block.downsample is None) == (name != "layer2.0")
    np.testing.assert_array_equal(block.forward(x), whole)
    assert (alone != whole).any()


@pytest.mark.parametrize("name", ["layer1.1", "layer2.0"])
def test_the_gradient_goes_through_what_is_left_alone(rng, name):
    block = residual_blocks(small_resnet(shortcut="B"))[name]
    left = [layer for layer in (block.downsample, block.relu) if layer]
    alone = mx.Sequential(*copy.deepcopy(left))
    x = rng.standard_normal((3, 2, 4, 4), np.float32)
    with without(block):
        y = block.forward(x)
        grad_y = rng.standard_normal(y.shape, np.float32)
        grad_x = block.backward(grad_y)
    np.testing.assert_array_equal(y, alone.forward(x))
    np.testing.assert_array_equal(grad_x, alone.backward(grad_y))
    assert block.conv1.weight.grad is None


def test_forward_and_backward_must_be_on_the_same_side(rng):
    model, x = small_resnet().train(), rng.standard_normal((2, 3, 32, 32), np.float32)
    block = residual_blocks(model)["layer1.1"]
    grad_y = np.ones_like(model.forward(x))
    with without(block):
        with pytest.raises(BackwardBeforeForward):
            model.backward(grad_y)
        model.forward(x)
    with pytest.raises(BackwardBeforeForward):
        model.backward(grad_y)
    model.forward(x)
    model.backward(grad_y)
    x = rng.standard_normal((2, 2, 4, 4), np.float32)  # and so of a block alone
    block.forward(x)
    with without(block), pytest.raises(BackwardBeforeForward):
        block.backward(x)


def test_a_block_may_be_left_out_twice_and_with_others_and_is_whole_again_after_an_error(rng):
    model, x = small_resnet().eval(), rng.standard_normal((2, 3, 32, 32), np.float32)
    one, other = (residual_blocks(model)[name] for name in ("layer1.0", "layer3.1"))
    whole, before = model.forward(x), [sorted(vars(block)) for block in (one, other)]
    with without(one), without(other), without(one):
        both = copy.deepcopy(model).forward(x)  # a copy goes without them, too
    with pytest.raises(ValueError, match="channels"), without(one):
        model.forward(np.zeros((1, 4, 32, 32), np.float32))
    np.testing.assert_array_equal(model.forward(x), whole)
    assert [sorted(vars(block)) for block in (one, other)] == before
    with without(one):
        single, cost = model.forward(x), mx.summary(model).multiply_adds
    assert cost < mx.summary(model).multiply_adds
    assert (single != whole).any()
    assert (both != single).any()


def test_only_a_residual_block_can_be_left_out():
    for layer in (mx.ReLU(), models.resnet(8, 3, "cifar", width=0.1, plain=True)["layer1"][0]):
        with (
            pytest.raises(ValueError, match="has no shortcut, of which something would be left"),
            without(layer),
        ):
            pass


def test_a_block_of_inception_resnet_is_its_input_with_and_without_a_relu(rng):
    model = models.inception_resnet(2, 3, width=1 / 32, image_size=75).eval()
    blocks = residual_blocks(model)
    assert len(blocks) == 40
    assert list(blocks)[-1] == "block8"
    for name in ("repeat_1.4", "block8"):
        channels = blocks[name].conv2d.weight.value.shape[0]
        x = rng.standard_normal((1, channels, 3, 3), np.float32)
        with without(blocks[name]):
            y = blocks[name].forward(x)
            grad_x = blocks[name].backward(np.ones_like(y))
        np.testing.assert_array_equal(y, np.maximum(x, 0) if name != "block8" else x)
        np.testing.assert_array_equal(grad_x, x > 0 if name != "block8" else np.ones_like(x))


# ---- each in turn ----


def test_each_block_is_left_out_in_turn_and_alone(rng):
    model, pictures = small_resnet(), batches(rng)
    pictures.pictures *= np.linspace(0.1, 8, 40, dtype=np.float32)[
        :, None, None, None
    ]  # else all are of one class
    model["fc"].bias.value -= mx.train.predict(model, pictures)[0].mean(axis=0)
    rows = drop_blocks(model, pictures)
    names = [f"layer{stage}.{number}" for stage in (1, 2, 3) for number in (0, 1)]
    assert [row.name for row in rows] == names
    assert [row.resizes for row in rows] == [False, False, True, False, True, False]
    whole = mx.train.evaluate(model, pictures).error
    for row in rows:
        other = copy.deepcopy(model)
        stage, number = row.name.split(".")
        block = other[stage][int(number)]
        last = block.body()[-1]  # normalised to nothing: the body adds 0
        last.weight.value[...] = last.bias.value[...] = 0
        assert row.error == mx.train.evaluate(other, pictures).error
        assert row.more == row.error - whole
    assert len({row.error for row in rows}) > 2


def test_the_network_stays_as_it_is(rng):
    model = small_resnet().train()
    model["layer2"][0].eval()  # a mode of its own
    model.forward(rng.standard_normal((2, 3, 32, 32), np.float32))
    before = state_of(model)
    drop_blocks(model, batches(rng))
    assert state_of(model) == before
    with pytest.raises(ValueError, match="takes pictures of 32x32"):
        drop_blocks(model, ArrayBatches(np.zeros((2, 3, 20, 20), np.float32), np.zeros(2, int), 2))
    assert state_of(model) == before


@pytest.mark.usefixtures("textbook")
def test_it_runs_on_other_devices_too(rng):
    model, pictures = small_resnet(), batches(rng, 16)
    assert drop_blocks(small_resnet().to("sim:0"), pictures) == drop_blocks(model, pictures)


@pytest.mark.parametrize(
    "model",
    [models.densenet(10, 3, "small", width=0.1), models.resnet(8, 3, "cifar", width=0.1, plain=True)],
    ids=["densenet", "plain"],
)
def test_a_network_without_residual_blocks_is_told(rng, model):
    with pytest.raises(ValueError, match=r"\d\) has no residual blocks to leave out"):
        drop_blocks(model, batches(rng))


# ---- reading ----


def test_the_readings_of_a_densenet_are_the_means_of_its_kernels_by_source():
    model = models.densenet(22, 5, "small", width=0.5, rng=2)  # growth 6, 12 maps at first
    tables = reading(model)
    assert [table.name for table in tables] == [f"features.denseblock{n}" for n in (1, 2, 3)]
    readers = ["denselayer1", "denselayer2", "denselayer3"]
    assert tables[0].readers == [*readers, "features.transition1.conv"]
    assert tables[2].readers == [*readers, "classifier"]
    assert all(table.sources == ["x", *readers] for table in tables)
    block = model["features"]["denseblock2"]
    first = (12 + 3 * 6) // 2  # maps that come into it
    for column, layer in enumerate(block.nodes.values()):
        weight = np.abs(layer.conv1.weight.value)
        ends = [0, *(first + 6 * number for number in range(column + 1))]
        wanted = [weight[:, a:b].mean() for a, b in itertools.pairwise(ends)]
        np.testing.assert_allclose(tables[1].weights[: column + 1, column], wanted, rtol=1e-6)
        assert np.isnan(tables[1].weights[column + 1 :, column]).all()
    behind = np.abs(model["features"]["transition2"]["conv"].weight.value)
    np.testing.assert_allclose(tables[1].weights[2, -1], behind[:, first + 6 : first + 12].mean(), rtol=1e-6)
    classifier = np.abs(model["classifier"].weight.value)
    np.testing.assert_allclose(tables[2].weights[-1, -1], classifier[:, -6:].mean(), rtol=1e-6)


def test_reading_looks_at_weights_alone_and_changes_nothing():
    model = models.densenet(10, 5, "small", width=0.2)
    before, tables = state_of(model), reading(model)
    assert state_of(model) == before
    for layer in all_layers(model):
        if isinstance(layer, mx.BatchNorm2D):
            layer.weight.value *= 7
    again = reading(model.to("sim:0"))
    for one, other in zip(tables, again, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


def test_nodes_may_be_of_any_make_and_read_what_they_like():
    class Gate(mx.Layer):
        def forward(self, x):
            return x

        def backward(self, grad_y):
            return grad_y

    second = mx.Sequential(
        mx.ReLU(), Gate(), mx.Conv2D(2, 3, 1, rng=1), mx.ReLU(), mx.Conv2D(3, 4, 3, padding=1)
    )
    block = mx.Dense(
        mx.Conv2D(2, 1, 3, padding=1), second, mx.Conv2D(6, 1, 1, rng=2), reads=[(0,), (0,), (0, 2)]
    )
    (table,) = reading(mx.Sequential(block=block, relu=mx.ReLU()))
    assert table.readers == ["0", "1", "2"]  # nothing with weights comes behind
    assert np.isnan(table.weights).tolist() == [[False] * 3, [True] * 3, [True, True, False], [True] * 3]
    weight = np.abs(block.nodes["2"].weight.value)
    np.testing.assert_allclose(
        table.weights[[0, 2], 2], [weight[:, :2].mean(), weight[:, 2:].mean()], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("behind", "there"),
    [
        ((mx.Conv2D(5, 2, 1),), True),
        ((mx.BatchNorm2D(5), mx.MaxPool2D(2), mx.Conv2D(5, 2, 1)), True),
        ((mx.GlobalAvgPool2D(), mx.Linear(5, 2)), True),
        ((mx.Flatten(), mx.Linear(20, 2)), False),
        ((mx.Branches({"a": mx.Conv2D(5, 5, 1)}), mx.Conv2D(5, 2, 1)), False),
    ],
)
def test_what_comes_behind_has_a_column_if_it_reads_the_block_itself(behind, there):
    block = mx.Dense(mx.Conv2D(3, 1, 1), mx.Conv2D(4, 1, 1))
    (table,) = reading(mx.Sequential(block, *copy.deepcopy(behind)))
    assert table.weights.shape == (3, 2 + there)


def test_what_cannot_be_read_is_told():
    with pytest.raises(ValueError, match=r"resnet\(8\) has no dense blocks: a DenseNet has"):
        reading(models.resnet(8, 3, "cifar", width=0.1))
    paths = mx.Sequential(mx.Branches({"a": mx.Conv2D(2, 1, 1), "b": mx.Conv2D(2, 1, 1)}), mx.Conv2D(2, 1, 1))
    for node in (mx.models.network.Layer(), paths):
        with pytest.raises(ValueError, match=r"block\.a does not begin with a convolution"):
            reading(mx.Sequential(block=mx.Dense(a=node)))
    grouped = mx.Dense(a=mx.Conv2D(2, 2, 1), b=mx.Conv2D(4, 2, 1, groups=2))
    with pytest.raises(ValueError, match=r"block\.b reads 4 channels, its first convolution takes 2"):
        reading(mx.Sequential(block=grouped))


def test_the_names_are_public():
    assert mx.anatomy is anatomy
