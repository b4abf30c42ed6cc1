"""Snapshots: pictures as people take them of a digit on paper, made here, so that the right answer is known.

Paper on a table, squared and ruled paper, a digit in a box or a form's cell, a shadow across the page, ink that touches
its edge. Pens are thin or thick, ink is black, blue, red or pencil; there is perspective, uneven light, grain, and
JPEG's loss. Each is a function of the ink, the kind and the generator alone.
"""

import io

import numpy as np

from minialex.data.ink import resized
from minialex.data.paper import projection, warped
from minialex.errors import DataError

KINDS = ("table", "squared", "ruled", "framed", "shadow", "edge")
INKS = {"black": (35, 32, 40), "blue": (40, 55, 150), "red": (170, 35, 45), "pencil": (105, 104, 108)}
LINES = {"blue": (90, 140, 215), "grey": (130, 130, 135), "red": (220, 130, 130), "dark": (60, 60, 70)}
TABLES = ("wood", "dark", "light", "patterned")


def snapshot(ink: np.ndarray, kind: str, rng: np.random.Generator, side: int = 1000) -> np.ndarray:
    """A photograph of `ink` (H, W), 0 for paper to 1 for ink, its margins cut off: uint8 (height, width, 3).

    kind: one of KINDS. side: of the photograph's longer side, in pixels. Raises DataError for another kind.

    >>> snapshot(np.ones((20, 4)), "table", np.random.default_rng(0), side=400).shape
    (400, 300, 3)
    """
    if kind not in KINDS:
        raise DataError(f"there are no snapshots of kind {kind!r}; there are {', '.join(KINDS)}")
    height, width = side, 3 * side // 4
    colour = np.array(rng.uniform(225, 250) + rng.uniform(-4, 4, 3), dtype=np.float32)
    page = np.broadcast_to(colour, (height, width, 3)).copy()
    if kind in ("squared", "ruled"):
        _rule(page, kind, rng)
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.2), np.flatnonzero(ink.max(axis=0) > 0.2)
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask = _placed(ink, (height, width), kind, rng)
    if kind == "framed":
        _frame(page, mask, rng)
    name = list(INKS)[rng.integers(len(INKS))]
    strength = mask * rng.uniform(0.85, 1)
    if name == "pencil":
        strength = strength * np.clip(rng.normal(0.9, 0.15, mask.shape), 0, 1)
    page += strength[..., None] * (np.float32(INKS[name]) - page)
    scene = _on_a_table(page, rng) if kind == "table" else _from_above(page, kind, rng)
    return _photographed(scene * _light((height, width), kind, rng)[..., None], rng)


def _placed(ink, shape, kind, rng):
    """The ink somewhere on the page: float32 (H, W)."""
    height, width = shape
    tall = rng.uniform(0.3, 0.6) if kind != "edge" else rng.uniform(0.5, 0.9)
    factor = min(tall * height / len(ink), 0.7 * width / ink.shape[1])
    large = np.clip(resized(np.float32(ink), factor), 0, 1)
    y, x = (int(rng.uniform(0.15, 0.85) * (a - b)) for a, b in zip(shape, large.shape, strict=True))
    if kind == "edge":  # it ends where the page ends
        y, x = [(0, x), (height - len(large), x), (y, 0), (y, width - large.shape[1])][rng.integers(4)]
    mask = np.zeros(shape, dtype=np.float32)
    mask[y : y + large.shape[0], x : x + large.shape[1]] = large
    return mask


def _rule(page, kind, rng):
    """Lines over the whole page, squares or rows, faint to strong."""
    pitch, wide = int(page.shape[0] * rng.uniform(0.03, 0.07)), max(1, round(page.shape[0] / 600))
    wide = int(rng.integers(wide, 2 * wide + 1))
    colour = np.float32(list(LINES.values())[rng.integers(len(LINES))])
    strength = rng.uniform(0.25, 0.8)
    for axis in (0, 1) if kind == "squared" else (0,):
        for place in range(int(rng.integers(pitch)), page.shape[axis], pitch):
            line = page[place : place + wide] if axis == 0 else page[:, place : place + wide]
            line += strength * (colour - line)


def _frame(page, mask, rng):
    """A box around the digit, by hand or printed, or a row of a form's cells."""
    from PIL import Image, ImageDraw

    rows, columns = np.flatnonzero(mask.max(axis=1) > 0.2), np.flatnonzero(mask.max(axis=0) > 0.2)
    gap = rng.uniform(0.03, 0.12, 4) * len(page)
    top, bottom, left, right = rows[0] - gap[0], rows[-1] + gap[1], columns[0] - gap[2], columns[-1] + gap[3]
    sheet = Image.new("L", page.shape[1::-1])
    pen = max(2, int(len(page) * rng.uniform(0.002, 0.008)))
    draw, way = ImageDraw.Draw(sheet), rng.integers(3)
    wobble = 0.008 * len(page) if way == 0 else 0
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners = corners + rng.normal(0, 1, corners.shape) * wobble
    draw.line(
        [tuple(p) for p in [*corners.tolist(), corners[0].tolist()]], fill=255, width=pen, joint="curve"
    )
    if way == 2:  # the cells beside it
        wide = right - left
        for step in (-2, -1, 1, 2):
            draw.rectangle([left + step * wide, top, right + step * wide, bottom], outline=255, width=pen)
    frame = np.asarray(sheet, dtype=np.float32)[..., None] / 255
    page += frame * (np.float32(list(LINES.values())[rng.integers(len(LINES))]) * 0.7 - page)


def _on_a_table(page, rng):
    """The page, turned and seen from a corner, on a table."""
    from PIL import Image

    height, width = page.shape[:2]
    table = _table((height, width), TABLES[rng.integers(len(TABLES))], rng)
    size, turn = rng.uniform(0.6, 0.82), rng.normal(0, 0.12)
    corners = (
        np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * [width / 2, height / 2] * size
    )  # x, y, as QUAD has
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = corners @ rotation.T + [width / 2, height / 2] + rng.uniform(-0.03, 0.03, (4, 2)) * height
    from_page = projection(corners, np.array([[0, 0], [0, height], [width, height], [width, 0]]))
    moved = [warped(page[..., k], from_page) for k in range(3)]
    cover = warped(np.ones((height, width), np.float32), from_page)[..., None]
    soft = np.asarray(
        Image.fromarray(cover[..., 0]).resize((width // 8, height // 8)).resize((width, height))
    )
    table = table * (1 - 0.35 * np.roll(soft, height // 80, (0, 1))[..., None])  # the paper's own shadow
    return table * (1 - cover) + np.stack(moved, axis=-1)


def _from_above(page, kind, rng):
    """The page fills the photograph, a little turned."""
    height, width = page.shape[:2]
    if kind == "edge":
        return page
    turn, size = rng.normal(0, 0.02), 0.95
    rotation = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array([[0, 0], [0, height], [width, height], [width, 0]])
    seen = (corners - [width / 2, height / 2]) @ rotation.T + [width / 2, height / 2]
    seen = seen + rng.uniform(-0.008, 0.008, (4, 2)) * height
    numbers = projection(corners, seen)
    return np.stack([warped(page[..., k], numbers) for k in range(3)], axis=-1)


def _table(shape, kind, rng):
    """What a table looks like from above: float32 (H, W, 3)."""
    height, width = shape
    y, x = np.mgrid[0 : 1 : 1j * height, 0 : 1 : 1j * width].astype(np.float32)
    cloud = resized(rng.standard_normal((6, 5)).astype(np.float32), shape=shape)[..., None]
    if kind == "wood":
        light = np.float32([[205, 160, 105], [150, 100, 60], [95, 60, 40]][rng.integers(3)])
        bent = x * rng.uniform(15, 40) + 1.5 * cloud[..., 0] + rng.uniform(0, 3) * y
        grain = (
            np.sin(6.28 * bent) * 0.5
            + resized(rng.standard_normal((8, width // 4)).astype(np.float32), shape=shape) * 0.5
        )
        return light * (1 + 0.12 * grain[..., None])
    if kind == "patterned":
        one, other = rng.uniform(60, 210, (2, 3)).astype(np.float32)
        many, way = rng.uniform(6, 16), rng.integers(3)
        waves = [
            np.sin(6.28 * many * x),
            np.sin(6.28 * many * x) * np.sin(6.28 * many * y),
            np.sin(6.28 * many * (x + y)),
        ]
        return np.where(waves[way][..., None] > 0, one, other)
    level = rng.uniform(25, 70) if kind == "dark" else rng.uniform(150, 185)
    return np.float32(level + rng.uniform(-12, 12, 3)) + 4 * cloud


def _light(shape, kind, rng):
    """How much light falls where: float32 (H, W)."""
    height, width = shape
    y, x = np.mgrid[-0.5 : 0.5 : 1j * height, -0.5 : 0.5 : 1j * width].astype(np.float32)
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.3)
    light = 0.92 - fall * (np.cos(angle) * x + np.sin(angle) * y) - 0.1 * (x**2 + y**2)
    if kind == "shadow":  # of a hand or a telephone: darker beyond a line, or within a round
        angle, place = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.2)
        beyond = np.cos(angle) * x + np.sin(angle) * y - place
        if rng.integers(2):
            beyond = rng.uniform(0.2, 0.4) - np.hypot(x - place, y + place)
        light = light * (
            1 - rng.uniform(0.3, 0.55) / (1 + np.exp(-np.clip(beyond / rng.uniform(0.008, 0.05), -50, 50)))
        )
    return np.clip(light, 0.2, 1.05)


def _photographed(scene, rng):
    """Blur, grain and JPEG's loss."""
    from PIL import Image, ImageFilter

    noisy = np.clip(scene + rng.normal(0, rng.uniform(1, 5), scene.shape[:2])[..., None], 0, 255)
    image = Image.fromarray(noisy.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(60, 93)))
    return np.asarray(Image.open(file).convert("RGB"))
