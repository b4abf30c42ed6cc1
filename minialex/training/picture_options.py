"""The command line of programs that train on folders of pictures."""

import argparse
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from minialex.models.alexnet import PRESETS
from minialex.training import exit_runs
from minialex.training.command_line import (
    Parser,
    add_cluster,
    add_threads,
    check_cluster,
    check_evaluates,
    named,
    network_name,
    number,
    whole_number,
)
from minialex.training.picture_settings import absolute
from minialex.training.small_data import RULE

# Options by which a network is trained, or that are of what a training leaves; a test of weights has no use for them.
TRAINING = (
    "init", "epochs", "lr", "momentum", "wd", "lr_scheduler", "seed", "print_freq", "output_dir", "checkpoint_every",
    "look", "freeze", "penalty",
)  # fmt: skip
MOST_PIXELS = 3584  # of a crop's side; its square has 4,096 then


def between(least: float, most: float) -> Callable[[str], float]:
    """For argparse: a number in this range, written as 0.25 or 1/4.

    >>> between(0.001, 16)("1/4")
    0.25
    """

    def parse(text):
        try:
            value = float(Fraction(text)) if "/" in text else float(text)
        except (ValueError, ZeroDivisionError):
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"a number from {least:g} to {most:g} is needed, as 0.25 or 1/4, not {text!r}"
            )
        return value

    return parse


def pixels(text: str) -> int:
    """For argparse: the side of a picture."""
    size = whole_number(1)(text)
    if size > MOST_PIXELS:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {MOST_PIXELS} is needed, not {text!r}")
    return size


def parse_arguments(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The arguments; what cannot be together ends the program with a message. description: of the program."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    args = parser.parse_args(argv)
    if args.leave_at is not None and args.budget is not None:
        parser.error(
            "--leave-at says at which probability pictures leave, --budget looks for it: name one of them"
        )
    if args.ten_crop and (args.leave_at is not None or args.budget is not None):
        parser.error("--ten-crop is without --leave-at and --budget: each crop would leave elsewhere")
    if args.evaluate and not (args.resume or args.pretrained):
        parser.error("-e tests weights: say which with --resume PATH or --pretrained PATH")
    if args.evaluate and args.resume and args.pretrained:
        parser.error("-e tests one network: --resume and --pretrained both name one; leave one of them out")
    check_evaluates(parser, args, TRAINING)
    if args.classes and not (args.evaluate or args.pretrained):
        parser.error("--classes says what weights were trained on: it goes with -e or --pretrained")
    if args.ten_crop and not args.evaluate:
        parser.error("--ten-crop goes with -e")
    check_cluster(parser, args)
    return args


def add_options(parser: argparse.ArgumentParser) -> None:
    """All of them, in groups as the help shows them."""
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        nargs="?",
        type=absolute,
        help="a folder with train/<class>/ and val/<class>/; left out: drawn, or those of the resumed run",
    )
    add_network(parser)
    add_training(parser)
    add_weights(parser)
    add_pictures(parser)
    exit_runs.add_exits(parser)


def add_network(parser: argparse.ArgumentParser) -> None:
    """Which network, how large."""
    add = parser.add_argument
    add(
        "-a",
        "--arch",
        type=network_name,
        metavar="NAME",
        help="alexnet (default), zfnet, vgg16, vgg16_bn, googlenet, inception_v3, resnet50, densenet121, smartnet, ...",
    )
    add(
        "--small",
        action="store_true",
        default=None,
        help="the small version of --arch, and the recipe of the drawn pictures (which always have both): 30 epochs, "
        "batches of 50, cosine. AlexNet's is --width 1/4 --image-size 96 --init he --scale 1/64; the others' are for "
        "pictures of 32x32; ResNets and DenseNets have their papers' depths for these: resnet18 has 20 layers then, "
        f"densenet121 40. Each option beside it goes first. Before training it is named {RULE}",
    )
    add("--preset", choices=list(PRESETS), help="which AlexNet (default: paper)")
    add(
        "--width",
        type=between(0.001, 16),
        metavar="TIMES",
        help="so many times the maps and units: 0.25, 1/4 (default: 1)",
    )
    add(
        "--image-size",
        type=pixels,
        metavar="PIXELS",
        help="the side of the crops that the network sees (default: its own: 227, 224, ...); pictures are brought to "
        "squares a seventh wider first",
    )
    add(
        "--init",
        choices=["preset", "he"],
        help="AlexNet's first weights: the preset's, or He's, with which narrow ones do not stall (default: preset)",
    )
    add(
        "--scale",
        type=between(1e-9, 1e9),
        metavar="TIMES",
        help="AlexNet's pixels times this: 1/64 (default: the preset's; paper: 1, so from 0 to 255)",
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Where and how it is trained, and what a run leaves."""
    whole, add = whole_number(1), parser.add_argument
    add("--devices", default="auto", help='"auto", "cuda:0,cuda:1", "cpu", ... (default: auto)')
    add_threads(parser)
    add_cluster(parser)
    add(
        "--epochs",
        type=whole,
        metavar="N",
        help="default: 90; --small: 30; smartnet's are shared out among its exits",
    )
    add("-b", "--batch-size", type=whole, metavar="N", help="default: 128; --small: 50")
    add("--lr", type=number, help="learning rate (default: 0.01)")
    add("--momentum", type=number, help="default: 0.9")
    add("--wd", type=number, help="weight decay (default: 0.0005)")
    add(
        "--lr-scheduler",
        choices=["constant", "step", "plateau", "cosine"],
        help="plateau: a tenth when validation stalls (default); cosine for --small, and for smartnet, where it "
        "begins anew with each exit",
    )
    add("--seed", type=whole_number(0), help="of everything that is random (default: 0)")
    add(
        "-p",
        "--print-freq",
        type=whole,
        default=20,
        metavar="N",
        help="steps between log lines (default: 20)",
    )
    add("--output-dir", type=named, metavar="DIR", help="default: runs/ARCH, or the next free runs/ARCH-N")
    add(
        "--checkpoint-every",
        type=whole_number(0),
        metavar="STEPS",
        help="besides each epoch's end (default: 1000; 0: off)",
    )
    add(
        "--look",
        action="store_true",
        default=None,
        help="also draw feature maps, neighbours, codes, and the timeline of a step",
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Weights that are there: to go on with, to test, to begin with."""
    add = parser.add_argument
    add("--resume", metavar="PATH", help="go on from a checkpoint, or from the one in a run's folder")
    add(
        "-e",
        "--evaluate",
        action="store_true",
        help="validate the weights of --resume or --pretrained, train nothing",
    )
    add("--ten-crop", action="store_true", help="with -e: the mean of ten crops, as in 2012")
    add(
        "--pretrained",
        type=named,
        metavar="PATH",
        help="begin with these weights: ours, BVLC's .npy, torchvision's; for other classes with a new last layer",
    )
    add(
        "--classes",
        metavar="FILE",
        type=absolute,
        help="the names of the classes of weights that don't say them, one a line, in the network's order",
    )
    add(
        "--freeze",
        metavar="NAMES",
        help="leave these layers as they are, with all inside of them: conv1,bn1,layer1 (running means, too)",
    )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """How pictures are read, and which."""
    add = parser.add_argument
    add(
        "-j",
        "--workers",
        type=whole_number(0),
        metavar="N",
        default=4,
        help="threads that read pictures (default: 4)",
    )
    add(
        "--cache",
        type=named,
        metavar="DIR",
        help="keep the decoded 256x256 pictures here, 196 kB each, for the next epochs",
    )
    add(
        "--limit",
        type=whole_number(1),
        metavar="N",
        help="use only N pictures of each set, spread over the classes",
    )
    add("--dummy", action="store_true", default=None, help="no pictures at all, random numbers: for timing")
    add("--max-bad", type=whole_number(0), metavar="N", help="skip up to N unreadable files (default: 0)")
    add(
        "--ground-truth",
        metavar="FILE",
        type=absolute,
        help="the classes of a flat val/ folder (default: found beside it)",
    )
    add(
        "--class-ids",
        metavar="FILE",
        type=absolute,
        help="lines 'ID CLASS' for ImageNet's own numbers in that file",
    )
