"""The check of a training loop, on a small real model."""

from types import SimpleNamespace

import numpy as np

from minialex import naive
from minialex.check.planted.registry import adapter
from minialex.check.search import compare, compared, search
from minialex.check.verdict import Finding, Verdict
from minialex.layers import Linear, SoftmaxCrossEntropy
from minialex.training.optim import SGD

LOOP = "f(model, loss, optimizer, batches) -> losses"


def training_loop(f) -> Verdict:
    """f(model, loss, optimizer, batches) -> losses

    for each (x, labels) of batches, in this order:
    losses[b] = loss.forward(model.forward(x), labels);  model.backward(loss.backward());  optimizer.step()

    One epoch. losses: an array or a list, one number for each batch b, as it was before the batch's own step. The
    check judges the model's weight after the epoch, too.
    Your function gets objects with the methods named here and no others: model and loss have forward and backward, the
    optimizer has step. They are a Linear layer, SoftmaxCrossEntropy and SGD, made from the arrays of a case, of which x
    and labels are those of all pictures. batches is a list, whose last one may be smaller. The gradients of weight and
    bias are old ones, 1, 2, 3, ..., until backward makes new ones: who steps too early moves by them.
    """

    def expected(x, labels, weight, bias, lr, momentum, batch_size):
        losses, state = [], [(weight, 0 * weight), (bias, 0 * bias)]
        for first in range(0, len(x), batch_size):
            batch = slice(first, first + batch_size)
            logits = naive.linear(x[batch], *(value for value, _ in state))
            losses.append(naive.softmax_cross_entropy(logits, labels[batch]))
            grad_logits = naive.softmax_cross_entropy_backward(logits, labels[batch])
            grads = naive.linear_backward(x[batch], state[0][0], grad_logits)[1:]
            state = [
                naive.sgd_step(w, v, grad, lr, momentum, 0.0)
                for (w, v), grad in zip(state, grads, strict=True)
            ]
        return np.array(losses), state[0][0]

    both = compared("losses weight", expected)

    def judge(result, case):
        if isinstance(result, tuple) and len(result) == 2 and result[0] is None:
            text = "the loop ran, and returns nothing: return the losses"
            weight = compare("weight", result[1], expected(**case)[1], lambda: np.abs(result[1]).max())
            return [Finding("losses", "not returned", text), weight]
        return both(result, case)

    return search("training_loop", f, epoch, judge, "losses weight")


def epoch(draw):
    """Numbers of at most 3, whatever the mode: a loop is about order, and larger ones make the softmax a step."""

    def array(*shape):
        numbers = draw.array(*shape, small=True)
        return numbers * min(1.0, 3 / max(1e-9, np.abs(numbers).max()))

    N, D, K = draw.between(1, 3, 7), draw.between(1, 3, 5), draw.between(2, 3, 5)
    batch_size, lr = draw.between(1, 3), draw.one_of(0.5, 0.25, more=(0.1,))
    momentum = draw.one_of(0.5, 0.9, more=(0.0,))
    x, weight, bias = array(N, D), array(K, D), array(K)
    labels = np.array([draw.between(0, K - 1) for _ in range(N)])
    case = {"x": x, "labels": labels, "weight": weight, "bias": bias}
    return {**case, "lr": lr, "momentum": momentum, "batch_size": batch_size}


@adapter("training_loop", LOOP)
def on_a_small_model(f):
    """f on a model made of arrays -> losses, the weight afterwards; None where f did nothing."""

    def loop(x, labels, weight, bias, lr, momentum, batch_size):
        model, loss = Linear(*weight.shape[::-1]).astype(np.float64), SoftmaxCrossEntropy().astype(np.float64)
        for parameter, value in ((model.weight, weight), (model.bias, bias)):
            parameter.value[...] = value
            parameter.grad = np.arange(1.0, 1 + value.size).reshape(value.shape)  # old
        optimizer, calls = SGD(model.parameters(), lr=lr, momentum=momentum), []

        def seen(method):
            def call(*inputs):
                calls.append(method)
                return method(*inputs)

            return call

        losses = f(
            SimpleNamespace(forward=seen(model.forward), backward=seen(model.backward)),
            SimpleNamespace(forward=seen(loss.forward), backward=seen(loss.backward)),
            SimpleNamespace(step=seen(optimizer.step)),
            [(x[i : i + batch_size], labels[i : i + batch_size]) for i in range(0, len(x), batch_size)],
        )
        losses = None if losses is Ellipsis else losses
        if losses is None and not calls:
            return None
        return as_array(losses), model.weight.value.copy()

    return loop


def as_array(losses):
    """A list of numbers as an array; anything else as it is."""
    if isinstance(losses, (list, tuple)) and not any(loss is None for loss in losses):
        try:
            found = np.asarray(losses)
        except ValueError:  # of several lengths
            return losses
        return found.astype(float) if found.dtype.kind in "biuf" else losses
    return losses
