"""Names are decided once: a second container over the same layers changes nothing of the first model."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import minialex as mx
from minialex import plot
from minialex.data import ArrayBatches
from minialex.devices.device import to_numpy
from minialex.layers.sequential import all_layers
from minialex.study.neighbours import features
from minialex.study.timeline import measure_step
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.weights import export_grouped, import_grouped

MAKERS = {
    "lenet": lambda: mx.models.lenet5(dropout=0.5),
    "alexnet": lambda: mx.models.alexnet(4, "cpu", width=0.0625, image_size=67, init="he"),
    "alexnet on two": lambda: mx.models.alexnet(4, "sim:0,sim:1", width=0.0625, image_size=67, init="he"),
}
networks = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def sliced(model):
    return mx.Sequential(*list(model)[:-1])


def named_otherwise(model):
    return mx.Sequential(**{f"other{i}": layer for i, layer in enumerate(list(model)[1:])})


def in_two_pieces(model):
    layers = list(model)
    return mx.Sequential(first=mx.Sequential(*layers[:4]), rest=mx.Sequential(*layers[4:-1]))


def whole(model):
    return mx.Sequential(net=model, more=mx.ReLU())


def third(model):
    return mx.Sequential(*list(sliced(model))[1:])


def all_by_one(model):
    return mx.Sequential(*(mx.Sequential(layer) for layer in model))


seconds = pytest.mark.parametrize(
    "second", [sliced, named_otherwise, in_two_pieces, whole, third, all_by_one, lambda m: whole(sliced(m))]
)


def batch(model, count=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *model.picture_shape), dtype=np.float32), np.arange(count) % 3


def optimizer_of(model):
    return mx.SGD(model.parameters(), lr=0.01, weight_decay=0.01)


def train(model, optimizer, steps=2):
    x, labels = batch(model)
    for _ in range(steps):
        logits = model.forward(model.device.asarray(x))
        model.loss.forward(logits, labels)
        model.backward(model.loss.backward())
        optimizer.step()


def state(model):
    """Everything by name that a second container might change."""
    return {
        "names": [p.name for p in model.parameters()],
        "layers": [layer.in_a_word() for layer in all_layers(model)[1:]],
        "counters": model.counters(),
        "weights": {name: array.tobytes() for name, array in export_grouped(model).items()},
    }


@networks
@seconds
def test_a_second_container_changes_no_name_mask_or_weight(make, second):
    ends = []
    for at in ("never", "before the first forward", "between two steps"):
        model, kept = make(), []
        optimizer = optimizer_of(model)
        if at == "before the first forward":
            kept.append(second(model))
        train(model, optimizer, 1)
        if at == "between two steps":
            kept.append(second(model))
        train(model, optimizer)  # another mask would end in other weights
        ends.append(state(model))
    assert ends[1] == ends[0]
    assert ends[2] == ends[0]


@networks
def test_both_models_export_and_import_under_their_own_names(make):
    model = make()
    second = sliced(model)
    mine, others = export_grouped(model), export_grouped(second)
    assert set(others) == {
        f"{number}.{name.rpartition('.')[2]}"
        for number, layer in enumerate(list(model)[:-1])
        for name, _ in layer.named_parameters()
    }
    import_grouped(second, {name: array + 1 for name, array in others.items()})
    last = list(model.layers)[-1]
    for name, array in export_grouped(model).items():
        np.testing.assert_array_equal(array, mine[name] + (not name.startswith(last)))
    import_grouped(model, mine)
    for name, array in export_grouped(second).items():
        np.testing.assert_array_equal(array, others[name])
    assert set(export_grouped(model)) == set(export_grouped(make()))


@networks
@seconds
def test_a_checkpoint_of_each_goes_into_another_like_it(make, second, tmp_path):
    model = make()
    optimizer, other = optimizer_of(model), second(model)
    train(model, optimizer)
    paths = tmp_path / "model.safetensors", tmp_path / "second.safetensors"
    save_checkpoint(paths[0], model, optimizer, {})
    save_checkpoint(paths[1], other, mx.SGD(other.parameters(), lr=0.01), {})
    train(model, optimizer)
    wanted = state(model)

    fresh = make()
    fresh_optimizer = optimizer_of(fresh)
    again = second(fresh)  # it stands there before the resume
    load_checkpoint(paths[0]).restore(fresh, fresh_optimizer)
    train(fresh, fresh_optimizer)
    assert state(fresh) == wanted
    load_checkpoint(paths[1]).restore(again, mx.SGD(again.parameters(), lr=0.01))


@networks
def test_tools_run_on_a_second_container_and_leave_the_first_model_alone(make):
    model = make()
    train(model, optimizer_of(model), 1)
    before, second = state(model), sliced(model)
    x, labels = batch(model)
    table = mx.summary(second, model.picture_shape)
    assert [row.name for row in table.rows] == [str(i) for i in range(len(second))]
    found = mx.trace(second.eval(), x[:1])
    assert any(name.startswith("0.") for name in found)
    assert not any(name.startswith(("c1.", "conv1")) for name in found)
    second.train()
    last = list(second.layers)[-1]
    assert len(features(second, ArrayBatches(x, labels, 2), layer=last)) == len(x)
    plot.feature_maps(second, model.device.asarray(x[:1]))
    assert state(model) == before
    measure_step(model, x, labels)
    assert [p.name for p in model.parameters()] == before["names"]


def test_gradcheck_names_arrays_as_the_container_that_it_is_given():
    model = mx.Sequential(fc=mx.Linear(3, 2), act=mx.Tanh(), drop=mx.Dropout(), out=mx.Linear(2, 2))
    report = mx.gradcheck(sliced(model), np.ones((2, 3)))
    assert report
    assert list(report.shapes) == ["x", "0.weight", "0.bias"]


def test_messages_use_the_name_of_the_first_container():
    model = mx.Sequential(fc=mx.Linear(3, 2))
    second = mx.Sequential(mx.ReLU(), model["fc"])
    with pytest.raises(ValueError, match=r"^fc \(Linear\) has 3 input features"):
        second.forward(np.ones((1, 4), np.float32))
    assert list(export_grouped(second)) == ["1.weight", "1.bias"]


@pytest.mark.parametrize("devices", ["sim:0", "sim:0,sim:1", "cpu"])
@pytest.mark.parametrize("second", [sliced, in_two_pieces, whole, all_by_one])
def test_a_second_container_moves_its_layers_and_the_first_model_follows(second, devices):
    model = MAKERS["alexnet"]()
    other = second(model)
    other.to(devices)
    x = batch(model, 1)[0]
    y = to_numpy(other.forward(other.device.asarray(x))) if second is not in_two_pieces else None
    assert model.device is other.device is mx.place(devices)[0]
    assert y is None or np.isfinite(y).all()


def test_a_container_lives_where_its_layers_have_gone():
    model = mx.models.lenet5()
    second = sliced(model)
    assert second.device is mx.Device("cpu")
    model.to("sim:1")
    assert second.device is mx.Device("sim:1")
    assert mx.summary(second, (1, 28, 28)).parameters


def test_a_container_is_in_the_mode_of_its_layers():
    """Testing puts the mode back: it must know which it was."""
    model = mx.models.lenet5(dropout=0.5).eval()
    second = mx.Model(**dict(list(model.layers.items())[:-1]))
    second.picture_shape = model.picture_shape
    assert not second.training
    x, labels = batch(model)
    mx.train.predict(second, ArrayBatches(x, labels, 2))
    assert not any(layer.training for layer in model)
    second.train()
    assert model.training


@networks
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("second", [lambda model: model, whole, in_two_pieces])
def test_copies_have_the_names_and_masks_of_what_they_are_copies_of(make, copied, second):
    model = make()
    container = second(model)
    twin = copied(container)
    assert [p.name for p in twin.parameters()] == [p.name for p in container.parameters()]
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in container.named_parameters()]
    before = state(model)
    outer = mx.Sequential(a=container, b=twin)
    assert len(export_grouped(outer)) == 2 * len(export_grouped(container))
    assert state(model) == before


WRITE = """
import pickle, sys
import minialex as mx
layers = [mx.Sequential(fc=mx.Linear(1, 1)) for _ in range(3)]
sys.stdout.buffer.write(pickle.dumps(mx.Sequential(*layers)))
"""
READ = """
import pickle, sys
import minialex as mx
model = pickle.loads(sys.stdin.buffer.read())
names = [p.name for p in model.parameters()]
for _ in range(9):
    mx.Sequential(a=mx.Sequential(more=mx.Sequential(mx.ReLU()), **dict(list(model.layers.items())[:2])))
assert [p.name for p in model.parameters()] == names, [p.name for p in model.parameters()]
"""


def test_a_pickle_read_in_another_process_keeps_its_names():
    """Containers made there must not be taken for those that gave the names here."""
    pickled = subprocess.run([sys.executable, "-c", WRITE], capture_output=True, check=True).stdout
    subprocess.run([sys.executable, "-c", READ], input=pickled, check=True)


# ---- blocks: layers with layers inside that are no containers of ours -----------------------------------


class Residual(mx.Layer):
    """y = x + second(drop(first(x)))"""

    def __init__(self, features=3):
        self.first, self.drop, self.second = (
            mx.Linear(features, features),
            mx.Dropout(),
            mx.Linear(features, features),
        )

    def children(self):
        return {"first": self.first, "drop": self.drop, "second": self.second}

    def forward(self, x):
        return x + self.second.forward(self.drop.forward(self.first.forward(x)))

    def backward(self, grad_y):
        return grad_y + self.first.backward(self.drop.backward(self.second.backward(grad_y)))


BLOCK = ["first.weight", "first.bias", "second.weight", "second.bias"]


def test_a_block_gives_its_layers_the_names_of_its_children():
    model = mx.Sequential(body=mx.Sequential(one=Residual(), two=Residual()), out=mx.Linear(3, 2))
    wanted = [f"body.{block}.{name}" for block in ("one", "two") for name in BLOCK] + [
        "out.weight",
        "out.bias",
    ]
    assert [p.name for p in model.parameters()] == wanted
    assert [name for name, _ in model.named_parameters()] == wanted
    assert set(model.counters()) == {"body.one.drop.step", "body.two.drop.step"}
    second = mx.Sequential(model["body"]["two"], mx.Sequential(x=model["body"]["one"].first))
    assert [p.name for p in model.parameters()] == wanted
    assert [name for name, _ in second.named_parameters()] == [
        *(f"0.{n}" for n in BLOCK),
        "1.x.weight",
        "1.x.bias",
    ]
    assert mx.gradcheck(mx.Sequential(model["body"]["one"]), np.ones((2, 3)))


def test_a_block_whose_layer_another_container_has_named_leaves_it_that_name():
    block = Residual()
    head = mx.Sequential(block.second)
    model = mx.Sequential(block=block)
    assert [p.name for p in head.parameters()] == ["0.weight", "0.bias"]
    assert [name for name, _ in model.named_parameters()] == [f"block.{name}" for name in BLOCK]


class Unnumbered(Residual):
    """What is inside has names of its own, to which a key would add nothing."""

    names_children = False

    def children(self):
        return {"0": mx.Sequential(first=self.first), "1": mx.Sequential(second=self.second)}


def test_a_block_that_adds_no_segment_adds_none_to_weight_files():
    block = Unnumbered()
    model = mx.Sequential(block=block)
    assert [name for name, _ in model.named_parameters()] == [f"block.{name}" for name in BLOCK]


def test_a_layer_put_in_later_is_named_by_the_container_that_comes_next():
    inner = mx.Sequential(fc=mx.Linear(2, 2))
    inner.layers["fc"] = mx.Linear(2, 3)
    outer = mx.Sequential(a=inner)
    assert [p.name for p in outer.parameters()] == ["a.fc.weight", "a.fc.bias"]


# ---- dropout's masks ------------------------------------------------------------------------------------


def drawn(layer):
    return layer.draw_mask((2, 50)).tobytes()


def test_dropouts_that_were_tried_alone_draw_masks_of_their_own_in_a_network():
    one, two = mx.Dropout(), mx.Dropout()
    assert drawn(one) == drawn(two)  # neither has a name yet
    mx.Sequential(one, two)
    assert drawn(one) != drawn(two)


def test_a_dropout_that_has_drawn_keeps_its_masks_in_a_network_around_it():
    ends = []
    for wrapped in (False, True):
        model = mx.Sequential(drop=mx.Dropout())
        drawn(model["drop"])
        if wrapped:
            mx.Sequential(a=mx.Sequential(b=model))
        ends.append(drawn(model["drop"]))
    assert ends[0] == ends[1]


def test_a_dropout_whose_steps_were_put_back_keeps_its_masks_in_a_network_around_it():
    ends = []
    for wrapped in (False, True):
        model = mx.Sequential(drop=mx.Dropout())
        model.set_counters({"drop.step": 7})
        if wrapped:
            mx.Sequential(a=model)
        ends.append(drawn(model["drop"]))
    assert ends[0] == ends[1]


# ---- two of one name, and one of two names --------------------------------------------------------------


def test_two_layers_of_one_name_are_refused():
    for layers in ([mx.Linear(2, 2), mx.Linear(2, 2)], [mx.Dropout(), mx.Dropout()], [mx.ReLU(), mx.ReLU()]):
        with pytest.raises(ValueError, match=r"^Sequential: two layers in it would be called 'a\.b'$"):
            mx.Sequential(**{"a": mx.Sequential(b=layers[0]), "a.b": layers[1]})


class Listed(mx.Layer):
    """Lists its parameters in a way of its own."""

    def __init__(self, *names):
        self.factors = [mx.Parameter(np.ones(2, np.float32)) for _ in names]
        for factor, name in zip(self.factors, names, strict=True):
            factor.name = name

    def parameters(self):
        return self.factors

    def forward(self, x):
        self.save(x=x)
        return x * self.factors[0].value * self.factors[1].value

    def backward(self, grad_y):
        (one, two), x = self.factors, self.saved.x
        one.grad = (grad_y * x * two.value).sum(axis=0)
        two.grad = (grad_y * x * one.value).sum(axis=0)
        return grad_y * one.value * two.value


def test_parameters_that_a_layer_lists_have_their_own_names():
    model = mx.Sequential(a=Listed("one", "two"), b=Listed("one", "two"))
    assert list(export_grouped(model)) == ["a.one", "a.two", "b.one", "b.two"]
    assert mx.gradcheck(model, np.ones((2, 2)))


@pytest.mark.parametrize("name", ["", "same"])
def test_two_parameters_of_one_name_are_refused(name):
    with pytest.raises(
        ValueError, match=f"^Sequential: 2 parameters are called 'a.{name}'; they need names of their"
    ):
        mx.Sequential(a=Listed(name, name))
    with pytest.raises(ValueError, match=f"^export: 2 parameters are called '{name}'"):
        export_grouped(Listed(name, name))
    with pytest.raises(ValueError, match=f"^import: 2 parameters are called '{name}'"):
        import_grouped(Listed(name, name), {name: np.ones(2)})


def test_a_parameter_that_two_layers_share_is_refused_by_both_names():
    one, two = mx.Linear(2, 2), mx.Linear(2, 2)
    two.weight = one.weight
    with pytest.raises(
        ValueError, match=r"^Sequential: a\.weight and b\.weight are one and the same parameter"
    ):
        mx.Sequential(a=one, b=two)
    assert [p.name for p in (*one.parameters(), *two.parameters())] == ["weight", "bias", "weight", "bias"]


def test_a_parameter_that_two_models_share_keeps_the_first_ones_name():
    encoder = mx.Sequential(fc=mx.Linear(2, 2))
    layer = mx.Linear(2, 2)
    layer.weight = encoder["fc"].weight
    decoder = mx.Sequential(out=layer)
    assert [p.name for p in encoder.parameters()] == ["fc.weight", "fc.bias"]
    assert [name for name, _ in decoder.named_parameters()] == ["out.weight", "out.bias"]


class Tied(Residual):
    """The same matrix twice, whose gradients it adds."""

    def __init__(self):
        super().__init__()
        self.second.weight = self.first.weight

    def parameters(self):
        return list(dict.fromkeys(super().parameters()))

    def backward(self, grad_y):
        grad_h = self.second.backward(grad_y)
        grad = self.first.weight.grad
        grad_x = grad_y + self.first.backward(self.drop.backward(grad_h))
        self.first.weight.grad = self.first.weight.grad + grad
        return grad_x


def test_a_block_may_share_a_parameter_and_add_its_gradients():
    model = mx.Sequential(tied=Tied())
    assert list(export_grouped(model)) == ["tied.first.weight", "tied.first.bias", "tied.second.bias"]
    assert mx.gradcheck(model, np.random.default_rng(0).normal(size=(2, 3)))


def test_towers_of_two_layers_that_were_no_whole_have_names_of_their_own():
    towers = mx.Towers(mx.Linear(3, 1, rng=1), mx.Linear(3, 2, rng=2))
    model = mx.Sequential(a=mx.Broadcast(), b=towers, c=mx.Gather())
    arrays = export_grouped(model)
    assert {name: array.shape for name, array in arrays.items()} == {
        "b.0.weight": (1, 3), "b.1.weight": (2, 3), "b.0.bias": (1,), "b.1.bias": (2,)
    }  # fmt: skip
    import_grouped(model, {name: array + 1 for name, array in arrays.items()})
    for name, array in export_grouped(model).items():
        np.testing.assert_array_equal(array, arrays[name] + 1)
    assert mx.gradcheck(model, np.ones((2, 3)))


def test_one_towers_part_alone_is_not_exported_as_if_it_were_the_whole():
    stage = mx.Towers.split(mx.Linear(3, 4)).stages[1]
    with pytest.raises(
        ValueError, match=r"^weight: one tower's part alone is here, the other's 6 numbers are missing$"
    ):
        export_grouped(stage)


def test_a_forward_of_another_model_over_the_same_layers_is_noticed_by_backward():
    first = mx.Sequential(fc=mx.Linear(3, 3), relu=mx.ReLU())
    second = mx.Sequential(*first)
    x = np.ones((2, 3), np.float32)
    y = first.forward(x)
    second.forward(2 * x)
    with pytest.raises(mx.BackwardBeforeForward, match=r"fc \(Linear\) was used, moved or cast since"):
        first.backward(y)
    assert second.backward(y).shape == x.shape


# ---- what a layer holds ----


class Block(mx.Layer):
    """Layers as attributes, in a list and in a dict, as people write them; no `children` of its own."""

    def __init__(self):
        self._first = mx.Linear(3, 3)
        self.blocks = [mx.Linear(3, 3), mx.Tanh()]
        self.by_name = {"last": mx.Linear(3, 3)}

    def forward(self, x):
        for layer in self.order():
            x = layer.forward(x)
        return x

    def backward(self, grad_y):
        for layer in reversed(self.order()):
            grad_y = layer.backward(grad_y)
        return grad_y

    def order(self):
        return [self._first, *self.blocks, self.by_name["last"]]


def test_layers_that_are_attributes_are_trained_cast_and_saved():
    model = mx.Sequential(body=Block(), relu=mx.ReLU())
    names = [
        f"body.{layer}.{p}" for layer in ("_first", "blocks.0", "by_name.last") for p in ("weight", "bias")
    ]
    assert [name for name, _ in model.named_parameters()] == names
    assert [p.name for p in model.parameters()] == names
    assert list(export_grouped(model)) == names
    assert mx.gradcheck(model, np.random.default_rng(0).standard_normal((2, 3)))
    assert {layer.dtype for layer in model.astype("float64")["body"].order()} == {np.dtype("float64"), None}
    model.eval()
    assert not any(layer.training for layer in model["body"].order())


def test_a_layer_that_knows_the_one_around_it_is_no_circle():
    block = Block()
    block._first.around = block
    assert block._first.children() == {}
    assert len(block.parameters()) == 6


@pytest.mark.parametrize("hold", [list, tuple, lambda parameters: dict(enumerate(parameters))])
def test_parameters_in_a_list_which_nobody_would_train_are_refused(hold):
    class Holds(Block):
        def __init__(self):
            self.weights = hold([mx.Parameter(np.ones(3))])

    with pytest.raises(
        TypeError, match=r"weights is a \w+ of Parameters, which nobody would train: keep each as"
    ):
        Holds()


def test_a_name_that_an_archive_would_cut_off_is_refused():
    with pytest.raises(ValueError, match=r"called 'a\\x00b': no file can hold a name with a NUL"):
        mx.Sequential(**{"a\0b": mx.ReLU()})


def test_a_childs_name_that_is_no_text_is_refused():
    class Counted(Block):
        def children(self):
            return dict(enumerate(self.order()))

    with pytest.raises(TypeError, match=r"a layer inside it is called 0, an int: use a text"):
        mx.Sequential(body=Counted())


def test_a_class_where_a_layer_is_needed_is_told_apart_from_other_things():
    with pytest.raises(TypeError, match=r"relu is the class ReLU: write ReLU\(\.\.\.\)"):
        mx.Sequential(relu=mx.ReLU)


def test_a_class_as_attribute_is_told_apart():
    class Holds(Block):
        def __init__(self):
            self.relu = mx.ReLU

    with pytest.raises(TypeError, match=r"relu is the class ReLU: write ReLU\(\.\.\.\)"):
        Holds()


@pytest.mark.parametrize("name", ["children", "parameters", "save", "astype"])
def test_a_name_of_what_every_layer_can_do_is_refused(name):
    with pytest.raises(TypeError, match=f"{name} is what every layer can do: give this list another name"):
        setattr(mx.ReLU(), name, [])
