"""examples/alexnet_imagenet.py -a smartnet: trained exit by exit, stopped anywhere, left early, cut; a narrow one."""

import contextlib
import io
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from running import EXAMPLES, finish, load_program, run_here, start
from threadpoolctl import threadpool_limits

import minialex as mx
from minialex import __main__ as program_of_commands
from minialex import plot, weights
from minialex.data.augment import Prepare
from minialex.data.folder import find_pictures
from minialex.data.loader import PictureBatches
from minialex.layers import Gate
from minialex.layers.sequential import all_layers
from minialex.study import leaving
from minialex.training import runs
from minialex.training.command_line import friendly

PROGRAM = EXAMPLES / "alexnet_imagenet.py"
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}
SMART = "-a smartnet --small --exits 2 --penalty 4".split()
RUN = "--epochs 4 -b 4 -j 0 -p 9 --lr 0.05 --seed 3 --devices cpu --output-dir out".split()
WIDTH = 0.125

module = load_program(PROGRAM, "smartnet_imagenet")


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.DEFAULTS, "width", WIDTH)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)
    for name in ("accuracy_curves", "filters"):
        monkeypatch.setattr(plot, name, lambda *args: args[1].touch())
    return lambda *arguments: run_here(lambda: friendly(module.main), PROGRAM, arguments, monkeypatch, capsys)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """12 pictures to train on, 10 to validate, of three classes that are not easily told apart."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for split, count in (("train", 12), ("val", 10)):
        for i in range(count):
            name = list(COLOURS)[i % 3]
            noise = rng.integers(-150, 150, (4, 4, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            path = root / split / name / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((40, 36)).save(path)
    return root


@pytest.fixture(scope="module")
def whole_run(pictures, tmp_path_factory):
    """A run that was not interrupted: its folder, and what it said. Nothing is to be changed there."""
    place, said = tmp_path_factory.mktemp("whole"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(place)
        module.main([str(pictures), *SMART, *RUN, "--checkpoint-every", "1"])
    return place / "out", said.getvalue()


def arrays_of(folder, name=runs.MODEL):
    return weights.load(folder / name)


def batches_for(model, root):
    return PictureBatches(find_pictures(root, "val"), Prepare.for_input(model.input), 4, workers=0, side=37)


def loaded(path):
    """The network of a file, by its record alone."""
    record = weights.read_record(path)
    names = ("exits", "num_classes", "preset", "width", "blocks", "reads")
    model = mx.models.smartnet(**{name: record[name] for name in names})
    mx.load(model, path)
    return model.eval()


# ---- training ------------------------------------------------------------------------------------------


def test_a_run_keeps_its_exits_and_its_penalty_and_begins_the_rate_anew_with_each_exit(whole_run):
    folder, said = whole_run
    settings = json.loads((folder / runs.SETTINGS).read_text())
    kept = ("arch", "small", "exits", "penalty", "lr_scheduler")
    assert [settings[name] for name in kept] == ["smartnet", True, 2, 4.0, "cosine"]
    record = weights.read_record(folder / runs.MODEL)
    assert (record["network"], record["exits"], record["classes"]) == ("smartnet", 2, list(COLOURS))
    rates = re.findall(r"^Epoch \[\d\]\[3/3\] .* lr ([\d.e-]+)$", said, re.M)
    assert rates[:2] == rates[2:]
    assert float(rates[0]) > float(rates[1])
    assert "smartnet(2), input 3x32x32" in said
    turns = re.findall(r"^(Exit .*|Epoch \[[13]/4\])", said, re.M)
    assert turns == [
        "Exit 1 of 2 learns.",
        "Epoch [1/4]",
        "Exit 2 of 2 learns; exit 1 stays as it is.",
        "Epoch [3/4]",
    ]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from minialex import train
from running import load_program

module = load_program(Path({program!r}))
module.DEFAULTS["width"] = {width}
train_step, steps = train.train_step, iter(range(1, 1000))

def killed_at(last):
    def step(*args):
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_step(*args)
    train.train_step = step
    module.main([*{arguments!r}, "--output-dir", str(last)])

for last in {last}:
    child = os.fork()  # loading the program takes longer than the run
    if not child:
        killed_at(last)
    print(os.waitpid(child, 0)[1])
"""
BORDER, MIDDLE = 7, 9  # 12 pictures in batches of 4: the second exit has its turn from step 7 on


@pytest.fixture(scope="module")
def killed(pictures, tmp_path_factory):
    """Runs that were killed before a step: a folder with theirs in it, called by the step."""
    place = tmp_path_factory.mktemp("killed")
    arguments = [str(pictures), *SMART, *RUN[:-2], "--checkpoint-every", "1"]
    tests = str(EXAMPLES.parent / "tests")
    last = (BORDER, MIDDLE)
    text = KILLED.format(tests=tests, program=str(PROGRAM), width=WIDTH, last=last, arguments=arguments)
    result = finish(start(place, "-c", text))
    assert result.out.split()[-1] == str(int(signal.SIGKILL)), result
    return place


@pytest.mark.skipif(os.name != "posix", reason="kills")
@pytest.mark.parametrize("step", [BORDER, MIDDLE], ids=["at the border of two exits", "in the middle of one"])
def test_a_run_that_was_killed_ends_with_the_same_bits(program, whole_run, killed, tmp_path, step):
    shutil.copytree(killed / str(step), tmp_path / "out")
    result = program("--resume", "out", "-j", 0)
    assert "The penalty" not in result.out
    assert result.status == 0, result
    assert f"Going on in epoch {BORDER // 3 + 1} at a learning rate" in result.out
    for name in (runs.MODEL, runs.BEST, runs.COMPACT):
        assert (tmp_path / "out" / name).read_bytes() == (whole_run[0] / name).read_bytes(), name


def test_a_finished_run_is_complete_and_its_number_of_epochs_stays(program, whole_run, tmp_path):
    result = program("--resume", whole_run[0])
    assert "This run is finished: 4 epochs" in result.out
    assert f"To train on: --pretrained {whole_run[0]}" in result.out
    result = program("--resume", whole_run[0], "--penalty", 0.5, "--leave-at", 0.2)
    assert "Not all of its results" not in result.out
    assert (
        f"--penalty 0.5 is not used, since nothing is left to train: --pretrained {whole_run[0]}"
        in result.out
    )
    assert "--leave-at 0.2 is not used, since nothing is left to train: add -e" in result.out
    result = program("--resume", whole_run[0], "--epochs", 6)
    assert "made with epochs 4; this run asks for epochs 6" in result.err
    shutil.copytree(whole_run[0], tmp_path / "lacks")
    (tmp_path / "lacks" / runs.COMPACT).unlink()
    result = program("--resume", "lacks", "-j", 0, "--penalty", 0)  # its gates were trained with one
    assert "compact.safetensors is not there" in result.out
    assert arrays_of(tmp_path / "lacks", runs.COMPACT).keys() == arrays_of(whole_run[0], runs.COMPACT).keys()


def test_a_run_without_a_closed_gate_is_complete_without_a_cut_network(program, pictures, tmp_path):
    quick = [pictures, *SMART[:-1], 1e-9, *RUN[2:], "--epochs", 2, "--exits", 2]
    result = program(*quick)
    assert " gates are closed: there is nothing to cut out, and no compact.safetensors" in result.out
    result = program("--resume", "out", "-j", 0)
    assert "This run is finished" in result.out
    assert "compact.safetensors is not there" not in result.out
    assert not (tmp_path / "out" / runs.COMPACT).exists()


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_another_penalty_is_told_when_a_run_goes_on(program, killed, tmp_path):
    shutil.copytree(killed / str(MIDDLE), tmp_path / "out")
    result = program("--resume", "out", "-j", 0, "--penalty", 5)
    assert "The penalty on gates was 4 and is 5 from here on." in result.out


def test_what_is_frozen_stays_at_every_exit_with_its_running_means(program, whole_run, pictures, tmp_path):
    frozen = "stem,block1,block2.layer1,exit2.fc"
    result = program(pictures, *SMART, *RUN[2:], "--epochs", 2, "--freeze", frozen, "--lr", 0.1)
    assert result.status == 0, result
    before = weights.export_grouped(mx.models.smartnet(2, 3, "small", width=WIDTH, rng=3))
    after = arrays_of(tmp_path / "out")
    for name, array in before.items():
        still = name.startswith(tuple(f"{layer}." for layer in frozen.split(",")))
        assert np.array_equal(array, after[name]) == still or "gate" in name, name


def test_an_exit_that_is_wholly_frozen_has_no_turn(program, pictures, tmp_path):
    result = program(pictures, *SMART, *RUN[2:], "--epochs", 1, "--freeze", "stem,block1,exit1")
    assert result.status == 0, result
    assert arrays_of(tmp_path / "out")["exit2.fc.weight"].any()


def test_more_exits_than_the_weights_have_are_trained_behind_those_that_stay(
    program, whole_run, pictures, tmp_path
):
    result = program(pictures, "--pretrained", whole_run[0], *RUN[2:], "--epochs", 1, "--exits", 3)
    assert result.status == 0, result
    assert "Its 2 exits stay as they are" in result.out
    before, after = arrays_of(whole_run[0]), arrays_of(tmp_path / "out")
    assert all(np.array_equal(array, after[name]) for name, array in before.items())
    assert (
        np.abs(after["exit3.fc.weight"]).max() > np.abs(before["exit2.fc.weight"]).max() / 2
    )  # it began there
    table = re.findall(r"^ +(\d) +([\d.]+) % ", result.out, re.M)
    assert [number for number, _ in table] == ["1", "2", "3"]


def test_trained_exits_are_trained_on_and_do_not_begin_anew(program, whole_run, pictures, tmp_path):
    shutil.copy(
        whole_run[0] / runs.MODEL, tmp_path / "mine.safetensors"
    )  # which says alone how many exits it has
    still = [*RUN[2:-1], "two", "--lr", 0, "--epochs", 2]
    result = program(pictures, "--pretrained", "mine.safetensors", *still)
    assert result.status == 0, result
    before, after = arrays_of(whole_run[0]), arrays_of(tmp_path / "two")
    assert all(np.array_equal(before[name], after[name]) for name in before if "running" not in name)
    assert not np.array_equal(
        before["block1.layer1.norm.running_mean"], after["block1.layer1.norm.running_mean"]
    )
    result = program(pictures, "--pretrained", "two", *RUN[2:-1], "one", "--epochs", 1, "--exits", 1)
    assert result.status == 0, result
    assert set(arrays_of(tmp_path / "one")) == {n for n in before if not n.startswith(("block2", "exit2"))}


def test_other_classes_begin_with_new_last_layers(program, whole_run, pictures, tmp_path):
    for split in ("train", "val"):
        for name in ("blue", "red"):
            shutil.copytree(pictures / split / name, tmp_path / "two" / split / name)
    result = program("two", "--pretrained", whole_run[0], *RUN[2:], "--epochs", 2, "--limit", 8)
    assert result.status == 0, result
    assert "but for exit2.fc.weight" in result.out
    assert arrays_of(tmp_path / "out")["exit1.fc.bias"].shape == (2,)
    result = program("two", "--pretrained", whole_run[0], *RUN[2:-1], "more", "--epochs", 2, "--exits", 3)
    assert "has 2 exits, which were to stay while others are trained, but they have 3 classes" in result.err


# ---- leaving -------------------------------------------------------------------------------------------


def test_evaluation_tells_of_every_exit(program, whole_run, pictures):
    result = program("-e", "--resume", whole_run[0], "-j", 0)
    assert result.status == 0, result
    model = loaded(whole_run[0] / runs.MODEL)
    errors = leaving.answers_of(model, batches_for(model, pictures)).errors()
    costs = leaving.exit_costs(model)
    for number, (error, cost) in enumerate(zip(errors, costs, strict=True), start=1):
        assert f"{number:4}  {100 * (1 - error):6.2f} %  {cost:13,}" in result.out
    assert f"Acc@1 {100 * (1 - errors[-1]):.2f} %, Acc@5 100.00 %" in result.out
    first = program("-e", "--resume", whole_run[0], "-j", 0, "--exits", 1)
    assert f"Acc@1 {100 * (1 - errors[0]):.2f} %, Acc@5 100.00 %" in first.out


def rows_in(out):
    """Of the table: exit (or all), pictures, multiply-adds."""
    rows = re.findall(r"^ +(\d|all) +(\d+) +[\d.]+ % +\S+ (?:%)? *([\d,]+)", out, re.M)
    return [(name, int(count), int(cost.replace(",", ""))) for name, count, cost in rows]


def test_leaving_at_a_probability_counts_what_really_left(program, whole_run, pictures):
    model = loaded(whole_run[0] / runs.MODEL)
    answers, costs = leaving.answers_of(model, batches_for(model, pictures)), leaving.exit_costs(model)
    leave_at = round(float(np.sort(answers.sure[:, 0])[4:6].mean()), 4)  # between two pictures
    wanted = leaving.leaving(answers, costs, leave_at)
    assert min(wanted.pictures) > 0
    result = program("-e", "--resume", whole_run[0], "-j", 0, "--leave-at", leave_at)
    rows = rows_in(result.out)
    assert rows[:-1] == [
        (str(n), c, cost) for n, (c, cost) in enumerate(zip(wanted.pictures, costs, strict=True), 1)
    ]
    assert rows[-1] == ("all", 10, round(wanted.cost))
    assert f"Acc@1 {100 * (1 - wanted.error):.2f} % in " in result.out
    assert re.search(r"s for 1,000 pictures; to the last exit all together [\d.]+ % in [\d.]+ s", result.out)


def test_a_budget_is_set_on_every_second_picture_and_tried_on_the_others(program, whole_run, pictures):
    model = loaded(whole_run[0] / runs.COMPACT)
    answers, costs = leaving.answers_of(model, batches_for(model, pictures)), leaving.exit_costs(model)
    set_by, others = (leaving.Answers(*(part[at::2] for part in vars(answers).values())) for at in (0, 1))
    budget = round(sum(costs) / 2)
    leave_at = leaving.leave_at_for(budget, set_by, costs)
    wanted = leaving.leaving(others, costs, leave_at)
    compact = [pictures, "--pretrained", whole_run[0] / runs.COMPACT, "-j", 0]
    result = program("-e", *compact, "--budget", f"{budget / 1e6}M")
    assert result.status == 0, result
    cost = round(leaving.leaving(set_by, costs, leave_at).cost)
    said = (
        f"On 5 of the pictures, every second one, a probability of {leave_at:.4g} keeps the budget: {cost:,} "
    )
    assert f"{said}multiply-adds on average.\nOn the other 5:\nexit  pictures" in result.out
    assert rows_in(result.out)[-1] == ("all", 5, round(wanted.cost))
    result = program("-e", *compact, "--budget", costs[0] - 1)
    assert result.status == 1
    assert f"--budget {costs[0] - 1:,}: the first exit alone costs {costs[0]:,} multiply-adds" in result.err
    whole = leaving.exit_costs(loaded(whole_run[0] / runs.MODEL))[0]
    assert whole > costs[0]
    result = program("-e", "--resume", whole_run[0], "-j", 0, "--budget", costs[0])
    file = whole_run[0] / runs.COMPACT
    wanted = f"the first exit alone costs {whole:,} multiply-adds a picture; that of {file}, without what is closed, "
    assert f"{wanted}costs {costs[0]:,}: evaluate that, with -e --pretrained {file}" in result.err
    result = program("-e", "--resume", whole_run[0], "-j", 0, "--budget", 7)
    assert f"costs {costs[0]:,}: which is too much, too" in result.err


# ---- what is closed is cut out -------------------------------------------------------------------------


def test_the_cut_network_says_the_same_and_costs_less(whole_run, pictures):
    folder, said = whole_run
    model, cut = loaded(folder / runs.MODEL), loaded(folder / runs.COMPACT)
    assert weights.read_record(folder / runs.COMPACT)["side"] == 37
    gates = [layer.weight.value for layer in all_layers(model) if isinstance(layer, Gate)]
    closed = sum(int((gate == 0).sum()) for gate in gates)
    assert 0 < closed < sum(gate.size for gate in gates)
    assert f"\n{closed} of {sum(gate.size for gate in gates)} gates are closed" in said
    before, after = leaving.exit_costs(model), leaving.exit_costs(cut)
    assert after[-1] < before[-1]
    assert f"exit 2: {before[-1]:,} -> {after[-1]:,}" in said
    x = next(batches_for(model, pictures).in_order())[0]
    np.testing.assert_allclose(cut.answers(x), model.answers(x), rtol=1e-4, atol=1e-5)


def test_the_cut_network_is_evaluated_and_not_trained_on(program, whole_run, pictures, tmp_path):
    compact = whole_run[0] / runs.COMPACT
    shutil.copy(compact, tmp_path / "moved.safetensors")
    whole = program("-e", "--resume", whole_run[0], "-j", 0)
    for path in (compact, "moved.safetensors"):
        result = program(pictures, "-e", "--pretrained", path, "-j", 0)
        assert result.status == 0, result
        said = [re.search(r"^Acc@1 .* loss [\d.]{5}", r.out, re.M).group() for r in (result, whole)]
        assert said[0] == said[1]
    result = program(pictures, "--pretrained", "moved.safetensors", *RUN)
    assert result.status == 1
    assert "moved.safetensors was cut, by compact(), and is to be used as it is" in result.err


def test_classify_says_at_which_exit_a_picture_left(whole_run, pictures, capsys):
    photo = str(next((pictures / "val").rglob("*.png")))
    for name in (runs.MODEL, runs.COMPACT):
        call = ["classify", photo, "--arch", "smartnet", "--weights", str(whole_run[0] / name)]
        shares = {}
        for leave_at, exit in ((0, 1), (1, 2)):
            assert program_of_commands.main([*call, "--leave-at", str(leave_at)]) == 0
            *lines, last = capsys.readouterr().out.splitlines()
            cost = leaving.exit_costs(loaded(whole_run[0] / name))[exit - 1]
            assert last == f" left at exit {exit} of 2: {cost:,} multiply-adds"
            shares[exit] = lines
        assert program_of_commands.main(call) == 0
        assert capsys.readouterr().out.splitlines() == shares[2] != shares[1]


# ---- what cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("--exits 3 --epochs 2", 1, "3 exits, trained one after the other, need 3 epochs, not 2"),
        ("--exits 4", 1, "--exits 4: there is no exit 4, smartnet, small has 3: name 1 to 3$"),
        ("--lr-scheduler plateau", 1, "plateau does not go with smartnet, .* Use cosine, which begins anew"),
        ("--dummy --budget 2M", 1, "--leave-at and --budget are for pictures, and --dummy has none"),
        ("--leave-at 0.5 --budget 2M", 2, "name one of them"),
        ("--leave-at 1.5", 2, "a probability from 0 to 1 is needed, not '1.5'"),
        ("--budget 2X", 2, "a number above 0 is needed, as 20000000, 20M or 1.5M, not '2X'"),
        ("-a resnet18 --exits 2", 1, "--exits 2 is for smartnet; resnet18 has no exits to leave by"),
        (
            "-a alexnet --penalty 0.1",
            1,
            "--penalty 0.1 is for smartnet's gates; alexnet has none: leave it out",
        ),
        ("-e --resume RUN --penalty 0.1", 2, "--penalty 0.1 is for training, and -e trains nothing"),
        ("-e --resume RUN --ten-crop --leave-at 0.5", 2, "--ten-crop is without --leave-at and --budget"),
        (
            "-e --resume RUN --exits 3",
            1,
            "no exit 3, .* has 2: name 1 to 2; or train more, with --exits 3 --pretrained",
        ),
        ("-e --resume RUN --exits 7", 1, "there is no exit 7, .* has 2: name 1 to 2$"),
        ("--resume RUN --exits 1", 1, "made with exits 2; this run asks for exits 1"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(
    program, whole_run, pictures, tmp_path, arguments, status, message
):
    words = [whole_run[0] if word == "RUN" else word for word in arguments.split()]
    named = [] if {"-a", "--resume"} & set(words) else ["-a", "smartnet"]
    result = program(pictures, *named, *([] if "alexnet" in words else ["--small"]), *words)
    assert result.status == status, result
    assert re.search(message, result.err), result
    assert not list(tmp_path.iterdir())


def test_a_budget_that_is_too_small_is_told_before_the_training(program, pictures, tmp_path):
    result = program(pictures, *SMART[:-2], *RUN, "--budget", 1000)
    assert result.status == 1
    assert re.search("--budget 1,000: the first exit alone costs [0-9,]+ multiply-adds a picture", result.err)
    assert not list((tmp_path / "out").iterdir())
