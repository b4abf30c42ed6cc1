"""Layers one after the other, with names."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minialex.devices.device import Device, place
from minialex.layers.calls import was_used_since
from minialex.layers.layer import Array, Layer
from minialex.layers.names import check_different, check_keys, check_layers, give_name, names_inside
from minialex.shapes import is_whole
from minialex.words import counted, did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Self


# What is asked of networks as attributes: a layer inside that is called so is model["loss"], and not model.loss.
ASKED_FOR = frozenset(
    "architecture classes heads input layers loss picture_shape prepare preset_name".split()
)


class Sequential(Layer):
    """forward: each layer's output is the next one's input; backward: the same way back

    `Sequential(conv1=..., relu1=...)` gives names, which reach the parameters ("conv1.weight"), traces and weight
    files; `Sequential(a, b)` numbers them. `model["conv1"]`, `model.conv1` or `model[0]` is a layer, `for layer in
    model` all; `model["fc"] = Linear(64, 3)` puts another in its place.
    A layer may stand in it once: given twice, its saved arrays would be overwritten. It may stand in several
    Sequentials, as in `Sequential(*list(model)[:-1])`: then it keeps the name that the first one gave it, and each
    has names of its own for weight files and checkpoints, `named_parameters()`.
    Raises ValueError when empty, when a layer or a parameter stands in it twice or two have the same name, TypeError
    for what is no layer.

    >>> from minialex.layers.activation import ReLU
    >>> from minialex.layers.linear import Linear
    >>> model = Sequential(fc1=Linear(4, 3), relu1=ReLU(), fc2=Linear(3, 2))
    >>> [p.name for p in model.parameters()]
    ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']
    """

    def __init__(self, *layers: Layer, **named: Layer):
        if layers and named:
            raise ValueError("Sequential takes layers with names or layers without, not both")
        self.layers = named or {str(i): layer for i, layer in enumerate(layers)}
        if not self.layers:
            raise ValueError("Sequential needs at least one layer")
        check_layers("Sequential", self.children())
        self._check_names()
        for name, layer in self.children().items():
            give_name(layer, name, owner=self)

    def forward(self, x: Array) -> Array:
        outputs = []
        for layer in self.layers.values():
            x = layer.forward(x)
            outputs.append(layer._output)
        self.save(outputs=outputs)
        return x

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        layers = list(self.layers.values())
        if not input_grad:  # nothing before the first parameter is of use
            layers = layers[next((i for i, layer in enumerate(layers) if layer.parameters()), len(layers)) :]
        self._check_untouched()
        for layer in reversed(layers):
            grad_y = layer.backward(grad_y, input_grad=input_grad or layer is not layers[0])
        return grad_y

    def _check_names(self):
        kind, inside = type(self).__name__, all_layers(self)
        if len(set(map(id, inside))) < len(inside):
            raise ValueError("Sequential: the same layer stands in it twice; make two")
        for layer in inside:
            check_keys(layer)
        layers = [name for key, layer in self.children().items() for name in names_inside(layer, key)]
        if twice := [name for name, count in Counter(layers).items() if count > 1]:
            raise ValueError(f"{kind}: two layers in it would be called {twice[0]!r}")
        inside = self.children().items()
        named = [(f"{key}.{n}", p) for key, layer in inside for n, p in layer.named_parameters()]
        check_different(named, kind)
        first = {}
        for name, p in named:
            if (other := first.setdefault(id(p), name)) != name:
                raise ValueError(
                    f"{kind}: {other} and {name} are one and the same parameter; each layer's backward would set its "
                    "gradient anew"
                )

    def _check_untouched(self):
        """Has every layer what this one's forward left in it? Another model may have the same layers."""
        for layer, output in zip(self, self.saved.outputs, strict=True):
            if layer._output is not output:
                raise was_used_since(self, layer)

    def children(self) -> dict[str, Layer]:
        return self.layers

    def split(self, parts: int) -> list[Layer]:
        """Towers: each layer dealt out. What reads all channels, as a convolution of one group, must come first."""
        if type(self) is not Sequential:
            return super().split(parts)
        dealt = {name: layer.split(parts) for name, layer in self.layers.items()}
        return [
            Sequential(**{name: pieces[number] for name, pieces in dealt.items()}) for number in range(parts)
        ]

    @property
    def device(self) -> Device:
        """The first layer's, or what a subclass sets: another model that has these layers may have moved them."""
        return vars(self).get("device") or self[0].device

    @device.setter
    def device(self, device: Device) -> None:
        vars(self)["device"] = device

    @property
    def training(self) -> bool:
        """Is any layer in training mode? Another model that has these layers may have changed it."""
        return any(layer.training for layer in self)

    @training.setter
    def training(self, mode: bool) -> None:
        Sequential.train(self, mode)

    def train(self, mode: bool = True) -> "Self":
        for layer in self.children().values():
            layer.train(mode)
        return self

    def to(self, devices) -> "Self":
        """Move to a device; with towers inside, to two: "cuda:0,cuda:1". What is outside them goes to the first."""
        first, second = place(devices)
        takes_two = {name for name, layer in self.layers.items() if has_towers(layer)}
        if first is not second and not takes_two:
            raise ValueError(f"{self} has no towers: it takes one device, not {first.name} and {second.name}")
        first.check_link(second)
        for name, layer in self.children().items():
            layer.to((first, second) if name in takes_two else first)
        self.saved = self._output = None
        return self

    def check_input(self, x) -> None:
        """Each layer inside checks its own."""

    def check_grad(self, grad_y) -> None:
        """Each layer inside checks its own."""

    def __getitem__(self, key: str | int) -> Any:  # a Layer; which kind, the caller knows
        """By its name, "conv1", or "layer1.0.conv1" for what is further inside; by its place; or several of them."""
        if not isinstance(key, str):
            layers = list(self.layers.values())
            return layers[key if isinstance(key, slice) else self._index(key)]
        # A head is no layer of the trunk.
        there = {**self.children(), **self.layers}
        if key in there:
            return there[key]
        first, _, rest = key.partition(".")
        if rest and first in there:
            return _inside(there[first], rest)
        raise KeyError(f"{self} has no layer {key!r}{did_you_mean(key, there)}; it has {', '.join(there)}")

    def __setitem__(self, key: str | int, layer: Layer) -> None:
        """Another layer in the place of one, whose name it gets.

        Raises ValueError for a network that says in its files what it is made of.
        """
        if not isinstance(key, str):
            key = list(self.layers)[self._index(key)]
        if key not in self.layers:
            raise KeyError(f"{self} has no layer {key!r} to replace; it has {', '.join(self.layers)}")
        if self._is_known:
            raise ValueError(
                f"{self} is, or belongs to, a network that is known by how it was made, and so are its files: its "
                "layers stay. Another number of classes is num_classes= where it is made; else put its layers into a "
                "Sequential, dict(model.layers)"
            )
        check_layers(type(self).__name__, {key: layer})
        if any(one is self for one in all_layers(layer)):
            raise ValueError(f"{self}: it cannot stand in itself")
        before = self.layers[key]
        self.layers[key] = layer
        try:
            self._check_names()
        except BaseException:
            self.layers[key] = before
            raise
        if vars(self).get(key) is before:  # a class of one's own may keep it as an attribute as well
            vars(self)[key] = layer
        self.saved = self._output = None
        give_name(layer, key, owner=self)
        there = set(map(id, self.parameters()))
        for p in before.parameters():
            if id(p) not in there:
                p.grad = None  # at which an optimizer that still has it speaks up

    def _index(self, place):
        if not is_whole(place):
            raise TypeError(f"{self}: a layer's place is a whole number, not {place!r}")
        if not -len(self.layers) <= place < len(self.layers):
            raise IndexError(f"{self} has {counted(len(self.layers), 'layer')}, and none at {place}")
        return place

    def __getattr__(self, name: str) -> Any:  # only for what is not there
        """`model.conv1` is model["conv1"]; not so for what a network may be asked for, its loss, say."""
        if name not in ASKED_FOR and not hasattr(type(self), name):
            for kept in ("layers", "heads"):
                if name in vars(self).get(kept, ()):
                    return vars(self)[kept][name]
        return object.__getattribute__(self, name)  # whose error it is

    def __setattr__(self, name, value):
        if name in vars(self).get("layers", ()) and name not in ASKED_FOR and not hasattr(type(self), name):
            self[name] = value
        else:
            super().__setattr__(name, value)
        if name == "architecture" and value is not None:
            for layer in all_layers(self):
                vars(layer)["_is_known"] = True

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers.values())

    def __len__(self) -> int:
        return len(self.layers)


def _inside(layer, path):
    """The layer at the end of a path of names, "0.conv1"."""
    for key in path.split("."):
        there = layer.children()
        if key not in there:
            has = f"; it has {', '.join(there)}" if there else ", nor any other"
            raise KeyError(f"{layer} has no layer {key!r}{did_you_mean(key, there)}{has}")
        layer = there[key]
    return layer


def all_layers(layer: Layer) -> list[Layer]:
    """The layer, and all that are inside it."""
    return [layer, *(inner for child in layer.children().values() for inner in all_layers(child))]


@contextmanager
def in_mode(model: Layer, training: bool):
    """The network in training or in evaluation; afterwards each layer of it is in the mode that it was in."""
    # A Sequential's mode is that of its layers.
    layers = [each for each in all_layers(model) if not isinstance(type(each).training, property)]
    modes = [each.training for each in layers]
    model.train(training)
    try:
        yield
    finally:
        for each, mode in zip(layers, modes, strict=True):
            each.training = mode


def has_towers(layer):
    """Does it live on two devices?"""
    return hasattr(layer, "devices") or (isinstance(layer, Sequential) and any(map(has_towers, layer)))
