"""Answers that do what no answer should: each gets its word, and the side that judges stays whole."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from minialex.check import dropout_mask
from minialex.check.kept import wire
from minialex.check.kept.apart import Apart, Raised, Refused, Stopped, TimedOut
from minialex.check.kept.keeping import tried


@pytest.fixture
def apart(tmp_path):
    """apart(lines of f's body, above="", **limits): f(x), in a process of its own."""

    def make(body, above="", **limits):
        path = tmp_path / "answer.py"
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        path.write_text(
            f"import os, sys, time\nimport numpy as np\n{above}\ndef f(x):\n{lines}\n", encoding="utf8"
        )
        return Apart(path, "f", **limits)

    return make


RAISED = {
    "return np.zeros(10**9, 'int8')": "1,000,000,000 bytes; 268,435,456 are the most",
    "return np.broadcast_to(np.zeros(1), (10**12,))": "8,000,000,000,000 bytes",
    "return 10**10000": "what it returned can't be taken: ValueError",
    "y = []\ny.append(y)\nreturn y": "what it returned can't be taken: RecursionError",
    "raise ValueError('z' * 10**6)": "ValueError: zzz",
    "class Odd(Exception):\n    def __str__(self): raise KeyError\nraise Odd": "Odd; in f: raise Odd",
    "sys.exit('bye')": "SystemExit: bye",
    "x.shape = (4,)": r"made its input of shape \(2, 2\) one of \(4,\)",
    "x.resize((0,), refcheck=False)": r"made its input of shape \(2, 2\) one of \(0,\)",
    "input()": "EOFError",
}


@pytest.mark.parametrize("body", RAISED)
def test_what_cannot_be_taken_is_said_and_the_next_call_is_answered(apart, body):
    with apart(f"if x.size == 1: return 7\n{body}") as f:
        with pytest.raises(Raised, match=RAISED[body]) as raised:
            f(np.ones((2, 2)))
        assert len(str(raised.value)) < 3000
        assert f(np.ones(1)) == 7


STOPPED = {
    "os._exit(3)": r"Python was ended \(exit code 3\)",
    "os.kill(os.getpid(), 9)": r"crashed or was ended \(signal 9\)",
    "for number in range(3, 20):\n    try: os.write(number, b'rubbish' * 9)\n    except OSError: pass": "is no result",
}


@pytest.mark.parametrize("body", STOPPED)
@pytest.mark.skipif(sys.platform == "win32", reason="signals, and numbers of open files")
def test_a_process_that_breaks_off_says_how(apart, body):
    with apart(body) as f, pytest.raises(Stopped, match=STOPPED[body]):
        f(1)


def test_what_is_printed_is_cut_and_whatever_happens_to_stdout_does_no_harm(apart, capsys):
    with apart(
        "print('x' * 10**7)\nprint('\\ud800')\nos.write(1, b'rubbish')\nsys.stdout.close()\nreturn x"
    ) as f:
        assert f(3) == 3
        assert f.seconds_for((3,), times=2) >= 0
    assert capsys.readouterr().out == "x" * 2000  # once: timing is silent


@pytest.mark.skipif(sys.platform == "win32", reason="groups of processes")
def test_what_an_answer_started_ends_with_it(apart, tmp_path):
    seen = tmp_path / "seen"
    body = f"""
if os.fork() == 0:
    open({str(seen)!r}, "w").write(str(os.getpid()))
    time.sleep(60)
return 1"""
    with apart(body) as f:
        try:
            f(1)
        except Raised:
            pytest.skip("this user's answers start no processes")
        while not (seen.is_file() and seen.read_text()):
            time.sleep(0.01)
    child = int(seen.read_text())
    until = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_alive(child)


def is_alive(process):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_a_library_that_came_in_by_another_way_is_seen(apart, tmp_path):
    (tmp_path / "minialex.py").write_text("")
    with apart(
        "return x", above=f"sys.meta_path.pop(0); sys.path.insert(0, {str(tmp_path)!r}); import minialex"
    ) as f:
        assert f.wanted == {"minialex"}


def test_a_top_level_that_raises_a_key_error_is_not_taken_for_a_missing_function(apart):
    with pytest.raises(Refused, match="KeyError: 'a'; in <module>"), apart("return x", above="{}['a']"):
        pass


def test_a_python_that_does_not_start_is_no_fault_of_the_answer(apart, monkeypatch, tmp_path):
    monkeypatch.setattr(np, "__file__", str(tmp_path / "nowhere" / "numpy" / "__init__.py"))
    with (
        pytest.raises(Stopped, match="could not be started with NumPy alone, for this or for any other"),
        apart("..."),
    ):
        pass
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(Stopped, match="no process for it could be started"), apart("..."):
        pass


def test_waiting_for_an_answer_that_does_not_listen_has_an_end(apart):
    with pytest.raises(TimedOut), apart("return x", above="time.sleep(60)", seconds=0.5):
        pass


def test_an_answer_that_fails_with_a_whole_batch_is_wrong_and_says_so():
    for line in ("assert x.size < 1000, x.shape", "if x.size > 1000: raise KeyError('large')"):
        text = f"import numpy as np\ndef relu_forward(x):\n    {line}\n    return np.maximum(x, 0)\n"
        found = tried("relu_forward", text)
        assert found.state == "wrong"
        assert "right in small cases, but with a LeNet-5 batch of 64 it raised" in found.said


MASK = """
buffers = {}
def dropout_mask(shape, p, rng):
    buffer = buffers.setdefault(shape, np.empty(shape, bool))
    return np.greater_equal(rng.random(shape), p, out=buffer)
def plain(shape, p, rng):
    return rng.random(shape) >= p
"""


def test_several_calls_in_one_message_give_what_they_give_one_by_one(tmp_path):
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    path = tmp_path / "mask.py"
    path.write_text("import numpy as np\n" + MASK)
    with Apart(path, "dropout_mask") as f:
        together = f.several(((3, 2), 0.5, one), times=5)
        singly = [f((3, 2), 0.5, other) for _ in range(5)]
        np.testing.assert_array_equal(together, singly)
        assert one.random() == other.random()
    with Apart(path, "plain") as f:
        verdict = dropout_mask(f)
    assert verdict, verdict


def test_a_message_that_is_none_of_ours_fills_no_memory():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as incoming, os.fdopen(write, "wb") as outgoing:
        outgoing.write(wire.LENGTHS.pack(2**40, 5))
        outgoing.flush()
        with pytest.raises(ValueError, match="1,099,511,627,781 bytes is none of ours"):
            wire.receive(incoming)
