"""sim:N is as strict as a GPU is treacherous, and computes the same bits as NumPy."""

import copy
import operator
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minialex import strategies
from minialex.devices import simdevice
from minialex.devices.simdevice import SimArray, copy_between, on, recording, sim_numpy, upload
from minialex.errors import DeviceMismatch

xp = sim_numpy
HOST = np.arange(1.0, 4.0)  # 1 2 3


@pytest.fixture
def x():
    """1 2 3 on sim:0, which is the current device."""
    return upload(HOST, 0)


def is_host(array):
    return isinstance(array, (np.ndarray, np.generic))


# ---- two devices never meet ------------------------------------------------------------------------

TOGETHER = {
    "a + b": lambda a, b: a + b,
    "a * b": lambda a, b: a * b,
    "a @ b": lambda a, b: a @ b,
    "a ** b": lambda a, b: a**b,
    "a > b": lambda a, b: a > b,
    "a == b": lambda a, b: a == b,
    "maximum": lambda a, b: xp.maximum(a, b),
    "matmul": lambda a, b: xp.matmul(a, b),
    "tensordot": lambda a, b: xp.tensordot(a, b, axes=1),
    "where": lambda a, b: xp.where(a > 0, a, b),
    "concatenate": lambda a, b: xp.concatenate([a, b]),
    "copyto": lambda a, b: xp.copyto(a, b),
    "NumPy's own function": lambda a, b: np.add(a, b),
    "NumPy's own concatenate": lambda a, b: np.concatenate([a, b]),
    "a.dot(b)": lambda a, b: a.dot(b),
}


@pytest.mark.parametrize("operation", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_arrays_of_two_devices_raise_and_both_are_named(x, operation, turned):
    other = upload(HOST, 1)
    with pytest.raises(DeviceMismatch, match="an array on sim:1 is used while the current device is sim:0"):
        operation(*((other, x) if turned else (x, other)))


@pytest.mark.parametrize("operation", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_a_device_and_the_host_raise_and_both_are_named(x, operation, turned):
    if turned and operation is TOGETHER["a.dot(b)"]:
        return  # NumPy's own method: below
    with pytest.raises(
        DeviceMismatch, match=r"an array on cpu, shape \(3,\), .* on sim:0: `transfer` it first"
    ):
        operation(*((HOST, x) if turned else (x, HOST)))


@pytest.mark.parametrize("operation", TOGETHER.values(), ids=TOGETHER)
def test_the_wrong_current_device_raises_though_both_arrays_agree(operation):
    a, b = upload(HOST, 1), upload(HOST, 1)
    with on(0), pytest.raises(DeviceMismatch, match="on sim:1 is used while the current device is sim:0"):
        operation(a, b)
    with on(1):
        operation(a, b)


INTO = {
    "a += b": lambda a, b: a.__iadd__(b),
    "a **= b": lambda a, b: a.__ipow__(b),
    "a[...] = b": lambda a, b: a.__setitem__(..., b),
    "a[0:2] = b": lambda a, b: a.__setitem__(slice(0, 2), b[0:2]),
    "out=": lambda a, b: xp.add(b, b, out=a),
    "sum(out=)": lambda a, b: xp.sum(b, out=a[0], axis=0),
    "NumPy's out=": lambda a, b: np.add(b, b, out=a),
}


@pytest.mark.parametrize("operation", INTO.values(), ids=INTO)
def test_nothing_is_written_across_devices(x, operation):
    other = upload(HOST, 1)
    with pytest.raises(DeviceMismatch, match=r"sim:1 .* sim:0"):
        operation(x, other)
    with pytest.raises(DeviceMismatch, match=r"sim:1 .* sim:0"):
        operation(other, x)
    np.testing.assert_array_equal(x.get(), HOST)
    np.testing.assert_array_equal(other.get(), HOST)


@pytest.mark.parametrize("operation", INTO.values(), ids=INTO)
def test_nothing_is_written_from_the_host(x, operation):
    if operation is INTO["out="]:
        return  # no device takes part before `out` is unwrapped: the next test
    with pytest.raises(DeviceMismatch, match="cpu"):
        operation(x, HOST)
    np.testing.assert_array_equal(x.get(), HOST)


@pytest.mark.parametrize("ufunc", [xp.add, np.add], ids=["xp", "NumPy"])
def test_out_must_live_where_the_inputs_live(x, ufunc):
    host = HOST.copy()
    with pytest.raises(DeviceMismatch, match="cpu"):
        ufunc(x, x, out=host)
    with pytest.raises(DeviceMismatch, match="cpu"):
        ufunc(HOST, HOST, out=x)
    np.testing.assert_array_equal(host, HOST)
    np.testing.assert_array_equal(x.get(), HOST)


def test_an_index_must_live_where_the_array_lives(x):
    for index in (np.array([0, 1]), np.array([True, False, True]), upload([0, 1], 1)):
        with pytest.raises(DeviceMismatch):
            x[index]
        with pytest.raises(DeviceMismatch):
            x[index] = 0
    np.testing.assert_array_equal(x.get(), HOST)


def test_an_index_on_the_device_and_a_list_of_the_host_gather(x):
    assert x[xp.asarray([2, 0])].get().tolist() == [3, 1]
    assert x[[2, 0]].get().tolist() == [3, 1]


def test_a_number_of_the_host_may_meet_any_array(x):
    for number in (2, 2.0, np.float64(2), np.int32(2)):
        assert (number * x).get().tolist() == (x * number).get().tolist() == [2, 4, 6]


def test_a_float_of_python_does_not_widen_float32(x):
    assert (x.astype("float32") * 2.0).dtype == np.float32


def test_a_list_meets_no_array():
    for operation in (lambda x: x - [1, 2, 3], lambda x: [1, 2, 3] * x, lambda x: xp.maximum(x, (0, 0, 0))):
        with pytest.raises(TypeError, match="takes arrays and numbers, no lists"):
            operation(upload(HOST, 0))


# ---- nothing leaves the device unseen --------------------------------------------------------------


@pytest.mark.parametrize(
    "unwrap",
    [
        np.asarray,
        np.array,
        lambda x: np.asarray(x, dtype="float32"),
        lambda x: np.asarray([x, x]),
        lambda x: HOST[x.astype(int)],
        lambda x: HOST.copy().__setitem__(..., x),
        lambda x: HOST.dot(x),
        lambda x: np.float64(x),
    ],
)
def test_numpy_cannot_unwrap_an_array_of_a_device(x, unwrap):
    with pytest.raises(
        TypeError, match="an array on sim:0 does not turn into a NumPy array by itself: use to_numpy"
    ):
        unwrap(x)


@pytest.mark.parametrize("use", [lambda i: range(3)[i], lambda i: HOST[i], lambda i: [1, 2, 3][:i]])
def test_a_whole_number_of_a_device_is_no_index_of_the_host_since_cupys_is_none(use):
    with pytest.raises(TypeError):
        use(xp.asarray(1))


@pytest.mark.parametrize(
    ("reduce", "dtype"),
    [
        (lambda x: x.sum(), "float64"),
        (lambda x: xp.sum(x), "float64"),
        (lambda x: np.sum(x), "float64"),
        (lambda x: x.max(), "float64"),
        (lambda x: x.mean(), "float64"),
        (lambda x: x.argmax(), "int64"),
        (lambda x: x.any(), "bool"),
        (lambda x: x @ x, "float64"),
        (lambda x: x[0], "float64"),
        (lambda x: xp.count_nonzero(x), "int64"),
        (lambda x: xp.array_equal(x, x), "bool"),
        (lambda x: xp.allclose(x, x), "bool"),
    ],
)
def test_one_number_stays_on_the_device_as_a_0d_array(x, reduce, dtype):
    with recording() as ledger:
        number = reduce(x)
    assert isinstance(number, SimArray)
    assert (number.shape, number.dtype) == ((), dtype)
    assert ledger.host_syncs == 0


def test_to_the_host_a_number_of_an_array_comes_as_an_array(x):
    assert type(x[1].get()) is np.ndarray
    assert type(x.sum().get()) is np.ndarray


SYNCS = {
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if x.any() else 2,
    "format": lambda x: f"{x.sum():.3f}",
    "item": lambda x: x.sum().item(),
    "item(i)": lambda x: x.item(1),
    "tolist": lambda x: x.tolist(),
    "get": lambda x: x.get(),
    "boolean mask": lambda x: x[x > 1],
    "boolean mask in a tuple": lambda x: x[None][:, x > 1],
    "nonzero": lambda x: xp.nonzero(x),
    "x.nonzero()": lambda x: x.nonzero(),
    "where": lambda x: xp.where(x > 1),
    "unique": lambda x: xp.unique(x),
    "unique_counts": lambda x: xp.unique_counts(x),
    "bincount": lambda x: xp.bincount(x.astype(int)),
    "if array_equal": lambda x: bool(xp.array_equal(x, x)),
}


@pytest.mark.parametrize("sync", SYNCS.values(), ids=SYNCS)
def test_the_host_waits_once_for(x, sync):
    with recording() as ledger:
        sync(x)
    assert ledger.host_syncs == 1


NO_SYNCS = {
    "arithmetic": lambda x: (x * 2 + x) @ x,
    "a slice": lambda x: x[1:],
    "a gather": lambda x: x[xp.asarray([0, 2])],
    "where of three": lambda x: xp.where(x > 1, x, 0),
    "a masked number": lambda x: x.__setitem__(x > 1, 0),
    "len": len,
    "shape": lambda x: (x.shape, x.dtype, x.size, x.nbytes),
    "iteration": list,
    "copy_between": lambda x: copy_between(x, 1),
    "upload": lambda x: upload(HOST, 1),
}


@pytest.mark.parametrize("operation", NO_SYNCS.values(), ids=NO_SYNCS)
def test_the_host_does_not_wait_for(x, operation):
    with recording() as ledger:
        operation(x)
    assert ledger.host_syncs == 0


@pytest.mark.parametrize(
    ("convert", "expected"),
    [
        (float, 6.0),
        (int, 6),
        (bool, True),
        (lambda s: s.item(), 6.0),
        (lambda s: s.tolist(), 6.0),
        (format, "6.0"),
    ],
)
def test_a_0d_array_becomes_a_number(x, convert, expected):
    converted = convert(x.sum())
    assert converted == expected
    assert type(converted) is type(expected)


def test_an_array_of_many_has_no_truth(x):
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)


def test_uploads_and_downloads_count_their_bytes():
    with recording() as ledger:
        x = upload(np.zeros((2, 3), np.float32), 1)
        x.get()
        copy_between(x, 0)
        x[0].get()
    assert ledger.transfers == [
        ("cpu", "sim:1", 24),
        ("sim:1", "cpu", 24),
        ("sim:1", "sim:0", 24),
        ("sim:1", "cpu", 12),
    ]
    assert ledger.bytes_between("sim:1", "cpu") == 36


def test_a_list_that_becomes_an_array_is_an_upload():
    with on(1), recording() as ledger:
        xp.asarray([1.0, 2.0])
        xp.array(np.zeros(3))
    assert ledger.transfers == [("cpu", "sim:1", 16), ("cpu", "sim:1", 24)]


def test_new_arrays_are_made_on_the_device_without_an_upload():
    with on(1), recording() as ledger:
        arrays = [xp.zeros(3), xp.arange(3), xp.full((2,), 1.0), xp.eye(2), xp.zeros_like(xp.ones(2))]
    assert {array.index for array in arrays} == {1}
    assert not ledger.transfers


def test_nothing_is_counted_after_recording(x):
    with recording() as ledger:
        pass
    x.get()
    assert (ledger.transfers, ledger.host_syncs) == ([], 0)


def test_recordings_inside_one_another_both_count(x):
    with recording() as outer:
        x.get()
        with recording() as inner:
            x.get()
        x.get()
    assert (outer.host_syncs, inner.host_syncs) == (3, 1)


def test_a_recording_ends_with_an_exception(x):
    with pytest.raises(KeyError), recording() as ledger:
        raise KeyError
    x.get()
    assert ledger.host_syncs == 0


# ---- memory ----------------------------------------------------------------------------------------

VIEWS = {
    "slice": lambda x: x[1:, ::-1],
    "number": lambda x: x[1],
    "one element": lambda x: x[1, 2],
    "...": lambda x: x[..., 0],
    "None": lambda x: x[None],
    "T": lambda x: x.T,
    "transpose": lambda x: x.transpose(1, 0),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "reshape": lambda x: x.reshape(3, 2),
    "xp.moveaxis": lambda x: xp.moveaxis(x, 0, 1),
    "xp.broadcast_to": lambda x: xp.broadcast_to(x, (2, 2, 3)),
    "xp.split": lambda x: xp.split(x, 2)[1],
    "as_strided": lambda x: xp.lib.stride_tricks.as_strided(x, (2, 2), (24, 8)),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_shares_memory(view):
    x = xp.asarray(np.arange(6.0).reshape(2, 3))
    v = view(x)
    assert v.index == x.index
    x += 10
    assert (v.get() >= 10).all()


def test_one_element_can_be_changed_through_its_view(x):
    element = x[1]
    element += 5
    assert x.get().tolist() == [1, 7, 3]


def test_views_and_headers_need_no_current_device():
    x = upload(np.zeros((2, 3)), 1)
    with on(0):
        assert (x.shape, x.ndim, len(x), x.strides) == ((2, 3), 2, 2, (24, 8))
        assert x[0].index == x.T.index == x.transpose(1, 0).index == 1
        assert x.get().shape == (2, 3)


@pytest.mark.parametrize(
    "gather", [lambda x: x[[0, 1, 2]], lambda x: x.copy(), lambda x: x + 0, copy.deepcopy]
)
def test_what_is_no_view_has_memory_of_its_own(x, gather):
    new = gather(x)
    x += 10
    assert new.index == x.index
    assert new.get().tolist() == [1, 2, 3]


def test_in_place_operators_keep_the_object(x):
    same, view = x, x[1:]
    x += 1  # 2 3 4
    x *= x  # 4 9 16
    x -= upload([0.0, 1.0, 2.0], 0)
    x /= 2
    assert x is same
    assert x.get().tolist() == [2, 4, 7]
    assert view.get().tolist() == [4, 7]
    x **= 2
    assert x is same
    assert view.get().tolist() == [16, 49]


@pytest.mark.parametrize("power", [2, 0.5, -1, -0.75, 3, np.float32(2), np.array(0.5, np.float32)], ids=repr)
@pytest.mark.parametrize("operation", [operator.pow, operator.ipow])
def test_a_power_has_the_bits_that_numpys_operator_gives(operation, power):
    host = np.random.default_rng(0).uniform(0.1, 2, 1000).astype(np.float32)
    there = upload(host, 0)
    power_there = upload(power, 0) if isinstance(power, np.ndarray) else power
    with on(0):
        result = operation(there, power_there)
    np.testing.assert_array_equal(result.get(), operation(host, power))


def test_out_comes_back_as_the_same_object(x):
    out = xp.zeros(3)
    assert xp.add(x, x, out=out) is out
    assert np.add(x, x, out=out) is out
    total = xp.zeros(())
    assert x.sum(out=total) is total
    assert (out.get().tolist(), float(total)) == ([2, 4, 6], 6)


def test_several_results_all_stay_on_the_device():
    with on(2):
        quotient, rest = divmod(xp.asarray([5.0, 7.0]), 3)
        values, counts = xp.unique(xp.asarray([1, 1, 2]), return_counts=True)
        named = xp.unique_counts(xp.asarray([1, 1, 2]))
    assert {array.index for array in (quotient, rest, values, counts, named.values, named.counts)} == {2}


def test_a_copy_between_devices_keeps_the_layout(x):
    transposed = xp.zeros((2, 3, 4)).transpose(2, 0, 1)
    assert copy_between(transposed, 1).strides == transposed.strides


# ---- the current device ----------------------------------------------------------------------------


def test_results_live_on_the_device_that_is_current():
    for index in (0, 3):
        with on(index):
            x = xp.ones((2, 2))
            results = [x + x, x.sum(), x @ x, x[0], xp.where(x > 0, x, 0), x.astype("float32"), x.reshape(4)]
        assert {result.index for result in results} == {index}


def test_repr_says_where(x):
    assert repr(x) == "array([1., 2., 3.]) on sim:0"


# ---- CuPy's names, and no others -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["longdouble", "vecdot", "errstate", "ndenumerate", "insert", "geomspace"])
def test_a_function_that_cupy_lacks_is_lacking_here(name):
    assert hasattr(np, name)
    with pytest.raises(AttributeError, match=f"CuPy has no '{name}', or sim does not offer it"):
        getattr(xp, name)


@pytest.mark.parametrize("name", ["nothing_of_the_kind", "random", "linalg", "_core"])
def test_an_unknown_name_is_no_function(name):
    assert not hasattr(xp, name)


@pytest.mark.parametrize(
    "name", ["to_device", "setflags", "ctypes", "base", "data", "tobytes", "nothing", "_private"]
)
def test_a_method_that_cupy_lacks_or_that_leads_round_the_wrapper_is_lacking_here(x, name):
    with pytest.raises(
        AttributeError, match=f"CuPy's arrays have no '{name}', or those on sim:0 do not offer it"
    ):
        getattr(x, name)


@pytest.mark.parametrize("name", ["real", "imag", "mT"])
def test_an_attribute_is_not_taken_for_a_method(name):
    values = np.ones((2, 3))
    np.testing.assert_array_equal(getattr(xp.asarray(values), name).get(), getattr(values, name))


def test_constants_and_types_are_numpys():
    assert (xp.float32, xp.pi, xp.newaxis, xp.inf) == (np.float32, np.pi, None, np.inf)
    assert xp.ndarray is SimArray


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed: nothing to compare the lists with")


def public_names(owner):
    return {
        name
        for name in dir(owner)
        if not name.startswith("_") and not isinstance(getattr(owner, name), types.ModuleType)
    }


def test_the_list_of_functions_agrees_with_cupy(cupy):
    missing = {name for name in public_names(np) if not hasattr(cupy, name)}
    assert missing <= simdevice._NOT_IN_CUPY
    assert not {name for name in simdevice._NOT_IN_CUPY if hasattr(cupy, name)}


def test_the_list_of_methods_agrees_with_cupy(cupy):
    missing = {
        name for name in dir(np.ndarray) if not name.startswith("_") and not hasattr(cupy.ndarray, name)
    }
    assert missing <= simdevice._NOT_IN_CUPY_NDARRAY
    assert not {name for name in simdevice._NOT_IN_CUPY_NDARRAY if hasattr(cupy.ndarray, name)}


def test_the_special_methods_are_cupys(cupy):
    ours = {name for name in dir(SimArray) if name.startswith("__")} - {"__getattr__", "__imatmul__"}
    assert ours - set(dir(cupy.ndarray)) - set(dir(object)) <= {
        "__slots__",
        "__module__",
        "__dict__",
        "__weakref__",
    }


def test_as_strided_takes_what_cupys_takes(cupy):
    x = np.arange(4.0)
    assert hasattr(cupy.lib.stride_tricks, "as_strided")
    np.testing.assert_array_equal(
        xp.lib.stride_tricks.as_strided(xp.asarray(x), (3, 2), (8, 8)).get(), [[0, 1], [1, 2], [2, 3]]
    )


# ---- the same bits as NumPy ------------------------------------------------------------------------

CHAIN = {
    "double": lambda m, x: x + x,
    "scale": lambda m, x: 0.3 * x - 1,
    "exp": lambda m, x: m.exp(-abs(x)),
    "relu": lambda m, x: m.maximum(x, 0),
    "where": lambda m, x: m.where(x > 0.5, x, -x),
    "power": lambda m, x: (x * x + 2) ** -0.75,
    "centre": lambda m, x: x - x.mean(axis=-1, keepdims=True),
    "sum": lambda m, x: x.sum(axis=0, keepdims=True) + x,
    "sort": lambda m, x: m.sort(x, axis=-1),
    "argmax": lambda m, x: x * m.argmax(x, axis=1)[:, None],
    "turn": lambda m, x: x.T.copy(),
    "slice": lambda m, x: x[::-1, 1:] if x.shape[1] > 1 else x,
    "gather": lambda m, x: x[m.asarray([0, -1])],
    "gram": lambda m, x: x @ x.T,
    "einsum": lambda m, x: m.einsum("ij,ik->jk", x, x) / 7,
    "stack": lambda m, x: m.concatenate([x, 2 * x], axis=1),
    "pad": lambda m, x: m.pad(x, 1),
    "float32": lambda m, x: x.astype("float32"),
    "cumsum": lambda m, x: x.cumsum(axis=1),
    "normalise": lambda m, x: x / (1 + m.sqrt((x * x).sum())),
}


def in_place(m, x):
    y = m.zeros_like(x)
    y += x
    y[:, 0] *= 3
    m.maximum(y, 0.25, out=y)
    return y


CHAIN["in place"] = in_place


@given(
    x=strategies.arrays((3, 4)),
    steps=st.lists(st.sampled_from(sorted(CHAIN)), max_size=8),
    index=st.integers(0, 3),
)
def test_a_chain_of_operations_gives_the_bits_of_numpy(x, steps, index):
    with on(index), np.errstate(all="ignore"):
        ours, numpys = xp.asarray(x), np.array(x)
        for step in steps:
            if numpys.size > 10_000:
                break
            ours, numpys = CHAIN[step](xp, ours), CHAIN[step](np, numpys)
            assert isinstance(ours, SimArray)
            assert not is_host(ours)
            assert (ours.index, ours.dtype, ours.shape) == (index, numpys.dtype, numpys.shape)
    assert ours.get().tobytes() == np.ascontiguousarray(numpys).tobytes()


@pytest.mark.parametrize("name", ["trace", "diagonal", "cross", "outer", "norm"])
def test_functions_of_linalg_are_not_taken_for_others_of_their_name(name):
    x = simdevice.upload(np.arange(18.0).reshape(2, 3, 3), 0)
    with simdevice.on(0), pytest.raises(AttributeError, match="sim does not offer"):
        getattr(np.linalg, name)(x, x) if name in ("cross", "outer") else getattr(np.linalg, name)(x)
