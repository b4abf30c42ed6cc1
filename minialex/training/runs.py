"""A run's folder: what a training program finds there, writes there, and does not write over."""

import difflib
import glob
import json
import os
from pathlib import Path

import numpy as np

from minialex.errors import CheckpointError
from minialex.layers.settings import number
from minialex.models.names import name_of
from minialex.training.checkpoint import Checkpoint, load_checkpoint, look_into
from minialex.training.progress import Progress
from minialex.weights import load, load_with_metadata, read_pretrained, record_in, save
from minialex.weights.files import unfinished_name, write_whole
from minialex.weights.foreign import own_names
from minialex.weights.reading import read_at_most
from minialex.weights.records import FLAG, MOST_CHARACTERS, TEXT, Kind, Maybe, check, parse, partly, whole
from minialex.weights.records import number as finite
from minialex.weights.seal import VELOCITY, is_sealed, sealed
from minialex.words import typed

# The files in a run's folder.
CHECKPOINT, MODEL, BEST = "checkpoint.safetensors", "model.safetensors", "best.safetensors"
GOOD = "good.safetensors"  # of the newest epoch that ended well: a checkpoint, should a later one be spoiled
HISTORY, SETTINGS = "history.csv", "settings.json"
COMPACT = "compact.safetensors"  # of a network with gates: the same without what is closed
DOUBT = "doubt.safetensors"  # of networks that know digits: a second one, which knows what is none
INPUT = "input.safetensors"  # of networks that want them: the training pictures' mean image and their colours

# Each program's network, and what its runs are known by: a parameter's name, and that of a setting. Those of the
# second one may be of other networks too: the setting "arch" says which.
NETWORKS = {
    "LeNet-5": ("lenet_mnist.py", "c1.weight", "variant"),
    "AlexNet": ("alexnet_imagenet.py", "conv5.weight", "preset"),
}

WEIGHT_FILES = (".safetensors", ".npy", ".pth", ".pt")

# torchvision trained GoogLeNet and Inception v3 on pixels from -1 to 1 (its `transform_input`); no file of theirs says
# so.
PIXELS = "-1 to 1"

MOST_EXITS = 250

# What the settings of a run can be, where there are such; a run may have others, too. Nothing is wider than this.
SIDE, COUNT = whole(1, 4096), whole(1)
KNOWN = partly(
    {
        **dict.fromkeys(
            ("variant", "activation", "dataset", "lr_scheduler", "preset", "freeze", "init", "arch"), TEXT
        ),
        **dict.fromkeys(("data", "data_dir", "ground_truth", "class_ids", "pretrained"), Maybe(TEXT)),
        **dict.fromkeys(("lr", "momentum", "wd", "dropout", "warmup"), finite(0)),
        **dict.fromkeys(("epochs", "batch_size"), COUNT),
        **dict.fromkeys(("limit", "processes", "threads"), Maybe(COUNT)),
        **dict.fromkeys(("holdout", "max_bad", "checkpoint_every"), whole()),
        "seed": whole(0, 10**1000),  # as long as one likes
        "classes": [TEXT],
        "exits": Maybe(whole(1, MOST_EXITS)),
        "exits_kept": Maybe(whole(1, MOST_EXITS)),
        "penalty": finite(0),
        "leave_at": Maybe(finite(0, 1)),
        "budget": Maybe(finite(0)),
        "dummy": Maybe(FLAG),
        "look": Maybe(FLAG),
        "small": FLAG,
        "pixels": Maybe(Kind(repr(PIXELS), lambda value: value == PIXELS)),
        "width": finite(1e-3, 16),
        "scale": Maybe(finite(1e-9, 1e9)),
        "side": SIDE,
        "image_size": Maybe(SIDE),
    }
)


class NothingToResume(FileNotFoundError):
    """What --resume names is not there. The program ends with exit status 2, as for arguments that cannot be."""


def find_checkpoint(resume: str | None, network: str | None = None) -> Checkpoint | None:
    """The checkpoint that --resume names, a file or a folder's; None, and a word, where a folder has none.

    network: the one that is to go on; raises ValueError, naming it, for a run of the other one.
    """
    if resume is None:
        return None
    path = Path(resume)
    file = path if names_a_file(path) else path / CHECKPOINT
    if file != path and not file.is_file():
        check_whose(path, network, settings=settings_in(path))
        inside = (
            sorted(str(folder) for folder in path.iterdir() if holds_a_run(folder))[:3]
            if path.is_dir()
            else []
        )
        if inside and not (path / SETTINGS).is_file():
            raise NothingToResume(f"--resume: {path} is no run, but runs are in it: {' or '.join(inside)}?")
        if path.resolve() == Path.cwd() and not (path / SETTINGS).is_file():
            raise NothingToResume(
                f"--resume: {path} is the folder that you are in, and no run: name a run's folder"
            )
        print(f"There is no checkpoint in {path}: starting from the beginning.")
        return None
    checkpoint = load_checkpoint(file)
    check_whose(path, network, checkpoint.parameters, checkpoint.state.get("settings"))
    return _checked(checkpoint.check())


def last_row(checkpoint: Checkpoint, column: str) -> dict:
    """The row of the last finished epoch; raises CheckpointError where it has no such number."""
    rows = [{"epoch": whole(), column: finite(0)}]
    return checkpoint.check({"progress": {"history": rows}}).state["progress"]["history"][-1]


def settings_to_resume(resume: str | None, checkpoint: Checkpoint | None) -> dict | None:
    """The settings of the run that is resumed; a run that was stopped before its first checkpoint has left them too."""
    if checkpoint:
        return checkpoint.state["settings"]
    return settings_in(Path(resume)) if resume else None


def whose_run(names, settings: dict | None = None) -> str | None:
    """Of which network: by the names of the parameters, or where there are none by the settings. None: of neither.

    >>> whose_run(["c1.weight", "c1.bias"]), whose_run([], {"preset": "paper"}), whose_run([], {})
    ('LeNet-5', 'AlexNet', None)
    >>> whose_run(["conv1.weight", "fc.bias"], {"arch": "resnet18"})
    'resnet18'
    """
    settings = settings if isinstance(settings, dict) else {}
    if settings.get("arch", "alexnet") != "alexnet":
        return str(settings["arch"])
    for network, (_, name, setting) in NETWORKS.items():
        if name in names or (not names and setting in settings):
            return network
    return None


def check_whose(path, network: str | None, names=(), settings: dict | None = None, why="", remedy="") -> None:
    """Raises ValueError, with `why` and the remedy, where that is a run of another program than that of `network`."""
    found = whose_run(names, settings)
    if network and found and (program := program_of(found)) != program_of(network):
        remedy = remedy or f"name a run of {network}, or use {program}"
        raise ValueError(f"{path} {why}is a run of {found} ({program}), not of {network}: {remedy}")


def program_of(network: str) -> str:
    """The file in examples/ that trains it."""
    return NETWORKS.get(network, NETWORKS["AlexNet"])[0]


def settings_in(folder: Path) -> dict:
    """What settings.json in a run's folder says; empty where there is none."""
    path = folder / SETTINGS
    if not path.is_file():
        return {}
    try:
        settings = parse(read_at_most(path, MOST_CHARACTERS))
        check(settings, KNOWN, "it")
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error})") from error
    return settings


def write_settings(folder: Path, settings: dict) -> None:
    """Keep them for whoever resumes: from the moment when a run's folder is its own, before what takes long."""
    write_whole(folder / SETTINGS, json.dumps(settings, indent=2, default=number).encode())


def write_input(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Keep them, with a checksum; see read_input."""
    save(path, arrays, sealed(arrays, {}))


def read_input(path: str | Path, names=("mean", "values", "vectors")) -> dict[str, np.ndarray]:
    """What INPUT keeps of the training pictures: their mean picture, and their colours' values and vectors.

    Raises CheckpointError, naming the file, when one is missing or of another shape, or a bit is wrong.
    """
    arrays = load(path)
    shapes = {"mean": (3, "S", "S"), "values": (3,), "vectors": (3, 3)}
    for name in names:
        wanted, found = shapes[name], np.shape(arrays.get(name))
        fits = len(wanted) == len(found) and all(w in ("S", f) for w, f in zip(wanted, found, strict=True))
        if not (name in arrays and fits and np.isfinite(arrays[name]).all()):
            what = f"a {name} of shape {found}" if name in arrays else f"no {name}"
            raise CheckpointError(f"{path} has {what}, not finite numbers of shape {wanted}")
    return {name: arrays[name] for name in names}


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    """The same, if its settings can be."""
    return checkpoint.check({"settings": KNOWN})


def names_a_file(path: Path) -> bool:
    """Does --resume name a file, rather than a run's folder?"""
    return path.is_file() or path.suffix == ".safetensors"


def check_is_there(path: str | Path) -> None:
    """Raises FileNotFoundError, with the names that are near to it, when there is nothing under that name."""
    if not str(path):
        raise FileNotFoundError("the name is empty: name a run's folder, or a file")
    if not Path(path).exists():
        near = near_names(Path(path))
        raise FileNotFoundError(
            f"there is no file {path}"
            + ("" if Path(path).suffix else ", nor a folder")
            + (f"; there is {' or '.join(near)}" if near else "")
        )


def near_names(path: Path, most: int = 3) -> list[str]:
    """Runs and weight files whose name is nearly that of `path`, beside it or under runs/."""
    if path.parent.is_dir():
        found = [
            Path(name) for name in [*glob.glob(f"{glob.escape(str(path.parent))}/*"), *glob.glob("runs/*")]
        ]
    else:  # then it is the folder's name that is wrong
        found = [Path(near, path.name) for near in near_names(path.parent, most)]
    runs: dict[str, list[str]] = {}
    for run in sorted(set(found)):
        if holds_a_run(run) or (run.suffix in WEIGHT_FILES and os.path.isfile(run)):
            runs.setdefault(run.name.casefold(), []).append(str(run))
    names = difflib.get_close_matches(path.name.casefold(), runs, n=most)
    return [run for name in names for run in runs[name]][:most]


def holds_a_run(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in (CHECKPOINT, MODEL, SETTINGS))


def weights_kept(folder: Path) -> list[str]:
    """The weight files of a run that are in the folder. (A good checkpoint alone is what an exploded run left.)"""
    return [name for name in (MODEL, CHECKPOINT, BEST) if os.path.lexists(folder / name)]


def not_of_a_run(folder: Path) -> list[str]:
    """Files of somebody else that a run would write over: they have a name that it needs, and it makes none such."""
    settings, history, good = folder / SETTINGS, folder / HISTORY, folder / GOOD
    others = []
    begun = history.is_file() and history.read_bytes().removeprefix(b"\xef\xbb\xbf").startswith(b"epoch,")
    if settings.is_file() and settings.stat().st_size and not begun:
        try:
            found = parse(read_at_most(settings, MOST_CHARACTERS))
        except ValueError:
            found = None
        if not isinstance(found, dict) or (found and not KNOWN.keys() & found.keys()):
            others.append(SETTINGS)
    if history.is_file() and history.stat().st_size and not begun:
        others.append(HISTORY)
    if good.is_file() and look_into(good) is None:
        others.append(GOOD)
    return others


def choose_folder(resume: str | None, output_dir: str | None, name: str) -> Path:
    """Where the results go: --output-dir; else where the resumed run is; else runs/name or the next free runs/name-N.

    Raises ValueError when --output-dir holds another run: nothing is written over.
    """
    resumed = Path(resume) if resume else None
    if resumed and names_a_file(resumed):
        resumed = resumed.parent
    if output_dir:
        folder = Path(output_dir)
        another = resumed is None or folder.resolve() != resumed.resolve()
        if another and weights_kept(folder):
            raise ValueError(
                f"{folder} holds a run already: go on with it by --resume {typed(folder)}, or name another --output-dir"
            )
        if another and (others := not_of_a_run(folder)):
            raise ValueError(f"{folder} has a file that is no run's, {others[0]}: name another --output-dir")
        return folder
    if resumed:
        return resumed
    folders = (Path("runs", name if n == 1 else f"{name}-{n}") for n in range(1, 10_000))
    return next(
        folder
        for folder in folders
        if not ((folder / SETTINGS).exists() or weights_kept(folder) or not_of_a_run(folder))
    )


def make_writable(folder: Path) -> None:
    """Find out now, not after the first epoch, whether the results can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = unfinished_name(folder / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to the output folder {folder} ({error.strerror}): choose another --output-dir"
        ) from None


def read_weights(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of a run, or of anyone's weight file (BVLC's, torchvision's), and the settings that are known."""
    check_is_there(path)
    if Path(path).is_dir():
        return load_run(path)
    arrays, preset = read_pretrained(path)
    if preset:
        return with_axes(path, arrays), {"arch": "alexnet", "preset": preset}
    return load_run(path) if Path(path).suffix.lower() == ".safetensors" else (with_axes(path, arrays), {})


def with_axes(path: str | Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same, if parameters have a number of maps or units, and the weights of layers that of their inputs."""
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        if array.ndim < 1 + (kind == "weight" and layer.startswith(("conv", "fc")) and "." not in layer):
            raise CheckpointError(f"{path} is damaged: {name} cannot have shape {array.shape}")
    return arrays


def load_run(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """The parameters of a run by name, and its settings.

    path: a run's folder (its model or its checkpoint, whichever is newer), a checkpoint, or a weight file
    (its settings are those in settings.json beside it, if there is one; what it records itself goes before them).
    Raises FileNotFoundError, with near names, when there is nothing, CheckpointError when a file is damaged.
    """
    check_is_there(path)
    path = weight_file(path)
    arrays, metadata = load_with_metadata(path)
    if is_sealed(metadata) or any(name.startswith(VELOCITY) for name in arrays):
        checkpoint = _checked(load_checkpoint(path))
        settings = {**checkpoint.state["settings"], **settings_recorded(checkpoint.record, path)}
        return with_axes(path, checkpoint.parameters), settings
    record = record_in(metadata, path)
    recorded, beside = settings_recorded(record, path), settings_in(path.parent)
    if "network" not in record:
        arrays = own_names(arrays, path)
    if any(beside.get(name) not in (None, value) for name, value in recorded.items()):
        beside = {}  # another run's
    return with_axes(path, arrays), {**beside, **recorded}


# What records have besides settings: the arguments of a network's function.
ARGUMENTS = partly(
    {
        "depth": whole(1, 1202),
        "version": whole(1, 2),
        **dict.fromkeys(("batch_norm", "auxiliaries", "plain"), FLAG),
        **dict.fromkeys(("shortcut", "reads"), Maybe(TEXT)),
        "layers": Maybe([whole(1, 600)]),
        "exits": whole(1, MOST_EXITS),
        "blocks": TEXT,
    }
)


def settings_recorded(record: dict, path) -> dict:
    """What a record says of a run's settings. Raises CheckpointError, naming the file, for what no network can have."""
    try:
        check(record, {**KNOWN, **ARGUMENTS}, "its record")
    except ValueError as error:
        raise CheckpointError(f"{path} has a damaged record of its network ({error})") from error
    if record.get("network", "lenet5") == "lenet5":
        return {name: value for name, value in record.items() if name not in ("network", "num_classes")}
    arch, small = name_of(record)
    names = ("preset", "scale") if arch == "alexnet" else ()
    names = ("exits",) if arch == "smartnet" else names
    kept = (*names, "width", "image_size", "side", "classes", "pixels")
    which = (
        {"arch": arch} if arch == "alexnet" else {"arch": arch, "small": small}
    )  # AlexNet's says its sizes
    return {**which, **{name: record[name] for name in kept if name in record}}


def weight_file(path: str | Path) -> Path:
    """The file itself; of a run's folder its model or its checkpoint, whichever is newer."""
    path = Path(path)
    if not path.is_dir():
        return path
    found = [path / name for name in (MODEL, CHECKPOINT) if (path / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{path} holds neither {MODEL} nor {CHECKPOINT}: train first")
    return max(found, key=lambda file: file.stat().st_mtime_ns)


def advice_when_stopped(folder: Path) -> str:
    """What to say to someone who pressed Ctrl-C."""
    if not (folder / CHECKPOINT).is_file():
        return "There was no checkpoint yet: --checkpoint-every STEPS makes them sooner."
    state = look_into(folder / CHECKPOINT)
    signs = Progress.of(state["progress"]).spoiled if state else ""
    if signs:
        return (
            f"The last checkpoint was made while training exploded ({signs}). {advice_when_spoiled(folder)}"
        )
    return f"The last checkpoint is safe: go on with --resume {typed(folder)}"


def advice_when_spoiled(folder: Path) -> str:
    """What to go on from, when the loss has exploded."""
    good = folder / GOOD
    state = look_into(good) if good.is_file() else None
    if not state:
        none = f"No epoch has ended well before, so there is no {GOOD}{_of_last(folder)}"
        return f"{none}: begin anew, with a smaller --lr"
    epoch, history = state["progress"]["epoch"], state["progress"]["history"]
    loss = (
        f" with a loss of {history[-1]['train_loss']:.4g}" if history and "train_loss" in history[-1] else ""
    )
    return (
        f"{good} is from before, of epoch {epoch}{loss}: go on with --resume {typed(good)} and a smaller --lr"
    )


def _of_last(folder):
    """What is to be said of a checkpoint, where there is no good one."""
    state = look_into(folder / CHECKPOINT) if (folder / CHECKPOINT).is_file() else None
    if not state:
        return ""
    history = state["progress"]["history"]
    if state["progress"]["step"] or not history or "train_loss" not in history[-1]:
        return f" ({CHECKPOINT} there may be spoiled already)"
    return f" ({CHECKPOINT} is of epoch {state['progress']['epoch']}, with a loss of {history[-1]['train_loss']:.4g})"
