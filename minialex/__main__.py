"""python -m minialex doctor | summary | predict | classify | marks"""

import argparse
import importlib.metadata
import os
import platform
import sys
import textwrap
from pathlib import Path

import numpy as np

import minialex as mx
from minialex.check.kept import marks
from minialex.devices.twins import fast_by_default, twins_of
from minialex.errors import DataError
from minialex.models.alexnet import PRESETS
from minialex.models.lenet import VARIANTS
from minialex.models.names import NETWORKS
from minialex.training.command_line import Parser, network_name, share
from minialex.words import counted, nearest


def main(argv=None) -> int:
    parser = Parser(prog="python -m minialex")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="doctor | summary | predict | classify | marks"
    )

    doctor = commands.add_parser("doctor", help="versions, devices, data; what is missing, and what mends it")
    doctor.set_defaults(run=run_doctor)

    summary = commands.add_parser(
        "summary", help="a network's layers: shapes, parameters, multiply-adds, columns"
    )
    summary.add_argument(
        "model",
        nargs="?",
        default="lenet",
        type=lenet_or_network_name,
        help="lenet (default), alexnet, resnet50, vgg16_bn, inception_v3, ...",
    )
    summary.add_argument(
        "--small", action="store_true", help="its small version: for pictures of 32x32, alexnet's 96x96"
    )
    summary.add_argument("--variant", choices=VARIANTS, help="of LeNet-5 (default: modern)")
    summary.add_argument("--preset", choices=PRESETS, help="of AlexNet (default: paper)")
    summary.add_argument(
        "--towers", type=int, choices=[1, 2], help="of AlexNet (default: as the preset has it)"
    )
    summary.set_defaults(run=run_summary)

    predict = commands.add_parser("predict", help="read a photographed or drawn digit")
    predict.add_argument("picture", help="a picture of one digit, dark on light or light on dark")
    predict.add_argument(
        "--weights",
        metavar="PATH",
        help="a run's folder or a weight file (default: the newest run in this folder)",
    )
    predict.add_argument("--save", metavar="PNG", help="also save what was done to the picture, step by step")
    predict.set_defaults(run=run_predict)

    classify = commands.add_parser("classify", help="what a network sees in photographs: five names for each")
    classify.add_argument("pictures", nargs="+", metavar="picture", help="a photograph, or several")
    classify.add_argument(
        "--arch",
        type=network_name,
        metavar="NAME",
        help="resnet50, vgg16_bn, ... (default: what the weights say, or their names show)",
    )
    classify.add_argument("--small", action="store_true", default=None, help="its small version, see summary")
    classify.add_argument(
        "--weights", metavar="PATH", required=True,
        help="a run's folder, a weight file, BVLC's .npy, torchvision's .pth or .safetensors",
    )  # fmt: skip
    classify.add_argument(
        "--classes",
        metavar="FILE",
        help="their names, one a line, in the network's order (default: the run's)",
    )
    classify.add_argument("--preset", choices=PRESETS, help="of AlexNet (default: as --arch)")
    classify.add_argument(
        "--mean", metavar="FILE",
        help=".npy of (3, S, S) or (3,), ordered as the channels (default: the run's mean picture, if it has one)",
    )  # fmt: skip
    classify.add_argument(
        "--leave-at",
        type=share,
        metavar="P",
        help="of smartnet: go no further than to the first exit that gives a class this probability, 0 to 1",
    )
    classify.add_argument("--devices", default="cpu", help="cpu, auto, cuda:0, ... (default: cpu)")
    classify.set_defaults(run=run_classify)

    mark = commands.add_parser(
        "marks",
        help="try the answers that learners kept: a row for each folder, a column for each exercise",
        description=marks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    marks.add_options(mark)
    mark.set_defaults(run=marks.run)

    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        print(f"minialex {args.command}: out of memory: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, mx.DeviceUnavailable, mx.NotFinite) as error:
        print(f"minialex {args.command}: {error}", file=sys.stderr)
        return 1


# ---- summary ---------------------------------------------------------------------------------------


def lenet_or_network_name(name: str) -> str:
    """For argparse: a network that there is, LeNet-5 among them, which Python calls lenet5."""
    if name in ("lenet", "lenet5"):
        return "lenet"
    if nearest(name, ["lenet", "lenet5", *NETWORKS]) in (["lenet"], ["lenet5"]):
        raise argparse.ArgumentTypeError(f"there is no network {name!r}; the nearest is lenet")
    return network_name(name)


def run_summary(args) -> int:
    from minialex.models.names import network

    own = {"lenet": ["variant"], "alexnet": ["preset", "towers"]}.get(args.model, [])
    make = mx.models.lenet5 if args.model == "lenet" else network(args.model, args.small)
    for option in ("variant", "preset", "towers"):
        if getattr(args, option) and option not in own:
            raise ValueError(f"{args.model} has no --{option}: leave it out, or name the other network")
    if args.small and args.model == "lenet":
        raise ValueError("lenet is for pictures of 28x28, and has no --small: leave it out")
    if args.model == "lenet":
        model = make(args.variant or "modern")
    elif args.model == "alexnet":  # on pretended GPUs: nothing is computed that would need real ones
        model = make(devices="sim:0,sim:1", preset=args.preset or "paper", towers=args.towers)
    else:
        model = make()
    print(mx.summary(model))
    return 0


# ---- predict ---------------------------------------------------------------------------------------


def run_predict(args) -> int:
    from minialex.data import class_names
    from minialex.data.photo import as_text, digit_from_picture
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
    prepared = digit_from_picture(args.picture)

    logits = model.eval().forward(model.prepare(prepared.image[None, None]))[0]
    share = shares_of(logits, weights)
    print(f"What the network sees of {args.picture}:\n")
    cells, bar = (" ▄▀█", "█") if can_show("▄▀█") else (" .':", "#")
    print(as_text(prepared.image, cells))
    for note in prepared.notes:
        print(f"- {note}")
    if names == class_names("fashion-mnist"):
        print(
            "- it was prepared as handwriting is, but these weights know clothes: they may read it otherwise"
        )
    print(f"\nWhat it reads there, with the weights of {weights}:\n")
    wide = max(map(len, names))
    for k in np.argsort(-share)[:5]:
        print(f"  {names[k]:<{wide}}  {bar * round(40 * share[k]):<40} {100 * share[k]:5.1f} %")
    if args.save:
        mx.plot.digit_steps(prepared, path=args.save)
        print(f"\nThe steps from your picture to 28x28 are in {args.save}")
    if note := unrecorded(weights, f"variant {variant}, activation {activation}"):
        print(note, file=sys.stderr)
    return 0


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


def shares_of(logits: np.ndarray, weights) -> np.ndarray:
    """What share of its trust the network gives to each class: softmax."""
    if not np.isfinite(logits).all():
        raise mx.NotFinite(
            f"with the weights of {weights} the network gives {logits.max()}: they are of no use"
        )
    share = np.exp(logits.astype(np.float64) - logits.max())
    return share / share.sum()


def can_show(text: str) -> bool:
    """Does the terminal have these characters?"""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


# ---- classify --------------------------------------------------------------------------------------


def run_classify(args) -> int:
    from minialex.data.augment import square
    from minialex.data.classes import read_names, reorder
    from minialex.data.folder import read_picture
    from minialex.study.leaving import exit_costs
    from minialex.training.networks import (
        DEFAULTS,
        outputs_in,
        pixels_of_others,
        side_for,
        spelt,
        which_network,
        with_weights,
    )
    from minialex.training.recorded import check_preset, trained_names, unrecorded
    from minialex.training.runs import INPUT, check_whose, read_weights, weight_file

    mx.place(args.devices)  # an unknown device is said at once
    arrays, known = read_weights(args.weights)
    check_whose(args.weights, "AlexNet", arrays, known, remedy="minialex predict reads digits")
    which = which_network(args.weights, arrays, known, args.arch, args.small)
    count = outputs_in(args.weights, arrays, **which)
    names = trained_names(args.weights, known.get("classes"), count, args.classes) or [
        f"class {i}" for i in range(count)
    ]
    if args.classes and known.get("classes"):
        names = reorder(read_names(args.classes, count), known["classes"], args.classes)
    settings = {**DEFAULTS, **known, **which, "pixels": pixels_of_others(known, **which)}
    if which["arch"] == "alexnet":
        preset = args.preset or known.get("preset") or preset_by_shape(args.weights, arrays)
        settings["preset"] = preset
    elif args.preset:
        raise ValueError(
            f"--preset {args.preset} says which AlexNet; {args.weights} is for {which['arch']}: leave it out"
        )
    if not (note := unrecorded(args.weights, spelt(**settings))):
        check_preset(args.weights, known.get("preset"), args.preset)
    model = with_weights(args.weights, arrays, settings, count, args.devices)
    of_run = weight_file(args.weights).with_name(INPUT)
    prepare = preparation(model.input, args.mean or (of_run if of_run.is_file() else None))
    side = known.get("side") or side_for(settings, model.input)
    if prepare.mean.ndim == 3 and prepare.mean.shape[-1] > 1:
        side = prepare.mean.shape[-1]
    model.eval()
    if args.leave_at is not None:
        if which["arch"] != "smartnet":
            raise ValueError(
                f"--leave-at {args.leave_at:g} is for smartnet; {which['arch']} has no exits to leave by: leave it out"
            )
        model.leave_at = args.leave_at
    for picture in args.pictures:
        x = prepare.evaluation(square(read_picture(picture, at_least=side), side))
        logits = mx.to_numpy(model.forward(model.device.asarray(np.ascontiguousarray(x[None]))))[0]
        shares = shares_of(logits, args.weights)
        if len(args.pictures) > 1:
            print(f"{picture}:")
        for number in np.argsort(-shares, kind="stable")[:5]:
            print(f" {100 * shares[number]:5.1f} %  {names[number]}")
        if args.leave_at is not None:
            exit, costs = int(model.left[0]), exit_costs(model)
            print(f" left at exit {exit} of {len(costs)}: {costs[exit - 1]:,} multiply-adds")
    if note:
        print(note, file=sys.stderr)
    return 0


def preset_by_shape(path, arrays) -> str:
    """The only preset that has so many maps, and so many of them read by one in conv2."""
    maps = tuple(len(arrays[f"conv{i}.bias"]) for i in range(1, 6))
    read = arrays["conv2.weight"].shape[1]
    fitting = [name for name, p in PRESETS.items() if p.maps == maps and p.maps[0] == p.groups * read]
    if len(fitting) != 1:
        raise ValueError(
            f"{path} does not say which AlexNet it is: name --preset {' or '.join(fitting or PRESETS)}"
        )
    return fitting[0]


def preparation(wanted, mean_file):
    """What is done to a picture for a network: `wanted`, with the mean of a run, of a file, or ImageNet's."""
    from minialex.data.augment import MEAN_COLOUR, Prepare
    from minialex.data.mean_file import read_mean
    from minialex.training.runs import read_input

    if mean_file is None:
        if wanted.mean == "image":
            print(
                f"there is no --mean picture: subtracting {MEAN_COLOUR}, ImageNet's mean colour",
                file=sys.stderr,
            )
        return Prepare.for_input(wanted)
    if Path(mean_file).suffix == ".safetensors":
        return Prepare.for_input(wanted, read_input(mean_file, ["mean"])["mean"])
    mean = read_mean(mean_file, wanted.scale, wanted.order)
    return Prepare(wanted.crop, wanted.scale, mean, wanted.std, wanted.order)


# ---- doctor ----------------------------------------------------------------------------------------

REQUIRED = ("numpy", "pillow", "matplotlib", "tqdm", "pooch", "requests", "safetensors", "threadpoolctl")
OPTIONAL = {
    "hypothesis": 'pip install "minialex[test]"     (strategies, tests)',
    "pytest": 'pip install "minialex[test]"     (tests)',
    "jupyterlab": 'pip install "minialex[lessons]"  (lessons)',
    "torch": "pip install torch                (a yardstick in tests and benchmarks only)",
}


def run_doctor(args) -> int:
    """Say what is here and what is missing; exit status 1 if something has to be mended."""
    mend = []
    print(f"minialex {mx.__version__}, Python {platform.python_version()}, {platform.platform()}")

    print("\nPackages")
    for name in REQUIRED:
        version = version_of(name)
        print(f"  {name:<14}{version or 'MISSING'}")
        if not version:
            mend.append(f"pip install {name}")
    for name, remedy in OPTIONAL.items():
        version = version_of(name)
        print(f"  {name:<14}{version or 'not installed (optional): ' + remedy}")

    cpu = mx.Device("cpu")
    print("\nDevices")
    print(f"  cpu           {counted(os.cpu_count(), 'core')}, {cpu.threads} used; {blas()}")
    print(f"  cuda          {cuda()}")
    print(f"  fast twins    {fast_twins()}")
    print("  sim:0, sim:1  pretended GPUs, for tests and lessons: always there")

    print("\nData")
    try:
        print(f"  MNIST         {mnist()}")
    except DataError as error:
        print(f"  MNIST         damaged: {error}")
        mend.append("delete the damaged file, it will be fetched again")
    print("\n" + ("To mend: " + "; ".join(mend) if mend else "Nothing that is needed is missing."))
    return 1 if mend else 0


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def fast_twins() -> str:
    """Which layers have a faster text beside their own, and where it is on."""
    lines = []
    for kind, name in (("cpu", "cpu"), ("cuda", "cuda:0")):
        known = sorted(key if isinstance(key, str) else key.__name__ for key in twins_of(kind))
        on = fast_by_default(kind)
        names = textwrap.wrap(", ".join(known) or "none: the folder fast/ is not there", 62)
        lines += [f"{name:<7} {'on' if on and known else 'off'}:", *(f"  {line}" for line in names)]
    return "\n                ".join(lines)


def blas() -> str:
    """The libraries behind NumPy's matrix products, and their threads."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "BLAS: unknown without threadpoolctl"
    found = [
        f"{info['internal_api']} {info.get('version') or ''} with {counted(info['num_threads'], 'thread')}".replace(
            "  ", " "
        )
        for info in threadpool_info()
        if info["user_api"] == "blas"
    ]
    return "BLAS: " + (", ".join(found) or "unknown to threadpoolctl")


def cuda() -> str:
    """The GPUs that CuPy can use, or why there is none."""
    from minialex.devices.device import cuda_names

    try:
        mx.Device("cuda:0")
    except mx.DeviceUnavailable as error:
        return f"none: {error}"
    return ", ".join(f"cuda:{i} {name}" for i, name in enumerate(cuda_names()))


def mnist() -> str:
    """Whether MNIST is here. It is not needed: without it the examples draw digits."""
    from minialex.data import load_mnist

    try:
        load_mnist(download=False)
    except ImportError as error:
        return f"cannot be looked for: {error}"
    except FileNotFoundError:
        return (
            "not here: python examples/lenet_mnist.py fetches it (11 MB), or set MINIALEX_DATA to its folder"
        )
    return "found, and its checksums are right"


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # "?" for what a terminal cannot show
    sys.exit(main())
