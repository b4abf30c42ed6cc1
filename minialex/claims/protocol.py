"""Protocols: what will be run and how it will be judged, in a file that is there before any result.

`protocol.toml` lies in the folder that the results will lie in. Its digest goes into each result; a protocol that was
changed afterwards is refused.
"""

import hashlib
import math
import sys
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import get_args

from minialex.weights.reading import MOST_TEXT, read_at_most
from minialex.words import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROTOCOL = "protocol.toml"
FEWEST = 10  # seeds: of 3 pairs the smallest p is 1/4


@dataclass(frozen=True)
class Protocol:
    """One experiment's. `better`, `than` and the like are in the experiment's function, in code, and in words here.

    claim, source: what is claimed, and where. outcome: the one that decides. paired: what both arms share.
    delta: the smallest difference that is of interest, in the outcome's unit; or level and margin; or, for a ratio,
    delta is the smallest one, `claimed` the one that was claimed, and `within` a factor to both sides.
    seeds: how many; they are 0, 1, 2, ... rates: the grid, in order; `begin`: where the search of each arm starts.
    rate_seeds: of the runs that choose a rate. little: in what the claim is smaller here, or empty. also: what else is
    reported, in words.
    """

    name: str
    claim: str
    source: str
    outcome: str
    paired: str
    seeds: int
    rates: list[float]
    begin: float
    rate_seeds: list[int]
    epochs: int
    pictures: int
    delta: float = 0.0
    level: float = 0.0
    margin: float = 0.0
    claimed: float = 0.0
    within: float = 0.0
    little: str = ""
    also: list[str] = field(default_factory=list)
    digest: str = ""

    @classmethod
    def read(cls, path: Path) -> "Protocol":
        """Raises ValueError for what is no protocol, FileNotFoundError where there is none."""
        text = read_at_most(path, MOST_TEXT).replace(
            b"\r\n", b"\n"
        )  # Git may write them so; it is the same text
        try:
            found = tomllib.loads(text.decode("utf8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is no TOML: {error}") from error
        known = {each.name: each for each in fields(cls) if each.name not in ("name", "digest")}
        needed = {
            name for name, each in known.items() if (each.default, each.default_factory) == (MISSING, MISSING)
        }
        for name in found:
            if name not in known:
                raise ValueError(f"{path} says {name!r}, which no protocol has{did_you_mean(name, known)}")
        if missing := sorted(needed - set(found)):
            raise ValueError(f"{path} does not say {', '.join(missing)}")
        for name, value in found.items():
            if not is_a(known[name].type, value):
                raise ValueError(f"{path}: {name} should be of type {typed(known[name].type)}, not {value!r}")
        digest = hashlib.sha256(text).hexdigest()[:12]
        return cls(name=Path(path).parent.name, digest=digest, **found)._checked(path)

    def _checked(self, path):
        for name in ("epochs", "pictures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{path}: {name} should be at least 1, not {getattr(self, name)}")
        if self.seeds < FEWEST:
            raise ValueError(f"{path}: {self.seeds} seeds decide nothing: at least {FEWEST}")
        rates = self.rates
        if len(rates) < 3 or rates[0] <= 0 or rates != sorted(set(rates)) or self.begin not in rates[1:-1]:
            raise ValueError(
                f"{path}: rates must rise, from above 0, and begin = {self.begin} be one of {rates} with others on "
                "both sides"
            )
        own = set(range(self.seeds)) & set(self.rate_seeds)
        if own or not self.rate_seeds or min(self.rate_seeds) < 0:
            raise ValueError(f"{path}: rate_seeds must be seeds of their own, none of 0 to {self.seeds - 1}")
        return self


def is_a(kind: type, value) -> bool:
    """Is a value of TOML what a field is declared as? A whole number will do as a float; true is no number.

    >>> is_a(float, 1), is_a(int, True), is_a(list[int], [1, 2.5])
    (True, False, False)
    """
    if inside := get_args(kind):
        return isinstance(value, list) and all(is_a(inside[0], one) for one in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def typed(kind: type) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def quick_version(p: Protocol) -> Protocol:
    """The same with 300 pictures, two epochs, two seeds and one try of three rates: to see that it runs."""
    at = p.rates.index(p.begin)
    return replace(
        p, seeds=2, epochs=2, pictures=300, rates=p.rates[at - 1 : at + 2], rate_seeds=p.rate_seeds[:1]
    )
