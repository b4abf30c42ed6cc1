"""Part `speed`: AlexNet and what came after beside PyTorch, the card's own limits, uploads, and the loader."""

import json
import subprocess
import sys
from importlib.util import find_spec

from gpu_common import ROOT, SECONDS, TWINS, environment, on_gpu  # isort: skip
import numpy as np

import minialex as mx
from minialex.devices.uploads import uploads as uploaded
from minialex.models.names import network
from minialex.study import benchmarks
from minialex.study.benchmarks import Side, as_spread, in_turn, ratios, spread, table

NETWORKS = {"resnet18": 64, "vgg11": 64, "densenet121": 32, "resnet50": 32}  # and the pictures in a batch
SMALL = {"width": 0.06, "image_size": 67}


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


def benchmark(args, name, *options, fast="1"):
    """examples/benchmark.py in a process of its own, its record, and the end of what it printed."""
    output = args.folder / f"benchmark-{name}.json"
    program = [sys.executable, str(ROOT / "examples/benchmark.py")]
    command = [*program, *map(str, options), "--output", str(output)]
    done = subprocess.run(
        command, env=environment(MINIALEX_FAST=fast), capture_output=True, text=True, timeout=SECONDS
    )
    print(f"[{name}] {' '.join(map(str, options))}")
    if done.returncode:
        print(done.stdout[-500:] + done.stderr[-2500:], flush=True)
        raise RuntimeError(f"benchmark {name} failed")
    print(done.stdout.strip(), flush=True)
    return json.loads(output.read_text())["results"]


def alexnet(args):
    """AlexNet's training step beside PyTorch's eager one with response normalisation, float32, TF32 off for both."""
    size = ["-b", 4, "--width", 0.06, "--image-size", 67] if args.small else ["-b", 128]
    place = "cpu" if args.small else args.device

    def measure(name, what, *options, rounds, steps, fast="1"):
        turns = (
            ["--rounds", min(rounds, 2), "--steps", 1]
            if args.small
            else ["--rounds", rounds, "--steps", steps]
        )
        return benchmark(args, name, "--what", what, *options, *turns, fast=fast)

    one, results = ["--devices", place], {}
    for name, fast in TWINS.items():
        results[f"step, one device, twins {name}"] = measure(
            f"alexnet-{name}", "alexnet", *one, *size, rounds=5, steps=8, fast=fast
        )
    both = ["--devices", f"{place},{place}", "--against", "one-tower"]
    results["two towers over one"] = measure("towers", "alexnet", *both, *size, rounds=5, steps=8)
    for name, fast in TWINS.items():
        layers = ["--network", "alexnet", "--towers", 1, *one, *size]
        results[f"layers, twins {name}"] = measure(
            f"layers-{name}", "layers", *layers, rounds=3, steps=3, fast=fast
        )
    results["lenet"] = measure("lenet", "lenet", *one, rounds=5, steps=40)
    results["memory"] = benchmark(args, "memory", "--what", "memory", *one, *size)
    return results


def networks(args):
    """A step of what came after, beside torchvision's where that is here."""
    here = find_spec("torchvision") and on_gpu(args)
    if not (here or (args.small and find_spec("torch"))):
        return {"skipped": "no torchvision, or no GPU"}
    device, rows = mx.Device(args.device), []
    for name, batch in NETWORKS.items():
        size, batch = ({"width": 0.06, "image_size": 33}, 2) if args.small else ({}, batch)
        model = network(name)(1000, rng=0, devices=args.device, **size).train()
        rng = np.random.default_rng(0)
        x = rng.standard_normal((batch, *model.picture_shape), dtype=np.float32)
        labels = rng.integers(0, 1000, batch)
        sides = [our_side(device, model, x, labels, twins) for twins in TWINS]
        times = in_turn([*sides, their_side(args, name, x, labels)], *((1, 1, 1) if args.small else (3, 4)))
        rows.append([f"{name}, batch {batch}", *(f"{1000 * spread(t)['median']:.1f}" for t in times.values()),
                     *(as_spread(ratios(times["PyTorch"], times[f"twins {t}"])) for t in TWINS)])  # fmt: skip
        device.fast = False
        del model, sides, x
        device.free_memory()
    columns = [*(f"ms, twins {t}" for t in TWINS), "PyTorch", *(f"speed, twins {t}" for t in TWINS)]
    print(table(["", *columns], rows))
    return {"rows": rows}


def our_side(device, model, x, labels, twins):
    optimizer, x, labels = mx.SGD(model.parameters(), 0.01), device.asarray(x), device.asarray(labels)

    def step():
        device.fast = twins == "on"
        return float(mx.train.train_step(model, optimizer, x, labels)[0])

    return Side(f"twins {twins}", step, lambda: benchmarks.wait_for([device]))


def their_side(args, name, x, labels):
    """torchvision's network; in a try, any of PyTorch's will do."""
    import torch
    from torch.nn import functional as F

    if args.small:
        place, net = "cpu", torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(1000))
    else:
        import torchvision

        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        place, net = "cuda", getattr(torchvision.models, name)()
    net = net.to(place).train()
    x, labels = torch.from_numpy(x).to(place), torch.from_numpy(labels).to(place)
    net(x)  # makes lazy layers
    sgd = torch.optim.SGD(net.parameters(), 0.01, 0.9, weight_decay=5e-4)

    def step():
        sgd.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        sgd.step()
        return loss.item()

    return Side("PyTorch", step, torch.cuda.synchronize if place == "cuda" else lambda: None)


def uploads(args):
    """Training from the host's memory: the next batch copied meanwhile, or not."""
    device = mx.Device(args.device)
    size, batch, number = (SMALL, 4, 2) if args.small else ({}, 128, 8)
    model = mx.models.alexnet(1000, args.device, towers=1, rng=0, **size).train()
    optimizer, rng = mx.SGD(model.parameters(), 0.001), np.random.default_rng(0)
    shape = (batch, *model.picture_shape)
    batches = [
        (rng.standard_normal(shape, dtype=np.float32), rng.integers(0, 1000, batch)) for _ in range(number)
    ]

    def epoch(ahead):
        device.upload_ahead = ahead
        for x, labels in uploaded(device, batches):
            mx.train.train_step(model, optimizer, x, labels)

    device.fast = on_gpu(args)
    choices = {"as they are": False, **({"ahead": True} if on_gpu(args) else {})}
    sides = [
        Side(name, lambda a=a: epoch(a), lambda: benchmarks.wait_for([device])) for name, a in choices.items()
    ]
    rounds = 1 if args.small else 5
    times = {name: [1000 * t / number for t in s] for name, s in in_turn(sides, rounds, 1, 1).items()}
    rows = [[name, as_spread(spread(t))] for name, t in times.items()]
    print(table(["batches from the host", "ms a step"], rows))
    device.upload_ahead = device.fast = False
    return times


def loader(args):
    """Pictures a second that the loader supplies, by number of threads."""
    workers, limit = ([1, 2], 20) if args.small else ([1, 4, 8, 16], 1000)
    return benchmark(
        args, "loader", "--what", "loader", "--workers", *workers, "--limit", limit, "--rounds", 1
    )
