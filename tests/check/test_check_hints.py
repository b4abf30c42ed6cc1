"""Two hints for each check, and a third for some: there, one after the other, and right."""

import re

import numpy as np
import pytest

from minialex import check
from minialex.check import planted
from minialex.check.hints import HINTS, for_state, hint, hints_of
from minialex.check.quick_hints import WITHOUT_LOOPS
from minialex.check.verdict import Finding, Verdict

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


def test_checks_with_a_second_exercise_have_a_hint_for_the_way_without_loops():
    assert set(WITHOUT_LOOPS) == {"conv2d_forward", "conv2d_backward", "maxpool_backward"}
    for name, text in WITHOUT_LOOPS.items():
        assert text.startswith("Without loops")
        assert text[-1] == "."
        assert text.count("`") % 2 == 0
        assert hints_of(name) == (*HINTS[name], text)
        assert " ".join(str(hint(name, 3)).split()) == f"{name}, hint 3 of 3: {text}"
        assert f"<b>{name}, hint 1 of 3:</b>" in hint(name)._repr_html_()
    with pytest.raises(ValueError, match="a stage is 1, 2 or 3, not 4"):
        hint("conv2d_forward", 4)


def test_a_verdict_shows_the_third_hint_where_there_is_one():
    verdict = Verdict(
        "conv2d_backward", "f(x) -> y", ["y"], findings={"y": Finding("y", "wrong", "1, not 2")}
    )
    assert str(verdict).endswith('; without loops: mx.check.hint("conv2d_backward", 3)')
    assert re.findall(r"<summary[^>]*>([^<]*)<", verdict._repr_html_()) == [
        "Hint 1",
        "Hint 2",
        "Hint: without loops",
    ]
    verdict.check = "col2im"
    assert str(verdict).endswith('then mx.check.hint("col2im", 2)')
    assert "without loops" not in verdict._repr_html_()


def test_what_the_hints_for_tests_say_is_right():
    y = planted.RIGHT["linear_forward"](
        np.array([[1.0, 2]]), np.array([[3.0, 4], [5, 6]]), np.array([10.0, 20])
    )
    assert "1*3 + 2*4 + 10 = 21" in HINTS["test_linear"][1]
    assert y[0, 0] == 1 * 3 + 2 * 4 + 10 == 21
    x = np.array([[[[-2.0, -1.0]]]])
    assert (
        "`x = np.array([[[[-2.0, -1.0]]]])`, kernel (2, 2), stride 1, padding 1" in HINTS["test_maxpool"][1]
    )
    assert planted.RIGHT["maxpool_forward"](x, (2, 2), 1, 1).tolist() == [[2 * [[-2, -1, -1]]]]
    sent = planted.RIGHT["maxpool_backward"](x, (2, 2), 1, 1, np.ones((1, 1, 2, 3)))
    assert sent.tolist() == [[[[2, 4]]]]


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


# -- what the third hints say, written out; `windows` stands for im2col


def windows(padded, kernel, stride):
    kh, kw = kernel
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::stride, ::stride]
    N, C, OH, OW = view.shape[:4]
    return view.transpose(0, 1, 4, 5, 2, 3).reshape(N, C * kh * kw, OH * OW), OH, OW


def without_loops_conv2d_forward(x, weight, bias, stride, padding):
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    N, F = len(x), len(weight)
    columns, OH, OW = windows(padded, weight.shape[2:], stride)
    return (weight.reshape(F, -1) @ columns).reshape(N, F, OH, OW) + bias[:, None, None]


def without_loops_conv2d_backward(x, weight, bias, stride, padding, grad_y):
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    (N, F, OH, OW), (H, W) = grad_y.shape, x.shape[2:]
    columns, _, _ = windows(padded, weight.shape[2:], stride)
    rows = grad_y.reshape(N, F, OH * OW)
    grad_weight = (rows @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(weight.shape)
    grad_columns = weight.reshape(F, -1).T @ rows
    grad_padded = planted.RIGHT["col2im"](grad_columns, padded.shape, weight.shape[2:], stride)
    grad_x = grad_padded[:, :, padding : padding + H, padding : padding + W]
    return grad_x, grad_weight, grad_y.sum(axis=(0, 2, 3))


def without_loops_maxpool_backward(x, kernel, stride, padding, grad_y):
    sides, (H, W), (OH, OW) = (
        [(0, 0), (0, 0), (padding, padding), (padding, padding)],
        x.shape[2:],
        grad_y.shape[2:],
    )
    padded = np.pad(x, sides, constant_values=-np.inf)
    cells = [
        np.s_[:, :, a : a + stride * OH : stride, b : b + stride * OW : stride] for a, b in np.ndindex(kernel)
    ]
    slices = [padded[cell] for cell in cells]
    winner, grad_padded = np.stack(slices).argmax(axis=0), np.zeros(padded.shape)
    for number, cell in enumerate(cells):
        grad_padded[cell] += grad_y * (winner == number)
    return grad_padded[:, :, padding : padding + H, padding : padding + W]


@pytest.mark.parametrize("name", WITHOUT_LOOPS)
def test_what_a_third_hint_says_is_right(name):
    assert getattr(check, name)(globals()[f"without_loops_{name}"])


WRITTEN_OUT = [
    conv2d_backward, maxpool_backward, subsampling_backward, sigmoid_forward, lrn_backward, batchnorm_backward,
    gate_backward, early_exit, ten_crop, rbf_backward, map_loss_forward, map_loss_backward, conv_counts,
    colour_covariance, training_loop, device_exchange_backward,
]  # fmt: skip


@pytest.mark.parametrize("f", WRITTEN_OUT)
def test_what_a_second_hint_says_is_right(f):
    assert getattr(check, f.__name__)(f)
