"""What a check says: one line for each array, and the smallest case that shows what is wrong."""

from dataclasses import dataclass, field
from html import escape

import numpy as np

from minialex.check.show import argument, lines, side_by_side

RIGHT, WRONG, NOT_WRITTEN = "right", "wrong", "not written yet"
SHOWN = (
    WRONG,
    "wrong shape",
    "nan",
    "raised",
    "changed",
)  # with the smallest case: for others it does not matter


@dataclass
class Finding:
    """What is wrong with one array, or with the call, in the smallest case that was found."""

    where: str  # the array's name; "the call", or "input x"
    state: str  # "wrong", "wrong shape", "wrong type", "nan", "raised", "changed", "not written yet", ...
    text: str = ""  # the same in words, with numbers
    yours: np.ndarray | None = None
    expected: np.ndarray | None = None
    case: dict = field(default_factory=dict)  # the inputs, by name
    printed: str = ""  # by the learner's function, in this case

    @property
    def difference(self) -> np.ndarray | None:
        """Yours minus expected, where both have one shape."""
        if self.yours is None or self.expected is None or self.yours.shape != self.expected.shape:
            return None
        return np.asarray(self.yours, float) - np.asarray(self.expected, float)


@dataclass
class Verdict:
    """What a check found. Truthy when all is right; printed, it says so array by array.

    check: its name. signature: how it calls the learner's function. cases: how many were tried.
    arrays: what the function returns, in order. findings: what is wrong, by where; mistakes: what is known of it.
    """

    check: str
    signature: str
    arrays: list[str]
    cases: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    judged: set[str] = field(default_factory=set)  # the arrays that could be compared at least once
    mistakes: dict[str, str] = field(default_factory=dict)  # `"its name": what it is`, where it does the same

    def __bool__(self):
        return not self.findings and set(self.arrays) <= self.judged

    @property
    def state(self) -> str:
        """Of all: "right", "wrong" or "not written yet"."""
        states = {finding.state for finding in self.findings.values()}
        return RIGHT if self else NOT_WRITTEN if states == {NOT_WRITTEN} and not self.judged else WRONG

    @property
    def mistake(self) -> str:
        """The planted mistakes that do the same, in words; "" if none does."""
        return "; ".join(dict.fromkeys(self.mistakes.values()))

    def of(self, where: str) -> str:
        """The state of one array: "right", "wrong", "wrong shape", ...; "not seen" if no call came so far."""
        if where in self.findings:
            return self.findings[where].state
        return RIGHT if where in self.judged else "not seen"

    def __str__(self):
        return "\n".join(self._lines())

    def _lines(self):
        if self.state == NOT_WRITTEN:
            return [f"{self.check}: {NOT_WRITTEN} (it returns None)", f"  {self.signature}"]
        found = [f"{self.check}: {self.state}, {self.cases} cases tried"]
        rows = [where for where in self.findings if where not in self.arrays] + self.arrays
        width = max(map(len, rows))
        for where in rows:
            text = self.findings[where].text if where in self.findings else ""
            if self.of(where) == RIGHT and "the call" in self.findings:
                text = "in the cases that ran"
            found.append(f"  {where:<{width}}  {self.of(where)}" + (f": {text}" if text else ""))
        found += [f"  {line}" for line in self.named()]
        together = {}  # findings that one and the same case shows
        for finding in self.findings.values():
            if finding.state in SHOWN:
                inputs = [line for item in finding.case.items() for line in argument(*item)]
                together.setdefault(tuple(inputs), []).append(finding)
        for inputs, findings in together.items():
            whats = " and ".join(f"{finding.where}, {finding.state}" for finding in findings)
            found += ["", f"The smallest case found for {whats}:", *(f"  {line}" for line in inputs)]
            for finding in findings:
                found += [f"  {line}" for line in _compared(finding)]
        return found

    def named(self) -> list[str]:
        """The planted mistakes that were recognised, each with the arrays that have its numbers."""
        places = {}
        for where, mistake in self.mistakes.items():
            places.setdefault(mistake, []).append(where)
        return [
            f"{' and '.join(wheres)}: "
            + ("raises as" if wheres == ["the call"] else "the same numbers as")
            + f" the planted mistake {mistake}"
            for mistake, wheres in places.items()
        ]

    __repr__ = __str__

    def _repr_html_(self):
        return as_html(str(self), self.state)


def _compared(finding):
    """Yours, expected and the difference, side by side."""
    if finding.yours is None:
        return []
    labels = ("after", "before") if finding.state == "changed" else ("yours", "expected")
    arrays = dict(zip(labels, (finding.yours, finding.expected), strict=True))
    if finding.difference is not None:
        arrays["difference"] = finding.difference
    elif finding.expected.shape != finding.yours.shape:
        arrays = {f"{label} {array.shape}": array for label, array in arrays.items()}
    return [f"{finding.where}:", *side_by_side({label: lines(array) for label, array in arrays.items()})]


def as_html(text: str, state: str) -> str:
    """For notebooks: the same text, with a colour down its side: green, red, or grey for not written yet."""
    colour = {RIGHT: "#2e8b57", NOT_WRITTEN: "#888888"}.get(state, "#c0392b")
    style = f"border-left: 4px solid {colour}; padding-left: 0.8em; line-height: 1.3; font-family: monospace"
    return f'<pre style="{style}">{escape(text)}</pre>'
