"""mine: layers, an optimizer and a loop of kept answers."""

import answers
import numpy as np
import pytest

import minialex as mx
from minialex.check.kept.crossing import OnDevice, sender
from minialex.check.planted import RIGHT


@pytest.fixture
def mine(kept):
    """All of a LeNet-5, and response normalisation."""
    for name, function in {
        **answers.LENET,
        "lrn_forward": answers.lrn,
        "lrn_backward": answers.lrn_backward,
    }.items():
        kept(name, function)
    return mx.check.mine()


def first_step(model, x, labels):
    logits = model.forward(x)
    loss = model.loss.forward(logits, labels)
    model.backward(model.loss.backward())
    return {"logits": logits, "loss": loss, **dict(model.named_parameters())}


def test_their_lenet_takes_the_first_step_as_ours_does(mine):
    models = mine.lenet5(rng=3), mx.models.lenet5(rng=3)
    assert {type(layer).__name__ for layer in models[0]} == {
        "YourConv2D", "YourTanh", "YourMaxPool2D", "Flatten", "YourLinear",
    }  # fmt: skip
    x = np.random.default_rng(0).standard_normal((5, 1, 28, 28))
    steps = []
    for model in models:
        model.astype("float64")
        model.loss.astype("float64")
        steps.append(first_step(model, x, np.arange(5)))
    for name, theirs in steps[0].items():
        ours = steps[1][name]
        if name not in ("logits", "loss"):
            theirs, ours = theirs.grad, ours.grad
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-12, err_msg=name)


def test_their_layers_compute_in_float32_though_their_functions_make_float64(mine):
    model = mine.lenet5(rng=0)
    x = np.zeros((2, 1, 28, 28), np.float32)
    found = first_step(model, x, np.array([1, 2]))
    assert found["logits"].dtype == found["loss"].dtype == np.float32
    assert all(p.grad.dtype == np.float32 for p in model.parameters())


def test_a_layer_with_one_half_missing_or_slow_is_ours(kept):
    kept("conv2d_forward", answers.conv2d_columns)
    kept("conv2d_backward", answers.conv2d_backward, state="slow")
    kept("relu_forward", answers.relu)
    mine = mx.check.mine()
    assert mine.Conv2D is mx.Conv2D
    assert mine.ReLU is mx.ReLU
    table = str(mine).splitlines()
    assert table[1].split() == "Conv2D yours slow ours in its place, yours is slow".split()
    assert any(line.split() == "ReLU yours - ours in its place".split() for line in table)
    assert mine.oracle("conv2d_backward") is not None
    assert mine.oracle("conv2d_forward") is None
    assert "yours is slow" in mine._repr_html_()
    with pytest.raises(
        KeyError, match="lrn_forward is not kept in mine, which has conv2d_forward, relu_forward"
    ):
        mine.function("lrn_forward")


def test_an_edited_answer_is_checked_again_before_it_is_used(kept):
    path = kept("relu_forward", answers.relu)
    path.write_text(
        path.read_text(encoding="utf8").replace("np.maximum(x, ZERO)", "np.abs(x)"), encoding="utf8"
    )
    mine = mx.check.mine()
    assert not mine.has("relu_forward")
    assert "mine/relu_forward.py was edited, and is not used: y wrong" in str(mine)
    assert any(line.split()[:3] == ["ReLU", "not", "used"] for line in str(mine).splitlines())
    path.write_text(path.read_text(encoding="utf8").replace("np.abs(x)", "x.clip(0)"), encoding="utf8")
    assert mx.check.mine().has("relu_forward")


def test_what_is_no_part_of_a_network_is_named_below_the_table(kept):
    kept("im2col", answers.columns_of)
    kept("relu_forward", answers.relu)
    assert str(mx.check.mine()).splitlines()[-1] == "kept besides: im2col"


@pytest.mark.parametrize("settings", [{}, {"lr_scale": 2.0}, {"decay": False}])
def test_their_step_moves_weights_as_ours_does(mine, settings):
    found = []
    for make in (mine.SGD, mx.SGD):
        p = mx.Parameter(np.array([1.0, -2.0, 3.0]), **settings)
        held = p.value
        optimizer = make([p], lr=0.1, momentum=0.9, weight_decay=0.01)
        for step in range(3):
            p.grad = np.array([1.0, 2.0, -1.0]) * (step + 1)
            optimizer.step()
        assert held is p.value
        found.append((p.value, optimizer.velocities[0]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-13)
    assert mine.SGD is not mx.SGD


def test_their_loop_trains_and_ours_stands_in_for_it(mine, kept):
    model = mine.lenet5(rng=0)
    optimizer = mine.SGD(model.parameters(), lr=0.05)
    pictures, labels = mx.data.draw_digits(64, seed=0)
    batches = mx.data.ArrayBatches(model.prepare(pictures), labels, 32)
    model.eval()  # somebody looked at it
    losses = [mine.train(model, optimizer, batches.shuffled(epoch)) for epoch in range(4)]
    assert model.training
    assert losses[0].shape == (2,)
    assert losses[-1].mean() < 0.8 * losses[0].mean()


def test_their_normalisation_goes_into_a_small_alexnet(mine):
    settings = {"width": 0.125, "image_size": 67, "init": "he", "towers": 1, "devices": "cpu"}
    ours, theirs = (mx.models.alexnet(4, **settings).astype("float64").eval() for _ in range(2))
    assert {"norm1", "norm2"} <= set(mine.put_into(theirs))
    x = 100 * np.random.default_rng(0).standard_normal((2, 3, 67, 67))
    steps = [first_step(model, x, np.array([0, 3])) for model in (ours, theirs)]
    np.testing.assert_allclose(steps[0]["logits"], steps[1]["logits"], rtol=1e-9)
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(
            p.grad, dict(theirs.named_parameters())[name].grad, atol=1e-9, err_msg=name
        )
    assert theirs["norm1"].groups == 2  # each half on its own


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda m: m.Conv2D(4, 6, (3, 2), stride=2, padding=1, groups=2, bias=False), (2, 4, 7, 6)),
        (lambda m: m.Conv2D(1, 2, 3), (1, 1, 5, 4)),
        (lambda m: m.MaxPool2D((3, 2), stride=2, padding=1), (2, 3, 6, 5)),
        (lambda m: m.Tanh(scale=1.7159, slope=2 / 3), (2, 5)),
        (lambda m: m.Linear(5, 3), (2, 5)),
        (lambda m: m.LocalResponseNorm(3, 0.5, 0.75, 1.0, groups=2), (2, 6, 3, 2)),
    ],
)
def test_each_layer_of_theirs_has_right_gradients(mine, layer, shape):
    x = np.random.default_rng(1).standard_normal(shape)
    assert type(layer(mine)) is not type(layer(mx))
    assert mx.gradcheck(layer(mine), x)
    y = [layer(m).astype("float64").forward(x) for m in (mine, mx)]
    np.testing.assert_allclose(y[0], y[1], atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda m: m.Subsampling(3), (2, 3, 5, 4)),
        (lambda m: m.Sigmoid(), (2, 3)),
        (lambda m: m.ReLU(), (2, 3)),
        (lambda m: m.AvgPool2D(3, stride=2, padding=1), (2, 3, 5, 4)),
        (lambda m: m.Dropout(0.4), (3, 5)),
    ],
)
def test_layers_of_the_planted_right_answers_too(layer, shape):
    """These stand here for what learners keep: whatever is right gives the layer."""
    from minialex.check.kept.layers import MAKERS, layer_of
    from minialex.check.kept.network import FUNCTIONS

    class Made:
        def __getattr__(self, name):
            ours, both = getattr(mx, name), FUNCTIONS[name]
            assert ours in MAKERS
            return layer_of(ours, RIGHT[f"{both}_forward"], RIGHT[f"{both}_backward"])

    x = np.random.default_rng(1).standard_normal(shape)
    assert mx.gradcheck(layer(Made()), x)
    theirs, ours = layer(Made()).astype("float64"), layer(mx).astype("float64")
    np.testing.assert_allclose(theirs.forward(x), ours.forward(x), atol=1e-12)
    np.testing.assert_allclose(theirs.eval().forward(x), ours.eval().forward(x), atol=1e-12)


def test_what_their_functions_cannot_do_is_refused_or_left_ours(mine):
    with pytest.raises(ValueError, match="your functions can't do this one"):
        mine.Conv2D(1, 1, 3, stride=(1, 2)).forward(np.ones((1, 1, 5, 5), np.float32))
    model = mx.Sequential(
        a=mx.Conv2D(1, 1, 3, padding=(1, 0)), b=mx.MaxPool2D(2, ceil_mode=True), c=mx.Tanh()
    )
    assert mine.put_into(model) == ["c"]


def test_a_wrong_shape_from_an_edited_function_says_whose_it_is(mine):
    layer = mine.Tanh()
    type(layer).forward = type(layer).forward  # as it is
    from minialex.check.kept.layers import layer_of

    cut = layer_of(mx.Tanh, lambda x: x[:1], answers.tanh_backward)
    with pytest.raises(ValueError, match=r"your y has shape \(1, 3\), where \(2, 3\) is wanted"):
        cut().forward(np.ones((2, 3)))


@pytest.mark.parametrize("ours", [mx.SoftmaxCrossEntropy, lambda: mx.MAPLoss(j=0.5)])
def test_a_loss_of_theirs_passes_on_what_its_gradient_is_multiplied_by(ours):
    """Whatever the constant j is; the library's own say what is right."""
    from minialex.check.kept.layers import layer_of

    kind = type(ours())
    name = "map_loss" if kind is mx.MAPLoss else "softmax_cross_entropy"
    theirs = ours()
    object.__setattr__(
        theirs, "__class__", layer_of(kind, RIGHT[f"{name}_forward"], RIGHT[f"{name}_backward"])
    )
    logits, labels = -np.random.default_rng(0).random((4, 3)), np.array([0, 2, 1, 1])
    found = [(loss.forward(logits, labels), loss.backward(0.25)) for loss in (theirs, ours())]
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)


def test_an_rbf_of_theirs_is_ours():
    from minialex.check.kept.layers import layer_of

    codes = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    theirs = layer_of(mx.RBF, RIGHT["rbf_forward"], RIGHT["rbf_backward"])(codes)
    x = np.random.default_rng(0).random((4, 2))
    assert mx.gradcheck(theirs, x)
    assert (theirs.astype("float64").forward(x) == mx.RBF(codes).astype("float64").forward(x)).all()


def test_their_step_leaves_a_gate_in_its_range(mine):
    for make in (mine.SGD, mx.SGD):
        gate = mx.Gate((1, 1)).weight
        gate.grad = np.array([0.0, 30.0], np.float32)
        make([gate], lr=0.1, momentum=0.0).step()
        assert gate.value.tolist() == [1, 0]


def test_their_step_has_the_penalty_of_gates(mine):
    """Given at once or later; with costs or without."""
    found = []
    for make in (mine.SGD, mx.SGD):
        for costs in (None, mx.layers.parameter.Constant(np.array([1.0, 3.0]))):
            gate = mx.Gate((1, 1)).astype("float64").weight
            gate.costs, gate.value[...] = costs, 0.5
            optimizer = make([gate], lr=0.1, momentum=0.5, penalty=0.25)
            for _ in range(2):
                gate.grad = np.array([0.1, -0.2])
                optimizer.step()
                optimizer.penalty = 0.5
            found.append(gate.value)
    np.testing.assert_allclose(found[:2], found[2:], rtol=1e-13)
    assert (found[0] != found[1]).any()
    with pytest.raises(ValueError, match=r"penalty=0\.5 is for gates"):
        mine.SGD([mx.Parameter(np.ones(2))], lr=0.1, penalty=0.5)


def test_their_step_refuses_what_ours_refuses(mine):
    first, second = mx.Parameter(np.ones(2)), mx.Parameter(np.ones(2))
    for make in (mine.SGD, mx.SGD):
        optimizer = make([first, second], lr=0.1)
        for name in ("learning_rate", "penalti"):
            with pytest.raises(AttributeError, match=name):
                setattr(optimizer, name, 0.5)
        first.grad, second.grad = np.ones(2), None
        with pytest.raises(ValueError, match="has no gradient"):
            optimizer.step()
        assert first.value.tolist() == [1, 1]  # none moves where one can't
        first.lr_scale = second.lr_scale = 0.0
        with pytest.raises(ValueError, match="every parameter has lr_scale 0"):
            optimizer.step()
        first.lr_scale = second.lr_scale = 1.0


def test_a_folder_that_is_not_there_is_refused(mine_folder):
    mx.check.mine()  # the default is made by the first answer that is kept
    with pytest.raises(FileNotFoundError, match=r"check\.mine: min is not there: name the folder"):
        mx.check.mine("min")
    mine_folder.write_text("")
    with pytest.raises(NotADirectoryError, match=r"check\.mine: mine is a file"):
        mx.check.mine("mine")


def test_a_mistyped_answer_is_not_taken_for_one_that_is_missing(mine):
    for ask in (mine.has, mine.oracle):
        with pytest.raises(ValueError, match=r"unknown answer 'relu_forwad' \(did you mean relu_forward\?\)"):
            ask("relu_forwad")


# ---- two devices ----


def exchange(x0, x1, send):
    return np.concatenate([x0, send(x1, 0)], axis=1), np.concatenate([send(x0, 1), x1], axis=1)


def exchange_backward(grad_y0, grad_y1, channels0, send):
    grad_x0 = grad_y0[:, :channels0] + send(grad_y1[:, :channels0], 0)
    return grad_x0, send(grad_y0[:, channels0:], 1) + grad_y1[:, channels0:]


def forgets(x0, x1, send):
    return np.concatenate([x0, x1], axis=1), np.concatenate([send(x0, 1), x1], axis=1)


def test_their_exchange_runs_between_two_devices():
    from minialex.check.kept.layers import layer_of

    theirs, ours = layer_of(mx.Exchange, exchange, exchange_backward)(), mx.Exchange()
    devices = [mx.Device(f"sim:{number}") for number in (0, 1)]
    rng = np.random.default_rng(0)
    xs = tuple(d.asarray(rng.random((2, c, 3, 3))) for d, c in zip(devices, (2, 3), strict=True))
    grads = tuple(d.asarray(rng.random((2, 5, 3, 3))) for d in devices)
    found = []
    for layer in (theirs, ours):
        layer.to("sim:0,sim:1")
        ys = layer.forward(xs)
        found.append([*ys, *layer.backward(grads)])
    for a, b, home in zip(*found, devices * 2, strict=True):
        assert mx.device_of(a) is home
        np.testing.assert_array_equal(mx.to_numpy(a), mx.to_numpy(b))


def test_a_forgotten_transfer_raises_in_their_own_line():
    from minialex.check.kept.layers import layer_of

    layer = layer_of(mx.Exchange, forgets, exchange_backward)().to("sim:0,sim:1")
    xs = tuple(mx.Device(f"sim:{n}").asarray(np.ones((1, 1, 2, 2))) for n in (0, 1))
    with pytest.raises(mx.DeviceMismatch, match="sim:0 meets one on sim:1: send one of them") as raised:
        layer.forward(xs)
    lines = [entry.name for entry in raised.traceback]
    assert "forgets" in lines


def test_arrays_of_a_device_answer_as_arrays_do():
    x = OnDevice(mx.Device("sim:1").asarray(np.arange(6.0).reshape(2, 3)))
    assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((2, 3), 2, 6, 2, np.float64)
    assert mx.to_numpy((2 * x + x)[1].array).tolist() == [9, 12, 15]
    assert mx.to_numpy(np.concatenate([x, x], axis=0).array).shape == (4, 3)
    assert mx.to_numpy(x.copy().array)[0, 1] == 1
    with pytest.raises(mx.DeviceMismatch, match="`send` is what moves arrays"):
        np.asarray(x)
    with pytest.raises(TypeError, match="send takes an array of a device, not a list"):
        sender([mx.Device("sim:0")])([1.0], 0)


# ---- what functions return ----


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x, lambda x: np.asfortranarray(x), lambda x: (x > 0).astype(int), lambda x: x[:, ::-1],
        lambda x: np.ma.masked_less(x, 0), lambda x: x.astype(object).astype("float16"),
    ],
)  # fmt: skip
def test_what_a_function_returns_becomes_a_plain_new_array(forward):
    from minialex.check.kept.layers import layer_of

    x = np.array([[-1.0, 2.0, 0.5], [3.0, -4.0, 1.0]], np.float32)
    y = layer_of(mx.ReLU, forward, answers.relu_backward)().forward(x)
    assert type(y) is np.ndarray
    assert y.dtype == np.float32
    assert y.flags.c_contiguous
    assert not np.shares_memory(x, y)


def test_what_holds_no_real_numbers_is_refused():
    from minialex.check.kept.layers import layer_of

    x = np.ones((2, 3), np.float32)
    for forward, holds in ((lambda x: x + 1j, "complex64"), (lambda x: x.astype(object), "object")):
        with pytest.raises(TypeError, match=f"your y holds {holds} and not real numbers"):
            layer_of(mx.ReLU, forward, answers.relu_backward)().forward(x)
    loss = layer_of(mx.SoftmaxCrossEntropy, lambda logits, labels: None, answers.cross_entropy_backward)()
    with pytest.raises(TypeError, match="your loss holds object"):
        loss.forward(x, np.array([0, 1]))


def test_a_step_of_another_shape_is_refused(mine):
    from minialex.check.kept.network import _stepping

    p = mx.Parameter(np.array([1.0, -2.0]))
    p.grad = np.ones(2)
    for step, says in (
        (lambda *given: (1.0, given[1]), "your w is a float"),
        (lambda w, *_: w, "returns w, v"),
    ):
        with pytest.raises(TypeError, match=says):
            _stepping(step)([p], 0.1).step()
    with pytest.raises(ValueError, match=r"your v has shape \(1,\), where \(2,\) is wanted"):
        _stepping(lambda w, v, *_: (w, v[:1]))([p], 0.1).step()
    assert p.value.tolist() == [1, -2]
