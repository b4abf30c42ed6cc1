"""Networks with batch normalisation and with exits through the training loop: resumed, in processes, tested."""

import numpy as np
import pytest

import minialex as mx
from minialex import train, weights
from minialex.data.loader import ArrayBatches
from minialex.layers.leaving import surest
from minialex.training.checkpoint import load_checkpoint
from minialex.training.optim import Constant

NETWORKS = {
    "resnet": lambda: mx.models.resnet(8, 3, "cifar", width=0.25, image_size=8),
    "densenet": lambda: mx.models.densenet(10, 3, "small", width=0.5, image_size=8),
    "googlenet": lambda: mx.models.googlenet(3, width=0.05, image_size=33),
}


def batches(model, count=40, size=10):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, count)
    x = rng.standard_normal((count, *model.picture_shape)) + labels[:, None, None, None]
    return ArrayBatches(x.astype(np.float32), labels.astype(np.uint8), size, seed=1)


def run(make, folder, epochs, resume=None, processes=1):
    model = make()
    data = batches(model, size=10 * processes)  # 8 are the least for a process
    optimizer = mx.SGD(model.parameters(), 0.02)
    trained = mx.DataParallel(model, processes) if processes > 1 else model
    history = train.fit(
        trained, optimizer, Constant(0.02), data, data, epochs=epochs, folder=folder, resume=resume
    )
    if processes > 1:
        trained.close()
    return model, history


@pytest.mark.parametrize("name", NETWORKS)
def test_a_resumed_run_ends_with_the_bits_of_one_that_never_stopped(tmp_path, name):
    whole, history = run(NETWORKS[name], tmp_path / "whole", 3)
    run(NETWORKS[name], tmp_path / "parts", 1)
    checkpoint = load_checkpoint(tmp_path / "parts" / "checkpoint.safetensors")
    parts, again = run(NETWORKS[name], tmp_path / "parts", 3, resume=checkpoint)
    for key, array in weights.export_grouped(whole).items():
        assert weights.export_grouped(parts)[key].tobytes() == array.tobytes(), key
    assert [row["train_loss"] for row in again] == [row["train_loss"] for row in history]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert any("running_var" in key for key in weights.load(tmp_path / "whole" / "model.safetensors"))


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    run(NETWORKS["resnet"], tmp_path, 1)
    record = weights.read_record(tmp_path / "model.safetensors")
    assert record["network"] == "resnet"
    other = mx.models.resnet(8, 3, "cifar", width=0.25, image_size=8, plain=True)
    with pytest.raises(
        ValueError, match="it is for plain False, shortcut 'A', this model is plain True, shortcut None"
    ):
        weights.check_record(record, other, "model.safetensors")


def test_in_processes_each_share_is_normalised_by_itself_and_the_first_ones_numbers_run():
    model, alone = (NETWORKS["resnet"]() for _ in range(2))
    x = batches(model).in_order().__next__()[0]
    x = np.concatenate([x, 3 * x])  # the shares differ
    with mx.DataParallel(model, 2) as parallel:
        y = parallel.forward(x)
        parallel.backward(np.ones_like(y))
        first = alone.forward(x[:10])
        np.testing.assert_allclose(y[:10], first, rtol=1e-5, atol=1e-6)
        for (name, ours), (_, theirs) in zip(model.named_buffers(), alone.named_buffers(), strict=True):
            np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-5, atol=1e-6, err_msg=name)
        again = NETWORKS["resnet"]()
        np.testing.assert_allclose(y[10:], again.forward(x[10:]), rtol=1e-4, atol=1e-5)
        parallel.eval()
        np.testing.assert_allclose(parallel.forward(x), model.forward(x), rtol=1e-5, atol=1e-6)


def test_a_run_in_two_processes_is_the_same_each_time(tmp_path):
    one, _ = run(NETWORKS["resnet"], tmp_path / "one", 2, processes=2)
    two, _ = run(NETWORKS["resnet"], tmp_path / "two", 2, processes=2)
    for key, array in weights.export_grouped(one).items():
        assert weights.export_grouped(two)[key].tobytes() == array.tobytes(), key


def test_in_processes_the_heads_of_exits_are_trained_and_saved_too(tmp_path):
    before = NETWORKS["googlenet"]()
    run(NETWORKS["googlenet"], tmp_path, 1, processes=2)
    old, new = weights.export_grouped(before), weights.load(tmp_path / "model.safetensors")
    assert set(new) == set(old)
    assert all((new[name] != old[name]).any() for name in new if name.startswith("aux") and "fc" in name)
    weights.load_pretrained(NETWORKS["googlenet"](), tmp_path / "model.safetensors")


def test_in_processes_pictures_leave_where_they_would_in_one():
    model = NETWORKS["googlenet"]().eval()
    x = np.random.default_rng(0).standard_normal((16, 3, 33, 33)).astype(np.float32)
    with mx.DataParallel(model, 2) as parallel:
        parallel.forward(x)  # so that the other one is there, and knows nothing of leaving
        for leave_at in (float(np.median(surest(model.answers(x)[:, 0]))), 0.0, None):
            model.leave_at = leave_at
            y, left = parallel.forward(x), model.left
            np.testing.assert_allclose(y, model.forward(x), rtol=1e-5, atol=1e-6)
            assert (left is None) == (leave_at is None)
            np.testing.assert_array_equal(left, model.left)
            assert leave_at != 0.0 or left.tolist() == [1] * 16
