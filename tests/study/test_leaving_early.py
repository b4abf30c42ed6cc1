"""What leaving early costs and gains."""

import itertools
import re

import numpy as np
import pytest

import minialex as mx
from minialex.data.loader import ArrayBatches
from minialex.study.exit_report import by_exit, check_budget
from minialex.study.leaving import (
    Answers,
    answers_of,
    curve,
    exit_costs,
    leave_at_for,
    leaving,
)

COSTS = [100, 300, 700]


def drawn_answers(seed=0, count=200):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    sure = rng.uniform(0.25, 1.0, (count, 3)).astype(np.float32)
    best = np.where(rng.random((count, 3)) < sure, labels[:, None], (labels[:, None] + 1) % 4)
    return Answers(best, sure, labels)


def by_hand(answers, leave_at):
    """(exit, wrong) of each picture, one after the other."""
    found = []
    for best, sure, label in zip(answers.best, answers.sure, answers.labels, strict=True):
        exit = next((i for i in range(2) if sure[i] >= leave_at), 2)
        found.append((exit, best[exit] != label))
    return found


@pytest.mark.parametrize("leave_at", [0.0, 0.3, 0.77, 1.0])
def test_leaving_is_each_picture_by_itself(leave_at):
    answers = drawn_answers()
    found, each = leaving(answers, COSTS, leave_at), by_hand(answers, leave_at)
    assert found.pictures == [sum(exit == number for exit, _ in each) for number in range(3)]
    assert found.cost == pytest.approx(np.mean([COSTS[exit] for exit, _ in each]))
    assert found.error == pytest.approx(np.mean([wrong for _, wrong in each]))
    for number, (count, error) in enumerate(zip(found.pictures, found.errors, strict=True)):
        own = [wrong for exit, wrong in each if exit == number]
        assert np.isnan(error) if not count else error == pytest.approx(np.mean(own))


def test_a_budget_gives_the_largest_probability_that_keeps_it():
    answers = drawn_answers()
    for budget in (100, 150.5, 400, 699):
        found = leave_at_for(budget, answers, COSTS)
        assert leaving(answers, COSTS, found).cost <= budget
        larger = min(sure for sure in [1.0, *answers.sure[:, :2].ravel().tolist()] if sure > found)
        assert leaving(answers, COSTS, larger).cost > budget
    assert leave_at_for(700, answers, COSTS) == 1.0


def test_a_budget_below_the_first_exit_says_what_that_costs():
    for budget in (99, 0, -5):
        with pytest.raises(ValueError, match="too small: the first exit costs 100"):
            leave_at_for(budget, drawn_answers(), COSTS)


@pytest.mark.parametrize("budget", ["20M", None, [200], float("nan")])
def test_a_budget_is_a_number(budget):
    words = re.escape(f"a budget is a number of multiply-adds a picture, as 20e6, not {budget!r}")
    with pytest.raises(ValueError, match=words):
        leave_at_for(budget, drawn_answers(), COSTS)
    if budget is not None:  # which is none at all, there
        with pytest.raises(ValueError, match=words):
            check_budget(mx.models.smartnet(2, 3, preset="small", width=0.1, image_size=8), budget)


def test_budgets_of_numpy_are_numbers_too():
    for budget in (np.int64(150), np.float32(150), np.array(150.0)):
        assert leave_at_for(budget, drawn_answers(), COSTS) == leave_at_for(150, drawn_answers(), COSTS)


@pytest.mark.parametrize("leave_at", [-0.1, 1.1, float("nan"), "0.5", True, None])
def test_leaving_wants_a_probability(leave_at):
    with pytest.raises(ValueError, match="a probability, from 0 to 1, not"):
        leaving(drawn_answers(), COSTS, leave_at)
    with pytest.raises(ValueError, match="a probability, from 0 to 1, not"):
        drawn_answers().left(leave_at)


@pytest.mark.parametrize("leave_at", [0.9, np.float64(0.9), np.float32(0.9), np.array(0.9)])
def test_a_probability_leaves_alike_whatever_kind_of_number_it_is(leave_at):
    sure = np.full((1, 2), 0.9, np.float32)  # a little below the 0.9 of float64
    answers = Answers(np.ones((1, 2), int), sure, np.ones(1, int))
    assert answers.left(leave_at).tolist() == [1]
    assert leaving(answers, [100, 300], leave_at).pictures == [1, 0]


@pytest.mark.parametrize(
    "costs", [[100], [100, 300], [*COSTS, 900], [], None, "abc", ["a", "b", "c"], [COSTS]]
)
def test_costs_are_as_many_as_the_exits(costs):
    answers = drawn_answers()
    for study in (
        lambda: leaving(answers, costs, 0.5),
        lambda: leave_at_for(500, answers, costs),
        lambda: curve(answers, costs),
        lambda: by_exit(answers, costs),
    ):
        with pytest.raises(
            ValueError, match=re.escape(f"one for each exit, as exit_costs(model) gives them, not {costs!r}")
        ):
            study()


@pytest.mark.parametrize("points", [0, -1, 2.5, "9", True])
def test_a_curve_has_a_whole_number_of_points(points):
    with pytest.raises(ValueError, match="points must be a whole number >= 1, not"):
        curve(drawn_answers(), COSTS, points)


def test_a_curve_goes_from_the_first_exit_to_the_last_and_its_cost_rises():
    steps = curve(drawn_answers(), COSTS, points=20)
    assert steps[0].cost == 100
    assert steps[-1].cost > 650
    assert all(a.cost <= b.cost and a.leave_at < b.leave_at for a, b in itertools.pairwise(steps))


def test_one_exit_has_a_curve_of_one_point():
    answers = drawn_answers()
    one = Answers(answers.best[:, :1], answers.sure[:, :1], answers.labels)
    assert [step.cost for step in curve(one, [100])] == [100.0]
    assert leave_at_for(100, one, [100]) == 1.0


def test_what_is_not_a_number_is_never_sure_and_stays_to_the_end():
    answers = Answers(np.zeros((1, 2), int), np.array([[np.nan, np.nan]]), np.array([0]))
    assert answers.left(0.0).tolist() == [2]


def test_costs_of_exits_are_counted_by_hand():
    model = mx.models.smartnet(blocks="1x3 2x5", num_classes=7, preset="mnist", image_size=8)
    stem, head = 8 * 9 * 64, 16 * 7
    first = 9 * 8 * 3 * 64
    second = 9 * 11 * 5 * 16 + 9 * 16 * 5 * 16
    one = stem + first + 11 * head
    assert exit_costs(model) == [one, one + second + 21 * head]


def test_costs_of_exits_of_any_network_with_heads():
    trunk = {"a": mx.Linear(4, 5), "b": mx.Linear(5, 6), "c": mx.Linear(6, 3)}
    heads = {"h": ("a", mx.Linear(5, 3)), "k": ("a", mx.Linear(5, 3)), "l": ("b", mx.Linear(6, 3))}
    model = mx.Exits(trunk, heads)
    model.picture_shape = (4,)
    assert exit_costs(model) == [20 + 15, 20 + 30, 20 + 30 + 30 + 18, 20 + 30 + 30 + 18 + 18]


def test_answers_of_all_pictures_are_what_leaving_gives():
    """The counts here and the batch that really shrinks are the same."""
    model = mx.models.smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8, rng=3).train()
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(20, 3, 8, 8)).astype(np.float32), rng.integers(0, 3, 20)
    batches = ArrayBatches(x, labels, 8)
    answers = answers_of(model, batches)
    assert model.training  # its mode is put back
    model.eval().leave_at = float(np.median(answers.sure[:, 0]))
    y = np.concatenate([model.forward(some) for some, _ in batches.in_order()])
    left = answers.left(model.leave_at)
    assert 0 < (left == 1).sum() < 20
    np.testing.assert_array_equal(y.argmax(axis=1), answers.best[np.arange(20), left - 1])
    model.forward(x)
    np.testing.assert_array_equal(model.left, left)


def test_no_pictures_are_an_error():
    class Nothing:
        def in_order(self):
            return iter(())

    with pytest.raises(ValueError, match="there are no pictures"):
        answers_of(mx.models.smartnet(1, num_classes=3, preset="small", width=0.1, image_size=8), Nothing())


def test_networks_without_exits_are_named():
    model = mx.models.resnet(8, 3, preset="cifar", width=0.1)
    for function in (exit_costs, lambda model: answers_of(model, None)):
        with pytest.raises(ValueError, match=r"resnet\(8\) has no exits"):
            function(model)
    with pytest.raises(TypeError, match=r"answers_of takes arrays, .* or batches"):
        answers_of(mx.models.smartnet(1, num_classes=3, preset="small", width=0.1), iter(()))
