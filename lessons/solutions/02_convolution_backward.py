"""Lesson 02: what a convolution sends back, and columns back into a picture."""


# exercise: conv2d_backward
def conv2d_backward(x, weight, bias, stride, padding, grad_y):
    p, (F, C, kh, kw) = padding, weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
    grad_padded, grad_weight = np.zeros(padded.shape), np.zeros(weight.shape)
    grad_bias = grad_y.sum(axis=(0, 2, 3))
    for n, f, i, j in np.ndindex(grad_y.shape):
        top, left = i * stride, j * stride
        read = (n, slice(None), slice(top, top + kh), slice(left, left + kw))
        grad_padded[read] += grad_y[n, f, i, j] * weight[f]
        grad_weight[f] += grad_y[n, f, i, j] * padded[read]
    H, W = x.shape[2:]
    grad_x = grad_padded[:, :, p : p + H, p : p + W]
    return grad_x, grad_weight, grad_bias


# exercise: col2im
def col2im(columns, x_shape, kernel, stride):
    N, C, H, W = x_shape
    kh, kw = kernel
    OH, OW = 1 + (H - kh) // stride, 1 + (W - kw) // stride
    grad_x = np.zeros(x_shape)
    for i, j in np.ndindex(OH, OW):
        top, left = i * stride, j * stride
        window = columns[:, :, i * OW + j].reshape(N, C, kh, kw)
        grad_x[:, :, top : top + kh, left : left + kw] += window
    return grad_x
