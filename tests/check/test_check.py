"""The checks of a learner's code: right answers pass, wrong ones do not, and each is told what it is.

What the checks say of the planted answers is computed once, since each verdict takes some tenths of a second.
"""

import functools
import inspect
import re

import numpy as np
import pytest

from minialex import check
from minialex.check import planted, recognise, search
from minialex.check.call import call, with_advice
from minialex.check.compare import compare
from minialex.check.verdict import NOT_WRITTEN

CHECKS = sorted(planted.RIGHT)
BUGS = [(name, bug) for name in CHECKS for bug in planted.WRONG[name]]


@functools.cache
def verdict_on(name, bug=None):
    return getattr(check, name)(planted.RIGHT[name] if bug is None else planted.WRONG[name][bug])


@pytest.fixture
def quick(monkeypatch):
    """For tests that do not look at the smallest case: few cases are enough to reject what is blatantly wrong."""
    monkeypatch.setattr(search, "CASES", {"whole": 12, "fractions": 3})
    monkeypatch.setattr(search, "SMALLER", 2)
    monkeypatch.setattr(search, "sizes_first", lambda tape, fails: None)


def states(verdict):
    return {where: verdict.of(where) for where in verdict.arrays}


def states_of_the_returned(verdict):
    """Without what is judged beside: the weight that a training loop leaves, how much an exchange sent."""
    return {where: state for where, state in states(verdict).items() if where not in ("weight", "crossed")}


def one_array(f, name="relu_forward", where="y"):
    """The state that a check gives to the array which f returns."""
    verdict = getattr(check, name)(f)
    assert not verdict
    return verdict.of(where)


# -- right and wrong answers -------------------------------------------------------------------------------


def test_every_check_has_a_right_answer_and_at_least_three_wrong_ones():
    checks = set(check.__all__) - set("planted catches hint keep keep_in mine names".split())
    assert checks == set(planted.RIGHT) == set(planted.WRONG)
    assert min(len(bugs) for bugs in planted.WRONG.values()) >= 3


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_passes_the_right_answer(name):
    verdict = verdict_on(name)
    assert verdict, verdict
    assert set(states(verdict).values()) == {"right"}
    assert verdict.state == "right"
    assert verdict.cases == sum(search.CASES.values())


@pytest.mark.parametrize(("name", "bug"), BUGS)
def test_a_check_rejects_a_planted_wrong_answer_and_shows_a_small_case(name, bug):
    verdict = verdict_on(name, bug)
    assert not verdict
    assert verdict.state == "wrong"
    states = {finding.state for finding in verdict.findings.values()}
    assert states == {"changed"} if bug == "written into" else not states & {"changed", "wrong type"}
    for finding in verdict.findings.values():
        # 2 channels and 3 columns of y do not fit together; nothing smaller shows it.
        most = 28 if (name, finding.state) == ("subsampling_forward", "raised") else 20
        assert sum(np.size(value) for value in finding.case.values() if isinstance(value, np.ndarray)) <= most


def test_on_the_way_to_a_smaller_case_none_is_tried_twice(monkeypatch):
    tried = []

    def spying(f, case):
        tried.append(search.key_of(case))
        return call(f, case)

    monkeypatch.setattr(search, "call", spying)
    verdict = check.maxpool_forward(next(iter(planted.WRONG["maxpool_forward"].values())))
    first, later = set(tried[: verdict.cases]), tried[verdict.cases :]
    assert later
    assert len(set(later) - first) == len(later)


@pytest.mark.parametrize(("name", "bug"), BUGS)
def test_a_planted_wrong_answer_says_what_is_wrong_and_takes_what_the_right_one_takes(name, bug):
    wrong, right = planted.WRONG[name][bug], planted.RIGHT[name]
    assert inspect.signature(wrong) == inspect.signature(right)
    assert inspect.getdoc(wrong).splitlines()[0].endswith(".")
    assert f"  {bug} " in planted.describe(name)


@pytest.mark.parametrize("name", CHECKS)
def test_a_checks_help_begins_with_how_it_calls_the_function(name):
    first = inspect.getdoc(getattr(check, name)).splitlines()[0]
    names = ", ".join(inspect.signature(planted.RIGHT[name]).parameters)
    assert first.startswith(f"f({names}) -> ")
    arrays = re.sub(r", the new ones|[()]", "", first.partition(" -> ")[2])
    assert verdict_on(name).signature == f"f({names}) -> {arrays}"


@pytest.mark.parametrize(
    ("name", "bug", "arrays"),
    [
        ("conv2d_backward", "overlap overwritten", "wrong right right"),
        ("conv2d_backward", "mean instead of sum", "right wrong wrong"),
        ("linear_backward", "transposed weight gradient", "right ... right"),
        ("subsampling_backward", "channels added up", "right right wrong"),
        ("sgd_step", "old velocity", "wrong right"),
        ("exchange_forward", "each its own first", "right wrong"),
        ("sigmoid_forward", "overflow", "nan"),
        ("softmax_cross_entropy_forward", "log of zero", "nan"),
        ("batchnorm_forward", "variance by m - 1", "wrong right right"),
        ("batchnorm_forward", "running variance by m", "right right wrong"),
        ("batchnorm_forward", "momentum turned round", "right wrong wrong"),
        ("batchnorm_backward", "mean forgotten", "wrong right right"),
        ("batchnorm_backward", "gradients swapped", "right wrong wrong"),
        ("concat_backward", "views of one array", "wrong wrong right"),
        ("add_backward", "written into", "right"),
        ("bottleneck_backward", "shortcut forgotten", "wrong right right right right"),
        ("bottleneck_backward", "shortcut round the ReLU", "wrong right right right wrong"),
        ("training_loop", "loss after the step", "wrong right"),
        ("training_loop", "last batch left out", "... wrong"),
        ("conv_counts", "groups forgotten", "right wrong wrong"),
        ("conv_counts", "bias forgotten", "right wrong right"),
        ("conv_counts", "places not squared", "right right wrong"),
        ("device_exchange_forward", "one way alone", "right wrong wrong"),
        ("device_exchange_forward", "joined, then sent", "right right wrong"),
        ("device_exchange_forward", "each its own first", "right wrong right"),
        ("device_exchange_backward", "sent whole, then cut", "right right wrong"),
        ("device_exchange_backward", "own one lost", "wrong wrong right"),
        ("map_loss_forward", "rubbish overflows", "nan"),
        ("map_loss_backward", "overflow", "nan"),
        ("gate_backward", "gate forgotten", "wrong right"),
        ("gate_backward", "closed for good", "right wrong"),
        ("gate_backward", "written into", "right right"),
        ("early_exit", "counted from 0", "right wrong"),
        ("early_exit", "surer than asked for", "wrong wrong"),
    ],
)
def test_a_verdict_is_given_for_each_array(name, bug, arrays):
    for found, wanted in zip(states(verdict_on(name, bug)).values(), arrays.split(), strict=True):
        assert found == wanted or (wanted == "..." and found != "right")


# -- mistakes that are known -------------------------------------------------------------------------------


def is_in(bug, mistakes):
    return any(mistake.startswith(f'"{bug}": ') for mistake in mistakes)


@pytest.mark.parametrize(("name", "bug"), BUGS)
def test_a_planted_mistake_is_called_by_its_name_wherever_it_shows(name, bug):
    verdict = verdict_on(name, bug)
    says = inspect.getdoc(planted.WRONG[name][bug]).splitlines()[0]
    assert set(verdict.mistakes) == set(verdict.findings)
    assert set(verdict.mistakes.values()) == {f'"{bug}": {says}'}
    assert f'the planted mistake "{bug}". Yours does this, and must not: {says}' in str(verdict)


@pytest.mark.parametrize("name", CHECKS)
def test_no_right_answer_has_a_planted_mistakes_numbers(name):
    assert verdict_on(name).mistakes == {}
    right = planted.RIGHT[name]
    seen = [(case, recognise.outcome(call(right, case), arrays_of(name))) for case in cases_of(name)]
    assert recognise.known_mistakes(name, arrays_of(name), seen, arrays_of(name)) == {}


def cases_of(name):
    """A few cases, as a check draws them."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "CASES", {"whole": 8})
        getattr(check, name)(lambda *inputs: found.append(inputs) or planted.RIGHT[name](*inputs))
    return [
        dict(zip(inspect.signature(planted.RIGHT[name]).parameters, inputs, strict=True)) for inputs in found
    ]


def arrays_of(name):
    return verdict_on(name).arrays


@pytest.mark.parametrize(("name", "bug"), [
    ("conv2d_backward", "overlap overwritten"), ("linear_backward", "mean instead of sum"),
    ("sgd_step", "old velocity"), ("batchnorm_forward", "momentum turned round"), ("gate_backward", "x forgotten"),
])  # fmt: skip
@pytest.mark.parametrize("other", [lambda array: None, lambda array: 3 * array + 1], ids=["none", "else"])
def test_a_mistake_in_one_array_is_named_though_the_others_are_unwritten_or_wrong_in_another_way(
    name, bug, other, quick
):
    there = verdict_on(name, bug).findings

    def f(*inputs):
        found = planted.WRONG[name][bug](*inputs)
        return tuple(
            x if where in there else other(x) for where, x in zip(arrays_of(name), found, strict=True)
        )

    verdict = getattr(check, name)(f)
    assert set(verdict.mistakes) == set(there)
    assert is_in(bug, verdict.mistakes.values())


def test_a_known_mistake_is_recognised_in_other_words_and_in_float32():
    def eps_outside(x, weight, bias, running_mean, running_var, eps, momentum):
        rows = np.float32(np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]))
        mean, std = rows.mean(axis=0), rows.std(axis=0)
        y = [(x[:, c] - mean[c]) / (std[c] + eps) * weight[c] + bias[c] for c in range(x.shape[1])]
        new = (1 - momentum) * running_var + momentum * rows.var(axis=0, ddof=1)
        return np.float32(np.stack(y, axis=1)), (1 - momentum) * running_mean + momentum * mean, new

    assert check.batchnorm_forward(eps_outside).mistake.startswith('"eps outside the root"')


@pytest.mark.parametrize(
    "f",
    [
        lambda body, factor, grad_y: grad_y - body(factor * grad_y),
        lambda body, factor, grad_y: grad_y[0],
        lambda body, factor, grad_y: 1 / 0,
        lambda body, factor, grad_y: "grad_x",
    ],
)
def test_a_mistake_that_nobody_planted_has_no_name(f, quick):
    verdict = check.add_backward(f)
    assert verdict.state == "wrong"
    assert verdict.mistake == ""


def test_what_is_nearly_right_is_not_taken_for_a_mistake_that_shows_elsewhere():
    def a_little_more(*inputs):
        y, *running = planted.RIGHT["batchnorm_forward"](*inputs)
        return y * (1 + 1e-6), *running

    verdict = check.batchnorm_forward(a_little_more)
    assert verdict.of("y") == "wrong"
    assert verdict.mistake == ""


def test_two_mistakes_at_once_are_not_taken_for_one(quick):
    def both(grad_y, channels):
        parts = planted.WRONG["concat_backward"]["wrong order"](grad_y, channels)
        return tuple(2 * part for part in parts)

    assert check.concat_backward(both).mistake == ""


def test_a_mistake_that_one_case_tells_apart_from_a_planted_one_is_not_it():
    def overwrites_but_in_one_place(columns, x_shape, kernel, stride):
        grad_x = planted.WRONG["col2im"]["overwrites"](columns, x_shape, kernel, stride)
        grad_x[..., -1, -1] *= 1.01
        return grad_x

    assert check.col2im(overwrites_but_in_one_place).mistakes == {}


def test_a_call_that_raises_for_reasons_of_its_own_hides_no_mistake():
    def one_picture(x, weight, bias, stride, padding):
        if padding == 2:
            raise ValueError("no padding of 2")
        return planted.WRONG["conv2d_forward"]["flipped kernel"](x, weight, bias, stride, padding)

    verdict = check.conv2d_forward(one_picture)
    assert set(verdict.findings) == {"the call", "y"}
    assert set(verdict.mistakes) == {"y"}
    assert is_in("flipped kernel", verdict.mistakes.values())


def test_numbers_that_overflow_are_no_wildcard():
    nan = check.sigmoid_forward(lambda x: np.full(x.shape, np.nan))
    assert nan.state == "wrong"
    assert nan.mistakes == {}


# -- other wrong answers -----------------------------------------------------------------------------------


def answering(name, change):
    """The right answer, each of its arrays changed."""

    def f(*inputs):
        right = planted.RIGHT[name](*inputs)
        return tuple(map(change, right)) if isinstance(right, tuple) else change(right)

    return f


ARRAYS = [name for name in CHECKS if name not in ("dropout_mask", "step_schedule")]


@pytest.mark.parametrize("name", CHECKS)
def test_zeros_are_not_right(name, quick):
    verdict = getattr(check, name)(answering(name, np.zeros_like))
    assert set(states_of_the_returned(verdict).values()) <= {"wrong", "wrong type"}
    assert not verdict


@pytest.mark.parametrize("name", CHECKS)
def test_the_first_input_unchanged_is_not_right(name, quick):
    verdict = getattr(check, name)(lambda *inputs: inputs[0])
    assert verdict.state == "wrong"


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("nothing", [None, ...])
def test_nothing_is_not_written_yet(name, nothing):
    verdict = getattr(check, name)(lambda *inputs: nothing)
    assert not verdict
    assert verdict.state == NOT_WRITTEN
    assert str(verdict) == f"{name}: not written yet (it returns None)\n  {verdict_on(name).signature}"
    assert verdict.cases == 1


@pytest.mark.parametrize("name", CHECKS)
def test_another_shape_is_not_right(name, quick):
    verdict = getattr(check, name)(answering(name, lambda array: np.asarray(array)[None]))
    assert set(states_of_the_returned(verdict).values()) == {"wrong shape"}


COUNTS = ("left", "counts", "side", "parameters", "macs")  # whole numbers, and may come as such


@pytest.mark.parametrize("name", ARRAYS)
def test_whole_number_arrays_are_not_right(name, quick):
    verdict = getattr(check, name)(answering(name, lambda array: np.asarray(array).astype(int)))
    for where, state in states_of_the_returned(verdict).items():
        assert state == ("right" if where in COUNTS else "wrong type")


@pytest.mark.parametrize("name", ARRAYS)
def test_float32_is_right_enough(name):
    verdict = getattr(check, name)(answering(name, np.float32))
    assert verdict, verdict


@pytest.mark.parametrize(
    "name", ["conv2d_forward", "lrn_forward", "softmax_cross_entropy_forward", "linear_forward"]
)
def test_a_learner_who_computes_in_float32_is_right(name):
    def in_float32(*inputs):
        small = [np.float32(x) if isinstance(x, np.ndarray) and x.dtype == float else x for x in inputs]
        return np.float32(planted.RIGHT[name](*small))

    assert getattr(check, name)(in_float32)


@pytest.mark.parametrize("name", CHECKS)
def test_a_function_that_raises_gets_a_verdict(name, quick):
    def broken(*inputs):
        raise ZeroDivisionError("no luck")

    verdict = getattr(check, name)(broken)
    assert verdict.findings["the call"].state == "raised"
    assert "ZeroDivisionError: no luck; broken, line " in str(verdict)
    assert 'raise ZeroDivisionError("no luck")' in str(verdict)


@pytest.mark.parametrize(
    "name", [name for name in ARRAYS if name not in ("gradcheck", "conv_counts", "training_loop")]
)
def test_a_function_that_writes_into_its_inputs_is_found_out(name, quick):
    def writes(*inputs):
        right = planted.RIGHT[name](*[x.copy() if isinstance(x, np.ndarray) else x for x in inputs])
        next(x for x in inputs if isinstance(x, np.ndarray))[...] = 7
        return right

    verdict = getattr(check, name)(writes)
    assert not verdict
    assert set(states(verdict).values()) == {"right"}
    (finding,) = verdict.findings.values()
    assert finding.state == "changed"
    assert (
        f"your function wrote into {finding.where.removeprefix('input ')}; it must make a new array"
        in str(verdict)
    )


def test_moving_an_entry_and_moving_it_back_does_not_count_as_writing():
    def in_place(function, x, grad_y, eps):
        grad_x = np.zeros(x.shape)
        for entry in np.ndindex(x.shape):
            x[entry] += eps
            up = (function(x) * grad_y).sum()
            x[entry] -= 2 * eps
            grad_x[entry] = (up - (function(x) * grad_y).sum()) / (2 * eps)
            x[entry] += eps
        return grad_x

    assert check.gradcheck(in_place)


def test_a_stub_that_raises_not_implemented_is_not_written_yet():
    def stub(x):
        raise NotImplementedError

    assert check.relu_forward(stub).state == NOT_WRITTEN


def test_one_array_of_three_can_be_not_written_yet():
    verdict = check.linear_backward(lambda x, weight, bias, grad_y: (grad_y @ weight, None, ...))
    assert states(verdict) == {"grad_x": "right", "grad_weight": NOT_WRITTEN, "grad_bias": NOT_WRITTEN}
    assert verdict.state == "wrong"


def test_other_types_are_named():
    assert one_array(lambda x: x.tolist()) == "wrong type"
    assert one_array(lambda x: (x,)) == "wrong type"
    assert one_array(lambda x: np.maximum(x, 0).astype(np.float16)) == "wrong type"
    assert one_array(lambda x: x > 0) == "wrong type"
    assert "type list, where a NumPy array is wanted" in str(check.relu_forward(lambda x: x.tolist()))
    text = str(check.linear_backward(lambda x, weight, bias, grad_y: grad_y @ weight))
    assert "one ndarray, where a tuple of 3 is wanted: grad_x, grad_weight, grad_bias" in text


def test_too_few_arrays_are_counted():
    verdict = check.linear_backward(lambda x, weight, bias, grad_y: (grad_y @ weight,))
    assert "the call     wrong number of arrays: 1, where 3 are wanted" in str(verdict)
    assert verdict.of("grad_x") == "not seen"


def test_a_function_with_other_inputs_is_told_how_it_is_called():
    text = str(check.relu_backward(lambda x: x))
    assert "takes 1 positional argument but 2 were given; it is called as f(x, grad_y) -> grad_x" in text


def test_a_function_that_is_wrong_in_fractions_alone_is_found_out():
    verdict = check.relu_forward(lambda x: np.maximum(np.round(x), 0))
    assert verdict.of("y") == "wrong"
    assert (verdict.findings["y"].case["x"] % 1 != 0).any()


def test_a_function_that_changes_its_mind_gets_a_verdict():
    calls = iter(range(10**6))
    verdict = check.relu_forward(lambda x: np.maximum(x, 0) + (next(calls) % 7 == 3))
    assert verdict.of("y") == "wrong"


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda shape, p, rng: rng.random(shape) >= 0.9 * p, "is kept, where 1 - p = "),
        (lambda shape, p, rng: rng.random((*shape[:-1], 1)) * np.ones(shape) >= p, "whole lines are alike"),
        (lambda shape, p, rng: np.random.default_rng(3).random(shape) >= p, "not drawn from the rng"),
        (lambda shape, p, rng: rng.random(shape), "a mask has 0 and 1 alone"),
        (lambda shape, p, rng: "mask", "where a NumPy array of bool"),
    ],
)
def test_a_masks_verdict_says_what_is_wrong_with_it(f, text):
    assert text in str(check.dropout_mask(f))


def test_a_mask_that_another_generator_has_a_say_in_is_found_out():
    other = np.random.default_rng(0)

    def mask(shape, p, rng):
        rng.random()
        return other.random(shape) >= p

    assert "two equal generators gave two masks" in str(check.dropout_mask(mask))


def test_a_mask_that_stays_the_same_is_found_out():
    def mask(shape, p, rng):
        rng.random()
        return np.random.default_rng(0).random(shape) >= p

    assert "two draws from one rng gave the same mask" in str(check.dropout_mask(mask))


@pytest.mark.parametrize(
    "f",
    [
        lambda shape, p, rng: rng.random(shape) > p,
        lambda shape, p, rng: rng.binomial(1, 1 - p, shape),
        lambda shape, p, rng: rng.choice([0.0, 1.0], size=shape, p=[p, 1 - p]),
        lambda shape, p, rng: rng.uniform(0, 1, shape) < 1 - p,
    ],
)
def test_a_mask_may_be_drawn_in_any_way(f):
    assert check.dropout_mask(f)


# -- what is said in plain words ---------------------------------------------------------------------------


def test_one_number_where_an_array_is_wanted_is_called_so(quick):
    def summed(x, weight, bias, grad_y):
        return grad_y @ weight, grad_y.T @ x, grad_y.sum()

    for number in (np.float64, float, int):
        verdict = check.linear_backward(
            lambda *inputs, number=number: (*summed(*inputs)[:2], number(summed(*inputs)[2]))
        )
        shape = verdict.findings["grad_bias"].case["bias"].shape
        assert verdict.findings["grad_bias"].text == f"one number, where shape {shape} is wanted"
    found = compare("y", np.array(3.0), np.zeros(2), lambda: 1.0)
    assert (found.state, found.text) == ("wrong shape", "one number, where shape (2,) is wanted")
    found = compare("loss", np.zeros(2), np.array(3.0), lambda: 1.0)
    assert (found.state, found.text) == ("wrong shape", "shape (2,), where one number is wanted")


@pytest.mark.parametrize(("bug", "number"), [("rubbish overflows", "inf"), ("overflow", "inf")])
def test_a_number_that_is_infinite_is_not_called_nan(bug, number):
    verdict = verdict_on("map_loss_forward", bug)
    assert verdict.of("loss") == "nan"
    assert f"  loss  not finite: {number}, not " in str(verdict)
    for text in (str(verdict), verdict._repr_html_()):
        assert "The smallest case found for loss, not finite:" in text
        assert "nan" not in text


@pytest.mark.parametrize("kind", [int, np.uint8, np.int32])
def test_fractions_that_an_array_of_whole_numbers_refuses_are_explained(kind, quick):
    def col2im(columns, x_shape, kernel, stride):
        grad_x = np.zeros(x_shape, kind)
        grad_x += columns.sum()
        return grad_x

    text = check.col2im(col2im).findings["the call"].text
    assert (
        " (the array holds whole numbers, and takes no fractions: make it np.zeros(shape), which is float64); col"
        in text
    )
    assert text.endswith("grad_x += columns.sum()")
    assert with_advice("TypeError: no") == "TypeError: no"


@pytest.mark.parametrize(
    ("name", "bug"),
    [("subsampling_backward", "a quarter for each"), ("subsampling_backward", "weight forgotten"),
     ("linear_backward", "bias summed along the wrong axis"), ("gate_backward", "y instead of x"),
     ("bottleneck_forward", "last ReLU missing")],
)  # fmt: skip
def test_the_smallest_case_is_of_whole_numbers_where_some_show_the_mistake(name, bug):
    for finding in verdict_on(name, bug).findings.values():
        for array in finding.case.values():
            if isinstance(array, np.ndarray):
                assert (array % 1 == 0).all()
