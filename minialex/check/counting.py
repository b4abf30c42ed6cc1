"""The checks of what is counted and measured: a convolution's costs, distances between rows, how colours vary."""

import numpy as np

from minialex.check import cases
from minialex.check.search import by_entries, compared, search
from minialex.check.verdict import Verdict
from minialex.layers import Conv2D
from minialex.layers.settings import number_or_nan
from minialex.shapes import output_sizes


def conv_counts(f) -> Verdict:
    """f(side, channels, maps, kernel, stride, padding, groups) -> (side, parameters, macs)

    side = 1 + (side + 2*padding - kernel) // stride
    parameters = weights + biases: maps * (channels / groups) * kernel * kernel weights, a bias for each map
    macs = weights * side * side, the new side: a bias is added, and multiplies nothing

    One convolution on one picture of side x side pixels: how large are its maps, how many numbers does it learn, how
    often does it multiply and add? All are whole numbers; floats will do.
    """

    def expected(side, channels, maps, kernel, stride, padding, groups):
        layer = Conv2D(channels, maps, kernel, stride=stride, padding=padding, groups=groups)
        new, _ = output_sizes((side, side), layer.kernel_size, layer.stride, layer.padding)
        parameters = sum(parameter.value.size for parameter in layer.parameters())
        macs = layer.multiply_adds((1, channels, side, side), (1, maps, new, new))
        return float(new), float(parameters), float(macs)

    names = "side parameters macs"
    judge = counted(by_entries(names, expected))
    return search("conv_counts", f, cases.convolution_counts, judge, names)


def distances(f) -> Verdict:
    """f(table, query) -> distances

    distances[n] = square root of the sum over d of (table[n, d] - table[query, d])**2

    Euclidean distances of all rows to one of them; its own is 0. table (N, D), query the number of a row,
    distances (N,). Take the differences first: |a|**2 - 2*a*b + |b|**2 is the same on paper, and loses the digits that
    matter where two rows are nearly alike.
    """

    def expected(table, query):
        found = np.zeros(len(table))
        for n, d in np.ndindex(table.shape):
            found[n] += (table[n, d] - table[query, d]) ** 2
        return np.sqrt(found)

    def size(table, query):
        return 2 * np.sqrt(table.shape[1]) * np.abs(table).max()

    return search("distances", f, cases.rows, compared("distances", expected, size), "distances")


def differing(f) -> Verdict:
    """f(table, query) -> counts

    counts[n] = how many d have table[n, d] != table[query, d]

    In how many places is a row unlike that row? (Hamming's distance.) table (N, D) of 0.0 and 1.0, query the number of
    a row; counts (N,), whole numbers; floats will do.
    """

    def expected(table, query):
        return np.array([sum(a != b for a, b in zip(row, table[query], strict=True)) for row in table], float)

    judge = counted(by_entries("counts", expected))
    return search("differing", f, cases.bits, judge, "counts")


def counted(judge):
    """The judge, for whom whole numbers are as good as floats."""

    def as_floats(value):
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return number_or_nan(value)
        whole = isinstance(value, np.ndarray) and value.dtype.kind in "iu"
        return value.astype(float) if whole else value

    def judge_counts(result, case):
        many = isinstance(result, (tuple, list))
        return judge(tuple(map(as_floats, result)) if many else as_floats(result), case)

    return judge_counts


def colour_covariance(f) -> Verdict:
    """f(pictures) -> covariance

    covariance[a, b] = mean of (pixel[a] - mean[a]) * (pixel[b] - mean[b]) over all pixels of all pictures
    mean[a] = mean of pixel[a] over the same

    How red, green and blue vary together. pictures (N, 3, H, W); a pixel has three numbers, the channels a; there are
    m = N*H*W, and a mean is a sum divided by m. covariance (3, 3). AlexNet's colour augmentation (2012, section 4.1)
    takes its eigenvectors, as `Colour.of` in data/augment.py does.
    """

    def expected(pictures):
        N, _, H, W = pictures.shape
        pixels = np.array([pictures[n, :, i, j] for n, i, j in np.ndindex(N, H, W)])
        centred = pixels - pixels.mean(axis=0)
        return sum(np.outer(pixel, pixel) for pixel in centred) / len(pixels)

    def size(pictures):
        return np.abs(pictures).max() ** 2

    judge = compared("covariance", expected, size)
    return search("colour_covariance", f, cases.pictures, judge, "covariance")
