"""Every example in a docstring is run, and gives what it says."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import minialex

ROOMS = [module.name for module in pkgutil.walk_packages(minialex.__path__, "minialex.")]
MODULES = ["minialex", *sorted(name for name in ROOMS if not name.endswith("__main__"))]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_are_right(name):
    module = importlib.import_module(name)
    globs = {**vars(module), "np": np}
    result = doctest.testmod(module, globs=globs, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {name}"
