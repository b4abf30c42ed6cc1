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

from minialex.devices.device import Device, array_module, device_of, place, to_numpy, transfer
from minialex.devices.twins import textbook
from minialex.errors import (
    BackwardBeforeForward,
    CheckpointError,
    ClusterError,
    DataError,
    DeviceMismatch,
    DeviceUnavailable,
    Diverged,
    DownloadFailed,
    DtypeMismatch,
    FolderInUse,
    NotFinite,
)
from minialex.layers import (
    RBF,
    AdaptiveAvgPool2D,
    AvgPool2D,
    BatchNorm2D,
    Branches,
    Broadcast,
    Buffer,
    Conv2D,
    Dense,
    Dropout,
    Exchange,
    ExitLoss,
    Exits,
    Flatten,
    Gate,
    Gather,
    GlobalAvgPool2D,
    Identity,
    Layer,
    Linear,
    LocalResponseNorm,
    MAPLoss,
    MaxPool2D,
    Model,
    Parameter,
    ReLU,
    SameMapNorm,
    Scale,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    Subsampling,
    TableConv2D,
    Tanh,
    Towers,
)
from minialex.training.optim import SGD
from minialex.words import did_you_mean

if TYPE_CHECKING:
    from minialex import check, claims, cluster, data, models, naive, plot, weights
    from minialex.check import strategies
    from minialex.check.gradient import gradcheck
    from minialex.layers import init
    from minialex.study import anatomy, leaving, neighbours, timeline
    from minialex.study.describe import summary
    from minialex.study.equal_costs import allocations
    from minialex.tracing.recorder import trace
    from minialex.training import checkpoint, optim
    from minialex.training import loop as train
    from minialex.training.data_parallel import DataParallel
    from minialex.weights.whole import load, save

__version__ = "0.1.0"

__all__ = [
    "RBF", "SGD", "AdaptiveAvgPool2D", "AvgPool2D", "BackwardBeforeForward", "BatchNorm2D", "Branches", "Broadcast",
    "Buffer", "CheckpointError", "ClusterError", "Conv2D", "DataError", "DataParallel", "Dense", "Device",
    "DeviceMismatch", "DeviceUnavailable", "Diverged", "DownloadFailed", "Dropout", "DtypeMismatch", "Exchange",
    "ExitLoss", "Exits", "Flatten", "FolderInUse", "Gate", "Gather", "GlobalAvgPool2D", "Identity", "Layer",
    "Linear", "LocalResponseNorm", "MAPLoss", "MaxPool2D", "Model", "NotFinite", "Parameter", "ReLU", "SameMapNorm",
    "Scale", "Sequential", "Sigmoid", "SoftmaxCrossEntropy", "Subsampling", "TableConv2D", "Tanh", "Towers",
    "allocations", "anatomy", "array_module", "check", "checkpoint", "claims", "cluster", "data", "device_of",
    "gradcheck", "init", "leaving", "load", "models", "naive", "neighbours", "optim", "place", "plot", "save",
    "strategies", "summary", "textbook", "timeline", "to_numpy", "trace", "train", "transfer", "weights",
]  # fmt: skip

# What costs time to import is imported when it is first used.
_ROOMS = {name: name for name in "check claims cluster data models naive plot weights".split()}
_ROOMS |= {"checkpoint": "training.checkpoint", "init": "layers.init", "neighbours": "study.neighbours"}
_ROOMS |= {"optim": "training.optim", "strategies": "check.strategies", "timeline": "study.timeline"}
_ROOMS |= {"anatomy": "study.anatomy", "leaving": "study.leaving", "train": "training.loop"}
_FROM = {
    "DataParallel": "training.data_parallel",
    "allocations": "study.equal_costs",
    "gradcheck": "check.gradient",
    "load": "weights.whole",
    "save": "weights.whole",
    "summary": "study.describe",
    "trace": "tracing.recorder",
}
# What is looked for here under other libraries' names, and where it is.
_ELSEWHERE = {
    **{name: f"mx.train.{name}(model, x, ...)" for name in ("fit", "evaluate", "predict")},
    **dict.fromkeys(("Adam", "AdamW", "RMSprop", "optimizers"), "the optimizer here is mx.SGD"),
    **dict.fromkeys(("nn", "functional"), "layers are in mx itself, mx.Conv2D, mx.Linear"),
    "losses": "losses are in mx itself, mx.SoftmaxCrossEntropy()",
    "CrossEntropyLoss": "mx.SoftmaxCrossEntropy()",
    "DataLoader": "mx.data.ArrayBatches(x, y, 64)",
    "datasets": 'mx.data.load("mnist")',
    "Module": "mx.Layer",
    **dict.fromkeys(("load_model", "from_pretrained"), "mx.load(model, path)"),
    "save_model": "mx.save(model, path)",
    **dict.fromkeys(("MSELoss", "BCELoss", "NLLLoss", "loss"), "there are SoftmaxCrossEntropy and MAPLoss"),
    **dict.fromkeys(("Softmax", "LogSoftmax", "softmax"), "it is a part of mx.SoftmaxCrossEntropy()"),
    **dict.fromkeys(
        ("LayerNorm", "GroupNorm", "InstanceNorm2d"), "there are BatchNorm2D and LocalResponseNorm"
    ),
    **dict.fromkeys(
        ("random", "manual_seed", "seed"), "give rng= or seed= where numbers are drawn; left out it is 0"
    ),
    **dict.fromkeys(("Tensor", "tensor", "array", "from_numpy"), "arrays are NumPy's, or CuPy's"),
    **dict.fromkeys(("no_grad", "autograd"), "nothing is recorded; model.eval() is for tests"),
    **dict.fromkeys(
        ("lenet5", "alexnet", "vgg", "resnet", "densenet", "smartnet"), "networks are in mx.models"
    ),
    "cuda": 'model.to("cuda:0")',
    "Activation": "mx.ReLU(), mx.Tanh(), mx.Sigmoid()",
    "Input": "mx.Model(..., picture_shape=(1, 28, 28)), where it is to be known",
}


def __getattr__(name):
    if name in _ROOMS:
        return importlib.import_module(f"minialex.{_ROOMS[name]}")
    if name in _FROM:
        found = getattr(importlib.import_module(f"minialex.{_FROM[name]}"), name)
        globals()[name] = found
        return found
    if name in _ELSEWHERE:
        raise AttributeError(f"minialex has no {name!r}: {_ELSEWHERE[name]}")
    near = [known for known in __all__ if known.lower() == name.lower()]
    hint = f"; it has {near[0]!r}" if near else did_you_mean(name, __all__)
    raise AttributeError(f"minialex has no {name!r}{hint}")


def __dir__():
    return __all__
