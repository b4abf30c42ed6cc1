"""Pictures for lessons: arrays with their numbers side by side, lines with their names, sheets of pictures."""

import numpy as np
from matplotlib.patches import Rectangle

from minialex.plot.look import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    Picture,
    as_pictures,
    by_name,
    finished,
    new_figure,
    on_host,
    sheet,
    styled,
)
from minialex.plot.traces import heat
from minialex.words import a_or_an, counted, did_you_mean

CELL, SIGN, GAP = 0.6, 0.7, 0.35  # inches: a cell's side at most, the room for a sign, and for none
WIDE, HIGH = 12.0, 6.5  # inches: all arrays together, at most
LOOKS = [
    (BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PINK, ":"), (INK, "-"), ("#56B4E9", "--"), ("#B07D00", "-."),
]  # fmt: skip


@styled
def numbers(arrays, light=None, between=None, path=None) -> Picture:
    """Small arrays side by side with their numbers in the cells; large ones are heat-maps. 0 is white in each.

    arrays: {title: array of one or two axes}; nan leaves a cell empty. light: {title: (rows, columns)}, each a number
    or a slice, or a list of several such pairs; their cells get a frame. between: a sign for each gap, as ["*", "="].
    Raises TypeError for what is no dict, ValueError for no arrays, more axes, or another number of signs; KeyError for
    light on no array; IndexError for light on cells that are not there.

    >>> figure = numbers({"x": [[1, 2], [3, 4]], "y": [[4]]}, light={"x": (1, slice(0, 2)), "y": (0, 0)}, between=["→"])
    >>> [text.get_text() for axes in figure.axes for text in axes.texts]
    ['1', '2', '3', '4', 'x', '4', 'y']
    """
    by_name(arrays, "numbers", '{"x": array}')
    arrays = {title: _matrix(title, array) for title, array in arrays.items()}
    if not arrays:
        raise ValueError("there are 0 arrays to show; give at least 1, as {title: array}")
    between = [""] * (len(arrays) - 1) if between is None else list(between)
    if len(between) != len(arrays) - 1:
        raise ValueError(
            f"{counted(len(arrays), 'array has', 'arrays have')} {counted(len(arrays) - 1, 'gap')} between them, "
            f"not {counted(len(between), 'sign')}"
        )
    unknown = [title for title in light or {} if title not in arrays]
    if unknown:
        meant = did_you_mean(unknown[0], arrays)
        raise KeyError(
            f"light on {unknown[0]!r}, which is not shown{meant}; shown are {', '.join(map(repr, arrays))}"
        )

    rows = max(len(array) for array in arrays.values())
    signs = [SIGN if sign else GAP for sign in between]
    across = sum(array.shape[1] for array in arrays.values())
    cell = min(CELL, (WIDE - sum(signs)) / across, HIGH / rows)
    widths = [max(array.shape[1] * cell, 0.1 * len(title) + 0.1) for title, array in arrays.items()]
    high = rows * cell + 0.75
    total = sum(widths) + sum(signs) + 0.3
    figure = new_figure(total, high)
    figure.set_layout_engine("none")  # the places are known: all cells are of one size
    left = 0.15
    for (title, array), width, sign, gap in zip(
        arrays.items(), widths, [*between, ""], [*signs, 0.15], strict=True
    ):
        axes = figure.add_axes((left / total, 0.15 / high, width / total, rows * cell / high))
        lit = _places(title, array, (light or {}).get(title, []))
        _panel(axes, title, array, cell, lit, (width / cell, rows))
        left += width + gap
        middle = (left - gap / 2) / total, (0.15 + rows * cell / 2) / high
        if sign:
            figure.text(*middle, sign, fontsize=20, ha="center", va="center")
    return finished(figure, path)


def _matrix(title, array):
    array = np.asarray(on_host(array), dtype=float)
    if array.ndim > 2 or not array.size:
        raise ValueError(f"{title!r} has shape {array.shape}; an array with one or two axes is wanted")
    return np.atleast_2d(array)


def _places(title, array, light):
    """(row, column, height, width) of each lit place."""
    found = []
    for place in light if isinstance(light, list) else [light]:
        spans = []
        for at, size in zip(place, array.shape, strict=True):
            inside = isinstance(at, slice) or -size <= at < size
            span = np.atleast_1d(np.arange(size)[at]) if inside else []
            if not len(span):
                raise IndexError(f"light on {place} of {title!r}, which has shape {array.shape}")
            spans.append((int(span[0]), len(span)))
        (row, height), (column, width) = spans
        found.append((row, column, height, width))
    return found


def _panel(axes, title, array, cell, lit, room):
    """An array in the middle of its room of (columns, rows), so that the cells of all panels have one size."""
    rows, columns = array.shape
    heat(axes, array, (columns * cell, rows * cell), lit)
    middle_x, middle_y = (columns - 1) / 2, (rows - 1) / 2
    axes.set(xlim=(middle_x - room[0] / 2, middle_x + room[0] / 2))
    axes.set(ylim=(middle_y + room[1] / 2, middle_y - room[1] / 2))
    axes.set_axis_off()
    frame = {"fill": False, "edgecolor": GREY, "linewidth": 0.8, "clip_on": False}
    axes.add_patch(Rectangle((-0.5, -0.5), columns, rows, **frame))
    axes.text(middle_x, -0.5 - 0.12 / cell, title, ha="center", va="bottom", fontsize=13)


@styled
def lines(series, xlabel="", ylabel="", title=None, logy=False, path=None) -> Picture:
    """Lines, each with its name beside its end. series: {name: (xs, ys)}, up to 7; nan leaves a gap.

    logy: a logarithmic axis, on which numbers that are not positive are left out.
    Raises TypeError for what is no dict, ValueError for none or more than 7 lines, xs and ys of different lengths, or
    nothing to draw in a line.

    >>> figure = lines({"y = x": ([0, 1, 2], [0, 1, 2]), "y = x²": ([0, 1, 2], [0, 1, 4])}, xlabel="x")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['y = x', 'y = x²']
    """
    by_name(series, "lines", '{"loss": (xs, ys)}')
    if not 1 <= len(series) <= len(LOOKS):
        raise ValueError(f"{len(series)} lines: between 1 and {len(LOOKS)} can be told apart")
    ends = {}
    figure = new_figure(8.5, 4.6, title)
    axes = figure.subplots()
    if logy:
        axes.set_yscale("log")
    for (name, both), (colour, line) in zip(series.items(), LOOKS, strict=False):
        if not hasattr(both, "__len__") or len(both) != 2:
            raise ValueError(f"{name!r}: a line is a pair, (xs, ys), not {a_or_an(type(both).__name__)}")
        xs, ys = (np.asarray(on_host(values), dtype=float) for values in both)
        if xs.ndim != 1 or xs.shape != ys.shape:
            raise ValueError(
                f"{name!r}: xs have shape {xs.shape} and ys {ys.shape}; both must be of one length"
            )
        drawn = np.isfinite(ys) & ((ys > 0) | (not logy))
        if not drawn.any():
            raise ValueError(
                f"{name!r}: none of its {counted(len(ys), 'number')} can be drawn{' on a logarithmic axis' * logy}"
            )
        ys = np.where(drawn, ys, np.nan)
        axes.plot(xs, ys, line, color=colour, marker="o" if len(xs) <= 12 else "", label=name)
        ends[name] = (xs[drawn][-1], ys[drawn][-1], colour)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(True)
    axes.margins(x=0.02)
    name_ends(axes, ends)
    return finished(figure, path)


def name_ends(axes, ends):
    """The lines' names to the right of the axes, at the heights of their ends, moved apart where they would touch."""
    axes.get_ylim()  # the limits are worked out when they are asked for
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = {name: to_axes.transform((x, y))[1] for name, (x, y, _) in ends.items()}
    ordered = sorted(heights, key=heights.get)
    gap = 0.062
    places = [heights[name] for name in ordered]
    for _ in range(100):  # push each pair that is too close apart by half of what is missing
        for i in range(len(places) - 1):
            missing = gap - (places[i + 1] - places[i])
            if missing > 1e-6:
                places[i] -= missing / 2
                places[i + 1] += missing / 2
    where = dict(zip(ordered, places, strict=True))
    for name, (_, _, colour) in ends.items():
        axes.text(
            1.015, where[name], name, transform=axes.transAxes, color=colour, weight="bold", va="center"
        )


@styled
def images(arrays, captions=None, title=None, columns=None, path=None) -> Picture:
    """A sheet of small pictures of one size, grey or in colour, all on one scale.

    arrays: (N, H, W), (N, 1, H, W) or (N, 3, H, W), or a list of N pictures (H, W) or (3, H, W).
    Raises ValueError for pictures of several sizes, other shapes, another number of captions, or less than one column.

    >>> len(images([np.eye(3), np.zeros((3, 3))], ["ones", "nothing"]).axes[0].images)
    2
    """
    if isinstance(arrays, (list, tuple)):
        arrays = [on_host(array) for array in arrays]
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise ValueError(f"a sheet shows pictures of one shape; these have {', '.join(map(str, shapes))}")
        arrays = np.array(arrays)
    pictures = as_pictures(arrays)
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{counted(len(pictures), 'picture')}, but {counted(len(captions), 'caption')}")
    captions = None if captions is None else [str(caption) for caption in captions]
    longest = max((len(line) for caption in captions or [""] for line in caption.split("\n")), default=0)
    least = min(1.6, max(0.9, 0.085 * longest))
    return finished(sheet(pictures, captions, title, columns, least=least, cmap="gray"), path)
