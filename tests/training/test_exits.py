"""Training exit by exit."""

import numpy as np
import pytest

import minialex as mx
from minialex.data.loader import ArrayBatches
from minialex.training.exits import exit_by_exit, exit_of, first_epoch
from minialex.training.loop import fit
from minialex.training.optim import Constant, Cosine, Cosines, make_schedule, settings_of, take_up


@pytest.mark.parametrize(("exits", "epochs"), [(1, 1), (3, 3), (3, 10), (4, 7)])
def test_every_exit_gets_its_epochs_in_turn(exits, epochs):
    order = [exit_of(epoch, exits, epochs) for epoch in range(epochs)]
    assert order == sorted(order)
    assert set(order) == set(range(1, exits + 1))
    counts = [order.count(exit) for exit in set(order)]
    assert max(counts) - min(counts) <= 1
    assert [order.index(exit) for exit in range(1, exits + 1)] == [
        first_epoch(exit, exits, epochs) for exit in range(1, exits + 1)
    ]


def test_fewer_epochs_than_exits_are_an_error():
    model = mx.models.smartnet(3, num_classes=3, preset="small", width=0.1, image_size=8)
    with pytest.raises(ValueError, match="3 exits, trained one after the other, need 3 epochs, not 2"):
        exit_by_exit(model, 2)


@pytest.mark.parametrize(("epochs", "times"), [(4, 2), (7, 3), (5, 1)])
def test_cosines_are_a_cosine_for_each_part(epochs, times):
    schedule = Cosines(0.1, epochs, times, warmup=0.5)
    for number in range(times):
        first, end = first_epoch(number + 1, times, epochs), first_epoch(number + 2, times, epochs)
        for share in (0.0, 0.2, 0.5, 0.99):
            at = first + share * (end - first)
            assert schedule(at) == pytest.approx(Cosine(0.1, end - first, 0.5)(at - first))
    assert schedule(epochs) == pytest.approx(0.0)


def test_a_run_that_goes_on_keeps_its_cosines():
    schedule = Cosines(0.1, 4, 2)
    said = take_up(Cosines(0.1, 4, 2), schedule.state(), settings_of(schedule), 2.0, 4)
    assert said == "Going on in epoch 3 at a learning rate of 0.1."
    said = take_up(Cosines(0.1, 4, 2), {}, settings_of(make_schedule("cosine", 0.1, 4)), 2.0, 4)
    assert "the rate goes from 0.05 to 0.1 here" in said


def pictures(count=16):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(count, 3, 8, 8)).astype(np.float32), rng.integers(0, 3, count)
    return ArrayBatches(x, labels, 8, seed=0)


class Stop(Exception):
    pass


def run(folder, resume=None, stop_at=None):
    """Two epochs for each of two exits; stopped before an epoch, where that is asked for."""
    model = mx.models.smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8, rng=1)
    optimizer = mx.SGD(model.parameters(), 0.1, penalty=0.3)
    before_epoch = exit_by_exit(model, 4)

    def each_epoch(epoch, begun):
        if epoch == stop_at:
            raise Stop
        before_epoch(epoch, begun)

    batches = pictures()
    fit(model, optimizer, Constant(0.1), batches, holdout=batches, epochs=4, folder=folder, checkpoint_every=1,
        resume=resume, each_epoch=each_epoch, best_from=2)  # fmt: skip
    return mx.weights.export_grouped(model)


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_run_that_stopped_anywhere_goes_on_to_the_same_bits(tmp_path, stop_at):
    whole = run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "part", stop_at=stop_at)
    resumed = run(
        tmp_path / "part", mx.checkpoint.load_checkpoint(tmp_path / "part" / "checkpoint.safetensors")
    )
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert (whole["exit2.gate.weight"] != 1).any()  # something has been learned


def test_the_first_exit_stays_to_the_last_bit_while_the_second_is_trained(tmp_path):
    kept = {}

    class Watched(ArrayBatches):
        def in_order(self):
            kept.setdefault("first", []).append(self.model.answers(self.pictures)[:, 0])
            return super().in_order()

    model = mx.models.smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8, rng=1)
    batches = pictures()
    watched = Watched(batches.pictures, batches.labels, 8)
    watched.model = model
    fit(model, mx.SGD(model.parameters(), 0.1, weight_decay=0.1, penalty=0.3), Constant(0.1), batches, holdout=watched,
        epochs=4, each_epoch=exit_by_exit(model, 4))  # fmt: skip
    first = kept["first"]
    assert not np.array_equal(first[0], first[1])  # after each epoch; the first two are the first exit's
    assert np.array_equal(first[1], first[2])
    assert np.array_equal(first[1], first[3])


def test_the_best_epoch_is_one_of_the_last_exit(tmp_path):
    run(tmp_path)
    best = mx.weights.load(tmp_path / "best.safetensors")
    begun = mx.models.smartnet(2, num_classes=3, preset="small", width=0.1, image_size=8, rng=1)
    fresh = mx.weights.export_grouped(begun)["block2.layer1.conv.weight"]
    assert not np.array_equal(best["block2.layer1.conv.weight"], fresh)
