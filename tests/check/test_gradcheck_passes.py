"""What gradcheck finds beside wrong gradients of one pass: in other passes, layouts, modes and dtypes."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import gradcheck, strategies
from minialex.check.layouts import LAYOUTS, laid_out, laid_out_like
from minialex.layers import Flatten, Layer, Model, Parameter, Sequential


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 2, shape) * np.random.default_rng(seed + 1).choice(
        [-1, 1], shape
    )


class Tripled(Layer):
    """y = 3 * x: right, and the base of what is wrong here."""

    def forward(self, x):
        self.save(x=x)
        return 3 * x

    def backward(self, grad_y):
        return 3 * grad_y


class Scaled(Layer):
    """y = factor * x, with a factor for each feature: right."""

    def __init__(self, features=4):
        self.factor = Parameter(np.linspace(1, 2, features, dtype=np.float32))

    def forward(self, x):
        self.save(x=x)
        return x * self.factor.value

    def backward(self, grad_y):
        self.factor.grad = (grad_y * self.saved.x).sum(axis=0)
        return grad_y * self.factor.value


# ---- wrong layers, and what must be said of them ---------------------------------------------------

WRONG = {}


def wrong(says, x=None):
    """Enter a wrong layer: what the report must say of it, and the input."""

    def enter(kind):
        WRONG[kind.__name__] = kind, numbers(3, 4) if x is None else x, says
        return kind

    return enter


@wrong("a second pass on the same batch: the gradient of factor[1] is")
class AddsUp(Scaled):
    def backward(self, grad_y):
        old, grad_x = self.factor.grad, super().backward(grad_y)
        self.factor.grad = self.factor.grad if old is None else self.factor.grad + old
        return grad_x


@wrong("a second pass on the same batch: the gradient of x")
class AddsUpTheInputs(Tripled):
    def forward(self, x):
        self.sum = getattr(self, "sum", 0 * x)
        return super().forward(x)

    def backward(self, grad_y):
        self.sum = self.sum + super().backward(grad_y)
        return self.sum


@wrong("with another batch, of 7 pictures, the layer raises ValueError: operands could not be broadcast")
class KeepsItsFirstInput(Scaled):
    def forward(self, x):
        self.first = getattr(self, "first", x)
        return super().forward(x)

    def backward(self, grad_y):
        self.factor.grad = (grad_y * self.first).sum(axis=0)
        return grad_y * self.factor.value


@wrong("with another batch, of 7 pictures, the gradient of factor is wrong")
class KeepsTheMeanOfItsFirstInput(Scaled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.mean = getattr(self, "mean", self.saved.x.mean())
        self.factor.grad = self.factor.grad * float(self.saved.x.mean() / self.mean)
        return grad_x


@wrong("with another batch, of 7 pictures, the gradient of x[3] is wrong")
class ThreePicturesAtMost(Tripled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_x[3:] *= 2
        return grad_x


@wrong("with another batch, of 7 pictures, the gradient of factor is wrong")
class SumsFourPicturesAtMost(Scaled):
    def backward(self, grad_y):
        self.factor.grad = (grad_y * self.saved.x)[:4].sum(axis=0)
        return grad_y * self.factor.value


@wrong("with another batch, of 7 pictures, the layer raises IndexError")
class RaisesBeyondThree(Tripled):
    def backward(self, grad_y):
        [0, 1, 2][len(grad_y) - 1]
        return super().backward(grad_y)


@wrong("with another batch, of 1 picture, the gradient of x[0] is wrong")
class SqueezesOnePicture(Tripled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        return grad_x if len(grad_x) > 1 else grad_x[0] + grad_x


@wrong(
    "with another batch, of 1 picture, the layer raises ValueError: LosesTheAxis gives shape (4,) as gradient of x"
)
class LosesTheAxis(Tripled):
    def forward(self, x):
        return super().forward(x).squeeze()


@wrong("with another batch, of 1 picture, y has shape (4,), where (1, 4) is right")
class LosesTheAxisForward(LosesTheAxis):
    def backward(self, grad_y):
        return super().backward(grad_y).reshape(-1, 4)


@wrong("a second pass, after another batch: the gradient of factor[1] is")
class RemembersOnePicture(Scaled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.alone = getattr(self, "alone", False) or len(grad_y) == 1
        if self.alone and len(grad_y) > 1:
            self.factor.grad = 2 * self.factor.grad
        return grad_x


@wrong("with an x of shape (3, 10, 8, 8) the gradient of x[:, 5] is wrong", numbers(3, 5, 4, 5))
class FiveChannelsAtMost(Tripled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_x[:, 5:] = 0
        return grad_x


@wrong("with an x of shape (3, 6, 9, 9) the gradient of x", numbers(3, 1, 5, 6))
class EightPixelsAtMost(Tripled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_x[..., 8:] = 0
        return grad_x


@wrong("in evaluation mode the gradient of x[0] is wrong: along a random direction backward says")
class WrongInEvaluation(Tripled):
    def backward(self, grad_y):
        return super().backward(grad_y) * (1 if self.training else 2)


@wrong("in training mode the gradient of factor is wrong")
class WrongInTraining(Scaled):
    def __init__(self):
        super().__init__()
        self.eval()

    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.factor.grad = self.factor.grad * (2 if self.training else 1)
        return grad_x


@wrong("in evaluation mode the gradient of x[0] is wrong")
class DropoutThatForgetsEvaluationsFactor(mx.Dropout):
    def __init__(self):
        super().__init__(0.5, scaling="test-time")

    def backward(self, grad_y):
        return super().backward(grad_y) if self.training else 1.0 * grad_y


@wrong("in evaluation mode the layer raises AttributeError")
class RaisesInEvaluation(Tripled):
    def forward(self, x):
        if self.training:
            self.save(x=x)
        return 3 * x

    def backward(self, grad_y):
        return 3 * grad_y + 0 * self.saved.x


@wrong("in float32: Widens: forward gave float64 where float32 went in")
class Widens(Tripled):
    def forward(self, x):
        return x * np.full(1, 3.0)


@wrong("in float32: WidensBack: backward gave float64 where float32 went in")
class WidensBack(Tripled):
    def backward(self, grad_y):
        return grad_y * np.full(1, 3.0)


@wrong("in float32: WidensItsParameter gives float64 as gradient of factor, which is float32")
class WidensItsParameter(Scaled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.factor.grad = self.factor.grad * np.ones(1)
        return grad_x


@wrong("in float32: the gradient of x[")
class WrongInFloat32(Tripled):
    def backward(self, grad_y):
        return super().backward(grad_y) * (2 if grad_y.dtype == np.float32 else 1)


@wrong("in float32: y[")
class HalfInFloat32(Tripled):
    def forward(self, x):
        return (3 * x).astype("float16").astype(x.dtype) if x.dtype == np.float32 else 3 * x


@wrong("with input_grad=False the gradient of factor[")
class ForgetsWithoutInputGrad(Scaled):
    def backward(self, grad_y, input_grad=True):
        grad_x = super().backward(grad_y)
        self.factor.grad = self.factor.grad * (1 if input_grad else 2)
        return grad_x


@wrong("backward(grad_y, input_grad=False) raises UnboundLocalError")
class RaisesWithoutInputGrad(Scaled):
    def backward(self, grad_y, input_grad=True):
        self.factor.grad = (grad_y * self.saved.x).sum(axis=0)
        if input_grad:
            grad_x = grad_y * self.factor.value
        return grad_x


@wrong("forward on the same numbers gave ")
class ChangesWithItsBackward(Tripled):
    count = 0

    def forward(self, x):
        self.slope = 3 if self.count == 0 else 4
        return self.slope * x

    def backward(self, grad_y):
        self.count += self.slope == 3
        return self.slope * grad_y


@wrong("with 1000 times the upstream gradient the gradient of x[")
class ClipsItsGradient(Tripled):
    def backward(self, grad_y):
        return 3 * grad_y.clip(-5, 5)


@wrong("with 0.001 times the upstream gradient the gradient of factor[")
class DropsSmallGradients(Scaled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_y = self.xp.where(abs(grad_y) < 0.01, 0, grad_y)
        self.factor.grad = (grad_y * self.saved.x).sum(axis=0)
        return grad_x


@wrong("with numbers 100 times as large the gradient of x[")
class ReLU6WithReLUsGradient(mx.ReLU):
    def forward(self, x):
        return self.xp.minimum(super().forward(x), 6)


@wrong("with numbers 100 times as large the gradient of factor is wrong")
class ClipsWhatItKeeps(Scaled):
    def forward(self, x):
        self.save(x=x.clip(-6, 6))
        return x * self.factor.value


@wrong("a pass overwrites y that the one before returned")
class UsesItsArrayAgain(Tripled):
    y = None

    def forward(self, x):
        if self.y is None or self.y.shape != x.shape or self.y.dtype != x.dtype:
            self.y = self.xp.empty_like(x)
        self.y[...] = 3 * x
        return self.y


@wrong("a pass changes factor[0]: 1 before, 1.01 after")
class TrainsItself(Scaled):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.factor.value = self.factor.value * 1.01
        return grad_x


def as_if_contiguous(array):
    """What somebody reads who walks through the memory from the first number on."""
    lowest = np.lib.array_utils.byte_bounds(array)[0] - array.__array_interface__["data"][0]
    count, base = array.size, array
    while base.base is not None and isinstance(base.base, np.ndarray):
        base = base.base
    memory = base.ravel(order="K")
    start = (
        array.__array_interface__["data"][0] + lowest - base.__array_interface__["data"][0]
    ) // array.itemsize
    return np.resize(memory[start : start + count], array.shape).astype(array.dtype)


@wrong('the memory layout "batch last": y[')
class ReadsTheMemory(Tripled):
    def forward(self, x):
        return 3 * as_if_contiguous(x)


@wrong('the memory layout "batch last": the gradient of x[')
class ReadsTheMemoryOfGradY(Tripled):
    def backward(self, grad_y):
        return 3 * as_if_contiguous(grad_y)


@wrong('the memory layout "every other": y[')
class IgnoresGaps(Tripled):
    def forward(self, x):
        return 3 * (as_if_contiguous(x) if x.strides[-1] == 2 * x.itemsize else x)


@wrong('the memory layout "every other": the gradient of x[')
class IgnoresGapsInGradY(Tripled):
    def backward(self, grad_y):
        return 3 * (as_if_contiguous(grad_y) if grad_y.strides[-1] == 2 * grad_y.itemsize else grad_y)


@wrong('the memory layout "reversed": y[')
class IgnoresDirections(Tripled):
    def forward(self, x):
        return 3 * (as_if_contiguous(x) if min(x.strides) < 0 else x)


@wrong('the memory layout "fortran": raises ValueError', numbers(3, 2, 3, 4))
class WantsCOrder(Tripled):
    def forward(self, x):
        if x.flags.f_contiguous:
            raise ValueError("I take arrays in C order alone")
        return super().forward(x)


class Holder(Layer):
    """A layer with another one inside, which it does not list."""

    def __init__(self, inside):
        self.inside = inside

    def children(self):
        return {}

    def forward(self, x):
        return self.inside.forward(x)

    def backward(self, grad_y):
        return self.inside.backward(grad_y)


@wrong("holds a Linear in self.inside, which children() does not list: its weight, bias are never trained")
class HoldsALinear(Holder):
    def __init__(self):
        super().__init__(mx.Linear(4, 4))


@wrong(
    "holds a Dropout in self.inside, which children() does not list: to(), astype(), train() and eval() do not"
)
class HoldsADropout(Holder):
    def __init__(self):
        super().__init__(mx.Dropout(0.5))


@wrong("holds a Scaled in self.several['a'][1], which children() does not list: its factor are never trained")
class HoldsAListOfLayers(Holder):
    def __init__(self):
        self.several = {"a": [mx.ReLU(), Scaled()]}
        super().__init__(self.several["a"][0])


@wrong("holds a Parameter in self.factors[0], which parameters() does not list: it is never trained")
class HoldsAListOfParameters(Tripled):
    def __init__(self):
        self.factors = []  # what is put in later, nobody sees
        self.factors.append(Parameter(np.float32([3.0])))


class ReLUInPlace(mx.ReLU):
    def forward(self, x):
        x *= x > 0
        self.save(mask=x > 0)
        return x


class TanhBackwardInPlace(mx.Tanh):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_y *= 0
        return grad_x


@wrong("(ReLUInPlace) writes into its input in forward: -")
class ModelWithAReLUInPlace(Sequential):
    def __init__(self):
        super().__init__(mx.Tanh(), ReLUInPlace())


@wrong("(TanhBackwardInPlace) writes into grad_y in backward: ")
class ModelWithATanhBackwardInPlace(Sequential):
    def __init__(self):
        super().__init__(TanhBackwardInPlace(), mx.Linear(4, 4), TanhBackwardInPlace(), Scaled())


class Loss(mx.SoftmaxCrossEntropy):
    def backward(self, grad_loss=1.0):
        grad = super().backward(grad_loss)
        grad[4:] = 0
        return grad


@pytest.mark.parametrize("name", WRONG)
def test_a_layer_that_is_wrong_in_another_pass_is_found_and_told(name):
    kind, x, says = WRONG[name]
    report = gradcheck(kind(), x)
    assert not report
    assert says in str(report)
    assert any(says in fault for fault in report.faults)
    assert "bug" in repr(report)


def test_a_loss_that_is_wrong_in_the_fifth_row_is_found():
    report = gradcheck(Loss(), numbers(3, 4), labels=np.array([2, 0, 1]))
    assert "with another batch, of 7 pictures, the gradient of x[4] is wrong" in str(report)
    assert gradcheck(mx.SoftmaxCrossEntropy(), numbers(3, 4), labels=np.array([2, 0, 1]))


def test_what_a_report_says_beside_right_gradients_reads_so():
    lines = str(gradcheck(AddsUp(), np.array([[1.0, 2.0, 1.0, 1.0]]), rng=1)).splitlines()
    assert [line[:7] for line in lines] == ["gradche", "  pass ", "  pass ", "  bug  "]
    g = 2 * gradcheck(Scaled(), np.array([[1.0, 2.0, 1.0, 1.0]]), rng=1).of("factor")[1].backward
    assert lines[3] == (
        f"  bug  a second pass on the same batch: the gradient of factor[1] is {g:.6g}, where the first pass gave "
        f"{g / 2:.6g}; backward sets parameter.grad, it does not add to it, and keeps nothing from the pass before"
    )


# ---- right layers stay right -----------------------------------------------------------------------


class TakesThreeAlone(Tripled):
    def check_input(self, x):
        super().check_input(x)
        if len(x) != 3:
            raise ValueError(f"TakesThreeAlone takes 3 pictures, not {len(x)}")


class ForTrainingAlone(Tripled):
    def backward(self, grad_y):
        if not self.training:
            raise NotImplementedError("only for training")
        return super().backward(grad_y)


class HasAParent(Holder):
    def children(self):
        return {"inside": self.inside}

    def __init__(self, inside):
        super().__init__(inside)
        inside.parent = self


class Root(Layer):
    """Takes positive numbers alone."""

    def forward(self, x):
        assert (x > 0).all()
        y = self.xp.sqrt(x)
        self.save(y=y)
        return y

    def backward(self, grad_y):
        return grad_y / (2 * self.saved.y)


class LooksAtTheBatch(Layer):
    """y = x - mean of x over the batch: pictures that hang on each other."""

    def forward(self, x):
        return x - x.mean(axis=0)

    def backward(self, grad_y):
        return grad_y - grad_y.mean(axis=0)


class BatchNorm(Layer):
    """y = x by its mean and spread: of the batch in training, of all batches so far in evaluation."""

    def __init__(self, features):
        self.mean, self.spread = np.zeros(features), np.ones(features)

    def forward(self, x):
        if self.training:
            mean, spread = x.mean(axis=0), x.std(axis=0) + self.xp.asarray(0.1, x.dtype)
            self.mean, self.spread = 0.9 * self.mean + 0.1 * mean, 0.9 * self.spread + 0.1 * spread
        else:
            mean, spread = self.mean.astype(x.dtype), self.spread.astype(x.dtype)
        self.save(centred=x - mean, spread=spread)
        return (x - mean) / spread

    def backward(self, grad_y):
        centred, spread = self.saved.centred, self.saved.spread
        grad_centred = grad_y / spread
        if self.training:
            grad_spread = -(grad_y * centred).sum(axis=0) / spread**2
            std = (centred**2).mean(axis=0) ** 0.5
            grad_centred = grad_centred + grad_spread * centred / (len(grad_y) * std)
            grad_centred = grad_centred - grad_centred.mean(axis=0)
        return grad_centred


RIGHT = {
    "batch norm": (BatchNorm(4), numbers(3, 4)),
    "batch norm in evaluation": (BatchNorm(4).eval(), numbers(3, 4)),
    "tripled": (Tripled(), numbers(3, 4)),
    "three alone": (TakesThreeAlone(), numbers(3, 4)),
    "training alone": (ForTrainingAlone(), numbers(3, 4)),
    "a parent": (HasAParent(mx.Linear(4, 4)), numbers(3, 4)),
    "positive": (Root(), abs(numbers(3, 4))),
    "batch": (LooksAtTheBatch(), numbers(3, 4)),
    "batch of equals": (LooksAtTheBatch(), np.full((3, 4), 0.1)),
    "one number": (Tripled(), np.array(2.0)),
    "one picture": (mx.Conv2D(1, 2, 2), numbers(1, 1, 2, 2)),
    "constant": (mx.Linear(4, 3), np.ones((2, 4))),
    "large": (mx.Linear(4, 3), 1e6 * numbers(2, 4)),
    "small": (mx.Linear(4, 3), 1e-6 * numbers(2, 4)),
    "steep": (mx.Tanh(1.0, 30.0), numbers(2, 4)),
    "saturated": (mx.Tanh(1.0, 1.0), 40 * numbers(2, 4)),
    "cancelling": (Sequential(Tripled(), mx.LocalResponseNorm(3, alpha=1.0)), numbers(2, 6, 2, 2)),
    "dropout": (Sequential(mx.Linear(4, 30), mx.Dropout(0.5), mx.Linear(30, 2)), numbers(3, 4)),
    "towers": (Sequential(mx.Conv2D(2, 2, 2), mx.ReLU(), Flatten()), numbers(2, 2, 3, 4)),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_right_layer_is_right_in_other_passes(name, layout):
    layer, x = RIGHT[name]
    report = gradcheck(layer, laid_out(x, layout))
    assert report, report


def test_a_saturated_loss_is_right():
    x = np.array([[50.0, 0.0, -50.0], [1e4, 0.0, 3.0]])
    assert gradcheck(mx.SoftmaxCrossEntropy(), x, labels=np.array([0, 0]))
    assert gradcheck(mx.SoftmaxCrossEntropy(), x, labels=np.array([0, 2]))


# ---- tolerance --------------------------------------------------------------------------------------


class OneWrongFactor(Scaled):
    """Factors of all sizes; the gradient of one column is wrong, by a share of that column's."""

    def __init__(self, factors, column, share):
        self.factor = Parameter(np.array(factors, np.float32))
        self.column, self.share = column, share

    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_x[:, self.column] *= 1 + self.share
        return grad_x


@pytest.mark.parametrize("factor", [1e-7, 1e-4, 1.0, 1e4, 1e7])
@pytest.mark.parametrize("other", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("share", [1.0, 1e-2])
def test_a_slope_is_compared_to_its_own_size_not_to_the_largest(factor, other, share):
    if other / factor > 1e12:
        pytest.skip("the other's rounding is as large as this slope")
    layer = OneWrongFactor([other, factor, other], 1, share)
    report = gradcheck(layer, numbers(2, 3))
    assert {bug.index[1] for bug in report.bugs} == {1}, report
    layer.share = 0.0
    assert gradcheck(layer, numbers(2, 3))


@pytest.mark.parametrize("power", [3, 5])
def test_a_slope_of_nothing_is_nothing(power):
    class Power(Layer):
        def forward(self, x):
            self.save(x=x)
            return x**power

        def backward(self, grad_y):
            return power * grad_y * self.saved.x ** (power - 1)

    assert gradcheck(Power(), np.array([[0.0, 1e-5, -1e-3, 1.0, 30.0]]))


# ---- memory layouts reach the layer -----------------------------------------------------------------


def layout_of(array):
    """The one of LAYOUTS that an array of several axes, all longer than one, has."""
    for layout in LAYOUTS:
        if laid_out(np.zeros(array.shape), layout).strides == tuple(
            8 * s // array.itemsize for s in array.strides
        ):
            return layout
    return "another"


class Sees(Tripled):
    """Notes the layouts that reach its forward and its backward."""

    seen: list = []

    def forward(self, x):
        if min(x.shape, default=1) > 1:
            self.seen.append(("forward", layout_of(x)))
        return super().forward(x)

    def backward(self, grad_y):
        if min(grad_y.shape, default=1) > 1:
            self.seen.append(("backward", layout_of(grad_y)))
        return super().backward(grad_y)


EVERY = {(method, layout) for method in ("forward", "backward") for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradcheck_gives_the_layer_the_layout_of_x_and_then_all_others(layout):
    Sees.seen = []
    assert gradcheck(Sees(), laid_out(numbers(3, 2, 4, 5), layout))
    assert set(Sees.seen[:50]) == {
        ("forward", layout),
        ("backward", layout),
    }  # where the gradients are measured
    assert set(Sees.seen) == EVERY


@pytest.mark.parametrize("draw", [strategies.images(max_side=4), strategies.vectors()])
def test_each_layout_of_the_strategies_reaches_forward_and_backward(draw):
    count = {}

    @settings(max_examples=200)
    @given(x=draw, data=st.data())
    def by_hand(x, data):  # the documented way of a test without gradcheck
        Sees.seen, layer = [], Sees()
        y = layer.forward(x)
        layer.backward(data.draw(strategies.arrays(y.shape)))
        count["by hand"] = count.get("by hand", set()) | set(Sees.seen)

    @settings(max_examples=200)
    @given(x=draw)
    def by_gradcheck(x):
        Sees.seen = []
        gradcheck(Sees(), x)
        count["first pass"] = count.get("first pass", set()) | set(Sees.seen[:2])

    by_hand()
    by_gradcheck()
    two_axes = {
        (method, "batch last" if x == "fortran" else x) for method, x in EVERY
    }  # of two axes they are alike
    for way, seen in count.items():
        assert {(m, "batch last" if x == "fortran" else x) for m, x in seen} >= two_axes, way


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (1,), (6,), (4, 3), (3, 2, 4, 5), (3, 2, 4, 1), (1, 1, 1, 1), (0, 3)])
def test_a_copy_lies_in_memory_as_its_model_does(layout, shape):
    model = laid_out(np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape), layout)
    copied = laid_out_like(model.astype(np.float64), model)
    np.testing.assert_array_equal(copied, model)
    lengthy = [axis for axis, length in enumerate(shape) if length > 1]
    assert [copied.strides[axis] for axis in lengthy] == [
        model.strides[axis] for axis in lengthy
    ] or not model.size
    assert not np.shares_memory(copied, model)


def test_a_layer_that_ignores_gaps_is_found_in_a_few_examples():
    @settings(max_examples=100)
    @given(x=strategies.images(max_side=4))
    def by_hand(x):
        np.testing.assert_allclose(IgnoresGaps().forward(x), 3 * x)

    with pytest.raises(AssertionError):
        by_hand()


def test_the_layer_stays_as_it_was_in_all_passes():
    layer = Sequential(fc=mx.Linear(4, 8), drop=mx.Dropout(0.5), out=mx.Linear(8, 2)).eval()
    layer["drop"].train()
    before = copy.deepcopy(layer)
    assert gradcheck(layer, numbers(3, 4))
    assert [inside.training for inside in layer] == [inside.training for inside in before]
    assert layer.counters() == before.counters()
    for p, kept in zip(layer.parameters(), before.parameters(), strict=True):
        np.testing.assert_array_equal(p.value, kept.value)
        assert p.grad is None


def test_the_caller_s_generator_is_not_used_by_the_other_passes():
    one, two = np.random.default_rng(0), np.random.default_rng(0)
    gradcheck(mx.Linear(2, 2), numbers(2, 2), rng=one)
    two.uniform(size=(2, 2)), two.choice([-1.0, 1.0], (2, 2))
    assert one.random() == two.random()


def test_models_have_no_faults():
    model = Model(conv=mx.Conv2D(1, 2, 3), relu=mx.ReLU(), flatten=Flatten(), fc=mx.Linear(8, 3))
    assert gradcheck(model, numbers(2, 1, 4, 4)).faults == []


class Noisy(Tripled):
    def forward(self, x):
        return 3 * x + np.random.default_rng().normal(size=x.shape)


def test_a_layer_that_hangs_on_chance_is_told_so():
    report = gradcheck(Noisy(), numbers(3, 4))
    assert not report
    assert "forward on the same numbers gave " in str(report)


@pytest.mark.parametrize("labels", [[0, 1], (0, 1), np.array([0, 1])])
def test_labels_may_be_a_list(labels):
    assert mx.gradcheck(mx.SoftmaxCrossEntropy(), np.random.default_rng(0).random((2, 3)), labels)
