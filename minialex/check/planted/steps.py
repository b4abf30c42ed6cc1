"""Loss, dropout, SGD, schedules, the exchange, gradient check and ten crops: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))  # at most 1: nothing overflows
    return exp / exp.sum(axis=1, keepdims=True)


@right
def softmax_cross_entropy_forward(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


@wrong("softmax_cross_entropy_forward", "summed")
def loss_summed(logits, labels):
    """The sum over the batch, where the mean belongs."""
    return softmax_cross_entropy_forward(logits, labels) * len(labels)


@wrong("softmax_cross_entropy_forward", "overflow")
def loss_overflows(logits, labels):
    """The largest logit is not taken off: exp(10000) is inf, and inf / inf is nan."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(labels)), labels]).mean()


@wrong("softmax_cross_entropy_forward", "log of zero")
def loss_log_of_zero(logits, labels):
    """The log of p is taken: p survives large logits, but the log of one that became 0 does not."""
    return -np.log(softmax(logits)[np.arange(len(labels)), labels]).mean()


@wrong("softmax_cross_entropy_forward", "over the batch")
def loss_wrong_axis(logits, labels):
    """The softmax runs over the pictures, where it should run over the classes."""
    log_p = logits - logits.max(axis=0) - np.log(np.exp(logits - logits.max(axis=0)).sum(axis=0))
    return -log_p[np.arange(len(labels)), labels].mean()


@wrong("softmax_cross_entropy_forward", "largest of all")
def loss_largest_of_all(logits, labels):
    """The largest of the whole array is taken off, not each row's own: the sum of a row far below it is 0."""
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


@wrong("softmax_cross_entropy_forward", "keepdims forgotten")
def loss_sums_across(logits, labels):
    """The sums, (N,), are laid along the classes: each row has its own, which stands in a column, (N, 1)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1))
    return -log_p[np.arange(len(labels)), labels].mean()


@right
def softmax_cross_entropy_backward(logits, labels):
    one_hot = np.eye(logits.shape[1])[labels]
    return (softmax(logits) - one_hot) / len(labels)


@wrong("softmax_cross_entropy_backward", "not divided by N")
def loss_backward_summed(logits, labels):
    """The gradient of the sum over the batch, where the loss is the mean."""
    return softmax_cross_entropy_backward(logits, labels) * len(labels)


@wrong("softmax_cross_entropy_backward", "one-hot forgotten")
def loss_backward_softmax(logits, labels):
    """p / N: the label has no say."""
    return softmax(logits) / len(labels)


@wrong("softmax_cross_entropy_backward", "sign")
def loss_backward_sign(logits, labels):
    """one_hot - p: uphill."""
    return -softmax_cross_entropy_backward(logits, labels)


@wrong("softmax_cross_entropy_backward", "largest of all")
def loss_backward_largest_of_all(logits, labels):
    """The largest of the whole array is taken off, not each row's own: a row far below it becomes 0 / 0."""
    exp = np.exp(logits - logits.max())
    return (exp / exp.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]) / len(labels)


@wrong("softmax_cross_entropy_backward", "overflow")
def loss_backward_overflows(logits, labels):
    """The largest logit is not taken off: exp(10000) is inf, and inf / inf is nan."""
    exp = np.exp(logits)
    return (exp / exp.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]) / len(labels)


@wrong("softmax_cross_entropy_backward", "keepdims forgotten")
def loss_backward_sums_across(logits, labels):
    """The sums, (N,), are laid along the classes: each row has its own, which stands in a column, (N, 1)."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exp / exp.sum(axis=1) - np.eye(logits.shape[1])[labels]) / len(labels)


# -- dropout -----------------------------------------------------------------------------------------------


@right
def dropout_forward(x, mask, p):
    return x * mask / (1 - p)


@wrong("dropout_forward", "not scaled")
def dropout_not_scaled(x, mask, p):
    """The 1 / (1 - p) of inverted dropout is missing."""
    return x * mask


@wrong("dropout_forward", "scaled by p")
def dropout_by_p(x, mask, p):
    """Divided by the share that is dropped; at p = 0.5 nobody notices."""
    return x * mask / p


@wrong("dropout_forward", "keeps what it should drop")
def dropout_turned(x, mask, p):
    """The mask is turned round."""
    return x * (1 - mask) / (1 - p)


@right
def dropout_backward(mask, p, grad_y):
    return grad_y * mask / (1 - p)


@wrong("dropout_backward", "missing mask")
def dropout_backward_without_mask(mask, p, grad_y):
    """Dropped units get a gradient."""
    return grad_y / (1 - p)


@wrong("dropout_backward", "not scaled")
def dropout_backward_not_scaled(mask, p, grad_y):
    """The 1 / (1 - p) of forward is missing."""
    return grad_y * mask


@wrong("dropout_backward", "scaled twice")
def dropout_backward_twice(mask, p, grad_y):
    """1 / (1 - p) is in it twice."""
    return grad_y * mask / (1 - p) ** 2


@right
def dropout_mask(shape, p, rng):
    return rng.random(shape) >= p


@wrong("dropout_mask", "keeps p")
def dropout_mask_keeps_p(shape, p, rng):
    """A share of p is kept, where 1 - p belongs."""
    return rng.random(shape) < p


@wrong("dropout_mask", "one row for all")
def dropout_mask_one_row(shape, p, rng):
    """All pictures of a batch lose the same units."""
    return np.broadcast_to(rng.random(shape[1:]) >= p, shape)


@wrong("dropout_mask", "own generator")
def dropout_mask_own_rng(shape, p, rng):
    """A new generator with a fixed seed: the same mask at every step."""
    return np.random.default_rng(0).random(shape) >= p


@wrong("dropout_mask", "scaled already")
def dropout_mask_scaled(shape, p, rng):
    """The mask is divided by 1 - p, which belongs to forward: a mask is 0 or 1."""
    return (rng.random(shape) >= p) / (1 - p)


# -- one step of training ----------------------------------------------------------------------------------


@right
def sgd_step(w, v, grad, lr, momentum, weight_decay):
    v = momentum * v - weight_decay * lr * w - lr * grad
    return w + v, v


@wrong("sgd_step", "uphill")
def sgd_uphill(w, v, grad, lr, momentum, weight_decay):
    """The gradient is added to the velocity."""
    return sgd_step(w, v, -grad, lr, momentum, weight_decay)


@wrong("sgd_step", "decay not scaled by lr")
def sgd_decay_without_lr(w, v, grad, lr, momentum, weight_decay):
    """The decay's lr is missing: with a small lr, weights shrink far too fast."""
    v = momentum * v - weight_decay * w - lr * grad
    return w + v, v


@wrong("sgd_step", "old velocity")
def sgd_old_velocity(w, v, grad, lr, momentum, weight_decay):
    """The weights move by the velocity from before the step."""
    return w + v, sgd_step(w, v, grad, lr, momentum, weight_decay)[1]


@wrong("sgd_step", "PyTorch's rule")
def sgd_rate_outside(w, v, grad, lr, momentum, weight_decay):
    """The rate is outside the velocity: the same only while lr does not change."""
    v = momentum * v + weight_decay * w + grad
    return w - lr * v, v


@right
def step_schedule(lr, epoch, at, factor):
    return lr * factor ** sum(epoch >= start for start in at)


@wrong("step_schedule", "one epoch late")
def schedule_late(lr, epoch, at, factor):
    """> where >= belongs."""
    return lr * factor ** sum(epoch > start for start in at)


@wrong("step_schedule", "drops once")
def schedule_once(lr, epoch, at, factor):
    """The second drop never comes."""
    return lr * factor if epoch >= at[0] else lr


@wrong("step_schedule", "divides")
def schedule_divides(lr, epoch, at, factor):
    """Divided by the factor: the rate grows."""
    return lr / factor ** sum(epoch >= start for start in at)


@right
def exchange_forward(x0, x1):
    y = np.concatenate([x0, x1], axis=1)
    return y, y.copy()


@wrong("exchange_forward", "each its own first")
def exchange_own_first(x0, x1):
    """The second tower puts its own channels first."""
    return np.concatenate([x0, x1], axis=1), np.concatenate([x1, x0], axis=1)


@wrong("exchange_forward", "batches joined")
def exchange_batches(x0, x1):
    """Joined along the pictures instead of the channels; towers of unequal width raise."""
    y = np.concatenate([x0, x1], axis=0)
    return y, y


@wrong("exchange_forward", "nothing crosses")
def exchange_nothing(x0, x1):
    """Each tower sees its own channels twice."""
    return np.concatenate([x0, x0], axis=1), np.concatenate([x1, x1], axis=1)


@right
def exchange_backward(grad_y0, grad_y1, channels0):
    grad = grad_y0 + grad_y1
    return grad[:, :channels0], grad[:, channels0:]


@wrong("exchange_backward", "forgets one gradient")
def exchange_backward_own(grad_y0, grad_y1, channels0):
    """What the other tower sends back is lost."""
    return grad_y0[:, :channels0], grad_y1[:, channels0:]


@wrong("exchange_backward", "halves")
def exchange_backward_halves(grad_y0, grad_y1, channels0):
    """Cut in the middle: right for towers of equal width."""
    return exchange_backward(grad_y0, grad_y1, grad_y0.shape[1] // 2)


@wrong("exchange_backward", "mean instead of sum")
def exchange_backward_mean(grad_y0, grad_y1, channels0):
    """The mean of the two gradients."""
    return exchange_backward(grad_y0 / 2, grad_y1 / 2, channels0)


# -- gradient check and ten crops --------------------------------------------------------------------------


@right
def gradcheck(function, x, grad_y, eps):
    grad_x = np.zeros(x.shape)
    for entry in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[entry] += eps
        down[entry] -= eps
        grad_x[entry] = ((function(up) - function(down)) * grad_y).sum() / (2 * eps)
    return grad_x


@wrong("gradcheck", "one side")
def gradcheck_one_side(function, x, grad_y, eps):
    """(f(x + eps) - f(x)) / eps: its error shrinks with eps, not with eps**2."""
    grad_x = np.zeros(x.shape)
    for entry in np.ndindex(x.shape):
        up = x.copy()
        up[entry] += eps
        grad_x[entry] = ((function(up) - function(x)) * grad_y).sum() / eps
    return grad_x


@wrong("gradcheck", "all at once")
def gradcheck_all_at_once(function, x, grad_y, eps):
    """Every entry is moved at the same time: one slope for all."""
    slope = ((function(x + eps) - function(x - eps)) * grad_y).sum() / (2 * eps)
    return np.full(x.shape, slope)


@wrong("gradcheck", "2 forgotten")
def gradcheck_twice(function, x, grad_y, eps):
    """Divided by eps, though the two points are 2 * eps apart."""
    return 2 * gradcheck(function, x, grad_y, eps)


@wrong("gradcheck", "grad_y forgotten")
def gradcheck_alone(function, x, grad_y, eps):
    """The sum of function(x) alone: the gradient from above is not used."""
    return gradcheck(function, x, np.ones(grad_y.shape), eps)


@right
def ten_crop(picture, size):
    H, W = picture.shape[1:]
    corners = [(0, 0), (0, W - size), (H - size, 0), (H - size, W - size)]
    middle = [((H - size) // 2, (W - size) // 2)]
    five = np.stack([picture[:, top : top + size, left : left + size] for top, left in corners + middle])
    return np.concatenate([five, five[..., ::-1]])


@wrong("ten_crop", "not mirrored")
def ten_crop_twice(picture, size):
    """The five crops twice."""
    five = ten_crop(picture, size)[:5]
    return np.concatenate([five, five])


@wrong("ten_crop", "upside down")
def ten_crop_upside_down(picture, size):
    """Mirrored top to bottom, where left and right should change places."""
    five = ten_crop(picture, size)[:5]
    return np.concatenate([five, five[..., ::-1, :]])


@wrong("ten_crop", "pairs")
def ten_crop_pairs(picture, size):
    """Each crop is followed by its mirror image: another order."""
    ten = ten_crop(picture, size)
    return ten[[0, 5, 1, 6, 2, 7, 3, 8, 4, 9]]
