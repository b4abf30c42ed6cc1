"""Tiny ImageNet as it comes: train/<wnid>/images, val/images, and val/val_annotations.txt."""

import pytest

from minialex.data.folder import find_pictures
from minialex.data.truth import ANNOTATIONS
from minialex.errors import DataError

LINES = "val_10.JPEG\tn02\t0\t32\t44\t62\nval_2.JPEG\tn01\t52\t55\t57\t59\nval_0.JPEG\tn02\t4\t0\t60\t55\n"


@pytest.fixture
def tiny(tmp_path):
    names = ["train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG", "train/n03/images/n03_0.JPEG"]
    names += ["train/n01/n01_boxes.txt", "test/images/test_0.JPEG", "wnids.txt"]
    for name in names + [f"val/images/val_{i}.JPEG" for i in (0, 2, 10)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "val" / ANNOTATIONS).write_text(LINES)
    return tmp_path


def test_each_picture_has_the_class_of_its_line(tiny):
    pictures = find_pictures(tiny, "val")
    assert pictures.classes == ["n01", "n02", "n03"]
    found = {path.name: pictures.classes[k] for path, k in zip(pictures.files, pictures.labels, strict=True)}
    assert found == {"val_0.JPEG": "n02", "val_2.JPEG": "n01", "val_10.JPEG": "n02"}
    assert not pictures.passed
    assert len(find_pictures(tiny)) == 3


def test_a_file_that_is_named_goes_before_it(tiny):
    (tiny / "mine.txt").write_text("val_0.JPEG n03\nval_2.JPEG n03\nval_10.JPEG n01\n")
    assert find_pictures(tiny, "val", tiny / "mine.txt").labels.tolist() == [
        2,
        0,
        2,
    ]  # val_10 sorts before val_2
    assert find_pictures(tiny, "val", tiny / "val" / ANNOTATIONS).labels.tolist() == [1, 1, 0]


def test_class_folders_that_someone_made_go_before_it(tiny):
    for name in ("n01", "n02"):
        (tiny / "val" / name).mkdir()
        (tiny / "val" / "images" / f"val_{int(name[1:]) * 2 - 2}.JPEG").rename(tiny / "val" / name / "a.JPEG")
    (tiny / "val" / "images" / "val_10.JPEG").unlink()
    (tiny / "val" / "images").rmdir()
    assert find_pictures(tiny, "val").labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (LINES.replace("\t62", ""), "val_annotations.txt, line 1, should be 6 words"),
        ("".join(LINES.splitlines(keepends=True)[1:]), r"says nothing of 1 of 3 pictures: val_10\.JPEG"),
        (LINES.replace("n01", "n09"), "classes that are not among the 3 known ones: n09"),
        (LINES + LINES.replace("n01", "n03"), "two things of the picture val_2.JPEG: n01 and n03"),
    ],
)
def test_lines_that_do_not_fit_are_refused(tiny, lines, message):
    (tiny / "val" / ANNOTATIONS).write_text(lines)
    with pytest.raises(DataError, match=message):
        find_pictures(tiny, "val")


def test_without_it_a_folder_called_images_is_a_class(tiny):
    (tiny / "val" / ANNOTATIONS).unlink()
    with pytest.raises(DataError, match="has 1 class that train/ has not: images"):
        find_pictures(tiny, "val")
