"""Twins for NVIDIA GPUs: CUDA kernels."""

from minialex.devices.twins import Twin
from minialex.fast.cuda import bodies
from minialex.layers import BatchNorm2D, Conv2D, LocalResponseNorm, MaxPool2D, ReLU, TableConv2D

TWINS = {
    Conv2D: Twin(bodies.conv_forward, bodies.conv_backward, bodies.accepts),
    TableConv2D: Twin(bodies.table_forward, bodies.table_backward, bodies.accepts),
    MaxPool2D: Twin(bodies.max_forward, bodies.max_backward, bodies.accepts_max),
    LocalResponseNorm: Twin(bodies.norm_forward, bodies.norm_backward, bodies.accepts),
    BatchNorm2D: Twin(bodies.batch_norm_forward, bodies.batch_norm_backward, bodies.accepts),
    ReLU: Twin(bodies.relu_forward, bodies.relu_backward, bodies.accepts),
    "SGD": bodies.update,
}
