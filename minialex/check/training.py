"""The checks of what trains a network: loss, dropout, the SGD rule, schedules, the exchange, a gradient check."""

import numpy as np

from minialex import naive
from minialex.check import cases
from minialex.check.chance import DRAWS, dependence, repetition
from minialex.check.search import by_entries, by_magnitudes, compared, in_words, search
from minialex.check.verdict import NOT_WRITTEN, RIGHT, WRONG, Finding, Verdict
from minialex.data.augment import ten_crop as ten_crop_of
from minialex.training.schedules import Step
from minialex.words import a_or_an


def softmax_cross_entropy_forward(f) -> Verdict:
    """f(logits, labels) -> loss

    loss = mean over n of -log p[n, labels[n]],  p[n, k] = exp(logits[n, k]) / sum of exp(logits[n])

    logits (N, K), also as large as 30000; labels (N,) whole numbers from 0 to K-1; loss a number.
    """

    def size(logits, labels):
        return max(1.0, np.abs(logits).max())  # log p is a difference of such numbers

    judge = compared("loss", naive.softmax_cross_entropy, size)
    return search("softmax_cross_entropy_forward", f, cases.classification, judge, "loss")


def softmax_cross_entropy_backward(f) -> Verdict:
    """f(logits, labels) -> grad_logits

    grad_logits[n, k] = (p[n, k] - (1 if k == labels[n] else 0)) / N

    p as in softmax_cross_entropy_forward; logits and grad_logits (N, K), labels (N,).
    """

    def size(logits, labels):
        return max(1.0, np.abs(logits).max()) / len(logits)

    judge = compared("grad_logits", naive.softmax_cross_entropy_backward, size)
    return search("softmax_cross_entropy_backward", f, cases.classification, judge, "grad_logits")


# -- dropout -----------------------------------------------------------------------------------------------


def dropout_forward(f) -> Verdict:
    """f(x, mask, p) -> y

    y = x * mask / (1 - p): inverted dropout, in training

    x, mask and y of one shape; mask True where x is kept, which has probability 1 - p.
    """
    return search("dropout_forward", f, cases.dropout, by_entries("y", naive.dropout), "y")


def dropout_backward(f) -> Verdict:
    """f(mask, p, grad_y) -> grad_x

    grad_x = grad_y * mask / (1 - p)

    mask, grad_y and grad_x of one shape; mask True where x was kept.
    """

    def expected(mask, p, grad_y):
        return naive.dropout_backward(grad_y, mask, p)

    return search("dropout_backward", f, cases.dropout_backward, by_entries("grad_x", expected), "grad_x")


def dropout_mask(f) -> Verdict:
    """f(shape, p, rng) -> mask

    mask = 1 (or True) with probability 1 - p, else 0 (or False): each entry on its own, drawn from rng

    The check wants the shape, nothing but 0 and 1, each entry kept with probability 1 - p and on its own (small masks
    are drawn a thousand times), another mask when drawn again, and the same mask from an equal rng
    (np.random.default_rng(0), say). rng is a NumPy Generator. chance.py says what this can't see.
    """
    known = {}  # of each case that was tried: the thousand draws are made once

    def judge(result, case):
        if result is None or result is Ellipsis:
            return [Finding("mask", NOT_WRITTEN)]
        generator, shape, p = case["rng"].generator(), case["shape"], case["p"]
        untouched = generator.bit_generator.state
        try:
            mask = np.asarray(result)
        except Exception:  # rows of several lengths, say
            kind = a_or_an(type(result).__name__)
            return [
                Finding(
                    "mask", "wrong type", f"{kind}, where a NumPy array of bool (or of 0 and 1) is wanted"
                )
            ]
        try:
            first = np.asarray(f(shape, p, generator))
            drew = generator.bit_generator.state != untouched
            second = np.asarray(f(shape, p, generator))
            state, text = _mask_verdict(mask, first, second, drew, shape, p)
            key = (shape, p, int(case["rng"]))
            if state == RIGHT and key not in known:
                large = first.size >= LARGE
                text = repetition(first, p) if large else dependence(_draws(f, shape, p, generator), shape, p)
                known[key] = (WRONG if text else RIGHT), text
            state, text = known[key] if state == RIGHT else (state, text)
        except Exception as error:
            return [Finding("mask", "raised", f"when called again: {in_words(error)}")]
        return [Finding("mask", state, text)]

    return search("dropout_mask", f, cases.dropout_mask, judge, "mask")


def _draws(f, *args):
    """draw() -> the next mask. One that is drawn in another process comes with all others in one message."""
    several = getattr(f, "several", None)
    return iter(several(args, DRAWS)).__next__ if several else lambda: f(*args)


LARGE = 1000  # entries: one such mask says much about chance, a smaller one only when drawn many times


def _mask_verdict(mask, again, next_one, drew, shape, p):
    """`again` comes from an equal generator, `next_one` from the same generator after it; drew: did it move on?"""
    if mask.dtype.kind not in "biuf":
        return "wrong type", f"{mask.dtype}, where a NumPy array of bool (or of 0 and 1) is wanted"
    if mask.shape != tuple(shape):
        return "wrong shape", f"{mask.shape}, not {tuple(shape)}"
    if not np.isin(mask, (0, 1)).all():
        return "wrong", f"a mask has 0 and 1 alone; this one has {mask[~np.isin(mask, (0, 1))][0]:.6g}"
    if mask.size >= LARGE:
        for axis in range(
            mask.ndim
        ):  # entries drawn on their own: means along an axis stray as chance has it
            means = mask.mean(axis=axis)
            chance = np.sqrt(p * (1 - p) / mask.shape[axis])
            if means.std() > 2 * chance:
                return "wrong", f"entries along axis {axis} are not drawn on their own: whole lines are alike"
        kept, spread = mask.mean(), np.sqrt(p * (1 - p) / mask.size)
        if abs(kept - (1 - p)) > 7 * spread:
            return "wrong", f"a share of {kept:.3f} is kept, where 1 - p = {1 - p:.3g} is wanted"
    if not drew:
        return "wrong", "the mask was not drawn from the rng that was given"
    if (mask != again).any():
        return "wrong", "two equal generators gave two masks: something else than the given rng had a say"
    if mask.size >= LARGE and (again == next_one).all():
        return "wrong", "two draws from one rng gave the same mask"
    return RIGHT, ""


# -- one step ----------------------------------------------------------------------------------------------


def sgd_step(f) -> Verdict:
    """f(w, v, grad, lr, momentum, weight_decay) -> (w, v), the new ones

    v <- momentum * v - weight_decay * lr * w - lr * grad;  w <- w + v        2012, section 5

    w, v and grad of one shape; the old ones must stay as they are.
    """

    def expected(w, v, grad, lr, momentum, weight_decay):
        return naive.sgd_step(w, v, grad, lr, momentum, weight_decay)

    def size(w, v, grad, lr, momentum, weight_decay):
        step = momentum * np.abs(v) + weight_decay * lr * np.abs(w) + lr * np.abs(grad)
        return np.max(np.abs(w) + step), step.max()

    return search("sgd_step", f, cases.sgd, compared("w v", expected, size), "w v")


def step_schedule(f) -> Verdict:
    """f(lr, epoch, at, factor) -> lr

    lr * factor ** (how many of the epochs `at` have begun: epoch >= start)

    epoch may have a fraction: 2.5 is the middle of the third; at: a tuple of whole numbers.
    """

    def expected(lr, epoch, at, factor):
        return Step(lr, at, factor)(epoch)

    return search("step_schedule", f, cases.schedule, by_magnitudes("lr", expected), "lr")


# -- two towers --------------------------------------------------------------------------------------------


def exchange_forward(f) -> Verdict:
    """f(x0, x1) -> (y0, y1)

    y0 = y1 = the channels of x0, then those of x1

    x0 (N, C0, H, W), x1 (N, C1, H, W), y0 and y1 (N, C0 + C1, H, W).
    """

    def expected(x0, x1):
        y = np.concatenate([x0, x1], axis=1)
        return y, y

    return search("exchange_forward", f, cases.exchange, by_entries("y0 y1", expected), "y0 y1")


def exchange_backward(f) -> Verdict:
    """f(grad_y0, grad_y1, channels0) -> (grad_x0, grad_x1)

    grad_x0 = grad_y0[:, :channels0] + grad_y1[:, :channels0];  grad_x1 the same with the channels after these

    Both towers read x0, so both send a gradient home. grad_y0 and grad_y1 (N, C0 + C1, H, W), channels0 = C0.
    """

    def expected(grad_y0, grad_y1, channels0):
        total = grad_y0 + grad_y1
        return total[:, :channels0], total[:, channels0:]

    names = "grad_x0 grad_x1"
    judge = by_entries(names, expected, "grad_y0 grad_y1")
    return search("exchange_backward", f, cases.exchange_backward, judge, names)


# -- lesson 06 and 14 --------------------------------------------------------------------------------------


def gradcheck(f) -> Verdict:
    """f(function, x, grad_y, eps) -> grad_x

    grad_x[e] = (L(x with eps more at e) - L(x with eps less at e)) / (2*eps),  L(x) = sum of function(x) * grad_y

    x and grad_x (N, D); grad_y of the shape of function(x), which may be another. eps is large here, 1/4 or 1/2, so
    that a difference to one side alone shows.
    """

    def differences(function, x, grad_y, eps):
        """For each entry: the function on either side, times grad_y / (2 * eps)."""
        for e in np.ndindex(x.shape):
            step = np.zeros(x.shape)
            step[e] = eps
            yield e, *(function(x + sign * step) * grad_y / (2 * eps) for sign in (1, -1))

    def expected(**case):
        grad_x = np.zeros(case["x"].shape)
        for e, up, down in differences(**case):
            grad_x[e] = (up - down).sum()
        return grad_x

    def size(**case):
        return max((np.abs(up) + np.abs(down)).sum() for _, up, down in differences(**case))

    judge = compared("grad_x", expected, size)
    return search("gradcheck", f, cases.numerical_gradient, judge, "grad_x")


def ten_crop(f) -> Verdict:
    """f(picture, size) -> crops

    the four corners (upper left, upper right, lower left, lower right), the middle, then the same five mirrored

    picture (C, H, W); crops (10, C, size, size). The middle begins at row (H - size) // 2, column (W - size) // 2.
    """
    return search("ten_crop", f, cases.picture, by_entries("crops", ten_crop_of), "crops")
