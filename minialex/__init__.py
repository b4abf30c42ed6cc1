"""minialex: LeNet-5 and AlexNet in NumPy and CuPy, with every number of the forward and backward pass in sight.

>>> import minialex as mx
>>> layer = mx.Conv2D(3, 8, kernel_size=5, padding=2)
>>> x = np.random.default_rng(0).standard_normal((2, 3, 9, 9), dtype=np.float32)
>>> y = layer.forward(x)
>>> grad_x = layer.backward(np.ones_like(y))
>>> layer.weight.grad.shape
(8, 3, 5, 5)
"""

import importlib
from typing import TYPE_CHECKING

from minialex.device import Device, array_module, device_of, place, to_numpy, transfer
from minialex.errors import (
    BackwardBeforeForward,
    CheckpointError,
    DataError,
    DeviceMismatch,
    DeviceUnavailable,
    DownloadFailed,
    DtypeMismatch,
    NotFinite,
)
from minialex.layers import (
    RBF,
    AvgPool2D,
    Broadcast,
    Conv2D,
    Dropout,
    Exchange,
    Flatten,
    Gather,
    Layer,
    Linear,
    LocalResponseNorm,
    MAPLoss,
    MaxPool2D,
    Model,
    Parameter,
    ReLU,
    SameMapNorm,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    Subsampling,
    TableConv2D,
    Tanh,
    Towers,
)
from minialex.optim import SGD

if TYPE_CHECKING:
    from minialex import (
        check,
        checkpoint,
        data,
        init,
        models,
        naive,
        neighbours,
        optim,
        plot,
        strategies,
        timeline,
        train,
        weights,
    )
    from minialex.data_parallel import DataParallel
    from minialex.describe import summary
    from minialex.gradient_check import gradcheck
    from minialex.tracing import trace

__version__ = "0.1.0"

__all__ = [
    "RBF", "SGD", "AvgPool2D", "BackwardBeforeForward", "Broadcast", "CheckpointError", "Conv2D", "DataError",
    "DataParallel", "Device", "DeviceMismatch", "DeviceUnavailable", "DownloadFailed", "Dropout", "DtypeMismatch",
    "Exchange", "Flatten", "Gather", "Layer", "Linear", "LocalResponseNorm", "MAPLoss", "MaxPool2D", "Model",
    "NotFinite", "Parameter", "ReLU", "SameMapNorm", "Sequential", "Sigmoid", "SoftmaxCrossEntropy", "Subsampling",
    "TableConv2D", "Tanh", "Towers", "array_module", "check", "checkpoint", "data", "device_of", "gradcheck",
    "init", "models", "naive", "neighbours", "optim", "place", "plot", "strategies", "summary", "timeline",
    "to_numpy", "trace", "train", "transfer", "weights",
]  # fmt: skip

# What costs time to import is imported when it is first used.
_ROOMS = set(
    "check checkpoint data init models naive neighbours optim plot strategies timeline train weights".split()
)
_FROM = {
    "DataParallel": "data_parallel",
    "gradcheck": "gradient_check",
    "summary": "describe",
    "trace": "tracing",
}


def __getattr__(name):
    if name in _ROOMS:
        return importlib.import_module(f"minialex.{name}")
    if name in _FROM:
        found = getattr(importlib.import_module(f"minialex.{_FROM[name]}"), name)
        globals()[name] = found
        return found
    near = [known for known in __all__ if known.lower() == name.lower()]
    raise AttributeError(f"minialex has no {name!r}" + (f"; it has {near[0]!r}" if near else ""))


def __dir__():
    return __all__
