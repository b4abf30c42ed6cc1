"""Dense in one array: channels are slowest in memory, so the first so many maps are one run of it, and no copy.

Each map is written once, behind those before it. What a node reads is a view, and so is what its layers keep for
backward, where concatenating anew for each node would keep every map as often as it is read. Backward has one such
array as well, of gradients, into which each node's is added in place.

Measured on DenseNet-121 at batch 8: what went into concatenations and sums, 63 -> 34 ms of 2,750; memory 1,841 -> 1,577
MiB, where a quarter less was predicted.
"""

import numpy as np

from minialex.fast.cpu.pieces import for_pieces
from minialex.fast.cpu.windows import batch_first, batch_last


def accepts(layer, x) -> bool:
    return x.ndim == 4


def forward(layer, x):
    whole, channels = batch_last(x), [x.shape[1]]  # (C, H, W, N): all maps so far, and room for more
    for (name, node), read in zip(layer.nodes.items(), layer.reads, strict=True):
        joined = some_maps(whole, channels, read)
        made = node.forward(joined)
        layer.check_maps(name, joined, made)
        made = made.transpose(1, 2, 3, 0)
        used, needed = sum(channels), sum(channels) + len(made)
        if needed > len(whole):  # the first node, or one that makes more than the first: room for all to come
            to_come = len(layer.nodes) - len(channels)
            wider = layer.device.empty((needed + to_come * len(made), *whole.shape[1:]), whole.dtype)
            wider[:used] = whole[:used]
            whole = wider
        whole[used:needed] = made
        channels.append(len(made))
    layer.save(channels=channels)
    return batch_first(whole[: sum(channels)])


def backward(layer, grad_y):
    channels, rows = layer.saved.channels, grad_y.transpose(1, 2, 3, 0)
    grads = layer.device.empty(rows.shape, rows.dtype)  # (C, H, W, N): of each map, so far
    grads[...] = rows
    ends = np.cumsum(channels)
    triangle = list(enumerate(zip(layer.nodes.values(), layer.reads, strict=True), start=1))
    for number, (node, read) in reversed(triangle):
        grad_made = grads[ends[number - 1] : ends[number]]
        grad_joined = node.backward(batch_first(grad_made), input_grad=True).transpose(1, 2, 3, 0)
        first = 0
        for start, stop in runs(channels, read):
            add(layer.device, grads[start:stop], grad_joined[first : first + stop - start])
            first += stop - start
    return batch_first(grads[: channels[0]])


def some_maps(whole, channels, read):
    """The maps that a node reads, (N, C, H, W): a view where they lie one behind the other."""
    parts = [whole[start:stop] for start, stop in runs(channels, read)]
    return batch_first(parts[0] if len(parts) == 1 else np.concatenate(parts))


def runs(channels, read):
    """From which channel to which, for each of these maps; those that touch are one.

    >>> runs([10, 1, 1, 1], read=(0, 1, 3))
    [(0, 11), (12, 13)]
    """
    found = []
    for number in read:
        start = sum(channels[:number])
        stop = start + channels[number]
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, stop))
    return found


def add(device, into, rows):
    """into += rows, some channels on each thread."""

    def of_some(channels):
        into[channels] += rows[channels]

    for_pieces(of_some, device, len(into), into.nbytes)
