"""im2col is its definition, col2im its adjoint, and blocks cut the work without losing any."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minialex import naive, strategies
from minialex.device import to_numpy
from minialex.shapes import output_sizes
from minialex.simdevice import recording
from minialex.windows import batch_first, batch_last, blocks, col2im, crop, im2col, pad, windows


@st.composite
def pictures_and_windows(draw):
    """x (N, C, H, W) in any layout, and a kernel, stride and padding that it can take."""
    kernel, stride, padding, size = draw(strategies.window_geometry())
    x = draw(strategies.arrays((draw(st.integers(1, 3)), draw(st.integers(1, 3)), *size)))
    return x, kernel, stride, padding


def columns_of(device, x, kernel, stride, padding):
    """im2col as the layers use it: from (N, C, H, W) to columns on the host."""
    with device:
        return im2col(pad(batch_last(device.asarray(x)), padding), kernel, stride)


@given(case=pictures_and_windows())
def test_im2col_is_its_definition(device, case):
    x, kernel, stride, padding = case
    columns = to_numpy(columns_of(device, *case))
    np.testing.assert_array_equal(columns, naive.im2col(x, kernel, stride, padding))


@given(case=pictures_and_windows(), seed=st.integers(0, 99))
def test_col2im_is_its_definition(device, case, seed):
    x, kernel, stride, padding = case
    OH, OW = output_sizes(x.shape[2:], kernel, stride, padding)
    shape = (x.shape[1], *kernel, OH, OW, len(x))
    columns = np.random.default_rng(seed).standard_normal(shape)
    with device:
        into = pad(device.xp.zeros_like(batch_last(device.asarray(x))), padding)
        col2im(device.asarray(columns), into, stride)
        result = to_numpy(batch_first(crop(into, padding)))
    np.testing.assert_allclose(
        result, naive.col2im(columns, x.shape, stride, padding), rtol=1e-13, atol=1e-13
    )


@given(case=pictures_and_windows(), seed=st.integers(0, 99))
def test_col2im_is_the_adjoint_of_im2col(device, case, seed):
    x, _, stride, padding = case
    columns = columns_of(device, *case)
    c = np.random.default_rng(seed).standard_normal(columns.shape)
    with device:
        into = pad(device.xp.zeros_like(batch_last(device.asarray(x))), padding)
        col2im(device.asarray(c), into, stride)
        back = to_numpy(batch_first(crop(into, padding)))
    np.testing.assert_allclose((to_numpy(columns) * c).sum(), (x * back).sum(), rtol=1e-11, atol=1e-11)


def test_im2col_is_contiguous_so_that_it_reads_as_a_matrix(device):
    columns = columns_of(device, np.ones((2, 3, 5, 4)), (3, 2), (1, 1), (0, 0))
    assert columns.shape == (3, 3, 2, 3, 3, 2)
    assert columns.flags.c_contiguous


def test_col2im_adds_to_what_is_there():
    into = np.full((1, 1, 3, 1), 10.0)
    col2im(np.ones((1, 1, 2, 1, 2, 1)), into, stride=(1, 1))
    assert into.ravel().tolist() == [11, 12, 11]


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
    np.testing.assert_array_equal(im2col(x, (2, 3), (1, 2)), im2col(np.ascontiguousarray(x), (2, 3), (1, 2)))


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
    "output": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    "count": st.integers(1, 9),
    "kernel": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "stride": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "bytes_per_window": st.integers(1, 100),
    "budget": st.integers(1, 20_000),
}


@given(**BLOCKS)
def test_blocks_cover_every_row_of_every_picture_once(**case):
    covered = np.zeros((case["output"][0], case["count"]), int)
    for block in blocks(**case):
        covered[block.rows, block.pictures] += 1
    assert (covered == 1).all()


@given(**BLOCKS)
def test_blocks_name_no_row_beyond_the_last(**case):
    for block in blocks(**case):
        assert 0 <= block.rows.start < block.rows.stop <= case["output"][0]
        assert 0 <= block.pictures.start < block.pictures.stop <= case["count"]


@given(**BLOCKS)
def test_blocks_keep_the_budget_unless_one_row_of_one_picture_is_over_it(**case):
    for block in blocks(**case):
        rows = block.rows.stop - block.rows.start
        pictures = block.pictures.stop - block.pictures.start
        spent = rows * pictures * case["output"][1] * case["bytes_per_window"]
        assert spent <= case["budget"] or rows == pictures == 1


@given(**BLOCKS)
def test_blocks_cut_rows_before_they_cut_pictures(**case):
    row_bytes = case["output"][1] * case["bytes_per_window"]
    found = list(blocks(**case))
    if row_bytes * case["count"] <= case["budget"]:
        assert all(block.pictures == slice(0, case["count"]) for block in found)
    else:
        assert all(block.rows.stop - block.rows.start == 1 for block in found)


def test_a_large_budget_makes_one_block():
    (block,) = blocks((5, 4), 3, (3, 3), (2, 2), 36, budget=36 * 5 * 4 * 3)
    assert block == (slice(0, 5), slice(0, 4 * 2 + 3), slice(0, 3))


@example(case=(np.ones((2, 1, 5, 3)), (1, 1), (3, 1), (0, 0)), budget=1)  # rows that no window reads
@given(case=pictures_and_windows(), budget=st.integers(1, 2000))
def test_the_columns_of_the_blocks_are_the_columns_of_the_whole(case, budget):
    x, kernel, stride, padding = case
    x = pad(batch_last(x), padding)
    whole = im2col(x, kernel, stride)
    bytes_per_window = 8 * len(x) * kernel[0] * kernel[1]
    seen = np.full_like(whole, np.nan)
    for rows, rows_read, pictures in blocks(
        whole.shape[3:5], x.shape[3], kernel, stride, bytes_per_window, budget
    ):
        seen[:, :, :, rows, :, pictures] = im2col(x[:, rows_read, :, pictures], kernel, stride)
    np.testing.assert_array_equal(seen, whole)


@given(**BLOCKS)
def test_blocks_read_no_more_rows_than_their_windows_cover(**case):
    (kh, _), (sh, _) = case["kernel"], case["stride"]
    for block in blocks(**case):
        assert block.rows_read.start == block.rows.start * sh
        assert block.rows_read.stop == (block.rows.stop - 1) * sh + kh
