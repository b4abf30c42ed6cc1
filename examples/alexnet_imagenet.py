"""Train AlexNet, or a network that came after it, on a folder of pictures.

    python examples/alexnet_imagenet.py /data/imagenet      the real network, on train/<class>/ and val/<class>/
    python examples/alexnet_imagenet.py                     a small one, on pictures that it draws: a few minutes
    python examples/alexnet_imagenet.py DATA -a resnet18    another one; with --small for pictures of 32x32

AlexNet is split over two devices, as in 2012: two GPUs where there are two, one GPU twice, or the CPU. The
results are in runs/alexnet: curves, conv1's kernels by tower, history.csv, weights, and a checkpoint from which an
interrupted run goes on:    python examples/alexnet_imagenet.py --resume runs/alexnet
"""

import argparse
import copy
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

import minialex as mx
from minialex import neighbours, plot, train
from minialex.data.augment import Colour, Prepare, mean_image
from minialex.data.classes import differences, index_map
from minialex.data.decode import FORMATS, open_picture
from minialex.data.folder import find_pictures
from minialex.data.loader import DummyBatches, PictureBatches
from minialex.data.pictures import draw_pictures
from minialex.errors import CheckpointError, DataError
from minialex.models.alexnet import PRESETS
from minialex.models.names import SMALL_NETWORKS, network
from minialex.study.exit_report import check_budget, keep_cut, report_exits
from minialex.study.timeline import measure_step
from minialex.training import exit_runs, results
from minialex.training.command_line import (
    Parser,
    add_threads,
    friendly,
    network_name,
    number,
    settle,
    use_threads,
    whole_number,
)
from minialex.training.networks import (
    ALEXNETS,
    check_batches,
    check_device,
    first_kernels,
    freeze,
    last_layer_in,
    make_network,
    outputs_in,
    pictures_wanted,
    pixels_of_others,
    side_for,
    spelt,
    which_network,
    with_weights,
)
from minialex.training.output import Output, drawing
from minialex.training.recorded import check_preset, last_layer_is_new, names_for, unrecorded
from minialex.training.reports import AccuracyReport
from minialex.training.runs import (
    COMPACT,
    HISTORY,
    INPUT,
    MODEL,
    NothingToResume,
    advice_when_stopped,
    check_whose,
    find_checkpoint,
    last_row,
    read_input,
    read_weights,
    settings_to_resume,
    weight_file,
    write_input,
    write_settings,
)
from minialex.words import counted

# What a run's numbers hang on, and what it is unless asked otherwise. A resumed run takes its own.
DEFAULTS = {
    "data": None,  # drawn
    "dummy": None,
    "ground_truth": None,
    "class_ids": None,
    "pretrained": None,
    "arch": "alexnet",
    "small": False,
    "pixels": None,
    "preset": "paper",
    "epochs": 90,
    "batch_size": 128,
    "lr": 0.01,
    "momentum": 0.9,
    "wd": 5e-4,
    "lr_scheduler": "plateau",
    "warmup": 5.0,  # epochs, of cosine
    "seed": 0,
    "limit": None,
    "max_bad": 0,
    "freeze": "",
    "look": None,
    "checkpoint_every": 1000,
    "threads": None,
    "width": 1.0,
    "side": 256,
    "image_size": None,
    "scale": None,
    "init": "preset",
    **exit_runs.DEFAULTS,
}
# The drawn pictures are small, and so is their network: a quarter of the maps and units, from He's initial weights,
# on pixels divided by 64. The recipe of 2012 needs its own size of network, and stalls on this one.
DEFAULTS_DRAWN = {
    "epochs": 30,
    "batch_size": 50,
    "lr_scheduler": "cosine",
    "warmup": 0.0,
    "width": 0.25,
    "side": 104,
    "image_size": 96,
    "scale": 1 / 64,
    "init": "he",
}
MAY_CHANGE = {"epochs", "lr", "momentum", "wd", "lr_scheduler", "max_bad", "checkpoint_every", "threads"}
MAY_CHANGE |= {"data", "ground_truth", "class_ids"}  # folders move; that the classes are the same is checked
MAY_CHANGE |= {"look", *exit_runs.MAY_CHANGE}
PICTURES = ["conv1.png", "curves.png"]
PICTURES_LOOK = ["codes.png", "feature_maps.png", "nearest.png", "timeline.png"]
ARCHITECTURE = ("arch", "small", "pixels", "width", "image_size", "exits", *ALEXNETS)


def parse_arguments(argv=None):
    whole = whole_number(1)
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        nargs="?",
        type=absolute,
        help="a folder with train/<class>/ and val/<class>/; left out: drawn, or those of the resumed run",
    )
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
        help="the small version of --arch, for pictures of 32x32 (drawn pictures: always); ResNets and DenseNets have "
        "their papers' depths for these: resnet18 has 20 layers then, densenet121 40",
    )
    add("--preset", choices=list(PRESETS), help="which AlexNet (default: paper)")
    add("--devices", default="auto", help='"auto", "cuda:0,cuda:1", "cpu", ... (default: auto)')
    add_threads(parser)
    add(
        "--epochs",
        type=whole,
        metavar="N",
        help="default: 90; drawn pictures: 30; smartnet's are shared out among its exits",
    )
    add("-b", "--batch-size", type=whole, metavar="N", help="default: 128; drawn pictures: 50")
    add(
        "-j",
        "--workers",
        type=whole_number(0),
        metavar="N",
        default=4,
        help="threads that read pictures (default: 4)",
    )
    add("--lr", type=number, help="learning rate (default: 0.01)")
    add("--momentum", type=number, help="default: 0.9")
    add("--wd", type=number, help="weight decay (default: 0.0005)")
    add(
        "--lr-scheduler",
        choices=["constant", "step", "plateau", "cosine"],
        help="plateau: a tenth when validation stalls (default); cosine for drawn pictures, and for smartnet, where it "
        "begins anew with each exit",
    )
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
    add(
        "-p",
        "--print-freq",
        type=whole,
        default=20,
        metavar="N",
        help="steps between log lines (default: 20)",
    )
    add("--seed", type=whole_number(0), help="of everything that is random (default: 0)")
    add("--output-dir", metavar="DIR", help="default: runs/ARCH, or the next free runs/ARCH-N")
    add(
        "--cache",
        metavar="DIR",
        help="keep the decoded 256x256 pictures here, 196 kB each, for the next epochs",
    )
    add("--limit", type=whole, metavar="N", help="use only N pictures of each set, spread over the classes")
    add(
        "--look",
        action="store_true",
        default=None,
        help="also draw feature maps, neighbours, codes, and the timeline of a step",
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
    add(
        "--checkpoint-every",
        type=whole_number(0),
        metavar="STEPS",
        help="besides each epoch's end (default: 1000; 0: off)",
    )
    exit_runs.add_exits(parser)
    args = parser.parse_args(argv)
    if args.leave_at is not None and args.budget is not None:
        parser.error(
            "--leave-at says at which probability pictures leave, --budget looks for it: name one of them"
        )
    if args.ten_crop and (args.leave_at is not None or args.budget is not None):
        parser.error("--ten-crop is without --leave-at and --budget: each crop would leave elsewhere")
    if args.evaluate and not (args.resume or args.pretrained):
        parser.error("-e tests weights: say which with --resume PATH or --pretrained PATH")
    if args.evaluate and args.penalty is not None:
        parser.error(f"--penalty {args.penalty:g} is for training, and -e trains nothing: leave it out")
    if args.classes and not (args.evaluate or args.pretrained):
        parser.error("--classes says what weights were trained on: it goes with -e or --pretrained")
    if args.ten_crop and not args.evaluate:
        parser.error("--ten-crop goes with -e")
    return args


def absolute(path):
    """For argparse: the same place wherever the run is resumed from."""
    return str(Path(path).expanduser().absolute())


class Pictures:
    """What a run reads: training and validation batches, and what its network is to know of them."""

    def __init__(self, args, settings, trained=None):
        """trained: with -e, the names of the network's classes in its order. Labels are theirs, in place of numbers
        that hang on which folders there are."""
        self.args, self.settings = args, settings
        self.train_list = self.val_list = None
        self.classes = trained or [f"class {i}" for i in range(1000)]
        if not settings["dummy"]:
            drawn = "drawn-pictures"
            if settings["side"] != DEFAULTS_DRAWN["side"]:
                drawn += f"-{settings['side']}"
            root = settings["data"] or draw_pictures(Path("runs", drawn), size=settings["side"])
            truth, ids = settings["ground_truth"], settings["class_ids"]
            self.val_list = self.limited(find_pictures(root, "val", truth, ids, trained))
            if not args.evaluate:
                self.train_list = self.limited(find_pictures(root, "train"))
            self.classes = self.val_list.classes

    def limited(self, pictures):
        """--limit: so many, spread over the list, which is sorted by class."""
        limit = min(self.settings["limit"] or len(pictures), len(pictures))
        return pictures.part(np.linspace(0, len(pictures) - 1, limit).astype(int))

    def batches(self, pictures, prepare):
        s = self.settings
        if s["dummy"]:
            return DummyBatches(
                s["limit"] or 10 * s["batch_size"], s["batch_size"], prepare.crop, len(self.classes)
            )
        return PictureBatches(
            pictures,
            prepare,
            s["batch_size"],
            s["seed"],
            self.args.workers,
            s["max_bad"],
            self.args.cache or (None if s["data"] else Path("runs", "drawn-cache")),
            s["side"],
        )

    def describe(self):
        if self.settings["dummy"]:
            return "random numbers in place of pictures"
        sets = [pictures for pictures in (self.train_list, self.val_list) if pictures]
        sizes = [f"{counted(len(self.train_list), 'picture')} to train on"] if self.train_list else []
        sizes.append(f"{len(self.val_list):,} to validate")
        used = [
            self.classes[i] for i in sorted({int(i) for pictures in sets for i in np.unique(pictures.labels)})
        ]
        classes = counted(len(self.classes), "class", "classes")
        if len(used) < len(self.classes):
            classes = f"{len(used)} of {classes}"
        lines = [f"{' and '.join(sizes)}, {classes}: {a_few(used)}"]
        if numbers := index_map(self.classes):
            lines.append(f"Labels by name, in the order of texts: {numbers}")
        lines += [f"Passed over: {pictures.passed}" for pictures in sets if pictures.passed]
        return "\n".join(lines)


def enlarged(pictures, settings):
    """A hint where the first training picture is much smaller than what a network with a small version takes."""
    if settings["small"] or settings["arch"] not in SMALL_NETWORKS or not pictures.train_list:
        return ""
    width = height = np.inf
    # Whatever a decoder raises: what reads them all says more.
    with suppress(Exception), open_picture(pictures.train_list.files[0], FORMATS) as first:
        width, height = first.size
    if 3 * max(width, height) > pictures_wanted(settings).crop:
        return ""
    return (
        f"The first picture is {width}x{height}, and is enlarged to {settings['side']}x{settings['side']}: "
        f"for such pictures there is -a {settings['arch']} --small"
    )


def a_few(names):
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def measures_its_input(settings):
    """Does the network take the mean picture away, or add the colours of the training pictures?"""
    wanted = pictures_wanted(settings)
    return not settings["dummy"] and (wanted.mean == "image" or bool(wanted.colour))


def measured_before(path):
    """What a resumed run has measured; None where that is lost."""
    if not path.is_file():
        return None
    try:
        return read_input(path)
    except CheckpointError as error:
        print(f"{path} is of no use ({error}): it is made anew.")


def measure_input(model, pictures, path, checkpoint):
    """The mean image and the colours of the training pictures, from up to 10,000 of them; kept in `path`.

    A resumed run has them beside its checkpoint.
    """
    arrays = checkpoint and measured_before(Path(checkpoint.path).with_name(INPUT))
    if not arrays:
        print("Measuring the mean and the colours of up to 10,000 training pictures ...", flush=True)
        raw = pictures.batches(pictures.train_list, Prepare(crop=model.input.crop))
        colour = Colour.of(raw.squares(2_000))
        arrays = {"mean": mean_image(raw.squares(10_000)), "values": colour.values, "vectors": colour.vectors}
    write_input(path, arrays)
    return arrays["mean"], Colour(arrays["values"], arrays["vectors"])


def begin_with(args, model, settings):
    """Put --pretrained's weights into the model. Its last layer stays as it is unless they are of the same classes."""
    path = args.pretrained
    arrays, known = read_weights(path)
    why, last = "", last_layer_in(arrays, model)
    if last and not settings["dummy"]:
        count = len(arrays[f"{last}.bias"])
        why = last_layer_is_new(path, known.get("classes"), count, args.classes, model.classes)
    if settings["arch"] == "smartnet":
        fresh = exit_runs.begin_with_exits(model, weight_file(path), arrays, why)
    else:
        fresh = mx.weights.load_pretrained(model, weight_file(path), new_last_layer=True if why else None)
    print(f"Beginning with the weights of {path}" + (f", but for {', '.join(fresh)}: {why}" if fresh else ""))
    if kept := settings.get("exits_kept"):
        print(
            f"Its {counted(kept, 'exit stays as it is', 'exits stay as they are')}; those behind are trained."
        )
    say(unrecorded(path, spelt(**settings)))


def say(note):
    if note:
        print(note)


def train_network(args, checkpoint, settings, folder):
    pictures = Pictures(args, settings)
    if settings.setdefault("classes", pictures.classes) != pictures.classes:
        raise ValueError(
            f"{checkpoint.path} knows other classes ({a_few(settings['classes'])}) than the pictures have "
            f"({a_few(pictures.classes)}): {differences(settings['classes'], pictures.classes)}"
        )
    if not settings["dummy"]:
        check_batches(settings, len(pictures.train_list))
    say(enlarged(pictures, settings))
    model = make_network(settings, len(pictures.classes), args.devices)
    model.classes = pictures.classes
    if args.pretrained and not checkpoint:
        begin_with(args, model, settings)
    frozen = freeze(model, settings["freeze"])
    if is_smart(settings) and not settings["penalty"]:  # which may make the first exit cheaper
        check_budget(model, settings["budget"])
    mean, colour = None, None
    if not checkpoint:
        write_settings(folder, settings)  # before the training pictures are measured, which takes a while
    if measures_its_input(settings):
        mean, colour = measure_input(model, pictures, folder / INPUT, checkpoint)
    prepare = Prepare.for_input(model.input, mean, colour)
    train_on = pictures.batches(pictures.train_list, prepare)
    validate = pictures.batches(pictures.val_list, prepare)
    plan = exit_runs.plan_of(model, settings, len(train_on))
    print(mx.summary(model))
    print(
        f"\n{pictures.describe()}\non {' and '.join(dict.fromkeys(d.name for d in model.devices))}, in {folder}"
    )
    shown = {**settings, "warmup": plan.warmup if settings["lr_scheduler"] == "cosine" else None}
    shown = {name: shown[name] for name in DEFAULTS if shown.get(name) not in (None, "")}
    print(", ".join(f"{name} {value}" for name, value in shown.items() if value is not False) + "\n")

    optimizer = mx.SGD(
        [p for name, p in model.named_parameters() if name not in frozen],
        settings["lr"],
        settings["momentum"],
        settings["wd"],
        settings.get("penalty", 0.0),
    )
    try:
        history = train.fit(
            model,
            optimizer,
            plan.schedule,
            train_on,
            holdout=validate,
            epochs=settings["epochs"],
            folder=folder,
            checkpoint_every=settings["checkpoint_every"],
            resume=checkpoint,
            settings=settings,
            report=AccuracyReport(args.print_freq, classes=len(pictures.classes), losses=plan.losses),
            each_epoch=plan.each_epoch,
            best_from=plan.best_from,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(advice_when_stopped(folder)) from None
    except mx.NotFinite:  # says itself what to go on from
        raise
    except (OSError, MemoryError, RuntimeError, ArithmeticError, DataError):
        print(advice_when_stopped(folder), file=sys.stderr)
        raise
    finally:
        say_skipped(train_on, validate)
    with drawing(folder):
        plot.accuracy_curves(history, folder / "curves.png")
        if settings["arch"] == "alexnet":
            plot.tower_kernels(model, folder / "conv1.png")
        else:
            name, kernels = first_kernels(mx.weights.export_grouped(model))
            plot.filters(kernels, folder / "conv1.png", name)
        if wants_a_look(settings):
            look(model, pictures, prepare, folder)
    last = history[-1]
    print(
        f"\nValidation: Acc@1 {last['val_acc1']:.2f} %, Acc@5 {last['val_acc5']:.2f} % "
        f"after {counted(last['epoch'], 'epoch')}"
    )
    print(f"In {folder}: " + ", ".join([MODEL, HISTORY, *sorted(path.name for path in folder.glob("*.png"))]))
    if not settings["dummy"]:
        print(f"Try it on a picture of your own: python -m minialex classify my.jpg --weights {folder}")
        if not settings["data"] and settings["arch"] == "alexnet":
            print(WHAT_WAS_DONE)
    if is_smart(settings):
        show_exits(model, pictures, prepare, folder)


def is_smart(settings):
    return settings["arch"] == "smartnet"


def show_exits(model, pictures, prepare, folder):
    """What a SmartNet's exits came to; with a penalty of those that are left when what is closed is cut out."""
    s = pictures.settings
    if s["penalty"]:
        model = keep_cut(model, folder / COMPACT, s)
    if not s["dummy"]:
        batches = partial(pictures.batches, prepare=prepare)
        report_exits(model, batches, pictures.val_list, s["leave_at"], s["budget"])


def wants_a_look(settings):
    return not settings["dummy"] and bool(settings["look"] or not settings["data"])


def look(model, pictures, prepare, folder):
    """What the network makes of 400 validation pictures, and how one step goes, as pictures in the run's folder."""
    chosen = np.linspace(0, len(pictures.val_list) - 1, min(len(pictures.val_list), 400)).astype(int)
    few = pictures.val_list.part(chosen)
    batches = pictures.batches(few, prepare)
    squares = list(batches.squares())
    x, labels = zip(*batches.in_order(), strict=True)
    labels = np.concatenate(labels)

    shown = ["relu1", "pool2", "relu3", "relu5", "relu6", "relu7", "fc8"]
    layer, name = "relu7", "fc7"
    if not set(shown) <= set(model.layers):  # not AlexNet's, nor ZFNet's
        shown = None
        *_, layer, _ = (n for n, it in model.layers.items() if not isinstance(it, mx.Dropout | mx.Flatten))
        name = layer
    plot.feature_maps(model, x[0][:1], folder / "feature_maps.png", shown)
    features = neighbours.features(model, batches, layer)
    queries = np.linspace(0, len(squares) - 1, 6).astype(int)
    nearest = neighbours.nearest(features, queries)
    plot.neighbours(
        squares, labels, few.classes, queries, nearest, folder / "nearest.png", f"Nearest by {name}"
    )
    encoder = neighbours.BinaryCodes(bits=28)
    encoder.fit(features)
    nearest = neighbours.hamming(encoder.codes(features), queries)
    plot.neighbours(
        squares, labels, few.classes, queries, nearest, folder / "codes.png", "Nearest by codes of 28 bits"
    )
    # A step moves the running means of batch normalisation: a copy makes it, without what the last pass has saved.
    model = copy.deepcopy(model.to(model.devices)).train()
    for _ in range(3):  # the first step is slower than the others
        spans = measure_step(model, model.device.asarray(x[0]), np.asarray(labels[: len(x[0])]))
    plot.timeline(spans, folder / "timeline.png")


def say_skipped(*sets):
    """Name the files that could not be read."""
    flaws = {path: flaw for batches in sets for path, flaw in batches.bad_files.items()}
    if flaws:
        print(
            "\n  ".join(
                [
                    f"{counted(len(flaws), 'unreadable file was', 'unreadable files were')} skipped:",
                    *flaws.values(),
                ]
            )
        )


WHAT_WAS_DONE = """
This was a small AlexNet: the same two towers with a quarter of the maps and units, trained on drawn pictures, which
went as JPEG files through the same reading, cropping and colour noise as photographs. The real network is
    python examples/alexnet_imagenet.py /data/imagenet
with /data/imagenet/train/<class>/*.JPEG and /data/imagenet/val/<class>/*.JPEG; it wants two GPUs, or one."""


def evaluate(args):
    """-e: how good saved weights are."""
    path = Path(args.resume or args.pretrained)
    arrays, of_run = read_weights(path)
    check_whose(path, spelt_for(args), arrays, of_run)
    of_run = {**of_run, **whose(args, path, arrays, of_run)}
    settings = settle(
        asked_of(args),
        of_other_pictures(of_run, asked_of(args)),
        defaults_for(args, of_run),
        may_change=set(DEFAULTS) - {"preset"},
    )
    use_threads(settings["threads"])
    count = outputs_in(path, arrays, settings["arch"], settings["small"])
    names = [f"class {i}" for i in range(count)]
    if not settings["dummy"]:
        names = names_for(path, of_run.get("classes"), count, args.classes, None)
    pictures = Pictures(args, settings, names)
    model = with_weights(path, arrays, settings, count, args.devices)
    model = exit_runs.first_exits(model, args.exits, settings, path) if args.exits else model
    if is_smart(settings):
        check_budget(model, args.budget, weight_file(path).with_name(COMPACT))
    model.classes = names
    say(unrecorded(path, spelt(**settings)))
    beside = (path if path.is_dir() else path.parent) / INPUT
    mean = read_input(beside, ["mean"])["mean"] if beside.is_file() else None
    if mean is None and model.input.mean == "image" and not settings["dummy"]:
        print(f"There is no mean image beside {path}: subtracting ImageNet's mean colour.")
    prepare = Prepare.for_input(model.input, mean)
    validate = pictures.batches(pictures.val_list, prepare)
    print(f"{pictures.describe()}\non {' and '.join(dict.fromkeys(d.name for d in model.devices))}")
    scores = (train.evaluate_ten_crop if args.ten_crop else train.evaluate)(model, validate)
    crops = "mean of ten crops" if args.ten_crop else "centre crop"
    print(
        f"Acc@1 {scores.acc1:.2f} %, Acc@5 {scores.acc5:.2f} %, loss {scores.loss:.4f} "
        f"({crops}, {counted(scores.seen, 'picture')})"
    )
    say_skipped(validate)
    scores.check_finite("on the validation pictures")
    if is_smart(settings) and not (args.ten_crop or settings["dummy"]):
        batches = partial(pictures.batches, prepare=prepare)
        report_exits(model, batches, pictures.val_list, args.leave_at, args.budget)


def spelt_for(args):
    """Whose run is wanted, for messages."""
    return args.arch if args.arch not in (None, "alexnet") else "AlexNet"


def whose(args, path, arrays, known):
    """The settings that say which network weights are for, after a check of what is asked for."""
    settings = which_network(path, arrays, known, args.arch, args.small)
    return {**settings, "pixels": pixels_of_others(known, **settings)}


def of_other_pictures(of_run, asked):
    """What a run says, for the pictures that are asked for: the text files of others are not theirs."""
    if not of_run or "data" not in asked or asked["data"] == of_run.get("data"):
        return of_run
    if of_run.get("dummy"):
        raise ValueError(
            f"that run had random numbers in place of pictures (--dummy): {asked['data']} has other classes"
        )
    return {name: value for name, value in of_run.items() if name not in ("ground_truth", "class_ids")}


def asked_of(args):
    asked = {name: value for name in DEFAULTS if (value := getattr(args, name, None)) is not None}
    if args.pretrained:
        asked["pretrained"] = absolute(args.pretrained)
    return asked


def defaults_for(args, known):
    """What holds where nothing is asked for. known: what a run or pretrained weights say: the network has their size.

    Raises ValueError for options that the network does not have.
    """
    drawn = not (args.data or args.dummy)
    defaults = {**DEFAULTS, **(DEFAULTS_DRAWN if drawn else {})}
    arch = args.arch or known.get("arch", "alexnet")
    exit_runs.check_options(vars(args), arch)
    if known.get("arch", arch) != arch:
        known = {}
    if arch == "smartnet":
        defaults["lr_scheduler"] = "cosine"
    else:
        defaults = {name: value for name, value in defaults.items() if name not in exit_runs.DEFAULTS}
    if arch == "alexnet":
        network(arch, bool(args.small))
    else:
        if args.preset:
            raise ValueError(
                f"--preset {args.preset} says which AlexNet; {arch} has no presets: leave it out"
            )
        check_device(arch, args.devices)
        small = bool(args.small or known.get("small", drawn))
        size = known.get("image_size")
        defaults = {name: value for name, value in defaults.items() if name not in ALEXNETS}
        defaults |= {"arch": arch, "small": small, "image_size": size}
        defaults["side"] = side_for(defaults)
    kept = {name: known[name] for name in (*ARCHITECTURE, "side") if name in known and name in defaults}
    return {**defaults, **kept}


def main(argv=None):
    args = parse_arguments(argv)
    mx.place(args.devices)  # an unknown device is said at once
    if args.evaluate:
        return evaluate(args)
    with Output(args.resume, args.output_dir, "alexnet") as output:
        train_in(output, args)


def train_in(output, args):
    checkpoint = find_checkpoint(args.resume, spelt_for(args))
    of_run = settings_to_resume(args.resume, checkpoint)
    if not (of_run or args.data or args.dummy or args.output_dir) and args.resume:
        raise NothingToResume(
            f"--resume: there is no run in {args.resume}, and nothing says on which pictures it should be: name DATA, "
            "or leave --resume out to train on drawn ones"
        )
    if of_run:  # one of before says of no other network
        of_run = {"arch": "alexnet", "small": False, **of_run}
    # Before the first checkpoint nothing hangs on them, but on the network other settings do.
    may_change = MAY_CHANGE if checkpoint else set(DEFAULTS) - {"arch", "small"}
    if checkpoint and of_run["arch"] == "smartnet":
        may_change = may_change - {"epochs"}  # by which each exit has its turn
    if of_run and not (checkpoint or args.pretrained) and of_run.get("pretrained"):  # it begins as it began
        args.pretrained, args.arch, args.small = (of_run[name] for name in ("pretrained", "arch", "small"))
    asked = asked_of(args)
    if args.pretrained and checkpoint:
        del asked["pretrained"]
        print(f"Going on from {checkpoint.path}: --pretrained {args.pretrained} is not read again.")
    of_pretrained, there = {}, None
    if args.pretrained and not checkpoint:
        path = weight_file(args.pretrained)
        arrays, of_pretrained = read_weights(args.pretrained)
        check_whose(path, spelt_for(args), arrays, of_pretrained, why="does not fit this model: it ")
        of_pretrained = {**of_pretrained, **whose(args, path, arrays, of_pretrained)}
        there = exit_runs.exits_in(arrays)
    check_preset(args.pretrained, of_pretrained.get("preset"), args.preset)
    settings = settle(
        asked,
        of_other_pictures(of_run, asked),
        defaults_for(args, of_pretrained or of_run or {}),
        may_change,
    )
    if not checkpoint:
        settings.pop("classes", None)  # the pictures say
    if is_smart(settings):
        settings = exit_runs.settle_exits(settings, asked, there)
    use_threads(settings["threads"])
    output.name = settings["arch"]
    folder = output.take()
    finished = checkpoint and checkpoint.state["progress"]["epoch"] >= settings["epochs"]
    if checkpoint and is_smart(settings) and not finished:
        say(exit_runs.new_penalty(asked, of_run))
    if finished:
        if is_smart(settings):
            settings["penalty"] = of_run.get("penalty", 0.0)  # with which its gates were trained
        last = last_row(checkpoint, "val_acc1")
        print(
            f"This run is finished: {counted(last['epoch'], 'epoch')}, validation Acc@1 {last['val_acc1']:.2f} %."
        )
        if any((folder / name).exists() for name in PICTURES_LOOK):  # a run from before settings kept it
            settings["look"] = True
        expected = [*PICTURES, *(PICTURES_LOOK if wants_a_look(settings) else [])]
        measured, best_from = measures_its_input(settings), exit_runs.best_from(settings)
        cut = bool(settings.get("penalty")) and exit_runs.any_closed(checkpoint.parameters)
        flaws = results.flaws(
            folder, checkpoint, AccuracyReport(), expected, MAY_CHANGE, measured, best_from, cut
        )
        if lost := results.lost_best(folder, checkpoint, AccuracyReport(), best_from):
            print(lost)
        if not flaws:
            say("\n".join(exit_runs.not_used(asked, folder)))
            on = f"--pretrained {folder}" if is_smart(settings) else f"--epochs {last['epoch'] + 10}"
            return print(f"Its results are in {folder}. To train on: {on}")
        print("Not all of its results were written: writing them now.")
        print("\n".join(f"  {name} {flaw}" for name, flaw in flaws.items()))
    return train_network(args, checkpoint, settings, folder)


if __name__ == "__main__":
    friendly(main)
