"""A SmartNet without what is closed, and an exit that begins as the one before. See smartnet.py."""

from collections.abc import Sequence

from minialex.devices.device import to_numpy
from minialex.layers import BatchNorm2D, Gate, Sequential
from minialex.layers.init import generator
from minialex.layers.layer import Array, Layer
from minialex.layers.sequential import all_layers
from minialex.models.smart_grid import Grid, SmartLayer, Still, gate_of


def begin_as(head: Sequential, before: Sequential) -> None:
    """A head that says what another one says: its weights and gates for the sources of both, 0 for those besides."""
    old = {source: number for number, source in enumerate(before["gate"].reads)}
    at, old_at = channels_of(head["gate"]), channels_of(before["gate"])
    old_weight = by_channel(before)
    weight = head.xp.zeros_like(by_channel(head))
    for number, source in enumerate(head["gate"].reads):
        if source in old:
            weight[:, at[source]] = old_weight[:, old_at[source]]
            head["gate"].weight.value[number] = before["gate"].weight.value[old[source]]
    head["fc"].weight.value[...] = weight.reshape(len(weight), -1)
    head["fc"].bias.value[...] = before["fc"].bias.value


def only_before(head: Sequential, before: Sequential) -> list[int]:
    """The sources that the exit before reads through gates that are not 0, and this one does not read: see begin_as."""
    is_open = to_numpy(before["gate"].weight.value) != 0
    read = zip(before["gate"].reads, is_open, strict=True)
    return [source for source, through in read if through and source not in head["gate"].reads]


def by_channel(reader: SmartLayer | Sequential) -> Array:
    """The weights of a layer's convolution or an exit's classifier, (out, channels, ...)."""
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
        if is_exit and not read:  # it keeps one gate, closed
            read = [there[gate.reads[0]]]
        found[name] = read
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
            new.bias.lr_scale = float(any(p.lr_scale for p in old[name].parameters()))
            continue
        as_it_was(new, old[name])
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


def as_it_was(new: Layer, old: Layer) -> None:
    """Let a layer be set as the one before: what learns in it, and how batches are normalised."""
    for p, before in zip(new.parameters(), old.parameters(), strict=True):
        p.decay, p.lr_scale = before.decay, before.lr_scale
    for norm, before in zip(all_layers(new), all_layers(old), strict=True):
        if isinstance(norm, BatchNorm2D):
            norm.eps, norm.momentum, norm.frozen = before.eps, before.momentum, before.frozen


def said_to_nothing(layer: SmartLayer | Still) -> Array:
    """relu(bias - weight * mean / sqrt(variance + eps)), for each map: what a layer makes of zeros in evaluation."""
    if isinstance(layer, Still):
        return layer.bias.value
    norm, xp = layer.norm, layer.xp
    shift = norm.running_mean.value / xp.sqrt(norm.running_var.value + norm.eps)
    return xp.maximum(norm.bias.value - norm.weight.value * shift, 0)
