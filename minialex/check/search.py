"""Try a learner's function on many small cases, and make those that fail as small as they get. By hypothesis.

The cases are the same on every run, unless `seed_of_cases` is set. So those of the last few checks are kept in memory,
with what is right in them: who tries again waits less.
"""

import contextlib
import contextvars
import functools
import random

import numpy as np

from minialex.check.call import Seed, attempt, call, in_words, judged, quietly
from minialex.check.compare import by_entries, by_magnitudes, compare, compared
from minialex.check.planted.registry import SIGNATURES, adapted
from minialex.check.recognise import known_mistakes, outcome
from minialex.check.verdict import NOT_WRITTEN, RIGHT, SHOWN, WRONG, Verdict
from minialex.layers.settings import is_setting

__all__ = [
    "Draw", "Seed", "attempt", "by_entries", "by_magnitudes", "compare", "compared", "in_words", "quietly", "run",
    "search",
]  # fmt: skip

# How many cases are tried: with arrays of small whole numbers; of others; of whole numbers times a thousand, a million,
# a thousandth, of either sign or all negative; of others, in larger arrays.
CASES = {"whole": 45, "fractions": 15, "scales": 45, "large": 25}
COMPARED = 20  # so many cases in which a wrong answer must do as a planted one does, to be taken for it
SMALLER = 250  # so many attempts to find a smaller case, for each array that is wrong
SCALES = (1e3, -1e3, 1e-3, 1.0, -1.0, 1e6, -1e6)  # below 0: all numbers are negative
HUGE = (1e37, -1e37)  # for what only moves or compares numbers; float32 ends at 3e38
seed_of_cases = contextvars.ContextVar("seed_of_cases", default=None)  # None: the same cases on every run
BINARY = (2.0**10, -(2.0**10), 2.0**-10, 1.0, -1.0, 2.0**20, -(2.0**20))  # SCALES that round nothing


def search(check, f, make_case, judge, arrays) -> Verdict:
    """Try f on the cases that `make_case(draw)` makes, dicts of inputs by name; `judge(result, case)` says what it is.

    judge returns a Finding for each array; its state may be "right".
    Where f is wrong as a planted answer is wrong, the verdict says so.
    Raises TypeError when f is no function, and ImportError when hypothesis is not installed.
    """
    if not callable(f):
        raise TypeError(
            f"check.{check} tries a function: give it the function, without calling it; this is {f!r}"
        )
    import_hypothesis()
    f = adapted(check, f)
    arrays, verdict, sizes, modes, tapes = arrays.split(), None, {}, {}, {}
    drawn, first, shown = [], [], {}  # what f gave in the first cases, and in those that the verdict shows
    judgements = {}  # by case: on the way to a smaller one most come again and again

    def make(draw):
        drawn[:] = [draw.tape]
        return make_case(draw)

    def attempt_once(case, mode, target=None):
        """Try one case; True when it fails at the target in the same way as before."""
        nonlocal verdict
        if verdict is None:
            signature = f"f({', '.join(case)}) -> {', '.join(arrays)}"
            verdict = Verdict(check, SIGNATURES.get(check, signature), arrays)
        verdict.cases += target is None
        failed, key = False, key_of(case)
        if target is None or key not in judgements:
            done = call(f, case if isinstance(case, Case) else Case(case, known_of(check, key)))
            judgements[key] = done, judged(done, judge, verdict.signature)
        done, findings = judgements[key] if key is not None else judgements.pop(key)
        if target is None and len(first) < COMPARED:
            first.append((case, outcome(done, arrays)))
        for finding in findings:
            where = finding.where
            verdict.judged |= {where} if finding.state in (RIGHT, WRONG, "nan") else set()
            if finding.state == RIGHT:
                continue
            known = verdict.findings.get(where)
            size = size_of(case)
            modes.setdefault(where, mode)
            as_plain = mode == modes[where]  # a million reads worse than 2, and so does 2.61
            if known is None or (finding.state == known.state and as_plain and size < sizes[where]):
                verdict.findings[where], sizes[where], tapes[where] = finding, size, drawn[0]
                shown[where] = case, outcome(done, arrays)
            failed |= where == target and finding.state == verdict.findings[where].state
        return failed

    with chance_held() as start_again:
        for mode, tape, case in cases_of(check, make_case):
            start_again()
            drawn[:] = [tape]
            attempt_once(case, mode)
            if verdict.state == NOT_WRITTEN:
                break
    for where in [where for where, finding in verdict.findings.items() if finding.state in SHOWN]:
        mode = modes[where]
        run(make, mode, lambda case, mode, where=where: attempt_once(case, mode, where))
        # The smallest so far may still have a side too many, or few numbers of a large scale.
        sizes_first(tapes[where], lambda tape: attempt_once(make(Draw(tape, mode)), mode, where))  # noqa: B023
    if verdict.state == WRONG:
        seen = [*shown.values(), *first]
        verdict.mistakes = known_mistakes(check, arrays, seen, list(verdict.findings))
    return verdict


class Case(dict):
    """A case's inputs, by name; and, in `known`, what the judges of this check have found to be right for them."""

    def __init__(self, inputs, known):
        super().__init__(inputs)
        self.known = known


def cases_of(check, make_case):
    """The cases in which a check tries every function, in their order: (mode, tape, case)."""
    for mode in CASES:
        for tape, case in _cases(check, make_case, mode, CASES[mode], seed_of_cases.get()):
            yield mode, tape, case


@functools.lru_cache(maxsize=32)
def _cases(check, make_case, mode, count, seed):
    made = ((tape, make_case(Draw(tape, mode))) for tape in _tapes(count, seed))
    return [(tape, Case(case, known_of(check, key_of(case)))) for tape, case in made]


def known_of(check, key):
    """What is known to be right in one case of a check: it comes again in the next verdict."""
    of_check = _known(check)
    if len(of_check) > 1000:
        of_check.clear()
    return {} if key is None else of_check.setdefault(key, {})


@functools.lru_cache(maxsize=8)
def _known(check):
    return {}


@functools.lru_cache(maxsize=8)
def _tapes(count, seed):
    """The tapes that hypothesis draws when none of so many fails."""
    found, mode = [], next(mode for mode in CASES if CASES[mode] == count)
    run(lambda draw: draw.tape, mode, lambda tape, mode: found.append(tape))
    return found


@contextlib.contextmanager
def chance_held():
    """Gives a function that starts Python's and NumPy's own generators again, as hypothesis does before each case.

    So a function that draws from them, as learners' may, gives the same in each verdict. Afterwards they go on as if
    nothing had been.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002

    def start_again():
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002

    try:
        yield start_again
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


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


def key_of(case) -> tuple | None:
    """What tells a case from all others; None where it has more in it than arrays, numbers and texts."""
    key = []
    for name, value in case.items():
        if isinstance(value, np.ndarray):
            key.append((name, value.shape, value.dtype.str, value.tobytes()))
        elif is_setting(value):
            key.append((name, repr(value)))
        else:
            return None
    return tuple(key)


def size_of(case) -> tuple[int, int, float]:
    """How hard a case is to read: its numbers, whether they have fractions, and how large they are."""
    values = [np.asarray(value, float).ravel() for value in case.values() if not callable(value)]
    values = np.concatenate(values)
    entries = sum(value.size for value in case.values() if isinstance(value, np.ndarray))
    return entries, int((values % 1 != 0).sum()), float(np.abs(values).sum())
