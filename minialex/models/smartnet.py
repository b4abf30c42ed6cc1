"""SmartNet: a network that leaves when it is sure, and drops what it does not use.

The survey of these networks asks whether simple pictures must go through all of a network, which parts of ResNet and
DenseNet do nothing, and whether a device can load a part of it; SmartNet is its own proposal, in prose and sketches.
There is no paper of it, and no code but this.

What the article names: blocks like DenseNet's, each of which may read the maps of all blocks before it, stored once
and brought to size by pooling; connections that are of no use take no part; several exits, each an improvement on the
one before, trained one after the other, stored and loaded by exit; the network leaves at the nearest exit that will do.

What is our choice: how a connection is weighed (one gate for the maps that one layer gives to another, layers/gate.py)
and closed (SGD's penalty, by what it costs, with gates that learn four times as fast as weights); that a layer is gate,
convolution, normalisation, ReLU, and its number of maps; average pooling; when an exit is sure (the probability of its
best class); that an exit begins as a copy of the one before.
Left out: the way through the network learned by a GAN or by reinforcement.

Related ideas that were published: BranchyNet (Teerapittayanon et al. 2016), MSDNet (Huang et al. 2018), network
slimming (Liu et al. 2017).

The grid, with its time to the right and its exits below:

    picture -> stem -> block1 -> pool1 -> block2 -> pool2 -> block3 -> ...    deeper and better
                         |                  |                  |
                       exit1              exit2              exit3            the nearest that will do
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from minialex.devices.device import Devices, to_numpy
from minialex.layers import BatchNorm2D, Conv2D, Layer, MaxPool2D, ReLU, Sequential
from minialex.layers.init import generator, he_normal
from minialex.layers.layer import Array
from minialex.layers.leaving import nothing_hangs_on
from minialex.layers.sequential import all_layers, was_used_since
from minialex.models.alexnet import PictureInput
from minialex.models.network import (
    SMALL,
    TORCHVISION,
    NetworkWithExits,
    backward_through,
    pictures_of,
    recorded,
    scaled,
)
from minialex.models.smart_cut import begin_as, compacted, only_before
from minialex.models.smart_grid import GATES_LEARN, Grid, halved
from minialex.models.smart_record import (
    Reads,
    check_reads,
    check_size,
    first_columns,
    first_of_record,
    parse_blocks,
    parse_reads,
    spelt_blocks,
    spelt_reads,
)
from minialex.shapes import is_whole, positive
from minialex.words import check_choice

# For each preset: maps of the stem; then, for each exit, how many layers its block has, and how many maps each makes;
# and into how many cells a side an exit pools what it reads. (Where a map's place says much, as in a digit, its mean
# alone tells an early exit little.)
TABLE = {
    "large": (64, "4x32 6x48 8x64 6x96", 1),
    "small": (16, "4x12 4x24 4x48", 4),
    "mnist": (8, "2x8 2x8 3x16", 4),
}
INPUTS = {"large": TORCHVISION, "small": SMALL, "mnist": replace(SMALL, crop=28, mean=(0.5,), std=(0.5,))}


def stem(preset: str, channels: int, maps: int, side: int, rng) -> tuple[Sequential, int]:
    """What makes the first maps of the picture, and the pixels of their sides."""
    large = preset == "large"
    kernel, stride = (7, 2) if large else (3, 1)
    conv = Conv2D(channels, maps, kernel, stride, kernel // 2, bias=False, rng=rng, init=he_normal)
    layers = {"conv": conv, "norm": BatchNorm2D(maps), "relu": ReLU()}
    pool = {"pool": MaxPool2D(3, 2, padding=1)} if large else {}
    return Sequential(**layers, **pool), side_behind_stem(preset, side)


def side_behind_stem(preset: str, side: int) -> int:
    return -(-side // 4) if preset == "large" else side


def poolings(architecture: Mapping) -> int:
    """How often a network of this record pools between its blocks: what else its pictures' size decides has no weights.

    >>> [poolings(smartnet(3, 10, "small", width=0.1, image_size=size).architecture) for size in (8, 28, None)]
    [1, 2, 2]
    """
    size, preset = architecture.get("image_size"), architecture["preset"]
    side = side_behind_stem(preset, size if is_whole(size) else INPUTS[preset].crop)
    count = 0
    while count < architecture["exits"] - 1 and halved(side) < side:
        side, count = halved(side), count + 1
    return count


class SmartNet(NetworkWithExits):
    """One that is trained, stored and left by exit.

    In evaluation y are the logits of the last exit, or with `leave_at` those of the first that is so sure, see Exits;
    in training those of all exits, with one loss for each, until `learn(exit)` chooses one.
    `learning`: that one, which evaluation ends at too. (A file does not say it: `mx.save(model, path, exits=2)` keeps
    what has been trained so far.)
    """

    learning: int | None = None

    def __init__(self, picture: PictureInput, channels: int, grid: Grid, record: dict):
        self.grid, self.input, self.resolved = grid, picture, record
        self._assemble((channels, picture.crop, picture.crop))

    def _assemble(self, picture_shape):
        """Layers and heads from the grid; the last exit is the trunk's end."""
        for name in self.fixed:  # as it is assembled anew where an exit is added
            vars(self).pop(name, None)
        *others, last = self.grid.heads
        trunk = {**self.grid.trunk, last: self.grid.heads[last][1]}
        heads, leave_at = {name: self.grid.heads[name] for name in others}, self.leave_at
        super().__init__(self.input, self.grid.num_classes, trunk, heads, [1.0] * len(self.grid.heads))
        self.picture_shape, self.leave_at = picture_shape, leave_at

    def prepare(self, pictures: np.ndarray) -> np.ndarray:
        """Bytes (N, C, H, W), as in MNIST and CIFAR-10 -> float32 as this network wants them."""
        if pictures.dtype != np.uint8 or pictures.shape[1:] != self.picture_shape:
            C, H, W = self.picture_shape
            raise ValueError(
                f"pictures must be uint8 (N, {C}, {H}, {W}), not {pictures.dtype} {pictures.shape}"
            )
        mean, std = (np.reshape(of, (-1, 1, 1)) for of in (self.input.mean, self.input.std))
        return ((pictures * self.input.scale - mean) / std).astype(np.float32)

    # ---- exits ----

    @property
    def exits(self) -> list[str]:
        """Their names, from the first to the last."""
        return list(self.grid.heads)

    def children(self) -> dict[str, Layer]:
        """In the order of the grid: each exit after the layer that it reads."""
        found = {}
        for name, layer in self.grid.trunk.items():
            found[name] = layer
            found |= {exit: head for exit, (read, head) in self.grid.heads.items() if read == name}
        return found

    def path(self, exit: int) -> list[Layer]:
        """The layers from the picture to an exit, which are counted from 1."""
        read, head = self.grid.heads[f"exit{self._checked(exit)}"]
        names = list(self.grid.trunk)
        return [*(self.grid.trunk[name] for name in names[: names.index(read) + 1]), head]

    def forward(self, x: Array) -> Array:
        may_leave = self.leave_at is not None and not self.training
        if self.learning is None or (may_leave and self.learning == len(self.exits)):
            return super().forward(x)
        if may_leave:
            part = self.first(self.learning)
            y = part.forward(x)
            self.left = part.left
            self.save(kind="part", part=part)
            return y
        self.left, path, outputs = None, self.path(self.learning), []
        for layer in path:
            x = layer.forward(x)
            outputs.append(layer._output)
        self.save(kind="one", path=path, outputs=outputs)
        return x

    def backward(self, grad_logits: Array, input_grad: bool = False) -> Array:
        if self.saved.kind == "part":
            part = self.saved.part
            nothing_hangs_on(layer for name, layer in self.children().items() if name not in part.children())
            return part.backward(grad_logits, input_grad)
        if self.saved.kind != "one":
            return super().backward(grad_logits, input_grad)
        path = self.saved.path
        for layer, output in zip(path, self.saved.outputs, strict=True):
            if layer._output is not output:
                raise was_used_since(self, layer)
        nothing_hangs_on(layer for layer in self.children().values() if layer not in path)
        learns = [any(p.lr_scale for p in layer.parameters()) for layer in path]
        # What comes before the first one that learns is not asked for anything.
        first = learns.index(True) if any(learns) and not input_grad else 0
        nothing_hangs_on(path[:first])
        return backward_through(path[first:], grad_logits, input_grad)

    def learn(self, exit: int | None, begin: bool = True) -> "SmartNet":
        """Train one exit: its block and itself learn, all else stays as it is, running means too; returns the network

        The parameters of others get lr_scale 0, at which SGD leaves them as they are, and their batch normalisation is
        frozen: what the exits before it say stays the same to the last bit. Those behind it read its block, and say
        something else from then on. None: all learn again, all exits together.
        begin: the exit starts as a copy of the one before, which it improves on; what it reads besides counts nothing
        at first.
        Raises ValueError for an exit that is not there, or that cannot start so: in a network that was cut it may not
        read what the one before reads.
        """
        own = list(self.children().values())
        if exit is not None:
            before = self.path(exit - 1) if self._checked(exit) > 1 else []
            own = [layer for layer in self.path(exit) if layer not in before]
            if begin and before:
                self.check_begins(exit)
                begin_as(own[-1], before[-1])
        for layer in self.children().values():
            for p in layer.parameters():
                usual = GATES_LEARN if p.proximal else 1.0
                p.lr_scale = usual if layer in own else 0.0
            for inner in all_layers(layer):
                if isinstance(inner, BatchNorm2D):
                    inner.frozen = layer not in own
        self.learning = exit
        return self

    def check_begins(self, exit: int) -> None:
        """Raises ValueError where an exit does not read what the one before reads, and cannot begin as its copy."""
        if only := only_before(self.path(exit)[-1], self.path(exit - 1)[-1]):
            missing = ", ".join(list(self.grid.sources)[source] for source in only)
            raise ValueError(
                f"{self}: exit {exit} cannot begin as a copy of exit {exit - 1}, which reads {missing}: as this "
                f"network was cut, it does not. learn({exit}, begin=False) goes on from what it says now"
            )

    def extend(self, layers: int | None = None, maps: int | None = None, rng=None) -> "SmartNet":
        """Another block and its exit, which is then the one that learns; those before stay as they are; returns itself

        layers: of the block, maps: of each, before `width`; left out, as the preset's table has them, and beyond it as
        the block before. rng: as `smartnet` takes it; the same one makes the same block as there.

        >>> model = smartnet(2, num_classes=10, preset="small", width=0.25)
        >>> model.extend().exits
        ['exit1', 'exit2', 'exit3']
        """
        blocks, number = parse_blocks(self.resolved["blocks"]), len(self.exits) + 1
        table = parse_blocks(TABLE[self.resolved["preset"]][1])
        usual = table[number - 1] if table[: number - 1] == blocks and number <= len(table) else blocks[-1]
        asked = zip(("layers", "maps"), (layers, maps), usual, strict=True)
        block = tuple(positive(other if own is None else own, name) for name, own, other in asked)
        check_size([*blocks, block], self.grid.sources["stem"], self.grid.width)
        self.grid.add(*block, generators(rng, number + 1)[-1])
        self._changed([*blocks, block])
        return self.learn(number)

    def first(self, exits: int) -> "SmartNet":
        """The part that so many exits need: a network of the same layers, no copies."""
        grid = self.grid.first(self._checked(exits))
        part = SmartNet(self.input, self.picture_shape[0], grid, first_of_record(self.resolved, exits))
        part.architecture, part.leave_at = {**self.architecture, **part.resolved}, self.leave_at
        part.devices = self.devices
        part.loss.to(self.devices[0])
        if hasattr(self, "classes"):
            part.classes = self.classes
        return part

    def unload(self, exits: int) -> dict[str, np.ndarray]:
        """Keep so many exits; returns the arrays that the others alone needed, by name, on the host

        `extend` makes room for them again, and `mx.load` reads them from a file. An optimizer that has parameters of
        theirs still holds them: make it anew, too.
        Raises ValueError where there are not so many.

        >>> model = smartnet(3, num_classes=10, preset="small", width=0.25)
        >>> [name for name in model.unload(2) if "exit" in name]
        ['exit3.gate.weight', 'exit3.fc.weight', 'exit3.fc.bias']
        """
        blocks = parse_blocks(self.resolved["blocks"])[: self._checked(exits)]
        named = self.named_parameters() + self.named_buffers()
        old = self.parameters()
        self.grid = self.grid.first(exits)
        self._changed(blocks, old)
        kept = {name for name, _ in self.named_parameters() + self.named_buffers()}
        if self.learning and self.learning > exits:
            self.learn(None)
        return {name: to_numpy(p.value) for name, p in named if name not in kept}

    def compact(self) -> "SmartNet":
        """Cut out what is closed, and what nobody reads: the same logits to rounding, in evaluation; returns itself

        A gate of 0 goes with its slice of the kernel, and a layer that no layer in use and no exit reads is gone. One
        whose own gates are all closed is gone, too; where it is read, a number for each of its maps is left, `Still`.
        Parameters are others afterwards: an optimizer is to be made anew.
        """
        blocks = parse_blocks(self.resolved["blocks"])
        old = self.parameters()
        self.grid = compacted(self.grid, blocks)
        self._changed(blocks, old, is_cut=True)
        return self

    def _changed(self, blocks, old=(), is_cut=False):
        """After the grid is another one: layers, loss, and what the network says of itself.

        old: the parameters that were there. Those that are no more lose their gradients: an optimizer that was made
        before, and would train them for nothing, says so.
        """
        kind, mode, devices = self.dtype, self.training, self.devices
        is_cut = is_cut or self.resolved["reads"] is not None
        self.resolved = {
            **self.resolved,
            "exits": len(self.grid.heads),
            "blocks": spelt_blocks(blocks),
            "reads": spelt_reads(self.grid.reads()) if is_cut else None,
        }
        self.architecture = {**self.architecture, **self.resolved}
        self._assemble(self.picture_shape)
        there = {id(p) for p in self.parameters()}
        for p in (p for p in old if id(p) not in there):
            p.grad = None
        self.astype(kind).train(mode).to(devices)

    def _checked(self, exit):
        there = len(self.grid.heads)
        if not is_whole(exit) or not 1 <= exit <= there:
            names = "exit1" if there == 1 else f"exit1 to exit{there}"
            raise ValueError(
                f"{self}: there is no exit {exit!r}, there are {there}, {names}; extend() adds one"
            )
        return int(exit)


@recorded
def smartnet(
    exits: int | None = None,
    num_classes: int = 1000,
    preset: str = "large",
    width: float = 1.0,
    image_size: int | None = None,
    blocks: str | Sequence[Sequence[int]] | None = None,
    reads: str | Reads | None = None,
    rng=None,
    devices: Devices = "cpu",
) -> SmartNet:
    """SmartNet with so many exits (all that its table has, if left out): a network that leaves when it is sure.

    Input (N, 3, 224, 224); output in evaluation: the logits (N, classes) of the last exit, or with `model.leave_at =
    0.9` those of the first that gives a class this probability, and `model.left` says which; in training those of all
    exits (N, exits, classes), or of one, `model.learn(1)`. `model.answers(x)`: of all, in evaluation. `extend`,
    `unload`, `first` and `compact` change what there is of it.
    The first exits of a network with more are this network: the same rng draws the same weights, and a file of either
    fits (`mx.save(model, path, exits=2)`, `mx.load`).
    preset: "large", "small" for pictures of 32x32, "mnist" for (N, 1, 28, 28). width scales all numbers of maps.
    blocks: of each exit, layers and maps, in place of the table's: ((4, 12), (4, 24)), or "4x12 4x24".
    reads: what is read by which layer and exit, of a network that was cut (`compact`), as `model.architecture` has it;
    it may be that of a network with more exits.
    Raises ValueError for an exit that is not there, an unknown preset, and blocks or reads that make no sense, or are
    too many.

    >>> model = smartnet(2, num_classes=10, preset="small")
    >>> sum(p.value.size for p in model.parameters()), model.exits
    (137750, ['exit1', 'exit2'])
    """
    check_choice(preset, TABLE, "preset")
    maps, usual, cells = TABLE[preset]
    table = parse_blocks(usual if blocks is None else blocks)
    count = len(table) if exits is None else positive(exits, "exits")
    if count > len(table):
        which = f"preset {preset!r} has" if blocks is None else "blocks are for"
        raise ValueError(f"there is no exit {count}: {which} {len(table)}; extend() adds one to a network")
    if isinstance(reads, str):
        reads = parse_reads(reads)
    if reads is not None:
        check_reads(reads)
        reads = first_columns(reads, count) if count < len(table) else reads
    picture = pictures_of(INPUTS[preset], image_size, least=1)
    channels = len(picture.mean)
    maps = scaled(maps, width)
    check_size(table[:count], maps, width)
    rngs = generators(rng, count + 1)
    grid = Grid(*stem(preset, channels, maps, picture.crop, rngs[0]), maps, num_classes, cells, width)
    for block, own in zip(table[:count], rngs[1:], strict=True):
        grid.add(*block, own, reads)
    grid.check_names(reads)
    record = {"exits": count, "preset": preset, "blocks": spelt_blocks(table[:count])}
    record["reads"] = None if reads is None else spelt_reads(grid.reads())
    return SmartNet(picture, channels, grid, record).to(devices)


def generators(rng, count: int) -> list:
    """One for the stem and one for each block: the first ones are the same however many there are."""
    rng = generator(rng)
    return [generator(int(rng.integers(2**63))) for _ in range(count)]
