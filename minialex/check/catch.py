"""The check of a learner's test: does it pass the right answer, and catch every planted wrong one?"""

from dataclasses import dataclass, field

import numpy as np

from minialex.check.planted import RIGHT, WRONG
from minialex.check.search import in_words, quietly
from minialex.check.verdict import NOT_WRITTEN, as_html

PAIRS = {"im2col": ("im2col", "col2im")}  # the others are NAME_forward and NAME_backward


@dataclass
class Caught:
    """What became of the right answer and of each wrong one. Truthy when the test passes the one, and fails the others.

    right: "passes", or how the test failed. bugs: (check, bug) -> "caught ..." or "ESCAPED".
    """

    of: str
    names: tuple[str, ...]
    right: str
    bugs: dict[tuple[str, str], str] = field(default_factory=dict)

    def __bool__(self):
        return self.right == "passes" and bool(self.bugs) and not self.escaped

    @property
    def escaped(self) -> list[tuple[str, str]]:
        """The bugs that the test does not see."""
        return [bug for bug, fate in self.bugs.items() if fate == "ESCAPED"]

    @property
    def state(self) -> str:
        """ "right", "wrong" or "not written yet"."""
        return "right" if self else NOT_WRITTEN if self.right == NOT_WRITTEN else "wrong"

    def __str__(self):
        if self.state == NOT_WRITTEN:
            return f"catches, {self.of}: {NOT_WRITTEN}\n  test({', '.join(self.names)}) -> True or False"
        count = len(self.bugs) - len(self.escaped)
        lines = [f"catches, {self.of}: {self.state}, {count} of {len(self.bugs)} planted bugs caught"]
        lines.append(
            f"  the right answer {self.right}" + ("" if self.right == "passes" else ": it must pass")
        )
        rows = {f"{check}, {bug}": fate for (check, bug), fate in self.bugs.items()}
        width = max(map(len, rows))
        return "\n".join(lines + [f"  {row:<{width}}  {fate}" for row, fate in rows.items()])

    __repr__ = __str__

    def _repr_html_(self):
        return as_html(str(self), self.state)


def catches(test, of: str) -> Caught:
    """Try a test of yours on the right answer and on every planted wrong one.

    test(forward, backward) -> True when the two are right, else False; an assert that fails counts as False. It gets
    a pair of functions with the inputs of `check.<of>_forward` and `check.<of>_backward`, of which one may be wrong.
    of: "conv2d", "maxpool", "avgpool", "subsampling", "relu", "sigmoid", "tanh", "linear", "lrn", "dropout",
    "softmax_cross_entropy", "exchange", "device_exchange", "rbf", "map_loss", "batchnorm", "bottleneck", "gate";
    "im2col", for test(im2col, col2im); or the name of a check that has no pair, "sgd_step" say, for test(sgd_step).
    Raises TypeError when test is no function, and ValueError for an unknown name.

    >>> def my_test(forward, backward):
    ...     x, grad_y = np.array([-1.0, 0.0, 2.0]), np.array([10.0, -20.0, 30.0])
    ...     return (forward(x) == [0, 0, 2]).all() and (backward(x, grad_y) == [0, 0, 30]).all()
    >>> catches(my_test, of="relu")
    catches, relu: right, 6 of 6 planted bugs caught
      the right answer passes
      relu_forward, absolute value        caught
      relu_forward, leaky                 caught
      relu_forward, mask instead of value  caught
      relu_backward, forward's sign       caught
      relu_backward, 1 at zero            caught
      relu_backward, mask forgotten       caught
    """
    if not callable(test):
        raise TypeError(f"check.catches tries a test, a function; this is {test!r}")
    names = PAIRS.get(of, (f"{of}_forward", f"{of}_backward"))
    names = names if names[0] in RIGHT else (of,)
    if names[0] not in RIGHT:
        pairs = {name.removesuffix("_forward") for name in RIGHT if name.endswith("_forward")} | set(PAIRS)
        both = {name for pair in pairs for name in PAIRS.get(pair, (f"{pair}_forward", f"{pair}_backward"))}
        there = ", ".join(sorted(pairs | set(RIGHT) - both))
        raise ValueError(f"check.catches has nothing called {of!r}; it has {there}")
    right = [RIGHT[name] for name in names]
    fate, text = _tried(test, right)
    result, written = Caught(of, names, "passes" if fate in (True, None) else text), fate is not None
    for number, name in enumerate(names):
        for bug, function in WRONG[name].items():
            caught, text = _tried(test, [*right[:number], function, *right[number + 1 :]])
            result.bugs[name, bug] = "ESCAPED" if caught in (True, None) else text.replace("fails", "caught")
            written |= caught is not None
    if not written:  # it gave nothing, and no assert failed: a stub
        result.right, result.bugs = NOT_WRITTEN, {}
    return result


def _tried(test, functions):
    """True, False or None, as the test says; and in words, for False: "fails", with the exception that was raised."""
    with quietly():
        try:
            result = test(*functions)
        except NotImplementedError:
            return None, ""
        except AssertionError:
            return False, "fails"
        except Exception as error:
            return False, f"fails: {in_words(error)}"
    if result is None or result is Ellipsis:
        return None, ""
    return bool(np.all(result)), "fails"
