"""Drawn digits: pictures in the manner of MNIST, drawn on this machine, for when MNIST cannot be had.

Each digit starts as a character of one of the fonts that matplotlib brings along, thickened by a pen of random
width. Then every pixel of the drawing asks "where in the character do I come from?". The answer is a random
linear map (size, slant, turn) plus a random smooth displacement, the elastic distortion of Simard, Steinkraus
and Platt, "Best practices for convolutional neural networks applied to visual document analysis" (ICDAR 2003).
The character is read there, between its pixels.

Drawings are twice as large as the finished pictures; at the end each block of 2x2 pixels is averaged into one,
and the centre of mass is moved to the middle, give or take a pixel.

Digit i is a function of (seed, i) alone: asking for more digits does not change the first ones. Other versions of
Pillow draw some pixels a little differently, and other versions of matplotlib may have fewer of the fonts.
"""

import functools
import importlib.util
import math
from pathlib import Path

import numpy as np

from minialex.layers.settings import whole

Pictures = tuple[np.ndarray, np.ndarray]  # images (N, 1, 28, 28) and labels (N,)

# Fonts whose digits differ in shape, from plain to curly. Slant and weight are our own affair. Before 3.11 matplotlib
# comes without cmti10: digits are drawn in the other seven there, and are others.
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSerif-Italic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralItalic.ttf",
    "cmr10.ttf",
    "cmss10.ttf",
    "cmti10.ttf",
    "cmtt10.ttf",
)
BARE_ONES = ("DejaVuSans.ttf", "cmss10.ttf")  # their 1 is drawn as many people write it: a bare stroke

SIZE = 28  # pixels of a finished picture, as MNIST's
BOX = 20  # MNIST scales each digit into a box of 20x20 and lays that into the 28x28
FINE = 2  # a drawing has this many pixels to each pixel of the picture
CANVAS = SIZE * FINE
SHARP = 4  # characters are rendered this much larger again, so that their edges come out smooth

# How far digits vary. A normal distribution each, with these standard deviations.
SLANT = 0.25  # pixels sideways for each pixel up
TURN = 0.12  # radians: 7 degrees
SCALE = 0.08  # of the logarithm of height and width
ELASTIC_SHIFT = 2.2  # pixels of the drawing
ELASTIC_WIDTH = 8.0  # pixels of the drawing: displacements are alike within about this distance
JITTER = 1  # pixels of the picture, evenly from -1 to 1, off the centre of mass

PENS = (1, 2, 4, 6)  # radii by which a stroke grows, in pixels of the rendered character: 8 to a final pixel
WIDTHS = (0.8, 1.25)  # people write wider than these fonts print

BATCH = 256  # how many are distorted at once: enough for NumPy, few enough for the processor's cache

# What a random stream is for. This is part of its key, so that no two purposes share random numbers.
DRAWN, TRAIN, TEST = range(3)
LABELS, SHAPES = range(2)


def draw_digits(count: int, seed: int = 0) -> Pictures:
    """`count` drawn digits: images uint8 (count, 1, 28, 28), light on dark, and labels uint8 (count,).

    Every ten digits in a row, counted from the first, hold each label once, in random order. The first digits
    do not depend on `count`. Raises ValueError for a negative `count`, FileNotFoundError without any font.

    >>> images, labels = draw_digits(20, seed=3)
    >>> images.shape, sorted(labels[:10].tolist())
    ((20, 1, 28, 28), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    return _draw(count, seed, DRAWN)


def load_drawn_digits(train: int = 10_000, test: int = 2_000, seed: int = 0) -> tuple[Pictures, Pictures]:
    """Drawn digits in MNIST's place: `(train_x, train_y), (test_x, test_y)`, as `load_mnist` returns them.

    The two sets come from separate random streams. For a network they are easier than MNIST, and no substitute for it
    in a result: say "drawn digits" beside the number. The whole takes a few seconds.

    >>> (train_x, train_y), (test_x, test_y) = load_drawn_digits(train=30, test=10)
    >>> train_x.shape, test_y.shape
    ((30, 1, 28, 28), (10,))
    """
    return _draw(train, seed, TRAIN), _draw(test, seed, TEST)


def _draw(count: int, seed: int, stream: int) -> Pictures:
    count, seed = whole(count, "the number of digits"), whole(seed, "seed")
    labels = _labels(count, seed, stream)
    images = np.empty((count, 1, SIZE, SIZE), dtype=np.uint8)
    for start in range(0, count, BATCH):
        batch = slice(start, min(start + BATCH, count))
        generators = [_generator(seed, stream, SHAPES, i) for i in range(batch.start, batch.stop)]
        images[batch, 0] = _draw_batch(labels[batch], generators)
    return images, labels


def _generator(seed: int, *key: int) -> np.random.Generator:
    """A generator for one purpose; another key is another stream."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _labels(count: int, seed: int, stream: int) -> np.ndarray:
    """Shuffled tens, each with every digit once."""
    tens = [_generator(seed, stream, LABELS, ten).permutation(10) for ten in range(math.ceil(count / 10))]
    return np.array(tens, dtype=np.uint8).ravel()[:count]


# -- Drawing a batch ---------------------------------------------------------------------------------------
# Coordinates are (y, x), in pixels of the drawing, counted from the middle of the canvas.


def _draw_batch(labels: np.ndarray, generators: list[np.random.Generator]) -> np.ndarray:
    """A picture for each label, made with the generator at its place: uint8 (N, 28, 28)."""
    # One digit after the other draws its random numbers; the arithmetic is then done for all at once.
    characters, maps, noise, jitter = [], [], [], []
    points = _smoothing().shape[1]
    for label, rng in zip(labels.tolist(), generators, strict=True):
        characters.append(_character(_pick(rng, _fonts()), label, _pick(rng, PENS)))
        maps.append(_random_map(rng))
        noise.append(rng.standard_normal((2, points, points), dtype=np.float32))
        jitter.append(rng.integers(-JITTER, JITTER + 1, 2))

    sources = _linear_sources(np.array(maps)) + _elastic_shifts(np.array(noise))  # (N, 2, 56, 56)
    drawings = _read_between_pixels(np.array(characters), sources)  # (N, 56, 56)
    blocks = drawings.reshape(-1, SIZE, FINE, SIZE, FINE)
    pictures = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)  # (N, 28, 28)
    return _centred(pictures, np.array(jitter))


def _pick(rng: np.random.Generator, choices):
    return choices[rng.integers(len(choices))]


def _random_map(rng: np.random.Generator) -> np.ndarray:
    """A random linear map from the drawing back to the character, (2, 2)."""
    height, width = np.exp(rng.normal(0, SCALE, 2))
    slant = np.clip(rng.normal(0, SLANT), -2 * SLANT, 2 * SLANT)
    turn = rng.normal(0, TURN)
    size = np.diag([height, width * rng.uniform(*WIDTHS)])
    shear = np.array([[1, 0], [-slant, 1]])
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.linalg.inv(rotation @ shear @ size)


def _linear_sources(maps: np.ndarray) -> np.ndarray:
    """Where each pixel comes from under the maps (N, 2, 2): (N, 2, 56, 56)."""
    axis = np.arange(CANVAS, dtype=np.float32) - (CANVAS - 1) / 2
    y, x = axis[:, None], axis[None, :]
    by_y, by_x = (maps.astype(np.float32)[:, :, k, None, None] for k in range(2))
    return by_y * y + by_x * x


def _elastic_shifts(noise: np.ndarray) -> np.ndarray:
    """White noise (N, 2, points, points), smoothed into gentle displacements (N, 2, 56, 56)."""
    smoothing = _smoothing()
    return ELASTIC_SHIFT * (smoothing @ noise @ smoothing.T)


@functools.cache
def _smoothing() -> np.ndarray:
    """Smoothing with a Gaussian along one axis, as a matrix (56, points of noise).

    A Gaussian in two dimensions is one along each axis, so smoothing a field is a product from the left and one
    from the right. Noise is given at every fourth pixel only, since what is finer would be smoothed away, and
    it begins outside the canvas, lest the edges be smoother than the middle. The squares of each row's weights
    add up to 1: out of noise of variance 1 comes a displacement of variance 1.
    """
    pixels = np.arange(CANVAS)[:, None]
    points = np.arange(-2 * ELASTIC_WIDTH, CANVAS + 2 * ELASTIC_WIDTH, 4)[None, :]
    weights = np.exp(-(((pixels - points) / ELASTIC_WIDTH) ** 2) / 2)
    return (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)


def _read_between_pixels(pictures: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Each picture (N, 56, 56) read at its sources (N, 2, 56, 56), bilinearly: (N, 56, 56).

    Beyond its edge a picture goes on as it is at the edge; characters have an empty margin.
    """
    positions = np.clip(sources + (CANVAS - 1) / 2, 0, CANVAS - 1)
    corner = np.minimum(positions.astype(np.int32), CANVAS - 2)  # the upper left of the four pixels around
    down, right = np.moveaxis(positions - corner, 1, 0)  # how far from there, 0 to 1: (N, 56, 56) each
    first = np.arange(len(pictures), dtype=np.int32)[:, None, None] * CANVAS**2
    corner = first + corner[:, 0] * CANVAS + corner[:, 1]  # now an index into all pixels of all pictures
    pixels = pictures.ravel()
    upper = pixels[corner] * (1 - right) + pixels[corner + 1] * right
    lower = pixels[corner + CANVAS] * (1 - right) + pixels[corner + CANVAS + 1] * right
    return upper * (1 - down) + lower * down


def _centred(pictures: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """Pictures (N, 28, 28) moved by whole pixels: centre of mass to the middle, as in MNIST, plus jitter (N, 2)."""
    places = np.arange(SIZE)
    mass = pictures.sum(axis=(1, 2), dtype=np.float64)
    centre_y = pictures.sum(axis=2, dtype=np.float64) @ places / mass
    centre_x = pictures.sum(axis=1, dtype=np.float64) @ places / mass
    move = np.rint(SIZE / 2 - np.stack([centre_y, centre_x], axis=1)).astype(int) + jitter
    move = np.clip(move, -SIZE // 2, SIZE // 2)
    padded = np.pad(pictures, ((0, 0), (SIZE // 2, SIZE // 2), (SIZE // 2, SIZE // 2)))
    rows, columns = (places + SIZE // 2 - move[:, axis, None] for axis in range(2))  # (N, 28) each
    return padded[np.arange(len(pictures))[:, None, None], rows[:, :, None], columns[:, None, :]]


# -- Characters --------------------------------------------------------------------------------------------


def _places(name: str) -> list[Path]:
    """Where a font of matplotlib's may be. matplotlib is located, not imported: that would take a second."""
    matplotlib = importlib.util.find_spec("matplotlib")
    places = matplotlib.submodule_search_locations if matplotlib else []
    return [Path(place) / "mpl-data" / "fonts" / "ttf" / name for place in places]


def font_path(name: str) -> Path:
    """The file of one of the fonts that come with matplotlib. Raises FileNotFoundError where it is not there.

    >>> font_path("DejaVuSans.ttf").name
    'DejaVuSans.ttf'
    """
    for path in _places(name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"there is no font {name} among those that come with matplotlib")


@functools.cache
def _fonts() -> tuple[Path, ...]:
    """Those of FONTS that are installed."""
    paths = [path for name in FONTS for path in _places(name)]
    fonts = tuple(path for path in paths if path.is_file())
    if not fonts:
        found = f"Looked for {', '.join(map(str, paths))}" if paths else "But matplotlib is not installed"
        raise FileNotFoundError(
            "Digits are drawn with the fonts that come with matplotlib, and none of them is there. "
            f"{found}. Install it anew: python -m pip install --force-reinstall matplotlib"
        )
    return fonts


@functools.cache
def _character(font: Path, digit: int, pen: int) -> np.ndarray:
    """A digit in the middle of a drawing, its longer side 40 pixels: float32 (56, 56), ink 255 on 0."""
    from PIL import Image, ImageDraw, ImageFont

    text = "l" if digit == 1 and font.name in BARE_ONES else str(digit)
    large = ImageFont.truetype(str(font), size=BOX * FINE * SHARP)
    sheet = Image.new("L", (2 * large.size, 2 * large.size))
    middle = (large.size, large.size)
    ImageDraw.Draw(sheet).text(middle, text, 255, large, anchor="mm", stroke_width=pen)
    ink = sheet.crop(sheet.getbbox())
    factor = BOX * FINE / max(ink.size)
    ink = ink.resize([max(1, round(side * factor)) for side in ink.size], Image.Resampling.BOX)
    character = Image.new("L", (CANVAS, CANVAS))
    character.paste(ink, [(CANVAS - side) // 2 for side in ink.size])
    return np.asarray(character, dtype=np.float32)
