"""Networks by one name, as command lines have it: "resnet50", "vgg16_bn"."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial

from minialex.models.alexnet import alexnet
from minialex.models.densenet import TABLE, densenet
from minialex.models.googlenet import googlenet
from minialex.models.inception import inception_v3
from minialex.models.inception_resnet import inception_resnet
from minialex.models.inception_v2 import inception_v2
from minialex.models.inception_v4 import inception_v4
from minialex.models.network import Network
from minialex.models.resnet import BLOCKS, SMALL_DEPTHS, resnet, shortcut_taken
from minialex.models.smartnet import smartnet
from minialex.models.vgg import COLUMNS, vgg
from minialex.models.zfnet import zfnet
from minialex.words import did_you_mean, nearest

NETWORKS: dict[str, Callable] = {
    "alexnet": alexnet,
    "zfnet": zfnet,
    **{f"vgg{depth}": partial(vgg, depth, batch_norm=False) for depth in COLUMNS},
    **{f"vgg{depth}_bn": partial(vgg, depth, batch_norm=True) for depth in COLUMNS},
    "googlenet": googlenet,
    "inception_v2": inception_v2,
    "inception_v3": inception_v3,
    "inception_v4": inception_v4,
    **{f"inception_resnet_v{version}": partial(inception_resnet, version) for version in (1, 2)},
    **{f"resnet{depth}": partial(resnet, depth) for depth in BLOCKS},
    **{f"densenet{depth}": partial(densenet, depth) for depth in TABLE},
    "smartnet": smartnet,
}


def family(make: Callable) -> Callable:
    """The function of a family of networks, of which a name has some arguments."""
    return make.func if isinstance(make, partial) else make


FAMILIES = {family(make).__name__: family(make) for make in NETWORKS.values()}

# The small versions, for pictures of 32x32. ResNets and DenseNets have other depths there, those of their papers, in
# the order of how many parameters the networks have. AlexNet's has its layers, a quarter as wide, for pictures of
# 96x96; the weights of 2012, N(0, 0.01) on pixels from 0 to 255, stall in it.
SMALL_ALEXNET = {"width": 0.25, "image_size": 96, "init": "he", "scale": 1 / 64}
DEPTHS = {
    **{f"resnet{depth}": other for depth, other in SMALL_DEPTHS.items()},
    **dict(zip((f"densenet{depth}" for depth in (121, 169, 201, 161)), (40, 100, 190, 250), strict=True)),
}
SMALL_NETWORKS: dict[str, Callable] = {
    name: partial(family(make), DEPTHS[name]) if name in DEPTHS else make for name, make in NETWORKS.items()
}
SMALL_NETWORKS = {
    name: partial(make, preset="cifar" if family(make) is resnet else "small")
    for name, make in SMALL_NETWORKS.items()
    if name != "alexnet"
} | {"alexnet": partial(alexnet, **SMALL_ALEXNET)}
PRESETS_OF_SMALL = ("small", "cifar")


def network(name: str, small: bool = False) -> Callable:
    """The function that makes a network, or its small version: for pictures of 32x32, AlexNet's for 96x96.

    Raises ValueError, with the nearest names, for one that there is not.

    >>> network("resnet5")
    Traceback (most recent call last):
    ValueError: there is no network 'resnet5'; the nearest are resnet50, resnet152, resnet34
    >>> f"{network('resnet18', small=True)(num_classes=10)}"
    'resnet(20)'
    """
    if not isinstance(name, str):
        raise ValueError(f"a network is called by its name, as 'resnet50', not {name!r}")
    if name in NETWORKS:
        return (SMALL_NETWORKS if small else NETWORKS)[name]
    near = nearest(name, NETWORKS, most=3, cutoff=0.4)
    nearest_ones = f"the nearest {'is' if len(near) == 1 else 'are'} {', '.join(near)}"
    there = nearest_ones if near else f"there are {', '.join(NETWORKS)}"
    raise ValueError(f"there is no network {name!r}; {there}")


def sketch(name: str, small: bool = False, image_size: int | None = None) -> Network:
    """The network with hardly any maps: what hangs on no width costs nothing there, names, kernels and pictures.

    >>> sketch("inception_v3").input.crop, sum(p.value.size for p in sketch("vgg16").parameters())
    (299, 33126)
    """
    return network(name, small)(num_classes=2, width=1 / 64, image_size=image_size, devices="cpu")


def name_of(architecture: Mapping) -> tuple[str, bool]:
    """The name of a network, and whether it is the small version; of what `model.architecture` says.

    One that has no name gets one like theirs.

    >>> name_of(vgg(11, batch_norm=True, preset="small", width=0.1).architecture)
    ('vgg11_bn', True)
    >>> name_of(resnet(8, preset="cifar").architecture)
    ('resnet8', True)
    >>> name_of(resnet(20, preset="cifar", width=0.25, layers=(2, 3, 4)).architecture)
    ('resnet20_2_3_4', True)
    """
    small = architecture.get("preset") in PRESETS_OF_SMALL
    layers = architecture.get("layers") or ()  # other numbers of blocks than any name's
    for name, make in (SMALL_NETWORKS if small else NETWORKS).items():
        if (
            family(make).__name__ == architecture["network"]
            and _arguments(make).items() <= architecture.items()
            and not layers
        ):
            return name, small
    which = architecture.get("depth", architecture.get("version", ""))
    return "_".join([f"{architecture['network']}{which}", *map(str, layers)]), small


def _arguments(make):
    """What a name says of its family's arguments."""
    if not isinstance(make, partial):
        return {}
    return dict(inspect.signature(make.func).bind_partial(*make.args, **make.keywords).arguments)


def settled(architecture: Mapping) -> dict:
    """The same with the shortcut that a ResNet took, which older records leave to it.

    >>> settled({"network": "resnet", "preset": "cifar", "shortcut": None, "plain": False})["shortcut"]
    'A'
    """
    known = dict(architecture)
    if known.get("network") == "resnet" and {"preset", "shortcut", "plain"} <= set(known):
        known["shortcut"] = shortcut_taken(known["shortcut"], known["preset"], known["plain"])
    return known


def rebuilt(architecture: Mapping, **others) -> Network:
    """The network that `model.architecture` tells of; others: arguments besides, or in their place.

    Raises ValueError for a family that there is not.

    >>> model = resnet(8, 3, preset="cifar", width=0.25)
    >>> rebuilt(model.architecture, num_classes=5).architecture == {**model.architecture, "num_classes": 5}
    True
    """
    if (name := architecture["network"]) not in FAMILIES:
        raise ValueError(
            f"there is no network {name!r}{did_you_mean(name, FAMILIES)}; there are {', '.join(FAMILIES)}"
        )
    make = FAMILIES[name]
    known = inspect.signature(make).parameters
    return make(**{**{name: value for name, value in architecture.items() if name in known}, **others})
