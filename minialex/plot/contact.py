"""Pictures of what goes in: contact sheets, and the way from a photograph to a digit."""

import math

import numpy as np

from minialex.plot.look import (
    Picture,
    as_pictures,
    finished,
    good_columns,
    new_figure,
    on_host,
    sheet,
    styled,
)
from minialex.words import counted


@styled
def digits(pictures, labels=None, path=None) -> Picture:
    """A contact sheet of pictures (N, C, H, W) or (N, H, W), with their labels (N,).

    Raises ValueError for other shapes, or another number of labels.
    """
    pictures = as_pictures(pictures)
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"{counted(len(pictures), 'picture')}, but {counted(len(labels), 'label')}")
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
        # matplotlib 3.10 calls it "auto", and knows both names.
        smooth = "nearest" if max(array.shape) <= 64 else "antialiased"
        axes.imshow(array, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
        axes.set_title(name, weight="bold" if array is image else "normal")
    for axes in panels:
        axes.set_axis_off()
    return finished(figure, path)
