"""What a process of a cluster does in a test: mpiexec -n 4 python cases.py CASE [JSON]; the first one prints JSON."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

import minialex as mx
from minialex import optim, train
from minialex.data.augment import Prepare
from minialex.data.folder import PictureList
from minialex.data.loader import ArrayBatches, PictureBatches
from minialex.training.reports import ErrorReport

rng = np.random.default_rng(0)


def lenet(dtype):
    return mx.models.lenet5(dropout=0.5).astype(dtype), (1, 28, 28)


def alexnet(dtype):
    return mx.models.alexnet(10, devices="cpu,cpu", width=1 / 16, image_size=67).astype(dtype), (3, 67, 67)


def one_tower(dtype):
    return mx.models.alexnet(10, devices="cpu", towers=1, width=1 / 16, image_size=67).astype(dtype), (
        3,
        67,
        67,
    )


def one_tower_on_sim(dtype):
    return mx.models.alexnet(10, devices="sim:0", towers=1, width=1 / 16, image_size=67).astype(dtype), (
        3,
        67,
        67,
    )


def dropout_first(dtype):
    return mx.models.alexnet(10, devices="cpu", preset="torchvision", width=1 / 16, image_size=67).astype(
        dtype
    ), (3, 67, 67)


def vgg(dtype):
    return mx.models.vgg(11, batch_norm=True, num_classes=10, preset="small", width=1 / 16).astype(dtype), (
        3,
        32,
        32,
    )


def vgg_of_imagenet(dtype):
    """Its classifier is a Sequential of its own."""
    return mx.models.vgg(11, num_classes=10, width=1 / 32, image_size=32).astype(dtype), (3, 32, 32)


def on_sim(dtype):
    return mx.models.alexnet(10, devices="sim:0,sim:1", width=1 / 16, image_size=67).astype(dtype), (
        3,
        67,
        67,
    )


def resnet(dtype):
    return mx.models.resnet(8, num_classes=10, preset="cifar", width=0.25).astype(dtype), (3, 32, 32)


def densenet(dtype):
    return mx.models.densenet(22, num_classes=10, preset="small", width=0.25).astype(dtype), (3, 32, 32)


class Losses(ErrorReport):
    """Each step's loss, in a list."""

    read_every = 1

    def __init__(self):
        super().__init__(say=lambda line: None, bar=False)
        self.losses = []

    def look(self, pace):
        self.losses.append(pace.recent.loss)


def fitted(cluster, net, dtype="float64", pictures=37, batch=16, epochs=2, folder=None, resume=None, seed=0):
    model, shape = globals()[net](dtype)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((pictures, *shape)).astype(dtype), rng.integers(0, 10, pictures)
    report = Losses()
    optimizer = mx.SGD(model.parameters(), 0.01, 0.9, 1e-3)
    history = train.fit(
        model,
        optimizer,
        optim.Plateau(0.01, patience=1),
        ArrayBatches(x, y, batch, seed),
        ArrayBatches(x[: pictures // 2], y[: pictures // 2], batch),
        ArrayBatches(x[pictures // 2 :], y[pictures // 2 :], batch),
        epochs=epochs,
        cluster=cluster,
        report=report,
        folder=folder,
        resume=resume,
    )
    return model, report.losses, history


def far(one, other):
    """The largest difference of two lists of arrays, as a share of the largest number of each.

    Of small ones it is the difference itself, in thousandths: a bias before batch normalisation learns rounding errors.
    """
    shares = [
        float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-3)) for a, b in zip(one, other, strict=True)
    ]
    return max(shares, default=0.0)


def arrays(model):
    return [mx.to_numpy(holder.value) for _, holder in model.named_parameters() + model.named_buffers()]


def as_one(cluster, nets, **options):
    """The same runs by all, and by the first one alone: how far they are from each other."""
    return {net: _as_one(cluster, net, **options) for net in nets}


def _as_one(cluster, net, **options):
    model, losses, history = fitted(cluster, net, **options)
    if cluster.first:
        alone, losses_alone, history_alone = fitted(None, net, **options)
        rows = [
            [row[name] for row in history for name in row if name != "seconds"]
            for history in (history, history_alone)
        ]
        return {
            "steps": len(losses),
            "losses": far([np.array(losses)], [np.array(losses_alone)]),
            "weights": far(arrays(model), arrays(alone)),
            "history": far([np.array(rows[0])], [np.array(rows[1])]),
            "counters": model.counters() == alone.counters(),
        }


def bits(cluster, net, **options):
    """The checksum of the weights, and those of each process."""
    from minialex.training.alone import weights_of

    model, _, _ = fitted(cluster, net, **options)
    return cluster.group.gather(weights_of(model))


def photographs(cluster, folder, max_bad, alone=False):
    """Picture files, some of them damaged: a network with dropout and batch normalisation."""
    files = sorted(Path(folder).glob("*.jpg"))
    pictures = PictureList(files, np.arange(len(files)) % 3, list("abc"))
    prepare = Prepare(32, 1 / 64, np.zeros(3, np.float32))
    batches = PictureBatches(pictures, prepare, 4, workers=1, max_bad=max_bad, side=40)
    model = mx.Model(
        conv=mx.Conv2D(3, 4, 5, stride=3, rng=0),
        norm=mx.BatchNorm2D(4),
        relu=mx.ReLU(),
        drop=mx.Dropout(0.5),
        flatten=mx.Flatten(),
        fc=mx.Linear(400, 3, rng=1),
        loss=mx.SoftmaxCrossEntropy(),
        picture_shape=(3, 32, 32),
    ).astype("float64")
    optimizer, report = mx.SGD(model.parameters(), 0.01), Losses()

    class Doubles:  # the same batches in float64, so that differences are seen
        def __init__(self, batches):
            self.batches = batches

        def __getattr__(self, name):
            return getattr(self.batches, name)

        def __len__(self):
            return len(self.batches)

        def share(self, number, of):
            return Doubles(self.batches.share(number, of))

        def shuffled(self, *args, **options):
            return ((x.astype("float64"), labels) for x, labels in self.batches.shuffled(*args, **options))

    train.fit(
        model, optimizer, optim.Constant(0.01), Doubles(batches), epochs=2, cluster=cluster, report=report
    )
    return model, report.losses


def damaged(cluster, folder, max_bad):
    model, losses = photographs(cluster, folder, max_bad)
    if cluster.first:
        alone, losses_alone = photographs(None, folder, max_bad)
        return {
            "steps": [len(losses), len(losses_alone)],
            "losses": far([np.array(losses)], [np.array(losses_alone)]),
            "weights": far(arrays(model), arrays(alone)),
        }


def not_a_number(cluster, number):
    """One process's picture is infinite, and no other's."""
    model, _ = lenet("float32")
    x, y = np.zeros((8, 1, 28, 28), np.float32), np.zeros(8, int)
    batches = ArrayBatches(x, y, 8)
    order = next(batches.share(number, cluster.group.size).shuffled(0))
    x[np.random.default_rng((0, 0)).permutation(8)[number * 8 // cluster.group.size]] = np.inf
    del order
    train.fit(model, mx.SGD(model.parameters(), 0.1), optim.Constant(0.1), batches, epochs=1, cluster=cluster)


def fails(cluster, number, after=1):
    """One process comes upon an error that no other has, in the middle of a backward."""
    model, _ = lenet("float32")

    class Breaks(mx.ReLU):
        steps = 0

        def backward(self, grad_y):
            Breaks.steps += 1
            if Breaks.steps > after:
                raise MemoryError("a matrix of 3 GiB")
            return super().backward(grad_y)

    if cluster.group.number == number:
        model = mx.Sequential(*list(model)[:-1], Breaks(), list(model)[-1])
    else:
        model = mx.Sequential(*list(model)[:-1], mx.ReLU(), list(model)[-1])
    x, y = rng.standard_normal((64, 1, 28, 28), np.float32), rng.integers(0, 10, 64)
    train.fit(model, x, y, loss=mx.SoftmaxCrossEntropy(), lr=0.1, epochs=9, cluster=cluster)


def other_seed(cluster, number):
    """One process shuffles its pictures in another way."""
    fitted(cluster, "lenet", seed=int(cluster.group.number == number))


def other_weights(cluster, number):
    model, _ = lenet("float32")
    if cluster.group.number == number:
        model["c1"].weight.value[0, 0, 0, 0] += 1
    x, y = np.zeros((8, 1, 28, 28), np.float32), np.zeros(8, int)
    train.fit(model, x, y, lr=0.1, epochs=1, cluster=cluster)


def long_run(
    cluster, folder, epochs, pictures=64, resume=False, number=None, when=None, what="SIGTERM", patience=60.0
):
    """A run that is interrupted: process `number` gets a signal before its step `when`."""
    from minialex.cluster import cluster as module
    from minialex.training.checkpoint import load_checkpoint

    cluster.group.patience = patience
    if number == cluster.group.number:
        real, steps = module.Cluster.step, iter(range(1_000_000))

        def step(*args):
            if next(steps) == when:
                os.kill(os.getpid(), getattr(signal, what))
            return real(*args)

        module.Cluster.step = step
    checkpoint = load_checkpoint(Path(folder, "checkpoint.safetensors")) if resume and cluster.first else None
    model, _, history = fitted(
        cluster, "lenet", pictures=pictures, epochs=epochs, folder=folder, resume=checkpoint
    )
    from minialex.training.alone import weights_of

    return {"weights": weights_of(model), "losses": [row["train_loss"] for row in history]}


def sent(cluster, net, parallel, pictures=24):
    """Bytes of three steps, counted; and three times those of the plan."""
    model, shape = globals()[net]("float32")
    x, y = np.zeros((3 * pictures, *shape), np.float32), np.arange(3 * pictures) % 10
    planned = mx.cluster.plan(model, pictures, [cluster.group.size]).of(parallel)
    after_steps, whole = [], cluster.whole

    def note(optimizer):  # what is put together for a checkpoint is not counted
        after_steps.append(cluster.group.bytes_crossed)
        return whole(optimizer)

    cluster.whole = note
    before = cluster.group.bytes_crossed
    train.fit(model, x, y, lr=0.01, epochs=1, batch_size=pictures, cluster=cluster, report=Losses())
    return [after_steps[0] - before, 3 * planned[0].bytes_sent]


def waits_for_ever(cluster, number):
    """One process hangs. The others give up when they have had no answer for long enough."""
    import time

    cluster.group.patience = 1.0
    if cluster.group.number == number:
        time.sleep(60)
    cluster.group.sum(np.zeros(3))


def group(cluster):
    """Sums and words, beside what they should be."""
    own, size = cluster.group, cluster.group.size
    view = np.arange(12.0).reshape(3, 4).T * (own.number + 1)
    before = view.copy()
    total = own.sum(view)
    times = sum(range(1, size + 1))
    return {
        "sum": np.array_equal(total, np.arange(12.0).reshape(3, 4).T * times),
        "left alone": np.array_equal(view, before),
        "float32": str(own.sum(np.float32([1])).dtype),
        "sim": mx.to_numpy(own.sum(mx.Device("sim:0").asarray([1.0, 2.0]))).tolist() == [size, 2 * size],
        "gather": own.gather(own.number) == list(range(size)),
        "first": own.from_first(own.number) == 0,
    }


if __name__ == "__main__":
    case, options = sys.argv[1], json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")
    with mx.cluster.joined(**options.pop("joined", {})) as cluster:
        result = globals()[case](cluster, **options)
        if cluster.first:
            print(json.dumps(result))
