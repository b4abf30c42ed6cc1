"""trace: every number of one pass through a network, forwards and backwards, by name.

The layers' own lines run, and what they make is kept: nothing here knows what is inside of a layer.

>>> from minialex.layers import Conv2D, Flatten, Linear, Sequential, SoftmaxCrossEntropy
>>> model = Sequential(conv1=Conv2D(1, 1, 2), flat=Flatten(), fc=Linear(4, 2))
>>> found = trace(model, np.ones((1, 1, 3, 3), dtype=np.float32), [1], loss=SoftmaxCrossEntropy())
>>> found["conv1.padded"].shape, found["conv1.padded"].formula
((1, 1, 3, 3), 'padded = pad(x, self.padding)')
>>> [name for name in found if name.startswith("fc.")][:6]
['fc.x', 'fc.weight', 'fc.bias', 'fc.y', 'fc.grad_y', 'fc.grad_weight']
"""

import contextlib
import copy
import io
import random
import sys
import threading
import warnings

import numpy as np

from minialex.devices.device import is_array
from minialex.devices.twins import textbook
from minialex.layers import Layer, Loss, Sequential
from minialex.layers.calls import watcher
from minialex.layers.settings import as_array
from minialex.tracing.book import Book
from minialex.tracing.entries import Trace
from minialex.tracing.watch import SEQUENTIAL, Call, Watcher, host, paths_of
from minialex.training.arrays import check_loss
from minialex.training.data_parallel import DataParallel
from minialex.training.optim import check_optimizer
from minialex.words import a_or_an

_one_at_a_time = threading.RLock()


def trace(model: Layer, x, labels=None, *, grad_y=None, loss: Layer | None = None, optimizer=None) -> Trace:
    """Every array of one forward pass, and of the backward pass after it, by name: a Trace.

    model: a network or a single layer, in the mode, dtype and place that it has; a copy of it does the work, so that
    nothing of yours changes, dropout's count of steps included. Its layers run their own lines, the textbook's, and
    what is kept is each local array of their forward and backward, with the lines that write it; so it is with a layer
    that you wrote. Where such a layer is made of functions, name them, and their locals are kept too:
    `traced = (my_forward, my_backward)` in the class.
    x: the input, from any device.
    labels: then the loss follows (`model.loss`, or `loss`, a loss layer) and the pass back. Or grad_y, the upstream
    gradient of what the model gives; with neither, forward only.
    optimizer: an SGD over the model's parameters: then one step of it follows, of a copy, and shows for each parameter
    the new velocity and the new weight, "sgd.conv1.weight.v" and "sgd.conv1.weight.w".

    Names: "conv1.columns"; of a list or a dict of arrays each, "inception3a.ys[branch1]"; in towers "conv2[0].columns";
    of a single layer "columns". What comes in and out is called x, y, grad_y and grad_x, of a loss logits, labels, loss
    and grad_logits. A second array of the same name and with other numbers (backward's `scale` may be another than
    forward's) is "scale_2". Columns are (N, C*kh*kw, OH*OW), with groups (N, G, C/G*kh*kw, OH*OW).
    Raises TypeError for what is no layer, no loss or no optimizer, ValueError for labels without a loss, a loss without
    labels, labels beside grad_y, an optimizer without a pass back or of other parameters; and what the layers raise for
    arrays that they cannot take.

    >>> from minialex.layers import Linear
    >>> list(trace(Linear(3, 2), np.ones((1, 3), dtype=np.float32)))
    ['x', 'weight', 'bias', 'y']
    """
    if not isinstance(model, Layer):
        what = f"the class {model.__name__}" if isinstance(model, type) else a_or_an(type(model).__name__)
        raise TypeError(f"trace takes a layer or a network, not {what}")
    if isinstance(loss, type):
        raise TypeError(f"trace: loss is the class {loss.__name__}: write {loss.__name__}(...)")
    if loss is not None:
        check_loss(loss)
    if optimizer is not None:
        check_optimizer(optimizer, "trace", has=("step", "parameters"))
    if labels is not None and grad_y is not None:
        raise ValueError("trace: give labels, or grad_y, not both: the loss makes grad_y from the labels")
    x, grad_y = _arrays("x", x), grad_y if grad_y is None else _arrays("grad_y", grad_y)
    title = f"{model}"
    if isinstance(model, DataParallel):
        model = model.model  # a trace is of one process
    alone = isinstance(model, Loss)
    loss = loss or getattr(model, "loss", None)
    if alone and (labels is None or grad_y is not None):
        raise ValueError(f"trace: {title} is a loss: give labels, and no grad_y")
    if labels is not None and not alone and not isinstance(loss, Loss):
        raise ValueError(
            f"trace: labels need a loss, and {title} has none: give loss=mx.SoftmaxCrossEntropy(), or grad_y"
        )
    if optimizer is not None and labels is None and grad_y is None:
        raise ValueError("trace: an optimizer needs a pass back before its step: give labels, or grad_y")
    known = {id(p) for p in model.parameters()}
    if optimizer is not None and any(id(p) not in known for p in optimizer.parameters):
        raise ValueError(f"trace: the optimizer trains parameters that are not among those of {title}")
    given = model, None if alone else loss, optimizer
    model, loss, optimizer = copy.deepcopy(given)
    made = _pass(model, loss, x, labels, grad_y, host)
    shapes = _second_pass(copy.deepcopy(given[:2]), x, labels, grad_y)
    book = Book(made.paths, shapes, _pictures(x))
    sequential = _is_sequential(model, "forward")
    if sequential:  # then x and grad_x have names without a layer, too
        book.whole("x", made.x, "x is what the network is given")
    for call in made.calls:
        book.add(call)
    if sequential and made.grad_x is not None and _is_sequential(model, "backward"):
        book.whole("grad_x", made.grad_x, "grad_x = dloss / dx, the gradient of what the network was given")
    if optimizer is not None:
        with textbook():
            optimizer.step()
        book.update(optimizer, model)
    return Trace(title, book.entries, book.layers)


class _Pass:
    """What one pass has given: its calls, the layers' names, and what went in and came back at its two ends."""

    calls: list[Call]
    paths: dict[int, str | None]
    x = grad_x = None


def _pass(model, loss, x, labels, grad_y, keep) -> _Pass:
    """One pass, forwards, and backwards if there are labels or a grad_y. keep: what is kept of an array."""
    for parameter in model.parameters():
        parameter.grad = None  # what backward forgets to set must not be left over from before
    done = _Pass()
    done.paths = paths_of(model)
    if loss is not None:
        done.paths |= paths_of(loss, "loss")
    watching = Watcher(done.paths, keep)
    x = _placed(model, x)
    done.x = _hosts(x)

    def both_ways(grad_y):
        y = model.forward(x) if not isinstance(model, Loss) else model.forward(x, labels)
        if isinstance(model, Loss):
            model.backward()
            return
        if labels is not None:
            loss.forward(y, labels)
            grad_y = loss.backward()
        elif grad_y is not None:
            grad_y = _placed(model, grad_y)
        if grad_y is not None:
            done.grad_x = _hosts(model.backward(grad_y, input_grad=True))

    before = watcher.set(watching)
    try:
        watching.start(both_ways, grad_y)
    finally:
        watcher.reset(before)
    done.calls = watching.calls
    return done


def _second_pass(models, x, labels, grad_y) -> dict | None:
    """The shapes of all arrays when the batch has one picture more, by which its axis is known.

    None if that fails: a layer may be made for one size of batch. Whatever it prints, warns of, or draws from NumPy's
    and Python's shared generators stays in here; all this belongs to the whole process, so one pass has it at a time.
    """
    try:
        with _one_at_a_time, _unnoticed():
            more = [None if one is None else _one_more(one) for one in (x, labels, grad_y)]
            calls = _pass(*models, *more, keep=lambda array: tuple(array.shape)).calls
    except Exception:
        return None
    return shapes_of(calls)


@contextlib.contextmanager
def _unnoticed():
    """No printing, no warnings, no stop at a breakpoint (nobody would see it wait), generators as they were."""
    states, stop = (np.random.get_state(), random.getstate()), sys.breakpointhook  # noqa: NPY002
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    try:
        sys.breakpointhook = lambda *args, **kwargs: None
        with warnings.catch_warnings(), quiet[0], quiet[1]:
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.breakpointhook = stop
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])


def shapes_of(calls) -> dict:
    """(layer, direction, number of the call) -> the shapes of its slots."""
    found, counts = {}, {}
    for call in (inner for one in calls for inner in one.all()):
        key = call.path, call.direction
        counts[key] = counts.get(key, -1) + 1
        found[(*key, counts[key])] = {slot.key: slot.kept for slot in call.slots}
    return found


def _one_more(batch):
    """A batch with its last picture a second time; of a tuple, each array."""
    if isinstance(batch, tuple):
        return tuple(map(_one_more, batch))
    batch = host(batch) if is_array(batch) else np.asarray(batch)
    return np.concatenate([batch, batch[-1:]])


def _arrays(name, value):
    """The array, or tuple of arrays, that was given; one of NumPy's numbers as a 0-d array."""
    value = as_array(value)
    for one in value if isinstance(value, tuple) else [value]:
        if not is_array(one):
            raise TypeError(
                f"trace takes a NumPy or CuPy array, {name} is {a_or_an(type(one).__name__)}: use np.asarray"
            )
    return value


def _pictures(x) -> int | None:
    """How many pictures there are."""
    x = x[0] if isinstance(x, tuple) else x
    return x.shape[0] if x.ndim else None


def _is_sequential(model, way) -> bool:
    """Does this network do nothing but go from layer to layer?"""
    return isinstance(model, Sequential) and getattr(type(model), way).__wrapped__ in SEQUENTIAL


def _hosts(value):
    if isinstance(value, tuple):
        return tuple(map(_hosts, value))
    return None if value is None else host(value)


def _placed(model, value):
    """A copy where the model wants it; of a tuple, which is what the layers between towers take, each on its device."""
    if not isinstance(value, tuple):
        return model.device.asarray(host(value))
    layers = [model]
    while layers and not hasattr(layers[0], "devices"):
        layers = [*layers[0].children().values(), *layers[1:]]
    devices = layers[0].devices if layers else (model.device,) * len(value)
    return tuple(device.asarray(host(one)) for device, one in zip(devices, value, strict=True))
