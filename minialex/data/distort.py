"""Planar affine distortions of pictures (LeCun et al. 1998, section III.B).

The paper names them: horizontal and vertical translations, scaling, squeezing (compressed one way and stretched the
other), and horizontal shearing. How far they went it does not say; what is here was chosen by looking at digits.
"""

import numpy as np

# Pixels, and shares; each is drawn evenly in plus or minus that.
SHIFT, SCALE, SQUEEZE, SHEAR = 2.0, 0.15, 0.15, 0.3


def distorted(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture, uint8 (N, C, H, W), moved, scaled, squeezed and sheared by random amounts; what comes in is 0.

    Raises ValueError for what is no such array, TypeError for a seed in place of a generator.
    The picture's pixel at p shows what was at A (p - centre) + centre + shift, between four pixels in proportion.

    >>> digits = np.full((2, 1, 28, 28), 200, np.uint8)
    >>> new = distorted(digits, np.random.default_rng(0))
    >>> new.shape, str(new.dtype), int(new[0, 0, 14, 14])
    ((2, 1, 28, 28), 'uint8', 200)
    """
    if getattr(pictures, "dtype", None) != np.uint8 or pictures.ndim != 4:
        found = (
            f"{pictures.dtype} {pictures.shape}" if hasattr(pictures, "dtype") else type(pictures).__name__
        )
        raise ValueError(f"distorted takes bytes, uint8 (N, C, H, W) from 0 to 255, not {found}")
    if not hasattr(rng, "uniform"):
        raise TypeError(f"distorted: rng is {rng!r}: give a generator, np.random.default_rng(0)")
    N, _, H, W = pictures.shape
    dy, dx, scale, squeeze, shear = rng.uniform(-1, 1, (5, N, 1, 1))
    larger, taller = np.exp(SCALE * scale), np.exp(SQUEEZE * squeeze)
    y, x = np.arange(H)[:, None] - (H - 1) / 2, np.arange(W)[None] - (W - 1) / 2
    from_y = y * larger * taller + np.zeros((1, 1, W)) + SHIFT * dy + (H - 1) / 2  # (N, H, W)
    from_x = x * larger / taller + SHEAR * shear * y + SHIFT * dx + (W - 1) / 2
    return _between(pictures, from_y, from_x)


def _between(pictures, y, x):
    """Pixels at places (N, H, W) that are no whole numbers, from the four around each (bilinear)."""
    N, C, H, W = pictures.shape
    framed = np.pad(pictures, [(0, 0), (0, 0), (1, 1), (1, 1)]).astype(np.float32)
    y, x = np.clip(y + 1, 0, H + 0.999), np.clip(x + 1, 0, W + 0.999)  # in the frame, whose border is 0
    top, left = y.astype(int), x.astype(int)
    down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
    flat = framed.transpose(0, 2, 3, 1).reshape(-1, C)
    at = (np.arange(N)[:, None, None] * (H + 2) + top) * (W + 2) + left  # (N, H, W)
    down, right = down[..., None], right[..., None]
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + W + 2] * (1 - right) + flat[at + W + 3] * right
    mixed = upper * (1 - down) + lower * down  # (N, H, W, C)
    return np.rint(mixed).astype(np.uint8).transpose(0, 3, 1, 2)
