"""The summary table: shapes, parameters, multiply-adds and column bytes of one picture."""

import numpy as np
import pytest

import minialex as mx
from minialex.models.lenet import VARIANTS

# By hand: outputs times kernel volume, for each layer that multiplies (modern: padded to 32x32 inside C1).
MULTIPLY_ADDS = {
    "modern": 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10,
    "keras": 24 * 24 * 6 * 25 + 8 * 8 * 16 * 150 + 256 * 120 + 120 * 84 + 84 * 10,
}


@pytest.mark.parametrize(("variant", "parameters"), [("modern", 61_706), ("1998", 60_000), ("keras", 44_426)])
def test_the_total_is_the_published_number_of_parameters(variant, parameters):
    table = mx.summary(mx.models.lenet5(variant))
    assert table.parameters == parameters
    assert f"{parameters:,}" in str(table).splitlines()[-2]


@pytest.mark.parametrize("variant", MULTIPLY_ADDS)
def test_multiply_adds_are_those_by_hand(variant):
    assert mx.summary(mx.models.lenet5(variant)).multiply_adds == MULTIPLY_ADDS[variant]


def test_the_rows_of_1998_have_the_papers_parameters():
    rows = {row.name: row for row in mx.summary(mx.models.lenet5("1998")).rows}
    paper = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert {name: row.parameters for name, row in rows.items() if row.parameters} == paper
    assert [rows[name].output for name in ("c1", "s2", "c3", "s4", "c5")] == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 5, 5),
        (120, 1, 1),
    ]


def test_column_bytes_are_kernel_volume_times_output_pixels():
    rows = {row.name: row for row in mx.summary(mx.models.lenet5("modern")).rows}
    assert rows["c1"].column_bytes == 25 * 28 * 28 * 4
    assert rows["c3"].column_bytes == 150 * 10 * 10 * 4
    assert rows["f6"].column_bytes == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_summary_reads_the_same_on_every_device(device, variant):
    assert str(mx.summary(mx.models.lenet5(variant, device=device))) == str(
        mx.summary(mx.models.lenet5(variant))
    )


def test_double_precision_doubles_the_columns_alone():
    single, double = mx.summary(mx.models.lenet5()), mx.summary(mx.models.lenet5().astype("float64"))
    assert double.column_bytes == 2 * single.column_bytes
    assert (double.parameters, double.multiply_adds) == (single.parameters, single.multiply_adds)


def test_the_model_stays_as_it_was():
    model = mx.models.lenet5("keras", dropout=0.5)
    y = model.forward(np.zeros((2, 1, 28, 28), dtype=np.float32))
    mx.summary(model)
    assert model.training
    assert model["c5_dropout"].step == 1
    model.backward(np.ones_like(y))  # what forward saved is still there


def test_another_picture_shape_may_be_asked_for():
    table = mx.summary(mx.Sequential(conv=mx.Conv2D(3, 4, 3, bias=False), relu=mx.ReLU()), (3, 10, 7))
    assert [row.output for row in table.rows] == [(4, 8, 5), (4, 8, 5)]
    assert str(table).splitlines()[0] == "Sequential, input 3x10x7"


def test_a_model_that_does_not_know_its_pictures_says_so():
    with pytest.raises(ValueError, match="summary: Sequential does not say what its pictures are"):
        mx.summary(mx.Sequential(mx.Linear(2, 2)))


def test_the_table_is_plain_ascii_and_its_columns_are_aligned():
    lines = str(mx.summary(mx.models.lenet5())).splitlines()
    assert all(line.isascii() and line == line.rstrip() for line in lines)
    body = [line for line in lines[4:] if line.startswith(("c1 ", "c3 ", "f6 ", "total"))]
    assert len({len(line) for line in body}) == 1  # the last column is set to the right


def test_a_notebook_shows_the_table_itself():
    table = mx.summary(mx.models.lenet5())
    assert repr(table) == str(table)
