"""The files of a trace: .npz, and golden vectors in hexadecimal."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex.tracing.recorder import trace


def lenet():
    model = mx.models.lenet5("modern", rng=3)
    return model, np.random.default_rng(1).standard_normal((2, *model.picture_shape), dtype=np.float32)


def test_an_npz_file_has_every_array_under_its_name(tmp_path):
    model, x = lenet()
    found = trace(model, x, [1, 2])
    path = found.to_npz(tmp_path / "golden")
    assert path == tmp_path / "golden.npz"
    with np.load(path) as read:
        assert list(read) == list(found)
        for name, entry in found.items():
            assert read[name].dtype == entry.dtype
            np.testing.assert_array_equal(read[name], entry.array)


def hex_words(folder, row):
    text = (folder / row["file"]).read_text(encoding="ascii")
    assert re.fullmatch(r"([0-9a-f]+\n)+", text)  # nothing but what $readmemh reads
    return [int(line, 16) for line in text.split()], {len(line) for line in text.split()}


def test_hex_files_read_back_bit_for_bit(tmp_path):
    model, x = lenet()
    found = trace(model, x, [1, 2])
    folder = found.to_hex(tmp_path / "golden")
    index = json.loads((folder / "index.json").read_text(encoding="utf8"))
    assert (index["numbers"], index["order"]) == ("float32", "C")
    assert [row["name"] for row in index["arrays"]] == list(found)
    for row in index["arrays"]:
        words, digits = hex_words(folder, row)
        assert digits == {8}
        array = np.array(words, np.uint32).view(np.float32).reshape(row["shape"])
        assert row["dtype"] == str(found[row["name"]].dtype)
        expected = found[row["name"]].array.astype(np.float32)
        assert array.tobytes() == expected.tobytes()


def test_fixed_point_rounds_halves_to_even_and_saturates(tmp_path):
    values = np.array([[1.5, -1.0, 1 / 512, 3 / 512, -1 / 512, 127.998, 128.0, -128.0, -1e9, np.inf]])
    folder = trace(mx.Flatten(), values).to_hex(tmp_path, fixed=(8, 8), names=["x"])
    index = json.loads((folder / "index.json").read_text(encoding="utf8"))
    assert index["numbers"] == "Q8.8, two's complement"
    [row] = index["arrays"]
    words, digits = hex_words(folder, row)
    assert digits == {4}
    assert words == [0x0180, 0xFF00, 0x0000, 0x0002, 0x0000, 0x7FFF, 0x7FFF, 0x8000, 0x8000, 0x7FFF]
    assert row["saturated"] == 3 + (round(127.998 * 256) > 32767)
    assert not (folder / "y.hex").exists()


@given(st.integers(1, 16), st.integers(0, 16))
def test_fixed_point_of_any_format_is_off_by_half_a_step_at_most(tmp_path, whole, fraction):
    limit = 2.0 ** (whole - 1) - 2.0**-fraction
    values = np.random.default_rng(whole).uniform(-limit, limit, (1, 20))
    folder = trace(mx.Flatten(), values).to_hex(tmp_path, fixed=(whole, fraction), names=["x"])
    words, digits = hex_words(folder, {"file": "x.hex"})
    bits = whole + fraction
    assert digits == {-(-bits // 4)}
    read = np.array([w - (w >> (bits - 1) << bits) for w in words]) / 2.0**fraction
    assert np.abs(read - values[0]).max() <= 2.0 ** -(fraction + 1)


def test_fixed_point_refuses_what_it_cannot_hold(tmp_path):
    found = trace(mx.Flatten(), np.array([[np.nan]]))
    with pytest.raises(ValueError, match=r"x has NaN in it, which fixed=\(8, 8\) cannot hold"):
        found.to_hex(tmp_path, fixed=(8, 8))
    for fixed in ((0, 8), (8, -1), (20, 13)):
        with pytest.raises(ValueError, match="at least 1 bit before the point, and at most 32 bits together"):
            found.to_hex(tmp_path, fixed=fixed)


@pytest.mark.parametrize(
    "name", ["a/b", "..", "", "con", "con:1", "a\\b", "x" * 300, "é", "a\nb", "\udc80", "a b", "%2f"]
)
def test_a_layer_of_any_name_writes_files_inside_of_the_folder(tmp_path, name):
    found = trace(mx.Sequential(**{name: mx.ReLU()}), np.ones((1, 2), np.float32))
    folder = found.to_hex(tmp_path / "golden")
    rows = json.loads((folder / "index.json").read_text(encoding="utf8"))["arrays"]
    assert [row["name"] for row in rows] == ["x", *(f"{name}.{inner}" for inner in ("x", "mask", "y"))]
    for row in rows:
        hex_words(folder, row)
        assert (folder / row["file"]).resolve().parent == folder.resolve()
        assert not row["file"].startswith((".", " "))
        assert row["file"].partition(".")[0] != "con"  # a device, on Windows
        assert not re.search(r'[\x00-\x1f<>:"/\\|?*]', row["file"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["index.json", *(row["file"] for row in rows)]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["golden"]


def test_names_that_differ_only_in_what_a_file_system_cannot_hold_get_files_of_their_own(tmp_path):
    names = ["a/b", "A/b", "a%2fb", "a:b", "e\u0301", "é", "x" * 300, "x" * 299 + "y"]
    found = trace(mx.Sequential(**{name: mx.Flatten() for name in names}), np.ones((1, 2), np.float32))
    rows = json.loads((found.to_hex(tmp_path) / "index.json").read_text(encoding="utf8"))["arrays"]
    files = [row["file"] for row in rows]
    assert len(set(map(str.casefold, files))) == len(files) == len(found)
    assert all(len(file.encode()) <= 255 for file in files)
    assert [row["name"] for row in rows] == list(found)


def test_the_files_of_ordinary_names_are_called_like_them(tmp_path):
    model = mx.Sequential(fc1=mx.Linear(2, 2), towers=mx.Broadcast(), b=mx.Exchange())
    found = trace(model, np.ones((1, 2), np.float32))
    found.to_hex(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"index.json", *(f"{name}.hex" for name in found)}


def test_an_array_called_file_is_written_like_any_other(tmp_path):
    class Odd(mx.Layer):
        def forward(self, x):
            file = 2 * x
            return file + 1

    path = trace(Odd(), np.ones((1, 2), np.float32)).to_npz(tmp_path / "odd.npz")
    with np.load(path) as read:
        assert read["file"].tolist() == [[2, 2]]


def test_complex_numbers_are_refused_by_name(tmp_path):
    class Wave(mx.Layer):
        def forward(self, x):
            turned = np.exp(1j * x)
            return turned.real

    found = trace(Wave(), np.zeros((1, 2)))
    assert found["turned"].dtype == np.complex128
    with pytest.raises(ValueError, match="turned has complex numbers"):
        found.to_hex(tmp_path)
    found.to_html(tmp_path / "page.html")


@pytest.mark.parametrize("wrong", [{"names": ["typo"]}, {"fixed": 16}, {"fixed": (8.0, 8)}, {"fixed": (8,)}])
def test_golden_vectors_that_are_there_stay_where_others_cannot_be_made(tmp_path, wrong):
    found = trace(mx.Flatten(), np.ones((1, 2)))
    found.to_hex(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises((ValueError, KeyError), match=r"typo|fixed"):
        found.to_hex(tmp_path, **wrong)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
