"""Networks that others trained: Caffe's BVLC AlexNet (`.npy`), and torchvision's networks (`.pth`, safetensors)."""

import math
import os
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from minialex.errors import CheckpointError
from minialex.layers.layer import Layer
from minialex.weights.files import load
from minialex.weights.grouped import put, scatter, whole_shape
from minialex.weights.record import check_record, class_names, read_record, why_other
from minialex.weights.seal import VELOCITY
from minialex.weights.unpickle import read_npy, read_state_dict
from minialex.words import a_or_an, are_same, yes_or_no

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
WRAPPED = ("module", "_orig_mod")  # DataParallel's, and torch.compile's


def load_bvlc(model: Layer, path: str | os.PathLike, new_last_layer: bool = False) -> list[str]:
    """Put the weights of Caffe's BVLC AlexNet, a `.npy` file, into a model of preset "bvlc".

    new_last_layer: leave fc8 as it is, to train it for other classes. Returns the names of what was left.
    Raises CheckpointError, naming the file, when it is damaged or tries to run code; ValueError when the model is
    another one. Then nothing is changed.
    """
    return put_pretrained(model, read_bvlc(path), path, "bvlc", new_last_layer)


def load_torchvision(model: Layer, path: str | os.PathLike, new_last_layer: bool = False) -> list[str]:
    """Put torchvision's weights, `.pth` or safetensors, into one of its networks; of AlexNet, preset "torchvision".

    PyTorch is not needed for it. Networks other than AlexNet have its names here as well; auxiliary classifiers that
    the model does without are left out. Arguments, result and errors are those of load_bvlc.
    """
    if not _is_alexnet(model):
        return load_pretrained(model, path, new_last_layer)
    arrays, record = read_torchvision(path), read_record(path)
    return put_pretrained(model, arrays, path, "torchvision", new_last_layer, record)


def load_pretrained(model: Layer, path: str | os.PathLike, new_last_layer: bool | None = None) -> list[str]:
    """Put the weights of any file into a model: a safetensors file or checkpoint of ours, BVLC's, or torchvision's.

    new_last_layer: leave the last layer as it is, for fine-tuning; left out, so it is where the file was made for
    another number of classes, or for other names of classes than `model.classes`. Where it is taken, a model that has
    no names of classes gets those of the file. Returns the names of what was left.
    Errors are those of load_bvlc; a file of ours that records another network is another model's. One without a record
    (`read_record`) is judged by its shapes.
    """
    arrays, preset = read_pretrained(
        path, {name for name, _ in model.named_parameters() + model.named_buffers()}
    )
    if not _is_alexnet(model):
        arrays, preset = for_model(model, arrays), None
    record = read_record(path)
    if new_last_layer is None:
        names = record.get("classes"), class_names(model)
        new_last_layer = _has_other_classes(model, arrays) or (None not in names and not are_same(*names))
    left = put_pretrained(model, arrays, path, preset, new_last_layer, record)
    if not left and record.get("classes") and getattr(model, "classes", None) is None:
        model.classes = record["classes"]
    return left


def read_pretrained(
    path: str | os.PathLike, known: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays of such a file under our names and in our shapes; of others' AlexNets the preset that they are for.

    known: the model's own names. Where they are just the file's, nothing is renamed: a layer may be called "module".
    """
    kind = Path(path).suffix.lower()
    if kind == ".npy":
        return read_bvlc(path), "bvlc"
    arrays = load(path) if kind == ".safetensors" else read_state_dict(path)
    as_it_is = {name: array for name, array in arrays.items() if not name.startswith(VELOCITY)}
    if set(as_it_is) == set(known):
        return as_it_is, None
    if is_torchvisions(arrays):
        return _renamed(arrays, path), "torchvision"
    return own_names(arrays, path), None


def is_torchvisions(arrays) -> bool:
    """Are these names those of torchvision's AlexNet? (VGG's are alike, but its first kernel is smaller.)"""
    return any(
        _unwrapped(name) == "features.0.weight" and array.shape[2:] == (11, 11)
        for name, array in arrays.items()
    )


def own_names(arrays, path) -> dict[str, np.ndarray]:
    """The arrays of a network that has the names there that it has here: ours, or torchvision's.

    What torchvision counts besides (num_batches_tracked) is read over; DenseNet's "norm.1" is "norm1" here.
    """
    found = {}
    for name, array in arrays.items():
        plain = re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", _unwrapped(name))
        if plain in found:
            raise CheckpointError(f"{path} has {plain[:80]} twice, in wrappers")
        if not name.startswith(VELOCITY) and not name.endswith("num_batches_tracked"):
            found[plain] = array
    return found


def _is_alexnet(model) -> bool:
    """Is it an AlexNet, or a network that does not say what it is?"""
    return (getattr(model, "architecture", None) or {}).get("network", "alexnet") in ("alexnet", "lenet5")


def for_model(model, arrays):
    """The same, without auxiliary classifiers that the model does not have."""
    children = model.children()
    return {
        name: array
        for name, array in arrays.items()
        if not name.lower().startswith("aux") or name.partition(".")[0] in children
    }


def read_bvlc(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a BVLC file, {"conv1": [weights, biases], ...}, under our names and in our shapes.

    There, a convolution's weights are (kh, kw, in/groups, out) and a linear layer's (in, out); fc6 reads the maps
    of pool5 pixel by pixel, (h, w, c), where ours reads them map by map, (c, h, w).
    """
    layers = read_npy(path)
    if not isinstance(layers, dict):
        raise CheckpointError(f"{path} should hold a dict of layers, not {a_or_an(type(layers).__name__)}")
    arrays = {}
    for name, layer in layers.items():
        match layer:
            case [np.ndarray() as weight, np.ndarray() as bias]:
                pass
            case {"weights": np.ndarray() as weight, "biases": np.ndarray() as bias}:
                pass
            case _:
                raise CheckpointError(
                    f"{path} should hold two arrays for {name[:80]}, its weights and its biases"
                )
        if weight.ndim not in (2, 4):
            raise CheckpointError(
                f"{path} has weights of shape {weight.shape} for {name[:80]}, not 2 or 4 axes"
            )
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
    """The arrays of torchvision's AlexNet under our names; its shapes are ours.

    A state dict may be inside of another dict, as "state_dict", "model" and the like, and its names may have what
    wrappers put into them: "module.features.0.weight", "features.module.0.weight", "model.features.0.weight".
    """
    return _renamed(
        load(path) if Path(path).suffix.lower() == ".safetensors" else read_state_dict(path), path
    )


def _renamed(arrays, path):
    """torchvision's "features.0.weight" becomes "conv1.weight"."""
    names = {name: _unwrapped(name) for name in arrays}
    if len(set(names.values())) < len(names):
        raise CheckpointError(
            f"{path} has the weights of several networks: its names differ in wrappers alone"
        )
    split = {name: plain.rpartition(".") for name, plain in names.items()}
    return {
        f"{TORCHVISION.get(layer, layer)}.{kind}": arrays[name] for name, (layer, _, kind) in split.items()
    }


def _unwrapped(name: str) -> str:
    """The name without what DataParallel, torch.compile and the like put before a module's or a network's names."""
    parts = [part for part in name.split(".") if part not in WRAPPED]
    at = next((i for i, part in enumerate(parts) if part in ("features", "classifier")), 0)
    return ".".join(parts[at:])


def _has_other_classes(model, arrays):
    """Has a last layer another number of rows there than here?"""
    here = dict(model.named_parameters())
    names = [f"{last}.bias" for last in last_layers(model)]
    return any(n in arrays and arrays[n].shape[:1] != whole_shape(here[n])[:1] for n in names if n in here)


def last_layers(model) -> list[str]:
    """What ends in the classes: the last layer, and that of each head."""
    heads, last = getattr(model, "heads", {}), {}
    for name, _ in model.named_parameters():
        first = name.partition(".")[0]
        last[first if first in heads else ""] = name.rpartition(".")[0]
    return list(last.values())


def put_pretrained(model, arrays, path, preset, new_last_layer, record=()):
    """import_grouped with messages that name the file, and without the last layer if a new one is wanted."""
    new_last_layer = yes_or_no(new_last_layer, "new_last_layer")
    named = model.named_parameters() + model.named_buffers()
    lasts = last_layers(model)
    left = [f"{last}.{kind}" for last in lasts for kind in ("weight", "bias")] if new_last_layer else []
    taken = [(name, p) for name, p in named if name not in left]
    try:
        parts = scatter(taken, {name: array for name, array in arrays.items() if name not in left})
    except ValueError as error:
        hint = (
            f"; new_last_layer=True starts {' and '.join(lasts)} anew"
            if _has_other_classes(model, arrays)
            else ""
        )
        why = why_other(dict(record), model)
        raise ValueError(f"{path} does not fit this model: {why + ': ' * bool(why)}{error}{hint}") from error
    # "paper" has the shapes of "bvlc", but its colours are in another order, and its normalisation is another one.
    own = getattr(model, "preset_name", preset)
    if preset and own != preset:
        raise ValueError(f'{path} does not fit this model: it is for preset="{preset}", not preset="{own}"')
    check_record(dict(record), model, path)
    for (_, p), part in zip(taken, parts, strict=True):
        put(p.value, part)
    return left
