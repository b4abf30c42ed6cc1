"""Part `tests`: pytest -m gpu, twins off and on; and memory, which must not grow."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec

from gpu_common import ROOT, SECONDS, TWINS, environment, on_gpu  # isort: skip
import numpy as np

import minialex as mx
from minialex.study import benchmarks
from minialex.study.benchmarks import table


def run_pytest(args):
    """pytest -m gpu with the twins off, and on, both at once; what failed, by test and by error."""
    # No plugins but these: others that a machine happens to have may warn, and warnings are errors.
    plugins = ["-p", "_hypothesis_pytestplugin"]
    if find_spec("xdist") and not args.small:
        plugins += ["-p", "xdist.plugin", "-n", str(max(1, (os.cpu_count() or 2) // 2 - 1))]
    if find_spec("pytest_timeout"):
        plugins += ["-p", "pytest_timeout", "--timeout=60"]
    command = [sys.executable, "-m", "pytest", "-m", args.marker, "-q", "--no-header", "-p", "no:cacheprovider",
               "--tb=short", *plugins, *args.tests]  # fmt: skip
    runs = {}
    for name, fast in TWINS.items():
        variables = {"MINIALEX_FAST": fast, "MINIALEX_EXAMPLES": "40", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        with (args.folder / f"pytest-{name}.log").open("w") as log:
            runs[name] = subprocess.Popen(
                command, cwd=ROOT, env=environment(**variables), stdout=log, stderr=subprocess.STDOUT
            )
    results, until = {}, time.monotonic() + SECONDS
    for name, process in runs.items():
        wait(process, until)
        results[name] = read_log((args.folder / f"pytest-{name}.log").read_text())
        print(f"twins {name}: {results[name]['last']}")
        for line, number in results[name]["errors"][:25]:
            print(f"   {number:4} {line}")
        for line in results[name]["failures"][:40]:
            print("  ", line[:170])
    failed = [f"pytest, twins {name}: {results[name]['last']}" for name, p in runs.items() if p.returncode]
    return {**results, "failed": failed}


def wait(process, until):
    """Until then; after that Ctrl-C, which has pytest say what it knows."""
    try:
        process.wait(max(1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_log(log):
    errors = Counter(line[2:].strip()[:150] for line in log.splitlines() if line.startswith("E  "))
    return {
        "last": (log.strip().splitlines() or ["it said nothing"])[-1],
        "failures": re.findall(r"^(?:FAILED|ERROR) (\S.*)$", log, re.M),
        "errors": errors.most_common(60),
    }


class NoPool:
    """In place of CuPy's, for a try: pretended GPUs have none."""

    def used_bytes(self):
        return 0

    total_bytes = used_bytes


def memory(args):
    """What CuPy's pool holds after 200 steps is what it held after 20."""
    device, rows, failed = mx.Device(args.device), [], []
    if not (on_gpu(args) or args.small):
        return {"skipped": f"{device.name} has no pool"}
    pool = device.xp.get_default_memory_pool() if on_gpu(args) else NoPool()
    first, last = (2, 4) if args.small else (20, 200)
    width, batch = (0.06, 2) if args.small else (0.25, 32)
    for twins in TWINS:
        device.fast = twins == "on"
        places = f"{device.name},{device.name}"
        model = mx.models.alexnet(10, places, width=width, image_size=67, rng=0).train()
        optimizer = mx.SGD(model.parameters(), 0.001)
        rng, used = np.random.default_rng(0), {}
        x = device.asarray(rng.standard_normal((batch, 3, 67, 67), dtype=np.float32))
        labels = rng.integers(0, 10, batch)
        for step in range(1, last + 1):
            mx.train.train_step(model, optimizer, x, labels)
            if step in (first, last):
                benchmarks.wait_for([device])
                used[step] = pool.used_bytes(), pool.total_bytes()
        rows.append([f"twins {twins}", *(f"{n / 2**20:.1f}" for step in used.values() for n in step)])
        if used[first] != used[last]:
            failed.append(f"twins {twins}: {used}")
    device.fast = False
    print(table(["", f"used MiB after {first} steps", "held", f"used after {last}", "held"], rows))
    return {"rows": rows, "failed": failed}
