"""Is a mask drawn as it should be: each entry on its own, kept with one and the same probability?

A small mask is drawn many times, and what all draws say together is compared with what chance does: how often each
entry is kept, how far the count of a mask, of each picture, channel, row and column strays, and how often any two
entries are alike, in one mask or in two that were drawn one after the other. A large mask is compared with itself,
moved along. A finding is so far off that a mask that is drawn rightly gets one with a probability below one in a
million, over all that a check looks at; and the verdict on a function is always the same.

It cannot see dependence that shows in three entries or more while any two are independent, dependence in large masks
alone that is no repetition, nor a share that is off by less than a hundredth.
"""

import itertools

import numpy as np

DRAWS = 1000
FAR, FARTHER = 8.0, 9.0  # in standard deviations of what chance does; the second where thousands are compared
LAGS = (1, 2, 3)  # a mask and the next, the one after that, ...
TERMS = 500  # products that a repetition is judged by, at least


def dependence(draw, shape, p) -> str:
    """What is wrong with DRAWS masks that `draw()` gives, in words; "" where nothing is."""
    masks = np.array([np.asarray(draw(), float) for _ in range(DRAWS)])
    kept = 1 - p
    scaled = (masks - kept) / np.sqrt(kept * p)  # mean 0, variance 1
    return (
        _at_a_glance(masks, scaled, kept)
        or _means(masks, scaled, kept)
        or _alike(masks, scaled, shape)
        or _counts(masks, scaled, kept)
    )


def repetition(mask, p) -> str:
    """Does a large mask come again, moved along its entries?"""
    flat = (mask.ravel() - (1 - p)) / np.sqrt(p * (1 - p))
    size = flat.size
    spectrum = np.fft.rfft(flat, 2 * size)
    sums = np.fft.irfft(np.abs(spectrum) ** 2)[
        : size - TERMS + 1
    ]  # of an entry times the one so far behind it
    far = np.abs(sums[1:]) / np.sqrt(size - np.arange(1, len(sums)))
    if far.max(initial=0.0) < FARTHER:
        return ""
    lag = int(far.argmax()) + 1
    share = (mask.ravel()[lag:] == mask.ravel()[:-lag]).mean()
    return (
        f"entries are not drawn on their own: of {size}, in row order, {100 * share:.0f} % are equal to the one {lag} "
        f"before, where chance makes it {100 * (p**2 + (1 - p) ** 2):.0f} %"
    )


def _at_a_glance(masks, scaled, kept):
    """What needs no comparison of single entries."""
    if (masks == masks[0]).all():
        return "two draws from one rng gave the same mask"
    for axis in range(1, masks.ndim):
        if masks.shape[axis] > 1 and (masks == masks.take([0], axis=axis)).all():
            return f"entries along axis {axis - 1} are not drawn on their own: whole lines are alike"
    if abs(scaled.sum()) / np.sqrt(scaled.size) > FAR:
        return f"a share of {masks.mean():.3f} is kept, where 1 - p = {kept:.3g} is wanted"
    return ""


def _means(masks, scaled, kept):
    """Is each entry, each picture, row and column kept as often as the others?"""
    axes = range(1, masks.ndim)
    kinds = [tuple(axes), *((axis,) for axis in axes)]
    for apart in kinds:  # what stays when all other axes are added up
        others = tuple(axis for axis in range(masks.ndim) if axis not in apart)
        count = np.prod([masks.shape[axis] for axis in others])
        far = scaled.sum(axis=others) / np.sqrt(count)
        if np.abs(far).max() > FAR:
            at = np.unravel_index(np.abs(far).argmax(), far.shape)
            share = masks.mean(axis=others)[at]
            place = [":"] * (masks.ndim - 1)
            for axis, index in zip(apart, at, strict=True):
                place[axis - 1] = str(int(index))
            often = f"{100 * share:.1f} % of {len(masks)} draws, not in {100 * kept:.3g} %"
            return f"[{', '.join(place)}] is kept in {often}"
    return ""


def _alike(masks, scaled, shape):
    """Do any two entries, of one mask or of two that follow each other, go together?"""
    flat, entries = scaled.reshape(len(masks), -1), masks.reshape(len(masks), -1)
    for lag in (0, *LAGS):
        first, second = flat[: len(flat) - lag], flat[lag:]
        # No product of BLAS: of such small ones its threads make much ado where others are at work.
        far = np.einsum("ni,nj->ij", first, second) / np.sqrt(len(first))
        if lag == 0:
            np.fill_diagonal(far, 0.0)
        if np.abs(far).max(initial=0.0) > FAR:
            i, j = np.argwhere(np.abs(far) > 0.8 * np.abs(far).max())[
                0
            ]  # the first of those that stand out alike
            together = int((entries[: len(flat) - lag, i] == entries[lag:, j]).sum())
            chance = entries[:, [i, j]].mean(axis=0)
            expected = len(first) * (chance.prod() + (1 - chance).prod())
            here, there = ([int(k) for k in np.unravel_index(place, shape)] for place in (i, j))
            where = f"{here} and {there}" if lag == 0 else f"{here} of a mask and {there} of {_later(lag)}"
            return (
                f"entries are not drawn on their own: {where} are equal in {together} of {len(first)} draws, where "
                f"chance makes it about {expected:.0f}"
            )
    return ""


def _later(lag):
    return "the next" if lag == 1 else f"the one {lag} draws later"


def _counts(masks, scaled, kept):
    """Do counts stray as those of entries that are drawn on their own: in whole masks, pictures, rows, ...?"""
    axes = range(1, masks.ndim)
    for length in range(len(axes), 0, -1):
        for added in itertools.combinations(axes, length):
            count = int(np.prod([masks.shape[axis] for axis in added]))
            if count == 1:
                continue
            sums = scaled.sum(axis=added) / np.sqrt(count)
            far = _far((sums**2).sum(), sums.size)
            if abs(far) > FAR:
                strays, chance = masks.sum(axis=added).std(), np.sqrt(count * kept * (1 - kept))
                what = "a mask" if length == len(axes) else f"the entries along {_axes(added)}"
                share = masks.mean() * count
                return (
                    f"entries are not drawn on their own: of {count} in {what} {share:.3g} are kept, give or "
                    f"take {strays:.2g}, where chance makes it {chance:.2g}"
                )
    return ""


def _axes(added):
    numbers = [str(axis - 1) for axis in added]
    return f"axis {numbers[0]}" if len(numbers) == 1 else f"the axes {', '.join(numbers)}"


def _far(squares, count):
    """A sum of `count` squares of independent normal numbers, in standard deviations: Wilson and Hilferty's."""
    ninth = 2 / (9 * count)
    return ((squares / count) ** (1 / 3) - (1 - ninth)) / np.sqrt(ninth)
