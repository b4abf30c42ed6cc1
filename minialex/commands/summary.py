"""A network's layers: shapes, parameters, multiply-adds, columns."""

import argparse

import minialex as mx
from minialex.models.alexnet import PRESETS
from minialex.models.lenet import VARIANTS
from minialex.models.names import NETWORKS
from minialex.training.command_line import network_name
from minialex.words import nearest


def add_options(parser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        default="lenet",
        type=lenet_or_network_name,
        help="lenet (default), alexnet, resnet50, vgg16_bn, inception_v3, ...",
    )
    parser.add_argument(
        "--small", action="store_true", help="its version for pictures of 32x32 (resnet18's has 20 layers)"
    )
    parser.add_argument("--variant", choices=VARIANTS, help="of LeNet-5 (default: modern)")
    parser.add_argument("--preset", choices=PRESETS, help="of AlexNet (default: paper)")
    parser.add_argument(
        "--towers", type=int, choices=[1, 2], help="of AlexNet (default: as the preset has it)"
    )


def lenet_or_network_name(name: str) -> str:
    """For argparse: a network that there is, LeNet-5 among them, which Python calls lenet5."""
    if name in ("lenet", "lenet5"):
        return "lenet"
    if nearest(name, ["lenet", "lenet5", *NETWORKS]) in (["lenet"], ["lenet5"]):
        raise argparse.ArgumentTypeError(f"there is no network {name!r}; the nearest is lenet")
    return network_name(name)


def run(args) -> int:
    from minialex.models.names import network

    own = {"lenet": ["variant"], "alexnet": ["preset", "towers"]}.get(args.model, [])
    make = mx.models.lenet5 if args.model == "lenet" else network(args.model, args.small)
    for option in ("variant", "preset", "towers"):
        if getattr(args, option) and option not in own:
            raise ValueError(f"{args.model} has no --{option}: leave it out, or name the other network")
    if args.small and args.model == "lenet":
        raise ValueError("lenet is for pictures of 28x28, and has no --small: leave it out")
    if args.model == "lenet":
        model = make(args.variant or "modern")
    elif args.model == "alexnet":  # on pretended GPUs: nothing is computed that would need real ones
        model = make(devices="sim:0,sim:1", preset=args.preset or "paper", towers=args.towers)
    else:
        model = make()
    print(mx.summary(model))
    return 0
