"""mx.save and mx.load: a network into a file and back, or the part that some exits need; and what does not fit."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.__main__ import main
from minialex.errors import CheckpointError
from minialex.training import runs
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.training.data_parallel import DataParallel
from minialex.weights.record import CHECKPOINT_KEY, KEY
from minialex.weights.seal import sealed

BLOCKS = "2x20 3x30 2x20"


def smart(exits=None, blocks=BLOCKS, classes=3, **how):
    how = {"preset": "small", "width": 0.1, "image_size": 8, **how}
    return mx.models.smartnet(exits, classes, blocks=blocks, **how)


def alexnet(devices="sim:0,sim:1", preset="paper", **how):
    return mx.models.alexnet(3, devices, preset, width=1 / 32, image_size=99, **how)


def plain(rng=None, units=5):
    layers = {
        "flat": mx.Flatten(),
        "fc": mx.Linear(12, units, rng=rng),
        "relu": mx.ReLU(),
        "out": mx.Linear(units, 3),
    }
    return mx.Sequential(**layers)


NETWORKS = {
    "lenet5": lambda rng: mx.models.lenet5("keras", rng=rng),
    "alexnet in towers": lambda rng: alexnet(rng=rng),
    "resnet": lambda rng: mx.models.resnet(8, 3, "cifar", width=0.1, rng=rng),
    "googlenet": lambda rng: mx.models.googlenet(3, "small", width=0.06, image_size=12, rng=rng),
    "smartnet": lambda rng: smart(rng=rng),
    "plain": plain,
}


def shaken(model, seed=0):
    """All parameters and buffers as nothing draws them."""
    rng = np.random.default_rng(seed)
    arrays = weights.export_grouped(model)
    drawn = {name: rng.uniform(0.2, 1.2, array.shape).astype(array.dtype) for name, array in arrays.items()}
    weights.import_grouped(model, drawn)
    return model


def assert_same(model, other):
    ours, theirs = weights.export_grouped(model), weights.export_grouped(other)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name, strict=True)


def pictures(count=4, dtype="float32"):
    return np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(dtype)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


# ---- any network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_is_loaded_to_the_last_bit(path, name):
    model, other = shaken(NETWORKS[name](1)), NETWORKS[name](2)
    before = [id(p.value) for p in other.parameters()]
    assert mx.save(model, path) is None
    assert mx.load(other, path) is None
    assert_same(other, model)
    assert [id(p.value) for p in other.parameters()] == before  # in place: an optimizer still has them
    assert weights.read_record(path) == dict(getattr(model, "architecture", {}))


def test_towers_are_saved_whole_and_loaded_on_any_devices(path):
    model = shaken(alexnet())
    mx.save(model, path)
    for devices in ("cpu", "sim:1,sim:0"):
        other = alexnet(devices, rng=3)
        mx.load(other, path)
        assert_same(other, model)


@pytest.mark.parametrize("written", ["float32", "float64"])
def test_the_models_own_dtype_device_and_mode_stay(path, written):
    model = shaken(smart().astype(written))
    mx.save(model, path)
    other = smart(rng=3).astype("float64").to("sim:0").eval()
    mx.load(other, path)
    named = other.named_parameters() + other.named_buffers()
    assert {p.value.dtype for _, p in named} == {np.dtype("float64")}
    assert other.device == mx.Device("sim:0")
    assert not other.training
    x = pictures(dtype="float64")
    y = mx.transfer(other.forward(mx.transfer(x, "sim:0")), "cpu")
    np.testing.assert_allclose(y, model.astype("float64").eval().forward(x), rtol=1e-9)


@pytest.mark.parametrize("name", ["lenet5", "smartnet"])
def test_checkpoints_are_files_of_theirs_too(path, name):
    model = shaken(NETWORKS[name](1))
    optimizer = mx.SGD(model.parameters(), 0.1)
    save_checkpoint(path, model, optimizer, {})
    mx.load(other := NETWORKS[name](2), path)
    assert_same(other, model)


def test_a_smartnet_that_was_cut_goes_on_from_its_checkpoint(path):
    def step(model, optimizer):
        loss = model.loss.forward(model.forward(pictures()), np.arange(4) % 3)
        model.backward(model.loss.backward())
        optimizer.step()
        return float(loss)

    model = shaken(smart())
    whole = smart()
    model["block1"].nodes["layer1"].gate.weight.value[:] = 0
    optimizer = mx.SGD(model.compact().parameters(), 0.1)
    step(model, optimizer)
    save_checkpoint(path, model, optimizer, {})
    checkpoint = load_checkpoint(path)
    other = mx.models.names.rebuilt(checkpoint.record)
    checkpoint.restore(other, other_optimizer := mx.SGD(other.parameters(), 0.1))
    assert [step(other, other_optimizer) for _ in range(2)] == [step(model, optimizer) for _ in range(2)]
    assert_same(other, model)
    with pytest.raises(
        CheckpointError, match=r"does not fit this model: .*block1\.layer1\.gate\.weight is missing"
    ):
        checkpoint.restore(whole, mx.SGD(whole.parameters(), 0.1))


def test_a_network_in_processes_is_saved_as_it_is(path):
    model = shaken(smart())
    with DataParallel(model, processes=2) as parallel:
        mx.save(parallel, path, exits=2)
        assert weights.read_record(path)["exits"] == 2
        mx.save(parallel, path)
        other = DataParallel(smart(2, rng=4), processes=2)
        mx.load(other, path)
    assert_same(other.model, model.first(2))


def test_names_of_classes_go_with_it_and_others_do_not_fit(path):
    model, other = (
        mx.models.resnet(8, 3, "cifar", width=0.1),
        mx.models.resnet(8, 3, "cifar", width=0.1, rng=2),
    )
    mx.save(model, path)
    mx.load(other, path)
    assert not hasattr(other, "classes")
    model.classes = ["ape", "bee", "cat"]
    mx.load(model, path)  # which says nothing of classes
    assert model.classes == ["ape", "bee", "cat"]
    mx.save(model, path)
    mx.load(other, path)
    assert other.classes == ["ape", "bee", "cat"]
    other.classes = ("ape", "bee", "cat")
    own = other.classes
    mx.load(other, path)
    assert other.classes is own
    other.classes = ("bee", "ape", "cat")
    before = weights.export_grouped(other)
    shaken(model)
    mx.save(model, path)
    with pytest.raises(
        ValueError, match=r"its classes are \['ape', .*\], the model's \['bee', 'ape', 'cat'\]"
    ):
        mx.load(other, path)
    assert all((before[name] == array).all() for name, array in weights.export_grouped(other).items())


def test_an_old_file_stays_where_the_new_one_cannot_be_written(path):
    mx.save(plain(1), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is saved whole"):
        mx.save(plain(2), path, exits=1)
    with pytest.raises(OSError, match="could not be written"):
        mx.save(plain(2), path / "below")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# ---- what does not fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read", "message"),
    [
        (lambda: alexnet("cpu", "paper"), lambda: alexnet("cpu", "bvlc"), "preset 'paper', .* preset 'bvlc'"),
        (lambda: mx.models.lenet5(), lambda: smart(1), "for .*'lenet5'.* this model is .*'smartnet'"),
        (lambda: smart(1), lambda: mx.models.lenet5(), "for .*'smartnet'.* this model is .*'lenet5'"),
        (lambda: plain(), lambda: plain(units=6), r"fc.weight has shape \(5, 12\), the model \(6, 12\)"),
        (lambda: plain(), lambda: mx.models.lenet5(), "LeNet5: these arrays belong to another model"),
        (lambda: smart(1), lambda: smart(1, width=0.2), r"stem.conv.weight has shape \(2, 3, .* the model \(3,"),
        (lambda: smart(1), lambda: smart(1, classes=4), r"exit1.fc.weight has shape \(3, 96\), the model \(4, 96\)"),
        (lambda: smart(1), lambda: smart(1, preset="mnist"), "for preset 'small', this model is preset 'mnist'"),
        (lambda: smart(1), lambda: smart(1, "2x30"), "for blocks '2x20', this model is blocks '2x30'"),
        (lambda: smart(2), lambda: smart(2, "2x20 4x30"), "for blocks '2x20 3x30', this model is blocks '2x20 4x30'"),
        (lambda: smart(3), lambda: smart(1, "3x20"), "for blocks '2x20', this model is blocks '3x20'"),
    ],
)  # fmt: skip
def test_a_file_of_another_network_is_refused_and_nothing_changed(path, written, read, message):
    mx.save(written(), path)
    model = read()
    before = weights.export_grouped(model)
    with pytest.raises(ValueError, match=rf"w\.safetensors does not fit .*{message}"):
        mx.load(model, path)
    assert all((before[name] == array).all() for name, array in weights.export_grouped(model).items())


@pytest.mark.parametrize("name", ["w.pth", "w.npy", "w.safetensors"])
def test_what_is_no_file_of_ours_is_refused_with_what_reads_others(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"neither of these" * 9)
    with pytest.raises(
        CheckpointError, match=rf"{re.escape(name)} .*load_pretrained reads files of other programs"
    ):
        mx.load(plain(), path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        mx.load(plain(), tmp_path / "none.safetensors")


def test_a_file_of_ours_without_a_record_is_judged_by_its_names_and_shapes(path):
    model = shaken(smart(2))
    weights.save(path, weights.export_grouped(model))
    mx.load(other := smart(2, rng=2), path)
    assert_same(other, model)
    with pytest.raises(ValueError, match=r"smartnet\(1\): .* block2\.layer1\.conv\.weight is unknown here"):
        mx.load(smart(1), path)


def test_a_damaged_file_is_told_and_changes_nothing(path):
    model = smart(1)
    mx.save(shaken(smart(1)), path)
    content, before = path.read_bytes(), weights.export_grouped(model)
    path.write_bytes(content[:-5])
    with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged"):
        mx.load(model, path)
    assert all((before[name] == array).all() for name, array in weights.export_grouped(model).items())


@pytest.mark.parametrize("what", ["a bit", "a bit, without velocities", "the seal"])
def test_a_checkpoint_whose_seal_is_broken_is_refused(path, what):
    model = smart(1)
    save_checkpoint(path, model, mx.SGD(model.parameters(), 0.1), {})
    if what == "a bit, without velocities":
        weights.save(path, arrays := weights.export_grouped(model), sealed(arrays, {}))
        mx.load(model, path)
    if what.startswith("a bit"):
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    else:
        arrays, texts = weights.load_with_metadata(path)
        del texts[CHECKPOINT_KEY]
        weights.save(path, arrays, texts or None)
    with pytest.raises(CheckpointError, match=r"w\.safetensors (is damaged|has a damaged header)"):
        mx.load(model, path)


# ---- some exits of a SmartNet -----------------------------------------------------------------------------


@pytest.mark.parametrize("exits", [1, 2, 3])
def test_a_file_of_some_exits_and_one_of_all_give_them_to_the_last_bit(path, exits):
    whole = shaken(smart(rng=1)).eval()
    answers = whole.answers(pictures())[:, :exits]
    for how in ({"exits": exits}, {}):
        mx.save(whole, path, **how)
        arrays, record = weights.load(path), weights.read_record(path)
        if how:
            assert record == smart(exits).architecture
            assert arrays.keys() == weights.export_grouped(smart(exits)).keys()
        part = smart(exits, rng=2).eval()
        mx.load(part, path)
        np.testing.assert_array_equal(part.answers(pictures()), answers)
    assert whole.exits == ["exit1", "exit2", "exit3"]


def test_a_file_of_fewer_exits_says_what_to_do_and_that_works(path):
    mx.save(shaken(smart(2)), path)
    model = smart(3)
    with pytest.raises(
        ValueError, match=r"has 2 exits, this network has 3: load it into smartnet\(exits=2, \.\.\.\)"
    ):
        mx.load(model, path)
    model.unload(2)
    mx.load(model, path)
    assert_same(model, shaken(smart(2)))
    model.extend()


@pytest.mark.parametrize("exits", [1, 2])
def test_what_is_in_a_file_besides_is_left_out_with_the_exits_alone(path, exits):
    model = smart(2)
    arrays, record = weights.export_grouped(model), weights.record_of(model)
    weights.save(path, {**arrays, "more": np.zeros(2)}, weights.as_metadata(record))
    if exits == 1:
        mx.load(smart(1), path)
        return
    with pytest.raises(ValueError, match="more is unknown here"):
        mx.load(smart(2), path)


@pytest.mark.parametrize("exits", [0, 4, "2", True, 1.0])
def test_exits_that_are_not_there_are_not_saved(path, exits):
    with pytest.raises(ValueError, match=r"smartnet\(3\): there is no exit .*, there are 3"):
        mx.save(smart(), path, exits=exits)
    assert not path.exists()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "smartnet"])
def test_a_network_without_exits_of_its_own_is_saved_whole(path, name):
    with pytest.raises(ValueError, match=r"save: exits=1 is for a SmartNet; .* is saved whole"):
        mx.save(NETWORKS[name](1), path, exits=1)


# ---- networks that were cut -------------------------------------------------------------------------------


def cut(rng=1):
    model = shaken(smart(rng=rng)).eval()
    for block, key, which in (
        ("block1", "layer1", ...),
        ("block2", "layer1", [0]),
        ("block3", "layer2", [1, 2]),
    ):
        model[block].nodes[key].gate.weight.value[which] = 0
    return model.compact()


def test_a_cut_network_is_saved_and_made_again(path):
    model = cut()
    for exits in (None, 3, 2):
        mx.save(model, path, exits=exits)
        made = mx.models.names.rebuilt(weights.read_record(path)).eval()
        mx.load(made, path)
        assert_same(made, model.first(exits or 3))
        np.testing.assert_array_equal(made.answers(pictures()), model.answers(pictures())[:, :exits])
    mx.save(model, path)
    part = model.first(1)
    before = weights.export_grouped(part)
    mx.load(part, path)
    assert all((before[name] == array).all() for name, array in weights.export_grouped(part).items())


@pytest.mark.parametrize("exits", [2, 3])
def test_a_cut_file_says_how_the_network_for_it_is_made_and_that_works(path, exits):
    model = cut()
    mx.save(model, path)
    with pytest.raises(ValueError, match=r"was cut, by compact\(\), and smartnet\(.\) was not") as error:
        mx.load(smart(exits), path)
    hint = re.search(r"reads=(mx\.weights\.read_record\(.*\)\['reads'\])", str(error.value))[1]
    other = smart(exits, reads=eval(hint, {"mx": mx})).eval()
    mx.load(other, path)
    assert_same(other, model.first(exits))


def test_a_whole_file_does_not_go_into_a_cut_network_nor_one_that_was_cut_otherwise(path):
    model, other = cut(), shaken(smart())
    mx.save(other, path)
    with pytest.raises(ValueError, match=r"smartnet\(3\) was cut, by compact\(\), and .* was not: load it"):
        mx.load(model, path)
    mx.save(other.compact(), path)  # nothing to cut: all is read
    with pytest.raises(ValueError, match=r"s was cut, .*, and smartnet\(3\) was not, or in another way"):
        mx.load(model, path)


# ---- records that no network has --------------------------------------------------------------------------


RECORD = {
    "network": "smartnet",
    "preset": "small",
    "num_classes": 3,
    "exits": 2,
    "blocks": "2x20 3x30",
    "reads": None,
}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"exits": 10**9}, r"w\.safetensors does not fit|its record.exits should be|damaged record"),
        ({"exits": "x"}, "exits should be a whole number >= 1.*, not 'x'"),
        ({"exits": True}, "exits should be a whole number >= 1.*, not True"),
        ({"exits": -1}, "exits should be a whole number >= 1.*, not -1"),
        ({"exits": 1.5}, "exits should be a whole number >= 1.*, not 1.5"),
        ({"blocks": 7}, "blocks should be a text, not 7"),
        ({"reads": 5}, "reads should be a text, not 5"),
    ],
)
def test_a_record_of_a_smartnet_that_says_nonsense_is_a_damaged_one(path, more, message):
    weights.save(path, {"a": np.zeros(2)}, weights.as_metadata({**RECORD, **more}))
    for read in (lambda: mx.load(smart(1), path), lambda: runs.read_weights(path)):
        with pytest.raises((CheckpointError, ValueError), match=message):
            read()


@pytest.mark.parametrize("missing", ["exits", "blocks"])
def test_a_record_of_a_smartnet_that_lacks_what_it_is_is_a_damaged_one(path, missing):
    record = {name: value for name, value in RECORD.items() if name != missing}
    weights.save(path, {"a": np.zeros(2)}, weights.as_metadata(record))
    with pytest.raises(CheckpointError, match=f"damaged record of its network .*it has no {missing}"):
        mx.load(smart(1), path)


@pytest.mark.parametrize("blocks", ["4x", "nonsense", "2x20 " * 3 + "x"])
def test_of_more_exits_the_blocks_must_be_blocks(path, blocks):
    weights.save(path, {"a": np.zeros(2)}, weights.as_metadata({**RECORD, "blocks": blocks}))
    with pytest.raises(CheckpointError, match=r"damaged record of its network .*blocks says how many layers"):
        mx.load(smart(1), path)
    weights.save(path, {"a": np.zeros(2)}, weights.as_metadata({**RECORD, "reads": "nonsense"}))
    with pytest.raises(CheckpointError, match=r"damaged record of its network .*reads is a text like"):
        mx.load(smart(1), path)
    record = {name: value for name, value in RECORD.items() if name != "reads"}
    weights.save(path, {"a": np.zeros(2)}, weights.as_metadata(record))
    with pytest.raises(ValueError, match="does not fit"):
        mx.load(smart(1), path)


@pytest.mark.parametrize(
    "more",
    [
        {"blocks": "999999999x99999999 2x2"}, {"blocks": "999999999x1 2x2"}, {"blocks": "1x99999999999 2x2"},
        {"exits": 250, "blocks": "2x1 " * 20_000},
        {"blocks": "999999999x1 2x2", "reads": "exit1: stem; exit2: stem"},
        {"reads": "exit1: stem; exit2: nonsense"}, {"reads": "nonsense"}, {"reads": ""},
    ],
)  # fmt: skip
def test_a_hostile_record_makes_no_network(path, more, tmp_path, capsys):
    arrays = weights.export_grouped(smart(2))
    weights.save(path, arrays, weights.as_metadata({**RECORD, **more}))
    with pytest.raises(ValueError, match=r"blocks|reads"):
        mx.models.names.rebuilt(weights.read_record(path))
    from PIL import Image

    Image.new("RGB", (9, 9)).save(tmp_path / "p.png")
    assert main(["classify", str(tmp_path / "p.png"), "--weights", str(path)]) != 0
    error = capsys.readouterr().err
    assert re.search("blocks .* are too large|reads", error), error
    assert "Traceback" not in error


# ---- what the command line makes of them ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["whole", "two exits", "cut", "extended"])
def test_classify_knows_a_smartnet_by_its_file(path, tmp_path, capsys, kind):
    from PIL import Image

    model = {"cut": cut, "extended": lambda: smart().extend(1, 20).extend(1, 20)}.get(kind, smart)()
    model.classes = ["ape", "bee", "cat"]
    mx.save(model, path, exits=2 if kind == "two exits" else None)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    outs = []
    for more in ([], ["--arch", "smartnet", "--small"]):
        status = main(["classify", str(tmp_path / "p.png"), "--weights", str(path), *more])
        out, err = capsys.readouterr()
        assert status in (0, None), err
        outs.append(out)
    assert outs[0] == outs[1]
    assert all(name in outs[0] for name in model.classes)


def test_classify_says_that_a_network_for_digits_reads_no_photographs(path, tmp_path, capsys):
    from PIL import Image

    mx.save(smart(1, preset="mnist"), path)
    Image.new("RGB", (9, 9)).save(tmp_path / "p.png")
    assert main(["classify", str(tmp_path / "p.png"), "--weights", str(path)]) == 1
    assert (
        "smartnet(1) of these weights wants pictures (1, 8, 8); photographs have 3" in capsys.readouterr().err
    )


def test_the_summary_of_the_small_one_is_a_command(capsys):
    assert main(["summary", "smartnet", "--small"]) in (0, None)
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[4:13]] == [
        "stem", "block1", "exit1", "pool1", "block2", "exit2", "pool2", "block3", "exit3"
    ]  # fmt: skip


def test_the_record_is_under_the_key_of_all_records(path):
    mx.save(smart(2), path)
    texts = weights.load_with_metadata(path)[1]
    assert list(texts) == [KEY]


def test_a_folder_says_which_file_is_wanted(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder: name the file in it, .*model\.safetensors"):
        mx.load(mx.models.lenet5(), tmp_path)


# ---- names that are the same, threads, links ----


@pytest.mark.parametrize(
    ("there", "here"),
    [("caf\u00e9", "cafe\u0301"), ("n00000001 thing", "n00000001"), ("n00000001", "n00000001")],
)
def test_classes_are_the_same_in_any_spelling(tmp_path, there, here):
    model, again = mx.models.lenet5(rng=0), mx.models.lenet5(rng=1)
    model.classes, again.classes = ([f"{i}{i}", *"abcdefgh", name] for i, name in ((1, there), (1, here)))
    mx.save(model, tmp_path / "m.safetensors")
    mx.load(again, tmp_path / "m.safetensors")
    assert mx.weights.load_pretrained(again, tmp_path / "m.safetensors") == []
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert np.array_equal(one.value, other.value)


def test_a_file_that_two_threads_write_is_whole_at_any_moment(tmp_path):
    arrays = [{"a": np.full(3000, i, np.float32)} for i in range(2)]
    path = tmp_path / "m.safetensors"
    weights.save(path, arrays[0])

    def write(mine):
        for _ in range(30):
            weights.save(path, mine)

    def read():
        for _ in range(60):
            found = weights.load(path)["a"]
            assert len(set(found.tolist())) == 1

    with ThreadPoolExecutor(3) as pool:
        for job in [*(pool.submit(write, mine) for mine in arrays), pool.submit(read)]:
            job.result()
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_a_link_stays_a_link_when_a_file_is_copied_over_it(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    weights.copy_whole(tmp_path / "source", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
