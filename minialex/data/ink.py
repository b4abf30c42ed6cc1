"""Ink: which pixels are strokes, in which pieces, and how they are brought into 28x28 as MNIST has them.

A network trained on MNIST knows only MNIST's way of showing a digit (LeCun et al. 1998, section III.A): scaled into
20x20 pixels with smooth edges, and laid into 28x28 with its centre of mass in the middle. Here 0 is paper and 1 ink.
"""

import itertools

import numpy as np

from minialex.errors import DataError
from minialex.words import counted

SIZE, BOX = 28, 20  # pixels of the result, and of the box into which the digit is scaled

SMALLEST_DIGIT = 6  # pixels: its longer side
FAINTEST_INK = 0.08  # ink must stand out from the paper by this much: 20 of 255 levels
SMALLEST_PIECE = 0.05  # of the largest piece of ink; smaller pieces are specks
EDGE = 0.1  # of height and width, on each side: ink that lies only there is no digit, but the table's edge
HALF_AS_TALL = (
    0.4  # of the ink's height: of 4,000 of MNIST's test digits 5 have two such pieces above each other
)
BROADEST = 0.35  # of the ink's longer side: the mean stroke of MNIST's broadest test digit is 0.3
WIDEST = 1.5  # times as wide as tall: a digit is not
TALL, MOST_PIECES = 0.6, 20  # of two digits' height each piece has so much; looked at, so many
THINNEST_STROKE = 1.2  # pixels of the result. A thinner one would be all but lost in 20x20 pixels,
USUAL_STROKE = 2.2  # so it is made this thick, which is usual in MNIST.


def threshold_of(even: np.ndarray) -> tuple[float, float]:
    """How strong the noise is in a picture whose paper is about 0, and from what value on there is ink."""
    noise = -np.quantile(np.minimum(even, 0), 0.16)  # what lies below 0 is noise: one in six beyond one sigma
    stands_out = even[even > 5 * noise]
    return float(noise), otsu(np.concatenate([stands_out, np.zeros_like(stands_out)]))  # as much paper as ink


def strokes_of(even: np.ndarray, name: str, notes: list[str]) -> np.ndarray:
    """The strokes, 0 for paper to 1 for ink with soft edges between, without noise and specks."""
    noise, threshold = threshold_of(even)
    ink = even[even > threshold]
    contrast = ink.mean() if ink.size else 0.0
    if round(255 * contrast) == 0:
        raise DataError(
            f"{name} shows no digit: it is empty, all of it is as bright as the paper. Use a darker pen or better "
            "light, or another picture."
        )
    if contrast < FAINTEST_INK:
        raise DataError(
            f"{name} shows no digit: nothing in it stands out from the paper by more than {round(255 * contrast)} "
            "of 255 levels. Use a darker pen or better light, and let the digit fill more of the picture."
        )
    strokes = without_specks(even > threshold, notes)
    faintest = min(3 * noise, threshold / 2)
    soft = np.clip((even - faintest) / (np.median(ink) - faintest), 0, 1)
    return soft * highest_around(strokes)  # grown by one pixel, since a stroke has a soft edge


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold (1979): cut the histogram in two such that the two means lie far apart.

    Precisely, such that (how many below) (how many above) (difference of the means)^2 is largest. A digit is so
    small a part of a photograph that noise would outweigh it: show this only as much paper as ink.
    """
    counts, edges = np.histogram(values, bins=256, range=(0, 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1]  # for each cut between two bins
    above = values.size - below
    sum_below = (counts * centres).cumsum()[:-1]
    sum_above = (counts * centres).sum() - sum_below
    between = below * above * (sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)) ** 2
    best = edges[1:-1][between == between.max()]  # several, where the histogram has a gap
    return float(best.mean())


def without_specks(mask: np.ndarray, notes: list[str]) -> np.ndarray:
    """The mask without its small pieces, and without those that keep to the edge of the picture."""
    piece = pieces(mask)
    inner = np.zeros_like(mask)
    top, left = (round(EDGE * side) for side in mask.shape)
    inner[top : len(mask) - top, left : mask.shape[1] - left] = True
    looked_at = mask & inner if (mask & inner).any() else mask
    areas = np.bincount(piece[looked_at], minlength=piece.max() + 1)
    kept = mask & (areas >= SMALLEST_PIECE * areas.max())[piece]
    dropped = np.unique(piece[mask & ~kept]).size
    if dropped:
        notes.append(f"left out {counted(dropped, 'speck')}")
    return kept


def pieces(mask: np.ndarray) -> np.ndarray:
    """The connected pieces of a mask, numbered 1, 2, 3, ...; 0 elsewhere. Corners connect, too.

    Every pixel of the mask has a number, at first its own position. In each round it looks for the highest
    number around it and tells the pixel at the position that is its present number, its chief. Then everybody
    takes the number of their chief. When nothing changes any more, all pixels of a piece have the same chief.
    """
    chief = np.where(mask.ravel(), np.arange(1, mask.size + 1), 0)
    chief = np.concatenate([[0], chief])  # position 0 is for all pixels outside the mask
    while True:
        numbers = chief[1:].reshape(mask.shape)
        told = chief.copy()
        np.maximum.at(told, numbers[mask], highest_around(numbers)[mask])
        told = told[told]
        if np.array_equal(told, chief):
            return np.where(mask, 1 + np.searchsorted(np.unique(numbers[mask]), numbers), 0)
        chief = told


def highest_around(array: np.ndarray, reach: int = 1) -> np.ndarray:
    """The highest value within `reach` pixels of each pixel, in rows, columns and diagonals."""
    for _ in range(reach):
        padded = np.pad(array, 1, mode="edge")
        tall = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        array = np.maximum(np.maximum(tall[:, :-2], tall[:, 1:-1]), tall[:, 2:])
    return array


# -- Into MNIST's shape ------------------------------------------------------------------------------------


def cropped(
    ink: np.ndarray, shrunk: float, name: str, notes: list[str], whole: tuple[int, int]
) -> np.ndarray:
    """The rectangle that holds the ink, but for the faintest fringe. `shrunk` and `whole` are for the notes."""
    rows = np.flatnonzero(ink.max(axis=1) > 0.1)
    columns = np.flatnonzero(ink.max(axis=0) > 0.1)
    found = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width, all_height, all_width = (round(shrunk * side) for side in (*found.shape, *whole))
    if max(found.shape) < SMALLEST_DIGIT:
        raise DataError(
            f"{name} shows only a dot of ink, {width}x{height} pixels. A digit must be at least {SMALLEST_DIGIT} "
            "pixels tall: let it fill more of the picture."
        )
    notes.append(f"cropped to the ink, {width}x{height} of {all_width}x{all_height} pixels")
    if width > WIDEST * height:
        notes.append("the ink is much wider than tall: if there are several digits, show them one by one")
    return found


def doubt_about(ink: np.ndarray) -> str:
    """Why cropped ink (H, W) may be no digit, as far as its pieces say so; nothing otherwise.

    Two digits stand beside each other, both nearly as tall as the whole. (A 5's bar or a 4's stroke is not.) Or one
    above the other, both nearly half as tall. And what is filled is none.
    """
    piece = pieces(ink > 0.5)
    spans, heights = [], []
    for number in range(1, min(piece.max(), MOST_PIECES) + 1):
        rows, columns = (np.flatnonzero((piece == number).any(axis=axis)) for axis in (1, 0))
        if np.ptp(rows) + 1 >= TALL * len(ink):
            spans.append((columns[0], columns[-1]))
        if np.ptp(rows) + 1 >= HALF_AS_TALL * len(ink):
            heights.append((rows[0], rows[-1]))
    spans.sort()
    heights.sort()
    apart = [b[0] > a[1] for a, b in itertools.pairwise(spans)]
    if any(apart):
        return f"{len(spans)} pieces of ink stand side by side: {'two' if len(spans) == 2 else 'several'} digits?"
    if any(b[0] > a[1] for a, b in itertools.pairwise(heights)):
        return f"{len(heights)} pieces of ink stand one above the other: two digits?"
    if stroke_width(ink) > BROADEST * max(ink.shape):
        return "the ink is one broad blot"
    if ink.shape[1] > WIDEST * len(ink):
        return "the ink is much wider than tall: several digits?"
    return ""


def thick_enough(ink: np.ndarray, notes: list[str]) -> np.ndarray:
    """The digit with its strokes grown if they would vanish at 20x20 pixels: a pen is thin on a large sheet."""
    ink = resized(ink, min(1.0, 4 * BOX / max(ink.shape)))  # no finer than needs be
    scale = max(ink.shape) / BOX
    stroke = stroke_width(ink) / scale
    if stroke >= THINNEST_STROKE:
        return ink
    notes.append(f"thickened the strokes from {stroke:.1f} to {USUAL_STROKE} of {BOX} pixels")
    times = max(1, round((USUAL_STROKE - stroke) * scale / 2))  # each time adds a pixel on either side
    return highest_around(np.pad(ink, times), times)


def stroke_width(ink: np.ndarray) -> float:
    """The mean width of the strokes: a stroke of length L and width w has the area L w and the outline 2 L.

    The outline is counted along the grid, where it is longer by 4/pi than in truth, averaged over directions.
    """
    mask = np.pad(ink > ink.max() / 2, 1).astype(int)
    outline = np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum()
    return 2 * ink.sum() / (outline * np.pi / 4)


def scaled(ink: np.ndarray) -> np.ndarray:
    """The digit with its longer side BOX pixels, its brightest pixel 1."""
    small = resized(ink, BOX / max(ink.shape))
    return small / small.max()


def centred(ink: np.ndarray) -> np.ndarray:
    """The digit laid into (28, 28), its centre of mass in the middle, as far as it does not stick out."""
    corner = []
    for axis, side in enumerate(ink.shape):
        centre = ink.sum(axis=1 - axis) @ np.arange(side) / ink.sum()
        corner.append(min(max(round(SIZE / 2 - centre), 0), SIZE - side))
    image = np.zeros((SIZE, SIZE), dtype=np.float32)
    image[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return image


def resized(picture: np.ndarray, factor: float = 1.0, shape: tuple[int, int] | None = None) -> np.ndarray:
    """The picture scaled by `factor`, each side at least one pixel, or to `shape`; smooth in either direction."""
    from PIL import Image

    height, width = shape or (max(1, round(side * factor)) for side in picture.shape)
    if (height, width) == picture.shape:
        return picture
    image = Image.fromarray(picture.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def as_uint8(picture: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
