"""What a notebook's cells may hold, and what becomes of it in the text that is kept."""

import itertools
import linecache
import sys
import types
from contextlib import suppress

import numpy as np
import pytest

from minialex.check.kept.keeping import with_name
from minialex.check.kept.source import CannotBeKept, standing_alone, written

NUMBERS = itertools.count()


@pytest.fixture
def cells(monkeypatch):
    """cells(text, ...) -> the function relu of a notebook that ran these, as a kernel runs them."""
    notebook = types.ModuleType("__main__")
    notebook.np = np
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    made = []

    def run(*texts):
        for text in texts:
            name = f"<cell {next(NUMBERS)}>"
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            made.append(name)
            exec(compile(text, name, "exec"), vars(notebook))
        return notebook.relu

    yield run
    for name in made:
        del linecache.cache[name]


X = np.array([[-1.0, 2.0]])
RELU = "def relu(x):\n    return np.maximum(x, {})\n"
KEPT = {
    "a helper defined again": (
        "def zero():\n    return 1",
        RELU.format("zero()"),
        "def zero():\n    return 0",
    ),
    "a decorator": (
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def inner(x):\n        return f(f(x))\n"
        "    return inner",
        "@twice\n" + RELU.format(0),
    ),
    "a cached helper": (
        "import functools\n@functools.cache\ndef zero():\n    return 0",
        RELU.format("zero()"),
    ),
    "a class and its base": (
        "class Base:\n    def zero(self):\n        return 0",
        "class Zero(Base): ...",
        RELU.format("Zero().zero()"),
    ),
    "a data class": (
        "from dataclasses import dataclass\n@dataclass\nclass Zero:\n    value: int = 0",
        RELU.format("Zero().value"),
    ),
    "a class defined again": (
        "class Zero:\n    value = 7",
        "class Zero:\n    value = 0",
        RELU.format("Zero.value"),
    ),
    "a type hint of numpy.typing": (
        "from numpy.typing import NDArray\ndef relu(x: NDArray) -> NDArray:\n    return np.maximum(x, 0)",
    ),
    "all of NumPy, and an array": (
        "from numpy import *\nW = array([0.0, nan])\ndel np\ndef relu(x):\n    return maximum(x, W[0])",
    ),
    "a number of float32": ("ZERO = np.float32(0)", RELU.format("ZERO")),
    "other plain values": ("A, B, C = slice(0, None), {0, 1}, np.dtype('float64')", RELU.format("min(B)")),
    "a helper with a builtin's name": ("def sum(a):\n    return 0 * a", RELU.format("sum(1)")),
    "calls in a circle": (
        "def even(n):\n    return n and odd(n - 1)",
        "def odd(n):\n    return even(n - 1)",
        RELU.format("even(4)"),
    ),
    "letters and tabs": (
        "größe = 0",
        "def relu(x):\n\t# größer als null: ß 漢\n\treturn np.maximum(x, größe)",
    ),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_a_notebook_holds_comes_along(cells, what):
    text = standing_alone(cells(*KEPT[what]))
    names = {}
    exec(text, names)
    assert names["relu"](X).tolist() == [[0, 2]]


def test_what_a_function_reads_under_the_name_it_is_kept_by_is_said(cells):
    for above in ("from math import floor as relu_forward", "class relu_forward: ...", "relu_forward = 1"):
        relu = cells(above, "def relu(x):\n    return relu_forward")
        with pytest.raises(
            CannotBeKept, match="relu is to be kept as relu_forward, and reads something else"
        ):
            with_name("relu_forward", relu)


REFUSED = {
    "relu writes to the notebook's calls: take `global` out": (
        "calls = 0\ndef relu(x):\n    global calls\n    calls += 1\n    return np.maximum(x, 0)",
    ),
    "relu took its default ZERO when that was another: run its cell again": (
        "ZERO = 0\ndef relu(x, zero=ZERO):\n    return np.maximum(x, zero)\nZERO = 5",
    ),
    "relu is an `async def`": ("async def relu(x):\n    return x",),
    "relu is not to be cut out of its cell: begin its `def` at the left margin": (
        "if True:\n    def relu(x):\n        '''Two\nlines.'''\n        return x",
    ),
    "reads LOOP, a list": ("LOOP = []\nLOOP.append(LOOP)", RELU.format("LOOP")),
    "reads POINT, an OrderedDict": (
        "import collections\nPOINT = collections.OrderedDict()",
        RELU.format("POINT"),
    ),
    "relu uses given of hypothesis": ("from hypothesis import given", RELU.format("given")),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_cannot_come_along_is_said(cells, says):
    with pytest.raises(CannotBeKept) as raised:
        standing_alone(cells(*REFUSED[says]))
    assert says in str(raised.value)


def test_a_name_that_only_notebooks_have_is_said(cells, monkeypatch):
    def get_ipython(): ...

    get_ipython.__module__ = "IPython.core.getipython"
    relu = cells("def relu(x):\n    get_ipython()\n    return x")
    relu.__globals__["get_ipython"] = get_ipython
    with pytest.raises(CannotBeKept, match="get_ipython, which notebooks have and Python has not"):
        standing_alone(relu)


def test_a_cell_whose_lines_are_not_known_says_what_to_do(cells):
    relu = cells(RELU.format(0))
    linecache.cache[relu.__code__.co_filename] = (0, None, [], "")
    with pytest.raises(CannotBeKept, match="in a cell of its own that begins with no %% line"):
        standing_alone(relu)


def test_a_file_that_changed_since_it_was_imported_is_not_mistaken(cells):
    relu = cells(RELU.format(0))
    name = relu.__code__.co_filename
    linecache.cache[name] = (0, None, ["def other(x):\n", "    return x\n"], name)
    with pytest.raises(CannotBeKept, match="has other now: import the file anew"):
        standing_alone(relu)


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.5), np.bool_(True), np.int8(-3), {1, 2}, set(), b"a", 1 - 2j, range(3), slice(1, None),
        np.array([np.nan, -np.inf]), np.dtype("float32"),
    ],
)  # fmt: skip
def test_plain_values_keep_their_type(value):
    again = eval(written(value), {"np": np})
    assert type(again) is type(value)
    np.testing.assert_equal(again, value)


def test_what_is_almost_a_plain_value_is_not_written_as_one():
    import collections
    import enum

    kind = enum.IntEnum("kind", "ONE")
    assert written(kind.ONE) is None
    assert written(collections.Counter("a")) is None
    assert written(np.ma.masked_less(np.arange(3), 1)) is None
    assert written(np.zeros((0, 3))) is None


def test_two_functions_of_one_name_are_not_mixed_up(cells):
    first = "def helper(x): return x > 0\nmask_of = helper\n"
    then = "def helper(x, m): return np.where(m, x, 0)\n"
    relu = cells(first, then, "def relu(x): return helper(x, mask_of(x))\n")
    with pytest.raises(CannotBeKept, match=r"called helper|reads a helper that is not the one"):
        standing_alone(relu)


@pytest.mark.parametrize(
    ("default", "again"), [("2 * K", "K = 5\n"), ("(K, 1)", "K = 5\n"), ("[K][0]", "K = 5\n")]
)
def test_a_default_that_was_computed_from_what_changed_is_told(cells, default, again):
    relu = cells("K = 1\n", f"def relu(x, k={default}): return x * k\n", again)
    with pytest.raises(CannotBeKept, match=r"took its default .* when that was"):
        standing_alone(relu)
    standing_alone(cells("K = 1\n", f"def relu(x, k={default}): return x * k\n"))


CALLS = [
    "{}",
    "dict()",
    "np.zeros(2)",
    "np.random.rand(2)",
    "next(NUMBERS)",
    "NUMBERS.__next__()",
    "-1.5",
    "None",
]


@pytest.mark.parametrize("default", CALLS)
def test_a_default_that_calls_something_is_not_computed_again(cells, default):
    relu = cells("import itertools\nNUMBERS = itertools.count(5)\n", f"def relu(x, k={default}): return x\n")
    value = relu.__defaults__[0]
    if isinstance(value, dict):
        value["n"] = 1
    if isinstance(value, np.ndarray):
        value[:] = 4
    with suppress(CannotBeKept):  # an iterator, or an object
        standing_alone(relu)
    assert next(relu.__globals__["NUMBERS"]) == (6 if "NUMBERS" in default else 5)
