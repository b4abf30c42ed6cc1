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
