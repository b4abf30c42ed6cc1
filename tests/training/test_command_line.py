"""Where settings come from, how many processes share a batch, and how mistakes are told."""

import argparse
import sys

import pytest

from minialex.devices.device import Device
from minialex.errors import CheckpointError, DataError, DeviceUnavailable, NotFinite
from minialex.training import command_line

# ---- settings -----------------------------------------------------------------------------------------


def test_what_is_asked_goes_before_the_checkpoint_and_that_before_the_defaults():
    settings = command_line.settle(
        {"lr": 0.2}, {"lr": 0.1, "seed": 3}, {"lr": 0.5, "seed": 0, "epochs": 9}, {"lr"}
    )
    assert settings == {"lr": 0.2, "seed": 3, "epochs": 9}


def test_what_cannot_change_is_named():
    with pytest.raises(ValueError, match="made with seed 3; this run asks for seed 4: leave that out"):
        command_line.settle({"seed": 4, "lr": 2}, {"lr": 0.1, "seed": 3}, {}, {"lr"})
    assert command_line.settle({"seed": 3}, {"seed": 3}, {}, set()) == {"seed": 3}


@pytest.mark.parametrize(
    ("threads", "asked", "saved", "batch_size", "processes"),
    [(4, None, None, 128, 4), (4, None, None, 64, 2), (4, None, None, 63, 1), (1, None, None, 128, 1),
     (4, 3, None, 8, 3), (4, 3, 2, 128, 3), (4, None, 2, 128, 2), (4, 1, 2, 128, 1)],
)  # fmt: skip
def test_processes_are_those_asked_for_else_those_of_before_else_as_many_as_have_enough_to_do(
    monkeypatch, threads, asked, saved, batch_size, processes
):
    monkeypatch.setattr(Device("cpu"), "threads", threads)
    assert command_line.choose_processes(asked, saved, batch_size, Device("cpu")) == processes


def test_processes_are_for_a_cpu():
    with pytest.raises(ValueError, match="--processes 2 is for a CPU, this run is on sim:0: leave it out"):
        command_line.choose_processes(2, None, 128, Device("sim:0"))
    assert command_line.choose_processes(1, 4, 128, Device("sim:0")) == 1
    assert command_line.choose_processes(None, 4, 128, Device("sim:0")) == 1  # the run began on a CPU


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
        command_line.friendly(main)
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
        command_line.friendly(lambda: {}["name"])


@pytest.mark.parametrize(("least", "bad"), [(1, "0"), (0, "-1"), (1, "two"), (0, "1.5"), (0, "--1"), (0, "")])
def test_a_whole_number_is_one_and_not_too_small(least, bad):
    with pytest.raises(argparse.ArgumentTypeError, match=f"a whole number >= {least} is needed, not '{bad}'"):
        command_line.whole_number(least)(bad)
    assert command_line.whole_number(least)("7") == 7


@pytest.mark.parametrize("bad", ["-0.1", "nan", "inf", "fast", ""])
def test_a_number_is_finite_and_not_negative(bad):
    with pytest.raises(argparse.ArgumentTypeError, match=f"a number >= 0 is needed, not '{bad}'"):
        command_line.number(bad)
    assert command_line.number("1e-3") == 0.001
