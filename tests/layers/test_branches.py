"""Paths side by side: joined along the channels or by adding, and back."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex.devices.device import to_numpy

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5))


def conv(out, seed, k=1):
    return mx.Conv2D(3, out, k, padding=k // 2, rng=seed).astype("float64")


def paths():
    return {
        "one": conv(3, 1),
        "three": mx.Sequential(conv=conv(3, 2, 3), act=mx.Tanh()),
        "same": mx.Identity(),
    }


@pytest.mark.parametrize("merge", ["concat", "add"])
def test_each_path_alone_and_joined_by_hand(device, merge):
    block = mx.Branches(paths(), merge).to(device)
    y = block.forward(device.asarray(X))
    alone = {name: path.to(device) for name, path in paths().items()}
    ys = [to_numpy(path.forward(device.asarray(X))) for path in alone.values()]
    np.testing.assert_array_equal(to_numpy(y), np.concatenate(ys, axis=1) if merge == "concat" else sum(ys))
    grad_y = np.random.default_rng(1).normal(size=y.shape)
    grad_x = block.backward(device.asarray(grad_y))
    shares = np.split(grad_y, 3, axis=1) if merge == "concat" else [grad_y] * 3
    parts = [path.backward(device.asarray(share)) for path, share in zip(alone.values(), shares, strict=True)]
    np.testing.assert_array_equal(to_numpy(grad_x), sum(map(to_numpy, parts[1:]), to_numpy(parts[0])))
    for ours, theirs in zip(
        block.parameters(), (p for path in alone.values() for p in path.parameters()), strict=True
    ):
        np.testing.assert_array_equal(to_numpy(ours.grad), to_numpy(theirs.grad))


@pytest.mark.parametrize("merge", ["concat", "add"])
def test_gradients(device, merge):
    assert mx.gradcheck(mx.Branches(paths(), merge).to(device), X)


@pytest.mark.parametrize("merge", ["concat", "add"])
@pytest.mark.parametrize("only", [{"a": mx.Identity()}, {"a": mx.Identity(), "b": mx.Identity()},
                                  {"a": mx.Identity(), "b": mx.Identity(), "c": mx.Scale(2.0)}])  # fmt: skip
def test_nobody_writes_into_what_was_handed_on(merge, only):
    block, x = mx.Branches(only, merge), X.copy()
    x.setflags(write=False)
    y = block.forward(x)
    grad_y = np.ones_like(y)
    grad_y.setflags(write=False)
    grad_x = block.backward(grad_y)
    np.testing.assert_allclose(grad_x, len(only) if "c" not in only else 4.0)
    assert mx.Branches(only, merge).forward(x).shape == y.shape


def test_without_input_grad_only_the_parameters_get_theirs():
    block = mx.Branches(paths(), "add")
    y = block.forward(X)
    assert block.backward(y, input_grad=False) is None
    assert all(p.grad is not None for p in block.parameters())


def test_names_are_those_of_the_paths():
    block = mx.Branches(paths(), "add")
    names = ["one.weight", "one.bias", "three.conv.weight", "three.conv.bias"]
    assert [p.name for p in block.parameters()] == names == [name for name, _ in block.named_parameters()]
    model = mx.Sequential(block=block)
    assert [p.name for p in model.parameters()] == [f"block.{name}" for name in names]


def test_a_trace_shows_each_path():
    found = mx.trace(mx.Sequential(block=mx.Branches({"a": mx.ReLU(), "b": mx.Identity()})), X)
    assert {"block.a.mask", "block.b.y", "block.y"} <= set(found)


@pytest.mark.parametrize(("merge", "other", "message"), [
    ("add", conv(4, 0), r"a gives shape \(2, 3, 4, 5\), b \(2, 4, 4, 5\): they cannot be added"),
    ("concat", mx.MaxPool2D(2), r"a gives shape \(2, 3, 4, 5\), b \(2, 3, 2, 2\): they cannot be concatenated along"),
    ("concat", mx.Flatten(), r"a gives shape \(2, 3, 4, 5\), b \(2, 60\): they cannot be concatenated"),
    ("add", mx.GlobalAvgPool2D(), r"a gives shape \(2, 3, 4, 5\), b \(2, 3\): they cannot be added"),
])  # fmt: skip
def test_outputs_that_do_not_fit_are_named_with_both_shapes(merge, other, message):
    with pytest.raises(ValueError, match=rf"Branches: {message}"):
        mx.Branches({"a": mx.Identity(), "b": other}, merge).forward(X)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_what_has_no_channels_is_not_concatenated(shape):
    x = np.ones(shape)
    with pytest.raises(
        ValueError, match=rf"^Branches: a gives shape {re.escape(str(shape))}; only what has channels, "
    ):
        mx.Branches({"a": mx.Identity(), "b": mx.Identity()}).forward(x)
    assert (mx.Branches({"a": mx.Identity(), "b": mx.Identity()}, "add").forward(x) == 2).all()


def test_what_makes_no_branches_is_refused():
    with pytest.raises(ValueError, match="at least one path"):
        mx.Branches({})
    with pytest.raises(ValueError, match='merge must be "concat" or "add", not \'sum\''):
        mx.Branches({"a": mx.Identity()}, "sum")
    with pytest.raises(TypeError, match="takes its paths by name, a dict; this is a list"):
        mx.Branches([mx.Identity()])
    with pytest.raises(TypeError, match="Branches: a is an int, not a layer"):
        mx.Branches({"a": 3})
    with pytest.raises(TypeError, match=r"Branches: a is the class ReLU: write ReLU\(\.\.\.\)"):
        mx.Branches({"a": mx.ReLU})
    with pytest.raises(TypeError, match="takes its paths by name, a dict; this is a ReLU"):
        mx.Branches(mx.ReLU(), mx.ReLU())
    layer = mx.ReLU()
    with pytest.raises(ValueError, match="the same layer stands in two of its paths"):
        mx.Branches({"a": layer, "b": mx.Sequential(layer)})


def test_modes_reach_every_path():
    block = mx.Branches({"a": mx.Sequential(drop=mx.Dropout()), "b": mx.BatchNorm2D(3)}, "add")
    assert not block.eval().paths["a"]["drop"].training
    assert block.train().paths["b"].training


# ---- Dense ----


def dense(**options):
    second, third = (
        mx.Conv2D(inputs, outputs, 1, rng=2).astype("float64") for inputs, outputs in ((2, 1), (6, 2))
    )
    nodes = {"a": conv(2, 1, 3), "b": second, "c": third}
    return mx.Dense(**nodes, reads=[(0,), (1,), (0, 1, 2)], **options)


def test_dense_is_what_is_written_down_by_hand(device):
    block = dense().to(device)
    y = to_numpy(block.forward(device.asarray(X)))
    a, b, c = (layer.to("cpu") for layer in dense().nodes.values())
    first = a.forward(X)
    second = b.forward(first)
    third = c.forward(np.concatenate([X, first, second], axis=1))
    np.testing.assert_allclose(y, np.concatenate([X, first, second, third], axis=1), rtol=1e-12)


def test_gradients_of_dense(device):
    assert mx.gradcheck(dense().to(device), X)
    assert mx.gradcheck(mx.Dense(mx.Conv2D(3, 2, 3, padding=1), mx.Conv2D(5, 1, 1)).to(device), X)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: mx.Dense(), ValueError, "at least one node"),
    (lambda: mx.Dense(mx.ReLU), TypeError, r"0 is the class ReLU: write ReLU"),
    (lambda: mx.Dense(mx.ReLU(), mx.ReLU(), reads=[(0,)]), ValueError, "reads is for 1 node, there are 2"),
    (lambda: mx.Dense(mx.ReLU(), reads=[0]), TypeError, r"reads has numbers for each node, .*; 0 has 0"),
    (lambda: mx.Dense(mx.ReLU(), reads=["x"]), TypeError, r"reads has numbers for each node, .*; 0 has 'x'"),
    (lambda: mx.Dense(mx.ReLU(), reads=[()]), ValueError, r"0 reads \(\): some of the maps 0 to 0"),
    (lambda: mx.Dense(mx.ReLU(), mx.ReLU(), reads=[(0,), (1, 0)]), ValueError, r"1 reads \(1, 0\): .*in rising order"),
    (lambda: mx.Dense(mx.ReLU(), reads=[(1,)]), ValueError, r"0 reads \(1,\): some of the maps 0 to 0 are needed"),
    (lambda: mx.Dense(mx.MaxPool2D(2)).forward(X), ValueError, r"0 makes shape \(2, 3, 2, 2\) of \(2, 3, 4, 5\)"),
])  # fmt: skip
def test_what_makes_no_dense_block_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_scale_is_a_constant_factor_there_and_back(device):
    layer = mx.Scale(0.3).to(device)
    np.testing.assert_allclose(to_numpy(layer.forward(device.asarray(X))), 0.3 * X)
    np.testing.assert_allclose(to_numpy(layer.backward(device.asarray(X))), 0.3 * X)
