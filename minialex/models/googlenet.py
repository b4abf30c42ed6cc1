"""GoogLeNet, Inception v1: four paths side by side, 1x1 first (Szegedy et al. 2014, table 1).

Two dialects. "paper": convolutions with biases, 5x5 in the third path, response normalisation, no batch normalisation.
"torchvision": batch normalisation, and 3x3 in place of 5x5; names are its own in both.
The two classifiers on the way, `aux1` and `aux2`, only help in training (section 5): their losses count 0.3 each.
"""

from minialex.devices.device import Devices
from minialex.layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BatchNorm2D,
    Branches,
    Conv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Linear,
    LocalResponseNorm,
    MaxPool2D,
    ReLU,
    Sequential,
)
from minialex.layers.init import generator, he_normal, xavier_uniform
from minialex.models.alexnet import PictureInput
from minialex.models.network import (
    SMALL,
    TORCHVISION,
    Network,
    NetworkWithExits,
    pictures_of,
    recorded,
    scaled,
)
from minialex.words import check_choice, counted, yes_or_no

# Table 1: maps of 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj.
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUXILIARIES = {"aux1": "inception4a", "aux2": "inception4d"}
INPUTS = {
    "paper": PictureInput(crop=224, mean=(123.68, 116.779, 103.939), colour=None),
    "torchvision": TORCHVISION,
    "small": SMALL,
}


class Maker:
    """What makes the parts, in one dialect, with one generator and one width."""

    def __init__(self, paper, width, rng):
        self.paper, self.width, self.rng = paper, width, rng

    def maps(self, count):
        return scaled(count, self.width)

    def conv(self, inputs, outputs, kernel, **geometry):
        """A convolution and its ReLU; in torchvision's dialect with batch normalisation between them."""
        if self.paper:
            return Sequential(
                conv=Conv2D(inputs, outputs, kernel, rng=self.rng, init=xavier_uniform, **geometry),
                relu=ReLU(),
            )
        conv = Conv2D(inputs, outputs, kernel, bias=False, rng=self.rng, init=he_normal, **geometry)
        return Sequential(conv=conv, bn=BatchNorm2D(outputs, eps=1e-3), relu=ReLU())

    def inception(self, inputs, row):
        """Figure 2b: (the block, how many maps it makes)."""
        one, reduce3, three, reduce5, five, pooled = map(self.maps, row)
        kernel = 5 if self.paper else 3
        block = Branches(
            {
                "branch1": self.conv(inputs, one, 1),
                "branch2": Sequential(
                    self.conv(inputs, reduce3, 1),
                    self.conv(reduce3, three, 3, padding=1),
                ),
                "branch3": Sequential(
                    self.conv(inputs, reduce5, 1),
                    self.conv(reduce5, five, kernel, padding=kernel // 2),
                ),
                "branch4": Sequential(
                    MaxPool2D(3, 1, padding=1),
                    self.conv(inputs, pooled, 1),
                ),
            }
        )
        return block, one + three + five + pooled

    def auxiliary(self, inputs, num_classes):
        """A classifier on the way (section 5)."""
        units, maps = self.maps(1024), self.maps(128)
        pool = AvgPool2D(5, 3) if self.paper else AdaptiveAvgPool2D(4)
        return Sequential(
            pool=pool,
            conv=self.conv(inputs, maps, 1),
            flatten=Flatten(),
            fc1=Linear(maps * 16, units, rng=self.rng, init=xavier_uniform),
            relu=ReLU(),
            dropout=self.dropout(0.7),
            fc2=Linear(units, num_classes, rng=self.rng, init=xavier_uniform),
        )

    def dropout(self, p):
        return Dropout(p, seed=int(self.rng.integers(2**31)))


@recorded
def googlenet(
    num_classes: int = 1000,
    preset: str = "torchvision",
    auxiliaries: bool = True,
    width: float = 1.0,
    image_size: int | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """GoogLeNet: "paper" (6,998,552 parameters, with auxiliaries 13,378,280), "torchvision" (6,624,904; 13,004,888).

    Input (N, 3, 224, 224). Output: in training with auxiliaries (N, 3, classes), the end's last; else (N, classes).
    preset: or "small", torchvision's dialect for pictures of 32x32: the blocks alone, without auxiliaries.
    width scales the maps, image_size the crop.
    Raises ValueError for a preset that is unknown, or a picture that is too small.

    >>> model = googlenet(10, preset="small", width=0.25)
    >>> model.forward(np.zeros((2, 3, 32, 32), dtype=np.float32)).shape
    (2, 10)
    """
    check_choice(preset, INPUTS, "preset")
    auxiliaries = yes_or_no(auxiliaries, "auxiliaries")
    picture = pictures_of(INPUTS[preset], image_size, least=1)
    least = 224 if preset == "paper" and auxiliaries else 8 if preset == "small" else 33
    if picture.crop < least or (least == 224 and picture.crop > 238):
        raise ValueError(
            f"pictures of {counted(picture.crop, 'pixel')} are not for this network: {least} is the least"
            + (", 238 the most, since its auxiliaries read 4x4 maps" if least == 224 else "")
        )
    make = Maker(preset == "paper", width, generator(rng))
    trunk, inputs = _first_layers(make, preset)
    ends = {}
    for name, row in TABLE.items():
        trunk[f"inception{name}"], inputs = make.inception(inputs, row)
        ends[f"inception{name}"] = inputs
        if name == "3b":
            trunk["maxpool3"] = MaxPool2D(3, 2, ceil_mode=True)
        if name == "4e":
            trunk["maxpool4"] = MaxPool2D(3 if preset == "paper" else 2, 2, ceil_mode=True)
    dropout = make.dropout(0.4 if preset == "paper" else 0.2)
    fc = Linear(inputs, num_classes, rng=make.rng, init=xavier_uniform)
    trunk |= {"avgpool": GlobalAvgPool2D(), "dropout": dropout, "fc": fc}
    if not auxiliaries or preset == "small":
        model = Network(picture, num_classes, trunk)
        model.resolved = {"auxiliaries": False}
        return model.to(devices)
    heads = {name: (read, make.auxiliary(ends[read], num_classes)) for name, read in AUXILIARIES.items()}
    return NetworkWithExits(picture, num_classes, trunk, heads, weights=(0.3, 0.3, 1.0)).to(devices)


def _first_layers(make, preset):
    """What comes before the blocks: (the layers, how many maps they make)."""
    maps, more = make.maps(64), make.maps(192)
    if preset == "small":
        return {"conv1": make.conv(3, more, 3, padding=1)}, more

    def norm():
        return {"norm": LocalResponseNorm(5, alpha=1e-4 / 5, k=1.0)} if preset == "paper" else {}

    layers = {
        "conv1": make.conv(3, maps, 7, stride=2, padding=3),
        "maxpool1": MaxPool2D(3, 2, ceil_mode=True),
        **{f"{name}1": layer for name, layer in norm().items()},
        "conv2": make.conv(maps, maps, 1),
        "conv3": make.conv(maps, more, 3, padding=1),
        **{f"{name}3": layer for name, layer in norm().items()},
        "maxpool2": MaxPool2D(3, 2, ceil_mode=True),
    }
    return layers, more
