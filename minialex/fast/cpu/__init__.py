"""Twins for the CPU: blocks and pieces that fit a cache, threads, memory that is used again.

Inside, the pictures of a batch lie last, (C, H, W, N): see windows.py.
"""

from minialex.devices.twins import Twin
from minialex.fast.cpu import activation, batch_norm, conv, dense, linear, norm, pool, sgd
from minialex.layers import (
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Linear,
    LocalResponseNorm,
    MaxPool2D,
    ReLU,
    SameMapNorm,
    Subsampling,
    TableConv2D,
    Tanh,
)

TWINS = {
    Conv2D: Twin(conv.forward, conv.backward),
    TableConv2D: Twin(conv.table_forward, conv.table_backward),
    MaxPool2D: Twin(pool.max_forward, pool.max_backward, pool.accepts_max),
    AvgPool2D: Twin(pool.avg_forward, pool.avg_backward, pool.accepts_sums),
    Subsampling: Twin(pool.subsampling_forward, pool.subsampling_backward, pool.accepts_sums),
    LocalResponseNorm: Twin(norm.forward_between_channels, norm.backward_between_channels, norm.accepts),
    SameMapNorm: Twin(norm.forward_within_maps, norm.backward_within_maps, norm.accepts),
    BatchNorm2D: Twin(batch_norm.forward, batch_norm.backward, batch_norm.accepts),
    Dense: Twin(dense.forward, dense.backward, dense.accepts),
    ReLU: Twin(activation.relu_forward, activation.relu_backward, activation.accepts),
    Tanh: Twin(activation.tanh_forward, activation.tanh_backward, activation.accepts),
    Linear: Twin(linear.forward, linear.backward),
    "SGD": sgd.update,
}
