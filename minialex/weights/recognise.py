"""Which network arrays are of: their names and the sizes of their kernels tell, whatever its width and classes."""

from collections.abc import Mapping
from functools import cache

import numpy as np

from minialex.models.names import NETWORKS, SMALL_NETWORKS, sketch

Kernels = Mapping[str, tuple[int, ...]]  # by an array's name: (kh, kw), of what has one; else ()


def recognised(arrays: Mapping[str, np.ndarray]) -> tuple[str, bool] | None:
    """The network's name, and whether it is its small version; None where it is none of ours.

    >>> from minialex.models import resnet
    >>> from minialex.weights.grouped import export_grouped
    >>> recognised(export_grouped(resnet(20, preset="cifar", width=0.1)))
    ('resnet18', True)
    """
    found = kernels_in(arrays)
    for small, networks in ((False, NETWORKS), (True, SMALL_NETWORKS)):
        for name in networks:
            if kernels_of(name, small) == found:
                return name, small
    return None


def nearest(arrays: Mapping[str, np.ndarray]) -> tuple[str, bool]:
    """The network with the fewest names and kernels other than these; alexnet where none has one in common.

    >>> nearest({"conv1.weight": np.zeros((96, 3, 7, 7)), "conv1.bias": np.zeros(96)})
    ('zfnet', False)
    """
    found = set(kernels_in(arrays).items())

    def likeness(which):
        wanted = set(kernels_of(*which).items())
        return len(found & wanted) / len(found | wanted)

    every = [(name, small) for small, them in ((False, NETWORKS), (True, SMALL_NETWORKS)) for name in them]
    return max(every, key=likeness)  # of equals the first


def first_difference(arrays: Mapping[str, np.ndarray], name: str, small: bool = False) -> str:
    """What is the first that arrays lack, or have otherwise, or have besides, for a network; empty where nothing is.

    >>> first_difference({"conv1.weight": np.zeros((64, 3, 7, 7))}, "alexnet")
    'conv1.weight has a kernel of 7x7, that of alexnet 11x11'
    """
    found, wanted = kernels_in(arrays), kernels_of(name, small)
    for key, kernel in wanted.items():
        if key not in found:
            return f"{key} is missing"
        if found[key] != kernel:
            here, there = ("x".join(map(str, sizes)) or "none" for sizes in (found[key], kernel))
            return f"{key} has a kernel of {here}, that of {name} {there}"
    return next((f"{key[:80]} is unknown to {name}" for key in found if key not in wanted), "")


def kernels_in(arrays: Mapping[str, np.ndarray]) -> Kernels:
    return {name: array.shape[2:] for name, array in arrays.items() if not is_auxiliary(name)}


@cache
def kernels_of(name: str, small: bool = False) -> Kernels:
    model = sketch(name, small)
    return kernels_in({key: p.value for key, p in model.named_parameters() + model.named_buffers()})


def is_auxiliary(name: str) -> bool:
    """Is it a parameter of a classifier on the way? Files and networks may go without."""
    return name.lower().startswith("aux")
