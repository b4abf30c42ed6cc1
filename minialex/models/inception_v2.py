"""Inception v2 as the paper of batch normalisation has it (Ioffe, Szegedy 2015, figure 5): "BN-Inception".

GoogLeNet with batch normalisation before every ReLU, two 3x3 in place of each 5x5, mean pooling in most blocks, and
blocks of stride 2 in place of the poolings between them. (The paper of Inception v3 calls another network v2.)
"""

from dataclasses import replace

from minialex.devices.device import Devices
from minialex.layers import AvgPool2D, Branches, Dropout, GlobalAvgPool2D, Linear, MaxPool2D, Sequential
from minialex.layers.init import generator, xavier_uniform
from minialex.models.inception_v4 import BlockMaker
from minialex.models.network import SMALL, TORCHVISION, Network, pictures_of, recorded
from minialex.words import check_choice

# Figure 5: maps of 1x1; 3x3 reduce, 3x3; double 3x3 reduce, 3x3; the pooling and the maps after it. 3c and 4e have
# stride 2, no 1x1, and their pooling is passed on as it is.
TABLE = {
    "3a": (64, (64, 64), (64, 96), ("mean", 32)),
    "3b": (64, (64, 96), (64, 96), ("mean", 64)),
    "3c": (0, (128, 160), (64, 96), ("max", 0)),
    "4a": (224, (64, 96), (96, 128), ("mean", 128)),
    "4b": (192, (96, 128), (96, 128), ("mean", 128)),
    "4c": (160, (128, 160), (128, 160), ("mean", 128)),
    "4d": (96, (128, 192), (160, 192), ("mean", 128)),
    "4e": (0, (128, 192), (192, 256), ("max", 0)),
    "5a": (352, (192, 320), (160, 224), ("mean", 128)),
    "5b": (352, (192, 320), (192, 224), ("max", 128)),
}


def block(make, c, row):
    """(The block, how many maps it makes)."""
    one, (reduce3, three), (reduce_double, double), (kind, after) = row
    last = (3, 2) if not one else (3,)  # kernel and stride
    paths = {"1x1": make.path(c, (one, 1))} if one else {}
    paths["3x3"] = narrower(make, c, (reduce3, 1), (three, *last))
    paths["double3x3"] = narrower(make, c, (reduce_double, 1), (double, 3), (double, *last))
    if after:
        pool = AvgPool2D(3, 1, padding=1) if kind == "mean" else MaxPool2D(3, 1, padding=1)
        paths["pool"] = Sequential(pool, make.path(c, (after, 1)))
    else:
        paths["pool"] = MaxPool2D(3, 2, padding=1)
    maps = [
        make.maps(one) if one else 0,
        make.maps(three),
        make.maps(double),
        make.maps(after) if after else c,
    ]
    return Branches(paths), sum(maps)


def narrower(make, c, *rows):
    """A path whose last 3x3 keeps half the size, rounded up, where it has a stride: with padding 1."""
    *first, (count, kernel, *stride) = rows
    inputs = make.maps(first[-1][0])
    last = make.conv(inputs, make.maps(count), kernel, stride=stride[0] if stride else 1, padding=1)
    before = make.path(c, *first)
    return Sequential(*(before if len(first) > 1 else [before]), last)


@recorded
def inception_v2(
    num_classes: int = 1000,
    preset: str = "paper",
    width: float = 1.0,
    image_size: int | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """Inception v2, BN-Inception: 11,285,224 parameters.

    (Published copies have biases before batch normalisation as well, 10,016, which change nothing: 11,295,240.)
    Input (N, 3, 224, 224); output: the logits (N, classes).
    preset: "paper", or "small" for pictures of 32x32: one convolution before the blocks.
    width scales the maps, image_size the crop.
    Raises ValueError for a preset that is unknown, or a picture that is too small.

    >>> model = inception_v2(10, preset="small", width=0.1)
    >>> model.forward(np.zeros((2, 3, 32, 32), dtype=np.float32)).shape
    (2, 10)
    """
    check_choice(preset, ("paper", "small"), "preset")
    small = preset == "small"
    picture = pictures_of(
        SMALL if small else replace(TORCHVISION, crop=224), image_size, least=2 if small else 17
    )
    make = BlockMaker(width, generator(rng))
    maps, c = make.maps(64), make.maps(192)
    if small:
        layers = {"conv1": make.conv(3, c, 3, padding=1)}
    else:
        layers = {
            "conv1": make.conv(3, maps, 7, stride=2, padding=3),
            "pool1": MaxPool2D(3, 2, padding=1),
            "conv2_reduce": make.conv(maps, maps, 1),
            "conv2": make.conv(maps, c, 3, padding=1),
            "pool2": MaxPool2D(3, 2, padding=1),
        }
    for name, row in TABLE.items():
        layers[f"inception{name}"], c = block(make, c, row)
    return Network(
        picture,
        num_classes,
        {
            **layers,
            "global_pool": GlobalAvgPool2D(),
            "dropout": Dropout(0.2, seed=int(make.rng.integers(2**31))),
            "fc": Linear(c, num_classes, rng=make.rng, init=xavier_uniform),
        },
    ).to(devices)
