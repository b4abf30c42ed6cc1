"""The training loop: it learns, it can be stopped anywhere, and it never waits for the device without need."""

import csv
import dataclasses
import functools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from running import gone
from threadpoolctl import threadpool_limits

import minialex as mx
from minialex import optim, train, weights
from minialex.data.digits import load_drawn_digits
from minialex.data.loader import ArrayBatches
from minialex.devices import simdevice
from minialex.errors import CheckpointError, DataError, Diverged, FolderInUse, NotFinite
from minialex.training import history, runs
from minialex.training.checkpoint import load_checkpoint
from minialex.training.lock import locked
from minialex.training.reports import ErrorReport
from minialex.weights import files

COLUMNS = ["epoch", "lr", "train_loss", "train_error", "test_loss", "test_error", "seconds"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing from threads, and lose much where others use the cores as well."""
    with threadpool_limits(1):
        yield


@functools.cache
def digits():
    return load_drawn_digits(train=160, test=60)


def parts(model, batch_size=32, holdout=0, seed=0, train_count=128):
    """Batches to train on, to test with, and (if asked) held out."""
    (x, y), (test_x, test_y) = digits()
    pick = functools.partial(ArrayBatches, prepare=model.prepare)
    train_on = pick(x[:train_count], y[:train_count], batch_size, seed)
    held_out = pick(x[128 : 128 + holdout], y[128 : 128 + holdout], 20) if holdout else None
    return train_on, pick(test_x, test_y, 25), held_out


def run(
    folder=None,
    device="cpu",
    seed=0,
    epochs=2,
    variant="keras",
    dropout=0.5,
    schedule="cosine",
    lr=0.05,
    batch_size=32,
    holdout=0,
    wrap=lambda batches: batches,
    test=True,
    say=lambda line: None,
    **kwargs,
):
    """A small run from the beginning, or from kwargs' resume; returns the model and the history."""
    model = mx.models.lenet5(variant, dropout=dropout, rng=seed, device=device)
    train_on, test_on, held_out = parts(model, batch_size, holdout, seed)
    optimizer = mx.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3)
    if isinstance(schedule, str):
        schedule = optim.make_schedule(schedule, lr, epochs)
    history = train.fit(
        model,
        optimizer,
        schedule,
        wrap(train_on),
        test_on if test else None,
        held_out,
        epochs=epochs,
        folder=folder,
        report=ErrorReport(say=say, bar=False),
        settings={"variant": variant, "activation": "tanh"},
        **kwargs,
    )
    return model, history


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def read_history(folder):
    with open(folder / train.HISTORY, newline="") as file:
        reader = csv.DictReader(file)
        return reader.fieldnames, list(reader)


def assert_same_parameters(model, other):
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    for p, q in pairs:
        np.testing.assert_array_equal(mx.to_numpy(p.value), mx.to_numpy(q.value), err_msg=p.name)


def assert_same_folder(folder, wanted):
    """All files are equal but for the seconds."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in wanted.iterdir())
    for name in (train.MODEL, train.BEST, train.SETTINGS):
        if (wanted / name).exists():
            assert (folder / name).read_bytes() == (wanted / name).read_bytes(), name
    found, other = (read_history(f) for f in (folder, wanted))
    assert found[0] == other[0]
    assert without_seconds(found[1]) == without_seconds(other[1])
    found, other = (load_checkpoint(f / train.CHECKPOINT) for f in (folder, wanted))
    for part in ("parameters", "velocities"):
        for name, array in getattr(other, part).items():
            np.testing.assert_array_equal(getattr(found, part)[name], array, err_msg=name)
    for checkpoint in (found, other):
        progress = checkpoint.state["progress"]
        progress["history"] = without_seconds(progress["history"])
    assert found.state == other.state


# ---- a step -------------------------------------------------------------------------------------------


def a_step(device, variant="modern", batch=16):
    model = mx.models.lenet5(variant, device=device)
    optimizer = mx.SGD(model.parameters(), lr=0.01)
    (x, y), _ = digits()
    return model, optimizer, model.device.asarray(model.prepare(x[:batch])), y[:batch]


def test_a_step_lowers_the_loss_and_counts_the_wrong_answers(device):
    model, optimizer, x, labels = a_step(device)
    logits = mx.to_numpy(model.forward(x))
    scores = train.train_step(model, optimizer, x, labels)
    assert mx.device_of(scores) is device
    loss, right1, right5 = mx.to_numpy(scores)
    order = np.argsort(-logits, axis=1)
    assert right1 == (order[:, 0] == labels).sum()
    assert right5 == (order[:, :5] == labels[:, None]).any(axis=1).sum()
    for _ in range(5):
        last = train.train_step(model, optimizer, x, labels)
    assert float(mx.to_numpy(last)[0]) < loss


def test_a_dead_network_has_no_right_class_among_its_first_five(device):
    model, _, _, labels = a_step(device)
    logits = device.asarray(np.zeros((len(labels), 10), np.float32))
    loss = model.loss.forward(logits, labels)
    scores = train.scores_of(model, logits, device.asarray(labels), loss)
    assert mx.to_numpy(scores)[2] == 0


@pytest.mark.parametrize("variant", ["modern", "1998", "keras"])
@pytest.mark.parametrize("labels_on", ["cpu", "sim:0"])
def test_a_step_never_waits_for_the_device(variant, labels_on):
    model, optimizer, x, labels = a_step("sim:0", variant)
    labels = mx.Device(labels_on).asarray(labels)
    with simdevice.recording() as ledger:
        train.train_step(model, optimizer, x, labels)
    assert ledger.host_syncs == 0


def test_a_step_works_on_a_device_that_is_not_the_current_one():
    on_cpu, on_sim = (a_step(device) for device in ("cpu", "sim:1"))
    for _ in range(2):
        scores = [mx.to_numpy(train.train_step(*one)) for one in (on_cpu, on_sim)]
        np.testing.assert_array_equal(*scores)


def test_labels_on_the_host_are_checked_wherever_the_model_is(device):
    model, optimizer, x, labels = a_step(device)
    with pytest.raises(ValueError, match="label 10 is out of range"):
        train.train_step(model, optimizer, x, np.where(labels == 3, 10, labels))


# ---- few syncs ----------------------------------------------------------------------------------------


def test_an_epoch_reads_its_losses_every_twenty_steps_in_one_transfer_each():
    with simdevice.recording() as ledger:
        run(device="sim:0", epochs=1, batch_size=2, test=False)  # 64 steps
    assert ErrorReport.read_every == 20
    assert ledger.host_syncs == 5  # after 20, 40, 60, 64; and whether all weights are numbers


def test_a_checkpoint_waits_for_the_losses_once_and_for_each_array_once(tmp_path):
    with simdevice.recording() as ledger:
        model, _ = run(tmp_path, device="sim:0", epochs=1, batch_size=8, checkpoint_every=6, test=False)
    arrays = len(model.parameters())
    checkpoints = 3  # after 6, 12 and 16 steps
    assert ledger.host_syncs == checkpoints * (1 + 2 * arrays) + arrays  # at last model.safetensors


# ---- the same numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["keras", "1998"])
@pytest.mark.parametrize("device", ["sim:0", "sim:1"])
@pytest.mark.usefixtures("textbook")
def test_every_device_gives_the_numbers_of_the_cpu(device, variant):
    settings = {"variant": variant, "dropout": 0.0 if variant == "1998" else 0.5, "epochs": 1, "lr": 0.01}
    (on_cpu, history), (other, its_history) = run(**settings), run(device=device, **settings)
    assert_same_parameters(on_cpu, other)
    assert without_seconds(history) == without_seconds(its_history)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    (first, history), (again, its_history), (other, _) = run(seed=1), run(seed=1), run(seed=2)
    assert_same_parameters(first, again)
    assert without_seconds(history) == without_seconds(its_history)
    assert all(
        (p.value != q.value).any() for p, q in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_a_run_with_a_folder_has_the_numbers_of_one_without(tmp_path):
    assert_same_parameters(run(tmp_path, checkpoint_every=1)[0], run()[0])


# ---- stopped and resumed ------------------------------------------------------------------------------


class Stop(Exception):
    """Stands for whatever ends a run."""


@dataclasses.dataclass
class StopsAt:
    """Batches of a run that ends before its n-th step, counted over all epochs."""

    batches: ArrayBatches
    steps_left: int

    def __len__(self):
        return len(self.batches)

    def __getattr__(self, name):
        return getattr(self.batches, name)

    def shuffled(self, epoch, start=0):
        for batch in self.batches.shuffled(epoch, start):
            if self.steps_left == 0:
                raise Stop
            self.steps_left -= 1
            yield batch


def resume(folder, **kwargs):
    """Go on from the folder's checkpoint if there is one, else begin."""
    checkpoint = folder / train.CHECKPOINT
    return run(folder, resume=load_checkpoint(checkpoint) if checkpoint.exists() else None, **kwargs)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder, holdout=20, checkpoint_every=3, batch_size=16)
    return folder


@pytest.mark.parametrize("steps", [1, 3, 5, 7, 8, 11, 15])  # of 8 in each of two epochs
def test_a_run_stopped_anywhere_goes_on_as_if_it_never_stopped(tmp_path, uninterrupted, steps):
    settings = {"holdout": 20, "checkpoint_every": 3, "batch_size": 16}
    with pytest.raises(Stop):
        run(tmp_path, wrap=lambda batches: StopsAt(batches, steps), **settings)
    assert (tmp_path / train.CHECKPOINT).exists() == (steps >= 3)
    resume(tmp_path, **settings)
    assert_same_folder(tmp_path, uninterrupted)


def test_a_run_stopped_again_and_again_goes_on_too(tmp_path, uninterrupted):
    settings = {"holdout": 20, "batch_size": 16}
    for steps, checkpoint_every in ((3, 2), (2, 1), (3, 3), (4, 2)):
        with pytest.raises(Stop):
            resume(
                tmp_path,
                wrap=lambda batches, steps=steps: StopsAt(batches, steps),
                checkpoint_every=checkpoint_every,
                **settings,
            )
    resume(tmp_path, checkpoint_every=3, **settings)
    assert_same_folder(tmp_path, uninterrupted)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_killed_at_any_of_its_writes_goes_on(tmp_path, uninterrupted, monkeypatch, after):
    settings = {"holdout": 20, "checkpoint_every": 3, "batch_size": 16}
    write_whole, writes = weights.write_whole, 0

    def count_down(path, content):
        nonlocal writes
        writes -= 1
        if writes == 0 and not after:
            raise Stop
        write_whole(path, content)
        if writes == 0:
            raise Stop

    def patch(function):
        monkeypatch.setattr(files, "write_whole", function)
        monkeypatch.setattr(history, "write_whole", function)
        monkeypatch.setattr(runs, "write_whole", function)

    for number in range(1, 100):
        folder = tmp_path / str(number)
        writes = number
        patch(count_down)
        try:
            run(folder, **settings)
        except Stop:
            patch(write_whole)
            resume(folder, **settings)
            assert_same_folder(folder, uninterrupted)
        else:
            break
    assert number > 12  # settings, history, six checkpoints, a history and a best for each epoch, the model


@pytest.mark.parametrize("writer", [gone(), "1", "4194304000000"])  # 1: in a container
def test_what_a_killed_run_left_half_written_goes_at_the_next_start(tmp_path, monkeypatch, writer):
    def die(*paths):
        raise Stop

    # As if there were no time left to tidy up.
    monkeypatch.setattr(files.Path, "unlink", lambda *args, **kwargs: None)
    monkeypatch.setattr(files.os, "replace", die)
    with pytest.raises(Stop):
        weights.write_whole(tmp_path / train.CHECKPOINT, b"half")
    monkeypatch.undo()
    (leftover,) = tmp_path.iterdir()
    leftover.rename(tmp_path / leftover.name.replace(str(os.getpid()), writer))
    run(tmp_path, epochs=1)
    assert not list(tmp_path.glob(".*"))


def test_what_a_living_process_is_writing_stays(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        leftover = tmp_path / f".picture.png.{other.pid}.unfinished"
        leftover.touch()
        run(tmp_path, epochs=1)
        assert leftover.exists()
        other.communicate(b"\n")
    resume(tmp_path, epochs=2)
    assert not list(tmp_path.glob(".*"))


def test_a_run_does_not_write_over_another(tmp_path):
    """Neither begun anew, nor gone on with from elsewhere."""
    run(tmp_path / "a", epochs=1)
    run(tmp_path / "b", epochs=1, seed=1)
    before = (tmp_path / "b" / train.MODEL).read_bytes()
    for how in ({}, {"resume": tmp_path / "a"}, {"resume": tmp_path / "a" / train.CHECKPOINT}):
        with pytest.raises(
            ValueError, match=r"b holds a run already \(model.safetensors, checkpoint.safetensors\)"
        ):
            run(tmp_path / "b", epochs=2, **how)
    assert (tmp_path / "b" / train.MODEL).read_bytes() == before
    run(tmp_path / "b", epochs=2, resume=tmp_path / "b", seed=1)
    assert (tmp_path / "b" / train.MODEL).read_bytes() != before


def test_weights_that_someone_kept_are_not_written_over(tmp_path):
    (tmp_path / train.BEST).touch()
    with pytest.raises(ValueError, match=r"holds a run already \(best.safetensors\): name another folder"):
        run(tmp_path, epochs=1)


def test_two_threads_do_not_train_into_one_folder(tmp_path):
    with (
        locked(tmp_path / "out"),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(FolderInUse, match="out is in use by"),
    ):
        pool.submit(run, tmp_path / "out", epochs=1).result()


@pytest.mark.parametrize("schedule", ["constant", "step", "plateau", "cosine"])
def test_every_schedule_goes_on_where_it_was(tmp_path, schedule):
    settings = {"schedule": schedule, "epochs": 4, "holdout": 20, "lr": 1e-3, "dropout": 0.0}
    _, history = run(tmp_path / "a", **settings)
    for steps in (4, 5, 6):  # 4 an epoch
        with pytest.raises(Stop):
            resume(
                tmp_path / "b",
                wrap=lambda batches, n=steps: StopsAt(batches, n),
                checkpoint_every=1,
                **settings,
            )
    resume(tmp_path / "b", **settings)
    assert_same_folder(tmp_path / "b", tmp_path / "a")
    if schedule == "step":
        assert [row["lr"] for row in history] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_a_plateau_remembers_its_drops_over_a_resume(tmp_path):
    settings = {"holdout": 20, "lr": 1e-6}  # so small that nothing improves
    plateau = functools.partial(optim.Plateau, 1e-6, patience=1)
    run(tmp_path, schedule=plateau(), epochs=3, **settings)
    _, history = resume(tmp_path, schedule=plateau(), epochs=4, **settings)
    assert [row["lr"] for row in history] == pytest.approx([1e-6, 1e-6, 1e-7, 1e-8])


def test_a_plateau_that_is_spent_says_so_once_and_not_at_the_end(tmp_path):
    told = []
    settings = {"holdout": 20, "lr": 1e-6, "schedule": optim.Plateau(1e-6, patience=1), "say": told.append}
    run(tmp_path, epochs=5, **settings)
    assert not [line for line in told if "less than a thousandth" in line]
    run(epochs=7, **{**settings, "schedule": optim.Plateau(1e-6, patience=1)})
    (line,) = [line for line in told if "less than a thousandth" in line]
    assert line.startswith("The learning rate is 1e-10 now, less than a thousandth of 1e-06: little will")


@pytest.mark.parametrize(("first", "then"), [("cpu", "sim:0"), ("sim:0", "cpu"), ("sim:0", "sim:1")])
@pytest.mark.usefixtures("textbook")
def test_a_run_goes_on_on_another_device(tmp_path, first, then):
    with pytest.raises(Stop):
        run(tmp_path / "a", device=first, checkpoint_every=1, wrap=lambda batches: StopsAt(batches, 6))
    resume(tmp_path / "a", device=then)
    run(tmp_path / "b")
    assert_same_folder(tmp_path / "a", tmp_path / "b")


def test_a_finished_run_can_be_given_more_epochs(tmp_path):
    run(tmp_path / "a", epochs=1, schedule="constant")
    resume(tmp_path / "a", epochs=2, schedule="constant")
    run(tmp_path / "b", epochs=2, schedule="constant")
    assert_same_folder(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(("first", "then"), [("constant", "plateau"), ("plateau", "cosine")])
def test_the_schedule_may_change_on_a_resume(tmp_path, first, then):
    run(tmp_path, epochs=1, schedule=first, holdout=20)
    _, history = resume(tmp_path, epochs=2, schedule=then, holdout=20)
    assert [row["epoch"] for row in history] == [1, 2]


def test_resuming_another_model_is_refused_and_leaves_the_checkpoint(tmp_path):
    run(tmp_path, epochs=1, variant="modern")
    good = (tmp_path / train.CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors does not fit this model"):
        resume(tmp_path, variant="keras")
    assert (tmp_path / train.CHECKPOINT).read_bytes() == good


# ---- history and results ------------------------------------------------------------------------------


def test_history_has_exactly_these_columns_and_errors_in_percent(tmp_path):
    model, history = run(tmp_path, epochs=2)
    names, rows = read_history(tmp_path)
    assert names == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2"]
    scores = train.evaluate(model, parts(model)[1])
    loss, error = scores.loss, scores.error
    assert (history[-1]["test_loss"], history[-1]["test_error"]) == (loss, error)
    assert float(rows[-1]["test_error"]) == pytest.approx(error, rel=1e-5)
    assert 0 < error <= 100
    wrong = error * 60 / 100
    assert wrong == pytest.approx(round(wrong))
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert (tmp_path / train.HISTORY).read_bytes().count(b"\r") == 0


def test_history_has_two_more_columns_with_a_holdout(tmp_path):
    run(tmp_path, epochs=1, holdout=20)
    names, _ = read_history(tmp_path)
    assert names == [*COLUMNS[:-1], "holdout_loss", "holdout_error", "seconds"]


def test_history_leaves_the_test_empty_where_there_is_none(tmp_path):
    run(tmp_path, epochs=1, test=False)
    names, (row,) = read_history(tmp_path)
    assert names == COLUMNS
    assert row["test_loss"] == row["test_error"] == ""


def test_the_training_loss_is_the_mean_over_the_epochs_pictures():
    still = optim.Constant(0.0)  # does not learn, so that the loss can be computed afterwards
    model, (row,) = run(epochs=1, batch_size=50, dropout=0.0, schedule=still)  # batches of 50, 50, 28
    scores = train.evaluate(model, parts(model)[0])
    loss, error = scores.loss, scores.error
    assert row["train_loss"] == pytest.approx(loss, rel=1e-6)
    assert row["train_error"] == pytest.approx(error)


def test_the_file_says_what_the_history_says(tmp_path):
    _, history = run(tmp_path)
    _, rows = read_history(tmp_path)
    for row, other in zip(history, rows, strict=True):
        assert {name: float(value) for name, value in other.items()} == pytest.approx(row, rel=1e-5)


def test_the_model_file_has_the_parameters_alone(tmp_path):
    model, _ = run(tmp_path)
    found = weights.load(tmp_path / train.MODEL)
    for name, array in weights.export_grouped(model).items():
        np.testing.assert_array_equal(found.pop(name), array)
    assert not found


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_every_epoch_is_a_line_on_the_terminal_and_the_bar_stays_off_where_there_is_none(capfd):
    model = mx.models.lenet5("keras")
    train_on, test_on, held_out = parts(model, holdout=20)
    optimizer = mx.SGD(model.parameters(), lr=0.01)
    train.fit(model, optimizer, optim.Constant(0.01), train_on, test_on, held_out, epochs=2)
    out, err = capfd.readouterr()
    assert [line[:10] for line in out.splitlines()] == ["epoch  1/2", "epoch  2/2"]
    assert all(word in out for word in ("train loss", "holdout loss", "test loss", " %", "lr 0.01"))
    assert err == ""


# ---- nothing is selected on the test set --------------------------------------------------------------


def test_a_plateau_needs_pictures_held_out(tmp_path):
    with pytest.raises(ValueError, match="plateau schedule needs pictures that are held out"):
        run(tmp_path, schedule="plateau")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["train", "holdout", "test"])
def test_pictures_of_other_classes_than_the_models_are_refused_before_a_step(tmp_path, which):
    model = mx.models.lenet5("keras", rng=1)
    model.classes = ["cat", "dog"]
    before = weights.export_grouped(model)
    named = dict(zip(("train", "test", "holdout"), parts(model, holdout=20), strict=True))
    named[which].pictures = type("List", (), {"classes": ["ape", "cat"]})
    arguments = (named["train"], named["test"], named["holdout"])
    with pytest.raises(DataError, match="the model's classes are cat, dog, the pictures' ape, cat"):
        train.fit(
            model, mx.SGD(model.parameters(), 0.1), optim.Constant(0.1), *arguments, epochs=1, folder=tmp_path
        )
    assert all(np.array_equal(array, before[name]) for name, array in weights.export_grouped(model).items())
    assert list(tmp_path.iterdir()) == []
    for read in (train.evaluate, train.evaluate_ten_crop, train.predict):
        with pytest.raises(DataError, match="only the first has dog; only the second has ape"):
            read(model, named[which])


def test_best_is_chosen_by_the_held_out_pictures(tmp_path):
    errors, snapshots = [], []

    class Watched(optim.Cosine):
        def end_of_epoch(self, error):
            errors.append(error)
            snapshots.append(weights.export_grouped(model))

    model = mx.models.lenet5("keras")
    train_on, test_on, held_out = parts(model, holdout=20)
    optimizer = mx.SGD(model.parameters(), lr=0.3)
    train.fit(
        model, optimizer, Watched(0.3, 5), train_on, test_on, held_out, epochs=5, folder=tmp_path,
        report=ErrorReport(say=lambda line: None, bar=False),
    )  # fmt: skip
    best = snapshots[int(np.argmin(errors))]  # the first of the smallest
    for name, array in weights.load(tmp_path / train.BEST).items():
        np.testing.assert_array_equal(array, best[name])


def test_going_on_in_the_middle_of_an_epoch_leaves_the_best_alone(tmp_path):
    settings = {"holdout": 20, "checkpoint_every": 1}
    with pytest.raises(Stop):
        run(tmp_path, wrap=lambda batches: StopsAt(batches, 6), **settings)  # 4 an epoch
    best = (tmp_path / train.BEST).read_bytes()
    with pytest.raises(Stop):
        resume(tmp_path, wrap=lambda batches: StopsAt(batches, 0), **settings)
    assert (tmp_path / train.BEST).read_bytes() == best


def test_without_a_holdout_there_is_no_best(tmp_path):
    run(tmp_path)
    assert not (tmp_path / train.BEST).exists()


def test_the_test_set_changes_nothing_but_its_own_columns(tmp_path):
    settings = {"schedule": "plateau", "holdout": 20, "epochs": 3, "lr": 1e-4}
    (model, history), (other, its_history) = run(**settings), run(test=False, **settings)
    assert_same_parameters(model, other)
    for row, its_row in zip(history, its_history, strict=True):
        assert {k for k in row if row[k] != its_row[k]} == {"test_loss", "test_error", "seconds"}


# ---- NaN ----------------------------------------------------------------------------------------------


class ThenHuge(optim.Constant):
    """A good rate up to some moment, in epochs, and a ruinous one from then on."""

    def __init__(self, at, lr=1e30):
        super().__init__(0.01)
        self.at, self.huge = at, lr

    def __call__(self, epoch):
        return self.lr if epoch < self.at else self.huge


def is_finite(checkpoint):
    arrays = [*checkpoint.parameters.values(), *checkpoint.velocities.values()]
    return all(np.isfinite(array).all() for array in arrays)


@pytest.mark.parametrize("device", ["cpu", "sim:0"])
def test_a_loss_that_is_nan_stops_the_run_and_says_where(tmp_path, device):
    with pytest.raises(NotFinite, match=r"the loss became (nan|inf) in epoch 2 at step (3|4) of 4 .*smaller"):
        run(tmp_path, device=device, schedule=ThenHuge(at=1.25), epochs=3, dropout=0.0)
    checkpoint = load_checkpoint(tmp_path / train.CHECKPOINT)
    assert checkpoint.state["progress"]["epoch"] == 1
    assert is_finite(checkpoint)
    assert len(read_history(tmp_path)[1]) == 1
    assert not (tmp_path / train.MODEL).exists()


@pytest.mark.parametrize("folder", [False, True])
def test_weights_that_are_no_numbers_any_more_stop_a_run_at_its_end(tmp_path, folder):
    x, y = np.ones((4, 2), np.float32), np.arange(4) % 2
    model = mx.Sequential(fc=mx.Linear(2, 2, rng=0))
    where = {"folder": tmp_path / "run"} if folder else {}
    with pytest.raises(NotFinite, match=r"^after epoch 1, fc\.weight has become NaN or infinite"):
        train.fit(model, x, y, loss=mx.SoftmaxCrossEntropy(), lr=1e40, epochs=1, report=False, **where)


@pytest.mark.parametrize("lr", [0.1, 0.0])
def test_a_picture_that_is_no_number_is_blamed_and_not_the_rate(lr):
    x, y = np.ones((8, 2), np.float32), np.arange(8) % 2
    x[5, 1] = np.nan
    model = mx.Sequential(fc=mx.Linear(2, 2, rng=0))
    batches = ArrayBatches(x, y, 2)
    with pytest.raises(
        NotFinite, match=r"in epoch 1 at step \d of 4 .*: picture 5 has a number that is NaN or inf"
    ):
        train.fit(
            model, mx.SGD(model.parameters(), lr), optim.Constant(lr), batches, epochs=1,
            loss=mx.SoftmaxCrossEntropy(), report=False,
        )  # fmt: skip


def test_pictures_that_are_prepared_to_nan_are_blamed():
    x, y = np.zeros((8, 2), np.uint8), np.arange(8) % 2
    model = mx.Sequential(fc=mx.Linear(2, 2, rng=0))
    batches = ArrayBatches(x, y, 2, prepare=lambda x: np.log(x.astype(np.float32)))
    with pytest.raises(NotFinite, match="a picture, as it is prepared, has a number that is NaN or infinite"):
        train.fit(
            model, mx.SGD(model.parameters(), 0.1), optim.Constant(0.1), batches, epochs=1,
            loss=mx.SoftmaxCrossEntropy(), report=False,
        )  # fmt: skip


@pytest.mark.parametrize("variant", ["modern", "1998"])
def test_a_checkpoint_in_the_middle_never_holds_nan(tmp_path, variant):
    with pytest.raises(NotFinite, match=r"in epoch 1|of epoch 1"):
        run(
            tmp_path,
            variant=variant,
            schedule=ThenHuge(at=0.5),
            checkpoint_every=1,
            batch_size=16,
            dropout=0.0,
        )
    assert is_finite(load_checkpoint(tmp_path / train.CHECKPOINT))


def test_weights_ruined_by_an_epochs_last_step_are_not_saved(tmp_path):
    run(tmp_path, epochs=1, dropout=0.0, schedule="constant")
    with pytest.raises(NotFinite, match=r"after epoch 2, .*(weight|bias) has become NaN or infinite"):
        resume(tmp_path, schedule=ThenHuge(at=1.75, lr=1e60), dropout=0.0, holdout=20)
    checkpoint = load_checkpoint(tmp_path / train.CHECKPOINT)
    assert checkpoint.state["progress"]["epoch"] == 1
    assert is_finite(checkpoint)
    assert not (tmp_path / train.BEST).exists()


def test_after_nan_the_run_goes_on_with_a_smaller_rate(tmp_path):
    with pytest.raises(NotFinite):
        run(tmp_path, schedule=ThenHuge(at=1))
    _, history = resume(tmp_path, schedule=optim.Constant(0.01))
    assert [row["epoch"] for row in history] == [1, 2]


class Falling(optim.Constant):
    """Ruinous, and another rate at each step."""

    def __call__(self, epoch):
        return self.lr * 0.5 ** (8 * epoch)


@pytest.mark.parametrize("checkpoint_every", [0, 1, 3])
@pytest.mark.parametrize("lr", [1e8, 1e20, 1e30])
def test_a_message_has_the_rate_of_the_step_that_it_is_about(checkpoint_every, lr):
    """Scores are read up to 20 steps later."""
    settings = {"batch_size": 16, "dropout": 0.0, "checkpoint_every": checkpoint_every}
    with pytest.raises(NotFinite) as stopped:
        run(schedule=Falling(lr), **settings)
    step, rate = re.search(r"at step (\d+)\D.*?learning rate ([\d.e+]+)\)", str(stopped.value)).groups()
    assert rate == f"{lr * 0.5 ** (int(step) - 1):.4g}"
    assert int(step) < 8


def test_a_log_line_has_the_rate_of_its_last_step():
    class Watched(ErrorReport):
        read_every = 3

        def look(self, pace):
            seen.append((pace.step, pace.lr))

    seen = []
    model = mx.models.lenet5("keras")
    train_on, *_ = parts(model, batch_size=16)
    optimizer = mx.SGD(model.parameters(), lr=0.1)
    train.fit(
        model, optimizer, Falling(1e-3), train_on, epochs=1, report=Watched(say=lambda line: None, bar=False)
    )
    assert seen == [(step, 1e-3 * 0.5 ** (step - 1)) for step in (3, 6, 8)]


# ---- exploded, but finite -----------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "sim:0"])
@pytest.mark.parametrize("variant", ["modern", "1998", "keras"])
def test_an_epoch_with_twice_the_first_loss_ends_the_run(tmp_path, variant, device):
    with pytest.raises(Diverged) as stopped:
        run(tmp_path, variant=variant, device=device, dropout=0.0, schedule=optim.Constant(30.0))
    quoted = re.search(r"epoch 1 is ([\d.e+]+), more than twice the ([\d.]+) ", str(stopped.value)).groups()
    mean, start = map(float, quoted)
    model = mx.models.lenet5(variant)
    x, labels = next(parts(model)[0].shuffled(0))
    assert start == float(f"{model.loss.forward(model.forward(x), labels):.4g}")
    assert mean > 2 * start
    assert "No epoch has ended well before, so there is no good.safetensors: begin anew" in str(stopped.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [train.HISTORY, train.SETTINGS]


@pytest.mark.parametrize("checkpoint_every", [0, 1])
@pytest.mark.parametrize("lr", [30, 1000, 1e30])
@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_the_last_good_checkpoint_stays_and_goes_on_with_the_bits_of_a_run_that_never_exploded(
    tmp_path, schedule, lr, checkpoint_every
):
    settings = {"holdout": 20, "epochs": 3, "schedule": schedule}
    run(tmp_path / "wanted", **settings)
    run(tmp_path / "out", **{**settings, "epochs": 2})
    before = (tmp_path / "out" / train.CHECKPOINT).read_bytes()
    good = tmp_path / "out" / train.GOOD
    for _ in range(2):  # the second time from a checkpoint that may be spoiled
        with pytest.raises(NotFinite) as stopped:
            resume(
                tmp_path / "out",
                **{**settings, "schedule": optim.Constant(lr)},
                checkpoint_every=checkpoint_every,
            )
        assert good.read_bytes() == before
        assert f"{good} is from before, of epoch 2 with a loss of " in str(stopped.value)
        assert f"go on with --resume {good} and a smaller --lr" in str(stopped.value)
    checkpoint = load_checkpoint(good)
    assert (
        checkpoint.state["progress"]["history"][-1]["train_loss"] < checkpoint.state["progress"]["start_loss"]
    )
    run(tmp_path / "out", resume=checkpoint, **settings)
    assert_same_folder(tmp_path / "out", tmp_path / "wanted")


def test_a_checkpoint_of_an_epoch_that_went_well_until_just_before_is_not_called_safe(tmp_path, monkeypatch):
    """Its mean so far is below the limit; that of the last steps is not."""
    monkeypatch.setattr(ErrorReport, "read_every", 2)
    settings = {"batch_size": 8, "epochs": 1, "dropout": 0.0, "checkpoint_every": 15}  # of 16 steps
    with pytest.raises(Stop):
        run(
            tmp_path,
            schedule=ThenHuge(at=13 / 16, lr=5.0),
            wrap=lambda batches: StopsAt(batches, 15),
            **settings,
        )
    progress = load_checkpoint(tmp_path / train.CHECKPOINT).state["progress"]
    assert progress["scores"]["loss_sum"] / progress["scores"]["seen"] < progress["limit"]
    assert "made while training exploded" in runs.advice_when_stopped(tmp_path)


def test_good_is_the_newest_epoch_below_the_first_loss(tmp_path):
    """It is kept while later epochs are worse, and no worse than they may be."""

    class Worse(optim.Constant):
        def __call__(self, epoch):
            return self.lr if epoch < 2 else 3.0 if epoch < 3 else 1e6

    with pytest.raises(NotFinite):
        run(tmp_path, schedule=Worse(0.05), epochs=9, dropout=0.0, variant="modern")
    good, last = (
        load_checkpoint(tmp_path / name).state["progress"] for name in (train.GOOD, train.CHECKPOINT)
    )
    losses = [row["train_loss"] for row in last["history"]]
    below = [epoch for epoch, loss in enumerate(losses, 1) if loss < last["start_loss"]]
    assert good["epoch"] == below[-1]
    assert all(loss <= 2 * last["start_loss"] for loss in losses)


def test_a_run_that_ends_well_needs_no_good_checkpoint_besides(tmp_path):
    seen = []

    class Watched(optim.Constant):
        def __call__(self, epoch):
            seen.append((tmp_path / train.GOOD).exists())
            return self.lr

    run(tmp_path, schedule=Watched(0.05), epochs=2)
    assert True in seen
    assert not (tmp_path / train.GOOD).exists()


def test_a_new_run_takes_no_other_runs_checkpoint_for_its_own(tmp_path):
    run(tmp_path / "another", epochs=2)
    for name in ("out", "elsewhere"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "another" / train.CHECKPOINT, tmp_path / name / train.GOOD)
    with pytest.raises(Diverged, match="No epoch has ended well before"):
        run(tmp_path / "out", schedule=optim.Constant(30.0))
    run(tmp_path / "first", epochs=1)
    before = (tmp_path / "first" / train.CHECKPOINT).read_bytes()
    checkpoint = load_checkpoint(tmp_path / "first" / train.CHECKPOINT)
    with pytest.raises(Diverged):
        run(tmp_path / "elsewhere", resume=checkpoint, schedule=optim.Constant(30.0))
    assert (tmp_path / "elsewhere" / train.GOOD).read_bytes() == before


def test_an_epoch_that_cannot_become_good_any_more_ends_at_the_next_look():
    model = mx.models.lenet5("keras")
    train_on, *_ = parts(model, batch_size=2)  # 64 steps
    optimizer, steps = mx.SGD(model.parameters(), lr=1.0), []

    class Watched(ErrorReport):
        def step(self):
            steps.append(0)

    with pytest.raises(
        Diverged, match=r"after 20 steps of epoch 1 the mean is .*, which makes the epoch's, whatever"
    ):
        train.fit(model, optimizer, optim.Constant(1e4), train_on, epochs=1, report=Watched(bar=False))
    assert len(steps) == 20


@dataclasses.dataclass
class Confusing:
    """Batches of which all but the first have a picture with another label."""

    batches: ArrayBatches

    def __len__(self):
        return len(self.batches)

    def shuffled(self, epoch, start=0):
        for number, (x, labels) in enumerate(self.batches.shuffled(epoch, start), start):
            labels[0] = (labels[0] + (number > 0)) % 10
            yield x, labels


def test_a_trained_network_may_begin_near_0(tmp_path):
    """Its loss may become ten times as large, and is small still."""
    model = mx.models.lenet5("modern")
    train_on, *_ = parts(model)
    optimizer, quiet = mx.SGD(model.parameters(), lr=0.05), {"report": ErrorReport(say=list, bar=False)}
    train.fit(model, optimizer, optim.Constant(0.05), train_on, epochs=12, **quiet)
    history = train.fit(
        model, optimizer, optim.Constant(0.0), Confusing(train_on), epochs=1, folder=tmp_path, **quiet
    )
    start = load_checkpoint(tmp_path / train.CHECKPOINT).state["progress"]["start_loss"]
    assert history[0]["train_loss"] > 10 * start
    with pytest.raises(Diverged, match=r"more than 2\.878; before the first step it was"):
        train.fit(model, optimizer, optim.Constant(30), train_on, epochs=1, **quiet)


@dataclasses.dataclass
class Ruined:
    """Batches with a picture of infinite ink in them."""

    batches: ArrayBatches

    def in_order(self):
        for x, labels in self.batches.in_order():
            x[-1, 0, 5, 5] = np.nan
            yield x, labels


@pytest.mark.parametrize("which", ["test", "holdout"])
@pytest.mark.parametrize("folder", [True, False])
def test_a_loss_that_is_nan_on_other_pictures_stops_the_run(tmp_path, which, folder):
    model = mx.models.lenet5("modern")
    train_on, test_on, held_out = parts(model, holdout=20)
    sets = {"test": test_on, "holdout": held_out}
    sets[which] = Ruined(sets[which])
    optimizer = mx.SGD(model.parameters(), lr=0.05)
    where = {"test": "the test set", "holdout": "the pictures that are held out"}[which]
    with pytest.raises(NotFinite, match=f"^after epoch 1, the loss on {where} is nan: "):
        train.fit(
            model, optimizer, optim.Constant(0.05), train_on, **sets, epochs=2, folder=tmp_path if folder else None,
            report=ErrorReport(say=lambda line: None, bar=False),
        )  # fmt: skip
    assert not (tmp_path / train.CHECKPOINT).exists()


def test_weights_ruined_by_the_last_step_are_named_without_a_folder_too():
    with pytest.raises(NotFinite, match=r"after epoch 1, .*(weight|bias) has become NaN or infinite"):
        run(epochs=1, schedule=ThenHuge(at=0.75, lr=1e60), dropout=0.0)


# ---- what may change where a run goes on --------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "step", "plateau", "cosine"])
@pytest.mark.parametrize("steps", [8, 10])  # at an epoch's end, and in its middle
def test_the_rates_that_are_said_and_recorded_are_those_that_run(tmp_path, monkeypatch, schedule, steps):
    def watched(model, optimizer, x, labels):
        rates.append(optimizer.lr)
        return step(model, optimizer, x, labels)

    step, rates = train.train_step, []
    old = {"holdout": 20, "lr": 1e-6, "epochs": 4}
    plateau = schedule == "plateau"
    first = optim.Plateau(1e-6, patience=1) if plateau else schedule
    with pytest.raises(Stop):
        run(tmp_path, schedule=first, wrap=lambda b: StopsAt(b, steps), checkpoint_every=1, **old)
    monkeypatch.setattr(train, "train_step", watched)
    wanted = optim.Plateau(0.02, patience=1) if plateau else optim.make_schedule(schedule, 0.02, 6)
    said = []
    model = mx.models.lenet5("keras", dropout=0.5)
    train_on, _, held_out = parts(model, holdout=20)
    history = train.fit(
        model, mx.SGD(model.parameters(), lr=0.02), wanted, train_on, holdout=held_out, epochs=6,
        resume=load_checkpoint(tmp_path / train.CHECKPOINT), report=ErrorReport(say=said.append, bar=False),
    )  # fmt: skip
    fresh = optim.make_schedule(schedule, 0.02, 6)
    assert rates[0] == fresh(steps / 4)
    assert f"{rates[0]:.4g} here" in said[0]
    assert repr(wanted) in said[0]
    for row, lr in zip(history[3:], rates[4 * 3 - steps :: 4], strict=True):
        assert row["lr"] == lr


def of_before(checkpoint):
    """As checkpoints were before schedules said what they belong to, and runs where they began."""
    state = json.loads(json.dumps(checkpoint.state))
    state.pop("schedule_settings")
    for name in ("kind", "lr"):
        state["schedule"].pop(name, None)
    for name in ("recent_loss", "start_loss", "limit", "broke", "good"):
        state["progress"].pop(name)
    return dataclasses.replace(checkpoint, state=state)


@pytest.mark.parametrize("schedule", ["constant", "step", "plateau", "cosine"])
@pytest.mark.parametrize("steps", [3, 8, 10])
def test_an_older_checkpoint_goes_on_as_if_it_never_stopped(tmp_path, schedule, steps):
    settings = {"schedule": schedule, "holdout": 20, "epochs": 4}
    model, history = run(**settings)
    with pytest.raises(Stop):
        run(tmp_path, wrap=lambda batches: StopsAt(batches, steps), checkpoint_every=1, **settings)
    checkpoint = of_before(load_checkpoint(tmp_path / train.CHECKPOINT))
    other, its_history = run(tmp_path, resume=checkpoint, **settings)
    assert_same_parameters(model, other)
    assert without_seconds(history) == without_seconds(its_history)


def test_an_older_plateau_forgets_its_drops_where_its_runs_settings_say_another_rate(tmp_path):
    def plateau(lr):
        return optim.Plateau(lr, patience=1)

    model = mx.models.lenet5("keras", dropout=0.5)
    optimizer = mx.SGD(model.parameters(), lr=1e-6)
    train_on, _, held_out = parts(model, holdout=20)
    quiet = {"report": ErrorReport(say=lambda line: None, bar=False), "holdout": held_out, "folder": tmp_path}
    train.fit(model, optimizer, plateau(1e-6), train_on, epochs=3, settings={"lr": 1e-6}, **quiet)
    old = of_before(load_checkpoint(tmp_path / train.CHECKPOINT))
    assert old.state["schedule"]["drops"] > 0
    for lr, rate in ((1e-6, 1e-6 * 0.1 ** old.state["schedule"]["drops"]), (0.05, 0.05)):
        schedule = plateau(lr)
        history = train.fit(
            model, optimizer, schedule, train_on, epochs=4, settings={"lr": lr}, resume=old, **quiet
        )
        assert history[-1]["lr"] == rate


# ---- evaluate and predict -----------------------------------------------------------------------------


def test_evaluation_is_a_mean_over_pictures_not_over_batches(device):
    model = mx.models.lenet5("keras", dropout=0.5, device=device)
    _, test, _ = parts(model)  # batches of 25, 25, 10
    logits, labels = train.predict(model, test)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    scores = train.evaluate(model, test)
    loss, error = scores.loss, scores.error
    assert loss == pytest.approx(-log_share[np.arange(60), labels].mean(), rel=1e-5)
    assert error == pytest.approx(100 * (logits.argmax(axis=1) != labels).mean())


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_drops_nothing_and_puts_the_mode_back(training):
    model = mx.models.lenet5("keras", dropout=0.5).train(training)
    _, test, _ = parts(model)
    assert train.evaluate(model, test) == train.evaluate(model, test)
    assert model.training is model["c5_dropout"].training is training
    assert model["c5_dropout"].step == 0


def test_prediction_gives_all_logits_in_order():
    model = mx.models.lenet5("keras")
    _, test, _ = parts(model)
    logits, labels = train.predict(model, test)
    np.testing.assert_array_equal(labels, test.labels)
    np.testing.assert_allclose(logits, model.forward(model.prepare(test.pictures)), rtol=1e-4, atol=1e-5)


# ---- load_run -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(folder, epochs=1)
    return folder


@pytest.mark.parametrize("name", ["", train.MODEL, train.CHECKPOINT])
def test_a_run_is_loaded_from_its_folder_or_one_of_its_files(folder, name):
    arrays, settings = runs.load_run(folder / name)
    assert settings["variant"] == "keras"
    weights.import_grouped(mx.models.lenet5("keras"), arrays)


def test_a_run_that_goes_on_is_loaded_from_its_checkpoint(folder, tmp_path):
    (tmp_path / train.CHECKPOINT).write_bytes((folder / train.CHECKPOINT).read_bytes())
    arrays, settings = runs.load_run(tmp_path)
    assert settings["variant"] == "keras"
    assert set(arrays) == set(weights.load(folder / train.MODEL))


def test_a_weight_file_alone_says_its_network_and_nothing_else(folder, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes((folder / train.MODEL).read_bytes())
    network = {"variant": "keras", "activation": "tanh", "dropout": 0.5}
    assert runs.load_run(tmp_path / "mine.safetensors")[1] == network
    (tmp_path / train.SETTINGS).write_text(
        '{"variant": "modern", "seed": 5, "data": "elsewhere"}'
    )  # another run's
    assert runs.load_run(tmp_path / "mine.safetensors")[1] == network
    (tmp_path / train.SETTINGS).write_text('{"variant": "keras", "seed": 5, "data": "elsewhere"}')
    assert runs.load_run(tmp_path / "mine.safetensors")[1] == {**network, "seed": 5, "data": "elsewhere"}
    (tmp_path / train.SETTINGS).unlink()
    weights.save(tmp_path / "mine.safetensors", weights.load(folder / train.MODEL))  # without its record
    assert runs.load_run(tmp_path / "mine.safetensors")[1] == {}


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"holds neither model\.safetensors nor checkpoint.*train first"
    ):
        runs.load_run(tmp_path)


def test_damaged_settings_are_named(folder, tmp_path):
    (tmp_path / train.MODEL).write_bytes((folder / train.MODEL).read_bytes())
    (tmp_path / train.SETTINGS).write_text('{"variant": ')
    with pytest.raises(CheckpointError, match=r"settings\.json is damaged"):
        runs.load_run(tmp_path)


def test_settings_are_kept_as_json(folder):
    assert json.loads((folder / train.SETTINGS).read_text()) == {"variant": "keras", "activation": "tanh"}


# ---- it learns ----------------------------------------------------------------------------------------


def learn(variant, pictures, epochs, lr, batch_size=32, **options):
    """The test error after a short training."""
    (x, y), (test_x, test_y) = pictures
    model = mx.models.lenet5(variant, **options)
    optimizer = mx.SGD(model.parameters(), lr=lr, momentum=0.9)
    train_on = ArrayBatches(x, y, batch_size, prepare=model.prepare)
    test_on = ArrayBatches(test_x, test_y, 500, prepare=model.prepare)
    history = train.fit(
        model,
        optimizer,
        optim.Cosine(lr, epochs),
        train_on,
        test_on,
        epochs=epochs,
        report=ErrorReport(bar=False),
    )
    assert all(math.isfinite(row["train_loss"]) for row in history)
    return history[-1]["test_error"]


@pytest.fixture(scope="module")
def more_digits():
    return load_drawn_digits(train=1500, test=300)


@pytest.mark.parametrize(
    ("variant", "activation", "lr", "error"),
    [("modern", "tanh", 0.03, 16), ("modern", "relu", 0.02, 25), ("1998", "tanh", 2e-3, 35)],
)
def test_lenet_learns_drawn_digits_in_a_few_hundred_steps(more_digits, variant, activation, lr, error):
    assert learn(variant, more_digits, epochs=4, lr=lr, activation=activation) < error  # guessing: 90


@pytest.mark.slow
def test_lenet_learns_mnist(real_data):
    (x, y), test = mx.data.load_mnist(real_data, download=False)
    assert learn("modern", ((x[:12_000], y[:12_000]), test), epochs=2, lr=0.05, batch_size=64) < 3.5


# ---- going on elsewhere, going back, going on with others ----


def test_a_run_that_goes_on_elsewhere_can_be_resumed_there_before_its_first_checkpoint(tmp_path):
    run(tmp_path / "a", epochs=2)
    checkpoint = load_checkpoint(tmp_path / "a" / train.CHECKPOINT)
    with pytest.raises(Stop):
        run(tmp_path / "b", epochs=3, resume=checkpoint, wrap=lambda batches: StopsAt(batches, 1))
    again = load_checkpoint(tmp_path / "b" / train.CHECKPOINT)
    assert again.state["progress"]["epoch"] == 2
    _, history = run(tmp_path / "b", epochs=3, resume=again)
    assert [row["epoch"] for row in history] == [1, 2, 3]


@pytest.mark.parametrize("errors", [[30.0, 20.0, 10.0], [10.0, 20.0, 30.0]])
def test_the_best_weights_of_a_future_that_is_given_up_do_not_stay(tmp_path, errors):
    run(tmp_path, epochs=1, holdout=20)
    early, best = load_checkpoint(tmp_path / train.CHECKPOINT), tmp_path / train.BEST
    right, arrays, said = best.read_bytes(), weights.load(best), []
    head, row = (tmp_path / train.HISTORY).read_text().splitlines()
    rows = [row.split(",") for _ in errors]
    for cells, error in zip(rows, errors, strict=True):
        cells[head.split(",").index("holdout_error")] = str(error)
    (tmp_path / train.HISTORY).write_text("\n".join([head, *map(",".join, rows)]) + "\n")
    weights.save(best, {name: array + 1 for name, array in arrays.items()})
    run(tmp_path, epochs=1, holdout=20, resume=early, say=said.append)
    assert best.read_bytes() == right  # the first epoch's is the best, and made again
    assert ("which is given up" in "".join(map(str, said))) == (errors[-1] == 10.0)


def test_other_pictures_in_the_middle_of_an_epoch_are_said(tmp_path):
    with pytest.raises(Stop):
        run(tmp_path, epochs=2, checkpoint_every=3, batch_size=16, wrap=lambda batches: StopsAt(batches, 4))
    checkpoint, said = load_checkpoint(tmp_path / train.CHECKPOINT), []
    run(tmp_path, epochs=1, batch_size=32, resume=checkpoint, say=said.append)
    assert any(
        "was to have 8 steps and has 4 now, since the pictures or the batches are others" in str(line)
        for line in said
    )


def half_of_an_epoch(folder, **how):
    x, y = np.ones((12, 2), np.float32), np.arange(12) % 2
    model = mx.Sequential(fc=mx.Linear(2, 2, rng=0))
    wrap, kwargs = how.pop("wrap", lambda batches: batches), {"momentum": how.pop("momentum", 0.9)}
    kwargs["weight_decay"] = how.pop("weight_decay", 0.0)
    batches, lines = ArrayBatches(x, y, 4, seed=how.pop("seed", 0)), []
    report = ErrorReport(say=lambda line: lines.append(str(line)), bar=False)
    history = train.fit(
        model, mx.SGD(model.parameters(), 0.1, **kwargs), optim.Constant(0.1), wrap(batches), folder=folder,
        checkpoint_every=1, loss=mx.SoftmaxCrossEntropy(), report=report, **how,
    )  # fmt: skip
    return history, lines


def test_another_order_in_the_middle_of_an_epoch_is_refused_and_the_checkpoint_stays(tmp_path):
    with pytest.raises(Stop):
        half_of_an_epoch(tmp_path, epochs=2, wrap=lambda batches: StopsAt(batches, 2))
    kept = (tmp_path / train.CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=r"made, in the order of seed 0; with seed 7 .*: go on with seed=0$"):
        half_of_an_epoch(tmp_path, epochs=2, seed=7, resume=tmp_path)
    assert (tmp_path / train.CHECKPOINT).read_bytes() == kept
    _, lines = half_of_an_epoch(tmp_path, epochs=2, resume=tmp_path, momentum=0.5, weight_decay=0.01)
    assert "momentum was 0.9, and is 0.5 from here on." in lines
    assert "weight_decay was 0.0, and is 0.01 from here on." in lines


def test_after_an_epoch_another_order_is_said(tmp_path):
    half_of_an_epoch(tmp_path, epochs=1)
    _, lines = half_of_an_epoch(tmp_path, epochs=2, seed=7, resume=tmp_path)
    assert "seed was 0, and is 7 from here on." in lines
    _, lines = half_of_an_epoch(tmp_path, epochs=3, seed=7, resume=tmp_path)
    assert not any(" was " in line for line in lines)  # as it was at last


def test_where_nothing_is_left_to_train_that_is_said(tmp_path):
    wanted, _ = half_of_an_epoch(tmp_path, epochs=2)
    history, lines = half_of_an_epoch(tmp_path, epochs=1, resume=tmp_path)
    assert len(history) == len(wanted) == 2
    assert "Nothing is left to train: 2 epochs have been, and epochs is 1." in lines


# ---- what lies in the folder, and what goes along into another one ----


def fitted(folder, epochs, resume=None, holdout=True):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 4), dtype=np.float32), np.arange(20) % 2
    model = mx.Sequential(fc=mx.Linear(4, 2, rng=1))
    held = {"holdout": (x[:6], 1 - y[:6])} if holdout else {}  # it gets worse at these while it learns
    loss = mx.SoftmaxCrossEntropy()
    return train.fit(
        model, x, y, lr=0.5, epochs=epochs, loss=loss, folder=folder, resume=resume, report=False, **held
    )


def test_a_run_writes_over_no_file_of_somebody_else(tmp_path):
    for name, text in (
        (runs.SETTINGS, '{"editor.fontSize": 14}'),
        (runs.HISTORY, "mine"),
        (runs.GOOD, "mine"),
    ):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(ValueError, match=f"has a file that is no run's, {name}: name another folder"):
            fitted(folder, 1)
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, text)]


def test_the_best_epoch_goes_along_into_another_folder(tmp_path):
    rows = fitted(tmp_path / "a", 3)
    assert min(rows, key=lambda row: row["holdout_error"])["epoch"] == 1
    fitted(tmp_path / "b", 4, resume=tmp_path / "a")
    assert (tmp_path / "b" / runs.BEST).read_bytes() == (tmp_path / "a" / runs.BEST).read_bytes()
    fitted(tmp_path / "a", 4, resume=tmp_path / "a")
    assert (tmp_path / "b" / runs.HISTORY).read_text().count("\n") == 5
