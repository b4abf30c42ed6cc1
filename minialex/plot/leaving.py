"""SmartNet's pictures: error against cost, which gates are open, and which pictures leave where."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib import colormaps
from matplotlib.ticker import NullFormatter, ScalarFormatter

from minialex.devices.device import to_numpy
from minialex.models.smart_grid import gate_of
from minialex.plot.fonts import class_names
from minialex.plot.look import (
    BLUE,
    GAP,
    GREEN,
    GREY,
    INK,
    LINE,
    ORANGE,
    PINK,
    Picture,
    as_pictures,
    by_name,
    check_named,
    colour_bar,
    finished,
    new_figure,
    on_host,
    styled,
)
from minialex.shapes import positive
from minialex.words import counted

COLOURS = (ORANGE, PINK, "#E69F00", "#56B4E9", INK)  # of the others
OPEN = colormaps["Blues"].with_extremes(bad=LINE)


@styled
def exit_curve(curves, others=None, title=None, path=None) -> Picture:
    """Test error against what a picture costs: curves of networks that pictures leave early, points of others.

    curves: {name: a list for each seed of leaving.Leaving, from `curve`}; from where all leave at once to where
    none does. others: {name: [(multiply-adds, error in percent) for each seed]}; the larger mark is the mean.
    Raises ValueError for no curves, TypeError for others that have no names.

    >>> from minialex.study.leaving import Leaving
    >>> all_leave = Leaving(0.0, [9, 0], [0.2, 0.0], [10, 30], 0.2, 10.0)
    >>> none_does = Leaving(1.0, [0, 9], [0.0, 0.1], [10, 30], 0.1, 30.0)
    >>> exit_curve({"SmartNet": [[all_leave, none_does]]}, {"ResNet": [(20, 12.0)]}).axes[0].get_ylabel()
    'test error, %'
    """
    if not isinstance(curves, Mapping) or not curves:
        raise ValueError("there are no curves to show, {'SmartNet': [mx.leaving.curve(answers, costs)]}")
    by_name(others or {}, "exit_curve", "others={name: [(multiply-adds, error)]}")
    figure = new_figure(9.0, 5.4, title)
    axes = figure.subplots()
    for (name, seeds), colour in zip(curves.items(), cycle((BLUE, GREEN, *COLOURS[::-1])), strict=False):
        for number, steps in enumerate(seeds):
            costs, errors = [step.cost / 1e6 for step in steps], [100 * step.error for step in steps]
            axes.plot(
                costs,
                errors,
                color=colour,
                linewidth=1.8,
                label="" if number else f"{name}, leaving when sure",
            )
            axes.plot([costs[0], costs[-1]], [errors[0], errors[-1]], "o", color=colour, markersize=4)
    looks = [(marker, colour) for marker in "Ds^v" for colour in COLOURS]
    for (name, points), (marker, colour) in zip((others or {}).items(), cycle(looks), strict=False):
        costs, errors = np.array(points, float).T
        axes.plot(costs / 1e6, errors, "o", color=colour, markersize=4)
        axes.plot(costs.mean() / 1e6, errors.mean(), marker, color=colour, markersize=9, label=name)
    axes.set(xlabel="million multiply-adds a picture, on average", ylabel="test error, %")
    low, high = axes.dataLim.intervalx
    if high > 4 * low:
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        ticks = [m * 10**e for e in range(-2, 5) for m in (1, 2, 5) if low <= m * 10**e <= high]
        axes.set_xticks(ticks, minor=False)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True)
    if len(curves) + len(others or {}) > 6:  # no room among the lines
        figure.legend(loc="outside right upper")
    else:
        axes.legend()
    return finished(figure, path)


@styled
def gates(model, title=None, path=None) -> Picture:
    """The gates of a SmartNet: a column for each layer and exit, a row for each source that it may read.

    Dark is open (1), white closed (0), a cross stands where it was cut out, grey is what comes later. A line is behind
    each exit. Raises ValueError for another network.

    >>> from minialex.models import smartnet
    >>> figure = gates(smartnet(2, num_classes=10, preset="mnist"))
    >>> figure.axes[0].images[0].get_array().shape                 # stem and 4 layers; 4 layers and 2 exits
    (5, 6)
    """
    if not hasattr(model, "grid"):
        raise ValueError(f"gates shows those of a SmartNet, not of {model}")
    sources, readers = list(model.grid.sources), model.grid.readers()
    table, cut = np.full((len(sources), len(readers)), np.nan), []
    for column, (name, reads) in enumerate(model.grid.reads().items()):
        if reads:
            values = to_numpy(gate_of(readers[name]).weight.value)
            table[[sources.index(source) for source in reads], column] = values
            earlier = sources[: len(gate_of(readers[name]).sizes)]
            cut += [(column, sources.index(source)) for source in earlier if source not in reads]
    side = 0.42 if len(readers) <= 24 else 0.3
    figure = new_figure(side * len(readers) + 3.4, side * len(sources) + 2.0, title)
    axes = figure.subplots()
    shown = axes.imshow(np.ma.masked_invalid(table), cmap=OPEN, vmin=0, vmax=1)
    axes.set_xticks(range(len(readers)), list(readers), rotation=90)
    axes.set_yticks(range(len(sources)), sources)
    for line in np.arange(1, len(readers)) - 0.5:
        axes.axvline(line, color="white", linewidth=1)
    for line in np.arange(1, len(sources)) - 0.5:
        axes.axhline(line, color="white", linewidth=1)
    for label in axes.get_xticklabels():
        label.set_weight("bold" if label.get_text().startswith("exit") else "normal")
    for column in (c for c, name in enumerate(readers) if name.startswith("exit")):
        axes.axvline(column + 0.5, color=INK, linewidth=1.2)
    for place in cut:
        axes.text(*place, "×", ha="center", va="center", color=GREY)
    axes.set(xlabel="read by; ×: cut out" if cut else "read by", ylabel="maps of")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    colour_bar(figure, shown, axes, "gate", shrink=0.8)
    return finished(figure, path)


@styled
def leavers(pictures, labels, answers, left, classes, count=10, title=None, path=None) -> Picture:
    """For each exit a row of pictures that left there: the surest of each class in turn; at the last the least sure.

    pictures: (N, C, H, W) or (N, H, W); labels: (N,); answers: of mx.leaving.answers_of; left: (N,), the exit of
    each, from 1, as answers.left(leave_at) gives it; classes: their names. Orange is read wrong; where an exit says
    NaN, its class is -1, and what was read is no number.
    Raises ValueError where these do not belong together, and for a class without a name.
    """
    count = positive(count, "count")
    pictures, labels, left = as_pictures(pictures), on_host(labels), on_host(left)
    exits = answers.best.shape[1]
    if not len(pictures) == len(labels) == len(left) == len(answers.best):
        raise ValueError(
            f"{counted(len(pictures), 'picture')}, {counted(len(labels), 'label')}, {counted(len(left), 'exit')} and "
            f"{counted(len(answers.best), 'answer')} do not belong together"
        )
    names = class_names(classes)
    check_named(labels, names, "labels")
    check_named(answers.best[answers.best != -1], names, "answers.best")
    tall, below = pictures.shape[1] / pictures.shape[2], 0.42
    width, height = count * (1 + GAP) - GAP, exits * (tall + below + 0.16)
    figure = new_figure(1.25 * width + 0.3, 1.25 * height + 0.4 + 0.4 * bool(title), title)
    axes = figure.subplots()
    look = {"cmap": "gray"} | ({"vmin": 0, "vmax": 255} if pictures.dtype == np.uint8 else {})
    for exit in range(1, exits + 1):
        here = np.flatnonzero(left == exit)
        here = here[np.argsort(answers.sure[here, exit - 1], kind="stable")]
        here = (
            here[:count] if exit == exits else _surest_of_each(here[::-1], answers.best[:, exit - 1])[:count]
        )
        y = (exit - 1) * (tall + below + 0.16) + 0.16
        total = int((left == exit).sum())
        which = "the least sure" if exit == exits else "the surest of each class"
        axes.text(
            0,
            y - 0.03,
            f"exit {exit}: {total:,} of {counted(len(left), 'picture')}; {which}",
            va="bottom",
            weight="bold",
        )
        for place, at in enumerate(here):
            x, read = place * (1 + GAP), int(answers.best[at, exit - 1])
            right = read == labels[at]
            axes.imshow(pictures[at], extent=(x, x + 1, y + tall, y), **look)
            words = "no number" if read < 0 else f"{names[read]}\n{100 * answers.sure[at, exit - 1]:.0f} %"
            axes.text(
                x + 0.5,
                y + tall + 0.03,
                words,
                ha="center",
                va="top",
                fontsize=10,
                color=INK if right else ORANGE,
            )
    axes.text(width, height - 0.05, "below: what was read; orange: wrong", ha="right", va="top", fontsize=10)
    axes.set(xlim=(-0.02, width + 0.02), ylim=(height + 0.1, -0.06))
    axes.set_axis_off()
    return finished(figure, path)


def _surest_of_each(order, read):
    """The first of each class in `order`, the classes in theirs; then the second of each, ..."""
    seen, rank = {}, []
    for at in order:
        seen[read[at]] = seen.get(read[at], 0) + 1
        rank.append((seen[read[at]], read[at]))
    return order[sorted(range(len(order)), key=rank.__getitem__)]
