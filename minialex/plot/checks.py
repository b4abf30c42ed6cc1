"""The picture of a gradient check: where backward disagrees with what was measured."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from minialex.check.gradient import RELATIVE
from minialex.plot.look import (
    GREY,
    INK,
    ORANGE,
    PINK,
    Picture,
    colour_bar,
    finished,
    folded,
    good_columns,
    new_figure,
    styled,
)

NUMBERED = 60  # gradcheck writes numbers into the cells of arrays up to this size
VERDICTS = {  # frames in gradcheck
    "bug": (ORANGE, "-", "bug: backward ≠ measured"),
    "kink": (PINK, "--", "kink: no derivative here"),
}
BLUES = colormaps["Blues"].with_extremes(under="white")
SHARES = LogNorm(1e-14, 1)


@styled
def gradcheck(report, path=None) -> Picture:
    """A gradcheck report: a panel for each array with wrong gradients, or for each array when all pass.

    A cell is |backward - measured| as a share of the array's largest gradient. Wrong cells have frames; where there
    is room, numbers: the share, or "backward ≠ measured".
    """
    names = list(dict.fromkeys(e.array for e in report.bugs + report.kinks)) or list(report.shapes)
    layouts = [_cells_of(report.shapes[name]) for name in names]
    wide = any(cells.size <= NUMBERED and cells.shape[1] > 8 for cells, *_ in layouts)
    columns = 1 if wide else min(3, good_columns(len(names)))
    rows = math.ceil(len(names) / columns)
    sizes = {name: math.prod(shape) for name, shape in report.shapes.items()}
    title = f"gradcheck of {report.title}: {_verdict(report.entries, sum(sizes.values()))}"
    title += f", other faults: {len(report.faults)} (print the report)" if report.faults else ""
    figure = new_figure(
        12 if wide else max(10, 5 * columns + 1), 1.8 + (3.2 if rows > 1 else 4.2) * rows, title
    )
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, name, layout in zip(panels, names, layouts, strict=False):
        _gradient_panel(axes, report.shapes[name], report.of(name), *layout)
        axes.set_title(f"{name} {report.shapes[name]}\n{_verdict(report.of(name), sizes[name])}")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    label = "|backward − measured| / largest gradient"
    bar = colour_bar(figure, ScalarMappable(SHARES, BLUES), panels, label)
    bar.ax.axhline(RELATIVE, color=ORANGE, linewidth=2)
    keys = [Patch(fill=False, ec=ec, ls=ls, lw=2.5, label=label) for ec, ls, label in VERDICTS.values()]
    keys.append(Patch(facecolor="white", edgecolor=GREY, hatch="////", label="not checked"))
    keys.append(Line2D([], [], color=ORANGE, label="tolerance"))
    figure.legend(handles=keys, loc="outside lower center", ncols=4)
    return finished(figure, path)


def _verdict(entries, size):
    bugs, kinks = (sum(e.verdict == verdict for e in entries) for verdict in VERDICTS)
    found = f"bugs: {bugs:,}, kinks: {kinks:,}" if bugs or kinks else "all pass"
    return f"{found}, checked: {len(entries):,}" + (f" of {size:,}" if len(entries) < size else "")


def _cells_of(shape):
    """Where an array's entries stand: flat indices (rows, columns), -1 for none; a tile's size; names of the axes.

    The last two axes make a tile; the others put tiles side by side. A vector is folded into lines.
    """
    flat = np.arange(math.prod(shape))
    if len(shape) < 2:
        cells = folded(flat, 12 if flat.size <= NUMBERED else 40, -1)
        return cells, (1, 1) if len(cells) == 1 else cells.shape, ("", "axis 0")
    if len(shape) == 2:
        return flat.reshape(shape), (1, 1), ("axis 0", "axis 1")
    tiles = flat.reshape(-1, *shape[-3:])
    names = [f"tiles: axis {i}" if i >= 0 else "" for i in (len(shape) - 4, len(shape) - 3)]
    if len(tiles) > shape[-3]:  # wide rather than tall
        tiles, names = tiles.swapaxes(0, 1), names[::-1]
    down, across, height, width = tiles.shape
    return tiles.transpose(0, 2, 1, 3).reshape(down * height, across * width), (height, width), names


def _gradient_panel(axes, shape, entries, cells, tile, names):
    """Cells as colours, wrong ones framed, lines between tiles; hatching shows where nothing was checked."""
    rows, columns = cells.shape
    place = np.argsort(cells, axis=None)[-math.prod(shape) :]  # of each flat index
    ys, xs = np.divmod(place[[np.ravel_multi_index(e.index, shape) for e in entries]], columns)
    sizes = [abs(value) for e in entries for value in (e.backward, e.measured) if math.isfinite(value)]
    largest = max(sizes, default=0) or 1.0
    shares = np.nan_to_num([abs(e.backward - e.measured) / largest for e in entries], nan=1.0)
    colours = np.ma.masked_where(cells >= 0, np.full(cells.shape, SHARES.vmin / 10))  # places to spare: white
    colours[ys, xs] = np.clip(shares, SHARES.vmin, SHARES.vmax)
    square = len(shape) > 2 and cells.size > NUMBERED and rows > 0.3 * columns
    axes.imshow(colours, cmap=BLUES, norm=SHARES, aspect="equal" if square else "auto")
    axes.patch.set(hatch="////", edgecolor=GREY)
    axes.spines[:].set_visible(False)
    axes.hlines(np.arange(0, rows + 1, tile[0]) - 0.5, -0.5, columns - 0.5, color=GREY, linewidth=0.7)
    axes.vlines(np.arange(0, columns + 1, tile[1]) - 0.5, -0.5, rows - 0.5, color=GREY, linewidth=0.7)
    for axis, length, size, name in zip((axes.yaxis, axes.xaxis), cells.shape, tile, names, strict=True):
        count = length // size
        axis.set_ticks((np.arange(count) + 0.5) * size - 0.5 if 1 < count <= 20 else [])
        axis.set_major_formatter(lambda at, _, size=size: f"{at // size:.0f}")
        axis.set_label_text(name if count > 1 else "")
    small = columns > 20
    for verdict, (colour, line, _) in VERDICTS.items():
        wrong = [(x, y) for x, y, e in zip(xs, ys, entries, strict=True) if e.verdict == verdict]
        frames = [Rectangle((x - 0.44, y - 0.44), 0.88, 0.88) for x, y in wrong]
        look = {"linestyle": "-" if small else line, "linewidth": 1.6 if small else 2.5, "label": verdict}
        axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor=colour, **look))
    if cells.size <= NUMBERED:
        _numbers(axes, entries, xs, ys, shares, cells.shape)


def _numbers(axes, entries, xs, ys, shares, grid):
    """In each cell the share; in a wrong one what backward says, and what was measured. Upright in narrow cells."""
    rows, columns = grid
    upright = columns > 15
    width = axes.figure.get_figwidth() / axes.get_gridspec().ncols / columns  # of a cell, in inches
    look = {"fontsize": min(11, (40 if upright else 12) * width, 70 / rows), "rotation": 90 * upright}
    for e, x, y, share in zip(entries, xs, ys, shares, strict=True):
        between = " ≠ " if upright else "\n≠ "
        text = f"{share:.0e}" if e.verdict == "pass" else f"{e.backward:.2g}{between}{e.measured:.2g}"
        colour = "white" if share > RELATIVE else INK
        axes.text(x, y, text.replace("0e+00", "0"), color=colour, ha="center", va="center", **look)
