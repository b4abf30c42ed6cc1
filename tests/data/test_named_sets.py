"""Sets by name: found by their sums, fetched from a server on this machine, turned and counted as they should be."""

import dataclasses
import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from running import LONG
from small_sets import in_place_of_the_real_ones, md5, packed, write
from test_mnist import Mirror, idx_bytes, names_in, not_there, send

from minialex.data import class_names, known_sets, load, mnist, named, read_idx
from minialex.data.known_sets import SETS
from minialex.errors import DataError, DownloadFailed

ALL = list(SETS)


@pytest.fixture
def sets(tmp_path, monkeypatch):
    return in_place_of_the_real_ones(monkeypatch, tmp_path)


def assert_is(loaded, name, files):
    """As the set's own description says, read by hand."""
    known, contents = SETS[name], list(files.values())
    for (x, y), pictures, labels, count in zip(loaded, contents[::2], contents[1::2], (6, 4), strict=True):
        raw = np.frombuffer(pictures[16:], np.uint8).reshape(count, 28, 28)
        wanted = np.stack([picture.T for picture in raw]) if name == "emnist-letters" else raw
        np.testing.assert_array_equal(x, wanted[:, None], strict=True)
        kind, skip, step = (">i4", 12, 8) if name == "qmnist" else ("u1", 8, 1)
        classes = np.frombuffer(labels[skip:], kind)[::step] - (name == "emnist-letters")
        np.testing.assert_array_equal(y, classes.astype(np.uint8), strict=True)
        assert y.max() < len(known.classes)
        assert x.flags.c_contiguous
        x[0] = y[0] = 1  # raises when they are views of bytes


# ---- local files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_set_is_read_from_each_place_where_it_may_lie(sets, tmp_path, monkeypatch, name):
    for number, place in enumerate(["", *SETS[name].folders]):
        root = tmp_path / str(number)
        write(sets[name], root / place)
        assert_is(load(name, root, download=False), name, sets[name])
    monkeypatch.setenv("MINIALEX_DATA", str(root))
    assert_is(load(name, download=False), name, sets[name])


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_where_the_sum_of_the_bytes_is_known_unpacked_files_are_as_good(sets, tmp_path, name):
    root = write(sets[name], tmp_path, pack=bytes, end="")
    assert_is(load(name, root, download=False), name, sets[name])


@pytest.mark.parametrize("name", ["kmnist", "emnist-letters", "qmnist"])
@pytest.mark.parametrize("pack", [bytes, lambda content: gzip.compress(content, 1, mtime=0)])
def test_where_it_is_not_they_are_read_with_a_warning(sets, tmp_path, name, pack):
    root = write(sets[name], tmp_path, pack, end="")
    with pytest.warns(UserWarning, match=r"fits .* packed original is published: it is read unchecked"):
        assert_is(load(name, root, download=False), name, sets[name])


def test_a_packed_file_goes_before_the_same_unpacked(sets, tmp_path):
    """As torchvision leaves them; then nothing is unchecked, and a warning would be an error here."""
    write(sets["kmnist"], tmp_path / "KMNIST" / "raw", bytes, end="")
    write(sets["kmnist"], tmp_path / "KMNIST" / "raw")
    assert_is(load("kmnist", tmp_path, download=False), "kmnist", sets["kmnist"])


def test_letters_are_upright_and_counted_from_zero(sets, tmp_path):
    """The first column of a file's picture is the top row of the letter; label 1 is "a"."""
    (train_x, train_y), _ = load("emnist-letters", write(sets["emnist-letters"], tmp_path), download=False)
    pictures, labels = list(sets["emnist-letters"].values())[:2]
    first = np.frombuffer(pictures[16 : 16 + 784], np.uint8).reshape(28, 28)
    assert list(train_x[0, 0, 0]) == list(first[:, 0]) != list(first[0])
    assert class_names("emnist-letters")[train_y[0]] == chr(ord("a") + labels[8] - 1)


# ---- whose files are they? ----------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["fashion-mnist", "kmnist"])
def test_load_mnist_says_whose_files_it_was_given(sets, tmp_path, other):
    write(sets[other], tmp_path)
    told = rf"train-images-idx3-ubyte\.gz is not MNIST's but {SETS[other].title}'s, by its MD5\. Load it with mx\.data"
    with pytest.raises(
        DataError, match=told + rf'\.load\("{other}", ".*"\), or .*--dataset {other} --data-dir .*\.$'
    ):
        mnist.load_mnist(tmp_path, download=False)


@pytest.mark.parametrize(
    ("asked", "there"), [("fashion-mnist", "mnist"), ("kmnist", "mnist"), ("kmnist", "fashion-mnist")]
)
def test_files_of_another_set_are_passed_over_and_named(sets, tmp_path, asked, there):
    write(sets[there], tmp_path, bytes if there != "kmnist" else packed, end="")
    with pytest.raises(FileNotFoundError) as told:
        load(asked, tmp_path, download=False)
    assert f"{SETS[asked].title} is incomplete. Missing: train-images-idx3-ubyte, " in str(told.value)
    assert str(told.value).count("Load it with") == 1
    assert f"{tmp_path / 'train-images-idx3-ubyte'}, train-labels" in str(told.value)
    assert f' are {SETS[there].title}\'s. Load it with mx.data.load("{there}", "{tmp_path}")' in str(
        told.value
    )
    assert f"--dataset {there} --data-dir {tmp_path}." in str(told.value)
    assert "MINIALEX_DATA" in str(told.value)
    write(sets[asked], tmp_path / asked)
    assert_is(load(asked, tmp_path, download=False), asked, sets[asked])


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_a_folder_that_is_not_there_is_named_and_not_made(monkeypatch, tmp_path, name):
    monkeypatch.setattr(
        mnist, "_fetch_from_any", lambda *_: (_ for _ in ()).throw(DownloadFailed("no mirror"))
    )
    nowhere = tmp_path / "mistyped" / "folder"
    with pytest.raises(FileNotFoundError, match=f"^There is no folder {nowhere}: is it spelt right"):
        load(name, nowhere, download=False)
    with pytest.raises(DownloadFailed, match=f"^There is no folder {nowhere}: is it spelt right"):
        load(name, nowhere)
    assert not (tmp_path / "mistyped").exists()


def test_one_folder_may_hold_all_sets(sets, tmp_path):
    for name, files in sets.items():
        write(files, tmp_path / SETS[name].folders[0])
    for name, files in sets.items():
        assert_is(load(name, tmp_path, download=False), name, files)


def test_published_sums_are_whole_and_nobody_elses():
    sums = [
        s
        for known in SETS.values()
        for of_file in known.files.values()
        for s in (of_file.packed, of_file.plain)
        if s
    ]
    assert all(len(s) == 32 and int(s, 16) for s in sums)
    assert len(set(sums)) == len(sums) == 28
    assert known_sets.whose("0" * 32) is None


def test_an_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(
        ValueError,
        match=r"no set called 'fashion_mnits' \(did you mean fashion-mnist\?\): the names are mnist, ",
    ):
        load("fashion_mnits")
    with pytest.raises(ValueError, match=r"no set called 'zebra': the names are"):
        class_names("zebra")


# ---- damaged files ------------------------------------------------------------------------------------


def test_a_wrong_bit_is_noticed_where_the_sum_of_the_bytes_is_known(sets, tmp_path):
    root = write(sets["fashion-mnist"], tmp_path, bytes, end="")
    file = root / "t10k-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"t10k.* is not Fashion-MNIST's: the MD5 .* is {md5(content)}, expected .*Delete"
    ):
        load("fashion-mnist", root, download=False)


HARM = {
    "cut short": (lambda content: content[:-1], r"should hold .* but holds"),
    "no IDX": (lambda content: b"<html>", "is not an IDX file"),
    "half a gzip file": (lambda content: packed(content)[:-9], "is a damaged gzip file"),
    "fewer pictures": (
        lambda content: idx_bytes(np.ones((3, 28, 28), np.uint8)), r"shape \(3, 28, 28\), expected \(6, 28, 28\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", ["kmnist", "emnist-letters", "qmnist"])
def test_a_damaged_file_is_described(sets, tmp_path, name, harm):
    root = write(sets[name], tmp_path)
    file = next(iter(sets[name]))
    change, message = HARM[harm]
    (root / f"{file}.gz").write_bytes(change(sets[name][file]))
    with pytest.raises(DataError, match=rf"{file}\.gz {'.*' if harm == 'fewer pictures' else ''}.*{message}"):
        load(name, root, download=False)


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [("kmnist", 10, "from 1 to 10, expected 0 to 9"), ("emnist-letters", 0, "from 0 to 5, expected 1 to 26")],
)
def test_labels_that_the_set_does_not_have_are_refused(sets, tmp_path, name, wrong, told):
    file = list(sets[name])[1]
    labels = np.array([1, 2, 3, 4, 5, wrong], np.uint8)
    root = write({**sets[name], file: idx_bytes(labels)}, tmp_path)
    with pytest.raises(DataError, match=f"{file}.gz is not .*labels {told}"):
        load(name, root, download=False)


def test_a_file_under_the_name_of_another_of_its_set_is_refused(sets, tmp_path):
    files = dict(sets["kmnist"])
    files["t10k-labels-idx1-ubyte"] = files["train-labels-idx1-ubyte"]
    with pytest.raises(
        DataError, match=r"t10k-labels.* is not what its name says: it is KMNIST's train-labels-idx1-ubyte"
    ):
        load("kmnist", write(files, tmp_path), download=False)


def test_integers_of_an_idx_file_are_read(tmp_path):
    values = np.array([[7, -1, 2**31 - 1], [0, 5, -(2**31)]], np.int32)
    path = tmp_path / "six-integers"
    path.write_bytes(struct.pack(">HBBII", 0, 12, 2, 2, 3) + values.astype(">i4").tobytes())
    np.testing.assert_array_equal(read_idx(path), values, strict=True)
    read_idx(path)[0] = 1
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        DataError, match="should hold 2 x 3 x 4 bytes = 24 bytes after its header, but holds 23"
    ):
        read_idx(path)


# ---- downloads ----------------------------------------------------------------------------------------


@pytest.fixture
def serve(sets, monkeypatch):
    """Makes servers on this machine, one for each answer, the mirrors of a set, in that order."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mnist, "ANSWER_SECONDS", LONG)
    monkeypatch.setattr(mnist, "STALL_SECONDS", LONG)
    mirrors = []

    def start(name, *answers):
        mirrors.extend(Mirror(answer) for answer in answers)
        urls = tuple(mirror.url for mirror in mirrors[-len(answers) :])
        monkeypatch.setitem(SETS, name, dataclasses.replace(SETS[name], mirrors=urls))
        return mirrors[-len(answers) :]

    yield start
    for mirror in mirrors:
        mirror.close()


def files_of(files):
    return lambda handler, name: send(handler, packed(files[name.removesuffix(".gz")]))


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist", "qmnist"])
def test_mirrors_are_asked_in_turn_and_files_kept(sets, serve, tmp_path, name):
    wrong = files_of({**sets[name], next(iter(sets[name])): b"wrong"})
    first, second, third = serve(name, not_there, wrong, files_of(sets[name]))
    assert_is(load(name, tmp_path), name, sets[name])
    assert_is(load(name, tmp_path), name, sets[name])
    assert names_in(tmp_path / name) == sorted(f"{file}.gz" for file in sets[name])
    assert [len(m.asked_for) for m in (first, second, third)] == [1, 1, 4]


def test_a_download_does_not_touch_another_sets_files(sets, serve, tmp_path):
    write(sets["mnist"], tmp_path)
    serve("kmnist", files_of(sets["kmnist"]))
    assert_is(load("kmnist", tmp_path), "kmnist", sets["kmnist"])
    assert_is(load("mnist", tmp_path, download=False), "mnist", sets["mnist"])


def test_without_root_a_download_goes_to_the_cache(sets, serve, tmp_path):
    serve("kmnist", files_of(sets["kmnist"]))
    assert_is(load("kmnist"), "kmnist", sets["kmnist"])
    assert names_in(tmp_path / "cache" / "kmnist") == sorted(f"{file}.gz" for file in sets["kmnist"])


def test_what_was_packed_anew_is_no_download_where_only_packed_sums_are_known(sets, serve, tmp_path):
    serve("kmnist", lambda handler, name: send(handler, gzip.compress(sets["kmnist"][name[:-3]], 1, mtime=0)))
    with pytest.raises(DownloadFailed, match=r"the file there is not KMNIST's: its MD5 is \w+, expected \w+"):
        load("kmnist", tmp_path)
    assert not names_in(tmp_path)


def test_without_a_network_the_ways_out_are_told(sets, serve, tmp_path):
    write(sets["mnist"], tmp_path)
    serve("kmnist", not_there)
    with pytest.raises(DownloadFailed) as told:
        load("kmnist", tmp_path)
    for way_out in (
        "404",
        f"put them into {tmp_path / 'kmnist'}",
        "MINIALEX_DATA",
        f"{tmp_path}",
        "are MNIST's",
    ):
        assert way_out in str(told.value)
    assert "draws its digits" not in str(told.value)


def archive_of(files, sums):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"gzip/{name}.gz", packed(data))
    sums(md5(content.getvalue()))
    return lambda handler, name: send(handler, content.getvalue())


@pytest.fixture
def archive_sum(monkeypatch):
    return lambda found: monkeypatch.setitem(
        SETS, "emnist-letters", dataclasses.replace(SETS["emnist-letters"], archive=found)
    )


def test_letters_are_taken_out_of_the_archive(sets, serve, archive_sum, tmp_path, capsys):
    files = sets["emnist-letters"]
    (mirror,) = serve("emnist-letters", archive_of({**files, "another": b"set"}, archive_sum))
    assert_is(load("emnist-letters", tmp_path), "emnist-letters", files)
    assert names_in(tmp_path / "emnist-letters") == sorted(f"{file}.gz" for file in files)
    assert mirror.asked_for == [named.ARCHIVE]
    assert "562 MB" in capsys.readouterr().out


def test_an_archive_with_another_sum_leaves_nothing(sets, serve, archive_sum, tmp_path):
    answer = archive_of(sets["emnist-letters"], archive_sum)
    archive_sum("0" * 32)
    serve("emnist-letters", answer)
    with pytest.raises(
        DownloadFailed, match=r"gzip\.zip: the file there is not EMNIST Letters's: its MD5 is"
    ):
        load("emnist-letters", tmp_path)
    assert not names_in(tmp_path)


def test_an_archive_without_the_files_leaves_nothing(sets, serve, archive_sum, tmp_path):
    serve("emnist-letters", archive_of({"another": b"set"}, archive_sum))
    with pytest.raises(DownloadFailed, match=r"has no good emnist-letters-train-images-idx3-ubyte\.gz"):
        load("emnist-letters", tmp_path)
    assert not list((tmp_path / "emnist-letters").iterdir())
