"""Devices: their names, the way between them, and which one is current."""

import copy
import importlib
import pickle
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import minialex as mx
from minialex.devices import simdevice, twins
from minialex.devices.device import (
    Device,
    array_module,
    cuda_count,
    device_of,
    is_array,
    place,
    to_numpy,
    transfer,
)
from minialex.devices.simdevice import current_index, recording
from minialex.errors import DeviceMismatch, DeviceUnavailable

GPUS = cuda_count()
one_gpu = pytest.mark.skipif(GPUS < 1, reason="no CUDA GPU that CuPy can use")
two_gpus = pytest.mark.skipif(GPUS < 2, reason="less than two CUDA GPUs that CuPy can use")


class FakeArray:
    """As much of a CuPy array as minialex.devices.device touches."""

    nbytes = 24

    def __init__(self, index, cupy):
        self.device = SimpleNamespace(id=index)
        self.data = SimpleNamespace(
            copy_from_device_async=lambda source, nbytes, stream: cupy.log.append(
                f"gpu{stream.index} copies {nbytes} bytes"
            )
        )


class FakeStream:
    def __init__(self, index, log):
        self.index, self.log = index, log

    def record(self, event):
        self.log.append(f"gpu{self.index} records")
        return self.index

    def wait_event(self, event):
        self.log.append(f"gpu{self.index} waits for gpu{event}")


def fake_cupy(gpus):
    """A module that says it is CuPy, on a machine with so many GPUs (None: without a driver); `log` is what it did."""
    cupy = ModuleType("cupy")
    cupy.__version__ = "14.fake"
    cupy.log, current = [], [0]

    @contextmanager
    def device(index):
        current.append(index)
        try:
            yield
        finally:
            current.pop()

    cupy.ndarray = FakeArray
    cupy.is_available = lambda: bool(gpus)
    cupy.ascontiguousarray = lambda array: array
    cupy.empty_like = lambda array: FakeArray(current[-1], cupy)
    runtime = SimpleNamespace(
        getDeviceCount=lambda: gpus, getDeviceProperties=lambda index: {"name": b"Fake GPU"}
    )
    cupy.cuda = SimpleNamespace(
        Device=device,
        Event=lambda disable_timing: None,
        get_current_stream=lambda: FakeStream(current[-1], cupy.log),
        runtime=runtime,
    )
    return cupy


@pytest.fixture
def machine_with(monkeypatch):
    """Call it with a number of GPUs, None for no driver, or "no CuPy"; returns the CuPy that minialex sees then."""

    def make(gpus):
        cupy = None if gpus == "no CuPy" else fake_cupy(gpus)  # None in sys.modules: import raises
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        known = {name: device for name, device in Device._known.items() if not name.startswith("cuda")}
        monkeypatch.setattr(Device, "_known", known)
        return cupy

    return make


# ---- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cpu", "sim:0", "sim:7"])
def test_a_device_is_called_by_its_name(name):
    assert Device(name).name == name
    assert eval(repr(Device(name)).partition(", fast=")[0].rstrip(")") + ")") is Device(name)


def test_a_device_says_which_twins_are_on(monkeypatch):
    monkeypatch.setattr(Device("cpu"), "fast", True)
    monkeypatch.setitem(
        sys.modules, "minialex.fast.cpu", SimpleNamespace(TWINS={mx.Tanh: 1, mx.Linear: 2, "SGD": 3})
    )
    twins.twins_of.cache_clear()
    assert repr(Device("sim:0")) == "Device('sim:0')"
    assert repr(Device("cpu")) == "Device('cpu', fast=['Linear', 'SGD', 'Tanh'])"
    with mx.textbook():
        assert repr(Device("cpu")) == "Device('cpu')"
    twins.twins_of.cache_clear()


def test_the_same_name_is_the_same_object():
    assert Device("sim:3") is Device("sim:3")
    assert Device("sim:3") is not Device("sim:4")
    assert Device(Device("cpu")) is Device("cpu")


def test_the_number_left_out_is_0():
    assert Device("sim") is Device("sim:0") is Device(" sim:00 ")


def test_the_device_left_out_is_the_cpu():
    assert Device() is Device("cpu")


@pytest.mark.parametrize(
    "name", ["gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "sim:1.0", "", None, 0]
)
def test_an_unknown_name_is_quoted_beside_those_that_are_known(name):
    with pytest.raises(ValueError, match=r'unknown device .*: use "cpu", "cuda:0"') as caught:
        Device(name)
    assert repr(name) in str(caught.value)


def test_every_kind_has_its_array_module():
    assert Device("cpu").xp is np
    assert Device("sim:0").xp is Device("sim:1").xp is simdevice.sim_numpy


def test_the_column_budget_is_each_devices_own_setting(monkeypatch):
    before = Device("sim:1").column_budget
    monkeypatch.setattr(Device("sim:0"), "column_budget", 123)
    assert Device("sim:0").column_budget == 123
    assert Device("sim:1").column_budget == before > 2**20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("fast", value) for value in ("False", "no", None, 2, np.ones(2))],
        *[("upload_ahead", value) for value in ("0", None)],
        *[("threads", value) for value in (0, -1, 2.5, "2", None, True, float("nan"))],
        *[("column_budget", value) for value in (0, -1, "x", 1e6)],
        *[("piece_bytes", value) for value in (0, 0.5, "64")],
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_the_device_stays_as_it_was(device, name, value):
    before = getattr(device, name)
    with pytest.raises(
        ValueError, match=rf"^Device\('{device.name}'\): {name} must be .*{re.escape(repr(value)[:9])}"
    ):
        setattr(device, name, value)
    assert getattr(device, name) is before


@pytest.mark.parametrize(
    ("name", "meant"), [("thread", "threads"), ("column_budgte", "column_budget"), ("fsat", "fast")]
)
def test_a_misspelt_setting_is_refused(device, name, meant):
    message = (
        rf"^Device\('{device.name}'\) has no {name} \(did you mean {meant}\?\): what may be set is threads, "
    )
    with pytest.raises(AttributeError, match=message):
        setattr(device, name, 4)
    assert not hasattr(device, name)


def test_numbers_of_numpy_are_settings(monkeypatch):
    cpu = Device("cpu")
    for name, value in (("threads", np.int64(2)), ("fast", np.False_)):
        monkeypatch.setattr(cpu, name, value)
        assert (cpu.__dict__[name], type(cpu.__dict__[name])) == (value.item(), type(value.item()))


@pytest.mark.parametrize("value", ["yes", "True", "2"])
def test_what_the_environment_asks_for_is_0_or_1(monkeypatch, value):
    monkeypatch.setenv("MINIALEX_UPLOAD_AHEAD", value)
    monkeypatch.delitem(sys.modules, "minialex.devices.cuda", raising=False)
    with pytest.raises(ValueError, match=f"^MINIALEX_UPLOAD_AHEAD must be 0, 1, or not set, not '{value}'"):
        importlib.import_module("minialex.devices.cuda")


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda device: pickle.loads(pickle.dumps(device))]
)
def test_a_copy_of_a_device_is_the_same_object(device, copied):
    assert copied(device) is device


def test_two_threads_that_ask_at_once_get_the_same_device():
    barrier, got = threading.Barrier(8), []

    def ask():
        barrier.wait()
        got.append(Device("sim:41"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(got) == {Device("sim:41")}


# ---- GPUs that are not there -----------------------------------------------------------------------


def test_a_gpu_without_cupy_says_how_to_install_it(machine_with):
    machine_with("no CuPy")
    with pytest.raises(
        DeviceUnavailable, match=r'^cuda:0 needs CuPy: pip install "minialex\[cuda12\]".*pick one$'
    ):
        Device("cuda:0")


def test_a_gpu_without_a_driver_says_where_to_look(machine_with):
    machine_with(None)
    with pytest.raises(DeviceUnavailable, match=r"^cuda:0: CuPy 14.fake is installed, but .*nvidia-smi"):
        Device("cuda:0")


def test_a_gpu_too_many_says_how_many_there_are(machine_with):
    machine_with(2)
    with pytest.raises(DeviceUnavailable, match=r"^cuda:2 is not there: this machine has 2 CUDA GPU"):
        Device("cuda:2")


def test_a_gpu_that_was_not_there_is_asked_for_again(machine_with):
    machine_with(1)
    with pytest.raises(DeviceUnavailable):
        Device("cuda:1")
    with pytest.raises(DeviceUnavailable):
        Device("cuda:1")  # the failure is not remembered as a device


def test_a_gpu_that_is_there_computes_with_cupy(machine_with):
    cupy = machine_with(2)
    assert Device("cuda:1").xp is cupy
    assert Device("cuda:1").column_budget > Device("cpu").column_budget


def test_the_real_cupy_without_a_gpu_says_what_is_missing():
    pytest.importorskip("cupy", reason="no CuPy")
    if GPUS:
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceUnavailable, match="finds no usable NVIDIA GPU"):
        Device("cuda:0")
    assert place("auto") == (Device("cpu"), Device("cpu"))


def test_the_cpu_and_sim_never_import_cupy():
    code = (
        "import sys, numpy as np, minialex as mx\n"
        "mx.to_numpy(mx.transfer(mx.Device('sim:0').asarray(np.ones(2)), 'sim:1'))\n"
        "sys.exit('cupy' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# ---- place -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ("no CuPy", ["cpu", "cpu"]),
        (None, ["cpu", "cpu"]),
        (1, ["cuda:0", "cuda:0"]),
        (2, ["cuda:0", "cuda:1"]),
        (3, ["cuda:0", "cuda:1"]),
    ],
)
def test_auto_takes_the_gpus_that_are_there(machine_with, gpus, expected):
    machine_with(gpus)
    assert [device.name for device in place("auto")] == expected
    assert place() == place(" auto ")


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("cpu", ["cpu", "cpu"]),
        ("sim:0,sim:1", ["sim:0", "sim:1"]),
        (" sim:1 , cpu ", ["sim:1", "cpu"]),
        ("sim:0,sim:0", ["sim:0", "sim:0"]),
        (["sim:1", "sim:0"], ["sim:1", "sim:0"]),
        (("sim:2",), ["sim:2", "sim:2"]),
        (Device("sim:1"), ["sim:1", "sim:1"]),
        ([Device("sim:1"), "cpu"], ["sim:1", "cpu"]),
    ],
)
def test_place_gives_two_devices(devices, expected):
    assert [device.name for device in place(devices)] == expected


@pytest.mark.parametrize(("devices", "count"), [("cpu,cpu,cpu", 3), (["cpu"] * 4, 4), ([], 0)])
def test_place_takes_one_device_or_two(devices, count):
    with pytest.raises(ValueError, match=f"^a model takes one device or two, not {count}"):
        place(devices)


@pytest.mark.parametrize("devices", ["", "sim:0,", "auto,cpu", None, 0, {"cpu"}])
def test_place_wants_names(devices):
    with pytest.raises(ValueError, match="unknown device"):
        place(devices)


# ---- asarray ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64", "bool"])
def test_asarray_keeps_the_dtype(device, dtype):
    host = np.array([[0, 1, 1]], dtype=dtype)
    array = device.asarray(host)
    assert array.dtype == dtype
    np.testing.assert_array_equal(to_numpy(array), host)


def test_asarray_takes_a_list_or_a_number(device):
    assert to_numpy(device.asarray([1, 2])).tolist() == [1, 2]
    assert device.asarray(2.5).shape == ()


def test_asarray_gives_the_dtype_that_is_asked_for(device):
    assert device.asarray([1, 2], dtype="float32").dtype == "float32"
    assert device.asarray(device.asarray([1, 2]), dtype="float32").dtype == "float32"


def test_asarray_leaves_an_array_that_is_there_already(device):
    array = device.asarray(np.ones(3))
    with recording() as ledger:
        assert device.asarray(array) is array
    assert not ledger.transfers


def test_asarray_puts_the_array_on_its_device_whatever_the_current_one_is():
    with Device("sim:0"):
        assert device_of(Device("sim:1").asarray([1.0])) is Device("sim:1")


@pytest.mark.parametrize(("here", "there"), [("cpu", "sim:0"), ("sim:1", "sim:0")])
def test_asarray_refuses_an_array_of_another_device(here, there):
    array = Device(there).asarray([1.0])
    with pytest.raises(
        DeviceMismatch, match=f"takes host data to {here}; this array lives on {there}: use transfer"
    ):
        Device(here).asarray(array)


def test_a_simulated_device_has_memory_of_its_own():
    host = np.zeros(2)
    array = Device("sim:0").asarray(host)
    host[0] = 1
    assert to_numpy(array).tolist() == [0, 0]


# ---- which device an array is on -------------------------------------------------------------------


def test_device_of_an_array_is_where_it_was_made(device):
    array = device.asarray(np.ones(3))
    assert device_of(array) is device
    assert array_module(array) is device.xp


def test_device_of_a_cupy_array_is_its_gpu(machine_with):
    cupy = machine_with(2)
    assert device_of(FakeArray(1, cupy)).name == "cuda:1"


@pytest.mark.parametrize("nonsense", [[1.0], 1.0, None, "cpu", Device("cpu")])
def test_device_of_what_is_no_array_names_its_type(nonsense):
    with pytest.raises(
        TypeError, match=f"^a NumPy or CuPy array is needed here, not {type(nonsense).__name__}$"
    ):
        device_of(nonsense)
    assert not is_array(nonsense)


@pytest.mark.parametrize("function", [to_numpy, lambda value: transfer(value, "cpu"), array_module])
def test_a_list_is_no_array_for_those_who_ask_for_its_device(function):
    with pytest.raises(TypeError, match="not list"):
        function([1.0])


# ---- transfer --------------------------------------------------------------------------------------


def test_transfer_to_where_an_array_is_returns_it_and_counts_nothing(device):
    array = device.asarray(np.ones(3))
    with recording() as ledger:
        assert transfer(array, device) is array
        assert transfer(array, device.name) is array
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


@pytest.mark.parametrize(
    ("source", "target", "syncs"),
    [("cpu", "sim:0", 0), ("sim:0", "cpu", 1), ("sim:0", "sim:1", 0), ("sim:1", "sim:0", 0)],
)
def test_transfer_copies_and_counts_its_bytes(source, target, syncs):
    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    array = Device(source).asarray(host)
    with recording() as ledger:
        moved = transfer(array, target)
    assert device_of(moved) is Device(target)
    assert moved.dtype == "float32"
    np.testing.assert_array_equal(to_numpy(moved), host)
    assert ledger.transfers == [(source, target, 24)]
    assert ledger.bytes_between(source, target) == 24
    assert ledger.bytes_between(target, source) == 0
    assert ledger.host_syncs == syncs


@pytest.mark.parametrize(("source", "target"), [("cpu", "sim:0"), ("sim:0", "cpu"), ("sim:0", "sim:1")])
def test_what_was_transferred_is_a_copy(source, target):
    array = Device(source).asarray(np.zeros(2))
    moved = transfer(array, target)
    with Device(target):
        moved += 1
    assert to_numpy(array).tolist() == [0, 0]


def test_a_transfer_counts_the_bytes_of_a_view_and_not_of_its_base():
    array = Device("sim:0").asarray(np.zeros((4, 100)))
    with recording() as ledger:
        moved = transfer(array[:, ::10], "sim:1")
    assert moved.shape == (4, 10)
    assert ledger.transfers[0].bytes == 4 * 10 * 8


def test_transfer_works_whatever_the_current_device_is():
    with Device("sim:2"):
        moved = transfer(Device("sim:0").asarray([1.0]), "sim:1")
    assert to_numpy(moved).tolist() == [1.0]


def test_to_numpy_leaves_a_host_array_alone():
    host = np.ones(2)
    assert to_numpy(host) is host


def test_to_numpy_gives_an_array_that_is_ours_to_change(device):
    array = device.asarray(np.zeros(3))[1]  # 0-d
    host = to_numpy(array)
    assert isinstance(host, np.ndarray)
    assert host.flags.writeable


def test_there_is_no_way_between_a_simulated_and_a_real_gpu(machine_with):
    cupy = machine_with(1)
    with pytest.raises(DeviceMismatch, match="no way from cuda:0 to sim:0: go through the host"):
        transfer(FakeArray(0, cupy), "sim:0")
    with pytest.raises(DeviceMismatch, match="no way from sim:0 to cuda:0: go through the host"):
        transfer(Device("sim:0").asarray([1.0]), "cuda:0")


def test_a_copy_between_gpus_is_put_in_order_by_events_on_both_sides(machine_with):
    cupy = machine_with(2)
    moved = transfer(FakeArray(0, cupy), "cuda:1")
    assert device_of(moved).name == "cuda:1"
    assert cupy.log == [
        "gpu0 records",  # the array is written
        "gpu1 waits for gpu0",
        "gpu1 copies 24 bytes",
        "gpu1 records",  # the array is read
        "gpu0 waits for gpu1",  # before its memory may be used again
    ]


# ---- the current device ----------------------------------------------------------------------------


def test_with_makes_a_device_current_and_puts_the_old_one_back():
    before = current_index()
    with Device("sim:1") as outer:
        assert outer is Device("sim:1")
        assert current_index() == 1
        with Device("sim:2"), Device("sim:1"):
            assert current_index() == 1
        assert current_index() == 1
    assert current_index() == before


def test_the_cpu_leaves_the_current_device_of_the_gpus_alone():
    with Device("sim:1"), Device("cpu"):
        assert current_index() == 1


def test_an_exception_inside_puts_the_old_device_back_and_goes_on():
    with Device("sim:1"):
        with pytest.raises(KeyError), Device("sim:2"), Device("sim:3"):
            raise KeyError("in here")
        assert current_index() == 1


def test_new_arrays_are_made_on_the_current_device(device):
    with device:
        assert device_of(device.xp.zeros(3)) is device


def test_each_thread_has_its_own_current_device():
    barrier = threading.Barrier(3)
    seen = {}

    def work(index):
        seen[f"fresh {index}"] = current_index()
        with Device(f"sim:{index}"):
            barrier.wait()  # all are inside now
            seen[index] = current_index()
            barrier.wait()
        seen[f"after {index}"] = current_index()

    threads = [threading.Thread(target=work, args=(index,)) for index in (1, 2)]
    with Device("sim:5"):
        for thread in threads:
            thread.start()
        barrier.wait()
        seen[5] = current_index()
        barrier.wait()
        for thread in threads:
            thread.join()
        assert current_index() == 5
    assert seen == {"fresh 1": 0, "fresh 2": 0, 1: 1, 2: 2, 5: 5, "after 1": 0, "after 2": 0}


def test_a_thread_that_leaves_a_device_leaves_its_own_entry_and_not_another_threads():
    inside, leave, seen = threading.Event(), threading.Event(), []

    def work():
        with Device("sim:1"):
            inside.set()
            leave.wait(5)
            seen.append(current_index())
        seen.append(current_index())

    thread = threading.Thread(target=work)
    with Device("sim:5"):
        with Device("sim:1"):
            thread.start()
            inside.wait(5)  # it came later, and is in there still
        assert current_index() == 5
    leave.set()
    thread.join()
    assert seen == [1, 0]


# ---- the link between two GPUs -----------------------------------------------------------------------


@pytest.fixture
def two_gpus_that_copy(machine_with, monkeypatch):
    """Call it with what happens to the bytes on their way; returns the two devices and the copies that were made."""

    def make(on_the_way):
        machine_with(2)
        first, second = Device("cuda:0"), Device("cuda:1")
        ways = []

        def straight(target, array, source):
            ways.append((source.name, target.name))
            return on_the_way(array, source)

        monkeypatch.setattr(type(first), "asarray", lambda self, array, dtype=None: array.copy())
        monkeypatch.setattr(type(first), "_receive_from_gpu", straight)
        return first, second, ways

    return make


def test_a_good_link_is_tried_both_ways_and_says_nothing(two_gpus_that_copy):
    first, second, ways = two_gpus_that_copy(lambda array, source: array)
    first.check_link(second)
    assert ways == [("cuda:0", "cuda:1"), ("cuda:1", "cuda:0")]
    assert first.not_straight_from == second.not_straight_from == set()


def test_a_link_that_lies_in_one_byte_is_found_and_gone_around(two_gpus_that_copy, monkeypatch):
    def one_byte_wrong(array, source):
        array = array.copy()
        array[-1] ^= source.name == "cuda:0"
        return array

    first, second, ways = two_gpus_that_copy(one_byte_wrong)
    with pytest.warns(
        RuntimeWarning, match=r"1 of 4,194,304 bytes copied from cuda:0 to cuda:1 .* through the host"
    ):
        first.check_link(second)
    assert second.not_straight_from == {"cuda:0"}
    assert first.not_straight_from == set()
    ways.clear()
    on_the_gpu = SimpleNamespace(values=np.arange(3))
    monkeypatch.setattr("minialex.devices.cuda.to_numpy", lambda array: array.values)
    np.testing.assert_array_equal(second._receive(on_the_gpu, first), np.arange(3))
    assert ways == []  # through the host


def test_one_gpu_twice_and_pretended_ones_need_no_check(two_gpus_that_copy):
    first, _, ways = two_gpus_that_copy(lambda array, source: array)
    first.check_link(first)
    Device("sim:0").check_link(Device("sim:1"))
    Device("cpu").check_link(first)
    assert ways == []


# ---- on real GPUs ----------------------------------------------------------------------------------


@pytest.mark.gpu
@one_gpu
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_what_goes_up_to_a_gpu_comes_down_the_same(dtype):
    host = np.random.default_rng(0).integers(0, 255, (3, 5, 7)).astype(dtype)[:, ::2].transpose(2, 0, 1)
    array = transfer(host, "cuda:0")
    assert (device_of(array).name, array.dtype) == ("cuda:0", dtype)
    np.testing.assert_array_equal(to_numpy(array), host)


@pytest.mark.gpu
@one_gpu
def test_transfer_from_a_gpu_to_itself_returns_the_array():
    array = Device("cuda:0").asarray(np.ones(3))
    assert transfer(array, "cuda:0") is array


@pytest.mark.gpu
@one_gpu
def test_the_copy_between_gpus_is_byte_for_byte_even_on_one():
    host = np.random.default_rng(0).standard_normal((64, 33, 17)).astype(np.float32)
    device = Device("cuda:0")
    array = device.asarray(host).transpose(2, 0, 1)
    moved = device._receive_from_gpu(array, device)
    array[...] = 0  # in order behind the copy, or the next line sees it
    np.testing.assert_array_equal(to_numpy(moved), host.transpose(2, 0, 1))


class OnItsOwnStream(type(Device("cpu")).__mro__[1]):
    """A logical device: a GPU, with a stream of its own on which nothing waits for the default stream."""

    def __new__(cls, gpu, name):
        logical = object.__new__(cls)
        logical.gpu, logical.xp, logical.name, logical.index = gpu, gpu.xp, name, gpu.index
        with gpu:
            logical.stream = gpu.xp.cuda.Stream(non_blocking=True)
        return logical

    def __enter__(self):
        self.gpu.__enter__()
        self.stream.__enter__()
        return self

    def __exit__(self, *error):
        self.stream.__exit__(*error)
        return self.gpu.__exit__(*error)


@pytest.mark.gpu
@one_gpu
def test_the_fences_hold_between_two_logical_devices_while_a_slow_kernel_runs():
    gpu = Device("cuda:0")
    source, target = OnItsOwnStream(gpu, "first"), OnItsOwnStream(gpu, "second")
    slow = gpu.xp.RawKernel(
        """extern "C" __global__ void fill(float* x, int n, float value) {
            long long start = clock64();
            while (clock64() - start < 20000000) {}          // about 10 ms
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < n) x[i] = value;
        }""",
        "fill",
    )
    n = 1 << 16
    for value in range(1, 6):
        with source:
            array = gpu.xp.empty(n, dtype=np.float32)
            slow((n // 256,), (256,), (array, np.int32(n), np.float32(value)))  # still running
        moved = type(gpu)._receive_from_gpu(target, array, source)
        with source:
            slow((n // 256,), (256,), (array, np.int32(n), np.float32(-1)))  # must not overtake the copy
        with target:
            target.stream.synchronize()
            assert (moved.get() == value).all()


@pytest.mark.two_gpu
@two_gpus
@pytest.mark.parametrize("shape", [(3,), (16, 48, 27, 27), (1000, 4096)])
def test_a_copy_between_two_gpus_is_byte_for_byte(shape):
    host = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    there = transfer(transfer(host, "cuda:0"), "cuda:1")
    back = transfer(there, "cuda:0")
    assert (device_of(there).name, device_of(back).name) == ("cuda:1", "cuda:0")
    assert to_numpy(there).tobytes() == to_numpy(back).tobytes() == host.tobytes()


@pytest.mark.two_gpu
@two_gpus
def test_a_copy_between_two_gpus_waits_for_the_kernels_before_it_and_holds_up_those_after():
    source, target = mx.Device("cuda:0"), mx.Device("cuda:1")
    for round in range(20):
        with source:
            array = source.xp.zeros((512, 512), dtype=np.float32)
            for _ in range(50):
                array += 1  # still running when the copy is asked for
        moved = transfer(array, target)
        with source:
            array[...] = -1  # must not be seen by the copy
        assert (to_numpy(moved) == 50).all(), f"round {round}"
