"""Twins and textbook, held together: each registered twin gives the numbers of its layer's own lines.

A twin's sums run in another order, so bits may differ: by EPSILONS roundings of the same operation on absolute values,
which is worked out in float64. Winners are exact, and so are the places of NaN and of each infinity. Nothing is
compared where a sum of finite numbers comes near the largest that its type holds: there the order decides.

MINIALEX_EXAMPLES=2000 pytest tests/fast/test_twins.py tries that many configurations of each twin, and counts them.
"""

import copy
import os
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import naive, strategies
from minialex.devices import memory, twins
from minialex.devices.device import cuda_count, to_numpy
from minialex.fast.cpu import TWINS as ON_A_CPU
from minialex.fast.cuda import TWINS as ON_CUDA
from minialex.fast.cuda import kernels
from minialex.layers import ResponseNorm, SameMapNorm
from minialex.training.optim import update

EXAMPLES = int(os.environ.get("MINIALEX_EXAMPLES", 200))
TRIED = Counter()  # twin: configurations; conftest.py prints it when MINIALEX_EXAMPLES is set
EPSILONS = 64
FLUSHED = {"cuda:0": "smallest_normal"}  # CuPy compiles so that what is smaller becomes 0
CPU = mx.Device("cpu")

# ---- numbers ---------------------------------------------------------------------------------------

LARGE = {"float16": 300, "float32": 1e38, "float64": 1e60}
SMALL = {"float16": 1e-3, "float32": 1e-20, "float64": 1e-20}
LAYOUTS = (*strategies.LAYOUTS, "one number")  # the last: all strides are 0, as a mean's gradient has them
KINDS = ("plain", "few", "large", "small", "not finite", "not finite", "minus infinity")


def numbers(kind, shape, dtype, seed):
    """plain; few different ones, so that there are ties, and zeros; or what overflows, or is no number."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-2, 2, shape)
    if kind == "few":
        values = np.round(values)
    elif kind in ("large", "small"):
        values = values * {"large": LARGE, "small": SMALL}[kind][dtype] ** rng.choice(
            [1, rng.uniform(0.2, 1)]
        )
    elif kind == "not finite":
        odd = rng.choice([np.nan, np.inf, -np.inf], shape)
        values = np.where(rng.random(shape) < rng.choice([0.03, 0.3]), odd, values)
    elif kind == "minus infinity":
        values = np.where(rng.random(shape) < rng.choice([0.7, 1]), -np.inf, values)
    return values.astype(dtype)


@st.composite
def arrays(draw, shape, dtype):
    """Numbers of some kind in some layout of memory, read-only: a twin that writes into them is found out."""
    layout = draw(st.sampled_from(LAYOUTS if shape else ["contiguous"]))
    values = numbers(draw(st.sampled_from(KINDS)), shape, dtype, draw(st.integers(0, 2**32 - 1)))
    if layout == "one number":
        return np.broadcast_to(values.flat[0], shape)
    array = strategies.laid_out(values, layout)
    assert layout != "reversed" or array.strides[-1] < 0 or shape[-1] == 1
    array.flags.writeable = False
    return array


# ---- what each twin is tried with ------------------------------------------------------------------


class Case(NamedTuple):
    """draw() gives a layer and the shape of an input without the batch; the rest says what equal means."""

    draw: Callable
    exact: bool = False  # the same bits
    rank: int | None = 4  # None: any number of axes
    room: int = 1  # a sum on the way may be so many times as large as the result


@st.composite
def convolutions(draw):
    arguments, size = draw(strategies.convolutions())
    return mx.Conv2D(**arguments), (arguments["in_channels"], *size)


@st.composite
def table_convolutions(draw):
    rows = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)
    table = draw(st.lists(rows, min_size=1, max_size=4))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    layer = mx.TableConv2D(table, kernel)
    return layer, (layer.in_channels, *(side + draw(st.integers(0, 4)) for side in kernel))


@st.composite
def poolings(draw, pooling):
    counted = {"count_include_pad": draw(st.booleans())} if pooling is mx.AvgPool2D else {}
    options = {"ceil_mode": draw(st.booleans()), **counted}
    if draw(st.integers(0, 19)) == 0:  # winners that do not fit into one byte
        layer = pooling(17, stride=draw(st.integers(1, 3)), padding=draw(st.integers(0, 8)), **options)
        return layer, (1, 18, 17)
    arguments, size = draw(strategies.poolings())
    return pooling(**arguments, **options), (draw(st.integers(1, 3)), *size)


@st.composite
def subsamplings(draw):
    channels = draw(st.integers(1, 4))
    return mx.Subsampling(channels), (channels, draw(st.integers(2, 7)), draw(st.integers(2, 7)))


@st.composite
def norms(draw, norm):
    arguments = {
        "size": draw(st.sampled_from([1, 3, 5, 7])),
        "alpha": draw(st.sampled_from([1e-4, 0.6, 1.4])),
        "beta": draw(st.sampled_from([0.25, 0.5, 0.75, 1.0])),
        "k": draw(st.sampled_from([0.0, 0.7, 2.0])),
    }
    groups = {} if norm is SameMapNorm else {"groups": draw(st.integers(1, 3))}
    channels = groups.get("groups", 1) * draw(st.integers(1, 4))
    return norm(**arguments, **groups), (channels, draw(st.integers(1, 5)), draw(st.integers(1, 5)))


@st.composite
def elementwise(draw, layers):
    return draw(layers), tuple(draw(st.lists(st.integers(1, 5), max_size=3)))


@st.composite
def linears(draw):
    features = draw(st.integers(1, 9))
    return mx.Linear(features, draw(st.integers(1, 9))), (features,)


@st.composite
def dense_blocks(draw):
    """Nodes that read some of the maps before them, and make more, fewer or as many as the first."""
    channels, nodes, reads = [draw(st.integers(1, 3))], [], []
    for _ in range(draw(st.integers(1, 4))):
        some = st.lists(st.integers(0, len(nodes)), min_size=1, unique=True).map(sorted)
        read = draw(st.one_of(st.just(list(range(len(nodes) + 1))), some))
        inputs, kernel = sum(channels[j] for j in read), draw(st.sampled_from([1, 3]))
        convolution = st.builds(
            mx.Conv2D, st.just(inputs), st.integers(1, 3), st.just(kernel), padding=st.just(kernel // 2)
        )
        nodes.append(draw(st.one_of(convolution, st.builds(mx.Scale, st.just(0.5)), st.builds(mx.Identity))))
        reads.append(read)
        channels.append(getattr(nodes[-1], "out_channels", inputs))
    return mx.Dense(*nodes, reads=reads), (channels[0], draw(st.integers(1, 4)), draw(st.integers(1, 4)))


@st.composite
def batch_norms(draw):
    """In training, in evaluation and frozen; two pixels at least: the variance of one number is refused."""
    channels, rng = draw(st.integers(1, 4)), np.random.default_rng(draw(st.integers(0, 99)))
    eps, momentum = draw(st.sampled_from([1e-5, 1e-3, 0.5])), draw(st.sampled_from([0.0, 0.1, 1.0]))
    layer = mx.BatchNorm2D(channels, eps, momentum, frozen=draw(st.sampled_from([False, False, True])))
    layer.running_mean.value = rng.uniform(-2, 2, channels).astype(np.float32)
    layer.running_var.value = rng.uniform(0, 2, channels).astype(np.float32)
    layer.train(draw(st.sampled_from([True, True, False])))
    return layer, (channels, draw(st.integers(1, 5)), draw(st.integers(2, 5)))


tanhs = st.builds(mx.Tanh, st.sampled_from([1.0, 1.7159, -0.3]), st.sampled_from([1.0, 2 / 3, 1.7159]))

CASES = {
    mx.Conv2D: Case(convolutions()),
    mx.TableConv2D: Case(table_convolutions()),
    mx.MaxPool2D: Case(poolings(mx.MaxPool2D), exact=True),
    mx.AvgPool2D: Case(poolings(mx.AvgPool2D), room=17 * 17),
    mx.Subsampling: Case(subsamplings(), room=4),
    mx.LocalResponseNorm: Case(norms(mx.LocalResponseNorm)),
    SameMapNorm: Case(norms(SameMapNorm)),
    mx.Dense: Case(dense_blocks()),
    mx.BatchNorm2D: Case(batch_norms()),
    mx.ReLU: Case(elementwise(st.builds(mx.ReLU)), exact=True, rank=None),
    mx.Tanh: Case(elementwise(tanhs), exact=True, rank=None),
    mx.Linear: Case(linears(), rank=2),
}

# ---- where it runs ---------------------------------------------------------------------------------


def name_of(twin):
    return twin if isinstance(twin, str) else twin.__name__


def each_twin(only=lambda twin: True):
    """A test for each twin that is registered: for the CPU, and for CUDA; there with its kernels compiled by g++."""
    gpu = [pytest.mark.gpu, pytest.mark.skipif(cuda_count() < 1, reason="no CUDA GPU that CuPy can use")]
    places = [("cpu", ON_A_CPU, []), ("cuda on a cpu", ON_CUDA, []), ("cuda:0", ON_CUDA, gpu)]
    return pytest.mark.parametrize(
        ("place", "twin"),
        [
            pytest.param(place, twin, id=f"{place}, {name_of(twin)}", marks=marks)
            for place, table, marks in places
            for twin in table
            if only(twin)
        ],
    )


@pytest.fixture
def device(request, place, monkeypatch):
    """The device of this place, with its twins on."""
    if place == "cuda on a cpu":
        request.getfixturevalue("host")
    device = mx.Device("cpu" if place == "cuda on a cpu" else place)
    monkeypatch.setattr(device, "fast", True)
    return device


@contextmanager
def worked_through(data, device, place, request):
    """The device with 1 to 3 threads, in small pieces, blocks and strips or not; new memory is full of rubbish."""
    with pytest.MonkeyPatch.context() as patch:
        if place == "cuda on a cpu":
            host = request.getfixturevalue("host")
            patch.setattr(host, "blocks_and_threads", data.draw(st.sampled_from([(2, 3), (3, -5), (1, 1)])))
            patch.setattr(kernels, "SHORT", data.draw(st.sampled_from([2**30, 0])))
        if place == "cpu":
            patch.setattr(device, "threads", data.draw(st.sampled_from([1, 2, 3])))
            patch.setattr(device, "column_budget", data.draw(st.sampled_from([1, 1000, 2**24])))
        if place == "cpu" and data.draw(st.booleans()):
            patch.setattr(device, "piece_bytes", data.draw(st.sampled_from([16, 64, 400])))
            patch.setattr(device, "shares", lambda count, least=1: mx.Device.shares(device, count))
            patch.setattr(memory, "SMALL", 1)
            patch.setattr("minialex.fast.cpu.products.SMALL", 200)
            patch.setattr("minialex.fast.cpu.products.NARROW", 1)
        empty = device.empty
        patch.setattr(device, "empty", lambda *what: rubbish(empty(*what)))
        yield


def rubbish(array):
    array.fill(77)
    return array


@contextmanager
def complaints():
    """What NumPy would warn of: "overflow", "invalid value", "divide by zero"."""
    heard = set()
    with np.errstate(over="call", invalid="call", divide="call", call=lambda what, _: heard.add(what)):
        yield heard


# ---- equal -----------------------------------------------------------------------------------------


def one_step(layer, x, grad_y, input_grad):
    """y, grad_x where it is wanted, the gradients of the parameters, and what is kept without being trained."""
    y = layer.forward(x)
    grad_x = layer.backward(grad_y, input_grad=input_grad)
    assert (grad_x is not None) == input_grad
    of_parameters = [p.grad for p in layer.parameters()]
    buffers = [buffer.value for _, buffer in layer.named_buffers()]
    return [to_numpy(array) for array in (y, *([grad_x] if input_grad else []), *of_parameters, *buffers)]


def bounds(layer, x, grad_y, input_grad, of=abs):
    """The same operation on absolute values, in float64: no rounding error is larger than a few epsilons of it.

    A normalisation's minus becomes a plus as well: |grad_y| scale^-beta + 2 alpha beta |x| * (...).
    """
    layer = copy.deepcopy(layer).astype("float64")
    if isinstance(layer, mx.BatchNorm2D):
        return bounds_of_batch_norm(layer, x, grad_y, input_grad, of)
    for p in layer.parameters():
        p.value = of(p.value)
    x, grad_y = (of(array.astype("float64")) for array in (x, grad_y))
    with mx.textbook(), np.errstate(all="ignore"):
        results = one_step(layer, x, grad_y, input_grad)
        if isinstance(layer, ResponseNorm) and input_grad:
            layer.forward(x)
            results[1] = 2 * grad_y * layer.saved.scale**-layer.beta - results[1]
    return results


def bounds_of_batch_norm(layer, x, grad_y, input_grad, of):
    """Rounding errors, in epsilons: that of the mean counts by the spread of a channel, and the scale has one too."""
    axes, of_batch = (0, 2, 3), layer.training and not layer.frozen
    odd = ~np.isfinite(grad_y), ~np.isfinite(layer.weight.value[:, None, None])
    epsilon = float(np.finfo(x.dtype).eps)
    signed_x = x.astype("float64")
    if of is without_infinities:
        signed_x = np.where(np.isfinite(signed_x), signed_x, 0)
    x, grad_y = (of(array.astype("float64")) for array in (x, grad_y))
    weight, bias = (of(p.value)[:, None, None] for p in (layer.weight, layer.bias))
    running = [of(buffer.value) for _, buffer in layer.named_buffers()]
    with np.errstate(all="ignore"):
        mean = x.mean(axis=axes, keepdims=True) if of_batch else running[0][:, None, None]
        variance = signed_x.var(axis=axes, keepdims=True) if of_batch else running[1][:, None, None]
        scale, size = 1 / np.sqrt(variance + layer.eps), x + mean
        largest = size.max(axis=axes, keepdims=True) if of_batch else np.zeros(1)
        normalised = size * scale * (1 + largest * scale)
        results = {"y": weight * normalised + bias}
        through_both = 0
        if of_batch:
            through_variance = (grad_y * normalised).mean(axis=axes, keepdims=True)
            through_both = grad_y.mean(axis=axes, keepdims=True) + normalised * through_variance
        if input_grad:
            results["grad_x"] = weight * scale * (grad_y + through_both) * (1 + largest * scale)
        results["weight"], results["bias"] = (grad_y * normalised).sum(axis=axes), grad_y.sum(axis=axes)
        m, share = signed_x.size // layer.channels, layer.momentum if of_batch else 0.0
        spread = (size * size).mean(axis=axes) * m / (m - 1)
        batch = [x.mean(axis=axes), spread] if of_batch else running
        for name, old, new in zip(("mean", "var"), running, batch, strict=True):
            results[name] = (1 - share) * old + share * new
        if of is without_infinities:  # nor must a sum on the way be too large
            on_the_way = [m * (largest * largest).max(), (weight * grad_y * normalised).sum(), grad_y.sum()]
            results = {name: np.maximum(result, np.max(on_the_way)) for name, result in results.items()}
        if of is without_infinities and of_batch:  # infinity times a rounding error has any sign
            centred = abs(signed_x - signed_x.mean(axis=axes, keepdims=True))
            any_sign = centred <= EPSILONS * epsilon * largest
            results["y"][any_sign & odd[1]] = np.inf
            results["weight"][(any_sign & odd[0]).any(axis=axes)] = np.inf
            if input_grad:
                results["grad_x"][:, (any_sign & (odd[0] | odd[1])).any(axis=axes)] = np.inf
    return list(results.values())


def without_infinities(array):
    return abs(np.nan_to_num(array, nan=0, posinf=0, neginf=0))


def surely_finite(bound, dtype, room=1):
    """Where nothing overflows on the way, whatever the order."""
    return bound * (4 * room) < float(np.finfo(dtype).max)


def check(actual, expected, bound, finite_bound, room, exact=False, least=None):
    """actual is expected, up to rounding; where it is not finite, in exactly the same way.

    least: what is smaller may have become 0 on the way; left out, a hundred of the smallest numbers there are.
    """
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if exact:
        return np.testing.assert_array_equal(actual, expected)
    numbers = np.finfo(expected.dtype)
    bound, finite_bound = (np.broadcast_to(array, expected.shape) for array in (bound, finite_bound))
    with np.errstate(all="ignore"):
        sure = surely_finite(finite_bound, expected.dtype, room)
        sure &= np.isfinite(expected) | ~np.isfinite(
            bound
        )  # or the textbook's own sum was too large on its way
        # A normalisation divides by sqrt(alpha), 0.01, on its way: what was rounded where numbers end grows by that.
        least = 100 * float(numbers.smallest_subnormal) if least is None else float(getattr(numbers, least))
        tolerance = EPSILONS * (float(numbers.eps) * bound + least)
        wrong = ~(abs(actual.astype(float) - expected.astype(float)) <= tolerance)
    alike = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    wrong = sure & np.where(np.isfinite(bound), wrong, ~alike)
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} differ, first at {np.argwhere(wrong)[0]}: {actual[wrong][0]}, "
        f"the textbook has {expected[wrong][0]}"
    )


@each_twin(only=lambda twin: twin != "SGD")
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_twin_gives_what_the_textbook_gives(device, place, twin, request, data):
    case = CASES[twin]  # a KeyError: a twin has been registered, and no case written for it
    layer, shape = data.draw(case.draw)
    # float16 is the textbook's on a GPU, whose products are rounded in another way than the CPU's.
    dtype = data.draw(st.sampled_from(["float32", "float64", *(["float16"] if place != "cuda:0" else [])]))
    layer.astype(dtype)
    for p in layer.parameters():
        p.value = data.draw(arrays(p.value.shape, dtype))
    batch = (data.draw(st.integers(1, 4)),) if case.rank or data.draw(st.integers(0, 9)) else ()
    x = data.draw(arrays((*batch, *(shape if batch else ())), dtype))
    with mx.textbook(), np.errstate(all="ignore"):
        y_shape = layer.forward(x).shape
    grad_y = data.draw(arrays(y_shape, dtype))
    input_grad = data.draw(st.sampled_from([True, True, False]))

    with mx.textbook(), complaints() as of_the_textbook:
        expected = one_step(copy.deepcopy(layer), x, grad_y, input_grad)
    twin_layer = copy.deepcopy(layer).to(device)
    on_device = device.asarray(x), device.asarray(grad_y)
    with worked_through(data, device, place, request), complaints() as of_the_twin:
        pair = twins.twins_of(device.kind)[twin]
        wanted = pair.backward if pair.accepts(twin_layer, on_device[0]) else None
        taken = copy.deepcopy(twin_layer)
        taken.forward(on_device[0])
        assert taken._twin_backward is wanted
        actual = one_step(twin_layer, *on_device, input_grad)

    bound = [None] * len(expected)
    finite = bound
    exact = case.exact or wanted is None  # what no twin accepts is the textbook's work in both
    if not exact:
        bound = bounds(layer, x, grad_y, input_grad)
        finite = bounds(layer, x, grad_y, input_grad, of=without_infinities)
    for arrays_to_check in zip(actual, expected, bound, finite, strict=True):
        check(*arrays_to_check, case.room, exact, FLUSHED.get(place))
    if exact or all(surely_finite(array, dtype, case.room).all() for array in bound):
        # BLAS multiplies what lies beside a matrix as well, and forgets it, but not that it was no number.
        allowed = of_the_textbook | ({"invalid value"} if layer.parameters() else set())
        assert of_the_twin <= allowed, "the twin warns of what the textbook does not"
    TRIED[f"{place}, {name_of(twin)}"] += 1


@each_twin(only=lambda twin: twin == "SGD")
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_the_twin_of_sgd_gives_what_the_textbook_gives(device, place, twin, request, data):
    """To the bit on a CPU; a GPU may round once where two operations round twice."""
    shape = tuple(data.draw(st.lists(st.integers(1, 6), max_size=4)))
    dtype = data.draw(st.sampled_from(["float32", "float64", "float16"]))
    w, v, grad = (data.draw(arrays(shape, dtype)) for _ in range(3))
    lr, momentum = data.draw(st.sampled_from([0.1, 1e-3])), data.draw(st.sampled_from([0.0, 0.9]))
    decay = data.draw(st.sampled_from([0.0, 0.3]))  # with 0.0, an infinite weight leaves its velocity alone
    layouts = [data.draw(st.sampled_from(strategies.LAYOUTS)) if shape else "contiguous" for _ in range(2)]

    def on(device):
        """Weight and velocity, which change in place, and the gradient, which does not."""
        moving = [strategies.laid_out(np.array(a), layout) for a, layout in zip((w, v), layouts, strict=True)]
        return [*(moving if device is CPU else map(device.asarray, moving)), device.asarray(grad)]

    expected, actual = on(CPU), on(device)
    with np.errstate(all="ignore"):
        update(*expected, lr, momentum, decay)
        with worked_through(data, device, place, request):
            twins.update_on(device)(*actual, lr, momentum, decay)
        sizes = [without_infinities(a.astype(float)) for a in (w, v, grad)]
        bound = momentum * sizes[1] + decay * sizes[0] + lr * sizes[2]
    for one, other, size in zip(actual[:2], expected[:2], (bound + sizes[0], bound), strict=True):
        check(to_numpy(one), other, size, size, room=1, exact=device is CPU, least=FLUSHED.get(place))
    TRIED[f"{place}, SGD"] += 1


@each_twin(only=lambda twin: twin == "SGD")
def test_sgd_moves_its_arrays_in_place_and_each_parameter_by_its_own_numbers(device, place, twin):
    """A weight may lie in memory that processes share, and be a single number, or every other column."""
    whole = np.ones((3, 4), np.float32)
    parameters = [mx.layers.Parameter(np.array(2.0)), mx.layers.Parameter(whole[:, ::2], decay=False)]
    places = [p.value for p in parameters]
    for p in parameters:
        p.value = device.asarray(p.value)
        p.grad = device.asarray(np.ones(p.value.shape, p.value.dtype))
    mx.SGD(parameters, lr=0.5, weight_decay=0.5).step()
    np.testing.assert_allclose(to_numpy(parameters[0].value), 2 - 0.5 * 0.5 * 2 - 0.5)
    np.testing.assert_array_equal(to_numpy(parameters[1].value), 0.5)
    if device is CPU:
        assert all(p.value is here for p, here in zip(parameters, places, strict=True))
        np.testing.assert_array_equal(whole, [[0.5, 1, 0.5, 1]] * 3)


# ---- what must come out, in both texts -------------------------------------------------------------


@pytest.fixture(params=["textbook", "cpu", "cuda on a cpu"])
def text(request, monkeypatch):
    """The layers' own lines, and each kind of twin."""
    if request.param == "cuda on a cpu":
        request.getfixturevalue("host")
    monkeypatch.setattr(CPU, "fast", request.param != "textbook")
    return request.param


def picture(rows, dtype="float32"):
    return np.array(rows, dtype)[None, None]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_max_pooling_sends_the_gradient_to_the_first_nan(text, dtype):
    layer, nan = mx.MaxPool2D(2), np.nan
    y = layer.forward(picture([[1, nan, nan, 9], [3, 2, nan, nan]], dtype))
    np.testing.assert_array_equal(y, picture([[nan, nan]]))
    grad_x = layer.backward(picture([[5, 7]], dtype))
    np.testing.assert_array_equal(grad_x, picture([[0, 5, 7, 0], [0, 0, 0, 0]]))


def test_a_window_of_nothing_but_minus_infinity_gives_its_gradient_to_its_first_real_pixel(text):
    layer = mx.MaxPool2D(2, padding=1)
    y = layer.forward(np.full((1, 1, 2, 3), -np.inf, np.float32))
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -np.inf))
    grad_x = layer.backward(picture([[1, 10], [100, 1000]]))
    np.testing.assert_array_equal(grad_x, picture([[1, 10, 0], [100, 1000, 0]]))


@given(
    data=st.data(), geometry=strategies.poolings(), dtype=st.sampled_from(["float16", "float32", "float64"])
)
def test_max_pooling_is_its_definition_whatever_the_pixels_are(text, data, geometry, dtype):
    arguments, size = geometry
    x = data.draw(arrays((2, 2, *size), dtype))
    layer = mx.MaxPool2D(**arguments)
    y = layer.forward(x)
    np.testing.assert_array_equal(y, naive.max_pool2d(x, **arguments))
    grad_y = data.draw(arrays(y.shape, dtype))
    with np.errstate(all="ignore"):
        expected = naive.max_pool2d_backward(x, grad_y, **arguments)
        grad_x = layer.backward(grad_y)
        bound = naive.max_pool2d_backward(x.astype(float), abs(grad_y).astype(float), **arguments)
        finite = naive.max_pool2d_backward(x.astype(float), without_infinities(grad_y), **arguments)
    check(grad_x, expected, bound, finite, room=1)


def test_new_running_numbers_do_not_reach_a_backward_of_before(text):
    """As they come from a file, written into the layer's own."""
    layer, x = mx.BatchNorm2D(1).eval(), picture([[1, 2], [3, 5]])
    layer.forward(x)
    layer.running_mean.value[...] = 7
    layer.running_var.value[...] = 9
    grad_x = layer.backward(np.ones_like(x))
    np.testing.assert_allclose(layer.weight.grad, [11], rtol=1e-4)
    np.testing.assert_allclose(grad_x, 1, rtol=1e-4)


def test_max_pooling_works_in_the_widest_type_that_there_is():
    """Its numbers may have more bits than any whole number of NumPy's, which backward would mask."""
    x = np.arange(16, dtype=np.longdouble).reshape(1, 1, 4, 4)
    layer = mx.MaxPool2D(2, 1)
    layer.forward(x)
    grad_x = layer.backward(np.ones((1, 1, 3, 3), np.longdouble))
    assert grad_x.dtype == np.longdouble
    np.testing.assert_array_equal(grad_x[0, 0, 1:, 1:], np.ones((3, 3)))
    assert grad_x.sum() == 9


def test_an_infinite_gradient_leaves_its_neighbours_alone(text):
    x, grad_y = picture([[1, 2, 0, 0], [3, 4, -1, 5]]), picture([[np.inf, 2]])
    layer = mx.MaxPool2D(2)
    layer.forward(x)
    np.testing.assert_array_equal(layer.backward(grad_y), picture([[0, 0, 0, 0], [0, np.inf, 0, 2]]))
    layer = mx.AvgPool2D(2)
    layer.forward(x)
    wanted = [[np.inf, np.inf, 0.5, 0.5]] * 2
    np.testing.assert_array_equal(layer.backward(grad_y), picture(wanted))
    layer = mx.ReLU()
    layer.forward(picture([[-1, 0, 3, np.nan, -np.inf]]))
    grad_y = picture([[np.inf, -np.inf, np.nan, np.inf, np.nan]])
    np.testing.assert_array_equal(layer.backward(grad_y), picture([[0, 0, np.nan, 0, 0]]))


SIZES = [("float16", size) for size in (1e-2, 30, 300, 6e4)]
SIZES += [("float32", size) for size in (1e-20, 1e-9, 1, 1e5, 1e9, 1e13, 1e17, 1e19, 1e28, 1e38, 3.4e38)]


@pytest.mark.parametrize("norm", [mx.LocalResponseNorm, SameMapNorm])
@pytest.mark.parametrize(("alpha", "k"), [(1e-4, 2.0), (1.0, 0.0)])
@pytest.mark.parametrize(("dtype", "size"), SIZES)
def test_a_normalisation_of_numbers_of_any_size_is_right(text, norm, alpha, k, dtype, size):
    """The right numbers are those of float64, and of the definition; and no warning is given."""
    x = (size * np.array([1, -0.9, 1e-3, 0.1, 0.5, 1])).astype(dtype).reshape(1, 6, 1, 1)
    x = x.reshape(1, 1, 2, 3) if norm is SameMapNorm else x
    layer = norm(5, alpha=alpha, k=k)
    for grad_y in (np.ones_like(x), x[..., ::-1]):
        exactly = [array.astype("float64") for array in (x, grad_y)]
        with mx.textbook():
            expected = one_step(layer, *exactly, input_grad=True)
        bound = bounds(layer, x, grad_y, input_grad=True)
        actual = one_step(layer, x, grad_y, input_grad=True)
        for one, other, largest in zip(actual, expected, bound, strict=True):
            check(one, other.astype(dtype), largest, largest, room=1)
            assert np.isfinite(one).all()
        if norm is mx.LocalResponseNorm:
            constants = {"alpha": alpha, "k": k}
            np.testing.assert_allclose(expected[0], naive.local_response_norm(exactly[0], **constants))
            grad_x = naive.local_response_norm_backward(*exactly, **constants)
            np.testing.assert_allclose(expected[1], grad_x, atol=1e-9 * abs(bound[1]).max())


def test_an_average_of_half_precision_has_room_for_its_sum(text):
    layer = mx.AvgPool2D(2)
    assert layer.forward(picture([[30_000, 30_000]] * 2, "float16")).item() == 30_000


def test_a_saturated_tanh_with_an_infinite_gradient_is_the_textbook_s(text):
    """There the derivative is a rounding error, whose sign counts: the twin must round as the textbook does."""
    for scale in np.linspace(0.5, 2, 40):
        layer, x = mx.Tanh(scale, slope=2 / 3), picture([[-100, 100]])
        y = layer.forward(x)
        with np.errstate(invalid="ignore"):
            grad_x = layer.backward(picture([[np.inf, np.inf]]))
            with mx.textbook():
                layer.forward(x)
                np.testing.assert_array_equal(grad_x, layer.backward(picture([[np.inf, np.inf]])))
        assert abs(y).max() == np.float32(scale)


@pytest.mark.parametrize("layer", [mx.Conv2D(2, 3, 2), mx.TableConv2D([(0,), (1, 0)], 2)], ids=format)
def test_a_convolution_s_own_lines_spare_a_gradient_that_nobody_wants(monkeypatch, layer):
    monkeypatch.setattr("minialex.layers.conv.col2im", lambda *_: pytest.fail("grad_x was worked out"))
    with mx.textbook():
        y = layer.forward(np.ones((1, 2, 3, 4), np.float32))
        assert layer.backward(y, input_grad=False) is None


def test_sizes_that_are_rounded_up_are_left_to_the_textbook_on_cuda():
    """The kernel's own sizes are rounded down: it would give another shape, without a word."""
    x, accepts = np.zeros((1, 1, 6, 6), np.float32), ON_CUDA[mx.MaxPool2D].accepts
    assert accepts(mx.MaxPool2D(3, 2), x)
    assert not accepts(mx.MaxPool2D(3, 2, ceil_mode=True), x)
