"""Lesson 01: a convolution in loops, and windows as columns."""


# exercise: conv2d
def conv2d(x, weight, bias, stride, padding):
    p, (F, C, kh, kw) = padding, weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
    OH = 1 + (padded.shape[2] - kh) // stride
    OW = 1 + (padded.shape[3] - kw) // stride
    y = np.zeros((len(x), F, OH, OW))
    for n, f, i, j in np.ndindex(y.shape):
        top, left = i * stride, j * stride
        window = padded[n, :, top : top + kh, left : left + kw]
        y[n, f, i, j] = (weight[f] * window).sum() + bias[f]
    return y


# exercise: im2col
def im2col(x, kernel, stride):
    N, C, H, W = x.shape
    kh, kw = kernel
    OH, OW = 1 + (H - kh) // stride, 1 + (W - kw) // stride
    columns = np.zeros((N, C * kh * kw, OH * OW))
    for i, j in np.ndindex(OH, OW):
        top, left = i * stride, j * stride
        window = x[:, :, top : top + kh, left : left + kw]
        columns[:, :, i * OW + j] = window.reshape(N, -1)
    return columns
