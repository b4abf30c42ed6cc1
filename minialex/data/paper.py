"""Paper: where it lies on the table, and how bright it is from place to place.

A grey picture is a float32 array (H, W), 0 for black and 1 for white. What comes out is about 0 for paper and larger
for ink, dark or light.
"""

import numpy as np

from minialex.data.ink import highest_around, otsu, pieces, resized, threshold_of
from minialex.data.shadows import without_hard_shadow

LOOK = 400  # pixels of the longer side of the copy in which paper is looked for
SMALLEST_PICTURE = 64  # pixels: a smaller one shows a digit, no table
LEAST_PAPER, MOST_PAPER = 0.06, 0.93  # of the picture
QUADRILATERAL = 0.88  # of the paper's outline must be covered by its four corners
INKED = (0.002, 0.35)  # of the paper
MARGIN = 0.025  # of the paper, on each side: its edge and its shadow are no ink
SHORTEST_STRIP = 12  # pixels
SHADOW_LIT = "made what lies in a shadow with a straight edge as bright as the rest"
MIXED = 0.03  # of a side; less of it is no matter
NARROW = 2.0  # times as tall as wide
BROAD = (
    0.25  # of the shorter side of what stands out: few strokes are, and none is much fainter than the rest
)
FAINTER = 0.75  # than the darkest ink: then what is broad is a shadow
LARGER = 1.1  # times the lit part is the paper that a shadow crosses
AS_BROAD_AS_PAPER = 0.25  # of the picture's longer side
BROADEST_STROKE = 1 / 3  # of the picture's longer side; what is broader is paper, shadow or table


# -- Paper on a table --------------------------------------------------------------------------------------


def laid_flat(grey: np.ndarray, white: np.ndarray, notes: list[str]) -> tuple[np.ndarray, bool]:
    """The paper alone, seen from above, where the picture shows a sheet on a table, and whether it does.

    Paper is bright in all colours: `white` (H, W) is the darkest of red, green and blue, in which wood is dark. Where a
    hard shadow lies across the paper, its corners are looked for without that, too: what is lit may be a part of it.
    Without a sheet the picture stays whole, but for such a shadow.
    """
    if min(grey.shape) < SMALLEST_PICTURE:
        return grey, False
    corners = corners_of_paper(white)
    lit = without_hard_shadow(grey, white)
    whole = corners_of_paper(lit[1]) if lit else None
    all_lit = whole is not None and (corners is None or area(whole) > LARGER * area(corners))
    if all_lit:
        (grey, white), corners = lit, whole
        notes.append(SHADOW_LIT)
    if corners is None:
        if lit:
            notes.append(SHADOW_LIT)
        return (lit[0] if lit else grey), False
    sides = np.hypot(*(corners - np.roll(corners, -1, axis=0)).T)  # left, lower, right, upper
    height, width = (max(8, round(float(one))) for one in (sides[0::2].mean(), sides[1::2].mean()))
    top, left = (max(1, round(MARGIN * side)) for side in (height, width))
    inset = np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) * [width, height]
    flat, flat_white = (
        warped(picture, projection(inset, corners), (height, width))[top:-top, left:-left]
        for picture in (grey, white)
    )
    notes.append(
        f"found the paper on the table, {height / len(grey):.0%} of the picture's height, and laid it flat"
    )
    return (flat if all_lit else _without_shadow(flat, flat_white, notes)), True


def _without_shadow(page: np.ndarray, white: np.ndarray, notes: list[str]) -> np.ndarray:
    lit = without_hard_shadow(page, white)
    if lit is None:
        return page
    notes.append(SHADOW_LIT)
    return lit[0]


def corners_of_paper(white: np.ndarray) -> np.ndarray | None:
    """The corners (4, 2) as x, y of the one bright sheet: upper left, lower left, lower right, upper right.

    None where there is no bright piece of four corners, with a little ink, that ends before the picture does on three
    sides at least: a shadow's edge reaches from one side of the picture to another.
    """
    if min(white.shape) < SMALLEST_PICTURE:
        return None
    small = resized(white, min(1.0, LOOK / max(white.shape)))
    bright = _lowest_then_highest(small > otsu(small), 1)
    piece = pieces(bright)
    sheet = piece == np.bincount(piece[bright], minlength=2)[1:].argmax() + 1
    ends = [sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]]
    if not bright.any() or sum(end.mean() > 0.02 for end in ends) > 1:
        return None
    outline = hull(sheet)
    four = four_corners(outline)
    paper = inside(outline, sheet.shape)
    covered = area(four) / max(area(outline), 1e-9)
    ink = paper & (small < np.median(small[sheet]) - 0.15)
    for _ in range(4):  # without the paper's edge
        paper = ~highest_around(~paper)
    inked = (ink & paper).sum() / max(1, paper.sum())
    if covered < QUADRILATERAL or not INKED[0] <= inked <= INKED[1]:
        return None
    if not LEAST_PAPER <= area(outline) / sheet.size <= MOST_PAPER:
        return None
    first = four.sum(axis=1).argmin()  # the upper left one
    scale = np.array(white.shape[::-1]) / np.array(small.shape[::-1])
    return np.roll(four, -first, axis=0) * scale


def doubt_about_paper(ink: np.ndarray) -> str:
    """What to do where the ink (H, W) of a picture without a table is so broad that it may be paper; else nothing."""
    if min(ink.shape) < SMALLEST_PICTURE:
        return ""
    small = resized(ink, min(1.0, 96 / max(ink.shape))) > 0.5
    if not _lowest_then_highest(small, round(AS_BROAD_AS_PAPER * max(small.shape) / 2)).any():
        return ""
    return "no paper was found, and the ink is as broad as paper: cut the picture to the paper"


# -- Outlines ----------------------------------------------------------------------------------------------


def hull(mask: np.ndarray) -> np.ndarray:
    """The corners (P, 2) as x, y of a rubber band around the mask, counterclockwise on paper, y pointing down.

    After Andrew (1979): from left to right, a corner goes when the next point makes the band turn the wrong way.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    left, right = (
        mask[rows].argmax(axis=1),
        mask.shape[1] - mask[rows, ::-1].argmax(axis=1),
    )  # pixels' outer edges
    x, y = np.concatenate([left, right] * 2), np.tile(rows, 4) + np.repeat([0, 1], 2 * len(rows))
    points = set(zip(x.tolist(), y.tolist(), strict=True))
    band: list[tuple[int, int]] = []
    for way in (sorted(points), sorted(points, reverse=True)):
        half: list[tuple[int, int]] = []
        for x, y in way:
            while len(half) > 1:
                (a, b), (c, d) = half[-2:]
                if (c - a) * (y - b) - (d - b) * (x - a) < 0:
                    break
                half.pop()
            half.append((x, y))
        band += half[:-1]
    return np.array(band, dtype=float)


def four_corners(outline: np.ndarray) -> np.ndarray:
    """The four corners of an outline (P, 2) that matter most: time and again the one that adds least area goes."""
    points = [*outline]
    while len(points) > 4:
        around = zip(points[-1:] + points[:-1], points, points[1:] + points[:1], strict=True)
        points.pop(int(np.argmin([area(np.array(three)) for three in around])))
    return np.array(points)


def area(outline: np.ndarray) -> float:
    """Of a polygon (P, 2), by the shoelace formula: half the sum of x y' - x' y.

    >>> area(np.array([[0, 0], [0, 2], [3, 2], [3, 0]]))
    6.0
    """
    x, y = outline.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def inside(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Which pixels lie in a polygon (P, 2) of x, y: bool (H, W)."""
    from PIL import Image, ImageDraw

    sheet = Image.new("1", shape[::-1])
    ImageDraw.Draw(sheet).polygon([tuple(point) for point in (outline - 0.5).tolist()], fill=1, outline=1)
    return np.array(sheet)


def projection(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The eight numbers a ... h of the perspective by which four points `before` (4, 2) come to lie at `after`:

        x' = (a x + b y + c) / (g x + h y + 1),  y' = (d x + e y + f) / (g x + h y + 1)

    >>> square = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    >>> projection(square, 2 * square)[:3].round(6).tolist()
    [2.0, 0.0, 0.0]
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(before, after, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, dtype=float), np.array(values, dtype=float))


def warped(picture: np.ndarray, numbers: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Each pixel of the result read where `projection`'s numbers send it: float32 (H, W)."""
    from PIL import Image

    height, width = shape or picture.shape
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    way = Image.Transform.PERSPECTIVE
    return np.asarray(image.transform((width, height), way, numbers.tolist(), Image.Resampling.BILINEAR))


# -- The paper's brightness --------------------------------------------------------------------------------


def is_all_ink(grey: np.ndarray) -> bool:
    """Is this a 1 that is cropped to its ink: dark all over, and three times as tall as wide?"""
    height, width = grey.shape
    return (
        height >= max(3 * width, SHORTEST_STRIP) and width > 1 and np.ptp(grey) < 0.25 and grey.mean() < 0.5
    )


def evened(grey: np.ndarray, notes: list[str]) -> np.ndarray:
    """How much each pixel differs from the paper around it: about 0 for paper, more for ink, dark or light.

    The border of the picture shows paper; in light that falls from one side its brightness makes a slope. Ink
    is what differs most from that slope, downwards or upwards.
    """
    crop = _paper_of_crop(grey)
    border = _border(grey.shape)
    slope = _slope_of(grey, border if crop is None or not (border & crop).any() else border & crop)
    darkest, lightest = np.quantile(grey - slope, [0.0002, 0.9998])  # a few odd pixels aside
    sign = -1 if -darkest > lightest else 1
    if sign == -1:
        notes.append("turned dark-on-light to light-on-dark")
    raised = sign * (grey - slope)
    shade = (
        _shade(raised, BROADEST_STROKE) if crop is None else np.zeros_like(raised)
    )  # a crop has no room for any
    if crop is None and _shadow_in(raised - shade):
        shade = _shade(raised, BROADEST_STROKE / 3, finer=2)
        notes.append("took what is broad and lighter than the ink for a shadow")
    varies = round(255 * np.ptp(np.clip(slope + sign * shade, 0, 1)))
    if varies > 10:
        notes.append(f"evened out the paper, whose brightness varied by {varies} of 255 levels")
    even = raised - shade
    if sign == -1:  # ink takes its share of the light: in a shadow the difference is smaller
        light = np.maximum(slope - shade, 0.2)
        even = even * (light.max() / light)
    return np.clip(even - np.median(even if crop is None else even[crop]), -1, 1)


def _slope_of(grey: np.ndarray, border: np.ndarray) -> np.ndarray:
    """The plane a + b y + c x that fits the picture's border best, everywhere: (H, W)."""
    y, x = np.indices(grey.shape, dtype=np.float32)
    terms = np.stack([np.ones_like(y), y, x], axis=-1)  # (H, W, 3)
    plane, *_ = np.linalg.lstsq(terms[border], grey[border], rcond=None)
    return terms @ plane


def _paper_of_crop(grey: np.ndarray) -> np.ndarray | None:
    """Which pixels are paper, of a digit that is cropped to its ink; None of other pictures.

    Then ink reaches all four sides, and so does paper. (A shadow's edge, or the table's, leaves one side at least to
    one of the two.) Ink is in one piece, or in two; it cuts paper into more. Where there are as many, paper is what the
    greater part of the border shows.
    """
    border = _border(grey.shape)
    light = grey > otsu(grey[border])
    share, (height, width) = light[border].mean(), grey.shape
    narrow = height >= NARROW * width
    reaches = (
        MIXED < share < 1 - MIXED if narrow else _reaches_all_sides(light) and _reaches_all_sides(~light)
    )
    if not reaches or grey[light].mean() - grey[~light].mean() < 0.25:
        return None
    light_ones, dark_ones = _count_pieces(light), _count_pieces(~light)
    return light == (share > 0.5 if light_ones == dark_ones else light_ones > dark_ones)


def _count_pieces(mask: np.ndarray) -> int:
    """How many connected pieces there are, specks aside."""
    return int((np.bincount(pieces(mask)[mask]) > 0.005 * mask.size).sum())


def _reaches_all_sides(mask: np.ndarray) -> bool:
    """Does what is thicker than a line of the paper come near to each side of the picture?"""
    thick = _lowest_then_highest(mask, round(0.015 * max(mask.shape)))
    near = max(1, round(0.06 * min(mask.shape)))
    sides = (thick[:near], thick[-near:], thick[:, :near], thick[:, -near:])
    return all(side.mean() > MIXED for side in sides)


def _border(shape: tuple[int, int]) -> np.ndarray:
    border = np.ones(shape, dtype=bool)
    depth = max(1, min(shape) // 25)
    border[depth:-depth, depth:-depth] = False
    return border


def _shade(raised: np.ndarray, broadest: float, finer: int = 1) -> np.ndarray:
    """What is broader than any stroke: shadows, the edge of the table.

    Taking the lowest value in a window around each pixel makes every stroke vanish that is narrower than the
    window, `broadest` of the longer side; taking the highest value of those brings back the rest (an "opening"). Shades
    are smooth, so a small copy will do; those with an edge need a finer one.
    """
    small = resized(raised, min(1.0, 96 / max(raised.shape)))
    reach = round(max(small.shape) * broadest / 2)
    opened = _lowest_then_highest(small, reach)
    smooth = resized(opened, min(1.0, 24 * finer**2 / max(opened.shape)))
    return resized(smooth, shape=raised.shape)


def _shadow_in(even: np.ndarray) -> bool:
    """Is part of what stands out far broader than a stroke of its size could be, and much fainter than the rest?"""
    small = resized(even, min(1.0, 96 / max(even.shape)))
    stands_out = small > max(threshold_of(small)[1], 0.04)
    rows, columns = np.flatnonzero(stands_out.any(axis=1)), np.flatnonzero(stands_out.any(axis=0))
    if not rows.size:
        return False
    reach = round(min(np.ptp(rows), np.ptp(columns)) * BROAD / 2)
    broad = _lowest_then_highest(stands_out, max(2, reach)) & stands_out
    if not broad.any():
        return False
    return np.median(small[broad]) < FAINTER * np.quantile(small[stands_out], 0.97)


def _lowest_then_highest(array, reach):
    """An opening: for a mask, what is left of it where squares of 2 reach + 1 pixels find room."""
    if array.dtype == bool:
        return highest_around(~highest_around(~array, reach), reach)
    return highest_around(-highest_around(-array, reach), reach)
