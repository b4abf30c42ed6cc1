"""Response normalisation in pieces that fit a cache, in x's own type.

A piece whose numbers are too large or too small for that, so that squares, powers or products leave the type's range,
or which holds a NaN or an infinity, is worked out by the textbook's lines, which use a wider type.
"""

import copy
from contextlib import suppress

import numpy as np

from minialex.fast.cpu.pieces import in_pieces
from minialex.layers import ResponseNorm

BETWEEN_CHANNELS, WITHIN_MAPS = 2, 1  # an axis of (N, C, H, W) along which nobody is a neighbour


def accepts(layer, x) -> bool:
    return x.dtype.itemsize >= 4  # float16 has no room for a sum of squares


def forward_between_channels(layer, x):
    return _forward(layer, x, BETWEEN_CHANNELS)


def backward_between_channels(layer, grad_y):
    return _backward(layer, grad_y, BETWEEN_CHANNELS)


def forward_within_maps(layer, x):
    return _forward(layer, x, WITHIN_MAPS)


def backward_within_maps(layer, grad_y):
    return _backward(layer, grad_y, WITHIN_MAPS)


def _forward(layer, x, axis):
    def normalise(x):
        with np.errstate(over="ignore"):  # then the scale is out of range
            scale = layer.k + layer.alpha * layer.sum_of_neighbours(x * x)
        if _in_range(layer, scale):
            return x * scale**-layer.beta, scale
        return ResponseNorm.forward.__wrapped__(copy.copy(layer), x), scale

    y, scale = in_pieces(normalise, x, axis=axis, outputs=2)
    layer.save(x=x, scale=scale)
    return y


def _backward(layer, grad_y, axis):
    def normalise_backward(grad_y, x, scale):
        if _in_range(layer, scale):
            # A gradient may be too large as well; then this raises, and the textbook takes over.
            with suppress(FloatingPointError), np.errstate(over="raise"):
                power = scale**-layer.beta
                through_scale = layer.sum_of_neighbours(grad_y * x * power / scale)
                return grad_y * power - 2 * layer.alpha * layer.beta * x * through_scale
        textbook = copy.copy(layer)
        ResponseNorm.forward.__wrapped__(textbook, x)
        return ResponseNorm.backward.__wrapped__(textbook, grad_y)

    return in_pieces(normalise_backward, grad_y, layer.saved.x, layer.saved.scale, axis=axis)


def _in_range(layer, scale):
    """May scale^-(beta + 1), and products with it, be worked out in the type of the scale?"""
    limit = float(np.finfo(scale.dtype).max) ** (1 / (2 + 2 * abs(layer.beta)))
    return scale.min() > 1 / limit and scale.max() < limit
