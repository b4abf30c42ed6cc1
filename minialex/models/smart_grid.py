"""What a SmartNet is put together from: its layers, and the grid of blocks and exits. See smartnet.py."""

import numpy as np

from minialex.layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Flatten,
    Gate,
    Layer,
    Linear,
    Parameter,
    ReLU,
    Sequential,
)
from minialex.layers.init import he_normal
from minialex.layers.layer import Array
from minialex.models.network import backward_through, forward_through, scaled
from minialex.models.smart_record import Reads, spelt_reads
from minialex.words import did_you_mean

LEAST = 4  # pixels a side that pooling between blocks leaves
# Times as fast as weights: from 1 to 0 the way is long, and a penalty that may be paid for is small.
GATES_LEARN = 4.0


class SmartLayer(Layer):
    """y = relu(norm(conv(gate(x)))): some new maps, from those sources among x whose gates are open

    A closed gate's part of x comes to nothing, and with it a slice of the kernel.
    Shapes: x (N, sum of sizes, H, W); y (N, maps, H, W).
    """

    hangs_on_parts = True

    def __init__(self, sizes, maps, rng, reads=None):
        self.gate = gate(sizes, reads, unit=maps)
        self.conv = Conv2D(sum(self.gate.sizes_read), maps, 3, padding=1, bias=False, rng=rng, init=he_normal)
        self.norm, self.relu = BatchNorm2D(maps), ReLU()

    def body(self) -> list[Layer]:
        return [self.gate, self.conv, self.norm, self.relu]

    def forward(self, x: Array) -> Array:
        return forward_through(self.body(), x)

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        return backward_through(self.body(), grad_y, input_grad)


class Still(Layer):
    """y[n, k, p, q] = bias[k]: what is left of a layer whose gates are all closed, where others still read it

    Shapes: x (N, C, H, W), of which only N, H and W count; bias (K,); y (N, K, H, W).
    """

    input_rank = 4

    def __init__(self, maps):
        self.bias, self.maps = Parameter(np.zeros(maps, np.float32), decay=False), maps

    def forward(self, x: Array) -> Array:
        self.save(shape=x.shape)
        N, _, H, W = x.shape
        return self.xp.broadcast_to(self.bias.value[:, None, None], (N, self.maps, H, W)).copy()

    def backward(self, grad_y: Array) -> Array:
        self.bias.grad = grad_y.sum(axis=(0, 2, 3))
        return self.xp.zeros(self.saved.shape, dtype=grad_y.dtype)


def gate(sizes, reads, unit) -> Gate:
    """One whose costs are 1 for a source of `unit` maps, and grow with the multiply-adds: with the maps

    The unit is what reading a source of as many maps as it makes itself costs a layer of the block. In "small" and
    "large" that is nearly the same in each block.
    """
    reads = range(len(sizes)) if reads is None else reads
    made = Gate(sizes, list(reads), [sizes[source] / unit for source in reads])
    made.weight.lr_scale = GATES_LEARN
    return made


def halved(side: int) -> int:
    """Pixels a side behind the next block; as many as before where pooling would leave too few.

    >>> halved(9), halved(7)
    (4, 7)
    """
    return side // 2 if side // 2 >= LEAST else side


class Grid:
    """The parts of a network as they are put together, column by column: a block, and the exit below it

    trunk: the layers from left to right; heads: for each exit (the layer of the trunk that it reads, itself);
    sources: how many maps the stem and each layer give, as they lie one behind the other at the trunk's end.
    """

    def __init__(self, stem: Sequential, side: int, maps: int, num_classes: int, cells: int, width: float):
        self.trunk: dict[str, Layer] = {"stem": stem}
        self.heads: dict[str, tuple[str, Sequential]] = {}
        self.sources, self.side = {"stem": maps}, side
        self.num_classes, self.cells, self.width = num_classes, cells, width
        self.ends: list[tuple] = []  # how much of trunk and sources each exit needs, and the side there

    def add(self, layers: int, maps: int, rng, reads: Reads | None = None) -> None:
        """The next column. reads: what is not named in it is gone; None: all that comes before is read."""
        number, maps = len(self.heads) + 1, scaled(maps, self.width)
        block, exit = f"block{number}", f"exit{number}"
        if number > 1 and halved(self.side) < self.side:
            self.trunk[f"pool{number - 1}"] = AvgPool2D(2)
            self.side = halved(self.side)
        nodes = {}
        for key in (f"layer{i + 1}" for i in range(layers)):
            name = f"{block}.{key}"
            if reads is None or name in reads:
                read = self._places(name, reads)
                sizes = list(self.sources.values())
                nodes[key] = Still(maps) if read == [] else SmartLayer(sizes, maps, rng, read)
                self.sources[name] = maps
        if nodes:
            self.trunk[block] = Dense(**nodes)
        cells, sizes = self.cells**2, list(self.sources.values())
        # So many maps cost an exit as many multiply-adds as a source of `maps` maps costs a layer.
        unit = 9 * maps**2 * self.side**2 / (cells * self.num_classes)
        opening = gate(sizes, self._places(exit, reads), unit)
        fc = Linear(cells * sum(opening.sizes_read), self.num_classes, rng=rng, init=he_normal)
        head = Sequential(pool=AdaptiveAvgPool2D(self.cells), gate=opening, flatten=Flatten(), fc=fc)
        self.heads[exit] = (list(self.trunk)[-1], head)
        self.ends.append((len(self.trunk), len(self.sources), self.side))

    def first(self, exits: int) -> "Grid":
        """The part that so many exits need, made of the same layers."""
        trunk, sources, side = self.ends[exits - 1]
        part = Grid(self.trunk["stem"], side, self.sources["stem"], self.num_classes, self.cells, self.width)
        part.trunk = dict(list(self.trunk.items())[:trunk])
        part.sources = dict(list(self.sources.items())[:sources])
        part.heads = dict(list(self.heads.items())[:exits])
        part.ends = self.ends[:exits]
        return part

    def readers(self) -> dict[str, SmartLayer | Still | Sequential]:
        """Each layer of a block and each exit, by name, in the order in which they are put together."""
        found = {}
        for number, (exit, (_, head)) in enumerate(self.heads.items(), start=1):
            block = self.trunk.get(f"block{number}")
            nodes = block.nodes if block else {}
            found |= {f"block{number}.{key}": node for key, node in nodes.items()} | {exit: head}
        return found

    def reads(self) -> dict[str, list[str]]:
        """What each of them reads, by name, its gates open or not."""
        there = list(self.sources)
        return {
            name: [] if isinstance(reader, Still) else [there[s] for s in gate_of(reader).reads]
            for name, reader in self.readers().items()
        }

    def check_names(self, reads: Reads | None) -> None:
        """Raises ValueError where `reads` names what is not in here."""
        if unknown := [name for name in reads or () if name not in self.readers()]:
            meant, there = did_you_mean(unknown[0], self.readers()), ", ".join(self.readers())
            raise ValueError(f"reads: there is no {unknown[0]!r} here{meant}; there are {there}")

    def _places(self, name, reads):
        """Where the sources stand that this one reads; None for all."""
        if reads is None:
            return None
        if name not in reads:
            raise ValueError(f"reads does not say what {name} reads; it has {', '.join(reads)}")
        there = list(self.sources)
        if unknown := [source for source in reads[name] if source not in there]:
            meant = did_you_mean(unknown[0], there)
            raise ValueError(f"reads: {name} cannot read {unknown[0]!r}{meant}; there are {', '.join(there)}")
        if len(set(reads[name])) < len(reads[name]) or (name.startswith("exit") and not reads[name]):
            what = "the same twice" if reads[name] else "nothing"
            raise ValueError(f"reads: {name} cannot read {what}: {spelt_reads({name: reads[name]})!r}")
        return sorted(there.index(source) for source in reads[name])


def gate_of(reader: SmartLayer | Sequential) -> Gate:
    """Of a layer or an exit."""
    return reader["gate"] if isinstance(reader, Sequential) else reader.gate
