"""How good a network is on pictures that it is not trained on: losses, right answers, logits."""

from typing import Any

import numpy as np

from minialex.data.classes import check_classes
from minialex.data.loader import ArrayBatches
from minialex.devices.device import to_numpy
from minialex.devices.uploads import uploads
from minialex.layers.layer import Array, Layer
from minialex.layers.sequential import in_mode
from minialex.training.arrays import BATCH_SIZE, given_batches, is_like_array, lent, said_with_shape
from minialex.training.reports import Scores
from minialex.words import a_or_an

# Numbers that grow beyond bounds need no warnings from NumPy: the loop looks for them itself, and stops.
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


def scores_of(model: Layer, logits: Array, labels: Array, loss: Array) -> Array:
    """[mean loss, right answers, right among the first five] on the logits' device; nobody waits for it.

    A right class is among the first five when at most five logits are as large as its own, itself included: where
    all are equal, as in a dead network, it is not, nor where its logit is NaN. Of a network with exits, in training,
    its last one's logits count.
    """
    with model.device:
        xp = model.device.xp
        logits = logits[:, -1] if logits.ndim == 3 else logits
        own = xp.take_along_axis(logits, labels[:, None], axis=1)  # (N, 1), the logit of the right class
        known = own[:, 0] == own[:, 0]  # not NaN
        right1 = ((logits.argmax(axis=1) == labels) & known).sum()
        right5 = (((own > logits).sum(axis=1) >= logits.shape[1] - 5) & known).sum()
        kind = "float64" if loss.dtype.name == "float64" else "float32"  # float16 counts to 2,048
        return xp.stack([loss.astype(kind), right1.astype(kind), right5.astype(kind)])


def evaluate(
    model: Layer, x=None, y=None, *, batches=None, loss: Layer | None = None, batch_size: int = BATCH_SIZE
) -> Scores:
    """Loss and right answers over all pictures, in evaluation mode: `.loss`, `.error` and `.acc1` in percent, ...

    evaluate(model, x, y): arrays, as `fit` takes them; or evaluate(model, batches). loss: a loss layer; left out, the
    model's own. Neither x nor y is written to.
    """
    what = "" if y is None else "x"
    batches = given_batches("evaluate", model, x, y, batches, batch_size)
    total = Scores()
    with lent(model, loss), np.errstate(**QUIET):
        for logits, labels in _logits(model, batches, what):
            labels = model.loss.take_labels(logits, labels)
            value = model.loss.forward(logits, labels)
            total.add(*to_numpy(scores_of(model, logits, labels, value)).tolist(), len(labels))
    return total


def evaluate_ten_crop(model: Layer, batches) -> Scores:
    """As `evaluate`, with the mean softmax over ten crops of each picture (Krizhevsky et al. 2012, section 4.1)."""
    total = Scores()
    with np.errstate(**QUIET):
        for logits, labels in _logits(model, batches, ten_crop=True):  # (N * 10, classes)
            logits = to_numpy(logits).astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            share = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))  # its log: none becomes 0
            share = share.reshape(len(labels), -1, share.shape[1])
            share = np.logaddexp.reduce(share, axis=1) - np.log(share.shape[1])  # (N, classes), of the mean
            own = share[np.arange(len(labels)), labels]
            known = ~np.isnan(own)
            right1 = (share.argmax(axis=1) == labels) & known
            right5 = ((share >= own[:, None]).sum(axis=1) <= 5) & known
            total.add(-own.mean(), right1.sum(), right5.sum(), len(labels))
    return total


def predict(model: Layer, x=None, *, batches=None, batch_size: int = BATCH_SIZE) -> Any:
    """What the network says of all pictures, in evaluation mode, on the host.

    predict(model, x): the logits alone, (N, classes); x an array as `fit` takes it. `.argmax(axis=1)` are the classes.
    predict(model, batches): (logits, labels), since batches come with labels.

    >>> from minialex.models import lenet5
    >>> predict(lenet5(), np.zeros((3, 1, 28, 28), np.uint8)).shape
    (3, 10)
    """
    alone = batches is None and is_like_array(x)
    batches = given_batches("predict", model, x, None, batches, batch_size, labels=False)
    pairs = [(to_numpy(logits), labels) for logits, labels in _logits(model, batches, "x" if alone else "")]
    logits, labels = zip(*pairs, strict=True)
    return np.concatenate(logits) if alone else (np.concatenate(logits), np.concatenate(labels))


def classes_of(model: Layer, batches, what: str = "x") -> int:
    """How many classes the network tells apart, by what it says of the first picture, which it must be able to take.

    what: the name of the pictures. Raises ValueError where that is no row of logits, or the network takes no such x.
    """
    one = ArrayBatches(batches.pictures[:1], batches.labels[:1], 1, prepare=batches.prepare)
    with np.errstate(**QUIET):
        ((logits, _),) = _logits(model, one, what, of=batches)
    if logits.ndim != 2 or len(logits) != 1:
        raise ValueError(
            f"of one picture, the output of {model} has shape {logits.shape}: to be trained with labels a network "
            "ends in (N, classes), as Flatten() and then Linear(..., classes) give it"
        )
    return logits.shape[1]


def _logits(model, batches, what="", of=None, **crops):
    """(logits, labels) of each batch in order, in evaluation mode; each layer's mode is put back.

    what: the caller's name for the array that the pictures are, for errors. of: the batches that these are some of.
    """
    if not hasattr(batches, "in_order"):
        raise TypeError(
            f"this takes batches, as mx.data.ArrayBatches(x, y, 64), not {a_or_an(type(batches).__name__)}"
        )
    check_classes(model, batches)
    with in_mode(model, training=False):
        try:
            for x, labels in uploads(model.device, batches.in_order(**crops)):
                # (N, 10, C, H, W): ten pictures of each
                x = x.reshape(-1, *model.picture_shape) if crops else x
                yield model.forward(x), labels
        except ValueError as error:
            if not what or type(error) is not ValueError:
                raise
            raise said_with_shape(error, model, of or batches, what) from error
