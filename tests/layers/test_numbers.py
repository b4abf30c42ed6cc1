"""NumPy's numbers: as settings they give the bits of Python's, one number is an array too, and no dtype widens."""

import copy
import json

import numpy as np
import pytest

import minialex as mx
from minialex.data.augment import Colour, Prepare
from minialex.devices.device import to_numpy
from minialex.layers import init
from minialex.layers.parameter import Constant
from minialex.models.alexnet import PictureInput
from minialex.study.neighbours import BinaryCodes, SquaredError

KINDS = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16, "0-d": np.array,
    "0-d float32": lambda number: np.array(number, np.float32),
}  # fmt: skip
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
RNG = np.random.default_rng(0)
PICTURES = RNG.standard_normal((3, 6, 7, 7), dtype=np.float32)
VECTORS = RNG.standard_normal((3, 6), dtype=np.float32)
LABELS = np.array([0, 3, 5])


def both(kind, number):
    """The number as NumPy has it, and the same as Python has it."""
    given = kind(number)
    return given, given.item()


def bits_of(layer, x, *args, grad=None, device="cpu"):
    """The bytes of output and gradients."""
    layer, device = layer.to(device), mx.Device(device)
    y = layer.forward(device.asarray(x), *args)
    grad_x = layer.backward(device.asarray(np.full(y.shape, 0.3, np.float32)) if grad is None else grad)
    arrays = [y, grad_x, *(p.grad for p in layer.parameters())]
    return [(to_numpy(array).dtype, to_numpy(array).tobytes()) for array in arrays]


LAYERS = [
    (mx.Dropout, {"p": 0.3, "seed": 7}, PICTURES),
    (mx.Dropout, {"p": 0.3, "scaling": "test-time"}, PICTURES),
    (mx.Tanh, {"scale": 1.7159, "slope": 2 / 3}, PICTURES),
    (mx.LocalResponseNorm, {"alpha": 0.3, "beta": 0.7, "k": 1.3}, PICTURES),
    (mx.SameMapNorm, {"alpha": 0.3, "beta": 0.7, "k": 1.3}, PICTURES),
]


@kinds
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("textbook", [False, True])
@pytest.mark.parametrize(("make", "settings", "x"), LAYERS)
def test_settings_of_layers_give_the_bits_of_pythons_numbers(kind, later, textbook, make, settings, x):
    pairs = {
        name: both(kind, value) if isinstance(value, float) else (value, value)
        for name, value in settings.items()
    }
    ends = []
    for which in (0, 1):
        chosen = {name: pair[which] for name, pair in pairs.items()}
        layer = make() if later else make(**chosen)
        for name in chosen if later else ():
            setattr(layer, name, chosen[name])
        with mx.textbook() if textbook else np.errstate():
            ends.append([bits_of(layer.train(mode), x) for mode in (True, False)])
    assert ends[0] == ends[1]


class Mix(mx.Layer):
    """A layer of one's own whose settings are as they were given."""

    def __init__(self, shares, factor=1.0):
        self.shares, self.factor = shares, factor

    def forward(self, x):
        return self.shares[0] * x + self.shares[1] * x * x * self.factor

    def backward(self, grad_y):
        return grad_y * self.factor


@kinds
def test_settings_of_ones_own_layer_give_the_bits_of_pythons_numbers(kind):
    (one, plain_one), (two, plain_two) = both(kind, 0.3), both(kind, 0.7)
    shares = (one, two) if isinstance(one, np.generic) else (plain_one, plain_two)
    assert bits_of(Mix(shares, two), VECTORS) == bits_of(Mix((plain_one, plain_two), plain_two), VECTORS)


def test_an_array_of_one_number_that_is_no_argument_stays_an_array():
    class Counting(mx.Layer):
        def __init__(self):
            self.count = np.zeros(())

        def forward(self, x):
            self.count[...] += 1
            return x

    layer = Counting()
    layer.forward(VECTORS)
    assert layer.count == 1


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.array])
def test_sizes_may_be_whole_numbers_of_numpy(kind):
    def network(number):
        return mx.Sequential(
            mx.Conv2D(number(6), number(4), number(3), number(1), number(1), groups=number(2)),
            mx.MaxPool2D(number(3), number(2), number(1)),
            mx.LocalResponseNorm(number(3)),
            mx.Subsampling(number(4)),
            mx.Flatten(),
            mx.Linear(number(16), number(3)),
        )

    assert bits_of(network(kind), PICTURES) == bits_of(network(int), PICTURES)


@kinds
@pytest.mark.parametrize("device", ["cpu", "sim:0"])
@pytest.mark.parametrize("make", [mx.SoftmaxCrossEntropy, mx.MAPLoss, SquaredError])
def test_the_gradient_of_a_loss_may_be_any_number(kind, device, make):
    target = mx.Device(device).asarray(VECTORS[::-1].copy()) if make is SquaredError else LABELS
    given, plain = both(kind, 0.3)
    assert bits_of(make(), VECTORS, target, grad=given, device=device) == bits_of(
        make(), VECTORS, target, grad=plain, device=device
    )


@kinds
def test_the_rubbish_class_of_the_map_loss_may_be_any_number(kind):
    given, plain = both(kind, 0.3)
    assert bits_of(mx.MAPLoss(given), VECTORS, LABELS, grad=0.3) == bits_of(
        mx.MAPLoss(plain), VECTORS, LABELS, grad=0.3
    )


@kinds
def test_initialisers_give_the_bits_of_pythons_numbers(kind):
    given, plain = both(kind, 0.01)
    drawn = [init.normal(std)((4, 5), 5, 4, np.random.default_rng(3)).tobytes() for std in (given, plain)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_weights_are_drawn_alike_whatever_the_sizes_are_given_in(kind):
    """200 + 100, or 200 * 25, is too much for a byte."""
    for make, sizes in ((mx.Linear, (200, 100)), (mx.Conv2D, (200, 100, 5))):
        given, plain = (make(*map(of, sizes)).weight.value for of in (kind, int))
        assert given.tobytes() == plain.tobytes()


@kinds
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_pictures_are_prepared_to_the_bits_of_pythons_numbers(kind, order):
    picture = np.random.default_rng(0).integers(0, 256, (3, 9, 9)).astype(np.uint8)
    ends = []
    for which in (0, 1):
        scale, mean, std = (both(kind, number)[which] for number in (1 / 255, 0.45, 0.22))
        mine = Prepare(5, scale, mean, std, order, Colour.PUBLISHED)
        wanted = PictureInput(crop=5, scale=scale, mean="image", std=(std,) * 3, order=order)
        grey = np.linspace(90, 130, 243, dtype=np.float32).reshape(3, 9, 9)
        of_network = Prepare.for_input(wanted, mean=grey)
        rng = np.random.default_rng(1)
        arrays = [
            mine.training(picture, rng),
            *(p.evaluation(picture) for p in (mine, of_network)),
            mine.ten(picture),
        ]
        ends.append([(array.dtype, array.tobytes()) for array in arrays])
    assert ends[0] == ends[1]


@kinds
def test_networks_take_any_numbers(kind):
    given, plain = both(kind, 0.0625)
    whole = np.int64
    one = mx.models.alexnet(whole(3), "cpu", width=given, image_size=whole(67), rng=whole(1), scale=given)
    two = mx.models.alexnet(3, "cpu", width=plain, image_size=67, rng=1, scale=plain)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert p.value.tobytes() == q.value.tobytes()
    assert repr(one.picture_shape) == repr(two.picture_shape)
    assert repr(one) == repr(two)
    given, plain = both(kind, 0.3)
    x = np.ones((2, 1, 28, 28), np.float32)
    ends = [mx.models.lenet5(dropout=number, rng=1).forward(x).tobytes() for number in (given, plain)]
    assert ends[0] == ends[1]


def test_a_lenets_scale_may_be_changed_to_any_number():
    pictures = np.arange(28 * 28, dtype=np.uint8).reshape(1, 1, 28, 28)
    for kind in KINDS.values():
        ends = []
        for which in (0, 1):
            model = mx.models.lenet5()
            model.ink, model.background = both(kind, 1.3)[which], both(kind, -0.3)[which]
            ends.append(model.prepare(pictures).tobytes())
        assert ends[0] == ends[1]


def test_binary_codes_take_any_numbers():
    vectors = np.random.default_rng(0).standard_normal((12, 5))
    ends = []
    for whole in (int, np.int64, np.uint8):
        coder = BinaryCodes(bits=whole(8), seed=whole(2))
        losses = coder.fit(vectors, epochs=whole(3), batch_size=whole(5))
        ends.append((losses, coder.codes(vectors).tobytes()))
    assert ends[0] == ends[1] == ends[2]


def test_a_networks_settings_travel_to_other_processes_as_pythons():
    model = mx.models.lenet5(dropout=np.float64(0.5))
    model["c5_tanh"].scale = np.float64(1.5)
    x, grad = np.ones((32, 1, 28, 28), np.float32), np.full((32, 10), 0.1, np.float32)
    twin = copy.deepcopy(model)
    twin["c5_tanh"].scale = 1.5
    ends = []
    for one in (model, twin):
        with mx.DataParallel(one, processes=np.int64(2)) as parallel:
            y = parallel.forward(x)
            parallel.backward(grad)
        ends.append([y.tobytes(), *(p.grad.tobytes() for p in one.parameters())])
    assert ends[0] == ends[1]


def test_a_tuple_of_numbers_stays_the_same_object():
    layer, numbers = mx.ReLU(), (1, (2.0, "a"))
    layer.numbers = numbers
    assert layer.numbers is numbers
    layer.numbers = (np.int64(1), (np.float32(2.0), "a"))
    assert json.dumps(layer.numbers) == json.dumps(numbers)


# ---- one number alone: 0-d arrays -----------------------------------------------------------------------

ACTIVATIONS = [mx.ReLU, mx.Sigmoid, mx.Tanh, lambda: mx.Tanh(1.7159, 2 / 3)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("make", ACTIVATIONS)
def test_activations_take_one_number(device, make, dtype):
    x, grad = np.array(0.7, dtype), np.array(0.3, dtype)
    layer, many = make().to(device), make().to(device)
    y, ys = layer.forward(device.asarray(x)), many.forward(device.asarray(x.reshape(1)))
    grad_x, grad_xs = layer.backward(device.asarray(grad)), many.backward(device.asarray(grad.reshape(1)))
    for one, several in ((y, ys), (grad_x, grad_xs)):
        assert type(one) is type(several)
        assert (one.shape, one.dtype) == ((), np.dtype(dtype))
        np.testing.assert_allclose(
            to_numpy(one), to_numpy(several)[0], rtol=1e-3 if dtype == "float16" else 1e-6
        )


@pytest.mark.parametrize("make", ACTIVATIONS)
def test_gradcheck_takes_one_number(make):
    assert mx.gradcheck(make(), np.array(0.7))
    assert mx.gradcheck(make(), np.float64(0.7))


def test_a_number_of_numpy_is_an_array_of_one_number():
    layer = mx.Sequential(mx.Tanh(), mx.ReLU())
    y = layer.forward(np.float32(0.5))
    assert type(y) is np.ndarray
    grad_x = layer.backward(np.float32(1))
    assert (type(grad_x), grad_x.shape, grad_x.dtype) == (np.ndarray, (), np.float32)
    layer.forward(np.float32(0.5))
    with pytest.raises(
        mx.DtypeMismatch, match=r"^1 \(ReLU\): forward gave float32, the gradient is float64$"
    ):
        layer.backward(np.float64(1))


@pytest.mark.parametrize("x", [np.array(1.0, np.float32), np.float32(1)], ids=["0-d", "number"])
@pytest.mark.parametrize(
    "make",
    [lambda: mx.Linear(1, 1), lambda: mx.Conv2D(1, 1, 1), lambda: mx.TableConv2D([(0,)], 1), mx.Flatten, mx.Dropout,
     lambda: mx.MaxPool2D(1), lambda: mx.AvgPool2D(1), lambda: mx.Subsampling(1), mx.LocalResponseNorm,
     mx.SameMapNorm, lambda: mx.RBF(np.ones((2, 3))), lambda: mx.DataParallel(mx.Model(relu=mx.ReLU()), 2)],
)  # fmt: skip
def test_a_layer_that_needs_a_batch_refuses_one_number_by_name(make, x):
    layer = make()
    with pytest.raises(ValueError, match=rf"^{type(layer).__name__} takes .*\(\)$"):
        layer.forward(x)


@pytest.mark.parametrize("make", [mx.SoftmaxCrossEntropy, mx.MAPLoss, SquaredError])
def test_a_loss_refuses_one_number_by_name(make):
    with pytest.raises(
        ValueError, match=rf"^{make.__name__} takes \(N, features\), 2 axes; the input has shape \(\)$"
    ):
        make().forward(np.array(1.0), np.array(0))


@pytest.mark.parametrize("make", [mx.Exchange, mx.Gather])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_what_joins_channels_refuses_arrays_without_them(make, shape):
    x = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=rf"^{make.__name__} joins channels, .* the input has shape"):
        make().forward((x, x))


class Slope(mx.Layer):
    """y = max(x, 0) + slope * min(x, 0); one slope for all"""

    def __init__(self, slope=0.25):
        self.slope = mx.Parameter(np.float32(slope))

    def forward(self, x):
        self.save(x=x)
        return self.xp.maximum(x, 0) + self.slope.value * self.xp.minimum(x, 0)

    def backward(self, grad_y):
        x = self.saved.x
        self.slope.grad = (grad_y * self.xp.minimum(x, 0)).sum()
        return grad_y * self.xp.where(x > 0, 1, self.slope.value)


@pytest.mark.parametrize("textbook", [False, True])
def test_a_parameter_of_one_number_trains_and_is_saved(device, tmp_path, textbook):
    model = mx.Sequential(fc=mx.Linear(3, 2), act=Slope()).to(device)
    slope, optimizer = model["act"].slope, mx.SGD(model.parameters(), lr=0.5, momentum=0.5, weight_decay=0.1)
    x, grad = device.asarray(-np.ones((2, 3), np.float32)), device.asarray(np.ones((2, 2), np.float32))
    wanted, velocity = 0.25, 0.0
    with mx.textbook() if textbook else np.errstate():
        for _ in range(2):
            value = slope.value
            model.forward(x)
            model.backward(grad)
            assert (type(slope.grad), slope.grad.shape) == (type(value), ())
            velocity = 0.5 * velocity - 0.05 * wanted - 0.5 * float(to_numpy(slope.grad))
            wanted += velocity
            optimizer.step()
            assert slope.value is value
            assert float(to_numpy(slope.value)) == pytest.approx(wanted, rel=1e-5)
    path = tmp_path / "checkpoint.safetensors"
    mx.checkpoint.save_checkpoint(path, model, optimizer, {})
    saved = mx.checkpoint.load_checkpoint(path)
    assert (saved.parameters["act.slope"].shape, saved.velocities["act.slope"].shape) == ((), ())
    other = mx.Sequential(fc=mx.Linear(3, 2), act=Slope(0.0)).to(device)
    other_optimizer = mx.SGD(other.parameters(), lr=0.5)
    saved.restore(other, other_optimizer)
    assert to_numpy(other["act"].slope.value) == to_numpy(slope.value)
    assert to_numpy(other_optimizer.velocities[2]) == to_numpy(optimizer.velocities[2])
    assert mx.gradcheck(model, -np.ones((2, 3)))
    assert mx.gradcheck(Slope().to(device), np.array(-2.0))
    assert "grad_slope" in mx.trace(Slope(), np.array(-2.0, np.float32), grad_y=np.float32(1))
    model.astype("float64")
    assert (slope.value.dtype, slope.value.shape, optimizer.velocities[2].dtype) == (
        np.float64,
        (),
        np.float64,
    )


def test_a_constant_of_one_number_moves_and_is_cast():
    layer = mx.ReLU()
    layer.twice = Constant(np.float32(2))
    layer.to("sim:0").astype("float64").to("cpu")
    assert (layer.twice.value, layer.twice.value.dtype, layer.twice.value.shape) == (2, np.float64, ())


def test_a_parameter_that_is_set_to_a_number_of_numpy_still_moves():
    p = mx.Parameter(np.array(1.0))
    p.value = p.value * 2  # NumPy makes a number of it
    p.grad = np.float64(3.0)
    mx.SGD([p], lr=1.0).step()
    assert p.value == -1


@pytest.mark.parametrize("value", [0.25, [1.0], None])
def test_a_parameter_is_an_array(value):
    with pytest.raises(TypeError, match=rf"^Parameter takes an array, .*not a {type(value).__name__}$"):
        mx.Parameter(value)


# ---- dtypes: who widens is named ------------------------------------------------------------------------


class Careless(mx.Layer):
    """Multiplies by what it is given, in forward, in backward, and in a parameter's gradient."""

    def __init__(self, forward=1, backward=1, grad=1):
        self.factors = [forward, backward, grad]  # a list stays as it is
        self.bias = mx.Parameter(np.zeros(6, np.float32))

    def forward(self, x):
        return (x + self.bias.value) * self.factors[0]

    def backward(self, grad_y):
        self.bias.grad = grad_y.sum(axis=0) * self.factors[2]
        return grad_y * self.factors[1]


WIDE = np.float64(1)
CONTAINERS = {
    "alone": lambda layer: layer,
    "sequential": lambda layer: mx.Sequential(a=mx.ReLU(), bad=layer, last=mx.Linear(6, 6)),
    "nested": lambda layer: mx.Sequential(a=mx.Sequential(mx.ReLU(), layer), b=mx.Tanh()),
    "towers": lambda layer: mx.Sequential(
        a=mx.Broadcast(), b=mx.Towers(copy.deepcopy(layer), layer), c=mx.Gather(), d=mx.ReLU()
    ),
    "parallel": lambda layer: mx.DataParallel(mx.Model(a=mx.ReLU(), bad=layer, last=mx.Tanh()), processes=1),
}


@pytest.mark.parametrize("around", CONTAINERS.values(), ids=CONTAINERS)
def test_a_layer_that_widens_is_named_itself(around):
    model = around(Careless(forward=WIDE))
    with pytest.raises(
        mx.DtypeMismatch, match=r"Careless\)?: forward gave float64 where float32 went in.*use float\("
    ):
        model.forward(VECTORS)
    for mistake, message in (
        ({"backward": WIDE}, r"Careless\)?: backward gave float64 where float32 went in"),
        ({"grad": WIDE}, r"Careless\)? gives float64 as gradient of bias, which is float32: use float\("),
        (
            {"grad": np.ones((2, 6), np.float32)},
            r"Careless\)? gives shape \(2, 6\) as gradient of bias, .* \(6,\)",
        ),
    ):
        model = around(Careless(**mistake))
        y = model.forward(VECTORS)
        with pytest.raises((mx.DtypeMismatch, ValueError), match=message):
            model.backward(np.ones_like(y), input_grad=True)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda x: x > 0, "bool"),
        (lambda x: x.astype(int), "int64"),
        (lambda x: x.astype("float16"), "float16"),
    ],
)
def test_a_layer_that_gives_no_fractions_is_named_itself(wrong, found):
    class Wrong(mx.Layer):
        def forward(self, x):
            return wrong(x)

    model = mx.Sequential(bad=Wrong(), after=mx.Linear(6, 2))
    message = rf"^bad \(Wrong\): forward gave {found} where float32 went in: .*array\.astype\('float32'\)$"
    with pytest.raises(mx.DtypeMismatch, match=message):
        model.forward(VECTORS)


def test_a_layer_that_returns_nothing_is_named_itself():
    class Nothing(mx.Layer):
        def forward(self, x):
            self.save(x=x)

    with pytest.raises(TypeError, match=r"^bad \(Nothing\): forward returned None"):
        mx.Sequential(bad=Nothing(), after=mx.ReLU()).forward(VECTORS)


class WidePair(mx.Exchange):
    def forward(self, xs):
        return tuple(x * WIDE for x in super().forward(xs))


def test_a_crossing_that_widens_is_named_itself():
    model = mx.Sequential(a=mx.Broadcast(), bad=WidePair(), b=mx.Towers(mx.ReLU(), mx.ReLU()), c=mx.Gather())
    with pytest.raises(
        mx.DtypeMismatch, match=r"^bad \(WidePair\): forward gave float64 where float32 went in"
    ):
        model.forward(VECTORS)


class WidePairBack(mx.Exchange):
    def backward(self, grad_ys):
        return tuple(grad_x * WIDE for grad_x in super().backward(grad_ys))


def test_a_crossing_that_widens_backwards_is_named_itself():
    model = mx.Sequential(
        a=mx.Broadcast(), b=mx.Towers(mx.Tanh(), mx.Tanh()), bad=WidePairBack(), c=mx.Gather()
    )
    y = model.forward(VECTORS)
    with pytest.raises(
        mx.DtypeMismatch, match=r"^bad \(WidePairBack\): backward gave float64 where float32 went in"
    ):
        model.backward(y)


def test_a_crossing_of_two_dtypes_is_named_itself():
    with pytest.raises(mx.DtypeMismatch, match=r"^Gather: forward gave float64 where float32 went in"):
        mx.Gather().forward((VECTORS, VECTORS.astype("float64")))


def test_a_loss_that_widens_is_named_itself():
    class Wide(SquaredError):
        def backward(self, grad_loss=1.0):
            return super().backward(grad_loss) * WIDE

    loss = Wide()
    loss.forward(VECTORS, VECTORS * 2)
    with pytest.raises(mx.DtypeMismatch, match=r"^Wide: backward gave float64 where float32 went in"):
        loss.backward()


@pytest.mark.parametrize("make", [mx.SoftmaxCrossEntropy, mx.MAPLoss])
def test_losses_take_half_precision(device, make):
    loss = make().to(device)
    assert loss.forward(device.asarray(VECTORS.astype("float16")), LABELS).dtype == np.float16
    assert loss.backward().dtype == np.float16


@pytest.mark.parametrize("make", [mx.models.lenet5, lambda: mx.models.lenet5("1998")])
def test_a_network_takes_half_precision(make):
    model = make().astype("float16")
    if isinstance(model["output"], mx.RBF):
        model["output"].codes.value = model["output"].codes.value.astype("float16")
    x = np.ones((2, *model.picture_shape), np.float16)
    y = model.forward(x)
    assert y.dtype == np.float16
    assert model.backward(np.full_like(y, 0.1), input_grad=True).dtype == np.float16
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype("float16")}


class Listed(mx.Layer):
    """Lists its parameter in a way of its own."""

    def __init__(self):
        self.weights = [mx.Parameter(np.ones(6, np.float32))]

    def parameters(self):
        return self.weights

    def forward(self, x):
        return x * self.weights[0].value


def test_parameters_that_a_layer_lists_move_and_are_cast_with_it():
    layer = Listed()
    with pytest.raises(mx.DtypeMismatch, match="Listed computes in float32, the input is float64"):
        layer.forward(VECTORS.astype("float64"))
    assert layer.astype("float64").forward(VECTORS.astype("float64")).dtype == np.float64
    layer.to("sim:0").forward(mx.Device("sim:0").asarray(VECTORS.astype("float64")))


# ---- subclasses of NumPy's array ----


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("make", [mx.Dropout, mx.Sigmoid, mx.Tanh, mx.ReLU, lambda: mx.Linear(3, 2, rng=0)])
def test_a_matrix_is_an_array_like_any_other(make):
    x = np.array([[5.0, 0, 1], [0, 5, 2], [1, 2, 3]])
    ends = []
    for kind in (np.asarray, np.matrix):
        layer = make().astype("float64")
        y = layer.forward(kind(x))
        ends.append((y, layer.backward(kind(np.full(y.shape, 0.5)))))
        assert {type(one) for one in ends[-1]} == {np.ndarray}
    for one, other in zip(*ends, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_mapped_file_is_an_array_like_any_other(tmp_path):
    np.save(tmp_path / "x.npy", VECTORS)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert type(mx.Tanh().forward(mapped)) is np.ndarray
    assert mx.Tanh().forward(mapped).tobytes() == mx.Tanh().forward(VECTORS).tobytes()
