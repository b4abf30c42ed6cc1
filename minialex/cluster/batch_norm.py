"""Batch normalisation over the pictures of all processes: a network learns what it would learn in one of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from minialex.cluster.group import Group
from minialex.layers.batch_norm import BatchNorm2D
from minialex.layers.layer import Array, Layer, at_least_float32
from minialex.layers.sequential import all_layers
from minialex.layers.towers import Towers


class BatchNormOverProcesses(BatchNorm2D):
    """BatchNorm2D whose means are over N, H, W and all processes: each adds its sums and how many numbers they are of.

    Forward waits for the others twice, for the mean and then for the variance (squares around another mean lose
    digits), backward once. A process without pictures has `adds` False: what it computes goes into no sum.
    """

    group: Group
    adds = True

    def forward(self, x: Array) -> Array:
        xp, of_batch, wide = self.xp, self.training and not self.frozen, at_least_float32(x)
        if of_batch:
            own_m = xp.full(1, x.size // self.channels)
            *_, m = sums = self._over_all(xp.concatenate([wide.sum(axis=(0, 2, 3)), own_m]))  # (C + 1,)
            if m < 2:
                raise ValueError(
                    f"{self}: the pictures of all processes have one number a channel, and one number has no variance: "
                    "use a larger batch, or eval()"
                )
            mean = (sums[:-1] / m).astype(wide.dtype)
        else:
            mean, variance, m = self.running_mean.value, self.running_var.value, 1.0
        centred = wide - mean[:, None, None]
        if of_batch:
            variance = (self._over_all((centred * centred).sum(axis=(0, 2, 3))) / m).astype(wide.dtype)
            self.running_mean.move(mean, self.momentum)
            self.running_var.move(variance * float(m / (m - 1)), self.momentum)
        scale = 1 / xp.sqrt(variance + self.eps)
        normalised = centred * scale[:, None, None]
        self.save(normalised=normalised, scale=scale, of_batch=of_batch, m=m)
        y = self.weight.value[:, None, None] * normalised + self.bias.value[:, None, None]
        return y.astype(x.dtype, copy=False)

    def backward(self, grad_y: Array) -> Array:
        xp, normalised, scale = self.xp, self.saved.normalised, self.saved.scale[:, None, None]
        wide, dtype = at_least_float32(grad_y), grad_y.dtype
        grad_bias, grad_weight = wide.sum(axis=(0, 2, 3)), (wide * normalised).sum(axis=(0, 2, 3))
        self.bias.grad = grad_bias.astype(dtype)
        self.weight.grad = grad_weight.astype(dtype)
        grad_normalised = wide * self.weight.value[:, None, None]
        if not self.saved.of_batch:
            return (grad_normalised * scale).astype(dtype, copy=False)
        # The sums of grad_normalised and of grad_normalised * normalised, from those that are there already.
        sums = xp.concatenate([self.weight.value * grad_bias, self.weight.value * grad_weight])
        means = (self._over_all(sums) / self.saved.m).astype(wide.dtype)
        through_mean, through_variance = means.reshape(2, self.channels, 1, 1)
        grad_x = (grad_normalised - through_mean - normalised * through_variance) * scale
        return grad_x.astype(dtype, copy=False)

    def _over_all(self, sums):
        """The sums over all processes, in float64."""
        sums = sums.astype("float64")
        return self.group.sum(sums if self.adds else self.xp.zeros_like(sums))

    def check_input(self, x):
        """As one process would: there is one number a channel only if all have that."""
        training, self.training = self.training, False
        try:
            super().check_input(x)
        finally:
            self.training = training


class TowersInTurn(Towers):
    """Towers, one after the other: on two threads both would ask the other processes at once, and in any order."""

    def forward(self, xs):
        return tuple(stage.forward(x) for stage, x in zip(self.stages, xs, strict=True))

    def backward(self, grad_ys, input_grad=True):
        pairs = zip(self.stages, grad_ys, strict=True)
        grad_xs = tuple(stage.backward(grad_y, input_grad=input_grad) for stage, grad_y in pairs)
        return grad_xs if input_grad else None


@contextmanager
def over_processes(model: Layer, group: Group) -> Iterator[list[BatchNormOverProcesses]]:
    """Inside of this the model's batch normalisations are over all processes; gives them.

    Raises TypeError for one of a class that is made from BatchNorm2D.
    """
    layers = [layer for layer in all_layers(model) if isinstance(layer, BatchNorm2D)]
    for layer in layers:
        if type(layer) is not BatchNorm2D:
            raise TypeError(
                f"{layer} is a BatchNorm2D of your own: processes know how to put together what BatchNorm2D itself "
                "measures, and each would normalise its own pictures by themselves"
            )
    towers = [
        layer
        for layer in all_layers(model)
        if type(layer) is Towers and any(inside in layers for inside in all_layers(layer))
    ]
    for layer in layers:
        object.__setattr__(layer, "__class__", BatchNormOverProcesses)
        vars(layer)["group"] = group
    for layer in towers:
        object.__setattr__(layer, "__class__", TowersInTurn)
    try:
        yield layers
    finally:
        for layer in towers:
            object.__setattr__(layer, "__class__", Towers)
        for layer in layers:
            object.__setattr__(layer, "__class__", BatchNorm2D)
            vars(layer).pop("group")
            vars(layer).pop("adds", None)
