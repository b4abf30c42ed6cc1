"""Lesson 00. The function's name and its arguments stay as they are; all else may be written in other ways."""

import numpy as np


# exercise: relu
def relu(x):
    return np.maximum(x, 0)


# exercise: relu_backward
def relu_backward(x, grad_y):
    return grad_y * (x > 0)
