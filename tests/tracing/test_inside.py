"""trace by the source: what is kept of a layer's own lines, and under which names."""

import random
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from minialex.layers.calls import watcher
from minialex.tracing import stepper
from minialex.tracing.recorder import trace

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 3


def names(found):
    return list(found)


def texts(entry):
    return [text for _, text in entry.lines]


# ---- the names of our layers: the page, plots and golden vectors hang on them ----

BACK = "grad_y {}grad_x"
INSIDE = {
    "conv": (
        lambda: mx.Conv2D(2, 4, 3, padding=1, groups=2), (2, 2, 5, 5),
        "x weight bias padded columns matrix y",
        BACK.format("grad_rows grad_matrix grad_columns grad_padded grad_weight grad_bias "),
    ),
    "conv without bias": (
        lambda: mx.Conv2D(2, 4, 3, bias=False), (2, 2, 5, 5),
        "x weight padded columns matrix y",
        BACK.format("grad_rows grad_matrix grad_columns grad_padded grad_weight "),
    ),
    "table": (
        lambda: mx.TableConv2D([(0,), (0, 1)], 2), (2, 2, 4, 4),
        "x weight bias padded columns full_weight y",
        BACK.format("grad_rows grad_matrix grad_full_weight grad_columns grad_padded grad_weight grad_bias "),
    ),
    "max": (
        lambda: mx.MaxPool2D(3, 2, padding=1), (2, 2, 5, 5),
        "x padded cells inside first_inside winner y", BACK.format("won grad_cells "),
    ),
    "avg": (lambda: mx.AvgPool2D(2, padding=1), (2, 2, 4, 4), "x padded y", BACK.format("pixels grad_cells ")),
    "global": (mx.GlobalAvgPool2D, (2, 2, 4, 4), "x y", BACK.format("")),
    "adaptive": (lambda: mx.AdaptiveAvgPool2D(2), (2, 2, 5, 5), "x y", BACK.format("")),
    "batch norm": (
        lambda: mx.BatchNorm2D(2), (3, 2, 2, 2),
        "x weight bias running_mean running_var mean centred variance scale normalised y",
        BACK.format("grad_normalised through_mean through_variance grad_weight grad_bias "),
    ),
    "identity": (mx.Identity, (2, 3), "x y", BACK.format("")),
    "scale": (lambda: mx.Scale(0.5), (2, 3), "x y", BACK.format("")),
    "gate": (lambda: mx.Gate((2, 1)), (2, 3, 2, 2), "x weight gates y", BACK.format("products grad_weight ")),
    "gate that reads some": (
        lambda: mx.Gate((2, 1, 1), reads=(0, 2)), (2, 4, 2, 2),
        "x weight read gates y", BACK.format("products grad_read grad_weight "),
    ),
    "subsampling": (
        lambda: mx.Subsampling(2), (2, 2, 4, 4),
        "x weight bias total y", BACK.format("grad_total grad_cells grad_weight grad_bias "),
    ),
    "lrn": (
        lambda: mx.LocalResponseNorm(3), (2, 4, 3, 3),
        "x wide squares scale y", BACK.format("power through_scale "),
    ),
    "samemap": (
        lambda: mx.SameMapNorm(3), (2, 4, 3, 3),
        "x wide squares scale y", BACK.format("power through_scale "),
    ),
    "relu": (mx.ReLU, (2, 3), "x mask y", BACK.format("")),
    "sigmoid": (mx.Sigmoid, (2, 3), "x small y", BACK.format("slope ")),
    "tanh": (lambda: mx.Tanh(1.7159, 2 / 3), (2, 3), "x y", BACK.format("slope ")),
    "dropout": (mx.Dropout, (2, 30), "x mask factor y", BACK.format("")),
    "dropout of 2012": (lambda: mx.Dropout(scaling="test-time"), (2, 30), "x mask y", BACK.format("")),
    "dropout in evaluation": (lambda: mx.Dropout().eval(), (2, 3), "x y", BACK.format("")),
    "linear": (lambda: mx.Linear(3, 4), (2, 3), "x weight bias y", BACK.format("grad_weight grad_bias ")),
    "flatten": (mx.Flatten, (2, 3, 4, 5), "x y", BACK.format("")),
    "rbf": (lambda: mx.RBF(np.ones((4, 3))), (2, 3), "x codes difference y", BACK.format("")),
    "broadcast": (mx.Broadcast, (2, 3), "x [0].y [1].y", "[0].grad_y [1].grad_y grad_x"),
    "exchange": (
        mx.Exchange, [(2, 3), (2, 3)],
        "[0].x [1].x [0].y [1].y", "[0].grad_y [1].grad_y [0].grad_x [1].grad_x",
    ),
    "gather": (mx.Gather, [(2, 3), (2, 3)], "[0].x [1].x y", "grad_y [0].grad_x [1].grad_x"),
}  # fmt: skip
WITHOUT_BATCH = """matrix full_weight grad_weight grad_bias grad_matrix grad_full_weight inside first_inside pixels
    gates""".split()
OF_A_CHANNEL = "running_mean running_var mean variance scale through_mean through_variance".split()
LOSSES = {
    "softmax": (mx.SoftmaxCrossEntropy, "logits labels rows shifted exp total softmax loss grad_logits"),
    "map": (mx.MAPLoss, "logits labels rows largest exp total share loss grad_logits"),
}


def drawn(shape):
    if isinstance(shape, list):
        return tuple(map(drawn, shape))
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", INSIDE)
def test_the_names_of_each_layer(case):
    make, shape, forward, backward = INSIDE[case]
    x = drawn(shape)
    y = make().forward(x)
    found = trace(make(), x, grad_y=y)
    assert names(found) == f"{forward} {backward}".split()
    assert names(trace(make(), x)) == forward.split()
    for entry in found.values():
        fixed = entry.kind == "parameter" or entry.name in WITHOUT_BATCH
        fixed = fixed or (case == "batch norm" and entry.name in OF_A_CHANNEL)
        assert entry.batch_axis == (None if fixed else 0), entry.name


@pytest.mark.parametrize("case", LOSSES)
def test_the_names_of_each_loss(case):
    make, expected = LOSSES[case]
    found = trace(make(), drawn((3, 4)), [0, 3, 1])
    assert names(found) == expected.split()
    assert [name for name, entry in found.items() if entry.batch_axis is None] == ["loss"]
    assert (
        texts(found["grad_logits"])[0]
        == "grad_logits = self.saved." + ("softmax" if case == "softmax" else "share") + ".copy()"
    )


def test_a_trace_has_the_numbers_of_the_textbook_while_twins_are_on():
    layer, x = mx.Conv2D(3, 4, 3, rng=1), drawn((2, 3, 9, 9))
    with mx.textbook():
        y = layer.forward(x)
    assert trace(layer, x)["y"].array.tobytes() == y.tobytes()


# ---- layers that branch: each inner layer, and what their joins get ----


def block(merge):
    paths = {"shortcut": mx.Identity(), "body": mx.Sequential(mx.ReLU(), mx.Scale(0.5))}
    return mx.Sequential(block=mx.Branches(paths, merge))


@pytest.mark.parametrize("merge", ["add", "concat"])
def test_branches_show_each_path_and_what_their_join_gets(merge):
    x, model = drawn((2, 3, 4, 5)), block(merge)
    grad_y = drawn(model.forward(x).shape)
    found = trace(model, x, grad_y=grad_y)
    assert names(found.of("block")) == [
        *"x shortcut.x shortcut.y body.0.x body.0.mask body.0.y body.1.x body.1.y".split()[:1],
        "ys[shortcut]", "ys[body]", "y", "grad_y", "grad_ys[shortcut]", "grad_ys[body]", "grad_xs[shortcut]",
        "grad_xs[body]", "grad_x",
    ]  # fmt: skip
    assert {"block.shortcut.y", "block.body.0.mask", "block.body.1.y", "block.body.1.grad_x"} <= set(found)
    paths = [found[f"block.ys[{name}]"].array for name in ("shortcut", "body")]
    joined = sum(paths) if merge == "add" else np.concatenate(paths, axis=1)
    np.testing.assert_array_equal(found["block.y"].array, joined)
    np.testing.assert_array_equal(found["block.ys[body]"].array, found["block.body.1.y"].array)
    np.testing.assert_array_equal(
        found["block.grad_x"].array,
        sum(found[f"block.grad_xs[{name}]"].array for name in ("shortcut", "body")),
    )
    assert [entry.batch_axis for entry in found.values()] == [0] * len(found)
    assert texts(found["block.ys[body]"]) == [
        "ys = {name: path.forward(x) for name, path in self.paths.items()}"
    ]
    taken = {
        "add": "return sum_of(list(ys.values()))",
        "concat": "return self.xp.concatenate(list(ys.values()), axis=1)",
    }
    assert texts(found["block.y"]) == [taken[merge]]  # the line that ran, not the other


def test_a_dense_block_shows_its_maps_and_each_nodes_own():
    model = mx.Sequential(dense=mx.Dense(first=mx.Scale(2.0), second=mx.Scale(3.0)))
    found = trace(model, drawn((2, 1, 3, 4)), grad_y=drawn((2, 4, 3, 4)))
    shapes = {name: found[f"dense.maps[{name}]"].shape for name in range(3)}
    assert shapes == {0: (2, 1, 3, 4), 1: (2, 1, 3, 4), 2: (2, 2, 3, 4)}
    assert texts(found["dense.maps[2]"]) == ["maps = [x]", "maps.append(made)"]
    assert {"dense.first.x", "dense.second.y", "dense.grads[1]", "dense.second.grad_x"} <= set(found)
    assert texts(found["dense.grad_x"]) == [
        "grads = cut(grad_y, channels)", "grads[j] = grads[j] + share", "return grads[0]"
    ]  # fmt: skip


def test_exits_show_what_each_of_them_answers_and_each_loss():
    head = mx.Sequential(mx.Flatten(), mx.Linear(4, 3))
    model = mx.Exits(
        {"a": mx.Scale(2.0), "flat": mx.Flatten(), "fc": mx.Linear(4, 3)}, heads={"early": ("a", head)}
    )
    found = trace(model, drawn((2, 1, 2, 2)), [0, 1], loss=mx.ExitLoss((0.3, 1.0)))
    assert {"a.y", "early.1.y", "fc.y", "early.1.grad_weight", "loss.losses.0.softmax"} <= set(found)
    np.testing.assert_array_equal(found["ys[early]"].array, found["early.1.y"].array)
    np.testing.assert_array_equal(found["ys[end]"].array, found["fc.y"].array)
    assert found["loss.grads[0]"].shape == (2, 3)
    terms = [found[f"loss.terms[{i}]"].array for i in (0, 1)]
    np.testing.assert_allclose(
        terms, [0.3 * found["loss.losses.0.loss"].array, found["loss.losses.1.loss"].array]
    )
    assert found["loss.loss"].array == sum(terms)


def leaving(leave_at):
    """Of two inputs, 0 and 3: at 0.9 the second one leaves at the head, at 0.5 both, at 1 none."""
    trunk = {"a": mx.Scale(2.0), "b": mx.Scale(3.0)}
    heads = {"early": ("a", mx.Scale(1.0)), "late": ("b", mx.Scale(1.0))}
    return mx.Exits(trunk, heads, leave_at).eval(), np.array([[0, 0], [3, 0]], np.float32)


def test_exits_that_pictures_leave_by_show_who_came_to_each_of_them():
    model, x = leaving(0.9)
    found = trace(model, x, grad_y=np.ones_like(x))
    expected = """x came[early] came[late] came[end] ys[early] ys[late] ys[end] sure[early] sure[late]
        leave[early] leave[late] leave[end] left y grad_y grad_ys[early] grad_ys[late] grad_ys[end] grad_x"""
    assert names(found.of("")) == expected.split()
    assert found["came[late]"].array.tolist() == [0]  # of the first picture alone are these:
    assert found["b.x"].shape == found["late.x"].shape == found["grad_ys[end]"].shape == (1, 2)
    np.testing.assert_array_equal(found["ys[early]"].array, found["early.y"].array)
    np.testing.assert_allclose(found["sure[early]"].array, [0.5, 1 / (1 + np.exp(-6))], rtol=1e-6)
    assert found["leave[early]"].array.tolist() == [False, True]
    assert found["left"].array.tolist() == [3, 1]
    assert texts(found["sure[late]"]) == ["sure = {}", "sure[head] = surest(ys[head])"]
    assert texts(found["y"])[-1] == "return forward_leaving(self, x)"
    assert model.left is None  # a copy did the work


def test_a_trace_has_nothing_of_the_layers_that_no_picture_came_to():
    model, x = leaving(0.5)
    found = trace(model, x, grad_y=np.ones_like(x))
    assert (
        names(found.of(""))
        == "x came[early] ys[early] sure[early] leave[early] left y grad_y grad_ys[early] grad_x".split()
    )
    assert set(found.layers) == {"", "a", "early"}
    model = mx.Exits(
        {"a": mx.Linear(2, 2), "b": mx.Linear(2, 2)}, {"early": ("a", mx.Linear(2, 2))}, 0.5
    ).eval()
    grad = trace(model, x, grad_y=x)["b.grad_weight"]
    assert (grad.array.any(), texts(grad)) == (False, ["p.grad = array_module(p.value).zeros_like(p.value)"])


@pytest.mark.parametrize("leave_at", [0.5, 0.9, 1.0])
def test_the_trace_of_one_that_leaves_has_a_page(leave_at):
    model, x = leaving(leave_at)
    for pictures in (x, x[:1], x[1:]):
        assert "</html>" in stepper.page(trace(model, pictures, grad_y=pictures))


def test_a_residual_block_shows_its_two_paths_and_their_sum():
    model = mx.models.resnet(8, num_classes=3, preset="cifar", width=1 / 8, image_size=4, shortcut="B")
    found = trace(model, drawn((2, 3, 4, 4)), [0, 1])
    first, second = found.of("layer1.0"), found.of("layer2.0")
    assert (
        names(first) == "x body total y grad_y grad_total of_body grad_x".split()
    )  # its shortcut is x itself
    assert names(second) == "x body shortcut total y grad_y grad_total of_body of_shortcut grad_x".split()
    np.testing.assert_array_equal(second["total"].array, second["body"].array + second["shortcut"].array)
    assert second["shortcut"].shape == found["layer2.0.downsample.1.y"].shape == (2, 4, 2, 2)
    assert second["of_shortcut"].shape == found["layer2.0.downsample.0.grad_x"].shape == (2, 2, 4, 4)


def test_batch_norms_running_statistics_have_the_line_that_moves_them():
    layer, x = mx.BatchNorm2D(2), drawn((3, 2, 2, 2))
    found = trace(layer, x)
    assert texts(found["running_mean"]) == ["self.running_mean.move(mean, self.momentum)"]
    assert (found["running_var"].kind, found["running_var"].batch_axis) == ("forward", None)
    np.testing.assert_allclose(found["running_mean"].array, 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-5)
    assert layer.running_mean.value.tolist() == [0, 0]  # a copy did the work
    still = trace(mx.BatchNorm2D(2).eval(), x, grad_y=x)
    assert (still["running_mean"].kind, still["running_mean"].formula) == (
        "parameter",
        "running_mean is kept",
    )
    assert texts(still["grad_x"]) == ["return (grad_normalised * scale).astype(dtype, copy=False)"]


def test_lists_of_other_things_and_long_ones_are_no_joins():
    class Lists(mx.Layer):
        def forward(self, x):
            sizes, mixed, long = [1, 2], [x, None], [x + i for i in range(65)]
            kept = {"twice": 2 * x, 3: 3 * x}
            by_layer = {self: 4 * x}
            return kept["twice"] + kept[3] + by_layer[self] + mixed[0] + long[sizes[0]]

    assert names(trace(Lists(), X)) == "x kept[twice] kept[3] y".split()


# ---- a layer of one's own ----


class LeakyReLU(mx.Layer):
    """In the manner of README's Square."""

    def forward(self, x):
        factor = np.where(x > 0, 1, 0.1).astype(x.dtype)  # a tenth below zero
        self.save(factor=factor)
        return x * factor

    def backward(self, grad_y):
        factor = self.saved.factor
        return grad_y * factor


def test_a_layer_of_ones_own_shows_its_inside_with_its_lines():
    found = trace(mx.Sequential(mine=LeakyReLU()), X, grad_y=X)
    assert names(found) == "x mine.x mine.factor mine.y mine.grad_y mine.grad_x grad_x".split()
    factor = found["mine.factor"]
    assert factor.array.tolist() == [[np.float32(0.1)] * 3, [np.float32(0.1), 1, 1]]
    file = Path(__file__)
    lines = file.read_text(encoding="utf8").splitlines()
    [(number, text)] = factor.lines
    assert text == factor.formula == "factor = np.where(x > 0, 1, 0.1).astype(x.dtype)"
    assert lines[number - 1].strip() == f"{text}  # a tenth below zero"
    assert factor.source == f"{file.name}:{number}"
    assert texts(found["mine.y"]) == ["return x * factor"]
    assert texts(found["mine.grad_x"]) == ["return grad_y * factor"]
    assert found["mine.x"].lines == ()


def test_gradients_of_parameters_have_the_line_that_sets_them_in_a_helper_too():
    class Scale(mx.Layer):
        def __init__(self):
            self.factor = mx.Parameter(np.array([3.0]))
            self.shift = mx.Parameter(np.array([1.0]))

        def forward(self, x):
            doubled = 2 * x
            self.save(x=x, doubled=doubled)
            return self.factor.value * x + self.shift.value

        def backward(self, grad_y):
            self._learn(grad_y, self.saved.x)
            for p, grad in ((self.shift, grad_y.sum(axis=0)),):
                p.grad = grad
            return grad_y * self.factor.value

        def _learn(self, grad_y, x):
            self.factor.grad = (grad_y * x).sum(axis=0)

    found = trace(mx.Sequential(mine=Scale(), relu=mx.ReLU()), np.array([[2.0]]), grad_y=np.array([[10.0]]))
    mine = found.of("mine")
    assert names(mine) == "x factor shift doubled y grad_y grad_factor grad_shift grad_x".split()
    assert (mine["doubled"].array, mine["grad_factor"].array, mine["grad_shift"].array) == (4, 20, 10)
    assert texts(mine["grad_factor"]) == ["self.factor.grad = (grad_y * x).sum(axis=0)"]
    assert texts(mine["grad_shift"])[1:] == ["p.grad = grad"]
    assert (mine["factor"].formula, mine["factor"].kind) == ("factor is learned", "parameter")
    assert texts(mine["factor"]) == ["self.factor = mx.Parameter(np.array([3.0]))"]


def test_a_name_for_what_is_returned_gives_it_its_lines():
    class Named(mx.Layer):
        def forward(self, x):
            out = 2 * x
            out += np.where(
                x > 0,  # in several lines
                1,
                2,
            )
            return out

        def backward(self, grad_y):
            grad_x = 2 * grad_y
            grad_x = grad_x.astype(np.float64)
            return grad_x.astype(grad_y.dtype)

    found = trace(Named(), X, grad_y=X)
    assert names(found) == "x y grad_y grad_x".split()
    assert texts(found["y"]) == ["out = 2 * x", "out += np.where(x > 0, 1, 2)"]
    assert texts(found["grad_x"]) == [
        "grad_x = 2 * grad_y", "grad_x = grad_x.astype(np.float64)", "return grad_x.astype(grad_y.dtype)"
    ]  # fmt: skip


def test_aliases_and_equal_remakes_are_left_out_and_other_numbers_get_a_number():
    class Again(mx.Layer):
        def __init__(self):
            self.slope = mx.Parameter(np.array([1.0, 2, 3], np.float32))

        def forward(self, x):
            slope = self.slope.value[None]  # as in lessons: the parameter, in another shape
            weight = self.slope.value
            same = x
            twice = 2 * x
            other = 3 * x
            count, pair, text, mean = (
                len(x),
                (x, x),
                "none",
                x.mean(),
            )  # only the mean is an array, of one number
            self.save(x=x, twice=twice, rest=(count, pair, text, mean))
            return same + twice + other + weight + slope

        def backward(self, grad_y):
            x, kept = self.saved.x, self.saved.twice
            twice = 2 * x  # made again
            other = 5 * x  # another
            self.slope.grad = (kept * other * twice).sum(axis=0)
            return 6 * grad_y

    found = trace(Again(), X, grad_y=X)
    assert names(found) == "x slope twice other mean y grad_y other_2 grad_slope grad_x".split()
    np.testing.assert_array_equal(found["other_2"].array, 5 * X)
    assert texts(found["other_2"]) == ["other = 5 * x"]
    assert found["mean"].shape == ()


def test_a_layer_that_writes_into_its_input_is_seen_for_what_it_did():
    class InPlace(mx.Layer):
        def forward(self, x):
            x *= 2
            return x

        def backward(self, grad_y):
            grad_y *= 2
            return grad_y

    found = trace(InPlace(), X, grad_y=X)
    np.testing.assert_array_equal(found["x"].array, X)
    np.testing.assert_array_equal(found["y"].array, 2 * X)
    np.testing.assert_array_equal(found["grad_y"].array, X)
    np.testing.assert_array_equal(found["grad_x"].array, 2 * X)
    assert texts(found["y"]) == ["x *= 2"]


def test_a_layer_without_source_shows_its_arrays_without_lines():
    space = {"mx": mx}
    exec(
        "class Bare(mx.Layer):\n"
        "    def forward(self, x):\n"
        "        twice = 2 * x\n"
        "        return twice + 1\n"
        "    def backward(self, grad_y):\n"
        "        return 2 * grad_y\n",
        space,
    )
    found = trace(space["Bare"](), X, grad_y=X)
    assert names(found) == "x twice y grad_y grad_x".split()
    assert {(entry.lines, entry.source) for entry in found.values()} == {((), "")}


def test_a_subclass_shows_its_own_lines_and_those_it_inherits():
    class Twice(mx.Conv2D):
        def forward(self, x):
            once = super().forward(x)
            return 2 * once

    found = trace(Twice(1, 1, 2), np.ones((2, 1, 3, 3), np.float32), grad_y=np.ones((2, 1, 2, 2), np.float32))
    assert {"padded", "columns", "matrix", "once", "y", "grad_columns"} <= set(found)
    np.testing.assert_array_equal(found["y"].array, 2 * found["once"].array)
    assert found.layers[""]["kind"] == ""  # shown array by array: a window would not explain it

    class Other(mx.ReLU):
        def forward(self, x):
            self.save(mask=x > 9)
            return x

    assert names(trace(Other(), X)) == ["x", "y"]


def test_a_composite_shows_its_own_lines_and_its_childrens():
    class Block(mx.Layer):
        def __init__(self):
            self.first, self.second, self.bare = mx.Linear(3, 3), mx.ReLU(), mx.Linear(3, 1)

        def children(self):
            return {"first": self.first, "second": self.second, "bare": self.bare}

        def forward(self, x):
            hidden = self.first.forward(x)
            total = self.second.forward(hidden) + x
            return total * self.bare.weight.value

        def backward(self, grad_y):
            grad_total = grad_y * self.bare.weight.value
            self.bare.weight.grad = grad_y.sum(axis=0)[None]
            return self.first.backward(self.second.backward(grad_total)) + grad_total

    found = trace(mx.Sequential(block=Block(), end=mx.ReLU()), X, grad_y=X)
    expected = """x block.x block.bare.weight block.bare.bias
        block.first.x block.first.weight block.first.bias block.first.y block.second.x block.second.mask
        block.second.y block.hidden block.total block.y end.x end.mask end.y end.grad_y end.grad_x block.grad_y
        block.second.grad_y block.second.grad_x block.first.grad_y block.first.grad_weight block.first.grad_bias
        block.first.grad_x block.grad_total block.bare.grad_weight block.grad_x grad_x"""
    assert names(found) == expected.split()
    assert found["block.first.weight"].layer == "block.first"
    assert names(trace(Block(), X)) == [
        name.removeprefix("block.") for name in expected.split()[1:14]
    ]  # alone: the same without the name in front


def unfold(x, size):
    parts = [x[:, i : x.shape[1] - size + 1 + i] for i in range(size)]
    stacked = np.stack(parts, axis=1)
    centre = stacked.mean(axis=(1, 2), keepdims=True)
    return stacked - centre


def test_the_functions_that_a_layer_names_show_their_insides():
    class Mine(mx.Layer):
        traced = (unfold,)

        def forward(self, x):
            columns = unfold(x, 2)
            return columns.sum(axis=1)

    found = trace(Mine(), X)
    assert names(found) == "x parts[0] parts[1] stacked centre columns y".split()
    assert texts(found["stacked"]) == ["stacked = np.stack(parts, axis=1)"]
    layer = Mine()
    layer.traced = ()
    assert names(trace(layer, X)) == "x columns y".split()


def test_what_a_named_function_is_given_is_its_callers_and_not_shown_again():
    class Mine(mx.Layer):
        traced = (unfold,)

        def forward(self, x):
            return unfold(2 * x, 2).sum(axis=1)

    assert names(trace(Mine(), X)) == "x parts[0] parts[1] stacked centre y".split()


def test_a_layer_that_is_not_among_the_children_stays_inside_and_runs_the_textbooks_lines():
    class Hides(mx.Conv2D):
        inner = None

        def children(self):
            return {}

        def forward(self, x):
            if self.inner is None:
                mine = super().forward(x)
                return mine
            outer = self.inner.forward(x)
            return outer + 1

    hides, x = Hides(3, 4, 3, rng=1), drawn((2, 3, 9, 9))
    hides.inner = mx.Conv2D(3, 4, 3, rng=1)
    found = trace(hides, x)
    assert names(found) == "x weight bias outer y".split()
    with mx.textbook():
        assert hides.inner.forward(x).tobytes() == found["outer"].array.tobytes()
    hides.inner = Hides(3, 4, 3, rng=1)  # of the same class: its frame is not this layer's
    assert "mine" not in trace(hides, x)


def test_a_second_argument_is_shown_too():
    class Shift(mx.Layer):
        def forward(self, x, by):
            return x + by

    class Outer(mx.Layer):
        def __init__(self):
            self.shift = Shift()

        def children(self):
            return {"shift": self.shift}

        def forward(self, x):
            return self.shift.forward(x, 2 * x)

    found = trace(Outer(), X)
    assert names(found) == "x shift.x shift.by shift.y y".split()
    assert (found["shift.by"].formula, found["shift.by"].lines) == ("by is what comes in", ())


def test_a_layer_that_is_called_twice_in_a_pass_keeps_both():
    class Again(mx.Layer):
        def __init__(self):
            self.inner = mx.ReLU()

        def children(self):
            return {"inner": self.inner}

        def forward(self, x):
            return self.inner.forward(x) - self.inner.forward(-x)

    found = trace(Again(), X)
    assert names(found) == "x inner.x inner.mask inner.y inner.x_2 inner.mask_2 inner.y_2 y".split()
    np.testing.assert_array_equal(found["inner.x_2"].array, -X)


# ---- which axis is the batch ----


class Turned(mx.Layer):
    def forward(self, x):
        basis = np.eye(2, dtype=x.dtype)  # as long as the batch of two, and has nothing to do with it
        turned = x.T.copy()
        return (turned @ basis[: len(x), : len(x)] if len(x) == 2 else turned).T.copy()

    def backward(self, grad_y):
        return grad_y * 1


def test_the_batch_is_found_by_a_second_pass_not_by_its_size():
    found = trace(Turned(), X, grad_y=X)
    axes = {name: entry.batch_axis for name, entry in found.items()}
    assert axes == {"x": 0, "basis": None, "turned": 1, "y": 0, "grad_y": 0, "grad_x": 0}
    assert found["turned"].picture(1).tolist() == X[1].tolist()
    assert not found["turned"].batched
    linear = trace(mx.Linear(3, 2), X, grad_y=np.ones((2, 2), np.float32))  # a batch of 2, and 2 outputs
    assert [name for name, entry in linear.items() if entry.batched] == ["x", "y", "grad_y", "grad_x"]


def test_a_layer_for_one_size_of_batch_is_shown_by_the_size(capsys):
    class Two(Turned):
        def forward(self, x):
            print("forward")
            np.random.random()  # noqa: NPY002
            random.random()
            if len(x) != 2:
                warnings.warn("not two", stacklevel=1)
                raise ValueError("two pictures, please")
            return super().forward(x)

    layer = Two()
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    axes = {name: entry.batch_axis for name, entry in trace(layer, X, grad_y=X).items()}
    assert axes == {"x": 0, "basis": 0, "turned": None, "y": 0, "grad_y": 0, "grad_x": 0}
    assert capsys.readouterr().out == "forward\n"
    after = random.random(), np.random.random()  # noqa: NPY002
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002
    once = random.random(), np.random.random()  # noqa: NPY002
    assert (random.random(), np.random.random()) == after != once  # noqa: NPY002


def test_a_warning_of_the_second_pass_is_not_shown():
    class Warns(Turned):
        def forward(self, x):
            warnings.warn(f"{len(x)} pictures", stacklevel=1)
            return super().forward(x)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trace(Warns(), X)
    assert [str(warning.message) for warning in seen] == ["2 pictures"]


# ---- the hook ----


def test_the_profile_hook_that_was_there_is_put_back_also_after_an_error():
    events = []

    def mine(frame, event, argument):
        events.append(event)

    class Bad(mx.Layer):
        def forward(self, x):
            assert sys.getprofile() is not mine
            raise RuntimeError("bad")

    sys.setprofile(mine)
    try:
        trace(mx.Sequential(a=mx.ReLU(), b=LeakyReLU()), X, grad_y=X)
        assert sys.getprofile() is mine
        with pytest.raises(RuntimeError, match="bad"):
            trace(Bad(), X)
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)
    assert watcher.get() is None


def test_towers_in_threads_of_their_own_are_watched_there(monkeypatch):
    seen = []

    class Seen(mx.Layer):
        def forward(self, x):
            seen.append(threading.current_thread())
            twice = 2 * x
            return twice + 1

        def backward(self, grad_y):
            return grad_y

    monkeypatch.setattr(mx.Device("cpu"), "threads", 2)
    found = trace(mx.Sequential(a=mx.Broadcast(), b=mx.Towers(Seen(), Seen())), X)
    assert names(found) == [
        "x", "a.x", "a[0].y", "a[1].y", "b[0].x", "b[0].twice", "b[0].y", "b[1].x", "b[1].twice", "b[1].y"
    ]  # fmt: skip
    assert len(set(seen)) == 2
    assert all(sys.getprofile() is None for _ in seen)


def test_two_traces_at_once_do_not_mix():
    results = {}

    def work(number):
        for _ in range(5):
            found = trace(mx.Sequential(**{f"a{number}": LeakyReLU()}), X, grad_y=X)
            results.setdefault(number, set()).add(tuple(found))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(
        len(results[n]) == 1 and all(f"a{n}" in name or "." not in name for name in min(results[n]))
        for n in range(3)
    )


@pytest.mark.parametrize("devices", ["sim:0,sim:1", "cpu"])
def test_a_layer_of_ones_own_between_towers(devices):
    model = mx.Sequential(a=mx.Broadcast(), b=mx.Towers(mx.Linear(3, 2), mx.Linear(3, 2)), c=mx.Gather())
    model.to(devices)
    found = trace(model, X, grad_y=np.ones((2, 4), np.float32))
    assert all(type(entry.array) is np.ndarray for entry in found.values())
    np.testing.assert_array_equal(found["c.y"].array[:, :2], found["b[0].y"].array)
    with_tuple = trace(mx.Sequential(c=mx.Gather()).to(devices), (X, X))
    assert names(with_tuple) == "[0].x [1].x c[0].x c[1].x c.y".split()


# ---- SGD ----


def test_a_step_of_sgd_is_shown_and_taken_on_copies():
    model = mx.Sequential(fc1=mx.Linear(3, 2, rng=1), fc2=mx.Linear(2, 2, rng=2))
    optimizer = mx.SGD(model.parameters(), lr=0.1, momentum=0.5, weight_decay=0.2)
    for v in optimizer.velocities:
        v[...] = 1
    before = [p.value.copy() for p in model.parameters()]
    found = trace(model, X, [0, 1], loss=mx.SoftmaxCrossEntropy(), optimizer=optimizer)
    weight, grad = found["fc1.weight"].array, found["fc1.grad_weight"].array
    v, w = found["sgd.fc1.weight.v"], found["sgd.fc1.weight.w"]
    np.testing.assert_allclose(v.array, 0.5 - 0.1 * 0.2 * weight - 0.1 * grad, rtol=1e-6)
    np.testing.assert_allclose(w.array, weight + v.array, rtol=1e-6)
    np.testing.assert_allclose(
        found["sgd.fc2.bias.v"].array, 0.5 - 0.1 * found["fc2.grad_bias"].array, rtol=1e-6
    )
    assert texts(v) == ["v *= momentum", "v -= decay * w", "v -= lr * grad"]
    assert (texts(w), w.kind, w.batch_axis, w.layer) == (["w += v"], "update", None, "sgd")
    assert w.source.startswith("training/optim.py:")
    assert [name for name in found if name.startswith("sgd.")] == [
        f"sgd.{p.name}.{letter}" for p in model.parameters() for letter in "vw"
    ]
    assert all((v == 1).all() for v in optimizer.velocities)
    for p, value in zip(model.parameters(), before, strict=True):
        assert p.grad is None
        np.testing.assert_array_equal(p.value, value)


def test_a_step_that_a_proximal_one_follows_says_so():
    model = mx.Sequential(gate=mx.Gate((1, 1, 1)), fc=mx.Linear(3, 2))
    optimizer = mx.SGD(model.parameters(), lr=0.25, momentum=0.5, penalty=0.5)
    found = trace(model, X, grad_y=np.zeros((2, 2), np.float32), optimizer=optimizer)
    v, w = found["sgd.gate.weight.v"], found["sgd.gate.weight.w"]
    assert (v.array.tolist(), v.formula) == (
        [-0.125] * 3,
        "v *= momentum; v -= decay * w; v -= lr * (grad + penalty)",
    )
    assert (w.array.tolist(), w.formula) == ([1, 0.875, 0.875], "w += v; shut(w)")
    assert found["sgd.fc.weight.w"].formula == "w += v"
    assert found["sgd.fc.weight.v"].formula.endswith("v -= lr * grad")


def test_the_steps_of_towers_have_numbers():
    model = mx.Sequential(
        a=mx.Broadcast(), b=mx.Towers.split(mx.Linear(3, 4)), c=mx.Gather(), d=mx.Linear(4, 2)
    ).to("sim:0,sim:1")
    optimizer = mx.SGD(model.parameters(), lr=0.1)
    loss = mx.SoftmaxCrossEntropy().to("sim:0")
    found = trace(model, X, [1, 0], loss=loss, optimizer=optimizer)
    assert {"sgd.b[0].weight.w", "sgd.b[1].bias.v", "sgd.d.weight.w"} <= set(found)
    alone = mx.Linear(3, 2)
    found = trace(alone, X, grad_y=X[:, :2], optimizer=mx.SGD([alone.weight], lr=1.0))
    assert [name for name in found if name.startswith("sgd")] == ["sgd.weight.v", "sgd.weight.w"]


def test_an_optimizer_without_a_pass_back_or_of_another_model_is_refused():
    model = mx.Linear(3, 2)
    optimizer = mx.SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        ValueError, match="an optimizer needs a pass back before its step: give labels, or grad_y"
    ):
        trace(model, X, optimizer=optimizer)
    with pytest.raises(ValueError, match="parameters that are not among those of Linear"):
        trace(mx.Linear(3, 2), X, grad_y=X[:, :2], optimizer=optimizer)


def test_two_traces_at_a_time_leave_the_screen_as_it_was():
    class Slow(mx.Layer):
        def forward(self, x):
            time.sleep(0.05)
            return x * 2

        def backward(self, grad_y):
            return 2 * grad_y

    before = sys.stdout, sys.stderr, sys.breakpointhook
    x = np.ones((2, 3), np.float32)
    threads = [threading.Thread(target=trace, args=(Slow(), x)) for _ in range(3)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert (sys.stdout, sys.stderr, sys.breakpointhook) == before


def test_the_pass_that_is_shown_comes_first_and_stops_at_breakpoints(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: seen.append(len(sizes)))
    sizes = []

    class Stops(mx.Layer):
        def forward(self, x):
            sizes.append(len(x))
            breakpoint()
            return x

        def backward(self, grad_y):
            return grad_y

    trace(Stops(), np.ones((2, 3)))
    assert (sizes, seen) == ([2, 3], [1])


def test_a_child_that_went_forward_in_a_thread_of_its_own_goes_back_by_the_same_text():
    class Pooled(mx.Layer):
        def __init__(self):
            self.inner = mx.ReLU()

        def children(self):
            return {"inner": self.inner}

        def forward(self, x):
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(self.inner.forward, x).result()

        def backward(self, grad_y):
            return self.inner.backward(grad_y)

    x = np.array([[-1.0, 2.0]])
    assert trace(Pooled(), x, grad_y=x)["grad_x"].array.tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("x", "grad_y", "message"), [([1.0], None, "x is a list"), (np.ones((1, 2)), 1.0, "grad_y is a float")]
)
def test_trace_names_what_is_no_array(x, grad_y, message):
    with pytest.raises(TypeError, match=f"^trace takes a NumPy or CuPy array, {message}: use np.asarray$"):
        trace(mx.ReLU(), x, grad_y=grad_y)
