"""The networks."""

from minialex.models.alexnet import alexnet
from minialex.models.lenet import lenet5

__all__ = ["alexnet", "lenet5"]
