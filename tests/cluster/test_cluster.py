"""Processes that train together, by real MPI: what they learn is what one learns, and whatever happens, all end."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
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


def cluster(processes, case, timeout=100, threads=1, **options):
    """What so many processes left; none of them is there any more."""
    command = ["mpiexec", "-n", str(processes), sys.executable, CASES, case, json.dumps(options)]
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **PACKAGE, **ONE_THREAD, "OMP_NUM_THREADS": str(threads)},
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


def test_towers_that_ask_the_other_processes_do_it_in_turn():
    """With two threads each tower has one of its own, and MPI would hear both at once."""
    check(said(2, "as_one", nets=["normalised_towers"], threads=2), steps=6)


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
            3,
            "as_one",
            nets=["one_tower", "dropout_first", "vgg", "vgg_of_imagenet", "lenet", "no_convolution"],
            joined=joined,
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
    for joined in ({}, {"parallel": "weird-trick", "scheme": "c"}):
        found = said(3, "damaged", folder=str(photographs), max_bad=2, joined=joined)
        assert found["steps"][0] == found["steps"][1]
        assert max(found["losses"], found["weights"]) < 1e-12, found


def test_too_many_unreadable_pictures_end_all_and_are_all_named(photographs):
    result = cluster(3, "damaged", folder=str(photographs), max_bad=1)
    assert result.status == 1
    assert "2 of 11 pictures cannot be read, and up to 1 may be skipped" in result.err
    assert "03.jpg" in result.err
    assert "04.jpg" in result.err
    assert result.err.count("up to 1 may be skipped") == 1  # said once


def test_unreadable_pictures_are_told_wherever_they_are(photographs):
    """In a last batch without a readable one, in all batches, and among those that nothing is trained on."""
    found = said(2, "damaged_elsewhere", folder=str(photographs))
    assert found["last"].startswith("DataError: 2 of 6 pictures cannot be read, and up to 1 may")
    assert found["all"].startswith("DataError: 2 of 2 pictures cannot be read")
    assert found["held out"].startswith("DataError: 2 of 11 pictures cannot be read, and up to 0 may")


def test_a_run_goes_on_behind_a_batch_of_unreadable_pictures(photographs, tmp_path):
    found = said(2, "damaged_and_stopped", folder=str(photographs), runs=str(tmp_path / "run"))
    assert found["stopped"]
    assert found["weights"] == 0


def test_a_loss_that_is_no_number_in_one_process_ends_all_and_is_said_once():
    for joined in ({}, {"parallel": "weird-trick"}):
        result = cluster(3, "not_a_number", number=2, joined=joined)
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


def test_whatever_one_process_does_otherwise_is_told_before_anything_is_trained():
    found = said(3, "unlike")
    words = {
        "test": "test labels 12 with the checksum",
        "no test": "test labels none",
        "checkpoint_every": "checkpoint_every 2",
        "pictures": "training pictures float32",
        "dropout": "drop Dropout(p=0.25",
        "masks": "seed=1)",
        "activation": "between Tanh",
        "one more": "more ReLU()",
        "frozen": "what is trained 3 parameters",
        "epochs": "epochs 2",
        "bucket": "Cluster(bucket=100",
        "kind": "the cluster WeirdTrick",
        "scheme": "the scheme b",
    }
    assert set(found) == set(words)
    for name, text in found.items():
        assert text.startswith("ClusterError: process 2 on"), (name, text)
        assert words[name] in text, (name, text)


def test_networks_that_would_learn_otherwise_are_refused():
    found = said(2, "refused")
    assert "Own) is a BatchNorm2D of your own" in found["Model"]
    assert "mx.DataParallel shares a batch on this machine alone" in found["DataParallel"]


def test_a_weight_of_two_layers_is_summed_when_both_have_said_theirs():
    assert said(2, "shared_weights") < 1e-12


def test_a_process_that_ends_before_it_comes_is_not_waited_for_without_end():
    program = (
        "import os, sys\n"
        "if '1' in (os.environ.get('PMI_RANK'), os.environ.get('OMPI_COMM_WORLD_RANK')): sys.exit(3)\n"
        "import minialex as mx\n"
        "with mx.cluster.joined(patience=3.0): print('all are there')"
    )
    began = time.monotonic()
    done = subprocess.run(
        ["mpiexec", "-n", "2", sys.executable, "-c", program],
        env={**os.environ, **PACKAGE, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "all are there" not in done.stdout
    ended_by_mpiexec = time.monotonic() - began < 3  # which some do
    assert (
        ended_by_mpiexec
        or "not all of the 2 processes have come to mx.cluster.joined() after 3 s" in done.stderr
    )


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


def test_shared_units_are_whole_in_a_checkpoint_and_go_on_without_the_trick(tmp_path):
    whole = said(2, "long_run", folder=str(tmp_path / "whole"), epochs=3)
    folder, trick = str(tmp_path / "run"), {"parallel": "weird-trick", "scheme": "a"}
    stopped = cluster(3, "long_run", folder=folder, epochs=3, number=2, when=5, joined=trick)
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
