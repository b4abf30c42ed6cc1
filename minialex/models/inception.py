"""Inception v3: large kernels become several small ones (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2015, table 1).

5x5 becomes two 3x3 (figure 5), 7x7 becomes 1x7 and 7x1 (figure 6); where maps become smaller, convolution and pooling
do it side by side (figure 10). Names are torchvision's, which has them from the published network.
"""

from dataclasses import replace

from minialex.devices.device import Devices
from minialex.layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    Linear,
    MaxPool2D,
    ReLU,
    Sequential,
)
from minialex.layers.branches import cut, sum_of
from minialex.layers.init import generator, he_normal, xavier_uniform
from minialex.models.network import (
    SMALL,
    TORCHVISION,
    Mixed,
    Network,
    NetworkWithExits,
    backward_through,
    pictures_of,
    recorded,
    scaled,
)
from minialex.words import check_choice, yes_or_no

V3 = replace(TORCHVISION, crop=299)


class Maker:
    """Makes convolutions, with one generator and one width."""

    def __init__(self, width, rng):
        self.width, self.rng = width, rng

    def maps(self, count):
        return scaled(count, self.width)

    def conv(self, inputs, outputs, kernel, **geometry):
        """Convolution, batch normalisation, ReLU."""
        return Sequential(
            conv=Conv2D(inputs, outputs, kernel, bias=False, rng=self.rng, init=he_normal, **geometry),
            bn=BatchNorm2D(outputs, eps=1e-3),
            relu=ReLU(),
        )

    def chain(self, inputs, *rows):
        """Convolutions one after the other: each (maps, kernel), at the full size."""
        made = []
        for count, (kh, kw) in rows:
            outputs = self.maps(count)
            made.append(self.conv(inputs, outputs, (kh, kw), padding=(kh // 2, kw // 2)))
            inputs = outputs
        return made


class InceptionA(Mixed):
    """Figure 5: 35x35."""

    def __init__(self, make, inputs, pooled):
        (self.branch1x1,) = make.chain(inputs, (64, (1, 1)))
        self.branch5x5_1, self.branch5x5_2 = make.chain(inputs, (48, (1, 1)), (64, (5, 5)))
        self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3 = make.chain(
            inputs, (64, (1, 1)), (96, (3, 3)), (96, (3, 3))
        )
        self.pool = AvgPool2D(3, 1, padding=1)
        (self.branch_pool,) = make.chain(inputs, (pooled, (1, 1)))
        self.outputs = sum(make.maps(count) for count in (64, 64, 96, pooled))

    def paths(self):
        return [
            [self.branch1x1],
            [self.branch5x5_1, self.branch5x5_2],
            [self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3],
            [self.pool, self.branch_pool],
        ]


class InceptionB(Mixed):
    """Figure 10: from 35x35 to 17x17."""

    def __init__(self, make, inputs):
        self.branch3x3 = make.conv(inputs, make.maps(384), 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = make.chain(inputs, (64, (1, 1)), (96, (3, 3)))
        self.branch3x3dbl_3 = make.conv(make.maps(96), make.maps(96), 3, stride=2)
        self.pool = MaxPool2D(3, 2)
        self.outputs = make.maps(384) + make.maps(96) + inputs

    def paths(self):
        return [
            [self.branch3x3],
            [self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3],
            [self.pool],
        ]


class InceptionC(Mixed):
    """Figure 6: 17x17, with kernels of 1x7 and 7x1."""

    def __init__(self, make, inputs, maps):
        (self.branch1x1,) = make.chain(inputs, (192, (1, 1)))
        self.branch7x7_1, self.branch7x7_2, self.branch7x7_3 = make.chain(
            inputs, (maps, (1, 1)), (maps, (1, 7)), (192, (7, 1))
        )
        double = make.chain(
            inputs, (maps, (1, 1)), (maps, (7, 1)), (maps, (1, 7)), (maps, (7, 1)), (192, (1, 7))
        )
        self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3 = double[:3]
        self.branch7x7dbl_4, self.branch7x7dbl_5 = double[3:]
        self.pool = AvgPool2D(3, 1, padding=1)
        (self.branch_pool,) = make.chain(inputs, (192, (1, 1)))
        self.outputs = 4 * make.maps(192)

    def paths(self):
        return [
            [self.branch1x1],
            [self.branch7x7_1, self.branch7x7_2, self.branch7x7_3],
            [
                self.branch7x7dbl_1,
                self.branch7x7dbl_2,
                self.branch7x7dbl_3,
                self.branch7x7dbl_4,
                self.branch7x7dbl_5,
            ],
            [self.pool, self.branch_pool],
        ]


class InceptionD(Mixed):
    """From 17x17 to 8x8."""

    def __init__(self, make, inputs):
        (self.branch3x3_1,) = make.chain(inputs, (192, (1, 1)))
        self.branch3x3_2 = make.conv(make.maps(192), make.maps(320), 3, stride=2)
        self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3 = make.chain(
            inputs, (192, (1, 1)), (192, (1, 7)), (192, (7, 1))
        )
        self.branch7x7x3_4 = make.conv(make.maps(192), make.maps(192), 3, stride=2)
        self.pool = MaxPool2D(3, 2)
        self.outputs = make.maps(320) + make.maps(192) + inputs

    def paths(self):
        return [
            [self.branch3x3_1, self.branch3x3_2],
            [self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4],
            [self.pool],
        ]


class InceptionE(Layer):
    """Figure 7: 8x8. Two of its paths fork at their ends into 1x3 and 3x1."""

    hangs_on_parts = True

    def __init__(self, make, inputs):
        (self.branch1x1,) = make.chain(inputs, (320, (1, 1)))
        (self.branch3x3_1,) = make.chain(inputs, (384, (1, 1)))
        (self.branch3x3_2a,) = make.chain(make.maps(384), (384, (1, 3)))
        (self.branch3x3_2b,) = make.chain(make.maps(384), (384, (3, 1)))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = make.chain(inputs, (448, (1, 1)), (384, (3, 3)))
        (self.branch3x3dbl_3a,) = make.chain(make.maps(384), (384, (1, 3)))
        (self.branch3x3dbl_3b,) = make.chain(make.maps(384), (384, (3, 1)))
        self.pool = AvgPool2D(3, 1, padding=1)
        (self.branch_pool,) = make.chain(inputs, (192, (1, 1)))
        self.outputs = make.maps(320) + 4 * make.maps(384) + make.maps(192)

    def forward(self, x):
        fork = self.branch3x3_1.forward(x)
        double = self.branch3x3dbl_2.forward(self.branch3x3dbl_1.forward(x))
        ys = [
            self.branch1x1.forward(x),
            self.branch3x3_2a.forward(fork),
            self.branch3x3_2b.forward(fork),
            self.branch3x3dbl_3a.forward(double),
            self.branch3x3dbl_3b.forward(double),
            self.branch_pool.forward(self.pool.forward(x)),
        ]
        self.save(channels=[y.shape[1] for y in ys])
        return self.xp.concatenate(ys, axis=1)

    def backward(self, grad_y):
        one, two_a, two_b, three_a, three_b, pooled = cut(grad_y, self.saved.channels)
        grad_fork = self.branch3x3_2a.backward(two_a) + self.branch3x3_2b.backward(two_b)
        grad_double = self.branch3x3dbl_3a.backward(three_a) + self.branch3x3dbl_3b.backward(three_b)
        return sum_of(
            [
                self.branch1x1.backward(one),
                self.branch3x3_1.backward(grad_fork),
                backward_through([self.branch3x3dbl_1, self.branch3x3dbl_2], grad_double),
                backward_through([self.pool, self.branch_pool], pooled),
            ]
        )


@recorded
def inception_v3(
    num_classes: int = 1000,
    preset: str = "torchvision",
    auxiliaries: bool = True,
    width: float = 1.0,
    image_size: int | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """Inception v3: 23,834,568 parameters, with its auxiliary classifier 27,161,264.

    Input (N, 3, 299, 299). Output: in training with the auxiliary (N, 2, classes), the end's last; else (N, classes).
    preset: "torchvision", or "small" for pictures of 32x32: the blocks of 35x35 at 32x32, and so on, no auxiliary.
    width scales the maps, image_size the crop.
    Raises ValueError for a preset that is unknown, or a picture that is too small.

    >>> model = inception_v3(10, preset="small", width=0.1)
    >>> model.forward(np.zeros((2, 3, 32, 32), dtype=np.float32)).shape
    (2, 10)
    """
    check_choice(preset, ("torchvision", "small"), "preset")
    auxiliaries = yes_or_no(auxiliaries, "auxiliaries")
    small = preset == "small"
    least = 7 if small else 299 if auxiliaries else 75  # the auxiliary reads 17x17 maps
    picture = pictures_of(SMALL if small else V3, image_size, least)
    make = Maker(width, generator(rng))
    trunk, inputs = _first_layers(make, small)
    blocks = {
        "Mixed_5b": lambda c: InceptionA(make, c, 32),
        "Mixed_5c": lambda c: InceptionA(make, c, 64),
        "Mixed_5d": lambda c: InceptionA(make, c, 64),
        "Mixed_6a": lambda c: InceptionB(make, c),
        "Mixed_6b": lambda c: InceptionC(make, c, 128),
        "Mixed_6c": lambda c: InceptionC(make, c, 160),
        "Mixed_6d": lambda c: InceptionC(make, c, 160),
        "Mixed_6e": lambda c: InceptionC(make, c, 192),
        "Mixed_7a": lambda c: InceptionD(make, c),
        "Mixed_7b": lambda c: InceptionE(make, c),
        "Mixed_7c": lambda c: InceptionE(make, c),
    }
    ends = {}
    for name, block in blocks.items():
        trunk[name] = block(inputs)
        ends[name] = inputs = trunk[name].outputs
    trunk |= {
        "avgpool": GlobalAvgPool2D(),
        "dropout": Dropout(0.5, seed=int(make.rng.integers(2**31))),
        "fc": Linear(inputs, num_classes, rng=make.rng, init=xavier_uniform),
    }
    if small or not auxiliaries:
        model = Network(picture, num_classes, trunk)
        model.resolved = {"auxiliaries": False}
        return model.to(devices)
    head = Sequential(
        pool=AvgPool2D(5, 3),
        conv0=make.conv(ends["Mixed_6e"], make.maps(128), 1),
        conv1=make.conv(make.maps(128), make.maps(768), 5),
        avgpool=AdaptiveAvgPool2D(1),
        flatten=Flatten(),
        fc=Linear(make.maps(768), num_classes, rng=make.rng, init=xavier_uniform),
    )
    heads = {"AuxLogits": ("Mixed_6e", head)}
    return NetworkWithExits(picture, num_classes, trunk, heads, weights=(0.4, 1.0)).to(devices)


def _first_layers(make, small):
    """What comes before the blocks: (the layers, how many maps they make)."""
    a, b, c, d = (make.maps(count) for count in (32, 64, 80, 192))
    if small:
        return {"Conv2d_1a_3x3": make.conv(3, d, 3, padding=1)}, d
    layers = {
        "Conv2d_1a_3x3": make.conv(3, a, 3, stride=2),
        "Conv2d_2a_3x3": make.conv(a, a, 3),
        "Conv2d_2b_3x3": make.conv(a, b, 3, padding=1),
        "maxpool1": MaxPool2D(3, 2),
        "Conv2d_3b_1x1": make.conv(b, c, 1),
        "Conv2d_4a_3x3": make.conv(c, d, 3),
        "maxpool2": MaxPool2D(3, 2),
    }
    return layers, d
