"""A digit that is drawn with the keyboard becomes one as MNIST has them."""

import numpy as np
import pytest

from minialex.data import digit_from_picture, digit_from_text, load_drawn_digits
from minialex.errors import DataError

DIGITS = {
    0: "..####. .#....# #......# #......# #......# #......# #......# #......# .#....# ..####.",
    1: "...## ..### .#### ...## ...## ...## ...## ...## ...## ...##",
    2: "..####.. .#....#. .......# .......# ......#. .....#.. ....#... ...#.... ..#..... .#...... ########",
    3: ".#####.. ......#. .......# .......# ......#. ..####.. ......#. .......# .......# ......#. .#####..",
    4: "......#.. .....##.. ....#.#.. ...#..#.. ..#...#.. .#....#.. ######### ......#.. ......#.. ......#..",
    5: "######## #....... #....... #####... #....#.. ......#. .......# .......# #.....#. .#####..",
    6: "....###. ...#.... ..#..... .#...... .#...... .#.###.. .##...#. .#.....# .#.....# ..#...#. ...###..",
    7: "######## .......# ......#. ......#. .....#.. .....#.. ....#... ....#... ...#.... ...#.... ..#.....",
    8: "..####.. .#....#. .#....#. .#....#. ..####.. .#....#. #......# #......# .#....#. ..####..",
    9: "..####.. .#....#. #......# #......# .#....## ..####.# .......# .......# ......#. .....#.. ..###...",
}
DRAWINGS = {digit: rows.replace(" ", "\n") for digit, rows in DIGITS.items()}
SEVEN = DRAWINGS[7]


def test_digits_that_are_typed_look_like_drawn_digits():
    (known, labels), _ = load_drawn_digits(train=1500, test=0)
    known = known.reshape(len(known), -1) / 255.0
    read = {}
    for digit, drawing in DRAWINGS.items():
        distances = ((known - digit_from_text(drawing).ravel() / 255.0) ** 2).sum(axis=1)
        read[digit] = int(np.bincount(labels[np.argsort(distances)[:5]]).argmax())
    assert sum(digit == found for digit, found in read.items()) >= 8, read


@pytest.mark.parametrize("digit", DRAWINGS)
def test_a_digit_fills_20_pixels_and_has_its_centre_of_mass_in_the_middle(digit):
    image = digit_from_text(DRAWINGS[digit])
    assert image.shape == (1, 28, 28)
    assert image.dtype == np.uint8
    assert image.max() == 255
    sides = [np.ptp(np.flatnonzero(image[0].max(axis=axis))) + 1 for axis in (0, 1)]
    assert 18 <= max(sides) <= 20
    for axis in (0, 1):
        mass = image[0].sum(axis=1 - axis) / image.sum()
        assert abs(mass @ np.arange(28) - 14) <= 0.51  # a whole pixel is as near as it gets


def test_edges_are_soft():
    image = digit_from_text(DRAWINGS[0])
    assert ((image > 0) & (image < 255)).sum() > (image == 255).sum()


def test_a_typed_digit_is_what_a_photograph_of_it_is():
    ink = np.array([[c == "#" for c in row] for row in DRAWINGS[2].split()])
    photograph = np.pad(np.where(np.kron(ink, np.ones((16, 16))), 20, 240), 60, constant_values=240)
    image = digit_from_picture(photograph.astype(np.uint8)).image
    likeness = np.corrcoef(image.ravel(), digit_from_text(DRAWINGS[2]).ravel())[0, 1]
    assert likeness > 0.7  # mirrored: 0.5


@pytest.mark.parametrize(
    "same",
    [
        SEVEN.replace(".", " "),
        SEVEN.replace("#", "@"),
        SEVEN.replace("#", "█").replace(".", "\u00a0"),
        "\n\n" + SEVEN + "\n   \n",
        "\n".join("      " + row + "..." for row in SEVEN.split()),
        "\n".join(row.rstrip(".") for row in SEVEN.split()),
        SEVEN.replace("\n", "\r\n"),
        "\n".join("\t" + row for row in SEVEN.split()),
    ],
)
def test_other_characters_margins_and_line_ends_make_no_difference(same):
    assert (digit_from_text(same) == digit_from_text(SEVEN)).all()


def test_thin_strokes_of_a_large_drawing_are_thickened():
    size = 40
    large = "\n".join("." * i + "#" + "." * (size - i) for i in range(size))
    assert (digit_from_text(large)[0] > 127).sum() > 30


def test_a_stroke_of_one_column_is_a_one():
    image = digit_from_text("#\n" * 10)[0]
    assert (image.max(axis=0) > 127).sum() == 2
    assert (image.max(axis=1) > 127).sum() >= 18


def test_a_digit_that_lies_is_scaled_by_its_width():
    image = digit_from_text("#######\n" * 5)[0]
    assert (image.max(axis=0) > 50).sum() >= 18
    assert (image.max(axis=1) > 50).sum() <= 16


@pytest.mark.parametrize(
    ("drawing", "says"),
    [
        ("", "no ink: 0 rows of dots and spaces"),
        ("....\n    \n....", "no ink: 3 rows of dots and spaces. Draw with another character"),
        ("####", "the drawing's ink is 1 row tall"),
        ("....\n" * 9 + "##\n" * 4, "the drawing's ink is 4 rows tall, .* at least 5 rows"),
        (("#" * 10 + "\n") * 6, "10 characters wide and 6 rows tall, .* one digit alone"),
        (SEVEN.replace("\n", "   "), "1 row tall"),
    ],
)
def test_a_drawing_that_is_no_digit_is_refused(drawing, says):
    with pytest.raises(DataError, match=says):
        digit_from_text(drawing)


@pytest.mark.parametrize("drawing", [None, 7, SEVEN.split(), SEVEN.encode(), np.zeros((28, 28))])
def test_what_is_no_string_is_refused(drawing):
    with pytest.raises(TypeError, match=f"one string, .* not {type(drawing).__name__}$"):
        digit_from_text(drawing)
