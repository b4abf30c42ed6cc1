"""What was found, for texts: read from the results that come with the package, so that the two cannot differ."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import minialex as mx
from minialex.claims.compare import name_of
from minialex.claims.protocol import PROTOCOL, Protocol
from minialex.claims.results import all_results, never_arrived, read_result, verdict_of, with_unit
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
            left_out = second_of(self)
            for one in record.get("also", []):
                part = ", a part of the claim that the verdict leaves out" if one is left_out else ""
                lines.append(f"Besides{part}: {numbers(one)}")
            lines += by_the_clock(record)
            lines += measured_besides(record)
            if lost := [
                f'{count} of "{name}"' for name, count in record.get("ran_away", {}).items() if count
            ]:
                lines.append(f"Runs that ran away, and count with chance's error: {', '.join(lost)}")
            ends = dict.fromkeys(record.get("at_the_edge") or [], " (the grid's end)")
            rates = [
                f'"{name}" {rate:g}{ends.get(name, "")}' for name, rate in record.get("rates", {}).items()
            ]
            lines.append(f"Learning rates, chosen for each: {', '.join(rates)}")
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
    return f"{record['compared']}, {with_unit(record)} ({interval}){never_arrived(record)}"


def second_of(found: Found) -> dict | None:
    """Of what is reported besides, the part of the claim that the verdict leaves out."""
    p = found.protocol
    second = mx.claims.EXPERIMENTS[p.name](p).second
    wanted = second and name_of(second)
    return next((one for one in (found.record or {}).get("also", []) if one["compared"] == wanted), None)


def by_the_clock(record: dict) -> list[str]:
    """The comparison at equal seconds: a difference where the slower arm is cut off, a ratio of seconds."""
    paces = record.get("seconds_an_epoch") or {}
    takes = "an epoch takes " + ", ".join(f'"{arm}" {s:.3g} s' for arm, s in paces.items())
    if ratio := record.get("in_seconds"):
        return [f"In seconds: {ratio['mean']:.3g} times ({ratio['low']:.3g} to {ratio['high']:.3g}); {takes}"]
    if not (equal := record.get("equal_seconds")):
        return []
    said = f"After equal seconds: {equal['mean']:.3g} ({equal['low']:.3g} to {equal['high']:.3g})"
    if not paces:
        return [said]
    of = {arm: record["arms"][arm]["epochs"] for arm in paces}
    longest, least = (choose(paces, key=lambda arm: of[arm] * paces[arm]) for choose in (max, min))
    cut = of[least] * paces[least] / paces[longest]
    said += f', in which "{longest}" comes as far as epoch {cut:.1f} of {of[longest]}'
    if record["arms"][longest]["schedule"] == "cosine":
        said += ", before its rate has come all the way down"
    return [f"{said}; {takes}"]


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
    claimed, within = record.get("claimed"), record.get("within")
    size = f"; for the size, from {claimed / within:.3g} to {claimed * within:.3g}{unit}" if claimed else ""
    return f"at least {record['delta']:g}{unit}{size}"


def in_markdown(root: Path | None = None) -> str:
    """The table of the README: what was claimed, found, judged."""
    root = Path(root or folder_of("examples") / "results")
    rows = ["| name | claim | found | verdict |", "|---|---|---|---|"]
    for name in all_results(root):
        one = found(name, root)
        said = numbers(one.record) if one.record and one.record["finished"] else ""
        if second := said and second_of(one):
            said += f"; not judged: {numbers(second)}"
        rows.append(
            f"| [`{name}`](examples/results/{name}) | {one.protocol.claim} | {said} | {one.verdict} |"
        )
    return "\n".join(rows)
