"""CIFAR-10: the same pictures from each form in which it is kept; what is damaged is refused; fetched from a server."""

import io
import os
import tarfile
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import small_cifar
from PIL import Image
from running import LONG
from small_cifar import (
    NAMES,
    archive,
    files,
    in_turn,
    packed,
    pictures,
    whole,
    write,
    zipped,
)
from test_mnist import Mirror, names_in, not_there, send

import minialex as mx
from minialex.data import cifar, cifar_folders, cifar_published, class_names, load, mnist
from minialex.data.here import look_for
from minialex.data.known_sets import SETS
from minialex.data.named import known_set
from minialex.errors import DataError, DownloadFailed

PUBLISHED = ["binary files", "binary archive", "python files", "python archive"]
PICTURES = ["zip", "folders"]


@pytest.fixture
def found(tmp_path, monkeypatch):
    return small_cifar.in_place_of_the_real_one(monkeypatch, tmp_path)


def put(form, found, folder):
    """The set in that form, as it is fetched or unpacked, in a folder."""
    release, _, kind = form.partition(" ")
    if kind == "files":
        known = small_cifar.RELEASES[release]
        return write(files(release, found), folder / known.folder).parent
    if kind == "archive":
        return write({small_cifar.RELEASES[release].archive: archive(release, found)}, folder)
    return write(pictures(found) if form == "folders" else {cifar.JPEGS: zipped(pictures(found))}, folder)


def loaded(*args, **options):
    """Loaded, with a warning if it is of pictures, and without one if not."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sets = load("cifar10", *args, download=False, **options)
    return sets, [str(one.message) for one in told]


def assert_same(sets, wanted):
    for part, of_part in zip(sets, wanted, strict=True):
        for array, right in zip(part, of_part, strict=True):
            np.testing.assert_array_equal(array, right, strict=True)
            assert array.flags.c_contiguous
            array[0] = 1  # raises where it is a view of bytes


# ---- the same from each form --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "cifar10"])
@pytest.mark.parametrize("form", PUBLISHED)
def test_what_is_published_is_read_as_it_is(found, tmp_path, form, place):
    put(form, found, tmp_path / "data" / place)
    sets, told = loaded(tmp_path / "data")
    assert_same(sets, whole(found))
    assert told == []


@pytest.mark.parametrize("release", small_cifar.RELEASES)
def test_the_six_files_may_lie_in_the_folder_itself(found, tmp_path, release):
    assert_same(loaded(write(files(release, found), tmp_path / "data"))[0], whole(found))


@pytest.mark.parametrize("place", ["", "cifar10"])
@pytest.mark.parametrize("form", PICTURES)
def test_pictures_are_read_class_by_class_in_turn_with_a_warning(found, tmp_path, form, place):
    folder = put(form, found, tmp_path / "data" / place)
    sets, told = loaded(tmp_path / "data")
    assert_same(sets, whole(in_turn(found)))
    assert len(told) == 1
    assert str(folder / cifar.JPEGS if form == "zip" else folder) in told[0]
    assert "not quite the published bytes. cifar-10-binary.tar.gz has those" in told[0]


def test_the_warning_points_to_where_load_was_called(found, tmp_path):
    put("zip", found, tmp_path)
    with pytest.warns(UserWarning, match="encoded anew") as told:
        load("cifar10", tmp_path)
    assert told[0].filename == __file__


@pytest.mark.parametrize("form", PICTURES)
@pytest.mark.parametrize(
    ("test", "kind", "end"), [("val", "PNG", "PNG"), ("test", "JPEG", "jpeg"), ("val", "JPEG", "JPG")]
)
def test_val_is_as_good_as_test_and_jpeg_as_png(found, tmp_path, form, test, kind, end):
    parts = pictures(found, test, kind, end)
    write(parts if form == "folders" else {cifar.JPEGS: zipped(parts, zipfile.ZIP_DEFLATED)}, tmp_path)
    (train_x, train_y), (test_x, test_y) = loaded(tmp_path)[0]
    assert train_y.tolist() == [*range(10)] * 5
    assert test_y.tolist() == [*range(10)] * 2
    for x, name in ((train_x[23], f"train/cat/0002.{end}"), (test_x[19], f"{test}/truck/0001.{end}")):
        np.testing.assert_array_equal(x.transpose(1, 2, 0), np.asarray(Image.open(io.BytesIO(parts[name]))))


def test_the_order_within_a_zip_file_does_not_count_nor_does_what_else_is_in_it(found, tmp_path):
    parts = dict(reversed(pictures(found).items()))
    parts |= {
        "train/": b"",
        "__MACOSX/train/cat/._0000.png": b"x",
        "train/cat/Thumbs.db": b"x",
        "readme.md": b"x",
    }
    write({cifar.JPEGS: zipped(parts)}, tmp_path)
    assert_same(loaded(tmp_path)[0], whole(in_turn(found)))


def test_a_zip_file_with_test_and_val_keeps_its_labels(found, tmp_path):
    """Sorted by their names in the archive, test/truck would come before val/airplane."""
    parts = {}
    for name, content in pictures(found).items():
        split, label, file = name.split("/")
        parts[f"{'val' if split == 'test' and file == '0001.png' else split}/{label}/{file}"] = content
    write({cifar.JPEGS: zipped(parts)}, tmp_path)
    assert_same(loaded(tmp_path)[0], whole(in_turn(found)))


def test_classes_are_in_the_authors_order():
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    assert class_names("cifar10") == names
    assert names == sorted(names)  # what reading by folders counts on
    class_names("cifar10").clear()
    assert class_names("cifar10") == names


def test_published_bytes_go_before_pictures_wherever_they_are(found, tmp_path, monkeypatch):
    """From the last of the forms to the first, in two folders in turn: each is taken before those that are there."""
    monkeypatch.setenv("MINIALEX_DATA", str(tmp_path / "data"))
    for number, form in reversed([*enumerate([*PUBLISHED, *PICTURES])]):
        folder = put(form, found, tmp_path / ("data" if number % 2 else "cache/cifar10"))
        _, path = cifar.find(cifar.places(None)[0])
        assert path.is_relative_to(folder), form
        assert_same(loaded()[0], whole(in_turn(found) if form in PICTURES else found))


def test_the_variable_and_then_the_cache_are_searched(found, tmp_path, monkeypatch):
    put("binary archive", found, tmp_path / "cache" / "cifar10")
    assert_same(loaded()[0], whole(found))
    monkeypatch.setenv("MINIALEX_DATA", str(tmp_path / "nothing"))
    assert_same(loaded()[0], whole(found))
    with pytest.raises(FileNotFoundError):
        load("cifar10", tmp_path / "nothing", download=False)


# ---- the real thing -----------------------------------------------------------------------------------


@pytest.fixture
def real_zip(real_data, tmp_path, monkeypatch):
    if not (real_data / cifar.JPEGS).is_file():
        pytest.skip(f"no {cifar.JPEGS} in MINIALEX_DATA")
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache" / "mnist")
    return real_data


def test_the_real_zip_is_whole(real_zip):
    here = look_for("cifar10", real_zip)
    if here.unchecked:  # else there is something better beside it
        assert (here.whole, here.folders) == (True, [real_zip])
    form = cifar_folders.ZippedFolders()
    with form.opened(real_zip / cifar.JPEGS) as opened:
        train, test = form.listed(opened)
        first = next(cifar_folders._unzipped(opened, train[1234:], real_zip))
    assert (len(train), len(test)) == (50_000, 10_000)
    assert [part.filename for part in (train[0], train[1234], test[-1])] == [
        "train/airplane/0000.jpg", "train/deer/0123.jpg", "test/truck/0999.jpg",
    ]  # fmt: skip
    assert first.shape == (32, 32, 3)


@pytest.mark.slow  # 8 s
def test_the_real_zip_is_read(real_zip):
    train, test = map(cifar._arrays, cifar_folders.ZippedFolders().read(real_zip / cifar.JPEGS))
    assert np.bincount(train[1]).tolist() == [5000] * 10
    assert np.bincount(test[1]).tolist() == [1000] * 10
    with zipfile.ZipFile(real_zip / cifar.JPEGS) as opened:
        for number in range(0, 50_000, 997):
            name = f"train/{NAMES[number % 10]}/{number // 10:04}.jpg"
            picture = np.asarray(Image.open(opened.open(name)))
            np.testing.assert_array_equal(train[0][number].transpose(1, 2, 0), picture)


def test_published_sums_are_whole_and_nobody_elses():
    sums = [s for r in (cifar.BINARY, cifar.PYTHON) for s in (r.md5, *r.files.values())]
    assert all(len(s) == 32 and int(s, 16) for s in sums)
    assert len(set(sums)) == len(sums) == 14


def test_a_batch_of_the_real_size_in_python_2s_pickle_is_within_the_limits(monkeypatch):
    planes = np.random.default_rng(0).integers(0, 256, (10_000, 3073), dtype=np.uint8)
    planes[:, 0] %= 10
    content = small_cifar.pickled(planes)
    assert 30_720_000 < len(content) < cifar_published.MOST_FILE
    np.testing.assert_array_equal(cifar_published._pickled_records(content), planes, strict=True)


# ---- damaged and wrong --------------------------------------------------------------------------------


def one_bit_more(content):
    return content[:-1] + bytes([content[-1] ^ 1])


FLAWS = {
    "cut short": ("binary", lambda c: c[:-1], r"has 30,729 bytes, expected records of 3,073\. Delete it"),
    "empty": ("binary", lambda c: b"", r"has 0 bytes, expected records of 3,073"),
    "a record less": ("binary", lambda c: c[:-3073], r"has 9 pictures, expected 10\."),
    "a record more": ("binary", lambda c: c + c[:3073], r"has 11 pictures, expected 10\."),
    "a label too many": ("binary", lambda c: b"\x0a" + c[1:], r"has a label 10: those of CIFAR-10 are 0 to 9"),
    "another bit": ("binary", one_bit_more, r"is not CIFAR-10's: its MD5 is \w{32}, expected \w{32}\. Delete it"),
    "far too long": ("binary", lambda c: bytes(33 * 2**20), r"has more than 33,554,432 bytes"),
    "no pickle": ("python", lambda c: b"<html>", r"is damaged, or no batch of CIFAR-10 \("),
    "half a pickle": ("python", lambda c: c[: len(c) // 2], r"is damaged, or no batch of CIFAR-10 \("),
    "another bit of a pickle": ("python", lambda c: c.replace(b"leptod", b"leptof"), "its MD5 is"),
    "a pickle of code": (
        "python", lambda c: b"cos\nsystem\n(S'touch harmed'\ntR.", r"no batch .*asks for os\.system, and is refused",
    ),
    "another dict": ("python", lambda c: c.replace(b"labels", b"labelz"), r"no batch of .* \(KeyError: b'labels'"),
    "other numbers": ("python", lambda c: c.replace(b"u1K", b"i1K"), r"no batch of CIFAR-10 \(TypeError"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_damaged_file_is_named_and_described(found, tmp_path, monkeypatch, flaw):
    monkeypatch.chdir(tmp_path)
    release, change, message = FLAWS[flaw]
    content = files(release, found)
    name = list(content)[1]
    write({**content, name: change(content[name])}, tmp_path)
    with pytest.raises(DataError, match=rf"{tmp_path / name} .*{message}"):
        load("cifar10", tmp_path, download=False)
    assert "harmed" not in names_in(tmp_path)


@pytest.mark.parametrize("release", small_cifar.RELEASES)
def test_an_archive_with_another_sum_is_not_opened(found, tmp_path, monkeypatch, release):
    known, content = small_cifar.RELEASES[release], archive(release, found)
    monkeypatch.setattr(tarfile, "open", lambda *args: pytest.fail("it was opened"))
    for change, message in ((content[:-1], f"has {len(content) - 1:,} bytes, expected {len(content):,}"),
                            (one_bit_more(content), r"its MD5 is \w+, expected \w+\. Delete it")):  # fmt: skip
        path = tmp_path / known.archive
        path.write_bytes(change)
        with pytest.raises(DataError, match=rf"{path} .*{message}"):
            load("cifar10", tmp_path, download=False)
        assert message[:9] in look_for("cifar10", tmp_path).damaged


def link(name, to):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    return info


def in_other_parts(change):
    """An archive, of the right sum, of the right parts but one."""

    def make(found):
        parts = {f"cifar-10-batches-bin/{name}": c for name, c in files("binary", found).items()}
        name = "cifar-10-batches-bin/data_batch_3.bin"
        return packed([*((n, c) for n, c in parts.items() if n != name), *change(name, parts[name])])

    return make


PARTS = {
    "none": (in_other_parts(lambda name, c: []), "has no cifar-10-batches-bin/data_batch_3.bin in it"),
    "above": (in_other_parts(lambda name, c: [(f"../{name}", c)]), "has no cifar-10-batches-bin/data_batch_3"),
    "absolute": (in_other_parts(lambda name, c: [(f"/tmp/{name}", c)]), "has no cifar-10-batches-bin/data_batch_3"),
    "a link": (in_other_parts(lambda name, c: [(link(name, "data_batch_1.bin"), b"")]), "has no cifar-10-batches-bin/"),
    "too large": (in_other_parts(lambda name, c: [(name, bytes(33 * 2**20))]), "has no cifar-10-batches-bin/data_b"),
    "cut short": (in_other_parts(lambda name, c: [(name, c[:-1])]), "has 30,729 bytes, expected records"),
    "no tar": (lambda found: b"<html>", r"is damaged \("),
    "half a tar": (lambda found: archive("binary", found)[:9999], r"is damaged \("),
}  # fmt: skip


@pytest.mark.parametrize("parts", PARTS)
def test_of_an_archive_six_parts_are_read_by_their_exact_names(found, tmp_path, monkeypatch, parts):
    make, message = PARTS[parts]
    content = make(found)
    monkeypatch.setattr(cifar.BINARY, "size", len(content))
    monkeypatch.setattr(cifar.BINARY, "md5", small_cifar.md5(content))
    path = tmp_path / "data" / "cifar-10-binary.tar.gz"
    write({path.name: content}, path.parent)
    with pytest.raises(DataError, match=rf"{path} {message}"):
        load("cifar10", path.parent, download=False)
    assert names_in(tmp_path) == ["data"]
    assert names_in(path.parent) == [path.name]


def without(name):
    return lambda parts: {n: c for n, c in parts.items() if name not in n}


OF_PICTURES = {
    "nine classes": (without("/cat/"), r"have 5 pictures of each of .* to train with, and has 0 of cat\."),
    "one missing": (without("train/dog/0003"), r"to train with, and has 4 of dog\. Bring back"),
    "one missing in the test set": (without("test/dog/0001"), "have 2 .* to test with, and has 1 of dog"),
    "one too many": (lambda parts: parts | {"test/ship/x.png": parts["test/ship/0000.png"]}, "and has 3 of ship"),
    "no picture": (lambda parts: parts | {"train/frog/0002.png": b"<html>"}, r"frog.0002\.png,? cannot be read"),
    "half a picture": (
        lambda parts: parts | {"train/frog/0002.png": parts["train/frog/0002.png"][:999]}, r"2\.png,? cannot be",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", PICTURES)
@pytest.mark.parametrize("flaw", OF_PICTURES)
@pytest.mark.filterwarnings("ignore:.* encoded anew")
def test_pictures_that_are_not_cifar_10s_are_refused(found, tmp_path, form, flaw):
    change, message = OF_PICTURES[flaw]
    parts = change(pictures(found))
    write(parts if form == "folders" else {cifar.JPEGS: zipped(parts)}, tmp_path)
    with pytest.raises(DataError, match=rf"{tmp_path}.*{message}") as told:
        load("cifar10", tmp_path, download=False)
    damaged = look_for("cifar10", tmp_path).damaged
    assert (
        damaged == str(told.value) if "picture" not in flaw else damaged == ""
    )  # pictures are not looked into


@pytest.mark.parametrize("form", PICTURES)
@pytest.mark.filterwarnings("ignore:.* encoded anew")
def test_a_picture_of_another_size_is_named_with_its_size(found, tmp_path, form):
    file = io.BytesIO()
    Image.new("L", (28, 30)).save(file, "PNG")
    parts = pictures(found) | {"train/frog/0002.png": file.getvalue()}
    write(parts if form == "folders" else {cifar.JPEGS: zipped(parts)}, tmp_path)
    with pytest.raises(DataError, match=r"0002\.png,? .*\(it has 28 x 30 pixels, and should have 32 x 32\)"):
        load("cifar10", tmp_path, download=False)


@pytest.mark.parametrize("form", PICTURES)
@pytest.mark.filterwarnings("ignore:.* encoded anew")
def test_an_eleventh_class_is_named(found, tmp_path, form):
    parts = pictures(found)
    parts["train/zebra/0000.png"] = parts["train/horse/0000.png"]
    write(parts if form == "folders" else {cifar.JPEGS: zipped(parts)}, tmp_path)
    with pytest.raises(DataError, match=rf"{tmp_path}.* has 1 of .*zebra"):
        load("cifar10", tmp_path, download=False)


def test_zip_files_that_are_none_or_were_made_to_do_harm(found, tmp_path, monkeypatch):
    parts = pictures(found)
    path = tmp_path / cifar.JPEGS
    monkeypatch.setattr(cifar_folders, "MOST_LIST", 80_000)  # more than is read of a part at once
    bomb = {**parts, "train/airplane/0000.png": parts["train/airplane/0000.png"] + bytes(2**28)}
    large = zipped(
        {"train/airplane/0000.png": bytes(70_000), **without("train/airplane/0000")(parts)},
        zipfile.ZIP_DEFLATED,
    )
    hostile = {
        "no zip": (b"<html>", r"is damaged, or no zip file \(File is not a zip file\)"),
        "half": (zipped(parts)[:-9999], r"is damaged, or no zip file \("),
        "another bit": (zipped(parts).replace(parts["train/cat/0001.png"], one_bit_more(parts["train/cat/0001.png"])),
                        r"is damaged, or no zip file \(Bad CRC-32 for file 'train/cat/0001\.png'"),
        "a long list": (zipped({f"{i:0200}": b"" for i in range(400)}), "its list of parts has more than 80,000 bytes"),
        "packed in another way": (zipped(parts, zipfile.ZIP_BZIP2), r"train/airplane/0000\.png packed in a way"),
        "large": (large, "0000.png with 70,000 bytes; the most is 65,536"),
        "a bomb": (zipped(bomb, zipfile.ZIP_DEFLATED), r"with 268,43\d,\d{3} bytes"),
        "a bomb that says that it is small": (understated(zipped(bomb, zipfile.ZIP_DEFLATED)), "Bad CRC-32 for file"),
    }  # fmt: skip
    for kind, (content, message) in hostile.items():
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(DataError, match=rf"{path} .*{message}"):
            cifar_folders.ZippedFolders().read(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6, kind
        tracemalloc.stop()


def understated(content):
    """The sizes of parts of 2^28 bytes and more, in the list of a zip file, as 5,000 bytes."""
    changed = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for part in archive.infolist():
            if part.file_size >= 2**28:
                while (at := changed.find(part.file_size.to_bytes(4, "little"))) >= 0:
                    changed[at : at + 4] = (5000).to_bytes(4, "little")
    return bytes(changed)


# ---- missing ------------------------------------------------------------------------------------------


def test_what_is_missing_and_where_it_was_looked_for_is_told(found, tmp_path):
    with pytest.raises(FileNotFoundError) as told:
        load("cifar10", tmp_path, download=False)
    for word in (
        "CIFAR-10 is not here: cifar-10-binary.tar.gz, or cifar-10-batches-bin/", "cifar10_jpeg.zip", "train/airplane/",
        f"Looked in: {tmp_path}, {tmp_path / 'cifar10'}. ", 'load("cifar10", download=True)', "MINIALEX_DATA",
    ):  # fmt: skip
        assert word in str(told.value)
    here = look_for("cifar10", tmp_path)
    assert (here.missing, here.folders, here.damaged) == (["cifar-10-binary.tar.gz"], [], "")


def test_of_six_files_those_that_are_missing_are_told(found, tmp_path):
    content = files("binary", found)
    del content["data_batch_3.bin"], content["test_batch.bin"]
    folder = tmp_path / "cifar-10-batches-bin"
    write(content, folder)
    lacking = "without data_batch_3.bin, test_batch.bin"
    with pytest.raises(FileNotFoundError, match=rf"{folder} has a part of it, {lacking}\. Allow"):
        load("cifar10", tmp_path, download=False)
    here = look_for("cifar10", tmp_path)
    assert (here.missing, here.folders) == (["data_batch_3.bin", "test_batch.bin"], [folder])


def test_a_folder_that_is_not_there_is_named_and_not_made(found, tmp_path):
    nowhere = tmp_path / "mistyped" / "folder"
    with pytest.raises(FileNotFoundError, match=f"^There is no folder {nowhere}: is it spelt right"):
        load("cifar10", nowhere, download=False)
    with pytest.raises(DownloadFailed, match=f"^There is no folder {nowhere}: is it spelt right"):
        load("cifar10", nowhere)
    assert not (tmp_path / "mistyped").exists()


def test_class_folders_of_other_things_are_passed_over(found, tmp_path):
    """A folder of data may hold ImageNet's train/; cats and dogs alone are not meant to be CIFAR-10."""
    for name in ("cat", "dog", "n01440764"):
        write({"0.png": b"x"}, tmp_path / "train" / name)
    with pytest.raises(FileNotFoundError, match="CIFAR-10 is not here"):
        load("cifar10", tmp_path, download=False)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_told_as_such(found, tmp_path):
    put("zip", found, tmp_path)
    (tmp_path / cifar.JPEGS).chmod(0)
    assert "cannot be read: Permission denied" in look_for("cifar10", tmp_path).damaged


# ---- who else asks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*PUBLISHED, *PICTURES])
def test_here_finds_each_form(found, tmp_path, form):
    folder = put(form, found, tmp_path / "cifar10")
    here = look_for("cifar10", tmp_path)
    assert here.whole
    assert here.unchecked == (form in PICTURES)
    where = small_cifar.RELEASES[form.split()[0]].folder if form.endswith("files") else ""
    assert here.folders == [folder / where]


def test_it_is_not_offered_as_a_set_like_mnist():
    assert "cifar10" not in SETS
    with pytest.raises(
        ValueError, match=r"CIFAR-10 has pictures of 32x32 in colours, .*mx\.data\.load\(\"cifar10\"\)"
    ):
        known_set("cifar10")
    with pytest.raises(
        ValueError, match=r"'CIFAR-10' \(did you mean cifar10\?\): the names are mnist, .*, cifar10$"
    ):
        load("CIFAR-10")


def test_its_pictures_go_into_a_network(found, tmp_path):
    (x, y), _ = loaded(put("binary archive", found, tmp_path))[0]
    model = mx.models.resnet(8, 10, preset="cifar", width=0.25)
    logits = model.forward(x[:4].astype(np.float32) / 255)
    assert mx.SoftmaxCrossEntropy().forward(logits, y[:4]) > 0


# ---- downloads ----------------------------------------------------------------------------------------


@pytest.fixture
def serve(found, monkeypatch):
    """Makes servers on this machine, one for each answer, the mirrors in that order."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mnist, "ANSWER_SECONDS", LONG)
    monkeypatch.setattr(mnist, "STALL_SECONDS", LONG)
    mirrors = []

    def start(*answers):
        mirrors.extend(Mirror(answer) for answer in answers)
        monkeypatch.setattr(cifar, "MIRRORS", tuple(mirror.url for mirror in mirrors))
        return mirrors

    yield start
    for mirror in mirrors:
        mirror.close()


def test_mirrors_are_asked_in_turn_and_the_archive_is_kept_as_it_is(found, serve, tmp_path):
    content = archive("binary", found)
    mirrors = serve(
        not_there,
        lambda handler, name: send(handler, content[:-1]),
        lambda handler, name: send(handler, one_bit_more(content)),
        lambda handler, name: send(handler, content),
    )
    assert_same(load("cifar10", tmp_path), whole(found))
    assert_same(load("cifar10", tmp_path), whole(found))
    assert [mirror.asked_for for mirror in mirrors] == [["cifar-10-binary.tar.gz"]] * 4
    assert names_in(tmp_path) == ["cifar10"]
    assert (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").read_bytes() == content
    assert names_in(tmp_path / "cifar10") == ["cifar-10-binary.tar.gz"]


def test_without_root_it_goes_to_the_cache(found, serve, tmp_path):
    serve(lambda handler, name: send(handler, archive("binary", found)))
    assert_same(load("cifar10"), whole(found))
    assert names_in(tmp_path / "cache" / "cifar10") == ["cifar-10-binary.tar.gz"]
    assert look_for("cifar10").folders == [tmp_path / "cache" / "cifar10"]


def test_where_no_mirror_delivers_the_ways_out_are_told_and_nothing_is_left(found, serve, tmp_path):
    content = archive("binary", found)
    serve(not_there, lambda handler, name: send(handler, one_bit_more(content)),
          lambda handler, name: send(handler, content + bytes(200_000)))  # fmt: skip
    with pytest.raises(DownloadFailed) as told:
        load("cifar10", tmp_path)
    for word in (
        "No mirror delivered a good cifar-10-binary.tar.gz", "404", "the file there is not CIFAR-10's: its MD5 is",
        "the file there goes on after", f"put them into {tmp_path / 'cifar10'}",
        'mx.data.load("cifar10", FOLDER) reads it from any folder', "cifar10_jpeg.zip",
    ):  # fmt: skip
        assert word in str(told.value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("form", [*PUBLISHED, *PICTURES])
def test_what_is_here_is_not_fetched(found, serve, tmp_path, form):
    (mirror,) = serve(not_there)
    put(form, found, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load("cifar10", tmp_path)
    assert mirror.asked_for == []
