"""Train LeNet-5 on MNIST, or on a set like it.    python examples/lenet_mnist.py [--dataset fashion-mnist]

Without MNIST and without a network it draws digits itself and trains on those. The results are in runs/lenet:
curves, filters, feature maps, the confusion matrix and the worst mistakes as pictures, history.csv, the weights,
where the classes are digits a second network that knows what is none, and a checkpoint from which an interrupted run
goes on:    python examples/lenet_mnist.py --resume runs/lenet
"""

import argparse
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import minialex as mx
from minialex import optim, plot, train
from minialex.cluster import cluster_of, described
from minialex.data import class_names, load, load_drawn_digits
from minialex.data.classes import a_few
from minialex.data.known_sets import SETS
from minialex.data.loader import ArrayBatches
from minialex.data.named import NAMES, NOT_AS_MNIST, known_set
from minialex.models.lenet import ACTIVATIONS, VARIANTS
from minialex.training import results
from minialex.training.command_line import (
    Parser,
    add_cluster,
    add_threads,
    check_cluster,
    check_evaluates,
    choose_processes,
    friendly,
    named,
    number,
    settle,
    use_threads,
    whole_number,
)
from minialex.training.doubt import FEWEST, learn_doubt, save_doubt
from minialex.training.output import Elsewhere, Output, drawing
from minialex.training.recorded import unrecorded
from minialex.training.reports import ErrorReport
from minialex.training.runs import (
    DOUBT,
    HISTORY,
    MODEL,
    advice_when_stopped,
    check_whose,
    find_checkpoint,
    last_row,
    load_run,
    settings_to_resume,
    write_settings,
)
from minialex.words import counted, typed

# What a run's numbers hang on, and what it is unless asked otherwise. A resumed run takes its own.
DEFAULTS = {
    "dataset": "mnist",
    "variant": "modern",
    "activation": "tanh",
    "dropout": 0.0,
    "epochs": 10,
    "batch_size": 128,
    "processes": None,
    "threads": None,
    "lr": 0.1,
    "momentum": 0.9,
    "wd": 1e-3,
    "lr_scheduler": "cosine",
    "holdout": 0,
    "seed": 0,
    "limit": None,
    "checkpoint_every": 0,
}
DEFAULTS_1998 = {"epochs": 20, "batch_size": 32, "lr": 1e-3, "wd": 0.0}
DEFAULTS_RELU = {"lr": 0.05}
# Options that a test of weights has no use for.
TRAINING = (
    "dropout", "epochs", "batch_size", "lr", "momentum", "wd", "lr_scheduler", "holdout", "seed", "processes",
    "output_dir", "checkpoint_every", "dry_run",
)  # fmt: skip
TEST_BATCH = 256  # larger ones no longer fit into a cache
DRY_RUN = {"epochs": 1, "limit": 512}
PICTURES = ["confusion.png", "curves.png", "feature_maps.png", "filters.png", "mistakes.png"]
# In the middle of a run:
MAY_CHANGE = {"epochs", "lr", "momentum", "wd", "lr_scheduler", "checkpoint_every", "processes", "threads"}


def parse_arguments(argv=None):
    whole = whole_number(1)
    parser = Parser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data-dir",
        type=named,
        metavar="DIR",
        help="the set's four files are here, or will be (default: a cache, or downloaded)",
    )
    add(
        "--dataset",
        type=set_like_mnist,
        choices=list(SETS),
        help="what to learn: digits (mnist, the default), clothes, letters, ...",
    )
    add("--variant", choices=VARIANTS, help="modern (61,706 parameters), 1998 (60,000) or keras (44,426)")
    add("--activation", choices=list(ACTIVATIONS), help="of modern and keras (default: tanh)")
    add("--dropout", type=number, metavar="P", help="after C5 and F6, of modern and keras (default: 0)")
    add("--epochs", type=whole, metavar="N", help="default: 10; for 1998: 20")
    add("-b", "--batch-size", type=whole, metavar="N", help="default: 128; for 1998: 32")
    add("--lr", type=number, help="learning rate (default: 0.1; for relu 0.05; for 1998 0.001)")
    add("--momentum", type=number, help="default: 0.9")
    add("--wd", type=number, help="weight decay (default: 0.001; for 1998: 0)")
    add("--lr-scheduler", choices=["constant", "step", "plateau", "cosine"], help="default: cosine")
    add(
        "--holdout",
        type=whole_number(0),
        metavar="N",
        help="keep N training pictures out, for plateau and 'best'",
    )
    add("--seed", type=whole_number(0), help="of everything that is random (default: 0)")
    add("--devices", default="auto", help="cpu, cuda:0, sim:0 or auto: a GPU if there is one (default)")
    add_threads(parser)
    add_cluster(parser)
    add(
        "--processes",
        type=whole,
        metavar="N",
        help="share each batch, on a CPU (default: as many as threads, with 32 pictures at least for each); the same "
        "number gives the same bits",
    )
    add("--resume", metavar="PATH", help="go on from a checkpoint, or from the one in a run's folder")
    add("-e", "--evaluate", action="store_true", help="test the weights of --resume, train nothing")
    add("--output-dir", type=named, metavar="DIR", help="default: runs/lenet, or the next free runs/lenet-N")
    add(
        "--checkpoint-every",
        type=whole_number(0),
        metavar="STEPS",
        help="besides each epoch's end (default: 0, off)",
    )
    add("--limit", type=whole, metavar="N", help="use only the first N pictures of each set")
    add("--dry-run", action="store_true", help="one short epoch, to see whether all works")
    args = parser.parse_args(argv)
    if args.evaluate and not args.resume:
        parser.error(
            "-e tests weights: say which with --resume PATH (a run's folder, a checkpoint, or a weight file)"
        )
    check_evaluates(parser, args, TRAINING)
    check_cluster(parser, args)
    if args.cluster and args.processes:
        parser.error(
            f"--processes {args.processes} share a batch on this machine alone: leave out that or --cluster"
        )
    return args


def set_like_mnist(name):
    """The name of a set, as long as it is none that LeNet-5 cannot read."""
    if name in NAMES and name not in SETS:
        raise argparse.ArgumentTypeError(f"{name} {NOT_AS_MNIST}")
    return name


def settings_of(args, of_checkpoint, may_change=MAY_CHANGE):
    """What was asked for, else what the checkpoint says, else the defaults."""
    asked = {name: getattr(args, name) for name in DEFAULTS if getattr(args, name) is not None}
    if args.dry_run and args.resume and of_checkpoint:
        raise ValueError(f"--dry-run is a short run from the beginning: leave out --resume {args.resume}")
    if of_checkpoint:
        return settle(asked, {"dataset": "mnist", **of_checkpoint}, DEFAULTS, may_change)  # once the only one
    of_variant = (
        DEFAULTS_1998 if args.variant == "1998" else DEFAULTS_RELU if args.activation == "relu" else {}
    )
    return settle(asked, None, {**DEFAULTS, **of_variant, **(DRY_RUN if args.dry_run else {})}, may_change)


def load_pictures(settings, wanted=None):
    """The set; or, for MNIST, digits that are drawn here, when no one named a place and there is no way to fetch it.

    wanted: what a resumed run was trained on.
    """
    folder, name = settings.get("data_dir"), settings["dataset"]
    title = known_set(name).title
    if wanted != "drawn digits" or name != "mnist":
        try:
            return title, load(name, folder)
        except OSError as error:  # DownloadFailed, or no place to put a download
            if folder:
                raise OSError(f"{title} is not in {folder}, and could not be fetched. {error}") from None
            if name != "mnist":
                raise OSError(
                    f"{title} is not here, and could not be fetched. {error}\nWith its four files in a folder: "
                    f"--data-dir FOLDER."
                ) from None
            if wanted:
                raise
            print(f"{error}\n")
            print("MNIST is not here and could not be fetched: training on drawn digits instead.")
            print("(With MNIST's four files in a folder: --data-dir FOLDER.)\n")
    limit = settings["limit"] or 10_000
    return "drawn digits", load_drawn_digits(min(limit, 10_000), min(limit, 2_000), seed=0)


def make_batches(sets, settings, prepare):
    """Batches to train on, those held out (or None), and those of the test set."""
    (train_x, train_y), (test_x, test_y) = sets
    limit, holdout = settings["limit"], settings["holdout"]
    train_x, train_y, test_x, test_y = (array[:limit] for array in (train_x, train_y, test_x, test_y))
    if holdout >= len(train_x):
        raise ValueError(f"--holdout {holdout} leaves nothing of {counted(len(train_x), 'training picture')}")
    cut = len(train_x) - holdout
    train_on = ArrayBatches(train_x[:cut], train_y[:cut], settings["batch_size"], settings["seed"], prepare)
    held_out = ArrayBatches(train_x[cut:], train_y[cut:], TEST_BATCH, prepare=prepare) if holdout else None
    return train_on, held_out, ArrayBatches(test_x, test_y, TEST_BATCH, prepare=prepare)


def draw_pictures(model, history, test, folder):
    """The run as pictures; returns the names of the files."""
    logits, labels = train.predict(model, test)
    guesses = logits.argmax(axis=1)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    k = logits.shape[1]
    matrix = np.bincount(k * labels.astype(int) + guesses, minlength=k * k).reshape(k, k)
    if history:
        plot.curves(history, folder / "curves.png")
    plot.filters(
        mx.to_numpy(model["c1"].weight.value), folder / "filters.png", title="C1: six kernels of 5x5"
    )
    plot.feature_maps(model, model.prepare(test.pictures[:1]), folder / "feature_maps.png")
    plot.confusion(matrix, folder / "confusion.png", classes=model.classes)
    surest = share.max(axis=1)
    plot.mistakes(test.pictures, labels, guesses, surest, folder / "mistakes.png", classes=model.classes)
    return sorted(path.name for path in folder.glob("*.png"))


def learns_doubt(settings):
    """Are the classes the ten digits, and are there enough of them to learn from?"""
    enough = settings["limit"] is None or settings["limit"] - settings["holdout"] >= FEWEST
    return enough and class_names(settings["dataset"]) == class_names("mnist")


def learn_what_is_none(model, train_on, folder):
    """A second network, which knows letters and scribbles: for predict, which is then not sure of them."""
    start = time.perf_counter()
    doubt = learn_doubt(model, train_on.pictures, train_on.labels)
    save_doubt(folder / DOUBT, doubt)
    print(
        f"Learned from drawn letters and scribbles what is no digit, in {time.perf_counter() - start:.0f} s"
    )


def build_model(settings, device):
    names, classes = ("variant", "activation", "dropout"), class_names(settings["dataset"])
    chosen = {n: settings[n] for n in names}
    model = mx.models.lenet5(**chosen, rng=settings["seed"], device=device, num_classes=len(classes))
    model.classes = classes
    return model


def with_dataset(path, of_run):
    """The settings of saved weights, with the set that they are of where only the names of their classes say it."""
    classes = of_run.get("classes")
    fitting = [name for name in SETS if classes in (None, class_names(name))]  # mnist first
    if not fitting:
        raise ValueError(
            f"{path} knows {counted(len(classes), 'class', 'classes')}, {a_few(classes)}: those of no set that is "
            "known here"
        )
    if of_run.get("dataset", fitting[0]) not in fitting:
        raise ValueError(
            f"{path} is of {of_run['dataset']}, and its classes, {a_few(classes)}, are not: it is damaged"
        )
    return {"dataset": fitting[0], **of_run}


def evaluate(args, device):
    """-e: the test error of saved weights."""
    arrays, of_run = load_run(args.resume)
    check_whose(args.resume, "LeNet-5", arrays, of_run)
    of_run = with_dataset(args.resume, of_run)
    asked = args.dataset or of_run["dataset"]
    same = class_names(asked) == class_names(of_run["dataset"])  # as MNIST's digits and QMNIST's
    fixed = {"variant", "activation"} if same else {"variant", "activation", "dataset"}
    settings = settings_of(args, of_run, may_change=set(DEFAULTS) - fixed)
    use_threads(settings["threads"])
    if asked != of_run["dataset"]:
        settings.pop("data_dir", None)  # where another set is
    if args.data_dir:
        settings["data_dir"] = args.data_dir
    data, sets = load_pictures(settings, of_run.get("data") if asked == of_run["dataset"] else None)
    model = build_model(settings, device)
    mx.weights.import_grouped(model, arrays)
    taken_for = f"variant {settings['variant']}, activation {settings['activation']}"
    if note := unrecorded(args.resume, taken_for):
        print(note)
    _, _, test = make_batches(sets, {**settings, "holdout": 0}, model.prepare)
    report_test(model, test, data)


def report_test(model, test, data):
    scores = train.evaluate(model, test)
    wrong = scores.seen - scores.right1
    print(
        f"Test error on {data}: {scores.error:.2f} % ({wrong} of {scores.seen:,} wrong), loss {scores.loss:.4f}"
    )
    scores.check_finite(f"on {data}")


def main(argv=None):
    args = parse_arguments(argv)
    device = mx.place(args.devices)[0]
    if args.evaluate:
        return evaluate(args, device)
    dry = args.dry_run and not (args.resume or args.output_dir)  # each writes over the last one
    name = "dry-run" if dry else "lenet"
    with cluster_of(args) as cluster:
        device = mx.place(cluster.devices(args.devices))[0]
        wanted = Output(args.resume, args.output_dir, name, again=dry) if cluster.first else Elsewhere(name)
        with wanted as output:
            train_network(args, device, output, cluster)


def train_network(args, device, output, cluster):
    checkpoint = cluster.of_first(lambda: find_checkpoint(args.resume, "LeNet-5"))
    of_run = cluster.of_first(lambda: settings_to_resume(args.resume, checkpoint)) or {}
    # Before the first checkpoint nothing hangs on them, but on the network other settings do.
    may_change = MAY_CHANGE if checkpoint else set(DEFAULTS) - {"variant", "activation"}
    settings = settings_of(args, of_run, may_change)
    if settings["dataset"] != of_run.get("dataset", settings["dataset"]):  # where another set is
        settings.pop("data_dir", None)
        of_run = {name: value for name, value in of_run.items() if name != "data_dir"}
    use_threads(settings["threads"])
    if args.data_dir:  # kept with the run, for whoever resumes it
        settings["data_dir"] = str(Path(args.data_dir).absolute())
    asked, saved = args.processes, of_run.get("processes")
    if not cluster.alone:
        asked, saved = 1, None
    settings["processes"] = choose_processes(asked, saved, settings["batch_size"], device)
    model = build_model(settings, device)  # settings that cannot be are told before anything is written
    optimizer = mx.SGD(model.parameters(), settings["lr"], settings["momentum"], settings["wd"])
    schedule = optim.make_schedule(settings["lr_scheduler"], settings["lr"], settings["epochs"])
    if settings["lr_scheduler"] == "plateau" and not settings["holdout"]:
        raise ValueError(
            "--lr-scheduler plateau needs --holdout N: the test set is not for choosing anything"
        )
    folder = output.take()
    if checkpoint and checkpoint.state["progress"]["epoch"] >= settings["epochs"]:
        last = last_row(checkpoint, "test_error")
        print(
            f"This run is finished: {counted(last['epoch'], 'epoch')}, test error {last['test_error']:.2f} %."
        )
        flaws = results.flaws(
            folder, checkpoint, ErrorReport(), PICTURES, MAY_CHANGE, doubted=learns_doubt(settings)
        )
        if lost := results.lost_best(folder, checkpoint, ErrorReport()):
            print(lost)
        if not flaws:
            print(f"Its results are in {folder}. To train on, ask for more: --epochs {last['epoch'] + 10}")
            return
        print("Not all of its results were written: writing them now.")
        print("\n".join(f"  {name} {flaw}" for name, flaw in flaws.items()))

    if not checkpoint:
        write_settings(folder, {**of_run, **settings})  # before reading, or fetching, which takes a while
    same = settings["dataset"] == of_run.get("dataset", "mnist")
    with cluster.first_before_others():  # which find what it has fetched
        settings["data"], sets = load_pictures(settings, of_run.get("data") if same else None)
    train_on, held_out, test = make_batches(sets, settings, model.prepare)
    shown = [
        name for name in DEFAULTS if cluster.alone or name != "processes"
    ]  # of a cluster it is said below
    print(mx.summary(model))
    print(
        f"\n{settings['data']}: {counted(len(train_on.labels), 'picture')} to train on, "
        f"{settings['holdout']:,} held out, {len(test.labels):,} to test; on {device.name}, in {folder}\n"
        + ", ".join(f"{name} {settings[name]}" for name in shown if settings[name] is not None)
        + "\n"
    )
    if said := described(cluster):
        print(f"{said}\n")
    several = settings["processes"] > 1
    try:
        with mx.DataParallel(model, settings["processes"]) if several else nullcontext(model) as learner:
            history = train.fit(
                learner,
                optimizer,
                schedule,
                train_on,
                test,
                held_out,
                epochs=settings["epochs"],
                folder=folder,
                checkpoint_every=settings["checkpoint_every"],
                resume=checkpoint,
                settings=settings,
                cluster=cluster,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(advice_when_stopped(folder)) from None
    if not cluster.first:
        return
    print()
    report_test(model, test, settings["data"])
    with drawing(folder):
        files = [MODEL, HISTORY, *draw_pictures(model, history, test, folder)]
        if learns_doubt(settings):
            learn_what_is_none(model, train_on, folder)
            files.append(DOUBT)
    print(f"In {folder}: " + ", ".join(files))
    print(f"Try it on a picture of your own: python -m minialex predict my.png --weights {typed(folder)}")


if __name__ == "__main__":
    friendly(main)
