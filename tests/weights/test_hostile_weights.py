"""Weight files that were made to do harm: little work, little memory, and a message with the limit that they exceed."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hostile import problems, written

from minialex import weights
from minialex.errors import CheckpointError
from minialex.weights import files
from minialex.weights.opcodes import look_through
from minialex.weights.unpickle import TORCH_STREAM, read_array, read_npy, read_torch

MANY = 300_000
GIANT = 2**28


def npy_around(pickled):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    return file.getvalue() + pickled


def zip_around(pickled):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
    return file.getvalue()


def stream_around(pickled):
    rest = b"".join(pickle.dumps(part, 2) for part in (1001, {"little_endian": True}))
    return TORCH_STREAM + rest + pickled + pickle.dumps([], 2)


AROUND = {
    "npy": (".npy", npy_around, "read_npy"),
    "zip": (".pth", zip_around, "read_torch"),
    "stream": (".pth", stream_around, "read_torch"),
}

# ---- pickles ------------------------------------------------------------------------------------------


def shared(kind, levels=30):
    """A container that holds the one before twice, so many times: 2^30 of them, for who goes to all."""
    pickled = {"dict": b"}", "list": b"]", "tuple": b")"}[kind] + b"q\x00"
    for i in range(levels):
        before = b"h" + bytes([i])
        pickled += {
            "dict": b"}(X\1\0\0\0a" + before + b"X\1\0\0\0b" + before + b"u",
            "list": b"](" + before + before + b"e",
            "tuple": before + before + b"\x86",
        }[kind]
        pickled += b"q" + bytes([i + 1])
    return pickled


def text_of(letters):
    return b"X" + struct.pack("<I", len(letters)) + letters


CALL = b"cnumpy\nndarray\n"


def shared_calls(levels=30):
    """A call of which both arguments are the call before."""
    pickled = CALL + b"q\x00)R" + b"q\1"
    return pickled + b"".join(
        b"h\0h" + bytes([i]) + b"h" + bytes([i]) + b"\x86Rq" + bytes([i + 1]) for i in range(1, levels)
    )


ENCODE = b"c_codecs\nencode\n"
HEAVY = text_of(b"a" * (20 << 20)) + b"q\1" + text_of(b"latin1") + b"q\2"  # 20 MiB

PICKLES = {
    "lists in each other": (b"]" * MANY + b"a" * (MANY - 1), "more than 200,000 operations"),
    "fewer lists in each other": (b"]" * 50_000 + b"a" * 49_999, ""),
    "tuples in each other": (b")" + b"\x85" * MANY, "more than 200,000 operations"),
    "dicts in each other": (b"}K\0" * MANY + b"N" + b"s" * MANY, "more than 200,000 operations"),
    "calls in each other": (CALL * 50_000 + b")R" + b"\x85R" * 49_999, ""),
    "states in each other": ((CALL + b")R") * 50_000 + b"b" * 49_999, ""),
    "a key of tuples in each other": (b"})" + b"\x85" * MANY + b"Ns", "more than 200,000 operations"),
    "a key of fewer tuples": (b"})" + b"\x85" * 150_000 + b"Ns", "has a container as a name"),
    "such a key, in a state": (b"})" + b"\x85" * 150_000 + b"NbNs", "has a container as a name"),
    "such a key, remembered": (b")" + b"\x85" * 150_000 + b"q\0}h\0Ns", "has a container as a name"),
    "such a key, at once": (b"()" + b"\x85" * 150_000 + b"Nd", "has a container as a name"),
    "such a key, of an ordered dict": (
        b"ccollections\nOrderedDict\n](])" + b"\x85" * 150_000 + b"aNae\x85R", "something else than texts as names",
    ),
    "such a key, of a storage": (
        b"(" + text_of(b"storage") + b"ctorch\nFloatStorage\n)" + b"\x85" * 150_000 + b"NNtQ", "",
    ),
    "such a kind of storage": (b"(" + text_of(b"storage") + b")" + b"\x85" * 150_000 + text_of(b"0") + b"NNtQ", ""),
    "a set of such": (b"\x8f()" + b"\x85" * 150_000 + b"\x90", "has a container as a name"),
    "a key that holds itself twice": (b"}" + shared("tuple") + b"Ns", "has a container as a name"),
    "shared dicts": (shared("dict"), ""),
    "shared lists": (shared("list"), ""),
    "shared tuples": (shared("tuple"), ""),
    "a list in itself": (b"]q\0h\0a", ""),
    "a shape of shared tuples": (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + text_of(b"storage") + b"ctorch\nFloatStorage\n" + text_of(b"0")
        + b"NK\1tQK\0" + shared("tuple") + b")\x89NtR", "",
    ),
    "a shape of long texts": (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + text_of(b"storage") + b"ctorch\nFloatStorage\n" + text_of(b"0")
        + b"NK\1tQK\0(" + text_of(b"a") + b"\x8a\5\0\0\0\0\1t)\x89NtR", "",
    ),
    "a shape of shared calls": (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + text_of(b"storage") + b"ctorch\nFloatStorage\n" + text_of(b"0")
        + b"NK\1tQK\0(" + shared_calls() + b"t)\x89NtR", "",
    ),
    "a shape of shared ordered dicts": (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + text_of(b"storage") + b"ctorch\nFloatStorage\n" + text_of(b"0")
        + b"NK\1tQK\0(ccollections\nOrderedDict\n)R" + text_of(b"a") + shared("dict") + b"st)\x89NtR", "",
    ),
    "a count of shared calls": (
        b"(" + text_of(b"storage") + b"ctorch\nFloatStorage\n" + text_of(b"0") + b"N" + shared_calls() + b"tQ", "",
    ),
    "a high memory cell": (b"]r" + struct.pack("<I", 2**27), "memory cell 134,217,728; the most is 200,000"),
    "a high memory cell, in letters": (b"]p134217728\n", "memory cell 134,217,728; the most is 200,000"),
    "bytes that are not there": (b"\x8e" + struct.pack("<Q", 2**40), "1,099,511,627,776 bytes, where "),
    "a text that is not there": (b"X" + struct.pack("<I", 2**31), "2,147,483,648 bytes, where "),
    "a number that is not there": (b"\x8b" + struct.pack("<i", 2**31 - 1), "2,147,483,647 bytes, where "),
    "a frame that is not there": (b"\x95" + struct.pack("<Q", 2**40) + b"N", "1,099,511,627,776 bytes, where "),
    "a long number": (b"\x8b" + struct.pack("<i", 10**6) + bytes(10**6), "a number of 1,000,000 bytes"),
    "a number in letters": (b"L" + b"9" * 10**7 + b"L\n", "a line of more than 200 characters"),
    "numbers that collide as keys": (b"}(" + b"\x8a\x0a" + bytes(9) + b"\1Nu", "has a number as a name"),
    "a text that becomes many": (ENCODE + b"q\0" + HEAVY + b"](" + b"h\0h\1h\2\x86R" * 100 + b"e", ""),
    "a slow way to spell": (
        ENCODE + text_of("".join(map(chr, range(0x4E00, 0x9000))).encode() * 4) + text_of(b"punycode") + b"\x86R", "",
    ),
    "millions of lists": (b"]" + b"]a" * 3_000_000, "more than 200,000 operations"),
    "a stack in another order": (b"]NNu", "with values that are not there"),
    "what lies outside of the file": (b"\x82\1", "does EXT1"),
}  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
def test_hostile_pickles_are_refused_with_little_work(tmp_path, around):
    suffix, wrap, reader = AROUND[around]
    files = {
        kind: (wrap(b"\x80\4" + pickled + b"."), message) for kind, (pickled, message) in PICKLES.items()
    }
    assert problems("minialex.weights.unpickle", reader, written(tmp_path, files, suffix)) == {}


def test_what_arrays_hold_in_many_places_is_unfolded_once(tmp_path):
    array = np.arange(3.0)
    content = {"a": array}
    for _ in range(5):
        content = {"a": content, "b": content, "c": [array]}
    around = np.empty((), dtype=object)
    around[()] = content
    np.save(tmp_path / "net.npy", around, allow_pickle=True)
    found = read_npy(tmp_path / "net.npy")
    assert found["a"] is found["b"]
    np.testing.assert_array_equal(found["a"]["b"]["a"]["b"]["a"]["a"], array)


@pytest.mark.parametrize("protocol", range(6))
def test_looking_through_an_honest_pickle_finds_nothing_and_moves_nothing(protocol):
    content = [
        {"a": (1, -(2**70), 2.5, None, True, "text", b"bytes")},
        {1, 2},
        frozenset("ab"),
        [[], ()],
        "x" * 70_000,
    ]
    content.append(content[0])
    file = io.BytesIO(b"before" + pickle.dumps(content, protocol))
    file.seek(6)
    look_through(file)
    assert file.tell() == 6


# ---- zip files ----------------------------------------------------------------------------------------


def tensors(count):
    def body(value):
        return pickle.dumps(value, 2)[2:-1]

    storage = (
        b"(" + body("storage") + b"ctorch\nFloatStorage\n" + body("0") + body("cpu") + body(count) + b"tQ"
    )
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + body(0) + body((count,)) + body((1,)) + b"\x89NtR"
    )
    return b"\x80\x02}" + body("w") + tensor + b"s."


def bomb(part, size=GIANT, how=zipfile.ZIP_DEFLATED, says=None, count=None):
    """A zip file one part of which unpacks to a quarter of a gigabyte; says: what it says instead."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        if part != "data.pkl":
            archive.writestr("net/data.pkl", tensors(count or size // 4), zipfile.ZIP_STORED)
        with archive.open(f"net/{part}", "w") as packed:
            for _ in range(size >> 24):
                packed.write(bytes(1 << 24))
    return file.getvalue().replace(struct.pack("<I", size), struct.pack("<I", size if says is None else says))


def many_parts(count):
    """A list of a million parts, which are all the same."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"")
    content = file.getvalue()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    part = content[start:end]
    listed = struct.pack("<HHIIH", count & 0xFFFF, count & 0xFFFF, len(part) * count, start, 0)
    return content[:start] + part * count + content[end : end + 8] + listed


def overlapping(parts=40, size=16 << 20):
    """Forty storages of 16 MB in the same 16 MB."""

    def body(value):
        return pickle.dumps(value, 2)[2:-1]

    pickled = b"\x80\x02}"
    for i in range(parts):
        storage = (
            b"("
            + body("storage")
            + b"ctorch\nByteStorage\n"
            + body(str(i))
            + body("cpu")
            + body(size)
            + b"tQ"
        )
        tensor = (
            b"ctorch._utils\n_rebuild_tensor_v2\n("
            + storage
            + body(0)
            + body((size,))
            + body((1,))
            + b"\x89NtR"
        )
        pickled += body(f"w{i}") + tensor + b"s"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickled + b".")
        archive.writestr("net/data/0", bytes(size))
        first = archive.getinfo("net/data/0")
        for i in range(1, parts):
            archive.filelist.append(other := zipfile.ZipInfo(f"net/data/{i}"))
            other.header_offset, other.CRC = first.header_offset, first.CRC
            other.compress_size = other.file_size = size
    return file.getvalue()


ZIPS = {
    "numbers that unpack to far more": (lambda: bomb("data/0"), "unpack to far more than the "),
    "more than is said": (lambda: bomb("data/0", says=24, count=6), "CRC"),
    "packed by bzip2": (lambda: bomb("data/0", GIANT >> 4, how=zipfile.ZIP_BZIP2, says=24, count=6), "packed in a way"),
    "packed by LZMA": (lambda: bomb("data/0", GIANT >> 4, how=zipfile.ZIP_LZMA, says=24, count=6), "packed in a way"),
    "a giant pickle": (lambda: bomb("data.pkl"), "its pickle has more than 33,554,432 bytes"),
    "another size than the pickle says": (lambda: bomb("data/0", 2**24, count=6), "should have 24 bytes"),
    "a million parts": (lambda: many_parts(1_000_000), "list of parts has more than 4,194,304 bytes"),
    "parts over each other": (overlapping, ""),
}  # fmt: skip


def test_zip_files_that_unpack_to_far_more_are_refused(tmp_path):
    assert problems("minialex.weights.unpickle", "read_torch", written(tmp_path, ZIPS, ".pth")) == {}


def test_a_packed_file_of_ordinary_size_is_read(tmp_path):
    (tmp_path / "net.pth").write_bytes(bomb("data/0", 2**24))
    assert read_torch(tmp_path / "net.pth")["w"].shape == (2**22,)


# ---- safetensors and .npy -----------------------------------------------------------------------------


def safetensors(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def one(kind, shape, size, name="w"):
    return safetensors({name: {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}, bytes(size))


ENTRY = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
SAFETENSORS = {
    "a header of 90 MB": (
        lambda: safetensors(b"{" + b",".join(ENTRY % i for i in range(1_500_000)) + b"}"), "the most is 16,777,216",
    ),
    "a header of 16 MB, all lists": (lambda: safetensors(b"[" + b"[]," * 5_000_000 + b"[]]"), "the most is 1,000,000"),
    "a header beyond the end": (lambda: safetensors(b"{}", length=2**20), "should have a header of 1,048,576"),
    "no header at all": (lambda: safetensors(b"{}", length=2**62), "does not begin with a header"),
    "a deep header": (lambda: safetensors(b"[" * 10**6), "the most is"),
    "a header deep enough": (lambda: safetensors(b"[" * 40 + b"]" * 40), "nested too deep"),
    "no dict": (lambda: safetensors(b"[]"), "its header is no dict"),
    "nothing but more than there can be": (lambda: one("F32", [0, 2**62, 7], 0), "damaged"),
    "a name twice": (
        lambda: safetensors(b"{" + ENTRY % 1 + b"," + ENTRY % 1 + b"}"), "it has a name twice",
    ),
}  # fmt: skip


def test_hostile_safetensors_files_are_refused(tmp_path):
    assert problems("minialex.weights", "load", written(tmp_path, SAFETENSORS, ".safetensors")) == {}


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("F8_E4M3", 8),
        ("F8_E5M2", 8),
        ("F8_E8M0", 8),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("C64", 64),
        ("X9", 8),
        ("", 8),
    ],
)
def test_numbers_of_an_unknown_kind_are_refused_by_name(tmp_path, kind, size):
    (tmp_path / "w.safetensors").write_bytes(one(kind, [8], size))
    with pytest.raises(CheckpointError, match=rf"w\.safetensors .*numbers of the kind {kind};"):
        weights.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("kind", files.NUMBERS)
def test_numbers_of_all_other_kinds_are_read_as_the_library_reads_them(tmp_path, kind):
    from safetensors.numpy import load_file

    size = 6 * np.dtype(files.NUMBERS[kind]).itemsize
    content = bytes([1, 0, 63, 64] * 12)[:size] if kind != "BOOL" else bytes([1, 0, 1, 1, 0, 0])
    (tmp_path / "w.safetensors").write_bytes(
        safetensors({"w": {"dtype": kind, "shape": [2, 3], "data_offsets": [0, size]}}, content)
    )
    found = weights.load(tmp_path / "w.safetensors")["w"]
    if kind == "BF16":
        wanted = (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(2, 3)
    else:
        wanted = load_file(tmp_path / "w.safetensors")["w"]
    np.testing.assert_array_equal(found, wanted, strict=True)
    found[0, 0] = 1  # it can be written to


def test_a_file_that_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(
        ValueError, match=r"its header would have 17,\d\d\d,\d\d\d bytes; the most is 16,777,216"
    ):
        weights.save(tmp_path / "w.safetensors", {"a": np.zeros(1)}, metadata={"long": "a" * 17_000_000})
    assert not list(tmp_path.iterdir())


def numbers(shape, descr="<f4", data=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


NPY = {
    "more numbers than memory": (numbers((3, 10**7, 10**7)), "do not take 0 bytes"),
    "a gigabyte that is not there": (numbers((3, 10**4, 10**4)), "do not take 0 bytes"),
    "nothing": (b"", "damaged"),
    "texts": (numbers((3,), "<U2", bytes(24)), "not of numbers"),
    "a header of minuses": (b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"-" * 8999 + b"1", "damaged"),
    "a long header": (b"\x93NUMPY\2\0" + struct.pack("<I", 2**31) + b"1", "damaged"),
    "a pickle": (npy_around(b"]."), "not of numbers"),
    "a zip file": (zip_around(b"]."), "damaged"),
}


def test_hostile_npy_files_are_refused(tmp_path):
    assert problems("minialex.weights.unpickle", "read_array", written(tmp_path, NPY, ".npy")) == {}


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((3, 2), "f4")), np.array(7)]
)
def test_an_array_of_numbers_is_read(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), array, strict=True)
