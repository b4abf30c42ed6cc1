"""The networks of the experiments: LeNet-5, and four layers for pictures of 32x32 like those of 2012's figure 1.

Each of the four draws its weights from a generator of its own, of (seed, its name): two networks that differ in one
layer begin with the same weights in all others, so that what is compared is that layer.
"""

import zlib

import numpy as np

from minialex.layers import (
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2D,
    Model,
    ReLU,
    Sigmoid,
    SoftmaxCrossEntropy,
    Subsampling,
    Tanh,
)
from minialex.layers.init import he_normal, normal, xavier_uniform
from minialex.models import lenet5
from minialex.words import check_choice

SQUASHING = {"relu": (ReLU, he_normal), "tanh": (Tanh, xavier_uniform), "sigmoid": (Sigmoid, xavier_uniform)}
# Our pixels are divided by 64, 2012's were not; what is divided by 64 before a normalisation is as if alpha were
# divided by 64 squared. So this is 2012's 1e-4.
ALPHA = 1e-4 * 64**2


def four_layers(
    seed: int,
    maps: tuple[int, ...] = (16, 16, 32),
    activation: str = "relu",
    norm: str = "none",
    pool: str = "max",
    window: int = 3,
    middle: int = 0,
    groups: tuple[int, ...] = (1, 1, 1),
    init: str = "scaled",
) -> Model:
    """Three convolutions of 5x5, each with its activation and a pooling that halves the maps, and 10 logits.

    x (N, 3, 32, 32) -> conv1, pool1 (16x16) -> conv2, pool2 (8x8) -> conv3, pool3 (4x4) -> logits (N, 10)

    norm: "none", "lrn" after the activation, as in 2012, "lrn-after-pool", or "batch", before the activation: of the
    first two convolutions. pool: "max", "average", or "trainable", 1998's. window: 3, so that windows overlap, or 2.
    middle: so many maps of another convolution, 3x3, before the third; 0: none. groups: of each convolution, 2 for two
    towers that do not read each other. init: "scaled", by the activation, or "0.01", 2012's.

    >>> model = four_layers(seed=0)
    >>> model.forward(np.zeros((2, 3, 32, 32), np.float32)).shape, sum(p.value.size for p in model.parameters())
    ((2, 10), 25594)
    """
    check_choice(norm, ("none", "lrn", "lrn-after-pool", "batch"), "norm")
    check_choice(init, ("scaled", "0.01"), "init")
    check_choice(activation, SQUASHING, "activation")
    function, scaled = SQUASHING[activation]
    draw = scaled if init == "scaled" else normal(0.01)
    layers: dict[str, Layer] = {}

    def conv(name, read, made, kernel, groups):
        rng, padding = of_layer(seed, name), kernel // 2
        layers[name] = Conv2D(read, made, kernel, padding=padding, groups=groups, rng=rng, init=draw)

    read = 3
    for number, (made, parts) in enumerate(zip(maps, groups, strict=True), 1):
        if number == 3 and middle:
            conv("middle", read, middle, 3, 1)
            layers["middle_act"] = function()
            read = middle
        conv(f"conv{number}", read, made, 5, parts)
        normalised = number < 3
        if norm == "batch" and normalised:
            layers[f"bn{number}"] = BatchNorm2D(made)
        layers[f"act{number}"] = function()
        if norm == "lrn" and normalised:
            layers[f"norm{number}"] = LocalResponseNorm(alpha=ALPHA)
        layers[f"pool{number}"] = pooling(pool, window, made)
        if norm == "lrn-after-pool" and normalised:
            layers[f"norm{number}"] = LocalResponseNorm(alpha=ALPHA)
        read = made
    layers["flat"] = Flatten()
    last = xavier_uniform if init == "scaled" else draw
    layers["output"] = Linear(read * 4 * 4, 10, rng=of_layer(seed, "output"), init=last)
    return Model(**layers, loss=SoftmaxCrossEntropy(), picture_shape=(3, 32, 32))


def pooling(kind: str, window: int, channels: int) -> Layer:
    """Halves even sizes, with windows of 2 or, with a border, of 3."""
    check_choice(kind, ("max", "average", "trainable"), "pool")
    if kind == "trainable":
        return Subsampling(channels)
    return (MaxPool2D if kind == "max" else AvgPool2D)(window, stride=2, padding=(window - 1) // 2)


def of_layer(seed: int, name: str) -> np.random.Generator:
    """The generator of a layer's weights.

    >>> bool(of_layer(1, "conv1").random() == of_layer(1, "conv1").random() != of_layer(1, "conv2").random())
    True
    """
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


def lenet(seed: int, variant: str = "modern", activation: str = "tanh", dropout: float = 0.0) -> Model:
    """LeNet-5 as `mx.models.lenet5` makes it: for MNIST's pictures, which it prepares itself."""
    return lenet5(variant, rng=seed, activation=activation, dropout=dropout)


NETS = {"four-layers": four_layers, "lenet": lenet}
