"""Drawn pictures: a small set of JPEG files in class folders, drawn on this machine, for when there is no ImageNet.

Ten classes: five shapes, each in warm and in cool colours (`circle-warm` ... `star-cool`). A network has to see
form and colour, in one place or another, large or small, turned, shaded, on a ground with a pattern and colours
of its own. The files go through the same reading, cutting and cropping as photographs: they differ in size, and
are not square.

Picture i of a split is a function of (seed, split, i) alone.
"""

import glob
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from minialex.data.augment import square
from minialex.data.walk import Finder, Passed
from minialex.errors import DataError
from minialex.layers.settings import whole
from minialex.shapes import positive
from minialex.weights.files import remove_unfinished, unfinished_name
from minialex.weights.reading import MOST_TEXT, read_at_most
from minialex.weights.records import parse
from minialex.words import counted, did_you_mean, is_one_of

SHAPES = ("circle", "cross", "square", "star", "triangle")
HUES = {
    "cool": (0.42, 0.72),
    "warm": (-0.08, 0.16),
}  # green-blue to violet, and red to yellow, of a circle of 1
CLASSES = sorted(f"{shape}-{colour}" for shape in SHAPES for colour in HUES)
SPLITS = ("train", "val")

FINE = 3  # shapes are drawn so many times larger, so that their edges come out smooth
SIDES = (1.0, 1.35)  # a picture's sides, as parts of the wanted size
RADII = (0.25, 0.42)  # of a shape, as parts of the picture's shorter side
RECORD = "drawn.json"  # what was asked for, in the set's folder; there when the set is


def draw_pictures(
    folder: str | os.PathLike, train: int = 2000, val: int = 400, size: int = 96, seed: int = 0
) -> Path:
    """Draw folder/train/<class>/*.jpg and folder/val/<class>/*.jpg, for find_pictures; returns the folder.

    Each split has its classes in turn, so all ten about equally often. size: of the shorter side at least, in
    pixels; no side is longer than 1.35 times that. A set that is there already is left as it is. The folder
    appears when all is drawn: a run that is stopped leaves none.

    Raises DataError when the folder holds something else, ValueError for fewer than ten pictures in a split.

    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = draw_pictures(Path(place) / "drawn", train=20, val=10, size=32)
    ...     len(list(folder.rglob("*.jpg"))), len(list((folder / "val").iterdir()))
    (30, 10)
    """
    folder, size, seed = Path(folder).expanduser(), positive(size, "size"), whole(seed, "seed")
    counts = {split: whole(count, split) for split, count in zip(SPLITS, (train, val), strict=True)}
    for split, count in counts.items():
        if count < len(CLASSES):
            raise ValueError(f"{split} needs one picture of each of the {len(CLASSES)} classes, not {count}")
    wanted = {**counts, "size": size, "seed": seed, "version": 1}
    if folder.exists() and any(folder.iterdir()):
        _check_is_there(folder, wanted)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder.parent, f"{glob.escape(folder.name)}.*")
        # The scratch folder lies beside the wanted one, on the same disk, where renaming either happens or doesn't.
        with _scratch(folder) as drawn:
            for split, count in counts.items():
                _draw_split(drawn / split, count, size, (seed, SPLITS.index(split)))
            (drawn / RECORD).write_text(json.dumps(wanted, indent=2))
            _put_in_place(drawn, folder, wanted)
    except OSError as error:
        raise OSError(
            error.errno, f"the drawn pictures could not be written to {folder}: {error.strerror or error}"
        ) from error
    return folder


@contextmanager
def _scratch(folder: Path):
    """A new folder beside this one, gone when the block ends."""
    before, name, after = unfinished_name(folder).name.partition(folder.name)
    scratch = tempfile.mkdtemp(prefix=f"{before}{name}.", suffix=after, dir=folder.parent)
    try:
        yield Path(scratch, folder.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(drawn: Path, folder: Path, wanted: dict) -> None:
    """Give the set its name, unless another run, which began at the same time, was faster."""
    try:
        with suppress(FileNotFoundError):
            folder.rmdir()  # it is empty, but not every system renames onto an empty folder
        drawn.rename(folder)
    except OSError:
        if not folder.is_dir() or not any(folder.iterdir()):
            raise
        _check_is_there(folder, wanted)


def draw_picture(label: int, size: int, rng: np.random.Generator):
    """One picture of the class CLASSES[label], a Pillow image in RGB.

    >>> image = draw_picture(CLASSES.index("star-warm"), size=64, rng=np.random.default_rng(0))
    >>> image.mode, min(image.size) >= 64
    ('RGB', True)
    """
    from PIL import Image

    shape, colour = CLASSES[label].split("-")
    width, height = (round(size * part) for part in rng.uniform(*SIDES, 2))
    mask = _shape(shape, width, height, rng)  # (H, W), 1 inside
    ground = _ground(width, height, rng)
    figure = _figure(HUES[colour], ground, rng)
    picture = (
        ground + mask[:, :, None] * (figure - ground) + rng.normal(0, rng.uniform(0, 0.04), ground.shape)
    )
    return Image.fromarray(np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8))


def draw_arrays(
    count: int, size: int = 72, classes: Sequence[str] = CLASSES, split: str = "train", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures as arrays, without files: uint8 (count, 3, size, size), and labels (count,), the classes in turn.

    classes: some of CLASSES; label 0 is the first of them. split: "train" or "val", which share no picture. Of each
    drawn picture it is the middle square, scaled to size x size. The first pictures do not depend on `count`.
    Raises ValueError for another class or split, and for no picture at all.

    >>> pictures, labels = draw_arrays(6, size=32, classes=["circle-cool", "star-warm"])
    >>> pictures.shape, pictures.dtype.name, labels
    ((6, 3, 32, 32), 'uint8', array([0, 1, 0, 1, 0, 1]))
    """
    unknown = [name for name in classes if not is_one_of(name, CLASSES)]
    if not len(classes) or unknown:
        hint = did_you_mean(unknown[0], CLASSES) if unknown else ""
        raise ValueError(
            f"classes are some of {', '.join(CLASSES)}, not {', '.join(map(str, classes)) or 'none'}{hint}"
        )
    if not is_one_of(split, SPLITS):
        raise ValueError(f"a split is {' or '.join(SPLITS)}, not {split!r}{did_you_mean(split, SPLITS)}")
    if count < 1:
        raise ValueError(f"draw_arrays draws one picture at least, not {count}")
    labels = np.arange(count) % len(classes)
    squares = []
    for i, label in enumerate(labels):
        rng = np.random.default_rng((seed, SPLITS.index(split), i))
        squares.append(square(draw_picture(CLASSES.index(classes[label]), size, rng), size))
    return np.stack(squares), labels


def _check_is_there(folder: Path, wanted: dict) -> None:
    """Is what the folder holds the whole set that is wanted?"""
    record = folder / RECORD
    if not record.is_file():
        raise DataError(f"{folder} holds something else than drawn pictures: name a new folder")
    try:
        found = parse(read_at_most(record, MOST_TEXT))
    except ValueError as error:
        raise DataError(f"{record} is damaged ({error}): name a new folder") from error
    if found != wanted:
        raise DataError(
            f"{folder} holds other drawn pictures, {str(found)[:200]}, not {wanted}: name a new folder"
        )
    whole = {
        folder / split / CLASSES[i % len(CLASSES)] / f"{i:05}.jpg"
        for split in SPLITS
        for i in range(wanted[split])
    }
    there = set(Finder({}, Passed()).pictures(folder))  # as they will be found: without what is hidden
    if there != whole:
        strange = f", and {counted(len(there - whole), 'other')}" if there - whole else ""
        raise DataError(
            f"{folder} holds {len(there & whole)} of its {len(whole)} drawn pictures{strange}: delete it, to have it "
            "drawn anew"
        )


def _draw_split(folder: Path, count: int, size: int, key: tuple[int, int]) -> None:
    from tqdm import tqdm

    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i in tqdm(range(count), desc=f"drawing {folder.name}", unit="picture", leave=False, disable=None):
        label = i % len(CLASSES)
        picture = draw_picture(label, size, np.random.default_rng((*key, i)))
        picture.save(folder / CLASSES[label] / f"{i:05}.jpg", quality=90)


# -- Form --------------------------------------------------------------------------------------------------


def _shape(name: str, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A shape of random size, place and turn: how much of each pixel it covers, (H, W).

    It lies in the picture's middle square, all but whole: that is the part that a network gets to see.
    """
    from PIL import Image, ImageDraw

    shorter = min(width, height)
    radius = shorter * rng.uniform(*RADII)
    reach = shorter / 2 - 0.85 * radius
    centre = np.array([width / 2, height / 2]) + rng.uniform(-reach, reach, 2)
    stretch = np.diag(rng.uniform(0.88, 1.0, 2))
    corners = centre + radius * _corners(name) @ stretch @ _rotation(rng.uniform(0, 2 * math.pi))
    sheet = Image.new("L", (FINE * width, FINE * height))
    ImageDraw.Draw(sheet).polygon([(x, y) for x, y in FINE * corners], fill=255)
    return np.asarray(sheet.resize((width, height), Image.Resampling.BOX)) / 255


def _corners(name: str) -> np.ndarray:
    """A shape as a polygon within the circle of radius 1: (corners, 2)."""
    if name == "cross":
        a, b = 0.3, 0.95
        quarter = np.array([[b, a], [a, a], [a, b]])
        return np.concatenate([quarter @ _rotation(turn * math.pi / 2) for turn in range(4)])
    if name == "star":
        return _on_circle(10) * np.tile([1.0, 0.42], 5)[:, None]
    return _on_circle({"triangle": 3, "square": 4, "circle": 60}[name])


def _on_circle(count: int) -> np.ndarray:
    angles = np.arange(count) * 2 * math.pi / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


# -- Colour ------------------------------------------------------------------------------------------------


def _figure(hues: tuple[float, float], ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The shape's colours (H, W, 3): a hue from the range, brighter or darker than the ground, and shaded."""
    height, width = ground.shape[:2]
    level = ground.mean()
    value = rng.uniform(0.75, 1.0) if level < 0.5 else rng.uniform(0.45, 0.75)
    colour = _rgb(rng.uniform(*hues), rng.uniform(0.55, 0.95), value)
    light = 1 + rng.uniform(0.1, 0.5) * _slope(width, height, rng)
    return colour * (light * (1 + 0.1 * _pattern(width, height, rng)))[:, :, None]


def _ground(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A ground (H, W, 3) with a pattern between two dull colours of any hue, and a slope of light."""
    one, other = (_rgb(rng.uniform(0, 1), rng.uniform(0, 0.35), rng.uniform(0.15, 0.9)) for _ in range(2))
    mix = np.clip(0.5 + rng.uniform(0.2, 0.5) * _pattern(width, height, rng), 0, 1)[:, :, None]
    light = 1 + rng.uniform(0, 0.4) * _slope(width, height, rng)
    return np.clip((one + mix * (other - one)) * light[:, :, None], 0, 1)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    import colorsys

    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _slope(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A plane through the picture, from -1 at one side to 1 at the other, in a random direction: (H, W)."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    return (math.cos(angle) * x + math.sin(angle) * y) / math.sqrt(2)


def _pattern(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Stripes or cloud, about -1 to 1: (H, W)."""
    from PIL import Image

    if rng.integers(3) == 0:
        waves = rng.uniform(2, 8)
        return np.sin(waves * math.pi * _slope(width, height, rng) + rng.uniform(0, 2 * math.pi))
    grain = int(rng.integers(3, 16))
    noise = Image.fromarray(rng.standard_normal((grain, grain), dtype=np.float32))
    return np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
