"""Networks by what they cost and how often they err."""

from matplotlib.ticker import NullFormatter, ScalarFormatter

from minialex.plot.fonts import readable
from minialex.plot.look import Picture, by_name, finished, new_figure, styled

BESIDE = (((9, 6), "left"), ((9, -14), "left"), ((-9, 6), "right"), ((-9, -14), "right"))  # places for a name


@styled
def costs(networks, title=None, path=None) -> Picture:
    """One point for each network: multiply-adds of a picture, test error, and the parameters as its size.

    networks: {name: (multiply-adds, error in percent, parameters)}. Raises ValueError for none, TypeError for
    what is no dict.

    >>> figure = costs({"small": (1_000_000, 50.0, 20_000), "large": (40_000_000, 30.0, 500_000)})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['small', 'large']
    """
    by_name(networks, "costs", "{name: (multiply-adds, error, parameters)}")
    if not networks:
        raise ValueError(
            "there are no networks to show; give at least 1, as {name: (multiply-adds, error, parameters)}"
        )
    figure = new_figure(8.5, 5.0, title)
    axes = figure.subplots()
    places = {name: (multiply_adds / 1e6, error) for name, (multiply_adds, error, _) in networks.items()}
    for name, place in places.items():
        axes.scatter(*place, s=networks[name][2] ** 0.5 / 4, alpha=0.6)
    axes.set(xscale="log", xlabel="million multiply-adds a picture", ylabel="test error, %")
    axes.set_xticks([m * 10**e for e in range(-1, 5) for m in (1, 2, 5)], minor=False)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    xs, ys = zip(*places.values(), strict=True)
    axes.set(xlim=(min(xs) / 1.5, max(xs) * 1.5), ylim=(min(ys) - 5, max(ys) + 5))
    axes.grid(True)
    figure.canvas.draw()
    _write_names(axes, places)
    return finished(figure, path)


def _write_names(axes, places):
    """Each beside its point, where no other name or point is."""
    taken = []
    for name, place in places.items():
        points = [axes.transData.transform(other) for key, other in places.items() if key != name]
        for offset, align in BESIDE:
            text = axes.annotate(name, place, offset, textcoords="offset points", ha=align)
            readable(axes.figure)  # before it is measured
            box = text.get_window_extent()
            free = not any(box.overlaps(other) for other in taken) and not any(
                box.contains(*p) for p in points
            )
            if free or offset == BESIDE[-1][0]:
                break
            text.remove()
        taken.append(box)
