"""Where results go: the folder that is named, or the next one that is free, and nobody else's."""

import os
from pathlib import Path

import pytest
from test_lock import holder, kill

from minialex.errors import FolderInUse
from minialex.training import runs
from minialex.training.lock import LOCK
from minialex.training.output import Output, drawing


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def take(resume=None, output_dir=None, name="lenet", again=False):
    """The folder, as a program takes it; its settings are left there."""
    with Output(resume, output_dir, name, again) as output:
        folder = output.take()
        assert (folder / LOCK).exists()
        (folder / runs.SETTINGS).touch()
    assert not (folder / LOCK).exists()
    return folder.as_posix()


def test_nobody_named_one_so_the_next_is_taken():
    assert [take() for _ in range(3)] == ["runs/lenet", "runs/lenet-2", "runs/lenet-3"]


def test_where_each_may_write_over_the_last_the_first_stays_free():
    assert [take(name="dry-run", again=True) for _ in range(2)] == ["runs/dry-run", "runs/dry-run"]


def test_what_is_tried_again_leaves_no_weights_of_the_last_time(tmp_path):
    """It might keep none of its best epoch: then those would be another run's."""
    best = Path(take(name="dry-run", again=True), runs.BEST)
    best.touch()
    take(name="dry-run", again=True)
    assert not best.exists()


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_in_use_is_passed_over_though_nothing_is_in_it_yet(tmp_path, again):
    (tmp_path / "runs").mkdir()
    process = holder(tmp_path / "runs" / "lenet")
    try:
        assert take(again=again) == "runs/lenet-2"
    finally:
        kill(process)
    assert take(again=again) == "runs/lenet"  # nothing was left there but a lock whose owner is gone


def test_a_run_that_ended_between_a_look_and_the_lock_is_not_written_over(tmp_path, monkeypatch):
    real, ended = runs.make_writable, []

    def make_writable(folder):
        real(folder)
        if not ended:
            (folder / runs.SETTINGS).touch()
        ended.append(folder)

    monkeypatch.setattr("minialex.training.output.make_writable", make_writable)
    assert take() == "runs/lenet-2"

    def make_writable_and_end(folder):
        real(folder)
        (folder / runs.MODEL).touch()

    monkeypatch.setattr("minialex.training.output.make_writable", make_writable_and_end)
    with pytest.raises(ValueError, match="out holds a run already"):
        take(output_dir="out")
    assert not list(Path("out").glob(".*"))


@pytest.mark.parametrize("named", ["resume", "resume the file", "output_dir", "both"])
def test_a_named_folder_in_use_is_refused_and_its_owner_named(tmp_path, named):
    folder = tmp_path / "out"
    folder.mkdir()
    if named != "output_dir":
        (folder / runs.CHECKPOINT).touch()
    arguments = {
        "resume": {"resume": str(folder)},
        "resume the file": {"resume": str(folder / runs.CHECKPOINT)},
        "output_dir": {"output_dir": str(folder)},
        "both": {"resume": str(folder), "output_dir": "out"},
    }[named]
    process = holder(folder)
    try:
        with pytest.raises(FolderInUse, match=f"out is in use by process {process.pid} on .*output-dir"):
            take(**arguments)
    finally:
        kill(process)
    take(**arguments)


def test_a_run_in_use_may_be_gone_on_with_elsewhere(tmp_path):
    process = holder(tmp_path / "out")
    try:
        assert take(resume="out", output_dir="other") == "other"
    finally:
        kill(process)


def test_a_resumed_folder_is_locked_before_its_checkpoint_is_read():
    Path("out").mkdir()
    with Output("out", None, "lenet"):
        assert Path("out", LOCK).exists()


def test_nothing_is_made_before_the_settings_are_known_to_be_good():
    with pytest.raises(ZeroDivisionError), Output(None, "out", "lenet"):
        raise ZeroDivisionError
    assert not Path("out").exists()


def test_another_runs_folder_is_refused_before_what_is_not_there():
    Path("out").mkdir()
    Path("out", runs.MODEL).touch()
    with pytest.raises(ValueError, match="out holds a run already"):
        take(resume="nowhere", output_dir="out")
    with pytest.raises(runs.NothingToResume, match="--resume: there is no file nowhere"):
        take(resume="nowhere", output_dir="new")
    assert os.listdir() == ["out"]


@pytest.mark.parametrize(
    ("said", "told"), [((), "There was no checkpoint yet"), (("said already",), "said already")]
)
def test_ctrl_c_says_how_to_go_on(said, told):
    def run():
        with Output(None, "out", "lenet") as output:
            output.take()
            raise KeyboardInterrupt(*said)

    with pytest.raises(KeyboardInterrupt, match=told):
        run()
    assert not list(Path("out").iterdir())


def test_what_cuts_the_drawing_short_says_that_nothing_is_lost(capsys):
    how = "its weights are safe; what is missing is made by --resume out"
    with pytest.raises(KeyboardInterrupt, match=how), drawing(Path("out")):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="full"), drawing(Path("out")):
        raise OSError("full")
    assert how in capsys.readouterr().err


@pytest.mark.parametrize("name", [runs.MODEL, runs.CHECKPOINT, runs.BEST])
def test_weights_that_lie_there_without_a_run_are_nobody_s_to_delete(tmp_path, name):
    (tmp_path / "runs" / "lenet").mkdir(parents=True)
    (tmp_path / "runs" / "lenet" / name).write_bytes(b"mine")
    assert take() == "runs/lenet-2"
    assert (tmp_path / "runs" / "lenet" / name).read_bytes() == b"mine"
    assert runs.choose_folder(None, None, "lenet").as_posix() == "runs/lenet-3"


OTHERS = {
    runs.SETTINGS: b'{"editor.fontSize": 14}',
    runs.HISTORY: b"day,weight\nmonday,70\n",
    runs.GOOD: b"mine",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_no_run_s_is_not_written_over(tmp_path, name):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / name).write_bytes(OTHERS[name])
    with pytest.raises(
        ValueError, match=f"here has a file that is no run's, {name}: name another --output-dir"
    ):
        take(output_dir="here")
    assert (tmp_path / "here" / name).read_bytes() == OTHERS[name]


def test_what_a_run_left_before_its_first_checkpoint_is_a_run_s(tmp_path):
    (tmp_path / "here").mkdir()
    for settings, history in ((b'{"lr": 0.1}', None), (b"{}", None), (b'{"of": "mine"}', b"epoch,lr\n")):
        (tmp_path / "here" / runs.SETTINGS).write_bytes(settings)
        if history:
            (tmp_path / "here" / runs.HISTORY).write_bytes(history)
        assert take(output_dir="here") == "here"


@pytest.mark.parametrize("name", [runs.HISTORY, runs.GOOD])
def test_a_folder_with_somebody_else_s_file_is_not_free(tmp_path, name):
    (tmp_path / "runs" / "lenet").mkdir(parents=True)
    (tmp_path / "runs" / "lenet" / name).write_bytes(OTHERS[name])
    assert runs.choose_folder(None, None, "lenet").as_posix() == "runs/lenet-2"
    assert take() == "runs/lenet-2"
