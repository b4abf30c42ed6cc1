"""gradcheck passes what is right, finds what is wrong, knows a kink from a bug, and leaves the layer as it was."""

import re

import numpy as np
import pytest
from hypothesis import given

import minialex as mx
from minialex import gradcheck, strategies
from minialex.check.gradient import Report
from minialex.devices.device import to_numpy
from minialex.layers import Flatten, Layer, Model, Parameter, Sequential
from minialex.layers.towers import Broadcast, Exchange, Gather, Towers
from minialex.layers.windows import windows
from minialex.models import lenet5


def picture(*shape, seed=0):
    """Random numbers of both signs; no two alike, and none near 0."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size // 2 + 0.5) * (4 / size)


RIGHT = {
    "Conv2D": (mx.Conv2D(4, 6, 3, stride=2, padding=1, groups=2), picture(2, 4, 5, 4)),
    "TableConv2D": (mx.TableConv2D([(0, 1), (1, 2), (0,)], 2), picture(2, 3, 4, 3)),
    "Linear": (mx.Linear(4, 3), picture(3, 4)),
    "Flatten": (mx.Flatten(), picture(2, 3, 2, 1)),
    "ReLU": (mx.ReLU(), picture(3, 4)),
    "Sigmoid": (mx.Sigmoid(), picture(3, 4)),
    "Tanh": (mx.Tanh(1.7159, 2 / 3), picture(3, 4)),
    "MaxPool2D": (mx.MaxPool2D(3, stride=2, padding=1), picture(2, 2, 5, 4)),
    "AvgPool2D": (mx.AvgPool2D(3, stride=2, padding=1), picture(2, 2, 5, 4)),
    "Subsampling": (mx.Subsampling(2), picture(2, 2, 5, 4)),
    "LocalResponseNorm": (mx.LocalResponseNorm(3, alpha=1.0, groups=2), picture(2, 6, 2, 1)),
    "Dropout": (mx.Dropout(0.5), picture(3, 4)),
    "Dropout 2012": (mx.Dropout(0.5, scaling="test-time").eval(), picture(3, 4)),
    "RBF": (mx.RBF(np.sign(picture(3, 4))), picture(2, 4)),
    "Gate": (mx.Gate((2, 1, 3), reads=(0, 2)), picture(2, 6, 2, 3)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_layer_passes(device, name):
    layer, x = RIGHT[name]
    layer.to(device)
    try:
        report = gradcheck(layer, x)
    finally:
        layer.to("cpu")
    assert report, report
    assert len(report.entries) == x.size + sum(p.value.size for p in layer.parameters())


# ---- bugs that somebody could write ----------------------------------------------------------------


class TanhWithoutItsSlope(mx.Tanh):
    def backward(self, grad_y):
        return super().backward(grad_y) / self.slope


class TanhWithATurnedSign(mx.Tanh):
    def backward(self, grad_y):
        return -super().backward(grad_y)


class ReLUWithoutItsGate(mx.ReLU):
    def backward(self, grad_y):
        return grad_y


class ReLUThatIgnoresWhatComesIn(mx.ReLU):
    def backward(self, grad_y):
        return self.xp.where(self.saved.mask, self.xp.ones_like(grad_y), 0)


class DropoutWithoutItsMask(mx.Dropout):
    def backward(self, grad_y):
        return grad_y


class DropoutWithoutItsFactor(mx.Dropout):
    def backward(self, grad_y):
        return grad_y * (self.saved.factor != 0)


class ConvWithOneWrongCorner(mx.Conv2D):
    def backward(self, grad_y, input_grad=True):
        grad_x = super().backward(grad_y).copy()
        grad_x[-1, -1, -1, -1] *= 1.001
        return grad_x


class ConvWithOneWrongWeight(mx.Conv2D):
    def backward(self, grad_y, input_grad=True):
        grad_x = super().backward(grad_y)
        self.weight.grad[-1, -1, 0, 0] += 0.001
        return grad_x


class ConvThatForgetsTheBatchInItsBias(mx.Conv2D):
    def backward(self, grad_y, input_grad=True):
        grad_x = super().backward(grad_y)
        self.bias.grad = grad_y[0].sum(axis=(1, 2))
        return grad_x


class ConvWithItsGroupsExchanged(mx.Conv2D):
    def backward(self, grad_y, input_grad=True):
        half = grad_y.shape[1] // 2
        return super().backward(np.concatenate([grad_y[:, half:], grad_y[:, :half]], axis=1))


class LinearWithATransposedGradient(mx.Linear):
    def backward(self, grad_y, input_grad=True):
        grad_x = super().backward(grad_y)
        self.weight.grad = self.weight.grad.T
        return grad_x


class LinearThatDividesByTheBatch(mx.Linear):
    def backward(self, grad_y, input_grad=True):
        grad_x = super().backward(grad_y)
        self.weight.grad = self.weight.grad / len(grad_y)
        return grad_x


class MaxPoolThatReplacesInsteadOfAdding(mx.MaxPool2D):
    def backward(self, grad_y):
        grad_x = np.zeros(self.saved.padded_shape)
        view = windows(grad_x, self.kernel_size, self.stride)
        for number, (i, j) in enumerate(np.ndindex(self.kernel_size)):
            np.copyto(view[:, :, i, j], grad_y, where=self.saved.winner == number)
        return grad_x


class AvgPoolWithoutItsShare(mx.AvgPool2D):
    def backward(self, grad_y):
        return super().backward(grad_y) * np.prod(self.kernel_size)


class LRNWithoutItsCrossTerm(mx.LocalResponseNorm):
    def backward(self, grad_y):
        return grad_y * self.saved.scale**-self.beta


class LRNWithoutAlphaInItsCrossTerm(mx.LocalResponseNorm):
    def backward(self, grad_y):
        direct = grad_y * self.saved.scale**-self.beta
        return direct + (super().backward(grad_y) - direct) / self.alpha


class LossWithoutTheMean(mx.SoftmaxCrossEntropy):
    def backward(self, grad_loss=1.0):
        return super().backward(grad_loss) * 3


class LossThatIgnoresWhatComesIn(mx.SoftmaxCrossEntropy):
    def backward(self, grad_loss=1.0):
        return super().backward(1.0)


class OneThatIsInfinite(mx.ReLU):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_x[0, 0] = np.inf
        return grad_x


class OneThatIsNoNumber(mx.ReLU):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_x[0, 0] = np.nan
        return grad_x


LABELS = np.array([2, 0, 1])
WRONG = {  # layer, input, labels: the only array with bugs
    TanhWithoutItsSlope: ((1.7159, 2 / 3), picture(3, 4), "x"),
    TanhWithATurnedSign: ((), picture(3, 4), "x"),
    ReLUWithoutItsGate: ((), picture(3, 4), "x"),
    ReLUThatIgnoresWhatComesIn: ((), picture(3, 4), "x"),
    DropoutWithoutItsMask: ((), picture(3, 4), "x"),
    DropoutWithoutItsFactor: ((), picture(3, 4), "x"),
    ConvWithOneWrongCorner: ((2, 2, 3), picture(2, 2, 5, 4), "x"),
    ConvWithOneWrongWeight: ((2, 2, 3), picture(2, 2, 5, 4), "weight"),
    ConvThatForgetsTheBatchInItsBias: ((2, 2, 3), picture(2, 2, 5, 4), "bias"),
    LinearWithATransposedGradient: ((3, 3), picture(4, 3), "weight"),
    LinearThatDividesByTheBatch: ((3, 2), picture(4, 3), "weight"),
    MaxPoolThatReplacesInsteadOfAdding: ((3, 1), picture(2, 2, 5, 4), "x"),
    AvgPoolWithoutItsShare: ((2,), picture(2, 2, 4, 4), "x"),
    LRNWithoutItsCrossTerm: ((), picture(2, 6, 2, 1), "x"),  # at AlexNet's alpha, 1e-4
    LRNWithoutAlphaInItsCrossTerm: ((5, 1e-2), picture(2, 6, 2, 1), "x"),
    LossWithoutTheMean: ((), picture(3, 4), "x"),
    LossThatIgnoresWhatComesIn: ((), picture(3, 4), "x"),
    OneThatIsInfinite: ((), picture(3, 4), "x"),
    OneThatIsNoNumber: ((), picture(3, 4), "x"),
}


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.__name__)
def test_a_bug_is_found_in_its_array_and_in_no_other(kind):
    arguments, x, array = WRONG[kind]
    report = gradcheck(kind(*arguments), x, LABELS if issubclass(kind, mx.SoftmaxCrossEntropy) else None)
    assert not report
    assert {entry.array for entry in report.bugs} == {array}
    assert not report.kinks


def test_exchanged_groups_are_found_in_all_arrays():
    report = gradcheck(ConvWithItsGroupsExchanged(4, 4, 2, groups=2), picture(2, 4, 3, 3))
    assert {entry.array for entry in report.bugs} == {"x", "weight", "bias"}


@pytest.mark.parametrize(
    ("kind", "array", "index"),
    [(ConvWithOneWrongCorner, "x", (1, 1, 4, 3)), (ConvWithOneWrongWeight, "weight", (1, 1, 0, 0))],
)
def test_one_wrong_element_is_found_alone(kind, array, index):
    (bug,) = gradcheck(kind(2, 2, 3), picture(2, 2, 5, 4)).bugs
    assert (bug.array, bug.index) == (array, index)


@pytest.mark.parametrize("kind", [OneThatIsInfinite, OneThatIsNoNumber])
def test_an_infinite_gradient_condemns_itself_and_excuses_no_other(kind):
    class AlsoWrongElsewhere(kind):
        def backward(self, grad_y):
            grad_x = super().backward(grad_y)
            grad_x[2, 3] += 0.01
            return grad_x

    assert [bug.index for bug in gradcheck(kind(), picture(3, 4)).bugs] == [(0, 0)]
    assert [bug.index for bug in gradcheck(AlsoWrongElsewhere(), picture(3, 4)).bugs] == [(0, 0), (2, 3)]


def test_a_bug_inside_a_model_is_found_under_its_name():
    model = Model(
        conv1=ConvWithOneWrongWeight(1, 2, 3), tanh1=mx.Tanh(), flatten=Flatten(), fc2=mx.Linear(8, 3)
    )
    report = gradcheck(model, picture(2, 1, 4, 4))
    assert {bug.array for bug in report.bugs} == {"conv1.weight"}


# ---- kinks -----------------------------------------------------------------------------------------


class ReLUThatSays(mx.ReLU):
    """A ReLU whose derivative at 0 can be chosen."""

    def __init__(self, at_zero):
        self.at_zero = at_zero

    def forward(self, x):
        self.save(mask=x > 0, x=x)
        return self.xp.maximum(x, 0)

    def backward(self, grad_y):
        return super().backward(grad_y) + self.xp.where(self.saved.x == 0, self.at_zero * grad_y, 0)


@pytest.mark.parametrize(
    ("derivative", "verdict"),
    [
        (0.0, "kink"),
        (1.0, "kink"),
        (0.25, "kink"),
        (0.5, "pass"),
        (-0.1, "kink"),
        (1.1, "kink"),
        (100.0, "kink"),
    ],
)
def test_at_relus_0_the_verdict_is_kink_whatever_backward_says(derivative, verdict):
    report = gradcheck(ReLUThatSays(derivative), np.array([[-1.0, 0.0, 1.0]]))
    assert [entry.verdict for entry in report.entries] == ["pass", verdict, "pass"]
    assert bool(report) == (verdict == "pass")


def test_a_kink_shows_both_slopes():
    (kink,) = gradcheck(mx.ReLU(), np.array([[0.0]])).kinks
    assert abs(kink.left) < 1e-9
    assert abs(kink.right) == pytest.approx(2 * abs(kink.measured))


@pytest.mark.parametrize("near", [2e-6, -2e-6, 2e-5])
def test_a_kink_nearby_is_none(near):
    assert gradcheck(mx.ReLU(), np.array([[near, 1.0]]))


def test_a_tie_in_a_pooling_window_is_a_kink_and_its_neighbours_are_not():
    x = np.array([5.0, 5, 1, 2, 3, 1]).reshape(1, 1, 1, 6)
    report = gradcheck(mx.MaxPool2D((1, 3)), x)
    assert [entry.index[3] for entry in report.kinks] == [0, 1]
    assert not report.bugs


class MaxPoolThatPaysDouble(mx.MaxPool2D):
    def backward(self, grad_y):
        return 2 * super().backward(grad_y)


def test_a_tie_excuses_a_wrong_backward_only_where_it_is():
    tie, none = np.array([[[[5.0, 5, 1]]], [[[5.0, 4, 1]]]])
    assert [entry.verdict for entry in gradcheck(MaxPoolThatPaysDouble((1, 3)), tie[None]).entries] == [
        "kink",
        "kink",
        "pass",
    ]
    assert [entry.index[3] for entry in gradcheck(MaxPoolThatPaysDouble((1, 3)), none[None]).bugs] == [0]


def test_ties_of_several_windows_add_up_to_kinks_and_not_to_bugs():
    picture_on_white = np.zeros((1, 1, 28, 28))
    picture_on_white[0, 0, 8:20, 11:17] = np.random.default_rng(0).uniform(0.1, 1.0, (12, 6))
    report = gradcheck(lenet5("modern"), picture_on_white, max_entries=40)
    assert not report.bugs, report
    assert report.kinks
    outside = [e for e in report.kinks if not min(e.left, e.right) <= e.backward <= max(e.left, e.right)]
    assert outside  # what a rule of "between the two slopes" would have called bugs


def test_a_bug_beside_a_kink_is_still_a_bug():
    report = gradcheck(ReLUWithoutItsGate(), np.array([[-1.0, 0.0]]))
    assert [entry.verdict for entry in report.entries] == ["bug", "kink"]


class Square(Layer):
    def forward(self, x):
        self.save(x=x)
        return x * x

    def backward(self, grad_y):
        return 2 * grad_y * self.saved.x


def test_a_minimum_is_no_kink():
    assert gradcheck(Square(), np.array([[0.0, 1e-9, 1.0, 1000.0]]))


class SquareWithASlopeOfOne(Square):
    def backward(self, grad_y):
        return super().backward(grad_y) + grad_y


def test_a_wrong_slope_at_a_minimum_is_a_bug():
    report = gradcheck(SquareWithASlopeOfOne(), np.array([[0.0, 1e-9, 1.0]]))
    assert [entry.verdict for entry in report.entries] == ["bug"] * 3


# ---- the layer stays as it was ---------------------------------------------------------------------


def everything(layer):
    """All that gradcheck could have changed."""
    return {
        "values": [(to_numpy(p.value).tobytes(), p.value.dtype.name) for p in layer.parameters()],
        "grads": [None if p.grad is None else to_numpy(p.grad).tobytes() for p in layer.parameters()],
        "identity": [(id(p), id(p.value), id(p.grad)) for p in layer.parameters()],
        "counters": layer.counters(),
        "device": layer.device,
        "training": [child.training for child in (layer, *layer.children().values())],
        "saved": id(layer.saved),
    }


@pytest.mark.parametrize("training", [True, False])
def test_the_layer_stays_as_it_was(device, training):
    layer = (
        Sequential(fc1=mx.Linear(4, 8), drop=mx.Dropout(0.5), fc2=mx.Linear(8, 2)).to(device).train(training)
    )
    x = device.asarray(picture(3, 4).astype(np.float32))
    layer.forward(x)
    layer.backward(device.asarray(np.ones((3, 2), np.float32)))
    layer.forward(x)
    before, x_before = everything(layer), to_numpy(x).copy()
    assert gradcheck(layer, x)
    assert everything(layer) == before
    np.testing.assert_array_equal(to_numpy(x), x_before)


def test_a_backward_that_was_still_to_come_comes_out_the_same():
    layer, x = mx.Conv2D(1, 1, 2), picture(1, 1, 3, 3).astype(np.float32)
    grad_y = np.ones((1, 1, 2, 2), np.float32)
    layer.forward(x)
    expected = layer.backward(grad_y)
    layer.forward(x)
    gradcheck(layer, 2 * x)
    np.testing.assert_array_equal(layer.backward(grad_y), expected)


def test_dropouts_mask_is_the_one_that_comes_next():
    layer, x = mx.Dropout(0.5), np.ones((1, 20), np.float32)
    layer.forward(x)
    layer.forward(x)
    report = gradcheck(layer, x)
    assert layer.step == 2
    kept = layer.forward(x)[0] != 0
    assert [entry.backward != 0 for entry in report.entries] == kept.tolist()


def test_the_callers_current_device_does_not_matter():
    layer = mx.Linear(2, 2).to("sim:1")
    with mx.Device("sim:0"):
        assert gradcheck(layer, picture(2, 2))


def test_the_input_may_be_anywhere_and_of_any_dtype(device):
    for dtype in ("float32", "float64", "int64"):
        assert gradcheck(mx.Linear(3, 2).to(device), np.arange(6).reshape(2, 3).astype(dtype))
        assert gradcheck(mx.Linear(3, 2), device.asarray(np.arange(6).reshape(2, 3).astype(dtype)))


# ---- a layer that writes where it must not ---------------------------------------------------------


class ReLUInPlace(mx.ReLU):
    def forward(self, x):
        x[x < 0] = 0
        self.save(y=x)
        return x


class ReLUBackwardInPlace(mx.ReLU):
    def backward(self, grad_y):
        grad_y *= self.saved.mask
        return grad_y


@pytest.mark.parametrize("kind", [ReLUInPlace, ReLUBackwardInPlace])
def test_a_layer_that_writes_into_a_callers_array_is_found_out(kind):
    with pytest.raises(ValueError, match="read-only"):
        gradcheck(kind(), picture(3, 4))


# ---- losses and models -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [mx.SoftmaxCrossEntropy(), mx.MAPLoss(j=1.0)], ids=format)
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_a_loss_is_checked_with_its_labels(loss, dtype):
    report = gradcheck(loss, picture(3, 4), LABELS.astype(dtype))
    assert report, report
    assert list(report.shapes) == ["x"]


def test_the_labels_of_a_loss_may_lie_on_its_device(device):
    loss = mx.SoftmaxCrossEntropy().to(device)
    assert gradcheck(loss, picture(3, 4), device.asarray(LABELS))


def test_a_model_is_asked_for_the_gradient_of_its_picture(device):
    model = Model(conv1=mx.Conv2D(1, 2, 3), tanh1=mx.Tanh(), flatten=Flatten(), fc2=mx.Linear(8, 3)).to(
        device
    )
    report = gradcheck(model, picture(2, 1, 4, 4))
    assert report, report
    assert list(report.shapes) == ["x", "conv1.weight", "conv1.bias", "fc2.weight", "fc2.bias"]
    assert len(report.of("x")) == 32


def two_towers(linear=mx.Linear):
    """(N, 3) -> both towers -> 2 units in each -> exchanged -> 1 in each -> one array of 2"""
    layers = {
        "broadcast": Broadcast(), "fc": Towers.split(linear(3, 4)), "tanh": Towers.split(mx.Tanh()),
        "exchange": Exchange(), "out": Towers.split(mx.Linear(4, 2)), "gather": Gather(),
    }  # fmt: skip
    return TwoTowers(**layers)


class TwoTowers(Model):
    def to(self, devices):
        for layer in self:
            layer.to(devices)
        self.device = self["gather"].device
        return self


@pytest.mark.parametrize(("variant", "side"), [("modern", 28), ("1998", 32)])
def test_a_lenet_passes(variant, side):
    report = gradcheck(lenet5(variant), picture(1, 1, side, side), max_entries=6)
    assert not report.bugs, report
    assert len(report.entries) == 6 * len(report.shapes)


@pytest.mark.parametrize("devices", ["cpu", "sim:0", "sim:0,sim:1"])
def test_a_model_of_two_towers_is_checked_under_its_grouped_names(devices):
    model = two_towers().to(devices)
    before = mx.weights.export_grouped(model)
    report = gradcheck(model, picture(2, 3))
    assert report, report
    assert report.shapes == {"x": (2, 3), **{name: array.shape for name, array in before.items()}}
    assert len(report.entries) == 6 + sum(array.size for array in before.values())
    for name, array in mx.weights.export_grouped(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_bug_in_the_second_tower_is_found_in_its_rows():
    class SecondBiasWrong(mx.Linear):
        def backward(self, grad_y, input_grad=True):
            grad_x = super().backward(grad_y, input_grad)
            self.bias.grad = self.bias.grad + np.array([0.0, 0.1]) * (self.bias.part[0] > 0)
            return grad_x

    report = gradcheck(two_towers(SecondBiasWrong), picture(2, 3))
    assert [(bug.array, bug.index) for bug in report.bugs] == [("fc.bias", (3,))]


# ---- what is given in --------------------------------------------------------------------------------


def test_what_the_layer_cannot_take_raises_what_the_layer_raises():
    with pytest.raises(ValueError, match="Linear has 3 input features, the input 4"):
        gradcheck(mx.Linear(3, 2), picture(2, 4))


class Scale(Layer):
    """y = factor * x, with the "right" gradient of factor, a "forgotten" one, or the array that is given."""

    def __init__(self, grad="right"):
        self.factor = Parameter(np.full(3, 2.0, np.float32))
        self.given = grad

    def forward(self, x):
        self.save(x=x)
        return self.factor.value * x

    def backward(self, grad_y):
        right = (grad_y * self.saved.x).sum(axis=0)
        if isinstance(self.given, np.ndarray):
            self.factor.grad = self.given
        elif self.given == "right":
            self.factor.grad = right
        return grad_y * self.factor.value


def test_a_parameter_of_ones_own_is_checked_under_its_name():
    assert list(gradcheck(Scale(), picture(2, 3)).shapes) == ["x", "factor"]


@pytest.mark.parametrize("shape", [(2,), (2, 3), (3, 1), ()])
def test_a_gradient_of_the_wrong_shape_raises_and_names_both(shape):
    message = f"Scale gives shape {shape} as gradient of factor, which has shape (3,)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gradcheck(Scale(np.zeros(shape)), picture(2, 3))


class SumThatForgetsToSpread(Layer):
    def forward(self, x):
        return x.sum(axis=1)

    def backward(self, grad_y):
        return grad_y


def test_an_input_gradient_of_the_wrong_shape_raises():
    with pytest.raises(ValueError, match=r"gives shape \(2,\) as gradient of x, which has shape \(2, 3\)$"):
        gradcheck(SumThatForgetsToSpread(), picture(2, 3))


def test_a_gradient_that_was_forgotten_raises_though_an_old_one_lies_there():
    layer = Scale("forgotten")
    with pytest.raises(ValueError, match=r"^gradcheck: Scale gives None as gradient of factor"):
        gradcheck(layer, picture(2, 3))
    layer.factor.grad = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"^gradcheck: Scale gives None as gradient of factor"):
        gradcheck(layer, picture(2, 3))


class NothingBack(mx.ReLU):
    def backward(self, grad_y):
        return None


def test_no_gradient_for_the_input_raises():
    with pytest.raises(ValueError, match=r"gives None as gradient of x, which has shape \(2, 3\)$"):
        gradcheck(NothingBack(), picture(2, 3))


class Two(Layer):
    def __init__(self):
        self.one, self.two = mx.Linear(3, 3), mx.Linear(3, 3)

    def children(self):
        return {"one": self.one, "two": self.two}

    def forward(self, x):
        return self.two.forward(self.one.forward(x))

    def backward(self, grad_y):
        return self.one.backward(self.two.backward(grad_y))


class TwoOfAName(Two):
    def children(self):
        return {}

    def parameters(self):
        return self.one.parameters() + self.two.parameters()

    def astype(self, dtype):
        self.one.astype(dtype), self.two.astype(dtype)
        return self


def test_two_layers_inside_a_layer_have_names_of_their_own():
    report = gradcheck(Two(), picture(2, 3))
    assert report
    assert list(report.shapes) == ["x", "one.weight", "one.bias", "two.weight", "two.bias"]


def test_two_parameters_of_one_name_raise_and_are_not_taken_for_one():
    with pytest.raises(
        ValueError, match="TwoOfAName has parameters weight, bias, weight, bias; they need names"
    ):
        gradcheck(TwoOfAName(), picture(2, 3))


def test_a_parameter_named_x_raises():
    class Named(Scale):
        def __init__(self):
            super().__init__()
            self.x = self.factor
            del self.factor

    with pytest.raises(
        ValueError, match=r"Named has parameters x; they need names of their own, and none may be x$"
    ):
        gradcheck(Named(), picture(2, 3))


def test_the_same_seed_draws_the_same_upstream_gradient():
    def slopes(rng):
        return [entry.backward for entry in gradcheck(mx.ReLU(), np.ones((2, 5)), rng=rng).entries]

    assert slopes(3) == slopes(np.random.default_rng(3)) != slopes(4)
    assert slopes(None) == slopes(0)


def test_the_upstream_gradient_is_random_with_both_signs_and_far_from_0():
    slopes = np.array([entry.backward for entry in gradcheck(mx.ReLU(), np.ones((10, 10))).entries])
    assert len(set(slopes)) == 100
    assert (slopes > 0).any()
    assert (slopes < 0).any()
    assert abs(slopes).min() >= 0.5


# ---- sampling ----------------------------------------------------------------------------------------


def test_of_a_large_array_some_entries_are_checked_and_the_report_says_so():
    report = gradcheck(mx.Linear(32, 2), picture(32, 32), max_entries=30)
    assert len({entry.index for entry in report.of("x")}) == 30
    assert "30 of 1024 checked" in str(report)
    assert "30 of 64 checked" in str(report)
    assert re.search(r"bias .* 2 checked", str(report))


def test_which_entries_are_checked_hangs_on_the_seed():
    def chosen(rng):
        return [
            entry.index for entry in gradcheck(mx.ReLU(), picture(32, 32), rng=rng, max_entries=30).entries
        ]

    assert chosen(1) == chosen(1) != chosen(2)


# ---- the report --------------------------------------------------------------------------------------


def printed(report):
    """The report with each difference that is only rounding as ~."""
    return re.sub(r"\d\.\de-(09|1\d)|0\.0e\+00", "~", str(report))


def test_a_report_of_what_is_right_reads_so():
    model = Sequential(conv1=mx.Conv2D(1, 2, 2), relu1=mx.ReLU())
    assert printed(gradcheck(model, 1 + picture(1, 1, 3, 4))) == (
        "gradcheck of Sequential\n"
        "  pass x             (1, 1, 3, 4)      12 checked, 0 kinks, 0 bugs; largest difference ~\n"
        "  pass conv1.weight  (2, 1, 2, 2)      8 checked, 0 kinks, 0 bugs; largest difference ~\n"
        "  pass conv1.bias    (2,)              2 checked, 0 kinks, 0 bugs; largest difference ~"
    )


class ReLUThatTriplesItsLast(mx.ReLU):
    def backward(self, grad_y):
        return super().backward(grad_y) * np.array([1, 1, 1, 3])


def test_a_report_of_a_bug_and_a_kink_reads_so():
    report = gradcheck(ReLUThatTriplesItsLast(), np.array([[-1.0, 0.0, 1.0, 2.0]]))
    _, kink, _, bug = report.entries
    g, h = bug.measured, kink.measured  # the upstream gradient at the bug, half of it at the kink
    assert printed(report) == (
        "gradcheck of ReLUThatTriplesItsLast\n"
        f"  bug  x             (1, 4)            4 checked, 1 kink, 1 bug; largest difference {2 * abs(g):.1e}\n"
        f"  bug  x[0, 3]: backward says {3 * g:.6g}, measured {g:.6g}\n"
        f"  kink x[0, 1]: backward says 0, measured {h:.6g} (left 0, right {2 * h:.6g})"
    )


def test_a_report_of_kinks_alone_says_what_to_do():
    assert str(gradcheck(mx.ReLU(), np.array([[0.0]]))).endswith(
        "At a kink there is no derivative to compare with: move the input away from it."
    )


def test_a_report_lists_ten_and_counts_the_rest():
    lines = str(gradcheck(ReLUWithoutItsGate(), -np.ones((3, 4)))).splitlines()
    assert sum("backward says" in line for line in lines) == 10
    assert lines[-1] == "  ... and 2 more"


def test_a_report_lists_bugs_before_kinks():
    report = gradcheck(ReLUWithoutItsGate(), np.array([[0.0] * 12 + [-1.0]]))
    assert [line.split()[0] for line in str(report).splitlines()[2:4]] == ["bug", "kink"]


def test_a_report_keeps_its_columns_apart_whatever_the_names():
    name, shape = "a_long_name_of_a_layer.weight", (1000, 1000, 1000, 1000, 1000)
    line = str(Report("a model", {name: shape})).splitlines()[1]
    assert f" {name} {shape} " in line


def test_a_report_shows_itself():
    report = gradcheck(mx.ReLU(), np.array([[1.0, -2.0]]))
    assert repr(report) == "<gradcheck of ReLU: 2 gradients pass>"


def test_a_report_of_a_bug_shows_itself_in_one_line():
    shown = repr(gradcheck(ReLUWithoutItsGate(), np.array([[1.0, -2.0]])))
    assert shown.startswith("<gradcheck of ReLUWithoutItsGate: bug at x[0, 1]: backward says ")
    assert shown.endswith(", measured 0; print it for more>")
    assert "\n" not in shown


def test_a_report_is_true_when_everything_passes_and_only_then():
    assert gradcheck(mx.ReLU(), picture(1, 2))
    assert not gradcheck(mx.ReLU(), np.zeros((1, 2)))  # kinks
    assert not gradcheck(ReLUWithoutItsGate(), -np.ones((1, 2)))  # bugs


# ---- three lines for a layer of one's own ----------------------------------------------------------


class Softplus(Layer):
    """y = log(1 + exp(x)): somebody's own layer."""

    def forward(self, x):
        self.save(x=x)
        return self.xp.logaddexp(x, 0)

    def backward(self, grad_y):
        return grad_y / (1 + self.xp.exp(-self.saved.x))


@given(x=strategies.images())
def test_softplus_gradients(x):
    assert gradcheck(Softplus(), x)


@pytest.mark.parametrize(("wrong", "name"), [(np.ones((1, 2)), "ndarray"), (mx.ReLU, "class ReLU")])
def test_gradcheck_of_what_is_no_layer_says_in_which_order_it_takes_them(wrong, name):
    with pytest.raises(
        TypeError, match=rf"^gradcheck takes a layer, then .* gradcheck\(layer, x\); not an? {name}$"
    ):
        mx.gradcheck(wrong, mx.ReLU())
