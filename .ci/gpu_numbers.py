"""Part `tests`: the numbers of layers and networks beside float64 on the CPU."""

import copy
import traceback

from gpu_common import TWINS  # isort: skip
import numpy as np

import minialex as mx
from minialex.models.names import network
from minialex.study.benchmarks import table


def layers():
    """Layers with the shape of an input each; response normalisation is tried where its sum counts, alpha near 1."""
    conv = mx.Conv2D(6, 8, (3, 5), stride=(2, 1), padding=(1, 2), groups=2)
    wide = mx.Conv2D(16, 32, 3, padding=1)
    half = mx.Sequential(mx.Conv2D(4, 3, 1), mx.ReLU())
    return {
        "Conv2D": (conv, (5, 6, 11, 9)),
        "Conv2D wide": (wide, (8, 16, 27, 27)),
        "TableConv2D": (mx.TableConv2D([[0, 1], [1, 2], [0, 2]], 3), (4, 3, 9, 8)),
        "Linear": (mx.Linear(70, 33), (9, 70)),
        "MaxPool2D": (mx.MaxPool2D(3, stride=2), (4, 3, 13, 11)),
        "MaxPool2D padded": (mx.MaxPool2D(3, stride=2, padding=1, ceil_mode=True), (4, 3, 12, 11)),
        "AvgPool2D": (mx.AvgPool2D(3, stride=2, padding=1), (4, 3, 13, 11)),
        "GlobalAvgPool2D": (mx.GlobalAvgPool2D(), (4, 3, 7, 6)),
        "AdaptiveAvgPool2D": (mx.AdaptiveAvgPool2D(4), (2, 3, 14, 9)),
        "Subsampling": (mx.Subsampling(3), (4, 3, 8, 6)),
        "LocalResponseNorm": (mx.LocalResponseNorm(5, alpha=0.9, beta=0.75, k=1.0, groups=2), (4, 12, 5, 6)),
        "SameMapNorm": (mx.SameMapNorm(3, alpha=0.9, beta=0.75, k=1.0), (4, 5, 7, 6)),
        "BatchNorm2D": (mx.BatchNorm2D(5), (6, 5, 7, 4)),
        "ReLU": (mx.ReLU(), (5, 7, 3)),
        "Sigmoid": (mx.Sigmoid(), (5, 7, 3)),
        "Tanh": (mx.Tanh(1.7159, 2 / 3), (5, 7, 3)),
        "Dropout": (mx.Dropout(0.5), (64, 33)),
        "Flatten": (mx.Flatten(), (3, 4, 6, 5)),
        "Gate": (mx.Gate((1, 2, 1), reads=(0, 1)), (3, 4, 6, 5)),
        "RBF": (mx.RBF(np.sign(np.random.default_rng(0).standard_normal((10, 84)))), (5, 84)),
        "Branches": (mx.Branches({"one": half, "two": mx.Identity()}), (3, 4, 6, 5)),
        "Sum": (mx.Branches({"one": mx.ReLU(), "two": mx.Scale(2.0)}, merge="add"), (3, 4, 6, 5)),
        "Dense": (mx.Dense(mx.Conv2D(4, 2, 3, padding=1), mx.Conv2D(6, 2, 3, padding=1)), (3, 4, 6, 5)),
    }


def one_pass(layer, x, seed=1):
    """y, grad_x, the gradients and the buffers, on the host."""
    layer.train()
    y = layer.forward(layer.device.asarray(x))
    grad_y = np.random.default_rng(seed).standard_normal(y.shape).astype(x.dtype)
    grad_x = layer.backward(layer.device.asarray(grad_y))
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    buffers = {name: b.value for name, b in layer.named_buffers()}
    return {
        name: mx.to_numpy(a).astype(float)
        for name, a in {"y": y, "grad_x": grad_x, **gradients, **buffers}.items()
    }


def filled(layer, dtype, seed=0):
    """Random weights of about the size that a network has."""
    rng, layer = np.random.default_rng(seed), layer.astype(dtype)
    for _, p in layer.named_parameters():
        p.value = (rng.standard_normal(p.value.shape) / np.sqrt(p.value[0].size or 1)).astype(dtype)
    return layer


def difference(actual, expected):
    """The largest of |a - b| / |b|, of whole arrays; infinite where a number is not finite.

    |b| is at least a millionth of the largest: a bias before a BatchNorm has no gradient but rounding.
    """
    least = 1e-6 * max(np.linalg.norm(b) for b in expected.values())
    ratios = [
        np.linalg.norm(actual[name] - b) / max(np.linalg.norm(b), least) for name, b in expected.items()
    ]
    return max(ratio if np.isfinite(ratio) else float("inf") for ratio in ratios)


def compare_layers(args):
    """Every layer on the device beside the CPU's float64; in float64 1e-12, in float32 1e-5, twins off and on."""
    device, rows, errors, failed = mx.Device(args.device), [], {}, []
    for name, (layer, shape) in layers().items():
        x = np.random.default_rng(3).standard_normal(shape)
        with mx.textbook():
            expected = one_pass(filled(copy.deepcopy(layer), "float64"), x)
        row = [name]
        for dtype, most in (("float64", 1e-12), ("float32", 1e-5)):
            for twins in TWINS:
                device.fast = twins == "on"
                try:
                    there = filled(copy.deepcopy(layer), "float64").astype(dtype).to(device)
                    error = difference(one_pass(there, x.astype(dtype)), expected)
                except Exception as problem:
                    error = float("inf")
                    print(f"{name}, {dtype}, twins {twins}:")
                    traceback.print_exception(problem, limit=-3)
                errors[f"{name} {dtype} {twins}"] = error
                row.append(f"{error:.0e}")
                if not error <= most:
                    failed.append(f"{name} {dtype} twins {twins}: {error:.1e}")
        rows.append(row)
    device.fast = False
    print(table(["layer", "float64, twins off", "on", "float32, twins off", "on"], rows))
    return {"errors": errors, "failed": failed}


# Full depth at small sizes, narrow; and what is so deep that its version for pictures of 32x32 must do.
SIDES = {"resnet18": 64, "resnet50": 64, "vgg11_bn": 32, "densenet121": 64, "googlenet": 224, "inception_v3": 299,
         "smartnet": 64}  # fmt: skip
OF_32_PIXELS = ("zfnet", "inception_v2", "inception_v4", "inception_resnet_v2")


def networks(small):
    """Name by name, what makes a network on a device: AlexNet in two towers at full width, and the others narrow."""
    width, size = (0.06, 67) if small else (1.0, 227)
    yield (
        "alexnet, two towers",
        lambda d: mx.models.alexnet(10, f"{d},{d}", rng=0, width=width, image_size=size),
    )
    yield "lenet", lambda d: mx.models.lenet5(device=d)
    for name in (*SIDES, *OF_32_PIXELS):
        of_32 = small or name not in SIDES
        size = {"width": 0.1 if small else 0.25, "image_size": None if of_32 else SIDES[name]}
        make = network(name, small=of_32)
        yield name, lambda d, make=make, size=size: make(num_classes=10, rng=0, devices=d, **size)


def numbers_of(model):
    """Loss, logits, all gradients, all buffers."""
    rng = np.random.default_rng(5)
    x, labels = rng.standard_normal((2, *model.picture_shape)), rng.integers(0, 10, 2)
    logits = model.forward(model.device.asarray(x))
    loss = model.loss.forward(logits, labels)
    model.backward(model.loss.backward())
    numbers = {"loss": loss, "logits": logits} | {name: p.grad for name, p in model.named_parameters()}
    numbers |= {name: b.value for name, b in model.named_buffers()}
    return {name: mx.to_numpy(a).astype(float) for name, a in numbers.items()}


def compare_networks(args):
    """Logits, loss, all gradients and running statistics, in float64, beside the textbook's on the CPU."""
    device, rows, failed = mx.Device(args.device), [], []
    for name, make in networks(args.small):
        with mx.textbook():
            expected = numbers_of(make("cpu").astype("float64").train())
        errors = {}
        for twins in TWINS:
            device.fast = twins == "on"
            error = errors[twins] = difference(
                numbers_of(make(args.device).astype("float64").train()), expected
            )
            if not error <= 1e-8:
                failed.append(f"{name}, twins {twins}: {error:.1e}")
        rows.append([name, str(len(expected)), *(f"{error:.0e}" for error in errors.values())])
        device.free_memory()
    device.fast = False
    print(table(["network", "arrays", "twins off", "on"], rows))
    return {"rows": rows, "failed": failed}
