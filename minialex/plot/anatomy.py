"""What is of use in a network: the error without each residual block, and which maps dense layers read."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch, Rectangle

from minialex.plot.look import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    Picture,
    colour_bar,
    finished,
    new_figure,
    styled,
)

BLUES = colormaps["Blues"].with_extremes(bad="white")
WIDE = 4.6  # inches for a dense block's cells


@styled
def dropped(rows, title=None, path=None) -> Picture:
    """A bar for each residual block: the error without it, beside a line for that of the whole network.

    rows: from anatomy.drop_blocks. Those whose shortcut changes the shape have another colour.
    Raises ValueError for no rows.

    >>> from minialex.study.anatomy import Dropped
    >>> figure = dropped([Dropped("layer1.0", 31.0, 1.0, False), Dropped("layer2.0", 55.5, 25.5, True)])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['+1.0', '+25.5', 'whole: 30.0 %']
    """
    rows = list(rows)
    if not rows:
        raise ValueError("there are no blocks to show: anatomy.drop_blocks gives them")
    whole = rows[0].error - rows[0].more
    figure = new_figure(8.5, 0.34 * len(rows) + 1.5, title)
    axes = figure.subplots()
    colours = [ORANGE if row.resizes else BLUE for row in rows]
    bars = axes.barh(range(len(rows)), [row.error for row in rows], color=colours, height=0.7)
    axes.bar_label(bars, [f"{row.more:+.1f}".replace("-", "−") for row in rows], padding=4, fontsize=11)
    axes.axvline(whole, color=INK, linewidth=1.5, linestyle="--")
    axes.text(whole, -0.65, f"whole: {whole:.1f} %", ha="center", va="bottom")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set(xlim=(0, 1.12 * max(row.error for row in rows) or 1), ylim=(len(rows) - 0.4, -0.6))
    axes.set(xlabel="error without the block, %")
    axes.tick_params(axis="y", length=0)
    if any(row.resizes for row in rows):
        axes.legend(handles=[Patch(color=BLUE, label="shortcut: its input"),
                             Patch(color=ORANGE, label="shortcut to another shape")],
                    loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)  # fmt: skip
    return finished(figure, path)


@styled
def reading(readings, title=None, path=None) -> Picture:
    """A heat map for each dense block: how much each layer (columns) reads of each source (rows); white: not at all.

    (Huang et al. 2016, figure 5.) readings: from anatomy.reading. A frame is around what comes behind the block, a
    transition or the classifier. Each block has its own scale, from 0.
    Raises ValueError for no readings.

    >>> from minialex.study.anatomy import Reading
    >>> table = np.array([[0.2, 0.1, 0.1], [np.nan, 0.3, 0.1], [np.nan, np.nan, 0.4]])
    >>> figure = reading([Reading("denseblock1", ["x", "a", "b"], ["a", "b", "transition1.conv"], table)])
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['1', '2', 'transition']
    """
    readings = list(readings)
    if not readings:
        raise ValueError("there are no dense blocks to show: anatomy.reading gives them")
    columns = min(len(readings), 3)
    rows = math.ceil(len(readings) / columns)
    figure = new_figure(4.6 * columns, 4.3 * rows + 0.4 * bool(title), title)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, one in zip(panels, readings, strict=False):
        _heat_map(figure, axes, one)
    for axes in panels[len(readings) :]:
        axes.set_axis_off()
    return finished(figure, path)


def _heat_map(figure, axes, one):
    sources, readers = one.weights.shape
    layers = sources - 1  # the first source is what comes into the block
    limit = np.nanmax(one.weights)
    shown = axes.imshow(np.ma.masked_invalid(one.weights), cmap=BLUES, vmin=0, vmax=limit)
    numbers = range(1, layers + 1, 1 if layers <= 12 else 4)
    ticks = {number - 1: str(number) for number in numbers}
    if readers > layers:
        ticks = {at: text for at, text in ticks.items() if layers - at > 1 + layers // 12} | {
            layers: "classifier" if "classifier" in one.readers[-1] else "transition"
        }
        axes.add_patch(Rectangle((layers - 0.5, -0.5), 1, sources, fill=False, edgecolor=INK, clip_on=False))
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_yticks([0, *numbers], ["x", *map(str, numbers)])
    axes.set(xlabel="layer that reads", ylabel="maps of")
    axes.spines[:].set(visible=True, color=GREY, linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_title(one.name.rpartition(".")[2] or "block")
    colour_bar(figure, shown, axes, "mean absolute weight")
