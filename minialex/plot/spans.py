"""The picture of one training step: a lane for each tower, and between them one for what crosses."""

import numpy as np
from matplotlib.patches import Patch

from minialex.plot.look import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    Picture,
    finished,
    new_figure,
    rows_of,
    styled,
)
from minialex.study.timeline import Span

KINDS = {"forward": BLUE, "backward": ORANGE, "crossing": PINK, "update": GREEN}
IDLE = "#F1F1F1"
WIDTH, LEFT = 13.5, 1.5  # of the figure, and of what stands to the left of the lanes, in inches
LANE, CROSSING = 1.0, 1.25  # heights, in inches
LETTER = 0.085  # the width of a letter, in inches, in a bar
LABEL = 0.82  # the width of a crossing's label, in inches


@styled
def timeline(spans, path=None, title=None) -> Picture:
    """One step as timeline.measure_step saw it: when each tower computed, and when what crossed between them.

    Time runs to the right, in milliseconds. The crossings' labels say to which layer (→), or on the way back from
    which (←), and how many bytes. Raises ValueError when there are no spans, TypeError for what are
    none.

    >>> from minialex.study.timeline import Span
    >>> [text.get_text() for text in timeline([Span("fc8", 0, "cpu", "forward", 0.0, 0.002)]).axes[0].texts]
    ['fc8']
    """
    spans = rows_of(spans, Span, "timeline", "timeline.measure_step")
    if not spans:
        raise ValueError("there are no spans: timeline.measure_step gives them")
    begin = min(span.start_s for span in spans)
    bars = [(span, 1000 * (span.start_s - begin), 1000 * (span.end_s - span.start_s)) for span in spans]
    longest = max(start + length for _, start, length in bars) or 1.0  # milliseconds
    per_inch = longest / (WIDTH - LEFT)
    crossings = [bar for bar in bars if bar[0].tower is None]
    devices = {span.tower: span.device for span in spans if span.tower is not None}
    tops = {tower: (LANE + (CROSSING if crossings else 0.1)) * tower for tower in sorted(devices)}
    middles = {f"tower {t}\n{devices[t]}": top + LANE / 2 for t, top in tops.items()}
    height = max(tops.values()) + LANE
    what = f"one step: {longest:.3g} ms"
    if crossings:
        one = len(set(devices.values())) == 1
        middles["crossings" + "\n(one device:\nnothing moves)" * one] = LANE + CROSSING / 2
        how = "would cross between two devices" if one else "cross between the devices"
        what += f"; {size(sum(span.bytes for span, *_ in crossings))} {how}"
    figure = new_figure(WIDTH, height + 1.7, f"{title}; {what}" if title else what)
    axes = figure.subplots()
    for top in tops.values():  # behind the bars: what is left of it is waiting
        axes.axhspan(top, top + LANE, color=IDLE, zorder=0)
    for span, start, length in bars:
        if span.tower is not None:
            colour, y = KINDS[span.kind], tops[span.tower] + LANE / 2
            edge = (
                "white" if length > 0.06 * per_inch else colour
            )  # a thin bar would vanish between two edges
            axes.barh(y, length, LANE, start, color=colour, edgecolor=edge, linewidth=0.5)
            _name(axes, span.name, start + length / 2, y, length / per_inch)
    if crossings:
        _crossings(axes, crossings, per_inch, longest)
    axes.set_yticks([*middles.values()], middles.keys())
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="milliseconds", xlim=(0, longest), ylim=(height, 0))
    axes.spines["left"].set_visible(False)
    kinds = [kind for kind in KINDS if any(span.kind == kind for span in spans)]
    keys = [Patch(color=KINDS[kind], label=kind) for kind in kinds]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return finished(figure, path)


def size(count: int) -> str:
    """A number of bytes, short.

    >>> size(88_604), size(512)
    ('88.6 kB', '512 B')
    """
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= of:
            return f"{count / of:.3g} {unit}"
    return f"{count} B"


def _name(axes, name, x, y, inches):
    """A layer's name in its bar, upright in a narrow one; where there is no room, none."""
    upright = len(name) * LETTER > inches
    if upright and (inches < 0.15 or len(name) * LETTER > LANE):
        return
    look = {"ha": "center", "va": "center", "color": "white", "fontsize": 10, "rotation": 90 * upright}
    axes.text(x, y, name, **look)


def _crossings(axes, crossings, per_inch, longest):
    """A mark for each crossing, at the top of the lane, and labels below, drawn apart where they are many."""
    middles = np.array([start + length / 2 for _, start, length in crossings])
    edge = LABEL / 2 * per_inch
    labels = _apart(middles, LABEL * per_inch, edge, longest - edge)
    for (span, _, length), middle, label in zip(crossings, middles, labels, strict=True):
        shown = max(length, 0.04 * per_inch)  # a short one can still be seen
        axes.barh(LANE + 0.16, shown, 0.32, middle - shown / 2, color=KINDS["crossing"])
        axes.plot([middle, middle, label], [LANE + 0.32, LANE + 0.4, LANE + 0.62], color=GREY, linewidth=0.8)
        text = f"{'←' if span.back else '→'} {span.name}\n{size(span.bytes)}"
        axes.text(label, LANE + 0.64, text, ha="center", va="top", fontsize=10, linespacing=1.25)


def _apart(places, least, low, high):
    """The places, in order, pushed apart until each two are `least` apart."""
    places = np.clip(places, low, high)
    for _ in range(300):
        push = np.maximum(least - np.diff(places), 0) / 2
        places[:-1] -= push
        places[1:] += push
        places = np.clip(places, low, high)
    return places
