"""examples/benchmark.py as its users run it, on tiny networks; and its two sides, which must be the same network.

No measured time is asserted: only what is measured, said and kept.
"""

import importlib
import importlib.util
import json
import re
import sys
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
from running import EXAMPLES, finish, run_here, start
from threadpoolctl import threadpool_limits

import minialex as mx
from minialex.layers.sequential import all_layers
from minialex.study import benchmarks
from minialex.study.benchmarks import Side
from minialex.study.timeline import Span
from minialex.training import command_line

PROGRAM = EXAMPLES / "benchmark.py"
SMALL = "--width 0.0625 --image-size 67".split()  # LeNet-5 is small as it is
TINY = [*SMALL, *"-b 4 --rounds 2 --steps 1 --devices cpu,cpu".split()]
AFTER_ALEXNET = {"resnet18": 11_689_512, "vgg11": 132_863_336, "densenet121": 7_978_856}  # their parameters
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="no PyTorch to measure against")


@pytest.fixture(autouse=True)
def threads_as_before():
    """One thread for networks as small as these, others would wait for each other; what --threads sets is put back."""
    cpu, torch = mx.Device("cpu"), importlib.import_module("torch") if HAS_TORCH else None
    before = cpu.threads, torch and torch.get_num_threads()
    if torch:
        torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    cpu.threads = before[0]
    if before[1]:
        torch.set_num_threads(before[1])


@pytest.fixture
def examples(monkeypatch):
    """Modules in examples/, by name."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return SimpleNamespace(load=importlib.import_module)


@pytest.fixture
def program(monkeypatch, tmp_path, capsys, examples):
    """Call the program in this process, in an empty folder; it measures a smaller product."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)
    monkeypatch.setenv("CUPY_TF32", "0")  # the program sets it: put back afterwards
    monkeypatch.setitem(benchmarks.GEMM_SIDE, "cpu", 64)
    benchmark = examples.load("benchmark")
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")

    def call(*arguments):
        def main():
            command_line.friendly(benchmark.main)

        return run_here(main, PROGRAM, arguments, monkeypatch, capsys)

    return call


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "benchmark_torch", raising=False)


def record_in(folder, name):
    return json.loads((folder / "results" / f"{name}-{date.today()}.json").read_text())


def assert_tidy(result, lines=()):
    """It went well, fits on a projector, and has these lines."""
    assert (result.status, result.err) == (0, ""), result
    assert max(map(len, result.out.splitlines())) <= 88, result.out
    for line in lines:
        assert re.search(line, result.out, re.MULTILINE), f"no {line!r} in\n{result.out}"


# ---- each thing that it measures ----------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("processes", [1, 2])
def test_lenet_beside_pytorch(program, tmp_path, processes):
    arguments = "--what lenet -b 16 --rounds 2 --steps 2 --threads 1 --devices cpu --processes"
    result = program(*arguments.split(), processes)
    row = r"(\s+[\d.,]+){5}\s+\d+%$"
    assert_tidy(
        result,
        [rf"^minialex{row}", rf"^PyTorch{row}", r"^Speed \(PyTorch = 1\): [\d.]+ \([\d.]+ to [\d.]+\)$"],
    )
    assert ("; minialex in 2 processes\n" in result.out) == (processes == 2)
    record = record_in(tmp_path, "lenet-cpu")
    kept = {name: record[name] for name in ("what", "batch", "rounds", "devices", "against")}
    assert kept == {"what": "lenet", "batch": 16, "rounds": 2, "devices": ["cpu"], "against": "torch"}
    assert record["threads"] == {"asked": 1, "minialex": 1, "torch": 1}
    assert set(record["versions"]) >= {"python", "numpy", "torch"}
    assert record["hardware"]["cores"] >= 1
    assert record["command"].startswith("python examples/benchmark.py --what lenet -b 16")
    results = record["results"]
    assert results["processes"] == processes
    assert record["gemm_gflops"] > 0
    assert results["gflop"] == pytest.approx(16 * 2 * (3 * 416_520 - 117_600) / 1e9, rel=1e-4)
    for side in results["sides"].values():
        assert side["ms"]["min"] <= side["ms"]["median"] <= side["ms"]["max"]
        assert side["of_limit"] == pytest.approx(side["gflops"] / record["gemm_gflops"], rel=1e-3)
    # The same network, the same numbers, the same steps: so the same loss.
    assert results["loss"]["minialex"] == pytest.approx(results["loss"]["PyTorch"], rel=1e-3)


@needs_torch
def test_alexnet_beside_pytorch(program, tmp_path):
    assert_tidy(
        program("--what", "alexnet", *TINY),
        [r"^AlexNet \(67x67, width 0.0625, 2 towers\)", r"^Speed \(PyTorch"],
    )
    record = record_in(tmp_path, "alexnet-cpu")
    assert list(record["results"]["sides"]) == ["minialex", "PyTorch"]
    assert (record["width"], record["image_size"], record["devices"]) == (0.0625, 67, ["cpu", "cpu"])


def test_two_towers_beside_one(program, tmp_path):
    result = program("--what", "alexnet", *TINY, "--against", "one-tower")
    assert_tidy(result, [r"^one tower\s", r"^Time \(one tower = 1\): [\d.]+ \("])
    results = record_in(tmp_path, "alexnet-cpu")["results"]
    assert results["time"]["median"] > 0
    losses = results["loss"]
    assert losses["minialex"] == pytest.approx(
        losses["one tower"], rel=1e-3
    )  # masks and weights are the same


@pytest.mark.parametrize("network", ["lenet", "alexnet"])
def test_layers_has_a_row_for_each(program, tmp_path, network):
    against = [] if HAS_TORCH else ["--against", "nothing"]
    few = TINY[len(SMALL) :] if network == "lenet" else TINY
    result = program("--what", "layers", "--network", network, *few, *against, "--devices", "cpu")
    names = list(mx.models.lenet5().layers) if network == "lenet" else ["conv1", "norm2", "fc8", "crossings"]
    assert_tidy(result, [rf"^{name}\s" for name in [*names, "loss", "update", "all"]])
    record = record_in(tmp_path, f"layers-{network}-cpu")
    ms = record["results"]["ms_forward_backward"]
    assert set(ms) == ({"minialex", "PyTorch"} if HAS_TORCH else {"minialex"})
    for times in ms.values():
        assert set(names) - {"crossings"} <= set(times)
        assert sum(pair[0] for name, pair in times.items() if name != "all") == pytest.approx(
            times["all"][0], rel=1e-3
        )
    assert next(iter(record["results"]["gflop"])) == names[0]


@pytest.mark.parametrize("network", ["lenet", "alexnet"])
def test_evaluation_goes_by_batch_size(program, tmp_path, network):
    sizes = ["--network", network, "-b", 5, *(SMALL if network == "alexnet" else [])]
    result = program("--what", "evaluation", *sizes, "--rounds", 2, "--steps", 1)
    assert_tidy(result, [r"^1\s", r"^2\s", r"^4\s", r"^minialex: a picture takes at most [\d.]+ times"])
    assert not re.search(r"^(5|8)\s", result.out, re.MULTILINE)
    results = record_in(tmp_path, f"evaluation-{network}-cpu")["results"]
    us = results["us_a_picture"]["minialex"]
    assert list(us) == ["1", "2", "4"]
    assert results["largest_rise"]["minialex"] == pytest.approx(
        max(us["2"] / us["1"], us["4"] / us["2"]), rel=1e-3
    )


def test_loader_goes_by_workers_beside_pillow(program, tmp_path):
    small = ["--limit", 12, "--image-size", 32, "-b", 5, "--rounds", 2]
    result = program("--what", "loader", *small, "--workers", 0, 2)
    assert_tidy(
        result, [r"^Pillow alone\s.* 1\.00 ", r"^0 workers\s", r"^2 workers\s", "^12 pictures, cut to 36x36"]
    )
    assert set(record_in(tmp_path, "loader-cpu")["results"]["pictures_per_second"]) == {
        "Pillow alone", "0 workers", "2 workers"
    }  # fmt: skip


def test_loader_reads_pictures_that_are_given(program, tmp_path):
    from minialex.data.pictures import draw_pictures

    draw_pictures(tmp_path / "mine", train=20, val=10, size=32)
    result = program(
        "--what",
        "loader",
        "--data-dir",
        tmp_path / "mine",
        "--limit",
        500,
        "--image-size",
        32,
        "--workers",
        1,
    )
    assert_tidy(result, ["^20 pictures", r"^1 worker\s"])
    command = record_in(tmp_path, "loader-cpu")["command"]
    assert "--data-dir mine" in command
    assert str(tmp_path) not in command


@pytest.mark.parametrize("against", [pytest.param("torch", marks=needs_torch), "nothing"])
def test_memory_is_that_of_a_process_for_each_side(program, tmp_path, against):
    result = program("--what", "memory", *TINY, "--rounds", 1, "--against", against, "--threads", 1)
    assert_tidy(result, [r"^minialex(\s+[\d,]+){3}$"])
    results = record_in(tmp_path, "memory-cpu")["results"]
    assert list(results["mib"]) == (["minialex", "PyTorch"] if against == "torch" else ["minialex"])
    for of_side in results["mib"].values():
        assert 10 < of_side["before"]["median"] < of_side["peak"]["median"]
    assert ("peak_ratio" in results) == (against == "torch")


def test_it_runs_from_anywhere_as_a_program_of_its_own(tmp_path):
    arguments = "--what evaluation -b 1 --rounds 1 --steps 1 --against nothing --output out/mine.json".split()
    result = finish(start(tmp_path, "-W", "error", PROGRAM, *arguments))
    assert_tidy(result, ["^Written to out/mine.json$"])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.json"]
    text = (tmp_path / "out" / "mine.json").read_text()
    assert len(text) < 3000
    assert str(tmp_path) not in text
    assert "--output mine.json" in json.loads(text)["command"]


def test_no_record_is_written_over(program, tmp_path):
    for _ in range(2):
        assert (
            program(
                "--what", "evaluation", "-b", 1, "--rounds", 1, "--steps", 1, "--against", "nothing"
            ).status
            == 0
        )
    stem = f"evaluation-lenet-cpu-{date.today()}"
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        f"{stem}-2.json",
        f"{stem}.json",
    ]


# ---- what can be wrong --------------------------------------------------------------------------------


def test_without_pytorch_it_measures_minialex_alone_and_says_so(program, tmp_path, without_torch):
    result = program("--what", "lenet", "-b", 2, "--rounds", 1, "--steps", 1)
    assert_tidy(result, ["^PyTorch is not installed: measuring minialex alone.$", r"^minialex\s"])
    assert "Speed" not in result.out
    record = record_in(tmp_path, "lenet-cpu")
    assert record["against"] is None
    assert list(record["results"]["sides"]) == ["minialex"]


def test_pytorch_that_was_asked_for_is_missed(program, tmp_path, without_torch):
    result = program("--what", "lenet", "--against", "torch")
    assert result.status == 1
    assert result.err == (
        "benchmark.py: PyTorch is not installed: install one that fits (pip install torch), "
        "or leave out --against torch"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("--devices gpu", 1, "unknown device 'gpu'"),
        (
            "--devices sim:0,sim:1 --what alexnet",
            1,
            "sim:0 only pretends to be a GPU, its times mean nothing",
        ),
        ("--batch 0", 2, "a whole number >= 1 is needed, not '0'"),
        ("--rounds 1.5", 2, "a whole number >= 1 is needed, not '1.5'"),
        ("--threads 0", 2, "a whole number >= 1 is needed, not '0'"),
        ("--processes 0", 2, "a whole number >= 1 is needed, not '0'"),
        ("--what alexnet --processes 2", 2, "--processes is for --what lenet, not for alexnet"),
        ("--what everything", 2, "invalid choice: 'everything'"),
        (
            "--what memory --network lenet",
            2,
            "--network lenet is for layers and evaluation, --what memory has its own",
        ),
        ("--against one-tower", 2, "--against one-tower is for --what alexnet with its two towers"),
        ("--what alexnet --width 0", 2, "a number from 0.001 to 16 is needed"),
        ("--what alexnet --image-size 30", 1, "pictures of 30 pixels are too small"),
        ("--what loader --limit 3", 1, "--limit 3 is too few"),
        ("--what loader --data-dir nowhere", 1, "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_line(program, tmp_path, arguments, status, message):
    result = program(*arguments.split())
    assert result.status == status
    assert message in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_lenet_takes_one_device(program, monkeypatch):
    monkeypatch.setattr(mx, "place", lambda devices: (mx.Device("cpu"), SimpleNamespace(name="cuda:0")))
    assert "LeNet-5 takes one device, not cpu,cuda:0" in program("--devices", "cpu,cuda:0").err


def test_a_child_that_fails_says_why(program):
    result = program("--what", "memory", *TINY, "--image-size", 30, "--against", "nothing")
    assert result.status == 1
    assert "the process of minialex failed: benchmark.py: pictures of 30 pixels are too small" in result.err


def test_a_child_that_was_killed_is_out_of_memory(program, monkeypatch):
    monkeypatch.setattr(
        "subprocess.run", lambda *args, **options: SimpleNamespace(returncode=-9, stdout="", stderr="")
    )
    result = program("--what", "memory", *TINY, "--against", "nothing")
    assert result.status == 1
    assert (
        "out of memory (the process of minialex was killed by signal 9): try a smaller --batch-size"
        in result.err
    )


# ---- the two sides ------------------------------------------------------------------------------------


def twins(examples, name):
    """A network of ours and PyTorch's with the same weights, float64, without dropout; a batch."""
    rng = np.random.default_rng(1)
    side = examples.load("benchmark_torch")
    if name == "lenet":
        model, net, shape = mx.models.lenet5(rng=2), side.lenet(), (5, 1, 28, 28)
    elif name in AFTER_ALEXNET:
        model = examples.load("benchmark_ours").network(name, 0.0625, 64, 10, "cpu", 1)
        net, shape = side.network(name, 0.0625, 64, 10, "cpu"), (5, 3, 64, 64)
        for drop in (layer for layer in all_layers(model) if isinstance(layer, mx.Dropout)):
            drop.p = 0.0
        for drop in (module for module in net.modules() if type(module).__name__ == "Dropout"):
            drop.p = 0.0
    else:  # large pixels and weights, so that normalisation is more than a division by 2
        model = mx.models.alexnet(10, "cpu,cpu", width=0.0625, image_size=67, init="he", rng=2)
        net, shape = side.alexnet(0.0625, 67, classes=10, dropout=0.0), (5, 3, 67, 67)
        for tower in (stage for layer in model for stage in getattr(layer, "stages", ())):
            if isinstance(tower, mx.Dropout):
                tower.p = 0.0
    model.astype("float64")
    for p in model.parameters():
        if p.name.endswith("bias"):
            p.value[...] = rng.normal(size=p.value.shape)
    side.copy_weights(net.double(), mx.weights.export_grouped(model))
    return model, net, 100 * rng.normal(size=shape), rng.integers(0, 10, 5)


def assert_close(ours, theirs):
    assert list(ours) == list(theirs)
    far = {name: float(np.abs(ours[name] - theirs[name]).max()) for name in ours}
    assert {n: d for n, d in far.items() if d > 1e-9 * (1e-6 + np.abs(theirs[n]).max())} == {}


@needs_torch
@pytest.mark.parametrize("name", ["lenet", "alexnet", *AFTER_ALEXNET])
def test_both_sides_have_the_same_loss_and_gradients(examples, name):
    import torch

    model, net, x, labels = twins(examples, name)
    loss = model.loss.forward(model.forward(x), labels)
    model.backward(model.loss.backward())
    their_loss = torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(labels))
    their_loss.backward()
    assert float(loss) == pytest.approx(their_loss.item(), rel=1e-9)
    assert_close(
        mx.weights.export_grouped(model, grads=True), {n: p.grad.numpy() for n, p in net.named_parameters()}
    )


@needs_torch
@pytest.mark.parametrize("name", ["lenet", "alexnet", *AFTER_ALEXNET])
def test_both_sides_make_the_same_steps(examples, name):
    model, net, x, labels = twins(examples, name)
    settings = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.1}
    sides = [examples.load(f"benchmark_{side}") for side in ("ours", "torch")]
    trainings = [
        side.training(n, x / 100, labels, settings) for side, n in zip(sides, (model, net), strict=True)
    ]
    before = mx.weights.export_grouped(model)
    for _ in range(3):
        ours, theirs = (side.step() for side in trainings)
        assert ours == pytest.approx(theirs, rel=1e-9)
    after = mx.weights.export_grouped(model)
    assert all((after[n] != before[n]).any() for n, _ in model.named_parameters())
    theirs = {n: a.numpy() for n, a in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert_close(after, {n: theirs.pop(n) for n in after})  # buffers as well
    assert not theirs


@needs_torch
def test_the_full_alexnet_has_as_many_parameters_there_as_here(examples):
    import torch

    with torch.device("meta"):
        net = examples.load("benchmark_torch").alexnet()
    assert sum(p.numel() for p in net.parameters()) == 60_965_224


@needs_torch
@pytest.mark.parametrize("name", AFTER_ALEXNET)
def test_the_full_networks_have_as_many_parameters_there_as_here(examples, name):
    import torch

    with torch.device("meta"):
        net = examples.load("benchmark_torch_networks").NETWORKS[name](1.0, 1000)
    assert sum(p.numel() for p in net.parameters()) == AFTER_ALEXNET[name]


@needs_torch
@pytest.mark.parametrize("name", AFTER_ALEXNET)
def test_a_step_of_a_network_after_alexnet_beside_pytorch(program, tmp_path, name):
    small = "--width 0.0625 --image-size 32 -b 2 --rounds 1 --steps 1 --devices cpu".split()
    assert_tidy(program("--what", name, *small), [r"^\w+-\d+ \(32x32, width 0.0625\)", r"^Speed \(PyTorch"])
    record = record_in(tmp_path, f"{name}-cpu")
    assert list(record["results"]["sides"]) == ["minialex", "PyTorch"]
    assert (record["network"], record["width"], record["image_size"]) == (name, 0.0625, 32)


def test_memory_of_a_network_after_alexnet(program, tmp_path):
    small = "--width 0.0625 --image-size 32 -b 2 --rounds 1 --steps 1 --devices cpu --against nothing".split()
    assert_tidy(program("--what", "memory", "--network", "densenet121", *small), [r"^DenseNet-121 \(32x32"])
    record = record_in(tmp_path, "memory-densenet121-cpu")
    assert (record["network"], record["batch"]) == ("densenet121", 2)


# ---- measuring ----------------------------------------------------------------------------------------


def test_sides_take_turns_in_changing_order():
    said = []
    sides = [Side(name, lambda name=name: said.append(name)) for name in "AB"]
    times = benchmarks.in_turn(sides, rounds=3, steps=2, warm_up=1)
    assert "".join(said) == "AB" + "AABB" + "BBAA" + "AABB"
    assert {name: len(of_rounds) for name, of_rounds in times.items()} == {"A": 3, "B": 3}


def test_a_step_ends_when_its_device_has_done_it_and_no_garbage_is_collected_in_it():
    import gc

    said = []
    side = Side("A", lambda: said.append(gc.isenabled()), lambda: said.append("wait"))
    assert benchmarks.seconds_of_a_step(side, 2) >= 0
    assert said == ["wait", False, False, "wait"]
    assert gc.isenabled()


def test_layers_of_two_towers_side_by_side_count_once():
    def span(name, kind, start, end, tower=0, back=False):
        return Span(name, tower, "cpu", kind, start, end, back=back)

    spans = [
        span("conv1", "crossing", 0, 1, None), span("conv1", "forward", 1, 4), span("conv1", "forward", 2, 5, 1),
        span("conv1", "backward", 5, 6, back=True), span("conv1", "backward", 7, 9, 1, back=True),
        span("conv1", "crossing", 9, 11, None, back=True), span("update", "update", 11, 15),
    ]  # fmt: skip
    assert benchmarks.layer_seconds(spans) == {"crossings": (1, 2), "conv1": (4, 3), "update": (0, 4)}


def test_backward_counts_twice_but_for_the_first_layer():
    flops = benchmarks.flops_of(mx.models.lenet5())
    assert flops["c1"] == (2 * 117_600, 2 * 117_600)
    assert flops["c3"] == (2 * 240_000, 4 * 240_000)


def test_peak_memory_grows_with_what_is_used():
    before = benchmarks.peak_memory()
    block = np.ones(before // 4, dtype=np.uint64)  # twice as much again
    assert benchmarks.peak_memory() >= before + block.nbytes // 2


def test_a_record_names_no_machine_and_no_place():
    import platform

    text = json.dumps([benchmarks.hardware([mx.Device("cpu")]), benchmarks.versions()])
    assert "/" not in text.replace(benchmarks.hardware()["cpu"], "")
    assert platform.node() not in text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("--what lenet --width 0.25", "--width is for the other networks: LeNet-5 has one size"),
        ("--what layers --image-size 64", "--image-size is for the other networks: LeNet-5 has one size"),
        ("--what lenet --towers 1", "--towers 1 is for AlexNet"),
        ("--what resnet18 --towers 2", "--towers 2 is for AlexNet"),
        ("--what loader --towers 2", "--towers 2 is for AlexNet"),
        ("--what alexnet --limit 3", "--limit is for --what loader, not for alexnet"),
        ("--what memory --workers 0", "--workers is for --what loader, not for memory"),
        ("--what lenet --data-dir /nowhere", "--data-dir is for --what loader, not for lenet"),
        ("--what alexnet --width 0", "a number from 0.001 to 16 is needed"),
    ],
)
def test_an_option_that_does_nothing_is_refused(program, asked, said):
    result = program(*asked.split())
    assert result.status == 2
    assert said in result.err


def test_a_record_keeps_what_is_compared_to_the_last_digit(tmp_path):
    third = 1 / 3
    record = {
        "settings": {"minutes": third},
        "at_half": {"leave_at": 1 - 1e-7, "error": third},
        "seconds": [third],
    }
    benchmarks.write_record(tmp_path / "r.json", record)
    kept = json.loads((tmp_path / "r.json").read_text())
    assert kept == {**record, "at_half": {"leave_at": 1 - 1e-7, "error": 0.33333}, "seconds": [0.33333]}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--data-dir=/x/my data/train", "--what", "loader"], "python e.py --data-dir=train --what loader"),
        (["/x/my data", "-b", "4"], "python e.py 'my data' -b 4"),
        (["--output=r.json"], "python e.py --output=r.json"),
    ],
)
def test_a_recorded_command_can_be_typed(monkeypatch, words, line):
    monkeypatch.setattr(sys, "argv", ["e.py", *words])
    assert benchmarks.command_line("e.py") == line
