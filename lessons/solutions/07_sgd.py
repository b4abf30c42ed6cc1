"""Lesson 07: how the stubs may be filled in. Try them yourself first."""


# exercise: sgd_step
def sgd_step(w, v, grad, lr, momentum, weight_decay):
    v = momentum * v - weight_decay * lr * w - lr * grad
    return w + v, v


# exercise: step_schedule
def step_schedule(lr, epoch, at, factor):
    for start in at:
        if epoch >= start:
            lr = lr * factor
    return lr


# exercise: training_loop
def training_loop(model, loss, optimizer, batches):
    losses = []
    for x, labels in batches:
        logits = model.forward(x)
        losses.append(float(loss.forward(logits, labels)))
        model.backward(loss.backward())
        optimizer.step()
    return losses


# open questions
#
# 1. Inside the velocity the decay is rolled up by momentum like a gradient: at 0.9 it pulls ten times as
#    much in the long run. On its own (w *= 1 - lr * weight_decay) it pulls once: after the lesson's 13,863
#    steps w is 0.933, not 0.500. It would also no longer roll on after the gradient or the rate has
#    changed.
# 2. The walk swings past the goal again and again, for the velocity forgets too slowly: it loses 1 % a
#    step. No rate mends that. With every rate from 0.0005 to 0.07 the loss after 60 steps was still between
#    28 and 70, and after 600 steps about 0.1 to 0.3; momentum 0.6 at rate 0.07 has 7e-12 after 60. Less
#    momentum mends it, or many more steps.
# 3. Twice the rate: one step with 2 N pictures then does about what two steps with N did. Or the same rate,
#    or one in between: the gain is a quieter gradient. The noisy walkers at rate 0.02 have a floor of 0.022, and
#    the loss is below 1 after 47 steps. With the double batch (noise divided by √2) and the same rate: 0.011 and
#    46 steps; the rate times √2: 0.016 and 32; times 2: 0.025 and 22. So twice the rate halves the steps at about
#    the same floor, until the rate meets the limit of section 4, which does not grow with the batch: 0.16 instead
#    of 0.08 blew up.
