"""How long an epoch of each arm takes, measured alternately: runs may have been made on several days and machines."""

import itertools
import statistics
import time
from collections.abc import Iterator

from minialex.claims.arm import Arm
from minialex.claims.nets import NETS
from minialex.claims.pictures import Augmented, pictures_of, scale_of
from minialex.claims.side_by_side import one_thread_here
from minialex.training.loop import train_step
from minialex.training.optim import SGD

ROUNDS, SECONDS = 9, 0.3  # of each arm, and of each round


def paces_of(arms: dict[str, Arm], rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, float]:
    """Seconds of one core for an epoch of training, without tests: medians of rounds, one arm after the other in each.

    All in this process. What slows the machine down for a while slows all arms: so a round's ratios to its first arm
    are what counts. Steps are timed as an arm begins to learn, at a rate that changes nothing to speak of.
    """
    first, found = next(iter(arms)), []
    with one_thread_here():
        steps = {name: steps_of(arm) for name, arm in arms.items()}
        lengths = {name: next(mine) for name, mine in steps.items()}
        for _ in range(rounds):
            found.append({name: lengths[name] * seconds_a_step(steps[name], seconds) for name in arms})
    pace = statistics.median(one[first] for one in found)
    return {name: pace * statistics.median(one[name] / one[first] for one in found) for name in arms}


def seconds_a_step(steps: Iterator, seconds: float) -> float:
    """Of the processor, for so long."""
    began = time.process_time()
    for count in itertools.count(1):
        next(steps)
        spent = time.process_time() - began
        if spent >= seconds:
            return spent / count


def steps_of(arm: Arm) -> Iterator[int]:
    """First, after a step that does not count, how many an epoch has; then a step for each that is asked for."""
    x, labels = pictures_of(arm).train
    model = NETS[arm.net](seed=0, **arm.options)
    prepare = getattr(model, "prepare", None) or scale_of(x)
    batches = Augmented(x, labels, arm.batch_size, 0, arm.augment, prepare)
    optimizer = SGD(model.train().parameters(), 1e-6, arm.momentum, arm.weight_decay)
    for epoch in itertools.count():
        for chosen, their_labels in batches.shuffled(epoch):
            train_step(model, optimizer, chosen, their_labels)
            yield len(batches)
