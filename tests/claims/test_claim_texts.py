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
