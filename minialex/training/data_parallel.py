"""Data parallelism: copies of a model, each in a process of its own, share a batch.

AlexNet's towers divide the model, and each sees all pictures. Here the pictures are divided, and each copy has all of
the model (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks": it suits convolutions,
much work for few weights). A parameter's gradient is a sum over pictures: the copies' are added up.

Why processes: Python runs one thread at a time, and NumPy lets others run only while it computes. LeNet-5 computes in
many short operations. Its step of 128 pictures took 11.8 ms; with 64 on each of two threads, which waited for each
other between the operations, 10.8 to 13.3; in two processes, predicted 6.6, and found 7.3.
"""

import textwrap
from contextlib import contextmanager
from typing import Any

import numpy as np

from minialex.devices.device import Device
from minialex.devices.threads import limited, one_blas_thread
from minialex.errors import BackwardBeforeForward
from minialex.layers.layer import Array, Layer
from minialex.layers.model import Model
from minialex.layers.sequential import all_layers
from minialex.shapes import parts_of, positive
from minialex.training.other_process import Other, bytes_of, end_processes, left_by, shared_bytes, views

LEAST = 8  # pictures that are worth a process


class DataParallel(Model):
    """forward: the logits of the whole batch; backward: the gradients of the model's parameters, over the whole batch

    It has the model's layers and parameters: what trains, tests or saves the one takes the other. On the CPU,
    `processes` share the work, this one among them (left out: `Device("cpu").threads` of them), each with 8 pictures
    at least. The others start with the first batch, and anew for larger pieces of a batch; they end with `close`, at
    the end of a `with`, and when the object goes. The same number of processes gives the same bits. Dropout draws the
    masks that it would draw in one process.

    The others take over parameters, buffers and plain settings (numbers, texts, tuples, None) in each forward, anything
    else when they start. A layer that mixes the pictures of a batch sees its process's alone: batch normalisation uses
    the mean and variance of each share, and its running ones are those of the first share, as in PyTorch. A layer of
    your own must stand in a module that can be imported, not in a notebook. A script needs
    `if __name__ == "__main__":` around what it does, since each process imports it.

    Raises TypeError for what is no model; forward raises ValueError for a model that is not on the CPU, RuntimeError
    if one of the processes dies or cannot have the model.

    >>> from minialex.layers import Flatten, Linear, SoftmaxCrossEntropy
    >>> from minialex.training.optim import SGD
    >>> model, loss = Model(flatten=Flatten(), output=Linear(36, 10)), SoftmaxCrossEntropy()
    >>> x = np.random.default_rng(0).standard_normal((20, 1, 6, 6), dtype=np.float32)
    >>> with DataParallel(model, processes=2) as parallel:            # ten pictures in each
    ...     optimizer = SGD(model.parameters(), lr=0.1)
    ...     for _ in range(2):
    ...         value = loss.forward(parallel.forward(x), np.arange(20) % 10)
    ...         parallel.backward(loss.backward())
    ...         optimizer.step()
    >>> parallel
    DataParallel(processes=2
      model: Model(
        flatten: Flatten()
        output: Linear(in_features=36, out_features=10)
      )
    )
    """

    needs_batch = True

    def __init__(self, model: Model, processes: int | None = None):
        if not isinstance(model, Model) or isinstance(model, DataParallel):
            name = model.__name__ if isinstance(model, type) else type(model).__name__
            raise TypeError(f"DataParallel takes a Model, as mx.models.lenet5() gives one, not a {name}")
        self.model = model
        self.processes = positive(Device("cpu").threads if processes is None else processes, "processes")
        self._others: list[Other] = []
        self._layers: list[Layer] = []  # those that the others have
        self._shares: list[slice] = []  # the pictures of each process, in the last forward

    def __getattr__(self, name: str) -> Any:  # layers, loss, picture_shape, prepare, ...: the model's
        if name == "model" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.model, name)

    training = property(lambda self: self.model.training, lambda self, mode: self.train(mode))

    def __setattr__(self, name: str, value: Any) -> None:
        """What the model has is set there: leave_at, loss, classes, ..."""
        model = vars(self).get("model")
        of_all = hasattr(type(self), name)  # what every layer has: name, forward, ...
        if model is not None and (name in model.takes or (hasattr(model, name) and not of_all)):
            setattr(model, name, value)
        else:
            super().__setattr__(name, value)

    def children(self) -> dict[str, Layer]:
        return self.model.children()

    def forward(self, x: Array) -> Array:
        own, *shares = self._shares = self._deal_out(len(x))
        with self._in_step():
            others = self._ready(len(shares), room=max((x[share].nbytes for share in shares), default=0))
            for other, share in zip(others, shares, strict=True):
                other.start_forward(self.model, x[share], share.start)
            mine = self.model.forward(x[own]), left_by(self.model)
            logits, left = zip(mine, *(other.answer() for other in others), strict=True)
        self._went_forward = self.model._output
        if left[0] is not None:
            self.model.left = np.concatenate(left)
        return np.concatenate(logits)

    def backward(self, grad_logits: Array, input_grad: bool = False) -> Array:
        own, *shares = self._shares
        others = self._others[: len(shares)]
        if len(others) < len(shares) or self.model._output is not self._went_forward:
            what = (
                "its model went forward or backward alone" if len(others) == len(shares) else "it was closed"
            )
            raise BackwardBeforeForward(f"{self}: {what} since its forward: go forward again")
        with self._in_step():
            for other, share in zip(others, shares, strict=True):
                other.start_backward(grad_logits[share], input_grad)
            own_grad = self.model.backward(grad_logits[own], input_grad=input_grad)
            grads = [own_grad, *(other.answer() for other in others)]
        for other in others:  # in order: the same bits each time
            for parameter, grad in zip(self.parameters(), other.grads, strict=True):
                parameter.grad += grad
        return np.concatenate(grads) if input_grad else None

    def close(self) -> None:
        """End the other processes; the next forward starts new ones. It takes no longer than a few seconds."""
        others, self._others = self._others, []
        for other in others:
            other.pipe.close()  # it ends when it finds nobody there
        end_processes([other.process for other in others])

    def __enter__(self) -> "DataParallel":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def __getstate__(self):
        # A process is not copied.
        return {**vars(self), "_others": [], "_layers": [], "_memory": None, "_weights": []}

    def __repr__(self) -> str:
        return (
            f"DataParallel(processes={self.processes}\n{textwrap.indent(f'model: {self.model!r}', '  ')}\n)"
        )

    def train(self, mode: bool = True) -> "DataParallel":
        self.model.train(mode)
        return self

    def to(self, devices) -> "DataParallel":
        """Move the model. Anywhere but on the CPU, forward raises ValueError."""
        self.model.to(devices)
        return self

    def check_input(self, x: Array) -> None:
        elsewhere = {layer.device.name for layer in all_layers(self.model)} - {"cpu"}
        if elsewhere:
            raise ValueError(
                f"DataParallel shares a CPU's work, its model is on {', '.join(sorted(elsewhere))}: "
                'use model.to("cpu"), or the model without DataParallel'
            )
        Layer.check_input(self, x)
        self.model.check_input(x)

    def check_grad(self, grad_y: Array) -> None:
        Layer.check_grad(self, grad_y)  # the whole of it: each process sees its own rows

    def _deal_out(self, count):
        """The pictures of each process; a small batch is for fewer."""
        parts = max(1, min(self.processes, count // LEAST))
        return parts_of(count, parts)

    def _ready(self, count, room):
        """So many other processes, with the parameters as they are now, and room for so many bytes of pictures."""
        if not count:
            return []
        parameters = self.parameters()
        layout = [(p.value.shape, p.value.dtype) for p in parameters]
        layers = all_layers(self.model)
        replaced = [id(layer) for layer in layers] != [id(layer) for layer in self._layers]
        if not self._others or self._layout != layout or self._room < room or replaced:
            self.close()
            self._layers = layers
            self._layout, self._room, self._memory = layout, room, shared_bytes(bytes_of(layout))
            self._weights = views(self._memory, layout)
        while len(self._others) < count:
            self._start_another()
        for parameter, weight in zip(parameters, self._weights, strict=True):
            weight[...] = parameter.value
        return self._others[:count]

    def _start_another(self):
        for layer in all_layers(self.model):
            layer.saved = layer._output = None  # what an earlier forward kept need not travel
        shared = self._memory, shared_bytes(bytes_of(self._layout)), shared_bytes(self._room)
        number = len(self._others) + 1
        self._others.append(Other(number, self.model, self._layout, shared, self._threads))

    @property
    def _threads(self):
        """Of each process."""
        return max(1, Device("cpu").threads // self.processes)

    @contextmanager
    def _in_step(self):
        """This process takes its share of the threads. Whatever goes wrong, no stale answer is ever read."""
        try:
            with one_blas_thread, limited(self._threads):
                yield
        except BaseException:
            self.close()
            raise
