"""What texts say of the claims is what the results say."""

import json
from pathlib import Path

import pytest

import minialex as mx
from minialex.claims import texts

ROOT = Path(mx.__file__).parents[1]


def test_the_table_of_the_readme_is_made_of_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    assert texts.in_markdown() in readme, "put what mx.claims.in_markdown() gives into README.md"


@pytest.mark.parametrize("name", mx.claims.EXPERIMENTS)
def test_each_experiment_has_a_protocol_and_says_what_was_found(name):
    said = repr(mx.claims.found(name))
    assert said.startswith("Claimed: ")
    assert f"python examples/reproduce.py {name}" in said
    assert max(map(len, said.splitlines())) <= 100


def test_an_unknown_claim_is_told_the_nearest():
    with pytest.raises(ValueError, match="did you mean overlap"):
        mx.claims.found("overlapp")


def cells_that_tell_of_claims():
    for path in sorted((ROOT / "lessons").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf8"))["cells"]:
            if "mx.claims.found(" in "".join(cell["source"]):
                yield pytest.param("".join(cell["source"]), cell["outputs"], path.name[:2], id=path.stem)


@pytest.mark.parametrize(("source", "outputs", "lesson"), [*cells_that_tell_of_claims()])
def test_what_a_lesson_shows_of_a_claim_is_what_was_found(source, outputs, lesson, capsys):
    exec(source, {"mx": mx})
    stored = "".join("".join(output["text"]) for output in outputs)
    assert stored == capsys.readouterr().out, f"run it anew: python lessons/run.py {lesson}"


def test_what_else_was_measured_is_said_of_the_arms_that_have_it():
    text = repr(texts.found("lrn"))
    assert 'Measured of "LRN", means: divides_low 1.68, divides_median 2.11, divides_high 7.33' in text
    assert 'Measured of "none"' not in text


def test_the_part_of_a_claim_that_the_verdict_leaves_out_is_named():
    assert 'a part of the claim that the verdict leaves out: gap: "2/2" - "3/2"' in " ".join(
        repr(texts.found("overlap")).split()
    )
    row = next(line for line in texts.in_markdown().splitlines() if "[`retrieval`]" in line)
    assert 'not judged: "four layers": precision_features - precision_codes, 7.8 points' in row
    assert "leaves out" not in repr(texts.found("lrn"))


CLOCK = {
    "equal_seconds": {"mean": 1.5, "low": 1.0, "high": 2.0, "n": 10},
    "seconds_an_epoch": {"a": 2.0, "b": 3.0},
    "arms": {"a": {"epochs": 60, "schedule": "cosine"}, "b": {"epochs": 15, "schedule": "constant"}},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1.5 (1 to 2), in which \"a\" comes as far as epoch 22.5 of 60, before its rate has come all the way "
             "down; an epoch takes \"a\" 2 s, \"b\" 3 s"),
        ({"arms": {"a": {"epochs": 15, "schedule": "cosine"}, "b": {"epochs": 15, "schedule": "constant"}}},
         "1.5 (1 to 2), in which \"b\" comes as far as epoch 10.0 of 15; an epoch takes \"a\" 2 s, \"b\" 3 s"),
        ({"seconds_an_epoch": None}, "1.5 (1 to 2)"),
    ],
)  # fmt: skip
def test_at_equal_seconds_it_is_said_which_arm_is_cut_off_and_where(changes, said):
    assert texts.by_the_clock({**CLOCK, **changes}) == [f"After equal seconds: {said}"]


def test_a_ratio_is_told_in_seconds_too():
    record = {**CLOCK, "equal_seconds": None, "in_seconds": {"mean": 9.0, "low": 7.5, "high": 10.5, "n": 10}}
    assert texts.by_the_clock(record) == [
        'In seconds: 9 times (7.5 to 10.5); an epoch takes "a" 2 s, "b" 3 s'
    ]
    assert texts.by_the_clock({}) == []


def test_of_a_ratio_the_size_is_asked_for_too():
    record = {"unit": "times", "delta": 1.25, "claimed": 6.0, "within": 1.5}
    assert texts.asked(record) == "at least 1.25 times; for the size, from 4 to 9 times"


def test_runs_that_ran_away_and_rates_at_the_grids_end_are_told():
    found = texts.found("lrn")
    record = {**found.record, "ran_away": {"LRN": 2, "none": 0}, "at_the_edge": ["none"]}
    said = " ".join(repr(texts.Found(found.protocol, record)).split())
    assert 'Runs that ran away, and count with chance\'s error: 2 of "LRN" Measured' not in said
    assert 'Runs that ran away, and count with chance\'s error: 2 of "LRN" Learning rates' in said
    assert f'"none" {record["rates"]["none"]:g} (the grid\'s end)' in said
