"""Lesson 00. The function's name and its arguments stay as they are; all else may be written in other ways."""

import numpy as np


# exercise: relu
def relu(x):
    return np.maximum(x, 0)


# exercise: relu_backward
def relu_backward(x, grad_y):
    return grad_y * (x > 0)


# open questions
# 1. For error**2 any h will do: the loss is a parabola in `weight`, and between two places at the same distance
#    its slope is exact. h = 1 gives -16, as h = 0.001 does. error**4 is no parabola: its slope at 3 is -512; h
#    = 1 gives -640, and h = 0.001 gives -512.000128. With h ten times smaller the difference is a hundred times
#    smaller.
# 2. Nothing, where x is never exactly 0: in C1 of a LeNet-5 whose pictures are scaled to mean 0, none of the
#    sums is. But on the same digits from 0 to 1, with black paper and biases that begin at 0, 49 % of C1's sums
#    are exactly 0 (100 drawn digits). With the slope 1 all of these would send a gradient to the bias, as if
#    they were active.
# 3. No number is enough: for positive numbers both are the same function. A test has to go where they differ.
