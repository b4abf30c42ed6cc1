"""Planted pairs: forward and backward agree, both are wrong. A slope test passes them, numbers by hand do not."""

import inspect
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from minialex import check
from minialex.check import planted, search
from minialex.check.catch import PAIRS as NAMES

PAIRS = [(of, bug) for of in planted.PAIRS for bug in planted.PAIRS[of]]


def names_of(of):
    return NAMES.get(of, (f"{of}_forward", f"{of}_backward"))


def cases_of(name, count=6):
    """Inputs of a check, with fractions, so that no two numbers are alike."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "CASES", {"large": count})
        getattr(check, name)(lambda *inputs: found.append(inputs) or planted.RIGHT[name](*inputs))
    names = list(inspect.signature(planted.RIGHT[name]).parameters)
    return [dict(zip(names, inputs, strict=True)) for inputs in found]


def agree(of, forward, backward):
    """Is backward the derivative of forward? Along random directions of each input, in several cases."""
    rng, tried = np.random.default_rng(0), 0
    for case in cases_of(names_of(of)[0]):
        case = {name: small(x, rng) for name, x in case.items()}
        case |= {"send": lambda array, device: array.copy()} if "send" in case else {}  # all on one device
        taken = list(inspect.signature(backward).parameters)
        y = arrays(of, forward(**case))
        grads_y = [rng.normal(size=np.shape(part)) for part in y]
        given = {**case, "columns": grads_y[0], "x_shape": np.shape(case.get("x")), "grad_y": grads_y[0]}
        given |= {"grad_y0": grads_y[0], "grad_y1": grads_y[-1], "channels0": np.shape(case.get("x0"))[1:2]}
        given["channels0"] = given["channels0"][0] if given["channels0"] else None
        if not any(name.startswith("grad_y") or name == "columns" for name in taken):
            grads_y = [1.0]  # a loss
        found = backward(**{name: given[name] for name in taken})
        found = found if isinstance(found, tuple) else (found,)
        movable = [name for name, x in case.items() if learns(name, x)][: len(found)]
        assert len(movable) == len(found)
        for name, gradient in zip(movable, found, strict=True):
            direction, h = rng.normal(size=case[name].shape), 1e-6

            def at(step, case=case, name=name, direction=direction, upstream=grads_y):
                moved = {**case, name: case[name] + step * direction}
                return sum(
                    (part * g).sum() for part, g in zip(arrays(of, forward(**moved)), upstream, strict=True)
                )

            measured, said = (at(h) - at(-h)) / (2 * h), (gradient * direction).sum()
            if not np.isclose(measured, said, rtol=1e-4, atol=1e-5):
                return False
            tried += 1
    assert tried >= 6
    return True


def small(x, rng):
    """The same shape, in numbers that are far from kinks and from each other."""
    if not isinstance(x, np.ndarray) or x.dtype != float:
        return x
    return (rng.permutation(x.size) + 0.5 - x.size // 2).reshape(x.shape) * (2 / x.size)


def learns(name, x):
    return isinstance(x, np.ndarray) and x.dtype == float and not name.startswith("running")


def arrays(of, y):
    """What the pair's backward gets a gradient of: of batch normalisation y alone."""
    return [np.asarray(part) for part in (y if isinstance(y, tuple) else (y,))][
        : 1 if of == "batchnorm" else 2
    ]


@pytest.mark.parametrize(("of", "bug"), PAIRS)
def test_a_pairs_backward_belongs_to_its_forward(of, bug):
    assert agree(of, *planted.PAIRS[of][bug]())


@pytest.mark.parametrize("of", ["linear", "maxpool", "conv2d", "softmax_cross_entropy", "exchange"])
def test_the_slope_test_of_this_file_can_fail(of):
    forward, backward = (planted.RIGHT[name] for name in names_of(of))
    assert agree(of, forward, backward)
    wrongs = planted.WRONG[names_of(of)[1]].values()
    assert not all(agree_or_raise(of, forward, wrong) for wrong in wrongs)


def agree_or_raise(of, forward, backward):
    try:
        return agree(of, forward, backward)
    except ValueError:
        return False


@pytest.mark.parametrize(("of", "bug"), PAIRS)
def test_a_pairs_forward_is_wrong_and_takes_what_the_right_one_takes(of, bug):
    functions = planted.PAIRS[of][bug]()
    for name, function in zip(names_of(of), functions, strict=True):
        assert [*inspect.signature(function).parameters] == [
            *inspect.signature(planted.RIGHT[name]).parameters
        ]
    name = names_of(of)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "CASES", {"whole": 20})
        patch.setattr(search, "SMALLER", 2)
        patch.setattr(search, "sizes_first", lambda tape, fails: None)
        verdict = getattr(check, name)(functions[0])
    assert verdict.state == "wrong"
    assert {finding.state for finding in verdict.findings.values()} == {"wrong"}


def test_every_pair_of_forward_and_backward_that_has_a_natural_one_has_one():
    forwards = {name.removesuffix("_forward") for name in planted.RIGHT if name.endswith("_forward")}
    assert set(planted.PAIRS) == forwards | {"im2col"}


@pytest.mark.parametrize(("of", "bug"), PAIRS)
def test_a_pair_says_what_is_wrong_and_shows_its_lines(of, bug):
    assert inspect.getdoc(planted.PAIRS[of][bug]).splitlines()[0].endswith(".")
    assert f"{of}, forward and backward alike\n" in planted.describe()
    assert f"  {bug} " in planted.describe(of)
    assert f'@pair("{of}", "{bug}")' in planted.source(of, bug)


# -- tests of learners -------------------------------------------------------------------------------------

sys.path.insert(0, str(Path(__file__).parents[2] / "lessons"))


def solutions():
    import run

    path = run.LESSONS / "06_gradient_checking.ipynb"
    answers = run.solutions(path)
    found = {"np": np, "slope": slope}
    for name in ("numerical_gradient", "test_linear", "test_maxpool"):
        exec(answers[name], found)
    return found


def slope(function, x, grad_y, at, eps):
    step = np.zeros(x.shape)
    step[at] = eps
    return ((function(x + step) - function(x - step)) * grad_y).sum() / (2 * eps)


def test_a_slope_test_catches_all_but_the_pairs():
    numerical_gradient = solutions()["numerical_gradient"]

    def slopes_alone(forward, backward):
        rng = np.random.default_rng(0)
        given = {"x": rng.normal(size=(4, 3)), "weight": rng.normal(size=(2, 3)), "bias": rng.normal(size=2)}
        grad_y = rng.normal(size=(4, 2))
        for name, gradient in zip(given, backward(**given, grad_y=grad_y), strict=True):
            measured = numerical_gradient(
                lambda a, n=name: forward(**{**given, n: a}), given[name], grad_y, 1e-5
            )
            assert gradient.shape == measured.shape
            assert np.allclose(gradient, measured)
        return True

    caught = check.catches(slopes_alone, of="linear")
    assert caught.escaped == [("linear", bug) for bug in planted.PAIRS["linear"]]
    assert "linear, bias left out in both " in str(caught)
    assert str(caught).endswith('Hints: mx.check.hint("test_linear"), then mx.check.hint("test_linear", 2)')


@pytest.mark.parametrize("of", ["linear", "maxpool"])
def test_lesson_06s_solutions_catch_all_pairs(of):
    pytest.importorskip("nbformat")
    caught = check.catches(solutions()[f"test_{of}"], of=of)
    assert caught, caught
    assert {bug for bug in caught.bugs if bug[0] == of} == {(of, bug) for bug in planted.PAIRS[of]}
    assert "Hints" not in str(caught)
    assert "<details" not in caught._repr_html_()


def test_catches_shows_its_bugs_as_a_table_with_signs():
    html = check.catches(lambda forward, backward: True, of="linear")._repr_html_()
    assert html.count("✗") == 6 + len(planted.PAIRS["linear"])
    assert html.count("✓") == 1
    assert html.count("<details") == 2


def test_catches_counts_both():
    for of in itertools.islice(planted.PAIRS, 3):
        caught = check.catches(lambda forward, backward: False, of=of)
        wrong = sum(len(planted.WRONG[name]) for name in names_of(of))
        assert len(caught.bugs) == wrong + len(planted.PAIRS[of])
