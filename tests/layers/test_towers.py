"""Two towers: what crosses and what does not, forwards and backwards, on any pair of devices."""

import copy
import re

import numpy as np
import pytest

import minialex as mx
from minialex.devices import simdevice
from minialex.devices.device import cuda_count, place, to_numpy
from minialex.devices.simdevice import Transfer
from minialex.layers import (
    RBF,
    Broadcast,
    Conv2D,
    Dropout,
    Exchange,
    Flatten,
    Gather,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2D,
    Parameter,
    ReLU,
    SameMapNorm,
    Sequential,
    Subsampling,
    TableConv2D,
    Towers,
)
from minialex.models.network import Mixed

PAIRS = ["cpu,cpu", "sim:0,sim:1", "sim:1,sim:0", "sim:0,sim:0"]
TWO = "sim:0,sim:1"
GPU_PAIRS = [
    pytest.param(
        "cuda:0,cuda:0",
        marks=[pytest.mark.gpu, pytest.mark.skipif(cuda_count() < 1, reason="no CUDA GPU that CuPy can use")],
    ),
    pytest.param(
        "cuda:0,cuda:1",
        marks=[
            pytest.mark.two_gpu,
            pytest.mark.skipif(cuda_count() < 2, reason="less than two CUDA GPUs that CuPy can use"),
        ],
    ),
]


@pytest.fixture(params=[*PAIRS, *GPU_PAIRS])
def devices(request):
    """Each kind of pair in turn: the same test runs on all."""
    return place(request.param)


def normal(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def on(devices, *arrays):
    """One array for each tower, read-only on the host, so that whoever writes into one is found out."""
    placed = []
    for device, array in zip(place(devices), arrays, strict=True):
        array = array.copy()
        array.flags.writeable = False
        placed.append(device.asarray(array))
    return tuple(placed)


def equal(actual, expected):
    np.testing.assert_array_equal(to_numpy(actual), expected, strict=True)


def names(arrays):
    return [mx.device_of(array).name for array in arrays]


def dot(xs, ys):
    """The inner product of two arrays, or of two pairs."""
    return sum(
        float((to_numpy(x) * to_numpy(y)).sum()) for x, y in zip(as_tuple(xs), as_tuple(ys), strict=True)
    )


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


# Broadcast


def test_broadcast_gives_the_pictures_to_both_towers(devices):
    x = normal(2, 3, 4, 5)
    ys = Broadcast().to(devices).forward(on(devices, x, x)[0])
    assert names(ys) == [device.name for device in devices]
    for y in ys:
        equal(y, x)


def test_the_gradient_of_broadcast_is_the_sum_on_the_first_device(devices):
    layer, x, grads = Broadcast().to(devices), normal(2, 3), (normal(2, 3, seed=1), normal(2, 3, seed=2))
    layer.forward(devices[0].asarray(x))
    grad_x = layer.backward(on(devices, *grads))
    assert mx.device_of(grad_x) is devices[0]
    equal(grad_x, grads[0] + grads[1])


def test_broadcast_sends_the_pictures_once_and_gets_the_gradient_once():
    layer = Broadcast().to(TWO)
    x = mx.Device("sim:0").asarray(normal(2, 3, dtype="float32"))
    with simdevice.recording() as ledger:
        ys = layer.forward(x)
        layer.backward(ys)
    assert ledger.transfers == [Transfer("sim:0", "sim:1", 24), Transfer("sim:1", "sim:0", 24)]
    assert ledger.host_syncs == 0


# Exchange


def test_each_tower_gets_the_channels_of_both_tower_0s_first(devices):
    xs = (normal(2, 3, 4, 5), normal(2, 2, 4, 5, seed=1))
    ys = Exchange().to(devices).forward(on(devices, *xs))
    assert names(ys) == [device.name for device in devices]
    for y in ys:
        equal(y, np.concatenate(xs, axis=1))


def test_the_gradient_of_exchange_goes_home_and_is_added(devices):
    layer = Exchange().to(devices)
    grads = (normal(2, 5, 4, 5, seed=2), normal(2, 5, 4, 5, seed=3))
    layer.forward(on(devices, normal(2, 3, 4, 5), normal(2, 2, 4, 5, seed=1)))
    grad_xs = layer.backward(on(devices, *grads))
    assert names(grad_xs) == [device.name for device in devices]
    equal(grad_xs[0], grads[0][:, :3] + grads[1][:, :3])
    equal(grad_xs[1], grads[0][:, 3:] + grads[1][:, 3:])


def test_exchange_moves_each_half_once_in_each_direction():
    layer = Exchange().to(TWO)
    xs = on(TWO, normal(1, 3, dtype="float32"), normal(1, 2, dtype="float32"))
    with simdevice.recording() as ledger:
        ys = layer.forward(xs)
    assert sorted(ledger.transfers) == [Transfer("sim:0", "sim:1", 12), Transfer("sim:1", "sim:0", 8)]
    with simdevice.recording() as ledger:
        layer.backward(ys)
    assert sorted(ledger.transfers) == [Transfer("sim:0", "sim:1", 8), Transfer("sim:1", "sim:0", 12)]
    assert ledger.host_syncs == 0


# Gather


def test_gather_puts_both_halves_on_the_first_device(devices):
    xs = (normal(2, 3), normal(2, 2, seed=1))
    y = Gather().to(devices).forward(on(devices, *xs))
    assert mx.device_of(y) is devices[0]
    equal(y, np.concatenate(xs, axis=1))


def test_the_gradient_of_gather_goes_back_in_halves(devices):
    layer, grad_y = Gather().to(devices), normal(2, 5, seed=2)
    layer.forward(on(devices, normal(2, 3), normal(2, 2, seed=1)))
    grad_xs = layer.backward(devices[0].asarray(grad_y))
    assert names(grad_xs) == [device.name for device in devices]
    equal(grad_xs[0], grad_y[:, :3])
    equal(grad_xs[1], grad_y[:, 3:])


def test_gather_moves_the_second_half_alone():
    layer = Gather().to(TWO)
    xs = on(TWO, normal(1, 3, dtype="float32"), normal(1, 2, dtype="float32"))
    with simdevice.recording() as ledger:
        y = layer.forward(xs)
        layer.backward(y)
    assert ledger.transfers == [Transfer("sim:1", "sim:0", 8), Transfer("sim:0", "sim:1", 8)]
    assert ledger.host_syncs == 0


# All three


CROSSINGS = {
    "Broadcast": (Broadcast, lambda seed: normal(2, 3, 4, 5, seed=seed)),
    "Exchange": (Exchange, lambda seed: (normal(2, 3, 4, 5, seed=seed), normal(2, 2, 4, 5, seed=seed + 1))),
    "Gather": (Gather, lambda seed: (normal(2, 3, seed=seed), normal(2, 4, seed=seed + 1))),
}
each_crossing = pytest.mark.parametrize("name", CROSSINGS)


def placed(devices, value, dtype="float64"):
    if isinstance(value, tuple):
        return on(devices, *(array.astype(dtype) for array in value))
    return devices[0].asarray(value.astype(dtype))


@each_crossing
def test_backward_is_the_adjoint_of_forward(devices, name):
    make, draw = CROSSINGS[name]
    layer, x = make().to(devices), placed(devices, draw(0))
    y = layer.forward(x)
    g = tuple(normal(*array.shape, seed=7 + i) for i, array in enumerate(as_tuple(y)))
    g = placed(devices, g if isinstance(y, tuple) else g[0])
    assert dot(y, g) == pytest.approx(dot(x, layer.backward(g)), rel=1e-12)


@each_crossing
def test_a_crossing_keeps_the_dtype(devices, name):
    make, draw = CROSSINGS[name]
    layer, value = make().to(devices), placed(devices, draw(0), dtype="float32")
    y = layer.forward(value)
    assert {array.dtype.name for array in (*as_tuple(y), *as_tuple(layer.backward(y)))} == {"float32"}


@each_crossing
def test_on_one_device_twice_nothing_is_moved(name):
    make, draw = CROSSINGS[name]
    devices = place("sim:2,sim:2")
    layer, value = make().to(devices), placed(devices, draw(0))
    with simdevice.recording() as ledger:
        layer.backward(layer.forward(value))
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


@each_crossing
def test_a_crossing_needs_a_forward_before_each_backward(devices, name):
    make, draw = CROSSINGS[name]
    layer, value = make().to(devices), placed(devices, draw(0))
    message = f"{name}: backward needs a forward before it, one for each backward"
    with pytest.raises(mx.BackwardBeforeForward, match=message):
        layer.backward(value)
    y = layer.forward(value)
    layer.backward(y)
    with pytest.raises(mx.BackwardBeforeForward, match=message):
        layer.backward(y)


@each_crossing
def test_a_crossing_that_moved_forgets_its_forward(name):
    make, draw = CROSSINGS[name]
    layer = make()
    y = layer.forward(placed(place("cpu"), draw(0)))
    assert layer.to(TWO) is layer
    with pytest.raises(mx.BackwardBeforeForward):
        layer.backward(y)


@each_crossing
def test_the_callers_current_device_does_not_matter(name):
    make, draw = CROSSINGS[name]
    layer, value = make().to(TWO), placed(place(TWO), draw(0))
    with mx.Device("sim:5"):
        layer.backward(layer.forward(value))


@each_crossing
def test_a_gradient_of_another_shape_or_dtype_is_refused_at_a_crossing(devices, name):
    make, draw = CROSSINGS[name]
    layer, value = make().to(devices), placed(devices, draw(0))
    y = layer.forward(value)
    short = tuple(array[:, :-1] for array in y) if isinstance(y, tuple) else y[:, :-1]
    with pytest.raises(ValueError, match=rf"{name}: forward gave .*shape \(2, \d.*gradient .* \(2, \d"):
        layer.backward(short)
    with devices[0]:
        first = (y[0] if isinstance(y, tuple) else y).astype("float32")
    with pytest.raises((ValueError, mx.DtypeMismatch), match=r"forward gave .*float64.* gradient is float32"):
        layer.backward((first, y[1]) if isinstance(y, tuple) else first)
    layer.backward(y)


def test_broadcast_takes_one_array_on_the_first_device():
    layer = Broadcast().to(TWO)
    with pytest.raises(mx.DeviceMismatch, match="Broadcast is on sim:0, the input on sim:1"):
        layer.forward(mx.Device("sim:1").asarray(normal(1, 2)))
    with pytest.raises(TypeError, match="Broadcast takes a NumPy or CuPy array, the input is a tuple"):
        layer.forward(on(TWO, normal(1, 2), normal(1, 2)))


@pytest.mark.parametrize("make", [Exchange, Gather, lambda: Towers(ReLU(), ReLU())])
@pytest.mark.parametrize(
    ("value", "kind"),
    [(normal(1, 2), "ndarray"), ([normal(1, 2)] * 2, "list"), ((normal(1, 2),), "tuple"), (None, "NoneType")],
)
def test_between_broadcast_and_gather_only_a_pair_is_taken(make, value, kind):
    layer = make()
    message = (
        f"{layer} takes a tuple of 2 arrays, one for each tower; the input is a {kind}: "
        "Broadcast makes the tuple, Gather ends it"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        layer.forward(value)


@pytest.mark.parametrize("make", [Exchange, Gather, lambda: Towers(ReLU(), ReLU())])
def test_what_is_no_array_is_refused_in_a_pair(make):
    with pytest.raises(TypeError, match="a NumPy or CuPy array is needed here, not list"):
        make().forward((normal(1, 2), [1.0, 2.0]))


@pytest.mark.parametrize("make", [Exchange, Gather, lambda: Towers(ReLU(), ReLU())])
@pytest.mark.parametrize("number", [0, 1])
def test_an_input_on_the_wrong_device_is_refused_with_both_names(make, number):
    layer = make().to(TWO)
    xs = list(on(TWO, normal(1, 2), normal(1, 2)))
    xs[number] = mx.transfer(xs[number], "sim:3")
    message = f"{layer}: tower {number} is on sim:{number}, its input on sim:3"
    with pytest.raises(mx.DeviceMismatch, match=f"^{re.escape(message)}$"):
        layer.forward(tuple(xs))


@pytest.mark.parametrize("make", [Broadcast, Exchange, lambda: Towers(ReLU(), ReLU())])
def test_gradients_in_the_wrong_order_are_refused_with_both_names(make):
    layer = make().to(TWO)
    xs = on(TWO, normal(1, 2), normal(1, 2))
    ys = layer.forward(xs[0] if isinstance(layer, Broadcast) else xs)
    message = f"{layer}: tower 0 is on sim:0, its gradient on sim:1"
    with pytest.raises(mx.DeviceMismatch, match=f"^{re.escape(message)}$"):
        layer.backward(ys[::-1])
    with pytest.raises(TypeError, match="one for each tower; the gradient is a list"):
        layer.backward(list(ys))


def test_gather_takes_one_gradient_on_the_first_device():
    layer = Gather().to(TWO)
    y = layer.forward(on(TWO, normal(1, 2), normal(1, 2)))
    with pytest.raises(mx.DeviceMismatch, match="Gather is on sim:0, the gradient on sim:1"):
        layer.backward(mx.transfer(y, "sim:1"))
    with pytest.raises(TypeError, match="Gather takes a NumPy or CuPy array, the gradient is a tuple"):
        layer.backward((y, y))


def test_nothing_is_written_into_what_was_exchanged():
    # On one device both towers get the same array, so that a layer that writes into it would spoil its neighbour's.
    exchange, stages = Exchange(), Towers.split(Conv2D(4, 4, 3, padding=1)).astype("float64")
    after = [Towers.split(layer) for layer in (ReLU(), SameMapNorm(3), MaxPool2D(2), Dropout(0.5))]
    ys = exchange.forward(on("cpu", normal(2, 2, 4, 4), normal(2, 2, 4, 4, seed=1)))
    assert ys[0] is ys[1]
    ys[0].flags.writeable = False
    value = stages.forward(ys)
    for layer in after:
        for array in value:
            array.flags.writeable = False
        value = layer.forward(value)
    grad = tuple(normal(*y.shape, seed=3) for y in value)
    for layer in (*reversed(after), stages, exchange):
        for array in grad:
            array.flags.writeable = False
        grad = layer.backward(grad)


# Towers

SPLITTABLE = {  # name: (layer, a pair of inputs, is the one-tower input the two side by side?)
    "conv": (lambda: Conv2D(4, 6, 3, stride=2, padding=1), (2, 4, 5, 6), False),
    "conv in groups": (lambda: Conv2D(4, 6, 3, groups=2), (2, 4, 5, 6), True),
    "conv in four groups": (lambda: Conv2D(8, 4, (2, 3), groups=4), (2, 8, 5, 6), True),
    "conv without bias": (lambda: Conv2D(4, 6, 3, groups=2, bias=False), (2, 4, 5, 6), True),
    "linear": (lambda: Linear(5, 4), (3, 5), False),
    "relu": (ReLU, (2, 4, 3, 2), True),
    "pool": (lambda: MaxPool2D(3, 2), (2, 4, 7, 6), True),
    "flatten": (Flatten, (2, 4, 3, 2), True),
    "norm": (lambda: LocalResponseNorm(5, alpha=0.5, groups=2), (2, 8, 2, 3), True),
    "norm in four groups": (lambda: LocalResponseNorm(3, alpha=0.5, groups=4), (2, 8, 2, 3), True),
    "same-map norm": (lambda: SameMapNorm(3, alpha=0.5), (2, 4, 5, 3), True),
    "dropout": (lambda: Dropout(0.5), (3, 8), True),
    "paths that are added": (
        lambda: mx.Branches(
            {
                "shortcut": mx.Identity(),
                "body": mx.Sequential(
                    conv=Conv2D(4, 4, 3, padding=1, groups=2), relu=ReLU(), scale=mx.Scale(0.5)
                ),
                "norm": mx.BatchNorm2D(4),
            },
            "add",
        ),
        (2, 4, 5, 3),
        True,
    ),
    "a chain that begins with all channels": (
        lambda: Sequential(conv=Conv2D(4, 6, 3), norm=mx.BatchNorm2D(6), relu=ReLU()),
        (2, 4, 5, 6),
        False,
    ),
    "dropout of maps": (lambda: Dropout(0.3, scaling="test-time"), (3, 4, 2, 3), True),
}
CONCATENATING = {
    "branches": lambda a, b: mx.Branches({"a": a, "b": b}),
    "dense": lambda a, b: mx.Dense(a, mx.Sequential(b)),
    "inside a path": lambda a, b: mx.Branches({"p": mx.Branches({"a": a, "b": b}), "q": ReLU()}, merge="add"),
}


@pytest.mark.parametrize("name", CONCATENATING)
def test_a_concatenation_is_not_dealt_out_to_towers(name):
    make = CONCATENATING[name]
    with pytest.raises(
        ValueError,
        match=r"(Branches|Dense|p \(Branches\)) concatenates: dealt out to 2 towers, its channels would",
    ):
        Towers.split(make(Conv2D(2, 4, 1), Conv2D(2, 2, 1)))
    halves = zip(Conv2D(2, 4, 1).split(2), Conv2D(2, 2, 1).split(2), strict=True)
    with pytest.raises(
        ValueError, match=r'concatenates: .* only paths that are added can be dealt out, merge="add"'
    ):
        Towers(*(make(a, b) for a, b in halves))
    wholes = [
        make(Conv2D(2, 2, 1, rng=seed), Conv2D(2 if name == "branches" else 4, 2, 1)) for seed in (0, 1)
    ]
    assert Towers(*wholes).stages == tuple(wholes)  # two blocks, each of its own


def test_a_chain_in_towers_whose_second_layer_reads_all_channels_says_so_when_it_runs():
    towers = Towers.split(Sequential(first=Conv2D(2, 4, 1), second=Conv2D(4, 2, 1)))
    x = np.ones((1, 2, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"second \(Conv2D\) has 4 .*channels, the input 2"):
        towers.forward((x, x))


class Two(Mixed):
    def __init__(self, a, b):
        self.a, self.b = a, b

    def paths(self):
        return [[self.a], [self.b]]


def test_inception_blocks_are_not_dealt_out():
    halves = zip(Conv2D(2, 4, 1).split(2), Conv2D(2, 2, 1).split(2), strict=True)
    with pytest.raises(ValueError, match="Two concatenates"):
        Towers(*(Two(a, b) for a, b in halves))
    block = mx.models.inception_v3(num_classes=2, width=1 / 32)["Mixed_5b"]
    with pytest.raises(ValueError, match=r"Mixed_5b .*concatenates"):
        Towers.split(block)


each_layer = pytest.mark.parametrize("name", SPLITTABLE)


def randomised(layer):
    """In float64, biases too."""
    layer.astype("float64")
    for number, p in enumerate(layer.parameters()):
        p.value[...] = normal(*p.value.shape, seed=20 + number)
    return layer


def halves(array):
    return np.split(array, 2, axis=1)


def ran(layer, devices, xs, grad):
    """Forward and backward in towers: results side by side, on the host; and gradients of parameters, gathered."""
    ys = layer.forward(on(devices, *xs))
    y = np.concatenate([to_numpy(y) for y in ys], axis=1)
    grad_xs = layer.backward(on(devices, *halves(grad)))
    assert names(ys) == names(grad_xs) == [device.name for device in devices]
    return y, [to_numpy(g) for g in grad_xs], mx.weights.export_grouped(layer, grads=True)


@each_layer
def test_towers_are_the_one_layer_dealt_out(devices, name):
    make, shape, side_by_side = SPLITTABLE[name]
    one = randomised(make())
    towers = Towers.split(copy.deepcopy(one)).to(devices)
    x = normal(*shape)
    expected = one.forward(x)
    grad = normal(*expected.shape, seed=1)
    expected_grad_x = one.backward(grad)

    y, grad_xs, grads = ran(towers, devices, halves(x) if side_by_side else (x, x), grad)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    grad_x = np.concatenate(grad_xs, axis=1) if side_by_side else grad_xs[0] + grad_xs[1]
    np.testing.assert_allclose(grad_x, expected_grad_x, rtol=1e-12, atol=1e-12)
    assert list(grads) == [p.name for p in one.parameters()]
    for p in one.parameters():
        np.testing.assert_allclose(grads[p.name], p.grad, rtol=1e-12, atol=1e-12)


@each_layer
@pytest.mark.parametrize("devices", PAIRS[1:])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("textbook")
def test_every_pair_of_devices_gives_the_same_bits(name, devices, dtype):
    make, shape, side_by_side = SPLITTABLE[name]

    def on_pair(devices):
        one = randomised(make())
        grad = normal(*one.forward(normal(*shape)).shape, seed=1, dtype=dtype)
        towers = Towers.split(randomised(make())).astype(dtype).to(devices)
        x = normal(*shape, dtype=dtype)
        return ran(towers, place(devices), halves(x) if side_by_side else (x, x), grad)

    (y, grad_xs, grads), (y_cpu, grad_xs_cpu, grads_cpu) = on_pair(devices), on_pair("cpu,cpu")
    equal(y, y_cpu)
    for actual, expected in zip(
        (*grad_xs, *grads.values()), (*grad_xs_cpu, *grads_cpu.values()), strict=True
    ):
        equal(actual, expected)


@each_layer
def test_towers_of_a_layer_move_nothing_and_wait_for_nothing(name):
    make, shape, side_by_side = SPLITTABLE[name]
    x = normal(*shape, dtype="float32")
    towers = Towers.split(make()).to(TWO).eval()
    xs = on(TWO, *(halves(x) if side_by_side else (x, x)))
    with simdevice.recording() as ledger:
        ys = towers.forward(xs)
        towers.backward(ys)
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


def test_without_input_grad_the_towers_return_none_and_set_the_same_gradients(devices):
    towers = Towers.split(randomised(Conv2D(4, 6, 3))).to(devices)
    xs, grads = on(devices, normal(2, 4, 5, 5), normal(2, 4, 5, 5, seed=1)), []
    for input_grad in (True, False):
        ys = towers.forward(xs)
        grad_xs = towers.backward(ys, input_grad=input_grad)
        assert (grad_xs is None) == (not input_grad)
        grads.append(mx.weights.export_grouped(towers, grads=True))
    for name, array in grads[0].items():
        equal(grads[1][name], array)


def test_without_input_grad_no_stage_computes_one():
    asked = []

    class Asked(Linear):
        def backward(self, grad_y, input_grad=True):
            asked.append(input_grad)
            return super().backward(grad_y, input_grad)

    towers, x = Towers.split(Asked(3, 4)), normal(1, 3, dtype="float32")
    towers.backward(towers.forward((x, x)), input_grad=False)
    assert asked == [False, False]


def test_the_stages_of_towers_may_be_given_one_by_one():
    towers = Towers(Linear(3, 1, rng=1), Linear(3, 2, rng=2))
    x = normal(2, 3, dtype="float32")
    for y, stage in zip(towers.forward((x, x)), towers.stages, strict=True):
        equal(y, x @ stage.weight.value.T)


def test_towers_live_where_their_stages_live():
    towers = Towers(ReLU().to("sim:2"), ReLU().to("sim:1"))
    assert towers.devices == place("sim:2,sim:1")
    assert towers.device is mx.Device("sim:2")
    x = normal(1, 2)
    assert names(towers.forward(on("sim:2,sim:1", x, x))) == ["sim:2", "sim:1"]


def test_a_layer_on_any_device_may_be_split():
    towers = Towers.split(Linear(3, 4).to("sim:1"))
    assert towers.devices == place("sim:1,sim:1")
    assert names(p.value for p in towers.parameters()) == ["sim:1"] * 4


@pytest.mark.parametrize("count", [0, 1, 3])
def test_towers_take_two_stages(count):
    with pytest.raises(ValueError, match=f"^Towers takes two stages, one for each device, not {count}$"):
        Towers(*(ReLU() for _ in range(count)))


def test_a_stage_names_itself_when_its_gradient_has_the_wrong_shape():
    towers, x = Towers.split(Linear(3, 4)), normal(2, 3, dtype="float32")
    ys = towers.forward((x, x))
    with pytest.raises(
        ValueError, match=r"Linear: forward gave shape \(2, 2\), the gradient has shape \(2, 1\)"
    ):
        towers.backward((ys[0], ys[1][:, :1]))


def test_towers_need_a_forward_before_each_backward():
    towers, x = Towers.split(Linear(3, 4)), normal(2, 3, dtype="float32")
    with pytest.raises(mx.BackwardBeforeForward, match="Towers: backward needs a forward before it"):
        towers.backward((x, x))
    towers.backward(towers.forward((x, x)))
    with pytest.raises(mx.BackwardBeforeForward, match="Towers: backward needs a forward before it"):
        towers.backward((x, x))


# Layers that cannot be split


class WithAParameter(Layer):
    def __init__(self):
        self.slope = Parameter(np.ones(4, np.float32))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Conv2D(4, 5, 3), "Conv2D: 5 filters in 1 group cannot be dealt out to 2 towers"),
        (Conv2D(3, 6, 3, groups=3), "Conv2D: 6 filters in 3 groups cannot be dealt out to 2 towers"),
        (Linear(4, 5), "Linear: 5 outputs cannot be dealt out to 2 towers"),
        (LocalResponseNorm(), "LocalResponseNorm reads across all channels: 1 group is no 2 towers"),
        (
            LocalResponseNorm(groups=3),
            "LocalResponseNorm reads across all channels: 3 groups are no 2 towers",
        ),
        (WithAParameter(), "WithAParameter does not know how to split itself over towers"),
        (Subsampling(4), "Subsampling does not know how to split itself over towers"),
        (RBF(np.ones((2, 4))), "RBF does not know how to split itself over towers"),
        (TableConv2D([(0,), (1,)], 3), "TableConv2D does not know how to split itself over towers"),
        (Sequential(RBF(np.ones((2, 4)))), "0 (RBF) does not know how to split itself over towers"),
        (mx.Model(fc=Linear(2, 2)), "Model does not know how to split itself over towers"),
    ],
    ids=lambda value: f"{value}" if isinstance(value, Layer) else "",
)
def test_what_cannot_be_split_says_so(layer, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Towers.split(layer)


def test_a_layer_that_cannot_be_split_is_named_as_its_model_names_it():
    model = Sequential(conv7=Conv2D(4, 5, 3))
    with pytest.raises(ValueError, match=r"^conv7 \(Conv2D\): 5 filters"):
        Towers.split(model["conv7"])


# Parameters


def test_parameters_come_weights_first_tower_0_before_tower_1():
    model = Sequential(conv2=Towers.split(Conv2D(4, 6, 3, groups=2)), relu2=Towers.split(ReLU()))
    found = [(p.name, p.part, p.value.shape, p.decay) for p in model.parameters()]
    assert found == [
        ("conv2.weight", (0, 3, 6), (3, 2, 3, 3), True),
        ("conv2.weight", (3, 6, 6), (3, 2, 3, 3), True),
        ("conv2.bias", (0, 3, 6), (3,), False),
        ("conv2.bias", (3, 6, 6), (3,), False),
    ]


@pytest.mark.parametrize("make", [lambda: Conv2D(4, 6, 3, groups=2), lambda: Linear(5, 6)])
def test_each_tower_holds_its_rows_of_the_whole_as_copies(make):
    one = randomised(make())
    towers = Towers.split(one)
    for p in towers.parameters():
        whole = one.weight.value if p.name == "weight" else one.bias.value
        equal(p.value, whole[slice(*p.part[:2])])
        assert not np.shares_memory(p.value, whole)


def test_splitting_leaves_the_layer_as_it_was():
    layer = Conv2D(4, 6, 3, groups=2)
    towers = Towers.split(layer)
    assert (layer.groups, layer.in_channels, layer.out_channels) == (2, 4, 6)
    assert layer.weight.part is None
    assert [(s.groups, s.in_channels, s.out_channels) for s in towers.stages] == [(1, 2, 3)] * 2
    dropout = Dropout()
    Towers.split(dropout)
    assert dropout.part == (0, 1)


def test_the_towers_keep_learning_rate_and_decay_of_the_whole():
    layer = Linear(2, 4)
    layer.weight.lr_scale, layer.bias.lr_scale, layer.bias.decay = 0.5, 2.0, True
    assert [(p.lr_scale, p.decay) for p in Towers.split(layer).parameters()] == [(0.5, True)] * 2 + [
        (2.0, True)
    ] * 2


def test_to_moves_values_and_gradients_to_their_towers():
    towers, x = Towers.split(Linear(3, 4)), normal(2, 3, dtype="float32")
    towers.backward(towers.forward((x, x)))
    before = [(p.value.copy(), p.grad.copy()) for p in towers.parameters()]
    assert towers.to("sim:2,sim:1") is towers
    assert (towers.devices, towers.device) == (place("sim:2,sim:1"), mx.Device("sim:2"))
    assert [stage.device.name for stage in towers.stages] == ["sim:2", "sim:1"]
    for p, (value, grad), name in zip(towers.parameters(), before, ["sim:2", "sim:1"] * 2, strict=True):
        assert names([p.value, p.grad]) == [name, name]
        equal(p.value, value)
        equal(p.grad, grad)
    with pytest.raises(mx.BackwardBeforeForward):
        towers.backward((x, x))


@pytest.mark.parametrize("name", ["cpu", "sim:1"])
def test_one_name_puts_both_towers_there(name):
    towers = Sequential(fc=Towers.split(Linear(3, 4)), exchange=Exchange()).to(name)
    assert [layer.devices for layer in towers] == [place(name)] * 2


def test_three_devices_are_refused():
    with pytest.raises(ValueError, match="a model takes one device or two, not 3"):
        Exchange().to("sim:0,sim:1,sim:2")


def test_astype_train_and_eval_reach_both_stages():
    towers = Towers.split(Conv2D(4, 4, 3)).to(TWO).astype("float64").eval()
    assert {p.value.dtype.name for p in towers.parameters()} == {"float64"} == {towers.dtype.name}
    assert [stage.training for stage in towers.stages] == [False, False]
    assert [stage.training for stage in towers.train().stages] == [True, True]


def test_a_copy_of_towers_stands_on_its_own():
    towers = Towers.split(Linear(3, 4)).to(TWO)
    twin = copy.deepcopy(towers)
    for number, stage in enumerate(twin.stages):
        with stage.device:
            stage.weight.value[...] = number
    assert twin.devices == towers.devices
    assert all(p.part == q.part for p, q in zip(twin.parameters(), towers.parameters(), strict=True))
    assert not (to_numpy(towers.stages[1].weight.value) == 1).any()


# Dropout


def masks(model, devices, shape, steps=1):
    """The mask of a model whose one layer is dropout, steps later."""
    for _ in range(steps):
        value = np.ones(shape, np.float32)
        y = model.forward(on(devices, *halves(value)) if devices else value)
    return np.concatenate([to_numpy(array) for array in y], axis=1) if devices else y


@pytest.mark.parametrize("shape", [(3, 8), (2, 4, 3, 5)])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_towers_masks_are_the_halves_of_the_whole_mask(devices, shape, steps):
    one = Sequential(drop6=Dropout(0.5, seed=5))
    two = Sequential(drop6=Towers.split(Dropout(0.5, seed=5)).to(devices))
    equal(masks(two, devices, shape, steps), masks(one, None, shape, steps))


def test_the_two_towers_masks_differ():
    model = Sequential(drop6=Towers.split(Dropout(0.5)))
    first, second = halves(masks(model, "cpu", (4, 64)))
    assert (first != second).any()


def test_towers_count_steps_once_under_the_name_of_the_layer():
    model = Sequential(drop6=Towers.split(Dropout(0.5)), relu=Towers.split(ReLU()))
    masks(model, "cpu", (1, 4), steps=3)
    assert model.counters() == {"drop6.step": 3}
    assert Sequential(drop6=Dropout(0.5)).counters().keys() == model.counters().keys()


def test_counters_put_back_go_to_both_towers():
    model, twin = (Sequential(drop6=Towers.split(Dropout(0.5))) for _ in range(2))
    masks(model, "cpu", (2, 16), steps=4)
    twin.set_counters(model.counters())
    equal(masks(twin, "cpu", (2, 16)), masks(model, "cpu", (2, 16)))


def test_in_eval_mode_dropout_lets_both_towers_through():
    towers = Towers.split(Dropout(0.5, scaling="test-time")).eval()
    for y in towers.forward(on("cpu", np.ones((1, 4)), np.ones((1, 4)))):
        equal(y, np.full((1, 4), 0.5))
    assert towers.counters() == {"step": 0}


def test_a_sequential_with_towers_moves_to_two_devices():
    model = mx.Sequential(
        broadcast=mx.Broadcast(),
        fc1=mx.Towers.split(mx.Linear(3, 4)),
        gather=mx.Gather(),
        fc2=mx.Linear(4, 2),
    ).to("sim:0,sim:1")
    y = model.forward(mx.Device("sim:0").asarray(np.ones((1, 3), np.float32)))
    assert mx.device_of(y) is mx.Device("sim:0")
    assert [mx.device_of(p.value).name for p in model["fc1"].parameters()] == ["sim:0", "sim:1"] * 2


def test_a_sequential_without_towers_takes_one_device():
    with pytest.raises(ValueError, match="no towers: it takes one device, not sim:0 and sim:1"):
        mx.Sequential(mx.ReLU()).to("sim:0,sim:1")
