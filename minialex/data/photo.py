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
from minialex.data.ink import (
    BOX,
    FAINTEST_INK,
    as_uint8,
    centred,
    cropped,
    doubt_about,
    resized,
    scaled,
    strokes_of,
    thick_enough,
)
from minialex.data.lines import inside_frame, without_lines
from minialex.data.paper import doubt_about_paper, evened, is_all_ink, laid_flat
from minialex.errors import DataError
from minialex.words import a_or_an

if TYPE_CHECKING:
    from PIL.Image import Image

WORKING_SIDE = 800  # larger pictures are shrunk to this: enough for a digit in a corner of a photograph


@dataclass(frozen=True, eq=False)
class PreparedDigit:
    """A digit as MNIST would show it, and how it came about."""

    image: np.ndarray  # uint8 (28, 28), light on dark
    steps: list[tuple[str, np.ndarray]]  # name and uint8 (H, W), from the picture as read to the result
    notes: list[str]  # what was done, in words
    doubt: str = ""  # why this may be no digit, as far as its pieces of ink say so


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
    grey, white, shrunk = _read(picture, name, notes)
    own = grey.shape
    if is_all_ink(grey):
        grey = white = np.pad(grey, 2 * grey.shape[1], constant_values=1.0)
        notes.append("took a dark strip without paper for a stroke that was cropped to its ink")
    page, on_a_table = laid_flat(grey, white, notes)
    even = evened(page, notes)
    plain = without_lines(even, notes)
    framed = inside_frame(plain, notes)
    ink = strokes_of(framed, name, notes)
    strip = grey.shape != own  # then the margins are not the picture's
    crop = cropped(ink, shrunk, name, notes, own if strip else ink.shape)
    doubt = "" if on_a_table or strip else doubt_about_paper(ink)
    if doubt:
        notes.append(doubt)
    image = centred(scaled(thick_enough(crop, notes)))
    notes.append(f"scaled into {BOX}x{BOX} pixels and centred by its centre of mass")

    stages = {
        "as read": grey,
        "paper found" if on_a_table else "shadow taken out": page if page is not grey else None,
        "paper removed": even,
        "lines taken out": plain if plain is not even else None,
        "inside the frame": framed if framed is not plain else None,
        "ink alone": ink,
        "cropped": crop,
        "as MNIST": image,
    }
    steps = [(stage, as_uint8(array)) for stage, array in stages.items() if array is not None]
    return PreparedDigit(as_uint8(image), steps, notes, doubt or doubt_about(crop))


def as_text(image: np.ndarray, cells: str = " ▄▀█") -> str:
    """A picture (H, W) or (1, H, W) of 0-255 as lines of text; a character shows a pixel above another.

    `cells` are the characters for: neither of the two is light, the lower, the upper, both. A terminal without
    block characters can have " .':". Raises ValueError for several pictures, and for floats from 0 to 1.

    >>> print(as_text(np.array([[255, 0, 255], [255, 255, 0]], dtype=np.uint8)))
    █▄▀
    """
    image = np.asarray(image)
    if image.shape[:-2] not in ((), (1,)) or image.ndim < 2:
        raise ValueError(f"as_text shows one picture, (H, W) or (1, H, W), not {image.shape}")
    if image.dtype.kind == "f" and image.size and 0 < image.max() <= 1:
        raise ValueError(
            f"as_text: a picture goes from 0 to 255; this one ends at {image.max():g}: give 255 * image"
        )
    light = image.reshape(image.shape[-2:]) >= 128
    light = np.pad(light, ((0, len(light) % 2), (0, 0)))  # an odd height gets one more dark row
    codes = 2 * light[0::2] + light[1::2]
    return "\n".join("".join(cells[code] for code in row).rstrip() for row in codes)


# -- Reading -----------------------------------------------------------------------------------------------


def _read(picture, name: str, notes: list[str]) -> tuple[np.ndarray, np.ndarray, float]:
    """The picture in grey and its darkest colour, no side longer than WORKING_SIDE; how many times smaller that is."""
    is_path = isinstance(picture, (str, os.PathLike))
    if is_path and not Path(picture).exists():
        raise FileNotFoundError(f"There is no file {name}. Give the path of a picture (PNG, JPEG, ...).")
    if is_path and Path(picture).is_dir():
        raise DataError(f"{name} is a folder. Give the path of a picture in it.")
    if is_path and not Path(picture).is_file():
        raise DataError(f"{name} is no file, but a FIFO, socket or device. Give the path of a picture.")
    if not is_path and not hasattr(picture, "convert"):  # no Pillow image
        picture = _of_pillow(picture)
    try:
        grey, white = _open(picture, notes) if is_path else _grey(picture, notes)
        if grey.size == 0:
            raise ValueError("it has no pixels")
    except Exception as error:  # a damaged file can make Pillow raise nearly anything, SyntaxError included
        raise DataError(
            f"{name} cannot be read as a picture ({error}). Save it anew as PNG or JPEG and try again."
        ) from error
    shrunk = max(1.0, max(grey.shape) / WORKING_SIDE)
    small = resized(grey, 1 / shrunk)
    return small, small if white is None else resized(white, shape=small.shape), shrunk


def _open(path, notes: list[str]):
    from PIL import Image

    Image.init()
    formats = [name for name in Image.OPEN if name != "EPS"]  # for which Pillow would start another program
    with open_picture(path, formats) as picture:
        return _grey(picture, notes)


def _grey(picture, notes: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """A Pillow image of any mode, or an array that it takes, as an array (H, W) from 0 for black to 1 for white.

    With it the darkest of its colours, where it has colours: bright on white paper, and not on wood.
    """
    from PIL import Image, ImageChops

    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    if turn := turn_of(picture):
        picture = picture.transpose(Image.Transpose[turn])
        notes.append("turned upright, as the camera noted")
    if picture.has_transparency_data:
        return _composited(picture.convert("RGBA"), notes), None
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits, or floats
        return _unit_range(np.asarray(picture, dtype=np.float32)), None
    colours = picture.convert("RGB")
    red, green, blue = colours.split()
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return _from_bytes(colours.convert("L")), _from_bytes(darkest)


def _of_pillow(picture) -> np.ndarray:
    """An array as Pillow takes it: (H, W), also as (1, H, W) or (H, W, 1), or bytes with 2 to 4 channels last."""
    array = np.asarray(picture)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    found = f"{array.dtype} {np.shape(picture)}" if array.ndim else a_or_an(type(picture).__name__)
    if array.ndim == 3 and array.shape[2] not in (2, 3, 4) and array.shape[0] in (3, 4):
        raise DataError(
            f"colours come last in a picture; this array is {found}: give array.transpose(1, 2, 0)"
        )
    if (
        array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] not in (2, 3, 4))
        or array.dtype.kind not in "biuf"
        or not array.size
    ):
        why = "it has no pixels" if array.ndim and not array.size else "give (H, W), (1, H, W) or (H, W, 3)"
        raise DataError(f"the picture cannot be read as a picture: it is {found}; {why}")
    if array.ndim == 2:
        return array if array.dtype in (np.uint8, np.bool_) else array.astype(np.float32)
    if array.dtype != np.uint8:
        as_bytes = "(255 * array)" if array.dtype.kind == "f" and array.max() <= 1 else "array"
        raise DataError(
            f'colours are bytes, from 0 to 255; this array is {found}: give {as_bytes}.astype("uint8")'
        )
    return array


def _from_bytes(picture) -> np.ndarray:
    return np.asarray(picture, dtype=np.float32) / 255


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
