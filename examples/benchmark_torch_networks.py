"""Networks after AlexNet as plain PyTorch modules, for benchmark.py: torchvision's, under torchvision's names.

ResNet-18, VGG-11 and DenseNet-121, as their papers' tables have them (He et al. 2015, Simonyan and Zisserman 2014,
Huang et al. 2016); width scales the maps as ours does.
"""

from collections import OrderedDict

import torch
from torch import nn

from minialex.models.network import scaled


def relu():
    return nn.ReLU(inplace=True)


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, inputs, maps, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, maps, 3, stride), nn.BatchNorm2d(maps)
        self.conv2, self.bn2 = conv(maps, maps, 3), nn.BatchNorm2d(maps)
        self.relu, self.downsample = relu(), None
        if stride > 1 or inputs != maps:
            self.downsample = nn.Sequential(conv(inputs, maps, 1, stride), nn.BatchNorm2d(maps))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet18(width, classes):
    maps = [scaled(64, width) * 2**number for number in range(4)]
    layers = OrderedDict(
        conv1=conv(3, maps[0], 7, 2), bn1=nn.BatchNorm2d(maps[0]), relu=relu(), maxpool=nn.MaxPool2d(3, 2, 1)
    )
    inputs = maps[0]
    for number, outputs in enumerate(maps):
        first = BasicBlock(inputs, outputs, 1 if number == 0 else 2)
        layers[f"layer{number + 1}"] = nn.Sequential(first, BasicBlock(outputs, outputs, 1))
        inputs = outputs
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(inputs, classes)}
    return nn.Sequential(layers)


def vgg11(width, classes):
    features, inputs = [], 3
    for count, maps in zip((1, 1, 2, 2, 2), (64, 128, 256, 512, 512), strict=True):
        outputs = scaled(maps, width)
        for _ in range(count):
            features += [nn.Conv2d(inputs, outputs, 3, padding=1), relu()]
            inputs = outputs
        features.append(nn.MaxPool2d(2))
    units = scaled(4096, width)
    classifier = [
        nn.Linear(inputs * 7 * 7, units), relu(), nn.Dropout(0.5),
        nn.Linear(units, units), relu(), nn.Dropout(0.5), nn.Linear(units, classes),
    ]  # fmt: skip
    layers = {
        "features": nn.Sequential(*features),
        "avgpool": nn.AdaptiveAvgPool2d(7),
        "flatten": nn.Flatten(),
    }
    return nn.Sequential(OrderedDict(layers, classifier=nn.Sequential(*classifier)))


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, 4 * growth, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), conv(4 * growth, growth, 3)
        self.relu = relu()

    def forward(self, maps):
        y = self.conv1(self.relu(self.norm1(torch.cat(maps, 1))))
        return self.conv2(self.relu(self.norm2(y)))


class DenseBlock(nn.ModuleDict):
    def forward(self, x):
        maps = [x]
        for layer in self.values():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def densenet121(width, classes):
    maps, growth = scaled(64, width), scaled(32, width)
    features = OrderedDict(
        conv0=conv(3, maps, 7, 2), norm0=nn.BatchNorm2d(maps), relu0=relu(), pool0=nn.MaxPool2d(3, 2, 1)
    )
    for number, count in enumerate((6, 12, 24, 16), start=1):
        inside = {f"denselayer{i + 1}": DenseLayer(maps + i * growth, growth) for i in range(count)}
        features[f"denseblock{number}"] = DenseBlock(inside)
        maps += count * growth
        if number < 4:
            between = {"norm": nn.BatchNorm2d(maps), "relu": relu(), "conv": conv(maps, maps // 2, 1)}
            features[f"transition{number}"] = nn.Sequential(OrderedDict(between, pool=nn.AvgPool2d(2)))
            maps //= 2
    features["norm5"] = nn.BatchNorm2d(maps)
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(features), relu=relu(), avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(),
            classifier=nn.Linear(maps, classes),
        )
    )  # fmt: skip


NETWORKS = {"resnet18": resnet18, "vgg11": vgg11, "densenet121": densenet121}
