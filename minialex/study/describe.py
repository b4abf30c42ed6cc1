"""summary: a model as a table of shapes, parameters, multiply-adds, column bytes, and bytes between devices."""

import copy
from dataclasses import dataclass, fields

from minialex.devices.device import is_array
from minialex.layers.calls import watcher
from minialex.layers.layer import Layer
from minialex.layers.sequential import Sequential
from minialex.layers.towers import Towers
from minialex.shapes import is_whole
from minialex.training.arrays import check_model


@dataclass(frozen=True)
class Row:
    """One layer, for one picture."""

    name: str
    kind: str
    output: tuple[int, ...]  # without the batch axis; of one tower, where there are towers
    towers: int
    parameters: int
    multiply_adds: int
    column_bytes: int
    crossing_bytes: int  # between the devices of two towers, all ways together, in the forward pass


COUNTED = {f.name: f.name.replace("_", " ") for f in fields(Row) if f.type is int and f.name != "towers"}
COUNTED["multiply_adds"] = "multiply-adds"


class Summary:
    """A table of `rows`; `summary.parameters` and the other counts are totals over them."""

    def __init__(self, title: str, rows: list[Row]):
        self.title, self.rows = title, rows

    def __getattr__(self, name):
        if name not in COUNTED:
            raise AttributeError(f"a summary has no {name!r}")
        return sum(getattr(row, name) for row in self.rows)

    def __str__(self):
        counted = [name for name in COUNTED if name != "crossing_bytes" or self.crossing_bytes]
        header = ["layer", "kind", "output", *(COUNTED[name] for name in counted)]
        body = [
            [r.name, r.kind, _shape(r), *(_count(getattr(r, name)) for name in counted)] for r in self.rows
        ]
        total = ["total", "", "", *(_count(getattr(self, name)) for name in counted)]
        widths = [max(map(len, column)) for column in zip(header, *body, total, strict=True)]

        def line(cells):
            aligned = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
            aligned += [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
            return "  ".join(aligned).rstrip()

        rule = "-" * len(line(header))
        lines = [self.title, rule, line(header), rule, *map(line, body), rule, line(total)]
        return "\n".join([*lines, "All numbers but the parameters are for one picture."])

    __repr__ = __str__


def _shape(row):
    return ("2 x " if row.towers == 2 else "") + "x".join(map(str, row.output))


def _count(number):
    return f"{number:,}" if number else "-"


def summary(model: Layer, picture_shape: tuple[int, int, int] | None = None) -> Summary:
    """What each layer of a Sequential makes of one picture, and what it costs.

    picture_shape: (C, H, W); left out, the model's own. One picture of zeros goes through a copy of the model.
    Raises ValueError when neither the caller nor the model says what a picture is, TypeError for what is no network.

    >>> from minialex.layers import Conv2D, Flatten, Linear, Sequential
    >>> print(summary(Sequential(conv=Conv2D(1, 2, 3), flat=Flatten(), fc=Linear(8, 2)), (1, 4, 4)))
    Sequential, input 1x4x4
    ---------------------------------------------------------------
    layer  kind     output  parameters  multiply-adds  column bytes
    ---------------------------------------------------------------
    conv   Conv2D   2x2x2           20             72           144
    flat   Flatten  8                -              -             -
    fc     Linear   2               18             16             -
    ---------------------------------------------------------------
    total                           38             88           144
    All numbers but the parameters are for one picture.
    """
    check_model(model, "summary")
    if is_array(picture_shape):
        raise TypeError(
            f"summary takes the shape of a picture, not an array: summary(model, {tuple(picture_shape.shape[1:])})"
        )
    shape = picture_shape or getattr(model, "picture_shape", None)
    if shape is None:
        raise ValueError(
            f"summary: {type(model).__name__} does not say what its pictures are: set model.picture_shape = (C, H, W), "
            "or give that to summary(model, (C, H, W))"
        )
    if not isinstance(shape, (tuple, list)) or not all(is_whole(size) and size > 0 for size in shape):
        raise TypeError(f"summary takes the shape of a picture, (C, H, W), as (1, 28, 28); not {shape!r}")
    model = copy.deepcopy(model).eval()
    with model.device:
        x = model.xp.zeros((1, *shape), dtype=model.dtype or "float32")
    rows, made = [], {}
    # What is no Sequential goes its own way from one layer to the next: then it is one row.
    layers = model.children() if isinstance(model, Sequential) else {model.name or "-": model}
    for name, layer in layers.items():
        is_head = name in getattr(model, "heads", ())
        read = made[model.reads[name]] if is_head else x
        costs = _Costs()
        token = watcher.set(costs)
        try:
            y = made[name] = layer.forward(read)
        except ValueError as error:
            raise ValueError(f"summary of one picture of shape {tuple(shape)}: {error}") from error
        finally:
            watcher.reset(token)
        rows.append(_row(name, layer, costs, y))
        x = x if is_head else y
    title = f"{model}" if getattr(model, "architecture", None) else type(model).__name__
    return Summary(f"{title}, input {'x'.join(map(str, shape))}", rows)


class _Costs:
    """What each layer costs that is called inside of a row's; see `watcher` in layers/calls.py."""

    def __init__(self):
        self.multiply_adds, self.column_bytes, self.crossing_bytes = [], [], []

    def watch(self, layer, function, args, kwargs):
        y = function(layer, *args, **kwargs)
        x_shapes, y_shapes = _shapes(args[0]), _shapes(y)
        self.multiply_adds.append(layer.multiply_adds(x_shapes, y_shapes))
        self.column_bytes.append(layer.column_bytes(x_shapes, y_shapes))
        self.crossing_bytes.append(layer.numbers_crossing(x_shapes) * _first(y).itemsize)
        return y


def _row(name: str, layer: Layer, costs: _Costs, y) -> Row:
    kind = layer.stages[0] if isinstance(layer, Towers) else layer
    return Row(
        name,
        type(kind).__name__,
        tuple(_first(y).shape[1:]),
        len(y) if isinstance(y, tuple) else 1,
        sum(p.value.size for p in layer.parameters()),
        sum(costs.multiply_adds),
        sum(costs.column_bytes),
        sum(costs.crossing_bytes),
    )


def _first(y):
    """Of the towers' arrays the first one."""
    return y[0] if isinstance(y, tuple) else y


def _shapes(value):
    """The shape of an array, or a tuple of the shapes of the towers' arrays."""
    return tuple(array.shape for array in value) if isinstance(value, tuple) else value.shape
