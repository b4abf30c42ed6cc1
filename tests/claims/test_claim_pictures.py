"""Which pictures an arm sees, in which order, and what new ones are made of them."""

import warnings

import made_claims
import numpy as np
import pytest
from made_claims import TRAIN, four, lenet

from minialex.claims import pictures
from minialex.claims.arm import AUGMENTED
from minialex.claims.pictures import Augmented, check_data, pictures_of, scale_of, sums_of
from minialex.claims.training import train_once


@pytest.fixture(autouse=True)
def sets(monkeypatch):
    return made_claims.made_pictures(monkeypatch)


@pytest.fixture
def held(monkeypatch):
    monkeypatch.setattr(pictures, "HELD_OUT", 40)


def rows(x):
    return {one.tobytes() for one in x}


class Untouchable:
    """A test set that nobody may look at."""

    def __getattribute__(self, name):
        raise AssertionError(f"the test set was asked for its {name}")

    __getitem__ = __len__ = __array__ = lambda self, *args: pytest.fail("the test set was looked at")


def test_a_sum_is_of_the_bytes_and_the_labels_of_both_parts(monkeypatch, sets):
    one = made_claims.experiment()
    before = sums_of(one)
    assert set(before) == {"mnist"}
    assert set(sums_of(made_claims.experiment(a=lenet(), b=four()))) == {"cifar10", "mnist"}
    (x, labels), test = sets["mnist"]
    for changed in [
        ((x ^ 1, labels), test),
        ((x, labels[::-1]), test),
        ((x, labels), (test[0] ^ 1, test[1])),
    ]:
        monkeypatch.setattr(pictures, "_loaded", {"mnist": changed})
        assert sums_of(one) != before
    monkeypatch.setattr(pictures, "_loaded", {"mnist": ((np.asfortranarray(x), labels), test)})
    assert sums_of(one) == before


# ---- which ones --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("arm", [lenet(), four(), lenet(schedule="plateau")])
def test_choosing_never_looks_at_the_test_set(monkeypatch, arm):
    train, _ = pictures.loaded(arm.data)
    monkeypatch.setattr(pictures, "loaded", lambda name: (train, (Untouchable(), Untouchable())))
    outcomes, _ = train_once(arm.but(epochs=1), seed=100, rate=0.01, choosing=True)
    assert outcomes["test_error"] >= 0


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("arm", [lenet(pictures=TRAIN), four(pictures=TRAIN)])
def test_while_a_rate_is_chosen_nobody_trains_with_what_it_is_chosen_by(arm):
    found = pictures_of(arm, choosing=True)
    assert (len(found.train[0]), len(found.test[0])) == (TRAIN - 40, 40)
    assert not rows(found.train[0]) & rows(found.test[0])


@pytest.mark.usefixtures("held")
def test_cifars_arms_never_train_with_held_out_pictures():
    assert len(pictures_of(four(pictures=TRAIN)).train[0]) == TRAIN - 40
    assert not rows(pictures_of(four(pictures=TRAIN)).train[0]) & rows(
        pictures_of(four(), choosing=True).test[0]
    )


@pytest.mark.usefixtures("held")
def test_mnists_arms_train_with_all_at_the_end():
    assert len(pictures_of(lenet(pictures=TRAIN)).train[0]) == TRAIN


def test_a_small_arm_is_chosen_by_as_many_as_it_trains_with():
    assert len(pictures_of(lenet(), choosing=True).test[0]) == 60


def test_a_small_arm_is_tested_with_as_many_as_it_trains_with():
    assert [len(part) for part in (*pictures_of(lenet()).test, *pictures_of(lenet()).curve)] == [60] * 4


def test_a_large_arm_is_tested_with_all_and_its_curve_with_some(monkeypatch):
    monkeypatch.setattr(pictures, "EACH_EPOCH", 50)
    found = pictures_of(four(pictures=100))
    assert (len(found.test[0]), len(found.curve[0])) == (made_claims.TEST, 50)
    np.testing.assert_array_equal(found.curve[0], found.test[0][:50])


def test_labels_stay_with_their_pictures(sets):
    (x, labels), _ = sets["cifar10"]
    of = {one.tobytes(): label for one, label in zip(x, labels, strict=True)}
    for part in (pictures_of(four()).train, pictures_of(four(), choosing=True).test):
        assert [of[one.tobytes()] for one in part[0]] == part[1].tolist()


def test_nobody_can_write_into_the_sets():
    with pytest.raises(ValueError, match="read-only"):
        pictures_of(lenet()).train[0][:] = 0


# ---- in which order ----------------------------------------------------------------------------------


def batches(arm, seed, epoch, prepare=lambda x: x):
    found = pictures_of(arm)
    made = Augmented(*found.train, arm.batch_size, seed, arm.augment, prepare)
    return [(x, labels) for x, labels in made.shuffled(epoch)]


@pytest.mark.parametrize(
    "change", [{"window": 2}, {"momentum": 0.0}, {"augment": ("colour",)}, {"augment": AUGMENTED}]
)
def test_both_arms_see_the_pictures_in_the_same_order(change):
    one, other = (batches(arm, seed=1, epoch=1) for arm in (four(), four().but(**change)))
    assert [labels.tolist() for _, labels in one] == [labels.tolist() for _, labels in other]


def test_colour_alone_leaves_the_pictures_where_they_were():
    (plain, _), (coloured, _) = (batches(arm, 1, 0)[0] for arm in (four(), four(augment=("colour",))))
    shift = coloured - plain
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :, :1, :1], shift.shape), atol=1e-4)
    assert len(np.unique(shift[:, 0, 0, 0])) == len(shift)


def test_flips_mirror_some_and_leave_the_others():
    (plain, _), (flipped, _) = (batches(arm, 1, 0)[0] for arm in (four(), four(augment=("flips",))))
    same = (plain == flipped).all(axis=(1, 2, 3))
    mirrored = (plain[..., ::-1] == flipped).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert same.any()
    assert mirrored.any()


def test_crops_are_of_the_picture_with_four_zeros_around_it():
    (plain, _), (cropped, _) = (batches(arm, 1, 0)[0] for arm in (four(), four(augment=("crops",))))
    padded, places = np.pad(plain, [(0, 0), (0, 0), (4, 4), (4, 4)]), []
    for whole, one in zip(padded, cropped, strict=True):
        places += [
            (i, j) for i in range(9) for j in range(9) if (whole[:, i : i + 32, j : j + 32] == one).all()
        ]
    assert len(places) == len(plain)
    assert len(set(places)) > 10


def test_each_kind_draws_what_it_draws_alone_when_others_are_there():
    """So that "all" is crops, flips and colours of the single arms."""
    (both, _), (flips, _) = (batches(four(augment=a), 1, 0)[0] for a in (("flips", "colour"), ("flips",)))
    shift = both - flips
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :, :1, :1], shift.shape), atol=1e-4)


@pytest.mark.parametrize("kind", AUGMENTED)
def test_new_pictures_are_the_same_for_the_same_seed_and_epoch_and_no_others(kind):
    arm = four(augment=(kind,))
    one, again, next_epoch, next_seed = (
        batches(arm, s, e)[0][0] for s, e in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    np.testing.assert_array_equal(one, again)
    assert (one != next_epoch).any()
    assert (one != next_seed).any()


@pytest.mark.parametrize("kind", AUGMENTED)
def test_tests_are_of_the_pictures_as_they_are(kind):
    found = pictures_of(four())
    (x, _), *_ = Augmented(*found.train, 20, 1, (kind,)).in_order()
    np.testing.assert_array_equal(x, found.train[0][:20])


def test_inputs_are_bytes_less_their_mean_picture_divided_by_64():
    x = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 2, 2) * 10
    new = scale_of(x)(x)
    np.testing.assert_allclose(new, (x - x.mean(axis=0)) / 64, rtol=1e-6)
    assert new.dtype == np.float32


# ---- missing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arm", "name"), [(lenet(), "mnist"), (four(), "cifar10")])
def test_a_set_that_is_not_here_is_told_with_the_command_that_fetches_it(monkeypatch, arm, name):
    def missing(*args, download):
        assert not download
        raise FileNotFoundError("not here")

    monkeypatch.setattr(pictures, "load", missing)
    with pytest.raises(FileNotFoundError, match=rf'not here\nThis fetches it: .*mx\.data\.load\("{name}"\)'):
        check_data(made_claims.experiment(a=arm, b=arm.but(epochs=1)))


def test_a_set_that_is_here_is_no_error():
    assert check_data(made_claims.experiment(a=lenet(), b=four())) == []


def test_what_is_to_be_said_of_a_set_is_said_once(monkeypatch, sets):
    def load(name, download):
        warnings.warn("they are JPEGs", UserWarning, stacklevel=2)
        return sets[name]

    monkeypatch.setattr(pictures, "load", load)
    assert check_data(made_claims.experiment(a=four(), b=four(window=2))) == ["they are JPEGs"]
    assert check_data(made_claims.experiment(a=four(), b=four(window=2))) == []


def test_sets_that_were_laid_out_are_the_same_and_read_only(monkeypatch, sets, tmp_path):
    pictures.lay_out(tmp_path, ["cifar10"])
    monkeypatch.setattr(pictures, "_loaded", {})
    monkeypatch.setattr(pictures, "load", lambda name, download: pytest.fail("it is there"))
    pictures.read_laid_out(tmp_path, ["cifar10"])
    for pair, wanted in zip(pictures.loaded("cifar10"), sets["cifar10"], strict=True):
        for one, other in zip(pair, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
            assert not one.flags.writeable


@pytest.mark.parametrize("start", [1, 2])
def test_an_epoch_that_is_entered_later_has_the_same_pictures(start):
    x, labels = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 6), np.uint8), np.arange(5)
    all_of_them = "crops", "flips", "colour", "distortions"
    whole = [*Augmented(x, labels, 2, 1, all_of_them).shuffled(3)]
    later = [*Augmented(x, labels, 2, 1, all_of_them).shuffled(3, start)]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(later, whole[start:], strict=True))
