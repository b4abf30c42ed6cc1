"""The small cases that checks try: for each a function of `draw` (see search.Draw) that returns inputs by name.

Sizes are as small as they may be while every mistake still shows: H and W apart, windows that overlap, leave gaps
or do not tile the input, padding, one picture and two. Constants are such that every term counts.
"""

import numpy as np

from minialex.check.search import Seed
from minialex.shapes import output_sizes


class Function:
    """A function with a name, so that a verdict can print it."""

    def __init__(self, text, compute):
        self.text, self.compute = text, compute

    def __call__(self, x):
        return self.compute(x)

    def __str__(self):
        return self.text


FAR = 1e8  # from 0: the square of such a number fills the digits of a float64
BODIES = [  # what a residual block's body may do in backward; the first and the last hand back what they were given
    Function("lambda grad: grad", lambda grad: grad),
    Function("lambda grad: 2 * grad", lambda grad: 2 * grad),
    Function("lambda grad: grad[:, ::-1]", lambda grad: grad[:, ::-1]),
]


def kernel_of(draw):
    return draw.between(1, 3, 5), draw.between(1, 3, 5)


def size_for(draw, kernel, padding=0):
    """H, W that a kernel fits into after padding; some pixels more."""
    return tuple(max(1, side - 2 * padding) + draw.between(0, 3) for side in kernel)


def convolution(draw):
    stride, padding = draw.between(1, 3, 4), draw.between(0, 2, 3)
    kernel = kernel_of(draw)
    size = size_for(draw, kernel, padding)
    N, C, F = draw.between(1, 2, 4), draw.between(1, 2, 5), draw.between(1, 2, 4)
    x, weight, bias = draw.array(N, C, *size), draw.array(F, C, *kernel), draw.array(F)
    return {"x": x, "weight": weight, "bias": bias, "stride": stride, "padding": padding}


def convolution_backward(draw):
    case = convolution(draw)
    x, weight = case["x"], case["weight"]
    size = out(x, weight.shape[2:], case["stride"], case["padding"])
    return {**case, "grad_y": draw.array(len(x), len(weight), *size)}


def out(x, kernel, stride, padding=0):
    """OH, OW"""
    return output_sizes(x.shape[-2:], kernel, (stride, stride), (padding, padding))


def im2col(draw):
    stride, kernel = draw.between(1, 3, 4), kernel_of(draw)
    x = draw.array(draw.between(1, 2, 4), draw.between(1, 2, 5), *size_for(draw, kernel), huge=True)
    return {"x": x, "kernel": kernel, "stride": stride}


def col2im(draw):
    case = im2col(draw)
    x, kernel, stride = case.values()
    N, C, H, W = x.shape
    OH, OW = out(x, kernel, stride)
    columns = draw.array(N, C * kernel[0] * kernel[1], OH * OW)
    return {"columns": columns, "x_shape": (N, C, H, W), "kernel": kernel, "stride": stride}


def pooling(draw, huge=False):
    stride, kernel = draw.between(1, 3, 4), kernel_of(draw)
    padding = draw.between(0, min(kernel) // 2)  # no window may lie in the padding alone
    x = draw.array(draw.between(1, 2, 4), draw.between(1, 2, 5), *size_for(draw, kernel, padding), huge=huge)
    return {"x": x, "kernel": kernel, "stride": stride, "padding": padding}


def max_pooling(draw):
    """Of pixels as large as there are: whatever stands in the padding must not win."""
    return pooling(draw, huge=True)


def max_pooling_backward(draw):
    return pooling_backward(draw, huge=True)


def pooling_backward(draw, huge=False):
    case = pooling(draw, huge)
    x = case["x"]
    return {
        **case,
        "grad_y": draw.array(*x.shape[:2], *out(x, case["kernel"], case["stride"], case["padding"])),
    }


def subsampling(draw):
    N, C = draw.between(1, 2, 4), draw.between(1, 2, 5)
    x = draw.array(N, C, draw.between(2, 5, 9), draw.between(2, 7, 9))  # 2 channels and 3 columns of y, too
    return {"x": x, "weight": draw.array(C), "bias": draw.array(C)}


def subsampling_backward(draw):
    case = subsampling(draw)
    N, C, H, W = case["x"].shape
    return {**case, "grad_y": draw.array(N, C, H // 2, W // 2)}


def elementwise(draw, huge=False):
    return {"x": draw.array(draw.between(1, 3, 6), draw.between(1, 4, 9), huge=huge)}


def elementwise_huge(draw):
    return elementwise(draw, huge=True)


def elementwise_huge_backward(draw):
    return elementwise_backward(draw, huge=True)


def elementwise_backward(draw, huge=False):
    case = elementwise(draw, huge)
    return {**case, "grad_y": draw.array(*case["x"].shape)}


def large_or_small(draw):
    """For what has an exp in it: -3000 to 3000 as well."""
    case = elementwise(draw)
    return {"x": case["x"] * draw.one_of(1, 1000)}


def linear(draw):
    N, inputs, outputs = draw.between(1, 3, 7), draw.between(1, 3, 7), draw.between(1, 3, 7)
    return {"x": draw.array(N, inputs), "weight": draw.array(outputs, inputs), "bias": draw.array(outputs)}


def linear_backward(draw):
    case = linear(draw)
    return {**case, "grad_y": draw.array(len(case["x"]), len(case["weight"]))}


def classification(draw):
    N, K = draw.between(1, 3, 6), draw.between(2, 4, 11)
    logits = draw.array(N, K) * (1 if draw.scaled else draw.one_of(1, 10000))
    return {"logits": logits, "labels": np.array([draw.between(0, K - 1) for _ in range(N)])}


def rbf(draw):
    N, K, D = draw.between(1, 3, 6), draw.between(1, 3, 5), draw.between(1, 3, 5)
    return {"x": draw.array(N, D), "codes": draw.array(K, D)}


def rbf_backward(draw):
    case = rbf(draw)
    return {**case, "grad_y": draw.array(len(case["x"]), len(case["codes"]))}


def classification_with_rubbish(draw):
    return {**classification(draw), "j": draw.one_of(1.0, 0.5, 2.0, more=(0.0, 10.0))}


def normalisation(draw):
    size = draw.one_of(3, 1, 5, more=(7, 9))
    x = draw.array(
        draw.between(1, 2, 4), draw.between(1, 6, 12), draw.between(1, 2, 3), draw.between(1, 2, 3)
    )
    alpha, beta = draw.one_of(1.0, 0.5, more=(1e-4,)), draw.one_of(1.0, 0.75, 0.5)
    k = draw.one_of(1.0, 2.0, more=(0.25,))
    return {"x": x, "size": size, "alpha": alpha, "beta": beta, "k": k}


def normalisation_backward(draw):
    case = normalisation(draw)
    return {**case, "grad_y": draw.array(*case["x"].shape)}


def batch_norm(draw):
    """Two numbers a channel at least. Some lie so far from 0 that what their squares have in common hides the rest."""
    shape = draw.between(1, 2, 4), draw.between(1, 2, 5), draw.between(1, 3, 4), draw.between(2, 4, 5)
    x = draw.array(*shape) + draw.one_of(0.0, 0.0, 0.0, more=(FAR,))
    eps = draw.one_of(1.0, 0.5, more=(1e-3, 1e-5))
    return {"x": x, "weight": draw.array(shape[1]), "bias": draw.array(shape[1]), "eps": eps}


def batch_norm_forward(draw):
    case = batch_norm(draw)
    C = case["x"].shape[1]
    running = {"running_mean": draw.array(C), "running_var": np.abs(draw.array(C))}
    eps = case.pop("eps")
    return {**case, **running, "eps": eps, "momentum": draw.one_of(0.25, 0.75, more=(0.1, 0.01))}


def batch_norm_backward(draw):
    case = batch_norm(draw)
    return {**case, "grad_y": draw.array(*case["x"].shape)}


def concatenation(draw):
    N, *size = draw.between(1, 2, 4), draw.between(1, 2, 4), draw.between(1, 2, 4)
    channels = tuple(draw.between(1, 3, 5) for _ in range(3))
    return {"grad_y": draw.array(N, sum(channels), *size), "channels": channels}


def addition(draw):
    shape = draw.between(1, 2, 4), draw.between(1, 3, 6), draw.between(1, 2, 4), draw.between(1, 2, 4)
    body, factor = draw.one_of(*BODIES), draw.one_of(1.0, 0.5, 0.25, more=(0.1, 0.3))
    return {"body": body, "factor": factor, "grad_y": draw.array(*shape)}


def bottleneck(draw):
    """In numbers whose sums are exact: a ReLU makes much of whether a sum is 0 or nearly so."""
    N, C, M, F = draw.between(1, 2, 3), draw.between(1, 2, 4), draw.between(1, 2, 3), draw.between(1, 2, 4)
    stride, size = draw.between(1, 2), (draw.between(1, 3, 5), draw.between(1, 3, 5))
    shapes = {
        "x": (N, C, *size),
        "weight1": (M, C, 1, 1),
        "weight2": (M, M, 3, 3),
        "weight3": (F, M, 1, 1),
        "projection": (F, C, 1, 1),
    }
    return {**{name: draw.array(*shape, exact=True) for name, shape in shapes.items()}, "stride": stride}


def bottleneck_backward(draw):
    case = bottleneck(draw)
    x, projection, stride = case["x"], case["projection"], case["stride"]
    return {**case, "grad_y": draw.array(len(x), len(projection), *out(x, (1, 1), stride), exact=True)}


def gate(draw):
    """Up to three sources, some of them closed."""
    N, *size = draw.between(1, 2, 4), draw.between(1, 2, 4), draw.between(1, 2, 4)
    count = draw.between(1, 3)
    sizes = tuple(draw.between(1, 3, 5) for _ in range(3))[:count]
    return {"x": draw.array(N, sum(sizes), *size), "gates": draw.array(count), "sizes": sizes}


def gate_backward(draw):
    case = gate(draw)
    return {**case, "grad_y": draw.array(*case["x"].shape)}


def early_exit(draw):
    N, exits, K = draw.between(1, 3, 6), draw.between(1, 4, 6), draw.between(2, 4, 10)
    logits, leave_at = draw.array(N, exits, K), draw.one_of(0.6, 0.75, 0.9, more=(1.0, 0.99, 0.3))
    exp = np.exp(logits - logits.max(axis=2, keepdims=True))
    sure = exp.max(axis=2) / exp.sum(axis=2)
    # Who is nearly as sure as it takes is a matter of rounding. 1 is 1, however it is computed.
    while ((abs(sure - leave_at) < 1e-3) & (sure != 1)).any():
        leave_at = round(leave_at - 0.01, 2)
    return {"logits": logits, "leave_at": leave_at}


def dropout(draw):
    x = draw.array(draw.between(1, 3, 6), draw.between(1, 4, 9))
    return {"x": x, "mask": mask(draw, x.shape), "p": draw.one_of(0.5, 0.75, 0.2, more=(0.9, 0.1))}


def dropout_backward(draw):
    case = dropout(draw)
    return {"mask": case["mask"], "p": case["p"], "grad_y": draw.array(*case["x"].shape)}


def mask(draw, shape):
    return draw.array(*shape, of=(1, 0)).astype(bool)


def dropout_mask(draw):
    shape = draw.one_of((40, 50), (4, 6), (4, 2, 2, 3), (20, 10, 10), (2, 5, 12, 20))
    p, seeds = (
        draw.one_of(0.5, 0.8, 0.2, 0.35),
        10 if shape[0] > 4 else 2,
    )  # a few, of what is drawn a thousand times
    return {"shape": shape, "p": p, "rng": Seed(draw.between(0, 9) % seeds)}


def sgd(draw):
    shape = (draw.between(1, 3, 9),)
    w, v, grad = draw.array(*shape), draw.array(*shape), draw.array(*shape)
    lr, momentum = draw.one_of(0.5, 0.1, more=(1e-3,)), draw.one_of(0.5, 0.9, more=(0.0, 0.99))
    weight_decay = draw.one_of(0.5, 0.0, 0.25, more=(5e-4,))
    return {"w": w, "v": v, "grad": grad, "lr": lr, "momentum": momentum, "weight_decay": weight_decay}


def schedule(draw):
    count, starts = draw.between(1, 3, 5), [draw.between(1, 6, 90) for _ in range(5 if draw.large else 3)]
    at = tuple(sorted(set(starts[:count])))
    epoch = draw.between(0, 7, 100) + draw.one_of(0, 0.5)
    lr, factor = draw.one_of(1.0, 0.01, more=(1e-6, 1000.0)), draw.one_of(0.5, 0.1, more=(2.0,))
    return {"lr": lr, "epoch": epoch, "at": at, "factor": factor}


def exchange(draw):
    N, size = draw.between(1, 2, 4), (draw.between(1, 2, 4), draw.between(1, 2, 4))
    return {name: draw.array(N, draw.between(1, 3, 6), *size) for name in ("x0", "x1")}


def exchange_backward(draw):
    case = exchange(draw)
    N, channels0, *size = case["x0"].shape
    shape = (N, channels0 + case["x1"].shape[1], *size)
    return {"grad_y0": draw.array(*shape), "grad_y1": draw.array(*shape), "channels0": channels0}


FUNCTIONS = [
    Function("lambda x: x**3", lambda x: x**3),
    Function("lambda x: x[:, :1] * x", lambda x: x[:, :1] * x),  # an entry that several outputs read
    Function("lambda x: x.sum(axis=0) ** 2", lambda x: x.sum(axis=0) ** 2),  # y has another shape than x
]


def numerical_gradient(draw):
    function = draw.one_of(*FUNCTIONS)
    x = draw.array(
        draw.between(1, 2, 5), draw.between(1, 3, 6), small=True
    )  # the cube of a million hides the rest
    return {
        "function": function,
        "x": x,
        "grad_y": draw.array(*function(x).shape),
        "eps": draw.one_of(0.5, 0.25),
    }


def picture(draw):
    size = draw.between(1, 3, 5)
    sides = draw.between(1, 3, 6), *(draw.between(size, 5, 9) for _ in "HW")
    return {"picture": draw.array(*sides, huge=True), "size": size}


def pictures(draw):
    """Two pixels at least."""
    N, H, W = draw.between(1, 2, 4), draw.between(1, 2, 4), draw.between(2, 3, 5)
    return {"pictures": draw.array(N, 3, H, W)}


def convolution_counts(draw):
    groups = draw.between(1, 2, 4)
    side, kernel = draw.between(3, 7, 40), draw.between(1, 3, 11)
    channels, maps = groups * draw.between(1, 3, 8), groups * draw.between(1, 3, 8)
    stride, padding = draw.between(1, 3, 4), draw.between(0, 2, 5)
    case = {"side": max(side, kernel), "channels": channels, "maps": maps, "kernel": kernel}
    return {**case, "stride": stride, "padding": padding, "groups": groups}


def rows(draw, of=(0, 1, -1, 2, -2, 3, -3)):
    N, D = draw.between(1, 4, 6), draw.between(1, 4, 12)
    return {"table": draw.array(N, D, of=of), "query": draw.between(0, 3, 5) % N}


def bits(draw):
    return rows(draw, of=(0, 1))
