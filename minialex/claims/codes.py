"""Short binary codes of features, by an autoencoder (Krizhevsky and Hinton 2011, "Using very deep autoencoders for
content-based image retrieval"), much smaller: one hidden layer of sigmoids, whose outputs are rounded."""

import numpy as np

from minialex.layers import Linear, Sequential, Sigmoid
from minialex.training.optim import SGD

EPOCHS, BATCH, RATE = 10, 100, 0.5


def binary_codes(
    features: np.ndarray, others: np.ndarray, bits: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of both, bits packed into bytes (N, bits / 8), by an autoencoder trained on the first alone.

    Features are centred and scaled to a mean square of 1. Outputs of the hidden sigmoids above 1/2 are ones.

    >>> rows = np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)
    >>> codes, _ = binary_codes(rows, rows[:5], bits=16, seed=0)
    >>> codes.shape, str(codes.dtype)
    ((300, 2), 'uint8')
    """
    mean = features.mean(axis=0)
    scale = np.sqrt(((features - mean) ** 2).mean()) or 1.0
    x = ((features - mean) / scale).astype(np.float32)
    encoder = Sequential(Linear(x.shape[1], bits, rng=seed), Sigmoid())
    decoder = Linear(bits, x.shape[1], rng=seed + 1)
    optimizer = SGD([*encoder.parameters(), *decoder.parameters()], RATE / x.shape[1])
    for epoch in range(EPOCHS):
        order = np.random.default_rng((seed, epoch)).permutation(len(x))
        for first in range(0, len(x), BATCH):
            batch = x[order[first : first + BATCH]]
            made = decoder.forward(encoder.forward(batch))
            encoder.backward(
                decoder.backward((made - batch) / len(batch))
            )  # of half the mean squared distance
            optimizer.step()
    both = x, ((others - mean) / scale).astype(np.float32)
    of_train, of_others = (np.packbits(encoder.forward(part) > 0.5, axis=1) for part in both)
    return of_train, of_others
