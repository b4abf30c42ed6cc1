"""Pictures of a trace: any array as a heat-map, and the window of a convolution or a pooling as it slides."""

import sys
import textwrap
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from minialex.plot.look import (
    GREY,
    INK,
    LINE,
    SIGNED,
    Picture,
    colour_bar,
    finished,
    new_figure,
    signed_scale,
    styled,
)

NUMBERED = 150  # numbers stand in the cells of pictures up to this size
TILES, SIDE = 16, 256  # most maps of an array that are shown, and most rows and columns
GOLD = "#E69F00"
FORWARD, BACKWARD = (
    ("x", "padded", "columns", "y", "winner", "total"),
    ("grad_y", "grad_columns", "grad_x", "grad_total"),
)


def show(trace, name: str | None = None, position=None, map=0, filter=0, picture=0, path=None) -> Any:
    """Page through a trace in a notebook; elsewhere, or for an array that is named, a figure.

    `show(trace)` in a notebook with ipywidgets: choose an array, and slide the window over its positions.
    `show(trace, "conv1.columns")`: this array of one picture as a heat-map, with numbers where there is room.
    `show(trace, "conv1.columns", position=3)`: the window in x, its column, and its cell in y lit together, for the
    fourth position in reading order; or position=(row, column). map, filter: which of x's and y's maps.

    Raises KeyError for a name that is not in the trace, ValueError for a position, map, filter or picture that is
    not there, or a position in a layer that has no windows.

    >>> import minialex as mx
    >>> trace = mx.trace(mx.Conv2D(1, 1, 2), np.ones((1, 1, 3, 3), dtype=np.float32))
    >>> [axes.get_title() for axes in show(trace, "columns", position=3).axes if axes.get_title()]
    ['padded, map 0', 'weight, filter 0', 'columns', 'y, map 0']
    """
    if name is None and path is None and _in_notebook():
        pager = _pager(trace)
        if pager is not None:
            return pager
    name = next(iter(trace)) if name is None else name
    return figure_of(trace, name, position, map, filter, picture, path)


@styled
def figure_of(trace, name, position=None, map=0, filter=0, picture=0, path=None) -> Picture:
    """The figure that `show` gives."""
    entry = trace[name]
    if entry.batch_axis is not None:
        _check(picture, entry.shape[entry.batch_axis], f"picture of {name}")
    if position is not None:
        return finished(_window_figure(trace, entry, position, map, filter, picture), path)
    matrix, names = _as_matrix(entry.picture(picture))
    rows, columns = matrix.shape
    height = min(max(0.45 * rows, 11 * rows / columns, 1.4), 7.5)
    wide = min(max(0.8 * columns, height * columns / rows, 4.5), 12)
    lines = (
        [entry.formula] if entry.kind == "parameter" else [text for _, text in entry.lines] or [entry.formula]
    )
    lines = [
        row for line in lines for row in textwrap.wrap(line, int(9 * (wide + 1.2)), subsequent_indent="    ")
    ]
    title = "\n".join([f"{name} {entry.shape}", *lines])
    figure = new_figure(wide + 1.2, height + 1.1 + 0.2 * len(lines), title)
    axes = figure.subplots()
    shown = heat(axes, matrix, (0.85 * wide, 0.95 * height), stretch=not 0.2 < rows / columns < 5)
    axes.set(xlabel=names[1], ylabel=names[0])
    colour_bar(figure, shown, axes, "")
    return finished(figure, path)


def _check(number, count, what):
    if not 0 <= number < count:
        raise ValueError(f"there is no {what} with number {number}: {count} are there, from 0 to {count - 1}")


def _as_matrix(array):
    """An array of one picture as rows and columns, and the names of the two: maps become tiles, with gaps."""
    array = np.asarray(array, dtype=float)
    if array.ndim < 2:
        flat = array.reshape(-1)[: SIDE * 12]
        length = flat.size if flat.size <= 12 else min(40, int(np.ceil(flat.size**0.5)))
        lines = -(-flat.size // length)
        filled = np.pad(flat, (0, lines * length - flat.size), constant_values=np.nan)
        return filled.reshape(lines, length), ("", "entry" if lines == 1 else f"entries, {length} in a line")
    names = ("row", "column")
    if array.ndim == 2:
        return array[:SIDE, :SIDE], names
    tiles = array.reshape(-1, *array.shape[-2:])
    more = f" (the first {TILES} of {len(tiles)})" if len(tiles) > TILES else ""
    tiles = np.pad(tiles[:TILES, :SIDE, :SIDE], [(0, 0), (0, 1), (0, 1)], constant_values=np.nan)
    across = len(tiles) if len(tiles) < 5 else -(-len(tiles) // (2 if len(tiles) <= 8 else 4))
    spare = -len(tiles) % across
    tiles = np.pad(tiles, [(0, spare), (0, 0), (0, 0)], constant_values=np.nan)
    height, width = tiles.shape[1:]
    sheet = (
        tiles.reshape(-1, across, height, width).transpose(0, 2, 1, 3).reshape(-1, across * width)[:-1, :-1]
    )
    return sheet, ("", f"maps, one beside the other{more}" if len(array) > 1 or array.ndim > 3 else "")


def heat(axes, matrix, room, lit=(), stretch=False):
    """Cells as colours, 0 white, with numbers where they fit; frames (row, column, height, width) around what is lit.

    room: how wide and how high the axes will be, in inches; stretch: need cells not be square?
    """
    rows, columns = matrix.shape
    look = {"cmap": SIGNED, "norm": signed_scale(matrix), "aspect": "auto" if stretch else "equal"}
    shown = axes.imshow(np.ma.masked_invalid(matrix), **look)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=GREY, linewidth=0.8)
    if matrix.size <= NUMBERED:
        _write(axes, matrix, shown.norm, (room[0] / columns, room[1] / rows), stretch)
    for row, column, height, width in lit:
        for colour, line in ((GOLD, 5), (INK, 2)):
            look = {"fill": False, "edgecolor": colour, "linewidth": line, "zorder": 3, "clip_on": False}
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), width, height, **look))
    return shown


def _write(axes, matrix, norm, cell, stretch):
    """The numbers into the cells, as large as they fit; none where they could not be read."""
    texts = {place: _short(value) for place, value in np.ndenumerate(matrix) if not np.isnan(value)}
    longest = max([len(text) for text in texts.values()] + [2])
    width, height = cell if stretch else (min(cell), min(cell))
    size = min(16, 72 * width / (0.72 * longest), 72 * height / 1.6)
    if size < 5.5:
        return
    rows, columns = matrix.shape
    axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color=LINE, linewidth=0.7)
    axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color=LINE, linewidth=0.7)
    for (row, column), text in texts.items():
        value = matrix[row, column]
        strong = np.isfinite(value) and abs(norm(value) - 0.5) > 0.27
        axes.text(
            column, row, text, color="white" if strong else INK, fontsize=size, ha="center", va="center"
        )


def _short(value):
    if 1000 <= abs(value) < 10_000:
        return f"{value:.0f}".replace("-", "−")
    text = f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.0e}" if value else "0"
    return text.replace("-", "−").replace("inf", "∞").replace("e−0", "e−")


# ---- windows ----


def _window_figure(trace, entry, position, map, filter, picture):
    """Every array of a layer in which the window can be seen: x, its columns, y; or their gradients."""
    about, parts = (
        trace.layers.get(entry.layer, {}),
        trace.of(entry.layer) if entry.layer in trace.layers else {},
    )
    if not _has_windows(about):
        raise ValueError(
            f"position={position} lights a window; {entry.layer or 'the network'} has none: leave it out"
        )
    forward = entry.kind != "backward"
    y = parts["y" if forward else "grad_y"]
    OH, OW = y.shape[2:]
    if isinstance(position, (tuple, list)):
        _check(position[0], OH, "row of y")
        _check(position[1], OW, "column of y")
        position = position[0] * OW + position[1]
    _check(position, OH * OW, "position")
    p, q = divmod(int(position), OW)
    (kh, kw), (sh, sw), (ph, pw) = about["kernel_size"], about["stride"], about["padding"]
    conv = about["kind"] in ("Conv2D", "TableConv2D")
    _check(filter if conv else map, y.shape[1], "filter" if conv else "map")
    if forward:
        x, corner = parts.get("padded", parts["x"]), (p * sh, q * sw)
    else:
        x, corner = parts["grad_x"], (p * sh - ph, q * sw - pw)
    _check(map, x.shape[1], "map")
    top, left = max(corner[0], 0), max(corner[1], 0)  # a window may begin in the padding
    bottom, right = min(corner[0] + kh, x.shape[2]), min(corner[1] + kw, x.shape[3])
    lit = [(top, left, bottom - top, right - left)]
    if "winner" in parts:
        i, j = divmod(int(parts["winner"].array[picture, map, p, q]), kw)
        lit.append((corner[0] + i, corner[1] + j, 1, 1))
    x_panel = (f"{_inner(x)}, map {map}", x.array[picture, map], lit)
    cell = [(p, q, 1, 1)]
    y_map = filter if conv else map
    y_panel = (f"{_inner(y)}, map {y_map}", y.array[picture, y_map], cell)
    panels = [x_panel, y_panel] if forward else [y_panel, x_panel]
    if conv:
        panels[1:1] = _column_panels(parts, forward, about, (map, filter), position, (p, OW), picture)
    shares = [1.7 if "columns" in title else 1.0 for title, _, _ in panels]
    way = "forward" if forward else "backward"
    wide, high = min(12.5, 3.3 * sum(shares)), 4.2
    figure = new_figure(wide, high, f"{entry.layer or about['type']} {way}, position ({p}, {q})")
    every = zip(figure.subplots(1, len(panels), width_ratios=shares), panels, shares, strict=True)
    for axes, (title, array, lit), share in every:
        room = 0.9 * wide * share / sum(shares), high - 1.2
        heat(axes, array.astype(float), room, lit, stretch="columns" in title)
        axes.set_title(title)
    return figure


def _has_windows(about):
    """Does this layer slide a window, and run our lines for it?"""
    return bool(about.get("kind")) and "kernel_size" in about


def _inner(entry):
    return entry.name.rpartition(".")[2]


def _column_panels(parts, forward, about, chosen, position, row, picture):
    """The kernel, and the columns with one of them lit: all if they are few, else one map's at one row of y."""
    (map, filter), (p, OW), (kh, kw) = chosen, row, about["kernel_size"]
    groups, F = about.get("groups", 1), parts["y"].shape[1]
    weight = parts.get("full_weight", parts["weight"]).array  # (F, C/G, kh, kw)
    depth = weight.shape[1]
    first = filter // (F // groups) * depth  # the filter reads depth channels from here on
    columns = parts["columns" if forward else "grad_columns"]
    matrix = columns.array[picture].reshape(-1, columns.shape[-1])  # (C*kh*kw, OH*OW)
    title, top, lit_rows = _inner(columns), first * kh * kw, depth * kh * kw
    if matrix.size > 4 * NUMBERED:
        matrix = matrix[map * kh * kw : (map + 1) * kh * kw, p * OW : (p + 1) * OW]
        title, top, position, lit_rows = f"{title}: map {map}, row {p} of y", 0, position - p * OW, kh * kw
    column_panel = (title, matrix, [(top, position, lit_rows, 1)])
    if not forward:
        return [column_panel]
    if not first <= map < first + depth:
        raise ValueError(
            f"filter {filter} reads maps {first} to {first + depth - 1}, not map {map}: there are {groups} groups"
        )
    return [(f"weight, filter {filter}", weight[filter, map - first], []), column_panel]


# ---- in a notebook ----


def _in_notebook():
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def _pager(trace):
    """Widgets around the figure; None where ipywidgets is not installed."""
    try:
        import ipywidgets as widgets
    except ImportError:
        return None
    names = list(trace)
    array = widgets.Dropdown(options=names, description="array")
    back, on = widgets.Button(description="◀ back"), widgets.Button(description="next ▶")
    position = widgets.IntSlider(description="position", max=1, continuous_update=False)
    image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))

    def draw(change=None):
        entry = trace[array.value]
        windows = _has_windows(trace.layers.get(entry.layer, {})) and _inner(entry) in FORWARD + BACKWARD
        position.layout.display = "" if windows else "none"
        if windows:
            OH, OW = trace.of(entry.layer)["y"].shape[2:]
            position.max = OH * OW - 1  # a value beyond it is brought back
        image.value = figure_of(trace, array.value, position.value if windows else None)._repr_png_()

    def turn(pages):
        array.value = names[(names.index(array.value) + pages) % len(names)]

    back.on_click(lambda button: turn(-1))
    on.on_click(lambda button: turn(1))
    array.observe(draw, "value")
    position.observe(draw, "value")
    draw()
    return widgets.VBox([widgets.HBox([back, array, on, position]), image])
