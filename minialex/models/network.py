"""What the networks after AlexNet share: a loss, the pictures that they want, and the chains inside their blocks."""

import functools
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from minialex.devices.device import place
from minialex.layers import ExitLoss, Exits, Layer, Model, SoftmaxCrossEntropy
from minialex.layers.branches import cannot_be_dealt_out, cut, sum_of
from minialex.layers.layer import Array
from minialex.layers.settings import plain
from minialex.models.alexnet import PictureInput, check_width, crop_of
from minialex.shapes import is_whole, positive
from minialex.words import counted

if TYPE_CHECKING:
    from typing_extensions import Self

# What torchvision's weights were trained on: pixels from 0 to 1, minus ImageNet's mean colour, by its spread.
TORCHVISION = PictureInput(
    crop=224, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), colour=None
)
SMALL = replace(TORCHVISION, crop=32)  # for the small versions


def pictures_of(picture, image_size, least):
    """What pictures a network wants, of another size if that is asked for.

    Raises ValueError for a size that is no whole number, or is below `least`.
    """
    picture = replace(picture, crop=crop_of(picture, image_size))
    if picture.crop < least:
        raise ValueError(
            f"pictures of {counted(picture.crop, 'pixel')} are too small for this network: {least} is the least"
        )
    return picture


def blocks_of(layers: Sequence[int] | None, table: Sequence[int]) -> tuple[tuple[int, ...], dict]:
    """How many blocks each stage has: those of the table, or `layers` in their place; and what a record says of it.

    That is a list, as in JSON, and None for the table's own. Raises ValueError for another number of stages, or a stage
    without blocks.

    >>> blocks_of((2, 3, 4), (3, 3, 3)), blocks_of([3, 3, 3], (3, 3, 3))
    (((2, 3, 4), {'layers': [2, 3, 4]}), ((3, 3, 3), {'layers': None}))
    """
    if layers is None:
        return tuple(table), {"layers": None}
    counts = list(layers) if isinstance(layers, Iterable) else []
    if len(counts) != len(table) or not all(is_whole(count) and count >= 1 for count in counts):
        raise ValueError(
            f"layers must be {len(table)} whole numbers >= 1, the blocks of each stage, as {tuple(table)}, not "
            f"{str(layers)[:80]}"
        )
    counts = [int(count) for count in counts]
    return tuple(counts), {"layers": counts if counts != list(table) else None}


def recorded(make):
    """For the functions that make networks: `model.architecture` says which one it is, with what arguments.

    It also says whose arguments do not fit, and that there must be a class.
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def made(*args, **kwargs):
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{make.__name__}() {error}; it takes {', '.join(signature.parameters)}"
            ) from None
        given.apply_defaults()
        positive(given.arguments["num_classes"], "num_classes")
        model = make(*args, **kwargs)
        settings = {name: plain(v) for name, v in given.arguments.items() if name not in ("rng", "devices")}
        model.architecture = {"network": make.__name__, **settings, **model.resolved}
        return model

    return made


class Network(Model):
    """A network for pictures in colour, on one device, with its loss and the pictures that it wants (`model.input`)."""

    resolved: dict = {}  # arguments that were left to the network, and what it took

    def __init__(self, input: PictureInput, num_classes: int, layers: dict[str, Layer]):
        super().__init__(**layers)
        self._describe(input, num_classes, SoftmaxCrossEntropy())

    def _describe(self, input, num_classes, loss):
        self.input, self.num_classes, self.loss = input, num_classes, loss
        self.picture_shape = (3, input.crop, input.crop)

    def in_a_word(self) -> str:
        """The function that makes it, with what says which one: "resnet(50)", "resnet(20, layers=(2, 3, 4))"."""
        architecture = getattr(self, "architecture", {"": type(self).__name__})
        network, *arguments = architecture.values()
        which = [str(arguments[0])] if arguments and network in BY_NUMBER else []
        if architecture.get("layers"):
            which.append(f"layers={tuple(architecture['layers'])}")
        return self.name or network + (f"({', '.join(which)})" if which else "")

    def __repr__(self) -> str:
        made, word = super().__repr__(), self.in_a_word()
        return made if made.startswith(word) else made.replace("(\n", f"(  # {word}\n", 1)

    def to(self, devices) -> "Self":
        """One device; of two names the first one."""
        first, _ = place(devices)
        self.devices = (first, first)
        self.loss.to(first)
        return super().to(first)


class NetworkWithExits(Exits, Network):
    """One with classifiers along the way, for training only; `weights` of their losses, the last one's too."""

    def __init__(self, input, num_classes, trunk, heads, weights):
        Exits.__init__(self, trunk, heads)
        self._describe(input, num_classes, ExitLoss(weights))

    def backward(self, grad_logits: Array, input_grad: bool = False) -> Array:
        return super().backward(grad_logits, input_grad=input_grad)


# Families whose first argument says which one.
BY_NUMBER = ("vgg", "resnet", "densenet", "inception_resnet", "smartnet")


class Mixed(Layer):
    """Paths side by side, concatenated: an Inception block whose layers bear the names that its attributes have."""

    hangs_on_parts = True
    concatenates = True

    def split(self, parts):
        raise ValueError(cannot_be_dealt_out(self, parts))

    def paths(self) -> list[list[Layer]]:
        """The layers of each path, in the order in which their maps stand in y."""
        raise TypeError(f"{type(self).__name__} does not say what its paths are")

    def forward(self, x: Array) -> Array:
        ys = [forward_through(path, x) for path in self.paths()]
        self.save(channels=[y.shape[1] for y in ys])
        return self.xp.concatenate(ys, axis=1)

    def backward(self, grad_y: Array) -> Array:
        grad_ys = cut(grad_y, self.saved.channels)
        grad_xs = [backward_through(path, grad) for path, grad in zip(self.paths(), grad_ys, strict=True)]
        return sum_of(grad_xs)


def scaled(count: int, width: float) -> int:
    """A number of maps times the width, at least 1."""
    check_width(width)
    return max(1, round(count * width))


def forward_through(layers: Iterable[Layer], x: Array) -> Array:
    """Each layer's output is the next one's input."""
    for layer in layers:
        x = layer.forward(x)
    return x


def backward_through(layers: Iterable[Layer], grad_y: Array, input_grad: bool = True) -> Array | None:
    """The same way back. input_grad=False: nobody needs the gradient of what the first one was given."""
    first, *others = layers
    for layer in reversed(others):
        grad_y = layer.backward(grad_y, input_grad=True)
    return first.backward(grad_y, input_grad=input_grad)
