"""The layers. Each file reads on its own; layer.py says what they share."""

from minialex.layers.activation import ReLU, Sigmoid, Tanh
from minialex.layers.conv import Conv2D, TableConv2D
from minialex.layers.dropout import Dropout
from minialex.layers.layer import Constant, Layer, Parameter
from minialex.layers.linear import RBF, Flatten, Linear
from minialex.layers.loss import Loss, MAPLoss, SoftmaxCrossEntropy
from minialex.layers.norm import LocalResponseNorm, ResponseNorm, SameMapNorm
from minialex.layers.pool import AvgPool2D, MaxPool2D, Pool2D, Subsampling
from minialex.layers.sequential import Model, Sequential
from minialex.layers.towers import Broadcast, Exchange, Gather, Towers

__all__ = [
    "RBF",
    "AvgPool2D",
    "Broadcast",
    "Constant",
    "Conv2D",
    "Dropout",
    "Exchange",
    "Flatten",
    "Gather",
    "Layer",
    "Linear",
    "LocalResponseNorm",
    "Loss",
    "MAPLoss",
    "MaxPool2D",
    "Model",
    "Parameter",
    "Pool2D",
    "ReLU",
    "ResponseNorm",
    "SameMapNorm",
    "Sequential",
    "Sigmoid",
    "SoftmaxCrossEntropy",
    "Subsampling",
    "TableConv2D",
    "Tanh",
    "Towers",
]  # fmt: skip
