"""The networks, one file for each family."""

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

__all__ = [
    "alexnet", "densenet", "googlenet", "inception_resnet", "inception_v2", "inception_v3", "inception_v4", "lenet5",
    "resnet", "smartnet", "vgg", "zfnet",
]  # fmt: skip
