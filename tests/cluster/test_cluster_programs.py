"""The programs with --cluster: what they say and leave is what one process says and leaves."""

import csv
import os
import subprocess
import sys

import pytest
from running import EXAMPLES, ONE_THREAD, PACKAGE, Result
from test_cluster import pytestmark as pytestmark


def program(folder, name, *arguments, processes=None):
    """What a program left; so many processes with --cluster, or one without."""
    command = [sys.executable, EXAMPLES / name, *arguments]
    if processes:
        command = ["mpiexec", "-n", processes, *command, "--cluster"]
    environment = {**os.environ, **PACKAGE, **ONE_THREAD, "MINIALEX_DATA": str(folder / "none")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: float(text) for name, text in row.items() if text and "second" not in name} for row in rows
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


def test_lenet_learns_what_one_process_learns_and_goes_on_as_another_number(place):
    lenet = ["lenet_mnist.py", "--limit", "300", "--dropout", "0.5", "--epochs"]
    alone = program(place, *lenet, "2", "--processes", "1", "--output-dir", "alone")
    shared = program(place, *lenet, "2", "--output-dir", "shared", processes=3)
    assert (alone.status, shared.status) == (0, 0), shared
    assert "3 processes on 1 machine" in shared.out
    assert "processes 1" not in shared.out
    assert shared.out.count("Test error on drawn digits") == 1  # the first one speaks
    assert shared.err == alone.err
    for one, other in zip(history(place / "alone"), history(place / "shared"), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert {path.name for path in (place / "alone").iterdir()} == {
        path.name for path in (place / "shared").iterdir()
    }
    longer = program(place, *lenet, "3", "--resume", "shared", processes=2)
    assert longer.status == 0, longer
    assert len(history(place / "shared")) == 3


def test_alexnet_learns_what_one_process_learns_from_picture_files(place):
    alexnet = ["alexnet_imagenet.py", "--limit", "24", "-b", "10", "--epochs", "1", "-j", "1"]
    alone = program(place, *alexnet, "--output-dir", "alexnet-alone")
    shared = program(place, *alexnet, "--output-dir", "alexnet-shared", processes=2)
    assert (alone.status, shared.status) == (0, 0), shared
    for one, other in zip(history(place / "alexnet-alone"), history(place / "alexnet-shared"), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert "in each process" in shared.out


def test_a_network_of_one_tower_shares_its_units(place):
    vgg = [
        "alexnet_imagenet.py",
        "-a",
        "vgg11",
        "--small",
        "--limit",
        "12",
        "-b",
        "6",
        "--epochs",
        "1",
        "-j",
        "1",
    ]
    shared = program(place, *vgg, "--parallel", "weird-trick", "--output-dir", "vgg", processes=2)
    assert shared.status == 0, shared
    assert "share each batch, and the units of fully connected layers (scheme b)" in shared.out
    two_towers = program(
        place, "alexnet_imagenet.py", "--limit", "12", "--parallel", "weird-trick", processes=2
    )
    assert two_towers.status == 1
    assert "is in two towers" in two_towers.err
    assert two_towers.err.count("towers=1") == 1


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--parallel", "data"], "it goes with --cluster"),
        (["--cluster", "--scheme", "a"], "it goes with --cluster --parallel weird-trick"),
        (["--cluster", "--parallel", "wierd-trick"], "did you mean weird-trick?"),
        (["--cluster", "-e", "--resume", "runs/lenet"], "leave out --cluster"),
        (["--cluster", "--processes", "2"], "leave out that or --cluster"),
    ],
)
def test_options_that_cannot_be_together_are_told(place, options, what):
    result = program(place, "lenet_mnist.py", *options)
    assert result.status == 2
    assert what in " ".join(result.err.split())


def test_what_is_not_there_to_resume_is_said_once(place):
    result = program(place, "lenet_mnist.py", "--resume", "nowhere", processes=2)
    assert result.status != 0
    assert result.err.count("nowhere") == 1
