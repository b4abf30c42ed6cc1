"""DenseNet: every layer reads the maps of all layers before it (Huang, Liu, van der Maaten, Weinberger 2016).

Table 1 of the paper. Names are torchvision's.
"""

from collections.abc import Sequence

from minialex.devices.device import Devices
from minialex.layers import (
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    GlobalAvgPool2D,
    Layer,
    Linear,
    MaxPool2D,
    ReLU,
    Sequential,
)
from minialex.layers.init import generator, he_normal
from minialex.layers.layer import Array
from minialex.models.network import (
    SMALL,
    TORCHVISION,
    Network,
    backward_through,
    blocks_of,
    forward_through,
    pictures_of,
    recorded,
    scaled,
)
from minialex.shapes import positive
from minialex.words import check_choice

# Depth: maps of the first convolution, growth, layers of each block.
TABLE = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


class DenseLayer(Layer):
    """growth new maps: normalise, ReLU, 1x1 to four times the growth, normalise, ReLU, 3x3 (section 3, DenseNet-B)"""

    hangs_on_parts = True

    def __init__(self, inputs, growth, rng):
        self.norm1, self.relu1 = BatchNorm2D(inputs), ReLU()
        self.conv1 = Conv2D(inputs, 4 * growth, 1, bias=False, rng=rng, init=he_normal)
        self.norm2, self.relu2 = BatchNorm2D(4 * growth), ReLU()
        self.conv2 = Conv2D(4 * growth, growth, 3, padding=1, bias=False, rng=rng, init=he_normal)

    def body(self):
        return [self.norm1, self.relu1, self.conv1, self.norm2, self.relu2, self.conv2]

    def forward(self, x: Array) -> Array:
        return forward_through(self.body(), x)

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        return backward_through(self.body(), grad_y, input_grad)


def transition(inputs, outputs, rng) -> Sequential:
    """Between blocks: fewer maps, and a quarter of the pixels."""
    return Sequential(
        norm=BatchNorm2D(inputs),
        relu=ReLU(),
        conv=Conv2D(inputs, outputs, 1, bias=False, rng=rng, init=he_normal),
        pool=AvgPool2D(2),
    )


@recorded
def densenet(
    depth: int = 121,
    num_classes: int = 1000,
    preset: str = "torchvision",
    width: float = 1.0,
    image_size: int | None = None,
    layers: Sequence[int] | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """DenseNet-121 (7,978,856 parameters), 161 (28,681,000), 169 (14,149,480), 201 (20,013,928).

    Input (N, 3, 224, 224); output: the logits (N, classes).
    preset: "torchvision", or "small" for pictures of 32x32: depth 6n + 4, that is 40, 100, ..., three blocks of n
    bottlenecks of growth 12, DenseNet-BC (section 4.2 and table 2: 0.8 million parameters at depth 100).
    width scales the first maps and the growth, image_size the crop.
    layers: how many each block has, in place of the table's; depth then says which table.
    Raises ValueError for a depth or preset that is unknown, layers that do not fit, or a picture that is too small.

    >>> model = densenet(100, num_classes=10, preset="small")
    >>> sum(p.value.size for p in model.parameters())
    769162
    """
    rng, depth = generator(rng), positive(depth, "depth")
    check_choice(preset, ("torchvision", "small"), "preset")
    if preset == "torchvision":
        if depth not in TABLE:
            raise ValueError(f"there is no DenseNet-{depth}: use {', '.join(map(str, TABLE))}")
        first, growth, blocks = TABLE[depth]
        picture, least = TORCHVISION, 29
    else:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f'preset "small" has 6n + 4 layers: 10, 16, 22, 40, 100, ..., not {depth}')
        first, growth, blocks = 24, 12, ((depth - 4) // 6,) * 3
        picture, least = SMALL, 4
    blocks, kept = blocks_of(layers, blocks)
    picture = pictures_of(picture, image_size, least)
    maps, growth = scaled(first, width), scaled(growth, width)
    if preset == "small":
        features = {"conv0": Conv2D(3, maps, 3, padding=1, bias=False, rng=rng, init=he_normal)}
    else:
        features = {
            "conv0": Conv2D(3, maps, 7, 2, 3, bias=False, rng=rng, init=he_normal),
            "norm0": BatchNorm2D(maps),
            "relu0": ReLU(),
            "pool0": MaxPool2D(3, 2, padding=1),
        }
    for number, count in enumerate(blocks, start=1):
        nodes = {f"denselayer{i + 1}": DenseLayer(maps + i * growth, growth, rng) for i in range(count)}
        features[f"denseblock{number}"] = Dense(**nodes)
        maps += count * growth
        if number < len(blocks):
            features[f"transition{number}"] = transition(maps, maps // 2, rng)
            maps //= 2
    features[f"norm{len(blocks) + 1 if preset == 'torchvision' else len(blocks)}"] = BatchNorm2D(maps)
    made = {
        "features": Sequential(**features),
        "relu": ReLU(),
        "avgpool": GlobalAvgPool2D(),
        "classifier": Linear(maps, num_classes, rng=rng, init=he_normal),
    }
    model = Network(picture, num_classes, made)
    model.resolved = kept
    return model.to(devices)
