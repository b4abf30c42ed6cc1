"""Lesson 10: local response normalisation, forward and backward."""

import numpy as np


def sum_near(x, size):
    """As in the lesson."""
    half, C = size // 2, x.shape[1]
    padded = np.pad(x, ((0, 0), (half, half), (0, 0), (0, 0)))
    return sum(padded[:, shift : shift + C] for shift in range(size))


# exercise: lrn_forward
def lrn_forward(x, size, alpha, beta, k):
    half, C = size // 2, x.shape[1]
    padded = np.pad(x**2, ((0, 0), (half + 1, half), (0, 0), (0, 0)))
    up_to = padded.cumsum(axis=1)
    near = up_to[:, size:] - up_to[:, :C]  # up to the window's end, less all before its start
    return x / (k + alpha * near) ** beta


# exercise: lrn_backward
def lrn_backward(x, size, alpha, beta, k, grad_y):
    s = k + alpha * sum_near(x**2, size)
    cross = sum_near(grad_y * x * s ** (-beta - 1), size)  # over all c that read x[m]
    return grad_y * s**-beta - 2 * alpha * beta * x * cross


# open questions
#
# 1. For k = 0 and beta = 1/2: s grows by 4, its root by 2, and the 2 cancels out (tried: not a digit
#    differs; with beta = 0.75 up to 29 %). With the paper's k = 2 small x are only multiplied by 2**-0.75 =
#    0.59, and the layer does nothing else to them; with alpha = 1 and x a thousand times larger than
#    normal, y / x fell from 0.59 to 0.00002.
# 2. Not the same. Normalised first, each pixel is divided by the squares at its own place, and which pixel
#    wins may change. Pooled first, the divisor comes from the channels' largest values, which may come
#    from different places, so it is larger. With alpha = 1 all 20 pooled numbers were larger when the pooling
#    came last, by up to 0.22. With beta = 0 the layer does nothing, and the two are equal.
# 3. One channel with size 3 and k = alpha = beta = 1: y = x / (1 + x**2), whose slope at x = 2 is direct
#    1/5, with the cross term -0.12. At x = 3: 0.1 and -0.08. So wherever alpha * x**2 is large enough, more
#    input means less output.
