"""Pictures of what is inside a network: kernels, the kernels of two towers, the maps of each layer."""

import copy
import math

import numpy as np
from matplotlib.ticker import MaxNLocator

from minialex.devices.device import to_numpy, transfer
from minialex.layers.sequential import Sequential
from minialex.layers.towers import Towers
from minialex.plot.look import (
    BLUE,
    FAINT,
    GAP,
    GREY,
    ORANGE,
    SIGNED,
    Picture,
    around_grey,
    as_pictures,
    colour_bar,
    finished,
    folded,
    in_colour,
    lay,
    new_figure,
    on_host,
    sheet,
    signed_scale,
    styled,
)
from minialex.weights import export_grouped
from minialex.words import a_or_an, did_you_mean

MAPS, CELLS = 16, 128  # feature_maps shows so many maps of a layer, and so many cells in one line of a strip


@styled
def filters(weight, path=None, title=None, columns=None) -> Picture:
    """The kernels of a convolution, numbered: of one input channel in signed colours, of three as they are.

    weight: (F, C, kh, kw) with C = 1 or 3; all kernels share one scale. Raises ValueError for other shapes, and for
    less than one column.

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
        raise TypeError(f"feature_maps takes a Sequential, not {a_or_an(type(model).__name__)}")
    if picture.ndim != 4 or len(picture) != 1:
        raise ValueError(f"picture must be (1, C, H, W), not {picture.shape}")
    layers = list(model.layers if layers is None else layers)
    unknown = [name for name in layers if name not in model.layers]
    if unknown:
        meant = did_you_mean(unknown[0], model.layers)
        raise ValueError(f"there is no layer {unknown[0]!r}{meant}; the model has {', '.join(model.layers)}")
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
