"""What .ci/gpu does: the tests that need a GPU, numbers beside float64 on the CPU, times beside PyTorch, a training."""

import argparse
import copy
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("CUPY_TF32", "0")

import numpy as np

import minialex as mx
from minialex.models.names import network
from minialex.study import benchmarks
from minialex.study.benchmarks import Side, as_spread, in_turn, ratios, spread, table

SECONDS = int(os.environ.get("MINIALEX_GPU_SECONDS", 240))
TWINS = {"off": "0", "on": "1"}  # MINIALEX_FAST


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("gpu-day"))
    parser.add_argument(
        "--device", default="cuda:0", help="sim:0 tries the parts without a GPU (default: cuda:0)"
    )
    parser.add_argument(
        "--small", action="store_true", help="narrow networks and few steps: does it run at all?"
    )
    parser.add_argument("--data", type=Path, help="train: a folder with train/<class>/ and val/<class>/")
    parser.add_argument("--marker", default="gpu", help=argparse.SUPPRESS)
    parser.add_argument("--tests", nargs="+", default=["tests"], help="of pytest: these alone")
    parser.add_argument(
        "--only",
        nargs="+",
        help="of a part: " + ", ".join(dict.fromkeys(name for works in PARTS.values() for name in works)),
    )
    return parser.parse_args()


def main():
    args = parse_arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    print(
        f"{card(args)}; Python {platform.python_version()}, "
        + ", ".join(f"{k} {v}" for k, v in versions().items())
    )
    failed = 0
    for part in PARTS if args.part == "all" else [args.part]:
        for name, work in PARTS[part].items():
            if args.only and name not in args.only:
                continue
            started, result = time.perf_counter(), {"card": card(args), "versions": versions()}
            print(f"\n== {part}: {name}", flush=True)
            try:
                result["result"] = work(args)
                failed += bool(result["result"].get("failed"))
            except Exception:  # the other parts are worth having all the same
                result["error"] = traceback.format_exc()
                print(result["error"])
                failed += 1
            result["seconds"] = time.perf_counter() - started
            print(f"-- {part}: {name}: {result['seconds']:.0f} s", flush=True)
            (args.folder / f"{part}-{name}.json").write_text(json.dumps(result, indent=1, default=float))
    raise SystemExit(f"{failed} of the parts failed" if failed else 0)


def card(args):
    names = mx.devices.device.cuda_names()
    return ", ".join(names) if names and args.device.startswith("cuda") else args.device


def versions():
    return {
        name: v for name, v in benchmarks.versions().items() if name.startswith(("numpy", "cupy", "torch"))
    }


# ---- tests: pytest ---------------------------------------------------------------------------------------


def run_pytest(args):
    """pytest -m gpu with the twins off, and on, both at once; what failed, by test and by error."""
    # No plugins but these: others that a machine happens to have may warn, and warnings are errors.
    plugins = ["-p", "_hypothesis_pytestplugin"]
    if find_spec("xdist"):
        plugins += ["-p", "xdist.plugin", "-n", str(max(1, (os.cpu_count() or 2) // 2 - 1))]
    if find_spec("pytest_timeout"):
        plugins += ["-p", "pytest_timeout", "--timeout=60"]
    runs = {}
    for name, fast in TWINS.items():
        command = [sys.executable, "-m", "pytest", "-m", args.marker, "-q", "--no-header", "-p", "no:cacheprovider",
                   "--tb=short", *plugins, *args.tests]  # fmt: skip
        environment = os.environ | {"MINIALEX_FAST": fast, "MINIALEX_EXAMPLES": "40", "MPLBACKEND": "Agg"}
        environment |= {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        }
        log = (args.folder / f"pytest-{name}.log").open("w")
        runs[name] = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    results, until = {}, time.monotonic() + SECONDS
    for name, process in runs.items():
        try:
            process.wait(max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        log = (args.folder / f"pytest-{name}.log").read_text()
        failures = re.findall(r"^(?:FAILED|ERROR) (\S.*)$", log, re.M)
        errors = Counter(line[2:].strip()[:150] for line in log.splitlines() if line.startswith("E  "))
        results[name] = {
            "last": log.strip().splitlines()[-1],
            "failures": failures,
            "errors": errors.most_common(60),
        }
        print(f"twins {name}: {results[name]['last']}")
        for line, number in errors.most_common(25):
            print(f"   {number:4} {line}")
        for line in failures[:40]:
            print("  ", line[:170])
    return {**results, "failed": any(process.returncode for process in runs.values())}


# ---- tests: numbers beside the CPU's in float64 ------------------------------------------------------------


def layers():
    """Layers with the shape of an input each; response normalisation is tried where its sum counts, alpha near 1."""
    conv = mx.Conv2D(6, 8, (3, 5), stride=(2, 1), padding=(1, 2), groups=2)
    wide = mx.Conv2D(16, 32, 3, padding=1)
    half = mx.Sequential(mx.Conv2D(4, 3, 1), mx.ReLU())
    return {
        "Conv2D": (conv, (5, 6, 11, 9)),
        "Conv2D wide": (wide, (8, 16, 27, 27)),
        "TableConv2D": (mx.TableConv2D([[0, 1], [1, 2], [0, 2]], 3), (4, 3, 9, 8)),
        "Linear": (mx.Linear(70, 33), (9, 70)),
        "MaxPool2D": (mx.MaxPool2D(3, stride=2), (4, 3, 13, 11)),
        "MaxPool2D padded": (mx.MaxPool2D(3, stride=2, padding=1, ceil_mode=True), (4, 3, 12, 11)),
        "AvgPool2D": (mx.AvgPool2D(3, stride=2, padding=1), (4, 3, 13, 11)),
        "GlobalAvgPool2D": (mx.GlobalAvgPool2D(), (4, 3, 7, 6)),
        "AdaptiveAvgPool2D": (mx.AdaptiveAvgPool2D(4), (2, 3, 14, 9)),
        "Subsampling": (mx.Subsampling(3), (4, 3, 8, 6)),
        "LocalResponseNorm": (mx.LocalResponseNorm(5, alpha=0.9, beta=0.75, k=1.0, groups=2), (4, 12, 5, 6)),
        "SameMapNorm": (mx.SameMapNorm(3, alpha=0.9, beta=0.75, k=1.0), (4, 5, 7, 6)),
        "BatchNorm2D": (mx.BatchNorm2D(5), (6, 5, 7, 4)),
        "ReLU": (mx.ReLU(), (5, 7, 3)),
        "Sigmoid": (mx.Sigmoid(), (5, 7, 3)),
        "Tanh": (mx.Tanh(1.7159, 2 / 3), (5, 7, 3)),
        "Dropout": (mx.Dropout(0.5), (64, 33)),
        "RBF": (mx.RBF(np.sign(np.random.default_rng(0).standard_normal((10, 84)))), (5, 84)),
        "Branches": (mx.Branches({"one": half, "two": mx.Identity()}), (3, 4, 6, 5)),
        "Sum": (mx.Branches({"one": mx.ReLU(), "two": mx.Scale(2.0)}, merge="add"), (3, 4, 6, 5)),
        "Dense": (mx.Dense(mx.Conv2D(4, 2, 3, padding=1), mx.Conv2D(6, 2, 3, padding=1)), (3, 4, 6, 5)),
    }


def one_pass(layer, x, seed=1):
    """y, grad_x, the gradients and the buffers, on the host."""
    layer.train()
    y = layer.forward(layer.device.asarray(x))
    grad_y = np.random.default_rng(seed).standard_normal(y.shape).astype(x.dtype)
    grad_x = layer.backward(layer.device.asarray(grad_y))
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    buffers = {name: b.value for name, b in layer.named_buffers()}
    return {
        name: mx.to_numpy(a).astype(float)
        for name, a in {"y": y, "grad_x": grad_x, **gradients, **buffers}.items()
    }


def filled(layer, dtype, seed=0):
    """Random weights of about the size that a network has."""
    rng, layer = np.random.default_rng(seed), layer.astype(dtype)
    for _, p in layer.named_parameters():
        p.value = (rng.standard_normal(p.value.shape) / np.sqrt(p.value[0].size or 1)).astype(dtype)
    return layer


def difference(actual, expected):
    """The largest of |a - b| / |b|, of whole arrays; infinite where a number is not finite.

    |b| is at least a millionth of the largest: a bias before a BatchNorm has no gradient but rounding.
    """
    least = 1e-6 * max(np.linalg.norm(b) for b in expected.values())
    ratios = [
        np.linalg.norm(actual[name] - b) / max(np.linalg.norm(b), least) for name, b in expected.items()
    ]
    return max(ratio if np.isfinite(ratio) else float("inf") for ratio in ratios)


def compare_layers(args):
    """Every layer on the device beside the CPU's float64; in float64 1e-12, in float32 1e-5, twins off and on."""
    device, rows, errors, failed = mx.Device(args.device), [], {}, []
    for name, (layer, shape) in layers().items():
        x = np.random.default_rng(3).standard_normal(shape)
        with mx.textbook():
            expected = one_pass(filled(copy.deepcopy(layer), "float64"), x)
        row = [name]
        for dtype, most in (("float64", 1e-12), ("float32", 1e-5)):
            for twins in TWINS:
                device.fast = twins == "on"
                try:
                    there = filled(copy.deepcopy(layer), "float64").astype(dtype).to(device)
                    error = difference(one_pass(there, x.astype(dtype)), expected)
                except Exception as problem:
                    error = float("inf")
                    print(f"{name}, {dtype}, twins {twins}:")
                    traceback.print_exception(problem, limit=-3)
                errors[f"{name} {dtype} {twins}"] = error
                row.append(f"{error:.0e}")
                if not error <= most:
                    failed.append(f"{name} {dtype} twins {twins}: {error:.1e}")
        rows.append(row)
    device.fast = False
    print(table(["layer", "float64, twins off", "on", "float32, twins off", "on"], rows))
    return {"errors": errors, "failed": failed}


def networks(small):
    """AlexNet in two towers at full width, and what came after, small."""
    yield "alexnet, two towers", lambda d: mx.models.alexnet(1000 if not small else 10, f"{d},{d}", rng=0,
                                                             width=0.125 if small else 1.0,
                                                             image_size=67 if small else 227)  # fmt: skip
    yield "lenet", lambda d: mx.models.lenet5(device=d)
    for name in ("resnet18", "resnet50", "vgg11_bn", "densenet121", "googlenet", "inception_v3", "smartnet"):
        size = {"inception_v3": 299, "vgg11_bn": 32, "googlenet": 224}.get(name, 64)
        yield (
            name,
            lambda d, name=name, size=size: network(name)(
                num_classes=10, width=0.25, image_size=size, rng=0, devices=d
            ),
        )


def compare_networks(args):
    """Logits, loss, all gradients and running statistics, in float64, beside the same network on the CPU."""
    device, rows, failed = mx.Device(args.device), [], []
    for name, make in networks(args.small):
        results = {}
        for place, twins in (("cpu", "off"), (args.device, "off"), (args.device, "on")):
            device.fast = twins == "on"
            model = make(place).astype("float64").train()
            rng = np.random.default_rng(5)
            x, labels = rng.standard_normal((2, *model.picture_shape)), rng.integers(0, 10, 2)
            logits = model.forward(model.device.asarray(x))
            loss = model.loss.forward(logits, labels)
            model.backward(model.loss.backward())
            numbers = {"loss": loss} | {n: p.grad for n, p in model.named_parameters()}
            numbers |= {n: b.value for n, b in model.named_buffers()}
            numbers["logits"] = logits
            results[place, twins] = {n: mx.to_numpy(a).astype(float) for n, a in numbers.items()}
            del model, logits, loss, numbers
        expected = results.pop(("cpu", "off"))
        errors = {twins: difference(got, expected) for (_, twins), got in results.items()}
        failed += [
            f"{name}, twins {twins}: {error:.1e}" for twins, error in errors.items() if not error <= 1e-8
        ]
        rows.append([name, str(len(expected)), *(f"{error:.0e}" for error in errors.values())])
        mx.Device(args.device).free_memory()
    device.fast = False
    print(table(["network", "arrays", "twins off", "on"], rows))
    return {"rows": rows, "failed": failed}


def memory(args):
    """What CuPy's pool holds after 200 steps is what it held after 20."""
    if not args.device.startswith("cuda"):
        return {"skipped": "pretended GPUs have no pool"}
    device, rows, failed = mx.Device(args.device), [], []
    pool = device.xp.get_default_memory_pool()
    for twins in TWINS:
        device.fast = twins == "on"
        model = mx.models.alexnet(
            10, f"{device.name},{device.name}", width=0.25, image_size=67, rng=0
        ).train()
        optimizer = mx.SGD(model.parameters(), 0.001)
        rng, used = np.random.default_rng(0), {}
        x, labels = (
            device.asarray(rng.standard_normal((32, 3, 67, 67), dtype=np.float32)),
            rng.integers(0, 10, 32),
        )
        for step in range(1, 201):
            mx.train.train_step(model, optimizer, x, labels)
            if step in (20, 200):
                benchmarks.wait_for([device])
                used[step] = pool.used_bytes(), pool.total_bytes()
        rows.append([f"twins {twins}", *(f"{n / 2**20:.1f}" for step in used.values() for n in step)])
        if used[20] != used[200]:
            failed.append(f"twins {twins}: {used}")
    device.fast = False
    print(table(["", "used MiB after 20 steps", "held", "used after 200", "held"], rows))
    return {"rows": rows, "failed": failed}


# ---- speed -------------------------------------------------------------------------------------------------


def limits(args):
    """The card's own: a large float32 product, and a large copy."""
    device = mx.Device(args.device)
    gemm = benchmarks.gemm_limit(device, 512 if args.small else None)
    with device:
        source = device.xp.ones(2**20 if args.small else 2**29, np.float32)
        target = device.xp.empty_like(source)

        def copy_it():
            target[...] = source

        copying = Side("copy", copy_it, lambda: benchmarks.wait_for([device]))
        seconds = min(in_turn([copying], 5, 5)["copy"])
    gbps = 2 * source.nbytes / seconds / 1e9
    print(f"float32 products {gemm / 1000:.1f} TFLOP/s, copies {gbps:,.0f} GB/s (read and written)")
    return {"gemm_gflops": gemm, "copy_gb_s": gbps}


def benchmark(args, name, *options, fast="1", quiet=False):
    """examples/benchmark.py in a process of its own, its record, and the end of what it printed."""
    output = args.folder / f"benchmark-{name}.json"
    command = [
        sys.executable,
        str(ROOT / "examples/benchmark.py"),
        *map(str, options),
        "--output",
        str(output),
    ]
    environment = os.environ | {
        "MINIALEX_FAST": fast,
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    print(f"[{name}] {' '.join(map(str, options))}")
    print(
        done.stdout.strip() if done.returncode == 0 else done.stdout[-500:] + done.stderr[-2500:], flush=True
    )
    if done.returncode:
        raise RuntimeError(f"benchmark {name} failed")
    return json.loads(output.read_text())["results"]


def speed_alexnet(args):
    """AlexNet's training step beside PyTorch's eager one with response normalisation, float32, TF32 off for both."""
    size = ["-b", 4, "--width", 0.125, "--image-size", 67] if args.small else ["-b", 128]
    turns = ["--rounds", 2, "--steps", 1] if args.small else ["--rounds", 5, "--steps", 8]
    place = "cpu" if args.small else args.device
    results = {}
    for name, fast in TWINS.items():
        results[f"step, one device, twins {name}"] = benchmark(
            args, f"alexnet-{name}", "--what", "alexnet", "--devices", place, *size, *turns, fast=fast
        )
    results["two towers over one"] = benchmark(
        args,
        "towers",
        "--what",
        "alexnet",
        "--against",
        "one-tower",
        "--devices",
        f"{place},{place}",
        *size,
        *turns,
    )
    for name, fast in TWINS.items():
        results[f"layers, twins {name}"] = benchmark(
            args, f"layers-{name}", "--what", "layers", "--network", "alexnet", "--devices", place,
            "--towers", 1, *size, "--rounds", 3, "--steps", 3, fast=fast)  # fmt: skip
    results["lenet"] = benchmark(
        args, "lenet", "--what", "lenet", "--devices", place, "--rounds", 5, "--steps", 40
    )
    results["memory"] = benchmark(args, "memory", "--what", "memory", "--devices", place, *size)
    return results


def speed_networks(args):
    """A step of what came after, beside torchvision's where that is here."""
    if not find_spec("torchvision") or not args.device.startswith("cuda"):
        return {"skipped": "no torchvision, or no GPU"}
    import torch
    import torchvision
    from torch.nn import functional as F

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device, rows = mx.Device(args.device), []
    for name, batch in (("resnet18", 64), ("vgg11", 64), ("densenet121", 32), ("resnet50", 32)):
        model = network(name)(1000, rng=0, devices=args.device).train()
        rng = np.random.default_rng(0)
        x, labels = rng.standard_normal((batch, 3, 224, 224), dtype=np.float32), rng.integers(0, 1000, batch)
        theirs = getattr(torchvision.models, name)().cuda().train()
        tx, tl, optimizer = (
            torch.from_numpy(x).cuda(),
            torch.from_numpy(labels).cuda(),
            mx.SGD(model.parameters(), 0.01),
        )
        sgd = torch.optim.SGD(theirs.parameters(), 0.01, 0.9, weight_decay=5e-4)
        on_device = device.asarray(x), device.asarray(labels)

        def step(model=model, optimizer=optimizer, on_device=on_device):
            return float(mx.train.train_step(model, optimizer, *on_device)[0])

        def their_step(net=theirs, sgd=sgd, tx=tx, tl=tl):
            sgd.zero_grad()
            loss = F.cross_entropy(net(tx), tl)
            loss.backward()
            sgd.step()
            return loss.item()

        def with_twins(on, step=step):
            device.fast = on
            return step()

        sides = [Side(f"twins {t}", lambda on=t == "on", f=with_twins: f(on), lambda: benchmarks.wait_for([device]))
                 for t in TWINS]  # fmt: skip
        sides.append(Side("PyTorch", their_step, torch.cuda.synchronize))
        times = in_turn(sides, 3, 4)
        rows.append([f"{name}, batch {batch}", *(f"{1000 * spread(t)['median']:.1f}" for t in times.values()),
                     *(as_spread(ratios(times["PyTorch"], times[f"twins {t}"])) for t in TWINS)])  # fmt: skip
        device.fast = False
        del model, theirs, tx, on_device, sides, optimizer, sgd
        device.free_memory()
        torch.cuda.empty_cache()
    print(
        table(
            ["", *(f"ms, twins {t}" for t in TWINS), "PyTorch", *(f"speed, twins {t}" for t in TWINS)], rows
        )
    )
    return {"rows": rows}


def speed_uploads(args):
    """Training from the host's memory: the next batch copied meanwhile, or not."""
    device = mx.Device(args.device)
    size = {"width": 0.125, "image_size": 67} if args.small else {}
    model = mx.models.alexnet(1000, args.device, towers=1, rng=0, **size).train()
    optimizer = mx.SGD(model.parameters(), 0.001)
    rng = np.random.default_rng(0)
    batch = 4 if args.small else 128
    batches = [
        (rng.standard_normal((batch, *model.picture_shape), dtype=np.float32), rng.integers(0, 1000, batch))
        for _ in range(2 if args.small else 8)
    ]
    from minialex.devices.uploads import uploads

    def epoch(ahead):
        device.upload_ahead = ahead
        for x, labels in uploads(device, batches):
            mx.train.train_step(model, optimizer, x, labels)

    device.fast = device.kind == "cuda"
    choices = {"as they are": False, **({"ahead": True} if device.kind == "cuda" else {})}
    sides = [
        Side(name, lambda a=a: epoch(a), lambda: benchmarks.wait_for([device])) for name, a in choices.items()
    ]
    times = {name: [1000 * t / len(batches) for t in s] for name, s in in_turn(sides, 5, 1, 1).items()}
    print(
        table(
            ["batches from the host", "ms a step"],
            [[name, as_spread(spread(t))] for name, t in times.items()],
        )
    )
    device.upload_ahead = device.fast = False
    return times


def speed_loader(args):
    """Pictures a second that the loader supplies, by number of threads."""
    workers, limit = ["--workers", 1, 4, 8, 16], ["--limit", 20 if args.small else 1000]
    return benchmark(args, "loader", "--what", "loader", *workers, *limit, "--rounds", 1)


# ---- train -------------------------------------------------------------------------------------------------


def train(args):
    """AlexNet on class folders, interrupted once and taken up again, as far as the seconds go."""
    if not args.data:
        return {"skipped": "no --data"}
    run, devices = args.folder / "run", f"{args.device},{args.device}"
    base = [sys.executable, str(ROOT / "examples/alexnet_imagenet.py")]
    options = ["--devices", devices, "-j", str(os.cpu_count()), "--epochs", os.environ.get("MINIALEX_GPU_EPOCHS", "12"),
               "--lr-scheduler", "cosine", "--cache", str(args.folder.resolve() / "cache"), "-p", "50",
               "--checkpoint-every", "50"]  # fmt: skip
    first = [*base, str(args.data), *options, "--output-dir", str(run)]
    again = [*base, "--resume", str(run), "--devices", devices]
    environment = os.environ | {
        "MPLBACKEND": "Agg",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    until = time.monotonic() + SECONDS
    process = subprocess.Popen(first, env=environment)
    while (
        process.poll() is None and time.monotonic() < until and not (run / "checkpoint.safetensors").is_file()
    ):
        time.sleep(1)
    stop(process)
    if not (run / "checkpoint.safetensors").is_file():
        raise RuntimeError(f"no checkpoint: {' '.join(first)} exited with {process.returncode}")
    process = subprocess.Popen(again, env=environment)
    try:
        process.wait(max(1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        stop(process)
    history = (run / "history.csv").read_text()
    print(history)
    return {"history": history, "exit": process.returncode}


def stop(process):
    """Ctrl-C, as a person would."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.wait(60)


# ---- profile -----------------------------------------------------------------------------------------------


def profile(args):
    """Which kernels take the time in a step, twins off and on, as CUDA itself counts them."""
    if not find_spec("torch") or not args.device.startswith("cuda"):
        return {"skipped": "no PyTorch (its profiler is used), or no GPU"}
    import torch.profiler

    device, results = mx.Device(args.device), {}
    torch.cuda.init()
    for name, batch in (("alexnet", 128), ("resnet18", 64), ("densenet121", 32)):
        for twins in TWINS if name == "alexnet" else ["on"]:
            device.fast = twins == "on"
            model = network(name)(
                1000, rng=0, devices=args.device, **({"towers": 1} if name == "alexnet" else {})
            )
            optimizer, rng = mx.SGD(model.train().parameters(), 0.001), np.random.default_rng(0)
            x = device.asarray(rng.standard_normal((batch, *model.picture_shape), dtype=np.float32))
            labels = rng.integers(0, 1000, batch)
            for _ in range(2):
                mx.train.train_step(model, optimizer, x, labels)
            benchmarks.wait_for([device])
            started = time.perf_counter()
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
                for _ in range(3):
                    mx.train.train_step(model, optimizer, x, labels)
                benchmarks.wait_for([device])
            wall = (time.perf_counter() - started) / 3
            events = [
                e for e in seen.key_averages() if e.self_device_time_total
            ]  # not the calls that start them
            rows = [(e.self_device_time_total / 3000, e.count / 3, e.key) for e in events]
            rows.sort(reverse=True)
            ms, number = (sum(row[part] for row in rows) for part in (0, 1))
            print(
                f"{name}, twins {twins}: {ms:.1f} ms of kernels a step, {number:.0f} of them; {1000 * wall:.0f} ms"
            )
            print(
                table(
                    ["kernel", "ms a step", "times"],
                    [[k[:70], f"{ms:.2f}", f"{n:.0f}"] for ms, n, k in rows[:16]],
                )
            )
            results[f"{name}, twins {twins}"] = rows[:60]
            del model, optimizer, x
            device.free_memory()
    device.fast = False
    return results


PARTS = {
    "tests": {"layers": compare_layers, "networks": compare_networks, "memory": memory, "pytest": run_pytest},
    "speed": {"limits": limits, "alexnet": speed_alexnet, "networks": speed_networks, "uploads": speed_uploads,
              "loader": speed_loader},
    "train": {"train": train},
    "profile": {"profile": profile},
}  # fmt: skip

if __name__ == "__main__":
    main()
