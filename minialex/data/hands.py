"""Digits and letters as a hand writes them: strokes through a few points, which every writing bends anew.

A character is a few strokes, each a smooth curve through points of a grid 8 wide and 12 tall, counted from the upper
left. A hand moves the points a little, slants and stretches the whole, and draws it with a pen of some width.
"""

import numpy as np

from minialex.errors import DataError

# "x y x y ...; x y ...": a stroke for each part. A point that is given twice is a corner; elsewhere curves are smooth.
DIGITS = {
    "0": ("4 0 1 2 0 6 1 10 4 12 7 10 8 6 7 2 4 0", "5 0 2 1 0 5 1 11 4 12 7 9 8 4 6 1 4 0"),
    "1": ("4 0 4 0 4 12", "1 3 4 0 4 0 4 12", "5 0 5 0 3 12"),
    "2": ("0 3 2 0 6 0 8 3 6 7 0 12 0 12 8 12", "1 2 4 0 7 2 6 6 1 12 1 12 4 11 8 12"),
    "3": ("0 1 4 0 7 2 6 5 3 6 3 6 7 7 8 10 5 12 0 11", "1 0 7 0 7 0 3 5 3 5 7 7 7 10 4 12 0 11"),
    "4": ("5 0 0 8 0 8 8 8;6 4 6 12", "1 0 0 7 0 7 8 7;7 0 6 12", "6 0 0 8 0 8 8 8;6 0 6 0 6 12"),
    "5": ("7 0 1 0 1 0 1 5 1 5 5 4 8 7 6 11 0 12", "1 0 1 5 1 5 6 5 7 9 4 12 0 11;1 0 8 0"),
    "6": ("6 0 2 4 0 9 3 12 7 11 7 8 4 6 0 9", "5 0 1 5 1 10 4 12 7 10 6 7 2 8"),
    "7": ("0 0 8 0 8 0 3 12", "0 1 0 0 0 0 8 0 8 0 4 6 3 12;2 6 7 6"),
    "8": ("6 1 3 0 1 3 4 6 7 9 4 12 1 9 4 6 7 3 6 1", "4 0 1 3 4 5 4 0;4 0 7 3 4 5 1 9 4 12 7 9 4 5"),
    "9": ("7 2 4 0 1 2 1 5 4 6 7 4 7 2 7 2 7 6 6 12", "7 3 5 0 1 2 2 6 6 5 7 3 7 3 5 12"),
}

LETTERS = {
    "A": ("0 12 4 0 4 0 8 12;2 7 6 7",),
    "C": ("7 2 4 0 1 3 0 6 1 10 4 12 7 10",),
    "D": ("1 0 1 0 1 12;1 0 5 1 8 6 5 11 1 12",),
    "E": ("7 0 1 0 1 0 1 12 1 12 7 12;1 6 6 6",),
    "F": ("7 0 1 0 1 0 1 12;1 6 6 6",),
    "H": ("1 0 1 12;7 0 7 12;1 6 7 6",),
    "J": ("6 0 6 9 4 12 1 11 0 9;3 0 8 0",),
    "K": ("1 0 1 12;7 0 1 7;3 5 8 12",),
    "L": ("1 0 1 0 1 12 1 12 7 12",),
    "M": ("0 12 1 0 1 0 4 7 4 7 7 0 7 0 8 12",),
    "N": ("1 12 1 0 1 0 7 12 7 12 7 0",),
    "P": ("1 0 1 0 1 12;1 0 6 0 7 3 6 6 1 6",),
    "Q": ("4 0 1 2 0 6 1 10 4 12 7 10 8 6 7 2 4 0;5 8 9 13",),
    "R": ("1 12 1 0 1 0 6 1 7 3 5 6 1 6 1 6 8 12",),
    "T": ("0 0 8 0;4 0 4 12",),
    "U": ("1 0 1 8 2 11 4 12 6 11 7 8 7 0",),
    "V": ("0 0 4 12 4 12 8 0",),
    "W": ("0 0 2 12 2 12 4 4 4 4 6 12 6 12 8 0",),
    "X": ("0 0 8 12;8 0 0 12",),
    "Y": ("0 0 4 6;8 0 4 6 4 6 4 12",),
    "a": ("7 5 4 4 1 6 1 10 4 12 7 9 7 5 7 5 7 12",),
    "b": ("1 0 1 0 1 12;1 7 4 5 7 7 7 10 4 12 1 11",),
    "c": ("7 5 4 4 1 6 1 10 4 12 7 11",),
    "d": ("7 0 7 0 7 12;7 7 4 5 1 7 1 10 4 12 7 11",),
    "e": ("1 8 7 8 6 5 4 4 1 6 1 10 4 12 7 10",),
    "f": ("7 1 5 0 3 2 3 2 3 12;0 5 6 5",),
    "h": ("1 0 1 0 1 12;1 7 4 5 7 7 7 12",),
    "k": ("1 0 1 12;6 4 1 9;3 7 7 12",),
    "m": ("0 5 0 12;0 7 2 5 4 7 4 12;4 7 6 5 8 7 8 12",),
    "n": ("1 5 1 12;1 7 4 5 7 7 7 12",),
    "r": ("2 5 2 12;2 8 4 5 7 5",),
    "t": ("4 0 4 10 6 12 8 11;1 4 7 4",),
    "u": ("1 5 1 10 3 12 7 9;7 5 7 12",),
    "w": ("0 5 2 12 2 12 4 7 4 7 6 12 6 12 8 5",),
    "y": ("1 4 4 9;7 4 2 13",),
}
KNOWN = {**DIGITS, **LETTERS}
SHARP = 3  # strokes are drawn so many times larger


def write(character: str, rng: np.random.Generator, height: int = 120, pen: float = 0.09) -> np.ndarray:
    """A character by hand: float32 (H, W), 0 for paper to 1 for ink, H about `height` pixels and a margin around.

    pen: the width of the strokes, in parts of the height. Raises DataError for a character that has no strokes here.

    >>> ink = write("7", np.random.default_rng(0))
    >>> ink.ndim, float(ink.max()), int(np.ptp(np.flatnonzero(ink.max(axis=1) > 0.5)))
    (2, 1.0, 129)
    """
    from PIL import Image, ImageDraw

    if character not in KNOWN:
        raise DataError(f"there are no strokes of {character!r}; there are those of {' '.join(KNOWN)}")
    forms = KNOWN[character]
    slant, turn, width = rng.normal(0, 0.15), rng.normal(0, 0.07), rng.uniform(0.75, 1.15)
    curves = []
    for stroke in forms[rng.integers(len(forms))].split(";"):
        points = np.array(stroke.split(), dtype=float).reshape(-1, 2) / 12  # (P, 2): x, y
        same = np.concatenate([[False], (points[1:] == points[:-1]).all(axis=1)])
        moved = points + rng.normal(0, 0.025, points.shape)
        moved[same] = moved[np.flatnonzero(same) - 1]  # a corner stays one
        curves.append(smooth(moved))
    x, y = np.concatenate(curves).T
    x, y = (x - 1 / 3) * width - slant * (y - 0.5), y - 0.5
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    scale, margin = height * SHARP, (0.1 + pen) * height * SHARP
    x, y = (scale * (one - one.min()) + margin for one in (x, y))
    size = [int(np.ceil(one.max() + margin)) for one in (x, y)]
    sheet = Image.new("L", size)
    draw, radius = ImageDraw.Draw(sheet), max(1.0, scale * pen / 2)
    ends = np.cumsum([len(curve) for curve in curves])
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        line = [*zip(x[first:last].tolist(), y[first:last].tolist(), strict=True)]
        draw.line(line, fill=255, width=round(2 * radius))
        for px, py in line:  # round joints and ends
            draw.ellipse([px - radius, py - radius, px + radius, py + radius], fill=255)
    small = sheet.resize([max(1, side // SHARP) for side in size], Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


def smooth(points: np.ndarray, steps: int = 12) -> np.ndarray:
    """A curve through the points (P, 2), after Catmull and Rom (1974); straight to where a point is given twice.

    >>> smooth(np.array([[0.0, 0.0], [1.0, 1.0]]), steps=2).tolist()
    [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]
    """
    padded = np.concatenate([points[:1], points, points[-1:]])  # the curve ends where its points do
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for before, start, end, after in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        if (start == end).all():
            continue
        leaving, arriving = (end - before) / 2, (after - start) / 2
        if (before == start).all():
            leaving = end - start
        if (after == end).all():
            arriving = end - start
        pieces.append(
            (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * leaving
            + (3 * t**2 - 2 * t**3) * end + (t**3 - t**2) * arriving
        )  # fmt: skip
    return np.concatenate([*pieces, points[-1:]])
