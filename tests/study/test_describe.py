"""The summary table: shapes, parameters, multiply-adds and column bytes of one picture."""

import re

import numpy as np
import pytest

import minialex as mx
from minialex.models import alexnet
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


def test_a_model_is_told_its_pictures_as_the_message_says():
    exits = mx.Exits({"a": mx.Flatten(), "b": mx.Linear(4, 2)}, {"early": ("a", mx.Linear(4, 2))})
    for study, model in (
        (mx.leaving.exit_costs, exits),
        (mx.cluster.plan, mx.Sequential(fc=mx.Linear(4, 2))),
    ):
        with pytest.raises(ValueError, match=re.escape("set model.picture_shape = (C, H, W)")):
            study(model)
    exits.picture_shape = (1, 2, 2)
    assert mx.leaving.exit_costs(exits) == [8, 16]
    model = mx.Sequential(flat=mx.Flatten(), fc=mx.Linear(4, 2))
    model.picture_shape = (1, 2, 2)
    assert mx.cluster.plan(model, workers=2).steps


@pytest.mark.parametrize("model", [mx.Sequential, 3, np.zeros((1, 3, 8, 8))])
def test_a_summary_is_of_a_network(model):
    with pytest.raises(TypeError, match=r"summary: the model is .*, not a network"):
        mx.summary(model, (3, 8, 8))


def test_the_table_is_plain_ascii_and_its_columns_are_aligned():
    lines = str(mx.summary(mx.models.lenet5())).splitlines()
    assert all(line.isascii() and line == line.rstrip() for line in lines)
    body = [line for line in lines[4:] if line.startswith(("c1 ", "c3 ", "f6 ", "total"))]
    assert len({len(line) for line in body}) == 1  # the last column is set to the right


def test_a_notebook_shows_the_table_itself():
    table = mx.summary(mx.models.lenet5())
    assert repr(table) == str(table)


# ---- AlexNet -----------------------------------------------------------------------------------------


class Zeros(np.random.Generator):
    """Draws zeros, in no time: for what hangs on shapes alone."""

    def standard_normal(self, size=None):
        return np.zeros(size, np.float32)


@pytest.fixture(scope="module")
def table():
    """Each preset's summary at its real size, made once."""
    made = {}

    def summary_of(preset, towers=None):
        if (preset, towers) not in made:
            model = alexnet(preset=preset, towers=towers, devices="cpu", rng=Zeros(np.random.PCG64()))
            made[preset, towers] = mx.summary(model)
        return made[preset, towers]

    return summary_of


# name: (output of one tower, parameters, multiply-adds), from figure 2 of the paper and by hand
PAPER = {
    "conv1": ((48, 55, 55), 34_944, 105_415_200),
    "conv2": ((128, 27, 27), 307_456, 223_948_800),
    "conv3": ((192, 13, 13), 885_120, 149_520_384),
    "conv4": ((192, 13, 13), 663_936, 112_140_288),
    "conv5": ((128, 13, 13), 442_624, 74_760_192),
    "fc6": ((2048,), 37_752_832, 37_748_736),
    "fc7": ((2048,), 16_781_312, 16_777_216),
    "fc8": ((1000,), 4_097_000, 4_096_000),
}


def test_alexnets_rows_are_the_papers(table):
    rows = {row.name: row for row in table("paper").rows}
    counted = {r.name: (r.output, r.parameters, r.multiply_adds) for r in rows.values() if r.parameters}
    assert counted == PAPER
    assert [rows[name].towers for name in PAPER] == [2] * 7 + [1]
    assert [rows[f"pool{n}"].output for n in (1, 2, 5)] == [(48, 27, 27), (128, 13, 13), (128, 6, 6)]
    assert rows["exchange_fc6"].output == (9216,)


@pytest.mark.parametrize(
    ("preset", "towers", "parameters", "multiply_adds"),
    [
        ("paper", 2, 60_965_224, 724_406_816),
        ("paper", 1, 60_965_224, 724_406_816),
        ("ungrouped", 1, 62_378_344, 1_135_256_096),
    ],
)
def test_alexnets_totals_are_the_papers(table, preset, towers, parameters, multiply_adds):
    found = table(preset, towers)
    assert (found.parameters, found.multiply_adds) == (parameters, multiply_adds)
    assert f"{multiply_adds:,}" in str(found).splitlines()[-2]


def test_most_of_the_work_is_convolution_and_most_of_the_parameters_are_not(table):
    convolutions = [row for row in table("paper").rows if row.name.startswith("conv")]
    work = sum(row.multiply_adds for row in convolutions) / table("paper").multiply_adds
    size = sum(row.parameters for row in convolutions) / table("paper").parameters
    assert (round(100 * work, 1), round(100 * (1 - size), 1)) == (91.9, 96.2)


def test_what_crosses_is_counted_where_it_crosses_all_ways_together(table):
    rows = {row.name: row.crossing_bytes for row in table("paper").rows if row.crossing_bytes}
    assert rows == {
        "broadcast_conv1": 4 * 154_587,
        "exchange_conv3": 4 * 2 * 21_632,
        "exchange_fc6": 4 * 2 * 4_608,
        "exchange_fc7": 4 * 2 * 2_048,
        "gather_fc8": 4 * 2_048,
    }


def test_one_tower_has_the_same_columns_but_where_both_towers_read_the_same(table):
    one, two = ({row.name: row.column_bytes for row in table("paper", n).rows} for n in (1, 2))
    both = ("conv1", "conv3")  # each tower reads all channels, and makes its own columns
    assert {name: two[name] / one[name] for name in one if one[name]} == {
        name: 2 if name in both else 1 for name in PAPER if name.startswith("conv")
    }
    assert one["conv2"] == 4 * 96 * 25 * 27 * 27
    assert table("paper", 1).crossing_bytes == 0


def test_a_row_of_two_towers_says_so(table):
    lines = {line.split()[0]: line for line in str(table("paper")).splitlines() if line.split()}
    assert lines["conv1"].split()[1:5] == ["Conv2D", "2", "x", "48x55x55"]
    assert lines["fc8"].split()[1:3] == ["Linear", "1000"]
    assert lines["exchange_conv3"].split()[1:5] == ["Exchange", "2", "x", "256x13x13"]
    assert lines["layer"].endswith("crossing bytes")
    assert "crossing bytes" not in str(table("paper", 1))


@pytest.mark.parametrize("devices", ["cpu", "sim:0,sim:1", "sim:1,sim:1"])
def test_a_summary_of_two_towers_reads_the_same_on_every_pair_of_devices(devices):
    small = {"num_classes": 5, "width": 0.0625, "image_size": 67}
    assert str(mx.summary(alexnet(devices=devices, **small))) == str(
        mx.summary(alexnet(devices="sim:2", **small))
    )


def test_a_summary_leaves_a_model_of_two_towers_as_it_was():
    model = alexnet(num_classes=5, width=0.0625, image_size=67, devices="sim:0,sim:1")
    logits = model.forward(model.device.asarray(np.zeros((2, 3, 67, 67), np.float32)))
    mx.summary(model)
    assert model.counters() == {"drop6.step": 1, "drop7.step": 1}
    assert all(stage.training for stage in model["drop6"].stages)
    model.backward(logits)  # what forward saved is still there


def test_an_array_in_place_of_a_shape_is_refused_with_the_shape():
    with pytest.raises(TypeError, match=r"not an array: summary\(model, \(1, 28, 28\)\)"):
        mx.summary(mx.models.lenet5(), np.zeros((5, 1, 28, 28)))


def test_what_is_no_sequential_is_one_row_with_all_that_is_inside():
    second = mx.Sequential(mx.Conv2D(4, 3, 1), mx.Conv2D(3, 2, 3, padding=1))
    block = mx.Branches({"a": mx.Conv2D(4, 2, 1), "b": second})
    (row,) = mx.summary(block, (4, 6, 6)).rows
    assert (row.output, row.parameters) == ((4, 6, 6), sum(p.value.size for p in block.parameters()))
    assert row.multiply_adds == 36 * (2 * 4 + 3 * 4 + 2 * 3 * 9)
    inside = mx.summary(mx.Sequential(block=block), (4, 6, 6)).rows[0]
    assert (inside.multiply_adds, inside.column_bytes) == (row.multiply_adds, row.column_bytes)


def test_a_network_with_exits_has_a_row_for_each_head():
    model = mx.models.googlenet(5, width=0.05)
    rows = {row.name: row for row in mx.summary(model).rows}
    assert rows["aux1"].output == rows["fc"].output == (5,)
    assert sum(row.parameters for row in rows.values()) == sum(p.value.size for p in model.parameters())
    assert rows["inception3a"].multiply_adds > 0
