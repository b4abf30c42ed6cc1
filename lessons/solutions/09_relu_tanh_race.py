"""Lesson 09: the backward passes of the two racers."""

import numpy as np


# exercise: relu_back
def relu_back(x, grad_y):
    return np.where(x > 0, grad_y, 0)


# exercise: tanh_back
def tanh_back(x, grad_y):
    return grad_y * (1 - np.tanh(x) ** 2)
