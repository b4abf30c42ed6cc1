"""Where settings come from, how many processes share a batch, and how mistakes are told."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minialex import words
from minialex.devices.device import Device
from minialex.errors import CheckpointError, DataError, DeviceUnavailable, NotFinite
from minialex.training import command_line

# ---- misspelt options and choices ---------------------------------------------------------------------


def parser():
    found = command_line.Parser(prog="program")
    found.add_argument("picture", nargs="?")
    found.add_argument("-e", "--evaluate", action="store_true")
    found.add_argument("--weights", required=True)
    found.add_argument("--preset", choices={"paper": 1, "bvlc": 2})
    found.add_argument("--towers", type=int, choices=[1, 2])
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weigths", "a"], "unrecognized arguments: --weigths (did you mean --weights?)"),
        (["--weigths=a"], "unrecognized arguments: --weigths (did you mean --weights?)"),
        (["--weight", "a"], "unrecognized arguments: --weight (did you mean --weights?)"),
        (["-weights", "a"], "unrecognized arguments: -weights (did you mean --weights?)"),
        (["-evaluate", "--weights", "a"], "unrecognized arguments: -evaluate (did you mean --evaluate?)"),
        (["--weights", "a", "--dance"], "unrecognized arguments: --dance"),
        ([], "the following arguments are required: --weights"),
        (["--weights", "a", "--preset", "papper"], "invalid choice: 'papper' (did you mean paper?); there are paper"),
        (["--weights", "a", "--preset", "vgg"], "invalid choice: 'vgg'; there are paper, bvlc"),
        (["--weights", "a", "--towers", "3"], "invalid choice: 3; there are 1, 2"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_told_with_what_is_near(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(arguments)
    assert stopped.value.code == 2
    assert f"program: error: {message}" in capsys.readouterr().err.replace("argument --preset: ", "").replace(
        "argument --towers: ", ""
    )


def test_what_is_meant_as_it_stands_is_no_mistake():
    args = parser().parse_args(["-e", "--weights=--weigths", "--", "--weigth"])
    assert (args.picture, args.weights, args.evaluate) == ("--weigth", "--weigths", True)


def test_a_command_names_its_own_options(capsys):
    main = command_line.Parser(prog="program")
    commands = main.add_subparsers(dest="command")
    commands.add_parser("read").add_argument("--size")
    commands.add_parser("write").add_argument("--sized")
    for arguments, near in (
        (["raed"], "read"),
        (["read", "--sise", "1"], "--size"),
        (["read", "--sized", "1"], "--size"),
    ):
        with pytest.raises(SystemExit):
            main.parse_args(arguments)
        assert f"(did you mean {near}?)" in capsys.readouterr().err
    assert main.parse_args(["write", "--sized", "1"]).sized == "1"


def test_every_program_reads_its_arguments_so():
    """argparse's own class would shorten options, and name nothing that is near."""
    root = Path(__file__).resolve().parents[2]
    programs = [
        path for folder in ("minialex", "examples", "lessons") for path in (root / folder).rglob("*.py")
    ]
    texts = {path.name: path.read_text(encoding="utf8") for path in programs}
    assert not [name for name, text in texts.items() if "ArgumentParser(" in text]
    programs = {name for name, text in texts.items() if "= Parser(" in text}
    assert programs >= {"__main__.py", "run.py", "lenet_mnist.py", "picture_options.py", "benchmark.py"}


# ---- settings -----------------------------------------------------------------------------------------


ABOUT = """Train it, for some time, on some pictures.    python train.py [--size 12345678901]

    python train.py DATA             what this one does is long, and behind it
    python train.py                  short

It goes on and on, line by line; at
its end:    python train.py --resume
"""


def test_help_fills_paragraphs_and_keeps_commands_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "52")
    with pytest.raises(SystemExit):
        command_line.Parser(prog="train.py", description=ABOUT).parse_args(["-h"])
    said = capsys.readouterr().out.partition("\n\n")[2].partition("\noptions")[0].rstrip()
    assert (
        said
        == """Train it, for some time, on some pictures.
    python train.py [--size 12345678901]

    python train.py DATA
        what this one does is long, and behind it
    python train.py                  short

It goes on and on, line by line; at its end:
    python train.py --resume"""
    )


def test_help_without_a_description_is_none(capsys):
    with pytest.raises(SystemExit):
        command_line.Parser(prog="train.py").parse_args(["-h"])
    assert capsys.readouterr().out.startswith("usage: train.py [-h]\n\noptions:")


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


def as_a_program(*command):
    """Start a command whose reader is gone before it says anything; its exit status, and its complaints."""
    here = Path(__file__).parents[2]
    program = subprocess.Popen(
        [sys.executable, *command], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    program.stdout.close()
    complaints = program.stderr.read().decode()
    program.stderr.close()
    return program.wait(), complaints


@pytest.mark.skipif(os.name == "nt", reason="pipes break in another way on Windows")
@pytest.mark.parametrize("unbuffered", [[], ["-u"]], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "command",
    [["-m", "minialex", "summary", "lenet5"], ["examples/reproduce.py"]],
    ids=["commands", "programs"],
)
def test_a_reader_that_has_seen_enough_is_no_mistake(command, unbuffered):
    assert as_a_program(*unbuffered, *command) == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize("command", ["-m minialex summary lenet5", "examples/reproduce.py"])
def test_a_standard_output_that_is_closed_is_no_mistake(command):
    here = Path(__file__).parents[2]
    done = subprocess.run(
        f"{sys.executable} {command} >&-", shell=True, cwd=here, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_another_pipe_that_breaks_is_told(monkeypatch):
    assert told(monkeypatch, BrokenPipeError("a process of ours ended")).endswith("a process of ours ended")


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


def test_help_names_the_program_as_it_was_started(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["my programs/one.py"])
    text = command_line.Parser(description="Do it.    python examples/one.py --fast").format_help()
    assert "python 'my programs/one.py' --fast" in text
    assert "examples/" not in text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.5M", 1.5e6),
        ("20,000,000", 2e7),
        ("1,500K", 1.5e6),
        ("2e7", 2e7),
        ("20m", 2e7),
        (".5G", 5e8),
        ("1,234.5M", 1.2345e9),
    ],
)
def test_an_amount_may_be_long(text, found):
    assert command_line.amount(text) == found


@pytest.mark.parametrize("text", ["", *"1,5M 0,5M ,,1 1, 12,34 1234,567 1,500,00 M 0 -1 nan".split()])
def test_a_comma_is_for_thousands_alone(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"as 20000000, 20M or 1\.5M, not "):
        command_line.amount(text)


def test_a_name_is_not_empty():
    assert command_line.named("runs") == "runs"
    with pytest.raises(
        argparse.ArgumentTypeError, match="the name is empty: is a variable of the shell not set"
    ):
        command_line.named("")


def test_a_line_for_a_shell_has_its_quotes(monkeypatch):
    assert command_line.typed("python", "my programs/one.py", 3) == "python 'my programs/one.py' 3"
    monkeypatch.setattr(words.os, "name", "nt")
    assert command_line.typed("python", r"my programs\one.py") == r'python "my programs\one.py"'
