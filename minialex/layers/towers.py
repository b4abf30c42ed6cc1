"""Two towers on two devices, and the three places where arrays cross between them.

(Krizhevsky et al. 2012, section 3.5 and figure 2: half of the kernels on each GPU, which talk only in certain layers.)
Between Broadcast and Gather the value that goes from layer to layer is a tuple, one array for each tower, each on its
tower's device. Nothing here asks whether two devices are two: `transfer` to where an array already is costs nothing.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minialex.devices.device import Device, device_of, place, transfer
from minialex.errors import DeviceMismatch
from minialex.layers.branches import cannot_be_dealt_out
from minialex.layers.layer import Array, Layer
from minialex.layers.parameter import Buffer, Parameter
from minialex.layers.sequential import all_layers
from minialex.words import counted

if TYPE_CHECKING:
    from typing_extensions import Self

Pair = tuple[Array, ...]


class OnTwoDevices(Layer):
    """What layers between Broadcast and Gather share: they live on two devices, and take a tuple of arrays."""

    devices: tuple[Device, ...] = (Device("cpu"), Device("cpu"))

    def to(self, devices) -> "Self":
        self.devices = place(devices)
        self.device = self.devices[0]
        self.saved = self._output = None
        return self

    def check_input(self, xs) -> None:
        self._check_towers(xs, "input")

    def check_grad(self, grad_ys) -> None:
        self._check_towers(grad_ys, "gradient")
        for number, (grad_y, (shape, dtype)) in enumerate(zip(grad_ys, self.saved.outputs, strict=True)):
            if grad_y.shape != shape or grad_y.dtype != dtype:
                raise ValueError(
                    f"{self}: forward gave tower {number} {dtype} of shape {shape}, its gradient is {grad_y.dtype} "
                    f"of shape {grad_y.shape}"
                )

    def _check_towers(self, arrays, what):
        if not isinstance(arrays, tuple) or len(arrays) != len(self.devices):
            raise TypeError(
                f"{self} takes a tuple of {counted(len(self.devices), 'array')}, one for each tower; the {what} is a "
                f"{type(arrays).__name__}: Broadcast makes the tuple, Gather ends it"
            )
        for number, (array, device) in enumerate(zip(arrays, self.devices, strict=True)):
            if device_of(array) is not device:
                raise DeviceMismatch(
                    f"{self}: tower {number} is on {device.name}, its {what} on {device_of(array).name}"
                )


class Towers(OnTwoDevices):
    """y[t] = stage[t].forward(x[t]): one stage on each device, side by side; nothing crosses

    `Towers(stage0, stage1)`, or `Towers.split(layer)`, which deals a layer's filters, outputs or groups out to the
    two. The parameters of both carry the same name, "conv2.weight"; `parameter.part` says which rows of the whole
    each one holds. Both stages are started before anyone waits for the first, so that one thread feeds two GPUs.
    Raises ValueError for halves of layers in paths that are concatenated: with both towers side by side, the channels
    would stand in another order than in the whole.

    >>> from minialex.layers.linear import Linear
    >>> towers = Towers.split(Linear(3, 4))
    >>> x = np.ones((1, 3), dtype=np.float32)
    >>> [y.shape for y in towers.forward((x, x))]
    [(1, 2), (1, 2)]
    """

    names_children = False  # both stages are "conv2"

    def __init__(self, *stages: Layer):
        if len(stages) != 2:
            raise ValueError(f"Towers takes two stages, one for each device, not {len(stages)}")
        for layer in (layer for stage in stages for layer in all_layers(stage)):
            if getattr(layer, "concatenates", False) and any(p.part for p in layer.parameters()):
                raise ValueError(cannot_be_dealt_out(layer))
        self.stages = stages
        self.devices = tuple(stage.device for stage in stages)
        self.device = self.devices[0]

    @classmethod
    def split(cls, layer: Layer) -> "Towers":
        with layer.device:
            return cls(*layer.split(2))

    def forward(self, xs: Pair) -> Pair:
        return tuple(self.device.map(lambda tower: self.stages[tower].forward(xs[tower]), (0, 1)))

    def backward(self, grad_ys: Pair, input_grad: bool = True) -> Pair:
        grad_xs = self.device.map(
            lambda tower: self.stages[tower].backward(grad_ys[tower], input_grad=input_grad), (0, 1)
        )
        return tuple(grad_xs) if input_grad else None

    def to(self, devices) -> "Self":
        super().to(devices)
        for stage, device in zip(self.stages, self.devices, strict=True):
            stage.to(device)
        return self

    def check_grad(self, grad_ys) -> None:
        """Each stage checks its own shape."""
        self._check_towers(grad_ys, "gradient")

    def children(self) -> dict[str, Layer]:
        return {str(number): stage for number, stage in enumerate(self.stages)}

    def parameters(self) -> list[Parameter]:
        """conv2.weight of both towers, then conv2.bias of both."""
        return [p for pair in zip(*(stage.parameters() for stage in self.stages), strict=True) for p in pair]

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        pairs = zip(*(stage.named_parameters() for stage in self.stages), strict=True)
        return [
            (name if p.part else f"{number}.{name}", p)  # two wholes have names of their own
            for pair in pairs
            for number, (name, p) in enumerate(pair)
        ]

    def named_buffers(self) -> list[tuple[str, Buffer]]:
        return [
            (name if buffer.part else f"{number}.{name}", buffer)
            for number, stage in enumerate(self.stages)
            for name, buffer in stage.named_buffers()
        ]

    def counters(self) -> dict[str, int]:
        return self.stages[0].counters()  # the towers count alike

    def set_counters(self, counters: dict[str, int]) -> None:
        for stage in self.stages:
            stage.set_counters(counters)


class Broadcast(OnTwoDevices):
    """y = (x, x): the pictures, to both towers; backward adds what comes home, tower 0's first

    >>> Broadcast().forward(np.array([[5.0]]))
    (array([[5.]]), array([[5.]]))
    """

    def forward(self, x: Array) -> Pair:
        self.save(outputs=[(x.shape, x.dtype)] * 2)
        return tuple(transfer(x, device) for device in self.devices)

    def backward(self, grad_ys: Pair) -> Array:
        return sum_on(self.devices[0], grad_ys)

    def numbers_crossing(self, x_shape) -> int:
        return math.prod(x_shape)

    def check_input(self, x) -> None:
        Layer.check_input(self, x)


class Join(OnTwoDevices):
    """What Exchange and Gather share: they join channels, so there must be some."""

    def check_input(self, xs) -> None:
        super().check_input(xs)
        for x in xs:
            if x.ndim < 2:
                raise ValueError(f"{self} joins channels, (N, C, ...); the input has shape {x.shape}")


class Exchange(Join):
    """y[t] = concatenation of x[0] and x[1] along the channels, on each tower's device: each sees all channels

    Backward sends each part of the gradient home to the tower that it came from, where the two are added, tower 0's
    first. Crossing, one way: as many numbers as one tower has.

    >>> Exchange().forward((np.array([[1.0]]), np.array([[2.0]])))
    (array([[1., 2.]]), array([[1., 2.]]))
    """

    def forward(self, xs: Pair) -> Pair:
        whole = {device: joined(xs, device) for device in self.devices}  # once, if both are the same
        ys = tuple(whole[device] for device in self.devices)
        self.save(channels=[x.shape[1] for x in xs], outputs=[(y.shape, y.dtype) for y in ys])
        return ys

    def backward(self, grad_ys: Pair) -> Pair:
        grad_xs, first = [], 0
        for home, channels in zip(self.devices, self.saved.channels, strict=True):
            grad_xs.append(sum_on(home, [grad_y[:, first : first + channels] for grad_y in grad_ys]))
            first += channels
        return tuple(grad_xs)

    def numbers_crossing(self, x_shapes) -> int:
        return sum(math.prod(shape) for shape in x_shapes)


class Gather(Join):
    """y = concatenation of x[0] and x[1] along the channels, on the first device: the towers end here

    >>> Gather().forward((np.array([[1.0]]), np.array([[2.0]])))
    array([[1., 2.]])
    """

    def forward(self, xs: Pair) -> Array:
        self.save(channels=[x.shape[1] for x in xs])
        return joined(xs, self.devices[0])

    def backward(self, grad_y: Array) -> Pair:
        grad_xs, first = [], 0
        for home, channels in zip(self.devices, self.saved.channels, strict=True):
            grad_xs.append(transfer(grad_y[:, first : first + channels], home))
            first += channels
        return tuple(grad_xs)

    def numbers_crossing(self, x_shapes) -> int:
        return math.prod(x_shapes[1])

    def check_grad(self, grad_y) -> None:
        Layer.check_grad(self, grad_y)


def joined(xs: Pair, device: Device) -> Array:
    """The channels of both towers, one after the other, on one device."""
    with device:
        return device.xp.concatenate([transfer(x, device) for x in xs], axis=1)


def sum_on(device: Device, arrays: Sequence[Array]) -> Array:
    """The sum of both towers' arrays, on one device; tower 0's comes first, so that the order is always the same."""
    first, second = (transfer(array, device) for array in arrays)
    with device:
        return first + second
