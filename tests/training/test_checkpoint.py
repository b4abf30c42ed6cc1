"""Checkpoints: all of a run's state, on any devices, and no damage goes unnoticed."""

import errno
import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

import minialex as mx
from minialex import weights
from minialex.errors import CheckpointError, NotFinite
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.weights import files

STATE = {"progress": {"epoch": 1, "loss_sum": 0.1 + 0.2}, "schedule": {}, "settings": {"name": "Zoë"}}


def small_model(rng=0, dropout=True, classes=3):
    drop = {"drop": mx.Dropout(0.5)} if dropout else {}
    return mx.Sequential(
        conv=mx.Conv2D(1, 2, 3, rng=rng), flat=mx.Flatten(), **drop, fc=mx.Linear(8, classes, rng=rng)
    )


def trained(device="cpu", steps=3, **kwargs):
    """A model and its optimizer after a few steps."""
    model = small_model(**kwargs).to(device)
    optimizer = mx.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    train(model, optimizer, steps)
    return model, optimizer


def train(model, optimizer, steps):
    device, rng = model.device, np.random.default_rng(7)
    loss = mx.SoftmaxCrossEntropy().to(device)
    for _ in range(steps):
        logits = model.forward(device.asarray(rng.standard_normal((4, 1, 4, 4), dtype=np.float32)))
        loss.forward(logits, np.array([0, 1, 2, 0]))
        model.backward(loss.backward())
        optimizer.step()


def everything(model, optimizer):
    """All that steps change, on the host."""
    return (
        [mx.to_numpy(p.value).copy() for p in model.parameters()]
        + [mx.to_numpy(v).copy() for v in optimizer.velocities],
        model.counters(),
    )


def assert_same(found, wanted):
    (arrays, counters), (wanted_arrays, wanted_counters) = found, wanted
    for array, other in zip(arrays, wanted_arrays, strict=True):
        np.testing.assert_array_equal(array, other, strict=True)
    assert counters == wanted_counters


@pytest.fixture
def path(tmp_path):
    """A good checkpoint."""
    save_checkpoint(tmp_path / "checkpoint.safetensors", *trained(), STATE)
    return tmp_path / "checkpoint.safetensors"


# ---- there and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), [("cpu", "sim:0"), ("sim:0", "cpu"), ("sim:1", "sim:0")])
@pytest.mark.usefixtures("textbook")
def test_a_checkpoint_loads_on_any_device_and_training_goes_on_the_same(tmp_path, source, target):
    model, optimizer = trained(source)
    save_checkpoint(tmp_path / "c", model, optimizer, STATE)
    other, its_optimizer = trained(target, steps=1, rng=5)
    load_checkpoint(tmp_path / "c").restore(other, its_optimizer)
    assert_same(everything(other, its_optimizer), everything(model, optimizer))
    assert all(mx.device_of(v).name == target for v in its_optimizer.velocities)
    for pair in ((model, optimizer), (other, its_optimizer)):
        train(*pair, steps=2)
    assert_same(everything(other, its_optimizer), everything(model, optimizer))


def test_dropout_goes_on_where_it_was(path):
    model = small_model()
    load_checkpoint(path).restore(model)
    assert model["drop"].step == 3


def test_the_state_comes_back_as_it_was(path):
    state = load_checkpoint(path).state
    assert {key: state[key] for key in STATE} == STATE  # the float to its last bit


def test_a_state_may_hold_numbers_of_numpy(tmp_path):
    state = {
        "lr": np.float32(0.5),
        "sizes": [np.int64(3), np.uint8(4)],
        "good": np.bool_(True),
        "one": np.array(2.5),
    }
    save_checkpoint(tmp_path / "c.safetensors", *trained(), state)
    found = load_checkpoint(tmp_path / "c.safetensors").state
    assert {**found, "counters": 0} == {"lr": 0.5, "sizes": [3, 4], "good": True, "one": 2.5, "counters": 0}


@pytest.mark.parametrize("strange", [object(), np.ones(2), {1, 2}])
def test_a_state_that_is_not_fit_for_json_is_named(tmp_path, strange):
    with pytest.raises(TypeError, match=f"must be fit for JSON, which knows no {type(strange).__name__}$"):
        save_checkpoint(tmp_path / "c.safetensors", *trained(), {"strange": strange})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [lambda m: m.astype("float64"), lambda m: m.to("sim:1").astype("float64")])
def test_a_model_that_was_cast_or_moved_is_saved_right_after_that(tmp_path, change):
    model, optimizer = trained()
    before = everything(model, optimizer)
    change(model)
    save_checkpoint(tmp_path / "c.safetensors", model, optimizer, {})
    saved = load_checkpoint(tmp_path / "c.safetensors")
    assert {a.dtype for a in (*saved.parameters.values(), *saved.velocities.values())} == {
        np.dtype("float64")
    }
    fresh = small_model(rng=1)
    fresh_optimizer = mx.SGD(fresh.parameters(), lr=0.1)
    saved.restore(fresh, fresh_optimizer)  # float32 as before: no number is lost
    assert_same(everything(fresh, fresh_optimizer), before)
    other = small_model(rng=2)
    other_optimizer = mx.SGD(other.parameters(), lr=0.1)
    change(other)
    saved.restore(other, other_optimizer)
    assert {v.dtype for v in other_optimizer.velocities} == {np.dtype("float64")}
    assert_same(everything(other.astype("float32").to("cpu"), other_optimizer), before)


def test_the_file_has_grouped_names_and_one_metadata_key_of_sorted_json(path):
    with safe_open(path, framework="numpy") as file:
        names, metadata = set(file.keys()), file.metadata()
    parameters = {"conv.weight", "conv.bias", "fc.weight", "fc.bias"}
    assert names == parameters | {f"velocity:{name}" for name in parameters}
    (text,) = metadata.values()
    assert json.dumps(json.loads(text), sort_keys=True) == text


@pytest.mark.usefixtures("textbook")
def test_equal_contents_give_equal_bytes(tmp_path):
    for name, device in (("a", "cpu"), ("b", "sim:0")):
        save_checkpoint(tmp_path / name, *trained(device), dict(reversed(STATE.items())))
    save_checkpoint(tmp_path / "c", *trained(), STATE)
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


def test_saving_changes_nothing(tmp_path):
    model, optimizer = trained()
    before = everything(model, optimizer)
    save_checkpoint(tmp_path / "c", model, optimizer, STATE)
    assert_same(everything(model, optimizer), before)
    assert "counters" not in STATE


# ---- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["parameter", "velocity"])
def test_a_model_that_is_not_finite_is_not_saved(path, poison, where):
    good = path.read_bytes()
    model, optimizer = trained()
    if where == "parameter":
        model["fc"].bias.value[1] = poison
    else:
        optimizer.velocities[3][1] = poison
    with pytest.raises(
        NotFinite, match=r"fc\.bias has become NaN or infinite; this checkpoint is not written"
    ):
        save_checkpoint(path, model, optimizer, STATE)
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"classes": 4}, r"fc\.weight has shape \(3, 8\), the model \(4, 8\)"),
        ({"dropout": False}, r"it counts \['drop\.step'\], the model \[\]"),
    ],
)
def test_a_checkpoint_of_another_model_changes_nothing(path, other, message):
    model, optimizer = trained(steps=0, rng=3, **other)
    before = everything(model, optimizer)
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.safetensors does not fit this model: .*" + message
    ):
        load_checkpoint(path).restore(model, optimizer)
    assert_same(everything(model, optimizer), before)


def test_a_checkpoint_of_another_lenet_is_named(tmp_path):
    model = mx.models.lenet5("modern")
    save_checkpoint(tmp_path / "c", model, mx.SGD(model.parameters(), 0.1), STATE)
    with pytest.raises(
        CheckpointError, match=r"does not fit this model: .*c5\.weight has shape \(120, 400\)"
    ):
        load_checkpoint(tmp_path / "c").restore(mx.models.lenet5("keras"))


def test_a_weight_file_is_no_checkpoint(tmp_path):
    weights.save(tmp_path / "model.safetensors", weights.export_grouped(small_model()))
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors holds no training state: it is not a checkpoint"
    ):
        load_checkpoint(tmp_path / "model.safetensors")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing"):
        load_checkpoint(tmp_path / "nothing")


# ---- damage -------------------------------------------------------------------------------------------


def header_length(content):
    """The bytes before the first array: a length (8 bytes), then that much JSON."""
    return 8 + struct.unpack("<Q", content[:8])[0]


def test_a_flipped_bit_in_the_data_breaks_the_checksum(path):
    good = path.read_bytes()
    for place in range(header_length(good), len(good), 5):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged: its checksum"):
            load_checkpoint(path)


def test_a_flipped_byte_in_the_header_is_noticed_or_changes_nothing(path):
    good, whole = path.read_bytes(), load_checkpoint(path)
    unnoticed = 0
    for place in range(header_length(good)):
        flipped = good[place] ^ 1 << place % 8  # another bit in each byte
        path.write_bytes(good[:place] + bytes([flipped]) + good[place + 1 :])
        unnoticed += loads_unchanged(path, whole)
    assert unnoticed < 3  # the last digit of 0.30000000000000004 may be another: it is the same number


def loads_unchanged(path, whole):
    """Does a damaged file load, and is it just as before? False where it is refused, and named."""
    try:
        loaded = load_checkpoint(path)
    except CheckpointError as error:
        if path.name not in str(error):
            raise
        return False
    for part in ("parameters", "velocities"):
        found, wanted = getattr(loaded, part), getattr(whole, part)
        assert {name: array.tolist() for name, array in found.items()} == {
            name: array.tolist() for name, array in wanted.items()
        }
    assert loaded.state == whole.state
    return True


def test_a_checkpoint_cut_anywhere_is_noticed(path):
    good = path.read_bytes()
    for length in range(0, len(good), 3):
        path.write_bytes(good[:length])
        with pytest.raises(
            CheckpointError, match=r"checkpoint\.safetensors is damaged or no safetensors file"
        ):
            load_checkpoint(path)


@given(at=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=12))
def test_junk_written_over_a_checkpoint_is_noticed_or_changes_nothing(tmp_path_factory, at, junk):
    path = tmp_path_factory.getbasetemp() / "checkpoint.safetensors"
    save_checkpoint(path, *trained(steps=1), STATE)
    good, whole = path.read_bytes(), load_checkpoint(path)
    place = int(at * len(good))
    path.write_bytes(good[:place] + junk + good[place + len(junk) :])
    loads_unchanged(path, whole)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "has a damaged header"),
        ("[1]", "has a damaged header"),
        ('{"state": {}}', "has a damaged header"),
        ('{"state": {}, "checksum": "0123456789abcdef"}', "its checksum should be 0123456789ab"),
    ],
)
def test_a_header_that_says_something_else_is_noticed(tmp_path, header, message):
    weights.save(tmp_path / "c", {"a": np.zeros(3)}, metadata={"minialex": header})
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "c")


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_else(path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    good = path.read_bytes()
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        OSError, match=r"checkpoint\.safetensors could not be written: No space left on device"
    ):
        save_checkpoint(path, *trained(steps=5), STATE)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == good
