"""The networks, one file for each family."""

import re
from types import ModuleType

from minialex.models.alexnet import alexnet
from minialex.models.densenet import densenet
from minialex.models.googlenet import googlenet
from minialex.models.inception import inception_v3
from minialex.models.inception_resnet import inception_resnet
from minialex.models.inception_v2 import inception_v2
from minialex.models.inception_v4 import inception_v4
from minialex.models.lenet import lenet5
from minialex.models.resnet import resnet
from minialex.models.smartnet import smartnet
from minialex.models.vgg import vgg
from minialex.models.zfnet import zfnet
from minialex.words import did_you_mean

__all__ = [
    "alexnet", "densenet", "googlenet", "inception_resnet", "inception_v2", "inception_v3", "inception_v4", "lenet5",
    "resnet", "smartnet", "vgg", "zfnet",
]  # fmt: skip


class _File(ModuleType):
    """A file of this room whose name could be a network's."""

    def __call__(self, *args, **kwargs):
        raise TypeError(f"{self.__name__} is a file; the networks in it: {self.networks}")


def _name_files():
    from minialex.models import inception, lenet

    for file, networks in ((lenet, "lenet5()"), (inception, "inception_v3()")):
        file.__class__, file.networks = _File, networks


_name_files()


def __getattr__(name):
    found = re.fullmatch(r"(vgg|resnet|densenet|inception_resnet)_?v?(\d+)(_bn)?", name, re.IGNORECASE)
    if found:
        family, number, norm = found.groups()
        batch_norm = ", batch_norm=True" if norm and family.lower() == "vgg" else ""
        hint = f": use {family.lower()}({number}{batch_norm})"
    else:
        hint = did_you_mean(name, __all__)
    raise AttributeError(f"minialex.models has no {name!r}{hint}")
