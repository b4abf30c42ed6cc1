"""What the pictures of this room share: what they take, colours, the look, sheets of small pictures."""

import io
import math
import os
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minialex.devices.device import is_array, to_numpy
from minialex.plot.fonts import FAMILY, readable
from minialex.shapes import positive
from minialex.weights import write_whole
from minialex.words import a_or_an

DPI = 120
GAP = 0.1  # between pictures, of their width

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
INK, FAINT, GREY, LINE = "#222222", "#5A5A5A", "#8A8A8A", "#E2E2E2"
SIGNED = LinearSegmentedColormap.from_list(
    "signed", [(0, "#004468"), (0.2, BLUE), (0.5, "white"), (0.8, ORANGE), (1, "#8A3C00")]
)

STYLE = {
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "font.family": FAMILY, "font.size": 12, "figure.titlesize": 14, "axes.titlesize": 12,
    "axes.labelsize": 13, "xtick.labelsize": 11, "ytick.labelsize": 11, "legend.fontsize": 12,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "axes.axisbelow": True,
    "legend.frameon": False, "grid.color": LINE, "lines.linewidth": 2.2, "lines.markersize": 6,
    "image.interpolation": "nearest", "text.usetex": False,
}  # fmt: skip
styled = rc_context(STYLE)  # as a decorator: our look inside the function, the caller's outside


class Picture(Figure):
    """A matplotlib Figure that a notebook shows; a bare one, made without pyplot, prints as text there.

    Its texts are looked at before they are drawn: none shows a box in place of a character.
    """

    def draw(self, renderer) -> None:
        readable(self)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


def new_figure(width, height, title=None) -> Picture:
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    if title:
        figure.suptitle(title)
    return figure


def colour_bar(figure, shown, axes, label, **ticks):
    narrow = 4 * figure.get_figheight()  # always a quarter of an inch
    return figure.colorbar(shown, ax=axes, label=label, aspect=narrow, panchor=False, **ticks)


def finished(figure, path) -> Picture:
    if path is not None:
        save(figure, path)
    return figure


def save(figure, path) -> None:
    """The one place where pictures are saved: drawn first, then written, whole or not at all.

    The path's ending says in which format, and without one it is a PNG, and gets the ending, as in matplotlib.
    Raises OSError, naming the file, where it cannot be written.
    """
    if hasattr(path, "write"):  # a file that is open, or a buffer
        return figure.savefig(path, dpi=DPI)
    name = os.fspath(path)
    ending = os.path.splitext(name)[1][1:]
    if not ending:
        name, ending = name.rstrip(".") + ".png", "png"
    drawn = io.BytesIO()
    figure.savefig(drawn, format=ending, dpi=DPI)
    write_whole(name, drawn.getvalue())


def on_host(array) -> np.ndarray:
    return to_numpy(array) if is_array(array) else np.asarray(array)


def by_name(values, who: str, example: str) -> None:
    """Raises TypeError for what is no dict."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{who} takes a dict, {example}, not {a_or_an(type(values).__name__)}")


def rows_of(rows, kind: type, who: str, whence: str) -> list:
    """Raises TypeError for what is no list of this kind. whence: what gives one."""
    found = list(rows) if isinstance(rows, Iterable) else [rows]
    if isinstance(rows, kind) or not all(isinstance(row, kind) for row in found):
        raise TypeError(f"{who} takes the list that {whence} gives, not {a_or_an(type(rows).__name__)}")
    return found


def check_named(numbers, names, what: str) -> None:
    """Raises ValueError for a class that has no name: a list's -1 is its last one."""
    if numbers.dtype.kind not in "iu" and numbers.size:
        raise ValueError(f"{what} should be whole numbers, of classes from 0, not {numbers.dtype}")
    if wrong := numbers[(numbers < 0) | (numbers >= len(names))].tolist():
        raise ValueError(
            f"{what} has the class {wrong[0]}, for which there is no name: there are {len(names)}, "
            f"from 0 to {len(names) - 1}"
        )


def signed_scale(values):
    """A colour scale with 0 in the middle."""
    limit = np.abs(values[np.isfinite(values)]).max(initial=0) or 1.0
    return Normalize(-limit, limit)


def in_colour(arrays):
    """(N, 3, H, W) of any range -> (N, H, W, 3) from 0 to 1, all with one scale."""
    low, high = arrays.min(), arrays.max()
    return ((arrays - low) / (high - low or 1)).transpose(0, 2, 3, 1)


def around_grey(arrays):
    """(N, 3, H, W) of any range -> (N, H, W, 3) from 0 to 1, all with one scale, 0 in its middle.

    The largest of 200 numbers is beyond the scale: a few outliers would leave the rest pale.
    """
    limit = np.quantile(np.abs(arrays), 0.995) or 1
    return np.clip(0.5 + arrays / (2 * limit), 0, 1).transpose(0, 2, 3, 1)


def as_pictures(pictures) -> np.ndarray:
    """(N, H, W) in grey, or (N, H, W, 3) in colour."""
    pictures = on_host(pictures)
    if pictures.ndim == 4 and pictures.shape[1] == 3 and pictures.size:
        return pictures.transpose(0, 2, 3, 1) if pictures.dtype == np.uint8 else in_colour(pictures)
    if pictures.ndim == 4 and pictures.shape[1] == 1:
        pictures = pictures[:, 0]
    if pictures.ndim != 3 or not pictures.size:
        raise ValueError(f"pictures must be (N, 1 or 3, H, W) or (N, H, W), with N > 0, not {pictures.shape}")
    return pictures


def good_columns(count):
    """A number of columns that leaves few places of a sheet empty, and makes it no taller than wide."""
    least = math.ceil(math.sqrt(count))
    return min(range(least, int(1.7 * least) + 1), key=lambda columns: (-count % columns, columns))


def folded(vector, longest, empty):
    """A vector in lines of equal length, at most `longest`; the last one filled up with `empty`."""
    lines = math.ceil(len(vector) / longest)
    length = math.ceil(len(vector) / lines)
    return np.pad(vector, (0, lines * length - len(vector)), constant_values=empty).reshape(lines, length)


def sheet(pictures, captions=None, title=None, columns=None, least=0.5, margin=0.3, **look) -> Picture:
    """A figure full of small pictures with captions. least: how wide one must be, margin: what else is, in inches."""
    wanted = good_columns(len(pictures)) if columns is None else positive(columns, "columns")
    columns = min(wanted, len(pictures))
    tile = min(1.6, max(least, 11 / columns))
    below = 0.0 if captions is None else 0.2 * (captions[0].count("\n") + 1) / tile
    height = (pictures.shape[1] / pictures.shape[2] + below + GAP) * tile * math.ceil(len(pictures) / columns)
    figure = new_figure(
        max(4.5, (1 + GAP) * tile * columns + margin), height + 0.3 + 0.5 * bool(title), title
    )
    lay(figure.subplots(), pictures, columns, captions, below, **look)
    return figure


def lay(axes, pictures, columns=1, captions=None, below=0.0, **look):
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
