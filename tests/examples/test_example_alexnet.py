"""examples/alexnet_imagenet.py as its users run it, on a tiny network and a handful of pictures.

Most tests call the program inside this process; those that kill it run it as a process of its own.
"""

import csv
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import running
from PIL import Image
from running import EXAMPLES, finish, load_program, run_here, wait_until
from threadpoolctl import threadpool_limits

import minialex as mx
from minialex import __main__ as command_line
from minialex import plot, train, weights
from minialex.data.augment import Colour, Prepare
from minialex.data.folder import GROUND_TRUTH, find_pictures
from minialex.data.loader import PictureBatches
from minialex.devices.device import cuda_count
from minialex.training import exit_runs, picture_settings, run_pictures, runs
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.training.command_line import friendly, this_program
from minialex.weights import files, seal

PROGRAM = EXAMPLES / "alexnet_imagenet.py"
COLUMNS = "epoch lr train_loss train_acc1 val_loss val_acc1 val_acc5 images_per_second seconds".split()
LOG_LINE = re.compile(
    r"Epoch \[(\d+)\]\[(\d+)/(\d+)\] data \d+\.\d\ds step \d+\.\d\ds loss \d+\.\d+ "
    r"Acc@1 \d+\.\d Acc@5 \d+\.\d lr [\d.e-]+"
)
CLASSES = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}
TRAIN, VAL, STEPS = 36, 15, 9  # pictures, and steps in an epoch

TINY = {"width": 0.0625, "image_size": 67, "side": 72, "init": "he", "scale": 1 / 64}
SMALL = "--epochs 2 -b 4 -j 2 -p 4 --lr 0.005 --lr-scheduler cosine --seed 3 --devices cpu".split()
OF_TESTS = "-b 4 -j 2 --devices cpu".split()  # those of them that -e takes
posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


# ---- running it ---------------------------------------------------------------------------------------


alexnet_imagenet = load_program(PROGRAM)


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """Its networks."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in TINY.items():
            patch.setitem(picture_settings.DEFAULTS, name, value)
            patch.setitem(picture_settings.SIZES_OF_SMALL_ALEXNET, name, value)
        patch.delitem(picture_settings.DEFAULTS_DRAWN, "width")
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing from threads."""
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    """Call the program in this process, in an empty folder, with pictures of the run that cost no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)
    for name in ("accuracy_curves", "tower_kernels"):
        monkeypatch.setattr(plot, name, lambda *args: args[-1].touch())

    def call(*arguments):
        def main():
            friendly(alexnet_imagenet.main)

        return run_here(main, PROGRAM, arguments, monkeypatch, capsys)

    return call


def start(folder, *arguments, before=""):
    """The same as a process of its own; `before` is what it does first."""
    code = (
        f"{before}\nimport importlib.util, sys; from minialex.training.command_line import friendly\n"
        f"spec = importlib.util.spec_from_file_location('alexnet_imagenet', {str(PROGRAM)!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        f"module.DEFAULTS.update({TINY!r}); friendly(module.main)"
    )
    return running.start(folder, "-c", code, *arguments)


def draw(path, colour, rng, size=(90, 80)):
    """A picture of one colour, with coarse noise on it."""
    noise = rng.integers(-40, 40, (6, 6, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """train/ and val/ with three classes of colours."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for i in range(count):
            name = list(CLASSES)[i % 3]
            draw(root / split / name / f"{i:02}.JPEG", CLASSES[name], rng)
    return root


@pytest.fixture
def own_pictures(pictures, tmp_path):
    """A copy, to do something to it."""
    return shutil.copytree(pictures, tmp_path / "data")


@pytest.fixture(scope="module")
def uninterrupted(pictures, tmp_path_factory):
    """A whole run as a process, and what it said."""
    place = tmp_path_factory.mktemp("uninterrupted")
    result = finish(start(place, pictures, *SMALL, "--output-dir", "out"))
    assert result.status == 0, result
    return place / "out", result


@pytest.fixture(scope="module")
def by_the_textbook(pictures, tmp_path_factory):
    """The folder of the same run without fast twins, whose bits are those of any devices."""
    place = tmp_path_factory.mktemp("by_the_textbook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIALEX_FAST", "0")
        result = finish(start(place, pictures, *SMALL, "--output-dir", "out"))
    assert result.status == 0, result
    return place / "out"


def copy_of(folder, place):
    return Path(shutil.copytree(folder, place))


def history_of(folder):
    """history.csv without what hangs on the clock."""
    with open(folder / runs.HISTORY, newline="") as file:
        reader = csv.DictReader(file)
        rows = [{k: v for k, v in row.items() if "second" not in k} for row in reader]
        return reader.fieldnames, rows


def assert_same_run(folder, wanted):
    assert (folder / runs.MODEL).read_bytes() == (wanted / runs.MODEL).read_bytes()
    assert (folder / runs.INPUT).read_bytes() == (wanted / runs.INPUT).read_bytes()
    assert history_of(folder) == history_of(wanted)
    assert not list(folder.glob(".*"))


def times_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def stop_at(monkeypatch, step, error=KeyboardInterrupt):
    """End the run at a step; returns what undoes it."""
    real, steps = train.train_step, itertools.count(1)

    def train_step(*args):
        if next(steps) == step:
            raise error
        return real(*args)

    monkeypatch.setattr(train, "train_step", train_step)
    return lambda: monkeypatch.setattr(train, "train_step", real)


# ---- a whole run --------------------------------------------------------------------------------------


def test_a_run_says_what_it_reads_and_where_it_runs(uninterrupted):
    _, result = uninterrupted
    assert "36 pictures to train on and 15 to validate, 3 classes: blue, green, red" in result.out
    assert "on cpu, in out" in result.out
    assert re.search(r"Validation: Acc@1 [\d.]+ %, Acc@5 100.00 % after 2 epochs", result.out)
    assert "python -m minialex classify my.jpg --weights out" in result.out
    assert "small AlexNet" not in result.out
    assert result.err == ""


def test_log_lines_have_their_form_and_come_every_print_freq_steps_and_at_the_end(uninterrupted):
    found = LOG_LINE.findall(uninterrupted[1].out)
    assert found == [(epoch, step, "9") for epoch in "12" for step in "489"]


def test_a_run_leaves_its_results_in_its_folder(uninterrupted):
    folder, result = uninterrupted
    files = [runs.CHECKPOINT, runs.MODEL, runs.BEST, runs.HISTORY, runs.SETTINGS, runs.INPUT]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files, "conv1.png", "curves.png"])
    for name in ("conv1.png", "curves.png"):
        assert name in result.out
        with Image.open(folder / name) as picture:
            assert picture.format == "PNG"
            assert np.ptp(np.asarray(picture.convert("L"))) > 100  # something is drawn there


def test_history_has_accuracies_in_percent(uninterrupted):
    names, rows = history_of(uninterrupted[0])
    assert names == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2"]
    right = float(rows[-1]["val_acc1"]) * VAL / 100
    assert right == pytest.approx(round(right), abs=1e-3)
    assert right > 1
    assert {row["val_acc5"] for row in rows} == {"100"}


def test_settings_say_which_network_it_is(uninterrupted, pictures):
    settings = json.loads((uninterrupted[0] / runs.SETTINGS).read_text())
    wanted = {**TINY, "preset": "paper", "data": str(pictures), "classes": list(CLASSES), "seed": 3}
    assert {name: settings[name] for name in wanted} == wanted


@pytest.mark.parametrize("devices", ["sim:0,sim:1", "sim:1"])
@pytest.mark.usefixtures("textbook")
def test_devices_change_no_bit_by_the_textbook(program, by_the_textbook, pictures, tmp_path, devices):
    result = program(pictures, *SMALL, "--output-dir", "out", "--devices", devices)
    assert result.status == 0, result
    assert_same_run(tmp_path / "out", by_the_textbook)


@pytest.mark.parametrize("other", ["-j 0", "-j 5 --checkpoint-every 1 -p 100", "--cache cache"])
def test_workers_and_cache_change_no_bit(program, uninterrupted, pictures, tmp_path, other):
    result = program(pictures, *SMALL, "--output-dir", "out", *other.split())
    assert result.status == 0, result
    assert_same_run(tmp_path / "out", uninterrupted[0])
    assert (tmp_path / "cache").is_dir() == ("--cache" in other)


def test_another_seed_gives_another_network(program, uninterrupted, pictures, tmp_path):
    program(pictures, *SMALL, "--seed", 4, "--output-dir", "out")
    assert (tmp_path / "out" / runs.MODEL).read_bytes() != (uninterrupted[0] / runs.MODEL).read_bytes()


def test_a_finished_run_says_so_and_stays_as_it_is(program, uninterrupted):
    folder, before = uninterrupted[0], times_of(uninterrupted[0])
    result = program("--resume", folder)
    assert (result.status, result.err) == (0, "")
    assert "This run is finished: 2 epochs, validation Acc@1 " in result.out
    assert "--epochs 12" in result.out
    assert times_of(folder) == before


def cut(path):
    path.write_bytes(path.read_bytes()[: -min(100, path.stat().st_size // 2)])


RESULTS = [runs.MODEL, runs.HISTORY, runs.SETTINGS, runs.INPUT, "conv1.png", "curves.png"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b""), cut])
@pytest.mark.parametrize("lost", RESULTS)
def test_a_finished_run_gets_each_result_that_is_missing_or_cut_short(
    program, uninterrupted, tmp_path, lost, harm
):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    harm(folder / lost)
    result = program("--resume", folder)
    assert result.status == 0, result
    told = re.search(r"Not all of its results were written: writing them now.\n((  .*\n)+)", result.out)[1]
    assert re.fullmatch(rf"  {lost} (is not there|is empty|cannot be read .*|has other .*)\n", told)
    assert_same_run(folder, uninterrupted[0])
    assert (folder / lost).exists()
    assert (folder / runs.SETTINGS).read_bytes() == (uninterrupted[0] / runs.SETTINGS).read_bytes()


LOOK = ["codes.png", "feature_maps.png", "nearest.png", "timeline.png"]


def test_all_results_at_once_are_made_again_and_a_look_is_remembered(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    for number, name in enumerate(RESULTS):
        [Path.unlink, cut, lambda path: path.write_bytes(b"")][number % 3](folder / name)
    result = finish(start(tmp_path, "--resume", folder, "--devices", "cpu"))
    assert (result.status, result.err) == (0, "")
    for path in uninterrupted[0].iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert "Its results are in" in program("--resume", folder).out
    result = finish(start(tmp_path, "--resume", folder, "--devices", "cpu", "--look"))  # of a finished run
    assert "  codes.png is not there\n" in result.out
    assert all((folder / name).stat().st_size > 1000 for name in LOOK)
    assert "Its results are in" in program("--resume", folder, "--look").out


def test_a_look_that_was_cut_short_is_finished(program, pictures, tmp_path, monkeypatch):
    for name in ("feature_maps", "neighbours"):
        monkeypatch.setattr(
            plot, name, lambda *args, **more: next(a for a in args if isinstance(a, Path)).touch()
        )
    monkeypatch.setattr(plot, "timeline", stop)
    result = program(pictures, *SMALL, "--look", "--output-dir", "out")
    assert result.status == 130
    assert "its weights are safe; what is missing is made by --resume out" in result.err
    monkeypatch.setattr(plot, "timeline", lambda spans, path: path.touch())
    result = program("--resume", "out")
    assert "  timeline.png is not there\n" in result.out
    assert (tmp_path / "out" / "timeline.png").exists()


def test_a_look_of_a_run_whose_settings_do_not_tell_is_finished(
    program, uninterrupted, tmp_path, monkeypatch
):
    for name in ("feature_maps", "neighbours", "timeline"):
        monkeypatch.setattr(
            plot, name, lambda *args, **more: next(a for a in args if isinstance(a, Path)).touch()
        )
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    (folder / "feature_maps.png").touch()
    result = program("--resume", folder)
    assert "  feature_maps.png is empty\n" in result.out
    assert all((folder / name).exists() for name in LOOK)


def stop(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b""), cut])
def test_weights_of_the_best_epoch_are_made_again_or_said_to_be_lost(program, uninterrupted, tmp_path, harm):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    best = int(float(history_of(folder)[1][1]["val_acc1"]) > float(history_of(folder)[1][0]["val_acc1"])) + 1
    harm(folder / runs.BEST)
    result = program("--resume", folder)
    if best == 2:
        assert "  best.safetensors " in result.out
        assert (folder / runs.BEST).read_bytes() == (uninterrupted[0] / runs.BEST).read_bytes()
    else:
        assert "It had the weights of epoch 1, the checkpoint has those of epoch 2" in result.out
        assert "Its results are in" in result.out


def test_a_plateau_drops_the_rate(program, pictures, tmp_path):
    arguments = "--limit 6 -b 6 --epochs 5 --lr 1e-12 --lr-scheduler plateau --output-dir out".split()
    assert program(pictures, *arguments).status == 0
    rates = [float(row["lr"]) for row in history_of(tmp_path / "out")[1]]
    assert rates == pytest.approx([1e-12] * 4 + [1e-13])


def test_a_limit_takes_pictures_of_all_classes(program, pictures):
    result = program(pictures, *SMALL, "--epochs", 1, "--limit", 6)
    assert "6 pictures to train on and 6 to validate, 3 classes" in result.out
    settings = {**picture_settings.DEFAULTS, "data": pictures, "limit": 6}
    chosen = alexnet_imagenet.Pictures(alexnet_imagenet.parse_arguments([]), settings)
    assert chosen.train_list.labels.tolist() == chosen.val_list.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_without_data_it_draws_pictures_and_says_how_to_run_the_real_thing(
    program, pictures, monkeypatch, tmp_path
):
    asked = []
    monkeypatch.setattr(
        run_pictures, "draw_pictures", lambda root, size: asked.append((root, size)) or pictures
    )
    result = program(*SMALL, "--epochs", 1)
    assert result.status == 0, result
    assert asked == [(Path("runs", "drawn-pictures-72"), 72)]
    assert "This was a small AlexNet: the same two towers with a quarter of the maps" in result.out
    assert f"{this_program()} /data/imagenet\n" in result.out
    program("--resume", Path("runs", "alexnet"), "--epochs", 2)
    assert len(asked) == 2


@pytest.mark.slow
def test_the_drawn_pictures_go_through_the_whole_program(tmp_path):
    arguments = "--limit 100 --epochs 2 -b 20 -j 2 --devices cpu".split()
    result = finish(
        subprocess.Popen(
            [sys.executable, PROGRAM, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    assert (result.status, result.err) == (0, "")
    assert "10 classes: circle-cool" in result.out
    assert "This was a small AlexNet" in result.out


# ---- killed and resumed -------------------------------------------------------------------------------


HANGS_AT_STEP_6 = """
import time
from minialex import train
free, step = iter(range(5)), train.train_step
train.train_step = lambda *args: time.sleep(600) if next(free, None) is None else step(*args)
"""


@posix
def test_a_run_killed_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    program, uninterrupted, pictures, tmp_path
):
    folder = tmp_path / "out"
    arguments = [pictures, *SMALL, "--checkpoint-every", 1, "--output-dir", folder]
    process = start(tmp_path, *arguments, before=HANGS_AT_STEP_6)  # however late it is killed
    checkpoint = folder / runs.CHECKPOINT

    def in_the_middle():
        assert process.poll() is None, finish(process)
        return checkpoint.exists() and progress_in(folder)["step"] >= 2

    wait_until(in_the_middle, every=0.002)
    process.send_signal(signal.SIGKILL)
    result = finish(process)
    assert result.status == -signal.SIGKILL, result
    assert progress_in(folder)["step"] > 0
    result = program("--resume", folder, "--devices", "cpu")  # the rest is in the checkpoint
    assert result.status == 0, result
    assert_same_run(folder, uninterrupted[0])


def progress_in(folder):
    return load_checkpoint(folder / runs.CHECKPOINT).state["progress"]


@posix
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(uninterrupted, pictures, tmp_path, seed):
    folder, rng, kills = tmp_path / "out", np.random.default_rng(seed), 0
    folder.mkdir()
    arguments = [pictures, *SMALL, "--checkpoint-every", 1, "--resume", folder]
    for _ in range(6):
        process = start(tmp_path, *arguments)
        time.sleep(rng.uniform(0.6, 1.6))
        process.send_signal(signal.SIGKILL)
        kills += finish(process).status == -signal.SIGKILL
    assert kills
    assert finish(start(tmp_path, *arguments)).status == 0
    assert_same_run(folder, uninterrupted[0])


@pytest.mark.parametrize(("first", "then"), [("cpu", "sim:0,sim:1"), ("sim:0,sim:1", "cpu")])
@pytest.mark.usefixtures("textbook")
def test_a_run_goes_on_on_other_devices_and_in_another_folder(
    program, monkeypatch, by_the_textbook, pictures, tmp_path, first, then
):
    go_on = stop_at(monkeypatch, STEPS + 6)
    arguments = [*SMALL, "--checkpoint-every", 4, "--output-dir", "out", "--devices", first]
    assert program(pictures, *arguments).status == 130
    go_on()
    assert program("--resume", "out", "--devices", then, "-j", 0, "--output-dir", "other").status == 0
    assert_same_run(tmp_path / "other", by_the_textbook)


def test_ctrl_c_ends_with_a_message_and_the_checkpoint_safe(program, monkeypatch, pictures, tmp_path):
    stop_at(monkeypatch, 6)
    result = program(pictures, *SMALL, "--checkpoint-every", 2, "--output-dir", "out")
    assert result.status == 130
    assert "Stopped. The last checkpoint is safe: go on with --resume out" in result.err
    assert progress_in(tmp_path / "out")["step"] == 4


def test_an_exception_in_a_worker_ends_the_run_with_the_checkpoint_safe(
    program, monkeypatch, pictures, tmp_path
):
    real, calls = Prepare.training, itertools.count()

    def training(*args):
        if next(calls) == 30:
            raise ZeroDivisionError("a mistake of ours")
        return real(*args)

    monkeypatch.setattr(Prepare, "training", training)
    result = program(pictures, *SMALL, "--checkpoint-every", 1, "--output-dir", "out")
    assert result.status == 1
    assert re.search(r"\d\d\.JPEG could not be prepared: ZeroDivisionError: a mistake of ours", result.err)
    assert "The last checkpoint is safe: go on with --resume out" in result.err
    assert progress_in(tmp_path / "out")["step"] > 1


def test_a_full_disk_ends_the_run_with_the_checkpoint_safe(program, monkeypatch, pictures, tmp_path):
    fsync, calls = os.fsync, itertools.count()

    def full_later(file):
        if next(calls) > 5:  # settings, mean, settings, history, two checkpoints
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr(files.os, "fsync", full_later)
    result = program(pictures, *SMALL, "--checkpoint-every", 2, "--output-dir", "out")
    assert result.status == 1
    assert "checkpoint.safetensors could not be written: No space left on device" in result.err
    assert "The last checkpoint is safe: go on with --resume out" in result.err
    assert progress_in(tmp_path / "out")["step"] == 4


class OutOfMemoryError(MemoryError):
    """CuPy's has this name and this parent."""


@pytest.mark.parametrize("error", [MemoryError, OutOfMemoryError("Out of memory allocating 9 bytes")])
def test_out_of_memory_says_what_to_lower(program, monkeypatch, pictures, error):
    stop_at(monkeypatch, 2, error)
    result = program(pictures, *SMALL)
    assert result.status == 1
    assert "out of memory" in result.err
    assert "try a smaller --batch-size (-b)" in result.err


def test_a_mean_that_another_run_left_is_not_used(program, uninterrupted, pictures, tmp_path):
    (tmp_path / "out").mkdir()
    names = {"mean": (3, 72, 72), "values": (3,), "vectors": (3, 3)}
    left = {name: np.zeros(shape, np.float32) for name, shape in names.items()}
    weights.save(tmp_path / "out" / runs.INPUT, left)
    program(pictures, *SMALL, "--output-dir", "out")
    assert_same_run(tmp_path / "out", uninterrupted[0])


# ---- evaluation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["", runs.CHECKPOINT, runs.MODEL])
@pytest.mark.parametrize("flag", ["--resume", "--pretrained"])
def test_evaluation_gives_the_last_epochs_accuracy_and_writes_nothing(
    program, uninterrupted, tmp_path, file, flag
):
    folder, before = uninterrupted[0], times_of(uninterrupted[0])
    last = {name: float(value) for name, value in history_of(folder)[1][-1].items()}
    result = program("-e", flag, folder / file)
    assert result.status == 0, result
    assert (
        f"Acc@1 {last['val_acc1']:.2f} %, Acc@5 {last['val_acc5']:.2f} %, loss {last['val_loss']:.4f} "
        "(centre crop, 15 pictures)" in result.out
    )
    assert times_of(folder) == before
    assert not (tmp_path / "runs").exists()


def test_evaluation_needs_no_training_pictures(program, uninterrupted, own_pictures):
    shutil.rmtree(own_pictures / "train")
    shutil.move(own_pictures / "val", own_pictures / "test")  # which serves where there is no val/
    result = program(own_pictures, "-e", "--resume", uninterrupted[0])
    assert f"Acc@1 {float(history_of(uninterrupted[0])[1][-1]['val_acc1']):.2f} %" in result.out


def network_of(folder):
    """A run's network, its validation pictures, and their softmax by hand: for `x` (10, ...) a mean over the ten."""
    settings = json.loads((folder / runs.SETTINGS).read_text())
    model = mx.models.alexnet(3, "cpu", width=TINY["width"], image_size=67, scale=1 / 64).eval()
    mx.weights.import_grouped(model, weights.load(folder / runs.MODEL))
    prepare = Prepare.for_input(model.input, weights.load(folder / runs.INPUT)["mean"])
    batches = PictureBatches(find_pictures(settings["data"], "val"), prepare, 10, side=72, workers=0)

    def share(x):
        odds = np.exp(model.forward(x).astype(np.float64))
        return (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)

    return model, batches, share


def test_ten_crops_are_the_mean_of_ten_softmaxes(program, uninterrupted):
    model, batches, share = network_of(uninterrupted[0])
    shares = np.array([share(crops[0]) for crops, _ in batches.in_order(ten_crop=True)])
    acc1 = 100 * (shares.argmax(axis=1) == batches.labels).mean()
    loss = -np.log(shares[np.arange(VAL), batches.labels]).mean()
    scores = train.evaluate_ten_crop(model, batches)
    assert (scores.acc1, scores.loss) == pytest.approx((acc1, loss), rel=1e-5)
    result = program("-e", "--ten-crop", "--resume", uninterrupted[0])
    wanted = f"Acc@1 {acc1:.2f} %, Acc@5 100.00 %, loss {loss:.4f} (mean of ten crops, 15 pictures)"
    assert wanted in result.out


def test_evaluation_without_a_mean_picture_says_what_it_subtracts(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    (folder / runs.INPUT).unlink()
    result = program("-e", "--resume", folder)
    assert f"There is no mean image beside {folder}: subtracting ImageNet's mean colour." in result.out


def test_classify_prepares_a_picture_as_the_run_did_and_knows_its_classes(uninterrupted, tmp_path, capsys):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    arrays = weights.load(folder / runs.MODEL)
    arrays["fc8.weight"] *= 0.3  # so that it is not too sure
    record = weights.as_metadata(weights.read_record(folder / runs.MODEL))
    weights.save(folder / runs.MODEL, arrays, record)
    _, batches, share = network_of(folder)
    batches.batch_size = 1
    for file, (x, _) in list(zip(batches.pictures.files, batches.in_order(), strict=True))[::4]:
        assert command_line.main(["classify", str(file), "--weights", str(folder)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        wanted = sorted(zip(share(x), CLASSES, strict=True), reverse=True)
        assert out == "".join(f" {100 * part:5.1f} %  {name}\n" for part, name in wanted)


# ---- labels belong to names ----------------------------------------------------------------------------


def write_names(folder, *lines):
    (folder / "names.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "names.txt"


def of_classes(root, place, *names):
    """A copy of a folder with these classes alone; "aqua=blue" is blue's pictures under the name aqua."""
    for split, name in itertools.product(("train", "val"), names):
        new, _, old = name.rpartition("=")
        shutil.copytree(root / split / old, place / split / (new or old))
    return place


def right_of(result):
    """How many pictures -e found right, and of how many."""
    assert result.status == 0, result
    share, seen = re.search(r"Acc@1 ([\d.]+) %.*, ([\d,]+) pictures\)", result.out).groups()
    return round(float(share) * int(seen) / 100), int(seen)


@pytest.fixture(scope="module")
def right_of_each(uninterrupted, pictures):
    """How many validation pictures of each class the run's network knows, counted by hand."""
    _, batches, share = network_of(uninterrupted[0])
    right = dict.fromkeys(CLASSES, 0)
    for crops, labels in batches.in_order(ten_crop=True):
        name = list(CLASSES)[labels[0]]
        right[name] += int(share(crops[0]).argmax() == labels[0])
    assert len(set(right.values())) > 1  # else labels could be exchanged, and nobody would notice
    return right


PARTS = [["blue", "red"], ["green", "red"], ["red"], ["blue", "green", "red"]]


@pytest.mark.parametrize("names", PARTS, ids=" ".join)
@pytest.mark.parametrize("keep_train", [True, False])
def test_a_part_of_the_trained_classes_keeps_its_labels(
    program, uninterrupted, right_of_each, pictures, tmp_path, names, keep_train
):
    data = of_classes(pictures, tmp_path / "part", *names)
    if not keep_train:
        shutil.rmtree(data / "train")
    result = program(data, "-e", "--ten-crop", "--resume", uninterrupted[0])
    assert right_of(result) == (sum(right_of_each[name] for name in names), 5 * len(names))
    of_all = "" if len(names) == 3 else "of 3 "
    assert f"{5 * len(names)} to validate, {len(names)} {of_all}classes: {', '.join(names)}\n" in result.out


def test_one_class_of_three_may_be_all_that_val_has(program, uninterrupted, right_of_each, own_pictures):
    for name in ("blue", "green"):
        shutil.rmtree(own_pictures / "val" / name)
    result = program(own_pictures, "-e", "--ten-crop", "--resume", uninterrupted[0])
    assert right_of(result) == (right_of_each["red"], 5)


@pytest.mark.parametrize("more", [[], ["--ten-crop"], ["--limit", 5]])
@pytest.mark.parametrize("names", [["aqua=blue", "blue=green", "green=red"], ["blue", "green", "zinc=red"]])
def test_a_class_that_was_not_trained_is_named(program, uninterrupted, pictures, tmp_path, names, more):
    """Also where there are as many classes as were trained."""
    data = of_classes(pictures, tmp_path / "other", *names)
    stranger = next(name.partition("=")[0] for name in names if name[0] in "az")
    result = program(data, "-e", "--resume", uninterrupted[0], *more)
    assert (result.status, result.out) == (1, "")
    assert f"has 1 of 3 classes that the network was not trained on: {stranger}. It was" in result.err
    assert "trained on 3, blue, green, red; " in result.err


@pytest.fixture
def foreign(tmp_path):
    """bvlc.npy of a small network of three classes, which says no names."""
    model = mx.models.alexnet(3, "cpu", "bvlc", rng=1, width=TINY["width"], image_size=67, init="he")
    layers = {}
    for name, array in weights.export_grouped(model).items():
        turned = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        layers.setdefault(name.split(".")[0], []).append(turned)
    np.save(tmp_path / "bvlc.npy", layers, allow_pickle=True)
    return tmp_path / "bvlc.npy"


@pytest.fixture
def nameless(uninterrupted, tmp_path):
    """A weight file of ours, as it was before there were records."""
    weights.save(tmp_path / "nameless.safetensors", weights.load(uninterrupted[0] / runs.MODEL))
    return tmp_path / "nameless.safetensors"


@pytest.mark.parametrize("file", ["foreign", "nameless"])
@pytest.mark.parametrize("purpose", ["-e", "-e --ten-crop", "--epochs 1 --lr 0"])
def test_weights_without_names_need_a_list(program, pictures, request, tmp_path, file, purpose):
    path = request.getfixturevalue(file)
    asked = [pictures, *(OF_TESTS if "-e" in purpose else SMALL), *purpose.split(), "--pretrained", path]
    result = program(*asked)
    assert result.status == 1
    assert f"{path} does not say the names of its 3 classes" in result.err
    assert "--classes FILE: one name a line" in result.err
    names = write_names(tmp_path, *CLASSES)
    assert program(*asked, "--classes", names).status == 0


def test_a_list_in_another_order_moves_the_labels(
    program, nameless, uninterrupted, right_of_each, pictures, tmp_path
):
    """It is what says which output is which."""
    shutil.copy(uninterrupted[0] / runs.INPUT, tmp_path)
    arguments = [pictures, "-e", "--ten-crop", "--pretrained", nameless, "--classes"]
    assert right_of(program(*arguments, write_names(tmp_path, *CLASSES))) == (
        sum(right_of_each.values()),
        VAL,
    )
    shuffled = of_classes(pictures, tmp_path / "renamed", "red=blue", "blue=green", "green=red")
    result = program(shuffled, *arguments[1:], write_names(tmp_path, "red", "blue", "green"))
    assert right_of(result) == (sum(right_of_each.values()), VAL)


def test_a_list_may_have_wnids_with_words(program, foreign, pictures, tmp_path):
    data = of_classes(pictures, tmp_path / "wnids", "n01440764=blue", "n02119789=red")
    names = write_names(
        tmp_path, "n02119789 kit fox, Vulpes", "n01440764 tench, Tinca tinca", "n03000684 saw"
    )
    result = program(data, "-e", "--pretrained", foreign, "--classes", names)
    assert result.status == 0, result
    assert (
        "10 to validate, 2 of 3 classes: n02119789 kit fox, Vulpes, n01440764 tench, Tinca tinca"
        in result.out
    )


@pytest.mark.parametrize("lines", [["a", "b"], ["red", "", "blue"], ["lime", "green", "blue"]])
def test_a_list_that_does_not_fit_is_refused(program, foreign, uninterrupted, pictures, tmp_path, lines):
    names = write_names(tmp_path, *lines)
    for weight_file in (foreign, uninterrupted[0]):
        result = program(pictures, "-e", "--pretrained", weight_file, "--classes", names)
        assert result.status == 1
        assert re.search(r"names\.txt|not trained on: red", result.err)


@pytest.mark.parametrize("name", ["aqua", "lime"])
def test_as_many_other_classes_start_a_new_last_layer(program, uninterrupted, pictures, tmp_path, name):
    """aqua moves green to another place, lime moves none."""
    names = {"aqua": ["aqua=red", "blue", "green"], "lime": ["blue", "lime=green", "red"]}[name]
    data = of_classes(pictures, tmp_path / "data", *names)
    arguments = ["--pretrained", uninterrupted[0], "--lr", 0, "--epochs", 1, "--output-dir", "out"]
    result = program(data, *SMALL, *arguments)
    assert result.status == 0, result
    assert "but for fc8.weight, fc8.bias: they know other classes (blue, green, red) than" in result.out
    before, after = (weights.load(f / runs.MODEL) for f in (uninterrupted[0], tmp_path / "out"))
    same = {key for key in before if np.array_equal(before[key], after[key])}
    assert set(before) - same == {"fc8.weight", "fc8.bias"}


@pytest.mark.parametrize("file", ["foreign", "nameless"])
def test_a_list_says_whether_the_last_layer_serves(program, pictures, request, tmp_path, file):
    arguments = [*SMALL, "--epochs", 1, "--lr", 0, "--pretrained", request.getfixturevalue(file), "--classes"]
    for names, left in ((CLASSES, False), (["lime", "blue", "red"], True)):
        result = program(pictures, *arguments, write_names(tmp_path, *names))
        assert result.status == 0, result
        assert ("but for fc8.weight, fc8.bias: they know other classes" in result.out) == left


def test_a_run_does_not_go_on_with_as_many_other_classes(program, uninterrupted, pictures, tmp_path):
    data = of_classes(pictures, tmp_path / "data", "aqua=blue", "blue=green", "red")
    result = program(data, "--resume", copy_of(uninterrupted[0], tmp_path / "out"), "--epochs", 3)
    assert result.status == 1
    assert "only the first has green; only the second has aqua" in result.err


def test_folders_called_by_numbers_keep_their_text_order_and_the_map_is_printed(program, pictures, tmp_path):
    numbers = [str(i) for i in range(12)]
    sources = itertools.cycle(CLASSES)
    data = of_classes(
        pictures, tmp_path / "data", *(f"{n}={c}" for n, c in zip(numbers, sources, strict=False))
    )
    result = program(data, *SMALL, "--epochs", 1, "--output-dir", "out")
    assert result.status == 0, result
    assert "Labels by name, in the order of texts: 0 = 0, 1 = 1, 2 = 10, 3 = 11, 4 = 2, 5 = 3, " in result.out
    assert weights.read_record(tmp_path / "out" / runs.MODEL)["classes"] == sorted(numbers)
    right = []
    for names in (numbers, ["0", "1", "3", "4"], ["2", *numbers[5:]]):
        part = of_classes(data, tmp_path / f"part{len(names)}", *names)
        shutil.rmtree(part / "train")
        result = program(part, "-e", "--resume", "out")
        right.append(right_of(result)[0])
    assert "40 to validate, 8 of 12 classes: 10, 11, 2, 5, 6, 7, 8, 9\n" in result.out
    assert right[0] == right[1] + right[2]
    assert f"{100 * right[0] / 60:.3f}" == f"{float(history_of(tmp_path / 'out')[1][-1]['val_acc1']):.3f}"


# ---- fine-tuning --------------------------------------------------------------------------------------


@pytest.fixture
def two_classes(own_pictures):
    for split in ("train", "val"):
        shutil.rmtree(own_pictures / split / "green")
    return own_pictures


@pytest.mark.parametrize("file", ["", runs.MODEL, runs.CHECKPOINT])
def test_another_number_of_classes_starts_a_new_last_layer(
    program, uninterrupted, two_classes, tmp_path, file
):
    before = weights.load(uninterrupted[0] / runs.MODEL)
    arguments = ["--pretrained", uninterrupted[0] / file, "--freeze", "conv1, conv2", "--output-dir", "out"]
    result = program(two_classes, *SMALL, *arguments)
    assert result.status == 0, result
    assert f"weights of {uninterrupted[0] / file}, but for fc8.weight, fc8.bias" in result.out
    after = weights.load(tmp_path / "out" / runs.MODEL)
    assert after["fc8.bias"].shape == (2,)
    for name in before:
        if not name.startswith("fc8"):
            same = name.startswith(("conv1", "conv2"))
            assert np.array_equal(before[name], after[name]) == same, name


def test_frozen_layers_stay_and_the_rest_moves_also_after_a_resume(program, monkeypatch, pictures, tmp_path):
    arguments = [pictures, *SMALL, "--freeze", "conv1,conv2", "--checkpoint-every", 2]
    program(*arguments, "--output-dir", "whole")
    go_on = stop_at(monkeypatch, 6)
    program(*arguments, "--output-dir", "out")
    go_on()
    assert program("--resume", "out").status == 0
    assert_same_run(tmp_path / "out", tmp_path / "whole")
    fresh = weights.export_grouped(
        mx.models.alexnet(3, "cpu", rng=3, width=TINY["width"], image_size=67, init="he")
    )
    after = weights.load(tmp_path / "out" / runs.MODEL)
    same = {name for name in fresh if np.array_equal(fresh[name], after[name])}
    assert same == {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}


def test_all_the_weights_of_a_run_with_the_same_classes_are_taken(program, uninterrupted, pictures, tmp_path):
    arguments = ["--pretrained", uninterrupted[0], "--lr", "0", "--epochs", "1", "--output-dir", "out"]
    said = program(pictures, *SMALL, *arguments).out
    assert "but for" not in said
    assert "after 1 epoch\n" in said
    before, after = (weights.load(f / runs.MODEL) for f in (uninterrupted[0], tmp_path / "out"))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_bvlcs_weights_bring_their_preset(program, pictures, tmp_path):
    """A file of that kind, of a small network."""
    model = mx.models.alexnet(3, "cpu", "bvlc", rng=1, width=TINY["width"], image_size=67, init="he")
    layers = {}
    for name, array in weights.export_grouped(model).items():
        turned = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        layers.setdefault(name.split(".")[0], []).append(turned)
    np.save(tmp_path / "bvlc.npy", layers, allow_pickle=True)
    names = ["--classes", write_names(tmp_path, *CLASSES)]
    assert "15 pictures)" in program(pictures, "-e", "--pretrained", "bvlc.npy", *names).out
    arguments = [
        *SMALL,
        "--pretrained",
        "bvlc.npy",
        *names,
        "--lr",
        "0",
        "--epochs",
        "1",
        "--output-dir",
        "out",
    ]
    assert program(pictures, *arguments).status == 0
    assert json.loads((tmp_path / "out" / runs.SETTINGS).read_text())["preset"] == "bvlc"
    assert not (tmp_path / "out" / runs.INPUT).exists()  # it has its own mean, and no noise on colours
    after = weights.load(tmp_path / "out" / runs.MODEL)
    assert all(np.array_equal(after[name], array) for name, array in weights.export_grouped(model).items())


def test_pretrained_weights_are_not_read_again_where_a_run_goes_on(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    result = program("--resume", folder, "--epochs", 3, "--pretrained", uninterrupted[0])
    assert result.status == 0, result
    assert (
        f"Going on from {folder / runs.CHECKPOINT}: --pretrained {uninterrupted[0]} is not read again"
        in result.out
    )


# ---- what may change where a run goes on --------------------------------------------------------------


def watch_fit(monkeypatch):
    """What train.fit is really given, as settings."""
    real, given = train.fit, {}

    def fit(model, optimizer, schedule, train_on, *, epochs, checkpoint_every, **more):
        given.update(
            epochs=epochs, checkpoint_every=checkpoint_every, lr=schedule.lr, batch_size=train_on.batch_size
        )
        given.update(momentum=optimizer.momentum, wd=optimizer.weight_decay, max_bad=train_on.max_bad)
        given.update(lr_scheduler=type(schedule).__name__.lower(), threads=mx.Device("cpu").threads)
        given.update(data=str(train_on.pictures.files[0].parents[2]))
        if isinstance(schedule, mx.optim.Cosine):
            given.update(warmup=schedule.warmup)
        return real(
            model, optimizer, schedule, train_on, epochs=epochs, checkpoint_every=checkpoint_every, **more
        )

    monkeypatch.setattr(train, "fit", fit)
    return given


OTHER = {
    "epochs": 4, "lr": 0.001, "momentum": 0.5, "wd": 0.125, "lr_scheduler": "step", "checkpoint_every": 7,
    "max_bad": 3, "threads": 2, "data": "elsewhere",
}  # fmt: skip


@pytest.mark.parametrize("name", ["nothing", *OTHER])
def test_what_is_asked_where_a_run_goes_on_is_printed_runs_and_is_kept(
    program, monkeypatch, uninterrupted, pictures, tmp_path, name
):
    folder, given = copy_of(uninterrupted[0], tmp_path / "out"), watch_fit(monkeypatch)
    other = {**OTHER, "data": str(copy_of(pictures, tmp_path / "elsewhere"))}
    assert {
        *OTHER,
        "ground_truth",
        "class_ids",
        "look",
    } | exit_runs.MAY_CHANGE == alexnet_imagenet.MAY_CHANGE  # nothing is forgotten here
    flag = [] if name in ("nothing", "data") else [f"--{name.replace('_', '-')}"]
    asked = [*flag, *([] if name == "nothing" else [other[name]])]
    before = mx.Device("cpu").threads
    try:
        result = program("--resume", folder, *([] if name == "epochs" else ["--epochs", 3]), *asked)
    finally:
        mx.Device("cpu").threads = before
    assert result.status == 0, result
    if asked:
        assert given[name] == other[name]
    kept = load_checkpoint(folder / runs.CHECKPOINT).state["settings"]
    for known, value in given.items():
        if known != "threads" or name == "threads":
            assert re.search(rf"(^|, ){known} {re.escape(str(value))}(,|$)", result.out, re.MULTILINE), known
            assert known == "warmup" or kept[known] == value
    assert "Going on in epoch 3" in result.out


def test_a_warm_up_is_printed_as_long_as_it_is(program, pictures, tmp_path):
    out = program(pictures, *SMALL, "--epochs", 3, "--limit", 3, "-b", 1, "--output-dir", "out").out
    assert ", warmup 0.0, " in out  # which would be shorter than a step
    out = program("--resume", "out", "--epochs", 4).out
    assert ", warmup 0.4, " in out
    assert (
        "was Cosine(lr=0.005, epochs=3, warmup=0.0) and is now Cosine(lr=0.005, epochs=4, warmup=0.4)" in out
    )
    assert (
        "warmup"
        not in program("--resume", "out", "--epochs", 5, "--lr-scheduler", "constant").out.split("Going")[0]
    )


# ---- exploded -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint_every", [0, 2])
def test_a_loss_that_explodes_stops_the_run_and_names_the_good_checkpoint(
    program, pictures, tmp_path, checkpoint_every
):
    folder = tmp_path / "out"
    assert program(pictures, *SMALL, "--seed", 4, "--output-dir", folder).status == 0
    before = (folder / runs.CHECKPOINT).read_bytes()
    more = ["--lr-scheduler", "constant", "--epochs", 4, "--checkpoint-every", checkpoint_every]
    result = program("--resume", folder, *more, "--lr", 3)
    assert result.status == 1
    assert re.search(r"the loss became (too large|nan|inf)", result.err)
    good = folder / runs.GOOD
    assert f"go on with --resume {good} and a smaller --lr" in result.err
    assert "is safe" not in result.err
    assert good.read_bytes() == before
    assert program("--resume", good, *more, "--lr", 0.001).status == 0


@pytest.mark.parametrize("ten_crop", [[], ["--ten-crop"]])
def test_weights_that_give_no_numbers_are_not_evaluated_as_if_they_did(
    program, uninterrupted, tmp_path, ten_crop
):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    arrays = weights.load(folder / runs.MODEL)
    arrays["fc8.bias"][1] = np.nan
    weights.save(folder / runs.MODEL, arrays)
    result = program("-e", *ten_crop, "--resume", folder)
    assert result.status == 1
    assert "the loss on the validation pictures is nan: what the network gives" in result.err


def test_ten_crops_of_a_network_that_is_sure_and_wrong_have_a_finite_loss(uninterrupted):
    model, batches, _ = network_of(uninterrupted[0])
    for p in model["fc8"].parameters():
        p.value *= 0
    model["fc8"].bias.value[0] = 2000.0  # a share of 0 for the others, as far as float64 goes
    scores = train.evaluate_ten_crop(model, batches)
    assert scores.loss == pytest.approx(2000.0 * (batches.labels != 0).mean())
    assert scores.acc1 == pytest.approx(100 * (batches.labels == 0).mean())


# ---- random numbers in place of pictures --------------------------------------------------------------


def test_dummy_needs_no_pictures(program, tmp_path):
    result = program("--dummy", "--look", "--limit", 12, *SMALL, "--output-dir", "out", "--epochs", 1)
    assert result.status == 0, result
    assert "random numbers in place of pictures" in result.out
    assert LOG_LINE.search(result.out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert program("--resume", "out", "--epochs", 2).status == 0
    for more in ([], ["--ten-crop"]):
        assert "12 pictures)" in program("-e", "--resume", "out", *more).out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ---- what is passed over ------------------------------------------------------------------------------


def test_what_is_passed_over_is_said(program, own_pictures):
    hidden = own_pictures / "train" / "blue" / ".ipynb_checkpoints"
    hidden.mkdir()
    shutil.copy(own_pictures / "train" / "blue" / "00.JPEG", hidden)
    result = program(own_pictures, *SMALL, "--epochs", 1, "--output-dir", "out")
    assert "36 pictures to train on" in result.out
    assert f"Passed over: 1 hidden ({hidden})\n" in result.out
    (own_pictures / "val" / "red" / "@eaDir").mkdir()
    result = program("-e", "--resume", "out")
    assert "Passed over: 1 of the system's own (" in result.out


# ---- files that cannot be read ------------------------------------------------------------------------


def spoil(root, split, *numbers):
    files = find_pictures(root, split).files
    for k, i in enumerate(numbers):
        files[i].write_bytes([b"no picture", files[i].read_bytes()[:400]][k % 2])
    return [files[i] for i in numbers]


def test_unreadable_files_are_named_counted_and_skipped_up_to_max_bad(program, own_pictures, tmp_path):
    bad = [*spoil(own_pictures, "train", 3, 17), *spoil(own_pictures, "val", 5)]
    result = program(own_pictures, *SMALL, "--max-bad", 2, "--output-dir", "out")
    assert result.status == 0, result
    assert "3 unreadable files were skipped:" in result.out
    assert all(f"{path} cannot be read as a picture" in result.out for path in bad)
    assert progress_in(tmp_path / "out")["epoch"] == 2
    assert "(centre crop, 14 pictures)\n1 unreadable file was" in program("-e", "--resume", "out").out


def test_more_unreadable_files_than_max_bad_stop_the_run(program, own_pictures):
    bad = spoil(own_pictures, "train", 3, 17)
    for allowed in (0, 1):
        result = program(own_pictures, *SMALL, "--max-bad", allowed)
        assert result.status == 1
        assert (
            f"{allowed + 1} of 36 pictures cannot be read, and up to {allowed} may be skipped" in result.err
        )
        assert any(str(path) in result.err for path in bad)


def test_a_batch_of_unreadable_files_alone_is_no_step_and_a_resume_knows_it(
    program, monkeypatch, own_pictures, tmp_path
):
    spoil(own_pictures, "train", 2, 9, 10, 25, 30)
    arguments = [own_pictures, *SMALL, "-b", 1, "--max-bad", 5, "--epochs", 1, "--checkpoint-every", 5]
    assert "][31/36]" in program(*arguments, "--output-dir", "whole").out
    (tmp_path / "out").mkdir()
    for step in (12, 17):
        go_on = stop_at(monkeypatch, step)
        program(*arguments, "--resume", "out")
        go_on()
    result = program("--resume", "out")
    assert result.status == 0, result
    assert_same_run(tmp_path / "out", tmp_path / "whole")


# ---- what can be wrong with the data ------------------------------------------------------------------


def flat(root, lines):
    """Make val/ flat, with a ground-truth file of these lines for its sorted names."""
    files = find_pictures(root, "val").files
    for path in files:
        shutil.move(path, root / "val" / f"{path.parent.name}-{path.name}")
    for name in CLASSES:
        (root / "val" / name).rmdir()
    names = sorted(path.name for path in (root / "val").iterdir())
    (root / GROUND_TRUTH).write_text("".join(f"{line}\n" for line in lines(names)))


def by_name(names):
    return [f"{name} {name.split('-')[0]}" for name in names]


def test_a_flat_validation_folder_takes_its_classes_from_the_ground_truth(
    program, uninterrupted, own_pictures, tmp_path
):
    flat(own_pictures, by_name)
    assert program(own_pictures, *SMALL, "--output-dir", "out").status == 0
    assert_same_run(tmp_path / "out", uninterrupted[0])


def test_labels_missing_from_the_ground_truth_are_named(program, own_pictures):
    flat(own_pictures, lambda names: by_name(names)[2:])
    result = program(own_pictures, *SMALL)
    assert result.status == 1
    assert GROUND_TRUTH in result.err
    assert "blue-00.JPEG" in result.err


def an_empty_class(root):
    (root / "train" / "white").mkdir()
    return "train has 1 class folder without a picture (.jpeg, .jpg, .png): white"


def one_class(root):
    for split, name in itertools.product(("train", "val"), ("green", "red")):
        shutil.rmtree(root / split / name)
    return "has one class only, blue"


def no_training_pictures(root):
    shutil.rmtree(root / "train")
    return "has no folder train; it has val"


def no_validation_pictures(root):
    shutil.rmtree(root / "val")
    return "has no folder val or test; it has train"


def nothing(root):
    shutil.rmtree(root)
    return "there is no folder "


@pytest.mark.parametrize(
    "wrong", [an_empty_class, one_class, no_training_pictures, no_validation_pictures, nothing]
)
def test_what_is_wrong_with_a_folder_of_pictures_is_told(program, own_pictures, tmp_path, wrong):
    message = wrong(own_pictures)
    result = program(own_pictures, *SMALL)
    assert result.status == 1
    assert result.err.startswith("alexnet_imagenet.py: ")
    assert message in result.err


def test_pictures_smaller_than_the_crop_are_enlarged(program, own_pictures):
    draw(own_pictures / "train" / "red" / "small.png", (200, 0, 0), np.random.default_rng(0), size=(20, 9))
    assert program(own_pictures, *SMALL, "--epochs", 1).status == 0


# ---- what can be wrong with the weights ---------------------------------------------------------------


def test_a_run_does_not_go_on_with_other_classes(program, uninterrupted, two_classes, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    before = times_of(folder)
    result = program(two_classes, "--resume", folder, "--epochs", 3)
    assert result.status == 1
    assert (
        "knows other classes (blue, green, red) than the pictures have (blue, red): only the first has green"
        in result.err
    )
    assert times_of(folder) == before


def test_settings_that_clash_with_the_checkpoint_are_named(program, uninterrupted):
    result = program("--resume", uninterrupted[0], "--epochs", 3, "-b", 8, "--preset", "bvlc")
    assert result.status == 1
    assert "made with preset paper, batch_size 4; this run asks for preset bvlc, batch_size 8" in result.err


def lenet_weights(folder):
    weights.save(folder / "lenet.safetensors", weights.export_grouped(mx.models.lenet5()))
    return folder / "lenet.safetensors"


@pytest.mark.parametrize("what", ["folder", "checkpoint", "model", "settings"])
def test_another_networks_run_is_named(program, pictures, tmp_path, what):
    folder = tmp_path / "out"
    model = mx.models.lenet5()
    settings, row = {"variant": "modern", "epochs": 1}, {"epoch": 1, "test_error": 5.0}
    state = {"progress": {"epoch": 1, "step": 0, "history": [row]}, "schedule": {}, "settings": settings}
    folder.mkdir()
    (folder / runs.SETTINGS).write_text(json.dumps(settings))
    if what != "settings":
        save_checkpoint(folder / runs.CHECKPOINT, model, mx.SGD(model.parameters(), 0.1), state)
        weights.save(folder / runs.MODEL, weights.export_grouped(model))
    path = {"checkpoint": folder / runs.CHECKPOINT, "model": folder / runs.MODEL}.get(what, folder)
    calls = {
        "folder": ["--resume", "-e --resume", "-e --pretrained", "--pretrained"],
        "checkpoint": ["--resume", "-e --resume", "-e --pretrained", "--pretrained"],
        "model": ["-e --resume", "-e --pretrained", "--pretrained"],
        "settings": ["--resume"],
    }
    before = times_of(folder)
    for call in calls[what]:
        result = program(pictures, *(OF_TESTS if "-e" in call else SMALL), *call.split(), path)
        assert result.status == 1
        assert "is a run of LeNet-5 (lenet_mnist.py), not of AlexNet" in result.err
    assert times_of(folder) == before
    assert not (tmp_path / "runs").exists()


def test_weights_of_another_network_are_refused(program, pictures, tmp_path):
    path = lenet_weights(tmp_path)
    result = program(pictures, "-e", "--pretrained", path)
    assert result.status == 1
    assert "lenet.safetensors is a run of LeNet-5 (lenet_mnist.py), not of AlexNet" in result.err
    result = program(pictures, *SMALL, "--pretrained", path)
    assert result.status == 1
    assert "lenet.safetensors does not fit this model" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-e", "--resume", "nothing"], "there is no file nothing"),
        (["-e", "--resume", "."], "train first"),
        (["--pretrained", "nothing.npy"], "there is no file nothing.npy"),
        (
            ["--freeze", "conv1,conv9"],
            "?); there are conv1, conv2, ",
        ),
        (
            ["--freeze", "conv1,conv2,conv3,conv4,conv5,fc6,fc7,fc8"],
            "with all layers frozen there is nothing to train",
        ),
        (["--devices", "tpu"], "unknown device 'tpu'"),
        (["--lr", "1e30"], "the loss became"),
    ],
)
def test_what_cannot_be_is_told(program, pictures, arguments, message):
    result = program(pictures, *(OF_TESTS if "-e" in arguments else SMALL), *arguments)
    assert result.status == 1
    assert message in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("name", ["nothing", "nothing.safetensors"])
def test_what_is_not_there_is_not_resumed(program, pictures, tmp_path, name):
    result = program(pictures, *SMALL, "--resume", name)
    assert result.status == 2
    assert f"--resume: there is no file {name}" in result.err
    assert not list(tmp_path.iterdir())


OTHER_PRESETS = ["bvlc", "cuda-convnet", "torchvision", "ungrouped"]


@pytest.mark.parametrize("preset", OTHER_PRESETS)
@pytest.mark.parametrize("file", ["", runs.MODEL, runs.CHECKPOINT, runs.BEST])
@pytest.mark.parametrize("purpose", ["-e", "--epochs 1"])
def test_weights_are_for_no_other_preset(program, uninterrupted, pictures, tmp_path, preset, file, purpose):
    path = uninterrupted[0] / file
    if file:
        path = shutil.copy(path, tmp_path / "moved.safetensors")  # away from settings.json
    options = OF_TESTS if purpose == "-e" else SMALL
    result = program(pictures, *options, *purpose.split(), "--pretrained", path, "--preset", preset)
    assert result.status == 1
    assert "paper" in result.err
    assert preset in result.err
    assert not (tmp_path / "runs").exists()


def test_a_moved_weight_file_brings_its_network_and_classes(program, uninterrupted, pictures, tmp_path):
    shutil.copy(uninterrupted[0] / runs.INPUT, tmp_path)
    path = shutil.copy(uninterrupted[0] / runs.MODEL, tmp_path / "moved.safetensors")
    wanted = program(pictures, "-e", "--resume", uninterrupted[0])
    assert program(pictures, "-e", "--pretrained", path).out == wanted.out


def test_weights_without_a_record_are_loaded_and_said_to_have_none(program, nameless, pictures, tmp_path):
    names = ["--classes", write_names(tmp_path, *CLASSES)]
    for purpose in (["-e", *OF_TESTS], [*SMALL, "--epochs", 1]):
        result = program(pictures, *purpose, "--pretrained", nameless, *names)
        assert result.status == 0, result
        assert f"{nameless} has no record of its network: it is taken for preset paper" in result.out


def test_weights_with_a_record_are_not_said_to_have_none(program, uninterrupted, foreign, pictures, tmp_path):
    names = ["--classes", write_names(tmp_path, *CLASSES)]
    assert "record" not in program("-e", "--resume", uninterrupted[0]).out
    assert "record" not in program(pictures, "-e", "--pretrained", foreign, *names).out
    assert "record" not in program(pictures, "-e", "--resume", uninterrupted[0] / runs.CHECKPOINT).out


def test_a_run_of_before_says_no_arch_and_is_an_alexnets(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    settings = json.loads((folder / runs.SETTINGS).read_text())
    for name in ("arch", "small", "pixels"):
        del settings[name]
    (folder / runs.SETTINGS).write_text(json.dumps(settings))
    checkpoint = load_checkpoint(folder / runs.CHECKPOINT)
    arrays = {f"velocity:{name}": velocity for name, velocity in checkpoint.velocities.items()}
    arrays |= checkpoint.parameters
    weights.save(
        folder / runs.CHECKPOINT, arrays, seal.sealed(arrays, {**checkpoint.state, "settings": settings})
    )
    assert "Its results are in" in program("--resume", folder).out
    result = program("--resume", folder, "-a", "inception_v3", "--epochs", 3)
    assert result.status == 1
    assert "made with arch alexnet; this run asks for arch inception_v3: leave that out" in result.err
    result = program("--resume", folder, "--epochs", 3)
    assert result.status == 0, result
    assert json.loads((folder / runs.SETTINGS).read_text())["arch"] == "alexnet"


def test_a_weight_file_is_no_checkpoint(program, uninterrupted):
    result = program("--resume", uninterrupted[0] / runs.MODEL)
    assert result.status == 1
    assert "holds no training state: it is not a checkpoint" in result.err


@pytest.mark.skipif(cuda_count() > 0, reason="this machine has a CUDA GPU")
def test_a_gpu_that_is_not_there_is_named(program, pictures):
    result = program(pictures, *SMALL, "--devices", "cuda:0,cuda:1")
    assert result.status == 1
    assert re.search("cuda:0 needs CuPy|finds no usable NVIDIA GPU", result.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-e"], "-e tests weights: say which with --resume PATH or --pretrained PATH"),
        (["--ten-crop"], "--ten-crop goes with -e"),
        (["--classes", "names.txt"], "it goes with -e or --pretrained"),
        (["--epochs", "0"], "a whole number >= 1 is needed, not '0'"),
        (["-j", "-1"], "a whole number >= 0 is needed, not '-1'"),
        (["--lr", "nan"], "a number >= 0 is needed, not 'nan'"),
        (["--preset", "vgg"], "invalid choice: 'vgg'"),
        (["--batch_size", "9"], "unrecognized arguments: --batch_size (did you mean --batch-size?)"),
    ],
)
def test_bad_arguments_are_named(program, tmp_path, arguments, message):
    result = program(*arguments)
    assert result.status == 2
    assert message in result.err
    assert not list(tmp_path.iterdir())


def test_help_names_every_flag(program):
    flags = """
        DATA --preset --devices --epochs -b --batch-size -j --workers --lr --momentum --wd --lr-scheduler --resume
        -e --evaluate --ten-crop --pretrained --freeze -p --print-freq --seed --output-dir --cache --limit --dummy
        --classes --max-bad --ground-truth --class-ids --checkpoint-every --look -a --arch --small
    """.split()
    result = program("--help")
    assert result.status == 0
    assert [flag for flag in flags if not re.search(rf"{flag}\b", result.out)] == []


# ---- what belongs to other pictures ----


def test_the_text_files_of_other_pictures_are_not_taken_along():
    of_run = {"data": "/a", "ground_truth": "/a.txt", "class_ids": "/ids.txt", "lr": 0.1}
    other = picture_settings.of_other_pictures
    assert other(of_run, {}) == other(of_run, {"data": "/a"}) == of_run
    assert other(of_run, {"data": "/b"}) == {"data": "/a", "lr": 0.1}
    assert other(None, {"data": "/b"}) is None


def test_a_run_on_random_numbers_is_not_tested_on_pictures(program, pictures, tmp_path):
    run = program(*SMALL, "--dummy", "--limit", 8, "--epochs", 1, "--output-dir", "dummy")
    assert run.status == 0, run
    result = program(pictures, "-e", "--resume", "dummy")
    assert result.status == 1
    assert "that run had random numbers in place of pictures (--dummy)" in result.err


def test_a_run_stopped_while_it_measured_its_pictures_goes_on_with_them(program, monkeypatch, tmp_path):
    """Its settings are there before its first checkpoint, with the folder of the pictures."""
    folder = mx.data.pictures.draw_pictures(tmp_path / "mine", train=10, val=10, size=80)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Colour, "of", stopped)
        assert program(folder, "--epochs", 1, "--output-dir", "out").status == 130
    assert json.loads((tmp_path / "out/settings.json").read_text())["data"] == str(folder)
    result = program("--resume", "out")
    assert result.status == 0, result
    assert "10 pictures to train on" in result.out
    assert json.loads((tmp_path / "out/settings.json").read_text())["data"] == str(folder)


def test_a_folder_without_a_run_is_not_resumed_on_drawn_pictures(program, tmp_path):
    (tmp_path / "out").mkdir()
    result = program("--resume", "out")
    assert result.status == 2
    assert "there is no run in out, and nothing says on which pictures it should be: name DATA" in result.err
    assert not list((tmp_path / "out").iterdir())


# ---- names that are empty, options that go against each other, few pictures ----


@pytest.mark.parametrize("option", ["--pretrained", "--output-dir", "--cache", "--classes", "--ground-truth"])
def test_an_empty_name_is_no_name(program, pictures, option):
    result = program(pictures, option, "")
    assert (result.status, "the name is empty" in result.err) == (2, True)


def test_one_network_is_tested_at_a_time(program, pictures):
    result = program(pictures, "-e", "--resume", "a", "--pretrained", "b")
    assert (result.status, "--resume and --pretrained both name one" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("saved", "asked", "said"),
    [
        ({"preset": "paper", "small": True}, "--preset torchvision", "asks for preset torchvision"),
        ({"arch": "zfnet", "pretrained": "w.safetensors"}, "-a resnet18", "is for zfnet, not for resnet18"),
        (
            {"arch": "zfnet", "small": False, "pretrained": "w.safetensors"},
            "--small",
            "is for zfnet, not for zfnet, small",
        ),
    ],
)
def test_another_network_is_another_run_also_before_the_first_checkpoint(
    program, pictures, tmp_path, saved, asked, said
):
    (tmp_path / "r").mkdir()
    model = mx.models.zfnet(3, width=0.0625, rng=1)
    mx.save(model, tmp_path / "w.safetensors")
    if "pretrained" in saved:
        saved = {**saved, "pretrained": str(tmp_path / saved["pretrained"]), "width": 0.0625}
    runs.write_settings(tmp_path / "r", {"arch": "alexnet", "small": False, **saved})
    result = program(pictures, "--resume", "r", *asked.split())
    assert result.status == 1
    assert said in result.err


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_look_at_few_pictures_is_one(program, pictures, tmp_path, count):
    shutil.copytree(pictures / "train", tmp_path / "few" / "train")
    for file in [*(pictures / "val").glob("*/00.JPEG"), *(pictures / "val").glob("*/0[1-4].JPEG")][:count]:
        (tmp_path / "few" / "val" / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "few" / "val" / file.parent.name)
    result = program(tmp_path / "few", *SMALL, "--epochs", 1, "--look", "--output-dir", "out")
    print(result)
    assert result.status == 0
