"""What a GPU is asked to do: networks and layers at work on `sim`, in the manner of `cuda`."""

import functools
import runpy
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import numpy as np

import minialex as mx
from minialex.devices import simdevice, twins
from minialex.devices.cuda import Cuda
from minialex.devices.device import Device, to_numpy
from minialex.devices.sim import Sim
from minialex.layers import MAPLoss
from minialex.layers.sequential import all_layers
from minialex.training.evaluation import scores_of


def of_tests(path):
    """The names in another room's file of tests."""
    return runpy.run_path(str(Path(__file__).parents[1] / path))


LAYERS = of_tests("layers/test_layer.py")["LAYERS"]


# ---- a pretended GPU whose matrix products and twins are CUDA's -----------------------------------------------------


class LikeCuda(Cuda, Sim):
    """Cuda's lines, as far as they need no driver, on SimArrays."""

    _current = Sim._current

    def _open(self):
        self.not_straight_from = set()

    def free_memory(self):
        pass

    def _receive_from_gpu(self, array, source):
        return simdevice.copy_between(array, self.index)


def like_cuda(name, fast):
    device = object.__new__(LikeCuda)
    device.name, device.kind, device.index, device.fast = name, "sim", int(name[-1]), fast
    device._entered, device.upload_ahead = Device(name)._entered, False
    device._open()
    return device


def kernels():
    """In place of the CUDA kernels: their results are ones."""
    on_a_cpu = of_tests("fast/cuda_on_a_cpu.py")

    def kernel(name, *types):
        results = [
            "*" in parameter and not parameter.startswith("const") and name not in on_a_cpu["IN_PLACE"]
            for parameter in on_a_cpu["parameters_of"](name)
        ]

        def run(grid, block, arguments):
            for is_result, argument in zip(results, arguments, strict=True):
                if is_result:
                    argument._values[...] = 1

        return run

    return functools.cache(kernel)


@contextmanager
def in_the_manner_of_cuda(fast: bool):
    """`sim:0` and `sim:1` with Cuda's lines; and with its twins, fast."""
    twins_of = twins.twins_of
    with (
        mock.patch.dict(Device._known, {name: like_cuda(name, fast) for name in ("sim:0", "sim:1")}),
        mock.patch.object(twins, "twins_of", lambda kind: twins_of("cuda" if kind == "sim" else kind)),
        mock.patch("minialex.fast.cuda.kernels._kernel", kernels()) if fast else nullcontext(),
    ):
        yield


# ---- networks -------------------------------------------------------------------------------------------------------

FITTED = {
    "lenet, modern": lambda d: mx.models.lenet5(activation="relu", dropout=0.5, device=d),
    "lenet, sigmoid": lambda d: mx.models.lenet5(activation="sigmoid", device=d),
    "lenet, 1998": lambda d: mx.models.lenet5("1998", device=d),
    "lenet, keras": lambda d: mx.models.lenet5("keras", device=d),
    "alexnet, one tower": lambda d: mx.models.alexnet(10, d, "torchvision", width=0.03, image_size=63),
    "alexnet, two towers": lambda d: mx.models.alexnet(10, f"{d},sim:1", width=0.06, image_size=67),
}
STEPPED = {
    "zfnet": lambda d: mx.models.zfnet(10, preset="small", width=0.05, devices=d),
    "vgg, batch normalisation": lambda d: mx.models.vgg(11, 10, preset="small", width=0.03, devices=d),
    "googlenet": lambda d: mx.models.googlenet(10, width=0.03, image_size=33, devices=d),
    "resnet of two": lambda d: mx.models.resnet(8, 10, "cifar", width=0.25, image_size=8, devices=d),
    "resnet of three": lambda d: mx.models.resnet(50, 10, width=0.03, image_size=32, devices=d),
    "densenet": lambda d: mx.models.densenet(10, 10, "small", width=0.5, image_size=8, devices=d),
}
# Many layers, of which each kind is in one of those above: once is enough.
LARGE = {
    "inception, 2": lambda d: mx.models.inception_v2(10, "small", width=0.05, devices=d),
    "inception, 3": lambda d: mx.models.inception_v3(10, "small", width=0.05, devices=d),
    "inception, 4": lambda d: mx.models.inception_v4(10, "small", width=0.05, devices=d),
    "inception, residual": lambda d: mx.models.inception_resnet(2, 10, "small", width=0.05, devices=d),
}


def data_for(model, count=2):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *model.picture_shape), dtype=np.float32), rng.integers(0, 10, count)


def train_and_test(model):
    """What `fit` does: an epoch of steps, and a test."""
    x, labels = data_for(model, 4)
    quiet = mx.train.ErrorReport(lambda line: None, bar=False)
    options = {"lr": 1e-6, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 2, "report": quiet}
    mx.train.fit(model, x, labels, epochs=1, test=(x, labels), **options)


def one_step(model):
    """A step in training, and the scores in evaluation."""
    x, labels = data_for(model)
    x = model.device.asarray(x)
    optimizer = mx.SGD(model.train().parameters(), 1e-6, weight_decay=5e-4)
    mx.train.train_step(model, optimizer, x, labels)
    scored(model.eval(), x, labels)
    put_back(model, optimizer)


def put_back(model, optimizer):
    """As from a checkpoint."""
    mx.weights.import_grouped(model, mx.weights.export_grouped(model))
    optimizer.set_velocities(map(to_numpy, optimizer.velocities))


def scored(model, x, labels):
    logits = model.forward(x)
    labels = model.loss.take_labels(logits, labels)
    return to_numpy(scores_of(model, logits, labels, model.loss.forward(logits, labels)))


def smartnet(device):
    """Exit by exit, with gates that close; leaving early, and back; cut down, and another step."""
    model = mx.models.smartnet(2, 10, "small", width=0.2, image_size=16, blocks="2x6 2x6", devices=device)
    x, labels = data_for(model, 6)
    x = model.device.asarray(x)
    for exit in (1, 2, None):
        optimizer = mx.SGD(model.learn(exit).train().parameters(), 1e-3, penalty=1e-3)
        mx.train.train_step(model, optimizer, x, labels)
    gates = [
        layer for layer in all_layers(model) if isinstance(layer, mx.layers.Gate) and len(layer.sizes) > 1
    ]
    gates[0].weight.value[...] = 0  # a layer that reads nothing any more
    for gate in gates[1:]:
        gate.weight.value[0] = 0
    model.eval().answers(x)
    for sure in (0.0, 0.11, 1.0):
        model.leave_at = sure
        scored(model, x, labels)
        model.backward(model.loss.backward())
    model.leave_at = None
    one_step(model.compact())


# ---- layers, one by one ----------------------------------------------------------------------------------------------


def each_layer(device):
    """Every layer alone, in float32 and float64, in training and in evaluation."""
    for make, shape in LAYERS.values():
        for dtype in ("float32", "float64"):
            for training in (True, False):
                layer = make().to(device).train(training)
                layer = layer if layer.dtype is None else layer.astype(dtype)
                x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
                y = layer.forward(layer.device.asarray(x))
                layer.backward(y)


def losses(device):
    for loss in (mx.SoftmaxCrossEntropy().to(device), MAPLoss().to(device)):
        for dtype in ("float32", "float64"):
            loss.forward(loss.device.asarray(np.ones((3, 4), dtype)), [0, 1, 3])
            loss.backward()


def odd_updates(device):
    """SGD of weights that lie across their memory, and of a type that no kernel is for."""
    for value in (np.ones((3, 4), np.float32).T, np.ones((3, 4), np.float16)):
        device = Device(device)
        weight = mx.Parameter(device.asarray(value.T).T)
        weight.grad = device.asarray(value)
        mx.SGD([weight], 0.1, weight_decay=0.1).step()


def all_works(fast: bool):
    """By the textbook's lines, or by the twins, as a GPU does if nobody objects."""
    for make in FITTED.values():
        train_and_test(make("sim:0"))
    for make in [*STEPPED.values(), *(LARGE.values() if fast else ())]:
        one_step(make("sim:0"))
    for work in (smartnet, each_layer, losses, odd_updates):
        work("sim:0")
