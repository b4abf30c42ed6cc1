"""Names in scripts that our font lacks: shown where a font of the machine has them, in ASCII where none has."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text

from minialex import plot
from minialex.plot import fonts
from minialex.study.leaving import Answers

NAMES = ["cat", "猫", "犬"]  # no font that comes with matplotlib has the last two


@pytest.fixture(autouse=True)
def few_fonts(monkeypatch):
    """Those that come with matplotlib, whatever is installed; nothing was said yet."""
    own = [f for f in font_manager.fontManager.ttflist if "mpl-data" in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(fonts, "_said", set())
    monkeypatch.setattr(fonts, "_family", {})


@pytest.fixture
def han(tmp_path):
    """A font that has the two, as squares, and nothing else."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", "one", "two"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord("猫"): "one", ord("犬"): "two"})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": "Han Sans of a test", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=880, usWeightClass=400)
    builder.setupPost()
    builder.save(tmp_path / "han.ttf")
    font_manager.fontManager.addfont(tmp_path / "han.ttf")


def words(figure):
    figure._repr_png_()  # with a warning for each character that is missing, which are errors here
    return {text.get_text() for text in figure.findobj(Text)}


def confusion():
    return plot.confusion(np.eye(3, dtype=int), classes=NAMES)


def neighbours():
    pictures = np.zeros((3, 1, 4, 4))
    return plot.neighbours(pictures, [0, 1, 2], NAMES, [0], [[1, 2]])


def leavers():
    answers = Answers(np.array([[0], [1], [2]]), np.array([[0.5], [0.6], [0.7]]), np.zeros((3, 1), bool))
    return plot.leavers(np.zeros((3, 1, 4, 4)), [0, 1, 2], answers, [1, 1, 1], NAMES)


FIGURES = {
    "confusion": confusion, "neighbours": neighbours, "leavers": leavers,
    "bars": lambda: plot.bars({"pictures": {"cat": 1, "猫": 2, "犬": 3}}, title="猫"),
    "costs": lambda: plot.costs({"猫": (1e6, 5.0, 100), "犬": (2e6, 7.0, 100)}),
    "lines": lambda: plot.lines({"猫": ([0, 1], [0, 1]), "犬": ([0, 1], [1, 3])}, xlabel="猫"),
    "images": lambda: plot.images(np.zeros((2, 4, 4)), ["猫", "犬"], title="犬"),
    "digits": lambda: plot.digits(np.zeros((2, 4, 4)), ["猫", "犬"]),
    "numbers": lambda: plot.numbers({"猫": np.ones((2, 2)), "犬": np.ones((2, 2))}),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_font_that_has_the_characters_is_taken(name, han, capsys):
    shown = "".join(words(FIGURES[name]()))
    assert {"猫", "犬"} <= set(shown)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", FIGURES)
def test_without_such_a_font_the_names_are_ascii_and_one_sentence_says_so(name, capsys):
    figure = FIGURES[name]()
    shown = words(figure)
    assert not [text for text in shown if "猫" in text or "犬" in text]
    of_classes = name in ("confusion", "neighbours", "leavers")
    for told in ("class 1", "class 2") if of_classes else (r"\u732b", r"\u72ac"):
        assert [text for text in shown if told in text]
    err = capsys.readouterr().err
    told = "class 1" if of_classes else r"\u732b" if name == "costs" else r"\u72ac"
    assert err.startswith(
        f"No font here has {'猫' if name == 'costs' else '犬 猫'}: pictures say {told} or the like"
    )
    assert err.count("\n") == 1
    words(figure)
    words(FIGURES[name]())
    assert capsys.readouterr().err == ""


def test_a_picture_with_the_font_has_its_glyphs(han):
    """In place of the name stands what the font draws: the same picture without it is another one."""
    shown = confusion()._repr_png_()
    assert shown != plot.confusion(np.eye(3, dtype=int), classes=["cat", "class 1", "class 2"])._repr_png_()


def test_bold_where_the_font_has_one_weight(han):
    figure = plot.lines({"猫": ([0, 1], [0, 1])}, title="dog")
    assert "猫" in words(figure)


def test_only_what_is_missing_changes():
    """Most of Europe's letters are in our font, and a picture with them is as it was."""
    figure = plot.confusion(np.eye(3, dtype=int), classes=["été", "κύων", "кот"])
    assert {"été", "κύων", "кот"} <= words(figure)
    assert {text.get_fontfamily()[0] for text in figure.findobj(Text)} == {"DejaVu Sans"}


def test_a_name_of_a_file_that_is_no_text_is_shown_too(capsys):
    assert {"class 0", "class 2"} <= words(
        plot.confusion(np.eye(3, dtype=int), classes=["\udcff", "b", "a\tb"])
    )
    assert r"No font here has \t \udcff: pictures say class 0" in capsys.readouterr().err


def test_dollars_in_names_are_no_formula():
    figure = plot.confusion(np.eye(3, dtype=int), classes=["$_$", "5$", "$x$"])
    assert figure._repr_png_()


def test_wide_names_stand_upright_and_are_cut_sooner(han):
    names = ["猫猫猫", "犬", "cat"]
    ticks = plot.confusion(np.eye(3, dtype=int), classes=names).axes[0].get_xticklabels()
    assert {tick.get_rotation() for tick in ticks} == {90}
    figure = plot.neighbours(np.zeros((3, 1, 4, 4)), [0, 1, 2], ["猫" * 20, "犬", "cat"], [0], [[1, 2]])
    assert "猫" * 8 + "…" in words(figure)


def test_fonts_are_searched_once_for_a_thousand_names(monkeypatch):
    opened = []
    monkeypatch.setattr(fonts, "FT2Font", lambda path: opened.append(path) or font_manager.get_font(path))
    names = [f"猫{chr(0x4E00 + i)}" for i in range(1000)]
    for _ in range(2):
        assert fonts.class_names(names)[999] == "class 999"
    assert len(opened) == len(set(opened)) > 1
