"""Every file that minialex writes: whole or not at all, and named when it could not be written."""

import ast
import errno
import functools
import io
import os
import re
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from minialex import plot, train, weights
from minialex.check.kept import keeping
from minialex.claims.store import write_table
from minialex.data.loader import ArrayBatches
from minialex.data.pictures import draw_pictures
from minialex.study import benchmarks
from minialex.training.checkpoint import save_checkpoint
from minialex.training.history import write_history
from minialex.training.optim import Constant
from minialex.training.reports import ErrorReport
from minialex.weights import files

ROOT = Path(mx.__file__).parents[1]
ROW = {"epoch": 1, "train_loss": 0.3, "train_error": 9.0, "test_loss": 0.2, "test_error": 6.5}


@functools.cache
def model():
    return mx.models.lenet5("keras", rng=0)


@functools.cache
def small_trace():
    return mx.trace(mx.ReLU(), np.array([[-1.0, 1.5]]))


def fit(folder):
    batches = ArrayBatches(np.zeros((4, 1, 28, 28), np.uint8), np.arange(4), 4, prepare=model().prepare)
    optimizer, report = mx.SGD(model().parameters(), 0.01), ErrorReport(say=lambda line: None, bar=False)
    train.fit(model(), optimizer, Constant(0.01), batches, epochs=1, folder=folder, report=report)


def checkpoint(path):
    save_checkpoint(path, model(), mx.SGD(model().parameters(), 0.1), {})


def answer(path):
    found = keeping.placed(
        keeping.Kept("relu_forward", "right", "right"), "def relu_forward(x): ...", path.parent
    )
    if not found:
        raise OSError(errno.ENOSPC, found.said, str(path))


# What writes one file, and what the file is called.
WRITERS = {
    "a picture": ("p.png", lambda path: plot.curves([ROW], path)),
    "a picture whose path is text": ("p.svg", lambda path: plot.confusion(np.eye(3, dtype=int), str(path))),
    "a picture without an ending": ("p.png", lambda path: plot.curves([ROW], path.with_suffix(""))),
    "weights": ("w.safetensors", lambda path: weights.save(path, {"a": np.ones(3)})),
    "a checkpoint": ("c.safetensors", checkpoint),
    "a history": ("h.csv", lambda path: write_history(path, [ROW], ErrorReport())),
    "a benchmark": ("b.json", lambda path: benchmarks.write_record(path, {"ms": 1.5})),
    "a table of claims": ("runs.csv", lambda path: write_table(path, [{"arm": "a", "seed": 1}])),
    "an answer": ("relu_forward.py", answer),
    "a trace": ("t.npz", lambda path: small_trace().to_npz(path)),
    "a trace's page": ("t.html", lambda path: small_trace().to_html(path)),
    "a trace's numbers": ("golden/x.hex", lambda path: small_trace().to_hex(path.parent, names=["x"])),
    "a trace's list": ("golden/index.json", lambda path: small_trace().to_hex(path.parent, names=[])),
}  # fmt: skip


def full(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", WRITERS)
def test_on_a_full_disk_the_file_is_named_and_the_old_one_stays(tmp_path, monkeypatch, what):
    name, write = WRITERS[what]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write(path)
    if what == "a trace's list":
        path.write_bytes(b"old")  # which is removed first: it would be wrong while the others change
    before = path.read_bytes()
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"could not be written: No space left") as error:
        write(path)
    assert str(path) in str(error.value)
    assert error.value.errno == errno.ENOSPC
    if what == "a trace's list":
        assert not path.exists()
    else:
        assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("what", [name for name in WRITERS if "golden" not in WRITERS[name][0]])
@pytest.mark.parametrize("place", ["file", "nowhere"])
def test_where_no_file_can_be_the_path_is_named(tmp_path, what, place):
    name, write = WRITERS[what]
    (tmp_path / "file").touch()
    if what in ("a benchmark", "an answer", "a table of claims") and place == "nowhere":
        pytest.skip("makes the folder")
    with pytest.raises(OSError, match=f"{place}"):
        write(tmp_path / place / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_leave_to_write_is_named(tmp_path):
    tmp_path.chmod(0o500)
    for name, write in WRITERS.values():
        if "/" not in name:
            with pytest.raises(PermissionError, match=name):
                write(tmp_path / name)


@pytest.mark.parametrize("nth", range(1, 6))  # settings, history, checkpoint, history, model
def test_a_run_names_whichever_file_it_could_not_write(tmp_path, monkeypatch, nth):
    fsync, calls = os.fsync, []

    def full_later(file):
        calls.append(file)
        (full if len(calls) >= nth else fsync)(file)

    monkeypatch.setattr(files.os, "fsync", full_later)
    names = [train.SETTINGS, train.HISTORY, train.CHECKPOINT, train.HISTORY, train.MODEL]
    with pytest.raises(OSError, match=f"{names[nth - 1]} could not be written: No space left"):
        fit(tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))  # nor a lock


def test_drawn_pictures_that_do_not_fit_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(OSError, match=r"drawn pictures could not be written to .*drawn: No space left"):
        draw_pictures(tmp_path / "drawn", train=10, val=10, size=16)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"drawn pictures could not be written to .*drawn: "):
        draw_pictures(tmp_path / "file" / "drawn", train=10, val=10, size=16)


# ---- what is no plain file -----------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "disk" / "there.csv")
    weights.write_whole(tmp_path / "link.csv", b"content")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "disk" / "there.csv").read_bytes() == b"content"
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    weights.write_whole(tmp_path / "pipe", b"content")
    reader.join()
    assert read == [b"content"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    weights.write_whole("/dev/null", b"content")
    assert Path("/dev/null").is_char_device()


def test_a_picture_may_go_to_an_open_file():
    buffer = io.BytesIO()
    plot.curves([ROW], buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_a_format_that_is_none_is_told_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="nonsense"):
        plot.curves([ROW], tmp_path / "p.nonsense")
    assert not list(tmp_path.iterdir())


# ---- there is no other way -----------------------------------------------------------------------------

# Where something is written to by its own name, and why it may.
EXCEPTIONS = {
    ("weights/files.py", "open"): "what all others use",
    ("plot/look.py", "savefig"): "into memory",
    ("data/pictures.py", "save"): "into a folder that gets its name when all is drawn",
    ("data/pictures.py", "write_text"): "the same",
    ("data/mnist.py", "write_bytes"): "in a docstring",
    ("training/lock.py", "open"): "the lock",
    ("training/runs.py", "touch"): "a probe",
    ("training/command_line.py", "open"): "nowhere: os.devnull",
    ("check/kept/worker.py", "open"): "nowhere: os.devnull",
    ("cluster/joining.py", "open"): "nowhere: os.devnull",
    ("data/named.py", "open"): "in a temporary folder, to be checked there",
    ("check/kept/keeping.py", "write_text"): "in a temporary folder, to be run there",
    ("tracing/entries.py", "open"): "an entry of a zip file, which is written whole",
    ("claims/pictures.py", "save"): "in a temporary folder, for processes",
}  # fmt: skip
WRITING = {
    "savefig",
    "imsave",
    "write_text",
    "write_bytes",
    "savez",
    "savez_compressed",
    "savetxt",
    "tofile",
    "touch",
}
OF_MODULES = {("np", "save"), ("json", "dump"), ("pickle", "dump"), ("shutil", "copy"), ("picture", "save")}


def writes(call):
    """The name by which this call writes a file, if it does."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = getattr(getattr(function, "value", None), "id", "")
    if name == "open":
        texts = [
            word for word in [*call.args, *(k.value for k in call.keywords)] if isinstance(word, ast.Constant)
        ]
        modes = [word.value for word in texts if re.fullmatch("[rwxabt+]{1,3}", str(word.value))]
        return name if owner == "os" or any(set(mode) & set("wxa+") for mode in modes) else None
    return name if name in WRITING or (owner, name) in OF_MODULES else None


def test_nothing_is_written_in_another_way():
    found = set()
    for path in [*ROOT.glob("minialex/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("lessons/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Call) and (name := writes(node)):
                found.add((path.relative_to(ROOT).as_posix().removeprefix("minialex/"), name))
    assert found <= set(EXCEPTIONS), "write_whole, writing_whole or plot.look.save write whole files"
    assert {("weights/files.py", "open"), ("plot/look.py", "savefig"), ("data/pictures.py", "save")} <= found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("open(path, 'w')", "open"),
        ("open(path, mode='ab')", "open"),
        ("path.open('x')", "open"),
        ("open(path, 'rb')", None),
        ("open(path)", None),
        ("Image.open(path)", None),
        ("path.write_text(text)", "write_text"),
        ("figure.savefig(path)", "savefig"),
        ("np.save(path, array)", "save"),
        ("weights.save(path, array)", None),
    ],
)
def test_what_counts_as_writing(text, name):
    assert writes(ast.parse(text).body[0].value) == name
