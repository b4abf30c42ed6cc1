"""Combinations: optimizers of others, parts that are used in between, networks that are cut, wrappers, odd numbers."""

import copy

import numpy as np
import pytest

import minialex as mx
from minialex.data import ArrayBatches
from minialex.layers.parameter import Constant
from minialex.layers.sequential import all_layers
from minialex.models.resnet import BasicBlock
from minialex.study.exit_report import leave
from minialex.study.expected import expect
from minialex.study.leaving import Answers, curve, leave_at_for
from minialex.training.reports import AccuracyReport

LOSS = mx.SoftmaxCrossEntropy()
RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 4), dtype=np.float32)
Y = (X[:, 0] > 0).astype(int)


def small():
    return mx.Model(fc=mx.Linear(4, 2, rng=1), loss=mx.SoftmaxCrossEntropy(), picture_shape=(4, 1, 1))


def smart(**how):
    return mx.models.smartnet(2, num_classes=3, preset="small", width=0.25, image_size=8, rng=0, **how)


# ---- training ----


def test_an_optimizer_of_another_model_is_refused_before_anything_is_trained(tmp_path):
    model = small()
    optimizer = mx.SGD(model.parameters(), lr=0.1)
    other, before = copy.deepcopy(model), model["fc"].weight.value.copy()
    with pytest.raises(
        ValueError, match=r"the optimizer has 2 parameters that the model has not, fc\.weight first"
    ):
        mx.train.fit(
            other, optimizer, mx.optim.Constant(0.1), ArrayBatches(X, Y, 16), epochs=1, folder=tmp_path / "r"
        )
    assert np.array_equal(model["fc"].weight.value, before)
    assert not (tmp_path / "r" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("batch_size", "pictures", "left"), [(16, 64, 1), (4, 32, 2), (2, 64, 8), (64, 64, 1)]
)
def test_a_run_that_goes_on_with_other_batches_has_the_same_share_of_the_epoch_before_it(
    tmp_path, capsys, monkeypatch, batch_size, pictures, left
):
    """Stopped after 12 of 16 steps: three quarters of the epoch are done."""
    calls = []

    def fit(x, y, batch_size, resume=None):
        model = mx.Sequential(fc=mx.Linear(4, 2, rng=1))
        return mx.train.fit(
            model, x, y, loss=LOSS, lr=0.1, epochs=1, batch_size=batch_size, folder=tmp_path, resume=resume,
            checkpoint_every=4,
        )  # fmt: skip

    def stopping(self):
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt

    step = mx.SGD.step
    with monkeypatch.context() as patch:
        patch.setattr(mx.SGD, "step", lambda self: (step(self), stopping(self)))
        with pytest.raises(KeyboardInterrupt):
            fit(X, Y, 4)
    calls.clear()
    monkeypatch.setattr(mx.SGD, "step", lambda self: (step(self), calls.append(1)))
    fit(X[:pictures], Y[:pictures], batch_size, resume=tmp_path)
    assert len(calls) == left
    said = capsys.readouterr().out
    assert "Going on in epoch 1" in said
    assert ("the pictures or the batches are others" in said) == (pictures // batch_size != 16)


def test_bytes_go_to_a_network_of_any_type():
    x = RNG.integers(0, 255, (20, 1, 28, 28)).astype(np.uint8)
    found = [mx.train.predict(mx.models.lenet5(rng=0).astype(kind), x) for kind in ("float32", "float64")]
    assert [one.dtype.name for one in found] == ["float32", "float64"]
    assert np.allclose(*found, atol=1e-4)


@pytest.mark.parametrize(("kind", "large"), [("float32", 1e39), ("float16", 7e4)])
def test_a_number_that_the_network_cannot_hold_is_named_and_not_the_rate(kind, large):
    x = np.ones((4, 2))
    x[2, 0] = large
    with pytest.raises(
        ValueError, match=rf"x\[2\] has a number that is too large for the network, .* in {kind}"
    ):
        mx.train.fit(
            mx.Sequential(fc=mx.Linear(2, 2)).astype(kind), x, [0, 1, 0, 1], loss=LOSS, lr=0.1, epochs=1
        )


def test_a_loss_that_was_none_is_none_afterwards():
    model = small()
    vars(model)["loss"] = None
    mx.train.evaluate(model, X, Y, loss=LOSS)
    assert model.loss is None


def test_accuracy_of_what_is_held_out_needs_what_is_held_out():
    with pytest.raises(ValueError, match="AccuracyReport tells the accuracy on pictures that are held out"):
        mx.train.fit(small(), X, Y, lr=0.1, epochs=1, report=AccuracyReport())
    with pytest.raises(ValueError, match="print_freq must be a whole number >= 1, not 0"):
        AccuracyReport(print_freq=0)


def test_what_a_step_needs_can_be_told_of_any_model():
    model = mx.Model(flat=mx.Flatten(), fc=mx.Linear(4, 2), loss=LOSS, picture_shape=(1, 2, 2))
    assert expect(model, 8).parameters == 10


# ---- parts that are used in between ----


BLOCKS = {
    "residual": (lambda: mx.models.resnet(8, 3, "cifar", width=0.25), "layer1.0.conv1", (4, 32, 32)),
    "branches": (
        lambda: mx.Sequential(b=mx.Branches({"s": mx.Identity(), "c": mx.Conv2D(3, 3, 1)}, "add")),
        "b.c",
        (3, 4, 4),
    ),
    "dense": (lambda: mx.Sequential(d=mx.Dense(mx.Conv2D(3, 2, 3, padding=1))), "d.0", (3, 4, 4)),
}


@pytest.mark.parametrize(("make", "part", "shape"), BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("fast", [True, False])
def test_a_part_of_a_block_that_was_used_since_is_named(make, part, shape, fast):
    model = make()
    x = RNG.standard_normal((2, 3, 32, 32), dtype=np.float32)
    with np.errstate() if fast else mx.textbook():
        y = model.forward(x)
        inside = next(layer for layer in all_layers(model) if layer.in_a_word().startswith(f"{part} "))
        inside.forward(RNG.standard_normal((2, *shape), dtype=np.float32))
        with pytest.raises(mx.BackwardBeforeForward, match=f"{part} .* was used, moved or cast since"):
            model.backward(np.ones_like(y))
        y = model.forward(x)
        model.backward(np.ones_like(y))


# ---- networks that are cut ----


def test_a_part_that_is_cut_leaves_the_whole_as_it_was():
    model = smart()
    model.learn(2)
    before = [(p.lr_scale, p.decay) for p in model.parameters()]
    model.first(1).compact()
    assert [(p.lr_scale, p.decay) for p in model.parameters()] == before
    assert (model.stem.norm.frozen, model.learning) == (True, 2)


def test_what_is_cut_keeps_its_settings():
    model = smart()
    for layer in all_layers(model):
        if isinstance(layer, mx.BatchNorm2D):
            layer.eps, layer.momentum = 0.1, 0.3
    model.eval()
    for p in model.stem.parameters():
        p.lr_scale = 0
    model.block1.nodes["layer2"].gate.weight.value[0] = 0
    x = RNG.standard_normal((2, 3, 8, 8), dtype=np.float32)
    before = model.forward(x).copy()
    np.testing.assert_allclose(model.compact().forward(x), before, atol=1e-5)
    norms = [layer for layer in all_layers(model) if isinstance(layer, mx.BatchNorm2D)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.1, 0.3)}
    assert {p.lr_scale for p in model.stem.parameters()} == {0}


@pytest.mark.parametrize("exit", [None, 1, 2])
def test_what_learns_in_a_network_learns_in_what_is_left_of_it(exit):
    model = smart()
    model.learn(exit)
    model.block1.nodes["layer2"].gate.weight.value[0] = 0
    learns = {name: p.lr_scale for name, p in model.named_parameters()}
    model.compact()
    assert all(p.lr_scale == learns[name] for name, p in model.named_parameters() if name in learns)
    assert model.learning == exit


# ---- wrappers ----


def test_what_is_set_on_several_processes_is_set_on_the_model():
    model = smart()
    with mx.DataParallel(model, processes=1) as several:
        several.leave_at, several.training = 0.0, False
        several.classes = ["a", "b", "c"]
        assert (model.leave_at, model.training, model.classes) == (0.0, False, ["a", "b", "c"])
        several.forward(np.zeros((2, 3, 8, 8), np.float32))
        assert list(model.left) == [1, 1]


def test_what_learns_is_told_to_the_other_processes():
    alone = mx.models.smartnet(2, num_classes=3, preset="small", width=0.25, image_size=8, rng=0)
    x, grad = (
        RNG.standard_normal((8, 3, 8, 8), dtype=np.float32),
        RNG.standard_normal((8, 3), dtype=np.float32),
    )
    for layer in all_layers(alone):
        if isinstance(layer, mx.BatchNorm2D):
            layer.frozen = True
    alone.learn(2)
    shared = copy.deepcopy(alone)
    with mx.DataParallel(shared, processes=2) as several:
        for changed in (False, True):
            for model in (alone, several):
                for p in (alone if model is alone else shared).stem.parameters() if changed else ():
                    p.lr_scale = 1.0
                model.forward(x)
                model.backward(grad)
        for one, other in zip(alone.parameters(), shared.parameters(), strict=True):
            np.testing.assert_allclose(other.grad, one.grad, atol=1e-4)


# ---- layers ----


def test_weights_that_an_initialiser_keeps_are_copied():
    mine = RNG.standard_normal((2, 2))
    model = mx.Sequential(
        a=mx.Linear(2, 2, init=lambda *_: mine), b=mx.Linear(2, 2, init=lambda *_: mine.tolist())
    )
    a, b = model["a"].weight.value, model["b"].weight.value
    assert (a.dtype, b.dtype) == (np.float32, np.float32)
    assert not np.shares_memory(a, mine)
    assert not np.shares_memory(a, b)
    with pytest.raises(ValueError, match=r"init gave weights of shape \(3, 3\), where \(2, 2\) is wanted"):
        mx.Linear(2, 2, init=lambda *_: np.ones((3, 3)))
    for wrong in ("0.1", float("nan"), -1):
        with pytest.raises(ValueError, match=r"init\.normal: std must be a number >= 0"):
            mx.init.normal(wrong)


def test_the_costs_of_a_gate_are_said_where_it_is_made():
    gate = mx.Gate((2, 1), costs=(1.0, 1.0))
    with pytest.raises(AttributeError, match="costs is said where it is made"):
        gate.costs = Constant(np.array([10.0, 10.0], np.float32))
    assert gate.weight.costs is gate.costs
    assert mx.Gate((2, 1)).costs is None
    for wrong in (5, "ab", (1,), (1, -1), (1, "x")):
        with pytest.raises(ValueError, match="Gate: it reads 2 sources, and costs is "):
            mx.Gate((2, 1), costs=wrong)


def test_a_parameter_is_of_floats():
    with pytest.raises(TypeError, match=r"an array of floats, .* not one of int64"):
        mx.Parameter(np.array([1, 2, 3]))
    layer = mx.Linear(2, 2)
    with pytest.raises(TypeError, match=r"the array is of int64: use array\.astype"):
        layer.bias.value = np.array([1, 2])


@pytest.mark.parametrize("how", ["all exits", "leaving", "dense", "dense by the textbook", "residual"])
def test_a_model_may_stand_where_a_layer_may(how):
    """Its backward gives no gradient of the input unless asked."""
    x, ends = RNG.standard_normal((4, 2, 3, 3), dtype=np.float32), []
    for around in (mx.Sequential, mx.Model):
        if "dense" in how:
            layer = mx.Dense(around(c=mx.Conv2D(2, 2, 3, padding=1, rng=2)))
        elif how == "residual":
            layer = BasicBlock(2, 2, 1, rng=np.random.default_rng(0))
            layer.conv2 = around(c=mx.Conv2D(2, 2, 3, padding=1, rng=2))
        else:
            trunk = {"a": mx.Flatten(), "b": mx.Linear(18, 3, rng=0)}
            layer = mx.Exits(trunk, {"e": ("a", around(fc=mx.Linear(18, 3, rng=1)))})
            if how == "leaving":
                layer.eval().leave_at = 0.0
        with mx.textbook() if "textbook" in how else np.errstate():
            y = layer.forward(x)
            ends.append(layer.backward(np.ones_like(y)))
    assert np.array_equal(*ends)
    assert ends[0].any()


def test_logits_of_all_exits_need_a_loss_for_each():
    exits = mx.Exits({"a": mx.Flatten(), "b": mx.Linear(4, 2)}, {"e": ("a", mx.Linear(4, 2))})
    with pytest.raises(
        ValueError, match=r"these have shape \(.*, 2, 2\), one loss for each exit: mx\.ExitLoss"
    ):
        mx.train.fit(exits, X, Y, loss=LOSS, lr=0.1, epochs=1)


def test_what_dense_reads_is_a_list_of_lists():
    with pytest.raises(TypeError, match="reads has for each node which maps it reads"):
        mx.Dense(mx.Conv2D(2, 2, 3, padding=1), reads=5)


# ---- NaN in what exits say ----


def test_a_budget_that_nan_exceeds_is_refused_and_a_curve_leaves_nan_out():
    answers = Answers(np.array([[1, 1], [-1, 0]]), np.array([[0.9, 0.9], [np.nan, np.nan]]), np.array([1, 0]))
    with pytest.raises(ValueError, match="at a probability of 0 they cost 2, since some exits say NaN"):
        leave_at_for(1, answers, [1, 2])
    assert leave_at_for(2, answers, [1, 2]) == 1
    assert [one.leave_at for one in curve(answers, [1, 2])] == [0, 0.9, 1]


@pytest.mark.parametrize("wrong", [None, 1.5, [0.5]])
def test_how_sure_to_be_is_a_probability(wrong):
    with pytest.raises(ValueError, match="leave_at is a probability, from 0 to 1, not "):
        leave(smart(), np.zeros((2, 3, 8, 8), np.float32), [0, 1], leave_at=wrong)


@pytest.mark.parametrize("name", [None, ["resnet18"], 18])
def test_a_network_is_called_by_its_name(name):
    with pytest.raises(ValueError, match="a network is called by its name"):
        mx.models.names.network(name)


# ---- what a second look found ----


class Warm(mx.SoftmaxCrossEntropy):
    """A loss that learns."""

    def __init__(self):
        self.scale = mx.Parameter(np.ones((), np.float32))

    def forward(self, logits, labels):
        self.logits = logits
        return super().forward(logits * self.scale.value, labels)

    def backward(self, grad_loss=1.0):
        grad = super().backward(grad_loss)
        self.scale.grad = np.asarray((grad * self.logits).sum(), np.float32)
        return grad * self.scale.value


def test_a_loss_may_learn_as_well():
    model, loss = small(), Warm()
    optimizer = mx.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
    mx.train.fit(
        model, optimizer, mx.optim.Constant(0.1), ArrayBatches(X, Y, 16), epochs=2, loss=loss, report=False
    )
    assert loss.scale.value != 1


class OwnReport(AccuracyReport):
    """Accuracy in training alone."""

    columns = ("epoch", "acc")
    held_out_error = line = lambda self, row, *more: None

    def row(self, epoch, lr, train, tested, seconds, train_seconds):
        return {"epoch": epoch, "acc": train.acc1}


def test_a_report_of_ones_own_needs_nothing_held_out():
    rows = mx.train.fit(small(), X, Y, lr=0.1, epochs=1, report=OwnReport(say=lambda line: None))
    assert list(rows[0]) == ["epoch", "acc"]


def test_a_run_that_goes_on_twice_with_other_batches_skips_nothing(tmp_path, monkeypatch):
    """Stopped after 10 of 20 steps; then with batches of 5 elsewhere, stopped at once; then once more."""
    x, y = np.tile(X, (7, 1))[:400], np.tile(Y, 7)[:400]
    calls = []

    def fit(folder, batch_size, resume=None, stop_at=None):
        calls.clear()
        step = mx.SGD.step

        def counted(self):
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            calls.append(1)
            step(self)

        with monkeypatch.context() as patch:
            patch.setattr(mx.SGD, "step", counted)
            model = mx.Sequential(fc=mx.Linear(4, 2, rng=1))
            try:
                mx.train.fit(
                    model, x, y, loss=LOSS, lr=0.1, epochs=1, batch_size=batch_size, folder=folder, resume=resume,
                    checkpoint_every=10, report=False,
                )  # fmt: skip
            except KeyboardInterrupt:
                assert stop_at is not None
        return len(calls)

    assert fit(tmp_path / "a", 20, stop_at=12) == 12
    assert fit(tmp_path / "b", 5, resume=tmp_path / "a", stop_at=1) == 1
    assert fit(tmp_path / "b", 5, resume=tmp_path / "b") == 40


JUST_ABOVE = {"float16": np.float32(65510), "float32": np.float64(np.finfo("float32").max) * (1 + 1e-9)}


@pytest.mark.parametrize(("kind", "x"), JUST_ABOVE.items(), ids=JUST_ABOVE)
def test_a_number_that_is_rounded_into_the_networks_range_is_taken(kind, x):
    model = mx.Sequential(fc=mx.Linear(2, 2)).astype(kind)
    model["fc"].weight.value[:] = 0
    assert mx.train.predict(model, np.full((1, 2), x) * np.array([1, 0])).shape == (1, 2)


def test_what_every_layer_has_stays_the_wrappers(capsys):
    model, heard = mx.models.lenet5(rng=0), []
    with mx.DataParallel(model, processes=1) as several:
        several.name, several.when_final = "two", heard.append
        forward = several.forward
        several.forward = lambda x: forward(x)
        several.loss = LOSS
        assert (several.name, model.name, model.loss) == ("two", "", LOSS)
        several.backward(np.ones_like(several.forward(np.zeros((4, 1, 28, 28), np.float32))))
    assert heard == [several]


def test_a_note_in_a_block_between_forward_and_backward_does_no_harm():
    model = mx.models.resnet(8, 3, "cifar", width=0.25)
    y = model.forward(RNG.standard_normal((2, 3, 32, 32), dtype=np.float32))
    model["layer1.0"].note = mx.ReLU()
    model.backward(np.ones_like(y))


def test_a_standard_deviation_may_be_any_number():
    assert mx.init.normal(np.array(0.1))((2,), 1, 1, np.random.default_rng(0)).dtype == np.float32
