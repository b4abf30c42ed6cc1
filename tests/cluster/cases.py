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


def normalised_towers(dtype):
    towers = (
        mx.Sequential(conv=mx.Conv2D(1, 4, 3, rng=k), bn=mx.BatchNorm2D(4), drop=mx.Dropout(0.2))
        for k in (1, 2)
    )
    model = mx.Model(
        share=mx.Broadcast(),
        towers=mx.Towers(*towers),
        join=mx.Gather(),
        flatten=mx.Flatten(),
        fc=mx.Linear(288, 10, rng=3),
        loss=mx.SoftmaxCrossEntropy(),
        picture_shape=(1, 8, 8),
    )
    return model.astype(dtype), (1, 8, 8)


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


def no_convolution(dtype):
    """What comes before its units has no weights."""
    layers = {
        "flatten": mx.Flatten(),
        "fc1": mx.Linear(36, 7, rng=1),
        "tanh": mx.Tanh(),
        "fc2": mx.Linear(7, 10),
    }
    return mx.Model(**layers, loss=mx.SoftmaxCrossEntropy(), picture_shape=(1, 6, 6)).astype(dtype), (1, 6, 6)


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


def _of_files(cluster, files, bad, at, batch=2, max_bad=9, holdout=None, **options):
    """A run on these; in the first epoch the damaged ones are the batch number `at`."""
    pictures, prepare = PictureList(files, np.arange(len(files)) % 3, list("abc")), Prepare(32, 1 / 64)
    seed, place = 0, slice(at * batch, (at + 1) * batch)
    while set(np.random.default_rng((seed, 0)).permutation(len(files))[place]) != set(bad):
        seed += 1
    batches = PictureBatches(pictures, prepare, batch, seed, workers=0, max_bad=max_bad, side=40)
    if holdout is not None:
        holdout = PictureBatches(
            PictureList(holdout, np.zeros(len(holdout), int), list("abc")), prepare, batch, side=40
        )
    model = mx.Model(flatten=mx.Flatten(), fc=mx.Linear(3 * 32 * 32, 3, rng=1), loss=mx.SoftmaxCrossEntropy())
    optimizer, report = mx.SGD(model.parameters(), 1e-7), Losses()
    train.fit(
        model, optimizer, optim.Constant(1e-7), batches, holdout=holdout, epochs=1, cluster=cluster, report=report,
        **options,
    )  # fmt: skip
    return model, batches, holdout


def damaged_elsewhere(cluster, folder):
    """Unreadable pictures in a last batch, in all of them, and among those that are held out: what is said."""
    files = sorted(Path(folder).glob("*.jpg"))
    good, bad = [*files[:3], *files[5:]], files[3:5]
    return {
        "last": _said(lambda: _of_files(cluster, [*bad, *good[:4]], {0, 1}, at=2, max_bad=1)),
        "all": _said(lambda: _of_files(cluster, bad, {0, 1}, at=0)),
        "held out": _said(lambda: _of_files(cluster, good[:2], {0, 1}, at=0, holdout=files)),
    }


def _said(call):
    try:
        call()
    except Exception as error:  # in all processes, or the next call would hang
        return f"{type(error).__name__}: {error}"
    return "nothing"


def damaged_and_stopped(cluster, folder, runs):
    """An epoch that begins with a batch of unreadable pictures is stopped, and goes on: as a whole one?"""
    files = sorted(Path(folder).glob("*.jpg"))
    whole, _, _ = _of_files(cluster, files, {3, 4}, at=0)
    real, steps = cluster.step, iter(range(100))

    def step(*args):
        if next(steps) == 3 and cluster.first:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)

    cluster.step, stopped = step, False
    try:
        _of_files(cluster, files, {3, 4}, at=0, folder=runs)
    except KeyboardInterrupt:
        stopped = True
    cluster.step = real
    model, _, _ = _of_files(cluster, files, {3, 4}, at=0, folder=runs, resume=runs)
    return {"stopped": stopped, "weights": far(arrays(model), arrays(whole))}


def unlike(cluster):
    """The last process does one thing otherwise than all others: what is said of each."""
    last = cluster.group.number == cluster.size - 1
    x, y = np.random.default_rng(0).standard_normal((12, 1, 6, 6), np.float32), np.arange(12) % 3

    def fit(p=0.5, seed=0, between=mx.ReLU, norm=False, by=cluster, pictures=x, frozen=False, **options):
        layers = {"flatten": mx.Flatten(), "fc1": mx.Linear(36, 4, rng=0), "between": between()}
        layers |= {"drop": mx.Dropout(p, seed=seed), "fc2": mx.Linear(4, 3, rng=0)}
        layers |= {"more": mx.ReLU()} if norm else {}
        model = mx.Model(**layers, loss=mx.SoftmaxCrossEntropy())
        if frozen:
            model["fc1"].weight.lr_scale = 0.0
        usual = {"lr": 0.1, "epochs": 1, "cluster": by, "report": Losses(), "batch_size": 4}
        train.fit(model, pictures, y, **{**usual, **options})

    group = cluster.group
    otherwise = {
        "test": {"test": (x, y)},
        "checkpoint_every": {"checkpoint_every": 2},
        "pictures": {"pictures": x + 1},
        "dropout": {"p": 0.25},
        "masks": {"seed": 1},
        "activation": {"between": mx.Tanh},
        "one more": {"norm": True},
        "frozen": {"frozen": True},
        "epochs": {"epochs": 2},
        "bucket": {"by": mx.cluster.Cluster(group, bucket=100)},
        "kind": {"by": mx.cluster.WeirdTrick(group)},
    }
    found = {
        name: _said(lambda options=options: fit(**options if last else {}))
        for name, options in otherwise.items()
    }
    found["no test"] = _said(lambda: fit(test=None if last else (x, y)))
    found["scheme"] = _said(lambda: fit(by=mx.cluster.WeirdTrick(group, "ab"[last])))
    return found


def refused(cluster):
    """Networks that would learn something else in several processes."""

    class Own(mx.BatchNorm2D):
        pass

    x, y = np.zeros((8, 1, 6, 6), np.float32), np.zeros(8, int)
    last = {"flatten": mx.Flatten(), "fc": mx.Linear(36, 3), "loss": mx.SoftmaxCrossEntropy()}
    own = mx.Model(norm=Own(1), **last)
    several = mx.DataParallel(mx.Model(**last), processes=2)
    options = {"lr": 0.1, "epochs": 1, "cluster": cluster}
    return {
        type(model).__name__: _said(lambda model=model: train.fit(model, x, y, **options))
        for model in (own, several)
    }


def shared_weights(cluster):
    """One weight in two layers, whose gradient is the sum of both: not final when the first of them is done."""

    class Twice(mx.layers.Layer):
        def __init__(self):
            self.one, self.other, self.tanh = mx.Linear(36, 36, rng=0), mx.Linear(36, 36, rng=1), mx.Tanh()
            self.other.weight = self.one.weight

        def parameters(self):
            return [self.one.weight, self.one.bias, self.other.bias]

        def forward(self, x):
            return self.other.forward(self.tanh.forward(self.one.forward(x)))

        def backward(self, grad_y):
            grad = self.tanh.backward(self.other.backward(grad_y))
            of_other = self.one.weight.grad
            grad = self.one.backward(grad)
            self.one.weight.grad = self.one.weight.grad + of_other
            return grad

    def run(by):
        model = mx.Model(
            flatten=mx.Flatten(), twice=Twice(), fc=mx.Linear(36, 3, rng=2), loss=mx.SoftmaxCrossEntropy()
        )
        model.astype("float64")
        x = np.random.default_rng(0).standard_normal((13, 1, 6, 6))
        train.fit(model, x, np.arange(13) % 3, lr=0.1, epochs=2, batch_size=5, cluster=by, report=Losses())
        return arrays(model)

    small = mx.cluster.Cluster(cluster.group, bucket=1000)
    together = run(small)
    return far(together, run(None)) if cluster.first else None


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
            if cluster.group.number == number and Breaks.steps > after:
                raise MemoryError("a matrix of 3 GiB")
            return super().backward(grad_y)

    model = mx.Sequential(*list(model)[:-1], Breaks(), list(model)[-1])
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
    from minialex.training.checkpoint import load_checkpoint

    cluster.group.patience = patience
    if number == cluster.group.number:
        kind = type(cluster)
        real, steps = kind.step, iter(range(1_000_000))

        def step(*args):
            if next(steps) == when:
                os.kill(os.getpid(), getattr(signal, what))
            return real(*args)

        kind.step = step
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
