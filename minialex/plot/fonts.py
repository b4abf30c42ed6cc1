"""Names in other scripts than our font has: a font of this machine that has them, or else words in ASCII.

matplotlib draws a box for a character that its font lacks, and warns. Here each picture's texts are looked at before it
is drawn (`readable`). Fonts are searched only where a character is missing, and once for the same characters.
"""

import sys
import unicodedata

from matplotlib import get_cachedir
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FAMILY = "DejaVu Sans"  # which comes with matplotlib
BOXES = ("Last Resort", "Adobe Blank")  # fonts that have every character, as a box or as nothing
_family: dict[str, str | None] = {}  # that has the character; None: there is none
_said: set[str] = set()


def class_names(classes) -> list[str]:
    """The names as a picture can show them: one that no font can show is "class 3", by its number.

    >>> class_names(["cat", "café", "$5 or $6"])
    ['cat', 'café', '\\\\$5 or \\\\$6']
    """
    names = [str(name) for name in classes]
    _fonts_with(_missing(Text(text="".join(names), family=FAMILY)))  # for all at once
    lost = {i: missing for i, name in enumerate(names) if (missing := _lost(name))}
    if lost:
        _say(set().union(*lost.values()), f"class {next(iter(lost))}")
    return [f"class {i}" if i in lost else name.replace("$", r"\$") for i, name in enumerate(names)]


def width(text: str) -> int:
    """How wide a text is, in letters: characters of Chinese, Japanese and Korean are twice as wide as others.

    >>> width("cat"), width("猫")
    (3, 2)
    """
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def shortened(text: str, most: int) -> str:
    """At most so wide, with a mark where it was cut.

    >>> shortened("cat", 4), shortened("wildcat", 4), shortened("猫猫猫", 4)
    ('cat', 'wil…', '猫…')
    """
    if width(text) <= most:
        return text
    while width(text) >= most:
        text = text[:-1]
    return text + "…"


def readable(figure) -> None:
    """Give each text of a figure a font for what its own lacks; what none has becomes `\\u732b`, as in Python."""
    wanting = {text: missing for text in figure.findobj(Text) if (missing := _missing(text))}
    _fonts_with(set().union(*wanting.values()))  # for all at once
    for text, missing in wanting.items():
        text.set_fontfamily([*text.get_fontfamily(), *_fonts_with(missing)])
        if _missing(text):  # found in a font that has them in one weight alone
            text.set_fontweight("normal")
    lost = {text: missing for text in wanting if (missing := _missing(text))}
    if not lost:
        return
    characters = set().union(*lost.values())
    _say(characters, _escaped(min(characters), characters))
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        labels = axis.get_ticklabels()
        if any(label in lost for label in labels):  # the axis writes them anew when it is drawn
            axis.set_ticks(axis.get_ticklocs(), [_escaped(label.get_text(), characters) for label in labels])
    for text in lost:
        text.set_text(_escaped(text.get_text(), characters))


def _missing(text: Text) -> set[str]:
    """The characters of a text that its fonts lack."""
    words = text.get_text()
    if words.isascii() and words.isprintable():
        return set()
    own, fonts = text.get_fontproperties(), []
    for family in own.get_family():
        one = own.copy()
        one.set_family(family)
        fonts.append(get_font(findfont(one)))
    return {c for c in words if c != "\n" and not any(font.get_char_index(ord(c)) for font in fonts)}


def _lost(name: str) -> set[str]:
    """The characters of a name that no font has."""
    text = Text(text=name, family=FAMILY)
    if missing := _missing(text):
        text.set_fontfamily([FAMILY, *_fonts_with(missing)])
        return _missing(text)
    return missing


def _fonts_with(characters: set[str]) -> list[str]:
    """Families that have as many of these as there are: plain upright ones, without serifs, first."""
    if left := characters - _family.keys():
        _family.update(dict.fromkeys(left))
        for entry in sorted(fontManager.ttflist, key=_rank):
            if not left:
                break
            if entry.name == FAMILY or entry.name.startswith(BOXES):
                continue
            try:
                font = FT2Font(entry.fname)
                here = {character for character in left if font.get_char_index(ord(character))}
            except (OSError, RuntimeError):  # gone since matplotlib made its list, or damaged
                continue
            _family.update(dict.fromkeys(here, entry.name))
            left -= here
    return sorted({family for character in characters if (family := _family[character])})


def _rank(entry):
    plain = entry.weight in (400, "normal", "regular") and entry.style == "normal"
    return not plain, "Sans" not in entry.name, entry.name


def _escaped(words, characters):
    return "".join(ascii(c)[1:-1] if c in characters else c for c in words)


def _say(characters, instead):
    """In the first picture that lacks something; the others show in the same way what they lack."""
    if _said:
        return
    _said.update(characters)
    found = [c if c.isprintable() else ascii(c)[1:-1] for c in sorted(characters)]
    shown = " ".join(found[:5]) + (" ..." if len(found) > 5 else "")
    print(
        f"No font here has {shown}: pictures say {instead} or the like instead. Install one that does (Noto Sans CJK "
        f"for Chinese, Japanese and Korean), and delete matplotlib's list of fonts in {get_cachedir()}.",
        file=sys.stderr,
    )
