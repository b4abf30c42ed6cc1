"""The examples, to a folder of your own: programs that train LeNet-5, AlexNet and others, and results of some runs."""

from pathlib import Path

from minialex.commands.share import files_of, hand_out
from minialex.words import counted, typed


def add_options(parser) -> None:
    parser.add_argument(
        "folder", type=Path, help="a new or an empty one; nothing that is there is written over"
    )


def run(args) -> int:
    examples = files_of("examples")
    written = hand_out(examples, args.folder, "examples")
    count = counted(sum(name.endswith(".py") for name in examples), "program")
    already = "" if written else " already"
    print(f"{count} and results of some runs are in {args.folder}{already}. LeNet-5 takes a minute:\n")
    print(f"  {typed('python', args.folder / 'lenet_mnist.py')}")
    return 0
