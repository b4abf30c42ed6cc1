"""The loop definitions: worked by hand, held against PyTorch in float64, or against central differences.

Upstream gradients are random, or powers of ten so that the digits of a sum show where it came from.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minialex import naive

PICTURE = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9
KERNEL = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
POWERS = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])  # an upstream gradient, (1, 1, 2, 2)

C3_ROWS = "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345"  # 1998, table I
C3_TABLE = [tuple(map(int, row)) for row in C3_ROWS.split()]


def pixel(*channels):
    """One picture of one pixel with these channels, (1, C, 1, 1)."""
    return np.array(channels, float).reshape(1, -1, 1, 1)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def equal(actual, expected):
    np.testing.assert_array_equal(actual, np.asarray(expected, float).reshape(actual.shape))


def close(actual, expected, rtol=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


# Worked by hand


def test_pad_puts_the_value_all_around():
    padded = naive.pad(np.array([[[[1, 2]]]]), padding=(1, 2), value=7)
    equal(padded, [[7, 7, 7, 7, 7, 7], [7, 7, 1, 2, 7, 7], [7, 7, 7, 7, 7, 7]])
    assert padded.dtype == int


def test_unpad_cuts_off_what_pad_put_on():
    x = normal((2, 3, 4, 5))
    for padding in (0, 1, (0, 2), (3, 0)):
        equal(naive.unpad(naive.pad(x, padding, value=9), padding), x)


def test_conv2d_sums_kernel_times_window():
    # 1*1 + 2*2 + 3*4 + 4*5 = 37;  1*2 + 2*3 + 3*5 + 4*6 = 47;  and 10 of bias
    equal(naive.conv2d(PICTURE, KERNEL), [[37, 47], [67, 77]])
    equal(naive.conv2d(PICTURE, KERNEL, np.array([10.0])), [[47, 57], [77, 87]])


def test_conv2d_steps_by_its_stride_over_the_zeros_of_its_padding():
    # windows 0 0/0 1, 0 0/2 3, 0 4/0 7, 5 6/8 9
    equal(naive.conv2d(PICTURE, KERNEL, stride=2, padding=1), [[4, 3 * 2 + 4 * 3], [2 * 4 + 4 * 7, 77]])


def test_conv2d_keeps_the_groups_apart():
    x, weight = pixel(1, 2, 3, 4), np.array([[10, 1], [20, 2], [30, 3], [40, 4]], float).reshape(4, 2, 1, 1)
    equal(naive.conv2d(x, weight, groups=2), [10 + 2, 20 + 4, 90 + 12, 120 + 16])


def test_conv2d_backward_stamps_the_kernel_and_weighs_the_windows():
    grad_x, grad_weight, grad_bias = naive.conv2d_backward(PICTURE, KERNEL, POWERS)
    equal(grad_x, [[1, 2 + 10, 20], [3 + 100, 4 + 30 + 200 + 1000, 40 + 2000], [300, 400 + 3000, 4000]])
    equal(grad_weight, [[5421, 6532], [8754, 9865]])  # each digit a pixel: 1*1 + 10*2 + 100*4 + 1000*5
    equal(grad_bias, [1111])


def test_im2col_lays_out_the_windows():
    columns = naive.im2col(PICTURE, 2)
    assert columns.shape == (1, 2, 2, 2, 2, 1)
    equal(columns[0, :, :, 0, 1, 0], [[2, 3], [5, 6]])
    equal(columns[0, :, :, 1, 0, 0], [[4, 5], [7, 8]])
    equal(columns.reshape(4, 4), [[1, 2, 4, 5], [2, 3, 5, 6], [4, 5, 7, 8], [5, 6, 8, 9]])


def test_col2im_adds_where_windows_overlap():
    equal(naive.col2im(np.ones((1, 2, 2, 2, 2, 1)), (1, 1, 3, 3)), [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_table_conv2d_reads_the_inputs_that_each_row_names():
    x, table, bias = pixel(1, 10, 100), [(0, 1), (2,), (0, 2)], np.array([1000.0, 2000.0, 3000.0])
    weight = np.array([2, 3, 4, 5, 6], float).reshape(5, 1, 1)
    equal(naive.table_conv2d(x, table, weight, bias), [1000 + 2 + 30, 2000 + 400, 3000 + 5 + 600])
    grad_x, grad_weight, grad_bias = naive.table_conv2d_backward(x, table, weight, pixel(1, 2, 3))
    equal(grad_x, [1 * 2 + 3 * 5, 1 * 3, 2 * 4 + 3 * 6])
    equal(grad_weight, [1 * 1, 1 * 10, 2 * 100, 3 * 1, 3 * 100])
    equal(grad_bias, [1, 2, 3])


def test_linear_by_hand():
    x, weight, bias = np.array([[1.0, 2.0]]), np.array([[3.0, 4], [5, 6], [7, 8]]), np.array([10.0, 20, 30])
    equal(naive.linear(x, weight, bias), [3 + 8 + 10, 5 + 12 + 20, 7 + 16 + 30])
    grad_x, grad_weight, grad_bias = naive.linear_backward(x, weight, np.array([[1.0, 10.0, 100.0]]))
    equal(grad_x, [3 + 50 + 700, 4 + 60 + 800])
    equal(grad_weight, [[1, 2], [10, 20], [100, 200]])
    equal(grad_bias, [1, 10, 100])


def test_relu_cuts_below_zero_and_its_slope_at_zero_is_zero():
    x = np.array([-2.0, 0.0, 3.0])
    equal(naive.relu(x), [0, 0, 3])
    equal(naive.relu_backward(x, np.array([5.0, 7.0, 11.0])), [0, 0, 11])


def test_relu_lets_nan_be_seen():
    assert np.isnan(naive.relu(np.array([np.nan]))[0])


def test_sigmoid_by_hand():
    x = np.array([0.0, np.log(3)])
    close(naive.sigmoid(x), [1 / 2, 3 / 4])
    close(naive.sigmoid_backward(x, np.array([4.0, 16.0])), [1, 3])


def test_sigmoid_does_not_overflow():
    x = np.array([-1e4, 1e4])
    equal(naive.sigmoid(x), [0, 1])
    equal(naive.sigmoid_backward(x, np.ones(2)), [0, 0])


def test_tanh_with_the_constants_of_1998_goes_through_one():
    close(naive.tanh(np.array([-1.0, 0.0, 1.0]), scale=1.7159, slope=2 / 3), [-1, 0, 1], rtol=1e-4)
    equal(naive.tanh_backward(np.zeros(1), np.array([10.0]), scale=3.0, slope=2.0), [60])


def test_max_pool2d_takes_the_largest_of_each_window():
    equal(naive.max_pool2d(PICTURE, 2, stride=1), [[5, 6], [8, 9]])
    grad_x = naive.max_pool2d_backward(PICTURE, POWERS, 2, stride=1)
    equal(grad_x, [[0, 0, 0], [0, 1, 10], [0, 100, 1000]])


def test_max_pool2d_backward_adds_when_overlapping_windows_share_their_largest():
    x = np.array([[[[1.0, 2, 3], [4, 99, 6], [7, 8, 9]]]])
    equal(naive.max_pool2d_backward(x, POWERS, 2, stride=1), [[0, 0, 0], [0, 1111, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("x", "winner"), [([[7, 7], [7, 7]], (0, 0)), ([[1, 7], [7, 1]], (0, 1)), ([[1, 2], [7, 7]], (1, 0))]
)
def test_max_pool2d_backward_gives_a_tie_to_the_first_in_row_order(x, winner):
    expected = np.zeros((2, 2))
    expected[winner] = 5
    equal(naive.max_pool2d_backward(np.array([[x]], float), np.full((1, 1, 1, 1), 5.0), 2), expected)


def test_max_pool2d_backward_gives_a_window_of_minus_infinities_to_its_first_real_pixel():
    x = np.full((1, 1, 2, 3), -np.inf)
    equal(naive.max_pool2d(x, 2, padding=1), np.full((2, 2), -np.inf))
    equal(naive.max_pool2d_backward(x, POWERS, 2, padding=1), [[1, 10, 0], [100, 1000, 0]])
    x[0, 0, 1, 0] = -5  # a number is larger, wherever it lies
    equal(naive.max_pool2d_backward(x, POWERS[:, :, :1, :1], 2, stride=2), [[0, 0, 0], [1, 0, 0]])


def test_max_pool2d_takes_the_first_nan():
    x = np.array([[[[1, np.nan, 3], [2, 9, np.nan]]]])
    equal(naive.max_pool2d(x, (2, 3)), [[np.nan]])
    equal(naive.max_pool2d_backward(x, np.full((1, 1, 1, 1), 5.0), (2, 3)), [[0, 5, 0], [0, 0, 0]])


def test_max_pool2d_never_takes_the_border_over_a_negative_pixel():
    equal(naive.max_pool2d(np.full((1, 1, 1, 1), -3.0), 2, stride=1, padding=1), [[-3, -3], [-3, -3]])
    equal(naive.max_pool2d_backward(np.full((1, 1, 1, 1), -3.0), POWERS, 2, stride=1, padding=1), [1111])


def test_pools_step_by_their_window_unless_told():
    x = np.arange(20.0).reshape(1, 1, 4, 5)  # the last column is in no window
    equal(naive.max_pool2d(x, 2), [[6, 8], [16, 18]])
    equal(naive.avg_pool2d(x, 2), [[3, 5], [13, 15]])


def test_avg_pool2d_shares_equally():
    equal(naive.avg_pool2d(PICTURE, 2, stride=1), [[3, 4], [6, 7]])
    grad_x = naive.avg_pool2d_backward(PICTURE, 4 * POWERS, 2, stride=1)
    equal(grad_x, [[1, 11, 10], [101, 1111, 1010], [100, 1100, 1000]])


def test_avg_pool2d_counts_the_zeros_of_the_border():
    equal(naive.avg_pool2d(np.full((1, 1, 1, 1), 8.0), 2, stride=1, padding=1), [[2, 2], [2, 2]])


def test_subsampling_drops_a_last_odd_row_and_column():
    x = np.arange(1.0, 16.0).reshape(1, 1, 3, 5)  # 1 2 3 4 5 / 6 7 8 9 10 / 11 ...
    weight, bias = np.array([2.0]), np.array([1.0])
    equal(naive.subsampling(x, weight, bias), [2 * (1 + 2 + 6 + 7) + 1, 2 * (3 + 4 + 8 + 9) + 1])
    grad_x, grad_weight, grad_bias = naive.subsampling_backward(x, weight, np.array([[[[1.0, 10.0]]]]))
    equal(grad_x, [[2, 2, 20, 20, 0], [2, 2, 20, 20, 0], [0, 0, 0, 0, 0]])
    equal(grad_weight, [1 * 16 + 10 * 24])
    equal(grad_bias, [11])


def test_local_response_norm_divides_by_the_neighbours_within_the_group():
    x, constants = pixel(1, 2, 3, 4), {"size": 3, "alpha": 1.0, "beta": 1.0, "k": 1.0}
    close(naive.local_response_norm(x, **constants), pixel(1 / 6, 2 / 15, 3 / 30, 4 / 26))
    close(naive.local_response_norm(x, **constants, groups=2), pixel(1 / 6, 2 / 6, 3 / 26, 4 / 26))


def test_local_response_norm_has_the_constants_of_2012():
    close(naive.local_response_norm(pixel(100.0)), pixel(100 / (2 + 1e-4 * 100**2) ** 0.75))


def test_local_response_norm_backward_has_a_direct_and_a_cross_term():
    # y0 = x0 / s, s = 1 + x0**2 + x1**2 = 6:  dy0/dx0 = (s - 2 x0**2) / s**2 = 4/36,  dy0/dx1 = -2 x0 x1 / s**2
    grad_x = naive.local_response_norm_backward(pixel(1, 2), pixel(36, 0), size=3, alpha=1.0, beta=1.0, k=1.0)
    close(grad_x, pixel(4, -4))


@pytest.mark.parametrize(
    ("scaling", "training", "expected"),
    [
        ("inverted", True, [8, 0]),
        ("inverted", False, [2, 4]),
        ("test-time", True, [2, 0]),
        ("test-time", False, [0.5, 1]),
    ],
)
def test_dropout_multiplies_forward_and_backward_by_the_same(scaling, training, expected):
    numbers, mask = np.array([2.0, 4.0]), np.array([True, False])
    equal(naive.dropout(numbers, mask, 0.75, scaling, training), expected)
    equal(naive.dropout_backward(numbers, mask, 0.75, scaling, training), expected)


def test_dropout_names_a_scaling_that_it_does_not_know():
    with pytest.raises(ValueError, match="'2012'"):
        naive.dropout(np.ones(2), np.ones(2), 0.5, scaling="2012")


def test_rbf_is_minus_the_squared_distance():
    x, codes = np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [-1.0, 1.0]])
    equal(naive.rbf(x, codes), [-(0 + 9), -(4 + 1)])
    grad_x = naive.rbf_backward(x, codes, np.array([[1.0, 10.0]]))
    equal(grad_x, [1 * -2 * 0 + 10 * -2 * 2, 1 * -2 * 3 + 10 * -2 * 1])


def test_map_loss_by_hand():
    # exp(-d) = 1/2, 1/4 and exp(-j) = 1/4 sum to 1, whose log is 0: what is left is the distance to the right one
    y, labels, j = -np.log([[2.0, 4.0], [2.0, 4.0]]), np.array([0, 1], np.uint8), np.log(4)
    loss = naive.map_loss(y, labels, j)
    assert loss.shape == ()
    close(loss, (np.log(2) + np.log(4)) / 2)
    close(naive.map_loss_backward(y, labels, j, grad_loss=8.0), [[-2, 1], [2, -3]])


def test_map_loss_does_not_overflow():
    y = np.array([[-1e4, -2e4]])  # exp(-1) of rubbish is all that is left of the sum
    close(naive.map_loss(y, np.array([0])), 1e4 - 1)
    close(naive.map_loss_backward(y, np.array([0])), [[-1, 0]])


def test_softmax_cross_entropy_by_hand():
    logits, labels = np.log([[1.0, 3.0], [1.0, 3.0]]), np.array([0, 1], np.uint8)  # probabilities 1/4, 3/4
    loss = naive.softmax_cross_entropy(logits, labels)
    assert loss.shape == ()
    close(loss, (np.log(4) + np.log(4 / 3)) / 2)
    close(naive.softmax_cross_entropy_backward(logits, labels, grad_loss=8.0), [[-3, 3], [1, -1]])


def test_gate_multiplies_each_source_with_its_own():
    x, weight = pixel(1, 2, 3, 4), np.array([10.0, 100.0])
    equal(naive.gate(x, weight, (1, 3)), [10, 200, 300, 400])
    equal(naive.gate(x, weight, (2, 1, 1), reads=(0, 2)), [10, 20, 400])


def test_gate_backward_sums_over_a_source_and_leaves_what_is_not_read_alone():
    x, weight = pixel(1, 2, 3, 4), np.array([10.0, 0.0])
    grad_x, grad_weight = naive.gate_backward(x, weight, (2, 1, 1), pixel(5, 6, 7), reads=(0, 2))
    equal(grad_x, [50, 60, 0, 0])
    equal(grad_weight, [5 * 1 + 6 * 2, 7 * 4])  # of the closed gate too
    _, twice = naive.gate_backward(np.tile(x, (2, 1, 1, 3)), weight, (2, 2), np.ones((2, 4, 1, 3)))
    equal(twice, [6 * (1 + 2), 6 * (3 + 4)])


def test_shut_puts_gates_from_0_to_1_and_holds_the_first_of_the_widest_at_1():
    equal(naive.shut(np.array([0.5, 0.9, 0.9, -0.1])), [0.5, 1, 0.9, 0])
    equal(naive.shut(np.array([3.0, 2.0])), [1, 1])
    equal(naive.shut(np.array([0.0, -1.0])), [0, 0])
    equal(naive.shut(np.array([0.5, np.nan])), [0.5, np.nan])


def test_early_exit_leaves_at_the_first_exit_that_is_sure_enough_and_at_the_last_one_else():
    unsure, sure, other = np.log([0.5, 0.5]), np.log([0.125, 0.875]), np.log([0.25, 0.75])
    logits = np.array([[unsure, sure, other], [sure, other, unsure], [unsure, other, other]])
    y, left = naive.early_exit(logits, 0.875)
    close(y, [sure, sure, other])
    equal(left, [2, 1, 3])
    equal(naive.early_exit(logits, 0.5)[1], [1, 1, 1])  # as sure as was asked for
    equal(naive.early_exit(1000 * logits[:, :2], 1.0)[1], [2, 1, 2])
    equal(naive.early_exit(np.array([[[0, np.nan], [5, 0]]]), 0.5)[1], [2])  # what is no number is not sure


def test_softmax_cross_entropy_does_not_overflow():
    logits = np.array([[1e4, 0.0, -1e4]])
    close(naive.softmax_cross_entropy(logits, np.array([1])), 1e4)
    close(naive.softmax_cross_entropy_backward(logits, np.array([1])), [[1, -1, 0]])


def test_sgd_step_by_hand():
    weight, velocity = naive.sgd_step(
        np.array([10.0]), np.array([2.0]), np.array([3.0]), lr=0.5, momentum=0.25, weight_decay=0.125
    )
    equal(velocity, [0.25 * 2 - 0.125 * 0.5 * 10 - 0.5 * 3])
    equal(weight, [10 + 0.5 - 0.625 - 1.5])


# What holds for every function

X, LABELS, TABLE = normal((2, 2, 4, 5)), np.array([1, 0]), [(0, 1), (1,)]
FLAT, SQUARE = normal((2, 3)), normal((4, 3))
CALLS = [
    (naive.adaptive_avg_pool2d, X, (2, 3)),
    (naive.adaptive_avg_pool2d_backward, X, normal((2, 2, 2, 3))),
    (naive.global_avg_pool2d, X),
    (naive.global_avg_pool2d_backward, X, normal((2, 2))),
    (naive.batch_norm2d, X, normal(2), normal(2)),
    (naive.batch_norm2d_backward, X, normal(2), X),
    (naive.pad, X, 1),
    (naive.unpad, X, 1),
    (naive.conv2d, X, normal((4, 1, 3, 2)), normal(4), 2, 1, 2),
    (naive.conv2d_backward, X, normal((4, 1, 3, 2)), normal((2, 4, 2, 2)), 2, (1, 0), 2),
    (naive.im2col, X, (2, 3)),
    (naive.col2im, normal((2, 3, 2, 2, 4, 2)), (2, 2, 4, 5)),
    (naive.table_conv2d, X, TABLE, normal((3, 2, 2)), normal(2)),
    (naive.table_conv2d_backward, X, TABLE, normal((3, 2, 2)), normal((2, 2, 3, 4))),
    (naive.linear, FLAT, SQUARE, normal(4)),
    (naive.linear_backward, FLAT, SQUARE, normal((2, 4))),
    (naive.relu, X),
    (naive.relu_backward, X, X),
    (naive.sigmoid, X),
    (naive.sigmoid_backward, X, X),
    (naive.tanh, X, 1.7159, 2 / 3),
    (naive.tanh_backward, X, X, 1.7159, 2 / 3),
    (naive.max_pool2d, X, 3, 2, 1),
    (naive.max_pool2d_backward, X, normal((2, 2, 2, 3)), 3, 2, 1),
    (naive.avg_pool2d, X, 3, 2, 1),
    (naive.avg_pool2d_backward, X, normal((2, 2, 2, 3)), 3, 2, 1),
    (naive.subsampling, X, normal(2), normal(2)),
    (naive.subsampling_backward, X, normal(2), normal((2, 2, 2, 2))),
    (naive.local_response_norm, X),
    (naive.local_response_norm_backward, X, X, 3, 1.0, 0.75, 2.0),
    (naive.gate, normal((2, 5, 2, 3)), normal(2), (2, 1, 2), (0, 2)),
    (naive.gate_backward, normal((2, 5, 2, 3)), normal(2), (2, 1, 2), normal((2, 4, 2, 3)), (0, 2)),
    (naive.shut, normal(5)),
    (naive.early_exit, normal((3, 2, 4)), 0.5),
    (naive.dropout, X, X > 0, 0.5, "inverted", False),
    (naive.dropout_backward, X, X > 0, 0.5),
    (naive.rbf, FLAT, SQUARE),
    (naive.rbf_backward, FLAT, SQUARE, normal((2, 4))),
    (naive.map_loss, FLAT, LABELS),
    (naive.map_loss_backward, FLAT, LABELS),
    (naive.softmax_cross_entropy, FLAT, LABELS),
    (naive.softmax_cross_entropy_backward, FLAT, LABELS),
    (naive.sgd_step, X, X, X, 0.1),
]
every_function = pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0].__name__)


def test_every_public_operation_is_among_the_calls():
    helpers = "in_float64 window pairs part channels_of channels_read connections near log_sum_exp".split()
    public = {
        name for name, thing in vars(naive).items() if getattr(thing, "__module__", "") == naive.__name__
    }
    assert public - set(helpers) == {function.__name__ for function, *_ in CALLS}


def results(function, *args):
    result = function(*args)
    return result if isinstance(result, tuple) else (result,)


@every_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_dtype_of_the_input(call, dtype):
    function, *args = call
    args = [arg.astype(dtype) if getattr(arg, "dtype", None) == np.float64 else arg for arg in args]
    assert {(type(result), result.dtype) for result in results(function, *args)} == {
        (np.ndarray, np.dtype(dtype))
    }


@every_function
def test_arguments_are_neither_written_into_nor_given_back(call):
    function, *args = call
    arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
    before = [array.copy() for array in arrays]
    for result in results(function, *args):
        assert not any(np.shares_memory(result, array) for array in arrays)
        result[...] = 0
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_function
def test_a_view_in_another_memory_order_gives_the_same(call):
    function, *args = call
    views = [np.repeat(arg, 2, axis=-1)[..., ::2] if isinstance(arg, np.ndarray) else arg for arg in args]
    for result, expected in zip(results(function, *views), results(function, *args), strict=True):
        np.testing.assert_array_equal(result, expected)


def test_integers_count_as_float64():
    mean = naive.avg_pool2d(np.array([[[[1, 2]]]], np.uint8), (1, 2))
    assert mean.dtype == np.float64
    equal(mean, [1.5])


def test_float32_is_summed_in_float64():
    x = np.array([[1e8, 1, -1e8]], np.float32)  # in float32, 1e8 + 1 is 1e8
    equal(naive.linear(x, np.ones((1, 3), np.float32), np.zeros(1, np.float32)), [1])


def test_arguments_may_be_named():
    equal(naive.relu_backward(grad_y=np.array([5.0]), x=np.array([1.0])), [5])


def test_a_window_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="a window of 4 does not fit"):
        naive.max_pool2d(PICTURE, 4)


# Against each other: the same numbers by two ways


@st.composite
def windows(draw, largest_padding=lambda kernel: 2):
    """Height, width, kernel, stride and padding, each its own; odd sizes, gaps and overlaps among them."""
    size, kernel, stride, padding = [], [], [], []
    for _ in "height", "width":
        kernel.append(draw(st.integers(1, 4)))
        stride.append(draw(st.integers(1, 5)))
        padding.append(draw(st.integers(0, largest_padding(kernel[-1]))))
        size.append(draw(st.integers(max(1, kernel[-1] - 2 * padding[-1]), 7)))
    return tuple(size), {"kernel_size": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding)}


seeds = st.integers(0, 2**32 - 1)
a_few = settings(max_examples=40, deadline=None)


@a_few
@given(windows(), seeds)
def test_a_convolution_is_a_product_of_matrices_of_im2col(case, seed):
    size, geometry = case
    x, weight = normal((2, 3, *size), seed), normal((4, 3, *geometry["kernel_size"]), seed + 1)
    columns = naive.im2col(x, **geometry)  # (C, kh, kw, OH, OW, N)
    product = weight.reshape(4, -1) @ columns.reshape(weight[0].size, -1)  # (F, OH*OW*N)
    y = product.reshape(4, *columns.shape[3:]).transpose(3, 0, 1, 2)  # (N, F, OH, OW)
    close(y, naive.conv2d(x, weight, stride=geometry["stride"], padding=geometry["padding"]))


@a_few
@given(windows(), seeds)
def test_col2im_is_the_adjoint_of_im2col(case, seed):
    size, geometry = case
    x = normal((2, 3, *size), seed)
    columns = naive.im2col(x, **geometry)
    other = normal(columns.shape, seed + 1)
    back = naive.col2im(other, x.shape, geometry["stride"], geometry["padding"])
    close((columns * other).sum(), (x * back).sum())


def test_c3_of_1998_has_1516_parameters():
    assert len(naive.connections(C3_TABLE)) * 5 * 5 + len(C3_TABLE) == 1516


def test_table_conv2d_is_a_convolution_with_the_other_kernels_zero():
    x, weight, bias = normal((2, 6, 7, 6)), normal((60, 5, 3), seed=1), normal(16, seed=2)
    whole = np.zeros((16, 6, 5, 3))
    for kernel, (f, c) in zip(weight, naive.connections(C3_TABLE), strict=True):
        whole[f, c] = kernel
    y = naive.conv2d(x, whole, bias)
    close(naive.table_conv2d(x, C3_TABLE, weight, bias), y)

    grad_y = normal(y.shape, seed=3)
    grad_x, grad_weight, grad_bias = naive.table_conv2d_backward(x, C3_TABLE, weight, grad_y)
    whole_x, whole_weight, whole_bias = naive.conv2d_backward(x, whole, grad_y)
    close(grad_x, whole_x)
    close(grad_weight, [whole_weight[f, c] for f, c in naive.connections(C3_TABLE)])
    close(grad_bias, whole_bias)


# Against central differences, where PyTorch has no such operation


def by_differences(function, x, grad_y, step=1e-5):
    """The gradient of (function(x) * grad_y).sum(): each number of x in turn a step up and a step down."""
    grad_x = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        grad_x[at] = ((function(up) - function(down)) * grad_y).sum() / (2 * step)
    return grad_x


def test_table_conv2d_gradients():
    x, table = normal((2, 3, 4, 3)), [(0, 1), (2,), (0, 1, 2), (2, 0)]
    weight, bias, grad_y = normal((8, 3, 2), seed=1), normal(4, seed=2), normal((2, 4, 2, 2), seed=3)
    grad_x, grad_weight, grad_bias = naive.table_conv2d_backward(x, table, weight, grad_y)
    close(grad_x, by_differences(lambda x: naive.table_conv2d(x, table, weight, bias), x, grad_y), rtol=1e-7)
    close(
        grad_weight,
        by_differences(lambda w: naive.table_conv2d(x, table, w, bias), weight, grad_y),
        rtol=1e-7,
    )
    close(
        grad_bias, by_differences(lambda b: naive.table_conv2d(x, table, weight, b), bias, grad_y), rtol=1e-7
    )


def test_subsampling_gradients():
    x, grad_y = normal((2, 3, 5, 4)), normal((2, 3, 2, 2), seed=1)
    weight, bias = normal(3, seed=2), normal(3, seed=3)
    grad_x, grad_weight, grad_bias = naive.subsampling_backward(x, weight, grad_y)
    close(grad_x, by_differences(lambda x: naive.subsampling(x, weight, bias), x, grad_y), rtol=1e-7)
    close(grad_weight, by_differences(lambda w: naive.subsampling(x, w, bias), weight, grad_y), rtol=1e-7)
    close(grad_bias, by_differences(lambda b: naive.subsampling(x, weight, b), bias, grad_y), rtol=1e-7)


@pytest.mark.parametrize("reads", [None, (1, 2)])
def test_gate_gradients(reads):
    x, weight, sizes = normal((2, 6, 2, 3)), normal(2 if reads else 3, seed=1), (1, 2, 3)
    grad_y = normal(naive.gate(x, weight, sizes, reads).shape, seed=2)
    grad_x, grad_weight = naive.gate_backward(x, weight, sizes, grad_y, reads)
    close(grad_x, by_differences(lambda x: naive.gate(x, weight, sizes, reads), x, grad_y), rtol=1e-7)
    close(grad_weight, by_differences(lambda w: naive.gate(x, w, sizes, reads), weight, grad_y), rtol=1e-7)


def test_rbf_gradient():
    x, codes, grad_y = normal((3, 6)), np.sign(normal((4, 6), seed=1)), normal((3, 4), seed=2)
    grad_x = naive.rbf_backward(x, codes, grad_y)
    close(grad_x, by_differences(lambda x: naive.rbf(x, codes), x, grad_y), rtol=1e-7)


@pytest.mark.parametrize("j", [-1.0, 0.5, 3.0])
def test_map_loss_gradient(j):
    y, labels = normal((3, 4)), np.array([2, 0, 2])
    grad_y = naive.map_loss_backward(y, labels, j, grad_loss=-1.7)
    close(grad_y, by_differences(lambda y: naive.map_loss(y, labels, j), y, -1.7), rtol=1e-7)


# Against PyTorch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def with_torch(torch, operation, seed, *arrays):
    """PyTorch's y, a random gradient for it, and its gradients of the arrays."""
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    y = operation(*tensors)
    grad_y = normal(tuple(y.shape), seed + 100)
    y.backward(torch.from_numpy(grad_y))
    return y.detach().numpy(), grad_y, tuple(tensor.grad.numpy() for tensor in tensors)


def all_close(actual, expected):
    for array, wanted in zip(actual, expected, strict=True):
        close(array, wanted)


@a_few
@given(windows(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), seeds)
def test_conv2d_agrees_with_pytorch(torch, case, groups, filters, depth, seed):
    size, geometry = case
    x = normal((2, groups * depth, *size), seed)
    weight = normal((groups * filters, depth, *geometry.pop("kernel_size")), seed + 1)
    bias = normal(len(weight), seed + 2)
    y, grad_y, grads = with_torch(
        torch, lambda *a: torch.nn.functional.conv2d(*a, **geometry, groups=groups), seed, x, weight, bias
    )
    close(naive.conv2d(x, weight, bias, **geometry, groups=groups), y)
    all_close(naive.conv2d_backward(x, weight, grad_y, **geometry, groups=groups), grads)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@a_few
@given(case=windows(largest_padding=lambda kernel: kernel // 2), seed=seeds)
def test_pools_agree_with_pytorch(torch, name, case, seed):
    size, geometry = case
    x = normal((2, 3, *size), seed)
    pool, backward = getattr(naive, name), getattr(naive, f"{name}_backward")
    y, grad_y, (grad_x,) = with_torch(
        torch, lambda x: getattr(torch.nn.functional, name)(x, **geometry), seed, x
    )
    close(pool(x, **geometry), y)
    close(backward(x, grad_y, **geometry), grad_x)


@a_few
@given(
    depth=st.integers(1, 6),
    groups=st.integers(1, 3),
    size=st.sampled_from([1, 3, 5, 7]),
    alpha=st.floats(0.5, 2),
    beta=st.floats(0.3, 1.5),
    k=st.floats(0.5, 2),
    seed=seeds,
)
def test_local_response_norm_agrees_with_pytorch(torch, depth, groups, size, alpha, beta, k, seed):
    def normalise(x):  # PyTorch divides alpha by size and knows no groups
        lrn = torch.nn.functional.local_response_norm
        return torch.cat([lrn(part, size, alpha * size, beta, k) for part in x.split(depth, dim=1)], dim=1)

    x = normal((2, groups * depth, 2, 3), seed)
    y, grad_y, (grad_x,) = with_torch(torch, normalise, seed, x)
    close(naive.local_response_norm(x, size, alpha, beta, k, groups), y)
    close(naive.local_response_norm_backward(x, grad_y, size, alpha, beta, k, groups), grad_x)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_activations_agree_with_pytorch(torch, name):
    x = 3 * normal((2, 3, 4, 5))
    y, grad_y, (grad_x,) = with_torch(torch, getattr(torch, name), 0, x)
    close(getattr(naive, name)(x), y)
    close(getattr(naive, f"{name}_backward")(x, grad_y), grad_x)


def test_scaled_tanh_agrees_with_pytorch(torch):
    x = normal((2, 3, 4))
    y, grad_y, (grad_x,) = with_torch(torch, lambda x: 1.7159 * torch.tanh(x * 2 / 3), 0, x)
    close(naive.tanh(x, 1.7159, 2 / 3), y)
    close(naive.tanh_backward(x, grad_y, 1.7159, 2 / 3), grad_x)


def test_linear_agrees_with_pytorch(torch):
    x, weight, bias = normal((3, 5)), normal((4, 5), seed=1), normal(4, seed=2)
    y, grad_y, grads = with_torch(torch, torch.nn.functional.linear, 0, x, weight, bias)
    close(naive.linear(x, weight, bias), y)
    all_close(naive.linear_backward(x, weight, grad_y), grads)


def test_softmax_cross_entropy_agrees_with_pytorch(torch):
    logits, labels = 3 * normal((4, 5)), np.array([4, 0, 2, 0])
    loss, grad_loss, (grad_logits,) = with_torch(
        torch, lambda z: torch.nn.functional.cross_entropy(z, torch.from_numpy(labels)), 0, logits
    )
    close(naive.softmax_cross_entropy(logits, labels), loss)
    close(naive.softmax_cross_entropy_backward(logits, labels, float(grad_loss)), grad_logits)


def test_sgd_agrees_with_pytorch_until_the_rate_changes(torch):
    weight, velocity = normal((3, 4)), np.zeros((3, 4))
    parameter = torch.nn.Parameter(torch.tensor(weight))
    optimiser = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.05)

    def step(lr, seed):
        nonlocal weight, velocity
        grad = normal(weight.shape, seed)
        weight, velocity = naive.sgd_step(weight, velocity, grad, lr, momentum=0.9, weight_decay=0.05)
        parameter.grad, optimiser.param_groups[0]["lr"] = torch.tensor(grad), lr
        optimiser.step()
        return parameter.detach().numpy()

    for seed in range(4):
        close(step(lr=0.1, seed=seed), weight)
    # PyTorch applies the new rate to the old velocity too, a tenth of the way that the rule of 2012 still goes.
    old = velocity.copy()
    close(step(lr=0.01, seed=4) - weight, 0.9 * old * (0.01 / 0.1 - 1))
