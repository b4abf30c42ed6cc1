"""DataParallel when one of its processes is stopped, or hangs: whatever ends it ends. Real ones, but for one."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from running import LONG, finish
from test_data_parallel import GUARD, batch, lenet, pids, start, wait_until_gone

import minialex as mx
from minialex.devices.device import Device
from minialex.training import command_line, other_process
from minialex.training.data_parallel import DataParallel

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's"),
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc to look for processes"),
]


class Soon:
    """A block that takes a second or two. Wrong is that it waits for ever, or for as long as `finish` lets it."""

    def __enter__(self):
        self.started = time.monotonic()

    def __exit__(self, kind, *error):
        assert kind or time.monotonic() - self.started < LONG


@pytest.mark.parametrize("processes", [2, 5])
def test_stopped_processes_are_ended(processes):
    with DataParallel(lenet(), processes) as parallel:
        parallel.forward(batch(8 * processes)[0])
        others = stopped(parallel)
        with Soon():
            parallel.close()
    assert all(map(wait_until_gone, others))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_all_stopped_ones_together_are_given_one_second_to_end(monkeypatch, count):
    now, waited = [100.0], []

    class Stopped:
        killed = False

        def join(self, timeout):
            if not self.killed:
                now[0] += timeout

        def kill(self):
            self.killed = True
            waited.append(now[0] - 100)

    monkeypatch.setattr(other_process.time, "monotonic", lambda: now[0])
    other_process.end_processes([Stopped() for _ in range(count)])
    assert waited == [1.0] * count


def test_after_stopped_ones_new_ones_work():
    with DataParallel(lenet(), 2) as parallel:
        expected = parallel.forward(batch(16)[0])
        others = stopped(parallel)
        parallel.forward(batch(32)[0])  # which is larger
        assert all(map(wait_until_gone, others))
        np.testing.assert_array_equal(parallel.forward(batch(16)[0]), expected)


def stopped(parallel):
    for pid in pids(parallel):
        os.kill(pid, signal.SIGSTOP)
    return pids(parallel)


PROGRAM = """
import multiprocessing, os, pathlib, signal, sys, time
import numpy as np
import minialex as mx

class Sleepy(mx.Layer):
    "Hangs in the other processes, once it is told to, and hears no SIGTERM."
    asleep = False

    def forward(self, x):
        while self.asleep and multiprocessing.parent_process():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(0.1)
        return x.copy()

    def backward(self, grad_y):
        return grad_y

def main():
    sleepy = Sleepy()
    model = mx.Model(sleepy=sleepy, flatten=mx.Flatten(), out=mx.Linear(4, 2))
    parallel, x = mx.DataParallel(model, processes=3), np.zeros((24, 1, 2, 2), np.float32)
    parallel.forward(x)
    others = [other.process.pid for other in parallel._others]
    print(*others, flush=True)
    what = sys.argv[1]
    if "stop" in what:
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
    if "all" in what:  # multiprocessing's helper as well
        for pid in pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(pid), signal.SIGSTOP)
    if "hang" in what:
        sleepy.asleep = True
    if "drop" in what:
        del parallel
    print("now", flush=True)
    if "go" in what:
        parallel.forward(x)
"""


@pytest.mark.parametrize("what", ["stop", "stop all", "stop drop"])
def test_a_program_that_ends_with_stopped_processes_ends(tmp_path, what):
    process = start(tmp_path, PROGRAM + GUARD, what)
    others = [int(pid) for pid in process.stdout.readline().split()]
    process.stdout.readline()
    with Soon():
        result = finish(process)
    assert (result.status, result.err) == (0, "")
    assert all(map(wait_until_gone, others))


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("what", ["stop, go", "stop all, go", "hang, go"])
def test_ctrl_c_ends_a_program_whose_processes_are_stopped_or_hang(tmp_path, what, twice):
    process = start(tmp_path, PROGRAM + GUARD, what)
    others = [int(pid) for pid in process.stdout.readline().split()]
    process.stdout.readline()
    time.sleep(0.3)  # it waits for an answer
    assert process.poll() is None
    with Soon():
        os.killpg(process.pid, signal.SIGINT)
        if twice:
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGINT)
        result = finish(process)
    assert "KeyboardInterrupt" in result.err
    assert all(map(wait_until_gone, others))


# ---- inside a process that may have no children -----------------------------------------------------------

DAEMONIC = """
import multiprocessing, sys
import numpy as np
import minialex as mx
from minialex.devices.device import Device
from minialex.training.command_line import choose_processes

def work(processes):
    try:
        logits = mx.DataParallel(mx.models.lenet5(), processes).forward(np.zeros((32, 1, 28, 28), np.float32))
        return f"{logits.shape} {choose_processes(None, None, 512, Device('cpu'))}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def main():
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(1) as pool:
        print(*pool.map(work, [2, 1]), sep="\\n")
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_inside_a_daemonic_process_it_says_what_to_do(tmp_path, method):
    result = finish(start(tmp_path, DAEMONIC + GUARD, method))
    refused, alone = result.out.splitlines()
    assert refused == (
        "RuntimeError: DataParallel cannot start processes here: this one is daemonic itself, as a Pool's are, and may "
        "have none. Use the model alone, or processes=1, or start this one with daemon=False"
    )
    assert alone == "(32, 10) 1"


def test_a_run_in_a_daemonic_process_has_one_unless_more_are_asked_for(monkeypatch):
    monkeypatch.setattr(Device("cpu"), "threads", 4)
    assert command_line.choose_processes(None, None, 512, Device("cpu")) == 4
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert command_line.choose_processes(None, None, 512, Device("cpu")) == 1
    assert (
        command_line.choose_processes(None, 2, 512, Device("cpu")) == 2
    )  # its bits are asked for: DataParallel tells
    with pytest.raises(RuntimeError, match="may have none"):
        mx.DataParallel(lenet(), 2).forward(batch(16)[0])
