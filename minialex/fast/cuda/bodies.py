"""Forward and backward of layers, made of kernels.

None needs to fall back for a NaN or an infinity: a kernel reads what the textbook's lines read, and no more.
"""

from minialex.fast.cpu import sgd
from minialex.fast.cpu.windows import batch_first, batch_last
from minialex.fast.cuda import kernels


def accepts(layer, x) -> bool:
    return x.dtype.char in "fd"  # kernels.REALS; a dtype's name takes long


def accepts_max(layer, x) -> bool:
    """Sizes that are rounded up are the textbook's."""
    return accepts(layer, x) and not layer.ceil_mode


def conv_forward(layer, x):
    return _convolve(layer, x, layer.weight.value)


def conv_backward(layer, grad_y, input_grad=True):
    grad_x, layer.weight.grad = _convolve_backward(layer, grad_y, layer.weight.value, input_grad)
    return grad_x


def table_forward(layer, x):
    return _convolve(layer, x, layer.full_weight())


def table_backward(layer, grad_y, input_grad=True):
    grad_x, grad_full = _convolve_backward(layer, grad_y, layer.full_weight(), input_grad)
    layer.weight.grad = grad_full[layer.filter_of.value, layer.channel_of.value]
    return grad_x


def _convolve(layer, x, weight):
    x = batch_last(x)
    layer.save(x=x)
    bias = None if layer.bias is None else layer.bias.value
    return batch_first(kernels.convolve(x, weight, bias, layer.stride, layer.padding, layer.groups))


def _convolve_backward(layer, grad_y, weight, input_grad):
    grad_y = batch_last(grad_y)  # (F, OH, OW, N)
    if layer.bias is not None:
        layer.bias.grad = grad_y.sum(axis=(1, 2, 3))
    window = layer.stride, layer.padding, layer.groups
    grad_x, grad_weight = kernels.convolve_backward(layer.saved.x, weight, grad_y, *window, input_grad)
    return batch_first(grad_x) if input_grad else None, grad_weight


def max_forward(layer, x):
    x = batch_last(x)
    y, winner = kernels.max_pool(x, layer.kernel_size, layer.stride, layer.padding)
    layer.save(winner=winner, shape=x.shape)
    return batch_first(y)


def max_backward(layer, grad_y):
    window = layer.kernel_size, layer.stride, layer.padding
    return batch_first(
        kernels.max_pool_backward(batch_last(grad_y), layer.saved.winner, layer.saved.shape, *window)
    )


def norm_forward(layer, x):
    x = batch_last(x)
    y, fourth_root = kernels.lrn(x, layer.size, layer.alpha, layer.beta, layer.k, layer.groups)
    layer.save(x=x, fourth_root=fourth_root)
    return batch_first(y)


def norm_backward(layer, grad_y):
    arrays = batch_last(grad_y), layer.saved.x, layer.saved.fourth_root
    return batch_first(kernels.lrn_backward(*arrays, layer.size, layer.alpha, layer.beta, layer.groups))


def batch_norm_forward(layer, x):
    of_batch = layer.training and not layer.frozen
    x = batch_last(x)
    if of_batch:
        mean = kernels.channel_mean(x)
        variance = kernels.channel_variance(x, mean)
    else:
        mean = layer.running_mean.value.copy()  # kept, whoever writes into it
        variance = layer.running_var.value
    scale = 1 / layer.xp.sqrt(variance + layer.eps)
    if of_batch:
        m = x[0].size
        layer.running_mean.move(mean, layer.momentum)
        layer.running_var.move(variance * (m / (m - 1)), layer.momentum)
    layer.save(x=x, mean=mean, scale=scale, of_batch=of_batch)
    return batch_first(kernels.channel_normalise(x, mean, scale, layer.weight.value, layer.bias.value))


def batch_norm_backward(layer, grad_y):
    saved, grad_y = layer.saved, batch_last(grad_y)
    statistics = grad_y, saved.x, saved.mean, saved.scale, layer.weight.value
    sums = kernels.channel_products(*statistics)
    layer.bias.grad, layer.weight.grad = sums[0], sums[1]
    through = sums[2:] / saved.x[0].size if saved.of_batch else ()
    return batch_first(kernels.channel_gradient(*statistics, *through))


def relu_forward(layer, x):
    y = kernels.relu(x)
    layer.save(y=y)  # it tells where x was positive, and the next layer keeps it anyway
    return y


def relu_backward(layer, grad_y):
    return kernels.relu_backward(grad_y, layer.saved.y)


def update(w, v, grad, lr, momentum, decay) -> None:
    if w.dtype.name in kernels.REALS and w.flags.c_contiguous and v.flags.c_contiguous:
        kernels.sgd(w, v, grad, lr, momentum, decay)
    else:
        sgd.update(w, v, grad, lr, momentum, decay)  # of array operations: it takes any memory and any type
