"""One epoch of training: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


@right
def training_loop(model, loss, optimizer, batches):
    losses = []
    for x, labels in batches:
        losses.append(float(loss.forward(model.forward(x), labels)))
        model.backward(loss.backward())
        optimizer.step()
    return np.array(losses)


@wrong("training_loop", "step forgotten")
def loop_without_step(model, loss, optimizer, batches):
    """Gradients are computed, and the weights stay as they are."""
    losses = []
    for x, labels in batches:
        losses.append(float(loss.forward(model.forward(x), labels)))
        model.backward(loss.backward())
    return np.array(losses)


@wrong("training_loop", "one step at the end")
def loop_one_step(model, loss, optimizer, batches):
    """optimizer.step() stands behind the loop, not in it: one step an epoch, by the last batch's gradient."""
    losses = loop_without_step(model, loss, optimizer, batches)
    optimizer.step()
    return losses


@wrong("training_loop", "step before backward")
def loop_step_first(model, loss, optimizer, batches):
    """The step comes before backward, so that it moves by the gradient of the batch before."""
    losses = []
    for x, labels in batches:
        losses.append(float(loss.forward(model.forward(x), labels)))
        optimizer.step()
        model.backward(loss.backward())
    return np.array(losses)


@wrong("training_loop", "model's backward forgotten")
def loop_no_backward(model, loss, optimizer, batches):
    """loss.backward() alone: its gradient is not handed to the model, whose gradients stay old ones."""
    losses = []
    for x, labels in batches:
        losses.append(float(loss.forward(model.forward(x), labels)))
        loss.backward()
        optimizer.step()
    return np.array(losses)


@wrong("training_loop", "ones handed back")
def loop_of_ones(model, loss, optimizer, batches):
    """The model's backward gets ones, where it should get what loss.backward() returns."""
    losses = []
    for x, labels in batches:
        logits = model.forward(x)
        losses.append(float(loss.forward(logits, labels)))
        model.backward(np.ones(logits.shape))
        optimizer.step()
    return np.array(losses)


@wrong("training_loop", "loss after the step")
def loop_measured_late(model, loss, optimizer, batches):
    """The loss is measured again after the step, on the batch that was just learned: it looks too good."""
    losses = []
    for x, labels in batches:
        training_loop(model, loss, optimizer, [(x, labels)])
        losses.append(float(loss.forward(model.forward(x), labels)))
    return np.array(losses)


@wrong("training_loop", "last batch left out")
def loop_short(model, loss, optimizer, batches):
    """The last batch, which may be smaller, is left out."""
    return training_loop(model, loss, optimizer, batches[:-1])


@wrong("training_loop", "labels of the batch before")
def loop_labels_late(model, loss, optimizer, batches):
    """Pictures and labels are not in step: a batch gets the labels of the one before, as far as they fit."""
    late, known = [], batches[0][1]
    for x, labels in batches:
        late.append((x, np.resize(known, len(x))))
        known = labels
    return training_loop(model, loss, optimizer, late)
