"""A measured step is an ordinary step, and the spans say where it went."""

import re
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import minialex as mx
from minialex.devices import simdevice
from minialex.study.describe import Row
from minialex.study.timeline import Span, _Clock, measure_step, plan_step
from minialex.training.loop import train_step


def small_alexnet(devices, **options):
    return mx.models.alexnet(4, devices=devices, width=0.0625, image_size=67, init="he", rng=3, **options)


@pytest.fixture
def batch(rng):
    return rng.standard_normal((3, 3, 67, 67), np.float32), np.array([0, 3, 1])


def sgd(model):
    return mx.SGD(model.parameters(), 0.01, weight_decay=0.001)


@pytest.mark.parametrize("devices", ["cpu", "sim:0,sim:1", "sim:0"])
def test_a_measured_step_is_the_ordinary_one_bit_for_bit(batch, devices):
    x, labels = batch
    plain, measured = small_alexnet(devices), small_alexnet(devices)
    optimizers = sgd(plain), sgd(measured)
    for _ in range(2):
        train_step(plain, optimizers[0], plain.device.asarray(x), labels)
        measure_step(measured, x, labels, optimizers[1])
    assert measured.counters() == plain.counters()
    for p, q in zip(measured.parameters(), plain.parameters(), strict=True):
        np.testing.assert_array_equal(mx.to_numpy(p.grad), mx.to_numpy(q.grad))
        np.testing.assert_array_equal(mx.to_numpy(p.value), mx.to_numpy(q.value))


def test_a_step_is_measured_on_any_device(device, batch):
    spans = measure_step(small_alexnet(device.name), *batch)
    assert {span.device for span in spans} == {device.name, f"{device.name}, {device.name}"}
    assert all(0 <= span.start_s <= span.end_s < 60 for span in spans)


def test_without_an_optimizer_the_weights_stay(batch):
    model = small_alexnet("cpu")
    before = mx.weights.export_grouped(model)
    spans = measure_step(model, *batch)
    assert all((array == before[name]).all() for name, array in mx.weights.export_grouped(model).items())
    assert all(p.grad is not None for p in model.parameters())
    assert "update" not in {span.kind for span in spans}


def test_each_layer_of_each_tower_has_its_spans_forward_and_backward(batch):
    model = small_alexnet("sim:0,sim:1")
    spans = measure_step(model, *batch, sgd(model))
    counts = Counter((span.name, span.tower, span.kind) for span in spans)
    assert set(counts.values()) == {1, 2}
    in_towers = [name for name in model.layers if "_" not in name and name != "fc8"]
    for name in in_towers:
        assert all(counts[name, tower, kind] == 1 for tower in (0, 1) for kind in ("forward", "backward"))
    for name in ("fc8", "loss"):
        assert (counts[name, 0, "forward"], counts[name, 0, "backward"], counts[name, 1, "forward"]) == (
            1,
            1,
            0,
        )
    assert [counts["update", tower, "update"] for tower in (0, 1)] == [1, 1]
    crossings = {name: counts[name, None, "crossing"] for name in ("conv1", "conv3", "fc6", "fc7", "fc8")}
    assert crossings == {
        "conv1": 1,
        "conv3": 2,
        "fc6": 2,
        "fc7": 2,
        "fc8": 2,
    }  # nobody needs the picture's gradient
    assert len(spans) == sum(counts.values()) == 4 * len(in_towers) + 4 + 2 + 9


def test_spans_of_a_tower_follow_each_other_in_the_order_of_the_layers(batch):
    model = small_alexnet("sim:0,sim:1")
    spans = measure_step(model, *batch, sgd(model))
    assert [span.start_s for span in spans] == sorted(span.start_s for span in spans)
    names = [name for name in model.layers if "_" not in name]
    for tower in (0, 1):
        own = [span for span in spans if span.tower == tower]
        assert all(early.end_s <= late.start_s for early, late in pairwise(own))
        forward = [span.name for span in own if span.kind == "forward"]
        assert forward == ([*names, "loss"] if tower == 0 else names[:-1])
        backward = [span.name for span in own if span.kind == "backward"]
        assert backward == forward[::-1]
        assert own[-1].kind == "update"
        assert {span.device for span in own} == {f"sim:{tower}"}


def test_the_bytes_of_the_crossings_are_those_that_move(batch):
    model = small_alexnet("sim:0,sim:1")
    x, labels = model.device.asarray(batch[0]), model.device.asarray(batch[1])
    with simdevice.recording() as ledger:
        spans = measure_step(model, x, labels)
    moved = sum(t.bytes for t in ledger.transfers if "cpu" not in (t.source, t.target))
    assert sum(span.bytes for span in spans) == moved > 0
    assert all((span.bytes > 0) == (span.kind == "crossing") for span in spans)
    summary = mx.summary(model)
    assert sum(span.bytes for span in spans if not span.back) == 3 * summary.crossing_bytes


def test_nothing_waits_inside_the_step(batch):
    model = small_alexnet("sim:0,sim:1")
    x, labels = model.device.asarray(batch[0]), model.device.asarray(batch[1])
    with simdevice.recording() as ledger:
        measure_step(model, x, labels, sgd(model))
    assert ledger.host_syncs == 0


def test_one_tower_is_one_lane(batch):
    spans = measure_step(small_alexnet("cpu", towers=1), *batch)
    assert {(span.tower, span.device) for span in spans} == {(0, "cpu")}
    assert {span.kind for span in spans} == {"forward", "backward"}


@pytest.mark.parametrize("wrong", [False, True])
def test_the_model_is_as_it_was_afterwards_also_when_the_step_fails(batch, wrong):
    model = small_alexnet("cpu").eval()
    x, labels = batch
    if wrong:
        with pytest.raises(ValueError, match="label 9 is out of range"):
            measure_step(model, x, labels * 3)
    else:
        measure_step(model, x, labels)
    assert not any(layer.training for layer in model)
    inside = [*model, *(stage for layer in model for stage in layer.children().values())]
    assert not any({"forward", "backward"} & set(vars(layer)) for layer in inside)


def test_a_span_is_a_plain_record():
    assert Span("fc8", 0, "cpu", "forward", 0.0, 0.5) == Span("fc8", 0, "cpu", "forward", 0.0, 0.5, 0, False)


def test_on_cuda_the_time_is_that_of_events():
    """What CuPy is asked for, and in which order; the numbers are checked where there is a GPU."""
    asked = []

    class Stream:
        def record(self, event):
            asked.append("record")
            return event

        def synchronize(self):
            asked.append("synchronize")

    class Gpu:
        name = "cuda:0"
        cuda = SimpleNamespace(
            Event=lambda: len(asked),
            get_current_stream=Stream,
            get_elapsed_time=lambda a, b: 1000.0 * (b - a),
        )
        xp = SimpleNamespace(cuda=cuda)

        def __enter__(self):
            asked.append("enter")

        def __exit__(self, *error):
            asked.append("exit")

    clock = _Clock(Gpu())
    clock.zero = clock.mark()
    later = clock.mark()
    clock.wait()
    assert asked == ["enter", "record", "exit"] * 2 + ["enter", "synchronize", "exit"]
    assert clock.seconds(later) == later - clock.zero == 3


def row(name, kind, macs=0, crossing=0, towers=2):
    return Row(name, kind, (1,), towers, 0, macs, 0, crossing)


def test_a_planned_step_by_hand():
    rows = [
        row("broadcast_a", "Broadcast", crossing=40),
        row("a", "Conv2D", macs=20),
        row("relu", "ReLU"),
        row("exchange_b", "Exchange", crossing=40),
        row("b", "Linear", macs=60),
        row("gather_c", "Gather", crossing=30, towers=1),
        row("c", "Linear", macs=10, towers=1),
    ]
    spans = plan_step(rows, batch=2, macs_per_s=10, bytes_per_s=20)
    found = [(s.name, s.tower, s.kind, s.back, s.bytes, s.start_s, s.end_s) for s in spans]
    assert found == [
        ("a", None, "crossing", False, 80, 0, 4),
        ("a", 0, "forward", False, 0, 4, 6),
        ("a", 1, "forward", False, 0, 4, 6),
        ("b", None, "crossing", False, 80, 6, 8),  # both ways at once
        ("b", 0, "forward", False, 0, 8, 14),
        ("b", 1, "forward", False, 0, 8, 14),
        ("c", None, "crossing", False, 60, 14, 17),
        ("c", 0, "forward", False, 0, 17, 19),  # tower 1 waits
        ("c", 0, "backward", True, 0, 19, 23),  # two products
        ("c", None, "crossing", True, 60, 23, 26),
        ("b", 0, "backward", True, 0, 26, 38),
        ("b", 1, "backward", True, 0, 26, 38),
        ("b", None, "crossing", True, 80, 38, 40),
        ("a", 0, "backward", True, 0, 40, 42),  # one product: nobody needs the pictures' gradient
        ("a", 1, "backward", True, 0, 40, 42),
    ]


def test_a_step_planned_for_one_tower_crosses_nothing():
    rows = mx.summary(small_alexnet("cpu", towers=1)).rows
    spans = plan_step(iter(rows), batch=8)
    assert {span.kind for span in spans} == {"forward", "backward"}
    assert {span.device for span in spans} == {"GPU 0"}
    assert len(spans) == 16


@pytest.mark.parametrize("number", [0, -1.0, "4", None, [4], float("nan"), float("inf")])
@pytest.mark.parametrize("what", ["batch", "macs_per_s", "bytes_per_s"])
def test_a_plan_names_the_speed_that_is_none(what, number):
    with pytest.raises(ValueError, match=re.escape(f"{what} is more than 0, not {number!r}")):
        plan_step([], **{"batch": 1, what: number})


def test_a_plan_is_of_the_rows_of_a_summary():
    model = small_alexnet("cpu")
    for given in (model, mx.summary(model), None, 3):
        with pytest.raises(
            TypeError, match=rf"plan_step takes summary\(model\).rows, not an? {type(given).__name__}"
        ):
            plan_step(given, batch=8)


@pytest.mark.parametrize("loss", [None, mx.SoftmaxCrossEntropy()])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (mx.Sequential, "measure_step: the model is the class Sequential, not a network"),
        (np.zeros(3), "measure_step: the model is an ndarray, not a network"),
        (mx.Linear(2, 2), "measure_step takes a Sequential, not a Linear"),
    ],
)
def test_a_step_is_measured_of_a_network(model, message, loss):
    with pytest.raises(TypeError, match=message):
        measure_step(model, np.zeros((2, 2), np.float32), [0, 1], loss=loss)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("sgd", r"optimizer is 'sgd', which has no `step`: give mx.SGD\(model.parameters\(\), lr=0.01\)"),
        (0.1, "optimizer is a float, which has no `step`"),
        (mx.SGD, r"optimizer is the class SGD: write SGD\(...\)"),
    ],
)
def test_what_is_no_optimizer_is_named_before_the_step(batch, optimizer, message):
    model = small_alexnet("cpu")
    for study in (measure_step, mx.trace):
        with pytest.raises(TypeError, match=message):
            study(model, *batch, optimizer=optimizer)
    assert model.parameters()[0].grad is None
