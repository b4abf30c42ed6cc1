"""gradcheck: are a layer's gradients right? Measured by moving each number a little, both ways.

With a random upstream gradient g, the layer becomes one number, f = sum of forward(x) * g. Its derivative by any
entry e of the input or of a parameter is measured as a central difference in float64,

    (f(e + h) - f(e - h)) / 2h

and compared with what `backward(g)` says, to five digits of that entry itself: how large others are does not matter.
What rounding can do to the measurement is allowed for, by the magnitudes that were summed. Where they disagree, the
slope to the left and the slope to the right are measured as well: if these two differ, and do not meet when h is made
smaller, then the function has a *kink* there (ReLU at 0, two equal maxima in a pooling window), and no derivative
exists to compare with, whatever backward says: where the ties of several windows add up, not even a value between the
two slopes. Otherwise it is a *bug*.

A parameter that is dealt out to two towers is checked as one whole array, under its grouped name. What one pass cannot
show, such as a gradient that adds up over passes, is looked for in other passes, by passes.py.
"""

import copy
from dataclasses import dataclass, field

import numpy as np

from minialex.check.holdings import unlisted, writers
from minialex.check.html import as_html
from minialex.check.layouts import laid_out_like
from minialex.check.passes import in_passes, unsteady
from minialex.devices.device import to_numpy
from minialex.errors import DtypeMismatch
from minialex.layers.init import generator
from minialex.layers.layer import Array, Layer
from minialex.layers.loss import Loss
from minialex.shapes import positive
from minialex.weights import export_grouped, gather, put, scatter
from minialex.words import a_or_an, counted

STEP = 1e-5
RELATIVE = 1e-5  # tolerance, measured against the gradient itself
ABSOLUTE = 1e-10  # slopes below this are nothing: a layer that computes with numbers near 1 rounds so much
ROUNDING = 32 * np.finfo(np.float64).eps  # of a sum, as a share of the magnitudes that were summed


@dataclass(frozen=True)
class Entry:
    """One gradient that was checked."""

    array: str  # "x", "weight", "conv1.bias", ...
    index: tuple[int, ...]
    backward: float  # what backward says
    measured: float  # the central difference
    left: float  # the slopes on either side, measured where the two above disagree
    right: float
    verdict: str  # "pass", "kink" or "bug"


@dataclass
class Report:
    """What gradcheck found. Truthy when every gradient passes; printed, it says where one does not.

    entries: every checked gradient; shapes: of each array, by name; sizes in `checked` say how many were checked.
    faults: what else is wrong with the layer, in sentences: seen in a second pass, in evaluation mode, in float32, ...
    """

    title: str
    shapes: dict[str, tuple[int, ...]]
    entries: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __bool__(self):
        return not self.faults and all(entry.verdict == "pass" for entry in self.entries)

    def of(self, array: str) -> list[Entry]:
        """The entries of one array."""
        return [entry for entry in self.entries if entry.array == array]

    def with_verdict(self, verdict: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.verdict == verdict]

    @property
    def bugs(self) -> list[Entry]:
        return self.with_verdict("bug")

    @property
    def kinks(self) -> list[Entry]:
        return self.with_verdict("kink")

    def __str__(self):
        lines = [f"gradcheck of {self.title}"]
        for name, shape in self.shapes.items():
            entries = self.of(name)
            count = {v: sum(e.verdict == v for e in entries) for v in ("pass", "kink", "bug")}
            verdict = "bug" if count["bug"] else "kink" if count["kink"] else "pass"
            size = int(np.prod(shape))
            checked = f"{len(entries)}" if len(entries) == size else f"{len(entries)} of {size}"
            worst = max((abs(e.backward - e.measured) for e in entries), default=0.0)
            lines.append(
                f"  {verdict:<5}{name:<13} {shape!s:<17} {checked} checked, "
                f"{counted(count['kink'], 'kink')}, {counted(count['bug'], 'bug')}; largest difference {worst:.1e}"
            )
        wrong = sorted(self.bugs + self.kinks, key=lambda e: e.verdict)  # bugs before kinks
        for e in wrong[:10]:
            lines.append(
                f"  {e.verdict:<5}{e.array}{list(e.index)}: backward says {e.backward:.6g}, measured {e.measured:.6g}"
                + (f" (left {e.left:.6g}, right {e.right:.6g})" if e.verdict == "kink" else "")
            )
        if len(wrong) > 10:
            lines.append(f"  ... and {len(wrong) - 10} more")
        lines += [f"  bug  {fault}" for fault in self.faults]
        if self.kinks and not self.bugs:
            lines.append("  At a kink there is no derivative to compare with: move the input away from it.")
        return "\n".join(lines)

    def __repr__(self):
        """One line: what pytest shows of `assert gradcheck(...)`."""
        wrong = self.bugs or self.kinks
        if self.faults and not self.bugs:
            return f"<gradcheck of {self.title}: bug: {self.faults[0]}>"
        if not wrong:
            return f"<gradcheck of {self.title}: {counted(len(self.entries), 'gradient passes', 'gradients pass')}>"
        e = wrong[0]
        what = f"{e.verdict} at {e.array}{list(e.index)}: backward says {e.backward:.6g}, measured {e.measured:.6g}"
        return f"<gradcheck of {self.title}: {what}; print it for more>"

    def _repr_pretty_(self, printer, cycle):
        printer.text(str(self))  # notebooks show it whole

    def _repr_html_(self):
        """Green down its side where all pass, grey where nothing is wrong but a kink, red for a bug."""
        return as_html(str(self), "right" if self else "wrong" if self.bugs or self.faults else "not seen")


def gradcheck(
    layer: Layer, x: Array, labels=None, rng: "int | np.random.Generator" = 0, max_entries: int = 5000
) -> Report:
    """Compare backward of a layer, a loss or a whole model with measured gradients, for the input and all parameters.

    layer: stays as it is; a copy in float64 is checked, on the layer's device, with dropout's mask held.
    x: the input; labels: for a loss. rng: a generator or a seed, for the upstream gradient. On the CPU both lie in
    memory as x does, and are read-only: writing into a caller's array raises.
    max_entries: of a larger array so many entries are checked, drawn at random; the report says so.
    Raises what the layer raises for an input that it cannot take, and ValueError for a gradient that is missing or
    has the wrong shape, and for an input or a parameter with a NaN or an infinite number in it.

    Where the gradients are right, the layer is looked at in other passes, and the report names what is wrong in them:
    the same pass again; with `input_grad=False`; in each layout of `strategies.LAYOUTS`; after a batch of four more
    pictures, and with it; the same with a batch of one picture; with a thousand times the upstream gradient, and a
    thousandth; in the other mode, training or evaluation; with numbers a hundred times as large; in float32; if it has
    no parameters, with twice the channels, 6 at least, and larger pictures. A layer or Parameter inside that
    `children()` and `parameters()` do not list is named, and so is a layer inside a model that writes into its input.

    It cannot see: that forward computes something else than it should, if backward is its derivative (compare with
    loops, `minialex.naive`); what goes wrong with still larger batches, at the 6th channel of a layer whose
    parameters fix the number of channels, or in shapes and settings that it is not given (give it several: that is what
    `strategies` are for); what entries that were left out by max_entries hide; slopes below 1e-10; a fault at a kink;
    memory layouts on a GPU; float16. Batches that forward refuses with a ValueError are not held against it, nor is
    one picture in whose gradients it has numbers that are not finite: it may normalise over the batch.

    >>> from minialex.layers import ReLU
    >>> print(gradcheck(ReLU(), np.array([[-1.0, 2.0]])))
    gradcheck of ReLU
      pass x             (1, 2)            2 checked, 0 kinks, 0 bugs; largest difference ...
    >>> gradcheck(ReLU(), np.array([[-1.0, 0.0]])).kinks[0].index
    (0, 1)
    """
    rng, max_entries = generator(rng), positive(max_entries, "max_entries")
    if not isinstance(layer, Layer):
        raise TypeError(
            f"gradcheck takes a layer, then its input: gradcheck(layer, x); not {a_or_an(_kind(layer))}"
        )
    original, layer = layer, copy.deepcopy(layer).astype("float64")
    named = layer.named_parameters()
    names = [name for name, _ in named]
    if "x" in names or len({(name, p.part) for name, p in named}) < len(names):
        raise ValueError(
            f"gradcheck: {layer} has parameters {', '.join(names)}; they need names of their own, and none may be x"
        )
    for _, p in named:
        p.grad = None  # what backward forgets to set must not be left over from before
    model = to_numpy(x)
    x = laid_out_like(model.astype(np.float64), model)
    arrays = {"x": x, **gather(named, [p.value for _, p in named])}
    for name, array in arrays.items():
        if bad := int(np.count_nonzero(~np.isfinite(array))):
            raise ValueError(
                f"gradcheck: of {name} {bad} of {array.size} numbers are NaN or infinite; no slope is measured there"
            )
    function = _Function(layer, labels, x)
    report = Report(f"{layer}", {name: array.shape for name, array in arrays.items()})
    report.faults += unlisted(layer)
    try:
        gradients, y = function.backward(x, rng), function.y
    except DtypeMismatch:
        if not report.faults:  # what is not listed stays in float32: that is why
            raise
        return report
    size = _largest(array * gradients[name] for name, array in arrays.items())
    for name, array in arrays.items():
        for flat in _chosen(array.size, max_entries, rng):
            index = tuple(int(i) for i in np.unravel_index(flat, array.shape))
            report.entries.append(_check(function, arrays, name, index, float(gradients[name][index]), size))
    function.load(arrays)
    report.faults += unsteady(function, x, y) + writers(function, x)
    if not report.bugs and not report.faults:
        report.faults += in_passes(original, function, arrays, gradients, size)
    return report


def _largest(contributions):
    """What the entries contribute to f, value times slope: the largest in magnitude, of those that are numbers."""
    return max(float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in contributions)


def _kind(value):
    """ "ndarray"; of a class, which stands where its instance should, "class Conv2D"."""
    return f"class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _chosen(size, most, rng):
    return range(size) if size <= most else np.sort(rng.choice(size, most, replace=False))


class _Function:
    """The layer as a function of its arrays: its output times the upstream gradient, whose sum is f."""

    def __init__(self, layer, labels, model):
        self.layer = layer
        self.labels = () if labels is None else (labels,)
        self.model = model  # the array whose memory layout x and the upstream gradient have
        self.counters = layer.counters()
        self.buffers = [to_numpy(buffer.value).copy() for _, buffer in layer.named_buffers()]
        self.upstream = self.y = None

    def on(self, layer):
        """The same function of another layer."""
        other = copy.copy(self)
        other.layer = layer
        return other

    def forward(self, x):
        self.layer.set_counters(self.counters)  # the same dropout mask every time
        for (_, buffer), value in zip(self.layer.named_buffers(), self.buffers, strict=True):
            put(buffer.value, value)  # and the same running means
        return self.layer.forward(self.give(x), *self.labels)

    def give(self, array):
        """A copy on the layer's device; on the host read-only, so that a layer that writes into it is found out."""
        array = laid_out_like(array, self.model)
        array.flags.writeable = False
        return self.layer.device.asarray(array)

    def draw(self, shape, rng):
        """An upstream gradient: random, of both signs, and far from 0."""
        return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))

    def backward(self, x, rng=None, input_grad=True):
        """What backward says, by name, on the host; with rng, for an upstream gradient that is drawn now."""
        y = self.forward(x)
        self.y = to_numpy(y).copy()
        if rng is not None:
            self.upstream = self.draw(y.shape, rng)
        g = float(self.upstream) if isinstance(self.layer, Loss) else self.give(self.upstream.astype(y.dtype))
        grad_x = self.layer.backward(g, input_grad=input_grad)
        self.returned = {"y": y, "x": grad_x} if input_grad else {"y": y}
        for name, array, gradient in (
            *([("x", x, grad_x)] if input_grad else []),
            *((name, p.value, p.grad) for name, p in self.layer.named_parameters()),
        ):
            if gradient is None or gradient.shape != array.shape:
                found = "None" if gradient is None else f"shape {gradient.shape}"
                raise ValueError(
                    f"gradcheck: {self.layer} gives {found} as gradient of {name}, which has shape {array.shape}"
                )
        gradients = export_grouped(self.layer, grads=True)
        return {"x": to_numpy(grad_x).copy(), **gradients} if input_grad else gradients

    def load(self, arrays):
        """Let the layer's parameters have these values."""
        named = self.layer.named_parameters()
        parts = scatter(named, {name: array for name, array in arrays.items() if name != "x"})
        for (_, p), part in zip(named, parts, strict=True):
            put(p.value, part)

    def __call__(self, arrays):
        self.load(arrays)
        return to_numpy(self.forward(arrays["x"])) * self.upstream


def _check(function, arrays, name, index, backward, size):
    array = arrays[name]
    value = array[index]

    def at(offset):
        array[index] = value + offset
        result = function(arrays)
        array[index] = value
        return result

    def rounding(magnitudes):
        return ROUNDING * magnitudes / h

    def noise():
        """Sums inside the layer, of numbers as large as `size`, may round more: then wider steps come nearer."""
        wider = [abs((at(wide * h) - at(-wide * h)).sum() / (2 * wide * h) - backward) for wide in (10, 100)]
        return errors[-1] <= allowed + rounding(size) and min(wider) <= max(allowed, errors[-1] / 3)

    left = right = float("nan")
    verdict, gaps, errors = "bug", [], []
    for step in (STEP, STEP / 10):
        h = step * max(1.0, abs(value))
        up, down = at(h), at(-h)
        measured = (up - down).sum() / (2 * h)
        errors.append(abs(measured - backward))
        changed = float(np.abs(up[up != down]).sum())  # what does not hang on the entry is the same in both
        allowed = ABSOLUTE + RELATIVE * max(abs(measured), abs(backward)) + rounding(changed)
        curved = (
            len(errors) == 2 and errors[1] < errors[0] / 50
        )  # as h**2: it is the measurement that was wrong
        if np.isfinite(errors[-1]) and (errors[-1] <= allowed or curved or noise()):
            verdict, left, right = (
                "pass",
                float("nan"),
                float("nan"),
            )  # now: a kink may be out of reach of this step
            break
        here = at(0.0)
        left, right = (here - down).sum() / h, (up - here).sum() / h
        gaps.append(abs(right - left))
    else:
        meeting = gaps[1] < gaps[0] / 5  # a tenth, where the function is not kinked but curved
        if not meeting and gaps[1] > ABSOLUTE + rounding(size) + 1e-3 * max(abs(left), abs(right)):
            verdict = "kink"
    return Entry(name, index, backward, float(measured), float(left), float(right), verdict)
