"""What a SmartNet is put together from: its layers, the grid of blocks and exits, and how what is closed is cut out.

See smartnet.py for what it is about.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from minialex.devices.device import to_numpy
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
from minialex.layers.init import generator, he_normal
from minialex.layers.layer import Array
from minialex.models.network import backward_through, forward_through, scaled
from minialex.shapes import positive

LEAST = 4  # pixels a side that pooling between blocks leaves
# In all blocks, and in all their kernels: more is a slip, or a file's malice.
MOST_LAYERS, MOST_NUMBERS = 250, 250 * 10**6

Reads = Mapping[str, Sequence[str]]  # for each layer and exit the sources that it reads, by name


GATES_LEARN = (
    4.0  # times as fast as weights: from 1 to 0 the way is long, and a penalty that may be paid for is small
)


class SmartLayer(Layer):
    """y = relu(norm(conv(gate(x)))): some new maps, from those sources among x whose gates are open

    A closed gate's part of x comes to nothing, and with it a slice of the kernel.
    Shapes: x (N, sum of sizes, H, W); y (N, maps, H, W).
    """

    def __init__(self, sizes, maps, rng, reads=None):
        self.gate = gate(sizes, reads, unit=maps)
        self.conv = Conv2D(sum(self.gate.sizes_read), maps, 3, padding=1, bias=False, rng=rng, init=he_normal)
        self.norm, self.relu = BatchNorm2D(maps), ReLU()

    def body(self) -> list[Layer]:
        return [self.gate, self.conv, self.norm, self.relu]

    def forward(self, x: Array) -> Array:
        return forward_through(self.body(), x)

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array | None:
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
        if number > 1 and self.side // 2 >= LEAST:
            self.trunk[f"pool{number - 1}"] = AvgPool2D(2)
            self.side //= 2
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
        unit = (
            9 * maps**2 * self.side**2 / (cells * self.num_classes)
        )  # of as many multiply-adds as a layer's is
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
            raise ValueError(f"reads: there is no {unknown[0]!r} here; there are {', '.join(self.readers())}")

    def _places(self, name, reads):
        """Where the sources stand that this one reads; None for all."""
        if reads is None:
            return None
        if name not in reads:
            raise ValueError(f"reads does not say what {name} reads; it has {', '.join(reads)}")
        there = list(self.sources)
        if unknown := [source for source in reads[name] if source not in there]:
            raise ValueError(f"reads: {name} cannot read {unknown[0]!r}; there are {', '.join(there)}")
        if len(set(reads[name])) < len(reads[name]) or (name.startswith("exit") and not reads[name]):
            what = "the same twice" if reads[name] else "nothing"
            raise ValueError(f"reads: {name} cannot read {what}: {spelt_reads({name: reads[name]})!r}")
        return sorted(there.index(source) for source in reads[name])


def gate_of(reader: SmartLayer | Sequential) -> Gate:
    """Of a layer or an exit."""
    return reader["gate"] if isinstance(reader, Sequential) else reader.gate


# ---- an exit begins as the one before ------------------------------------------------------------------


def begin_as(head: Sequential, before: Sequential) -> None:
    """A head that says what another one says: its weights and gates for the sources of both, 0 for those besides."""
    old = {source: number for number, source in enumerate(before["gate"].reads)}
    at, old_at = channels_of(head["gate"]), channels_of(before["gate"])
    weight, old_weight = by_channel(head), by_channel(before)
    weight[...] = 0
    for number, source in enumerate(head["gate"].reads):
        if source in old:
            weight[:, at[source]] = old_weight[:, old_at[source]]
            head["gate"].weight.value[number] = before["gate"].weight.value[old[source]]
    head["fc"].bias.value[...] = before["fc"].bias.value


def by_channel(reader: SmartLayer | Sequential) -> Array:
    """The weights of a layer's convolution or an exit's classifier, a view: (out, channels, ...)."""
    if isinstance(reader, Sequential):
        weight = reader["fc"].weight.value
        return weight.reshape(len(weight), sum(reader["gate"].sizes_read), -1)
    return reader.conv.weight.value


def channels_of(gate: Gate) -> dict[int, slice]:
    """Of each source that is read: its channels in what the gate hands on."""
    found, first = {}, 0
    for source in gate.reads:
        found[source] = slice(first, first + gate.sizes[source])
        first += gate.sizes[source]
    return found


# ---- what is closed is cut out -------------------------------------------------------------------------


def open_reads(grid: Grid) -> dict[str, list[str]]:
    """What each layer and exit that is of use reads through gates that are not 0

    From the last to the first: what no exit and no layer in use reads is of no use.
    """
    there, used, found = list(grid.sources), set(), {}
    for name, reader in reversed(grid.readers().items()):
        is_exit = isinstance(reader, Sequential)
        if not is_exit and name not in used:
            continue
        read = []
        if not isinstance(reader, Still):
            gate = gate_of(reader)
            is_open = to_numpy(gate.weight.value) != 0
            read = [there[source] for source, through in zip(gate.reads, is_open, strict=True) if through]
        found[name] = read or ["stem"] * is_exit  # an exit that reads nothing keeps one gate, closed
        used |= set(found[name])
    return dict(reversed(found.items()))


def compacted(grid: Grid, blocks: Sequence[tuple[int, int]]) -> Grid:
    """The same without what is closed: new layers with the rest of the parameters. blocks: layers and maps of each."""
    reads, old = open_reads(grid), grid.readers()
    small = Grid(
        grid.trunk["stem"], grid.ends[0][-1], grid.sources["stem"], grid.num_classes, grid.cells, grid.width
    )
    for block in blocks:
        small.add(*block, rng=generator(), reads=reads)
    there = list(grid.sources)
    for name, new in small.readers().items():
        places = [there.index(source) for source in reads[name]]
        if isinstance(new, Still):
            new.bias.value = said_to_nothing(old[name])
            continue
        before = gate_of(old[name])
        gate_of(new).weight.value = before.weight.value[[before.reads.index(place) for place in places]]
        at, is_exit = channels_of(before), isinstance(new, Sequential)
        kept = [by_channel(old[name])[:, at[place]] for place in places]
        weight = before.xp.concatenate(kept, axis=1)
        if is_exit:
            new["fc"].weight.value = weight.reshape(len(weight), -1)
            new["fc"].bias.value = old[name]["fc"].bias.value
        else:
            new.conv.weight.value = weight
            for inner in ("weight", "bias", "running_mean", "running_var"):
                getattr(new.norm, inner).value = getattr(old[name].norm, inner).value
    return small


def said_to_nothing(layer: SmartLayer | Still) -> Array:
    """relu(bias - weight * mean / sqrt(variance + eps)), for each map: what a layer makes of zeros in evaluation."""
    if isinstance(layer, Still):
        return layer.bias.value
    norm, xp = layer.norm, layer.xp
    shift = norm.running_mean.value / xp.sqrt(norm.running_var.value + norm.eps)
    return xp.maximum(norm.bias.value - norm.weight.value * shift, 0)


# ---- as texts, for records -----------------------------------------------------------------------------


def parse_blocks(blocks: str | Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Layers and maps of each block. Raises ValueError for what does not say that.

    >>> parse_blocks("4x12 4x24")
    [(4, 12), (4, 24)]
    """
    try:
        rows = [block.split("x") for block in blocks.split()] if isinstance(blocks, str) else list(blocks)
        if isinstance(blocks, str):
            rows = [[int(number) for number in row] for row in rows]
        if not rows:
            raise ValueError
        return [(positive(layers, "layers"), positive(maps, "maps")) for layers, maps in rows]
    except (ValueError, TypeError) as error:
        raise ValueError(
            'blocks says how many layers and maps each block has, "4x12 4x24" or ((4, 12), (4, 24)), not '
            f"{repr(blocks)[:80]}"
        ) from error


def check_size(blocks: Sequence[tuple[int, int]], stem: int, width: float) -> None:
    """Raises ValueError where blocks behind a stem of so many maps would be too much, before any is made."""
    sources, numbers = stem, 0
    for layers, maps in blocks:
        maps = scaled(min(maps, MOST_NUMBERS), width)
        numbers += 9 * maps * (layers * sources + maps * layers * (layers - 1) // 2)
        sources += layers * maps
    count = sum(layers for layers, _ in blocks)
    if count > MOST_LAYERS or numbers > MOST_NUMBERS:
        raise ValueError(
            f"blocks {spelt_blocks(blocks)[:80]!r} are too large: {count:,} layers with {numbers:,} numbers in "
            f"their kernels; the most is {MOST_LAYERS:,} with {MOST_NUMBERS:,}"
        )


def spelt_blocks(blocks: Sequence[tuple[int, int]]) -> str:
    """The same as a text."""
    return " ".join(f"{layers}x{maps}" for layers, maps in blocks)


def parse_reads(text: str) -> dict[str, list[str]]:
    """
    >>> parse_reads("block1.layer1: stem; exit1: stem block1.layer1")
    {'block1.layer1': ['stem'], 'exit1': ['stem', 'block1.layer1']}
    """
    pairs = [part.partition(":") for part in text.split(";")]
    reads = {name.strip(): sources.split() for name, _, sources in pairs}
    if not all(colon for _, colon, _ in pairs) or len(reads) < len(pairs):
        raise ValueError(
            "reads is a text like 'block1.layer1: stem; exit1: stem block1.layer1', with each name once, not "
            f"{text[:80]!r}"
        )
    return reads


def check_reads(reads: Reads) -> None:
    """Raises TypeError for what has no sequence of names for each name."""
    if not isinstance(reads, Mapping) or not all(
        isinstance(name, str) and isinstance(sources, Sequence) and not isinstance(sources, str)
        for name, sources in reads.items()
    ):
        raise TypeError(
            "reads is a text as model.architecture has it, or {'exit1': ['stem', 'block1.layer1'], ...}, not "
            f"{repr(reads)[:80]}"
        )


def spelt_reads(reads: Reads) -> str:
    """The same as a text."""
    return "; ".join(f"{name}: {' '.join(sources)}".strip() for name, sources in reads.items())


def first_columns(reads: Reads, exits: int) -> dict[str, Sequence[str]]:
    """What the layers and exits of the first columns read."""

    def is_later(name):
        number = name.partition(".")[0].removeprefix("block").removeprefix("exit")
        return number.isdecimal() and int(number) > exits

    return {name: sources for name, sources in reads.items() if not is_later(name)}


def first_of_record(record: Mapping, exits: int) -> dict:
    """What the record of a network would say of its first exits.

    >>> first_of_record({"exits": 2, "blocks": "1x4 1x8", "reads": "exit1: stem; exit2: stem"}, 1)
    {'exits': 1, 'blocks': '1x4', 'reads': 'exit1: stem'}
    """
    reads = record.get("reads")
    if reads is not None:
        reads = spelt_reads(first_columns(parse_reads(reads), exits))
    return {
        **record,
        "exits": exits,
        "blocks": spelt_blocks(parse_blocks(record["blocks"])[:exits]),
        "reads": reads,
    }
