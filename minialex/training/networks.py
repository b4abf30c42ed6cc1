"""The network of a run: which one weights are for, how settings make it, what it wants, what is frozen of it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from minialex.data.classes import a_few
from minialex.layers.batch_norm import BatchNorm2D
from minialex.layers.model import Model
from minialex.layers.sequential import all_layers
from minialex.models.alexnet import PRESETS, PictureInput, alexnet, scaled, side_of_pool5
from minialex.models.names import SMALL_ALEXNET, SMALL_NETWORKS, network, rebuilt, sketch
from minialex.training.runs import PIXELS, weight_file
from minialex.weights import check_record, import_grouped, read_record
from minialex.weights.foreign import for_model, last_layers
from minialex.weights.recognise import first_difference, nearest, recognised
from minialex.words import did_you_mean

ALEXNETS = ("preset", "init", "scale")  # settings that no other network has
DEFAULTS = {
    "arch": "alexnet",
    "small": False,
    "pixels": None,
    "width": 1.0,
    "image_size": None,
    "init": "preset",
}
DEFAULTS |= {"scale": None, "seed": 0}  # what settings say where they say nothing
WITH_EXITS = ("googlenet", "inception_v3")


def which_network(path, arrays, known: Mapping, asked: str | None = None, small: bool | None = None) -> dict:
    """Which network weights are for, as settings: "arch" and "small". They say it, or names and kernels tell.

    known: the settings of their run, those in their record among them. asked, small: --arch and --small.
    Raises ValueError where another is asked for: which it is, and what differs first; and where nothing tells.

    >>> from minialex.models import zfnet
    >>> arrays = {name: p.value for name, p in zfnet(width=0.01).named_parameters()}
    >>> which_network("mine", arrays, {})
    {'arch': 'zfnet', 'small': False}
    >>> which_network("mine", arrays, {}, "alexnet")
    Traceback (most recent call last):
    ValueError: mine is for zfnet, not for alexnet: conv1.weight has a kernel of 7x7, that of alexnet 11x11
    """
    if "arch" in known or "preset" in known:  # a run of before, of an AlexNet, has no "arch"
        found = known.get("arch", "alexnet"), known.get("small", False)
    else:
        found = _as_asked(arrays, asked, small) or recognised(arrays)
    if found and found[0] == "alexnet" and "small" not in known:
        found = "alexnet", bool(small)  # small or not, it has the same layers; check_sizes compares how wide
    if found and asked in (None, found[0]) and small in (None, found[1]):
        return {"arch": found[0], "small": found[1]}
    if not found and asked is None:
        near = nearest(arrays)
        why = first_difference(arrays, *near)
        raise ValueError(
            f"{path} has the weights of no network that is known here: its first arrays are "
            f"{a_few(list(arrays)[:3])}, and for {spelt(*near)}, the nearest, {why}"
        )
    wanted = asked or found[0], bool(small)
    network(*wanted)  # raises if there is none
    why = first_difference(arrays, *wanted) or "its maps are others"
    if found == ("alexnet", False) and wanted == ("alexnet", True):
        why = "it was trained without --small; leave that out"
    is_for = f"is for {spelt(*found)}, not" if found else "is not"
    raise ValueError(f"{path} {is_for} for {spelt(*wanted)}: {why}")


def _as_asked(arrays, asked, small):
    """What is asked for, if arrays are of that: two networks may differ in their numbers of maps alone."""
    if asked is None:
        return None
    network(asked)
    sizes = [False, True] if small is None and asked in SMALL_NETWORKS else [bool(small)]
    return next(((asked, size) for size in sizes if not first_difference(arrays, asked, size)), None)


def spelt(arch: str, small: bool, preset: str | None = None, **others) -> str:
    """Which network it is, in short: its settings."""
    return f"preset {preset}" if arch == "alexnet" and preset else f"{arch}, small" if small else arch


def check_sizes(path, arrays: Mapping, known: Mapping, arch: str, asked: Mapping) -> None:
    """Raises ValueError where other sizes are asked for than weights have, saying which.

    known: what weights say of themselves. asked: settings that are asked for; --small says AlexNet's.

    >>> from minialex.weights import export_grouped
    >>> arrays = export_grouped(alexnet(2, "cpu", width=0.0625, image_size=67))
    >>> check_sizes("mine", arrays, {"preset": "paper"}, "alexnet", {"width": 0.25})
    Traceback (most recent call last):
    ValueError: mine has 6 maps in conv1, and with --width 0.25 there would be 24: leave that out, it is for ...
    """
    asked = dict(asked)
    if arch == "alexnet" and asked.get("small") and not known.get("small"):
        asked = {**{name: SMALL_ALEXNET[name] for name in ("width", "image_size")}, **asked}
    end = "leave that out, it is for networks with new weights"

    def option(name):
        is_small = asked.get("small") and arch == "alexnet" and asked[name] == SMALL_ALEXNET[name]
        return f"--{name.replace('_', '-')} {asked[name]:g}" + " (of --small)" * bool(is_small)

    if arch == "alexnet":
        preset = PRESETS[asked.get("preset") or known.get("preset") or "paper"]
        maps, fc6 = (np.shape(arrays.get(name, ())) for name in ("conv1.bias", "fc6.weight"))
        if "width" in asked and maps and (wanted := scaled(preset.maps[0], asked["width"])) != maps[0]:
            raise ValueError(
                f"{path} has {maps[0]} maps in conv1, and with {option('width')} there would be {wanted}: {end}"
            )
        if asked.get("image_size") and maps and len(fc6) == 2:
            side = side_of_pool5(asked["image_size"], preset.conv1)
            last = len(arrays["conv5.bias"]) if "conv5.bias" in arrays else 0
            if last * side**2 != fc6[1]:
                raise ValueError(
                    f"{path} has an fc6 that reads {fc6[1]:,} numbers, and with {option('image_size')} there would be "
                    f"{last * side**2:,}: {end}"
                )
    for name in ("width", "scale"):
        if asked.get(name) is not None and known.get(name) not in (None, asked[name]):
            raise ValueError(f"{path} has {name} {known[name]:g}, and {option(name)} asks for another: {end}")


def make_network(
    settings: Mapping, num_classes: int, devices: str, record: Mapping | None = None, exits: bool = True
) -> Model:
    """The network of a run's settings. record: of weights; the network is made as it says, its dialect, too.

    exits: False for one without classifiers on the way, where no record says.
    Raises ValueError for two devices, where it has no towers, and for a record of one that reads no colours.
    """
    size = {name: settings[name] for name in ("width", "image_size")}
    arch = settings["arch"]
    if arch == "alexnet":
        own = {name: settings[name] for name in ALEXNETS}
        return alexnet(num_classes, devices, rng=settings["seed"], **size, **own)
    check_device(arch, devices)
    if record and "network" in record:
        model = rebuilt(record, num_classes=num_classes, devices=devices)
        if model.picture_shape[0] != 3:
            raise ValueError(
                f"{model} of these weights wants pictures {model.picture_shape}; photographs have 3 colours"
            )
    else:
        options = {} if exits or arch not in WITH_EXITS else {"auxiliaries": False}
        if arch == "smartnet":
            options["exits"] = settings.get("exits")
        make = network(arch, settings["small"])
        model = make(num_classes=num_classes, rng=settings["seed"], devices=devices, **size, **options)
    if settings.get("pixels"):
        model.input = replace(model.input, mean=(0.5,) * 3, std=(0.5,) * 3)
        model.architecture["pixels"] = settings["pixels"]
    return model


def with_weights(path, arrays: Mapping, settings: Mapping, num_classes: int, devices: str) -> Model:
    """A network with weights, to be used as it is. Raises ValueError, naming the file, for weights of another one."""
    record = read_record(weight_file(path))
    model = make_network(settings, num_classes, devices, record, exits=False)
    check_record(record, model, path)
    try:
        import_grouped(model, for_model(model, arrays))
    except ValueError as error:
        raise ValueError(f"{path} does not fit {spelt(**settings)}: {error}") from error
    return model


def check_device(arch: str, devices: str) -> None:
    """Raises ValueError for two of them, where the network has no towers."""
    if arch != "alexnet" and "," in devices:
        raise ValueError(f"--devices {devices} is for AlexNet's towers; {arch} has none: name one device")


def pixels_of_others(known: Mapping, arch: str, small: bool) -> str | None:
    """The setting "pixels", for weights of which nothing but the network is known."""
    return known.get("pixels") if known else PIXELS if arch in WITH_EXITS and not small else None


def pictures_wanted(settings: Mapping) -> PictureInput:
    """What pictures the network of these settings wants; image_size may be left out.

    Raises ValueError for pictures that are too small for it, or a network that there is not.
    """
    if settings["arch"] == "alexnet":
        preset = PRESETS[settings["preset"]]
        wanted = replace(preset.input, crop=settings.get("image_size") or preset.input.crop)
        side_of_pool5(wanted.crop, preset.conv1)
        return wanted
    return sketch(settings["arch"], settings["small"], settings.get("image_size")).input


def side_for(settings: Mapping, wanted: PictureInput | None = None) -> int:
    """The squares of which the network gets crops: wider than these as 256 pixels are than 224, or AlexNet's 227.

    wanted: the pictures that it wants; left out, as its settings say.

    >>> [side_for({"arch": arch, "small": False}) for arch in ("vgg16", "inception_v3")]
    [256, 342]
    >>> side_for({"arch": "vgg16", "small": True})
    37
    """
    usual = PRESETS[settings["preset"]].input.crop if settings["arch"] == "alexnet" else 224
    return round(256 * (wanted or pictures_wanted(settings)).crop / usual)


def freeze(model: Model, names: str) -> set[str]:
    """Leave layers as they are, with all that is inside of them; the names of their parameters.

    names: of layers, "conv1,layer1.0". Batch normalisation there works as in evaluation, and keeps its running numbers.
    Raises ValueError for a layer that there is not, or that has no parameters, and when all layers are named.

    >>> from minialex.models import resnet
    >>> sorted(freeze(resnet(8, 3, preset="cifar", width=0.1), "conv1, layer1.0.conv1"))
    ['conv1.weight', 'layer1.0.conv1.weight']
    """
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    parameters = dict.fromkeys(name for name, _ in model.named_parameters())

    def inside(name):
        return any(name.startswith(f"{layer}.") for layer in wanted)

    if unknown := sorted(layer for layer in wanted if not any(p.startswith(f"{layer}.") for p in parameters)):
        known = dict.fromkeys(name.split(".")[0] for name in parameters)
        deep = next((name.rpartition(".")[0] for name in parameters if name.count(".") > 1), None)
        inner = {name.rpartition(".")[0] for name in parameters}
        meant = did_you_mean(unknown[0], [*known, *sorted(inner)]) if len(unknown) == 1 else ""
        raise ValueError(
            f"--freeze: no layer is called {', '.join(unknown)}{meant}; there are {', '.join(known)}"
            + (f", and what is inside of them, as {deep}" if deep else "")
        )
    frozen = {name for name in parameters if inside(name)}
    if frozen == set(parameters):
        raise ValueError("--freeze: with all layers frozen there is nothing to train")
    names_of = {id(buffer): name for name, buffer in model.named_buffers()}
    for layer in all_layers(model):
        if isinstance(layer, BatchNorm2D) and inside(names_of[id(layer.running_mean)]):
            layer.frozen = True
    return frozen


def check_batches(settings: Mapping, count: int) -> None:
    """Raises ValueError where an epoch of `count` pictures ends in a batch of one, and the network cannot be trained on
    it: batch normalisation of maps of one pixel has one number there."""
    if settings["arch"] == "alexnet" or (count - 1) % settings["batch_size"]:
        return
    thin = sketch(settings["arch"], settings["small"], settings["image_size"]).train()
    freeze(thin, settings.get("freeze", ""))  # what is frozen does not normalise by the batch
    try:
        thin.forward(np.zeros((1, *thin.picture_shape), np.float32))
    except ValueError as error:
        raise ValueError(
            f"{count} pictures in batches of {settings['batch_size']} leave one alone, which is too few for "
            f"{settings['arch']}: choose another --batch-size ({error})"
        ) from error


def first_kernels(arrays: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """The name and the kernels of the convolution that reads the picture's three colours."""
    return next((name, array) for name, array in arrays.items() if array.ndim == 4 and array.shape[1] == 3)


def outputs_in(path, arrays: Mapping[str, np.ndarray], arch: str, small: bool) -> int:
    """How many classes weights know. Raises ValueError where the last layer is not there."""
    model = sketch(arch, small)
    last = last_layer_in(arrays, model)
    if last is None:
        raise ValueError(f"{path} has no layer {last_layers(model)[0]}, in which {arch} ends")
    return len(arrays[f"{last}.bias"])


def last_layer_in(arrays: Mapping[str, np.ndarray], model: Model) -> str | None:
    """The layer in which weights of such a network end; of a part of a SmartNet that of an earlier exit. None: none.

    >>> last_layer_in({"exit1.fc.bias": np.zeros(2)}, sketch("smartnet"))
    'exit1.fc'
    """
    return next((layer for layer in last_layers(model) if f"{layer}.bias" in arrays), None)
