"""The newest run of LeNet-5, wherever in the current folder --output-dir put it."""

from pathlib import Path

from minialex.errors import CheckpointError
from minialex.training.runs import MODEL, settings_in, whose_run

RUNS, DRY_RUN = Path("runs"), "dry-run"


def newest_run() -> Path:
    """The folder of the newest finished run: under runs/, the current folder, or one that is up to two deep in it.

    Raises FileNotFoundError, which says where it looked, where there is none.
    """
    models = list(RUNS.glob(f"lenet*/{MODEL}"))
    for pattern in (MODEL, f"*/{MODEL}", f"*/*/{MODEL}"):
        models += [model for model in Path().glob(pattern) if _is_of_digits(model.parent)]
    if not models:
        raise FileNotFoundError(
            f"there are no trained weights under runs/, nor those of another run of LeNet-5 in {Path.cwd()} or up to "
            "two folders deep in it: train with lenet_mnist.py first (python -m minialex examples FOLDER "
            "writes it), or name a run's folder by --weights"
        )
    return max(models, key=lambda model: model.stat().st_mtime).parent


def _is_of_digits(folder):
    """By its settings; a dry run is none that anyone wants."""
    try:
        settings = settings_in(folder)
    except (CheckpointError, OSError):
        return False
    return folder.name != DRY_RUN and whose_run([], settings) == "LeNet-5"
