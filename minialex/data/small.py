"""Small pictures in memory, for networks that are to train in minutes: read once, cropped for each epoch anew."""

import hashlib
import json
from collections.abc import Callable, Iterable

import numpy as np

from minialex.data.decode import read_picture
from minialex.data.folder import find_pictures
from minialex.data.loader import ArrayBatches, Batch, own_part
from minialex.layers.settings import whole

SIDE, MARGIN = 32, 4


def small_pictures(folder, split: str, limit: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Pictures (N, 3, 32, 32) as bytes, labels, and the classes' names: `limit` of them, evenly from all classes.

    folder: as find_pictures takes it. Raises what that does, and UnreadablePicture.
    """
    pictures = find_pictures(folder, split)
    pictures = pictures.part(np.linspace(0, len(pictures) - 1, min(limit, len(pictures))).astype(int))
    arrays = [np.asarray(read_picture(path).resize((SIDE, SIDE)), np.uint8) for path in pictures.files]
    return np.stack(arrays).transpose(0, 3, 1, 2), np.asarray(pictures.labels), pictures.classes


def digest_of(data: Iterable[tuple[np.ndarray, np.ndarray, list[str]]]) -> str:
    """Of all pictures, labels and classes: results of others are not these."""
    digest = hashlib.sha256()
    for pictures, labels, classes in data:
        for part in (pictures.tobytes(), labels.tobytes(), json.dumps(classes).encode()):
            digest.update(part)
    return digest.hexdigest()[:16]


class Cropped(ArrayBatches):
    """Batches of random crops of pictures with 4 zeros around them, mirrored or not (He et al. 2015, section 4.2).

    >>> batches = Cropped(np.ones((5, 3, 32, 32), np.uint8), np.arange(5), batch_size=5)
    >>> x, labels = next(batches.shuffled(epoch=0))
    >>> x.shape, int(x.sum()) < 5 * 3 * 32 * 32
    ((5, 3, 32, 32), True)
    """

    def shuffled(self, epoch, start=0):
        rng = np.random.default_rng((self.seed, whole(epoch, "epoch"), 1))
        for number, (x, labels) in enumerate(super().shuffled(epoch)):  # numbers are drawn one after another
            size = min(self.batch_size, len(self.labels) - number * self.batch_size)
            mine = own_part(np.arange(size), self._share)
            places, toss = rng.integers(0, 2 * MARGIN + 1, (2, size)), rng.random(size)
            if number < start:
                continue
            if not len(mine):
                yield x, labels
                continue
            padded = np.pad(x, [(0, 0), (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])
            (top, left), mirrored = places[:, mine], toss[mine] < 0.5
            height, width = x.shape[2:]
            crops = [p[:, i : i + height, j : j + width] for p, i, j in zip(padded, top, left, strict=True)]
            yield np.stack([c[:, :, ::-1] if m else c for c, m in zip(crops, mirrored, strict=True)]), labels


class Prepared:
    """Batches with a function over their pictures, after they were cropped."""

    def __init__(self, batches: ArrayBatches, prepare: Callable[[np.ndarray], np.ndarray]):
        self.batches, self.prepare = batches, prepare

    def __len__(self):
        return len(self.batches)

    def shuffled(self, epoch: int, start: int = 0) -> Iterable[Batch]:
        return ((self.prepare(x), labels) for x, labels in self.batches.shuffled(epoch, start))

    def in_order(self) -> Iterable[Batch]:
        return ((self.prepare(x), labels) for x, labels in self.batches.in_order())
