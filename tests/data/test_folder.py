"""Folders of pictures: what is found in them, and any file read as RGB."""

import io
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minialex.data.folder import GROUND_TRUTH, UnreadablePicture, find_pictures, read_picture
from minialex.errors import DataError

RED = (200, 30, 60)
GREY = (84, 84, 84)  # red as brightness alone


def fill(root, *names):
    """Files with these names below root; what is in them is of no matter here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


# -- One folder a class ------------------------------------------------------------------------------------


def test_class_folders_become_classes_in_sorted_order(tmp_path):
    fill(tmp_path, "train/dog/1.JPEG", "train/cat/b.jpg", "train/cat/a.png", "train/eel/e.JPG")
    pictures = find_pictures(tmp_path, "train")
    assert pictures.classes == ["cat", "dog", "eel"]
    assert [file.name for file in pictures.files] == ["a.png", "b.jpg", "1.JPEG", "e.JPG"]
    assert pictures.labels.tolist() == [0, 0, 1, 2]
    assert pictures.labels.dtype == np.int64
    assert len(pictures) == 4


@given(st.lists(st.sampled_from(["jpeg", "jpg", "png"]), min_size=1, max_size=6), st.data())
def test_a_suffix_counts_in_any_letter_case(tmp_path_factory, suffixes, data):
    folder = tmp_path_factory.mktemp("pictures")
    cased = ["".join(data.draw(st.sampled_from([c, c.upper()])) for c in suffix) for suffix in suffixes]
    fill(folder, "train/a/0.png", *(f"train/b/{i}.{suffix}" for i, suffix in enumerate(cased)))
    assert find_pictures(folder).labels.sum() == len(suffixes)


def test_other_files_hidden_files_and_hidden_folders_are_passed_over(tmp_path):
    fill(tmp_path, "train/a/1.jpg", "train/a/notes.txt", "train/a/._1.jpg", "train/b/2.jpg")
    fill(tmp_path, "train/.trash/3.jpg", "train/readme.jpg")
    assert [file.name for file in find_pictures(tmp_path).files] == ["1.jpg", "2.jpg"]


def test_pictures_may_lie_deeper_inside_their_class(tmp_path):
    fill(tmp_path, "train/a/images/1.jpg", "train/b/images/2.jpg")
    assert find_pictures(tmp_path).labels.tolist() == [0, 1]


def test_folders_may_be_links_to_folders_elsewhere(tmp_path):
    fill(tmp_path, "disk/1/1.jpg", "disk/2/2.jpg", "root/train/b/3.jpg")
    (tmp_path / "root/train/a").symlink_to(tmp_path / "disk/1")
    (tmp_path / "root/train/b/more").symlink_to(tmp_path / "disk/2")
    assert find_pictures(tmp_path / "root").labels.tolist() == [0, 1, 1]


def test_a_part_of_the_pictures_keeps_all_classes(tmp_path):
    fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "train/c/3.jpg")
    part = find_pictures(tmp_path).part([2, 0])
    assert [file.name for file in part.files] == ["3.jpg", "1.jpg"]
    assert part.labels.tolist() == [2, 0]
    assert part.classes == ["a", "b", "c"]


def test_val_is_numbered_by_the_classes_of_train(tmp_path):
    fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/c/2.jpg")
    pictures = find_pictures(tmp_path, "val")
    assert pictures.labels.tolist() == [2]
    assert pictures.classes == ["a", "b", "c"]


def test_val_works_without_train(tmp_path):
    fill(tmp_path, "val/a/1.jpg", "val/b/1.jpg")
    assert find_pictures(tmp_path, "val").classes == ["a", "b"]


def test_test_serves_where_there_is_no_val(tmp_path):
    fill(tmp_path, "test/a/1.jpg", "test/b/1.jpg")
    assert find_pictures(tmp_path, "val").files[0] == tmp_path / "test" / "a" / "1.jpg"
    fill(tmp_path, "val/a/1.jpg", "val/b/1.jpg")
    assert find_pictures(tmp_path, "val").files[0] == tmp_path / "val" / "a" / "1.jpg"


# -- What can be wrong with folders ------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        find_pictures(tmp_path / "nowhere")


def test_a_folder_without_the_split_says_what_it_has(tmp_path):
    fill(tmp_path, "pictures/a/1.jpg", "labels/x.txt")
    with pytest.raises(FileNotFoundError, match="has no folder train; it has labels, pictures"):
        find_pictures(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="has no folder val or test; it has labels, pictures"):
        find_pictures(tmp_path, "val")


def test_another_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match='split is "train" or "val", not \'dev\''):
        find_pictures(tmp_path, "dev")


def test_train_without_class_folders_is_refused(tmp_path):
    fill(tmp_path, "train/1.jpg")
    with pytest.raises(DataError, match=r"has no class folders: pictures belong in .*<class>"):
        find_pictures(tmp_path)


def test_empty_class_folders_are_named_and_counted(tmp_path):
    fill(tmp_path, "train/a/1.jpg", "train/b/notes.txt", "train/c/x.gif")
    with pytest.raises(DataError, match=r"has 2 class folders without a picture .*: b, c"):
        find_pictures(tmp_path)


def test_one_class_only_is_refused(tmp_path):
    fill(tmp_path, "train/cat/1.jpg")
    with pytest.raises(DataError, match="has one class only, cat"):
        find_pictures(tmp_path)


def test_classes_of_val_that_train_does_not_have_are_named(tmp_path):
    fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", *(f"val/new{i}/1.jpg" for i in range(7)))
    with pytest.raises(
        DataError, match=r"7 classes that train/ has not: new0, new1, .* and 2 more\. train/ has 2, val/ 8"
    ):
        find_pictures(tmp_path, "val")


# -- ImageNet's flat validation folder ---------------------------------------------------------------------


@pytest.fixture
def flat(tmp_path):
    """Classes a, b, c in train, and three pictures in val, whose classes are in no folder's name."""
    fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg")
    return fill(tmp_path, "val/v3.JPEG", "val/v1.JPEG", "val/v2.JPEG")


@pytest.mark.parametrize("place", [".", "val"])
def test_a_class_number_a_line_counts_from_1_in_sorted_file_order(flat, place):
    (flat / place / GROUND_TRUTH).write_text("3\n1\n\n2\n")
    pictures = find_pictures(flat, "val")
    assert [file.name for file in pictures.files] == ["v1.JPEG", "v2.JPEG", "v3.JPEG"]
    assert pictures.labels.tolist() == [2, 0, 1]
    assert pictures.classes == ["a", "b", "c"]


@pytest.mark.parametrize(
    "lines",
    [
        "v2.JPEG a\nv1.JPEG c\nv3.JPEG b\nv9.JPEG a",
        "v1 3\nv2 1\nv3 2",
        "val/v1.JPEG 2\nval/v2.JPEG 0\nval/v3.JPEG 1",
        "c\na\nb",
    ],
    ids=["names", "from 1", "from 0, as Caffe's", "names alone"],
)
def test_lines_may_name_pictures_and_classes(flat, lines):
    (flat / "truth.txt").write_text(lines)
    assert find_pictures(flat, "val", ground_truth=flat / "truth.txt").labels.tolist() == [2, 0, 1]


def test_ids_of_another_order_are_translated(flat):
    (flat / GROUND_TRUTH).write_text("1\n2\n3\n")
    (flat / "ids.txt").write_text("1 c\n2 a\n3 b\n")
    assert find_pictures(flat, "val", class_ids=flat / "ids.txt").labels.tolist() == [2, 0, 1]


def test_a_flat_val_works_without_train(tmp_path):
    fill(tmp_path, "val/v1.png", "val/v2.png")
    (tmp_path / GROUND_TRUTH).write_text("3\n1\n")
    pictures = find_pictures(tmp_path, "val")
    assert (pictures.labels.tolist(), pictures.classes) == ([2, 0], ["1", "2", "3"])
    (tmp_path / "ids.txt").write_text("1 fox\n2 cat\n3 bee\n")
    pictures = find_pictures(tmp_path, "val", class_ids=tmp_path / "ids.txt")
    assert (pictures.labels.tolist(), pictures.classes) == ([0, 2], ["bee", "cat", "fox"])
    (tmp_path / GROUND_TRUTH).write_text("v1.png owl\nv2.png asp\n")
    pictures = find_pictures(tmp_path, "val")
    assert (pictures.labels.tolist(), pictures.classes) == ([1, 0], ["asp", "owl"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1\n2\n", "has 2 lines for 3 pictures in .*val"),
        ("", "says nothing of 3 of 3 pictures: v1.JPEG, v2.JPEG, v3.JPEG"),
        ("v1 a\nv3 b\n", "says nothing of 1 of 3 pictures: v2.JPEG"),
        ("1\n2\n4\n", "has class 4, but of classes there are 3"),
        ("a\nb\nzebra\n", "classes that are not among the 3 known ones: zebra"),
        ("v1 1\nv2 a\nv3 2\n", "classes that are not among the 3 known ones: 1, 2"),
        ("v1 1\nv2 1 0.5\nv3 1", "line 2, should be 2 words, but is 'v2 1 0.5'"),
        ("1\nv2 1\n1", "line 2, should be 1 words, but is 'v2 1'"),
    ],
)
def test_a_ground_truth_that_does_not_fit_is_refused(flat, lines, message):
    (flat / GROUND_TRUTH).write_text(lines)
    with pytest.raises(DataError, match=message):
        find_pictures(flat, "val")


@pytest.fixture
def wnids(tmp_path):
    """As flat, but with ImageNet's names."""
    names = ["n01440764", "n02119789", "n02489166"]
    fill(tmp_path, *(f"train/{name}/1.jpg" for name in names))
    return fill(tmp_path, "val/v1.JPEG", "val/v2.JPEG", "val/v3.JPEG")


@pytest.mark.parametrize("with_train", [True, False])
@pytest.mark.parametrize("place", [".", "val", "named"])
@pytest.mark.parametrize("lines", ["1\n2\n3\n", "v1 1\nv2 2\nv3 3", "3\n3\n3\n"])
def test_numbers_do_not_count_folders_that_are_named_by_wnids(wnids, place, lines, with_train):
    """ImageNet's own numbers are in another order: whoever reads them as places has hardly a label right."""
    named = wnids / "truth.txt" if place == "named" else None
    (named or wnids / place / GROUND_TRUTH).write_text(lines)
    trained = sorted(path.name for path in (wnids / "train").iterdir())
    if not with_train:
        shutil.rmtree(wnids / "train")
    with pytest.raises(
        DataError, match=r"numbers, .* named by WordNet's ids, n01440764, .*--class-ids FILE .*meta\.mat"
    ):
        find_pictures(wnids, "val", named, trained=None if with_train else trained)
    (wnids / "ids.txt").write_text("1 n02489166\n2 n01440764\n3 n02119789\n")
    pictures = find_pictures(wnids, "val", named, class_ids=wnids / "ids.txt")
    assert [pictures.classes[i] for i in pictures.labels] == [
        {"1": "n02489166", "2": "n01440764", "3": "n02119789"}[line.split()[-1]]
        for line in lines.splitlines()
    ]


def test_a_0_says_that_numbers_are_caffes_which_count_sorted_wnids(wnids):
    (wnids / "val.txt").write_text("v1.JPEG 2\nv2.JPEG 0\nv3.JPEG 1\n")
    assert find_pictures(wnids, "val", wnids / "val.txt").labels.tolist() == [2, 0, 1]


def test_wnids_in_the_ground_truth_are_names(wnids):
    (wnids / GROUND_TRUTH).write_text("n02489166\nn01440764\nn01440764\n")
    assert find_pictures(wnids, "val").labels.tolist() == [2, 0, 0]


@pytest.mark.parametrize("lines", ["1\n2\n1\n", "2\n2\n2\n", "v1 1\nv2 2\nv3 2\n"])
def test_numbers_that_may_begin_at_0_or_at_1_are_refused(flat, lines):
    (flat / "truth.txt").write_text(lines)
    with pytest.raises(
        DataError, match=r"has the classes \d to \d of 3: do they count from 0 or from 1\? Write names"
    ):
        find_pictures(flat, "val", flat / "truth.txt")
    shutil.move(flat / "truth.txt", flat / GROUND_TRUTH)  # this file's count from 1
    assert find_pictures(flat, "val").labels.tolist() == [
        int(line.split()[-1]) - 1 for line in lines.splitlines()
    ]


@pytest.mark.parametrize(
    ("folders", "lines", "wanted"),
    [
        ("0 1 10 2", "10 2 0", ["10", "2", "0"]),
        ("00 01 02 10", "10 2 0", ["10", "02", "00"]),
        ("1 2 3", "0 1 2", None),  # are these names, or do they count?
        ("0 1 2", "1 2 3", None),
        ("1 01 2", "1 1 2", ["1", "1", "2"]),
        ("1 01 2", "001 1 2", None),
    ],
)
def test_numbers_name_folders_that_are_called_by_numbers(tmp_path, folders, lines, wanted):
    fill(tmp_path, *(f"train/{name}/1.jpg" for name in folders.split()), *(f"val/{i}.jpg" for i in range(3)))
    (tmp_path / GROUND_TRUTH).write_text(lines.replace(" ", "\n"))
    if wanted is None:
        with pytest.raises(DataError, match="are these names, or do they count the folders"):
            find_pictures(tmp_path, "val")
    else:
        pictures = find_pictures(tmp_path, "val")
        assert [pictures.classes[i] for i in pictures.labels] == wanted


def test_files_that_contradict_themselves_are_refused(flat):
    (flat / "truth.txt").write_text("v1.JPEG a\nv2.JPEG b\nv3.JPEG c\nother/v1.JPEG b\n")
    with pytest.raises(DataError, match=r"truth.txt says two things of the picture v1.JPEG: a and b"):
        find_pictures(flat, "val", flat / "truth.txt")
    (flat / GROUND_TRUTH).write_text("1\n2\n3\n")
    (flat / "ids.txt").write_text("1 c\n2 a\n3 b\n1 a\n")
    with pytest.raises(DataError, match=r"ids.txt says two things of the class 1: c and a"):
        find_pictures(flat, "val", class_ids=flat / "ids.txt")


# -- The names that a network was trained on ---------------------------------------------------------------


@pytest.mark.parametrize("lines", ["3\n1\n2\n", "v3 b\nv1 c\nv2 a\n", "2\n0\n1\n", "c\na\nb\n"])
def test_a_flat_val_has_the_labels_of_the_network(flat, lines):
    (flat / GROUND_TRUTH).write_text(lines)
    pictures = find_pictures(flat, "val", trained=["b", "d", "c", "a"])
    assert [pictures.classes[i] for i in pictures.labels] == ["c", "a", "b"]
    assert pictures.labels.tolist() == [2, 3, 0]


@pytest.mark.parametrize(
    "trained", [["b", "d", "c", "a"], ["a", "b", "c"], ["n01440764 tench", "n02119789", "x"]]
)
@pytest.mark.parametrize("lines", ["3\n1\n2\n", "2\n0\n1\n", "v1 3\nv2 1\nv3 2\n"])
def test_numbers_do_not_count_the_classes_of_a_network(flat, lines, trained):
    """Which may be others, as many or not: without folders nothing says what the numbers count."""
    shutil.rmtree(flat / "train")
    (flat / GROUND_TRUTH).write_text(lines)
    with pytest.raises(DataError, match=r"has numbers, .*--class-ids FILE"):
        find_pictures(flat, "val", trained=trained)
    names = [trained[0].split()[0], trained[-1], trained[1]]
    (flat / "ids.txt").write_text("".join(f"{i} {names[i % 3]}\n" for i in range(4)))
    pictures = find_pictures(flat, "val", class_ids=flat / "ids.txt", trained=trained)
    wanted = [names[int(line.split()[-1]) % 3] for line in lines.splitlines()]
    assert [trained[i].split()[0] for i in pictures.labels] == wanted


def test_numbers_are_the_names_of_a_network_that_was_trained_on_such(flat):
    shutil.rmtree(flat / "train")
    (flat / GROUND_TRUTH).write_text("10\n2\n0\n")
    assert find_pictures(flat, "val", trained=["0", "1", "10", "2"]).labels.tolist() == [2, 3, 0]
    (flat / GROUND_TRUTH).write_text("11\n2\n0\n")
    with pytest.raises(DataError, match="are these names, or do they count"):
        find_pictures(flat, "val", trained=["0", "1", "10", "2"])


def test_folders_have_the_labels_of_the_network(tmp_path):
    fill(tmp_path, "train/zebra/1.jpg", "train/c/1.jpg", "train/a/1.jpg", "val/c/1.jpg", "val/a/1.jpg")
    pictures = find_pictures(tmp_path, "val", trained=["b", "c", "a"])
    assert (pictures.labels.tolist(), pictures.classes) == ([2, 1], ["b", "c", "a"])
    fill(tmp_path, "val/zebra/2.jpg")
    with pytest.raises(DataError, match="val has 1 of 3 classes that the network was not trained on: zebra"):
        find_pictures(tmp_path, "val", trained=["b", "c", "a"])


def test_one_class_is_enough_for_a_network_that_is_trained(tmp_path):
    fill(tmp_path, "val/c/1.jpg")
    assert find_pictures(tmp_path, "val", trained=["b", "c"]).labels.tolist() == [1]


def test_ids_that_are_not_listed_are_named(flat):
    (flat / GROUND_TRUTH).write_text("1\n2\n7\n")
    (flat / "ids.txt").write_text("1 c\n2 a\n")
    with pytest.raises(DataError, match=r"has classes that .*ids.txt does not list: 7"):
        find_pictures(flat, "val", class_ids=flat / "ids.txt")


def test_a_flat_val_without_ground_truth_says_what_it_needs(flat):
    with pytest.raises(FileNotFoundError, match=rf"holds 3 pictures and no class folders.*{GROUND_TRUTH}"):
        find_pictures(flat, "val")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*lost.txt"):
        find_pictures(flat, "val", ground_truth=flat / "lost.txt")


def test_a_val_with_nothing_in_it_is_refused(tmp_path):
    fill(tmp_path, "val/readme.txt")
    with pytest.raises(DataError, match=r"has neither class folders nor pictures \(.jpeg, .jpg, .png\)"):
        find_pictures(tmp_path, "val")


# -- Reading -----------------------------------------------------------------------------------------------


def near(picture, colour):
    return np.abs(np.asarray(picture)[2, 2].astype(int) - colour).max() <= 4


@pytest.mark.parametrize(
    ("mode", "kind", "colour"),
    [
        ("RGB", "JPEG", RED),
        ("CMYK", "JPEG", RED),
        ("L", "JPEG", GREY),
        ("RGB", "PNG", RED),
        ("RGBA", "PNG", RED),
        ("P", "PNG", RED),
        ("L", "PNG", GREY),
        ("LA", "PNG", GREY),
        ("1", "PNG", (255, 255, 255)),
        ("RGB", "GIF", RED),
        ("RGB", "BMP", RED),
    ],
)
def test_any_mode_in_any_format_is_read_as_rgb_whatever_the_suffix(tmp_path, mode, kind, colour):
    path = tmp_path / "picture.JPEG"
    picture = Image.new("RGB", (9, 7), "white" if mode == "1" else RED)
    (picture.quantize() if mode == "P" else picture.convert(mode)).save(path, kind)
    read = read_picture(path)
    assert (read.mode, read.size) == ("RGB", (9, 7))
    assert near(read, colour)


def test_16_bits_are_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert np.asarray(read_picture(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    picture = Image.new("RGB", (9, 7), RED).quantize()
    picture.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    assert near(read_picture(tmp_path / "palette.png"), RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_the_camera_noted(tmp_path, kind, orientation):
    stored = np.zeros((32, 48, 3), dtype=np.uint8)
    stored[:16, :16] = 255  # a corner and a side tell all eight positions apart
    stored[:8, :] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "x", kind, exif=exif)
    flipped = stored[:, ::-1] if orientation in (2, 4, 5, 7) else stored
    quarters = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    upright = np.rot90(flipped, quarters).astype(int)
    assert np.abs(np.asarray(read_picture(tmp_path / "x")) - upright).mean() < 8


def broken_exif():
    """Metadata that promises 5 entries and has one, which says that the camera was turned."""
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 5, 0x0112, 3, 1, 6)


def test_broken_metadata_costs_no_picture(tmp_path):
    """Pillow warns of it, and warnings are errors in these tests."""
    Image.new("RGB", (48, 32), RED).save(tmp_path / "x.jpg", exif=broken_exif())
    assert near(read_picture(tmp_path / "x.jpg", 16), RED)
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        assert near(read_picture(tmp_path / "x.jpg"), RED)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 300))
def test_a_large_jpeg_is_decoded_smaller_but_not_below_what_is_needed(width, height, at_least):
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG")
    size = read_picture(file, at_least).size
    assert min(size) >= min(at_least, width, height)
    assert size == (width, height) or min(width, height) >= 2 * at_least
    assert min(size) <= max(2 * at_least, min(width, height) // 8 + 1)


def jpeg_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither JPEG nor PNG"),
        (b"to be or not to be", "neither JPEG nor PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "neither JPEG nor PNG"),
        (jpeg_bytes()[:20], "neither JPEG nor PNG"),
        (jpeg_bytes()[: len(jpeg_bytes()) // 2], "truncated"),
        (None, "No such file"),
    ],
    ids=["empty", "text", "EPS", "header cut", "half", "missing"],
)
def test_what_is_no_picture_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadablePicture, match=rf"bad\.jpg cannot be read as a picture \(.*{reason}"):
        read_picture(path)


def test_running_out_of_memory_is_not_the_picture_s_fault(tmp_path, monkeypatch):
    def no_memory(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)
    with pytest.raises(MemoryError):
        read_picture(tmp_path / "x.jpg")


@pytest.mark.parametrize("spell", ["{} tench", "{}_tench", "{}"])
@pytest.mark.parametrize("letter", ["n", "N"])
def test_folders_that_begin_with_a_wnid_are_not_counted_by_numbers_either(tmp_path, spell, letter):
    names = [spell.format(letter + number) for number in ("01440764", "02119789")]
    root = fill(tmp_path, *(f"train/{name}/1.jpg" for name in names))
    fill(root, "val/v1.JPEG", "val/v2.JPEG")
    (root / GROUND_TRUTH).write_text("1\n2\n")
    with pytest.raises(DataError, match="classes are named by WordNet's ids"):
        find_pictures(root, "val")


# -- A part of them ----------------------------------------------------------------------------------------


@pytest.fixture
def three_each(tmp_path):
    return find_pictures(fill(tmp_path, *(f"train/{c}/{i}.png" for c in "abc" for i in range(3))), "train")


@pytest.mark.parametrize(
    "chosen",
    [
        lambda labels: labels == 2,
        lambda labels: (labels == 2).tolist(),
        lambda labels: np.flatnonzero(labels == 2),
        lambda labels: [6, 7, 8],
        lambda labels: (6, -2, 8),
        lambda labels: range(6, 9),
        lambda labels: (i for i in (6, 7, 8)),
        lambda labels: np.array([6, 7, 8], np.uint8),
    ],
)
def test_a_part_is_chosen_by_numbers_or_by_a_mask(three_each, chosen):
    part = three_each.part(chosen(three_each.labels))
    assert [str(file)[-7:] for file in part.files] == ["c/0.png", "c/1.png", "c/2.png"]
    assert (part.labels.tolist(), part.classes) == ([2, 2, 2], ["a", "b", "c"])


def test_a_part_of_none_is_empty(three_each):
    for none in ([], np.zeros(9, bool), iter(())):
        assert len(three_each.part(none)) == len(three_each.part(none).labels) == 0


@pytest.mark.parametrize(
    ("chosen", "error", "said"),
    [
        ([True, False], ValueError, r"part takes whole numbers, \(n,\), or a mask of all 9, not bool \(2,\)"),
        ([0.0, 1.0], ValueError, "part takes whole numbers"),
        ([[0, 1]], ValueError, r"not int64 \(1, 2\)"),
        ([0, 9], IndexError, "part: there is no number 9 among 9"),
        ([-10], IndexError, "part: there is no number -10 among 9"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(three_each, chosen, error, said):
    with pytest.raises(error, match=said):
        three_each.part(chosen)


def test_the_names_that_were_trained_may_come_one_by_one(three_each, tmp_path):
    names = ["c", "a", "b"]
    assert find_pictures(tmp_path, "train", trained=iter(names)).classes == names
    assert three_each.numbered_as(iter(names)).labels.tolist() == [1, 1, 1, 2, 2, 2, 0, 0, 0]


# -- Text files as other programs write them ---------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["1\n2\n1\n2\n", "cat\ndog\ncat\ndog\n", "0.png cat\n1.png dog\n2.png cat\n3.png dog\n"]
)
def test_a_ground_truth_may_begin_with_a_mark(tmp_path, encoding, text):
    fill(tmp_path, *(f"val/{i}.png" for i in range(4)))
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    (tmp_path / GROUND_TRUTH).write_bytes((mark + text).encode(encoding))
    assert find_pictures(tmp_path, "val").labels.tolist() == [0, 1, 0, 1]
    assert find_pictures(tmp_path, "val").classes == (["1", "2"] if text[0] == "1" else ["cat", "dog"])


@pytest.mark.parametrize(
    ("files", "lines", "labels"),
    [
        (["0.png", "1.png"], ["0.png a", "1.png b"], [0, 1]),
        (["0.png", "1.PNG"], ["0.JPEG a", "1.jpg b"], [0, 1]),
        (["0.png", "1.png"], ["0 a", "x/1 b"], [0, 1]),
        (["0.png", "1.png"], ["0.tif a", "1.PPM b"], [0, 1]),
        (["photo.1.png", "photo.2.png"], ["photo.1 a", "photo.2 b"], [0, 1]),
        (["1.jpg", "1.png"], ["1.png a", "1.jpg b"], [1, 0]),
    ],
)
def test_a_picture_goes_by_its_whole_name_before_all(tmp_path, files, lines, labels):
    fill(tmp_path, *(f"val/{file}" for file in files))
    (tmp_path / GROUND_TRUTH).write_text("\n".join(lines))
    assert find_pictures(tmp_path, "val").labels.tolist() == labels


@pytest.mark.parametrize("lines", [["0.png a", "1.png b", "2.png a"], ["0 a", "1.png b", "2.png a"]])
def test_a_picture_of_which_nothing_is_said_gets_no_others_class(tmp_path, lines):
    fill(tmp_path, *(f"val/{file}" for file in ("0.jpg", "0.png", "1.png", "2.png")))
    (tmp_path / GROUND_TRUTH).write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"says nothing of . of 4 pictures: 0\.jpg"):
        find_pictures(tmp_path, "val")


@pytest.mark.parametrize("trained", ["dog", b"dog", 3, {"dog": 0}])
def test_the_trained_classes_are_a_list_of_names(tmp_path, trained):
    fill(tmp_path, "train/d/1.jpg", "train/o/1.jpg", "train/g/1.jpg")
    with pytest.raises(TypeError, match=r"^trained are the names of all classes, as "):
        find_pictures(tmp_path, trained=trained)
    with pytest.raises(TypeError, match=r"^trained are the names of all classes, as "):
        find_pictures(tmp_path).numbered_as(trained)
    assert find_pictures(tmp_path, trained=("d", "o", "g")).labels.tolist() == [0, 2, 1]
