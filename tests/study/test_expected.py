"""What a training will cost: by the rule, within what is measured, and without a trace in the network."""

import numpy as np
import pytest

import minialex as mx
from minialex import weights
from minialex.layers.sequential import all_layers
from minialex.study.expected import PYTHON, Expected, expect, kept_by, memory_of, pictures_to_time
from minialex.words import as_duration


def narrow_alexnet(devices="cpu"):
    return mx.models.alexnet(3, devices, width=1 / 16, image_size=67)


@pytest.mark.parametrize("make", [narrow_alexnet, lambda: mx.models.resnet(8, 3, preset="cifar", width=0.25)])
@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_as_it_was(make, training):
    model = make().train(training)

    def state():
        drops = [np.array(layer.step) for layer in all_layers(model) if isinstance(layer, mx.Dropout)]
        return [*weights.export_grouped(model).values(), *drops]

    before = [array.copy() for array in state()]
    expect(model, batch_size=4)
    assert all(map(np.array_equal, before, state()))
    assert model.training == training
    assert all(p.grad is None for p in model.parameters())
    assert all(layer.saved is None for layer in all_layers(model))


@pytest.mark.parametrize("devices", ["cpu", "sim:0,sim:1", "sim:1"])
def test_it_counts_and_times_on_each_kind_of_device(devices):
    found = expect(narrow_alexnet(devices), batch_size=4)
    assert found.parameters == sum(p.value.size for p in narrow_alexnet().parameters())
    assert found.picture_seconds == pytest.approx(found.step_seconds / 4)
    assert found.on == devices.replace(",", " and ")


def test_a_network_with_exits_and_one_with_classifiers_on_the_way_are_timed_too():
    for model in (mx.models.smartnet(2, num_classes=3, preset="small", width=0.1),
                  mx.models.googlenet(3, width=1 / 64)):  # fmt: skip
        assert expect(model, batch_size=2).picture_seconds > 0


def test_reading_is_added_on_a_cpu():
    assert expect(narrow_alexnet(), batch_size=4, read_seconds=100.0).picture_seconds > 100


def test_what_several_layers_keep_counts_once():
    model = mx.Sequential(flatten=mx.Flatten(), a=mx.Linear(8, 8), relu=mx.ReLU(), b=mx.Linear(8, 8)).train()
    with mx.textbook():
        model.forward(np.ones((5, 8), np.float32))
    arrays = {id(array): array.nbytes for layer in model for array in vars(layer.saved or {}).values()
              if isinstance(array, np.ndarray)}  # fmt: skip
    assert 5 * 8 * 4 * 2 <= kept_by(model) <= sum(arrays.values())


def test_what_is_kept_grows_with_the_batch():
    model = narrow_alexnet().train()
    sizes = []
    for count in (4, 8):
        model.forward(np.zeros((count, *model.picture_shape), np.float32))
        sizes.append(kept_by(model))
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.01)


def test_memory_is_weights_nine_times_and_what_is_kept_twice():
    cpu = mx.Device("cpu")
    columns = cpu.column_budget * cpu.threads
    assert memory_of(1_000, np.float32, 500.0, [cpu]) == 36_000 + 1_000 + columns + PYTHON
    assert memory_of(1_000, np.float64, 0.0, [cpu]) == 72_000 + columns + PYTHON


def test_a_costly_network_is_timed_on_few_pictures():
    cpu = mx.Device("cpu")
    assert pictures_to_time(9_000_000, 50, cpu) == 50
    assert pictures_to_time(10**12, 50, cpu) == 2  # batch normalisation wants two
    assert pictures_to_time(10**12, 1, cpu) == 1


def test_it_is_said_in_two_digits():
    found = Expected(57_044_810, 2_640_000_000, 5.0, 0.04, "cpu")
    assert str(found) == "57,044,810 parameters, about 2.6 GB of memory, about 25 pictures a second on cpu"
    assert found.time_for(270_000, 0, epochs=1) == "about 3 h an epoch"
    assert found.time_for(2_000, 300, epochs=90) == "about 84 s an epoch, 2.1 h for 90 epochs"
    assert str(Expected(1, 10**6, 1.0, 2.0, "cpu")).endswith("about 0.5 pictures a second on cpu")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (1.49, "1.5 s"), (9.97, "10 s"), (99.4, "99 s"), (100, "1.7 min"), (5999, "100 min"), (6000, "1.7 h"),
     (172_799, "48 h"), (172_800, "2 days"), (1e7, "120 days")],
)  # fmt: skip
def test_a_duration_is_in_the_unit_that_people_use(seconds, text):
    assert as_duration(seconds) == text
