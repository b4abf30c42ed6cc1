"""An experiment's figure: the curves of its arms, and what was compared, seed by seed, beside what was claimed."""

import math
import textwrap

import numpy as np
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator

from minialex.claims.results import never_arrived
from minialex.plot.lessons import LOOKS, name_ends
from minialex.plot.look import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    LINE,
    ORANGE,
    Picture,
    finished,
    new_figure,
    styled,
)

CURVE_OF = {"train_error": "train_error", "train_loss": "train_loss", "epochs_to": "train_error"}
LABELS = {"test_error": "test error, %", "train_error": "training error, %", "train_loss": "training loss"}
BEGUN = 0.2  # of the epochs: what a curve does before would leave no room for the rest


@styled
def claim(record, curves, title=None, path=None) -> Picture:
    """The result of an experiment, as result.json has it, and the rows of its curves.csv.

    Left: each arm by epoch, its seeds thin and their mean bold, in which a run that has ended stays where it was; arms
    on other pictures than the first one's are left out. Right: the number that was compared, of each seed, and the mean
    with its 95 % interval; shaded is what the claim asks for. Above both what is claimed, and the verdict.
    """
    said = f"{_in_equal_lines(record['claim'], 95)}\n{record['name']}: {_verdict(record)}"
    figure = new_figure(11.5, 5, title or said)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _curves(left, record, curves)
    _compared(right, record)
    return finished(figure, path)


def _verdict(record):
    return record["verdict"] + (f"; the size {record['size']}" if "size" in record else "")


def _in_equal_lines(text, most):
    """Of up to so many letters, none of which is a word left over."""
    lines = textwrap.wrap(text, most)
    return textwrap.fill(text, len(text) // len(lines) + max(map(len, text.split())))


def _curves(axes, record, curves):
    column = CURVE_OF.get(record["outcome"].split()[0], "test_error")
    first, *_ = record["arms"].values()
    shown = [name for name, arm in record["arms"].items() if arm["data"] == first["data"]]
    ends, begun, lowest = {}, [], []
    for number, name in enumerate(shown):
        colour, line = LOOKS[number % len(LOOKS)]
        by_seed = {}
        for row in curves:
            if row["arm"] == name:
                by_seed.setdefault(row["seed"], []).append(row[column])
        for points in by_seed.values():
            lowest.append(min(points[int(BEGUN * len(points)) :]))
            axes.plot(range(1, len(points) + 1), points, color=colour, linewidth=0.7, alpha=0.35)
        xs = range(1, int(np.median([len(points) for points in by_seed.values()])) + 1)
        ys = [np.mean([points[min(x, len(points)) - 1] for points in by_seed.values()]) for x in xs]
        axes.plot(xs, ys, line, color=colour)
        ends[name] = (xs[-1], ys[-1], colour)
        begun.append(ys[int(BEGUN * len(ys))])
    axes.set(xlabel="epoch", ylabel=LABELS[column])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lasts = [y for _, y, _ in ends.values()]
    if column == "test_error":
        axes.set_ylim(0.97 * min(lowest), 1.05 * max(begun + lasts) or 1)
    else:
        axes.set_ylim(0, None)
    axes.grid(True)
    name_ends(axes, ends)


def _compared(axes, record):
    values = np.asarray(record["values"])
    is_ratio = "size" in record
    if is_ratio:
        values = np.exp(values)
    low, high = _asked(record)
    nothing = 1 if is_ratio else record.get("level", 0)
    seen = [*values, record["low"], record["high"], low, nothing, *([high] if math.isfinite(high) else [])]
    claimed, within = record.get("claimed"), record.get("within")
    if claimed:
        seen += [claimed / within, claimed * within]
    bottom, top = _limits(seen, is_ratio)
    axes.axhspan(low, min(high, top), color=LINE, zorder=0)
    corner = {"xytext": (4, -4), "textcoords": "offset points", "va": "top"}
    axes.annotate("quicker" if claimed else "claimed", (-0.5, min(high, top)), color=FAINT, **corner)
    if claimed:
        axes.axhspan(claimed / within, claimed * within, color=GREY, alpha=0.25, zorder=0)
        axes.annotate(f"{claimed:g} times, as claimed", (-0.5, claimed * within), color=FAINT, **corner)
    axes.axhline(nothing, color=GREY, linewidth=1)
    axes.plot(np.linspace(-0.25, 0.25, len(values)), values, "o", color=BLUE, alpha=0.6)
    errors = [[record["mean"] - record["low"]], [record["high"] - record["mean"]]]
    axes.errorbar([0.6], [record["mean"]], errors, fmt="D", color=INK, capsize=5)
    axes.set(xticks=[0, 0.6], xlim=(-0.5, 0.9), ylim=(bottom, top))
    axes.set_xticklabels([f"{len(values)} seeds", "mean, 95 %"])
    of_what = [record["compared"].replace("_", " "), never_arrived(record).removeprefix("; ")]
    axes.set_title("\n".join(textwrap.fill(line, 44) for line in of_what if line), color=FAINT, loc="right")
    axes.set_ylabel(record.get("unit") or "")
    if is_ratio:
        _as_times(axes, bottom, top)


def _limits(seen, is_ratio):
    """Room for all of it, and a little more, on the axis's own scale."""
    bottom, top = (math.log(end) if is_ratio else end for end in (min(seen), max(seen)))
    reach = 0.08 * (top - bottom or 1)
    ends = bottom - reach, top + reach
    return tuple(map(math.exp, ends)) if is_ratio else ends


def _as_times(axes, bottom, top):
    """A logarithmic axis with plain numbers, of a few that are easily read."""
    axes.set_yscale("log")
    easy = [0.1, 0.2, 0.5, 0.8, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 10, 20, 50]
    axes.set_yticks([tick for tick in easy if bottom <= tick <= top] or [bottom, top])
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())


def _asked(record):
    """The range that the claim asks the number to lie in."""
    if record.get("margin"):
        return record["level"] - record["margin"], record["level"] + record["margin"]
    return record["delta"], math.inf


# ---- all together ----

SHOWN = {
    "holds": (GREEN, "o"),
    "does not hold": (ORANGE, "D"),
}  # by colour, and by form; what is not told is grey
MOST = (-3.0, 10.0)  # times what was asked for; what goes further ends in an arrow


@styled
def verdicts(records, title=None, path=None) -> Picture:
    """What has been found, each in units of what its protocol asked for: a difference that holds is at least 1.

    records: results by name, as result.json has them; those without a number are left out. Above: differences, and
    ratios by their logarithms, the mean with its 95 % interval; shaded is what was asked for. Below: levels and
    samenesses, which were to lie within a margin, -1 to 1. At the right the numbers in their own units.
    Raises ValueError where nothing has been found yet.
    """
    found = {name: record for name, record in records.items() if record and record.get("mean") is not None}
    if not found:
        raise ValueError("no experiment has a result yet: python examples/reproduce.py NAME")
    apart = [
        [name for name, one in found.items() if bool(one.get("margin")) is within] for within in (False, True)
    ]
    groups = [sorted(names, key=lambda name: _in_units(found[name])[0]) for names in apart if names]
    figure = new_figure(11.5, 1.9 + 0.36 * len(found), title or "What the papers claim, tried")
    heights = [len(names) + 0.6 for names in groups]
    for axes, names in zip(
        figure.subplots(len(groups), height_ratios=heights, squeeze=False).flat, groups, strict=True
    ):
        _rows(axes, {name: found[name] for name in names})
    return finished(figure, path)


def _rows(axes, found):
    within = bool(next(iter(found.values())).get("margin"))
    bottom, top = (-2.0, 2.0) if within else MOST
    axes.axvspan(*((-1, 1) if within else (1, top)), color=LINE, zorder=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for y, record in enumerate(found.values()):
        middle, *ends = _in_units(record)
        colour, form = SHOWN.get(record["verdict"], (GREY, "s"))
        low, high = (min(max(end, bottom), top) for end in ends)
        axes.plot([low, high], [y, y], color=colour)
        if ends[0] < bottom:
            axes.plot([bottom], [y], "<", color=colour, clip_on=False)
        if ends[1] > top:
            axes.plot([top], [y], ">", color=colour, clip_on=False)
        if bottom <= middle <= top:
            axes.plot([middle], [y], form, color=colour, markersize=8)
        said = f"{record['mean']:.3g} {record.get('unit') or ''}".rstrip()
        said += f" ({record['low']:.3g} to {record['high']:.3g}): {_verdict(record)}"
        axes.text(
            1.02,
            y,
            said,
            transform=axes.get_yaxis_transform(),
            va="center",
            color=colour if colour != GREY else FAINT,
        )
    axes.set(ylim=(-0.6, len(found) - 0.4), xlim=(bottom, top), yticks=range(len(found)))
    axes.set_yticklabels(list(found))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "in units of the margin that was asked for" if within else "in units of what was asked for"
    )


def _in_units(record):
    """Mean, low and high in units of what was asked for."""
    numbers = [record[name] for name in ("mean", "low", "high")]
    if record.get("margin"):
        return [(number - record["level"]) / record["margin"] for number in numbers]
    if "size" in record:
        return [math.log(number) / math.log(record["delta"]) for number in numbers]
    return [number / record["delta"] for number in numbers]
