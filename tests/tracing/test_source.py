"""Which lines of a function write a name."""

# ruff: noqa: F841, RUF059
from pathlib import Path

import numpy as np

from minialex.tracing.source import on_one_line, text_of


class Written:
    def all_ways(self, x, pair):
        """Its text
begins further left than the function."""  # fmt: skip
        a, (b, *c) = pair
        d: int = 1
        d += 1
        e = f = np.zeros(3)
        e[0][1:] = 2
        np.add(e, 1, out=f)
        np.add.at(f, [0], 1)
        for a in x: b = a  # fmt: skip  # noqa: E701
        with open(x) as g, open(x) as (h, i):
            pass
        if (j := len(x)) > 1:
            k = [j for j in x if (c := j)]
        elif j:
            k = 2
        try:
            k += 1
        except ValueError:
            k = 3
        self.weight = d
        self.weight.grad, self.bias.grad = self.gradients(x)

        def inner():
            a = 5
            return a

        if d:
            return None
        return (
            k,  # two of them
            e,
        )

    def gradients(self, x):
        return (lambda y: (z := y))(x), h.grad(x)  # noqa: F821


def texts(lines):
    return [line.text for line in lines]


def test_every_way_to_write_a_name_is_found_and_no_other():
    text = text_of(Written.all_ways)
    expected = {
        "a": ["a, (b, *c) = pair", "for a in x"],
        "b": ["a, (b, *c) = pair", "b = a"],
        "c": ["a, (b, *c) = pair", "k = [j for j in x if (c := j)]"],
        "d": ["d: int = 1", "d += 1"],
        "e": ["e = f = np.zeros(3)", "e[0][1:] = 2"],
        "f": ["e = f = np.zeros(3)", "np.add(e, 1, out=f)", "np.add.at(f, [0], 1)"],
        "g": ["with open(x) as g, open(x) as (h, i)"],
        "h": ["with open(x) as g, open(x) as (h, i)"],
        "i": ["with open(x) as g, open(x) as (h, i)"],
        "j": ["if (j := len(x)) > 1"],
        "k": ["k = [j for j in x if (c := j)]", "k = 2", "k += 1", "k = 3"],
    }
    assert {name: texts(lines) for name, lines in text.writes.items()} == expected
    both = "self.weight.grad, self.bias.grad = self.gradients(x)"
    assert {name: texts(lines) for name, lines in text.grads.items()} == {"weight": [both], "bias": [both]}
    assert {name: texts(lines) for name, lines in text.attributes.items()} == {"weight": ["self.weight = d"]}
    [(line, names)] = text.returns
    assert (line.text, names) == ("return (k, e)", ["k", "e"])
    assert text.helpers == ["gradients"]
    lines = Path(__file__).read_text(encoding="utf8").splitlines()
    for found in [*text.writes.values(), *text.grads.values()]:
        for line in found:
            assert line.text.split("\n")[0] in lines[line.number - 1]
    assert text.head.text == "def all_ways(self, x, pair):"
    assert lines[text.head.number - 1].strip() == text.head.text


def test_what_has_no_source_has_no_text():
    space = {}
    exec("def bare(x):\n    y = x\n    return y\n", space)
    for function in (space["bare"], len, np.add, lambda x: x):
        assert text_of(function) is None
    assert not text_of(Written.gradients).writes


def test_a_statement_of_several_lines_becomes_one():
    assert on_one_line("y = f(\n  a,\n  # no\n  [1,\n   2],\n)") == "y = f(a, [1, 2])"
    assert on_one_line("y = a + \\\n    '# no comment'") == "y = a + '# no comment'"
