"""The plan: its numbers by hand, and what it cannot be asked."""

import numpy as np
import pytest

import minialex as mx
from minialex.cluster import planning


@pytest.fixture(scope="module")
def network():
    """Two convolutions' worth of little, and layers that share units."""
    return mx.Model(
        conv=mx.Conv2D(1, 2, 3),
        flatten=mx.Flatten(),
        fc1=mx.Linear(2 * 4 * 4, 8),
        relu=mx.ReLU(),
        fc2=mx.Linear(8, 4),
        picture_shape=(1, 6, 6),
    )


ADDS = 2 * 9 * 16, 32 * 8 + 8 * 4  # multiply-adds of the convolution and of the others


def test_work_is_shared_out_and_pictures_are_whole(network):
    """Forward once, backward twice, two operations each; of 10 pictures the fourth process has 3 as well."""
    steps = mx.cluster.plan(network, batch=10, workers=[1, 4, 16], flops=1e6).of("data")
    of_one = 6 * sum(ADDS) / 1e6
    assert [step.work for step in steps] == pytest.approx([10 * of_one, 3 * of_one, of_one])


def test_a_sum_is_a_scatter_and_a_gather(network):
    (step,) = mx.cluster.plan(network, 8, [4], bandwidth=1e3, latency=0.5, flops=1e6).of("data")
    size = 4 * (2 * 9 + 2 + 8 * 32 + 8 + 4 * 8 + 4)
    assert step.bytes_sent == 2 * 3 * size // 4
    assert step.sums == pytest.approx(step.bytes_sent / 1e3 + 2 * 2 * 0.5)
    assert step.exchanges == 0


def test_the_trick_exchanges_maps_and_units_and_their_gradients(network):
    """Maps and hidden units there and back, logits there; the convolution's gradients are summed."""
    plan = mx.cluster.plan(network, 8, [4], bandwidth=1e3, latency=0.5, flops=1e6)
    convolution = 2 * 3 * (4 * 20) // 4
    numbers = [32, 8, 4, 32, 8]
    (a,), (b,) = plan.of("weird-trick a"), plan.of("weird-trick b")
    assert a.bytes_sent == b.bytes_sent == convolution + sum(3 * 4 * 8 * n // 4 for n in numbers)
    assert a.exchanges == pytest.approx(sum(3 * 4 * 8 * n // 4 for n in numbers) / 1e3 + 5 * 2 * 0.5)
    assert b.exchanges == pytest.approx(a.exchanges + 5 * 3 * 2 * 0.5)  # four turns in place of one
    assert a.work == pytest.approx(6 * (2 * ADDS[0] + 8 * ADDS[1] / 4) / 1e6)


def test_there_is_no_trick_for_more_processes_than_units(network):
    ways = {step.parallel for step in mx.cluster.plan(network, workers=[8], flops=1e6).steps}
    assert ways == {"data"}


def test_what_backward_hides_is_taken_off():
    step = planning.Step(4, "data", work=3.0, sums=1.0, exchanges=0.5, bytes_sent=1)
    assert (step.seconds, step.seconds_hidden) == (4.5, 3.5)
    slow = planning.Step(4, "data", work=3.0, sums=5.0, exchanges=0.0, bytes_sent=1)
    assert slow.seconds_hidden == 6.0


def test_batch_normalisation_waits_three_times_a_layer():
    def sums(norms):
        layers = [
            mx.Conv2D(3, 4, 3),
            *(mx.BatchNorm2D(4) for _ in range(norms)),
            mx.Flatten(),
            mx.Linear(64, 2),
        ]
        model = mx.Model(*layers, picture_shape=(3, 6, 6))
        (step,) = mx.cluster.plan(model, 8, [2], bandwidth=1e30, latency=1.0, flops=1e6).of("data")
        return step.sums

    assert sums(5) - sums(0) == pytest.approx(5 * 3 * 2)


def test_it_prints_a_line_for_each_step(network):
    plan = mx.cluster.plan(network, workers=[1, 2], flops=1e6)
    lines = str(plan).splitlines()
    assert len(lines) == 3 + len(plan.steps) == 3 + 5
    assert "weird-trick c" in lines[-2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 0}, "batch must be a whole number >= 1, not 0"),
        ({"batch": 2.5}, "batch must be a whole number >= 1, not 2.5"),
        ({"batch": "128"}, "batch must be a whole number >= 1, not '128'"),
        ({"bandwidth": "1e9"}, "bandwidth must be a number above 0, not '1e9'"),
        ({"flops": np.array([1.0, 2.0])}, "flops must be a number above 0, not array"),
        ({"latency": None}, "latency must be a number above 0, not None"),
        ({"workers": 0}, "workers are whole numbers >= 1"),
        ({"workers": ["2"]}, "workers are whole numbers >= 1"),
        ({"workers": [float("inf")]}, "workers are whole numbers >= 1"),
        ({"workers": np.array([])}, "workers are whole numbers >= 1"),
        ({"workers": None}, "workers are whole numbers >= 1"),
        ({"bandwidth": -1.0}, "bandwidth must be a number above 0, not -1.0"),
        ({"latency": float("nan")}, "latency must be a number above 0, not nan"),
        ({"flops": float("inf")}, "flops must be a number above 0, not inf"),
        ({"workers": []}, "workers are whole numbers >= 1"),
        ({"workers": [1, 2.5]}, "workers are whole numbers >= 1"),
        ({"workers": [0]}, "workers are whole numbers >= 1"),
    ],
)
def test_what_makes_no_sense_is_told(network, options, words):
    with pytest.raises(ValueError, match=words):
        mx.cluster.plan(network, **options)


def test_workers_may_be_one_number_or_several_of_any_kind(network):
    def asked(workers):
        return [step.workers for step in mx.cluster.plan(network, workers=workers).of("data")]

    assert asked(4) == asked(np.int64(4)) == [4]
    assert asked(np.array([4, 1, 4])) == asked(k for k in (1, 4)) == asked((1, 4)) == [1, 4]


def test_what_is_no_network_is_told(network):
    with pytest.raises(TypeError, match="a model comes first, as mx"):
        mx.cluster.plan(mx.models.lenet5)
    with pytest.raises(ValueError, match="has no parameters"):
        mx.cluster.plan(mx.Model(mx.Flatten(), picture_shape=(1, 4, 4)))
    with pytest.raises(
        TypeError, match=r"cluster_plan draws what mx.cluster.plan\(model\) gives, not a list"
    ):
        mx.plot.cluster_plan(mx.cluster.plan(network, workers=2).steps)


def test_a_network_that_cannot_share_units_says_why():
    with pytest.raises(ValueError, match=r"the weird trick is for networks that end in Flatten, Linear"):
        mx.cluster.weird_trick.in_two(mx.models.resnet(8, num_classes=10, preset="cifar", width=0.25))
    with pytest.raises(ValueError, match=r"two towers"):
        mx.cluster.weird_trick.in_two(mx.models.alexnet(10, "cpu", width=1 / 16, image_size=67))


@pytest.mark.parametrize("workers", [[64], [1, 64], [64, 1], [2, 64]])
def test_the_speed_up_is_over_one_process_whichever_are_asked_for(workers):
    found = mx.cluster.plan(mx.models.lenet5(), 65, workers, flops=1e10, latency=1e-9, bandwidth=1e15)
    row = next(line for line in str(found).splitlines() if line.split()[0] == "64")
    assert row.split()[-1] == "32.5"  # 65 pictures, of which one process has 2


@pytest.mark.parametrize("patience", [-1, 0, np.nan, np.inf, "a", None])
def test_nobody_waits_without_end(patience):
    with pytest.raises(ValueError, match=r"^patience must be a number above 0, not "):
        mx.cluster.Group(patience=patience)
    with pytest.raises(ValueError, match=r"^patience must be"), mx.cluster.joined(patience=patience):
        pass
