"""Labels belong to names: whatever order, or part, of a network's classes one meets."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minialex.data.classes import (
    are_same,
    check_classes,
    differences,
    first_words,
    index_map,
    numbers_in,
    read_names,
    reorder,
)
from minialex.data.folder import PictureList
from minialex.errors import DataError

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1).map(str.strip)
LISTS = st.lists(NAMES.filter(bool), min_size=1, unique_by=lambda name: unicodedata.normalize("NFC", name))


@given(LISTS, st.data())
def test_any_part_of_the_trained_names_in_any_order_has_their_numbers(trained, data):
    part = data.draw(st.lists(st.sampled_from(trained)))
    numbers = numbers_in(trained, part, "val/")
    assert [trained[number] for number in numbers] == part
    assert numbers.dtype == np.int64


@given(LISTS, st.data())
def test_a_list_of_pictures_keeps_the_name_of_each(trained, data):
    classes = data.draw(st.permutations(trained))
    labels = np.array(data.draw(st.lists(st.integers(0, len(classes) - 1))), dtype=np.int64)
    found = PictureList([f"{i}.jpg" for i in labels], labels, classes)
    mapped = found.numbered_as(trained)
    assert [trained[i] for i in mapped.labels] == [classes[i] for i in labels]
    assert mapped.classes == trained


def test_classes_without_pictures_need_not_be_trained():
    found = PictureList(["1.jpg"], np.array([1]), ["apple", "cat"])
    assert found.numbered_as(["cat", "dog"]).labels.tolist() == [0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["apple", "cat", "dog"],
            "val/ has 1 of 3 classes that the network was not trained on: apple. It was trained",
        ),
        (["Cat"], "not trained on: Cat. It was trained on 3, cat, dog, fish; val/ has Cat"),
        (["1", "2", "3"], "3 of 3 classes that the network was not trained on: 1, 2, 3"),
        (["cats", "c"], "2 of 2 .*: cats, c"),
        ([f"x{i}" for i in range(9)], "9 of 9 .*: x0, x1, x2, x3, x4 and 4 more"),
    ],
)
def test_a_name_that_was_not_trained_is_named_with_both_lists(names, message):
    with pytest.raises(DataError, match=message):
        numbers_in(["cat", "dog", "fish"], names, "val/")


def test_lines_that_begin_with_a_wnid_are_known_by_it():
    trained = ["n02119789 kit fox, Vulpes macrotis", "n01440764 tench, Tinca tinca", "n01443537"]
    assert numbers_in(trained, ["n01440764", "n01443537", "n02119789"], "val/").tolist() == [1, 2, 0]
    assert numbers_in(trained, trained, "val/").tolist() == [0, 1, 2]
    assert first_words(trained) == ["n02119789", "n01440764", "n01443537"]
    assert are_same(trained, ["n02119789", "n01440764", "n01443537 goldfish"])


def test_other_first_words_are_no_names():
    """A tiger is no tiger shark."""
    with pytest.raises(DataError, match="not trained on: tiger"):
        numbers_in(["tiger shark, Galeocerdo", "cat"], ["tiger"], "val/")


def test_a_name_that_the_network_has_twice_says_nothing():
    trained = ["crane", "cat", "crane"]
    assert numbers_in(trained, ["cat"], "val/").tolist() == [1]
    with pytest.raises(DataError, match="crane: the network has 2 classes of this name"):
        numbers_in(trained, ["cat", "crane"], "val/")


def test_accents_may_be_written_apart():
    apart = unicodedata.normalize("NFD", "crème brûlée")
    assert numbers_in(["cat", "crème brûlée"], [apart], "val/").tolist() == [1]
    assert numbers_in(["cat", apart], ["crème brûlée"], "val/").tolist() == [1]
    assert are_same([apart], ["crème brûlée"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["b", "a"], False),
        (["a", "b"], ["a", "c"], False),
        (["a", "b"], ["a"], False),
    ],
)
def test_the_same_classes_are_the_same_names_in_the_same_order(one, other, same):
    assert are_same(one, other) == same


def test_differences_are_told_where_long_lists_begin_alike():
    many = [f"c{i:03}" for i in range(1000)]
    assert differences(many, [*many[:-1], "x"]) == "only the first has c999; only the second has x"
    assert differences(many[:-1], many) == "only the second has c999"
    assert differences(["a", "b"], ["b", "a"]) == "they are in another order"


@given(LISTS, st.data())
def test_lines_follow_the_names_they_begin_with(trained, data):
    words = [name.replace(" ", "_") for name in trained]
    words = [word if word.split() == [word] else f"w{i}" for i, word in enumerate(words)]
    words = list(dict.fromkeys(words))
    lines = [f"{word} and more {i}" for i, word in enumerate(words)]
    assert reorder(data.draw(st.permutations(lines)), words, "names.txt") == lines
    assert reorder(data.draw(st.permutations(words)), words, "names.txt") == words


@pytest.mark.parametrize(
    "lines",
    [
        ["apple", "cat", "dog"],
        ["cat", "dog"],
        ["cat", "cat", "dog"],
        ["cat x", "cat y", "dog"],
        ["cat", "dog", "fishes"],
    ],
)
def test_lines_of_other_classes_are_refused(lines):
    with pytest.raises(
        ValueError, match=r"names.txt names other classes \(.*\) than .* on \(cat, dog, fish\): leave"
    ):
        reorder(lines, ["cat", "dog", "fish"], "names.txt")


@pytest.mark.parametrize(
    ("content", "count", "wanted"),
    [
        ("cat\ndog\n", 2, ["cat", "dog"]),
        ("\ufeffcat \r\n dog\r\n\r\n", 2, ["cat", "dog"]),
        ("cat\ndog\n", 3, r"names.txt has 2 names, the network 3 classes"),
        ("cat\n\ndog\n", 3, r"names.txt, line 2, is empty"),
        ("", 1, r"names.txt has 0 names"),
    ],
)
def test_a_file_of_names_has_one_for_each_class(tmp_path, content, count, wanted):
    (tmp_path / "names.txt").write_text(content, encoding="utf-8")
    if isinstance(wanted, list):
        assert read_names(tmp_path / "names.txt", count) == wanted
    else:
        with pytest.raises(ValueError, match=wanted):
            read_names(tmp_path / "names.txt", count)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (sorted(map(str, range(12))), "0 = 0, 1 = 1, 2 = 10, 3 = 11, 4 = 2, "),
        (["1", "2", "3"], "0 = 1, 1 = 2, 2 = 3"),
        (["00", "01"], "0 = 00, 1 = 01"),
        (["0", "1", "2"], ""),
        (["cat", "dog"], ""),
        (["0", "cat"], ""),
    ],
)
def test_the_numbers_of_folders_called_by_other_numbers_are_shown(names, shown):
    assert index_map(names).startswith(shown)
    assert bool(index_map(names)) == bool(shown)


class Named:
    """A model, or batches, that may say classes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def batches_of(classes):
    return Named(pictures=PictureList([], np.array([], dtype=np.int64), classes))


@pytest.mark.parametrize("found", [["dog", "cat"], ["cat"], ["cat", "eel"]])
def test_a_model_and_pictures_of_other_classes_do_not_meet(found):
    with pytest.raises(
        DataError, match=r"the model's classes are cat, dog, the pictures' .*trained=model.classes"
    ):
        check_classes(Named(classes=["cat", "dog"]), batches_of(found))


def test_where_one_says_no_classes_nothing_is_known():
    check_classes(Named(), batches_of(["cat"]))
    check_classes(Named(classes=["cat"]), Named(pictures=np.zeros(3)))
    check_classes(Named(classes=["cat"]), None)
    check_classes(Named(classes=["cat", "dog"]), batches_of(["cat", "dog"]))
