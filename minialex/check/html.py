"""Verdicts for notebooks: arrays as small tables whose wrong cells stand out. Plain HTML, with no script in it.

Colours are see-through, and say nothing alone: wrong cells are bold, states have a sign. So they do on a light page, on
a dark one, and for who sees no red.
"""

import re
from html import escape

import numpy as np

from minialex.check.show import MOST, matrices, number, others_are, output_of
from minialex.words import counted

GREEN, RED, GREY = "#2e8b57", "#c0392b", "#888888"
COLOURS = {"right": GREEN, "not written yet": GREY, "not seen": GREY}  # all other states: red
SIGNS = {"right": "✓", "not written yet": "–", "not seen": "–"}  # all other states: ✗
CODE = "font-family:monospace"
CELL = f"{CODE};padding:1px 7px;text-align:right;white-space:nowrap;border:1px solid rgba(128,128,128,.4)"
# Vermilion and blue: told apart by nearly all.
YOURS = CELL + ";font-weight:bold;background:rgba(213,94,0,.42)"
EXPECTED = CELL + ";font-weight:bold;background:rgba(0,114,178,.32)"
PLAIN = "padding:1px 14px 1px 0;text-align:left;vertical-align:top;border:none;background:none;max-width:none"
TABLE = "border-collapse:collapse;margin:2px 0;border:none;font-size:90%"
GAP = "margin-top:.7em"


def as_html(text: str, state: str, more: str = "") -> str:
    """A text as it is, with a colour down its side: green, red, or grey for not written yet. more: HTML below it."""
    pre = f'<pre style="margin:0;padding:0;background:none;line-height:1.3;{CODE}">{escape(text)}</pre>'
    return bar(pre + more, state)


def bar(inside: str, state: str) -> str:
    colour = COLOURS.get(state, RED)
    return (
        f'<div style="border-left:5px solid {colour};padding:2px 0 2px .8em;line-height:1.4;overflow-x:auto">'
        f"{inside}</div>"
    )


def kept_html(first: str, changed: list[str], state: str) -> str:
    """What became of an answer that should be kept: a line, and what changed, with a colour for what came and went."""
    parts = [f"<div>{prose(first)}</div>"]
    for line in changed:
        colour = {"+": "background:rgba(0,114,178,.2)", "-": "background:rgba(213,94,0,.2)"}.get(line[:1], "")
        parts.append(f'<div style="{CODE};white-space:pre-wrap;{colour}">{escape(line) or "&nbsp;"}</div>')
    return bar("".join(parts), state)


def table_html(head: list[str], rows: list[tuple[list[str], bool]], notes: list[str]) -> str:
    """Rows of texts; the last cell of each has a bar: green where the row is the learner's, grey where not."""
    cells = "".join(f'<th style="{PLAIN}">{escape(text)}</th>' for text in head)
    lines = [f"<tr>{cells}</tr>"]
    for texts, yours in rows:
        *others, last = (escape(text) for text in texts)
        edge = f"{PLAIN};border-left:5px solid {GREEN if yours else GREY};padding-left:.6em"
        cells = (
            "".join(f'<td style="{PLAIN}">{text}</td>' for text in others) + f'<td style="{edge}">{last}</td>'
        )
        lines.append(f"<tr>{cells}</tr>")
    notes = [f'<div style="margin-top:.4em">{prose(note)}</div>' for note in notes]
    return f'<table style="border-collapse:collapse;border:none">{"".join(lines)}</table>{"".join(notes)}'


def details(title: str, text: str) -> str:
    """A line that opens when it is clicked."""
    return (
        f'<details style="margin-top:.4em"><summary style="cursor:pointer">{escape(title)}</summary>'
        f'<div style="margin-left:1.1em;max-width:60em">{prose(text)}</div></details>'
    )


def prose(text: str) -> str:
    """Words with `code` in them."""
    return re.sub(r"`([^`]+)`", rf'<code style="{CODE}">\1</code>', escape(text))


def verdict_html(verdict, hints) -> str:
    """A Verdict; hints: two texts, three, or none."""
    if verdict.state == "not written yet":
        parts = [
            f"<div><b>{verdict.check}: {verdict.state}</b> (it returns None)</div>",
            _code(verdict.signature),
        ]
    else:
        parts = [
            f"<div><b>{verdict.check}: {verdict.state}</b>, {counted(verdict.cases, 'case')} tried</div>",
            _rows(verdict),
        ]
        parts += [
            f'<div style="margin-top:.4em;max-width:60em">{prose(line)}</div>' for line in verdict.named()
        ]
        for findings in verdict.together():
            parts.append(_smallest_case(findings))
    if not verdict:
        parts += _hints(hints)
    return bar("".join(parts), verdict.state)


def _hints(texts):
    """One line for each, that opens; the third, where there is one, is for the way without loops."""
    titles = ("Hint 1", "Hint 2", "Hint: without loops")
    return [details(title, text) for title, text in zip(titles, texts, strict=False)]


def caught_html(caught) -> str:
    """What became of the right answer and of each planted bug, a row for each."""
    head = f"<div><b>{escape(caught.title())}</b></div>"
    if caught.state == "not written yet":
        parts = [head, _code(caught.signature)]
    else:
        passes = caught.right == "passes"
        rows = [_row("the right answer", "", passes, caught.of_right())]
        rows += [_row(check, bug, fate != "ESCAPED", fate) for (check, bug), fate in caught.bugs.items()]
        parts = [head, _table(rows)]
        if caught.shown:
            style = (
                f"margin:2px 0 6px 0;padding:0 0 0 .6em;border-left:1px solid {GREY};background:none;{CODE}"
            )
            shown = f'<pre style="{style}">{escape(chr(10).join(caught.shown))}</pre>'
            parts = [head, _table(rows[:1]), shown, _table(rows[1:])]
    parts += _hints(caught.hints)
    return bar("".join(parts), caught.state)


def _row(what, bug, good, fate):
    sign = f'<b style="color:{GREEN if good else RED}">{"✓" if good else "✗"}</b>'
    fate = escape(fate) if good else f"<b>{escape(fate)}</b>"
    first, wide = f"{PLAIN};white-space:nowrap;{CODE if bug else ''}", f"{PLAIN};white-space:normal"
    cells = [(first, escape(what)), (wide, escape(bug)), (wide, f"{sign} {fate}")]
    return "".join(f'<td style="{style}">{cell}</td>' for style, cell in cells)


def _code(text):
    return f'<div style="{CODE}">{escape(text)}</div>'


def _rows(verdict):
    """A row for each array: its name, its state, and what is wrong."""
    rows = []
    for where, state, text in verdict.rows():
        sign = f'<b style="color:{COLOURS.get(state, RED)}">{SIGNS.get(state, "✗")}</b>'
        state = state if state == "right" else f"<b>{state}</b>"
        cells = [escape(where), f"{sign} {state}", escape(text)]
        styles = [
            f"{PLAIN};{CODE};white-space:nowrap",
            f"{PLAIN};white-space:nowrap",
            f"{PLAIN};white-space:normal",
        ]
        rows.append(
            "".join(f'<td style="{style}">{cell}</td>' for style, cell in zip(styles, cells, strict=True))
        )
    return _table(rows)


def _table(rows):
    return f'<table style="{TABLE}">' + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


# -- the smallest case -------------------------------------------------------------------------------------


def _smallest_case(findings):
    whats = " and ".join(f"{finding.where}, {finding.said}" for finding in findings)
    parts = [f'<div style="{GAP}"><b>The smallest case found for {escape(whats)}:</b></div>']
    parts += [_inputs(findings[0].case), _printed(findings[0].printed)]
    parts += [_compared(finding) for finding in findings]
    return "".join(parts)


def _inputs(case):
    """Arrays beside each other, as tables; what is no array in one line."""
    scalars = [f"{name} = {value}" for name, value in case.items() if not isinstance(value, np.ndarray)]
    arrays = [
        f'<div style="margin-right:1.6em"><div>{_titled(name, value)}</div>{_grid(value)}</div>'
        for name, value in case.items()
        if isinstance(value, np.ndarray)
    ]
    side = f'<div style="display:flex;flex-wrap:wrap;align-items:flex-start">{"".join(arrays)}</div>'
    return (side if arrays else "") + (_code(",  ".join(scalars)) if scalars else "")


def _titled(name, array):
    return f'<span style="{CODE}">{escape(name)}</span> <span style="opacity:.65">{array.shape}</span>'


def _printed(text):
    if not text:
        return ""
    lines = escape("\n".join(output_of(text)))
    style = f"margin:2px 0;padding:0 0 0 .6em;border-left:1px solid {GREY};background:none;{CODE}"
    return f'<div style="margin-top:.4em">your function printed:</div><pre style="{style}">{lines}</pre>'


def _compared(finding):
    """Yours, expected and the difference beside each other, matrix by matrix."""
    if finding.yours is None:
        return ""
    arrays, wrong = finding.side_by_side(), finding.wrong_cells
    several = len(matrices(finding.yours, None)[0]) > 1  # a single one needs no index
    head = [f'<td style="{PLAIN}"></td>' if several else ""]
    head += [f'<td style="{PLAIN}">{escape(title)}</td>' for title in arrays]
    title = f'<div style="margin-top:.4em"><b style="{CODE}">{escape(finding.where)}</b></div>'
    if wrong is None:  # of two shapes
        return title + _table(["".join(head[1:]), "".join(_plain(_grid(array)) for array in arrays.values())])
    shown, rest = matrices(finding.yours, wrong)
    styles = [YOURS, EXPECTED, YOURS]
    rows = ["".join(head)]
    for index in shown[:MOST]:
        cells = [_plain(_label(index))] if several else []
        cells += [
            _plain(_matrix(array, index, wrong, style))
            for array, style in zip(arrays.values(), styles, strict=False)
        ]
        rows.append("".join(cells))
    more = "<div>...</div>" if len(shown) > MOST else ""
    note = others_are(rest, finding.state)
    return title + _table(rows) + more + (f"<div>{note}</div>" if note else "")


def _plain(inside):
    return f'<td style="{PLAIN}">{inside}</td>'


def _label(index):
    return f'<div style="{CODE};padding-top:3px">{list(index)}</div>'


def _grid(array):
    """An array with nothing marked; several matrices each behind their index."""
    shown, _ = matrices(array, None)
    if array.ndim <= 2 or len(shown) == 1:
        return "".join(_matrix(array, index) for index in shown)
    rows = [_plain(_label(index)) + _plain(_matrix(array, index)) for index in shown[:MOST]]
    return _table(rows) + ("<div>...</div>" if len(shown) > MOST else "")


def _matrix(array, index, wrong=None, style=CELL):
    """One matrix of an array as a table, the cells that are wrong in their own style."""
    array, wrong = (None if x is None else np.atleast_2d(np.asarray(x)[index]) for x in (array, wrong))
    if array.size == 0:
        return f"(no numbers: shape {array.shape})"
    rows = []
    for i, row in enumerate(array[:MOST]):
        cells = [
            f'<td style="{CELL if wrong is None or not wrong[i, j] else style}">{escape(number(value))}</td>'
            for j, value in enumerate(row[:MOST])
        ]
        rows.append("".join(cells) + (f'<td style="{CELL}">...</td>' if len(row) > MOST else ""))
    if len(array) > MOST:
        rows.append(f'<td style="{CELL}">...</td>')
    return _table(rows)
