"""Initialisers: how weights are drawn. Each is called as f(shape, fan_in, fan_out, rng) and gives float32 on the host.

Weights are always drawn on the host and then moved: the same seed gives the same network on any device.
"""

from collections.abc import Callable

import numpy as np

from minialex.words import did_you_mean

Initializer = Callable[..., np.ndarray]

DEFAULT_SEED = 0


def generator(rng=None) -> "np.random.Generator":  # in quotes: numpy.random costs time to import
    """A generator from a generator or a seed. Left out, the seed is 0, so that nothing is ever unrepeatable.

    Raises TypeError or ValueError for what `np.random.default_rng` does not take, and for True and False.
    """
    try:
        if isinstance(rng, bool):
            raise TypeError("it is no seed")
        return np.random.default_rng(DEFAULT_SEED if rng is None else rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng is {rng!r}: give a seed, rng=0, or a generator, np.random.default_rng(0); a seed is a whole number "
            ">= 0, or several"
        ) from None


def drawn(init: Initializer, shape, fan_in, fan_out, rng=None) -> np.ndarray:
    """Weights by an initialiser. Raises TypeError for what is none, a name say."""
    if not callable(init):
        meant = did_you_mean(init, ("he_normal", "xavier_uniform", "lecun_uniform_1998", "normal"))
        raise TypeError(
            f"init is {init!r}{meant}: give a function, init=mx.init.he_normal, or mx.init.normal(0.01)"
        )
    weights = init(shape, fan_in, fan_out, generator(rng))
    weights = np.array(weights, np.float32)  # a copy: an initialiser may keep what it gives
    if weights.shape != tuple(shape):
        raise ValueError(f"init gave weights of shape {weights.shape}, where {tuple(shape)} is wanted")
    return weights


def xavier_uniform(shape, fan_in, fan_out, rng) -> np.ndarray:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)); for tanh and sigmoid (Glorot and Bengio 2010, equation 16)."""
    return _uniform(shape, np.sqrt(6 / (fan_in + fan_out)), rng)


def he_normal(shape, fan_in, fan_out, rng) -> np.ndarray:
    """Normal with standard deviation sqrt(2 / fan_in); for ReLU (He et al. 2015, equation 10)."""
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def lecun_uniform_1998(shape, fan_in, fan_out, rng) -> np.ndarray:
    """Uniform in +-2.4 / fan_in; for 1.7159 tanh(2x/3) (LeCun et al. 1998, appendix A)."""
    return _uniform(shape, 2.4 / fan_in, rng)


def normal(std: float) -> Initializer:
    """Normal with a fixed standard deviation; AlexNet's is 0.01 (Krizhevsky et al. 2012, section 5)."""
    if isinstance(std, (str, bool)) or np.ndim(std) or not 0 <= std < np.inf:
        raise ValueError(f"init.normal: std must be a number >= 0, not {std!r}")

    def draw(shape, fan_in, fan_out, rng):
        return (rng.standard_normal(shape) * std).astype(np.float32)

    return draw


def _uniform(shape, limit, rng):
    return (rng.uniform(-1.0, 1.0, shape) * limit).astype(np.float32)
