"""Arrays in place of batches: what training, testing and studies make of x and y, and what they refuse, and why."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from minialex.data.loader import ArrayBatches
from minialex.devices.device import device_of, is_array, transfer
from minialex.errors import DeviceMismatch, DtypeMismatch
from minialex.layers.layer import Layer
from minialex.layers.loss import Loss
from minialex.layers.settings import not_negative, unmasked
from minialex.shapes import is_whole, positive
from minialex.training.pixels import most_of_pixels, warn_of_scale
from minialex.training.schedules import Constant, make_schedule
from minialex.words import a_or_an, counted, nearest

F = TypeVar("F", bound=Callable)
BATCH_SIZE = 64
# Which way of `fit` takes what, for its errors.
WAYS = (
    "fit takes either arrays, fit(model, x, y, loss=mx.SoftmaxCrossEntropy(), lr=0.02, epochs=3), or an optimizer, a "
    "schedule and batches, fit(model, optimizer, schedule, mx.data.ArrayBatches(x, y, 64), epochs=3)"
)
# What other libraries call fit's arguments.
ELSEWHERE = {
    "validation_data": "test", "validation_set": "test", "val_data": "test", "eval_set": "test", "valid": "test",
    "validation_split": "holdout", "learning_rate": "lr", "eta": "lr", "criterion": "loss", "loss_fn": "loss",
    "loss_function": "loss", "nb_epoch": "epochs", "max_iter": "epochs", "bs": "batch_size", "wd": "weight_decay",
    "l2": "weight_decay", "random_state": "seed", "scheduler": "schedule",
    "images": "x", "inputs": "x", "labels": "y", "targets": "y",
}  # fmt: skip
OTHERWISE = {  # arguments of other libraries that have no place here
    "shuffle": "pictures are shuffled, in an order that hangs on seed and epoch alone",
    "verbose": "report=False says nothing",
    "callbacks": "report= hears of each step and epoch; fit returns the history",
    "optimizer": "with arrays it is SGD, by lr=, momentum= and weight_decay=; one of your own goes with batches",
    "metrics": "loss and error are always told",
}
MANY = 1 << 24  # numbers that are looked at in one go, to see whether all are finite


def is_like_array(value) -> bool:
    """An array, a list or a tuple, or what NumPy takes for an array."""
    return is_array(value) or isinstance(value, (list, tuple)) or hasattr(value, "__array__")


def batches_of(
    model: Layer, x, y=None, batch_size: int = BATCH_SIZE, seed: int = 0, what: str = ""
) -> ArrayBatches:
    """Batches of x and its labels, each as the model takes it; y None: labels 0, which nobody reads.

    x of floats: cast to the model's dtype, batch by batch. uint8: through `model.prepare`, where the model has that.
    what: "test " where x is the test set's, for messages. Neither x nor y is written to.
    """
    x, y = _host(x, f"{what}x"), None if y is None else labels_of(y, f"{what}y")
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"{what}x has shape {x.shape}: at least one picture is needed")
    if y is None:
        y = np.zeros(len(x), np.int64)
    if len(x) != len(y):
        raise ValueError(
            f"{what}x has {counted(len(x), 'picture')}, {what}y {counted(len(y), 'label')}: one label each is needed"
        )
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0, not {seed!r}")
    prepare = _prepare(model, x, f"{what}x")
    return ArrayBatches(x, y, positive(batch_size, "batch_size"), seed, prepare)


def labelled_batches(model: Layer, x, y, batch_size: int, seed: int = 0, what: str = "") -> ArrayBatches:
    """As `batches_of`, of pictures that come with labels."""
    if y is None:
        raise TypeError(f"{what}y is None: one label for each picture of {what}x is needed")
    return batches_of(model, x, y, batch_size, seed, what)


def given_batches(
    function: str,
    model: Layer,
    x=None,
    y=None,
    batches=None,
    batch_size: int = BATCH_SIZE,
    labels: bool = True,
):
    """The batches that a function was given, as x or as `batches`, or those of its arrays x and y.

    function: its name, for messages. labels: without, it takes x alone.
    Raises TypeError for a mixture of both, or neither, and what `batches_of` raises.
    """
    check_model(model, function)
    arrays = is_like_array(x) and batches is None
    if arrays and (y is not None or not labels):
        found = batches_of(model, x, y, batch_size)
        warn_of_scale(model, found.pictures)
        return found
    if y is None and (x is None or batches is None):
        found = x if batches is None else batches
        if hasattr(found, "in_order"):
            return found
    of = [type(one).__name__ for one in (x, y, batches) if one is not None]
    raise TypeError(
        f"{function} takes arrays, {function}(model, {'x, y' if labels else 'x'}), or batches with their labels, "
        f"{function}(model, batches), as mx.data.ArrayBatches(x, y, 64) makes them; it was given "
        + (", ".join(of) or "neither")
    )


def check_model(model, function: str) -> None:
    """Raise TypeError for what is no network, as a class or a function that makes one."""
    if not isinstance(model, Layer):
        made = f"the class {model.__name__}" if isinstance(model, type) else a_or_an(type(model).__name__)
        raise TypeError(
            f"{function}: the model is {made}, not a network: mx.models.lenet5(), mx.Sequential(...)"
        )


def pair_of(pair, name: str):
    """The (x, y) of test=(x, y) or holdout=(x, y)."""
    if isinstance(pair, (tuple, list)) and len(pair) == 2:
        return pair
    given = f"{type(pair).__name__} of {len(pair)}" if isinstance(pair, (tuple, list)) else _kind(pair)
    raise TypeError(f"{name} is {a_or_an(given)}: with arrays it is a pair, {name}=(x, y)")


def labels_of(y, what: str = "y") -> np.ndarray:
    """Labels as an array of whole numbers, (N,)."""
    y = _host(y, what)
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"{what} has shape {y.shape}: labels are (N,), one number each; {what}.argmax(axis=1)?"
        )
    if y.ndim != 1:
        raise ValueError(f"{what} has shape {y.shape}: labels are (N,), one number each; {what}.reshape(-1)?")
    if y.dtype.kind not in "iu" and len(y):
        hint = f': use {what}.astype("int64") if they are' if y.dtype.kind in "fb" else ""
        raise DtypeMismatch(f"{what} is {y.dtype}: labels are whole numbers, the classes from 0{hint}")
    return y


def check_labels(y: np.ndarray, classes: int, model: Layer, what: str = "y") -> None:
    """Raise ValueError for a label that no class has, before anything is trained."""
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if not len(wrong):
        return
    from_one = y.min() == 1 and y.max() == classes
    hint = f" They go from 1 to {classes}: give {what} - 1." if from_one else ""
    known = f"{counted(classes, 'class', 'classes')}, from 0 to {classes - 1}"
    others = f"{len(wrong)} of {counted(len(y), 'label')} {'is' if len(wrong) == 1 else 'are'} not"
    raise ValueError(
        f"{what}[{wrong[0]}] is {y[wrong[0]]}, out of range: the output of {model} has {known}; {others}.{hint}"
    )


def cast_of(model: Layer, x) -> str:
    """What is to be said of x's numbers where the model computes in others; empty where it does not."""
    dtype = getattr(x, "dtype", model.dtype)
    if model.dtype is None or dtype == model.dtype or dtype.kind != "f":
        return ""
    return f"x is {dtype}, the network computes in {model.dtype}: each batch is cast to that."


def said_with_shape(error: ValueError, model: Layer, batches, what: str) -> ValueError:
    """An error of the first layers, in which one batch shows, with the shape that the caller knows.

    And what to do about it, where pictures with their axes in other places are taken: that is tried with one.
    """
    x = batches.pictures
    axes = {
        3: {"[:, None]": lambda x: x[:, None]},
        4: {".transpose(0, 3, 1, 2)": lambda x: x.transpose(0, 3, 1, 2)},
    }
    flat = {f".reshape({len(x)}, -1)": lambda x: x.reshape(len(x), -1)} if x.ndim > 2 else {}
    for hint, change in {**axes.get(x.ndim, {}), **flat}.items():
        try:
            model.forward(transfer(batches.prepare(change(x[:1])), model.device))
        except Exception:  # of any layer: it is no hint then
            continue
        return ValueError(f"{what} has shape {x.shape}: {what}{hint}? ({error})")
    return ValueError(f"{what} has shape {x.shape}: {error}")


def keywords_meant(unknown: list[str], known: list[str]) -> str:
    """What arguments that `fit` has not may have meant; empty where that is not known of each.

    >>> keywords_meant(["criterion", "verbose"], ["loss"])
    'criterion= is loss= here, verbose=: report=False says nothing'
    """
    meant = []
    for name in unknown:
        near = ELSEWHERE.get(name.lower()) or (nearest(name, known) or [""])[0]
        if name in OTHERWISE:
            meant.append(f"{name}=: {OTHERWISE[name]}")
        elif near in known:
            meant.append(f"{name}= is {near}= here")
        else:
            return ""
    return ", ".join(meant)


def schedule_of(schedule, lr, epochs: int) -> Constant:
    """A schedule as it is; or by its name with a learning rate; or that rate throughout."""
    if isinstance(schedule, type) or not (schedule is None or isinstance(schedule, (str, Constant))):
        raise TypeError(
            f'schedule is {a_or_an(_kind(schedule))}: give a name, "cosine", with lr=; or one that is made, '
            "mx.optim.Cosine(0.1, epochs=10)"
        )
    if isinstance(schedule, Constant):
        if lr is not None:
            raise ValueError(f"lr={lr!r} and schedule={schedule!r}, which has its own: give one of them")
        return schedule
    if lr is None:
        raise ValueError("which learning rate? Give lr=0.02, or schedule=mx.optim.Cosine(0.1, epochs=10)")
    not_negative(lr, "lr")
    return make_schedule(schedule or "constant", lr, epochs)


def check_batches(schedule, **sets) -> None:
    """Raise TypeError where `fit`'s other way is given a number as schedule, or arrays as batches."""
    if isinstance(schedule, type) or not (callable(schedule) and hasattr(schedule, "end_of_epoch")):
        hint = (
            f"mx.optim.Constant({schedule!r})"
            if isinstance(schedule, (int, float))
            else "mx.optim.Constant(0.02)"
        )
        raise TypeError(
            f"fit: the schedule is {a_or_an(_kind(schedule))}: give {hint}, or another of mx.optim. {WAYS}"
        )
    for name, batches in sets.items():
        order = "shuffled" if name == "train" else "in_order"
        if not hasattr(batches, order) and (batches is not None or name == "train"):
            raise TypeError(f"fit: {name} is {a_or_an(_kind(batches))}, not batches. {WAYS}")


# ---- losses ----


def check_loss(loss) -> None:
    """Raise TypeError for what is no loss layer."""
    if isinstance(loss, type) and issubclass(loss, Layer):
        raise TypeError(f"loss is the class {loss.__name__}: write loss=mx.{loss.__name__}()")
    if not isinstance(loss, Loss):
        given = repr(loss) if isinstance(loss, str) else a_or_an(_kind(loss))
        raise TypeError(
            f"loss is {given}: give a loss layer, loss=mx.SoftmaxCrossEntropy(); one of your own derives from "
            "minialex.layers.loss.Loss"
        )


@contextmanager
def lent(model: Layer, loss: Layer | None) -> Iterator[None]:
    """The model has this loss until the block ends, on its device; without one it keeps its own, which it must have."""
    if loss is None:
        if getattr(model, "loss", None) is None:
            raise ValueError(f"{model} has no loss of its own: give one, loss=mx.SoftmaxCrossEntropy()")
        yield
        return
    check_loss(loss)
    if loss.device is not model.device:
        loss.to(model.device)
    attributes = vars(model)
    had, own = "loss" in attributes, attributes.get("loss")
    attributes["loss"] = loss  # past __setattr__: it is no part of the model
    try:
        yield
    finally:
        if had:
            attributes["loss"] = own
        else:
            del attributes["loss"]


def lends_loss(function: F) -> F:
    """For functions of a model and what else, with a loss=: the model has it meanwhile."""

    @functools.wraps(function)
    def lending(model, *args, loss=None, **options):
        check_model(model, function.__name__)
        with lent(model, loss):
            return function(model, *args, **options)

    return lending


# ---- inside ----


def _kind(value) -> str:
    return f"class, {value.__name__}" if isinstance(value, type) else type(value).__name__


def _host(array, what):
    """As a NumPy array."""
    if is_array(array) and not isinstance(array, np.ndarray):
        raise DeviceMismatch(
            f"{what} lives on {device_of(array).name}: give it on the host, mx.to_numpy({what}); each batch is "
            "brought to the network's device"
        )
    if not is_like_array(array):
        raise TypeError(f"{what} is {a_or_an(_kind(array))}, not an array")
    array = unmasked(array, what)
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{what} is no array, its parts have different shapes ({error})") from error


def _prepare(model, x, what):
    """What is done to each batch of x."""
    if x.dtype.kind == "f":
        dtype = model.dtype or x.dtype
        _check_finite(x, what, dtype)
        return lambda pictures: pictures.astype(dtype, copy=False)
    own = getattr(model, "prepare", None)
    if x.dtype == np.uint8 and callable(own):
        return lambda pictures: own(pictures).astype(model.dtype or np.float32, copy=False)
    if x.dtype == np.uint8:
        raise DtypeMismatch(
            f"{what} is uint8, and {model} does not say how it wants such pictures (it has no `prepare`): scale them "
            f'yourself, {what}.astype("float32") / 255'
        )
    scale = " / 255" if x.dtype.kind in "iu" and most_of_pixels(x) else ""
    raise DtypeMismatch(f'{what} is {x.dtype}, and networks take floats: use {what}.astype("float32"){scale}')


def _check_finite(x, what, dtype):
    """Else the loss would be NaN, and the learning rate be blamed. dtype: what they are computed in."""
    narrower = np.finfo(dtype).max < np.finfo(x.dtype).max
    step = max(1, MANY // max(1, x[0].size))
    for first in range(0, len(x), step):
        some = x[first : first + step]
        bad = ~np.isfinite(some).reshape(len(some), -1).all(axis=1)
        if bad.any():
            raise ValueError(f"{what}[{first + int(bad.argmax())}] has a number that is NaN or infinite")
        if not narrower:
            continue
        with np.errstate(over="ignore"):
            large = ~np.isfinite(some.astype(dtype)).reshape(len(some), -1).all(axis=1)
        if large.any():
            raise ValueError(
                f"{what}[{first + int(large.argmax())}] has a number that is too large for the network, which computes "
                f"in {dtype}: {np.finfo(dtype).max:.4g} is the most"
            )
