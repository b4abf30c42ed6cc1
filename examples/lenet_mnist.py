"""Train LeNet-5 on MNIST.    python examples/lenet_mnist.py

Without MNIST and without a network it draws digits itself and trains on those. The results are in runs/lenet:
curves, filters, feature maps, the confusion matrix and the worst mistakes as pictures, history.csv, the weights,
and a checkpoint from which an interrupted run goes on:    python examples/lenet_mnist.py --resume runs/lenet
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

import minialex as mx
from minialex import optim, plot, train
from minialex.checkpoint import load_checkpoint
from minialex.data import load_drawn_digits, load_mnist
from minialex.data.loader import ArrayBatches
from minialex.models.lenet import ACTIVATIONS, VARIANTS

# What a run's numbers hang on, and what it is unless asked otherwise. A resumed run takes its own.
DEFAULTS = {
    "variant": "modern",
    "activation": "tanh",
    "dropout": 0.0,
    "epochs": 10,
    "batch_size": 128,
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
DRY_RUN = {"epochs": 1, "limit": 512}
MAY_CHANGE = {"epochs", "lr", "momentum", "wd", "lr_scheduler", "checkpoint_every"}  # in the middle of a run


def parse_arguments(argv=None):
    whole = whole_number(1)
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--data-dir",
        metavar="DIR",
        help="MNIST's four files are here, or will be (default: a cache, or downloaded)",
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
    add("--resume", metavar="PATH", help="go on from a checkpoint, or from the one in a run's folder")
    add("-e", "--evaluate", action="store_true", help="test the weights of --resume, train nothing")
    add("--output-dir", metavar="DIR", help="default: runs/lenet, or the next free runs/lenet-N")
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
    return args


def whole_number(least):
    def parse(text):
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number >= {least} is needed, not {text!r}")
        return int(text)

    return parse


def number(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number >= 0 is needed, not {text!r}")
    return value


def settle(args, of_checkpoint, may_change=MAY_CHANGE):
    """The run's settings: what was asked, else what the checkpoint says, else the defaults."""
    asked = {name: getattr(args, name) for name in DEFAULTS if getattr(args, name) is not None}
    if of_checkpoint:
        clash = [
            n for n in asked if n not in may_change and n in of_checkpoint and asked[n] != of_checkpoint[n]
        ]
        if clash:
            raise ValueError(
                "the checkpoint was made with "
                + ", ".join(f"{n} {of_checkpoint[n]}" for n in clash)
                + "; this run asks for "
                + ", ".join(f"{n} {asked[n]}" for n in clash)
                + ": leave that out, or start a new run"
            )
        return {**DEFAULTS, **of_checkpoint, **asked}
    of_variant = (
        DEFAULTS_1998 if args.variant == "1998" else DEFAULTS_RELU if args.activation == "relu" else {}
    )
    return {**DEFAULTS, **of_variant, **(DRY_RUN if args.dry_run else {}), **asked}


def find_checkpoint(resume):
    """The checkpoint that --resume names, a file or a folder's; None where a folder has none."""
    if resume is None:
        return None
    path = Path(resume)
    if is_file(path):
        return load_checkpoint(path)
    if (path / train.CHECKPOINT).is_file():
        return load_checkpoint(path / train.CHECKPOINT)
    print(f"There is no checkpoint in {path}: starting from the beginning.")
    return None


def is_file(path):
    """Does --resume name a file, rather than a run's folder?"""
    return path.is_file() or path.suffix == ".safetensors"


def choose_folder(args):
    """Where the results go. A folder that holds another run is not written over."""
    resumed = Path(args.resume) if args.resume else None
    if resumed and is_file(resumed):
        resumed = resumed.parent
    if args.output_dir:
        folder = Path(args.output_dir)
        another = resumed is None or folder.resolve() != resumed.resolve()
        if another and any((folder / name).exists() for name in (train.CHECKPOINT, train.MODEL)):
            raise ValueError(
                f"{folder} holds a run already: go on with it by --resume {folder}, or name another --output-dir"
            )
        return folder
    if resumed:
        return resumed
    if args.dry_run:
        return Path("runs", "dry-run")  # each writes over the last one
    folders = (Path("runs", "lenet" if n == 1 else f"lenet-{n}") for n in range(1, 10_000))
    return next(folder for folder in folders if not (folder / train.SETTINGS).exists())


def is_complete(folder, checkpoint):
    """Are all the results of a finished run there? It may have been killed after its last checkpoint."""
    model, last_picture = folder / train.MODEL, folder / "mistakes.png"
    if not (model.is_file() and last_picture.is_file()):
        return False
    arrays = mx.weights.load(model)
    return all(np.array_equal(arrays.get(name), array) for name, array in checkpoint.parameters.items())


def load_pictures(args, settings, wanted=None):
    """MNIST; or digits that are drawn here, when no one named a place and there is no way to fetch it.

    wanted: what a resumed run was trained on.
    """
    if wanted != "drawn digits":
        try:
            return "MNIST", load_mnist(args.data_dir)
        except OSError as error:  # DownloadFailed, or no place to put a download
            if args.data_dir or wanted:
                raise
            print(f"{error}\n\nMNIST is not here and could not be fetched: training on drawn digits instead.")
            print("(With MNIST's four files in a folder: --data-dir FOLDER.)\n")
    limit = settings["limit"] or 10_000
    return "drawn digits", load_drawn_digits(min(limit, 10_000), min(limit, 2_000), seed=0)


def make_batches(sets, settings, prepare):
    """Batches to train on, those held out (or None), and those of the test set."""
    (train_x, train_y), (test_x, test_y) = sets
    limit, holdout = settings["limit"], settings["holdout"]
    train_x, train_y, test_x, test_y = (array[:limit] for array in (train_x, train_y, test_x, test_y))
    if holdout >= len(train_x):
        raise ValueError(f"--holdout {holdout} leaves nothing of {len(train_x)} training pictures")
    if settings["lr_scheduler"] == "plateau" and not holdout:
        raise ValueError(
            "--lr-scheduler plateau needs --holdout N: the test set is not for choosing anything"
        )
    cut = len(train_x) - holdout
    train_on = ArrayBatches(train_x[:cut], train_y[:cut], settings["batch_size"], settings["seed"], prepare)
    held_out = ArrayBatches(train_x[cut:], train_y[cut:], 500, prepare=prepare) if holdout else None
    return train_on, held_out, ArrayBatches(test_x, test_y, 500, prepare=prepare)


def draw_pictures(model, history, test, folder):
    """The run as pictures; returns the names of the files."""
    logits, labels = train.predict(model, test)
    guesses = logits.argmax(axis=1)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    matrix = np.bincount(10 * labels.astype(int) + guesses, minlength=100).reshape(10, 10)
    if history:
        plot.curves(history, folder / "curves.png")
    plot.filters(
        mx.to_numpy(model["c1"].weight.value), folder / "filters.png", title="C1: six kernels of 5x5"
    )
    plot.feature_maps(model, model.prepare(test.pictures[:1]), folder / "feature_maps.png")
    plot.confusion(matrix, folder / "confusion.png")
    plot.mistakes(test.pictures, labels, guesses, share.max(axis=1), folder / "mistakes.png")
    return sorted(path.name for path in folder.glob("*.png"))


def build_model(settings, device):
    names = ("variant", "activation", "dropout")
    return mx.models.lenet5(**{n: settings[n] for n in names}, rng=settings["seed"], device=device)


def evaluate(args, device):
    """-e: the test error of saved weights."""
    arrays, of_run = train.load_run(args.resume)
    settings = settle(args, of_run, may_change=set(DEFAULTS) - {"variant", "activation"})
    data, sets = load_pictures(args, settings, of_run.get("data"))
    model = build_model(settings, device)
    mx.weights.import_grouped(model, arrays)
    _, _, test = make_batches(sets, {**settings, "holdout": 0, "lr_scheduler": "constant"}, model.prepare)
    report_test(model, test, data)


def report_test(model, test, data):
    loss, error = train.evaluate(model, test)
    count = len(test.labels)
    print(
        f"Test error on {data}: {error:.2f} % ({round(error * count / 100)} of {count:,} wrong), loss {loss:.4f}"
    )


def main(argv=None):
    args = parse_arguments(argv)
    device = mx.place(args.devices)[0]
    if args.evaluate:
        return evaluate(args, device)
    checkpoint = find_checkpoint(args.resume)
    settings = settle(args, checkpoint and checkpoint.state["settings"])
    folder = choose_folder(args)
    make_writable(folder)
    if checkpoint and checkpoint.state["progress"]["epoch"] >= settings["epochs"]:
        last = checkpoint.state["progress"]["history"][-1]
        print(f"This run is finished: {last['epoch']} epochs, test error {last['test_error']:.2f} %.")
        if is_complete(folder, checkpoint):
            print(f"Its results are in {folder}. To train on, ask for more: --epochs {last['epoch'] + 10}")
            return
        print("Not all of its results were written: writing them now.")

    of_checkpoint = checkpoint.state["settings"] if checkpoint else {}
    settings["data"], sets = load_pictures(args, settings, of_checkpoint.get("data"))
    model = build_model(settings, device)
    train_on, held_out, test = make_batches(sets, settings, model.prepare)
    print(mx.summary(model))
    print(
        f"\n{settings['data']}: {len(train_on.labels):,} pictures to train on, {settings['holdout']:,} held out, "
        f"{len(test.labels):,} to test; on {device.name}, in {folder}\n"
        + ", ".join(f"{name} {settings[name]}" for name in DEFAULTS if settings[name] is not None)
        + "\n"
    )
    optimizer = mx.SGD(model.parameters(), settings["lr"], settings["momentum"], settings["wd"])
    schedule = optim.make_schedule(settings["lr_scheduler"], settings["lr"], settings["epochs"])
    try:
        history = train.fit(
            model,
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
        )
    except KeyboardInterrupt:
        safe = f"The last checkpoint is safe: go on with --resume {folder}"
        none = "There was no checkpoint yet: --checkpoint-every STEPS makes them sooner."
        raise KeyboardInterrupt(safe if (folder / train.CHECKPOINT).is_file() else none) from None
    print()
    report_test(model, test, settings["data"])
    print(
        f"In {folder}: "
        + ", ".join([train.MODEL, train.HISTORY, *draw_pictures(model, history, test, folder)])
    )
    print(f"Try it on a picture of your own: python -m minialex predict my.png --weights {folder}")


def make_writable(folder):
    """Find out now, not after the first epoch, whether the results can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to the output folder {folder} ({error.strerror}): choose another --output-dir"
        ) from None


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # "?" for what a terminal cannot show
    try:
        main()
    except KeyboardInterrupt as error:
        print("\nStopped.", error, file=sys.stderr)
        sys.exit(130)  # what shells expect after Ctrl-C
    except (ValueError, OSError, ArithmeticError, mx.DeviceUnavailable, mx.DtypeMismatch) as error:
        if os.environ.get("MINIALEX_TRACEBACK"):
            raise
        sys.exit(f"lenet_mnist.py: {error}")
