"""Answers as learners write them, right and wrong: what the tests of keeping keep."""

import numpy as np

ZERO = 0.0


def relu(x):
    return np.maximum(x, ZERO)


def relu_backward(x, grad_y):
    return grad_y * positive(x)


def positive(x):
    return x > ZERO


def conv2d_loops(x, weight, bias, stride, padding):
    p, (F, _, kh, kw) = padding, weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
    OH, OW = 1 + (padded.shape[2] - kh) // stride, 1 + (padded.shape[3] - kw) // stride
    y = np.zeros((len(x), F, OH, OW))
    for n, f, i, j in np.ndindex(y.shape):
        top, left = i * stride, j * stride
        y[n, f, i, j] = (weight[f] * padded[n, :, top : top + kh, left : left + kw]).sum() + bias[f]
    return y


def columns_of(x, kernel, stride, padding):
    p = padding
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::stride, ::stride]
    N, C, OH, OW, kh, kw = view.shape
    return view.transpose(0, 1, 4, 5, 2, 3).reshape(N, C * kh * kw, OH * OW), padded.shape, (OH, OW)


def conv2d_columns(x, weight, bias, stride, padding):
    columns, _, size = columns_of(x, weight.shape[2:], stride, padding)
    y = weight.reshape(len(weight), -1) @ columns
    return y.reshape(len(x), len(weight), *size) + bias[:, None, None]


def conv2d_backward(x, weight, bias, stride, padding, grad_y):
    (F, C, kh, kw), (H, W), p = weight.shape, x.shape[2:], padding
    columns, padded_shape, (OH, OW) = columns_of(x, (kh, kw), stride, padding)
    rows = grad_y.reshape(len(x), F, -1)
    grad_weight = (rows @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(weight.shape)
    grad_columns = (weight.reshape(F, -1).T @ rows).reshape(len(x), C, kh, kw, OH, OW)
    grad_padded = np.zeros(padded_shape)
    for a, b in np.ndindex(kh, kw):
        grad_padded[:, :, a : a + stride * OH : stride, b : b + stride * OW : stride] += grad_columns[
            :, :, a, b
        ]
    return grad_padded[:, :, p : p + H, p : p + W], grad_weight, grad_y.sum(axis=(0, 2, 3))


def pool_cells(x, kernel, stride, padding):
    p, (kh, kw) = padding, kernel
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], constant_values=-np.inf)
    OH, OW = 1 + (padded.shape[2] - kh) // stride, 1 + (padded.shape[3] - kw) // stride
    cells = [
        padded[:, :, a : a + stride * OH : stride, b : b + stride * OW : stride]
        for a, b in np.ndindex(kh, kw)
    ]
    return np.stack(cells), padded.shape


def maxpool(x, kernel, stride, padding):
    return pool_cells(x, kernel, stride, padding)[0].max(axis=0)


def maxpool_backward(x, kernel, stride, padding, grad_y):
    cells, padded_shape = pool_cells(x, kernel, stride, padding)
    winner, grad_padded = cells.argmax(axis=0), np.zeros(padded_shape)
    OH, OW = grad_y.shape[2:]
    for number, (a, b) in enumerate(np.ndindex(*kernel)):
        place = grad_padded[:, :, a : a + stride * OH : stride, b : b + stride * OW : stride]
        place += grad_y * (winner == number)
    p, (H, W) = padding, x.shape[2:]
    return grad_padded[:, :, p : p + H, p : p + W]


def tanh(x):
    return np.tanh(x)


def tanh_backward(x, grad_y):
    return grad_y * (1 - np.tanh(x) ** 2)


def linear(x, weight, bias):
    return x @ weight.T + bias


def linear_backward(x, weight, bias, grad_y):
    return grad_y @ weight, grad_y.T @ x, grad_y.sum(axis=0)


def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).mean()


def cross_entropy_backward(logits, labels):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exp / exp.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]) / len(labels)


def sgd_step(w, v, grad, lr, momentum, weight_decay):
    v = momentum * v - weight_decay * lr * w - lr * grad
    return w + v, v


def lrn(x, size, alpha, beta, k):
    return x / scale_of(x, size, alpha, k) ** beta


def lrn_backward(x, size, alpha, beta, k, grad_y):
    s = scale_of(x, size, alpha, k)
    return grad_y * s**-beta - 2 * alpha * beta * x * near(grad_y * x * s ** (-beta - 1), size)


def scale_of(x, size, alpha, k):
    return k + alpha * near(x**2, size)


def near(x, size):
    half, C = size // 2, x.shape[1]
    padded = np.pad(x, ((0, 0), (half, half), (0, 0), (0, 0)))
    return sum(padded[:, shift : shift + C] for shift in range(size))


LENET = {
    "conv2d_forward": conv2d_columns, "conv2d_backward": conv2d_backward, "maxpool_forward": maxpool,
    "maxpool_backward": maxpool_backward, "tanh_forward": tanh, "tanh_backward": tanh_backward,
    "linear_forward": linear, "linear_backward": linear_backward, "softmax_cross_entropy_forward": cross_entropy,
    "softmax_cross_entropy_backward": cross_entropy_backward, "sgd_step": sgd_step,
}  # fmt: skip
