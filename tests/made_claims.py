"""What tests of the claims share: made pictures, a protocol of seconds, and runs that are pretended."""

import math

import numpy as np

from minialex import claims
from minialex.claims import pictures, side_by_side
from minialex.claims.arm import Arm, Difference, Experiment
from minialex.claims.protocol import Protocol

SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
TRAIN, TEST = 600, 120
OUTCOMES = ["test_error", "train_error", "train_loss", "gap", "epochs_to", "seconds"]  # of every run


def made(name, count, seed):
    """Pictures of noise with a bright patch, whose place is the class: a network learns them in an epoch or two."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 10)
    x = rng.integers(0, 60, (count, *SHAPES[name]), dtype=np.uint8)
    for one, label in zip(x, labels, strict=True):
        row, column = divmod(int(label), 4)
        one[:, 2 + 8 * row : 9 + 8 * row, 1 + 7 * column : 7 + 7 * column] = 250
    return x, labels


def made_pictures(monkeypatch, train=TRAIN, test=TEST):
    """Both sets are made ones, in this process. Gives them by name."""
    sets = {name: (made(name, train, 1), made(name, test, 2)) for name in SHAPES}
    monkeypatch.setattr(pictures, "load", lambda name, download: sets[name])
    monkeypatch.setattr(pictures, "_loaded", {})
    return sets


def lenet(**settings):
    return Arm("mnist", "lenet", pictures=60, epochs=2, batch_size=20).but(**settings)


def four(**settings):
    return Arm("cifar10", "four-layers", pictures=60, epochs=2, batch_size=20).but(**settings)


def protocol(**changes):
    """Of two seeds: `read` would refuse it, the rest doesn't mind."""
    usual = {
        "name": "tiny", "claim": "A is better.", "source": "here", "outcome": "test_error", "paired": "the seed",
        "seeds": 2, "rates": [0.001, 0.003, 0.01, 0.03, 0.1], "begin": 0.01, "rate_seeds": [100], "epochs": 2,
        "pictures": 60, "delta": 1.0, "digest": "0123456789ab",
    }  # fmt: skip
    return Protocol(**{**usual, **changes})


def experiment(**arms):
    """Of arm `a`, claimed to be better, and arm `b`."""
    arms = arms or {"a": lenet(dropout=0.5), "b": lenet()}
    return Experiment(arms=arms, primary=Difference("a", than="b"))


class PretendedRuns:
    """In place of training: errors that are known, least at the rate `best`. `asked` is what was run, in order."""

    def __init__(self, best=0.01, better=0.5, stop_after=None, lost=()):
        self.best, self.better, self.stop_after, self.lost, self.asked = best, better, stop_after, lost, []

    def __call__(self, arm, seed, rate, choosing=False):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append((arm.digest, seed, rate, choosing))
        error = 10 + abs(math.log10(rate / self.best)) + seed / 7
        error -= self.better if arm.options.get("dropout") else 0
        measured = {} if seed in self.lost else {"late_gain": 0.01 * seed}
        outcomes = {
            "test_error": error, "train_error": error / 2, "train_loss": error / 30, "gap": error / 2,
            "epochs_to": math.nan, "seconds": 2.0 + seed, **measured,
        }  # fmt: skip
        names = ("train_error", "train_loss", "test_error", "lr")
        curve = [
            {
                "epoch": n,
                "seconds": n * (2.0 + seed) / arm.epochs,
                **dict.fromkeys(names, error + arm.epochs - n),
            }
            for n in range(1, arm.epochs + 1)
        ]
        return outcomes, curve


def pretend(monkeypatch, **how):
    runs = PretendedRuns(**how)
    monkeypatch.setattr(side_by_side, "train_once", runs)
    paces = {"calls": 0}

    def paces_of(arms, **how):
        paces["calls"] += 1
        return {name: paces["calls"] + n / 10 for n, name in enumerate(arms)}

    monkeypatch.setattr(claims, "paces_of", paces_of)
    return runs
