"""The checks of how LeNet-5 ended in 1998: distances to codes, and a loss with a class for rubbish."""

import numpy as np

from minialex import naive
from minialex.check import cases
from minialex.check.search import compared, search
from minialex.check.verdict import Verdict


def rbf_forward(f) -> Verdict:
    """f(x, codes) -> y

    y[n, k] = - sum over d of (x[n, d] - codes[k, d])**2

    1998, section II.B, with the sign turned: the class whose code is nearest has the largest y. x (N, D),
    codes (K, D), one for each class, y (N, K).
    """

    def size(x, codes):
        return x.shape[1] * (np.abs(x).max() + np.abs(codes).max()) ** 2

    return search("rbf_forward", f, cases.rbf, compared("y", naive.rbf, size), "y")


def rbf_backward(f) -> Verdict:
    """f(x, codes, grad_y) -> grad_x

    grad_x[n, d] = sum over k of grad_y[n, k] * -2 * (x[n, d] - codes[k, d])

    The codes are fixed, and get no gradient. x and grad_x (N, D), codes (K, D), grad_y (N, K).
    """

    def size(x, codes, grad_y):
        return 2 * len(codes) * np.abs(grad_y).max() * (np.abs(x).max() + np.abs(codes).max())

    return search(
        "rbf_backward", f, cases.rbf_backward, compared("grad_x", naive.rbf_backward, size), "grad_x"
    )


def map_loss_forward(f) -> Verdict:
    """f(logits, labels, j) -> loss

    loss = mean over n of d[n, labels[n]] + log(exp(-j) + sum over k of exp(-d[n, k])),  d = -logits

    1998, equation (9). d are the distances whose negatives `rbf_forward` gives; j is the distance of one more class,
    that of rubbish. logits (N, K), of either sign, also as large as 30000; labels (N,) whole numbers from 0 to K-1;
    loss a number.
    """

    def expected(logits, labels, j):
        return naive.map_loss(logits, labels, j)

    def size(logits, labels, j):
        return max(1.0, np.abs(logits).max(), j)  # a difference of such numbers

    judge = compared("loss", expected, size)
    return search("map_loss_forward", f, cases.classification_with_rubbish, judge, "loss")


def map_loss_backward(f) -> Verdict:
    """f(logits, labels, j) -> grad_logits

    grad_logits[n, k] = (p[n, k] - (1 if k == labels[n] else 0)) / N
    p[n, k] = exp(logits[n, k]) / (exp(-j) + sum over i of exp(logits[n, i]))

    The p of a picture do not add up to 1: rubbish has the rest. logits and grad_logits (N, K), labels (N,).
    """

    def expected(logits, labels, j):
        return naive.map_loss_backward(logits, labels, j)

    def size(logits, labels, j):
        return max(1.0, np.abs(logits).max(), j) / len(logits)

    judge = compared("grad_logits", expected, size)
    return search("map_loss_backward", f, cases.classification_with_rubbish, judge, "grad_logits")
