"""ResNet: layers that learn what is to be added to their input (He, Zhang, Ren, Sun 2015).

Table 1 of the paper, and section 4.2 for the small ones. Two dialects: where the maps become smaller, the paper's
bottleneck has the stride in its first convolution, 1x1, torchvision's in its second, 3x3. (18 and 34 have no
bottlenecks, and are the same in both.)
"""

from collections.abc import Sequence

from minialex.devices.device import Devices
from minialex.layers import BatchNorm2D, Conv2D, GlobalAvgPool2D, Layer, Linear, MaxPool2D, ReLU, Sequential
from minialex.layers.init import generator, he_normal
from minialex.layers.layer import Array
from minialex.models.alexnet import PictureInput
from minialex.models.network import (
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
from minialex.words import check_choice, counted, did_you_mean, is_one_of, yes_or_no

INPUTS = {
    # Minus the mean picture, and 2012's colour noise: section 3.4.
    "paper": PictureInput(crop=224, scale=1 / 255),
    "torchvision": TORCHVISION,
    # Minus the mean picture: section 4.2.
    "cifar": PictureInput(crop=32, scale=1 / 255, colour=None),
}
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}  # table 1

SMALL_DEPTHS = dict(zip(BLOCKS, (20, 32, 44, 56, 110), strict=True))  # of "cifar", as --small has it


class Residual(Layer):
    """y = relu(body(x) + x); where the body changes the shape, the shortcut is a layer: relu(body(x) + shortcut(x))

    (Equations 1 and 2.) Backward: the gradient of the sum goes to both, the same array; what they give back is added.
    `plain`: without the shortcut, y = relu(body(x)), the network that it is compared with.
    """

    hangs_on_parts = True
    downsample: Layer | None = None
    plain = False

    def body(self) -> list[Layer]:
        """The layers that learn, in order."""
        raise TypeError(f"{type(self).__name__} does not say what its body is")

    def forward(self, x: Array) -> Array:
        body = forward_through(self.body(), x)
        if self.plain:
            return self.relu.forward(body)
        shortcut = self.downsample.forward(x) if self.downsample else x
        if shortcut.shape != body.shape:
            raise ValueError(
                f"{self}: the body gives shape {body.shape}, the shortcut {shortcut.shape}: it needs a `downsample`"
            )
        total = body + shortcut
        return self.relu.forward(total)

    def backward(self, grad_y: Array) -> Array:
        grad_total = self.relu.backward(grad_y)
        of_body = backward_through(self.body(), grad_total)
        if self.plain:
            return of_body
        of_shortcut = self.downsample.backward(grad_total) if self.downsample else grad_total
        return of_body + of_shortcut


class BasicBlock(Residual):
    """Two 3x3 (figure 5, left)."""

    widens = 1

    def __init__(self, inputs, maps, stride, rng, stride_first=False):
        self.conv1, self.bn1 = conv(inputs, maps, 3, rng, stride), BatchNorm2D(maps)
        self.relu1 = ReLU()
        self.conv2, self.bn2 = conv(maps, maps, 3, rng), BatchNorm2D(maps)
        self.relu = ReLU()

    def body(self):
        return [self.conv1, self.bn1, self.relu1, self.conv2, self.bn2]


class Bottleneck(Residual):
    """1x1 makes the maps fewer, 3x3 works on them, 1x1 makes them four times as many (figure 5, right)."""

    widens = 4

    def __init__(self, inputs, maps, stride, rng, stride_first=False):
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1, self.bn1 = conv(inputs, maps, 1, rng, first), BatchNorm2D(maps)
        self.relu1 = ReLU()
        self.conv2, self.bn2 = conv(maps, maps, 3, rng, second), BatchNorm2D(maps)
        self.relu2 = ReLU()
        self.conv3, self.bn3 = conv(maps, 4 * maps, 1, rng), BatchNorm2D(4 * maps)
        self.relu = ReLU()

    def body(self):
        return [self.conv1, self.bn1, self.relu1, self.conv2, self.bn2, self.relu2, self.conv3, self.bn3]


class PadShortcut(Layer):
    """Shortcut A: every `stride`-th pixel, and maps of zeros where there are to be more (section 3.3): no weights

    Shapes: x (N, C, H, W); y (N, maps, ceil(H / stride), ceil(W / stride)).
    """

    input_rank = 4

    def __init__(self, maps: int, stride: int):
        self.maps, self.stride = maps, stride

    def check_input(self, x):
        super().check_input(x)
        if x.shape[1] > self.maps:
            raise ValueError(
                f"{self} makes {counted(self.maps, 'map')}, and cannot take maps away: the input has shape {x.shape}"
            )

    def forward(self, x: Array) -> Array:
        self.save(shape=x.shape)
        kept = x[:, :, :: self.stride, :: self.stride]
        y = self.xp.zeros((len(x), self.maps, *kept.shape[2:]), dtype=x.dtype)
        y[:, : x.shape[1]] = kept
        return y

    def backward(self, grad_y: Array) -> Array:
        grad_x = self.xp.zeros(self.saved.shape, dtype=grad_y.dtype)
        grad_x[:, :, :: self.stride, :: self.stride] = grad_y[:, : grad_x.shape[1]]
        return grad_x


def conv(inputs, outputs, kernel, rng, stride=1) -> Conv2D:
    """A convolution that keeps the size, but for its stride; batch normalisation follows, so it has no bias."""
    return Conv2D(inputs, outputs, kernel, stride, kernel // 2, bias=False, rng=rng, init=he_normal)


def stage(
    kind, blocks, inputs, maps, stride, rng, shortcut="B", stride_first=False, plain=False
) -> Sequential:
    """The blocks of one size; the first one makes the maps smaller and more."""
    made = []
    for number in range(blocks):
        step = stride if number == 0 else 1
        block = kind(inputs, maps, step, rng, stride_first)
        outputs = maps * kind.widens
        block.plain = plain
        if not plain and (step > 1 or inputs != outputs):
            projection = Sequential(conv(inputs, outputs, 1, rng, step), BatchNorm2D(outputs))
            block.downsample = projection if shortcut == "B" else PadShortcut(outputs, step)
        made.append(block)
        inputs = outputs
    return Sequential(*made)


def shortcut_taken(shortcut: str | None, preset: str, plain: bool) -> str | None:
    """The one that was asked for, or the preset's; None for a network without."""
    return None if plain else shortcut or ("A" if preset == "cifar" else "B")


@recorded
def resnet(
    depth: int = 18,
    num_classes: int = 1000,
    preset: str = "torchvision",
    width: float = 1.0,
    image_size: int | None = None,
    shortcut: str | None = None,
    plain: bool = False,
    layers: Sequence[int] | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """ResNet-18 (11,689,512 parameters), 34 (21,797,672), 50 (25,557,032), 101 (44,549,160), 152 (60,192,808).

    Input (N, 3, 224, 224); output: the logits (N, classes).
    preset: "torchvision" or "paper", which differ in where a bottleneck's stride stands (see the head of this file), or
    "cifar" for pictures of 32x32: depth 6n + 2, that is 20, 32, 44, 56, 110 (section 4.2), three stages of 16, 32 and
    64 maps.
    shortcut, where the shape changes: "B" projects, "A" pads with zeros (the default of "cifar").
    plain: without shortcuts. width scales the maps, image_size the crop.
    layers: blocks of each stage, in place of the table's; depth then says which table, and which kind of block.
    Raises ValueError for a depth, preset or shortcut that is unknown, or layers that do not fit.

    >>> model = resnet(20, num_classes=10, preset="cifar")
    >>> sum(p.value.size for p in model.parameters())
    269722
    """
    if isinstance(preset, str) and preset == "small":
        number = positive(depth, "depth")
        other = f'resnet({SMALL_DEPTHS.get(number, number)}, preset="cifar")'
        raise ValueError(f'unknown preset "small": for a ResNet, --small is {other}')
    check_choice(preset, INPUTS, "preset")
    if not is_one_of(shortcut, (None, "A", "B")):
        meant = did_you_mean(shortcut, ("A", "B"))
        raise ValueError(f'shortcut must be "A" or "B", not {shortcut!r}{meant}')
    plain = yes_or_no(plain, "plain")
    shortcut = shortcut_taken(shortcut, preset, plain)
    picture = pictures_of(INPUTS[preset], image_size, least=1)
    rng, depth = generator(rng), positive(depth, "depth")
    if preset == "cifar":
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f'preset "cifar" has 6n + 2 layers: 8, 14, 20, 32, 44, 56, 110, ..., not {depth}'
            )
        blocks, kept = blocks_of(layers, ((depth - 2) // 6,) * 3)
        made = _cifar(blocks, num_classes, width, shortcut, plain, rng)
    else:
        if depth not in BLOCKS:
            raise ValueError(
                f'there is no ResNet-{depth}: use {", ".join(map(str, BLOCKS))}, or preset="cifar", for pictures of '
                "32x32, with 20, 32, 44, 56, ..."
            )
        blocks, kept = blocks_of(layers, BLOCKS[depth])
        kind = BasicBlock if depth < 50 else Bottleneck
        made = _imagenet(kind, blocks, num_classes, width, shortcut, plain, preset == "paper", rng)
    model = Network(picture, num_classes, made)
    model.resolved = {**kept, "shortcut": shortcut}
    return model.to(devices)


def _imagenet(kind, blocks, num_classes, width, shortcut, plain, stride_first, rng):
    """Table 1."""
    maps = [scaled(64, width) * 2**number for number in range(4)]
    layers = {
        "conv1": Conv2D(3, maps[0], 7, 2, 3, bias=False, rng=rng, init=he_normal),
        "bn1": BatchNorm2D(maps[0]),
        "relu": ReLU(),
        "maxpool": MaxPool2D(3, 2, padding=1),
    }
    inputs = maps[0]
    for number, count in enumerate(blocks):
        stride = 1 if number == 0 else 2
        layers[f"layer{number + 1}"] = stage(
            kind, count, inputs, maps[number], stride, rng, shortcut, stride_first, plain
        )
        inputs = maps[number] * kind.widens
    return {
        **layers,
        "avgpool": GlobalAvgPool2D(),
        "fc": Linear(inputs, num_classes, rng=rng, init=he_normal),
    }


def _cifar(blocks, num_classes, width, shortcut, plain, rng):
    """Section 4.2."""
    maps = [scaled(16, width) * 2**number for number in range(3)]
    layers = {"conv1": conv(3, maps[0], 3, rng), "bn1": BatchNorm2D(maps[0]), "relu": ReLU()}
    inputs = maps[0]
    for number, count in enumerate(blocks):
        stride = 1 if number == 0 else 2
        layers[f"layer{number + 1}"] = stage(
            BasicBlock, count, inputs, maps[number], stride, rng, shortcut, plain=plain
        )
        inputs = maps[number]
    return {
        **layers,
        "avgpool": GlobalAvgPool2D(),
        "fc": Linear(inputs, num_classes, rng=rng, init=he_normal),
    }
