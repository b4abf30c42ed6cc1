"""A run's state, wrong in any part: an error of ours that names the file and the part, before anything is changed."""

import copy
import json

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.data.loader import ArrayBatches
from minialex.errors import CheckpointError
from minialex.training.checkpoint import load_checkpoint
from minialex.training.loop import fit
from minialex.training.optim import Plateau
from minialex.training.runs import (
    CHECKPOINT,
    KNOWN,
    find_checkpoint,
    load_run,
    read_input,
    read_weights,
    settings_in,
)
from minialex.weights.records import MOST_DEPTH, parse
from minialex.weights.seal import sealed

# ---- settings -----------------------------------------------------------------------------------------

WRONG_SETTINGS = {
    "5": "should be a dict",
    "null": "should be a dict",
    '"lr"': "should be a dict",
    "[]": "should be a dict",
    "": "",
    "{": "",
    '{"lr": "x"}': r"lr should be a number >= 0, not 'x'",
    '{"lr": null}': r"lr should be a number >= 0, not None",
    '{"lr": true}': "lr should be",
    '{"lr": NaN}': "lr should be",
    '{"lr": Infinity}': "lr should be",
    '{"lr": 1e999}': "lr should be",
    '{"lr": -1}': "lr should be",
    '{"lr": [0.1]}': "lr should be",
    '{"lr": 0.1, "lr": 0.2}': "a name twice",
    '{"epochs": 1.5}': "epochs should be a whole number",
    '{"epochs": "9"}': "epochs should be",
    '{"epochs": 0}': "epochs should be",
    '{"seed": ' + "9" * 5000 + "}": "",
    '{"seed": ' + "9" * 4000 + "}": "seed should be",
    '{"classes": 5}': "classes should be a list",
    '{"classes": ["a", 5]}': r"classes\[1\] should be a text, not 5",
    '{"variant": ["modern"]}': "variant should be a text",
    '{"width": 1e9}': "width should be a number .*<= 16",
    '{"image_size": 1000000}': "image_size should be .* <= 4096",
    '{"batch_size": 1e300}': "batch_size should be",
    "[" * 100_000: "nested too deep",
    '{"lr":' * 20_000: "nested too deep",
    "[" * 40 + "]" * 40: "nested too deep",
    "[" + "0," * 1_100_000 + "0]": "the most is 1,000,000",
    "\udcff": "",
}


@pytest.mark.parametrize("text", WRONG_SETTINGS, ids=lambda text: text[:20])
def test_settings_that_cannot_be_are_named(tmp_path, text):
    (tmp_path / "settings.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(
        CheckpointError, match=rf"settings\.json is damaged .*{WRONG_SETTINGS[text]}"
    ) as caught:
        settings_in(tmp_path)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", KNOWN)
def test_no_setting_is_a_dict(tmp_path, name):
    (tmp_path / "settings.json").write_text(json.dumps({name: {}}))
    with pytest.raises(CheckpointError, match=rf"settings\.json is damaged \({name} should be"):
        settings_in(tmp_path)


def test_settings_of_the_programs_and_others_are_read(tmp_path):
    settings = {
        "lr": 1,
        "limit": None,
        "classes": ["a"],
        "data": None,
        "width": 0.25,
        "seed": 10**30,
        "mine": {"deep": [1]},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert settings_in(tmp_path) == settings


def test_what_is_as_deep_as_may_be_is_read():
    assert parse("[" * MOST_DEPTH + "]" * MOST_DEPTH)
    with pytest.raises(ValueError, match="nested too deep"):
        parse("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1))


# ---- checkpoints --------------------------------------------------------------------------------------


def make():
    model = mx.models.lenet5()
    return model, mx.SGD(model.parameters(), 0.01), Plateau(0.01)


def batches():
    rng = np.random.default_rng(0)
    return ArrayBatches(rng.standard_normal((16, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 16), 8)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The arrays and the state of a checkpoint after an epoch."""
    folder = tmp_path_factory.mktemp("good")
    model, optimizer, schedule = make()
    fit(
        model,
        optimizer,
        schedule,
        batches(),
        batches(),
        batches(),
        epochs=1,
        folder=folder,
        settings={"lr": 0.01},
    )
    arrays = weights.load(folder / CHECKPOINT)
    return arrays, load_checkpoint(folder / CHECKPOINT).state


def without(*names):
    def change(arrays, state):
        for name in names[:-1]:
            state = state[name]
        del state[names[-1]]

    return change


def with_value(value, *names):
    def change(arrays, state):
        for name in names[:-1]:
            state = state[name]
        state[names[-1]] = value

    return change


def arrays_with(name, value):
    def change(arrays, state):
        arrays[name] = value(arrays[name])

    return change


def no_velocities(arrays, state):
    for name in [name for name in arrays if name.startswith("velocity:")]:
        del arrays[name]


def a_velocity_of_nothing(arrays, state):
    arrays["velocity:other.weight"] = np.zeros(3, np.float32)


CHANGES = {
    **{f"no {name}": without(name) for name in ("progress", "schedule", "settings", "counters")},
    **{
        f"no progress.{name}": without("progress", name)
        for name in ("epoch", "step", "seconds", "scores", "recount", "history")
    },
    **{
        f"no score {name}": without("progress", "scores", name)
        for name in ("loss_sum", "right1", "right5", "seen")
    },
    **{f"no schedule.{name}": without("schedule", name) for name in ("drops", "waited", "best")},
    **{
        f"{name} is {value!r}": with_value(value, name)
        for name in ("progress", "schedule", "settings", "counters")
        for value in (None, 5, "x", [1])
    },
    "an epoch of text": with_value("1", "progress", "epoch"),
    "an epoch below 0": with_value(-1, "progress", "epoch"),
    "half an epoch": with_value(0.5, "progress", "epoch"),
    "a true epoch": with_value(True, "progress", "epoch"),
    "epochs without a history": with_value(7, "progress", "epoch"),
    "a step of text": with_value("3", "progress", "step"),
    "seconds of text": with_value("3", "progress", "seconds"),
    "endless seconds": with_value(float("inf"), "progress", "seconds"),
    "scores of text": with_value("3", "progress", "scores"),
    "a score of text": with_value("3", "progress", "scores", "seen"),
    "a history of numbers": with_value([3], "progress", "history"),
    "a history of text": with_value("3", "progress", "history"),
    "a row of text": with_value("x", "progress", "history", 0, "train_loss"),
    "a row without a column": without("progress", "history", 0, "train_loss"),
    "drops of text": with_value("x", "schedule", "drops"),
    "a best of text": with_value("x", "schedule", "best"),
    "counters of text": with_value({"drop.step": "x"}, "counters"),
    "counters of others": with_value({"drop.step": 3}, "counters"),
    "a learning rate of text": with_value("x", "settings", "lr"),
    "no velocities": no_velocities,
    "a velocity of nothing": a_velocity_of_nothing,
    "whole numbers": arrays_with("c1.weight", lambda a: a.astype(np.int64)),
    "a NaN": arrays_with("c1.weight", lambda a: a * np.nan),
    "a velocity of NaN": arrays_with("velocity:c1.weight", lambda a: a * np.nan),
    "another shape": arrays_with("c1.weight", lambda a: a[:2]),
    "a velocity of another shape": arrays_with("velocity:c1.weight", lambda a: a[:2]),
    "no axes": arrays_with("c1.bias", lambda a: a[0]),
}


FIT_KEEPS = "a learning rate of text"  # settings are looked at by who uses them


@pytest.mark.parametrize(
    ("load", "kind"),
    [(find_checkpoint, kind) for kind in CHANGES]
    + [(load_checkpoint, kind) for kind in CHANGES if kind != FIT_KEEPS],
)
def test_a_sealed_checkpoint_with_wrong_parts_is_named_and_changes_nothing(tmp_path, good, load, kind):
    arrays, state = copy.deepcopy(good)
    CHANGES[kind](arrays, state)
    path = tmp_path / CHECKPOINT
    weights.save(path, arrays, metadata=sealed(arrays, state))
    model, optimizer, schedule = make()
    before = weights.export_grouped(model)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors ") as caught:
        fit(model, optimizer, schedule, batches(), batches(), batches(), epochs=2,
            resume=load(str(path)))  # fmt: skip
    assert len(str(caught.value)) < 600
    for name, array in weights.export_grouped(model).items():
        np.testing.assert_array_equal(array, before[name])
    assert not any(v.any() for v in optimizer.velocities)


def test_the_whole_one_goes_on(tmp_path, good):
    arrays, state = copy.deepcopy(good)
    state["progress"]["later"] = [3, 0.1]
    state["later"] = state["schedule"]["later"] = {"version": 2}
    weights.save(tmp_path / CHECKPOINT, arrays, metadata=sealed(arrays, state))
    history = fit(*make(), batches(), batches(), batches(), epochs=2, resume=find_checkpoint(str(tmp_path)))
    assert [row["epoch"] for row in history] == [1, 2]


HEADERS = {
    '{"state": {}, "checksum": 5}': r"checksum should be a text, not 5",
    '{"state": {}, "checksum": null}': "checksum should be a text",
    '{"state": 5, "checksum": "a"}': "state should be a dict",
    '{"state": {}}': "has no checksum",
    '{"checksum": "a"}': "has no state",
    "5": "should be a dict",
    '{"state": ' + "[" * 100_000: "nested too deep",
    '{"state": ' + "[" * 900 + "]" * 900 + ', "checksum": "a"}': "nested too deep",
    '{"state": {"a": ' + "9" * 100_000 + '}, "checksum": "a"}': "digits",
}


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:30])
@pytest.mark.parametrize("load", [load_checkpoint, load_run, weights.load])
def test_a_header_that_is_none_is_named(tmp_path, header, load):
    arrays = {"a": np.zeros(3), "velocity:a": np.zeros(3)}
    weights.save(tmp_path / "c.safetensors", arrays, metadata={"minialex": header})
    with pytest.raises(
        CheckpointError,
        match=rf"c\.safetensors has a damaged header: .*{HEADERS[header]}",
    ):
        load(tmp_path / "c.safetensors")


@pytest.mark.parametrize("load", [load_checkpoint, load_run, weights.load, read_weights])
def test_whoever_reads_a_checkpoint_learns_of_a_wrong_bit(tmp_path, good, load):
    arrays, state = good
    path = tmp_path / CHECKPOINT
    weights.save(path, arrays, metadata=sealed(arrays, state))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged: its checksum"):
        load(path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged: its checksum"):
        weights.load_pretrained(mx.models.lenet5(), path)


# ---- what lies beside it ------------------------------------------------------------------------------

INPUT = {"mean": np.ones((3, 4, 4), "f4"), "values": np.ones(3), "vectors": np.eye(3)}


@pytest.mark.parametrize(
    "change",
    [
        {"mean": None},
        {"values": None},
        {"mean": np.ones((4, 4))},
        {"mean": np.full((3, 4, 4), np.nan)},
        {"values": np.ones(4)},
        {"vectors": np.ones((3, 2))},
    ],
)
def test_an_input_file_of_other_arrays_is_named(tmp_path, change):
    arrays = {name: array for name, array in {**INPUT, **change}.items() if array is not None}
    weights.save(tmp_path / "input.safetensors", arrays)
    with pytest.raises(CheckpointError, match=rf"input\.safetensors has .*{next(iter(change))}"):
        read_input(tmp_path / "input.safetensors")


def test_a_whole_input_file_is_read(tmp_path):
    weights.save(tmp_path / "input.safetensors", INPUT)
    for name, array in read_input(tmp_path / "input.safetensors").items():
        np.testing.assert_array_equal(array, INPUT[name])


@pytest.mark.parametrize(("name", "shape"), [("fc8.bias", ()), ("conv2.weight", (3,)), ("conv1.bias", ())])
def test_parameters_without_their_axes_are_named(tmp_path, name, shape):
    weights.save(tmp_path / "model.safetensors", {name: np.ones(shape, np.float32)})
    with pytest.raises(CheckpointError, match=rf"model\.safetensors is damaged: {name} cannot have shape"):
        read_weights(tmp_path / "model.safetensors")
