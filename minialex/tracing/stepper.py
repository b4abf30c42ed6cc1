"""The page of `trace.to_html`: one file that steps through a pass in a browser, with its data inside.

Here the arrays are cut to what fits on a screen and put into stepper.html, with the stepper*.js that draw them.
"""

import base64
import html
import itertools
import json
from pathlib import Path

import numpy as np

MAPS, SIDE = 16, 64  # most channels, and pixels a side
ROWS, LENGTH = 64, 1024  # most rows of a matrix, and entries of a row
PLAIN = 12  # most arrays of a layer that has no view of its own
COLUMN_NUMBERS = 60_000  # most numbers of a layer's grad_columns
BUDGET = 12_000_000  # characters of data; above it, fewer channels are shown
SCRIPTS = ("stepper.js", "stepper_views.js", "stepper_page.js")
# How a layer that runs these classes' lines is shown; any other is "plain", array by array.
VIEWS = dict.fromkeys(["Conv2D", "TableConv2D"], "conv") | {"Linear": "linear"}
VIEWS |= dict.fromkeys(["MaxPool2D", "AvgPool2D", "Subsampling"], "pool")
WANTED = {
    ("conv", "forward"): "padded weight bias y".split(),
    ("conv", "backward"): "grad_y grad_columns grad_weight grad_x padded weight grad_bias".split(),
    ("pool", "forward"): "x padded winner weight bias y".split(),
    ("pool", "backward"): "grad_y winner weight grad_x".split(),
    ("linear", "forward"): "x weight bias y".split(),
    ("linear", "backward"): "grad_y weight x grad_weight grad_x grad_bias".split(),
}


def page(trace) -> str:
    """The whole page, as text.

    Raises ValueError when even one channel of each array is more than a page should hold.
    """
    for maps in (MAPS, 8, 4, 2, 1):
        data = json.dumps(_Data(trace, maps).content, ensure_ascii=True)
        if len(data) <= BUDGET:
            break
    else:
        raise ValueError(
            f"to_html: with 1 channel of each array the page would have {len(data):,} characters, more than "
            f"{BUDGET:,}: trace fewer layers, or a smaller picture"
        )
    here = Path(__file__).parent
    frame = (here / "stepper.html").read_text(encoding="utf8")
    script = "\n".join((here / name).read_text(encoding="utf8") for name in SCRIPTS)
    for character in "<>&":  # so that no text in the data can end the element that it stands in
        data = data.replace(character, f"\\u{ord(character):04x}")
    frame = frame.replace("__TITLE__", html.escape(trace.title))
    return frame.replace("__SCRIPT__", script).replace("__DATA__", data)


class _Data:
    """What the page gets: steps that name their arrays, and each array once, as base64 of float32."""

    def __init__(self, trace, maps):
        self.trace, self.maps = trace, maps
        self.arrays, self.known = [], {}
        steps = []
        for kind, way in (("forward", 1), ("backward", -1)):
            for layer in in_time(trace)[::way]:
                parts = trace.of(layer)
                if any(e.kind == kind for e in parts.values()):
                    steps.append(self.step(layer, kind, parts))
        batches = [e.shape[e.batch_axis] for e in trace.values() if e.batch_axis is not None]
        pictures = batches[0] if batches else 1
        self.content = {"title": trace.title, "pictures": pictures, "steps": steps, "arrays": self.arrays}

    def step(self, layer, direction, parts):
        about = self.trace.layers[layer]
        view = VIEWS.get(about["kind"], "plain")
        if view == "conv" and "full_weight" in parts:  # a TableConv2D: as (F, C, kh, kw)
            parts = parts | {"weight": parts["full_weight"]}
            if "grad_full_weight" in parts:
                parts["grad_weight"] = parts["grad_full_weight"]
        more = 0
        mine = [name for name, entry in parts.items() if entry.kind == direction]
        if view == "plain":
            owned = [name for name, entry in parts.items() if entry.kind == "parameter"]
            wanted = [*mine[:1], *owned, *mine[1:]] if direction == "forward" else mine
            if direction == "backward" and "mask" in parts:
                wanted = ["mask", *wanted]
            more = max(0, len(wanted) - PLAIN)
            wanted = [*wanted[: PLAIN - 1], *wanted[PLAIN - 1 :][-1:]]  # what comes out is among them
        else:
            wanted = WANTED[view, direction]
        if "padded" in parts:  # then that is what lies under the window
            wanted = [name for name in wanted if name != "x" or view != "pool"]
        shape = self.reach(about, parts) if view in ("conv", "pool") else None
        return {
            "layer": layer or about["type"],
            "type": about["type"],
            "direction": direction,
            "view": view,
            "lines": lines_of(parts, mine),
            "source": parts[mine[-1]].source.rpartition(":")[0],
            "more": more,
            "joins": self.joins(parts, mine, wanted) if view == "plain" else [],
            "kernel": about["kernel_size"] if shape else None,
            "stride": about["stride"] if shape else None,
            "padding": about["padding"] if shape else None,
            "groups": about.get("groups", 1) if shape else 1,
            "parts": {name: self.part(parts, name, shape) for name in wanted if name in parts},
        }

    def joins(self, parts, mine, wanted):
        """Where arrays meet or part: {how, whole, parts}, `whole` being the parts one behind the other, or their sum.

        The parts lie in a list or a dict of the layer, or are two arrays of their own: total = body + shortcut.
        """
        lists = {}
        for name in mine:
            if name.endswith("]"):
                lists.setdefault(name.partition("[")[0], []).append(name)
        plain = [name for name in mine if not name.endswith("]")]
        pairs = [[a, b] for a, b in itertools.pairwise(plain) if {a, b} <= set(wanted)]
        found = []
        for names in [*lists.values(), *pairs]:
            arrays = [parts[name].picture(0) for name in names]
            if (
                len({(one.ndim, one.shape[1:]) for one in arrays}) > 1
                or len(names) < 2
                or arrays[0].ndim != 3
            ):
                continue
            wholes = plain if names in lists.values() else plain[plain.index(names[-1]) + 1 :]
            for whole in wholes:
                how = joined(parts[whole].picture(0), arrays)
                if how == "add" or (how and names in lists.values()):
                    shown = [name for name in names if name in wanted]
                    found += [{"how": how, "whole": whole, "parts": shown}] * (whole in wanted)
                    break
        return found

    def reach(self, about, parts):
        """How many positions of the window lie wholly inside the part of x that is shown: (rows, columns)."""
        sizes = parts["y"].shape[2:]
        return [
            min(size, max(1, (SIDE - k) // s + 1))
            for size, k, s in zip(sizes, about["kernel_size"], about["stride"], strict=True)
        ]

    def part(self, parts, name, reach):
        entry = parts[name]
        array = entry.picture(0)
        if array.ndim == 4 and array.size == array.shape[1] and entry.kind != "parameter":
            array = array.reshape(-1)  # (1, C, 1, 1): a number for each channel
        full = array.shape
        if name == "grad_columns":
            array = self.columns(array, parts["y"].shape[2:], parts["padded"].shape[1], reach)
        elif array.ndim == 4:
            array = array[: self.maps, : self.maps]
        elif array.ndim == 2:
            array = array[:ROWS, :LENGTH]
        elif array.ndim == 3:
            side = reach if reach and name in ("y", "grad_y", "winner") else (SIDE, SIDE)
            array = array[: self.maps, : side[0], : side[1]]
        elif array.ndim == 1:
            array = array[:LENGTH]
        elif array.ndim > 4:
            array = array.reshape(-1)[:LENGTH]
        shared = entry.batch_axis is None
        return {
            "name": entry.name,
            "shape": array.shape,
            "full": full,
            "shared": shared,
            "data": self.add(array),
        }

    def columns(self, columns, sizes, channels, reach):
        """grad_columns (C*kh*kw, OH*OW), perhaps in groups, cut to some channels and positions."""
        columns = columns.reshape(channels, -1, *sizes)[:, :, : reach[0], : reach[1]]
        most = max(1, COLUMN_NUMBERS // columns[0].size)
        columns = columns[: min(self.maps, most)]
        return columns.reshape(len(columns) * columns.shape[1], -1)

    def add(self, array):
        """Its number; an array that is there already, as relu1.x is conv1.y, is not stored again."""
        array = np.abs(array) if array.dtype.kind == "c" else array
        with np.errstate(over="ignore"):
            text = base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")
        if text not in self.known:
            self.known[text] = len(self.arrays)
            self.arrays.append(text)
        return self.known[text]


def joined(whole, arrays) -> str:
    """How a whole is made of arrays: "concat", "add", "share" (each is the whole), or "" for none of these."""
    if not whole.any():
        return ""
    channels = sum(len(one) for one in arrays)
    if whole.shape == (channels, *arrays[0].shape[1:]) and np.array_equal(np.concatenate(arrays), whole):
        return "concat"
    if any(one.shape != whole.shape for one in arrays):
        return ""
    if all(np.array_equal(one, whole) for one in arrays):
        return "share"
    total = arrays[0]
    for one in arrays[1:]:
        total = total + one
    return "add" if np.allclose(total, whole, rtol=1e-5, atol=1e-6 * np.abs(whole).max(initial=0)) else ""


def in_time(trace) -> list[str]:
    """The layers in the order in which they give their output: a block, whose paths meet in it, after its paths."""
    last = {e.layer: place for place, e in enumerate(trace.values()) if e.kind == "forward"}
    return sorted(trace.layers, key=lambda layer: last.get(layer, len(trace)))


def lines_of(parts, names) -> list[dict]:
    """The lines of these arrays, each once, as they stand in the source; `of` says whose line it is."""
    found = {}
    for name in names:
        for number, text in parts[name].lines:
            found.setdefault(
                (number, text), name.rpartition(".")[2].partition("[")[0]
            )  # "[0].y" is y, "ys[a]" ys
    return [{"number": number, "text": text, "of": name} for (number, text), name in sorted(found.items())]
