"""history.csv: the finished epochs of a run, a row each, as a table for others to read."""

import csv
import io
from contextlib import suppress
from pathlib import Path

from minialex.training.progress import Progress
from minialex.training.reports import ErrorReport
from minialex.training.runs import BEST, HISTORY
from minialex.weights import write_whole


def history_csv(history: list[dict], report: ErrorReport) -> bytes:
    """What history.csv says: a header, and a row for each finished epoch."""
    more = [name for name in report.columns_if_held_out if any(name in row for row in history)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*report.columns[:-1], *more, report.columns[-1]], lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue().encode()


def write_history(path: Path, history: list[dict], report: ErrorReport) -> None:
    """history.csv, whole."""
    write_whole(path, history_csv(history, report))


def best_is_given_up(folder: Path, progress: Progress, report: ErrorReport, best_from: int) -> bool:
    """Did the folder's best epoch come after this one? Who goes back to an earlier checkpoint gives that up."""
    if not ((folder / BEST).is_file() and (folder / HISTORY).is_file()):
        return False
    with suppress(OSError, ValueError, KeyError, TypeError):  # a strange history says nothing
        with open(folder / HISTORY, newline="") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        errors = [report.held_out_error(row) for row in rows[best_from:]]
        return None not in errors and bool(errors) and best_from + errors.index(min(errors)) >= progress.epoch
    return False
