"""What a run says and records: sums over pictures, log lines, rows of the history, a word on a loss that stays."""

import math
import re

import pytest

from minialex.training.reports import AccuracyReport, ErrorReport, Pace, Scores

ROW = {"epoch": 3, "lr": 0.01, "train_acc1": 10.0, "val_loss": 2.3, "val_acc1": 10.0, "val_acc5": 50.0}
ROW |= {"images_per_second": 100.0, "seconds": 9.0}


def test_scores_are_means_over_pictures_not_over_batches():
    scores = Scores()
    scores.add(loss=1.0, right1=3, right5=4, count=4)
    scores.add(loss=4.0, right1=0, right5=1, count=2)
    assert scores.loss == pytest.approx(2.0)
    assert (scores.acc1, scores.acc5, scores.error) == pytest.approx((50.0, 500 / 6, 50.0))


def test_scores_since_then_are_what_came_after():
    then, now = Scores(2.0, 1, 1, 2), Scores(5.0, 2, 4, 6)
    assert now.since(then) == Scores(3.0, 1, 3, 4)


def test_a_log_line_tells_time_loss_accuracy_and_rate_of_the_steps_since_the_last():
    lines = []
    recent, so_far = Scores(42.1, 172, 385, 1000), Scores(1e9, 0, 0, 2000)
    recent.loss_sum *= 100
    AccuracyReport(say=lines.append).look(Pace(2, 120, 5005, 0.01, 0.0123, 0.314, recent, so_far))
    assert lines == ["Epoch [3][120/5005] data 0.01s step 0.31s loss 4.210 Acc@1 17.2 Acc@5 38.5 lr 0.01"]


def test_a_row_has_the_columns_in_their_order_and_percent():
    report = AccuracyReport()
    row = report.row(1, 0.01, Scores(40.0, 5, 9, 20), {"holdout": Scores(6.0, 1, 3, 4)}, 7.0, 5.0)
    assert tuple(row) == report.columns
    assert list(row.values()) == [1, 0.01, 2.0, 25.0, 1.5, 25.0, 75.0, 4.0, 7.0]
    assert report.held_out_error(row) == 75.0


def test_an_epoch_is_one_line():
    line = AccuracyReport().line({**ROW, "train_loss": 2.345}, epochs=90)
    assert line.startswith("Epoch [3/90] train loss 2.345 Acc@1 10.0  val loss 2.300")
    assert "\n" not in line


def advice_after(losses, classes=10):
    report = AccuracyReport(classes=classes)
    return ["try" in report.line({**ROW, "train_loss": loss}, 90).lower() for loss in losses]


def test_a_loss_that_stays_at_ln_of_the_classes_for_three_epochs_is_noticed():
    stay = math.log(10)
    assert advice_after([stay, stay + 0.004, stay - 0.004, stay, stay, stay]) == [False, False, True] * 2


@pytest.mark.parametrize("losses", [[2.303, 2.303, 2.2, 2.303, 2.303], [1.0] * 4, [4.0] * 4])
def test_a_loss_that_moves_or_is_elsewhere_is_let_be(losses):
    assert not any(advice_after(losses))


def test_without_a_number_of_classes_there_is_no_advice():
    assert not any(advice_after([0.0] * 4, classes=None))


def test_the_advice_says_what_to_try():
    report = AccuracyReport(classes=1000)
    for _ in range(3):
        text = report.line({**ROW, "train_loss": 6.908}, 90)
    assert "stayed at ln(1000) = 6.908 for 3 epochs" in text
    assert all(re.search(word, text) for word in ("--lr", "--seed", "class folders", "init='he'"))


def test_a_loss_of_several_exits_stays_at_as_many_times_ln_of_the_classes():
    report = AccuracyReport(classes=10, losses=1.6)
    texts = [report.advice({"train_loss": 1.6 * math.log(10)}) for _ in range(3)]
    assert texts[:2] == [[], []]
    assert "stayed at 1.6 ln(10) = 3.684 for 3 epochs" in texts[2][0]


def test_lenet_counts_errors():
    report = ErrorReport()
    row = report.row(2, 0.1, Scores(10.0, 8, 10, 10), {"test": Scores(3.0, 3, 4, 4)}, 7.0, 5.0)
    assert tuple(row) == report.columns
    assert (row["train_error"], row["test_error"], report.held_out_error(row)) == (20.0, 25.0, None)
    assert "test loss 0.7500 error 25.00 %" in report.line(row, epochs=10)
