"""What is compared and judged, when, and how it is told; all primaries together."""

import json
import math

import pytest
from made_claims import experiment, lenet, protocol

from minialex import claims
from minialex.claims import compare
from minialex.claims.arm import Difference, Experiment, Level, Ratio, Same, Within
from minialex.claims.results import (
    NOT_YET,
    check_pictures,
    check_protocol,
    in_a_line,
    raise_for_all,
    read_result,
    table_of,
    verdict_of,
    write_result,
)
from minialex.claims.store import Store
from minialex.claims.texts import numbers
from minialex.claims.verdicts import HOLDS, NOT, UNTOLD
from minialex.errors import DataError

ARMS = {"a": lenet(dropout=0.5), "b": lenet()}
USUAL = {
    "train_error": 5.0,
    "train_loss": 0.1,
    "gap": 1.0,
    "epochs_to": math.nan,
    "seconds": 60.0,
    "rate": 0.01,
}


def rows_of(a, b, outcome="test_error"):
    """Rows by arm and seed, with these outcomes."""
    return {name: {seed: {**USUAL, outcome: value} for seed, value in enumerate(values)}
            for name, values in (("a", a), ("b", b))}  # fmt: skip


def filled(folder, a, b, outcome="test_error", arms=ARMS):
    """A store in which each arm has these outcomes, seed by seed, and a curve that ends with them."""
    store = Store(folder)
    for name, values in (("a", a), ("b", b)):
        for seed, value in enumerate(values):
            row = {
                "arm": name,
                "settings": arms[name].digest,
                "seed": seed,
                "test_error": 9.0,
                **USUAL,
                outcome: value,
            }
            curve = [
                {"epoch": n, "seconds": 30.0 * n, "test_error": 9.0 - n, "train_error": 9.0} for n in (1, 2)
            ]
            store.add("runs", row, curve)
    return store


TEN = [10.0, 10.1, 9.9, 10.2, 9.8, 10.0, 10.1, 9.9, 10.05, 9.95]


def shifted(by):
    return [value + by + 0.01 * n for n, value in enumerate(TEN)]


# ---- numbers, seed by seed ---------------------------------------------------------------------------


def test_a_difference_is_how_much_less_the_better_one_has():
    assert compare.values_of(Difference("a", "b"), rows_of([1.0, 2.0], [4.0, 3.0]), ARMS) == [3.0, 1.0]


def test_where_more_is_claimed_it_is_how_much_more():
    found = compare.values_of(Difference("a", "b", more=True), rows_of([4.0, 3.0], [1.0, 2.0]), ARMS)
    assert found == [3.0, 1.0]


def test_a_ratio_is_the_logarithm_of_the_slow_one_over_the_quick_one():
    found = compare.values_of(Ratio("a", "b"), rows_of([1.0, 2.0], [2.0, 2.0], "epochs_to"), ARMS)
    assert found == pytest.approx([math.log(2), 0.0])


def test_a_run_that_never_arrived_stands_at_the_end_of_its_time():
    found = compare.values_of(Ratio("a", "b"), rows_of([0.5, math.nan], [math.nan, 1.0], "epochs_to"), ARMS)
    assert found == pytest.approx([math.log(2 / 0.5), math.log(1 / 2)])  # of two epochs


def test_a_level_is_the_outcome_itself():
    assert compare.values_of(Level("a"), rows_of([1.0, 2.0], [0.0, 0.0]), ARMS) == [1.0, 2.0]


def test_within_one_arm_the_other_outcome_is_taken_away():
    rows = {"a": {0: {"x": 5.0, "y": 2.0}, 1: {"x": 4.0, "y": 4.5}}}
    assert compare.values_of(Within("a", "x", than="y"), rows, ARMS) == [3.0, -0.5]


def test_pairs_are_of_the_same_seed_whatever_the_order_of_the_rows():
    rows = {
        "a": {1: {"test_error": 1.0}, 0: {"test_error": 5.0}},
        "b": {0: {"test_error": 6.0}, 1: {"test_error": 3.0}},
    }
    assert compare.values_of(Difference("a", "b"), rows, ARMS) == [1.0, 2.0]


def test_a_seed_that_only_one_arm_has_is_left_out():
    assert compare.values_of(Difference("a", "b"), rows_of([1.0, 2.0], [4.0]), ARMS) == [3.0]


def test_the_two_directions_are_each_others_negative():
    rows = rows_of(TEN, shifted(1))
    one, other = (compare.values_of(Difference(*arms), rows, ARMS) for arms in (("a", "b"), ("b", "a")))
    assert one == [-value for value in other]


# ---- judged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compared", "b", "numbers", "wanted"),
    [
        (Difference("a", "b"), shifted(2.0), {"delta": 1.0}, HOLDS),
        (Difference("a", "b"), shifted(0.0), {"delta": 1.0}, NOT),
        (Difference("a", "b"), shifted(-2.0), {"delta": 1.0}, NOT),
        (Difference("b", "a"), shifted(2.0), {"delta": 1.0}, NOT),
        (Difference("b", "a", more=True), shifted(2.0), {"delta": 1.0}, HOLDS),
        (Same("a", "b"), shifted(0.0), {"margin": 0.2}, HOLDS),
        (Same("a", "b"), shifted(2.0), {"margin": 0.2}, NOT),
        (Same("a", "b"), shifted(-2.0), {"margin": 0.2}, NOT),
        (Same("a", "b"), shifted(0.1), {"margin": 0.14}, UNTOLD),
        (Level("a"), TEN, {"level": 10.0, "margin": 0.2}, HOLDS),
        (Level("a"), TEN, {"level": 9.0, "margin": 0.2}, NOT),
        (Level("a"), TEN, {"level": 10.1, "margin": 0.1}, UNTOLD),
    ],
)
def test_each_kind_of_claim_is_judged(compared, b, numbers, wanted):
    p = protocol(**{"delta": 0.0, **numbers})
    found = compare.judged(compared, rows_of(TEN, b), ARMS, p, beside=1)
    assert found["verdict"] == wanted
    if wanted == UNTOLD:  # None: its mean is at the edge
        assert found["would_take"] is None or found["would_take"] > found["n"]


def ratio(a, b, beside=1):
    p = protocol(delta=1.25, claimed=6.0, within=1.5)
    return compare.judged(Ratio("a", "b"), rows_of(a, b, "epochs_to"), ARMS, p, beside)


SPREAD = [1 + 0.01 * n for n in range(10)]


@pytest.mark.parametrize(
    ("times", "direction", "size"),
    [(6.0, HOLDS, HOLDS), (2.0, HOLDS, NOT), (20.0, HOLDS, NOT), (1.0, NOT, NOT), (0.2, NOT, NOT)],
)
def test_of_a_ratio_direction_and_size_are_judged_apart(times, direction, size):
    found = ratio([0.01] * 10, [0.01 * times * s for s in SPREAD])
    assert (found["verdict"], found["size"]) == (direction, size)
    assert found["low"] < found["mean"] < found["high"]
    assert found["mean"] == pytest.approx(times, rel=0.06)


def test_how_many_seeds_a_ratio_would_take_is_said_of_what_is_not_told():
    wide = [3.0**n for n in range(-5, 5)]
    direction, size = (
        ratio(wide, [1.2 * w**-1 for w in wide]),
        ratio([0.01] * 10, [0.02 * (4 + s) for s in SPREAD[::-1]]),
    )
    assert (direction["verdict"], direction["would_take"] > 10) == (UNTOLD, True)
    sides = ratio([0.01] * 10, [0.01 * 6 * 1.5 * w**0.1 for w in wide])  # about where the factor ends
    assert (sides["verdict"], sides["size"], sides["would_take"] > 10) == (HOLDS, UNTOLD, True)
    assert (size["verdict"], size["would_take"] < 10) == (HOLDS, True)


def test_of_a_slow_arm_that_never_arrives_the_direction_may_be_told_but_not_the_size():
    found = ratio([0.3 * s for s in SPREAD], [math.nan] * 10)  # at least 2 / 0.3
    assert found["censored"] == {"a": 0, "b": 10}
    assert (found["verdict"], found["size"]) == (HOLDS, UNTOLD)


def test_where_neither_arm_arrives_nothing_is_told():
    """Both stand at the end of their time, so each ratio is 1: that says nothing of the truth."""
    found = ratio([math.nan] * 10, [math.nan] * 10)
    assert (found["verdict"], found["size"]) == (UNTOLD, UNTOLD)


def test_a_slow_arm_that_never_arrives_in_time_is_not_called_as_quick():
    found = ratio([1.9 * s**0.1 for s in SPREAD], [math.nan] * 10)
    assert found["verdict"] == UNTOLD


def test_a_large_difference_beside_many_others_is_told_when_its_flips_suffice():
    rows = rows_of(TEN, shifted(2.0))
    found = [
        compare.judged(Difference("a", "b"), rows, ARMS, protocol(), n)["verdict"] for n in (1, 17, 25, 26)
    ]
    assert found == [HOLDS, HOLDS, HOLDS, UNTOLD]  # 2 / 1024 times 25 is just below 0.05


def test_what_else_is_reported_has_no_verdict():
    found = compare.judged(Difference("a", "b"), rows_of(TEN, shifted(2.0)), ARMS, protocol())
    assert {"mean", "low", "high", "n", "p"} <= set(found)
    assert not {"verdict", "p_raised", "size"} & set(found)


def test_a_level_has_no_p():
    assert "p" not in compare.judged(Level("a"), rows_of(TEN, TEN), ARMS, protocol(margin=1.0), 1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_where_a_run_has_no_number_it_is_not_left_out_and_nothing_is_told(value):
    found = compare.judged(
        Difference("a", "b"), rows_of([*TEN[:9], value], shifted(5.0)), ARMS, protocol(), 1
    )
    assert (found["verdict"], found["mean"], found["p"], found["n"]) == (UNTOLD, None, None, 10)


def test_an_outcome_that_a_run_lacks_is_no_number():
    rows = rows_of(TEN, TEN)
    assert compare.judged(Level("a", "late_gain"), rows, ARMS, protocol(margin=1.0), 1)["verdict"] == UNTOLD


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        (Difference("a", "b"), 'test_error: "b" - "a"'),
        (Difference("a", "b", more=True), 'test_error: "a" - "b"'),
        (Ratio("a", "b"), 'epochs_to: "b" / "a"'),
        (Same("a", "b"), 'test_error: "b" - "a"'),
        (Level("a"), 'test_error: "a"'),
        (Within("a", "x", than="y"), '"a": x - y'),
    ],
)
def test_words_say_what_is_taken_from_what(compared, words):
    assert compare.name_of(compared) == words


@pytest.mark.parametrize(
    ("compared", "unit"),
    [
        (Difference("a", "b", "train_error"), "points"),
        (Difference("a", "b", "train_loss"), ""),
        (Difference("a", "b", "gap"), "points"),
        (Difference("a", "b", "seconds"), "s"),
        (Same("a", "b"), "points"),
        (Ratio("a", "b", "epochs_to_error"), "times"),
        (Level("a"), "%"),
        (Level("a", "late_gain"), "points"),
        (Within("a", "precision_codes", than="precision_pixels"), "points"),
        (Within("a", "seconds_codes", than="seconds_pixels"), "s"),
    ],
)
def test_a_number_has_the_unit_of_its_outcome(compared, unit):
    assert compare.unit_of(compared) == unit


# ---- equal seconds -----------------------------------------------------------------------------------


def line(*points):
    return [{"seconds": seconds, "test_error": error} for seconds, error in points]


def test_at_equal_seconds_the_slower_arm_is_cut_to_the_quicker_ones_time():
    quick, slow = line((1.0, 50.0), (2.0, 30.0)), line((2.0, 40.0), (4.0, 20.0))
    curves = {"a": {0: slow, 1: slow}, "b": {0: quick, 1: quick}}
    found = compare.equal_seconds(Difference("a", "b"), curves)
    assert (found["mean"], found["n"]) == (30.0 - 40.0, 2)


def test_between_two_epochs_an_error_lies_on_a_straight_line():
    curve = line((2.0, 40.0), (4.0, 20.0))
    assert [compare.error_at(curve, at) for at in (1.0, 2.0, 3.0, 4.0)] == [40.0, 40.0, 30.0, 20.0]


def test_runs_of_a_slow_day_are_compared_by_what_an_epoch_takes():
    """Arm a is as quick as arm b; its runs were made when the machine was ten times as slow."""
    slow = [{"epoch": n, "seconds": 10.0 * n, "test_error": 50.0 - n} for n in (1, 2, 3)]
    quick = [{**row, "seconds": row["seconds"] / 10, "test_error": row["test_error"] + 5} for row in slow]
    curves = {"a": {0: slow, 1: slow}, "b": {0: quick, 1: quick}}
    compared = Difference("a", "b")
    assert compare.equal_seconds(compared, curves)["mean"] == 52 - 49
    assert compare.equal_seconds(compared, curves, {"a": 2.0, "b": 2.0})["mean"] == 5.0
    assert (
        compare.equal_seconds(compared, curves, {"a": 3.0, "b": 2.0})["mean"] == 52 - 48
    )  # of its first two epochs
    assert slow[0]["seconds"] == 10.0


@pytest.mark.parametrize(
    "compared",
    [Ratio("a", "b"), Level("a"), Within("a", "x", "y"), Difference("a", "b", outcome="train_loss")],
)
def test_there_are_no_equal_seconds_of_anything_but_test_errors(compared):
    assert compare.equal_seconds(compared, {}) is None


def test_a_run_that_ran_away_stays_as_it_was_then_and_does_not_cut_the_other():
    """At the second epoch the other one still had 49 %; at its end it has 40 %."""
    whole = [{"epoch": n, "seconds": 1.0 * n, "test_error": 51.0 - n} for n in range(1, 12)]
    lost = [{"epoch": n, "seconds": 1.0 * n, "test_error": 90.0} for n in (1, 2)]
    curves = {"a": {0: whole, 1: whole}, "b": {0: lost, 1: whole}}
    found = compare.equal_seconds(Difference("a", "b"), curves, {"a": 2.0, "b": 2.0})
    assert found["mean"] == (90 - 40) / 2


def test_a_ratio_of_epochs_is_one_of_seconds_by_what_an_epoch_takes():
    said = {"mean": 6.0, "low": 5.0, "high": 7.0, "n": 10}
    found = compare.in_seconds(Ratio("a", "b"), said, {"a": 2.0, "b": 3.0})
    assert found == {"mean": 9.0, "low": 7.5, "high": 10.5, "n": 10}
    assert compare.in_seconds(Ratio("a", "b"), said, None) is None
    assert compare.in_seconds(Difference("a", "b"), said, {"a": 2.0, "b": 3.0}) is None
    assert compare.in_seconds(Ratio("a", "b"), {**said, "mean": None}, {"a": 2.0, "b": 3.0}) is None


@pytest.mark.parametrize(
    ("compared", "wanted"),
    [(Difference("a", "b"), True), (Same("a", "b"), True), (Ratio("a", "b"), True), (Level("a"), False),
     (Difference("a", "b", "train_loss"), False), (Ratio("a", "b", "epochs_to_error"), False)],
)  # fmt: skip
def test_the_clock_is_asked_of_test_errors_and_of_how_soon_runs_arrive(compared, wanted):
    assert compare.asks_for_seconds(compared) == wanted


# ---- nothing is judged before all runs are there -----------------------------------------------------


def result(store, seeds=10, quick=False, one=None, **numbers):
    p = protocol(seeds=10, **numbers)
    return claims.result_of(p, one or experiment(**ARMS), store, seeds, "command", quick)


@pytest.mark.parametrize(("a", "b", "seeds"), [([], [], 10), (TEN, TEN[:9], 10), (TEN[:5], TEN[:5], 5)])
def test_nothing_is_told_before_all_runs_are_there(tmp_path, a, b, seeds):
    found = result(filled(tmp_path, a, b), seeds)
    assert (found["finished"], found["verdict"]) == (False, NOT_YET)
    assert not {"values", "means", "also", "p", "size", "would_take"} & set(found)
    assert (found["mean"], found["low"], found["high"]) == (None, None, None)
    assert (found["runs"], found["of"]) == (len(a) + len(b), 20)


def test_when_all_are_there_it_is_judged(tmp_path):
    found = result(filled(tmp_path, TEN, shifted(2.0)))
    assert (found["finished"], found["verdict"], found["n"]) == (True, HOLDS, 10)
    assert found["values"] == pytest.approx([2.0 + 0.01 * n for n in range(10)])
    assert found["means"]["a"]["test_error"] == pytest.approx(sum(TEN) / 10)
    assert found["equal_seconds"]["n"] == 10


def test_a_quick_look_judges_nothing(tmp_path):
    found = result(filled(tmp_path, TEN[:2], shifted(2.0)[:2]), seeds=2, quick=True)
    assert (found["finished"], found["verdict"]) == (False, "no verdict from 2 seeds")
    assert found["mean"] == pytest.approx(2.0, abs=0.02)


def test_minutes_are_of_all_runs_and_all_rates(tmp_path):
    store = filled(tmp_path, TEN, TEN)
    store.add("rates", {**store.runs[0], "seed": 100, "seconds": 600.0})
    assert result(store)["minutes"] == pytest.approx(20 + 10)


def test_a_mean_is_left_out_where_a_run_has_none(tmp_path):
    store = filled(tmp_path, TEN, TEN)
    store.runs[0]["gap"] = math.nan
    means = result(store)["means"]
    assert "gap" not in means["a"]
    assert "gap" in means["b"]


def test_a_measure_that_a_run_lacks_is_left_out_of_the_means_whichever_run_it_is(tmp_path):
    """One that ran away has nothing to measure; its row, fresh from the run, has no such column."""
    for seed in (0, 9):
        store = filled(tmp_path / str(seed), TEN, TEN)
        for row in store.runs:
            row["colour_apart"] = 0.1
        del next(row for row in store.runs if (row["arm"], row["seed"]) == ("a", seed))["colour_apart"]
        means = result(store)["means"]
        assert "colour_apart" not in means["a"]
        assert means["b"]["colour_apart"] == pytest.approx(0.1)


def test_where_a_p_alone_forbids_it_more_seeds_are_said_to_be_needed():
    """Ten of one sign have p = 2/1024, beside 26 tests 0.0508: one more seed of that sign halves it."""
    told = [
        compare.judged(Difference("a", "b"), rows_of(TEN, shifted(2.0)), ARMS, protocol(), n)
        for n in (25, 26, 60)
    ]
    assert [one["verdict"] for one in told] == [HOLDS, UNTOLD, UNTOLD]
    assert [one["would_take"] for one in told[1:]] == [11, 12]


WIDE = [3.0**n for n in range(-5, 5)]


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        # As quick as the other where it is counted: it may be much slower.
        ([1.9 * s**0.1 for s in SPREAD], [math.nan] * 5 + [2.0] * 5, (UNTOLD, UNTOLD)),
        ([0.3 * w**0.05 for w in WIDE], [math.nan] * 5 + [1.9] * 5, (HOLDS, UNTOLD)),  # of its size
        ([0.001 * w for w in WIDE[:5]] + [math.nan] * 5, [0.5 * s for s in SPREAD], (UNTOLD, UNTOLD)),
        ([math.nan] * 5 + [0.1] * 5, [math.nan] * 5 + [0.2] * 5, (UNTOLD, UNTOLD)),
    ],
)
def test_where_runs_never_arrived_no_number_of_seeds_is_said(a, b, told):
    found = ratio(a, b)
    assert (found["verdict"], found["size"], found["would_take"]) == (*told, None)


def test_few_that_never_arrived_leave_the_number_of_seeds():
    found = ratio([0.1] * 10, [math.nan] + [0.1 * 6 * 1.5 * w**0.1 for w in WIDE[:9]])
    assert (found["verdict"], found["size"], found["would_take"] > 10) == (HOLDS, UNTOLD, True)


def test_of_a_sameness_that_cannot_be_told_no_p_says_how_many_seeds():
    rows = rows_of(TEN, [value + 0.1 + 0.02 * n for n, value in enumerate(TEN)])
    found = compare.judged(Same("a", "b"), rows, ARMS, protocol(delta=0.0, margin=0.19), 17)
    assert (found["verdict"], found["low"] > 0) == (UNTOLD, True)
    assert found["would_take"] is None or found["would_take"] > 1000


def test_a_result_says_all_that_was_promised(tmp_path):
    found = result(filled(tmp_path, TEN, TEN))
    assert set(
        "claim source outcome arms seeds n mean low high delta verdict settings rates versions hardware command "
        "minutes finished".split()
    ) <= set(found)  # fmt: skip
    assert found["rates"] == {"a": 0.01, "b": 0.01}


@pytest.mark.parametrize(("rates", "told"), [([0.01, 0.03], ["a", "b"]), ([0.001, 0.01, 0.03], [])])
def test_a_result_says_whose_rate_lies_at_an_end_of_the_grid(tmp_path, rates, told):
    assert result(filled(tmp_path, TEN, TEN), rates=rates)["at_the_edge"] == told


def test_of_a_p_it_says_in_how_many_runs_it_is_small(tmp_path):
    store = filled(tmp_path, [0.049, 0.05, *[0.001] * 8], [0.5] * 10, "colour_p")
    means = result(store)["means"]
    assert (means["a"]["colour_p_small"], means["b"]["colour_p_small"]) == (9, 0)


def test_a_result_is_read_as_it_was_written_but_for_its_digits(tmp_path):
    found = result(filled(tmp_path, TEN, shifted(2.0)))
    write_result(tmp_path, found)
    again = read_result(tmp_path)
    assert again.keys() == found.keys()
    assert again["values"] == pytest.approx(found["values"], rel=1e-4)


def test_a_result_whose_run_ran_away_is_one_line_and_valid_json(tmp_path):
    store = filled(tmp_path, [*TEN[:9], math.nan], TEN, "late_gain")
    one = Experiment(ARMS, Level("a", "late_gain"))
    found = result(store, one=one, margin=0.1, delta=0.0)
    write_result(tmp_path, found)
    assert in_a_line(read_result(tmp_path)) == f"tiny: 20 of 20 runs; {UNTOLD}"
    json.loads((tmp_path / "result.json").read_text(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b'{"protocol": 5}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_result_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(
        DataError, match=r"result\.json is damaged .*: make it anew from the tables beside it"
    ):
        read_result(tmp_path)


# ---- a protocol comes first --------------------------------------------------------------------------


def test_a_protocol_that_was_changed_after_its_results_is_refused(tmp_path):
    write_result(tmp_path, result(Store(tmp_path)))  # even before any run has ended
    with pytest.raises(
        ValueError, match=r"was changed after results were there: they belong to 0123456789ab, it is"
    ):
        check_protocol(protocol(digest="another"), tmp_path)


def test_the_same_protocol_is_not(tmp_path):
    write_result(tmp_path, result(Store(tmp_path)))
    check_protocol(protocol(), tmp_path)


def test_a_folder_with_another_ones_protocol_is_refused(tmp_path):
    committed = claims.texts.folder_of("examples") / "results" / "overlap" / "protocol.toml"
    (tmp_path / "protocol.toml").write_bytes(committed.read_bytes())
    with pytest.raises(ValueError, match="is another protocol than that of tiny: use another --output-dir"):
        check_protocol(protocol(), tmp_path)
    check_protocol(claims.Protocol.read(committed), tmp_path)


def test_other_pictures_are_refused(tmp_path):
    check_pictures({"mnist": "a"}, tmp_path)  # nothing there yet
    write_result(tmp_path, result(Store(tmp_path)))
    check_pictures({"mnist": "a"}, tmp_path)  # nor said
    write_result(tmp_path, {**result(Store(tmp_path)), "pictures": {"mnist": "a", "cifar10": "b"}})
    check_pictures({"mnist": "a"}, tmp_path)
    with pytest.raises(ValueError, match=r"other pictures of cifar10, whose sum is b; the sum of .* is c:"):
        check_pictures({"cifar10": "c", "mnist": "a"}, tmp_path)


# ---- all together ------------------------------------------------------------------------------------


def finish(root, name, by, kind=Difference, **numbers):
    """A folder with a protocol and a finished result; the p of ten of one sign is 2 / 1024."""
    folder = root / name
    store = filled(folder, TEN, by if isinstance(by, list) else shifted(by))
    (folder / "protocol.toml").touch()
    found = claims.result_of(
        protocol(name=name, seeds=10, **numbers),
        Experiment(ARMS, kind("a", "b")),
        store,
        10,
        "c",
        False,
        beside=1000,
    )
    write_result(folder, found)
    return folder


def waiting(root, count):
    for number in range(count):
        (root / f"wait{number}").mkdir(parents=True)
        (root / f"wait{number}" / "protocol.toml").touch()


def verdict(folder):
    return read_result(folder)["verdict"]


@pytest.mark.parametrize(("others", "wanted"), [(0, HOLDS), (24, HOLDS), (25, UNTOLD)])
def test_what_has_not_run_counts_as_if_it_will_find_nothing(tmp_path, others, wanted):
    folder = finish(tmp_path, "one", 2.0)
    waiting(tmp_path, others)
    raise_for_all(tmp_path)
    assert verdict(folder) == wanted
    assert read_result(folder)["p_raised"] == pytest.approx(min(1, (1 + others) * 2 / 1024), rel=1e-3)


def test_another_one_that_is_found_helps_those_behind_it(tmp_path):
    """Of 26 the first needs p * 26, the second p * 25."""
    weaker = [*shifted(2.0)[:9], 9.9]  # one of the other sign: a larger p
    waiting(tmp_path, 3)
    folders = [finish(tmp_path, "one", 2.0), finish(tmp_path, "two", weaker)]
    raise_for_all(tmp_path)
    p = [read_result(folder)["p"] for folder in folders]
    raised = [read_result(folder)["p_raised"] for folder in folders]
    assert p[0] < p[1]
    assert raised == pytest.approx([5 * p[0], 4 * p[1]], rel=1e-3)


def test_raising_twice_changes_nothing(tmp_path):
    finish(tmp_path, "one", 2.0)
    waiting(tmp_path, 16)
    assert raise_for_all(tmp_path) == ["one"]
    before = (tmp_path / "one" / "result.json").read_bytes()
    assert raise_for_all(tmp_path) == []
    assert (tmp_path / "one" / "result.json").read_bytes() == before


def test_what_does_not_hold_is_not_helped_by_any_p(tmp_path):
    folder = finish(tmp_path, "one", 0.2)
    raise_for_all(tmp_path)
    assert verdict(folder) == NOT


def test_sameness_is_not_decided_by_p(tmp_path):
    folder = finish(tmp_path, "one", 0.0, Same, margin=0.3, delta=0.0)
    assert verdict(folder) == HOLDS
    assert raise_for_all(tmp_path) == []
    assert verdict(folder) == HOLDS


@pytest.mark.parametrize(("b", "wanted"), [(0.6, HOLDS), (0.1, NOT), (math.nan, UNTOLD)])
def test_a_ratio_is_raised_on_its_own_scale_with_its_runs_that_never_arrived(tmp_path, b, wanted):
    a = [1.95 if math.isnan(b) else 0.1] * 10
    store = filled(tmp_path / "one", a, [b * s for s in SPREAD], "epochs_to")
    (tmp_path / "one" / "protocol.toml").touch()
    p = protocol(name="one", seeds=10, delta=1.25, claimed=6.0, within=1.5)
    found = claims.result_of(p, Experiment(ARMS, Ratio("a", "b")), store, 10, "c", False, beside=1000)
    write_result(tmp_path / "one", found)
    raise_for_all(tmp_path)
    assert verdict(tmp_path / "one") == wanted


def test_an_unfinished_one_is_left_as_it_is(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "protocol.toml").touch()
    write_result(tmp_path / "one", result(Store(tmp_path / "one")))
    assert raise_for_all(tmp_path) == []
    assert verdict(tmp_path / "one") == NOT_YET


def test_the_table_has_a_line_for_each_protocol(tmp_path):
    finish(tmp_path, "one", 2.0)
    waiting(tmp_path, 1)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "protocol.toml").touch()
    write_result(tmp_path / "some", result(filled(tmp_path / "some", TEN, TEN[:3])))
    header, _, one, some, wait, _, total = table_of(tmp_path).splitlines()
    assert header.split() == ["experiment", "found", "n", "verdict", "minutes"]
    assert one.split() == [
        "one",
        *"2.04 points (2.02 to 2.07) 10 cannot be told from this, perhaps from 16 seeds 20".split(),
    ]
    assert some.split() == ["some", *"13 of 20 runs 13".split()]
    assert wait.split() == ["wait0", "not", "run"]
    assert total == "all, shared runs once" + total[21:-2] + "20"  # those of both have the same settings


@pytest.mark.parametrize(
    ("verdict", "size", "more", "said"),
    [
        ("holds", None, 31, "holds"),
        (UNTOLD, None, 31, f"{UNTOLD}, perhaps from 31 seeds"),
        (UNTOLD, None, 8, UNTOLD),  # it had more already: what it lacks is not seeds
        (UNTOLD, None, None, UNTOLD),
        ("holds", NOT, 31, f"holds; the size {NOT}"),
        ("holds", UNTOLD, 31, f"holds; the size {UNTOLD}, perhaps from 31 seeds"),
    ],
)
def test_what_cannot_be_told_says_how_many_seeds_it_may_take(verdict, size, more, said):
    record = {"verdict": verdict, "n": 10, "would_take": more} | ({"size": size} if size else {})
    assert verdict_of(record) == said


def test_where_neither_direction_nor_size_is_told_the_seeds_are_the_directions():
    record = {"verdict": UNTOLD, "n": 10, "would_take": 31, "size": UNTOLD}
    assert verdict_of(record) == f"{UNTOLD}, perhaps from 31 seeds; the size {UNTOLD}"


@pytest.mark.parametrize(
    ("edge", "said"), [(["c"], ""), (["b"], '; the grid of rates ends at the best one of "b"')]
)
def test_a_verdict_says_which_of_its_arms_has_its_best_rate_at_an_end_of_the_grid(edge, said):
    record = {"verdict": HOLDS, "n": 10, "primary": ["a", "b"], "at_the_edge": edge}
    assert verdict_of(record) == HOLDS + said


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (0, 0, ""),
        (0, 3, '; 3 of 10 runs of "b" never arrived: at least so many times'),
        (1, 0, '; 1 of 10 runs of "a" never arrived: at most so many times'),
        (2, 10, '; 2 of 10 runs of "a" and 10 of 10 runs of "b" never arrived: a guess'),
        (10, 10, '; 10 of 10 runs of "a" and 10 of 10 runs of "b" never arrived: the number says nothing'),
    ],
)
def test_a_number_says_what_runs_that_never_arrived_make_of_it(tmp_path, a, b, said):
    values = [[math.nan] * never + [1.0 + 0.01 * n for n in range(10 - never)] for never in (a, b)]
    store = filled(tmp_path, *values, "epochs_to")
    found = result(store, one=Experiment(ARMS, Ratio("a", "b")), delta=1.25, claimed=6.0, within=1.5)
    write_result(tmp_path, found)
    read = read_result(tmp_path)
    assert numbers(read).endswith(f"10 seeds){said}")
    assert in_a_line(read).endswith(f"n = 10){said}")
    assert (read["claimed"], read["within"]) == (6.0, 1.5)


def test_a_result_counts_the_runs_that_ran_away(tmp_path):
    store = filled(tmp_path, TEN, TEN)
    store.runs[0] |= {"train_error": 90.0, "train_loss": math.log(10), "test_error": 90.0}
    assert result(store)["ran_away"] == {"a": 1, "b": 0}


def test_a_line_says_what_was_compared_and_found(tmp_path):
    assert in_a_line(result(filled(tmp_path, TEN, shifted(2.0)))) == (
        'tiny: holds. test_error: "b" - "a" 2.04 points (2.02 to 2.07, n = 10)'
    )


def test_a_line_of_what_is_not_finished_says_how_far_it_is(tmp_path):
    assert in_a_line(result(filled(tmp_path, TEN, TEN[:3]))) == f"tiny: 13 of 20 runs; {NOT_YET}"


def test_a_line_of_a_ratio_says_its_size_too(tmp_path):
    store = filled(tmp_path, [0.1] * 10, [0.2 * s for s in SPREAD], "epochs_to")
    one = Experiment(ARMS, Ratio("a", "b"))
    found = result(store, one=one, delta=1.25, claimed=6.0, within=1.5)
    assert in_a_line(found).startswith('tiny: holds; the size does not hold. epochs_to: "b" / "a" 2.')
