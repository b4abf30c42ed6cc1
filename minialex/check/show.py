"""Arrays as text, for verdicts: small whole numbers look like small whole numbers."""

import numpy as np

MOST = 12  # rows, columns or matrices that are shown; smallest cases have far fewer; and lines of what is printed
WIDEST = 100  # characters of a line that was printed


def number(value) -> str:
    """One number, in as few characters as it takes.

    >>> number(np.float64(3)), number(-0.0), number(0.123456789), number(100000001.0), number(np.True_)
    ('3', '0', '0.123457', '100000001', '1')
    """
    if isinstance(value, (bool, np.bool_)):
        value = int(value)
    if not np.isreal(value):
        return str(value)
    text = f"{value + 0:.6g}"
    if abs(value) < 1e12 and value == round(value) != float(text):  # whole, and more digits than these
        text = f"{value:.0f}"
    return text


def lines(array, only=None) -> list[str]:
    """An array, its last two axes as a matrix; several matrices each behind their index. only: the indices of some.

    >>> print("\\n".join(lines(np.array([[[1.0, -2.0], [3.0, 4.0]], [[10.0, 0.5], [5.0, 6.0]]]))))
    [0]  1  -2
         3   4
    [1]  10  0.5
          5    6
    """
    array = np.asarray(array)
    if array.ndim < 2:
        return _matrix(array.reshape(1, -1))
    stacked, _ = matrices(array, None)
    if len(stacked) == 1:
        return _matrix(array[stacked[0]])
    found, stacked = [], stacked if only is None else only
    for index in stacked[:MOST]:
        first, *others = _matrix(array[index])
        label = str(list(index)) + "  "
        found += [label + first, *(" " * len(label) + line for line in others)]
    return found + (["..."] if len(stacked) > MOST else [])


def matrices(array, wrong) -> tuple[list[tuple[int, ...]], int]:
    """The indices of an array's matrices that have a wrong cell, and how many others there are; of None: all.

    >>> matrices(np.zeros((3, 1, 2)), np.array([[[0, 0]], [[0, 1]], [[0, 0]]]))
    ([(1,)], 2)
    """
    found = [*np.ndindex(array.shape[:-2])]
    shown = found if wrong is None else [index for index in found if np.any(wrong[index])]
    return shown, len(found) - len(shown)


def listed(names) -> str:
    """Names in a row.

    >>> listed(["y"]), listed(["y0", "y1", "crossed"])
    ('y', 'y0, y1 and crossed')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def others_are(count: int, state: str) -> str:
    """In words: what the matrices are that are not shown."""
    right = "as before" if state == "changed" else "right"
    if count == 0:
        return ""
    return f"(the other matrix is {right})" if count == 1 else f"(the other {count} matrices are {right})"


def output_of(text: str) -> list[str]:
    """What a function printed, in MOST lines at most, none of them longer than WIDEST.

    >>> output_of("x is 3\\ny is 4\\n")
    ['x is 3', 'y is 4']
    """
    found = text.rstrip("\n").split("\n")
    more = [f"... and {len(found) - MOST + 1} more lines"] if len(found) > MOST else []
    found = found[: MOST - len(more)]
    return [line if len(line) <= WIDEST else line[: WIDEST - 3] + "..." for line in found] + more


def _matrix(matrix):
    if matrix.size == 0:
        return [f"(no numbers: shape {matrix.shape})"]
    cells = [[number(value) for value in row[:MOST]] for row in matrix[:MOST]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    more = "  ..." if matrix.shape[1] > MOST else ""
    rows = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) + more for row in cells]
    return rows + (["..."] if len(matrix) > MOST else [])


def side_by_side(blocks: dict[str, list[str]]) -> list[str]:
    """Blocks of lines next to each other, each under its title.

    >>> print("\\n".join(side_by_side({"yours": ["1  2"], "expected": ["1  3"]})))
    yours    expected
    1  2     1  3
    """
    columns = [[title, *block] for title, block in blocks.items()]
    height = max(map(len, columns))
    widths = [max(map(len, column)) for column in columns]
    return [
        "    ".join(
            (column[row] if row < len(column) else "").ljust(width)
            for column, width in zip(columns, widths, strict=True)
        ).rstrip()
        for row in range(height)
    ]


def argument(name: str, value) -> list[str]:
    """One input of a case: `stride = 2`, or an array's name and shape with its numbers beside them.

    >>> argument("stride", 2), argument("x", np.zeros((1, 2)))
    (['stride = 2'], ['x (1, 2)', '  0  0'])
    """
    if not isinstance(value, np.ndarray):
        return [f"{name} = {value}"]
    return [f"{name} {value.shape}", *("  " + line for line in lines(value))]
