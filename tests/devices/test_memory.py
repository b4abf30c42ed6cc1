"""The pool of memory: what is in use is never given out, what is gone is used again."""

import gc
import threading

import numpy as np
import pytest

import minialex as mx
from minialex.devices import memory
from minialex.devices.memory import SMALL, Pool

MiB = 2**20


def place_of(array):
    return array.__array_interface__["data"][0]


@pytest.fixture
def pool():
    return Pool()


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int32", "bool"])
@pytest.mark.parametrize("shape", [(MiB,), (3, 5, 2**16), (0, 7), (2, 3), ()])
def test_an_array_has_the_shape_and_dtype_asked_for_and_can_be_written_to(pool, shape, dtype):
    array = pool.empty(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    array[...] = 1
    assert (array == 1).all()


def test_arrays_in_use_do_not_share_memory(pool):
    arrays = [pool.empty((MiB,), np.uint8) for _ in range(5)]
    for number, array in enumerate(arrays):
        array.fill(number)
    assert [int(array.max()) for array in arrays] == [0, 1, 2, 3, 4]


def test_memory_of_an_array_that_is_gone_is_used_again(pool):
    first = pool.empty((MiB,), np.float32)
    place = place_of(first)
    del first
    assert place_of(pool.empty((4, MiB // 4), np.int32)) == place  # another shape, the same size


@pytest.mark.parametrize("hold", [
    lambda array: array[5:],
    lambda array: array.reshape(2, -1).T,
    lambda array: array.view(np.uint8),
    lambda array: np.lib.stride_tricks.as_strided(array, (3,), (4,)),
    memoryview,
])  # fmt: skip
def test_memory_of_which_a_view_is_left_is_not_given_out(pool, hold):
    array = pool.empty((MiB,), np.float32)
    place, view = place_of(array), hold(array)
    del array
    gc.collect()
    assert place_of(pool.empty((MiB,), np.float32)) != place
    del view
    assert place_of(pool.empty((MiB,), np.float32)) == place


def test_small_arrays_are_numpy_s_own(pool):
    assert pool.empty((SMALL - 1,), np.uint8).base is None
    assert not pool.unused


def test_free_gives_all_unused_memory_back(pool):
    for size in (MiB, 2 * MiB):
        pool.empty((size,), np.uint8)
    assert sum(map(len, pool.unused.values())) == 2
    pool.free()
    assert sum(map(len, pool.unused.values())) == 0


def test_memory_that_nobody_asks_for_any_more_goes_back_when_more_is_needed(pool, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    pool.empty((MiB,), np.uint8)  # gone at once
    assert len(pool.unused[MiB]) == 1
    now[0] += memory.STALE_S - 1
    pool.empty((2 * MiB,), np.uint8)
    assert len(pool.unused[MiB]) == 1
    now[0] += 2
    pool.empty((3 * MiB,), np.uint8)
    assert len(pool.unused[MiB]) == 0


def test_threads_never_get_the_same_memory(pool):
    wrong = []

    def work(number):
        for _ in range(200):
            array = pool.empty((SMALL,), np.uint8)
            array.fill(number)
            if (array != number).any():
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_a_layer_never_writes_into_what_it_returned_before():
    layer = mx.Conv2D(3, 8, 3)
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(3):
        y = layer.forward(rng.standard_normal((16, 3, 32, 32)).astype(np.float32))
        grad_x = layer.backward(rng.standard_normal(y.shape).astype(np.float32))
        kept += [(array, array.copy()) for array in (y, grad_x, layer.weight.grad)]
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)


def test_free_memory_of_a_device_empties_its_pool():
    cpu = mx.Device("cpu")
    place = place_of(cpu.empty((MiB + 1,), np.uint8))
    assert place_of(cpu.empty((MiB + 1,), np.uint8)) == place
    cpu.free_memory()
    assert all(not unused for unused in cpu._pool.unused.values())
    mx.Device("sim:0").free_memory()  # nothing to do, no error


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 1, 2), (1, 0, 3, 2)])
def test_empty_like_keeps_shape_dtype_and_layout(device, order):
    array = device.asarray(np.zeros((2, 3, 4, 5), np.float32)).transpose(order)
    like = device.empty_like(array)
    assert (like.shape, like.dtype, like.strides) == (array.shape, array.dtype, array.strides)
