"""Lesson 16, A network that leaves when it is sure: solutions."""

import numpy as np


# exercise: early_exit
def early_exit(logits, leave_at):
    exp = np.exp(logits - logits.max(axis=2, keepdims=True))
    p = exp / exp.sum(axis=2, keepdims=True)
    sure = p.max(axis=2) >= leave_at  # (N, exits)
    sure[:, -1] = True  # who is sure nowhere leaves at the last
    first = sure.argmax(axis=1)  # of several True, the first
    return logits[np.arange(len(logits)), first], first + 1


# exercise: gate_forward
def gate_forward(x, gates, sizes):
    of_channels = np.repeat(gates, sizes)
    return of_channels[:, None, None] * x


# exercise: gate_backward
def gate_backward(x, gates, sizes, grad_y):
    grad_x = np.repeat(gates, sizes)[:, None, None] * grad_y
    of_channels = (grad_y * x).sum(axis=(0, 2, 3))
    parts = np.split(of_channels, np.cumsum(sizes)[:-1])  # a piece for each source
    return grad_x, np.array([part.sum() for part in parts])
