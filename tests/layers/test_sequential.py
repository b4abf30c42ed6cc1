"""Sequential and Model: order, names, and what is skipped when nobody needs the picture's gradient."""

import copy
import pickle

import numpy as np
import pytest

import minialex as mx
from minialex.devices.device import to_numpy


class Times(mx.Layer):
    """y = factor * x, and a diary of its calls."""

    def __init__(self, factor, diary=None):
        self.factor, self.diary = factor, [] if diary is None else diary

    def forward(self, x):
        self.diary.append(f"forward {self.factor}")
        return self.factor * x

    def backward(self, grad_y):
        self.diary.append(f"backward {self.factor}")
        return self.factor * grad_y


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(actual, expected, rtol=1e-6):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=rtol, strict=True)


def small(kind=mx.Sequential):
    return kind(pool=mx.AvgPool2D(2), conv=mx.Conv2D(2, 3, 2), relu=mx.ReLU(), flatten=mx.Flatten(),
                fc=mx.Linear(12, 4))  # fmt: skip


def test_sequential_goes_there_in_order_and_back_in_reverse(device):
    diary = []
    model = mx.Sequential(Times(2, diary), Times(3, diary)).to(device)
    close(model.forward(device.asarray(np.array([1.0]))), np.array([6.0]))
    close(model.backward(device.asarray(np.array([10.0]))), np.array([60.0]))
    assert diary == ["forward 2", "forward 3", "backward 3", "backward 2"]


def test_sequential_is_its_layers_one_after_the_other(device):
    model, twin, x = small().to(device), small().to(device), device.asarray(normal((2, 2, 6, 6)))
    y = twin_y = x
    y = model.forward(y)
    for layer in twin:
        twin_y = layer.forward(twin_y)
    close(y, to_numpy(twin_y))
    grad_x = twin_grad = device.asarray(normal((2, 4), 1))
    grad_x = model.backward(grad_x)
    for layer in reversed(list(twin)):
        twin_grad = layer.backward(twin_grad)
    close(grad_x, to_numpy(twin_grad))
    for p, twin_p in zip(model.parameters(), twin.parameters(), strict=True):
        close(p.grad, to_numpy(twin_p.grad))


def test_sequential_gradients(device):
    model = mx.Sequential(mx.Conv2D(1, 2, 2), mx.Tanh(), mx.Flatten(), mx.Linear(8, 3)).to(device)
    assert mx.gradcheck(model, normal((2, 1, 3, 3)))


def test_sequential_names_reach_parameters_and_layers():
    model = mx.Sequential(stem=mx.Sequential(conv=mx.Conv2D(1, 1, 1)), fc=mx.Linear(1, 1))
    assert [p.name for p in model.parameters()] == [
        "stem.conv.weight",
        "stem.conv.bias",
        "fc.weight",
        "fc.bias",
    ]
    assert model["stem"]["conv"].name == "stem.conv"
    assert f"{model['fc']}" == "fc (Linear)"


def test_sequential_without_names_numbers_its_layers():
    assert [p.name for p in mx.Sequential(mx.ReLU(), mx.Linear(1, 1)).parameters()] == ["1.weight", "1.bias"]


def test_sequential_gives_its_layers_by_name_number_and_in_a_loop():
    relu, tanh = mx.ReLU(), mx.Tanh()
    model = mx.Sequential(a=relu, b=tanh)
    assert model["b"] is tanh
    assert model[0] is relu
    assert model[-1] is tanh
    assert list(model) == [relu, tanh]
    assert len(model) == 2


def test_sequential_without_input_grad_skips_what_lies_before_the_first_parameter(device):
    diary = []
    model = mx.Sequential(Times(2, diary), mx.Linear(3, 2), Times(5, diary)).to(device)
    y = model.forward(device.asarray(normal((1, 3))))
    assert model.backward(y, input_grad=False) is None
    assert diary == ["forward 2", "forward 5", "backward 5"]


def test_sequential_without_input_grad_does_not_ask_its_first_parameters_for_it(device):
    asked = []

    class Asked(mx.Linear):
        def backward(self, grad_y, input_grad=True):
            asked.append(input_grad)
            return super().backward(grad_y, input_grad)

    model = mx.Sequential(mx.Flatten(), Asked(3, 2), Asked(2, 2)).to(device)
    for input_grad in (False, True):
        model.backward(model.forward(device.asarray(normal((1, 3)))), input_grad=input_grad)
    assert asked == [True, False, True, True]  # the last layer first


def test_sequential_without_input_grad_gives_the_same_parameter_gradients(device):
    model, x, gradients = small().to(device), device.asarray(normal((2, 2, 6, 6))), []
    for input_grad in (True, False):
        model.backward(model.forward(x), input_grad=input_grad)
        gradients.append([to_numpy(p.grad) for p in model.parameters()])
    for with_it, without_it in zip(*gradients, strict=True):
        np.testing.assert_array_equal(with_it, without_it)


def test_sequential_without_parameters_and_input_grad_returns_none(device):
    model = mx.Sequential(mx.ReLU()).to(device)
    y = model.forward(device.asarray(normal((1, 3))))
    assert model.backward(y, input_grad=False) is None


def test_model_skips_the_gradient_of_its_picture_unless_asked(device):
    model, x = small(mx.Model).to(device), device.asarray(normal((2, 2, 6, 6)))
    assert model.backward(model.forward(x)) is None
    assert model.backward(model.forward(x), input_grad=True).shape == x.shape


def test_model_takes_its_gradient_by_name(device):
    model = small(mx.Model).to(device)
    y = model.forward(x=device.asarray(normal((2, 2, 6, 6))))
    assert model.backward(grad_logits=y, input_grad=True).shape == (2, 2, 6, 6)


def test_sequential_passes_mode_device_and_dtype_on_to_its_layers():
    dropout, linear = mx.Dropout(), mx.Linear(2, 2)
    model = mx.Sequential(mx.Sequential(dropout), linear)
    assert model.eval() is model
    assert not dropout.training
    assert model.train() is model
    assert dropout.training
    assert model.to("sim:1") is model
    assert dropout.device is mx.Device("sim:1")
    assert mx.device_of(linear.weight.value) is mx.Device("sim:1")
    assert model.astype("float64") is model
    assert linear.weight.value.dtype == np.float64
    assert model.dtype == np.float64


def test_sequential_starts_on_the_device_of_its_layers():
    model = mx.Sequential(mx.Linear(2, 2).to("sim:1"))
    model.forward(model.device.asarray(normal((1, 2))))
    assert model.device is mx.Device("sim:1")


def test_sequential_keeps_the_counters_of_its_dropouts():
    model = mx.Sequential(a=mx.Dropout(), b=mx.Sequential(c=mx.Dropout(), d=mx.ReLU()))
    model.forward(normal((1, 3)))
    assert model.counters() == {"a.step": 1, "b.c.step": 1}
    model.set_counters({"a.step": 5, "b.c.step": 7})
    assert model.counters() == {"a.step": 5, "b.c.step": 7}


def test_dropouts_of_one_sequential_have_masks_of_their_own():
    model = mx.Sequential(mx.Dropout(), mx.Dropout())
    assert (model[0].draw_mask((99,)) != model[1].draw_mask((99,))).any()


def test_sequential_copied_shares_nothing(device):
    model = small().to(device)
    twin = copy.deepcopy(model)
    for p in twin.parameters():
        with device:
            p.value += 1
    for p, twin_p in zip(model.parameters(), twin.parameters(), strict=True):
        assert (to_numpy(p.value) != to_numpy(twin_p.value)).all()
    assert twin.device is model.device


def test_sequential_backward_needs_a_forward_each_time(device):
    model, x = small().to(device), device.asarray(normal((2, 2, 6, 6)))
    grad_y = device.asarray(normal((2, 4)))
    with pytest.raises(mx.BackwardBeforeForward, match="Sequential: backward needs a forward before it"):
        model.backward(grad_y)
    model.forward(x)
    model.backward(grad_y)
    with pytest.raises(mx.BackwardBeforeForward, match="Sequential: backward needs a forward before it"):
        model.backward(grad_y)


def test_sequential_says_which_layer_refuses_the_input(device):
    with pytest.raises(ValueError, match=r"conv \(Conv2D\) has 2 input channels, the input 5"):
        small().to(device).forward(device.asarray(normal((2, 5, 6, 6))))


def test_sequential_says_which_layer_refuses_the_gradient(device):
    model = small().to(device)
    model.forward(device.asarray(normal((2, 2, 6, 6))))
    with pytest.raises(
        ValueError, match=r"fc \(Linear\): forward gave shape \(2, 4\), the gradient has shape \(2, 3\)"
    ):
        model.backward(device.asarray(normal((2, 3))))


def test_sequential_needs_a_layer():
    with pytest.raises(ValueError, match="Sequential needs at least one layer"):
        mx.Sequential()


def test_sequential_takes_layers_with_names_or_without():
    with pytest.raises(ValueError, match="layers with names or layers without, not both"):
        mx.Sequential(mx.ReLU(), relu=mx.ReLU())


def test_sequential_refuses_what_is_no_layer():
    with pytest.raises(TypeError, match="Sequential: 1 is a function, not a layer"):
        mx.Sequential(mx.ReLU(), lambda x: x)


@pytest.mark.parametrize("second", [lambda a: a, mx.Sequential, lambda a: mx.Sequential(mx.Sequential(a))])
def test_sequential_refuses_a_layer_that_stands_in_it_twice(second):
    layer = mx.ReLU()
    with pytest.raises(ValueError, match="the same layer stands in it twice; make two"):
        mx.Sequential(layer, second(layer))


def test_a_model_names_the_pictures_that_it_takes():
    with pytest.raises(
        ValueError, match=r"^LeNet5 takes pictures of 28x28, the input has shape \(2, 1, 32, 32\)$"
    ):
        mx.models.lenet5().forward(np.zeros((2, 1, 32, 32), np.float32))
    alexnet = mx.models.alexnet(3, "cpu", width=0.0625, image_size=67)
    with pytest.raises(
        ValueError, match=r"^AlexNet takes pictures of 67x67, the input has shape \(2, 3, 64, 64\)$"
    ):
        alexnet.forward(np.zeros((2, 3, 64, 64), np.float32))


def test_a_layer_that_is_called_says_what_to_call():
    with pytest.raises(TypeError, match=r"^ReLU: a layer is not called, use layer\.forward\(x\)"):
        mx.ReLU()(np.zeros(3))


# ---- another layer in the place of one ----------------------------------------------------------------


def three():
    return mx.Sequential(fc1=mx.Linear(2, 3), relu=mx.ReLU(), fc2=mx.Linear(3, 2))


@pytest.mark.parametrize("way", ["name", "attribute", "place"])
def test_a_layer_is_replaced_and_gets_its_name(way):
    model, new = three(), mx.Linear(3, 5)
    if way == "attribute":
        model.fc2 = new
    else:
        model["fc2" if way == "name" else 2] = new
    assert model["fc2"] is model.fc2 is model[2] is new
    assert [name for name, _ in model.named_parameters()] == [
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    ]
    assert [p.name for p in model.parameters()] == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert model.forward(np.zeros((1, 2), np.float32)).shape == (1, 5)
    assert model.backward(np.zeros((1, 5), np.float32)).shape == (1, 2)


@pytest.mark.parametrize(
    ("key", "made", "error"),
    [("fc2", lambda model: model.fc1, ValueError), ("fc2", lambda model: 3, TypeError), ("fc9", mx.Linear, KeyError),
     (9, mx.ReLU, IndexError), ("fc2", lambda model: mx.Linear, TypeError),
     ("relu", lambda model: mx.Sequential(model.fc1), ValueError), ("relu", lambda model: model.fc1, ValueError)],
)  # fmt: skip
def test_what_cannot_be_put_there_leaves_all_as_it_was(key, made, error):
    model = three()
    before = list(model)
    with pytest.raises(error):
        model[key] = (
            made(model) if isinstance(made, type(lambda: 0)) else made(3, 2) if made is mx.Linear else made()
        )
    assert [one is other for one, other in zip(model, before, strict=True)] == [True] * 3
    assert model.forward(np.zeros((1, 2), np.float32)).shape == (1, 2)


def test_a_layer_without_parameters_cannot_come_in_twice_either():
    model = mx.Sequential(relu=mx.ReLU(), fc=mx.Linear(2, 2))
    with pytest.raises(ValueError, match="the same layer stands in it twice"):
        model.fc = mx.Sequential(mx.Linear(2, 2), model.relu)
    assert type(model.fc) is mx.Linear


def test_backward_after_a_layer_was_replaced_asks_for_a_forward():
    model = three()
    model.forward(np.zeros((1, 2), np.float32))
    model.relu = mx.Tanh()
    with pytest.raises(mx.BackwardBeforeForward):
        model.backward(np.zeros((1, 2), np.float32))


def test_an_optimizer_of_before_does_not_train_on_without_the_new_layer():
    model, grad = three(), np.ones((1, 2), np.float32)
    optimizer = mx.SGD(model.parameters(), lr=0.1)
    model.forward(grad)
    model.backward(grad)
    model.fc2 = mx.Linear(3, 2)
    model.forward(grad)
    model.backward(grad)
    with pytest.raises(ValueError, match=r"fc2\.weight has no gradient: .* make the optimizer anew"):
        optimizer.step()


@pytest.mark.parametrize(
    "name",
    ["saved", "name", "training", "device", "_output", "_named", "_owned", "forward", "children", "layers"],
)
def test_a_layer_may_be_called_as_the_framework_calls_its_own(name):
    inner = mx.Sequential(**{name: mx.Linear(2, 2)})
    model = mx.Sequential(block=inner, act=mx.ReLU())
    x = np.ones((1, 2), np.float32)
    assert model.backward(model.forward(x)).shape == (1, 2)
    assert [p for p, _ in model.named_parameters()] == [f"block.{name}.weight", f"block.{name}.bias"]
    inner[name] = mx.Linear(2, 2)
    assert model.train().to("cpu").astype("float64").forward(x.astype("float64")).shape == (1, 2)


@pytest.mark.parametrize(
    "name", ["loss", "prepare", "architecture", "picture_shape", "classes", "heads", "input"]
)
def test_what_a_network_is_asked_for_is_never_a_layer_inside_of_that_name(name, tmp_path):
    model = mx.Sequential(**{name: mx.Linear(2, 2)})
    assert not hasattr(model, name)
    assert mx.summary(model, (2,)).rows
    mx.save(model, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="has no loss of its own"):
        mx.train.fit(model, np.ones((2, 2), np.float32), [0, 1], lr=0.1, epochs=1)
    model[name] = mx.Linear(2, 3)
    assert model.forward(np.ones((1, 2), np.float32)).shape == (1, 3)


def test_a_network_cannot_stand_in_itself_and_is_as_before():
    model = three()
    for made in (model, mx.Sequential(model)):
        with pytest.raises(ValueError, match="it cannot stand in itself"):
            model.fc1 = made
    assert len(model.parameters()) == 4


def test_a_class_that_keeps_its_layers_as_attributes_too_has_the_new_one_in_both():
    class Own(mx.Sequential):
        def __init__(self):
            self.fc, self.act = mx.Linear(2, 3), mx.ReLU()
            super().__init__(fc=self.fc, act=self.act)

    model, new = Own(), mx.Linear(2, 4)
    model.fc = new
    assert model.fc is model["fc"] is new


def test_gradients_of_what_stays_in_the_network_stay():
    model, x = three(), np.ones((1, 2), np.float32)
    model.forward(x)
    model.backward(x)
    model.fc1 = model.fc1
    model.fc2 = mx.Sequential(drop=mx.Dropout(0.5), fc=model.fc2)
    assert all(p.grad is not None for p in model.parameters())


def test_a_slice_is_no_place():
    with pytest.raises(TypeError, match="a layer's place is a whole number, not slice"):
        three()[0:2] = mx.ReLU()


def test_a_head_is_an_attribute_as_well():
    model = mx.Exits({"a": mx.Linear(4, 5), "b": mx.Linear(5, 3)}, heads={"h": ("a", mx.Linear(5, 3))})
    assert model.h is model["h"]


def test_a_layer_is_found_by_the_name_that_messages_say():
    model = mx.Sequential(a=mx.Sequential(b=mx.Sequential(c=mx.ReLU())), d=mx.Tanh())
    assert model["a.b.c"] is model.a.b.c is model["a"]["b"]["c"]
    assert f"{model['a.b.c']}" == "a.b.c (ReLU)"
    with pytest.raises(KeyError, match=r"a\.b \(Sequential\) has no layer 'x'; it has c"):
        model["a.b.x"]


def test_an_attribute_that_a_property_lacks_is_told_as_it_is():
    class Own(mx.Sequential):
        @property
        def broken(self):
            return self.layers["fc1"].no_such_thing

    with pytest.raises(AttributeError, match="no_such_thing"):
        Own(fc1=mx.ReLU()).broken  # noqa: B018
    with pytest.raises(AttributeError, match="'Own' object has no attribute 'fc9'"):
        Own(fc1=mx.ReLU()).fc9  # noqa: B018


def test_copies_and_pickles_have_their_layers_as_attributes():
    for made in (copy.deepcopy(three()), pickle.loads(pickle.dumps(three()))):
        assert made.fc1 is made["fc1"]
