"""Protocols: each that is here reads and says what is true; a bad one is told what is wrong with it."""

import re
from pathlib import Path

import made_claims
import pytest

import minialex as mx
from minialex import claims
from minialex.claims import Protocol, compare
from minialex.claims.arm import Difference, Level, Ratio, Same
from minialex.claims.nets import NETS

RESULTS = Path(mx.__file__).parents[1] / "examples" / "results"

GOOD = """
claim = "A is better."
source = "here"
outcome = "test_error after 3 epochs"
delta = 0.5
paired = "the seed"
seeds = 10
rates = [0.001, 0.01, 0.1]
begin = 0.01
rate_seeds = [100, 101]
epochs = 3
pictures = 60
"""


@pytest.fixture
def written(tmp_path):
    """Write GOOD with other lines, and read it."""

    def read(**lines):
        text = GOOD
        for name, value in lines.items():
            text = re.sub(rf"^{name} = .*$", "" if value is None else f"{name} = {value}", text, flags=re.M)
            if value is not None and f"{name} = " not in text:
                text += f"{name} = {value}\n"
        path = tmp_path / "mine" / claims.PROTOCOL
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf8")
        return Protocol.read(path)

    return read


def committed(name):
    return Protocol.read(RESULTS / name / claims.PROTOCOL)


# ---- those that are here -----------------------------------------------------------------------------


def test_each_experiment_has_a_protocol_and_each_protocol_an_experiment():
    assert {path.parent.name for path in RESULTS.glob(f"*/{claims.PROTOCOL}")} == set(claims.EXPERIMENTS)


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_each_protocol_reads_and_fits_its_experiment(name):
    p = committed(name)
    assert p.name == name
    claims.check_fits(p, claims.EXPERIMENTS[name](p).primary)


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_the_epochs_that_a_protocol_says_in_words_are_those_that_it_runs(name):
    p = committed(name)
    for words in (p.outcome, p.little):
        said = re.findall(r"after (\d+) (?:epochs|passes)|(\d+) epochs, \d", words)
        assert {int(a or b) for a, b in said} <= {
            arm.epochs for arm in claims.EXPERIMENTS[name](p).arms.values()
        }


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_the_outcome_in_words_is_the_one_that_is_compared(name):
    p = committed(name)
    primary = claims.EXPERIMENTS[name](p).primary
    assert re.match(r"\w+", p.outcome)[0] == primary.outcome
    assert primary.outcome == "epochs_to" or primary.kind != "ratio"


@pytest.mark.parametrize(
    ("name", "arm", "count"),
    [
        ("overlap", "3/2", 25_594),
        ("depth", "without", 25_594),
        ("depth", "with", 27_914),
        ("depth", "without, wider", 27_967),
        ("towers", "exchange", 22_394),
        ("towers", "none", 22_492),
        ("lenet-1998", "1998", 60_000),
    ],
)
def test_a_protocol_counts_parameters_as_its_networks_have_them(name, arm, count):
    p = committed(name)
    one = claims.EXPERIMENTS[name](p).arms[arm]
    assert sum(p.value.size for p in NETS[one.net](seed=0, **one.options).parameters()) == count
    assert f"{count:,}" in (RESULTS / name / claims.PROTOCOL).read_text(encoding="utf8")


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_rates_begin_where_both_sides_can_be_tried_and_seeds_are_enough(name):
    p = committed(name)
    assert p.rates[0] < p.begin < p.rates[-1]
    assert p.seeds >= 10
    assert len(p.rate_seeds) >= 2


# ---- reading -----------------------------------------------------------------------------------------


def test_a_good_one_is_read_with_its_folders_name(written):
    p = written()
    assert (p.name, p.seeds, p.rates, p.delta, p.also) == ("mine", 10, [0.001, 0.01, 0.1], 0.5, [])


def test_another_letter_is_another_digest(written):
    assert written().digest == written().digest != written(source='"There"').digest


def test_line_ends_of_another_system_make_no_other_digest(written, tmp_path):
    digest, path = written().digest, tmp_path / "mine" / claims.PROTOCOL
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Protocol.read(path).digest == digest


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"claim": '"no end'}, r"protocol\.toml is no TOML: .*line 2"),
        ({"also": "[" * 10_000}, "is no TOML"),
        ({"dleta": "0.5"}, r"says 'dleta', which no protocol has \(did you mean delta\?\)"),
        ({"zzzzzz": "0.5"}, r"says 'zzzzzz', which no protocol has$"),
        ({"digest": '"abc"'}, "says 'digest', which no protocol has"),
        ({"claim": None}, r"does not say claim$"),
        ({"claim": None, "seeds": None}, "does not say claim, seeds$"),
        ({"seeds": "9"}, "9 seeds decide nothing: at least 10"),
        ({"seeds": "10.0"}, r"seeds should be of type int, not 10\.0"),
        ({"seeds": "true"}, "seeds should be of type int, not True"),
        ({"delta": '"0.5"'}, "delta should be of type float, not '0.5'"),
        ({"delta": "nan"}, "delta should be of type float, not nan"),
        ({"claim": "5"}, "claim should be of type str, not 5"),
        ({"rate_seeds": "[100.5]"}, r"rate_seeds should be of type list\[int\], not \[100.5\]"),
        ({"rates": "0.1"}, r"rates should be of type list\[float\], not 0.1"),
        ({"rates": "[0.1, 0.01, 0.001]"}, "rates must rise"),
        ({"rates": "[0.01, 0.01, 0.1]"}, "rates must rise"),
        ({"rates": "[0.0, 0.01, 0.1]"}, "rates must rise, from above 0"),
        ({"rates": "[0.01, 0.1]"}, "with others on both sides"),
        ({"begin": "0.1"}, r"begin = 0\.1 be one of .* with others on both sides"),
        ({"begin": "0.02"}, "be one of"),
        ({"rate_seeds": "[9, 100]"}, "seeds of their own, none of 0 to 9"),
        ({"rate_seeds": "[]"}, "seeds of their own"),
        ({"rate_seeds": "[-1]"}, "seeds of their own"),
        ({"epochs": "0"}, "epochs should be at least 1, not 0"),
        ({"pictures": "-5"}, "pictures should be at least 1, not -5"),
    ],
)
def test_a_bad_one_is_told_its_file_and_what_is_wrong(written, lines, message):
    with pytest.raises(ValueError, match=message) as error:
        written(**lines)
    assert "protocol.toml" in str(error.value)


def test_bytes_that_are_no_text_are_no_toml(tmp_path):
    (tmp_path / claims.PROTOCOL).write_bytes(b'claim = "\xff"')
    with pytest.raises(ValueError, match="is no TOML"):
        Protocol.read(tmp_path / claims.PROTOCOL)


def test_a_rate_seed_just_beyond_the_seeds_will_do(written):
    assert written(rate_seeds="[10]").rate_seeds == [10]


# ---- does it fit? ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compared", "numbers", "message"),
    [
        (Difference("a", "b"), {"delta": 0.0}, "needs a delta above 0"),
        (Difference("a", "b"), {"delta": -1.0}, "needs a delta above 0"),
        (
            Difference("a", "b"),
            {"delta": 1.0, "margin": 1.0},
            "is about a difference, and has no margin, not 1.0",
        ),
        (Same("a", "b"), {"delta": 0.0}, "needs a margin above 0: it is about a same"),
        (Level("a"), {"delta": 0.0}, "needs a margin above 0"),
        (Level("a"), {"delta": 0.5, "margin": 0.1}, "has no delta, not 0.5"),
        (Ratio("a", "b"), {"delta": 1.0, "claimed": 6.0, "within": 1.5}, "needs a delta above 1"),
        (Ratio("a", "b"), {"delta": 1.25, "within": 1.5}, "needs a claimed above 1"),
        (Ratio("a", "b"), {"delta": 1.25, "claimed": 6.0}, "needs a within above 1"),
    ],
)
def test_a_protocol_without_the_numbers_of_its_verdict_is_refused_before_anything_runs(
    compared, numbers, message
):
    with pytest.raises(ValueError, match=message):
        compare.check_fits(made_claims.protocol(**numbers), compared)


# ---- a quick look ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_a_quick_look_has_few_pictures_in_each_arm_and_three_rates(name):
    p = committed(name)
    quick = claims.quick_version(p)
    assert (quick.seeds, quick.epochs, quick.pictures, len(quick.rates), len(quick.rate_seeds)) == (
        2,
        2,
        300,
        3,
        1,
    )
    assert quick.rates[1] == quick.begin == p.begin
    arms = claims.EXPERIMENTS[name](quick).arms.values()
    assert {(arm.pictures, arm.epochs) for arm in arms} == {(300, 2)} | (
        {(300, 8)} if name == "batch-size" else set()
    )
