"""Is it a digit at all? A small second network that was shown what is none, and says so of a picture.

Softmax shares out all of its trust among the classes that there are: of a letter it is as sure as of a digit. What
tells them apart better is to have seen both (Hendrycks, Mazeika and Dietterich, "Deep anomaly detection with outlier
exposure", 2019). So after its training a LeNet-5 gets a second network, of one hidden layer, that reads what S4 makes
of a picture, and learns from digits and from drawn letters, turned digits, pairs, scribbles and blots.

How sure must it be? So sure that of digits which it has never seen REFUSED are called "not sure".
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex.data.digits import draw_digits
from minialex.data.named import class_names
from minialex.data.not_digits import draw_not_digits
from minialex.data.photo import PreparedDigit
from minialex.devices.device import to_numpy
from minialex.errors import CheckpointError, NotFinite
from minialex.layers import Linear, ReLU, Sequential, SoftmaxCrossEntropy
from minialex.layers.init import he_normal
from minialex.layers.sequential import in_mode
from minialex.layers.settings import unmasked, whole
from minialex.training.arrays import check_model, labels_of
from minialex.training.optim import SGD, Cosine
from minialex.training.runs import DOUBT as DOUBT
from minialex.weights import export_grouped, load_with_metadata, save
from minialex.weights.seal import is_sealed, sealed, unsealed
from minialex.words import counted

LAYER = "s4"  # what the second network reads
FRONT = ("c1", "s2", "c3", "s4")  # the layers with parameters up to there
REFUSED = 0.005  # of the digits that are held out; of MNIST's test set it is a little more
HIDDEN, EPOCHS, BATCH, LR = 128, 6, 128, 0.05
MOST = 50_000  # digits to learn from, and two thirds as many pictures of something else
FEWEST, HELD_OUT = 2, 5_000  # digits: of a few, one sets the limit, which then says little
MOST_LOGIT = 1e4  # no limit is so large
HALF = 0.5  # the share that a digit must have, to be the answer


# -- The second network ------------------------------------------------------------------------------------


class Doubt:
    """margin = (logit of "a digit") - (logit of "none"); a picture is doubted where that is below `least`.

    `network` reads (what S4 makes of the picture - mean) / std.
    """

    def __init__(self, network: Sequential, mean: np.ndarray, std: np.ndarray, least: float, of: str):
        self.network, self.mean, self.std, self.least, self.of = network.eval(), mean, std, least, of

    def margins(self, model, images: np.ndarray) -> np.ndarray:
        """For each of the images, uint8 (N, 1, 28, 28): float32 (N,)."""
        return self._margins(seen_by(model, images))

    def _margins(self, seen):
        logits = self.network.forward((seen - self.mean) / self.std)
        return logits[:, 0] - logits[:, 1]


def learn_doubt(model, images: np.ndarray, labels: np.ndarray, seed: int = 0) -> Doubt:
    """The second network of a trained LeNet-5, from its training digits: uint8 (N, 1, 28, 28) and labels (N,).

    Of these, up to 50,000 are learned from and up to 5,000, a sixth at most, set the limit. The model stays as it is;
    the same seed gives the same numbers. Raises ValueError for fewer than 2 digits, for other pictures, and another
    number of labels; TypeError for what is no network.

    >>> from minialex.models import lenet5
    >>> model, (images, labels) = lenet5(), draw_digits(60)
    >>> learn_doubt(model, images, labels).margins(model, images).shape
    (60,)
    """
    check_reads_digits(model, "learn_doubt")
    images, labels = np.asarray(unmasked(images, "images")), labels_of(labels, "labels")
    if images.dtype != np.uint8 or images.shape[1:] != (1, 28, 28):
        raise ValueError(f"learn_doubt: images are uint8 (N, 1, 28, 28), not {images.dtype} {images.shape}")
    if len(images) != len(labels):
        raise ValueError(
            f"learn_doubt: {counted(len(images), 'picture')}, but {counted(len(labels), 'label')}: one each is needed"
        )
    if len(images) < FEWEST:
        raise ValueError(
            f"{counted(len(images), 'digit')}: what a digit is cannot be learned from fewer than {FEWEST}"
        )
    held_out = min(HELD_OUT, max(1, len(images) // 6))
    count = min(MOST, len(images) - held_out)
    rng = np.random.default_rng(whole(seed, "seed"))
    others = draw_not_digits(images[:count], labels[:count], 2 * count // 3, seed)
    shown = [images[:count], draw_digits(count // 10, seed)[0]]  # a pen's strokes are even, unlike MNIST's
    seen = np.concatenate([seen_by(model, some) for some in (*shown, others) if len(some)])
    none = np.repeat([0, 1], [len(seen) - len(others), len(others)])
    mean, std = seen.mean(axis=0), seen.std(axis=0) + np.float32(1e-3)
    network = Sequential(
        hidden=Linear(seen.shape[1], HIDDEN, rng=rng, init=he_normal), relu=ReLU(),
        answer=Linear(HIDDEN, 2, rng=rng),
    )  # fmt: skip
    _fit(network, (seen - mean) / std, none, rng)
    doubt = Doubt(network, mean, std, 0.0, fingerprint(export_grouped(model)))
    doubt.least = float(np.quantile(doubt.margins(model, images[-held_out:]), REFUSED))
    return doubt


def check_reads_digits(model, function: str) -> None:
    """Raises TypeError for what is no network, ValueError for one without what the second network reads."""
    check_model(model, function)
    if LAYER not in getattr(model, "layers", ()):
        raise ValueError(f"{function}: {model} has no layer {LAYER}, which a LeNet-5 has")


def _fit(network, x, labels, rng):
    loss, schedule = SoftmaxCrossEntropy(), Cosine(LR, EPOCHS)
    optimizer = SGD(network.parameters(), LR, momentum=0.9, weight_decay=1e-4)
    for epoch in range(EPOCHS):
        optimizer.lr, order = schedule(epoch), rng.permutation(len(x))
        for first in range(0, len(x), BATCH):
            batch = order[first : first + BATCH]
            loss.forward(network.forward(x[batch]), labels[batch])
            network.backward(loss.backward(), input_grad=False)
            optimizer.step()


def seen_by(model, images: np.ndarray) -> np.ndarray:
    """What S4 makes of pictures, uint8 (N, 1, 28, 28): float32 (N, D). The layers after it do not run."""
    names = list(model.layers)
    front = {name: model.layers[name] for name in names[: names.index(LAYER) + 1]}
    front = copy.deepcopy(front, {id(p): p for p in model.parameters()})  # all but the parameters is copied
    rows = []
    for first in range(0, len(images), 500):
        x = model.device.asarray(model.prepare(images[first : first + 500]).astype(model.dtype, copy=False))
        for layer in front.values():
            x = layer.eval().forward(x)
        rows.append(to_numpy(x).reshape(len(x), -1).astype(np.float32))
    return np.concatenate(rows)


def fingerprint(parameters: Mapping[str, np.ndarray]) -> str:
    """Of the parameters up to S4, by name: a second network belongs to these alone."""
    digest = hashlib.sha256()
    for name in sorted(parameters):
        if name.split(".")[0] in FRONT:
            digest.update(np.ascontiguousarray(parameters[name]).tobytes())
    return digest.hexdigest()


# -- In a run's folder -------------------------------------------------------------------------------------


def save_doubt(path: str | Path, doubt: Doubt) -> None:
    """Keep it, with a checksum; see load_doubt."""
    arrays = {"mean": doubt.mean, "std": doubt.std}
    for name in ("hidden", "answer"):
        layer = doubt.network[name]
        arrays |= {f"{name}.weight": layer.weight.value, f"{name}.bias": layer.bias.value}
    save(path, arrays, sealed(arrays, {"least": doubt.least, "of": doubt.of}))


def load_doubt(path: str | Path, model) -> Doubt | None:
    """The second network that is kept in a file, or None where that belongs to other weights than the model's.

    Raises FileNotFoundError where there is none, CheckpointError, naming the file, where it is damaged, TypeError for
    what is no network, ValueError for one that is no LeNet-5.
    """
    check_reads_digits(model, "load_doubt")
    arrays, texts = load_with_metadata(path)
    if not is_sealed(texts):
        raise CheckpointError(f"{path} is damaged: it has no checksum")
    state = unsealed(path, arrays, texts)
    wide = np.size(arrays.get("mean", ()))
    shapes = {"mean": (wide,), "std": (wide,), "hidden.weight": (HIDDEN, wide), "hidden.bias": (HIDDEN,),
              "answer.weight": (2, HIDDEN), "answer.bias": (2,)}  # fmt: skip
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            found = "no" if array is None else f"{array.dtype} {array.shape} as"
            raise CheckpointError(f"{path} is damaged: it has {found} {name}, not finite float32 {shape}")
    least = state.get("least")
    if not (arrays["std"] > 0).all():
        raise CheckpointError(f"{path} is damaged: a standard deviation in it is {arrays['std'].min()}")
    if not isinstance(least, float) or not abs(least) < MOST_LOGIT:
        raise CheckpointError(f"{path} is damaged: its limit is {least!r}, not a number")
    if state.get("of") != fingerprint(export_grouped(model)):
        return None
    reads = seen_by(model, np.zeros((1, 1, 28, 28), np.uint8)).shape[1]
    if wide != reads:
        raise CheckpointError(f"{path} is damaged: it reads {wide} numbers, S4 gives {reads}")
    network = Sequential(hidden=Linear(wide, HIDDEN), relu=ReLU(), answer=Linear(HIDDEN, 2))
    for name in ("hidden", "answer"):
        network[name].weight.value[...] = arrays[f"{name}.weight"]
        network[name].bias.value[...] = arrays[f"{name}.bias"]
    return Doubt(network, arrays["mean"], arrays["std"], least, state["of"])


# -- Reading a digit ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network reads in a picture: `digit`, the likeliest class; `shares` (classes,), which add up to 1.

    `sure` is None where nobody asked whether it is a digit; where it is False, `why` says why not.
    """

    digit: int
    shares: np.ndarray
    sure: bool | None
    why: str = ""


def read_prepared(model, prepared: PreparedDigit, doubt: Doubt | None = None) -> Reading:
    """What the model reads in a picture that digit_from_picture prepared, and whether that is a digit at all.

    It is not sure where two pieces of ink stand side by side, where `doubt` is below its limit, and where no class has
    half of the share. A model whose classes are not the ten digits gives no verdict.
    Raises NotFinite where the model gives no numbers, TypeError for what is no network.

    >>> from minialex.data import digit_from_picture
    >>> from minialex.models import lenet5
    >>> reading = read_prepared(lenet5(), digit_from_picture(draw_digits(1)[0][0, 0]))
    >>> reading.shares.shape, reading.sure, reading.why
    ((10,), False, 'no digit has half of the share')
    """
    check_model(model, "read_digit")
    images = prepared.image[None, None]
    with in_mode(model, training=False):
        x = model.device.asarray(model.prepare(images).astype(model.dtype, copy=False))
        logits = to_numpy(model.forward(x))[0].astype(np.float64)
    if not np.isfinite(logits).all():
        raise NotFinite(f"the network gives {logits.max()}")
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    digit = int(shares.argmax())
    if (getattr(model, "classes", None) or class_names("mnist")) != class_names("mnist"):
        return Reading(digit, shares, None)
    why = prepared.doubt
    if (
        not why
        and doubt is not None
        and not (margin := float(doubt.margins(model, images)[0])) >= doubt.least
    ):
        why = (
            f"it looks less like the digits that were learned than like letters or scribbles ({margin:.1f}, "
        )
        why += f"and {100 * (1 - REFUSED):g} % of digits reach {doubt.least:.1f})"
    if not why and shares.max() < HALF:
        why = "no digit has half of the share"
    return Reading(digit, shares, not why, why)
