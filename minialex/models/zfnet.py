"""ZFNet: AlexNet with a first layer that sees more finely (Zeiler, Fergus 2013, figure 3).

Found by looking inside: 11x11 every 4 pixels became 7x7 every 2. One tower; sizes are rounded up in the poolings, so
that 224 pixels become 110, 55, 26, 13 and 6. What the paper calls contrast normalisation across maps is 2012's.
"""

from minialex.devices.device import Devices
from minialex.layers import Conv2D, Dropout, Flatten, Linear, LocalResponseNorm, MaxPool2D, ReLU
from minialex.layers.init import generator, he_normal, normal
from minialex.models.alexnet import PictureInput
from minialex.models.network import SMALL, Network, pictures_of, recorded, scaled
from minialex.shapes import output_size
from minialex.words import check_choice

INPUTS = {
    "paper": PictureInput(crop=224, colour=None),  # minus the mean picture: section 3.1
    "small": SMALL,
}


@recorded
def zfnet(
    num_classes: int = 1000,
    preset: str = "paper",
    width: float = 1.0,
    image_size: int | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> Network:
    """ZFNet: 62,357,608 parameters.

    Input (N, 3, 224, 224); output: the logits (N, classes).
    preset: "paper" (weights normal with 0.01, biases 0, section 3.1), or "small" for pictures of 32x32: conv1 and
    conv2 3x3, both every pixel, weights He-normal.
    width scales maps and units, image_size the crop.
    Raises ValueError for a preset that is unknown, or a picture that is too small.

    >>> model = zfnet(10, preset="small", width=0.125)
    >>> model.forward(np.zeros((1, 3, 32, 32), dtype=np.float32)).shape
    (1, 10)
    """
    check_choice(preset, INPUTS, "preset")
    picture = pictures_of(INPUTS[preset], image_size, least=12 if preset == "small" else 63)
    small, rng = preset == "small", generator(rng)
    conv1, conv2 = ((3, 1, 1), (3, 1, 1)) if small else ((7, 2, 1), (5, 2, 0))  # kernel, stride, padding
    side = side_of_pool5(picture.crop, conv1, conv2)
    init = he_normal if small else normal(0.01)
    c1, c2, c3, units = (scaled(count, width) for count in (96, 256, 384, 4096))

    def conv(inputs, outputs, kernel=3, stride=1, padding=1):
        return Conv2D(inputs, outputs, kernel, stride, padding, rng=rng, init=init)

    def dropout():
        return Dropout(0.5, seed=int(rng.integers(2**31)))

    layers = {
        "conv1": conv(3, c1, *conv1),
        "relu1": ReLU(),
        "pool1": MaxPool2D(3, 2, ceil_mode=True),
        "norm1": LocalResponseNorm(),
        "conv2": conv(c1, c2, *conv2),
        "relu2": ReLU(),
        "pool2": MaxPool2D(3, 2, ceil_mode=True),
        "norm2": LocalResponseNorm(),
        "conv3": conv(c2, c3),
        "relu3": ReLU(),
        "conv4": conv(c3, c3),
        "relu4": ReLU(),
        "conv5": conv(c3, c2),
        "relu5": ReLU(),
        "pool5": MaxPool2D(3, 2, ceil_mode=True),
        "flatten": Flatten(),
        "fc6": Linear(c2 * side * side, units, rng=rng, init=init),
        "relu6": ReLU(),
        "drop6": dropout(),
        "fc7": Linear(units, units, rng=rng, init=init),
        "relu7": ReLU(),
        "drop7": dropout(),
        "fc8": Linear(units, num_classes, rng=rng, init=init),
    }
    return Network(picture, num_classes, layers).to(devices)


def side_of_pool5(size, conv1, conv2):
    """How many pixels wide the maps are that fc6 reads."""
    side, pool = size, (3, 2, 0)
    for window, ceil in ((conv1, False), (pool, True), (conv2, False), (pool, True), (pool, True)):
        side = output_size(side, *window, ceil)
    return side
