"""Lesson 03: max-pooling, forward and backward."""


# exercise: maxpool
def maxpool(x, kernel, stride, padding):
    p, (kh, kw) = padding, kernel
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], constant_values=-np.inf)
    OH = 1 + (padded.shape[2] - kh) // stride
    OW = 1 + (padded.shape[3] - kw) // stride
    y = np.zeros((*x.shape[:2], OH, OW))
    for i, j in np.ndindex(OH, OW):
        top, left = i * stride, j * stride
        window = padded[:, :, top : top + kh, left : left + kw]
        y[:, :, i, j] = window.max(axis=(2, 3))
    return y


# exercise: maxpool_backward
def maxpool_backward(x, kernel, stride, padding, grad_y):
    p, (kh, kw), (H, W) = padding, kernel, x.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], constant_values=-np.inf)
    grad_padded = np.zeros(padded.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        top, left = i * stride, j * stride
        window = padded[n, c, top : top + kh, left : left + kw]
        a, b = np.unravel_index(window.argmax(), kernel)  # the first of equals
        grad_padded[n, c, top + a, left + b] += grad_y[n, c, i, j]
    return grad_padded[:, :, p : p + H, p : p + W]
