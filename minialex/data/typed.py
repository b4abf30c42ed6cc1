"""A digit drawn with the keyboard, in rows of characters, to a picture as MNIST has them."""

import numpy as np

from minialex.data import ink as inks
from minialex.errors import DataError
from minialex.words import counted

FEWEST_ROWS = 5  # of ink: with fewer, a 3 and an 8 are all but the same
WIDEST = 1.5  # times as wide as tall: a digit is not
FINER = 8  # pixels that a character becomes, each way: strokes can grow by less than a character


def digit_from_text(drawing: str) -> np.ndarray:
    '''A digit drawn as rows of characters, uint8 (1, 28, 28), light on dark, for a network that was trained on MNIST.

    A dot or a space is paper, anything else is ink; short rows are filled up with paper. A character counts as a
    square, though it is shown taller than wide: 10 to 14 rows and nearly as many columns do well. As in
    `digit_from_picture` the digit's longer side becomes 20 pixels, strokes that are thin are thickened, and the centre
    of mass comes to lie in the middle of 28x28. Edges become soft.

    Raises TypeError for what is no string; DataError for a drawing without ink, less than 5 rows tall, or more than
    one and a half times as wide as tall.

    >>> digit = digit_from_text("""
    ...     ..####..
    ...     .....##.
    ...     ....##..
    ...     ...##...
    ...     ...##...
    ...     ...##...
    ... """)
    >>> digit.shape, digit.dtype, int(digit.max())
    ((1, 28, 28), dtype('uint8'), 255)
    >>> rows = np.flatnonzero(digit[0].max(axis=1))
    >>> rows.size                                                # the longer side
    20
    '''
    if not isinstance(drawing, str):
        raise TypeError(
            "digit_from_text takes a drawing as one string, rows of characters with line ends between them, not "
            f"{type(drawing).__name__}"
        )
    ink = _ink(drawing.expandtabs())
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        raise DataError(
            f"the drawing has no ink: {counted(len(ink), 'row')} of dots and spaces. "
            "Draw with another character, such as #."
        )
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ink.shape
    if height < FEWEST_ROWS:
        raise DataError(
            f"the drawing's ink is {height} row{'s' * (height > 1)} tall, which is too little for a digit: draw at "
            f"least {FEWEST_ROWS} rows, better 10 to 14, with line ends between them."
        )
    if width > WIDEST * height:
        raise DataError(
            f"the drawing's ink is {counted(width, 'character')} wide and {counted(height, 'row')} tall, "
            "and a digit is not wider than tall: "
            "a character counts as a square. Draw more rows or shorter ones, and one digit alone."
        )
    fine = inks.resized(np.pad(ink, 1), FINER)[FINER // 2 : -FINER // 2, FINER // 2 : -FINER // 2]
    image = inks.centred(inks.scaled(inks.thick_enough(fine, [])))
    return inks.as_uint8(image)[None]


def _ink(drawing: str) -> np.ndarray:
    """Rows of characters as 0 for paper and 1 for ink, (rows, columns), float32."""
    rows = drawing.splitlines()
    width = max(map(len, rows), default=0)
    ink = np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        ink[i, : len(row)] = [c != "." and not c.isspace() for c in row]
    return ink
