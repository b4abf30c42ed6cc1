"""What an experiment has found so far, in its folder: a row for each run that ended, and the row of each epoch.

runs.csv: a row for each arm and seed. rates.csv: one for each rate that was tried. curves.csv: the epochs of the runs.
A row is there as soon as its run has ended, and tables are written whole or not at all: whoever is stopped goes on.
"""

import csv
import io
import math
from pathlib import Path

from minialex.errors import DataError
from minialex.weights import write_whole

RUNS, RATES, CURVES, RESULT, FIGURE = "runs.csv", "rates.csv", "curves.csv", "result.json", "figure.png"
KEYS = ("arm", "settings", "seed", "rate")  # columns that say which run a row is of


class Store:
    """The tables of one folder. A run is known by its arm's settings, its rate and its seed, not by the arm's name."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.runs, self.rates, self.curves = (
            read_table(self.folder / name) for name in (RUNS, RATES, CURVES)
        )

    def row(self, table: str, digest: str, seed: int, rate: float | None = None) -> dict | None:
        """Of the run of these settings and this seed, and this rate if one is given; None where it is not there."""
        for row in getattr(self, table):
            if (row["settings"], row["seed"]) == (digest, seed) and rate in (None, row["rate"]):
                return row
        return None

    def add(self, table: str, row: dict, curve: list[dict] = ()) -> None:
        """Keep a run's row, and its curve if it has one."""
        keys = {name: row[name] for name in KEYS}
        if curve:
            self.curves += [{**keys, **one} for one in curve]
            write_table(self.folder / CURVES, self.curves)
        getattr(self, table).append(row)
        write_table(self.folder / f"{table}.csv", getattr(self, table))

    def curve(self, row: dict) -> list[dict]:
        """The epochs of a run."""
        return [
            one for one in self.curves if (one["settings"], one["seed"]) == (row["settings"], row["seed"])
        ]

    def take_from(
        self, others: list["Store"], table: str, arm: str, digest: str, seed: int, rate: float
    ) -> bool:
        """Take over the row, and curve, of a run that another experiment's arm with the same settings has made."""
        for other in others:
            if row := other.row(table, digest, seed, rate):
                curve = [{**one, "arm": arm} for one in other.curve(row)] if table == "runs" else []
                self.add(table, {**row, "arm": arm}, curve)
                return True
        return False

    def check_settings(self, digests: dict[str, str]) -> None:
        """Raise ValueError where a row is of other settings than its arm has now: results are never mixed."""
        for row in (*self.runs, *self.rates):
            if row["arm"] not in digests:
                raise ValueError(
                    f"{self.folder} has runs of an arm {row['arm']!r}, which this experiment has not: use another "
                    "--output-dir"
                )
            if row["settings"] != digests[row["arm"]]:
                raise ValueError(
                    f"{self.folder} has runs of arm {row['arm']!r} with other settings ({row['settings']}, now "
                    f"{digests[row['arm']]}): they are not mixed; use another --output-dir"
                )


def read_table(path: Path) -> list[dict]:
    """Rows, numbers as numbers; none where there is no file. Raises DataError for a damaged one."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf8") as file:
        rows = list(csv.reader(file))
    if not rows or not set(KEYS) <= set(rows[0]) or any(len(row) != len(rows[0]) for row in rows):
        raise DataError(f"{path} is no table of runs, or was cut short: delete it, or take it from a copy")
    return [dict(zip(rows[0], map(from_text, rows[0], row), strict=True)) for row in rows[1:]]


def from_text(column: str, text: str):
    if column in ("arm", "settings"):
        return text
    return int(text) if column in ("seed", "epoch") else math.nan if text == "" else float(text)


def write_table(path: Path, rows: list[dict]) -> None:
    """Numbers with seven digits; what a row has not, and nan, is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for row in rows:
        table.writerow([as_text(row.get(name, math.nan)) for name in columns])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue().encode())


def as_text(value) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return str(value)
