"""What a network's exits are worth on pictures: how good each is, what leaving early saves, counted and in seconds."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex.data.classes import check_classes
from minialex.data.folder import PictureList
from minialex.devices.device import to_numpy
from minialex.layers.exits import Exits
from minialex.layers.gate import Gate
from minialex.layers.sequential import all_layers, in_mode
from minialex.models.names import rebuilt
from minialex.study.leaving import (
    Answers,
    Leaving,
    answers_of,
    best_of,
    check_amount,
    check_costs,
    counted,
    exit_costs,
    leave_at_for,
    leaving,
    probability,
)
from minialex.training.arrays import BATCH_SIZE, check_labels, given_batches
from minialex.weights import as_metadata, export_grouped, read_record, record_of, save
from minialex.words import counted as in_words


def by_exit(answers: Answers, costs: list[int]) -> str:
    """How many pictures each exit gets right, and what it costs.

    Raises ValueError for another number of costs than of exits.

    >>> two = Answers(np.array([[1, 1], [0, 1]]), np.array([[0.9, 0.9], [0.6, 0.9]]), labels=np.array([1, 1]))
    >>> print(by_exit(two, [100, 300]))
    exit     Acc@1  multiply-adds
       1   50.00 %            100
       2  100.00 %            300
    """
    check_costs(costs, answers.sure.shape[1])
    lines = ["exit     Acc@1  multiply-adds"]
    for number, (error, cost) in enumerate(zip(answers.errors(), costs, strict=True), start=1):
        lines.append(f"{number:4}  {100 * (1 - error):6.2f} %  {cost:13,}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Left:
    """What came of pictures that really left early: their counts, and the seconds of 1,000 pictures.

    acc1_to_the_end, seconds_to_the_end: of all going to the last exit.
    """

    leaving: Leaving
    acc1_to_the_end: float
    seconds: float
    seconds_to_the_end: float

    def __str__(self):
        acc1 = 100 * (1 - self.leaving.error)
        return (
            f"{self.leaving}\nAcc@1 {acc1:.2f} % in {self.seconds:.3g} s for 1,000 pictures; to the last exit all "
            f"together {self.acc1_to_the_end:.2f} % in {self.seconds_to_the_end:.3g} s"
        )


def leave(
    model: Exits, x=None, y=None, *, leave_at: float, batches=None, batch_size: int = BATCH_SIZE
) -> Left:
    """Let pictures leave at this probability, and also none of them.

    leave(model, x, y, leave_at=0.9): arrays, as `train.fit` takes them; or leave(model, batches, leave_at=0.9).
    The model's mode and its own leave_at are put back. Seconds are those of the network alone, not of reading pictures.
    Raises ValueError for a network without exits, and for a label that no class has; DataError for pictures of other
    classes than the model's, or in another order.

    >>> from minialex.models import smartnet
    >>> model = smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8)
    >>> leave(model, np.zeros((5, 3, 8, 8), np.float32), [0, 1, 2, 0, 1], leave_at=0.0).leaving.pictures
    [5, 0]
    """
    leave_at = probability(leave_at)
    costs = exit_costs(model)
    batches = given_batches("leave", model, x, y, batches, batch_size)
    check_classes(model, batches)
    own = model.leave_at
    found, seconds = [], np.zeros(2)

    def timed(x, probability):
        model.leave_at = probability
        started = time.perf_counter()
        said = to_numpy(model.forward(x))  # which waits for a GPU
        return said, time.perf_counter() - started

    try:
        with in_mode(model, training=False):
            for x, labels in batches.in_order():
                x = model.device.asarray(x)
                if not found:
                    said, _ = timed(x, leave_at)  # the first time is slower than all others
                    check_labels(getattr(batches, "labels", labels), said.shape[1], model)
                last, to_the_end = timed(x, None)
                said, leaving = timed(x, leave_at)
                seconds += leaving, to_the_end
                found.append((model.left, best_of(said) != labels, best_of(last) != labels))
    finally:
        model.leave_at = own
    if not found:
        raise ValueError("leave: there are no pictures")
    left, wrong, wrong_last = (np.concatenate(part) for part in zip(*found, strict=True))
    leaving = counted(left, wrong, costs, leave_at)
    return Left(leaving, 100 * (1 - float(wrong_last.mean())), *(1000 * seconds / len(left)))


def report_exits(
    model: Exits,
    batches_of: Callable,
    pictures: PictureList,
    leave_at: float | None = None,
    budget: float | None = None,
    say: Callable[[str], None] = print,
) -> Left | None:
    """Say how good each exit is; or with a probability, or a budget of multiply-adds, what comes of leaving early.

    batches_of makes batches of a list of pictures. For a budget every second picture sets the
    probability, and the others are told of.
    Raises ValueError for a budget below what the first exit costs, what is no number, or too few pictures to halve.
    """
    costs = exit_costs(model)
    if leave_at is None and budget is None:
        say(by_exit(answers_of(model, batches_of(pictures)), costs))
        return None
    if budget is None:
        say(f"Leaving at the first exit with a probability of {probability(leave_at):.4g}, as was asked:")
    else:
        check_budget(model, budget)
        set_by, pictures = every_second(pictures)
        answers = answers_of(model, batches_of(set_by))
        leave_at = leave_at_for(budget, answers, costs)
        say(
            f"On {len(set_by):,} of the pictures, every second one, a probability of {leave_at:.4g} keeps the budget: "
            f"{round(leaving(answers, costs, leave_at).cost):,} multiply-adds on average."
        )
        say(f"On the other {len(pictures):,}:")
    left = leave(model, batches_of(pictures), leave_at=leave_at)
    say(str(left))
    return left


def check_budget(model: Exits, budget: float | None, cut: str | Path | None = None) -> None:
    """Raises ValueError for multiply-adds that no picture can do with.

    cut: a file with the same network without what is closed, which costs less; it need not be there.
    """
    if budget is None:
        return
    check_amount(budget)
    if budget >= (least := exit_costs(model)[0]):
        return
    text = f"--budget {round(budget):,}: the first exit alone costs {least:,} multiply-adds a picture"
    if cut and Path(cut).is_file() and (less := exit_costs(rebuilt(read_record(cut)))[0]) < least:
        how = f"evaluate that, with -e --pretrained {cut}" if budget >= less else "which is too much, too"
        text += f"; that of {cut}, without what is closed, costs {less:,}: {how}"
    raise ValueError(text)


def every_second(pictures: PictureList) -> tuple[PictureList, PictureList]:
    """Two halves of a list, each spread over it."""
    if len(pictures) < 2:
        raise ValueError("--budget: one picture cannot be halved, of which one half sets when to leave")
    places = np.arange(len(pictures))
    return pictures.part(places[::2]), pictures.part(places[1::2])


def keep_cut(model: Exits, path: str | Path, settings=None, say: Callable[[str], None] = print) -> Exits:
    """Write a SmartNet without what is closed, and say what that saves; returns it. The model stays as it is.

    Where nothing is closed there is nothing to cut: no file, and the model itself.
    """
    gates = [layer.weight.value for layer in all_layers(model) if isinstance(layer, Gate)]
    total, closed = sum(g.size for g in gates), sum(int((g == 0).sum()) for g in gates)
    if not closed:
        Path(path).unlink(missing_ok=True)  # it would be of other weights
        say(
            f"0 of {in_words(total, 'gate')} are closed: there is nothing to cut out, and no {Path(path).name}."
        )
        return model
    model.to(model.devices)  # which lets go of what its last pass has saved: no copies of that
    cut = copy.deepcopy(model).compact()
    save(path, export_grouped(cut), as_metadata(record_of(cut, settings)))
    before, after = exit_costs(model), exit_costs(cut)
    parts = [f"exit {n}: {b:,} -> {a:,}" for n, (b, a) in enumerate(zip(before, after, strict=True), start=1)]
    say(
        f"{closed} of {total} gates {'is' if closed == 1 else 'are'} closed. "
        f"{path}, without what is behind them, in multiply-adds:"
    )
    say(", ".join(parts))
    return cut
