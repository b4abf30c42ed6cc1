"""The folder of a run, where settings come from, and how mistakes are told."""

import argparse
import json
import sys
from dataclasses import asdict

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.devices.device import Device
from minialex.errors import CheckpointError, DataError, DeviceUnavailable, NotFinite
from minialex.training import runs
from minialex.training.checkpoint import save_checkpoint
from minialex.training.progress import Progress
from minialex.training.reports import Scores

ARRAYS = {"fc8.bias": np.zeros(3, np.float32)}


# ---- settings -----------------------------------------------------------------------------------------


def test_what_is_asked_goes_before_the_checkpoint_and_that_before_the_defaults():
    settings = runs.settle({"lr": 0.2}, {"lr": 0.1, "seed": 3}, {"lr": 0.5, "seed": 0, "epochs": 9}, {"lr"})
    assert settings == {"lr": 0.2, "seed": 3, "epochs": 9}


def test_what_cannot_change_is_named():
    with pytest.raises(ValueError, match="made with seed 3; this run asks for seed 4: leave that out"):
        runs.settle({"seed": 4, "lr": 2}, {"lr": 0.1, "seed": 3}, {}, {"lr"})
    assert runs.settle({"seed": 3}, {"seed": 3}, {}, set()) == {"seed": 3}


@pytest.mark.parametrize(
    ("threads", "asked", "saved", "batch_size", "processes"),
    [(4, None, None, 128, 4), (4, None, None, 64, 2), (4, None, None, 63, 1), (1, None, None, 128, 1),
     (4, 3, None, 8, 3), (4, 3, 2, 128, 3), (4, None, 2, 128, 2), (4, 1, 2, 128, 1)],
)  # fmt: skip
def test_processes_are_those_asked_for_else_those_of_before_else_as_many_as_have_enough_to_do(
    monkeypatch, threads, asked, saved, batch_size, processes
):
    monkeypatch.setattr(Device("cpu"), "threads", threads)
    assert runs.choose_processes(asked, saved, batch_size, Device("cpu")) == processes


def test_processes_are_for_a_cpu():
    with pytest.raises(ValueError, match="--processes 2 is for a CPU, this run is on sim:0: leave it out"):
        runs.choose_processes(2, None, 128, Device("sim:0"))
    assert runs.choose_processes(1, 4, 128, Device("sim:0")) == 1
    assert runs.choose_processes(None, 4, 128, Device("sim:0")) == 1  # the run began on a CPU


# ---- folders ------------------------------------------------------------------------------------------


def test_a_runs_weight_file_is_its_model_else_its_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds neither model\.safetensors nor checkpoint"):
        runs.weight_file(tmp_path)
    for name in (runs.CHECKPOINT, runs.MODEL):
        (tmp_path / name).touch()
        assert runs.weight_file(tmp_path) == tmp_path / name
    assert runs.weight_file("some.npy").name == "some.npy"


def test_a_model_comes_with_the_settings_beside_it(tmp_path):
    weights.save(tmp_path / runs.MODEL, ARRAYS)
    assert runs.read_weights(tmp_path)[1] == {}
    (tmp_path / runs.SETTINGS).write_text(json.dumps({"preset": "bvlc"}))
    for path in (tmp_path, tmp_path / runs.MODEL):
        arrays, settings = runs.read_weights(path)
        assert list(arrays) == ["fc8.bias"]
        assert settings == {"preset": "bvlc"}
    (tmp_path / runs.SETTINGS).write_text("{")
    with pytest.raises(CheckpointError, match=r"settings\.json is damaged"):
        runs.read_weights(tmp_path)


def test_the_next_free_folder_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        folder = runs.choose_folder(None, None, "alexnet")
        runs.make_writable(folder)
        (folder / runs.SETTINGS).touch()
        names.append(folder.as_posix())
    assert names == ["runs/alexnet", "runs/alexnet-2", "runs/alexnet-3"]


def test_results_go_where_the_resumed_run_is(tmp_path):
    (tmp_path / runs.CHECKPOINT).touch()
    for resume in (tmp_path, tmp_path / runs.CHECKPOINT):
        assert runs.choose_folder(str(resume), None, "alexnet") == tmp_path
        assert runs.choose_folder(str(resume), str(tmp_path), "alexnet") == tmp_path
    with pytest.raises(ValueError, match="holds a run already: go on with it by --resume"):
        runs.choose_folder(None, str(tmp_path), "alexnet")


# ---- how mistakes are told ----------------------------------------------------------------------------


class OutOfMemoryError(MemoryError):
    """CuPy's has this name and this parent."""


def told(monkeypatch, error):
    monkeypatch.setattr(sys, "argv", ["examples/alexnet_imagenet.py"])
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)

    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        runs.friendly(main)
    return stopped.value.code


@pytest.mark.parametrize(
    "kind",
    [ValueError, OSError, DataError, CheckpointError, NotFinite, DeviceUnavailable, RuntimeError],
)
def test_a_mistake_is_told_without_a_traceback(monkeypatch, kind):
    assert told(monkeypatch, kind("this is wrong")) == "alexnet_imagenet.py: this is wrong"


@pytest.mark.parametrize("kind", [MemoryError, OutOfMemoryError])
def test_out_of_memory_says_what_to_lower(monkeypatch, kind):
    message = told(monkeypatch, kind("Out of memory allocating 9 bytes"))
    assert "out of memory (Out of memory allocating 9 bytes): try a smaller --batch-size" in message


def test_ctrl_c_has_the_exit_status_that_shells_expect(monkeypatch, capsys):
    assert told(monkeypatch, KeyboardInterrupt("The last checkpoint is safe")) == 130
    assert "Stopped. The last checkpoint is safe" in capsys.readouterr().err


def test_a_mistake_of_ours_has_its_traceback(monkeypatch):
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    with pytest.raises(KeyError):
        runs.friendly(lambda: {}["name"])


def test_advice_promises_a_checkpoint_only_where_there_is_one(tmp_path):
    assert "There was no checkpoint yet" in runs.advice_when_stopped(tmp_path)
    (tmp_path / runs.CHECKPOINT).touch()
    assert f"safe: go on with --resume {tmp_path}" in runs.advice_when_stopped(tmp_path)


def write_checkpoint(path, **progress):
    model = mx.models.lenet5("keras")
    history = [{"epoch": 1, "train_loss": 0.3}, {"epoch": 2, "train_loss": 0.25}]
    state = asdict(Progress(epoch=2, history=history, start_loss=2.4, limit=4.8, **progress))
    save_checkpoint(path, model, mx.SGD(model.parameters(), 0.1), {"progress": state})


@pytest.mark.parametrize("sign", [{"recent_loss": 15.0}, {"scores": Scores(loss_sum=1500.0, seen=100)}])
def test_advice_calls_no_checkpoint_safe_whose_losses_explode(tmp_path, sign):
    write_checkpoint(tmp_path / runs.CHECKPOINT, step=3, **sign)
    advice = runs.advice_when_stopped(tmp_path)
    assert "is safe" not in advice
    assert "while training exploded (a loss of 15, before the first step it was 2.4)" in advice
    assert f"no {runs.GOOD} ({runs.CHECKPOINT} there may be spoiled already): begin anew" in advice
    write_checkpoint(tmp_path / runs.GOOD, good=True)
    advice = runs.advice_when_stopped(tmp_path)
    assert "is safe" not in advice
    good = tmp_path / runs.GOOD
    assert (
        f"{good} is from before, of epoch 2 with a loss of 0.25: go on with --resume {good} and a" in advice
    )


def test_advice_without_a_good_checkpoint_says_of_which_epoch_the_last_one_is(tmp_path):
    assert "no good.safetensors: begin anew" in runs.advice_when_spoiled(tmp_path)
    write_checkpoint(tmp_path / runs.CHECKPOINT)
    wanted = "no good.safetensors (checkpoint.safetensors is of epoch 2, with a loss of 0.25): begin anew"
    assert wanted in runs.advice_when_spoiled(tmp_path)


@pytest.mark.parametrize("sign", [{}, {"recent_loss": 4.7}, {"scores": Scores(loss_sum=470.0, seen=100)}])
def test_advice_calls_a_checkpoint_safe_whose_losses_are_as_they_should_be(tmp_path, sign):
    write_checkpoint(tmp_path / runs.CHECKPOINT, step=3, **sign)
    assert f"safe: go on with --resume {tmp_path}" in runs.advice_when_stopped(tmp_path)


@pytest.mark.parametrize(("least", "bad"), [(1, "0"), (0, "-1"), (1, "two"), (0, "1.5"), (0, "--1"), (0, "")])
def test_a_whole_number_is_one_and_not_too_small(least, bad):
    with pytest.raises(argparse.ArgumentTypeError, match=f"a whole number >= {least} is needed, not '{bad}'"):
        runs.whole_number(least)(bad)
    assert runs.whole_number(least)("7") == 7


@pytest.mark.parametrize("bad", ["-0.1", "nan", "inf", "fast", ""])
def test_a_number_is_finite_and_not_negative(bad):
    with pytest.raises(argparse.ArgumentTypeError, match=f"a number >= 0 is needed, not '{bad}'"):
        runs.number(bad)
    assert runs.number("1e-3") == 0.001


def test_a_run_without_a_checkpoint_has_left_its_settings(tmp_path):
    (tmp_path / runs.SETTINGS).write_text('{"epochs": 3, "data_dir": "mnist"}')
    assert runs.settings_to_resume(str(tmp_path), None) == {"epochs": 3, "data_dir": "mnist"}


def test_a_folder_without_a_run_has_no_settings(tmp_path):
    assert not runs.settings_to_resume(str(tmp_path), None)
    assert not runs.settings_to_resume(None, None)


def test_damaged_settings_are_named(tmp_path):
    (tmp_path / runs.SETTINGS).write_text('{"epochs"')
    with pytest.raises(CheckpointError, match=r"settings.json is damaged"):
        runs.settings_to_resume(str(tmp_path), None)
