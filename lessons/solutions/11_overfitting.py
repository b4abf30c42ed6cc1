"""Lesson 11: dropout's mask, forward and backward, and the covariance of colours."""


# exercise: draw_mask
def draw_mask(shape, p, rng):
    return rng.random(shape) >= p


# exercise: dropout
def dropout(x, mask, p):
    return x * mask / (1 - p)


# exercise: dropout_back
def dropout_back(mask, p, grad_y):
    return grad_y * mask / (1 - p)


# exercise: colour_covariance
def colour_covariance(pictures):
    pixels = pictures.swapaxes(0, 1).reshape(3, -1)  # (3, N*H*W)
    apart = pixels - pixels.mean(axis=1, keepdims=True)
    return apart @ apart.T / pixels.shape[1]


# open questions
#
# 1. Mirrors: a mirrored 2 looks like a 5, and a mirrored 3 or 7 like nothing at all. A network with one
#    hidden layer on 1,000 drawn digits, three seeds: 25 % wrong on new ones without help, 28 % with
#    mirrors, and twice as many 2s and 5s taken for each other. Small shifts, which is what crops do,
#    brought 10 %. Colours do no harm to grey pictures, and no good.
# 2. With the weights behind it doubled, outputs and the gradients that go back through it are equal, to the
#    last digit. But the gradient of those doubled weights is half as large, since their input is. At the
#    same rate they move half as far, in proportion a quarter as far.
# 3. More than 300 and fewer than 600. "Nothing" with 300, 600 and 1,200 pictures had a test error of 67.6,
#    59.0 and 39.0 %; "all three" with 300 had 62.6 %. Pictures are the best remedy.
