"""Is it a digit at all? The second network: what it learns, where it is kept, and the verdict."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex import optim, train
from minialex.data import digit_from_picture, draw_digits, load_drawn_digits
from minialex.data.hands import LETTERS, write
from minialex.data.loader import ArrayBatches
from minialex.data.not_digits import draw_not_digits
from minialex.errors import CheckpointError, NotFinite
from minialex.training.doubt import learn_doubt, load_doubt, read_prepared, save_doubt
from minialex.training.reports import ErrorReport
from minialex.weights import load, load_with_metadata, save
from minialex.weights.seal import sealed, unsealed

DIGITS = draw_digits(5)[0]


@pytest.fixture(scope="module")
def trained():
    """A LeNet-5 and its second network, after a few seconds."""
    (x, y), _ = load_drawn_digits(train=2400, test=0)
    model = mx.models.lenet5("modern")
    quiet = ErrorReport(say=lambda line: None, bar=False)
    optimizer, batches = (
        mx.SGD(model.parameters(), lr=0.03, momentum=0.9),
        ArrayBatches(x, y, 32, 0, model.prepare),
    )
    train.fit(model, optimizer, optim.Cosine(0.03, 3), batches, epochs=3, report=quiet)
    return model, learn_doubt(model, x, y)


def on_paper(ink):
    return digit_from_picture(np.uint8(255 * (1 - np.pad(ink, 20))))


def test_digits_are_sure_and_letters_by_hand_are_not(trained):
    """Letters of hands that it never saw. Trained on MNIST's 60,000 it is 83 %: examples/results/predict."""
    model, doubt = trained
    rng = np.random.default_rng(0)
    letters = [on_paper(write(c, rng)) for c in LETTERS for _ in range(2)]
    unsure = np.mean([not read_prepared(model, one, doubt).sure for one in letters])
    digits = [digit_from_picture(image) for image in draw_digits(100, seed=7)[0][:, 0]]
    refused = np.mean([not read_prepared(model, one, doubt).sure for one in digits])
    assert unsure > 0.35
    assert refused < 0.06
    assert unsure > 8 * refused


def test_the_reason_is_said_with_its_numbers(trained):
    model, doubt = trained
    rng = np.random.default_rng(1)
    readings = [read_prepared(model, on_paper(write(c, rng)), doubt) for c in "HKMWX"]
    why = next(one.why for one in readings if one.sure is False)
    assert why.startswith("it looks less like the digits that were learned than like letters or scribbles (")
    assert f"99.5 % of digits reach {doubt.least:.1f}" in why


def test_two_digits_are_told_by_their_pieces(trained):
    one, other = (write(c, np.random.default_rng(3)) for c in "35")
    tall = max(len(one), len(other))
    pair = np.concatenate([np.pad(x, ((0, tall - len(x)), (0, 0))) for x in (one, other)], axis=1)
    reading = read_prepared(trained[0], on_paper(pair), trained[1])
    assert reading.sure is False
    assert reading.why == "2 pieces of ink stand side by side: two digits?"


def test_shares_are_those_of_softmax_and_add_up_to_1(trained):
    model, doubt = trained
    prepared = digit_from_picture(draw_digits(1, seed=3)[0][0, 0])
    reading = read_prepared(model, prepared, doubt)
    logits = model.eval().forward(model.prepare(prepared.image[None, None]))[0].astype(float)
    np.testing.assert_allclose(reading.shares, np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    assert reading.digit == logits.argmax()


def test_without_a_second_network_the_share_decides():
    model = mx.models.lenet5()  # untrained: no digit has half
    reading = read_prepared(model, digit_from_picture(draw_digits(1)[0][0, 0]))
    assert (reading.sure, reading.why) == (False, "no digit has half of the share")


def test_a_model_of_other_classes_gives_no_verdict():
    model = mx.models.lenet5(num_classes=26)
    model.classes = [chr(97 + k) for k in range(26)]
    reading = read_prepared(model, digit_from_picture(draw_digits(1)[0][0, 0]))
    assert (reading.sure, reading.why, len(reading.shares)) == (None, "", 26)


def test_weights_that_give_no_numbers_are_named(trained):
    model = mx.models.lenet5()
    model["output"].bias.value[3] = np.nan
    with pytest.raises(NotFinite, match="the network gives nan"):
        read_prepared(model, digit_from_picture(draw_digits(1)[0][0, 0]))


@pytest.mark.parametrize(
    ("variant", "activation"), [("1998", "tanh"), ("keras", "relu"), ("modern", "sigmoid")]
)
def test_each_variant_can_learn_it_and_stays_as_it_is(variant, activation):
    model = mx.models.lenet5(variant, activation=activation)
    before = [p.value.copy() for p in model.parameters()]
    mode = model.training
    images, labels = draw_digits(120)
    kept = images.copy()
    one, same = (learn_doubt(model, images, labels).margins(model, images) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(images, kept)
    assert model.training == mode
    for parameter, value in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)


def test_too_few_digits_are_named():
    with pytest.raises(ValueError, match="1 digit: what a digit is cannot be learned"):
        learn_doubt(mx.models.lenet5(), *draw_digits(1))
    assert np.isfinite(learn_doubt(mx.models.lenet5(), *draw_digits(2)).least)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (DIGITS, [1, 2, 3], ValueError, "learn_doubt: 5 pictures, but 3 labels: one each is needed"),
        (DIGITS, [1.0] * 5, mx.DtypeMismatch, "labels is float64: labels are whole numbers"),
        (
            DIGITS / 255,
            [1] * 5,
            ValueError,
            "learn_doubt: images are uint8 (N, 1, 28, 28), not float64 (5, 1, 28, 28)",
        ),
        (
            DIGITS[:, 0],
            [1] * 5,
            ValueError,
            "learn_doubt: images are uint8 (N, 1, 28, 28), not uint8 (5, 28, 28)",
        ),
        (np.ma.array(DIGITS, mask=DIGITS > 0), [1] * 5, ValueError, "images has a mask that hides"),
    ],
)
def test_digits_that_do_not_belong_together_are_named(images, labels, error, message):
    with pytest.raises(error, match=re.escape(message)):
        learn_doubt(mx.models.lenet5(), images, labels)


def test_what_is_no_lenet5_is_named(tmp_path):
    for study in (
        lambda model: learn_doubt(model, DIGITS, [1] * 5),
        lambda model: load_doubt(tmp_path / "no", model),
    ):
        with pytest.raises(TypeError, match="doubt: the model is an int, not a network"):
            study(3)
        with pytest.raises(TypeError, match="doubt: the model is the class Sequential, not a network"):
            study(mx.Sequential)
        for model in (mx.Sequential(fc=mx.Linear(3, 2)), mx.Linear(3, 2)):
            with pytest.raises(ValueError, match="has no layer s4, which a LeNet-5 has"):
                study(model)
    with pytest.raises(TypeError, match="read_digit: the model is an int, not a network"):
        train.read_digit(3, DIGITS[0, 0])


# ---- in a run's folder ----


def test_it_is_kept_and_comes_back_the_same(trained, tmp_path):
    model, doubt = trained
    save_doubt(tmp_path / "doubt.safetensors", doubt)
    back = load_doubt(tmp_path / "doubt.safetensors", model)
    images = draw_digits(20, seed=5)[0]
    np.testing.assert_array_equal(back.margins(model, images), doubt.margins(model, images))
    assert back.least == doubt.least


def test_that_of_other_weights_is_not_taken(trained, tmp_path):
    save_doubt(tmp_path / "doubt.safetensors", trained[1])
    assert load_doubt(tmp_path / "doubt.safetensors", mx.models.lenet5(rng=9)) is None


def altered(name, value):
    def change(path):
        arrays = load(path)
        state = {"least": 0.5, "of": ""} if name != "least" else {"least": value, "of": ""}
        if value is None:
            del arrays[name]
        elif name != "least":
            arrays[name] = value
        save(path, arrays, sealed(arrays, state))

    return change


def unseal(path):
    save(path, load(path))


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (altered("mean", None), "it has no mean"),
        (altered("std", np.full(400, np.nan, np.float32)), "as std, not finite"),
        (altered("hidden.weight", np.ones((3, 400), np.float32)), r"\(3, 400\) as hidden.weight"),
        (altered("answer.bias", np.ones(2)), "float64"),
        (altered("least", "low"), "its limit is 'low', not a number"),
        (unseal, "it has no checksum"),
        (flip, "is damaged: its checksum"),
    ],
)
def test_a_damaged_file_is_named(trained, tmp_path, harm, message):
    path = tmp_path / "doubt.safetensors"
    save_doubt(path, trained[1])
    assert load_with_metadata(path)[1]
    harm(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_doubt(path, trained[0])
    assert str(path) in str(caught.value)


# ---- what is no digit ----


def test_what_is_no_digit_hangs_on_the_seed_alone_and_shows_something():
    digits = draw_digits(40)
    one, same, other = (draw_not_digits(*digits, count=60, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert one.shape == (60, 1, 28, 28)
    assert one.dtype == np.uint8
    assert (one.reshape(60, -1).max(axis=1) > 100).all()
    with pytest.raises(ValueError, match="partly made of digits, and there are none"):
        draw_not_digits(digits[0][:0], digits[1][:0], 10)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"std": lambda a: 0 * a}, "a standard deviation in it is"),
        ({"std": lambda a: -a}, "a standard deviation in it is"),
        (
            {"mean": lambda a: a[:200], "std": lambda a: a[:200], "hidden.weight": lambda a: a[:, :200]},
            "it reads 200",
        ),
    ],
)
def test_a_second_network_that_was_sealed_anew_is_not_trusted(trained, tmp_path, spoil, words):
    model, doubt = trained
    save_doubt(tmp_path / "doubt.safetensors", doubt)
    arrays, texts = load_with_metadata(tmp_path / "doubt.safetensors")
    state = unsealed(tmp_path, arrays, texts)
    arrays = {
        name: np.ascontiguousarray(spoil.get(name, lambda a: a)(array)) for name, array in arrays.items()
    }
    save(tmp_path / "doubt.safetensors", arrays, metadata=sealed(arrays, state))
    with pytest.raises(CheckpointError, match=words):
        load_doubt(tmp_path / "doubt.safetensors", model)


def test_two_digits_above_each_other_and_a_disc_are_doubted():
    page = np.full((200, 120), 255, np.uint8)
    page[20:80, 55:65] = 0  # a 1 above a 1
    page[110:170, 55:65] = 0
    assert "one above the other" in digit_from_picture(page).doubt
    y, x = np.indices((100, 100))
    disc = np.where((x - 50) ** 2 + (y - 50) ** 2 < 225, 0, 255).astype(np.uint8)
    assert "blot" in digit_from_picture(disc).doubt
