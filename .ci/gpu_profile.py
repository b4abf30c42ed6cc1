"""Part `profile`: which kernels take the time in a step, twins off and on, as CUDA itself counts them."""

import time
from importlib.util import find_spec

from gpu_common import TWINS, on_gpu  # isort: skip
import numpy as np

import minialex as mx
from minialex.models.names import network
from minialex.study import benchmarks
from minialex.study.benchmarks import table

NETWORKS = {"alexnet": 128, "resnet18": 64, "densenet121": 32}  # and the pictures in a batch


def profile(args):
    """A table for each network. In a try it is of a sum that PyTorch works out on the CPU: there are no kernels."""
    if not find_spec("torch") or not (on_gpu(args) or args.small):
        return {"skipped": "no PyTorch (its profiler is used), or no GPU"}
    device, results = mx.Device(args.device), {}
    for name, batch in NETWORKS.items():
        for twins in TWINS if name == "alexnet" else ["on"]:
            device.fast = twins == "on"
            options = {"width": 0.06, "image_size": 67} if args.small else {}
            options |= {"towers": 1} if name == "alexnet" else {}
            model = network(name)(1000, rng=0, devices=args.device, **options).train()
            rows, wall = profiled(args, device, model, 2 if args.small else batch)
            show(f"{name}, twins {twins}", rows, wall)
            results[f"{name}, twins {twins}"] = rows[:60]
            del model
            device.free_memory()
    device.fast = False
    return results


def profiled(args, device, model, batch, steps=3):
    """(ms a step, times a step, kernel), the longest first; and the seconds of a step."""
    import torch.profiler

    kind = torch.profiler.ProfilerActivity.CUDA if on_gpu(args) else torch.profiler.ProfilerActivity.CPU
    if on_gpu(args):
        torch.cuda.init()
    optimizer, rng = mx.SGD(model.parameters(), 0.001), np.random.default_rng(0)
    x = device.asarray(rng.standard_normal((batch, *model.picture_shape), dtype=np.float32))
    labels = rng.integers(0, 1000, batch)

    def work(times):
        for _ in range(times):
            mx.train.train_step(model, optimizer, x, labels)
            if not on_gpu(args):
                torch.ones(1000).sum()
        benchmarks.wait_for([device])

    work(2)
    started = time.perf_counter()
    with torch.profiler.profile(activities=[kind]) as seen:
        work(steps)
    wall = (time.perf_counter() - started) / steps
    own = "self_device_time_total" if on_gpu(args) else "self_cpu_time_total"
    events = [event for event in seen.key_averages() if getattr(event, own)]  # not the calls that start them
    rows = [(getattr(event, own) / 1000 / steps, event.count / steps, event.key) for event in events]
    return sorted(rows, reverse=True), wall


def show(what, rows, wall):
    ms, number = sum(row[0] for row in rows), sum(row[1] for row in rows)
    print(f"{what}: {ms:.1f} ms of kernels a step, {number:.0f} of them; {1000 * wall:.0f} ms")
    print(
        table(
            ["kernel", "ms a step", "times"],
            [[key[:70], f"{ms:.2f}", f"{n:.0f}"] for ms, n, key in rows[:16]],
        )
    )
