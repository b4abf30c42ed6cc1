"""Verdicts on what you wrote: one check for each thing that a learner writes in the lessons.

Give a check your function, plain NumPy in the layout of textbooks; it is tried on many small cases, and the verdict
says of each array that it returns whether it is right. Where it is not: yours, expected, the difference, and the
smallest case that shows it.

>>> def my_relu(x):
...     return np.abs(x)
>>> relu_forward(my_relu)
relu_forward: wrong, 130 cases tried
  y  wrong: 1 of 1 numbers, the worst at [0, 0]: 1, not 0
<BLANKLINE>
The smallest case found for y, wrong:
  x (1, 1)
    -1
  y:
  yours    expected    difference
  1        0           1

Each check's help names the function's inputs, what it returns, and the equation: `help(check.conv2d_forward)`.
A verdict is truthy when all is right. A function that returns None or `...` is *not written yet*. What it prints is
swallowed, and it must not write into its inputs. `check.planted` has right answers and wrong ones, to read
afterwards; `check.catches` tries a test of yours on them. Of batch normalisation, joins, the bottleneck, gates and
early exits a verdict also says if yours does what one of the planted wrong answers does.
"""

from minialex.check import planted
from minialex.check.blocks import (
    add_backward,
    batchnorm_backward,
    batchnorm_forward,
    bottleneck_backward,
    bottleneck_forward,
    concat_backward,
    early_exit,
    gate_backward,
    gate_forward,
)
from minialex.check.catch import catches
from minialex.check.kept import keep, keep_in, mine, names
from minialex.check.layers import (
    avgpool_backward,
    avgpool_forward,
    col2im,
    conv2d_backward,
    conv2d_forward,
    im2col,
    linear_backward,
    linear_forward,
    lrn_backward,
    lrn_forward,
    maxpool_backward,
    maxpool_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    subsampling_backward,
    subsampling_forward,
    tanh_backward,
    tanh_forward,
)
from minialex.check.training import (
    dropout_backward,
    dropout_forward,
    dropout_mask,
    exchange_backward,
    exchange_forward,
    gradcheck,
    sgd_step,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    step_schedule,
    ten_crop,
)

__all__ = [
    "add_backward", "avgpool_backward", "avgpool_forward", "batchnorm_backward", "batchnorm_forward",
    "bottleneck_backward", "bottleneck_forward", "catches", "col2im", "concat_backward", "conv2d_backward",
    "conv2d_forward", "dropout_backward", "dropout_forward", "dropout_mask", "early_exit", "exchange_backward",
    "exchange_forward", "gate_backward", "gate_forward", "gradcheck", "im2col", "keep", "keep_in",
    "linear_backward", "linear_forward", "lrn_backward", "lrn_forward", "maxpool_backward", "maxpool_forward", "mine",
    "names", "planted", "relu_backward", "relu_forward", "sgd_step", "sigmoid_backward", "sigmoid_forward",
    "softmax_cross_entropy_backward", "softmax_cross_entropy_forward", "step_schedule", "subsampling_backward",
    "subsampling_forward", "tanh_backward", "tanh_forward", "ten_crop",
]  # fmt: skip
