"""What a learner's answer can be kept for: each check of a function, and the two tests of lesson 06."""

from collections.abc import Callable

from minialex.check import blocks, layers, training
from minialex.check.catch import catches
from minialex.check.planted import RIGHT

CHECKS = (layers, blocks, training)

TESTS = {"test_linear": "linear", "test_maxpool": "maxpool"}  # of lesson 06: what `catches` tries them on


def names() -> list[str]:
    """All names that `keep` takes, and that `python -m minialex marks` has columns for, in alphabetical order."""
    return sorted([*RIGHT, *TESTS])


def check_of(name: str) -> Callable:
    """The check that tries an answer of this name: check_of("relu_forward")(f) -> a verdict."""
    if name in TESTS:
        return lambda f: catches(f, of=TESTS[name])
    return next(getattr(module, name) for module in CHECKS if hasattr(module, name))
