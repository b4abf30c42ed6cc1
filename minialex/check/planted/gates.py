"""Gates, and the exit that a picture takes: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


def by_channel(gates, sizes):
    """(C, 1, 1): each channel's gate, that of its source."""
    return np.repeat(gates, sizes)[:, None, None]


@right
def gate_forward(x, gates, sizes):
    return by_channel(gates, sizes) * x


@wrong("gate_forward", "a gate for each channel")
def gate_forward_channels(x, gates, sizes):
    """The gates are dealt out to the channels one by one, and from the first again: right where sizes are 1."""
    return np.resize(gates, x.shape[1])[:, None, None] * x


@wrong("gate_forward", "gates along the columns")
def gate_forward_columns(x, gates, sizes):
    """The gates lie along the columns, one a column, where each channel has one: [:, None, None]."""
    return np.repeat(gates, sizes) * x


@wrong("gate_forward", "sources of one size")
def gate_forward_one_size(x, gates, sizes):
    """Each source is taken to have as many channels as the next: right where it is so."""
    most = -(-x.shape[1] // len(gates))
    return np.repeat(gates, most)[: x.shape[1], None, None] * x


@wrong("gate_forward", "sizes taken for places")
def gate_forward_places(x, gates, sizes):
    """Sources are taken to end at channel `size`: the sizes before are not added."""
    y, first = x.copy(), 0
    for gate, size in zip(gates, sizes, strict=True):
        y[:, first:size] *= gate
        first = size
    return y


@wrong("gate_forward", "order turned round")
def gate_forward_order(x, gates, sizes):
    """The last gate is given to the first source."""
    return gate_forward(x, gates[::-1], sizes)


@wrong("gate_forward", "open or closed")
def gate_forward_switch(x, gates, sizes):
    """A gate that is not 0 lets all through: how far it is open does not count."""
    return gate_forward(x, (gates != 0).astype(float), sizes)


@wrong("gate_forward", "squared")
def gate_forward_squared(x, gates, sizes):
    """What has been through the gate goes through it again: right for those that are 0 or 1."""
    return gate_forward(gate_forward(x, gates, sizes), gates, sizes)


@wrong("gate_forward", "written into")
def gate_forward_written(x, gates, sizes):
    """The product is written into x itself: right numbers, but all who read x after it get them too."""
    x *= by_channel(gates, sizes)
    return x


def sums(products, sizes):
    """One for each source: over its channels, over pictures and pixels."""
    parts = np.split(products, np.cumsum(sizes)[:-1], axis=1)
    return np.array([part.sum() for part in parts])


@right
def gate_backward(x, gates, sizes, grad_y):
    return by_channel(gates, sizes) * grad_y, sums(grad_y * x, sizes)


@wrong("gate_backward", "gate forgotten")
def gate_backward_no_gate(x, gates, sizes, grad_y):
    """grad_x is grad_y: also what was closed gets all of it."""
    return grad_y.copy(), sums(grad_y * x, sizes)


@wrong("gate_backward", "closed for good")
def gate_backward_closed(x, gates, sizes, grad_y):
    """A gate that is 0 gets no gradient, so that it could never open again."""
    grad_x, grad_gates = gate_backward(x, gates, sizes, grad_y)
    return grad_x, grad_gates * (gates != 0)


@wrong("gate_backward", "y instead of x")
def gate_backward_y(x, gates, sizes, grad_y):
    """The gates' gradients are made with what came out of them, not with what came in."""
    return by_channel(gates, sizes) * grad_y, sums(grad_y * gate_forward(x, gates, sizes), sizes)


@wrong("gate_backward", "x forgotten")
def gate_backward_no_x(x, gates, sizes, grad_y):
    """The gates get the sum of grad_y, as a bias would."""
    return by_channel(gates, sizes) * grad_y, sums(grad_y, sizes)


@wrong("gate_backward", "mean instead of sum")
def gate_backward_mean(x, gates, sizes, grad_y):
    """The gates get the mean over the numbers of their source."""
    grad_x, grad_gates = gate_backward(x, gates, sizes, grad_y)
    return grad_x, grad_gates / (x[:, 0].size * np.array(sizes))


@wrong("gate_backward", "mean over the channels")
def gate_backward_channels(x, gates, sizes, grad_y):
    """Pictures and pixels are added up, a source's channels are not: right where sizes are 1."""
    grad_x, grad_gates = gate_backward(x, gates, sizes, grad_y)
    return grad_x, grad_gates / np.array(sizes)


@wrong("gate_backward", "written into")
def gate_backward_written(x, gates, sizes, grad_y):
    """The product is written into grad_y itself: right numbers, but whoever else holds that array has others now."""
    grad_gates = sums(grad_y * x, sizes)
    grad_y *= by_channel(gates, sizes)
    return grad_y, grad_gates


# -- the exit that a picture takes -------------------------------------------------------------------------


def softmax(logits, axis=2):
    exp = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return exp / exp.sum(axis=axis, keepdims=True)


def leaving(logits, sure):
    """y and left: each picture at the first exit where `sure` is true, (N, exits); at the last one else."""
    sure = sure.copy()
    sure[:, -1] = True
    return at(logits, sure.argmax(axis=1))  # argmax gives the first of equals


def at(logits, exits):
    return logits[np.arange(len(logits)), exits], exits + 1


@right
def early_exit(logits, leave_at):
    return leaving(logits, softmax(logits).max(axis=2) >= leave_at)


@wrong("early_exit", "surer than asked for")
def early_exit_surer(logits, leave_at):
    """> instead of >=: who is just as sure as it takes goes on. It shows where a softmax is 1 and leave_at is 1."""
    return leaving(logits, softmax(logits).max(axis=2) > leave_at)


@wrong("early_exit", "largest logit")
def early_exit_logit(logits, leave_at):
    """The largest logit is compared, not its probability."""
    return leaving(logits, logits.max(axis=2) >= leave_at)


@wrong("early_exit", "softmax over the exits")
def early_exit_axis(logits, leave_at):
    """The wrong axis: a class's probabilities add up to 1 over the exits, not an exit's over the classes."""
    return leaving(logits, softmax(logits, axis=1).max(axis=2) >= leave_at)


@wrong("early_exit", "overflow")
def early_exit_overflow(logits, leave_at):
    """exp of the logits as they are: from 710 on it is infinite, and what is no number is never sure."""
    exp = np.exp(logits)
    return leaving(logits, exp.max(axis=2) / exp.sum(axis=2) >= leave_at)


@wrong("early_exit", "entropy")
def early_exit_entropy(logits, leave_at):
    """The entropy is compared, as in BranchyNet: here its share of the largest that it could be, with 1 - leave_at."""
    p = softmax(logits)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=2) / np.log(p.shape[2])
    return leaving(logits, entropy <= 1 - leave_at)


@wrong("early_exit", "last that is sure")
def early_exit_last(logits, leave_at):
    """The last exit that is sure, not the first: nothing is saved."""
    sure = softmax(logits).max(axis=2) >= leave_at
    last = sure.shape[1] - 1 - sure[:, ::-1].argmax(axis=1)
    return at(logits, last)


@wrong("early_exit", "surest exit")
def early_exit_surest(logits, leave_at):
    """Each picture leaves where it is surest: to know that, all exits must have been asked."""
    return at(logits, softmax(logits).max(axis=2).argmax(axis=1))


@wrong("early_exit", "never sure, at the first")
def early_exit_never_first(logits, leave_at):
    """Who is sure nowhere leaves at the first exit: argmax of nothing but False is 0."""
    return at(logits, (softmax(logits).max(axis=2) >= leave_at).argmax(axis=1))


@wrong("early_exit", "never sure, lost")
def early_exit_never_lost(logits, leave_at):
    """Who is sure nowhere leaves nowhere: logits of 0, and exit 0."""
    y, left = early_exit(logits, leave_at)
    found = (softmax(logits).max(axis=2) >= leave_at).any(axis=1)
    return y * found[:, None], left * found


@wrong("early_exit", "counted from 0")
def early_exit_from_zero(logits, leave_at):
    """The first exit is called 0."""
    y, left = early_exit(logits, leave_at)
    return y, left - 1


@wrong("early_exit", "all together")
def early_exit_together(logits, leave_at):
    """The batch leaves as a whole, where all of it is sure: right for a picture alone."""
    sure = (softmax(logits).max(axis=2) >= leave_at).all(axis=0)
    return leaving(logits, np.tile(sure, (len(logits), 1)))


@wrong("early_exit", "order lost")
def early_exit_order(logits, leave_at):
    """The rows come in the order in which pictures leave, those of the first exit before those of the second."""
    y, left = early_exit(logits, leave_at)
    order = np.argsort(left, kind="stable")
    return y[order], left[order]
