"""What verdicts look like; the planted answers as a table; tests of a learner that catch them."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minialex import check
from minialex.check import planted, show
from minialex.check.verdict import NOT_WRITTEN, Verdict


@functools.cache
def verdict_on(name, bug=None):
    return getattr(check, name)(planted.RIGHT[name] if bug is None else planted.WRONG[name][bug])


def in_a_fresh_python(code):
    """What code prints, run by a new interpreter."""
    command, folder = [sys.executable, "-W", "error", "-c", code], Path(check.__file__).parents[2]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- what a verdict looks like -----------------------------------------------------------------------------


def test_a_verdict_on_an_overwriting_col2im_reads_well():
    assert str(verdict_on("col2im", "overwrites")) == COL2IM


COL2IM = """\
col2im: wrong, 130 cases tried
  grad_x  wrong: 1 of 3 numbers, the worst at [0, 0, 0, 1]: 0, not 1

The smallest case found for grad_x, wrong:
  columns (1, 2, 2)
    0  0
    1  0
  x_shape = (1, 1, 1, 3)
  kernel = (1, 2)
  stride = 1
  grad_x:
  yours      expected    difference
  0  0  0    0  1  0     0  -1  0"""


def test_a_right_verdict_is_short():
    text = "conv2d_backward: right, 130 cases tried\n  grad_x       right\n  grad_weight  right\n  grad_bias    right"
    assert str(verdict_on("conv2d_backward")) == text


def test_arrays_that_one_case_shows_share_it():
    text = str(verdict_on("exchange_forward", "nothing crosses"))
    assert len(re.findall("The smallest case found for y0, .* and y1, ", text)) == 1


def test_a_verdict_is_the_same_every_time():
    f = planted.WRONG["conv2d_backward"]["mean instead of sum"]
    verdict_on("maxpool_backward", "zero-padded")
    assert str(check.conv2d_backward(f)) == str(verdict_on("conv2d_backward", "mean instead of sum"))


def test_a_verdict_does_not_depend_on_the_modules_that_are_loaded():
    # hypothesis draws constants that it finds in them.
    code = """if True:
        from minialex import check
        print(check.maxpool_backward(check.planted.WRONG["maxpool_backward"]["zero-padded"]))
    """
    assert in_a_fresh_python(code) == str(verdict_on("maxpool_backward", "zero-padded"))


def test_notebooks_show_a_verdict_in_its_colour():
    html = verdict_on("relu_forward", "absolute value")._repr_html_()
    assert "#c0392b" in html
    assert "#2e8b57" in verdict_on("relu_forward")._repr_html_()
    assert "&lt;" in check.relu_forward(lambda: 0)._repr_html_()  # <lambda>


def test_what_a_function_prints_is_swallowed(capsys):
    def talks(x):
        print("x is", x)
        np.exp(np.array(1e9))  # an overflow, and a warning
        return np.maximum(x, 0)

    assert check.relu_forward(talks)
    assert capsys.readouterr().out == ""


def test_large_arrays_are_shown_in_part():
    lines = show.lines(np.zeros((20, 30)))
    assert lines[-1] == "..."
    assert len(lines) == show.MOST + 1
    assert lines[0] == "  ".join(["0"] * show.MOST) + "  ..."
    assert show.lines(np.zeros((0, 3))) == ["(no numbers: shape (0, 3))"]


def test_a_call_is_not_a_function():
    with pytest.raises(
        TypeError, match=r"check.relu_forward tries a function: .* without calling it; this is 3"
    ):
        check.relu_forward(3)


def test_checks_say_how_to_get_hypothesis(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.setitem(sys.modules, "hypothesis.strategies", None)
    with pytest.raises(ImportError, match=r'pip install "minialex\[lessons\]"'):
        check.relu_forward(planted.RIGHT["relu_forward"])


def test_neither_minialex_nor_its_checks_import_hypothesis_before_one_runs():
    assert in_a_fresh_python("import minialex.check, sys; print('hypothesis' in sys.modules)") == "False"


def test_an_unfinished_verdict_is_not_true():
    assert not Verdict("relu_forward", "f(x) -> y", ["y"])


# -- planted, catches --------------------------------------------------------------------------------------


def test_the_table_of_wrong_answers_has_them_all():
    table = planted.describe()
    assert len(table.splitlines()) == len(planted.WRONG) + sum(map(len, planted.WRONG.values()))
    with pytest.raises(KeyError, match=r"no wrong answers for 'relu'; it has them for .*relu_backward"):
        planted.describe("relu")


def test_the_source_of_an_answer_can_be_read():
    assert "def maxpool_zero_padded" in planted.source("maxpool_forward", "zero-padded")


def relu_test(forward, backward):
    x, grad_y = np.array([-1.0, 0.0, 2.0]), np.array([10.0, -20.0, 30.0])
    return (forward(x) == [0, 0, 2]).all() and (backward(x, grad_y) == [0, 0, 30]).all()


def test_a_good_test_catches_all_planted_bugs():
    assert check.catches(relu_test, of="relu")


def test_a_weak_test_lets_bugs_escape():
    def away_from_zero(forward, backward):
        x, grad_y = np.array([-1.0, 2.0]), np.array([10.0, 30.0])
        assert (backward(x, grad_y) == [0, 30]).all()

    caught = check.catches(away_from_zero, of="relu")
    assert not caught
    assert ("relu_backward", "1 at zero") in caught.escaped
    assert ("relu_backward", "mask forgotten") not in caught.escaped
    assert "relu_backward, 1 at zero             ESCAPED" in str(caught)
    assert str(caught).startswith(
        "catches, relu: wrong, 2 of 6 planted bugs caught\n  the right answer passes\n"
    )


def test_a_test_that_fails_everything_is_told_that_the_right_answer_must_pass():
    caught = check.catches(lambda forward, backward: False, of="lrn")
    assert not caught
    assert "the right answer fails: it must pass" in str(caught)
    assert caught.state == "wrong"


def test_a_test_that_raises_is_told_where():
    caught = check.catches(lambda forward, backward: forward(1, 2, 3), of="relu")
    assert "fails: TypeError" in caught.right
    assert "line" in caught.right


def test_a_test_without_a_verdict_is_not_written_yet():
    caught = check.catches(lambda forward, backward: ..., of="maxpool")
    assert caught.state == NOT_WRITTEN
    assert (
        str(caught)
        == "catches, maxpool: not written yet\n  test(maxpool_forward, maxpool_backward) -> True or False"
    )
    assert "#888888" in caught._repr_html_()


def test_a_check_without_a_pair_can_be_caught_alone():
    step = [np.array([x]) for x in (1.0, 2.0, 3.0)]

    def test(sgd_step):
        w, v = sgd_step(*step, 0.1, 0.5, 0.25)
        return np.allclose([w, v], [[1.675], [0.675]])

    assert check.catches(test, of="sgd_step")


def test_im2col_and_col2im_are_a_pair():
    def adjoint(im2col, col2im):
        x = np.arange(24.0).reshape(1, 2, 4, 3)
        columns = np.random.default_rng(0).normal(size=(1, 8, 6))
        return np.isclose(
            (im2col(x, (2, 2), 1) * columns).sum(), (x * col2im(columns, x.shape, (2, 2), 1)).sum()
        )

    assert check.catches(adjoint, of="im2col").right == "passes"


def test_catches_names_what_it_has():
    with pytest.raises(
        ValueError, match=r"nothing called 'pool'; it has add_backward, .*im2col.*maxpool, rbf, relu, sgd"
    ):
        check.catches(relu_test, of="pool")
    with pytest.raises(TypeError, match="tries a test, a function; this is True"):
        check.catches(True, of="relu")


def test_what_is_right_beside_a_call_that_raised_is_said_to_be_right_in_the_cases_that_ran():
    def only_one_picture(x):
        if len(x) > 1:
            raise ValueError("one picture at a time")
        return np.maximum(x, 0)

    text = str(check.relu_forward(only_one_picture))
    assert "the call  raised: ValueError" in text
    assert re.search(r"^  y +right: in the cases that ran$", text, re.MULTILINE)
