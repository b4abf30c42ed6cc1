"""Train AlexNet, or a network that came after it, on a folder of pictures.

    python examples/alexnet_imagenet.py /data/imagenet      the real network, on train/<class>/ and val/<class>/
    python examples/alexnet_imagenet.py                     a small one, on pictures that it draws: a few minutes
    python examples/alexnet_imagenet.py DATA --small        the small one on your own: few pictures, or small ones
    python examples/alexnet_imagenet.py DATA -a resnet18    another one; with --small for pictures of 32x32

AlexNet is split over two devices, as in 2012: two GPUs where there are two, one GPU twice, or the CPU. The
results are in runs/alexnet: curves, conv1's kernels by tower, history.csv, weights, and a checkpoint from which an
interrupted run goes on:    python examples/alexnet_imagenet.py --resume runs/alexnet
"""

import copy
import sys
from functools import partial
from pathlib import Path

import numpy as np

import minialex as mx
from minialex import neighbours, plot, train
from minialex.cluster import cluster_of, described
from minialex.data.augment import Prepare
from minialex.data.classes import differences
from minialex.errors import DataError
from minialex.study.exit_report import check_budget, keep_cut, report_exits
from minialex.study.expected import expect
from minialex.study.timeline import measure_step
from minialex.training import exit_runs, picture_options, results, small_data
from minialex.training.command_line import friendly, this_program, use_threads
from minialex.training.networks import (
    check_batches,
    first_kernels,
    freeze,
    last_layer_in,
    make_network,
    outputs_in,
    spelt,
    with_weights,
)
from minialex.training.output import Elsewhere, Output, drawing
from minialex.training.picture_settings import (
    DEFAULTS,
    MAY_CHANGE,
    asked_of,
    settings_for,
    spelt_for,
    whose,
)
from minialex.training.recorded import check_preset, last_layer_is_new, names_for, unrecorded
from minialex.training.reports import AccuracyReport
from minialex.training.run_pictures import Pictures, first_names, measure_input, measures_its_input
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
    write_settings,
)
from minialex.words import counted, typed

PICTURES = ["conv1.png", "curves.png"]
PICTURES_LOOK = ["codes.png", "feature_maps.png", "nearest.png", "timeline.png"]


def parse_arguments(argv=None):
    return picture_options.parse_arguments(argv, __doc__)


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


def train_network(args, checkpoint, settings, folder, cluster):
    with cluster.first_before_others():  # which find drawn pictures
        pictures = Pictures(args, settings)
    if settings.setdefault("classes", pictures.classes) != pictures.classes:
        raise ValueError(
            f"{checkpoint.path} knows other classes ({first_names(settings['classes'])}) than the pictures have "
            f"({first_names(pictures.classes)}): {differences(settings['classes'], pictures.classes)}"
        )
    if not settings["dummy"]:
        check_batches(settings, len(pictures.train_list))
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
        mean, colour = cluster.of_first(lambda: measure_input(model, pictures, folder / INPUT, checkpoint))
    prepare = Prepare.for_input(model.input, mean, colour)
    with cluster.first_before_others():  # which find decoded pictures
        train_on = pictures.batches(pictures.train_list, prepare)
        validate = pictures.batches(pictures.val_list, prepare)
    plan = exit_runs.plan_of(model, settings, len(train_on))
    say(described(cluster))
    warmup = plan.warmup if settings["lr_scheduler"] == "cosine" else None
    describe(model, pictures, folder, {**settings, "warmup": warmup})
    begun = checkpoint.state["progress"]["epoch"] if checkpoint else 0
    if begun < settings["epochs"]:
        counts = len(train_on.labels), len(validate.labels)
        batch_size = min(settings["batch_size"], counts[0])
        expected = expect(model, -(-batch_size // cluster.size), pictures.seconds_to_read(prepare))
        of_each = [count / cluster.size for count in counts]
        time = expected.time_for(*of_each, settings["epochs"] - begun)
        print(f"{expected}{' in each process' * (not cluster.alone)}: {time}")
    advice = ""
    if not (checkpoint or settings["dummy"]):
        advice = small_data.advice(expected.parameters, settings, pictures.train_list.files)
        say(advice)
    print(flush=True)

    optimizer = mx.SGD(
        [p for name, p in model.named_parameters() if name not in frozen],
        settings["lr"],
        settings["momentum"],
        settings["wd"],
        penalty=settings.get("penalty", 0.0),
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
            cluster=cluster,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(advice_when_stopped(folder)) from None
    except mx.NotFinite as error:  # says itself what to go on from
        raise type(error)(f"{error}\n{advice}".rstrip()) from error
    except (OSError, MemoryError, RuntimeError, ArithmeticError, DataError):
        print(advice_when_stopped(folder), file=sys.stderr)
        raise
    finally:
        say_skipped(train_on, validate)
    if not cluster.first:
        return
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
        print(
            f"Try it on a picture of your own: python -m minialex classify my.jpg --weights {typed(folder)}"
        )
        if not settings["data"] and settings["arch"] == "alexnet":
            print(WHAT_WAS_DONE.format(program=this_program()))
    if is_smart(settings):
        show_exits(model, pictures, prepare, folder)


def describe(model, pictures, folder, settings):
    """The network, the pictures, where it runs, and its settings."""
    print(mx.summary(model))
    print(
        f"\n{pictures.describe()}\non {' and '.join(dict.fromkeys(d.name for d in model.devices))}, in {folder}"
    )
    shown = {name: settings[name] for name in DEFAULTS if settings.get(name) not in (None, "")}
    print(", ".join(f"{name} {value}" for name, value in shown.items() if value is not False))


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
    queries = np.unique(np.linspace(0, len(squares) - 1, 6).astype(int))
    others = min(5, len(squares) - 1)
    nobody = np.zeros((len(queries), 0), int)  # where there is one picture
    nearest = neighbours.nearest(features, queries, others) if others else nobody
    plot.neighbours(
        squares, labels, few.classes, queries, nearest, folder / "nearest.png", f"Nearest by {name}"
    )
    encoder = neighbours.BinaryCodes(bits=28)
    encoder.fit(features)
    nearest = neighbours.hamming(encoder.codes(features), queries, others) if others else nobody
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
    {program} /data/imagenet
with /data/imagenet/train/<class>/*.JPEG and /data/imagenet/val/<class>/*.JPEG; it wants two GPUs, or one. With few
pictures of your own, or small ones, in such folders, the small one is
    {program} mine --small"""


def evaluate(args):
    """-e: how good saved weights are."""
    path = Path(args.resume or args.pretrained)
    arrays, of_run = read_weights(path)
    check_whose(path, spelt_for(args), arrays, of_run)
    of_run = {**of_run, **whose(args, path, arrays, of_run)}
    settings = settings_for(args, asked_of(args), of_run, of_run, may_change=set(DEFAULTS) - {"preset"})
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


def main(argv=None):
    args = parse_arguments(argv)
    mx.place(args.devices)  # an unknown device is said at once
    if args.evaluate:
        return evaluate(args)
    with cluster_of(args) as cluster:
        args.devices = cluster.devices(args.devices)
        name = "alexnet"
        with Output(args.resume, args.output_dir, name) if cluster.first else Elsewhere(name) as output:
            train_in(output, args, cluster)


def train_in(output, args, cluster):
    checkpoint = cluster.of_first(lambda: find_checkpoint(args.resume, spelt_for(args)))
    of_run = cluster.of_first(lambda: settings_to_resume(args.resume, checkpoint))
    if not (of_run or args.data or args.dummy or args.output_dir) and args.resume:
        raise NothingToResume(
            f"--resume: there is no run in {args.resume}, and nothing says on which pictures it should be: name DATA, "
            "or leave --resume out to train on drawn ones"
        )
    if of_run:  # one of before says of no other network
        of_run = {"arch": "alexnet", "small": False, **of_run}
    # Before the first checkpoint nothing hangs on them, but on the network other settings do.
    may_change = MAY_CHANGE if checkpoint else set(DEFAULTS) - {"arch", "small", "preset"}
    if checkpoint and of_run["arch"] == "smartnet":
        may_change = may_change - {"epochs"}  # by which each exit has its turn
    if of_run and not (checkpoint or args.pretrained) and of_run.get("pretrained"):  # it begins as it began
        args.pretrained = of_run["pretrained"]
        args.arch, args.small = args.arch or of_run["arch"], args.small or of_run["small"]
        args.width = args.width or of_run.get("width")
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
    settings = settings_for(args, asked, of_run, of_pretrained or of_run or {}, may_change)
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
            on = f"--pretrained {typed(folder)}" if is_smart(settings) else f"--epochs {last['epoch'] + 10}"
            return print(f"Its results are in {folder}. To train on: {on}")
        print("Not all of its results were written: writing them now.")
        print("\n".join(f"  {name} {flaw}" for name, flaw in flaws.items()))
    return train_network(args, checkpoint, settings, folder, cluster)


if __name__ == "__main__":
    friendly(main)
