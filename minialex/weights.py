"""Parameters in and out: whole arrays under their names, on the host, whatever the devices; as safetensors files."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minialex.device import device_of, to_numpy, transfer
from minialex.errors import CheckpointError
from minialex.layers.layer import Array, Layer, Parameter
from minialex.unpickle import read_npy, read_torch


def export_grouped(model: Layer, grads: bool = False) -> dict[str, np.ndarray]:
    """The parameters (or their gradients) by name, as NumPy arrays: copies, whole, whatever the devices.

    >>> from minialex.layers import Linear
    >>> {name: array.shape for name, array in export_grouped(Linear(3, 2)).items()}
    {'weight': (2, 3), 'bias': (2,)}
    """
    parameters = model.parameters()
    if grads and any(p.grad is None for p in parameters):
        missing = next(p.name for p in parameters if p.grad is None)
        raise ValueError(f"export_grouped: {missing} has no gradient yet: call backward first")
    return gather(parameters, [p.grad if grads else p.value for p in parameters])


def import_grouped(model: Layer, arrays: Mapping[str, np.ndarray]) -> None:
    """Put whole arrays into the model's parameters, in place, in their dtype.

    Raises ValueError, before anything is changed, when a name is missing or unknown, or a shape is another one.
    """
    parameters = model.parameters()
    for p, part in zip(parameters, scatter(parameters, arrays), strict=True):
        put(p.value, part)


def gather(parameters: list[Parameter], values: list[Array]) -> dict[str, np.ndarray]:
    """One array for each parameter -> whole arrays on the host, by name; the towers' parts are put together."""
    whole = {}
    for p, value in zip(parameters, values, strict=True):
        value = to_numpy(value)
        target = whole.setdefault(p.name, np.empty(whole_shape(p), value.dtype))
        target[rows_of(p)] = value
    return whole


def scatter(parameters: list[Parameter], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Whole arrays by name -> the one, or the part, that belongs to each parameter; names and shapes must fit."""
    wanted = {p.name: whole_shape(p) for p in parameters}
    problems = [f"{name} is missing" for name in wanted if name not in arrays]
    problems += [f"{name} is unknown here" for name in arrays if name not in wanted]
    problems += [
        f"{name} has shape {arrays[name].shape}, the model {shape}"
        for name, shape in wanted.items()
        if name in arrays and arrays[name].shape != shape
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError("these arrays belong to another model: " + "; ".join(problems[:4]) + more)
    return [arrays[p.name][rows_of(p)] for p in parameters]


def whole_shape(p: Parameter) -> tuple[int, ...]:
    """The shape of the whole of which a parameter may be one tower's part."""
    return p.value.shape if p.part is None else (p.part[2], *p.value.shape[1:])


def rows_of(p: Parameter):
    """Where a parameter's values lie in the whole."""
    return ... if p.part is None else slice(*p.part[:2])


def put(target: Array, values: np.ndarray) -> None:
    """Copy host values into an array on any device, in that array's dtype."""
    device = device_of(target)
    with device:
        target[...] = transfer(np.ascontiguousarray(values, dtype=target.dtype), device)


# ---- files -----------------------------------------------------------------------------------------


def save(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write arrays as a safetensors file: whole or not at all."""
    from safetensors.numpy import save as to_bytes

    # A non-contiguous array would be saved scrambled, without a word. (np.ascontiguousarray gives a 0-d array an axis.)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_whole(path, to_bytes(contiguous, metadata=metadata))


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name. Raises CheckpointError, naming the file, if it is damaged."""
    return load_with_metadata(path)[0]


def load_with_metadata(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and the texts in its header."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error})") from error
    except TypeError as error:
        raise CheckpointError(f"{path} has numbers of a kind that NumPy does not know ({error})") from error


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that at any moment either the old one or the new one is there: never a half one.

    Raises OSError, naming the file, when that fails: the old one stays, and nothing else is left behind.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


# ---- networks that others trained ------------------------------------------------------------------

# Where torchvision's AlexNet keeps what is conv1 to fc8 here.
TORCHVISION = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}


def load_bvlc(model: Layer, path: str | os.PathLike, new_last_layer: bool = False) -> list[str]:
    """Put the weights of Caffe's BVLC AlexNet, a `.npy` file, into a model of preset "bvlc".

    new_last_layer: leave fc8 as it is, to train it for other classes. Returns the names of what was left.
    Raises CheckpointError, naming the file, when it is damaged or tries to run code; ValueError when the model is
    another one. Then nothing is changed.
    """
    return _put_pretrained(model, read_bvlc(path), path, "bvlc", new_last_layer)


def load_torchvision(model: Layer, path: str | os.PathLike, new_last_layer: bool = False) -> list[str]:
    """Put the weights of torchvision's AlexNet, `.pth` or safetensors, into a model of preset "torchvision".

    PyTorch is not needed for it. Arguments, result and errors are those of load_bvlc.
    """
    return _put_pretrained(model, read_torchvision(path), path, "torchvision", new_last_layer)


def load_pretrained(model: Layer, path: str | os.PathLike) -> list[str]:
    """Put the weights of any file into a model: a safetensors file or checkpoint of ours, BVLC's, or torchvision's.

    Where the file was made for another number of classes, the last layer stays as it is, for fine-tuning. Returns the
    names of what was left. Errors are those of load_bvlc.
    """
    arrays, preset = read_pretrained(path)
    return _put_pretrained(model, arrays, path, preset, new_last_layer=_has_other_classes(model, arrays))


def read_pretrained(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays of such a file under our names and in our shapes, and the preset that they are for, if it says so."""
    kind = Path(path).suffix.lower()
    if kind == ".npy":
        return read_bvlc(path), "bvlc"
    if kind != ".safetensors":
        return read_torchvision(path), "torchvision"
    arrays = load(path)
    if "features.0.weight" in arrays:
        return _renamed(arrays), "torchvision"
    return {name: array for name, array in arrays.items() if not name.startswith("velocity:")}, None


def read_bvlc(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a BVLC file, {"conv1": [weights, biases], ...}, under our names and in our shapes.

    There, a convolution's weights are (kh, kw, in/groups, out) and a linear layer's (in, out); fc6 reads the maps
    of pool5 pixel by pixel, (h, w, c), where ours reads them map by map, (c, h, w).
    """
    layers = read_npy(path)
    if not isinstance(layers, dict):
        raise CheckpointError(f"{path} should hold a dict of layers, not a {type(layers).__name__}")
    arrays = {}
    for name, layer in layers.items():
        match layer:
            case [np.ndarray() as weight, np.ndarray() as bias]:
                pass
            case {"weights": np.ndarray() as weight, "biases": np.ndarray() as bias}:
                pass
            case _:
                raise CheckpointError(f"{path} should hold two arrays for {name}, its weights and its biases")
        if weight.ndim not in (2, 4):
            raise CheckpointError(f"{path} has weights of shape {weight.shape} for {name}, not 2 or 4 axes")
        arrays[f"{name}.weight"] = weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T
        arrays[f"{name}.bias"] = bias
    if {"conv5.bias", "fc6.weight"} <= set(arrays) and arrays["fc6.weight"].ndim == 2:
        arrays["fc6.weight"] = _map_by_map(arrays["fc6.weight"], arrays["conv5.bias"].size, path)
    return arrays


def _map_by_map(weight, maps, path):
    """fc6's weights (out, h*w*c) -> (out, c*h*w)"""
    units, inputs = weight.shape
    side = math.isqrt(inputs // max(maps, 1))
    if side * side * maps != inputs:
        raise CheckpointError(
            f"{path}: fc6 reads {inputs} numbers; they are not {maps} square maps from conv5"
        )
    return weight.reshape(units, side, side, maps).transpose(0, 3, 1, 2).reshape(units, inputs)


def read_torchvision(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of torchvision's AlexNet under our names; its shapes are ours."""
    arrays = load(path) if Path(path).suffix.lower() == ".safetensors" else read_torch(path)
    if not isinstance(arrays, dict) or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise CheckpointError(f"{path} should hold a state dict: one array for each name")
    return _renamed(arrays)


def _renamed(arrays):
    """torchvision's "features.0.weight" becomes "conv1.weight"."""
    split = {name: name.rpartition(".") for name in arrays}
    return {
        f"{TORCHVISION.get(layer, layer)}.{kind}": arrays[name] for name, (layer, _, kind) in split.items()
    }


def _has_other_classes(model, arrays):
    """Has the last layer another number of rows there than here?"""
    last = model.parameters()[-1]
    return last.name in arrays and arrays[last.name].shape[:1] != whole_shape(last)[:1]


def _put_pretrained(model, arrays, path, preset, new_last_layer):
    """import_grouped with messages that name the file, and without the last layer if a new one is wanted."""
    parameters = model.parameters()
    last = parameters[-1].name.rpartition(".")[0]
    left = [f"{last}.weight", f"{last}.bias"] if new_last_layer else []
    taken = [p for p in parameters if p.name not in left]
    try:
        parts = scatter(taken, {name: array for name, array in arrays.items() if name not in left})
    except ValueError as error:
        hint = f"; new_last_layer=True starts {last} anew" if _has_other_classes(model, arrays) else ""
        raise ValueError(f"{path} does not fit this model: {error}{hint}") from error
    # "paper" has the shapes of "bvlc", but its colours are in another order, and its normalisation is another one.
    own = getattr(model, "preset_name", preset)
    if preset and own != preset:
        raise ValueError(f'{path} does not fit this model: it is for preset="{preset}", not preset="{own}"')
    for p, part in zip(taken, parts, strict=True):
        put(p.value, part)
    return left
