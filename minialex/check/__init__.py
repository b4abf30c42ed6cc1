"""Verdicts on what you wrote: one check for each thing that a learner writes in the lessons.

Give a check your function, plain NumPy in the layout of textbooks; it is tried on many small cases, and the verdict
says of each array that it returns whether it is right. Where it is not: yours, expected, the difference, and the
smallest case that shows it.

>>> def my_relu(x):
...     return np.where(x > 0, x, 0.01 * x)
>>> relu_forward(my_relu)
relu_forward: wrong, 130 cases tried
  y  wrong: 1 of 1 number, the worst at [0, 0]: -0.01, not 0
  y: the same numbers as the planted mistake "leaky". Yours does this, and must not: Below 0 a hundredth of x remains.
<BLANKLINE>
The smallest case found for y, wrong:
  x (1, 1)
    -1
  y:
  yours    expected    difference
  -0.01    0           -0.01
<BLANKLINE>
Hints: mx.check.hint("relu_forward"), then mx.check.hint("relu_forward", 2)

Each check's help names the function's inputs, what it returns, and the equation: `help(check.conv2d_forward)`.
A verdict is truthy when all is right. A function that returns None or `...` is *not written yet*. It must not write
into its inputs. What it prints is swallowed, but for what it prints in the smallest case. A verdict says of each array
that is wrong whether it has the numbers of one of the planted wrong answers, also when your other arrays are unwritten,
or wrong in another way. `check.hint` gives two hints, one after the other, and of some checks a third, for the way
without loops. `check.planted` has right answers and wrong ones, to read afterwards; `check.catches` tries a test of
yours on them. `check.keep` makes a right answer a file of yours, and `check.mine` makes layers of such files.
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
from minialex.check.counting import colour_covariance, conv_counts, differing, distances
from minialex.check.crossing import device_exchange_backward, device_exchange_forward
from minialex.check.hints import hint
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
from minialex.check.looping import training_loop
from minialex.check.outputs import map_loss_backward, map_loss_forward, rbf_backward, rbf_forward
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
    "bottleneck_backward", "bottleneck_forward", "catches", "col2im", "colour_covariance", "concat_backward",
    "conv2d_backward", "conv2d_forward", "conv_counts", "device_exchange_backward", "device_exchange_forward",
    "differing", "distances", "dropout_backward", "dropout_forward", "dropout_mask", "early_exit",
    "exchange_backward", "exchange_forward", "gate_backward", "gate_forward", "gradcheck", "hint", "im2col",
    "keep", "keep_in", "linear_backward", "linear_forward", "lrn_backward", "lrn_forward", "map_loss_backward",
    "map_loss_forward", "maxpool_backward", "maxpool_forward", "mine", "names", "planted", "rbf_backward",
    "rbf_forward", "relu_backward", "relu_forward", "sgd_step", "sigmoid_backward", "sigmoid_forward",
    "softmax_cross_entropy_backward", "softmax_cross_entropy_forward", "step_schedule", "subsampling_backward",
    "subsampling_forward", "tanh_backward", "tanh_forward", "ten_crop", "training_loop",
]  # fmt: skip
