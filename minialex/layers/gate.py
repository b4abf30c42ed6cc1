"""Gates: how much of each source a layer reads. One that is closed takes no part, and can be cut out.

Of our own making for SmartNet (models/smartnet.py), near to the scales of network slimming (Liu et al. 2017), which
stand at single channels. A gate belongs *behind* batch normalisation and ReLU: a channel that is normalised after its
gate would be as large as before.
"""

from collections.abc import Sequence

import numpy as np

from minialex.devices.device import array_module
from minialex.layers.branches import cut
from minialex.layers.layer import Array, Layer
from minialex.layers.parameter import Constant, Parameter
from minialex.layers.settings import number_or_nan
from minialex.shapes import is_whole, positive
from minialex.words import counted


class Gate(Layer):
    """y = gate[s] * x for the channels of each source s;  0 is closed, 1 open

    grad_gate[s] = sum of grad_y * x over the channels of s, over pictures and pixels;  grad_x = gate[s] * grad_y.
    A gate's gradient is not 0 where the gate is: what is closed may open again.

    sizes: how many channels each source has, as they lie in x. reads: the sources whose channels are handed on, in
    rising order; left out, all. Of the others nothing is computed, and y does not have their channels.
    costs: what reading each of these costs, by which the penalty on their gates is multiplied; left out, 1.
    `weight` holds the gates, of which SGD's penalty closes those that are of little use, see `shut`; no weight decay.
    Shapes: x (N, sum of sizes, ...); weight (sources read,); y (N, channels of the sources read, ...).
    Raises ValueError for another number of channels, and for sources that there are not.

    >>> layer = Gate(sizes=(2, 1))
    >>> layer.weight.value[1] = 0
    >>> layer.forward(np.array([[1, 2, 3]], dtype=np.float32))
    array([[1., 2., 0.]], dtype=float32)
    >>> layer.backward(np.array([[1, 1, 1]], dtype=np.float32))
    array([[1., 1., 0.]], dtype=float32)
    >>> layer.weight.grad                                          # 1 + 2, and 3
    array([3., 3.], dtype=float32)
    """

    needs_batch = True
    fixed = ("sizes", "reads", "costs")
    costs: Constant | None

    def __init__(
        self,
        sizes: Sequence[int],
        reads: Sequence[int] | None = None,
        costs: Sequence[float] | None = None,
    ):
        if not isinstance(sizes, Sequence) or not sizes:
            raise TypeError(f"Gate: sizes says how many channels each source has, (16, 8), not {sizes!r}")
        self.sizes = tuple(positive(size, "sizes") for size in sizes)
        self.reads = tuple(range(len(sizes))) if reads is None else _checked(reads, len(sizes))
        self.weight = Parameter(np.ones(len(self.reads), np.float32), decay=False)
        self.weight.proximal = shut
        if costs is not None:
            good = isinstance(costs, (Sequence, np.ndarray)) and len(costs) == len(self.reads)
            if not good or not all(0 <= number_or_nan(cost) < np.inf for cost in costs):
                raise ValueError(
                    f"Gate: it reads {counted(len(self.reads), 'source')}, and costs is {costs!r}"
                )
            costs = Constant(np.array(costs, np.float32))
        self.costs = self.weight.costs = costs

    def forward(self, x: Array) -> Array:
        read = self.xp.concatenate(self._parts(x), axis=1) if self.leaves_out else x
        gates = self._by_channel(x.ndim)
        self.save(read=read)
        return gates * read

    def backward(self, grad_y: Array) -> Array:
        products = grad_y * self.saved.read
        self.weight.grad = self.xp.stack([part.sum() for part in cut(products, self.sizes_read)])
        grad_read = self._by_channel(grad_y.ndim) * grad_y
        return self._of_all(grad_read) if self.leaves_out else grad_read

    @property
    def leaves_out(self) -> bool:
        """Are there sources that are not read?"""
        return len(self.reads) < len(self.sizes)

    @property
    def sizes_read(self) -> list[int]:
        return [self.sizes[source] for source in self.reads]

    def _parts(self, x):
        """The channels of each source that is read, as views."""
        parts = cut(x, self.sizes)
        return [parts[source] for source in self.reads]

    def _of_all(self, grad_read):
        """The gradient of all channels: 0 of those that are not read."""
        shape = (len(grad_read), sum(self.sizes), *grad_read.shape[2:])
        grad_x = self.xp.zeros_like(grad_read, shape=shape)  # laid out as it, too
        for part, grad_part in zip(self._parts(grad_x), cut(grad_read, self.sizes_read), strict=True):
            part[...] = grad_part
        return grad_x

    def _by_channel(self, ndim):
        """(channels, 1, 1): each channel's gate."""
        gates = self.xp.repeat(self.weight.value, self.sizes_read)
        return gates.reshape(-1, *[1] * (ndim - 2))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (len(self.reads),)}

    def check_input(self, x) -> None:
        super().check_input(x)
        if x.ndim < 2 or x.shape[1] != sum(self.sizes):
            raise ValueError(
                f"{self} has gates for {' + '.join(map(str, self.sizes))} = {counted(sum(self.sizes), 'channel')}; "
                f"the input has shape {x.shape}"
            )


def _checked(reads, count):
    if not isinstance(reads, Sequence) or not all(map(is_whole, reads)):
        raise TypeError(
            f"Gate: reads says which of the {counted(count, 'source')} are read, (0, 2), not {reads!r}"
        )
    if not reads or list(reads) != sorted({s for s in reads if 0 <= s < count}):
        raise ValueError(
            f"Gate: it reads {tuple(reads)}: some of the sources 0 to {count - 1} are needed, in rising order"
        )
    return tuple(reads)


def shut(gates: Array) -> None:
    """gates <- the nearest from 0 to 1, in place; and the widest one is 1, unless all are closed

    What SGD does to gates after each of its steps: the proximal step of a penalty on their sum, which as long as they
    are open is a slope like the loss's own. Those that do not make the loss smaller reach 0 exactly. A factor that all
    gates of a layer have in common is undone by the batch normalisation behind its convolution: so one is held, or the
    penalty would shrink all of them for nothing.

    >>> gates = np.array([0.9, 0.4, -0.05])
    >>> shut(gates)
    >>> gates
    array([1. , 0.4, 0. ])
    """
    widest = gates.argmax()
    # 1; 0 where all are closed; what is not a number stays so.
    held = array_module(gates).sign(gates.max()).clip(0)
    gates.clip(0, 1, out=gates)
    gates[widest] = held
