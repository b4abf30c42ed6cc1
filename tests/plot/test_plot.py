"""The pictures say what they should: their content is read back from the figures' artists."""

import itertools
import re
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import minialex as mx
from minialex import plot
from minialex.check.gradient import Entry, Report
from minialex.layers import towers
from minialex.plot import checks as plot_gradcheck
from minialex.plot import look as plot_look
from minialex.plot.spans import KINDS
from minialex.study.anatomy import Dropped, Reading
from minialex.study.timeline import Span, measure_step


def row(epoch, loss=0.5, error=5.0, **more):
    values = {"train_loss": loss, "train_error": error, "test_loss": loss, "test_error": error + 1.234}
    return {"epoch": epoch, "lr": 0.1, "seconds": 1.0, **values, **more}


def accuracy_row(epoch, loss=0.5, acc1=90.0):
    return {
        "epoch": epoch, "lr": 0.01, "train_loss": loss, "train_acc1": acc1 - 5, "val_loss": loss - 0.1,
        "val_acc1": acc1, "val_acc5": 99.0, "images_per_second": 100.0, "seconds": 2.5,
    }  # fmt: skip


def two_towers(devices, **options):
    return mx.models.alexnet(3, devices=devices, width=1 / 12, image_size=67, init="he", **options)


STEP = [
    Span("conv1", None, "sim:0, sim:1", "crossing", 0.000, 0.001, 5_530_000),
    Span("conv1", 0, "sim:0", "forward", 0.001, 0.020),
    Span("conv1", 1, "sim:1", "forward", 0.001, 0.021),
    Span("fc8", None, "sim:0, sim:1", "crossing", 0.0210, 0.0212, 88_604),
    Span("fc8", 0, "sim:0", "forward", 0.0212, 0.0216),
    Span("fc8", 0, "sim:0", "backward", 0.0216, 0.0220, back=True),
    Span("fc8", None, "sim:0, sim:1", "crossing", 0.0220, 0.0221, 512, back=True),
    Span("conv1", 0, "sim:0", "backward", 0.023, 0.048, back=True),
    Span("conv1", 1, "sim:1", "backward", 0.023, 0.047, back=True),
    Span("update", 0, "sim:0", "update", 0.048, 0.050),
    Span("update", 1, "sim:1", "update", 0.048, 0.050),
]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def shown(axes):
    """The arrays of the images in one pair of axes."""
    return [np.ma.getdata(image.get_array()) for image in axes.images]


# ---- all of them ----


def examples():
    rng = np.random.default_rng(0)
    digit = SimpleNamespace(
        image=np.full((28, 28), 9, np.uint8), steps=[("as read", np.zeros((90, 60), np.uint8))]
    )
    pictures, labels = rng.integers(0, 256, (6, 1, 28, 28), dtype=np.uint8), np.arange(6)
    return {
        "curves": lambda **path: plot.curves([row(1), row(2)], **path),
        "accuracy_curves": lambda **path: plot.accuracy_curves([accuracy_row(1)], **path),
        "tower_kernels": lambda **path: plot.tower_kernels(two_towers("cpu"), **path),
        "neighbours": lambda **path: plot.neighbours(
            pictures, labels, list("abcdef"), [0, 3], [[1, 2], [4, 5]], **path
        ),
        "timeline": lambda **path: plot.timeline(STEP, **path),
        "filters": lambda **path: plot.filters(rng.standard_normal((6, 1, 5, 5)), **path),
        "feature_maps": lambda **path: plot.feature_maps(small_model(), picture(rng), **path),
        "confusion": lambda **path: plot.confusion(np.eye(3, dtype=int) + 1, **path),
        "mistakes": lambda **path: plot.mistakes(pictures, labels, labels[::-1], np.full(6, 0.5), **path),
        "no mistakes": lambda **path: plot.mistakes(pictures, labels, labels, np.full(6, 0.5), **path),
        "digits": lambda **path: plot.digits(pictures, labels, **path),
        "digit_steps": lambda **path: plot.digit_steps(digit, **path),
        "gradcheck": lambda **path: plot.gradcheck(mx.gradcheck(mx.ReLU(), np.ones((2, 3))), **path),
        "dropped": lambda **path: plot.dropped([Dropped("layer1.0", 30.0, -1.0, True)] * 2, "ResNet", **path),
        "reading": lambda **path: plot.reading([densely(13), densely(2)], "DenseNet", **path),
        "costs": lambda **path: plot.costs(
            {"a": (1e6, 50.0, 10**5), "b": (2e6, 40.0, 10**6)}, "both", **path
        ),
    }


def densely(layers):
    """A triangle of numbers, and a column for the classifier."""
    names = [str(number) for number in range(1, layers + 1)]
    weights = np.where(np.tri(layers + 1).T > 0, np.arange(1.0, layers + 2), np.nan)
    return Reading("a.block", ["x", *names], [*names, "classifier"], weights)


@pytest.mark.parametrize("name", examples())
def test_each_returns_a_figure_and_writes_it_whole_as_png(name, tmp_path):
    figure = examples()[name](path=tmp_path / "picture.png")
    assert isinstance(figure, Figure)
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == tuple(int(inches * plot_look.DPI) for inches in figure.get_size_inches())
        low, high = picture.convert("L").getextrema()
    assert low < 80
    assert high == 255
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()  # nothing reaches over the edge
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_nothing_is_written_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plot.digits(np.zeros((1, 28, 28)))
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_figure_as_a_picture():
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(plot.curves([row(1)]))
    assert data["image/png"].startswith(b"\x89PNG")


def test_the_settings_of_matplotlib_stay_as_they_were(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "axes.labelsize", 31.0)
    before = dict(matplotlib.rcParams)
    figure = plot.curves([row(1)])
    assert dict(matplotlib.rcParams) == before
    assert figure.axes[0].xaxis.label.get_size() == plot_look.STYLE["axes.labelsize"]


# ---- curves ----


def test_curves_have_their_numbers_axes_and_legend():
    history = [
        row(1, error=8.0, holdout_loss=0.7, holdout_error=9.0),
        row(2, holdout_loss=0.6, holdout_error=7.0),
    ]
    loss, error = plot.curves(history).axes
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
    assert (error.get_xlabel(), error.get_ylabel()) == ("epoch", "error (%)")
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "held out", "test"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in error.lines}
    assert lines == {
        "training": [[1, 8], [2, 5]], "held out": [[1, 9], [2, 7]], "test": [[1, 9.234], [2, 6.234]]
    }  # fmt: skip


def test_curves_name_the_last_test_error():
    assert texts(plot.curves([row(1, error=8.0), row(2, error=5.0)]).axes[1]) == ["6.23 %"]


def test_curves_skip_epochs_that_were_not_tested():
    history = [row(1), row(2, test_loss=None, test_error=None), row(3, error=2.0)]
    history.append(row(4, test_loss=None, test_error=None))
    error = plot.curves(history).axes[1]
    assert error.lines[-1].get_xdata().tolist() == [1, 3]
    assert texts(error) == ["3.23 %"]


def test_curves_without_any_test_show_training_alone():
    loss, error = plot.curves([row(1, test_loss=None, test_error=None)]).axes
    assert [len(axes.lines) for axes in (loss, error)] == [1, 1]
    assert texts(error) == []


@pytest.mark.parametrize(("last", "scale"), [(0.051, "linear"), (0.049, "log"), (0.0, "linear")])
def test_the_loss_is_logarithmic_where_it_spans_more_than_a_decade(last, scale):
    assert plot.curves([row(1, loss=0.5), row(2, loss=last)]).axes[0].get_yscale() == scale


def test_curves_of_ninety_epochs_count_in_whole_epochs():
    figure = plot.curves([row(epoch, loss=1 / epoch) for epoch in range(1, 91)], title="ninety")
    assert figure.get_suptitle() == "ninety"
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())
    assert figure.axes[0].lines[0].get_marker() == ""


def test_curves_need_an_epoch():
    with pytest.raises(ValueError, match="0 epochs"):
        plot.curves([])


# ---- accuracy ----


def test_accuracy_curves_have_their_numbers_axes_and_legend():
    figure = plot.accuracy_curves([accuracy_row(1, acc1=60.0), accuracy_row(2)], title="AlexNet")
    loss, accuracy = figure.axes
    assert (loss.get_xlabel(), loss.get_ylabel(), accuracy.get_ylabel()) == ("epoch", "loss", "accuracy (%)")
    assert [line.get_ydata().tolist() for line in loss.lines] == [[0.5, 0.5], [0.4, 0.4]]
    lines = {line.get_label(): line.get_ydata().tolist() for line in accuracy.lines}
    assert lines == {
        "training, Acc@1": [55, 85], "held out, Acc@1": [60, 90], "held out, Acc@5": [99, 99]
    }  # fmt: skip
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["training, Acc@1", "held out, Acc@1", "held out, Acc@5"]
    assert texts(accuracy) == ["90.0 %"]
    assert figure.get_suptitle() == "AlexNet"


@pytest.mark.parametrize("epochs", [1, 90])
def test_accuracy_curves_of_few_and_many_epochs_count_in_whole_epochs(epochs):
    history = [accuracy_row(epoch, loss=3 / epoch + 0.2) for epoch in range(1, epochs + 1)]
    for axes in plot.accuracy_curves(history).axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
        assert bool(axes.lines[0].get_marker()) == (epochs == 1)


def test_accuracy_curves_need_an_epoch():
    with pytest.raises(ValueError, match="0 epochs; accuracy_curves needs"):
        plot.accuracy_curves([])


# ---- kernels of two towers ----


@pytest.mark.parametrize(("devices", "names"), [("cpu", ("cpu", "cpu")), ("sim:0,sim:1", ("sim:0", "sim:1"))])
def test_tower_kernels_are_a_block_for_each_tower_with_its_device(devices, names):
    model = two_towers(devices)
    first, second = plot.tower_kernels(model).axes
    assert first.get_title() == f"tower 0 on {names[0]}"
    assert second.get_title() == f"tower 1 on {names[1]}"
    weight = mx.weights.export_grouped(model)["conv1.weight"]
    scale = np.quantile(np.abs(weight), 0.995)
    expected = np.clip(0.5 + weight / (2 * scale), 0, 1).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(shown(first) + shown(second), expected, rtol=1e-5)


def test_tower_kernels_of_one_tower_are_one_block():
    (axes,) = plot.tower_kernels(two_towers("cpu", towers=1)).axes
    assert axes.get_title() == "conv1 on cpu"
    assert len(axes.images) == 8


def test_tower_kernels_that_read_blue_first_are_shown_in_their_colours():
    model = mx.models.alexnet(3, devices="cpu", preset="bvlc", width=1 / 24, image_size=67)
    model["conv1"].weight.value[:] = 0
    model["conv1"].weight.value[:, 2] = 1  # the third channel of BGR
    (axes,) = plot.tower_kernels(model).axes
    assert np.unique(shown(axes)[0].reshape(-1, 3), axis=0).tolist() == [[1.0, 0.5, 0.5]]


@pytest.mark.parametrize(("count", "columns", "lines"), [(8, 4, 1), (40, 10, 2), (96, 16, 3)])
def test_tower_kernels_of_any_number_lie_apart_in_even_lines(count, columns, lines):
    model = mx.models.alexnet(3, devices="cpu", width=count / 96, image_size=67, init="he")
    for axes in plot.tower_kernels(model).axes:
        corners = [(image.get_extent()[0], image.get_extent()[3]) for image in axes.images]
        assert [len(set(places)) for places in (corners, *zip(*corners, strict=True))] == [
            count // 2, columns, lines
        ]  # fmt: skip


def test_tower_kernels_say_what_they_cannot_show():
    with pytest.raises(ValueError, match="there is none"):
        plot.tower_kernels(mx.Sequential(fc=mx.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"its weight is \(4, 1, 3, 3\)"):
        plot.tower_kernels(mx.Sequential(conv1=mx.Conv2D(1, 4, 3)))


# ---- filters ----


def test_filters_of_one_channel_are_signed_colours_with_0_in_the_middle(rng):
    weight = rng.standard_normal((6, 1, 5, 4)).astype(np.float32)
    figure = plot.filters(weight, title="c1")
    tiles, bar = figure.axes
    np.testing.assert_array_equal(shown(tiles), weight[:, 0])
    assert texts(tiles) == list("012345")
    assert {image.get_clim() for image in tiles.images} == {(-np.abs(weight).max(), np.abs(weight).max())}
    assert bar.get_ylabel() == "weight"
    assert figure.get_suptitle() == "c1"


def test_filters_of_three_channels_share_one_scale(rng):
    weight = rng.standard_normal((4, 3, 5, 5))
    weight[0] *= 10
    (tiles,) = plot.filters(weight).axes
    expected = (weight - weight.min()) / np.ptp(weight)
    np.testing.assert_allclose(shown(tiles), expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("count", [1, 7, 96])
def test_filters_of_any_number_lie_apart(rng, count):
    tiles = plot.filters(rng.standard_normal((count, 1, 3, 3))).axes[0]
    corners = {(image.get_extent()[0], image.get_extent()[3]) for image in tiles.images}
    assert len(corners) == count


def test_filters_stand_in_as_many_columns_as_asked_for(rng):
    tiles = plot.filters(rng.standard_normal((6, 1, 3, 3)), columns=2).axes[0]
    assert len({image.get_extent()[0] for image in tiles.images}) == 2


def test_filters_come_from_any_device(device, rng):
    weight = rng.standard_normal((2, 1, 3, 3))
    np.testing.assert_array_equal(shown(plot.filters(device.asarray(weight)).axes[0]), weight[:, 0])


@pytest.mark.parametrize("shape", [(16, 6, 5, 5), (6, 5, 5), (0, 1, 5, 5)])
def test_filters_name_a_shape_that_they_cannot_show(shape):
    with pytest.raises(ValueError, match=rf"\(F, 3, kh, kw\), not \({shape[0]}, {shape[1]}, "):
        plot.filters(np.zeros(shape))


# ---- feature maps ----


def small_model():
    return mx.Sequential(
        conv=mx.Conv2D(1, 20, 3, rng=1), relu=mx.ReLU(), flatten=mx.Flatten(), drop=mx.Dropout(0.5),
        output=mx.Linear(20 * 4 * 4, 10, rng=2),
    )  # fmt: skip


def picture(rng):
    return rng.standard_normal((1, 1, 6, 6)).astype(np.float32)


def test_feature_maps_show_every_layer_with_its_name_type_and_shape(device, rng):
    model, x = small_model().to(device), picture(rng)
    rows = plot.feature_maps(model, x).axes  # from the host to wherever the model is
    assert [texts(axes)[:2] for axes in rows[:5]] == [
        ["picture", "input: 1 × 6 × 6"],
        ["conv", "Conv2D: 20 × 4 × 4, 16 shown"],
        ["relu", "ReLU: 20 × 4 × 4, 16 shown"],
        ["flatten", "Flatten: 320"],
        ["drop", "Dropout: 320"],
    ]
    assert [len(axes.images) for axes in rows] == [1, 16, 16, 1, 1, 0]
    np.testing.assert_array_equal(shown(rows[0])[0], x[0, 0])
    conv = mx.to_numpy(model["conv"].forward(device.asarray(x)))
    np.testing.assert_array_equal(shown(rows[1]), conv[0, :16])
    np.testing.assert_array_equal(shown(rows[3])[0].ravel()[:320], np.maximum(conv, 0).ravel())


def test_feature_maps_end_in_bars_with_the_largest_marked(rng):
    model, x = small_model(), picture(rng)
    output = plot.feature_maps(model, x).axes[-1]
    logits = model.eval().forward(x)[0]
    np.testing.assert_allclose([bar.get_height() for bar in output.patches], logits)
    marked = [bar.get_facecolor() for bar in output.patches]
    assert [i for i, colour in enumerate(marked) if marked.count(colour) == 1] == [logits.argmax()]
    assert output.get_title() == f"largest: class {logits.argmax()}"
    assert (output.get_xlabel(), output.get_ylabel()) == ("class", "logit")


def test_feature_maps_leave_the_model_as_it_was(rng):
    model, x = small_model(), picture(rng)
    model.forward(x)
    counters, saved = model.counters(), model["conv"].saved
    plot.feature_maps(model, x + 1)
    assert all(layer.training for layer in model)
    assert model.counters() == counters
    assert model["conv"].saved is saved
    assert all(p.grad is None for p in model.parameters())
    model.backward(np.ones((1, 10), dtype=np.float32))  # what forward saved is still there


@pytest.mark.parametrize(("variant", "layers"), [("modern", 12), ("1998", 14)])
def test_feature_maps_of_a_lenet_have_a_row_a_layer(variant, layers):
    model = mx.models.lenet5(variant)
    figure = plot.feature_maps(model, model.prepare(np.zeros((1, 1, 28, 28), dtype=np.uint8)))
    assert [texts(axes)[0] for axes in figure.axes[:-1]] == ["picture", *model.layers][:-1]
    assert len(figure.axes) == 1 + layers


def test_feature_maps_show_both_towers(rng):
    model = mx.Sequential(
        both=towers.Broadcast(), conv=towers.Towers.split(mx.Conv2D(1, 4, 3, rng=1)), end=towers.Gather()
    ).to("cpu")
    x = picture(rng)
    rows = {texts(axes)[0]: axes for axes in plot.feature_maps(model, x).axes}
    assert list(rows) == [
        "picture",
        "both, tower 0",
        "both, tower 1",
        "conv, tower 0",
        "conv, tower 1",
        "end",
    ]
    y = model.forward(x)[0]
    np.testing.assert_array_equal(shown(rows["conv, tower 0"]) + shown(rows["conv, tower 1"]), y)


def test_feature_maps_show_the_layers_that_are_asked_for_with_their_types():
    model = two_towers("sim:0,sim:1")
    x = np.zeros((1, 3, 67, 67), dtype=np.float32)
    rows = plot.feature_maps(model, x, layers=["relu1", "fc7"]).axes
    assert [texts(axes)[:2] for axes in rows] == [
        ["picture", "input: 3 × 67 × 67"],
        ["relu1, tower 0", "ReLU: 4 × 15 × 15"],
        ["relu1, tower 1", "ReLU: 4 × 15 × 15"],
        ["fc7, tower 0", "Linear: 171"],
        ["fc7, tower 1", "Linear: 171"],
    ]
    assert plot.feature_maps(model, x, layers=["fc8"]).axes[-1].get_xlabel() == "class"


def test_feature_maps_name_a_layer_that_is_not_there(rng):
    with pytest.raises(
        ValueError, match=r"no layer 'conv7' \(did you mean conv\?\); the model has conv, relu"
    ):
        plot.feature_maps(small_model(), picture(rng), layers=["conv", "conv7"])


def test_feature_maps_take_one_picture():
    with pytest.raises(ValueError, match=r"\(1, C, H, W\), not \(2, 1, 6, 6\)"):
        plot.feature_maps(small_model(), np.zeros((2, 1, 6, 6)))


def test_feature_maps_take_a_sequential():
    with pytest.raises(TypeError, match="not a ReLU"):
        plot.feature_maps(mx.ReLU(), np.zeros((1, 1, 6, 6)))


# ---- confusion ----

MATRIX = np.array([[50, 2, 0], [1, 40, 7], [0, 0, 30]])


def cell_text(axes):
    return {tuple(map(int, text.get_position()[::-1])): text.get_text() for text in axes.texts}


def test_confusion_has_its_counts_and_totals_in_the_cells():
    (axes,) = plot.confusion(MATRIX).axes
    assert cell_text(axes) == {
        (0, 0): "50", (0, 1): "2", (1, 0): "1", (1, 1): "40", (1, 2): "7", (2, 2): "30",
        (0, 3): "52", (1, 3): "48", (2, 3): "30", (3, 0): "51", (3, 1): "42", (3, 2): "37", (3, 3): "130",
    }  # fmt: skip
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("read as", "true class")
    assert axes.figure.get_suptitle() == "10 of 130 wrong (7.69 %)"


def test_confusion_colours_the_mistakes_alone():
    (axes,) = plot.confusion(MATRIX).axes
    (image,) = axes.images
    assert np.array_equal(np.ma.getmaskarray(image.get_array()), np.eye(3, dtype=bool))
    assert image.get_clim() == (0, 7)


def test_confusion_has_names():
    (axes,) = plot.confusion(MATRIX, classes=["cat", "dog", "aeroplane"]).axes
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "dog", "aeroplane", "total"]


def test_confusion_of_many_classes_has_a_colour_bar_and_no_numbers(rng):
    axes, bar = plot.confusion(rng.integers(0, 3, (30, 30))).axes
    assert not axes.texts
    assert bar.get_ylabel() == "mistakes (pictures)"


def test_confusion_of_an_alphabet_has_its_letters(rng):
    letters = [chr(ord("a") + k) for k in range(26)]
    matrix = rng.integers(0, 3, (26, 26))
    axes, _ = plot.confusion(matrix, classes=letters).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == letters
    assert [label.get_text() for label in axes.get_yticklabels()] == letters
    axes, _ = plot.confusion(matrix, classes=[f"class {letter}" for letter in letters]).axes
    assert not any("class" in label.get_text() for label in axes.get_xticklabels())


def test_confusion_of_nothing_can_be_drawn():
    assert plot.confusion(np.zeros((3, 3), dtype=int)).get_suptitle() == "0 of 0 wrong (0.00 %)"


def test_confusion_names_a_shape_that_is_not_square():
    with pytest.raises(ValueError, match=r"\(K, K\), not \(3, 2\)"):
        plot.confusion(MATRIX[:, :2])


def test_confusion_counts_the_names():
    with pytest.raises(ValueError, match="2 names for 3 classes"):
        plot.confusion(MATRIX, classes=["a", "b"])


# ---- mistakes and digits ----


def numbered_pictures(count):
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 28, 28), dtype=np.uint8)


def test_mistakes_are_the_surest_first():
    labels, predictions = np.array([4, 1, 2, 7, 5]), np.array([9, 1, 0, 1, 6])
    confidences = np.array([0.98, 0.999, 0.4, 0.9968, 1.0])
    figure = plot.mistakes(numbered_pictures(5), labels, predictions, confidences, count=3)
    assert texts(figure.axes[0]) == [
        "true 5, read as 6\n100 %",
        "true 7, read as 1\nover 99 %",
        "true 4, read as 9\n98 %",
    ]
    assert [int(array.mean()) for array in shown(figure.axes[0])] == [4, 3, 0]
    assert figure.get_suptitle() == "4 of 5 wrong; the 3 surest"


def test_mistakes_have_the_names_of_their_classes():
    figure = plot.mistakes(numbered_pictures(2), [0, 1], [0, 2], [0.5, 0.6], classes=["bag", "coat", "shirt"])
    assert texts(figure.axes[0]) == ["true coat, read as shirt\n60 %"]


def test_mistakes_that_are_all_shown_are_not_called_the_surest():
    figure = plot.mistakes(numbered_pictures(2), [0, 1], [0, 2], [0.5, 0.6])
    assert figure.get_suptitle() == "1 of 2 wrong"


def test_no_mistakes_is_a_friendly_picture():
    figure = plot.mistakes(numbered_pictures(3), [1, 2, 3], [1, 2, 3], [0.5, 0.5, 0.5])
    assert [text.get_text() for text in figure.texts] == ["No mistakes in 3 pictures."]


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (
            [0, 1],
            [0, -1],
            "predictions has the class -1, for which there is no name: there are 2, from 0 to 1",
        ),
        ([0, 2], [0, 1], "labels has the class 2, for which there is no name"),
        ([0.0, 1.0], [0, 1], "labels should be whole numbers, of classes from 0, not float64"),
    ],
)
def test_mistakes_are_of_classes_with_names(labels, predictions, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot.mistakes(numbered_pictures(2), labels, predictions, [0.5, 0.6], classes=["cat", "dog"])


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_mistakes_are_counted_in_whole_numbers(count):
    with pytest.raises(ValueError, match=f"count must be a whole number >= 1, not {count}"):
        plot.mistakes(numbered_pictures(2), [0, 1], [1, 0], [0.5, 0.6], count=count)


@pytest.mark.parametrize("columns", [0, -1, 2.5, "2"])
def test_a_sheet_has_a_whole_number_of_columns(columns):
    for draw in (lambda: plot.filters(np.ones((6, 1, 5, 5)), columns=columns),
                 lambda: plot.images(numbered_pictures(3), columns=columns)):  # fmt: skip
        with pytest.raises(ValueError, match=f"columns must be a whole number >= 1, not {columns!r}"):
            draw()


@pytest.mark.parametrize(
    ("labels", "queries", "found", "message"),
    [
        (
            [0, -1, 0],
            [0],
            [[1]],
            "labels has the class -1, for which there is no name: there are 1, from 0 to 0",
        ),
        ([0, 1, 0], [0], [[1]], "labels has the class 1, for which there is no name"),
        ([0, 0, 0], [0], [[-1]], "there is no picture -1: 3 are there, from 0 to 2"),
        ([0, 0, 0], [3], [[0]], "there is no picture 3: 3 are there, from 0 to 2"),
        ([0, 0], [0], [[1]], "3 pictures, but 2 labels"),
    ],
)
def test_neighbours_are_pictures_of_classes_with_names(labels, queries, found, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot.neighbours(numbered_pictures(3), labels, ["cat"], queries, found)


@pytest.mark.parametrize(
    ("draw", "given", "message"),
    [
        (plot.numbers, np.eye(2), 'numbers takes a dict, {"x": array}, not an ndarray'),
        (plot.lines, [[1, 2]], 'lines takes a dict, {"loss": (xs, ys)}, not a list'),
        (plot.lines, None, 'lines takes a dict, {"loss": (xs, ys)}, not a NoneType'),
        (plot.bars, [1], 'bars takes a dict, {"parameters": {"conv": 20}}, not a list'),
        (plot.bars, {"parameters": [1]}, 'bars takes a dict, {"parameters": {"conv": 20}}, not a list'),
        (
            plot.costs,
            [(1, 2, 3)],
            "costs takes a dict, {name: (multiply-adds, error, parameters)}, not a list",
        ),
        (
            plot.unsure_curve,
            [(0.5, 70.0)],
            "unsure_curve takes a dict, {kind: [(refused, unsure), ...]}, not a list",
        ),
        (plot.curves, None, "curves takes the list that train.fit gives, not a NoneType"),
        (plot.curves, {"epoch": 1}, "curves takes the list that train.fit gives, not a dict"),
        (plot.accuracy_curves, [1.0], "accuracy_curves takes the list that train.fit gives, not a list"),
        (plot.dropped, None, "dropped takes the list that anatomy.drop_blocks gives, not a NoneType"),
        (plot.reading, "x", "reading takes the list that anatomy.reading gives, not a str"),
        (plot.timeline, STEP[0], "timeline takes the list that timeline.measure_step gives, not a Span"),
    ],
)
def test_what_is_shown_comes_by_name_or_in_a_list(draw, given, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        draw(given)


def test_a_line_is_a_pair():
    for values in ([1, 2, 3], 5):
        with pytest.raises(ValueError, match=r"'loss': a line is a pair, \(xs, ys\), not an? (list|int)"):
            plot.lines({"loss": values})


def test_mistakes_name_what_does_not_belong_together():
    with pytest.raises(ValueError, match=r"3 pictures, but predictions of shape \(2,\)"):
        plot.mistakes(numbered_pictures(3), [1, 2, 3], [1, 2], [0.5, 0.5, 0.5])


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (5, 28, 28), (5, 3, 12, 9)])
def test_digits_are_a_sheet_of_all_pictures_with_their_labels(rng, shape):
    pictures = rng.integers(0, 256, shape, dtype=np.uint8)
    (axes,) = plot.digits(pictures, [3, 1, 4, 1, 5]).axes
    assert [array.shape[:2] for array in shown(axes)] == [shape[-2:]] * 5
    assert texts(axes) == list("31415")


def test_digits_in_bytes_are_not_stretched():
    (axes,) = plot.digits(np.full((1, 28, 28), 7, dtype=np.uint8)).axes
    assert axes.images[0].get_clim() == (0, 255)


@pytest.mark.parametrize("shape", [(0, 28, 28), (28, 28), (2, 2, 28, 28)])
def test_digits_name_a_shape_that_holds_no_pictures(shape):
    with pytest.raises(ValueError, match=rf"not \({shape[0]}, {shape[1]}"):
        plot.digits(np.zeros(shape))


def test_digits_count_the_labels():
    with pytest.raises(ValueError, match="5 pictures, but 2 labels"):
        plot.digits(numbered_pictures(5), [1, 2])


# ---- neighbours ----


def test_neighbours_are_a_row_a_query_with_classes_right_and_wrong_in_two_colours():
    labels, classes = np.array([0, 0, 1, 1, 2]), ["cat", "dog", "a rather long name of a class"]
    figure = plot.neighbours(numbered_pictures(5), labels, classes, [1, 3], [[0, 2], [4, 2]], title="fc7")
    (axes,) = figure.axes
    assert [int(array.mean()) for array in shown(axes)] == [1, 0, 2, 3, 4, 2]
    assert texts(axes) == ["cat", "cat", "dog", "dog", "a rather long nam…", "dog"]
    wanted = [plot_look.INK, plot_look.BLUE, plot_look.ORANGE] * 2
    wanted[4:] = wanted[5], wanted[4]
    assert [text.get_color() for text in axes.texts] == wanted
    assert figure.get_suptitle() == "fc7: 2 of 4 neighbours are of their picture's class"
    places = [(image.get_extent()[0], image.get_extent()[3]) for image in axes.images]
    assert len(set(places)) == 6
    assert len({top for _, top in places}) == 2


def test_neighbours_in_colour_are_shown_as_they_are(rng):
    pictures = rng.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    (axes,) = plot.neighbours(list(pictures), [0, 0, 0], ["x"], [2], [[0, 1]]).axes
    np.testing.assert_array_equal(shown(axes), pictures[[2, 0, 1]].transpose(0, 2, 3, 1))


def test_a_query_may_have_nobody_near():
    nobody = np.zeros((1, 0), dtype=int)
    figure = plot.neighbours(
        numbered_pictures(1), [0], ["x"], [0], nobody, title="Nearest by codes of 28 bits"
    )
    assert figure.get_suptitle() == "Nearest by codes of 28 bits: no neighbours"
    title = figure._suptitle.get_window_extent()
    assert title.x0 >= 0
    assert title.x1 <= figure.bbox.x1


@pytest.mark.parametrize("found", [[[1, 2]], [1, 2], np.zeros((3, 0), dtype=int)])
def test_neighbours_need_a_row_for_each_query(found):
    with pytest.raises(ValueError, match="2 queries, but found has shape"):
        plot.neighbours(numbered_pictures(3), [0, 0, 0], ["x"], [0, 1], found)


# ---- the timeline ----


def bars(axes):
    """(lane, start, end, colour) of each bar, in milliseconds."""
    return [
        (round(bar.get_y(), 1), round(bar.get_x(), 2), round(bar.get_x() + bar.get_width(), 2), bar.get_facecolor())
        for container in axes.containers
        for bar in container
    ]  # fmt: skip


def test_the_timeline_has_a_lane_for_each_tower_and_one_between_them():
    figure = plot.timeline(STEP, title="AlexNet")
    (axes,) = figure.axes
    lanes = {label.get_text(): y for label, y in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert lanes["tower 0\nsim:0"] < lanes["crossings"] < lanes["tower 1\nsim:1"]
    drawn = bars(axes)
    assert len(drawn) == len(STEP)
    for span in STEP:
        lane = 1.0 if span.tower is None else 2.25 * span.tower
        (start, end), colour = (1000 * span.start_s, 1000 * span.end_s), KINDS[span.kind]
        fitting = [
            bar
            for bar in drawn
            if abs(bar[0] - lane) < 0.1 and bar[1] <= start + 0.01 and end <= bar[2] + 0.01
            if bar[3] == matplotlib.colors.to_rgba(colour)
        ]
        assert fitting, span
    assert axes.get_xlabel() == "milliseconds"
    assert axes.get_xlim() == (0, 50)
    assert figure.get_suptitle() == "AlexNet; one step: 50 ms; 5.62 MB cross between the devices"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(KINDS)


def test_the_timeline_names_what_is_wide_enough_and_labels_each_crossing_with_its_bytes():
    (axes,) = plot.timeline(STEP).axes
    assert sorted(texts(axes)) == sorted(
        ["conv1"] * 4 + ["update"] * 2 + ["→ conv1\n5.53 MB", "→ fc8\n88.6 kB", "← fc8\n512 B"]
    )


def test_labels_of_crossings_that_come_together_lie_apart():
    crossings = [
        Span(f"fc{i}", None, "sim:0, sim:1", "crossing", 0.0205 + i / 1e5, 0.0205 + (i + 1) / 1e5, 123_456)
        for i in range(9)
    ]
    figure = plot.timeline(STEP[:3] + crossings + STEP[-4:])
    figure.draw_without_rendering()
    boxes = sorted(
        text.get_window_extent().extents[[0, 2]].tolist()
        for text in figure.axes[0].texts
        if "fc" in text.get_text()
    )
    assert len(boxes) == 9
    assert all(left[1] < right[0] for left, right in itertools.pairwise(boxes))


def test_names_stay_inside_their_bars():
    figure = plot.timeline(STEP)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [bar.get_window_extent() for container in axes.containers for bar in container]
    for text in axes.texts:
        if "\n" not in text.get_text():
            inner = text.get_window_extent()
            assert any(box.x0 <= inner.x0 and inner.x1 <= box.x1 for box in boxes), text


def test_the_timeline_says_where_both_towers_are_on_one_device():
    model = two_towers("cpu")
    spans = measure_step(model, np.zeros((2, 3, 67, 67), dtype=np.float32), np.array([0, 1]))
    figure = plot.timeline(spans)
    assert figure.get_suptitle().endswith("would cross between two devices")
    assert "crossings\n(one device:\nnothing moves)" in [
        label.get_text() for label in figure.axes[0].get_yticklabels()
    ]


def test_the_timeline_of_one_tower_has_one_lane():
    (axes,) = plot.timeline([span for span in STEP if span.tower == 0]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tower 0\nsim:0"]


def test_the_timeline_needs_spans():
    with pytest.raises(ValueError, match=r"no spans: timeline\.measure_step"):
        plot.timeline([])


# ---- the steps of a photograph ----


def test_digit_steps_show_each_step_and_last_what_the_network_sees(rng):
    image = rng.integers(0, 256, (28, 28), dtype=np.uint8)
    stages = ["as read", "ink alone", "as MNIST"]
    arrays = [np.zeros((90, 60), np.uint8), np.full((90, 60), 255, np.uint8), image]
    figure = plot.digit_steps(SimpleNamespace(image=image, steps=list(zip(stages, arrays, strict=True))))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "as read",
        "ink alone",
        "the network sees\n28 × 28 pixels",
    ]  # the result stands there once
    for axes, array in zip(figure.axes, arrays, strict=True):
        np.testing.assert_array_equal(shown(axes)[0], array)


# ---- gradcheck ----


class HalfWrong(mx.Linear):
    """The first row of the weight's gradient is twice what it should be."""

    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.weight.grad[0] *= 2
        return grad_x


def frames(axes):
    """The cells that have frames, by verdict: {"bug": {(row, column), ...}, ...}"""
    return {
        collection.get_label(): {
            tuple(map(round, path.vertices[:4].mean(axis=0)[::-1])) for path in collection.get_paths()
        }
        for collection in axes.collections
        if collection.get_label() in plot_gradcheck.VERDICTS
    }


def panels(figure):
    return {axes.get_title().split()[0]: axes for axes in figure.axes if axes.get_title()}


def test_gradcheck_shows_the_arrays_with_bugs_and_frames_them(rng):
    report = mx.gradcheck(HalfWrong(3, 2, rng=0), rng.standard_normal((4, 3)))
    figure = plot.gradcheck(report)
    (weight,) = panels(figure).values()
    assert weight.get_title() == "weight (2, 3)\nbugs: 3, kinks: 0, checked: 6"
    assert frames(weight) == {"bug": {(0, 0), (0, 1), (0, 2)}, "kink": set()}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "bug: backward ≠ measured", "kink: no derivative here", "not checked", "tolerance"
    ]  # fmt: skip
    assert figure.axes[-1].get_ylabel() == "|backward − measured| / largest gradient"


def test_gradcheck_writes_the_numbers_into_small_arrays(rng):
    report = mx.gradcheck(HalfWrong(3, 2, rng=0), rng.standard_normal((4, 3)))
    (weight,) = panels(plot.gradcheck(report)).values()
    bug = report.bugs[1]
    assert cell_text(weight)[0, 1] == f"{bug.backward:.2g}\n≠ {bug.measured:.2g}"
    assert all("≠" not in cell_text(weight)[1, column] for column in range(3))


def test_gradcheck_cells_are_relative_to_the_largest_gradient():
    entries = [Entry("x", (i,), says, 4.0, 0, 0, "bug") for i, says in enumerate([4.0, 3.0, 8.0])]
    (axes,) = panels(plot.gradcheck(Report("it", {"x": (3,)}, entries))).values()
    np.testing.assert_allclose(shown(axes)[0].ravel(), [plot_gradcheck.SHARES.vmin, 1 / 8, 4 / 8])


def test_gradcheck_tells_kinks_from_bugs():
    (x,) = panels(plot.gradcheck(mx.gradcheck(mx.ReLU(), np.array([[1.0, 0.0, -1.0]])))).values()
    assert frames(x) == {"bug": set(), "kink": {(0, 1)}}


def test_gradcheck_shows_all_arrays_when_all_pass(rng):
    figure = plot.gradcheck(mx.gradcheck(mx.Conv2D(2, 3, 3, rng=0), rng.standard_normal((1, 2, 4, 4))))
    assert list(panels(figure)) == ["x", "weight", "bias"]
    assert "all pass, checked: 89" in figure.get_suptitle()


def test_gradcheck_lays_filters_out_as_tiles(rng):
    report = mx.gradcheck(mx.Conv2D(2, 5, 3, rng=0), rng.standard_normal((1, 2, 4, 4)))
    report.entries = [  # the entry of filter 3, channel 1, row 2, column 0 is wrong
        Entry(e.array, e.index, 1.0, 2.0, 0, 0, "bug")
        if (e.array, e.index) == ("weight", (3, 1, 2, 0))
        else e
        for e in report.entries
    ]
    (weight,) = panels(plot.gradcheck(report)).values()
    assert shown(weight)[0].shape == (2 * 3, 5 * 3)  # channels down, filters across: wide rather than tall
    assert frames(weight)["bug"] == {(1 * 3 + 2, 3 * 3 + 0)}
    assert (weight.get_ylabel(), weight.get_xlabel()) == ("tiles: axis 1", "tiles: axis 0")
    assert [label.get_text() for label in weight.get_xticklabels()] == list("01234")


def test_gradcheck_hatches_what_was_not_checked(rng):
    figure = plot.gradcheck(mx.gradcheck(mx.ReLU(), rng.standard_normal((10, 10)), max_entries=30))
    (x,) = panels(figure).values()
    assert x.get_title().endswith("checked: 30 of 100")
    assert np.ma.count(x.images[0].get_array()) == 30
    assert x.patch.get_hatch()


def test_gradcheck_folds_a_long_vector(rng):
    (x,) = panels(plot.gradcheck(mx.gradcheck(mx.ReLU(), rng.uniform(1, 2, 59)))).values()
    assert shown(x)[0].shape == (5, 12)
    assert np.ma.count(x.images[0].get_array()) == 60  # one place to spare: white, not hatched
    assert len(x.texts) == 59


def test_gradcheck_shows_a_gradient_that_is_not_a_number():
    entries = [Entry("x", (0, 0), float("nan"), 1.0, 0, 0, "bug"), Entry("x", (0, 1), 1.0, 1.0, 0, 0, "pass")]
    (x,) = panels(plot.gradcheck(Report("it", {"x": (1, 2)}, entries))).values()
    assert shown(x)[0][0, 0] == 1
    assert cell_text(x)[0, 0] == "nan\n≠ 1"


@pytest.mark.parametrize("draw", [plot.curves, plot.accuracy_curves])
def test_a_history_may_come_row_by_row_and_as_text(draw):
    rows = (
        [row(epoch) for epoch in (1, 2)] if draw is plot.curves else [accuracy_row(epoch) for epoch in (1, 2)]
    )
    as_file = [{name: "" if value is None else str(value) for name, value in one.items()} for one in rows]
    lines = [[line.get_xydata().tolist() for line in axes.lines] for axes in draw(rows).axes]
    for given in (iter(rows), iter(as_file)):
        assert [[line.get_xydata().tolist() for line in axes.lines] for axes in draw(given).axes] == lines


def test_the_names_of_mistakes_may_have_any_signs(tmp_path):
    names = ["$5 or $6", r"$\frac$", "a_b^c %"]
    labels, read, shares = [0, 1, 2], [1, 2, 0], [0.9, 0.8, 0.7]
    figure = plot.mistakes(numbered_pictures(3), labels, read, shares, tmp_path / "m.png", classes=names)
    assert texts(figure.axes[0])[0].startswith(r"true \$5 or \$6, read as \$\frac\$")


def test_layers_of_feature_maps_may_come_one_by_one():
    model, x, names = mx.models.lenet5(), np.zeros((1, 1, 28, 28), np.float32), ["c1", "s2", "output"]
    one_by_one, at_once = (plot.feature_maps(model, x, layers=given).axes for given in (iter(names), names))
    assert len(one_by_one) == len(at_once) == 4  # and the picture
