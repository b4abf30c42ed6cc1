"""Inception v4 (Szegedy, Ioffe, Vanhoucke, Alemi 2016, figures 3 to 9). Its residual form: inception_resnet.py."""

from dataclasses import replace

from minialex.devices.device import Devices
from minialex.layers import (
    AvgPool2D,
    Branches,
    Dropout,
    GlobalAvgPool2D,
    Linear,
    MaxPool2D,
    Sequential,
)
from minialex.layers.branches import cut, sum_of
from minialex.layers.init import generator, xavier_uniform
from minialex.layers.layer import Array
from minialex.models.inception import Maker
from minialex.models.network import (
    SMALL,
    TORCHVISION,
    Mixed,
    Network,
    backward_through,
    forward_through,
    pictures_of,
    recorded,
)
from minialex.words import check_choice

INPUT = replace(TORCHVISION, crop=299, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class BlockMaker(Maker):
    """Makes the blocks' paths too. A row of a path is (maps, kernel) or (maps, kernel, stride): with a stride, and
    where `valid` is asked for, nothing is padded."""

    def path(self, inputs, *rows, valid=False):
        """One convolution, or several one after the other."""
        made = []
        for count, kernel, *stride in rows:
            kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
            padding = (0, 0) if stride or valid else (kh // 2, kw // 2)
            outputs = self.maps(count)
            made.append(
                self.conv(inputs, outputs, (kh, kw), stride=stride[0] if stride else 1, padding=padding)
            )
            inputs = outputs
        return made[0] if len(made) == 1 else Sequential(*made)

    def pooled(self, inputs, count):
        """The mean of each 3x3, of real pixels only, and a 1x1."""
        pool = AvgPool2D(3, 1, padding=1, count_include_pad=False)
        return Sequential(pool, self.path(inputs, (count, 1)))


# ---- v4's stem and blocks: figures 3 to 9 -----------------------------------------------------------


def stem_a(make):
    """Figure 3, its first join: from 147x147 to 73x73."""
    c = make.maps(64)
    return Branches({"maxpool": MaxPool2D(3, 2), "conv": make.path(c, (96, 3, 2))}), c + make.maps(96)


def stem_b(make, c):
    """Its second: 71x71."""
    last = make.conv(make.maps(64), make.maps(96), 3)
    short = Sequential(make.path(c, (64, 1)), last)
    wide = Sequential(
        *make.path(c, (64, 1), (64, (1, 7)), (64, (7, 1))), make.conv(make.maps(64), make.maps(96), 3)
    )
    return Branches({"branch0": short, "branch1": wide}), 2 * make.maps(96)


def stem_c(make, c):
    """Its third: 35x35."""
    return Branches({"conv": make.path(c, (192, 3, 2)), "maxpool": MaxPool2D(3, 2)}), c + make.maps(192)


def inception_a(make, c):
    """Figure 4."""
    block = Branches(
        {
            "branch0": make.path(c, (96, 1)),
            "branch1": make.path(c, (64, 1), (96, 3)),
            "branch2": make.path(c, (64, 1), (96, 3), (96, 3)),
            "branch3": make.pooled(c, 96),
        }
    )
    return block, 4 * make.maps(96)


def reduction_a(make, c, k, l, m, n):
    """Figure 7, its letters from table 1."""
    block = Branches(
        {
            "branch0": make.path(c, (n, 3, 2)),
            "branch1": make.path(c, (k, 1), (l, 3), (m, 3, 2)),
            "branch2": MaxPool2D(3, 2),
        }
    )
    return block, make.maps(n) + make.maps(m) + c


def inception_b(make, c):
    """Figure 5."""
    block = Branches(
        {
            "branch0": make.path(c, (384, 1)),
            "branch1": make.path(c, (192, 1), (224, (1, 7)), (256, (7, 1))),
            "branch2": make.path(c, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
            "branch3": make.pooled(c, 128),
        }
    )
    return block, make.maps(384) + 2 * make.maps(256) + make.maps(128)


def reduction_b(make, c):
    """Figure 8."""
    block = Branches(
        {
            "branch0": make.path(c, (192, 1), (192, 3, 2)),
            "branch1": make.path(c, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2)),
            "branch2": MaxPool2D(3, 2),
        }
    )
    return block, make.maps(192) + make.maps(320) + c


class InceptionC(Mixed):
    """Figure 6: two of its paths fork at their ends into 1x3 and 3x1."""

    def __init__(self, make, c):
        self.branch0 = make.path(c, (256, 1))
        self.branch1_0 = make.path(c, (384, 1))
        self.branch1_1a = make.path(make.maps(384), (256, (1, 3)))
        self.branch1_1b = make.path(make.maps(384), (256, (3, 1)))
        self.branch2_0 = make.path(c, (384, 1))
        self.branch2_1 = make.path(make.maps(384), (448, (3, 1)))
        self.branch2_2 = make.path(make.maps(448), (512, (1, 3)))
        self.branch2_3a = make.path(make.maps(512), (256, (1, 3)))
        self.branch2_3b = make.path(make.maps(512), (256, (3, 1)))
        self.branch3 = make.pooled(c, 256)

    def forward(self, x: Array) -> Array:
        fork = self.branch1_0.forward(x)
        longer = forward_through([self.branch2_0, self.branch2_1, self.branch2_2], x)
        ys = [
            self.branch0.forward(x),
            self.branch1_1a.forward(fork),
            self.branch1_1b.forward(fork),
            self.branch2_3a.forward(longer),
            self.branch2_3b.forward(longer),
            self.branch3.forward(x),
        ]
        self.save(channels=[y.shape[1] for y in ys])
        return self.xp.concatenate(ys, axis=1)

    def backward(self, grad_y: Array) -> Array:
        one, two_a, two_b, three_a, three_b, pooled = cut(grad_y, self.saved.channels)
        grad_fork = self.branch1_1a.backward(two_a) + self.branch1_1b.backward(two_b)
        grad_longer = self.branch2_3a.backward(three_a) + self.branch2_3b.backward(three_b)
        return sum_of(
            [
                self.branch0.backward(one),
                self.branch1_0.backward(grad_fork),
                backward_through([self.branch2_0, self.branch2_1, self.branch2_2], grad_longer),
                self.branch3.backward(pooled),
            ]
        )


@recorded
def inception_v4(
    num_classes: int = 1000,
    preset: str = "paper",
    width: float = 1.0,
    image_size: int | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """Inception v4: 42,679,816 parameters. Names are timm's.

    Input (N, 3, 299, 299); output: the logits (N, classes).
    preset: "paper", or "small" for pictures of 32x32: one convolution in place of the stem.
    width scales the maps, image_size the crop.
    Raises ValueError for a preset that is unknown, or a picture that is too small.

    >>> model = inception_v4(10, preset="small", width=0.05)
    >>> model.forward(np.zeros((2, 3, 32, 32), dtype=np.float32)).shape
    (2, 10)
    """
    check_choice(preset, ("paper", "small"), "preset")
    small = preset == "small"
    picture = pictures_of(SMALL if small else INPUT, image_size, least=7 if small else 75)
    make = BlockMaker(width, generator(rng))
    if small:
        c = make.maps(384)
        features = [make.conv(3, c, 3, padding=1)]
    else:
        features, c = stem_v4(make)
    for block, count in (
        (inception_a, 4),
        (lambda make, c: reduction_a(make, c, 192, 224, 256, 384), 1),
        (inception_b, 7),
        (reduction_b, 1),
        (lambda make, c: (InceptionC(make, c), 6 * make.maps(256)), 3),
    ):
        for _ in range(count):
            made, c = block(make, c)
            features.append(made)
    return Network(
        picture,
        num_classes,
        {
            "features": Sequential(*features),
            "global_pool": GlobalAvgPool2D(),
            "head_drop": Dropout(0.2, seed=int(make.rng.integers(2**31))),  # kept: 0.8
            "last_linear": Linear(c, num_classes, rng=make.rng, init=xavier_uniform),
        },
    ).to(devices)


def stem_v4(make):
    """Figure 3: (the layers, how many maps they make)."""
    a = make.maps(32)
    layers = [
        make.conv(3, a, 3, stride=2),
        make.conv(a, a, 3),
        make.conv(a, make.maps(64), 3, padding=1),
    ]
    block, c = stem_a(make)
    layers.append(block)
    for part in (stem_b, stem_c):
        block, c = part(make, c)
        layers.append(block)
    return layers, c
