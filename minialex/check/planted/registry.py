"""Where the right answers and the wrong ones are entered, by the check that they are for."""

import inspect
from collections.abc import Callable

from minialex.words import did_you_mean

RIGHT: dict[str, Callable] = {}
WRONG: dict[str, dict[str, Callable]] = {}
PAIRS: dict[str, dict[str, Callable]] = {}  # by what `check.catches` calls them: "linear"
ADAPTERS: dict[str, Callable] = {}
SIGNATURES: dict[str, str] = {}


def right(function):
    """Enter the right answer for the check of the function's own name."""
    RIGHT[function.__name__] = function
    return function


def wrong(check: str, bug: str):
    """Enter a wrong answer for a check; the first line of its docstring says what is wrong."""

    def enter(function):
        WRONG.setdefault(check, {})[bug] = function
        return function

    return enter


def pair(of: str, bug: str):
    """Enter a function that gives a forward and a backward which agree, and are both wrong."""

    def enter(function):
        PAIRS.setdefault(of, {})[bug] = function
        return function

    return enter


def adapter(check: str, signature: str):
    """Enter how a check calls its functions, where a case's arrays are not all that they take: a model, say.

    The decorated one gets such a function, and gives one of the case's inputs. signature: as the learner's is written.
    """

    def enter(adapt):
        ADAPTERS[check], SIGNATURES[check] = adapt, signature
        return adapt

    return enter


def adapted(check: str, function):
    """The function as the check calls it: with the inputs of a case."""
    return ADAPTERS[check](function) if check in ADAPTERS else function


def describe(check: str | None = None) -> str:
    """The wrong answers of one check, or of all, as a table: the bug, and what is wrong.

    check: a check's name; or "linear", say, for the wrong pairs of forward and backward.
    Raises KeyError for a check that does not exist.

    >>> print(describe("relu_backward"))
    relu_backward
      forward's sign     The gradient passes where grad_y is positive, not where x is.
      1 at zero          It lets the gradient pass at x = 0, where nothing passes.
      mask forgotten     The gradient passes everywhere.
    """
    titled = [(name, name, bugs) for name, bugs in WRONG.items()]
    titled += [(name, f"{name}, forward and backward alike", bugs) for name, bugs in PAIRS.items()]
    names = list(dict.fromkeys(name for name, _, _ in titled))
    if check is not None and check not in names:
        meant = did_you_mean(check, names)
        raise KeyError(
            f"planted has no wrong answers for {check!r}{meant}; it has them for {', '.join(names)}"
        )
    lines = []
    for name, title, bugs in titled:
        if check in (None, name):
            width = max(map(len, bugs))
            lines.append(title)
            lines += [f"  {bug:<{width}}     {inspect.getdoc(f).splitlines()[0]}" for bug, f in bugs.items()]
    return "\n".join(lines)


def source(check: str, bug: str | None = None) -> str:
    """The lines of a wrong answer, or of a wrong pair; of the right answer, where no bug is named.

    >>> print(source("relu_forward"))
    @right
    def relu_forward(x):
        return np.maximum(x, 0)
    <BLANKLINE>
    """
    if bug is None:
        return inspect.getsource(RIGHT[check])
    return inspect.getsource(PAIRS[check][bug] if bug in PAIRS.get(check, {}) else WRONG[check][bug])
