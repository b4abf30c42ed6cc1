"""Is a set of pictures small for a network? Then a network's small version is named before it is trained.

Few: more than 1,000 weights for each training picture. AlexNet of 2012 had 48 on ImageNet; on ten classes of 200
pictures it has 28,500. Small: pictures whose shorter side, the median, is less than a third of the crop that the
network takes.
"""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from minialex.data.decode import FORMATS, open_picture
from minialex.models.names import SMALL_NETWORKS
from minialex.training.networks import pictures_wanted
from minialex.words import counted

WEIGHTS = 1000  # for each training picture
TIMES = 3  # as wide as a picture, at most, the crop
LOOKED_AT = 100  # pictures, spread over the set
RULE = (
    f"where there are more than {WEIGHTS:,} weights for each training picture, or where pictures (their median) are "
    "less than a third as wide as the network's crops"
)


def advice(parameters: int, settings: Mapping, files) -> str:
    """What to say before training; "" where the set is large enough, or the network small already.

    files: of the training pictures. Weights that others have trained (--pretrained) can do with few pictures.
    """
    if settings["small"] or settings["arch"] not in SMALL_NETWORKS or not files:
        return ""
    crop, reasons = pictures_wanted(settings).crop, []
    if parameters > WEIGHTS * len(files) and not settings["pretrained"]:
        each = round(parameters / len(files))
        reasons.append(f"{each:,} weights for each of {counted(len(files), 'training picture')}")
    side = median_side(files)
    if side and TIMES * side < crop:
        reasons.append(f"pictures of {side} pixels (the median) are enlarged to {settings['side']}")
    if not reasons:
        return ""
    arch = "" if settings["arch"] == "alexnet" else f"-a {settings['arch']} "
    return f"Small data: {'; '.join(reasons)}. There is a smaller network for such: {arch}--small"


def median_side(files) -> int | None:
    """The median of the pictures' shorter sides, of up to 100 that can be read; None where none can."""
    sides = []
    for i in np.unique(np.linspace(0, len(files) - 1, LOOKED_AT).astype(int)):
        # Whatever a decoder raises: what reads them all says more.
        with suppress(Exception), open_picture(files[i], FORMATS) as picture:
            sides.append(min(picture.size))
    return int(np.median(sides)) if sides else None
