"""trace gives every number of a pass, under its name, and leaves no trace of its own."""

import itertools
import re
from argparse import Namespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.tracing.recorder import trace
from minialex.tracing.source import PACKAGE

LENETS = ["modern", "1998", "keras"]
PRESETS = [("paper", 2), ("paper", 1), ("cuda-convnet", 2), ("bvlc", 1), ("torchvision", 1)]


def lenet(variant, **options):
    model = mx.models.lenet5(variant, rng=3, **options)
    x = np.random.default_rng(1).standard_normal((2, *model.picture_shape), dtype=np.float32)
    return model, x


def small_alexnet(preset="paper", towers=2, devices="cpu"):
    model = mx.models.alexnet(3, devices, preset, towers, width=1 / 24, image_size=67, init="he")
    return model, np.random.default_rng(1).standard_normal((2, 3, 67, 67), dtype=np.float32)


def arrays(found, layer):
    return {name: entry.array for name, entry in found.of(layer).items()}


def shares(gradient):
    return {"rtol": 2e-4, "atol": 2e-5 * max(1e-3, float(np.abs(gradient).max(initial=0)))}


# ---- names ----


def test_the_names_of_a_small_network_come_in_the_order_of_the_pass():
    model = mx.Sequential(
        conv1=mx.Conv2D(1, 2, 3, padding=1), norm1=mx.LocalResponseNorm(), relu1=mx.ReLU(), pool1=mx.MaxPool2D(2),
        flatten=mx.Flatten(), dropout=mx.Dropout(), fc=mx.Linear(8, 2),
    )  # fmt: skip
    found = trace(model, np.ones((1, 1, 4, 4), np.float32), [1], loss=mx.SoftmaxCrossEntropy())
    expected = """
        x
        conv1.x conv1.weight conv1.bias conv1.padded conv1.columns conv1.matrix conv1.y
        norm1.x norm1.wide norm1.squares norm1.scale norm1.y
        relu1.x relu1.mask relu1.y
        pool1.x pool1.padded pool1.cells pool1.inside pool1.first_inside pool1.winner pool1.y
        flatten.x flatten.y
        dropout.x dropout.mask dropout.factor dropout.y
        fc.x fc.weight fc.bias fc.y
        loss.logits loss.labels loss.rows loss.shifted loss.exp loss.total loss.softmax loss.loss loss.grad_logits
        fc.grad_y fc.grad_weight fc.grad_bias fc.grad_x
        dropout.grad_y dropout.grad_x
        flatten.grad_y flatten.grad_x
        pool1.grad_y pool1.won pool1.grad_cells pool1.grad_x
        relu1.grad_y relu1.grad_x
        norm1.grad_y norm1.power norm1.through_scale norm1.grad_x
        conv1.grad_y conv1.grad_rows conv1.grad_matrix conv1.grad_columns conv1.grad_padded conv1.grad_weight
        conv1.grad_bias conv1.grad_x
        grad_x
    """
    assert list(found) == expected.split()


def test_the_towers_have_numbers_and_so_have_the_crossings_between_them():
    model, x = small_alexnet()
    found = trace(model, x, [0, 2])
    for (
        name
    ) in """broadcast_conv1.x broadcast_conv1[1].y conv2[0].columns conv2[1].columns exchange_conv3[0].y
                   exchange_conv3[1].grad_x gather_fc8[0].x gather_fc8[1].x gather_fc8.y fc8.grad_weight
                   broadcast_conv1.grad_x""".split():
        assert name in found
    y0, y1 = (found[f"pool2[{t}].y"].array for t in (0, 1))
    for t in (0, 1):
        np.testing.assert_array_equal(found[f"exchange_conv3[{t}].y"].array, np.concatenate([y0, y1], axis=1))
    both = found["conv1[0].grad_x"].array + found["conv1[1].grad_x"].array
    np.testing.assert_array_equal(found["grad_x"].array, both)


@pytest.mark.parametrize("devices", ["cpu", "sim:0,sim:1"])
def test_a_crossing_alone_takes_a_tuple(devices):
    x, grad_y = np.array([[1.0, 2.0]]), np.array([[1.0, 2.0, 3.0, 4.0]])
    found = trace(mx.Exchange().to(devices), (x, 10 * x), grad_y=(grad_y, 10 * grad_y))
    assert list(found) == "[0].x [1].x [0].y [1].y [0].grad_y [1].grad_y [0].grad_x [1].grad_x".split()
    assert found["[1].y"].array.tolist() == [[1, 2, 10, 20]]
    assert found["[1].grad_x"].array.tolist() == [[33, 44]]
    towers = trace(mx.Towers(mx.ReLU(), mx.ReLU()).to(devices), (x, -x))
    assert list(towers) == [f"[{t}].{name}" for t in (0, 1) for name in ("x", "mask", "y")]


def test_a_name_that_is_not_there_raises_with_those_that_come_near():
    found = trace(mx.Sequential(conv1=mx.Conv2D(1, 1, 1)), np.ones((1, 1, 2, 2), np.float32))
    with pytest.raises(
        KeyError, match=r"'conv1.colums' is not in the trace of Sequential; near it: conv1.columns"
    ):
        found["conv1.colums"]
    with pytest.raises(KeyError, match=r"'zzz' is not in the trace of Sequential; it has x, conv1.x"):
        found["zzz"]
    with pytest.raises(
        KeyError, match=r"'conv2' is no layer of this trace \(did you mean conv1\?\); it has 'conv1'"
    ):
        found.of("conv2")


def test_two_layers_that_make_the_same_name_are_told_to_differ():
    class Twice(mx.Layer):
        def __init__(self):
            self.y = mx.Parameter(np.ones(1, np.float32))

        def forward(self, x):
            return x * self.y.value

        def backward(self, grad_y):
            return grad_y

    with pytest.raises(ValueError, match="Twice makes a second 'y'"):
        trace(Twice(), np.ones((1, 1), np.float32))


# ---- the numbers ----


@given(made=strategies.convolutions(), data=st.data())
def test_a_convolution_is_its_weight_times_its_columns_and_so_backwards(made, data):
    arguments, size = made
    layer = mx.Conv2D(**arguments, rng=1).astype("float64")
    x = data.draw(strategies.arrays((2, arguments["in_channels"], *size)))
    y = layer.forward(x)
    grad_y = data.draw(strategies.arrays(y.shape))
    found = arrays(trace(layer, x, grad_y=grad_y), "")
    G, F = layer.groups, layer.out_channels
    columns = found["columns"] if G > 1 else found["columns"][:, None]
    weight = found["weight"].reshape(G, F // G, -1)
    bias = found.get("bias", np.zeros(F))[:, None, None]
    assert found["columns"].shape[1:] == ((G,) if G > 1 else ()) + (weight.shape[2], y[0, 0].size)
    np.testing.assert_allclose((weight @ columns).reshape(y.shape) + bias, y, rtol=1e-10, atol=1e-10)
    g = grad_y.reshape(2, G, F // G, -1)
    grad_weight = (g @ columns.transpose(0, 1, 3, 2)).sum(axis=0).reshape(found["weight"].shape)
    np.testing.assert_allclose(found["grad_weight"], grad_weight, rtol=1e-10, atol=1e-10)
    kernel, C = layer.kernel_size, x.shape[1]
    taps = found["grad_columns"].reshape(2, C, *kernel, *y.shape[2:]).transpose(1, 2, 3, 4, 5, 0)
    grad_x = naive.col2im(taps, x.shape, layer.stride, layer.padding)
    np.testing.assert_allclose(found["grad_x"], grad_x, rtol=1e-10, atol=1e-10)
    theirs = naive.im2col(x, kernel, layer.stride, layer.padding)  # (C, kh, kw, OH, OW, N)
    np.testing.assert_array_equal(
        columns.reshape(2, C, *kernel, *y.shape[2:]), theirs.transpose(5, 0, 1, 2, 3, 4)
    )


def test_the_table_convolution_shows_its_whole_weight():
    layer = mx.TableConv2D([(0,), (0, 2), (1,)], 2, rng=2)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5), dtype=np.float32)
    grad_y = np.random.default_rng(1).standard_normal((2, 3, 3, 4), dtype=np.float32)
    found = arrays(trace(layer, x, grad_y=grad_y), "")
    full = found["full_weight"]
    assert [(f, c) for f in range(3) for c in range(3) if full[f, c].any()] == [
        (0, 0),
        (1, 0),
        (1, 2),
        (2, 1),
    ]
    y = (full.reshape(3, -1) @ found["columns"]).reshape(found["y"].shape) + found["bias"][:, None, None]
    np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-5)
    picked = np.stack([found["grad_full_weight"][f, c] for f, c in naive.connections(layer.table)])
    np.testing.assert_allclose(found["grad_weight"], picked, rtol=1e-4, atol=1e-4)


def test_the_winner_is_the_first_of_the_largest_and_gets_the_gradient():
    x = np.array([[[[-1.0, -3, 2], [-1, -2, 2]]]])
    found = arrays(
        trace(mx.MaxPool2D((2, 1), padding=(1, 0)), x, grad_y=np.array([[[[10.0, 20, 30], [1, 2, 3]]]])), ""
    )
    assert np.isneginf(found["padded"][0, 0, [0, -1]]).all()
    assert found["winner"].tolist() == [[[[1, 1, 1], [0, 0, 0]]]]  # below the padding; above it
    assert found["grad_x"].tolist() == [[[[10, 20, 30], [1, 2, 3]]]]


def test_the_scale_of_a_normalisation_gives_its_output_and_its_gradient(rng):
    layer = mx.LocalResponseNorm(size=3, alpha=0.7, beta=0.6, k=1.5, groups=2)
    x, grad_y = rng.standard_normal((2, 2, 6, 2, 3))
    found = arrays(trace(layer, x, grad_y=grad_y), "")
    np.testing.assert_allclose(found["squares"], x * x)
    np.testing.assert_allclose(x / found["scale"] ** 0.6, found["y"])
    grad_x = grad_y * found["scale"] ** -0.6 - 2 * 0.7 * 0.6 * x * found["through_scale"]
    np.testing.assert_allclose(found["grad_x"], grad_x)


def test_the_mask_of_dropout_is_the_one_that_was_used_and_evaluation_has_none(rng):
    x = rng.standard_normal((3, 8))
    layer = mx.Dropout(0.25, seed=4)
    layer.forward(x)  # so that the step is not the first
    found = arrays(trace(layer, x, grad_y=x), "")
    assert 0 < found["mask"].sum() < 24
    np.testing.assert_allclose(found["y"], x * found["mask"] / 0.75)
    np.testing.assert_allclose(found["grad_x"], x * found["mask"] / 0.75)
    np.testing.assert_array_equal(found["y"], layer.forward(x))  # what the layer itself does next
    assert list(trace(layer.eval(), x)) == ["x", "y"]


def test_slopes_masks_and_sums_are_the_derivatives(rng):
    x, grad_y = rng.standard_normal((2, 2, 3, 4, 4))
    for layer in (mx.Sigmoid(), mx.Tanh(1.7159, 2 / 3)):
        found = arrays(trace(layer, x, grad_y=grad_y), "")
        np.testing.assert_allclose(found["grad_x"], grad_y * found["slope"])
    found = arrays(trace(mx.ReLU(), x, grad_y=grad_y), "")
    np.testing.assert_array_equal(found["grad_x"], grad_y * found["mask"])
    layer = mx.Subsampling(3).astype("float64")
    found = arrays(trace(layer, x, grad_y=grad_y[:, :, :2, :2]), "")
    np.testing.assert_allclose(found["y"], 0.25 * found["total"])
    np.testing.assert_allclose(found["grad_total"], 0.25 * grad_y[:, :, :2, :2])
    np.testing.assert_allclose(
        found["grad_weight"], (grad_y[:, :, :2, :2] * found["total"]).sum(axis=(0, 2, 3))
    )


def test_an_rbf_layer_shows_its_differences(rng):
    layer = mx.RBF(np.array([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])).astype("float64")
    found = arrays(trace(layer, rng.standard_normal((4, 3)), grad_y=rng.standard_normal((4, 2))), "")
    np.testing.assert_allclose(found["y"], -(found["difference"] ** 2).sum(axis=2))
    assert found["codes"].shape == (2, 3)


@pytest.mark.parametrize(
    ("loss", "share"), [(mx.SoftmaxCrossEntropy(), "softmax"), (mx.MAPLoss(j=0.5), "share")]
)
def test_a_loss_shows_how_it_shares_the_probability_out(loss, share, rng):
    labels = np.array([2, 0, 1], np.uint8)
    found = arrays(trace(loss, rng.standard_normal((3, 3)), labels), "")
    assert {"logits", "labels", share, "loss", "grad_logits"} <= set(found)
    np.testing.assert_allclose(found["grad_logits"], (found[share] - np.eye(3)[labels]) / 3)
    total = found[share].sum(axis=1)
    assert np.allclose(total, 1) if share == "softmax" else (total < 1).all()


def layer_by_layer(model, x, labels):
    """What the layers themselves give, one after the other: arrays by name."""
    results = {}
    for name, layer in model.children().items():
        x = layer.forward(x)
        results[f"{name}.y"] = x
    model.loss.forward(x, labels)
    grad = model.loss.backward()
    for name, layer in reversed(model.children().items()):
        grad = layer.backward(grad, input_grad=True)
        results[f"{name}.grad_x"] = grad
        for p in layer.parameters():
            t = "" if p.part is None else f"[{p.part[0] // (p.part[1] - p.part[0])}]"
            kind = p.name.rpartition(".")[2]
            results[f"{name}{t}.grad_{kind}"] = p.grad
    return results


@pytest.mark.usefixtures("textbook")
@pytest.mark.parametrize("case", [*LENETS, *PRESETS], ids=str)
def test_a_trace_has_what_the_layers_give_one_after_the_other(case):
    model, x = lenet(case) if case in LENETS else small_alexnet(*case)
    found = trace(model, x, [1, 2])
    for name, expected in layer_by_layer(model, x, [1, 2]).items():
        layer, dot, last = name.rpartition(".")
        several = expected if isinstance(expected, tuple) else [expected]
        for t, one in enumerate(several):
            key = f"{layer}[{t}]{dot}{last}" if isinstance(expected, tuple) else name
            np.testing.assert_array_equal(found[key].array, one, err_msg=key)


@pytest.mark.parametrize("case", [*LENETS, *PRESETS], ids=str)
def test_in_a_trace_each_layer_begins_where_the_one_before_it_ended(case):
    model, x = lenet(case) if case in LENETS else small_alexnet(*case)
    found = trace(model, x, [1, 2])
    whole = [layer for layer in found.layers if f"{layer}.y" in found and f"{layer}.x" in found]
    for name in whole:
        found_layer = arrays(found, name)
        assert found_layer["x"].shape == found_layer["grad_x"].shape, name
        assert found_layer["y"].shape == found_layer["grad_y"].shape, name
        if "columns" in found_layer:
            kernel = found_layer.get("full_weight", found_layer["weight"])
            columns = found_layer["columns"]
            columns = columns if columns.ndim == 4 else columns[:, None]
            flat = kernel.reshape(columns.shape[1], len(kernel) // columns.shape[1], -1)
            y = (flat @ columns).reshape(found_layer["y"].shape) + found_layer["bias"][:, None, None]
            np.testing.assert_allclose(found_layer["y"], y, err_msg=name, **shares(y))
    names = [
        name for name in found.layers if name != "loss" and not re.search(r"\[|cast|gather|exchange", name)
    ]
    for before, after in itertools.pairwise(names):
        np.testing.assert_array_equal(found[f"{before}.y"].array, found[f"{after}.x"].array)
        np.testing.assert_array_equal(found[f"{before}.grad_y"].array, found[f"{after}.grad_x"].array)


# ---- what it is about ----


def test_entries_say_what_they_are_and_where_they_come_from():
    model, x = lenet("modern")
    found = trace(model, x, [0, 1])
    entry = found["c1.columns"]
    assert (entry.kind, entry.layer, entry.shape, entry.dtype) == ("forward", "c1", (2, 25, 784), np.float32)
    assert entry.formula == "columns = self.by_group(im2col(padded, self.kernel_size, self.stride))"
    assert entry.source == f"layers/conv.py:{entry.lines[0][0]}"
    assert entry.lines == ((entry.lines[0][0], entry.formula),)
    assert found["c1.weight"].kind == "parameter"
    assert found["c1.grad_weight"].kind == "backward"
    assert len(found["c1.y"].lines) == 3  # product, shape, bias
    assert found["c1.y"].formula == "; ".join(text for _, text in found["c1.y"].lines)
    assert "\n" not in "".join(e.formula for e in found.values())
    assert repr(found) == f"<trace of LeNet5: {len(found)} arrays; print it for more>"
    assert re.search(r"\nc1.columns +\(2, 25, 784\) +columns = ", str(found))


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("c5.y", "layers/linear.py", "return x @ self.weight.value.T"),
        ("c1.columns", "layers/conv.py", "columns = "),
        ("c1.weight", "layers/conv.py", "self.weight = Parameter("),
        ("c5.grad_bias", "layers/linear.py", "self.bias.grad = "),
        ("c5.grad_weight", "layers/linear.py", "self.weight.grad = "),
        ("s2.grad_x", "layers/pool.py", "return self.bring_home("),
        ("loss.loss", "layers/loss.py", "return "),
        ("loss.softmax", "layers/loss.py", "softmax = "),
        ("loss.grad_logits", "layers/loss.py", "grad_logits = "),
        ("c5.x", "layers/linear.py", "def forward"),
        ("c5.grad_y", "layers/linear.py", "def backward"),
    ],
)
def test_the_source_is_the_line_that_makes_the_array(name, file, line):
    model, x = lenet("modern")
    found, _, number = trace(model, x, [0, 1])[name].source.partition(":")
    assert found == file
    assert (PACKAGE / file).read_text(encoding="utf8").splitlines()[int(number) - 1].strip().startswith(line)


def test_every_source_is_a_line_of_the_package():
    model, x = small_alexnet("cuda-convnet")
    for entry in trace(model, x, [0, 1]).values():
        if entry.name not in ("x", "grad_x"):
            file, _, number = entry.source.partition(":")
            assert 0 < int(number) <= len((PACKAGE / file).read_text(encoding="utf8").splitlines()), entry


# ---- what it leaves alone ----


def test_a_trace_leaves_the_model_and_the_arrays_as_they_were():
    model, x = lenet("modern", dropout=0.5)
    model.loss.forward(model.forward(x), [1, 2])
    model.backward(model.loss.backward())
    before = [(p.value.copy(), p.grad, p.grad.copy()) for p in model.parameters()]
    counters = model.counters()
    y = model.forward(x)  # saves what backward needs
    model.set_counters(counters)
    x.flags.writeable = False
    found = trace(model, x, [1, 2])
    np.testing.assert_allclose(found["output.y"].array, y, **shares(y))  # with the same masks
    assert model.counters() == counters
    for p, (value, grad, was) in zip(model.parameters(), before, strict=True):
        assert p.grad is grad
        np.testing.assert_array_equal(p.grad, was)
        np.testing.assert_array_equal(p.value, value)
    model.backward(np.ones_like(y))  # its own forward is still there
    found["c1.weight"].array[:] = 0
    assert model["c1"].weight.value.any()


def test_a_trace_follows_the_mode_and_the_dtype_of_the_model():
    model, x = lenet("keras", dropout=0.5)
    assert "c5_dropout.mask" in trace(model, x)
    assert "c5_dropout.mask" not in trace(model.eval(), x)
    assert not model.training
    found = trace(model.astype("float64"), x.astype("float64"), [1, 2])
    other = {n: e.dtype.name for n, e in found.items() if e.dtype != np.float64}
    whole = dict.fromkeys(
        ["s2.winner", "s4.winner", "s2.first_inside", "s4.first_inside", "loss.labels", "loss.rows"], "int64"
    )
    assert other == whole | dict.fromkeys(
        [f"s{n}.{name}" for n in (2, 4) for name in ("inside", "won")], "bool"
    )
    found = trace(lenet("1998")[0], lenet("1998")[1], [1, 2])
    assert {e.dtype.name for n, e in found.items() if n not in ("loss.labels", "loss.rows")} == {"float32"}


@pytest.mark.parametrize("devices", ["sim:0,sim:1", "sim:0"])
def test_a_trace_from_other_devices_is_the_same_and_on_the_host(devices):
    model, x = small_alexnet("cuda-convnet", devices=devices)
    found, expected = trace(model, x, [1, 2]), trace(*small_alexnet("cuda-convnet"), [1, 2])
    assert list(found) == list(expected)
    for name, entry in found.items():
        assert type(entry.array) is np.ndarray
        np.testing.assert_allclose(entry.array, expected[name].array, rtol=1e-3, atol=1e-5, err_msg=name)
    forward = [n for n, e in found.items() if e.kind != "backward" and e.layer != "loss"]
    assert list(trace(model, mx.Device("sim:0").asarray(x))) == forward


# ---- what it refuses ----


def test_what_cannot_be_traced_is_refused_with_what_to_do():
    plain, x = mx.Sequential(fc=mx.Linear(2, 2)), np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"labels need a loss, and Sequential has none: give loss="):
        trace(plain, x, [1])
    with pytest.raises(ValueError, match="give labels, or grad_y, not both"):
        trace(plain, x, [1], grad_y=x)
    with pytest.raises(ValueError, match="SoftmaxCrossEntropy is a loss: give labels"):
        trace(mx.SoftmaxCrossEntropy(), x)
    with pytest.raises(TypeError, match="trace takes a layer or a network, not an ndarray"):
        trace(x, plain)
    with pytest.raises(TypeError, match="not the class ReLU"):
        trace(mx.ReLU, x)
    for name, what in (("loss", mx.SoftmaxCrossEntropy), ("optimizer", mx.SGD)):
        with pytest.raises(TypeError, match=rf"{name} is the class {what.__name__}: write {what.__name__}"):
            trace(plain, x, [1], **{"loss": mx.SoftmaxCrossEntropy(), name: what})
    with pytest.raises(TypeError, match="loss is 'softmax': give a loss layer"):
        trace(plain, x, [1], loss="softmax")
    with pytest.raises(TypeError, match="trace: optimizer is a Namespace, which has no `parameters`"):
        trace(plain, x, grad_y=x, optimizer=Namespace(step=print))
    with pytest.raises(mx.DtypeMismatch, match="computes in float32, the input is float64"):
        trace(plain, np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"forward gave shape \(1, 2\), the gradient has shape \(2, 2\)"):
        trace(plain, x, grad_y=np.ones((2, 2), np.float32))
