"""What testing leaves as it was, and what it counts where a network gives NaN, or computes in float16."""

import numpy as np
import pytest

import minialex as mx
from minialex.data import ArrayBatches, digit_from_picture, draw_digits
from minialex.study import exit_report
from minialex.study.leaving import answers_of
from minialex.study.timeline import measure_step
from minialex.training.doubt import read_prepared
from minialex.training.evaluation import evaluate_ten_crop, scores_of

LOSS = mx.SoftmaxCrossEntropy()


def with_norm():
    """A network of which one layer was put into evaluation: its running means are to stay."""
    model = mx.Model(
        bn=mx.BatchNorm2D(1),
        drop=mx.Dropout(),
        flat=mx.Flatten(),
        fc=mx.Linear(4, 2),
        loss=mx.SoftmaxCrossEntropy(),
        picture_shape=(1, 2, 2),
    )
    model["bn"].eval()
    return model


def with_exits():
    model = mx.models.smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8)
    next(layer for layer in mx.layers.sequential.all_layers(model) if not layer.children()).eval()
    return model


class TenCrops:
    """Each picture ten times."""

    def in_order(self, ten_crop):
        yield np.zeros((3, 10, 1, 2, 2), np.float32), np.zeros(3, int)


X, Y = np.zeros((3, 1, 2, 2), np.float32), np.array([0, 1, 0])
COLOURS = np.zeros((3, 3, 8, 8), np.float32)
WAYS = {
    "predict": (with_norm, lambda model: mx.train.predict(model, X)),
    "evaluate": (with_norm, lambda model: mx.train.evaluate(model, X, Y)),
    "ten crops": (with_norm, lambda model: evaluate_ten_crop(model, TenCrops())),
    "features": (with_norm, lambda model: mx.neighbours.features(model, X, "flat")),
    "a step": (with_norm, lambda model: measure_step(model, X, Y)),
    "summary": (with_norm, mx.summary),
    "answers": (with_exits, lambda model: model.answers(COLOURS)),
    "answers_of": (with_exits, lambda model: answers_of(model, COLOURS, Y)),
    "leave": (with_exits, lambda model: exit_report.leave(model, COLOURS, Y, leave_at=0.5)),
}


@pytest.mark.parametrize(("make", "use"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("all_in", [None, True, False])
def test_each_layer_stays_in_its_own_mode(make, use, all_in):
    model = make() if all_in is None else make().train(all_in)
    modes = [layer.training for layer in mx.layers.sequential.all_layers(model)]
    use(model)
    assert [layer.training for layer in mx.layers.sequential.all_layers(model)] == modes
    assert all_in is not None or len({*modes}) == 2


def test_who_reads_a_digit_finds_each_layer_in_its_own_mode():
    model = mx.models.lenet5(dropout=0.5)
    model["c1"].eval()
    modes = [layer.training for layer in model]
    read_prepared(model, digit_from_picture(draw_digits(1)[0][0, 0]))
    assert [layer.training for layer in model] == modes
    assert len({*modes}) == 2


def test_modes_are_put_back_where_it_ends_early():
    model = with_norm()
    with pytest.raises(ValueError, match="label 7"):
        mx.train.evaluate(model, X, np.array([0, 7, 0]))
    assert (model["bn"].training, model["drop"].training) == (False, True)


def gives(logits):
    """A network that gives these logits of each picture."""
    model = mx.Sequential(fc=mx.Linear(1, len(logits)))
    model["fc"].weight.value[:] = 0
    model["fc"].bias.value[:] = logits
    return model


@pytest.mark.parametrize(
    ("logits", "label", "right"),
    [
        ([np.nan] * 10, 0, (0, 0)),
        ([np.nan] * 3, 0, (0, 0)),
        ([1.0, np.nan, *range(2, 10)], 1, (0, 0)),
        ([np.nan, 9.0, *range(2, 8), 0.0, 1.0], 1, (0, 100)),  # NaN counts as larger than 9
        ([*range(9, -1, -1)], 0, (100, 100)),
        ([*range(9, -1, -1)], 4, (0, 100)),
        ([*range(9, -1, -1)], 5, (0, 0)),
        ([1.0] * 10, 0, (100, 0)),
    ],
)
def test_nan_is_no_right_answer(logits, label, right):
    model, x, y = gives(logits), np.ones((20, 1), np.float32), np.full(20, label)
    found = mx.train.evaluate(model, x, y, loss=LOSS)
    assert (found.acc1, found.acc5) == right


def test_nan_is_no_right_answer_in_ten_crops_either():
    model = with_norm().astype("float32")
    model["fc"].weight.value[:] = np.nan
    with np.errstate(all="ignore"):
        found = evaluate_ten_crop(model, TenCrops())
    assert (found.acc1, found.acc5) == (0, 0)


def test_a_class_of_which_nobody_knows_anything_is_none():
    model = with_exits()
    for parameter in model.parameters():
        parameter.value[...] = np.nan
    with np.errstate(all="ignore"):
        answers = answers_of(model, COLOURS, np.zeros(3, int))
        left = exit_report.leave(model, COLOURS, np.zeros(3, int), leave_at=0.5)
    assert (answers.best == -1).all()
    assert answers.errors() == [1.0, 1.0]
    assert left.leaving.error == 1.0


@pytest.mark.parametrize("count", [2049, 3001, 70_000])
def test_float16_counts_right_answers_to_the_last(count):
    model = mx.Sequential(fc=mx.Linear(2, 2)).astype("float16")
    model["fc"].weight.value[:] = np.eye(2)
    x = np.zeros((count, 2), np.float16)
    x[:, 0] = 1
    found = mx.train.evaluate(model, x, np.zeros(count, int), loss=LOSS, batch_size=count)
    assert (found.error, found.acc5, found.seen) == (0, 100, count)


@pytest.mark.parametrize(
    ("kind", "counts"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_scores_are_as_wide_as_the_loss_and_no_narrower_than_float32(kind, counts):
    model = gives([1.0, 0.0]).astype(kind)
    logits = model.forward(np.ones((3, 1), kind))
    loss = LOSS.forward(logits, np.array([0, 1, 0]))
    assert scores_of(model, logits, np.array([0, 1, 0]), loss).dtype == counts


def test_a_mask_that_hides_something_is_refused_and_one_that_hides_nothing_is_none():
    hidden = np.ma.array([0, -1, 1], mask=[False, True, False])
    for call in (
        lambda: mx.train.evaluate(with_norm(), X, hidden),
        lambda: mx.train.predict(with_norm(), np.ma.array(X, mask=X == 0)),
        lambda: mx.train.fit(with_norm(), X, hidden, lr=0.1, epochs=1),
        lambda: ArrayBatches(X, hidden, 2),
        lambda: LOSS.forward(np.eye(3, 2), hidden),
        lambda: mx.ReLU().forward(np.ma.array(X, mask=X == 0)),
    ):
        with pytest.raises(ValueError, match=r"has a mask that hides (1|12) number.*array\.filled"):
            call()
    open_to_all = np.ma.array(Y, mask=False)
    assert mx.train.evaluate(with_norm(), X, open_to_all).seen == 3
