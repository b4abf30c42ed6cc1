"""What a run of the programs knows of a SmartNet's exits: its options, how it goes, and weights with fewer or more."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from minialex.models.names import network
from minialex.models.smart_record import first_of_record
from minialex.training.command_line import amount, number, share, whole_number
from minialex.training.exits import check_epochs, exit_by_exit, first_epoch, turns_of
from minialex.training.networks import spelt
from minialex.training.schedules import Constant, make_schedule
from minialex.weights import read_record
from minialex.weights.foreign import put_pretrained
from minialex.words import counted

# Settings that no other network has. exits_kept: how many are another run's, which stay as they are.
DEFAULTS = {"exits": None, "penalty": 0.0, "leave_at": None, "budget": None, "exits_kept": None}
MAY_CHANGE = {"penalty", "leave_at", "budget"}
SCHEDULES = ("constant", "cosine")


def add_exits(parser: argparse.ArgumentParser) -> None:
    """The options of SmartNet."""
    add = parser.add_argument_group("smartnet, which is trained exit by exit").add_argument
    add(
        "--exits",
        type=whole_number(1),
        metavar="N",
        help="so many of them (default: all: 4; --small 3); more than --pretrained has: those that it has stay as they "
        "are",
    )
    add(
        "--penalty",
        type=number,
        metavar="P",
        help="on its open gates, by what their connections cost: those of little use close, and are cut out at the end "
        "(default: 0)",
    )
    add(
        "--leave-at",
        type=share,
        metavar="P",
        help="at the end, and with -e: pictures leave at the first exit that gives a class this probability, 0 to 1",
    )
    add(
        "--budget",
        type=amount,
        metavar="N",
        help="the same with the probability at which a picture costs so many multiply-adds on average: 20M, 20e6",
    )


def check_options(asked: Mapping, arch: str) -> None:
    """Raises ValueError where another network is asked for what SmartNet has."""
    for name in DEFAULTS:
        if arch != "smartnet" and asked.get(name) is not None:
            option = f"--{name.replace('_', '-')} {asked[name]:g}"
            whose, what = (
                ("smartnet's gates", "none") if name == "penalty" else ("smartnet", "no exits to leave by")
            )
            raise ValueError(f"{option} is for {whose}; {arch} has {what}: leave it out")


def settle_exits(settings: Mapping, asked: Mapping, there: int | None = None) -> dict:
    """The settings of a SmartNet's run, with the number of its exits.

    asked: those that are asked for now. there: how many exits --pretrained has, where it is read.
    Raises ValueError for what cannot be, before anything is written: exits that there are not, too few epochs, ...
    """
    settings = {**DEFAULTS, **settings}
    for one, other in (("leave_at", "budget"), ("budget", "leave_at")):
        if asked.get(one) is not None:
            settings[other] = None
    if asked.get("exits"):
        check_exits(asked["exits"], len(sketch_of({**settings, "exits": None}).exits), spelt(**settings))
    sketch = sketch_of(settings)
    settings["exits"] = len(sketch.exits)
    if there is not None:
        settings["exits_kept"] = there if there < settings["exits"] else None
    if settings["lr_scheduler"] not in SCHEDULES:
        raise ValueError(
            f"--lr-scheduler {settings['lr_scheduler']} does not go with smartnet, whose exits are trained one after "
            "the other: its rate would stay low for all but the first. Use cosine, which begins anew with each, or "
            "constant"
        )
    check_epochs(settings["epochs"], turns_of(sketch, settings["exits_kept"], settings["freeze"]))
    if settings["dummy"] and (settings["leave_at"] is not None or settings["budget"]):
        raise ValueError("--leave-at and --budget are for pictures, and --dummy has none")
    return settings


def check_exits(asked: int, there: int, whose: str, more: str = "") -> None:
    """Raises ValueError for more exits than there are. more: what else can be done.

    >>> check_exits(7, 3, "smartnet, small")
    Traceback (most recent call last):
    ValueError: --exits 7: there is no exit 7, smartnet, small has 3: name 1 to 3
    """
    if asked > there:
        names = "1" if there == 1 else f"1 to {there}"
        raise ValueError(
            f"--exits {asked}: there is no exit {asked}, {whose} has {there}: name {names}{more}"
        )


def first_exits(model, asked: int, settings: Mapping, path):
    """The part of a network that --exits asks for, to be evaluated. path: of its weights.

    Raises ValueError where it has fewer, and says how more are trained, if that many can be.
    """
    most = 0 if model.resolved["reads"] else len(sketch_of({**settings, "exits": None}).exits)
    more = (
        f"; or train more, with --exits {asked} --pretrained {path} and without -e" if asked <= most else ""
    )
    check_exits(asked, len(model.exits), str(path), more)
    return model.first(asked)


def not_used(asked: Mapping, folder) -> list[str]:
    """What is to be said of options that a finished run has no use for.

    >>> not_used({"leave_at": 0.2}, "runs/smartnet")
    ['--leave-at 0.2 is not used, since nothing is left to train: add -e to try it.']
    """
    hows = {"penalty": f"--pretrained {folder} trains on with it"}
    hows |= dict.fromkeys(("leave_at", "budget"), "add -e to try it")
    return [
        f"--{name.replace('_', '-')} {asked[name]:,g} is not used, since nothing is left to train: {how}."
        for name, how in hows.items()
        if asked.get(name) is not None
    ]


def new_penalty(asked: Mapping, was: Mapping) -> str:
    """What is to be said where a run goes on with another penalty than it had; "" where it has the same.

    >>> new_penalty({"penalty": 0.5}, {"penalty": 0.01})
    'The penalty on gates was 0.01 and is 0.5 from here on.'
    """
    now, before = asked.get("penalty"), was.get("penalty", 0.0)
    return (
        "" if now in (None, before) else f"The penalty on gates was {before:g} and is {now:g} from here on."
    )


def any_closed(arrays: Mapping[str, np.ndarray]) -> bool:
    """Is a gate closed in these weights?"""
    return any((array == 0).any() for name, array in arrays.items() if name.endswith("gate.weight"))


def sketch_of(settings: Mapping):
    """The network of these settings with hardly any maps."""
    make = network("smartnet", settings["small"])
    return make(settings["exits"], num_classes=2, width=1 / 64, image_size=settings["image_size"])


@dataclass(frozen=True)
class Plan:
    """How a run goes: its schedule, with what warm-up, and what `fit` and its report are to know of exits."""

    schedule: Constant
    warmup: float
    losses: float = 1.0
    each_epoch: Callable[[int, bool], None] | None = None
    best_from: int = 0


def plan_of(model, settings: Mapping, steps: int | None = None) -> Plan:
    """Of a run with these settings; of other networks than SmartNet, all epochs are one turn.

    steps: in an epoch. A warm-up of less than one is none: its only step would be at a rate of 0.
    """
    name, lr, epochs = settings["lr_scheduler"], settings["lr"], settings["epochs"]

    def warmup_in(turn):
        warmup = min(settings["warmup"], turn / 10)
        return 0.0 if steps and warmup * steps < 1 else warmup

    if settings["arch"] != "smartnet":
        warmup = warmup_in(epochs)
        losses = sum(getattr(model.loss, "weights", (1.0,)))
        return Plan(make_schedule(name, lr, epochs, warmup), warmup, losses)
    turns = turns_of(model, settings["exits_kept"], settings["freeze"])
    warmup = warmup_in(epochs / len(turns))
    begin = not settings["pretrained"] or bool(settings["exits_kept"])
    return Plan(
        make_schedule(name, lr, epochs, warmup, len(turns)),
        warmup,
        each_epoch=exit_by_exit(model, epochs, turns, settings["freeze"], begin, print),
        best_from=first_epoch(len(turns), len(turns), epochs),
    )


def best_from(settings: Mapping) -> int:
    """The epoch in which the last exit's training begins: those before are of other exits."""
    if settings["arch"] != "smartnet":
        return 0
    turns = len(turns_of(sketch_of(settings), settings["exits_kept"], settings["freeze"]))
    return first_epoch(turns, turns, settings["epochs"])


# ---- weights of others ---------------------------------------------------------------------------------


def exits_in(arrays: Mapping[str, np.ndarray]) -> int:
    """How many exits weights have.

    >>> exits_in({"exit1.fc.bias": np.zeros(2), "exit2.fc.bias": np.zeros(2), "stem.conv.weight": np.zeros(1)})
    2
    """
    return sum(name.startswith("exit") and name.endswith(".fc.bias") for name in arrays)


def begin_with_exits(model, path, arrays: Mapping[str, np.ndarray], why: str = "") -> list[str]:
    """Put a SmartNet's weights into the exits that both have; the names of what is left as it is

    why: their last layers cannot serve, since they are of other classes.
    Raises ValueError for weights that do not fit: of another network, or of one that was cut.
    """
    there, record = exits_in(arrays), read_record(path)
    exits = min(there, len(model.exits))
    if record.get("reads"):
        raise ValueError(
            f"{path} was cut, by compact(), and is to be used as it is: begin with the weights that it was cut from"
        )
    if why and there < len(model.exits):
        raise ValueError(
            f"{path} has {counted(there, 'exit, which was', 'exits, which were')} to stay while "
            f"others are trained, but {why}: train its own first, with --exits {there}"
        )
    part = model.first(exits)
    if there > exits:
        known = {name for name, _ in part.named_parameters() + part.named_buffers()}
        arrays = {name: array for name, array in arrays.items() if name in known}
        record = first_of_record(record, exits) if "blocks" in record else record
    return put_pretrained(part, arrays, path, None, bool(why), record)
