"""A convolution's costs, distances between rows, how colours vary: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


@right
def conv_counts(side, channels, maps, kernel, stride, padding, groups):
    side = 1 + (side + 2 * padding - kernel) // stride
    weights = maps * (channels // groups) * kernel * kernel
    return side, weights + maps, weights * side * side


@wrong("conv_counts", "groups forgotten")
def conv_counts_no_groups(side, channels, maps, kernel, stride, padding, groups):
    """Each map reads all channels, where it reads those of its own group."""
    return conv_counts(side, channels, maps, kernel, stride, padding, 1)


@wrong("conv_counts", "groups taken twice")
def conv_counts_groups_twice(side, channels, maps, kernel, stride, padding, groups):
    """Channels and maps are both divided by the groups: that is one group's part, and there are several."""
    side, _, macs = conv_counts(side, channels, maps // groups, kernel, stride, padding, groups)
    return side, macs // side**2 + maps, macs


@wrong("conv_counts", "bias forgotten")
def conv_counts_no_bias(side, channels, maps, kernel, stride, padding, groups):
    """The weights alone are counted: the biases are parameters too, one for each map."""
    side, parameters, macs = conv_counts(side, channels, maps, kernel, stride, padding, groups)
    return side, parameters - maps, macs


@wrong("conv_counts", "rounds up")
def conv_counts_rounds_up(side, channels, maps, kernel, stride, padding, groups):
    """A window that sticks out at the end has a place too; here, as in most libraries, it has none."""
    side = 1 + -(-(side + 2 * padding - kernel) // stride)
    weights = maps * (channels // groups) * kernel * kernel
    return side, weights + maps, weights * side * side


@wrong("conv_counts", "padding on one side")
def conv_counts_padded_once(side, channels, maps, kernel, stride, padding, groups):
    """The padding is added once, where there is some on the left and on the right."""
    side = 1 + (side + padding - kernel) // stride
    weights = maps * (channels // groups) * kernel * kernel
    return side, weights + maps, weights * side * side


@wrong("conv_counts", "places not squared")
def conv_counts_one_side(side, channels, maps, kernel, stride, padding, groups):
    """The places of one row alone are counted, where a window moves down as well."""
    side, parameters, macs = conv_counts(side, channels, maps, kernel, stride, padding, groups)
    return side, parameters, macs // side


@wrong("conv_counts", "biases multiplied")
def conv_counts_of_parameters(side, channels, maps, kernel, stride, padding, groups):
    """Multiply-adds are parameters times places, biases and all: a bias is added, and multiplies nothing."""
    side, parameters, _ = conv_counts(side, channels, maps, kernel, stride, padding, groups)
    return side, parameters, parameters * side * side


# -- distances ---------------------------------------------------------------------------------------------


@right
def distances(table, query):
    return np.sqrt(((table - table[query]) ** 2).sum(axis=1))


@wrong("distances", "root forgotten")
def distances_squared(table, query):
    """Squares of distances: the same order, other numbers."""
    return ((table - table[query]) ** 2).sum(axis=1)


@wrong("distances", "not squared")
def distances_not_squared(table, query):
    """The differences are added up as they are, so that those of opposite sign cancel."""
    return np.abs((table - table[query]).sum(axis=1))


@wrong("distances", "city block")
def distances_city_block(table, query):
    """The sum of absolute differences: the way along the streets."""
    return np.abs(table - table[query]).sum(axis=1)


@wrong("distances", "mean instead of sum")
def distances_mean(table, query):
    """The root of the mean of the squares."""
    return np.sqrt(((table - table[query]) ** 2).mean(axis=1))


@wrong("distances", "row 0")
def distances_row_0(table, query):
    """Distances to the first row, whichever was asked for."""
    return distances(table, 0)


@wrong("distances", "over the rows")
def distances_over_the_rows(table, query):
    """Summed over axis 0: one number for each column, where each row gets one."""
    return np.sqrt(((table - table[query]) ** 2).sum(axis=0))


@right
def differing(table, query):
    return (table != table[query]).sum(axis=1)


@wrong("differing", "counts what agrees")
def differing_agrees(table, query):
    """== where != belongs: the most alike has the largest count."""
    return (table == table[query]).sum(axis=1)


@wrong("differing", "share instead of count")
def differing_share(table, query):
    """The mean: a share of the places."""
    return (table != table[query]).mean(axis=1)


@wrong("differing", "difference of the counts")
def differing_counts(table, query):
    """The counts of ones are compared, row by row: as many ones may lie in other places."""
    ones = table.sum(axis=1)
    return np.abs(ones - ones[query])


@wrong("differing", "one way alone")
def differing_one_way(table, query):
    """Only the places where the row has a 1 and that row a 0."""
    return (table > table[query]).sum(axis=1)


@wrong("differing", "row 0")
def differing_row_0(table, query):
    """Compared with the first row, whichever was asked for."""
    return differing(table, 0)


# -- colours -----------------------------------------------------------------------------------------------


@right
def colour_covariance(pictures):
    pixels = np.moveaxis(pictures, 1, 0).reshape(3, -1)  # (3, N*H*W)
    centred = pixels - pixels.mean(axis=1, keepdims=True)
    return centred @ centred.T / pixels.shape[1]


@wrong("colour_covariance", "mean of each picture")
def colour_covariance_by_picture(pictures):
    """Each picture's own mean is taken off: that one picture is bluer than another is lost."""
    return colour_covariance(pictures - pictures.mean(axis=(2, 3), keepdims=True))


@wrong("colour_covariance", "mean not taken off")
def colour_covariance_uncentred(pictures):
    """Products of the numbers themselves: bright pictures seem to vary much."""
    pixels = np.moveaxis(pictures, 1, 0).reshape(3, -1)
    return pixels @ pixels.T / pixels.shape[1]


@wrong("colour_covariance", "one mean for all")
def colour_covariance_one_mean(pictures):
    """One mean for all three channels is taken off."""
    return colour_covariance_uncentred(pictures - pictures.mean())


@wrong("colour_covariance", "divided by m - 1")
def colour_covariance_sample(pictures):
    """np.cov's divisor, unless it is told bias=True."""
    return np.cov(np.moveaxis(pictures, 1, 0).reshape(3, -1))


@wrong("colour_covariance", "divided by the pictures")
def colour_covariance_by_pictures(pictures):
    """The sum over all pixels is divided by N, where N*H*W belongs."""
    return colour_covariance(pictures) * pictures[0, 0].size


@wrong("colour_covariance", "pictures and channels mixed")
def colour_covariance_reshaped(pictures):
    """Reshaped to (3, -1) before the channels are in front: right for one picture alone."""
    pixels = pictures.reshape(3, -1)
    centred = pixels - pixels.mean(axis=1, keepdims=True)
    return centred @ centred.T / pixels.shape[1]


@wrong("colour_covariance", "rows of three")
def colour_covariance_rows_of_three(pictures):
    """Reshaped to (-1, 3): three neighbours of one channel are taken for a pixel."""
    return np.cov(pictures.reshape(-1, 3).T, bias=True)
