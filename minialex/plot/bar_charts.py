"""A picture for lessons: the same names counted in several ways, as bars side by side."""

from collections.abc import Mapping

import numpy as np

from minialex.plot.look import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    Picture,
    by_name,
    finished,
    new_figure,
    styled,
)

COLOURS = (BLUE, ORANGE, GREEN, PINK)


@styled
def bars(counts, title=None, path=None) -> Picture:
    """A panel of bars for each count, the names down the side, each bar with its number and its share of the panel.

    counts: {panel's title: {name: number, 0 or more}}, up to 4 panels, all with the same names in the same order.
    Raises TypeError for what is no dict of dicts, ValueError for no panel or more than 4, panels with other names, or a
    number below 0.

    >>> figure = bars({"parameters": {"conv": 20, "fc": 60}, "multiply-adds": {"conv": 90, "fc": 10}})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['20 (25 %)', '60 (75 %)']
    """
    for part in (counts, *(counts.values() if isinstance(counts, Mapping) else ())):
        by_name(part, "bars", '{"parameters": {"conv": 20}}')
    if not 1 <= len(counts) <= len(COLOURS):
        raise ValueError(f"{len(counts)} panels of bars: between 1 and {len(COLOURS)} have room")
    names = list(next(iter(counts.values())))
    for what, column in counts.items():
        if not column or list(column) != names:
            raise ValueError(
                f"all panels need the same names: {what!r} has {list(column)}, the first {names}"
            )
        if min(column.values()) < 0:
            raise ValueError(f"{what!r} has {min(column.values())}: a bar's number must be 0 or more")
    figure = new_figure(4.2 * len(counts) + 1.5, 0.42 * len(names) + 1.1, title)
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    places = np.arange(len(names))
    for axes, (what, column), colour in zip(panels, counts.items(), COLOURS, strict=False):
        values = np.array([*column.values()], dtype=float)
        total = values.sum() or 1.0
        drawn = axes.barh(places, values, color=colour)
        texts = [f"{value:,} ({_percent(value / total)} %)" for value in column.values()]
        axes.bar_label(drawn, texts, padding=4, fontsize=11)
        axes.set(xlim=(0, 2.4 * (values.max() or 1.0)), xticks=[])  # room for the text of the longest
        axes.set_title(what, loc="left", color=colour, weight="bold")
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    return finished(figure, path)


def _percent(share):
    """A share in percent: whole, or with one decimal where it is small."""
    return f"{100 * share:.0f}" if share >= 0.0995 or share == 0 else f"{100 * share:.1f}"
