"""What is of use in a network: the error without each residual block, and which maps dense layers read."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch, Rectangle

from minialex.plot.look import (
    BLUE,
    INK,
    LINE,
    ORANGE,
    SIGNED,
    Picture,
    colour_bar,
    finished,
    new_figure,
    rows_of,
    styled,
)
from minialex.study.anatomy import Dropped, Reading

FROM_0 = colormaps["Blues"].with_extremes(bad=LINE)
AROUND_1 = SIGNED.with_extremes(bad=LINE)


@styled
def dropped(rows, title=None, path=None) -> Picture:
    """A bar for each residual block: the error without it, beside a line for that of the whole network.

    rows: from anatomy.drop_blocks. Those whose shortcut changes the shape have another colour.
    Raises ValueError for no rows, TypeError for what are none.

    >>> from minialex.study.anatomy import Dropped
    >>> figure = dropped([Dropped("layer1.0", 31.0, 1.0, False), Dropped("layer2.0", 55.5, 25.5, True)])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['+1.0', '+25.5', 'whole: 30.0 %']
    """
    rows = rows_of(rows, Dropped, "dropped", "anatomy.drop_blocks")
    if not rows:
        raise ValueError("there are no blocks to show: anatomy.drop_blocks gives them")
    whole = rows[0].error - rows[0].more
    figure = new_figure(8.5, 0.34 * len(rows) + 1.5, title)
    axes = figure.subplots()
    colours = [ORANGE if row.resizes else BLUE for row in rows]
    axes.barh(range(len(rows)), [row.error for row in rows], color=colours, height=0.7)
    for place, row in enumerate(rows):  # right of the bar and of the line
        axes.annotate(
            f"{round(row.more, 1) + 0.0:+.1f}".replace("-", "−"),
            (max(row.error, whole), place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
        )
    axes.axvline(whole, color=INK, linewidth=1.5, linestyle="--")
    axes.text(whole, -0.65, f"whole: {whole:.1f} %", ha="center", va="bottom")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set(xlim=(0, 1.12 * max(row.error for row in rows) or 1), ylim=(len(rows) - 0.4, -0.6))
    axes.set(xlabel="error without the block, %")
    axes.tick_params(axis="y", length=0)
    if any(row.resizes for row in rows):
        kinds = {"the shortcut is the input": BLUE, "the shortcut has another shape": ORANGE}
        handles = [Patch(color=colour, label=kind) for kind, colour in kinds.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return finished(figure, path)


@styled
def reading(readings, title=None, path=None, by_layer=False) -> Picture:
    """A heat map for each dense block: how much each layer (columns) reads of each source (rows).

    readings: from anatomy.reading. Each block has a scale of its own, from 0, as in Huang et al. 2016, figure 5.
    by_layer: each column by its own mean: 1 is what the layer reads of a source on average. (Layers that read more maps
    begin with smaller weights, and some of that stays.)
    What is not read is grey; a frame is around what comes behind the block. Raises ValueError for no readings,
    TypeError for what are none.

    >>> from minialex.study.anatomy import Reading
    >>> table = np.array([[0.2, 0.1, 0.1], [np.nan, 0.3, 0.1], [np.nan, np.nan, 0.4]])
    >>> one = Reading("denseblock1", ["x", "a", "b"], ["a", "b", "transition1.conv"], table)
    >>> figure = reading([one], by_layer=True)
    >>> figure.axes[0].images[0].get_array().round(2).tolist()
    [[1.0, 0.5, 0.5], [None, 1.5, 0.5], [None, None, 2.0]]
    """
    readings = rows_of(readings, Reading, "reading", "anatomy.reading")
    if not readings:
        raise ValueError("there are no dense blocks to show: anatomy.reading gives them")
    columns = 2 if len(readings) == 4 else min(len(readings), 3)
    rows = math.ceil(len(readings) / columns)
    figure = new_figure(4.7 * columns, 4.1 * rows + 0.4 * bool(title), title)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, one in zip(panels, readings, strict=False):
        _heat_map(figure, axes, one, by_layer)
    for axes in panels[len(readings) :]:
        axes.set_axis_off()
    return finished(figure, path)


def _heat_map(figure, axes, one, by_layer):
    weights, label = one.weights, "mean absolute weight"
    scale = {"cmap": FROM_0, "vmin": 0, "vmax": np.nanmax(weights) or 1}
    if by_layer:
        means = np.nanmean(weights, axis=0)
        weights, label = weights / np.where(means > 0, means, 1), "weight, by the layer's mean"
        reach = np.nanmax(np.abs(weights - 1)) or 1
        scale = {"cmap": AROUND_1, "vmin": 1 - reach, "vmax": 1 + reach}
    shown = axes.imshow(np.ma.masked_invalid(weights), **scale)
    layers = len(one.sources) - 1  # the first source is what comes into the block
    numbers = range(1, layers + 1, 1 + layers // 13)
    axes.set_xticks([number - 1 for number in numbers], [str(number) for number in numbers])
    axes.set_yticks([0, *numbers], ["x", *map(str, numbers)])
    behind = ""
    if len(one.readers) > layers:
        behind = f"; framed: {'classifier' if one.readers[-1] == 'classifier' else 'transition'}"
        frame = {"fill": False, "edgecolor": INK, "linewidth": 1.5, "clip_on": False}
        axes.add_patch(Rectangle((layers - 0.5, -0.5), 1, layers + 1, **frame))
    axes.set(xlabel=f"layer that reads{behind}", ylabel="maps of")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(one.name.rpartition(".")[2] or "block")
    colour_bar(figure, shown, axes, label, shrink=0.85)
