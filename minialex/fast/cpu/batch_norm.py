"""Batch normalisation, some channels at a time: with the pictures last, a channel is one run of memory.

A piece of x is read once from memory and five times from the cache. The variance is a sum of squares of what has been
centred, never E[x^2] - E[x]^2, which loses all digits where the mean is large. What is kept for backward is x, which
nobody need copy, and two numbers a channel.

Where numbers are so large or small that a product on the way leaves the type's range, or one is a NaN or an infinity,
a piece is worked out by the textbook's lines, in their order.

Measured on 64 maps of 56x56, batch 16, one thread: forward 2.5 ms, backward 4.0 ms. The textbook took 5.8 and 9.3.
"""

import numpy as np

from minialex.fast.cpu.pieces import for_pieces
from minialex.fast.cpu.windows import batch_first, batch_last

SHARE_BYTES = 2**21  # of x, for a thread at least: so much is read several times
RUN = 2**12  # numbers of a channel that BLAS adds up, one by one


def accepts(layer, x) -> bool:
    return x.dtype.itemsize >= 4  # NumPy's mean of float16 adds up in float32


def forward(layer, x):
    x = batch_last(x)  # (C, H, W, N)
    of_batch = layer.training and not layer.frozen
    rows, y = x.reshape(len(x), -1), layer.device.empty(x.shape, x.dtype)  # (C, m)
    normalised, m = y.reshape(rows.shape), rows.shape[1]
    weight, bias = layer.weight.value, layer.bias.value
    mean, variance = layer.running_mean.value.copy(), layer.running_var.value  # kept, whoever writes into it
    if of_batch:
        mean, variance = np.empty_like(mean), np.empty_like(variance)
    scale = np.empty_like(variance)

    def normalise(channels):
        here = normalised[channels]
        if of_batch:
            mean[channels] = rows[channels].sum(axis=1) / m
        np.subtract(rows[channels], mean[channels, None], out=here)
        if of_batch:
            variance[channels] = sum_of_products(here, here) / m
        scale[channels] = 1 / np.sqrt(variance[channels] + layer.eps)
        multiply(here, scale[channels], weight[channels])
        here += bias[channels, None]

    for_pieces(normalise, layer.device, len(x), x.nbytes, SHARE_BYTES)
    if of_batch:
        layer.running_mean.move(mean, layer.momentum)
        layer.running_var.move(variance * (m / (m - 1)), layer.momentum)
    layer.save(x=x, mean=mean, scale=scale, of_batch=of_batch)
    return batch_first(y)


def backward(layer, grad_y):
    saved, grad_y = layer.saved, batch_last(grad_y)  # (C, H, W, N)
    grad_x = layer.device.empty(grad_y.shape, grad_y.dtype)
    rows, grad_rows, into = (array.reshape(len(array), -1) for array in (saved.x, grad_y, grad_x))  # (C, m)
    weight, m = layer.weight.value, rows.shape[1]
    layer.weight.grad, layer.bias.grad = np.empty_like(weight), np.empty_like(weight)

    def normalise_backward(channels):
        scale, weight_here, grad, out = (
            saved.scale[channels], weight[channels], grad_rows[channels], into[channels],
        )  # fmt: skip
        normalised = np.subtract(
            rows[channels], saved.mean[channels, None], out=layer.device.empty(grad.shape, grad.dtype)
        )
        normalised *= scale[:, None]
        layer.bias.grad[channels] = total = grad.sum(axis=1)
        layer.weight.grad[channels] = product = sum_of_products(grad, normalised)
        if not saved.of_batch:
            np.multiply(grad, weight_here[:, None], out=out)
            out *= scale[:, None]
        elif all(np.isfinite(numbers).all() for numbers in (total, product, weight_here)):
            normalised *= (product / m)[:, None]  # through the variance
            np.subtract(grad, (total / m)[:, None], out=out)  # through the mean
            out -= normalised
            multiply(out, scale, weight_here)
        else:
            np.multiply(grad, weight_here[:, None], out=out)  # from here on, of `normalised`
            through_mean = out.mean(axis=1, keepdims=True)
            through_variance = (out * normalised).mean(axis=1, keepdims=True)
            normalised *= through_variance
            out -= through_mean
            out -= normalised
            out *= scale[:, None]

    for_pieces(normalise_backward, layer.device, len(rows), grad_y.nbytes, SHARE_BYTES)
    return batch_first(grad_x)


def sum_of_products(a, b):
    """The sum of a * b along rows (C, m). BLAS rounds its sum after each number, in one direction where all are alike:
    so it gets short runs, and NumPy adds up theirs, pairwise.
    """
    in_runs = a.shape[1] // RUN * RUN
    runs = (rows[:, :in_runs].reshape(len(rows), in_runs // RUN, RUN) for rows in (a, b))  # views
    return np.vecdot(*runs).sum(axis=1) + np.vecdot(a[:, in_runs:], b[:, in_runs:])


def multiply(rows, scale, weight):
    """rows *= scale * weight, number by number of each row: at once, or one by one where that product has no room."""
    numbers = np.finfo(rows.dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        both = scale * weight
        size = abs(both)
        has_room = ((size > numbers.tiny / numbers.eps) & (size < numbers.max)) | (weight == 0)
    if has_room.all():
        rows *= both[:, None]
    else:
        rows *= scale[:, None]
        rows *= weight[:, None]
