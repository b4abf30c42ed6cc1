"""One call of a learner's function: what it was given and what it gave, what it raised, and what it printed."""

import contextlib
import io
import re
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex.check.verdict import RIGHT, Finding


@dataclass
class Call:
    """What became of a call. given: the inputs as the function left them; result: None where it raised."""

    case: dict  # the inputs, by name
    given: dict
    result: object = None
    error: Exception | None = None
    printed: str = ""


def call(f, case) -> Call:
    """Call f on copies of a case's inputs, quietly. NotImplementedError is as good as None: not written yet."""
    done, printed = Call(case, copies_of(case)), io.StringIO()
    with quietly(printed):
        try:
            done.result = f(*done.given.values())
        except NotImplementedError:
            pass
        except Exception as error:
            done.error = error
    done.printed = printed.getvalue()
    return done


def attempt(f, case, judge, signature) -> list[Finding]:
    """Call f; what the judge says, and whether f wrote into its inputs."""
    return judged(call(f, case), judge, signature)


def judged(done: Call, judge, signature) -> list[Finding]:
    """What the judge says of a call, and whether it wrote into its inputs."""
    if done.error is not None:
        findings = [Finding("the call", "raised", in_words(done.error, signature))]
    else:
        with quietly():
            findings = judge(done.result, done.case)
        for name, before in done.case.items():
            if isinstance(before, np.ndarray) and not alike(done.given[name], before):
                text = f"your function wrote into {name}; it must make a new array"
                findings.append(Finding(f"input {name}", "changed", text, done.given[name], before.copy()))
    for finding in findings:
        if finding.state != RIGHT:
            finding.case = {name: _apart(value) for name, value in done.case.items()}  # the case comes again
            finding.printed = done.printed
    return findings


def _apart(value):
    return value.copy() if isinstance(value, np.ndarray) else value


def copies_of(case):
    return {name: copy_of(value) for name, value in case.items()}


def copy_of(value):
    """A fresh copy of an array or a generator, so that each call starts alike."""
    if isinstance(value, Seed):
        return value.generator()
    return _apart(value)


@contextlib.contextmanager
def quietly(printed=None):
    """A function that is tried a hundred times does not warn, and prints into the file `printed` alone, if that."""
    with (
        contextlib.redirect_stdout(printed or io.StringIO()),
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


class Seed(int):
    """A seed in a case: the learner's function gets a new generator made from it."""

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(int(self))

    def __repr__(self):
        return f"np.random.default_rng({int(self)})"

    __str__ = __repr__


def alike(after, before):
    """Did an array keep its numbers? One that was moved a little and moved back did."""
    if after.shape != before.shape:
        return False
    same = np.array_equal(after, before)  # nearly always; quickly done
    return same or np.allclose(after, before, rtol=1e-9, atol=1e-12, equal_nan=True)


CAST = re.compile(
    r"Cannot cast ufunc '\w+' (?:output|input(?: \d)?) from dtype\('\w+'\) to dtype\('u?int\d+'\)[^;]*"
)


def with_advice(text: str) -> str:
    """An exception's words, with a plain sentence where NumPy's own say too little."""
    advice = (
        "the array holds whole numbers, and takes no fractions: make it np.zeros(shape), which is float64"
    )
    return CAST.sub(rf"\g<0> ({advice})", text)


def in_words(error, called_as="") -> str:
    """An exception with the learner's line that raised it; without one, how the function is called."""
    try:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    except Exception:  # its class is the learner's, and wrong as well
        text = type(error).__name__
    if hasattr(error, "in_words"):  # it was raised in another process, and put into words there
        return with_advice(error.in_words)
    text = with_advice(text)
    frames = traceback.extract_tb(error.__traceback__)
    while frames and Path(frames[0].filename).parent == Path(__file__).parent:
        del frames[0]  # ours
    if not frames:
        return text + (f"; it is called as {called_as}" if called_as else "")
    learners = [frame for frame in frames if frame.filename == frames[0].filename]
    return f"{text}; {learners[-1].name}, line {learners[-1].lineno}: {learners[-1].line}"
