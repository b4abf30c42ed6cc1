"""Protocols: what will be run and how it will be judged, in a file that is there before any result.

`protocol.toml` lies in the folder that the results will lie in. Its digest goes into each result; a protocol that was
changed afterwards is refused.
"""

import hashlib
import sys
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path

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
        text = Path(path).read_bytes()
        try:
            found = tomllib.loads(text.decode("utf8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
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
        digest = hashlib.sha256(text).hexdigest()[:12]
        return cls(name=Path(path).parent.name, digest=digest, **found)._checked(path)

    def _checked(self, path):
        if self.seeds < FEWEST:
            raise ValueError(f"{path}: {self.seeds} seeds decide nothing: at least {FEWEST}")
        rates = self.rates
        if len(rates) < 3 or rates != sorted(set(rates)) or self.begin not in rates[1:-1]:
            raise ValueError(
                f"{path}: rates must rise, and begin = {self.begin} be one of {rates} with others on both sides"
            )
        own = set(range(self.seeds)) & set(self.rate_seeds)
        if own or not self.rate_seeds:
            raise ValueError(f"{path}: rate_seeds must be seeds of their own, none of 0 to {self.seeds - 1}")
        return self


def quick_version(p: Protocol) -> Protocol:
    """The same with 300 pictures, two epochs, two seeds and one try of three rates: to see that it runs."""
    at = p.rates.index(p.begin)
    return replace(
        p, seeds=2, epochs=2, pictures=300, rates=p.rates[at - 1 : at + 2], rate_seeds=p.rate_seeds[:1]
    )
