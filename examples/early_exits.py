"""SmartNet beside networks that send every picture through all of themselves: error against what a picture costs.

    python examples/early_exits.py DATA                pictures of 32x32 in class folders (CIFAR-10's, say)
    python examples/early_exits.py mnist               MNIST
    python examples/early_exits.py DATA speed          seconds for 1,000 pictures, with and without leaving

Each network trains for the same minutes of processor time, from several seeds: SmartNet exit by exit, its minutes dealt
out among them, and a second one with all its exits together.
Then every picture leaves at the first exit that is sure enough, and how sure that is goes from 0 to 1: a curve. Drawn,
too: which gates closed, what they save, and pictures that left at once or stayed to the end.

Each result is kept in the output folder as soon as it is there; started again, the program goes on from it.
"""

import argparse
import copy
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

import minialex as mx
from minialex import train
from minialex.data.loader import ArrayBatches
from minialex.data.small import Cropped, Prepared, digest_of, small_pictures
from minialex.study import benchmarks
from minialex.study.benchmarks import table
from minialex.study.leaving import Leaving, answers_of, curve, exit_costs, leave_at_for, leaving
from minialex.training.alone import Alone
from minialex.training.command_line import Parser, as_path, friendly, number, whole_number
from minialex.training.epoch import read_scores
from minialex.training.evaluation import QUIET
from minialex.training.lock import locked
from minialex.training.progress import Progress
from minialex.weights import records
from minialex.words import as_duration, counted, did_you_mean

RECIPE, WARM_UP = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}, 0.1  # as examples/small_networks.py
SMARTNET, TOGETHER = "SmartNet", "SmartNet-together"
NETWORKS = {
    "cifar": {
        SMARTNET: partial(mx.models.smartnet, preset="small", width=0.5),
        TOGETHER: partial(mx.models.smartnet, preset="small", width=0.5),
        "ResNet-8": partial(mx.models.resnet, 8, preset="cifar", width=0.5),
        "ResNet-20": partial(mx.models.resnet, 20, preset="cifar", width=0.5),
        "DenseNet-22": partial(mx.models.densenet, 22, preset="small", width=0.5),
        "DenseNet-40": partial(mx.models.densenet, 40, preset="small", width=0.5),
    },
    "mnist": dict.fromkeys((SMARTNET, TOGETHER), partial(mx.models.smartnet, preset="mnist")),
}
# What was asked for of pictures that leave early: both are set on held-out ones.
HOW = {
    "at_half": "half-way between the first and the last exit's cost",
    "at_equal_error": "as right as the last exit on held-out pictures",
}
# What is read of a result that was kept: of a SmartNet, and of others.
AMOUNT, COUNT = records.number(0), records.whole()
POINT = {"leave_at": AMOUNT, "pictures": [COUNT], "errors": [records.CELL], "costs": [AMOUNT], "error": AMOUNT,
         "cost": AMOUNT}  # fmt: skip
SMART = {"multiply_adds": COUNT, "costs": [AMOUNT], "errors": [AMOUNT], "curve": [POINT], **dict.fromkeys(HOW, POINT),
         "epochs": [{"seconds": AMOUNT, "open": COUNT, "gates": records.whole(1), "multiply_adds": COUNT}]}  # fmt: skip
OTHER = {"multiply_adds": COUNT, "error": AMOUNT}


def parse_arguments(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        help='a folder with train/<class>/ and val/<class>/ or test/<class>/, or "mnist"',
    )
    add("what", choices=["curve", "speed"], nargs="?", default="curve", metavar="{curve,speed}")
    add(
        "--networks",
        nargs="+",
        metavar="NAME",
        help="these alone, of " + ", ".join(NETWORKS["cifar"]) + " (mnist: the first two; default: all)",
    )
    add("--minutes", type=number, default=3.0, help="for each network and seed (default: 3)")
    add("--seeds", type=whole_number(1), default=3, metavar="N", help="0 to N - 1 (default: 3)")
    add("--penalty", type=number, default=0.005, help="of SmartNet's gates (default: 0.005)")
    add("--limit", type=whole_number(100), default=10_000, metavar="N", help="pictures (default: 10000)")
    add("-b", "--batch-size", type=whole_number(2), default=128, help="default: 128")
    add("--output-dir", type=as_path, help="default: runs/early-exits-cifar or -mnist")
    args = parser.parse_args(argv)
    if not args.minutes:
        parser.error("--minutes 0 is no training at all: 0.1 is enough to try the program")
    args.kind = "mnist" if args.data == "mnist" else "cifar"
    args.output_dir = args.output_dir or Path("runs") / f"early-exits-{args.kind}"
    known = NETWORKS[args.kind]
    if unknown := [name for name in args.networks or () if name not in known]:
        parser.error(
            f"--networks {unknown[0]!r} is not one of {', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    args.networks = args.networks or list(known)
    return args


# ---- pictures ------------------------------------------------------------------------------------------


def read_pictures(args):
    """Training pictures and test pictures, each (bytes, labels, classes)."""
    if args.kind == "cifar":
        few = max(10, args.limit // 5)
        return small_pictures(args.data, "train", args.limit), small_pictures(args.data, "val", few)
    sets = mx.data.load_mnist()
    classes = [str(digit) for digit in range(10)]
    return [(x[: args.limit], labels[: args.limit], classes) for x, labels in sets]


class Batches:
    """Those to train on, those held out (a tenth), and those of the test, as a network wants them."""

    def __init__(self, data, args, seed):
        (x, labels, _), (x_test, labels_test, _) = data
        mean, std = x.mean(axis=(0, 2, 3), keepdims=True), x.std(axis=(0, 2, 3), keepdims=True)

        def prepare(pictures):
            return ((pictures - mean) / std).astype(np.float32)

        held = np.zeros(len(x), bool)
        held[::10] = True
        cropped = Cropped if args.kind == "cifar" else ArrayBatches
        self.train = Prepared(cropped(x[~held], labels[~held], args.batch_size, seed), prepare)
        self.held_out = Prepared(ArrayBatches(x[held], labels[held], args.batch_size), prepare)
        self.test = Prepared(ArrayBatches(x_test, labels_test, args.batch_size), prepare)


# ---- training ------------------------------------------------------------------------------------------


@np.errstate(**QUIET)
def train_for(model, batches, seconds, penalty, say):
    """As many steps as fit into `seconds`, the rate up and down; returns a row for each epoch.

    Raises NotFinite where the loss explodes, as `train.fit` does.
    """
    optimizer = mx.SGD(model.train().parameters(), **RECIPE, penalty=penalty)
    rows, spent, epoch, progress = [], 0.0, 0, Progress()
    while spent < seconds:
        began = time.process_time()
        for step, (x, labels) in enumerate(batches.train.shuffled(epoch)):
            share = (spent + time.process_time() - began) / seconds
            if share >= 1 and (step or rows):  # one step at least
                break
            optimizer.lr = RECIPE["lr"] * min(1.0, share / WARM_UP) * (1 + np.cos(np.pi * share)) / 2
            scores = train.train_step(model, optimizer, x, labels)
            read_scores([(scores, len(x), step + 1, optimizer.lr)], progress, batches.train, model, Alone())
        spent, epoch = spent + time.process_time() - began, epoch + 1
        learned = progress.scores
        if not learned.seen:
            break
        progress.check()
        row = {"epoch": epoch, "train_loss": learned.loss, "train_error": 1 - learned.right1 / learned.seen}
        rows.append(row | {"seconds": spent} | gates_of(model))
        say(rows[-1])
        progress = progress.next_epoch(row, {})
    return rows


def gates_of(model):
    """Of a SmartNet: how many gates are open, and multiply-adds of the last exit without what is closed."""
    gates = [p.value for name, p in model.named_parameters() if name.endswith("gate.weight")]
    if not gates:
        return {}
    cut = copy.deepcopy(model).compact()
    return {
        "open": int(sum((gate != 0).sum() for gate in gates)),
        "gates": int(sum(gate.size for gate in gates)),
        "multiply_adds": exit_costs(cut)[-1],
    }


def train_exits(model, batches, args, together, say):
    """Exit by exit, each for its share of the minutes, or all together; then what is closed is cut out."""
    turns, rows = [None] if together else range(1, len(model.exits) + 1), []
    for turn, exit in enumerate(turns):
        model.learn(exit)
        seconds = 60 * args.minutes / len(turns)
        own = train_for(model, batches, seconds, args.penalty, partial(say, exit))
        rows += [{"exit": exit, **row, "seconds": turn * seconds + row["seconds"]} for row in own]
    before = answers_of(model, batches.test)
    if np.isnan(before.sure).any():  # its last steps' doing, after which nobody asked for the loss
        raise mx.NotFinite("an exit says NaN of test pictures: try a smaller learning rate")
    cost_before = exit_costs(model)
    model.compact()
    answers, costs = answers_of(model, batches.test), exit_costs(model)
    held_out = answers_of(model, batches.held_out)
    found = {
        "epochs": rows,
        "costs_before": cost_before,
        "costs": costs,
        "errors_before": before.errors(),
        "errors": answers.errors(),
        "largest_change": float(np.abs(before.sure - answers.sure).max()),
        "curve": [asdict(point) for point in curve(answers, costs)],
    }
    middle = (costs[0] + costs[-1]) / 2
    leave_at = leave_at_for(middle, held_out, costs)
    found["at_half"] = {"budget": middle, **asdict(leaving(answers, costs, leave_at))}
    found["at_equal_error"] = at_equal_error(answers, held_out, costs)
    return found


def at_equal_error(answers, held_out, costs):
    """On the test's pictures, what is cheapest for held-out ones that are as often right as at the last exit."""
    points = curve(held_out, costs, 200)
    as_right = [point for point in points if point.error <= held_out.errors()[-1]]
    cheapest = min(
        as_right, key=lambda point: point.cost, default=points[-1]
    )  # none: 1.0 itself lets some leave
    return asdict(leaving(answers, costs, cheapest.leave_at))


def path_of(name, seed, args):
    """Where a result is kept."""
    return args.output_dir / f"{name.lower()}-{seed}.json"


def say_how_long(args):
    """What is to come, before it begins."""
    every = [path_of(name, seed, args) for name in args.networks for seed in range(args.seeds)]
    left = sum(not path.is_file() for path in every)
    if left:
        how_long = as_duration(60 * args.minutes * left)
        each = "" if left == 1 else f", {args.minutes:g} min each"
        print(
            f"{counted(left, 'training')}{each}: {how_long} of processor time, then tests; in {args.output_dir}"
        )


def result_of(name, seed, data, args):
    """From the output folder if it is there, and of the same settings; else from a training."""
    path = path_of(name, seed, args)
    settings = {"minutes": args.minutes, "limit": args.limit, "batch_size": args.batch_size, "seed": seed}
    settings |= {"pictures": digest_of(data)} | (
        {"penalty": args.penalty} if name in (SMARTNET, TOGETHER) else {}
    )
    is_smart = name in (SMARTNET, TOGETHER)
    kept = benchmarks.kept_record(path, settings, SMART if is_smart else OTHER)
    if kept and (not is_smart or path.with_suffix(".safetensors").is_file()):
        return kept
    model = NETWORKS[args.kind][name](num_classes=len(data[0][2]), rng=seed)
    costs = mx.summary(model)
    print(f"{name}, seed {seed}: {costs.parameters:,} parameters", flush=True)

    def say(exit, row):
        print(
            f"  {f'exit {exit}, ' if exit else ''}epoch {row['epoch']}: training loss {row['train_loss']:.3f}, "
            f"training error {row['train_error']:.1%}, {row['seconds']:.0f} s"
            + (f", {row['open']} of {row['gates']} gates open" if "gates" in row else ""),
            flush=True,
        )

    result = {"settings": settings, "parameters": costs.parameters, "multiply_adds": costs.multiply_adds}
    batches = Batches(data, args, seed)
    if is_smart:
        result |= train_exits(model, batches, args, name == TOGETHER, say)
        mx.save(model, path.with_suffix(".safetensors"))
    else:
        result["epochs"] = train_for(model, batches, 60 * args.minutes, 0.0, partial(say, None))
        tested = train.evaluate(model, batches.test)
        tested.check_finite("on the test pictures")
        result["error"] = 1 - tested.acc1 / 100
    result |= {"hardware": benchmarks.hardware(), "versions": benchmarks.versions()}
    benchmarks.write_record(path, result)
    return result


# ---- what is shown -------------------------------------------------------------------------------------


def load_smartnet(args, seed, classes):
    """The one that was trained, with its closed gates cut out."""
    path = args.output_dir / f"{SMARTNET.lower()}-{seed}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: train it first, without `speed`")
    reads = mx.weights.read_record(path)["reads"]
    model = NETWORKS[args.kind][SMARTNET](num_classes=len(classes), reads=reads)
    mx.load(model, path)
    return model.eval()


def draw(args, data, results):
    """Error against cost, the gates of the first seed as they closed, and pictures by exit."""
    smart = results.get(SMARTNET, [])
    others = {
        name: [(r["multiply_adds"], 100 * r["error"]) for r in of_seeds]
        for name, of_seeds in results.items()
        if name not in (SMARTNET, TOGETHER)
    }
    if not smart:
        return
    folder, classes = args.output_dir, data[0][2]
    curves = {
        words: [[Leaving(**point) for point in r["curve"]] for r in results[name]]
        for name, words in ((SMARTNET, "SmartNet, exit by exit"), (TOGETHER, "SmartNet, all exits together"))
        if name in results
    }
    title = f"After {args.minutes:g} min of training each; seeds: {len(smart)}"
    mx.plot.exit_curve(curves, others, title, folder / "curve.png")
    model = load_smartnet(args, 0, classes)
    mx.plot.gates(model, "SmartNet's gates after training, what is closed cut out", folder / "gates.png")
    rows = smart[0]["epochs"]
    seconds = [row["seconds"] for row in rows]
    share = {"gates open": (seconds, [100 * row["open"] / row["gates"] for row in rows])}
    share["multiply-adds"] = (
        seconds,
        [100 * row["multiply_adds"] / smart[0]["multiply_adds"] for row in rows],
    )
    mx.plot.lines(share, "seconds of training", "% of all", path=folder / "gates_over_training.png")
    batches, (x_test, labels, _) = Batches(data, args, 0), data[1]
    answers = answers_of(model, batches.test)
    left = answers.left(smart[0]["at_equal_error"]["leave_at"])
    mx.plot.leavers(x_test, labels, answers, left, classes, path=folder / "leavers.png")


def speed(args, data):
    """Seconds for 1,000 test pictures in batches, in turn: all to the last exit, and leaving."""
    model = load_smartnet(args, 0, data[0][2])
    result = benchmarks.kept_record(path_of(SMARTNET, 0, args), None, SMART)
    if result is None:
        raise FileNotFoundError(f"there is no {path_of(SMARTNET, 0, args)}: train it first, without `speed`")
    whole = NETWORKS[args.kind][SMARTNET](num_classes=len(data[0][2])).eval()
    batches = list(Batches(data, args, 0).test.in_order())[: -(-1000 // args.batch_size)]
    count = sum(len(labels) for _, labels in batches)

    def seconds(network, leave_at):
        network.leave_at, began = leave_at, time.perf_counter()
        for x, _ in batches:
            network.forward(x)
        return (time.perf_counter() - began) * 1000 / count

    arms = {"no gate closed": (whole, None), "closed gates cut out": (model, None)}
    for name in HOW:
        leave_at = result[name]["leave_at"]
        arms[f"leaving at {leave_at:.3f}: {HOW[name]}"] = (model, leave_at)
    rounds = [[seconds(*arm) for arm in arms.values()] for _ in range(9)][2:]
    body = []
    for name, own in zip(arms, np.array(rounds).T, strict=True):
        ratios = own / np.array(rounds)[:, 0]
        body.append(
            [
                name,
                f"{np.median(own):.3f}",
                f"{np.median(ratios):.2f}",
                f"{ratios.min():.2f} to {ratios.max():.2f}",
            ]
        )
    print(table(["1,000 pictures", "seconds", "of the first", "spread"], body))


def main(argv=None):
    args = parse_arguments(argv)
    data = read_pictures(args)
    if args.what == "speed":
        return speed(args, data)
    say_how_long(args)
    with locked(args.output_dir):
        results = {
            name: [result_of(name, seed, data, args) for seed in range(args.seeds)] for name in args.networks
        }
        show(results)
        draw(args, data, results)
    print(f"In {args.output_dir}: " + ", ".join(sorted(path.name for path in args.output_dir.iterdir())))


def show(results):
    """A row for each network and seed, of a SmartNet for each exit and each way of leaving."""
    rows = []
    for name, of_seeds in results.items():
        for seed, r in enumerate(of_seeds):
            if name not in (SMARTNET, TOGETHER):
                rows.append([name, str(seed), "", f"{r['multiply_adds']:,}", f"{r['error']:.1%}"])
                continue
            exits = enumerate(zip(r["costs"], r["errors"], strict=True), start=1)
            rows += [[name, str(seed), f"exit {e}, all", f"{c:,}", f"{error:.1%}"] for e, (c, error) in exits]
            for what in HOW:
                point = r[what]
                how = f"leaving at {point['leave_at']:.3f}: {HOW[what]}"
                rows.append([name, str(seed), how, f"{point['cost']:,.0f}", f"{point['error']:.1%}"])
    print("\n" + table(["network", "seed", "", "multiply-adds", "test error"], rows))


if __name__ == "__main__":
    friendly(main)
