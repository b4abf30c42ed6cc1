"""The tables of an experiment: whole or not at all, of these settings alone, and shared with others."""

import math

import pytest

from minialex.claims import store as tables
from minialex.claims.store import CURVES, RATES, RUNS, Store, read_table, write_table
from minialex.errors import DataError

ROW = {"arm": "a", "settings": "abc", "seed": 0, "rate": 0.003, "test_error": 1.25, "epochs_to": math.nan}
CURVE = [{"epoch": n, "test_error": 5.0 - n} for n in (1, 2)]


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    made.add("runs", ROW, CURVE)
    return made


def same(one, other):
    return repr(one) == repr(other)  # nan is not nan


def test_what_is_kept_is_read_again(store):
    again = Store(store.folder)
    assert same(again.runs, store.runs)
    assert same(again.curves, store.curves)
    assert same(again.runs, [ROW])
    assert same(again.curve(ROW), [{**{k: ROW[k] for k in tables.KEYS}, **one} for one in CURVE])


def test_numbers_are_the_same_before_and_after_they_were_read(store):
    """Seven digits are kept: so who goes on where another stopped has the same means."""
    store.add("runs", {**ROW, "seed": 1, "test_error": 100 / 3}, [{"epoch": 1, "test_error": 100 / 3}])
    again = Store(store.folder)
    assert same(again.runs, store.runs)
    assert same(again.curves, store.curves)
    assert store.runs[1]["test_error"] == 33.33333


def test_an_empty_folder_has_no_rows(tmp_path):
    made = Store(tmp_path / "not there")
    assert (made.runs, made.rates, made.curves) == ([], [], [])


def test_a_name_with_commas_quotes_and_other_letters_stays_as_it_is(tmp_path):
    name = 'ReLU, five "layers" – ü'
    Store(tmp_path).add("runs", {**ROW, "arm": name}, CURVE)
    assert Store(tmp_path).runs[0]["arm"] == name


def test_an_outcome_that_only_some_have_is_nan_for_the_others(store):
    store.add("runs", {**ROW, "seed": 1, "late_gain": 0.5}, CURVE)
    rows = Store(store.folder).runs
    assert math.isnan(rows[0]["late_gain"])
    assert rows[1]["late_gain"] == 0.5


# ---- asking ------------------------------------------------------------------------------------------


def test_a_run_is_known_by_its_settings_and_its_seed_not_by_its_name(store):
    assert same(store.row("runs", "abc", 0), ROW)
    assert store.row("runs", "abc", 1) is None
    assert store.row("runs", "abd", 0) is None


def test_a_run_of_another_rate_is_another(store):
    assert store.row("runs", "abc", 0, 0.003)
    assert store.row("runs", "abc", 0, 0.01) is None


def test_a_rate_of_many_digits_is_found_again(store):
    store.add("rates", {**ROW, "rate": 1 / 3})
    assert Store(store.folder).row("rates", "abc", 0, 1 / 3)


# ---- interrupted -------------------------------------------------------------------------------------


def test_a_program_that_dies_between_curve_and_row_leaves_a_run_that_is_made_again(store, monkeypatch):
    """Its curve is there then, and must not be there twice."""
    plain = tables.write_table

    def dies(path, rows):
        if path.name == RUNS:
            raise KeyboardInterrupt
        plain(path, rows)

    monkeypatch.setattr(tables, "write_table", dies)
    with pytest.raises(KeyboardInterrupt):
        store.add("runs", {**ROW, "seed": 1}, CURVE)
    monkeypatch.setattr(tables, "write_table", plain)
    again = Store(store.folder)
    assert again.row("runs", "abc", 1) is None
    again.add("runs", {**ROW, "seed": 1}, CURVE)
    assert [one["epoch"] for one in Store(store.folder).curve({**ROW, "seed": 1})] == [1, 2]
    assert len(Store(store.folder).curve(ROW)) == 2


def test_no_row_is_written_whose_curve_was_not(store, monkeypatch):
    def full(path, rows):
        raise OSError("No space left")

    monkeypatch.setattr(tables, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        store.add("runs", {**ROW, "seed": 1}, CURVE)
    assert [row["seed"] for row in Store(store.folder).runs] == [0]


def test_tables_are_written_whole_or_not_at_all(store, monkeypatch):
    from minialex.weights import files

    def full(*args):
        raise OSError(28, "No space left on device")

    before = (store.folder / RUNS).read_bytes()
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="could not be written"):
        write_table(store.folder / RUNS, [ROW] * 100)
    assert (store.folder / RUNS).read_bytes() == before
    assert sorted(path.name for path in store.folder.iterdir()) == [CURVES, RUNS]


# ---- damaged -----------------------------------------------------------------------------------------

HEAD = "arm,settings,seed,rate,test_error\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"arm,seed\na,1\n", HEAD.encode() + b"a,abc,0,0.01\n", HEAD.encode() + b"a,abc,0,0.01,1,2\n",
     HEAD.encode() + b"a,abc,zero,0.01,1.5\n", HEAD.encode() + b"a,abc,0,0.01,1.5x\n",
     HEAD.encode() + b'a,abc,0,0.01,"1.5\n', b"\xff\xfe" + HEAD.encode(), HEAD.encode() + b"a,abc,0,0.01,1.5\0\n",
     b"arm,settings,seed,rate,rate\na,abc,0,0.1,0.2\n"],
)  # fmt: skip
@pytest.mark.parametrize("name", [RUNS, RATES, CURVES])
def test_a_damaged_table_is_refused_by_its_name_with_what_to_do(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"is no table of runs, or is damaged .*: delete it") as error:
        Store(tmp_path)
    assert str(tmp_path / name) in str(error.value)
    assert len(str(error.value)) < 400


def test_a_table_that_lost_its_last_rows_is_one_of_fewer_runs(store):
    store.add("runs", {**ROW, "seed": 1}, CURVE)
    lines = (store.folder / RUNS).read_text().splitlines(keepends=True)
    (store.folder / RUNS).write_text("".join(lines[:-1]))
    assert [row["seed"] for row in read_table(store.folder / RUNS)] == [0]


# ---- of other settings -------------------------------------------------------------------------------


def test_rows_of_other_settings_are_refused(store):
    with pytest.raises(
        ValueError, match=r"runs of arm 'a' with other settings \(abc, now abd\): they are not mixed"
    ):
        store.check_settings({"a": "abd"})


def test_rates_of_other_settings_are_refused(tmp_path):
    made = Store(tmp_path)
    made.add("rates", ROW)
    with pytest.raises(ValueError, match="other settings"):
        made.check_settings({"a": "abd"})


def test_rows_of_an_arm_that_is_not_there_are_refused(store):
    with pytest.raises(
        ValueError, match="runs of an arm 'a', which this experiment has not: use another --output-dir"
    ):
        store.check_settings({"b": "abc"})


def test_rows_of_the_same_settings_are_taken(store):
    store.check_settings({"a": "abc", "b": "abd"})
    store.check_rates({"a": 0.003, "b": 1.0})


def test_a_run_whose_curve_was_deleted_is_told(store):
    (store.folder / CURVES).unlink()
    with pytest.raises(ValueError, match=rf"{CURVES} has no epochs of arm 'a', seed 0: take it from a copy"):
        Store(store.folder).check_settings({"a": "abc"})


def test_a_run_at_another_rate_than_the_chosen_one_is_refused(store):
    with pytest.raises(ValueError, match=r"runs of arm 'a' at rate 0.003, but rates.csv says 0.01"):
        store.check_rates({"a": 0.01})


# ---- shared ------------------------------------------------------------------------------------------


@pytest.fixture
def other(store, tmp_path):
    """The store of another experiment, beside the one that has a run."""
    return Store(tmp_path / "other")


def test_a_run_of_the_same_settings_is_taken_over_under_the_own_name(store, other):
    assert other.take_from([Store(store.folder)], "runs", "mine", "abc", 0, 0.003)
    again = Store(other.folder)
    assert [row["arm"] for row in again.runs] == ["mine"]
    assert again.runs[0]["test_error"] == 1.25
    assert same(store.runs[0]["arm"], "a")


def test_its_curve_comes_along_and_no_other(store, other):
    store.add("runs", {**ROW, "seed": 1}, [{"epoch": 1, "test_error": 77.0}])
    store.add("runs", {**ROW, "settings": "xyz", "arm": "b"}, [{"epoch": 1, "test_error": 88.0}])
    other.take_from([store], "runs", "mine", "abc", 0, 0.003)
    assert [(one["arm"], one["seed"], one["test_error"]) for one in Store(other.folder).curves] == [
        ("mine", 0, 4.0), ("mine", 0, 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize("asked", [("abd", 0, 0.003), ("abc", 1, 0.003), ("abc", 0, 0.01)])
def test_a_run_of_other_settings_another_seed_or_another_rate_is_not(store, other, asked):
    assert not other.take_from([store], "runs", "mine", *asked)
    assert other.runs == []


def test_a_rate_that_was_tried_is_taken_over_without_a_curve(store, other):
    store.add("rates", {**ROW, "seed": 100})
    assert other.take_from([store], "rates", "mine", "abc", 100, 0.003)
    assert (len(other.rates), other.curves) == (1, [])


def test_what_chose_a_rate_is_never_taken_for_a_run(store, other):
    store.add("rates", {**ROW, "seed": 7})
    assert not other.take_from([store], "runs", "mine", "abc", 7, 0.003)


def test_the_first_that_has_it_is_asked(store, other, tmp_path):
    empty = Store(tmp_path / "empty")
    assert other.take_from([empty, store], "runs", "mine", "abc", 0, 0.003)
