"""Networks by one name, as command lines have it: "resnet50", "vgg16_bn"."""

import difflib
from collections.abc import Callable
from functools import partial

from minialex.models.alexnet import alexnet
from minialex.models.densenet import TABLE, densenet
from minialex.models.googlenet import googlenet
from minialex.models.inception import inception_v3
from minialex.models.inception_v2 import inception_v2
from minialex.models.inception_v4 import inception_resnet, inception_v4
from minialex.models.resnet import BLOCKS, resnet
from minialex.models.vgg import COLUMNS, vgg
from minialex.models.zfnet import zfnet

NETWORKS: dict[str, Callable] = {
    "alexnet": alexnet,
    "zfnet": zfnet,
    **{f"vgg{depth}": partial(vgg, depth) for depth in COLUMNS},
    **{f"vgg{depth}_bn": partial(vgg, depth, batch_norm=True) for depth in COLUMNS},
    "googlenet": googlenet,
    "inception_v2": inception_v2,
    "inception_v3": inception_v3,
    "inception_v4": inception_v4,
    **{f"inception_resnet_v{version}": partial(inception_resnet, version) for version in (1, 2)},
    **{f"resnet{depth}": partial(resnet, depth) for depth in BLOCKS},
    **{f"densenet{depth}": partial(densenet, depth) for depth in TABLE},
}


def network(name: str) -> Callable:
    """The function that makes a network. Raises ValueError, with the nearest names, for one that there is not.

    >>> network("resnet5")
    Traceback (most recent call last):
    ValueError: there is no network 'resnet5'; the nearest are resnet50, resnet152, resnet34
    """
    if name in NETWORKS:
        return NETWORKS[name]
    near = difflib.get_close_matches(name, NETWORKS, n=3, cutoff=0.4)
    there = f"the nearest are {', '.join(near)}" if near else f"there are {', '.join(NETWORKS)}"
    raise ValueError(f"there is no network {name!r}; {there}")
