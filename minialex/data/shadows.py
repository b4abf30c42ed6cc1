"""The edge of a hard shadow: a straight line across the picture, beyond which everything gets a part of the light.

A grey picture is a float32 array (H, W), 0 for black and 1 for white.
"""

import numpy as np

from minialex.data.ink import resized

LOOK = 160  # pixels of the longer side of the copy in which edges are looked for
APART = 3  # pixels of that copy, to either side of the edge
TURNS = np.arange(0, 180, 2.0)  # degrees
FARTHER = (2, 4)  # times as far from the edge the step is the same, by and large
SEGMENTS, EACH = 10, 6  # of a line, and points in each of them
ALIKE = (0.6, 1.5)  # times the whole line's step is the step of a segment,
NEARLY_ALL = 9  # of so many of them: a stroke may cross
LEFT = (0.4, 0.87)  # of the light, in the shadow
SAME_COLOUR = (
    0.12  # the most by which two colours' logarithms of that may differ: a shadow takes of all alike
)
LEAST_SIDE = 0.04  # of the picture lies on either side; less is its frame
SHORTEST = 0.5  # of the picture's shorter side is how long the line is


def without_hard_shadow(grey: np.ndarray, white: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Both pictures with what is in the shadow made as bright as the rest; None where there is no such edge.

    `white` (H, W) is the darkest of red, green and blue. Where a shadow ends, each thing, paper or table, loses the
    same part of its light, all along a straight line and in each colour; what a line of ink, or the edge of a thing,
    does not do.
    """
    if (line := _edge_in(grey, white)) is None:
        return None
    return tuple(_lit(picture, *line) for picture in (grey, white))


def _edge_in(grey: np.ndarray, white: np.ndarray) -> tuple[float, float] | None:
    """The edge as its normal's angle in degrees and its distance from the middle, in pixels; None without one.

    The normal points to the light.
    """
    factor = min(1.0, LOOK / max(grey.shape))
    small = [_logarithm(resized(picture, factor)) for picture in (grey, white)]
    clear, angle, place = max(_clearest(small, angle, APART) for angle in TURNS)
    if not clear:
        return None
    scale = len(grey) / len(small[0])
    place *= scale
    for reach in (2 * APART * scale, APART * scale):
        angle, place = _exactly(_logarithm(grey), angle, place, reach)
    lit = (_distance(grey.shape, angle) > place).mean()
    return (angle, place) if LEAST_SIDE <= lit <= 1 - LEAST_SIDE else None


def _exactly(logs: np.ndarray, angle: float, place: float, reach: float) -> tuple[float, float]:
    """The line again, to a pixel: through the places in its segments where it grows light most suddenly.

    After Theil (1950) and Sen (1968): the slope is the median of those between any two of them, for ink may cross.
    """
    height, width = logs.shape
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    most = np.hypot(height, width) / 2
    along = np.arange(-most, most)
    x, y = place * cos - along * sin + width / 2, place * sin + along * cos + height / 2
    inside = (abs(x - width / 2) < width / 2 - reach - 2) & (abs(y - height / 2) < height / 2 - reach - 2)
    if inside.sum() < 4 * SEGMENTS:
        return angle, place
    across = np.arange(-reach, reach + 1)
    rows = np.rint(y[inside][None] + across[:, None] * sin).astype(int)
    columns = np.rint(x[inside][None] + across[:, None] * cos).astype(int)
    profiles = np.array_split(logs[rows, columns], 2 * SEGMENTS, axis=1)
    middles = np.array([part.mean() for part in np.array_split(along[inside], 2 * SEGMENTS)])
    sudden = np.array([np.median(part[4:] - part[:-4], axis=1).argmax() for part in profiles])
    offsets = across[2:-2][sudden]
    one, other = np.triu_indices(len(offsets), 1)
    slope = np.median((offsets[other] - offsets[one]) / (middles[other] - middles[one]))
    shift = np.median(offsets - slope * middles)
    # x cos + y sin = place + shift + slope * along, and along is y cos - x sin
    length = np.hypot(1, slope)
    return angle - np.rad2deg(np.arctan(slope)), (place + shift) / length


def _logarithm(picture: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(picture, 0.02))


def _clearest(logs: list[np.ndarray], angle: float, apart: float) -> tuple[float, float, float]:
    """The clearest shadow's edge of that direction, in logarithms of two colours: (how clear, angle, place).

    0 for none. A line at `place` is where x cos(angle) + y sin(angle) = place, from the picture's middle.
    """
    height, width = logs[0].shape
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    reach = (abs(cos) * width + abs(sin) * height) / 2
    places = np.arange(-reach, reach)
    first, last = np.full(len(places), -np.inf), np.full(len(places), np.inf)
    for base, way, side in ((places * cos, -sin, width), (places * sin, cos, height)):
        half = side / 2 - 1 - apart
        if abs(way) < 1e-9:  # along this side: in the picture all along, or nowhere
            outside = np.abs(base) > half
            first, last = np.where(outside, 1, first), np.where(outside, -1, last)
            continue
        one, other = (-half - base) / way, (half - base) / way
        first, last = np.maximum(first, np.minimum(one, other)), np.minimum(last, np.maximum(one, other))
    long = last - first >= SHORTEST * min(height, width)
    if not long.any():
        return 0.0, angle, 0.0
    places = places[long]
    along = np.linspace(first[long], last[long], SEGMENTS * EACH, axis=1)
    x, y = places[:, None] * cos - along * sin + width / 2, places[:, None] * sin + along * cos + height / 2

    def beside(picture, distance):
        columns = np.clip((x + distance * cos).astype(int), 0, width - 1)
        return picture[np.clip((y + distance * sin).astype(int), 0, height - 1), columns]

    steps, other = (
        np.median((beside(one, apart) - beside(one, -apart)).reshape(-1, SEGMENTS, EACH), axis=2)
        for one in logs
    )
    whole = np.median(steps, axis=1)
    steps, step = steps * np.sign(whole)[:, None], np.abs(whole)
    alike = (steps > ALIKE[0] * step[:, None]) & (steps < ALIKE[1] * step[:, None])
    fits = (alike.sum(axis=1) >= NEARLY_ALL) & (np.abs(whole - np.median(other, axis=1)) <= SAME_COLOUR)
    for far in FARTHER:  # beside a thin line it is as light as beyond
        wide = np.median(beside(logs[0], far * apart) - beside(logs[0], -far * apart), axis=1) * np.sign(
            whole
        )
        fits &= (wide > ALIKE[0] * step) & (wide < ALIKE[1] * step)
    fits &= (np.exp(-step) >= LEFT[0]) & (np.exp(-step) <= LEFT[1])
    spread = np.median(np.abs(steps - step[:, None]), axis=1)
    clear = np.where(fits, step / (0.05 + spread), 0)
    best = int(clear.argmax())
    up = whole[best] > 0
    return float(clear[best]), angle if up else angle + 180, float(places[best] if up else -places[best])


def _distance(shape: tuple[int, int], angle: float) -> np.ndarray:
    """How far each pixel lies along the normal, from the picture's middle: (H, W)."""
    height, width = shape
    y, x = np.indices(shape, dtype=np.float32)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return (x - width / 2) * cos + (y - height / 2) * sin


def _lit(picture: np.ndarray, angle: float, place: float) -> np.ndarray:
    """The picture with the shadow's side as bright as the other, and its soft edge with it.

    How dark the edge is, pixel by pixel across it, is measured all along it against a place in the light.
    """
    away = _distance(picture.shape, angle) - place
    width = max(2, round(APART * max(picture.shape) / LOOK))
    bins = np.rint(np.clip(away, -width, width)).astype(int) + width
    logs = _logarithm(picture)
    y, x = np.indices(picture.shape)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    in_the_light = np.maximum(width - away, 0)  # so far along the normal

    def moved(distance):
        rows = np.clip(np.rint(y + distance * sin).astype(int), 0, len(picture) - 1)
        return logs[rows, np.clip(np.rint(x + distance * cos).astype(int), 0, picture.shape[1] - 1)]

    darker = moved(in_the_light) - logs
    profile = np.array([np.median(darker[bins == k]) if (bins == k).any() else 0 for k in range(2 * width)])
    profile = np.append(profile, 0.0)  # what lies in the light stays as it is
    deep = np.median(darker[(away < 1 - width) & (away > -width - 1)])
    profile[0] = deep
    return np.clip(picture * np.exp(profile[bins]), 0, 1).astype(np.float32)
