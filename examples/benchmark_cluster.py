"""Steps of processes that share a batch, way by way, and beside them what `mx.cluster.plan` says.

    mpiexec -n 2 python examples/benchmark_cluster.py --what alexnet -b 32

"alone": each process makes its part of the batch and says nothing to the others; the link is measured by sums of 8
bytes and of 64 MB. From these three numbers the plan predicts the rest. On one machine processes share cores and
memory, so that no speed-up is to be seen here; what is seen is what the talking costs, and what polling hides.
"""

import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import minialex as mx
from minialex.cluster import Cluster, Group, WeirdTrick
from minialex.study.benchmarks import (
    Side,
    command_line,
    free_name,
    hardware,
    in_turn,
    spread,
    table,
    versions,
    write_record,
)
from minialex.training.command_line import Parser, friendly, this_program, whole_number

NETWORKS = {
    "lenet": lambda: mx.models.lenet5(),
    "alexnet": lambda: mx.models.alexnet(devices="cpu", towers=1),
    "resnet18": lambda: mx.models.resnet(18),
    "resnet20": lambda: mx.models.resnet(20, num_classes=10, preset="cifar"),
}
LARGE, SMALL = 64 << 20, 8  # bytes


def parse_arguments(argv=None):
    parser = Parser(description=__doc__.splitlines()[0])
    whole = whole_number(1)
    parser.add_argument(
        "--what", choices=list(NETWORKS), default="alexnet", help="default: alexnet, in one tower"
    )
    parser.add_argument(
        "-b", "--batch-size", type=whole, default=32, metavar="N", help="of all (default: 32)"
    )
    parser.add_argument("--rounds", type=whole, default=5, metavar="N", help="default: 5")
    parser.add_argument("--steps", type=whole, default=2, metavar="N", help="in a round (default: 2)")
    parser.add_argument("--save", metavar="FOLDER", type=Path, help="also write the numbers there, as JSON")
    return parser.parse_args(argv)


def ways(group: Group, alone: Group, what: str) -> dict[str, Cluster]:
    """What is compared, by name."""
    found = {
        "alone": Cluster(alone),
        "data": Cluster(group),
        "data, sums at the end": Cluster(group, overlap=False),
    }
    if what in ("lenet", "alexnet"):
        found |= {f"weird-trick {scheme}": WeirdTrick(group, scheme) for scheme in "abc"}
    return found


def link_of(group: Group) -> tuple[float, float]:
    """Bytes a second, and seconds for a message, by which the plan's sums take as long as these."""

    def seconds(size, tries):
        times = []
        for _ in range(tries):
            array = np.ones(size // 4, np.float32)
            group.gather(None)
            began = time.perf_counter()
            group.finish(group.begin_sum(array))
            times.append(time.perf_counter() - began)
        return statistics.median(group.from_first(times))

    latency = seconds(SMALL, 51) / (2 * np.log2(group.size))
    return 2 * (group.size - 1) / group.size * LARGE / seconds(LARGE, 7), latency


def main(argv=None):
    args = parse_arguments(argv)
    with mx.cluster.joined() as cluster:
        measure(args, cluster.group)


def measure(args, group):
    if group.size == 1:
        raise ValueError(f"one process has nobody to talk to: mpiexec -n 2 {this_program()}")
    from mpi4py import MPI

    bandwidth, latency = link_of(group)
    compared = ways(group, Group(MPI.COMM_SELF), args.what)
    said = {name: [] for name in compared}  # (seconds waited, bytes) of each step
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        sides = []
        for name, cluster in compared.items():
            model = NETWORKS[args.what]()
            x = rng.standard_normal((args.batch_size, *model.picture_shape), np.float32)
            labels = rng.integers(0, 10, args.batch_size)
            batches = mx.data.ArrayBatches(x, labels, args.batch_size).share(group.number, group.size)
            optimizer = mx.SGD(model.parameters(), 1e-6)
            stack.enter_context(cluster.at_work(model.train(), batches, optimizer))
            ((own_x, own_labels),) = batches.shuffled(0)
            planned = len(own_x) if name == "alone" else args.batch_size

            def step(name=name, cluster=cluster, rest=(model, optimizer, own_x, own_labels, planned)):
                before = cluster.group.waited, cluster.group.bytes_crossed
                cluster.step(*rest)
                said[name].append((cluster.group.waited - before[0], cluster.group.bytes_crossed - before[1]))

            sides.append(Side(name, step))
        times = in_turn(sides, args.rounds, args.steps, label=args.what if group.number == 0 else "")
    work = statistics.median(times["alone"])
    model = NETWORKS[args.what]()
    adds = mx.summary(model).multiply_adds
    flops = 6 * adds * -(-args.batch_size // group.size) / work
    plan = mx.cluster.plan(model, args.batch_size, [group.size], bandwidth, latency, flops)
    foreseen = {step.parallel: step for step in plan.steps}
    rows, record = [], {}
    for name, seconds in times.items():
        waited, sent = (statistics.median(column) for column in zip(*said[name], strict=True))
        step = foreseen.get(name.partition(",")[0])
        planned = (step.seconds, step.bytes_sent) if step else (work, 0)
        of_all = spread(seconds)
        record[name] = {
            "seconds": of_all, "waited": waited, "bytes": int(sent), "planned": planned[0], "planned_bytes": planned[1]
        }  # fmt: skip
        rows.append(
            [
                name, f"{of_all['median']:.4g}", f"{args.batch_size / of_all['median']:.1f}", f"{waited:.3g}",
                f"{sent / 1e6:.2f}", f"{planned[1] / 1e6:.2f}", f"{planned[0]:.4g}",
                f"{of_all['median'] / planned[0]:.2f}",
            ]
        )  # fmt: skip
    print(
        f"{args.what}, {args.batch_size} pictures a step, {group.size} processes of {mx.Device('cpu').threads} threads"
    )
    print(
        f"alone {flops / 1e9:.1f} GFLOP/s a process; link {bandwidth / 1e9:.2f} GB/s, "
        f"{latency * 1e6:.1f} microseconds\n"
    )
    head = ["way", "s a step", "pictures/s", "waited s", "MB", "MB planned", "s planned", "found / planned"]
    print(table(head, rows))
    if args.save and group.number == 0:
        args.save.mkdir(parents=True, exist_ok=True)
        path = free_name(args.save, f"cluster-{args.what}-{group.size}")
        found = {
            "command": f"mpiexec -n {group.size} {command_line('benchmark_cluster.py')}",
            "hardware": hardware(),
            "versions": versions(),
            "processes": group.size,
            "batch": args.batch_size,
            "bandwidth": bandwidth,
            "latency": latency,
            "flops": flops,
            "ways": record,
        }
        write_record(path, found)
        print(f"In {path}")


if __name__ == "__main__":
    friendly(main)
