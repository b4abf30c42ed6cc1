"""An experiment's figure: the curves of its arms, and what was compared, seed by seed, beside what was claimed."""

import math

import numpy as np

from minialex.plot.lessons import LOOKS, name_ends
from minialex.plot.look import BLUE, FAINT, GREY, INK, LINE, Picture, finished, new_figure, styled

CURVE_OF = {"train_error": "train_error", "train_loss": "train_loss", "epochs_to": "train_error"}
LABELS = {"test_error": "test error, %", "train_error": "training error, %", "train_loss": "training loss"}


@styled
def claim(record, curves, title=None, path=None) -> Picture:
    """The result of an experiment, as result.json has it, and the rows of its curves.csv.

    Left: each arm by epoch, its seeds thin and their mean bold. Right: the number that was compared, of each seed, and
    the mean with its 95 % interval; shaded is what the claim asks for.
    """
    figure = new_figure(11.5, 4.8, title or f"{record['name']}: {record['verdict']}")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _curves(left, record, curves)
    _compared(right, record)
    return finished(figure, path)


def _curves(axes, record, curves):
    column = CURVE_OF.get(record["outcome"].split()[0], "test_error")
    ends = {}
    for name, (colour, line) in zip(record["arms"], LOOKS, strict=False):
        by_seed = {}
        for row in curves:
            if row["arm"] == name:
                by_seed.setdefault(row["seed"], []).append((row["epoch"], row[column]))
        for points in by_seed.values():
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.35)
        epochs = [len(points) for points in by_seed.values()]
        most = int(np.median(epochs))  # a mean of the runs that last longest would turn away from the others
        xs = range(1, most + 1)
        ys = [np.mean([points[x - 1][1] for points in by_seed.values() if len(points) >= x]) for x in xs]
        axes.plot(xs, ys, line, color=colour)
        ends[name] = (xs[-1], ys[-1], colour)
    axes.set(xlabel="epoch", ylabel=LABELS[column])
    low = min(y for _, y, _ in ends.values())
    axes.set_ylim(0.9 * low if column == "test_error" else 0, None)
    axes.grid(True)
    name_ends(axes, ends)


def _compared(axes, record):
    values = np.asarray(record["values"])
    if "size" in record:
        values = np.exp(values)
        axes.set_yscale("log")
    low, high = _asked(record)
    bottom = min(values.min(), record["low"])
    top = max(values.max(), record["high"])
    axes.axhspan(low, min(high, max(top, low) * 2 + 1) if math.isinf(high) else high, color=LINE, zorder=0)
    axes.axhline(1 if "size" in record else 0, color=GREY, linewidth=1)
    axes.plot(np.linspace(-0.25, 0.25, len(values)), values, "o", color=BLUE, alpha=0.6)
    errors = [[record["mean"] - record["low"]], [record["high"] - record["mean"]]]
    axes.errorbar([0.6], [record["mean"]], errors, fmt="D", color=INK, capsize=5)
    axes.set(xticks=[0, 0.6], xlim=(-0.5, 0.9))
    axes.set_xticklabels([f"{len(values)} seeds", "mean, 95 %"])
    axes.set_title(record["compared"], color=FAINT)
    reach = 0.15 * (top - bottom or 1)
    if "size" not in record:
        axes.set_ylim(min(bottom, low if math.isfinite(low) else bottom, 0) - reach, max(top, low, 0) + reach)


def _asked(record):
    """The range that the claim asks the number to lie in."""
    if record.get("margin"):
        return record["level"] - record["margin"], record["level"] + record["margin"]
    return record["delta"], math.inf
