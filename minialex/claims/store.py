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
from minialex.weights.reading import read_lines

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
            if (row["settings"], row["seed"]) == (digest, seed) and (rate is None or same(rate, row["rate"])):
                return row
        return None

    def add(self, table: str, row: dict, curve: list[dict] = ()) -> None:
        """Keep a run's row, and its curve if it has one; numbers as the tables have them, so that who goes on has the
        same. The curve is written first, and takes the place of one whose row was never written."""
        keys = {name: row[name] for name in KEYS}
        if curve:
            others = [one for one in self.curves if not of_run(one, row)]
            self.curves = others + [as_kept({**keys, **one}) for one in curve]
            write_table(self.folder / CURVES, self.curves)
        getattr(self, table).append(as_kept(row))
        write_table(self.folder / f"{table}.csv", getattr(self, table))

    def curve(self, row: dict) -> list[dict]:
        """The epochs of a run."""
        return [one for one in self.curves if of_run(one, row)]

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
        for row in self.runs:
            if not self.curve(row):
                raise ValueError(
                    f"{self.folder / CURVES} has no epochs of arm {row['arm']!r}, seed {row['seed']}: take it from a "
                    f"copy, or delete {RUNS} as well, and all is run again"
                )

    def check_rates(self, rates: dict[str, float]) -> None:
        """Raise ValueError where a run had another rate than the one that its arm has been given."""
        for row in self.runs:
            if not same(row["rate"], rates[row["arm"]]):
                raise ValueError(
                    f"{self.folder} has runs of arm {row['arm']!r} at rate {row['rate']:g}, but {RATES} says "
                    f"{rates[row['arm']]:g}: they are not mixed; take both tables from a copy, or use another "
                    "--output-dir"
                )


def same(rate: float, other: float) -> bool:
    """Tables have seven digits."""
    return math.isclose(rate, other, rel_tol=1e-6)


def of_run(one: dict, row: dict) -> bool:
    return (one["settings"], one["seed"]) == (row["settings"], row["seed"])


def read_table(path: Path) -> list[dict]:
    """Rows, numbers as numbers; none where there is no file. Raises DataError for a damaged one."""
    if not path.is_file():
        return []
    try:
        first, *rows = csv.reader(read_lines(path), strict=True)
        if not set(KEYS) <= set(first) or len(set(first)) < len(first):
            raise ValueError("its columns are others")
        pairs = [zip(first, row, strict=True) for row in rows]
        return [{name: from_text(name, text) for name, text in row} for row in pairs]
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path} is no table of runs, or is damaged ({str(error)[:80]}): delete it, or take it from a copy"
        ) from error


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


def as_kept(row: dict) -> dict:
    """A row as it is read again."""
    return {name: from_text(name, as_text(value)) for name, value in row.items()}


def as_text(value) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return str(value)
