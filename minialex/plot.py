"""Pictures: learning curves, kernels, feature maps, mistakes, gradient checks. The only importer of matplotlib.

Every function returns a figure, which a notebook shows as a cell's last value, and saves it where `path` is given
(a PNG, or what the path's ending says). None needs a display, changes matplotlib's settings or must be closed.
Arrays may live on any device. The colours are Okabe and Ito's, which colour-blind readers tell apart as well.
"""

import copy
import io
import math

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from minialex.device import is_array, to_numpy, transfer
from minialex.gradient_check import RELATIVE
from minialex.layers.sequential import Sequential
from minialex.weights import export_grouped

DPI = 120
MAPS, CELLS = 16, 128  # feature_maps shows so many maps of a layer, and so many cells in one line of a strip
GAP = 0.1  # between pictures, of their width
NUMBERED = 60  # gradcheck writes numbers into the cells of arrays up to this size

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
INK, FAINT, GREY, LINE = "#222222", "#5A5A5A", "#8A8A8A", "#E2E2E2"
SIGNED = LinearSegmentedColormap.from_list(
    "signed", [(0, "#004468"), (0.2, BLUE), (0.5, "white"), (0.8, ORANGE), (1, "#8A3C00")]
)
ERRORS = LinearSegmentedColormap.from_list("errors", ["white", "#F3B58A", ORANGE, "#8A3C00"])
PARTS = {  # of a history
    "train": ("training", BLUE, "-", "o"),
    "holdout": ("held out", GREEN, "-.", "^"),
    "test": ("test", ORANGE, "--", "s"),
}
VERDICTS = {  # frames in gradcheck
    "bug": (ORANGE, "-", "bug: backward ≠ measured"),
    "kink": (PINK, "--", "kink: no derivative here"),
}
BLUES = matplotlib.colormaps["Blues"].with_extremes(under="white")
SHARES = LogNorm(1e-14, 1)

STYLE = {
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "font.family": "DejaVu Sans", "font.size": 12, "figure.titlesize": 14, "axes.titlesize": 12,
    "axes.labelsize": 13, "xtick.labelsize": 11, "ytick.labelsize": 11, "legend.fontsize": 12,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "axes.axisbelow": True,
    "legend.frameon": False, "grid.color": LINE, "lines.linewidth": 2.2, "lines.markersize": 6,
    "image.interpolation": "nearest", "text.usetex": False,
}  # fmt: skip
styled = matplotlib.rc_context(STYLE)  # as a decorator: our look inside the function, the caller's outside


class Picture(Figure):
    """A matplotlib Figure that a notebook shows; a bare one, made without pyplot, prints as text there."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


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
    _finish_loss(loss)
    error.margins(y=0.1)
    error.set_ylim(bottom=0)
    if len(error.lines) > 1:  # the last one drawn is the one that counts
        _name_last(error, error.lines[-1], "{:.2f} %")
    return _finished(figure, path)


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
    _finish_loss(loss)
    _line(accuracy, history, "train_acc1", f"{train}, Acc@1", *of_train)
    _line(accuracy, history, "val_acc5", f"{val}, Acc@5", PINK, ":", "s")
    _line(accuracy, history, "val_acc1", f"{val}, Acc@1", *of_val)
    accuracy.set_ylim(0, 103)
    if accuracy.lines:
        accuracy.legend(loc="lower right")
        last = accuracy.lines[-1]
        if last.get_color() == of_val[0]:
            _name_last(accuracy, last, "{:.1f} %")
    return _finished(figure, path)


def _two_panels(who, history, title, quantities):
    """A figure with two pairs of axes over the epochs."""
    if not history:
        raise ValueError(f"the history has 0 epochs; {who} needs at least 1")
    figure = _figure(11.5, 4.6, title)
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


def _finish_loss(axes):
    """A legend; and where the loss spans more than a decade, a logarithmic axis."""
    if axes.lines:
        axes.legend()
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
    weight = _host(weight)
    if weight.ndim != 4 or weight.shape[1] not in (1, 3) or 0 in weight.shape:
        raise ValueError(
            f"weight must be (F, 1, kh, kw) or (F, 3, kh, kw), not {weight.shape}; of kernels with more channels show "
            "one channel at a time: weight[:, c:c+1]"
        )
    numbers = [str(i) for i in range(len(weight))]
    if weight.shape[1] == 3:
        return _finished(_sheet(_in_colour(weight), numbers, title, columns), path)
    look = {"cmap": SIGNED, "norm": _signed(weight)}
    figure = _sheet(weight[:, 0], numbers, title, columns, margin=1.3, **look)
    _colour_bar(figure, figure.axes[0].images[0], figure.axes[0], "weight")
    return _finished(figure, path)


@styled
def tower_kernels(model, path=None) -> Picture:
    """The kernels of conv1, which look at the picture itself, in a block for each tower, all on one scale.

    (Krizhevsky et al. 2012, figure 3: one GPU's kernels came out without colour, the other's with it, in every run.)
    model: its first convolution is "conv1", of pictures with 3 channels. Grey is a weight of 0.
    Raises ValueError for a model without it.
    """
    weight = export_grouped(model).get("conv1.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        what = "there is none" if weight is None else f"its weight is {weight.shape}"
        raise ValueError(f"tower_kernels shows a conv1 with 3 input channels; {what}")
    if getattr(getattr(model, "input", None), "order", "RGB") == "BGR":
        weight = weight[:, ::-1]
    devices = getattr(model["conv1"], "devices", (model["conv1"].device,))
    blocks = np.split(_around_grey(weight), len(devices))
    count = len(blocks[0])
    columns = math.ceil(count / math.ceil(count / 16))
    rows = math.ceil(count / columns)
    tile = min(0.9, 11 / columns)
    height = (rows * (1 + GAP) * tile + 0.45) * len(blocks)
    figure = _figure(max(4.5, columns * (1 + GAP) * tile + 0.3), height + 0.2)
    panels = figure.subplots(len(blocks), 1, squeeze=False).flatten()
    for number, (axes, block, device) in enumerate(zip(panels, blocks, devices, strict=True)):
        _lay(axes, block, columns)
        axes.set_title(f"tower {number} on {device.name}" if len(blocks) > 1 else f"conv1 on {device.name}")
    return _finished(figure, path)


@styled
def feature_maps(model, picture, path=None) -> Picture:
    """What each layer of a Sequential makes of one picture: a row a layer, with up to 16 of its maps.

    picture: (1, C, H, W), prepared for the model, on any device. The model stays as it is: a copy runs, in eval mode.
    A vector is a strip of cells, folded into lines where it is long; the last one is bars, the largest marked.
    Raises TypeError for what is no Sequential, ValueError for another shape.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"feature_maps takes a Sequential, not a {type(model).__name__}")
    if picture.ndim != 4 or len(picture) != 1:
        raise ValueError(f"picture must be (1, C, H, W), not {picture.shape}")
    steps = _steps(copy.deepcopy(model).eval(), picture)
    heights = [_row_height(values) for *_, values in steps[:-1]] + [1.9]
    figure = _figure(13.5, sum(heights) + 0.25 * len(heights) + 0.8)
    panels = figure.subplots(len(steps), 1, height_ratios=heights)
    for axes, (name, kind, values) in zip(panels, steps, strict=True):
        if axes is panels[0]:
            _lay(axes, _pictures(values[None]), cmap="gray")
        elif values.size > len(values):
            _lay(axes, values[:MAPS], columns=MAPS, cmap=SIGNED, norm=_signed(values))
        elif axes is panels[-1] and values.size <= 100:
            _bars(axes, values.ravel())
        else:
            cells = np.ma.masked_invalid(_folded(values.ravel(), CELLS, np.nan))
            axes.imshow(cells, cmap=SIGNED, norm=_signed(values), aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(True)
        axes.set_anchor("W")
        _label(axes, name, kind, values)
    figure.supxlabel("blue: negative, white: 0, orange: positive; each row has its own scale", fontsize=12)
    return _finished(figure, path)


def _steps(model, picture):
    """(name, type, values without the batch axis) of the picture, and of each layer's output in each tower."""
    steps = [("picture", "input", to_numpy(picture)[0])]
    x = transfer(picture, model.device)
    for name, layer in model.layers.items():
        x = layer.forward(x)
        towers = (
            {f"{name}, tower {t}": part for t, part in enumerate(x)} if isinstance(x, tuple) else {name: x}
        )
        steps += [(tower, type(layer).__name__, to_numpy(part)[0]) for tower, part in towers.items()]
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
    matrix = _host(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"matrix must be (K, K), not {matrix.shape}")
    k = len(matrix)
    if classes is not None and len(classes) != k:
        raise ValueError(f"{len(classes)} names for {k} classes")
    total, wrong = matrix.sum(), matrix.sum() - matrix.trace()
    side = 8 if k > 20 else max(6, 0.6 * k + 2.5)
    title = f"{wrong:,} of {total:,} wrong ({100 * wrong / max(total, 1):.2f} %)"
    figure = _figure(side + (k > 20), side, title)
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
        _colour_bar(figure, image, axes, "mistakes (pictures)", ticks=MaxNLocator(integer=True))
    axes.set(xlabel="read as", ylabel="true class")
    return _finished(figure, path)


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
    pictures = _pictures(pictures)
    labels, predictions, confidences = _host(labels), _host(predictions), _host(confidences)
    for name, array in (("labels", labels), ("predictions", predictions), ("confidences", confidences)):
        if array.shape != (len(pictures),):
            raise ValueError(f"{len(pictures)} pictures, but {name} of shape {array.shape}")
    wrong = np.flatnonzero(labels != predictions)
    worst = wrong[np.argsort(-confidences[wrong], kind="stable")][:count]
    if not len(worst):
        figure = _figure(7, 1.6)
        message = f"No mistakes in {len(pictures):,} pictures."
        figure.text(0.5, 0.5, message, ha="center", va="center", size=18)
        return _finished(figure, path)
    captions = []
    for true, read, share in zip(labels[worst], predictions[worst], confidences[worst], strict=True):
        percent = "over 99" if 0.99 < share < 1 else f"{100 * share:.0f}"
        captions.append(f"true {true}, read as {read}\n{percent} %")
    which = f"; the {len(worst)} surest" if len(worst) < len(wrong) else ""
    title = f"{len(wrong):,} of {len(labels):,} wrong{which}"
    return _finished(_sheet(pictures[worst], captions, title, least=1.5, cmap="gray"), path)


@styled
def digits(pictures, labels=None, path=None) -> Picture:
    """A contact sheet of pictures (N, C, H, W) or (N, H, W), with their labels (N,).

    Raises ValueError for other shapes, or another number of labels.
    """
    pictures = _pictures(pictures)
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures, but {len(labels)} labels")
    captions = None if labels is None else [str(label) for label in _host(labels)]
    return _finished(_sheet(pictures, captions, cmap="gray"), path)


@styled
def digit_steps(prepared, path=None) -> Picture:
    """The way from a photograph to what the network sees: a `data.photo.PreparedDigit`, its steps, then its image."""
    image = _host(prepared.image)
    steps = [(name, _host(array)) for name, array in prepared.steps if not np.array_equal(array, image)]
    steps.append((f"the network sees\n{image.shape[0]} × {image.shape[1]} pixels", image))
    columns = _columns(len(steps)) if len(steps) > 6 else len(steps)
    rows = math.ceil(len(steps) / columns)
    figure = _figure(2.6 * columns, 3.2 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, array) in zip(panels, steps, strict=False):
        smooth = "nearest" if max(array.shape) <= 64 else "auto"
        axes.imshow(array, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
        axes.set_title(name, weight="bold" if array is image else "normal")
    for axes in panels:
        axes.set_axis_off()
    return _finished(figure, path)


@styled
def gradcheck(report, path=None) -> Picture:
    """A gradcheck report: a panel for each array with wrong gradients, or for each array when all pass.

    A cell is |backward - measured| as a share of the array's largest gradient. Wrong cells have frames; where there
    is room, numbers: the share, or "backward ≠ measured".
    """
    names = list(dict.fromkeys(e.array for e in report.bugs + report.kinks)) or list(report.shapes)
    layouts = [_cells_of(report.shapes[name]) for name in names]
    wide = any(cells.size <= NUMBERED and cells.shape[1] > 8 for cells, *_ in layouts)
    columns = 1 if wide else min(3, _columns(len(names)))
    rows = math.ceil(len(names) / columns)
    sizes = {name: math.prod(shape) for name, shape in report.shapes.items()}
    title = f"gradcheck of {report.title}: {_verdict(report.entries, sum(sizes.values()))}"
    figure = _figure(12 if wide else max(10, 5 * columns + 1), 1.8 + (3.2 if rows > 1 else 4.2) * rows, title)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, name, layout in zip(panels, names, layouts, strict=False):
        _gradient_panel(axes, report.shapes[name], report.of(name), *layout)
        axes.set_title(f"{name} {report.shapes[name]}\n{_verdict(report.of(name), sizes[name])}")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    label = "|backward − measured| / largest gradient"
    bar = _colour_bar(figure, ScalarMappable(SHARES, BLUES), panels, label)
    bar.ax.axhline(RELATIVE, color=ORANGE, linewidth=2)
    keys = [Patch(fill=False, ec=ec, ls=ls, lw=2.5, label=label) for ec, ls, label in VERDICTS.values()]
    keys.append(Patch(facecolor="white", edgecolor=GREY, hatch="////", label="not checked"))
    keys.append(Line2D([], [], color=ORANGE, label="tolerance"))
    figure.legend(handles=keys, loc="outside lower center", ncols=4)
    return _finished(figure, path)


def _verdict(entries, size):
    bugs, kinks = (sum(e.verdict == verdict for e in entries) for verdict in VERDICTS)
    found = f"bugs: {bugs:,}, kinks: {kinks:,}" if bugs or kinks else "all pass"
    return f"{found}, checked: {len(entries):,}" + (f" of {size:,}" if len(entries) < size else "")


def _cells_of(shape):
    """Where an array's entries stand: flat indices (rows, columns), -1 for none; a tile's size; names of the axes.

    The last two axes make a tile; the others put tiles side by side. A vector is folded into lines.
    """
    flat = np.arange(math.prod(shape))
    if len(shape) < 2:
        cells = _folded(flat, 12 if flat.size <= NUMBERED else 40, -1)
        return cells, (1, 1) if len(cells) == 1 else cells.shape, ("", "axis 0")
    if len(shape) == 2:
        return flat.reshape(shape), (1, 1), ("axis 0", "axis 1")
    tiles = flat.reshape(-1, *shape[-3:])
    names = [f"tiles: axis {i}" if i >= 0 else "" for i in (len(shape) - 4, len(shape) - 3)]
    if len(tiles) > shape[-3]:  # wide rather than tall
        tiles, names = tiles.swapaxes(0, 1), names[::-1]
    down, across, height, width = tiles.shape
    return tiles.transpose(0, 2, 1, 3).reshape(down * height, across * width), (height, width), names


def _gradient_panel(axes, shape, entries, cells, tile, names):
    """Cells as colours, wrong ones framed, lines between tiles; hatching shows where nothing was checked."""
    rows, columns = cells.shape
    place = np.argsort(cells, axis=None)[-math.prod(shape) :]  # of each flat index
    ys, xs = np.divmod(place[[np.ravel_multi_index(e.index, shape) for e in entries]], columns)
    sizes = [abs(value) for e in entries for value in (e.backward, e.measured) if math.isfinite(value)]
    largest = max(sizes, default=0) or 1.0
    shares = np.nan_to_num([abs(e.backward - e.measured) / largest for e in entries], nan=1.0)
    colours = np.ma.masked_where(cells >= 0, np.full(cells.shape, SHARES.vmin / 10))  # places to spare: white
    colours[ys, xs] = np.clip(shares, SHARES.vmin, SHARES.vmax)
    square = len(shape) > 2 and cells.size > NUMBERED and rows > 0.3 * columns
    axes.imshow(colours, cmap=BLUES, norm=SHARES, aspect="equal" if square else "auto")
    axes.patch.set(hatch="////", edgecolor=GREY)
    axes.spines[:].set_visible(False)
    axes.hlines(np.arange(0, rows + 1, tile[0]) - 0.5, -0.5, columns - 0.5, color=GREY, linewidth=0.7)
    axes.vlines(np.arange(0, columns + 1, tile[1]) - 0.5, -0.5, rows - 0.5, color=GREY, linewidth=0.7)
    for axis, length, size, name in zip((axes.yaxis, axes.xaxis), cells.shape, tile, names, strict=True):
        count = length // size
        axis.set_ticks((np.arange(count) + 0.5) * size - 0.5 if 1 < count <= 20 else [])
        axis.set_major_formatter(lambda at, _, size=size: f"{at // size:.0f}")
        axis.set_label_text(name if count > 1 else "")
    small = columns > 20
    for verdict, (colour, line, _) in VERDICTS.items():
        wrong = [(x, y) for x, y, e in zip(xs, ys, entries, strict=True) if e.verdict == verdict]
        frames = [Rectangle((x - 0.44, y - 0.44), 0.88, 0.88) for x, y in wrong]
        look = {"linestyle": "-" if small else line, "linewidth": 1.6 if small else 2.5, "label": verdict}
        axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor=colour, **look))
    if cells.size <= NUMBERED:
        _numbers(axes, entries, xs, ys, shares, cells.shape)


def _numbers(axes, entries, xs, ys, shares, grid):
    """In each cell the share; in a wrong one what backward says, and what was measured. Upright in narrow cells."""
    rows, columns = grid
    upright = columns > 15
    width = axes.figure.get_figwidth() / axes.get_gridspec().ncols / columns  # of a cell, in inches
    look = {"fontsize": min(11, (40 if upright else 12) * width, 70 / rows), "rotation": 90 * upright}
    for e, x, y, share in zip(entries, xs, ys, shares, strict=True):
        between = " ≠ " if upright else "\n≠ "
        text = f"{share:.0e}" if e.verdict == "pass" else f"{e.backward:.2g}{between}{e.measured:.2g}"
        colour = "white" if share > RELATIVE else INK
        axes.text(x, y, text.replace("0e+00", "0"), color=colour, ha="center", va="center", **look)


# ---- what the pictures share ----


def _figure(width, height, title=None) -> Picture:
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    if title:
        figure.suptitle(title)
    return figure


def _colour_bar(figure, shown, axes, label, **ticks):
    narrow = 4 * figure.get_figheight()  # always a quarter of an inch
    return figure.colorbar(shown, ax=axes, label=label, aspect=narrow, panchor=False, **ticks)


def _finished(figure, path) -> Picture:
    if path is not None:
        figure.savefig(path, dpi=DPI)
    return figure


def _host(array) -> np.ndarray:
    return to_numpy(array) if is_array(array) else np.asarray(array)


def _signed(values):
    """A colour scale with 0 in the middle."""
    limit = np.abs(values[np.isfinite(values)]).max(initial=0) or 1.0
    return Normalize(-limit, limit)


def _in_colour(arrays):
    """(N, 3, H, W) of any range -> (N, H, W, 3) from 0 to 1, all with one scale."""
    low, high = arrays.min(), arrays.max()
    return ((arrays - low) / (high - low or 1)).transpose(0, 2, 3, 1)


def _around_grey(arrays):
    """(N, 3, H, W) of any range -> (N, H, W, 3) from 0 to 1, all with one scale, 0 in its middle."""
    limit = np.abs(arrays).max() or 1
    return (0.5 + arrays / (2 * limit)).transpose(0, 2, 3, 1)


def _pictures(pictures) -> np.ndarray:
    """(N, H, W) in grey, or (N, H, W, 3) in colour."""
    pictures = _host(pictures)
    if pictures.ndim == 4 and pictures.shape[1] == 3 and pictures.size:
        return pictures.transpose(0, 2, 3, 1) if pictures.dtype == np.uint8 else _in_colour(pictures)
    if pictures.ndim == 4 and pictures.shape[1] == 1:
        pictures = pictures[:, 0]
    if pictures.ndim != 3 or not pictures.size:
        raise ValueError(f"pictures must be (N, 1 or 3, H, W) or (N, H, W), with N > 0, not {pictures.shape}")
    return pictures


def _columns(count):
    """A number of columns that leaves few places of a sheet empty, and makes it no taller than wide."""
    least = math.ceil(math.sqrt(count))
    return min(range(least, int(1.7 * least) + 1), key=lambda columns: (-count % columns, columns))


def _folded(vector, longest, empty):
    """A vector in lines of equal length, at most `longest`; the last one filled up with `empty`."""
    lines = math.ceil(len(vector) / longest)
    length = math.ceil(len(vector) / lines)
    return np.pad(vector, (0, lines * length - len(vector)), constant_values=empty).reshape(lines, length)


def _sheet(pictures, captions=None, title=None, columns=None, least=0.5, margin=0.3, **look) -> Picture:
    """A figure full of small pictures with captions. least: how wide one must be, margin: what else is, in inches."""
    columns = min(columns or _columns(len(pictures)), len(pictures))
    tile = min(1.6, max(least, 11 / columns))
    below = 0.0 if captions is None else 0.2 * (captions[0].count("\n") + 1) / tile
    height = (pictures.shape[1] / pictures.shape[2] + below + GAP) * tile * math.ceil(len(pictures) / columns)
    figure = _figure(max(4.5, (1 + GAP) * tile * columns + margin), height + 0.3 + 0.5 * bool(title), title)
    _lay(figure.subplots(), pictures, columns, captions, below, **look)
    return figure


def _lay(axes, pictures, columns=1, captions=None, below=0.0, **look):
    """Pictures in lines, in one pair of axes: each is 1 wide, and has `below` underneath for its caption."""
    reach = (0, 255) if pictures.dtype == np.uint8 else (pictures.min(), pictures.max())
    look = {"norm": Normalize(*reach), **look}
    columns, tall = min(columns, len(pictures)), pictures.shape[1] / pictures.shape[2]
    for i, picture in enumerate(pictures):
        x, y = i % columns * (1 + GAP), i // columns * (tall + below + GAP)
        axes.imshow(picture, extent=(x, x + 1, y + tall, y), **look)
        axes.add_patch(Rectangle((x, y), 1, tall, fill=False, edgecolor=LINE, linewidth=0.8))
        if captions is not None:
            axes.text(x + 0.5, y + tall + 0.1 * below, captions[i], ha="center", va="top", fontsize=11)
    axes.set(xlim=(0, columns * (1 + GAP) - GAP), ylim=(y + tall + below, 0))
    axes.set_axis_off()
