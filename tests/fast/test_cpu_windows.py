"""im2col is its definition, col2im its adjoint, and blocks cut the work without losing any."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minialex import naive, strategies
from minialex.devices.device import to_numpy
from minialex.devices.simdevice import recording
from minialex.fast.cpu.windows import (
    batch_first,
    batch_last,
    blocks,
    by_row,
    col2im,
    crop,
    framed_rows,
    im2col,
    pad,
    row_blocks,
    rows_between,
    stacked,
    windows,
)


@st.composite
def pictures_and_windows(draw):
    """x (N, C, H, W) in any layout, and a kernel, stride and padding that it can take."""
    kernel, stride, padding, size = draw(strategies.window_geometry())
    x = draw(strategies.arrays((draw(st.integers(1, 3)), draw(st.integers(1, 3)), *size)))
    return x, kernel, stride, padding


def columns_of(device, x, kernel, stride, padding):
    """The columns as a convolution uses them: from (N, C, H, W) to one matrix for each output row."""
    with device:
        x = pad(batch_last(device.asarray(x)), padding)
        return stacked(im2col(x, kernel[1], stride[1]), kernel[0], stride[0])


def as_matrices(columns):
    """naive's (C, kh, kw, OH, OW, N) as (OH, kh*kw*C, OW*N)."""
    OH = columns.shape[3]
    return columns.transpose(3, 1, 2, 0, 4, 5).reshape(OH, np.prod(columns.shape[:3]), -1)


@given(case=pictures_and_windows())
def test_columns_are_their_definition(device, case):
    x, kernel, stride, padding = case
    columns = to_numpy(columns_of(device, *case))
    np.testing.assert_array_equal(columns, as_matrices(naive.im2col(x, kernel, stride, padding)))


@given(case=pictures_and_windows(), seed=st.integers(0, 99))
def test_col2im_is_its_definition(device, case, seed):
    x, (_, kw), (_, sw), _ = case
    N, C, H, W = x.shape
    OW = 1 + (W - min(kw, W)) // sw
    columns = np.random.default_rng(seed).standard_normal((C, 1, min(kw, W), H, OW, N))
    with device:
        into = device.xp.zeros((C, H, W, N))
        col2im(device.asarray(as_matrices(columns)), into, min(kw, W), sw)
    expected = naive.col2im(columns, x.shape, (1, sw), 0)
    np.testing.assert_allclose(to_numpy(batch_first(into)), expected, rtol=1e-13, atol=1e-13)


@given(case=pictures_and_windows(), seed=st.integers(0, 99))
def test_col2im_is_the_adjoint_of_im2col(device, case, seed):
    x, (_, kw), (_, sw), padding = case
    with device:
        x = pad(batch_last(device.asarray(x)), padding)
        columns = im2col(x, kw, sw)
        c = np.random.default_rng(seed).standard_normal(columns.shape)
        back = device.xp.zeros(x.shape)
        col2im(device.asarray(c), back, kw, sw)
    there, here = (to_numpy(columns) * c).sum(), (to_numpy(x) * to_numpy(back)).sum()
    np.testing.assert_allclose(there, here, rtol=1e-11, atol=1e-11)


def test_im2col_is_contiguous_so_that_its_rows_can_be_stacked(device):
    with device:
        columns = im2col(device.asarray(np.ones((2, 5, 4, 3))), 2, 1)
    assert columns.shape == (5, 2 * 2, 3 * 3)
    assert columns.flags.c_contiguous


def test_stacked_copies_nothing(device):
    with device:
        columns = device.asarray(np.zeros((4, 2, 3)))
        windows_of_three = stacked(columns, height=3, stride=1)
        columns[2] = 7  # the last row of the first window, the middle one of the second
    expected = np.zeros((2, 6, 3))
    expected[0, 4:] = expected[1, 2:4] = 7
    np.testing.assert_array_equal(to_numpy(windows_of_three), expected)


def test_col2im_adds_to_what_is_there():
    into = np.full((1, 1, 3, 1), 10.0)
    col2im(np.ones((1, 2, 2)), into, width=2, stride=1)
    assert into.ravel().tolist() == [11, 12, 11]


@given(y=strategies.images())
def test_by_row_gives_each_row_its_matrix(device, y):
    with device:
        rows = to_numpy(by_row(batch_last(device.asarray(y))))
    N, F, OH, OW = y.shape
    assert rows.shape == (OH, F, OW * N)
    for p, f, q, n in np.ndindex(OH, F, OW, N):
        assert rows[p, f, q * N + n] == y[n, f, p, q]


@given(y=strategies.images(), data=st.data())
def test_rows_between_are_zeros_above_and_below(device, y, data):
    """A part of the rows, in memory one behind the other: a view of what lies further apart cannot be stacked."""
    OH = y.shape[2]
    first = data.draw(st.integers(-2, OH - 1))
    last = data.draw(st.integers(max(first, 0) + 1, OH + 2))
    with device:
        y = batch_last(device.asarray(y))
        rows = rows_between(y, first, last)
        assert rows.flags.c_contiguous
        rows, inside = to_numpy(rows), to_numpy(by_row(y))
    assert len(rows) == last - first
    for p, row in enumerate(rows, start=first):
        np.testing.assert_array_equal(row, inside[p] if 0 <= p < OH else 0 * row)


@given(case=pictures_and_windows(), data=st.data())
def test_framed_rows_are_those_of_the_padded_picture(device, case, data):
    x, _, _, padding = case
    with device:
        x = batch_last(device.asarray(x))
        padded = to_numpy(pad(x, padding))
        first = data.draw(st.integers(0, padded.shape[1] - 1))
        last = data.draw(st.integers(first + 1, padded.shape[1]))
        rows = framed_rows(x, slice(first, last), padding)
    np.testing.assert_array_equal(to_numpy(rows), padded[:, first:last])


@given(case=pictures_and_windows(), seed=st.integers(0, 99))
def test_col2im_drops_what_would_come_to_the_padding(device, case, seed):
    x, (_, kw), (_, sw), (_, pw) = case
    with device:
        padded = pad(batch_last(device.asarray(x)), (0, pw))
        columns = im2col(padded, kw, sw)
        c = device.asarray(np.random.default_rng(seed).standard_normal(columns.shape))
        whole, inside = device.xp.zeros(padded.shape), device.xp.zeros(x.transpose(1, 2, 3, 0).shape)
        col2im(c, whole, kw, sw)
        col2im(c, inside, kw, sw, pw)
        np.testing.assert_array_equal(to_numpy(inside), to_numpy(crop(whole, (0, pw))))


def test_windows_copies_nothing_and_makes_nobody_wait(device):
    with device:
        x = device.xp.zeros((2, 5, 6, 3), dtype=np.float32)
        with recording() as ledger:
            view = windows(x, (3, 2), (2, 1))
        assert (ledger.transfers, ledger.host_syncs) == ([], 0)
        view[:, 2, 1] += 1  # the lower right cell of each window
        expected = np.zeros((2, 5, 6, 3))
        expected[:, 2:5:2, 1:6] = 1
        np.testing.assert_array_equal(to_numpy(x), expected)


def test_windows_of_a_view_see_the_view():
    x = np.arange(2.0 * 9 * 9 * 4).reshape(2, 9, 9, 4)[::-1, 1:8:2, ::-1, 1:3]
    np.testing.assert_array_equal(im2col(x, 3, 2), im2col(np.ascontiguousarray(x), 3, 2))


# ---- the way in and out ----------------------------------------------------------------------------


@given(x=strategies.images(dtype="float32"))
def test_batch_last_and_batch_first_lead_there_and_back(device, x):
    with device:
        inside = batch_last(device.asarray(x))
        assert inside.flags.c_contiguous
        np.testing.assert_array_equal(to_numpy(inside), x.transpose(1, 2, 3, 0))
        np.testing.assert_array_equal(to_numpy(batch_first(inside)), x)


def test_what_comes_out_goes_in_again_without_a_copy(device):
    with device:
        inside = device.xp.zeros((2, 3, 4, 5))
        again = batch_last(batch_first(inside))
        again += 1  # seen in `inside`: the same memory
        assert float(inside.sum()) == 2 * 3 * 4 * 5


def test_an_elementwise_operation_keeps_the_layout(device):
    if device.kind == "cuda":
        pytest.skip("CuPy's operations give arrays in C's order")
    with device:
        inside = device.xp.zeros((2, 3, 4, 5))
        outside = device.xp.maximum(batch_first(inside) * 2, 0)
        assert outside.transpose(1, 2, 3, 0).flags.c_contiguous


@pytest.mark.parametrize("value", [0.0, -np.inf, 7.0])
def test_pad_puts_the_value_around(device, value):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    with device:
        padded = pad(device.asarray(x), (1, 2), value)
    assert padded.dtype == np.float32
    expected = np.pad(x, [(0, 0), (1, 1), (2, 2), (0, 0)], constant_values=value)
    np.testing.assert_array_equal(to_numpy(padded), expected)


def test_nothing_to_pad_gives_the_array_itself(device):
    with device:
        x = device.xp.zeros((1, 2, 2, 1))
        assert pad(x, (0, 0), value=7) is x


@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (0, 2), (3, 1)])
def test_crop_takes_off_what_pad_put_on_as_a_view(device, padding):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    with device:
        padded = pad(device.asarray(x), padding, value=9)
        inside = crop(padded, padding)
        np.testing.assert_array_equal(to_numpy(inside), x)
        inside[...] = 9
        assert bool((padded == 9).all())


# ---- blocks ----------------------------------------------------------------------------------------

BLOCKS = {
    "rows": st.builds(lambda start, size: slice(start, start + size), st.integers(0, 3), st.integers(1, 9)),
    "share": st.builds(lambda start, size: slice(start, start + size), st.integers(0, 3), st.integers(1, 9)),
    "height": st.integers(1, 5),
    "stride": st.integers(1, 5),
    "row_bytes": st.integers(1, 1000),
    "budget": st.integers(1, 20_000),
}


@given(**BLOCKS)
def test_blocks_cover_every_row_of_every_picture_once(**case):
    share = case["share"]
    rows = case["rows"]
    covered = np.zeros((rows.stop, share.stop), int)
    for block in blocks(**case):
        covered[block.rows, block.pictures] += 1
    assert (covered[rows, share] == 1).all()
    assert covered.sum() == (rows.stop - rows.start) * (share.stop - share.start)


@given(**BLOCKS)
def test_blocks_name_no_row_beyond_the_last(**case):
    for block in blocks(**case):
        assert case["rows"].start <= block.rows.start < block.rows.stop <= case["rows"].stop
        assert case["share"].start <= block.pictures.start < block.pictures.stop <= case["share"].stop


@given(**BLOCKS)
def test_blocks_keep_the_budget_unless_one_row_of_one_picture_is_over_it(**case):
    for block in blocks(**case):
        rows_read = block.rows_read.stop - block.rows_read.start
        pictures = block.pictures.stop - block.pictures.start
        one_row = block.rows.stop - block.rows.start == pictures == 1
        assert rows_read * pictures * case["row_bytes"] <= case["budget"] or one_row


@given(**BLOCKS)
def test_blocks_cut_rows_before_they_cut_pictures(**case):
    window_bytes = case["height"] * case["row_bytes"]
    found = list(blocks(**case))
    if window_bytes * (case["share"].stop - case["share"].start) <= case["budget"]:
        assert all(block.pictures == case["share"] for block in found)
    elif window_bytes > case["budget"]:
        assert all(block.pictures.stop - block.pictures.start == 1 for block in found)


def test_a_large_budget_makes_one_block():
    (block,) = blocks(slice(0, 5), slice(0, 3), 3, 2, row_bytes=36, budget=36 * 11 * 3)
    assert block == (slice(0, 5), slice(0, 4 * 2 + 3), slice(0, 3))


@example(case=(np.ones((2, 1, 5, 3)), (1, 1), (3, 1), (0, 0)), budget=1)  # rows that no window reads
@given(case=pictures_and_windows(), budget=st.integers(1, 2000))
def test_the_columns_of_the_blocks_are_the_columns_of_the_whole(case, budget):
    x, (kh, kw), (sh, sw), padding = case
    x = pad(batch_last(x), padding)
    C, _, _, N = x.shape
    whole = stacked(im2col(x, kw, sw), kh, sh)
    OH, K, M = whole.shape
    whole = whole.reshape(OH, K, M // N, N)
    seen = np.full_like(whole, np.nan)
    for rows, rows_read, pictures in blocks(slice(0, OH), slice(0, N), kh, sh, 8 * C * kw * (M // N), budget):
        part = stacked(im2col(x[:, rows_read, :, pictures], kw, sw), kh, sh)
        seen[rows, :, :, pictures] = part.reshape(len(part), K, M // N, -1)
    np.testing.assert_array_equal(seen, whole)


@given(**BLOCKS)
def test_blocks_read_no_more_rows_than_their_windows_cover(**case):
    for block in blocks(**case):
        assert block.rows_read.start == block.rows.start * case["stride"]
        assert block.rows_read.stop == (block.rows.stop - 1) * case["stride"] + case["height"]


@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)), height=st.integers(1, 9),
       budget=st.sampled_from([1, 100, 1000]))  # fmt: skip
def test_row_blocks_cover_each_row_once_within_the_budget(shape, height, budget):
    found = row_blocks(np.ones(shape), height, budget)
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(shape[0]))
    for rows in found:
        count = rows.stop - rows.start
        assert count == 1 or count * height * shape[2] * 8 <= budget
