"""From a picture to a network's input: the square, the crop, the flip, the mean, the colour.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012):
section 2 has the square of 256x256 pixels and the mean, section 4.1 the crops, the flips, the noise on the
colours, and the ten crops of the test. Their 224x224 crops are 227x227 here (see models/alexnet.py).

Pictures are arrays (3, H, W) in RGB, 0 to 255. Every random number comes from a generator that is passed in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minialex.devices.device import is_array
from minialex.layers.settings import finite
from minialex.shapes import is_whole, positive
from minialex.words import a_or_an, check_choice, did_you_mean, is_one_of

# -- Cutting -----------------------------------------------------------------------------------------------


def square(image, side: int = 256) -> np.ndarray:
    """A Pillow image in RGB with its shorter side scaled to `side`, and of that the middle: uint8 (3, side, side).

    Both in one go: the middle square of the picture is scaled to side x side. Smaller pictures are enlarged.
    """
    from PIL import Image

    width, height = image.size
    shorter = min(width, height)
    left, top = (width - shorter) / 2, (height - shorter) / 2
    middle = (left, top, left + shorter, top + shorter)
    scaled = image.resize((side, side), Image.Resampling.BILINEAR, box=middle)
    return np.stack([np.asarray(channel) for channel in scaled.split()])


def centre_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle size x size pixels of a picture (..., H, W); a view."""
    height, width = _fitting(picture, size)
    return _window(picture, (height - size) // 2, (width - size) // 2, size)


def random_crop_flip(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Any size x size pixels of a picture (..., H, W), mirrored every other time; a view."""
    height, width = _fitting(picture, size)
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    crop = _window(picture, top, left, size)
    return _mirrored(crop) if rng.integers(2) else crop


def ten_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The four corners and the middle of a picture (3, H, W), then the same mirrored: (10, 3, size, size).

    The network's answer is the mean of its softmax over the ten (section 4.1).
    """
    height, width = _fitting(picture, size)
    corners = [_window(picture, y, x, size) for y in (0, height - size) for x in (0, width - size)]
    five = np.stack([*corners, centre_crop(picture, size)])
    return np.concatenate([five, _mirrored(five)])


def _fitting(picture: np.ndarray, size: int) -> tuple[int, int]:
    """Height and width of a picture that is large enough for the crop."""
    height, width = check_picture(picture).shape[-2:]
    size = size if is_whole(size) else positive(size, "size")
    if not 1 <= size <= min(height, width):
        raise ValueError(f"a crop of {size}x{size} does not fit into a picture of {height}x{width}")
    return height, width


def check_picture(picture: np.ndarray, axes: str = "..., H, W") -> np.ndarray:
    """The picture. Raises TypeError for what is no array, as a list, ValueError for one without rows and columns."""
    if not is_array(picture):
        raise TypeError(f"a picture is an array ({axes}), not {a_or_an(type(picture).__name__)}")
    if picture.ndim < 2:
        raise ValueError(f"a picture is an array ({axes}), not one of shape {picture.shape}")
    return picture


def _window(picture, top, left, size):
    return picture[..., top : top + size, left : left + size]


def _mirrored(picture):
    return picture[..., ::-1]


# -- Mean and colour ---------------------------------------------------------------------------------------


def mean_image(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of pictures uint8 (3, H, W), pixel by pixel: float32 (3, H, W).

    >>> mean_image([np.zeros((3, 1, 2), np.uint8), np.full((3, 1, 2), 9, np.uint8)])[0]
    array([[4.5, 4.5]], dtype=float32)
    """
    total, count = 0, 0
    for picture in pictures:
        check_picture(picture, "3, H, W")
        if count and picture.shape != total.shape:
            raise ValueError(
                f"pictures of one size have a mean; these have {total.shape} and {picture.shape}"
            )
        total = total + picture.astype(np.float64)
        count += 1
    if not count:
        raise ValueError("there are no pictures to take the mean of")
    return (total / count).astype(np.float32)


MEAN_COLOUR = (123.0, 117.0, 104.0)  # of ImageNet, R, G, B, as in Caffe's examples
RULES = ("paper", "cuda-convnet")


@dataclass(frozen=True, eq=False)
class Colour:
    """PCA colour (section 4.1): the directions in which the colours of all pixels vary most, and how much.

    A picture gets one and the same colour added to all its pixels,

        vectors @ (alpha * amount),    alpha ~ N(0, 0.1), three of them, drawn once for each picture,

    with amount = 255 * values by the rule "paper" (about 5.5 grey levels along the first vector), and
    255 * sqrt(values), the standard deviations, by "cuda-convnet", as the released code does it (about 12).
    """

    values: np.ndarray  # (3,) eigenvalues of the covariance of RGB in [0, 1], largest first
    vectors: np.ndarray  # (3, 3), the eigenvectors are its columns

    PUBLISHED: ClassVar["Colour"]  # of ImageNet, as most programs have it

    @classmethod
    def of(cls, pictures: Iterable[np.ndarray]) -> "Colour":
        """Of the pixels of one's own pictures, uint8 (3, H, W). Raises ValueError for others, and for none."""
        count, total, products = 0, np.zeros(3), np.zeros((3, 3))
        for picture in pictures:
            if check_picture(picture, "3, H, W").ndim != 3 or len(picture) != 3 or picture.dtype != np.uint8:
                raise ValueError(
                    f"colours are found of bytes, uint8 (3, H, W) from 0 to 255, not of {picture.dtype} {picture.shape}"
                )
            pixels = picture.reshape(3, -1) / 255.0  # (3, H*W)
            count += pixels.shape[1]
            total += pixels.sum(axis=1)
            products += pixels @ pixels.T
        if not count:
            raise ValueError("there are no pictures to find the colours of")
        mean = total / count
        values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]  # eigh has the smallest first
        largest = vectors[np.abs(vectors).argmax(axis=0), range(3)]
        return cls(
            values, vectors * np.sign(largest)
        )  # a vector's sign is free: its largest entry is positive

    def draw(self, rng: np.random.Generator, rule: str = "paper") -> np.ndarray:
        """A random colour to add to a picture of 0 to 255: float32 (3, 1, 1)."""
        check_choice(rule, RULES, "rule")
        alpha = rng.normal(0, 0.1, 3)
        amount = 255 * (self.values if rule == "paper" else np.sqrt(self.values))
        return (self.vectors @ (alpha * amount)).astype(np.float32)[:, None, None]


Colour.PUBLISHED = Colour(
    values=np.array([0.2175, 0.0188, 0.0045]),
    vectors=np.array([[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]]).T,
)


# -- All of it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Prepare:
    """What turns a stored picture, uint8 (3, S, S), into a network's input, float32.

        x = (scale * (picture + colour) - mean) / std,    of which a crop is taken, mirrored or not

    order: of the channels that the network takes, "RGB" or "BGR".
    mean, std: a number, one for each channel in that order, or an image (3, S, S); of scaled pixels. So a mean image
    moves with the crop and is mirrored with it.
    colour: noise on the colours, in training alone; colour_rule: see Colour.
    Raises ValueError for settings that don't fit together, or a picture that doesn't fit them.

    >>> prepare = Prepare(crop=2, mean=100.0, std=50.0)
    >>> prepare.evaluation(np.full((3, 4, 4), 150, dtype=np.uint8))[0]
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """

    crop: int = 227
    scale: float = 1.0
    mean: np.ndarray | tuple[float, float, float] | float = 0.0
    std: np.ndarray | tuple[float, float, float] | float = 1.0
    order: str = "RGB"
    colour: Colour | None = None
    colour_rule: str = "paper"

    def __post_init__(self):
        if not is_one_of(self.order, ("RGB", "BGR")):
            raise ValueError(
                f'order is "RGB" or "BGR", not {self.order!r}{did_you_mean(self.order, ("RGB", "BGR"))}'
            )
        if not is_one_of(self.colour_rule, RULES):
            hint = did_you_mean(self.colour_rule, RULES)
            raise ValueError(f"colour_rule is one of {', '.join(RULES)}, not {self.colour_rule!r}{hint}")
        positive(self.crop, "crop")
        scale = finite(self.scale, "scale")  # a number of NumPy would round otherwise
        object.__setattr__(self, "scale", scale)
        for name in ("mean", "std"):
            object.__setattr__(self, name, _for_pixels(name, getattr(self, name)))
        if not (self.std > 0).all():
            raise ValueError("std has a 0 in it, or less: it is a standard deviation")

    @classmethod
    def for_input(cls, wanted, mean=None, colour: Colour | None = None) -> "Prepare":
        """What a network wants (`model.input`, a PictureInput of models/alexnet.py).

        mean: the mean image of one's own training set, grey levels in RGB; used where the network wants an image.
        Left out there, ImageNet's mean colour takes its place. colour: for a network trained with noise on it.
        """
        of_channels = wanted.mean
        if of_channels == "image":
            grey = np.asarray(MEAN_COLOUR if mean is None else mean, dtype=np.float32).reshape(
                3, *np.shape(mean)[1:]
            )
            of_channels = float(wanted.scale) * (grey if wanted.order == "RGB" else grey[::-1])
        noise = {"colour": colour, "colour_rule": wanted.colour} if wanted.colour and colour else {}
        return cls(wanted.crop, wanted.scale, of_channels, wanted.std, wanted.order, **noise)

    def training(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random crop, mirrored or not, with noise on its colours: (3, crop, crop)."""
        noise = self.colour.draw(rng, self.colour_rule) if self.colour else 0
        return random_crop_flip(self._normalised(picture, noise), self.crop, rng)

    def evaluation(self, picture: np.ndarray) -> np.ndarray:
        """The middle: (3, crop, crop)."""
        return centre_crop(self._normalised(picture), self.crop)

    def ten(self, picture: np.ndarray) -> np.ndarray:
        """Ten crops, see ten_crop: (10, 3, crop, crop)."""
        return ten_crop(self._normalised(picture), self.crop)

    def _normalised(self, picture, noise=0):
        check_picture(picture, "3, H, W")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value.shape[1:] not in ((), (1, 1), picture.shape[1:]):
                raise ValueError(
                    f"{name} is an image {value.shape}, which does not fit a picture {picture.shape}"
                )
        x = np.add(picture, noise, dtype=np.float32)
        if self.order == "BGR":
            x = x[::-1]
        x *= self.scale
        x -= self.mean
        x /= self.std
        return x


def _for_pixels(name: str, value) -> np.ndarray:
    """A number, (3,) or (3, S, S) as a float32 array that fits a picture (3, S, S)."""
    value = np.asarray(value, dtype=np.float32)
    if value.shape == (3,):
        value = value[:, None, None]
    if value.ndim and (value.ndim != 3 or len(value) != 3):
        raise ValueError(f"{name} is a number, 3 numbers or an image (3, S, S), not {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} has a NaN or an infinite number in it")
    return value
