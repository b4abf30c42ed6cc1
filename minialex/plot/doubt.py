"""The trade-off of a doubt: what it keeps out, against what it refuses wrongly."""

from itertools import cycle

from matplotlib.ticker import ScalarFormatter

from minialex.plot.look import BLUE, GREEN, GREY, ORANGE, PINK, Picture, by_name, finished, new_figure, styled


@styled
def unsure_curve(curves, chosen=None, title=None, path=None) -> Picture:
    """A line for each kind of pictures that are no digits: how many are called unsure, where so many digits are.

    curves: {kind: [(digits refused, these called unsure), ...]}, in percent, the first above 0. chosen: where the limit
    is, in percent of the digits. Raises TypeError for what is no dict, ValueError for no curve, or one
    without points.

    >>> figure = unsure_curve({"letters": [(0.5, 70.0), (1.0, 80.0), (5.0, 95.0)]}, chosen=1.0)
    >>> figure.axes[0].get_xscale(), len(figure.axes[0].lines)
    ('log', 2)
    """
    by_name(curves, "unsure_curve", "{kind: [(refused, unsure), ...]}")
    if not curves or not all(len(points) for points in curves.values()):
        raise ValueError("there are no curves to show; give at least 1, as {kind: [(refused, unsure), ...]}")
    figure = new_figure(8.5, 5.0, title)
    axes = figure.subplots()
    looks = cycle([(colour, style) for style in ("-", "--", ":") for colour in (BLUE, ORANGE, GREEN, PINK)])
    for (kind, points), (colour, style) in zip(curves.items(), looks, strict=False):
        axes.plot(*zip(*points, strict=True), style, color=colour, marker="o", markersize=4, label=kind)
    if chosen is not None:
        axes.axvline(chosen, color=GREY, linewidth=1.2)
        axes.annotate("the limit", (chosen, 2), (4, 0), textcoords="offset points", color=GREY)
    axes.set(xscale="log", xlabel="digits refused, %", ylabel="called unsure, %", ylim=(0, 102))
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], minor=False)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.grid(True)
    axes.legend(loc="lower right", fontsize=10, handlelength=3.2)
    return finished(figure, path)
