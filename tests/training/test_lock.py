"""The lock of a run's folder: one program at a time, and nobody waits for one that is gone. With real processes."""

import errno
import os
import re
import select
import signal
import threading

import pytest
from running import finish, start

from minialex.errors import FolderInUse
from minialex.training import lock
from minialex.training.lock import LOCK, locked

posix = pytest.mark.skipif(os.name != "posix", reason="kills and forks")

HOLD = """
import os, subprocess, sys, time
from minialex.training.lock import locked

def forked():
    # A child that is there: what happens in it at once when it is forked has happened.
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"x")
        time.sleep(600)
        os._exit(0)
    os.read(read, 1)
    return child

with locked(sys.argv[1]):
    child = {}
    print("locked", child, flush=True)
    time.sleep(600)
"""


def holder(folder, child="None"):
    """Another process that has the folder. `child` starts one of its own there: its id is `process.child`."""
    process = start(folder.parent, "-c", HOLD.format(child), folder)
    said, process.child = process.stdout.readline().split()
    assert said == "locked"
    return process


def kill(process):
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


def test_a_folder_is_made_locked_and_left_as_it_was(tmp_path):
    with locked(tmp_path / "runs" / "one"):
        assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == [LOCK]
    assert not list((tmp_path / "runs" / "one").iterdir())


def test_inside_it_may_be_locked_again_by_any_of_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked("out"):
        with locked(tmp_path / "out"):
            pass
        assert (tmp_path / "out" / LOCK).exists()  # the inner one does not let it go
        with pytest.raises(ZeroDivisionError), locked("out"):
            raise ZeroDivisionError
        assert (tmp_path / "out" / LOCK).exists()
    assert not list((tmp_path / "out").iterdir())


def test_another_thread_is_refused(tmp_path):
    refused = []

    def other():
        try:
            with locked(tmp_path):
                pass
        except FolderInUse as error:
            refused.append(str(error))

    with locked(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert f"process {os.getpid()} on " in refused[0]


def test_another_process_is_named(tmp_path):
    process = holder(tmp_path / "out")
    try:
        with pytest.raises(FolderInUse) as refused, locked(tmp_path / "out"):
            pass
    finally:
        kill(process)
    assert re.search(
        rf"out is in use by process {process.pid} on \S+ \(-c\), since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d: wait until it "
        r"ends, or name another folder \(--output-dir\)",
        str(refused.value),
    )


@posix
@pytest.mark.parametrize(
    "child",
    [
        "None",
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid",
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], close_fds=False).pid",
        "forked()",
    ],
)
def test_a_killed_process_has_no_lock_though_its_children_live_on(tmp_path, child):
    process = holder(tmp_path / "out", child)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert (tmp_path / "out" / LOCK).exists()  # it is left, and hinders nobody
    with locked(tmp_path / "out"):
        ended = select.select([process.stdout], [], [], 0)[0]  # nobody is left who could write to it
    assert not list((tmp_path / "out").iterdir())
    if child != "None":
        os.kill(int(process.child), signal.SIGKILL)
    assert bool(ended) == (child == "None")
    process.stdout.close()


@posix
def test_a_forked_child_that_ends_does_not_end_its_parents_lock(tmp_path):
    process = holder(tmp_path / "out", "os.fork() or sys.exit()\n    os.wait()")
    try:
        with pytest.raises(FolderInUse), locked(tmp_path / "out"):
            pass
    finally:
        kill(process)


def test_a_stopped_process_still_has_its_lock(tmp_path):
    if os.name != "posix":
        pytest.skip("sends POSIX signals")
    process = holder(tmp_path / "out")
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(FolderInUse), locked(tmp_path / "out"):
            pass
    finally:
        kill(process)


@pytest.mark.parametrize("left", [b"", b"{", b"5", b'{"pid": 1}', b"\xff"])
def test_what_somebody_left_in_the_file_is_no_lock_and_no_trouble(tmp_path, left, monkeypatch):
    (tmp_path / LOCK).write_bytes(left)
    assert lock._holder(tmp_path / LOCK) == "another process"
    with locked(tmp_path):
        pass


def test_one_at_a_time_however_they_come_and_go(tmp_path):
    """The file is removed with each lock: nobody may hold one that is no longer there."""
    code = """
import pathlib, sys, time
from minialex.errors import FolderInUse
from minialex.training.lock import locked
count, left = pathlib.Path("count"), 150
while left:
    try:
        with locked("out"):
            before = int(count.read_text())
            time.sleep(0.0005)
            count.write_text(str(before + 1))
            left -= 1
    except FolderInUse:
        pass
"""
    (tmp_path / "count").write_text("0")
    for process in [start(tmp_path, "-c", code) for _ in range(4)]:
        result = finish(process)
        assert (result.status, result.err) == (0, "")
    assert (tmp_path / "count").read_text() == "600"
    assert not list((tmp_path / "out").iterdir())


@posix
def test_a_disk_without_locks_is_told_and_used(tmp_path, monkeypatch, capsys):
    def flock(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with locked(tmp_path):
        pass
    assert "This disk has no locks" in capsys.readouterr().err


@posix
def test_a_full_disk_has_locks_without_names(tmp_path, monkeypatch):
    def write(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(lock.os, "write", write)
    with locked(tmp_path):
        assert lock._holder(tmp_path / LOCK) == "another process"


def test_a_file_and_an_empty_name_are_no_folders(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file: name a folder"), locked(tmp_path / "file"):
        pass
    with pytest.raises(ValueError, match="the name of the folder is empty"), locked(""):
        pass


def test_a_folder_that_cannot_be_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "out"):
        pass
