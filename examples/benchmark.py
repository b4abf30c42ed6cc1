"""How fast is it, beside PyTorch?    python examples/benchmark.py --what lenet

Both make the same steps in turn in one process, round by round: what counts is the ratio within a round. Without
PyTorch it measures minialex alone. The numbers go to examples/results as well, as JSON, with versions and hardware.

  lenet       a training step of LeNet-5
  alexnet     a training step of AlexNet
  resnet18    a training step of that; vgg11 and densenet121, too
  layers      each layer, forward and backward
  loader      pictures a second, by number of workers
  evaluation  time for a picture, by batch size
  memory      the peak of some steps, each in its own process
"""

import argparse
import importlib.util
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benchmark_loader
import benchmark_ours
import numpy as np

import minialex as mx
from minialex.data.folder import find_pictures
from minialex.data.pictures import draw_pictures
from minialex.study import benchmarks
from minialex.study.benchmarks import Side, as_spread, in_turn, ratios, spread, table
from minialex.training.command_line import Parser, choose_processes, friendly, named, whole_number
from minialex.training.picture_options import between
from minialex.words import counted

RESULTS = Path(__file__).resolve().parent / "results"
BATCH = {"lenet": 128, "alexnet": 64, "resnet18": 16, "vgg11": 8, "densenet121": 8}
CLASSES = {name: 10 if name == "lenet" else 1000 for name in BATCH}
TITLES = {"lenet": "LeNet-5", "resnet18": "ResNet-18", "vgg11": "VGG-11", "densenet121": "DenseNet-121"}
DROPS = ("alexnet", "vgg11")  # what has dropout
OF_LOADER = ("data_dir", "limit", "workers")
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
WARM_UP = 2
NAMES = {"torch": "PyTorch", "one-tower": "one tower"}
MiB = 2**20


def parse_arguments(argv=None):
    whole = whole_number(1)
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    # fmt: off
    add("--what", choices=MEASURE, default="lenet", help="what to measure (default: lenet)")
    add("--network", choices=BATCH, help="of layers and evaluation (default: lenet), memory (alexnet)")
    add("--against", choices=["torch", "one-tower", "nothing"], help="default: PyTorch, if it is here")
    add("--devices", default="auto", help="cpu, cuda:0, cuda:0,cuda:0 or auto: a GPU if there is one (default)")
    add("-b", "--batch", "--batch-size", type=whole, metavar="N", dest="batch",
        help="pictures in a step (default: 128; AlexNet 64, ResNet-18 16, VGG-11 and DenseNet-121 8, loader 32, "
        "memory of AlexNet 128); of evaluation the most")
    add("--rounds", type=whole, metavar="R", help="turns of each side (default: 5; loader 3, memory 1)")
    add("--steps", type=whole, metavar="N", help="in a round (default: LeNet-5 20, AlexNet 2, others 1; layers 5, "
        "memory 3)")
    add("--threads", type=whole, metavar="T", help="of both, on the CPU (default: as each chooses)")
    add("--processes", type=whole, metavar="P", help="share our LeNet-5's batch (default: as many as threads)")
    add("--towers", type=int, choices=[1, 2], help="of AlexNet (default: 2)")
    add("--width", type=between(0.001, 16), help="times maps and units, for a quick try (default: 1)")
    add("--image-size", type=whole, metavar="S", help="the crop (default: AlexNet 227, others 224)")
    add("--data-dir", type=named, metavar="DIR", help="loader: DIR/train/<class>/*.jpg (default: drawn pictures)")
    add("--limit", type=whole, metavar="N", help="loader: so many pictures (default: 200)")
    add("--workers", type=whole_number(0), nargs="+", metavar="J", help="loader (default: 0, 1, 2, 4, ...)")
    add("--output", type=named, metavar="FILE", help="the JSON (default: a new file in examples/results)")
    add("--child", choices=["minialex", "torch"], help=argparse.SUPPRESS)  # memory starts itself with it
    # fmt: on
    args = parser.parse_args(argv)
    own = args.what if args.what in BATCH else {"loader": "alexnet", "memory": "alexnet"}.get(args.what)
    if args.what == "memory" and args.network != "lenet":  # its memory is that of the program
        own = args.network or own
    if own and args.network not in (None, own):
        parser.error(f"--network {args.network} is for layers and evaluation, --what {args.what} has its own")
    if args.processes and args.what != "lenet":
        parser.error(f"--processes is for --what lenet, not for {args.what}")
    if args.against == "one-tower" and (args.what != "alexnet" or args.towers == 1):
        parser.error("--against one-tower is for --what alexnet with its two towers")
    args.network = own or args.network or "lenet"
    for name in OF_LOADER if args.what != "loader" else ():
        if getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} is for --what loader, not for {args.what}")
    for name in ("width", "image_size") if args.network == "lenet" else ():
        if getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} is for the other networks: LeNet-5 has one size")
    if args.what == "loader":
        for name in ("width", "steps", "against"):
            if getattr(args, name) is not None:
                parser.error(f"--{name} is not for --what loader, which reads pictures")
    if args.towers and (args.network != "alexnet" or args.what == "loader"):
        parser.error(f"--towers {args.towers} is for AlexNet, which is not what is measured here")
    args.towers, args.limit = args.towers or 2, args.limit or 200
    args.width = 1.0 if args.width is None else args.width
    if args.batch is None:
        largest = {"loader": 32, "evaluation": 512 if args.network == "lenet" else 64}
        args.batch = largest.get(args.what, BATCH[args.network])
        if args.what == "memory" and args.network == "alexnet":
            args.batch = 128
    args.image_size = args.image_size or (227 if args.network in ("lenet", "alexnet") else 224)
    args.rounds = args.rounds or {"loader": 3, "memory": 1}.get(args.what, 5)
    return args


# ---- the two sides -------------------------------------------------------------------------------------


def benchmark_torch():
    """Imported when it is wanted: PyTorch need not be here."""
    return importlib.import_module("benchmark_torch")


def our_network(args, devices=None, towers=None):
    size = args.width, args.image_size, CLASSES[args.network]
    return benchmark_ours.network(args.network, *size, devices or args.devices, towers or args.towers)


def torch_network(args, model=None):
    size = args.width, args.image_size, CLASSES[args.network]
    return benchmark_torch().network(args.network, *size, mx.place(args.devices)[0].name, model)


def settings_of(args):
    """SGD's. VGG has nothing that keeps its numbers small, and bursts at AlexNet's rate."""
    return SGD | ({"lr": 0.001} if args.network == "vgg11" else {})


def draw_batch(args, size=None):
    """Random pictures and labels, on the host."""
    rng = np.random.default_rng(0)
    shape = (1, 28, 28) if args.network == "lenet" else (3, args.image_size, args.image_size)
    x = rng.standard_normal((size or args.batch, *shape), dtype=np.float32)
    return x, rng.integers(0, CLASSES[args.network], len(x))


# ---- a training step -----------------------------------------------------------------------------------


def measure_training(args, rival):
    """A whole step of SGD."""
    steps = args.steps or {"lenet": 20, "alexnet": 2}.get(args.network, 1)
    model, (x, labels) = our_network(args), draw_batch(args)
    flops = len(x) * sum(map(sum, benchmarks.flops_of(model).values()))
    limit = show_limit(model.device)
    processes = 1  # two towers have the threads
    if args.network == "lenet":
        processes = choose_processes(args.processes, None, args.batch, model.device)
    sides = [benchmark_ours.training(model, x, labels, settings_of(args), processes=processes)]
    if rival == "torch":
        sides.append(benchmark_torch().training(torch_network(args, model), x, labels, settings_of(args)))
    elif rival == "one-tower":
        one = our_network(args, devices=model.device, towers=1)
        sides.append(benchmark_ours.training(one, x, labels, settings_of(args), NAMES[rival]))
    say_turns(args, steps, sides, processes)
    times = in_turn(sides, args.rounds, steps, WARM_UP, label=args.what)
    losses = {side.name: side.step() for side in sides}

    of_sides, rows = {}, []
    for name, seconds in times.items():
        ms = spread([1000 * t for t in seconds])
        images, gflops = (1000 * count / ms["median"] for count in (len(x), flops / 1e9))
        of_sides[name] = {"ms": ms, "images_per_second": images, "gflops": gflops, "of_limit": gflops / limit}
        row = [f"{t:,.1f}" for t in ms.values()]
        rows.append(
            [name, *row, f"{images:,.{1 if images < 100 else 0}f}", f"{gflops:.1f}", f"{gflops / limit:.0%}"]
        )
    print(table(["", "ms a step", "least", "most", "images/s", "GFLOP/s", "of the limit"], rows) + "\n")
    results = {
        "steps": steps,
        "processes": processes,
        "sides": of_sides,
        "gflop": flops / 1e9,
        "gemm_gflops": limit,
        "loss": losses,
    }
    if rival:
        ours, theirs = times.values()
        results |= {"speed": ratios(theirs, ours), "time": ratios(ours, theirs)}
        kind = "time" if rival == "one-tower" else "speed"
        print(f"{kind.capitalize()} ({NAMES[rival]} = 1): {as_spread(results[kind])}")
    last = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    masks = ", each with its own dropout" if args.network in DROPS and rival == "torch" else ""
    print(f"Loss at step {WARM_UP + args.rounds * steps + 1}{masks}: {last}")
    return results


# ---- layer by layer ------------------------------------------------------------------------------------


def measure_layers(args, rival):
    """layers: forward and backward of each; ours within a step, PyTorch's one by one."""
    steps = args.steps or 5
    model, (x, labels) = our_network(args), draw_batch(args)
    flops, limit = benchmarks.flops_of(model), show_limit(model.device)
    flops = {name: len(x) * sum(counts) for name, counts in flops.items()}
    measures = {"minialex": benchmark_ours.layer_times(model, x, labels, settings_of(args))}
    if rival:
        measures["PyTorch"] = benchmark_torch().layer_times(
            torch_network(args, model), x, labels, settings_of(args)
        )
    samples = {name: [] for name in measures}
    sides = [Side(name, lambda name=name: samples[name].append(measures[name]())) for name in measures]
    say_turns(args, steps, sides)
    in_turn(sides, args.rounds, steps, WARM_UP, label="layers")

    ms = {name: medians_of(taken[WARM_UP:]) for name, taken in samples.items()}
    ours, theirs = ms["minialex"], ms.get("PyTorch")
    total = sum(ours["all"])
    rows = []
    for name in [name for name in (*model.layers, "crossings", "loss", "update", "all") if name in ours]:
        work = sum(flops.values()) if name == "all" else flops.get(name)
        spent = sum(ours[name])
        row = [
            name,
            *map(as_ms, ours[name]),
            f"{work / spent / 1e6:.1f}" if work else "-",
            f"{spent / total:.0%}",
        ]
        if theirs:
            other = theirs.get(name, (0.0, 0.0))
            row += [*map(as_ms, other), f"{sum(other) / spent:.2f}" if name in theirs and spent else "-"]
        rows += [None, row] if name == "all" else [row]
    header = ["layer", "forward", "backward", "GFLOP/s", "of all"]
    print(table([*header, *(["PyTorch fw", "bw", "speed"] if theirs else [])], rows))
    print("\nMedians in ms." + (" Speed: PyTorch's forward and backward over ours." if theirs else ""))
    gflop = {name: count / 1e9 for name, count in flops.items()}
    return {"steps": steps, "ms_forward_backward": ms, "gflop": gflop, "gemm_gflops": limit}


def medians_of(samples):
    """[ms forward, ms backward] by layer, and of all together."""
    names = samples[0]
    ms = {name: [1000 * statistics.median(s[name][way] for s in samples) for way in (0, 1)] for name in names}
    return {**ms, "all": [sum(pair[way] for pair in ms.values()) for way in (0, 1)]}


def as_ms(ms):
    return f"{ms:,.{2 if ms < 100 else 1}f}" if ms else "-"


# ---- evaluation ----------------------------------------------------------------------------------------


def measure_evaluation(args, rival):
    """evaluation: the time for a picture, from a batch of one to large ones."""
    model = our_network(args).eval()
    net = torch_network(args, model) if rival else None
    sizes = [2**n for n in range(args.batch.bit_length())]
    speed, rows = {}, []
    us = {"minialex": {}, **({"PyTorch": {}} if rival else {})}
    print(f"{counted(args.rounds, 'round')}{', in turn' if rival else ''}\n")
    for size in sizes:
        x, _ = draw_batch(args, size)
        sides = [
            benchmark_ours.evaluation(model, x),
            *([benchmark_torch().evaluation(net, x)] if rival else []),
        ]
        in_turn(sides, 1, 1)
        slowest = max(benchmarks.seconds_of_a_step(side, 1) for side in sides)
        steps = args.steps or min(200, math.ceil(0.05 / slowest))
        times = in_turn(sides, args.rounds, steps, 1, label=f"batch {size}")
        for name, seconds in times.items():
            us[name][size] = 1e6 * statistics.median(seconds) / size
        rows.append([str(size), *(f"{us[name][size]:,.1f}" for name in us)])
        if rival:
            speed[size] = ratios(times["PyTorch"], times["minialex"])
            rows[-1].append(as_spread(speed[size]))
    header = ["batch", *(f"{name} us" for name in us), *(["speed (PyTorch = 1)"] if rival else [])]
    print(table(header, rows) + "\n\nMicroseconds for one picture, medians.")
    rises = {name: [(t[b] / t[a], a, b) for a, b in itertools.pairwise(sizes)] for name, t in us.items()}
    for name in us if len(sizes) > 1 else ():
        rise, a, b = max(rises[name])
        print(
            f"{name}: a picture takes at most {rise:.2f} times as long as in half the batch ({b} beside {a})."
        )
    largest = {name: max(rise)[0] for name, rise in rises.items() if rise}
    return {"us_a_picture": us, "speed": speed, "largest_rise": largest}


# ---- pictures ------------------------------------------------------------------------------------------


def measure_loader(args, rival):
    """loader: reading, cutting and cropping, by number of workers, beside a loop of Pillow's."""
    if args.data_dir:
        return measure_reading(args, find_pictures(args.data_dir))
    if args.limit < 10:
        raise ValueError(f"--limit {args.limit} is too few: one picture of each of ten classes is drawn")
    size = round(400 * args.image_size / 227)
    print(f"Drawing {args.limit} pictures of {size} pixels and more")
    with tempfile.TemporaryDirectory() as scratch:
        folder = draw_pictures(Path(scratch) / "drawn", train=args.limit, val=10, size=size)
        return measure_reading(args, find_pictures(folder))


def measure_reading(args, pictures):
    pictures = pictures.part(np.linspace(0, len(pictures) - 1, min(args.limit, len(pictures))).astype(int))
    crop, side = args.image_size, round(256 * args.image_size / 227)
    cores = benchmarks.hardware()["cores"]
    workers = args.workers or [0, *(2**n for n in range(cores.bit_length() + 1))]
    alone, sides = benchmark_loader.ALONE, benchmark_loader.sides(pictures, side, crop, args.batch, workers)
    print(
        f"{counted(len(pictures), 'picture')}, cut to {side}x{side}, cropped to {crop}x{crop}; "
        f"{counted(args.rounds, 'round')}\n"
    )
    times = in_turn(sides, args.rounds, 1, 1, label="loader")
    rates = {name: spread([len(pictures) / t for t in seconds]) for name, seconds in times.items()}
    speed = {name: ratios(times[alone], seconds) for name, seconds in times.items()}
    rows = [[name, *(f"{r:,.0f}" for r in rates[name].values()), as_spread(speed[name])] for name in times]
    print(table(["", "pictures/s", "least", "most", f"times {alone}"], rows))
    return {"pictures": len(pictures), "pictures_per_second": rates, "times_pillow": speed}


# ---- memory --------------------------------------------------------------------------------------------


def measure_memory(args, rival):
    """memory: training in a process of its own, for each side; this one stays small."""
    args.steps = args.steps or 3
    print(f"{counted(args.steps, 'step')} in a process of its own, {counted(args.rounds, 'time')}\n")
    runs = {"minialex": [], **({"PyTorch": []} if rival else {})}
    for _ in range(args.rounds):
        for name, taken in runs.items():
            taken.append(run_child(args, "torch" if name == "PyTorch" else name))
    sides = {
        name: {k: spread([run[k] / MiB for run in taken]) for k in taken[0]} for name, taken in runs.items()
    }
    keys = ["before", "peak", "grown", *(["gpu"] if sides["minialex"]["gpu"]["max"] else [])]
    rows = [[name, *(f"{of_side[key]['median']:,.0f}" for key in keys)] for name, of_side in sides.items()]
    print(table(["", *(f"{key} MiB" for key in keys)], rows) + "\n")
    results = {"steps": args.steps, "mib": sides}
    for key in keys[1:] if rival else ():
        ours, theirs = ([run[key] for run in taken] for taken in runs.values())
        results[f"{key}_ratio"] = ratios(ours, theirs)
        print(f"Memory, {key} (PyTorch = 1): {as_spread(results[f'{key}_ratio'])}")
    print("Of the whole process; before: with all imported, and no network yet; grown: since then.")
    return results


def run_child(args, child):
    """This program again, for the training of one side."""
    names = ["network", "batch", "steps", "devices", "threads"]
    names += [] if args.network == "lenet" else ["width", "image_size"]
    names += ["towers"] if args.network == "alexnet" else []
    asked = [
        (f"--{name.replace('_', '-')}", str(getattr(args, name))) for name in names if getattr(args, name)
    ]
    command = [sys.executable, __file__, "--what", "memory", "--child", child, *itertools.chain(*asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise MemoryError(f"the process of {child} was killed by signal {-done.returncode}")
    if done.returncode:
        raise RuntimeError(f"the process of {child} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def be_the_child(args):
    """Some steps of training; the last line is what memory they took, in bytes."""
    side = benchmark_torch() if args.child == "torch" else benchmark_ours
    before, (x, labels) = benchmarks.peak_memory(), draw_batch(args)
    if args.child == "torch":
        side.set_up(args.threads)
    net = torch_network(args) if args.child == "torch" else our_network(args)
    training = side.training(net, x, labels, settings_of(args))
    for _ in range(args.steps):
        training.step()
    peak = benchmarks.peak_memory()
    print(json.dumps({"before": before, "peak": peak, "grown": peak - before, "gpu": side.gpu_bytes(net)}))


# ---- what is said and kept -----------------------------------------------------------------------------

MEASURE = {**dict.fromkeys(BATCH, measure_training), "layers": measure_layers, "loader": measure_loader,
           "evaluation": measure_evaluation, "memory": measure_memory}  # fmt: skip


def say_turns(args, steps, sides, processes=1):
    turns = f", {' and '.join(side.name for side in sides)} in turn" if len(sides) > 1 else ""
    shared = f"; minialex in {processes} processes" if processes > 1 else ""
    print(f"{counted(args.rounds, 'round')} of {counted(steps, 'step')} each{turns}{shared}\n")


def show_limit(device):
    limit = benchmarks.gemm_limit(device)
    side = benchmarks.GEMM_SIDE[device.name.partition(":")[0]]
    print(f"The limit: {limit:,.0f} GFLOP/s, the best of ten float32 products of {side}x{side} matrices")
    return limit


def title_of(args, devices):
    width = f", width {args.width:g}" if args.width != 1 else ""
    size = f"{args.image_size}x{args.image_size}{width}"
    if args.network == "alexnet":
        network = f"AlexNet ({size}, {counted(args.towers, 'tower')})"
    else:
        network = TITLES[args.network] + (f" ({size})" if args.network != "lenet" else "")
    what = {
        "layers": f"{network}, layer by layer",
        "loader": "Reading pictures",
        "evaluation": f"{network}, evaluation",
        "memory": f"{network}, memory of training",
    }.get(args.what, f"{network}, a training step")
    upto = "up to " if args.what == "evaluation" else ""
    return f"{what}: batch {upto}{args.batch}, on " + ", ".join(device.name for device in devices)


def rival_of(args, device):
    """Beside what it is measured. PyTorch is taken if it is here, and missed only if it was asked for."""
    if args.against in ("one-tower", "nothing") or args.what == "loader":
        return "one-tower" if args.against == "one-tower" else None
    missing = None
    if importlib.util.find_spec("torch") is None:
        missing = "PyTorch is not installed"
    elif device.name.startswith("cuda") and not benchmark_torch().has_gpu():
        missing = "PyTorch finds no GPU"
    if missing and args.against:
        raise ValueError(
            f"{missing}: install one that fits (pip install torch), or leave out --against torch"
        )
    if missing:
        print(f"{missing}: measuring minialex alone.")
    return None if missing else "torch"


def place_and_set_up(args):
    """The devices; threads as asked; nothing in TF32."""
    os.environ["CUPY_TF32"] = "0"
    devices = mx.place(args.devices)
    for device in devices:
        if device.name.startswith("sim"):
            raise ValueError(
                f"{device.name} only pretends to be a GPU, its times mean nothing: use cpu or cuda:0"
            )
    if args.network == "lenet" and devices[0] is not devices[1]:
        raise ValueError(f"LeNet-5 takes one device, not {args.devices}: use --devices {devices[0].name}")
    if args.threads:
        mx.Device("cpu").threads = args.threads
    return (
        devices if args.network == "alexnet" and args.towers == 2 and args.what != "loader" else devices[:1]
    )


def record_of(args, devices, rival, results):
    """All that is kept."""
    threads = {"asked": args.threads, "minialex": mx.Device("cpu").threads}
    if sys.modules.get("torch"):
        threads["torch"] = sys.modules["torch"].get_num_threads()
    settings = {name: getattr(args, name) for name in ("what", "network", "batch", "rounds")}
    if args.network == "alexnet":
        settings["towers"] = args.towers
    if args.network != "lenet":
        settings |= {name: getattr(args, name) for name in ("width", "image_size")}
    return {
        **settings,
        "devices": [device.name for device in devices],
        "against": rival,
        "gemm_gflops": results.pop("gemm_gflops", None) or benchmarks.gemm_limit(devices[0]),
        "results": results,
        "hardware": benchmarks.hardware(devices),
        "threads": threads,
        "versions": benchmarks.versions(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": benchmarks.command_line("examples/benchmark.py"),
    }


def main(argv=None):
    args = parse_arguments(argv)
    devices = place_and_set_up(args)
    if args.child:
        return be_the_child(args)
    rival = rival_of(args, devices[0])
    if rival == "torch" and args.what != "memory":  # there, this process stays small
        benchmark_torch().set_up(args.threads)
    print(title_of(args, devices))
    record = record_of(args, devices, rival, MEASURE[args.what](args, rival))
    named = args.what in ("layers", "evaluation") or (args.what == "memory" and args.network != "alexnet")
    name = "-".join([args.what, *([args.network] if named else [])])
    name = "-".join([name, *dict.fromkeys(device.name.replace(":", "") for device in devices)])
    path = Path(args.output) if args.output else benchmarks.free_name(RESULTS, name)
    benchmarks.write_record(path, record)
    machine = record["hardware"]
    print(
        "\n"
        + ", ".join([machine["cpu"], counted(machine["cores"], "core"), *machine["gpus"], *machine["blas"]])
    )
    shown = [name for name in record["versions"] if name not in ("pillow", "threadpoolctl")]
    print(", ".join(f"{name} {record['versions'][name]}" for name in shown))
    print(f"Written to {args.output or os.path.relpath(path)}")


if __name__ == "__main__":
    friendly(main)
