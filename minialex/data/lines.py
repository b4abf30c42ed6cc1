"""What is printed or ruled on paper and is no digit: the lines of squared and ruled paper, a box around the digit.

Here 0 is paper and 1 ink.
"""

import itertools

import numpy as np

from minialex.data.ink import highest_around, pieces, threshold_of
from minialex.data.paper import SMALLEST_PICTURE, area, four_corners, hull, inside

WIDEST_LINE = 0.012  # of the paper's longer side
STEEPEST = 0.08  # how far a line may climb, in parts of its length
BLOCKS = 32  # parts of a line, of which nearly all must be seen:
SEEN = 0.8
COVERED, LEAST_FREE = 0.12, 0.35  # by ink, where a block says nothing; of the blocks must say something
FEWEST_LINES = 3  # fewer may be strokes of a digit that fills the picture, such as a 7's
STRONGER = 1.7  # times as dark as the lines: then it is ink

LOOK = 200  # pixels of the longer side of the copy in which frames are looked for
LEAST_FRAME, MOST_FRAME = 0.015, 0.85  # of the picture
STRAIGHT = 0.9  # of a frame's inside must be covered by its four corners
CLOSED = 0.7  # of what is around its inside must be ink; the rest may be outside of the picture
THICKEST = 0.08  # of a frame's height or width: how thick its line may be
LEAST_INK = 0.01  # of a frame's inside
LEAST_OF_ALL = 0.1  # of the picture's ink, the frame's too: else it is a gap between strokes
LEAST_INSIDE = 0.25  # of the frame's height or width: what is smaller is a speck


def without_lines(even: np.ndarray, notes: list[str]) -> np.ndarray:
    """The picture (H, W) without lines that run across all of it, be they rows or squares; with what crosses them."""
    plain, found = even, 0
    for turn in (False, True):
        rows = np.ascontiguousarray(plain.T) if turn else plain
        if (taken := _without_rows(rows)) is not None:
            rows, count = taken
            plain, found = (np.ascontiguousarray(rows.T) if turn else rows), found + count
    if found:
        notes.append(f"took out {found} lines of the paper")
    return plain


def _without_rows(even: np.ndarray) -> tuple[np.ndarray, int] | None:
    """The same without lines from left to right, and how many there were; None for fewer than three.

    What is thinner than `reach` from top to bottom vanishes when each pixel takes the lowest value around it in its
    column, and then the highest of those. The difference to the picture shows lines, and few parts of digits.
    """
    height, width = even.shape
    reach = max(2, round(WIDEST_LINE * max(even.shape)))
    if height < 8 * reach or width < BLOCKS:
        return None
    thick = _opened_in_columns(even, reach)
    thin = even - thick
    lines = _lines(thin, thick, reach)
    if len(lines) < FEWEST_LINES:
        return None
    profile = np.mean([_along(thin, line, np.arange(-reach, reach + 1)) for line in lines], axis=0)
    level = float(profile.max())
    wide = int((profile > 0.3 * level).sum())
    opened = _opened_in_columns(even, wide + 1)
    band = np.zeros(even.shape, dtype=bool)
    places = np.arange(-(wide // 2) - 1, wide // 2 + 2)
    for line in lines:
        rows = np.clip(_rows_of(line, width)[None] + places[:, None], 0, height - 1)
        band[rows, np.arange(width)[None]] = True
    band &= even < STRONGER * level
    return np.where(band, np.minimum(even, opened), even), len(lines)


def _rows_of(line: tuple[int, int], width: int) -> np.ndarray:
    """In which row a line is, column by column: it begins and ends at the rows of `line`."""
    return np.rint(np.linspace(*line, width)).astype(int)


def _along(thin, line, places):
    """The mean of `thin` at so many rows above and below the line, (places,)."""
    rows = np.clip(_rows_of(line, thin.shape[1])[None] + places[:, None], 0, len(thin) - 1)
    return np.median(thin[rows, np.arange(thin.shape[1])[None]], axis=1)


def _lines(thin: np.ndarray, thick: np.ndarray, reach: int) -> list[tuple[int, int]]:
    """Lines from the left edge to the right one, as the rows where they begin and end.

    Each column block's mean says how much of a line it may hold; lines are tried at all heights and slopes. Blocks
    that a thick stroke covers say nothing of a line: of the others nearly all must hold it.
    """
    height, width = thin.shape
    edges = np.linspace(0, width, BLOCKS + 1).astype(int)
    blocks, covered = (
        np.stack([what[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)], axis=1)
        for what in (thin, thick)
    )
    middle = np.median(blocks)
    noise = 1.48 * np.median(np.abs(blocks - middle))
    limit = middle + max(4 * noise, 0.006)
    beside = ((height, height), (0, 0))
    free = np.pad(covered < COVERED, beside)
    seen, weight = np.pad(blocks > limit, beside) & free, np.pad(np.minimum(blocks, 4 * limit), beside) * free
    offsets = np.linspace(-0.5, 0.5, BLOCKS)
    most = round(STEEPEST * width)
    climbs = np.arange(-most, most + 1, max(1, most // 30))
    columns = np.arange(BLOCKS)[None]
    share, strength = np.empty((2, len(climbs), height))
    for k, climb in enumerate(climbs):
        rows = height + np.arange(height)[:, None] + np.rint(climb * offsets).astype(int)[None]
        known = free[rows, columns].sum(axis=1)
        share[k] = seen[rows, columns].sum(axis=1) / np.maximum(known, LEAST_FREE * BLOCKS)
        strength[k] = weight[rows, columns].sum(axis=1) / np.maximum(known, 1)
    strength = np.where(share >= SEEN, strength, 0)
    lines = []
    while strength.max() > 0:
        k, row = np.unravel_index(strength.argmax(), strength.shape)
        half = climbs[k] / 2
        lines.append((round(float(row - half)), round(float(row + half))))
        strength[:, max(0, row - reach) : row + reach + 1] = 0
    return lines


def _opened_in_columns(even: np.ndarray, reach: int) -> np.ndarray:
    """Without what is at most `reach` pixels tall."""
    lowest = even
    padded = np.pad(even, ((0, reach), (0, 0)), mode="edge")
    for k in range(1, reach + 1):
        lowest = np.minimum(lowest, padded[k : k + len(even)])
    padded = np.pad(lowest, ((reach, 0), (0, 0)), mode="edge")
    highest = lowest
    for k in range(reach):
        highest = np.maximum(highest, padded[k : k + len(even)])
    return highest


# -- Frames ------------------------------------------------------------------------------------------------


def inside_frame(even: np.ndarray, notes: list[str]) -> np.ndarray:
    """What is inside a drawn box, or a form's cell, if one holds ink; else the picture as it is.

    A frame leaves a piece of paper that is cut off from the rest and has four corners. A 0 does not have them, nor
    ink within; the smallest such piece counts. Ink that touches the frame is cut off there.
    """
    if min(even.shape) < SMALLEST_PICTURE:
        return even
    step = -(-max(even.shape) // LOOK)
    tall, wide = (-(-side // step) for side in even.shape)
    mask = even > threshold_of(even)[1]
    padded = np.pad(mask, ((0, tall * step - mask.shape[0]), (0, wide * step - mask.shape[1])))
    small = padded.reshape(tall, step, wide, step).any(axis=(1, 3))
    thick = highest_around(small, 1)
    paper = pieces(~thick)
    sizes = np.bincount(paper.ravel())
    for number in np.argsort(sizes):
        if number == 0 or sizes[number] < LEAST_FRAME * small.size / 2:
            continue
        outline = hull(paper == number)
        share = area(outline) / small.size
        if not LEAST_FRAME <= share <= MOST_FRAME or area(four_corners(outline)) < STRAIGHT * area(outline):
            continue
        within = inside(outline, small.shape)
        if sum(end.any() for end in (within[0], within[-1], within[:, 0], within[:, -1])) > 1:
            continue
        line = highest_around(within, 2)
        ring = line & ~within
        beyond = highest_around(line, 2 + round(THICKEST * min(np.ptp(outline, axis=0))))
        beyond = highest_around(beyond, 1) & ~beyond
        if (ring & thick).sum() < CLOSED * ring.sum() or (beyond & thick).sum() > 0.5 * beyond.sum():
            continue
        ink = ~highest_around(~within, 2) & small  # the frame itself is none
        if ink.sum() < max(LEAST_INK * within.sum(), LEAST_OF_ALL * small.sum()):
            continue
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        high, broad = np.ptp(outline, axis=0)[::-1]
        if np.ptp(rows) >= LEAST_INSIDE * high or np.ptp(columns) >= LEAST_INSIDE * broad:
            notes.append(f"looked inside the frame, {100 * share:.0f} % of the picture")
            large = inside(outline * step, even.shape)
            return np.where(large, even, 0)
    return even
