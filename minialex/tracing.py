"""trace: every number of one pass through a network, forwards and backwards, by name.

>>> from minialex.layers import Conv2D, Flatten, Linear, Sequential, SoftmaxCrossEntropy
>>> model = Sequential(conv1=Conv2D(1, 1, 2), flat=Flatten(), fc=Linear(4, 2))
>>> found = trace(model, np.ones((1, 1, 3, 3), dtype=np.float32), [1], loss=SoftmaxCrossEntropy())
>>> found["conv1.columns"].shape, found["conv1.columns"].formula
((1, 4, 4), 'columns[n, (c, i, j), (p, q)] = padded[n, c, p + i, q + j]')
>>> [name for name in found if name.startswith("loss.")]
['loss.logits', 'loss.labels', 'loss.softmax', 'loss.loss', 'loss.grad_logits']
"""

import copy
import difflib
import functools
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex import stepper
from minialex.device import is_array, to_numpy
from minialex.layers import Layer, Loss, Sequential, Subsampling, Towers
from minialex.textbook import backward_parts, forward_parts, host, kind_of

PACKAGE = Path(__file__).parent
SETTINGS = "kernel_size stride padding groups table size alpha beta k p scaling scale slope j".split()


@dataclass(frozen=True, eq=False)
class Entry:
    """One array of a pass.

    Attributes
        name      "conv1.columns"
        array     a copy, in host memory
        kind      "forward", "backward" or "parameter"
        layer     "conv1": its layer's name; "" where one layer alone was traced
        formula   how it comes about, in one line
        source    where the library does it: "layers/conv.py:62"; "" where there is no file to look into
        batched   is its first axis the batch? (Not in parameters, their gradients, and the loss.)
    """

    name: str
    array: np.ndarray
    kind: str
    layer: str
    formula: str
    source: str
    batched: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __repr__(self):
        return f"<{self.name} {self.shape} {self.dtype}: {self.formula}; {self.source}>"


class Trace(Mapping):
    """All arrays of one pass, by name, in the order in which they came about. Printed, it is a table.

    `trace["conv1.columns"]` is an Entry; `layers` says of each layer what it is and how it is set. Raises KeyError,
    with the names that come near, for an array that is not there.

    >>> from minialex.layers import ReLU
    >>> found = trace(ReLU(), np.array([[-1.0, 2.0]]), grad_y=np.array([[10.0, 10.0]]))
    >>> print(found)
    trace of ReLU
    name    shape   formula
    x       (1, 2)  x is what comes in
    mask    (1, 2)  mask = 1 where x > 0, else 0
    y       (1, 2)  y = max(x, 0)
    grad_y  (1, 2)  grad_y = dloss / dy, from the layer after it
    grad_x  (1, 2)  grad_x = grad_y * mask
    >>> found["grad_x"].array
    array([[ 0., 10.]])
    """

    def __init__(self, title: str, entries: dict[str, Entry], layers: dict[str, dict]):
        self.title, self.layers, self._entries = title, layers, entries

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            near = difflib.get_close_matches(str(name), self._entries, n=4, cutoff=0.5)
            hint = f"near it: {', '.join(near)}" if near else f"it has {', '.join(list(self)[:8])}, ..."
            raise KeyError(f"{name!r} is not in the trace of {self.title}; {hint}")
        return self._entries[name]

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __str__(self):
        rows = [("name", "shape", "formula"), *((e.name, str(e.shape), e.formula) for e in self.values())]
        wide, shape = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"{name:<{wide}}  {of_shape:<{shape}}  {formula}" for name, of_shape, formula in rows]
        return "\n".join([f"trace of {self.title}", *lines])

    def __repr__(self):
        return f"<trace of {self.title}: {len(self)} arrays; print it for more>"

    def _repr_pretty_(self, printer, cycle):
        printer.text(str(self))  # notebooks show it whole

    def of(self, layer: str) -> dict[str, Entry]:
        """The entries of one layer, by their names inside it: `trace.of("conv1")["columns"]`."""
        if layer not in self.layers:
            raise KeyError(f"{layer!r} is no layer of this trace; it has {', '.join(map(repr, self.layers))}")
        mine = {name: e for name, e in self.items() if e.layer == layer and layer in self.layers}
        return {name[len(layer) :].lstrip(".") if layer else name: e for name, e in mine.items()}

    # ---- files ----

    def to_npz(self, path) -> Path:
        """All arrays in one .npz file, under their names; np.load reads it. Returns the file's path."""
        path = Path(path)
        if path.suffix != ".npz":
            path = path.with_name(f"{path.name}.npz")
        np.savez(path, **{name: entry.array for name, entry in self.items()})
        return path

    def to_hex(
        self, folder, fixed: tuple[int, int] | None = None, names: Iterable[str] | None = None
    ) -> Path:
        """Golden vectors for those who build the network in hardware: a text file for each array, and index.json.

        "conv1.columns.hex" has one number a line, in C order (the last axis runs fastest), as Verilog's $readmemh
        reads it: the 8 hex digits of an IEEE float32. With fixed=(8, 8) it is a two's complement number of 8 bits
        before the point, the sign among them, and 8 after it (Q8.8): 1.5 is 0180. It is rounded to the nearest,
        halves to the even one; what is too large becomes the largest, what is too small the smallest, and
        index.json counts them as "saturated".
        names: only these. Returns the folder.
        Raises ValueError for a NaN in a fixed-point array, or a format that has no bit or more than 32.

        >>> import tempfile
        >>> from minialex.layers import ReLU
        >>> folder = trace(ReLU(), np.array([[-1.0, 1.5, 200.0]])).to_hex(tempfile.mkdtemp(), fixed=(8, 8))
        >>> (folder / "x.hex").read_text().split()
        ['ff00', '0180', '7fff']
        """
        if fixed is not None and (fixed[0] < 1 or fixed[1] < 0 or sum(fixed) > 32):
            raise ValueError(f"fixed={fixed}: at least 1 bit before the point, and at most 32 bits together")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        index = []
        for entry in [self[name] for name in names] if names is not None else self.values():
            words, digits, saturated = _words(entry, fixed)
            file = f"{entry.name}.hex"
            (folder / file).write_text("".join(f"{word:0{digits}x}\n" for word in words), encoding="ascii")
            row = {"name": entry.name, "file": file, "shape": entry.shape, "dtype": str(entry.dtype)}
            index.append(row | {"saturated": saturated, "formula": entry.formula})
        number = f"Q{fixed[0]}.{fixed[1]}, two's complement" if fixed else "float32"
        text = json.dumps({"trace": self.title, "numbers": number, "order": "C", "arrays": index}, indent=1)
        (folder / "index.json").write_text(text + "\n", encoding="utf8")
        return folder

    def to_html(self, path) -> Path:
        """One file that steps through the pass in a browser, alone: no server, no network. Returns its path.

        It shows the first picture of the batch; of large arrays so many channels, rows and columns as are named in
        the page itself. Keys: left and right go from layer to layer, up and down from position to position.
        """
        path = Path(path)
        path.write_text(stepper.page(self), encoding="utf8")
        return path


def _words(entry, fixed):
    """The numbers of an array as whole ones to print, how many digits each has, and how many were out of reach."""
    flat = entry.array.ravel()
    if fixed is None:
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity
            return flat.astype(np.float32).view(np.uint32).tolist(), 8, 0
    whole, fraction = fixed
    bits = whole + fraction
    if np.isnan(flat.astype(np.float64)).any():
        raise ValueError(f"{entry.name} has NaN in it, which fixed={fixed} cannot hold")
    scaled = np.rint(flat.astype(np.float64) * 2.0**fraction)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    words = np.clip(scaled, low, high).astype(np.int64) & (2**bits - 1)
    return words.tolist(), -(-bits // 4), int(((scaled < low) | (scaled > high)).sum())


# ---- where the source is ---------------------------------------------------------------------------


@functools.cache
def source_of(function, name="", cls=None) -> str:
    """ "layers/conv.py:62": the line of a function that makes `name`, or its first line; "" where it has no file.

    cls: the class whose helpers, `self._name(...)`, are looked into as well.
    """
    try:
        first, lines = _lines(function)
        file = Path(inspect.getsourcefile(inspect.unwrap(function)))
    except (OSError, TypeError):
        return ""
    number = _line_of(name, lines, function.__name__)
    if number is None:
        for helper in re.findall(r"self\.(_\w+)\(", "".join(lines)) if cls else ():
            first_of_helper, lines_of_helper = _lines(getattr(cls, helper))
            found = _line_of(name, lines_of_helper, helper)
            if found is not None:
                first, number = first_of_helper, found
                break
    inside = file.is_relative_to(PACKAGE)
    return f"{file.relative_to(PACKAGE).as_posix() if inside else file.name}:{first + (number or 0)}"


def _lines(function):
    """(the number of the line `def ...`, the lines from there on)"""
    lines, first = inspect.getsourcelines(function)
    start = next((i for i, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
    return first + start, lines[start:]


def _line_of(name, lines, function):
    """Which of the lines makes the array of this name; None when none says so, or when it came in as an argument."""
    if name in ("", "x", "grad_y", "logits", "labels"):
        return None
    made = re.escape(name.removeprefix("grad_"))
    patterns = [rf"self\.{made}\.grad\b.*="] if name.startswith("grad_") else []
    patterns += [rf"^\s*(self\.)?{re.escape(name)}\b[^=()]*=[^=]", rf"save\(.*\b{re.escape(name)}="]
    patterns += [r"^\s*return\b"] if name in ("y", "grad_x", "loss", "grad_logits") else []
    if function == "__init__":
        patterns = [rf"self\.{re.escape(name)}\s*="]
    return next((i for p in patterns for i, line in enumerate(lines) if i and re.search(p, line)), None)


# ---- the pass --------------------------------------------------------------------------------------


class _Recorder:
    """Takes a network through one pass, layer by layer, and writes down what it sees."""

    def __init__(self):
        self.entries: dict[str, Entry] = {}
        self.layers: dict[str, dict] = {}
        self.held = {}  # x and y of each layer, for its backward

    def forward(self, layer, path, x):
        if kind_of(layer) is Sequential:
            for name, child in layer.children().items():
                x = self.forward(child, f"{path}.{name}" if path else name, x)
            return x
        if kind_of(layer) is Towers:
            pairs = enumerate(zip(layer.stages, x, strict=True))
            return tuple(self.forward(stage, f"{path}[{t}]", one) for t, (stage, one) in pairs)
        held = _hosts(x)  # before forward: a layer that writes into its input is seen for what it did
        y = layer.forward(x)
        self.keep(layer, path, held, _hosts(y), forward_parts)
        return y

    def loss(self, layer, path, logits, labels):
        held = host(logits), np.array(to_numpy(labels) if is_array(labels) else labels)
        loss = layer.forward(logits, labels)
        self.keep(layer, path, held, host(loss), forward_parts)
        grad_logits = layer.backward()
        self.add(layer, path, backward_parts(layer, *self.held[path], None, host(grad_logits)))
        return grad_logits

    def backward(self, layer, path, grad_y):
        if kind_of(layer) is Sequential:
            for name, child in reversed(layer.children().items()):
                grad_y = self.backward(child, f"{path}.{name}" if path else name, grad_y)
            return grad_y
        if kind_of(layer) is Towers:
            pairs = enumerate(zip(layer.stages, grad_y, strict=True))
            return tuple(self.backward(stage, f"{path}[{t}]", one) for t, (stage, one) in pairs)
        held = _hosts(grad_y)
        grad_x = layer.backward(grad_y, input_grad=True)
        self.add(layer, path, backward_parts(layer, *self.held[path], held, _hosts(grad_x)))
        return grad_x

    def keep(self, layer, path, x, y, parts):
        settings = {name: getattr(layer, name) for name in SETTINGS if hasattr(layer, name)}
        if kind_of(layer) is Subsampling:
            settings |= {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
        self.layers[path] = {"type": type(layer).__name__, "kind": kind_of(layer).__name__, **settings}
        self.held[path] = x, y
        self.add(layer, path, parts(layer, x, y))

    def add(self, layer, path, parts):
        owned = {part.name for part in parts if part.kind == "parameter"}
        owned |= {
            e.name.rpartition(".")[2]
            for e in self.entries.values()
            if e.layer == path and e.kind == "parameter"
        }
        for part in parts:
            several = isinstance(part.array, tuple)
            for t, array in enumerate(part.array if several else [part.array]):
                name = f"{path}[{t}].{part.name}" if several else f"{path}.{part.name}".lstrip(".")
                if name in self.entries:
                    raise ValueError(
                        f"trace: {layer} makes a second {name!r}; give it or its layer another name"
                    )
                cls = type(layer)
                method = {"forward": cls.forward, "backward": cls.backward, "parameter": cls.__init__}[
                    part.kind
                ]
                source = source_of(part.maker) if part.maker else source_of(method, part.name, cls)
                array = np.asarray(array)
                batched = array.ndim > 0 and part.name.rpartition(".")[2].removeprefix("grad_") not in owned
                self.entries[name] = Entry(name, array, part.kind, path, part.formula, source, batched)


def _hosts(value):
    return tuple(host(array) for array in value) if isinstance(value, tuple) else host(value)


def _placed(model, value):
    """A copy where the model wants it; of a tuple, which is what the layers between towers take, each on its device."""
    if isinstance(value, tuple):
        return tuple(d.asarray(host(v)) for d, v in zip(model.devices, value, strict=True))
    return model.device.asarray(host(value))


def trace(model: Layer, x, labels=None, *, grad_y=None, loss: Layer | None = None) -> Trace:
    """Every array of one forward pass, and of the backward pass after it, by name: a Trace.

    model: a network or a single layer, in the mode, dtype and place that it has; a copy of it does the work, so that
    nothing of yours changes, dropout's count of steps included. x: the input, from any device.
    labels: then the loss follows (`model.loss`, or `loss`, a loss layer) and the pass back. Or grad_y, the upstream
    gradient of what the model gives; with neither, forward only.

    Names: "conv1.columns"; in towers "conv2[0].columns"; of a single layer "columns". Columns are (N, C*kh*kw, OH*OW),
    with groups (N, G, C/G*kh*kw, OH*OW).
    Raises TypeError for what is no layer, ValueError for labels without a loss, a loss without labels, labels beside
    grad_y; and what the layers raise for arrays that they cannot take.

    >>> from minialex.layers import Linear
    >>> list(trace(Linear(3, 2), np.ones((1, 3), dtype=np.float32)))
    ['x', 'weight', 'bias', 'y']
    """
    if not isinstance(model, Layer):
        raise TypeError(f"trace takes a layer or a network, not a {type(model).__name__}")
    if labels is not None and grad_y is not None:
        raise ValueError("trace: give labels, or grad_y, not both: the loss makes grad_y from the labels")
    title = str(model)
    model, loss = copy.deepcopy((model, loss))
    alone = isinstance(model, Loss)
    loss = loss or getattr(model, "loss", None)
    if alone and (labels is None or grad_y is not None):
        raise ValueError(f"trace: {title} is a loss: give labels, and no grad_y")
    if labels is not None and not alone and not isinstance(loss, Loss):
        raise ValueError(
            f"trace: labels need a loss, and {title} has none: give loss=mx.SoftmaxCrossEntropy(), or grad_y"
        )
    for parameter in model.parameters():
        parameter.grad = None  # what backward forgets to set must not be left over from before
    recorder = _Recorder()
    x = _placed(model, x)
    whole = kind_of(model) is Sequential  # then x and grad_x have names without a layer, too
    if whole:
        recorder.entries["x"] = Entry("x", host(x), "forward", "", "x is what the network is given", "")
    if alone:
        recorder.loss(model, "", x, labels)
        return Trace(title, recorder.entries, recorder.layers)
    y = recorder.forward(model, "", x)
    if labels is not None:
        grad_y = recorder.loss(loss, "loss", y, labels)
    elif grad_y is not None:
        grad_y = _placed(model, grad_y)
    if grad_y is not None:
        grad_x = recorder.backward(model, "", grad_y)
        if whole:
            formula = "grad_x = dloss / dx, the gradient of what the network was given"
            recorder.entries["grad_x"] = Entry("grad_x", host(grad_x), "backward", "", formula, "")
    return Trace(title, recorder.entries, recorder.layers)
