"""What was found, for texts: read from the results that come with the package, so that the two cannot differ."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import minialex as mx
from minialex.claims.protocol import PROTOCOL, Protocol
from minialex.claims.results import all_results, read_result, verdict_of, with_unit
from minialex.words import check_choice

PACKAGE = Path(mx.__file__).parent


def folder_of(room: str) -> Path:
    """Where the lessons or the examples are: inside of an installed package, beside the package in a clone."""
    inside, beside = PACKAGE / "share" / room, PACKAGE.parent / room
    if inside.is_dir():
        return inside
    if beside.is_dir() and (PACKAGE.parent / "pyproject.toml").is_file():
        return beside
    raise FileNotFoundError(
        f"the {room} are neither in {inside} nor in {beside}: install minialex again, from its wheel or from a clone"
    )


@dataclass(frozen=True)
class Found:
    """A claim, and what came out here. Printed, it is a short text; `record` is all of result.json, or None."""

    protocol: Protocol
    record: dict | None

    @property
    def verdict(self) -> str:
        if not self.record or not self.record["finished"]:
            return "not run yet"
        return verdict_of(self.record)

    def __repr__(self) -> str:
        p, record = self.protocol, self.record
        lines = [f"Claimed: {p.claim} ({p.source})"]
        if record and record["finished"]:
            lines.append(f"Measured: {p.outcome}")
            lines.append(f"Found: {numbers(record)}; asked for: {asked(record)}")
            lines += [f"Besides: {numbers(one)}" for one in record.get("also", [])]
            if second := record.get("equal_seconds"):
                reach = f"{second['low']:.3g} to {second['high']:.3g}"
                cut = "where the slower one is cut off before its rate has come down"
                if paces := record.get("seconds_an_epoch"):
                    cut += "; an epoch takes " + ", ".join(f"{arm} {s:.3g} s" for arm, s in paces.items())
                lines.append(f"After equal seconds: {second['mean']:.3g} ({reach}), {cut}")
            lines += measured_besides(record)
            rates = ", ".join(f"{name} {rate:g}" for name, rate in record.get("rates", {}).items())
            lines.append(f"Learning rates, chosen for each: {rates}")
            if p.little:
                lines.append(f"Of {p.little}")
        lines.append(f"Verdict: {self.verdict}.")
        lines.append(f"Run it: python examples/reproduce.py {p.name}")
        return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)


def found(name: str, root: Path | None = None) -> Found:
    """What was found for the claim of that name. root: another folder of results than the package's.

    Raises ValueError for an unknown name.

    >>> mx.claims.found("overlap").protocol.delta
    0.4
    """
    root = Path(root or folder_of("examples") / "results")
    check_choice(name, all_results(root), "claim")
    return Found(Protocol.read(root / name / PROTOCOL), read_result(root / name))


def numbers(record: dict) -> str:
    """What was compared, its mean, its interval, and of how many seeds.

    >>> numbers({"compared": "test_error: a - b", "unit": "points", "mean": 0.51, "low": 0.2, "high": 0.82, "n": 10})
    'test_error: a - b, 0.51 points (0.2 to 0.82; 10 seeds)'
    """
    if record["mean"] is None:
        return f"{record['compared']}: a run ran away, and has no number"
    interval = f"{record['low']:.3g} to {record['high']:.3g}; {record['n']} seeds"
    return f"{record['compared']}, {with_unit(record)} ({interval})"


OF_EACH_RUN = {"rate", "test_error", "train_error", "train_loss", "gap", "epochs_to", "seconds"}


def measured_besides(record: dict) -> list[str]:
    """A line for each arm that was asked for more than what each run has: the means.

    >>> measured_besides({"means": {"LRN": {"rate": 0.01, "divides_low": 1.682}, "none": {"rate": 0.01}}})
    ['Measured of "LRN", means: divides_low 1.68']
    """
    found = []
    for arm, means in record.get("means", {}).items():
        more = ", ".join(f"{name} {value:.3g}" for name, value in means.items() if name not in OF_EACH_RUN)
        found += [f'Measured of "{arm}", means: {more}'] * bool(more)
    return found


def asked(record: dict) -> str:
    """What the number must be, and its interval on that side of 0, for the claim to hold.

    >>> asked({"unit": "points", "delta": 0.4}), asked({"unit": "points", "level": 0.0, "margin": 0.1, "delta": None})
    ('at least 0.4 points', 'from -0.1 to 0.1 points')
    """
    unit = f" {record.get('unit') or ''}".rstrip()
    if record.get("margin"):
        level, margin = record["level"], record["margin"]
        return f"from {level - margin:.3g} to {level + margin:.3g}{unit}"
    return f"at least {record['delta']:g}{unit}"


def in_markdown(root: Path | None = None) -> str:
    """The table of the README: what was claimed, found, judged."""
    root = Path(root or folder_of("examples") / "results")
    rows = ["| name | claim | found | verdict |", "|---|---|---|---|"]
    for name in all_results(root):
        one = found(name, root)
        said = numbers(one.record) if one.record and one.record["finished"] else ""
        rows.append(
            f"| [`{name}`](examples/results/{name}) | {one.protocol.claim} | {said} | {one.verdict} |"
        )
    return "\n".join(rows)
