"""Each check refuses what somebody could write instead, and takes what is right in other words.

MUTANTS[check][what is wrong] is a wrong answer: thresholds, constants that are right at scale 1, wrong axes, shapes
that are square or small by chance, half precision, inputs that are written into, memories of earlier calls.
"""

import numpy as np
import pytest

from minialex import check
from minialex.check import blocks, chance, counting, crossing, layers, looping, outputs, search, training
from minialex.check.planted import RIGHT, pooling
from minialex.check.planted.registry import adapted
from minialex.check.planted.units import sum_near
from minialex.check.planted.windows import pad, unpad

MUTANTS: dict[str, dict] = {}
EQUALS: dict[str, dict] = {}  # right in other words


def mutants(name, **wrong):
    MUTANTS.setdefault(name, {}).update(wrong)


def equals(name, **right):
    EQUALS.setdefault(name, {}).update(right)


# ---- what can be done to any answer ----------------------------------------------------------------


def changed(name, change):
    """The right answer with its arrays changed."""

    def f(*inputs):
        right = RIGHT[name](*inputs)
        return tuple(map(change, right)) if isinstance(right, tuple) else change(right)

    return f


def given(name, change):
    """The right answer to inputs that are changed: those of them that are arrays of numbers with fractions."""

    def f(*inputs):
        return RIGHT[name](
            *[change(x) if isinstance(x, np.ndarray) and x.dtype == float else x for x in inputs]
        )

    return f


def half(name):
    """Computed in float16, and said to be float64."""
    return given(name, lambda x: x.astype(np.float16).astype(float))


def remembers(name):
    """The first array that it was given is taken for all later ones of that shape."""
    known = {}

    def f(first, *others):
        first = known.setdefault(np.shape(first), first)
        return RIGHT[name](first, *others)

    return f


def negates_its_input(name):
    def f(*inputs):
        right = RIGHT[name](*inputs)
        array = next(x for x in inputs if isinstance(x, np.ndarray) and x.dtype == float)
        array *= -1
        return right

    return f


MOVES = [
    "im2col",
    "col2im",
    "exchange_forward",
    "exchange_backward",
    "ten_crop",
    "relu_forward",
    "relu_backward",
]
ARRAYS = sorted(set(RIGHT) - {"dropout_mask", "step_schedule", "training_loop", "conv_counts", "differing"})
for name in ARRAYS:
    mutants(name, half_precision=half(name))
    small = "softmax" in name or name in ("sigmoid_forward", "tanh_forward", "map_loss_backward")
    mutants(name, too_large_cut=changed(name, lambda y, most=0.3 if small else 6: np.clip(y, -most, most)))
    mutants(name, small_ones_dropped=changed(name, lambda y: np.where(np.abs(y) < 1e-2, 0.0, y)))
    if name not in ("gradcheck",):
        mutants(name, writes_into_its_input=negates_its_input(name))
    mutants(name, added_epsilon=changed(name, lambda y: y + 1e-7))
for name in set(ARRAYS) - {"gradcheck", "avgpool_backward"}:  # whose x has no say but by its shape
    mutants(name, remembers_the_first=remembers(name))

# ---- convolution -----------------------------------------------------------------------------------

conv, conv_back = RIGHT["conv2d_forward"], RIGHT["conv2d_backward"]
mutants(
    "conv2d_forward",
    square_kernels=lambda x, w, b, s, p: conv(x, w if w.shape[2] == w.shape[3] else w * 0.5, b, s, p),
    padding_of_ones=lambda x, w, b, s, p: conv(pad(x, p, 1.0), w, b, s, 0),
    edge_padding=lambda x, w, b, s, p: conv(
        np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], mode="edge"), w, b, s, 0
    ),
    bias_twice=lambda x, w, b, s, p: conv(x, w, 2 * b, s, p),
    first_picture=lambda x, w, b, s, p: conv(np.repeat(x[:1], len(x), axis=0), w, b, s, p),
    two_pictures=lambda x, w, b, s, p: np.concatenate([conv(x[:2], w, b, s, p), 0 * conv(x, w, b, s, p)[2:]]),
    three_channels=lambda x, w, b, s, p: conv(x[:, :3], w[:, :3], b, s, p),
    kernels_of_three=lambda x, w, b, s, p: conv(
        x, np.where(np.indices(w.shape)[2:].max(axis=0) < 3, w, 0), b, s, p
    ),
    stride_of_three=lambda x, w, b, s, p: conv(x, w, b, s, p) * (s <= 3),
    padding_of_two=lambda x, w, b, s, p: conv(x, w, b, s, p) * (p <= 2),
    relu_behind=lambda x, w, b, s, p: np.maximum(conv(x, w, b, s, p), 0),
    clipped=lambda x, w, b, s, p: np.clip(conv(x, w, b, s, p), -1e3, 1e3),
    filters_mixed=lambda x, w, b, s, p: conv(x, w, b, s, p)[:, ::-1],
)
mutants(
    "conv2d_backward",
    first_channel=lambda x, w, b, s, p, g: (
        np.repeat(conv_back(x, w, b, s, p, g)[0][:, :1], x.shape[1], axis=1), *conv_back(x, w, b, s, p, g)[1:]),
    clipped_gradient=lambda x, w, b, s, p, g: conv_back(x, w, b, s, p, np.clip(g, -5, 5)),
    two_pictures=lambda x, w, b, s, p, g: (
        conv_back(x, w, b, s, p, g)[0], *conv_back(x[:2], w, b, s, p, g[:2])[1:]),
    padding_not_cut=lambda x, w, b, s, p, g: (
        conv_back(pad(x, p), w, b, s, 0, g)[0][..., : x.shape[2], : x.shape[3]], *conv_back(x, w, b, s, p, g)[1:]),
    bias_by_places=lambda x, w, b, s, p, g: (*conv_back(x, w, b, s, p, g)[:2], g.mean(axis=(2, 3)).sum(axis=0)),
    stride_forgotten=lambda x, w, b, s, p, g: (
        conv_back(x, w, b, 1, p, g)[0], *conv_back(x, w, b, s, p, g)[1:]) if s > 1 else conv_back(x, w, b, s, p, g),
    bias_in_it=lambda x, w, b, s, p, g: (*conv_back(x, w, b, s, p, g)[:2], conv_back(x, w, b, s, p, g)[2] + 1e-9 * b),
    kernel_transposed=lambda x, w, b, s, p, g: (
        conv_back(x, w, b, s, p, g)[0],
        conv_back(x, w, b, s, p, g)[1].swapaxes(2, 3).reshape(w.shape), conv_back(x, w, b, s, p, g)[2]),
)  # fmt: skip


def conv_by_einsum(x, weight, bias, stride, padding):
    view = np.lib.stride_tricks.sliding_window_view(pad(x, padding), weight.shape[2:], axis=(2, 3))
    return np.einsum("ncijab,fcab->nfij", view[:, :, ::stride, ::stride], weight) + bias[:, None, None]


def conv_by_fourier(x, weight, bias, stride, padding):
    x = pad(x, padding)
    (H, W), (kh, kw) = x.shape[2:], weight.shape[2:]
    spectrum = np.einsum("nchw,fchw->nfhw", np.fft.fft2(x), np.conj(np.fft.fft2(weight, (H, W))))
    y = np.fft.ifft2(spectrum).real[:, :, : H - kh + 1, : W - kw + 1]
    return y[:, :, ::stride, ::stride] + bias[:, None, None]


equals("conv2d_forward", einsum=conv_by_einsum, fourier=conv_by_fourier)

# ---- im2col, col2im --------------------------------------------------------------------------------

im2col, col2im = RIGHT["im2col"], RIGHT["col2im"]
mutants(
    "im2col",
    channels_last=lambda x, k, s: im2col(x, k, s).reshape(len(x), x.shape[1], -1, im2col(x, k, s).shape[2])
    .swapaxes(1, 2).reshape(im2col(x, k, s).shape),
    columns_by_columns=lambda x, k, s: im2col(x.swapaxes(2, 3), k[::-1], s).reshape(im2col(x, k, s).shape),
    batch_and_places_mixed=lambda x, k, s: im2col(x, k, s)[::-1],
    flipped=lambda x, k, s: im2col(x[..., ::-1, ::-1], k, s)[..., ::-1, ::-1],
    no_fives=lambda x, k, s: im2col(x, k, s) * (max(k) <= 3),
    float32=lambda x, k, s: im2col(x, k, s).astype(np.float32).astype(np.float16).astype(np.float64),
)  # fmt: skip
mutants(
    "col2im",
    mean=lambda c, shape, k, s: col2im(c, shape, k, s) / np.maximum(1, col2im(np.ones_like(c), shape, k, s)),
    largest=lambda c, shape, k, s: np.maximum(col2im(c, shape, k, s), 0),
    first_picture=lambda c, shape, k, s: np.repeat(col2im(c, shape, k, s)[:1], shape[0], axis=0),
    last_row=lambda c, shape, k, s: (
        col2im(c, shape, k, s) * (np.arange(shape[2]) < max(1, shape[2] - 1))[:, None]
    ),
    half_where_two=lambda c, shape, k, s: col2im(c, shape, k, s) * np.where(shape[1] > 2, 0.5, 1),
)


def im2col_by_windows(x, kernel, stride):
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))[:, :, ::stride, ::stride]
    return view.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), x.shape[1] * kernel[0] * kernel[1], -1)


equals("im2col", windows=im2col_by_windows)

# ---- pooling ---------------------------------------------------------------------------------------

pooled, maxpool, maxpool_back = pooling.pooled, RIGHT["maxpool_forward"], RIGHT["maxpool_backward"]
avgpool, avgpool_back = RIGHT["avgpool_forward"], RIGHT["avgpool_backward"]
for value in (-3, -4, -5, -10, -100, -255, -999, -9999, -1e6, -1e9, -1e30):
    mutants(
        "maxpool_forward",
        **{f"padded_with_{value:g}": lambda x, k, s, p, v=value: maxpool(pad(x, p, v), k, s, 0)},
    )
    mutants(
        "maxpool_backward",
        **{
            f"padded_with_{value:g}": lambda x, k, s, p, g, v=value: unpad(
                maxpool_back(pad(x, p, v), k, s, 0, g), p
            )
        },
    )
mutants(
    "maxpool_forward",
    smallest_pixel_as_padding=lambda x, k, s, p: maxpool(pad(x, p, x.min() + 1), k, s, 0),
    starts_at_minus_100=lambda x, k, s, p: np.maximum(maxpool(x, k, s, p), -100),
    largest_magnitude=lambda x, k, s, p: pooled(
        pad(x, p, 0), k, s, lambda window: window.ravel()[np.abs(window).argmax()]),
    mean=lambda x, k, s, p: avgpool(x, k, s, p),
    first_channel=lambda x, k, s, p: np.repeat(maxpool(x, k, s, p)[:, :1], x.shape[1], axis=1),
    row_alone=lambda x, k, s, p: pooled(pad(x, p, -np.inf), k, s, lambda window: window[len(window) // 2].max()),
    kernels_of_three=lambda x, k, s, p: pooled(pad(x, p, -np.inf), k, s, lambda window: window[:3, :3].max()),
)  # fmt: skip
mutants(
    "maxpool_backward",
    last_of_equals=lambda x, k, s, p, g: maxpool_back(x[..., ::-1, ::-1], k, s, p, g[..., ::-1, ::-1])[
        ..., ::-1, ::-1] if s == 1 else maxpool_back(x, k, s, p, g),
    nearly_equals_count=lambda x, k, s, p, g: maxpool_back(np.round(x, 1), k, s, p, g),
    clipped=lambda x, k, s, p, g: np.clip(maxpool_back(x, k, s, p, g), -10, 10),
    relu_first=lambda x, k, s, p, g: maxpool_back(np.maximum(x, 0), k, s, p, g),
    mean=lambda x, k, s, p, g: avgpool_back(x, k, s, p, g),
    not_where_negative=lambda x, k, s, p, g: maxpool_back(x, k, s, p, g) * (x > -1000),
)  # fmt: skip
mutants(
    "avgpool_forward",
    max_of_window=maxpool,
    edge_padding=lambda x, k, s, p: avgpool(
        np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], mode="edge"), k, s, 0
    ),
    divided_by_the_side_squared=lambda x, k, s, p: avgpool(x, k, s, p) * k[0] * k[1] / k[0] ** 2,
    always_four=lambda x, k, s, p: avgpool(x, k, s, p) * k[0] * k[1] / 4,
    whole_numbers=lambda x, k, s, p: avgpool(x, k, s, p) * k[0] * k[1] // (k[0] * k[1]),
    positive=lambda x, k, s, p: np.maximum(avgpool(x, k, s, p), 0),
)
mutants(
    "avgpool_backward",
    to_the_largest=maxpool_back,
    divided_by_the_side_squared=lambda x, k, s, p, g: avgpool_back(x, k, s, p, g) * k[0] * k[1] / k[0] ** 2,
    padding_not_counted=lambda x, k, s, p, g: avgpool_back(
        x, k, s, p, g / np.maximum(avgpool(np.ones(x.shape), k, s, p), 1e-9)),
    clipped=lambda x, k, s, p, g: np.clip(avgpool_back(x, k, s, p, g), -10, 10),
    one_channel=lambda x, k, s, p, g: avgpool_back(x, k, s, p, g) * (np.arange(x.shape[1]) < 2)[:, None, None],
)  # fmt: skip
equals(
    "maxpool_forward",
    lowest_float=lambda x, k, s, p: maxpool(pad(x, p, np.finfo(x.dtype).min), k, s, 0),
    turned=lambda x, k, s, p: -pooled(pad(-x, p, np.inf), k, s, np.min),
)
equals(
    "avgpool_forward",
    ones=lambda x, k, s, p: np.stack(
        [conv_by_einsum(x[:, c : c + 1], np.full((1, 1, *k), 1 / (k[0] * k[1])), np.zeros(1), s, p)[:, 0]
         for c in range(x.shape[1])], axis=1),
)  # fmt: skip

# ---- subsampling -----------------------------------------------------------------------------------

sub, sub_back = RIGHT["subsampling_forward"], RIGHT["subsampling_backward"]
mutants(
    "subsampling_forward",
    weight_of_all=lambda x, w, b: sub(x, np.full_like(w, w[0]), b),
    bias_of_all=lambda x, w, b: sub(x, w, np.full_like(b, b.sum())),
    bias_in_the_sum=lambda x, w, b: w[:, None, None] * (pooling.fours(x) + b[:, None, None]),
    tanh_behind=lambda x, w, b: np.tanh(sub(x, w, b)),
    three_of_four=lambda x, w, b: sub(x * 1.0, w, b) - w[:, None, None] * x[:, :, 1::2, 1::2],
    two_channels=lambda x, w, b: sub(x, w * (np.arange(len(w)) < 2), b),
)
mutants(
    "subsampling_backward",
    odd_row_too=lambda x, w, b, g: (
        np.pad(sub_back(x, w, b, g)[0][..., : 2 * g.shape[2], : 2 * g.shape[3]],
               [(0, 0), (0, 0), (0, x.shape[2] % 2), (0, x.shape[3] % 2)], mode="edge"), *sub_back(x, w, b, g)[1:]),
    a_quarter=lambda x, w, b, g: (sub_back(x, w, b, g)[0] / 4, *sub_back(x, w, b, g)[1:]),
    first_picture=lambda x, w, b, g: (*sub_back(x, w, b, g)[:2], g[0].sum(axis=(1, 2))),
    weight_of_all=lambda x, w, b, g: sub_back(x, np.full_like(w, w[0]), b, g),
    clipped=lambda x, w, b, g: sub_back(x, w, b, np.clip(g, -3, 3)),
)  # fmt: skip

# ---- activations -----------------------------------------------------------------------------------

for least, most in [
    (0, 6),
    (0, 20),
    (0, 100),
    (0, 255),
    (0, 1e3),
    (0, 1e6),
    (0, 1e9),
    (1e-3, np.inf),
    (-1e-9, np.inf),
]:
    mutants("relu_forward", **{f"clip_{least:g}_{most:g}": lambda x, a=least, b=most: np.clip(x, a, b)})
mutants(
    "relu_forward",
    softplus=lambda x: np.where(x > 30, x, np.log1p(np.exp(np.minimum(x, 30)))),
    shifted=lambda x: np.where(x > 1e-3, x, 0),
    far_below=lambda x: np.where(x < -100, -100, np.maximum(x, 0)),
    slightly_leaky=lambda x: np.where(x > 0, x, 1e-6 * x),
    one_row=lambda x: np.concatenate([np.maximum(x[:3], 0), x[3:]]),
    whole=lambda x: np.maximum(np.floor(x), 0),
)
mutants(
    "relu_backward",
    relu6=lambda x, g: np.where((x > 0) & (x < 6), g, 0),
    saturates=lambda x, g: np.where((x > 0) & (x < 1e4), g, 0),
    needs_more_than_a_hundredth=lambda x, g: np.where(x > 1e-2, g, 0),
    clipped=lambda x, g: np.where(x > 0, np.clip(g, -100, 100), 0),
    leaky=lambda x, g: np.where(x > 0, g, 1e-5 * g),
    times_x=lambda x, g: np.maximum(x, 0) * g,
    sign_of_both=lambda x, g: np.where((x > 0) & (g > 0), g, 0),
)
equals("relu_forward", where=lambda x: np.where(x > 0, x, 0), product=lambda x: x * (x > 0),
       half=lambda x: (x + np.abs(x)) / 2)  # fmt: skip
equals("relu_backward", product=lambda x, g: g * (x > 0), heaviside=lambda x, g: g * np.heaviside(x, 0))

sigmoid, sigmoid_back = RIGHT["sigmoid_forward"], RIGHT["sigmoid_backward"]
mutants(
    "sigmoid_forward",
    hard=lambda x: np.clip(0.5 + 0.2 * x, 0, 1),
    clipped_at_six=lambda x: sigmoid(np.clip(x, -6, 6)),
    clipped_at_ten=lambda x: sigmoid(np.clip(x, -10, 10)),
    clipped_at_fifteen=lambda x: sigmoid(np.clip(x, -15, 15)),
    of_tanh=lambda x: (1 + np.tanh(x)) / 2,
    two=lambda x: 2 ** x.clip(-500, 500) / (1 + 2 ** x.clip(-500, 500)),
    softsign=lambda x: 0.5 + x / (2 + 2 * np.abs(x)),
    zero_where_small=lambda x: np.where(np.abs(x) < 0.01, 0.5, sigmoid(x)),
    overflows_below=lambda x: np.exp(x) / (np.exp(x) + 1),
)
mutants(
    "sigmoid_backward",
    of_y=lambda x, g: g * sigmoid(x) * (1 - x),
    without_one=lambda x, g: g * sigmoid(x),
    squared=lambda x, g: g * sigmoid(x) ** 2,
    clipped=lambda x, g: np.clip(g, -10, 10) * sigmoid(x) * (1 - sigmoid(x)),
    with_eps=lambda x, g: g * (sigmoid(x) * (1 - sigmoid(x)) + 1e-7),
    overflows=lambda x, g: g * np.exp(x) / (1 + np.exp(x)) ** 2,
    a_quarter_near_zero=lambda x, g: np.where(np.abs(x) < 0.1, g / 4, sigmoid_back(x, g)),
)
equals(
    "sigmoid_forward",
    plain=lambda x: 1 / (1 + np.exp(-x)),
    tanh=lambda x: 0.5 * (1 + np.tanh(x / 2)),
    logaddexp=lambda x: np.exp(-np.logaddexp(0, -x)),
)
equals("sigmoid_backward", mirrored=lambda x, g: g * sigmoid(x) * sigmoid(-x),
       plain=lambda x, g: g * (1 / (1 + np.exp(-x))) * (1 - 1 / (1 + np.exp(-x))))  # fmt: skip

mutants(
    "tanh_forward",
    hard=lambda x: np.clip(x, -1, 1),
    softsign=lambda x: x / (1 + np.abs(x)),
    lecuns=lambda x: 1.7159 * np.tanh(2 / 3 * x),
    three_terms=lambda x: np.where(np.abs(x) < 1, x - x**3 / 3 + 2 * x**5 / 15, np.tanh(x)),
    clipped_at_three=lambda x: np.tanh(np.clip(x, -3, 3)),
    clipped_at_eight=lambda x: np.tanh(np.clip(x, -8, 8)),
    sign=lambda x: np.sign(x),
    sine=lambda x: np.sin(x.clip(-1.5, 1.5)),
)
mutants(
    "tanh_backward",
    of_y_without_square=lambda x, g: g * (1 - np.abs(np.tanh(x))),
    cosine=lambda x, g: g / np.cosh(np.clip(x, -700, 700)),
    clipped=lambda x, g: np.clip(g, -10, 10) * (1 - np.tanh(x) ** 2),
    with_eps=lambda x, g: g * (1 - np.tanh(x) ** 2 + 1e-7),
    one_near_zero=lambda x, g: np.where(np.abs(x) < 0.01, g, g * (1 - np.tanh(x) ** 2)),
    lecuns=lambda x, g: g * 1.7159 * 2 / 3 * (1 - np.tanh(2 / 3 * x) ** 2),
    overflows=lambda x, g: g * 4 / (np.exp(x) + np.exp(-x)) ** 2 * np.where(np.abs(x) > 1e3, np.inf, 1) * 1.0,
)
equals("tanh_forward", by_sigmoid=lambda x: 2 * sigmoid(2 * x) - 1)
equals("tanh_backward", cosh=lambda x, g: g / np.cosh(np.clip(x, -300, 300)) ** 2,
       factors=lambda x, g: g * (1 - np.tanh(x)) * (1 + np.tanh(x)))  # fmt: skip

# ---- linear, normalisation -------------------------------------------------------------------------

linear, linear_back = RIGHT["linear_forward"], RIGHT["linear_backward"]
mutants(
    "linear_forward",
    minus_bias=lambda x, w, b: x @ w.T - b,
    three_inputs=lambda x, w, b: x[:, :3] @ w[:, :3].T + b,
    relu_behind=lambda x, w, b: np.maximum(x @ w.T + b, 0),
    bias_mean=lambda x, w, b: x @ w.T + b.mean(),
    mean_over_inputs=lambda x, w, b: x @ w.T / x.shape[1] + b,
    weights_clipped=lambda x, w, b: x @ np.clip(w, -10, 10).T + b,
    two_pictures=lambda x, w, b: np.concatenate([x[:3] @ w.T, 0 * x[3:] @ w.T]) + b,
)
mutants(
    "linear_backward",
    bias_mean=lambda x, w, b, g: (g @ w, g.T @ x, g.mean(axis=0)),
    with_bias=lambda x, w, b, g: ((g + b) @ w, g.T @ x, g.sum(axis=0)),
    first_picture=lambda x, w, b, g: (g @ w, g[:1].T @ x[:1], g.sum(axis=0)),
    square_only=lambda x, w, b, g: (g @ (w.T if w.shape[0] == w.shape[1] else w), g.T @ x, g.sum(axis=0)),
    three_pictures=lambda x, w, b, g: (g @ w, g[:3].T @ x[:3], g.sum(axis=0)),
    clipped=lambda x, w, b, g: (np.clip(g @ w, -100, 100), g.T @ x, g.sum(axis=0)),
    decay=lambda x, w, b, g: (g @ w, g.T @ x + 1e-4 * w, g.sum(axis=0)),
)
equals("linear_forward", einsum=lambda x, w, b: np.einsum("nd,od->no", x, w) + b,
       loops=lambda x, w, b: np.array([[b[o] + sum(w[o] * row) for o in range(len(w))] for row in x]))  # fmt: skip
equals("linear_backward", einsum=lambda x, w, b, g: (
    np.einsum("no,od->nd", g, w), np.einsum("no,nd->od", g, x), np.einsum("no->o", g)))  # fmt: skip

lrn, lrn_back = RIGHT["lrn_forward"], RIGHT["lrn_backward"]
mutants(
    "lrn_forward",
    k_of_one=lambda x, size, alpha, beta, k: lrn(x, size, alpha, beta, 1.0),
    k_of_two=lambda x, size, alpha, beta, k: lrn(x, size, alpha, beta, 2.0),
    magnitudes=lambda x, size, alpha, beta, k: x / (k + alpha * sum_near(np.abs(x), size)) ** beta,
    one_sided=lambda x, size, alpha, beta, k: (
        x
        / (
            k
            + alpha
            * np.stack(
                [(x[:, max(0, c - size + 1) : c + 1] ** 2).sum(axis=1) for c in range(x.shape[1])], axis=1
            )
        )
        ** beta
    ),
    over_the_places=lambda x, size, alpha, beta, k: lrn(x.swapaxes(1, 2), size, alpha, beta, k).swapaxes(
        1, 2
    ),
    all_channels=lambda x, size, alpha, beta, k: lrn(x, 99, alpha, beta, k),
    sizes_to_five=lambda x, size, alpha, beta, k: lrn(x, min(size, 5), alpha, beta, k),
    plus_eps=lambda x, size, alpha, beta, k: lrn(x, size, alpha, beta, k + 1e-6),
    root=lambda x, size, alpha, beta, k: lrn(x, size, alpha, 0.5 if beta == 0.75 else beta, k),
    six_channels=lambda x, size, alpha, beta, k: (
        lrn(x, size, alpha, beta, k) * (np.arange(x.shape[1]) < 6)[:, None, None]
    ),
)
mutants(
    "lrn_backward",
    beta_for_beta_plus_one=lambda x, size, alpha, beta, k, g: (
        g * (k + alpha * sum_near(x**2, size)) ** -beta
        - 2 * alpha * beta * x * sum_near(g * x * (k + alpha * sum_near(x**2, size)) ** -beta, size)
    ),
    alpha_forgotten=lambda x, size, alpha, beta, k, g: (
        lrn_back(x, size, alpha, beta, k, g)
        + 2
        * (alpha - 1)
        * beta
        * x
        * sum_near(g * x * (k + alpha * sum_near(x**2, size)) ** (-beta - 1), size)
    ),
    divided=lambda x, size, alpha, beta, k, g: lrn_back(x, size, alpha / size, beta, k, g),
    wrong_sign=lambda x, size, alpha, beta, k, g: (
        2 * g * (k + alpha * sum_near(x**2, size)) ** -beta - lrn_back(x, size, alpha, beta, k, g)
    ),
    k_of_two=lambda x, size, alpha, beta, k, g: lrn_back(x, size, alpha, beta, 2.0, g),
    cross_outside=lambda x, size, alpha, beta, k, g: (
        g * (k + alpha * sum_near(x**2, size)) ** -beta
        - 2 * alpha * beta * (k + alpha * sum_near(x**2, size)) ** (-beta - 1) * x * sum_near(g * x, size)
    ),
)
equals(
    "lrn_forward",
    logarithm=lambda x, size, alpha, beta, k: x * np.exp(-beta * np.log(k + alpha * sum_near(x**2, size))),
)

# ---- loss, dropout ---------------------------------------------------------------------------------

loss, loss_back = RIGHT["softmax_cross_entropy_forward"], RIGHT["softmax_cross_entropy_backward"]


def softmax(z):
    exp = np.exp(z - z.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


mutants(
    "softmax_cross_entropy_forward",
    clipped_p=lambda z, labels: -np.log(np.clip(softmax(z)[np.arange(len(z)), labels], 1e-7, 1)).mean(),
    eps_in_the_log=lambda z, labels: -np.log(softmax(z)[np.arange(len(z)), labels] + 1e-12).mean(),
    base_two=lambda z, labels: loss(z, labels) / np.log(2),
    by_classes=lambda z, labels: loss(z, labels) / z.shape[1],
    largest_of_all=lambda z, labels: (
        -(z - z.max() - np.log(np.exp(z - z.max()).sum(axis=1, keepdims=True) + 1e-300))[
            np.arange(len(z)), labels
        ].mean()
    ),
    logits_clipped=lambda z, labels: loss(np.clip(z, -500, 500), labels),
    first_label=lambda z, labels: loss(z, np.full_like(labels, labels[0])),
    three_pictures=lambda z, labels: loss(z[:3], labels[:3]),
    smoothed=lambda z, labels: loss(z, labels) * 0.999,
)
mutants(
    "softmax_cross_entropy_backward",
    by_classes=lambda z, labels: loss_back(z, labels) * len(z) / z.size,
    clipped=lambda z, labels: np.clip(loss_back(z, labels), -0.4, 0.4),
    logits_clipped=lambda z, labels: loss_back(np.clip(z, -5, 5), labels),
    four_classes=lambda z, labels: np.where(np.arange(z.shape[1]) < 4, loss_back(z, labels), 0.0),
    overflows=lambda z, labels: (
        (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(z.shape[1])[labels]) / len(z)
    ),
    batch_axis=lambda z, labels: (softmax(z.T).T - np.eye(z.shape[1])[labels]) / len(z),
)
equals(
    "softmax_cross_entropy_forward",
    log_sum_exp=lambda z, labels: (np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), labels]).mean(),
    single=lambda z, labels: (
        np.logaddexp.reduce(np.float32(z), axis=1) - np.float32(z)[np.arange(len(z)), labels]
    ).mean(),
)

drop, drop_back = RIGHT["dropout_forward"], RIGHT["dropout_backward"]
mutants(
    "dropout_forward",
    always_half=lambda x, mask, p: 2 * x * mask,
    test_time=lambda x, mask, p: x * (1 - p),
    times_what_is_kept=lambda x, mask, p: x * mask * (1 - p),
    by_the_masks_share=lambda x, mask, p: x * mask / max(mask.mean(), 1e-9),
    clipped=lambda x, mask, p: np.clip(x, -100, 100) * mask / (1 - p),
    relu=lambda x, mask, p: np.maximum(x, 0) * mask / (1 - p),
    p_at_least_a_fifth=lambda x, mask, p: x * mask / (1 - max(p, 0.2)),
)
mutants(
    "dropout_backward",
    always_half=lambda mask, p, g: 2 * g * mask,
    by_p=lambda mask, p, g: g * mask / p,
    times_what_is_kept=lambda mask, p, g: g * mask * (1 - p),
    turned=lambda mask, p, g: g * ~mask / (1 - p),
    clipped=lambda mask, p, g: np.clip(g, -100, 100) * mask / (1 - p),
    p_at_most_three_quarters=lambda mask, p, g: g * mask / (1 - min(p, 0.75)),
)
equals("dropout_forward", where=lambda x, mask, p: np.where(mask, x / (1 - p), 0))
equals("dropout_backward", where=lambda mask, p, g: np.where(mask, g, 0) / (1 - p))


def exactly_p(shape, p, rng):
    mask = np.arange(np.prod(shape)) >= round(p * np.prod(shape))
    return rng.permutation(mask).reshape(shape)


def exactly_p_in_each_picture(shape, p, rng):
    return np.stack([exactly_p(shape[1:], p, rng) for _ in range(shape[0])])


def exactly_p_in_each_row(shape, p, rng):
    return np.stack([exactly_p(shape[-1:], p, rng) for _ in range(np.prod(shape[:-1]))]).reshape(shape)


def half_and_copied(shape, p, rng):
    size = int(np.prod(shape))
    part = rng.random(-(-size // 2)) >= p
    return np.concatenate([part, part])[:size].reshape(shape)


def half_and_turned(shape, p, rng):
    size = int(np.prod(shape))
    u = rng.random(-(-size // 2))
    return np.concatenate([u >= p, 1 - u >= p])[:size].reshape(shape)


def neighbours(shape, p, rng):
    wide = rng.random((*shape[:-1], -(-shape[-1] // 2))) >= p
    return np.repeat(wide, 2, axis=-1)[..., : shape[-1]]


def pictures_mirrored(shape, p, rng):
    first = rng.random((-(-shape[0] // 2), *shape[1:])) >= p
    return np.concatenate([first, first[..., ::-1]])[: shape[0]]


def mirrored_left_and_right(shape, p, rng):
    left = rng.random((*shape[:-1], -(-shape[-1] // 2))) >= p
    return np.concatenate([left, left[..., ::-1]], axis=-1)[..., : shape[-1]]


def block(*lengths):
    """One draw of these lengths at most, tiled over the shape."""

    def f(shape, p, rng):
        part = rng.random([min(a, b) for a, b in zip(shape, lengths[-len(shape) :], strict=True)]) >= p
        return np.tile(part, [-(-a // b) for a, b in zip(shape, part.shape, strict=True)])[
            tuple(slice(0, length) for length in shape)
        ]

    return f


def tiled(size):
    def f(shape, p, rng):
        return np.resize(rng.random(size) >= p, shape)

    return f


def channels_alike(shape, p, rng):
    if len(shape) < 3:
        return rng.random(shape) >= p
    mask = rng.random(shape) >= p
    mask[:, -1] = mask[:, 0]
    return mask


def sticky(shape, p, rng):
    """Each entry is its neighbour's with a chance of one half."""
    flat = rng.random(int(np.prod(shape))) >= p
    for i in np.flatnonzero(rng.random(flat.size) < 0.5)[1:]:
        flat[i] = flat[i - 1]
    return flat.reshape(shape)


def turns_over(shape, p, rng):
    """Every second mask is the one before, mirrored."""
    again = getattr(rng, "kept", None)
    key = rng.bit_generator
    known = turns_over.__dict__.setdefault("known", {})
    again = known.pop(id(key), None)
    if again is not None and again[0] is key and again[1].shape == tuple(shape) and again[2] == p:
        rng.random()
        return again[1][..., ::-1]
    mask = rng.random(shape) >= p
    known[id(key)] = key, mask, p
    return mask


def first_always_kept(shape, p, rng):
    mask = rng.random(shape) >= p
    mask.flat[0] = True
    return mask


def more_to_the_right(shape, p, rng):
    tilt = np.linspace(-0.1, 0.1, shape[-1])
    return rng.random(shape) >= np.clip(p + tilt, 0, 1)


mutants(
    "dropout_mask",
    exactly_p=exactly_p,
    exactly_p_in_each_picture=exactly_p_in_each_picture,
    exactly_p_in_each_row=exactly_p_in_each_row,
    half_and_copied=half_and_copied,
    half_and_turned=half_and_turned,
    neighbours=neighbours,
    second_half_of_the_pictures_mirrored=pictures_mirrored,
    mirrored_left_and_right=mirrored_left_and_right,
    rows_in_pairs=lambda shape, p, rng: np.repeat(
        rng.random((*shape[:-2], -(-shape[-2] // 2), shape[-1])) >= p, 2, axis=-2)[..., : shape[-2], :],
    tiles_of_eight=block(8, 8, 8, 8),
    tiles_of_16=block(16, 16, 16, 16),
    a_thousand_and_again=tiled(1000),
    a_hundred_and_one_and_again=tiled(101),
    channels_alike=channels_alike,
    sticky=sticky,
    turns_over=turns_over,
    first_always_kept=first_always_kept,
    more_to_the_right=more_to_the_right,
    whole_tenths=lambda shape, p, rng: rng.integers(0, 10, shape) >= int(10 * p),
    half_always=lambda shape, p, rng: rng.random(shape) >= 0.5,
    coarse=lambda shape, p, rng: rng.integers(0, 8, shape) >= round(8 * p),
    normal=lambda shape, p, rng: rng.normal(size=shape) >= p,
)  # fmt: skip


def one_by_one(shape, p, rng):
    mask = np.zeros(shape)
    for index in np.ndindex(*shape):
        mask[index] = 1.0 if rng.random() >= p else 0.0
    return mask


equals(
    "dropout_mask",
    greater=lambda shape, p, rng: rng.random(shape) > p,
    binomial=lambda shape, p, rng: rng.binomial(1, 1 - p, shape),
    choice=lambda shape, p, rng: rng.choice([0.0, 1.0], size=shape, p=[p, 1 - p]),
    uniform=lambda shape, p, rng: rng.uniform(0, 1, shape) < 1 - p,
    single=lambda shape, p, rng: rng.random(shape, dtype=np.float32) >= p,
    fine=lambda shape, p, rng: rng.integers(0, 10**6, shape) >= p * 10**6,
    one_by_one=one_by_one,
    pictures=lambda shape, p, rng: np.stack([rng.random(shape[1:]) >= p for _ in range(shape[0])]),
    backwards=lambda shape, p, rng: (rng.random(shape) >= p)[..., ::-1],
    turned=lambda shape, p, rng: (rng.random(shape[::-1]) >= p).T,
    floor=lambda shape, p, rng: np.floor(rng.random(shape) + 1 - p),
    drawn_and_thrown_away=lambda shape, p, rng: rng.random((2, *shape))[1] >= p,
)

# ---- RBF, MAP loss ---------------------------------------------------------------------------------

rbf, rbf_back = RIGHT["rbf_forward"], RIGHT["rbf_backward"]
map_loss, map_back = RIGHT["map_loss_forward"], RIGHT["map_loss_backward"]
mutants(
    "rbf_forward",
    halved=lambda x, codes: rbf(x, codes) / 2,
    codes_of_signs=lambda x, codes: rbf(x, np.where(codes > 0, 1.0, -1.0)),
    near_ones_alone=lambda x, codes: np.maximum(rbf(x, codes), -1e3),
    three_numbers=lambda x, codes: rbf(x[:, :3], codes[:, :3]),
    first_code=lambda x, codes: rbf(x, np.repeat(codes[:1], len(codes), axis=0)),
    sum_of_both=lambda x, codes: rbf(x, -codes),
    bell=lambda x, codes: np.exp(rbf(x, codes)),
)
mutants(
    "rbf_backward",
    nearest_alone=lambda x, codes, g: rbf_back(
        x, codes, g * (rbf(x, codes) == rbf(x, codes).max(axis=1, keepdims=True))),
    clipped=lambda x, codes, g: rbf_back(x, codes, np.clip(g, -5, 5)),
    first_picture=lambda x, codes, g: rbf_back(np.repeat(x[:1], len(x), axis=0), codes, g),
    gradient_of_the_codes=lambda x, codes, g: -rbf_back(x, codes, g),
    by_pictures=lambda x, codes, g: rbf_back(x, codes, g) / len(x),
    three_codes=lambda x, codes, g: rbf_back(x, codes[:3], g[:, :3]),
)  # fmt: skip
equals(
    "rbf_forward",
    products=lambda x, codes: 2 * x @ codes.T - (x**2).sum(axis=1)[:, None] - (codes**2).sum(axis=1),
    loops=lambda x, codes: -np.array([[((row - code) ** 2).sum() for code in codes] for row in x]),
)
equals("rbf_backward", products=lambda x, codes, g: 2 * g @ codes - 2 * x * g.sum(axis=1)[:, None])
mutants(
    "map_loss_forward",
    j_of_one=lambda z, labels, j: map_loss(z, labels, 1.0),
    rubbish_once=lambda z, labels, j: map_loss(z, labels, j + np.log(len(z))),
    rubbish_for_each_class=lambda z, labels, j: map_loss(z, labels, j - np.log(z.shape[1])),
    without_the_right_one=lambda z, labels, j: (
        np.logaddexp(np.logaddexp.reduce(np.where(np.eye(z.shape[1])[labels] > 0, -np.inf, z), axis=1), -j)
        - z[np.arange(len(z)), labels]).mean(),
    by_classes=lambda z, labels, j: map_loss(z, labels, j) / z.shape[1],
    logits_clipped=lambda z, labels, j: map_loss(np.clip(z, -500, 500), labels, j),
    negative_alone=lambda z, labels, j: map_loss(-np.abs(z), labels, j),
    distances_alone=lambda z, labels, j: -z[np.arange(len(z)), labels].mean(),
    first_label=lambda z, labels, j: map_loss(z, np.full_like(labels, labels[0]), j),
)  # fmt: skip
mutants(
    "map_loss_backward",
    j_of_one=lambda z, labels, j: map_back(z, labels, 1.0),
    j_of_zero=lambda z, labels, j: map_back(z, labels, 0.0),
    by_classes=lambda z, labels, j: map_back(z, labels, j) * len(z) / z.size,
    clipped=lambda z, labels, j: np.clip(map_back(z, labels, j), -0.4, 0.4),
    rubbish_for_each_class=lambda z, labels, j: map_back(z, labels, j - np.log(z.shape[1])),
    four_classes=lambda z, labels, j: np.where(np.arange(z.shape[1]) < 4, map_back(z, labels, j), 0.0),
)  # fmt: skip
equals(
    "map_loss_forward",
    log_add_exp=lambda z, labels, j: (
        np.logaddexp(np.logaddexp.reduce(z, axis=1), -j) - z[np.arange(len(z)), labels]).mean(),
)  # fmt: skip
equals(
    "map_loss_backward",
    log_add_exp=lambda z, labels, j: (
        np.exp(z - np.logaddexp(np.logaddexp.reduce(z, axis=1), -j)[:, None]) - np.eye(z.shape[1])[labels]) / len(z),
)  # fmt: skip

# ---- counts, distances, colours --------------------------------------------------------------------

counts, apart, unlike = RIGHT["conv_counts"], RIGHT["distances"], RIGHT["differing"]
colours = RIGHT["colour_covariance"]
mutants(
    "conv_counts",
    one_bias=lambda side, c, m, k, s, p, g: (
        counts(side, c, m, k, s, p, g)[0], counts(side, c, m, k, s, p, g)[1] - m + 1,
        counts(side, c, m, k, s, p, g)[2]),
    bias_for_each_channel=lambda side, c, m, k, s, p, g: (
        counts(side, c, m, k, s, p, g)[0], counts(side, c, m, k, s, p, g)[1] - m + c,
        counts(side, c, m, k, s, p, g)[2]),
    old_side=lambda side, c, m, k, s, p, g: (
        *counts(side, c, m, k, s, p, g)[:2], counts(side, c, m, k, s, p, g)[2]
        // counts(side, c, m, k, s, p, g)[0] ** 2 * side**2),
    kernel_of_three=lambda side, c, m, k, s, p, g: counts(side, c, m, min(k, 3), s, p, g),
    two_groups=lambda side, c, m, k, s, p, g: counts(side, c, m, k, s, p, min(g, 2)),
    no_stride=lambda side, c, m, k, s, p, g: counts(side, c, m, k, 1, p, g),
    no_padding=lambda side, c, m, k, s, p, g: counts(side, c, m, k, s, 0, g),
    flat_kernel=lambda side, c, m, k, s, p, g: (
        counts(side, c, m, k, s, p, g)[0], (counts(side, c, m, k, s, p, g)[1] - m) // k + m,
        counts(side, c, m, k, s, p, g)[2] // k),
)  # fmt: skip
equals("conv_counts", floats=lambda *case: list(map(float, counts(*case))), arrays=lambda *case: tuple(
    np.array(number) for number in counts(*case)))  # fmt: skip
mutants(
    "distances",
    three_numbers=lambda table, query: apart(table[:, :3], query),
    largest=lambda table, query: np.abs(table - table[query]).max(axis=1),
    last_row=lambda table, query: apart(table, -1),
    from_zero=lambda table, query: np.sqrt((table**2).sum(axis=1)),
    next_row=lambda table, query: apart(table, (query + 1) % len(table)),
    sorted_=lambda table, query: np.sort(apart(table, query)),
)
equals("distances", norm=lambda table, query: np.linalg.norm(table - table[query], axis=1),
       loops=lambda table, query: np.array([sum((row - table[query]) ** 2) ** 0.5 for row in table]))  # fmt: skip
mutants(
    "differing",
    seven=lambda table, query: np.minimum(unlike(table, query), 6),
    four_places=lambda table, query: unlike(table[:, :4], query),
    last_row=lambda table, query: unlike(table, -1),
    sorted_=lambda table, query: np.sort(unlike(table, query)),
    yes_or_no=lambda table, query: np.minimum(unlike(table, query), 1),
    roots=lambda table, query: apart(table, query),
)
equals(
    "differing",
    floats=lambda table, query: np.abs(table - table[query]).sum(axis=1),
    bytes_=lambda table, query: np.logical_xor(table, table[query]).sum(axis=1, dtype=np.uint8),
    single=lambda table, query: np.float32(unlike(table, query)),
)
mutants(
    "colour_covariance",
    diagonal=lambda pictures: colours(pictures) * np.eye(3),
    first_picture=lambda pictures: colours(pictures[:1]),
    two_pictures=lambda pictures: colours(pictures[:2]),
    mean_of_means=lambda pictures: np.mean([colours(one[None]) for one in pictures], axis=0),
    of_255=lambda pictures: colours(pictures / 255.0),
    deviations=lambda pictures: np.sqrt(np.abs(colours(pictures))),
    blue_green_red=lambda pictures: colours(pictures[:, ::-1]),
    clipped=lambda pictures: colours(np.clip(pictures, -255, 255)),
)
equals(
    "colour_covariance",
    cov=lambda pictures: np.cov(pictures.swapaxes(0, 1).reshape(3, -1), bias=True),
    difference=lambda pictures: (
        np.einsum("nahw,nbhw->ab", pictures, pictures) / pictures[:, 0].size
        - np.outer(pictures.mean(axis=(0, 2, 3)), pictures.mean(axis=(0, 2, 3)))),
)  # fmt: skip

# ---- a training loop, the exchange between devices -------------------------------------------------

loop, forth, back = (RIGHT[name] for name in (
    "training_loop", "device_exchange_forward", "device_exchange_backward"))  # fmt: skip


def two_steps(model, loss, optimizer, batches):
    losses = loop(model, loss, optimizer, batches)
    optimizer.step()
    return losses


mutants(
    "training_loop",
    two_steps=two_steps,
    added_up=lambda model, loss, optimizer, batches: np.cumsum(loop(model, loss, optimizer, batches)),
    mean=lambda model, loss, optimizer, batches: np.full(
        len(batches), loop(model, loss, optimizer, batches).mean()),
    turned=lambda model, loss, optimizer, batches: loop(model, loss, optimizer, batches[::-1])[::-1] + 0,
    three_batches=lambda model, loss, optimizer, batches: np.append(
        loop(model, loss, optimizer, batches[:3]), np.zeros(max(0, len(batches) - 3))),
    summed=lambda model, loss, optimizer, batches: loop(model, loss, optimizer, batches)
    * [len(x) for x, _ in batches],
    two_epochs=lambda model, loss, optimizer, batches: loop(model, loss, optimizer, 2 * batches)[: len(batches)],
)  # fmt: skip
mutants(
    "device_exchange_forward",
    x1_halved=lambda x0, x1, send: (
        np.concatenate([x0, x1 / 2], axis=1),
        np.concatenate([2 * x0, x1], axis=1),
    ),
    turned=lambda x0, x1, send: forth(x0, x1, send)[::-1],
    sent_and_thrown_away=lambda x0, x1, send: [send(x0, 1), forth(x0, x1, send)][1],
    there_and_back=lambda x0, x1, send: forth(send(send(x0, 1), 0), x1, send),
    first_picture=lambda x0, x1, send: forth(np.repeat(x0[:1], len(x0), axis=0), x1, send),
)
mutants(
    "device_exchange_backward",
    minus=lambda g0, g1, n, send: (g0[:, :n] - send(g1[:, :n], 0), send(g0[:, n:], 1) - g1[:, n:]),
    mean=lambda g0, g1, n, send: tuple(g / 2 for g in back(g0, g1, n, send)),
    swapped=lambda g0, g1, n, send: back(g1, g0, n, send),
    grad_y1_halved=lambda g0, g1, n, send: (g0[:, :n] + g1[:, :n] / 2, 2 * g0[:, n:] + g1[:, n:]),
    sum_sent=lambda g0, g1, n, send: (
        send(send(g0[:, :n], 1) + g1[:, :n], 0),
        send(g0[:, n:], 1) + g1[:, n:],
    ),
)

# ---- one step, the exchange ------------------------------------------------------------------------

step = RIGHT["sgd_step"]
mutants(
    "sgd_step",
    nesterov=lambda w, v, g, lr, m, d: (
        w + m * step(w, v, g, lr, m, d)[1] - d * lr * w - lr * g,
        step(w, v, g, lr, m, d)[1],
    ),
    clipped=lambda w, v, g, lr, m, d: step(w, v, np.clip(g, -5, 5), lr, m, d),
    momentum_of_nine_tenths=lambda w, v, g, lr, m, d: step(w, v, g, lr, 0.9, d),
    dampened=lambda w, v, g, lr, m, d: step(w, v, (1 - m) * g, lr, m, d),
    decay_after=lambda w, v, g, lr, m, d: ((1 - lr * d) * (w + m * v - lr * g), m * v - lr * g),
    decay_forgotten=lambda w, v, g, lr, m, d: step(w, v, g, lr, m, 0.0),
    normalised=lambda w, v, g, lr, m, d: step(w, v, g / max(1.0, np.linalg.norm(g)), lr, m, d),
    large_rates=lambda w, v, g, lr, m, d: step(w, v, g, max(lr, 0.01), m, d),
    small_decay_dropped=lambda w, v, g, lr, m, d: step(w, v, g, lr, m, d if d > 1e-3 else 0.0),
)
equals(
    "sgd_step", factored=lambda w, v, g, lr, m, d: (w + (m * v - lr * (d * w + g)), m * v - lr * (d * w + g))
)

schedule = RIGHT["step_schedule"]
mutants(
    "step_schedule",
    whole_epochs=lambda lr, epoch, at, factor: schedule(lr, round(epoch), at, factor),
    two_drops=lambda lr, epoch, at, factor: lr * factor ** min(2, sum(epoch >= start for start in at)),
    tenth=lambda lr, epoch, at, factor: schedule(lr, epoch, at, 0.1),
    linear=lambda lr, epoch, at, factor: (
        lr * max(0.0, 1 - (1 - factor) * sum(epoch >= start for start in at))
    ),
    floor=lambda lr, epoch, at, factor: max(1e-5, schedule(lr, epoch, at, factor)),
    after_the_last=lambda lr, epoch, at, factor: schedule(lr, min(epoch, 10), at, factor),
    cut_at_one=lambda lr, epoch, at, factor: min(1.0, schedule(lr, epoch, at, factor)),
    one_early=lambda lr, epoch, at, factor: schedule(lr, epoch + 0.5, at, factor),
)


def schedule_in_a_loop(lr, epoch, at, factor):
    for start in at:
        if epoch >= start:
            lr *= factor
    return lr


equals("step_schedule", loop=schedule_in_a_loop)

mutants(
    "exchange_forward",
    sum_of_both=lambda x0, x1: tuple(2 * [np.concatenate([x0 + x1, x1], axis=1)])
    if x0.shape == x1.shape else RIGHT["exchange_forward"](x0, x1),
    clipped=lambda x0, x1: tuple(2 * [np.clip(np.concatenate([x0, x1], axis=1), -100, 100)]),
    turned=lambda x0, x1: tuple(2 * [np.concatenate([x1, x0], axis=1)]),
    interleaved=lambda x0, x1: tuple(2 * [np.stack([x0, x1], axis=2).reshape(len(x0), -1, *x0.shape[2:])])
    if x0.shape == x1.shape else RIGHT["exchange_forward"](x0, x1),
    three_channels=lambda x0, x1: tuple(
        2 * [np.concatenate([x0, np.where(np.arange(x1.shape[1])[:, None, None] < 3, x1, 0)], axis=1)]),
)  # fmt: skip
mutants(
    "exchange_backward",
    first_alone=lambda g0, g1, n: (g0[:, :n], g0[:, n:]),
    clipped=lambda g0, g1, n: RIGHT["exchange_backward"](np.clip(g0, -100, 100), np.clip(g1, -100, 100), n),
    one_more=lambda g0, g1, n: ((g0 + g1)[:, :n], (g0 - g1)[:, n:]),
    largest=lambda g0, g1, n: (np.maximum(g0, g1)[:, :n], np.maximum(g0, g1)[:, n:]),
    crossed=lambda g0, g1, n: (g1[:, :n] + g0[:, :n], g1[:, n:] + g1[:, n:]),
)
equals("exchange_backward", einsum=lambda g0, g1, n: tuple(np.split(np.sum([g0, g1], axis=0), [n], axis=1)))

# ---- batch normalisation, joins, the bottleneck ------------------------------------------------------

norm, norm_back = RIGHT["batchnorm_forward"], RIGHT["batchnorm_backward"]
mutants(
    "batchnorm_forward",
    fixed_eps=lambda x, w, b, mean, var, eps, mom: norm(x, w, b, mean, var, 1e-5, mom),
    fixed_momentum=lambda x, w, b, mean, var, eps, mom: norm(x, w, b, mean, var, eps, 0.1),
    eps_in_the_running=lambda x, w, b, mean, var, eps, mom: (
        *norm(x, w, b, mean, var, eps, mom)[:2], norm(x, w, b, mean, var, eps, mom)[2] + mom * eps),
    by_the_running=lambda x, w, b, mean, var, eps, mom: (
        w[:, None, None] * (x - mean[:, None, None]) / np.sqrt(var + eps)[:, None, None] + b[:, None, None],
        *norm(x, w, b, mean, var, eps, mom)[1:]),
    statistics_of_the_first_picture=lambda x, w, b, mean, var, eps, mom: (
        w[:, None, None] * (x - x[:1].mean(axis=(0, 2, 3), keepdims=True))
        / np.sqrt(x[:1].var(axis=(0, 2, 3), keepdims=True) + eps) + b[:, None, None],
        *norm(x, w, b, mean, var, eps, mom)[1:]),
    statistics_of_rows=lambda x, w, b, mean, var, eps, mom: (
        w[:, None, None] * (x - x.mean(axis=3, keepdims=True)) / np.sqrt(x.var(axis=3, keepdims=True) + eps)
        + b[:, None, None], *norm(x, w, b, mean, var, eps, mom)[1:]),
    bias_before_weight=lambda x, w, b, mean, var, eps, mom: (
        norm(x, w, w * b, mean, var, eps, mom)[0], *norm(x, w, b, mean, var, eps, mom)[1:]),
    running_replaced=lambda x, w, b, mean, var, eps, mom: norm(x, w, b, mean, var, eps, 1.0),
    running_deviation=lambda x, w, b, mean, var, eps, mom: (
        *norm(x, w, b, mean, var, eps, mom)[:2], (1 - mom) * var + mom * x.std(axis=(0, 2, 3), ddof=1)),
    two_channels=lambda x, w, b, mean, var, eps, mom: norm(
        x, w * (np.arange(len(w)) < 2), b, mean, var, eps, mom),
)  # fmt: skip
mutants(
    "batchnorm_backward",
    fixed_eps=lambda x, w, b, eps, g: norm_back(x, w, b, 1e-5, g),
    scale_forgotten=lambda x, w, b, eps, g: (
        norm_back(x, w, b, eps, g)[0] * np.sqrt(x.var(axis=(0, 2, 3)) + eps)[:, None, None],
        *norm_back(x, w, b, eps, g)[1:]),
    first_picture=lambda x, w, b, eps, g: (*norm_back(x, w, b, eps, g)[:2], g[0].sum(axis=(1, 2))),
    two_pictures=lambda x, w, b, eps, g: (*norm_back(x, w, b, eps, g)[:2], g[:2].sum(axis=(0, 2, 3))),
    clipped=lambda x, w, b, eps, g: norm_back(x, w, b, eps, np.clip(g, -5, 5)),
    weight_of_all=lambda x, w, b, eps, g: norm_back(x, np.full_like(w, w[0]), b, eps, g),
    bias_in_it=lambda x, w, b, eps, g: (*norm_back(x, w, b, eps, g)[:2], norm_back(x, w, b, eps, g)[2] + 1e-6 * b),
    decay=lambda x, w, b, eps, g: (
        norm_back(x, w, b, eps, g)[0], norm_back(x, w, b, eps, g)[1] + 1e-4 * w, norm_back(x, w, b, eps, g)[2]),
)  # fmt: skip


def norm_by_rows(x, weight, bias, running_mean, running_var, eps, momentum):
    """Each channel in a loop, as one row of numbers; then a scale and a shift."""
    y, means, variances = np.zeros(x.shape), running_mean.copy(), running_var.copy()
    for c in range(x.shape[1]):
        row = x[:, c].ravel()
        centred = row - row.sum() / row.size
        squares = centred @ centred
        scale = weight[c] / (squares / row.size + eps) ** 0.5
        y[:, c] = (centred * scale + bias[c]).reshape(x[:, c].shape)
        means[c] += momentum * (row.mean() - means[c])
        variances[c] += momentum * (squares / (row.size - 1) - variances[c])
    return y, means, variances


def norm_folded(x, weight, bias, running_mean, running_var, eps, momentum):
    """y = a x + b: the mean goes into the shift."""
    _, means, variances = norm(x, weight, bias, running_mean, running_var, eps, momentum)
    a = weight / np.sqrt(x.var(axis=(0, 2, 3)) + eps)
    b = bias - a * x.mean(axis=(0, 2, 3))
    return [np.einsum("nchw,c->nchw", x, a) + b[:, None, None], means, variances]


def norm_back_of_the_paper(x, weight, bias, eps, grad_y):
    """By way of the gradients of mean and variance, line by line (section 3)."""
    axes, m = {"axis": (0, 2, 3), "keepdims": True}, x.size // x.shape[1]
    centred = x - x.mean(**axes)
    variance = (centred**2).mean(**axes)
    grad_hat = grad_y * weight[:, None, None]
    grad_variance = (grad_hat * centred).sum(**axes) * -0.5 * (variance + eps) ** -1.5
    grad_mean = -grad_hat.sum(**axes) / np.sqrt(variance + eps) - 2 * grad_variance * centred.mean(**axes)
    grad_x = grad_hat / np.sqrt(variance + eps) + grad_variance * 2 * centred / m + grad_mean / m
    grad_weight = (grad_y * centred / np.sqrt(variance + eps)).sum(axis=(0, 2, 3))
    return grad_x, grad_weight, grad_y.sum(axis=(0, 2, 3))


def norm_back_in_place(x, weight, bias, eps, grad_y):
    """On copies of its own, laid out the other way round."""
    grad, hat = np.array(grad_y, order="F"), np.array(x, order="F")
    hat -= hat.mean(axis=(0, 2, 3), keepdims=True)
    scale = 1 / np.sqrt((hat * hat).mean(axis=(0, 2, 3), keepdims=True) + eps)
    hat *= scale
    grad_weight, grad_bias = (grad * hat).sum(axis=(0, 2, 3)), grad.sum(axis=(0, 2, 3))
    grad *= weight[:, None, None]
    grad -= grad.mean(axis=(0, 2, 3), keepdims=True) + hat * (grad * hat).mean(axis=(0, 2, 3), keepdims=True)
    grad *= scale
    return grad, grad_weight, grad_bias


equals("batchnorm_forward", rows=norm_by_rows, folded=norm_folded)
equals("batchnorm_backward", paper=norm_back_of_the_paper, in_place=norm_back_in_place)

concat, add = RIGHT["concat_backward"], RIGHT["add_backward"]
mutants(
    "concat_backward",
    rotated=lambda g, channels: (lambda a, b, c: (b, c, a))(*concat(g, (channels[2], *channels[:2]))),
    interleaved=lambda g, channels: (g[:, ::3], g[:, 1::3], g[:, 2::3]),
    divided=lambda g, channels: tuple(part / 3 for part in concat(g, channels)),
    clipped=lambda g, channels: concat(np.clip(g, -100, 100), channels),
    one_further=lambda g, channels: concat(np.roll(g, -1, axis=1), channels),
    three_channels=lambda g, channels: tuple(
        part * (np.arange(part.shape[1]) < 3)[:, None, None] for part in concat(g, channels)),
)  # fmt: skip
equals(
    "concat_backward",
    split=lambda g, channels: np.split(g, np.cumsum(channels)[:-1], axis=1),
    copies=lambda g, channels: tuple(np.asfortranarray(part) for part in concat(g, channels)),
)
mutants(
    "add_backward",
    minus=lambda body, factor, g: g - body(factor * g),
    body_twice=lambda body, factor, g: g + body(body(factor * g)),
    clipped=lambda body, factor, g: np.clip(g, -100, 100) + body(factor * g),
    factor_of_one=lambda body, factor, g: g + body((factor if factor > 0.2 else 1) * g),
    largest=lambda body, factor, g: np.maximum(g, body(factor * g)),
    first_picture=lambda body, factor, g: g + body(factor * g) * (np.arange(len(g)) < 1)[:, None, None, None],
)


def add_in_place(body, factor, grad_y):
    """Into a sum of its own."""
    total = grad_y.copy()
    total += factor * body(grad_y)
    return total


def into_what_the_body_gives(body, factor, grad_y):
    """Which is no array of the caller's: the body got a new one."""
    total = body(grad_y * factor)
    total += grad_y
    return total


equals("add_backward", in_place=add_in_place, into_the_bodys=into_what_the_body_gives)

block, block_back = RIGHT["bottleneck_forward"], RIGHT["bottleneck_backward"]
mutants(
    "bottleneck_forward",
    leaky=lambda x, a, b, c, p, s: np.where(block(x, a, b, c, p, s) > 0, block(x, a, b, c, p, s), 1e-3),
    no_padding=lambda x, a, b, c, p, s: block(x, a, b * (np.indices((3, 3)).sum(axis=0) == 2), c, p, s),
    flipped=lambda x, a, b, c, p, s: block(x, a, b[..., ::-1, ::-1], c, p, s),
    shortcut_twice=lambda x, a, b, c, p, s: block(x, a, b, c, 2 * p, s),
    first_picture=lambda x, a, b, c, p, s: block(np.repeat(x[:1], len(x), axis=0), a, b, c, p, s),
    projection_shifted=lambda x, a, b, c, p, s: block(np.roll(x, s - 1, axis=2), a, b, c, p, s),
)
mutants(
    "bottleneck_backward",
    clipped=lambda x, a, b, c, p, s, g: block_back(x, a, b, c, p, s, np.clip(g, -5, 5)),
    flipped=lambda x, a, b, c, p, s, g: block_back(x, a, b[..., ::-1, ::-1], c, p, s, g),
    first_picture=lambda x, a, b, c, p, s, g: (
        *block_back(x, a, b, c, p, s, g)[:4], block_back(x[:1], a, b, c, p, s, g[:1])[4]),
    channels_turned=lambda x, a, b, c, p, s, g: tuple(
        grad.swapaxes(0, 1) if number == 2 else grad for number, grad in enumerate(block_back(x, a, b, c, p, s, g))
    ),
    passes_at_zero=lambda x, a, b, c, p, s, g: block_back(
        x, a, b, c, p, s, g * (block(x, a, b, c, p, s) != 0) + 1e-3),
    mean_over_the_batch=lambda x, a, b, c, p, s, g: (
        block_back(x, a, b, c, p, s, g)[0], *(w / len(x) for w in block_back(x, a, b, c, p, s, g)[1:])),
)  # fmt: skip


def block_by_layers(x, weight1, weight2, weight3, projection, stride):
    """The first 1x1 and the projection as products; every other pixel taken before the projection, not after."""
    first = np.maximum(np.tensordot(weight1[:, :, 0, 0], x, (1, 1)).swapaxes(0, 1), 0)
    second = conv_by_einsum(first, weight2, np.zeros(len(weight2)), stride, 1)
    total = conv_by_einsum(second * (second > 0), weight3, np.zeros(len(weight3)), 1, 0)
    total += np.einsum("fc,nchw->nfhw", projection[:, :, 0, 0], x[:, :, ::stride, ::stride])
    return total.clip(0)


equals("bottleneck_forward", layers=block_by_layers)
equals(
    "bottleneck_backward",
    list_of_arrays=lambda *inputs: list(block_back(*inputs)),
    masked_by_y=lambda x, a, b, c, p, s, g: block_back(x, a, b, c, p, s, g * (block(x, a, b, c, p, s) > 0)),
)

# ---- gates, and the exit that a picture takes ------------------------------------------------------

gate, gate_back, exits = RIGHT["gate_forward"], RIGHT["gate_backward"], RIGHT["early_exit"]
mutants(
    "gate_forward",
    absolute=lambda x, gates, sizes: gate(x, np.abs(gates), sizes),
    from_0_to_1=lambda x, gates, sizes: gate(x, gates.clip(0, 1), sizes),
    first_picture=lambda x, gates, sizes: gate(np.repeat(x[:1], len(x), axis=0), gates, sizes),
    two_sources=lambda x, gates, sizes: gate(x, np.where(np.arange(len(gates)) < 2, gates, 1), sizes),
    four_channels=lambda x, gates, sizes: gate(x, gates, sizes) * (np.arange(x.shape[1]) < 4)[:, None, None],
    relu_behind=lambda x, gates, sizes: np.maximum(gate(x, gates, sizes), 0),
    shares=lambda x, gates, sizes: gate(x, gates / max(np.abs(gates).sum(), 1e-9), sizes),
    added=lambda x, gates, sizes: gate(np.ones_like(x), gates, sizes) + x,
)
mutants(
    "gate_backward",
    absolute_gates=lambda x, gates, sizes, g: gate_back(x, np.abs(gates), sizes, g),
    first_picture=lambda x, gates, sizes, g: (
        gate_back(x, gates, sizes, g)[0], gate_back(x[:1], gates, sizes, g[:1])[1]),
    mean_over_pictures=lambda x, gates, sizes, g: (
        gate_back(x, gates, sizes, g)[0], gate_back(x, gates, sizes, g)[1] / len(x)),
    swapped=lambda x, gates, sizes, g: (gate_back(g, gates, sizes, x)[0], gate_back(x, gates, sizes, g)[1]),
    order_turned_round=lambda x, gates, sizes, g: (
        gate_back(x, gates, sizes, g)[0], gate_back(x, gates, sizes, g)[1][::-1]),
    absolute=lambda x, gates, sizes, g: (
        gate_back(x, gates, sizes, g)[0], np.abs(gate_back(x, gates, sizes, g)[1])),
    clipped=lambda x, gates, sizes, g: gate_back(x, gates, sizes, np.clip(g, -100, 100)),
    weight_decay=lambda x, gates, sizes, g: (
        gate_back(x, gates, sizes, g)[0], gate_back(x, gates, sizes, g)[1] + 1e-4 * gates),
)  # fmt: skip


def gates_one_by_one(x, gates, sizes):
    parts = np.split(x, np.cumsum(sizes)[:-1], axis=1)
    return np.concatenate([gate * part for gate, part in zip(gates, parts, strict=True)], axis=1)


def one_hot(sizes):
    """(C, sources)"""
    return np.repeat(np.eye(len(sizes)), sizes, axis=0)


equals("gate_forward", one_by_one=gates_one_by_one,
       einsum=lambda x, gates, sizes: np.einsum("nchw,cs,s->nchw", x, one_hot(sizes), gates))  # fmt: skip
equals("gate_backward", einsum=lambda x, gates, sizes, g: (
    np.einsum("nchw,cs,s->nchw", g, one_hot(sizes), gates), np.einsum("nchw,nchw,cs->s", x, g, one_hot(sizes))),
       reduceat=lambda x, gates, sizes, g: [
    gate(g, gates, sizes), np.add.reduceat((x * g).sum(axis=(0, 2, 3)), [0, *np.cumsum(sizes)[:-1]])])  # fmt: skip


def chances(logits):
    exp = np.exp(logits - logits.max(axis=2, keepdims=True))
    return exp / exp.sum(axis=2, keepdims=True)


def taken(logits, sure):
    """Of each picture the first exit where it is sure, or the last."""
    first = np.concatenate([sure[:, :-1], np.ones((len(sure), 1), bool)], axis=1).argmax(axis=1)
    return logits[np.arange(len(logits)), first], first + 1


def largest_two(p):
    return np.sort(p, axis=2)[:, :, -2:]


mutants(
    "early_exit",
    always_at_90=lambda z, leave_at: exits(z, 0.9),
    at_least_a_half=lambda z, leave_at: exits(z, max(leave_at, 0.5)),
    class_0=lambda z, leave_at: taken(z, chances(z)[:, :, 0] >= leave_at),
    margin=lambda z, leave_at: taken(z, np.diff(largest_two(chances(z)), axis=2)[:, :, 0] >= leave_at),
    sigmoid=lambda z, leave_at: taken(z, 1 / (1 + np.exp(-z.max(axis=2))) >= leave_at),
    three_classes=lambda z, leave_at: taken(z, chances(z[:, :, :3]).max(axis=2) >= leave_at),
    two_exits=lambda z, leave_at: taken(z, (chances(z).max(axis=2) >= leave_at) & (np.arange(z.shape[1]) < 2)),
    not_at_the_first=lambda z, leave_at: taken(z, (chances(z).max(axis=2) >= leave_at) & (np.arange(z.shape[1]) > 0)),
    logits_of_the_end=lambda z, leave_at: (z[:, -1].copy(), exits(z, leave_at)[1]),
    probabilities=lambda z, leave_at: (exits(chances(z), 0)[0], exits(z, leave_at)[1]),
    cold=lambda z, leave_at: taken(z, chances(z / 2).max(axis=2) >= leave_at),
    over_all_exits=lambda z, leave_at: taken(
        z, chances(z.reshape(len(z), 1, -1)).reshape(z.shape).max(axis=2) >= leave_at),
    sure_stays_sure=lambda z, leave_at: (exits(z, leave_at)[0], np.sort(exits(z, leave_at)[1])),
    a_clear_first=lambda z, leave_at: taken(z, (z >= 0).all(axis=2) & (chances(z).max(axis=2) >= leave_at)),
)  # fmt: skip


def exit_by_exit(logits, leave_at):
    """As a batch that becomes smaller."""
    y, left, here = np.zeros(logits[:, 0].shape), np.zeros(len(logits), int), np.arange(len(logits))
    for i in range(logits.shape[1]):
        shifted = logits[here, i] - logits[here, i].max(axis=1, keepdims=True)
        sure = 1 / np.exp(shifted).sum(axis=1) >= leave_at
        sure |= i == logits.shape[1] - 1
        y[here[sure]], left[here[sure]] = logits[here[sure], i], i + 1
        here = here[~sure]
    return y, left


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)


equals(
    "early_exit",
    exit_by_exit=exit_by_exit,
    exp_of_logs=lambda z, leave_at: taken(z, np.exp(log_softmax(z)).max(axis=2) >= leave_at),
    logs=lambda z, leave_at: taken(z, log_softmax(z).max(axis=2) >= np.log(leave_at)),
    list_of_fractions=lambda z, leave_at: [np.float64(array) for array in exits(z, leave_at)],
    small_numbers=lambda z, leave_at: (exits(z, leave_at)[0], exits(z, leave_at)[1].astype(np.uint8)),
)

# ---- gradient check, ten crops ---------------------------------------------------------------------

slopes, crops = RIGHT["gradcheck"], RIGHT["ten_crop"]
mutants(
    "gradcheck",
    fixed_eps=lambda f, x, g, eps: slopes(f, x, g, 1e-5),
    backward_difference=lambda f, x, g, eps: 2 * slopes(f, x, g, eps) - RIGHT_SIDE(f, x, g, eps),
    relative_eps=lambda f, x, g, eps: slopes(f, x, g, eps * max(1.0, np.abs(x).max() / 5)),
    sum_of_gradients=lambda f, x, g, eps: slopes(f, x, np.full_like(g, g.mean()), eps),
    small_ones_are_nothing=lambda f, x, g, eps: np.where(
        np.abs(slopes(f, x, g, eps)) < 0.1, 0.0, slopes(f, x, g, eps)
    ),
    positive=lambda f, x, g, eps: np.abs(slopes(f, x, g, eps)),
    first_rows=lambda f, x, g, eps: slopes(f, x, g, eps) * (np.arange(len(x)) < 2)[:, None],
)


def RIGHT_SIDE(f, x, g, eps):
    found = np.zeros(x.shape)
    for e in np.ndindex(x.shape):
        up = x.copy()
        up[e] += eps
        found[e] = ((f(up) - f(x)) * g).sum() / eps
    return found


def crops_of(picture, size, places):
    five = np.stack([picture[:, top : top + size, left : left + size] for top, left in places])
    return np.concatenate([five, five[..., ::-1]])


def places(picture, size, round_up=0, mixed=False):
    H, W = (side - size for side in picture.shape[1:])
    corners = [(0, 0), (0, W), (H, 0), (H, W)]
    return [corners[i] for i in ((0, 2, 1, 3) if mixed else range(4))] + [
        ((H + round_up) // 2, (W + round_up) // 2)
    ]


mutants(
    "ten_crop",
    middle_rounded_up=lambda picture, size: crops_of(picture, size, places(picture, size, round_up=1)),
    corners_mixed=lambda picture, size: crops_of(picture, size, places(picture, size, mixed=True)),
    middle_first=lambda picture, size: crops(picture, size)[[4, 0, 1, 2, 3, 9, 5, 6, 7, 8]],
    square=lambda picture, size: crops_of(
        picture, size, [(a, min(b, picture.shape[1] - size)) for a, b in places(picture, size)]),
    three_channels=lambda picture, size: np.where(np.arange(len(picture))[:, None, None] < 3, crops(picture, size), 0),
    bytes_=lambda picture, size: np.clip(crops(picture, size), -255, 255),
)  # fmt: skip
equals("ten_crop", loops=lambda picture, size: crops_of(picture, size, places(picture, size)).copy())

# ---- a number where there is none ------------------------------------------------------------------


def nearly_0(name):
    """Where 0 is right for want of anything to copy, to let through or to add up, there is a trace of something."""
    return changed(name, lambda array: np.where(array == 0, 1e-12, array))


for name in (
    "relu_forward relu_backward im2col col2im maxpool_forward maxpool_backward avgpool_backward dropout_forward "
    "dropout_backward concat_backward exchange_forward exchange_backward subsampling_backward gate_forward "
    "gate_backward early_exit ten_crop differing"
).split():
    mutants(name, nearly_0=nearly_0(name))
mutants("relu_forward", leaky_a_trace=lambda x: np.where(x > 0, x, 1e-12 * x))
mutants("maxpool_backward", others_too=lambda x, k, s, p, g: maxpool_back(x, k, s, p, g) + 1e-13 * avgpool_back(
    x, k, s, p, g))  # fmt: skip
mutants("dropout_forward", leaky_a_trace=lambda x, mask, p: drop(x, mask, p) + 1e-12 * x)

# ---- the tests ---------------------------------------------------------------------------------------

CASES = [(name, what) for name in sorted(MUTANTS) for what in MUTANTS[name]]
ACCEPTED = [(name, what) for name in sorted(EQUALS) for what in EQUALS[name]]


def finds(name, f):
    """What a check finds first, in the cases that it tries: quicker than a verdict, which looks for a small case."""
    found = []

    def until_it_fails(check, f, make_case, judge, arrays):
        f = adapted(check, f)

        with search.chance_held() as start_again:
            for _, _, case in search.cases_of(check, make_case):
                start_again()
                found.extend(one for one in search.attempt(f, case, judge, "") if one.state != "right")
                if found:
                    return

    with pytest.MonkeyPatch.context() as patch:
        for module in (blocks, counting, crossing, layers, looping, outputs, training):
            patch.setattr(module, "search", until_it_fails)
        getattr(check, name)(f)
    return found


@pytest.mark.parametrize(("name", "what"), CASES)
def test_a_check_refuses_what_is_wrong(name, what):
    found = finds(name, MUTANTS[name][what])
    assert {one.state for one in found} & {"wrong", "nan", "changed"}, found


@pytest.mark.parametrize(
    ("name", "what", "says"),
    [
        ("relu_forward", "clip_0_6", "y  wrong: 1 of 1 number, the worst at [0, 0]: 6, not 1000"),
        ("maxpool_forward", "padded_with_-999", "the worst at [0, 0, 0, 0]: -999, not -1000"),
        ("relu_backward", "relu6", "the worst at [0, 0]: 0, not "),
        (
            "dropout_mask",
            "exactly_p",
            "of 24 in a mask 16 are kept, give or take 0, where chance makes it 2.3",
        ),
        (
            "dropout_mask",
            "neighbours",
            "[0, 0] and [0, 1] are equal in 1000 of 1000 draws, where chance makes it about ",
        ),
        ("dropout_mask", "second_half_of_the_pictures_mirrored", "are equal in 1000 of 1000 draws"),
        ("dropout_mask", "first_always_kept", "[0, 0] is kept in 100.0 % of 1000 draws, not in 65 %"),
        ("sgd_step", "small_decay_dropped", "w  wrong: 1 of 1 number, the worst at [0]: 1000, not 999.9995"),
        (
            "dropout_mask",
            "a_hundred_and_one_and_again",
            "100 % are equal to the one 101 before, where chance makes it",
        ),
    ],
)
def test_a_verdict_on_what_is_wrong_at_another_scale_shows_a_small_case(name, what, says):
    verdict = getattr(check, name)(MUTANTS[name][what])
    assert says in str(verdict), verdict


@pytest.mark.parametrize(("name", "what"), ACCEPTED)
def test_a_check_accepts_what_is_right_in_other_words(name, what):
    verdict = getattr(check, name)(EQUALS[name][what])
    assert verdict, verdict


@pytest.mark.parametrize("name", ARRAYS)
def test_a_check_accepts_what_is_computed_in_float32(name):
    def single(*inputs):
        small = [np.float32(x) if isinstance(x, np.ndarray) and x.dtype == float else x for x in inputs]
        right = RIGHT[name](*small)
        return tuple(map(np.float32, right)) if isinstance(right, tuple) else np.float32(right)

    verdict = getattr(check, name)(single)
    assert verdict, verdict


@pytest.mark.parametrize("p", [0.5, 0.8, 0.2, 0.35])
@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 2, 3)])
def test_masks_that_are_drawn_rightly_are_not_taken_for_dependent_ones(shape, p):
    for seed in range(15):
        rng = np.random.default_rng(seed)
        assert chance.dependence(lambda rng=rng: rng.random(shape) >= p, shape, p) == ""
        assert chance.repetition(rng.random((20, 10, 10)) >= p, p) == ""


def test_each_check_has_five_mutants_at_least():
    assert set(MUTANTS) == set(RIGHT)
    assert min(len(wrong) for wrong in MUTANTS.values()) >= 5
