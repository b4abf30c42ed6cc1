"""What programs ask of weights before they use them: which network are they for, and which classes do they know?"""

from pathlib import Path

from minialex.data.classes import a_few, differences, read_names, reorder
from minialex.errors import CheckpointError
from minialex.training.runs import SETTINGS, weight_file
from minialex.weights import load_with_metadata, record_in
from minialex.weights.foreign import is_torchvisions
from minialex.weights.seal import VELOCITY
from minialex.words import are_same, counted


def unrecorded(path: str | Path, taken_for: str) -> str:
    """What to say of a weight file of ours that has no record of its network; nothing of one that has, or of others'.

    taken_for: the network that it is put into.
    """
    file = weight_file(path)
    if file.suffix.lower() != ".safetensors":
        return ""
    arrays, metadata = load_with_metadata(file)
    others = is_torchvisions(arrays) or any(name.startswith(VELOCITY) for name in arrays)
    if others or "network" in record_in(metadata, file):
        return ""
    why = f"{SETTINGS} beside it says so" if (file.parent / SETTINGS).is_file() else "its shapes fit"
    return f"{file} has no record of its network: it is taken for {taken_for}, since {why}."


def check_preset(path: str | Path, known: str | None, asked: str | None) -> None:
    """Raises ValueError when weights are for another preset than the one that is asked for."""
    if known and asked and known != asked:
        raise ValueError(
            f'{path} is for preset="{known}", and --preset asks for "{asked}": in another network these weights are '
            "wrong numbers. Leave --preset out, or bring other weights"
        )


def trained_names(path: str | Path, recorded: list[str] | None, count: int, listed=None) -> list[str] | None:
    """The names of the classes that weights were trained on, in the network's order; None where nobody says them.

    recorded: what the weights say. listed: a file with one name a line (--classes), for weights that don't say; for
    those that do, it must agree. count: of the network's outputs. Raises ValueError where these don't fit together.
    """
    if recorded is not None and len(recorded) != count:
        raise CheckpointError(
            f"{path} has {counted(count, 'class', 'classes')}, and is said to know {len(recorded)}, "
            f"{a_few(recorded)}: these belong to "
            "different runs"
        )
    lines = read_names(listed, count) if listed else None
    if recorded is None:
        return lines
    if lines is not None:
        reorder(lines, recorded, listed)
    return list(recorded)


def names_for(
    path: str | Path, recorded: list[str] | None, count: int, listed, found: list[str] | None
) -> list[str]:
    """As trained_names; for who cannot go on without. found: the classes of the pictures, for the message."""
    names = trained_names(path, recorded, count, listed)
    if names is None:
        there = f" The pictures have {len(found)}: {a_few(found)}." if found else ""
        raise ValueError(
            f"{path} does not say the names of its {counted(count, 'class', 'classes')}, and a place in a list is no "
            f"name.{there} Say them with --classes FILE: one name a line, as the folders are called, in "
            "the order of the network's outputs (of ImageNet's 1,000: their wnids, sorted)"
        )
    return names


def last_layer_is_new(path, recorded, count: int, listed, classes: list[str]) -> str:
    """Why the last layer of pretrained weights cannot serve for these classes; empty where it can.

    Raises ValueError where it has as many outputs, and nobody says of what: see names_for.
    """
    if count != len(classes):
        return f"they have {counted(count, 'class', 'classes')}, the pictures {len(classes)}"
    names = names_for(path, recorded, count, listed, classes)
    if are_same(names, classes):
        return ""
    return (
        f"they know other classes ({a_few(names)}) than the pictures have ({a_few(classes)}): "
        f"{differences(names, classes)}"
    )
