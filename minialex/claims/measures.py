"""What else is asked of a trained network: do its towers differ in colour, is what it finds alike, does it still learn?

Each is called as f(model, pictures, prepare, curve, seed), and gives outcomes by name.
"""

import math
import time

import numpy as np

from minialex.data.loader import ArrayBatches
from minialex.study import neighbours

NEAR = 5  # pictures that are found for each
ASKED = 300  # test pictures that others are looked for
CODE_BITS = 64
BY_CHANCE = 90.0  # percent wrong of ten classes: before anything is learned, and where a run ran away
LOST = math.log(10)  # the loss of who knows nothing of ten classes, which a run that ran away is given
ARRIVED = 1.5  # percent


def ran_away(row: dict) -> bool:
    """Whether a run's loss was no number any more: then it has the error and the loss of chance, to the digit."""
    return row["train_error"] == BY_CHANCE and math.isclose(row["train_loss"], LOST, rel_tol=1e-6)


def late_gain(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """By how much the test error still falls from epochs 8 to 10 to the last three, in points: means of three."""
    errors = [row["test_error"] for row in curve]
    then, now = errors[max(0, len(errors) // 2 - 3) : len(errors) // 2], errors[-3:]
    return {"late_gain": float(np.mean(then or now) - np.mean(now))}


def arrival(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """By how many epochs the test error, which is taken at their ends, had come down to 1.5 percent."""
    tests = [{**row, "train_error": row["test_error"]} for row in curve]
    return {"epochs_to_error": reached(tests, ARRIVED, at=1.0)}


def colour(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """How much the kernels of two halves of conv1 differ in colour, and whether more than halves dealt by chance do.

    Of a kernel (3, kh, kw) the mean over red, green and blue is grey; colourfulness is the share of its square that is
    not grey, from 0 to 1. apart: the difference of the halves' means. p: how many of 999 ways to deal the kernels out
    set them as far apart.
    """
    kernels = model["conv1"].weight.value.astype(np.float64)
    grey = kernels.mean(axis=1, keepdims=True)
    shares = ((kernels - grey) ** 2).sum(axis=(1, 2, 3)) / (kernels**2).sum(axis=(1, 2, 3))
    half = len(shares) // 2
    apart = abs(shares[:half].mean() - shares[half:].mean())
    rng = np.random.default_rng(seed)
    dealt = [
        abs(one[:half].mean() - one[half:].mean()) for one in (rng.permutation(shares) for _ in range(999))
    ]
    as_far = np.array(dealt) >= apart - 1e-9  # sums in another order are equal, but for rounding
    return {"colour_apart": float(apart), "colour_p": (1 + int(as_far.sum())) / 1000}


def normaliser_spread(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """What norm1 divides by on test pictures: its least, median and largest, at the first and last percent."""
    x = prepare(pictures.curve[0][:200])
    for name, layer in model.eval().children().items():
        y = layer.forward(x)
        if name == "norm1":
            inner = (x != 0) & (y != 0)
            if not inner.any():  # every unit before it is dead
                return {}
            low, middle, high = np.percentile(x[inner] / y[inner], [1, 50, 99])
            return {"divides_low": float(low), "divides_median": float(middle), "divides_high": float(high)}
        x = y
    return {}


def retrieval(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """Of the 5 test pictures that are nearest to a test picture, the percentage of its class; and seconds to find them.

    Nearest by what the last layer reads, by codes of 64 bits of that, from an autoencoder that saw the training
    pictures alone, and by raw pixels (Krizhevsky et al. 2012, section 6.1).
    """
    (x, _), (others, labels) = pictures.train, pictures.test
    inputs = [ArrayBatches(part, np.zeros(len(part), int), 250, prepare=prepare) for part in (x, others)]
    seen, features = (neighbours.features(model, batches=batches, layer="flat") for batches in inputs)
    coder = neighbours.BinaryCodes(CODE_BITS, seed)
    coder.fit(seen, epochs=10)
    found, asked = {}, np.arange(min(ASKED, len(labels)))
    for name, rows, nearest in [
        ("features", features, neighbours.nearest),
        ("codes", coder.codes(features), neighbours.hamming),
        ("pixels", others.reshape(len(others), -1).astype(np.float32), neighbours.nearest),
    ]:
        began = time.process_time()
        near = nearest(rows, asked, NEAR)
        found[f"seconds_{name}"] = time.process_time() - began
        found[f"precision_{name}"] = 100 * float((labels[near] == labels[asked, None]).mean())
    return found


def reached(curve: list[dict], level: float | None, at: float = 0.5) -> float:
    """By how many epochs the error while it trains has come down to a level; nan where it never has.

    at: where in its epoch an error stands, its middle, or 1.0, its end. Between two of them lies a straight line.

    >>> reached([{"train_error": 50.0}, {"train_error": 30.0}, {"train_error": 10.0}], level=20.0)
    2.0
    """
    if level is None:
        return math.nan
    errors = [row["train_error"] for row in curve]
    for number, error in enumerate(errors):
        if error <= level:
            before = errors[number - 1] if number else BY_CHANCE
            passed = (before - level) / (before - error) if before > error else 1.0
            return number - 1 + at + passed if number else at * passed
    return math.nan


MEASURES = {
    "arrival": arrival,
    "late_gain": late_gain,
    "colour": colour,
    "normaliser_spread": normaliser_spread,
    "retrieval": retrieval,
}
