"""The networks after AlexNet, small, on pictures of 32x32 in class folders (CIFAR-10's, say).

    python examples/small_networks.py DATA depth        do deeper networks train better? plain 20, 56, residual 56
    python examples/small_networks.py DATA minutes      each network trains for the same minutes
    python examples/small_networks.py DATA allocations  where should the blocks be, at equal multiply-adds?
    python examples/small_networks.py DATA drop         which blocks are of use, and which maps are read again?

depth: He, Zhang, Ren and Sun (2015) saw that a plain network of 56 layers has a larger *training* error than one of 20,
and that a residual one has not (figure 6). Here the networks are narrow and the pictures fewer; the gradients' norms,
layer by layer, are drawn as well. minutes: error beside parameters, multiply-adds and time. allocations: a ResNet and a
DenseNet as in their papers, as many blocks in each stage, and three of the same costs with most blocks early, in the
middle or late. drop: a trained ResNet without each of its blocks (Veit, Wilber and Belongie 2016), and how much the
layers of a trained DenseNet read of each earlier one (Huang et al. 2016, figure 5).

Each network's result is kept in the output folder as soon as it is there; started again, the program goes on from it.
"""

import argparse
import copy
import time
from functools import partial
from pathlib import Path

import numpy as np

import minialex as mx
from minialex import train
from minialex.data.loader import ArrayBatches
from minialex.data.small import Cropped, Prepared, digest_of, small_pictures
from minialex.layers.sequential import all_layers
from minialex.models.names import network
from minialex.study import benchmarks
from minialex.study.benchmarks import table
from minialex.study.expected import expect
from minialex.training.alone import Alone
from minialex.training.command_line import Parser, as_path, friendly, number, whole_number
from minialex.training.epoch import read_scores
from minialex.training.evaluation import QUIET
from minialex.training.lock import locked
from minialex.training.progress import Progress
from minialex.weights import records
from minialex.words import as_duration, did_you_mean

# Section 4.2 of the paper, but for half its rate; a fifth of that where nothing normalises a batch.
RECIPE, WITHOUT_BATCH_NORM = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}, 0.01
WARM_UP = (
    0.1  # the first tenth, linearly: section 4.2 warms up its deepest network, which does not begin otherwise
)
PLAIN, RESIDUAL = {"plain": True}, {"plain": False}
DEPTHS = {"plain-20": (20, PLAIN), "plain-56": (56, PLAIN), "residual-56": (56, RESIDUAL)}
SMALL = {
    "AlexNet": lambda classes, rng: mx.models.alexnet(classes, "cpu", towers=1, width=0.25, image_size=67, init="he",
                                                      scale=1 / 64, rng=rng),
    "ZFNet": lambda classes, rng: network("zfnet")(classes, preset="small", width=0.25, rng=rng),
    "VGG-11": lambda classes, rng: network("vgg11_bn")(classes, preset="small", width=0.25, rng=rng),
    "GoogLeNet": lambda classes, rng: network("googlenet")(classes, preset="small", width=0.125, rng=rng),
    "Inception v2": lambda classes, rng: network("inception_v2")(classes, preset="small", width=0.1, rng=rng),
    "Inception v3": lambda classes, rng: network("inception_v3")(classes, preset="small", width=0.1, rng=rng),
    "ResNet-20": lambda classes, rng: mx.models.resnet(20, classes, preset="cifar", width=0.5, rng=rng),
    "DenseNet-40": lambda classes, rng: mx.models.densenet(40, classes, preset="small", width=0.5, rng=rng),
}  # fmt: skip
# Makes them of (classes, arguments, blocks of each stage), and how many the papers have.
TWO = {
    "ResNet-20": (lambda classes, args, layers=None: mx.models.resnet(
        20, classes, preset="cifar", width=args.width, layers=layers, rng=args.seed), (3, 3, 3)),
    "DenseNet-40": (lambda classes, args, layers=None: mx.models.densenet(
        40, classes, preset="small", width=args.width, layers=layers, rng=args.seed), (6, 6, 6)),
}  # fmt: skip
PLACES = {
    "even": lambda found, layers: layers,
    "early": lambda found, layers: max(found),
    "middle": lambda found, layers: max(found, key=lambda counts: counts[1]),
    "late": lambda found, layers: max(found, key=lambda counts: counts[2]),
}
NETWORKS = {
    "depth": list(DEPTHS),
    "minutes": list(SMALL),
    "allocations": [f"{family}-{place}" for family in TWO for place in PLACES],
    "drop": list(TWO),
}
# What is read of a result that was kept.
ROW = {"epoch": records.whole(1)} | dict.fromkeys(
    ("train_loss", "train_error", "test_error", "seconds"), records.number(0)
)
KEPT = {"parameters": records.whole(), "multiply_adds": records.whole(), "epochs": [ROW],
        "gradient_norms": [[records.number(0)]]}  # fmt: skip


def parse_arguments(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", metavar="DATA", help="a folder with train/<class>/ and val/<class>/ or test/<class>/")
    add("what", choices=NETWORKS, metavar=f"{{{','.join(NETWORKS)}}}")
    names = "; ".join(f"of {what}: {', '.join(names)}" for what, names in NETWORKS.items())
    add("--networks", nargs="+", metavar="NAME", help=f"these alone (default: all of them); {names}")
    add("--epochs", type=whole_number(1), default=12, help="but for minutes (default: 12)")
    add("--minutes", type=number, default=3.0, help="of minutes, for each network (default: 3)")
    add(
        "--width", type=number, default=0.25, help="but for minutes: times 16, 32 and 64 maps (default: 0.25)"
    )
    add("--limit", type=whole_number(10), default=10_000, metavar="N", help="pictures (default: 10000)")
    add("-b", "--batch-size", type=whole_number(1), default=128, help="default: 128")
    add("--seed", type=whole_number(0), default=0)
    add("--output-dir", type=as_path, help="default: runs/small-depth, runs/small-minutes, ...")
    args = parser.parse_args(argv)
    if not args.minutes:
        parser.error("--minutes 0 is no training at all: 0.1 is enough to try the program")
    args.output_dir = args.output_dir or Path("runs") / f"small-{args.what}"
    known = NETWORKS[args.what]
    unknown = [name for name in args.networks or () if name not in known]
    if unknown:
        parser.error(
            f"--networks {unknown[0]!r} is not one of {', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    args.networks = args.networks or known
    return args


# ---- pictures ------------------------------------------------------------------------------------------


def batches_for(model, data, args):
    """Training and test batches, centred by the training pictures' mean colour, as large as the network wants them."""
    (x, labels, _), (x_test, labels_test, _) = data
    mean, std = x.mean(axis=(0, 2, 3), keepdims=True), x.std(axis=(0, 2, 3), keepdims=True)
    times = -(-model.picture_shape[1] // 32)

    def prepare(pictures):
        pictures = ((pictures - mean) / std).astype(np.float32)
        if times > 1:  # each pixel becomes a square; what is over is cut off
            side = model.picture_shape[1]
            pictures = pictures.repeat(times, axis=2).repeat(times, axis=3)[:, :, :side, :side]
        return pictures

    whole = Cropped(x, labels, args.batch_size, args.seed), ArrayBatches(x_test, labels_test, args.batch_size)
    return [Prepared(batches, prepare) for batches in whole]


# ---- training ------------------------------------------------------------------------------------------


@np.errstate(**QUIET)
def train_one(model, data, args, seconds=None):
    """Epochs, or as many steps as fit into `seconds`; the rate goes up, then down: history, gradients' norms.

    Raises NotFinite where the loss explodes, as `train.fit` does.
    """
    batches, tests = batches_for(model, data, args)
    normalises = any(isinstance(layer, mx.BatchNorm2D) for layer in all_layers(model))
    rate = RECIPE["lr"] if normalises else WITHOUT_BATCH_NORM
    optimizer = mx.SGD(model.train().parameters(), **RECIPE)
    first = next(iter(batches.shuffled(0)))
    norms, rows, spent, epoch, progress = [gradient_norms(model, first)], [], 0.0, 0, Progress()
    while epoch < args.epochs if seconds is None else spent < seconds:
        began = time.perf_counter()
        for step, (x, labels) in enumerate(batches.shuffled(epoch)):
            here = spent + time.perf_counter() - began
            if seconds is not None and here >= seconds and (step or rows):  # one step at least
                break
            share = (epoch + step / len(batches)) / args.epochs if seconds is None else here / seconds
            optimizer.lr = rate * min(1.0, share / WARM_UP) * (1 + np.cos(np.pi * share)) / 2
            scores = train.train_step(model, optimizer, x, labels)
            read_scores([(scores, len(x), step + 1, optimizer.lr)], progress, batches, model, Alone())
        spent += time.perf_counter() - began
        learned = progress.scores
        if not learned.seen:
            break
        progress.check()
        epoch += 1
        tested = train.evaluate(model, tests)
        tested.check_finite("on the test pictures")
        row = {"epoch": epoch, "train_loss": learned.loss, "train_error": 1 - learned.right1 / learned.seen,
               "test_error": 1 - tested.acc1 / 100, "seconds": spent}  # fmt: skip
        rows.append(row)
        progress = progress.next_epoch(row, {})
        norms.append(gradient_norms(model, first))
        print(
            f"  epoch {epoch}: training loss {row['train_loss']:.3f}, error {row['train_error']:.1%}, "
            f"test {row['test_error']:.1%}, {spent:.0f} s",
            flush=True,
        )
    return {"epochs": rows, "gradient_norms": norms}


def gradient_norms(model, batch):
    """The norm of each weight's gradient, from the first layer to the last, on one batch; the model stays as it is."""
    model, (x, labels) = copy.deepcopy(model).train(), batch
    logits = model.forward(x)
    model.loss.forward(logits, model.loss.take_labels(logits, labels))
    model.backward(model.loss.backward())
    return [float(np.linalg.norm(p.grad)) for p in model.parameters() if p.value.ndim == 4]


def weights_of(name, args):
    """The file of a network's weights, where they are kept."""
    return args.output_dir / f"{name.replace(' ', '-').lower()}.safetensors"


def result_of(name, make, data, args, seconds=None, keep=False):
    """From the output folder if it is there, and of the same settings; else from a training. keep: the weights, too."""
    weights = weights_of(name, args)
    path = weights.with_suffix(".json")
    settings = {"what": args.what, "limit": args.limit, "batch_size": args.batch_size, "seed": args.seed}
    settings["pictures"] = digest_of(data)
    settings |= {"epochs": args.epochs, "width": args.width} if seconds is None else {"minutes": args.minutes}
    kept = benchmarks.kept_record(path, settings, KEPT)
    if kept and (weights.is_file() or not keep):
        return kept
    model = make()
    expected = expect(model, min(args.batch_size, len(data[0][0])))
    time = expected.time_for(len(data[0][0]), len(data[1][0]), args.epochs)
    print(f"{name}: {expected}: {time if seconds is None else as_duration(seconds)}", flush=True)
    costs = mx.summary(model)
    counts = {"parameters": costs.parameters, "multiply_adds": costs.multiply_adds}
    result = {"settings": settings, **counts, **train_one(model, data, args, seconds)}
    result |= {"hardware": benchmarks.hardware(), "versions": benchmarks.versions()}
    if keep:
        record = mx.weights.as_metadata(mx.weights.record_of(model))
        mx.weights.save(weights, mx.weights.export_grouped(model), record)
    benchmarks.write_record(path, result)
    return result


# ---- what is shown -------------------------------------------------------------------------------------


def training_errors(result):
    """(epochs, errors), for mx.plot.lines."""
    return [[row[key] for row in result["epochs"]] for key in ("epoch", "train_error")]


def depth(args, data, classes):
    """Training error by epoch, and the gradients' norms at the start and at the end."""
    results = {}
    for name in args.networks:
        layers, kind = DEPTHS[name]
        results[name] = result_of(
            name,
            lambda layers=layers, kind=kind: mx.models.resnet(
                layers, len(classes), preset="cifar", width=args.width, rng=args.seed, **kind
            ),
            data,
            args,
        )
    series = {name: training_errors(r) for name, r in results.items()}
    mx.plot.lines(series, "epoch", "training error", path=args.output_dir / "training_error.png")
    for when, at in (("start", 0), ("end", -1)):
        norms = {
            name: (range(1, 1 + len(r["gradient_norms"][at])), r["gradient_norms"][at])
            for name, r in results.items()
        }
        title = f"The norm of each convolution's gradient, at the {when}"
        mx.plot.lines(
            norms, "layer", "norm", title, logy=True, path=args.output_dir / f"gradients_{when}.png"
        )
    return results


def minutes(args, data, classes):
    """Test error beside what a picture costs."""
    results = {}
    for name in args.networks:
        results[name] = result_of(
            name, lambda name=name: SMALL[name](len(classes), args.seed), data, args, 60 * args.minutes
        )
    points = {
        name: (r["multiply_adds"], 100 * r["epochs"][-1]["test_error"], r["parameters"])
        for name, r in results.items()
    }
    title = (
        f"Test error after {args.minutes:g} minute{'s' * (args.minutes != 1)} of training; size: parameters"
    )
    mx.plot.costs(points, title, path=args.output_dir / "networks.png")
    return results


def allocations(args, data, classes):
    """Training error by epoch, of networks that cost the same and have their blocks elsewhere."""
    results = {}
    for family, (make, layers) in TWO.items():
        make, series = partial(make, len(classes), args), {}
        asked = [place for place in PLACES if f"{family}-{place}" in args.networks]
        found = [one.layers for one in mx.allocations(make, layers)] if asked else []
        for place in asked:
            name, counts = f"{family}-{place}", PLACES[place](found, layers)
            print(f"{name}: {counts}, one of {len(found)} that cost as much as {layers}")
            results[name] = result_of(name, partial(make, layers=counts), data, args)
            series[f"{place}: {', '.join(map(str, counts))}"] = training_errors(results[name])
        if series:
            path = args.output_dir / f"{family.lower()}_training_error.png"
            mx.plot.lines(series, "epoch", "training error", f"{family}, blocks of each stage", path=path)
    return results


def drop(args, data, classes):
    """The error without each residual block; how much dense layers read of each other."""
    results = {}
    for name in args.networks:
        make = partial(TWO[name][0], len(classes), args)
        results[name] = result_of(name, make, data, args, keep=True)
        model = make()
        mx.weights.load_pretrained(model, weights_of(name, args))
        if mx.anatomy.residual_blocks(model):
            rows = mx.anatomy.drop_blocks(model, batches_for(model, data, args)[1])
            body = [[row.name, f"{row.error:.1f} %", f"{row.more:+.1f}"] for row in rows]
            print("\n" + table(["without", "test error", "more"], body))
            title = f"{name}: test error without one of its blocks"
            mx.plot.dropped(rows, title, path=args.output_dir / "blocks.png")
        else:
            tables, title = mx.anatomy.reading(model), f"{name}: what each layer reads of each earlier one"
            mx.plot.reading(tables, title, args.output_dir / "reading.png")
            mx.plot.reading(tables, title, args.output_dir / "reading_by_layer.png", by_layer=True)
            start = mx.anatomy.reading(make())  # much of it may still be there
            path = args.output_dir / "reading_start.png"
            mx.plot.reading(start, f"{name} before training", path, by_layer=True)
    return results


def main(argv=None):
    args = parse_arguments(argv)
    train_set = small_pictures(args.data, "train", args.limit)
    data = train_set, small_pictures(args.data, "val", max(10, args.limit // 5))
    show = {"depth": depth, "minutes": minutes, "allocations": allocations, "drop": drop}[args.what]
    with locked(args.output_dir):
        results = show(args, data, train_set[2])
    header = ["network", "parameters", "multiply-adds", "epochs", "training error", "test error", "seconds"]
    rows = []
    for name, r in results.items():
        last = r["epochs"][-1]
        rows.append([name, f"{r['parameters']:,}", f"{r['multiply_adds']:,}", str(last["epoch"]),
                     f"{last['train_error']:.1%}", f"{last['test_error']:.1%}", f"{last['seconds']:.0f}"])  # fmt: skip
    print("\n" + table(header, rows))
    print(f"In {args.output_dir}: " + ", ".join(sorted(path.name for path in args.output_dir.iterdir())))


if __name__ == "__main__":
    friendly(main)
