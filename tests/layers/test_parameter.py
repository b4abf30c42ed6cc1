"""A Parameter: what is misspelt is refused, what a learner keeps there stays."""

import copy
import pickle

import numpy as np
import pytest

from minialex import Parameter


def parameter():
    return Parameter(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gard", "grad"),
        ("lr_scael", "lr_scale"),
        ("Decay", "decay"),
        ("valeu", "value"),
        ("proximals", "proximal"),
    ],
)
def test_a_misspelt_name_is_refused(name, meant):
    p = parameter()
    with pytest.raises(AttributeError, match=rf"^a Parameter has no {name} \(did you mean {meant}\?\)$"):
        setattr(p, name, 0)
    assert not hasattr(p, name)


@pytest.mark.parametrize("name", ["velocity", "m", "old_grad", "old_value", "second_moment"])
def test_what_an_own_rule_keeps_there_stays(name):
    p = parameter()
    setattr(p, name, np.zeros(3))
    for other in (p, copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert getattr(other, name).shape == (3,)
