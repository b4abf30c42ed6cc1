"""SGD is the rule of 2012, in place and on the parameter's own device; schedules at their corners."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices.device import device_of, to_numpy
from minialex.devices.simdevice import recording
from minialex.layers.gate import shut
from minialex.layers.parameter import Parameter
from minialex.training.optim import SGD, Constant, Cosine, Plateau, Step, make_schedule, settings_of, take_up
from minialex.training.schedules import Cosines, schedule_is_spent

SHAPE = (3, 4)


def parameter(device="cpu", seed=0, dtype="float32", name="weight", **options):
    """A Parameter with a gradient."""
    rng = np.random.default_rng(seed)
    device = mx.Device(device)
    p = Parameter(device.asarray(rng.standard_normal(SHAPE).astype(dtype)), **options)
    p.grad = device.asarray(rng.standard_normal(SHAPE).astype(dtype))
    p.name = name
    return p


rates = st.floats(0, 2, allow_subnormal=False)


@given(
    weight=strategies.arrays(SHAPE),
    lr=rates,
    momentum=st.floats(0, 1, allow_subnormal=False),
    weight_decay=rates,
    steps=st.integers(1, 5),
)
def test_sgd_is_its_definition_over_several_steps(device, weight, lr, momentum, weight_decay, steps):
    p = Parameter(device.asarray(weight.copy()))
    optimizer = SGD([p], lr, momentum, weight_decay)
    velocity = np.zeros(SHAPE)
    for step in range(steps):
        grad = np.random.default_rng(step).standard_normal(SHAPE)
        p.grad = device.asarray(grad)
        optimizer.step()
        weight, velocity = naive.sgd_step(weight, velocity, grad, lr, momentum, weight_decay)
    np.testing.assert_allclose(to_numpy(p.value), weight, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(to_numpy(optimizer.velocities[0]), velocity, rtol=1e-11, atol=1e-11)


def test_the_first_step_worked_by_hand():
    p = Parameter(np.array([2.0]))
    p.grad = np.array([3.0])
    SGD([p], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert p.value[0] == pytest.approx(2 - 0.1 * 0.5 * 2 - 0.1 * 3)


def test_a_changed_rate_leaves_the_velocity_that_was_gathered():
    """The rate is inside the velocity: PyTorch's, outside, would shrink the old steps as well."""
    p = Parameter(np.array([0.0]))
    p.grad = np.array([1.0])
    optimizer = SGD([p], lr=1.0, momentum=0.5)
    optimizer.step()  # v = -1
    optimizer.lr = 0.1
    optimizer.step()  # v = -0.5 - 0.1
    assert p.value[0] == pytest.approx(-1 - 0.6)


def test_lr_scale_multiplies_the_rate_of_gradient_and_decay():
    one, two = parameter(lr_scale=2.0, dtype="float64"), parameter(dtype="float64")
    SGD([one], lr=0.1, weight_decay=0.3).step()
    SGD([two], lr=0.2, weight_decay=0.3).step()
    np.testing.assert_allclose(one.value, two.value, rtol=1e-14)


def test_a_parameter_without_decay_does_not_shrink():
    kept, shrunk = parameter(decay=False), parameter()
    kept.grad[...] = shrunk.grad[...] = 0
    before = kept.value.copy()
    SGD([kept, shrunk], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_array_equal(kept.value, before)
    np.testing.assert_allclose(shrunk.value, before * (1 - 0.05), rtol=1e-6)


def test_the_layers_biases_do_not_decay_and_their_weights_do():
    layers = [mx.Conv2D(1, 1, 1), mx.Linear(1, 1), mx.TableConv2D([(0,)], 1), mx.Subsampling(1)]
    assert {(p.name, p.decay) for layer in layers for p in layer.parameters()} == {
        ("weight", True),
        ("bias", False),
    }


def test_every_parameter_has_a_velocity_of_its_own():
    one, two = parameter(seed=1), parameter(seed=2)
    together = SGD([one, two], lr=0.1)
    alone = parameter(seed=2)
    optimizer = SGD([alone], lr=0.1)
    for _ in range(3):
        together.step()
        optimizer.step()
    np.testing.assert_array_equal(two.value, alone.value)
    assert together.velocities[0] is not together.velocities[1]


def test_weights_and_velocities_change_in_place(device):
    p = parameter(device)
    optimizer = SGD([p], lr=0.1, weight_decay=0.1)
    value, velocity, before = p.value, optimizer.velocities[0], to_numpy(p.value).copy()
    optimizer.step()
    assert p.value is value
    assert optimizer.velocities[0] is velocity
    assert (to_numpy(value) != before).all()


def test_the_gradient_is_not_written_into(device):
    p = parameter(device)
    before = to_numpy(p.grad).copy()
    optimizer = SGD([p], lr=0.1, weight_decay=0.1)
    optimizer.step()
    optimizer.step()
    np.testing.assert_array_equal(to_numpy(p.grad), before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lr", [0.1, np.float64(0.1), np.float32(0.1)])
def test_the_dtype_stays(device, dtype, lr):
    p = parameter(device, dtype=dtype)
    optimizer = SGD([p], lr=lr, weight_decay=0.1)
    optimizer.step()
    assert p.value.dtype == optimizer.velocities[0].dtype == dtype


def test_a_step_makes_nobody_wait_and_moves_nothing():
    p = parameter("sim:0")
    optimizer = SGD([p], lr=0.1, weight_decay=0.1)
    with recording() as ledger:
        optimizer.step()
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


def test_a_parameter_is_moved_on_its_own_device_whatever_the_current_one_is():
    there, host = parameter("sim:1"), parameter("cpu")
    with mx.Device("sim:0"):
        for p in (there, host):
            optimizer = SGD([p], lr=0.1, weight_decay=0.1)
            optimizer.step()
            optimizer.set_velocities([np.zeros(SHAPE)])
            optimizer.step()
            assert device_of(optimizer.velocities[0]) is device_of(p.value)
    assert device_of(there.value) is mx.Device("sim:1")
    np.testing.assert_array_equal(to_numpy(there.value), host.value)


def test_parameters_may_live_on_two_devices():
    towers = [parameter("sim:0"), parameter("sim:1")]
    SGD(towers, lr=0.1).step()
    np.testing.assert_array_equal(to_numpy(towers[0].value), to_numpy(towers[1].value))


@pytest.mark.parametrize("change", [lambda layer: layer.to("sim:0"), lambda layer: layer.astype("float64"),
                                    lambda layer: layer.to("sim:1").astype("float64").to("cpu")])  # fmt: skip
def test_velocities_follow_a_model_that_is_moved_or_cast(change):
    ends = []
    for changed in (False, True):
        layer = mx.Linear(2, 1)
        optimizer = SGD(layer.parameters(), lr=0.125, momentum=0.5)
        for step in range(3):
            if step == 2 and changed:
                change(layer)
            layer.forward(layer.device.asarray(np.full((1, 2), 3, layer.dtype)))
            layer.backward(layer.device.asarray(np.full((1, 1), 0.5, layer.dtype)))
            optimizer.step()
        for p, v in zip(layer.parameters(), optimizer.velocities, strict=True):
            assert (v.dtype, device_of(v)) == (p.value.dtype, device_of(p.value))
        ends.append([to_numpy(a) for a in (*(p.value for p in layer.parameters()), *optimizer.velocities)])
    for changed, kept in zip(*ends, strict=True):
        np.testing.assert_allclose(changed, kept, rtol=1e-6)


@pytest.mark.parametrize(
    "when", ["before a step", "between backward and step", "after velocities were put back"]
)
def test_velocities_follow_whenever_the_model_is_cast(when):
    ends = []
    for changed in (False, True):
        layer = mx.Linear(2, 1)
        optimizer = SGD(layer.parameters(), lr=0.125, momentum=0.5)
        for step in range(3):
            cast = changed and step == 1
            if when == "after velocities were put back" and step == 1:
                optimizer.set_velocities([np.full(v.shape, 0.5) for v in optimizer.velocities])  # float64
            if cast and when != "between backward and step":
                layer.astype("float64")
            layer.backward(layer.forward(np.full((1, 2), 3, layer.dtype)))
            if cast and when == "between backward and step":
                layer.astype("float64")  # the gradients with it
            optimizer.step()
        assert {v.dtype for v in optimizer.velocities} == {np.dtype("float64" if changed else "float32")}
        ends.append([*(p.value for p in layer.parameters()), *optimizer.velocities])
    for changed, kept in zip(*ends, strict=True):
        np.testing.assert_allclose(changed, kept, rtol=1e-5)


def test_a_forward_before_a_cast_has_no_backward_after_it():
    model = mx.Sequential(fc=mx.Linear(2, 2), act=mx.Tanh())
    other = mx.Sequential(*model)
    y = other.forward(np.ones((1, 2), np.float32))
    model.astype("float64")
    with pytest.raises(mx.BackwardBeforeForward, match="was used, moved or cast since this forward"):
        other.backward(y)


KINDS = [np.float64, np.float32, np.float16, np.array, lambda number: np.array(number, np.float32)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("textbook", [False, True])
def test_settings_may_be_numbers_of_numpy_and_give_the_bits_of_pythons(device, kind, later, textbook):
    names = ("lr", "momentum", "weight_decay")
    given = {name: kind(value) for name, value in zip(names, (0.1, 0.7, 0.03), strict=True)}
    ends = []
    for python in (False, True):
        settings = {name: value.item() if python else value for name, value in given.items()}
        scale = kind(0.3).item() if python else kind(0.3)
        ps = [parameter(device, seed) for seed in (1, 2)]
        ps[1].lr_scale = scale
        optimizer = SGD(ps, 1.0) if later else SGD(ps, **settings)
        for name in names if later else ():
            setattr(optimizer, name, settings[name])
        with mx.textbook() if textbook else np.errstate():
            for _ in range(3):
                optimizer.step()
        ends.append([to_numpy(array).tobytes() for array in (*(p.value for p in ps), *optimizer.velocities)])
    assert ends[0] == ends[1]


def test_a_parameter_given_twice_is_named():
    layer = mx.Linear(2, 2)
    with pytest.raises(ValueError, match=r"^SGD: weight is given twice; it would move twice in each step$"):
        SGD([*layer.parameters(), layer.weight], lr=0.1)


def test_no_parameters_is_an_error():
    with pytest.raises(ValueError, match=r"^SGD: there are no parameters to train$"):
        SGD(mx.ReLU().parameters(), lr=0.1)


def test_parameters_may_come_from_a_generator():
    parameters = [parameter(), parameter()]
    assert SGD((p for p in parameters), lr=0.1).parameters == parameters


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_number_that_makes_no_sense_is_quoted(name, value):
    with pytest.raises(ValueError, match=f"^SGD: {name} must be a number >= 0, not {value}$"):
        SGD([parameter()], **{"lr": 0.1, name: value})


def test_a_step_before_backward_names_the_parameter_and_moves_none():
    first, second = parameter(name="conv1.weight"), parameter(name="conv1.bias")
    second.grad = None
    before = first.value.copy()
    optimizer = SGD([first, second], lr=0.1)
    with pytest.raises(ValueError, match=r"^SGD: conv1\.bias has no gradient: call backward before"):
        optimizer.step()
    np.testing.assert_array_equal(first.value, before)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_penalty_that_makes_no_sense_is_quoted(value):
    with pytest.raises(ValueError, match=f"^SGD: penalty must be a number >= 0, not {value}$"):
        SGD([parameter()], lr=0.1, penalty=value)


# ---- a rate of 0, and gates ------------------------------------------------------------------------


def gates(values, grad=0.0, device="cpu", dtype="float64", **options):
    """A Parameter as a Gate has it, with a gradient."""
    device = mx.Device(device)
    p = Parameter(device.asarray(np.array(values, dtype)), decay=False, **options)
    p.grad = device.asarray(np.broadcast_to(np.array(grad, dtype), p.value.shape).copy())
    p.proximal = shut
    return p


@pytest.mark.parametrize("scale", [0, 0.0, np.float32(0)])
def test_at_a_rate_of_0_a_parameter_stays_as_it_is_to_the_bit(device, scale):
    kept, other, gate = parameter(device), parameter(device), gates([0.5, 0.7], 1.0, device=device)
    optimizer = SGD([kept, other, gate], lr=0.1, weight_decay=0.5, penalty=0.5)
    optimizer.step()  # so that there is a velocity, which would carry it on
    before = [to_numpy(a).copy() for p, v in zip(optimizer.parameters, optimizer.velocities, strict=True)
              for a in (p.value, v)]  # fmt: skip
    kept.lr_scale = gate.lr_scale = scale
    kept.grad = None  # nor does it need one
    optimizer.step()
    after = [to_numpy(a) for p, v in zip(optimizer.parameters, optimizer.velocities, strict=True)
             for a in (p.value, v)]  # fmt: skip
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True] * 2 + [False] * 2 + [
        True
    ] * 2
    kept.lr_scale = 1.0
    with pytest.raises(ValueError, match="weight has no gradient"):
        optimizer.step()


@given(
    values=st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=4),
    lr=rates,
    momentum=st.floats(0, 0.99, allow_subnormal=False),
    penalty=rates,
    steps=st.integers(1, 4),
)
def test_gates_are_their_definition_over_several_steps(device, values, lr, momentum, penalty, steps):
    p, expected, velocity = (
        gates(values, device=device, lr_scale=0.5),
        np.array(values),
        np.zeros(len(values)),
    )
    optimizer = SGD([p], 2 * lr, momentum, weight_decay=0.3, penalty=penalty)
    for step in range(steps):
        grad = np.random.default_rng(step).standard_normal(len(values))
        p.grad = device.asarray(grad)
        optimizer.step()
        expected, velocity = naive.sgd_step(expected, velocity, grad + penalty, lr, momentum)
        expected = naive.shut(expected)
    np.testing.assert_allclose(to_numpy(p.value), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(to_numpy(optimizer.velocities[0]), velocity, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_on_a_square_gates_come_to_where_the_lasso_has_them(device, momentum):
    """The least of (gate - target)**2 / 2 + penalty * gate is at max(target - penalty, 0); one is held at 1."""
    target, penalty = np.array([0.9, 0.6, 0.25, 0.1, -0.3, 0.2]), 0.2
    p = gates(np.ones(6), device=device)
    optimizer = SGD([p], lr=0.1, momentum=momentum, penalty=penalty)
    for _ in range(400):
        p.grad = p.value - device.asarray(target)
        optimizer.step()
    np.testing.assert_allclose(to_numpy(p.value), [1, 0.4, 0.05, 0, 0, 0], atol=1e-9)
    assert (to_numpy(p.value)[3:5] == 0).all()  # not nearly


def test_the_penalty_goes_with_the_momentum_as_a_slope_of_the_loss_does():
    gate = gates([1.0, 1.0])
    optimizer = SGD([gate], lr=0.5, momentum=0.5, penalty=0.25)
    optimizer.step()
    assert gate.value.tolist() == [1, 0.875]  # 0.5 * 0.25
    optimizer.lr = 0.25
    optimizer.step()
    assert gate.value.tolist() == [1, 0.75]  # 0.5 * 0.125 of before, and 0.25 * 0.25


def test_the_penalty_leaves_the_gradient_as_it_is():
    gate = gates([1.0, 1.0], 0.5)
    SGD([gate], lr=0.5, penalty=0.25).step()
    assert gate.grad.tolist() == [0.5, 0.5]


def test_a_penalty_is_for_gates_alone():
    plain, alone = parameter(seed=1), parameter(seed=1)
    SGD([plain, gates([1.0])], lr=0.1, penalty=0.5).step()
    SGD([alone], lr=0.1).step()
    np.testing.assert_array_equal(plain.value, alone.value)


def test_without_a_penalty_gates_stay_from_0_to_1_and_one_is_held():
    gate = gates([0.5, 0.75, 0.25], [-1.0, 0.0, 1.0])
    SGD([gate], lr=1.0, momentum=0.0).step()
    assert gate.value.tolist() == [1, 0.75, 0]
    SGD([gate], lr=0.25, momentum=0.0).step()
    assert gate.value.tolist() == [1, 0.75, 0]


def test_gates_that_are_no_numbers_stay_seen(device):
    gate = gates([0.5, 1.0, 0.75], [0.0, np.nan, 0.0], device=device)
    optimizer = SGD([gate], lr=0.1, momentum=0.0, penalty=1.0)
    for _ in range(2):
        optimizer.step()
    np.testing.assert_allclose(to_numpy(gate.value), [0.3, np.nan, 0.55])


def test_gates_that_are_all_closed_stay_closed_where_nothing_opens_them(device):
    gate = gates([0.0, 0.0], [0.5, 0.0], device=device)
    optimizer = SGD([gate], lr=0.1, penalty=0.1)
    for _ in range(3):
        optimizer.step()
    assert to_numpy(gate.value).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [float, *KINDS])
def test_a_penalty_of_numpy_does_not_widen_gates_and_gives_the_bits_of_pythons(device, dtype, kind):
    ends = []
    for penalty in (kind(0.3), float(kind(0.3))):
        gate = gates([1.0, 0.9, 0.8], 0.1, device=device, dtype=dtype)
        value = gate.value
        SGD([gate], lr=0.1, penalty=penalty).step()
        assert gate.value is value
        assert value.dtype == dtype
        ends.append(to_numpy(value).tobytes())
    assert ends[0] == ends[1]


def test_a_step_of_gates_makes_nobody_wait_and_moves_nothing():
    gate = gates([1.0, 0.5], 0.1, device="sim:0")
    optimizer = SGD([gate], lr=0.1, penalty=0.1)
    with recording() as ledger:
        optimizer.step()
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


# ---- velocities that were saved --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_velocities_saved_and_put_back_go_on_as_before(device, dtype):
    p, q = parameter(device), parameter(device)
    one = SGD([p], lr=0.1, weight_decay=0.1)
    one.step()
    saved = [to_numpy(v).astype(dtype) for v in one.velocities]
    q.value[...] = 0
    with device:
        q.value += p.value
    two = SGD([q], lr=0.1, weight_decay=0.1)
    velocity = two.velocities[0]
    two.set_velocities(iter(saved))
    assert two.velocities[0] is velocity  # filled, not replaced
    assert velocity.dtype == np.float32
    for _ in range(3):
        one.step()
        two.step()
    np.testing.assert_array_equal(to_numpy(p.value), to_numpy(q.value))


def test_saved_velocities_are_copied():
    optimizer = SGD([parameter()], lr=0.1)
    saved = np.ones(SHAPE, np.float32)
    optimizer.set_velocities([saved])
    optimizer.step()
    assert (saved == 1).all()


def test_saved_velocities_may_come_from_another_device():
    optimizer = SGD([parameter("sim:1")], lr=0.1)
    optimizer.set_velocities([mx.Device("sim:0").asarray(np.ones(SHAPE))])
    assert (to_numpy(optimizer.velocities[0]) == 1).all()


def test_a_saved_velocity_of_another_shape_names_the_parameter_and_changes_none():
    optimizer = SGD([parameter(name="conv1.weight"), parameter(name="fc8.weight")], lr=0.1)
    with pytest.raises(
        ValueError, match=r"^SGD: fc8.weight has shape \(3, 4\), its saved velocity \(4, 3\)$"
    ):
        optimizer.set_velocities([np.ones((3, 4)), np.ones((4, 3))])
    assert (optimizer.velocities[0] == 0).all()


@pytest.mark.parametrize(
    ("saved", "error", "message"),
    [
        (np.full(SHAPE, "a"), ValueError, "is an array of <U1, not of real numbers"),
        (np.ones(SHAPE) * 1j, ValueError, "is an array of complex128, not of real numbers"),
        (np.ma.masked_greater(np.ones(SHAPE), 0), ValueError, "has a mask that hides 12 numbers"),
        (np.full(SHAPE, 1e300), ValueError, r"has 1e\+300 in it, which is too large for float32"),
        (np.ones(SHAPE).tolist(), TypeError, "is a list, not an array"),
    ],
)
def test_a_saved_velocity_that_is_no_array_of_real_numbers_changes_none(device, saved, error, message):
    optimizer = SGD([parameter(device), parameter(device, name="fc8.weight")], lr=0.1)
    with pytest.raises(error, match=rf"^SGD: the saved velocity of fc8\.weight {message}"):
        optimizer.set_velocities([np.ones(SHAPE), saved])
    assert (to_numpy(optimizer.velocities[0]) == 0).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_or_too_many_saved_velocities_are_counted(count):
    optimizer = SGD([parameter(), parameter()], lr=0.1)
    with pytest.raises(ValueError, match=f"^SGD: 2 parameters, but {count} saved velocit(y|ies)$"):
        optimizer.set_velocities([np.ones(SHAPE)] * count)
    assert (optimizer.velocities[0] == 0).all()


# ---- PyTorch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4, 0.3])
def test_sgd_is_pytorchs_while_the_rate_stays(momentum, weight_decay):
    """PyTorch: u <- momentum u + (grad + wd w);  w <- w - lr u.  Ours is v = -lr u, the same while lr is constant."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    p = parameter(dtype="float64")
    theirs = torch.nn.Parameter(torch.tensor(p.value))
    ours = SGD([p], 0.05, momentum, weight_decay)
    optimizer = torch.optim.SGD([theirs], 0.05, momentum, weight_decay=weight_decay)
    for step in range(10):
        p.grad = np.random.default_rng(step).standard_normal(SHAPE)
        theirs.grad = torch.tensor(p.grad)
        ours.step()
        optimizer.step()
    np.testing.assert_allclose(p.value, theirs.detach().numpy(), rtol=1e-12)
    if momentum:
        buffer = optimizer.state[theirs]["momentum_buffer"].numpy()
        np.testing.assert_allclose(ours.velocities[0], -0.05 * buffer, rtol=1e-12)


# ---- schedules -------------------------------------------------------------------------------------


def values(schedule, *epochs):
    return [schedule(epoch) for epoch in epochs]


def test_constant_stays():
    assert values(Constant(0.1), 0, 0.5, 1000) == [0.1, 0.1, 0.1]


def test_step_drops_at_each_of_its_epochs_and_not_before():
    schedule = Step(1.0, at=(25, 51, 79))
    got = values(schedule, 0, 24.99, 25, 50.99, 51, 78.99, 79, 1000)
    assert got == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_step_takes_its_epochs_in_any_order_and_its_own_factor():
    assert values(Step(1.0, at=iter([4, 2]), factor=0.5), 1, 3, 5) == [1, 0.5, 0.25]


def test_step_without_epochs_stays():
    assert Step(1.0, at=())(100) == 1


def test_cosine_goes_from_lr_through_half_of_it_to_0():
    got = values(Cosine(0.2, epochs=8), 0, 2, 4, 6, 8)
    assert got == pytest.approx([0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5)), 0])


def test_cosine_stays_at_0_after_its_end():
    assert values(Cosine(0.2, epochs=8), 8.5, 16, 100) == pytest.approx([0, 0, 0])


def test_cosine_warms_up_in_a_straight_line_and_meets_the_cosine():
    schedule = Cosine(0.2, epochs=10, warmup=2)
    assert values(schedule, 0, 0.5, 1, 2 - 1e-9, 2, 6, 10) == pytest.approx([0, 0.05, 0.1, 0.2, 0.2, 0.1, 0])


def test_cosine_that_only_warms_up_divides_by_nothing():
    assert values(Cosine(0.2, epochs=2, warmup=2), 1, 2, 3) == pytest.approx([0.1, 0.2, 0])


def feed(schedule, *errors):
    for error in errors:
        schedule.end_of_epoch(error)
    return schedule


def test_plateau_drops_after_so_many_epochs_without_a_better_error():
    schedule = Plateau(1.0, patience=3)
    got = []
    for error in (50, 40, 41, 40, 42, 43, 39, 39, 39, 39):
        got.append(schedule(0))
        schedule.end_of_epoch(error)
    got.append(schedule(0))
    assert got == pytest.approx([1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01])


def test_plateau_counts_from_the_last_improvement():
    assert feed(Plateau(1.0, patience=2), 50, 51, 49, 51)(0) == 1


def test_plateau_counts_anew_after_a_drop():
    schedule = feed(Plateau(1.0, patience=2), 50, 51, 51, 51)
    assert schedule(0) == pytest.approx(0.1)
    assert feed(schedule, 51)(0) == pytest.approx(0.01)


def test_plateau_takes_an_error_that_is_no_number_for_no_improvement():
    assert feed(Plateau(1.0, patience=2), 50, math.nan, math.nan)(0) == pytest.approx(0.1)


def test_plateau_without_an_error_says_what_it_needs():
    with pytest.raises(ValueError, match=r"^Plateau needs a held-out error after each epoch"):
        Plateau(1.0).end_of_epoch(None)


@pytest.mark.parametrize("errors", [(), (50,), (50, 51), (50, 51, 52, 52)])
def test_plateau_goes_on_from_its_saved_state(errors):
    one, two = feed(Plateau(1.0, patience=2), *errors), Plateau(1.0, patience=2)
    two.set_state(json.loads(json.dumps(one.state(), allow_nan=False)))  # a checkpoint keeps it as JSON
    for error in (51, 49, 50, 50, 50):
        assert feed(one, error)(0) == feed(two, error)(0)
    assert one.state() == two.state()


@pytest.mark.parametrize(("factor", "at"), [(0.1, [4]), (0.5, [10]), (0.01, [2]), (1.0, [])])
def test_a_plateau_below_a_thousandth_of_its_rate_is_spent_which_is_said_at_that_drop(factor, at):
    schedule = Plateau(2.0, factor, patience=1)
    feed(schedule, 50)
    said = []
    for number in range(1, 13):
        before = schedule.drops
        if schedule_is_spent(feed(schedule, 50), before):
            said.append(number)
        assert not schedule_is_spent(feed(schedule, 50 - number), schedule.drops)  # better, and no drop
    assert said == at


def test_no_other_schedule_is_spent():
    assert schedule_is_spent(Cosine(0.1, 1), 0) is None


def as_json(state):
    return json.loads(json.dumps(state, allow_nan=False))


@pytest.mark.parametrize(("lr", "rate"), [(0.01, 0.01 * 0.1**2), (0.001, 0.001), (0.05, 0.05), (1e-4, 1e-4)])
def test_a_plateau_of_another_rate_begins_with_that(lr, rate):
    """What was dropped from another base says nothing of this one; the best error is one of the network."""
    one = feed(Plateau(0.01, patience=1), 50, 50, 50)
    two = Plateau(lr)
    two.set_state(as_json(one.state()))
    assert two(3) == rate
    assert two.lr == lr
    assert two.best == 50


def test_a_plateau_of_another_rate_also_forgets_how_long_it_has_waited():
    two = Plateau(0.5, patience=2)
    two.set_state(feed(Plateau(1.0, patience=2), 50, 51).state())
    assert feed(two, 51)(0) == 0.5
    assert feed(two, 51)(0) == pytest.approx(0.05)


def test_a_state_of_before_goes_on_as_it_would_have():
    """It did not say which rate it belongs to."""
    plateau = Plateau(0.01)
    plateau.set_state({"drops": 2, "waited": 1, "best": 40.0})
    assert (plateau(0), plateau.waited, plateau.best) == (0.01 * 0.1**2, 1, 40.0)


SCHEDULES = [Constant(0.1), Step(0.1, at=(2,)), Cosine(0.1, 5), Plateau(0.2)]


@pytest.mark.parametrize(("first", "then"), list(itertools.permutations(SCHEDULES, 2)))
def test_a_state_of_another_kind_is_not_put_in(first, then):
    before = json.dumps(then.state())
    then.set_state(as_json(first.state()))
    assert json.dumps(then.state()) == before


# ---- what is said where a run goes on ----------------------------------------------------------------


def went_on(first, then, epoch, epochs):
    """What is said when `then` takes the place of `first`, which has gone to this epoch."""
    return take_up(then, as_json(first.state()), as_json(settings_of(first)), epoch, epochs)


@pytest.mark.parametrize(
    ("make", "rate"),
    [
        (lambda: Constant(0.1), "0.1"),
        (lambda: Step(0.1, at=(1, 4)), "0.01"),
        (lambda: Cosine(0.1, 4, warmup=1), "0.075"),
        (lambda: feed(Plateau(0.1, patience=1), 50, 50), "0.01"),
    ],
)
def test_the_same_schedule_goes_on_and_its_rate_is_said(make, rate):
    first, then = make(), type(make())(**{k: v for k, v in settings_of(make()).items() if k != "kind"})
    text = went_on(first, then, 2, 4)
    assert text.startswith(f"Going on in epoch 3 at a learning rate of {rate}")
    assert text.endswith("after 1 drop." if isinstance(then, Plateau) else f"{rate}.")
    assert then(2) == first(2)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Constant(0.1), Constant(0.02)),
        (Constant(0.1), Cosine(0.1, 8)),
        (Cosine(0.1, 4), Cosine(0.1, 20)),
        (Cosine(0.1, 4), Cosine(0.05, 4)),
        (Cosine(0.1, 4, 0.4), Cosine(0.1, 4, 0.8)),
        (Step(0.1, at=(2, 3)), Step(0.1, at=(10, 15))),
        (Step(0.1, at=(2, 3)), Plateau(0.1)),
        (feed(Plateau(0.1, patience=1), 50, 50, 50), Plateau(0.1, patience=1, factor=0.5)),
        (feed(Plateau(0.1, patience=1), 50, 50, 50), Plateau(0.05)),
        (feed(Plateau(0.1, patience=1), 50, 50, 50), Step(0.1, at=(2, 9))),
    ],
)
def test_another_schedule_is_named_with_both_rates_as_they_run(first, then):
    text = went_on(first, then, 2.5, 20)
    assert text.startswith(f"Going on in epoch 3. The schedule was {first!r} and is now {then!r}: the rate ")
    assert f"goes from {first(2.5):.4g} to {then(2.5):.4g} here" in text or (
        f"is {then(2.5):.4g} here" in text and first(2.5) == then(2.5)
    )
    assert (f"is {then(19):.4g} in epoch 20" in text) == isinstance(then, (Step, Cosine))
    assert ("no drop is counted" in text) == (getattr(first, "drops", 0) > getattr(then, "drops", 0))


def test_a_stretched_cosine_says_what_its_curve_does():
    assert went_on(Cosine(0.02, 10), Cosine(0.02, 20), 9, 20) == (
        "Going on in epoch 10. The schedule was Cosine(lr=0.02, epochs=10, warmup=0.0) and is now "
        "Cosine(lr=0.02, epochs=20, warmup=0.0): the rate goes from 0.0004894 to 0.01156 here, and is 0.0001231 in "
        "epoch 20, as in a run that had this curve from the start."
    )


def test_a_schedule_of_ones_own_is_named():
    class Halving(Constant):
        def __call__(self, epoch):
            return self.lr / 2 ** int(epoch)

    assert "was Halving and is now Constant(lr=0.5): the rate is 0.5 here" in went_on(
        Halving(1.0), Constant(0.5), 2, 4
    )
    assert went_on(Halving(1.0), Halving(1.0), 2, 4) == "Going on in epoch 3 at a learning rate of 0.25."
    assert "is now Halving(lr=1.0): the rate goes from 0.5 to 0.25 here" in went_on(
        Constant(0.5), Halving(1.0), 2, 4
    )


def test_what_an_unknown_schedule_left_is_put_back_as_before():
    plateau = Plateau(0.1)
    text = take_up(plateau, {"drops": 1, "waited": 0, "best": 9.0}, None, 3, 9)
    assert text == "Going on in epoch 4 at a learning rate of 0.01, after 1 drop."


@pytest.mark.parametrize("schedule", [Constant(0.1), Step(0.1, at=(2,)), Cosine(0.1, 5)])
def test_the_other_schedules_have_nothing_to_save_and_do_not_listen(schedule):
    before = values(schedule, 0, 1, 2, 3)
    schedule.end_of_epoch(None)
    schedule.set_state(schedule.state())
    assert schedule.state() == {}
    assert values(schedule, 0, 1, 2, 3) == before


@pytest.mark.parametrize(
    ("name", "kind"), [("constant", Constant), ("step", Step), ("plateau", Plateau), ("cosine", Cosine)]
)
def test_a_schedule_is_made_by_its_name(name, kind):
    schedule = make_schedule(name, 0.1, epochs=10)
    assert type(schedule) is kind
    assert schedule(0) == pytest.approx(0.1)


def test_an_unknown_schedule_is_quoted_beside_those_that_are_known():
    with pytest.raises(ValueError, match=r"^unknown schedule 'linear': use constant, step, plateau, cosine$"):
        make_schedule("linear", 0.1, 10)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("cosine", {"times": np.array([1, 2])}, "times must be a whole number >= 1, not array"),
        ("cosine", {"times": 0}, "times must be a whole number >= 1, not 0"),
        ("step", {"epochs": "3"}, "epochs must be a number >= 0, not '3'"),
        ("step", {"epochs": np.array([1, 2])}, "epochs must be a number >= 0, not array"),
    ],
)
def test_numbers_of_schedules_that_make_no_sense_are_named(name, wrong, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make_schedule(name, 0.1, **{"epochs": 10, **wrong})


def test_steps_left_out_are_at_a_half_and_three_quarters():
    assert make_schedule("step", 1.0, epochs=9).at == (5, 7)


def test_cosine_by_name_has_its_length_and_its_warm_up():
    schedule = make_schedule("cosine", 1.0, epochs=10, warmup=2)
    assert values(schedule, 1, 2, 6, 10) == pytest.approx([0.5, 1, 0.5, 0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [False, True])
def test_schedules_give_pythons_numbers_whatever_they_are_set_to(kind, later):
    lr, factor, warmup = kind(0.1), kind(0.3), kind(1.5)

    def schedules(of):
        at = [of(number) for number in (kind(1.0), kind(2.0))]
        made = [Constant(of(lr)), Step(of(lr), at=at, factor=of(factor)), Cosine(of(lr), of(kind(7.0)), of(warmup)),
                Plateau(of(lr), factor=of(factor), patience=1)]  # fmt: skip
        for schedule in made if later else ():
            schedule.lr = of(kind(0.7))
        made[3].end_of_epoch(of(kind(0.5)))
        made[3].end_of_epoch(of(kind(0.6)))
        return made

    for mine, plain in zip(
        schedules(lambda value: value), schedules(lambda value: value.item()), strict=True
    ):
        for epoch in (0.0, 1.0, 1.7, 4.3):
            assert type(mine(epoch)) is float
            assert mine(epoch) == plain(epoch)
        assert json.dumps(mine.state()) == json.dumps(plain.state())


@pytest.mark.parametrize(
    "what", [mx.Linear(2, 2), mx.Sequential(fc=mx.Linear(2, 2)), [np.ones(2)], [mx.Linear(2, 2)]]
)
def test_what_is_no_list_of_parameters_is_refused_with_what_to_write(what):
    with pytest.raises(TypeError, match=r"SGD\(model\.parameters\(\), lr=\.\.\.\)"):
        mx.SGD(what, 0.1)


def test_an_optimizer_of_which_nothing_learns_says_so():
    """As one that was made before a network was extended, whose new block alone learns."""
    model = mx.models.smartnet(1, num_classes=3, preset="small", width=0.1, image_size=8)
    optimizer = SGD(model.parameters(), lr=0.1)
    model.extend()
    with pytest.raises(ValueError, match=r"every parameter has lr_scale 0 .* make the optimizer anew"):
        optimizer.step()


def test_a_penalty_without_gates_says_so():
    with pytest.raises(ValueError, match=r"penalty=0.1 is for gates, and none of these parameters is one"):
        SGD(mx.Linear(2, 2).parameters(), lr=0.1, penalty=0.1)
    with pytest.raises(ValueError, match="penalty must be a number >= 0, not 'x'"):
        SGD([gates([1.0])], lr=0.1, penalty="x")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Constant("0.1"), "Constant: lr must be a number >= 0, not '0.1'"),
        (lambda: Constant(math.nan), "Constant: lr must be a number >= 0, not nan"),
        (lambda: Step(0.1, at=5), r"Step: at says in which epochs the rate drops, \(25, 51\), not 5"),
        (lambda: Step(0.1, at="25"), r"Step: at says in which epochs .*, not \('2', '5'\)"),
        (lambda: Step(0.1, at=(2, math.nan)), r"Step: at says in which epochs .*, not \(2, nan\)"),
        (lambda: Step(0.1, at=(2,), factor=-1), "Step: factor must be a number above 0, not -1"),
        (lambda: Cosine(0.1, epochs=0), "Cosine: epochs must be a number above 0, not 0"),
        (lambda: Cosine(0.1, epochs="10"), "Cosine: epochs must be a number above 0, not '10'"),
        (lambda: Cosine(0.1, 5, warmup=-5), "Cosine: warmup must be a number >= 0, not -5"),
        (lambda: Cosines(0.1, 4, times=0), "Cosines: times must be a whole number >= 1, not 0"),
        (lambda: Plateau(0.1, patience=math.nan), "Plateau: patience must be a whole number >= 1, not nan"),
        (lambda: Plateau(0.1, factor=10), "Plateau: factor must be between 0 and 1, not 10"),
    ],
)
def test_a_schedules_numbers_are_checked_when_it_is_made(make, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        make()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("lr", -1, "Cosine: lr must be a number >= 0, not -1"),
        ("epochs", 0, "Cosine: epochs must be a number above 0, not 0"),
        ("warm_up", 2, r"Cosine has no warm_up \(did you mean warmup\?\): it has lr, epochs, warmup"),
        ("learning_rate", 2, "Cosine has no learning_rate: it has lr, epochs, warmup"),
    ],
)
def test_and_whenever_they_are_set(name, value, said):
    schedule = Cosine(0.1, 10)
    with pytest.raises((ValueError, AttributeError), match=f"^{said}$"):
        setattr(schedule, name, value)
    assert settings_of(schedule) == {"kind": "Cosine", "lr": 0.1, "epochs": 10, "warmup": 0.0}


def test_a_schedule_of_somebodys_own_has_what_it_likes():
    class Mine(Constant):
        def __init__(self, lr, bends):
            super().__init__(lr)
            self.bends = bends

    assert Mine(0.1, 3).bends == 3


def test_numbers_of_a_damaged_schedule_are_no_schedule():
    said = take_up(Constant(0.1), {}, {"kind": "Cosine", "lr": 0.1, "epochs": -1, "warmup": 0.0}, 1.0, 3)
    assert said.startswith("Going on in epoch 2. The schedule was Cosine and is now Constant(lr=0.1)")
