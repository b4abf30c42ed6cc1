"""What papers claim, run here by rules that were written down before; `examples/reproduce.py` is the program."""

from minialex.claims import on_cifar, on_mnist
from minialex.claims.compare import asks_for_seconds, check_fits
from minialex.claims.pace import paces_of
from minialex.claims.pictures import check_data, sums_of
from minialex.claims.protocol import PROTOCOL, Protocol, quick_version
from minialex.claims.results import (
    all_results,
    check_pictures,
    check_protocol,
    in_a_line,
    raise_for_all,
    read_result,
    result_of,
    table_of,
    write_result,
)
from minialex.claims.run import run, stores_beside
from minialex.claims.store import FIGURE, Store
from minialex.claims.texts import Found, found, in_markdown
from minialex.claims.verdicts import student_t

EXPERIMENTS = on_mnist.EXPERIMENTS | on_cifar.EXPERIMENTS

__all__ = [
    "EXPERIMENTS", "FIGURE", "PROTOCOL", "Found", "Protocol", "Store", "all_results", "asks_for_seconds", "check_data",
    "check_fits", "check_pictures", "check_protocol", "found", "in_a_line", "in_markdown", "paces_of",
    "quick_version", "raise_for_all", "read_result", "result_of", "run", "stores_beside", "student_t", "sums_of",
    "table_of", "write_result",
]  # fmt: skip
