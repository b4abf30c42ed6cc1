"""examples/lenet_mnist.py as its users run it: without a network, killed, resumed, and with all that can go wrong.

Most tests run the program inside this process, with `runpy`; those that kill it run it as a process of its own.
Nothing here leaves this machine: no mirror is asked, or one at a closed port.
"""

import atexit
import csv
import functools
import json
import math
import os
import re
import runpy
import signal
import site
import socket
import time
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import running
from PIL import Image
from running import EXAMPLES, LONG, ONE_THREAD, PACKAGE, finish, run_here, wait_until
from threadpoolctl import threadpool_limits

import minialex as mx
from minialex import data, plot, train, weights
from minialex.data import mnist
from minialex.devices.device import cuda_count
from minialex.training import progress, runs
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.weights import files

PROGRAM = EXAMPLES / "lenet_mnist.py"
PICTURES = ["confusion.png", "curves.png", "feature_maps.png", "filters.png", "mistakes.png"]
COLUMNS = ["epoch", "lr", "train_loss", "train_error", "test_loss", "test_error", "seconds"]

STEPS = 16  # in an epoch of 256 pictures, in batches of 16
SMALL = "--variant keras --dropout 0.3 --lr 0.05 --limit 256 -b 16 --epochs 2".split()
posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


# ---- running it ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing from threads, and lose much where others use the cores as well."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    """Call the program in this process: no network, no MNIST, pictures that cost no time, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_DATA", raising=False)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(data, "load_drawn_digits", drawn_once)
    for name in ("curves", "filters", "feature_maps", "confusion", "mistakes"):
        monkeypatch.setattr(plot, name, pretend_to_draw)

    def call(*arguments):
        def main():
            runpy.run_path(str(PROGRAM), run_name="__main__")

        return run_here(main, PROGRAM, arguments, monkeypatch, capsys)

    return call


drawn_once = functools.cache(data.load_drawn_digits)


def pretend_to_draw(*args, title=None, classes=None):
    args[-1].touch()


CLOSED = socket.socket()  # a port that is ours, so nobody else's, and at which nobody listens
CLOSED.bind(("127.0.0.1", 0))
atexit.register(CLOSED.close)


def environment(folder):
    """Of a process without network and data: all traffic would go to a closed port of this machine."""
    nowhere = f"http://127.0.0.1:{CLOSED.getsockname()[1]}"
    kept = {k: v for k, v in os.environ.items() if k.upper() not in ("MINIALEX_DATA", "NO_PROXY")}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(folder / "home"))
    packages = {**PACKAGE, "PYTHONUSERBASE": site.getuserbase()}
    fonts = {"MPLCONFIGDIR": matplotlib.get_cachedir()}  # matplotlib need not look for all fonts again
    return {**kept, **proxies, **homes, **packages, **fonts}


def start(folder, *arguments, threads=ONE_THREAD):
    """Start the program as a process of its own, in `folder`."""
    return running.start(folder, PROGRAM, *arguments, env={**environment(folder), **threads})


UP_TO = """
import runpy, sys, time
from minialex import train
free, step = iter(range(int(sys.argv.pop(1)))), train.train_step
def hang_or_step(*args):
    if next(free, None) is None:
        time.sleep(600)
    return step(*args)
train.train_step = hang_or_step
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start_up_to(steps, folder, *arguments):
    """The same, but it hangs after so many steps: it does not end before it is killed, however late that is."""
    code = ["-c", UP_TO, steps, PROGRAM, *arguments]
    return running.start(folder, *code, env={**environment(folder), **ONE_THREAD})


def wait_for_the_middle_of_an_epoch(process, folder, after=0):
    """Return as soon as there is a checkpoint of an unfinished epoch, of more steps than `after`.

    All the while it can be read.
    """

    def in_the_middle():
        assert process.poll() is None, f"no checkpoint in the middle of an epoch: {finish(process)}"
        steps = steps_in(folder) if (folder / train.CHECKPOINT).exists() else 0
        return steps > after and steps % STEPS

    wait_until(in_the_middle, every=0.002)


def steps_in(folder):
    """How many steps the checkpoint has behind it, over all epochs."""
    progress = progress_in(folder)
    return STEPS * progress["epoch"] + progress["step"]


def progress_in(folder):
    return load_checkpoint(folder / train.CHECKPOINT).state["progress"]


def history_of(folder):
    """history.csv without the seconds."""
    with open(folder / train.HISTORY, newline="") as file:
        reader = csv.DictReader(file)
        return reader.fieldnames, [{k: v for k, v in row.items() if k != "seconds"} for row in reader]


def assert_same_run(folder, wanted):
    assert (folder / train.MODEL).read_bytes() == (wanted / train.MODEL).read_bytes()
    assert history_of(folder) == history_of(wanted)
    assert not list(folder.glob(".*"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A whole run as a process, without network and data, and what it said."""
    place = tmp_path_factory.mktemp("uninterrupted")
    result = finish(start(place, *SMALL, "--output-dir", "out"))
    assert result.status == 0, result
    return place / "out", result


@pytest.fixture(scope="module")
def by_the_textbook(tmp_path_factory):
    """The folder of the same run without fast twins, whose bits are those of any device."""
    place = tmp_path_factory.mktemp("by_the_textbook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIALEX_FAST", "0")
        result = finish(start(place, *SMALL, "--output-dir", "out"))
    assert result.status == 0, result
    return place / "out"


@pytest.fixture(scope="module")
def uninterrupted_in_two(tmp_path_factory):
    """The folder of the same run in two processes."""
    place = tmp_path_factory.mktemp("uninterrupted_in_two")
    result = finish(start(place, *SMALL, "--processes", 2, "--output-dir", "out"))
    assert result.status == 0, result
    return place / "out"


# ---- a whole run --------------------------------------------------------------------------------------


def test_without_network_and_data_it_says_so_and_trains_on_drawn_digits(uninterrupted):
    _, result = uninterrupted
    assert "MNIST is not here and could not be fetched: training on drawn digits instead." in result.out
    assert "--data-dir" in result.out
    assert "drawn digits: 256 pictures to train on, 0 held out, 256 to test; on " in result.out
    assert re.search(r"Test error on drawn digits: [\d.]+ % \(\d+ of 256 wrong\)", result.out)
    assert "44,426" in result.out
    assert result.err == ""


def test_a_run_leaves_its_results_in_its_folder(uninterrupted):
    folder, result = uninterrupted
    files = [train.CHECKPOINT, train.MODEL, train.HISTORY, train.SETTINGS, runs.DOUBT, *PICTURES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert all(name in result.out for name in (train.MODEL, train.HISTORY, *PICTURES))
    for name in PICTURES:
        with Image.open(folder / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 100
            assert np.ptp(np.asarray(picture.convert("L"))) > 100  # something is drawn there
    names, rows = history_of(folder)
    assert names == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_a_finished_run_says_so(program, uninterrupted):
    folder = uninterrupted[0]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = program("--resume", folder)
    assert (result.status, result.err) == (0, "")
    assert "This run is finished: 2 epochs, test error " in result.out
    assert "--epochs 12" in result.out
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_evaluation_gives_the_last_test_error_and_writes_nothing(program, uninterrupted, tmp_path):
    folder = uninterrupted[0]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    error = float(history_of(folder)[1][-1]["test_error"])
    for path in (folder, folder / train.CHECKPOINT, folder / train.MODEL):
        result = program("-e", "--resume", path)
        assert f"Test error on drawn digits: {error:.2f} %" in result.out
        assert result.status == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not (tmp_path / "runs").exists()


def test_evaluation_may_use_fewer_pictures(program, uninterrupted):
    assert "of 100 wrong" in program("-e", "--resume", uninterrupted[0], "--limit", 100).out


def test_a_run_inside_this_process_gives_the_same_bits(program, uninterrupted, tmp_path):
    assert program(*SMALL, "--output-dir", "out", "--checkpoint-every", 3).status == 0
    assert_same_run(tmp_path / "out", uninterrupted[0])


# ---- killed -------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_twice_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    tmp_path, uninterrupted, uninterrupted_in_two, processes
):
    folder = tmp_path / "out"
    arguments = [*SMALL, "--checkpoint-every", 3, "--output-dir", folder]
    steps, in_two = 0, ["--processes", 2] if processes == 2 else []
    for _ in range(2):
        process = start_up_to(6, tmp_path, *arguments, "--resume", folder, *in_two)
        in_two = []  # the checkpoint says it
        wait_for_the_middle_of_an_epoch(process, folder, after=steps)
        process.send_signal(signal.SIGKILL)
        result = finish(process)
        assert result.status == -signal.SIGKILL, result
        steps = steps_in(folder)
    result = finish(start(tmp_path, *arguments, "--resume", folder))
    assert result.status == 0, result
    assert_same_run(folder, uninterrupted[0] if processes == 1 else uninterrupted_in_two)


@posix
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, seed):
    start_threaded = functools.partial(start, tmp_path, threads={})  # as its users run it
    rng = np.random.default_rng(seed)
    sizes = "--limit 1000 -b 20 --epochs 4 --dropout 0.3 --holdout 100 --lr-scheduler plateau".split()
    wanted, folder = tmp_path / "wanted", tmp_path / "out"
    folder.mkdir()
    assert finish(start_threaded(*sizes, "--output-dir", wanted)).status == 0
    kills = 0
    for number in range(5):
        before = written_at(folder)
        process = start_threaded(*sizes, "--checkpoint-every", rng.integers(1, 12), "--resume", folder)
        while number and process.poll() is None and written_at(folder) == before:
            time.sleep(
                0.002
            )  # the first kill may come before all checkpoints, the others come after a new one
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        kills += finish(process).status == -signal.SIGKILL
        if written_at(folder):
            progress_in(folder)  # it can be read
    assert kills >= 2
    result = finish(start_threaded(*sizes, "--checkpoint-every", 12, "--resume", folder))
    assert result.status == 0, result
    assert_same_run(folder, wanted)
    assert (folder / train.BEST).read_bytes() == (wanted / train.BEST).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in wanted.iterdir()}


def written_at(folder):
    """When the last checkpoint was written; 0 before the first."""
    path = folder / train.CHECKPOINT
    return path.stat().st_mtime_ns if path.exists() else 0


@posix
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_with_a_message_and_the_checkpoint_safe(tmp_path, processes):
    folder = tmp_path / "out"
    arguments = ["--epochs", 5000, "--checkpoint-every", 3, "--output-dir", folder, "--processes", processes]
    process = start(tmp_path, *SMALL, *arguments)
    wait_for_the_middle_of_an_epoch(process, folder)
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.status == 130, result
    assert f"Stopped. The last checkpoint is safe: go on with --resume {folder}" in result.err
    assert "Traceback" not in result.err
    assert progress_in(folder)["epoch"] < 5000


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to look for processes")
def test_ctrl_c_ends_a_run_whose_other_process_is_stopped(tmp_path):
    folder = tmp_path / "out"
    arguments = ["--epochs", 5000, "--checkpoint-every", 3, "--output-dir", folder, "--processes", 2]
    process = start(tmp_path, *SMALL, *arguments)
    wait_for_the_middle_of_an_epoch(process, folder)
    others = [
        int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    assert len(others) == 2  # one of them is multiprocessing's helper
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert time.monotonic() - started < LONG  # it would wait for ever
    assert result.status == 130, result
    assert f"Stopped. The last checkpoint is safe: go on with --resume {folder}" in result.err
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").is_dir() for pid in others)
    )  # the helper ends after its program


def test_ctrl_c_before_the_first_checkpoint_does_not_promise_one(program, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_step", interrupt)
    result = program(*SMALL)
    assert result.status == 130
    assert "Stopped. There was no checkpoint yet" in result.err


# ---- resumed ------------------------------------------------------------------------------------------


def stop_at(monkeypatch, step):
    """Ctrl-C at a step."""
    real, steps = train.train_step, iter(range(1, 10_000))

    def train_step(*args):
        if next(steps) == step:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train, "train_step", train_step)
    return lambda: monkeypatch.setattr(train, "train_step", real)


@pytest.mark.parametrize("what", ["folder", "checkpoint"])
@pytest.mark.parametrize("devices", [("cpu", "cpu"), ("cpu", "sim:0"), ("sim:0", "cpu")])
@pytest.mark.usefixtures("textbook")
def test_a_resumed_run_needs_no_other_argument(
    program, monkeypatch, by_the_textbook, tmp_path, what, devices
):
    go_on = stop_at(monkeypatch, 22)
    arguments = ["--checkpoint-every", 5, "--output-dir", "out", "--devices", devices[0]]
    assert program(*SMALL, *arguments).status == 130
    go_on()
    path = tmp_path / "out" / (train.CHECKPOINT if what == "checkpoint" else "")
    result = program("--resume", path, "--devices", devices[1])
    assert result.status == 0, result
    assert_same_run(tmp_path / "out", by_the_textbook)


def test_a_run_resumed_with_fast_twins_has_the_bits_of_the_whole_one(
    program, monkeypatch, uninterrupted, tmp_path
):
    go_on = stop_at(monkeypatch, 22)
    assert program(*SMALL, "--checkpoint-every", 5, "--output-dir", "out").status == 130
    go_on()
    assert program("--resume", "out").status == 0
    assert_same_run(tmp_path / "out", uninterrupted[0])


def test_a_run_may_be_resumed_into_another_folder(program, monkeypatch, uninterrupted, tmp_path):
    go_on = stop_at(monkeypatch, 22)
    program(*SMALL, "--checkpoint-every", 5, "--output-dir", "out")
    go_on()
    before = (tmp_path / "out" / train.CHECKPOINT).read_bytes()
    assert program("--resume", "out", "--output-dir", "other").status == 0
    assert_same_run(tmp_path / "other", uninterrupted[0])
    assert (tmp_path / "out" / train.CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_a_checkpoint_starts_from_the_beginning_and_says_so(
    program, uninterrupted, tmp_path, there
):
    """Where it is not there, it must be named twice: then it is no slip."""
    if there:
        (tmp_path / "out").mkdir()
    named_twice = [] if there else ["--output-dir", tmp_path / "out"]
    result = program(*SMALL, "--resume", tmp_path / "out", *named_twice)
    assert result.status == 0
    assert f"There is no checkpoint in {tmp_path / 'out'}: starting from the beginning." in result.out
    assert_same_run(tmp_path / "out", uninterrupted[0])


def truncated(path):
    path.write_bytes(path.read_bytes()[: -min(1000, path.stat().st_size // 2)])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def copy_of(folder, place):
    """A finished run, to do something to it."""
    place.mkdir()
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b""), truncated])
@pytest.mark.parametrize("lost", [train.MODEL, train.HISTORY, train.SETTINGS, runs.DOUBT, *PICTURES])
def test_a_finished_run_gets_each_result_that_is_missing_or_cut_short(
    program, uninterrupted, tmp_path, lost, harm
):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    harm(folder / lost)
    result = program("--resume", folder)
    assert result.status == 0
    assert "This run is finished" in result.out
    told = re.search(r"Not all of its results were written: writing them now.\n((  .*\n)+)", result.out)[1]
    assert re.fullmatch(rf"  {lost} (is not there|is empty|cannot be read .*|has other .*)\n", told)
    assert (folder / lost).exists()
    assert_same_run(folder, uninterrupted[0])
    assert (folder / train.SETTINGS).read_bytes() == (uninterrupted[0] / train.SETTINGS).read_bytes()


def test_all_results_at_once_are_made_again_to_the_same_bytes(uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    for number, name in enumerate([train.MODEL, train.HISTORY, train.SETTINGS, *PICTURES]):
        [Path.unlink, truncated, lambda path: path.write_bytes(b"")][number % 3](folder / name)
    result = finish(start(tmp_path, "--resume", folder))
    assert (result.status, result.err) == (0, "")
    for path in uninterrupted[0].iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert "Its results are in" in finish(start(tmp_path, "--resume", folder)).out


def complete(tmp_path, folder, wanted):
    """Resume a run as a process; then it has all results of the whole one."""
    result = finish(start(tmp_path, "--resume", folder))
    assert (result.status, result.err) == (0, "")
    assert_same_run(folder, wanted)
    for name in PICTURES:
        assert (folder / name).read_bytes() == (wanted / name).read_bytes(), name


@posix
@pytest.mark.parametrize("drawn", [2])
def test_a_run_killed_while_it_draws_has_whole_pictures_and_gets_the_others(tmp_path, uninterrupted, drawn):
    folder = tmp_path / "out"
    kill_while_drawing(tmp_path, folder, drawn)
    complete(tmp_path, folder, uninterrupted[0])


@posix
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_run_killed_while_it_draws_at_random_moments(tmp_path, uninterrupted, seed):
    folder, rng = tmp_path / "out", np.random.default_rng(seed)
    for _ in range(6):
        kill_while_drawing(tmp_path, folder, rng.integers(1, 6), rng.uniform(0, 0.2))
    complete(tmp_path, folder, uninterrupted[0])


def kill_while_drawing(tmp_path, folder, drawn, later=0.0):
    """Kill a run, new or finished, when so many of its pictures are there; those that are there are whole."""
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)
    process = start(tmp_path, *SMALL, "--output-dir", folder, "--resume", folder)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if sum((folder / name).exists() for name in PICTURES) >= drawn:
            break
        time.sleep(0.001)
    time.sleep(later)
    process.send_signal(signal.SIGKILL)
    finish(process)
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()


FULL_WHILE_DRAWING = """
import resource, runpy, signal, sys
from minialex import train
fit = train.fit
def fit_then_full(*args, **options):
    history = fit(*args, **options)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, -1))  # no file may be larger: as if the disk was full
    return history
train.fit = fit_then_full
program = sys.argv.pop(1)
sys.argv[0] = program
runpy.run_path(program, run_name="__main__")
"""


@posix
def test_a_disk_that_is_full_while_it_draws_is_told_with_the_file_and_how_to_go_on(tmp_path, uninterrupted):
    folder = tmp_path / "out"
    code = ["-c", FULL_WHILE_DRAWING, PROGRAM, *SMALL, "--output-dir", folder]
    result = finish(running.start(tmp_path, *code, env={**environment(tmp_path), **ONE_THREAD}))
    assert result.status == 1
    assert re.search(r"lenet_mnist.py: .*out/\w+.png could not be written: File too large", result.err)
    assert f"its weights are safe; what is missing is made by --resume {folder}" in result.err
    assert not list(folder.glob(".*"))
    complete(tmp_path, folder, uninterrupted[0])


def test_a_model_that_is_older_than_the_finished_run_is_written_anew(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    arrays = weights.export_grouped(mx.models.lenet5("keras", rng=9))
    weights.save(folder / train.MODEL, arrays)  # as if from before the run was given more epochs
    assert "Not all of its results were written" in program("--resume", folder).out
    assert_same_run(folder, uninterrupted[0])


def test_a_finished_run_goes_on_when_more_epochs_are_asked_for(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    assert program("--resume", folder, "--epochs", 3).status == 0
    names, rows = history_of(folder)
    assert names == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert (folder / train.MODEL).read_bytes() != (uninterrupted[0] / train.MODEL).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "modern"], "made with variant keras; this run asks for variant modern"),
        (["--dropout", "0"], "made with dropout 0.3; this run asks for dropout 0.0"),
        (
            ["--seed", "4", "-b", "8"],
            "made with batch_size 16, seed 0; this run asks for batch_size 8, seed 4",
        ),
        (["--holdout", "10"], "made with holdout 0; this run asks for holdout 10"),
        (["--limit", "99"], "made with limit 256; this run asks for limit 99"),
        (["--lr-scheduler", "plateau"], "--lr-scheduler plateau needs --holdout N"),
    ],
)
def test_settings_that_clash_with_the_checkpoint_are_named(program, uninterrupted, arguments, message):
    folder = uninterrupted[0]
    before = (folder / train.CHECKPOINT).read_bytes()
    result = program("--resume", folder, "--epochs", 5, *arguments)
    assert result.status == 1
    assert message in result.err
    assert (folder / train.CHECKPOINT).read_bytes() == before


def test_what_the_checkpoint_says_may_be_repeated(program, uninterrupted):
    assert program("--resume", uninterrupted[0], *SMALL).status == 0


def test_rate_and_schedule_may_change_in_the_middle(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    more = "--epochs 3 --lr 0.001 --lr-scheduler constant --momentum 0.5 --wd 0".split()
    assert program("--resume", folder, *more).status == 0
    assert [row["lr"] for row in history_of(folder)[1]][-1] == "0.001"


@pytest.fixture
def threads_as_before():
    cpu = mx.Device("cpu")
    before = cpu.threads
    yield
    cpu.threads = before


def watch_fit(monkeypatch):
    """What train.fit is really given, as settings."""
    real, given = train.fit, {}

    def fit(model, optimizer, schedule, train_on, *sets, epochs, checkpoint_every, **more):
        given.update(epochs=epochs, checkpoint_every=checkpoint_every, lr=schedule.lr)
        given.update(momentum=optimizer.momentum, wd=optimizer.weight_decay)
        given.update(lr_scheduler=type(schedule).__name__.lower(), threads=mx.Device("cpu").threads)
        given.update(processes=getattr(model, "processes", 1), batch_size=train_on.batch_size)
        return real(
            model,
            optimizer,
            schedule,
            train_on,
            *sets,
            epochs=epochs,
            checkpoint_every=checkpoint_every,
            **more,
        )

    monkeypatch.setattr(train, "fit", fit)
    return given


OTHER = {
    "epochs": 4, "lr": 0.001, "momentum": 0.5, "wd": 0.125, "lr_scheduler": "step", "checkpoint_every": 7,
    "processes": 2, "threads": 2,
}  # fmt: skip


@pytest.mark.usefixtures("threads_as_before")
@pytest.mark.parametrize("name", ["nothing", *OTHER])
def test_what_is_asked_where_a_run_goes_on_is_printed_runs_and_is_kept(
    program, monkeypatch, uninterrupted, tmp_path, name
):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    given = watch_fit(monkeypatch)
    asked = [] if name == "nothing" else [f"--{name.replace('_', '-')}", OTHER[name]]
    assert {*OTHER} == runpy.run_path(str(PROGRAM))["MAY_CHANGE"]  # nothing is forgotten here
    result = program("--resume", folder, *([] if name == "epochs" else ["--epochs", 3]), *asked)
    assert result.status == 0, result
    if asked:
        assert given[name] == OTHER[name]
    kept = load_checkpoint(folder / train.CHECKPOINT).state["settings"]
    for known, value in given.items():
        if known != "threads" or name == "threads":
            assert re.search(rf"(^|, ){known} {value}(,|$)", result.out, re.MULTILINE), known
            assert kept[known] == value
    given.clear()
    result = program("--resume", folder, "--epochs", 5)  # and so it goes on
    if asked and name != "epochs":
        assert given[name] == OTHER[name]
    assert "Going on in epoch " in result.out


@pytest.mark.parametrize("scheduler", ["constant", "step", "plateau", "cosine"])
def test_a_rate_that_is_asked_for_where_a_run_goes_on_is_the_one_that_runs(
    program, monkeypatch, tmp_path, scheduler
):
    small = f"--variant keras --limit 64 -b 16 --holdout 16 --lr 1e-7 --lr-scheduler {scheduler}".split()
    assert program(*small, "--epochs", 6, "--output-dir", "out").status == 0
    step, rates = train.train_step, []

    def watched(model, optimizer, *batch):
        rates.append(optimizer.lr)
        return step(model, optimizer, *batch)

    monkeypatch.setattr(train, "train_step", watched)
    result = program("--resume", "out", "--lr", "0.02", "--epochs", 8)
    factor = {"constant": 1, "step": 0.01, "plateau": 1, "cosine": 0.5 + 0.5 * math.cos(math.pi * 6 / 8)}[
        scheduler
    ]
    assert rates[0] == pytest.approx(0.02 * factor)
    assert f"to {rates[0]:.4g} here" in result.out
    assert "lr 0.02," in result.out
    assert [float(row["lr"]) for row in history_of(tmp_path / "out")[1]][6:] == pytest.approx(
        rates[::3], rel=1e-5
    )


def test_a_dry_run_does_not_go_on_with_another(program, uninterrupted):
    result = program("--dry-run", "--resume", uninterrupted[0])
    assert result.status == 1
    assert f"--dry-run is a short run from the beginning: leave out --resume {uninterrupted[0]}" in result.err


# ---- folders ------------------------------------------------------------------------------------------

OF_WEIGHTS = ["-e", "--resume", "runs/lenet"]
TINY = "--limit 20 -b 10 --epochs 1 --variant keras".split()


def test_results_go_to_the_next_free_folder(program, tmp_path):
    for name in ("lenet", "lenet-2"):
        assert f"in {Path('runs', name)}" in program(*TINY).out
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["lenet", "lenet-2"]


def test_a_run_that_has_just_begun_is_not_written_over(program, monkeypatch, tmp_path):
    go_on = stop_at(monkeypatch, 1)
    program(*TINY)
    go_on()
    assert f"in {Path('runs', 'lenet-2')}" in program(*TINY).out


@posix
def test_two_runs_that_start_at_once_take_two_folders_and_a_named_one_is_refused(tmp_path, uninterrupted):
    runs = [start(tmp_path, *SMALL) for _ in range(2)]
    results = [finish(process) for process in runs]
    assert [result.status for result in results] == [0, 0]
    for name in ("lenet", "lenet-2"):
        assert_same_run(tmp_path / "runs" / name, uninterrupted[0])
    assert {re.search(r"on cpu, in (\S+)", result.out)[1] for result in results} == {
        "runs/lenet",
        "runs/lenet-2",
    }


@posix
@pytest.mark.parametrize("second", [["--output-dir"], ["--resume"], ["--output-dir", "--resume"]])
def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path, program, second):
    folder = tmp_path / "out"
    arguments = [*SMALL, "--epochs", 5000, "--checkpoint-every", 3, "--output-dir", folder]
    process = start(tmp_path, *arguments)
    wait_for_the_middle_of_an_epoch(process, folder)
    named = [word for flag in second for word in (flag, folder)]
    if second == ["--output-dir"]:
        process.send_signal(signal.SIGSTOP)  # it would write another one meanwhile
        (folder / train.CHECKPOINT).rename(folder / "elsewhere")  # else it is refused for that
    result = program(*SMALL, *named)
    process.send_signal(signal.SIGCONT)
    assert result.status == 1
    assert f"out is in use by process {process.pid} on " in result.err
    assert process.poll() is None
    leftover = folder / f".model.safetensors.{process.pid}.unfinished"
    leftover.touch()
    process.send_signal(signal.SIGKILL)
    finish(process)
    result = program("--resume", folder, *SMALL, "--epochs", 3)
    assert result.status == 0, result
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(("name", "why"), [
    (".", ". is the folder that you are in, and no run"),
    ("runs", "runs is no run, but runs are in it: runs/mine?"),
])  # fmt: skip
def test_a_folder_of_other_things_is_not_resumed(program, uninterrupted, tmp_path, name, why):
    (tmp_path / "runs").mkdir()
    copy_of(uninterrupted[0], tmp_path / "runs" / "mine")
    before = sorted(tmp_path.rglob("*"))
    result = program("--resume", name)
    assert result.status == 2
    assert f"--resume: {why}" in result.err
    assert sorted(tmp_path.rglob("*")) == before


def test_another_networks_run_is_named(program, tmp_path):
    """Its checkpoint, its weights, and, where it was stopped before these, its settings."""
    from_alexnet(tmp_path / "alex")
    for arguments in (["--resume"], ["-e", "--resume"]):
        for name in ("", train.CHECKPOINT, train.MODEL)[: 3 if "-e" in arguments else 2]:
            result = program(*arguments, tmp_path / "alex" / name)
            assert result.status == 1
            assert "is a run of AlexNet (alexnet_imagenet.py), not of LeNet-5" in result.err
    for name in (train.CHECKPOINT, train.MODEL):
        (tmp_path / "alex" / name).unlink()
    before = sorted((tmp_path / "alex").iterdir())
    result = program("--resume", tmp_path / "alex")
    assert (
        "alex is a run of AlexNet (alexnet_imagenet.py), not of LeNet-5: name a run of LeNet-5" in result.err
    )
    assert sorted((tmp_path / "alex").iterdir()) == before


def from_alexnet(folder):
    """What a run of the other example leaves, as far as it is read."""
    model = mx.models.alexnet(3, "cpu", width=0.0625, image_size=67)
    settings, row = {"preset": "paper", "epochs": 1, "width": 0.0625}, {"epoch": 1, "val_acc1": 50.0}
    state = {"progress": {"epoch": 1, "step": 0, "history": [row]}, "schedule": {}, "settings": settings}
    folder.mkdir()
    save_checkpoint(folder / train.CHECKPOINT, model, mx.SGD(model.parameters(), 0.1), state)
    weights.save(folder / train.MODEL, weights.export_grouped(model))
    (folder / train.SETTINGS).write_text(json.dumps(settings))


def test_a_dry_run_is_short_and_takes_no_runs_place(program, tmp_path):
    for _ in range(2):
        result = program("--dry-run")
        assert result.status == 0
        assert "512 pictures to train on" in result.out
        assert "epoch  1/1" in result.out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["dry-run"]
    assert "epochs 3" in program("--dry-run", "--epochs", 3, "--limit", 20).out


@pytest.mark.parametrize("resume", [[], ["--resume", "elsewhere"]])
def test_an_output_folder_that_holds_another_run_is_refused(program, uninterrupted, tmp_path, resume):
    copy_of(uninterrupted[0], tmp_path / "out")
    result = program(*SMALL, "--output-dir", "out", *resume)
    assert result.status == 1
    assert (
        "out holds a run already: go on with it by --resume out, or name another --output-dir" in result.err
    )
    assert_same_run(tmp_path / "out", uninterrupted[0])


def test_the_folder_of_the_resumed_run_may_be_named_in_another_way(program, uninterrupted, tmp_path):
    copy_of(uninterrupted[0], tmp_path / "out")
    assert program("--resume", Path("out", train.CHECKPOINT), "--output-dir", tmp_path / "out").status == 0


@pytest.mark.parametrize("under", ["file", "file/out", "/proc/out"])
def test_an_unwritable_output_folder_is_named_before_training(program, monkeypatch, tmp_path, under):
    if under.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("there is no /proc here")
    (tmp_path / "file").touch()
    stop_at(monkeypatch, 1)
    result = program(*TINY, "--output-dir", under)
    assert result.status == 1
    assert f"cannot write to the output folder {Path(under)} (" in result.err
    assert "choose another --output-dir" in result.err


def test_a_full_disk_keeps_the_last_checkpoint_and_says_what_it_could_not_write(
    program, monkeypatch, tmp_path
):
    fsync, calls = os.fsync, []

    def full_later(file):
        calls.append(file)
        if len(calls) > 5:  # settings twice, history, two checkpoints
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr(files.os, "fsync", full_later)
    result = program(*SMALL, "--checkpoint-every", 3, "--output-dir", "out")
    assert result.status == 1
    assert "checkpoint.safetensors could not be written: No space left on device" in result.err
    assert progress_in(tmp_path / "out")["step"] == 6
    assert not list((tmp_path / "out").glob(".*"))


# ---- what can go wrong --------------------------------------------------------------------------------


def test_nan_stops_the_run_says_where_and_keeps_the_last_good_checkpoint(program, monkeypatch, tmp_path):
    result = program(*SMALL, "--lr", "1e20", "--checkpoint-every", 1, "--output-dir", "out")
    assert result.status == 1
    assert re.search(
        r"the loss became (nan|inf) in epoch 1 at step \d+ of 16|after \d+ steps of epoch 1", result.err
    )
    for name, array in weights.load(tmp_path / "out" / train.CHECKPOINT).items():
        assert np.isfinite(array).all(), name
    assert not (tmp_path / "out" / train.MODEL).exists()


@pytest.mark.parametrize("lr", ["30", "100", "1e4"])
@pytest.mark.parametrize("checkpoint_every", [0, 1])
def test_a_loss_that_explodes_stops_the_run_though_it_is_finite(program, tmp_path, lr, checkpoint_every):
    result = program(*SMALL, "--lr", lr, "--checkpoint-every", checkpoint_every, "--output-dir", "out")
    assert result.status == 1
    assert result.err.startswith("lenet_mnist.py: the loss became too large: ")
    assert "before the first step" in result.err
    step, rate = re.search(r"broke at step (\d+) \(learning rate ([\d.e+]+)\)", result.err).groups()
    cosine = 0.5 + 0.5 * math.cos(math.pi * (int(step) - 1) / STEPS / 2)
    assert float(rate) == pytest.approx(float(lr) * cosine, rel=1e-3)
    assert "there is no good.safetensors" in result.err
    assert ("may be spoiled already" in result.err) == (checkpoint_every > 0)
    assert "safe:" not in result.err
    assert "Test error" not in result.out
    assert not (tmp_path / "out" / train.MODEL).exists()


@pytest.mark.parametrize("lr", ["100", "1e30"])
@pytest.mark.parametrize("checkpoint_every", [0, 1])
def test_the_checkpoint_before_an_explosion_is_named_and_goes_on(
    program, uninterrupted, tmp_path, lr, checkpoint_every
):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    more = ["--lr-scheduler", "constant", "--epochs", 4]
    result = program("--resume", folder, *more, "--lr", lr, "--checkpoint-every", checkpoint_every)
    assert result.status == 1
    good = folder / train.GOOD
    assert f"go on with --resume {good} and a smaller --lr" in result.err
    assert good.read_bytes() == (uninterrupted[0] / train.CHECKPOINT).read_bytes()
    assert program("--resume", good, *more, "--lr", 0.01, "--checkpoint-every", 0).status == 0
    assert program("--resume", uninterrupted[0], *more, "--lr", 0.01, "--output-dir", "other").status == 0
    assert_same_run(folder, tmp_path / "other")
    assert not good.exists()


def test_ctrl_c_calls_no_checkpoint_safe_that_is_exploding(program, monkeypatch, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    stop_at(monkeypatch, 7)
    monkeypatch.setattr(progress.Progress, "check", lambda *args: None)  # as if the epoch were long
    result = program("--resume", folder, "--epochs", 4, "--lr", 300, "--checkpoint-every", 3)
    assert result.status == 130
    assert "The last checkpoint was made while training exploded" in result.err
    assert f"go on with --resume {folder / train.GOOD} and a smaller --lr" in result.err
    assert "safe" not in result.err.replace("safetensors", "")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_give_no_numbers_are_not_evaluated_as_if_they_did(
    program, uninterrupted, tmp_path, number
):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    arrays = weights.load(folder / train.MODEL)
    arrays["output.bias"][3] = number
    weights.save(folder / train.MODEL, arrays)
    result = program("-e", "--resume", folder)
    assert result.status == 1
    assert re.search(r"the loss on drawn digits is (nan|inf): what the network gives", result.err)


@pytest.mark.parametrize("harm", [truncated, corrupt])
def test_a_damaged_checkpoint_is_named(program, uninterrupted, tmp_path, harm):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    harm(folder / train.CHECKPOINT)
    result = program("--resume", folder)
    assert result.status == 1
    assert f"lenet_mnist.py: {folder / train.CHECKPOINT} is damaged" in result.err


def test_a_weight_file_is_no_checkpoint(program, uninterrupted):
    result = program("--resume", uninterrupted[0] / train.MODEL)
    assert result.status == 1
    assert "model.safetensors holds no training state: it is not a checkpoint" in result.err


def test_a_checkpoint_of_another_network_is_refused(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    say_instead(folder, variant="modern")
    result = program("--resume", folder, "--epochs", 3)
    assert result.status == 1
    assert "checkpoint.safetensors does not fit this model: it is for variant 'keras'" in result.err
    assert "this model is variant 'modern': these arrays belong to another model: c5.weight" in result.err


def say_instead(folder, **settings):
    """Write other settings into the checkpoint of a keras run."""
    checkpoint = load_checkpoint(folder / train.CHECKPOINT)
    model = mx.models.lenet5("keras", dropout=0.3)
    optimizer = mx.SGD(model.parameters(), lr=0.1)
    checkpoint.restore(model, optimizer)
    checkpoint.state["settings"].update(settings)
    save_checkpoint(folder / train.CHECKPOINT, model, optimizer, checkpoint.state)


def test_evaluating_another_variant_says_so(program, uninterrupted):
    result = program("-e", "--resume", uninterrupted[0], "--variant", "modern")
    assert result.status == 1
    assert "variant keras" in result.err
    bare = program("-e", "--resume", uninterrupted[0] / train.MODEL, "--variant", "1998")
    assert bare.status == 1


def test_a_moved_weight_file_knows_its_variant(program, uninterrupted, tmp_path):
    model = tmp_path / "mine.safetensors"
    model.write_bytes((uninterrupted[0] / train.MODEL).read_bytes())
    last = float(history_of(uninterrupted[0])[1][-1]["test_error"])
    for more in ([], ["--variant", "keras"]):
        result = program("-e", "--resume", model, "--limit", 256, *more)
        assert f"Test error on drawn digits: {last:.2f} %" in result.out
        assert "no record" not in result.out
    for other in (["--variant", "modern"], ["--activation", "relu"]):
        result = program("-e", "--resume", model, "--limit", 256, *other)
        assert result.status == 1
        assert re.search(
            "made with (variant keras|activation tanh); this run asks for (variant mo|activation re)",
            result.err,
        )
    assert weights.read_record(model)["classes"] == [*"0123456789"]


def test_weights_without_a_record_are_evaluated_as_what_the_arguments_say(program, uninterrupted, tmp_path):
    model = tmp_path / "mine.safetensors"
    weights.save(model, weights.load(uninterrupted[0] / train.MODEL))
    result = program("-e", "--resume", model, "--variant", "keras", "--limit", 256)
    assert (
        f"Test error on drawn digits: {float(history_of(uninterrupted[0])[1][-1]['test_error']):.2f} %"
        in result.out
    )
    assert (
        f"{model} has no record of its network: it is taken for variant keras, activation tanh" in result.out
    )
    result = program("-e", "--resume", model, "--limit", 256)
    assert result.status == 1
    assert (
        "these arrays belong to another model: c5.weight has shape (120, 256), the model (120, 400)"
        in result.err
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("runs/lenett", "there is no file runs/lenett, nor a folder; there is runs/lenet"),
        ("runs/lene", "; there is runs/lenet"),
        ("lenet", "; there is runs/lenet"),
        ("runs/lenett/checkpoint.safetensors", "; there is runs/lenet/checkpoint.safetensors"),
        ("runs/lenet/chekpoint.safetensors", "; there is runs/lenet/checkpoint.safetensors"),
        ("nothing.safetensors", "there is no file nothing.safetensors\n"),
        ("elsewhere/run", "there is no file elsewhere/run, nor a folder\n"),
        ("", "the name is empty"),
    ],
)
def test_what_is_not_there_is_not_resumed_and_the_near_names_are_told(
    program, monkeypatch, tmp_path, name, near
):
    stop_at(monkeypatch, 1)
    (tmp_path / "runs" / "lenet").mkdir(parents=True)
    (tmp_path / "runs" / "lenet" / train.CHECKPOINT).touch()
    (tmp_path / "runs" / "lenet-photos").mkdir()  # no run
    before = set(tmp_path.rglob("*"))
    result = program(*TINY, "--resume", name)
    assert result.status == 2
    assert near in result.err + "\n"
    assert "photos" not in result.err
    assert set(tmp_path.rglob("*")) == before


def test_evaluating_what_is_not_there_tells_the_near_names(program, tmp_path):
    (tmp_path / "runs" / "lenet").mkdir(parents=True)
    (tmp_path / "runs" / "lenet" / train.CHECKPOINT).touch()
    result = program("-e", "--resume", "runs/lenett")
    assert result.status == 1
    assert "there is no file runs/lenett, nor a folder; there is runs/lenet" in result.err


def test_evaluating_an_empty_folder_says_to_train_first(program, tmp_path):
    result = program("-e", "--resume", tmp_path)
    assert result.status == 1
    assert "train first" in result.err


def test_resuming_from_a_file_that_is_no_checkpoint_names_it(program, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    result = program("--resume", "notes.txt")
    assert result.status == 1
    assert "notes.txt is damaged or no safetensors file" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "tpu"], "unknown device 'tpu'"),
        (["--devices", "cpu,cpu,cpu"], "one device or two, not 3"),
        (["--holdout", "20"], "--holdout 20 leaves nothing of 20 training pictures"),
        (
            ["--lr-scheduler", "plateau"],
            "--lr-scheduler plateau needs --holdout N: the test set is not for choosing",
        ),
        (["--dropout", "1"], "p must be at least 0 and less than 1, not 1.0"),
        (["--variant", "1998", "--activation", "relu"], 'variant "1998" is as in the paper'),
    ],
)
def test_settings_that_cannot_be_are_named_before_anything_is_written(program, tmp_path, arguments, message):
    result = program(*TINY, *arguments)
    assert result.status == 1
    assert result.err.startswith("lenet_mnist.py: ")
    assert message in result.err
    known_before = "leaves nothing" not in message  # that hangs on how many pictures there are
    assert (tmp_path / "runs").exists() != known_before


@pytest.mark.skipif(cuda_count() > 0, reason="this machine has a CUDA GPU")
def test_a_gpu_that_is_not_there_is_named(program):
    result = program(*TINY, "--devices", "cuda:0")
    assert result.status == 1
    assert re.search("cuda:0 needs CuPy|finds no usable NVIDIA GPU", result.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-e"], "-e tests weights: say which with --resume PATH"),
        ([*OF_WEIGHTS, "--lr", "0"], "--lr 0 is for training, and -e trains nothing: leave it out"),
        ([*OF_WEIGHTS, "--dry-run"], "--dry-run is for training, and -e trains nothing"),
        (
            [
                *OF_WEIGHTS,
                "--epochs",
                "3",
                "--seed",
                "0",
                "--output-dir",
                "out",
                "--holdout",
                "0",
                "--processes",
                "1",
            ],
            "--epochs 3, --holdout 0, --seed 0, --processes 1, --output-dir out are for training",
        ),
        (
            [
                *OF_WEIGHTS,
                "-b",
                "8",
                "--momentum",
                "0",
                "--wd",
                "0",
                "--checkpoint-every",
                "0",
                "--dropout",
                "0",
            ],
            "--dropout 0, --batch-size 8, --momentum 0, --wd 0, --checkpoint-every 0 are for training",
        ),
        ([*OF_WEIGHTS, "--lr-scheduler", "step"], "--lr-scheduler step is for training"),
        (["--epochs", "0"], "a whole number >= 1 is needed, not '0'"),
        (["--epochs", "two"], "a whole number >= 1 is needed, not 'two'"),
        (["-b", "-3"], "a whole number >= 1 is needed, not '-3'"),
        (["--limit", "1.5"], "a whole number >= 1 is needed, not '1.5'"),
        (["--limit", "--5"], "expected one argument"),
        (["--holdout", "-1"], "a whole number >= 0 is needed, not '-1'"),
        (["--seed", "-1"], "a whole number >= 0 is needed, not '-1'"),
        (["--processes", "0"], "a whole number >= 1 is needed, not '0'"),
        (["--lr", "-0.1"], "a number >= 0 is needed, not '-0.1'"),
        (["--lr", "nan"], "a number >= 0 is needed, not 'nan'"),
        (["--lr", "fast"], "a number >= 0 is needed, not 'fast'"),
        (["--wd", "inf"], "a number >= 0 is needed, not 'inf'"),
        (["--momentum", "-1"], "a number >= 0 is needed, not '-1'"),
        (["--variant", "2012"], "invalid choice: '2012'"),
        (["--lr-scheduler", "magic"], "invalid choice: 'magic'"),
        (["--dance", "9"], "unrecognized arguments: --dance 9"),
        (["--epoch", "9"], "unrecognized arguments: --epoch (did you mean --epochs?)"),
        (["-epochs", "9"], "unrecognized arguments: -epochs (did you mean --epochs?)"),
        (["--lr-scheduler", "cosin"], "invalid choice: 'cosin' (did you mean cosine?)"),
    ],
)
def test_bad_arguments_are_named(program, tmp_path, arguments, message):
    result = program(*arguments)
    assert result.status == 2
    assert message in result.err
    assert not (tmp_path / "runs").exists()


def test_help_names_every_flag(program):
    result = program("--help")
    assert result.status == 0
    flags = """
        --data-dir --variant --activation --dropout --epochs -b --batch-size --lr --momentum --wd --lr-scheduler
        --holdout --seed --devices --resume -e --evaluate --output-dir --limit --dry-run --checkpoint-every
        --threads --processes
    """.split()
    assert [flag for flag in flags if not re.search(rf"{flag}\b", result.out)] == []


def test_a_traceback_may_be_asked_for(program, monkeypatch):
    monkeypatch.setenv("MINIALEX_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown device"):
        program("--devices", "tpu")


# ---- data ---------------------------------------------------------------------------------------------


def test_a_data_folder_that_was_named_must_have_the_data(program, tmp_path):
    result = program(*TINY, "--data-dir", tmp_path / "here")
    assert result.status == 1
    assert "No mirror delivered" in result.err
    assert str(tmp_path / "here") in result.err


def test_damaged_data_is_named_not_replaced(program, monkeypatch, tmp_path):
    for name in mnist.MD5:
        (tmp_path / name).write_bytes(b"not digits")
    monkeypatch.setenv("MINIALEX_DATA", str(tmp_path))
    result = program(*TINY)
    assert result.status == 1
    assert "Delete it and fetch it again" in result.err


def test_a_home_that_cannot_be_written_to_is_no_reason_to_stop(program, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "file" / "cache")
    result = program(*TINY)
    assert result.status == 0
    assert "training on drawn digits instead" in result.out


def test_a_run_on_mnist_is_not_resumed_on_drawn_digits(program, uninterrupted, tmp_path):
    folder = copy_of(uninterrupted[0], tmp_path / "out")
    say_instead(folder, data="MNIST")
    result = program("--resume", folder, "--epochs", 3)
    assert result.status == 1
    assert "No mirror delivered" in result.err


def test_it_trains_on_real_mnist(program, real_data):
    result = program("--data-dir", real_data, "--limit", 100, "-b", 10, "--epochs", 1)
    assert result.status == 0, result
    assert "MNIST: 100 pictures to train on, 0 held out, 100 to test" in result.out


@pytest.mark.parametrize("variant", ["modern", "1998", "keras"])
def test_every_variant_runs(program, variant):
    result = program("--variant", variant, "--limit", 40, "-b", 20, "--epochs", 1)
    assert result.status == 0, result
    assert f"variant {variant}" in result.out


def test_a_holdout_is_taken_from_the_end_of_the_training_set(program, tmp_path):
    result = program(*SMALL, "--holdout", 56, "--lr-scheduler", "plateau", "--output-dir", "out")
    assert "200 pictures to train on, 56 held out, 256 to test" in result.out
    assert history_of(tmp_path / "out")[0] == [*COLUMNS[:-1], "holdout_loss", "holdout_error", "seconds"]
    assert (tmp_path / "out" / train.BEST).exists()


def test_the_seed_decides(program, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        program(*TINY, "--seed", seed, "--output-dir", name)
    models = [(tmp_path / name / train.MODEL).read_bytes() for name in "abc"]
    assert models[0] == models[1] != models[2]


@pytest.mark.usefixtures("textbook")
def test_the_simulated_gpu_gives_the_bits_of_the_cpu(program, tmp_path):
    for device in ("cpu", "sim:0", "sim:1"):
        program(*TINY, "--dropout", 0.2, "--devices", device, "--output-dir", device.replace(":", ""))
    cpu, *others = (tmp_path / name / train.MODEL for name in ("cpu", "sim0", "sim1"))
    assert all(other.read_bytes() == cpu.read_bytes() for other in others)


# ---- a run that was stopped before its first checkpoint ----


@pytest.mark.parametrize("asked", ["--variant 1998", "--activation relu"])
def test_another_network_is_another_run_also_before_the_first_checkpoint(program, tmp_path, asked):
    (tmp_path / "r").mkdir()
    runs.write_settings(tmp_path / "r", {"variant": "modern", "activation": "tanh", "lr": 0.1, "epochs": 10})
    result = program("--resume", "r", *asked.split())
    assert result.status == 1
    assert f"this run asks for {asked[2:]}: leave that out, or start a new run" in result.err


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize(("dataset", "folder"), [("qmnist", None), ("mnist", "/of/mnist")])
def test_another_set_is_not_looked_for_where_the_old_one_is(monkeypatch, tmp_path, evaluate, dataset, folder):
    lenet, asked = running.load_program(PROGRAM), []

    def load(name, root):
        asked.append((name, root))
        raise OSError("stop here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lenet, "load", load)
    (tmp_path / "r").mkdir()
    settings = {"dataset": "mnist", "data_dir": "/of/mnist", "data": "MNIST"}
    if evaluate:
        model = mx.models.lenet5()
        model.classes = data.class_names("mnist")
        mx.save(model, tmp_path / "r" / runs.MODEL)
    runs.write_settings(tmp_path / "r", settings)
    with pytest.raises(OSError, match="stop here"):
        lenet.main(["--resume", "r", "--dataset", dataset, *(["-e"] if evaluate else [])])
    assert asked == [(dataset, folder)]


@pytest.mark.parametrize("option", ["--data-dir", "--output-dir"])
def test_an_empty_name_is_no_name(program, option):
    result = program(option, "")
    assert (result.status, "the name is empty" in result.err) == (2, True)
