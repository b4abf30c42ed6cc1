"""MNIST files, pictures and text files that were made to do harm: little work, little memory, and a message."""

import gzip
import io
import os
import re
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hostile import problems, written
from PIL import Image

from minialex.data import cifar, mnist
from minialex.data.decode import UnreadablePicture, read_picture
from minialex.data.folder import GROUND_TRUTH, find_pictures
from minialex.data.folder import read_picture as of_folder
from minialex.data.known_sets import SETS
from minialex.data.mnist import load_mnist, read_idx
from minialex.data.named import load
from minialex.data.photo import digit_from_picture
from minialex.errors import DataError
from minialex.weights.reading import MOST_LINES, read_lines

GIGA = 2**30

# ---- MNIST --------------------------------------------------------------------------------------------


def zeros(total, begin=b""):
    """A gzip file of so many zeros, of members that are one megabyte of file for a gigabyte of zeros."""
    member = gzip.compress(bytes(2**26))
    return (gzip.compress(begin) if begin else b"") + member * (total // 2**26)


def header(*shape):
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def of_one_member(total, begin):
    packer = zlib.compressobj(wbits=31)
    parts = [
        packer.compress(begin),
        *(packer.compress(bytes(2**24)) for _ in range(total >> 24)),
        packer.flush(),
    ]
    return b"".join(parts)


IDX = {
    "ten gigabytes of zeros": (lambda: zeros(10 * GIGA), "begins with 00 00 08 .*, this with 00 00 00 00"),
    "two gigabytes, as is said": (lambda: zeros(2 * GIGA, header(2 * GIGA - 1)), "= 2147483647 bytes .* the most is"),
    "ten gigabytes, of which ten bytes are said": (
        lambda: zeros(10 * GIGA, header(10)), "should hold 10 = 10 bytes after its header, but holds 11 or more",
    ),
    "MNIST's shape, and then gigabytes": (lambda: zeros(10 * GIGA, header(60_000, 28, 28)), "= 47040000 .* or more"),
    "a byte more than is said": (lambda: zeros(2**28, header(2**28 - 1)), "but holds 268435456 or more"),
    "a byte less than is said": (lambda: zeros(2**28, header(2**28 + 1)), "but holds 268435456"),
    "in one member": (lambda: of_one_member(2**28, header(2**27)), "but holds 134217729 or more"),
    "much that is not there": (header(GIGA), "but holds 0"),
    "integers that are not there": (header(GIGA // 4).replace(b"\x08", b"\x0c"), "x 4 bytes = 1073741824 .* holds 0"),
    "more integers": (header(GIGA // 4 + 1).replace(b"\x08", b"\x0c"), "x 4 bytes = 1073741828 .* the most is"),
    "255 axes": (header(*[2**32 - 1] * 255), "the most is 1073741824"),
}  # fmt: skip


def test_hostile_idx_files_are_refused(tmp_path):
    assert problems("minialex.data.mnist", "read_idx", written(tmp_path, IDX)) == {}


def test_of_mnist_no_more_is_read_than_mnist_has(tmp_path):
    shape = (60_001, 28, 28)
    for name in mnist.MD5:
        (tmp_path / f"{name}.gz").write_bytes(zeros(2**26, header(*shape)))
    with pytest.raises(
        DataError, match=r"train-images.* = 47040784 bytes after its header; the most is 47040000"
    ):
        load_mnist(tmp_path, download=False)


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist", "emnist-letters", "qmnist"])
def test_of_a_named_set_no_more_is_read_than_it_has(tmp_path, name):
    most = max(SETS[name].counts) * 28 * 28
    pictures = next(iter(SETS[name].files))
    (tmp_path / f"{pictures}.gz").write_bytes(zeros(2**26, header(most // 784 + 1, 28, 28)))
    with pytest.raises(DataError, match=rf"train-images.* = {most + 784} bytes .*; the most is {most}"):
        load(name, tmp_path, download=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("read", [read_idx, read_lines])
def test_a_pipe_is_no_file(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*pipe"):
        read(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("read", [read_picture, digit_from_picture])
def test_a_pipe_is_no_picture(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match=r"pipe\.jpg .*is no (regular )?file"):
        read(tmp_path / "pipe.jpg")


# ---- pictures -----------------------------------------------------------------------------------------


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, packed=None, more=b"", colour=2):
    """A PNG of black pixels, or of what else is packed."""
    packed = zlib.compress(bytes(height * (width * 3 + 1))) if packed is None else packed
    size = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + more + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def jpeg(width, height, **options):
    """A small JPEG that says that it has other sides."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", **options)
    content = file.getvalue()
    at = content.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def bmp(width, height):
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif(width, height):
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\2\x44\1\0;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame


def many_scans():
    content = jpeg(64, 64, progressive=True)
    end = content.rindex(b"\xff\xda")
    return content[:end] + content[end:-2] * 1000 + content[-2:]


def tags(count, size):
    """EXIF with so many tags, each of which is all of it."""
    body = b"II*\0\x08\0\0\0" + struct.pack("<H", count)
    body += b"".join(struct.pack("<HHII", i, 7, size, 0) for i in range(count)) + bytes(4)
    return body + bytes(max(0, size - len(body)))


def text_chunks(kind):
    return b"".join(chunk(kind, b"k%d\0\0" % i + zlib.compress(bytes(2**26))) for i in range(4))


LARGE = "50,000|2500000000 pixels"
PICTURES = {
    "50,000 pixels.png": (lambda: png(50_000, 50_000, zlib.compress(bytes(1000))), LARGE),
    "50,000 pixels.jpg": (lambda: jpeg(50_000, 50_000), LARGE),
    "50,000 pixels.bmp": (bmp(50_000, 50_000), LARGE),
    "50,000 pixels.gif": (gif(50_000, 50_000), LARGE),
    "12,000 pixels, all there.png": (
        lambda: png(12_000, 12_000),
        "12,000 x 12,000 pixels would take 549 MiB",
    ),
    "12,000 pixels.bmp": (
        bmp(12_000, 12_000),
        "12,000 x 12,000 pixels would take 549 MiB; the most is 192 MiB",
    ),
    "12,000 pixels, kept until the end.jpg": (
        lambda: jpeg(12_000, 12_000, progressive=True),
        "the most is 192 MiB",
    ),
    "the end is missing.png": (
        lambda: png(7000, 7000, zlib.compress(bytes(7000 * 21_001))[:-9]),
        "truncated",
    ),
    "a thousand scans.jpg": (many_scans, "1,00. times; the most is 100"),
    "texts that unpack.png": (lambda: png(8, 8, more=text_chunks(b"zTXt")), "(?i)too large"),
    "a profile that unpacks.png": (lambda: png(8, 8, more=text_chunks(b"iCCP")), "(?i)too large"),
}


def test_hostile_pictures_are_refused(tmp_path):
    paths = {}
    for name, (content, message) in PICTURES.items():
        paths |= written(tmp_path, {name[:-4]: (content, message)}, name[-4:])
    assert problems("minialex.data.decode", "read_picture", paths) == {}
    assert problems("minialex.data.photo", "digit_from_picture", paths) == {}


@pytest.mark.parametrize("count", [5400])
def test_tags_that_are_all_of_the_metadata_cost_nothing(tmp_path, count):
    content = png(8, 8, more=chunk(b"eXIf", tags(count, 65_000)))
    (tmp_path / "p.png").write_bytes(content)
    told = problems("minialex.data.decode", "read_picture", {tmp_path / "p.png": ""})["p.png"]
    assert told[0].startswith("returned"), told
    assert told[2] < 200 * 2**20


def test_a_large_jpeg_is_decoded_at_a_half_of_its_size_rather_than_refused(tmp_path):
    (tmp_path / "large.jpg").write_bytes(jpeg(8000, 8000))
    assert read_picture(tmp_path / "large.jpg").size == (4000, 4000)
    (tmp_path / "less.jpg").write_bytes(jpeg(6000, 6000))
    assert read_picture(tmp_path / "less.jpg").size == (6000, 6000)


# ---- CIFAR-10 -----------------------------------------------------------------------------------------


def zip_of(first, name="cifar10_jpeg.zip"):
    """A zip file of CIFAR-10's 60,000 names, the first of them with this content, the others with nothing."""

    def make():
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for split, count in (("train", 5000), ("test", 1000)):
                for label in cifar.CLASSES:
                    for i in range(count):
                        archive.writestr(f"{split}/{label}/{i}.png", b"" if file.tell() else first)
        return file.getvalue()

    return make


def zip_of_many(count):
    """The list of a zip file alone, of parts without a name."""
    part = b"PK\1\2" + bytes(42)
    return part * count + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65_535, 65_535, count * len(part), 0, 0)


CIFAR = {
    "6,000 pixels": ("cifar10_jpeg.zip", zip_of(jpeg(6000, 6000)), "6000 x 6000 pixels, and should have 32 x 32"),
    "a long list": ("cifar10_jpeg.zip", zip_of_many(182_000), "should have 5,000 pictures of each"),
    "a longer list": ("cifar10_jpeg.zip", zip_of_many(4_000_000), "its list of parts has more than 8,388,608 bytes"),
    "zeros": ("cifar-10-binary.tar.gz", lambda: zeros(10 * GIGA), "bytes, expected 170,052,171"),
    "a long batch": ("data_batch_1.bin", bytes(GIGA // 4), "more than 33,554,432 bytes"),
    "a pickle of cells": ("data_batch_1", b"\x80\x02K\x01r\xff\xff\xff\x7f.", "is damaged, or no batch of CIFAR-10"),
    "a pickle of dicts": ("data_batch_1", b"\x80\x02" + b"}" * 2**24, "is damaged, or no batch of CIFAR-10"),
}  # fmt: skip


def test_hostile_forms_of_cifar_10_are_refused(tmp_path):
    folders = {}
    for kind, (name, content, message) in CIFAR.items():
        folder = tmp_path / re.sub(r"\W", "-", kind)
        folder.mkdir()
        for release in (cifar.BINARY, cifar.PYTHON):
            for other in release.files if name in release.files else ():
                (folder / other).touch()
        (folder / name).write_bytes(content() if callable(content) else content)
        folders[folder] = message
    assert problems("minialex.data.cifar", "load_cifar10", folders) == {}


# ---- checksums ----------------------------------------------------------------------------------------


def noise(folder, kind="PNG", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "p.png", kind, **options)
    return folder / "p.png", pixels


@pytest.mark.parametrize("packing", [0, 9])
def test_a_wrong_bit_anywhere_in_a_png_is_noticed_or_changes_nothing(tmp_path, packing):
    path, pixels = noise(tmp_path, compress_level=packing)
    good = path.read_bytes()
    noticed = 0
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        try:
            found = np.asarray(read_picture(path))
        except UnreadablePicture as error:
            noticed += "p.png" in str(error)
        else:
            np.testing.assert_array_equal(found, pixels)
    assert noticed >= len(good) - 8  # the last checksum is of nothing


def test_pillow_alone_would_have_read_a_wrong_picture(tmp_path):
    path, pixels = noise(tmp_path, compress_level=0)
    content = path.read_bytes()
    start = content.index(b"IDAT") + 4
    length = struct.unpack(">I", content[start - 8 : start - 4])[0]
    rows = bytearray(zlib.decompress(content[start : start + length]))
    rows[60] ^= 64  # and a checksum inside of it that fits, so that its own does not
    path.write_bytes(content[:start] + zlib.compress(bytes(rows), 0) + content[start + length :])
    with Image.open(path) as picture:
        assert (np.asarray(picture) != pixels).any()
    with pytest.raises(UnreadablePicture, match=r"p\.png .*checksum"):
        read_picture(path)
    with pytest.raises(DataError, match=r"p\.png .*checksum"):
        digit_from_picture(path)


@pytest.mark.parametrize("lost", [12, 13, 16, 40])
def test_a_png_without_its_end_is_noticed(tmp_path, lost):
    path, _ = noise(tmp_path)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(UnreadablePicture, match=r"p\.png"):
        read_picture(path)


def test_there_is_one_way_to_read_a_picture():
    assert of_folder is read_picture


# ---- text files ---------------------------------------------------------------------------------------

TEXTS = {
    "many lines": (b"12\n" * 5_000_000, "more than 500,000 lines"),
    "many bytes": (b"123456789\n" * 2_000_000, "more than 16,777,216 bytes"),
    "one line without end": (b"1 " * 10_000_000, "more than 16,777,216 bytes"),
    "lines of another kind": ("\u2028".encode() * 600_000 + b"1", "more than 500,000 lines"),
}


def test_hostile_text_files_are_refused(tmp_path):
    assert problems("minialex.weights.reading", "read_lines", written(tmp_path, TEXTS, ".txt")) == {}
    assert problems("minialex.data.truth", "_rows", written(tmp_path, TEXTS, ".txt")) == {}


@pytest.mark.parametrize("number", ["999999999", "9" * 30, "9" * 5000])
def test_a_class_of_a_high_number_costs_nothing(tmp_path, number):
    for i in range(2):
        path = tmp_path / "val" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (tmp_path / GROUND_TRUTH).write_text(f"1\n{number}\n")
    with pytest.raises(DataError, match=rf"{GROUND_TRUTH} ") as caught:
        find_pictures(tmp_path, "val")
    assert len(str(caught.value)) < 600


def test_a_long_text_file_is_read(tmp_path):
    (tmp_path / "long.txt").write_text("1\n" * MOST_LINES + "\n\n")
    with pytest.raises(DataError, match="more than 500,000 lines"):
        read_lines(tmp_path / "long.txt")
    (tmp_path / "long.txt").write_text("1\r\n" * 200_000 + "ä\n\n")
    assert read_lines(tmp_path / "long.txt")[-2:] == ["1", "ä"]
    assert len(read_lines(tmp_path / "long.txt")) == 200_001
