"""Which text of a layer runs, its own or a twin: for each call, in threads and processes, and without the folder."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from running import LONG, ONE_THREAD

import minialex as mx
from minialex.devices import twins
from minialex.devices.threads import one_blas_thread
from minialex.devices.twins import Twin
from minialex.fast.cpu import TWINS
from minialex.layers import Model
from minialex.training import optim

CPU = mx.Device("cpu")
LAYERS = [twin for twin in TWINS if isinstance(twin, type)]
ARGUMENTS = {
    mx.Conv2D: (2, 3, 2),
    mx.TableConv2D: ([(0,), (0, 1)], 2),
    mx.MaxPool2D: (2,),
    mx.AvgPool2D: (2,),
    mx.Subsampling: (2,),
    mx.Linear: (5, 3),
    mx.BatchNorm2D: (2,),
    mx.Dense: (mx.Identity(),),
}


@pytest.fixture(autouse=True)
def _on(monkeypatch):
    """Twins are on here, whatever MINIALEX_FAST says."""
    monkeypatch.setattr(CPU, "fast", True)


@pytest.fixture
def ran(monkeypatch):
    """ "forward" and "backward", as often as a twin's ran."""
    calls = []

    def recorded(twin):
        def forward(*args):
            calls.append("forward")
            return twin.forward(*args)

        def backward(*args, **options):
            calls.append("backward")
            return twin.backward(*args, **options)

        return Twin(forward, backward, twin.accepts)

    table = {cls: recorded(TWINS[cls]) for cls in LAYERS}
    monkeypatch.setattr(twins, "twins_of", lambda kind: table)
    return calls


def example(cls):
    """An instance and an input."""
    layer = cls(*next((ARGUMENTS[base] for base in cls.__mro__ if base in ARGUMENTS), ()))
    return layer, np.ones((2, 5) if layer.input_rank == 2 else (2, 2, 4, 6), np.float32)


def forward_and_backward(layer, x):
    layer.backward(np.ones_like(layer.forward(x)))


# ---- one class, one call ---------------------------------------------------------------------------


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_a_layer_runs_its_twin_both_ways(ran, cls):
    forward_and_backward(*example(cls))
    assert ran == ["forward", "backward"]


def overrides_nothing(cls):
    return type("Mine", (cls,), {})


def overrides_init(cls):
    def __init__(self, *args):
        cls.__init__(self, *args)

    return type("Mine", (cls,), {"__init__": __init__})


def overrides_forward(cls):
    return type("Mine", (cls,), {"forward": lambda self, x: cls.forward(self, x)})


def overrides_backward(cls):
    return type("Mine", (cls,), {"backward": lambda self, grad_y: cls.backward(self, grad_y)})


@pytest.mark.parametrize("change", [overrides_nothing, overrides_init, overrides_forward, overrides_backward])
@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_a_subclass_never_runs_the_twin(ran, cls, change):
    forward_and_backward(*example(change(cls)))
    assert ran == []


def test_a_twin_that_does_not_accept_the_input_leaves_it_to_the_textbook(ran):
    for x in (np.array(2.0), np.ones(3, np.longdouble)):
        forward_and_backward(mx.ReLU(), x)
    assert ran == []
    forward_and_backward(mx.ReLU(), np.ones(3))
    assert ran == ["forward", "backward"]


def test_accepts_is_asked_before_anything_is_saved(monkeypatch):
    seen = []
    accepts = lambda layer, x: seen.append((layer.saved, x.shape))  # noqa: E731
    monkeypatch.setattr(twins, "twins_of", lambda kind: {mx.ReLU: Twin(None, None, accepts)})
    layer = mx.ReLU()
    forward_and_backward(layer, np.ones(3))
    assert seen == [(None, (3,))]


# ---- forward and backward are of one kind ----------------------------------------------------------


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("how", ["fast", "textbook"])
@pytest.mark.parametrize("first", ["twin", "own lines"])
def test_backward_is_of_the_kind_of_its_forward_whatever_changes_in_between(
    ran, monkeypatch, cls, how, first
):
    layer, x = example(cls)

    def run(text, step):
        if text == "twin":
            return step()
        if how == "textbook":
            with mx.textbook():
                return step()
        with monkeypatch.context() as patch:
            patch.setattr(CPU, "fast", False)
            return step()

    y = run(first, lambda: layer.forward(x))
    run("own lines" if first == "twin" else "twin", lambda: layer.backward(np.ones_like(y)))
    assert ran == (["forward", "backward"] if first == "twin" else [])


def test_a_forward_by_its_own_lines_leaves_no_twin_s_backward_behind(ran):
    layer, x = example(mx.MaxPool2D)
    y = layer.forward(x)
    with mx.textbook():
        layer.forward(x)
    layer.backward(np.ones_like(y))
    assert ran == ["forward"]


def test_textbook_ends_with_its_block_even_by_an_error(ran):
    def fails():
        with mx.textbook():
            forward_and_backward(*example(mx.ReLU))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert ran == []
    with mx.textbook():
        with mx.textbook():
            pass
        forward_and_backward(*example(mx.ReLU))
    assert ran == []
    forward_and_backward(*example(mx.ReLU))
    assert ran == ["forward", "backward"]


def test_the_optimizer_s_rule_is_chosen_in_the_same_way(monkeypatch):
    calls = []
    monkeypatch.setattr(twins, "twins_of", lambda kind: {"SGD": lambda *args: calls.append("twin")})
    monkeypatch.setattr(optim, "update", lambda *args: calls.append("own lines"))
    w = mx.layers.Parameter(np.ones(3))
    w.grad = np.ones(3)
    optimizer = mx.SGD([w], lr=0.1)
    optimizer.step()
    with mx.textbook():
        optimizer.step()
    monkeypatch.setattr(CPU, "fast", False)
    optimizer.step()
    assert calls == ["twin", "own lines", "own lines"]


# ---- threads and processes -------------------------------------------------------------------------


@pytest.mark.parametrize("in_textbook", [True, False])
def test_the_choice_holds_in_the_threads_of_the_towers(monkeypatch, in_textbook):
    monkeypatch.setattr(CPU, "threads", 2)
    towers, x = mx.Towers.split(mx.Linear(5, 4)), np.ones((2, 5), np.float32)
    meet, found, chosen = threading.Barrier(2, timeout=LONG), {}, twins.chosen

    def spy(layer, x):
        if isinstance(layer, mx.Linear):
            meet.wait()  # so that both stages have a thread of their own
            found[threading.get_ident()] = chosen(layer, x)
            return found[threading.get_ident()]
        return chosen(layer, x)

    monkeypatch.setattr(twins, "chosen", spy)
    if in_textbook:
        with mx.textbook():
            towers.forward((x, x))
    else:
        towers.forward((x, x))
    assert list(found.values()) == [None if in_textbook else TWINS[mx.Linear]] * 2


def test_textbook_is_for_its_own_thread_and_not_for_another(ran):
    with mx.textbook():
        other = threading.Thread(target=forward_and_backward, args=example(mx.ReLU))
        other.start()
        other.join()
    assert ran == ["forward", "backward"]


def test_the_choice_travels_with_each_message_to_other_processes(monkeypatch):
    """Seen by the bits: a twin's differ from the textbook's, and here each process has eight pictures."""
    model = Model(
        conv=mx.Conv2D(3, 4, 5, padding=2, rng=1),
        pool=mx.AvgPool2D(5),
        flatten=mx.Flatten(),
        fc=mx.Linear(16, 3, rng=2),
    )
    x = np.random.default_rng(0).standard_normal((16, 3, 12, 12), dtype=np.float32)
    grad = np.random.default_rng(1).standard_normal((16, 3), dtype=np.float32)

    def step(model, forward_text="twin", backward_text="twin", parts=(slice(0, 16),)):
        """The logits, and the gradients of all parts added up."""
        monkeypatch.setattr(CPU, "threads", 1)
        logits, grads = [], []
        for part in parts:
            logits.append(as_asked(forward_text, lambda part=part: model.forward(x[part])))
            as_asked(backward_text, lambda part=part: model.backward(grad[part]))
            grads.append([p.grad.copy() for p in model.parameters()])
        return [
            np.concatenate(logits),
            *(sum(of_parts[1:], of_parts[0]) for of_parts in zip(*grads, strict=True)),
        ]

    def as_asked(text, function):
        with monkeypatch.context() as patch, one_blas_thread:
            if text == "not fast":
                patch.setattr(CPU, "fast", False)
            if text == "textbook":
                with mx.textbook():
                    return function()
            return function()

    halves = slice(0, 8), slice(8, 16)
    wanted = {text: step(model, text, text, halves) for text in ("twin", "textbook")}
    assert not any(np.array_equal(a, b) for a, b in zip(wanted["twin"][:2], wanted["textbook"], strict=False))
    with mx.DataParallel(model, processes=2) as parallel:
        for forward_text, backward_text in [
            ("twin", "twin"),
            ("textbook", "textbook"),
            ("twin", "textbook"),
            ("not fast", "not fast"),
            ("textbook", "twin"),
            ("not fast", "twin"),
            ("twin", "not fast"),
        ]:
            kind = "twin" if forward_text == "twin" else "textbook"
            for actual, expected in zip(
                step(parallel, forward_text, backward_text), wanted[kind], strict=True
            ):
                np.testing.assert_array_equal(actual, expected, err_msg=f"{forward_text}, {backward_text}")


# ---- fresh processes: MINIALEX_FAST, and without the folder ----------------------------------------

STEP = """
import sys, numpy as np, minialex as mx
model = mx.models.lenet5(rng=0)
x = np.random.default_rng(0).standard_normal((4, 1, 28, 28), dtype=np.float32)
model.loss.forward(model.forward(x), np.arange(4))
model.backward(model.loss.backward())
mx.SGD(model.parameters(), lr=0.1).step()
print(mx.__file__, "minialex.fast" in sys.modules, mx.Device("cpu").fast, repr(mx.Device("cpu")), sep="; ")
"""


def python(*arguments, package=None, **environment):
    """What a fresh Python prints, with this package or a changed one."""
    package = Path(mx.__file__).parents[1] if package is None else package
    env = {name: value for name, value in os.environ.items() if not name.startswith("MINIALEX_")}
    env |= {**ONE_THREAD, "PYTHONPATH": str(package), **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=package, timeout=120, check=False
    )


@pytest.fixture
def package(tmp_path):
    """A folder with a copy of the package, to be changed."""
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(mx.__file__).parent, tmp_path / "minialex", ignore=leave_out)
    return tmp_path


@pytest.mark.parametrize(("value", "loaded"), [("0", "False"), ("1", "True"), ("", "True")])
def test_the_environment_turns_twins_off(value, loaded):
    done = python("-c", STEP, MINIALEX_FAST=value)
    assert done.stdout.split("; ")[1:3] == [loaded, loaded], done.stderr


def test_without_the_folder_all_works_by_the_textbook(package):
    shutil.rmtree(package / "minialex" / "fast")
    for value in ("", "1"):
        done = python("-W", "error", "-c", STEP, package=package, MINIALEX_FAST=value)
        file, loaded, _, device = done.stdout.strip().split("; ")
        assert (file, loaded, device) == (
            str(package / "minialex" / "__init__.py"),
            "False",
            "Device('cpu')",
        ), done.stderr
    done = python("-m", "minialex", "doctor", package=package)
    assert "none: the folder fast/ is not there" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("fast/cpu/conv.py", "import a_module_that_nobody_has", "No module named 'a_module_that_nobody_has'"),
        ("fast/cpu/conv.py", "from minialex.shapes import no_such_name", "cannot import name 'no_such_name'"),
        ("fast/__init__.py", "import minialex.nowhere", "No module named 'minialex.nowhere'"),
        ("fast/cpu/__init__.py", "1 / 0", "ZeroDivisionError"),
        ("fast/cpu/pool.py", None, "cannot import name 'pool'"),
    ],
)
def test_a_broken_twin_is_an_error_and_not_the_textbook(package, file, line, message):
    path = package / "minialex" / file
    if line is None:
        path.unlink()
    else:
        path.write_text(path.read_text(encoding="utf8") + "\n" + line + "\n", encoding="utf8")
    done = python("-c", STEP, package=package)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize("value", ["false", "2", "on"])
def test_minialex_fast_is_0_or_1(monkeypatch, value):
    monkeypatch.setenv("MINIALEX_FAST", value)
    with pytest.raises(ValueError, match=f"MINIALEX_FAST must be 0, 1, or not set, not '{value}'"):
        twins.fast_by_default("cpu")
