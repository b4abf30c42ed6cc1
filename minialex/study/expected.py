"""What a training will cost, said before it begins: parameters, memory, pictures a second, and so how long it takes.

Time is measured: two training steps of a copy, the second one timed, with random numbers for pictures. The network, its
random states and the optimizer's are as they were. Memory follows a rule:

    bytes = 9 * parameters + 2 * batch * what forward keeps for backward + what does not grow

The first are weights, gradients and momentum, and six copies while a checkpoint is written (on a GPU these are not its
own, so it is 3 there). What forward keeps is counted in the copy; backward has gradients of about the same sizes, whose
memory is used again. What does not grow: the budget of each thread for im2col, and on a CPU Python and its packages. In
runs of AlexNet at batch 128, its small version, ResNet-18 and ResNet-20, measured peaks were 0.8 to 1.2 times that;
"about" means: within a factor of 1.5. Of a SmartNet all exits are counted.
"""

import copy
from dataclasses import dataclass

import numpy as np

from minialex.devices.device import Device, is_array
from minialex.layers.layer import Layer
from minialex.layers.model import Model
from minialex.layers.sequential import all_layers
from minialex.study.describe import summary
from minialex.study.timeline import measure_step
from minialex.training.evaluation import QUIET
from minialex.training.optim import SGD
from minialex.words import as_bytes, as_duration, counted

PYTHON = 150 * 10**6  # bytes of the interpreter with NumPy, its BLAS, Pillow and Matplotlib
TIMED = {"cpu": 12e9, "sim": 1e9, "cuda": 1e13}  # multiply-adds of the timed step's forward pass, at most


@dataclass(frozen=True)
class Expected:
    """Of a training: how many parameters, bytes of memory at the peak, seconds for a picture in training."""

    parameters: int
    memory: int
    step_seconds: float  # of a batch, without reading
    picture_seconds: float
    on: str

    def epoch_seconds(self, training: int, tested: int = 0) -> float:
        """How long an epoch takes: testing a picture is a third of learning it, one product of three."""
        return self.picture_seconds * (training + tested / 3)

    def __str__(self):
        rate = 1 / self.picture_seconds
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        size = f"{counted(self.parameters, 'parameter')}, about {as_bytes(self.memory)} of memory"
        return f"{size}, about {shown} pictures a second on {self.on}"

    def time_for(self, training: int, tested: int, epochs: int) -> str:
        """In words: an epoch, and those that are to come.

        >>> Expected(10, 2**30, 1.0, 0.01, "cpu").time_for(60_000, 3_000, epochs=90)
        'about 10 min an epoch, 15 h for 90 epochs'
        """
        epoch = self.epoch_seconds(training, tested)
        text = f"about {as_duration(epoch)} an epoch"
        return text if epochs == 1 else f"{text}, {as_duration(epochs * epoch)} for {epochs} epochs"


def expect(model: Model, batch_size: int, read_seconds: float = 0.0) -> Expected:
    """What a training of a network will cost, on the devices where it is, by two steps of a copy.

    batch_size: of the training; the timed steps have fewer pictures where they are costly. read_seconds: that one
    picture takes to be read: on a CPU the same cores do both, with a GPU the slower of both counts.

    >>> from minialex.models import alexnet
    >>> model = alexnet(num_classes=3, devices="cpu", width=0.0625, image_size=67)
    >>> found = expect(model, batch_size=10)
    >>> found.parameters == sum(p.value.size for p in model.parameters()), found.picture_seconds > 0
    (True, True)
    """
    devices = list(dict.fromkeys(getattr(model, "devices", (model.device,))))
    device = devices[0]
    few = pictures_to_time(summary(model).multiply_adds, batch_size, device)
    twin = copy.deepcopy(model).train()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((few, *model.picture_shape), dtype=np.float32)
    x = device.asarray(x.astype(twin.dtype or np.float32))
    optimizer = SGD(twin.parameters(), lr=0.0)
    with np.errstate(**QUIET):
        logits = twin.forward(x)
        kept = kept_by(twin)
        labels = rng.integers(0, logits.shape[-1], few)
        labels = twin.loss.take_labels(logits, labels)
        twin.loss.forward(logits, labels)
        twin.backward(twin.loss.backward())
        optimizer.step()
        spans = measure_step(twin, x, labels, optimizer)
    update = [span.end_s - span.start_s for span in spans if span.name == "update"]
    seconds = max(span.end_s for span in spans)
    step = (seconds - max(update)) * batch_size / few + max(update)
    parameters = sum(p.value.size for p in model.parameters())
    memory = memory_of(parameters, model.dtype, kept * batch_size / few, devices)
    del twin, optimizer, x, logits
    for each in devices:
        each.free_memory()
    each = step / batch_size
    each = each + read_seconds if device.kind != "cuda" else max(each, read_seconds)
    return Expected(parameters, memory, step, each, " and ".join(d.name for d in devices))


def pictures_to_time(multiply_adds: int, batch_size: int, device: Device) -> int:
    """How many pictures the timed step has: all of a batch, or as many as keep it short; 2 at least, if there are.

    >>> pictures_to_time(724_406_816, 128, Device("cpu")), pictures_to_time(10**10, 64, Device("cpu"))
    (16, 2)
    """
    most = int(TIMED[device.kind] // max(1, multiply_adds))
    return min(batch_size, max(2, most))


def kept_by(model: Layer) -> int:
    """The bytes that forward keeps for backward; an array that several layers keep counts once."""
    found: dict[int, tuple] = {}
    for layer in all_layers(model):
        for array in _arrays_in(vars(layer.saved) if layer.saved else {}):
            owner = array
            while getattr(owner, "base", None) is not None:
                owner = owner.base
            if array.nbytes > found.get(id(owner), (0,))[0]:
                found[id(owner)] = array.nbytes, owner
    return sum(size for size, _ in found.values())


def _arrays_in(value):
    if is_array(value):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _arrays_in(inner)


def memory_of(parameters: int, dtype, kept: float, devices: list[Device]) -> int:
    """The rule of this file. kept: by forward, of a whole batch."""
    size = np.dtype(dtype or np.float32).itemsize
    columns = sum(device.column_budget * device.threads for device in devices)
    copies, python = (3, 0) if devices[0].kind == "cuda" else (9, PYTHON)
    return round(copies * size * parameters + 2 * kept + columns + python)
