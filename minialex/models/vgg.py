"""VGG: small kernels only, and many of them (Simonyan, Zisserman 2014, table 1).

Two 3x3 one after the other see what one 5x5 sees, with fewer weights and one ReLU more.
"""

from minialex.devices.device import Devices
from minialex.layers import (
    AdaptiveAvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dropout,
    Flatten,
    Linear,
    MaxPool2D,
    ReLU,
    Sequential,
)
from minialex.layers.init import generator, he_normal, normal
from minialex.models.alexnet import PictureInput
from minialex.models.network import SMALL, TORCHVISION, Network, pictures_of, recorded, scaled
from minialex.words import check_choice, is_one_of, yes_or_no

# Table 1: columns A, B, D, E. How many 3x3 convolutions there are of each number of maps; a pooling after each group.
COLUMNS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
MAPS = (64, 128, 256, 512, 512)
INPUTS = {
    "torchvision": TORCHVISION,
    "paper": PictureInput(
        crop=224, mean=(123.68, 116.779, 103.939), colour="paper"
    ),  # the mean colour: section 2.1
    "small": SMALL,
}


@recorded
def vgg(
    depth: int = 16,
    num_classes: int = 1000,
    batch_norm: bool = False,
    preset: str = "torchvision",
    width: float = 1.0,
    image_size: int | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """VGG-11 (132,863,336 parameters), 13 (133,047,848), 16 (138,357,544), 19 (143,667,240).

    Input (N, 3, 224, 224); output: the logits (N, classes). Names are torchvision's: "features.0", "classifier.6".
    batch_norm: after each convolution, as torchvision's vgg16_bn: 138,365,992 parameters.
    preset: "torchvision" (weights He-normal), "paper" (weights normal with 0.1, as section 3.1 has it for A, which was
    trained first and whose layers the deeper ones began with), or "small": pictures of 32x32, and two layers of 512
    units less before the classes.
    width scales maps and units, image_size the crop: whatever comes out of the poolings is brought to 7x7.
    Raises ValueError for a depth or preset that is unknown, or a picture that is too small: 32 pixels are the least.

    >>> model = vgg(11, num_classes=10, preset="small", width=0.25)
    >>> model.forward(np.zeros((1, 3, 32, 32), dtype=np.float32)).shape
    (1, 10)
    """
    if not is_one_of(depth, COLUMNS):
        raise ValueError(f"there is no VGG-{depth}: use {', '.join(map(str, COLUMNS))}")
    check_choice(preset, INPUTS, "preset")
    picture = pictures_of(INPUTS[preset], image_size, least=32)
    rng = generator(rng)
    init = normal(0.1) if preset == "paper" else he_normal
    features, inputs = [], 3
    for count, maps in zip(COLUMNS[depth], MAPS, strict=True):
        outputs = scaled(maps, width)
        for _ in range(count):
            features.append(Conv2D(inputs, outputs, 3, padding=1, rng=rng, init=init))
            features += [BatchNorm2D(outputs)] * yes_or_no(batch_norm, "batch_norm")
            features.append(ReLU())
            inputs = outputs
        features.append(MaxPool2D(2))
    if preset == "small":
        return Network(
            picture,
            num_classes,
            {
                "features": Sequential(*features),
                "avgpool": AdaptiveAvgPool2D(1),
                "flatten": Flatten(),
                "classifier": Linear(inputs, num_classes, rng=rng, init=he_normal),
            },
        ).to(devices)
    units = scaled(4096, width)
    init = normal(0.1) if preset == "paper" else normal(0.01)
    classifier = [
        Linear(inputs * 7 * 7, units, rng=rng, init=init), ReLU(), Dropout(0.5, seed=int(rng.integers(2**31))),
        Linear(units, units, rng=rng, init=init), ReLU(), Dropout(0.5, seed=int(rng.integers(2**31))),
        Linear(units, num_classes, rng=rng, init=init),
    ]  # fmt: skip
    layers = {"features": Sequential(*features), "avgpool": AdaptiveAvgPool2D(7), "flatten": Flatten()}
    return Network(picture, num_classes, {**layers, "classifier": Sequential(*classifier)}).to(devices)
