"""Steps on many machines: how long they take, and what is sent."""

from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from minialex.plot.look import BLUE, GREEN, GREY, ORANGE, PINK, Picture, finished, new_figure, styled
from minialex.words import a_or_an

LOOKS = {
    "data": (BLUE, "o", "-"), "weird-trick a": (ORANGE, "^", "-"), "weird-trick b": (GREEN, "s", "-"),
    "weird-trick c": (PINK, "v", (0, (4, 4))),  # by this model it is where b is
}  # fmt: skip


@styled
def cluster_plan(plan, path=None) -> Picture:
    """The plan of `mx.cluster.plan`: seconds of a step, beside work alone, and MB sent, by number of processes.

    >>> from minialex.cluster import plan
    >>> from minialex.models import lenet5
    >>> figure = cluster_plan(plan(lenet5(), workers=[1, 2, 4]))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['seconds a step', 'MB that each process sends, a step']
    """
    if not hasattr(plan, "steps"):
        raise TypeError(
            f"cluster_plan draws what mx.cluster.plan(model) gives, not {a_or_an(type(plan).__name__)}"
        )
    figure = new_figure(11, 4.8, plan.title)
    left, right = figure.subplots(1, 2)
    alone = plan.of("data")[0]
    numbers = [step.workers for step in plan.of("data")]
    ideal = [alone.work * alone.workers / n for n in numbers]
    left.plot(numbers, ideal, color=GREY, linestyle="--", linewidth=1.5, label="work, shared evenly")
    for name, (colour, marker, line) in LOOKS.items():
        steps = plan.of(name)
        if not steps:
            continue
        look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5}
        xs = [step.workers for step in steps]
        left.plot(xs, [step.seconds for step in steps], label=name, **look)
        sent = [(step.workers, step.bytes_sent / 1e6) for step in steps if step.bytes_sent]
        if sent:
            right.plot(*zip(*sent, strict=True), label=name, **look)
    left.set(ylabel="seconds a step", yscale="log")
    right.set(ylabel="MB that each process sends, a step", ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="processes", xlim=(numbers[0] / 1.2, numbers[-1] * 1.2))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(True)
    left.legend()
    return finished(figure, path)
