"""What a newcomer gets wrong in fit, evaluate and predict: pixels as they are, axes elsewhere, others' words."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex import train
from minialex.errors import Diverged, DtypeMismatch, NotFinite
from minialex.training.reports import ErrorReport

LOSS = mx.SoftmaxCrossEntropy()
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 1, 8, 8)).astype(np.float32)
PIXELS[0, 0, 0, :2] = 0, 255
Y = np.arange(40) % 3


def conv(inputs=1, side=8):
    return mx.Sequential(
        conv=mx.Conv2D(inputs, 2, 3, rng=0), flat=mx.Flatten(), fc=mx.Linear(2 * (side - 2) ** 2, 3, rng=0)
    )


def said(x, model=None, **how):
    lines = []
    how = {"loss": LOSS, "lr": 1e-6, "epochs": 1, "report": ErrorReport(say=lines.append, bar=False)} | how
    train.fit(model or conv(), x, Y, **how)
    return lines[:-1]  # the last one is the epoch


# ---- pixels from 0 to 255 --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_floats_that_run_from_0_to_255_are_said_before_training(dtype):
    lines = said(PIXELS.astype(dtype))
    assert lines[-1] == (
        "x runs from 0 to 255, as pixels do, and networks learn from numbers around 0 to 1: x / 255?"
    )


def test_the_test_set_alone_may_have_been_forgotten():
    (line,) = said(PIXELS / 255, test=(PIXELS, Y))
    assert line.startswith("test x runs from 0 to 255")


@pytest.mark.parametrize(
    "x",
    [PIXELS / 255, PIXELS - 128, (PIXELS > 99).astype(np.float32), PIXELS + 0.5, PIXELS * 2, PIXELS % 50, PIXELS * 0],
    ids=["divided", "centred", "black and white", "no whole numbers", "larger", "few shades", "black"],
)  # fmt: skip
def test_of_other_numbers_nothing_is_said(x):
    assert said(x) == []


def test_an_alexnet_of_the_paper_wants_pixels_as_they_are():
    model = mx.models.alexnet(3, width=1 / 64, image_size=67, rng=0)
    x = np.zeros((3, 3, 67, 67), np.float32)
    x[0, 0, 0, 0] = 255
    lines = []
    how = {"lr": 1e-6, "epochs": 1, "report": ErrorReport(say=lines.append, bar=False)}
    train.fit(model, x, [0, 1, 2], **how)
    assert len(lines) == 1


def test_a_loss_that_explodes_names_the_pixels():
    with pytest.raises(
        (Diverged, NotFinite), match=r"smaller learning rate\. x runs from 0 to 255"
    ) as caught:
        said(PIXELS, lr=10.0, epochs=5)
    assert type(caught.value) is type(caught.value.__cause__)
    with pytest.raises(NotFinite, match=r"smaller learning rate$"):
        said(PIXELS / 255, lr=1e6, epochs=5)


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint16])
@pytest.mark.parametrize(("most", "scale"), [(255, " / 255"), (1, "")])
def test_whole_numbers_are_told_their_scale_where_they_are_pixels(dtype, most, scale):
    x = np.minimum(PIXELS, most).astype(dtype)
    for call in (
        lambda: said(x),
        lambda: train.predict(conv(), x),
        lambda: train.evaluate(conv(), x, Y, loss=LOSS),
    ):
        with pytest.raises(DtypeMismatch, match=re.escape(f'use x.astype("float32"){scale}') + "$"):
            call()


# ---- axes in other places --------------------------------------------------------------------------

CALLS = {
    "fit": said,
    "fit, of the test set": lambda x, model: said(
        np.zeros((40, model["conv"].in_channels, 8, 8), np.float32), model, test=(x, Y)
    ),
    "evaluate": lambda x, model: train.evaluate(model, x, Y, loss=LOSS),
    "predict": lambda x, model: train.predict(model, x),
}
WRONG_AXES = {
    "no axis for colours": ((40, 8, 8), 1, "[:, None]?"),
    "colours last": ((40, 8, 8, 3), 3, ".transpose(0, 3, 1, 2)?"),
    "one colour, last": ((40, 8, 8, 1), 1, ".transpose(0, 3, 1, 2)?"),
}


@pytest.mark.parametrize("what", WRONG_AXES)
@pytest.mark.parametrize("call", CALLS)
def test_axes_in_other_places_are_answered_with_the_callers_shape_and_what_to_do(call, what):
    shape, inputs, hint = WRONG_AXES[what]
    name = "test x" if "test" in call else "x"
    with pytest.raises(ValueError, match=re.escape(f"{name} has shape {shape}: {name}{hint} (")):
        CALLS[call](np.zeros(shape, np.float32), conv(inputs))


def test_bytes_that_a_network_prepares_itself_too():
    model = mx.models.lenet5("keras")
    with pytest.raises(ValueError, match=re.escape("x has shape (5, 28, 28): x[:, None]? (pictures must be")):
        train.predict(model, np.zeros((5, 28, 28), np.uint8))
    with pytest.raises(ValueError, match=re.escape("x has shape (5, 28, 28, 1): x.transpose(0, 3, 1, 2)? (")):
        train.fit(model, np.zeros((5, 28, 28, 1), np.uint8), np.zeros(5, int), lr=0.1, epochs=1)
    assert model.training


def test_a_network_that_takes_rows_is_told_to_flatten():
    model = mx.Sequential(mx.Linear(64, 3))
    with pytest.raises(ValueError, match=re.escape("x has shape (40, 8, 8): x.reshape(40, -1)? (")):
        train.predict(model, PIXELS[:, 0])


def test_what_no_change_of_axes_helps_has_its_shape_alone():
    with pytest.raises(ValueError, match=re.escape("x has shape (40, 1, 9, 9): fc (Linear)")):
        said(np.zeros((40, 1, 9, 9), np.float32))


# ---- other libraries' words ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("validation_data", "test"), ("batchsize", "batch_size"), ("learning_rate", "lr"), ("criterion", "loss"),
        ("epoch", "epochs"), ("weight_decy", "weight_decay"), ("random_state", "seed"),
    ],
)  # fmt: skip
def test_an_argument_by_another_name_is_answered_with_its_own(given, meant):
    with pytest.raises(TypeError, match=rf": {given}= is {meant}= here$"):
        train.fit(conv(), PIXELS / 255, Y, **{"loss": LOSS, "lr": 0.1, "epochs": 1, given: 1})


def test_all_that_are_wrong_are_answered_at_once_where_the_other_way_is_meant_too():
    model = conv()
    batches = mx.data.ArrayBatches(PIXELS, Y, 8)
    schedule = mx.optim.Constant(0.1)
    with pytest.raises(TypeError, match=r"validation_data= is test= here, nb_epoch= is epochs= here$"):
        train.fit(model, mx.SGD(model.parameters(), 0.1), schedule, batches, validation_data=0, nb_epoch=1)


def test_a_name_that_is_near_to_nothing_is_told_them_all():
    with pytest.raises(TypeError, match="this way takes model, x, y, loss, lr"):
        train.fit(conv(), PIXELS, Y, lr=0.1, epochs=1, zebra=1, batchsize=3)


# ---- a scale that the network has not learned ------------------------------------------------------

BYTES = RNG.integers(0, 256, (30, 1, 28, 28)).astype(np.uint8)
BYTES[0, 0, 0, :2] = 0, 255
LABELS = np.arange(30) % 10
SMALL = {"lr": 0.01, "epochs": 1, "report": ErrorReport(say=lambda line: None, bar=False)}
WARNS = "x is float32 from 0 to 1, and LeNet5 was trained on uint8, which its `prepare` puts on another scale"
DIVIDED = BYTES.astype(np.float32) / 255


def fitted(x=BYTES):
    model = mx.models.lenet5()
    train.fit(model, x, LABELS, **SMALL)
    return model


def test_a_network_that_learned_from_bytes_warns_of_floats():
    model = fitted()
    with pytest.warns(UserWarning, match=WARNS) as caught:
        train.evaluate(model, DIVIDED, LABELS)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=WARNS):
        train.predict(model, DIVIDED)


def test_it_does_not_warn_of_what_it_learned_from_or_has_made_itself():
    model = fitted()
    for x in (BYTES, model.prepare(BYTES), DIVIDED - 0.5, np.zeros_like(DIVIDED)):
        train.predict(model, x)  # a warning is an error
    train.predict(fitted(DIVIDED), DIVIDED)
    train.predict(mx.models.lenet5(), DIVIDED)


def test_it_does_not_warn_when_its_weights_are_others_by_now(tmp_path):
    mx.save(fitted(DIVIDED), tmp_path / "floats.safetensors")
    model = fitted()
    mx.load(model, tmp_path / "floats.safetensors")
    train.predict(model, DIVIDED)
    model = fitted()
    train.fit(model, DIVIDED, LABELS, **SMALL)
    train.predict(model, DIVIDED)


def test_what_it_remembers_is_no_part_of_the_model():
    model = fitted()
    assert list(mx.weights.export_grouped(model)) == list(mx.weights.export_grouped(mx.models.lenet5()))
    assert repr(model) == repr(mx.models.lenet5())
