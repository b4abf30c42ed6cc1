"""What layers and parameters are called: the first container that a layer comes into names it, once."""

from collections import Counter

from minialex.layers.layer import Layer
from minialex.layers.parameter import Buffer, Parameter
from minialex.words import a_or_an


def give_name(layer: Layer, key: str, owner: Layer) -> None:
    """A container names a child that has no name yet: its "weight" becomes "conv1.weight", and so all that is inside.

    What another container has named keeps its name, and so does all that is inside of a whole network.
    """
    if not layer._owned:
        layer._owned = True
        owner._named = (*owner._named, key)
        _prefix(layer, ".".join([owner.name] * bool(owner.name) + [key] * owner.names_children))


def _prefix(layer, prefix):
    """Before the layer's name, and those that it has given. A block that is no container gives its children's keys."""
    before = layer.name
    layer.name = f"{prefix}.{before}" if before else prefix
    if layer.is_whole:
        return
    for value in vars(layer).values():
        if isinstance(value, Parameter | Buffer):
            own = value.name.startswith(f"{before}.") if before else "." not in value.name
            if own:  # one that another layer has as well keeps that one's name
                value.name = f"{prefix}.{value.name}"
    for key, child in layer.children().items():
        if not child._owned:
            give_name(child, key, owner=layer)
        elif key in layer._named:
            _prefix(child, prefix)


def check_layers(owner: str, layers) -> None:
    """Raise for what is no layer, by its name: a class in place of a layer is the usual slip."""
    for name, layer in layers.items():
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise TypeError(f"{owner}: {name} is the class {layer.__name__}: write {layer.__name__}(...)")
        if not isinstance(layer, Layer):
            stars = {list: "*", tuple: "*", dict: "**"}.get(type(layer))
            hint = f": give them one by one, {stars}layers, or as a Sequential" if stars else ""
            raise TypeError(f"{owner}: {name} is {a_or_an(type(layer).__name__)}, not a layer{hint}")


def check_keys(layer: Layer) -> None:
    """Raise for a child's name that is no text, or has a NUL in it, at which archives would cut it off."""
    for key in layer.children():
        if not isinstance(key, str):
            raise TypeError(
                f"{layer}: a layer inside it is called {key!r}, {a_or_an(type(key).__name__)}: use a text"
            )
        if "\0" in key:
            raise ValueError(
                f"{layer}: a layer inside it is called {key!r}: no file can hold a name with a NUL"
            )


def check_different(named: list[tuple[str, Parameter]], what: str) -> None:
    """Raise if two parameters have one name, unless they are different parts of one whole."""
    counts = Counter((name, p.part) for name, p in named)
    for (name, _), count in counts.items():
        if count > 1:
            raise ValueError(f"{what}: {count} parameters are called {name!r}; they need names of their own")


def names_inside(layer, name):
    """The names of a layer and of all that are inside it; both towers have the same."""
    keys = layer.children().items()
    if not layer.names_children:
        return list(
            dict.fromkeys([name, *(inner for _, child in keys for inner in names_inside(child, name))])
        )
    return [name, *(inner for key, child in keys for inner in names_inside(child, f"{name}.{key}"))]
