"""Pictures of digits become MNIST-like digits: whatever the file, the ink, the light and the size."""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from minialex.data import ink as inks
from minialex.data.digits import draw_digits
from minialex.data.mnist import read_idx
from minialex.data.photo import as_text, digit_from_picture
from minialex.errors import DataError


def real_test_images() -> Path | None:
    """MNIST's test pictures, or None."""
    place = os.environ.get("MINIALEX_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(place) / "mnist" / "t10k-images-idx3-ubyte.gz"
    return path if path.is_file() else None


def a_seven(
    width: int = 300, height: int = 300, paper: int = 255, ink: int = 0, pen: int = 24
) -> Image.Image:
    """A 7 in the middle half of a sheet of paper."""
    picture = Image.new("L", (width, height), paper)
    x, y = width / 4, height / 4
    corners = [(x, y), (3 * x, y), (1.6 * x, 3 * y)]
    ImageDraw.Draw(picture).line(corners, fill=ink, width=pen, joint="curve")
    return picture


SEVEN = digit_from_picture(a_seven()).image


def difference(image: np.ndarray, other: np.ndarray = SEVEN) -> float:
    """The mean difference of two pictures in levels, at the best of shifts by up to a pixel."""
    shifted = [np.roll(image, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min(np.abs(one.astype(float) - other).mean() for one in shifted)


# -- The result --------------------------------------------------------------------------------------------


def test_the_result_is_shaped_like_mnist():
    assert (SEVEN.shape, SEVEN.dtype, SEVEN.max()) == ((28, 28), np.uint8, 255)
    rows, columns = np.flatnonzero(SEVEN.any(axis=1)), np.flatnonzero(SEVEN.any(axis=0))
    assert np.ptp(rows) + 1 == 20
    assert 10 < np.ptp(columns) + 1 < 20
    centre = [SEVEN.sum(axis=axis) @ np.arange(28) / SEVEN.sum() for axis in (0, 1)]
    assert np.abs(np.array(centre) - 14).max() <= 0.5


def test_a_digit_is_not_mirrored_or_turned():
    rows = SEVEN[SEVEN.any(axis=1)]
    assert rows[:3].sum() > 2 * rows[-3:].sum()  # the bar is on top
    assert np.flatnonzero(rows[-3:].any(axis=0)).mean() < 14  # and the foot stands at the left


def test_steps_lead_from_the_picture_to_the_result_for_display():
    prepared = digit_from_picture(a_seven(400, 300))
    names, pictures = zip(*prepared.steps, strict=True)
    assert names == ("as read", "paper removed", "ink alone", "cropped", "as MNIST")
    assert all(picture.dtype == np.uint8 and picture.ndim == 2 for picture in pictures)
    assert pictures[0].shape == pictures[1].shape == pictures[2].shape == (300, 400)
    np.testing.assert_array_equal(pictures[0], np.asarray(a_seven(400, 300)))
    np.testing.assert_array_equal(pictures[-1], prepared.image)


def test_notes_say_what_was_done():
    assert digit_from_picture(a_seven()).notes == [
        "turned dark-on-light to light-on-dark",
        "cropped to the ink, 162x168 of 300x300 pixels",
        "scaled into 20x20 pixels and centred by its centre of mass",
    ]


def test_several_digits_in_a_row_are_remarked_on():
    row = Image.new("L", (900, 300), 255)
    for place in range(3):
        row.paste(a_seven(), (300 * place, 0))
    assert "the ink is much wider than tall: if there are several digits, show them one by one" in (
        digit_from_picture(row).notes
    )


@pytest.mark.skipif(real_test_images() is None, reason="no MNIST files on this machine")
def test_mnists_own_pictures_stay_nearly_as_they_are():
    pictures = read_idx(real_test_images())[:100]
    differences = [difference(digit_from_picture(picture).image, picture) for picture in pictures]
    assert np.mean(differences) < 3
    assert np.max(differences) < 12


def test_a_drawn_digit_survives_a_larger_picture_of_itself():
    for digit in draw_digits(20)[0][:, 0]:
        small = digit_from_picture(digit).image
        large = Image.fromarray(digit).resize((280, 280), Image.Resampling.BICUBIC)
        assert difference(digit_from_picture(large).image, small) < 18  # of 255; its edges are softer


# -- Kinds of pictures -------------------------------------------------------------------------------------


def transparent(ink: str) -> Image.Image:
    picture = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    picture.paste(Image.new("RGBA", (300, 300), ink), mask=a_seven(paper=0, ink=255))
    return picture


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(a_seven(), dtype=np.uint16) * 257)


KINDS = {
    "grey": a_seven,
    "light on dark": lambda: a_seven(paper=0, ink=255),
    "grey on grey": lambda: a_seven(paper=150, ink=100),
    "RGB": lambda: a_seven().convert("RGB"),
    "blue ink": lambda: Image.merge("RGB", [a_seven(), a_seven(), a_seven(ink=200)]),
    "palette": lambda: a_seven().convert("P"),
    "one bit": lambda: a_seven().convert("1"),
    "CMYK": lambda: a_seven().convert("RGB").convert("CMYK"),
    "16 bits": sixteen_bits,
    "32 bits": lambda: Image.fromarray(np.asarray(a_seven(), dtype=np.int32)),
    "floats to 1": lambda: Image.fromarray(np.asarray(a_seven(), dtype=np.float32) / 255),
    "black on nothing": lambda: transparent("black"),
    "white on nothing": lambda: transparent("white"),
    "grey with alpha": lambda: transparent("black").convert("LA"),
    "an array": lambda: np.asarray(a_seven()),
    "an RGB array": lambda: np.asarray(a_seven().convert("RGB")),
    "an array of booleans": lambda: np.asarray(a_seven()) > 0,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_gives_the_same_digit(kind):
    assert difference(digit_from_picture(KINDS[kind]()).image) < 2


def test_a_given_picture_is_not_changed():
    array = np.array(a_seven())
    before = array.copy()
    digit_from_picture(array)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_files_are_read_by_path_or_text(tmp_path, suffix):
    path = tmp_path / f"seven.{suffix}"
    a_seven().save(path)
    assert difference(digit_from_picture(path).image) < 4
    assert difference(digit_from_picture(str(path)).image) < 4


def test_a_16_bit_file_is_not_cut_to_8_bits(tmp_path):
    sixteen_bits().save(tmp_path / "seven.png")
    assert difference(digit_from_picture(tmp_path / "seven.png").image) < 2


def test_a_palette_file_with_a_transparent_colour_is_laid_on_white(tmp_path):
    picture = a_seven().convert("P")
    picture.save(tmp_path / "seven.png", transparency=255)  # the paper's place in the palette
    prepared = digit_from_picture(tmp_path / "seven.png")
    assert difference(prepared.image) < 2
    assert "laid the transparent picture on white" in prepared.notes


def test_white_ink_on_nothing_is_laid_on_black():
    assert "laid the transparent picture on black" in digit_from_picture(transparent("white")).notes


def test_a_photograph_is_turned_as_the_camera_noted(tmp_path):
    lying = a_seven().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn clockwise by 90 degrees to see it upright"
    lying.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    prepared = digit_from_picture(tmp_path / "photo.jpg")
    assert difference(prepared.image) < 4
    assert prepared.notes[0] == "turned upright, as the camera noted"


# -- Light, pens and places --------------------------------------------------------------------------------


def photograph(digit: Image.Image, noise: float = 5, seed: int = 0) -> Image.Image:
    """A sheet under a lamp: bright at the right, in shadow at the lower left, with grain and two dots of dirt."""
    grey = np.asarray(digit, dtype=np.float32) / 255
    y, x = np.mgrid[0 : 1 : 1j * grey.shape[0], 0 : 1 : 1j * grey.shape[1]]
    light = 130 + 90 * x - 50 * y + 20 * np.cos(2 * y)
    picture = light * (0.4 + 0.6 * grey) + np.random.default_rng(seed).normal(0, noise, grey.shape)
    picture[30:33, 60:63] = 40
    picture[-50:-47, -90:-88] = 40
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("noise", [0, 5, 12])
def test_uneven_light_and_grain_do_not_matter(noise):
    prepared = digit_from_picture(photograph(a_seven(800, 800, pen=64), noise))
    assert difference(prepared.image) < 6
    assert any(
        note.startswith("evened out the paper, whose brightness varied by 1") for note in prepared.notes
    )
    assert any(note.startswith("left out") for note in prepared.notes)


def test_white_chalk_on_an_unevenly_lit_board_works_as_well():
    negative = Image.fromarray(255 - np.asarray(photograph(a_seven(600, 600, pen=48))))
    prepared = digit_from_picture(negative)
    assert difference(prepared.image) < 6
    assert "turned dark-on-light to light-on-dark" not in prepared.notes


def test_a_small_digit_in_the_corner_of_a_large_photograph_is_found():
    sheet = Image.new("L", (1600, 1200), 255)
    sheet.paste(a_seven(280, 280, pen=22), (200, 800))
    prepared = digit_from_picture(photograph(sheet))
    assert difference(prepared.image) < 8
    assert any(
        "of 1600x1200 pixels" in note for note in prepared.notes
    )  # the file's pixels, not the shrunk ones


def test_the_edge_of_the_table_is_not_ink():
    picture = np.array(a_seven(400, 400, pen=32))
    picture[:, :20] = 60
    prepared = digit_from_picture(picture)
    assert difference(prepared.image) < 3
    assert "left out 1 speck" in prepared.notes


def test_ink_that_reaches_the_edge_is_kept_when_there_is_no_other():
    cut = a_seven().crop((75, 60, 225, 240))
    assert difference(digit_from_picture(cut).image) < 12


def test_a_digit_of_two_strokes_keeps_both():
    picture = np.full((200, 200), 255, dtype=np.uint8)
    picture[40:160, 60:75] = 0
    picture[40:160, 120:135] = 0
    assert np.ptp(np.flatnonzero(digit_from_picture(picture).image.any(axis=0))) >= 11


def test_a_thin_pen_is_made_as_thick_as_mnists():
    prepared = digit_from_picture(a_seven(1000, 1000, pen=6))
    assert any(note.startswith("thickened the strokes from 0.") for note in prepared.notes)
    thick = inks.stroke_width(prepared.image / 255)
    assert 1.5 < thick < 3
    assert difference(prepared.image) < 15


def test_a_stroke_thick_enough_is_left_alone():
    assert not any("thickened" in note for note in digit_from_picture(a_seven()).notes)


@pytest.mark.parametrize("pen", [3, 6, 10])
@pytest.mark.parametrize("slope", [0, 40])
def test_the_stroke_width_is_about_right(pen, slope):
    picture = Image.new("L", (200, 200))
    ImageDraw.Draw(picture).line([(100 - slope, 20), (100 + slope, 180)], fill=255, width=pen)
    assert inks.stroke_width(np.asarray(picture, dtype=np.float32) / 255) == pytest.approx(pen, rel=0.35)


def test_a_bare_one_is_20_tall_and_not_stretched():
    picture = np.full((200, 200), 255, dtype=np.uint8)
    picture[30:170, 95:109] = 0
    image = digit_from_picture(picture).image
    assert np.ptp(np.flatnonzero(image.any(axis=1))) + 1 == 20
    assert np.ptp(np.flatnonzero(image.any(axis=0))) + 1 <= 3


def test_a_lopsided_digit_does_not_stick_out_of_the_picture():
    picture = np.zeros((200, 200), dtype=np.uint8)
    picture[20:180, 20:50] = 255  # all the mass at the left,
    picture[175:180, 20:180] = 255  # and a hair line far to the right
    image = digit_from_picture(picture).image
    assert np.ptp(np.flatnonzero(image.any(axis=1))) + 1 == 20
    assert np.ptp(np.flatnonzero(image.any(axis=0))) + 1 == 20


# -- Pieces, thresholds ------------------------------------------------------------------------------------


def test_pieces_are_numbered_and_corners_connect():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1]], dtype=bool)
    pieces = inks.pieces(mask)
    groups = {tuple(map(tuple, np.argwhere(pieces == number))) for number in range(1, 5)}
    assert groups == {((0, 0), (1, 1)), ((0, 3), (1, 3)), ((3, 0), (3, 1)), ((3, 3),)}
    assert (pieces[~mask] == 0).all()


def test_a_winding_stroke_is_one_piece():
    mask = np.zeros((41, 41), dtype=bool)
    mask[::2] = True  # rows, joined alternately at the right and at the left
    mask[1::4, -1] = mask[3::4, 0] = True
    assert inks.pieces(mask).max() == 1


def test_otsu_cuts_in_the_middle_of_a_gap():
    assert inks.otsu(np.array([0.1] * 50 + [0.9] * 10)) == pytest.approx(0.5, abs=0.01)


def test_otsu_moves_the_two_means_apart_as_far_as_their_weights_allow():
    values = np.clip(np.random.default_rng(0).normal([[0.3], [0.6]], 0.08, (2, 500)), 0, 1).ravel()

    def spread(cut):
        below, above = values[values < cut], values[values >= cut]
        return below.size * above.size * (above.mean() - below.mean()) ** 2

    cuts = np.linspace(0.2, 0.7, 200)
    assert inks.otsu(values) == pytest.approx(max(cuts, key=spread), abs=0.02)


# -- Errors ------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named():
    with pytest.raises(
        FileNotFoundError, match=r"There is no file nowhere\.png\. Give the path of a picture"
    ):
        digit_from_picture("nowhere.png")


def test_a_folder_is_not_a_picture(tmp_path):
    with pytest.raises(DataError, match=r"is a folder\. Give the path of a picture in it"):
        digit_from_picture(tmp_path)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("seven")
    with pytest.raises(
        DataError, match=r"notes\.txt cannot be read as a picture .*Save it anew as PNG or JPEG"
    ):
        digit_from_picture(tmp_path / "notes.txt")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif"])
def test_a_damaged_file_is_a_data_error_or_still_a_picture(tmp_path, suffix):
    """Whatever Pillow raises for a file cut short or with a flipped byte, the user sees a DataError."""
    a_seven(60, 60, pen=6).save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"damaged.{suffix}"
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 30):
        flipped = bytearray(whole)
        flipped[place] ^= int(rng.integers(1, 256))
        for damaged in (whole[:place], bytes(flipped)):
            path.write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own, about odd metadata
                with contextlib.suppress(DataError):
                    assert digit_from_picture(path).image.shape == (28, 28)


def test_an_array_that_is_no_picture_is_a_data_error():
    with pytest.raises(DataError, match="the picture cannot be read as a picture"):
        digit_from_picture(np.zeros((2, 3, 4, 5)))
    with pytest.raises(DataError, match="it has no pixels"):
        digit_from_picture(np.zeros((0, 5), dtype=np.uint8))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_is_called_empty_with_what_to_do(tmp_path, level):
    Image.new("L", (50, 50), level).save(tmp_path / "blank.png")
    with pytest.raises(DataError, match=r"blank\.png shows no digit: it is empty, .*\. Use a darker pen"):
        digit_from_picture(tmp_path / "blank.png")


def test_the_levels_of_a_faint_picture_are_told():
    paper = np.full((50, 50), 200, np.uint8)
    paper[20:30, 20:30] = 188
    with pytest.raises(DataError, match=r"shows no digit: nothing in it .* by more than 12 of 255 levels"):
        digit_from_picture(paper)


def test_blank_paper_in_uneven_light_is_blank():
    with pytest.raises(DataError, match="shows no digit"):
        digit_from_picture(
            photograph(Image.new("L", (400, 400), 255), noise=3).filter(ImageFilter.MedianFilter(7))
        )


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 300)])
def test_a_tiny_picture_is_a_data_error(shape):
    with pytest.raises(DataError, match=r"shows no digit|only a dot of ink"):
        digit_from_picture(np.zeros(shape, dtype=np.uint8))


def test_a_dot_is_not_a_digit():
    dot = np.full((100, 100), 255, dtype=np.uint8)
    dot[50:53, 50:54] = 0
    with pytest.raises(
        DataError, match=r"the picture shows only a dot of ink, 4x3 pixels\. .* at least 6 pixels"
    ):
        digit_from_picture(dot)


# -- As text -----------------------------------------------------------------------------------------------


def test_as_text_shows_two_rows_a_line():
    picture = np.array([[0, 0, 255, 255], [0, 255, 0, 255]], dtype=np.uint8)
    assert as_text(picture) == " ▄▀█"
    assert as_text(picture, cells=" .':") == " .':"


def test_as_text_of_a_digit_is_14_lines_without_trailing_spaces():
    lines = as_text(SEVEN).split("\n")
    assert len(lines) == 14
    assert all(line == line.rstrip() and len(line) <= 28 for line in lines)


def test_as_text_takes_mnists_arrays_and_odd_heights():
    assert as_text(SEVEN[None]) == as_text(SEVEN)
    assert as_text(np.full((3, 1), 255)) == "█\n▀"


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 32, 32), np.uint8), r"uint8 \(3, 32, 32\): give array\.transpose\(1, 2, 0\)"),
        (np.full((32, 32, 3), 9.0), r'float64 \(32, 32, 3\): give array\.astype\("uint8"\)'),
        (np.ones((32, 32, 3)), r'float64 \(32, 32, 3\): give \(255 \* array\)\.astype\("uint8"\)'),
        (np.zeros((32, 32, 5), np.uint8), r"it is uint8 \(32, 32, 5\); give \(H, W\)"),
        (None, "it is a NoneType"),
        (5, "it is an int"),
    ],
)
def test_an_array_that_is_no_picture_is_told_what_to_give(array, said):
    with pytest.raises(DataError, match=said):
        digit_from_picture(array)


@pytest.mark.parametrize("kind", ["uint8", "int64", "uint16", "float16", "float32", "float64"])
def test_a_digit_may_be_an_array_of_any_numbers_with_one_plane(kind):
    digit = draw_digits(3)[0][1].astype(kind)  # (1, 28, 28)
    wanted = digit_from_picture(digit[0].astype(np.uint8)).image
    for one in (digit, digit[0], digit[0, :, :, None], digit[0].tolist()):
        assert np.array_equal(digit_from_picture(one).image, wanted)


def test_what_is_shown_as_text_is_one_picture_of_0_to_255():
    with pytest.raises(ValueError, match=r"this one ends at 0\.9: give 255 \* image"):
        as_text(np.full((4, 4), 0.9))
    with pytest.raises(ValueError, match=r"one picture, \(H, W\) or \(1, H, W\), not \(3, 4, 4\)"):
        as_text(np.zeros((3, 4, 4), np.uint8))


def test_a_blank_picture_of_floats_is_shown_as_text():
    assert as_text(np.zeros((4, 4))) == "\n"


def test_grey_with_transparency_is_read_as_an_array():
    grey = np.full((28, 28, 2), 255, np.uint8)
    grey[4:24, 12:15, 0] = 0
    assert digit_from_picture(grey).image.max() > 200
