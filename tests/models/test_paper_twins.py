"""The networks and dialects that no library has, beside twins in PyTorch that are written from the papers' tables.

A twin takes our weights by name, and says itself how large each should be, what comes after what, and with what stride
and padding. In float64: logits, loss, the gradient of the picture, all gradients, and the running statistics.
"""

import numpy as np
import pytest

import minialex as mx
from minialex.layers.sequential import all_layers

torch = pytest.importorskip("torch")
F = torch.nn.functional
CLASSES = 3
SAME = 1e-8  # relative to the largest number of each array


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Twin:
    """The parts that all twins are written in. width: as our network's."""

    def __init__(self, model, width):
        self.width, self.used = width, set()
        self.parameters = {
            name: torch.tensor(p.value, requires_grad=True) for name, p in model.named_parameters()
        }
        self.running = {name: torch.tensor(buffer.value) for name, buffer in model.named_buffers()}

    def maps(self, count):
        return max(1, round(count * self.width))

    def take(self, name, *shape):
        """A parameter, which must have this shape, and may be used once."""
        assert name not in self.used, name
        self.used.add(name)
        assert tuple(self.parameters[name].shape) == shape, name
        return self.parameters[name]

    def plain(self, x, name, count, kernel, stride=1, padding=0, bias=True):
        """A convolution; count: its maps at full width."""
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        outputs = self.maps(count)
        weight = self.take(f"{name}.weight", outputs, x.shape[1], kh, kw)
        return F.conv2d(x, weight, self.take(f"{name}.bias", outputs) if bias else None, stride, padding)

    def norm(self, x, name, eps):
        C = x.shape[1]
        mean, variance = (self.running[f"{name}.running_{what}"] for what in ("mean", "var"))
        weight, bias = self.take(f"{name}.weight", C), self.take(f"{name}.bias", C)
        return F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=0.1, eps=eps)

    def conv(self, x, name, count, kernel, stride=1, padding="same"):
        """Convolution, batch normalisation (eps 1e-3), ReLU, as all Inceptions from v2 on have it."""
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = {"same": (kh // 2, kw // 2), "valid": 0}[padding]
        y = self.plain(x, f"{name}.conv", count, kernel, stride, padding, bias=False)
        return F.relu(self.norm(y, f"{name}.bn", 1e-3))

    def chain(self, x, name, *rows):
        """Convolutions one behind the other: (maps, kernel), at the full size, or with more of conv's arguments."""
        for number, row in enumerate(rows):
            x = self.conv(x, f"{name}.{number}" if len(rows) > 1 else name, *row)
        return x

    def linear(self, x, name, outputs):
        return F.linear(
            x, self.take(f"{name}.weight", outputs, x.shape[1]), self.take(f"{name}.bias", outputs)
        )

    def loss(self, y, labels):
        return F.cross_entropy(y, labels)


class ZFNet(Twin):
    """Zeiler, Fergus 2013, figure 3, from left to right."""

    def forward(self, x):
        def contrast(
            x,
        ):  # 2012's, section 3.3: n = 5, k = 2, alpha = 1e-4, beta = 0.75; torch divides alpha by n
            return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)

        def pooled(x):  # 110 -> 55, 26 -> 13, 13 -> 6
            return F.max_pool2d(x, 3, 2, ceil_mode=True)

        x = contrast(pooled(F.relu(self.plain(x, "conv1", 96, 7, 2, 1))))
        x = contrast(pooled(F.relu(self.plain(x, "conv2", 256, 5, 2, 0))))
        for number, count in ((3, 384), (4, 384), (5, 256)):
            x = F.relu(self.plain(x, f"conv{number}", count, 3, 1, 1))
        x = pooled(x).flatten(1)
        for number in (6, 7):
            x = F.relu(self.linear(x, f"fc{number}", self.maps(4096)))
        return self.linear(x, "fc8", CLASSES)


class GoogLeNet(Twin):
    """Szegedy et al. 2014, table 1 and figure 3; normalisation as in the Caffe of its time: k = 1, alpha / 5."""

    ROWS = """
        3a  64  96 128 16  32  32
        3b 128 128 192 32  96  64
        4a 192  96 208 16  48  64
        4b 160 112 224 24  64  64
        4c 128 128 256 24  64  64
        4d 112 144 288 32  64  64
        4e 256 160 320 32 128 128
        5a 256 160 320 32 128 128
        5b 384 192 384 48 128 128
    """

    def rectified(self, x, name, *how):
        return F.relu(self.plain(x, f"{name}.conv", *how))

    def forward(self, x):
        def norm(x):
            return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)

        def pooled(x):
            return F.max_pool2d(x, 3, 2, ceil_mode=True)

        x = norm(pooled(self.rectified(x, "conv1", 64, 7, 2, 3)))
        x = self.rectified(self.rectified(x, "conv2", 64, 1), "conv3", 192, 3, 1, 1)
        x = pooled(norm(x))
        answers = []
        for row in self.ROWS.strip().splitlines():
            which, *counts = row.split()
            one, reduce3, three, reduce5, five, after = map(int, counts)
            name = f"inception{which}"
            narrow3 = self.rectified(x, f"{name}.branch2.0", reduce3, 1)
            narrow5 = self.rectified(x, f"{name}.branch3.0", reduce5, 1)
            paths = [
                self.rectified(x, f"{name}.branch1", one, 1),
                self.rectified(narrow3, f"{name}.branch2.1", three, 3, 1, 1),
                self.rectified(narrow5, f"{name}.branch3.1", five, 5, 1, 2),
                self.rectified(F.max_pool2d(x, 3, 1, 1), f"{name}.branch4.1", after, 1),
            ]
            x = torch.cat(paths, dim=1)
            if which in ("4a", "4d"):
                answers.append(self.auxiliary(x, f"aux{len(answers) + 1}"))
            if which in ("3b", "4e"):
                x = pooled(x)
        end = self.linear(x.mean(dim=(2, 3)), "fc", CLASSES)
        return torch.stack([*answers, end], dim=1)

    def auxiliary(self, x, name):
        """Section 5: average pooling 5x5, stride 3; 1x1 with 128; 1024 units; the classes."""
        x = self.rectified(F.avg_pool2d(x, 5, 3), f"{name}.conv", 128, 1)
        x = F.relu(self.linear(x.flatten(1), f"{name}.fc1", self.maps(1024)))
        return self.linear(x, f"{name}.fc2", CLASSES)

    def loss(self, y, labels):
        first, second, end = (F.cross_entropy(y[:, i], labels) for i in range(3))
        return 0.3 * first + 0.3 * second + end


class InceptionV2(Twin):
    """Ioffe, Szegedy 2015, figure 5: 1x1; 3x3 reduce, 3x3; double 3x3 reduce, double 3x3; the pooling."""

    ROWS = """
        3a  64  64  64  64  96 avg 32
        3b  64  64  96  64  96 avg 64
        3c   0 128 160  64  96 max pass
        4a 224  64  96  96 128 avg 128
        4b 192  96 128  96 128 avg 128
        4c 160 128 160 128 160 avg 128
        4d  96 128 192 160 192 avg 128
        4e   0 128 192 192 256 max pass
        5a 352 192 320 160 224 avg 128
        5b 352 192 320 192 224 max 128
    """

    def forward(self, x):
        x = F.max_pool2d(self.conv(x, "conv1", 64, 7, 2), 3, 2, 1)
        x = self.conv(self.conv(x, "conv2_reduce", 64, 1), "conv2", 192, 3)
        x = F.max_pool2d(x, 3, 2, 1)
        for row in self.ROWS.strip().splitlines():
            which, one, reduce3, three, reduce_double, double, kind, after = row.split()
            name, stride = f"inception{which}", 2 if after == "pass" else 1
            paths = [] if one == "0" else [self.conv(x, f"{name}.1x1", int(one), 1)]
            paths.append(self.chain(x, f"{name}.3x3", (int(reduce3), 1), (int(three), 3, stride)))
            double = int(double)
            rows = (int(reduce_double), 1), (double, 3), (double, 3, stride)
            paths.append(self.chain(x, f"{name}.double3x3", *rows))
            if after == "pass":
                paths.append(F.max_pool2d(x, 3, 2, 1))
            else:
                pooled = F.avg_pool2d(x, 3, 1, 1) if kind == "avg" else F.max_pool2d(x, 3, 1, 1)
                paths.append(self.conv(pooled, f"{name}.pool.1", int(after), 1))
            x = torch.cat(paths, dim=1)
        return self.linear(x.mean(dim=(2, 3)), "fc", CLASSES)


class InceptionResNet(Twin):
    """Szegedy, Ioffe, Vanhoucke, Alemi 2016, figures 10 to 19; residuals scaled by 0.2 (section 3.3: 0.1 to 0.3)."""

    A = B = C = reduction_a = reduction_b = ()

    def stem(self, x):
        raise NotImplementedError

    def forward(self, x):
        x = self.stem(x)
        x = self.residuals(x, "repeat", 5, self.A)
        k, l, m, n = self.reduction_a
        x = torch.cat([
            self.conv(x, "mixed_6a.branch0", n, 3, 2, "valid"),
            self.chain(x, "mixed_6a.branch1", (k, 1), (l, 3), (m, 3, 2, "valid")),
            F.max_pool2d(x, 3, 2),
        ], dim=1)  # fmt: skip
        x = self.residuals(x, "repeat_1", 10, self.B)
        paths = [self.chain(x, f"mixed_7a.branch{i}", *rows) for i, rows in enumerate(self.reduction_b)]
        x = torch.cat([*paths, F.max_pool2d(x, 3, 2)], dim=1)
        x = self.residuals(x, "repeat_2", 5, self.C)
        return self.linear(x.mean(dim=(2, 3)), "classif", CLASSES)

    def residuals(self, x, name, count, paths):
        """Figures 10, 11, 13, 16, 17, 19: the paths, a linear 1x1, and the sum."""
        for number in range(count):
            block = f"{name}.{number}"
            joined = torch.cat(
                [self.chain(x, f"{block}.branch{i}", *rows) for i, rows in enumerate(paths)], dim=1
            )
            C = x.shape[1]
            weight = self.take(f"{block}.conv2d.weight", C, joined.shape[1], 1, 1)
            x = F.relu(x + 0.2 * F.conv2d(joined, weight, self.take(f"{block}.conv2d.bias", C)))
        return x


class InceptionResNetV1(InceptionResNet):
    A = [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (32, 3), (32, 3)]]  # figure 10
    B = [[(128, 1)], [(128, 1), (128, (1, 7)), (128, (7, 1))]]  # figure 11
    C = [[(192, 1)], [(192, 1), (192, (1, 3)), (192, (3, 1))]]  # figure 13
    reduction_a = (192, 192, 256, 384)  # table 1
    reduction_b = [  # figure 12
        [(256, 1), (384, 3, 2, "valid")], [(256, 1), (256, 3, 2, "valid")],
        [(256, 1), (256, 3), (256, 3, 2, "valid")],
    ]  # fmt: skip

    def stem(self, x):
        """Figure 14, from below."""
        x = self.conv(x, "conv2d_1a", 32, 3, 2, "valid")
        x = self.conv(self.conv(x, "conv2d_2a", 32, 3, 1, "valid"), "conv2d_2b", 64, 3)
        x = self.conv(F.max_pool2d(x, 3, 2), "conv2d_3b", 80, 1)
        x = self.conv(x, "conv2d_4a", 192, 3, 1, "valid")
        return self.conv(x, "conv2d_4b", 256, 3, 2, "valid")


class InceptionResNetV2(InceptionResNet):
    A = [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)]]  # figure 16
    B = [[(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))]]  # figure 17
    C = [[(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))]]  # figure 19
    reduction_a = (256, 256, 384, 384)  # table 1
    reduction_b = [  # figure 18
        [(256, 1), (384, 3, 2, "valid")], [(256, 1), (288, 3, 2, "valid")],
        [(256, 1), (288, 3), (320, 3, 2, "valid")],
    ]  # fmt: skip

    def stem(self, x):
        """Figure 3, from below; 1x7 before 7x1, as in the published network."""
        x = self.conv(x, "stem.0", 32, 3, 2, "valid")
        x = self.conv(self.conv(x, "stem.1", 32, 3, 1, "valid"), "stem.2", 64, 3)
        x = torch.cat([F.max_pool2d(x, 3, 2), self.conv(x, "stem.3.conv", 96, 3, 2, "valid")], dim=1)
        valid = (96, 3, 1, "valid")
        short = self.chain(x, "stem.4.branch0", (64, 1), valid)
        long = self.chain(x, "stem.4.branch1", (64, 1), (64, (1, 7)), (64, (7, 1)), valid)
        x = torch.cat([short, long], dim=1)
        return torch.cat([self.conv(x, "stem.5.conv", 192, 3, 2, "valid"), F.max_pool2d(x, 3, 2)], dim=1)


class ResNet50(Twin):
    """He, Zhang, Ren, Sun 2015, table 1; downsampling "by conv3_1, conv4_1, and conv5_1 with a stride of 2": its first.

    Shortcuts: B, projections where the size changes (section 3.3).
    """

    def layer(self, x, block, number, count, kernel, stride=1):
        y = self.plain(x, f"{block}.conv{number}", count, kernel, stride, kernel // 2, bias=False)
        return self.norm(y, f"{block}.bn{number}", 1e-5)

    def forward(self, x):
        x = self.plain(x, "conv1", 64, 7, 2, 3, bias=False)
        x = F.max_pool2d(F.relu(self.norm(x, "bn1", 1e-5)), 3, 2, 1)
        for stage, (blocks, count) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
            for number in range(blocks):
                block, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
                y = F.relu(self.layer(x, block, 1, count, 1, stride))
                y = F.relu(self.layer(y, block, 2, count, 3))
                y = self.layer(y, block, 3, 4 * count, 1)
                if number == 0:
                    x = self.plain(x, f"{block}.downsample.0", 4 * count, 1, stride, bias=False)
                    x = self.norm(x, f"{block}.downsample.1", 1e-5)
                x = F.relu(y + x)
        return self.linear(x.mean(dim=(2, 3)), "fc", CLASSES)


class ResNet14(Twin):
    """Section 4.2, 6n + 2 layers with n = 2: 3x3 alone, 16, 32 and 64 maps; shortcuts A: zeros for new maps."""

    def layer(self, x, block, number, count, stride=1):
        y = self.plain(x, f"{block}.conv{number}", count, 3, stride, 1, bias=False)
        return self.norm(y, f"{block}.bn{number}", 1e-5)

    def forward(self, x):
        x = F.relu(self.norm(self.plain(x, "conv1", 16, 3, 1, 1, bias=False), "bn1", 1e-5))
        for stage, count in enumerate((16, 32, 64), start=1):
            for number in range(2):
                block, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
                y = F.relu(self.layer(x, block, 1, count, stride))
                y = self.layer(y, block, 2, count)
                x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
                x = F.relu(y + x)
        return self.linear(x.mean(dim=(2, 3)), "fc", CLASSES)


TWINS = {  # the twin, our network, its width, the side of the pictures, how many
    "zfnet": (ZFNet, lambda **how: mx.models.zfnet(CLASSES, **how), 1 / 32, 72, 2),
    "googlenet": (GoogLeNet, lambda **how: mx.models.googlenet(CLASSES, "paper", **how), 1 / 8, 224, 1),
    "inception v2": (InceptionV2, lambda **how: mx.models.inception_v2(CLASSES, **how), 1 / 32, 65, 3),
    "inception-resnet v1": (
        InceptionResNetV1, lambda **how: mx.models.inception_resnet(1, CLASSES, **how), 1 / 32, 107, 2),
    "inception-resnet v2": (
        InceptionResNetV2, lambda **how: mx.models.inception_resnet(2, CLASSES, "paper", **how), 1 / 32, 107, 2),
    "resnet of section 4.2": (ResNet14, lambda **how: mx.models.resnet(14, CLASSES, "cifar", **how), 1 / 4, 17, 3),
    "resnet": (ResNet50, lambda **how: mx.models.resnet(50, CLASSES, "paper", **how), 1 / 16, 64, 3),
}  # fmt: skip


def drawn(model, rng):
    """Weights so large that every term counts, in float64, and no dropout."""
    model.astype("float64")
    for name, p in model.named_parameters():
        shape = p.value.shape
        if name.endswith("weight") and len(shape) > 1:
            p.value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        else:
            p.value = rng.uniform(0.5, 1.5, shape) if name.endswith("weight") else rng.normal(0.2, 0.2, shape)
    for layer in all_layers(model):
        if isinstance(layer, mx.Dropout):
            layer.p = 0.0
    return model


@pytest.mark.parametrize("name", TWINS)
def test_a_network_is_what_its_papers_table_says(name):
    kind, make, width, side, pictures = TWINS[name]
    rng = np.random.default_rng(0)
    model = drawn(make(width=width, image_size=side), rng)
    twin = kind(model, width)
    x, labels = rng.normal(size=(pictures, 3, side, side)), rng.integers(0, CLASSES, pictures)
    y = model.forward(x)
    loss = model.loss.forward(y, labels)
    grad_x = model.backward(model.loss.backward(), input_grad=True)

    their_x = torch.tensor(x, requires_grad=True)
    their_y = twin.forward(their_x)
    their_loss = twin.loss(their_y, torch.tensor(labels))
    their_loss.backward()
    assert twin.used == set(twin.parameters)  # nothing of ours is left over
    pairs = {"logits": (y, their_y), "loss": (loss, their_loss), "grad_x": (grad_x, their_x.grad)}
    pairs |= {f"grad of {name}": (p.grad, twin.parameters[name].grad) for name, p in model.named_parameters()}
    pairs |= {name: (buffer.value, twin.running[name]) for name, buffer in model.named_buffers()}
    for what, (ours, theirs) in pairs.items():
        theirs = theirs.detach().numpy()
        assert ours.shape == theirs.shape, what
        largest = np.abs(theirs).max()
        assert largest > 0, what  # nothing is dead, so that every term counts
        assert np.abs(ours - theirs).max() <= SAME * largest, what


def test_a_twin_tells_the_dialects_apart():
    """The paper's ResNet-50 has other numbers than torchvision's: the twin would notice."""
    rng = np.random.default_rng(0)
    model = drawn(mx.models.resnet(50, CLASSES, "torchvision", width=1 / 32, image_size=64), rng)
    twin, x = ResNet50(model, 1 / 32), rng.normal(size=(2, 3, 64, 64))
    assert np.abs(model.forward(x) - twin.forward(torch.tensor(x)).detach().numpy()).max() > 1e-3
