"""The pictures of an arm: to train with, to choose its rate by, and to test with; and what makes new ones of them."""

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from minialex.claims.arm import Arm, Experiment
from minialex.data import load
from minialex.data.augment import Colour
from minialex.data.distort import distorted
from minialex.data.loader import ArrayBatches

MARGIN = 4  # zeros around a picture of which crops are taken
HELD_OUT = 5_000  # of the training pictures, to choose rates by
EACH_EPOCH = 2_000  # of CIFAR-10's test pictures, for the curves; all at the end

Pair = tuple[np.ndarray, np.ndarray]
_loaded: dict[str, tuple[Pair, Pair]] = {}


@dataclass(frozen=True)
class Pictures:
    """Bytes (N, C, H, W) and labels (N,): `train`, and `test`, of which `curve` is what is asked each epoch."""

    train: Pair
    test: Pair
    curve: Pair


def pictures_of(arm: Arm, choosing: bool = False) -> Pictures:
    """Of an arm. choosing: pictures held out of the training set stand in for the test set, which nobody looks at.

    The held-out ones are the last 5,000 of each training set, which no arm of ours trains with while a rate is chosen;
    CIFAR-10's arms never do. Quick runs take as many of each as they train with.
    """
    (x, labels), test = loaded(arm.data)
    held = min(HELD_OUT, arm.pictures)
    if choosing:
        test = x[-held:], labels[-held:]
    elif arm.pictures < EACH_EPOCH:
        test = test[0][: arm.pictures], test[1][: arm.pictures]
    most = min(arm.pictures, len(x) - held if choosing or arm.data == "cifar10" else len(x))
    curve = test if arm.data == "mnist" else (test[0][:EACH_EPOCH], test[1][:EACH_EPOCH])
    return Pictures((x[:most], labels[:most]), test, curve)


def check_data(experiment: Experiment) -> list[str]:
    """Load what the arms need; returns what is to be said of it: that they are JPEGs, say.

    Raises FileNotFoundError, with the command that fetches it, where a set is not here.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        for name in sorted({arm.data for arm in experiment.arms.values()}):
            try:
                loaded(name)
            except FileNotFoundError as error:
                fetch = f"python -c 'import minialex as mx; mx.data.load(\"{name}\")'"
                raise FileNotFoundError(f"{error}\nThis fetches it: {fetch}") from None
    return [str(one.message) for one in said]


def loaded(name: str) -> tuple[Pair, Pair]:
    """A set that is here, read-only. In both any beginning has all classes."""
    if name not in _loaded:
        _loaded[name] = load(name, download=False)
        for array in chain(*_loaded[name]):
            array.flags.writeable = False
    return _loaded[name]


def sums_of(experiment: Experiment) -> dict[str, str]:
    """Twelve letters for each set that the arms need: CIFAR-10's published bytes and its JPEGs are not the same.

    Of bytes and labels, in order.
    """
    sums = {}
    for name in sorted({arm.data for arm in experiment.arms.values()}):
        found = hashlib.sha256()
        for array in chain(*loaded(name)):
            found.update(np.ascontiguousarray(array).data)
        sums[name] = found.hexdigest()[:12]
    return sums


def lay_out(folder: Path, names: Iterable[str]) -> None:
    """Write sets as they are in memory, for other processes: to decode 60,000 pictures takes each of them 8 s."""
    for name in names:
        for number, array in enumerate(chain(*loaded(name))):
            np.save(folder / f"{name}{number}.npy", array)


def read_laid_out(folder: Path, names: Iterable[str]) -> None:
    """From now on `loaded` gives what lies there, and reads of it what is looked at."""
    for name in names:
        arrays = [np.load(folder / f"{name}{number}.npy", mmap_mode="r") for number in range(4)]
        _loaded[name] = tuple(arrays[:2]), tuple(arrays[2:])


def scale_of(pictures: np.ndarray):
    """What turns bytes of colour pictures into a network's input: (x - their mean picture) / 64."""
    mean = pictures.mean(axis=0, dtype=np.float64).astype(np.float32)
    return lambda x: (x - mean) / np.float32(64)


class Augmented(ArrayBatches):
    """Batches of pictures that are new in each epoch, all drawn by (seed, epoch).

    crops: of the picture with 4 zeros around it. flips: mirrored or not. colour: PCA colour, as in 2012, section 4.1;
    colour-of-code: as the released code has it. distortions: 1998's, section III.B.

    >>> batches = Augmented(np.ones((5, 3, 32, 32), np.uint8), np.arange(5), 5, seed=1, augment=("crops",))
    >>> x, _ = next(batches.shuffled(epoch=0))
    >>> x.shape, int(x.sum()) < 5 * 3 * 32 * 32
    ((5, 3, 32, 32), True)
    """

    def __init__(self, pictures, labels, batch_size, seed, augment=(), prepare=lambda x: x):
        super().__init__(pictures, labels, batch_size, seed)
        self.augment, self.into_input = augment, prepare
        self.colours = Colour.of(pictures) if {"colour", "colour-of-code"} & set(augment) else None

    def shuffled(self, epoch, start=0):
        rngs = {name: np.random.default_rng((self.seed, epoch, n)) for n, name in enumerate(AUGMENT, 1)}
        for number, (x, labels) in enumerate(super().shuffled(epoch)):  # numbers are drawn one after another
            for name, change in AUGMENT.items():  # in this order, each with numbers of its own
                if name in self.augment:
                    x = change(self, x, rngs[name])
            if number >= start:
                yield self.into_input(x), labels

    def in_order(self):
        return ((self.into_input(x), labels) for x, labels in super().in_order())

    def cropped(self, x, rng):
        padded = np.pad(x, [(0, 0), (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])
        height, width = x.shape[2:]
        top, left = rng.integers(0, 2 * MARGIN + 1, (2, len(x)))
        windows = zip(padded, top, left, strict=True)
        return np.stack([one[:, i : i + height, j : j + width] for one, i, j in windows])

    def flipped(self, x, rng):
        return np.where(rng.random(len(x))[:, None, None, None] < 0.5, x, x[..., ::-1])

    def coloured(self, x, rng):
        return x + np.stack([self.colours.draw(rng) for _ in x])

    def coloured_as_in_code(self, x, rng):
        return x + np.stack([self.colours.draw(rng, "cuda-convnet") for _ in x])

    def distorted(self, x, rng):
        return distorted(x, rng)


AUGMENT = {
    "distortions": Augmented.distorted,
    "crops": Augmented.cropped,
    "flips": Augmented.flipped,
    "colour": Augmented.coloured,
    "colour-of-code": Augmented.coloured_as_in_code,
}
