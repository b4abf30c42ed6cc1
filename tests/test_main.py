"""python -m minialex: doctor, summary, predict."""

import io
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import small_sets
from PIL import Image, ImageDraw, ImageFont
from small_cifar import in_place_of_the_real_one, pictures, write
from threadpoolctl import threadpool_limits

import minialex as mx
from minialex import __main__ as program
from minialex import optim, train, weights
from minialex.commands import doctor
from minialex.data import mnist
from minialex.data.digits import load_drawn_digits
from minialex.data.loader import ArrayBatches
from minialex.data.named import NAMES
from minialex.devices.device import cuda_count
from minialex.models.names import NETWORKS, network
from minialex.training import runs
from minialex.training.newest import newest_run
from minialex.training.reports import ErrorReport


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing from threads, and lose much where others use the cores as well."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def run(capsys):
    """Call the program; returns its exit status and what it wrote."""

    def call(*arguments):
        status = program.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """A machine without MNIST."""
    monkeypatch.delenv("MINIALEX_DATA", raising=False)
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache")


def in_a_process(*arguments, folder, **environment):
    """The same in a process of its own, which finds the minialex that is tested here."""
    here = str(Path(mx.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": here, "MINIALEX_DATA": str(folder / "none"), **environment}
    command = [sys.executable, "-m", "minialex", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)


# ---- summary ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ([], "61,706"),
        (["lenet"], "61,706"),
        (["lenet", "--variant", "1998"], "60,000"),
        (["lenet", "--variant", "keras"], "44,426"),
        (["lenet5"], "61,706"),
        (["resnet18"], "11,689,512"),
        (["resnet18", "--small"], "334,072"),
        (["googlenet"], "13,004,888"),
    ],
)
def test_summary_shows_the_number_of_parameters(run, arguments, parameters):
    status, out, err = run("summary", *arguments)
    assert (status, err) == (0, "")
    assert parameters in out


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["lenet", "--preset", "bvlc"], "lenet has no --preset"),
        (["--towers", "1"], "lenet has no --towers"),
        (["alexnet", "--variant", "1998"], "alexnet has no --variant"),
    ],
)
def test_an_option_of_the_other_network_is_refused(run, arguments, option):
    status, out, err = run("summary", *arguments)
    assert (status, out) == (1, "")
    assert err == f"minialex summary: {option}: leave it out, or name the other network\n"


def test_summary_of_a_small_version_that_there_is_not(run):
    message = "lenet is for pictures of 28x28, and has no --small: leave it out"
    assert run("summary", "--small") == (1, "", f"minialex summary: {message}\n")


def test_summary_of_the_small_alexnet(run):
    status, out, err = run("summary", "alexnet", "--small")
    assert (status, err) == (0, "")
    assert "input 3x96x96" in out


def test_every_network_has_a_name_that_makes_it():
    for name in NETWORKS:
        options = {"width": 0.03, "num_classes": 3} | ({"devices": "cpu"} if name == "alexnet" else {})
        assert network(name)(**options).num_classes == 3, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "resnt50"], "there is no network 'resnt50'; the nearest are resnet50, "),
        (["summary", "ResNet-50"], "there is no network 'ResNet-50'; the nearest are resnet50, "),
        (["summary", "LeNet-5"], "there is no network 'LeNet-5'; the nearest is lenet"),
        (["summary", "alexnet", "--preset", "papper"], "(did you mean paper?)"),
        (["sumary"], "(did you mean summary?)"),
        (["classify", "a.png", "--weigths", "runs/a"], "(did you mean --weights?)"),
        (["classify", "a.png", "--weights", "runs/a", "--arch", "vgg-16"], "the nearest are vgg16, "),
        (["predict", "a.png", "--weight", "runs/a"], "(did you mean --weights?)"),
        (["marks", "a", "--lesson", "01"], "(did you mean --lessons?)"),
    ],
)
def test_what_is_misspelt_is_told_with_what_is_near(run, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["marks", ".", "--lessons", "1"], "no lesson 1 has exercises (did you mean 01?); there are 00"),
        (["classify", "a.png", "--weights", "a", "--devices", "gpu:1"], '(did you mean "cuda:1"?)'),
    ],
)
def test_what_is_nearly_right_is_told_with_what_is_near(run, arguments, message):
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert message in err


@pytest.mark.parametrize(
    "arguments", [[], ["summary", "--variant", "2012"], ["summary", "resnet"], ["dance"]]
)
def test_what_it_does_not_know_it_says_with_what_it_knows(run, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("started", "called"),
    [
        ("/lib/minialex/__main__.py", "python -m minialex"),
        ("/bin/minialex", "minialex"),
        ("minialex.exe", "minialex"),
    ],
)
def test_it_calls_itself_as_it_was_called(run, capsys, monkeypatch, started, called):
    monkeypatch.setattr(sys, "argv", [started])
    with pytest.raises(SystemExit):
        run()
    assert capsys.readouterr().err.startswith(f"usage: {called} [-h]")


def test_it_says_its_version(run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--version")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"minialex {mx.__version__}\n"


def test_a_standard_output_that_is_no_terminal_file_is_written_to_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # as a notebook's, it has no `reconfigure`
    assert program.main(["summary"]) == 0
    assert "61,706" in sys.stdout.getvalue()


# ---- doctor -------------------------------------------------------------------------------------------


def test_doctor_on_a_machine_without_data(run, no_data):
    status, out, err = run("doctor")
    assert (status, err) == (0, "")
    assert mx.__version__ in out
    for name in NAMES:
        assert f"  {name:<16}not here\n" in out
    assert 'mx.data.load("mnist") fetches it' in out
    assert "MINIALEX_DATA" in out
    assert "cpu" in out
    assert "BLAS" in out
    assert "sim:0" in out
    assert out.rstrip().endswith("Nothing that is needed is missing.")


def test_doctor_finds_real_data(run, monkeypatch, real_data):
    monkeypatch.setenv("MINIALEX_DATA", str(real_data))
    status, out, _ = run("doctor")
    assert f"mnist           found in {real_data / 'mnist'}; its checksums are right" in in_a_line(out)
    assert status == 0


def test_doctor_says_of_each_set_what_there_is(run, monkeypatch, tmp_path):
    content = small_sets.in_place_of_the_real_ones(monkeypatch, tmp_path)
    data = tmp_path / "data"
    for name in ("mnist", "fashion-mnist"):
        small_sets.write(content[name], data / name)
    small_sets.write(content["kmnist"], data / "kmnist", pack=bytes, end="")  # unpacked: no sum is published
    small_sets.write(dict([*content["qmnist"].items()][1:]), data / "qmnist")
    small_sets.write(content["emnist-letters"], data / "emnist-letters")
    (data / "emnist-letters" / "emnist-letters-train-images-idx3-ubyte.gz").write_bytes(b"no letters")
    write(pictures(in_place_of_the_real_one(monkeypatch, tmp_path)), data / "cifar10")
    monkeypatch.setenv("MINIALEX_DATA", str(data))
    status, out, err = run("doctor")
    assert f" cifar10 found in {data / 'cifar10'}; not as it was published" in squeezed(out)
    assert f" mnist found in {data / 'mnist'}; its checksums are right" in squeezed(out)
    assert f" fashion-mnist found in {data / 'fashion-mnist'}; its checksums are right" in squeezed(out)
    assert f" kmnist found in {data / 'kmnist'}; not as it was published" in squeezed(out)
    assert f" qmnist in part: qmnist-train-images-idx3-ubyte not in {data / 'qmnist'}" in squeezed(out)
    assert f" emnist-letters damaged: {data / 'emnist-letters'}" in squeezed(out)
    assert (status, err) == (1, "")
    assert "To mend: delete the damaged file, it will be fetched again" in out


def test_doctor_does_not_ask_to_delete_another_sets_files(run, monkeypatch, tmp_path):
    """Fashion-MNIST's files have the names of MNIST's."""
    content = small_sets.in_place_of_the_real_ones(monkeypatch, tmp_path)
    small_sets.write(content["fashion-mnist"], tmp_path / "data")
    monkeypatch.setenv("MINIALEX_DATA", str(tmp_path / "data"))
    status, out, _ = run("doctor")
    assert status == 0
    assert " mnist not here, for " in squeezed(out)
    assert "Fashion-MNIST's. Load it with" in squeezed(out)
    assert f" fashion-mnist found in {tmp_path / 'data'}" in squeezed(out)
    assert "delete" not in out


def test_doctor_fits_into_a_small_terminal(run, no_data, monkeypatch):
    pretend_cupy(monkeypatch, None)
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    out = run("doctor")[1].rpartition("\n\nTo mend")[0]
    assert max(map(len, out.splitlines())) <= 80


def in_a_line(out):
    """Without the line ends that a small terminal needs."""
    return re.sub(r"\n +", " ", out)


def squeezed(out):
    return re.sub(r"\s+", " ", out)


def test_doctor_names_damaged_data_and_what_mends_it(run, no_data, monkeypatch, tmp_path):
    for name in mnist.MD5:
        (tmp_path / name).write_bytes(b"not digits")
    monkeypatch.setenv("MINIALEX_DATA", str(tmp_path))
    status, out, _ = run("doctor")
    assert status == 1
    assert f" mnist damaged: {tmp_path / next(iter(mnist.MD5))}" in squeezed(out)
    assert squeezed(out).count("damaged: ") == 1
    assert "  kmnist          the same file is damaged\n" in out
    assert "To mend: delete the damaged file" in out


def pretend_cupy(monkeypatch, cupy):
    monkeypatch.setattr(mx.Device, "_known", {})
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_doctor_without_cupy_says_what_to_install(run, no_data, monkeypatch):
    pretend_cupy(monkeypatch, None)
    status, out, _ = run("doctor")
    assert status == 0
    assert 'cuda          none: cuda:0 needs CuPy: pip install "minialex[cuda12]"' in in_a_line(out)
    assert "pick one" in out


def test_doctor_without_a_driver_says_so(run, no_data, monkeypatch):
    pretend_cupy(monkeypatch, types.SimpleNamespace(__version__="14.0", is_available=lambda: False))
    status, out, _ = run("doctor")
    assert status == 0
    assert "CuPy 14.0 is installed, but finds no usable NVIDIA GPU" in in_a_line(out)
    assert "nvidia-smi" in out


@pytest.mark.gpu
@pytest.mark.skipif(cuda_count() < 1, reason="no CUDA GPU that CuPy can use")
def test_doctor_names_the_gpus(run, no_data):
    assert "cuda          cuda:0 " in run("doctor")[1]


@pytest.mark.parametrize("package", ["tqdm", "threadpoolctl", "pooch", "safetensors"])
def test_doctor_survives_what_is_missing_and_says_how_to_get_it(run, no_data, monkeypatch, package):
    version_of = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == package else version_of(name))
    monkeypatch.setitem(sys.modules, package, None)
    if package == "pooch":
        monkeypatch.setattr(mnist, "_cache_folder", lambda: __import__("pooch"))
    status, out, _ = run("doctor")
    assert status == 1
    assert f"  {package:<14}MISSING" in out
    assert f"To mend: pip install {package}" in out


def test_what_is_optional_may_be_missing(run, no_data, monkeypatch):
    version_of = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: version_of(name) if name != "jupyterlab" else None)
    status, out, _ = run("doctor")
    assert status == 0
    assert 'jupyterlab    not installed (optional): pip install "minialex[lessons]"' in out


# ---- predict ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A place with runs/lenet in it, trained for a few seconds on drawn digits."""
    place = tmp_path_factory.mktemp("place")
    (x, y), _ = load_drawn_digits(train=1500, test=0)
    model = mx.models.lenet5("modern")
    train.fit(
        model,
        mx.SGD(model.parameters(), lr=0.03, momentum=0.9),
        optim.Cosine(0.03, 4),
        ArrayBatches(x, y, 32, prepare=model.prepare),
        epochs=4,
        folder=place / "runs" / "lenet",
        settings={"variant": "modern", "activation": "tanh"},
        report=ErrorReport(say=lambda line: None, bar=False),
    )
    return place


def draw(path, text, ink=30, paper=235):
    """A digit with a soft pen on a sheet of paper."""
    font = Path(__import__("matplotlib").get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    sheet = Image.new("L", (200, 260), paper)
    ImageDraw.Draw(sheet).text((100, 130), text, ink, ImageFont.truetype(str(font), 150), anchor="mm")
    sheet.save(path)
    return path


def answer(out):
    """The digit on the first line of the bars."""
    return int(out.split("What it reads there")[1].split("\n\n")[1].split()[0])


def test_predict_reads_drawn_digits_with_the_newest_run(run, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    right = 0
    for digit in range(10):
        status, out, err = run("predict", draw(tmp_path / "digit.png", str(digit)))
        assert (status, err) == (0, "")
        right += answer(out) == digit
    assert right >= 6  # a few seconds of training, and one font


def test_predict_says_what_it_saw_and_how_sure_it_is(run, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    _, out, _ = run("predict", draw(tmp_path / "digit.png", "3"))
    assert "What the network sees of" in out
    assert "- turned dark-on-light to light-on-dark" in out
    assert f"with the weights of {Path('runs', 'lenet')}" in out
    shares = [float(line.split()[-2]) for line in out.splitlines() if line.endswith(" %")]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 100.3


def test_predict_is_not_sure_of_two_digits_and_says_why(run, trained, tmp_path):
    status, out, _ = run("predict", draw(tmp_path / "a.png", "1 7"), "--weights", trained / "runs" / "lenet")
    assert status == 0
    assert "It is not sure that this is a digit: 2 pieces of ink stand side by side: two digits?\n" in out
    assert out.index("not sure") < out.index("If it is one, what it may be, with the weights of")
    assert len([line for line in out.splitlines() if line.endswith(" %")]) == 5


def test_predict_asks_the_second_network_where_there_is_one(run, trained, tmp_path):
    """One that refuses everything, beside the weights that it belongs to, and beside others."""
    from minialex.training.doubt import DOUBT, learn_doubt, save_doubt

    folder = trained / "runs" / "lenet"
    without = f"{folder / DOUBT} is not there. lenet_mnist.py makes it"
    picture = draw(tmp_path / "a.png", "3")
    assert without in run("predict", picture, "--weights", folder)[1]
    model = mx.models.lenet5("modern")
    weights.import_grouped(model, runs.load_run(folder)[0])
    doubt = learn_doubt(model, *load_drawn_digits(train=120, test=0)[0])
    doubt.least = 1e3
    (tmp_path / train.MODEL).write_bytes((folder / train.MODEL).read_bytes())
    save_doubt(tmp_path / DOUBT, doubt)
    _, out, err = run("predict", picture, "--weights", tmp_path)
    assert "not sure that this is a digit: it looks less like the digits that were learned" in out
    assert "is not there" not in out + err
    weights.save(tmp_path / train.MODEL, weights.export_grouped(mx.models.lenet5(rng=8)))
    assert f"{tmp_path / DOUBT} belongs to other weights" in run("predict", picture, "--weights", tmp_path)[1]


def test_predict_reads_light_ink_as_well(run, trained, tmp_path):
    light, dark = (
        run("predict", draw(tmp_path / "a.png", "7", *colours), "--weights", trained / "runs" / "lenet")[1]
        for colours in ((30, 235), (225, 20))
    )
    assert answer(light) == answer(dark)


def test_predict_saves_its_steps_as_a_picture(run, trained, tmp_path):
    picture, steps = draw(tmp_path / "digit.png", "3"), tmp_path / "steps.png"
    status, out, _ = run("predict", picture, "--weights", trained / "runs" / "lenet", "--save", steps)
    assert status == 0
    assert str(steps) in out
    with Image.open(steps) as saved:
        assert saved.format == "PNG"
        assert min(saved.size) > 200


@pytest.mark.parametrize("variant", ["1998", "keras"])
def test_predict_knows_the_variant_from_the_runs_settings(run, tmp_path, variant):
    weights.save(tmp_path / train.MODEL, weights.export_grouped(mx.models.lenet5(variant)))
    (tmp_path / train.SETTINGS).write_text(f'{{"variant": "{variant}"}}')
    status, out, _ = run("predict", draw(tmp_path / "digit.png", "3"), "--weights", tmp_path)
    assert status == 0
    assert ", with the weights of" in out


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_predict_knows_the_activation_from_the_weights_wherever_they_lie(run, tmp_path, activation):
    model = mx.models.lenet5("keras", activation=activation)
    path, picture = tmp_path / "mine.safetensors", draw(tmp_path / "digit.png", "3")
    weights.save(path, weights.export_grouped(model), weights.as_metadata(weights.record_of(model)))
    (tmp_path / train.SETTINGS).write_text('{"variant": "modern", "activation": "tanh"}')  # another run's
    image = mx.data.digit_from_picture(picture).image
    logits = model.eval().forward(model.prepare(image[None, None]))[0]
    status, out, err = run("predict", picture, "--weights", path)
    assert (status, err) == (0, "")
    share = np.exp(logits - logits.max())
    assert f"{100 * share.max() / share.sum():5.1f} %" in out
    weights.save(path, weights.load(path))
    (tmp_path / train.SETTINGS).unlink()
    if activation == "tanh":
        path.rename(tmp_path / "keras.safetensors")
        assert (
            "c5.weight has shape" in run("predict", picture, "--weights", tmp_path / "keras.safetensors")[2]
        )


def test_predict_says_that_weights_have_no_record(run, trained, tmp_path):
    weights.save(tmp_path / "mine.safetensors", weights.load(trained / "runs" / "lenet" / train.MODEL))
    status, _, err = run(
        "predict", draw(tmp_path / "digit.png", "3"), "--weights", tmp_path / "mine.safetensors"
    )
    assert status == 0
    assert (
        "mine.safetensors has no record of its network: it is taken for variant modern, activation tanh"
        in err
    )


def test_predict_takes_a_checkpoint_while_a_run_goes_on(run, trained, tmp_path):
    (tmp_path / train.CHECKPOINT).write_bytes((trained / "runs" / "lenet" / train.CHECKPOINT).read_bytes())
    picture = draw(tmp_path / "digit.png", "3")
    assert run("predict", picture, "--weights", tmp_path)[0] == 0
    assert run("predict", picture, "--weights", tmp_path / train.CHECKPOINT)[0] == 0


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_give_no_numbers_are_no_answer(run, trained, tmp_path, number):
    arrays = weights.load(trained / "runs" / "lenet" / train.MODEL)
    arrays["output.bias"][3] = number
    weights.save(tmp_path / train.MODEL, arrays)
    status, out, err = run("predict", draw(tmp_path / "digit.png", "3"), "--weights", tmp_path)
    assert (status, out) == (1, "")
    assert f"with the weights of {tmp_path} the network gives {number}: they are of no use" in err


LENET = '{"variant": "modern"}'


def test_the_newest_run_is_the_one_finished_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, time in (("lenet", 2000), ("lenet-2", 3000), ("lenet-3", 1000)):
        model = tmp_path / "runs" / name / train.MODEL
        model.parent.mkdir(parents=True)
        model.touch()
        os.utime(model, (time, time))
    assert newest_run() == Path("runs", "lenet-2")


@pytest.mark.parametrize("folder", [".", "out", "results/third"])
def test_the_newest_run_is_found_where_output_dir_put_it(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    places = [("runs/lenet", 1000, LENET), (folder, 2000, LENET), ("runs/dry-run", 3000, LENET)]
    places += [
        ("runs/alexnet", 4000, '{"arch": "alexnet", "preset": "paper"}'),
        ("other", 5000, "{"),
        ("more", 6000, ""),
    ]
    for name, time, settings in places:
        Path(name).mkdir(parents=True, exist_ok=True)
        Path(name, train.MODEL).touch()
        os.utime(Path(name, train.MODEL), (time, time))
        if settings:
            Path(name, train.SETTINGS).write_text(settings)
    assert newest_run() == Path(folder)


def test_other_programs_runs_are_none_of_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("out", train.MODEL).touch()
    Path("out", train.SETTINGS).write_text('{"arch": "alexnet", "preset": "paper"}')
    with pytest.raises(
        FileNotFoundError, match=f"LeNet-5 in {tmp_path} or up to two folders deep in it: train with"
    ):
        newest_run()


def blank(path):
    Image.new("L", (100, 100), 235).save(path)


def no_picture(path):
    path.write_text("hello")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "There is no file"),
        (blank, "shows no digit"),
        (no_picture, "cannot be read as a picture"),
        (Path.mkdir, "is a folder"),
    ],
    ids=["missing", "blank", "no picture", "folder"],
)
def test_predict_is_friendly_about_pictures(run, trained, tmp_path, make, message):
    make(tmp_path / "digit.png")
    status, out, err = run("predict", tmp_path / "digit.png", "--weights", trained / "runs" / "lenet")
    assert (status, out) == (1, "")
    assert err.startswith("minialex predict: ")
    assert message in err
    assert "digit.png" in err


def test_predict_without_a_run_says_how_to_get_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("predict", draw(tmp_path / "digit.png", "3"))
    assert status == 1
    assert "there are no trained weights under runs/, nor those of another run of LeNet-5 in" in err
    assert err.endswith("or name a run's folder by --weights\n")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def of_another_model(path):
    weights.save(path, weights.export_grouped(mx.models.lenet5("keras")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Path.unlink, "holds neither model.safetensors nor checkpoint.safetensors"),
        (cut, "model.safetensors is damaged"),
        (of_another_model, "these arrays belong to another model: c5.weight has shape (120, 256)"),
    ],
)
def test_predict_is_friendly_about_weights(run, trained, tmp_path, change, message):
    model = tmp_path / train.MODEL
    model.write_bytes((trained / "runs" / "lenet" / train.MODEL).read_bytes())
    change(model)
    status, _, err = run("predict", draw(tmp_path / "digit.png", "3"), "--weights", tmp_path)
    assert status == 1
    assert message in err


# ---- as a process -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_predict_on_a_terminal_with_and_without_block_characters(trained, tmp_path, encoding):
    picture = draw(tmp_path / "digit.png", "3")
    done = in_a_process("predict", picture, folder=trained, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode(encoding)
    assert ("#" in out, "█" in out) == ((True, False) if encoding == "ascii" else (False, True))
    assert "?" not in out


def test_an_error_is_one_line_and_exit_status_1(tmp_path):
    done = in_a_process("predict", "nothing.png", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(b"minialex predict: ")
    assert done.stderr.count(b"\n") == 1


def test_the_bars_and_the_digit_agree_with_the_network(trained, run, tmp_path):
    """By hand, what predict does: prepare, forward, softmax."""
    from minialex.data.photo import digit_from_picture

    picture = draw(tmp_path / "digit.png", "5")
    arrays, _ = runs.load_run(trained / "runs" / "lenet")
    model = mx.models.lenet5("modern").eval()
    weights.import_grouped(model, arrays)
    logits = model.forward(model.prepare(digit_from_picture(picture).image[None, None]))[0]
    share = np.exp(logits) / np.exp(logits).sum()
    _, out, _ = run("predict", picture, "--weights", trained / "runs" / "lenet")
    assert answer(out) == logits.argmax()
    assert f"{100 * share.max():5.1f} %" in out
