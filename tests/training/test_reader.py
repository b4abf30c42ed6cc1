"""Reading a digit with the weights of a run, in one call."""

import numpy as np
import pytest

import minialex as mx
from minialex.data.digits import load_drawn_digits
from minialex.training.doubt import learn_doubt, save_doubt


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, trained for a moment on drawn digits, with its second network."""
    folder = tmp_path_factory.mktemp("runs") / "lenet"
    (x, y), _ = load_drawn_digits(train=600, test=0)
    model = mx.models.lenet5()
    mx.train.fit(model, x, y, lr=0.05, epochs=3, batch_size=32, folder=folder)
    save_doubt(folder / "doubt.safetensors", learn_doubt(model, x, y))
    return folder, x, y


def test_a_folder_and_a_picture_are_enough(run):
    folder, x, y = run
    right = sum(
        mx.train.read_digit(folder, one[0]).digit == label for one, label in zip(x[:20], y[:20], strict=True)
    )
    assert right >= 15
    assert mx.train.load_reader(folder).doubt is not None


def test_a_weight_file_is_read_with_what_lies_beside_it(run, tmp_path):
    folder, x, _ = run
    of_folder, of_file = (
        mx.train.read_digit(path, x[0, 0]) for path in (folder, folder / "model.safetensors")
    )
    assert np.array_equal(of_folder.shares, of_file.shares)
    assert of_folder.sure == of_file.sure
    alone = tmp_path / "model.safetensors"
    alone.write_bytes((folder / "model.safetensors").read_bytes())
    assert "is not there" in mx.train.load_reader(alone).without


def test_a_model_is_asked_alone(run):
    folder, x, _ = run
    reader = mx.train.load_reader(str(folder))
    reading = mx.train.read_digit(reader.model, mx.data.digit_from_picture(x[0, 0]))
    assert reading.digit == reader.read(x[0, 0]).digit


def test_weights_of_a_network_of_ones_own_are_not_called_alexnets(tmp_path):
    model = mx.Sequential(conv1=mx.Conv2D(1, 8, 5), flatten=mx.Flatten(), fc=mx.Linear(8 * 24 * 24, 10))
    mx.save(model, tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match=r"has no c1, it is no LeNet-5's; minialex classify") as told:
        mx.train.read_digit(tmp_path / "small.safetensors", np.zeros((28, 28), np.uint8))
    assert "AlexNet" not in str(told.value)
