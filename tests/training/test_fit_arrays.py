"""train.fit on arrays: any network learns, with the numbers of the loop by hand; and what is refused, and how."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from minialex import optim, train, weights
from minialex.data.loader import ArrayBatches
from minialex.errors import DeviceMismatch, DtypeMismatch
from minialex.training import arrays
from minialex.training.checkpoint import load_checkpoint
from minialex.training.reports import ErrorReport

QUIET = {"report": ErrorReport(say=lambda line: None, bar=False)}
LOSS = mx.SoftmaxCrossEntropy
HOW = {"lr": 0.05, "epochs": 2, "batch_size": 16, **QUIET}


@functools.cache
def digits():
    (x, y), (test_x, test_y) = mx.data.load_drawn_digits(train=60, test=20)
    for array in (x, y, test_x, test_y):
        array.flags.writeable = False  # whoever writes into it is found out
    return x, y, test_x, test_y


def scaled():
    """x, y, test x, test y, as floats from 0 to 1."""
    x, y, test_x, test_y = digits()
    x, test_x = x.astype(np.float32) / 255, test_x.astype(np.float32) / 255
    x.flags.writeable = test_x.flags.writeable = False
    return x, y, test_x, test_y


def small(rng=0, classes=10, kind=mx.Sequential, **options):
    """With what differs between training and evaluation."""
    return kind(
        conv=mx.Conv2D(1, 4, 5, stride=3, rng=rng),
        bn=mx.BatchNorm2D(4),
        relu=mx.ReLU(),
        flatten=mx.Flatten(),
        drop=mx.Dropout(0.2, seed=3),
        fc=mx.Linear(256, classes, rng=rng),
        **options,
    )


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def assert_same(model, other):
    ours, theirs = weights.export_grouped(model), weights.export_grouped(other)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


# ---- that it trains --------------------------------------------------------------------------------


def test_it_is_the_loop_by_hand_to_the_bit():
    x, y, *_ = scaled()
    fitted, by_hand = small(), small()
    train.fit(fitted, x, y, loss=LOSS(), lr=0.05, epochs=2, batch_size=16, weight_decay=1e-3, seed=5, **QUIET)
    optimizer, loss = mx.SGD(by_hand.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3), LOSS()
    by_hand.train()
    for epoch in range(2):
        order = np.random.default_rng((5, epoch)).permutation(60)
        for chosen in np.split(order, [16, 32, 48]):  # 16, 16, 16 and 12
            loss.forward(by_hand.forward(x[chosen]), y[chosen])
            by_hand.backward(loss.backward())
            optimizer.step()
    assert_same(fitted, by_hand)


def test_it_is_the_loop_over_batches_to_the_bit():
    x, y, test_x, test_y = digits()
    fitted, other = mx.models.lenet5("keras"), mx.models.lenet5("keras")
    history = train.fit(fitted, x, y, test=(test_x, test_y), **HOW)
    batches = (
        ArrayBatches(x, y, 16, 0, other.prepare),
        ArrayBatches(test_x, test_y, 16, prepare=other.prepare),
    )
    optimizer = mx.SGD(other.parameters(), 0.05)
    wanted = train.fit(other, optimizer, optim.Constant(0.05), *batches, epochs=2, **QUIET)
    assert_same(fitted, other)
    assert without_seconds(history) == without_seconds(wanted)
    assert list(history[0]) == [*ErrorReport.columns]
    assert [row["epoch"] for row in history] == [1, 2]


def test_a_plain_sequential_learns_and_keeps_no_loss():
    x, y, test_x, test_y = scaled()
    model = mx.Sequential(mx.Flatten(), mx.Linear(784, 32), mx.ReLU(), mx.Linear(32, 10))
    history = train.fit(model, x, y, loss=LOSS(), lr=0.05, epochs=12, test=(test_x, test_y), **QUIET)
    assert history[-1]["train_error"] < 20 < 60 < history[0]["train_error"]
    assert history[-1]["test_error"] < 75  # of 60 pictures; by chance 90
    assert not hasattr(model, "loss")


def test_the_same_seed_gives_the_same_bits_and_another_one_another_order():
    x, y, *_ = scaled()
    one, same, other = small(), small(), small()
    for model, seed in ((one, 1), (same, 1), (other, 2)):
        train.fit(model, x, y, loss=LOSS(), seed=seed, **HOW)
    assert_same(one, same)
    assert (one["fc"].weight.value != other["fc"].weight.value).any()


@pytest.mark.parametrize("kind", [list, np.int8, np.uint64, np.int64])
def test_labels_may_be_of_any_whole_kind(kind):
    x, y, *_ = scaled()
    one, other = small(), small()
    train.fit(one, x, y, loss=LOSS(), **HOW)
    train.fit(other, x, y.tolist() if kind is list else y.astype(kind), loss=LOSS(), **HOW)
    assert_same(one, other)


def test_pictures_may_be_a_list():
    x, y, *_ = scaled()
    one, other = small(), small()
    train.fit(one, x[:20], y[:20], loss=LOSS(), **HOW)
    train.fit(other, list(x[:20]), y[:20], loss=LOSS(), **HOW)
    assert_same(one, other)


def test_float64_is_cast_batch_by_batch_and_that_is_said():
    x, y, *_ = scaled()
    one, other, lines = small(), small(), []
    train.fit(one, x, y, loss=LOSS(), **HOW)
    how = {**HOW, "report": ErrorReport(say=lines.append, bar=False)}
    train.fit(other, x.astype(np.float64), y, loss=LOSS(), **how)
    assert_same(one, other)
    assert lines[0] == "x is float64, the network computes in float32: each batch is cast to that."
    lines.clear()
    train.fit(small().astype("float64"), x.astype(np.float64), y, loss=LOSS(), **how)
    assert len(lines) == 2  # the epochs


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (2, 3), (5, 1), (np.int64(99), 1)])
def test_a_batch_may_be_of_one_or_larger_than_the_data(batch_size, steps, monkeypatch):
    x, y, *_ = scaled()
    sizes, step = [], train.train_step
    monkeypatch.setattr(train, "train_step", lambda *given: sizes.append(len(given[2])) or step(*given))
    train.fit(small(), x[:5], y[:5], loss=LOSS(), lr=0.01, epochs=1, batch_size=batch_size, **QUIET)
    assert len(sizes) == steps
    assert sum(sizes) == 5


def test_a_model_has_its_loss_moved_and_needs_no_other_word():
    x, y, *_ = scaled()
    on_cpu = small(kind=mx.Model, loss=LOSS(), picture_shape=(1, 28, 28))
    on_sim = small(kind=mx.Model, loss=LOSS(), picture_shape=(1, 28, 28)).to("sim:0")
    assert on_sim.loss.device.name == "sim:0"
    histories = [train.fit(model, x, y, **HOW) for model in (on_cpu, on_sim)]
    np.testing.assert_allclose(histories[0][-1]["train_loss"], histories[1][-1]["train_loss"], rtol=1e-4)
    assert on_cpu.loss.device.name == "cpu"


def test_a_loss_that_is_given_goes_before_the_models_own_and_to_its_device():
    x, y, *_ = scaled()
    model, own, given = small(kind=mx.Model, loss=LOSS()).to("sim:0"), LOSS(), mx.MAPLoss(j=50.0)
    model.loss = own
    (row,) = train.fit(model, x, y, loss=given, **{**HOW, "epochs": 1})
    assert model.loss is own
    assert given.device.name == "sim:0"
    (other,) = train.fit(small(), x, y, loss=mx.MAPLoss(j=0.0), **{**HOW, "epochs": 1})
    assert abs(row["train_loss"] - other["train_loss"]) > 0.01


def test_what_was_lent_is_given_back_after_an_error():
    x, y, *_ = scaled()
    model = small(classes=3)
    with pytest.raises(ValueError, match="out of range"):
        train.fit(model, x, y, loss=LOSS(), **HOW)
    assert "loss" not in vars(model)


class Mine(mx.Layer):
    """No Sequential: a network as a class."""

    def __init__(self):
        self.flat, self.fc = mx.Flatten(), mx.Linear(784, 10)

    def forward(self, x):
        return self.fc.forward(self.flat.forward(x))

    def backward(self, grad_y):
        return self.flat.backward(self.fc.backward(grad_y))


def test_a_network_that_is_a_class_is_trained_as_well():
    x, y, *_ = scaled()
    mine, other = Mine(), mx.Sequential(mx.Flatten(), mx.Linear(784, 10))
    histories = [train.fit(model, x, y, loss=LOSS(), **HOW) for model in (mine, other)]
    assert without_seconds(histories[0]) == without_seconds(histories[1])


def test_nobody_computes_the_gradient_of_a_picture():
    x, y, *_ = scaled()
    asked = []

    class First(mx.Conv2D):
        def backward(self, grad_y, input_grad=True):
            asked.append(input_grad)
            return super().backward(grad_y, input_grad=input_grad)

    model = mx.Sequential(First(1, 2, 9, stride=9), mx.Flatten(), mx.Linear(18, 10))
    train.fit(model, x[:8], y[:8], loss=LOSS(), **HOW)
    assert asked == [False, False]


def test_a_schedule_by_name_is_that_schedule():
    x, y, *_ = scaled()
    rows = [
        train.fit(small(), x, y, loss=LOSS(), **{**HOW, **how})
        for how in ({"schedule": "cosine"}, {"lr": None, "schedule": optim.Cosine(0.05, 2)}, {})
    ]
    assert without_seconds(rows[0]) == without_seconds(rows[1]) != without_seconds(rows[2])
    assert [row["lr"] for row in rows[0]] == [0.05, 0.025]


def test_a_folder_keeps_checkpoints_from_which_it_goes_on(tmp_path):
    x, y, test_x, test_y = scaled()
    how = {"loss": LOSS(), "lr": 0.05, "batch_size": 16, "test": (test_x, test_y), **QUIET}
    whole, first, second = small(), small(), small(rng=9)
    wanted = train.fit(whole, x, y, epochs=3, folder=tmp_path / "a", **how)
    train.fit(first, x, y, epochs=1, folder=tmp_path / "b", holdout=(test_x, test_y), **how)
    assert (tmp_path / "b" / train.BEST).is_file()
    resume = load_checkpoint(tmp_path / "b" / train.CHECKPOINT)
    history = train.fit(second, x, y, epochs=3, folder=tmp_path / "b", resume=resume, **how)
    assert_same(whole, second)
    assert without_seconds(history)[1:] == without_seconds(wanted)[1:]
    mx.load(loaded := small(rng=7), tmp_path / "b" / train.MODEL)
    assert_same(whole, loaded)


# ---- the loop over batches -------------------------------------------------------------------------


def test_the_loop_over_batches_takes_a_loss_and_keywords():
    x, y, *_ = scaled()
    one, other, third = small(), small(), small()
    train.fit(one, x, y, loss=LOSS(), **HOW)
    batches, how = functools.partial(ArrayBatches, x, y, 16), {"epochs": 2, "loss": LOSS(), **QUIET}
    train.fit(other, mx.SGD(other.parameters(), 0.05), optim.Constant(0.05), batches(), **how)
    optimizer = mx.SGD(third.parameters(), 0.05)
    given = {"optimizer": optimizer, "schedule": optim.Constant(0.05), "train": batches()}
    train.fit(model=third, **given, **how)
    assert_same(one, other)
    assert_same(one, third)


def test_a_single_step_takes_a_loss_as_well():
    x, y, *_ = scaled()
    one, other = small(), small(kind=mx.Model, loss=LOSS())
    scores = [
        train.train_step(model, mx.SGD(model.parameters(), 0.05), x, y, **how)
        for model, how in ((one, {"loss": LOSS()}), (other, {}))
    ]
    np.testing.assert_array_equal(*scores)
    assert_same(one, other)
    with pytest.raises(ValueError, match="has no loss of its own: give one, loss="):
        train.train_step(one, mx.SGD(one.parameters(), 0.05), x, y)


def test_x_and_y_may_be_given_by_name():
    x, y, *_ = scaled()
    one, other = small(), small()
    train.fit(one, x, y, loss=LOSS(), **HOW)
    train.fit(model=other, x=x, y=y, loss=LOSS(), **HOW)
    assert_same(one, other)


def mixtures():
    x, y, *_ = scaled()
    model = small(kind=mx.Model, loss=LOSS())
    optimizer, batches, constant = (
        mx.SGD(model.parameters(), 0.1),
        ArrayBatches(x, y, 16),
        optim.Constant(0.1),
    )
    return model, x, y, optimizer, batches, constant


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y, o, b, c: train.fit(m), "after the model comes nothing"),
        (lambda m, x, y, o, b, c: train.fit(m, b, epochs=1), "after the model comes an ArrayBatches"),
        (
            lambda m, x, y, o, b, c: train.fit(m, mx.SGD, c, b, epochs=1),
            "after the model comes the class SGD",
        ),
        (lambda m, x, y, o, b, c: train.fit(m, o, 0.1, b, epochs=1), r"give mx.optim.Constant\(0.1\)"),
        (lambda m, x, y, o, b, c: train.fit(m, o, optim.Cosine, b, epochs=1), "schedule is a class, Cosine"),
        (lambda m, x, y, o, b, c: train.fit(m, o, x, y, epochs=1), "the schedule is an ndarray"),
        (lambda m, x, y, o, b, c: train.fit(m, o, c, x, epochs=1), "train is an ndarray, not batches"),
        (lambda m, x, y, o, b, c: train.fit(m, o, c, b, (x, y), epochs=1), "test is a tuple, not batches"),
        (lambda m, x, y, o, b, c: train.fit(m, o, c, b, holdout=x, epochs=1), "holdout is an ndarray"),
        (
            lambda m, x, y, o, b, c: train.fit(m, o, c, b, epochs=1, lr=0.1),
            "unexpected keyword argument 'lr'",
        ),
        (lambda m, x, y, o, b, c: train.fit(m, o, c, b), "missing a required.* argument: 'epochs'"),
        (lambda m, x, y, o, b, c: train.fit(m, x, y, lr=1), "missing a required.* argument: 'epochs'"),
        (lambda m, x, y, o, b, c: train.fit(m, x, lr=1, epochs=1), "missing a required.* argument: 'y'"),
        (lambda m, x, y, o, b, c: train.fit(m, x, y, o, c, epochs=1), "too many positional arguments"),
        (
            lambda m, x, y, o, b, c: train.fit(m, x, y, lr=1, epochs=1, settings={}),
            "unexpected .* 'settings'",
        ),
    ],
)
def test_a_mixture_is_told_which_way_takes_what(call, message):
    with pytest.raises(
        TypeError, match=rf"^fit: .*{message}.*fit takes either arrays, fit\(model, x, y, .* or an"
    ):
        call(*mixtures())


def test_a_step_that_is_measured_takes_a_loss_too():
    x, y, *_ = scaled()
    model = small()
    kinds = {(span.name, span.back) for span in mx.timeline.measure_step(model, x, y, loss=LOSS())}
    assert {("loss", False), ("loss", True), ("conv", True)} <= kinds
    assert not hasattr(model, "loss")
    with pytest.raises(ValueError, match="has no loss of its own"):
        mx.timeline.measure_step(model, x, y)


# ---- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"lr": None}, ValueError, "which learning rate? Give lr=0.02, or schedule="),
        ({"lr": -1.0}, ValueError, "lr must be a number >= 0, not -1.0"),
        ({"lr": "0.1"}, ValueError, "lr must be a number >= 0, not '0.1'"),
        ({"schedule": optim.Constant(1.0)}, ValueError, "lr=0.05 and schedule=Constant"),
        ({"schedule": optim.Cosine}, TypeError, "schedule is a class, Cosine: give a name"),
        ({"schedule": 0.1}, TypeError, "schedule is a float: give a name"),
        ({"schedule": "cosinus"}, ValueError, "unknown schedule 'cosinus' (did you mean cosine?): use constant, step"),
        ({"schedule": "plateau"}, ValueError, "held out of the training set: holdout="),
        ({"epochs": 0}, ValueError, "epochs must be a whole number >= 1, not 0"),
        ({"epochs": 1.5}, ValueError, "epochs must be a whole number >= 1, not 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1, not 0"),
        ({"batch_size": 2.0}, ValueError, "batch_size must be a whole number >= 1, not 2.0"),
        ({"seed": -1}, ValueError, "seed must be a whole number >= 0, not -1"),
        ({"seed": 1.5}, ValueError, "seed must be a whole number >= 0, not 1.5"),
        ({"momentum": -1}, ValueError, "SGD: momentum must be a number >= 0"),
        ({"loss": None}, ValueError, "has no loss of its own: give one, loss=mx.SoftmaxCrossEntropy()"),
        ({"loss": LOSS}, TypeError, "loss is the class SoftmaxCrossEntropy: write loss=mx.SoftmaxCrossEntropy()"),
        ({"loss": "crossentropy"}, TypeError, "loss is 'crossentropy': give a loss layer"),
        ({"loss": mx.ReLU()}, TypeError, "loss is a ReLU: give a loss layer"),
        ({"model": mx.Sequential}, TypeError, "the model is the class Sequential, not a network"),
        ({"model": mx.models.lenet5}, TypeError, "the model is a function, not a network"),
        ({"model": mx.Sequential(mx.Flatten())}, ValueError, "there are no parameters to train"),
        ({"model": mx.Sequential(mx.Conv2D(1, 2, 3))}, ValueError, "the output of Sequential has shape (1, 2, 26, 26)"),
        ({"x": np.zeros((0, 1, 28, 28))}, ValueError, "x has shape (0, 1, 28, 28): at least one picture"),
        ({"x": np.float32(1)}, ValueError, "x has shape (): at least one picture"),
        ({"x": np.zeros((59, 1, 28, 28))}, ValueError, "x has 59 pictures, y 60 labels: one label each"),
        ({"x": np.zeros((60, 1, 28, 28), np.uint8)}, DtypeMismatch, 'scale them yourself, x.astype("float32") / 255'),
        ({"x": np.zeros((60, 1, 28, 28), int)}, DtypeMismatch, 'networks take floats: use x.astype("float32")'),
        ({"x": np.zeros((60, 28, 28), np.float32)}, ValueError, "4 axes; the input has shape (1, 28, 28)"),
        ({"x": [[1.0], [1.0, 2.0]]}, ValueError, "x is no array, its parts have different shapes"),
        ({"x": mx.Device("sim:0").asarray(np.zeros(3))}, DeviceMismatch, "x lives on sim:0: give it on the host"),
        ({"y": np.zeros((60, 10))}, ValueError, "y has shape (60, 10): labels are (N,), one number each; y.arg"),
        ({"y": np.zeros((60, 1), int)}, ValueError, "y has shape (60, 1): labels are (N,), one number each; y.res"),
        ({"y": np.zeros(60)}, DtypeMismatch, 'labels are whole numbers, the classes from 0: use y.astype("int64")'),
        ({"y": np.zeros(60, bool)}, DtypeMismatch, "y is bool: labels are whole numbers"),
        ({"y": ["cat"] * 60}, DtypeMismatch, "y is <U3: labels are whole numbers"),
        ({"y": ArrayBatches([1], [1], 1)}, TypeError, "y is an ArrayBatches, not an array"),
        ({"y": np.arange(60) % 10 + 1}, ValueError, "y[9] is 10, out of range: the output of Sequential has 10 "
         "classes, from 0 to 9; 6 of 60 labels are not. They go from 1 to 10: give y - 1."),
        ({"y": np.arange(60) % 10 - 1}, ValueError, "y[0] is -1, out of range"),
        ({"test": np.zeros(2)}, TypeError, "test is an ndarray: with arrays it is a pair, test=(x, y)"),
        ({"test": ()}, TypeError, "test is a tuple of 0: with arrays"),
        ({"y": None}, TypeError, "y is None: one label for each picture of x is needed"),
        ({"test": (np.zeros((2, 1, 28, 28)), None)}, TypeError, "test y is None: one label for each picture of test x"),
        ({"holdout": (np.zeros((2, 1, 28, 28)), None)}, TypeError, "holdout y is None"),
        ({"cluster": 3}, TypeError, "cluster is an int: give mx.cluster.Cluster(), or leave it out"),
        ({"cluster": 3, "folder": "runs/none"}, TypeError, "cluster is an int"),
        ({"folder": ""}, ValueError, "the name of the folder is empty: name one, or '.' for this one"),
        ({"folder": __file__}, NotADirectoryError, "test_fit_arrays.py is a file: name a folder"),
        ({"test": (1, 2, 3)}, TypeError, "test is a tuple of 3: with arrays"),
        ({"holdout": ArrayBatches([1], [1], 1)}, TypeError, "holdout is an ArrayBatches: with arrays it is a pair"),
        ({"test": (np.zeros((2, 1, 28, 28)), [0])}, ValueError, "test x has 2 pictures, test y 1 label"),
        ({"test": (np.zeros((2, 1, 28, 28)), [0, 10])}, ValueError, "test y[1] is 10, out of range"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_trained(changed, error, message):
    x, y, *_ = scaled()
    model = changed.get("model", small())
    before = weights.export_grouped(small())
    given = {"model": model, "x": x, "y": y, "loss": LOSS(), **HOW, **changed}
    with pytest.raises(error, match=re.escape(message)):
        train.fit(**given)
    if "model" not in changed:
        for name, array in weights.export_grouped(model).items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_picture_that_is_not_finite_is_named(value, monkeypatch):
    monkeypatch.setattr(arrays, "MANY", 784 * 7)
    x, y, *_ = scaled()
    x = x.copy()
    x[[33, 40], 0, 3, 5] = value
    with pytest.raises(ValueError, match=r"^x\[33\] has a number that is NaN or infinite$"):
        train.fit(small(), x, y, loss=LOSS(), **HOW)


def test_the_readme_does_what_it_says(tmp_path, monkeypatch, capsys):
    readme = Path(mx.__file__).parent.parent / "README.md"
    if not readme.is_file():
        pytest.skip("installed without the clone")
    section = (
        readme.read_text(encoding="utf8").split("## Training a network of your own")[1].split("\n## ")[0]
    )
    monkeypatch.chdir(tmp_path)
    exec("\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)), {})
    *_, same, last = capsys.readouterr().out.splitlines()
    assert same.endswith(" True")  # the loop's weights are fit's
    ours, theirs = map(float, last.split())
    assert ours == pytest.approx(theirs)
    assert ours < 50


# ---- evaluate and predict --------------------------------------------------------------------------


def test_evaluate_and_predict_of_arrays_are_those_of_batches():
    _, _, test_x, test_y = digits()
    model = mx.models.lenet5("keras", dropout=0.5)
    batches = ArrayBatches(test_x, test_y, 7, prepare=model.prepare)
    assert train.evaluate(model, test_x, test_y, batch_size=7) == train.evaluate(model, batches)
    logits = train.predict(model, test_x, batch_size=7)
    wanted, labels = train.predict(model, batches)
    np.testing.assert_array_equal(logits, wanted)
    np.testing.assert_array_equal(labels, test_y)
    assert model.training
    assert train.predict(model, batches=batches)[0].shape == (20, 10)
    assert train.evaluate(model, batches=batches).seen == 20


def test_evaluate_says_what_fit_says_of_the_test_set():
    x, y, test_x, test_y = scaled()
    model = small()
    history = train.fit(model, x, y, loss=LOSS(), test=(test_x, test_y), **HOW)
    scores = train.evaluate(model, test_x, test_y, loss=LOSS(), batch_size=16)
    assert (scores.loss, scores.error) == (history[-1]["test_loss"], history[-1]["test_error"])
    assert scores.error == 100 * np.mean(train.predict(model, test_x).argmax(axis=1) != test_y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x, y, b: train.evaluate(m, x), TypeError, "evaluate takes arrays, evaluate(model, x, y), or"),
        (lambda m, x, y, b: train.evaluate(m, b, y), TypeError, "evaluate(model, batches), as mx.data.ArrayBatches"),
        (lambda m, x, y, b: train.evaluate(m), TypeError, "evaluate takes arrays"),
        (lambda m, x, y, b: train.evaluate(m, x, y, batches=b), TypeError, "given ndarray, ndarray, ArrayBatches"),
        (lambda m, x, y, b: train.evaluate(m, x, y), ValueError, "has no loss of its own: give one"),
        (lambda m, x, y, b: train.evaluate(m, b), ValueError, "has no loss of its own: give one"),
        (lambda m, x, y, b: train.evaluate(m, x, y[1:], loss=LOSS()), ValueError, "x has 60 pictures, y 59 labels"),
        (lambda m, x, y, b: train.evaluate(m, x, y + 1, loss=LOSS()), ValueError, "label 10 is out of range"),
        (lambda m, x, y, b: train.evaluate_ten_crop(m, x), TypeError, "takes batches, as mx.data.ArrayBatches"),
        (lambda m, x, y, b: train.predict(m, 3), TypeError, "predict takes arrays, predict(model, x), or batches"),
        (lambda m, x, y, b: train.predict(m, x.astype(int)), DtypeMismatch, "x is int64, and networks take floats"),
        (lambda m, x, y, b: train.predict(m, x[:0]), ValueError, "at least one picture is needed"),
    ],
)  # fmt: skip
def test_evaluate_and_predict_say_what_they_take(call, error, message):
    x, y, *_ = scaled()
    with pytest.raises(error, match=re.escape(message)):
        call(small(), x, y, ArrayBatches(x, y, 16))


# ---- a Model of one's own --------------------------------------------------------------------------


def test_a_model_takes_its_loss_and_picture_shape():
    loss = LOSS()
    model = small(kind=mx.Model, loss=loss, picture_shape=[1, 28, np.int64(28)])
    assert model.loss is loss
    assert model.picture_shape == (1, 28, 28)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in small().named_parameters()]
    assert mx.summary(model).rows
    with pytest.raises(ValueError, match="takes pictures of 28x28"):
        model.forward(np.zeros((1, 1, 27, 28), np.float32))
    assert not hasattr(mx.Model(mx.Flatten()), "loss")
    assert not hasattr(mx.Model(mx.Flatten()), "picture_shape")


@pytest.mark.parametrize("shape", [(28, 28), 28, (1, 28, 0), (1, 28.0, 28), "128"])
def test_a_picture_shape_is_three_sizes(shape):
    with pytest.raises(ValueError, match="picture_shape"):
        mx.Model(mx.Flatten(), picture_shape=shape)


def test_a_models_loss_is_a_layer_that_is_made():
    with pytest.raises(TypeError, match="loss is the class SoftmaxCrossEntropy: write SoftmaxCrossEntropy"):
        mx.Model(mx.Flatten(), loss=LOSS)
    with pytest.raises(TypeError, match="Model: loss is a str, not a layer"):
        mx.Model(mx.Flatten(), loss="softmax")


@pytest.mark.parametrize(
    ("layers", "stars"), [([mx.ReLU()], "*"), ((mx.ReLU(),), "*"), ({"a": mx.ReLU()}, "**")]
)
def test_layers_are_given_one_by_one(layers, stars):
    with pytest.raises(
        TypeError, match=rf"0 is a \w+, not a layer: give them one by one, {re.escape(stars)}layers, or"
    ):
        mx.Model(layers, loss=LOSS())
