"""What an epoch of each arm takes: measured alternately, so that a machine's slow minutes change no ratio."""

import itertools

import made_claims
import numpy as np
import pytest
from made_claims import four, lenet

from minialex.claims import pace
from minialex.devices.device import Device


@pytest.fixture(autouse=True)
def sets(monkeypatch):
    return made_claims.made_pictures(monkeypatch)


def test_a_machine_that_slows_down_changes_no_ratio(monkeypatch):
    """a takes 2 a step, b 3; from the second round on all takes ten times as long."""
    steps = zip(itertools.chain([1, 1], itertools.repeat(10)), itertools.cycle([2.0, 3.0]), strict=False)
    monkeypatch.setattr(
        pace, "seconds_a_step", lambda mine, seconds: (lambda slow, own: slow * own)(*next(steps))
    )
    found = pace.paces_of({"a": lenet(), "b": lenet(batch_size=30)}, rounds=5)  # 3 steps an epoch, and 2
    assert found == pytest.approx({"a": 10 * 2 * 3, "b": 10 * 3 * 2})


def test_one_slow_round_of_one_arm_does_not_count(monkeypatch):
    steps = iter([1.0, 2.0, 1.0, 50.0, 1.0, 2.0])
    monkeypatch.setattr(pace, "seconds_a_step", lambda mine, seconds: next(steps))
    assert pace.paces_of({"a": lenet(), "b": lenet()}, rounds=3) == {"a": 3.0, "b": 6.0}


def test_who_makes_new_pictures_takes_longer():
    arms = {"plain": lenet(), "distorted": lenet(augment=("distortions",))}
    found = pace.paces_of(arms, rounds=3, seconds=0.05)
    assert found["distorted"] > found["plain"] > 0


def test_a_step_is_one_of_training_on_the_arms_own_batches(monkeypatch, sets):
    seen = []
    monkeypatch.setattr(
        pace, "train_step", lambda model, optimizer, x, labels: seen.append((model, x, labels))
    )
    steps = pace.steps_of(four(batch_size=20, norm="batch"))
    assert [next(steps) for _ in range(4)] == [3] * 4  # goes on into the next epoch
    assert [x.shape for _, x, _ in seen] == [(20, 3, 32, 32)] * 4
    assert sorted(np.concatenate([labels for *_, labels in seen[:3]])) == sorted(sets["cifar10"][0][1][:60])
    assert seen[0][0].training


def test_one_thread_works_meanwhile(monkeypatch):
    """As in the runs themselves."""
    cpu, seen = Device("cpu"), []
    monkeypatch.setattr(cpu, "threads", 2)
    monkeypatch.setattr(pace, "train_step", lambda *given: seen.append(cpu.threads))
    pace.paces_of({"a": four()}, rounds=1, seconds=0.0)
    assert (set(seen), cpu.threads) == ({1}, 2)


def test_seconds_a_step_are_of_as_many_steps_as_fit(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(pace.time, "process_time", lambda: float(next(clock)))
    assert pace.seconds_a_step(iter(range(100)), 5.0) == 1.0
    assert pace.seconds_a_step(iter(range(100)), 0.0) == 1.0
