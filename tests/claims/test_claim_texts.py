"""What texts say of the claims is what the results say."""

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
