"""Processes that train together, by real MPI: what they learn is what one learns, and whatever happens, all end."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import ONE_THREAD, PACKAGE, Result

CASES = Path(__file__).with_name("cases.py")
pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("mpi4py") and shutil.which("mpiexec")),
    reason='there is no mpi4py, or no mpiexec: pip install -e ".[cluster-local]"',
)


def cluster(processes, case, timeout=100, **options):
    """What so many processes left; none of them is there any more."""
    command = ["mpiexec", "-n", str(processes), sys.executable, CASES, case, json.dumps(options)]
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **PACKAGE, **ONE_THREAD},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Result(process.returncode, out, err)


def said(processes, case, **options):
    result = cluster(processes, case, **options)
    assert result.status == 0, result
    return json.loads(result.out)


# ---- what they learn -----------------------------------------------------------------------------------


def check(found, steps):
    for net, run in found.items():
        assert run["steps"] == steps, (net, run)
        assert run["counters"], (net, run)
        assert max(run["losses"], run["weights"], run["history"]) < 1e-11, (net, run)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_what_is_learned_hangs_on_no_number_of_processes(processes):
    """With dropout, in two towers, with batch normalisation; the last batch is ragged, the rate drops by a plateau."""
    check(said(processes, "as_one", nets=["lenet", "alexnet", "resnet"], epochs=3), steps=9)


def test_a_process_without_a_picture_takes_part():
    """Batches of 3, the last one of 1, for four processes."""
    check(said(4, "as_one", nets=["alexnet", "resnet", "densenet"], pictures=7, batch=3), steps=6)


def test_pretended_gpus_sum_through_the_host():
    check(said(2, "as_one", nets=["on_sim"]), steps=6)


def test_as_many_processes_give_the_same_bits_again_and_each_has_them():
    once, again = (said(3, "bits", net="resnet", dtype="float32") for _ in range(2))
    assert len(set(once)) == 1
    assert once == again


def test_sums_and_words():
    found = said(3, "group")
    assert found.pop("float32") == "float32"
    assert all(found.values()), found


# ---- one weird trick -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["a", "b", "c"])
def test_shared_units_learn_what_one_process_learns(scheme):
    """Ten classes for three processes; the last batch of five; dropout before and behind the first of the layers."""
    joined = {"parallel": "weird-trick", "scheme": scheme}
    check(
        said(
            3, "as_one", nets=["one_tower", "dropout_first", "vgg", "vgg_of_imagenet", "lenet"], joined=joined
        ),
        steps=6,
    )


def test_shared_units_do_without_pictures_in_some_processes():
    joined = {"parallel": "weird-trick", "scheme": "c"}
    check(said(4, "as_one", nets=["one_tower_on_sim", "vgg"], pictures=7, batch=3, joined=joined), steps=6)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("scheme", ["data", "weird-trick a", "weird-trick c"])
def test_as_many_bytes_are_sent_as_planned(processes, scheme):
    parallel, _, letter = scheme.partition(" ")
    joined = {"parallel": parallel, **({"scheme": letter} if letter else {})}
    counted, planned = said(processes, "sent", net="one_tower", parallel=scheme, joined=joined)
    assert planned * 0.99 < counted < planned * 1.01 + 2000, (counted, planned)  # labels and scores are few


# ---- what may go wrong ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Eleven pictures of noise, of which two are damaged."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for number in range(11):
        file = folder / f"{number:02}.jpg"
        Image.fromarray(rng.integers(0, 256, (48, 44, 3), dtype=np.uint8)).save(file)
        if number in (3, 4):
            file.write_bytes(file.read_bytes()[:300])
    return folder


def test_unreadable_pictures_are_left_out_as_by_one_process(photographs):
    found = said(3, "damaged", folder=str(photographs), max_bad=2)
    assert found["steps"][0] == found["steps"][1]
    assert max(found["losses"], found["weights"]) < 1e-12, found


def test_too_many_unreadable_pictures_end_all_and_are_all_named(photographs):
    result = cluster(3, "damaged", folder=str(photographs), max_bad=1)
    assert result.status == 1
    assert "2 of 11 pictures cannot be read, and up to 1 may be skipped" in result.err
    assert "03.jpg" in result.err
    assert "04.jpg" in result.err
    assert result.err.count("up to 1 may be skipped") == 1  # said once


def test_a_loss_that_is_no_number_in_one_process_ends_all_and_is_said_once():
    result = cluster(3, "not_a_number", number=2)
    assert result.status == 1
    assert result.err.count("NotFinite: the loss became") == 1


def test_an_error_in_one_process_ends_all_and_says_where():
    result = cluster(3, "fails", number=1)
    assert result.status != 0
    assert "process 1 on" in result.err
    assert "MemoryError: a matrix of 3 GiB" in result.err


@pytest.mark.parametrize(
    ("case", "what"), [("other_seed", "training batches"), ("other_weights", "checksum")]
)
def test_a_process_that_is_not_like_the_others_is_named_before_anything_is_trained(case, what):
    result = cluster(3, case, number=2)
    assert result.status == 1
    assert "process 2 on" in result.err
    assert what in result.err


def test_a_process_that_hangs_is_not_waited_for_without_end():
    result = cluster(2, "waits_for_ever", number=1, timeout=50)
    assert result.status != 0
    assert "process 0 on" in result.err
    assert "from the other process for 1 s" in result.err


# ---- stopped, and resumed ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["SIGTERM", "SIGINT"])
def test_a_signal_to_one_stops_all_after_the_same_step_and_they_go_on_as_fewer(tmp_path, what):
    whole = said(2, "long_run", folder=str(tmp_path / "whole"), epochs=3)
    folder = str(tmp_path / "run")
    stopped = cluster(4, "long_run", folder=folder, epochs=3, number=2, when=5, what=what)
    assert stopped.status != 0
    assert "KeyboardInterrupt" in stopped.err
    found = said(2, "long_run", folder=folder, epochs=3, resume=True)
    assert np.allclose(found["losses"], whole["losses"], rtol=1e-12)


def test_a_process_that_is_killed_leaves_a_checkpoint_that_is_whole(tmp_path):
    folder = str(tmp_path / "run")
    killed = cluster(4, "long_run", folder=folder, epochs=3, number=3, when=9, what="SIGKILL")
    assert killed.status != 0
    whole = said(2, "long_run", folder=str(tmp_path / "whole"), epochs=3)
    found = said(2, "long_run", folder=folder, epochs=3, resume=True)
    assert np.allclose(found["losses"], whole["losses"], rtol=1e-12)
