"""The intermediates of convolution and pooling, and what all kinds of layers share; textbook.py has the others."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minialex import naive
from minialex.device import to_numpy


class Part(NamedTuple):
    """One intermediate: its name inside the layer, its array, how it comes about, and what it is."""

    name: str
    array: Any
    formula: str
    kind: str = "forward"  # or "backward", "parameter"
    maker: Callable | None = None  # the function that shows how it is made, where that is not the layer's own


# ---- what the kinds share ----


def host(array) -> np.ndarray:
    """A copy in host memory, row by row."""
    return np.array(to_numpy(array), order="C")


def owned(layer, *names) -> list[Part]:
    """The layer's parameters of these names; a bias may be absent."""
    holders = [(name, getattr(layer, name)) for name in names]
    return [Part(name, host(p.value), f"{name} is learned", "parameter") for name, p in holders if p]


def grads(layer, **formulas) -> list[Part]:
    """The gradients of the layer's parameters that backward has set."""
    holders = [(name, getattr(layer, name), formula) for name, formula in formulas.items()]
    return [Part(f"grad_{name}", host(p.grad), formula, "backward") for name, p, formula in holders if p]


def back(name, array, formula, maker=None) -> Part:
    return Part(name, array, formula, "backward", maker)


def came_in(x, what="what comes in") -> Part:
    return Part("x", x, f"x is {what}")


def came_back(grad_y) -> Part:
    return back("grad_y", grad_y, "grad_y = dloss / dy, from the layer after it")


def windows_of(padded, kernel, stride) -> np.ndarray:
    """(N, C, H, W) -> (N, C, OH, OW, kh, kw), a view."""
    (kh, kw), (sh, sw) = kernel, stride
    return np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]


def columns_of(padded, kernel, stride, groups=1) -> np.ndarray:
    """Every window as a column, as unfold gives it: (N, C*kh*kw, OH*OW); with groups (N, G, C/G*kh*kw, OH*OW)."""
    view = windows_of(padded, kernel, stride)
    N, C, OH, OW, kh, kw = view.shape
    rows = (groups, C // groups * kh * kw) if groups > 1 else (C * kh * kw,)
    return view.transpose(0, 1, 4, 5, 2, 3).reshape(N, *rows, OH * OW)


# ---- convolutions ----


def conv_forward(layer, x, y):
    return [*window_parts(layer, x, layer.groups), *owned(layer, "weight", "bias"), conv_y(layer, y)]


def conv_y(layer, y, weight="weight"):
    bias = " + bias" if layer.bias is not None else ""
    return Part("y", y, f"y = {weight} @ columns{bias}" + (", group by group" if layer.groups > 1 else ""))


def padded_part(layer, padded, value):
    ph, pw = layer.padding
    above, beside = (
        f"{ph} row{'s' * (ph != 1)} above and below",
        f"{pw} column{'s' * (pw != 1)} on either side",
    )
    formula = (
        f"padded = x with {above} and {beside}, of {value}" if ph or pw else "padded = x: nothing to pad"
    )
    return Part("padded", padded, formula, maker=naive.pad)


def window_parts(layer, x, groups):
    padded = naive.pad(x, layer.padding)
    columns = columns_of(padded, layer.kernel_size, layer.stride, groups)
    p, q = (name if s == 1 else f"{name}*{s}" for name, s in zip("pq", layer.stride, strict=True))
    formula = f"columns[n, (c, i, j), (p, q)] = padded[n, c, {p} + i, {q} + j]"
    return [
        came_in(x),
        padded_part(layer, padded, "0"),
        Part("columns", columns, formula, maker=naive.im2col),
    ]


def conv_backward(layer, x, y, grad_y, grad_x):
    G, N = layer.groups, len(grad_y)
    weight = host(layer.weight.value).reshape(G, layer.out_channels // G, -1)  # (G, F/G, C/G*kh*kw)
    part = grad_y.reshape(N, G, layer.out_channels // G, -1)  # (N, G, F/G, OH*OW)
    grad_columns = weight.transpose(0, 2, 1) @ part
    return [
        came_back(grad_y),
        back(
            "grad_columns", grad_columns if G > 1 else grad_columns[:, 0], "grad_columns = weight^T @ grad_y"
        ),
        *grads(layer, weight="grad_weight = sum over n of grad_y @ columns^T", bias=SUM_OF_GRAD_Y),
        back("grad_x", grad_x, "grad_x = col2im(grad_columns), without the padding", naive.col2im),
    ]


SUM_OF_GRAD_Y = "grad_bias = sum of grad_y over n, p and q"


def full_weight(layer) -> np.ndarray:
    """A TableConv2D's weight as (F, C, kh, kw), 0 where the table has no entry."""
    weight = host(layer.weight.value)
    full = np.zeros((layer.out_channels, layer.in_channels, *layer.kernel_size), weight.dtype)
    for k, (f, c) in enumerate(naive.connections(layer.table)):
        full[f, c] = weight[k]
    return full


def table_forward(layer, x, y):
    full = Part(
        "full_weight",
        full_weight(layer),
        "full_weight = weight, and 0 where the table has no entry",
        "parameter",
    )
    return [
        *window_parts(layer, x, 1),
        *owned(layer, "weight", "bias"),
        full,
        conv_y(layer, y, "full_weight"),
    ]


def table_backward(layer, x, y, grad_y, grad_x):
    N, F = grad_y.shape[:2]
    full = full_weight(layer)
    flat = grad_y.reshape(N, F, -1)  # (N, F, OH*OW)
    columns = columns_of(naive.pad(x, layer.padding), layer.kernel_size, layer.stride)
    grad_full = (flat @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(full.shape)
    return [
        came_back(grad_y),
        back("grad_columns", full.reshape(F, -1).T @ flat, "grad_columns = full_weight^T @ grad_y"),
        back("grad_full_weight", grad_full, "grad_full_weight = sum over n of grad_y @ columns^T"),
        *grads(
            layer, weight="grad_weight = grad_full_weight where the table has entries", bias=SUM_OF_GRAD_Y
        ),
        back("grad_x", grad_x, "grad_x = col2im(grad_columns)", naive.col2im),
    ]


# ---- pooling ----


def max_forward(layer, x, y):
    padded = naive.pad(x, layer.padding, value=-np.inf)
    view = windows_of(padded, layer.kernel_size, layer.stride)
    winner = view.reshape(*view.shape[:4], -1).argmax(axis=4)
    return [
        came_in(x),
        padded_part(layer, padded, "minus infinity, which never wins"),
        Part(
            "winner",
            winner,
            "winner = the number of the window's largest cell, row by row; the first in a tie",
        ),
        Part("y", y, "y = the largest number under the window"),
    ]


def max_backward(layer, x, y, grad_y, grad_x):
    return [came_back(grad_y), back("grad_x", grad_x, "grad_x[where winner points] += grad_y; 0 elsewhere")]


def avg_forward(layer, x, y):
    padded = naive.pad(x, layer.padding)
    return [
        came_in(x),
        padded_part(layer, padded, "0"),
        Part("y", y, "y = the mean of the numbers under the window"),
    ]


def avg_backward(layer, x, y, grad_y, grad_x):
    formula = "grad_x[under the window] += grad_y / {}*{}".format(*layer.kernel_size)
    return [came_back(grad_y), back("grad_x", grad_x, formula)]


def totals(x) -> np.ndarray:
    return windows_of(x, (2, 2), (2, 2)).sum(axis=(4, 5), dtype=x.dtype)


def subsampling_forward(layer, x, y):
    total = Part("total", totals(x), "total = the sum of the 2x2 pixels under the window")
    return [came_in(x), total, *owned(layer, "weight", "bias"), Part("y", y, "y = weight * total + bias")]


def subsampling_backward(layer, x, y, grad_y, grad_x):
    grad_total = grad_y * host(layer.weight.value)[:, None, None]
    return [
        came_back(grad_y),
        back("grad_total", grad_total, "grad_total = weight * grad_y"),
        *grads(layer, weight="grad_weight = sum of grad_y * total over n, p and q", bias=SUM_OF_GRAD_Y),
        back("grad_x", grad_x, "grad_x = grad_total at each of the 2x2 pixels"),
    ]
