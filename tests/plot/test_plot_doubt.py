"""The picture of a trade-off: pictures called unsure, against digits that are refused."""

import pytest

from minialex import plot


def test_each_kind_has_a_line_and_the_limit_one_more(tmp_path):
    kinds = {"letters": [(0.5, 70.0), (1.0, 80.0)], "pairs": [(0.5, 95.0), (1.0, 99.0)]}
    axes = plot.unsure_curve(kinds, chosen=0.7, path=tmp_path / "curve.png").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["letters", "pairs"]
    assert axes.lines[0].get_ydata().tolist() == [70.0, 80.0]
    assert axes.lines[2].get_xdata()[0] == 0.7
    assert (tmp_path / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize("curves", [{}, {"letters": []}])
def test_no_curve_is_told(curves):
    with pytest.raises(ValueError, match="there are no curves to show"):
        plot.unsure_curve(curves)
