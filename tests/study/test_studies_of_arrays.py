"""Studies of a trained network take x and y as `train.fit` does: with what batches give, and with its refusals."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex.data import ArrayBatches
from minialex.data.folder import PictureList
from minialex.errors import DataError, DeviceMismatch, DtypeMismatch
from minialex.study.exit_report import leave

LOSS = mx.SoftmaxCrossEntropy


def with_exits():
    return mx.models.smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8, rng=1)


def with_blocks():
    return mx.models.resnet(8, 3, "cifar", width=0.1, image_size=8)


def left(model, *given, **options):
    """Without the seconds; in words, where NaN is NaN."""
    return str(leave(model, *given, leave_at=0.4, **options).leaving)


def answered(model, *given, **options):
    answers = mx.leaving.answers_of(model, *given, **options)
    return [array.tolist() for array in (answers.best, answers.sure, answers.labels)]


def featured(model, x, y=None, **options):
    return mx.neighbours.features(model, x, "layer1", **options).tolist()


STUDIES = {
    "answers_of": (answered, with_exits),
    "leave": (left, with_exits),
    "drop_blocks": (mx.anatomy.drop_blocks, with_blocks),
    "features": (featured, with_blocks),
}
LABELLED = [name for name in STUDIES if name != "features"]


def pictures(count=10):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((count, 3, 8, 8), np.float32), rng.integers(0, 3, count)
    x.flags.writeable = y.flags.writeable = False  # whoever writes into it is found out
    return x, y


@pytest.mark.parametrize("name", STUDIES)
def test_arrays_give_what_their_batches_give(name):
    study, make = STUDIES[name]
    (x, y), model = pictures(), make().train()
    found = study(model, x, y, batch_size=4)
    assert found == study(model, ArrayBatches(x, y, 4))
    assert found == study(model, x.astype(np.float64), y.tolist(), batch_size=4)
    assert model.training


@pytest.mark.parametrize("name", STUDIES)
def test_bytes_go_through_the_networks_own_preparation(name):
    study, make = STUDIES[name]
    (_, y), model = pictures(), make()
    x = np.random.default_rng(1).integers(0, 256, (10, 3, 8, 8)).astype(np.uint8)
    if not callable(getattr(model, "prepare", None)):
        with pytest.raises(DtypeMismatch, match=r"it has no `prepare`.*: scale them yourself"):
            study(model, x, y)
    model.prepare = lambda some: some.astype(np.float32) / 255
    assert study(model, x, y) == study(model, model.prepare(x), y)


def test_batches_may_be_given_by_name():
    (x, y), model = pictures(), with_exits()
    assert answered(model, batches=ArrayBatches(x, y, 4)) == answered(model, x, y, batch_size=4)


def test_a_loss_may_be_given_to_a_network_that_has_none():
    x, y = pictures()
    inside = with_blocks()
    plain = mx.Sequential(**inside.layers)
    assert mx.anatomy.drop_blocks(plain, x, y, loss=LOSS()) == mx.anatomy.drop_blocks(inside, x, y)
    with pytest.raises(ValueError, match="has no loss of its own: give one"):
        mx.anatomy.drop_blocks(plain, x, y)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x[:0], y[:0]), ValueError, "x has shape (0, 3, 8, 8): at least one picture is needed"),
        (lambda x, y: (x.astype(int), y), DtypeMismatch, "x is int64, and networks take floats"),
        (lambda x, y: (np.where(x > 2, np.nan, x), y), ValueError, "has a number that is NaN or infinite"),
        (lambda x, y: (mx.Device("sim:0").asarray(x), y), DeviceMismatch, "x lives on sim:0: give it on the host"),
        (lambda x, y: (3, None), TypeError, "or batches with their labels, "),
        (lambda x, y: (None, None), TypeError, "or batches with their labels, "),
    ],
)  # fmt: skip
def test_pictures_that_make_no_sense_are_refused_as_by_fit(name, change, error, message):
    study, make = STUDIES[name]
    with pytest.raises(error, match=re.escape(message)):
        study(make(), *change(*pictures()))


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, TypeError, "takes arrays, "),
        ([0], ValueError, "x has 10 pictures, y 1 label: one"),
        ([[0, 1, 0]] * 10, ValueError, "y has shape (10, 3): labels are (N,), one number each; y.argmax(axis=1)?"),
        ([0.0] * 10, DtypeMismatch, "labels are whole numbers, the classes from 0"),
        ([0] * 9 + [3], ValueError, "out of range"),
        ([0] * 9 + [-1], ValueError, "out of range"),
        (ArrayBatches([1], [1], 1), TypeError, "y is an ArrayBatches, not an array"),
    ],
)  # fmt: skip
def test_labels_that_make_no_sense_are_refused_as_by_fit(name, labels, error, message):
    study, make = STUDIES[name]
    with pytest.raises(error, match=re.escape(message)):
        study(make(), pictures()[0], labels, batch_size=4)


@pytest.mark.parametrize("name", ["answers_of", "leave"])
def test_labels_of_batches_are_looked_at_too(name):
    study, make = STUDIES[name]
    x, y = pictures()
    with pytest.raises(ValueError, match=r"is 3, out of range: the output of .* has 3 classes"):
        study(make(), ArrayBatches(x, np.where(y == 2, 3, y), 4))


@pytest.mark.parametrize("name", LABELLED)
def test_pictures_of_other_classes_are_refused_as_by_fit(name):
    study, make = STUDIES[name]
    model, batches = make(), ArrayBatches(*pictures(), 4)
    pixels, batches.pictures = batches.pictures, PictureList([], np.zeros(0, int), ["cat", "dog", "fish"])
    batches.in_order = ArrayBatches(pixels, batches.labels, 4).in_order
    model.classes = ["cat", "dog", "fish"]
    study(model, batches)
    model.classes = ["fish", "cat", "dog"]
    with pytest.raises(
        DataError, match="fish, cat, dog, the pictures' cat, dog, fish: they are in another order"
    ):
        study(model, batches)


@pytest.mark.parametrize("name", STUDIES)
def test_arrays_and_batches_at_once_are_refused(name):
    study, make = STUDIES[name]
    x, y = pictures()
    with pytest.raises(TypeError, match="or batches with their labels"):
        study(make(), x, y, batches=ArrayBatches(x, y, 4))


@pytest.mark.parametrize("function", [mx.anatomy.drop_blocks, mx.neighbours.features, mx.train.evaluate])
def test_a_class_is_no_network(function):
    with pytest.raises(TypeError, match="the model is the class Sequential, not a network"):
        function(mx.Sequential, pictures()[0])
