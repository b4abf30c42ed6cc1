"""LeNet-5 in three variants, each reading like a table: LeCun, Bottou, Bengio, Haffner 1998, section II.B.

Where "1998" departs from the paper:
- the ten codes of 84 pixels are drawn here (the paper's stylised ASCII characters are shown, not listed);
- the squashing function follows S2 and S4 too, as their text says; it is a layer of its own, `s2_tanh`;
- plain SGD with momentum trains it, in place of the diagonal Levenberg-Marquardt step.
"modern" is what the name usually means today: every C3 map reads every S2 map, max-pooling, softmax.
"keras" is the same on unpadded 28x28 pictures, as in that library's tutorials.
"""

from typing import TYPE_CHECKING

import numpy as np

from minialex.devices.device import Device
from minialex.layers import (
    RBF,
    Conv2D,
    Dropout,
    Flatten,
    Linear,
    MAPLoss,
    MaxPool2D,
    Model,
    ReLU,
    Sigmoid,
    SoftmaxCrossEntropy,
    Subsampling,
    TableConv2D,
    Tanh,
)
from minialex.layers.init import generator, he_normal, lecun_uniform_1998, xavier_uniform
from minialex.shapes import positive
from minialex.words import check_choice

if TYPE_CHECKING:
    from typing_extensions import Self

ACTIVATIONS = {
    "tanh": (Tanh, xavier_uniform),
    "relu": (ReLU, he_normal),
    "sigmoid": (Sigmoid, xavier_uniform),
}
VARIANTS = ("modern", "1998", "keras")

# Table I of 1998: which of the six S2 maps each of the 16 C3 maps reads; 60 connections.
C3_TABLE = [
    tuple(int(c) for c in row)
    for row in "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345".split()
]  # fmt: skip

# Ten digits of 7x12 pixels, our own drawing: the targets of 1998's output layer.
_DIGITS = """
 .#####.  ...#...  .#####.  .#####.  ....##.  #######  ..####.  #######  .#####.  .#####.
 ##...##  ..##...  ##...##  ##...##  ...###.  ##.....  .##....  .....##  ##...##  ##...##
 ##...##  .###...  .....##  .....##  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
 ##..###  ...##..  .....##  .....##  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
 ##..###  ...##..  ....##.  ....##.  .##.##.  #####..  ##.###.  ....##.  .##.##.  ##...##
 ##.#.##  ...##..  ....##.  ..###..  ##..##.  ##..##.  ###..##  ...##..  ..###..  .##.###
 ##.#.##  ...##..  ...##..  ....##.  #######  .....##  ##...##  ...##..  .##.##.  ..##.##
 ###..##  ...##..  ..##...  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
 ###..##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
 ##...##  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  .##....  ##...##  ....##.
 ##...##  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  .##....  ##...##  ...##..
 .#####.  .######  #######  .#####.  ....##.  .#####.  .#####.  ##.....  .#####.  .###...
"""


def digit_codes() -> np.ndarray:
    """The codes of "1998", (10, 84): +1 where digit k's drawing has ink, -1 elsewhere."""
    rows = [line.split() for line in _DIGITS.strip().splitlines()]  # 12 rows of 10 pieces
    pixels = [[[character == "#" for character in row[digit]] for row in rows] for digit in range(10)]
    return np.where(np.array(pixels).reshape(10, 84), 1.0, -1.0).astype(np.float32)


class LeNet5(Model):
    """A LeNet-5 with its loss, and the scale on which it wants its pictures."""

    def __init__(self, variant, loss, side, pad, background, ink, **layers):
        super().__init__(**layers)
        self.variant = variant
        self.loss = loss
        self.picture_shape = (1, side, side)
        self.pad, self.background, self.ink = pad, background, ink

    def prepare(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, 1, 28, 28) as in MNIST -> float32 as this network wants them, padded if it takes 32x32.

        The raw picture is padded, before scaling: the border is background. 0 becomes `background`, 255 `ink`.
        """
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (1, 28, 28):
            raise ValueError(f"pictures must be uint8 (N, 1, 28, 28), not {pictures.dtype} {pictures.shape}")
        padded = np.pad(pictures, [(0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)])
        return padded * np.float32((self.ink - self.background) / 255) + np.float32(self.background)

    def to(self, device: str | Device) -> "Self":
        self.loss.to(device)
        return super().to(device)


def lenet5(
    variant: str = "modern",
    rng=None,
    activation: str = "tanh",
    dropout: float = 0.0,
    device: str | Device = "cpu",
    num_classes: int = 10,
) -> LeNet5:
    """LeNet-5: "modern" (61,706 parameters), "1998" (60,000) or "keras" (44,426).

    Input (N, 1, 28, 28), for "1998" (N, 1, 32, 32); `model.prepare` makes it from MNIST's bytes. Output: a logit for
    each of num_classes, of which "1998" has ten; `model.loss` is the loss that belongs to it.
    activation ("tanh", "relu", "sigmoid") and dropout (after C5 and F6) are options of "modern" and "keras".
    rng: a generator or a seed (left out: 0).
    Raises ValueError for an unknown variant or activation, no classes, or options that "1998" does not have.

    >>> model = lenet5()
    >>> sum(p.value.size for p in model.parameters())
    61706
    >>> model.forward(np.zeros((1, 1, 28, 28), dtype=np.float32)).shape
    (1, 10)
    """
    check_choice(variant, VARIANTS, "variant")
    check_choice(activation, ACTIVATIONS, "activation")
    if variant == "1998" and (activation != "tanh" or dropout):
        raise ValueError(
            f'variant "1998" is as in the paper; activation={activation!r} and dropout={dropout} '
            'are options of "modern" and "keras"'
        )
    positive(num_classes, "num_classes")
    if variant == "1998" and num_classes != 10:
        raise ValueError(
            f'variant "1998" tells ten classes by their codes, drawings of the ten digits, not {num_classes}: '
            'use "modern" or "keras"'
        )
    rng = generator(rng)
    if variant == "1998":
        model = _lenet_1998(rng)
    else:
        model = _lenet_today(variant, rng, activation, dropout, num_classes)
    model.architecture = {
        "network": "lenet5", "variant": variant, "activation": activation, "dropout": dropout
    }  # fmt: skip
    if num_classes != 10:
        model.architecture["num_classes"] = num_classes
    return model.to(device)


def _lenet_today(variant, rng, activation, dropout, num_classes):
    act, init = ACTIVATIONS[activation]
    padding, side = (2, 5) if variant == "modern" else (0, 4)  # S4 is 5x5, or 4x4
    layers = {
        "c1": Conv2D(1, 6, 5, padding=padding, rng=rng, init=init),
        f"c1_{activation}": act(),
        "s2": MaxPool2D(2),
        "c3": Conv2D(6, 16, 5, rng=rng, init=init),
        f"c3_{activation}": act(),
        "s4": MaxPool2D(2),
        "flatten": Flatten(),
        "c5": Linear(16 * side * side, 120, rng=rng, init=init),
        f"c5_{activation}": act(),
        "c5_dropout": Dropout(dropout),
        "f6": Linear(120, 84, rng=rng, init=init),
        f"f6_{activation}": act(),
        "f6_dropout": Dropout(dropout),
        "output": Linear(84, num_classes, rng=rng, init=init),
    }
    for layer in layers.values():
        if isinstance(layer, Dropout):
            layer.seed = int(rng.integers(2**31))  # masks hang on the model's seed, as weights do
    if not dropout:
        layers = {name: layer for name, layer in layers.items() if not isinstance(layer, Dropout)}
    mean, std = 33.32 / 255, 78.57 / 255  # of MNIST's training pictures
    return LeNet5(variant, SoftmaxCrossEntropy(), 28, 0, -mean / std, (1 - mean) / std, **layers)


def _lenet_1998(rng):
    def squash():
        return Tanh(scale=1.7159, slope=2 / 3)

    init = lecun_uniform_1998
    layers = {
        "c1": Conv2D(1, 6, 5, rng=rng, init=init),  # 6 @ 28x28
        "c1_tanh": squash(),
        "s2": Subsampling(6),  # 6 @ 14x14
        "s2_tanh": squash(),
        "c3": TableConv2D(C3_TABLE, 5, rng=rng, init=init),  # 16 @ 10x10
        "c3_tanh": squash(),
        "s4": Subsampling(16),  # 16 @ 5x5
        "s4_tanh": squash(),
        "c5": Conv2D(16, 120, 5, rng=rng, init=init),  # 120 @ 1x1
        "c5_tanh": squash(),
        "flatten": Flatten(),
        "f6": Linear(120, 84, rng=rng, init=init),
        "f6_tanh": squash(),
        "output": RBF(digit_codes()),
    }
    return LeNet5("1998", MAPLoss(j=1.0), 32, 2, -0.1, 1.175, **layers)
