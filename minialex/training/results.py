"""Is a run that is finished also complete? Each result is looked at: it is there, it can be read, it is this run's."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from minialex.training.checkpoint import Checkpoint
from minialex.training.doubt import fingerprint
from minialex.training.history import history_csv
from minialex.training.reports import ErrorReport
from minialex.training.runs import BEST, COMPACT, DOUBT, HISTORY, INPUT, MODEL, SETTINGS
from minialex.weights import load, load_with_metadata, read_record
from minialex.weights.seal import unsealed


class _Flaw(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


def flaws(
    folder: str | Path,
    checkpoint: Checkpoint,
    report: ErrorReport,
    pictures: Iterable[str],
    may_change: Collection[str] = (),
    measured: bool = False,
    best_from: int = 0,
    cut: bool = False,
    doubted: bool = False,
) -> dict[str, str]:
    """What is missing or wrong of a finished run's results, by file; they can all be made again.

    pictures: the PNG files that there are to be. may_change: settings in which settings.json may be newer than the
    checkpoint. measured: is there a mean of the training pictures, in INPUT? best_from: as `fit` had it. cut: was what
    is closed cut out, into COMPACT? doubted: is there a second network, in DOUBT?
    """

    def settings_are_those(path, checkpoint, report):
        found, wanted = json.loads(path.read_bytes()), checkpoint.state["settings"]
        if any(name not in found or found[name] != wanted[name] for name in set(wanted) - set(may_change)):
            raise _Flaw("has other settings than the checkpoint")

    checks = {MODEL: _check_model, HISTORY: _check_history, SETTINGS: settings_are_those}
    if _best_epoch(checkpoint, report, best_from) == checkpoint.state["progress"]["epoch"]:
        checks[BEST] = _check_model
    if measured:
        checks[INPUT] = _check_input
    if cut:
        checks[COMPACT] = _check_cut
    if doubted:
        checks[DOUBT] = _check_doubt
    checks |= dict.fromkeys(pictures, _check_picture)
    found = {name: _flaw(check, Path(folder, name), checkpoint, report) for name, check in checks.items()}
    return {name: flaw for name, flaw in found.items() if flaw}


def lost_best(
    folder: str | Path, checkpoint: Checkpoint, report: ErrorReport, best_from: int = 0
) -> str | None:
    """A sentence, where the best epoch's weights are lost: the checkpoint has those of a later epoch."""
    best, last = _best_epoch(checkpoint, report, best_from), checkpoint.state["progress"]["epoch"]
    if best in (None, last) or not (flaw := _flaw(_check_weights, Path(folder, BEST), checkpoint, report)):
        return None
    return (
        f"{BEST} {flaw}. It had the weights of epoch {best}, the checkpoint has those of epoch {last}: "
        "only a new run makes it again."
    )


def _best_epoch(checkpoint, report, best_from=0):
    history = checkpoint.state["progress"]["history"][best_from:]
    errors = {row["epoch"]: report.held_out_error(row) for row in history}
    errors = {epoch: error for epoch, error in errors.items() if error is not None}
    return min(errors, key=errors.get, default=None)


def _flaw(check, path, checkpoint, report) -> str | None:
    if not path.is_file():
        return "is not there"
    if not path.stat().st_size:
        return "is empty"
    try:
        check(path, checkpoint, report)
    except _Flaw as flaw:
        return str(flaw)
    except (
        Exception
    ) as error:  # whatever a reader makes of a damaged file: Pillow alone raises half a dozen kinds
        return f"cannot be read ({error})"
    return None


def _check_model(path, checkpoint, report):
    arrays = _check_weights(path, checkpoint, report)
    if not all(np.array_equal(arrays[name], array) for name, array in checkpoint.parameters.items()):
        raise _Flaw("has other weights than the checkpoint")


def _check_weights(path, checkpoint, report):
    arrays = load(path)
    if {name: a.shape for name, a in arrays.items()} != {
        n: a.shape for n, a in checkpoint.parameters.items()
    }:
        raise _Flaw("has the weights of another network")
    return arrays


def _check_cut(path, checkpoint, report):
    if not read_record(path).get("reads"):
        raise _Flaw("does not say what is read in it")


def _check_history(path, checkpoint, report):
    if path.read_bytes() != history_csv(checkpoint.state["progress"]["history"], report):
        raise _Flaw("has other rows than the checkpoint")


def _check_input(path, checkpoint, report):
    if set(load(path)) != {"mean", "values", "vectors"}:
        raise _Flaw("has no mean and colours of pictures")


def _check_doubt(path, checkpoint, report):
    arrays, texts = load_with_metadata(path)
    if unsealed(path, arrays, texts).get("of") != fingerprint(checkpoint.parameters):
        raise _Flaw("belongs to other weights than the checkpoint's")


def _check_picture(path, checkpoint, report):
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as picture:
        picture.verify()  # the checksum of each part
    with Image.open(path) as picture:
        picture.load()  # and all pixels
    if not path.read_bytes().endswith(b"IEND\xaeB`\x82"):  # without which Pillow does well enough
        raise _Flaw("is cut off")
