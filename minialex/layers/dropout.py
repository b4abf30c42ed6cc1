"""Dropout: in training each unit is left out with probability p (Hinton et al. 2012; AlexNet, section 4.2)."""

import math
import zlib

import numpy as np

from minialex.errors import DtypeMismatch
from minialex.layers.layer import Array, Layer
from minialex.layers.settings import number_or_nan, unmasked, whole
from minialex.words import did_you_mean, is_one_of

SCALINGS = ("inverted", "test-time")


def probability(p: float, name: str) -> float:
    if not 0 <= number_or_nan(p) < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, not {p!r}")
    return float(p)  # a NumPy number would widen float32


def one_of_scalings(scaling: str, name: str) -> str:
    if not is_one_of(scaling, SCALINGS):
        hint = did_you_mean(scaling, SCALINGS)
        raise ValueError(f'{name} must be "inverted" or "test-time", not {scaling!r}{hint}')
    return scaling


class Dropout(Layer):
    """scaling="inverted":  training y = x * mask / (1 - p);  evaluation y = x
    scaling="test-time":    training y = x * mask;            evaluation y = x * (1 - p), as in 2012

    mask: 1 with probability 1 - p, else 0. It is drawn whole on the host, by a generator keyed by (seed, the layer's
    name, step), and the layer counts the steps: the same masks on every device, and after a resume. Or give one:
    `forward(x, mask)`.

    Shapes: x, mask and y are alike.
    Raises ValueError for p outside [0, 1), an unknown scaling, or a mask of another shape or with other numbers.

    >>> Dropout(0.5).forward(np.ones((1, 8), dtype=np.float32))
    array([[2., 2., 2., 0., 0., 0., 0., 0.]], dtype=float32)
    >>> Dropout(0.5, scaling="test-time").eval().forward(np.ones((1, 4)))
    array([[0.5, 0.5, 0.5, 0.5]])
    """

    needs_batch = True
    takes = {"p": probability, "scaling": one_of_scalings, "seed": whole}

    def __init__(self, p: float = 0.5, scaling: str = "inverted", seed: int = 0):
        self.p, self.scaling, self.seed = p, scaling, seed
        self.step = 0
        self.key = (
            ""  # the name that the masks hang on: its own, from the first mask that it drew under a name
        )
        self.part = (0, 1)  # the first of one: a tower holds, say, the second of two parts of the units
        self.first = 0  # 64: x are the pictures of a batch from 64 on; another process has those before

    def forward(self, x: Array, mask: Array | None = None) -> Array:
        if self.training:
            mask = self.mask_for(x, mask)
            factor = mask / (1 - self.p) if self.scaling == "inverted" else mask
        else:
            factor = 1.0 if self.scaling == "inverted" else 1 - self.p
        self.save(factor=factor)
        return x * factor

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.saved.factor

    def mask_for(self, x: Array, mask: Array | None) -> Array:
        """The mask that was given, or else this step's, in x's dtype."""
        if mask is None:
            mask = self.device.asarray(self.draw_mask(x.shape))
        else:
            mask = self._checked(mask, x.shape)
        return mask.astype(x.dtype)

    def _checked(self, mask, shape):
        """A mask that was given. To look into one on a GPU, the host would have to wait."""
        mask = unmasked(mask, f"{self}: the array mask=")
        self._check_array(mask, "mask")
        if mask.shape != shape:
            raise ValueError(f"{self}: the mask has shape {mask.shape}, the input {shape}")
        if mask.dtype.kind not in "biuf":
            raise DtypeMismatch(f"{self}: a mask is 1, or 0 for what is left out; this one is {mask.dtype}")
        if isinstance(mask, np.ndarray) and (wrong := mask[(mask != 0) & (mask != 1)]).size:
            raise ValueError(f"{self}: a mask is 1, or 0 for what is left out; in this one stands {wrong[0]}")
        return mask

    def draw_mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """The mask of this step, on the host; the next call draws the next step's.

        It is drawn for all towers and the whole batch, and who holds a part of them takes that of it: the same mask
        whether they are divided or not.
        """
        self.key = self.key or self.name
        key = (self.seed, zlib.crc32(self.key.encode()), self.step)
        self.step += 1
        number, parts = self.part
        whole = (shape[0], shape[1] * parts, *shape[2:]) if parts > 1 else shape
        mask = rows_from(self.first, np.random.default_rng(key), whole) >= self.p
        return mask[:, number * shape[1] : (number + 1) * shape[1]] if parts > 1 else mask

    def split(self, parts: int) -> list[Layer]:
        pieces = super().split(parts)
        for number, piece in enumerate(pieces):
            piece.part = (number, parts)
        return pieces

    def counters(self) -> dict[str, int]:
        return {"step": self.step}

    def set_counters(self, counters: dict[str, int]) -> None:
        self.step, self.key = int(counters["step"]), self.key or self.name


def rows_from(
    first: int, rng: "np.random.Generator", shape: tuple[int, ...]
) -> np.ndarray:  # in quotes: see init.py
    """float32 rows of this shape: those that `rng` draws after `first` others, which are not drawn for it.

    Its generator makes 64 bits at a time, two numbers, and can be told to go on.

    >>> seven = np.random.default_rng(3).random((7, 5), dtype=np.float32)
    >>> np.array_equal(rows_from(4, np.random.default_rng(3), (3, 5)), seven[4:])
    True
    """
    passed_over = first * math.prod(shape[1:])
    if passed_over:
        rng.bit_generator.advance(passed_over // 2)
    if passed_over % 2:
        rng.random(1, dtype=np.float32)
    return rng.random(shape, dtype=np.float32)
