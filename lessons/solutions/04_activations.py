"""Lesson 04: how the stubs may be filled in. Try them yourself first."""

import numpy as np


# exercise: relu_backward
def relu_backward(x, grad_y):
    return grad_y * (x > 0)


# exercise: sigmoid_forward
def sigmoid_forward(x):
    small = np.exp(-np.abs(x))  # at most 1, so that nothing overflows
    return np.where(x >= 0, 1, small) / (1 + small)


# exercise: tanh_backward
def tanh_backward(x, grad_y):
    y = np.tanh(x)
    return grad_y * (1 - y**2)
