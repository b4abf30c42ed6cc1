"""Layers that read the maps of layers before them, not of the one before alone: DenseNet's blocks.

(Huang, Liu, van der Maaten, Weinberger 2016, section 3.) What reads what is a triangle; backward walks through it from
the last corner to the first, so that a map's gradient is whole before its own node is asked for it.
"""

from collections.abc import Sequence

from minialex.layers.branches import cannot_be_dealt_out, cut
from minialex.layers.layer import Array, Layer
from minialex.layers.names import check_keys, check_layers, give_name
from minialex.layers.sequential import all_layers
from minialex.shapes import is_whole
from minialex.words import counted


class Dense(Layer):
    """maps[0] = x;  maps[i] = node i of the concatenation of the maps that it reads;  y = all maps, concatenated

    Backward: each map's gradient is its share of grad_y, and what every node gives back that has read it, the last node
    first. The gradient of maps[0] is that of x.

    `Dense(denselayer1=..., denselayer2=...)` gives names, `Dense(a, b)` numbers the nodes.
    reads: for each node the maps that it reads, in rising order: 0 is x, 1 what the first node makes. Left out: all
    before it.
    Shapes: x (N, C, H, W); each node keeps H and W; y (N, C + all that the nodes make, H, W).
    Raises ValueError without a node, for a node that reads nothing or what is not yet there, and where a node makes
    maps of another size.

    >>> from minialex.layers.branches import Scale
    >>> block = Dense(Scale(10.0), Scale(100.0), reads=[(0,), (1,)])
    >>> block.forward(np.array([[1.0]]))
    array([[   1.,   10., 1000.]])
    >>> block.backward(np.array([[1.0, 1.0, 1.0]]))                # 1 + 10 + 10 * 100
    array([[1011.]])
    """

    hangs_on_parts = True
    concatenates = True
    fixed = ("nodes", "reads")

    def __init__(self, *nodes: Layer, reads: Sequence[Sequence[int]] | None = None, **named: Layer):
        if any(map(is_whole, nodes)):
            raise TypeError(
                f"Dense joins the maps of layers, as DenseNet does, and takes layers, not {nodes}: the fully connected "
                "layer is Linear(in_features, out_features)"
            )
        if nodes and named:
            raise ValueError("Dense takes nodes with names or nodes without, not both")
        self.nodes = named or {str(number): node for number, node in enumerate(nodes)}
        if not self.nodes:
            raise ValueError("Dense needs at least one node")
        check_layers("Dense", self.nodes)
        inside = [id(layer) for node in self.nodes.values() for layer in all_layers(node)]
        if len(set(inside)) < len(inside):
            raise ValueError("Dense: the same layer stands in it twice; make two")
        self.reads = self._checked(reads)
        check_keys(self)
        for name, node in self.nodes.items():
            give_name(node, name, owner=self)

    def _checked(self, reads):
        if reads is None:
            return tuple(tuple(range(number)) for number in range(1, len(self.nodes) + 1))
        if not isinstance(reads, Sequence) or isinstance(reads, str):
            raise TypeError(
                f"Dense: reads has for each node which maps it reads, ((0,), (0, 1)), and is {reads!r}"
            )
        if len(reads) != len(self.nodes):
            raise ValueError(
                f"Dense: reads is for {counted(len(reads), 'node')}, there are {len(self.nodes)}"
            )
        for number, (name, read) in enumerate(zip(self.nodes, reads, strict=True)):
            if not isinstance(read, Sequence) or not all(map(is_whole, read)):
                raise TypeError(
                    f"Dense: reads has numbers for each node, [(0,), (0, 1)]; {name} has {read!r}"
                )
            if not read or list(read) != sorted({j for j in read if 0 <= j <= number}):
                raise ValueError(
                    f"Dense: {name} reads {tuple(read)}: some of the maps 0 to {number} are needed, in rising order"
                )
        return tuple(map(tuple, reads))

    def forward(self, x: Array) -> Array:
        maps = [x]
        for (name, node), read in zip(self.nodes.items(), self.reads, strict=True):
            joined = maps[read[0]] if len(read) == 1 else self.xp.concatenate([maps[j] for j in read], axis=1)
            made = node.forward(joined)
            self.check_maps(name, joined, made)
            maps.append(made)
        self.save(channels=[one.shape[1] for one in maps])
        return self.xp.concatenate(maps, axis=1)

    def backward(self, grad_y: Array) -> Array:
        channels = self.saved.channels
        grads = cut(grad_y, channels)  # of each map, so far
        triangle = list(enumerate(zip(self.nodes.values(), self.reads, strict=True), start=1))
        for number, (node, read) in reversed(triangle):
            grad_joined = node.backward(grads[number], input_grad=True)
            for j, share in zip(read, cut(grad_joined, [channels[j] for j in read]), strict=True):
                grads[j] = grads[j] + share
        return grads[0]

    def check_maps(self, name: str, joined: Array, made: Array) -> None:
        """Raises ValueError where a node has changed more than the number of channels."""
        if (*made.shape[:1], *made.shape[2:]) != (*joined.shape[:1], *joined.shape[2:]):
            raise ValueError(
                f"{self}: {name} makes shape {made.shape} of {joined.shape}: all but axis 1 must stay"
            )

    def children(self) -> dict[str, Layer]:
        return self.nodes

    def split(self, parts: int) -> list[Layer]:
        raise ValueError(cannot_be_dealt_out(self, parts))

    def check_input(self, x) -> None:
        super().check_input(x)
        if x.ndim < 2:
            raise ValueError(f"{self} joins channels, (N, C, ...); the input has shape {x.shape}")
