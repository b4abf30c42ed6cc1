"""From a photograph or drawing of a digit to a picture as MNIST has them: 28x28, light ink on a dark ground.

A network trained on MNIST knows only MNIST's way of showing a digit (LeCun et al. 1998, section III.A): scaled
into 20x20 pixels with smooth edges, and laid into 28x28 with its centre of mass in the middle. A photograph is
brought there step by step, and each step can be looked at afterwards.

On the way a picture is a float32 array (H, W): 0 is black and 1 white, later 0 is paper and 1 ink.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minialex.data.decode import open_picture, turn_of
from minialex.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE, BOX = 28, 20  # pixels of the result, and of the box into which the digit is scaled

WORKING_SIDE = 800  # larger pictures are shrunk to this: enough for a digit in a corner of a photograph
BROADEST_STROKE = 1 / 3  # of the picture's longer side; what is broader is paper, shadow or table
SMALLEST_DIGIT = 6  # pixels: its longer side
FAINTEST_INK = 0.08  # ink must stand out from the paper by this much: 20 of 255 levels
SMALLEST_PIECE = 0.05  # of the largest piece of ink; smaller pieces are specks
EDGE = 0.1  # of height and width, on each side: ink that lies only there is no digit, but the table's edge
THINNEST_STROKE = 1.2  # pixels of the result. A thinner one would be all but lost in 20x20 pixels,
USUAL_STROKE = 2.2  # so it is made this thick, which is usual in MNIST.


@dataclass(frozen=True, eq=False)
class PreparedDigit:
    """A digit as MNIST would show it, and how it came about."""

    image: np.ndarray  # uint8 (28, 28), light on dark
    steps: list[tuple[str, np.ndarray]]  # name and uint8 (H, W), from the picture as read to the result
    notes: list[str]  # what was done, in words


def digit_from_picture(picture: "str | os.PathLike | Image | np.ndarray") -> PreparedDigit:
    """A picture of one digit, prepared for a network that was trained on MNIST.

    `picture` is the path of a file that Pillow can read, a Pillow image, or an array that Pillow accepts as one,
    such as uint8 (H, W) or (H, W, 3). Colour, transparency, 16 bits, a camera's rotation and uneven light are
    dealt with. Ink may be dark on light or light on dark: the picture's border shows which one is the paper, so
    let the paper fill the picture.

    Raises FileNotFoundError for a missing file, DataError for an unreadable picture or one without ink.

    >>> paper = np.full((90, 60), 250, dtype=np.uint8)
    >>> paper[15:75, 27:33] = 40                            # a "1", 60 pixels tall and 6 wide
    >>> digit = digit_from_picture(paper)
    >>> digit.image.shape, int((digit.image > 0).sum())     # 20 tall and 2 wide
    ((28, 28), 40)
    >>> digit.notes[:2]
    ['turned dark-on-light to light-on-dark', 'cropped to the ink, 6x60 of 60x90 pixels']
    """
    name = str(picture) if isinstance(picture, (str, os.PathLike)) else "the picture"
    notes: list[str] = []
    grey, shrunk = _read(picture, name, notes)
    even = _without_paper(grey, notes)
    ink = _ink(even, name, notes)
    cropped = _cropped(ink, shrunk, name, notes)
    image = centred(scaled(thick_enough(cropped, notes)))
    notes.append(f"scaled into {BOX}x{BOX} pixels and centred by its centre of mass")

    stages = {"as read": grey, "paper removed": even, "ink alone": ink, "cropped": cropped, "as MNIST": image}
    steps = [(stage, as_uint8(array)) for stage, array in stages.items()]
    return PreparedDigit(as_uint8(image), steps, notes)


def as_text(image: np.ndarray, cells: str = " ▄▀█") -> str:
    """A picture (H, W) or (1, H, W) of 0-255 as lines of text; a character shows a pixel above another.

    `cells` are the characters for: neither of the two is light, the lower, the upper, both. A terminal without
    block characters can have " .':".

    >>> print(as_text(np.array([[255, 0, 255], [255, 255, 0]], dtype=np.uint8)))
    █▄▀
    """
    light = np.reshape(image, np.shape(image)[-2:]) >= 128
    light = np.pad(light, ((0, len(light) % 2), (0, 0)))  # an odd height gets one more dark row
    codes = 2 * light[0::2] + light[1::2]
    return "\n".join("".join(cells[code] for code in row).rstrip() for row in codes)


# -- Reading -----------------------------------------------------------------------------------------------


def _read(picture, name: str, notes: list[str]) -> tuple[np.ndarray, float]:
    """The picture in grey, no side longer than WORKING_SIDE, and how many times smaller than it was."""
    is_path = isinstance(picture, (str, os.PathLike))
    if is_path and not Path(picture).exists():
        raise FileNotFoundError(f"There is no file {name}. Give the path of a picture (PNG, JPEG, ...).")
    if is_path and Path(picture).is_dir():
        raise DataError(f"{name} is a folder. Give the path of a picture in it.")
    if is_path and not Path(picture).is_file():
        raise DataError(f"{name} is no file, but a FIFO, socket or device. Give the path of a picture.")
    try:
        grey = _open(picture, notes) if is_path else _grey(picture, notes)
        if grey.size == 0:
            raise ValueError("it has no pixels")
    except Exception as error:  # a damaged file can make Pillow raise nearly anything, SyntaxError included
        raise DataError(
            f"{name} cannot be read as a picture ({error}). Save it anew as PNG or JPEG and try again."
        ) from error
    shrunk = max(1.0, max(grey.shape) / WORKING_SIDE)
    return resized(grey, 1 / shrunk), shrunk


def _open(path, notes: list[str]) -> np.ndarray:
    from PIL import Image

    Image.init()
    formats = [name for name in Image.OPEN if name != "EPS"]  # for which Pillow would start another program
    with open_picture(path, formats) as picture:
        return _grey(picture, notes)


def _grey(picture, notes: list[str]) -> np.ndarray:
    """A Pillow image of any mode, or an array, as an array (H, W) from 0 for black to 1 for white."""
    from PIL import Image

    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.asarray(picture))
    if turn := turn_of(picture):
        picture = picture.transpose(Image.Transpose[turn])
        notes.append("turned upright, as the camera noted")
    if picture.has_transparency_data:
        return _composited(picture.convert("RGBA"), notes)
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits, or floats
        return _unit_range(np.asarray(picture, dtype=np.float32))
    return np.asarray(picture.convert("RGB").convert("L"), dtype=np.float32) / 255


def _composited(picture, notes: list[str]) -> np.ndarray:
    """A picture with transparency laid on white; or on black, if nothing can be seen of it on white."""
    from PIL import Image

    for ground in ("white", "black"):
        paper = Image.new("RGBA", picture.size, ground)
        grey = np.asarray(Image.alpha_composite(paper, picture).convert("L"), dtype=np.float32) / 255
        if np.ptp(grey) >= FAINTEST_INK:
            break
    notes.append(f"laid the transparent picture on {ground}")
    return grey


def _unit_range(numbers: np.ndarray) -> np.ndarray:
    """Numbers of unknown range to 0 ... 1: white is the first of 1, 255 and 65535 that none exceeds."""
    numbers = np.nan_to_num(numbers)
    white = next((top for top in (1, 255, 65535) if numbers.max() <= top), numbers.max())
    return np.clip(numbers / white, 0, 1)


# -- Telling ink from paper --------------------------------------------------------------------------------


def _without_paper(grey: np.ndarray, notes: list[str]) -> np.ndarray:
    """How much each pixel differs from the paper around it: about 0 for paper, more for ink, dark or light.

    The border of the picture shows paper; in light that falls from one side its brightness makes a slope. Ink
    is what differs most from that slope, downwards or upwards.
    """
    slope = _slope_of_the_border(grey)
    darkest, lightest = np.quantile(grey - slope, [0.0002, 0.9998])  # a few odd pixels aside
    sign = -1 if -darkest > lightest else 1
    if sign == -1:
        notes.append("turned dark-on-light to light-on-dark")
    raised = sign * (grey - slope)
    shade = _shade(raised)
    varies = round(255 * np.ptp(np.clip(slope + sign * shade, 0, 1)))
    if varies > 10:
        notes.append(f"evened out the paper, whose brightness varied by {varies} of 255 levels")
    even = raised - shade
    return np.clip(even - np.median(even), -1, 1)


def _slope_of_the_border(grey: np.ndarray) -> np.ndarray:
    """The plane a + b y + c x that fits the picture's border best, everywhere: (H, W)."""
    y, x = np.indices(grey.shape, dtype=np.float32)
    terms = np.stack([np.ones_like(y), y, x], axis=-1)  # (H, W, 3)
    border = np.ones(grey.shape, dtype=bool)
    depth = max(1, min(grey.shape) // 25)
    border[depth:-depth, depth:-depth] = False
    plane, *_ = np.linalg.lstsq(terms[border], grey[border], rcond=None)
    return terms @ plane


def _shade(raised: np.ndarray) -> np.ndarray:
    """What is broader than any stroke: shadows, the edge of the table.

    Taking the lowest value in a window around each pixel makes every stroke vanish that is narrower than the
    window; taking the highest value of those brings back the rest (an "opening"). Shades are smooth, so a small
    copy will do.
    """
    small = resized(raised, min(1.0, 96 / max(raised.shape)))
    reach = round(max(small.shape) * BROADEST_STROKE / 2)
    opened = _highest_around(-_highest_around(-small, reach), reach)
    smooth = resized(opened, min(1.0, 24 / max(opened.shape)))
    return resized(smooth, shape=raised.shape)


def _ink(even: np.ndarray, name: str, notes: list[str]) -> np.ndarray:
    """The strokes, 0 for paper to 1 for ink with soft edges between, without noise and specks."""
    noise = -np.quantile(np.minimum(even, 0), 0.16)  # what lies below 0 is noise: one in six beyond one sigma
    stands_out = even[even > 5 * noise]
    threshold = _otsu(np.concatenate([stands_out, np.zeros_like(stands_out)]))  # as much paper as ink
    ink = even[even > threshold]
    contrast = ink.mean() if ink.size else 0.0
    if contrast < FAINTEST_INK:
        raise DataError(
            f"{name} shows no digit: nothing in it stands out from the paper by more than {round(255 * contrast)} "
            "of 255 levels. Use a darker pen or better light, and let the digit fill more of the picture."
        )
    strokes = _without_specks(even > threshold, notes)
    faintest = min(3 * noise, threshold / 2)
    soft = np.clip((even - faintest) / (np.median(ink) - faintest), 0, 1)
    return soft * _highest_around(strokes)  # grown by one pixel, since a stroke has a soft edge


def _otsu(values: np.ndarray) -> float:
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


def _without_specks(mask: np.ndarray, notes: list[str]) -> np.ndarray:
    """The mask without its small pieces, and without those that keep to the edge of the picture."""
    piece = _pieces(mask)
    inner = np.zeros_like(mask)
    top, left = (round(EDGE * side) for side in mask.shape)
    inner[top : len(mask) - top, left : mask.shape[1] - left] = True
    counted = mask & inner if (mask & inner).any() else mask
    areas = np.bincount(piece[counted], minlength=piece.max() + 1)
    kept = mask & (areas >= SMALLEST_PIECE * areas.max())[piece]
    dropped = np.unique(piece[mask & ~kept]).size
    if dropped:
        notes.append(f"left out {dropped} speck{'s' * (dropped > 1)}")
    return kept


def _pieces(mask: np.ndarray) -> np.ndarray:
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
        np.maximum.at(told, numbers[mask], _highest_around(numbers)[mask])
        told = told[told]
        if np.array_equal(told, chief):
            return np.where(mask, 1 + np.searchsorted(np.unique(numbers[mask]), numbers), 0)
        chief = told


def _highest_around(array: np.ndarray, reach: int = 1) -> np.ndarray:
    """The highest value within `reach` pixels of each pixel, in rows, columns and diagonals."""
    for _ in range(reach):
        padded = np.pad(array, 1, mode="edge")
        tall = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        array = np.maximum(np.maximum(tall[:, :-2], tall[:, 1:-1]), tall[:, 2:])
    return array


# -- Into MNIST's shape ------------------------------------------------------------------------------------


def _cropped(ink: np.ndarray, shrunk: float, name: str, notes: list[str]) -> np.ndarray:
    """The rectangle that holds the ink, but for the faintest fringe. `shrunk` is for the notes."""
    rows = np.flatnonzero(ink.max(axis=1) > 0.1)
    columns = np.flatnonzero(ink.max(axis=0) > 0.1)
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width, all_height, all_width = (round(shrunk * side) for side in (*cropped.shape, *ink.shape))
    if max(cropped.shape) < SMALLEST_DIGIT:
        raise DataError(
            f"{name} shows only a dot of ink, {width}x{height} pixels. A digit must be at least {SMALLEST_DIGIT} "
            "pixels tall: let it fill more of the picture."
        )
    notes.append(f"cropped to the ink, {width}x{height} of {all_width}x{all_height} pixels")
    if width > 1.5 * height:
        notes.append("the ink is much wider than tall: if there are several digits, show them one by one")
    return cropped


def thick_enough(ink: np.ndarray, notes: list[str]) -> np.ndarray:
    """The digit with its strokes grown if they would vanish at 20x20 pixels: a pen is thin on a large sheet."""
    ink = resized(ink, min(1.0, 4 * BOX / max(ink.shape)))  # no finer than needs be
    scale = max(ink.shape) / BOX
    stroke = _stroke_width(ink) / scale
    if stroke >= THINNEST_STROKE:
        return ink
    notes.append(f"thickened the strokes from {stroke:.1f} to {USUAL_STROKE} of {BOX} pixels")
    times = max(1, round((USUAL_STROKE - stroke) * scale / 2))  # each time adds a pixel on either side
    return _highest_around(np.pad(ink, times), times)


def _stroke_width(ink: np.ndarray) -> float:
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
