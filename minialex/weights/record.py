"""What a weight file says of the network that it is for: which one, its settings, and the names of its classes.

Arrays fit any network of their shapes. "bvlc" has those of "paper", LeNet-5 with ReLU those of one with tanh; in the
other one they are wrong numbers, without a word. So files of ours carry a record, and loading compares.

A record is what `model.architecture` says, a dict that can be written as JSON: "network", the function in
minialex.models that makes it, and that function's arguments; and besides "classes", their names in the network's order.
All are texts and numbers, but for "classes", a list of texts, and "layers", one of whole numbers, or null. Of a network
of your own, which does not say what it is, a record has "classes" alone.
"""

import json
import os
from collections.abc import Iterable, Mapping

from minialex.errors import CheckpointError
from minialex.layers.layer import Layer
from minialex.layers.linear import Linear
from minialex.layers.sequential import Sequential
from minialex.layers.settings import number
from minialex.models.names import settled
from minialex.models.smartnet import poolings
from minialex.weights.files import load_with_metadata
from minialex.weights.reading import shown
from minialex.weights.records import parse
from minialex.words import counted

KEY = "minialex.record"  # among a weight file's metadata, where others keep theirs
CHECKPOINT_KEY, STATE_KEY = "minialex", "record"  # a checkpoint has it in its state, with a checksum over all

# Where records may differ: these change shapes, which are compared anyway, or training alone. (An image_size may also
# change how often a SmartNet pools; that is compared.)
FREE = {"num_classes", "width", "image_size", "dropout", "side", "classes"}


def record_of(model: Layer, settings: Mapping | None = None) -> dict:
    """The record of a model; of one that does not say what it is, as your own Sequential, no more than its classes.

    settings: of its run; "classes" and "side" (of the squares that pictures are cut to) are taken from there. Classes
    may also be the model's own, `model.classes`. Raises ValueError for other than one name for each class.

    >>> from minialex.models import lenet5
    >>> record_of(lenet5("keras"))
    {'network': 'lenet5', 'variant': 'keras', 'activation': 'tanh', 'dropout': 0.0}
    """
    record = dict(getattr(model, "architecture", None) or {})
    settings = settings or {}
    classes = _names_in(settings.get("classes")) or class_names(model)
    if classes is not None:
        known = _count_of_classes(model, record)
        if known is not None and len(classes) != known:
            raise ValueError(
                f"the model has {counted(known, 'class', 'classes')}, not {len(classes)}, as its names are"
            )
        record["classes"] = classes
    if settings.get("side") and "network" in record:
        record["side"] = settings["side"]
    return record


def class_names(model: Layer) -> list[str] | None:
    """The names of a model's classes; None where it has none. (A layer of your own may keep their number there.)"""
    return _names_in(getattr(model, "classes", None))


def _names_in(classes) -> list[str] | None:
    are_names = isinstance(classes, Iterable) and not isinstance(classes, (str, bytes, Mapping))
    return list(map(str, classes)) if are_names else None


def _count_of_classes(model, record) -> int | None:
    """How many classes the model tells; None where it does not say."""
    if record:
        # LeNet-5 tells ten unless it says otherwise.
        return record.get("num_classes", 10 if record.get("network") == "lenet5" else None)
    last = model
    while isinstance(last, Sequential) and type(last).forward is Sequential.forward:
        *_, last = last.children().values()
    # One number alone may tell two classes.
    return last.out_features if isinstance(last, Linear) and last.out_features > 1 else None


def as_metadata(record: Mapping) -> dict[str, str] | None:
    """For `save`: the record as a text; None where there is none."""
    return {KEY: json.dumps(record, sort_keys=True, default=number)} if record else None


def read_record(path: str | os.PathLike) -> dict:
    """The record in a weight file or checkpoint of ours; empty for one without, and for files of others.

    Raises CheckpointError, naming the file, when the record or the file is damaged; FileNotFoundError.
    """
    return record_in(load_with_metadata(path)[1], path) if str(path).lower().endswith(".safetensors") else {}


def record_in(metadata: Mapping[str, str], path) -> dict:
    """The record among a file's metadata; empty where there is none."""
    try:
        if KEY in metadata:
            return checked_record(parse(metadata[KEY]), path)
        state = parse(metadata.get(CHECKPOINT_KEY, "{}"))["state"]
        return checked_record(state.get(STATE_KEY, {}), path)
    except KeyError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has a damaged record of its network ({error})") from error


def checked_record(record, path) -> dict:
    """The record, if it is one."""
    match record:
        case {"network": str(), **rest}:
            classes, layers = rest.pop("classes", []), rest.pop("layers", None)
            plain = all(isinstance(value, str | int | float | bool | None) for value in rest.values())
            names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
            counts = layers is None or (isinstance(layers, list) and all(type(n) is int for n in layers))
            if plain and names and counts:
                return record
        case {"classes": [*names]} if len(record) == 1 and all(isinstance(name, str) for name in names):
            return record
        case {} if record == {}:
            return {}
    raise CheckpointError(f"{path} has a damaged record of its network: {str(record)[:80]}")


def check_record(record: Mapping, model: Layer, path) -> None:
    """Raises ValueError, naming both, when a file was made for another network than the model is."""
    if why := why_other(record, model):
        raise ValueError(f"{path} does not fit this model: {why}")


def why_other(record: Mapping, model: Layer) -> str:
    """In which way a record is another network's than the model; empty where it is not.

    Nor where a record, or a model, does not say what network it is: shapes alone are compared then, by others.
    """
    own = record_of(model) if "network" in record else {}
    if "network" not in own:
        return ""
    record, own = settled(record), settled(own)
    names = [name for name in {**record, **own} if name not in FREE and record.get(name) != own.get(name)]
    if names:
        return f"it is for {spelt(record, names)}, this model is {spelt(own, names)}"
    if own["network"] == "smartnet" and poolings(record) != poolings(own):
        there, here = (
            f"image_size {shown(one.get('image_size'))}, with {counted(poolings(one), 'pooling')} between its blocks"
            for one in (record, own)
        )
        return f"it is for {there}, this model is {here}"
    return ""


def spelt(record: Mapping, names) -> str:
    """`preset "paper", scale 1.0` of a record's settings."""
    return ", ".join(f"{name} {shown(record[name])}" if name in record else f"no {name}" for name in names)
