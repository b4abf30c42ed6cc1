"""What .ci/gpu does: the tests that need a GPU, numbers beside float64 on the CPU, times beside PyTorch, a training.

`try` does all of it without a GPU, on `sim` and the CPU, with toys: so that these files are whole on the day. Where a
GPU's own tools are needed (its pool, its profiler's view), something stands in for them, and the numbers say nothing.
"""

import argparse
import json
import platform
import time
import traceback
from pathlib import Path

from gpu_common import on_gpu  # isort: skip (it makes minialex known)
import gpu_numbers
import gpu_profile
import gpu_speed
import gpu_tests
import gpu_train

import minialex as mx
from minialex.study import benchmarks

PARTS = {
    "tests": {
        "layers": gpu_numbers.compare_layers,
        "networks": gpu_numbers.compare_networks,
        "memory": gpu_tests.memory,
        "pytest": gpu_tests.run_pytest,
    },
    "speed": {
        "limits": gpu_speed.limits,
        "alexnet": gpu_speed.alexnet,
        "networks": gpu_speed.networks,
        "uploads": gpu_speed.uploads,
        "loader": gpu_speed.loader,
    },
    "train": {"train": gpu_train.train},
    "profile": {"profile": gpu_profile.profile},
}
TRY = {"device": "sim:0", "small": True, "marker": "not gpu", "tests": ["tests/test_shapes.py"]}


def parse_arguments():
    works = dict.fromkeys(name for works in PARTS.values() for name in works)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("part", choices=[*PARTS, "all", "try"])
    add("folder", nargs="?", type=Path, default=Path("gpu-day"), help="for the JSON (default: gpu-day)")
    add("--device", default="cuda:0", help="default: cuda:0; cpu and sim:0 will do for most of it")
    add("--small", action="store_true", help="narrow networks and few steps: does it run at all?")
    add("--data", type=Path, help="train: a folder with train/<class>/ and val/<class>/")
    add("--marker", default="gpu", help=argparse.SUPPRESS)
    add("--tests", nargs="+", default=["tests"], help="of pytest: these alone")
    add("--only", nargs="+", choices=works, metavar="WORK", help=f"of a part: {', '.join(works)}")
    args = parser.parse_args()
    if args.part == "try":
        vars(args).update(TRY)
    return args


def main():
    args = parse_arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    said = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"{card(args)}; Python {platform.python_version()}, {said}")
    rows = []
    for part in PARTS if args.part in ("all", "try") else [args.part]:
        for name, work in PARTS[part].items():
            if not args.only or name in args.only:
                print(f"\n== {part}: {name}", flush=True)
                rows.append((f"{part}: {name}", *done(part, name, work, args)))
    print("\n" + benchmarks.table(["part", "", "seconds"], rows))
    failed = sum(said.startswith("failed") for _, said, _ in rows)
    raise SystemExit(
        f"{failed} of the parts failed" if failed else 0 if rows else "nothing of this part was asked for"
    )


def done(part, name, work, args):
    """Do it, and write down what came of it, in FOLDER; how it went, and the seconds it took."""
    started, record = time.perf_counter(), {"card": card(args), "versions": versions()}
    try:
        result = record["result"] = work(args)
        if result.get("failed"):
            said = f"failed: {result['failed']}"[:60]
        else:
            said = f"skipped: {result['skipped']}" if "skipped" in result else "ok"
    except Exception as error:  # the other parts are worth having all the same
        record["error"] = traceback.format_exc()
        print(record["error"])
        said = f"failed: {type(error).__name__}"
    record["seconds"] = time.perf_counter() - started
    (args.folder / f"{part}-{name}.json").write_text(json.dumps(record, indent=1, default=float))
    print(f"-- {part}: {name}: {said}", flush=True)
    return said, f"{record['seconds']:.0f}"


def card(args):
    names = mx.devices.device.cuda_names() if on_gpu(args) else []
    return ", ".join(names) or args.device


def versions():
    wanted = ("numpy", "cupy", "torch")
    return {name: v for name, v in benchmarks.versions().items() if name.startswith(wanted)}


if __name__ == "__main__":
    main()
