"""Pictures of a training: loss, error and accuracy against the epoch."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from minialex.plot.look import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    Picture,
    finished,
    new_figure,
    rows_of,
    styled,
)

PARTS = {  # of a history
    "train": ("training", BLUE, "-", "o"),
    "holdout": ("held out", GREEN, "-.", "^"),
    "test": ("test", ORANGE, "--", "s"),
}


@styled
def curves(history, path=None, title=None) -> Picture:
    """Loss and error against the epoch, for training, test and, where the history has them, held-out pictures.

    history: dicts with epoch, train_loss, train_error (percent), test_loss, test_error (may be None), and perhaps
    holdout_loss, holdout_error. A loss that spans more than a decade gets a logarithmic axis.
    Raises ValueError for an empty history, TypeError for what is none.

    >>> row = {"epoch": 1, "train_loss": 0.3, "train_error": 9.0, "test_loss": 0.2, "test_error": 6.5}
    >>> [axes.get_ylabel() for axes in curves([row]).axes]
    ['loss', 'error (%)']
    """
    history = rows_of(history, Mapping, "curves", "train.fit")
    figure, (loss, error) = _two_panels("curves", history, title, ("loss", "error (%)"))
    for part, (name, *look) in PARTS.items():
        _line(loss, history, f"{part}_loss", name, *look)
        _line(error, history, f"{part}_error", name, *look)
    if loss.lines:
        loss.legend()
    _scale_loss(loss)
    error.margins(y=0.1)
    error.set_ylim(bottom=0)
    if len(error.lines) > 1:  # the last one drawn is the one that counts
        _name_last(error, error.lines[-1], "{:.2f} %")
    return finished(figure, path)


@styled
def accuracy_curves(history, path=None, title=None) -> Picture:
    """Loss and accuracy against the epoch, for training pictures and for those held out: AlexNet's history.

    history: dicts with epoch, train_loss, train_acc1, val_loss, val_acc1 and val_acc5 (percent).
    Training is measured while it goes on, on crops with dropout: it may well lie below the held-out curve.
    Raises ValueError for an empty history, TypeError for what is none.

    >>> row = {"epoch": 1, "train_loss": 2.2, "train_acc1": 17.5, "val_loss": 2.1, "val_acc1": 20.0, "val_acc5": 75.0}
    >>> [axes.get_ylabel() for axes in accuracy_curves([row]).axes]
    ['loss', 'accuracy (%)']
    """
    history = rows_of(history, Mapping, "accuracy_curves", "train.fit")
    figure, (loss, accuracy) = _two_panels("accuracy_curves", history, title, ("loss", "accuracy (%)"))
    (train, *of_train), (val, *of_val) = PARTS["train"], PARTS["holdout"]
    _line(loss, history, "train_loss", train, *of_train)
    _line(loss, history, "val_loss", val, *of_val)
    _scale_loss(loss)
    _line(accuracy, history, "train_acc1", f"{train}, Acc@1", *of_train)
    _line(accuracy, history, "val_acc1", f"{val}, Acc@1", *of_val)
    _line(accuracy, history, "val_acc5", f"{val}, Acc@5", PINK, ":", "s")
    accuracy.set_ylim(0, 103)
    for held_out in accuracy.lines[1:2]:
        _name_last(accuracy, held_out, "{:.1f} %")
    figure.legend(handles=accuracy.lines, loc="outside lower center", ncols=3)
    return finished(figure, path)


def _two_panels(who, history, title, quantities):
    """A figure with two pairs of axes over the epochs."""
    if not history:
        raise ValueError(f"the history has 0 epochs; {who} needs at least 1")
    figure = new_figure(11.5, 4.6, title)
    panels = figure.subplots(1, 2)
    for axes, quantity in zip(panels, quantities, strict=True):
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True)
    return figure, panels


def _line(axes, history, column, name, colour, line, marker):
    """A column of the history, where it has numbers."""
    rows = [row for row in history if row.get(column) not in (None, "")]
    x, y = [float(row["epoch"]) for row in rows], [float(row[column]) for row in rows]
    if rows:
        axes.plot(x, y, line, color=colour, marker=marker if len(x) <= 30 else "", label=name)


def _scale_loss(axes):
    """A logarithmic axis, where the loss spans more than a decade."""
    values = [y for line in axes.lines for y in line.get_ydata() if np.isfinite(y)]
    if values and 0 < 10 * min(values) < max(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _name_last(axes, line, number):
    """The last value of a line, beside its end."""
    x, y = line.get_xydata()[-1]
    look = {"color": line.get_color(), "weight": "bold", "va": "center", "annotation_clip": False}
    axes.annotate(number.format(y), (x, y), (10, 0), textcoords="offset points", **look)
