"""What a check says: one line for each array, and the smallest case that shows what is wrong."""

from dataclasses import dataclass, field

import numpy as np

from minialex.check.hints import for_state, where_hints_are
from minialex.check.html import verdict_html
from minialex.check.show import argument, lines, listed, matrices, others_are, output_of, side_by_side
from minialex.words import counted

SAID = {"nan": "not finite"}  # how a state is called where its own name says too little: inf is no nan
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
    cells: np.ndarray | None = None  # which numbers are wrong; left out: those that differ

    @property
    def said(self) -> str:
        """The state, as it is shown."""
        return SAID.get(self.state, self.state)

    @property
    def difference(self) -> np.ndarray | None:
        """Yours minus expected, where both have one shape, and yours are real numbers."""
        if self.yours is None or self.expected is None or self.yours.shape != self.expected.shape:
            return None
        if self.yours.dtype.kind not in "biuf":
            return None
        return np.asarray(self.yours, float) - np.asarray(self.expected, float)

    @property
    def wrong_cells(self) -> np.ndarray | None:
        """Which numbers are wrong; None where yours and expected have two shapes."""
        if self.difference is None:
            return None
        if self.cells is not None:
            return self.cells
        return ~np.isclose(self.yours, self.expected, rtol=1e-9, atol=1e-12, equal_nan=True)

    def side_by_side(self) -> dict[str, np.ndarray]:
        """Yours, expected and the difference, by title."""
        titles = ("after", "before") if self.state == "changed" else ("yours", "expected")
        arrays = dict(zip(titles, (self.yours, self.expected), strict=True))
        if self.difference is not None:
            return {**arrays, "difference": self.difference}
        return {f"{title} {array.shape}": array for title, array in arrays.items()}


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

    def rows(self) -> list[tuple[str, str, str]]:
        """Of the call, of inputs that changed and of each array: its name, its state, and what is wrong, in words."""
        found = []
        for where in [where for where in self.findings if where not in self.arrays] + self.arrays:
            text = self.findings[where].text if where in self.findings else ""
            if self.of(where) == RIGHT and "the call" in self.findings:
                text = "in the cases that ran"
            found.append((where, SAID.get(self.of(where), self.of(where)), text))
        return found

    def together(self) -> list[list[Finding]]:
        """The findings of which the smallest case matters, those that one and the same case shows in one list."""
        found = {}
        for finding in self.findings.values():
            if finding.state in SHOWN:
                inputs = [line for item in finding.case.items() for line in argument(*item)]
                found.setdefault(tuple(inputs), []).append(finding)
        return [*found.values()]

    @property
    def hints(self) -> tuple[str, ...]:
        """For what is wrong or not written yet: where to look, then nearly the line; of some a third, without loops."""
        states = [finding.state for finding in self.findings.values()]
        return () if self else for_state(self.check, states)

    def _lines(self):
        if self.state == NOT_WRITTEN:
            return [f"{self.check}: {NOT_WRITTEN} (it returns None)", f"  {self.signature}"]
        found, rows = [f"{self.check}: {self.state}, {counted(self.cases, 'case')} tried"], self.rows()
        width = max(len(where) for where, _, _ in rows)
        found += [
            f"  {where:<{width}}  {state}" + (f": {text}" if text else "") for where, state, text in rows
        ]
        found += [f"  {line}" for line in self.named()]
        for findings in self.together():
            whats = " and ".join(f"{finding.where}, {finding.said}" for finding in findings)
            inputs = [line for item in findings[0].case.items() for line in argument(*item)]
            found += ["", f"The smallest case found for {whats}:", *(f"  {line}" for line in inputs)]
            if findings[0].printed:
                printed = output_of(findings[0].printed)
                found += ["  your function printed:", *(f"  | {line}".rstrip() for line in printed)]
            for finding in findings:
                found += [f"  {line}" for line in _compared(finding)]
        if self.hints:
            found += ["", where_hints_are(self.check, self.hints)]
        return found

    def named(self) -> list[str]:
        """The planted mistakes that were recognised, each with the arrays that have its numbers.

        What it does is said to be what must not be: read in haste, "at 0 it passes" sounds like a rule.
        """
        places = {}
        for where in [where for where, _, _ in self.rows() if where in self.mistakes]:
            places.setdefault(self.mistakes[where], []).append(where)
        return [
            f"{listed(wheres)}: {'raises as' if wheres == ['the call'] else 'the same numbers as'} the planted mistake "
            + mistake.replace('": ', '". Yours does this, and must not: ', 1)
            for mistake, wheres in places.items()
        ]

    __repr__ = __str__

    def _repr_html_(self):
        return verdict_html(self, self.hints)


def _compared(finding):
    """Yours, expected and the difference, side by side; of many matrices those with a wrong number."""
    if finding.yours is None:
        return []
    arrays, wrong = finding.side_by_side(), finding.wrong_cells
    shown, rest = (None, 0) if wrong is None else matrices(finding.yours, wrong)
    blocks = side_by_side({title: lines(array, shown) for title, array in arrays.items()})
    note = others_are(rest, finding.state)
    return [f"{finding.where}:", *blocks, *([note] if note else [])]
