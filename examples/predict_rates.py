"""How often `python -m minialex predict` is right, and of what it is not sure.

    python examples/predict_rates.py runs/lenet                  with the fonts that come with matplotlib
    python examples/predict_rates.py runs/lenet --font hand.ttf  with one more

A run of examples/lenet_mnist.py reads MNIST's test digits as pictures, letters of fonts and hands that its second
network never saw, pairs of digits, and 60 snapshots: paper on tables, squared, ruled, framed, with a shadow, ink at
the edge. All are made here, from seeds. The numbers go to CSV files, and one picture shows the trade-off: letters that
are called unsure against digits that are refused.
"""

import argparse
import csv
import io
import time
from pathlib import Path

import numpy as np

import minialex as mx
from minialex.data import class_names, digit_from_picture, load, load_drawn_digits
from minialex.data.digits import font_path
from minialex.data.hands import LETTERS as HAND_LETTERS
from minialex.data.hands import write
from minialex.data.not_digits import LETTERS
from minialex.data.snapshots import KINDS, snapshot
from minialex.errors import DataError
from minialex.training.command_line import Parser, friendly, named, whole_number
from minialex.training.doubt import DOUBT, load_doubt, read_prepared
from minialex.training.runs import load_run, weight_file
from minialex.weights import write_whole

FONTS = (
    "DejaVuSansMono.ttf",
    "DejaVuSerif-Bold.ttf",
    "STIXGeneralBol.ttf",
    "cmb10.ttf",
)  # none is in digits.FONTS
PENS = {"hand, thin pen": 0.05, "hand, pen": 0.09, "hand, thick pen": 0.14}  # parts of the height
REFUSED = (0.001, 0.002, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)


def parse_arguments(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a run of lenet_mnist.py")
    add(
        "--data-dir",
        type=named,
        help="where MNIST's four files are (default: where load('mnist') finds them)",
    )
    add("--drawn", action="store_true", help="drawn digits in MNIST's place")
    add("--digits", type=whole_number(20), default=1000, help="how many test digits (default: 1000)")
    add("--copies", type=whole_number(1), default=4, help="pictures of each letter in each hand (default: 4)")
    add("--snapshots", type=whole_number(6), default=60, help="how many (default: 60)")
    add("--font", action="append", default=[], metavar="FILE", help="letters of this font, too")
    add("--seed", type=whole_number(0), default=0)
    add(
        "--output-dir",
        type=named,
        default="examples/results/predict",
        help="default: examples/results/predict",
    )
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_arguments(argv)
    model, doubt = with_doubt(args.run)
    _, (images, labels) = load_drawn_digits(0, args.digits) if args.drawn else load("mnist", args.data_dir)
    images, labels = images[: args.digits], labels[: args.digits]
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)

    direct = mx.train.predict(model, images)
    direct = (direct[0] if isinstance(direct, tuple) else direct).argmax(axis=1)
    digits = [prepared(image[0]) for image in images]
    read = [read_prepared(model, one, doubt) if one else None for one in digits]
    refused = np.mean([not (one and one.sure) for one in read])
    right = np.mean([bool(one) and one.digit == label for one, label in zip(read, labels, strict=True)])
    print(
        f"{len(images):,} test digits as pictures: {100 * refused:.1f} % refused, {100 * right:.1f} % right; ",
        end="",
    )
    print(f"direct, {100 * np.mean(direct == labels):.1f} %")

    others = not_digits(args, images, labels)
    rows = [[name, len(some), f"{100 * np.mean([not sure(model, one, doubt) for one in some]):.1f}"]
            for name, some in others.items()]  # fmt: skip
    write_table(folder / "unsure.csv", ["what", "pictures", "unsure_percent"], rows)
    for name, count, share in rows:
        print(f"  {name:<28} {count:>5} pictures, {share:>5} % called unsure")

    curves = curve(model, doubt, [one for one in digits if one], others)
    names = list(curves)
    points = [
        [f"{100 * place:g}", *(f"{100 * curves[name][k]:.1f}" for name in names)]
        for k, place in enumerate(REFUSED)
    ]
    write_table(folder / "curve.csv", ["digits_refused_percent", *names], points)
    lines = {
        name: [(100 * x, 100 * y) for x, y in zip(REFUSED, values, strict=True)]
        for name, values in curves.items()
    }
    mx.plot.unsure_curve(lines, 100 * refused, path=folder / "curve.png")

    table, seconds = snapshots(args, model, doubt, images, labels)
    write_table(folder / "snapshots.csv", ["kind", "pictures", "right", "unsure", "wrong"], table)
    for kind, count, good, unsure, wrong in table:
        print(
            f"  {kind:<10} {count:>3} snapshots: {good:>3} right, {unsure:>3} unsure, {wrong:>3} sure and wrong"
        )
    print(f"  {seconds:.2f} s for each snapshot of 1000x750 pixels")
    print(f"In {folder}: unsure.csv, curve.csv, curve.png, snapshots.csv")


def with_doubt(run):
    arrays, settings = load_run(run)
    model = mx.models.lenet5(settings.get("variant", "modern"), activation=settings.get("activation", "tanh"))
    mx.weights.import_grouped(model, arrays)
    model.classes = class_names("mnist")
    path = weight_file(run).with_name(DOUBT)
    doubt = load_doubt(path, model) if path.is_file() else None
    if doubt is None:
        raise ValueError(f"{path} is not there, or belongs to other weights: train with lenet_mnist.py first")
    return model.eval(), doubt


def prepared(picture):
    """What digit_from_picture makes of it; None where it finds no digit."""
    try:
        return digit_from_picture(picture)
    except DataError:
        return None


def sure(model, one, doubt):
    return one is not None and read_prepared(model, one, doubt).sure


def not_digits(args, images, labels):
    """Prepared letters by font and by hand, pairs of digits and scribbles, by name."""
    fonts = [(Path(name).stem, font_path(name)) for name in FONTS] + [
        (Path(name).stem, name) for name in args.font
    ]
    found = {}
    for number, (name, path) in enumerate(fonts):
        rng = np.random.default_rng([args.seed, 1, number])
        found[f"letters, {name}"] = [
            on_paper(printed(path, c, rng)) for c in LETTERS for _ in range(args.copies)
        ]
    for number, (name, pen) in enumerate(PENS.items()):
        rng = np.random.default_rng([args.seed, 2, number])
        some = [write(c, rng, pen=pen) for c in HAND_LETTERS for _ in range(args.copies)]
        found[f"letters, {name}"] = [on_paper(ink) for ink in some]
    rng = np.random.default_rng([args.seed, 3])
    pairs = [
        beside(images[a, 0], images[b, 0]) for a, b in rng.integers(len(images), size=(25 * args.copies, 2))
    ]
    found["two digits"] = [on_paper(ink) for ink in pairs]
    return found


def printed(path, character, rng):
    """A letter of a font, a little turned, with a pen of some width: float32 (H, W), 1 for ink."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("L", (480, 480))
    font, width = ImageFont.truetype(str(path), 160), int(rng.integers(0, 7))
    ImageDraw.Draw(sheet).text((240, 240), character, 255, font, anchor="mm", stroke_width=width)
    sheet = sheet.rotate(rng.normal(0, 5), Image.Resampling.BILINEAR)
    return np.asarray(sheet.crop(sheet.getbbox()), dtype=np.float32) / 255


def beside(one, other):
    pair = np.concatenate([one[:, 2:], np.zeros((28, 1), np.uint8), other[:, :-2]], axis=1) / np.float32(255)
    return np.kron(pair, np.ones((5, 5), dtype=np.float32))


def on_paper(ink):
    return prepared(np.uint8(255 * (1 - np.pad(ink, 20))))


def curve(model, doubt, digits, others):
    """What share of each kind is called unsure, where the limit refuses so many of the digits."""
    limits = np.quantile(margins(model, doubt, digits), REFUSED)
    found = {}
    for name, some in others.items():
        known = [one for one in some if one]
        values = margins(model, doubt, known) if known else np.zeros(0)
        doubtful = np.array([bool(one.doubt) for one in known], bool)
        none = len(some) - len(known)
        found[name] = [(none + np.sum(doubtful | (values < limit))) / len(some) for limit in limits]
    return found


def margins(model, doubt, some):
    return doubt.margins(model, np.stack([one.image for one in some])[:, None])


def snapshots(args, model, doubt, images, labels):
    """A row for each kind: how many, right, unsure, sure and wrong. Half of the digits are the test set's."""
    from minialex.data.ink import resized

    table = {kind: [0, 0, 0, 0] for kind in KINDS}
    seconds = 0.0
    for number in range(args.snapshots):
        rng = np.random.default_rng([args.seed, 4, number])
        kind, digit = KINDS[number % len(KINDS)], number // len(KINDS) % 10
        if number % 2 == digit % 2 and (labels == digit).any():
            those = images[labels == digit, 0]
            ink = np.clip(2.5 * resized(those[rng.integers(len(those))] / np.float32(255), 10) - 0.75, 0, 1)
        else:
            ink = write(str(digit), rng, height=400, pen=rng.uniform(0.03, 0.12))
        picture = snapshot(ink, kind, rng)
        start = time.perf_counter()
        one = prepared(picture)
        read = read_prepared(model, one, doubt) if one else None
        seconds += time.perf_counter() - start
        place = 2 if not (read and read.sure) else 1 if read.digit == digit else 3
        table[kind][0] += 1
        table[kind][place] += 1
    rows = [[kind, *counts] for kind, counts in table.items()]
    return [
        *rows,
        ["all", *np.sum([*table.values()], axis=0).tolist()],
    ], seconds / args.snapshots


def write_table(path, names, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *rows])
    write_whole(path, text.getvalue().encode())


if __name__ == "__main__":
    friendly(main)
