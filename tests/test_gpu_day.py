"""`bash .ci/gpu try`: what a GPU is for on its day can be done with toys on any other, and what fails says so."""

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

import minialex as mx
from minialex.layers.sequential import all_layers

ROOT = Path(__file__).resolve().parents[1]
CI = ROOT / ".ci"
pytestmark = pytest.mark.skipif(not CI.is_dir(), reason="these tests stand apart from the project's .ci")


@pytest.fixture
def part(monkeypatch):
    """A file of .ci as a module."""
    monkeypatch.syspath_prepend(CI)
    monkeypatch.setenv("CUPY_TF32", "0")  # it is set by these files: put back afterwards
    return importlib.import_module


def tried(folder, *options):
    """What a try printed, and what it wrote."""
    done = subprocess.run(
        ["bash", str(CI / "gpu"), "try", str(folder), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, {file.stem: json.loads(file.read_text()) for file in folder.glob("*-*.json")}


def test_layers_memory_limits_and_uploads_can_be_tried(tmp_path):
    printed, records = tried(tmp_path, "--only", "layers", "memory", "limits", "uploads")
    names = ["tests-layers", "tests-memory", "speed-limits", "speed-uploads"]
    assert sorted(records) == sorted(names)
    assert all(record["card"] == "sim:0" and "result" in record for record in records.values())
    last = printed.strip().splitlines()[-4:]
    assert [line.split()[:3] for line in last] == [[*name.replace("-", ": ").split(), "ok"] for name in names]


@pytest.mark.slow
def test_everything_can_be_tried_and_a_training_goes_on_in_a_second_call(tmp_path):
    printed, records = tried(tmp_path)
    assert len(records) >= 11
    assert [name for name, record in records.items() if "error" in record] == []
    assert "skipped" not in printed.split("\npart ")[-1] or not importlib.util.find_spec("torch")
    assert {"conv1.png", "curves.png"} <= set(records["train-train"]["result"]["pictures"])
    _, again = tried(tmp_path, "--only", "train")
    assert again["train-train"]["result"]["history"] == records["train-train"]["result"]["history"]


def test_every_kind_of_layer_is_compared(part):
    ours = {type(one) for layer, _ in part("gpu_numbers").layers().values() for one in all_layers(layer)}
    layers = runpy.run_path(str(ROOT / "tests/layers/test_layer.py"))["LAYERS"]
    assert {type(make()) for make, _ in layers.values()} <= ours


def test_a_layer_with_wrong_numbers_fails_its_part(part, monkeypatch):
    numbers = part("gpu_numbers")

    class Wrong(mx.ReLU):
        def backward(self, grad_y):
            return super().backward(grad_y) * (1.0 if self.device.name == "cpu" else 1.001)

    monkeypatch.setattr(numbers, "layers", lambda: {"Wrong": (Wrong(), (3, 4)), "ReLU": (mx.ReLU(), (3, 4))})
    failed = numbers.compare_layers(Namespace(device="sim:0"))["failed"]
    assert [line[: line.index(":")] for line in failed] == [
        f"Wrong {dtype} twins {twins}" for dtype in ("float64", "float32") for twins in ("off", "on")
    ]


def nothing(args):
    return {}


def breaks(args):
    raise RuntimeError("it is broken")


def differs(args):
    return {"failed": ["one layer: 1.0"]}


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        (nothing, 0, "ok"),
        (lambda args: {"skipped": "no data"}, 0, "skipped: no data"),
        (breaks, "1 of the parts failed", "failed: RuntimeError"),
        (differs, "1 of the parts failed", "failed: ['one layer: 1.0']"),
    ],
)
def test_the_exit_status_and_the_table_say_how_a_part_went(
    part, monkeypatch, capsys, tmp_path, work, status, said
):
    day = part("gpu_day")
    monkeypatch.setattr(day, "PARTS", {"train": {"train": work}})
    monkeypatch.setattr(sys, "argv", ["gpu_day.py", "train", str(tmp_path), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        day.main()
    assert ended.value.code == status
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"train: train  {said}")
    assert ("error" in json.loads((tmp_path / "train-train.json").read_text())) == (work is breaks)


def test_a_work_of_another_part_is_not_done_silently(part, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu_day.py", "train", str(tmp_path), "--only", "layers"])
    with pytest.raises(SystemExit, match="nothing of this part was asked for"):
        part("gpu_day").main()


def test_a_training_that_breaks_down_before_its_checkpoint_fails(part, tmp_path):
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(RuntimeError, match=r"^no checkpoint in time: .* exited with 3$"):
        part("gpu_train").interrupted(command, tmp_path / "checkpoint", time.monotonic() + 60)


def test_a_training_is_stopped_as_soon_as_there_is_something_to_go_on_from(part, tmp_path):
    file = tmp_path / "checkpoint"
    slow = [sys.executable, "-c", f"import time; open({str(file)!r}, 'w').close(); time.sleep(600)"]
    part("gpu_train").interrupted(slow, file, time.monotonic() + 60)
    assert file.is_file()


def test_a_training_that_breaks_down_after_it_was_taken_up_again_fails(part, monkeypatch, tmp_path):
    gpu_train = part("gpu_train")
    for name, text in {"examples/alexnet_imagenet.py": "exit(7)", "run/checkpoint.safetensors": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "run/history.csv").write_text("epoch")
    monkeypatch.setattr(gpu_train, "ROOT", tmp_path)
    monkeypatch.setattr(gpu_train, "draw", lambda run, file, towers: [])
    (failed,) = gpu_train.train(Namespace(folder=tmp_path, device="cpu", small=True, data=None))["failed"]
    assert failed.endswith("exited with 7")


def test_tests_that_take_too_long_are_stopped_as_by_a_person(part):
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], stderr=subprocess.DEVNULL
    )
    part("gpu_tests").wait(process, time.monotonic())
    assert process.returncode in (-signal.SIGINT, 1, 130)


LOG = """..F
E   AssertionError: 1 is not 2
E   AssertionError: 1 is not 2
FAILED tests/test_one.py::test_it - AssertionError
1 failed, 2 passed in 0.10s
"""


def test_what_failed_is_read_from_pytest_s_log(part):
    read = part("gpu_tests").read_log
    assert read(LOG) == {
        "last": "1 failed, 2 passed in 0.10s",
        "failures": ["tests/test_one.py::test_it - AssertionError"],
        "errors": [("AssertionError: 1 is not 2", 2)],
    }
    assert read("")["last"] == "it said nothing"
