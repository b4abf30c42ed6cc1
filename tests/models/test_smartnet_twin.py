"""SmartNet beside a twin in PyTorch, written from the docstrings: answers, gradients, and three steps of SGD."""

import numpy as np
import pytest

import minialex as mx
from minialex import weights

torch = pytest.importorskip("torch")
F = torch.nn.functional
CLASSES, SIDE, CELLS = 3, 9, 4
STEM, BLOCKS, SIDES = (
    2,
    [(2, 2), (3, 3), (2, 2)],
    [9, 4, 4],
)  # layers and maps of each; halved down to four pixels
SAME = 1e-9  # relative to the largest number of each array


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Twin:
    """Maps are kept by name, one list for all; what is read of them is told by `reads`, the whole triangle if None."""

    def __init__(self, model, reads=None):
        self.p = {name: torch.tensor(p.value, requires_grad=True) for name, p in model.named_parameters()}
        self.running = {name: torch.tensor(buffer.value) for name, buffer in model.named_buffers()}
        self.reads = reads

    def normalised(self, x, name, training):
        mean, variance = self.running[f"{name}.running_mean"], self.running[f"{name}.running_var"]
        weight, bias = self.p[f"{name}.weight"], self.p[f"{name}.bias"]
        return F.relu(F.batch_norm(x, mean, variance, weight, bias, training, momentum=0.1, eps=1e-5))

    def through_gates(self, maps, name):
        """Each source's maps, times its gate."""
        read = list(maps) if self.reads is None else self.reads[name]
        gates = self.p[f"{name}.gate.weight"]
        return torch.cat([maps[source] * gates[i] for i, source in enumerate(read)], dim=1)

    def answers(self, x, training=True, learning=None):
        """(N, exits, classes). learning: the column whose normalisation is by the batch; None: all."""
        x = F.conv2d(x, self.p["stem.conv.weight"], padding=1)
        maps = {"stem": self.normalised(x, "stem.norm", training and learning in (None, 1))}
        ys = []
        for number, (layers, _) in enumerate(BLOCKS, start=1):
            if number > 1 and SIDES[number - 2] // 2 >= 4:
                maps = {name: F.avg_pool2d(x, 2) for name, x in maps.items()}
            assert maps["stem"].shape[2] == SIDES[number - 1]
            for name in (f"block{number}.layer{i}" for i in range(1, layers + 1)):
                if f"{name}.conv.weight" in self.p:
                    x = F.conv2d(self.through_gates(maps, name), self.p[f"{name}.conv.weight"], padding=1)
                    maps[name] = self.normalised(x, f"{name}.norm", training and learning in (None, number))
                elif f"{name}.bias" in self.p:  # what is left of a layer that reads nothing
                    N, _, H, W = maps["stem"].shape
                    maps[name] = self.p[f"{name}.bias"][:, None, None].expand(N, -1, H, W)
            exit = f"exit{number}"
            cells = {name: F.adaptive_avg_pool2d(x, CELLS) for name, x in maps.items()}
            x = self.through_gates(cells, exit).flatten(1)
            ys.append(F.linear(x, self.p[f"{exit}.fc.weight"], self.p[f"{exit}.fc.bias"]))
        return torch.stack(ys, dim=1)

    def costs(self, name):
        """What its gates' connections cost: multiply-adds, where reading as many maps as it makes is 1 for a layer."""
        sizes = {"stem": STEM} | {
            f"block{b}.layer{i}": maps for b, (n, maps) in enumerate(BLOCKS, 1) for i in range(1, n + 1)
        }
        number = int(name.partition(".")[0][-1]) - 1
        maps, read = BLOCKS[number][1], list(sizes) if self.reads is None else self.reads[name]
        if name.startswith("block"):
            return torch.tensor([9 * sizes[s] * maps / (9 * maps * maps) for s in read]).double()
        layer = 9 * maps * maps * SIDES[number] ** 2
        return torch.tensor([sizes[s] * CELLS**2 * CLASSES / layer for s in read]).double()

    def step(self, x, labels, velocities, lr, momentum, decay, penalty, learning=None):
        """SGD as its docstring says; gates get no decay, learn four times as fast, and are put back from 0 to 1."""
        y = self.answers(x, learning=learning)
        exits = range(len(BLOCKS)) if learning is None else [learning - 1]
        loss = sum(F.cross_entropy(y[:, i], labels) for i in exits)
        own = {
            name: p
            for name, p in self.p.items()
            if learning is None
            or name.startswith((f"block{learning}.", f"exit{learning}."))
            or (learning == 1 and name.startswith("stem."))
        }
        grads = dict(zip(own, torch.autograd.grad(loss, own.values()), strict=True))
        with torch.no_grad():
            for name, p in own.items():
                decays = "norm" in name or name.endswith(("conv.weight", "fc.weight"))
                v = velocities.setdefault(name, torch.zeros_like(p))
                if name.endswith("gate.weight"):
                    costs = self.costs(name.removesuffix(".gate.weight"))
                    v.mul_(momentum).sub_(4 * lr * (grads[name] + penalty * costs))
                    p.add_(v)
                    widest, held = p.argmax(), float(p.max() > 0)
                    p.clamp_(0, 1)[widest] = held
                    continue
                v.mul_(momentum).sub_(lr * grads[name])
                if decays:
                    v.sub_(lr * decay * p)
                p.add_(v)
        return y, loss, grads


def drawn(model, seed=0):
    """Weights so large that every term counts, in float64."""
    rng = np.random.default_rng(seed)
    for name, p in model.astype("float64").named_parameters():
        low, high = (
            (0.3, 1) if "gate" in name else (0.5, 1.5) if name.endswith("norm.weight") else (-0.6, 0.6)
        )
        p.value = rng.uniform(low, high, p.value.shape)
    for _, buffer in model.named_buffers():
        buffer.value = rng.uniform(0.2, 1.2, buffer.value.shape)
    return model


def network(**how):
    blocks = [(layers, 10 * maps) for layers, maps in BLOCKS]
    return drawn(mx.models.smartnet(None, CLASSES, "small", width=0.1, image_size=SIDE, blocks=blocks, **how))


def assert_same(pairs):
    for what, (ours, theirs) in pairs.items():
        theirs = theirs.detach().numpy()
        assert ours.shape == theirs.shape, what
        assert np.abs(ours - theirs).max() <= SAME * max(np.abs(theirs).max(), 1e-3), what


@pytest.mark.parametrize("learning", [None, 1, 2, 3])
@pytest.mark.parametrize("cut", [False, True])
def test_three_steps_are_those_of_a_twin(learning, cut):
    model, rng = network(), np.random.default_rng(1)
    if cut:
        for name, closed in (
            ("block1.layer1", ...),
            ("block2.layer2", [0, 2]),
            ("exit2", [1]),
            ("block3.layer1", [4]),
        ):
            gates = model.grid.readers()[name]
            (gates["gate"] if name == "exit2" else gates.gate).weight.value[closed] = 0
        model.compact()
    model.learn(learning, begin=False)
    twin, velocities = Twin(model, model.grid.reads()), {}
    how = {"lr": 0.02, "momentum": 0.9, "penalty": 4.0}
    optimizer = mx.SGD(model.parameters(), weight_decay=0.01, **how)
    for _ in range(3):
        x, labels = rng.normal(size=(5, 3, SIDE, SIDE)), rng.integers(0, CLASSES, 5)
        y = model.forward(x)
        loss = model.loss.forward(y, labels)
        model.backward(model.loss.backward())
        their_y, their_loss, grads = twin.step(
            torch.tensor(x), torch.tensor(labels), velocities, decay=0.01, learning=learning, **how
        )
        optimizer.step()
        ours = dict(model.named_parameters())
        pairs = {
            "logits": (y, their_y if learning is None else their_y[:, learning - 1]),
            "loss": (loss, their_loss),
        }
        assert_same(pairs | {f"grad of {name}": (ours[name].grad, grad) for name, grad in grads.items()})
        assert_same({name: (p.value, twin.p[name]) for name, p in ours.items()})
        assert_same({name: (buffer.value, twin.running[name]) for name, buffer in model.named_buffers()})
    assert any(
        (p.value == 0).any() for name, p in ours.items() if "gate" in name
    )  # the penalty has closed some
    assert_same({"answers": (model.eval().answers(x), twin.answers(torch.tensor(x), training=False))})


def test_a_cut_network_says_what_the_whole_twin_says():
    model, rng = network().eval(), np.random.default_rng(2)
    for name, p in model.named_parameters():
        if name.endswith("gate.weight"):
            p.value *= rng.random(p.value.shape) < 0.6
    twin, x = Twin(model), rng.normal(size=(4, 3, SIDE, SIDE))
    count = len(weights.export_grouped(model))
    assert len(weights.export_grouped(model.compact())) < count
    assert_same({"answers": (model.answers(x), twin.answers(torch.tensor(x), training=False))})
