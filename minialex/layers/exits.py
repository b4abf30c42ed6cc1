"""Classifiers along the way: a network that answers at several places, and the loss that joins their answers.

GoogLeNet has two that only help in training (Szegedy et al. 2014, section 5). Where they are good enough, a picture
may leave at the first one that is sure of it (Teerapittayanon et al. 2016, BranchyNet; there by the entropy).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from minialex.devices.device import is_array
from minialex.layers.layer import Array, Layer
from minialex.layers.leaving import backward_leaving, forward_leaving, nothing_hangs_on
from minialex.layers.loss import Loss, SoftmaxCrossEntropy
from minialex.layers.sequential import Sequential, in_mode, was_used_since
from minialex.layers.settings import not_negative, number_or_nan


def probability_or_none(value: float | None, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not 0 <= number_or_nan(value) <= 1:
        raise ValueError(f"{name} is a probability, from 0 to 1, or None, not {value!r}")
    return float(value)


class Exits(Sequential):
    """A trunk of layers one after the other, and heads, each of which reads what one of them makes

    In training y[:, i] = head i of what its layer made, y[:, -1] = what comes out of the trunk's end; in evaluation the
    trunk's end alone. Backward walks the trunk from its end; where an exit left it, what comes back from its head is
    added: grad = grad from the layers behind + grad from the head.

    With leave_at, a probability, each picture goes no further in evaluation than to the first head that is so sure of
    it, max(softmax(logits)) >= leave_at: the layers behind get what is left of the batch. `left` says for each picture
    of the last forward which exit that was, from 1; all that are left leave at the end. (On a GPU each head is waited
    for.) `answers(x)` is what every exit says, and no backward goes with it.

    trunk: layers by name, or a Sequential. heads: for each name (the trunk's layer that it reads, the head); in the
    order in which they leave.
    Shapes: x as the trunk takes it; y (N, exits, classes) in training, exits = heads + 1, else (N, classes).
    Raises ValueError for a head that reads no layer of the trunk, stands in another order, or bears a layer's name,
    and for a leave_at that is not from 0 to 1.

    >>> from minialex.layers.branches import Scale
    >>> layer = Exits({"a": Scale(2.0), "b": Scale(3.0)}, heads={"early": ("a", Scale(10.0))})
    >>> layer.forward(np.array([[1.0]]))                           # 10 * 2 and 3 * 2
    array([[[20.],
            [ 6.]]])
    >>> layer.backward(np.array([[[1.0], [1.0]]]))                 # 2 * (3 + 10)
    array([[26.]])

    The first picture is sure enough at the head, 0.88 for its second class, and the other one goes on:

    >>> layer = Exits({"a": Scale(2.0), "b": Scale(3.0)}, {"early": ("a", Scale(1.0))}, leave_at=0.8).eval()
    >>> layer.forward(np.array([[0.0, 1.0], [0.5, 0.0]]))
    array([[0., 2.],
           [3., 0.]])
    >>> layer.left
    array([1, 2])
    """

    traced = (forward_leaving, backward_leaving, nothing_hangs_on)
    takes = {"leave_at": probability_or_none}
    fixed = ("heads", "reads")
    # How sure a head must be of a picture that leaves there; None: in evaluation all go to the end.
    leave_at: float | None = None
    # The exit of each picture of the last forward, from 1; None where none could leave.
    left: np.ndarray | None = None

    def __init__(
        self,
        trunk: Mapping[str, Layer] | Sequential,
        heads: Mapping[str, tuple[str, Layer]],
        leave_at: float | None = None,
    ):
        if not isinstance(trunk, Sequential | Mapping) or not isinstance(heads, Mapping):
            raise TypeError("Exits takes trunk and heads by name: Exits({...}, heads={name: (layer, head)})")
        for name, head in heads.items():
            if not (isinstance(head, tuple) and len(head) == 2):
                raise TypeError(
                    f"Exits: {name} should be (the layer's name that it reads, the head), not {head!r}"
                )
        layers = trunk.layers if isinstance(trunk, Sequential) else dict(trunk)
        self.heads = {name: head for name, (_, head) in heads.items()}
        self.reads = {name: read for name, (read, _) in heads.items()}
        places = [list(layers).index(read) if read in layers else -1 for read in self.reads.values()]
        for name, place in zip(self.reads, places, strict=True):
            if place < 0:
                raise ValueError(
                    f"Exits: {name} reads {self.reads[name]!r}, the trunk has {', '.join(layers)}"
                )
            if name in layers:
                raise ValueError(f"Exits: a head and a layer of the trunk are both called {name!r}")
            if name == "end":
                raise ValueError('Exits: a head is called "end", which is the trunk\'s own')
        if places != sorted(places):
            raise ValueError(f"Exits: the heads are not in the order in which they leave: {self.reads}")
        Sequential.__init__(self, **layers)  # by name: in a network, `super()` is the network's class
        self.leave_at = leave_at

    def check_input(self, x) -> None:
        super().check_input(x)
        if is_array(x) and not x.ndim:
            raise ValueError(f"{self} takes a batch; the input is one number, of shape ()")

    def forward(self, x: Array) -> Array:
        self.left = None
        if not self.training and self.leave_at is not None:
            return forward_leaving(self, x)
        ys, outputs = {}, {}
        for name, layer in self.layers.items():
            x = layer.forward(x)
            outputs[name] = layer._output
            for head in self.heads_at(name) if self.training else ():
                ys[head] = self.heads[head].forward(x)
                outputs[head] = self.heads[head]._output
        self.save(outputs=outputs, kind="all" if self.training else "end")
        if not self.training:
            return x
        ys["end"] = x
        return self._stacked(ys)

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        self._check_untouched()
        nothing_hangs_on(layer for name, layer in self.children().items() if name not in self.saved.outputs)
        if self.saved.kind == "left":
            return backward_leaving(self, grad_y, input_grad)
        all_exits = self.saved.kind == "all"
        exits = list(self.heads)
        grad = grad_y[:, -1] if all_exits else grad_y
        first = next(iter(self.layers))
        for name, layer in reversed(self.layers.items()):
            if all_exits:
                for head in reversed(self.heads_at(name)):
                    grad = grad + self.heads[head].backward(grad_y[:, exits.index(head)], input_grad=True)
            grad = layer.backward(grad, input_grad=input_grad or name != first)
        return grad

    def answers(self, x: Array) -> Array:
        """(N, exits, classes): what each exit says of each picture, in evaluation, whatever the mode that it is in

        No backward goes with it.
        """
        self.check_input(x)
        ys = {}
        with in_mode(self, training=False), self.device:
            for name, layer in self.layers.items():
                x = layer.forward(x)
                ys |= {head: self.heads[head].forward(x) for head in self.heads_at(name)}
            self.saved = self._output = None
            return self._stacked({**ys, "end": x})

    def _stacked(self, ys):
        self._check_fit(ys)
        return self.xp.stack(list(ys.values()), axis=1)

    def _check_untouched(self):
        """As a Sequential's, for the layers and heads that forward went through."""
        children = self.children()
        for name, output in self.saved.outputs.items():
            if children[name]._output is not output:
                raise was_used_since(self, children[name])

    @property
    def numbers(self) -> dict[str, int]:
        """Which exit each head is, from 1; "end" is the last one."""
        return {name: number for number, name in enumerate([*self.heads, "end"], start=1)}

    def heads_at(self, name: str) -> list[str]:
        """The heads that read this layer of the trunk."""
        return [head for head, read in self.reads.items() if read == name]

    def children(self) -> dict[str, Layer]:
        return {**self.layers, **self.heads}

    def _check_fit(self, ys):
        for name, y in ys.items():
            if y.shape != ys["end"].shape:
                raise ValueError(f"{self}: {name} gives shape {y.shape}, the trunk's end {ys['end'].shape}")


def weights_of_exits(weights: Sequence[float], name: str) -> tuple[float, ...]:
    if isinstance(weights, (str, bytes, bytearray)) or not isinstance(weights, Sequence) or not weights:
        raise TypeError(f"{name} has a number for each exit, (0.3, 1.0), not {weights!r}")
    return tuple(not_negative(weight, f"{name}[{at}]") for at, weight in enumerate(weights))


class ExitLoss(Loss):
    """loss = sum over the exits i of weights[i] * the loss of logits[:, i]; of (N, classes), as in evaluation, the loss

    (Szegedy et al. 2014, section 5: 0.3 for both of GoogLeNet's, and 1 for its end.)
    Shapes: logits (N, exits, classes) or (N, classes); labels (N,); loss 0-d; grad_logits as logits.
    Raises ValueError for another number of exits.

    >>> loss_layer = ExitLoss((0.5, 1.0))
    >>> loss_layer.forward(np.zeros((1, 2, 2)), np.array([0]))           # 1.5 log 2
    array(1.03972077)
    >>> loss_layer.backward()
    array([[[-0.25,  0.25],
            [-0.5 ,  0.5 ]]])
    """

    input_rank = None
    takes = {"weights": weights_of_exits}

    def __init__(self, weights: Sequence[float], loss: type[Loss] = SoftmaxCrossEntropy):
        if not (isinstance(loss, type) and issubclass(loss, Loss)):
            raise TypeError(
                f"ExitLoss makes a loss for each exit: give a class, SoftmaxCrossEntropy, not {loss!r}"
            )
        self.weights = weights
        self.losses = [loss() for _ in self.weights]  # each keeps its own

    def forward(self, logits: Array, labels) -> Array:
        self.save(exits=logits.ndim == 3)
        if logits.ndim == 2:
            return self.losses[-1].forward(logits, labels)
        labels = self.take_labels(logits, labels)
        weighed = enumerate(zip(self.weights, self.losses, strict=True))
        terms = [weight * loss.forward(logits[:, i], labels) for i, (weight, loss) in weighed]
        return self.xp.asarray(sum(terms[1:], terms[0]))

    def backward(self, grad_loss=1.0) -> Array:
        if not self.saved.exits:
            return self.losses[-1].backward(grad_loss)
        grads = [
            loss.backward(grad_loss * weight) for weight, loss in zip(self.weights, self.losses, strict=True)
        ]
        return self.xp.stack(grads, axis=1)

    def take_labels(self, logits: Array, labels) -> Array:
        return super().take_labels(logits[:, -1] if logits.ndim == 3 else logits, labels)

    def check_input(self, logits) -> None:
        super().check_input(logits)
        if logits.ndim not in (2, 3) or (logits.ndim == 3 and logits.shape[1] != len(self.weights)):
            raise ValueError(
                f"{self} takes (N, {len(self.weights)}, classes) or (N, classes); the input has shape {logits.shape}"
            )
