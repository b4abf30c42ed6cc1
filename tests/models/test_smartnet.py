"""SmartNet: what it reads, how it is cut, learned, extended and unloaded; that old exits stay, to the last bit."""

import copy
import weakref

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.errors import BackwardBeforeForward
from minialex.layers.sequential import all_layers
from minialex.models import smart_grid, smart_record
from minialex.models.names import rebuilt
from minialex.training.data_parallel import DataParallel
from minialex.training.exits import exit_by_exit
from minialex.training.networks import freeze

CLASSES, SIDE, BLOCKS = 3, 8, "2x20 3x30 2x20"  # with width 0.1: a stem of 2 maps, then layers of 2, 3 and 2


def tiny(exits=None, blocks=BLOCKS, **how):
    how = {"preset": "small", "width": 0.1, "image_size": SIDE, **how}
    return mx.models.smartnet(exits, CLASSES, blocks=blocks, **how)


def drawn(model, seed=0):
    """Gates, normalisation and running numbers as after a training, so that each counts."""
    rng = np.random.default_rng(seed)
    for name, p in model.named_parameters():
        if name.endswith((".gate.weight", ".norm.weight", ".bias")):
            low, high = {"gate": (0.3, 1), "norm": (0.5, 1.5)}.get(name.split(".")[-2], (-0.5, 0.5))
            p.value[...] = rng.uniform(low, high, p.value.shape)
    for _, buffer in model.named_buffers():
        buffer.value = rng.uniform(0.2, 1.2, buffer.value.shape).astype(buffer.value.dtype)
    return model


def pictures(count=4, side=SIDE, channels=3, dtype="float32", seed=1):
    return np.random.default_rng(seed).normal(size=(count, channels, side, side)).astype(dtype)


def gate(model, name):
    return smart_grid.gate_of(model.grid.readers()[name]).weight.value


def closed(model, **places):
    """block1_layer2=[0]: that gate, counted from 0, is 0; or all of them: ..."""
    for name, which in places.items():
        gate(model, name.replace("_", "."))[which] = 0
    return model


def numbers(model):
    """Copies of all parameters and running numbers, by name."""
    return {name: array.copy() for name, array in weights.export_grouped(model).items()}


def step(model, optimizer, x, labels):
    loss = model.loss.forward(model.forward(x), labels)
    model.backward(model.loss.backward())
    optimizer.step()
    return float(loss)


def train(model, steps=3, **how):
    optimizer = mx.SGD(model.parameters(), **{"lr": 0.1, "weight_decay": 0.01, "penalty": 0.2, **how})
    for number in range(steps):
        step(model.train(), optimizer, pictures(6, seed=number), np.arange(6) % CLASSES)
    return model.eval()


def same(one, other):
    """Arrays by name, the same to the last bit."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name, strict=True)


# ---- the grid --------------------------------------------------------------------------------------------


def test_each_layer_reads_all_before_it_and_each_exit_all_that_is_there():
    model = tiny()
    found, before = model.grid.reads(), ["stem"]
    for number, layers in ((1, 2), (2, 3), (3, 2)):
        for layer in range(1, layers + 1):
            assert found[f"block{number}.layer{layer}"] == before
            before = [*before, f"block{number}.layer{layer}"]
        assert found[f"exit{number}"] == before
    assert len(found) == 7 + 3
    assert model.exits == ["exit1", "exit2", "exit3"]


def test_summary_has_the_order_of_the_grid_and_the_multiply_adds_of_a_count_by_hand():
    rows = mx.summary(tiny(2, image_size=16)).rows
    assert [row.name for row in rows] == ["stem", "block1", "exit1", "pool1", "block2", "exit2"]
    at_16, at_8 = 9 * 16 * 16, 9 * 8 * 8  # a kernel of 3x3 at each pixel
    assert [row.multiply_adds for row in rows] == [
        at_16 * 3 * 2,
        at_16 * (2 * 2 + 4 * 2),
        16 * 6 * CLASSES,  # of 4x4 cells
        0,
        at_8 * (6 * 3 + 9 * 3 + 12 * 3),
        16 * 15 * CLASSES,
    ]
    assert [row.output for row in rows] == [(2, 16, 16), (6, 16, 16), (3,), (6, 8, 8), (15, 8, 8), (3,)]
    total = sum(p.value.size for p in tiny(2).parameters())
    assert mx.summary(tiny(2)).parameters == total == sum(row.parameters for row in rows)


@pytest.mark.parametrize(
    ("side", "sides"), [(32, [32, 16, 8]), (17, [17, 8, 4]), (8, [8, 4, 4]), (5, [5, 5, 5])]
)
def test_between_blocks_maps_are_halved_down_to_four_pixels(side, sides):
    rows = {row.name: row.output for row in mx.summary(tiny(image_size=side)).rows}
    assert [rows[f"block{number}"][1] for number in (1, 2, 3)] == sides


@pytest.mark.parametrize(("side", "sides"), [(29, [8, 4, 4]), (57, [15, 7, 7]), (64, [16, 8, 4])])
def test_the_large_ones_stem_halves_twice_before(side, sides):
    rows = {row.name: row.output for row in mx.summary(tiny(preset="large", image_size=side)).rows}
    assert [rows[f"block{number}"][1] for number in (1, 2, 3)] == sides


def test_weights_are_drawn_for_relu():
    model = mx.models.smartnet(1, 200, "small", 0.5, blocks="1x400")  # 8 maps in the stem, 200 in the layer
    for weight, fan_in in (
        (model["stem"]["conv"].weight, 27),
        (model["block1"].nodes["layer1"].conv.weight, 72),
        (model["exit1"]["fc"].weight, 16 * 208),
    ):
        assert weight.value.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.15)
    assert all((p.value == 1).all() for name, p in model.named_parameters() if "gate" in name)


@pytest.mark.parametrize(
    ("preset", "shape", "stem"),
    [("large", (3, 224, 224), 56), ("small", (3, 32, 32), 32), ("mnist", (1, 28, 28), 28)],
)
def test_presets_take_their_pictures(preset, shape, stem):
    model = mx.models.smartnet(1, CLASSES, preset, width=1 / 32)
    assert model.picture_shape == shape
    assert mx.summary(model).rows[0].output[1:] == (stem, stem)
    assert len(mx.models.smartnet(None, CLASSES, preset, 1 / 32).exits) == {"large": 4}.get(preset, 3)


def test_prepare_scales_bytes_and_takes_nothing_else():
    model = tiny(1, preset="mnist")
    bytes_ = np.array([0, 255], np.uint8).repeat(64).reshape(2, 1, SIDE, SIDE)
    x = model.prepare(bytes_)
    assert x.dtype == np.float32
    np.testing.assert_allclose([x[0].max(), x[1].min()], [-1, 1])
    for wrong in (bytes_.astype(np.float32), bytes_[:, :, 1:]):
        with pytest.raises(ValueError, match=r"pictures must be uint8 \(N, 1, 8, 8\), not"):
            model.prepare(wrong)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("side", [9, 11])
def test_pictures_of_odd_sizes_alone_or_together_come_through_in_all_modes(count, side):
    model, x = tiny(image_size=side), pictures(count, side)
    assert model.forward(x).shape == (count, 3, CLASSES)
    assert model.backward(np.ones((count, 3, CLASSES), np.float32), input_grad=True).shape == x.shape
    assert model.learn(2).forward(x).shape == (count, CLASSES)
    assert model.backward(np.ones((count, CLASSES), np.float32), input_grad=True).shape == x.shape
    answers = model.eval().answers(x)
    np.testing.assert_array_equal(model.forward(x), answers[:, 1])
    np.testing.assert_array_equal(model.learn(None).forward(x), answers[:, 2])


def assert_slopes(model, x, seed=5):
    """Each array's gradient, along a direction that is drawn, is what the outputs change by."""
    rng = np.random.default_rng(seed)
    model, x = copy.deepcopy(model).astype("float64"), x.astype("float64")
    grad_y = rng.normal(size=model.forward(x).shape)
    grads = {"x": model.backward(grad_y, input_grad=True)} | {n: p.grad for n, p in model.named_parameters()}
    values = {"x": x} | {name: p.value for name, p in model.named_parameters()}
    for name, value in values.items():
        way, sums = rng.normal(size=value.shape), []
        for steps in (1, -2):
            value += steps * 1e-6 * way
            sums.append((model.forward(x) * grad_y).sum())
        value += 1e-6 * way
        measured = (sums[0] - sums[1]) / 2e-6
        np.testing.assert_allclose((grads[name] * way).sum(), measured, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("exit", [None, 1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_all_exits_or_one(exit, training):
    assert_slopes(drawn(tiny()).learn(exit, begin=False).train(training), pictures())


def test_gradients_bear_the_other_passes_of_gradcheck():
    model = drawn(tiny(2, "1x10 1x10", image_size=4))
    assert mx.gradcheck(model, pictures(2, 4, dtype="float64"), max_entries=2)


@pytest.mark.parametrize("exit", [None, 2])
def test_gradients_where_pictures_leave(exit):
    model = drawn(tiny()).learn(exit, begin=False).eval()
    model.leave_at = sure(model, pictures())
    model.forward(pictures())
    assert len(set(model.left)) > 1
    assert_slopes(model, pictures())


def test_twins_and_textbook_say_the_same():
    model, x, labels = drawn(tiny()), pictures(), np.arange(4) % CLASSES
    closed(model, block2_layer1=[0], block2_layer2=...).compact()

    def all_of():
        loss = model.loss.forward(model.forward(x), labels)
        model.backward(model.loss.backward())
        return {"loss": loss, **{name: p.grad.copy() for name, p in model.named_parameters()}}

    fast = all_of()
    with mx.textbook():
        plain = all_of()
    for name, array in plain.items():
        np.testing.assert_allclose(
            fast[name], array, rtol=1e-3, atol=1e-5 * max(1, np.abs(array).max()), err_msg=name
        )


def test_a_trace_has_the_layers_by_their_names():
    names = list(mx.trace(tiny(2), pictures(), np.arange(4) % CLASSES))
    for name in (
        "stem.conv.y",
        "block1.layer2.gate.y",
        "block2.layer3.norm.mean",
        "exit1.fc.y",
        "exit2.gate.y",
    ):
        assert name in names


# ---- the first exits of a network with more are this network ---------------------------------------------


@pytest.mark.parametrize("rng", [lambda: None, lambda: 5, lambda: np.random.default_rng(7)])
@pytest.mark.parametrize("preset", ["large", "small", "mnist"])
def test_fewer_exits_are_a_part_of_more_whatever_draws(preset, rng):
    def made(exits):
        return mx.models.smartnet(exits, CLASSES, preset, width=1 / 16, image_size=16, rng=rng())

    more, less = made(3), made(2)
    assert less.exits == ["exit1", "exit2"]
    drawn_there = numbers(more)
    same(numbers(less), {name: drawn_there[name] for name in numbers(less)})
    extended = less.extend(rng=rng())
    assert extended.architecture == more.architecture
    head = {name: drawn_there.pop(name) for name in ("exit3.fc.weight", "exit3.fc.bias")}
    now = numbers(extended)
    assert (now.pop("exit3.fc.weight") != head["exit3.fc.weight"]).any()  # that began as a copy of exit2
    del now["exit3.fc.bias"]
    same(now, drawn_there)


def test_another_seed_draws_another_stem_and_other_blocks():
    one, other = numbers(tiny(rng=1)), numbers(tiny(rng=2))
    kernels = [name for name in one if name.endswith(("conv.weight", "fc.weight"))]
    assert not any((one[name] == other[name]).any() for name in kernels)
    assert len({one[name].tobytes() for name in kernels}) == len(kernels)


def test_answers_of_the_first_exits_are_those_of_the_smaller_network():
    x = pictures()
    answers = tiny(3).eval().answers(x)
    np.testing.assert_array_equal(tiny(2).eval().answers(x), answers[:, :2])
    np.testing.assert_array_equal(tiny(2).eval().extend().answers(x)[:, :2], answers[:, :2])


# ---- extend ----------------------------------------------------------------------------------------------


def test_extend_leaves_a_trained_network_as_it_is_and_its_exit_says_what_the_last_one_did():
    model, x = train(tiny(2)), pictures()
    before, parts = model.answers(x), numbers(model)
    assert model.extend(rng=3) is model
    answers = model.answers(x)
    np.testing.assert_array_equal(answers[:, :2], before)
    np.testing.assert_allclose(
        answers[:, 2], before[:, 1], rtol=1e-5, atol=1e-6
    )  # 8 -> 4 pixels, all of them
    assert np.abs(model["exit3"]["fc"].weight.value).max() > 0
    now = numbers(model)
    same(parts, {name: now[name] for name in parts})
    assert model.learning == 3


def test_extend_takes_the_table_then_the_block_before_then_what_it_is_told():
    model = tiny(2, None)
    assert model.extend().architecture["blocks"] == "4x12 4x24 4x48"
    assert model.extend().architecture["blocks"] == "4x12 4x24 4x48 4x48"
    assert model.extend(2, 10).architecture["blocks"] == "4x12 4x24 4x48 4x48 2x10"
    assert model.extend(maps=20).architecture["blocks"].endswith(" 2x20")
    assert model.extend(layers=1).architecture["blocks"].endswith(" 2x20 1x20")
    assert tiny(2).extend().architecture["blocks"] == "2x20 3x30 3x30"  # no table's blocks
    assert [len(node.conv.weight.value) for node in model["block5"].nodes.values()] == [1, 1]
    assert model.architecture["exits"] == len(model.exits) == 7
    assert model.in_a_word() == "smartnet(7)"


def test_a_network_that_was_extended_is_made_again_by_its_record():
    model = tiny(2).extend(rng=4).extend(1, 20, rng=5)
    made = rebuilt(model.architecture)
    assert made.architecture == model.architecture
    weights.import_grouped(made, weights.export_grouped(model))
    np.testing.assert_array_equal(made.eval().answers(pictures()), model.eval().answers(pictures()))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"layers": 0}, "layers must be a whole number >= 1, not 0"),
        ({"layers": 1.5}, "layers must be a whole number >= 1, not 1.5"),
        ({"maps": -1}, "maps must be a whole number >= 1, not -1"),
        ({"maps": 10**9}, r"blocks '2x20 3x30 3x1000000000' are too large: 8 layers with .* numbers"),
        ({"layers": 246, "maps": 1}, "are too large: 251 layers"),
    ],
)
def test_extend_refuses_what_is_no_block_and_leaves_the_network_as_it_was(how, message):
    model = tiny(2)
    before = model.architecture
    with pytest.raises(ValueError, match=message):
        model.extend(**how)
    assert model.architecture == before
    assert model.exits == ["exit1", "exit2"]


# ---- compact: what is closed is cut out ------------------------------------------------------------------


def randomly_closed(model, seed, share):
    rng = np.random.default_rng(seed)
    for name, p in model.named_parameters():
        if name.endswith("gate.weight"):
            p.value *= rng.random(p.value.shape) >= share
    return model


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_cut_network_says_the_same_with_fewer_multiply_adds(share, dtype):
    for seed, (exits, side, preset) in enumerate([(3, 8, "small"), (1, 9, "small"), (3, 9, "mnist")]):
        model = drawn(tiny(exits, preset=preset, image_size=side), seed).astype(dtype)
        randomly_closed(model, seed, share).eval()
        x = pictures(3, side, len(model.input.mean), dtype)
        before, costs = model.answers(x), mx.summary(model).multiply_adds
        assert model.compact() is model
        after = model.answers(x)
        rounding = 1e-12 if dtype == "float64" else 2e-6
        assert np.abs(after - before).max() <= rounding * np.abs(before).max()
        assert mx.summary(model).multiply_adds < costs
        assert all((p.value != 0).all() for n, p in model.named_parameters() if "layer" in n and "gate" in n)

        again = copy.deepcopy(model).compact()  # there is nothing left to cut
        same(numbers(again), numbers(model))
        assert again.architecture == model.architecture
        made = rebuilt(model.architecture).astype(dtype).eval()
        weights.import_grouped(made, weights.export_grouped(model))
        assert made.architecture == model.architecture
        np.testing.assert_array_equal(made.answers(x), after)


def test_a_network_with_open_gates_is_cut_nowhere():
    model = drawn(tiny()).eval()
    before, parts = model.answers(pictures()), numbers(model)
    np.testing.assert_array_equal(model.compact().answers(pictures()), before)
    same(numbers(model), parts)


def test_a_closed_gate_goes_with_its_slice_of_the_kernel():
    model = closed(drawn(tiny(2)), block1_layer2=[0], block2_layer3=[1, 3], exit2=[2])
    old, costs = copy.deepcopy(model), {row.name: row.multiply_adds for row in mx.summary(model).rows}
    model.compact()
    now = {row.name: row.multiply_adds for row in mx.summary(model).rows}
    assert costs["block1"] - now["block1"] == 9 * 64 * 2 * 2  # the stem's maps, to two, at 8x8 pixels
    assert costs["block2"] - now["block2"] == 9 * 16 * (2 + 3) * 3
    assert costs["exit2"] - now["exit2"] == 16 * 2 * CLASSES
    layer, before = model["block2"].nodes["layer3"], old["block2"].nodes["layer3"]
    # It read stem 2, layers of block1 2 and 2, of block2 3 and 3; the second and the fourth are closed.
    kept = [0, 1, 4, 5, 9, 10, 11]
    np.testing.assert_array_equal(layer.conv.weight.value, before.conv.weight.value[:, kept])
    np.testing.assert_array_equal(layer.gate.weight.value, before.gate.weight.value[[0, 2, 4]])
    assert model.grid.reads()["block2.layer3"] == ["stem", "block1.layer2", "block2.layer2"]
    assert model.grid.reads()["block1.layer2"] == ["block1.layer1"]


def test_what_nobody_reads_is_gone_and_so_is_what_that_alone_has_read():
    model = drawn(tiny(2))
    closed(model, exit1=[2], block2_layer1=[2], block2_layer2=[2], block2_layer3=[2], exit2=[2])
    closed(
        model,
        block1_layer2=[0],
        exit2=[1],
        block2_layer1=[1],
        block2_layer2=[1],
        block2_layer3=[1],
        exit1=[1],
    )
    before, x = model.eval().answers(pictures()), pictures()
    model.compact()  # block1.layer2 is read by nobody, and layer1 by layer2 alone
    assert [name for name in model.children() if "block" in name] == ["block2"]
    assert "block1" not in str(model.architecture["reads"])
    assert model.architecture["blocks"] == "2x20 3x30"
    np.testing.assert_allclose(model.answers(x), before, rtol=1e-5, atol=1e-6)
    assert model.grid.heads["exit1"][0] == "stem"
    assert model.train().forward(x).shape == (4, 2, CLASSES)


def test_a_chain_of_layers_whose_gates_are_all_closed_leaves_a_number_for_each_map_that_is_read():
    model = closed(drawn(tiny(2)), block1_layer1=..., block1_layer2=[0], block2_layer1=..., exit2=[3])
    closed(model, block2_layer2=[3], block2_layer3=[3]).eval()  # block2.layer1 is closed, and read by nobody
    x, norm = pictures(), model["block1"].nodes["layer1"].norm
    before = model.answers(x)
    said = norm.bias.value - norm.weight.value * norm.running_mean.value / np.sqrt(
        norm.running_var.value + norm.eps
    )
    model.compact()
    still = model["block1"].nodes["layer1"]
    assert isinstance(still, smart_grid.Still)
    np.testing.assert_allclose(still.bias.value, np.maximum(said, 0), rtol=1e-6)
    assert list(model["block2"].nodes) == ["layer2", "layer3"]
    reads = model.grid.reads()
    assert reads["block1.layer1"] == []
    assert reads["block1.layer2"] == ["block1.layer1"]
    np.testing.assert_allclose(model.answers(x), before, rtol=1e-5, atol=1e-6)
    again = copy.deepcopy(model).compact()
    same(numbers(again), numbers(model))
    closed(model, block1_layer2=..., exit1=[1], exit2=[1])  # now layer1 is still read by block2
    before = model.answers(x)
    np.testing.assert_allclose(model.compact().answers(x), before, rtol=1e-5, atol=1e-6)
    assert model.grid.reads()["block1.layer2"] == []


def test_what_is_still_has_a_gradient_and_no_weight_decay():
    layer = smart_grid.Still(2)
    layer.bias.value[:] = [1, -2]
    assert mx.gradcheck(layer, pictures(2, 3))
    y = layer.forward(pictures(2, 3))
    np.testing.assert_array_equal(y, np.broadcast_to(np.array([1, -2])[:, None, None], (2, 2, 3, 3)))
    assert layer.backward(np.ones_like(y)).shape == (2, 3, 3, 3)
    assert not layer.bias.decay
    y[...] = 7
    np.testing.assert_array_equal(layer.bias.value, [1, -2])


def test_an_exit_that_reads_nothing_says_its_bias():
    model = closed(drawn(tiny(2)), exit1=...).eval().compact()
    assert model.grid.reads()["exit1"] == ["stem"]
    np.testing.assert_array_equal(gate(model, "exit1"), [0])
    bias = model["exit1"]["fc"].bias.value
    np.testing.assert_array_equal(model.answers(pictures())[:, 0], np.broadcast_to(bias, (4, CLASSES)))


def test_an_exit_that_reads_nothing_any_more_keeps_what_it_read_last():
    model = closed(drawn(tiny(1)), exit1=[0]).eval().compact()
    assert model.grid.reads()["exit1"] == ["block1.layer1", "block1.layer2"]
    gate(model, "exit1")[:] = 0
    before = model.answers(pictures())
    for _ in range(2):
        assert model.compact().grid.reads()["exit1"] == ["block1.layer1"]
        np.testing.assert_array_equal(model.answers(pictures()), before)
    np.testing.assert_array_equal(gate(model, "exit1"), [0])
    weights.import_grouped(made := rebuilt(model.architecture), weights.export_grouped(model))
    np.testing.assert_array_equal(made.eval().answers(pictures()), before)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_only_what_is_exactly_0_is_cut(zero):
    model = drawn(tiny(1)).eval()
    gate(model, "block1.layer2")[:] = [zero, -0.5]
    gate(model, "exit1")[1] = 1e-30
    before = model.answers(pictures())
    np.testing.assert_allclose(model.compact().answers(pictures()), before, rtol=1e-5, atol=1e-6)
    assert model.grid.reads()["block1.layer2"] == ["block1.layer1"]
    assert model.grid.reads()["exit1"] == ["stem", "block1.layer1", "block1.layer2"]
    np.testing.assert_array_equal(gate(model, "block1.layer2"), np.float32([-0.5]))


def test_what_is_not_finite_in_a_closed_slice_is_cut_with_it():
    """Before, 0 * NaN is NaN; a gate that is NaN itself is not closed."""
    model = closed(drawn(tiny(1)).eval(), block1_layer2=[0])
    model["block1"].nodes["layer2"].conv.weight.value[:, :2] = np.nan
    assert np.isnan(model.answers(pictures())).all()
    assert np.isfinite(model.compact().answers(pictures())).all()
    gate(model, "block1.layer2")[:] = np.nan
    assert np.isnan(model.compact().answers(pictures())).all()


def test_a_cut_network_learns_on():
    model = randomly_closed(drawn(tiny()), 1, 0.4).compact()
    x, labels = pictures(6), np.arange(6) % CLASSES
    before, optimizer = numbers(model), mx.SGD(model.parameters(), 0.05)
    losses = [step(model, optimizer, x, labels) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]
    now = numbers(model)
    assert all(
        (now[name] != before[name]).any() for name in before if "running" not in name and "gate" not in name
    )
    train(model, penalty=2.0)  # closes some more of them
    answers = model.answers(x)
    np.testing.assert_allclose(model.compact().answers(x), answers, rtol=1e-4, atol=1e-5)


def test_gradients_of_a_cut_network():
    model = closed(drawn(tiny(2, "2x10 1x10", image_size=4)), block1_layer1=..., block2_layer1=[0]).compact()
    assert isinstance(model["block1"].nodes["layer1"], smart_grid.Still)
    assert_slopes(model, pictures(2, 4))
    assert_slopes(model.eval(), pictures(2, 4))


def test_a_cut_network_is_extended_by_a_block_that_reads_what_is_left():
    model = closed(drawn(tiny(2)), block1_layer1=..., exit1=[2], block2_layer3=...).eval().compact()
    x = pictures()
    before = model.answers(x)
    model.extend(rng=2)
    np.testing.assert_array_equal(model.answers(x)[:, :2], before)
    np.testing.assert_allclose(model.answers(x)[:, 2], before[:, 1], rtol=1e-5, atol=1e-6)
    there = ["stem", "block1.layer1", "block1.layer2", "block2.layer1", "block2.layer2", "block2.layer3"]
    assert model.grid.reads()["block3.layer1"] == there
    made = rebuilt(model.architecture)
    weights.import_grouped(made, weights.export_grouped(model))
    np.testing.assert_array_equal(made.eval().answers(x), model.answers(x))
    train(model)
    np.testing.assert_array_equal(model.answers(x)[:, :2], before)


def test_cutting_leaves_other_networks_of_these_layers_alone():
    model = closed(drawn(tiny(2)), block1_layer1=..., block1_layer2=[0])
    part = model.first(1)
    still = numbers(part)
    model.compact().compact()
    inside = {id(p.value) for p in part.parameters() if "stem" not in p.name}
    assert not any(id(p.value) in inside for p in model.parameters())
    for p in model.parameters():
        if not p.name.startswith("stem"):
            p.value += 1
    same(numbers(part), still)


def test_an_exit_of_a_cut_network_goes_on_learning_alone():
    model = closed(drawn(tiny(3)), block2_layer1=[0]).learn(2)
    before = numbers(model.compact())
    assert model.learning == 2
    assert model.train().forward(pictures()).shape == (4, CLASSES)
    train(model)
    now = numbers(model)
    changed = {name.partition(".")[0] for name in before if (now[name] != before[name]).any()}
    assert changed == {"block2", "exit2"}


# ---- what stays through all of it ------------------------------------------------------------------------

CHANGES = {
    "extend": lambda model: model.extend(),
    "compact": lambda model: closed(model, block1_layer1=..., block2_layer1=[0]).compact(),
    "unload": lambda model: (model.unload(1), model)[1],
    "first": lambda model: model.first(1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("training", [True, False])
def test_mode_dtype_device_and_leave_at_stay(change, training):
    model = tiny(2).astype("float64").to("sim:0").train(training)
    model.leave_at, model.classes = 0.75, ["a", "b", "c"]
    changed = CHANGES[change](model)
    assert {layer.training for layer in all_layers(changed)} == {training}
    assert {p.value.dtype for _, p in changed.named_parameters() + changed.named_buffers()} == {
        np.dtype("float64")
    }
    sim = mx.Device("sim:0")
    assert {layer.device for layer in all_layers(changed)} == {sim}
    assert changed.devices == (sim, sim)
    assert changed.leave_at == 0.75
    assert changed.classes == ["a", "b", "c"]
    assert changed.picture_shape == (3, SIDE, SIDE)
    x = mx.transfer(pictures(dtype="float64"), "sim:0")
    exits = len(changed.exits)
    if change == "extend":
        changed.learn(None)
    y = changed.forward(x)
    assert y.shape == ((4, exits, CLASSES) if training else (4, CLASSES))
    changed.loss.forward(y, np.arange(4) % CLASSES)
    changed.backward(changed.loss.backward())


def test_a_copy_goes_its_own_way():
    model = drawn(tiny(2)).eval()
    before, parts = model.answers(pictures()), numbers(model)
    other = copy.deepcopy(model)
    train(other)
    closed(other, block1_layer1=...).compact().extend()
    np.testing.assert_array_equal(model.answers(pictures()), before)
    same(numbers(model), parts)
    assert model.exits == ["exit1", "exit2"]
    assert model.learning is None


# ---- training exit by exit -------------------------------------------------------------------------------


@pytest.mark.parametrize("exit", [1, 2, 3])
def test_one_exit_learns_and_all_else_stays_to_the_last_bit(exit):
    model, x = train(tiny()), pictures()
    model.learn(exit)
    before, answers = numbers(model), model.answers(x)
    train(model)
    now = numbers(model)
    own = {"stem"} if exit == 1 else set()
    changed = {name for name in before if (now[name] != before[name]).any()}
    assert {name.partition(".")[0] for name in changed} == own | {f"block{exit}", f"exit{exit}"}
    kinds = {".".join(name.split(".")[-2:]) for name in changed}
    assert kinds >= {
        "conv.weight",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "gate.weight",
    }
    assert kinds >= {"fc.weight", "fc.bias"}
    np.testing.assert_array_equal(model.answers(x)[:, : exit - 1], answers[:, : exit - 1])
    assert (model.answers(x)[:, exit - 1] != answers[:, exit - 1]).any(axis=1).all()


def test_after_none_all_learn_again():
    model = train(tiny()).learn(2).learn(None)
    before = numbers(model)
    train(model, penalty=0.0)
    now = numbers(model)
    stays = {name for name in before if (now[name] == before[name]).all()}
    assert all("gate" in name for name in stays)  # of those the widest is held at 1
    assert model.train().forward(pictures()).shape == (4, 3, CLASSES)


def test_an_exit_begins_with_what_the_one_before_says():
    model, x = drawn(tiny()).eval(), pictures()
    before, own = model.answers(x), numbers(model)
    assert (np.abs(before[:, 1] - before[:, 0]) > 1e-3).any()
    model.learn(2)
    np.testing.assert_allclose(model.answers(x)[:, 1], before[:, 0], rtol=1e-5, atol=1e-6)
    now = numbers(model)
    np.testing.assert_array_equal(now["exit2.gate.weight"][:3], own["exit1.gate.weight"])
    np.testing.assert_array_equal(now["exit2.gate.weight"][3:], own["exit2.gate.weight"][3:])
    assert (now["exit2.fc.weight"][:, 16 * 6 :] == 0).all()
    changed = {name for name in own if (now[name] != own[name]).any()}
    assert changed == {"exit2.gate.weight", "exit2.fc.weight", "exit2.fc.bias"}


def test_an_exit_goes_on_where_it_was_if_it_is_not_to_begin():
    model = drawn(tiny())
    own = numbers(model)
    for exit in (1, 2, 3):
        assert model.learn(exit, begin=False) is model
    same(numbers(model.learn(1)), own)  # before the first one there is none


def test_of_a_cut_network_an_exit_begins_with_what_the_one_before_reads():
    model, x = closed(drawn(tiny(2)), exit1=[1], exit2=[3]).eval().compact(), pictures()
    before = model.answers(x)
    model.learn(2)
    assert model.grid.reads()["exit1"] == ["stem", "block1.layer2"]
    np.testing.assert_allclose(model.answers(x)[:, 1], before[:, 0], rtol=1e-5, atol=1e-6)
    weight = model["exit2"]["fc"].weight.value
    np.testing.assert_array_equal(weight[:, :32], model["exit1"]["fc"].weight.value[:, :32])
    assert (weight[:, 32:64] == 0).all()  # block1.layer1
    assert (weight[:, 96:] == 0).all()


@pytest.mark.parametrize("begin", ["learn", "exit_by_exit"])
def test_of_a_cut_network_an_exit_that_reads_less_is_no_copy_and_nothing_changes(begin):
    model = closed(drawn(tiny(2)), exit1=[1], exit2=[0]).eval().compact().learn(1)
    own = numbers(model)
    which = r"exit 2 cannot begin as a copy of exit 1, which reads stem: as this .* learn\(2, begin=False\) goes on"
    with pytest.raises(ValueError, match=which):
        model.learn(2) if begin == "learn" else exit_by_exit(model, 2)
    same(numbers(model), own)
    assert (model.learning, model["exit2"]["fc"].weight.lr_scale) == (1, 0)
    gate(model, "exit1")[0] = 0  # closed, it counts for nothing
    x = pictures()
    np.testing.assert_allclose(model.learn(2).answers(x)[:, 1], model.answers(x)[:, 0], rtol=1e-5, atol=1e-6)
    exit_by_exit(model, 2)
    gate(model, "exit1")[0] = 1
    model.learn(2, begin=False)
    exit_by_exit(model, 2, begin=False)


def test_exits_behind_the_one_that_learns_say_something_else_and_those_before_do_not():
    model, x = train(tiny()).learn(2, begin=False), pictures()
    before = model.answers(x)
    train(model, steps=1)
    np.testing.assert_array_equal(model.answers(x)[:, 0], before[:, 0])
    assert (model.answers(x)[:, 2] != before[:, 2]).any()
    text = " ".join(type(model).learn.__doc__.split())
    assert (
        "what the exits before it say stays the same to the last bit. Those behind it read its block" in text
    )


def test_what_learns_has_the_gradients_that_it_has_among_all_and_what_does_not_is_not_asked():
    model = drawn(tiny()).learn(2, begin=False)
    x, grad = pictures(), pictures(seed=9)[:, 0, 0, :CLASSES]
    model.forward(x)
    assert model.backward(grad) is None
    found = {name: p.grad.copy() for name, p in model.named_parameters()}
    model.forward(x)
    model.backward(grad, input_grad=True)
    asked = {name: p.grad for name, p in model.named_parameters()}
    for name, array in found.items():
        if name.startswith(("block2", "exit2")):
            np.testing.assert_array_equal(array, asked[name], err_msg=name)
            assert array.any()
        else:
            assert not array.any()
    assert any(array.any() for name, array in asked.items() if name.startswith("stem"))


def test_no_gradient_of_another_forward_is_left():
    model = tiny()
    model.forward(pictures())
    model.backward(np.ones((4, 3, CLASSES), np.float32))
    model.learn(1).forward(pictures())
    model.backward(np.ones((4, CLASSES), np.float32))
    later = [
        p for name, p in model.named_parameters() if name[-1] != "1" and name.startswith(("block2", "exit2"))
    ]
    assert later
    assert not any(p.grad.any() for p in later)


def test_where_nothing_learns_backward_goes_all_the_way():
    model = drawn(tiny()).learn(2, begin=False)
    y = model.forward(pictures())
    model.backward(np.ones_like(y), input_grad=True)
    asked = [p.grad.copy() for p in model.parameters()]
    for p in model.parameters():
        p.lr_scale = 0
    model.forward(pictures())
    assert model.backward(np.ones_like(y)) is None
    for p, grad in zip(model.parameters(), asked, strict=True):
        np.testing.assert_array_equal(p.grad, grad)


@pytest.mark.parametrize("exit", [None, 2])
def test_a_part_that_went_forward_in_between_is_noticed_and_one_that_was_saved_is_not(exit, tmp_path):
    model = tiny().learn(exit)
    y = model.forward(pictures())
    mx.save(model, tmp_path / "w.safetensors", exits=1)
    part = model.first(1)
    model.backward(np.ones_like(y))
    y = model.forward(pictures())
    part.forward(pictures())
    with pytest.raises(BackwardBeforeForward, match=r"smartnet\(3\): stem .* was used"):
        model.backward(np.ones_like(y))


@pytest.mark.parametrize("exit", [0, 4, -1, "1", 1.0, True])
def test_an_exit_that_is_not_there_is_refused_with_those_that_are(exit):
    model = tiny()
    for ask in (model.learn, model.first, model.unload, model.path):
        with pytest.raises(
            ValueError, match=r"smartnet\(3\): there is no exit .*, there are 3, exit1 to exit3; extend"
        ):
            ask(exit)
    with pytest.raises(ValueError, match=r"there are 1, exit1; extend\(\) adds one"):
        tiny(1).learn(2)
    assert model.learning is None


def test_numbers_of_numpy_are_numbers():
    model = tiny().learn(np.int64(2))
    assert type(model.learning) is int
    assert model.first(np.int64(1)).exits == ["exit1"]


# ---- leaving ---------------------------------------------------------------------------------------------


def sure(model, x, share=0.5):
    """A leave_at at which this share of the pictures leaves at the first exit."""
    return float(np.quantile(mx.layers.leaving.surest(model.answers(x)[:, 0]), 1 - share))


def test_pictures_leave_at_the_first_exit_that_is_sure():
    model, x = drawn(tiny()).eval(), pictures(8)
    answers = model.answers(x)
    model.leave_at = sure(model, x)
    y = model.forward(x)
    assert set(model.left) > {1}
    np.testing.assert_allclose(y, answers[np.arange(8), model.left - 1], rtol=1e-5, atol=1e-6)
    surest = np.stack([mx.layers.leaving.surest(answers[:, i]) for i in range(2)], axis=1) >= model.leave_at
    np.testing.assert_array_equal(model.left, np.where(surest.any(axis=1), surest.argmax(axis=1) + 1, 3))
    model.train().forward(x)
    assert model.left is None


def test_nobody_goes_further_than_the_exit_that_learns():
    model, x = drawn(tiny()).learn(2).eval(), pictures(8)
    model.leave_at = sure(model, x)
    y, left = model.forward(x), model.left
    assert set(left) == {1, 2}
    part = model.first(2)
    assert part.leave_at == model.leave_at
    np.testing.assert_array_equal(part.forward(x), y)
    np.testing.assert_array_equal(part.left, left)
    y = model.forward(x)
    assert model.backward(np.ones_like(y), input_grad=True).shape == x.shape
    grads = {name: p.grad.any() for name, p in model.named_parameters()}
    assert not any(some for name, some in grads.items() if name.startswith(("block3", "exit3")))
    assert all(some for name, some in grads.items() if name.endswith("fc.weight") and "exit3" not in name)
    last = model.learn(3, begin=False).forward(x)
    np.testing.assert_array_equal(last, model.learn(None).forward(x))
    model.learn(1).forward(x)
    assert set(model.left) == {1}
    for exit in (1, 2, 3):
        assert model.learn(exit).train().forward(x).shape == (8, CLASSES)
        assert model.left is None


def test_of_one_exit_all_leave_at_it():
    model = tiny(1).eval()
    before = model.forward(pictures())
    for learning in (None, 1):
        model.learn(learning).leave_at = 0.999
        np.testing.assert_array_equal(model.forward(pictures()), before)
        assert model.left.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("probability", [-0.1, 1.01, float("nan")])
def test_what_is_no_probability_is_no_leave_at(probability):
    model = tiny()
    with pytest.raises(ValueError, match="leave_at is a probability, from 0 to 1, or None, not"):
        model.leave_at = probability
    assert model.leave_at is None


# ---- unload, first ---------------------------------------------------------------------------------------


def test_unload_gives_back_what_the_other_exits_alone_needed():
    model, x = train(tiny()), pictures()
    answers, parts = model.answers(x), numbers(model)
    given = model.unload(1)
    same(given, {name: parts[name] for name in parts if name.partition(".")[0][-1] in "23"})
    assert model.exits == ["exit1"]
    assert model.architecture == tiny(1).architecture
    np.testing.assert_array_equal(model.forward(x), answers[:, 0])
    assert model.unload(1) == {}


def test_the_memory_of_what_is_unloaded_is_free():
    model = tiny()
    optimizer = mx.SGD(model.parameters(), 0.1)
    step(model, optimizer, pictures(), np.arange(4) % CLASSES)
    held = [
        weakref.ref(p.value) for name, p in model.named_parameters() if name[4:6] in ("2.", "k2", "3.", "k3")
    ]
    held += [
        weakref.ref(p.grad) for name, p in model.named_parameters() if name.startswith(("block2", "exit3"))
    ]
    held += [weakref.ref(node) for node in model["block3"].nodes.values()]
    assert all(ref() is not None for ref in held)
    given = model.unload(1)
    assert given
    del given, optimizer
    assert not [ref for ref in held if ref() is not None]


def test_what_was_unloaded_comes_back_from_a_file(tmp_path):
    model, x = train(tiny()), pictures()
    answers = model.answers(x)
    mx.save(model, tmp_path / "all.safetensors")
    model.unload(1)
    mx.load(model.extend(3, 30).extend(2, 20), tmp_path / "all.safetensors")
    assert model.learning == 3
    np.testing.assert_array_equal(model.answers(x), answers)


def test_with_the_exit_that_learned_unloaded_all_that_is_left_learns():
    model = tiny().learn(3)
    model.unload(2)
    assert model.learning is None
    assert all(p.lr_scale == (4 if "gate" in name else 1) for name, p in model.named_parameters())
    model.learn(1)
    model.unload(1)
    assert model.learning == 1


@pytest.mark.parametrize("change", ["compact", "unload"])
def test_an_optimizer_that_trains_what_is_gone_says_so(change):
    model = tiny(2)
    optimizer = mx.SGD(model.parameters(), 0.1)
    step(model, optimizer, pictures(), np.arange(4) % CLASSES)
    CHANGES[change](model)
    before = numbers(model)
    with pytest.raises(ValueError, match=r"gate.weight has no gradient"):
        step(model.eval(), optimizer, pictures(), np.arange(4) % CLASSES)
    same(numbers(model), before)


def test_a_part_has_the_same_layers_and_copies_nothing():
    model = tiny()
    model.classes = ["a", "b", "c"]
    part = model.first(2)
    assert list(part.children()) == [name for name in model.children() if name[-1] != "3" and name != "pool2"]
    assert all(layer is model.children()[name] for name, layer in part.children().items())
    assert part.architecture == tiny(2).architecture
    assert part.classes is model.classes
    assert model.exits == ["exit1", "exit2", "exit3"]
    train(part, steps=1)
    np.testing.assert_array_equal(part.answers(pictures()), model.eval().answers(pictures())[:, :2])
    part.extend(1, 20)
    assert model.exits == ["exit1", "exit2", "exit3"]
    assert model["block3"] is not part["block3"]


# ---- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"preset": "huge"}, "unknown preset 'huge': use large, small, mnist"),
        ({"exits": 4}, r"there is no exit 4: blocks are for 3; extend\(\) adds one to a network"),
        ({"exits": 5, "blocks": None}, "there is no exit 5: preset 'small' has 3"),
        ({"exits": 10**9}, "there is no exit 1000000000"),
        ({"exits": 0}, "exits must be a whole number >= 1, not 0"),
        ({"exits": "2"}, "exits must be a whole number >= 1, not '2'"),
        ({"blocks": "4x"}, "blocks says how many layers and maps each block has, .* not '4x'"),
        ({"blocks": "4x12x3"}, "blocks says .* not '4x12x3'"),
        ({"blocks": "0x12"}, "blocks says .* not '0x12'"),
        ({"blocks": [(1, 2.5)]}, "blocks says .* not"),
        ({"blocks": ""}, "blocks says .* not ''"),
        ({"blocks": 7}, "blocks says .* not 7"),
        ({"blocks": "9" * 5000 + "x1"}, "blocks says .* not '9999999"),
        ({"blocks": "1x9999999999"}, "blocks '1x9999999999' are too large: 1 layer with .* numbers in their kernels"),
        ({"blocks": "999999999x1"}, "blocks '999999999x1' are too large: 999,999,999 layers"),
        ({"blocks": "251x1"}, "251 layers with .* the most is 250 with"),
        ({"blocks": "999999999x99999999", "reads": "exit1: stem"}, "are too large"),
        ({"blocks": [(1, 1)] * 100_000}, "too large: 100,000 layers"),
        ({"blocks": "100x1000", "width": 10.0}, "are too large: 100 layers with 4,456,"),
        ({"reads": "nonsense"}, "reads is a text like 'block1.layer1: stem; .* not 'nonsense'"),
        ({"reads": "exit1: stem; exit1: stem"}, "with each name once, not 'exit1: stem; exit1: stem'"),
        ({"exits": 1, "reads": "exit1:"}, "reads: exit1 cannot read nothing"),
        ({"exits": 1, "reads": "exit1: stem stem"}, "reads: exit1 cannot read the same twice: 'exit1: stem stem'"),
        ({"exits": 1, "reads": "exit1: exit1"}, "reads: exit1 cannot read 'exit1'; there are stem"),
        ({"reads": "exit1: stem"}, "reads does not say what exit2 reads; it has exit1"),
        (
            {"exits": 1, "reads": {"block1.layer1": ["block1.layer1"], "exit1": ["stem"]}},
            "reads: block1.layer1 cannot read 'block1.layer1'; there are stem",
        ),
        ({"exits": 1, "reads": {"exit1": ["stem"], "x": []}}, "reads: there is no 'x' here; there are exit1"),
    ],
)  # fmt: skip
def test_what_makes_no_network_is_refused_with_what_it_is(how, message):
    with pytest.raises(ValueError, match=message):
        tiny(**how)


def test_the_numbers_in_kernels_are_counted_before_they_are_made(monkeypatch):
    parsed = smart_record.parse_blocks(BLOCKS)
    count = sum(p.value.size for name, p in tiny().named_parameters() if "layer" in name and "conv" in name)
    monkeypatch.setattr(smart_record, "MOST_NUMBERS", count)
    smart_record.check_size(parsed, 2, 0.1)
    monkeypatch.setattr(smart_record, "MOST_NUMBERS", count - 1)
    with pytest.raises(ValueError, match=f"7 layers with {count:,} numbers in their kernels; the most is"):
        smart_record.check_size(parsed, 2, 0.1)


def test_there_is_room_for_wide_and_deep_ones():
    large = smart_record.parse_blocks("4x32 6x48 8x64 6x96")
    smart_record.check_size(large, 256, 4.0)
    smart_record.check_size([(250, 1)], 4, 1.0)
    with pytest.raises(ValueError, match="24 layers with 264,"):
        smart_record.check_size(large, 320, 5.0)


@pytest.mark.parametrize("reads", [5, ["stem"], {"exit1": "stem"}, {1: ["stem"]}])
def test_what_says_not_what_is_read_is_refused(reads):
    with pytest.raises(TypeError, match=r"reads is a text as model.architecture has it, or {'exit1'"):
        tiny(1, reads=reads)


def test_reads_in_another_order_are_the_same_and_those_of_more_exits_will_do():
    whole = closed(drawn(tiny(3)), block2_layer1=[0, 2], block3_layer1=...).compact()
    part = tiny(2, reads=whole.architecture["reads"])
    assert part.architecture == whole.first(2).architecture
    backwards = {name: sources[::-1] for name, sources in whole.grid.reads().items()}
    assert tiny(3, reads=backwards).architecture == whole.architecture
    with pytest.raises(ValueError, match=r"there is no 'block3.layer1' here"):
        tiny(None, "2x20 3x30", reads=whole.architecture["reads"])


# ---- elsewhere -------------------------------------------------------------------------------------------


def test_layers_inside_blocks_are_frozen_by_name():
    model = tiny(2)
    names = freeze(model, "stem, block1.layer2, exit1")
    assert {name.rpartition(".")[0].rpartition(".")[0] for name in names} == {
        "stem",
        "block1.layer2",
        "exit1",
    }
    frozen = {layer.name for layer in all_layers(model) if getattr(layer, "frozen", False)}
    assert frozen == {"stem.norm", "block1.layer2.norm"}


def test_processes_hear_which_exit_learns():
    model, x = tiny(2, "1x10 1x10"), pictures(16)
    with DataParallel(model, processes=2) as parallel:
        for exit in (2, 1, None):
            model.learn(exit)
            for layer in all_layers(model):
                if isinstance(layer, mx.BatchNorm2D):
                    layer.frozen = True  # or each process has its own mean
            y = parallel.forward(x)
            parallel.backward(np.ones_like(y))
            together = [p.grad.copy() for p in model.parameters()]
            np.testing.assert_allclose(model.forward(x), y, rtol=1e-5, atol=1e-6)
            model.backward(np.ones_like(y))
            for p, grad in zip(model.parameters(), together, strict=True):
                if p.lr_scale:
                    np.testing.assert_allclose(p.grad, grad, rtol=1e-4, atol=1e-5 * np.abs(grad).max())


def test_layers_and_exits_are_found_by_name():
    model = tiny()
    for name, layer in model.children().items():
        assert model[name] is layer
    assert model[0] is model["stem"]
    head = mx.Linear(2, 2)
    assert mx.Exits({"a": mx.Linear(2, 2)}, heads={"early": ("a", head)})["early"] is head
    with pytest.raises(KeyError, match="exit9"):
        model["exit9"]


def test_an_exit_begins_as_the_one_before_however_its_weights_lie_in_memory():
    model, x = drawn(tiny()).eval(), pictures()
    before = model.answers(x)
    for exit in ("exit1", "exit2"):
        p = model[exit]["fc"].weight
        p.value = np.asfortranarray(p.value)
    model.learn(2)
    np.testing.assert_allclose(model.answers(x)[:, 1], before[:, 0], rtol=1e-5, atol=1e-6)
