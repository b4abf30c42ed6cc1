"""Pictures: learning curves, kernels, feature maps, mistakes, neighbours, gradient checks, the timeline of a step.

The last two have files of their own, plot_gradcheck.py and plot_timeline.py, and what all share is in plot_look.py;
no other file imports matplotlib.

Every function returns a figure, which a notebook shows as a cell's last value, and saves it where `path` is given
(a PNG, or what the path's ending says). None needs a display, changes matplotlib's settings or must be closed.
Arrays may live on any device. The colours are Okabe and Ito's, which colour-blind readers tell apart as well.
"""

import copy
import math

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from minialex.device import to_numpy, transfer
from minialex.layers.sequential import Sequential
from minialex.layers.towers import Towers
from minialex.plot_gradcheck import gradcheck
from minialex.plot_lessons import images, lines, numbers
from minialex.plot_lessons_bars import bars
from minialex.plot_look import (
    BLUE,
    FAINT,
    GAP,
    GREEN,
    GREY,
    INK,
    LINE,
    ORANGE,
    PINK,
    SIGNED,
    Picture,
    around_grey,
    as_pictures,
    colour_bar,
    finished,
    folded,
    good_columns,
    in_colour,
    lay,
    new_figure,
    on_host,
    sheet,
    signed_scale,
    styled,
)
from minialex.plot_timeline import timeline
from minialex.plot_trace import show
from minialex.weights import export_grouped

__all__ = [
    "accuracy_curves", "bars", "confusion", "curves", "digit_steps", "digits", "feature_maps", "filters", "gradcheck",
    "images", "lines", "mistakes", "neighbours", "numbers", "show", "timeline", "tower_kernels",
]  # fmt: skip

MAPS, CELLS = 16, 128  # feature_maps shows so many maps of a layer, and so many cells in one line of a strip
ERRORS = LinearSegmentedColormap.from_list("errors", ["white", "#F3B58A", ORANGE, "#8A3C00"])
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
    Raises ValueError for an empty history.

    >>> row = {"epoch": 1, "train_loss": 0.3, "train_error": 9.0, "test_loss": 0.2, "test_error": 6.5}
    >>> [axes.get_ylabel() for axes in curves([row]).axes]
    ['loss', 'error (%)']
    """
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
    Raises ValueError for an empty history.

    >>> row = {"epoch": 1, "train_loss": 2.2, "train_acc1": 17.5, "val_loss": 2.1, "val_acc1": 20.0, "val_acc5": 75.0}
    >>> [axes.get_ylabel() for axes in accuracy_curves([row]).axes]
    ['loss', 'accuracy (%)']
    """
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
    rows = [row for row in history if row.get(column) is not None]
    x, y = [row["epoch"] for row in rows], [float(row[column]) for row in rows]
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


@styled
def filters(weight, path=None, title=None, columns=None) -> Picture:
    """The kernels of a convolution, numbered: of one input channel in signed colours, of three as they are.

    weight: (F, C, kh, kw) with C = 1 or 3; all kernels share one scale. Raises ValueError for other shapes.

    >>> len(filters(np.zeros((6, 1, 5, 5))).axes[0].images)
    6
    """
    weight = on_host(weight)
    if weight.ndim != 4 or weight.shape[1] not in (1, 3) or 0 in weight.shape:
        raise ValueError(
            f"weight must be (F, 1, kh, kw) or (F, 3, kh, kw), not {weight.shape}; of kernels with more channels show "
            "one channel at a time: weight[:, c:c+1]"
        )
    numbers = [str(i) for i in range(len(weight))]
    if weight.shape[1] == 3:
        return finished(sheet(in_colour(weight), numbers, title, columns), path)
    look = {"cmap": SIGNED, "norm": signed_scale(weight)}
    figure = sheet(weight[:, 0], numbers, title, columns, margin=1.3, **look)
    colour_bar(figure, figure.axes[0].images[0], figure.axes[0], "weight")
    return finished(figure, path)


@styled
def tower_kernels(model, path=None) -> Picture:
    """The kernels of conv1, which look at the picture itself, in a block for each tower, all on one scale.

    (Krizhevsky et al. 2012, figure 3: one GPU's kernels came out without colour, the other's with it, in every run.)
    model: its first convolution is "conv1", of pictures with 3 channels. Grey is a weight of 0;
    one in 200 is beyond the scale.
    Raises ValueError for a model without it.
    """
    weight = export_grouped(model).get("conv1.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        what = "there is none" if weight is None else f"its weight is {weight.shape}"
        raise ValueError(f"tower_kernels shows a conv1 with 3 input channels; {what}")
    if getattr(getattr(model, "input", None), "order", "RGB") == "BGR":
        weight = weight[:, ::-1]
    devices = getattr(model["conv1"], "devices", (model["conv1"].device,))
    blocks = np.split(around_grey(weight), len(devices))
    count = len(blocks[0])
    columns = math.ceil(count / math.ceil(count / 16))
    rows = math.ceil(count / columns)
    tile = min(0.9, 11 / columns)
    height = (rows * (1 + GAP) * tile + 0.45) * len(blocks)
    figure = new_figure(max(4.5, columns * (1 + GAP) * tile + 0.3), height + 0.2)
    panels = figure.subplots(len(blocks), 1, squeeze=False).flatten()
    for number, (axes, block, device) in enumerate(zip(panels, blocks, devices, strict=True)):
        lay(axes, block, columns)
        axes.set_title(f"tower {number} on {device.name}" if len(blocks) > 1 else f"conv1 on {device.name}")
    return finished(figure, path)


@styled
def feature_maps(model, picture, path=None, layers=None) -> Picture:
    """What each layer of a Sequential makes of one picture: a row a layer, with up to 16 of its maps.

    picture: (1, C, H, W), prepared for the model, on any device. The model stays as it is: a copy runs, in eval mode.
    layers: the names of those to show; left out, all. Towers have a row each.
    A vector is a strip of cells, folded into lines where it is long; the last layer's is bars, the largest marked.
    Raises TypeError for what is no Sequential, ValueError for another shape, or a name that the model does not have.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"feature_maps takes a Sequential, not a {type(model).__name__}")
    if picture.ndim != 4 or len(picture) != 1:
        raise ValueError(f"picture must be (1, C, H, W), not {picture.shape}")
    layers = list(model.layers) if layers is None else layers
    unknown = [name for name in layers if name not in model.layers]
    if unknown:
        raise ValueError(f"there is no layer {unknown[0]!r}; the model has {', '.join(model.layers)}")
    steps = _steps(copy.deepcopy(model).eval(), picture, layers)
    name, _, values = steps[-1]
    in_bars = name == list(model.layers)[-1] and values.ndim == 1 and values.size <= 100
    heights = [_row_height(values) for *_, values in steps]
    if in_bars:
        heights[-1] = 1.9
    figure = new_figure(13.5, sum(heights) + 0.25 * len(heights) + 0.8)
    panels = figure.subplots(len(steps), 1, height_ratios=heights, squeeze=False).flatten()
    for axes, (name, kind, values) in zip(panels, steps, strict=True):
        if axes is panels[0]:
            lay(axes, as_pictures(values[None]), cmap="gray")
        elif values.size > len(values):
            lay(axes, values[:MAPS], columns=MAPS, cmap=SIGNED, norm=signed_scale(values))
        elif axes is panels[-1] and in_bars:
            _bars(axes, values.ravel())
        else:
            cells = np.ma.masked_invalid(folded(values.ravel(), CELLS, np.nan))
            axes.imshow(cells, cmap=SIGNED, norm=signed_scale(values), aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(True)
        axes.set_anchor("W")
        _label(axes, name, kind, values)
    figure.supxlabel("blue: negative, white: 0, orange: positive; each row has its own scale", fontsize=12)
    return finished(figure, path)


def _steps(model, picture, layers):
    """(name, type, values without the batch axis) of the picture, and of the layers' outputs in each tower."""
    steps = [("picture", "input", to_numpy(picture)[0])]
    x = transfer(picture, model.device)
    for name, layer in model.layers.items():
        x = layer.forward(x)
        if name not in layers:
            continue
        stages = layer.stages if isinstance(layer, Towers) else [layer] * 2
        if isinstance(x, tuple):
            towers = zip(stages, x, strict=True)
            steps += [
                (f"{name}, tower {t}", type(s).__name__, to_numpy(y)[0]) for t, (s, y) in enumerate(towers)
            ]
        else:
            steps.append((name, type(layer).__name__, to_numpy(x)[0]))
    return steps


def _row_height(values):
    """In inches: a vector needs a little for each line, a few maps may be larger than many."""
    if values.size == len(values):
        return 0.45 + 0.08 * (math.ceil(values.size / CELLS) - 1)
    return 0.62 if len(values) > 8 else 1.0


def _label(axes, name, kind, values):
    """Name, type, shape and range, to the left of a row."""
    shape = " × ".join(map(str, values.shape))
    more = f", {MAPS} shown" if values.size > len(values) > MAPS else ""
    where = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
    axes.annotate(name, (0, 0.5), (-215, 15), weight="bold", **where)
    axes.annotate(f"{kind}: {shape}{more}", (0, 0.5), (-215, 0), fontsize=11, **where)
    reach = f"{values.min():.3g} to {values.max():.3g}".replace("-", "−")
    axes.annotate(reach, (0, 0.5), (-215, -15), fontsize=11, color=FAINT, **where)


def _bars(axes, logits):
    largest = int(logits.argmax())
    colours = [ORANGE if i == largest else BLUE for i in range(len(logits))]
    bars = axes.bar(range(len(logits)), logits, color=colours)
    if len(logits) <= 20:
        numbers = [f"{logit:.1f}".replace("-", "−") for logit in logits]
        axes.bar_label(bars, numbers, padding=2, fontsize=10)[largest].set(color=ORANGE, weight="bold")
    axes.axhline(0, color=GREY, linewidth=1)
    axes.margins(x=0.02, y=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    axes.set(xlabel="class", ylabel="logit")
    axes.set_title(f"largest: class {largest}", color=ORANGE, weight="bold")


@styled
def confusion(matrix, path=None, classes=None) -> Picture:
    """Which classes are taken for which: a row for each true class, a column for each class read.

    matrix: (K, K) counts; classes: K names. What is right is grey, so that colour shows the mistakes. The cells of
    up to 20 classes have numbers, and the margins totals; more classes are known by their places alone.
    Raises ValueError for a matrix that is not square, or another number of names.
    """
    matrix = on_host(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"matrix must be (K, K), not {matrix.shape}")
    k = len(matrix)
    if classes is not None and len(classes) != k:
        raise ValueError(f"{len(classes)} names for {k} classes")
    total, wrong = matrix.sum(), matrix.sum() - matrix.trace()
    side = 8 if k > 20 else max(6, 0.6 * k + 2.5)
    title = f"{wrong:,} of {total:,} wrong ({100 * wrong / max(total, 1):.2f} %)"
    figure = new_figure(side + (k > 20), side, title)
    axes = figure.subplots()
    errors = np.ma.masked_array(matrix, mask=np.eye(k, dtype=bool))
    most = max(1, errors.filled(0).max())
    image = axes.imshow(errors, cmap=ERRORS.with_extremes(bad="#EDEDED"), vmin=0, vmax=most)
    if k <= 20:
        _count_cells(axes, matrix, most)
        names = [*map(str, range(k) if classes is None else classes), "total"]
        axes.set_xticks(range(k + 1), names, rotation=90 if max(map(len, names)) > len("total") else 0)
        axes.set_yticks(range(k + 1), names)
        axes.tick_params(length=0)
    else:
        colour_bar(figure, image, axes, "mistakes (pictures)", ticks=MaxNLocator(integer=True))
    axes.set(xlabel="read as", ylabel="true class")
    return finished(figure, path)


def _count_cells(axes, matrix, most):
    """The counts in their cells, lines between them, and the totals of rows and columns in the margins."""
    k = len(matrix)
    look = {"ha": "center", "va": "center", "fontsize": 12 if k <= 12 and matrix.sum() < 100_000 else 10}
    for row, column in np.argwhere((matrix > 0) | np.eye(k, dtype=bool)):
        count = matrix[row, column]
        colour = GREY if row == column else "white" if count > 0.5 * most else INK
        axes.text(column, row, str(count), color=colour, **look)
    for i in range(k):
        axes.text(k, i, str(matrix[i].sum()), color=FAINT, **look)
        axes.text(i, k, str(matrix[:, i].sum()), color=FAINT, **look)
    axes.text(k, k, str(matrix.sum()), color=FAINT, weight="bold", **look)
    axes.hlines(np.arange(k + 1) - 0.5, -0.5, k - 0.5, color=LINE, linewidth=1)
    axes.vlines(np.arange(k + 1) - 0.5, -0.5, k - 0.5, color=LINE, linewidth=1)
    axes.set(xlim=(-0.5, k + 0.5), ylim=(k + 0.5, -0.5))
    axes.spines[:].set_visible(False)


@styled
def mistakes(pictures, labels, predictions, confidences, path=None, count=25) -> Picture:
    """The mistakes of which the network was surest, surest first.

    pictures: (N, C, H, W) or (N, H, W); labels, predictions: (N,) classes; confidences: (N,) probabilities of the
    class that was read, 0 to 1. Raises ValueError where these do not belong together.
    """
    pictures = as_pictures(pictures)
    labels, predictions, confidences = on_host(labels), on_host(predictions), on_host(confidences)
    for name, array in (("labels", labels), ("predictions", predictions), ("confidences", confidences)):
        if array.shape != (len(pictures),):
            raise ValueError(f"{len(pictures)} pictures, but {name} of shape {array.shape}")
    wrong = np.flatnonzero(labels != predictions)
    worst = wrong[np.argsort(-confidences[wrong], kind="stable")][:count]
    if not len(worst):
        figure = new_figure(7, 1.6)
        message = f"No mistakes in {len(pictures):,} pictures."
        figure.text(0.5, 0.5, message, ha="center", va="center", size=18)
        return finished(figure, path)
    captions = []
    for true, read, share in zip(labels[worst], predictions[worst], confidences[worst], strict=True):
        percent = "over 99" if 0.99 < share < 1 else f"{100 * share:.0f}"
        captions.append(f"true {true}, read as {read}\n{percent} %")
    which = f"; the {len(worst)} surest" if len(worst) < len(wrong) else ""
    title = f"{len(wrong):,} of {len(labels):,} wrong{which}"
    return finished(sheet(pictures[worst], captions, title, least=1.5, cmap="gray"), path)


@styled
def neighbours(pictures, labels, classes, queries, found, path=None, title=None) -> Picture:
    """A row for each query: the picture, then those nearest to it; blue if of its class, orange if not.

    pictures: (N, C, H, W) or (N, H, W); labels: (N,); classes: their names; queries (Q,) and found (Q, count): numbers
    of pictures, as neighbours.nearest and neighbours.hamming give them. (Krizhevsky et al. 2012, figure 4, right.)
    Raises ValueError where there is not a row of numbers for each query.
    """
    queries, found, labels = np.atleast_1d(_numbers(queries)), _numbers(found), _numbers(labels)
    if found.ndim != 2 or len(found) != len(queries) or not found.size:
        raise ValueError(f"{len(queries)} queries, but found has shape {found.shape}, not (Q, count)")
    rows = np.concatenate([queries[:, None], found], axis=1)  # (Q, 1 + count)
    tiles = as_pictures(np.stack([on_host(pictures[i]) for i in rows.ravel()]))
    tall, below, aside = tiles.shape[1] / tiles.shape[2], 0.26, 0.3  # the query stands a little aside
    right = labels[found] == labels[queries, None]
    share = f"{right.sum()} of {right.size} neighbours are of their picture's class"
    width, height = (1 + GAP) * rows.shape[1] - GAP + aside, len(rows) * (tall + below)
    figure = new_figure(1.5 * width + 0.3, 1.5 * height + 0.8, f"{title}: {share}" if title else share)
    axes = figure.subplots()
    for place, (row, column) in enumerate(np.ndindex(rows.shape)):
        x, y = column * (1 + GAP) + aside * (column > 0), row * (tall + below)
        colour = INK if column == 0 else BLUE if right[row, column - 1] else ORANGE
        axes.imshow(tiles[place], extent=(x, x + 1, y + tall, y), cmap="gray")
        axes.add_patch(Rectangle((x, y), 1, tall, fill=False, edgecolor=colour, linewidth=2 * (column > 0)))
        name = str(classes[labels[rows[row, column]]])
        look = {"color": colour, "weight": "bold" if column == 0 else "normal", "fontsize": 11}
        axes.text(x + 0.5, y + tall + 0.04, _short(name), ha="center", va="top", **look)
    axes.set(xlim=(-0.02, width + 0.02), ylim=(height, -0.02))
    axes.set_axis_off()
    return finished(figure, path)


def _numbers(values):
    return np.asarray(on_host(values), dtype=np.int64)


def _short(name, most=18):
    return name if len(name) <= most else name[: most - 1] + "…"


@styled
def digits(pictures, labels=None, path=None) -> Picture:
    """A contact sheet of pictures (N, C, H, W) or (N, H, W), with their labels (N,).

    Raises ValueError for other shapes, or another number of labels.
    """
    pictures = as_pictures(pictures)
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures, but {len(labels)} labels")
    captions = None if labels is None else [str(label) for label in on_host(labels)]
    return finished(sheet(pictures, captions, cmap="gray"), path)


@styled
def digit_steps(prepared, path=None) -> Picture:
    """The way from a photograph to what the network sees: a `data.photo.PreparedDigit`, its steps, then its image."""
    image = on_host(prepared.image)
    steps = [(name, on_host(array)) for name, array in prepared.steps if not np.array_equal(array, image)]
    steps.append((f"the network sees\n{image.shape[0]} × {image.shape[1]} pixels", image))
    columns = good_columns(len(steps)) if len(steps) > 6 else len(steps)
    rows = math.ceil(len(steps) / columns)
    figure = new_figure(2.6 * columns, 3.2 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, array) in zip(panels, steps, strict=False):
        smooth = "nearest" if max(array.shape) <= 64 else "auto"
        axes.imshow(array, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
        axes.set_title(name, weight="bold" if array is image else "normal")
    for axes in panels:
        axes.set_axis_off()
    return finished(figure, path)
