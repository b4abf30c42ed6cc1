"""Lesson 11: dropout's mask, forward and backward."""


# exercise: draw_mask
def draw_mask(shape, p, rng):
    return rng.random(shape) >= p


# exercise: dropout
def dropout(x, mask, p):
    return x * mask / (1 - p)


# exercise: dropout_back
def dropout_back(mask, p, grad_y):
    return grad_y * mask / (1 - p)
