"""What a network sees in photographs: five names for each."""

import sys
from pathlib import Path

import numpy as np

import minialex as mx
from minialex.commands.answers import shares_of
from minialex.models.alexnet import PRESETS
from minialex.training.command_line import network_name, share


def add_options(parser) -> None:
    parser.add_argument("pictures", nargs="+", metavar="picture", help="a photograph, or several")
    parser.add_argument(
        "--arch",
        type=network_name,
        metavar="NAME",
        help="resnet50, vgg16_bn, ... (default: what the weights say, or their names show)",
    )
    parser.add_argument(
        "--small", action="store_true", default=None, help="its version for pictures of 32x32"
    )
    parser.add_argument(
        "--weights", metavar="PATH", required=True,
        help="a run's folder, a weight file, BVLC's .npy, torchvision's .pth or .safetensors",
    )  # fmt: skip
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="their names, one a line, in the network's order (default: the run's)",
    )
    parser.add_argument("--preset", choices=PRESETS, help="of AlexNet (default: as --arch)")
    parser.add_argument(
        "--mean", metavar="FILE",
        help=".npy of (3, S, S) or (3,), ordered as the channels (default: the run's mean picture, if it has one)",
    )  # fmt: skip
    parser.add_argument(
        "--leave-at",
        type=share,
        metavar="P",
        help="of smartnet: go no further than to the first exit that gives a class this probability, 0 to 1",
    )
    parser.add_argument("--devices", default="cpu", help="cpu, auto, cuda:0, ... (default: cpu)")


def run(args) -> int:
    from minialex.data.augment import square
    from minialex.data.classes import read_names, reorder
    from minialex.data.folder import read_picture
    from minialex.study.leaving import exit_costs
    from minialex.training.networks import (
        DEFAULTS,
        outputs_in,
        pixels_of_others,
        side_for,
        spelt,
        which_network,
        with_weights,
    )
    from minialex.training.recorded import check_preset, trained_names, unrecorded
    from minialex.training.runs import INPUT, check_whose, read_weights, weight_file

    mx.place(args.devices)  # an unknown device is said at once
    arrays, known = read_weights(args.weights)
    check_whose(args.weights, "AlexNet", arrays, known, remedy="minialex predict reads digits")
    which = which_network(args.weights, arrays, known, args.arch, args.small)
    count = outputs_in(args.weights, arrays, **which)
    names = trained_names(args.weights, known.get("classes"), count, args.classes) or [
        f"class {i}" for i in range(count)
    ]
    if args.classes and known.get("classes"):
        names = reorder(read_names(args.classes, count), known["classes"], args.classes)
    settings = {**DEFAULTS, **known, **which, "pixels": pixels_of_others(known, **which)}
    if which["arch"] == "alexnet":
        preset = args.preset or known.get("preset") or preset_by_shape(args.weights, arrays)
        settings["preset"] = preset
    elif args.preset:
        raise ValueError(
            f"--preset {args.preset} says which AlexNet; {args.weights} is for {which['arch']}: leave it out"
        )
    if not (note := unrecorded(args.weights, spelt(**settings))):
        check_preset(args.weights, known.get("preset"), args.preset)
    model = with_weights(args.weights, arrays, settings, count, args.devices)
    of_run = weight_file(args.weights).with_name(INPUT)
    prepare = preparation(model.input, args.mean or (of_run if of_run.is_file() else None))
    side = known.get("side") or side_for(settings, model.input)
    if prepare.mean.ndim == 3 and prepare.mean.shape[-1] > 1:
        side = prepare.mean.shape[-1]
    model.eval()
    if args.leave_at is not None:
        if which["arch"] != "smartnet":
            raise ValueError(
                f"--leave-at {args.leave_at:g} is for smartnet; {which['arch']} has no exits to leave by: leave it out"
            )
        model.leave_at = args.leave_at
    for picture in args.pictures:
        x = prepare.evaluation(square(read_picture(picture, at_least=side), side))
        logits = mx.to_numpy(model.forward(model.device.asarray(np.ascontiguousarray(x[None]))))[0]
        shares = shares_of(logits, args.weights)
        if len(args.pictures) > 1:
            print(f"{picture}:")
        for number in np.argsort(-shares, kind="stable")[:5]:
            print(f" {100 * shares[number]:5.1f} %  {names[number]}")
        if args.leave_at is not None:
            exit, costs = int(model.left[0]), exit_costs(model)
            print(f" left at exit {exit} of {len(costs)}: {costs[exit - 1]:,} multiply-adds")
    if note:
        print(note, file=sys.stderr)
    return 0


def preset_by_shape(path, arrays) -> str:
    """The only preset that has so many maps, and so many of them read by one in conv2."""
    maps = tuple(len(arrays[f"conv{i}.bias"]) for i in range(1, 6))
    read = arrays["conv2.weight"].shape[1]
    fitting = [name for name, p in PRESETS.items() if p.maps == maps and p.maps[0] == p.groups * read]
    if len(fitting) != 1:
        raise ValueError(
            f"{path} does not say which AlexNet it is: name --preset {' or '.join(fitting or PRESETS)}"
        )
    return fitting[0]


def preparation(wanted, mean_file):
    """What is done to a picture for a network: `wanted`, with the mean of a run, of a file, or ImageNet's."""
    from minialex.data.augment import MEAN_COLOUR, Prepare
    from minialex.data.mean_file import read_mean
    from minialex.training.runs import read_input

    if mean_file is None:
        if wanted.mean == "image":
            print(
                f"there is no --mean picture: subtracting {MEAN_COLOUR}, ImageNet's mean colour",
                file=sys.stderr,
            )
        return Prepare.for_input(wanted)
    if Path(mean_file).suffix == ".safetensors":
        return Prepare.for_input(wanted, read_input(mean_file, ["mean"])["mean"])
    mean = read_mean(mean_file, wanted.scale, wanted.order)
    return Prepare(wanted.crop, wanted.scale, mean, wanted.std, wanted.order)
