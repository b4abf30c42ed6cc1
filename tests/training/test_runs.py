"""The folder of a run: what is found there, where results go, and what is said of it."""

import json
from dataclasses import asdict

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.errors import CheckpointError
from minialex.training import runs
from minialex.training.checkpoint import save_checkpoint
from minialex.training.progress import Progress
from minialex.training.reports import Scores

ARRAYS = {"fc8.bias": np.zeros(3, np.float32)}


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


# ---- what to say when a run is stopped ---------------------------------------------------------------


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


def test_a_run_without_a_checkpoint_has_left_its_settings(tmp_path):
    (tmp_path / runs.SETTINGS).write_text('{"epochs": 3, "data_dir": "mnist"}')
    assert runs.settings_to_resume(str(tmp_path), None) == {"epochs": 3, "data_dir": "mnist"}


def test_a_folder_without_a_run_has_no_settings(tmp_path):
    assert not runs.settings_to_resume(str(tmp_path), None)
    assert not runs.settings_to_resume(None, None)


@pytest.mark.parametrize("text", ['{"epochs"', '{"pixels": "0 to 1"}', '{"pixels": 1}', '{"pretrained": 1}'])
def test_damaged_settings_are_named(tmp_path, text):
    (tmp_path / runs.SETTINGS).write_text(text)
    with pytest.raises(CheckpointError, match=r"settings.json is damaged"):
        runs.settings_to_resume(str(tmp_path), None)
