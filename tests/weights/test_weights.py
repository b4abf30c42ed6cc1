"""Parameters in and out: by name, whole, on any device; and files that are whole or not there."""

import errno
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

import minialex as mx
from minialex import weights
from minialex.errors import CheckpointError
from minialex.weights import files

# ---- in and out of a model ----------------------------------------------------------------------------


def small_model(rng=0, classes=3):
    return mx.Sequential(
        conv=mx.Conv2D(1, 2, 3, rng=rng), relu=mx.ReLU(), flat=mx.Flatten(), fc=mx.Linear(8, classes, rng=rng)
    )


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


def test_export_gives_names_shapes_and_numpy_arrays_on_every_device(device):
    exported = weights.export_grouped(small_model().to(device))
    assert {name: array.shape for name, array in exported.items()} == {
        "conv.weight": (2, 1, 3, 3),
        "conv.bias": (2,),
        "fc.weight": (3, 8),
        "fc.bias": (3,),
    }
    assert all(type(array) is np.ndarray for array in exported.values())
    assert_same(exported, weights.export_grouped(small_model()))


def test_exported_arrays_are_copies(device):
    model = small_model().to(device)
    before = weights.export_grouped(model)
    weights.export_grouped(model)["fc.weight"][:] = 7
    assert_same(weights.export_grouped(model), before)


def test_import_puts_back_what_export_gave(device):
    model = small_model(rng=1).to(device)
    weights.import_grouped(model, weights.export_grouped(small_model(rng=2)))
    assert_same(weights.export_grouped(model), weights.export_grouped(small_model(rng=2)))
    assert all(mx.device_of(p.value) is device for p in model.parameters())


def test_import_keeps_the_arrays_the_optimizer_knows(device):
    model = small_model().to(device)
    before = [p.value for p in model.parameters()]
    weights.import_grouped(model, weights.export_grouped(small_model(rng=2)))
    assert all(p.value is array for p, array in zip(model.parameters(), before, strict=True))


def test_import_keeps_the_models_dtype_and_copies():
    model = small_model().astype("float64")
    arrays = weights.export_grouped(small_model(rng=2))
    weights.import_grouped(model, arrays)
    assert {array.dtype for array in weights.export_grouped(model).values()} == {np.dtype("float64")}
    arrays["fc.bias"][:] = 9
    assert not (model["fc"].bias.value == 9).any()


def test_import_takes_views_in_any_memory_order():
    model = small_model()
    arrays = weights.export_grouped(small_model(rng=2))
    arrays["fc.weight"] = np.asfortranarray(arrays["fc.weight"])
    arrays["conv.weight"] = np.repeat(arrays["conv.weight"], 2, axis=3)[..., ::2]
    weights.import_grouped(model, arrays)
    assert_same(weights.export_grouped(model), weights.export_grouped(small_model(rng=2)))


def test_gradients_come_under_the_same_names(device, rng):
    model = small_model().to(device)
    x = device.asarray(rng.standard_normal((2, 1, 4, 4), dtype=np.float32))
    model.backward(device.asarray(rng.standard_normal(model.forward(x).shape, dtype=np.float32)))
    grads = weights.export_grouped(model, grads=True)
    assert set(grads) == set(weights.export_grouped(model))
    np.testing.assert_array_equal(grads["conv.weight"], mx.to_numpy(model["conv"].weight.grad))


def test_gradients_before_backward_name_what_is_missing():
    with pytest.raises(ValueError, match=r"conv\.weight has no gradient yet: call backward"):
        weights.export_grouped(small_model(), grads=True)


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: without(arrays, "fc.bias"), r"fc\.bias is missing"),
        (lambda arrays: {**arrays, "fc9.bias": arrays["fc.bias"]}, r"fc9\.bias is unknown here"),
        (
            lambda arrays: {**arrays, "fc.bias": np.zeros(4)},
            r"fc\.bias has shape \(4,\), the model \(3,\)",
        ),
        (lambda arrays: {}, r"fc\.bias is missing"),
        (lambda arrays: {**arrays, **{f"x{i}": np.zeros(1) for i in range(7)}}, "and 3 more"),
    ],
)
def test_arrays_of_another_model_change_nothing_and_say_why(change, message):
    model = small_model(rng=1)
    before = weights.export_grouped(model)
    with pytest.raises(ValueError, match=message):
        weights.import_grouped(model, change(weights.export_grouped(small_model(rng=2))))
    assert_same(weights.export_grouped(model), before)


# ---- files --------------------------------------------------------------------------------------------

ARRAYS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
        lambda name: name != "__metadata__"
    ),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    max_size=4,
)


@given(arrays=ARRAYS)
def test_a_file_gives_back_what_was_saved(tmp_path_factory, arrays):
    path = tmp_path_factory.getbasetemp() / "arrays.safetensors"
    weights.save(path, arrays)
    assert_same(weights.load(path), arrays)


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array.T,
        lambda array: array[::-1, ::2],
        np.asfortranarray,
        lambda array: np.broadcast_to(array[0], (3, 6)),
    ],
    ids=["transposed", "strided", "column-major", "broadcast"],
)
def test_views_are_saved_as_they_look(tmp_path, view):
    array = view(np.arange(24.0).reshape(4, 6))
    weights.save(tmp_path / "view.safetensors", {"a": array})
    assert_same(weights.load(tmp_path / "view.safetensors"), {"a": array})


def test_equal_contents_give_equal_bytes(tmp_path):
    arrays = weights.export_grouped(small_model())
    weights.save(tmp_path / "a", arrays)
    weights.save(tmp_path / "b", dict(reversed(arrays.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_weight_file_has_no_metadata_and_the_library_reads_it(tmp_path):
    weights.save(tmp_path / "model.safetensors", weights.export_grouped(small_model()))
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        assert file.metadata() is None
        assert set(file.keys()) == set(weights.export_grouped(small_model()))


def test_loaded_arrays_can_be_written_to(tmp_path):
    weights.save(tmp_path / "a", {"a": np.zeros(3)})
    arrays = weights.load(tmp_path / "a")
    arrays["a"] += 1
    assert_same(weights.load(tmp_path / "a"), {"a": np.zeros(3)})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing\.safetensors"):
        weights.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\xff" * 40,
        struct.pack("<Q", 2) + b"{}" + b"left over",
        struct.pack("<Q", 10**12) + b"{}",
        struct.pack("<Q", 8) + b"[1, 2,  ",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
    ],
)
def test_what_is_no_safetensors_file_is_named(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors is damaged or no safetensors file"):
        weights.load(path)


def test_a_weight_file_cut_anywhere_is_called_damaged(tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save(path, weights.export_grouped(small_model()))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
            weights.load(path)


# ---- writing: whole or not at all ---------------------------------------------------------------------


def fail_with(error):
    def fail(*args, **kwargs):
        raise OSError(error, os.strerror(error))

    return fail


class FullDisk:
    """A file on a disk that is full after a few bytes."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        self.file.write(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_disk_at_write(monkeypatch):
    def open_on_a_full_disk(*args):
        return FullDisk(open(*args))

    monkeypatch.setattr(files, "open", open_on_a_full_disk, raising=False)


def fill_disk_at_fsync(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", fail_with(errno.ENOSPC))


def refuse_the_rename(monkeypatch):
    monkeypatch.setattr(files.os, "replace", fail_with(errno.EACCES))


@pytest.mark.parametrize("break_it", [fill_disk_at_write, fill_disk_at_fsync, refuse_the_rename])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, break_it):
    path = tmp_path / "file"
    weights.write_whole(path, b"old")
    break_it(monkeypatch)
    with pytest.raises(OSError, match=r"file could not be written: (No space left|Permission denied)"):
        weights.write_whole(path, b"new" * 1000)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda file: (fsync(file), done.append("fsync")))
    monkeypatch.setattr(files.os, "replace", lambda *paths: (replace(*paths), done.append("rename")))
    weights.write_whole(tmp_path / "file", b"content")
    assert done == ["fsync", "rename"]


def test_a_write_interrupted_by_ctrl_c_leaves_the_old_file(tmp_path, monkeypatch):
    def interrupt(file):
        raise KeyboardInterrupt

    weights.write_whole(tmp_path / "file", b"old")
    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        weights.write_whole(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"nowhere.file could not be written: there is no folder .*nowhere; make it first$",
    ):
        weights.write_whole(tmp_path / "nowhere" / "file", b"")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_copy_keeps_what_was_there_when_the_file_is_written_anew(tmp_path, monkeypatch, links, there):
    def cannot(*paths):
        raise OSError(1, "this disk has no links")

    if not links:
        monkeypatch.setattr(files.os, "link", cannot)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"old")
    if there:
        other.write_bytes(b"older")
    for _ in range(2):  # the second time it is the same already
        files.copy_whole(one, other)
        assert other.read_bytes() == b"old"
    files.write_whole(one, b"new")
    assert (one.read_bytes(), other.read_bytes()) == (b"new", b"old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_a_copy_of_a_link_is_of_what_it_leads_to(tmp_path):
    (tmp_path / "one").write_bytes(b"old")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "one")
    except OSError:
        pytest.skip("no links here")
    files.copy_whole(tmp_path / "link", tmp_path / "other")
    files.write_whole(tmp_path / "one", b"new")
    assert (tmp_path / "other").read_bytes() == b"old"
