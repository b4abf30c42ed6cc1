"""Two hints for each check, in stages: where to look, then nearly the line; a third for what is done without loops."""

import textwrap
from dataclasses import dataclass

from minialex.check.html import bar, prose
from minialex.check.quick_hints import WITHOUT_LOOPS

HINTS: dict[str, tuple[str, str]] = {
    # -- convolution, pooling
    "conv2d_forward": (
        "Take one number of y by hand: which window of the padded picture does `y[n, f, i, j]` read, and "
        "where does the window begin when stride is 2?",
        "Pad first: `padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])`. Then "
        "the window is `padded[n, :, i*stride : i*stride + kh, j*stride : j*stride + kw]`, all channels of "
        "it; multiply by `weight[f]`, add up, add `bias[f]`.",
    ),
    "conv2d_backward": (
        "Who used a number in forward sends something back to it. A pixel lies in several windows and is "
        "read by all filters, a weight is used at every place of every picture: so all three gradients are "
        "sums.",
        "In a loop over n, f, i, j, with `window = np.s_[n, :, i*stride : i*stride + kh, j*stride : "
        "j*stride + kw]`: `grad_padded[window] += weight[f] * grad_y[n, f, i, j]` and `grad_weight[f] += "
        "padded[window] * grad_y[n, f, i, j]`. Cut the padding off at the end: `grad_padded[:, :, padding : "
        "padding + H, padding : padding + W]`. The bias: `grad_y.sum(axis=(0, 2, 3))`.",
    ),
    "im2col": (
        "One window is one column. In which order do its numbers stand: channel, row, column. And the "
        "windows: along the rows of y.",
        "`columns[:, :, i*OW + j] = x[:, :, i*stride : i*stride + kh, j*stride : j*stride + kw].reshape(N, "
        "-1)`, with OH and OW from `1 + (H - kh) // stride` and `1 + (W - kw) // stride`.",
    ),
    "col2im": (
        "It is im2col turned round. What should happen to a pixel that two windows read?",
        "Start with zeros and add, do not assign: `grad_x[:, :, i*stride : i*stride + kh, j*stride : "
        "j*stride + kw] += columns[:, :, i*OW + j].reshape(N, C, kh, kw)`.",
    ),
    "maxpool_forward": (
        "All pixels of a window may be negative. What must stand in the padding so that it never wins? And "
        "the window need not be square, nor as wide as the stride.",
        "Pad with `constant_values=-np.inf`; then `y[n, c, i, j] = padded[n, c, i*stride : i*stride + kh, "
        "j*stride : j*stride + kw].max()`.",
    ),
    "maxpool_backward": (
        "Each number of grad_y goes to one pixel, the largest of its window; the first one in a tie. A "
        "pixel may win in several windows. The place counts from the window's corner, in the padded "
        "picture.",
        "`a, b = np.unravel_index(window.argmax(), (kh, kw))` gives the first of equals; then "
        "`grad_padded[n, c, i*stride + a, j*stride + b] += grad_y[n, c, i, j]`, and at the end cut the "
        "padding off. Padded is x, with -np.inf.",
    ),
    "avgpool_forward": (
        "By how many is the sum divided where a window lies partly in the padding? Here the zeros count.",
        "Pad with zeros; `y[n, c, i, j] = padded[n, c, i*stride : i*stride + kh, j*stride : j*stride + "
        "kw].mean()`.",
    ),
    "avgpool_backward": (
        "Each pixel of a window had the same part in the average. Windows may overlap, and the padding has to "
        "go.",
        "`grad_padded[n, c, i*stride : i*stride + kh, j*stride : j*stride + kw] += grad_y[n, c, i, j] / "
        "(kh*kw)`, then `grad_padded[:, :, padding : padding + H, padding : padding + W]`.",
    ),
    "subsampling_forward": (
        "The sum of four pixels, one weight and one bias for each channel. What becomes of a last odd row?",
        "Cut to `x[:, :, : H//2*2, : W//2*2]`, add the four slices `[..., ::2, ::2]`, `[..., ::2, 1::2]`, "
        "`[..., 1::2, ::2]` and `[..., 1::2, 1::2]`; times `weight[:, None, None]`, plus `bias[:, None, "
        "None]`.",
    ),
    "subsampling_backward": (
        "Four pixels share one number of grad_y: each gets all of it, times the weight. weight and bias "
        "belong to a channel: over which axes is summed? A pixel that nobody read gets 0.",
        "`grad_x[:, :, 2*i : 2*i + 2, 2*j : 2*j + 2] = (weight * grad_y[:, :, i, j])[:, :, None, None]`, "
        "into zeros of x's shape; `grad_weight = (grad_y * fours).sum(axis=(0, 2, 3))`, where fours are the "
        "sums of forward; `grad_bias = grad_y.sum(axis=(0, 2, 3))`.",
    ),
    # -- activations
    "relu_forward": (
        "Two cases: x above 0, and all the rest. Is what you return a new array?",
        "`np.maximum(x, 0)`.",
    ),
    "relu_backward": (
        "The gradient passes where x was positive. It is x that decides, not grad_y; at 0 nothing passes.",
        "A mask: `grad_y * (x > 0)`.",
    ),
    "sigmoid_forward": (
        "Try x = 1000 and x = -1000: which exp becomes inf, and what is inf / inf?",
        "`small = np.exp(-np.abs(x))` is at most 1. The result is `1 / (1 + small)` where x is at least 0, "
        "and `small / (1 + small)` elsewhere: `np.where`.",
    ),
    "sigmoid_backward": (
        "The derivative is shortest in terms of y, the output. You are given x: so compute y first.",
        "With y = sigmoid(x), without overflow: `grad_y * y * (1 - y)`.",
    ),
    "tanh_forward": (
        "exp(1000) is inf. NumPy has a function that knows this.",
        "`np.tanh(x)`.",
    ),
    "tanh_backward": (
        "The derivative is shortest in terms of y, the output; you are given x. And do not forget the "
        "gradient from above.",
        "`grad_y * (1 - np.tanh(x)**2)`.",
    ),
    # -- linear, loss
    "linear_forward": (
        "Write the shapes under the names: x (N, in), weight (out, in), y (N, out). Which of the two has to "
        "be turned?",
        "`x @ weight.T + bias`.",
    ),
    "linear_backward": (
        "Shapes decide nearly all: each gradient has its array's shape. And weight and bias are used by all "
        "pictures, so their gradients are sums over the batch.",
        "`grad_y @ weight` is (N, in), `grad_y.T @ x` is (out, in), `grad_y.sum(axis=0)` is (out,).",
    ),
    "softmax_cross_entropy_forward": (
        "exp(10000) is inf, and the log of a p that became 0 is -inf. Subtract each row's largest logit "
        "first; take the logarithm on paper, not by np.log of p.",
        "`shifted = logits - logits.max(axis=1, keepdims=True)`, then `log_p = shifted - "
        "np.log(np.exp(shifted).sum(axis=1, keepdims=True))`; the loss is the mean of `-log_p[np.arange(N), "
        "labels]`.",
    ),
    "softmax_cross_entropy_backward": (
        "p minus 1 at the label, p elsewhere. The loss is a mean over the batch: what does each picture's "
        "part get divided by?",
        "p: the softmax of the logits, each row's largest subtracted first. Then `p[np.arange(N), labels] "
        "-= 1`, and `p / N`.",
    ),
    # -- LeNet-5's end
    "rbf_forward": (
        "Every row of x against every code: a difference with three axes, (N, K, D). Square, then add up; "
        "mind the sign.",
        "`-((x[:, None, :] - codes[None, :, :])**2).sum(axis=2)`.",
    ),
    "rbf_backward": (
        "The derivative of -(x - c)**2 by x is -2 * (x - c). Each x has a part in all K numbers of its row: "
        "a sum over k.",
        "`difference = x[:, None, :] - codes[None, :, :]`; `(grad_y[:, :, None] * -2 * "
        "difference).sum(axis=1)`.",
    ),
    "map_loss_forward": (
        "The sum inside the logarithm has one term more than there are classes: exp(-j), for rubbish. And "
        "exp(10000) is inf: take the largest exponent off, rubbish's included.",
        "Put -j beside the logits as one more column: `more = np.concatenate([logits, np.full((N, 1), -j)], "
        "axis=1)`. With `largest = more.max(axis=1)`: the logarithm is `largest + np.log(np.exp(more - "
        "largest[:, None]).sum(axis=1))`; subtract `logits[np.arange(N), labels]` from it, and take the "
        "mean.",
    ),
    "map_loss_backward": (
        "As for the cross-entropy: p minus 1 at the label, divided by N. But the sum below p has exp(-j) in "
        "it as well.",
        "Softmax over K + 1 columns, the last one of -j, each row's largest taken off first; then `p = p[:, "
        ":-1]`, `p[np.arange(N), labels] -= 1`, `p / N`.",
    ),
    # -- normalisation, dropout
    "lrn_forward": (
        "Which channels are near c, at the first one and at the last? The sum is of squares, over channels "
        "alone; alpha is not divided by size.",
        "`s = k + alpha * (x[:, max(0, c - size//2) : c + size//2 + 1]**2).sum(axis=1)` for channel c, then "
        "`y[:, c] = x[:, c] / s**beta`.",
    ),
    "lrn_backward": (
        "x[c] stands in its own numerator, and in the s of every neighbour. The second way is the term with "
        "the sum: a channel m sends something back to c where c is near m.",
        "For all channels at once, s as in forward: `t = grad_y * x * s**(-beta - 1)`; sum t over the "
        "channels near c, as forward does with x**2, and call it cross. Then `grad_x = grad_y * s**-beta - "
        "2 * alpha * beta * x * cross`.",
    ),
    "dropout_forward": (
        "What is kept grows, so that the expected sum stays the same. By how much, if a share of p is "
        "dropped?",
        "`x * mask / (1 - p)`.",
    ),
    "dropout_backward": (
        "What was dropped had no part in y. What was kept was multiplied by a constant: so is its gradient.",
        "`grad_y * mask / (1 - p)`.",
    ),
    "dropout_mask": (
        "A uniform random number lies below p with probability p. One for each entry, from the rng that is "
        "given; keep with probability 1 - p.",
        "`rng.random(shape) >= p`: True where it is kept, not divided by anything yet.",
    ),
    # -- training
    "sgd_step": (
        "Three terms make the new velocity, and the new weights move by the new one. The decay has lr in "
        "it. Is w still as it was afterwards?",
        "`new_v = momentum * v - weight_decay * lr * w - lr * grad`, and return `w + new_v, new_v`.",
    ),
    "step_schedule": (
        "How many of the epochs in `at` have begun? One that begins now has.",
        "`count = sum(epoch >= start for start in at)`, then `lr * factor**count`.",
    ),
    "training_loop": (
        "Four things for each batch, in this order: the loss of what the model says, the gradient back "
        "through the loss, back through the model, and a step. Which of them stand inside the loop?",
        "In `for x, labels in batches:` first `losses.append(loss.forward(model.forward(x), labels))`, then "
        "`model.backward(loss.backward())`, then `optimizer.step()`; after the loop return the losses.",
    ),
    "exchange_forward": (
        "Both towers see the same: all channels, x0's first. Channels are axis 1, and the two need not be "
        "equally many.",
        "`y = np.concatenate([x0, x1], axis=1)`, for both; a copy for the second.",
    ),
    "exchange_backward": (
        "Both towers read x0: what both send back is added up. Then cut where x0's channels end, which need "
        "not be the middle.",
        "`grad = grad_y0 + grad_y1`; `grad[:, :channels0]` and `grad[:, channels0:]`.",
    ),
    "device_exchange_forward": (
        "Join only what lies on one device. Which array is missing on device 0, and which on device 1? Send "
        "these two.",
        "`y0 = np.concatenate([x0, send(x1, 0)], axis=1)`; `y1 = np.concatenate([send(x0, 1), x1], axis=1)`.",
    ),
    "device_exchange_backward": (
        "Each device holds a gradient of all channels. Cut out what belongs to the other tower, and send "
        "that alone; then add what comes home to what stayed.",
        "`grad_x0 = grad_y0[:, :channels0] + send(grad_y1[:, :channels0], 0)`; `grad_x1 = send(grad_y0[:, "
        "channels0:], 1) + grad_y1[:, channels0:]`.",
    ),
    "gradcheck": (
        "One entry at a time: a copy of x with eps more there, one with eps less. Where does grad_y come in?",
        "For each `at` in `np.ndindex(x.shape)`: `up = x.copy(); up[at] += eps`, down alike; `grad_x[at] = "
        "((function(up) - function(down)) * grad_y).sum() / (2 * eps)`.",
    ),
    # -- pictures, counting
    "ten_crop": (
        "Five places: where does the last one begin, so that it ends with the picture? Then mirror: which "
        "axis of (10, C, size, size) runs from left to right?",
        "Tops 0 and `H - size`, lefts 0 and `W - size`, the middle at `(H - size)//2, (W - size)//2`; all "
        "five stacked, then the same with `five[..., ::-1]` behind them.",
    ),
    "colour_covariance": (
        "A pixel is three numbers. Make a table with three rows, one a channel, of all pixels of all "
        "pictures: which axis has to come first before you reshape?",
        "`rows = np.moveaxis(pictures, 1, 0).reshape(3, -1)`; subtract `rows.mean(axis=1, keepdims=True)`; "
        "then `rows @ rows.T / rows.shape[1]`.",
    ),
    "conv_counts": (
        "How many channels does one map read if there are groups? Weights multiply at every place of the "
        "new maps; biases only add.",
        "`new = 1 + (side + 2*padding - kernel) // stride`; `weights = maps * (channels // groups) * "
        "kernel**2`; return `new, weights + maps, weights * new**2`.",
    ),
    "distances": (
        "The differences of all rows to one row, at once. Then square, add up along a row, take the root.",
        "`np.sqrt(((table - table[query])**2).sum(axis=1))`.",
    ),
    "differing": (
        "Compare all rows with one row at once: a table of True and False. Then count along each row.",
        "`(table != table[query]).sum(axis=1)`.",
    ),
    # -- after AlexNet
    "batchnorm_forward": (
        "Over which axes does a channel's mean run? eps stands under the root. Two variances: the one that "
        "normalises is divided by m, the one that is kept by m - 1.",
        "`mean = x.mean(axis=(0, 2, 3))`, `variance = x.var(axis=(0, 2, 3))`, both with `[:, None, None]` "
        "beside x; y as in the equation. Kept: `(1 - momentum) * running_mean + momentum * mean`, and for "
        "the variance `x.var(axis=(0, 2, 3), ddof=1)`.",
    ),
    "batchnorm_backward": (
        "Each x has a part in its channel's mean and in its variance: two terms are taken off. weight "
        "multiplies before, scale after.",
        "With `hat = (x - mean) * scale` and `grad = weight[:, None, None] * grad_y`: `grad_x = scale * "
        "(grad - M(grad) - hat * M(grad * hat))`, where M is `.mean(axis=(0, 2, 3), keepdims=True)`. "
        "`grad_weight = (grad_y * hat).sum(axis=(0, 2, 3))`.",
    ),
    "concat_backward": (
        "Three slices of the channels, one after the other. Where does each begin?",
        "`a, b, c = channels`; then `grad_y[:, :a]`, `grad_y[:, a : a + b]`, `grad_y[:, a + b :]`.",
    ),
    "add_backward": (
        "An addition hands its gradient to both paths, whole. x reached y by two ways: add up what comes "
        "back. grad_y belongs to the caller.",
        "`grad_y + body(factor * grad_y)`: no +=.",
    ),
    "bottleneck_forward": (
        "Where are the three ReLUs? The last one acts on the sum. And where is the stride: in the 3x3, and "
        "in the projection.",
        "`relu(conv(relu(conv(relu(conv(x, weight1)), weight2, stride, padding=1)), weight3) + conv(x, "
        "projection, stride))`.",
    ),
    "bottleneck_backward": (
        "First the last ReLU: it masks the gradient of the sum, once, for both paths. Then each path back "
        "by itself, and add the two grad_x.",
        "`grad = np.where(total > 0, grad_y, 0)`. Body: back through weight3, mask by second > 0, back "
        "through weight2 (stride, padding 1), mask by first > 0, back through weight1. Shortcut: grad back "
        "through the projection. `grad_x` is the sum of both.",
    ),
    "gate_forward": (
        "One gate for each source, and a source has several channels: how many times is each gate repeated?",
        "`np.repeat(gates, sizes)[:, None, None] * x`.",
    ),
    "gate_backward": (
        "grad_x is forward once more, of grad_y. A gate's gradient is a sum over all that it multiplied: "
        "pictures, pixels, and its own source's channels; also if it is closed.",
        "`products = (grad_y * x).sum(axis=(0, 2, 3))` is one number a channel; add up those of each "
        "source: from `first` to `first + size`, with first moving on by size.",
    ),
    "early_exit": (
        "For each picture: how sure is each exit, and which is the first that is sure enough? If none is, "
        "the last. Exits are counted from 1.",
        "`sure = p.max(axis=2)`, p the softmax along axis 2, the largest logit taken off first; `enough = "
        "sure >= leave_at`, with `enough[:, -1] = True`; then `first = enough.argmax(axis=1)`, `y = "
        "logits[np.arange(N), first]`, `left = first + 1`.",
    ),
    # -- lesson 06's lab
    "test_linear": (
        "What must be true of a right pair, whatever its numbers? Each gradient has its array's shape. Backward "
        "is the slope of this forward, in all three arrays. And forward is the layer that was asked for: that "
        "no slope says, it takes a y from elsewhere. Which of the three does your test leave out?",
        "y, on paper: of x = [[1, 2]], weight = [[3, 4], [5, 6]] and bias = [10, 20] the first number is 1*3 + "
        "2*4 + 10 = 21, the second is yours to work out. A slope, of the bias alone: entry `at` of grad_bias is "
        "`slope(lambda b: forward(x, weight, b), bias, grad_y, at, 1e-5)`; x and weight go the same way. Let N, in and "
        "out be three different numbers.",
    ),
    "test_maxpool": (
        "Measure nothing here: work out y and grad_x of one small picture on paper. What must be in it so that "
        "each mistake shows: what wins over a padding of 0, what is equal to its neighbour, which windows share a "
        "pixel, and which shape of window shows rows that are taken for columns?",
        "y, of a picture of one row: `x = np.array([[[[-2.0, -1.0]]]])`, kernel (2, 2), stride 1, padding 1. Each "
        "row of y is [-2, -1, -1], and there are two. In grad_x the pixel -2 gets what two windows send back, the "
        "pixel -1 what four send. Now a picture of your own: more rows, a tie, a window that is not square.",
    ),
}

BY_STATE = {
    "raised": "The call raised: run the quoted line on the inputs of the smallest case, and print the shapes.",
    "wrong shape": "Shapes first: print those of your arrays on the inputs of the smallest case.",
    "changed": "Your function writes into what it is given: `a = a + 1` makes a new array, `a += 1` does not.",
}


@dataclass(frozen=True)
class Hint:
    """A hint; printed, or left at a cell's end, it is a sentence or two."""

    check: str
    stage: int
    text: str

    @property
    def _title(self):
        return f"{self.check}, hint {self.stage} of {len(hints_of(self.check))}"

    def __str__(self):
        text = f"{self._title}: {self.text}"
        return textwrap.fill(text, 88, break_long_words=False, break_on_hyphens=False)

    __repr__ = __str__

    def _repr_html_(self):
        title = f"<b>{self._title}:</b> "
        return bar(f'<div style="max-width:60em">{title}{prose(self.text)}</div>', "not seen")


def hints_of(name: str) -> tuple[str, ...]:
    """All hints of a check, by stage: two, or three where a second exercise does the same without loops."""
    more = (WITHOUT_LOOPS[name],) if name in WITHOUT_LOOPS else ()
    return (*HINTS[name], *more) if name in HINTS else ()


def where_hints_are(name: str, texts) -> str:
    """How to ask for the hints of a check."""
    line = f'Hints: mx.check.hint("{name}"), then mx.check.hint("{name}", 2)'
    return line + (f'; without loops: mx.check.hint("{name}", 3)' if len(texts) > 2 else "")


def hint(name: str, stage: int = 1) -> Hint:
    """A hint on what check `name` wants: stage 1 says where to look, stage 2 nearly the line.

    name: a check's, or "test_linear" and "test_maxpool", lesson 06's. "conv2d_forward", "conv2d_backward"
    and "maxpool_backward" have a stage 3, for the exercises without loops.
    Raises ValueError for a name that has no hints, and for a stage that it does not have.

    >>> hint("col2im")
    col2im, hint 1 of 2: It is im2col turned round. What should happen to a pixel that two windows read?
    """
    if name not in HINTS:
        raise ValueError(f"check.hint has nothing for {name!r}; it has hints for {', '.join(sorted(HINTS))}")
    texts = hints_of(name)
    if stage not in range(1, len(texts) + 1):
        stages = "1, 2 or 3" if len(texts) > 2 else "1 or 2"
        raise ValueError(f"check.hint: a stage is {stages}, not {stage!r}; of {name}")
    return Hint(name, int(stage), texts[stage - 1])


def for_state(name: str, states) -> tuple[str, ...]:
    """All hints of a check that has some; the first begins with what the states of its findings suggest."""
    if name not in HINTS:
        return ()
    first, *others = hints_of(name)
    begin = [sentence for state, sentence in BY_STATE.items() if state in states]
    return " ".join([*begin[:1], first]), *others
