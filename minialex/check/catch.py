"""The check of a learner's test: does it pass the right answer, and catch every planted wrong one?"""

from dataclasses import dataclass, field

import numpy as np

from minialex.check import planted
from minialex.check.call import in_words, quietly
from minialex.check.handed import what_it_gave, where_it_failed, with_floats
from minialex.check.hints import HINTS, where_hints_are
from minialex.check.html import caught_html
from minialex.check.planted import RIGHT, WRONG
from minialex.check.verdict import NOT_WRITTEN
from minialex.words import did_you_mean

PAIRS = {"im2col": ("im2col", "col2im")}  # the others are NAME_forward and NAME_backward


@dataclass
class Caught:
    """What became of the right answer and of each wrong one. Truthy when the test passes the one, and fails the others.

    right: "passes", or how the test failed; shown: what was compared there, if that is known.
    bugs: (check, bug) -> "caught ..." or "ESCAPED"; (of, bug) for a pair of
    forward and backward which agree, and are both wrong.
    """

    of: str
    names: tuple[str, ...]
    right: str
    bugs: dict[tuple[str, str], str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

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
            return f"{self.title()}\n  {self.signature}"
        rows = {f"{check}, {bug}": fate for (check, bug), fate in self.bugs.items()}
        width = max(map(len, rows))
        lines = [self.title(), f"  the right answer {self.of_right()}"]
        lines += [f"    {line}".rstrip() for line in self.shown] + [""] * bool(self.shown)
        lines += [f"  {row:<{width}}  {fate}" for row, fate in rows.items()]
        if self.hints and self.state == "wrong":
            lines += ["", where_hints_are(f"test_{self.of}", self.hints)]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def signature(self) -> str:
        """How the test is called."""
        return f"test({', '.join(self.names)}) -> True or False"

    @property
    def hints(self) -> tuple[str, ...]:
        """Two, if there are some, for a test that does not catch all."""
        return () if self else HINTS.get(f"test_{self.of}", ())

    def title(self) -> str:
        """The first line: the state, whether the right answer fails, and how many were caught."""
        count = len(self.bugs) - len(self.escaped)
        counted = f", {count} of {len(self.bugs)} planted bugs caught"
        if self.state == NOT_WRITTEN:
            return f"catches, {self.of}: {self.state}"
        first = "" if self.right == "passes" else ": the right answer fails"
        return f"catches, {self.of}: {self.state}{first}{counted}"

    def of_right(self) -> str:
        """What became of the right answer."""
        return f"{self.right}: it must pass" if self.right == "fails" else self.right

    def _repr_html_(self):
        return caught_html(self)


def catches(test, of: str) -> Caught:
    """Try a test of yours on the right answer and on every planted wrong one.

    test(forward, backward) -> True when the two are right, else False; an assert that fails counts as False. It gets
    a pair of functions with the inputs of `check.<of>_forward` and `check.<of>_backward`; whole numbers will do. One of
    them may be wrong; or both, so that they agree, and a measured slope sees nothing: for these a test needs numbers
    from elsewhere.
    of: "conv2d", "maxpool", "avgpool", "subsampling", "relu", "sigmoid", "tanh", "linear", "lrn", "dropout",
    "softmax_cross_entropy", "exchange", "device_exchange", "rbf", "map_loss", "batchnorm", "bottleneck", "gate";
    "im2col", for test(im2col, col2im); or the name of a check that has no pair, "sgd_step" say, for test(sgd_step).
    Raises TypeError when test is no function, and ValueError for an unknown name.

    >>> def my_test(forward, backward):
    ...     x, grad_y = np.array([-1.0, 0.0, 2.0]), np.array([10.0, -20.0, 30.0])
    ...     return (forward(x) == [0, 0, 2]).all() and (backward(x, grad_y) == [0, 0, 30]).all()
    >>> catches(my_test, of="relu")
    catches, relu: right, 8 of 8 planted bugs caught
      the right answer passes
      relu_forward, absolute value        caught
      relu_forward, leaky                 caught
      relu_forward, mask instead of value  caught
      relu_backward, forward's sign       caught
      relu_backward, 1 at zero            caught
      relu_backward, mask forgotten       caught
      relu, leaky in both                 caught
      relu, absolute value in both        caught
    """
    if not callable(test):
        raise TypeError(f"check.catches tries a test, a function; this is {test!r}")
    names = PAIRS.get(of, (f"{of}_forward", f"{of}_backward"))
    names = names if names[0] in RIGHT else (of,)
    if names[0] not in RIGHT:
        pairs = {name.removesuffix("_forward") for name in RIGHT if name.endswith("_forward")} | set(PAIRS)
        both = {name for pair in pairs for name in PAIRS.get(pair, (f"{pair}_forward", f"{pair}_backward"))}
        there = sorted(pairs | set(RIGHT) - both)
        meant = did_you_mean(of, there)
        raise ValueError(f"check.catches has nothing called {of!r}{meant}; it has {', '.join(there)}")
    right = [RIGHT[name] for name in names]
    seen = []
    fate, error = _tried(test, [with_floats(function, seen) for function in right])
    result, written = Caught(of, names, "passes"), fate is not None
    if fate is False:
        said, shown = in_words(error) if error else "", []
        if isinstance(error, AssertionError):
            said, shown = where_it_failed(error)
        result.right, result.shown = f"fails: {said}" if said else "fails", shown or what_it_gave(seen)
    wrong = {
        (name, bug): [*right[:number], function, *right[number + 1 :]]
        for number, name in enumerate(names)
        for bug, function in WRONG[name].items()
    }
    wrong |= {(of, bug): make() for bug, make in planted.PAIRS.get(of, {}).items()}
    for bug, functions in wrong.items():
        caught, error = _tried(test, [with_floats(function) for function in functions])
        raised = error is not None and not isinstance(error, AssertionError)
        fate = f"caught: {in_words(error)}" if raised else "caught"
        result.bugs[bug] = "ESCAPED" if caught in (True, None) else fate
        written |= caught is not None
    if not written:  # it gave nothing, and no assert failed: a stub
        result.right, result.bugs = NOT_WRITTEN, {}
    return result


def _tried(test, functions):
    """True, False or None, as the test says; and for False the exception that was raised, if one was."""
    with quietly():
        try:
            result = test(*functions)
            if result is None or result is Ellipsis:
                return None, None
            return bool(np.all(result)), None
        except NotImplementedError:
            return None, None
        except Exception as error:  # of the test, or of what it returned, which is neither True nor False
            return False, error
