"""The pool of threads: order, sharing out, errors, and what becomes of BLAS's own threads."""

import importlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from running import EXAMPLES, LONG
from threadpoolctl import threadpool_info, threadpool_limits

import minialex as mx
from minialex.devices import threads
from minialex.devices.threads import spread
from minialex.training import command_line


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(count, workers):
    assert spread(lambda item: item * 10, range(count), workers) == [item * 10 for item in range(count)]


def test_pieces_run_at_the_same_time():
    both_are_here = threading.Barrier(2, timeout=LONG)  # waits until two are in it
    assert sorted(spread(lambda _: both_are_here.wait(), range(2), 2)) == [0, 1]


def test_one_thread_runs_everything_in_the_caller():
    assert set(spread(lambda _: threading.get_ident(), range(3), 1)) == {threading.get_ident()}


def test_a_spread_inside_a_spread_gets_its_share_of_the_threads():
    def inner(_):
        return threads.available(4), spread(lambda _: threads.available(4), range(2), 4)

    assert spread(inner, range(2), 4) == [(2, [1, 1])] * 2
    assert threads.available(4) == 4  # and the caller has all of them again


def test_spreads_inside_spreads_do_not_wait_for_each_other_in_a_circle():
    done = []
    nested = threading.Thread(
        target=lambda: done.append(spread(lambda i: sum(spread(abs, [i] * 9, 4)), range(16), 4)), daemon=True
    )
    nested.start()
    nested.join(LONG)
    assert done == [[9 * i for i in range(16)]]


def test_the_first_error_is_raised_after_all_pieces_have_ended():
    ended = []

    def work(item):
        if item == 0:
            raise ValueError("piece 0 of 2")
        time.sleep(0.05)
        ended.append(item)

    with pytest.raises(ValueError, match="piece 0 of 2"):
        spread(work, range(2), 2)
    assert ended == [1]
    assert threads.available(5) == 5


def test_an_error_in_another_thread_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        spread(lambda item: 1 // item, [1, 0], 2)


def test_numpy_s_error_state_holds_in_the_other_threads():
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        spread(lambda item: np.ones(1) / item, [np.ones(1), np.zeros(1)], 2)


def test_blas_has_one_thread_inside_and_its_own_again_after():
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        assert spread(lambda _: blas_threads(), range(2), 2) == [{1}, {1}]
        assert blas_threads() == {2}


def test_the_number_of_threads_is_that_of_the_cores_or_the_one_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.cores() == 3
    for nonsense in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert 1 <= threads.cores() <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_can_spread_as_well():
    code = """
import os, warnings
from minialex.devices.threads import spread
spread(abs, range(4), 2)
warnings.simplefilter("ignore")  # Python 3.12 and later warn of a fork while threads run
child = os.fork()
if not child:
    os._exit(0 if spread(abs, [-1, -2], 2) == [1, 2] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG, check=True
    )
    assert done.stdout == "0\n"


@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize("least", [1, 2, 5, 100])
def test_shares_hold_everything_once_and_no_more_than_the_threads(monkeypatch, count, least):
    monkeypatch.setattr(mx.Device("cpu"), "threads", 3)
    shares = mx.Device("cpu").shares(count, least)
    assert [item for share in shares for item in range(share.start, share.stop)] == list(range(count))
    assert len(shares) <= 3
    assert len(shares) == 1 or min(share.stop - share.start for share in shares) >= least


def alexnet_step(threads_used, monkeypatch):
    """Logits and gradients of one step of a small AlexNet in two towers."""
    monkeypatch.setattr(mx.Device("cpu"), "threads", threads_used)
    model = mx.models.alexnet(num_classes=5, devices="cpu", width=0.0625, image_size=67, rng=0)
    x = np.random.default_rng(1).standard_normal((4, 3, 67, 67)).astype(np.float32)
    model.loss.forward(model.forward(x), np.arange(4))
    model.backward(model.loss.backward())
    return [p.grad.copy() for p in model.parameters()]


@pytest.mark.usefixtures("in_pieces")
def test_a_step_gives_the_same_bits_each_time_and_the_same_numbers_on_other_threads(monkeypatch):
    first, again = alexnet_step(4, monkeypatch), alexnet_step(4, monkeypatch)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(first, alexnet_step(1, monkeypatch), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize("program", ["lenet_mnist", "alexnet_imagenet"])
def test_the_examples_take_a_number_of_threads(monkeypatch, program):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(mx.Device("cpu"), "threads", 1)
    assert importlib.import_module(program).parse_arguments(["--threads", "3"]).threads == 3
    command_line.use_threads(3)
    assert mx.Device("cpu").threads == 3
    command_line.use_threads(None)
    assert mx.Device("cpu").threads == 3


@pytest.mark.parametrize("nonsense", ["0", "-1", "two"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, capsys, nonsense):
    monkeypatch.syspath_prepend(EXAMPLES)
    with pytest.raises(SystemExit):
        importlib.import_module("lenet_mnist").parse_arguments(["--threads", nonsense])
    assert f"{nonsense}" in capsys.readouterr().err


def test_limited_takes_threads_away_and_gives_none():
    with threads.limited(2):
        assert threads.available(4) == 2
        with threads.limited(3):
            assert threads.available(4) == 2
        assert threads.available(4) == 2
    assert threads.available(4) == 4
