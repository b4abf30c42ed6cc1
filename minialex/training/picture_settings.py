"""The settings of a run on pictures: what they are unless asked otherwise, what --small makes of them, what may change.

What a run's numbers hang on is in its settings, and is kept in its folder. What is asked for goes first, then what the
resumed run was, then what pretrained weights say of themselves, then what holds for small networks, then DEFAULTS.
"""

from collections.abc import Mapping
from pathlib import Path

from minialex.models.alexnet import PRESETS
from minialex.models.names import SMALL_ALEXNET
from minialex.training import exit_runs
from minialex.training.command_line import named, settle
from minialex.training.networks import (
    ALEXNETS,
    check_device,
    check_sizes,
    pictures_wanted,
    pixels_of_others,
    side_for,
    which_network,
)
from minialex.words import check_choice

DEFAULTS = {
    "data": None,  # drawn
    "dummy": None,
    "ground_truth": None,
    "class_ids": None,
    "pretrained": None,
    "arch": "alexnet",
    "small": False,
    "pixels": None,
    "preset": "paper",
    "epochs": 90,
    "batch_size": 128,
    "lr": 0.01,
    "momentum": 0.9,
    "wd": 5e-4,
    "lr_scheduler": "plateau",
    "warmup": 5.0,  # epochs, of cosine
    "seed": 0,
    "limit": None,
    "max_bad": 0,
    "freeze": "",
    "look": None,
    "checkpoint_every": 1000,
    "threads": None,
    "width": 1.0,
    "side": 256,
    "image_size": None,
    "scale": None,
    "init": "preset",
    **exit_runs.DEFAULTS,
}
# A small version goes with few pictures: more steps an epoch, and a rate that goes down in fewer epochs.
RECIPE_OF_SMALL = {"epochs": 30, "batch_size": 50, "lr_scheduler": "cosine", "warmup": 0.0}
# AlexNet's is a quarter as wide, from He's initial weights, on pixels divided by 64. The recipe of 2012 needs its own
# size of network, and stalls on this one.
SIZES_OF_SMALL_ALEXNET = {**SMALL_ALEXNET, "side": 104}
# Drawn pictures are for small versions, a quarter as wide.
DEFAULTS_DRAWN = {"width": 0.25}
DRAWN_SIDE = SIZES_OF_SMALL_ALEXNET["side"]

MAY_CHANGE = {"epochs", "lr", "momentum", "wd", "lr_scheduler", "max_bad", "checkpoint_every", "threads"}
MAY_CHANGE |= {"data", "ground_truth", "class_ids"}  # folders move; that the classes are the same is checked
MAY_CHANGE |= {"look", *exit_runs.MAY_CHANGE}
ARCHITECTURE = ("arch", "small", "pixels", "width", "image_size", "exits", *ALEXNETS)


def absolute(path) -> str:
    """For argparse: the same place wherever the run is resumed from."""
    return str(Path(named(path)).expanduser().absolute())


def spelt_for(args) -> str:
    """Whose run is wanted, for messages."""
    return args.arch if args.arch not in (None, "alexnet") else "AlexNet"


def whose(args, path, arrays, known: Mapping) -> dict:
    """The settings that say which network weights are for, after a check of what is asked for."""
    settings = which_network(path, arrays, known, args.arch, args.small)
    check_sizes(path, arrays, known, settings["arch"], asked_of(args))
    return {**settings, "pixels": pixels_of_others(known, **settings)}


def of_other_pictures(of_run: Mapping, asked: Mapping) -> Mapping:
    """What a run says, for the pictures that are asked for: the text files of others are not theirs."""
    if not of_run or "data" not in asked or asked["data"] == of_run.get("data"):
        return of_run
    if of_run.get("dummy"):
        raise ValueError(
            f"that run had random numbers in place of pictures (--dummy): {asked['data']} has other classes"
        )
    return {name: value for name, value in of_run.items() if name not in ("ground_truth", "class_ids")}


def asked_of(args) -> dict:
    """The settings that are asked for on the command line."""
    asked = {name: value for name in DEFAULTS if (value := getattr(args, name, None)) is not None}
    if args.pretrained:
        asked["pretrained"] = absolute(args.pretrained)
    return asked


def defaults_for(args, known: Mapping) -> dict:
    """What holds where nothing is asked for. known: what a run or pretrained weights say: the network has their size.

    Raises ValueError for options that the network does not have.
    """
    drawn = not (args.data or args.dummy)
    arch = args.arch or known.get("arch", "alexnet")
    exit_runs.check_options(vars(args), arch)
    if known.get("arch", arch) != arch:
        known = {}
    small = bool(args.small or known.get("small", drawn))
    defaults = {**DEFAULTS, "arch": arch, "small": small}
    if small or drawn:
        defaults |= RECIPE_OF_SMALL
    if drawn and small:
        defaults |= DEFAULTS_DRAWN
    if arch == "smartnet":
        defaults["lr_scheduler"] = "cosine"
    else:
        defaults = {name: value for name, value in defaults.items() if name not in exit_runs.DEFAULTS}
    if arch == "alexnet":
        if small:
            defaults |= sizes_of_small(args.preset or known.get("preset") or defaults["preset"])
    else:
        check_others(args, arch)
        size = known.get("image_size")
        defaults = {name: value for name, value in defaults.items() if name not in ALEXNETS}
        defaults |= {"image_size": size}
        defaults["side"] = side_for(defaults)
    kept = {name: known[name] for name in (*ARCHITECTURE, "side") if name in known and name in defaults}
    return {**defaults, **kept}


def sizes_of_small(preset: str) -> dict:
    """What --small says of an AlexNet. A preset that divides its pixels itself keeps its scale.

    >>> sizes_of_small("torchvision")["scale"], sizes_of_small("paper")["scale"]
    (None, 0.015625)
    """
    check_choice(preset, PRESETS, "preset")
    divided = PRESETS[preset].input.scale != 1.0
    return {**SIZES_OF_SMALL_ALEXNET, **({"scale": None} if divided else {})}


def check_others(args, arch: str) -> None:
    """Raises ValueError where another network is asked for what AlexNet has."""
    if args.preset:
        raise ValueError(f"--preset {args.preset} says which AlexNet; {arch} has no presets: leave it out")
    if args.init:
        raise ValueError(
            f"--init {args.init} is for AlexNet; {arch} draws its first weights as its paper has it: leave it out"
        )
    if args.scale:
        raise ValueError(
            f"--scale {args.scale:g} is for AlexNet's pixels; {arch} has its own, from 0 to 1: leave it out"
        )
    check_device(arch, args.devices)


def settings_for(args, asked: Mapping, of_run: Mapping | None, known: Mapping, may_change) -> dict:
    """A run's settings: see `settle`; with the squares that go with the size of the crops, and after a check of sizes.

    asked: what `asked_of` gives, or less. known: what a run or pretrained weights say, see `defaults_for`.
    Raises ValueError for what cannot be.
    """
    of_run = of_other_pictures(of_run, asked)
    defaults = defaults_for(args, known)
    settings = settle(asked, of_run, defaults, may_change)
    before = {**defaults, **(of_run or {})}
    other = settings.get("image_size") != before.get("image_size")
    # Weights that are tried, and trained no further, know the mean picture of their own squares.
    if other and (not args.evaluate or settings["image_size"] > settings["side"]):
        settings["side"] = side_for(settings)
    pictures_wanted(settings)
    return settings
