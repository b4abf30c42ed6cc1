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
    from minialex.training.doubt import read_digit
    from minialex.training.newest import newest_run
    from minialex.training.recorded import unrecorded
    from minialex.training.runs import check_whose, load_run

    weights = Path(args.weights) if args.weights else newest_run()
    arrays, settings = load_run(weights)
    if "c1.weight" not in arrays:
        why, remedy = "has no c1, it is no LeNet-5's", "minialex classify reads photographs"
        check_whose(weights, "LeNet-5", arrays, settings, why=f"{why}; it ", remedy=remedy)
        raise ValueError(f"{weights} {why}; {remedy}")
    variant, activation = settings.get("variant", "modern"), settings.get("activation", "tanh")
    names = names_of_outputs(weights, arrays, settings)
    model = mx.models.lenet5(variant, activation=activation, num_classes=len(names))
    mx.weights.import_grouped(model, arrays)
    model.classes = names
    doubt, without = doubt_of(weights, model)
    prepared = digit_from_picture(args.picture)
    try:
        reading = read_digit(model, prepared, doubt)
    except mx.NotFinite as error:
        raise mx.NotFinite(f"with the weights of {weights} {error}: they are of no use") from None
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
    print(f"\nWhat it reads there, with the weights of {weights}:\n")
    wide = max(map(len, names))
    for k in np.argsort(-share)[:5]:
        print(f"  {names[k]:<{wide}}  {bar * round(40 * share[k]):<40} {100 * share[k]:5.1f} %")
    if without:
        print(f"\n{without}")
    if args.save:
        mx.plot.digit_steps(prepared, path=args.save)
        print(f"\nThe steps from your picture to 28x28 are in {args.save}")
    if note := unrecorded(weights, f"variant {variant}, activation {activation}"):
        print(note, file=sys.stderr)
    return 0


def doubt_of(weights, model):
    """The second network, which knows what is no digit; or None and a sentence that says why there is none."""
    from minialex.data import class_names
    from minialex.training.doubt import DOUBT, load_doubt
    from minialex.training.runs import weight_file

    if model.classes != class_names("mnist"):
        return (
            None,
            f"Whether it is any of these at all was not asked: {weights} knows other classes than digits.",
        )
    path = weight_file(weights).with_name(DOUBT)
    if path.is_file() and (doubt := load_doubt(path, model)):
        return doubt, ""
    why = "belongs to other weights" if path.is_file() else "is not there"
    return None, (
        f"Whether it is a digit at all was judged by its share alone, which letters deceive: {path} {why}. "
        "lenet_mnist.py makes it at the end of a training; of a finished run with --resume."
    )


def names_of_outputs(weights, arrays, settings) -> list[str]:
    """What a LeNet-5 tells apart: the classes that its weights name, else those of its run's set, else digits."""
    from minialex.data import class_names

    bias = arrays.get("output.bias")  # 1998's has none, and ten codes
    count = 10 if bias is None else len(bias)
    names = settings.get("classes") or class_names(settings.get("dataset", "mnist"))
    if len(names) == count:
        return names
    if "classes" in settings or "dataset" in settings:
        raise ValueError(
            f"{weights} has {count} outputs, and is said to know {len(names)} classes: it is damaged"
        )
    return [f"class {k}" for k in range(count)]
