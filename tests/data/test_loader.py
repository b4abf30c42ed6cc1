"""Batches: an order that hangs on nothing but (seed, epoch), and can be entered in the middle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minialex.data.loader import ArrayBatches


def batches_of(count, batch_size, seed=0, **kwargs):
    """Pictures that are their own number; a label is 1000 more."""
    numbers = np.arange(count)
    return ArrayBatches(numbers, numbers + 1000, batch_size, seed, **kwargs)


def as_lists(batches):
    return [(pictures.tolist(), labels.tolist()) for pictures, labels in batches]


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 50))


@given(sizes=SIZES, seed=st.integers(0, 2**32), epoch=st.integers(0, 200))
def test_an_epoch_has_every_picture_once_with_its_label(sizes, seed, epoch):
    count, batch_size = sizes
    found = as_lists(batches_of(count, batch_size, seed).shuffled(epoch))
    pictures = [picture for batch, _ in found for picture in batch]
    assert sorted(pictures) == list(range(count))
    assert [label - 1000 for _, labels in found for label in labels] == pictures


@given(sizes=SIZES)
def test_all_batches_are_full_but_the_last(sizes):
    count, batch_size = sizes
    batches = batches_of(count, batch_size)
    lengths = [len(labels) for _, labels in batches.shuffled(0)]
    assert len(lengths) == len(batches)
    assert all(length == batch_size for length in lengths[:-1])
    assert lengths[-1] == (count % batch_size or batch_size)


@given(sizes=SIZES, start=st.integers(0, 60), epoch=st.integers(0, 5))
def test_an_epoch_entered_in_the_middle_is_its_tail(sizes, start, epoch):
    batches = batches_of(*sizes)
    assert as_lists(batches.shuffled(epoch, start)) == as_lists(batches.shuffled(epoch))[start:]


def test_the_order_hangs_on_seed_and_epoch_alone():
    batches = batches_of(50, 8, seed=3)
    first = as_lists(batches.shuffled(4))
    list(batches.shuffled(5))
    np.random.seed(1)  # noqa: NPY002   (a global state that nothing may look at)
    assert as_lists(batches.shuffled(4)) == first
    assert as_lists(batches_of(50, 8, seed=3).shuffled(4)) == first


@pytest.mark.parametrize(("seed", "epoch"), [(3, 5), (4, 4), (4, 3)])
def test_another_seed_or_epoch_gives_another_order(seed, epoch):
    assert as_lists(batches_of(50, 8, seed).shuffled(epoch)) != as_lists(batches_of(50, 8, 3).shuffled(4))


def test_the_order_is_the_same_for_every_batch_size():
    in_eights, in_threes = (
        [picture for batch, _ in batches_of(20, size).shuffled(1) for picture in batch] for size in (8, 3)
    )
    assert in_eights == in_threes


def test_in_order_means_as_the_pictures_come():
    assert as_lists(batches_of(5, 2).in_order()) == [
        ([0, 1], [1000, 1001]),
        ([2, 3], [1002, 1003]),
        ([4], [1004]),
    ]


def test_pictures_are_prepared_a_batch_at_a_time_and_labels_left_alone():
    seen = []

    def prepare(pictures):
        seen.append(len(pictures))
        return pictures * 10.0

    batches = as_lists(batches_of(5, 2, prepare=prepare).in_order())
    assert seen == [2, 2, 1]
    assert batches[1] == ([20.0, 30.0], [1002, 1003])


def test_the_callers_arrays_stay_as_they_are():
    pictures, labels = np.arange(6), np.arange(6)
    batch, its_labels = next(ArrayBatches(pictures, labels, 3).in_order())
    batch[:], its_labels[:] = -1, -1
    assert pictures.tolist() == labels.tolist() == list(range(6))


@pytest.mark.parametrize(("pictures", "labels"), [(0, 0), (3, 2), (0, 1)])
def test_there_must_be_pictures_and_a_label_for_each(pictures, labels):
    with pytest.raises(ValueError, match=f"{pictures} pictures and {labels} labels?:"):
        ArrayBatches(np.zeros(pictures), np.zeros(labels), 2)


def test_a_batch_has_at_least_one_picture():
    with pytest.raises(ValueError, match="at least 1 picture, not 0"):
        batches_of(3, 0)


@pytest.mark.parametrize("size", [2.5, "2", True, None])
def test_a_batch_has_a_whole_number_of_pictures(size):
    with pytest.raises(ValueError, match=rf"^a batch has at least 1 picture, not {size!r}"):
        ArrayBatches(np.arange(5), np.arange(5), size)


def test_lists_are_taken_as_arrays():
    ((x, labels),) = ArrayBatches([[1.0], [2.0]], [0, 1], 2).in_order()
    assert (x.tolist(), labels.tolist()) == ([[1.0], [2.0]], [0, 1])
