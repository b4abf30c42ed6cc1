"""From a picture to a network's input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minialex.data.augment import (
    Colour,
    Prepare,
    centre_crop,
    mean_image,
    random_crop_flip,
    square,
    ten_crop,
)


def numbered(height, width):
    """A picture float32 (3, H, W) in which every pixel tells its channel, row and column."""
    c, y, x = np.indices((3, height, width))
    return (10_000 * c + 100 * y + x).astype(np.float32)


def picture(rng, side=8):
    return rng.integers(0, 256, (3, side, side), dtype=np.uint8)


# -- Cutting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (20, 20), (41, 20)])
def test_the_square_is_the_middle_of_the_picture(size):
    image = Image.new("RGB", size, "black")
    left, top = (size[0] - 20) // 2, (size[1] - 20) // 2
    image.paste((250, 120, 10), (left, top, left + 20, top + 20))
    result = square(image, 20)
    assert result.shape == (3, 20, 20)
    assert result.dtype == np.uint8
    assert (result[:, :, 1:-1] == np.array([250, 120, 10])[:, None, None]).all()


def test_the_square_equals_scaling_the_shorter_side_and_cutting_the_middle(rng):
    noise = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    image = noise.resize((400, 300), Image.Resampling.BICUBIC)
    scaled = np.asarray(image.resize((200, 150), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.abs(square(image, 150).astype(int) - scaled[:, :, 25:175]).max() <= 1


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
def test_any_picture_becomes_a_square_of_any_side(width, height, side):
    assert (square(Image.new("RGB", (width, height), (9, 8, 7)), side)[:, -1, 0] == [9, 8, 7]).all()


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 5))
def test_the_centre_crop_leaves_the_same_on_both_sides(size, more_rows, more_columns):
    x = numbered(size + more_rows, size + more_columns)
    crop = centre_crop(x, size)
    assert crop.shape == (3, size, size)
    assert (crop[0, 0, 0] // 100, crop[0, 0, 0] % 100) == (more_rows // 2, more_columns // 2)


@given(st.integers(1, 9), st.integers(0, 4), st.integers(0, 4), st.integers(0, 99))
def test_a_random_crop_is_a_window_of_the_picture_or_its_mirror(size, more_rows, more_columns, seed):
    x = numbered(size + more_rows, size + more_columns)
    crop = random_crop_flip(x, size, np.random.default_rng(seed))
    upright = crop if size == 1 or crop[0, 0, 0] < crop[0, 0, -1] else crop[:, :, ::-1]
    top, left = int(upright[0, 0, 0] // 100), int(upright[0, 0, 0] % 100)
    np.testing.assert_array_equal(upright, x[:, top : top + size, left : left + size])


def test_random_crops_reach_every_place_and_both_directions(rng):
    x = numbered(7, 7)
    seen = {tuple(random_crop_flip(x, 5, rng)[0, 0, [0, -1]]) for _ in range(400)}
    assert len(seen) == 3 * 3 * 2


def test_ten_crops_are_corners_and_middle_and_their_mirror_images():
    x = numbered(6, 8)
    ten = ten_crop(x, 4)
    assert ten.shape == (10, 3, 4, 4)
    assert ten[:5, 0, 0, 0].tolist() == [0, 4, 200, 204, 102]
    np.testing.assert_array_equal(ten[5:], ten[:5, :, :, ::-1])


@pytest.mark.parametrize("cut", [centre_crop, ten_crop, lambda x, n: random_crop_flip(x, n, None)])
@pytest.mark.parametrize("size", [6, 0, -1])
def test_a_crop_that_does_not_fit_is_refused_with_the_sizes(cut, size):
    with pytest.raises(ValueError, match=f"a crop of {size}x{size} does not fit into a picture of 5x9"):
        cut(numbered(5, 9), size)


# -- Mean and colour ---------------------------------------------------------------------------------------


def test_the_mean_image_is_the_mean_of_each_pixel(rng):
    pictures = rng.integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)
    mean = mean_image(iter(pictures))
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, pictures.mean(axis=0), rtol=1e-6)


def test_a_mean_needs_pictures_of_one_size():
    with pytest.raises(ValueError, match="no pictures to take the mean of"):
        mean_image([])
    with pytest.raises(ValueError, match=r"\(3, 4, 4\) and \(3, 1, 1\)"):
        mean_image([np.zeros((3, 4, 4)), np.zeros((3, 1, 1))])


def test_colours_are_the_principal_components_of_all_pixels(rng):
    pictures = rng.integers(0, 256, (4, 3, 5, 6)).astype(np.uint8)
    pictures[:, 1] //= 2
    pictures[:, 2] = pictures[:, 0] // 4 + pictures[:, 1]
    colour = Colour.of(pictures)
    pixels = pictures.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    np.testing.assert_allclose(
        colour.vectors @ np.diag(colour.values) @ colour.vectors.T, np.cov(pixels, bias=True), atol=1e-12
    )
    assert (np.diff(colour.values) < 0).all()
    np.testing.assert_allclose(colour.vectors.T @ colour.vectors, np.eye(3), atol=1e-12)


def test_colours_need_pictures():
    with pytest.raises(ValueError, match="no pictures to find the colours of"):
        Colour.of([])


def test_grey_pictures_get_grey_noise(rng):
    grey = rng.integers(0, 256, (1, 9, 9), dtype=np.uint8).repeat(3, axis=0)
    noise = Colour.of([grey]).draw(rng, "cuda-convnet")
    assert np.ptp(noise) < 1e-2 < abs(noise[0])


def test_the_published_vectors_are_columns_and_orthogonal():
    published = Colour.PUBLISHED
    np.testing.assert_allclose(published.vectors.T @ published.vectors, np.eye(3), atol=2e-3)
    np.testing.assert_allclose(published.vectors[:, 0], [-0.5675, -0.5808, -0.5836])


@pytest.mark.parametrize(
    ("rule", "levels"),
    [("paper", [5.546, 0.479, 0.115]), ("cuda-convnet", [11.892, 3.496, 1.711])],
)
def test_colour_noise_has_the_published_strength_along_each_vector(rng, rule, levels):
    noise = np.stack([Colour.PUBLISHED.draw(rng, rule)[:, 0, 0] for _ in range(4000)])
    along = noise @ Colour.PUBLISHED.vectors
    np.testing.assert_allclose(along.std(axis=0), levels, rtol=0.05)
    np.testing.assert_allclose(along.mean(axis=0) / levels, 0, atol=0.06)


# -- All of it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_evaluation_is_the_equation_on_the_middle(rng, order):
    x = picture(rng)
    mean = rng.uniform(0, 1, (3, 8, 8)).astype(np.float32)
    std = np.array([0.2, 0.3, 0.4], dtype=np.float32)
    y = Prepare(crop=6, scale=1 / 255, mean=mean, std=std, order=order).evaluation(x)
    channels = x if order == "RGB" else x[::-1]
    expected = (channels / 255 - mean) / std[:, None, None]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected[:, 1:-1, 1:-1], rtol=1e-5, atol=1e-6)


def test_the_mean_image_moves_with_the_crop_and_its_mirror(rng):
    x = picture(rng)
    prepare = Prepare(crop=5, mean=x.astype(np.float32))
    assert all((prepare.training(x, rng) == 0).all() for _ in range(20))
    assert (prepare.ten(x) == 0).all()


def test_training_adds_one_colour_to_the_whole_crop(rng):
    x = picture(rng)
    plain = Prepare(crop=8, scale=0.5)
    noisy = Prepare(crop=8, scale=0.5, order="BGR", colour=Colour.PUBLISHED, colour_rule="cuda-convnet")
    y = noisy.training(x, np.random.default_rng(3))
    colour = Colour.PUBLISHED.draw(np.random.default_rng(3), "cuda-convnet")
    upright = min((y, y[:, :, ::-1]), key=lambda y: np.abs(y[::-1] - plain.evaluation(x)).sum())
    np.testing.assert_allclose(upright[::-1], plain.evaluation(x) + 0.5 * colour, rtol=1e-4, atol=1e-4)


def test_evaluation_has_no_noise(rng):
    x = picture(rng)
    np.testing.assert_array_equal(Prepare(crop=4, colour=Colour.PUBLISHED).evaluation(x), x[:, 2:-2, 2:-2])


def test_the_same_generator_gives_the_same_input(rng):
    x, prepare = picture(rng), Prepare(crop=4, colour=Colour.PUBLISHED)
    one, other = (prepare.training(x, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_stored_picture_is_not_written_into(rng):
    x = picture(rng)
    before = x.copy()
    prepare = Prepare(crop=4, mean=3.0, std=2.0, colour=Colour.PUBLISHED)
    prepare.training(x, rng), prepare.evaluation(x), prepare.ten(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "GBR"}, 'order is "RGB" or "BGR", not \'GBR\''),
        ({"colour_rule": "2012"}, "colour_rule is one of paper, cuda-convnet, not '2012'"),
        ({"mean": np.zeros((4, 4))}, r"mean is a number, 3 numbers or an image \(3, S, S\), not \(4, 4\)"),
        ({"std": (1.0, 0.0, 1.0)}, "std has a 0 in it"),
        ({"std": -1.0}, "std has a 0 in it, or less"),
        ({"scale": float("nan")}, "scale must be a finite number, not nan"),
        ({"scale": "0.5"}, "scale must be a finite number, not '0.5'"),
        ({"crop": 0}, "crop must be a whole number >= 1, not 0"),
        ({"mean": (1.0, np.nan, 1.0)}, "mean has a NaN"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Prepare(**settings)


def test_a_misspelt_rule_for_colours_is_refused(rng):
    with pytest.raises(ValueError, match=r"unknown rule 'papper' \(did you mean paper\?\)"):
        Colour.PUBLISHED.draw(rng, "papper")


def test_a_mean_image_of_another_size_is_refused(rng):
    prepare = Prepare(crop=4, mean=np.zeros((3, 9, 9)))
    with pytest.raises(ValueError, match=r"mean is an image \(3, 9, 9\), .* a picture \(3, 8, 8\)"):
        prepare.evaluation(picture(rng))


def test_all_real_pictures_go_through(real_data):
    """ImageNet pictures of all sizes and modes: none is lost on the way to an evaluation."""
    from minialex.data.folder import find_pictures
    from minialex.data.loader import PictureBatches

    if not (real_data / "imagenet_sample" / "val").is_dir():
        pytest.skip("no ImageNet sample in the real data")
    pictures = find_pictures(real_data / "imagenet_sample", "val")
    assert len(pictures) == len(pictures.classes) == 200
    batches = PictureBatches(pictures, Prepare(mean=120.0, std=64.0), batch_size=50, workers=2)
    shapes, labels = zip(*((x.shape, labels) for x, labels in batches.in_order()), strict=True)
    assert set(shapes) == {(50, 3, 227, 227)}
    assert np.concatenate(labels).tolist() == list(range(200))
    assert batches.bad_files == {}


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((4, 8, 6), np.uint8),
        np.zeros((3, 8, 8)),
        np.zeros((3, 8), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_the_colours_of_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match=r"uint8 \(3, H, W\) from 0 to 255, not of " + str(wrong.dtype)):
        Colour.of([wrong])


@pytest.mark.parametrize(
    "use",
    [
        lambda picture: centre_crop(picture, 1),
        lambda picture: ten_crop(picture, 1),
        lambda picture: random_crop_flip(picture, 1, np.random.default_rng(0)),
        lambda picture: mean_image([picture]),
        lambda picture: Colour.of([picture]),
        lambda picture: Prepare(crop=1).evaluation(picture),
    ],
)
def test_what_is_no_picture_is_named(use):
    with pytest.raises(TypeError, match=r"^a picture is an array \(.*, H, W\), not a list$"):
        use([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match=r"^a picture is an array \(.*, H, W\), not one of shape \(3,\)$"):
        use(np.ones(3, np.uint8))


@pytest.mark.parametrize("size", [1.5, "a", None])
def test_the_size_of_a_crop_is_a_whole_number(size):
    with pytest.raises(ValueError, match=f"^size must be a whole number >= 1, not {size!r}$"):
        centre_crop(np.ones((3, 4, 4)), size)
