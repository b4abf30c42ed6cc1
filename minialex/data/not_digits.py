"""Pictures that are no digits, in the manner of MNIST: letters, turned and mirrored digits, pairs, scribbles, blots.

A network that was only ever shown digits takes a letter for one, and is sure of it. Who is to tell whether a picture
shows a digit at all must have seen both (Hendrycks, Mazeika and Dietterich, "Deep anomaly detection with outlier
exposure", 2019). These are drawn here, or made from the digits themselves: a 7 in a mirror is as much handwriting as
the 7 is, but no digit.

Letters that are digits to anyone, such as O, l and S, are not among them.
"""

import numpy as np

from minialex.data import digits as drawn
from minialex.data.hands import smooth

LIKE_DIGITS = "BGIOSZ" + "giloqsz"  # to anyone
LETTERS = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in LIKE_DIGITS]
MIRRORED, TURNED, UPSIDE_DOWN = (2, 3, 4, 5, 6, 7, 9), (2, 3, 4, 5, 6, 7, 9), (3, 4, 7)  # no digits then
SHARES = {"letters": 0.5, "turned": 0.2, "pairs": 0.12, "scribbles": 0.1, "blots": 0.08}

# What a random stream is for, as in digits.py, after its own.
STREAM = 3


def draw_not_digits(images: np.ndarray, labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` pictures that are no digits: uint8 (count, 1, 28, 28), light on dark.

    images uint8 (N, 1, 28, 28) and labels (N,) are digits, of which some are made. Raises ValueError without any.

    >>> from minialex.data.digits import draw_digits
    >>> draw_not_digits(*draw_digits(20), count=30).shape
    (30, 1, 28, 28)
    """
    if not len(images):
        raise ValueError("pictures that are no digits are partly made of digits, and there are none")
    counts = {kind: round(share * count) for kind, share in SHARES.items()}
    counts["letters"] += count - sum(counts.values())
    rngs = {kind: drawn._generator(seed, STREAM, place) for place, kind in enumerate(SHARES)}
    images, labels = images.reshape(-1, drawn.SIZE, drawn.SIZE), np.asarray(labels)
    made = [
        draw_letters(counts["letters"], rngs["letters"]),
        _turned(images, labels, counts["turned"], rngs["turned"]),
        _pairs(images, counts["pairs"], rngs["pairs"]),
        _drawn_by(_scribble, counts["scribbles"], rngs["scribbles"]),
        _drawn_by(_blot, counts["blots"], rngs["blots"]),
    ]
    return np.concatenate(made)[:, None]


def draw_letters(count: int, rng: np.random.Generator) -> np.ndarray:
    """Letters, as digits.py draws digits: uint8 (count, 28, 28)."""
    texts = np.array(LETTERS)[rng.integers(len(LETTERS), size=count)]
    images = np.empty((count, drawn.SIZE, drawn.SIZE), dtype=np.uint8)
    for start in range(0, count, drawn.BATCH):
        batch = slice(start, start + drawn.BATCH)
        images[batch] = drawn._draw_batch(texts[batch], [rng] * len(texts[batch]))
    return images


def _turned(images, labels, count, rng):
    """Digits in a mirror, lying, or upside down, where those are no digits."""
    ways = [(MIRRORED, lambda x: x[:, ::-1]), (TURNED, np.rot90), (TURNED, lambda x: np.rot90(x, 3)),
            (UPSIDE_DOWN, lambda x: np.rot90(x, 2))]  # fmt: skip
    made = np.empty((count, drawn.SIZE, drawn.SIZE), dtype=np.uint8)
    for place in range(count):
        which, change = ways[rng.integers(len(ways))]
        those = np.flatnonzero(np.isin(labels, which))
        made[place] = change(images[those[rng.integers(len(those))]]) if len(those) else _blot(rng)
    return made


def _pairs(images, count, rng):
    """Two digits side by side, as digit_from_picture would bring them to 28x28."""
    from minialex.data.ink import as_uint8, centred, scaled

    made = np.empty((count, drawn.SIZE, drawn.SIZE), dtype=np.uint8)
    for place in range(count):
        two = [_without_margin(images[rng.integers(len(images))]) for _ in range(2)]
        tall = max(len(one) for one in two)
        two = [np.pad(one, [((tall - len(one)) // 2, (tall - len(one) + 1) // 2), (0, 0)]) for one in two]
        gap = np.zeros((tall, rng.integers(0, 6)))
        made[place] = as_uint8(centred(scaled(np.concatenate([two[0], gap, two[1]], axis=1) / 255)))
    return made


def _without_margin(image):
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else image


def _drawn_by(draw, count, rng):
    return np.array([draw(rng) for _ in range(count)], dtype=np.uint8).reshape(-1, drawn.SIZE, drawn.SIZE)


def _scribble(rng):
    """A curve through a few random points."""
    from PIL import Image, ImageDraw

    from minialex.data.ink import as_uint8, centred, scaled

    points = smooth(rng.random((rng.integers(4, 14), 2)) * [80, 80 * rng.uniform(0.5, 1.5)] + 8)
    sheet = Image.new("L", (100, 140))
    line = [tuple(point) for point in points.tolist()]
    ImageDraw.Draw(sheet).line(line, fill=255, width=int(rng.integers(5, 14)))
    ink = _without_margin(np.asarray(sheet, dtype=np.float32) / 255)
    return as_uint8(centred(scaled(ink)))


def _blot(rng):
    """What is brightest of smooth noise: as photographs of other things come out."""
    from minialex.data.ink import as_uint8, centred, resized, scaled

    coarse = rng.standard_normal([int(side) for side in rng.integers(4, 12, 2)])
    noise = resized(coarse, shape=(80, 80))
    ink = np.clip(4 * (noise - np.quantile(noise, rng.uniform(0.5, 0.85))), 0, 1)
    return as_uint8(centred(scaled(_without_margin(ink))))
