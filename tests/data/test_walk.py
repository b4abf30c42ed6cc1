"""Which pictures lie in a folder: what is passed over and counted, and where links may lead."""

import itertools
import os
import re
import shutil
import socket
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minialex.data import walk
from minialex.data.folder import UnreadablePicture, find_pictures, read_picture
from minialex.data.photo import digit_from_picture
from minialex.errors import DataError

posix = pytest.mark.skipif(os.name != "posix", reason="makes FIFOs, sockets and links")
pytestmark = posix


def fill(root, *names):
    """Files with these names below root; what is in them is of no matter here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.fixture
def root(tmp_path):
    """Two classes with two pictures each, in train/ and val/; there is another place as well."""
    fill(tmp_path, "disk/far/9.jpg", "disk/far/sub/8.jpg")
    pictures = (
        "train/a/1.jpg",
        "train/a/2.jpg",
        "train/b/3.jpg",
        "train/b/sub/4.jpg",
        "val/a/5.jpg",
        "val/b/6.jpg",
    )
    return fill(tmp_path / "root", *pictures)


def found(root, split="train"):
    """{class: names of its pictures}, and the list."""
    pictures = find_pictures(root, split)
    names = [
        f"{pictures.classes[i]}/{file.name}" for i, file in zip(pictures.labels, pictures.files, strict=True)
    ]
    return names, pictures


AS_BEFORE = ["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"]


def one(pictures, kind, path):
    """Was this passed over, and nothing else?"""
    assert pictures.passed.counts == {kind: 1}
    assert str(pictures.passed) == f"1 {kind} ({path})"
    return True


# ---- what is passed over --------------------------------------------------------------------------------

FOLDERS = [(".ipynb_checkpoints", walk.HIDDEN), (".git", walk.HIDDEN)]
FOLDERS += [(name, walk.THUMBNAILS) for name in walk.NOT_OURS]


@pytest.mark.parametrize("place", ["train", "train/a", "train/b/sub"])
@pytest.mark.parametrize(("name", "kind"), FOLDERS)
def test_folders_that_nobody_means_are_passed_over_and_counted(root, place, name, kind):
    fill(root, f"{place}/{name}/1.jpg", f"{place}/{name}/deeper/2.jpg")
    names, pictures = found(root)
    assert names == AS_BEFORE
    assert one(pictures, kind, root / place / name)


def test_nothing_passed_over_is_nothing_to_say(root):
    pictures = find_pictures(root)
    assert not pictures.passed
    assert str(pictures.passed) == ""
    fill(root, "train/a/notes.txt", "train/a/.DS_Store", "train/.DS_Store")  # no pictures: nothing is missing
    assert not find_pictures(root).passed


@pytest.mark.parametrize("place", ["train", "train/a", "train/b/sub"])
@pytest.mark.parametrize("name", ["p.webp", "p.BMP", "p.gif", "p.tif", "p.jfif", "p.heic"])
@pytest.mark.parametrize("is_link", [False, True])
def test_pictures_that_are_called_otherwise_are_passed_over_and_counted(root, place, name, is_link):
    if is_link:
        (root / place / name).symlink_to(root.parent / "disk/far/9.jpg")
    else:
        fill(root, f"{place}/{name}")
    names, pictures = found(root)
    assert names == AS_BEFORE
    assert one(pictures, walk.OTHERWISE_CALLED, root / place / name)


def test_a_class_of_pictures_that_are_called_otherwise_says_so(root):
    fill(root, "train/c/1.webp", "train/c/2.webp")
    which = re.escape(f"passed over: 2 not called .jpeg, .jpg or .png ({root / 'train/c/1.webp'}, ...)")
    with pytest.raises(DataError, match=rf"without a picture \(.jpeg, .jpg, .png\): c; {which}$"):
        find_pictures(root)
    shutil.rmtree(root / "val")
    fill(root, "val/1.gif")
    with pytest.raises(DataError, match=r"nor pictures \(.jpeg, .jpg, .png\); passed over: 1 not called"):
        find_pictures(root, "val")


def test_kinds_are_counted_and_the_first_of_each_is_named(root):
    fill(root, "train/b/.x/1.jpg", "train/a/._1.jpg", "train/a/@eaDir/1.jpg", "train/loose.png")
    passed = find_pictures(root).part([0]).passed
    assert passed.counts == {walk.HIDDEN: 2, walk.THUMBNAILS: 1, walk.LOOSE: 1}
    assert f"2 hidden ({root / 'train/a/._1.jpg'}, ...)" in str(passed)


def fifo(path):
    os.mkfifo(path)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as end:
        before = os.getcwd()
        os.chdir(path.parent)  # a socket's path may not be long
        try:
            end.bind(path.name)
        finally:
            os.chdir(before)


def link_to_device(path):
    path.symlink_to("/dev/zero")


def link_to_fifo(path):
    os.mkfifo(path.parents[2] / "pipe")
    path.symlink_to(path.parents[2] / "pipe")


def device(path):
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices are made by root")


@pytest.mark.parametrize("make", [fifo, a_socket, link_to_device, link_to_fifo, device])
@pytest.mark.parametrize("name", ["p.jpg", "p.PNG"])
def test_what_is_no_file_is_not_opened(root, make, name):
    """A FIFO would be waited for, without end."""
    make(root / "train" / "a" / name)
    names, pictures = found(root)
    assert names == AS_BEFORE
    assert one(pictures, walk.NO_FILE, root / "train" / "a" / name)


@pytest.mark.parametrize("make", [fifo, a_socket])
def test_what_is_no_file_is_not_opened_in_a_flat_folder_either(root, make):
    shutil.rmtree(root / "val")
    fill(root, "val/5.jpg", "val/6.jpg")
    (root / "truth.txt").write_text("5 a\n6 b\n")
    make(root / "val" / "p.jpg")
    pictures = find_pictures(root, "val", ground_truth=root / "truth.txt")
    assert pictures.labels.tolist() == [0, 1]
    assert one(pictures, walk.NO_FILE, root / "val" / "p.jpg")


@pytest.mark.parametrize("make", [fifo, a_socket, link_to_device])
def test_nor_where_it_is_named(tmp_path, make):
    (tmp_path / "x" / "y").mkdir(parents=True)
    path = tmp_path / "x" / "y" / "p.jpg"
    make(path)
    with pytest.raises(
        UnreadablePicture, match=r"p\.jpg cannot be read as a picture \(it is no regular file\)"
    ):
        read_picture(path)
    with pytest.raises(DataError, match=r"p\.jpg is no file, but a FIFO, socket or device"):
        digit_from_picture(path)


# ---- links to another place are followed, once ----------------------------------------------------------


def test_links_to_pictures_and_folders_elsewhere_are_followed(root, tmp_path):
    (root / "train/a/far").symlink_to(tmp_path / "disk/far")
    (root / "train/b/9.jpg").symlink_to("../../../disk/other.jpg")
    fill(tmp_path, "disk/other.jpg")
    names, pictures = found(root)
    assert names == ["a/1.jpg", "a/2.jpg", "a/9.jpg", "a/8.jpg", "b/3.jpg", "b/9.jpg", "b/4.jpg"]
    assert not pictures.passed
    assert root / "train/a/far/sub/8.jpg" in pictures.files  # under the name that is in the class's folder


def test_a_subset_by_links_alone_is_as_good_as_the_whole(root, tmp_path):
    for split, name in itertools.product(("train", "val"), "ab"):
        (tmp_path / "links" / split).mkdir(parents=True, exist_ok=True)
        (tmp_path / "links" / split / name).symlink_to(root / split / name)
    assert found(tmp_path / "links")[0] == AS_BEFORE
    assert not find_pictures(tmp_path / "links").passed
    assert found(tmp_path / "links", "val")[0] == ["a/5.jpg", "b/6.jpg"]


@pytest.mark.parametrize("second", ["far", "far/sub", "."], ids=["the same", "a part", "the whole"])
def test_what_two_links_lead_to_is_found_once(root, tmp_path, second):
    (root / "train/a/x").symlink_to(tmp_path / "disk/far")
    (root / "train/a/y").symlink_to(tmp_path / "disk" / second)
    fill(tmp_path, "disk/far/sub/.hidden.jpg")
    names, pictures = found(root)
    assert Counter(names) == Counter([*AS_BEFORE, "a/8.jpg", "a/9.jpg"])
    assert pictures.passed.counts == {walk.HIDDEN: 1} | ({} if second == "." else {walk.AGAIN: 1})


def test_a_link_to_a_picture_that_is_there_already_is_passed_over(root, tmp_path):
    (root / "train/a/0.jpg").symlink_to("1.jpg")
    assert found(root)[0] == AS_BEFORE
    assert one(find_pictures(root), walk.AGAIN, root / "train/a/0.jpg")
    for name in ("x.jpg", "y.jpg"):
        (root / "train/a" / name).symlink_to(tmp_path / "disk/far/9.jpg")
    assert Counter(found(root)[0]) == Counter([*AS_BEFORE, "a/x.jpg"])


@given(
    st.lists(
        st.sampled_from(["..", ".", "up", "far", "sub", "hop", "9.jpg", "hop.jpg"]), min_size=1, max_size=6
    )
)
def test_the_quick_way_to_where_a_link_leads_is_realpath(tmp_path_factory, steps):
    place = tmp_path_factory.mktemp("links")
    fill(place, "far/sub/9.jpg", "far/9.jpg", "9.jpg")
    for link, aim in (
        ("far/up", ".."),
        ("hop", "far/sub"),
        ("far/sub/up", "../.."),
        ("hop.jpg", "far/up/hop/9.jpg"),
    ):
        (place / link).symlink_to(aim)
    (place / "far/link.jpg").symlink_to("/".join(steps))
    finder = walk.Finder({}, walk.Passed())
    for path in (place / "far/link.jpg", place / "hop/../link.jpg"):
        assert finder._real_file(str(path)) == os.path.realpath(path)


# ---- and those that lead back are not -------------------------------------------------------------------


@pytest.mark.parametrize("aim", [".", "..", "../..", "../../..", "/"])
@pytest.mark.parametrize("name", ["again", "again.jpg"])
def test_a_link_to_a_folder_above_is_not_followed(root, aim, name):
    (root / "train/a" / name).symlink_to(aim)
    names, pictures = found(root)
    assert names == AS_BEFORE
    assert one(pictures, walk.BACK, root / "train/a" / name)


@pytest.mark.parametrize("aim", ["..", ".", "../../..", "/"])
def test_nor_does_it_become_a_class(root, aim):
    (root / "train/up").symlink_to(aim)
    names, pictures = found(root)
    assert names == AS_BEFORE
    assert pictures.classes == ["a", "b"]
    assert one(pictures, walk.BACK, root / "train/up")


def test_two_links_to_folders_above_come_to_an_end(root):
    (root / "train/a/up").symlink_to("..")
    (root / "train/b/up").symlink_to("..")
    names, pictures = found(root)
    assert names == AS_BEFORE
    assert pictures.passed.counts == {walk.BACK: 2}


def test_links_that_lead_in_a_circle_elsewhere_come_to_an_end(root, tmp_path):
    (root / "train/a/far").symlink_to(tmp_path / "disk/far")
    (tmp_path / "disk/far/sub/back").symlink_to(tmp_path / "disk/far")
    (tmp_path / "disk/far/sub/home").symlink_to(root / "train/a")
    (tmp_path / "disk/far/sub/train").symlink_to(root)
    names, pictures = found(root)
    assert Counter(names) == Counter([*AS_BEFORE, "a/8.jpg", "a/9.jpg"])
    assert pictures.passed.counts == {walk.BACK: 2, walk.AGAIN: 1}


def test_a_link_to_itself_leads_nowhere(root):
    (root / "train/a/round").symlink_to("round")
    names, pictures = found(root)
    assert names == AS_BEFORE
    assert one(pictures, walk.BACK, root / "train/a/round")


# ---- pictures stay in their class -----------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("aim", ["train/b", "train/b/sub", "val/b", "train/b/3.jpg", "train/b/sub/4.jpg"])
def test_a_link_into_another_class_brings_none_of_its_pictures(root, split, aim):
    before = found(root, split)[0]
    (root / split / "a" / "link.jpg").symlink_to(root / aim)
    names, pictures = found(root, split)
    assert names == before
    assert one(pictures, walk.TO_ANOTHER_CLASS, root / split / "a" / "link.jpg")


def test_nor_where_that_class_is_itself_elsewhere(root, tmp_path):
    (root / "train/c").symlink_to(tmp_path / "disk/far")
    for i, aim in enumerate(("far", "far/sub", "far/sub/8.jpg", ".")):
        (root / "train/a" / f"link{i}.jpg").symlink_to(tmp_path / "disk" / aim)
    names, pictures = found(root)
    assert [name for name in names if name[0] == "a"] == ["a/1.jpg", "a/2.jpg"]
    assert pictures.passed.counts == {walk.TO_ANOTHER_CLASS: 4}


def class_twice(root, disk):
    (root / "train/c").symlink_to("b")


def class_inside_a_class(root, disk):
    (root / "train/c").symlink_to("b/sub")


def class_of_val(root, disk):
    (root / "val/b").rename(disk / "b")
    (root / "val/b").symlink_to(root / "train/a")


def folder_in_two_classes(root, disk):
    for name in "ab":
        (root / "train" / name / "far").symlink_to(disk / "far")


def folder_and_its_picture(root, disk):
    (root / "train/a/far.jpg").symlink_to(disk / "far" / "9.jpg")
    (root / "train/b/far").symlink_to(disk)


TWICE = [class_twice, class_inside_a_class, folder_in_two_classes, folder_and_its_picture]


@pytest.mark.parametrize("make", [*TWICE, class_of_val])
def test_what_would_be_of_two_classes_is_refused(root, tmp_path, make):
    make(root, tmp_path / "disk")
    with pytest.raises(
        DataError, match=r"lead to the same pictures, so they would be of two classes, \w and \w: del"
    ):
        find_pictures(root, "val" if make is class_of_val else "train")


def test_what_is_wrong_in_another_split_is_of_no_matter(root):
    (root / "test").mkdir()
    (root / "test/unknown").symlink_to(root / "val/a")
    (root / "test/gone").symlink_to("/nowhere")
    assert found(root)[0] == AS_BEFORE
    assert found(root, "val")[0] == ["a/5.jpg", "b/6.jpg"]


@pytest.mark.parametrize("aim", ["far", "far/9.jpg"])
def test_a_picture_that_two_classes_link_to_is_the_first_ones(root, tmp_path, aim):
    """Stores that keep equal files once link so, and equal pictures in two classes are no mistake of folders."""
    (root / "train/a/far.jpg").symlink_to(tmp_path / "disk" / aim)
    (root / "train/b/far.jpg").symlink_to(tmp_path / "disk/far/9.jpg")
    names, pictures = found(root)
    assert [name for name in names if name[0] == "b"] == ["b/3.jpg", "b/4.jpg"]
    assert one(pictures, walk.OF_ANOTHER_CLASS, root / "train/b/far.jpg")


# ---- what cannot be followed or read --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train/c", "train/a/c", "train/n01440764"])
def test_a_link_to_a_folder_that_is_gone_is_an_error(root, name):
    (root / name).symlink_to("/nowhere/c")
    with pytest.raises(
        DataError, match=f"{name} is a link to /nowhere/c, which is not there, and its pictures"
    ):
        find_pictures(root)


def test_a_link_to_a_picture_that_is_gone_is_an_unreadable_picture(root):
    (root / "train/a/gone.jpg").symlink_to("/nowhere/gone.jpg")
    assert "a/gone.jpg" in found(root)[0]


def test_a_link_to_another_file_that_is_gone_is_counted(root):
    (root / "train/a/notes.txt").symlink_to("/nowhere/notes.txt")
    assert one(find_pictures(root), walk.BROKEN, root / "train/a/notes.txt")


@pytest.fixture
def readable_root():
    """As root, but where any user may go."""
    with tempfile.TemporaryDirectory(prefix="minialex-") as place:
        os.chmod(place, 0o755)
        pictures = "train/a/1.jpg train/b/3.jpg train/b/sub/4.jpg val/a/5.jpg val/b/6.jpg".split()
        yield fill(Path(place) / "root", *pictures)


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o311])
@pytest.mark.parametrize("folder", ["train", "train/a", "train/b/sub", "val"])
def test_a_folder_that_may_not_be_read_is_an_error(readable_root, folder, mode):
    """Its pictures would be missing, without a word. Root may read all, so it is nobody who looks."""
    was_root = os.geteuid() == 0
    (readable_root / folder).chmod(mode)
    try:
        if was_root:
            os.seteuid(65534)
        with pytest.raises(
            OSError, match=f"{folder}.* cannot be read|Permission denied: '.*{folder}"
        ) as caught:
            find_pictures(readable_root, "val" if folder == "val" else "train")
        assert isinstance(caught.value, PermissionError)
    finally:
        if was_root:
            os.seteuid(0)
        (readable_root / folder).chmod(0o755)


@pytest.mark.parametrize("aim", ["train/a", "train/b/sub"])
def test_a_folder_that_fails_while_it_is_read_is_named(root, monkeypatch, aim):
    real = os.scandir

    def failing(folder):
        if os.fspath(folder) == str(root / aim):
            raise OSError(5, "Input/output error")
        return real(folder)

    monkeypatch.setattr(walk.os, "scandir", failing)
    with pytest.raises(OSError, match=f"the folder .*{aim} cannot be read \\(Input/output error\\)"):
        find_pictures(root)


# ---- any links at all -----------------------------------------------------------------------------------

PLACES = ["train/a", "train/b", "train/a/sub", "train/b/sub", "val/a", "disk", "disk/x", "disk/x/y"]
AIMS = [
    *PLACES,
    ".",
    "train",
    "val",
    "train/a/1.jpg",
    "train/b/1.jpg",
    "disk/1.jpg",
    "disk/x/1.jpg",
    "nowhere.jpg",
]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["l", "m.jpg"])), st.sampled_from(AIMS), max_size=6
    )
)
@settings(max_examples=150)
def test_with_any_links_each_picture_is_found_once_and_in_its_own_class(tmp_path_factory, links):
    root = tmp_path_factory.mktemp("links")
    fill(root, *(f"{place}/1.jpg" for place in PLACES), "val/b/1.jpg")
    for (place, name), aim in links.items():
        (root / place / name).symlink_to(root / aim)
    try:
        pictures = find_pictures(root)
    except DataError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert "would be of two classes, " in refused or "nowhere.jpg, which is not there" in refused
        return
    there = [file.exists() for file in pictures.files]  # a link to nothing is named when it is read
    real = [os.path.realpath(file) for file in itertools.compress(pictures.files, there)]
    assert len(set(real)) == len(real)
    assert {str(root / place / "1.jpg") for place in PLACES[:4]} <= set(real)
    for path, label in zip(real, pictures.labels[there], strict=True):
        split, name, *_ = Path(path).relative_to(root).parts
        assert split == "disk" or name == pictures.classes[label]
    shutil.rmtree(root)
