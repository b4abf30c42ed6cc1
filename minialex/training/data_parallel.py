"""Data parallelism: copies of a model, each in a process of its own, share a batch.

AlexNet's towers divide the model, and each sees all pictures. Here the pictures are divided, and each copy has all of
the model (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks": it suits convolutions,
much work for few weights). A parameter's gradient is a sum over pictures: the copies' are added up.

Why processes: Python runs one thread at a time, and NumPy lets others run only while it computes. LeNet-5 computes in
many short operations. Its step of 128 pictures took 11.8 ms; with 64 on each of two threads, which waited for each
other between the operations, 10.8 to 13.3; in two processes, predicted 6.6, and found 7.3.
"""

import atexit
import math
import multiprocessing
import multiprocessing.util  # now, so that what it does at the end comes after what we do
import os
import pickle
import signal
import sys
import textwrap
import time
import traceback
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from minialex.devices import twins
from minialex.devices.device import Device
from minialex.devices.threads import limited, one_blas_thread
from minialex.errors import BackwardBeforeForward
from minialex.layers.dropout import Dropout
from minialex.layers.exits import Exits
from minialex.layers.layer import Array, Layer
from minialex.layers.sequential import Model, all_layers
from minialex.layers.settings import is_setting
from minialex.shapes import parts_of, positive

_CPU = Device("cpu")
LEAST = 8  # pictures that are worth a process
NAME = "minialex-"  # of the other processes, with a number
_HERE = os.getpid()
PATIENCE_S = 1e-3  # so long a process looks for its next message, before it sleeps until there is one


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
        self._others: list[_Other] = []
        self._layers: list[Layer] = []  # those that the others have
        self._shares: list[slice] = []  # the pictures of each process, in the last forward

    def __getattr__(self, name: str) -> Any:  # layers, loss, picture_shape, prepare, ...: the model's
        if name == "model" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.model, name)

    training = property(lambda self: self.model.training)

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
        _end([other.process for other in others])

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
            self._layout, self._room, self._memory = layout, room, _shared(_bytes_of(layout))
            self._weights = _views(self._memory, layout)
        while len(self._others) < count:
            self._start_another()
        for parameter, weight in zip(parameters, self._weights, strict=True):
            weight[...] = parameter.value
        return self._others[:count]

    def _start_another(self):
        for layer in all_layers(self.model):
            layer.saved = layer._output = None  # what an earlier forward kept need not travel
        shared = self._memory, _shared(_bytes_of(self._layout)), _shared(self._room)
        number = len(self._others) + 1
        self._others.append(_Other(number, self.model, self._layout, shared, self._threads))

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


class _Other:
    """Another process, as this one sees it. Small things go through a pipe, arrays through memory that both have."""

    def __init__(self, number, model, layout, shared, threads):
        self.number = number
        _, grads, self.pictures = shared
        self.grads = _views(grads, layout)
        if multiprocessing.current_process().daemon:
            raise RuntimeError(
                "DataParallel cannot start processes here: this one is daemonic itself, as a Pool's are, and may have "
                "none. Use the model alone, or processes=1, or start this one with daemon=False"
            )
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self.pipe, its_pipe = context.Pipe()
        args = (its_pipe, layout, shared, threads)
        self.process = context.Process(target=_work, args=args, name=f"{NAME}{number}", daemon=True)
        self.process.start()
        its_pipe.close()  # so that its end is seen here
        try:
            model = pickle.dumps(model)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self.close()
            raise RuntimeError(f"{_NOT_IMPORTABLE}: {error}") from error
        self._send(model)  # not with the other args: to start with so much blocks, should it end at once

    def start_forward(self, model, x, first):
        np.frombuffer(self.pictures, x.dtype, x.size).reshape(x.shape)[...] = x
        settings = [settings_of(layer) for layer in all_layers(model)]
        buffers = [buffer.value for _, buffer in model.named_buffers()]
        self._send((_forward, np.geterr(), twins.choice(_CPU), x.shape, x.dtype, settings, buffers, first))

    def start_backward(self, grad_logits, input_grad):
        self._send((_backward, np.geterr(), twins.choice(_CPU), grad_logits, input_grad))

    def answer(self):
        """What it has worked out. An error that it came upon is raised here."""
        try:
            answer, error, where = _receive(self.pipe)
        except (EOFError, OSError):
            self._has_ended()
        if error:
            raise error from RuntimeError(f"in process {self.number} of DataParallel:\n{where}")
        return answer

    def close(self):
        self.pipe.close()
        _end([self.process])

    def _send(self, message):
        try:
            self.pipe.send(message)
        except OSError:
            self._has_ended()

    def _has_ended(self):
        self.process.join(timeout=2)
        code = self.process.exitcode
        why = (
            "often for want of memory; then use fewer processes"
            if code is not None and code < 0
            else "its own message stands above. It must be able to import the program: run a file, not stdin, and have "
            'what a script does under `if __name__ == "__main__":`'
        )
        raise RuntimeError(
            f"process {self.number} of DataParallel has ended, with exit code {code}, before it answered ({why})"
        ) from None


def _end(processes, patience=1.0):
    """Wait until they have ended by themselves, for so many seconds in all; then end them.

    One that is stopped (Ctrl-Z, SIGSTOP) or hangs never ends by itself, nor does it hear SIGTERM: SIGKILL ends all.
    """
    deadline = time.monotonic() + patience
    for process in processes:
        process.join(timeout=max(0.0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
    for process in processes:
        process.join(timeout=1)  # one in the middle of a disk's work ends after it: nobody waits for that


@atexit.register  # after all else; multiprocessing's own, which comes next, would wait for a stopped process for ever
def _end_all():
    if os.getpid() == _HERE:  # a child that was forked has others' children in its list
        _end([one for one in multiprocessing.active_children() if one.name.startswith(NAME)], patience=0)
        _wake_the_helper()


def _wake_the_helper():
    """multiprocessing's resource tracker ends when its pipe is closed: if it is not stopped as well."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    if pid := getattr(tracker, "_pid", None):
        with suppress(OSError):
            os.kill(pid, signal.SIGCONT)


_NOT_IMPORTABLE = (
    "DataParallel: another process cannot have this model. Its layers must stand in a module that can be imported, not "
    "in a notebook, in a function or behind a lambda"
)


def settings_of(layer: Layer) -> dict:
    """What is set in a layer besides arrays: p, alpha, training, how many steps dropout has counted."""
    settings = {name: value for name, value in vars(layer).items() if name[0] != "_" and name != "saved"}
    return {name: value for name, value in settings.items() if value is None or is_setting(value)}


def left_by(model):
    """By which exit each picture of the last forward left; None where they do not."""
    return model.left if isinstance(model, Exits) else None


def _work(pipe, layout, shared, threads):
    """What another process does: tasks, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which closes the pipe
    Device("cpu").threads = threads
    weights, grads, pictures = shared
    arrays = pictures, _views(grads, layout)
    try:
        model = _model_from(pipe.recv(), _views(weights, layout))
        with one_blas_thread:
            while True:
                function, errors, choice, *args = _receive(pipe)
                try:
                    if isinstance(model, Exception):
                        raise model
                    with np.errstate(**errors), twins.chosen_as(_CPU, choice):
                        answer = function(model, *arrays, *args), None, ""
                except Exception as error:  # for the first process to raise
                    answer = None, error, traceback.format_exc()
                pipe.send(answer)
    except (EOFError, OSError):  # nobody there any more
        return


def _model_from(pickled, weights):
    """The model, its parameters in the memory that is shared; or the error to answer with."""
    try:
        model = pickle.loads(pickled)
    except (AttributeError, ImportError) as error:
        return RuntimeError(f"{_NOT_IMPORTABLE}: {error}")
    for parameter, value in zip(model.parameters(), weights, strict=True):
        parameter.value = value
    return model


def _forward(model, pictures, grads, shape, dtype, settings, buffers, first):
    for layer, of_layer in zip(all_layers(model), settings, strict=True):
        vars(layer).update(of_layer)
        if isinstance(layer, Dropout):
            layer.first = first
    for (_, buffer), value in zip(model.named_buffers(), buffers, strict=True):
        buffer.value = value
    logits = model.forward(np.frombuffer(pictures, dtype, math.prod(shape)).reshape(shape))
    return logits, left_by(model)


def _backward(model, pictures, grads, grad_logits, input_grad):
    grad_x = model.backward(grad_logits, input_grad=input_grad)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        grad[...] = parameter.grad
    return grad_x


def _receive(pipe):
    """The next message. It may come at any moment, and to fall asleep and be woken takes a tenth of a millisecond."""
    patience = time.perf_counter() + PATIENCE_S
    while not pipe.poll() and time.perf_counter() < patience:
        pass
    return pipe.recv()


def _shared(nbytes):
    """Memory that processes share; it is gone when all of them are."""
    return multiprocessing.get_context("spawn").RawArray("b", nbytes)


def _bytes_of(layout):
    return sum(_aligned(shape, dtype) for shape, dtype in layout)


def _views(memory, layout):
    """Arrays of these shapes and dtypes, one after the other in the memory."""
    arrays, start = [], 0
    for shape, dtype in layout:
        arrays.append(np.frombuffer(memory, dtype, math.prod(shape), start).reshape(shape))
        start += _aligned(shape, dtype)
    return arrays


def _aligned(shape, dtype):
    """The bytes of an array, up to where the next may begin."""
    return -(-math.prod(shape) * dtype.itemsize // 64) * 64
