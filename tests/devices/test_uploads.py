"""Uploads: the right pictures in the right order, whatever a GPU's streams do first, as far as events let them."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minialex as mx
from minialex import train
from minialex.devices.device import cuda_count
from minialex.devices.uploads import uploads

ORDERS = ["lazy", "copies first", "computes first", "any", "computes as late as can be"]


class Machine:
    """A stand-in for CuPy: streams are queues of work, run in any order that events and waiting allow.

    Work is done late, when somebody waits for it, or early, as `order` has it: so whatever is not kept apart by an
    event goes wrong sooner or later.
    """

    def __init__(self, order, seed):
        self.order, self.rng = order, np.random.default_rng(seed)
        self.computing, self.streams, self.freed = Stream(self), [], []
        self.cuda = SimpleNamespace(
            Stream=lambda non_blocking: Stream(self),
            Event=lambda disable_timing: Event(self),
            get_current_stream=lambda: self.computing,
            alloc_pinned_memory=lambda nbytes: memoryview(bytearray(nbytes + 64)),
        )

    def empty(self, count, dtype):
        if self.freed:  # CuPy's pool hands out memory that kernels in the queue still read
            return self.freed.pop()[:count]
        return np.full(count, 255, dtype).view(GpuArray)

    def let_run(self):
        """Something may happen now, or not."""
        if self.order == "lazy":
            return
        order = {
            "copies first": self.streams[::-1],
            "computes first": self.streams,
            "computes as late as can be": self.streams[1:],
        }.get(self.order, self.rng.permutation(np.array(self.streams, object)))
        for stream in order:
            steps = 99 if self.order != "any" else self.rng.integers(4)
            while steps and stream.runs():
                steps -= 1

    def run_until(self, done):
        while not done():
            ready = [stream for stream in self.streams if stream.can_run()]
            assert ready, "all streams wait for each other"
            late = self.order == "computes as late as can be"
            ready[-1 if late else self.rng.integers(len(ready))].runs()


class Stream:
    def __init__(self, machine):
        self.machine, self.queue = machine, []
        if hasattr(machine, "streams"):
            machine.streams.append(self)

    def put(self, work, condition=lambda: True):
        self.queue.append((condition, work))
        self.machine.let_run()

    def can_run(self):
        return bool(self.queue) and self.queue[0][0]()

    def runs(self):
        if not self.can_run():
            return False
        self.queue.pop(0)[1]()
        return True

    def record(self, event):
        self.put(event.happen)
        return event

    def wait_event(self, event):
        self.put(lambda: None, lambda: event.done)

    def synchronize(self):
        self.machine.run_until(lambda: not self.queue)


class Event:
    def __init__(self, machine):
        self.machine, self.done = machine, False

    def happen(self):
        self.done = True

    def synchronize(self):
        self.machine.run_until(lambda: self.done)


class GpuArray(np.ndarray):
    def set(self, host, stream):
        assert host.flags.c_contiguous
        assert host.shape == self.shape
        stream.put(lambda: np.copyto(self, host))


class FakeGpu(nullcontext):
    upload_ahead = True

    def __init__(self, order, seed):
        super().__init__()
        self.xp = Machine(order, seed)
        self.xp.streams = [self.xp.computing]


def make_batches(sizes, dtype="float32"):
    return [
        (np.full((size, 3), number, dtype), [number] * size) for number, size in enumerate(sizes, start=1)
    ]


@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(1, 5), max_size=7), order=st.sampled_from(ORDERS), seed=st.integers(0, 10**6)
)
def test_each_step_reads_its_own_pictures(sizes, order, seed):
    gpu, batches, read, labels_of = FakeGpu(order, seed), make_batches(sizes), [], []
    for x, labels in uploads(gpu, iter(batches)):
        gpu.xp.computing.put(lambda x=x: read.append(np.array(x)))  # a kernel: it reads when its turn comes
        labels_of.append(labels)
    gpu.xp.computing.synchronize()
    assert labels_of == [labels for _, labels in batches]
    for found, (wanted, _) in zip(read, batches, strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


@pytest.mark.parametrize("order", ORDERS)
def test_memory_that_is_still_read_is_not_written_over(order):
    gpu, seen = FakeGpu(order, 0), []
    block = np.full(1000, 7, np.uint8).view(GpuArray)
    gpu.xp.computing.queue.append(
        (lambda: order != "copies first" or len(seen) == 0, lambda: seen.append(block.copy()))
    )
    gpu.xp.freed = [block]
    assert len(list(uploads(gpu, make_batches([2, 2])))) == 2
    gpu.xp.computing.synchronize()
    np.testing.assert_array_equal(seen[0], 7)


def test_the_next_batch_is_copied_before_this_one_is_handed_out():
    gpu, taken = FakeGpu("copies first", 0), []

    def batches():
        for number, batch in enumerate(make_batches([2, 2, 2])):
            taken.append(number)
            yield batch

    handed_out = uploads(gpu, batches())
    next(handed_out)
    assert taken == [0, 1]
    copying = gpu.xp.streams[1]
    assert not copying.queue  # both copies were free to go
    next(handed_out)
    assert taken == [0, 1, 2]


def test_who_stops_early_leaves_no_copy_under_way():
    gpu = FakeGpu("lazy", 0)
    handed_out = uploads(gpu, make_batches([2, 2, 2]))
    next(handed_out)
    copying = gpu.xp.streams[1]
    assert copying.queue
    handed_out.close()
    assert not copying.queue


def test_where_nothing_is_copied_ahead_the_batches_come_as_they_are(device):
    if device.name.startswith("cuda"):
        pytest.skip("for devices that do not copy ahead")
    batches = make_batches([2, 1])
    for (x, labels), (wanted, wanted_labels) in zip(uploads(device, batches), batches, strict=True):
        assert mx.device_of(x) is device
        assert labels is wanted_labels
        np.testing.assert_array_equal(mx.to_numpy(x), wanted)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_count() < 1, reason="no CUDA GPU that CuPy can use")
def test_training_with_uploads_ahead_gives_the_same_bits(monkeypatch):
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (200, 1, 28, 28)).astype(np.uint8), rng.integers(0, 10, 200)
    results = []
    for ahead in (False, True):
        monkeypatch.setattr(mx.Device("cuda:0"), "upload_ahead", ahead)
        model = mx.models.lenet5(device="cuda:0")
        batches = mx.data.loader.ArrayBatches(pictures, labels, 32, prepare=model.prepare)
        optimizer = mx.SGD(model.parameters(), 0.05)
        history = train.fit(model, optimizer, mx.optim.Constant(0.05), batches, batches, epochs=2)
        results.append([history[-1]["test_loss"], *(mx.to_numpy(p.value) for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
