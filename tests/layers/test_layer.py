"""What holds for every layer alike: dtypes, devices, state, checks; and a layer written by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import layers, strategies
from minialex.devices import simdevice
from minialex.devices.device import to_numpy
from minialex.layers.norm import SameMapNorm


def normal(shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# name: (how to make it, the shape of an input)
LAYERS = {
    "Conv2D": (lambda: mx.Conv2D(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2), (3, 4, 5, 6)),
    "Conv2D without bias": (lambda: mx.Conv2D(2, 3, 3, bias=False), (3, 2, 5, 4)),
    "TableConv2D": (lambda: mx.TableConv2D([(0, 2), (1,), (2, 1)], 2), (3, 3, 4, 5)),
    "Linear": (lambda: mx.Linear(5, 4), (3, 5)),
    "Flatten": (mx.Flatten, (3, 2, 4, 3)),
    "RBF": (lambda: mx.RBF(np.sign(normal((4, 6)))), (3, 6)),
    "ReLU": (mx.ReLU, (3, 2, 4, 3)),
    "Sigmoid": (mx.Sigmoid, (3, 2, 4, 3)),
    "Tanh": (lambda: mx.Tanh(1.7159, 2 / 3), (3, 2, 4, 3)),
    "MaxPool2D": (lambda: mx.MaxPool2D(3, stride=2, padding=1), (3, 2, 5, 6)),
    "AvgPool2D": (lambda: mx.AvgPool2D(3, stride=2, padding=1), (3, 2, 5, 6)),
    "AvgPool2D rounded up": (
        lambda: mx.AvgPool2D(3, 2, 1, ceil_mode=True, count_include_pad=False),
        (3, 2, 6, 4),
    ),
    "GlobalAvgPool2D": (mx.GlobalAvgPool2D, (3, 2, 5, 4)),
    "AdaptiveAvgPool2D": (lambda: mx.AdaptiveAvgPool2D((2, 3)), (3, 2, 5, 4)),
    "Subsampling": (lambda: mx.Subsampling(2), (3, 2, 5, 4)),
    "LocalResponseNorm": (lambda: mx.LocalResponseNorm(3, alpha=1.0, k=1.0, groups=2), (3, 4, 3, 2)),
    "SameMapNorm": (lambda: SameMapNorm(3, alpha=1.0), (3, 2, 3, 4)),
    "BatchNorm2D": (lambda: mx.BatchNorm2D(2), (3, 2, 3, 4)),
    "Identity": (mx.Identity, (3, 2, 4)),
    "Scale": (lambda: mx.Scale(0.3), (3, 2, 4)),
    "Gate": (lambda: mx.Gate((1, 2)), (3, 3, 2, 4)),
    "Gate that reads some": (lambda: mx.Gate((1, 2, 1), reads=(0, 1)), (3, 4, 3)),
    "Dropout": (mx.Dropout, (3, 8)),
    "Dropout of 2012": (lambda: mx.Dropout(0.5, scaling="test-time"), (3, 8)),
    "Sequential": (
        lambda: mx.Sequential(mx.Conv2D(2, 2, 3, padding=1), mx.ReLU(), mx.MaxPool2D(2)),
        (3, 2, 4, 6),
    ),
    "Dense": (
        lambda: mx.Dense(mx.Conv2D(2, 2, 3, padding=1), mx.Conv2D(4, 1, 1), reads=[(0,), (0, 1)]),
        (3, 2, 4, 6),
    ),
    "Branches": (
        lambda: mx.Branches(
            {"a": mx.Conv2D(2, 2, 3, padding=1), "b": mx.Sequential(mx.ReLU(), mx.Identity())}
        ),
        (3, 2, 4, 6),
    ),
}
PARAMETER_FREE = [name for name, (make, _) in LAYERS.items() if make().dtype is None]
WITH_PARAMETERS = [name for name, (make, _) in LAYERS.items() if make().parameters()]
CONTAINERS = ("Sequential", "Branches", "Dense")  # they leave the checks to their layers
SINGLE = [name for name in LAYERS if name not in CONTAINERS]
each_layer = pytest.mark.parametrize("name", LAYERS)


def test_each_layer_of_the_library_stands_in_this_list():
    """Losses take labels, and crossings a tuple: they have tests of their own."""
    known = {type(make()) for make, _ in LAYERS.values()}
    here = [kind for kind in vars(layers).values() if isinstance(kind, type) and issubclass(kind, mx.Layer)]
    apart = {
        mx.Layer,
        mx.Model,
        layers.Pool2D,
        layers.ResponseNorm,
        mx.Towers,
        mx.Broadcast,
        mx.Exchange,
        mx.Gather,
        mx.Exits,
    }
    assert {kind for kind in here if not issubclass(kind, layers.Loss)} - apart == known


def test_arrays_are_saved_by_name():
    class Unnamed(mx.Layer):
        def forward(self, x):
            self.save(x)

    with pytest.raises(TypeError, match=r"^Unnamed: self.save takes arrays with names, .* self.save\(x=x\)$"):
        Unnamed().forward(np.ones(2))


def test_a_layer_of_three_axes_says_how_many_it_takes():
    class Sequences(mx.Layer):
        input_rank = 3

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match=r"^Sequences takes 3 axes; the input has shape \(2, 4\)$"):
        Sequences().forward(np.ones((2, 4)))


def equal(actual, expected):
    np.testing.assert_array_equal(to_numpy(actual), expected, strict=True)


def made(name, device="cpu", dtype="float32"):
    """The layer, and an input for it on the host."""
    make, shape = LAYERS[name]
    layer = make().to(device)
    if layer.dtype is not None:
        layer.astype(dtype)
    return layer, normal(shape, dtype=dtype)


def run(layer, x, **options):
    """Forward and backward with a random gradient; everything on the host."""
    y = layer.forward(layer.device.asarray(x))
    grad_y = normal(y.shape, seed=1, dtype=y.dtype)
    grad_x = layer.backward(layer.device.asarray(grad_y), **options)
    grads = [to_numpy(p.grad).copy() for p in layer.parameters()]
    return to_numpy(y), None if grad_x is None else to_numpy(grad_x), grads


# Dtypes


@each_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_comes_out_has_the_dtype_of_what_goes_in(device, name, dtype):
    y, grad_x, grads = run(*made(name, device, dtype))
    assert {array.dtype for array in (y, grad_x, *grads)} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", PARAMETER_FREE)
def test_a_layer_without_parameters_takes_half_precision(device, name):
    y, grad_x, _ = run(*made(name, device, "float16"))
    assert (y.dtype, grad_x.dtype) == (np.float16, np.float16)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: mx.Tanh(np.float64(1.7), np.float64(0.7)),
        lambda: mx.LocalResponseNorm(alpha=np.float64(1), beta=np.float64(0.75), k=np.float64(1)),
        lambda: mx.Dropout(np.float64(0.5)),
        lambda: mx.Dropout(np.float64(0.5), scaling="test-time").eval(),
    ],
    ids=["Tanh", "LocalResponseNorm", "Dropout", "Dropout of 2012"],
)
def test_a_numpy_number_among_the_arguments_does_not_widen_float32(device, layer):
    y, grad_x, _ = run(layer().to(device), normal((1, 2, 2, 2), dtype="float32"))
    assert (y.dtype, grad_x.dtype) == (np.float32, np.float32)


def test_a_numpy_number_as_j_does_not_widen_float32(device):
    loss = mx.MAPLoss(np.float64(1)).to(device)
    assert loss.forward(device.asarray(normal((2, 3), dtype="float32")), [0, 1]).dtype == np.float32


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_float32_parameters_refuse_float64_input(device, name):
    layer, x = made(name, device)
    message = (
        r'computes in float32, the input is float64: use x.astype\("float32"\), or layer.astype\("float64"\)'
    )
    with pytest.raises(mx.DtypeMismatch, match=message):
        layer.forward(device.asarray(x.astype(np.float64)))


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_float64_parameters_refuse_float32_input(device, name):
    layer, x = made(name, device, "float64")
    with pytest.raises(mx.DtypeMismatch, match="computes in float64, the input is float32"):
        layer.forward(device.asarray(x.astype(np.float32)))


@each_layer
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_whole_numbers_are_refused(device, name, dtype):
    layer, x = made(name, device)
    with pytest.raises(mx.DtypeMismatch, match=rf'the input is {dtype}: use x.astype\("float32"\)$'):
        layer.forward(device.asarray(x.astype(dtype)))


def test_astype_refuses_whole_numbers(device):
    with pytest.raises(
        mx.DtypeMismatch, match="Linear: layers compute in floating-point types, not in int32"
    ):
        mx.Linear(2, 2).to(device).astype("int32")


@each_layer
def test_astype_and_to_return_the_layer(name):
    layer, _ = made(name)
    assert layer.astype("float64") is layer
    assert layer.to("sim:0") is layer


# Nobody else's arrays are written into


@each_layer
@settings(max_examples=5)
@given(data=st.data())
def test_no_array_of_the_caller_is_written_into(device, name, data):
    make, shape = LAYERS[name]
    layer = make().astype("float64").to(device)
    x = data.draw(strategies.arrays(shape))  # read-only, so that on the CPU the attempt would raise
    x_there = device.asarray(x)
    y_there = layer.forward(x_there)
    y = to_numpy(y_there).copy()
    grad_y = data.draw(strategies.arrays(y.shape))
    grad_y_there = device.asarray(grad_y)
    layer.backward(grad_y_there)
    equal(x_there, x)
    equal(y_there, y)
    equal(grad_y_there, grad_y)


@each_layer
def test_a_second_pass_leaves_the_results_of_the_first_alone(device, name):
    layer, x = made(name, device)
    y = layer.forward(device.asarray(x))
    grad_x = layer.backward(y)
    grads = [p.grad for p in layer.parameters()]
    before = [to_numpy(array).copy() for array in (y, grad_x, *grads)]
    layer.backward(layer.forward(device.asarray(2 * x)))
    for array, expected in zip((y, grad_x, *grads), before, strict=True):
        equal(array, expected)


# State and modes


@each_layer
def test_one_picture_alone_gives_what_it_gives_in_a_batch(device, name):
    layer, x = made(name, device, "float64")
    layer.eval()
    y, grad_x, _ = run(layer, x)
    alone = layer.forward(device.asarray(x[:1]))
    np.testing.assert_allclose(to_numpy(alone), y[:1], rtol=1e-12)
    grad_y = normal(y.shape, seed=1)[:1]
    np.testing.assert_allclose(
        to_numpy(layer.backward(device.asarray(grad_y))), grad_x[:1], rtol=1e-12, atol=1e-12
    )


@each_layer
def test_a_parameter_s_gradient_sums_over_the_pictures(device, name):
    layer, x = made(name, device, "float64")
    layer.eval()
    _, _, grads = run(layer, x)
    grad_y = normal(layer.forward(device.asarray(x)).shape, seed=1)
    total = [0.0 for _ in grads]
    for n in range(len(x)):
        layer.forward(device.asarray(x[n : n + 1]))
        layer.backward(device.asarray(grad_y[n : n + 1]))
        total = [sum_ + to_numpy(p.grad) for sum_, p in zip(total, layer.parameters(), strict=True)]
    for whole, parts in zip(grads, total, strict=True):
        np.testing.assert_allclose(whole, parts, rtol=1e-12, atol=1e-12)


@each_layer
def test_backward_sets_gradients_and_does_not_add(device, name):
    layer, x = made(name, device)
    first, second = run(layer, x), run(layer, x)
    for once, again in zip(first[2], second[2], strict=True):
        equal(again, once)


@each_layer
def test_without_input_grad_backward_returns_none_and_sets_the_same_gradients(device, name):
    layer, x = made(name, device)
    _, grad_x, grads = run(layer, x, input_grad=True)
    assert grad_x.shape == x.shape
    _, nothing, same = run(layer, x, input_grad=False)
    assert nothing is None
    for expected, actual in zip(grads, same, strict=True):
        equal(actual, expected)


@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith(("Dropout", "BatchNorm"))])
def test_backward_works_in_eval_mode_as_in_training(device, name):
    layer, x = made(name, device)
    trained, evaluated = run(layer.train(), x), run(layer.eval(), x)
    equal(evaluated[1], trained[1])
    for expected, actual in zip(trained[2], evaluated[2], strict=True):
        equal(actual, expected)


@each_layer
def test_backward_before_forward_is_refused_by_name(device, name):
    layer, x = made(name, device)
    with pytest.raises(
        mx.BackwardBeforeForward, match=f"{type(layer).__name__}: backward needs a forward before it"
    ):
        layer.backward(device.asarray(x))


@each_layer
def test_a_second_backward_is_refused_by_name(device, name):
    layer, x = made(name, device)
    layer.name = "fourth"
    run(layer, x)
    with pytest.raises(mx.BackwardBeforeForward, match=rf"fourth \({type(layer).__name__}\): backward needs"):
        layer.backward(device.asarray(x))


@each_layer
@pytest.mark.parametrize("change", [lambda layer: layer.to("sim:1"), lambda layer: layer.astype("float64")])
def test_a_layer_that_moved_or_changed_its_dtype_forgets_its_forward(name, change):
    layer, x = made(name)
    y = layer.forward(x)
    change(layer)
    with pytest.raises(mx.BackwardBeforeForward):
        layer.backward(y)


@each_layer
def test_backward_lets_go_of_what_forward_saved(device, name):
    layer, x = made(name, device)
    run(layer, x)
    assert layer.saved is None


@each_layer
def test_forward_and_backward_take_their_array_by_name(device, name):
    layer, x = made(name, device)
    y = layer.forward(x=device.asarray(x))
    assert layer.backward(grad_y=y).shape == x.shape


# Devices


@each_layer
def test_every_device_gives_the_same(device, name):
    there, here = run(*made(name, device, "float64")), run(*made(name, "cpu", "float64"))
    for actual, expected in zip((*there[:2], *there[2]), (*here[:2], *here[2]), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@each_layer
@pytest.mark.usefixtures("textbook")
def test_a_layer_runs_on_its_own_device_whatever_the_current_one(name):
    layer, x = made(name, "sim:1")
    x_there = layer.device.asarray(x)
    with mx.Device("sim:3"):
        y = layer.forward(x_there)
        grad_x = layer.backward(y)
    grads = [p.grad for p in layer.parameters()]
    assert {mx.device_of(array).name for array in (y, grad_x, *grads)} == {"sim:1"}
    twin = made(name)[0]
    expected = twin.forward(x)
    equal(y, expected)
    equal(grad_x, twin.backward(expected))


@each_layer
def test_a_layer_can_be_made_and_moved_under_any_current_device(name):
    with mx.Device("sim:3"):
        layer, x = made(name, "sim:1")
        layer.backward(layer.forward(layer.device.asarray(x)))
        layer.to("sim:2")
        layer.to("cpu").astype("float64")
    assert {mx.device_of(p.value).name for p in layer.parameters()} <= {"cpu"}


@each_layer
def test_to_moves_parameters_and_gradients(name):
    layer, x = made(name)
    run(layer, x)
    before = [(p.value.copy(), p.grad.copy()) for p in layer.parameters()]
    layer.to("sim:2")
    for p, (value, grad) in zip(layer.parameters(), before, strict=True):
        assert mx.device_of(p.value) is mx.device_of(p.grad) is mx.Device("sim:2")
        equal(p.value, value)
        equal(p.grad, grad)


@each_layer
def test_astype_changes_parameters_and_gradients(device, name):
    layer, x = made(name, device)
    run(layer, x)
    layer.astype("float64")
    assert {array.dtype for p in layer.parameters() for array in (p.value, p.grad)} <= {np.dtype("float64")}


@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("Dropout")])
def test_a_pass_neither_transfers_nor_waits(name):
    layer, x = made(name, "sim:0")
    x = layer.device.asarray(x)
    with simdevice.recording() as ledger:
        layer.backward(layer.forward(x))
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


@each_layer
@pytest.mark.parametrize(("home", "elsewhere"), [("sim:1", "cpu"), ("sim:1", "sim:2"), ("cpu", "sim:1")])
def test_an_input_on_another_device_is_refused_with_both_names(name, home, elsewhere):
    layer, x = made(name, home)
    message = rf'is on {home}, the input on {elsewhere}: use transfer\(array, "{home}"\), or layer.to\("{elsewhere}"\)'
    with pytest.raises(mx.DeviceMismatch, match=message):
        layer.forward(mx.Device(elsewhere).asarray(x))


@each_layer
@pytest.mark.parametrize(("home", "elsewhere"), [("sim:1", "cpu"), ("sim:1", "sim:2"), ("cpu", "sim:1")])
def test_a_gradient_on_another_device_is_refused_with_both_names(name, home, elsewhere):
    layer, x = made(name, home)
    y = layer.forward(layer.device.asarray(x))
    with pytest.raises(mx.DeviceMismatch, match=f"is on {home}, the gradient on {elsewhere}"):
        layer.backward(mx.transfer(y, elsewhere))


# Inputs and gradients that are refused


@each_layer
def test_a_list_is_refused_as_input(device, name):
    layer, x = made(name, device)
    with pytest.raises(TypeError, match="takes a NumPy or CuPy array, the input is a list"):
        layer.forward(x.tolist())


@each_layer
def test_a_list_is_refused_as_gradient(device, name):
    layer, x = made(name, device)
    y = layer.forward(device.asarray(x))
    with pytest.raises(TypeError, match="takes a NumPy or CuPy array, the gradient is a list"):
        layer.backward(to_numpy(y).tolist())


def test_nothing_is_refused_as_input():
    with pytest.raises(TypeError, match="ReLU takes a NumPy or CuPy array, the input is a NoneType"):
        mx.ReLU().forward()


@each_layer
def test_an_empty_batch_is_refused(device, name):
    layer, x = made(name, device)
    with pytest.raises(
        ValueError, match=r"the input is empty, shape \(0, .*; at least one picture is needed"
    ):
        layer.forward(device.asarray(x[:0]))


@pytest.mark.parametrize("name", [name for name in SINGLE if made(name)[0].input_rank == 4])
def test_an_input_that_is_no_batch_of_pictures_is_refused(device, name):
    layer, x = made(name, device)
    with pytest.raises(
        ValueError, match=r"takes \(N, C, H, W\), 4 axes; the input has shape \(\d+, \d+, \d+\)"
    ):
        layer.forward(device.asarray(x[0]))


@pytest.mark.parametrize("name", [name for name in SINGLE if made(name)[0].input_rank == 2])
def test_an_input_that_is_no_batch_of_vectors_is_refused(device, name):
    layer, x = made(name, device)
    with pytest.raises(ValueError, match=r"takes \(N, features\), 2 axes; the input has shape \(\d+,\)"):
        layer.forward(device.asarray(x[0]))


@each_layer
def test_a_gradient_of_another_shape_is_refused(device, name):
    layer, x = made(name, device)
    y = layer.forward(device.asarray(x))
    with pytest.raises(ValueError, match=r"forward gave shape \(3, .*, the gradient has shape \(2, "):
        layer.backward(y[:2])


@each_layer
def test_a_gradient_of_another_dtype_is_refused(device, name):
    layer, x = made(name, device)
    y = layer.forward(device.asarray(x))
    with pytest.raises(mx.DtypeMismatch, match="forward gave float32, the gradient is float64"):
        layer.backward(y.astype(np.float64))


@each_layer
def test_a_refused_gradient_can_be_followed_by_a_right_one(device, name):
    layer, x = made(name, device)
    y = layer.forward(device.asarray(x))
    with pytest.raises(ValueError, match="the gradient has shape"):
        layer.backward(y[:2])
    assert layer.backward(y).shape == x.shape


def test_a_layer_that_failed_inside_can_be_used_again(device):
    class Picky(mx.Layer):
        def forward(self, x):
            if x.shape[0] == 1:
                raise RuntimeError("not this one")
            return x * 1

        def backward(self, grad_y):
            return grad_y * 1

    layer, x = Picky().to(device), device.asarray(normal((2, 2)))
    layer.forward(x)
    with pytest.raises(RuntimeError, match="not this one"):
        layer.forward(x[:1])  # and what the forward before it saved is gone
    with pytest.raises(mx.BackwardBeforeForward):
        layer.backward(x[:1])
    equal(layer.backward(layer.forward(x)), to_numpy(x))


# A layer written by hand


class PReLU(mx.Layer):
    """y = max(x, 0) + slope[c] * min(x, 0)"""

    def __init__(self, channels, initial=0.25):
        self.slope = mx.Parameter(np.full(channels, initial, np.float32), decay=False)

    def forward(self, x):
        self.save(x=x)
        slope = self.slope.value[:, None, None]  # (C, 1, 1)
        return self.xp.maximum(x, 0) + slope * self.xp.minimum(x, 0)

    def backward(self, grad_y):
        x = self.saved.x
        slope = self.slope.value[:, None, None]  # (C, 1, 1)
        self.slope.grad = (grad_y * self.xp.minimum(x, 0)).sum(axis=(0, 2, 3))
        return grad_y * self.xp.where(x > 0, 1, slope)


@settings(max_examples=10)
@given(x=strategies.images(max_side=4, away_from=0.0))
def test_a_layer_of_one_s_own_passes_gradcheck(device, x):
    assert mx.gradcheck(PReLU(x.shape[1]).to(device), x)


def test_a_layer_of_one_s_own_computes(device):
    layer = PReLU(2).to(device)
    x = np.array([-4.0, 2.0, 8.0, -2.0], np.float32).reshape(1, 2, 1, 2)
    y = layer.forward(device.asarray(x))
    equal(y, np.array([-1.0, 2.0, 8.0, -0.5], np.float32).reshape(1, 2, 1, 2))
    equal(
        layer.backward(device.asarray(np.ones_like(x))),
        np.array([0.25, 1, 1, 0.25], np.float32).reshape(x.shape),
    )
    equal(layer.slope.grad, np.array([-4.0, -2.0], np.float32))


def test_a_layer_of_one_s_own_has_named_parameters_in_and_out_of_a_model():
    assert [p.name for p in PReLU(3).parameters()] == ["slope"]
    model = mx.Sequential(fc=mx.Linear(1, 1), act=PReLU(3))
    assert [p.name for p in model.parameters()] == ["fc.weight", "fc.bias", "act.slope"]


def test_a_layer_of_one_s_own_moves():
    layer = PReLU(3).to("sim:1")
    assert mx.device_of(layer.slope.value) is mx.Device("sim:1")
    with pytest.raises(mx.DeviceMismatch, match="PReLU is on sim:1, the input on cpu"):
        layer.forward(np.ones((1, 3, 1, 1), np.float32))


def test_a_layer_that_calls_its_parent_s_forward_and_backward_is_checked_once(device):
    checks = []

    class Louder(mx.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

        def backward(self, grad_y, input_grad=True):
            return super().backward(2 * grad_y, input_grad)

        def check_input(self, x):
            checks.append("input")
            super().check_input(x)

        def check_grad(self, grad_y):
            checks.append("gradient")
            super().check_grad(grad_y)

    layer = Louder(3, 2).to(device)
    layer.backward(layer.forward(device.asarray(normal((1, 3), dtype="float32"))))
    assert checks == ["input", "gradient"]
    assert mx.gradcheck(layer, normal((2, 3)))


def test_a_parameter_says_what_it_is():
    assert repr(mx.Linear(3, 2).weight) == "Parameter('weight', shape (2, 3), float32)"


def test_a_parameter_has_no_gradient_before_backward():
    assert [p.grad for p in mx.Linear(3, 2).parameters()] == [None, None]


def test_a_layer_shows_how_it_was_made_and_what_is_inside():
    assert repr(mx.ReLU()) == "ReLU()"
    conv = (
        "Conv2D(in_channels=3, out_channels=8, kernel_size=(5, 4), stride=(1, 1), padding=(2, 2), groups=1)"
    )
    assert repr(mx.Conv2D(3, 8, (5, 4), padding=2)) == conv
    assert repr(mx.Dropout(0.25, seed=7)) == "Dropout(p=0.25, scaling='inverted', seed=7)"
    nested = mx.Sequential(
        conv1=mx.Conv2D(3, 8, (5, 4), padding=2), rest=mx.Sequential(mx.ReLU(), mx.Flatten())
    )
    assert repr(nested).splitlines() == [
        "Sequential(",
        f"  conv1: {conv}",
        "  rest: Sequential(",
        "    0: ReLU()",
        "    1: Flatten()",
        "  )",
        ")",
    ]
    assert str(nested) == repr(nested)  # what print shows
    assert (f"{nested}", f"{nested['conv1']:>16}") == ("Sequential", "  conv1 (Conv2D)")  # in a message
    assert repr(mx.Conv2D(1, 2, 3, bias=False)).endswith("groups=1, bias=False)")


def test_a_layer_of_ones_own_may_keep_a_layer_under_two_names_and_have_a_setting_called_trainable():
    class Own(mx.Layer):
        def __init__(self, trainable=False):
            self.trainable = trainable
            self.table = {"l0": mx.Linear(2, 2)}
            self.l0 = self.table["l0"]
            self.parts = []
            self.first = mx.ReLU()
            self.parts.append(self.first)

        def children(self):
            return {**self.table, "first": self.parts[0]}

        def __str__(self):
            return "own"

    assert len(Own().parameters()) == 2
    assert f"{Own()}" == "own"
    made = Own()
    del made.l0
    with pytest.raises(AttributeError, match="l0 is a layer inside it"):
        made.l0 = mx.Linear(2, 2)


def test_a_mixin_behind_layer_brings_its_forward():
    class Mixin:
        def forward(self, x):
            return x

    class Mixed(mx.Layer, Mixin):
        pass

    assert Mixed().forward(3) == 3


def test_a_layer_of_ones_own_shows_what_it_was_made_with_and_no_more_than_a_line_of_it():
    class Own(mx.Layer):
        def __init__(self, many, text, inner):
            self.many, self.text, self.inner = many, text, inner

    made = Own(tuple(range(1000)), "a" * 1000, mx.ReLU())
    first, second, third, last = repr(made).splitlines()
    assert (first, third, last) == ("Own(", "  inner: ReLU()", ")")
    assert second.startswith("  many=(0, 1, 2, 3, 4, 5, 6, 7, ...), text='aaa")
    assert len(second) < 120


def test_what_forward_forgot_to_keep_is_named():
    class Forgetful(mx.Layer):
        def forward(self, x):
            if x[0]:
                self.save(z=x)
            return x

        def backward(self, grad_y):
            return grad_y * self.saved.x

    layer = Forgetful()
    layer.forward(np.ones(1))
    with pytest.raises(AttributeError, match=r"self\.save\(x=\.\.\.\) in it; it kept z$"):
        layer.backward(np.ones(1))
    layer.forward(np.zeros(1))  # what was kept before does not count
    with pytest.raises(AttributeError, match=r"forward kept no 'x': write self\.save\(x=\.\.\.\) in it$"):
        layer.backward(np.ones(1))


@pytest.mark.parametrize("layer", [mx.Linear(3, 2), mx.Sequential(mx.Linear(3, 2)), mx.Tanh()])
def test_input_grad_may_be_given_by_position(layer):
    x = np.ones((1, 3), np.float32)
    y = layer.forward(x)
    assert layer.backward(np.ones_like(y), False) is None
    layer.forward(x)
    assert layer.backward(np.ones_like(y), True).shape == x.shape


def test_a_method_that_takes_too_little_is_named_where_the_class_is_defined():
    with pytest.raises(TypeError, match=r"^L.forward takes \(self, x\): write `def forward\(self, x\):`$"):
        type("L", (mx.Layer,), {"forward": lambda x: x})
    with pytest.raises(TypeError, match=r"^L.backward takes \(self, grad_y\)"):
        type("L", (mx.Layer,), {"backward": lambda self: None})
    type("L", (layers.Loss,), {"backward": lambda self: None})  # a loss needs no gradient


@pytest.mark.parametrize(("gives", "what"), [(lambda g: None, "None"), (lambda g: g[:1], r"shape \(1, 3\)")])
def test_a_backward_that_gives_no_gradient_of_its_input_is_named_itself(gives, what):
    mine = type("Mine", (mx.Layer,), {"forward": lambda self, x: x, "backward": lambda self, g: gives(g)})
    model = mx.Sequential(fc=mx.Linear(3, 3), mine=mine())
    y = model.forward(np.ones((2, 3), np.float32))
    with pytest.raises(
        ValueError, match=rf"^mine \(Mine\) gives {what} as gradient of x, which has shape \(2, 3\)"
    ):
        model.backward(y)


# ---- what is made with what ----


class Named:
    def __init__(self, name="nobody"):
        self.name = name


class Same(mx.Layer):
    def forward(self, x):
        return x

    def backward(self, grad_y):
        return grad_y


class WithName(Same, Named):
    pass


class AndNumber(Same, Named):
    def __init__(self, number, name):
        super().__init__(name)
        self.number = number


class Counted(Same):
    def __new__(cls, number):
        made = super().__new__(cls)
        vars(made)["number"] = number
        return made


def test_a_layer_may_be_something_else_as_well():
    assert (WithName("ada").name, WithName().name) == ("ada", "nobody")
    made = AndNumber(3, name="ada")
    assert (made.number, made.name) == (3, "ada")
    assert Counted(5).number == 5
    with pytest.raises(TypeError, match=r"^Same: too many positional arguments; it takes nothing$"):
        Same(3)
