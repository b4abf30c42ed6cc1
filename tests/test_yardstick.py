"""The layers against PyTorch in float64: random configurations, random upstream gradients, and not one wrong.

PyTorch is a yardstick only; without it these tests are skipped.
"""

import numpy as np
import pytest

import minialex as mx

torch = pytest.importorskip("torch")
F = torch.nn.functional
CONFIGURATIONS = 100


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """For arrays this small torch's threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wrong(pairs, rtol=1e-9):
    """The names of those (ours, torch's) that differ, measured against the largest number of each array."""
    return [
        name
        for name, (ours, theirs) in pairs.items()
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > rtol * (1 + np.abs(theirs).max())
    ]


def leaf(array):
    return torch.tensor(array, requires_grad=True)


def host(tensor):
    return tensor.detach().numpy()


def compare(layer, x, theirs, rng):
    """Forward, and backward of a random gradient. theirs(x, *parameters) is the same in torch."""
    for p in layer.astype("float64").parameters():
        p.value = rng.normal(size=p.value.shape)
    y = layer.forward(x)
    grad_y = rng.normal(size=y.shape)
    grad_x = layer.backward(grad_y)
    x, parameters = leaf(x), [leaf(p.value) for p in layer.parameters()]
    their_y = theirs(x, *parameters)
    their_y.backward(torch.tensor(grad_y))
    return wrong(
        {
            "y": (y, host(their_y)),
            "grad_x": (grad_x, x.grad.numpy()),
            **{
                p.name: (p.grad, their.grad.numpy())
                for p, their in zip(layer.parameters(), parameters, strict=True)
            },
        }
    )


def window(rng, half_padding=False):
    """(kernel, stride, padding, size), each (height, width)."""
    axes = []
    for _ in range(2):
        kernel = int(rng.integers(1, 6))
        padding = int(rng.integers(0, (kernel // 2 if half_padding else 3) + 1))
        size = int(rng.integers(max(1, kernel - 2 * padding), 12))
        axes.append((kernel, int(rng.integers(1, 6)), padding, size))
    return tuple(zip(*axes, strict=True))


def test_a_hundred_random_convolutions_agree():
    rng, failures = np.random.default_rng(1), []
    for _ in range(CONFIGURATIONS):
        kernel, stride, padding, size = window(rng)
        G, depth, filters, N = (int(n) for n in rng.integers(1, 5, size=4))
        arguments = {"stride": stride, "padding": padding, "groups": G}
        layer = mx.Conv2D(G * depth, G * filters, kernel, bias=bool(rng.integers(2)), **arguments)
        x = rng.normal(size=(N, G * depth, *size))
        found = compare(
            layer, x, lambda x, weight, bias=None, a=arguments: F.conv2d(x, weight, bias, **a), rng
        )
        failures += [(found, x.shape, kernel, arguments)] if found else []
    assert failures == []


def test_a_hundred_random_poolings_agree():
    rng, failures = np.random.default_rng(2), []
    for number in range(CONFIGURATIONS):
        arguments = dict(
            zip(("kernel_size", "stride", "padding"), window(rng, half_padding=True)[:3], strict=True)
        )
        padded = [
            max(1, k - 2 * p) for k, p in zip(arguments["kernel_size"], arguments["padding"], strict=True)
        ]
        x = rng.normal(size=(*rng.integers(1, 5, size=2), *(int(rng.integers(side, 12)) for side in padded)))
        ours, theirs = ((mx.MaxPool2D, F.max_pool2d), (mx.AvgPool2D, F.avg_pool2d))[number % 2]
        found = compare(ours(**arguments), x, lambda x, f=theirs, a=arguments: f(x, **a), rng)
        failures += [(found, ours.__name__, x.shape, arguments)] if found else []
    assert failures == []


def test_a_hundred_random_normalisations_agree():
    def theirs(x, groups, size, alpha, beta, k):
        parts = [F.local_response_norm(part, size, alpha * size, beta, k) for part in x.chunk(groups, dim=1)]
        return torch.cat(parts, dim=1)  # torch divides alpha by size

    rng, failures = np.random.default_rng(3), []
    for _ in range(CONFIGURATIONS):
        groups = int(rng.integers(1, 4))
        arguments = {"size": int(rng.choice([1, 3, 5, 7, 9])), "alpha": rng.uniform(0.5, 1.5),
                     "beta": rng.choice([0.5, 0.75, 1.0]), "k": rng.uniform(0.5, 2.0), "groups": groups}  # fmt: skip
        x = rng.normal(
            size=(*rng.integers(1, 4, size=1), groups * int(rng.integers(1, 9)), *rng.integers(1, 6, size=2))
        )
        found = compare(mx.LocalResponseNorm(**arguments), x, lambda x, a=arguments: theirs(x, **a), rng)
        failures += [(found, x.shape, arguments)] if found else []
    assert failures == []


@pytest.mark.parametrize(
    ("layer", "theirs"),
    [
        (mx.Linear(7, 5), F.linear),
        (mx.Flatten(), lambda x: x.flatten(1)),
        (mx.ReLU(), F.relu),
        (mx.Sigmoid(), torch.sigmoid),
        (mx.Tanh(1.7159, 2 / 3), lambda x: 1.7159 * torch.tanh(x * 2 / 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, mx.Layer) else "",
)
def test_layers_without_windows_agree(layer, theirs):
    rng = np.random.default_rng(4)
    shape = (6, 7) if isinstance(layer, mx.Linear) else (3, 4, 5, 6)
    assert compare(layer, 3 * rng.normal(size=shape), theirs, rng) == []


@pytest.mark.parametrize("grad_loss", [1.0, -2.5])
def test_softmax_cross_entropy_agrees(grad_loss):
    rng = np.random.default_rng(5)
    logits, labels = 4 * rng.normal(size=(9, 6)), rng.integers(0, 6, size=9)
    layer = mx.SoftmaxCrossEntropy()
    loss, grad_logits = layer.forward(logits, labels), layer.backward(grad_loss)
    their_logits = leaf(logits)
    their_loss = F.cross_entropy(their_logits, torch.tensor(labels))
    their_loss.backward(torch.tensor(grad_loss, dtype=torch.float64))
    assert (
        wrong({"loss": (loss, host(their_loss)), "grad_logits": (grad_logits, their_logits.grad.numpy())})
        == []
    )


def test_the_modern_lenet_agrees_from_its_picture_to_its_loss_and_back():
    rng = np.random.default_rng(6)
    model = mx.models.lenet5("modern", rng=7).astype("float64")
    x, labels = rng.normal(size=(5, 1, 28, 28)), rng.integers(0, 10, size=5)
    logits = model.forward(x)
    loss = model.loss.forward(logits, labels)
    grad_x = model.backward(model.loss.backward(), input_grad=True)

    w = {p.name: leaf(p.value) for p in model.parameters()}
    their_x = leaf(x)
    h = F.max_pool2d(torch.tanh(F.conv2d(their_x, w["c1.weight"], w["c1.bias"], padding=2)), 2)
    h = F.max_pool2d(torch.tanh(F.conv2d(h, w["c3.weight"], w["c3.bias"])), 2).flatten(1)
    for name in ("c5", "f6"):
        h = torch.tanh(F.linear(h, w[f"{name}.weight"], w[f"{name}.bias"]))
    their_logits = F.linear(h, w["output.weight"], w["output.bias"])
    their_loss = F.cross_entropy(their_logits, torch.tensor(labels))
    their_loss.backward()
    pairs = {
        "logits": (logits, host(their_logits)),
        "loss": (loss, host(their_loss)),
        "x": (grad_x, host(their_x.grad)),
    }
    pairs |= {p.name: (p.grad, host(w[p.name].grad)) for p in model.parameters()}
    assert len(pairs) == 3 + 10
    assert wrong(pairs) == []


def test_poolings_rounded_up_and_batch_norm_are_pytorchs():
    rng = np.random.default_rng(5)
    for number in range(CONFIGURATIONS):
        kernel, stride = rng.integers(1, 5, 2), tuple(map(int, rng.integers(1, 4, 2)))
        padding, size = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel), rng.integers(4, 11, 2)
        kernel, x = tuple(map(int, kernel)), rng.normal(size=(2, 3, *size))
        ceil, counted = bool(number % 3), bool(number % 2)
        geometry = (kernel, stride, padding)
        found = compare(
            mx.MaxPool2D(*geometry, ceil_mode=ceil), x,
            lambda x, g=geometry, c=ceil: F.max_pool2d(x, *g, ceil_mode=c), rng,
        )  # fmt: skip
        assert not found, (geometry, ceil, size, found)
        found = compare(
            mx.AvgPool2D(*geometry, ceil_mode=ceil, count_include_pad=counted), x,
            lambda x, g=geometry, c=ceil, n=counted: F.avg_pool2d(x, *g, c, n), rng,
        )  # fmt: skip
        assert not found, (geometry, ceil, counted, size, found)
        parts = tuple(map(int, rng.integers(1, 8, 2)))
        found = compare(mx.AdaptiveAvgPool2D(parts), x, lambda x, p=parts: F.adaptive_avg_pool2d(x, p), rng)
        assert not found, (parts, size, found)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_and_its_running_numbers_over_three_passes_are_pytorchs(mode):
    rng = np.random.default_rng(6)
    ours = mx.BatchNorm2D(4, eps=1e-3, momentum=0.3).astype("float64")
    theirs = torch.nn.BatchNorm2d(4, eps=1e-3, momentum=0.3, dtype=torch.float64)
    getattr(ours, mode)(), getattr(theirs, mode)()
    for name in ("weight", "bias", "running_mean", "running_var"):
        array = rng.uniform(0.5, 2, size=4)
        getattr(ours, name).value = array.copy()
        getattr(theirs, name).data = torch.tensor(array)
    for _ in range(3):
        x, grad_y = rng.normal(2, 3, size=(5, 4, 3, 2)), rng.normal(size=(5, 4, 3, 2))
        their_x = leaf(x)
        theirs.zero_grad()
        their_y = theirs(their_x)
        their_y.backward(torch.tensor(grad_y))
        y, grad_x = ours.forward(x), ours.backward(grad_y)
        assert not wrong(
            {
                "y": (y, host(their_y)),
                "grad_x": (grad_x, their_x.grad.numpy()),
                "grad_weight": (ours.weight.grad, theirs.weight.grad.numpy()),
                "grad_bias": (ours.bias.grad, theirs.bias.grad.numpy()),
                "running_mean": (ours.running_mean.value, host(theirs.running_mean)),
                "running_var": (ours.running_var.value, host(theirs.running_var)),
            }
        )
