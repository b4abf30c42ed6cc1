"""What goes on inside each kind of layer, in the layout of the textbook, whatever the fast path does.

`forward_parts` and `backward_parts` name the intermediates of one layer, in their order. What a layer itself gives
(y, grad_x, the gradients of its parameters) is passed on; what lies between is computed again, from its definition.
All arrays are NumPy's, on the host. `tracing.py` puts the parts of a whole network together.
"""

import numpy as np

from minialex.device import is_array
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
    Loss,
    MAPLoss,
    MaxPool2D,
    ReLU,
    ResponseNorm,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    Subsampling,
    TableConv2D,
    Tanh,
    Towers,
)
from minialex.textbook_windows import (
    Part,
    avg_backward,
    avg_forward,
    back,
    came_back,
    came_in,
    conv_backward,
    conv_forward,
    grads,
    host,
    max_backward,
    max_forward,
    owned,
    subsampling_backward,
    subsampling_forward,
    table_backward,
    table_forward,
)


def kind_of(layer: Layer) -> type[Layer]:
    """The class of this library that a layer is; plain Layer for one whose forward or backward a user wrote."""
    for cls in type(layer).__mro__:
        if cls in KINDS:
            return cls
        if not cls.__module__.startswith("minialex.") and {"forward", "backward"} & set(vars(cls)):
            break
    return Loss if isinstance(layer, Loss) else Layer


def forward_parts(layer: Layer, x, y) -> list[Part]:
    """The intermediates of the forward pass that has just been done; y is what the layer gave."""
    return KINDS[kind_of(layer)][0](layer, x, y)


def backward_parts(layer: Layer, x, y, grad_y, grad_x) -> list[Part]:
    """The intermediates of the backward pass that has just been done; grad_x is what the layer gave."""
    return KINDS[kind_of(layer)][1](layer, x, y, grad_y, grad_x)


# ---- response normalisation ----


def neighbours(layer, x):
    """The layer's own sum over the neighbourhood, on its device."""
    with layer.device:
        return host(layer.sum_of_neighbours(layer.device.asarray(x)))


def norm_forward(layer, x, y):
    squares = x * x
    scale = layer.k + layer.alpha * neighbours(layer, squares)
    return [
        came_in(x),
        Part("squares", squares, "squares = x^2"),
        Part("scale", scale, f"scale = {layer.k:g} + {layer.alpha:g} * sum of squares over the neighbours"),
        Part("y", y, f"y = x / scale^{layer.beta:g}"),
    ]


def norm_backward(layer, x, y, grad_y, grad_x):
    scale = norm_forward(layer, x, y)[2].array
    through = neighbours(layer, grad_y * x * scale ** (-layer.beta - 1))
    a, b = layer.alpha, layer.beta
    formula = f"through_scale = sum of grad_y * x * scale^{-b - 1:g} over the neighbours"
    last = f"grad_x = grad_y * scale^{-b:g} - 2 * {a:g} * {b:g} * x * through_scale"
    return [came_back(grad_y), back("through_scale", through, formula), back("grad_x", grad_x, last)]


# ---- element by element ----


def relu_forward(layer, x, y):
    return [came_in(x), Part("mask", x > 0, "mask = 1 where x > 0, else 0"), Part("y", y, "y = max(x, 0)")]


def relu_backward(layer, x, y, grad_y, grad_x):
    return [came_back(grad_y), back("grad_x", grad_x, "grad_x = grad_y * mask")]


def sigmoid_forward(layer, x, y):
    return [came_in(x), Part("y", y, "y = 1 / (1 + exp(-x))")]


def sigmoid_backward(layer, x, y, grad_y, grad_x):
    slope = back("slope", y * (1 - y), "slope = dy/dx = y * (1 - y)")
    return [came_back(grad_y), slope, back("grad_x", grad_x, "grad_x = grad_y * slope")]


def tanh_forward(layer, x, y):
    plain = layer.scale == layer.slope == 1
    return [
        came_in(x),
        Part("y", y, "y = tanh(x)" if plain else f"y = {layer.scale:g} * tanh({layer.slope:.4g} * x)"),
    ]


def tanh_backward(layer, x, y, grad_y, grad_x):
    a, b = layer.scale, layer.slope
    formula = "1 - y^2" if a == b == 1 else f"{b:.4g} * ({a:g} - y^2 / {a:g})"
    slope = back("slope", b * (a - y * y / a), f"slope = dy/dx = {formula}")
    return [came_back(grad_y), slope, back("grad_x", grad_x, "grad_x = grad_y * slope")]


def _dropped(layer, x):
    """What x is multiplied by, in words."""
    if layer.training:
        return f"{x} * mask / {1 - layer.p:g}" if layer.scaling == "inverted" else f"{x} * mask"
    return x if layer.scaling == "inverted" else f"{x} * {1 - layer.p:g}"


def dropout_forward(layer, x, y):
    mask = []
    if layer.training:  # forward has counted its step: one back, and draw the same mask again
        layer.set_counters({"step": layer.counters()["step"] - 1})
        mask = [Part("mask", layer.draw_mask(x.shape), f"mask = 1 with probability {1 - layer.p:g}, else 0")]
    return [came_in(x), *mask, Part("y", y, f"y = {_dropped(layer, 'x')}")]


def dropout_backward(layer, x, y, grad_y, grad_x):
    return [came_back(grad_y), back("grad_x", grad_x, f"grad_x = {_dropped(layer, 'grad_y')}")]


# ---- vectors ----


def linear_forward(layer, x, y):
    return [came_in(x), *owned(layer, "weight", "bias"), Part("y", y, "y = x @ weight^T + bias")]


def linear_backward(layer, x, y, grad_y, grad_x):
    formulas = {"weight": "grad_weight = grad_y^T @ x", "bias": "grad_bias = sum of grad_y over n"}
    return [came_back(grad_y), *grads(layer, **formulas), back("grad_x", grad_x, "grad_x = grad_y @ weight")]


def flatten_forward(layer, x, y):
    return [came_in(x), Part("y", y, "y = x, channel by channel, row by row")]


def flatten_backward(layer, x, y, grad_y, grad_x):
    return [came_back(grad_y), back("grad_x", grad_x, "grad_x = grad_y, folded up again")]


def rbf_forward(layer, x, y):
    codes = host(layer.codes.value)
    return [
        came_in(x),
        Part("codes", codes, "codes are fixed, one for each class", "parameter"),
        Part("difference", x[:, None, :] - codes, "difference[n, k] = x[n] - codes[k]"),
        Part("y", y, "y = -(sum of difference^2)"),
    ]


def rbf_backward(layer, x, y, grad_y, grad_x):
    formula = "grad_x = -2 * sum over k of grad_y[n, k] * difference[n, k]"
    return [came_back(grad_y), back("grad_x", grad_x, formula)]


# ---- between the towers: x, y and their gradients may be tuples ----


def crossing(forward_formula, backward_formula):
    def forward(layer, x, y):
        return [came_in(x, "what this tower made" if isinstance(x, tuple) else "what comes in"),
                Part("y", y, forward_formula)]  # fmt: skip

    def backward(layer, x, y, grad_y, grad_x):
        return [came_back(grad_y), back("grad_x", grad_x, backward_formula)]

    return forward, backward


# ---- losses: x is (logits, labels), y the loss ----


def loss_parts(share_name, share_formula, loss_formula):
    def forward(layer, x, y):
        logits, labels = x
        share = []
        if share_name:
            j = getattr(layer, "j", np.inf)  # MAPLoss has a rubbish class, whose logit is -j
            top = np.maximum(logits.max(axis=1, keepdims=True), -j)
            exp = np.exp(logits - top)
            total = exp.sum(axis=1, keepdims=True) + np.exp(-j - top)
            share = [Part(share_name, exp / total, share_formula)]
        elif layer.saved is not None:
            share = saved_parts(layer, {"logits", "labels", "loss"})
        return [
            Part("logits", logits, "logits are the network's answer, a row for each picture"),
            Part("labels", labels, "labels are the right classes"),
            *share,
            Part("loss", y, loss_formula),
        ]

    def backward(layer, x, y, grad_y, grad_x):
        formula = (
            f"grad_logits = ({share_name} - one_hot(labels)) / N"
            if share_name
            else "grad_logits = dloss / dlogits"
        )
        return [back("grad_logits", grad_x, formula)]

    return forward, backward


# ---- layers that a user wrote ----


def saved_parts(layer, taken):
    """The arrays that forward kept for backward."""
    saved = (
        {name: value for name, value in vars(layer.saved).items() if is_array(value)} if layer.saved else {}
    )
    return [Part(name, host(value), f"{name} was saved for backward")
            for name, value in saved.items() if name not in taken]  # fmt: skip


def own_parameters(layer):
    """Names relative to the layer, and parameters."""
    return [(p.name.removeprefix(f"{layer.name}."), p) for p in layer.parameters()]


def own_forward(layer, x, y):
    parameters = [
        Part(name, host(p.value), f"{name} is learned", "parameter") for name, p in own_parameters(layer)
    ]
    saved = saved_parts(layer, {"x", "y", *(part.name for part in parameters)})
    return [came_in(x), *parameters, *saved, Part("y", y, f"y = {type(layer).__name__}(x)")]


def own_backward(layer, x, y, grad_y, grad_x):
    parts = [came_back(grad_y)]
    for name, p in own_parameters(layer):
        inner, dot, last = name.rpartition(".")
        if p.grad is not None:
            parts.append(back(f"{inner}{dot}grad_{last}", host(p.grad), f"grad_{last} = dloss / d{last}"))
    return [*parts, back("grad_x", grad_x, "grad_x = dloss / dx")]


BROADCAST = crossing("y[0] = y[1] = x: a copy for each tower", "grad_x = grad_y[0] + grad_y[1]")
EXCHANGE = crossing(
    "y[t] = x[0] and x[1], one after the other",
    "grad_x[t] = its channels of grad_y[0], plus those of grad_y[1]",
)
GATHER = crossing(
    "y = x[0] and x[1], one after the other, on the first device", "grad_x[t] = its channels of grad_y"
)
SOFTMAX = loss_parts("softmax", "softmax = exp(logits) / sum of exp(logits)",
                     "loss = mean over n of -log softmax[n, labels[n]]")  # fmt: skip
MAP = loss_parts(
    "share",
    "share = exp(logits) / (exp(-j) + sum of exp(logits))",
    "loss = mean over n of log(exp(-j) + sum of exp(logits[n])) - logits[n, labels[n]]",
)
KINDS = {
    Conv2D: (conv_forward, conv_backward),
    TableConv2D: (table_forward, table_backward),
    MaxPool2D: (max_forward, max_backward),
    AvgPool2D: (avg_forward, avg_backward),
    Subsampling: (subsampling_forward, subsampling_backward),
    ResponseNorm: (norm_forward, norm_backward),
    ReLU: (relu_forward, relu_backward),
    Sigmoid: (sigmoid_forward, sigmoid_backward),
    Tanh: (tanh_forward, tanh_backward),
    Dropout: (dropout_forward, dropout_backward),
    Linear: (linear_forward, linear_backward),
    Flatten: (flatten_forward, flatten_backward),
    RBF: (rbf_forward, rbf_backward),
    Broadcast: BROADCAST,
    Exchange: EXCHANGE,
    Gather: GATHER,
    SoftmaxCrossEntropy: SOFTMAX,
    MAPLoss: MAP,
    Sequential: None,  # not a leaf: tracing.py goes into these two
    Towers: None,
    Loss: loss_parts(None, None, "loss = one number for the batch"),
    Layer: (own_forward, own_backward),
}
