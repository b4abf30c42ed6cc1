"""Work cut into pieces gives what it gives in one go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minialex as mx
from minialex import strategies
from minialex.devices.device import to_numpy
from minialex.fast.cpu.pieces import for_pieces, in_pieces


@given(count=st.integers(1, 20), nbytes=st.integers(1, 5000))
def test_for_pieces_names_each_row_once(device, count, nbytes):
    seen = []
    for_pieces(seen.append, device, count, nbytes)
    assert sorted(row for rows in seen for row in range(rows.start, rows.stop)) == list(range(count))


def test_for_pieces_cuts_what_is_larger_than_four_pieces(monkeypatch):
    cpu, seen = mx.Device("cpu"), []
    monkeypatch.setattr(cpu, "piece_bytes", 100)
    monkeypatch.setattr(cpu, "threads", 1)
    for_pieces(seen.append, cpu, 10, 400)
    assert seen == [slice(0, 10)]
    seen.clear()
    for_pieces(seen.append, cpu, 10, 500)  # 50 bytes a row: two of them make a piece
    assert seen == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8), slice(8, 10)]


@given(x=strategies.images(), axis=st.integers(0, 3))
def test_in_pieces_gives_what_the_function_gives(device, x, axis):
    x = device.asarray(x)
    result = in_pieces(lambda x, y: x * y + 1, x, x, axis=axis)
    np.testing.assert_array_equal(to_numpy(result), to_numpy(x * x + 1))


@given(x=strategies.images(), axis=st.integers(0, 3))
def test_in_pieces_can_give_several_arrays(device, x, axis):
    x = device.asarray(x)
    twice, square = in_pieces(lambda x: (x + x, x * x), x, axis=axis, outputs=2)
    np.testing.assert_array_equal(to_numpy(twice), to_numpy(x + x))
    np.testing.assert_array_equal(to_numpy(square), to_numpy(x * x))


def test_in_pieces_keeps_dtype_and_layout(device):
    if device.kind == "cuda":
        pytest.skip("CuPy's operations give arrays in C's order")
    x = device.asarray(np.zeros((2, 3, 4, 5), np.float32)).transpose(3, 0, 1, 2)
    result = in_pieces(lambda x: x + 1, x, axis=2)
    assert (result.dtype, result.strides) == (x.dtype, x.strides)


@pytest.mark.usefixtures("in_pieces")
def test_an_error_in_a_piece_is_raised():
    with pytest.raises(ZeroDivisionError):
        for_pieces(lambda rows: 1 // 0, mx.Device("cpu"), 10, 10_000)
