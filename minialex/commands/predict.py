"""Read a photographed or drawn digit."""

import sys
from pathlib import Path

import numpy as np

import minialex as mx
from minialex.commands.answers import can_show


def add_options(parser) -> None:
    parser.add_argument("picture", help="a picture of one digit, dark on light or light on dark")
    parser.add_argument(
        "--weights",
        metavar="PATH",
        help="a run's folder or a weight file (default: the newest run in this folder)",
    )
    parser.add_argument("--save", metavar="PNG", help="also save what was done to the picture, step by step")


def run(args) -> int:
    from minialex.data import class_names
    from minialex.data.photo import as_text, digit_from_picture
    from minialex.training.newest import newest_run
    from minialex.training.reader import load_reader
    from minialex.training.recorded import unrecorded
    from minialex.training.runs import check_is_there

    if args.weights is not None:
        check_is_there(args.weights)
    weights = newest_run() if args.weights is None else Path(args.weights)
    reader = load_reader(weights)
    prepared = digit_from_picture(args.picture)
    reading = reader.read(prepared)
    names = reader.model.classes
    share = reading.shares
    print(f"What the network sees of {args.picture}:\n")
    cells, bar = (" ▄▀█", "█") if can_show("▄▀█") else (" .':", "#")
    print(as_text(prepared.image, cells))
    for note in prepared.notes:
        print(f"- {note}")
    if names == class_names("fashion-mnist"):
        print(
            "- it was prepared as handwriting is, but these weights know clothes: they may read it otherwise"
        )
    if reading.sure is False:
        print(
            f"\nIt is not sure that this is a digit: {reading.why.removesuffix('.')}"
            + "." * (not reading.why.endswith("?"))
        )
    there = "If it is one, what it may be" if reading.sure is False else "What it reads there"
    print(f"\n{there}, with the weights of {weights}:\n")
    wide = max(map(len, names))
    for k in np.argsort(-share)[:5]:
        print(f"  {names[k]:<{wide}}  {bar * round(40 * share[k]):<40} {100 * share[k]:5.1f} %")
    if reader.without:
        print(f"\n{reader.without}")
    if args.save:
        mx.plot.digit_steps(prepared, path=args.save)
        print(f"\nThe steps from your picture to 28x28 are in {args.save}")
    if note := unrecorded(weights, reader.taken_for):
        print(note, file=sys.stderr)
    return 0
