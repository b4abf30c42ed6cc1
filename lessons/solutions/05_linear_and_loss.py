"""Lesson 05: how the stubs may be filled in. Try them yourself first."""

import numpy as np


# exercise: linear_backward
def linear_backward(x, weight, bias, grad_y):
    grad_x = grad_y @ weight  # (N, out) @ (out, in)
    grad_weight = grad_y.T @ x  # (out, N) @ (N, in)
    grad_bias = grad_y.sum(axis=0)
    return grad_x, grad_weight, grad_bias


# exercise: softmax_cross_entropy_forward
def softmax_cross_entropy_forward(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(labels)), labels]
    return (np.log(np.exp(shifted).sum(axis=1)) - right).mean()


# exercise: softmax_cross_entropy_backward
def softmax_cross_entropy_backward(logits, labels):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    grad_logits = exp / exp.sum(axis=1, keepdims=True)
    grad_logits[np.arange(len(labels)), labels] -= 1
    return grad_logits / len(labels)
