"""Exits that pictures leave by: each goes as far as the first head that is sure of it, and comes back from there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import to_numpy
from minialex.layers.leaving import surest

LEAVE_AT = [0.0, 0.4, 0.6, 0.9, 1.0]


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


class Part(mx.Layer):
    """y = x[:, first : first + K]: an exit whose logits are a part of what the network is given."""

    def __init__(self, number, classes):
        self.number, self.classes, self.pictures = number, classes, []

    def forward(self, x):
        self.pictures.append(len(x))
        self.save(width=x.shape[1])
        return x[:, self.number * self.classes :][:, : self.classes]

    def backward(self, grad_y):
        grad_x = self.xp.zeros((len(grad_y), self.saved.width), grad_y.dtype)
        grad_x[:, self.number * self.classes :][:, : self.classes] = grad_y
        return grad_x


def passing_on(exits, classes, at, leave_at):
    """A network of which each exit's logits are given; at: for each head the layer of the trunk that it reads."""
    trunk = {f"layer{n}": mx.Identity() for n in range(max(at, default=0) + 1)}
    heads = {f"head{n}": (f"layer{place}", Part(n, classes)) for n, place in enumerate(at)}
    return mx.Exits({**trunk, "fc": Part(exits - 1, classes)}, heads, leave_at).eval()


@st.composite
def logits_and_exits(draw):
    """Logits (N, exits, K) of any layout, some of them equal; the layers that the heads read; how sure is sure."""
    N, exits, K = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    flat = 2 * draw(strategies.arrays((N, exits * K)))
    at = sorted(draw(st.lists(st.integers(0, 2), min_size=exits - 1, max_size=exits - 1)))
    return np.round(flat) if draw(st.booleans()) else flat, exits, K, at, draw(st.sampled_from(LEAVE_AT))


@given(case=logits_and_exits())
def test_each_picture_leaves_as_the_definition_says(device, case):
    flat, exits, K, at, leave_at = case
    model = passing_on(exits, K, at, leave_at).to(device)
    y, left = naive.early_exit(flat.reshape(-1, exits, K), leave_at)
    np.testing.assert_array_equal(to_numpy(model.forward(device.asarray(flat))), y)
    assert model.left.tolist() == left.tolist()
    assert type(model.left) is np.ndarray
    for number, head in enumerate(
        model.heads.values(), start=1
    ):  # and no head is asked of those that are gone
        assert head.pictures == [int((left >= number).sum())] * bool((left >= number).any())


@given(case=logits_and_exits(), data=st.data())
def test_a_gradient_comes_back_from_where_its_picture_left(device, case, data):
    flat, exits, K, at, leave_at = case
    model = passing_on(exits, K, at, leave_at).to(device)
    y = model.forward(device.asarray(flat))
    grad_y = data.draw(strategies.arrays(y.shape))
    grad_x = np.zeros((len(flat), exits, K))
    grad_x[np.arange(len(flat)), model.left - 1] = grad_y
    np.testing.assert_array_equal(
        to_numpy(model.backward(device.asarray(grad_y))), grad_x.reshape(flat.shape)
    )


@pytest.mark.parametrize(("leave_at", "left"), [(0.0, 1), (0.5, 1), (0.51, 2)])
def test_who_is_just_as_sure_as_it_takes_leaves(device, leave_at, left):
    model = passing_on(2, 2, [0], leave_at).to(device)
    model.forward(device.asarray(np.array([[3.0, 3.0, 9.0, 0.0]])))
    assert model.left.tolist() == [left]


@pytest.mark.parametrize(("logits", "sure"), [
    ([[0.0, 0.0]], 0.5),
    ([[1e4, -1e4, 0.0]], 1.0),
    ([[-1e4, -1e4, -1e4, -1e4]], 0.25),
    ([[7.0]], 1.0),
    ([[0.0, -np.inf]], 1.0),
    ([[0.0, np.nan]], np.nan),
])  # fmt: skip
def test_how_sure_a_row_of_logits_is(device, logits, sure):
    close(surest(device.asarray(np.array(logits))), [sure])


# ---- a network that learns ----


def network(leave_at=0.9, seed=48):
    """Two heads at one layer, one at the trunk's end, whose logits then are not the last word. At 0.9 the seven
    pictures X leave by all four exits, none of them nearly at another one.
    """
    norm = mx.BatchNorm2D(3)
    trunk = {"conv": mx.Conv2D(2, 3, 2, rng=seed), "norm": norm, "relu": mx.ReLU(), "flat": mx.Flatten()}
    heads = {
        "first": ("norm", mx.Sequential(mx.Flatten(), mx.Linear(6, 3, rng=seed + 2))),
        "second": ("norm", mx.Sequential(pool=mx.GlobalAvgPool2D(), fc=mx.Linear(3, 3, rng=seed + 3))),
        "third": ("fc", mx.Linear(3, 3, rng=seed + 4)),
    }
    model = mx.Exits({**trunk, "fc": mx.Linear(6, 3, rng=seed + 1)}, heads, leave_at).astype("float64")
    for p in model.parameters():
        p.value = 1.6 * p.value  # surer
    return model.eval()


X = np.random.default_rng(3).normal(size=(7, 2, 2, 3))


def run(model, x, grad_y, **options):
    """y, grad_x and the gradients of the parameters, on the host."""
    y = to_numpy(model.forward(model.device.asarray(x)))
    grad_x = model.backward(model.device.asarray(grad_y), **options)
    grads = [to_numpy(p.grad).copy() for p in model.parameters()]
    return y, grad_x if grad_x is None else to_numpy(grad_x), grads


def as_all_exits(model, x, left, grad_y):
    """The same by way of all exits, in training: each row's gradient where the picture left, and 0 elsewhere."""
    for layer in (model, *model, *model.heads.values()):
        layer.training = True
    model["norm"].train(False)  # statistics as in evaluation
    everywhere = np.zeros((len(x), 4, 3))
    everywhere[np.arange(len(x)), left - 1] = grad_y
    y, grad_x, grads = run(model, x, everywhere)
    model.eval()
    return y[np.arange(len(x)), left - 1], grad_x, grads


@pytest.mark.parametrize("leave_at", [0.0, 0.7, 0.9, 1.0])
def test_leaving_is_all_exits_of_which_one_counts(device, leave_at):
    model = network(leave_at).to(device)
    grad_y = np.random.default_rng(4).normal(size=(7, 3))
    found = run(model, X, grad_y)
    left = model.left
    assert leave_at != 0.9 or left.tolist() == [1, 4, 1, 4, 3, 2, 1]
    y, grad_x, grads = as_all_exits(model, X, left, grad_y)
    close(found[0], y)
    close(found[1], grad_x)
    for ours, theirs in zip(found[2], grads, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize(
    ("leave_at", "training"), [(None, False), (0, False), (0.5, False), (0.9, False), (1, False), (0.9, True)]
)
def test_gradients_where_pictures_leave(leave_at, training):
    report = mx.gradcheck(network(leave_at).train(training), X)
    assert report, report


def test_a_picture_leaves_where_it_leaves_alone_and_keeps_its_place(device):
    model = network().to(device)
    together = to_numpy(model.forward(device.asarray(X)))
    left = model.left.tolist()
    for n, x in enumerate(X):
        close(model.forward(device.asarray(x[None])), together[n : n + 1])
        assert model.left.tolist() == left[n : n + 1]
    backwards = to_numpy(model.forward(device.asarray(X[::-1].copy())))
    close(backwards, together[::-1])
    assert model.left.tolist() == left[::-1]


def test_layers_that_no_picture_came_to_are_not_run_and_get_gradients_of_zero(device):
    model = network(0.0).to(device)
    for p in model.parameters():
        p.grad = p.value  # of a step before
    _, _, grads = run(model, X, np.ones((7, 3)))
    assert (model.left == 1).all()
    used = {name: grad.any() for (name, _), grad in zip(model.named_parameters(), grads, strict=True)}
    assert {name.partition(".")[0] for name, any_ in used.items() if any_} == {"conv", "norm", "first"}
    for p, grad in zip(model.parameters(), grads, strict=True):
        assert (grad.shape, grad.dtype) == (p.value.shape, np.float64)


def test_without_input_grad_the_parameters_get_the_same(device):
    grad_y = np.random.default_rng(4).normal(size=(7, 3))
    _, _, grads = run(network().to(device), X, grad_y)
    _, nothing, same = run(network().to(device), X, grad_y, input_grad=False)
    assert nothing is None
    for expected, actual in zip(grads, same, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_the_first_layer_is_not_asked_for_a_gradient_that_nobody_needs():
    asked = []

    class Asked(mx.Identity):
        def backward(self, grad_y, input_grad=True):
            asked.append(input_grad)
            return grad_y

    for leave_at in (0.9, None):
        model = mx.Exits({"a": Asked(), "b": Asked()}, {"head": ("a", mx.Identity())}, leave_at).eval()
        for options in ({}, {"input_grad": False}):
            model.forward(np.zeros((1, 2)))
            model.backward(np.zeros((1, 2)), **options)
    assert asked == [True, True, True, False] * 2


class Centred(mx.Layer):
    """A head that looks at all pictures of its batch: then those that go on hear of those that leave."""

    def forward(self, x):
        return x - x.mean(axis=0)

    def backward(self, grad_y):
        return grad_y - grad_y.mean(axis=0)


def test_a_picture_that_goes_on_gets_what_comes_back_from_both(device):
    trunk = {"a": mx.Identity(), "b": mx.Scale(10.0)}
    model = mx.Exits(trunk, {"head": ("a", Centred())}, 0.9).eval().to(device)
    model.forward(device.asarray(np.array([[6.0, 0.0], [0.0, 0.0], [0.0, 0.0]])))
    assert model.left.tolist() == [1, 2, 2]
    grad_x = model.backward(device.asarray(np.array([[3.0, 6.0], [1.0, 2.0], [0.0, 0.0]])))
    close(grad_x, [[2.0, 4.0], [-1.0 + 10, -2.0 + 20], [-1.0, -2.0]])


@pytest.mark.parametrize("leave_at", [0.0, 0.9, 1.0])
def test_nothing_of_the_callers_is_written_into_and_nothing_that_was_returned(device, leave_at):
    model, grad = network(leave_at).to(device), np.random.default_rng(4).normal(size=(7, 3))
    x, grad_y = device.asarray(X), device.asarray(grad)
    y = model.forward(x)
    kept = to_numpy(y).copy()
    grad_x = model.backward(grad_y)
    first = to_numpy(grad_x).copy()
    model.backward(model.forward(device.asarray(2 * X)))
    for array, before in ((x, X), (grad_y, grad), (y, kept), (grad_x, first)):
        np.testing.assert_array_equal(to_numpy(array), before)


class Spread(mx.Layer):
    """The sum of all features, for two classes. Its backward gives an array that nobody may write into."""

    def forward(self, x):
        self.save(shape=x.shape)
        return self.xp.stack([x.sum(axis=1), -x.sum(axis=1)], axis=1)

    def backward(self, grad_y):
        return self.xp.broadcast_to((grad_y[:, :1] - grad_y[:, 1:]), self.saved.shape)


def test_what_comes_back_from_a_head_is_added_to_and_not_written_into():
    model = mx.Exits({"a": mx.Identity(), "b": mx.Scale(1.0)}, {"head": ("a", Spread())}, 0.9).eval()
    model.forward(np.array([[0.0, 0.1], [5.0, 5.0]]))
    assert model.left.tolist() == [2, 1]
    close(model.backward(np.array([[1.0, 2.0], [4.0, 1.0]])), [[1.0, 2.0], [3.0, 3.0]])


def test_where_nobody_leaves_the_batch_goes_on_as_it_is():
    seen = []

    class Seen(mx.Identity):
        def forward(self, x):
            seen.append(x)
            return x

    model = mx.Exits({"a": mx.Scale(1.0), "b": Seen()}, {"head": ("a", Seen())}, 1.0).eval()
    model.forward(np.array([[1.0, 2.0]]))
    assert seen[0] is seen[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_stays(device, dtype):
    model = network().astype(dtype).to(device)
    y, grad_x, grads = run(model, X.astype(dtype), np.ones((7, 3), dtype))
    assert {array.dtype for array in (y, grad_x, *grads)} == {np.dtype(dtype)}


def test_a_picture_that_is_no_number_goes_on_to_the_end_and_the_others_do_not_see_it(device):
    model, x = network(0.0).to(device), X.copy()
    x[2] = np.nan
    y = to_numpy(model.forward(device.asarray(x)))
    assert model.left.tolist() == [1, 1, 4, 1, 1, 1, 1]
    assert np.isnan(y[2]).all()
    assert np.isfinite(np.delete(y, 2, axis=0)).all()


def test_it_says_where_pictures_left_of_the_last_forward_alone():
    model = network()
    assert model.left is None
    model.forward(X)
    assert len(model.left) == 7
    model.train().forward(X)
    assert model.left is None
    model.eval().forward(X)
    model.leave_at = None
    assert model.forward(X).shape == (7, 3)
    assert model.left is None


def test_a_network_of_exits_leaves_too():
    model = mx.models.googlenet(5, width=0.05, image_size=64).eval()
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    end, answers = model.forward(x), model.answers(x)
    model.leave_at = 0.0
    np.testing.assert_array_equal(model.forward(x), answers[:, 0])
    assert model.left.tolist() == [1, 1]
    model.leave_at = 1.0
    np.testing.assert_allclose(model.forward(x), end, rtol=1e-6)
    assert model.left.tolist() == [3, 3]
    with pytest.raises(ValueError, match="takes pictures of 64x64"):
        model.answers(x[:, :, 1:])


def test_without_heads_all_leave_at_the_end(device):
    model = mx.Exits({"fc": mx.Linear(2, 3)}, {}, leave_at=0.0).eval().to(device)
    x = device.asarray(np.ones((2, 2), np.float32))
    close(model.forward(x), to_numpy(model["fc"].forward(x)))
    assert model.left.tolist() == [1, 1]


# ---- what every exit says ----


@pytest.mark.parametrize("training", [False, True])
def test_answers_are_those_of_the_heads_one_by_one(device, training):
    model = network().to(device)
    for layer in (*model, *model.heads.values()):
        layer.train(training)
    model["norm"].train(False)
    x = device.asarray(X)
    modes = [layer.training for layer in (*model, *model.heads.values())]
    answers = to_numpy(model.answers(x))
    assert [layer.training for layer in (*model, *model.heads.values())] == modes
    model.eval()
    norm = model["norm"].forward(model["conv"].forward(x))
    fc = model["fc"].forward(model["flat"].forward(model["relu"].forward(norm)))
    by_hand = [
        *(model.heads[name].forward(norm) for name in ("first", "second")),
        model.heads["third"].forward(fc),
        fc,
    ]
    close(answers, np.stack([to_numpy(y) for y in by_hand], axis=1))


def test_no_backward_goes_with_answers():
    model = network()
    y = model.forward(X)
    left = model.left
    model.answers(X)
    assert model.left is left
    assert model.saved is None  # nor is anything kept for it
    with pytest.raises(mx.BackwardBeforeForward, match="backward needs a forward before it"):
        model.backward(y)


@pytest.mark.parametrize("mode", ["training", "evaluation", "leaving"])
def test_a_layer_or_a_head_that_was_used_since_is_named(mode):
    for name in ("norm", "first"):
        model = network(0.9 if mode == "leaving" else None).train(mode == "training")
        y = model.forward(X)
        model.children()[name].forward(np.ones((1, 3, 1, 2)))
        if (name, mode) == ("first", "evaluation"):  # where nobody asks it
            model.backward(y)
            continue
        with pytest.raises(
            mx.BackwardBeforeForward, match=rf"Exits: {name} .* was used, moved or cast since"
        ):
            model.backward(y)


# ---- what is refused ----


@pytest.mark.parametrize("leave_at", [1.5, -0.1, np.nan, "x", [0.5], np.array([0.5])])
def test_what_is_no_probability_is_quoted(leave_at):
    with pytest.raises(
        ValueError, match=r"^Exits: leave_at is a probability, from 0 to 1, or None, not "
    ) as error:
        network(leave_at)
    assert repr(leave_at) in str(error.value)
    model = network(0.25)
    with pytest.raises(ValueError, match="leave_at is a probability"):
        model.leave_at = leave_at
    assert model.leave_at == 0.25


@pytest.mark.parametrize("leave_at", [np.float32(0.5), np.array(0.5), 0.5, 1, np.int64(0)])
def test_how_sure_may_be_a_number_of_numpy(leave_at):
    model = network(leave_at)
    assert (model.leave_at, type(model.leave_at)) == (leave_at, float)


def test_a_head_with_other_classes_is_named():
    model = mx.Exits({"a": mx.Identity(), "b": mx.Identity()}, {"one": ("a", Part(0, 1))}, 1.0).eval()
    with pytest.raises(ValueError, match=r"^Exits: one has 2 classes, two 1$"):  # which NumPy would spread
        mx.Exits(
            {"a": mx.Identity()}, {"one": ("a", Part(0, 2)), "two": ("a", Part(0, 1))}, 1.0
        ).eval().forward(np.zeros((2, 2)))
    model.heads["one"].classes = 3
    with pytest.raises(ValueError, match=r"^Exits: one has 3 classes, end 4$"):
        model.forward(np.zeros((2, 4)))


def test_what_is_no_row_of_logits_is_named():
    model = mx.Exits({"a": mx.Identity()}, {"head": ("a", mx.Identity())}, 0.5).eval()
    with pytest.raises(
        ValueError, match=r"takes a row of logits, \(N, classes\); head gives shape \(2, 3, 1, 1\)$"
    ):
        model.forward(np.zeros((2, 3, 1, 1)))


@pytest.mark.parametrize("leave_at", [None, 0.5])
@pytest.mark.parametrize("training", [True, False])
def test_one_number_is_no_batch(leave_at, training):
    model = mx.Exits({"a": mx.Identity()}, {"head": ("a", mx.Identity())}, leave_at).train(training)
    for forward in (model.forward, model.answers):
        with pytest.raises(
            ValueError, match=r"^Exits takes a batch; the input is one number, of shape \(\)$"
        ):
            forward(np.array(1.0))


@pytest.mark.parametrize("weights", [b"x", bytearray(b"x"), "12", (), 1.0])
def test_weights_of_exits_are_numbers(weights):
    with pytest.raises(TypeError, match=r"^ExitLoss: weights has a number for each exit, \(0.3, 1.0\), not"):
        mx.ExitLoss(weights)


@pytest.mark.parametrize(("trunk", "heads", "message"), [
    ([mx.Identity()], {}, r"^Exits takes trunk and heads by name: Exits\({...}, heads={name: \(layer, head\)}\)$"),
    ({"a": mx.Identity()}, [("a", mx.Identity())], r"^Exits takes trunk and heads by name"),
    ({"a": mx.Identity()}, {"head": mx.Identity()}, r"^Exits: head should be \(the layer's name .* not Identity\(\)$"),
    ({"a": mx.Identity()}, {"head": ("a",)}, r"^Exits: head should be .* the head\), not \('a',\)$"),
])  # fmt: skip
def test_what_has_no_names_is_refused(trunk, heads, message):
    with pytest.raises(TypeError, match=message):
        mx.Exits(trunk, heads)


def test_no_head_is_called_as_the_trunks_own_exit():
    with pytest.raises(ValueError, match=r'^Exits: a head is called "end", which is the trunk\'s own$'):
        mx.Exits({"a": mx.Identity()}, {"end": ("a", mx.Identity())})


def test_answers_are_those_of_evaluation_in_training_too_and_move_no_running_mean():
    trunk = {"norm": mx.BatchNorm2D(2), "flat": mx.Flatten(), "fc": mx.Linear(8, 3, rng=0)}
    head = mx.Sequential(mx.Flatten(), mx.Linear(8, 3, rng=1))
    model = mx.Exits(trunk, {"early": ("norm", head)})
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 2, 2, 2)).astype(np.float32)
    wanted, mean = model.eval().answers(x), trunk["norm"].running_mean.value.copy()
    np.testing.assert_array_equal(model.train().answers(x), wanted)
    assert model.training
    np.testing.assert_array_equal(trunk["norm"].running_mean.value, mean)


def test_nobody_can_leave_where_nobody_is():
    model = mx.Exits({"a": mx.Linear(2, 2)}, {"h": ("a", mx.Linear(2, 2))}, leave_at=0.5).eval()
    with pytest.raises(ValueError, match="the input is empty, shape"):
        model.forward(np.empty((0, 2), np.float32))


def test_true_is_no_probability():
    with pytest.raises(ValueError, match="leave_at is a probability, from 0 to 1, or None, not True"):
        mx.Exits({"a": mx.Linear(2, 2)}, {}, leave_at=True)
