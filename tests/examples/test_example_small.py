"""examples/alexnet_imagenet.py on a small folder of one's own: --small, its options, what is said before training."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import EXAMPLES, finish, load_program, run_here, start
from threadpoolctl import threadpool_limits

from minialex import __main__ as commands
from minialex import plot, train, weights
from minialex.training import picture_settings, run_pictures, runs, small_data
from minialex.training.command_line import friendly

PROGRAM = EXAMPLES / "alexnet_imagenet.py"
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}
TINY = "--small --width 1/16 --image-size 67".split()
RUN = "--epochs 2 -b 4 -j 0 -p 9 --lr 0.005 --seed 3 --devices cpu --output-dir out".split()
EXPECTED = re.compile(
    r"^([\d,]+) parameters, about ([\d.,]+) [MG]B of memory, about ([\d.,]+) pictures a second on cpu: "
    r"about ([\d.,]+) \w+ an epoch(, [\d.,]+ \w+ for 2 epochs)?$",
    re.M,
)

module = load_program(PROGRAM, "small_imagenet")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture
def program(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_TRACEBACK", raising=False)
    for name in ("accuracy_curves", "tower_kernels", "filters"):
        monkeypatch.setattr(plot, name, lambda *args: next(a for a in args if hasattr(a, "touch")).touch())
    return lambda *arguments: run_here(lambda: friendly(module.main), PROGRAM, arguments, monkeypatch, capsys)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """12 pictures of 32x32 to train on, 6 to validate, of three classes."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for split, count in (("train", 12), ("val", 6)):
        for i in range(count):
            name = list(COLOURS)[i % 3]
            noise = rng.integers(-40, 40, (6, 6, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            path = root / split / name / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((32, 32)).save(path)
    return root


@pytest.fixture(scope="module")
def small_run(pictures, tmp_path_factory):
    """A small run's folder, and what it said. Nothing is to be changed there."""
    place, said = tmp_path_factory.mktemp("small"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("builtins.print", lambda *texts, **_: said.append(" ".join(map(str, texts))))
        module.main([str(pictures), *TINY, *RUN])
    return place / "out", "\n".join(said)


def settings_in(folder):
    return json.loads((folder / runs.SETTINGS).read_text())


def settings_of(*arguments):
    """Those of a run that begins with these arguments."""
    args = module.parse_arguments([str(argument) for argument in arguments])
    return picture_settings.settings_for(args, picture_settings.asked_of(args), {}, {}, set())


# ---- what --small means -----------------------------------------------------------------------------------

RECIPE = {"epochs": 30, "batch_size": 50, "lr_scheduler": "cosine", "warmup": 0.0}
ALEXNETS = {"width": 0.25, "image_size": 96, "side": 104, "init": "he", "scale": 1 / 64}


def test_small_is_what_the_drawn_pictures_use():
    asked, drawn = settings_of("mine", "--small"), settings_of()
    assert {**asked, "data": None} == {**drawn, "data": None}
    assert {name: asked[name] for name in ("small", *RECIPE, *ALEXNETS)} == {
        "small": True,
        **RECIPE,
        **ALEXNETS,
    }


def test_without_small_a_folder_has_the_network_and_the_recipe_of_2012():
    found = settings_of("mine")
    assert (found["small"], found["epochs"], found["batch_size"], found["lr_scheduler"]) == (
        False,
        90,
        128,
        "plateau",
    )
    assert (found["width"], found["image_size"], found["side"], found["init"]) == (1.0, None, 256, "preset")


@pytest.mark.parametrize("arch", ["resnet18", "vgg11_bn"])
def test_small_has_the_same_recipe_with_each_network(arch):
    found = settings_of("mine", "-a", arch, "--small")
    assert {name: found[name] for name in RECIPE} == RECIPE
    assert (found["small"], found["width"], found["side"]) == (True, 1.0, 37)
    assert settings_of("-a", arch)["width"] == 0.25  # of drawn pictures


def test_an_option_beside_small_goes_first():
    asked = [
        "--width",
        "1/2",
        "--image-size",
        "128",
        "--scale",
        "0.5",
        "--init",
        "preset",
        "-b",
        "9",
        "--epochs",
        "3",
    ]
    found = settings_of("mine", "--small", *asked)
    wanted = {"width": 0.5, "image_size": 128, "scale": 0.5, "init": "preset", "batch_size": 9, "epochs": 3}
    assert {name: found[name] for name in wanted} == wanted
    assert found["lr_scheduler"] == "cosine"


def test_a_size_of_crops_brings_squares_that_are_a_seventh_wider():
    assert settings_of("mine", "--image-size", 96)["side"] == 108
    assert settings_of("mine", "--small", "--image-size", 67)["side"] == 76
    assert settings_of("mine", "-a", "resnet18", "--image-size", 112)["side"] == 128


def test_a_preset_that_divides_its_pixels_keeps_that_scale():
    assert settings_of("mine", "--small", "--preset", "torchvision")["scale"] is None
    assert settings_of("mine", "--small", "--preset", "bvlc")["scale"] == 1 / 64


# ---- a run --------------------------------------------------------------------------------------------------


def test_a_run_keeps_its_sizes(small_run):
    wanted = {"small": True, "width": 1 / 16, "image_size": 67, "side": 76, "init": "he", "scale": 1 / 64}
    assert {name: settings_in(small_run[0])[name] for name in wanted} == wanted
    record = weights.read_record(small_run[0] / runs.MODEL)
    assert {name: record[name] for name in ("network", "width", "image_size", "scale", "side")} == {
        "network": "alexnet", "width": 1 / 16, "image_size": 67, "scale": 1 / 64, "side": 76,
    }  # fmt: skip


def test_a_run_that_was_stopped_ends_with_the_same_bits(program, small_run, pictures, tmp_path, monkeypatch):
    real, steps = train.train_step, iter(range(4))

    def stopped(*args):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr("minialex.training.loop.train_step", stopped)
        assert program(pictures, *TINY, *RUN, "--checkpoint-every", 1).status == 130
    for again in ([], ["--small"]):
        result = program("--resume", "out", *again)
        assert result.status == 0, result
    assert (tmp_path / "out" / runs.MODEL).read_bytes() == (small_run[0] / runs.MODEL).read_bytes()


def acc(result):
    assert result.status == 0, result
    return re.search(r"^Acc@1 ([\d.]+) %, Acc@5 [\d.]+ %, loss ([\d.]+)", result.out, re.M).groups()


def test_its_weights_are_tested_wherever_they_lie(program, small_run, pictures, tmp_path):
    folder, said = small_run
    for name in (runs.MODEL, runs.INPUT):
        shutil.copy(folder / name, tmp_path)
    wanted = acc(program("-e", "--resume", folder))
    assert f"Validation: Acc@1 {wanted[0]} %" in said
    for asked in (
        ["--resume", folder, "--small"],
        ["--pretrained", folder / runs.CHECKPOINT],
        ["--pretrained", runs.MODEL],
        ["--pretrained", runs.MODEL, "--small", "--width", 1 / 16],
    ):
        assert acc(program(pictures, "-e", *asked)) == wanted


def test_classify_reads_them_with_small_and_without(small_run, pictures, tmp_path, capsys):
    folder, photo = small_run[0], next((pictures / "val").rglob("*.png"))
    for name in (runs.MODEL, runs.INPUT):
        shutil.copy(folder / name, tmp_path)
    said = []
    for asked in ([folder], [folder, "--small"], [tmp_path / runs.MODEL, "--small"]):
        assert commands.main(["classify", str(photo), "--weights", *map(str, asked)]) == 0
        said.append(capsys.readouterr())
    assert said[0] == said[1] == said[2]
    assert set(re.findall(r"% +(\w+)", said[0].out)) == set(COLOURS)


def test_fine_tuning_a_small_run_keeps_its_sizes_and_its_recipe(program, small_run, pictures, tmp_path):
    result = program(pictures, "--pretrained", small_run[0], "--epochs", 1, "-j", 0, "--output-dir", "tuned")
    assert result.status == 0, result
    found = settings_in(tmp_path / "tuned")
    assert (found["small"], found["width"], found["image_size"], found["side"]) == (True, 1 / 16, 67, 76)
    assert (found["batch_size"], found["lr_scheduler"]) == (50, "cosine")


def test_a_run_begun_with_weights_of_another_width_goes_on_with_it(
    program, small_run, pictures, tmp_path, monkeypatch
):
    """--small says a quarter, its weights a sixteenth: what was asked for at the start still holds."""
    shutil.copy(small_run[0] / runs.MODEL, tmp_path / "mine.safetensors")
    begin = ["--pretrained", "mine.safetensors", *TINY, *RUN]

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "fit", stopped)
        assert program(pictures, *begin).status == 130
    result = program("--resume", "out", "-j", 0)
    assert result.status == 0, result
    assert settings_in(tmp_path / "out")["width"] == 1 / 16


def test_a_small_network_learns_at_once(program, pictures, tmp_path):
    asked = ["--small", "--image-size", 67, "--epochs", 8, "-b", 4, "-j", 0, "--output-dir", "out"]
    assert program(pictures, *asked).status == 0
    last = (tmp_path / "out" / runs.HISTORY).read_text().splitlines()[-1].split(",")
    assert float(last[2]) < 0.6 * np.log(3)  # of chance


# ---- what is said before training -------------------------------------------------------------------------


def test_parameters_memory_and_time_are_said_before_training(small_run):
    said = small_run[1]
    found = EXPECTED.search(said)
    model_says = re.search(r"^total +([\d,]+)", said, re.M)[1]
    assert found[1] == model_says
    assert said.index(found[0]) < said.index("Validation: ")
    assert said.count(" parameters, about ") == 1


def test_saying_it_changes_no_bit(program, small_run, pictures, tmp_path, monkeypatch):
    class Unmeasured:
        parameters = 1

        def time_for(self, *_):
            return "nobody knows"

    monkeypatch.setattr(module, "expect", lambda *_: Unmeasured())
    result = program(pictures, *TINY, *RUN)
    assert result.status == 0, result
    assert "nobody knows" in result.out
    assert (tmp_path / "out" / runs.MODEL).read_bytes() == (small_run[0] / runs.MODEL).read_bytes()


def test_small_pictures_in_the_large_network_name_small(program, pictures):
    result = program(pictures, "--width", 1 / 32, *RUN, "--epochs", 1)
    assert result.status == 0, result
    assert (
        "pictures of 32 pixels (the median) are enlarged to 256. There is a smaller network for such: --small\n"
        in result.out
    )


def test_few_pictures_for_the_large_network_name_small(program, pictures, monkeypatch):
    monkeypatch.setattr(small_data, "TIMES", 100)
    result = program(pictures, "-a", "resnet18", "--width", 1 / 8, *RUN, "--epochs", 1)
    assert result.status == 0, result
    each = re.search(r"Small data: ([\d,]+) weights for each of 12 training pictures\.", result.out)[1]
    parameters = EXPECTED.search(result.out)[1]
    assert int(each.replace(",", "")) == round(int(parameters.replace(",", "")) / 12)
    assert "There is a smaller network for such: -a resnet18 --small\n" in result.out


def test_nothing_is_advised_where_it_is_small_goes_on_or_has_no_pictures(program, small_run, pictures):
    assert "Small data" not in small_run[1]
    few = ["--width", 1 / 32, *RUN[2:], "--epochs", 1]
    assert "Small data" in program(pictures, *few).out
    assert "Small data" not in program("--resume", "out", "--epochs", 2).out
    assert "Small data" not in program("--dummy", *few[:-4], "--epochs", 1, "--limit", 4).out


def test_the_help_says_the_rule(program):
    text = " ".join(program("--help").out.split())
    assert f"Before training it is named {small_data.RULE}" in text
    assert "more than 1,000 weights for each training picture" in text


def test_pictures_that_cannot_be_read_are_told_by_training_not_by_the_timing(program, pictures, tmp_path):
    own = shutil.copytree(pictures, tmp_path / "own")
    for path in (own / "train").rglob("*.png"):
        path.write_bytes(b"no picture")
    result = program(own, "-a", "resnet18", "--small", "--width", 1 / 8, *RUN)
    assert result.status == 1
    assert "cannot be read, and up to 0 may be skipped" in result.err
    few = run_pictures.TIMED
    assert few >= 12  # all were tried before


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is Linux's here")
def test_memory_is_within_the_stated_factor(tmp_path):
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('alexnet_imagenet', {str(PROGRAM)!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "module.main(sys.argv[1:])\n"
        "from minialex.study.benchmarks import peak_memory\n"
        "print('peak', peak_memory())"
    )
    asked = "--dummy --small -b 128 --limit 128 --epochs 1 --output-dir out".split()
    result = finish(start(tmp_path, "-c", code, *asked))
    assert result.status == 0, result
    said = re.search(r"about (\d+) MB of memory", result.out)
    peak = int(re.search(r"peak (\d+)", result.out)[1])
    assert 1 / 1.5 < peak / (int(said[1]) * 1e6) < 1.5


# ---- what cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--width 0", "argument --width: a number from 0.001 to 16 is needed, as 0.25 or 1/4, not '0'"),
        ("--width 17", "argument --width: a number from 0.001 to 16"),
        ("--width nan", "argument --width: a number from 0.001 to 16"),
        ("--scale 0", "argument --scale: a number from 1e-09 to 1e+09 is needed, as 0.25 or 1/4, not '0'"),
        ("--scale -1", "argument --scale: a number from 1e-09"),
        ("--scale nan", "argument --scale: a number from 1e-09"),
        ("--scale 1/0", "argument --scale: a number from 1e-09"),
        ("--image-size 0", "argument --image-size: a whole number >= 1 is needed, not '0'"),
        ("--image-size 4000", "argument --image-size: a whole number from 1 to 3584 is needed, not '4000'"),
        ("--init hee", "invalid choice: 'hee' (did you mean he?); there are preset, he"),
        ("-e --resume RUN --init he", "--init he is for training, and -e trains nothing: leave it out"),
        ("-e --resume RUN --look", "--look is for training, and -e trains nothing: leave it out"),
        ("-e --resume RUN -p 5", "--print-freq 5 is for training, and -e trains nothing: leave it out"),
        (
            "-e --resume RUN --freeze conv1 --lr 0.1 --epochs 3 --seed 0 --output-dir out",
            "--epochs 3, --lr 0.1, --seed 0, --output-dir out, --freeze conv1 are for training, and -e trains nothing",
        ),
        (
            "-e --resume RUN --momentum 0 --wd 0 --lr-scheduler cosine --checkpoint-every 0",
            "--momentum 0, --wd 0, --lr-scheduler cosine, --checkpoint-every 0 are for training",
        ),
    ],
)
def test_bad_arguments_are_named(program, small_run, arguments, message):
    asked = [small_run[0] if word == "RUN" else word for word in arguments.split()]
    result = program(*asked)
    assert result.status == 2
    assert message in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--small --image-size 66", "pictures of 66 pixels are too small for this network: 67 is the least"),
        ("--preset torchvision --image-size 62", "62 pixels are too small for this network: 63 is the least"),
        ("-a vgg11 --image-size 31", "31 pixels are too small for this network: 32 is the least"),
        ("-a resnet18 --init he", "--init he is for AlexNet; resnet18 draws its first weights as its paper"),
        ("-a resnet18 --scale 1/64", "--scale 0.015625 is for AlexNet's pixels; resnet18 has its own"),
        (
            "--pretrained RUN --width 1",
            "has 6 maps in conv1, and with --width 1 there would be 96: leave that out",
        ),
        (
            "--pretrained FILE --small",
            "has 6 maps in conv1, and with --width 0.25 (of --small) there would be 24",
        ),
        (
            "--pretrained RUN --image-size 160",
            "has an fc6 that reads 16 numbers, and with --image-size 160 there",
        ),
        ("--pretrained RUN --scale 1", "has scale 0.015625, and --scale 1 asks for another: leave that out"),
        (
            "-e --resume RUN --width 1/2",
            "has 6 maps in conv1, and with --width 0.5 there would be 48: leave that out",
        ),
        ("-e --resume RUN --scale 2", "has scale 0.015625, and --scale 2 asks for another"),
        ("--resume RUN --width 0.5", "was made with width 0.0625; this run asks for width 0.5"),
        ("--resume RUN --image-size 70", "was made with image_size 67; this run asks for image_size 70"),
        ("--resume RUN --init preset", "was made with init he; this run asks for init preset"),
        ("--resume RUN --scale 1", "was made with scale 0.015625; this run asks for scale 1.0"),
        ("--resume LARGE --small", "was made with small False; this run asks for small True"),
        (
            "-e --resume LARGE --small",
            "is for alexnet, not for alexnet, small: it was trained without --small",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(
    program, small_run, pictures, tmp_path, monkeypatch, arguments, message
):
    shutil.copy(small_run[0] / runs.MODEL, tmp_path / "file.safetensors")
    places = {"RUN": small_run[0], "FILE": "file.safetensors", "LARGE": tmp_path / "large"}
    if "LARGE" in arguments:
        program(pictures, "--width", 1 / 32, "--image-size", 67, *RUN[:-1], places["LARGE"], "--epochs", 1)
    before = sorted(tmp_path.iterdir())
    result = program(pictures, *[places.get(word, word) for word in arguments.split()])
    assert result.status == 1, result
    assert message in result.err
    assert sorted(tmp_path.iterdir()) == before
