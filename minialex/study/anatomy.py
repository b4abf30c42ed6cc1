"""What is of use in a network: single residual blocks, left out; each dense layer's inputs, weighed.

Two questions that the papers after ResNet asked. Does a residual network need each of its blocks? Veit, Wilber and
Belongie ("Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016, section 4.1) took them out of
a trained one of 110 layers, one at a time: hardly any was missed, but for those where the maps become smaller. And
which of the maps before it does a layer of a DenseNet read? Huang, Liu, van der Maaten and Weinberger (2016, section 5,
"Feature reuse", figure 5) looked at the weights. Both leave the network as it is.
"""

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from minialex.devices.device import to_numpy
from minialex.layers.branches import Identity, cut
from minialex.layers.conv import Conv2D
from minialex.layers.dense import Dense
from minialex.layers.layer import Layer
from minialex.layers.linear import Linear
from minialex.layers.sequential import Sequential
from minialex.models.densenet import DenseLayer
from minialex.models.inception_resnet import InceptionResidual
from minialex.models.network import backward_through, forward_through
from minialex.models.resnet import Residual
from minialex.training.arrays import BATCH_SIZE, given_batches
from minialex.training.evaluation import evaluate
from minialex.words import counted

READERS = (Conv2D, Linear)  # layers with a weight for each channel that they take

# ---- residual blocks, left out -------------------------------------------------------------------------


@dataclass(frozen=True)
class Dropped:
    """What a network does without one of its blocks.

    name: of the block. error: without it, in percent; more: than the whole network's, in percentage points.
    resizes: does its shortcut change the shape?
    """

    name: str
    error: float
    more: float
    resizes: bool


def drop_blocks(
    model: Sequential,
    x=None,
    y=None,
    *,
    batches=None,
    loss: Layer | None = None,
    batch_size: int = BATCH_SIZE,
) -> list[Dropped]:
    """The error without each residual block in turn, in evaluation mode; the first block of the network comes first.

    drop_blocks(model, x, y): arrays, as `train.fit` takes them; or drop_blocks(model, batches). loss: a loss layer;
    left out, the model's own. What is left of a block is its shortcut, see `without`. The model
    stays as it is: a copy runs, which shares its parameters.
    Raises ValueError for a network without residual blocks (one made with plain=True has none of them).

    >>> from minialex.models import resnet
    >>> x, y = np.ones((2, 3, 32, 32), np.float32), [0, 1]
    >>> [(row.name, row.resizes) for row in drop_blocks(resnet(8, 2, "cifar", width=0.1), x, y)]
    [('layer1.0', False), ('layer2.0', True), ('layer3.0', True)]
    """
    batches = given_batches("drop_blocks", model, x, y, batches, batch_size)
    model = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    blocks = residual_blocks(model)
    if not blocks:
        raise ValueError(f"{model} has no residual blocks to leave out: a ResNet or an Inception-ResNet has")
    whole, rows = evaluate(model, batches, loss=loss).error, []
    for name, block in blocks.items():
        with without(block):
            error = evaluate(model, batches, loss=loss).error
        rows.append(Dropped(name, error, error - whole, getattr(block, "downsample", None) is not None))
    return rows


def residual_blocks(model: Layer) -> dict[str, Layer]:
    """The blocks of a network that add something to their input, by name, in order."""
    return {name: layer for name, layer in _inside(model) if _is_residual(layer)}


@contextmanager
def without(block: Layer) -> Iterator[Layer]:
    """Inside a `with`, a residual block is its shortcut alone, with the ReLU behind it: y = relu(shortcut(x))

    Forward and backward both. Afterwards it is as before; a backward pass needs a forward pass on its own side.
    Raises ValueError for what is no residual block.

    >>> from minialex.models import resnet
    >>> model, x = resnet(8, 2, "cifar", width=0.1), np.ones((1, 2, 4, 4), np.float32)
    >>> with without(model["layer1"][0]) as block:
    ...     bool((block.forward(x) == x).all())
    True
    """
    if not _is_residual(block):
        raise ValueError(f"{block} has no shortcut, of which something would be left without its body")
    path = [layer for layer in (getattr(block, "downsample", None), block.relu) if layer is not None]
    path = path or [Identity()]
    state = vars(block)
    before = {name: state[name] for name in ("forward", "backward") if name in state}
    # What is set on the layer itself stands before what its class has.
    state |= {"forward": partial(forward_through, path), "backward": partial(backward_through, path)}
    for layer in (block, *path):
        vars(layer).update(saved=None, _output=None)  # what a forward pass has kept is of another one
    try:
        yield block
    finally:
        del state["forward"], state["backward"]
        state |= before


def _is_residual(layer):
    return isinstance(layer, InceptionResidual) or (isinstance(layer, Residual) and not layer.plain)


def _inside(layer, name=""):
    """(name, layer) of a layer, and of all that is inside of it, from the first to the last."""
    yield name, layer
    for key, child in layer.children().items():
        yield from _inside(child, f"{name}.{key}" if name else key)


# ---- what a dense layer reads --------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How much the layers of a dense block read of each other.

    name: of the block. sources: "x", what comes into the block, and its layers. readers: the layers, and what comes
    behind the block, where that is a convolution or a Linear. weights (sources, readers): the mean absolute weight of
    the reader's convolution, over the channels that come from the source; NaN where it does not read them.
    """

    name: str
    sources: list[str]
    readers: list[str]
    weights: np.ndarray


def reading(model: Layer) -> list[Reading]:
    """For each dense block, how much of each of its layers the later ones read.

        weights[s, l] = mean of |weight[f, c, i, j]| over all f, i, j, and the channels c that come from s

    `weight`: of the first convolution in layer l, the one that reads the concatenation; of what comes behind the block
    in the last column, a transition's convolution or the classifier. The paper's figure 5 shows the same: the L1 norm
    by the number of maps, of the weights alone. The scale of the batch normalisation before the convolution is left
    out, as it is there: it acts on a channel as the weights do, and weight decay holds down both.
    Weights begin at random, and a short training leaves much of that: look at the network before it, too. (After 4
    epochs on 10,000 pictures, with a growth of 3, what one sees correlated at 0.9 with the start.)
    Raises ValueError for a network without dense blocks, and for a layer that does not begin with a convolution of
    what it reads (behind normalisation, ReLU and the like).

    >>> block = Dense(a=Conv2D(2, 1, 1), b=Conv2D(3, 1, 1))
    >>> block.nodes["a"].weight.value[...] = 1.0
    >>> block.nodes["b"].weight.value[...] = np.reshape([2.0, -4.0, 0.5], (1, 3, 1, 1))
    >>> (table,) = reading(Sequential(block=block))
    >>> table.sources, table.readers, table.weights
    (['x', 'a', 'b'], ['a', 'b'], array([[1. , 3. ],
           [nan, 0.5],
           [nan, nan]]))
    """
    blocks = [(name, layer) for name, layer in _inside(model) if isinstance(layer, Dense)]
    if not blocks:
        raise ValueError(f"{model} has no dense blocks: a DenseNet has")
    return [_reading_of(name, block, _behind(model, block)) for name, block in blocks]


def _reading_of(name, block, behind):
    channels, columns = [], []  # of each source; for each reader (name, {source: mean})
    for (key, node), read in zip(block.nodes.items(), block.reads, strict=True):
        chain = list(_chain(node))
        _, reader = _first_reader(chain)
        if reader is None:
            raise ValueError(
                f"{name}.{key} does not begin with a convolution, whose weights say what it reads"
            )
        takes = reader.weight.value.shape[1]
        channels = channels or [takes]
        if takes != (count := sum(channels[j] for j in read)):
            raise ValueError(
                f"{name}.{key} reads {counted(count, 'channel')}, its first convolution takes {takes}"
            )
        columns.append((key, _means(reader, channels, read)))
        channels.append([layer for _, layer in chain if isinstance(layer, READERS)][-1].weight.value.shape[0])
    last, reader = behind
    if reader is not None and reader.weight.value.shape[1] == sum(channels):
        columns.append((last, _means(reader, channels, range(len(channels)))))
    weights = np.full((len(channels), len(columns)), np.nan)
    for column, (_, means) in enumerate(columns):
        weights[list(means), column] = list(means.values())
    return Reading(name, ["x", *block.nodes], [key for key, _ in columns], weights)


def _means(reader, channels, read):
    """The mean absolute weight over the channels of each source that is read."""
    parts = cut(to_numpy(reader.weight.value), [channels[j] for j in read])
    return {j: float(np.abs(part).mean()) for j, part in zip(read, parts, strict=True)}


def _chain(layer, name=""):
    """(name, layer) of what comes one after the other in a network; what goes its own way inside is one of them."""
    steps = layer.children() if isinstance(layer, Sequential | DenseLayer) else {}
    if not steps:
        yield name, layer
    for key, child in steps.items():
        yield from _chain(child, f"{name}.{key}" if name else key)


def _first_reader(chain):
    """The first convolution or Linear in a chain, with its name; (None, None) where another thing with weights of its
    own comes before."""
    for name, layer in chain:
        if isinstance(layer, READERS):
            return name, layer
        if layer.children():
            break
    return None, None


def _behind(model, block):
    """What comes next behind a block, as _first_reader says."""
    after = itertools.dropwhile(lambda step: step[1] is not block, _chain(model))
    next(after, None)
    return _first_reader(after)
