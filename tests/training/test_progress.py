"""Where a run stands, and by which a loss that exploded is told from one that is only large."""

import json
import math
from dataclasses import asdict

import pytest

from minialex.errors import Diverged, NotFinite
from minialex.training.progress import Progress
from minialex.training.reports import Scores

LN10 = math.log(10)


def begun(loss=2.4, count=128, classes=10, **more):
    progress = Progress(**more)
    progress.begin(loss, count, classes)
    return progress


def after(progress, *losses, count=100):
    """The progress after steps with these losses; their rates are 0.1, 0.2, ..."""
    for loss in losses:
        progress.step += 1
        progress.add(progress.step, progress.step / 10, [loss, 0, 0], count)
    return progress


@pytest.mark.parametrize(
    ("loss", "count", "limit"),
    [
        (2.4, 128, 4.8),  # twice
        (83.0, 32, 166.0),  # LeNet-5 of 1998, whose loss is of squared distances
        (2.4, 8, 4.8),
        (0.001, 128, 1.0625 * LN10),  # trained before: 0.003 is no explosion, worse than guessing is one
        (0.001, 800, 1.01 * LN10),
        (0.1, 1, 9 * LN10),  # one picture, perhaps an easy one of a network with losses of 10
        (0.0, 16, 1.5 * LN10),
        (-3.0, 8, 2 * LN10),  # a loss of one's own
    ],
)
def test_the_limit_is_twice_the_first_loss_or_what_guessing_costs(loss, count, limit):
    assert begun(loss, count).limit == pytest.approx(limit)


def test_the_start_is_set_once_and_an_older_checkpoints_stays():
    progress = begun(2.4)
    progress.begin(9.0, 128, 10)
    assert (progress.start_loss, progress.limit) == (2.4, 4.8)


@pytest.mark.parametrize(
    ("losses", "exploded"), [([4.7], False), ([4.9], True), ([1.0, 8.5], False), ([1.0, 8.7], True)]
)
def test_an_epoch_has_exploded_by_its_mean(losses, exploded):
    progress = after(begun(), *losses)
    if exploded:
        with pytest.raises(
            Diverged, match=r"^the loss became too large: the mean of epoch 1 is 4\.\d+, more than "
        ):
            progress.check()
    else:
        progress.check()


@pytest.mark.parametrize(("of", "ends"), [(1000, True), (1041, True), (1043, False), (10_000, False)])
def test_an_epoch_ends_early_when_its_sum_is_too_much_for_all_of_its_pictures(of, ends):
    progress = after(begun(), 10.0, 40.0)  # a sum of 5,000; 4.8 * 1,041.7
    if not ends:
        return progress.check(of)
    with pytest.raises(Diverged, match=r"after 2 steps of epoch 1 the mean is 25, which makes the epoch's"):
        progress.check(of)


def test_the_message_quotes_the_start_and_where_it_broke_not_where_it_was_seen():
    progress = after(begun(epoch=3), 1.0, 4.0, 5.0, 900.0, 2.0)
    wanted = (
        r"mean of epoch 4 is 182\.4, more than twice the 2\.4 before the first step; "
        r"it broke at step 3 \(learning rate 0\.3\)"
    )
    with pytest.raises(NotFinite, match=wanted):
        progress.check()


def test_the_message_of_a_trained_network_quotes_its_limit():
    with pytest.raises(
        Diverged, match=r"is 3, more than 2\.446; before the first step it was 0\.1; it broke at"
    ):
        after(begun(0.1), 3.0).check()


def test_where_it_broke_is_of_one_epoch_and_survives_a_checkpoint():
    progress = after(begun(), 50.0)
    again = Progress.of(json.loads(json.dumps(asdict(progress))))
    with pytest.raises(Diverged, match=r"broke at step 1 \(learning rate 0\.1\)"):
        after(again, 60.0).check()
    assert progress.next_epoch({}, {}).broke is None


def scores(loss):
    return Scores(loss_sum=loss * 10, seen=10)


@pytest.mark.parametrize(
    ("losses", "tested", "good"),
    [
        ([2.3], 2.3, True),
        ([2.4], 2.3, False),  # not below the first
        ([2.5], 2.3, False),
        ([0.1], 9.0, True),  # overfitting
        ([0.1], 50.0, False),  # the last step has ruined it
    ],
)
def test_an_epoch_ends_well_with_a_loss_below_the_first(losses, tested, good):
    ended = after(begun(), *losses).next_epoch({"epoch": 1}, {"test": scores(1.0), "holdout": scores(tested)})
    assert ended.good is good
    assert (ended.epoch, ended.step, ended.start_loss, ended.limit) == (1, 0, 2.4, 4.8)


@pytest.mark.parametrize(("loss", "good"), [(0.1, True), (1.1, True), (1.3, False), (2.3, False)])
def test_a_trained_network_ends_an_epoch_well_while_it_is_far_from_guessing(loss, good):
    """Its first loss may be nearly 0, and above that is no harm done."""
    assert after(begun(0.01), loss).next_epoch({}, {}).good is good


def test_an_epoch_whose_last_steps_explode_has_not_ended_well():
    progress = after(begun(), *[0.1] * 20)
    progress.recent_loss = 5.0
    assert not progress.next_epoch({}, {}).good


@pytest.mark.parametrize(
    ("so_far", "recent", "signs"), [(1.0, 1.0, ""), (6.0, 1.0, "a loss of 6"), (1.0, 7.0, "a loss of 7")]
)
def test_an_epoch_that_is_exploding_shows_it(so_far, recent, signs):
    progress = after(begun(), so_far)
    progress.recent_loss = recent
    assert progress.spoiled.startswith(signs)
    assert bool(progress.spoiled) == bool(signs)


NEW = ("recent_loss", "start_loss", "limit", "broke", "good")


def of_before(progress):
    """As checkpoints had it before they knew where a run began."""
    return {name: value for name, value in asdict(progress).items() if name not in NEW}


@pytest.mark.parametrize(
    ("losses", "step", "start", "good"),
    [([], 4, None, False), ([2.0], 0, 2.0, False), ([2.0, 1.0], 0, 2.0, True), ([2.0, 1.0], 3, 2.0, False)],
)
def test_older_checkpoints_take_their_first_epoch_for_the_start(losses, step, start, good):
    history = [{"epoch": n + 1, "train_loss": loss} for n, loss in enumerate(losses)]
    progress = Progress.of(of_before(Progress(epoch=len(losses), step=step, history=history)))
    assert (progress.start_loss, progress.good) == (start, good)
    progress.begin(0.01, 128, 10)
    assert progress.limit == pytest.approx(max(2 * (start or 0.01), 1.0625 * LN10))
