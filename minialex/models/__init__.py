"""The networks."""

from minialex.models.lenet import lenet5

__all__ = ["lenet5"]
