"""A network into a file, and back: `mx.save(model, path)`, `mx.load(model, path)`. Of networks with exits, a part."""

import os
from collections.abc import Mapping
from pathlib import Path

from minialex.errors import CheckpointError
from minialex.layers.layer import Layer
from minialex.models.smart_record import first_of_record
from minialex.weights.files import load_with_metadata
from minialex.weights.files import save as save_arrays
from minialex.weights.grouped import export_grouped, import_grouped
from minialex.weights.reading import shown
from minialex.weights.record import as_metadata, check_record, class_names, record_in, record_of
from minialex.weights.records import TEXT, Maybe, check, whole
from minialex.weights.seal import VELOCITY, is_sealed, unsealed
from minialex.words import are_same, counted

SMARTNET = {"exits": whole(1), "blocks": TEXT, "reads": Maybe(TEXT)}  # what its record says at least


OF_OTHERS = {
    ".pth": "PyTorch", ".pt": "PyTorch", ".h5": "Keras", ".keras": "Keras", ".npz": "NumPy", ".npy": "NumPy",
    ".onnx": "ONNX", ".pkl": "pickle",
}  # fmt: skip


def save(model: Layer, path: str | os.PathLike, exits: int | None = None) -> None:
    """Write a network's weights and buffers as a safetensors file, whole or not at all, with the record of what it is.

    exits: of a SmartNet, only what so many exits need: `mx.models.smartnet(exits=2)` takes it with `mx.load`.
    Raises ValueError for exits that are not there, and for a network that has none.

    >>> import tempfile
    >>> from minialex.models import lenet5
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(lenet5(rng=1), f"{folder}/lenet.safetensors")
    ...     load(model := lenet5(rng=2), f"{folder}/lenet.safetensors")
    >>> bool((model["c1"].weight.value == lenet5(rng=1)["c1"].weight.value).all())
    True
    """
    _check_order("save", model, path)
    if not Path(path).name or os.path.isdir(path):
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder: name a file in it, model.safetensors")
    if (ending := Path(path).suffix.lower()) in OF_OTHERS:
        raise ValueError(
            f"save: {path} is called as a file of {OF_OTHERS[ending]}, and what is written is safetensors: call it "
            f"{Path(path).with_suffix('.safetensors').name}"
        )
    if exits is not None:
        if not _is_smartnet(model):
            raise ValueError(f"save: exits={exits!r} is for a SmartNet; {model} is saved whole")
        model = model.first(exits)
    save_arrays(path, export_grouped(model), as_metadata(record_of(model)))


def load(model: Layer, path: str | os.PathLike | None = None) -> None:
    """Put what `save` has written into a network like that one, in place; it keeps its devices and its dtype

    Of a SmartNet's file with more exits than the model has, those that it has are taken. A model that has no names of
    classes gets those of the file.
    Raises ValueError for a file of another network, or of other classes, naming what differs first; CheckpointError for
    what is damaged or no such file (`mx.weights.load_pretrained` reads those of other programs); FileNotFoundError.
    """
    _check_order("load", model, path)
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"{path} is a folder: name the file in it, {os.path.join(path, 'model.safetensors')}"
        )
    try:
        arrays, texts = load_with_metadata(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; mx.weights.load_pretrained reads files of other programs") from error
    if is_sealed(texts) or any(name.startswith(VELOCITY) for name in arrays):  # which checkpoints alone have
        unsealed(path, arrays, texts)
    record = record_in(texts, path)
    arrays = {name: array for name, array in arrays.items() if not name.startswith(VELOCITY)}
    if _is_smartnet(model) and record.get("network") == "smartnet":
        record, arrays = _part(model, record, arrays, path)
    check_record(record, model, path)
    known, own = record.get("classes"), class_names(model)
    if known and own is not None and not are_same(known, own):
        raise ValueError(
            f"{path} does not fit {model}: its classes are {shown(known)}, the model's {shown(own)}"
        )
    try:
        import_grouped(model, arrays)
    except ValueError as error:
        raise ValueError(f"{path} does not fit {model}: {error}") from error
    if known and getattr(model, "classes", None) is None:
        model.classes = known


def _check_order(function, model, path):
    if path is None and isinstance(model, Layer):
        raise TypeError(f"{function}: which file? mx.{function}(model, path)")
    if path is None and isinstance(model, str | os.PathLike):
        raise TypeError(
            f"load: weights are put into a network, which comes first: mx.load(model, {str(model)!r})"
        )
    if isinstance(path, Layer):
        raise TypeError(f"{function}: the model comes first, then the path: mx.{function}(model, {model!r})")
    if not isinstance(model, Layer):
        made = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise TypeError(f"{function}: the model is {made}, not a network: mx.{function}(model, {path!r})")


def _is_smartnet(model: Layer) -> bool:
    return (getattr(model, "architecture", None) or {}).get("network") == "smartnet"


def _part(model, record: Mapping, arrays: Mapping, path) -> tuple[Mapping, Mapping]:
    """Of a SmartNet's file what the model's exits need. Raises ValueError where they are too few, or cut otherwise."""
    exits = len(model.exits)
    try:
        check(record, SMARTNET, "it")
        if (there := record["exits"]) > exits:
            record = first_of_record(record, exits)
    except ValueError as error:
        raise CheckpointError(f"{path} has a damaged record of its network ({error})") from error
    if there < exits:
        raise ValueError(
            f"{path} has {counted(there, 'exit')}, this network has {exits}: load it into smartnet("
            f"exits={there}, ...), to which extend() adds one, or unload({there}) first"
        )
    if there > exits:
        known = {name for name, _ in model.named_parameters() + model.named_buffers()}
        arrays = {name: array for name, array in arrays.items() if name in known}
    cut, own = record.get("reads"), model.architecture["reads"]
    if cut is not None and cut != own:
        raise ValueError(
            f"{path} was cut, by compact(), and {model} was not, or in another way: make it with "
            f"smartnet(..., reads=mx.weights.read_record({str(path)!r})['reads'])"
        )
    if cut is None and own is not None:
        raise ValueError(
            f"{model} was cut, by compact(), and {path} was not: load it into a smartnet(...) that was not cut"
        )
    return record, arrays
