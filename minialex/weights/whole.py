"""A network into a file, and back: `mx.save(model, path)`, `mx.load(model, path)`. Of networks with exits, a part."""

import os

from minialex.errors import CheckpointError
from minialex.layers.layer import Layer
from minialex.models.smart_grid import first_of_record
from minialex.weights.files import load_with_metadata
from minialex.weights.files import save as save_arrays
from minialex.weights.grouped import export_grouped, import_grouped
from minialex.weights.record import as_metadata, check_record, record_in, record_of
from minialex.weights.seal import VELOCITY, is_sealed, unsealed


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
    if exits is not None:
        if not hasattr(model, "first"):
            raise ValueError(f"save: exits={exits!r} is for a SmartNet; {model} is saved whole")
        model = model.first(exits)
    save_arrays(path, export_grouped(model), as_metadata(record_of(model)))


def load(model: Layer, path: str | os.PathLike) -> None:
    """Put what `save` has written into a network like that one, in place; it keeps its devices and its dtype

    Of a SmartNet's file with more exits than the model has, those that it has are taken.
    Raises ValueError for a file of another network, naming what differs first; CheckpointError for what is damaged or
    no such file (`mx.weights.load_pretrained` reads those of other programs); FileNotFoundError.
    """
    try:
        arrays, texts = load_with_metadata(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; mx.weights.load_pretrained reads files of other programs") from error
    if is_sealed(texts):
        unsealed(path, arrays, texts)
    record = record_in(texts, path)
    known = {name for name, _ in model.named_parameters() + model.named_buffers()}
    if hasattr(model, "first") and record.get("network") == "smartnet":
        exits = len(model.exits)
        if record.get("exits", exits) > exits:
            record = first_of_record(record, exits)
            arrays = {name: array for name, array in arrays.items() if name in known}
        elif record.get("exits", exits) < exits:
            raise ValueError(
                f"{path} has {record['exits']} exits, this network has {exits}: load it into smartnet("
                f"exits={record['exits']}, ...), to which extend() adds one, or unload({record['exits']}) first"
            )
        if (cut := record.get("reads")) and cut != model.architecture["reads"]:
            raise ValueError(
                f"{path} was cut, by compact(), and {model} was not, or in another way: make it with "
                f"smartnet(..., reads=mx.weights.read_record({str(path)!r})['reads'])"
            )
    check_record(record, model, path)
    arrays = {name: array for name, array in arrays.items() if not name.startswith(VELOCITY)}
    try:
        import_grouped(model, arrays)
    except ValueError as error:
        raise ValueError(f"{path} does not fit {model}: {error}") from error
