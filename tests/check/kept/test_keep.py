"""keep: what becomes of an answer, and what its file says."""

import math
import os
import sys
from math import exp
from statistics import mean as math_of_others

import answers
import numpy as np
import pytest

import minialex as mx
from minialex.check.kept import folder, keeping, quickness
from minialex.check.kept.apart import Apart, Raised, Refused, Stopped, TimedOut
from minialex.check.kept.source import CannotBeKept, names_read, standing_alone, written

TABLE = {"a": (1, 2.5), "b": [None, True]}
WEIGHTS = np.array([[1.0, 2.0], [3.0, 4.0]])
DATA = np.zeros((50, 50))


def stub(x): ...


def uses_the_library(x):
    return mx.naive.relu(x)


def reads_nothing_known(x):
    return no_such_helper(x)  # noqa: F821


def reads_values(x):
    return np.maximum(x, math.floor(exp(-1.0)) * TABLE["a"][0] * WEIGHTS[0, 0])


def reads_data(x):
    return x + DATA


def writes_into_x(x):
    x[x < 0] = 0
    return x


def test_a_right_answer_becomes_a_file_that_runs_by_itself(mine_folder):
    found = mx.check.keep("relu_backward", answers.relu_backward)
    assert found
    assert found.state == "right"
    assert str(found).startswith("relu_backward: kept in mine/relu_backward.py; right, and quick enough")
    names = {}
    exec((mine_folder / "relu_backward.py").read_text(encoding="utf8"), names)
    assert names["relu_backward"](np.array([-1.0, 2.0]), np.array([5.0, 7.0])).tolist() == [0, 7]
    assert {"ZERO", "positive"} <= set(names)  # what it reads came along


def test_keeping_again_shows_what_changed(mine_folder):
    mx.check.keep("relu_forward", answers.relu)
    assert "as it was" in str(mx.check.keep("relu_forward", answers.relu))
    again = mx.check.keep("relu_forward", reads_values)
    assert "-    return np.maximum(x, ZERO)" in again.changed
    assert any(line.startswith("+from math import exp") for line in again.changed)
    text = (mine_folder / "relu_forward.py").read_text(encoding="utf8")
    assert "TABLE = {'a': (1, 2.5), 'b': [None, True]}" in text
    assert "WEIGHTS = np.array(" in text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (stub, "relu_forward: nothing kept yet"),
        (uses_the_library, "uses mx (minialex): an answer stands on NumPy and Python alone"),
        (reads_nothing_known, "reads no_such_helper, which nothing defines"),
        (reads_data, "reads DATA, an array of shape (50, 50) of the notebook: make it an argument"),
        (writes_into_x, "nothing kept: input x changed: your function wrote into x"),
        (np.abs, "takes a function that you wrote with `def`"),
        (math_of_others, "comes from the library statistics"),
        (lambda x: np.maximum(x, 0), "a lambda has no lines of its own"),
    ],
)
def test_what_is_not_right_is_not_kept(mine_folder, answer, says):
    found = mx.check.keep("relu_forward", answer)
    assert not found
    assert says in str(found)
    assert not mine_folder.exists()


def test_a_wrong_answer_leaves_the_right_one_in_its_place(mine_folder, kept):
    before = kept("relu_forward", answers.relu).read_bytes()
    assert mx.check.keep("relu_forward", np_abs).state == "wrong"
    assert (mine_folder / "relu_forward.py").read_bytes() == before
    assert [path.name for path in mine_folder.iterdir()] == ["relu_forward.py"]


def np_abs(x):
    return np.abs(x)


def test_loops_are_kept_as_an_oracle(mine_folder):
    found = mx.check.keep("conv2d_forward", answers.conv2d_loops)
    assert found.state == "slow"
    assert found.seconds > quickness.TIMED["conv2d_forward"].limit
    assert "kept in mine/oracles/conv2d_forward.py; right, but slow: your oracle" in str(found)
    assert not (mine_folder / "conv2d_forward.py").exists()


def test_an_edited_file_is_checked_by_its_name(mine_folder, kept):
    path = kept("relu_forward", answers.relu)
    assert folder.read(path).state == "right"
    path.write_text(
        path.read_text(encoding="utf8").replace("np.maximum(x, ZERO)", "np.abs(x)"), encoding="utf8"
    )
    assert folder.read(path).state == "unchecked"
    assert mx.check.keep("relu_forward").state == "wrong"
    path.write_text("import numpy as np\n\nrelu_forward = lambda x: x.clip(0)\n", encoding="utf8")
    assert mx.check.keep("relu_forward").state == "right"
    assert folder.read(path).state == "right"
    assert "there is no gate_forward.py in mine" in str(mx.check.keep("gate_forward"))


def test_a_name_that_no_check_has_is_refused_with_those_near_it(mine_folder):
    with pytest.raises(ValueError, match=r"no check is called 'relu'; near it: .*relu_forward"):
        mx.check.keep("relu", answers.relu)


def test_each_name_has_a_check_and_a_planted_answer_that_it_takes():
    from minialex.check.kept.exercises import check_of, of_lessons
    from minialex.check.planted import RIGHT

    assert set(of_lessons()) <= set(mx.check.names())
    for name in mx.check.names():
        assert callable(check_of(name))
    assert check_of("relu_forward")(RIGHT["relu_forward"])
    assert set(quickness.TIMED) <= set(mx.check.names())


def two_of(value):
    """Two pictures of a batch; of col2im, which is told the shape, too."""
    if isinstance(value, tuple) and len(value) == 4:
        return (2, *value[1:])
    return value[:2] if isinstance(value, np.ndarray) and len(value) == quickness.BATCH else value


@pytest.mark.parametrize("name", quickness.TIMED)
def test_what_is_timed_is_what_the_check_gives(name):
    """As many arguments, of the same kinds and ranks; the planted right answer takes them, and is quick or slow."""
    from minialex.check.planted import RIGHT

    for call in quickness.TIMED[name].calls(np.random.default_rng(0)):
        args = [two_of(one) for one in call]
        result = RIGHT[name](*args)
        for one in result if isinstance(result, tuple) else [result]:
            assert np.isfinite(one).all()
    assert 0 < quickness.TIMED[name].limit <= 0.4


# ---- where ----


def test_the_folder_is_chosen_once_for_all_notebooks_beside(mine_folder, monkeypatch, capsys):
    chosen = mx.check.keep_in("elsewhere/own")
    assert capsys.readouterr().out == "your answers are kept in elsewhere/own\n"
    monkeypatch.setattr(folder, "_chosen", [])  # another notebook
    assert folder.folder() == chosen == mine_folder.parent / "elsewhere" / "own"
    mx.check.keep_in("mine")
    monkeypatch.setattr(folder, "_chosen", [])
    assert folder.folder() == mine_folder


def test_the_environment_names_a_folder_where_none_was_chosen(mine_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIALEX_MINE", str(tmp_path / "here"))
    assert folder.folder() == tmp_path / "here"
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file: name a folder"):
        mx.check.keep_in(tmp_path / "file")


# ---- the source ----


def test_names_read_are_the_global_ones_alone():
    text = "def f(a, b=DEFAULT):\n    c = [a for a in LIST if helper(a)]\n    def inner():\n        return c, OUTER\n"
    assert names_read(text) == {"DEFAULT", "LIST", "helper", "OUTER"}


def test_a_function_inside_another_says_what_it_reads_there():
    def outer():
        factor = 2

        def inner(x):
            return factor * x

        return inner

    with pytest.raises(CannotBeKept, match="inner is defined inside another function and reads its factor"):
        standing_alone(outer())


@pytest.mark.parametrize(
    "value", [1, -2.5, "a", (1,), [(), None], {"k": float("inf")}, np.arange(3, dtype="int8")]
)
def test_a_value_that_is_written_out_is_the_same_again(value):
    again = eval(written(value), {"np": np})
    assert type(again) is type(value)
    np.testing.assert_equal(again, value)


# ---- apart ----


@pytest.fixture
def apart(tmp_path):
    """apart(text, name): a function of that text, in a process of its own."""

    def make(text, name="f", **limits):
        path = tmp_path / "answer.py"
        path.write_text(text, encoding="utf8")
        return Apart(path, name, **limits)

    return make


def test_what_goes_there_and_back_stays_as_it_is(apart):
    given = (
        1,
        2.5,
        True,
        None,
        "Zürich",
        (1, [2.0]),
        np.arange(6, dtype="int32").reshape(2, 3)[:, ::2],
        np.float32(3),
    )
    with apart("def f(*args):\n    return args") as f:
        back = f(*given)
    for before, after in zip(given, back, strict=True):
        assert type(after) is type(before)
        np.testing.assert_equal(after, before)
    assert back[6].dtype == np.int32


def test_what_is_no_number_comes_back_as_an_empty_thing_of_its_type(apart):
    with apart("class Odd: pass\ndef f():\n    return Odd(), ..., b'x'") as f:
        odd, dots, raw = f()
    assert type(odd).__name__ == "Odd"
    assert not vars(odd)
    assert dots is ...
    assert type(raw).__name__ == "bytes"


def test_an_answer_calls_what_it_is_given_and_draws_from_a_generator_of_ours(apart):
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    with apart("def f(rng, function):\n    return function(rng.random(2), by=3)") as f:
        found = f(rng, lambda x, by: x * by)
        assert (found == 3 * same.random(2)).all()
        assert rng.random() == same.random()
        with pytest.raises(Raised, match="Raised: ValueError: no; in f: return function"):
            f(rng, lambda x, by: (_ for _ in ()).throw(ValueError("no")))


def test_what_an_answer_writes_into_its_input_is_seen_here(apart):
    x = np.zeros(3)
    with apart("def f(x):\n    x[1] = 5") as f:
        f(x)
    assert x.tolist() == [0, 5, 0]


def test_an_answer_prints_here_and_raises_with_its_own_line(apart, capsys):
    with apart("def f(x):\n    print('seen', x)\n    return 1 / x") as f:
        with pytest.raises(Raised) as raised:
            f(0)
        assert raised.value.in_words == "ZeroDivisionError: division by zero; in f: return 1 / x"
    assert capsys.readouterr().out == "seen 0\n"


def test_only_numpy_and_python_are_there(apart):
    with apart("def f():\n    import minialex") as f:
        with pytest.raises(Raised, match="an answer runs with NumPy alone, and imports minialex"):
            f()
        assert f.wanted == {"minialex"}
    with pytest.raises(Refused, match="imports torch"), apart("import torch\ndef f(): ..."):
        pass


def test_an_answer_that_never_ends_or_ends_its_process_is_stopped(apart):
    with (
        apart("def f():\n    while True: pass", seconds=0.7) as f,
        pytest.raises(TimedOut, match=r"more than 0\.7 s"),
    ):
        f()
    with apart("import os\ndef f():\n    os._exit(0)") as f, pytest.raises(Stopped, match="Python was ended"):
        f()


def test_numpys_own_testing_can_be_used(apart):
    text = "import numpy as np\ndef f(x):\n    np.testing.assert_allclose(x, [1, 2])\n    return True"
    with apart(text) as f:
        assert f(np.array([1.0, 2.0])) is True
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            f(np.array([1.0, 3.0]))


def test_a_missing_name_that_is_kept_says_where_it_is(mine_folder, kept):
    kept("relu_forward", answers.relu)

    found = mx.check.keep("relu_backward", reads_a_kept_name)
    assert "reads relu_forward, which nothing defines; yours is in mine/relu_forward.py: copy it" in str(
        found
    )


def reads_a_kept_name(x, grad_y):
    return grad_y * (relu_forward(x) > 0)  # noqa: F821


def test_what_is_wrong_is_said_once_and_shortly(mine_folder):
    found = mx.check.keep("linear_backward", all_wrong)
    assert str(found).startswith("linear_backward: nothing kept: grad_x wrong: ")
    assert str(found).endswith("; grad_weight and grad_bias as well")
    weak = mx.check.keep("test_linear", sees_nothing)
    assert "planted mistakes escape it: linear_forward, bias forgotten; " in str(weak)


def all_wrong(x, weight, bias, grad_y):
    return 2 * (grad_y @ weight), 2 * (grad_y.T @ x), 2 * grad_y.sum(axis=0)


def sees_nothing(forward, backward):
    return True


def test_a_file_without_the_function_is_refused(apart):
    with pytest.raises(Refused, match="the file defines no f"), apart("g = 1"):
        pass
    with pytest.raises(Refused, match="f is no function"), apart("f = 1"):
        pass
    with pytest.raises(Refused, match="SyntaxError"), apart("def f(:"):
        pass


# ---- what is the same array there, and what is written into lists ----


TAKES_OUT = """
import numpy as np


def training_loop(model, loss, optimizer, batches):
    losses = []
    while batches:
        x, labels = batches.pop(0)
        losses.append(float(loss.forward(model.forward(x), labels)))
        model.backward(loss.backward())
        optimizer.step()
    return np.array(losses)
"""
ADDS = """
def add_backward(body, factor, grad_y):
    g = grad_y if factor == 1 else factor * grad_y
    out = body(g)
    out += grad_y
    return out
"""


def test_what_a_function_hands_back_is_the_very_array_there_too(apart):
    with apart("def f(function, x):\n    y = function(x)\n    y += 1\n    return x, y") as f:
        assert [one.tolist() for one in f(lambda x: x, np.zeros(2))] == [[1, 1], [1, 1]]
        assert [one.tolist() for one in f(lambda x: x.reshape(2, 1), np.zeros(2))] == [[1, 1], [[1], [1]]]
        assert [one.tolist() for one in f(lambda x: x.copy(), np.zeros(2))] == [[0, 0], [1, 1]]
        assert [one.tolist() for one in f(lambda x: 2 * x, np.ones(2))] == [[1, 1], [3, 3]]


def test_what_is_written_into_arrays_of_a_list_is_seen_here(apart):
    batches = [(np.ones(2), np.arange(2)), (np.ones(3), np.arange(3))]
    with apart("def f(batches):\n    for x, _ in batches:\n        x *= 0") as f:
        f(batches)
    assert [x.tolist() for x, _ in batches] == [[0, 0], [0, 0, 0]]


CHANGES = ["batches.pop()", "batches.append(1)", "batches.clear()", "batches[0] = None", "batches[0] = 2.0"]


@pytest.mark.parametrize("change", CHANGES)
def test_an_answer_may_use_up_a_list_of_its_own(apart, change):
    x = np.ones(2)
    with apart(f"def f(batches):\n    batches[0][:] = 7\n    {change}\n    return 1") as f:
        assert f([x, np.ones(3)]) == 1
    assert x.tolist() == [7, 7]


def test_a_loop_may_take_its_batches_out_of_the_list(mine_folder):
    names = {}
    exec(TAKES_OUT, names)
    assert mx.check.training_loop(names["training_loop"]).state == "right"
    assert keeping.tried("training_loop", TAKES_OUT).state == "right"


def test_what_a_function_writes_into_its_argument_is_seen_there(apart):
    def twice(x):
        x *= 2
        return x

    def twice_and_more(x):
        x *= 2
        return x + 1

    with apart("def f(function, x):\n    y = function(x)\n    return x, y") as f:
        assert [one.tolist() for one in f(twice, np.ones(2))] == [[2, 2], [2, 2]]
        assert [one.tolist() for one in f(twice_and_more, np.ones(2))] == [[2, 2], [3, 3]]


def test_keep_and_check_agree_on_an_array_that_is_handed_back(mine_folder):
    names = {}
    exec(ADDS, names)
    assert mx.check.add_backward(names["add_backward"]).state == "wrong"
    assert keeping.tried("add_backward", ADDS).state == "wrong"


def test_a_quick_answer_that_became_slow_does_not_take_the_loops_place(mine_folder, kept, monkeypatch):
    loops = kept("relu_forward", answers.relu, state="slow")
    quick = kept("relu_forward", answers.relu)
    before = loops.read_bytes(), quick.read_bytes()
    slow = keeping.Kept("relu_forward", "slow", "right, but slow", seconds=9.0)
    monkeypatch.setattr(keeping, "tried", lambda name, text: slow)
    found = mx.check.keep("relu_forward")
    assert found.state == "refused"
    assert "its place is taken by" in str(found)
    assert (loops.read_bytes(), quick.read_bytes()) == before


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are text there")
def test_a_folder_whose_name_is_no_text_may_be_chosen(mine_folder, capsys):
    path = os.fsdecode(b"Jos\xe9")
    mx.check.keep_in(path)
    assert (
        r"Jos\udce9, for this notebook alone: its name has bytes that are no text" in capsys.readouterr().out
    )


def test_a_function_that_is_handed_over_may_draw_and_take_texts(apart):
    def more(x, rng):
        return x + rng.random(2)

    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    with apart("def f(function, rng, x):\n    return function(x, rng) + rng.random(2)") as f:
        found = f(more, rng, np.ones(2))
    assert (found == 1 + same.random(2) + same.random(2)).all()
    assert rng.random() == same.random()
    x = np.zeros(2)
    with apart("def f(x, names, one):\n    x[...] = 1\n    return x + one") as f:
        assert f(x, np.array(["a"]), np.float32(2)).tolist() == [3, 3]
    assert x.tolist() == [1, 1]
