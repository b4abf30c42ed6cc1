"""What verdicts look like; the planted answers as a table; tests of a learner that catch them."""

import functools
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from minialex import check
from minialex.check import planted, search, show
from minialex.check.compare import compare
from minialex.check.gradient import gradcheck
from minialex.check.verdict import NOT_WRITTEN, Finding, Verdict
from minialex.layers import ReLU, Tanh


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
  grad_x: the same numbers as the planted mistake "overwrites". Yours does this, and must not: = instead \
of +=: where windows overlap, the last one wins.

The smallest case found for grad_x, wrong:
  columns (1, 2, 2)
    0  0
    1  0
  x_shape = (1, 1, 1, 3)
  kernel = (1, 2)
  stride = 1
  grad_x:
  yours      expected    difference
  0  0  0    0  1  0     0  -1  0

Hints: mx.check.hint("col2im"), then mx.check.hint("col2im", 2)"""


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


class Cells(HTMLParser):
    """The cells of a page's tables that have a background: (colour, text); fails where tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.found, self.details = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in "div b span table tr td pre details summary code".split(), tag
        assert {name for name, _ in attrs} <= {"style"}  # no script, no address; details are closed
        style = dict(attrs).get("style") or ""
        self.open.append(
            (tag, "yours" if "213,94,0" in style else "expected" if "0,114,178" in style else "")
        )

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][1]:
            self.found.append((self.open[-1][1], data))
        if self.open and self.open[-1][0] == "summary":
            self.details.append(data)


def test_notebooks_mark_the_wrong_cells_alone():
    cells = Cells(verdict_on("col2im", "overwrites")._repr_html_())
    assert cells.found == [("yours", "0"), ("expected", "1"), ("yours", "-1")]
    assert cells.details == ["Hint 1", "Hint 2"]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.full(x.shape, np.nan),
        lambda x: x[..., None],
        lambda x: 1 / 0,
        lambda x: "<b>",
        lambda x: None,
        lambda x: np.zeros((0, 3)),
        lambda x: np.maximum(x, 0, out=x),
        lambda x: np.zeros((20, 30)),
        lambda x: np.float64(1),
        lambda: 0,
    ],
)
def test_whatever_is_wrong_can_be_shown_in_a_notebook(f):
    verdict = check.relu_forward(f)
    assert not verdict
    assert "<b><b>" not in verdict._repr_html_()
    assert Cells(verdict._repr_html_()).details == ["Hint 1", "Hint 2"]


def test_a_right_verdict_has_no_cells_and_no_hints():
    cells = Cells(verdict_on("conv2d_backward")._repr_html_())
    assert cells.found == cells.details == []
    assert "Hints" not in str(verdict_on("conv2d_backward"))


def test_of_many_matrices_those_that_are_right_are_counted_and_not_shown():
    verdict = verdict_on("ten_crop", "upside down")
    text, html = str(verdict), verdict._repr_html_()
    for page in (text, html):
        assert all(f"[{number}, 0]" in page for number in range(5, 10))
        assert not any(f"[{number}, 0]" in page for number in range(5))
        assert page.count("(the other 5 matrices are right)") == 1
    assert len(Cells(html).found) == 3 * 10
    assert show.others_are(1, "changed") == "(the other matrix is as before)"


def test_a_number_that_differs_by_rounding_alone_is_not_marked():
    right = np.array([[1.0, 2.0], [3.0, 4.0]])
    finding = compare("y", right * (1 + 1e-15) + [[0, 1], [0, 0]], right, lambda: 4.0)
    assert finding.wrong_cells.tolist() == [[False, True], [False, False]]
    by_hand = Finding("y", "wrong", "", right * (1 + 1e-15) + [[0, 1], [0, 0]], right)
    assert by_hand.wrong_cells.tolist() == [[False, True], [False, False]]


def test_a_gradient_checks_report_has_a_colour_too():
    right = gradcheck(Tanh(), np.array([[1.0]]))
    assert "#2e8b57" in right._repr_html_()
    assert "gradcheck of Tanh" in right._repr_html_()
    assert "#888888" in gradcheck(ReLU(), np.array([[0.0]]))._repr_html_()


def test_what_a_function_prints_is_swallowed(capsys):
    def talks(x):
        print("x is", x)
        np.exp(np.array(1e9))  # an overflow, and a warning
        return np.maximum(x, 0)

    verdict = check.relu_forward(talks)
    assert verdict
    assert "x is" not in str(verdict) + verdict._repr_html_()
    assert capsys.readouterr().out == ""


def test_what_the_smallest_case_printed_is_shown_and_nothing_else(capsys):
    def talks(x):
        print("x is", x)
        print("<y>", 200 * "-")
        return np.abs(x)

    verdict = check.relu_forward(talks)
    text = f"  your function printed:\n  | x is [[-1.]]\n  | <y> {93 * '-'}...\n  y:\n"
    assert text in str(verdict)
    assert str(verdict).count("x is") == 1
    html = verdict._repr_html_()
    assert f">x is [[-1.]]\n&lt;y&gt; {93 * '-'}...</pre>" in html
    assert html.count("x is") == 1
    assert capsys.readouterr().out == ""


def test_what_is_printed_before_a_call_raises_is_shown_in_twelve_lines_at_most():
    def talks(x):
        print(*range(20), sep="\n")
        raise ValueError("no")

    printed = re.findall(r"^  \| (.*)$", str(check.relu_forward(talks)), re.MULTILINE)
    assert printed == [*map(str, range(11)), "... and 9 more lines"]


def test_a_mask_that_is_drawn_again_prints_what_its_own_case_printed():
    def talks(shape, p, rng):
        print("shape", shape)
        return rng.random(shape) < p

    assert str(check.dropout_mask(talks)).count("| shape") == 1


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
    tables = [*planted.WRONG.values(), *planted.PAIRS.values()]
    assert len(table.splitlines()) == len(tables) + sum(map(len, tables))
    with pytest.raises(
        KeyError, match=r"no wrong answers for 'pool'.*; it has them for .*relu_backward.*, maxpool"
    ):
        planted.describe("pool")


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
        "catches, relu: wrong, 4 of 8 planted bugs caught\n  the right answer passes\n"
    )


def test_a_test_that_fails_everything_is_told_that_the_right_answer_must_pass():
    caught = check.catches(lambda forward, backward: False, of="lrn")
    assert not caught
    assert str(caught).startswith("catches, lrn: wrong: the right answer fails, ")
    assert "\n  the right answer fails: it must pass\n" in str(caught)
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
    words = r"nothing called 'pool' \(did you mean maxpool\?\); it has add_backward, .*im2col.*maxpool, rbf, relu, sgd"
    with pytest.raises(ValueError, match=words):
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


# -- whatever a function returns, there is a verdict -------------------------------------------------------


class Odd:
    """What can't be compared, counted or made an array."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no array")

    def __bool__(self):
        raise RuntimeError("neither")

    __eq__ = __len__ = None
    __hash__ = None


ODD = {
    "complex numbers": lambda right: np.asarray(right) + 1j,
    "no imaginary part": lambda right: np.asarray(right, complex),
    "one complex": lambda right: np.complex128(2 + 1j),
    "some complex": lambda right: [np.complex128(1j)] * np.size(right),
    "huge": lambda right: 10**400,
    "below all": lambda right: -(10**400),
    "a huge one": lambda right: [10**400],
    "huge ones": lambda right: np.full(np.shape(right), 10**400, object),
    "text": lambda right: "text",
    "texts": lambda right: np.asarray(right).astype(str),
    "rows of two lengths": lambda right: [[1.0], [1.0, 2.0]],
    "generator": lambda right: (one for one in (1.0, 2.0)),
    "objects": lambda right: np.full(np.shape(right), None),
    "records": lambda right: np.zeros(np.shape(right), [("a", float)]),
    "days": lambda right: np.zeros(np.shape(right), "M8[D]"),
    "odd": lambda right: Odd(),
    "function": lambda right: len,
    "dict": lambda right: {},
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", [
    "relu_forward", "linear_backward", "softmax_cross_entropy_forward", "conv_counts", "differing", "dropout_mask",
    "early_exit", "training_loop", "device_exchange_forward",
])  # fmt: skip
def test_whatever_is_returned_there_is_a_verdict(name, odd, monkeypatch):
    monkeypatch.setattr(search, "CASES", {"whole": 2})
    monkeypatch.setattr(search, "SMALLER", 2)

    def first(*inputs):
        right = planted.RIGHT[name](*inputs)
        return (ODD[odd](right[0]), *right[1:]) if isinstance(right, tuple) else ODD[odd](right)

    def whole(*inputs):
        right = planted.RIGHT[name](*inputs)
        return ODD[odd](right[0] if isinstance(right, tuple) else right)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f in (first, whole):
            verdict = getattr(check, name)(f)
            assert verdict.state == "wrong"
            assert "raised" not in str(verdict)
            assert verdict._repr_html_()
            assert all(
                finding.difference is None or finding.state != "wrong type"
                for finding in verdict.findings.values()
            )


def test_a_count_that_no_float_can_hold_is_not_finite():
    verdict = check.differing(lambda table, query: 10**400)
    assert "counts  wrong" in str(verdict)
    verdict = check.conv_counts(lambda *case: (10**400, *planted.RIGHT["conv_counts"](*case)[1:]))
    assert verdict.of("side") == "nan"


def test_an_exception_without_words_of_its_own_gets_a_verdict():
    class Speechless(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def raises(x):
        raise Speechless

    assert "the call  raised: Speechless; raises, line " in str(check.relu_forward(raises))


@pytest.mark.parametrize("odd", [lambda: [[True], [True, False]], Odd])
def test_a_test_that_returns_neither_true_nor_false_fails(odd):
    found = check.catches(lambda forward, backward: odd(), of="relu")
    assert found.state == "wrong"
    assert "fails" in str(found)
