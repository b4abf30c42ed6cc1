"""Our side of benchmark.py: the networks, and their training and evaluation as `minialex.train` has them."""

import functools

import minialex as mx
from minialex import train
from minialex.study import benchmarks
from minialex.study.benchmarks import Side
from minialex.study.timeline import measure_step

AFTER_ALEXNET = {
    "resnet18": functools.partial(mx.models.resnet, 18),
    "vgg11": functools.partial(mx.models.vgg, 11),
    "densenet121": functools.partial(mx.models.densenet, 121),
}


def network(name, width, image_size, classes, devices, towers):
    """AlexNet, or another on the first device."""
    devices = mx.place(devices)
    if name == "lenet":
        return mx.models.lenet5(device=devices[0])
    if name in AFTER_ALEXNET:
        return AFTER_ALEXNET[name](classes, width=width, image_size=image_size, devices=devices[0].name)
    return mx.models.alexnet(classes, devices, towers=towers, width=width, image_size=image_size)


def devices_of(model):
    return [model.device, *getattr(model, "devices", ())]


def training(model, x, labels, settings, name="minialex", processes=1) -> Side:
    """Steps of SGD; each reads the loss, and counts right answers as well. settings: lr, momentum, weight_decay."""
    if processes > 1:
        model = mx.DataParallel(model, processes)
    x, labels = model.device.asarray(x), model.device.asarray(labels)
    optimizer = mx.SGD(model.train().parameters(), **settings)
    return Side(
        name,
        lambda: float(train.train_step(model, optimizer, x, labels)[0]),
        lambda: benchmarks.wait_for(devices_of(model)),
    )


def evaluation(model, x) -> Side:
    """The logits of a batch."""
    x = model.eval().device.asarray(x)
    return Side("minialex", lambda: model.forward(x), lambda: benchmarks.wait_for(devices_of(model)))


def layer_times(model, x, labels, settings):
    """A function that measures each layer within a training step: seconds forward and backward by name."""
    x, labels = model.device.asarray(x), model.device.asarray(labels)
    optimizer = mx.SGD(model.parameters(), **settings)
    return lambda: benchmarks.layer_seconds(measure_step(model, x, labels, optimizer))


def gpu_bytes(model):
    """What CuPy's pools have taken from the GPUs; 0 on the CPU."""
    return benchmarks.pool_bytes(devices_of(model))
