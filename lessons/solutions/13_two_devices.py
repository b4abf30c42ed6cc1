"""Lesson 13, Two devices: solutions."""

import numpy as np


# exercise: exchange_forward
def exchange_forward(x0, x1):
    y = np.concatenate([x0, x1], axis=1)  # axis 1 are the channels
    return y, y.copy()


# exercise: exchange_backward
def exchange_backward(grad_y0, grad_y1, channels0):
    total = grad_y0 + grad_y1  # both towers read both parts
    return total[:, :channels0], total[:, channels0:]
