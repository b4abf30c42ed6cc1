"""Two hints for each check: there, one after the other, and right."""

import re

import numpy as np
import pytest

from minialex import check
from minialex.check import planted
from minialex.check.hints import HINTS, for_state, hint

TESTS = {"test_linear", "test_maxpool"}  # of lesson 06's lab


def test_each_check_and_both_tests_of_the_lab_have_two_hints():
    assert set(planted.RIGHT) | TESTS <= set(HINTS)
    assert set(planted.RIGHT) <= set(dir(check))
    for name, texts in HINTS.items():
        assert len(texts) == 2
        assert all(len(text.split()) >= 2 or "`" in text for text in texts), name
        assert all(text[-1] in ".?" for text in texts), name


def test_the_first_hint_says_where_to_look_and_the_second_has_code():
    for name, (first, second) in HINTS.items():
        assert not re.search(r"`[^`]*(\+=| = )[^`]*`", first), name
        assert second.count("`") >= 2, name
        assert first.count("`") % 2 == second.count("`") % 2 == 0


def test_a_hint_is_printed_with_its_stage():
    text = str(hint("col2im"))
    assert " ".join(text.split()) == f"col2im, hint 1 of 2: {HINTS['col2im'][0]}"
    assert " ".join(repr(check.hint("col2im", 2)).split()) == f"col2im, hint 2 of 2: {HINTS['col2im'][1]}"
    assert max(map(len, text.splitlines())) <= 88


def test_in_a_notebook_a_hints_code_is_set_as_code():
    html = hint("relu_backward", 2)._repr_html_()
    assert "<code" in html
    assert ">grad_y * (x &gt; 0)</code>" in html
    assert "`" not in html


def test_unknown_names_and_stages_are_refused():
    with pytest.raises(ValueError, match=r"nothing for 'col2img'; it has hints for .*col2im"):
        hint("col2img")
    with pytest.raises(ValueError, match="a stage is 1 or 2, not 3"):
        hint("col2im", 3)


def test_the_first_hint_looks_at_what_happened():
    assert for_state("col2im", ["right"]) == HINTS["col2im"]
    assert for_state("col2im", ["wrong shape"])[0].startswith("Shapes first")
    assert for_state("col2im", ["raised", "wrong shape"])[0].startswith("The call raised")
    assert for_state("none", ["raised"]) == ()


# -- what the second hints say, written out ----------------------------------------------------------------


def conv2d_backward(x, weight, bias, stride, padding, grad_y):
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    (H, W), (kh, kw) = x.shape[2:], weight.shape[2:]
    grad_padded, grad_weight = np.zeros(padded.shape), np.zeros(weight.shape)
    for n, f, i, j in np.ndindex(grad_y.shape):
        window = np.s_[n, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
        grad_padded[window] += weight[f] * grad_y[n, f, i, j]
        grad_weight[f] += padded[window] * grad_y[n, f, i, j]
    grad_x = grad_padded[:, :, padding : padding + H, padding : padding + W]
    return grad_x, grad_weight, grad_y.sum(axis=(0, 2, 3))


def maxpool_backward(x, kernel, stride, padding, grad_y):
    kh, kw = kernel
    sides = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    padded = np.pad(x, sides, constant_values=-np.inf)
    grad_padded = np.zeros(padded.shape)
    for n, c, i, j in np.ndindex(grad_y.shape):
        window = padded[n, c, i * stride : i * stride + kh, j * stride : j * stride + kw]
        a, b = np.unravel_index(window.argmax(), (kh, kw))
        grad_padded[n, c, i * stride + a, j * stride + b] += grad_y[n, c, i, j]
    H, W = x.shape[2:]
    return grad_padded[:, :, padding : padding + H, padding : padding + W]


def subsampling_backward(x, weight, bias, grad_y):
    H, W = x.shape[2:]
    cut, grad_x = x[:, :, : H // 2 * 2, : W // 2 * 2], np.zeros(x.shape)
    fours = cut[..., ::2, ::2] + cut[..., ::2, 1::2] + cut[..., 1::2, ::2] + cut[..., 1::2, 1::2]
    for i, j in np.ndindex(grad_y.shape[2:]):
        grad_x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = (weight * grad_y[:, :, i, j])[:, :, None, None]
    return grad_x, (grad_y * fours).sum(axis=(0, 2, 3)), grad_y.sum(axis=(0, 2, 3))


def sigmoid_forward(x):
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def lrn_backward(x, size, alpha, beta, k, grad_y):
    def near(values):
        slices = [slice(max(0, c - size // 2), c + size // 2 + 1) for c in range(x.shape[1])]
        return np.stack([values[:, channels].sum(axis=1) for channels in slices], axis=1)

    s = k + alpha * near(x**2)
    cross = near(grad_y * x * s ** (-beta - 1))
    return grad_y * s**-beta - 2 * alpha * beta * x * cross


def batchnorm_backward(x, weight, bias, eps, grad_y):
    def M(array):
        return array.mean(axis=(0, 2, 3), keepdims=True)

    scale = 1 / np.sqrt(M((x - M(x)) ** 2) + eps)
    hat, grad = (x - M(x)) * scale, weight[:, None, None] * grad_y
    grad_x = scale * (grad - M(grad) - hat * M(grad * hat))
    return grad_x, (grad_y * hat).sum(axis=(0, 2, 3)), grad_y.sum(axis=(0, 2, 3))


def gate_backward(x, gates, sizes, grad_y):
    products, sums, first = (grad_y * x).sum(axis=(0, 2, 3)), [], 0
    for size in sizes:
        sums.append(products[first : first + size].sum())
        first += size
    return np.repeat(gates, sizes)[:, None, None] * grad_y, np.array(sums)


def early_exit(logits, leave_at):
    exp = np.exp(logits - logits.max(axis=2, keepdims=True))
    enough = (exp / exp.sum(axis=2, keepdims=True)).max(axis=2) >= leave_at
    enough[:, -1] = True
    first = enough.argmax(axis=1)
    return logits[np.arange(len(logits)), first], first + 1


def ten_crop(picture, size):
    H, W = picture.shape[1:]
    places = [(0, 0), (0, W - size), (H - size, 0), (H - size, W - size), ((H - size) // 2, (W - size) // 2)]
    five = np.stack([picture[:, top : top + size, left : left + size] for top, left in places])
    return np.concatenate([five, five[..., ::-1]])


def rbf_backward(x, codes, grad_y):
    difference = x[:, None, :] - codes[None, :, :]
    return (grad_y[:, :, None] * -2 * difference).sum(axis=1)


def map_loss_forward(logits, labels, j):
    N = len(logits)
    more = np.concatenate([logits, np.full((N, 1), -j)], axis=1)
    largest = more.max(axis=1)
    logarithm = largest + np.log(np.exp(more - largest[:, None]).sum(axis=1))
    return (logarithm - logits[np.arange(N), labels]).mean()


def map_loss_backward(logits, labels, j):
    N = len(logits)
    more = np.concatenate([logits, np.full((N, 1), -j)], axis=1)
    p = np.exp(more - more.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True))[:, :-1]
    p[np.arange(N), labels] -= 1
    return p / N


def conv_counts(side, channels, maps, kernel, stride, padding, groups):
    new = 1 + (side + 2 * padding - kernel) // stride
    weights = maps * (channels // groups) * kernel**2
    return new, weights + maps, weights * new**2


def colour_covariance(pictures):
    rows = np.moveaxis(pictures, 1, 0).reshape(3, -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows @ rows.T / rows.shape[1]


def training_loop(model, loss, optimizer, batches):
    losses = []
    for x, labels in batches:
        losses.append(loss.forward(model.forward(x), labels))
        model.backward(loss.backward())
        optimizer.step()
    return losses


def device_exchange_backward(grad_y0, grad_y1, channels0, send):
    grad_x0 = grad_y0[:, :channels0] + send(grad_y1[:, :channels0], 0)
    return grad_x0, send(grad_y0[:, channels0:], 1) + grad_y1[:, channels0:]


WRITTEN_OUT = [
    conv2d_backward, maxpool_backward, subsampling_backward, sigmoid_forward, lrn_backward, batchnorm_backward,
    gate_backward, early_exit, ten_crop, rbf_backward, map_loss_forward, map_loss_backward, conv_counts,
    colour_covariance, training_loop, device_exchange_backward,
]  # fmt: skip


@pytest.mark.parametrize("f", WRITTEN_OUT)
def test_what_a_second_hint_says_is_right(f):
    assert getattr(check, f.__name__)(f)
