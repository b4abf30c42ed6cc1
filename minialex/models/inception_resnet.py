"""Inception with residual connections, versions 1 and 2 (Szegedy, Ioffe, Vanhoucke, Alemi 2016, figures 10 to 19).

Two dialects of v2: the paper's, and the published network's, "timm" (the names are timm's in both): 10, 20 and 10
blocks in place of 5, 10 and 5, the stem of v3, residuals scaled by 0.17, 0.10 and 0.20, the last block alone by 1 and
without a ReLU. The paper scales by 0.1 to 0.3; here by 0.2. Where its figures 17 and 19 print 1154 and 2048 maps, 1152
and 2144 come in, and the sum needs as many: these are taken.
"""

from minialex.devices.device import Devices
from minialex.layers import (
    Branches,
    Conv2D,
    Dropout,
    GlobalAvgPool2D,
    Linear,
    MaxPool2D,
    ReLU,
    Scale,
    Sequential,
)
from minialex.layers.init import generator, he_normal, xavier_uniform
from minialex.layers.layer import Array
from minialex.models.inception_v4 import INPUT, BlockMaker, reduction_a, stem_v4
from minialex.models.network import (
    SMALL,
    Mixed,
    Network,
    pictures_of,
    recorded,
)
from minialex.shapes import is_whole
from minialex.words import check_choice


class InceptionResidual(Mixed):
    """y = relu(x + scale * conv2d(the paths' maps)); `conv2d` is 1x1 without a ReLU, so that the sum fits"""

    def __init__(self, make, c, rows, scale, relu=True):
        joined = 0
        self.count = len(rows)
        for number, row in enumerate(rows):
            setattr(self, f"branch{number}", make.path(c, *row))
            joined += make.maps(row[-1][0])
        self.conv2d = Conv2D(joined, c, 1, rng=make.rng, init=he_normal)
        self.scaled = Scale(scale)
        self.relu = ReLU() if relu else None

    def paths(self):
        return [[getattr(self, f"branch{number}")] for number in range(self.count)]

    def forward(self, x: Array) -> Array:
        body = self.scaled.forward(self.conv2d.forward(super().forward(x)))
        total = x + body
        return self.relu.forward(total) if self.relu else total

    def backward(self, grad_y: Array) -> Array:
        grad_total = self.relu.backward(grad_y) if self.relu else grad_y
        of_body = super().backward(self.conv2d.backward(self.scaled.backward(grad_total)))
        return grad_total + of_body


# Paths of the blocks, as rows of (maps, kernel).
V1 = {
    "A": [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (32, 3), (32, 3)]],
    "B": [[(128, 1)], [(128, 1), (128, (1, 7)), (128, (7, 1))]],
    "C": [[(192, 1)], [(192, 1), (192, (1, 3)), (192, (3, 1))]],
    "reduction A": (192, 192, 256, 384),
    "reduction B": [[(256, 1), (384, 3, 2)], [(256, 1), (256, 3, 2)], [(256, 1), (256, 3), (256, 3, 2)]],
}
V2 = {
    "A": [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)]],
    "B": [[(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))]],
    "C": [[(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))]],
    "reduction A": (256, 256, 384, 384),
    "reduction B": [[(256, 1), (384, 3, 2)], [(256, 1), (288, 3, 2)], [(256, 1), (288, 3), (320, 3, 2)]],
}


@recorded
def inception_resnet(
    version: int = 2,
    num_classes: int = 1000,
    preset: str | None = None,
    width: float = 1.0,
    image_size: int | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """Inception-ResNet-v2: 55,843,464 parameters as it was published; v1: 22,756,328.

    Input (N, 3, 299, 299); output: the logits (N, classes).
    preset: of v2 "timm", the published one, or "paper" (32,433,928); of v1 "paper"; of both "small", for pictures of
    32x32: the blocks of the paper behind one convolution.
    width scales the maps, image_size the crop.
    Raises ValueError for a version or preset that is unknown, or a picture that is too small.

    >>> model = inception_resnet(1, 10, preset="small", width=0.05)
    >>> model.forward(np.zeros((2, 3, 32, 32), dtype=np.float32)).shape
    (2, 10)
    """
    if not is_whole(version) or version not in (1, 2):
        raise ValueError(f"there are Inception-ResNet-v1 and v2, not {version!r}")
    presets = ("timm", "paper", "small") if version == 2 else ("paper", "small")
    preset = presets[0] if preset is None else preset
    check_choice(preset, presets, f"preset of Inception-ResNet-v{version}")
    small = preset == "small"
    picture = pictures_of(SMALL if small else INPUT, image_size, least=7 if small else 75)
    make, rows = BlockMaker(width, generator(rng)), V1 if version == 1 else V2
    if small:
        c = make.maps(256)
        layers = {"conv2d_1a": make.conv(3, c, 3, padding=1)}
    elif preset == "timm":
        layers, c = stem_published(make)
    elif version == 1:
        layers, c = stem_v1(make)
    else:
        features, c = stem_v4(make)
        layers = {"stem": Sequential(*features)}
    published = preset == "timm"
    counts, scales = ((10, 20, 9), (0.17, 0.10, 0.20)) if published else ((5, 10, 5), (0.2, 0.2, 0.2))
    layers["repeat"] = repeated(make, c, rows["A"], scales[0], counts[0])
    layers["mixed_6a"], c = reduction_a(make, c, *rows["reduction A"])
    layers["repeat_1"] = repeated(make, c, rows["B"], scales[1], counts[1])
    paths = {f"branch{i}": make.path(c, *row) for i, row in enumerate(rows["reduction B"])}
    layers["mixed_7a"] = Branches({**paths, f"branch{len(paths)}": MaxPool2D(3, 2)})
    c += sum(make.maps(row[-1][0]) for row in rows["reduction B"])
    layers["repeat_2"] = repeated(make, c, rows["C"], scales[2], counts[2])
    if published:
        layers["block8"] = InceptionResidual(make, c, rows["C"], 1.0, relu=False)
        layers["conv2d_7b"] = make.path(c, (1536, 1))
        c = make.maps(1536)
    model = Network(
        picture,
        num_classes,
        {
            **layers,
            "global_pool": GlobalAvgPool2D(),
            "head_drop": Dropout(0.2, seed=int(make.rng.integers(2**31))),
            "classif": Linear(c, num_classes, rng=make.rng, init=xavier_uniform),
        },
    )
    model.resolved = {"preset": preset}
    return model.to(devices)


def repeated(make, c, rows, scale, count):
    return Sequential(*(InceptionResidual(make, c, rows, scale) for _ in range(count)))


def stem_published(make):
    """The stem of v3, and one block of it."""
    a, b, c, d = (make.maps(count) for count in (32, 64, 80, 192))
    block = Branches(
        {
            "branch0": make.path(d, (96, 1)),
            "branch1": make.path(d, (48, 1), (64, 5)),
            "branch2": make.path(d, (64, 1), (96, 3), (96, 3)),
            "branch3": make.pooled(d, 64),
        }
    )
    layers = {
        "conv2d_1a": make.conv(3, a, 3, stride=2),
        "conv2d_2a": make.conv(a, a, 3),
        "conv2d_2b": make.conv(a, b, 3, padding=1),
        "maxpool_3a": MaxPool2D(3, 2),
        "conv2d_3b": make.conv(b, c, 1),
        "conv2d_4a": make.conv(c, d, 3),
        "maxpool_5a": MaxPool2D(3, 2),
        "mixed_5b": block,
    }
    return layers, 2 * make.maps(96) + 2 * make.maps(64)


def stem_v1(make):
    """Figure 14."""
    a, b, c, d, e = (make.maps(count) for count in (32, 64, 80, 192, 256))
    layers = {
        "conv2d_1a": make.conv(3, a, 3, stride=2),
        "conv2d_2a": make.conv(a, a, 3),
        "conv2d_2b": make.conv(a, b, 3, padding=1),
        "maxpool_3a": MaxPool2D(3, 2),
        "conv2d_3b": make.conv(b, c, 1),
        "conv2d_4a": make.conv(c, d, 3),
        "conv2d_4b": make.conv(d, e, 3, stride=2),
    }
    return layers, e
