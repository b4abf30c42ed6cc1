"""A program of a user who annotates everything. `test_typing.py` runs it, and lets mypy --strict look at it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minialex as mx
from minialex import SGD, Conv2D, Device, Layer, gradcheck, optim, train


class Square(Layer):
    """y = x^2"""

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return x * x

    def backward(self, grad_y: Any) -> Any:
        return 2 * self.saved.x * grad_y


class Scaled(Conv2D):
    """A convolution with a factor."""

    def __init__(self, channels: int, factor: float) -> None:
        super().__init__(channels, channels, kernel_size=3, padding=1, rng=0)
        self.factor = factor

    def check_input(self, x: Any) -> None:
        super().check_input(x)
        if x.shape[2] != x.shape[3]:
            raise ValueError(f"{self} takes square pictures")

    def forward(self, x: Any) -> Any:
        return super().forward(x) * self.factor

    def backward(self, grad_y: Any, input_grad: bool = True) -> Any:
        return super().backward(grad_y * self.factor, input_grad=input_grad)


class Halved(optim.Constant):
    """Half of the rate after each epoch."""

    def __call__(self, epoch: float) -> float:
        rate: float = self.lr * 0.5**epoch
        return rate


def network() -> mx.Model:
    """A small one, with a layer of its own."""
    return mx.Model(
        square=Square(),
        conv=Scaled(1, 0.5),
        relu=mx.ReLU(),
        pool=mx.MaxPool2D(2),
        flatten=mx.Flatten(),
        fc=mx.Linear(16, 3, rng=1),
        loss=mx.SoftmaxCrossEntropy(),
        picture_shape=(1, 8, 8),
    )


def plain() -> mx.Sequential:
    """One that does not know its loss."""
    return mx.Sequential(flatten=mx.Flatten(), fc=mx.Linear(64, 3, rng=1))


def batches(x: np.ndarray, labels: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One after the other."""
    for first in range(0, len(x), size):
        yield x[first : first + size], labels[first : first + size]


def own_loop(model: mx.Model, x: np.ndarray, labels: np.ndarray) -> float:
    """Two epochs, written out; the last batch's loss."""
    optimizer, schedule = SGD(model.parameters(), lr=0.05, momentum=0.9), Halved(0.05)
    value = float("nan")
    for epoch in range(2):
        optimizer.lr = schedule(epoch)
        for pictures, classes in batches(x, labels, 8):
            value = float(model.loss.forward(model.forward(pictures), classes))
            model.backward(model.loss.backward())
            optimizer.step()
    return value


def main(folder: Path) -> list[str]:
    """What it found, as lines."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 1, 8, 8), dtype=np.float32)
    labels = np.arange(24) % 3

    model = network().to("cpu").astype("float32").train()
    said = [f"loss {own_loop(model, x, labels):.3f}"]
    history = train.fit(network(), x, labels, lr=0.05, epochs=1, batch_size=8)
    said.append(f"{len(history)} epoch, error {history[-1]['train_error']:.1f} %")
    said.append(f"error {mx.train.evaluate(model, x, labels).error:.1f} %")
    classes: np.ndarray = mx.train.predict(model, x).argmax(axis=1)
    said.append(f"classes {classes.shape}")

    other, loss = plain(), mx.SoftmaxCrossEntropy()
    train.fit(other, x, labels, loss=loss, lr=0.05, epochs=1, batch_size=8)
    error = train.evaluate(other, x, labels, loss=loss).error
    said.append(
        f"error {error:.1f} %, {train.predict(other, x).shape}, {mx.summary(other, (1, 8, 8)).parameters}"
    )
    said.append(f"{len(mx.timeline.measure_step(other, x, labels, loss=loss))} spans")
    said.append(f"{train.predict(mx.ReLU(), x).shape} of one layer")

    mx.save(model, folder / "small.safetensors")
    mx.load(network(), folder / "small.safetensors")
    arrays = mx.weights.load(folder / "small.safetensors")
    said += [f"{name} {array.shape}" for name, array in arrays.items()]

    report = gradcheck(Scaled(1, 0.5), x[:2].astype("float64"))
    said.append("no bug" if report else str(report))
    said.append(str(mx.summary(model)).splitlines()[0])
    trace = mx.trace(model.eval(), x[:1])
    said.append(f"{len(trace)} arrays, {trace['conv.y'].shape}")

    for layer in model:
        layer.eval()
    weight: mx.Parameter = model["fc"].weight
    said.append(f"{weight.name} {weight.value.shape} {weight.grad.shape}")
    with mx.textbook(), Device("cpu") as device:
        zeros = device.zeros((2, 3), np.float32)
    said.append(f"{mx.device_of(zeros).name} {mx.to_numpy(mx.transfer(zeros, 'cpu')).sum()}")

    try:
        mx.ReLU().backward(zeros)
    except mx.BackwardBeforeForward as error:
        said.append(type(error).__name__)
    net = mx.models.lenet5("modern", rng=0).eval()
    said.append(f"{net.forward(net.prepare(np.zeros((1, 1, 28, 28), np.uint8))).shape}")
    first, second = mx.place("sim:0,sim:1")
    alex = mx.models.alexnet(width=0.05, num_classes=3, devices=(first, second))
    said.append(f"{len(alex.parameters())} parameters")
    y = mx.naive.conv2d(x[:1], np.ones((1, 1, 3, 3), np.float32), stride=2)
    said.append(f"{y.shape} {mx.naive.pad(x[:1], (1, 1)).shape}")
    verdict = mx.check.relu_forward(lambda x: np.maximum(x, 0))
    said.append("right" if verdict else str(verdict))
    return said
