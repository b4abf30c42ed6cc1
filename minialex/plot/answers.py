"""Pictures of a network's answers: who is taken for whom, the worst mistakes, the nearest neighbours."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from minialex.plot.fonts import class_names, shortened, width
from minialex.plot.look import (
    BLUE,
    FAINT,
    GAP,
    GREY,
    INK,
    LINE,
    ORANGE,
    Picture,
    as_pictures,
    check_named,
    colour_bar,
    finished,
    new_figure,
    on_host,
    sheet,
    styled,
)
from minialex.shapes import positive
from minialex.words import counted

ERRORS = LinearSegmentedColormap.from_list("errors", ["white", "#F3B58A", ORANGE, "#8A3C00"])


@styled
def confusion(matrix, path=None, classes=None) -> Picture:
    """Which classes are taken for which: a row for each true class, a column for each class read.

    matrix: (K, K) counts; classes: K names. What is right is grey, so that colour shows the mistakes. The cells of
    up to 20 classes have numbers, and the margins totals; more classes are known by their places alone, or, where
    names are of one letter, by these.
    Raises ValueError for a matrix that is not square, or another number of names.
    """
    matrix = on_host(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"matrix must be (K, K), not {matrix.shape}")
    k = len(matrix)
    if classes is not None and len(classes) != k:
        raise ValueError(f"{counted(len(classes), 'name')} for {counted(k, 'class', 'classes')}")
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
        names = [*class_names(range(k) if classes is None else classes), "total"]
        axes.set_xticks(range(k + 1), names, rotation=90 if max(map(width, names)) > width("total") else 0)
        axes.set_yticks(range(k + 1), names)
        axes.tick_params(length=0)
    else:
        colour_bar(figure, image, axes, "mistakes (pictures)", ticks=MaxNLocator(integer=True))
        if classes is not None and k <= 40 and all(len(str(name)) == 1 for name in classes):
            axes.set_xticks(range(k), map(str, classes))
            axes.set_yticks(range(k), map(str, classes))
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
def mistakes(pictures, labels, predictions, confidences, path=None, count=25, classes=None) -> Picture:
    """The mistakes of which the network was surest, surest first.

    pictures: (N, C, H, W) or (N, H, W); labels, predictions: (N,) classes; confidences: (N,) probabilities of the
    class that was read, 0 to 1; classes: their names, if they are not numbers. Raises ValueError where these do not
    belong together, and for a class without a name.
    """
    count = positive(count, "count")
    pictures = as_pictures(pictures)
    labels, predictions, confidences = on_host(labels), on_host(predictions), on_host(confidences)
    names = None if classes is None else class_names(classes)
    for name, array in (("labels", labels), ("predictions", predictions), ("confidences", confidences)):
        if array.shape != (len(pictures),):
            raise ValueError(f"{counted(len(pictures), 'picture')}, but {name} of shape {array.shape}")
        if names is not None and name != "confidences":
            check_named(array, names, name)
    wrong = np.flatnonzero(labels != predictions)
    worst = wrong[np.argsort(-confidences[wrong], kind="stable")][:count]
    if not len(worst):
        figure = new_figure(7, 1.6)
        message = f"No mistakes in {counted(len(pictures), 'picture')}."
        figure.text(0.5, 0.5, message, ha="center", va="center", size=18)
        return finished(figure, path)
    captions = []
    for true, read, share in zip(labels[worst], predictions[worst], confidences[worst], strict=True):
        percent = "over 99" if 0.99 < share < 1 else f"{100 * share:.0f}"
        if names is not None:
            true, read = names[true], names[read]
        captions.append(f"true {true}, read as {read}\n{percent} %")
    which = f"; the {len(worst)} surest" if len(worst) < len(wrong) else ""
    title = f"{len(wrong):,} of {len(labels):,} wrong{which}"
    return finished(sheet(pictures[worst], captions, title, least=1.5, cmap="gray"), path)


@styled
def neighbours(pictures, labels, classes, queries, found, path=None, title=None) -> Picture:
    """A row for each query: the picture, then those nearest to it; blue if of its class, orange if not.

    pictures: (N, C, H, W) or (N, H, W); labels: (N,); classes: their names; queries (Q,) and found (Q, count): numbers
    of pictures, as neighbours.nearest and neighbours.hamming give them. (Krizhevsky et al. 2012, figure 4, right.)
    Raises ValueError where there is not a row of numbers for each query, or not a label for each picture, for a picture
    that is not there, and for a class without a name.
    """
    queries, found, labels = np.atleast_1d(_numbers(queries)), _numbers(found), _numbers(labels)
    if found.ndim != 2 or len(found) != len(queries) or not len(queries):
        raise ValueError(
            f"{counted(len(queries), 'query', 'queries')}, but found has shape {found.shape}, not (Q, count)"
        )
    if len(labels) != len(pictures):
        raise ValueError(f"{counted(len(pictures), 'picture')}, but {counted(len(labels), 'label')}")
    names = class_names(shortened(str(name), 18) for name in classes)
    check_named(labels, names, "labels")
    rows = np.concatenate([queries[:, None], found], axis=1)  # (Q, 1 + count)
    if others := rows[(rows < 0) | (rows >= len(pictures))].tolist():
        raise ValueError(
            f"there is no picture {others[0]}: {len(pictures)} are there, from 0 to {len(pictures) - 1}"
        )
    tiles = as_pictures(np.stack([on_host(pictures[i]) for i in rows.ravel()]))
    tall, below, aside = tiles.shape[1] / tiles.shape[2], 0.26, 0.3  # the query stands a little aside
    right = labels[found] == labels[queries, None]
    share = (
        f"{right.sum()} of {right.size} neighbours are of their picture's class"
        if right.size
        else "no neighbours"
    )
    width, height = (1 + GAP) * rows.shape[1] - GAP + aside, len(rows) * (tall + below)
    # The least width is that of a title over a picture without neighbours.
    figure = new_figure(
        max(4.6, 1.5 * width + 0.3), 1.5 * height + 0.8, f"{title}: {share}" if title else share
    )
    axes = figure.subplots()
    for place, (row, column) in enumerate(np.ndindex(rows.shape)):
        x, y = column * (1 + GAP) + aside * (column > 0), row * (tall + below)
        colour = INK if column == 0 else BLUE if right[row, column - 1] else ORANGE
        axes.imshow(tiles[place], extent=(x, x + 1, y + tall, y), cmap="gray")
        axes.add_patch(Rectangle((x, y), 1, tall, fill=False, edgecolor=colour, linewidth=2 * (column > 0)))
        name = names[labels[rows[row, column]]]
        look = {"color": colour, "weight": "bold" if column == 0 else "normal", "fontsize": 11}
        axes.text(x + 0.5, y + tall + 0.04, name, ha="center", va="top", **look)
    axes.set(xlim=(-0.02, width + 0.02), ylim=(height, -0.02))
    axes.set_axis_off()
    return finished(figure, path)


def _numbers(values):
    return np.asarray(on_host(values), dtype=np.int64)
