"""On which scale pictures are: bytes, bytes / 255, bytes that nobody has divided."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from minialex.devices.device import to_numpy
from minialex.errors import NotFinite
from minialex.layers.layer import Layer

SAMPLE = 256  # pictures that are looked at


def most_of_pixels(x):
    """The largest number of pictures that are pixels from 0 to 255, by a sample; 0 where they are no such thing."""
    some = _sample(x)
    if not some.size or some.min() != 0 or not 50 < some.max() <= 255 or (some % 1).any():
        return 0
    return int(some.max())


@contextmanager
def pixels_said(model: Layer, sets: dict, say: Callable[[str], None]) -> Iterator[None]:
    """Say of each set of floats that runs from 0 to 255 that it does; and again, if the loss explodes in the block.

    sets: arrays by name, "test x". Nothing is said where the network wants such numbers, as the AlexNet of 2012.
    """
    wants = getattr(getattr(model, "input", None), "scale", 0) == 1
    lines = []
    for what, x in () if wants else sets.items():
        if x.dtype.kind == "f" and (most := most_of_pixels(x)):
            lines.append(
                f"{what} runs from 0 to {most}, as pixels do, and networks learn from numbers around 0 to 1: "
                f"{what} / 255?"
            )
            say(lines[-1])
    try:
        yield
    except NotFinite as error:
        if not lines:
            raise
        raise type(error)(f"{error}. {' '.join(lines)}") from error


def remember_scale(model: Layer, batches) -> None:
    """Has this model, which was just trained, learned from bytes through its `prepare`? For `warn_of_scale`."""
    state = vars(model)  # past __setattr__: it is no part of the model
    state.pop("_learned_from_bytes", None)
    if batches.pictures.dtype == np.uint8:
        black, white = (batches.prepare(np.full_like(batches.pictures[:1], byte)) for byte in (0, 255))
        if black.any() or not np.isclose(white.max(), 1):  # else it is the same to it
            state["_learned_from_bytes"] = _some_weights(model)


def warn_of_scale(model: Layer, x: np.ndarray) -> None:
    """Warn of floats that are bytes / 255, where the model was trained on bytes that it put on another scale itself.

    Nothing is said where its weights are others by now.
    """
    then = vars(model).get("_learned_from_bytes")
    if then is None or x.dtype.kind != "f":
        return
    some = _sample(x) * 255.0
    if some.min() != 0 or not 50 < some.max() < 255.5 or (abs(some - some.round()) > 1e-3).any():
        return
    if np.array_equal(then, _some_weights(model)):
        warnings.warn(
            f"x is {x.dtype} from 0 to 1, and {model} was trained on uint8, which its `prepare` puts on another "
            "scale: give it the uint8 pictures",
            stacklevel=4,  # evaluate's caller
        )


def _sample(x):
    return x[:: max(1, len(x) // SAMPLE)]


def _some_weights(model):
    """By which it is seen whether a model's weights are still the same."""
    return np.concatenate(
        [to_numpy(p.value).ravel() for p in (model.parameters()[0], model.parameters()[-1])]
    )
