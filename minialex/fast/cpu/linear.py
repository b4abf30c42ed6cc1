"""Linear with its large products dealt out to threads."""

from minialex.devices.threads import one_blas_thread
from minialex.fast.cpu.products import multiply

SHARE = 2**28  # multiplications that a thread takes on at least: fewer are done sooner than another is awake


def forward(layer, x):
    layer.save(x=x)
    y = product(layer, x, layer.weight.value.T)
    y += layer.bias.value
    return y


def backward(layer, grad_y, input_grad=True):
    layer.bias.grad = grad_y.sum(axis=0)
    layer.weight.grad = None  # gives its memory back
    layer.weight.grad = product(layer, grad_y.T, layer.saved.x)
    return product(layer, grad_y, layer.weight.value) if input_grad else None


def product(layer, a, b):
    """a @ b; of large matrices, some columns of b on each thread."""
    made = layer.device.empty((a.shape[0], b.shape[1]), a.dtype)
    shares = layer.device.shares(b.shape[1], least=max(1, SHARE // a.size))
    if len(shares) == 1:
        with one_blas_thread:
            return multiply(a, b, made)
    layer.device.map(lambda share: multiply(a, b[:, share], made[:, share]), shares)
    return made
