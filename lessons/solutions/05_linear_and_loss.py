"""Lesson 05: how the stubs may be filled in. Try them yourself first."""

import numpy as np


# exercise: linear_forward
def linear_forward(x, weight, bias):
    return x @ weight.T + bias  # (N, in) @ (in, out)


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


# open questions
#
# 1. One layer with weight = weight2 @ weight1 and bias = weight2 @ bias1 + bias2 gives the same y. But 784
#    -> 3 -> 10 cannot do all that 784 -> 10 can: its product has rank 3 at most, so the ten scores come
#    from three numbers. On the lesson's drawn digits, after 1,000 steps: 39 % wrong with the 3 in between,
#    23 % without.
# 2. The gradient of the hidden layer's weights is grad_y @ weight2, all 0; that of weight2 is grad_y.T @
#    hidden, and tanh(0) = 0. So no weight ever moves, only the last bias. Tried with 784 -> 32 -> 10 and
#    200 steps: all weights are still exactly 0, the loss is ln 10. In one layer alone the gradient is
#    grad_y.T @ x, and x is not 0.
# 3. Nothing. Softmax only looks at differences of logits (the 7 goes away with the largest): shares moved
#    by 4e-7, rounding in float32. A common part of all ten biases is not determined by training.
