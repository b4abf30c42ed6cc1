"""Lesson 08: how LeNet-5 ended in 1998, in distances, and the loss that belongs to them."""

import numpy as np


# exercise: rbf_forward
def rbf_forward(x, codes):
    return -((x[:, None, :] - codes) ** 2).sum(axis=2)  # (N, 1, D) - (K, D) = (N, K, D)


# exercise: rbf_backward
def rbf_backward(x, codes, grad_y):
    return (grad_y[:, :, None] * -2 * (x[:, None, :] - codes)).sum(axis=1)


# exercise: map_loss
def map_loss(logits, labels, j):
    largest = np.maximum(logits.max(axis=1), -j)  # of the classes, rubbish among them
    total = np.exp(logits - largest[:, None]).sum(axis=1) + np.exp(-j - largest)
    right = logits[np.arange(len(labels)), labels]
    return (largest + np.log(total) - right).mean()


# exercise: map_loss_backward
def map_loss_backward(logits, labels, j):
    largest = np.maximum(logits.max(axis=1), -j)
    exps = np.exp(logits - largest[:, None])
    total = exps.sum(axis=1) + np.exp(-j - largest)
    grad_logits = exps / total[:, None]
    grad_logits[np.arange(len(labels)), labels] -= 1
    return grad_logits / len(labels)


