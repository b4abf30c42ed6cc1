"""Of a learner's layers one kind alone can be put into a model."""

import inspect

import numpy as np
import pytest

import minialex as mx
from minialex.check.kept.keeping import put_in_place
from minialex.check.planted import RIGHT


def test_one_kind_alone_is_exchanged_and_computes_the_same(tmp_path, rng):
    names = [f"{part}_{way}" for part in ("relu", "linear") for way in ("forward", "backward")]
    for name in names:
        lines = inspect.getsource(RIGHT[name]).splitlines()
        text = "\n".join(["import numpy as np", "", *(line for line in lines if not line.startswith("@"))])
        assert put_in_place(name, text, tmp_path)
    mine = mx.check.mine(tmp_path)
    ours, one, both = (mx.Sequential(fc=mx.Linear(3, 2, rng=0), relu=mx.ReLU()) for _ in range(3))
    assert mine.put_into(one, only="ReLU") == ["relu"]
    assert mine.put_into(both) == ["fc", "relu"]
    x = rng.standard_normal((4, 3), np.float32)
    np.testing.assert_allclose(one.forward(x), ours.forward(x), atol=1e-6)
    assert type(one["fc"]) is mx.Linear


def test_a_kind_that_there_is_not_is_named(tmp_path):
    with pytest.raises(ValueError, match="not 'Relu'"):
        mx.check.mine(tmp_path).put_into(mx.Sequential(relu=mx.ReLU()), only="Relu")
