"""Intervals, p and verdicts, beside SciPy, by hand, at their borders, and how often they would be wrong."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minialex.claims import verdicts
from minialex.claims.verdicts import HOLDS, NOT, UNTOLD, Interval

stats = pytest.importorskip("scipy.stats", reason="Student's t is SciPy's")


def drawn(n, seed=0, mean=0.3):
    return np.random.default_rng(seed).normal(mean, 1.0, n)


@pytest.mark.parametrize("n", [2, 3, 10, 25])
def test_the_interval_is_that_of_scipys_t_test(n):
    values = drawn(n)
    found, wanted = verdicts.t_interval(values), stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert (found.mean, found.n, found.sd) == pytest.approx((values.mean(), n, values.std(ddof=1)))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_no_interval_is_made_of_one_value_or_of_none_that_is_finite(values):
    with pytest.raises(ValueError, match="at least 2 finite values"):
        verdicts.t_interval(values)


# ---- the sign flip -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize("seed", range(3))
def test_the_sign_flips_p_is_that_of_scipys_permutations(n, seed):
    values = drawn(n, seed)
    wanted = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert verdicts.sign_flip(values) == pytest.approx(wanted.pvalue)


def test_ten_of_one_sign_have_two_ways_of_1024():
    assert verdicts.sign_flip(np.abs(drawn(10))) == verdicts.sign_flip(-np.abs(drawn(10))) == 2 / 1024


def test_three_of_one_sign_have_a_quarter():
    assert verdicts.sign_flip([0.1, 0.2, 0.3]) == 0.25


def test_one_of_the_other_sign_is_counted_by_hand():
    """Of 8 ways the sums are +-6, +-4, +-2, 0, 0: with 1, 2, -3 the sum is 0, and all are as far."""
    assert verdicts.sign_flip([1.0, 2.0, -3.0]) == 1.0
    assert verdicts.sign_flip([-1.0, 2.0, 3.0]) == 0.5  # 4: as far are +-4 and +-6


def test_equal_sums_count_though_they_are_rounded_in_another_way():
    """0.1 + 0.2 - 0.3 is 0 but for rounding; each of these has the same |sum| in 2 ways, and 0 or more in all."""
    assert verdicts.sign_flip([0.1, 0.2, -0.3]) == 1.0
    assert verdicts.sign_flip([1e8 * v for v in (0.1, 0.2, -0.3)]) == 1.0


def test_nothing_but_zeros_has_a_p_of_1():
    assert verdicts.sign_flip([0.0] * 10) == 1.0


def test_drawn_flips_come_near_to_all_flips(monkeypatch):
    values = drawn(12, mean=0.4)
    exact = verdicts.sign_flip(values)
    monkeypatch.setattr(verdicts, "EXACT", 5)
    assert verdicts.sign_flip(values) == pytest.approx(exact, abs=0.004)


def test_a_million_flips_need_little_memory():
    tracemalloc.start()
    assert verdicts.sign_flip([1.0] * 20) == 2 / 2**20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6


def test_drawn_flips_never_give_a_p_of_0():
    assert verdicts.sign_flip([1.0] * 40) == 1 / 100_000


def test_signs_of_what_is_no_number_are_not_flipped():
    """Nothing is as far as nan: p would be 0, and the claim would hold."""
    with pytest.raises(ValueError, match="finite"):
        verdicts.sign_flip([1.0, math.nan, 2.0])


# ---- Holm --------------------------------------------------------------------------------------------


def test_holms_worked_example():
    """Of four hypotheses with 0.01, 0.04, 0.03, 0.005 the fourth and the first are rejected at 0.05 (Wikipedia)."""
    assert verdicts.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(probabilities, st.data())
def test_a_p_that_is_not_known_yet_makes_no_other_smaller_than_it_will_be(p_values, data):
    known = data.draw(st.lists(st.booleans(), min_size=len(p_values), max_size=len(p_values)))
    now = verdicts.holm([p if told else 1.0 for p, told in zip(p_values, known, strict=True)])
    later = verdicts.holm(p_values)
    assert all(a >= b for a, b, told in zip(now, later, known, strict=True) if told)


@given(probabilities)
def test_a_raised_p_is_neither_less_than_it_was_nor_above_1(p_values):
    assert all(p <= raised <= 1 for p, raised in zip(p_values, verdicts.holm(p_values), strict=True))


@given(probabilities)
def test_raising_keeps_the_order(p_values):
    pairs = sorted(zip(p_values, verdicts.holm(p_values), strict=True))
    assert [raised for _, raised in pairs] == sorted(raised for _, raised in pairs)


def test_a_p_alone_stays_as_it_is():
    assert verdicts.holm([0.03]) == [0.03]


# ---- borders -----------------------------------------------------------------------------------------


@pytest.fixture
def interval(monkeypatch):
    """Intervals that lie exactly where the test wants them: given as (low, mean, high) in place of the values."""
    monkeypatch.setattr(
        verdicts, "t_interval", lambda values: Interval(values[1], values[0], values[2], 10, 1.0)
    )


@pytest.mark.usefixtures("interval")
@pytest.mark.parametrize(
    ("values", "p", "wanted"),
    [
        ((0.1, 1.0, 1.9), 0.05, HOLDS),  # mean just at delta, p just at 0.05
        ((0.1, 0.999, 1.9), 0.01, UNTOLD),  # larger than 0, but perhaps smaller than delta
        ((0.0, 1.0, 2.0), 0.01, UNTOLD),  # not above 0
        ((0.1, 1.0, 1.9), 0.0501, UNTOLD),  # the flips don't agree
        ((-0.5, 0.2, 0.999), 0.5, NOT),
        ((-0.5, 0.2, 1.0), 0.5, UNTOLD),  # not below delta
        ((0.1, 0.5, 0.9), 0.001, NOT),  # there is a difference, but none of interest
        ((-3.0, -2.0, -1.0), 0.001, NOT),  # the other way round
        ((-9.0, 0.0, 9.0), 1.0, UNTOLD),
    ],
)
def test_a_difference_holds_does_not_or_cannot_be_told(values, p, wanted):
    assert verdicts.of_difference(values, 1.0, p)[1] == wanted


@pytest.mark.usefixtures("interval")
@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.85, 1.05, HOLDS),  # the borders belong to it
        (0.849, 1.0, UNTOLD),
        (0.9, 1.051, UNTOLD),
        (0.5, 2.0, UNTOLD),
        (0.7, 0.85, UNTOLD),
        (0.7, 0.849, NOT),
        (1.051, 1.3, NOT),
        (1.05, 1.3, UNTOLD),
    ],
)
def test_a_level_holds_inside_of_its_margin_and_does_not_outside(low, high, wanted):
    assert verdicts.of_level((low, (low + high) / 2, high), 0.95, 0.1 + 1e-12)[1] == wanted


@pytest.mark.usefixtures("interval")
@pytest.mark.parametrize(
    ("times", "never", "wanted"),
    [
        ((1.2, 1.5, 1.9), (0.0, 0.0), HOLDS),
        ((1.2, 1.5, 1.9), (0.2, 1.0), HOLDS),  # slow ones that never arrived make the true ratio larger
        ((1.2, 1.5, 1.9), (0.3, 0.0), UNTOLD),  # quick ones make it smaller
        ((0.9, 1.0, 1.1), (0.0, 0.0), NOT),
        ((0.9, 1.0, 1.1), (1.0, 0.2), NOT),
        ((0.9, 1.0, 1.1), (0.0, 0.3), UNTOLD),  # the end of their time is all that is known of the slow ones
        ((0.9, 1.2, 1.5), (0.0, 0.0), UNTOLD),
    ],
)
def test_a_ratios_direction_is_not_told_where_its_runs_that_never_arrived_would_turn_it(times, never, wanted):
    assert verdicts.of_ratio([math.log(t) for t in times], 1.25, 0.01, never)[1] == wanted


@pytest.mark.usefixtures("interval")
@pytest.mark.parametrize(
    ("times", "censored", "wanted"),
    [
        ((4.01, 6, 8.99), 0.0, HOLDS),
        ((3.9, 6, 8), 0.0, UNTOLD),
        ((1.5, 2, 3.99), 0.0, NOT),
        ((9.1, 10, 12), 0.0, NOT),
        ((4.01, 6, 8.99), 0.2, HOLDS),
        ((4.01, 6, 8.99), 0.21, UNTOLD),
        ((1.5, 2, 3.99), 0.21, UNTOLD),
    ],
)
def test_a_ratios_size_is_told_within_its_factor_unless_many_never_arrived(times, censored, wanted):
    assert verdicts.of_size([math.log(t) for t in times], 6.0, 1.5, censored) == wanted


# ---- how often they are wrong ------------------------------------------------------------------------

TIMES = 1500


def verdicts_of(mean, delta, n=10, times=TIMES, seed=0):
    """The share of each verdict over experiments of n differences with that true mean and a deviation of 1."""
    found = {HOLDS: 0, NOT: 0, UNTOLD: 0}
    for values in np.random.default_rng(seed).normal(mean, 1.0, (times, n)):
        found[verdicts.of_difference(values, delta, verdicts.sign_flip(values))[1]] += 1 / times
    return found


def test_where_nothing_differs_at_most_one_in_40_is_called_holds():
    assert verdicts_of(0.0, delta=1e-9)[HOLDS] < 0.025 + 3 * math.sqrt(0.025 * 0.975 / TIMES)


def test_where_nothing_differs_and_delta_is_of_interest_still_fewer_are():
    assert verdicts_of(0.0, delta=1.0)[HOLDS] < 0.01


def test_a_large_difference_is_found():
    assert verdicts_of(2.0, delta=1.0)[HOLDS] > 0.95


def test_where_the_difference_is_delta_at_most_one_in_40_is_called_none():
    assert verdicts_of(1.0, delta=1.0)[NOT] < 0.025 + 3 * math.sqrt(0.025 * 0.975 / TIMES)


def test_where_nothing_differs_many_seeds_say_so():
    assert verdicts_of(0.0, delta=1.0, n=25, times=25)[NOT] > 0.9


def test_a_level_at_the_edge_of_its_margin_is_called_right_in_one_of_40():
    """Ten values around the edge: that all of the interval lies inside is as likely as that it misses on one side."""
    rng = np.random.default_rng(3)
    found = [verdicts.of_level(rng.normal(0.1, 0.02, 10), 0.0, 0.1)[1] for _ in range(TIMES)]
    assert found.count(HOLDS) / TIMES < 0.025 + 3 * math.sqrt(0.025 * 0.975 / TIMES)


def test_a_level_that_is_right_is_found():
    rng = np.random.default_rng(4)
    found = [verdicts.of_level(rng.normal(0.0, 0.05, 10), 0.0, 0.1)[1] for _ in range(200)]
    assert found.count(HOLDS) > 190


# ---- how many it would take --------------------------------------------------------------------------


@pytest.mark.parametrize(("sd", "most"), [(1.0, 0.5), (0.5, 0.2), (3.0, 0.5)])
def test_so_many_seeds_are_enough_and_one_fewer_are_not(sd, most):
    n = verdicts.seeds_needed(sd, most)
    reach = [stats.t.ppf(0.975, k - 1) * sd / math.sqrt(k) for k in (n - 1, n)]
    assert reach[1] <= most < reach[0]


def with_mean_and_spread(mean, sd, n):
    """n values that have exactly these."""
    values = np.random.default_rng(0).normal(size=n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.1, 0.35, 0.4, 0.45, 1.0])
def test_with_so_many_seeds_a_difference_is_told_and_with_one_fewer_it_is_not(mean):
    n = verdicts.seeds_needed(1.0, verdicts.to_go(mean, 0.4))
    told = [verdicts.of_difference(with_mean_and_spread(mean, 1.0, k), 0.4, 0.0)[1] for k in (n - 1, n)]
    assert told == [UNTOLD, HOLDS if mean >= 0.4 else NOT]


@pytest.mark.parametrize("mean", [-0.5, -0.2, 0.0, 0.09, 0.12])
def test_with_so_many_seeds_a_level_is_told_and_with_one_fewer_it_is_not(mean):
    n = verdicts.seeds_needed(0.2, verdicts.to_edge(mean, 0.0, 0.1))
    told = [verdicts.of_level(with_mean_and_spread(mean, 0.2, k), 0.0, 0.1)[1] for k in (n - 1, n)]
    assert told == [UNTOLD, HOLDS if abs(mean) < 0.1 else NOT]


def test_more_than_ten_thousand_seeds_are_not_counted():
    assert verdicts.seeds_needed(1.0, 0.001) is None
    assert verdicts.seeds_needed(1.0, 0.0) is None  # a mean at the edge


def test_without_any_spread_two_seeds_are_enough():
    assert verdicts.seeds_needed(0.0, 1.0) == 2
