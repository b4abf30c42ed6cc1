"""DataParallel: in several processes the same numbers as in one; and nothing is left behind when one of them fails."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from running import LONG, PACKAGE, wait_until

import minialex as mx
from minialex import train
from minialex.devices import threads
from minialex.training.data_parallel import DataParallel
from minialex.training.optim import Constant

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


def lenet(dtype="float64", **options):
    return mx.models.lenet5(rng=0, **options).astype(dtype)


def batch(count, dtype="float64", side=28):
    rng = np.random.default_rng(count)
    return rng.standard_normal((count, 1, side, side)).astype(dtype), rng.integers(0, 10, count)


def step(model, x, labels):
    """Logits, loss and all gradients of a step."""
    logits = model.forward(x)
    loss = model.loss.forward(logits, labels)
    model.backward(model.loss.backward())
    return [logits, loss, *(p.grad.copy() for p in model.parameters())]


def same(ones, others, rtol=1e-11):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max(), strict=True)


@pytest.fixture(scope="module")
def pair():
    """A LeNet-5 with dropout in three processes, and the same in one."""
    with DataParallel(lenet(dropout=0.5), processes=3) as parallel:
        yield parallel, lenet(dropout=0.5)


# ---- the same numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [30, 31, 8, 1, 64])  # with a share for each, for one alone; a larger one
def test_a_step_is_the_step_of_one_process_with_its_masks(pair, count):
    parallel, alone = pair
    for _ in range(2):  # the second has other masks
        same(step(parallel, *batch(count)), step(alone, *batch(count)))
    assert parallel.counters() == alone.counters()


def test_training_and_evaluation_are_those_of_one_process(pair):
    _, alone = pair
    (x, labels), models = batch(48), [copy.deepcopy(alone), copy.deepcopy(alone)]
    with DataParallel(models[0], processes=2) as both:
        for model in (both, models[1]):
            optimizer = mx.SGD(model.train().parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
            for _ in range(3):
                train.train_step(model, optimizer, x, labels)
        same(both.eval().forward(x)[None], models[1].eval().forward(x)[None])
        assert not models[0].training
    same([p.value for p in models[0].parameters()], [p.value for p in models[1].parameters()])
    assert any(
        abs(p.value - q.value).max() > 1e-3
        for p, q in zip(both.parameters(), alone.parameters(), strict=True)
    )


def test_one_layer_may_be_in_another_mode_than_the_model(pair):
    for model in pair:
        model.train()["c5_dropout"].eval()
    same(*(step(model, *batch(32)) for model in pair))
    for model in pair:
        model.train()


def test_settings_may_be_changed_from_outside(pair):
    before = [model["c5_dropout"].p for model in pair]
    for p in (0.1, 0.9):
        for model in pair:
            model["c5_dropout"].p, model["f6_tanh"].slope = p, 1 + p
        same(*(step(model, *batch(32)) for model in pair))
    for model in pair:
        model["c5_dropout"].p, model["f6_tanh"].slope = before[0], 1.0


def test_weights_may_be_changed_from_outside(pair):
    for model in pair:
        model["c3"].weight.value = model["c3"].weight.value * 1.5
    same(*(step(model, *batch(32)) for model in pair))


def test_the_pictures_gradient_is_that_of_one_process(pair):
    x, _ = batch(27)
    grads = []
    for model in pair:
        logits = model.forward(x)
        grads.append(model.backward(np.cos(logits), input_grad=True))
    same(*(grad[None] for grad in grads))
    assert pair[0].backward.__self__ is pair[0]


@pytest.mark.parametrize(("variant", "side"), [("1998", 32), ("keras", 28)])
def test_the_other_variants(variant, side):
    x, labels = batch(20, side=side)
    with DataParallel(lenet(variant=variant), processes=2) as parallel:
        same(step(parallel, x, labels), step(lenet(variant=variant), x, labels))


def test_a_network_in_two_towers():
    options = {"num_classes": 5, "devices": "cpu", "width": 0.0625, "image_size": 67, "rng": 0}
    x, labels = (
        np.random.default_rng(1).standard_normal((16, 3, 67, 67)).astype(np.float32),
        np.arange(16) % 5,
    )
    with DataParallel(mx.models.alexnet(**options), processes=2) as parallel:
        same(step(parallel, x, labels), step(mx.models.alexnet(**options), x, labels), rtol=1e-4)


def test_the_same_number_of_processes_gives_the_same_bits():
    runs = []
    for _ in range(2):
        with DataParallel(lenet("float32"), processes=2) as parallel:
            optimizer = mx.SGD(parallel.parameters(), lr=0.1, momentum=0.9)
            for _ in range(3):
                train.train_step(parallel, optimizer, *batch(64, "float32"))
        runs.append([p.value for p in parallel.parameters()])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_dtype_starts_anew():
    with DataParallel(lenet("float32"), processes=2) as parallel:
        for dtype in ("float32", "float64", "float32"):
            x, labels = batch(16, dtype)
            results = step(parallel.astype(dtype), x, labels)
            assert {result.dtype for result in results} == {np.dtype(dtype)}
            same(results, step(lenet("float32").astype(dtype), x, labels), rtol=1e-4)


def test_fit_trains_saves_and_loads_it_like_a_model(tmp_path):
    def fit(model, **options):
        x, labels = batch(64, "float32")
        batches = mx.data.loader.ArrayBatches(x, labels, 32, seed=0)
        optimizer = mx.SGD(model.parameters(), 0.05, 0.9)
        return train.fit(model, optimizer, Constant(0.05), batches, batches, epochs=2, **options)

    alone, whole = lenet("float32", dropout=0.3), mx.models.lenet5(dropout=0.3)
    history = fit(alone)
    with DataParallel(whole, processes=2) as parallel:
        in_parallel = fit(parallel, folder=tmp_path)
    for row, other in zip(history, in_parallel, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert row["test_loss"] == pytest.approx(other["test_loss"], rel=1e-4)
    mx.checkpoint.load_checkpoint(tmp_path / "checkpoint.safetensors").restore(mx.models.lenet5(dropout=0.3))
    saved = mx.weights.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(saved["c1.weight"], whole["c1"].weight.value)


def test_gradcheck_takes_it():
    model = mx.Model(fc=mx.Linear(3, 4), drop=mx.Dropout(0.5), tanh=mx.Tanh())
    with DataParallel(model, processes=2) as parallel:
        assert mx.gradcheck(parallel, np.random.default_rng(0).standard_normal((16, 3)))


# ---- processes come and go -------------------------------------------------------------------------


def pids(parallel):
    return [other.process.pid for other in parallel._others]


def test_a_smaller_batch_keeps_the_processes_and_a_larger_one_starts_new_ones():
    with DataParallel(lenet(), processes=2) as parallel:
        assert not pids(parallel)
        parallel.forward(batch(8)[0])  # too few to share
        assert not pids(parallel)
        parallel.forward(batch(33)[0])
        first = pids(parallel)
        for count in (16, 34, 33):  # the room is for 17 in each
            parallel.forward(batch(count)[0])
        assert pids(parallel) == first
        parallel.forward(batch(40)[0])
        assert set(pids(parallel)).isdisjoint(first)
    assert not pids(parallel)


def test_as_many_as_threads_unless_asked_and_the_threads_are_shared_out(monkeypatch):
    monkeypatch.setattr(mx.Device("cpu"), "threads", 6)
    assert DataParallel(lenet()).processes == 6
    seen = []
    model = mx.Model(probe=Probe(seen))
    with DataParallel(model, processes=2) as parallel:
        y = parallel.forward(np.zeros((16, 1)))
    assert seen == [3]  # here
    np.testing.assert_array_equal(y[:, 0], 3)  # here and in the other


class Probe(mx.Layer):
    """y = how many threads the layer may use"""

    def __init__(self, seen):
        self.seen = seen

    def forward(self, x):
        self.seen.append(threads.available(self.device.threads))
        return np.full_like(x, self.seen[-1])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_starts_processes_of_its_own(duplicate):
    with DataParallel(lenet(), processes=2) as parallel:
        logits = parallel.forward(batch(16)[0])
        with duplicate(parallel) as other:
            np.testing.assert_array_equal(other.forward(batch(16)[0]), logits)
            assert set(pids(other)).isdisjoint(pids(parallel))


def test_backward_after_close_says_what_to_do():
    with DataParallel(lenet(), processes=2) as parallel:
        parallel.forward(batch(16)[0])
    with pytest.raises(mx.BackwardBeforeForward, match="DataParallel: it was closed since its forward: go"):
        parallel.backward(np.ones((16, 10)))


@pytest.mark.parametrize("alone", ["forward", "both", "forward of another size"])
def test_what_the_model_did_alone_is_not_taken_for_its_own(pair, alone):
    parallel, _ = pair
    logits = parallel.forward(batch(32)[0])
    z = parallel.model.forward(batch(9 if "size" in alone else 10)[0])  # ten, as in the share of this process
    if alone == "both":
        parallel.model.backward(z)
    with pytest.raises(
        mx.BackwardBeforeForward, match="its model went forward or backward alone since its forward"
    ):
        parallel.backward(logits)


class Local(mx.Layer):
    def forward(self, x):
        return x.copy()


def test_layers_that_another_process_cannot_import_are_told(tmp_path):
    class Inner(Local):
        pass

    x = np.zeros((16, 1))
    unpicklable = Local()
    unpicklable.function = lambda: None
    before = set(multiprocessing.active_children())
    for layer in (Inner(), unpicklable):
        with DataParallel(mx.Model(layer=layer), processes=2) as parallel:
            with pytest.raises(
                RuntimeError, match=r"another process cannot have this model.*: .*(Inner|lambda)"
            ):
                parallel.forward(x)
            assert set(multiprocessing.active_children()) <= before


def test_a_class_of_a_notebook_is_told_as_well(tmp_path):
    code = """
import numpy as np
import minialex as mx

class Mine(mx.Layer):
    def forward(self, x):
        return x

mx.DataParallel(mx.Model(mine=Mine()), processes=2).forward(np.zeros((16, 1)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **PACKAGE}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "must stand in a module that can be imported, not in a notebook" in done.stderr.splitlines()[-1]
    assert "Can't get attribute 'Mine'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "what", [mx.Conv2D(1, 2, 3), mx.models.LeNet5 if hasattr(mx.models, "LeNet5") else mx.Model, 3]
)
def test_what_is_no_model_is_refused(what):
    with pytest.raises(
        TypeError,
        match=r"takes a Model, as mx\.models\.lenet5\(\) gives one, not a (Conv2D|Model|LeNet5|int)",
    ):
        DataParallel(what, 2)


def test_no_more_processes_start_than_can_work():
    with DataParallel(mx.Model(picky=Picky()), processes=5) as parallel:
        parallel.forward(np.zeros((17, 1)))
        first = pids(parallel)
        assert len(first) == 1
        parallel.forward(np.zeros((24, 1)))  # one more, with no more to do for each
        assert pids(parallel)[:1] == first
        assert len(pids(parallel)) == 2
        with pytest.raises(TypeError, match="not a DataParallel"):
            DataParallel(parallel, 2)


def test_summaries_and_traces_take_it(pair):
    parallel, alone = pair
    x, labels = batch(16)
    first, *inside, last = repr(parallel).splitlines()
    assert (first, last) == ("DataParallel(processes=3", ")")
    assert "\n".join(line[2:] for line in inside) == f"model: {parallel.model!r}"
    pictures = np.zeros((1, 1, 28, 28), np.uint8)
    np.testing.assert_array_equal(parallel.prepare(pictures), alone.prepare(pictures))
    assert str(mx.summary(parallel)) == str(mx.summary(alone)).replace("LeNet5", "DataParallel")
    found, wanted = (mx.trace(model.eval(), x, labels) for model in pair)
    assert list(found) == list(wanted)
    np.testing.assert_allclose(found["c3.grad_weight"].array, wanted["c3.grad_weight"].array)
    for model in pair:
        model.train()


@posix
def test_a_killed_process_is_an_error_and_the_next_step_starts_new_ones():
    with DataParallel(lenet(), processes=2) as parallel:
        expected = parallel.forward(batch(32)[0])
        os.kill(pids(parallel)[0], signal.SIGKILL)
        with pytest.raises(
            RuntimeError,
            match=r"process 1 of DataParallel has ended, with exit code -9, .* \(often for want of memory",
        ):
            parallel.backward(np.ones((32, 10)))
        np.testing.assert_array_equal(parallel.forward(batch(32)[0]), expected)


class Picky(mx.Layer):
    """Fails for a certain number, in whichever process meets it."""

    def forward(self, x):
        if 13 in x:
            raise ArithmeticError(f"13 among {x.size} numbers")
        return x.copy()

    def backward(self, grad_y):
        return grad_y


@pytest.mark.parametrize("where", [0, 15])  # here; in the other
def test_an_error_is_raised_here_and_the_next_batch_goes_well(where):
    x = np.arange(100.0, 116.0).reshape(16, 1)
    with DataParallel(mx.Model(picky=Picky()), processes=2) as parallel:
        for value in (x, np.where(x == x[where], 13, x), x):
            if 13 in value:
                with pytest.raises(ArithmeticError, match="13 among 8 numbers") as caught:
                    parallel.forward(value)
                if where:  # its traceback is not lost
                    assert "process 1 of DataParallel:\nTraceback" in str(caught.value.__cause__)
            else:
                np.testing.assert_array_equal(parallel.forward(value), value)


@pytest.mark.parametrize("mode", ["ignore", "raise"])
def test_what_numpy_does_about_overflow_holds_in_all_processes(mode, capfd):
    x = np.full((16, 1), 100.0)
    x[15] = 1e4  # overflows, in the other process
    with DataParallel(mx.Model(exp=Exp()), processes=2) as parallel, np.errstate(over=mode):
        if mode == "raise":
            with pytest.raises(FloatingPointError, match="overflow"):
                parallel.forward(x)
        else:
            assert np.isinf(parallel.forward(x)[15])
    assert capfd.readouterr().err == ""


class Exp(mx.Layer):
    def forward(self, x):
        return np.exp(x)


# ---- in programs of their own ----------------------------------------------------------------------

PROGRAM = """
import os, sys, time
import numpy as np
import minialex as mx

def main():
    parallel = mx.DataParallel(mx.models.lenet5(), processes=2)
    parallel.forward(np.zeros((16, 1, 28, 28), np.float32))
    print(*[other.process.pid for other in parallel._others], flush=True)
    if "stay" in sys.argv:
        time.sleep(600)
"""
GUARD = '\nif __name__ == "__main__":\n    main()\n'


def start(tmp_path, text, *arguments):
    script = tmp_path / "script.py"
    script.write_text(text)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(script), *arguments],
        env={**os.environ, **PACKAGE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid):
    return wait_until(lambda: not is_there(pid))


def test_a_program_that_ends_without_close_leaves_nothing_and_says_nothing(tmp_path):
    process = start(tmp_path, PROGRAM + GUARD)
    out, err = process.communicate(timeout=3 * LONG)
    assert (process.returncode, err) == (0, "")
    assert wait_until_gone(int(out))


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc to look for processes")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_when_the_first_process_is_stopped_the_others_end_quietly(tmp_path, kill):
    process = start(tmp_path, PROGRAM + GUARD, "stay")
    other = int(process.stdout.readline())
    assert is_there(other)
    # Ctrl-C reaches all processes of a terminal, SIGKILL the one that it is sent to.
    (os.killpg if kill is signal.SIGINT else os.kill)(process.pid, kill)
    _, err = process.communicate(timeout=3 * LONG)
    assert wait_until_gone(other)
    assert err.count("Traceback") == (1 if kill is signal.SIGINT else 0)  # of the first process


STOPPED = """
import os, signal
import numpy as np
import minialex as mx

if __name__ == "__main__":
    parallel, x = mx.DataParallel(mx.models.lenet5(), processes=2), np.zeros((16, 1, 28, 28), np.float32)
    parallel.forward(x)
    before = [other.process.pid for other in parallel._others]
    try:
        os.killpg(0, signal.SIGINT)  # Ctrl-C, between two steps
        signal.pause()
    except KeyboardInterrupt:
        parallel.forward(x)
    print(before == [other.process.pid for other in parallel._others])
"""


@posix
def test_ctrl_c_is_for_the_first_process_alone(tmp_path):
    out, err = start(tmp_path, STOPPED).communicate(timeout=3 * LONG)
    assert (out, err) == ("True\n", "")


def test_a_script_without_a_guard_is_told_so(tmp_path):
    process = start(tmp_path, PROGRAM + "\nmain()\n")
    _, err = process.communicate(timeout=3 * LONG)
    assert process.returncode == 1
    assert "process 1 of DataParallel has ended, with exit code 1" in err
    assert 'what a script does under `if __name__ == "__main__":`' in err
    assert "memory" not in err


# ---- bad input -------------------------------------------------------------------------------------


def test_a_model_that_is_not_on_the_cpu_is_refused():
    with pytest.raises(
        ValueError, match=r"its model is on sim:0: use model\.to\(\"cpu\"\), or the model without"
    ):
        DataParallel(mx.models.lenet5(device="sim:0"), 2).forward(np.zeros((1, 1, 28, 28), np.float32))
    parallel = DataParallel(mx.models.lenet5(), 2).to("sim:0")
    with pytest.raises(ValueError, match="is on sim:0"):
        parallel.forward(np.zeros((1, 1, 28, 28), np.float32))
    assert parallel.to("cpu").forward(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 10)


@pytest.mark.parametrize("processes", [0, -1, 1.5])
def test_a_number_of_processes_that_is_none_is_refused(processes):
    with pytest.raises(ValueError, match=f"processes must be a whole number >= 1, not {processes}"):
        DataParallel(mx.models.lenet5(), processes)


def test_bad_batches_and_gradients_are_refused_before_anything_starts(monkeypatch):
    parallel = DataParallel(lenet(), processes=2)
    monkeypatch.setitem(vars(parallel), "_start_another", None)  # to call it would be another error
    with pytest.raises(ValueError, match="takes pictures of 28x28, the input has shape"):
        parallel.forward(batch(16, side=32)[0])
    with pytest.raises(mx.DtypeMismatch, match="computes in float64, the input is float32"):
        parallel.forward(batch(16, "float32")[0])
    with pytest.raises(mx.DeviceMismatch):
        parallel.forward(mx.Device("sim:0").asarray(batch(16)[0]))
    with pytest.raises(mx.BackwardBeforeForward):
        parallel.backward(np.ones((16, 10)))
    monkeypatch.undo()
    parallel.forward(batch(32)[0])
    first = pids(parallel)
    with pytest.raises(ValueError, match=r"forward gave shape \(32, 10\), the gradient has shape \(31, 10\)"):
        parallel.backward(np.ones((31, 10)))
    assert pids(parallel) == first
    parallel.close()


@pytest.mark.parametrize("replace", ["in the model", "in both"])
def test_other_processes_have_a_layer_that_was_replaced(replace):
    model = mx.Model(fc1=mx.Linear(4, 3), act=mx.ReLU(), fc2=mx.Linear(3, 2))
    x = np.random.default_rng(0).standard_normal((40, 4), dtype=np.float32)
    with DataParallel(model, processes=2) as parallel:
        parallel.forward(x)
        if replace == "in both":
            parallel["act"] = mx.Tanh()
        else:
            model.act = mx.Tanh()
        np.testing.assert_allclose(parallel.forward(x), model.forward(x), rtol=1e-6, atol=1e-6)
        model.fc1 = mx.Sequential(mx.Linear(4, 3), mx.Sigmoid())
        np.testing.assert_allclose(parallel.forward(x), model.forward(x), rtol=1e-6, atol=1e-6)
