"""How LeNet-5 ended in 1998, RBF and MAP loss: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


@right
def rbf_forward(x, codes):
    differences = x[:, None, :] - codes[None, :, :]  # (N, K, D)
    return -(differences**2).sum(axis=2)


@wrong("rbf_forward", "sign")
def rbf_sign(x, codes):
    """The distances themselves: now the class whose code is farthest has the largest number."""
    return -rbf_forward(x, codes)


@wrong("rbf_forward", "root taken")
def rbf_root(x, codes):
    """Distances, where their squares belong."""
    return -np.sqrt(-rbf_forward(x, codes))


@wrong("rbf_forward", "absolute differences")
def rbf_absolute(x, codes):
    """The differences are not squared, they lose their sign."""
    return -np.abs(x[:, None, :] - codes[None, :, :]).sum(axis=2)


@wrong("rbf_forward", "squared after the sum")
def rbf_squared_late(x, codes):
    """The sum is squared, so that differences of opposite sign cancel."""
    return -((x[:, None, :] - codes[None, :, :]).sum(axis=2) ** 2)


@wrong("rbf_forward", "mean instead of sum")
def rbf_mean(x, codes):
    """The mean over the D numbers of a code."""
    return rbf_forward(x, codes) / x.shape[1]


@wrong("rbf_forward", "a linear layer")
def rbf_linear(x, codes):
    """The codes are taken for weights: products, where distances belong."""
    return x @ codes.T


@right
def rbf_backward(x, codes, grad_y):
    differences = x[:, None, :] - codes[None, :, :]  # (N, K, D)
    return (grad_y[:, :, None] * -2 * differences).sum(axis=1)


@wrong("rbf_backward", "sign")
def rbf_backward_sign(x, codes, grad_y):
    """The minus in front of the sum is lost: training pushes x away from its code."""
    return -rbf_backward(x, codes, grad_y)


@wrong("rbf_backward", "2 forgotten")
def rbf_backward_halved(x, codes, grad_y):
    """The 2 is left out that the derivative of a square has."""
    return rbf_backward(x, codes, grad_y) / 2


@wrong("rbf_backward", "grad_y forgotten")
def rbf_backward_alone(x, codes, grad_y):
    """The gradient from above is not used."""
    return rbf_backward(x, codes, np.ones(grad_y.shape))


@wrong("rbf_backward", "codes forgotten")
def rbf_backward_no_codes(x, codes, grad_y):
    """-2 * x: as if all codes were 0."""
    return rbf_backward(x, 0 * codes, grad_y)


@wrong("rbf_backward", "mean over the classes")
def rbf_backward_mean(x, codes, grad_y):
    """What comes back from the classes is averaged, where it adds up: x has a part in every class's number."""
    return rbf_backward(x, codes, grad_y) / len(codes)


# -- the MAP loss ------------------------------------------------------------------------------------------


def with_rubbish(logits, j):
    """One more column: rubbish, whose distance is j."""
    return np.concatenate([logits, np.full((len(logits), 1), -j)], axis=1)


@right
def map_loss_forward(logits, labels, j):
    everything = with_rubbish(logits, j)
    largest = everything.max(axis=1, keepdims=True)
    log_total = largest[:, 0] + np.log(np.exp(everything - largest).sum(axis=1))
    return (log_total - logits[np.arange(len(labels)), labels]).mean()


@wrong("map_loss_forward", "rubbish forgotten")
def map_loss_no_rubbish(logits, labels, j):
    """exp(-j) is not added: this is the cross-entropy."""
    return map_loss_forward(logits, labels, np.inf)


@wrong("map_loss_forward", "j as it is")
def map_loss_plain_j(logits, labels, j):
    """j is added inside the logarithm, where exp(-j) belongs."""
    return map_loss_forward(logits, labels, -np.log(j))


@wrong("map_loss_forward", "sign of j")
def map_loss_sign_of_j(logits, labels, j):
    """exp(j), where exp(-j) belongs: j is a distance."""
    return map_loss_forward(logits, labels, -j)


@wrong("map_loss_forward", "logits taken for distances")
def map_loss_distances(logits, labels, j):
    """d = logits, where d = -logits belongs: training moves x away from its own code."""
    return map_loss_forward(-logits, labels, j)


@wrong("map_loss_forward", "summed")
def map_loss_summed(logits, labels, j):
    """The sum over the batch, where the mean belongs."""
    return map_loss_forward(logits, labels, j) * len(labels)


@wrong("map_loss_forward", "overflow")
def map_loss_overflows(logits, labels, j):
    """The largest logit is not taken off: exp(10000) is inf."""
    total = np.exp(-j) + np.exp(logits).sum(axis=1)
    return (np.log(total) - logits[np.arange(len(labels)), labels]).mean()


@wrong("map_loss_forward", "largest of all")
def map_loss_largest_of_all(logits, labels, j):
    """The largest of the whole array is taken off, not each row's own: the sum of a row far below it is 0."""
    everything = with_rubbish(logits, j)
    log_total = everything.max() + np.log(np.exp(everything - everything.max()).sum(axis=1))
    return (log_total - logits[np.arange(len(labels)), labels]).mean()


def as_a_table(logits, labels, j, largest):
    total = np.exp(-j - largest) + np.exp(logits - largest).sum(axis=1)  # (N, 1) + (N,): (N, N)
    return (largest + np.log(total) - logits[np.arange(len(labels)), labels]).mean()


@wrong("map_loss_forward", "shapes (N, 1) and (N,)")
def map_loss_table(logits, labels, j):
    """Rubbish's share is (N, 1), the classes' sums are (N,): they add up to a table (N, N), each picture with each."""
    return as_a_table(logits, labels, j, np.maximum(logits.max(axis=1, keepdims=True), -j))


@wrong("map_loss_forward", "shapes (N, 1) and (N,), overflow")
def map_loss_table_overflows(logits, labels, j):
    """Shares of (N, 1) and (N,) add up to a table, (N, N); and the largest is that of the logits alone."""
    return as_a_table(logits, labels, j, logits.max(axis=1, keepdims=True))


@wrong("map_loss_forward", "rubbish left out of the sum")
def map_loss_rubbish_cut(logits, labels, j):
    """Rubbish has a say in the largest, and is then left out of the sum: there is no exp(-j) in it."""
    largest = with_rubbish(logits, j).max(axis=1)
    log_total = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return (log_total - logits[np.arange(len(labels)), labels]).mean()


@wrong("map_loss_forward", "rubbish and largest forgotten")
def map_loss_neither(logits, labels, j):
    """exp(-j) is not added, and the largest logit is not taken off: exp(10000) is inf."""
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]).mean()


@wrong("map_loss_forward", "rubbish overflows")
def map_loss_rubbish_overflows(logits, labels, j):
    """The largest is that of the logits alone: where all codes are far, exp(-j - largest) is inf."""
    largest = logits.max(axis=1, keepdims=True)
    total = np.exp(-j - largest[:, 0]) + np.exp(logits - largest).sum(axis=1)
    return (largest[:, 0] + np.log(total) - logits[np.arange(len(labels)), labels]).mean()


@right
def map_loss_backward(logits, labels, j):
    everything = with_rubbish(logits, j)
    exp = np.exp(everything - everything.max(axis=1, keepdims=True))  # at most 1: nothing overflows
    p = (exp / exp.sum(axis=1, keepdims=True))[:, :-1]
    return (p - np.eye(logits.shape[1])[labels]) / len(labels)


@wrong("map_loss_backward", "rubbish forgotten")
def map_loss_backward_no_rubbish(logits, labels, j):
    """The softmax of the classes alone: the gradient of the cross-entropy."""
    return map_loss_backward(logits, labels, np.inf)


@wrong("map_loss_backward", "sign of j")
def map_loss_backward_sign_of_j(logits, labels, j):
    """exp(j), where exp(-j) belongs: j is a distance."""
    return map_loss_backward(logits, labels, -j)


@wrong("map_loss_backward", "not divided by N")
def map_loss_backward_summed(logits, labels, j):
    """The gradient of the sum over the batch, where the loss is the mean."""
    return map_loss_backward(logits, labels, j) * len(labels)


@wrong("map_loss_backward", "one-hot forgotten")
def map_loss_backward_shares(logits, labels, j):
    """p / N: the label has no say."""
    return map_loss_backward(logits, labels, j) + np.eye(logits.shape[1])[labels] / len(labels)


@wrong("map_loss_backward", "sign")
def map_loss_backward_sign(logits, labels, j):
    """one_hot - p: that is the gradient of the distances, not of the logits."""
    return -map_loss_backward(logits, labels, j)


@wrong("map_loss_backward", "overflow")
def map_loss_backward_overflows(logits, labels, j):
    """The largest logit is not taken off: exp(10000) is inf, and inf / inf is nan."""
    exp = np.exp(logits)
    p = exp / (np.exp(-j) + exp.sum(axis=1, keepdims=True))
    return (p - np.eye(logits.shape[1])[labels]) / len(labels)


@wrong("map_loss_backward", "largest of all")
def map_loss_backward_largest_of_all(logits, labels, j):
    """The largest of the whole array is taken off, not each row's own: a row far below it becomes 0 / 0."""
    everything = with_rubbish(logits, j)
    exp = np.exp(everything - everything.max())
    return ((exp / exp.sum(axis=1, keepdims=True))[:, :-1] - np.eye(logits.shape[1])[labels]) / len(labels)


@wrong("map_loss_backward", "rubbish left out of the sum")
def map_loss_backward_rubbish_cut(logits, labels, j):
    """Rubbish has a say in the largest, and is then left out of the sum: the p of the classes add up to 1."""
    exp = np.exp(logits - with_rubbish(logits, j).max(axis=1, keepdims=True))
    return (exp / exp.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]) / len(labels)


@wrong("map_loss_backward", "rubbish and largest forgotten")
def map_loss_backward_neither(logits, labels, j):
    """exp(-j) is not in the sum below p, and the largest logit is not taken off: inf / inf is nan."""
    exp = np.exp(logits)
    return (exp / exp.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]) / len(labels)
