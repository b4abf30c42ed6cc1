"""What is set in a layer that is there already is checked as what it was made with."""

from contextlib import nullcontext

import numpy as np
import pytest

import minialex as mx
from minialex.data.augment import Prepare
from minialex.data.pictures import draw_arrays
from minialex.study.equal_costs import allocations
from minialex.study.leaving import leaving
from minialex.training.schedules import Step

MADE = {
    "Dropout": mx.Dropout,
    "LocalResponseNorm": mx.LocalResponseNorm,
    "BatchNorm2D": lambda **how: mx.BatchNorm2D(4, **how),
    "Conv2D": lambda **how: mx.Conv2D(4, 2, **{"kernel_size": 3, **how}),
    "MaxPool2D": lambda **how: mx.MaxPool2D(**{"kernel_size": 2, "stride": 2, **how}),
    "AvgPool2D": lambda **how: mx.AvgPool2D(**{"kernel_size": 2, **how}),
    "AdaptiveAvgPool2D": lambda **how: mx.AdaptiveAvgPool2D(**{"size": 2, **how}),
    "Linear": lambda **how: mx.Linear(**{"in_features": 4, "out_features": 3, **how}),
    "Subsampling": lambda **how: mx.Subsampling(**{"channels": 4, **how}),
    "TableConv2D": lambda **how: mx.TableConv2D(**{"table": [[0, 1], [2, 3]], "kernel_size": 3, **how}),
    "Tanh": mx.Tanh,
    "Scale": lambda **how: mx.Scale(**{"factor": 0.5, **how}),
}
WRONG = [
    ("Dropout", "p", (-0.1, 1, 1.5, float("nan"), "0.5")),
    ("Dropout", "scaling", ("invertd", None, 1)),
    ("LocalResponseNorm", "size", (0, -1, 4, 2.5, True)),
    ("BatchNorm2D", "eps", (-1e-5, float("nan"), "0")),
    ("BatchNorm2D", "momentum", (-0.1, 1.1, float("nan"), "0")),
    ("Conv2D", "stride", (0, -1, 1.5, (1, 2, 3), "2", None)),
    ("MaxPool2D", "stride", (0, -1, 1.5, (1, 2, 3), "2", None)),
    ("AvgPool2D", "kernel_size", (0, -1, 1.5, (2,), None)),
    ("AvgPool2D", "padding", (-1, 0.5, (0, -1), None)),
    ("AdaptiveAvgPool2D", "size", (0, (2, 0), 1.5, None)),
    ("LocalResponseNorm", "alpha", (float("nan"), float("inf"), "1", None)),
    ("LocalResponseNorm", "groups", (0, 1.5, True)),
    ("BatchNorm2D", "frozen", ("no", None, 2)),
    ("BatchNorm2D", "channels", (0, "4")),
    ("MaxPool2D", "ceil_mode", ("False", None, 2)),
    ("AvgPool2D", "count_include_pad", ("no", None, 0.5)),
    ("Conv2D", "groups", (0, 1.5, None)),
    ("Linear", "out_features", (0, 2.5, True)),
    ("Tanh", "scale", (0, float("nan"), "1")),
    ("Tanh", "slope", (float("inf"), None)),
    ("Scale", "factor", (float("nan"), "0.1")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "what", "value"), [(n, what, v) for n, what, vs in WRONG for v in vs])
def test_what_makes_no_sense_is_refused_and_the_layer_stays_as_it_was(name, what, value):
    layer = MADE[name]()
    before = getattr(layer, what)
    with pytest.raises(ValueError, match=f"^{name}: {what} .*{str(value)[:3]}".replace("(", r"\(")):
        setattr(layer, what, value)
    assert getattr(layer, what) == before


@pytest.mark.parametrize(("name", "what"), [(n, what) for n, what, _ in WRONG])
@pytest.mark.parametrize("several", [[1], np.array([1]), np.array([[0.5]])], ids=["list", "array", "2-d"])
def test_a_list_or_an_array_with_one_entry_is_no_number(name, what, several):
    layer = MADE[name]()
    before = getattr(layer, what)
    with pytest.raises(ValueError, match=f"^{name}: {what} "):
        setattr(layer, what, several)
    assert getattr(layer, what) == before


@pytest.mark.parametrize("several", [[0.5], np.array([0.5])], ids=["list", "array"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda it: mx.SGD(mx.Linear(1, 1).parameters(), lr=it), "SGD: lr must be a number >= 0"),
        (lambda it: mx.models.alexnet(width=it), "width must be above 0"),
        (lambda it: mx.models.alexnet(scale=it), "scale must be above 0"),
        (lambda it: allocations(lambda layers: mx.models.lenet5(), (1, 1), it), "tolerance must be a share"),
        (lambda it: leaving(None, [1], it), "leave_at is a probability"),
        (lambda it: Step(it, (1,)), "lr must be a number >= 0"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_neither_is_it_anywhere_else(make, said, several):
    with pytest.raises(ValueError, match=f"{said}.*, not .*0.5"):
        make(several)


@pytest.mark.parametrize("several", [["add"], np.array(["add"]), np.array(["add", "B"]), {"add": 1}], ids=str)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda it: mx.Dropout(scaling=it), "Dropout: scaling must be"),
        (lambda it: mx.Branches({"a": mx.ReLU()}, merge=it), "Branches: merge must be"),
        (mx.models.vgg, "there is no VGG-"),
        (lambda it: mx.models.resnet(20, 10, "cifar", shortcut=it), "shortcut must be"),
        (lambda it: Prepare(28, 28, order=it), "order is"),
        (lambda it: Prepare(28, 28, colour_rule=it), "colour_rule is one of"),
        (lambda it: mx.MaxPool2D(2, ceil_mode=it), "MaxPool2D: ceil_mode must be"),
        (mx.data.load, "there is no set called"),
        (mx.data.class_names, "there is no set called"),
        (lambda it: draw_arrays(3, classes=[it]), "classes are some of"),
        (lambda it: draw_arrays(3, split=it), "a split is"),
        (mx.Device, "unknown device"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_a_list_or_an_array_is_no_choice(make, said, several):
    with pytest.raises(ValueError, match=f"^{said}.*add"):
        make(several)


@pytest.mark.parametrize(
    ("name", "what", "value"),
    [("Conv2D", "stride", 2), ("Conv2D", "padding", 1), ("MaxPool2D", "stride", 1), ("MaxPool2D", "kernel_size", 3),
     ("AvgPool2D", "padding", (1, 0)), ("AdaptiveAvgPool2D", "size", 3), ("LocalResponseNorm", "size", 3),
     ("LocalResponseNorm", "alpha", np.float64(0.5)), ("BatchNorm2D", "eps", np.float64(0.1)),
     ("LocalResponseNorm", "groups", 2), ("BatchNorm2D", "frozen", np.True_), ("MaxPool2D", "ceil_mode", 1),
     ("Tanh", "scale", np.float64(1.7)), ("Scale", "factor", np.float64(0.2))],
)  # fmt: skip
def test_what_is_set_later_does_what_it_does_from_the_start(name, what, value):
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 7)).astype(np.float32)
    grad = None
    found = []
    for layer in (MADE[name](), MADE[name](**{what: value})):
        setattr(layer, what, value)
        y = layer.forward(x)
        grad = np.ones_like(y) if grad is None else grad
        found.append((y, layer.backward(grad), getattr(layer, what)))
    (y, grad_x, kept), (wanted_y, wanted_grad, wanted) = found
    np.testing.assert_array_equal(y, wanted_y)
    np.testing.assert_array_equal(grad_x, wanted_grad)
    assert (kept, type(kept), y.dtype) == (wanted, type(wanted), np.float32)


@pytest.mark.parametrize("pool", [mx.MaxPool2D, mx.AvgPool2D])
def test_padding_of_more_than_half_of_the_window_is_refused_in_forward(pool):
    layer = pool(4, padding=2)
    layer.kernel_size = 3
    with pytest.raises(ValueError, match=r"padding \(2, 2\) is more than half of the window \(3, 3\)"):
        layer.forward(np.zeros((1, 1, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("name", "what", "value", "has"),
    [("Conv2D", "in_channels", 2, r"weight has shape \(2, 4, 3, 3\).*go with \(2, 2, 3, 3\)"),
     ("Conv2D", "out_channels", 3, r"weight has shape \(2, 4, 3, 3\).*go with \(3, 4, 3, 3\)"),
     ("Conv2D", "groups", 2, r"weight has shape \(2, 4, 3, 3\).*go with \(2, 2, 3, 3\)"),
     ("Conv2D", "kernel_size", 2, r"weight has shape \(2, 4, 3, 3\).*go with \(2, 4, 2, 2\)"),
     ("TableConv2D", "kernel_size", 2, r"weight has shape \(4, 3, 3\).*go with \(4, 2, 2\)"),
     ("TableConv2D", "out_channels", 3, r"bias has shape \(2,\).*go with \(3,\)"),
     ("Linear", "in_features", 5, r"weight has shape \(3, 4\).*go with \(3, 5\)"),
     ("Linear", "out_features", 5, r"weight has shape \(3, 4\).*go with \(5, 4\)"),
     ("BatchNorm2D", "channels", 3, r"weight has shape \(4,\).*go with \(3,\)"),
     ("Subsampling", "channels", 3, r"weight has shape \(4,\).*go with \(3,\)")],
)  # fmt: skip
@pytest.mark.parametrize("fast", [True, False])
def test_a_setting_that_the_weights_do_not_go_with_is_refused_in_forward(name, what, value, has, fast):
    x = np.ones((2, 4) if name == "Linear" else (2, 4, 5, 5), np.float32)
    layer = MADE[name]()
    setattr(layer, what, value)
    with nullcontext() if fast else mx.textbook(), pytest.raises(ValueError, match=f"^{name}: its {has}"):
        layer.forward(x)


@pytest.mark.parametrize("what", ["weight", "bias"])
def test_an_array_of_another_shape_is_refused_in_forward(what):
    layer = mx.Conv2D(4, 2, 3)
    setattr(layer, what, mx.Parameter(np.ones((3, 4, 3, 3) if what == "weight" else (1,), np.float32)))
    with pytest.raises(ValueError, match=f"^Conv2D: its {what} has shape"):
        layer.forward(np.ones((2, 4, 5, 5), np.float32))


def test_a_layer_that_was_made_wider_by_hand_goes_on():
    layer, x = mx.Linear(4, 3), np.ones((2, 4), np.float32)
    layer.weight, layer.bias = (mx.Parameter(np.ones(shape, np.float32)) for shape in ((5, 4), (5,)))
    layer.out_features = 5
    np.testing.assert_array_equal(layer.forward(x), np.full((2, 5), 5, np.float32))


def test_a_subclass_with_a_forward_of_its_own_may_have_weights_of_other_shapes():
    class Depthwise(mx.Conv2D):
        def __init__(self, channels):
            super().__init__(channels, channels, 1)
            self.weight = mx.Parameter(np.full(channels, 2, np.float32))

        def forward(self, x):
            self.save(x=x)
            return x * self.weight.value[:, None, None]

    x = np.ones((2, 4, 3, 3), np.float32)
    np.testing.assert_array_equal(Depthwise(4).forward(x), 2 * x)


def small_exits():
    return mx.Exits({"a": mx.Scale(2.0), "b": mx.Scale(3.0)}, heads={"early": ("a", mx.Scale(10.0))})


STAYS = {
    "table": (lambda: mx.TableConv2D([[0, 1], [2, 3]], 3), [[0, 2], [1, 3]]),
    "nodes": (lambda: mx.Dense(mx.Scale(2.0)), {}),
    "reads of a Dense": (lambda: mx.Dense(mx.Scale(2.0), mx.Scale(3.0)), [(0,), (-1,)]),
    "sizes": (lambda: mx.Gate((2, 1)), (1, 2)),
    "reads of a Gate": (lambda: mx.Gate((2, 1)), (1, 0)),
    "paths": (lambda: mx.Branches({"a": mx.Identity()}), {"b": mx.Identity()}),
    "heads": (small_exits, {}),
    "reads of Exits": (small_exits, {"early": "b"}),
}


@pytest.mark.parametrize("what", STAYS)
def test_what_all_else_hangs_on_is_said_where_a_layer_is_made(what):
    make, other = STAYS[what]
    layer, name = make(), what.partition(" ")[0]
    before = getattr(layer, name)
    with pytest.raises(
        AttributeError, match=rf"^{type(layer).__name__}: {name} is said where it is made, and stays"
    ):
        setattr(layer, name, other)
    assert getattr(layer, name) is before


def test_how_sure_an_exit_must_be_is_checked_and_not_misspelt():
    exits = small_exits()
    exits.leave_at = np.float32(0.5)
    assert exits.leave_at == 0.5
    for wrong in (1.5, float("nan"), "0.5", True):
        with pytest.raises(ValueError, match=r"^Exits: leave_at is a probability, from 0 to 1, or None, not"):
            exits.leave_at = wrong
    with pytest.raises(AttributeError, match=r"^Exits has no leaveat \(did you mean leave_at\?\)"):
        exits.leaveat = 0.5
    with pytest.raises(AttributeError, match=r"no leaveat \(did you mean leave_at\?\)"):
        mx.models.googlenet(width=0.25).leaveat = 0.5


def small_model():
    return mx.Model(flatten=mx.Flatten(), fc=mx.Linear(16, 3))


@pytest.mark.parametrize("names", ["abc", b"abc", 3, {"cat": 0}])
def test_the_names_of_classes_are_no_text(names):
    model = small_model()
    with pytest.raises(
        TypeError, match=r"^Model: classes are the names of all classes, as \[\"cat\", \"dog\"\], not"
    ):
        model.classes = names


@pytest.mark.parametrize("names", [("a", "b", "c"), np.array(["a", "b", "c"]), ["a", "b", "c"]])
def test_the_names_of_classes_are_a_list(names):
    model = small_model()
    model.classes = names
    assert model.classes == ["a", "b", "c"]
    assert all(type(name) is str for name in model.classes)


@pytest.mark.parametrize("shape", [(1, 28), 28, (1, 0, 28), (1, 2.5, 3), "123"])
def test_the_shape_of_a_picture_is_three_sizes_whenever_it_is_set(shape):
    model = small_model()
    with pytest.raises(ValueError, match=r"^Model: picture_shape"):
        model.picture_shape = shape
    with pytest.raises(ValueError, match=r"^Model: picture_shape"):
        mx.Model(mx.Flatten(), picture_shape=shape)


def test_what_a_model_is_asked_for_is_not_misspelt():
    model = small_model()
    with pytest.raises(AttributeError, match=r"^Model has no clases \(did you mean classes\?\)"):
        model.clases = ["a", "b", "c"]
    with pytest.raises(TypeError, match=r"^Model: loss is a layer, SoftmaxCrossEntropy"):
        model.loss = "cross_entropy"


def test_a_loss_takes_labels_whenever_it_is_set():
    class Mine(mx.Layer):
        def take_labels(self, logits, labels):
            return labels

    model, mine = small_model(), Mine()
    message = (
        r"^Model: loss is a ReLU, which takes no labels: give SoftmaxCrossEntropy\(\), or one of your own"
    )
    with pytest.raises(TypeError, match=message):
        model.loss = mx.ReLU()
    with pytest.raises(TypeError, match=message):
        mx.Model(mx.Flatten(), loss=mx.ReLU())
    model.loss = mine
    assert model.loss is mx.Model(mx.Flatten(), loss=mine).loss is mine


def test_a_subclass_asks_for_what_its_parents_ask_and_more():
    class Both(mx.Exits, mx.Model):
        takes = {"depth": lambda value, name: value + 1}

    both = Both({"a": mx.Scale(2.0)}, heads={})
    both.depth = 1
    assert both.depth == 2
    with pytest.raises(ValueError, match="leave_at is a probability"):
        both.leave_at = 2
    with pytest.raises(TypeError, match="classes are the names"):
        both.classes = "abc"


@pytest.mark.parametrize(
    ("name", "wrong", "meant"),
    [("Conv2D", "paddding", "padding"), ("Conv2D", "strides", "stride"), ("Conv2D", "weights", "weight"),
     ("Conv2D", "bais", "bias"), ("MaxPool2D", "kernal_size", "kernel_size"), ("Dropout", "scalling", "scaling"),
     ("BatchNorm2D", "momentun", "momentum"), ("LocalResponseNorm", "alhpa", "alpha"), ("Tanh", "Scale", "scale"),
     ("Linear", "out_feature", "out_features")],
)  # fmt: skip
def test_a_misspelt_setting_is_refused(name, wrong, meant):
    layer = MADE[name]()
    with pytest.raises(AttributeError, match=rf"^{name} has no {wrong} \(did you mean {meant}\?\)"):
        setattr(layer, wrong, 1)


def test_notes_of_somebody_s_own_may_lie_in_a_layer():
    class Mine(mx.Conv2D):
        pass

    layer, mine = mx.Conv2D(4, 2, 3), Mine(4, 2, 3)
    layer.note, layer.history, layer._weights, mine.strides = "the first", [1], 2, 3
    assert (layer.note, layer.history, layer._weights, mine.strides) == ("the first", [1], 2, 3)


@pytest.mark.parametrize("bias", ["False", None, 2])
def test_whether_there_is_a_bias_is_yes_or_no(bias):
    with pytest.raises(ValueError, match=f"^Conv2D: bias must be True or False, not {bias!r}"):
        mx.Conv2D(4, 2, 3, bias=bias)


@pytest.mark.parametrize(
    ("name", "value"),
    [("decay", "no"), ("decay", None), ("lr_scale", "2"), ("lr_scale", float("nan")), ("lr_scale", None),
     ("lr_scale", float("inf")), ("lr_scale", np.ones(3))],
)  # fmt: skip
def test_of_a_parameter_decay_is_yes_or_no_and_lr_scale_a_number(name, value):
    p = mx.Linear(2, 2).weight
    with pytest.raises(ValueError, match=rf"^Parameter: {name} must be "):
        setattr(p, name, value)
    assert (p.decay, p.lr_scale) == (True, 1.0)
    p.lr_scale = -1  # a gradient that is turned round


@pytest.mark.parametrize("value", ["x", None, [1.0, 2.0], 5])
def test_the_value_of_a_parameter_stays_an_array(value):
    p = mx.Linear(2, 2).bias
    with pytest.raises(TypeError, match="bias: its value is an array, not"):
        p.value = value


@pytest.mark.parametrize(
    ("name", "hint"),
    [("lr", "lr_scale multiplies"), ("weight_decay", "its decay says"), ("frozen", "lr_scale is 0")],
)
def test_what_others_keep_in_a_parameter_is_told_where_it_is(name, hint):
    with pytest.raises(AttributeError, match=f"^a Parameter has no {name}: .*{hint}"):
        setattr(mx.Linear(2, 2).weight, name, 0)


@pytest.mark.parametrize("note", ["old_weight", "weight0", "weight_old", "best_bias", "padding_before"])
def test_a_note_may_have_a_settings_name_and_more(note):
    layer = mx.Conv2D(4, 2, 3)
    setattr(layer, note, layer.weight.value.copy())
    assert getattr(layer, note).shape == (2, 4, 3, 3)


def test_a_layer_may_call_something_shapes():
    class Noting(mx.Layer):
        def __init__(self):
            self.shapes = []

        def forward(self, x):
            self.shapes.append(x.shape)
            return x

        def backward(self, grad_y):
            return grad_y

    layer = Noting()
    layer.forward(np.ones((2, 3), np.float32))
    assert layer.shapes == [(2, 3)]


def test_a_subclass_may_be_made_without_the_settings():
    class Made(mx.Linear):
        def __init__(self):
            self.in_features = 4
            self.weight = mx.Parameter(np.ones((3, 4), np.float32))
            self.bias = mx.Parameter(np.zeros(3, np.float32))

    np.testing.assert_array_equal(Made().forward(np.ones((2, 4), np.float32)), np.full((2, 3), 4, np.float32))


def test_a_subclass_may_learn_what_is_a_setting():
    class Learned(mx.Tanh):
        def __init__(self):
            super().__init__()
            self.slope = mx.Parameter(np.array(2.0, np.float32))

        def forward(self, x):
            return self.xp.tanh(self.slope.value * x)

    np.testing.assert_allclose(Learned().forward(np.ones(3, np.float32)), np.tanh(2.0), rtol=1e-6)


def test_groups_that_do_not_divide_are_said_so_whenever_they_are_set():
    layer = mx.Conv2D(6, 4, 3)
    layer.groups = 4
    with pytest.raises(ValueError, match="4 groups must divide both 6 input and 4 output channels"):
        layer.forward(np.ones((1, 6, 5, 5), np.float32))


@pytest.mark.parametrize("mode", ["False", "eval", None, 2])
def test_the_mode_is_yes_or_no(mode):
    model = mx.Sequential(drop=mx.Dropout())
    for call in (lambda: model.train(mode), lambda: setattr(model, "training", mode)):
        with pytest.raises(ValueError, match=f"training must be True or False, not {mode!r}"):
            call()
    assert model.train(np.False_).training is False


@pytest.mark.parametrize("merge", ["Concat", "sum", None])
def test_how_paths_are_joined_is_checked_whenever_it_is_set(merge):
    block = mx.Branches({"a": mx.Identity(), "b": mx.Identity()})
    with pytest.raises(ValueError, match=r"^Branches: merge must be .*not " + repr(merge)):
        block.merge = merge
    assert block.forward(np.ones((1, 2), np.float32)).shape == (1, 4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: mx.MAPLoss("0.5"), "MAPLoss: j must be a finite number, not '0.5'"),
        (lambda: mx.MAPLoss(float("nan")), "MAPLoss: j must be a finite number, not nan"),
        (lambda: mx.ExitLoss("12"), "ExitLoss: weights has a number for each exit"),
        (lambda: mx.ExitLoss((-1.0, 1.0)), r"ExitLoss: weights\[0\] must be a number >= 0, not -1.0"),
        (lambda: mx.ExitLoss((1.0, float("nan"))), r"ExitLoss: weights\[1\] must be a number >= 0, not nan"),
        (lambda: mx.Dropout(seed="a"), "Dropout: seed must be a whole number >= 0, not 'a'"),
        (lambda: mx.Dropout(None), "Dropout: p must be at least 0 and less than 1, not None"),
        (lambda: mx.BatchNorm2D(2, eps=float("inf")), "BatchNorm2D: eps must be a number >= 0, not inf"),
        (lambda: mx.BatchNorm2D(2, momentum=None), "BatchNorm2D: momentum must be between 0 and 1, not None"),
        (lambda: mx.Scale(10**400), "Scale: factor must be a finite number, not 1000"),
    ],
)
def test_numbers_that_are_none_are_refused(make, said):
    with pytest.raises((ValueError, TypeError), match=f"^{said}"):
        make()
