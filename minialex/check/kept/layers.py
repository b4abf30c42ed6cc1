"""Layers made of a learner's functions: ours, with forward and backward exchanged for what they wrote.

A layer keeps its parameters, its checks and its name; its lines are the learner's two functions. These compute in
whatever they like (np.zeros makes float64): what comes back is cast to what went in. A layer that a function can't do
(two strides, say) stays ours.
"""

import functools
from collections.abc import Callable

import numpy as np

from minialex.check.kept.crossing import OnDevice, sender
from minialex.devices.device import is_array
from minialex.layers import (
    RBF,
    AvgPool2D,
    Conv2D,
    Dropout,
    Exchange,
    Layer,
    Linear,
    LocalResponseNorm,
    MAPLoss,
    MaxPool2D,
    ReLU,
    Sigmoid,
    SoftmaxCrossEntropy,
    Subsampling,
    Tanh,
)
from minialex.words import a_or_an


def layer_of(ours: type, forward: Callable, backward: Callable) -> type:
    """A subclass of one of our layers that runs these two functions."""
    made = MAKERS[ours](_in_rows(forward), _in_rows(backward))
    made.__name__, made.__qualname__ = f"Your{ours.__name__}", f"Your{ours.__name__}"
    made.traced = (forward, backward)  # mx.trace shows their lines
    check_input = made.check_input

    def checked(self, x):
        if not fits(made, self):
            raise ValueError(
                f"{self!r}: your functions can't do this one (they take one stride and one padding, and know neither "
                f"ceil_mode nor other kinds of counting): use mx.{ours.__name__}"
            )
        check_input(self, x)

    made.check_input = checked
    return made


def _in_rows(function):
    """The function, which gets arrays that lie in memory row by row, as in a check: it may have counted on that."""

    @functools.wraps(function)
    def called(*args):
        return function(
            *(np.ascontiguousarray(a) if isinstance(a, np.ndarray) and a.ndim else a for a in args)
        )

    return called


def fits(made: type, layer) -> bool:
    """Can the functions of such a class do what this layer does?"""
    return not hasattr(made, "limits") or made.limits(layer)


def taken(layer, result, like, what: str, shape=None):
    """What a function returned, as an array of the dtype and, if told, the shape that it must have."""
    shape = like.shape if shape is None else shape
    if not is_array(result):
        raise TypeError(f"{layer}: your {what} is {a_or_an(type(result).__name__)}, not an array")
    if result.shape != shape:
        raise ValueError(f"{layer}: your {what} has shape {result.shape}, where {shape} is wanted")
    if result.dtype.kind not in "biuf":
        raise TypeError(f"{layer}: your {what} holds {result.dtype} and not real numbers")
    if isinstance(result, np.ndarray):  # a new array, and a plain one: no view of x, no np.matrix, no mask
        return np.array(result, like.dtype, order="C", subok=False)
    return result.astype(like.dtype)


def parts(layer, result, names: str):
    """The arrays of a tuple that a function returned."""
    names = names.split()
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        raise TypeError(
            f"{layer}: your function returns {', '.join(names)}; this is {a_or_an(type(result).__name__)}"
        )
    return result


def _one_number(pair):
    return pair[0] == pair[1]


# ---- one maker for each kind of layer ----


def conv2d(forward_of, backward_of):
    class Yours(Conv2D):
        @staticmethod
        def limits(layer):
            return _one_number(layer.stride) and _one_number(layer.padding)

        def forward(self, x):
            self.save(x=x)
            ys = [forward_of(*case) for case in self.cases(x)]
            y = np.concatenate(ys, axis=1) if self.groups > 1 else ys[0]
            return taken(self, y, x, "y", (len(x), self.out_channels, *self.output_size(x)))

        def backward(self, grad_y, input_grad=True):
            x = self.saved.x
            of_groups = np.split(grad_y, self.groups, axis=1)
            found = [
                parts(self, backward_of(*case, grad), "grad_x grad_weight grad_bias")
                for case, grad in zip(self.cases(x), of_groups, strict=True)
            ]
            grad_x = np.concatenate([of[0] for of in found], axis=1)
            self.weight.grad = taken(
                self, np.concatenate([of[1] for of in found]), self.weight.value, "grad_weight"
            )
            if self.bias is not None:
                self.bias.grad = taken(
                    self, np.concatenate([of[2] for of in found]), self.bias.value, "grad_bias"
                )
            return taken(self, grad_x, x, "grad_x") if input_grad else None

        def cases(self, x):
            """What the functions take, group by group."""
            bias = self.bias.value if self.bias is not None else np.zeros(self.out_channels, x.dtype)
            inputs, weights, biases = (
                np.split(array, self.groups, axis)
                for array, axis in ((x, 1), (self.weight.value, 0), (bias, 0))
            )
            for case in zip(inputs, weights, biases, strict=True):
                yield *case, self.stride[0], self.padding[0]

    return Yours


def pooling(ours):
    def make(forward_of, backward_of):
        class Yours(ours):
            @staticmethod
            def limits(layer):
                plain = not layer.ceil_mode and getattr(layer, "count_include_pad", True)
                return plain and _one_number(layer.stride) and _one_number(layer.padding)

            def forward(self, x):
                self.save(x=x)
                y = forward_of(x, self.kernel_size, self.stride[0], self.padding[0])
                size = tuple(
                    1 + (side + 2 * self.padding[0] - k) // self.stride[0]
                    for side, k in zip(x.shape[2:], self.kernel_size, strict=True)
                )
                return taken(self, y, x, "y", (*x.shape[:2], *size))

            def backward(self, grad_y):
                x = self.saved.x
                grad_x = backward_of(x, self.kernel_size, self.stride[0], self.padding[0], grad_y)
                return taken(self, grad_x, x, "grad_x")

        return Yours

    return make


def elementwise(ours):
    def make(forward_of, backward_of):
        class Yours(ours):
            def forward(self, x):
                self.save(x=x)
                return taken(self, forward_of(x), x, "y")

            def backward(self, grad_y):
                return taken(self, backward_of(self.saved.x, grad_y), grad_y, "grad_x")

        return Yours

    return make


def tanh(forward_of, backward_of):
    class Yours(Tanh):
        """scale * tanh(slope * x): the function is the tanh, the two numbers stand around it."""

        def forward(self, x):
            self.save(inner=self.slope * x)
            return taken(self, self.scale * forward_of(self.saved.inner), x, "y")

        def backward(self, grad_y):
            grad_inner = backward_of(self.saved.inner, self.scale * grad_y)
            return taken(self, self.slope * grad_inner, grad_y, "grad_x")

    return Yours


def weighted(ours, shape_of):
    """Layers with a weight and a bias that are given whole; shape_of(layer, x): what y has."""

    def make(forward_of, backward_of):
        class Yours(ours):
            def forward(self, x):
                self.save(x=x)
                return taken(
                    self, forward_of(x, self.weight.value, self.bias.value), x, "y", shape_of(self, x)
                )

            def backward(self, grad_y, input_grad=True):
                x, weight, bias = self.saved.x, self.weight.value, self.bias.value
                found = parts(self, backward_of(x, weight, bias, grad_y), "grad_x grad_weight grad_bias")
                self.weight.grad = taken(self, found[1], weight, "grad_weight")
                self.bias.grad = taken(self, found[2], bias, "grad_bias")
                return taken(self, found[0], x, "grad_x") if input_grad else None

        return Yours

    return make


def rbf(forward_of, backward_of):
    class Yours(RBF):
        def forward(self, x):
            self.save(x=x)
            codes = self.codes.value
            return taken(self, forward_of(x, codes), x, "y", (len(x), len(codes)))

        def backward(self, grad_y):
            return taken(self, backward_of(self.saved.x, self.codes.value, grad_y), self.saved.x, "grad_x")

    return Yours


def response_norm(forward_of, backward_of):
    class Yours(LocalResponseNorm):
        def forward(self, x):
            self.save(x=x)
            ys = [forward_of(part, *self.settings()) for part in np.split(x, self.groups, axis=1)]
            return taken(self, np.concatenate(ys, axis=1), x, "y")

        def backward(self, grad_y):
            x = self.saved.x
            pairs = zip(np.split(x, self.groups, axis=1), np.split(grad_y, self.groups, axis=1), strict=True)
            grad_x = np.concatenate(
                [backward_of(part, *self.settings(), grad) for part, grad in pairs], axis=1
            )
            return taken(self, grad_x, x, "grad_x")

        def settings(self):
            return self.size, self.alpha, self.beta, self.k

    return Yours


def dropout(forward_of, backward_of):
    class Yours(Dropout):
        """In training; the mask is drawn as ours is. In evaluation there is nothing to do."""

        @staticmethod
        def limits(layer):
            return layer.scaling == "inverted"

        def forward(self, x, mask=None):
            mask = self.mask_for(x, mask) if self.training else None
            self.save(mask=mask)
            return x * 1.0 if mask is None else taken(self, forward_of(x, mask, self.p), x, "y")

        def backward(self, grad_y):
            mask = self.saved.mask
            return (
                grad_y * 1.0
                if mask is None
                else taken(self, backward_of(mask, self.p, grad_y), grad_y, "grad_x")
            )

    return Yours


def loss(ours):
    def make(forward_of, backward_of):
        class Yours(ours):
            def forward(self, logits, labels):
                labels = self.take_labels(logits, labels)
                self.save(logits=logits, labels=labels)
                value = np.asarray(forward_of(logits, labels, *self.constants()))
                return taken(self, value, logits, "loss", ())

            def backward(self, grad_loss=1.0):
                logits = self.saved.logits
                grad = backward_of(logits, self.saved.labels, *self.constants())
                return taken(self, grad, logits, "grad_logits") * logits.dtype.type(grad_loss)

            def constants(self):
                return (self.j,) if isinstance(self, MAPLoss) else ()

        return Yours

    return make


def exchange(forward_of, backward_of):
    class Yours(Exchange):
        def forward(self, xs):
            ys = parts(self, forward_of(*self.handed(xs)), "y0 y1")
            channels = [x.shape[1] for x in xs]
            shape = (xs[0].shape[0], sum(channels), *xs[0].shape[2:])
            self.save(channels=channels, outputs=[(shape, x.dtype) for x in xs])
            return self.at_home(ys, xs, "y", [shape, shape])

        def backward(self, grad_ys):
            channels = self.saved.channels
            *arrays, send = self.handed(grad_ys)
            found = backward_of(*arrays, channels[0], send)
            shapes = [
                (len(grad), count, *grad.shape[2:]) for grad, count in zip(grad_ys, channels, strict=True)
            ]
            return self.at_home(parts(self, found, "grad_x0 grad_x1"), grad_ys, "grad_x", shapes)

        def handed(self, arrays):
            """The arrays and `send`; on the CPU alone they are NumPy's, and all that NumPy does goes."""
            if all(device.kind == "cpu" for device in self.devices):
                return *arrays, lambda array, number: array
            return *map(OnDevice, arrays), sender(self.devices)

        def at_home(self, results, likes, what, shapes):
            """The two arrays, each on its tower's device: else the next layer says so."""
            bare = [result.array if isinstance(result, OnDevice) else result for result in results]
            rows = zip(bare, likes, self.devices, shapes, strict=True)
            found = []
            for number, (result, like, device, shape) in enumerate(rows):
                with device:
                    found.append(taken(self, result, like, f"{what}{number}", shape))
            self._check_towers(tuple(found), "output of your exchange")
            return tuple(found)

    return Yours


MAKERS: dict[type[Layer], Callable] = {
    Conv2D: conv2d, MaxPool2D: pooling(MaxPool2D), AvgPool2D: pooling(AvgPool2D), ReLU: elementwise(ReLU),
    Sigmoid: elementwise(Sigmoid), Tanh: tanh, RBF: rbf,
    Linear: weighted(Linear, lambda layer, x: (len(x), len(layer.weight.value))),
    Subsampling: weighted(Subsampling, lambda layer, x: (*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2)),
    LocalResponseNorm: response_norm, Dropout: dropout, SoftmaxCrossEntropy: loss(SoftmaxCrossEntropy),
    MAPLoss: loss(MAPLoss), Exchange: exchange,
}  # fmt: skip
