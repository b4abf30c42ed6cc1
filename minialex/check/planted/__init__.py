"""Answers to read after the lab: for each check a right one, and wrong ones that it must reject.

RIGHT[check] is a function written as in a textbook. WRONG[check][bug] has the same inputs and one mistake, which the
first line of its docstring names: mistakes that people make, and that some of them published. PAIRS["linear"][bug]()
gives a forward and a backward which agree, and are both wrong.

>>> y = WRONG["relu_forward"]["absolute value"](np.array([-2.0, 1.0]))
>>> y
array([2., 1.])
>>> len(RIGHT), min(len(bugs) for bugs in WRONG.values())
(51, 3)
"""

from minialex.check.planted import (
    batch_norm,
    counting,
    crossing,
    gates,
    joins,
    looping,
    outputs,
    pairs,
    pooling,
    steps,
    units,
    windows,
)
from minialex.check.planted.registry import PAIRS, RIGHT, WRONG, describe, source

__all__ = [
    "PAIRS", "RIGHT", "WRONG", "batch_norm", "counting", "crossing", "describe", "gates", "joins", "looping", "outputs",
    "pairs", "pooling", "source", "steps", "units", "windows",
]  # fmt: skip
