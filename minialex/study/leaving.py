"""Leaving early: what each exit costs, how many pictures leave where, and how sure an exit must be for a budget."""

import math
from dataclasses import dataclass

import numpy as np

from minialex.data.classes import check_classes
from minialex.devices.device import to_numpy
from minialex.layers.exits import Exits
from minialex.layers.leaving import surest
from minialex.layers.settings import number_or_nan, plain
from minialex.shapes import positive
from minialex.study.describe import summary
from minialex.training.arrays import BATCH_SIZE, check_labels, given_batches


def exit_costs(model: Exits) -> list[int]:
    """Multiply-adds of one picture to each exit: the trunk as far as there, and the heads on the way.

    >>> from minialex.models import smartnet
    >>> exit_costs(smartnet(2, num_classes=10, preset="mnist"))
    [1415040, 2211712]
    """
    check_exits(model)
    cost = {row.name: row.multiply_adds for row in summary(model).rows}
    costs, so_far = [], 0
    for name in model.layers:
        so_far += cost[name]
        for head in model.heads_at(name):
            so_far += cost[head]
            costs.append(so_far)
    return [*costs, so_far]


def check_exits(model) -> None:
    """Raises ValueError for a network without exits."""
    if not isinstance(model, Exits):
        raise ValueError(
            f"{model} has no exits: models.smartnet has, and googlenet and inception_v3 with auxiliaries"
        )


def probability(leave_at: float) -> float:
    """leave_at as Python's number, which is as exact as what exits say: NumPy's float64 0.9 is above float32's 0.9."""
    if isinstance(leave_at, bool) or not 0 <= number_or_nan(leave_at) <= 1:
        raise ValueError(f"leave_at is a probability, from 0 to 1, not {leave_at!r}")
    return float(leave_at)


def check_costs(costs: list[int], exits: int) -> None:
    """Raises ValueError for what is not one number for each exit."""
    found = np.asarray(costs)
    if found.shape != (exits,) or found.dtype.kind not in "iuf":
        raise ValueError(
            f"costs are {exits} numbers, one for each exit, as exit_costs(model) gives them, not {costs!r}"
        )


def check_amount(budget: float) -> None:
    """Raises ValueError for a budget that is no number."""
    if math.isnan(number_or_nan(budget)):
        raise ValueError(f"a budget is a number of multiply-adds a picture, as 20e6, not {budget!r}")


@dataclass(frozen=True)
class Answers:
    """Of some pictures each exit's best class and its probability, (N, exits), and the right classes, (N,)."""

    best: np.ndarray
    sure: np.ndarray
    labels: np.ndarray

    def errors(self) -> list[float]:
        """The share that each exit gets wrong, of all pictures."""
        return [float(share) for share in (self.best != self.labels[:, None]).mean(axis=0)]

    def left(self, leave_at: float) -> np.ndarray:
        """(N,): the exit at which each picture leaves, from 1."""
        sure = self.sure >= probability(leave_at)
        sure[:, -1] = True
        return sure.argmax(axis=1) + 1


def best_of(said: np.ndarray) -> np.ndarray:
    """(..., classes): the class with the largest logit; -1, which none is, where one of them is NaN.

    >>> best_of(np.array([[1.0, 3.0], [np.nan, 0.0]]))
    array([ 1, -1])
    """
    return np.where(np.isnan(said).any(axis=-1), -1, said.argmax(axis=-1))


def answers_of(model: Exits, x=None, y=None, *, batches=None, batch_size: int = BATCH_SIZE) -> Answers:
    """What every exit says of all pictures, in evaluation; the model's mode is put back.

    answers_of(model, x, y): arrays, as `train.fit` takes them; or answers_of(model, batches).
    Raises ValueError for a network without exits, and for a label that no class has; DataError for pictures of other
    classes than the model's, or in another order.

    >>> from minialex.models import smartnet
    >>> model = smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8)
    >>> answers = answers_of(model, np.zeros((5, 3, 8, 8), np.float32), [0, 1, 2, 0, 1])
    >>> answers.best.shape, answers.sure.shape, answers.labels.shape
    ((5, 2), (5, 2), (5,))
    """
    check_exits(model)
    batches = given_batches("answers_of", model, x, y, batches, batch_size)
    check_classes(model, batches)
    found = []
    for x, labels in batches.in_order():
        said = model.answers(model.device.asarray(x))  # (N, exits, classes)
        N, exits, classes = said.shape
        if not found:
            check_labels(getattr(batches, "labels", labels), classes, model)
        sure = surest(said.reshape(N * exits, classes)).reshape(N, exits)
        found.append((best_of(to_numpy(said)), to_numpy(sure), np.asarray(labels)))
    if not found:
        raise ValueError("answers_of: there are no pictures")
    return Answers(*(np.concatenate(part) for part in zip(*found, strict=True)))


@dataclass(frozen=True)
class Leaving:
    """What came of leaving at a probability: pictures by exit, the share of them that is wrong, the mean cost."""

    leave_at: float
    pictures: list[int]
    errors: list[float]  # of those that left there; NaN for none
    costs: list[int]
    error: float
    cost: float

    def __str__(self):
        lines = ["exit  pictures           wrong  multiply-adds"]
        total = sum(self.pictures)
        for number, row in enumerate(zip(self.pictures, self.errors, self.costs, strict=True), start=1):
            count, error, cost = row
            wrong = f"{100 * error:.2f} %" if count else "-"
            lines.append(f"{number:4}  {count:8,}  {100 * count / total:5.1f} %  {wrong:>7}  {cost:13,}")
        lines.append(
            f" all  {total:8,}  100.0 %  {100 * self.error:5.2f} %  {round(self.cost):13,} a picture, on average"
        )
        return "\n".join(lines)


def leaving(answers: Answers, costs: list[int], leave_at: float) -> Leaving:
    """What comes of leaving at this probability; costs: `exit_costs`.

    Raises ValueError for what is no probability, and for another number of costs than of exits.

    >>> two = Answers(np.array([[1, 1], [0, 1]]), np.array([[0.9, 0.9], [0.6, 0.9]]), labels=np.array([1, 1]))
    >>> print(leaving(two, [100, 300], leave_at=0.8))
    exit  pictures           wrong  multiply-adds
       1         1   50.0 %   0.00 %            100
       2         1   50.0 %   0.00 %            300
     all         2  100.0 %   0.00 %            200 a picture, on average
    """
    leave_at = probability(leave_at)
    check_costs(costs, answers.sure.shape[1])
    left = answers.left(leave_at)
    wrong = answers.best[np.arange(len(left)), left - 1] != answers.labels
    return counted(left, wrong, costs, leave_at)


def counted(left: np.ndarray, wrong: np.ndarray, costs: list[int], leave_at: float) -> Leaving:
    """The same of pictures of which it is known where each left, from 1, and whether it was wrong there; (N,) both."""
    at = [left == number for number in range(1, len(costs) + 1)]
    return Leaving(
        leave_at=float(leave_at),
        pictures=[int(here.sum()) for here in at],
        errors=[float(wrong[here].mean()) if here.any() else float("nan") for here in at],
        costs=list(costs),
        error=float(wrong.mean()),
        cost=float(np.asarray(costs)[left - 1].mean()),
    )


def leave_at_for(budget: float, answers: Answers, costs: list[int]) -> float:
    """The probability to leave at with which these pictures cost at most `budget` multiply-adds each, on average

    The largest such one: on held-out pictures it says what others will cost, as far as these are like them.
    Raises ValueError for a budget below what the first exit costs, or that is no number, and for another number of
    costs than of exits.

    >>> two = Answers(np.array([[1, 1], [0, 1]]), np.array([[0.9, 0.9], [0.6, 0.9]]), labels=np.array([1, 1]))
    >>> leave_at_for(200, two, [100, 300])
    0.9
    >>> leave_at_for(90, two, [100, 300])
    Traceback (most recent call last):
    ValueError: a budget of 90 multiply-adds a picture is too small: the first exit costs 100
    """
    check_costs(costs, answers.sure.shape[1])
    check_amount(budget)
    budget = plain(budget)  # before numbers are compared with it
    if budget < costs[0]:
        raise ValueError(
            f"a budget of {budget:,} multiply-adds a picture is too small: the first exit costs {costs[0]:,}"
        )
    if (least := leaving(answers, costs, 0.0).cost) > budget:  # NaN is never sure
        raise ValueError(
            f"a budget of {budget:,} multiply-adds a picture is too small: at a probability of 0 they cost "
            f"{least:,.0f}, since some exits say NaN"
        )
    there = answers.sure[:, :-1]
    candidates = np.unique([0.0, 1.0, *there[there <= 1].ravel().tolist()])
    low, high = 0, len(candidates) - 1  # the cost rises with the probability; 0 is within any budget
    while low < high:
        middle = (low + high + 1) // 2
        if leaving(answers, costs, candidates[middle]).cost <= budget:
            low = middle
        else:
            high = middle - 1
    return float(candidates[low])


def curve(answers: Answers, costs: list[int], points: int = 50) -> list[Leaving]:
    """Error against cost: from all pictures leaving at the first exit to none, at so many probabilities.

    Raises ValueError for less than one point, and for another number of costs than of exits.
    """
    points = positive(points, "points")
    check_costs(costs, answers.sure.shape[1])
    there = np.sort(answers.sure[:, :-1], axis=None)
    there = there[~np.isnan(there)]
    if not len(there):
        return [leaving(answers, costs, 1.0)]
    chosen = there[np.linspace(0, len(there) - 1, points).astype(int)]
    return [leaving(answers, costs, leave_at) for leave_at in np.unique([0.0, 1.0, *chosen.clip(0, 1)])]
