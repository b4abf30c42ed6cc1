"""What else is asked of a trained network: do its towers differ in colour, is what it finds alike, does it still learn?

Each is called as f(model, pictures, prepare, curve, seed), and gives outcomes by name.
"""

import math
import time

import numpy as np

from minialex.claims.codes import binary_codes
from minialex.data.loader import ArrayBatches

NEAR = 5  # pictures that are found for each
ASKED = 1_000  # test pictures that others are looked for
CODE_BITS = 64
BY_CHANCE = 90.0  # percent wrong of ten classes: before anything is learned, and where a run ran away
ARRIVED = 1.5  # percent


def late_gain(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """By how much the test error still falls from epochs 8 to 10 to the last three, in points: means of three."""
    errors = [row["test_error"] for row in curve]
    then, now = errors[max(0, len(errors) // 2 - 3) : len(errors) // 2], errors[-3:]
    return {"late_gain": float(np.mean(then or now) - np.mean(now))}


def arrival(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """By how many epochs the test error had come down to 1.5 percent."""
    tests = [{**row, "train_error": row["test_error"]} for row in curve]
    return {"epochs_to_error": reached(tests, ARRIVED)}


def colour(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """How much the kernels of two halves of conv1 differ in colour, and whether more than halves dealt by chance do.

    Of a kernel (3, kh, kw) the mean over red, green and blue is grey; colourfulness is the share of its square that is
    not grey, from 0 to 1. apart: the difference of the halves' means. p: how many of 999 ways to deal the kernels out
    set them as far apart.
    """
    kernels = model.conv1.weight.value.astype(np.float64)
    grey = kernels.mean(axis=1, keepdims=True)
    shares = ((kernels - grey) ** 2).sum(axis=(1, 2, 3)) / (kernels**2).sum(axis=(1, 2, 3))
    half = len(shares) // 2
    apart = abs(shares[:half].mean() - shares[half:].mean())
    rng = np.random.default_rng(seed)
    dealt = [
        abs(one[:half].mean() - one[half:].mean()) for one in (rng.permutation(shares) for _ in range(999))
    ]
    return {"colour_apart": float(apart), "colour_p": (1 + sum(other >= apart for other in dealt)) / 1000}


def normaliser_spread(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """What norm1 divides by on test pictures: its least, median and largest, at the first and last percent."""
    x = prepare(pictures.curve[0][:200])
    for name, layer in model.eval().children().items():
        y = layer.forward(x)
        if name == "norm1":
            inner = x != 0
            low, middle, high = np.percentile(x[inner] / y[inner], [1, 50, 99])
            return {"divides_low": float(low), "divides_median": float(middle), "divides_high": float(high)}
        x = y
    return {}


def retrieval(model, pictures, prepare, curve, seed) -> dict[str, float]:
    """Of the 5 training pictures that are nearest to a test picture, the percentage of its class; and seconds.

    Nearest by the distance of what the last layer reads, of codes of 64 bits made of it by an autoencoder, and of raw
    pixels (Krizhevsky et al. 2012, section 6.1, and Krizhevsky and Hinton 2011 for the codes).
    """
    (x, labels), (asked, right) = pictures.train, (part[:ASKED] for part in pictures.test)
    features = [last_features(model, prepare, part) for part in (x, asked)]
    pixels = [part.reshape(len(part), -1).astype(np.float32) for part in (x, asked)]
    codes = binary_codes(*features, bits=CODE_BITS, seed=seed)
    found = {}
    for name, (all_of_them, of_asked), search in [
        ("features", features, by_distance), ("codes", codes, by_bits), ("pixels", pixels, by_distance)
    ]:  # fmt: skip
        began = time.process_time()
        near = search(all_of_them, of_asked)
        found[f"seconds_{name}"] = time.process_time() - began
        found[f"precision_{name}"] = 100 * float((labels[near] == right[:, None]).mean())
    return found


def last_features(model, prepare, pictures) -> np.ndarray:
    """What the last layer reads, (N, D)."""
    *before, _ = model.eval().children().values()
    rows = []
    for x, _ in ArrayBatches(pictures, np.zeros(len(pictures), int), 250, prepare=prepare).in_order():
        for layer in before:
            x = layer.forward(x)
        rows.append(x)
    return np.concatenate(rows)


def by_distance(of_all: np.ndarray, of_asked: np.ndarray) -> np.ndarray:
    """The rows of the nearest, (asked, 5), nearest first: by |a|^2 - 2 a.b + |b|^2."""
    squares = (of_all**2).sum(axis=1) - 2 * of_asked @ of_all.T
    return nearest(squares)


def by_bits(of_all: np.ndarray, of_asked: np.ndarray) -> np.ndarray:
    """The same for bits packed into bytes: by how many of them differ."""
    counts = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)
    differ = sum(counts[one[None] ^ other[:, None]] for one, other in zip(of_all.T, of_asked.T, strict=True))
    return nearest(differ)


def nearest(distances: np.ndarray) -> np.ndarray:
    near = np.argpartition(distances, NEAR - 1, axis=1)[:, :NEAR]
    order = np.take_along_axis(distances, near, axis=1).argsort(axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1)


def reached(curve: list[dict], level: float | None) -> float:
    """By how many epochs the error while it trains has come down to a level; nan where it never has.

    An epoch's error stands for its middle, and between two middles lies a straight line.

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
            return number - 0.5 + passed if number else 0.5 * passed
    return math.nan


MEASURES = {
    "arrival": arrival,
    "late_gain": late_gain,
    "colour": colour,
    "normaliser_spread": normaliser_spread,
    "retrieval": retrieval,
}
