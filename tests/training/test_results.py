"""Which results of a finished run are missing, or cannot be read."""

import json
import shutil

import numpy as np
import pytest

import minialex as mx
from minialex import optim, train, weights
from minialex.data.loader import ArrayBatches
from minialex.training import results
from minialex.training.checkpoint import load_checkpoint
from minialex.training.reports import AccuracyReport, ErrorReport

PICTURES = ["curves.png", "other.png"]


class Rising(ErrorReport):
    """Errors that only grow: the first epoch is the best."""

    def held_out_error(self, row):
        return row["epoch"]


def make_run(folder, report):
    rng = np.random.default_rng(0)
    model = mx.models.lenet5("keras", rng=0)
    pictures, labels = rng.integers(0, 256, (40, 1, 28, 28), dtype=np.uint8), np.arange(40) % 10
    batches = ArrayBatches(pictures, labels, 20, prepare=model.prepare)
    held = {"holdout": batches}
    optimizer, settings = mx.SGD(model.parameters(), 0.01), {"lr": 0.01, "variant": "keras", "epochs": 3}
    history = train.fit(
        model, optimizer, optim.Constant(0.01), batches, batches, **held, epochs=3, folder=folder, report=report,
        settings=settings,
    )  # fmt: skip
    for name in PICTURES:
        mx.plot.lines({name: ([1, 2, 3], [row["train_loss"] for row in history])}, path=folder / name)
    weights.save(
        folder / train.BEST.replace("best", "input"), dict.fromkeys(("mean", "values", "vectors"), np.ones(3))
    )
    return folder


class Falling(Rising):
    def held_out_error(self, row):
        return -row["epoch"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("falling") / "out", Falling(say=lambda line: None, bar=False))


@pytest.fixture(scope="module")
def best_was_the_first(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("rising") / "out", Rising(say=lambda line: None, bar=False))


def flaws(folder, report=Falling, **options):
    checkpoint = load_checkpoint(folder / train.CHECKPOINT)
    return results.flaws(folder, checkpoint, report(), PICTURES, measured=True, **options)


def test_a_complete_run_has_no_flaws(finished, best_was_the_first):
    assert flaws(finished) == {}
    assert flaws(best_was_the_first, Rising) == {}


def remove(path):
    path.unlink()


def make_empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_noise(path):
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size))


def make_a_folder(path):
    path.unlink()
    path.mkdir()


FILES = [train.MODEL, train.HISTORY, train.SETTINGS, train.BEST, "input.safetensors", *PICTURES]


@pytest.mark.parametrize("harm", [remove, make_empty, cut, halve, write_noise, make_a_folder])
@pytest.mark.parametrize("name", FILES)
def test_each_result_that_is_missing_or_cannot_be_read_is_named_alone(finished, tmp_path, name, harm):
    folder = shutil.copytree(finished, tmp_path / "out")
    harm(folder / name)
    assert list(flaws(folder)) == [name]


def test_a_picture_cut_anywhere_or_with_a_wrong_byte_is_noticed(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    whole = (folder / "curves.png").read_bytes()
    for size in [*range(0, len(whole), 997), *range(len(whole) - 20, len(whole))]:
        (folder / "curves.png").write_bytes(whole[:size])
        assert list(flaws(folder)) == ["curves.png"], size
    for place in range(0, len(whole), 1499):
        wrong = bytearray(whole)
        wrong[place] ^= 16
        (folder / "curves.png").write_bytes(wrong)
        assert list(flaws(folder)) == ["curves.png"], place


def test_other_weights_and_rows_than_the_checkpoints_are_noticed(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    arrays = weights.load(folder / train.MODEL)
    arrays["output.bias"][3] += 1e-6
    weights.save(folder / train.MODEL, arrays)
    lines = (folder / train.HISTORY).read_text().splitlines(keepends=True)
    (folder / train.HISTORY).write_text("".join(lines[:-1]))
    assert flaws(folder) == {
        train.MODEL: "has other weights than the checkpoint",
        train.HISTORY: "has other rows than the checkpoint",
    }
    del arrays["output.bias"]
    weights.save(folder / train.MODEL, arrays)
    assert flaws(folder)[train.MODEL] == "has the weights of another network"


def test_settings_may_be_newer_where_they_may_change(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    settings = json.loads((folder / train.SETTINGS).read_text())
    (folder / train.SETTINGS).write_text(json.dumps({**settings, "lr": 0.5}))
    assert list(flaws(folder)) == [train.SETTINGS]
    assert not flaws(folder, may_change={"lr"})


@pytest.mark.parametrize("harm", [remove, make_empty, cut, write_noise])
def test_a_best_epoch_that_cannot_be_made_again_is_told_not_promised(best_was_the_first, tmp_path, harm):
    folder = shutil.copytree(best_was_the_first, tmp_path / "out")
    checkpoint = load_checkpoint(folder / train.CHECKPOINT)
    assert results.lost_best(folder, checkpoint, Rising()) is None
    harm(folder / train.BEST)
    assert flaws(folder, Rising) == {}
    told = results.lost_best(folder, checkpoint, Rising())
    assert "It had the weights of epoch 1, the checkpoint has those of epoch 3" in told
    assert results.lost_best(folder, checkpoint, Falling()) is None  # the last was best: that is made again


def test_a_run_without_held_out_pictures_has_no_best(finished):
    checkpoint = load_checkpoint(finished / train.CHECKPOINT)

    class Without(ErrorReport):
        def held_out_error(self, row):
            return None

    assert results._best_epoch(checkpoint, Without()) is None
    assert AccuracyReport().held_out_error({"val_acc1": 40}) == 60
