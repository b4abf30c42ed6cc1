"""Checks whose functions take more than arrays, and get a model or a `send`: the training loop, the exchange."""

from types import SimpleNamespace

import numpy as np
import pytest

from minialex import check
from minialex.check import planted, search
from minialex.check.verdict import NOT_WRITTEN

right_loop = planted.RIGHT["training_loop"]
forward, backward = planted.RIGHT["device_exchange_forward"], planted.RIGHT["device_exchange_backward"]


@pytest.fixture
def quick(monkeypatch):
    """For tests that do not look at the smallest case."""
    monkeypatch.setattr(search, "CASES", {"whole": 12, "fractions": 3})
    monkeypatch.setattr(search, "SMALLER", 2)
    monkeypatch.setattr(search, "sizes_first", lambda tape, fails: None)


# -- the training loop -------------------------------------------------------------------------------------


def test_a_loop_gets_objects_with_the_named_methods_alone_and_a_list_of_pairs(quick):
    def loop(model, loss, optimizer, batches):
        for thing, methods in ((model, "forward backward"), (loss, "forward backward"), (optimizer, "step")):
            assert type(thing) is SimpleNamespace
            assert set(vars(thing)) == set(methods.split())
        assert type(batches) is list
        assert all(type(x) is type(labels) is np.ndarray for x, labels in batches)
        return right_loop(model, loss, optimizer, batches)

    assert check.training_loop(loop)


def loop_of_floats(model, loss, optimizer, batches):
    return right_loop(model, loss, optimizer, batches).tolist()


def loop_of_what_the_loss_gives(model, loss, optimizer, batches):
    """Arrays without axes, as the library's loss returns them; the gradient held in a variable."""
    losses = []
    for batch in batches:
        losses.append(loss.forward(model.forward(batch[0]), batch[1]))
        grad_logits = loss.backward()
        model.backward(grad_logits)
        optimizer.step()
    return losses


def loop_into_an_array(model, loss, optimizer, batches):
    losses = np.zeros(len(batches))
    for number, (x, labels) in enumerate(batches):
        losses[number] = loss.forward(model.forward(x), labels)
        model.backward(loss.backward())
        optimizer.step()
    return losses


@pytest.mark.parametrize("loop", [loop_of_floats, loop_of_what_the_loss_gives, loop_into_an_array])
def test_a_loop_may_return_a_list_or_an_array(loop, quick):
    assert check.training_loop(loop)


def test_a_loop_that_returns_nothing_is_told_so_and_its_weight_is_judged(quick):
    def loop(model, loss, optimizer, batches):
        right_loop(model, loss, optimizer, batches)

    verdict = check.training_loop(loop)
    assert verdict.of("losses") == "not returned"
    assert verdict.of("weight") == "right"
    assert "the loop ran, and returns nothing: return the losses" in str(verdict)
    assert verdict.state == "wrong"


def test_a_loop_that_looks_at_the_batches_and_does_nothing_is_not_written_yet(quick):
    def stub(model, loss, optimizer, batches):
        for _ in batches:
            ...

    verdict = check.training_loop(stub)
    assert verdict.state == NOT_WRITTEN
    assert str(verdict).endswith("f(model, loss, optimizer, batches) -> losses")


def test_a_loop_that_writes_into_a_batch_is_found_out(quick):
    def loop(model, loss, optimizer, batches):
        losses = right_loop(model, loss, optimizer, batches)
        batches[-1][0][...] = 7
        return losses

    verdict = check.training_loop(loop)
    assert {where: finding.state for where, finding in verdict.findings.items()} == {"input x": "changed"}


def test_a_loop_that_raises_in_the_library_is_told_its_own_line(quick):
    def loop(model, loss, optimizer, batches):
        return [model.backward(loss.backward()) for _ in batches]

    text = str(check.training_loop(loop))
    assert "BackwardBeforeForward: " in text
    assert "return [model.backward(loss.backward()) for _ in batches]" in text


def test_a_loop_with_other_inputs_is_told_how_it_is_called(quick):
    text = str(check.training_loop(lambda model, batches: None))
    assert "; it is called as f(model, loss, optimizer, batches) -> losses" in text


@pytest.mark.parametrize("losses", [["a"], [np.zeros(2)], "losses", 1.5, {}])
def test_what_are_no_losses_is_not_right(losses, quick):
    def loop(*inputs):
        right_loop(*inputs)
        return losses

    verdict = check.training_loop(loop)
    assert verdict.of("losses") in ("wrong type", "wrong shape")
    assert verdict.of("weight") == "right"


def without(which):
    """The loop, with one of its calls doing nothing."""

    def loop(model, loss, optimizer, batches):
        things = {"model": model, "loss": loss, "optimizer": optimizer}
        if which == "step in every second batch":
            calls = iter(range(10**6))
            things["optimizer"] = SimpleNamespace(step=lambda: next(calls) % 2 or optimizer.step())
        if which == "first batch":
            return np.append(0.0, right_loop(*things.values(), batches[1:]))
        if which == "forward of the new batch":
            first = model.forward(batches[0][0])
            things["model"] = SimpleNamespace(
                forward=lambda x: (model.forward(x), first[: len(x)])[1], backward=model.backward
            )
        return right_loop(*things.values(), batches)

    return loop


@pytest.mark.parametrize("which", ["step in every second batch", "first batch", "forward of the new batch"])
def test_a_loop_without_something_is_not_right(which, quick):
    assert check.training_loop(without(which)).state == "wrong"


@pytest.mark.parametrize(
    "change",
    [lambda losses: np.cumsum(losses), lambda losses: losses[::-1] + 0, lambda losses: losses * len(losses)],
)
def test_losses_in_another_order_or_added_up_are_not_right(change, quick):
    verdict = check.training_loop(lambda *inputs: change(right_loop(*inputs)))
    assert verdict.of("losses") == "wrong"


def test_a_step_too_many_shows_in_the_weight_alone(quick):
    def loop(model, loss, optimizer, batches):
        losses = right_loop(model, loss, optimizer, batches)
        optimizer.step()
        return losses

    verdict = check.training_loop(loop)
    assert verdict.of("losses") == "right"
    assert verdict.of("weight") == "wrong"


# -- the exchange between devices --------------------------------------------------------------------------


def test_send_copies_converts_and_counts(quick):
    def exchange(x0, x1, send):
        there = send(x0, 1)
        assert there is not x0
        assert not np.shares_memory(there, x0)
        assert (send(there, 0) == x0).all()
        assert np.abs(there).sum() in (2 * np.abs(x0).sum(), 4 * np.abs(x0).sum())
        return forward(x0, x1, send)

    verdict = check.device_exchange_forward(exchange)
    finding = verdict.findings["crossed"]
    case = finding.case
    assert finding.yours.tolist() == [case["x1"].size + case["x0"].size, 2 * case["x0"].size]
    assert finding.expected.tolist() == [case["x1"].size, case["x0"].size]
    assert set(verdict.findings) == {"crossed"}


@pytest.mark.parametrize("device", [2, -1, "sim:0", None, np.zeros(2)])
def test_send_refuses_what_is_no_device(device, quick):
    text = str(check.device_exchange_forward(lambda x0, x1, send: send(x0, device)))
    assert "ValueError: send(array, device): the device is 0 or 1, not " in text
    assert "lambda x0, x1, send: send(x0, device)" in text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda x0, x1, send: forward(x0, x1, send)[0], "one ndarray, where a tuple of 2 is wanted: y0, y1"),
        (lambda x0, x1, send: (*forward(x0, x1, send), x0), "3, where 2 are wanted: y0, y1"),
    ],
)
def test_an_exchange_that_returns_too_much_or_too_little_is_told_what_is_wanted(answer, text, quick):
    assert text in str(check.device_exchange_forward(answer))


def test_half_an_exchange_is_half_written(quick):
    verdict = check.device_exchange_forward(lambda x0, x1, send: (forward(x0, x1, send)[0], None))
    assert [verdict.of(where) for where in ("y0", "y1", "crossed")] == ["right", NOT_WRITTEN, "right"]
    verdict = check.device_exchange_forward(lambda x0, x1, send: (None, None))
    assert verdict.state == NOT_WRITTEN


def picture_by_picture(x0, x1, send):
    pairs = [forward(x0[n : n + 1], x1[n : n + 1], send) for n in range(len(x0))]
    return [np.concatenate(arrays) for arrays in zip(*pairs, strict=True)]


def filled_in(x0, x1, send):
    N, C0, H, W = x0.shape
    y0, y1 = (np.zeros((N, C0 + x1.shape[1], H, W)) for _ in range(2))
    y0[:, :C0], y0[:, C0:] = x0, send(x1, 0)
    y1[:, :C0], y1[:, C0:] = send(x0, 1), x1
    return y0, y1


@pytest.mark.parametrize("answer", [picture_by_picture, filled_in])
def test_an_exchange_in_other_words_is_right(answer, quick):
    assert check.device_exchange_forward(answer)


def into_copies(grad_y0, grad_y1, channels0, send):
    from_0, from_1 = send(grad_y0[:, channels0:], device=1), send(grad_y1[:, :channels0], device=0)
    from_0 += grad_y1[:, channels0:]
    from_1 += grad_y0[:, :channels0]
    return [from_1, from_0]


def test_an_exchanges_backward_in_other_words_is_right(quick):
    assert check.device_exchange_backward(into_copies)


@pytest.mark.parametrize(
    "answer",
    [
        lambda g0, g1, c, send: (g0[:, :c] - send(g1[:, :c], 0), send(g0[:, c:], 1) + g1[:, c:]),
        lambda g0, g1, c, send: (g0[:, :c] + send(g1[:, :c], 0) / 2, send(g0[:, c:], 1) + g1[:, c:]),
        lambda g0, g1, c, send: backward(g1, g0, c, send),
        lambda g0, g1, c, send: backward(np.clip(g0, -100, 100), np.clip(g1, -100, 100), c, send),
        lambda g0, g1, c, send: backward(g0[:1], g1[:1], c, send),
        lambda g0, g1, c, send: backward(g0, g1, c, send)[::-1],
    ],
)
def test_an_exchanges_wrong_backward_is_not_right(answer):
    assert check.device_exchange_backward(answer).state == "wrong"
