"""Try a learner's function on many small cases, and make those that fail as small as they get. By hypothesis.

The cases are the same on every run, unless `seed_of_cases` is set. Nothing is kept between runs.
"""

import contextlib
import contextvars
import functools
import io
import traceback
import warnings

import numpy as np

from minialex.check.recognise import known_mistake
from minialex.check.verdict import NOT_WRITTEN, RIGHT, SHOWN, WRONG, Finding, Verdict

# How many cases are tried: with arrays of small whole numbers; of others; of whole numbers times a thousand, a million,
# a thousandth, of either sign or all negative; of others, in larger arrays.
CASES = {"whole": 45, "fractions": 15, "scales": 45, "large": 25}
PLAIN = {"whole": "plain", "fractions": "plain"}  # the modes with numbers of everyday size
COMPARED = 20  # so many cases in which a wrong answer must do as a planted one does, to be taken for it
SMALLER = 250  # so many attempts to find a smaller case, for each array that is wrong
TOLERANCE = {
    "float64": 1e-9,
    "float32": 1e-5,
}  # relative to the magnitudes that are added up for an array, at most
SCALES = (1e3, -1e3, 1e-3, 1.0, -1.0, 1e6, -1e6)  # below 0: all numbers are negative
HUGE = (1e37, -1e37)  # for what only moves or compares numbers; float32 ends at 3e38
seed_of_cases = contextvars.ContextVar("seed_of_cases", default=None)  # None: the same cases on every run
BINARY = (2.0**10, -(2.0**10), 2.0**-10, 1.0, -1.0, 2.0**20, -(2.0**20))  # SCALES that round nothing


def search(check, f, make_case, judge, arrays, recognise=False) -> Verdict:
    """Try f on the cases that `make_case(draw)` makes, dicts of inputs by name; `judge(result, case)` says what it is.

    judge returns a Finding for each array; its state may be "right".
    recognise: say so if f makes one of the planted mistakes.
    Raises TypeError when f is no function, and ImportError when hypothesis is not installed.
    """
    if not callable(f):
        raise TypeError(
            f"check.{check} tries a function: give it the function, without calling it; this is {f!r}"
        )
    arrays, verdict, sizes, modes, tapes = arrays.split(), None, {}, {}, {}
    drawn, tried = [], []

    def make(draw):
        drawn[:] = [draw.tape]
        return make_case(draw)

    def attempt_once(case, mode, target=None):
        """Try one case; True when it fails at the target in the same way as before."""
        nonlocal verdict
        if verdict is None:
            verdict = Verdict(check, f"f({', '.join(case)}) -> {', '.join(arrays)}", arrays)
        verdict.cases += target is None
        failed = False
        for finding in attempt(f, case, judge, verdict.signature):
            where = finding.where
            verdict.judged |= {where} if finding.state in (RIGHT, WRONG, "nan") else set()
            if finding.state == RIGHT:
                continue
            known = verdict.findings.get(where)
            finding.case, size = case, size_of(case)
            modes.setdefault(where, mode)
            as_plain = PLAIN.get(mode, mode) == PLAIN.get(
                modes[where], modes[where]
            )  # a million reads worse than 2
            if known is None or (finding.state == known.state and as_plain and size < sizes[where]):
                verdict.findings[where], sizes[where], tapes[where] = finding, size, drawn[0]
            failed |= where == target and finding.state == verdict.findings[where].state
        return failed

    def explore(case, mode):
        if len(tried) < COMPARED:
            tried.append(case)
        attempt_once(case, mode)
        if verdict.state == NOT_WRITTEN:
            raise _Enough

    for mode in CASES:
        if verdict is None or verdict.state != NOT_WRITTEN:
            run(make, mode, explore)
    for where in [where for where, finding in verdict.findings.items() if finding.state in SHOWN]:
        mode = modes[where]
        run(make, mode, lambda case, mode, where=where: attempt_once(case, mode, where))
        if mode not in PLAIN:  # few numbers may still be of a large scale
            sizes_first(tapes[where], lambda tape: attempt_once(make(Draw(tape, mode)), mode, where))  # noqa: B023
    if recognise and verdict.state == WRONG:
        shown = [finding.case for finding in verdict.findings.values() if finding.case]
        with quietly():
            verdict.mistake = known_mistake(check, f, [*shown, *tried], copies_of)
    return verdict


class _Failed(Exception):
    """Tells hypothesis that a case fails, so that it looks for a smaller one."""


class _Enough(BaseException):
    """Ends hypothesis's search: it lets through what is no Exception."""


def run(make_case, mode, fails):
    """Call `fails(case, mode)` for each case; after one for which it is true, for smaller and smaller ones."""
    hypothesis = import_hypothesis()
    st = hypothesis.strategies
    first, left, seed = None, SMALLER, seed_of_cases.get()

    # Two runs draw the same tapes up to the first that fails: hypothesis takes its seed from the text of `one_case`.
    @hypothesis.settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=CASES[mode],
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.given(st.binary(min_size=Draw.TAPE, max_size=Draw.TAPE))
    def one_case(tape):
        nonlocal first, left
        failed = fails(make_case(Draw(tape, mode)), mode)
        first = tape if failed and first is None else first
        left -= first is not None
        if left == 0:
            raise _Enough
        if failed:
            raise _Failed

    if seed is not None:  # it goes before derandomize
        one_case = hypothesis.seed(seed)(one_case)
    # A function that gives something else each time makes hypothesis complain: what was seen so far counts.
    with contextlib.suppress(_Failed, _Enough, hypothesis.errors.HypothesisException):
        one_case()
    if first is not None:
        sizes_first(first, lambda tape: fails(make_case(Draw(tape, mode)), mode))


def sizes_first(tape, fails):
    """Make a failing tape smaller from its front, where the sizes stand, to its end, where the numbers stand.

    hypothesis often makes the numbers 0 first. Which size it then gets stuck at depends on where one is left.
    """
    for place in range(len(tape)):
        for smaller in range(min(tape[place], 7)):  # of the few that most choices have
            shorter = tape[:place] + bytes([smaller]) + tape[place + 1 :]
            if fails(shorter):
                tape = shorter
                break


def import_hypothesis():
    """hypothesis, or an ImportError that says how to get it."""
    try:
        import hypothesis.strategies
    except ImportError:
        raise ImportError(
            'checks try your function with hypothesis, which is not installed: pip install "minialex[lessons]"'
        ) from None
    return hypothesis


class Draw:
    """What a case is made with. hypothesis makes each choice as small as it can: the first option, the least number.

    All choices are read off a tape of random bytes, an array's always from as many of them: what is made smaller
    later then stays where it is on the tape. (hypothesis's own integers would be no good: it takes some of them from
    the source of whatever modules are loaded.)
    """

    TAPE = 64
    NUMBERS = 7  # of an array; more come again and again, in rows that are not 7 long

    def __init__(self, tape: bytes, mode: str):
        self.tape, self._tape = tape, iter(tape)
        self.scaled, self.large = mode in ("scales", "large"), mode == "large"
        self.rng = np.random.default_rng(next(self._tape)) if mode in ("fractions", "large") else None

    def between(self, least: int, most: int, large: int | None = None) -> int:
        """A whole number, both ends included; `large`: where it may end in the mode "large"."""
        most = large if self.large and large is not None else most
        return least + next(self._tape) % (most - least + 1)

    def one_of(self, *options, more=()):
        """One of the options, the first is the smallest; or of `more`, where the scales change too."""
        options = (*options, *more) if self.scaled else options
        return options[self.between(0, len(options) - 1)]

    def array(self, *shape, of=(0, 1, -1, 2, -2, 3, -3), huge=False, small=False, exact=False):
        """float64: numbers as the mode has them; huge: up to where float32 ends; small: in the mode "large" alone.

        exact: halves times powers of two, whose products and sums are not rounded.
        """
        if len(of) <= 2:
            return self._whole(shape, of)
        scales = ((1.0,) if self.large else ()) + (BINARY if exact else SCALES) + (HUGE if huge else ())
        scale = self.one_of(*scales) if self.large or (self.scaled and not small) else 1.0
        if self.rng is None:
            values = self._whole(shape, of)
        else:
            values = self.rng.normal(0, 2, shape)
            values = (2 * values).round() / 2 if exact else values.round(2)
        if scale < 0:
            values = np.abs(values) + 1
        return values * scale

    def _whole(self, shape, of):
        return np.resize(np.array([self.one_of(*of) for _ in range(self.NUMBERS)], float), shape)


def size_of(case) -> tuple[int, int, float]:
    """How hard a case is to read: its numbers, whether they have fractions, and how large they are."""
    values = [np.asarray(value, float).ravel() for value in case.values() if not callable(value)]
    values = np.concatenate(values)
    entries = sum(value.size for value in case.values() if isinstance(value, np.ndarray))
    return entries, int((values % 1 != 0).sum()), float(np.abs(values).sum())


# -- one case ----------------------------------------------------------------------------------------------


def attempt(f, case, judge, signature) -> list[Finding]:
    """Call f on copies of a case's inputs, quietly; what the judge says, and whether f wrote into its inputs."""
    given = copies_of(case)
    with quietly():
        try:
            result = f(*given.values())
        except NotImplementedError:
            result = None
        except Exception as error:
            return [Finding("the call", "raised", in_words(error, signature))]
        findings = judge(result, case)
    for name, before in case.items():
        if isinstance(before, np.ndarray) and not alike(given[name], before):
            text = f"your function wrote into {name}; it must make a new array"
            findings.append(Finding(f"input {name}", "changed", text, given[name], before))
    return findings


def copies_of(case):
    return {name: copy_of(value) for name, value in case.items()}


@contextlib.contextmanager
def quietly():
    """A function that is tried a hundred times prints nothing, and does not warn."""
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def copy_of(value):
    """A fresh copy of an array or a generator, so that each call starts alike."""
    if isinstance(value, Seed):
        return value.generator()
    return value.copy() if isinstance(value, np.ndarray) else value


class Seed(int):
    """A seed in a case: the learner's function gets a new generator made from it."""

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(int(self))

    def __repr__(self):
        return f"np.random.default_rng({int(self)})"

    __str__ = __repr__


def alike(after, before):
    """Did an array keep its numbers? One that was moved a little and moved back did."""
    return after.shape == before.shape and np.allclose(after, before, rtol=1e-9, atol=1e-12, equal_nan=True)


def in_words(error, called_as="") -> str:
    """An exception with the learner's line that raised it; without one, how the function is called."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if hasattr(error, "in_words"):  # it was raised in another process, and put into words there
        return error.in_words
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is ours
    if not frames:
        return text + (f"; it is called as {called_as}" if called_as else "")
    learners = [frame for frame in frames if frame.filename == frames[0].filename]
    return f"{text}; {learners[-1].name}, line {learners[-1].lineno}: {learners[-1].line}"


def by_magnitudes(arrays, expected):
    """A judge for what multiplies and adds up: the same sums with each number as large as the largest of its array."""

    def largest(x):
        return np.full_like(x, np.abs(x).max(initial=0)) if isinstance(x, np.ndarray) else x

    def size(**case):
        right = expected(**{name: largest(x) for name, x in case.items()})
        return tuple(
            np.abs(array).max(initial=0.0) for array in (right if isinstance(right, tuple) else (right,))
        )

    return compared(arrays, expected, size)


def compared(arrays, expected, size=None):
    """A judge: the arrays that a function returned against what `expected(**case)` returns.

    size(**case): the largest magnitude that is added up for an array, or a tuple with one for each; numbers may differ
    by a small share of it. Left out: the largest number that is expected, 1 at least.
    """
    names = arrays.split()

    def judge(result, case):
        right = expected(**case)
        right = right if isinstance(right, tuple) else (right,)
        if result is None or result is Ellipsis:
            result = (None,) * len(names)
        elif len(names) == 1:
            result = (result,)
        elif not isinstance(result, (tuple, list)):
            text = f"one {type(result).__name__}, where a tuple of {len(names)} is wanted: {', '.join(names)}"
            return [Finding("the call", "wrong type", text)]
        if len(result) != len(names):
            text = f"{len(result)}, where {len(names)} are wanted: {', '.join(names)}"
            return [Finding("the call", "wrong number of arrays", text)]

        @functools.cache
        def sizes():
            found = (
                size(**case) if size else tuple(max(1.0, np.abs(array).max(initial=0.0)) for array in right)
            )
            return found if isinstance(found, tuple) else (found,)

        found = enumerate(zip(names, result, right, strict=True))
        return [compare(*three, lambda number=number: sizes()[number]) for number, three in found]

    return judge


def compare(name, yours, expected, size) -> Finding:
    """One array against the right one: type, shape, nan, then the numbers; size(): as for `compared`."""
    expected = np.asarray(expected)
    if yours is None or yours is Ellipsis:
        return Finding(name, NOT_WRITTEN)
    numbers = (float, np.floating) if expected.ndim == 0 else ()
    if not isinstance(yours, (np.ndarray, *numbers)):
        kind = f"type {type(yours).__name__}"
        wanted = "a number with a fraction (float)" if expected.ndim == 0 else "a NumPy array"
        return Finding(name, "wrong type", f"{kind}, where {wanted} is wanted")
    yours = np.asarray(yours).copy()
    if yours.dtype.name not in TOLERANCE:
        return Finding(
            name, "wrong type", f"{yours.dtype}, where float64 is wanted (float32 will do)", yours, expected
        )
    if yours.shape != expected.shape:
        return Finding(name, "wrong shape", f"{yours.shape}, not {expected.shape}", yours, expected)
    finite = np.isfinite(yours)
    if not finite.all():
        at = first_of(~finite)
        text = f"{(~finite).sum()} of {yours.size} numbers are nan or inf, the first{place(at)}: {yours[at]}"
        text = text if yours.ndim else f"{yours[()]}, not {expected[()]:.6g}"
        return Finding(name, "nan", text, yours, expected)
    tolerance, difference = TOLERANCE[yours.dtype.name], np.abs(yours - expected)
    if (
        difference <= tolerance * 1e-3 * np.abs(expected).max(initial=0.0)
    ).all():  # nearly always; quickly done
        return Finding(name, RIGHT)
    tolerance *= size()
    if (difference <= tolerance).all():
        return Finding(name, RIGHT)
    at = np.unravel_index(difference.argmax(), difference.shape)
    text = told_apart(yours[at], expected[at])
    if yours.ndim:
        text = f"{(difference > tolerance).sum()} of {yours.size} numbers, the worst{place(at)}: {text}"
    return Finding(name, WRONG, text, yours, expected)


def told_apart(yours, expected) -> str:
    """Both numbers, with so many digits that they differ: at least six."""
    texts = (f"{yours:.{digits}g}, not {expected:.{digits}g}" for digits in (6, 9, 12, 17))
    return next(
        (text for text in texts if len(set(text.split(", not "))) > 1), f"{yours!r}, not {expected!r}"
    )


def first_of(mask):
    return tuple(np.argwhere(mask)[0]) if mask.ndim else ()


def place(index) -> str:
    return f" at {[int(i) for i in index]}" if index else ""
