"""The slope of a layer along a direction, in which many entries move at once: does backward agree?"""

import numpy as np

RELATIVE, ABSOLUTE = 1e-5, 1e-9
ROUNDING = 64 * np.finfo(np.float64).eps
STEPS = (1e-5, 1e-6, 1e-7)  # with the smallest hardly any entry comes over a kink nearby


def disagree(function, arrays, name, direction, gradient):
    """None where backward's gradient of an array agrees, or at a kink; else what it says, and what was measured."""
    said = float((gradient * direction).sum())
    value, ways, gaps, errors = arrays[name], {}, [], []
    here = function(arrays)
    largest = max(float(np.abs(here).sum()), float(np.abs(value * gradient).sum()))
    for step in STEPS:
        h = step * max(1.0, np.abs(value).max(initial=0.0))
        for sign in (1, -1):
            ways[sign] = function({**arrays, name: value + sign * h * direction})
        measured = float((ways[1] - ways[-1]).sum() / (2 * h))
        rounding = ABSOLUTE + ROUNDING * largest / h
        errors.append(abs(measured - said))
        curved = len(errors) > 1 and errors[-1] < errors[-2] / 50
        if errors[-1] <= RELATIVE * max(abs(measured), abs(said)) + rounding or curved:
            function.load(arrays)
            return None
        left, right = (here - ways[-1]).sum() / h, (ways[1] - here).sum() / h
        gaps.append(abs(float(right - left)))
    function.load(arrays)
    meeting = gaps[2] < gaps[1] / 5
    kinked = not meeting and gaps[2] > 4 * rounding and gaps[2] > 1e-3 * errors[2]
    return None if kinked else (said, measured)
