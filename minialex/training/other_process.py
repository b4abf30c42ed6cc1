"""DataParallel's other processes: how one is started, what is said to it, what it does, how it ends."""

import atexit
import math
import multiprocessing
import multiprocessing.util  # now, so that what it does at the end comes after what we do
import os
import pickle
import signal
import sys
import time
import traceback
from contextlib import suppress

import numpy as np

from minialex.devices import twins
from minialex.devices.device import Device
from minialex.devices.threads import one_blas_thread
from minialex.layers.dropout import Dropout
from minialex.layers.exits import Exits
from minialex.layers.layer import Layer
from minialex.layers.sequential import all_layers
from minialex.layers.settings import is_setting

_CPU = Device("cpu")
NAME = "minialex-"  # of the other processes, with a number
_HERE = os.getpid()
PATIENCE_S = 1e-3  # so long a process looks for its next message, before it sleeps until there is one


class Other:
    """Another process, as this one sees it. Small things go through a pipe, arrays through memory that both have."""

    def __init__(self, number, model, layout, shared, threads):
        self.number = number
        _, grads, self.pictures = shared
        self.grads = views(grads, layout)
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
        learn = [p.lr_scale for p in model.parameters()]
        self._send(
            (_forward, np.geterr(), twins.choice(_CPU), x.shape, x.dtype, settings, buffers, learn, first)
        )

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
        end_processes([self.process])

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


def end_processes(processes, patience=1.0):
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
        end_processes(
            [one for one in multiprocessing.active_children() if one.name.startswith(NAME)], patience=0
        )
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
    arrays = pictures, views(grads, layout)
    try:
        model = _model_from(pipe.recv(), views(weights, layout))
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


def _forward(model, pictures, grads, shape, dtype, settings, buffers, learn, first):
    for layer, of_layer in zip(all_layers(model), settings, strict=True):
        vars(layer).update(of_layer)
        if isinstance(layer, Dropout):
            layer.first = first
    for (_, buffer), value in zip(model.named_buffers(), buffers, strict=True):
        buffer.value = value
    for parameter, lr_scale in zip(model.parameters(), learn, strict=True):
        parameter.lr_scale = lr_scale
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


def shared_bytes(nbytes):
    """Memory that processes share; it is gone when all of them are."""
    return multiprocessing.get_context("spawn").RawArray("b", nbytes)


def bytes_of(layout):
    return sum(_aligned(shape, dtype) for shape, dtype in layout)


def views(memory, layout):
    """Arrays of these shapes and dtypes, one after the other in the memory."""
    arrays, start = [], 0
    for shape, dtype in layout:
        arrays.append(np.frombuffer(memory, dtype, math.prod(shape), start).reshape(shape))
        start += _aligned(shape, dtype)
    return arrays


def _aligned(shape, dtype):
    """The bytes of an array, up to where the next may begin."""
    return -(-math.prod(shape) * dtype.itemsize // 64) * 64
