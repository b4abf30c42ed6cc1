"""How good a network is on pictures that it is not trained on: losses, right answers, logits."""

import numpy as np

from minialex.data.classes import check_classes
from minialex.devices.device import to_numpy
from minialex.devices.uploads import uploads
from minialex.layers.layer import Array
from minialex.layers.sequential import Model
from minialex.training.reports import Scores

# Numbers that grow beyond bounds need no warnings from NumPy: the loop looks for them itself, and stops.
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


def scores_of(model: Model, logits: Array, labels: Array, loss: Array) -> Array:
    """[mean loss, right answers, right among the first five] on the logits' device; nobody waits for it.

    A right class is among the first five when at most five logits are as large as its own, itself included: where
    all are equal, as in a dead network, it is not. Of a network with exits, in training, its last one's logits count.
    """
    with model.device:
        xp = model.device.xp
        logits = logits[:, -1] if logits.ndim == 3 else logits
        own = xp.take_along_axis(logits, labels[:, None], axis=1)  # (N, 1), the logit of the right class
        right1 = (logits.argmax(axis=1) == labels).sum()
        right5 = ((logits >= own).sum(axis=1) <= 5).sum()
        return xp.stack([loss, right1.astype(loss.dtype), right5.astype(loss.dtype)])


def evaluate(model: Model, batches) -> Scores:
    """Loss and right answers over all batches, in evaluation mode."""
    total = Scores()
    with np.errstate(**QUIET):
        for logits, labels in _logits(model, batches):
            labels = model.loss.take_labels(logits, labels)
            loss = model.loss.forward(logits, labels)
            total.add(*to_numpy(scores_of(model, logits, labels, loss)).tolist(), len(labels))
    return total


def evaluate_ten_crop(model: Model, batches) -> Scores:
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
            right5 = (share >= own[:, None]).sum(axis=1) <= 5
            total.add(-own.mean(), (share.argmax(axis=1) == labels).sum(), right5.sum(), len(labels))
    return total


def predict(model: Model, batches) -> tuple[np.ndarray, np.ndarray]:
    """The logits of all pictures, and their labels, on the host."""
    pairs = [(to_numpy(logits), labels) for logits, labels in _logits(model, batches)]
    logits, labels = zip(*pairs, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def _logits(model, batches, **crops):
    """(logits, labels) of each batch in order, in evaluation mode; the model's mode is put back."""
    check_classes(model, batches)
    mode = model.training
    model.eval()
    try:
        for x, labels in uploads(model.device, batches.in_order(**crops)):
            x = x.reshape(-1, *model.picture_shape) if crops else x  # (N, 10, C, H, W): ten pictures of each
            yield model.forward(x), labels
    finally:
        model.train(mode)
