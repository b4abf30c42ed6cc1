"""Losses: softmax with cross-entropy, and the MAP loss of 1998. Labels are whole numbers, the classes."""

import numpy as np

from minialex.devices.device import device_of, is_array
from minialex.errors import DeviceMismatch, DtypeMismatch
from minialex.layers.layer import Array, Layer
from minialex.layers.settings import finite, unmasked
from minialex.words import counted


class Loss(Layer):
    """What the losses share: labels are checked and brought to the device; `backward(grad_loss=1.0)`.

    Labels that are given on the host are range-checked, then uploaded. Labels that are on a GPU already are
    trusted, since looking at them would make the host wait.
    """

    input_rank = 2
    takes_number = True

    def take_labels(self, logits: Array, labels) -> Array:
        """The labels on the device of the logits, checked. Each is an index into the classes."""
        if logits.ndim != 2:
            exits = ", one loss for each exit: mx.ExitLoss((0.3, 1.0))" if logits.ndim == 3 else ""
            raise ValueError(f"{self}: logits are (N, classes); these have shape {logits.shape}{exits}")
        N, classes = logits.shape
        labels = unmasked(labels if is_array(labels) else np.asarray(labels), f"{self}: the array of labels")
        if labels.dtype.kind not in "iu":
            raise DtypeMismatch(f"{self}: labels are whole numbers, the classes; these are {labels.dtype}")
        if labels.shape != (N,):
            raise ValueError(
                f"{self}: {counted(N, 'row of logits needs', 'rows of logits need')} labels of shape ({N},), "
                f"not {labels.shape}"
            )
        if not isinstance(labels, np.ndarray):
            if device_of(labels) is not self.device:
                raise DeviceMismatch(
                    f"{self} is on {self.device.name}, the labels on {device_of(labels).name}"
                )
            return labels
        if labels.min() < 0 or labels.max() >= classes:
            wrong = int(labels[(labels < 0) | (labels >= classes)][0])
            raise ValueError(
                f"{self}: label {wrong} is out of range: "
                f"{counted(classes, 'class goes', 'classes go')} from 0 to {classes - 1}"
            )
        return self.device.asarray(labels.astype(np.intp))

    def check_grad(self, grad_loss=1.0) -> None:
        """A number, or a 0-d array on the layer's device."""
        if is_array(grad_loss):
            self._check_array(grad_loss, "gradient")
            is_number = not grad_loss.ndim and grad_loss.dtype.kind in "fiub"
        else:
            is_number = isinstance(grad_loss, (int, float))
        if not is_number:
            raise ValueError(
                f"{self}: the loss is one number, so its gradient is one number, not {grad_loss!r}"
            )


class SoftmaxCrossEntropy(Loss):
    """loss = mean over n of -log softmax(logits[n])[labels[n]],  softmax(z) = exp(z) / sum of exp(z)

    Computed after taking the largest logit off each row, so that 1e4 is no problem.
    Shapes: logits (N, K); labels (N,), any integer type; loss 0-d; grad_logits (N, K) =
    grad_loss * (softmax(logits) - one_hot(labels)) / N.
    Raises ValueError for labels out of range, DtypeMismatch for labels that are not whole numbers.

    >>> loss_layer = SoftmaxCrossEntropy()
    >>> loss_layer.forward(np.array([[0.0, 0.0], [1e4, 0.0]]), np.array([1, 0]))     # (log 2 + 0) / 2
    array(0.34657359)
    >>> loss_layer.backward()
    array([[ 0.25, -0.25],
           [ 0.  ,  0.  ]])
    """

    def forward(self, logits: Array, labels) -> Array:
        xp = self.xp
        labels = self.take_labels(logits, labels)
        rows = xp.arange(len(logits))
        shifted = logits - logits.max(axis=1, keepdims=True)
        exp = xp.exp(shifted)
        total = exp.sum(axis=1, keepdims=True)  # (N, 1)
        softmax = exp / total
        self.save(softmax=softmax, labels=labels, rows=rows)
        return xp.asarray((xp.log(total[:, 0]) - shifted[rows, labels]).mean())

    def backward(self, grad_loss=1.0) -> Array:
        grad_logits = self.saved.softmax.copy()
        grad_logits[self.saved.rows, self.saved.labels] -= 1
        grad_logits *= grad_loss / len(grad_logits)
        return grad_logits


class MAPLoss(Loss):
    """loss = mean over n of d[n, right] + log(exp(-j) + sum over i of exp(-d[n, i])),  d = -logits

    The "maximum a posteriori" loss of LeNet-5 (LeCun et al. 1998, equation 9), for RBF's output: its logits are
    minus the squared distances d. It pulls the right class's distance down and pushes the others' up; j > 0 is a
    "rubbish class" that keeps those that are far away already from being pushed on.
    Shapes: logits (N, K); labels (N,); loss 0-d.

    >>> MAPLoss(j=0.0).forward(np.zeros((1, 1)), np.array([0]))          # 0 + log(exp(0) + exp(0))
    array(0.69314718)
    """

    takes = {"j": finite}

    def __init__(self, j: float = 1.0):
        self.j = j

    def forward(self, logits: Array, labels) -> Array:
        xp = self.xp
        labels = self.take_labels(logits, labels)
        rows = xp.arange(len(logits))
        largest = xp.maximum(logits.max(axis=1, keepdims=True), -self.j)  # the rubbish class's logit is -j
        exp = xp.exp(logits - largest)
        total = exp.sum(axis=1, keepdims=True) + xp.exp(-self.j - largest)  # (N, 1)
        share = exp / total
        self.save(share=share, labels=labels, rows=rows)
        return xp.asarray((largest[:, 0] + xp.log(total[:, 0]) - logits[rows, labels]).mean())

    def backward(self, grad_loss=1.0) -> Array:
        grad_logits = self.saved.share.copy()
        grad_logits[self.saved.rows, self.saved.labels] -= 1
        grad_logits *= grad_loss / len(grad_logits)
        return grad_logits
