"""A picture file of any kind, as a Pillow image: upright, in RGB, and not larger than what memory has room for."""

import io
import os
from pathlib import Path

import numpy as np

from minialex.errors import DataError
from minialex.weights.reading import MEBI

# What is tried on a file, whatever its name says. Not all that Pillow knows: some formats start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP")
ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held: 1 to 8, as follows, 1 being upright
TURNS = (
    None,
    "FLIP_LEFT_RIGHT",
    "ROTATE_180",
    "FLIP_TOP_BOTTOM",
    "TRANSPOSE",
    "ROTATE_270",
    "TRANSVERSE",
    "ROTATE_90",
)
MOST_MEMORY = 192 * MEBI  # for the pixels of a picture while it is decoded: 50 million in colours
MOST_SCANS = 100  # of a progressive JPEG, each of which goes over all pixels; usual are 10


class UnreadablePicture(DataError):
    """A file that is no picture, or a damaged one."""


def read_picture(
    path, at_least: int | None = None, size: tuple[int, int] | None = None, name: str | None = None
):
    """The picture in a file as an upright Pillow image in RGB, 8 bits a channel.

    Grey, CMYK, palette and 16-bit pictures are converted, transparency is dropped. What counts is what is in the
    file, not its suffix. A JPEG that is much larger than `at_least` pixels a side is decoded at a half, a quarter
    or an eighth of its size (Pillow's draft mode), its shorter side not below `at_least`.
    A PNG's checksums are verified. JPEG, GIF and BMP have none: a wrong bit in such a file may be a wrong colour.
    Raises UnreadablePicture, naming the file; also where decoding would take more than 192 MiB: 50 million pixels in
    colours, 179 million in any, 33 million of a progressive JPEG with all its colours, which is kept until the end. A
    JPEG of more is decoded at a half of its size or less, if that will do.

    size: the width and height that it must have, which is looked at before its pixels are. name: what messages call
    the picture, where `path` is an open file.
    """
    try:
        if (
            _is_path(path) and Path(path).exists() and not Path(path).is_file()
        ):  # to read from a pipe may never end
            raise OSError("it is no regular file")
        try:
            return _decoded(path, at_least, size)
        except UserWarning:  # Pillow's, of broken metadata, where warnings are errors: read it without
            content = _content(path)
            return _decoded(io.BytesIO(content.replace(b"Exif\0\0", b"broken", 1)), at_least, size)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make Pillow raise nearly anything, SyntaxError included
        raise UnreadablePicture(f"{name or path} cannot be read as a picture ({_in_words(error)})") from error


def _decoded(file, at_least: int | None, size: tuple[int, int] | None):
    from PIL import Image

    with open_picture(file, FORMATS, at_least) as picture:
        if size not in (None, picture.size):
            (width, height), (wide, high) = picture.size, size
            raise ValueError(f"it has {width} x {height} pixels, and should have {wide} x {high}")
        turn = turn_of(picture)
        rgb = _rgb(picture)
    return rgb.transpose(Image.Transpose[turn]) if turn else rgb


def open_picture(file, formats, at_least: int | None = None):
    """A Pillow image, not decoded yet, which has been looked at: see read_picture. file: a path, or an open file."""
    from PIL import Image

    picture = Image.open(file, formats=formats)
    try:
        if picture.format == "PNG":
            picture.verify()  # all checksums; loading passes over them
            if not _is_path(file):
                file.seek(0)
            picture = Image.open(file, formats=["PNG"])
        _keep_within_memory(picture, file, at_least)
    except Exception:
        picture.close()
        raise
    return picture


def _is_path(file) -> bool:
    return isinstance(file, (str, os.PathLike))


def _content(file) -> bytes:
    """All bytes of a file, wherever it stands."""
    if _is_path(file):
        return Path(file).read_bytes()
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    return content


def _keep_within_memory(picture, file, at_least) -> None:
    """Have a JPEG decoded as small as will do, and refuse what is too large."""
    width, height = picture.size
    coefficients = 0.0  # of a progressive JPEG, bytes a pixel: they are all kept until the end
    if picture.format in ("JPEG", "MPO"):
        if picture.info.get("progressive"):
            if (scans := _content(file).count(b"\xff\xda")) > MOST_SCANS:
                raise ValueError(f"it goes over its pixels {scans:,} times; the most is {MOST_SCANS}")
            sampled = [h * v for _, h, v, _ in picture.layer]
            coefficients = 2 * sum(sampled) / max(sampled)
        smaller = (f for f in (2, 4, 8) if _memory(picture, coefficients, f) <= MOST_MEMORY)
        if at_least:
            picture.draft(None, (at_least, at_least))
        elif _memory(picture, coefficients) > MOST_MEMORY and (factor := next(smaller, None)):
            picture.draft(None, (width // factor, height // factor))
    memory = _memory(picture, 0) + coefficients * width * height
    if memory > MOST_MEMORY:
        raise ValueError(
            f"its {width:,} x {height:,} pixels would take {memory / MEBI:,.0f} MiB; the most is "
            f"{MOST_MEMORY / MEBI:.0f} MiB: make it smaller"
        )


def _memory(picture, coefficients: float, factor: int = 1) -> float:
    """What decoding takes, in bytes, at a part of the size. Pillow has one, two or four bytes for a pixel."""
    each = 1 if picture.mode in ("1", "L", "P") else 2 if picture.mode.startswith("I;16") else 4
    pixels = picture.size[0] * picture.size[1]
    return pixels * (each / factor**2 + coefficients)


def turn_of(picture):
    """What brings the picture upright; nothing where its metadata is broken."""
    try:
        return TURNS[picture.getexif().get(ORIENTATION, 1) - 1]
    except Exception:
        return None


def _rgb(picture):
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits: convert() would clip at 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # a detour on which Pillow does not warn
    if picture.mode == "RGB":
        picture.load()  # convert() would copy it
        return picture
    return picture.convert("RGB")


def _in_words(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is neither JPEG nor PNG"
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
