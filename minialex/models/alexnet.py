"""AlexNet, in the dialects in which it lives on: Krizhevsky, Sutskever, Hinton 2012, figure 2 and section 3.5.

Every preset is written once, as one tower: what the two GPUs kept apart are two groups. `in_towers` deals each layer
out to two devices and puts the crossings in: the pictures go to both, conv3, fc6 and fc7 read what both towers made,
fc8 sits on the first device.

Where "paper" departs from the paper: crops are 227 pixels wide, not 224 (the released code lets the last windows
overhang by three pixels; a crop of 227 gives the same 55x55).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from minialex.devices.device import Devices, place
from minialex.layers import (
    Conv2D,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2D,
    Model,
    ReLU,
    SameMapNorm,
    SoftmaxCrossEntropy,
)
from minialex.layers.init import Initializer, generator, he_normal, normal
from minialex.layers.settings import number, number_or_nan
from minialex.layers.towers import Broadcast, Exchange, Gather, Towers
from minialex.shapes import is_whole, output_size, positive
from minialex.words import check_choice, counted

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class PictureInput:
    """What a preset wants its pictures to be: pixel * scale, minus the mean, divided by std, in this channel order.

    mean: "image" for the mean picture of the training set, or a value for each channel, on the scaled pixels.
    colour: the rule of PCA colour noise in training (see data/augment.py), or None.
    """

    crop: int = 227
    scale: float = 1.0
    mean: str | tuple[float, float, float] = "image"
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: str = "RGB"
    colour: str | None = "paper"


@dataclass(frozen=True)
class Preset:
    """What tells one AlexNet from another."""

    input: PictureInput = PictureInput()
    maps: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    units: int = 4096
    groups: int = 2  # in conv2, conv4, conv5
    towers: int = 2
    conv1: tuple[int, int, int] = (11, 4, 0)  # kernel, stride, padding
    norm: Callable[[], Layer] | None = None  # after conv1 and conv2
    norm_first: bool = False  # norm and pooling before the ReLU, at conv1 and conv5
    same_map_norm: bool = False  # after conv2's norm
    std: tuple[float, ...] = (0.01,) * 8  # of the weights, conv1 to fc8
    bias: float = 1.0  # of conv2, conv4, conv5, fc6, fc7
    dropout: str = "test-time"
    dropout_first: bool = False  # before fc6 and fc7, not after them


def _norm(alpha=1e-4, k=2.0, groups=2):
    return lambda: LocalResponseNorm(5, alpha=alpha, beta=0.75, k=k, groups=groups)


_CAFFE = PictureInput(mean=(104.0, 117.0, 123.0), order="BGR", colour=None)
_TORCHVISION = PictureInput(
    crop=224, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), colour=None
)

PRESETS = {
    "paper": Preset(norm=_norm()),
    "cuda-convnet": Preset(  # configuration 145 of the released code, which divides alpha by the window's size
        input=PictureInput(colour="cuda-convnet"),
        norm=_norm(alpha=1e-4 / 5),
        norm_first=True,
        same_map_norm=True,
        std=(0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01),
    ),
    "bvlc": Preset(  # Caffe's: its normalisation reads across both halves
        input=_CAFFE,
        towers=1,
        norm=_norm(alpha=1e-4 / 5, k=1.0, groups=1),
        std=(0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.01),
        bias=0.1,
        dropout="inverted",
    ),
    "torchvision": Preset(  # "one weird trick" (Krizhevsky 2014), as PyTorch ships it
        input=_TORCHVISION,
        maps=(64, 192, 384, 256, 256),
        groups=1,
        towers=1,
        conv1=(11, 4, 2),
        bias=0.0,
        dropout="inverted",
        dropout_first=True,
    ),
    "ungrouped": Preset(norm=_norm(groups=1), groups=1, towers=1),
}


class AlexNet(Model):
    """An AlexNet with its loss, and the pictures it wants (`model.input`)."""

    def __init__(self, preset_name: str, input: PictureInput, num_classes: int, layers: dict[str, Layer]):
        super().__init__(**layers)
        self.preset_name, self.input, self.num_classes = preset_name, input, num_classes
        self.loss = SoftmaxCrossEntropy()
        self.picture_shape = (3, input.crop, input.crop)

    def to(self, devices) -> "Self":
        """Place the towers on "cuda:0,cuda:1", "cpu", ...; without towers, all goes to the first one."""
        first, second = self.devices = place(devices)
        self.loss.to(first)
        return super().to((first, second) if self.has_towers else first)

    @property
    def has_towers(self) -> bool:
        return any(isinstance(layer, Towers) for layer in self)


def alexnet(
    num_classes: int = 1000,
    devices: Devices = "auto",
    preset: str = "paper",
    towers: int | None = None,
    rng=None,
    width: float = 1.0,
    image_size: int | None = None,
    init: str = "preset",
    scale: float | None = None,
) -> AlexNet:
    """AlexNet: "paper" (60,965,224 parameters), "cuda-convnet", "bvlc", "torchvision" (61,100,840), "ungrouped".

    Input (N, 3, 227, 227) (torchvision: 224), on the first device; output: the logits (N, classes), there as well.
    devices: "auto" (two GPUs, or one twice, or the CPU), or names; a preset with one tower takes the first.
    towers: 2, or 1 for the same network in one tower; left out, as the preset has it.
    width scales maps and units, image_size the crop. Networks that are scaled down stall on the recipe of 2012: for
    them, init="he" draws He-normal weights and zero biases, and scale=1/64 multiplies the pixels, and a
    preset's mean colour with them.
    rng: a generator or a seed (left out: 0). Weights are drawn whole, then dealt out: the same on any devices.
    Raises ValueError for an unknown preset or init, towers that it cannot have, a width or a scale that is not above
    0, no class, or a picture too small for the layers.

    >>> model = alexnet(num_classes=10, devices="cpu", width=0.125, image_size=67)
    >>> model.forward(np.zeros((1, 3, 67, 67), dtype=np.float32)).shape
    (1, 10)
    """
    check_choice(preset, PRESETS, "preset")
    check_choice(init, ("preset", "he"), "init")
    check_width(width)
    positive(num_classes, "num_classes")
    chosen = PRESETS[preset]
    towers = chosen.towers if towers is None else towers
    if not is_whole(towers) or towers not in (1, 2) or towers > chosen.towers:
        what = "1 tower" if chosen.towers == 1 else "1 or 2 towers"
        raise ValueError(f'preset "{preset}" has {what}, not {towers}')
    size = crop_of(chosen.input, image_size)
    layers = one_tower(chosen, num_classes, generator(rng), width, size, init)
    if towers == 2:
        layers = in_towers(layers)
    picture = scaled_pixels(replace(chosen.input, crop=size), scale)
    model = AlexNet(preset, picture, num_classes, layers)
    model.architecture = {
        "network": "alexnet", "preset": preset, "num_classes": num_classes, "width": width, "image_size": size,
        "scale": picture.scale,
    }  # fmt: skip
    return model.to(devices)


def crop_of(picture: PictureInput, image_size: int | None) -> int:
    """The pixels of a side: those asked for, or the usual ones. Raises ValueError for what is no whole number."""
    if image_size is None:
        return picture.crop
    if not is_whole(image_size):
        raise ValueError(f"image_size must be a whole number, the pixels of a side, not {image_size!r}")
    return int(image_size)


def scaled_pixels(picture: PictureInput, scale: float | None) -> PictureInput:
    """The same with pixels on another scale, and a mean colour with them; None: as it is. ValueError: not above 0."""
    if scale is None:
        return picture
    if not 0 < number_or_nan(scale) < math.inf:
        raise ValueError(f"scale must be above 0, what each pixel is multiplied by, not {scale!r}")
    scale, mean = number(scale), picture.mean
    if mean != "image":
        mean = tuple(value * (scale / picture.scale) for value in mean)
    return replace(picture, scale=scale, mean=mean)


def one_tower(p: Preset, num_classes, rng, width, size, init) -> dict[str, Layer]:
    """The layers by name, as one tower; read it beside the paper's figure 2."""
    c1, c2, c3, c4, c5 = (scaled(maps, width) for maps in p.maps)
    units = scaled(p.units, width)
    weights: list[Initializer] = [he_normal] * 8 if init == "he" else [normal(std) for std in p.std]
    draws = iter(weights)

    def conv(inputs, outputs, kernel, groups=1, **geometry):
        return Conv2D(inputs, outputs, kernel, groups=groups, rng=rng, init=next(draws), **geometry)

    def linear(inputs, outputs):
        return Linear(inputs, outputs, rng=rng, init=next(draws))

    def dropout():
        return Dropout(0.5, scaling=p.dropout)

    kernel, stride, padding = p.conv1
    side = side_of_pool5(size, p.conv1)
    layers = {"conv1": conv(3, c1, kernel, stride=stride, padding=padding)}
    if p.norm_first:
        layers |= {"norm1": p.norm(), "pool1": MaxPool2D(3, 2), "relu1": ReLU()}
    else:
        layers |= {"relu1": ReLU(), "norm1": p.norm and p.norm(), "pool1": MaxPool2D(3, 2)}
    layers |= {
        "conv2": conv(c1, c2, 5, p.groups, padding=2),
        "relu2": ReLU(),
        "norm2": p.norm and p.norm(),
        "samemap2": SameMapNorm() if p.same_map_norm else None,
        "pool2": MaxPool2D(3, 2),
        "conv3": conv(c2, c3, 3, padding=1),
        "relu3": ReLU(),
        "conv4": conv(c3, c4, 3, p.groups, padding=1),
        "relu4": ReLU(),
        "conv5": conv(c4, c5, 3, p.groups, padding=1),
    }
    if p.norm_first:
        layers |= {"pool5": MaxPool2D(3, 2), "relu5": ReLU()}
    else:
        layers |= {"relu5": ReLU(), "pool5": MaxPool2D(3, 2)}
    layers |= {
        "flatten": Flatten(),
        "drop5": dropout() if p.dropout_first else None,
        "fc6": linear(c5 * side * side, units),
        "relu6": ReLU(),
        "drop6": dropout(),
        "fc7": linear(units, units),
        "relu7": ReLU(),
        "drop7": None if p.dropout_first else dropout(),
        "fc8": linear(units, num_classes),
    }
    for name in ("drop5", "drop6", "drop7"):
        if layers.get(name) is not None:
            layers[name].seed = int(rng.integers(2**31))  # masks hang on the model's seed, as weights do
    if init != "he":
        for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
            layers[name].bias.value[:] = p.bias
    return {name: layer for name, layer in layers.items() if layer is not None}


# Before these layers the towers tell each other what they made; fc8 has both halves on the first device.
CROSSINGS = {"conv1": Broadcast, "conv3": Exchange, "fc6": Exchange, "fc7": Exchange, "fc8": Gather}


def in_towers(layers: dict[str, Layer]) -> dict[str, Layer]:
    """The same network on two devices: each layer dealt out, and the crossings put in between."""
    whole = {}
    for name, layer in layers.items():
        if name in CROSSINGS:
            crossing = CROSSINGS[name]
            whole[f"{crossing.__name__.lower()}_{name}"] = crossing()
        whole[name] = layer if name == "fc8" else Towers.split(layer)
    return whole


def side_of_pool5(size: int, conv1: tuple[int, int, int]) -> int:
    """How many pixels wide the maps are that fc6 reads."""
    side, conv2, pool = size, (5, 1, 2), (3, 2, 0)
    try:
        for window in (conv1, pool, conv2, pool, pool):  # conv3, conv4 and conv5 keep the size
            side = output_size(side, *window)
    except ValueError as error:
        raise ValueError(
            f"pictures of {counted(size, 'pixel')} are too small for this network: {least_size(conv1)} is the least "
            f"({error})"
        ) from None
    return side


def least_size(conv1: tuple[int, int, int]) -> int:
    """The smallest picture of which pool5 leaves a pixel: backwards, what each window needs for it."""
    side = 1
    for kernel, stride, padding in ((3, 2, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), conv1):
        side = (side - 1) * stride + kernel - 2 * padding
    return side


def check_width(width: float) -> None:
    """Raises ValueError for what is no number above 0."""
    if not 0 < number_or_nan(width) < math.inf:
        raise ValueError(f"width must be above 0, not {width!r}")


def scaled(count: int, width: float) -> int:
    """A number of maps or units times the width, even, so that it can be dealt out."""
    return max(2, 2 * round(count * width / 2))
