"""One weird trick: convolutions share the pictures, fully connected layers the units (Krizhevsky 2014, sections 3, 4).

In AlexNet the fully connected layers have 96 % of the weights and 8 % of the work. To sum their gradients over
processes costs far more than to send around what goes into them. So each process has some of their units (some rows of
each weight), computes these for the pictures of all, and sends what it made to all. Their gradients need no sum: each
process makes all of its own rows'. Convolutions, with 4 % of the weights, are shared by pictures, as in `Cluster`.

The schemes say how the last convolution's maps come to all (section 4):
  a  all processes send all of theirs to all; the fully connected layers see the whole batch at once
  b  one process after the other sends all of its own; they see one process's pictures at a time
  c  all send a part of theirs, again and again; they see a part of everybody's at a time
a needs memory for all, b loads one sender at a time, c keeps all sending a little. The gradients are the same.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minialex.cluster.cluster import Cluster
from minialex.cluster.group import Group
from minialex.devices.device import to_numpy
from minialex.layers import Dropout, Flatten, Linear, ReLU, Sequential, Sigmoid, Tanh, Towers
from minialex.layers.layer import Array, Layer
from minialex.layers.parameter import Parameter
from minialex.shapes import parts_of
from minialex.training.alone import SCHEMES
from minialex.training.evaluation import scores_of
from minialex.training.optim import SGD
from minialex.words import check_choice, counted

# What may stand between fully connected layers: a unit's matter alone.
BETWEEN = (ReLU, Tanh, Sigmoid, Dropout)


def in_two(model: Sequential) -> tuple[dict[str, Layer], dict[str, Layer]]:
    """The layers that share pictures, Flatten the last of them, and those that share units.

    Raises ValueError, saying what is in the way, for a network that does not end in fully connected layers, or that is
    in two towers, which share units themselves.
    """
    names = list(model.layers)
    if any(isinstance(layer, Towers) for layer in model):
        raise ValueError(
            f"{model} is in two towers, which share its units already: make it with towers=1 (the presets bvlc, "
            "torchvision and ungrouped have one)"
        )
    flat = [at for at, layer in enumerate(model) if isinstance(layer, Flatten)]
    cut = flat[-1] + 1 if flat else len(names)
    by_pictures = {name: model.layers[name] for name in names[:cut]}
    by_units = one_by_one({name: model.layers[name] for name in names[cut:]})
    strange = [name for name, layer in by_units.items() if not isinstance(layer, (Linear, *BETWEEN))]
    if strange or not by_units or not isinstance(list(by_units.values())[-1], Linear):
        what = (
            f"{strange[0]} ({type(by_units[strange[0]]).__name__}) stands there" if strange else "it does not"
        )
        raise ValueError(
            f"the weird trick is for networks that end in Flatten, Linear, ..., Linear, with ReLU and Dropout between; "
            f"in {model} {what}: share pictures alone (--parallel data)"
        )
    return by_pictures, by_units


def one_by_one(layers: dict[str, Layer]) -> dict[str, Layer]:
    """The layers, those of a Sequential among them singly: VGG's "classifier.0"."""
    found: dict[str, Layer] = {}
    for name, layer in layers.items():
        inside = one_by_one(layer.layers) if type(layer) is Sequential else {}
        found |= {f"{name}.{key}": one for key, one in inside.items()} if inside else {name: layer}
    return found


class SharedUnits:
    """Fully connected layers of which each process has some units, for the pictures of all.

    `before` come ahead of the first Linear and see all features; each of `parts` is a Linear, with the layers behind
    it, of which this process has some units.
    """

    def __init__(self, group: Group, layers: dict[str, Layer]):
        self.group = group
        self.widths: dict[str, int] = {}  # of what goes into a layer, over all processes
        # The whole, our rows of it, which rows these are, how many each process has.
        self.exchanged: list[tuple[Parameter, Parameter, slice, list[int]]] = []
        self.before: dict[str, Layer] = {}
        self.parts: list[tuple[dict[str, Layer], list[int]]] = []
        first = next(layer for layer in layers.values() if isinstance(layer, Linear))
        for name, layer in layers.items():
            if isinstance(layer, Linear):
                mine, sizes = self._rows_of(layer)
                self.parts.append(({name: mine}, sizes))
            else:
                self.widths[name] = sum(self.parts[-1][1]) if self.parts else first.in_features
                (self.parts[-1][0] if self.parts else self.before)[name] = layer

    def _rows_of(self, layer):
        """The same layer with this process's rows of weight and bias, in the same memory; how many rows each has."""
        units, of = layer.out_features, self.group.size
        if units < of:
            raise ValueError(f"{layer} has {counted(units, 'unit')}, too few for {of} processes")
        parts = parts_of(units, of)
        rows, sizes = parts[self.group.number], [part.stop - part.start for part in parts]
        mine = copy.copy(layer)
        mine.out_features = sizes[self.group.number]
        for attribute in ("weight", "bias"):
            whole = getattr(layer, attribute)
            own = Parameter(whole.value[rows], decay=whole.decay, lr_scale=whole.lr_scale)
            own.name = whole.name
            setattr(mine, attribute, own)
            self.exchanged.append((whole, own, rows, sizes))
        return mine, sizes

    def own_columns(self, array: Array, sizes: list[int]) -> Array:
        """Of an array (N, units), this process's units."""
        first = sum(sizes[: self.group.number])
        return array[:, first : first + sizes[self.group.number]]

    def forward(self, x: Array, masks: dict[str, Array]) -> Array:
        """The logits of these pictures: after each layer its units are put together from those of all processes."""
        x = forward_through(self.before, x, masks)
        for layers, sizes in self.parts:
            own_masks = {
                name: self.own_columns(mask, sizes) for name, mask in masks.items() if name in layers
            }
            x = self.group.all_of(forward_through(layers, x, own_masks), sizes, axis=1)
        return x

    def backward(self, grad: Array, pictures: list[int]) -> Array:
        """The gradient of x for this process's pictures; how many of them are each one's.

        A process knows what its own units say of what they read: over processes, that is a sum.
        """
        grad = self.own_columns(grad, self.parts[-1][1])  # the logits' gradient is whole in each
        for (layers, _), (_, units) in zip(self.parts[:0:-1], self.parts[-2::-1], strict=True):
            grad = self.group.part_of_sum(backward_through(layers, grad), units, axis=1)
        grad = backward_through(self.parts[0][0], grad)
        return self.group.part_of_sum(backward_through(self.before, grad), pictures)


def forward_through(layers: dict[str, Layer], x: Array, masks: dict[str, Array]) -> Array:
    """Each layer's output is the next one's input; dropout is given its mask."""
    for name, layer in layers.items():
        x = layer.forward(x, masks[name]) if name in masks else layer.forward(x)
    return x


def backward_through(layers: dict[str, Layer], grad: Array) -> Array:
    """The same way back."""
    for layer in reversed(layers.values()):
        grad = layer.backward(grad)
    return grad


class WeirdTrick(Cluster):
    """A Cluster whose fully connected layers are shared by units. scheme: "a", "b" or "c", see this file's first lines.

    Raises ValueError for another scheme, and when the work begins for a network that cannot be shared so.
    """

    def __init__(self, group: Group, scheme: str = "b", **options):
        check_choice(scheme, SCHEMES, "scheme")
        super().__init__(group, **options)
        self.scheme = scheme

    def _way(self):
        return {**super()._way(), "the scheme": self.scheme}

    @contextmanager
    def at_work(self, model: Sequential, batches, optimizer: SGD) -> Iterator[None]:
        by_pictures, by_units = in_two(model)
        self._trunk, self._units = Sequential(**by_pictures), SharedUnits(self.group, by_units)
        self._masked = {name: layer for name, layer in by_units.items() if isinstance(layer, Dropout)}
        with super().at_work(self._trunk, batches, optimizer):
            self._take_rows(optimizer)
            try:
                yield
            finally:
                self._give_rows_back(optimizer)

    @contextmanager
    def whole(self, optimizer: SGD) -> Iterator[None]:
        rows = {id(p): v for p, v in zip(optimizer.parameters, optimizer.velocities, strict=True)}
        self._give_rows_back(optimizer)
        velocities = {id(p): v for p, v in zip(optimizer.parameters, optimizer.velocities, strict=True)}
        for whole, own, _, sizes in self._units.exchanged:
            whole.value[...] = self.group.all_of(own.value, sizes)
            if id(own) in rows:
                velocities[id(whole)][...] = self.group.all_of(rows[id(own)], sizes)
        try:
            yield
        finally:
            self._take_rows(optimizer)

    def _take_rows(self, optimizer):
        """Let the optimizer move this process's rows in place of whole weights."""
        self._wholes = list(optimizer.parameters), optimizer.velocities[:]
        place = {id(p): at for at, p in enumerate(optimizer.parameters)}
        for whole, own, rows, _ in self._units.exchanged:
            if (at := place.get(id(whole))) is not None:
                optimizer.parameters[at] = own
                optimizer.velocities[at] = optimizer.velocities[at][rows]
        # (The rows of weights and velocities are views: what moves them moves the wholes.)

    def _give_rows_back(self, optimizer):
        optimizer.parameters[:], optimizer.velocities[:] = self._wholes

    def step(self, model: Sequential, optimizer: SGD, x: Array, labels, planned: int) -> Array | None:
        """As `Cluster.step`."""
        counts, own = self._ready(len(labels), planned), len(labels)
        if not sum(counts):
            return None
        maps = self._trunk.forward(x)
        logits, grad_maps = self._through_units(model, maps[:own], labels, counts)
        if not own:
            grad_maps = self._trunk.device.xp.zeros_like(maps)
        self._sums.begin(self._news(), adds=bool(own))
        self._trunk.backward(grad_maps, input_grad=False)
        self._decide()
        optimizer.step()
        if not own:
            return model.device.asarray(np.zeros(3, maps.dtype))
        labels = model.loss.take_labels(logits, labels)
        return scores_of(model, logits, labels, model.loss.forward(logits, labels))

    def _through_units(self, model, maps, labels, counts):
        """The logits of this process's pictures, and the gradient of their maps; sets the gradients of its rows."""
        xp = self._trunk.device.xp
        labels = self.group.all_of(np.asarray(to_numpy(labels), np.int64), counts)
        masks = {
            name: self._mask(name, layer, sum(counts))
            for name, layer in self._masked.items()
            if layer.training
        }
        rows = [own for _, own, *_ in self._units.exchanged]
        all_logits, grads_maps, sums = [], [], [0] * len(rows)
        numbers = [np.arange(count) + sum(counts[:k]) for k, count in enumerate(counts)]  # in the whole batch
        for turn in turns(self.scheme, counts):
            sizes = [part.stop - part.start for part in turn]
            those = np.concatenate([its[part] for its, part in zip(numbers, turn, strict=True)])
            here = self._trunk.device.asarray(those)
            x = self.group.all_of(maps[turn[self.group.number]], sizes)
            logits = self._units.forward(x, {name: mask[here] for name, mask in masks.items()})
            model.loss.forward(logits, labels[those])
            grad = model.loss.backward(len(those) / sum(counts))
            grads_maps.append(self._units.backward(grad, sizes))
            sums = [so_far + p.grad for so_far, p in zip(sums, rows, strict=True)]
            start = sum(sizes[: self.group.number])
            all_logits.append(logits[start : start + sizes[self.group.number]])
        for p, grad in zip(rows, sums, strict=True):
            p.grad = grad
        return xp.concatenate(all_logits), xp.concatenate(grads_maps)

    def _mask(self, name, layer, count):
        """For the pictures of all, and all units, as one process would draw it."""
        layer.first = 0
        return layer.device.asarray(layer.draw_mask((count, self._units.widths[name])))


def turns(scheme: str, counts: list[int]) -> list[list[slice]]:
    """Which of its pictures each process sends, turn by turn. counts: how many each has.

    >>> def shown(scheme):
    ...     return [[f"{part.start}:{part.stop}" for part in turn] for turn in turns(scheme, [4, 2])]
    >>> shown("a"), shown("b"), shown("c")
    ([['0:4', '0:2']], [['0:4', '0:0'], ['0:0', '0:2']], [['0:2', '0:1'], ['2:4', '1:2']])
    """
    of = range(len(counts))
    if scheme == "a":
        found = [[slice(0, count) for count in counts]]
    elif scheme == "b":
        found = [
            [slice(0, count if number == turn else 0) for number, count in enumerate(counts)] for turn in of
        ]
    else:
        found = list(zip(*(parts_of(count, len(counts)) for count in counts), strict=True))
    return [list(turn) for turn in found if any(part.stop > part.start for part in turn)]
