"""What a learner's answer can be kept for: each check of a function, and the two tests of lesson 06."""

from collections.abc import Callable

from minialex.check import blocks, counting, crossing, layers, looping, outputs, training
from minialex.check.catch import catches
from minialex.check.planted import RIGHT

CHECKS = (layers, outputs, blocks, training, looping, counting, crossing)

TESTS = {"test_linear": "linear", "test_maxpool": "maxpool"}  # of lesson 06: what `catches` tries them on

LESSONS = {  # the exercises of each, in order
    "00": "relu_forward relu_backward",
    "01": "conv2d_forward im2col",
    "02": "conv2d_backward col2im",
    "03": "maxpool_forward maxpool_backward subsampling_forward subsampling_backward",
    "04": "sigmoid_forward sigmoid_backward tanh_forward tanh_backward",
    "05": "linear_forward linear_backward softmax_cross_entropy_forward softmax_cross_entropy_backward",
    "06": "gradcheck test_linear test_maxpool",
    "07": "sgd_step step_schedule training_loop",
    "08": "rbf_forward rbf_backward map_loss_forward map_loss_backward",
    "10": "lrn_forward lrn_backward",
    "11": "dropout_mask dropout_forward dropout_backward colour_covariance",
    "12": "conv_counts",
    "13": "device_exchange_forward device_exchange_backward",
    "14": "ten_crop",
    "15": "distances differing",
    "16": "early_exit gate_forward gate_backward",
}


def names() -> list[str]:
    """All names that `keep` takes, and that `python -m minialex marks` has columns for, in alphabetical order."""
    return sorted([*RIGHT, *TESTS])


def check_of(name: str) -> Callable:
    """The check that tries an answer of this name: check_of("relu_forward")(f) -> a verdict."""
    if name in TESTS:
        return lambda f: catches(f, of=TESTS[name])
    return next(getattr(module, name) for module in CHECKS if hasattr(module, name))


def of_lessons(numbers=None) -> list[str]:
    """The names of the exercises of these lessons ("01", "02"), or of all, in their order.

    Raises ValueError for a lesson that has no exercises.
    """
    for number in numbers or ():
        if number not in LESSONS:
            meant = number.zfill(2)
            hint = f" (did you mean {meant}?)" if meant in LESSONS else ""
            raise ValueError(f"no lesson {number} has exercises{hint}; there are {', '.join(LESSONS)}")
    return [
        name for number, text in LESSONS.items() if not numbers or number in numbers for name in text.split()
    ]
