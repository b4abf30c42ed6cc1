"""Pictures that look alike to a network: near to each other in its last hidden layer, or in a short binary code of it.

Krizhevsky, Sutskever and Hinton (2012), section 6.1: pictures whose fc7 vectors are near to each other by Euclidean
distance look alike, though pixel by pixel they are far apart. Distances of 4096 numbers are slow work, they add; an
autoencoder may turn the vectors into short binary codes, as Krizhevsky and Hinton did with pixels ("Using very deep
autoencoders for content-based image retrieval", 2011). Theirs is deep and trained layer by layer; ours is shallow.
"""

import copy

import numpy as np

from minialex.devices.device import to_numpy
from minialex.layers.activation import Sigmoid
from minialex.layers.init import generator, normal
from minialex.layers.layer import Array
from minialex.layers.linear import Linear
from minialex.layers.loss import Loss
from minialex.layers.sequential import Sequential
from minialex.layers.settings import unmasked
from minialex.shapes import is_whole, numbers_of, positive
from minialex.training.arrays import BATCH_SIZE, given_batches
from minialex.training.optim import SGD
from minialex.training.schedules import Cosine
from minialex.words import a_or_an, counted, did_you_mean

BLOCK = 2**20  # numbers that `nearest` subtracts at one time
STEEP = 2.0  # standard deviation of the encoder's first weights


def features(
    model: Sequential, x=None, layer: str = "relu7", *, batches=None, batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """What a layer makes of all pictures, in order, in evaluation mode: float32 (N, D), on the host.

    features(model, x): an array, as `train.fit` takes it; or features(model, batches), whose labels nobody reads.
    layer: its name in the model; what both towers made of a picture stands side by side, what has height and width is
    flattened. The layers after it do not run, and the model stays as it is: copies run, which share its parameters.
    Raises TypeError for what is no Sequential, ValueError for a layer that the model does not have.

    >>> model = Sequential(fc1=Linear(4, 3), squash=Sigmoid(), fc2=Linear(3, 2))
    >>> features(model, np.ones((5, 4), np.float32), "squash").shape
    (5, 3)
    """
    batches = given_batches("features", model, x, None, batches, batch_size, labels=False)
    if not isinstance(model, Sequential):
        raise TypeError(f"features takes a Sequential, not {a_or_an(type(model).__name__)}")
    names = list(model.layers)
    if layer not in names:
        raise ValueError(
            f"there is no layer {layer!r}{did_you_mean(layer, names)}; the model has {', '.join(names)}"
        )
    wanted = {name: model.layers[name] for name in names[: names.index(layer) + 1]}
    wanted = copy.deepcopy(wanted, {id(p): p for p in model.parameters()})  # all but the parameters is copied
    rows = []
    for x, _ in batches.in_order():
        x = model.device.asarray(x)
        for step in wanted.values():
            x = step.eval().forward(x)
        parts = x if isinstance(x, tuple) else (x,)
        whole = np.concatenate(
            [to_numpy(part) for part in parts], axis=1
        )  # (n, C, ...): channels of both towers
        rows.append(whole.reshape(len(whole), -1).astype(np.float32))
    return np.concatenate(rows)


def nearest(features: np.ndarray, queries, count: int = 5) -> np.ndarray:
    """The nearest rows by Euclidean distance, nearest first: (Q, count) row numbers.

        distance[q, n] = sqrt(sum over d of (features[q, d] - features[n, d])^2)

    features (N, D); queries (Q,) row numbers, which are not their own neighbours. Equally near ones come in the order
    of their numbers. Differences are taken in blocks, and not by |a|^2 - 2ab + |b|^2, in which the small ones drown.
    Raises ValueError where there are not so many neighbours, no such row, or a number is not finite.

    >>> nearest(np.array([[0.0], [5.0], [1.0], [7.0]]), queries=[0, 3], count=2)
    array([[2, 1],
           [1, 2]])
    """
    features = _numbers(features, "nearest: distances")
    if not np.isfinite(features).all():
        raise ValueError(
            f"nearest: distances are of finite numbers; these are {features.dtype}, NaN or infinity among them"
        )

    def squared_distances(query):
        wide = np.result_type(features, np.float32)  # bytes would wrap around, float16 holds no large squares
        rows = max(1, BLOCK // features.shape[1])
        for first in range(0, len(features), rows):
            difference = np.subtract(features[first : first + rows], features[query], dtype=wide)
            yield np.square(difference).sum(axis=1, dtype=np.float64)

    return _nearest(features, queries, count, lambda query: np.concatenate([*squared_distances(query)]))


def hamming(codes: np.ndarray, queries, count: int = 5) -> np.ndarray:
    """As `nearest`, of packed codes (N, bytes) by Hamming distance: the number of bits in which two codes differ.

    Raises ValueError for codes that are not uint8, or are hidden by a mask, and as `nearest` does.

    >>> hamming(np.array([[0b1111], [0b0000], [0b0111]], dtype=np.uint8), queries=[0], count=2)
    array([[2, 1]])
    """
    codes = np.asarray(unmasked(codes, "codes"))
    if codes.dtype != np.uint8:
        raise ValueError(f"codes are packed into bytes, uint8; these are {codes.dtype}")
    return _nearest(codes, queries, count, lambda query: hamming_distances(codes, codes[query]))


def hamming_distances(codes: np.ndarray, code: np.ndarray) -> np.ndarray:
    """In how many bits each of the codes (N, bytes) differs from one code (bytes,): int64 (N,)."""
    return np.bitwise_count(codes ^ code).sum(axis=1, dtype=np.int64)


def _nearest(rows, queries, count, distances):
    """The `count` smallest of distances(query) for each query, itself left out: (Q, count)."""
    if rows.ndim != 2:
        raise ValueError(f"neighbours are found among rows, (N, D), not in {rows.shape}")
    if not is_whole(count):
        raise ValueError(f"count must be a whole number >= 1, not {count!r}")
    if not 1 <= count < len(rows):
        raise ValueError(
            f"{counted(len(rows), 'row has', 'rows have')} no {counted(count, 'neighbour')} each"
        )
    queries = np.atleast_1d(np.asarray(unmasked(queries, "queries")))
    if queries.dtype.kind in "iu" and not all(0 <= query < len(rows) for query in queries):
        raise ValueError(
            f"these are not all among the {counted(len(rows), 'row')}, from 0 to {len(rows) - 1}: {queries.tolist()}"
        )
    queries = numbers_of(queries, len(rows), "queries")
    found = np.empty((len(queries), count), dtype=np.int64)
    for place, query in enumerate(queries):
        order = np.argsort(distances(query), kind="stable")  # equal ones stay in order
        found[place] = order[order != query][:count]
    return found


def _numbers(features, what):
    """An array of real numbers, of which no mask hides any. what: is made of them, for messages."""
    features = np.asarray(unmasked(features))
    if features.dtype.kind not in "biuf":
        raise ValueError(f"{what} are of numbers, not of {features.dtype}")
    return features


class SquaredError(Loss):
    """loss = mean over n of sum over d of (y[n, d] - target[n, d])^2

    Shapes: y and target (N, D); loss 0-d; grad_y (N, D) = grad_loss * 2 * (y - target) / N.
    Raises ValueError for a target of another shape.

    >>> SquaredError().forward(np.array([[1.0, 2.0]]), np.array([[1.0, 5.0]]))
    array(9.)
    """

    def forward(self, y: Array, target: Array) -> Array:
        if target.shape != y.shape:
            raise ValueError(f"{self}: y has shape {y.shape}, the target {target.shape}")
        difference = y - target
        self.save(difference=difference)
        return self.xp.asarray((difference * difference).sum(axis=1).mean())

    def backward(self, grad_loss=1.0) -> Array:
        difference = self.saved.difference
        return difference * (grad_loss * 2 / len(difference))


class BinaryCodes:
    """An autoencoder of one hidden layer, which is narrow: what the hidden units say, rounded, is the code.

        hidden = sigmoid(x encode^T + b),   y = hidden decode^T + c,   loss = mean |y - x|^2,   code = hidden > 0.5

    x are the features less their mean, divided so that |x|^2 is 1 on the average: a loss of 0.1 says that 90 % of
    what tells the vectors apart has come through. The encoder starts with large weights: the hidden units spread
    between 0 and 1 from the first step on, and rounding them keeps much of what they say. Among 400 drawn pictures,
    82 % of the five nearest by 28 bits are of the right class, 88 % by 64 bits, 91 % by the vectors themselves; an
    encoder that was never trained comes within a point of that: random directions make good codes of small sets.
    (Krizhevsky and Hinton 2011, with 28 and 256 bits.)

    >>> two = np.repeat([[0.0, 0.0, 9.0], [9.0, 0.0, 0.0]], 10, axis=0)
    >>> coder = BinaryCodes(bits=8)
    >>> losses = coder.fit(two, epochs=20)
    >>> codes = coder.codes(two)
    >>> codes.shape, codes.dtype, len(np.unique(codes))
    ((20, 1), dtype('uint8'), 2)
    """

    def __init__(self, bits: int = 28, seed: int = 0):
        self.bits, self.seed = positive(bits, "bits"), seed
        self.net: Sequential | None = None

    def fit(self, features: np.ndarray, epochs: int = 60, batch_size: int = 50) -> list[float]:
        """Train on features (N, D); returns the mean loss of each epoch. The same seed gives the same codes.

        Raises ValueError for another shape, for what is no table of real numbers, and for NaN and infinity.
        """
        features = _numbers(features, "BinaryCodes: codes").astype(np.float32, copy=False)
        if features.ndim != 2 or not features.size:
            raise ValueError(f"features are (N, D), not {features.shape}")
        rng = generator(self.seed)
        epochs, batch_size = positive(epochs, "epochs"), positive(batch_size, "batch_size")
        self.mean = features.mean(axis=0)
        self.length = float(np.sqrt(np.square(features - self.mean).sum(axis=1).mean())) or 1.0
        if not np.isfinite(self.length):
            raise ValueError(
                f"BinaryCodes: the features go from {features.min()} to {features.max()}: NaN, infinity and numbers "
                "whose squares are too large have no codes; look at the network that gave them"
            )
        D = features.shape[1]
        self.net = Sequential(
            encode=Linear(D, self.bits, rng=rng, init=normal(STEEP)),
            squash=Sigmoid(),
            decode=Linear(self.bits, D, init=normal(0.0)),  # at first it says the mean: loss 1
        )
        x, squared_error = self._prepared(features), SquaredError()
        schedule = Cosine(1 / self.bits, epochs)  # the more bits, the steeper the loss
        optimizer = SGD(self.net.parameters(), schedule(0))
        losses = []
        for epoch in range(epochs):
            optimizer.lr, total = schedule(epoch), 0.0
            order = rng.permutation(len(x))
            for first in range(0, len(x), batch_size):
                batch = x[order[first : first + batch_size]]
                y = self.net.forward(batch)
                total += float(squared_error.forward(y, batch)) * len(batch)
                self.net.backward(squared_error.backward(), input_grad=False)
                optimizer.step()
            losses.append(total / len(x))
        return losses

    def codes(self, features: np.ndarray) -> np.ndarray:
        """Features (N, D) -> packed codes, uint8 (N, ceil(bits / 8)); the last byte is filled up with zeros.

        Raises ValueError before `fit`, for features that are not as many as those, or no real numbers, and for NaN.
        """
        if self.net is None:
            raise ValueError("BinaryCodes: fit comes before codes")
        features = _numbers(features, "BinaryCodes: codes").astype(np.float32, copy=False)
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(
                f"BinaryCodes: features are (N, {len(self.mean)}), as those of fit, not {features.shape}"
            )
        if np.isnan(features).any():
            raise ValueError("BinaryCodes: NaN has no code; look at the network that gave these features")
        hidden = self.net["encode"].forward(self._prepared(features))
        return np.packbits(hidden > 0, axis=1)  # sigmoid(0) is 0.5

    def _prepared(self, features):
        return (features - self.mean) / np.float32(self.length)
