"""examples/reproduce.py as its users run it: stopped and started again, twice at once, and with all that can go wrong.

Most tests call it in this process, with runs that are pretended. Those that kill it start it as a program of its own,
on made pictures: what `program_of` writes puts them in MNIST's place, in its worker processes as well.
"""

import csv
import dataclasses
import json
import os
import shutil
import signal

import made_claims
import pytest
from running import EXAMPLES, finish, load_program, run_here, start, wait_until

from minialex import claims, plot
from minialex.claims import pictures
from minialex.training.command_line import friendly
from minialex.training.lock import locked

pytest.importorskip("scipy", reason="Student's t is SciPy's")

PROGRAM = EXAMPLES / "reproduce.py"
module = load_program(PROGRAM)
posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
FILES = {"curves.csv", "protocol.toml", "rates.csv", "result.json", "runs.csv"}


@pytest.fixture
def results(monkeypatch, tmp_path):
    """The folder of results, with the protocols alone, and an empty one to be in."""
    for path in (EXAMPLES / "results").glob("*/protocol.toml"):
        folder = tmp_path / "results" / path.parent.name
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "results"


@pytest.fixture
def program(results, monkeypatch, capsys):
    """Call it in this process, with one; runs are pretended, pictures made, figures not drawn."""
    made_claims.made_pictures(monkeypatch)
    made_claims.pretend(monkeypatch)
    monkeypatch.setattr(
        module, "draw", lambda folder, found: (folder / claims.FIGURE).write_text(found["verdict"])
    )
    return lambda *args: run_here(
        lambda: friendly(module.main),
        PROGRAM,
        [*args, *(["--processes", "1"] if args else [])],
        monkeypatch,
        capsys,
    )


def runs_of(folder):
    with open(folder / "runs.csv", newline="") as file:
        return list(csv.DictReader(file))


def rows_without_seconds(folder):
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in runs_of(folder)]
    return sorted(rows, key=lambda row: (row["arm"], int(row["seed"])))


def record(folder):
    return json.loads((folder / "result.json").read_text())


# ---- a whole one -------------------------------------------------------------------------------------


def test_an_experiment_runs_to_its_verdict_table_and_figure(program, results):
    done = program("dropout")
    assert done.status == 0
    assert done.out.splitlines()[-1].startswith(
        'dropout: holds. test_error: "none" - "dropout" 0.5 points (0.5 to 0.5, n = 10)'
    )
    assert {path.name for path in (results / "dropout").iterdir()} == FILES | {"figure.png"}
    assert (len(runs_of(results / "dropout")), record(results / "dropout")["finished"]) == (20, True)
    assert (
        record(results / "dropout")["protocol"]
        == claims.Protocol.read(results / "dropout/protocol.toml").digest
    )


def test_the_protocol_stays_as_it_is(program, results):
    before = (results / "dropout" / "protocol.toml").read_bytes()
    program("dropout")
    assert (results / "dropout" / "protocol.toml").read_bytes() == before


def test_the_verdict_and_the_figure_are_those_beside_all_others(program, results):
    program("dropout")
    found = record(results / "dropout")
    assert found["p_raised"] == pytest.approx(17 * 2 / 1024, rel=1e-3)
    assert (results / "dropout" / claims.FIGURE).read_text() == found["verdict"] == "holds"


def test_a_figure_is_drawn_anew_when_another_experiment_changes_its_verdict(program, results):
    program("dropout")
    found = record(results / "dropout")
    claims.write_result(
        results / "dropout", {**found, "verdict": "cannot be told from this", "p_raised": 1.0}
    )
    (results / "dropout" / claims.FIGURE).unlink()
    program("lenet-1998")
    assert (
        (results / "dropout" / claims.FIGURE).read_text() == record(results / "dropout")["verdict"] == "holds"
    )


def test_in_another_folder_the_verdict_is_the_same(program, results, tmp_path):
    program("dropout", "--output-dir", tmp_path / "mine")
    assert record(tmp_path / "mine")["verdict"] == "holds"
    assert {path.name for path in (tmp_path / "mine").iterdir()} == FILES | {"figure.png"}
    assert {path.name for path in (results / "dropout").iterdir()} == {"protocol.toml"}


def test_the_folder_of_results_by_another_path_is_the_same_folder(program, results, monkeypatch):
    monkeypatch.chdir(results)
    seen = []
    monkeypatch.setattr(claims, "raise_for_all", lambda root: seen.append(root) or [])
    program("dropout", "--output-dir", "dropout")
    assert seen == [results]


def test_the_figure_itself_can_be_drawn(program, results, monkeypatch):
    program("dropout")
    figure = plot.claim(claims.read_result(results / "dropout"), claims.Store(results / "dropout").curves)
    assert figure.get_suptitle().endswith("\ndropout: holds")


def test_some_seeds_alone_judge_nothing(program, results):
    done = program("dropout", "--seeds", 3)
    assert "dropout: 6 of 20 runs; not told before all runs are there" in done.out
    assert record(results / "dropout")["mean"] is None
    assert not (results / "dropout" / claims.FIGURE).exists()


def test_the_others_follow(program, results):
    program("dropout", "--seeds", 3)
    assert "dropout: holds" in program("dropout").out
    assert len(runs_of(results / "dropout")) == 20


def test_what_was_judged_stays_judged_when_fewer_seeds_are_asked_for(program, results):
    program("dropout")
    before = record(results / "dropout")
    done = program("dropout", "--seeds", 3)
    assert "dropout: holds" in done.out
    assert {**record(results / "dropout"), "command": ""} == {**before, "command": ""}


def test_what_an_epoch_takes_is_measured_once(program, results):
    program("overlap", "--seeds", 3)
    assert "seconds_an_epoch" not in record(results / "overlap")
    for _ in range(2):
        program("overlap")
        assert record(results / "overlap")["seconds_an_epoch"] == {"3/2": 1.0, "2/2": 1.1}
    before = record(results / "overlap")
    (results / "overlap" / "result.json").write_text(json.dumps({**before, "seconds_an_epoch": None}))
    program("overlap")
    assert record(results / "overlap")["seconds_an_epoch"] == {"3/2": 2.0, "2/2": 2.1}
    program("momentum")
    assert record(results / "momentum")["seconds_an_epoch"] is None  # it is about losses


def test_runs_that_another_experiment_has_made_are_not_made_again(program, results, monkeypatch):
    program("lrn")
    asked = made_claims.pretend(monkeypatch)
    program("overlap", "--seeds", 3)
    baseline = made_claims.Arm("cifar10", "four-layers", pictures=10_000, epochs=15).digest
    assert baseline not in {digest for digest, *_ in asked.asked}
    assert len(runs_of(results / "overlap")) == 6


# ---- a quick look ------------------------------------------------------------------------------------


def test_a_quick_look_is_kept_apart_and_judges_nothing(program, results, tmp_path):
    done = program("dropout", "--quick")
    assert 'dropout: no verdict from 2 seeds. test_error: "none" - "dropout"' in done.out
    assert {path.name for path in (tmp_path / "here/runs/quick/dropout").iterdir()} == FILES | {"figure.png"}
    assert {path.name for path in (results / "dropout").iterdir()} == {"protocol.toml"}


def test_a_quick_look_in_the_place_of_results_leaves_them_alone(program, results):
    program("dropout")
    before = {path.name: path.read_bytes() for path in (results / "dropout").iterdir()}
    done = program("dropout", "--quick", "--output-dir", results / "dropout")
    assert done.status == 1
    assert "with other settings" in done.err
    assert {path.name: path.read_bytes() for path in (results / "dropout").iterdir()} == before


def test_a_quick_look_takes_nothing_from_other_experiments(program, results, monkeypatch):
    program("lrn", "--seeds", 2)
    asked = made_claims.pretend(monkeypatch)
    program("overlap", "--quick")
    assert len({digest for digest, *_ in asked.asked}) == 2


@pytest.mark.parametrize("name", ["relu-vs-tanh", "lenet-curve", "retrieval"])
def test_a_quick_look_draws_whatever_is_compared(results, monkeypatch, capsys, name):
    """With networks, of 20 pictures."""
    made_claims.made_pictures(monkeypatch)
    quick = claims.quick_version
    monkeypatch.setattr(
        claims, "quick_version", lambda p: dataclasses.replace(quick(p), pictures=20, epochs=1)
    )
    arguments = [name, "--quick", "--processes", "1", "--output-dir", "quick"]
    done = run_here(lambda: friendly(module.main), PROGRAM, arguments, monkeypatch, capsys)
    assert done.status == 0, done.err
    assert f"{name}: no verdict from 2 seeds" in done.out
    assert (results.parent / "here/quick" / claims.FIGURE).is_file()


# ---- without a name ----------------------------------------------------------------------------------


def test_without_a_name_it_lists_what_there_is(program, results):
    program("dropout")
    lines = program().out.splitlines()
    assert {line.split()[0] for line in lines[2:-2]} == set(claims.EXPERIMENTS)
    assert next(line for line in lines if line.startswith("dropout")).split()[-2] == "holds"
    assert sum("not run" in line for line in lines) == len(claims.EXPERIMENTS) - 1


def test_help_names_each_experiment(program):
    done = program("--help")
    assert all(name in done.out for name in claims.EXPERIMENTS)


# ---- mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["overlapp"], r"unknown experiment 'overlapp' (did you mean overlap?)"),
        (["xyz"], "unknown experiment 'xyz': use lenet-curve"),
        (["dropout", "--seeds", "11"], "--seeds 11: the protocol of dropout has 10, and was there first"),
        (["dropout", "--seeds", "1"], "--seeds"),
        (["dropout", "--seeds", "many"], "--seeds"),
        (["dropout", "--quik"], "did you mean --quick?"),
        (["dropout", "--processes", "0"], "--processes"),
    ],
)
def test_a_mistake_gets_a_message_and_leaves_nothing(program, results, arguments, message):
    done = program(*arguments)
    assert done.status in (1, 2)
    assert message in done.err
    assert "Traceback" not in done.err
    assert {path.name for path in (results / "dropout").iterdir()} == {"protocol.toml"}


def test_a_protocol_that_is_not_there_is_named(program, results):
    (results / "dropout" / "protocol.toml").unlink()
    done = program("dropout")
    assert done.status == 1
    assert str(results / "dropout" / "protocol.toml") in done.err


def test_missing_data_is_told_with_the_command_that_fetches_it(program, results, monkeypatch):
    def missing(name, download):
        raise FileNotFoundError("no MNIST here")

    monkeypatch.setattr(pictures, "load", missing)
    monkeypatch.setattr(pictures, "_loaded", {})
    done = program("dropout")
    assert done.status == 1
    assert """python -c 'import minialex as mx; mx.data.load("mnist")'""" in done.err
    assert {path.name for path in (results / "dropout").iterdir()} == {"protocol.toml"}


def test_results_of_other_settings_are_not_mixed(program, results):
    program("dropout", "--seeds", 2)
    path = results / "dropout" / "runs.csv"
    path.write_text(path.read_text().replace(claims.Store(path.parent).runs[0]["settings"], "0123456789ab"))
    before = (results / "dropout" / "result.json").read_bytes()
    done = program("dropout")
    assert (done.status, (results / "dropout" / "result.json").read_bytes()) == (1, before)
    assert "with other settings (0123456789ab, now " in done.err


def test_another_experiments_folder_is_refused(program, results):
    before = (results / "lrn" / "protocol.toml").read_bytes()
    done = program("dropout", "--output-dir", results / "lrn")
    assert done.status == 1
    assert "is another protocol than that of dropout" in done.err
    assert (results / "lrn" / "protocol.toml").read_bytes() == before


def test_a_protocol_that_was_changed_after_its_first_run_is_refused(program, results):
    program("dropout", "--seeds", 2)
    path = results / "dropout" / "protocol.toml"
    path.write_text(path.read_text().replace("delta = 0.1", "delta = 0.01"))
    done = program("dropout")
    assert done.status == 1
    assert "was changed after results were there" in done.err


@pytest.mark.parametrize("name", ["runs.csv", "rates.csv", "curves.csv", "result.json"])
def test_a_damaged_file_is_named(program, results, name):
    program("dropout", "--seeds", 2)
    (results / "dropout" / name).write_bytes(b"\0\1\2")
    done = program("dropout")
    assert done.status == 1
    assert str(results / "dropout" / name) in done.err
    assert "damaged" in done.err


def test_a_run_that_fails_leaves_those_before_it(program, results, monkeypatch):
    made_claims.pretend(monkeypatch, stop_after=9)
    done = program("dropout")
    assert (done.status, "Stopped" in done.err) == (130, True)
    rates = claims.Store(results / "dropout").rates
    assert len(rates) == 9
    made_claims.pretend(monkeypatch)
    assert "dropout: holds" in program("dropout").out


# ---- programs of their own ---------------------------------------------------------------------------

DRIVER = """
import dataclasses, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {examples!r}]
import made_claims, reproduce
from minialex import claims
from minialex.claims import pictures
sets = {{name: (made_claims.made(name, 600, 1), made_claims.made(name, 120, 2)) for name in made_claims.SHAPES}}
pictures.load = lambda name, download: sets[name]
reproduce.RESULTS = Path({results!r})
quick = claims.quick_version
claims.quick_version = lambda p: dataclasses.replace(quick(p), epochs={epochs}, pictures=120)
if __name__ == "__main__":
    reproduce.friendly(reproduce.main)
"""


def program_of(results, epochs=2):
    """The program on made pictures, as a file; processes that it starts read the file as well."""
    path = results.parent / "reproduce_here.py"
    tests = str(EXAMPLES.parent / "tests")
    path.write_text(DRIVER.format(tests=tests, examples=str(EXAMPLES), results=str(results), epochs=epochs))
    return path


def children_of(pid):
    """Numbers of the processes that it has started, and of those that these have."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        own = file.read().split()
    return [number for one in own for number in (one, *children_of(one))]


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@posix
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_who_is_killed_goes_on_and_has_the_rows_of_who_was_not(results, tmp_path, monkeypatch, sign):
    """Two worker processes; killed when four runs are there, of a rate or of a seed."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    here, path = tmp_path / "here", program_of(results, epochs=5)
    arguments = ["dropout", "--quick", "--processes", "2", "--output-dir"]
    whole = finish(start(here, path, *arguments, "whole"))
    assert whole.status == 0, whole
    stopped = start(here, path, *arguments, "stopped")
    wait_until(
        lambda: len(claims.Store(here / "stopped").rates) + len(claims.Store(here / "stopped").runs) >= 4
    )
    children = children_of(stopped.pid)
    stopped.send_signal(sign)
    stopped.communicate(timeout=60)
    assert stopped.returncode == (-9 if sign == signal.SIGKILL else 130)
    assert children
    wait_until(lambda: not any(map(is_there, children)))  # nobody works on for nobody
    assert not list((tmp_path / "temporary").rglob("*.npy"))
    before = [row["seed"] for row in claims.Store(here / "stopped").runs]
    assert len(before) < 4
    again = finish(start(here, path, *arguments, "stopped"))
    assert again.status == 0, again
    assert rows_without_seconds(here / "stopped") == rows_without_seconds(here / "whole")


def test_two_at_once_in_one_folder_are_refused(results, tmp_path):
    here = tmp_path / "here"
    with locked(here / "one"):
        second = finish(start(here, program_of(results), "dropout", "--quick", "--output-dir", "one"))
    assert second.status == 1
    assert f"one is in use by process {os.getpid()}" in second.err
    assert not list((here / "one").iterdir())


def test_one_process_has_the_rows_of_two(results, tmp_path):
    here, path = tmp_path / "here", program_of(results)
    for count in ("1", "2"):
        done = finish(start(here, path, "dropout", "--quick", "--processes", count, "--output-dir", count))
        assert done.status == 0, done
    assert rows_without_seconds(here / "1") == rows_without_seconds(here / "2")
