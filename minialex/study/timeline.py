"""When each tower computes and when arrays cross: one training step, measured layer by layer, or planned.

The step is the model's own: its layers are asked to note the time before and after, and nothing else changes.
On a CPU, and on `sim`, time is the host's clock. On CUDA it is that of events on each device's stream, so that nothing
waits inside the step; the devices are brought to a stop before it, where their clocks are set to 0, and after it.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from minialex.devices.device import Device
from minialex.layers.layer import Layer
from minialex.layers.model import Model
from minialex.layers.sequential import Sequential, in_mode
from minialex.layers.settings import number_or_nan
from minialex.layers.towers import Broadcast, Exchange, Gather, Towers
from minialex.study.describe import Row
from minialex.training.arrays import check_model, lent
from minialex.training.optim import SGD, check_optimizer
from minialex.words import a_or_an

CROSSINGS = (Broadcast, Exchange, Gather)


@dataclass(frozen=True)
class Span:
    """Something that took time in a step.

    name: of the layer; "loss", "update"; a crossing's is that of the layer that it leads to.
    tower: 0 or 1; None for a crossing, which concerns both. device: where it ran; of a crossing, "sim:0, sim:1".
    kind: "forward", "backward", "crossing" or "update".
    start_s, end_s: seconds since the step began. A crossing lasts from when the first tower gets there until both
    have what they need: it includes the waiting of one tower for the other.
    bytes: what goes from one tower to the other, all ways together; of crossings. Both on one device, they stay.
    back: in the backward pass?
    """

    name: str
    tower: int | None
    device: str
    kind: str
    start_s: float
    end_s: float
    bytes: int = 0
    back: bool = False


def measure_step(
    model: Sequential, x, labels, optimizer: SGD | None = None, *, loss: Layer | None = None
) -> list[Span]:
    """One training step of a model, measured: its spans, by the time at which they start.

    x: a batch, on the host or on the model's first device; labels: on the host, or there as well.
    The step is an ordinary one, in training mode: gradients are set, dropout counts it, and `optimizer` makes its
    step, where one is given. The mode is put back. The first step of a program pays for much that later ones don't:
    measure the second or third. loss: a loss layer; left out, the model's own.
    Raises TypeError for what is no Sequential, no optimizer or no loss, ValueError for a model without a loss.

    >>> from minialex.models import alexnet
    >>> model = alexnet(num_classes=3, devices="cpu", width=0.0625, image_size=67)
    >>> spans = measure_step(model, np.zeros((2, 3, 67, 67), dtype=np.float32), np.array([0, 2]))
    >>> [(span.name, span.device, span.bytes) for span in spans if span.kind == "crossing"][:2]
    [('conv1', 'cpu, cpu', 107736), ('conv3', 'cpu, cpu', 1152)]
    """
    check_model(model, "measure_step")
    if not isinstance(model, Sequential):
        raise TypeError(f"measure_step takes a Sequential, not {a_or_an(type(model).__name__)}")
    if optimizer is not None:
        check_optimizer(optimizer, "measure_step")
    with lent(model, loss):
        return _measured(model, x, labels, optimizer)


def _measured(model, x, labels, optimizer):
    lanes = next((layer.devices for layer in model if isinstance(layer, Towers)), (model.device,))
    clocks = {device: _Clock(device) for device in (model.device, *lanes)}
    marks: list[tuple[dict, list]] = []  # (what a span is but for its times, [(clock, start, end), ...])

    @contextmanager
    def span(devices, **what):
        started = [(clocks[device], clocks[device].mark()) for device in dict.fromkeys(devices)]
        yield
        marks.append((what, [(clock, start, clock.mark()) for clock, start in started]))

    x = model.device.asarray(x)
    with in_mode(model, training=True), _watched(model, span):
        for clock in clocks.values():
            clock.wait()
        for clock in clocks.values():
            clock.zero = clock.mark()
        logits = model.forward(x)
        labels = model.loss.take_labels(logits, labels)
        what = {"name": "loss", "tower": 0, "device": model.device.name}
        with span([model.device], **what, kind="forward"):
            model.loss.forward(logits, labels)
        with span([model.device], **what, kind="backward", back=True):
            grad_logits = model.loss.backward()
        model.backward(grad_logits)
        if optimizer is not None:
            with ExitStack() as both:
                for tower, device in enumerate(lanes):
                    update = {"name": "update", "tower": tower, "device": device.name, "kind": "update"}
                    both.enter_context(span([device], **update))
                optimizer.step()
    for clock in clocks.values():
        clock.wait()
    spans = [
        Span(
            **what,
            start_s=min(clock.seconds(start) for clock, start, _ in times),
            end_s=max(clock.seconds(end) for clock, _, end in times),
        )
        for what, times in marks
    ]
    return sorted(spans, key=lambda span: span.start_s)


def plan_step(
    rows: Iterable[Row], batch: int, macs_per_s: float = 400e9, bytes_per_s: float = 4e9
) -> list[Span]:
    """A training step as it would be if nothing but multiply-adds and crossings took time: counts over two speeds.

        seconds = batch * multiply_adds / towers / macs_per_s,    of a crossing: batch * bytes one way / bytes_per_s

    rows: those of `summary(model).rows`, for one picture; a network of one or two towers. Forward as the rows come,
    backward reversed: two products each, in the first layer one, as nobody needs the pictures' gradient. An exchange
    sends both ways at once. Layers without multiply-adds, loss and update are left out, and a tower waits where it has
    nothing to do. The speeds left out are assumptions: about half of what a GTX 580 (2010) and its bus do at best.
    Raises ValueError for a batch or a speed that is no number above 0, TypeError for what are no rows.

    >>> from minialex.models import alexnet
    >>> from minialex.study.describe import summary
    >>> planned = plan_step(summary(alexnet(devices="cpu", width=0.0625, image_size=67)).rows, batch=128)
    >>> [(span.name, span.tower, span.kind, span.bytes) for span in planned[:2]]
    [('conv1', None, 'crossing', 6895104), ('conv1', 0, 'forward', 0)]
    """
    for what, number in (("batch", batch), ("macs_per_s", macs_per_s), ("bytes_per_s", bytes_per_s)):
        if not 0 < number_or_nan(number) < math.inf:
            raise ValueError(f"plan_step: {what} is more than 0, not {number!r}")
    given, rows = rows, list(rows) if isinstance(rows, Iterable) else [rows]
    if not all(isinstance(row, Row) for row in rows):
        raise TypeError(f"plan_step takes summary(model).rows, not {a_or_an(type(given).__name__)}")
    spans, now = [], 0.0
    first = next((row for row in rows if row.multiply_adds), None)
    for row, back in [(row, False) for row in rows] + [(row, True) for row in reversed(rows)]:
        if row.crossing_bytes and not (back and row.kind == "Broadcast"):
            one_way = batch * row.crossing_bytes / (2 if row.kind == "Exchange" else 1)
            seconds = one_way / bytes_per_s
            what = (row.name.partition("_")[2] or row.name, None, "GPU 0, GPU 1", "crossing")
            spans.append(Span(*what, now, now + seconds, batch * row.crossing_bytes, back))
        else:
            products = 2 if back and row is not first else 1
            seconds = products * batch * row.multiply_adds / row.towers / macs_per_s
            kind = "backward" if back else "forward"
            for tower in range(row.towers if seconds else 0):
                spans.append(Span(row.name, tower, f"GPU {tower}", kind, now, now + seconds, back=back))
        now += seconds
    return spans


@contextmanager
def _watched(model: Model, span: Callable):
    """Inside a `with` block, each call of a layer's forward or backward is a span; a tower's stages have their own."""
    watched: list[Layer] = []

    def watch(layer, devices, name, tower, kind=None, crossing_bytes=lambda x: 0):
        def forward(original, x):
            layer_bytes.append(crossing_bytes(x))
            with span(devices, **what, kind=kind or "forward", bytes=layer_bytes[-1]):
                return original(x)

        def backward(original, *grad, **options):
            back = {"kind": kind or "backward", "bytes": layer_bytes.pop(), "back": True}
            with span(devices, **what, **back):
                return original(*grad, **options)

        layer_bytes: list[int] = []
        device = ", ".join(device.name for device in devices)
        what = {"name": name, "tower": tower, "device": device}
        # What is set on the layer itself stands before what its class has.
        layer.forward, layer.backward = partial(forward, layer.forward), partial(backward, layer.backward)
        watched.append(layer)

    try:
        names = list(model.layers)
        for (name, layer), following in zip(model.layers.items(), [*names[1:], names[-1]], strict=True):
            if isinstance(layer, Towers):
                for tower, stage in enumerate(layer.stages):
                    watch(stage, (stage.device,), name, tower)
            elif isinstance(layer, CROSSINGS):
                counted = partial(_bytes_crossing, layer)
                watch(layer, layer.devices, following, None, "crossing", counted)
            else:
                watch(layer, (layer.device,), name, 0)
        yield
    finally:
        for layer in watched:
            del layer.forward, layer.backward


def _bytes_crossing(layer, x):
    """What goes from one tower to the other; on the way back it is as much."""
    shapes = tuple(part.shape for part in x) if isinstance(x, tuple) else x.shape
    return layer.numbers_crossing(shapes) * (x[0] if isinstance(x, tuple) else x).dtype.itemsize


class _Clock:
    """The time on one device: `mark()` notes it, `seconds(mark)` is that since `zero`, to be read after `wait()`."""

    def __init__(self, device: Device):
        self.device, self.zero = device, None
        self.has_events = device.name.startswith("cuda")

    def mark(self):
        if not self.has_events:
            return time.perf_counter()
        with self.device:
            cuda = self.device.xp.cuda
            return cuda.get_current_stream().record(cuda.Event())

    def wait(self):
        if self.has_events:
            with self.device:
                self.device.xp.cuda.get_current_stream().synchronize()

    def seconds(self, mark) -> float:
        if not self.has_events:
            return mark - self.zero
        with self.device:
            return self.device.xp.cuda.get_elapsed_time(self.zero, mark) / 1000
