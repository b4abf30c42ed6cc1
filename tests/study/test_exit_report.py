"""What exits are worth on pictures: counted and timed as they really leave, set on one half and told of the other."""

import numpy as np
import pytest

import minialex as mx
from minialex.data.folder import PictureList
from minialex.data.loader import ArrayBatches
from minialex.study import exit_report
from minialex.study.leaving import answers_of, exit_costs, leaving


@pytest.fixture(scope="module")
def model():
    return mx.models.smartnet(2, 3, preset="small", width=0.1, image_size=8, rng=1)


def batches(model, count=10, size=4):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((count, *model.picture_shape)).astype(np.float32)
    return ArrayBatches(x, rng.integers(0, 3, count), size)


def test_what_really_leaves_is_what_the_answers_say(model):
    data = batches(model)
    answers = answers_of(model, data)
    for leave_at in (0.0, float(np.sort(answers.sure[:, 0])[5] - 1e-4), 1.0):
        left = exit_report.leave(model, data, leave_at=leave_at)
        wanted = leaving(answers, exit_costs(model), leave_at)
        assert left.leaving.pictures == wanted.pictures
        assert (left.leaving.error, left.leaving.cost) == (wanted.error, wanted.cost)
        assert left.acc1_to_the_end == pytest.approx(100 * (1 - answers.errors()[-1]))
        assert min(left.seconds, left.seconds_to_the_end) > 0


def test_the_network_is_as_it_was_before(model):
    for mode, own in ((True, 0.3), (False, None)):
        model.train(mode).leave_at = own
        exit_report.leave(model, batches(model), leave_at=0.5)
        with pytest.raises(ValueError, match="there are no pictures"):
            exit_report.leave(model, Nothing(), leave_at=0.5)
        assert (model.training, model.leave_at) == (mode, own)


class Nothing:
    def in_order(self):
        return iter(())


def test_seconds_are_those_of_a_thousand_pictures_without_the_reading(model, monkeypatch):
    ticks = iter(np.arange(0, 1000, 0.5))  # each look at the clock is half a second later
    monkeypatch.setattr(exit_report.time, "perf_counter", lambda: next(ticks))
    left = exit_report.leave(model, batches(model, count=8, size=4), leave_at=0.5)
    assert (left.seconds, left.seconds_to_the_end) == (125, 125)  # 2 batches, 1 second for 8 pictures


def test_halves_are_spread_over_the_list():
    pictures = PictureList([str(i) for i in range(5)], np.array([0, 0, 1, 1, 2]), ["a", "b", "c"])
    one, other = exit_report.every_second(pictures)
    assert [list(map(int, half.files)) for half in (one, other)] == [[0, 2, 4], [1, 3]]
    with pytest.raises(ValueError, match="one picture cannot be halved"):
        exit_report.every_second(one.part(np.array([0])))


def test_the_network_that_is_cut_stays_as_it_is(model, tmp_path):
    said = []
    model.children()["block1"].nodes["layer2"].gate.weight.value[0] = 0
    before = exit_costs(model)
    cut = exit_report.keep_cut(model, tmp_path / "cut.safetensors", {"side": 9}, said.append)
    assert exit_costs(model) == before > exit_costs(cut)
    assert mx.weights.read_record(tmp_path / "cut.safetensors")["side"] == 9
    assert said[0].startswith("1 of ")
    assert (
        said[1]
        == f"exit 1: {before[0]:,} -> {exit_costs(cut)[0]:,}, exit 2: {before[1]:,} -> {exit_costs(cut)[1]:,}"
    )


def test_where_nothing_is_closed_nothing_is_cut_and_no_file_is_left(tmp_path):
    whole, said = mx.models.smartnet(2, 3, preset="small", width=0.1, image_size=8), []
    (tmp_path / "cut.safetensors").touch()  # of other weights
    assert exit_report.keep_cut(whole, tmp_path / "cut.safetensors", None, said.append) is whole
    assert not list(tmp_path.iterdir())
    assert said == ["0 of 50 gates are closed: there is nothing to cut out, and no cut.safetensors."]
