"""The layers. Each file reads on its own; layer.py says what they share."""

from minialex.layers.activation import ReLU, Sigmoid, Tanh
from minialex.layers.batch_norm import BatchNorm2D
from minialex.layers.branches import Branches, Identity, Scale
from minialex.layers.conv import Conv2D, TableConv2D
from minialex.layers.dense import Dense
from minialex.layers.dropout import Dropout
from minialex.layers.exits import ExitLoss, Exits
from minialex.layers.gate import Gate
from minialex.layers.layer import Layer
from minialex.layers.linear import RBF, Flatten, Linear
from minialex.layers.loss import Loss, MAPLoss, SoftmaxCrossEntropy
from minialex.layers.model import Model
from minialex.layers.norm import LocalResponseNorm, ResponseNorm, SameMapNorm
from minialex.layers.parameter import Buffer, Constant, Parameter
from minialex.layers.pool import AdaptiveAvgPool2D, AvgPool2D, GlobalAvgPool2D, MaxPool2D, Pool2D, Subsampling
from minialex.layers.sequential import Sequential
from minialex.layers.towers import Broadcast, Exchange, Gather, Towers

__all__ = [
    "RBF",
    "AdaptiveAvgPool2D",
    "AvgPool2D",
    "BatchNorm2D",
    "Branches",
    "Broadcast",
    "Buffer",
    "Constant",
    "Conv2D",
    "Dense",
    "Dropout",
    "Exchange",
    "ExitLoss",
    "Exits",
    "Flatten",
    "Gate",
    "Gather",
    "GlobalAvgPool2D",
    "Identity",
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
    "Scale",
    "Sequential",
    "Sigmoid",
    "SoftmaxCrossEntropy",
    "Subsampling",
    "TableConv2D",
    "Tanh",
    "Towers",
]  # fmt: skip
